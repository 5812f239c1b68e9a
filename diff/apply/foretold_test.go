package apply

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// anyOp is an operation of a transaction in words.
func anyOp(r *rand.Rand, depth int) string {
	key := pick(r, "a", "b", "c", "d")
	switch n := r.IntN(12); {
	case n < 5:
		return strings.TrimSpace("put " + key + " " + pick(r, "1", "2", "3") + " " + pick(r, "", "", "lease=7", "keep-value", "keep-lease", "lease=8"))
	case n < 8:
		return "del " + key + " " + pick(r, "", "", "b", "c", "d", "*")
	case n < 9:
		return "range " + pick(r, "0", "0", "1", "2", "50")
	case depth < 3:
		return anyTxn(r, depth+1)
	}
	return "put " + key + " 4"
}

func anyTxn(r *rand.Rand, depth int) string {
	var compares []string
	for range r.IntN(3) {
		key, sign := pick(r, "a", "b", "c", "a..c", "b..*"), pick(r, "=", "!=", "<", ">")
		compares = append(compares, pick(r, "create", "mod", "version", "lease", "value")+" "+key+" "+sign+" "+pick(r, "0", "1", "2", "7"))
	}
	branch := func() string {
		var ops []string
		for range r.IntN(4) {
			ops = append(ops, anyOp(r, depth))
		}
		return "{ " + strings.Join(ops, " ; ") + " }"
	}
	return "if " + strings.Join(compares, " , ") + " " + branch() + " else " + branch()
}

// anyRequest is one in words.
func anyRequest(r *rand.Rand) string {
	switch r.IntN(10) {
	case 0:
		return "grant " + pick(r, "7", "8")
	case 1:
		return "revoke " + pick(r, "7", "8")
	case 2:
		return "compact " + pick(r, "1", "2", "3", "9")
	case 3, 4, 5:
		return anyTxn(r, 0)
	case 6:
		return "del " + pick(r, "a", "b", "c") + " " + pick(r, "", "c", "*")
	}
	return strings.TrimSpace("put " + pick(r, "a", "b", "c", "d") + " " + pick(r, "1", "2", "3") + " " + pick(r, "", "", "lease=7", "keep-value", "keep-lease"))
}

// anyLog is one of n requests, and their words.
func anyLog(t *testing.T, r *rand.Rand, n int) (*Log, []string) {
	t.Helper()
	var words []string
	var rs []*raftlog.Request
	for range n {
		w := anyRequest(r)
		words, rs = append(words, w), append(rs, requestOf(t, w))
	}
	return ready(rs, "a", "b", "c", "d"), words
}

// TestForetold asserts that entries do nothing that was not told before, on whatever state: what is built on that leaves out entries
// that cannot matter.
func TestForetold(t *testing.T) {
	t.Parallel()
	made := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		l, words := anyLog(t, r, 40)
		s := New(l)
		attached := map[int32]bool{} // keys that some entry told may be removed with a lease
		for i := range l.Entries {
			e := &l.Entries[i]
			removes := map[int32]bool{}
			e.MayRemove(func(lo, hi int32) {
				for k := lo; k < hi; k++ {
					removes[k], attached[k] = true, true
				}
			})
			least, most := e.Range()
			touches, leases := e.Touches(), e.Uses()
			before, revision := s.LeasesDigest(), s.Revision
			s.Apply(e, Plain)
			if n := int(s.Revision - revision); n < least || n > most {
				t.Fatalf("seed %d: %s: %d revisions, told %d to %d", seed, words[i], n, least, most)
			} else {
				made += n
			}
			if s.LeasesDigest() != before && len(leases) == 0 {
				t.Fatalf("seed %d: %s: changes a lease", seed, words[i])
			}
			for _, c := range s.Changes {
				key := l.Keys[c.Key]
				switch {
				case !c.Delete:
					told := false
					e.Puts(func(k int32, v Value, keeps bool) {
						told = told || k == c.Key && (!keeps && v == c.Record.Value || keeps)
					})
					if !told || !slices.Contains(touches, c.Key) || !slices.Contains(l.Places().PutsOfKey(c.Key), int32(i)) {
						t.Fatalf("seed %d: %s: puts %s=%s, which was not told", seed, words[i], key, l.Bytes(c.Record.Value))
					}
				case e.Kind == Revoke:
					if !attached[c.Key] {
						t.Fatalf("seed %d: %s: deletes %s, of which no entry before said that it may be removed", seed, words[i], key)
					}
				case !removes[c.Key] || !e.Deletes(c.Key) || !slices.Contains(touches, c.Key):
					t.Fatalf("seed %d: %s: deletes %s, which was not told", seed, words[i], key)
				}
			}
		}
	}
	if made < 1000 {
		t.Fatalf("%d revisions only: the logs are too tame", made)
	}
}

// TestAsksAll asserts that what an entry does rests on nothing but the keys that it asks, leases and revisions.
func TestAsksAll(t *testing.T) {
	t.Parallel()
	compared := 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		l, words := anyLog(t, r, 20)
		s := New(l)
		for i := range l.Entries {
			e := &l.Entries[i]
			if e.Kind != Put && e.Kind != Delete && e.Kind != Txn {
				s.Apply(e, Plain)
				continue
			}
			asked := map[int32]bool{}
			e.Asks(func(lo, hi int32, _ Hint) {
				for k := lo; k < hi; k++ {
					asked[k] = true
				}
			})
			mark := s.Mark()
			want := changes(s, s.Apply(e, Plain))
			s.Revert(mark)
			for k := range l.Keys {
				if !asked[int32(k)] {
					s.Set(int32(k), Record{Create: 1, Mod: 1, Version: int64(1 + r.IntN(3)), Value: NewValue([]byte("7"))})
					compared++
				}
			}
			if got := changes(s, s.Apply(e, Plain)); got != want {
				t.Fatalf("seed %d: %s: %s where keys are others that it does not ask, otherwise %s", seed, words[i], got, want)
			}
			s.Revert(mark)
			s.Apply(e, Plain)
		}
	}
	if compared < 1000 {
		t.Fatalf("%d keys only were made others", compared)
	}
}

// TestPlaces asserts that the places found once are those that looking at every entry finds.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := r.IntN(30)
		l, _ := anyLog(t, r, n)
		p := l.Places()
		touchers, keepers := map[int32][]int32{}, map[int32][]int32{}
		putters := map[int32]map[Value][]int32{}
		add := func(list []int32, i int32) []int32 {
			if len(list) > 0 && list[len(list)-1] == i {
				return list
			}
			return append(list, i)
		}
		var least, most, refusing, turning int32
		for i := range l.Entries {
			if p.Least[i] != least || p.Most[i] != most || p.Refusing[i] != refusing || p.Turning[i] != turning {
				t.Fatalf("seed %d: before place %d: %d %d %d %d", seed, i, p.Least[i], p.Most[i], p.Refusing[i], p.Turning[i])
			}
			e := &l.Entries[i]
			lo, hi := e.Range()
			least, most = least+int32(lo), most+int32(hi)
			switch e.Kind {
			case Auth, Alarm:
				refusing, turning = refusing+1, turning+1
			case Revoke:
				turning++
			}
			e.Puts(func(k int32, v Value, keeps bool) {
				touchers[k] = add(touchers[k], int32(i))
				if keeps {
					keepers[k] = add(keepers[k], int32(i))
					return
				}
				if putters[k] == nil {
					putters[k] = map[Value][]int32{}
				}
				putters[k][v] = add(putters[k][v], int32(i))
			})
		}
		for k := range int32(len(l.Keys)) {
			if !slices.Equal(p.PutsOfKey(k), touchers[k]) || !slices.Equal(p.PutsKeepingValue(k), keepers[k]) {
				t.Fatalf("seed %d: %s: touched at %v and kept at %v, not %v and %v", seed, l.Keys[k], p.PutsOfKey(k), p.PutsKeepingValue(k), touchers[k], keepers[k])
			}
			for _, v := range []string{"", "1", "2", "3", "4", "never put"} {
				v := NewValue([]byte(v))
				if got := p.PutsOfValue(k, v); !slices.Equal(got, putters[k][v]) {
					t.Fatalf("seed %d: %s: put at %v, not %v", seed, l.Keys[k], got, putters[k][v])
				}
			}
		}
	}
}

// TestBytes asserts that the bytes of values are found where they lie: in any entry, however deep, and with who says that it holds them.
func TestBytes(t *testing.T) {
	t.Parallel()
	deep := "put a deepest"
	for range MaxDepth {
		deep = "if mod a = 5 { } else { " + deep + " }"
	}
	l := ready([]*raftlog.Request{
		requestOf(t, "put a one"), requestOf(t, "del a"), requestOf(t, "if mod a = 5 { put a two ; del b } else { if { put b three } }"),
		requestOf(t, deep), requestOf(t, "put c x keep-value"),
	})
	is := func(word, want string) {
		t.Helper()
		if got := l.Bytes(NewValue([]byte(word))); string(got) != want {
			t.Errorf("the bytes of %s are %q", word, got)
		}
	}
	for _, word := range []string{"one", "two", "three", "deepest"} {
		is(word, word)
	}
	is("x", "") // the entry puts what the key has
	is("of a row", "")
	l.AddValues(func(v Value) []byte {
		if v == NewValue([]byte("of a row")) {
			return []byte("of a row")
		}
		return nil
	})
	is("of a row", "of a row")
	is("of nobody", "")
}

// TestTooDeep: of what nests deeper than etcd lets it, nothing is told.
func TestTooDeep(t *testing.T) {
	t.Parallel()
	words := "put a 1"
	for i := range MaxDepth + 2 {
		l := ready([]*raftlog.Request{requestOf(t, words)})
		if opaque := l.Entries[0].Opaque; opaque != (i > MaxDepth+1) {
			t.Errorf("%d transactions in one another: opaque %v", i, opaque)
		}
		words = "if { " + words + " }"
	}
	for name, r := range map[string]*raftlog.Request{
		"of a newer etcd":           {Type: "Unknown", Internal: &pb.InternalRaftRequest{}},
		"an operation of no kind":   {Internal: &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}}},
		"and one deeper, elsewhere": {Internal: &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}}}}}}},
	} {
		if l := ready([]*raftlog.Request{r}); !l.Entries[0].Opaque || l.Entries[0].Kind != None {
			t.Errorf("%s: %+v", name, l.Entries[0])
		}
	}
}

// TestOpenRecords follows a key of which nothing is known beside the same key known: whatever is done, the one may be the other, and is
// not one that is off by what is known by then.
func TestOpenRecords(t *testing.T) {
	t.Parallel()
	const base = 10
	for _, known := range []Record{
		{Create: 3, Mod: 3, Version: 1, Value: NewValue([]byte("old"))},
		{Create: 3, Mod: 10, Version: 5, Value: NewValue([]byte("old"))},
		{}, // there was none
	} {
		for seed := range uint64(50) {
			r := rand.New(rand.NewPCG(seed, 4))
			var words []string
			var rs []*raftlog.Request
			for range 8 {
				w := pick(r, "put a 1", "put a 2", "put b 1", "put a 3", "del b", "del a")
				words, rs = append(words, w), append(rs, requestOf(t, w))
			}
			l := ready(rs, "a")
			a, _ := l.Key("a")
			is, open := New(l), New(l)
			for _, s := range []*State{is, open} {
				s.BaseRevision = base
				s.Advance(base)
			}
			if is.Set(a, known); known.Exists() {
				open.Set(a, Record{Create: -1, Mod: ModAsCompared, Version: OpenVersion, Value: UnknownValue})
			}
			if open.HasPartial() != known.Exists() {
				t.Fatal("a key of which nothing is known is open")
			}
			for i := range l.Entries {
				is.Apply(&l.Entries[i], Plain)
				open.Apply(&l.Entries[i], Plain)
				o, k := open.Record(a), *is.Record(a)
				if is.Revision != open.Revision || !o.MayEqual(&k, base) {
					t.Fatalf("after %q: %+v may not be %+v", words[:i+1], *o, k)
				}
				if !k.Exists() {
					if open.HasPartial() {
						t.Fatalf("after %q: a key that was deleted is open", words[:i+1])
					}
					continue
				}
				later, other, reborn := k, k, k
				later.Mod, other.Value, reborn.Create = base+100, NewValue([]byte("never")), base+50
				for what, x := range map[string]Record{"a later one": later, "of a later birth": reborn} {
					if o.MayEqual(&x, base) {
						t.Fatalf("after %q: %+v may be %s, %+v", words[:i+1], *o, what, x)
					}
				}
				if o.Value != UnknownValue && o.MayEqual(&other, base) {
					t.Fatalf("after %q: %+v may have another value", words[:i+1], *o)
				}
			}
		}
	}
}

// TestOpenCompares tells how compares come out with a key of which nothing is known: as asked where that may be, unless the key is held
// to be another one.
func TestOpenCompares(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		compare       string
		before, other bool // whether it holds of a key that is what compares ask for, and of another one
	}{
		{"value a = x", true, false},
		{"mod a = 5", true, false},
		{"mod a = 11", false, false}, // it was put before that
		{"mod a = 0", false, false},  // it exists
		{"mod a > 0", true, true},
		{"create a = 5", true, false},
		{"create a = 11", false, false},
		{"version a = 3", true, false},
		{"version a = 0", false, false},
		{"version a > 0", true, true},
		{"lease a = 7", true, false},
	} {
		for mod, want := range map[int64]bool{ModAsCompared: c.before, ModNotCompared: c.other} {
			l := ready([]*raftlog.Request{requestOf(t, "if "+c.compare+" { put y 1 } else { put n 1 }")})
			s := New(l)
			s.BaseRevision = 10
			s.Advance(10)
			a, _ := l.Key("a")
			s.Set(a, Record{Create: -1, Mod: mod, Version: OpenVersion, Value: UnknownValue})
			s.Apply(&l.Entries[0], Plain)
			if got := l.Keys[s.Changes[0].Key] == "y"; got != want {
				t.Errorf("%s of a key whose mod is %d: %v", c.compare, mod, got)
			}
		}
	}
}

// TestRules tells which releases have which rules: every release of etcd 3.2 and later has one, and an upgrade leads to later ones.
func TestRules(t *testing.T) {
	t.Parallel()
	all := &Log{asks: true, nested: true, txnPuts: true, reads: true}
	for release, want := range map[string]string{
		"3.1.20": "none", "3.2.0": "3.2", "3.2.32": "3.2", "3.3.0": "3.3 to 3.5.9", "3.4.26": "3.3 to 3.5.9",
		"3.4.27": "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)", "3.4.42": "3.5.28 to 3.5.29 (or 3.4.42 to 3.4.43, 3.6.9 to 3.6.10)",
		"3.4.44": "3.5.30 (or 3.4.44, 3.6.11) to 3.6", "3.5.0": "3.3 to 3.5.9", "3.5.9": "3.3 to 3.5.9",
		"3.5.10": "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)", "3.5.29": "3.5.28 to 3.5.29 (or 3.4.42 to 3.4.43, 3.6.9 to 3.6.10)",
		"3.5.30": "3.5.30 (or 3.4.44, 3.6.11) to 3.6", "3.6.0": "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)",
		"3.6.10": "3.5.28 to 3.5.29 (or 3.4.42 to 3.4.43, 3.6.9 to 3.6.10)", "3.6.11": "3.5.30 (or 3.4.44, 3.6.11) to 3.6",
		"3.7.0": "3.7 and later", "3.8.0-alpha.0": "3.7 and later", "2.3.8": "none", "4.0.0": "none",
	} {
		got := "none"
		for _, r := range all.Versions(Oldest, Newest) {
			if r.Covers(*semver.New(release)) {
				if got != "none" {
					t.Errorf("%s has two sets of rules", release)
				}
				got = r.String()
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", release, got, want)
		}
	}
}

// TestRulesOf names rules by the patches of one minor version.
func TestRulesOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rules Rules
		minor int64
		want  string
	}{
		{Rules3530, 5, "3.5.30 and later"},
		{Rules3530, 4, "3.4.44 and later"},
		{Rules3528, 6, "3.6.9 to 3.6.10"},
		{Rules3512, 6, "3.6.0 to 3.6.8"},
		{Rules3528 | Rules3512, 5, "3.5.10 to 3.5.29"},
		{Rules3510, 5, "3.5.10 (or 3.4.27) and later"},
		{Rules33, 5, "3.3 to 3.5.9"},
		{Rules32, 2, "3.2"},
		{Rules3512, 3, "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)"},
		{Rules37, 7, "3.7 and later"},
		{Rules37 | Rules3530, 5, "3.5.30 and later"},
		{Rules37 | Rules3530, 6, "3.6.11 and later"},
		{Rules37 | Rules3530, 7, "3.5.30 (or 3.4.44, 3.6.11) and later"},
		{Rules3530 | Rules3528 | Rules3512, 6, "3.5.10 (or 3.4.27) to 3.6"},
	} {
		if got := c.rules.Of(c.minor); got != c.want {
			t.Errorf("%v of 3.%d: %s, want %s", c.rules, c.minor, got, c.want)
		}
	}
}

// TestVersions tells which rules a log can tell apart, which of them members of a range of minor versions may have, and what an upgrade leads to
// from the oldest.
func TestVersions(t *testing.T) {
	t.Parallel()
	text := func(rules []Rules) string {
		var all []string
		for _, r := range rules {
			all = append(all, r.String())
		}
		return strings.Join(all, "; ")
	}
	const (
		asked  = "as ann@8 put a 1"
		leased = "as ann@8 if { put a 1 lease=7 }"
		prev   = "as ann@8 if { put a 1 prev }"
		nested = "as ann@8 if { if { del a } }"
		reads  = "as ann@8 if { put a 1 ; range 0 b }"
		before = "if { put a 1 ; range 3 }"
	)
	for _, c := range []struct {
		log            []string
		oldest, newest int64
		want, upgrades string
	}{
		{[]string{asked}, 2, 7, "3.5.10 (or 3.4.27) and later; 3.3 to 3.5.9; 3.2", "3.3 to 3.5.9"},
		{[]string{asked}, 3, 3, "3.3 to 3.5.9", "3.5.10 (or 3.4.27) and later"},
		{[]string{asked}, 6, 6, "3.5.10 (or 3.4.27) and later", ""},
		{[]string{strings.TrimPrefix(nested, "as ann@8 "), asked}, 6, 7, "3.5.10 (or 3.4.27) and later", ""},
		{
			[]string{leased},
			4, 5, "3.5.30 (or 3.4.44, 3.6.11) and later; 3.5.10 to 3.5.29 (or 3.4.27 to 3.4.43, 3.6.0 to 3.6.10); 3.3 to 3.5.9",
			"3.5.30 (or 3.4.44, 3.6.11) and later; 3.5.10 to 3.5.29 (or 3.4.27 to 3.4.43, 3.6.0 to 3.6.10)",
		},
		{
			[]string{prev},
			6, 6, "3.5.30 (or 3.4.44, 3.6.11) and later; 3.5.10 to 3.5.29 (or 3.4.27 to 3.4.43, 3.6.0 to 3.6.10)",
			"3.5.30 (or 3.4.44, 3.6.11) and later",
		},
		{[]string{prev}, 7, 7, "3.5.30 (or 3.4.44, 3.6.11) and later", ""},
		{[]string{reads}, 6, 7, "3.7 and later; 3.5.10 (or 3.4.27) to 3.6", "3.7 and later"},
		{[]string{before}, 2, 7, "3.7 and later; 3.2 to 3.6", "3.7 and later"},
		{[]string{before, asked}, 5, 5, "3.5.10 (or 3.4.27) to 3.6; 3.3 to 3.5.9", "3.7 and later; 3.5.10 (or 3.4.27) to 3.6"},
		{
			[]string{nested},
			6, 7, "3.5.28 (or 3.4.42, 3.6.9) and later; 3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)",
			"3.5.28 (or 3.4.42, 3.6.9) and later",
		},
		{
			[]string{nested, leased},
			6, 6,
			"3.5.30 (or 3.4.44, 3.6.11) and later; 3.5.28 to 3.5.29 (or 3.4.42 to 3.4.43, 3.6.9 to 3.6.10); 3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)",
			"3.5.30 (or 3.4.44, 3.6.11) and later; 3.5.28 to 3.5.29 (or 3.4.42 to 3.4.43, 3.6.9 to 3.6.10)",
		},
	} {
		var rs []*raftlog.Request
		for _, words := range c.log {
			rs = append(rs, requestOf(t, words))
		}
		l := ready(rs)
		if older := l.Upgrades(Rules33, 4); slices.ContainsFunc(older, func(r Rules) bool { return r&^Rules37 == 0 }) {
			t.Errorf("%v: 3.4 has the rules of %s", c.log, text(older))
		}
		all := l.Versions(c.oldest, c.newest)
		if got := text(all); got != c.want {
			t.Errorf("%v from 3.%d to 3.%d: %s\nwant %s", c.log, c.oldest, c.newest, got, c.want)
		}
		if got := text(l.Upgrades(all[len(all)-1], Newest)); got != c.upgrades {
			t.Errorf("%v, upgrades from %v: %s\nwant %s", c.log, all[len(all)-1], got, c.upgrades)
		}
	}
}

// TestAlarmsOutside sets alarms outside of any entry, as a table of them tells.
func TestAlarmsOutside(t *testing.T) {
	t.Parallel()
	s := New(ready([]*raftlog.Request{requestOf(t, "alarm on NOSPACE 1"), requestOf(t, "alarm on CORRUPT 2"), requestOf(t, "put a 1")}))
	s.Apply(&s.Log.Entries[0], Plain)
	s.Apply(&s.Log.Entries[1], Plain)
	by := New(s.Log)
	by.SetAlarms([]pb.AlarmMember{{MemberID: 2, Alarm: pb.AlarmType_CORRUPT}, {MemberID: 1, Alarm: pb.AlarmType_NOSPACE}})
	var on []string
	by.Alarms(func(member uint64, typ pb.AlarmType) { on = append(on, fmt.Sprint(member, " ", typ)) })
	if by.Digest() != s.Digest() || !by.Alarmed() || fmt.Sprint(on) != "[1 NOSPACE 2 CORRUPT]" {
		t.Errorf("%q are another state than the same by entries", on)
	}
	if res := by.Apply(&s.Log.Entries[2], Plain); res != Alarmed {
		t.Errorf("a put: %v", res)
	}
	if by.Revert(0); by.Alarmed() || by.Digest() != New(s.Log).Digest() {
		t.Error("alarms are not taken back")
	}
}

// TestDigests: that of a state's keys and leases is that of the same records by themselves.
func TestDigests(t *testing.T) {
	t.Parallel()
	l, _ := anyLog(t, rand.New(rand.NewPCG(1, 5)), 60)
	s := New(l)
	seen := map[uint64]bool{}
	for i := range l.Entries {
		s.Apply(&l.Entries[i], Plain)
		keys, leases := map[int32]Record{}, []int32(nil)
		for k := range int32(len(l.Keys)) {
			keys[k] = *s.Record(k)
		}
		for n := range int32(len(l.Leases)) {
			if s.Granted(n) {
				leases = append(leases, n)
			}
		}
		if DigestOf(keys) != s.KeysDigest() || DigestOfLeases(leases) != s.LeasesDigest() {
			t.Fatalf("after entry %d the digest is another", i+1)
		}
		seen[s.KeysDigest()] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d keyspaces only", len(seen))
	}
}

// TestAtLeast asserts which rules members go by behind entries that set the cluster's version.
func TestAtLeast(t *testing.T) {
	t.Parallel()
	version := func(v string) *raftlog.Request {
		return &raftlog.Request{V2: &raftlog.V2Request{Method: "PUT", Path: "/0/version", Val: v}}
	}
	l := ready([]*raftlog.Request{
		version("3.2.0"), requestOf(t, "as ann@8 if { put a 1 ; range 0 b }"), version("3.3.0"), version("3.6.0"), version("3.7.0"), version("3.6.0"), version("no version"), requestOf(t, "put a 1"),
	})
	const of36 = Rules3530 | Rules3528 | Rules3512
	for _, c := range []struct {
		entry        uint64
		before, want Rules
	}{
		{1, Rules32, Rules32},
		{3, Rules32, Rules32},
		{4, Rules32, Rules33},
		{4, of36, of36},
		{5, Rules32, of36},
		{6, of36, Rules37},
		{6, Rules37, Rules37},
		{7, of36, of36}, // downgraded
		{8, Rules33, of36},
		{8, Rules3510, Rules3510},
		{8, 0, 0},
	} {
		if got := l.AtLeast(c.entry, c.before); got != c.want {
			t.Errorf("at entry %d after the rules of %v: %v, want %v", c.entry, c.before, got, c.want)
		}
	}
}
