package diff

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
)

// trace is what the entries of a member's log did on it.
//
// Where its log explains what the member holds, these are all entries, from first on. Otherwise they are those of which only one revision
// that is left holds what they write: first is 0 then.
type trace struct {
	applied        []effect.Step // in order of application
	first          uint64
	revisionBefore int64  // main revision before first
	lastEffect     uint64 // the last entry whose effects the db holds
}

// steps calls f for every step in order.
func (t *trace) steps(f func(s *effect.Step)) {
	for i := range t.applied {
		f(&t.applied[i])
	}
}

// traceEntries notes what each entry did on each member.
func (c *entryEffects) traceEntries() {
	c.traces = make([]*trace, len(c.ms))
	c.eachMember(func(i int) {
		m := c.ms[i]
		if x := c.explained[i]; x != nil {
			c.traces[i] = c.traceOf(i, x)
		} else {
			c.traces[i] = &trace{
				applied:    c.histories[i].content.UniqueMatches(m.DB.Rows, m.DB.CompactRevision(), m.DB.Tables.ConsistentIndex),
				lastEffect: m.DB.Tables.ConsistentIndex,
			}
		}
	})
}

// traceOf is what each entry did on a member that its log explains.
func (c *contents) traceOf(i int, x *explanation) *trace {
	t := &trace{first: x.member.Log.Entries[0].Index, revisionBefore: x.member.BaseRevision(), lastEffect: c.ms[i].DB.Tables.ConsistentIndex}
	for _, f := range x.chosen.Faults {
		if f.Kind == faults.Index {
			t.lastEffect = f.Last
		}
	}
	log := x.member.Log
	t.applied = make([]effect.Step, 0, len(log.Entries))
	x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
		s := effect.Step{Index: st.Index, Again: st.Again, Revision: st.Revision, Result: st.Result}
		switch {
		case st.Fault == nil && st.Revision > 0 && st.Forbidden:
			s.Outcome = effect.Permitted
		case st.Fault == nil && st.Revision > 0, st.Again && st.Revision > 0:
			s.Outcome = effect.Applied
		case st.Fault == nil, st.Again:
			s.Outcome = effect.NoEffect
		case st.Revision == 0:
			if s.Outcome = effect.NoEffect; len(st.Changes) > 0 {
				s.Outcome = effect.Refused
			}
		case st.Fault.Kind == faults.Extra:
			s.Outcome = effect.Extra
		case st.Fault.Kind == faults.Branch:
			s.Outcome = effect.OtherBranch
		case st.Fault.Kind == faults.Permitted:
			s.Outcome = effect.Permitted
		case st.Fault.Kind == faults.Rows:
			s.Outcome, s.Detail = effect.Difference(changesOf(log, st.Changes), c.ms[i].DB.Rows.Group(st.Revision))
		}
		t.applied = append(t.applied, s)
	}, nil)
	return t
}

// stepsAt are the steps of an entry on member i: several if it was applied again.
func (c *entryEffects) stepsAt(i int, index uint64) (found []*effect.Step) {
	c.traces[i].steps(func(s *effect.Step) {
		if s.Index == index {
			found = append(found, s)
		}
	})
	return found
}

// placeCommonIndex finds the last entry that all members have reached, and each member's revision there.
func (c *comparison) placeCommonIndex() {
	c.revisionsAtCommon = make([]int64, len(c.ms))
	common := uint64(math.MaxUint64)
	for i := range c.ms {
		common = min(common, c.reach(i))
	}
	c.doc.Common.Index, c.doc.Common.Revision = common, math.MaxInt64
	for i := range c.ms {
		c.revisionsAtCommon[i] = c.revisionAt(i, common)
	}
	for i := range c.ms {
		if c.revisionsAtCommon[i] < 0 {
			c.revisionsAtCommon[i] = c.revisionSharedAt(i, common)
		}
		if c.revisionsAtCommon[i] >= 0 {
			c.doc.Common.Revision = min(c.doc.Common.Revision, c.revisionsAtCommon[i])
		}
	}
}

// revisionSharedAt is the revision that member i had at an entry to which others have come, as these show: it holds all that they do, and what is known
// of the entries around does not contradict that. It is -1 if they show none.
func (c *entryEffects) revisionSharedAt(i int, index uint64) int64 {
	low, high := c.traces[i].around(index)
	for j, m := range c.ms {
		at := c.last[j]
		if j != i && m.DB.Tables.ConsistentIndex == index && c.logs.history[j] == c.logs.history[i] && c.lastSameRevision(i, j) == at && low <= at && at < high && (high < math.MaxInt64 || m.Evidence().EndCounts()) {
			return at
		}
	}
	return -1
}

// reach is the last entry whose effects member i's db is known to hold. Up to 3.4 the consistent index is saved with a change of a key
// only: it may be behind that.
func (c *explanations) reach(i int) uint64 {
	if x := c.explained[i]; x != nil {
		return x.reach
	}
	return c.ms[i].DB.Tables.ConsistentIndex
}

// doubtsAheadOfIndex is a doubt about each member whose data has come further than its consistent index, where that is saved
// with every entry: a copy may be of two moments. Started again, etcd would apply what lies between once more.
func (c *entryEffects) doubtsAheadOfIndex() (why []string) {
	for i, m := range c.ms {
		if at := m.DB.Tables.ConsistentIndex; c.aheadOfIndex(i) && m.DB.Tables.HasTerm {
			through := c.traces[i].lastEffect
			why = append(why, fmt.Sprintf("%s: its data seems to have come to entry %d, but its consistent index is %d: started again, it would apply entries %d to %d once more",
				m.Label, through, at, at+1, through))
		}
	}
	return why
}

// aheadOfIndex tells whether member i's data has come further than its consistent index.
func (c *entryEffects) aheadOfIndex(i int) bool {
	return c.traces[i].lastEffect > c.ms[i].DB.Tables.ConsistentIndex
}

// revisionAt is member i's main revision once an entry was applied, -1 if that is not known.
func (c *entryEffects) revisionAt(i int, index uint64) int64 {
	m, t := c.ms[i], c.traces[i]
	if index >= m.DB.Tables.ConsistentIndex {
		return c.last[i]
	}
	if t.first == 0 {
		if c.histories[c.source(i)].changesNoKeys(index+1, m.DB.Tables.ConsistentIndex) {
			return c.last[i]
		}
		return t.between(index)
	}
	if index+1 < t.first {
		return -1
	}
	rev := t.revisionBefore
	var done uint64
	t.steps(func(s *effect.Step) {
		// A revision without an entry belongs to the entry before it.
		if done = max(done, s.Index); done <= index && s.Revision > 0 {
			rev = max(rev, s.Revision)
		}
	})
	return rev
}

// between is the revision at an entry of which it is known what those around it made, if these are revisions one behind the other, or it
// is one of those itself; -1 otherwise.
func (t *trace) between(index uint64) int64 {
	if low, high := t.around(index); low > 0 && high == low+1 {
		return low
	}
	return -1
}

// around are the revisions between which that at an entry lies: it is not below low, and below high, as far as it is known what some entries
// made.
func (t *trace) around(index uint64) (low, high int64) {
	n, found := slices.BinarySearchFunc(t.applied, index, func(s effect.Step, x uint64) int { return cmp.Compare(s.Index, x) })
	if found {
		return t.applied[n].Revision, t.applied[n].Revision + 1
	}
	high = math.MaxInt64
	if n > 0 {
		low = t.applied[n-1].Revision
	}
	if n < len(t.applied) {
		high = t.applied[n].Revision
	}
	return low, high
}

// lastSameRevision is the last main revision up to which members i and j hold the same rows, above the revision that one of them is
// compacted at: what a third one has compacted does not keep them from being compared.
func (c *contents) lastSameRevision(i, j int) int64 {
	x, y := c.ms[i].DB.Rows, c.ms[j].DB.Rows
	last := min(c.last[i], c.last[j])
	compact := max(c.ms[i].DB.CompactRevision(), c.ms[j].DB.CompactRevision())
	from, _ := slices.BinarySearch(c.differing, compact+1)
	for _, main := range c.differing[from:] {
		if main > last {
			break
		}
		if !x.Unknown(main) && !y.Unknown(main) && !sameRows(x.Group(main), y.Group(main)) {
			return main - 1
		}
	}
	return last
}
