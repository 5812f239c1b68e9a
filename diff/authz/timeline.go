package authz

import (
	"slices"

	"etcd-autopsy/inspect/raftlog"
)

// Write is an entry that asks for a change of the auth store.
type Write struct {
	Index   uint64
	Request *raftlog.Request
}

// Timeline is the auth store of one member after each of its writes.
type Timeline struct {
	indexes []uint64
	states  []*State // states[0] is before all writes, and one is behind each
}

// NewTimeline is that of writes at some indexes, with the state before the first of them and behind each.
func NewTimeline(indexes []uint64, states []*State) *Timeline {
	return &Timeline{indexes: indexes, states: states}
}

// At is the state that entry index meets.
func (t *Timeline) At(index uint64) *State {
	i, _ := slices.BinarySearch(t.indexes, index)
	return t.states[i]
}

func (t *Timeline) last() *State { return t.states[len(t.states)-1] }

// run applies writes.
func (s *State) run(writes []Write) *Timeline {
	t := &Timeline{states: []*State{s}}
	for _, w := range writes {
		s = s.Clone()
		s.Apply(w.Request)
		t.indexes, t.states = append(t.indexes, w.Index), append(t.states, s)
	}
	return t
}
