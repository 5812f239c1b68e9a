package effect

import (
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// ambiguousAtStart is how many pairs next to the beginning of a log that does not begin with the cluster are no pins: what looks like an entry's may
// be that of one just before, which no log holds any more.
const ambiguousAtStart = 8

// UniqueMatches are the entries up to an index of which just one main revision above a compact revision holds what they write, and no other entry
// writes that: the longest chain of them that ascends in entries and revisions.
func (l *Log) UniqueMatches(t *mvcc.Table, compact int64, index uint64) []Step {
	l.indexContent()
	h := newHasher()
	type seen struct {
		revision int64
		again    bool
	}
	of := map[signature]seen{}
	var order []signature
	var rows []mvcc.Row
	add := func() {
		if len(rows) == 0 || !l.hasFixedContent(rows) {
			return
		}
		s := h.ofRows(rows)
		if s == 0 || len(l.byContent[s]) != 1 {
			return
		}
		if x, ok := of[s]; ok {
			of[s] = seen{x.revision, true}
			return
		}
		of[s], order = seen{revision: rows[0].Rev.Main}, append(order, s)
	}
	from := max(compact, t.Last()-2*int64(len(l.entries))-ambiguousAtStart) // what is older was hardly written by these entries
	for at := t.Cursor(t.Lower(from+1), t.Len()); at.Next(); {
		if len(rows) > 0 && rows[0].Rev.Main != at.Row.Rev.Main {
			add()
			rows = rows[:0]
		}
		rows = append(rows, at.Row)
	}
	add()
	var all []Step
	for _, s := range order {
		e := &l.entries[l.byContent[s][0]]
		if x := of[s]; !x.again && e.Index <= index && !t.Unknown(x.revision) {
			all = append(all, Step{Index: e.Index, Revision: x.revision})
		}
	}
	if all = ascending(all); len(l.entries) > 0 && l.entries[0].Index > 1 {
		all = all[min(ambiguousAtStart, len(all)):]
	}
	return all
}

// hasFixedContent tells whether what rows hold names its entry: puts of keys that are always written with a fixed content. What was deleted may have
// been by a range, or with a lease.
func (l *Log) hasFixedContent(rows []mvcc.Row) bool {
	return !slices.ContainsFunc(rows, func(r mvcc.Row) bool {
		_, unsure := l.unfixed[string(r.Key())]
		return unsure || r.Tombstone
	})
}

// Writers are the entries that may have written the rows of one main revision, in order.
func (l *Log) Writers(rows []mvcc.Row) (indexes []uint64) {
	if len(rows) == 0 {
		return nil
	}
	l.indexContent()
	if l.hasFixedContent(rows) {
		for _, n := range l.byContent[newHasher().ofRows(rows)] {
			indexes = append(indexes, l.entries[n].Index)
		}
		return indexes
	}
	deletes := !slices.ContainsFunc(rows, func(r mvcc.Row) bool { return !r.Tombstone })
	for n := range l.entries {
		e := &l.entries[n]
		in := e.Request().Internal
		// The keys of a lease are not named where it is revoked.
		if deletes && in.GetLeaseRevoke() != nil || !slices.ContainsFunc(rows, func(r mvcc.Row) bool { return !touches(in, r.Key()) }) {
			indexes = append(indexes, e.Index)
		}
	}
	return indexes
}

// ascending is the longest subsequence of steps, ascending in revisions, that ascends in entries, too.
func ascending(all []Step) (chain []Step) {
	var tails []int // indexes into all
	before := make([]int, len(all))
	for k := range all {
		at, _ := slices.BinarySearchFunc(tails, all[k].Index, func(t int, index uint64) int {
			switch x := all[t].Index; {
			case x < index:
				return -1
			case x > index:
				return 1
			}
			return 0
		})
		if before[k] = -1; at > 0 {
			before[k] = tails[at-1]
		}
		if at == len(tails) {
			tails = append(tails, k)
		} else {
			tails[at] = k
		}
	}
	if len(tails) > 0 {
		for k := tails[len(tails)-1]; k >= 0; k = before[k] {
			chain = append(chain, all[k])
		}
	}
	slices.Reverse(chain)
	return chain
}
