package raftlog

import (
	"slices"
	"testing"
	"time"
)

// TestClock asks for the entries around times at which processes were started.
func TestClock(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	id := func(prefix uint64, after time.Duration) *Request {
		return &Request{ID: prefix<<48 | uint64(begin.Add(after).UnixMilli())&(1<<40-1)<<8}
	}
	for _, test := range []struct {
		first uint64
		fresh bool
		since map[time.Duration]uint64
	}{
		{1, true, map[time.Duration]uint64{-time.Hour: 0, 0: 0, time.Minute: 0, time.Hour: 52, 2 * time.Hour: 52}},
		// Nothing tells how long the first processes had been running.
		{500, false, map[time.Duration]uint64{0: 0, time.Minute: 0, time.Hour: 551, 2 * time.Hour: 551}},
	} {
		var c Clock
		c.Note(test.first, id(1, 0))
		c.Note(test.first+1, id(2, time.Second))
		c.Note(test.first+50, id(1, 100*time.Millisecond))
		c.Note(test.first+100, id(1, time.Hour))
		want := []Start{
			{Prefix: 1, At: begin, First: test.first, Fresh: test.fresh},
			{Prefix: 2, At: begin.Add(time.Second), First: test.first + 1, Fresh: test.fresh},
			{Prefix: 1, At: begin.Add(time.Hour), First: test.first + 100, After: test.first + 50, Fresh: true},
		}
		if !slices.Equal(c.Starts, want) {
			t.Errorf("%+v, want %+v", c.Starts, want)
		}
		for after, want := range test.since {
			if got := c.Since(begin.Add(after)); got != want {
				t.Errorf("log from %d: since %v: %d, want %d", test.first, after, got, want)
			}
		}
		if got, ok := c.Until(begin.Add(time.Minute)); !ok || got != test.first+100 {
			t.Errorf("log from %d: until: %d, %v", test.first, got, ok)
		}
		if _, ok := c.Until(begin.Add(time.Hour)); ok {
			t.Errorf("log from %d: an entry after the last start", test.first)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	types := Types()
	for _, typ := range []string{"Put", "Txn", "DeleteRange", "LeaseRevoke", "AuthUserAdd", "ConfChange", "ConfChangeV2", "V2Request", "Empty", "Unknown", "ClusterVersionSet"} {
		if !slices.Contains(types, typ) {
			t.Errorf("no %s in %q", typ, types)
		}
	}
}
