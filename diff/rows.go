package diff

import (
	"bytes"
	"runtime"
	"slices"
	"sync"

	"etcd-autopsy/inspect/mvcc"
)

// parting is the first main revision at which members that agreed so far hold different rows.
type parting struct {
	revision int64
	groups   [][]int // in order of their lowest member
}

// differing lists the main revisions of which not all tables hold the same rows, in order. It is one pass over all rows,
// on all processors: nearly always all rows are the same, and all that follows looks at the others alone.
func (c *comparison) findDiffering(tables []*mvcc.Table) []int64 {
	var last int64
	for _, t := range tables {
		last = max(last, t.Last())
	}
	workers := int64(min(runtime.GOMAXPROCS(0), len(tables)+1))
	if total := int64(tables[0].Len()); total < 10_000 {
		workers = 1
	}
	parts := make([][]int64, workers)
	var wg sync.WaitGroup
	// Cut where the rows are: after a restore revisions can be anywhere.
	cut := func(w int64) int64 {
		if w == workers {
			return last + 1
		}
		t := tables[0]
		return t.Row(int(w * int64(t.Len()) / workers)).Rev.Main
	}
	for w := range workers {
		wg.Go(func() {
			from := int64(0)
			if w > 0 {
				from = cut(w)
			}
			c.guard("the evidence", func() { parts[w] = differingBetween(tables, from, cut(w+1)) })
		})
	}
	wg.Wait()
	return slices.Concat(parts...)
}

// differingBetween does so for the revisions from first to below end.
func differingBetween(tables []*mvcc.Table, first, end int64) []int64 {
	var found []int64
	rows := make([][]mvcc.Row, len(tables))
	for i, t := range tables {
		rows[i] = t.Rows(t.Lower(first), t.Lower(end))
	}
	for {
		var low *mvcc.Row
		for _, rs := range rows {
			if len(rs) > 0 && (low == nil || rs[0].Rev.Compare(low.Rev) < 0) {
				low = &rs[0]
			}
		}
		if low == nil {
			return found
		}
		same := true
		for _, rs := range rows {
			same = same && len(rs) > 0 && (&rs[0] == low || sameRow(low, &rs[0]))
		}
		if n := len(found); !same && (n == 0 || found[n-1] != low.Rev.Main) {
			found = append(found, low.Rev.Main)
		}
		rev := low.Rev
		for i, rs := range rows {
			if len(rs) > 0 && rs[0].Rev == rev {
				rows[i] = rs[1:]
			}
		}
	}
}

// partings finds out of the revisions that differ those at which members part that agreed until then. A member takes part
// above the revision that it is compacted at, up to its last one, and at revisions that it could read. It also counts
// those that any two members disagree on.
func partings(differing []int64, tables []*mvcc.Table, last, compact []int64) (ps []parting, count int) {
	class := make([]int, len(tables))
	joined := make([]bool, len(tables))
	next := 1
	groups := make([][]mvcc.Row, len(tables))
	for _, main := range differing {
		var have []int
		for i, t := range tables {
			if compact[i] < main && main <= last[i] && !t.Unknown(main) {
				groups[i] = t.Group(main)
				have = append(have, i)
			}
		}
		if len(have) < 2 {
			continue
		}
		// What a member held when others parted may be compacted away. It is of the side that it agrees with afterwards.
		for _, i := range have {
			like := func(j int) bool { return joined[j] && sameRows(groups[i], groups[j]) }
			if k := slices.IndexFunc(have, like); !joined[i] && k >= 0 {
				class[i] = class[have[k]]
			}
		}
		for _, i := range have {
			joined[i] = true
		}
		for _, c := range classes(have, class) {
			parts := partition(c, func(i, j int) bool { return sameRows(groups[i], groups[j]) })
			if len(parts) < 2 {
				continue
			}
			ps = append(ps, parting{revision: main, groups: parts})
			for _, p := range parts[1:] {
				for _, i := range p {
					class[i] = next
				}
				next++
			}
		}
		if slices.ContainsFunc(have[1:], func(i int) bool { return !sameRows(groups[i], groups[have[0]]) }) {
			count++
		}
	}
	return ps, count
}

// classes splits members by their class, in order.
func classes(members, class []int) [][]int {
	return partition(members, func(i, j int) bool { return class[i] == class[j] })
}

// partition splits members into groups of those that are the same, in order of their lowest member.
func partition(members []int, same func(i, j int) bool) [][]int {
	var parts [][]int
	for _, i := range members {
		k := slices.IndexFunc(parts, func(p []int) bool { return same(p[0], i) })
		if k < 0 {
			parts = append(parts, []int{i})
		} else {
			parts[k] = append(parts[k], i)
		}
	}
	return parts
}

// sameRows compares the rows of one main revision. Bytes first: they nearly always settle it. Values written by 3.7 may
// lack fields that are zero, so that unequal bytes are decoded.
func sameRows(a, b []mvcc.Row) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameRow(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func sameRow(a, b *mvcc.Row) bool {
	if a.Rev != b.Rev || a.Tombstone != b.Tombstone {
		return false
	}
	if bytes.Equal(a.Value, b.Value) {
		return true
	}
	var x, y mvcc.KeyValue
	if x.Decode(a.Value) != nil || y.Decode(b.Value) != nil {
		return false
	}
	return x.Same(&y)
}
