package replay_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// cluster is the members of a scenario, whose logs are one.
type cluster struct {
	set *inspect.Set
	ms  map[string]*inspect.Member
	log []effect.Entry
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
			c.log = append(c.log, effect.Entry{Index: e.Index, Term: e.Term, Raw: e})
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

// TestLeaseRevoke is the incident that this package was built for: two rules for one request explain every revision.
func TestLeaseRevoke(t *testing.T) {
	c := read(t, "lease-revoke-auth")
	for _, base := range []string{"etcd-a", "etcd-b", "etcd-c"} {
		st, err := replay.Rewind(t.Context(), c.base(base), 1575, 1243)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			rules replay.Rules
			exact []string
		}{
			{replay.Today(), []string{"etcd-b"}},
			{replay.Today().With(replay.RevokeUnasked()), []string{"etcd-a", "etcd-c"}},
		} {
			res, match, err := replay.Compare(t.Context(), st, replay.Between(c.log, 1576, 2435), tt.rules, c.members(), replay.Options{TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if res.Entries != 860 {
				t.Errorf("%d entries, want 860", res.Entries)
			}
			for _, m := range match {
				if want := slices.Contains(tt.exact, m.Label); m.Exact() != want || m.Entries != 860 {
					t.Errorf("from %s, %s, %s: %s", base, tt.rules.Name, m.Label, m.String())
				}
				tables := c.ms[m.Label].DB.Tables
				if slices.Contains(tt.exact, m.Label) && len(res.Final.Leases) != len(tables.Leases) {
					t.Errorf("from %s, %s, %s: %d leases, want %d", base, tt.rules.Name, m.Label, len(res.Final.Leases), len(tables.Leases))
				}
			}
		}
	}
}

// TestHealthy runs whole logs from the first entry on: every member holds just what comes out.
func TestHealthy(t *testing.T) {
	for _, scenario := range []string{
		"healthy-3.2", "healthy-3.3", "healthy-3.4", "healthy-3.5", "healthy-3.6", "healthy-3.7", "healthy-upgrade-3.2-3.3", "healthy-upgrade-3.5-3.6",
		"membership-history", "learner-stuck",
	} {
		t.Run(scenario, func(t *testing.T) {
			c := read(t, scenario)
			res, match, err := replay.Compare(t.Context(), replay.Empty(), c.log, replay.Today(), c.members(), replay.Options{TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range match {
				tables := c.ms[m.Label].DB.Tables
				if !m.Exact() {
					t.Errorf("%s: %s", m.Label, m.String())
				}
				if tables.ConsistentIndex < res.Last {
					continue // its tables are of an earlier moment
				}
				if same, why := replay.SameAuth(res.Final.Auth, replay.Auth{Enabled: tables.AuthEnabled, Users: tables.Users, Roles: tables.Roles}); !same || res.Final.AuthRevision != max(tables.AuthRevision, 1) {
					t.Errorf("%s: %s, auth revision %d, want %d", m.Label, why, res.Final.AuthRevision, tables.AuthRevision)
				}
				if len(res.Final.Leases) != len(tables.Leases) {
					t.Errorf("%s: %d leases, want %d", m.Label, len(res.Final.Leases), len(tables.Leases))
				}
			}
		})
	}
}

// TestRewound takes members back to moments in between: what follows must come out the same.
func TestRewound(t *testing.T) {
	if testing.Short() {
		t.Skip("runs long logs many times")
	}
	for _, scenario := range []string{"healthy-3.3", "healthy-3.5", "healthy-3.7"} {
		c := read(t, scenario)
		revs := map[uint64]int64{}
		rev := int64(1)
		_, err := replay.Run(t.Context(), replay.Empty(), c.log, replay.Today(), replay.Options{TempDir: t.TempDir(), Each: func(fx *replay.Effect) {
			if fx.Revision > 0 {
				rev = fx.Revision
			}
			revs[fx.Index] = rev
		}})
		if err != nil {
			t.Fatal(err)
		}
		last := c.log[len(c.log)-1].Index
		label := c.set.Members[0].Label
		for at := last / 3; at < last; at += last / 7 {
			st, err := replay.Rewind(t.Context(), c.base(label), at, revs[at])
			if db := c.ms[label].DB; errors.Is(err, replay.ErrNoBase) && (revs[at] < db.CompactRevision() || revs[at] > db.Revision()) {
				continue
			}
			if err != nil {
				t.Fatalf("%s, entry %d: %v", scenario, at, err)
			}
			_, match, err := replay.Compare(t.Context(), st, replay.Between(c.log, at+1, last), replay.Today(), c.members(), replay.Options{TempDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range match {
				if m.Differ > 0 {
					t.Errorf("%s, %s from entry %d on: %s", scenario, m.Label, at, m.String())
				}
			}
		}
	}
}

// TestUndoneAuth takes auth tables back one entry at a time, and compares with those that the whole log makes.
func TestUndoneAuth(t *testing.T) {
	c := read(t, "auth-revision")
	b := c.base("node1")
	for index := uint64(388); index < 400; index++ {
		want, err := replay.AuthAt(t.Context(), c.log, index, replay.Today())
		if err != nil {
			t.Fatal(err)
		}
		b.Whole = false
		st, err := replay.Rewind(t.Context(), b, index, 330)
		if err != nil {
			t.Fatalf("entry %d: %v", index, err)
		}
		if same, why := replay.SameAuth(st.Auth, want); !same || st.Auth.Revision != want.Revision {
			t.Errorf("entry %d: %s, auth revision %d, want %d", index, why, st.Auth.Revision, want.Revision)
		}
	}
}

// TestFollow lets a member that has followed another rule be followed entry by entry.
func TestFollow(t *testing.T) {
	c := read(t, "lease-revoke-auth")
	st, err := replay.Rewind(t.Context(), c.base("etcd-b"), 1575, 1243)
	if err != nil {
		t.Fatal(err)
	}
	entries := replay.Between(c.log, 1576, 2435)
	var steps []effect.Step
	_, err = replay.Run(t.Context(), st, entries, replay.Today(), replay.Options{TempDir: t.TempDir(), Each: func(fx *replay.Effect) {
		steps = append(steps, effect.Step{Index: fx.Index, Revision: fx.Revision})
	}})
	if err != nil {
		t.Fatal(err)
	}
	db := c.ms["etcd-b"].DB
	own := &replay.Own{Rows: db.Rows, Compact: db.CompactRevision(), Last: db.Revision(), Told: steps}
	trail, err := replay.Follow(t.Context(), st, entries, own, replay.Today(), replay.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(trail.Departures) > 0 || trail.Entries != 860 {
		t.Errorf("by its own rules: %d departures, %d entries", len(trail.Departures), trail.Entries)
	}
	other, err := replay.Follow(t.Context(), st, entries, own, replay.Today().With(replay.RevokeUnasked()), replay.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(other.Departures) != 49 || other.Entries != 860-49 || other.Departures[0].Index != 1576 {
		t.Errorf("by the rule of 3.2: %d departures, %d entries", len(other.Departures), other.Entries)
	}
	for _, d := range other.Departures {
		if d.Revision != 0 || len(d.Ran.Changes) == 0 {
			t.Errorf("entry %d: the member made revision %d, the rule %d changes", d.Index, d.Revision, len(d.Ran.Changes))
		}
	}
}

func TestNoBase(t *testing.T) {
	c := read(t, "healthy-3.6")
	m := c.set.Members[0]
	if _, err := replay.Rewind(t.Context(), c.base(m.Label), 100, m.DB.CompactRevision()-1); !errors.Is(err, replay.ErrNoBase) {
		t.Errorf("compacted: %v", err)
	}
	b := c.base(m.Label)
	b.Whole = false
	if _, err := replay.Rewind(t.Context(), b, 0, 1); !errors.Is(err, replay.ErrNoBase) {
		t.Errorf("no beginning: %v", err)
	}
	if _, err := replay.Run(t.Context(), replay.Empty(), c.log[5:], replay.Today(), replay.Options{}); !errors.Is(err, replay.ErrNoBase) {
		t.Errorf("a gap in the log: %v", err)
	}
}

// TestRemoved looks for what is left of copies, whatever happens to a run.
func TestRemoved(t *testing.T) {
	c := read(t, "healthy-3.6")
	boom := &replay.Rule{Name: "panics", Request: func(x *replay.Exec) bool {
		if x.Index == 50 {
			panic("no good")
		}
		return true
	}}
	ctx, cancel := context.WithCancel(t.Context())
	for name, run := range map[string]func(dir string) error{
		"panic": func(dir string) error {
			_, err := replay.Run(t.Context(), replay.Empty(), c.log, replay.Today().With(boom), replay.Options{TempDir: dir})
			if e := (*replay.EntryError)(nil); !errors.As(err, &e) || e.Index != 50 {
				t.Errorf("a panic at entry 50: %v", err)
			}
			return err
		},
		"cancel": func(dir string) error {
			_, err := replay.Run(ctx, replay.Empty(), c.log, replay.Today(), replay.Options{TempDir: dir, Each: func(fx *replay.Effect) {
				if fx.Index == 60 {
					info, err := os.ReadDir(dir)
					if err != nil || len(info) != 1 {
						t.Fatalf("%d copies, %v", len(info), err)
					}
					if fi, err := info[0].Info(); err != nil || fi.Mode().Perm() != 0o700 {
						t.Errorf("the copy can be read by others: %v, %v", fi.Mode(), err)
					}
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			return err
		},
	} {
		dir := t.TempDir()
		if run(dir) == nil {
			t.Errorf("%s: no error", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %d files are left, %v", name, len(left), err)
		}
	}
}
