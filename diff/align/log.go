package align

import (
	"cmp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// Log is a log prepared for alignments: of several members, if they follow the same one.
type Log struct {
	// entries in ascending order, with entries without content wherever some are missing.
	entries   []Entry
	byContent map[signature][]int32 // positions of entries by what they could write
	// unsure are the keys that some entry writes with a content that depends on the state, as a put that keeps the value
	// does: such an entry may have made a revision that looks like another entry's.
	unsure map[string]struct{}
	// loose are the entries whose content depends on the state, in some branch at least.
	loose []bool
	// compactions are the entries that ask for a compaction, by its revision.
	compactions map[int64][]uint64
}

// NewLog prepares entries, which must be in ascending order of index; gaps are allowed. It decodes each of them once
// and shows it to visit.
func NewLog(entries []Entry, visit func(e *Entry, r *raftlog.Request)) *Log {
	l := &Log{entries: make([]Entry, 0, len(entries)), byContent: make(map[signature][]int32, len(entries)), unsure: map[string]struct{}{}, compactions: map[int64][]uint64{}}
	h := newHasher()
	for i := range entries {
		e := &entries[i]
		if i > 0 {
			l.entries = bridge(l.entries, entries[i-1].Index, e.Index)
		}
		r := e.Request()
		l.doubt(h, r.Internal)
		if x := r.Internal.GetCompaction(); x != nil {
			l.compactions[x.Revision] = append(l.compactions[x.Revision], e.Index)
		}
		all := h.ofRequest(r.Internal)
		for _, s := range all {
			l.byContent[s] = append(l.byContent[s], int32(len(l.entries)))
		}
		l.loose = append(l.loose, make([]bool, len(l.entries)-len(l.loose))...)
		l.loose = append(l.loose, changesKeys(r.Internal) && !fixed(r.Internal.GetTxn(), len(all)))
		l.entries = append(l.entries, *e)
		visit(e, r)
	}
	return l
}

// fixed tells whether the content of what a request writes is known, whatever the state, if it writes anything: that of a
// transaction, or else of one for which there are signatures.
func fixed(txn *pb.TxnRequest, signatures int) bool {
	if txn == nil {
		return signatures > 0
	}
	loose := func(op *pb.RequestOp) bool {
		p := op.GetRequestPut()
		return op.GetRequestRange() == nil && (p == nil || p.IgnoreValue || p.IgnoreLease)
	}
	return !slices.ContainsFunc(txn.Success, loose) && !slices.ContainsFunc(txn.Failure, loose)
}

// isLoose tells whether what entry i writes depends on the state.
func (l *Log) isLoose(i int) bool { return i < len(l.loose) && l.loose[i] }

// foreign is what it costs more that rows of which some fields were changed hold just what another entry than entry i
// writes: they were hardly changed to that by chance, and least of all if that is another value by more than one bit. Where
// only versions or revisions were changed, that is what the entry itself writes.
func (l *Log) foreign(s signature, i int, changed string, flipped bool) int {
	at := l.byContent[s]
	switch {
	case len(at) == 0 || slices.Contains(at, int32(i)):
		return 0
	case strings.Contains(changed, "value") && !flipped:
		return costForeign + costForeignValue
	case strings.Contains(changed, "value"), strings.Contains(changed, "lease"):
		return costForeign
	}
	return 0
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

// find is the position of an entry.
func (l *Log) find(index uint64) (int, bool) {
	return slices.BinarySearchFunc(l.entries, index, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
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

// upTo returns the entries, with some without content if a db is at an index that the log has not come to.
func (l *Log) upTo(index uint64) []Entry {
	n := len(l.entries)
	if n == 0 || l.entries[n-1].Index >= index {
		return l.entries
	}
	return bridge(slices.Clip(l.entries), l.entries[n-1].Index, index+1)
}

// maxUnknown is how many missing entries are stood in for one by one. A longer gap, as after a snapshot from the leader,
// is one entry that may have made any number of revisions.
const maxUnknown = 128

// bridge appends stand-ins for the entries between two indexes.
func bridge(to []Entry, after, before uint64) []Entry {
	if before-after-1 > maxUnknown {
		return append(to, Entry{Index: before - 1, many: true})
	}
	for i := after + 1; i < before; i++ {
		to = append(to, Entry{Index: i})
	}
	return to
}
