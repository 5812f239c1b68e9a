package faults

import (
	"cmp"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/apply"
)

const plain text = `
	put a 1
	put b 2
	put c 3
	put a 4
	del b
	put d 5
	txn b ? put e 6 : put f 7
	put a 8
	put g 9
	put h 10
	put c 11`

const asked text = `
	role root a z
	user root root
	role w a m
	user ann w
	auth
	root@ put a 1
	ann@ put b 2
	ann@ put x 3
	root@ put c 4
	ann@ put d 5
	root@ put x 6
	ann@ put e 7
	root@ put f 8`

const replayed text = `
	role root a z
	user root root
	auth
	root@4 put a 1
	root@4 passwd root
	root@5 passwd root
	root@6 put b 2
	root@8 put c 3
	root@6 put d 4
	root@8 put e 5`

const unsaved text = `
	role root a z
	user root root
	auth
	root@9 put a 1
	root@9 passwd root
	root@9 passwd root
	root@9 passwd root
	root@9 passwd root
	root@9 passwd root`

// withAnn turns auth on. Ann may read and write a and b.
const withAnn text = `
	role root a z
	user root root
	role w a c
	user ann w
	auth`

const leased text = withAnn + `
	grant 7
	root@ put a 1 7
	root@ put x 2 7
	root@ put b 1
	ann@ revoke 7
	root@ put c 2
	root@ put d 3`

const inTxn text = withAnn + `
	grant 7
	root@ put x 2 7
	root@ put a 1
	root@ put q 3
	ann@ txn a ? put b 1 7 : del b
	root@ put q 4
	ann@ txn a ? put b 2 7 : del b
	root@ put z 3`

const negative text = `
	grant -5
	put a 1 -5
	put b 2
	put a 3 -5
	put c 4
	revoke -5
	put d 5`

const readsInTxn text = withAnn + `
	root@/7 put x 2
	ann@/7 put a 1
	ann@/7 txn a ? put b 1 ; range x : put b 2
	root@/8 put q 4
	ann@/7 txn a ? put b 2 ; range a : put b 2
	ann@/8 txn a ? put a 3 : range x
	ann@/7 txn a ? put a 4 ; range x : put b 3
	root@/8 put z 3`

const upgrading text = withAnn + `
	grant 7
	root@ put x 2 7
	version 3.3.0
	root@ put a 1
	ann@ revoke 7
	root@ put c 2`

// TestOwnReads asserts what members do up to 3.6 with reads that the user of a transaction may not do: the one that proposed it refuses it, unless nobody waits
// for what it makes.
func TestOwnReads(t *testing.T) {
	for _, c := range []struct {
		name    string
		member  uint64
		planted string
		rules   apply.Rules
		want    string
		first   uint64 // of its own that it refused
	}{
		{name: "one that proposed none", member: 9, want: "0: no fault"},
		{name: "the proposer", member: 7, planted: "own 12, own 14, own 16", want: "0: no fault", first: 12},
		{name: "the proposer of another one", member: 8, planted: "own 15", want: "0: no fault", first: 15},
		{name: "the proposer, whose client did not wait for the first", member: 7, planted: "own 16", want: "3: entry 12, a transaction of its own, was applied without its reads", first: 16},
		{name: "another one refuses", member: 9, planted: "own 12", want: "8: entry 12 had no effect"},
		{name: "one whose id is not known", planted: "own 12, own 16", want: "16: entry 12 had no effect; entry 16 had no effect"},
		{name: "from 3.7 on all refuse", member: 9, rules: apply.Rules37, want: "0: no fault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := cmp.Or(c.rules, apply.Rules3530|apply.Rules3528|apply.Rules3512)
			for _, compact := range []int64{0, 5} {
				l := live(t, readsInTxn, rules, c.planted, compact)
				m := l.member(rules)
				m.ID, m.Newest = c.member, 6
				res := m.Search()
				if got := tell(res); got != c.want {
					t.Errorf("compacted at %d, found\n%s\nwant\n%s", compact, got, c.want)
					continue
				}
				if f, _ := m.OwnReads(&res.Readings[0]); f.First != c.first {
					t.Errorf("compacted at %d, of its own it refused entry %d first, want %d", compact, f.First, c.first)
				}
			}
		})
	}
}

// TestClusterVersion asserts that members go by the rules of a version from where the cluster's was set to it, and not by that of others.
func TestClusterVersion(t *testing.T) {
	for name, c := range map[string]struct {
		log           text
		planted, want string
	}{
		"set before":              {upgrading, "rules 3.3 13", "0: no fault"},
		"set before, not gone by": {upgrading, "", "16: entry 14 was applied although permissions or an alarm refuse that"},
		"not set":                 {text(strings.Replace(string(upgrading), "version 3.3.0", "empty", 1)), "rules 3.3 13", "8: entry 14 had no effect\n8: the rules of etcd 3.3 to 3.5.9 hold from entry 14 on"},
	} {
		t.Run(name, func(t *testing.T) {
			m := live(t, c.log, apply.Rules32, c.planted, 0).member(apply.Rules32)
			res := m.Search()
			if got := tell(res); got != c.want {
				t.Errorf("found\n%s\nwant\n%s", got, c.want)
			}
			rules := m.RulesOver(&res.Readings[0])
			if got := rules[len(rules)-1].Rules == apply.Rules33; got != (name != "not set") {
				t.Errorf("it ends by the rules of etcd %v", rules[len(rules)-1].Rules)
			}
		})
	}
}

// TestSearch finds faults in logs that a person can follow. Costs stand before the colon.
func TestSearch(t *testing.T) {
	for _, c := range []struct {
		name     string
		log      text
		planted  string
		compact  int64
		rules    []apply.Rules
		versions bool // all that a cluster of 3.6 may have come into question
		want     string
	}{
		{name: "nothing", log: plain, want: "0: no fault"},
		{name: "nothing, compacted", log: plain, compact: 9, want: "0: no fault"},
		{name: "skipped", log: plain, planted: "skip 6", want: "8: entry 6 had no effect"},
		{name: "skipped, compacted", log: plain, planted: "skip 6", compact: 9, want: "8: entry 6 had no effect"},
		{name: "skipped, overwritten since", log: plain, planted: "skip 4", compact: 10, want: "8: entry 4 had no effect"},
		{name: "a run skipped", log: plain, planted: "skip 4 6", compact: 7, want: "10: entries 4 to 6 had no effect"},
		{name: "the tail", log: plain, planted: "skip 10 11", want: "10: entries 10 to 11 had no effect"},
		{name: "again", log: plain, planted: "again 8 9", compact: 10, want: "8: entries 8 to 9 were applied again"},
		{name: "the last one again", log: plain, planted: "again 11 11", want: "8: entry 11 was applied again"},
		{name: "branch", log: plain, planted: "branch 7", compact: 10, want: "16: entry 7 took the other branch"},
		{name: "two", log: plain, planted: "skip 3, skip 9", compact: 8, want: "16: entry 3 had no effect; entry 9 had no effect"},
		{name: "a user refused", log: asked, planted: "refuse ann 12", want: "13: no request of user \"ann\" had an effect from entry 14 on\n16: entry 14 had no effect; entry 16 had no effect"},
		{name: "let pass", log: asked, planted: "pass 12", compact: 4, want: "16: entry 12 was applied although permissions or an alarm refuse that"},
		{name: "behind the saved index", log: replayed, planted: "again 7 8", want: "8: entries 7 to 8 were applied again\n11: entry 2 was applied again, 2 times\n11: entry 7 was applied again, 2 times"},
		{name: "behind the saved index, at three restarts", log: replayed, planted: "again 7 8, again 7 8, again 7 8", want: "14: entries 7 to 8 were applied again, 3 times\n17: entry 7 was applied again, 2 times; entries 7 to 8 were applied again, 2 times"},
		{
			name: "upgraded", log: leased, planted: "rules 3.3 1", rules: []apply.Rules{apply.Rules32},
			want: "8: entry 14 had no effect\n8: the rules of etcd 3.3 to 3.5.9 hold from entry 14 on",
		},
		{
			name: "by the rules of an older version, and no fault", log: inTxn, rules: []apply.Rules{apply.Rules3528 | apply.Rules3512},
			versions: true, want: "0: no fault",
		},
		{
			name: "upgraded past the rule of puts in transactions", log: inTxn, planted: "rules 3.5.30 15", compact: 6, rules: []apply.Rules{apply.Rules3528 | apply.Rules3512},
			versions: true, want: "8: entry 16 had no effect\n8: the rules of etcd 3.5.30 (or 3.4.44, 3.6.11) and later hold from entry 16 on",
		},
		{name: "negative leases", log: negative, planted: "lose 4", want: "8: leases with negative ids were unknown from entry 4 on"},
		{name: "negative leases, compacted", log: negative, planted: "lose 4", compact: 4, want: "8: leases with negative ids were unknown from entry 4 on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := apply.Rules3510
			if c.rules != nil {
				rules = c.rules[0]
			} else {
				c.rules = []apply.Rules{rules}
			}
			l := live(t, c.log, rules, c.planted, c.compact)
			if c.versions {
				c.rules = l.log.Versions(6, 6)
			}
			m := l.member(c.rules...)
			res := m.Search()
			if got := tell(res); got != c.want {
				t.Errorf("found\n%s\nwant\n%s\nlimits %v", got, c.want, res.Limits)
			}
			for _, r := range res.Readings {
				if !m.Explains(&r) {
					t.Errorf("%v does not explain the db", r.Faults)
				}
			}
		})
	}
}

// TestRows finds rows that are not what entries write.
func TestRows(t *testing.T) {
	for _, c := range []struct {
		name    string
		compact int64
		row     string // key and main revision
		change  func(kv *mvccpb.KeyValue)
		want    string
	}{
		{"value", 0, "d 7", func(kv *mvccpb.KeyValue) { kv.Value = []byte("?") }, "24: the rows of entry 6 are not what it writes"},
		{"value, compacted", 9, "d 7", func(kv *mvccpb.KeyValue) { kv.Value = []byte("?") }, "24: the rows of entry 6 are not what it writes"},
		{"create revision", 9, "a 9", func(kv *mvccpb.KeyValue) { kv.CreateRevision = 3 }, "24: the rows of entry 8 are not what it writes"},
		{"version", 9, "a 9", func(kv *mvccpb.KeyValue) { kv.Version = 2 }, "24: the rows of entry 8 are not what it writes"},
		{"lost", 0, "d 7", nil, "24: the rows of entry 6 are not what it writes"},
		{"lost, compacted", 9, "d 7", nil, "24: the rows of entry 6 are not what it writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := live(t, plain, apply.Rules3510, "", c.compact)
			key, main, _ := strings.Cut(c.row, " ")
			for i, r := range l.rows {
				if string(r.Key()) != key || r.Rev.Main != number(t, main) {
					continue
				}
				if c.change == nil {
					l.rows = append(l.rows[:i:i], l.rows[i+1:]...)
					break
				}
				var kv mvccpb.KeyValue
				if err := proto.Unmarshal(r.Value, &kv); err != nil {
					t.Fatal(err)
				}
				c.change(&kv)
				v, err := proto.Marshal(&kv)
				if err != nil {
					t.Fatal(err)
				}
				l.rows[i].Value = v
			}
			res := l.member(apply.Rules3510).Search()
			if got := tell(res); got != c.want {
				t.Errorf("found\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestTables finds tables that are not what entries make of them, and data that is ahead of the consistent index.
func TestTables(t *testing.T) {
	l := live(t, "grant 7\nput a 1 7\nput b 2", apply.Rules3510, "", 0)
	l.tables.Leases = nil
	if got, want := tell(l.member(apply.Rules3510).Search()), "24: the lease table was changed otherwise than by an entry"; got != want {
		t.Errorf("a lease is gone: found\n%s\nwant\n%s", got, want)
	}
	l = live(t, plain, apply.Rules3510, "", 0)
	l.tables.ConsistentIndex = 9
	if got, want := tell(l.member(apply.Rules3510).Search()), "10: the consistent index stayed behind: the data is that of entry 11"; got != want {
		t.Errorf("the index was left behind: found\n%s\nwant\n%s", got, want)
	}
}

// TestRestartsAhead finds auth entries that restarts applied again where none of them saved a consistent index: up to 3.4 only changes of keys do.
func TestRestartsAhead(t *testing.T) {
	for _, c := range []struct {
		name, planted, want string
		auth                uint64 // revision that the table has besides
	}{
		{name: "none", want: "0: no fault"},
		{name: "one", planted: "again 7 9", want: "8: entries 7 to 9 were applied again\n11: entry 7 was applied again; entries 7 to 8 were applied again"},
		{name: "two at the end", planted: "again 7 11, again 7 11", want: "11: entries 7 to 11 were applied again, 2 times\n" +
			"14: entry 7 was applied again; entries 7 to 10 were applied again; entries 7 to 11 were applied again\n" +
			"14: entries 7 to 8 were applied again; entries 7 to 9 were applied again; entries 7 to 11 were applied again\n" +
			"14: entries 7 to 8 were applied again; entries 7 to 10 were applied again, 2 times\n" +
			"14: entries 7 to 9 were applied again, 2 times; entries 7 to 10 were applied again"},
		{
			name: "behind different entries", planted: "again 7 8, again 7 11",
			want: "11: entries 7 to 8 were applied again; entries 7 to 11 were applied again\n" +
				"11: entries 7 to 9 were applied again; entries 7 to 10 were applied again\n" +
				"14: entry 7 was applied again; entries 7 to 8 were applied again; entries 7 to 10 were applied again\n" +
				"14: entry 7 was applied again; entries 7 to 9 were applied again, 2 times\n" +
				"14: entry 7 was applied again, 2 times; entries 7 to 11 were applied again\n" +
				"14: entries 7 to 8 were applied again, 2 times; entries 7 to 9 were applied again",
		},
		{name: "more than entries can make", auth: 100, want: "24: the auth table was changed otherwise than by an entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := live(t, unsaved, apply.Rules3510, c.planted, 0)
			l.tables.ConsistentIndex, l.tables.HasTerm = 6, false
			l.tables.AuthRevision += c.auth
			m := l.member(apply.Rules3510)
			res := m.Search()
			if got := tell(res); got != c.want {
				t.Errorf("found\n%s\nwant\n%s\nlimits %v", got, c.want, res.Limits)
			}
			for _, r := range res.Readings {
				if !m.Explains(&r) {
					t.Errorf("%v does not explain the db", r.Faults)
				}
			}
		})
	}
}

const behindIndex text = withAnn + `
	grant 7
	root@ put x 2 7
	grant 8
	revoke 7
	grant 9
	revoke 8`

// TestFaultAhead finds faults at an entry behind a consistent index that no entry moved since: the tables show that the member has come further.
func TestFaultAhead(t *testing.T) {
	for planted, want := range map[string]string{
		"rules 3.3 13":          "8: entry 13 had no effect\n8: the rules of etcd 3.3 to 3.5.9 hold from entry 13 on",
		"skip 13":               "8: entry 13 had no effect\n8: the rules of etcd 3.3 to 3.5.9 hold from entry 13 on",
		"skip 13, skip 14 15":   "0: no fault", // it may have stopped before
		"rules 3.3 13, skip 15": "8: entry 13 had no effect\n8: the rules of etcd 3.3 to 3.5.9 hold from entry 13 on",
	} {
		t.Run(planted, func(t *testing.T) {
			l := live(t, behindIndex, apply.Rules32, planted, 0)
			l.tables.ConsistentIndex, l.tables.HasTerm = 11, false
			m := l.member(apply.Rules32)
			if got := tell(m.Search()); got != want {
				t.Errorf("found\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestTrace tells of every step what it did.
func TestTrace(t *testing.T) {
	m := live(t, plain, apply.Rules3510, "skip 6", 0).member(apply.Rules3510)
	res := m.Search()
	made, skipped := 0, 0
	m.Trace(&res.Readings[0], func(st *Step) {
		if st.Result == apply.Made {
			made++
		}
		if st.Fault != nil && st.Index == 6 {
			skipped++
		}
	})
	if made != 10 || skipped != 1 {
		t.Errorf("%d revisions made, %d entries skipped", made, skipped)
	}
}
