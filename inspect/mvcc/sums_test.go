package mvcc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestApart compares tables that lie in other pages: each revision that differs must be in a span, and in each span one does.
func TestApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 11))
		all := [][]Row{history(r, 1500, false)}
		for range 1 + r.IntN(2) {
			rows := slices.Clone(all[0])
			for range r.IntN(4) {
				switch i := r.IntN(len(rows)); r.IntN(4) {
				case 0:
					rows = slices.Delete(rows, i, min(i+1+r.IntN(200), len(rows)))
				case 1:
					rows = rows[:max(i, 1)]
				case 2:
					rows[i].Tombstone = !rows[i].Tombstone
				default:
					rows[i].Value = append([]byte("x"), rows[i].Value...)
				}
			}
			all = append(all, rows)
		}
		var tables []*Table
		for _, rows := range all {
			tables = append(tables, storedBy(t, rows, 1+r.IntN(len(rows)), 0.2+r.Float64()/2))
		}
		spans := Apart(tables)
		found := make([]bool, len(spans))
		for main := int64(0); main < all[0][len(all[0])-1].Rev.Main+2; main++ {
			k := slices.IndexFunc(spans, func(s Span) bool { return s.First <= main && main < s.End })
			for _, o := range tables[1:] {
				if slices.EqualFunc(tables[0].Group(main), o.Group(main), func(a, b Row) bool {
					return a.Rev == b.Rev && a.Tombstone == b.Tombstone && bytes.Equal(a.Value, b.Value)
				}) {
					continue
				}
				if k < 0 {
					t.Fatalf("seed %d: revision %d differs, and is not in %v", seed, main, spans)
				}
				found[k] = true
			}
		}
		if k := slices.Index(found, false); k >= 0 {
			t.Errorf("seed %d: nothing differs in %v", seed, spans[k])
		}
		for k := 1; k < len(spans); k++ {
			if spans[k].First <= spans[k-1].End {
				t.Errorf("seed %d: %v are not in order, or not joined", seed, spans)
			}
		}
	}
}

// TestApartUnknown compares with a table of which nothing was noted.
func TestApartUnknown(t *testing.T) {
	t.Parallel()
	rows := history(rand.New(rand.NewPCG(1, 11)), 300, false)
	table := stored(t, rows)
	for _, o := range []*Table{NewTable(rows, nil), table.With(nil, nil)} {
		if spans := Apart([]*Table{table, o}); len(spans) != 1 || spans[0].First > 0 || spans[0].End <= o.Last() {
			t.Errorf("%v", spans)
		}
	}
}
