package report

import (
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff"
)

// TestIndeterminate: a verdict is missing for what could not be read, or for what cannot be compared, which is not the same.
func TestIndeterminate(t *testing.T) {
	for _, c := range []struct {
		complete    bool
		title, hint string
	}{
		{true, "no difference in what can be compared, but not everything can", "--replay"},
		{false, "no difference in what could be read, but not everything could be read", "check MEMBER... says what the damage means"},
	} {
		d := &diff.Document{
			Verdict: diff.Indeterminate,
			Members: []diff.Member{{Label: "a", Complete: true}, {Label: "b", Complete: c.complete}},
			Reasons: []string{"b: why"},
		}
		p := diffPage(d, nil)
		if p.title != c.title {
			t.Errorf("complete %v: title %q", c.complete, p.title)
		}
		other := "--replay"
		if c.complete {
			other = "damage means"
		}
		has := func(s string) bool {
			return slices.ContainsFunc(p.hints, func(h string) bool { return strings.Contains(h, s) })
		}
		if !has(c.hint) || has(other) {
			t.Errorf("complete %v: hints %q", c.complete, p.hints)
		}
	}
}

// TestHiddenDamage: rows that later ones have replaced are damage that no read of current data meets, and that a hash may or may not show.
func TestHiddenDamage(t *testing.T) {
	members := func(a, b uint32, behind int64) []diff.Member {
		return []diff.Member{{Label: "a", Compared: true, Revision: 9, HashKV: a}, {Label: "b", Compared: true, Revision: 9 - behind, HashKV: b}}
	}
	storage := []diff.Divergence{{Layer: diff.LayerStorage, Revision: 3}}
	for name, c := range map[string]struct {
		d    diff.Document
		want string
	}{
		"hash shows":   {diff.Document{Verdict: diff.Diverged, Divergences: storage, Members: members(1, 2, 0)}, "hashKV shows that they differ"},
		"hash is same": {diff.Document{Verdict: diff.Diverged, Divergences: storage, Members: members(1, 1, 0)}, "cannot show it"},
		"lag":          {diff.Document{Verdict: diff.Diverged, Divergences: storage, Members: members(1, 2, 1)}, "older rows"},
		"keys differ":  {diff.Document{Verdict: diff.Diverged, Divergences: storage, Members: members(1, 2, 0), Counts: diff.Counts{KeysDiffering: 1}}, ""},
		"keys unknown": {diff.Document{Verdict: diff.Diverged, Divergences: storage, Members: members(1, 2, 0), NotCompared: []string{"keys"}}, ""},
		"another kind": {diff.Document{Verdict: diff.Diverged, Divergences: []diff.Divergence{{Layer: diff.LayerApply}}, Members: members(1, 2, 0)}, ""},
	} {
		got := hiddenDamage(&c.d)
		if (c.want == "") != (got == "") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %q, want it to end with %q", name, got, c.want)
		}
	}
}
