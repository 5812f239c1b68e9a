package effect

import (
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// Log is a log with what its entries can write: of several members, if they follow the same one.
type Log struct {
	entries []Entry // in ascending order of index
	indexed sync.Once
	// byContent are the positions of entries by what they could write, and unsure the keys that some entry writes with a content that depends
	// on the state, as a put that keeps the value does: such an entry may have made a revision that looks like another entry's. Both are
	// there once write was called: where every member is explained nobody asks.
	byContent map[signature][]int32
	unfixed   map[string]struct{}
}

// NewLog prepares entries in ascending order of index, which may have gaps. It decodes each of them once and shows it to visit,
// for as long as that runs.
func NewLog(entries []Entry, visit func(e *Entry, r *raftlog.Request)) *Log {
	var d raftlog.Decoder
	for i := range entries {
		visit(&entries[i], entries[i].RequestBy(&d))
	}
	return &Log{entries: entries}
}

// indexContent finds out what the entries could write.
func (l *Log) indexContent() {
	l.indexed.Do(func() {
		l.byContent, l.unfixed = make(map[signature][]int32, len(l.entries)), map[string]struct{}{}
		h := newHasher()
		var d raftlog.Decoder
		for i := range l.entries {
			in := l.entries[i].RequestBy(&d).Internal
			l.noteUnfixed(h, in)
			for _, s := range h.ofRequest(in) {
				l.byContent[s] = append(l.byContent[s], int32(i))
			}
		}
	})
}

// noteUnfixed notes the keys of a request whose content is not fixed.
func (l *Log) noteUnfixed(h *hasher, in *pb.InternalRaftRequest) {
	switch {
	case in.GetPut() != nil:
		if r := in.Put; r.IgnoreValue || r.IgnoreLease {
			l.unfixed[string(r.Key)] = struct{}{}
		}
	case in.GetTxn() != nil:
		for _, ops := range [][]*pb.RequestOp{in.Txn.Success, in.Txn.Failure} {
			if h.ofOps(ops) == 0 {
				l.noteUnfixedOps(ops)
			}
		}
	}
}

func (l *Log) noteUnfixedOps(ops []*pb.RequestOp) {
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil {
			l.unfixed[string(r.Key)] = struct{}{}
		}
		if n := op.GetRequestTxn(); n != nil {
			l.noteUnfixedOps(n.Success)
			l.noteUnfixedOps(n.Failure)
		}
	}
}
