package diff

import (
	"slices"
	"testing"

	"etcd-autopsy/diff/faults"
)

// TestBeginsOn: what several entries explain on one member and on another is one of those that explain both, but for faults that begin on each member
// where it went over to them.
func TestBeginsOn(t *testing.T) {
	for _, c := range []struct {
		kind   faults.Kind
		a, b   []uint64
		onA    []uint64
		reason string
	}{
		{faults.Skipped, []uint64{3, 5, 9}, []uint64{5, 9, 11}, []uint64{5, 9}, "one entry was skipped on both"},
		{faults.Skipped, []uint64{3}, []uint64{3}, []uint64{3}, "both tell the same"},
		{faults.Skipped, []uint64{3, 4}, []uint64{7}, []uint64{3, 4}, "none explains both"},
		{faults.Rules, []uint64{3, 4}, []uint64{4, 7}, []uint64{3, 4}, "each member was upgraded by itself"},
		{faults.Refused, []uint64{3, 4}, []uint64{7}, []uint64{3, 4}, "each member refuses from where its tables parted"},
	} {
		x := &tale{kind: c.kind, members: []int{0, 1}, begins: map[int][]uint64{0: c.a, 1: c.b}}
		before := slices.Clone(c.a)
		if got := x.beginsOn(0); !slices.Equal(got, c.onA) {
			t.Errorf("%s: %v, want %v", c.reason, got, c.onA)
		}
		if !slices.Equal(x.begins[0], before) {
			t.Errorf("%s: the tale was changed", c.reason)
		}
	}
}
