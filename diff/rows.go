package diff

import (
	"bytes"
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// parting is the first main revision at which members that agreed so far hold different rows.
type parting struct {
	revision int64
	groups   [][]int // in order of their lowest member
}

// partings walks the revisions above compact on all tables at once. A member takes part up to its last revision, and at
// revisions that it could read. differing counts the main revisions at which any two members differ.
func partings(tables []*mvcc.Table, last []int64, compact int64) (ps []parting, differing int) {
	at := make([]int, len(tables))
	class := make([]int, len(tables))
	next := 1
	for i, t := range tables {
		at[i] = t.Lower(compact + 1)
	}
	groups := make([][]mvcc.Row, len(tables))
	for {
		var main int64
		for i, t := range tables {
			if at[i] < t.Len() {
				if m := t.Row(at[i]).Rev.Main; main == 0 || m < main {
					main = m
				}
			}
		}
		if main == 0 {
			return ps, differing
		}
		var have []int
		for i, t := range tables {
			lo := at[i]
			for at[i] < t.Len() && t.Row(at[i]).Rev.Main == main {
				at[i]++
			}
			if main <= last[i] && !t.Unknown(main) {
				groups[i] = t.Rows(lo, at[i])
				have = append(have, i)
			}
		}
		if len(have) < 2 {
			continue
		}
		differ := false
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
		for _, i := range have[1:] {
			differ = differ || class[i] != class[have[0]] && !sameRows(groups[i], groups[have[0]])
		}
		if differ {
			differing++
		}
	}
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
