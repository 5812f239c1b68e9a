package diff

import (
	"testing"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// TestBounds asks among which entries members with rows of revision 5 that differ may have parted. What was applied again came later than its place
// in the log says, and so bounds nothing.
func TestBounds(t *testing.T) {
	t.Parallel()
	made := func(index uint64, revision int64) effect.Step { return effect.Step{Index: index, Revision: revision} }
	again := effect.Step{Index: 4, Revision: 6, Again: true}
	for _, c := range []struct {
		name           string
		a, b           []effect.Step
		bounds, around Interval
	}{
		{"nothing is known", nil, nil, Interval{1, 20}, Interval{1, 20}},
		{"before and behind", []effect.Step{made(3, 3), made(9, 7)}, []effect.Step{made(5, 4)}, Interval{6, 9}, Interval{6, 8}},
		{"applied again", []effect.Step{made(5, 4), made(9, 7), again}, nil, Interval{6, 9}, Interval{6, 8}},
		{"the entry itself", []effect.Step{made(5, 4), made(7, 5)}, nil, Interval{6, 7}, Interval{7, 7}},
	} {
		x := &entryEffects{traces: []*trace{{applied: c.a}, {applied: c.b}}}
		x.histories, x.explained = []*history{newHistory(nil), newHistory(nil)}, []*explanation{{reach: 20}, {reach: 20}}
		for range 2 {
			x.ms = append(x.ms, &inspect.Member{DB: &inspect.DB{Rows: mvcc.NewTable(nil, nil)}})
		}
		groups := [][]int{{0}, {1}}
		if got := x.entriesBetween(groups, 5, 5); got == nil || *got != c.bounds {
			t.Errorf("%s: bounds %v, want %v", c.name, got, c.bounds)
		}
		if got := x.entriesMaking(groups, 5); got == nil || *got != c.around {
			t.Errorf("%s: around %v, want %v", c.name, got, c.around)
		}
	}
}

// TestNotCompared asserts that a table is named once, with every reason.
func TestNotCompared(t *testing.T) {
	t.Parallel()
	c := &comparison{doc: &Document{}}
	c.notCompared("alarms", "a")
	c.notCompared("keys", "b")
	c.notCompared("alarms", "c")
	if d := c.doc; len(d.NotCompared) != 2 || d.NotComparedWhy[0] != "alarms: a; c" || d.NotComparedWhy[1] != "keys: b" {
		t.Errorf("%q %q", d.NotCompared, d.NotComparedWhy)
	}
}
