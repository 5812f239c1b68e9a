package diff_test

import (
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff"
)

// onlyKeys tells whether a case changes rows of keys alone: all members have the 12 entries and the tables that all cases begin with.
func (c *cluster) onlyKeys() bool {
	for _, m := range []string{"a", "b", "c"} {
		if !slices.Contains(c.members, m) || c.block(m+" log") != c.log || tables(c.block(m)) != tables(c.rows) {
			return false
		}
	}
	return len(c.members) == 3
}

// tables are the lines that are no rows of keys.
func tables(lines string) (kept string) {
	for line := range strings.Lines(lines) {
		if !rowLine.MatchString(line) {
			kept += line
		}
	}
	return kept
}

// TestLedger asserts that what is told of one entry, one key, or one hash agrees with where the members parted.
func TestLedger(t *testing.T) {
	t.Parallel()
	asserted := 0
	for name, c := range clusters(t) {
		if !c.onlyKeys() {
			continue
		}
		asserted++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := c.open(t, c.members...)
			d := diff.Investigate(t.Context(), members, diff.Options{})
			p, l := placeOf(d), diff.NewLedger(members)
			// The first entry of which the outcomes differ is the one that they part at.
			first, seen := uint64(0), uint64(0)
			for line := range l.Lines(0, 0) {
				if seen++; line.Index != seen || len(line.Variants) != 1 || len(line.Variants[0].Members) != 3 {
					t.Fatalf("line %d: %+v", seen, line)
				}
				if _, differ := l.Outcomes(&line.Variants[0]); differ && first == 0 {
					first = line.Index
				}
			}
			if seen != 12 || first != p.first {
				t.Errorf("%d lines, outcomes differ from entry %d on: %+v", seen, first, p)
			}
			// Every revision has its entry, and what that makes is its rows.
			for i, m := range members {
				for rev := int64(2); rev <= m.DB.Revision(); rev++ {
					index, _, known := l.Making(i, rev)
					if !known {
						t.Errorf("%s: nothing is known of revision %d", m.Label, rev)
					}
					if e := l.Effect(i, index); index > 0 && !slices.Contains(e.Revisions, rev) {
						t.Errorf("%s: entry %d made revision %d, but its effect is %+v", m.Label, index, rev, e)
					}
					if len(l.Changes(i, rev)) != len(l.Rows(i, rev)) {
						t.Errorf("%s: revision %d has %d changes and %d rows", m.Label, rev, len(l.Changes(i, rev)), len(l.Rows(i, rev)))
					}
				}
			}
			// Members part over some key if, and only if, they part.
			all := ""
			if parts := l.Biography(diff.BiographyQuery{Prefix: &all}).Parts(); parts != (p.verdict == diff.Diverged) {
				t.Errorf("over some key they part: %v, and %+v", parts, p)
			}
			for _, k := range p.keys {
				key, _, _ := strings.Cut(k, " ")
				b := l.Biography(diff.BiographyQuery{Key: &key})
				if len(b.Keys) != 1 || !b.Parts() {
					t.Errorf("%s: %d keys, over which they part: %v", key, len(b.Keys), b.Parts())
				}
			}
			// Hashes are those of one group, or of two that part at the first revision that differs, if all have come so far.
			h := diff.Hashes(members, 0)
			groups, reached := 1, members[0].DB.Revision()
			for _, m := range members {
				reached = min(reached, m.DB.Revision())
			}
			if p.verdict == diff.Diverged && d.Divergences[0].Revision <= reached {
				groups = 2
			}
			if h.Common == nil || len(h.Common.Groups) != groups || len(h.Partings) != groups-1 {
				t.Fatalf("%+v", h)
			}
			for _, x := range h.Partings {
				if x.Entries[0] != p.first && x.Entries[1] != p.first {
					t.Errorf("hashes part at revision %d, of the entries %d: %+v", x.Revision, x.Entries, p)
				}
			}
		})
	}
	if asserted < 6 {
		t.Errorf("%d clusters only", asserted)
	}
}

// TestLives asserts what the lives of members have in common, however they end.
func TestLives(t *testing.T) {
	t.Parallel()
	asserted := 0
	for name, c := range clusters(t) {
		if !c.onlyKeys() {
			continue
		}
		asserted++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := c.open(t, c.members...)
			p, l := placeOf(diff.Investigate(t.Context(), members, diff.Options{})), diff.NewLedger(members)
			for i, m := range members {
				if l.Reach(i) != 12 || !l.Explained(i) || !l.BeginsWithCluster(i) || len(l.Log(i)) != 12 || len(diff.AppliedLog(members, i)) != 12 {
					t.Errorf("%s has come to entry %d, explained %v", m.Label, l.Reach(i), l.Explained(i))
				}
				if rev, ok := l.RevisionAt(i, 12); !ok || rev != m.DB.Revision() {
					t.Errorf("%s is at revision %d in the end", m.Label, rev)
				}
				last := int64(1)
				for index := uint64(1); index <= 12; index++ {
					rev, ok := l.RevisionAt(i, index)
					if !ok || rev < last {
						t.Errorf("%s is at revision %d after entry %d, and was at %d", m.Label, rev, index, last)
					}
					last = rev
					if e := l.Applied(i, index); e == nil || e.Index != index || diff.EntryAt(l.Log(i), index) == nil {
						t.Errorf("%s has no entry %d", m.Label, index)
					}
					if odd := slices.Contains(p.minority, m.Label) && index >= p.first; l.Departed(i, index) && !odd {
						t.Errorf("%s departed at entry %d", m.Label, index)
					}
				}
			}
			if forks := diff.LogForks(members); len(forks) > 0 {
				t.Errorf("%v", forks)
			}
		})
	}
	if asserted < 6 {
		t.Errorf("%d clusters only", asserted)
	}
}
