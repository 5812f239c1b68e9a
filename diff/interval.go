package diff

import (
	"slices"

	"etcd-autopsy/diff/align"
)

// spread finds the entries that could stand in for a cause's: neighbours that write the same, so that the rows are the
// same whichever of them was left out, or applied again. The interval between the outermost two contains the truth.
func (c *comparison) spread(k *cause) {
	if k.index == 0 || len(k.odd) == 0 || len(k.entries) > 1 {
		return
	}
	if k.outcome != align.Refused && !k.again {
		return
	}
	first, last := k.index, k.index
	for _, i := range k.odd {
		lo, hi := c.standIns(k, i)
		first, last = min(first, lo), max(last, hi)
	}
	if first != last {
		k.interval = &Interval{First: first, Last: last}
	}
}

// standIns is the range of entries that could stand in for a cause's on one odd member. Others may have left out more.
func (c *comparison) standIns(k *cause, i int) (first, last uint64) {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == k.index && (s.Outcome == k.outcome || s.Again == k.again) {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	switch {
	case at < 0:
		return k.index, k.index
	case k.again:
		// The same content made both revisions: neighbours with that content may have been applied twice instead.
		return c.alike(i, k.index)
	}
	return c.slide(i, steps, at, -1), c.slide(i, steps, at, +1)
}

// misread tells whether a cause is only a matter of reading: the odd members made the revision with a neighbour that
// writes the same, and at that neighbour's turn the others had no effect, or have not come to it. Then all did the same.
func (c *comparison) misread(k *cause) bool {
	if k.outcome != align.Refused || k.again || len(k.odd) == 0 {
		return false
	}
	i := k.odd[0]
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == k.index && s.Outcome == align.Refused {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	if at < 0 {
		return false
	}
	for _, t := range []uint64{c.slide(i, steps, at, +1), c.slide(i, steps, at, -1)} {
		if t != k.index && c.idleAt(k, t) {
			return true
		}
	}
	return false
}

// idleAt tells whether all members of a cause that are not odd did nothing at an entry.
func (c *comparison) idleAt(k *cause, index uint64) bool {
	for _, g := range k.groups {
		for _, j := range g {
			if slices.Contains(k.odd, j) || c.ms[j].DB.Tables.ConsistentIndex < index {
				continue
			}
			for _, s := range c.stepsAt(j, index) {
				if s.Revision > 0 {
					return false
				}
			}
		}
	}
	return true
}

// slide goes from a step without effect to its neighbours in one direction, as long as the skipped entry could have made
// the neighbour's revision and the neighbour be the skipped one. It returns the last entry that can stand in.
func (c *comparison) slide(i int, steps []*align.Step, at, dir int) uint64 {
	in := &c.inputs[i]
	skipped := steps[at]
	reached := skipped.Index
	var between []*align.Step
	for n := at + dir; n >= 0 && n < len(steps); n += dir {
		s := steps[n]
		if s.Index == 0 || s.Again {
			return reached
		}
		if s.Revision == 0 {
			if s.Outcome != align.NoEffect {
				return reached
			}
			between = append(between, s)
			continue
		}
		e := find(c.views[i].entries, skipped.Index)
		rows := in.Table.Group(s.Revision)
		if e == nil || s.Outcome != align.Applied || !align.Same(in.Predict(e, s.Revision-1), rows) {
			return reached
		}
		// What lies between would then see the keyspace after, or before, the revision.
		state := s.Revision
		if dir < 0 {
			state = s.Revision - 1
		}
		for _, b := range between {
			if o := find(c.views[i].entries, b.Index); o == nil || len(in.Predict(o, state)) > 0 {
				return reached
			}
		}
		between = nil
		skipped, reached = s, s.Index
	}
	return reached
}

// alike is the range of neighbouring entries that write what entry index writes, entries without effect in between.
func (c *comparison) alike(i int, index uint64) (first, last uint64) {
	in := &c.inputs[i]
	e := find(c.views[i].entries, index)
	if e == nil {
		return index, index
	}
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Again || s.Index == 0 {
			return
		}
		if s.Index == index {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	first, last = index, index
	for n := at - 1; at >= 0 && n >= 0; n-- {
		if s := steps[n]; s.Revision > 0 {
			if !align.Same(in.Predict(e, s.Revision-1), in.Table.Group(s.Revision)) {
				break
			}
			first = s.Index
		}
	}
	for n := at + 1; at >= 0 && n < len(steps); n++ {
		if s := steps[n]; s.Revision > 0 {
			if !align.Same(in.Predict(e, s.Revision-1), in.Table.Group(s.Revision)) {
				break
			}
			last = s.Index
		}
	}
	return first, last
}
