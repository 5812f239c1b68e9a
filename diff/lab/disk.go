package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// snapshot is what a .snap file holds of a member: its membership, and the raft configuration.
func (r *replica) snapshot() (data, confState []byte) {
	st := v2store.New("/0", "/1")
	r.cluster.Store(st)
	data, err := st.SaveNoCopy()
	if err != nil {
		panic(err)
	}
	confState, err = proto.Marshal(r.confState())
	if err != nil {
		panic(err)
	}
	return data, confState
}

// raw reads the small tables.
func (r *replica) raw() map[string][]Row {
	m := map[string][]Row{}
	tx := r.be.ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	for _, b := range smallTables {
		seen := map[string]bool{}
		var rows []Row
		_ = tx.UnsafeForEach(b, func(k, v []byte) error {
			if !seen[string(k)] {
				seen[string(k)] = true
				rows = append(rows, Row{bytes.Clone(k), bytes.Clone(v)})
			}
			return nil
		})
		slices.SortFunc(rows, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
		m[b.String()] = rows
	}
	return m
}

// dump is all that a db file holds: rows by bucket.
type dump map[string][]Row

func readDump(db string) (dump, error) {
	b, err := bbolt.Open(db, 0o600, &bbolt.Options{ReadOnly: true, NoSync: true})
	if err != nil {
		return nil, err
	}
	d := dump{}
	err = b.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			d[string(name)] = nil // there, if empty
			return b.ForEach(func(k, v []byte) error {
				d[string(name)] = append(d[string(name)], Row{bytes.Clone(k), bytes.Clone(v)})
				return nil
			})
		})
	})
	return d, closeAll(func() error { return err }, b.Close)
}

// edit changes a db file.
func edit(db string, f func(tx *bbolt.Tx) error) error {
	b, err := bbolt.Open(db, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	err = b.Update(f)
	return closeAll(func() error { return err }, b.Close)
}

// damage edits the db of every member of a fault. The row is chosen on the first of them and found again on the others.
// ok is false if there is nothing that the fault could change.
func (f *Fault) damage(rng *rand.Rand, dbs []string, hs []*history, common int64) (ok bool, err error) {
	h := hs[f.Members[0]]
	type candidate struct {
		eff *Effect
		sub int
	}
	var all []candidate
	for i := range h.effects {
		eff := &h.effects[i]
		if eff.Index == 0 || eff.After <= h.compact || len(eff.Rows) == 0 || eff.After > common {
			continue
		}
		for sub, row := range eff.Rows {
			tomb := mvcc.IsTombstone(row.Key)
			switch f.Kind {
			case FlipValue, FlipLease, FlipVersion, FlipMod:
				if !tomb {
					all = append(all, candidate{eff, sub})
				}
			case LostTombstone:
				if tomb {
					all = append(all, candidate{eff, sub})
				}
			case LostRevision:
				if sub == 0 {
					all = append(all, candidate{eff, sub})
				}
			}
		}
	}
	if len(all) == 0 {
		return false, nil
	}
	c := pick(rng, all)
	row := c.eff.Rows[c.sub]
	f.Index, f.revision = c.eff.Index, c.eff.After
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(row.Value, &kv); err != nil {
		return false, err
	}
	switch f.Kind {
	case FlipValue:
		kv.Value = append(bytes.Clone(kv.Value), '!')
		if n := len(kv.Value); n > 1 && rng.IntN(2) == 0 {
			kv.Value = kv.Value[:n-1]
			kv.Value[rng.IntN(n-1)] ^= 1 << rng.IntN(8)
		}
	case FlipLease:
		kv.Lease ^= 1 << rng.IntN(62)
	case FlipVersion:
		kv.Version ^= 1 << rng.IntN(8)
	case FlipMod:
		kv.ModRevision ^= 1 << rng.IntN(16)
	case LostTombstone:
		f.whole = len(c.eff.Rows) == 1
		f.partial = !f.whole && c.sub == len(c.eff.Rows)-1
	case LostRevision:
		f.whole = true
	}
	value, err := proto.Marshal(&kv)
	if err != nil {
		return false, err
	}
	ok = true
	for _, m := range f.Members {
		err := edit(dbs[m], func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("key"))
			switch {
			case f.Kind == LostRevision:
				for _, r := range c.eff.Rows {
					if err := b.Delete(r.Key); err != nil {
						return err
					}
				}
				return nil
			case f.Kind == LostTombstone:
				return b.Delete(row.Key)
			}
			if b.Get(row.Key) == nil {
				ok = false // this member has compacted it away
				return nil
			}
			return b.Put(row.Key, value)
		})
		if err != nil {
			return false, err
		}
	}
	return ok, nil
}

// damageTable is damage for the small tables.
func (f *Fault) damageTable(rng *rand.Rand, dbs []string, hs []*history, log []Entry) (ok bool, err error) {
	d := hs[f.Members[0]].dump
	var bucket string
	var row Row
	switch f.Kind {
	case LostLease:
		if len(d["lease"]) == 0 {
			return false, nil
		}
		bucket, row = "lease", pick(rng, d["lease"])
		row.Value = nil
		var l int64
		for _, b := range row.Key[:8] {
			l = l<<8 | int64(b)
		}
		f.Lease = l
		for i := range log {
			if g := log[i].Request.GetLeaseGrant(); g != nil && g.ID == l {
				f.Index = log[i].Index
			}
		}
	case ExtraLease:
		l := &leasepb.Lease{ID: 1 + rng.Int64N(1<<62), TTL: 60}
		v, err := proto.Marshal(l)
		if err != nil {
			return false, err
		}
		f.Lease = l.ID
		bucket, row = "lease", Row{Value: v}
		for i := 7; i >= 0; i-- {
			row.Key = append(row.Key, byte(l.ID>>(8*i)))
		}
	case AuthBump:
		i := slices.IndexFunc(d["auth"], func(r Row) bool { return string(r.Key) == "authRevision" })
		if i < 0 {
			return false, nil
		}
		bucket, row = "auth", d["auth"][i]
		row.Value = bytes.Clone(row.Value)
		for k := 7; k >= 0; k-- {
			if row.Value[k]++; row.Value[k] != 0 {
				break
			}
		}
	case MissingUser:
		if len(d["authUsers"]) == 0 {
			return false, nil
		}
		bucket, row = "authUsers", pick(rng, d["authUsers"])
		row.Value = nil
		for i := range log {
			if a := log[i].Request.GetAuthUserAdd(); a != nil && a.Name == string(row.Key) {
				f.Index = log[i].Index
			}
		}
	}
	for _, m := range f.Members {
		err := edit(dbs[m], func(tx *bbolt.Tx) error {
			if row.Value == nil {
				return tx.Bucket([]byte(bucket)).Delete(row.Key)
			}
			return tx.Bucket([]byte(bucket)).Put(row.Key, row.Value)
		})
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// wals says how a member's log lies on disk.
type wals struct {
	first, last uint64 // entries left, to be filled in
	upTo        uint64 // last committed entry in the log
	commit      uint64 // as the last hard state says
	snap        uint64 // 0 for none
	tail        int    // uncommitted entries behind upTo
	rewrite     bool   // entries of an old term, overwritten by the next one's
	purge       bool
	segment     int64
	partial     int // rows at most that an unfinished compaction has removed
	// in is the segment of each entry. One that begins behind entries which the next leader overwrote is named after these.
	in []int
}

// walMu guards the size of segments, which etcd keeps in a variable.
var walMu sync.Mutex

// writeLog writes the log as etcd's raft node does: batches of entries with hard states between them.
func (w *wals) write(rng *rand.Rand, dir string, id uint64, log []Entry, h *history) error {
	walMu.Lock()
	defer walMu.Unlock()
	defer func(n int64) { wal.SegmentSizeBytes = n }(wal.SegmentSizeBytes)
	wal.SegmentSizeBytes = w.segment

	meta, err := proto.Marshal(&pb.Metadata{NodeID: &id, ClusterID: new(uint64(clusterID))})
	if err != nil {
		return err
	}
	walDir := filepath.Join(dir, "member", "wal")
	l, err := wal.Create(nil, walDir, meta)
	if err != nil {
		return err
	}
	l.SetUnsafeNoFsync()
	if err := w.fill(rng, l, walDir, filepath.Join(dir, "member", "snap"), log, h); err != nil {
		return closeAll(l.Close, func() error { return err })
	}
	if err := l.Close(); err != nil {
		return err
	}
	w.first = 1
	if w.purge {
		return w.purgeFront(walDir)
	}
	return nil
}

func hardState(term, commit uint64) *raftpb.HardState {
	vote := uint64(0)
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

func (w *wals) fill(rng *rand.Rand, l *wal.WAL, walDir, snapDir string, log []Entry, h *history) error {
	if err := os.MkdirAll(snapDir, 0o700); err != nil {
		return err
	}
	done, commit, snapped := uint64(0), uint64(0), w.snap == 0
	save := func(term uint64, batch, junk []*raftpb.Entry) error {
		segments, err := filepath.Glob(filepath.Join(walDir, "*.wal"))
		for range batch {
			w.in = append(w.in, len(segments)-1)
		}
		if err != nil {
			return err
		}
		return l.Save(hardState(term, commit), append(batch, junk...))
	}
	for done < w.upTo {
		n := min(w.upTo-done, 1+rng.Uint64N(12))
		if done == 0 {
			n = 2
		}
		var batch []*raftpb.Entry
		for i := done; i < done+n; i++ {
			e := &log[i]
			if w.rewrite && i > 5 && log[i-1].Term < e.Term {
				// The last leader appended these, and nobody else did.
				if err := save(log[i-1].Term, batch, junk(rng, i+1, log[i-1].Term, 1+rng.IntN(4))); err != nil {
					return err
				}
				batch = nil
			}
			batch = append(batch, e.raft())
		}
		if err := save(log[done+n-1].Term, batch, nil); err != nil {
			return err
		}
		done += n
		// A follower learns of what is committed with the next message.
		if commit = done; rng.IntN(3) == 0 {
			commit = done - rng.Uint64N(n+1)
		}
		commit = min(commit, w.commit)
		if !snapped && commit >= w.snap {
			snapped = true
			if err := saveSnap(l, snapDir, &log[w.snap-1], h); err != nil {
				return err
			}
		}
	}
	term := log[w.upTo-1].Term
	if err := l.Save(hardState(term, w.commit), junk(rng, w.upTo+1, term, w.tail)); err != nil {
		return err
	}
	if !snapped {
		if err := saveSnap(l, snapDir, &log[w.snap-1], h); err != nil {
			return err
		}
	}
	w.last = w.upTo
	return nil
}

// junk are entries that were never committed.
func junk(rng *rand.Rand, from, term uint64, n int) []*raftpb.Entry {
	var es []*raftpb.Entry
	for i := range uint64(n) {
		r := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: rng.Uint64()}, Put: &pb.PutRequest{Key: []byte("/a/0"), Value: fmt.Appendf(nil, "never %d", rng.Uint32())}}
		data, err := proto.Marshal(r)
		if err != nil {
			panic(err)
		}
		index := from + i
		es = append(es, &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	return es
}

func saveSnap(l *wal.WAL, dir string, at *Entry, h *history) error {
	cs := &raftpb.ConfState{}
	if err := proto.Unmarshal(h.snapCS, cs); err != nil {
		return err
	}
	s := &raftpb.Snapshot{Data: h.snap, Metadata: &raftpb.SnapshotMetadata{ConfState: cs, Index: &at.Index, Term: &at.Term}}
	if err := snap.New(nil, dir).SaveSnap(s); err != nil {
		return err
	}
	return l.SaveSnapshot(&walpb.Snapshot{Index: &at.Index, Term: &at.Term, ConfState: cs})
}

// purgeFront removes the segments before the one that holds the snapshot's entry, as etcd does in the end.
func (w *wals) purgeFront(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	keep := 0
	for i, n := range names {
		var seq, index uint64
		if _, err := fmt.Sscanf(strings.TrimSuffix(filepath.Base(n), ".wal"), "%x-%x", &seq, &index); err != nil {
			return err
		}
		if index <= w.snap {
			keep = i
		}
	}
	left := slices.IndexFunc(w.in, func(segment int) bool { return segment >= keep })
	if left < 0 {
		left = len(w.in)
	}
	w.first = 1 + uint64(left)
	for _, n := range names[:keep] {
		if err := os.Remove(n); err != nil {
			return err
		}
	}
	return nil
}
