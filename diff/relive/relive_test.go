package relive_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"etcd-autopsy/diff/lab"
	"etcd-autopsy/diff/relive"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

var seeds = flag.Int("relive.n", 25, "how many random clusters")

// lives are those of the members of a random cluster whose logs begin with it.
func lives(t *testing.T, c *lab.Case) map[int]*relive.Life {
	var args []string
	for i, d := range c.Dirs {
		args = append(args, c.Labels[i]+"="+d)
	}
	set, err := inspect.Open(context.Background(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	all := map[int]*relive.Life{}
	for i, m := range set.Members {
		es := m.Log.Entries
		if m.DB == nil || !m.DB.Whole || len(es) == 0 || es[0].Index != 1 || uint64(len(es)) < m.DB.Tables.ConsistentIndex {
			continue
		}
		var requests []*raftlog.Request
		for k := range es {
			r, err := raftlog.Decode(&es[k])
			if err != nil {
				t.Fatal(err)
			}
			requests = append(requests, r)
		}
		o := &relive.Member{
			Table: m.DB.Rows, Revision: m.DB.Revision(), Compact: max(m.DB.CompactRevision(), 0), Tables: m.DB.Tables,
			Live: map[string]mvcc.KeyValue{},
		}
		if o.Compact > 0 {
			m.DB.Rows.Index(nil).Live(o.Compact, func(key string, kv mvcc.KeyValue, _ mvcc.Row) { o.Live[key] = kv })
		}
		all[i] = relive.New(o, &relive.Start{}, requests, m.DB.Tables.ConsistentIndex)
	}
	return all
}

// TestRandomLives runs members of random clusters again, whose dbs etcd's own applier has made: nothing is odd about those that nothing
// befell, and what befell others is among what is found.
func TestRandomLives(t *testing.T) {
	root := t.TempDir()
	healthy, found := 0, 0
	for seed := uint64(1); seed <= uint64(*seeds); seed++ {
		c, err := lab.MakeIf(filepath.Join(root, fmt.Sprint(seed)), seed, func(fs []*lab.Fault) bool { return len(fs) < 2 })
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			continue
		}
		for i, l := range lives(t, c) {
			befallen := len(c.Faults) == 1 && slices.Contains(c.Faults[0].Members, i)
			all, none := l.Solutions()
			switch {
			case !befallen && !none:
				t.Errorf("seed %d: something is odd about %s, which nothing befell: %v", seed, c.Labels[i], all)
			case !befallen:
				healthy++
			case none || len(all) == 0:
			default:
				found++
				check(t, c, l, all)
			}
		}
	}
	t.Logf("%d members nothing befell, %d something that was found", healthy, found)
	if healthy == 0 || found == 0 {
		t.Error("that tests nothing")
	}
}

// check holds what may have befallen a member against what did.
func check(t *testing.T, c *lab.Case, l *relive.Life, all [][]relive.Seen) {
	t.Helper()
	for _, s := range all {
		var faults []relive.Fault
		for _, f := range s {
			faults = append(faults, f.Fault)
		}
		if !l.Reproduces(faults) {
			t.Errorf("seed %d: %v does not lead to what the db holds", c.Seed, s)
		}
	}
	for _, p := range c.Truth.Partings {
		if !p.Named || !p.Required || p.Fault.Kind == lab.Behind {
			continue
		}
		if !slices.ContainsFunc(all, func(s []relive.Seen) bool {
			return slices.ContainsFunc(s, func(f relive.Seen) bool { return f.Index == p.Index })
		}) {
			t.Errorf("seed %d: %s at entry %d is not among %v", c.Seed, p.Fault, p.Index, all)
		}
	}
}
