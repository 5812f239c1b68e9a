package diff

import (
	"math"
	"slices"
	"testing"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// TestMayHaveApplied counts entries, and not the numbers between them: a damaged record may have any.
func TestMayHaveApplied(t *testing.T) {
	es := []raftlog.Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1}, {Index: 3, Term: 1}, {Index: math.MaxUint64, Term: 1}}
	m := &inspect.Member{Label: "a", Log: &raftlog.Log{Entries: es, HardState: raftlog.HardState{Commit: 1}}}
	h := &history{}
	for i := range es[:2] {
		h.entries = append(h.entries, effect.Entry{Index: es[i].Index, Term: 1, Raw: &es[i]})
	}
	c := &contents{ms: []*inspect.Member{m}, histories: []*history{h}}
	if got := c.mayHaveApplied(0); got != 2 {
		t.Errorf("entry %d, want 2", got)
	}
}

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
		x := &sharedFault{kind: c.kind, members: []int{0, 1}, firstEntries: map[int][]uint64{0: c.a, 1: c.b}}
		before := slices.Clone(c.a)
		if got := x.firstEntriesOn(0); !slices.Equal(got, c.onA) {
			t.Errorf("%s: %v, want %v", c.reason, got, c.onA)
		}
		if !slices.Equal(x.firstEntries[0], before) {
			t.Errorf("%s: the tale was changed", c.reason)
		}
	}
}
