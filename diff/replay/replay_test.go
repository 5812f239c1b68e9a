package replay_test

import (
	"context"
	"path/filepath"
	"testing"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// cluster is the members of a scenario, whose logs are one.
type cluster struct {
	set *inspect.Set
	ms  map[string]*inspect.Member
	log []align.Entry
}

func read(t *testing.T, scenario string) *cluster {
	t.Helper()
	dir := filepath.Join("../../testdata", scenario)
	paths, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
	if err != nil || len(paths) == 0 {
		t.Skipf("no testdata for %s", scenario)
	}
	set, err := inspect.Open(context.Background(), paths, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	c := &cluster{set: set, ms: map[string]*inspect.Member{}}
	have := map[uint64]*raftlog.Entry{}
	last := uint64(0)
	for _, m := range set.Members {
		c.ms[m.Label] = m
		for i := range m.Log.Entries {
			e := &m.Log.Entries[i]
			if e.Index <= m.DB.Tables.ConsistentIndex || e.Index <= m.Log.HardState.Commit {
				have[e.Index] = e
				last = max(last, e.Index)
			}
		}
	}
	for i := uint64(0); i <= last; i++ {
		if e := have[i]; e != nil {
			c.log = append(c.log, align.Entry{Index: e.Index, Term: e.Term, Raw: e})
		}
	}
	return c
}

func (c *cluster) base(label string) *replay.Base {
	m := c.ms[label]
	return &replay.Base{Rows: m.DB.Rows, Tables: m.DB.Tables, Log: c.log, Whole: len(c.log) > 0 && c.log[0].Index == 1}
}

func (c *cluster) members() []replay.Member {
	var all []replay.Member
	for _, m := range c.set.Members {
		all = append(all, replay.Member{Label: m.Label, Rows: m.DB.Rows, Compact: m.DB.CompactRevision(), Last: m.DB.Revision(), Through: m.DB.Tables.ConsistentIndex, Committed: max(m.Log.HardState.Commit, m.DB.Tables.ConsistentIndex)})
	}
	return all
}

// TestLeaseRevoke is the incident that this package was built for.
func TestLeaseRevoke(t *testing.T) {
	c := read(t, "lease-revoke-auth")
	st, err := replay.Rewind(context.Background(), c.base("etcd-a"), 1575, 1243)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d leases, notes %q", len(st.Leases), st.Notes)
	for _, rules := range []replay.Rules{replay.Today(), replay.Today().With(replay.RevokeUnasked())} {
		res, match, err := replay.Compare(context.Background(), st, replay.Between(c.log, 1576, 2435), rules, c.members(), replay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d entries, %d revisions, %d refused, final %d", res.Rules, res.Entries, res.Revisions, res.Refused, res.Final.Revision)
		for _, m := range match {
			t.Logf("  %s: %s", m.Label, m.String())
		}
	}
}

func TestDev(t *testing.T) {
	dirs, _ := filepath.Glob("../../testdata/*")
	for _, d := range dirs {
		t.Run(filepath.Base(d), func(t *testing.T) {
			defer func() {
				if p := recover(); p != nil {
					t.Log("panic", p)
				}
			}()
			c := read(t, filepath.Base(d))
			var b *inspect.Member
			for _, m := range c.set.Members {
				if m.DB != nil && m.DB.HasKeys {
					b = m
				}
			}
			t.Logf("log from %d n %d, base %s compact %d", c.log[0].Index, len(c.log), b.Label, b.DB.CompactRevision())
			st, err := replay.Rewind(context.Background(), c.base(b.Label), c.log[0].Index-1, 1)
			if err != nil {
				t.Log(err)
				return
			}
			es := c.log
			for i := range es {
				if i > 0 && es[i].Index != es[i-1].Index+1 {
					es = es[:i]
					t.Log("cut at", es[i-1].Index)
					break
				}
			}
			for _, rules := range []replay.Rules{replay.Today()} {
				res, match, err := replay.Compare(context.Background(), st, es, rules, c.members(), replay.Options{})
				if err != nil {
					t.Log(err)
					return
				}
				t.Logf("%s: %d entries, %d revisions, %d refused, final %d authrev %d", res.Rules, res.Entries, res.Revisions, res.Refused, res.Final.Revision, res.Final.AuthRevision)
				for _, m := range match {
					ok, why := replay.SameAuth(res.Final.Auth, replay.Auth{Enabled: c.ms[m.Label].DB.Tables.AuthEnabled, Users: c.ms[m.Label].DB.Tables.Users, Roles: c.ms[m.Label].DB.Tables.Roles})
					t.Logf("  %s: %s; auth %v %s rev %d, leases %d %d", m.Label, m.String(), ok, why, c.ms[m.Label].DB.Tables.AuthRevision, len(res.Final.Leases), len(c.ms[m.Label].DB.Tables.Leases))
				}
			}
		})
	}
}
