package effect

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// Log is a log with what its entries can write: of several members, if they follow the same one.
type Log struct {
	// entries in ascending order of index.
	entries   []Entry
	byContent map[signature][]int32 // positions of entries by what they could write
	// unsure are the keys that some entry writes with a content that depends on the state, as a put that keeps the value
	// does: such an entry may have made a revision that looks like another entry's.
	unsure map[string]struct{}
	// compactions are the entries that ask for a compaction, by its revision.
	compactions map[int64][]uint64
}

// NewLog prepares entries, which must be in ascending order of index, which may have gaps. It decodes each of them once
// and shows it to visit.
func NewLog(entries []Entry, visit func(e *Entry, r *raftlog.Request)) *Log {
	l := &Log{entries: entries, byContent: make(map[signature][]int32, len(entries)), unsure: map[string]struct{}{}, compactions: map[int64][]uint64{}}
	h := newHasher()
	for i := range entries {
		e := &entries[i]
		r := e.Request()
		l.doubt(h, r.Internal)
		if x := r.Internal.GetCompaction(); x != nil {
			l.compactions[x.Revision] = append(l.compactions[x.Revision], e.Index)
		}
		for _, s := range h.ofRequest(r.Internal) {
			l.byContent[s] = append(l.byContent[s], int32(i))
		}
		visit(e, r)
	}
	return l
}

// Compactions are the entries that ask for a compaction at a revision.
func (l *Log) Compactions(revision int64) []uint64 { return l.compactions[revision] }

// Compaction is the last of them, 0 if there is none.
func (l *Log) Compaction(revision int64) uint64 {
	if all := l.compactions[revision]; len(all) > 0 {
		return all[len(all)-1]
	}
	return 0
}

// doubt notes the keys of a request whose content is not fixed.
func (l *Log) doubt(h *hasher, in *pb.InternalRaftRequest) {
	switch {
	case in.GetPut() != nil:
		if r := in.Put; r.IgnoreValue || r.IgnoreLease {
			l.unsure[string(r.Key)] = struct{}{}
		}
	case in.GetTxn() != nil:
		for _, ops := range [][]*pb.RequestOp{in.Txn.Success, in.Txn.Failure} {
			if h.ofOps(ops) == 0 {
				l.doubtOps(ops)
			}
		}
	}
}

func (l *Log) doubtOps(ops []*pb.RequestOp) {
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil {
			l.unsure[string(r.Key)] = struct{}{}
		}
		if n := op.GetRequestTxn(); n != nil {
			l.doubtOps(n.Success)
			l.doubtOps(n.Failure)
		}
	}
}
