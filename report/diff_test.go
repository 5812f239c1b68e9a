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
