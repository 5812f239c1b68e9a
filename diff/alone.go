package diff

import (
	"fmt"

	"etcd-autopsy/diff/align"
)

// ownCauses compares a member with its own log: what it did that etcd's rules do not demand of its own state. Entries
// without effect count only where nothing but a fault can have kept them from having one: permissions and alarms refuse
// entries on every member alike.
func (c *comparison) ownCauses(i int) []*cause {
	if !c.vouched(i) || len(c.ms[i].DB.Rows.Holes()) > 0 {
		return nil
	}
	var all []*cause
	touched := map[string]bool{} // keys of which a row was changed or lost
	first := uint64(0)           // the first entry that made a revision
	c.traces[i].steps(func(s *align.Step) {
		if first == 0 && s.Revision > 0 {
			first = s.Index
		}
		if !s.Anomalous() || echo(s, touched) {
			return
		}
		if s.Outcome == align.Permitted {
			return // what needs permission changed with versions: only another member can tell
		}
		if s.Outcome == align.Refused && s.Doubtful {
			c.excused++
			return
		}
		es := make([]effects, len(c.ms))
		es[i] = c.effectsOf(i, s.Index, []*align.Step{s})
		c.load(i, &es[i])
		k := &cause{layer: LayerApply, index: s.Index, outcome: s.Outcome, again: s.Again, odd: []int{i}, groups: [][]int{{i}}, revision: s.Revision}
		if s.Index == 0 {
			k.layer, k.what = LayerStorage, unmade
		} else if es[i].stored() {
			k.layer = LayerStorage
		}
		k.unpinned = s.Again && s.Index == first && !c.pinned(first-1)
		k.effects = c.describe(k, es)
		all = append(all, k)
	})
	return all
}

// pinned tells whether the revision that members had at an entry is known otherwise than by what a later entry made: from a member that
// stopped there, or since every entry up to there is left.
func (c *comparison) pinned(index uint64) bool {
	for _, m := range c.ms {
		if m.DB.Tables.ConsistentIndex == index || len(m.Log.Entries) > 0 && m.Log.Entries[0].Index == 1 {
			return true
		}
	}
	return false
}

// withheld tells whether nothing that is left bears a cause out, and notes that.
func (c *comparison) withheld(k *cause) bool {
	if k.unpinned {
		c.open = append(c.open, fmt.Sprintf("%s: entry %d was applied more than once, or an entry like it is before those that are left", c.ms[k.odd[0]].Label, k.index))
	}
	return k.unpinned
}

// echo tells whether a step looks odd only because of an earlier one: a row counts on from what its predecessor was before
// it was changed. It notes the keys of those that are odd by themselves.
func echo(s *align.Step, touched map[string]bool) bool {
	follows := s.Outcome == align.Altered && s.HistoryOnly
	for _, ch := range s.Predicted {
		follows = follows && touched[ch.Key]
	}
	if !follows && (s.Outcome == align.Altered || s.Outcome == align.Lost || s.Outcome == align.Partial) {
		for _, ch := range s.Predicted {
			touched[ch.Key] = true
		}
	}
	return follows
}
