package mvcc

import (
	"math/rand/v2"
	"testing"
)

// big is a table in a file.
func big(b *testing.B) (*Table, int64) {
	b.Helper()
	rows := history(rand.New(rand.NewPCG(1, 1)), 100_000, false)
	var size int64
	for i := range rows {
		size += int64(len(rows[i].Value))
	}
	return stored(b, rows), size
}

func BenchmarkCursor(b *testing.B) {
	t, _ := big(b)
	b.ReportMetric(float64(t.Len()), "rows/op")
	for b.Loop() {
		for c := t.Cursor(0, t.Len()); c.Next(); {
			if c.Row.Rev.Main == 0 {
				b.Fatal("no revision")
			}
		}
	}
}

func BenchmarkRow(b *testing.B) {
	t, _ := big(b)
	r := rand.New(rand.NewPCG(2, 2))
	for b.Loop() {
		if t.Row(r.IntN(t.Len())).Rev.Main == 0 {
			b.Fatal("no revision")
		}
	}
}

func BenchmarkLink(b *testing.B) {
	t, _ := big(b)
	for b.Loop() {
		fresh := &Table{db: t.db, parts: t.parts, n: t.n}
		if fresh.CountLive() == 0 {
			b.Fatal("nothing is alive")
		}
	}
}

func BenchmarkHashKV(b *testing.B) {
	t, size := big(b)
	b.SetBytes(size)
	for b.Loop() {
		t.HashKV(t.Last(), 0)
	}
}
