package authz

import (
	"cmp"
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
	// Row is true if it is the first one of several in a row, and Last the last one then.
	Row  bool
	Last uint64
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

// Begin is what was before all writes.
func (t *Timeline) Begin() *State { return t.states[0].Clone() }

// SameOdd tells whether the same was left out, or applied again, in another timeline.
func (t *Timeline) SameOdd(o *Timeline) bool {
	return t.Odd == o.Odd && t.Again == o.Again && t.Last == o.Last
}

// Follow applies the writes of a log to what was before it, New if it begins with the cluster, and returns the timeline if
// it ends with the tables of the member. If it does not, it looks for one write which, left out or applied twice, explains the difference: there is
// a timeline for each such write. Otherwise several in a row may have been applied again, or all writes of one user from
// some entry on may have been refused, the first of which is the odd one, or one of the first and one of the last things may have come
// about. None, if that does not explain it either.
func (s *State) Follow(writes []Write, tables *schema.Tables) []*Timeline {
	if t := s.run(writes, once); t.last().Equal(tables) {
		return []*Timeline{t}
	}
	for _, times := range []int{0, 2} {
		var all []*Timeline
		for _, w := range writes {
			if t := s.run(writes, only(w.Index, times)); t.last().Equal(tables) {
				t.Odd, t.Again = w.Index, times > 1
				all = append(all, t)
			}
		}
		if len(all) > 0 {
			return all
		}
	}
	if all := s.replays(writes, tables); len(all) > 0 {
		return all
	}
	if t, n := s.run(writes, once).lostFrom(0, writes, tables); t != nil {
		t.Odd = writes[n].Index
		return []*Timeline{t}
	}
	return s.twofold(writes, tables)
}

// lostFrom is a timeline without the writes of one user, or any, from one on that is not before the n-th, which ends with the tables of
// the member, and which write that is; nil if there is none. The last one that explains it leaves out the fewest, none of them without
// effect.
func (t *Timeline) lostFrom(n int, writes []Write, tables *schema.Tables) (*Timeline, int) {
	for i := len(writes) - 1; i >= n; i-- {
		for _, any := range []bool{false, true} {
			o := &Timeline{indexes: slices.Clone(t.indexes[:i]), states: slices.Clone(t.states[:i+1]), Odd: t.Odd, Again: t.Again}
			var left []Write
			for _, w := range writes[i:] {
				if !any && w.Request.User != writes[i].Request.User {
					left = append(left, w)
				}
			}
			if o.then(left); o.last().Equal(tables) {
				return o, i
			}
		}
	}
	return nil, 0
}

// maxTwofold is how many writes there may be for two things that went wrong with them to be looked for.
const maxTwofold = 32

// twofold are the timelines in which one write was left out or applied again, and, later, the writes of one user from one on, or all
// of them, were lost.
func (s *State) twofold(writes []Write, tables *schema.Tables) (all []*Timeline) {
	if len(writes) > maxTwofold {
		return nil
	}
	straight := s.run(writes, once)
	for n, w := range writes {
		for _, times := range []int{0, 2} {
			t := s.run(writes, only(w.Index, times))
			if t.states[n+1].Alike(straight.states[n+1]) {
				continue
			}
			t.Odd, t.Again = w.Index, times > 1
			if t, _ := t.lostFrom(n+1, writes, tables); t != nil {
				all = append(all, t)
			}
		}
	}
	return all
}

// Plain is the timeline of writes that follow a state, whatever the member's tables say in the end.
func (s *State) Plain(writes []Write) *Timeline { return s.run(writes, once) }

func once(*Write) int { return 1 }

// maxReplayed is how many writes a row may hold, maxRows how many there may be for every row of them to be tried.
const (
	maxReplayed = 40
	maxRows     = 1000
)

// replays are the timelines in which a row of writes was applied again. The odd write is the first one that counted twice.
func (s *State) replays(writes []Write, tables *schema.Tables) []*Timeline {
	if len(writes) > maxRows {
		return nil
	}
	type row struct{ first, last uint64 }
	seen := map[row]bool{}
	var all []*Timeline
	straight := s.run(writes, once)
	for j := range writes {
		behind := straight.states[j+1]
		for i := max(j-maxReplayed, 0); i < j; i++ {
			o := behind.Clone()
			var r row
			for _, w := range writes[i : j+1] {
				before := o.Revision
				if o.Apply(w.Request); o.Revision > before {
					r.last = w.Index
					if r.first == 0 {
						r.first = w.Index
					}
				}
			}
			if r.first == 0 || seen[r] {
				continue
			}
			seen[r] = true
			counted := o.Clone()
			counted.Revision = behind.Revision
			if counted.Alike(behind) && straight.last().Revision+o.Revision-behind.Revision != max(tables.AuthRevision, 1) {
				continue // it counts only, and not as often as it should
			}
			x := &Timeline{
				indexes: slices.Clone(straight.indexes[:j+1]), states: append(slices.Clone(straight.states[:j+1]), o),
				Odd: r.first, Again: true, Row: true, Last: r.last,
			}
			if x.then(writes[j+1:]); x.last().Equal(tables) {
				all = append(all, x)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Timeline) int { return cmp.Compare(a.Odd, b.Odd) })
	return all
}

// then applies further writes once each.
func (t *Timeline) then(writes []Write) {
	for _, w := range writes {
		s := t.last().Clone()
		s.Apply(w.Request)
		t.indexes = append(t.indexes, w.Index)
		t.states = append(t.states, s)
	}
}

// only applies one write some times, the others once.
func only(index uint64, times int) func(*Write) int {
	return func(w *Write) int {
		if w.Index == index {
			return times
		}
		return 1
	}
}

func (t *Timeline) last() *State { return t.states[len(t.states)-1] }

// run applies each write as often as times says.
func (s *State) run(writes []Write, times func(*Write) int) *Timeline {
	t := &Timeline{states: []*State{s}}
	for i := range writes {
		w := &writes[i]
		s = s.Clone()
		for range times(w) {
			s.Apply(w.Request)
		}
		t.indexes = append(t.indexes, w.Index)
		t.states = append(t.states, s)
	}
	return t
}
