package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Kind is what goes wrong.
type Kind string

// The kinds.
const (
	// Skip and those that follow happen while entries are applied.
	Skip       Kind = "skip"         // the entry is not applied, the consistent index moves on
	Twice      Kind = "twice"        // the entry is applied again
	Half       Kind = "half a txn"   // only the first operations of the branch
	Branch     Kind = "wrong branch" // of a transaction
	Refused    Kind = "refused"      // by auth: skipped on members on which auth is on
	Banned     Kind = "banned"       // every request of a user is refused from the entry on
	Extra      Kind = "extra"        // a put that is in no entry, after the entry
	WrongLease Kind = "wrong lease"  // the key is attached to another lease than the entry says
	Replay     Kind = "replay"       // several entries are applied again, from the entry on
	LostTail   Kind = "lost tail"    // no entry from here on is applied, the consistent index moves on
	Behind     Kind = "behind"       // the consistent index is left behind in the end

	// Permitted is tried instead of others, never planted: the entry is applied as if root had asked for it.
	Permitted Kind = "permitted"

	// FlipValue and those that follow are made in the db afterwards.
	FlipValue     Kind = "flip value"
	FlipLease     Kind = "flip lease"
	FlipVersion   Kind = "flip version"
	FlipMod       Kind = "flip mod revision"
	LostRevision  Kind = "lost revision"
	LostTombstone Kind = "lost tombstone"
	LostLease     Kind = "lost lease"
	ExtraLease    Kind = "extra lease"
	AuthBump      Kind = "auth bump"
	MissingUser   Kind = "missing user"

	// Fork and Tamper are made in the log and, following it, in the db.
	Fork   Kind = "fork"   // other committed entries from here on
	Tamper Kind = "tamper" // the value of one put
)

// applied are the kinds that happen while entries are applied.
var applied = []Kind{Skip, Twice, Half, Branch, Refused, Banned, Extra, WrongLease, Replay, LostTail, Behind}

// edited are the kinds that are made in the db afterwards.
var edited = []Kind{FlipValue, FlipLease, FlipVersion, FlipMod, LostRevision, LostTombstone, LostLease, ExtraLease, AuthBump, MissingUser}

// table tells whether the kind edits a small table, and row whether it edits a row of the keyspace.
func (k Kind) table() bool {
	return k == LostLease || k == ExtraLease || k == AuthBump || k == MissingUser
}

func (k Kind) row() bool { return slices.Contains(edited, k) && !k.table() }

// Fault is one thing that goes wrong on some members alike.
type Fault struct {
	Kind    Kind
	Members []int
	Index   uint64 // the entry, 0 until an edit has chosen its row
	Count   int    // operations kept, entries applied again or lost
	Lease   int64
	User    string         // of Banned
	Put     *pb.PutRequest // of Extra

	revision int64 // main revision edited
	partial  bool  // rows of the revision are left, and they are its first ones
	whole    bool  // no row of the revision is left
	seed     uint64
	marked   *Member // one of those on which it left a trace
	spared   []int   // those on which it left none
	spare    uint64  // of LostTail: applied all the same, with everything between the entry and this one
}

func (f *Fault) spares(index uint64) bool { return index > f.Index && index <= f.spare }

func (f *Fault) on(member int) bool { return slices.Contains(f.Members, member) }

func (f *Fault) String() string {
	var ms []string
	for _, m := range f.Members {
		ms = append(ms, label(m))
	}
	s := fmt.Sprintf("%s at entry %d on %s", f.Kind, f.Index, strings.Join(ms, ","))
	if f.Count > 0 {
		s += fmt.Sprintf(", %d", f.Count)
	}
	if f.revision > 0 {
		s += fmt.Sprintf(", revision %d", f.revision)
	}
	return s
}

// at returns a copy of the fault for another entry.
func (f *Fault) at(index uint64) *Fault {
	g := *f
	g.Index = index
	return &g
}

// truncated is a transaction of which only the first n operations of either branch run.
func truncated(r *pb.InternalRaftRequest, n int) *pb.InternalRaftRequest {
	c := proto.Clone(r).(*pb.InternalRaftRequest)
	c.Txn.Success = c.Txn.Success[:min(n, len(c.Txn.Success))]
	c.Txn.Failure = c.Txn.Failure[:min(n, len(c.Txn.Failure))]
	return c
}

func swapped(r *pb.InternalRaftRequest) *pb.InternalRaftRequest {
	c := proto.Clone(r).(*pb.InternalRaftRequest)
	c.Txn.Success, c.Txn.Failure = c.Txn.Failure, c.Txn.Success
	return c
}

// history is what a member's log and faults made of it.
type history struct {
	effects []Effect
	index   uint64 // the consistent index that the db claims
	rev     int64  // current revision
	compact int64
	applied uint64 // the last entry applied
	note    note
	partial int    // rows that an unfinished compaction has removed
	snap    []byte // the membership at the snapshot index
	snapCS  []byte
	clean   dump // before anything was edited, or a compaction stopped halfway: what another run can be compared with
	dump    dump
}

// note is a member's state just after one entry.
type note struct {
	index  uint64
	rev    int64
	live   map[string]string
	leases []int64
	tables map[string][]Row
}

// script says how a member lives.
type script struct {
	db     string
	id     uint64
	log    []Entry
	upTo   uint64
	lazy   uint64
	note   uint64
	snap   uint64
	faults []*Fault
	goal   *history // what it should come to, nil for anything
	// seen is called behind each entry, nil: nobody asks.
	seen func(r *replica)
}

// errStrayed says that a run made a revision that the one it should come to did not make, and that shows in the end.
var errStrayed = errors.New("strayed")

// run applies the log to a new db with all faults that happen meanwhile, and closes it.
func (s *script) run() (*history, error) {
	r, err := newReplica(s.db, s.id)
	if err != nil {
		return nil, err
	}
	r.lazy = s.lazy
	h := &history{}
	for i := range s.log {
		e := &s.log[i]
		if e.Index > s.upTo {
			break
		}
		done := len(r.effects)
		s.step(r, e)
		if s.goal != nil && slices.ContainsFunc(r.effects[done:], s.goal.without) {
			return nil, cmp.Or(r.close(), errStrayed)
		}
		if s.seen != nil {
			s.seen(r)
		}
		if e.Index == s.note {
			h.note = note{index: e.Index, rev: r.kv.Rev(), live: r.live(), leases: r.leases(), tables: r.raw()}
		}
		if e.Index == s.snap {
			h.snap, h.snapCS = r.snapshot()
		}
	}
	h.applied = r.index
	for _, f := range s.faults {
		if f.Kind == Behind && f.Index <= s.upTo {
			r.force(f.Index-1, s.log[f.Index-2].Term)
			r.index = f.Index - 1
		}
	}
	h.effects, h.index, h.rev, h.compact = r.effects, r.index, r.kv.Rev(), max(r.compacted, 0)
	return h, r.close()
}

// without tells whether this history lacks the revision that an entry made, and would show it.
func (h *history) without(e Effect) bool {
	if e.After == e.Before || e.After <= h.compact {
		return false
	}
	return !slices.ContainsFunc(h.effects, func(o Effect) bool {
		return o.Before < e.After && e.After <= o.After && slices.EqualFunc(o.Rows, e.Rows, func(a, b Row) bool { return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) })
	})
}

func (s *script) step(r *replica, e *Entry) {
	for _, f := range s.faults {
		switch {
		case (f.Kind == Skip || f.Kind == Refused) && f.Index == e.Index,
			f.Kind == LostTail && e.Index >= f.Index && e.Index < f.Index+uint64(f.Count) && !f.spares(e.Index):
			r.moveTo(e)
			return
		case f.Kind == Banned && e.Index >= f.Index && e.Request.GetHeader().GetUsername() == f.User:
			r.moveTo(e)
			return
		case f.Index != e.Index:
		case f.Kind == Half:
			c := *e
			c.Request = truncated(e.Request, f.Count)
			r.apply(&c)
			return
		case f.Kind == Branch:
			c := *e
			c.Request = swapped(e.Request)
			r.apply(&c)
			return
		case f.Kind == Permitted:
			c := *e
			c.Request = proto.Clone(e.Request).(*pb.InternalRaftRequest)
			c.Request.Header.Username, c.Request.Header.AuthRevision = "root", r.auth.Revision()
			r.apply(&c)
			return
		case f.Kind == WrongLease:
			c := *e
			c.Request = proto.Clone(e.Request).(*pb.InternalRaftRequest)
			c.Request.Put.Lease = f.Lease
			r.apply(&c)
			return
		}
	}
	r.apply(e)
	for _, f := range s.faults {
		switch {
		case f.Kind == Twice && f.Index == e.Index:
			r.execute(e)
		case f.Kind == Extra && f.Index == e.Index:
			r.execute(&Entry{Term: e.Term, Request: &pb.InternalRaftRequest{Header: &pb.RequestHeader{}, Put: f.Put}})
		case f.Kind == Replay && f.Index+uint64(f.Count)-1 == e.Index:
			for i := f.Index; i <= e.Index; i++ {
				r.execute(&s.log[i-1])
			}
		}
	}
}
