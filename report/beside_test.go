package report

import (
	"slices"
	"testing"
)

func TestBeside(t *testing.T) {
	t.Parallel()
	const n = 5 * batchLines / 2
	for _, c := range []struct {
		name string
		size int // of each entry
		stop int // after so many
	}{
		{"small entries", 1, n},
		{"an entry fills a batch", batchBytes, n},
		{"what is written to is gone", 1, 3},
	} {
		var got, want []uint64
		b := newBeside(func(es []*LogEntry) { got = append(got, es[0].Index) }, func() bool { return len(got) == c.stop })
		for i := range uint64(n) {
			b.add([]*LogEntry{{Index: i, Size: c.size}})
			want = append(want, i)
		}
		b.wait()
		if !slices.Equal(got, want[:c.stop]) {
			t.Errorf("%s: %d entries shown, want %d in order", c.name, len(got), c.stop)
		}
	}
	// A fault of what shows reaches whoever waits, who does not wait for ever.
	defer func() {
		if p := recover(); p != "fault" {
			t.Errorf("%v", p)
		}
	}()
	b := newBeside(func([]*LogEntry) { panic("fault") }, func() bool { return false })
	for range n {
		b.add([]*LogEntry{{}})
	}
	b.wait()
}
