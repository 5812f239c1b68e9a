package diff_test

import (
	"slices"
	"testing"

	"etcd-autopsy/diff"
)

// TestBestOf holds which copy is recommended where nothing but wholeness, how far they came, and their logs tell copies apart.
func TestBestOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		copies []diff.Copy
		best   string
		asGood []string
	}{
		{"the furthest", []diff.Copy{{"a", true, 0, 7, 5}, {"b", true, 0, 9, 6}}, "b", nil},
		{"not a damaged one", []diff.Copy{{"a", true, 0, 7, 5}, {"b", false, 0, 9, 6}}, "a", nil},
		{"as far: the first, the others as good", []diff.Copy{{"a", true, 0, 9, 6}, {"b", true, 0, 9, 6}}, "a", []string{"b"}},
		{"as far: one without flaws, such as that it has no log", []diff.Copy{{"a", true, 1, 9, 6}, {"b", true, 0, 9, 6}, {"c", true, 0, 9, 6}}, "b", []string{"c"}},
		{"as far, with a flaw: not as good", []diff.Copy{{"a", true, 0, 9, 6}, {"b", true, 1, 9, 6}}, "a", nil},
		{"further, with a flaw", []diff.Copy{{"a", true, 0, 7, 5}, {"b", true, 1, 9, 6}}, "b", nil},
		{"none", []diff.Copy{{"a", false, 0, 7, 5}}, "", nil},
	} {
		if b := diff.BestOf(c.copies); b.Member != c.best || !slices.Equal(b.AsGood, c.asGood) || b.Why == "" {
			t.Errorf("%s: %+v", c.name, b)
		}
	}
}
