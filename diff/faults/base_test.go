package faults

import (
	"cmp"
	"strings"
	"testing"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// beginners are members of which the log before an entry is gone.
func beginners(t *testing.T, first int, lives ...*life) (*apply.Log, []SuffixMember) {
	t.Helper()
	var named Named
	for _, l := range lives {
		n := NamesSince(mvcc.NewTable(l.rows, nil), l.tables, 0, 0)
		named.Keys, named.Leases = append(named.Keys, n.Keys...), append(named.Leases, n.Leases...)
	}
	rs := lives[0].x.requests(t)[first-1:]
	log := apply.NewLog(len(rs), func(i int) uint64 { return uint64(first + i) }, func(i int) *raftlog.Request { return rs[i] }, named.Keys, named.Leases)
	var ms []SuffixMember
	for _, l := range lives {
		e := NewEvidenceSince(log, mvcc.NewTable(l.rows, nil), l.tables, l.s.Revision, l.compact, 0)
		ms = append(ms, SuffixMember{Evidence: e, Committed: uint64(first + len(rs) - 1), Rules: []apply.Rules{l.rules}})
	}
	return log, ms
}

const later = `
	put a 1
	put b 1
	put gone 1
	put c 1
	txn b ? put a 2 : put z 1
	put b 2
	del gone
	put c 2
	txn gone ? put z 2 : put b 3
	put a 3
	del none
	put d 1
	put b 4
	put c 3`

// TestSearchLater finds faults in logs of which the first entries are gone, with two members beside on which nothing went wrong. "begins" is the revision
// before the first entry that is left.
func TestSearchLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		log     string // later if empty
		first   int    // entry that is left
		planted string
		compact int64
		begins  int64
		want    string
	}{
		{name: "nothing", first: 5, begins: 5, want: "0: no fault"},
		{name: "nothing, compacted", first: 5, compact: 12, begins: 5, want: "0: no fault"},
		{name: "in plain sight", first: 5, planted: "skip 10", begins: 5, want: "8: entry 10 had no effect"},
		{name: "skipped, compacted behind", first: 5, planted: "skip 8", compact: 11, begins: 5, want: "8: entry 8 had no effect"},
		{name: "the delete of a key that is only known by that", first: 5, planted: "skip 7", compact: 11, begins: 5, want: "8: entry 7 had no effect"},
		{name: "again, compacted behind", first: 5, planted: "again 8 10", compact: 12, begins: 5, want: "8: entries 8 to 10 were applied again"},
		{name: "three faults of a member, of which the others show what was before", log: strings.ReplaceAll(later, "del none", "put e 1"), first: 5, planted: "skip 6, skip 8, skip 13", compact: 11, begins: 5, want: "24: entry 6 had no effect; entry 8 had no effect; entry 13 had no effect"},
		{name: "from the beginning on", first: 1, planted: "skip 8", compact: 11, begins: 1, want: "8: entry 8 had no effect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := text(cmp.Or(c.log, later))
			odd := live(t, x, apply.Rules3510, c.planted, c.compact)
			log, ms := beginners(t, c.first, odd, live(t, x, apply.Rules3510, "", c.compact), live(t, x, apply.Rules3510, "", max(c.compact-2, 0)))
			all := SearchSuffix(log, ms, 0)
			if len(all) != len(ms) {
				t.Fatal("nothing was found")
			}
			if got := tell(all[0].Result); got != c.want {
				t.Errorf("found\n%s\nwant\n%s\nlimits %v", got, c.want, all[0].Limits)
			}
			for i, x := range all {
				if x.BaseRevision() != c.begins {
					t.Errorf("member %d begins with revision %d, want %d", i, x.BaseRevision(), c.begins)
				}
				if i > 0 && len(x.Readings[0].Faults) > 0 {
					t.Errorf("member %d, of which nothing went wrong: %s", i, tell(x.Result))
				}
				for _, r := range x.Readings {
					if !x.Explains(&r) {
						t.Errorf("member %d: %v does not explain the db", i, r.Faults)
					}
					for n, f := range r.Faults {
						if first, last := x.UntriedRange(&r, n); f.First < first || f.First > last {
							t.Errorf("member %d: %v is said not to lie in what may be untried, entries %d to %d", i, f, first, last)
						}
					}
				}
			}
		})
	}
}

// TestSearchLaterAlone asks one member: it has faults only if its rows show all that it held before its log begins. Without that, another beginning
// would explain as much.
func TestSearchLaterAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		planted string
		compact int64
		want    string
	}{
		{"nothing", "", 5, "0: no fault"},
		{"skipped", "skip 10", 5, "8: entry 10 had no effect"},
		{"again", "again 8 10", 0, "8: entries 8 to 10 were applied again"},
		{"compacted behind", "skip 8", 11, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log, ms := beginners(t, 5, live(t, later, apply.Rules3510, c.planted, c.compact))
			got := ""
			if all := SearchSuffix(log, ms, 0); all != nil {
				if got = tell(all[0].Result); !all[0].BaseShown() && len(all[0].Readings[0].Faults) > 0 {
					t.Error("there are faults, though what was before is compacted away")
				}
			}
			if got != c.want {
				t.Errorf("found\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestLeasesBefore asks whether leases that the log does not grant were there: that it revokes one, or attaches a key to it, does not say so.
func TestLeasesBefore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		log     text
		first   int
		compact int64
	}{
		{"revoked, and never there", "put a 1\nput b 1\nput c 1 7\nput a 2\nrevoke 7\nput b 2", 3, 0},
		{"revoked, and never there, compacted behind", "put a 1\nput b 1\nput c 1 7\nput a 2\nrevoke 7\nput b 2\nput a 3", 3, 5},
		{"there", "grant 7\nput a 1\nput b 1\nput c 1 7\nput a 2\nrevoke 7\nput b 2", 3, 0},
		{"there, with a key", "grant 7\nput a 1 7\nput b 1\nput c 1 7\nput b 2\nrevoke 7\nput b 3", 3, 0},
		{"not there, and not revoked", "put a 1\nput b 1\nput c 1 7\nput a 2\nput b 2", 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log, ms := beginners(t, c.first, live(t, c.log, apply.Rules3510, "", c.compact), live(t, c.log, apply.Rules3510, "", c.compact))
			all := SearchSuffix(log, ms, 0)
			if len(all) != len(ms) {
				t.Fatal("nothing was found")
			}
			for i, x := range all {
				if len(x.Readings[0].Faults) > 0 {
					t.Errorf("member %d: %s", i, tell(x.Result))
				}
			}
		})
	}
}

// TestGoesOn runs the end of a log on from what a member holds that has not come so far.
func TestGoesOn(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(plain)), "\n")
	whole := live(t, plain, apply.Rules3510, "", 0)
	for _, c := range []struct {
		name, planted string
		compact       int64
		change        func(l *life)
		want          bool
	}{
		{name: "healthy", want: true},
		{name: "compacted since", compact: 8, want: true},
		{name: "an entry behind it is skipped", planted: "skip 9"},
		{name: "one of those that both may have is skipped on the other", planted: "skip 3"},
		{name: "a lease that no entry grants", change: func(l *life) { l.tables.Leases = append(l.tables.Leases, schema.LeaseRecord{ID: 9, TTL: 60}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := live(t, plain, apply.Rules3510, c.planted, c.compact)
			if c.change != nil {
				c.change(to)
			}
			for n := 1; n < 8; n++ {
				from := live(t, text(strings.Join(lines[:n], "\n")), apply.Rules3510, "", 0)
				rs := plain.requests(t)[n:]
				var named Named
				for _, l := range []*life{whole, to, from} {
					more := NamesSince(mvcc.NewTable(l.rows, nil), l.tables, 0, 0)
					named.Keys, named.Leases = append(named.Keys, more.Keys...), append(named.Leases, more.Leases...)
				}
				log := apply.NewLog(len(rs), func(i int) uint64 { return uint64(n + 1 + i) }, func(i int) *raftlog.Request { return rs[i] }, named.Keys, named.Leases)
				evidence := func(l *life) *Evidence {
					return NewEvidenceSince(log, mvcc.NewTable(l.rows, nil), l.tables, l.s.Revision, l.compact, 0)
				}
				if got := GoesOn(log, evidence(from), evidence(to), apply.Rules3510); got != c.want {
					t.Errorf("from entry %d on: %v", n, got)
				}
			}
		})
	}
}
