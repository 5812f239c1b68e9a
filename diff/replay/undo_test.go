package replay

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/inspecttest"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// beginning is what the entries before the ones that are undone make.
var beginning = []string{
	"user-add root", "role-add root", "grant-role root root", "user-add ann", "role-add w", "permit w a c", "grant-role ann w",
}

// TestUndoAuth takes back what entries did to users and roles, one by one where the log does not begin with the cluster, and all anew
// where it does: both lead to where the entries before lead.
func TestUndoAuth(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]string{
		"users, roles and permissions": "user-add bob\nrole-add r\npermit r x\npermit w q *\ngrant-role bob r\ngrant-role bob w",
		"auth that was turned on":      "user-add bob\nauth-on",
		"puts among them":              "put a 1\nuser-add bob\nput b 1\nput a 2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			words := append(append([]string(nil), beginning...), strings.Split(later, "\n")...)
			log := entriesOf(t, words)
			want, err := AuthAt(t.Context(), log, uint64(len(beginning)), Today())
			if err != nil {
				t.Fatal(err)
			}
			tables := &schema.Tables{ConsistentIndex: uint64(len(words)), HasConsistentIndex: true, HasTerm: true}
			end, err := AuthAt(t.Context(), log, uint64(len(words)), Today())
			if err != nil {
				t.Fatal(err)
			}
			tables.AuthEnabled, tables.AuthRevision, tables.Users, tables.Roles = end.Enabled, end.Revision, end.Users, end.Roles
			if same, _ := SameAuth(end, want); same && end.Revision == want.Revision {
				t.Fatal("there is nothing to undo")
			}
			for _, whole := range []bool{true, false} {
				b := &Base{Rows: mvcc.NewTable(nil, nil), Tables: tables, Log: log, Whole: whole}
				if !whole {
					b.Log = log[len(beginning):]
				}
				st, err := Rewind(t.Context(), b, uint64(len(beginning)), 1)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, st.Auth, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("whole log %v (-want +got):\n%s", whole, d)
				}
				if same, why := SameAuth(st.Auth, want); !same {
					t.Errorf("whole log %v: %s", whole, why)
				}
			}
		})
	}
}

// TestCannotUndo: what a deletion took away is not in the log.
func TestCannotUndo(t *testing.T) {
	t.Parallel()
	log := entriesOf(t, append(append([]string(nil), beginning...), "auth-off"))
	tables := &schema.Tables{ConsistentIndex: uint64(len(log)), HasConsistentIndex: true, HasTerm: true, AuthRevision: 9}
	_, err := Rewind(t.Context(), &Base{Rows: mvcc.NewTable(nil, nil), Tables: tables, Log: log[len(beginning):]}, uint64(len(beginning)), 1)
	var bad *AuthError
	if !errors.As(err, &bad) || !errors.Is(err, ErrNoBase) || bad.Entry != uint64(len(log)) || !strings.Contains(err.Error(), "beyond entry 8") {
		t.Errorf("%v", err)
	}
}

// TestSameAuth tells what differs.
func TestSameAuth(t *testing.T) {
	t.Parallel()
	auth := func() Auth {
		return Auth{
			Enabled: true, Revision: 4, Users: []schema.User{{Name: "ann", Roles: []string{"w"}}},
			Roles: []schema.Role{{Name: "w", Permissions: []schema.Permission{{Type: "READ", Key: "a"}, {Type: "WRITE", Key: "b", RangeEnd: "c"}}}},
		}
	}
	for what, do := range map[string]func(a *Auth){
		"":                                       func(a *Auth) { a.Revision++ },
		"auth is on in one and off in the other": func(a *Auth) { a.Enabled = false },
		"users differ":                           func(a *Auth) { a.Users[0].Roles = nil },
		"roles differ":                           func(a *Auth) { a.Roles[0].Permissions[0].Type = "WRITE" },
	} {
		a, b := auth(), auth()
		b.Roles[0].Permissions[0], b.Roles[0].Permissions[1] = b.Roles[0].Permissions[1], b.Roles[0].Permissions[0]
		do(&a)
		if same, why := SameAuth(a, b); why != what || same != (what == "") {
			t.Errorf("%v %q, want %q", same, why, what)
		}
	}
}

// TestFollowAlone follows a member of which nothing is told: as long as its rows are what the rules make, and no further.
func TestFollowAlone(t *testing.T) {
	t.Parallel()
	words := []string{"put a 1", "put b 1", "del a", "put c 1", "put a 2"}
	rows := "rev 2 a=1 c2 v1\nrev 3 b=1 c3 v1\ndel 4 a\nrev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n"
	for name, c := range map[string]struct {
		rows    string
		compact int64
		entries int // that agree
		depart  uint64
		gap     []string // keys
		first   int64    // revision of the gap
	}{
		"just what the rules make":              {rows: rows, entries: 5},
		"a value that was changed":              {rows: strings.Replace(rows, "c=1", "c=9", 1), entries: 3, depart: 4},
		"a delete that did not come to pass":    {rows: strings.Replace(rows, "del 4 a\n", "", 1), entries: 2, depart: 3},
		"compacted, and what survives is right": {rows: "rev 3 b=1 c3 v1\nrev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n", compact: 4, entries: 5},
		"compacted, and a value was changed":    {rows: "rev 3 b=9 c3 v1\nrev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n", compact: 4, entries: 4, gap: []string{"b"}, first: 3},
		"compacted, and one lived on":           {rows: "rev 2 a=1 c2 v1\nrev 3 b=1 c3 v1\nrev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n", compact: 4, entries: 4, gap: []string{"a"}, first: 2},
		"compacted, and one is gone":            {rows: "rev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n", compact: 4, entries: 4, gap: []string{"b"}, first: 3},
		"compacted, and there is another":       {rows: "rev 3 b=1 c3 v1\nrev 4 z=1 c4 v1\nrev 5 c=1 c5 v1\nrev 6 a=2 c6 v1\n", compact: 4, entries: 4, gap: []string{"z"}, first: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := opened(t, inspecttest.Dir(t, c.rows))
			own := &Own{Rows: m.DB.Rows, Compact: c.compact, Last: 6}
			tr, err := Follow(t.Context(), Empty(), entriesOf(t, words), own, Today(), Options{TempDir: t.TempDir()})
			if c.depart > 0 {
				if err == nil || len(tr.Departures) != 1 || tr.Departures[0].Index != c.depart {
					t.Fatalf("%+v: %v", tr, err)
				}
			} else if err != nil || len(tr.Departures) > 0 {
				t.Fatalf("%+v: %v", tr, err)
			}
			if tr.Gap == nil && c.gap != nil || tr.Gap != nil && (cmp.Diff(c.gap, tr.Gap.Keys) != "" || tr.Gap.Revision != c.first || tr.Gap.First > uint64(c.first-1) || tr.Gap.Last < uint64(c.first-1)) {
				t.Errorf("gap %+v", tr.Gap)
			}
			if tr.Gap == nil && tr.Entries != c.entries {
				t.Errorf("%d entries agree, want %d", tr.Entries, c.entries)
			}
		})
	}
}

// TestFollowTold follows a member of which is told what it did: where that is another thing than the rules do, its own rows count from there.
func TestFollowTold(t *testing.T) {
	t.Parallel()
	words := []string{"put a 1", "put b 1", "put c 1", "put a 2"}
	// It refused entry 2, applied 3 twice, and made a revision that no entry asks for.
	m := opened(t, inspecttest.Dir(t, "rev 2 a=1 c2 v1\nrev 3 c=1 c3 v1\nrev 4 c=1 c3 v2\nrev 5 x=1 c5 v1\nrev 6 a=2 c2 v2\n"))
	own := &Own{Rows: m.DB.Rows, Last: 6, Told: []effect.Step{
		{Index: 1, Revision: 2},
		{Index: 2, Outcome: effect.Refused},
		{Index: 3, Revision: 3},
		{Index: 3, Revision: 4, Again: true},
		{Revision: 5, Outcome: effect.Extra},
		{Index: 4, Revision: 6},
	}}
	tr, err := Follow(t.Context(), Empty(), entriesOf(t, words), own, Today(), Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	type departure struct {
		Index        uint64
		Revision     int64
		Extra, Again bool
	}
	var got []departure
	for _, d := range tr.Departures {
		got = append(got, departure{d.Index, d.Revision, d.Extra, d.Again})
	}
	want := []departure{{Index: 2}, {Index: 3, Revision: 4, Again: true}, {Index: 3, Revision: 5, Extra: true}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("departures (-want +got):\n%s", d)
	}
	if tr.Entries != 3 || tr.Final.Revision != 6 {
		t.Errorf("%d entries agree, up to revision %d", tr.Entries, tr.Final.Revision)
	}
}

func opened(t *testing.T, dir string) *inspect.Member {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{dir}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set.Members[0]
}
