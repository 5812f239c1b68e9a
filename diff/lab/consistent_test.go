package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// healthy makes clusters without a fault that are consistent, of several seeds, which wanted likes.
func healthy(t *testing.T, n int, wanted func(c *Case) bool) (all []*Case) {
	t.Helper()
	root := scratch(t)
	for seed := uint64(1); len(all) < n && seed < 400; seed++ {
		dir := filepath.Join(root, fmt.Sprint(t.Name(), seed))
		m := newMaker(dir, seed)
		m.number = 0
		c, err := m.make(func([]*Fault) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		if c.Truth.Verdict == "consistent" && wanted(c) {
			all = append(all, c)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < n {
		t.Fatalf("only %d such clusters", len(all))
	}
	return all
}

// diffOf compares directories.
func diffOf(t *testing.T, args ...string) *diff.Document {
	t.Helper()
	set, err := inspect.Open(context.Background(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}()
	return diff.Compare(set.Members)
}

func editDB(t *testing.T, dir string, f func(tx *bbolt.Tx) error) {
	t.Helper()
	if err := edit(filepath.Join(dir, "member", "snap", "db"), f); err != nil {
		t.Fatal(err)
	}
}

// TestSameMemberTwice: copies of one member are no members to compare.
func TestSameMemberTwice(t *testing.T) {
	t.Parallel()
	for _, c := range healthy(t, 3, func(c *Case) bool { return len(c.Members) == 3 }) {
		a, b := c.Dirs[0], c.Dirs[1]
		if d := diffOf(t, "x="+a, "y="+a, "z="+a); d.Verdict != diff.NotComparable || len(d.Reasons) == 0 || !strings.Contains(d.Reasons[0], "copies of one member") {
			t.Errorf("seed %d: one member three times: %s %q", c.Seed, d.Verdict, d.Reasons)
		}
		d := diffOf(t, "x="+a, "y="+a, "z="+b)
		compared := 0
		for _, m := range d.Members {
			if m.Compared {
				compared++
			}
		}
		if d.Verdict != diff.Consistent || compared != 2 || !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, "x and y are copies of one member") }) {
			t.Errorf("seed %d: one of two members twice: %s, %d compared, notes %q", c.Seed, d.Verdict, compared, d.Notes)
		}
	}
}

// TestNotOneCluster: the same ids do not make one cluster.
func TestNotOneCluster(t *testing.T) {
	t.Parallel()
	cs := healthy(t, 3, func(c *Case) bool { return len(c.Members) == 3 })
	for i, c := range cs {
		o := cs[(i+1)%len(cs)]
		d := diffOf(t, "a="+c.Dirs[0], "b="+o.Dirs[1])
		if d.Verdict != diff.NotComparable || len(d.Divergences) > 0 || len(d.Reasons) < 2 || !strings.Contains(d.Reasons[0], "perhaps") {
			t.Errorf("seeds %d and %d, with the same id of the cluster: %s %q", c.Seed, o.Seed, d.Verdict, d.Reasons)
		}
	}
}

// TestVotesDiffer: a learner in one members bucket that votes in another's is a divergence, whatever raft says.
func TestVotesDiffer(t *testing.T) {
	t.Parallel()
	for _, c := range healthy(t, 3, func(c *Case) bool { return len(c.Members) == 3 && c.stopped() }) {
		editDB(t, c.Dirs[1], func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("members"))
			k, v := b.Cursor().First()
			var m map[string]any
			dec := json.NewDecoder(bytes.NewReader(v))
			dec.UseNumber()
			if err := dec.Decode(&m); err != nil {
				return err
			}
			m["isLearner"] = true
			delete(m, "name")
			v, err := json.Marshal(m)
			if err != nil {
				return err
			}
			return b.Put(bytes.Clone(k), v)
		})
		d := diffOf(t, c.args()...)
		if d.Verdict != diff.Diverged || d.Divergences[0].Layer != diff.LayerMembership || !slices.Equal(d.Divergences[0].Minority, []string{"b"}) {
			t.Errorf("seed %d: %s %q %q %s", c.Seed, d.Verdict, d.Reasons, d.NotComparedWhy, tellAll(d))
			continue
		}
		for _, version := range []string{"Up to 3.5 nobody reads it", "3.6 takes it", "3.7 makes raft's voters of it"} {
			if !strings.Contains(d.Divergences[0].What, version) {
				t.Errorf("seed %d: does not say %q: %s", c.Seed, version, d.Divergences[0].What)
			}
		}
		for _, e := range d.Divergences[0].Effects {
			if how := map[bool]string{true: " learns, by raft it votes", false: " votes, by raft it votes"}[slices.Equal(e.Members, []string{"b"})]; !strings.HasSuffix(e.Note, how) {
				t.Errorf("seed %d: %q: %s", c.Seed, e.Members, e.Note)
			}
		}
	}
}

// TestOwedLease: what its log says that a member must hold it must hold, also if the others have gone on.
func TestOwedLease(t *testing.T) {
	t.Parallel()
	lag := func(c *Case) bool {
		return len(c.Members) == 3 && len(c.Members[0].hist.dump["lease"]) > 0 && c.Members[0].wals.first == 1
	}
	for _, c := range healthy(t, 3, lag) {
		editDB(t, c.Dirs[0], func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("lease"))
			k, _ := b.Cursor().First()
			return b.Delete(bytes.Clone(k))
		})
		if d := diffOf(t, "a="+c.Dirs[0]); d.Verdict == diff.Consistent {
			t.Errorf("seed %d: alone: %s %s", c.Seed, d.Verdict, tellAll(d))
		}
		if d := diffOf(t, c.args()...); d.Verdict == diff.Consistent {
			t.Errorf("seed %d: %s %q %q %s", c.Seed, d.Verdict, d.Reasons, d.NotComparedWhy, tellAll(d))
		}
	}
}

// stopped tells whether all members have come to the same entry, with which their logs end.
func (c *Case) stopped() bool {
	return !slices.ContainsFunc(c.Members, func(m *Member) bool {
		return m.hist.index != c.Members[0].hist.index || m.wals.last != m.hist.index || m.wals.tail > 0
	})
}

func (c *Case) args() (args []string) {
	for i, d := range c.Dirs {
		args = append(args, c.Labels[i]+"="+d)
	}
	return args
}
