package diff

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/mvcc"
)

// What members hold otherwise where some log does not explain what its member holds: that they differ is certain, and of the entry that made the
// difference as much as can be said without running it.

const unexplained = "the members hold different rows; no log that is left tells which entry made the difference"

const extraRevision = "a revision that no entry of the log made"

// rowCauses makes a cause of every parting of the rows that none of the causes found so far can have led to.
func (c *comparison) rowCauses() {
	for _, p := range append(slices.Clip(c.partings), c.partedByNumber()...) {
		if p.groups = c.unexplainedGroups(&p); len(p.groups) == 0 {
			continue
		}
		k := &cause{layer: LayerApply, revision: p.revision, groups: slices.Clone(p.groups), what: unexplained}
		k.revisions = &RevisionInterval{First: p.revision, Last: p.revision}
		k.interval = c.entriesBetween(p.groups, p.revision, p.revision)
		sortGroups(k.groups)
		for _, g := range k.groups {
			e := Effect{Members: c.labels(g), Changes: changes(c.ms[g[0]].DB.Rows.Group(p.revision))}
			if e.Changes != nil {
				e.Revision = p.revision
			}
			k.effects = append(k.effects, e)
		}
		if k.interval != nil && c.madeByNone(&p) {
			k.interval.First = 1 // it was one that is not left, and applied again, if any did
		}
		if fields, stored := c.fieldsOfLoneDifference(&p); fields != "" {
			k.what, k.interval = fmt.Sprintf("the rows of one revision differ in their %s, and those behind them do not", fields), c.entriesMaking(p.groups, p.revision)
			if stored {
				k.layer = LayerStorage
			}
		}
		if fields := fieldsApart(c.ms[k.groups[0][0]].DB.Rows.Group(p.revision), c.ms[k.groups[len(k.groups)-1][0]].DB.Rows.Group(p.revision)); fields != "" {
			k.effects[len(k.effects)-1].Note = fmt.Sprintf("its row differs from that of %s in its %s", strings.Join(c.labels(k.groups[0]), ", "), fields)
		}
		c.causes = append(c.causes, k)
	}
}

// madeByNone tells whether only some members have a revision, and no entry of their logs may have made it.
func (c *contents) madeByNone(p *parting) bool {
	rows := func(g []int) []mvcc.Row { return c.ms[g[0]].DB.Rows.Group(p.revision) }
	return slices.ContainsFunc(p.groups, func(g []int) bool { return len(rows(g)) == 0 }) && !slices.ContainsFunc(p.groups, func(g []int) bool {
		return len(rows(g)) > 0 && len(c.histories[g[0]].content.Writers(rows(g))) > 0
	})
}

// fieldsOfLoneDifference names the fields in which the rows of members differ that hold the same again behind them: one entry wrote these rows, and no other
// did anything else. It is empty if they do not, or differ in what earlier rows of the key tell. stored is true if the rows of some member are
// what no entry writes: they were changed since.
func (c *contents) fieldsOfLoneDifference(p *parting) (fields string, stored bool) {
	for n, g := range p.groups {
		a := c.ms[g[0]].DB.Rows
		for _, h := range p.groups[n+1:] {
			b, next := c.ms[h[0]].DB.Rows, p.revision+1
			apart := fieldsApart(a.Group(p.revision), b.Group(p.revision))
			if apart == "" || strings.Contains(apart, "version") || strings.Contains(apart, "revision") || !a.HasGroup(next) || !sameRows(a.Group(next), b.Group(next)) {
				return "", false
			}
			fields = cmp.Or(fields, apart)
		}
		l := c.histories[g[0]].content
		stored = stored || len(c.histories[g[0]].entries) > 0 && len(l.Writers(a.Group(p.revision))) == 0
	}
	return fields, stored
}

// entriesMaking are the entries among which the one is that made a revision.
func (c *entryEffects) entriesMaking(groups [][]int, revision int64) *Interval {
	in := &Interval{First: 1}
	for _, i := range slices.Concat(groups...) {
		in.Last = max(in.Last, c.reach(i))
	}
	for _, i := range slices.Concat(groups...) {
		c.traces[i].steps(func(s *effect.Step) {
			switch {
			case s.Revision == 0 || s.Index == 0 || s.Again: // one that was applied again says nothing of the order
			case s.Revision == revision:
				in.First, in.Last = max(in.First, s.Index), min(in.Last, s.Index)
			case s.Revision < revision:
				in.First = max(in.First, s.Index+1)
			default:
				in.Last = min(in.Last, s.Index-1)
			}
		})
	}
	if in.First > in.Last {
		return nil
	}
	return in
}

// causesBeforeLog makes causes of what members held otherwise before the first entry of their log.
func (c *comparison) causesBeforeLog() {
	n, begins := len(c.causes), int64(0)
	for _, t := range c.traces {
		begins = max(begins, t.revisionBefore)
	}
	c.compareCompacted()
	c.rowCauses()
	for _, k := range c.causes[n:] {
		if k.revision > begins {
			continue // something else
		}
		k.what, k.interval = "the members held different rows before the first entry of the log", nil
	}
}

// causesOfPartings makes causes of what explains members by states of their own before their log begins.
func (c *comparison) causesOfPartings() {
	alike := func(i, j int) bool {
		p, o := c.explained[i].parting, c.explained[j].parting
		return p == nil && o == nil || p != nil && o != nil && p.In == o.In && p.BaseRevision() == o.BaseRevision() && slices.Equal(p.Reading.Initial, o.Reading.Initial)
	}
	var known, others []int
	for i, x := range c.explained {
		if x != nil {
			if known = append(known, i); x.parting == nil {
				others = append(others, i)
			}
		}
	}
	for _, g := range partition(known, alike) {
		p := c.explained[g[0]].parting
		if p == nil {
			continue
		}
		k := &cause{layer: LayerApply, beforeLog: true, groups: [][]int{others, g}}
		held := "other keys"
		switch p.In {
		case faults.Auth:
			k.layer, held = LayerAuth, "another auth table"
		case faults.Leases:
			k.layer, held = LayerLease, "other leases"
		case faults.Alarms:
			k.layer, held = LayerAlarm, "other alarms"
		case faults.NoTable:
			k.revisions = &RevisionInterval{First: 1, Last: 1 + min(p.BaseRevision(), c.explained[others[0]].member.BaseRevision())}
		}
		sortGroups(k.groups)
		where := strings.Join(c.labels(g), ", ")
		k.what = fmt.Sprintf("%s parted from the others before the first entry of the log: from %s than theirs it makes what is there, and from theirs it does not", where, held)
		if p.In != faults.NoTable && len(g) >= len(others) {
			k.what = fmt.Sprintf("%s held %s before the first entry of the log than %s, or rows of the table were changed since otherwise than by an entry: nothing tells whose are as they should be",
				where, held, strings.Join(c.labels(others), ", "))
		}
		c.causes = append(c.causes, k)
	}
}

// unexplainedGroups are the groups of a parting that none of the causes found so far separates from some other group.
func (c *comparison) unexplainedGroups(p *parting) (groups [][]int) {
	causes := slices.DeleteFunc(slices.Clone(c.causes), func(k *cause) bool { return !c.explains(k, p) })
	return slices.DeleteFunc(slices.Clone(p.groups), func(g []int) bool {
		return !slices.ContainsFunc(p.groups, func(h []int) bool {
			return g[0] != h[0] && !slices.ContainsFunc(causes, func(k *cause) bool { return separates([][]int{g, h}, k.groups) })
		})
	})
}

// explains tells whether members may have parted in their rows because of a cause: it tells them apart, and did so before.
func (c *entryEffects) explains(k *cause, p *parting) bool {
	if !separates(p.groups, k.groups) || k.layer == LayerLog && crossesSides(p.groups, k.groups) {
		return false
	}
	if k.beforeLog {
		return true
	}
	if k.layer != LayerLog && (k.revision > 0 || k.index == 0) {
		return k.revision > 0 && k.revision <= p.revision
	}
	return !c.precedes(p, k)
}

// crossesSides tells whether members of different sides of a fork hold the same, while members of one side do not.
func crossesSides(groups, sides [][]int) bool {
	parted := slices.ContainsFunc(sides, func(s []int) bool {
		return len(slices.DeleteFunc(slices.Clone(groups), func(g []int) bool { return !shareMember(g, s) })) > 1
	})
	return parted && slices.ContainsFunc(groups, func(g []int) bool {
		return len(slices.DeleteFunc(slices.Clone(sides), func(s []int) bool { return !shareMember(g, s) })) > 1
	})
}

// shareMember tells whether two groups share a member.
func shareMember(a, b []int) bool {
	return slices.ContainsFunc(a, func(i int) bool { return slices.Contains(b, i) })
}

// precedes tells whether rows parted before the first entry that a cause may lie at, which made no revision of its own.
func (c *entryEffects) precedes(p *parting, k *cause) bool {
	return slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool { return c.revisionAt(i, k.firstParted()-1) >= p.revision })
}

// firstParted is the first entry at which logs may have parted, and the entry of any other cause.
func (k *cause) firstParted() uint64 {
	if (k.layer == LayerLog || k.beforeLog) && k.interval != nil {
		return k.interval.First
	}
	return k.index
}

// partedByNumber is the parting of members that have come to the common index with more or fewer revisions, which rows do
// not show if those with fewer have stopped there.
func (c *comparison) partedByNumber() []parting {
	var known []int
	low := int64(math.MaxInt64)
	for i, at := range c.revisionsAtCommon {
		if at >= 0 {
			known, low = append(known, i), min(low, at)
		}
	}
	groups := partition(known, func(i, j int) bool { return (c.revisionsAtCommon[i] > low) == (c.revisionsAtCommon[j] > low) })
	if len(groups) < 2 {
		return nil
	}
	return []parting{{revision: low + 1, groups: groups}}
}

// entriesBetween are the entries among which one made members differ: first is the first revision that may not be the same on all of them, last one
// that is not.
//
// It came behind the entries that made earlier revisions, unless it was applied again: then it wrote the rows that differ. Nor need it have
// made a revision, if it changed who may write, an alarm, or a lease that a row carries. And it came no later than an entry that made a
// revision behind those that differ.
func (c *entryEffects) entriesBetween(groups [][]int, first, last int64) *Interval {
	before, behind, reach := uint64(0), uint64(math.MaxUint64), uint64(0)
	for _, i := range slices.Concat(groups...) {
		reach = max(reach, c.reach(i))
		c.traces[i].steps(func(s *effect.Step) {
			switch {
			case s.Revision == 0 || s.Index == 0 || s.Again: // one that was applied again says nothing of the order
			case s.Revision < first:
				before = max(before, s.Index)
			case s.Revision >= last:
				behind = min(behind, s.Index)
			}
		})
	}
	in := &Interval{First: before + 1, Last: min(behind, reach)}
	for _, i := range slices.Concat(groups...) {
		for _, index := range c.suspects(i, c.ms[i].DB.Rows.Group(last)) {
			if index <= c.reach(i) {
				in.First = min(in.First, index)
			}
		}
	}
	if in.First = min(in.First, in.Last); in.Last == 0 {
		return nil
	}
	return in
}

// suspects are the entries of member i's log that may have led to rows, however long before.
func (c *contents) suspects(i int, rows []mvcc.Row) []uint64 {
	h := c.histories[i]
	all := h.content.Writers(rows)
	all = append(all, h.alarms...)
	if len(h.authWrites) > 0 {
		all = append(all, h.authWrites[0].Index)
	}
	var kv mvcc.KeyValue
	for k := range rows {
		if kv.Decode(rows[k].Value) == nil && kv.Lease != 0 {
			all = append(all, h.aboutLease(kv.Lease)...)
		}
	}
	return all
}
