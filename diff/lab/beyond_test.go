package lab

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"

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

// TestCommitLost: up to 3.4 the consistent index is saved with changes of keys alone, and a server that is killed leaves a log whose commit index is
// behind what it has applied. The entries behind both may have been applied, or not.
func TestCommitLost(t *testing.T) {
	t.Parallel()
	// saved is the last entry that changed keys on a member; ahead tells whether the tables hold the effect of one behind it.
	saved := func(x *Member) (index uint64, ahead bool) {
		for _, f := range x.hist.effects {
			switch {
			case f.After > f.Before:
				index, ahead = f.Index, false
			case f.Tables:
				ahead = true
			}
		}
		return index, ahead
	}
	for _, c := range healthy(t, 6, func(c *Case) bool {
		return slices.ContainsFunc(c.Members, func(x *Member) bool {
			index, ahead := saved(x)
			return ahead && index > x.wals.first && x.wals.snap < index
		})
	}) {
		for i, x := range c.Members {
			index, _ := saved(x)
			w := x.wals
			if index <= w.first || w.snap >= index {
				continue
			}
			forget(t, filepath.Join(c.Dirs[i], "member", "snap", "db"), index)
			if err := os.RemoveAll(filepath.Join(c.Dirs[i], "member", "wal")); err != nil {
				t.Fatal(err)
			}
			w.in, w.commit, w.upTo, w.tail = nil, index, max(w.upTo, x.hist.index), 0
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

// forget makes of a db one of 3.4 whose consistent index was last saved with an entry.
func forget(t *testing.T, file string, index uint64) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		return errors.Join(meta.Put([]byte("consistent_index"), binary.BigEndian.AppendUint64(nil, index)), meta.Delete([]byte("term")), meta.Delete([]byte("storageVersion")))
	}), db.Close()); err != nil {
		t.Fatal(err)
	}
}
