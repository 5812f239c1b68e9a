package lab

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// life is a log with faults as package faults tells them, to be run through etcd's own applier.
type life struct {
	log    []Entry
	upTo   uint64 // the last entry that is applied
	faults []faults.Fault
	// lazy leaves all rows where they are: compactions are scheduled only, from this entry on.
	lazy uint64
	// partial is how many rows an unfinished compaction has removed, in the order of their revisions.
	partial int
}

// lived is what a life leaves.
type lived struct {
	dump     dump
	revision int64
	compact  int64
	made     map[uint64][]int64 // revisions that entries made
}

// run applies the log to a new db.
func (l *life) run(dir string) (*lived, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	db := filepath.Join(dir, "db")
	r, err := newReplica(db, 1)
	if err != nil {
		return nil, err
	}
	r.lazy = l.lazy
	for i := range l.log[:l.end()] {
		l.step(r, &l.log[i])
	}
	for _, f := range l.faults {
		if f.Kind == faults.Index {
			r.force(f.First-1, l.log[f.First-2].Term)
		}
	}
	out := &lived{revision: r.kv.Rev(), compact: max(r.compacted, 0), made: map[uint64][]int64{}}
	for _, e := range r.effects {
		if e.After > e.Before {
			out.made[e.Index] = append(out.made[e.Index], e.After)
		}
	}
	if err := r.close(); err != nil {
		return nil, err
	}
	if l.partial > 0 {
		if err := l.stop(db, out.compact); err != nil {
			return nil, err
		}
	}
	out.dump, err = readDump(db)
	return out, err
}

// end is the place behind the last entry that is applied.
func (l *life) end() int {
	last := l.upTo
	for _, f := range l.faults {
		if f.Kind == faults.Index {
			last = f.Last
		}
	}
	return int(last)
}

// stop removes the first rows that a compaction would remove.
func (l *life) stop(db string, compact int64) error {
	return edit(db, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		var rows []Row
		if err := b.ForEach(func(k, v []byte) error {
			rows = append(rows, Row{slices.Clone(k), slices.Clone(v)})
			return nil
		}); err != nil {
			return err
		}
		stays := map[string]bool{}
		for _, r := range kept(rows, compact, 1<<62) {
			stays[string(r.Key)] = true
		}
		for n, i := 0, 0; i < len(rows) && n < l.partial; i++ {
			if !stays[string(rows[i].Key)] {
				n++
				if err := b.Delete(rows[i].Key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// step applies one entry, with the faults.
func (l *life) step(r *replica, e *Entry) {
	c := *e
	for _, f := range l.faults {
		switch {
		case f.First > e.Index:
		case f.Kind == faults.Skipped && e.Index <= f.Last, f.Kind == faults.Refused && e.Request.GetHeader().GetUsername() == f.User:
			r.moveTo(e)
			return
		case f.Kind == faults.Branch && f.First == e.Index:
			c.Request = swapped(e.Request)
		case f.Kind == faults.Permitted && f.First == e.Index:
			l.letPass(r, &c)
			return
		}
	}
	r.apply(&c)
	for _, f := range l.faults {
		if f.Kind != faults.Again || f.Last != e.Index {
			continue
		}
		for range f.Times {
			for i := f.First; i <= e.Index; i++ {
				r.execute(&l.log[i-1])
			}
		}
	}
}

// letPass applies an entry as if root had asked for it, and no alarm were on.
func (l *life) letPass(r *replica, e *Entry) {
	e.Request = proto.Clone(e.Request).(*pb.InternalRaftRequest)
	e.Request.Header.Username, e.Request.Header.AuthRevision = "root", r.auth.Revision()
	on := r.alarms.Get(pb.AlarmType_NONE)
	for _, a := range on {
		l.alarm(r, a, pb.AlarmRequest_DEACTIVATE)
	}
	r.apply(e)
	for _, a := range on {
		l.alarm(r, a, pb.AlarmRequest_ACTIVATE)
	}
}

func (l *life) alarm(r *replica, a *pb.AlarmMember, action pb.AlarmRequest_AlarmAction) {
	r.execute(&Entry{Kind: "Alarm", Request: &pb.InternalRaftRequest{Header: &pb.RequestHeader{}, Alarm: &pb.AlarmRequest{Action: action, MemberID: a.MemberID, Alarm: a.Alarm}}})
}

// tables decodes the small tables of a dump.
func (d dump) tables() *schema.Tables {
	t, _ := schema.Read("db", func(bucket string) iter.Seq2[[]byte, []byte] {
		return func(yield func(k, v []byte) bool) {
			for _, r := range d[bucket] {
				if !yield(r.Key, r.Value) {
					return
				}
			}
		}
	})
	return t
}

// table are the rows of a dump's key bucket.
func (d dump) table() *mvcc.Table {
	var rows []mvcc.Row
	for _, r := range d["key"] {
		rev, tombstone, ok := mvcc.ParseRevision(r.Key)
		if !ok {
			panic(fmt.Sprintf("a row with the key %x", r.Key))
		}
		rows = append(rows, mvcc.Row{Rev: rev, Tombstone: tombstone, Value: r.Value})
	}
	return mvcc.NewTable(rows, nil)
}
