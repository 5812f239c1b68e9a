package lab

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"etcd-autopsy/diff"
)

// TestBeyondTheLog: a log that ends before the db does, as one that was copied first, tells nothing of what came between: of a lease that it grants, or
// of an alarm that it turns on, another entry may have been the end.
func TestBeyondTheLog(t *testing.T) {
	t.Parallel()
	ends := func(e Entry) bool { return e.Request.GetLeaseRevoke() != nil || e.Request.GetAlarm() != nil }
	for _, c := range healthy(t, 4, func(c *Case) bool {
		return len(c.Members) == 3 && len(c.Members[0].log) > 60 && slices.ContainsFunc(c.Members[0].log[30:], ends)
	}) {
		for i, x := range c.Members {
			if err := os.RemoveAll(filepath.Join(c.Dirs[i], "member", "wal")); err != nil {
				t.Fatal(err)
			}
			w := x.wals
			w.in, w.snap, w.purge, w.rewrite, w.tail, w.upTo, w.commit = nil, 0, false, false, 0, 30, 30
			if err := w.write(stream(c.Seed, "wal "+x.Label), c.Dirs[i], x.ID, x.log, x.hist); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{c.args(), c.args()[:1]} {
			if d := diffOf(t, args...); d.Verdict == diff.Diverged {
				t.Errorf("seed %d, %d members: %s %s", c.Seed, len(args), d.Verdict, tellAll(d))
			}
		}
	}
}

// TestUnreadBetween: nor does a log of which an entry in between cannot be decoded.
func TestUnreadBetween(t *testing.T) {
	t.Parallel()
	// end is the entry that revokes a lease of the first member which nothing grants again.
	end := func(c *Case) (index uint64) {
		x := c.Members[0]
		for _, e := range x.log[:x.hist.index] {
			if e.Request.GetLeaseRevoke() != nil && slices.ContainsFunc(x.hist.effects, func(f Effect) bool { return f.Index == e.Index && f.Tables && f.After == f.Before }) {
				index = e.Index
			}
		}
		return index
	}
	for _, c := range healthy(t, 4, func(c *Case) bool { return c.Members[0].wals.first == 1 && end(c) > 0 }) {
		c.relog(t, end(c), []byte{0x1a, 0x7f})
		if d := diffOf(t, c.args()[0]); d.Verdict != diff.Indeterminate {
			t.Errorf("seed %d, entry %d: %s %s", c.Seed, end(c), d.Verdict, tellAll(d))
		}
	}
}
