package authz

import (
	"slices"

	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Write is an entry that asks for a change of the auth store.
type Write struct {
	Index   uint64
	Request *raftlog.Request
}

// Timeline is the auth store of one member after each of its writes.
type Timeline struct {
	indexes []uint64
	states  []*State // states[0] is before all writes
	// Odd is the write that had to be left out, or applied again, for the end to be the member's tables; 0 if none.
	Odd   uint64
	Again bool
}

// At is the state that entry index meets.
func (t *Timeline) At(index uint64) *State {
	i, _ := slices.BinarySearch(t.indexes, index)
	return t.states[i]
}

// Follow applies the writes of a log that begins with the cluster, and returns the timeline if it ends with the tables of
// the member. If it does not, it looks for one write which, left out or applied twice, explains the difference: all such
// writes are returned, the timeline being that of the first. None of them, and the timeline is nil.
func Follow(writes []Write, tables *schema.Tables) (t *Timeline, odd []uint64) {
	if t := run(writes, 0, false); t.last().Equal(tables) {
		return t, nil
	}
	for _, again := range []bool{false, true} {
		for _, w := range writes {
			x := run(writes, w.Index, again)
			if !x.last().Equal(tables) {
				continue
			}
			if t == nil {
				t = x
			}
			odd = append(odd, w.Index)
		}
		if t != nil {
			return t, odd
		}
	}
	return nil, nil
}

func (t *Timeline) last() *State { return t.states[len(t.states)-1] }

func run(writes []Write, odd uint64, again bool) *Timeline {
	s := New()
	t := &Timeline{states: []*State{s}, Odd: odd, Again: again}
	for _, w := range writes {
		s = s.Clone()
		if w.Index != odd || again {
			s.Apply(w.Request)
		}
		if w.Index == odd && again {
			s.Apply(w.Request)
		}
		t.indexes = append(t.indexes, w.Index)
		t.states = append(t.states, s)
	}
	return t
}
