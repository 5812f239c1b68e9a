package diff

import (
	"bytes"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"etcd-autopsy/inspect/mvcc"
)

// parting is the first main revision at which members that agreed so far hold different rows.
type parting struct {
	revision int64
	groups   [][]int // in order of their lowest member
}

// findDiffering finds the main revisions of which not all tables hold the same rows, and how many rows from the first on
// each table shares with the first one, byte for byte. Nearly always all rows are the same, which their sums tell; the others are looked at
// on all processors, and all that follows looks at those that differ alone.
func (c *contents) findDiffering(tables []*mvcc.Table) {
	if c.shared = []int{tables[0].Len()}; len(tables) == 1 {
		return
	}
	pieces := cut(tables[0], mvcc.Apart(tables))
	parts := make([]difference, len(pieces))
	var next atomic.Int64
	c.runTogether(func(spawn func(func())) {
		for range runtime.GOMAXPROCS(0) {
			spawn(func() {
				for k := int(next.Add(1)) - 1; k < len(pieces); k = int(next.Add(1)) - 1 {
					parts[k] = differingBetween(tables, pieces[k])
				}
			})
		}
	})
	c.shared = make([]int, len(tables))
	for i, t := range tables {
		main := int64(math.MaxInt64)
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
}

// pieceRows is how many rows one processor compares at a time, about.
const pieceRows = 1 << 14

// cut cuts spans where the rows of a table are: after a restore revisions can be anywhere.
func cut(t *mvcc.Table, spans []mvcc.Span) (pieces []mvcc.Span) {
	for _, s := range spans {
		for i := t.Lower(s.First) + pieceRows; i < t.Lower(s.End); i += pieceRows {
			if main := t.Row(i).Rev.Main; main > s.First {
				pieces = append(pieces, mvcc.Span{First: s.First, End: main})
				s.First = main
			}
		}
		pieces = append(pieces, s)
	}
	return pieces
}

// differingBelow is the main revisions below end of which not all tables hold the same rows.
func differingBelow(end int64, tables ...*mvcc.Table) (mains []int64) {
	for _, s := range mvcc.Apart(tables) {
		if s.End = min(s.End, end); s.First < s.End {
			mains = append(mains, differingBetween(tables, s).mains...)
		}
	}
	return mains
}

// difference is what some revisions of tables differ in.
type difference struct {
	mains []int64 // that differ
	bytes []int64 // of each table the first one at which its rows are not those of the first table, byte for byte
}

// differingBetween compares the revisions of a span.
func differingBetween(tables []*mvcc.Table, s mvcc.Span) difference {
	d := difference{bytes: slices.Repeat([]int64{math.MaxInt64}, len(tables))}
	same := make([]bool, len(tables)) // byte for byte as in the first table that has the row
	for m := mergeRows(tables, s); m.next(); {
		main, first := m.first.Rev.Main, m.first
		all, alike := true, true
		for i, r := range m.rows {
			same[i] = r != nil && (r == first || r.Tombstone == first.Tombstone && bytes.Equal(r.Value, first.Value))
			all = all && same[i]
			alike = alike && r != nil && (same[i] || sameRow(first, r))
		}
		if all {
			continue
		}
		if n := len(d.mains); !alike && (n == 0 || d.mains[n-1] != main) {
			d.mains = append(d.mains, main)
		}
		for i, r := range m.rows {
			if !(same[i] && same[0]) && (r != nil || m.rows[0] != nil) {
				d.bytes[i] = min(d.bytes[i], main)
			}
		}
	}
	return d
}

// rowMerge walks the rows of some tables at the same time, one revision with its sub revision after the other.
type rowMerge struct {
	at   []*mvcc.Cursor
	more []bool // the cursor is at a row that was not passed yet

	// rows are those of the revision that next came to, of each table, nil where it has none; first is the first of them. They are valid until the
	// next call.
	rows  []*mvcc.Row
	first *mvcc.Row
}

func mergeRows(tables []*mvcc.Table, s mvcc.Span) *rowMerge {
	m := &rowMerge{at: make([]*mvcc.Cursor, len(tables)), more: make([]bool, len(tables)), rows: make([]*mvcc.Row, len(tables))}
	for i, t := range tables {
		m.at[i] = t.Cursor(t.Lower(s.First), t.Lower(s.End))
		m.more[i] = m.at[i].Next()
	}
	return m
}

// next moves to the next revision of which some table has a row, and tells whether there is one.
func (m *rowMerge) next() bool {
	m.first = nil
	for i, c := range m.at {
		if m.rows[i] != nil {
			m.more[i] = c.Next()
		}
		if m.more[i] && (m.first == nil || c.Row.Rev.Compare(m.first.Rev) < 0) {
			m.first = &c.Row
		}
	}
	if m.first == nil {
		return false
	}
	for i, c := range m.at {
		if m.rows[i] = nil; m.more[i] && c.Row.Rev == m.first.Rev {
			m.rows[i] = &c.Row
		}
	}
	return true
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
