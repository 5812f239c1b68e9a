package replay

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/inspecttest"
	"etcd-autopsy/inspect/raftlog"
)

// entriesOf are those of requests in words, numbered from 1 on.
func entriesOf(t *testing.T, words []string) (all []effect.Entry) {
	t.Helper()
	for i, w := range words {
		in := inspecttest.Request(t, w)
		in.Header.ID = uint64(i + 1)
		data, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		index := uint64(i + 1)
		all = append(all, effect.Entry{Index: index, Term: 1, Raw: &raftlog.Entry{Index: index, Term: 1, Data: data}})
	}
	return all
}

// did tells in words what an entry did.
func did(fx *Effect) string {
	switch {
	case fx.Err != nil:
		return "refused"
	case fx.Revision == 0:
		return "-"
	}
	words := []string{fmt.Sprintf("%d:", fx.Revision)}
	for _, c := range fx.Changes {
		verb := "put "
		if c.Delete {
			verb = "del "
		}
		words = append(words, verb+c.Key)
	}
	return strings.Join(words, " ")
}

// ruleOf is a rule in words, and whether it holds from an entry on only, or for some.
func ruleOf(t *testing.T, f []string) *Rule {
	t.Helper()
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	span := func(s string) (first, last uint64) {
		a, b, _ := strings.Cut(s, "..")
		if last = math.MaxUint64; b != "" {
			last = number(b)
		}
		return number(a), last
	}
	switch f[0] {
	case "revoke-unasked":
		return RevokeUnasked()
	case "lease-put-unasked":
		return LeasePutUnasked()
	case "lease-keys-always-asked":
		return LeaseKeysAlwaysAsked()
	case "omit":
		return Omit(number(f[1]), number(f[2]))
	case "omit-range":
		first, last := span(f[1])
		return OmitRange(first, last)
	case "repeat":
		first, last := span(f[1])
		return Repeat(first, last, 1)
	case "denied":
		first, last := span(f[2])
		return Denied([]string{f[1]}, first, last)
	case "repeated-grants-ignored":
		return RepeatedGrantsIgnored()
	case "nested-unchecked":
		return NestedUnchecked()
	case "txn-put-unchecked":
		return TxnPutUnchecked()
	case "ranges-stripped":
		return RangesStripped(nil)
	case "leases-missing":
		first, _ := span(f[1])
		return LeasesMissing("leases", first, func(id int64) bool { return uint64(id) == number(f[2]) })
	case "any-ttl":
		return AnyTTL()
	case "nested-puts-free":
		return NestedPutsFree()
	case "old-compares":
		return OldCompares()
	case "cut":
		return Cut(number(f[1]), int(number(f[2])))
	case "only":
		first, last := span(f[1])
		return Only(first, last, ruleOf(t, f[2:]))
	case "from":
		return Rules{Rules: []*Rule{ruleOf(t, f[2:])}}.From(number(f[1])).Rules[0]
	}
	t.Fatalf("no such rule: %s", f)
	return nil
}

// TestRules runs the cases of testdata/rules.txtar.
func TestRules(t *testing.T) {
	t.Parallel()
	file, err := txtar.ParseFile("testdata/rules.txtar")
	if err != nil || len(file.Files) < 15 {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	for _, c := range file.Files {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var rule *Rule
			var words []string
			var want [2][]string // today, and by the rule
			for line := range strings.Lines(string(c.Data)) {
				request, says, ok := strings.Cut(strings.TrimSpace(line), "=>")
				switch name, isRule := strings.CutPrefix(request, "rule "); {
				case isRule:
					rule = ruleOf(t, strings.Fields(name))
				case ok:
					today, other, differs := strings.Cut(says, " | ")
					if !differs {
						other = today
					}
					words = append(words, strings.TrimSpace(request))
					want[0], want[1] = append(want[0], strings.TrimSpace(today)), append(want[1], strings.TrimSpace(other))
				}
			}
			// What the rule is named is part of what is said of members.
			rules := []Rules{Today(), Today().With(rule)}
			if rules[1].Name != "etcd 3.7, "+rule.Name || rule.Name == "" {
				t.Errorf("the rules are called %q", rules[1].Name)
			}
			for i, r := range rules {
				// Rules may hold a state, which begins anew with each run.
				for range 2 {
					got := make([]string, len(words))
					revisions, refused := 0, 0
					res, err := Run(t.Context(), Empty(), entriesOf(t, words), r, Options{TempDir: t.TempDir(), Each: func(fx *Effect) {
						if fx.Revision > 0 {
							revisions++
						}
						if fx.Err != nil {
							refused++
						}
						if at := &got[fx.Index-1]; fx.Again {
							*at += " and " + did(fx)
						} else {
							*at = did(fx)
						}
					}})
					if err != nil {
						t.Fatal(err)
					}
					for n := range words {
						if got[n] != want[i][n] {
							t.Errorf("%s: entry %d, %s\n\t%s\n\twant %s", r.Name, n+1, words[n], got[n], want[i][n])
						}
					}
					if res.Revisions != revisions || res.Refused != refused || res.Entries != len(words) || res.First != 1 || res.Last != uint64(len(words)) || res.Final.Revision != int64(1+revisions) {
						t.Errorf("%s: %+v does not add up to %d revisions and %d refused", r.Name, res, revisions, refused)
					}
				}
			}
			if slices.Equal(want[0], want[1]) && !strings.Contains(c.Name, "for some entries only") {
				t.Error("the rule makes no difference")
			}
		})
	}
}

// TestRepeatTogether asserts that what one rule repeats is no part of what another one does.
func TestRepeatTogether(t *testing.T) {
	t.Parallel()
	entries := entriesOf(t, []string{"put a 1", "put b 1", "put c 1", "put d 1", "put e 1"})
	for _, c := range []struct {
		rules []*Rule
		want  []uint64
	}{
		{[]*Rule{Repeat(2, 3, 2)}, []uint64{1, 2, 3, 2, 3, 2, 3, 4, 5}},
		{[]*Rule{Repeat(2, 3, 2), Repeat(2, 4, 1)}, []uint64{1, 2, 3, 2, 3, 2, 3, 4, 2, 3, 4, 5}},
		{[]*Rule{Repeat(2, 4, 1), Repeat(2, 3, 2)}, []uint64{1, 2, 3, 2, 3, 2, 3, 4, 2, 3, 4, 5}},
		{[]*Rule{Repeat(2, 3, 1), Repeat(3, 3, 1)}, []uint64{1, 2, 3, 2, 3, 3, 4, 5}},
		{[]*Rule{Repeat(4, 5, 1), Repeat(5, 5, 1)}, []uint64{1, 2, 3, 4, 5, 4, 5, 5}},
	} {
		var got []uint64
		for _, e := range Today().With(c.rules...).sequence(entries) {
			got = append(got, e.Index)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", Today().With(c.rules...).Name, got, c.want)
		}
	}
}
