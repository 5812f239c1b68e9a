package diff

import (
	"bytes"
	"math"
	"runtime"
	"slices"
	"strings"

	"etcd-autopsy/inspect/mvcc"
)

// parting is the first main revision at which members that agreed so far hold different rows.
type parting struct {
	revision int64
	groups   [][]int // in order of their lowest member
}

// findDiffering finds the main revisions of which not all tables hold the same rows, and how many rows from the first on
// each table shares with the first one, byte for byte. It is one pass over all rows, on all processors: nearly always all
// rows are the same, and all that follows looks at the others alone. It returns the digests of the first table, which fall
// off on the way.
func (c *contents) findDiffering(tables []*mvcc.Table) mvcc.Digests {
	if c.shared = []int{tables[0].Len()}; len(tables) == 1 {
		return nil
	}
	noted := tables[0].NewDigests()
	var last int64
	for _, t := range tables {
		last = max(last, t.Last())
	}
	workers := int64(min(runtime.GOMAXPROCS(0), len(tables)+1))
	if total := int64(tables[0].Len()); total < 10_000 {
		workers = 1
	}
	parts := make([]difference, workers)
	// Cut where the rows are: after a restore revisions can be anywhere.
	cut := func(w int64) int64 {
		if w == workers {
			return last + 1
		}
		t := tables[0]
		return t.Row(int(w * int64(t.Len()) / workers)).Rev.Main
	}
	c.runTogether(func(spawn func(func())) {
		for w := range workers {
			from := int64(0)
			if w > 0 {
				from = cut(w)
			}
			spawn(func() { parts[w] = differingBetween(tables, from, cut(w+1), noted) })
		}
	})
	c.shared = make([]int, len(tables))
	for i, t := range tables {
		main := last + 1
		for _, p := range parts {
			if p.bytes != nil { // nil: it could not be read, and there will be no verdict
				main = min(main, p.bytes[i])
			}
		}
		c.shared[i] = min(t.Lower(main), tables[0].Lower(main))
	}
	for _, p := range parts {
		c.differing = append(c.differing, p.mains...)
	}
	return noted
}

// difference is what some revisions of tables differ in.
type difference struct {
	mains []int64 // that differ
	bytes []int64 // of each table the first one at which its rows are not those of the first table, byte for byte
}

// differingBetween compares the revisions from first to below end, and notes the digests of the first table, unless that
// is nil.
func differingBetween(tables []*mvcc.Table, first, end int64, noted mvcc.Digests) difference {
	d := difference{bytes: make([]int64, len(tables))}
	at := make([]*mvcc.Cursor, len(tables))
	more := make([]bool, len(tables))
	for i, t := range tables {
		at[i] = t.Cursor(t.Lower(first), t.Lower(end))
		more[i] = at[i].Next()
		d.bytes[i] = math.MaxInt64
	}
	same := make([]bool, len(tables)) // byte for byte as in the first table
	for {
		var low *mvcc.Row
		for i, c := range at {
			if more[i] && (low == nil || c.Row.Rev.Compare(low.Rev) < 0) {
				low = &c.Row
			}
		}
		if low == nil {
			return d
		}
		rev := low.Rev
		all, alike := true, true
		for i, c := range at {
			has := more[i] && c.Row.Rev == rev
			same[i] = has && (&c.Row == low || c.Row.Tombstone == low.Tombstone && bytes.Equal(c.Row.Value, low.Value))
			all = all && same[i]
			alike = alike && has && (same[i] || sameRow(low, &c.Row))
		}
		if n := len(d.mains); !alike && (n == 0 || d.mains[n-1] != rev.Main) {
			d.mains = append(d.mains, rev.Main)
		}
		for i, c := range at {
			// Against low, which is the first table's row unless that has none of this revision.
			if !all && !(same[i] && same[0]) && (more[i] && c.Row.Rev == rev || more[0] && at[0].Row.Rev == rev) {
				d.bytes[i] = min(d.bytes[i], rev.Main)
			}
		}
		for i, c := range at {
			if more[i] && c.Row.Rev == rev {
				if i == 0 && noted != nil {
					noted.Note(c)
				}
				more[i] = c.Next()
			}
		}
	}
}

// findPartings finds out of the revisions that differ those at which members part that agreed until then. A member takes part
// above the revision that it is compacted at, up to its last one, and at revisions that it could read. It also counts
// those that any two members disagree on.
func (c *contents) findPartings() (ps []parting, count int) {
	class := make([]int, len(c.ms))
	joined := make([]bool, len(c.ms))
	next := 1
	groups := make([][]mvcc.Row, len(c.ms))
	for _, main := range c.differing {
		var have []int
		for i, m := range c.ms {
			if m.DB.CompactRevision() < main && main <= c.last[i] && !m.DB.Rows.Unknown(main) {
				groups[i] = m.DB.Rows.Group(main)
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

// fieldsApart lists the fields in which rows of the same changes differ, empty if they are not of the same.
func fieldsApart(a, b []mvcc.Row) string {
	if len(a) != len(b) {
		return ""
	}
	var fields []string
	note := func(differs bool, field string) {
		if differs && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	for i := range a {
		var x, y mvcc.KeyValue
		if a[i].Rev != b[i].Rev || a[i].Tombstone != b[i].Tombstone || x.Decode(a[i].Value) != nil || y.Decode(b[i].Value) != nil || !bytes.Equal(x.Key, y.Key) {
			return ""
		}
		note(!bytes.Equal(x.Value, y.Value), "value")
		note(x.Lease != y.Lease, "lease")
		note(x.Version != y.Version, "version")
		note(x.Create != y.Create, "create_revision")
		note(x.Mod != y.Mod, "mod_revision")
	}
	return strings.Join(fields, ", ")
}
