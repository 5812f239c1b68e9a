package diff

import (
	"slices"
	"testing"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
)

// TestMissingBetween asserts that entries that no log holds are found where they lie between two, and nowhere else.
func TestMissingBetween(t *testing.T) {
	h := new(history)
	for _, x := range []uint64{5, 6, 7, 10, 11} {
		h.entries = append(h.entries, align.Entry{Index: x})
	}
	for _, c := range []struct {
		first, last uint64
		want        bool
	}{{5, 7, false}, {6, 10, true}, {7, 11, true}, {10, 11, false}, {0, 7, false}, {0, 11, true}, {11, 20, false}, {7, 7, false}} {
		if got := h.missingBetween(c.first, c.last); got != c.want {
			t.Errorf("between %d and %d: %v, want %v", c.first, c.last, got, c.want)
		}
	}
	if new(history).missingBetween(1, 9) {
		t.Error("entries are missing from an empty log")
	}
}

// TestUnsure asserts that auth before missing entries is unknown unless something tells.
func TestUnsure(t *testing.T) {
	for name, c := range map[string]struct {
		auth auth
		want []uint64 // of entries 5, 9, 10 and 15
	}{
		"nothing missing": {auth{}, nil},
		"missing":         {auth{hole: 10}, []uint64{5, 9}},
		"turned before":   {auth{hole: 10, turns: []authTurn{{7, true}}}, []uint64{5}},
		"followed":        {auth{hole: 10, timeline: authz.New().Plain(nil)}, nil},
		"followed up to":  {auth{hole: 10, upTo: authz.New().Plain(nil), gap: 9}, []uint64{9}},
	} {
		var got []uint64
		for _, x := range []uint64{5, 9, 10, 15} {
			if c.auth.unsure(x) {
				got = append(got, x)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
