package diff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/relive"
)

// slots are which of several faults of each member a cause is, in the order of the log.
type slots map[int]int

// reread holds the causes against what running lives again has shown to have befallen members: what did not befall them is a
// consequence, or a matter of reading, and what did is a cause.
func (c *comparison) reread() {
	c.slots = map[*cause]slots{}
	if !slices.ContainsFunc(c.causes, func(k *cause) bool { return k.of == nil }) {
		return
	}
	var missing [][2]int // members and slots
	loose := map[*cause]bool{}
	var untold []int // members of which something else befell some than a cause tells
	for i := range c.ms {
		r := c.relive(i)
		roots := c.roots(i)
		if r.all == nil && !r.none || slices.ContainsFunc(roots, func(k *cause) bool { return k.index == 0 && k.revision > 0 && k.between != nil && !c.relivedAll(k) }) {
			continue
		}
		var open []int
		for n := range r.faults() {
			at := slices.IndexFunc(roots, func(k *cause) bool { return r.tells(n, k) && (k.index == 0 || !r.foreign(n)) })
			if at < 0 {
				at = slices.IndexFunc(roots, func(k *cause) bool { return r.tells(n, k) })
			}
			if at < 0 {
				at = slices.IndexFunc(roots, func(k *cause) bool { return c.beginsWith(i, n, k) })
			}
			if at < 0 {
				open = append(open, n)
				continue
			}
			if c.slots[roots[at]] == nil {
				c.slots[roots[at]] = slots{}
			}
			c.slots[roots[at]][i] = n
			roots = slices.Delete(roots, at, at+1)
		}
		roots = slices.DeleteFunc(roots, func(k *cause) bool { return len(k.odd) == 0 && k.between == nil || !r.covers(k) })
		if slices.ContainsFunc(open, func(n int) bool { return r.foreign(n) || r.stored(n) && r.faults() > 1 && len(open) > len(roots) }) {
			untold = append(untold, i)
			continue
		}
		for _, n := range open {
			missing = append(missing, [2]int{i, n})
		}
		for _, k := range roots {
			loose[k] = true
		}
	}
	for _, k := range c.causes {
		table := k.index > 0 && len(k.odd) == 0 && (k.layer == LayerLease || k.layer == LayerAlarm)
		if k.of == nil && (k.index == 0 && k.between != nil || table) && len(c.slots[k]) == 0 && c.relivedAll(k) && !meets(untold, slices.Concat(k.groups...)) {
			loose[k] = true
		}
	}
	if len(missing)+len(loose) > 0 {
		c.rebuild(missing, loose)
	}
	c.uniteRelived()
}

// uniteRelived makes one cause of two that one and the same fault of all their members explains.
func (c *comparison) uniteRelived() {
	for n := 0; n < len(c.causes); n++ {
		k := c.causes[n]
		c.causes = slices.DeleteFunc(c.causes, func(x *cause) bool {
			if x == k || k.layer != x.layer || !k.own() || k.again != x.again || k.outcome != x.outcome || !c.sameFault(k, x) {
				return false
			}
			maps.Copy(c.slots[k], c.slots[x])
			delete(c.slots, x)
			c.regroup(k, slices.Sorted(maps.Keys(c.slots[k])))
			for _, o := range c.causes {
				if o.of == x {
					o.of = k
				}
			}
			return true
		})
	}
}

// sameFault tells whether two causes, each of which is known to be one fault of all its members, may be the same.
func (c *comparison) sameFault(k, x *cause) bool {
	a, b := c.slots[k], c.slots[x]
	if k.of != nil || x.of != nil || len(a) != len(k.odd) || len(b) != len(x.odd) || len(a)*len(b) == 0 {
		return false
	}
	for i := range a {
		if _, both := b[i]; both {
			return false
		}
	}
	for i, n := range a {
		for f := range c.relive(i).may(n) {
			if f.Kind != relive.Extra && f.Kind != relive.Skewed && c.explainAll(a, f) && c.explainAll(b, f) {
				return true
			}
		}
	}
	return false
}

// explainAll tells whether a fault may be what befell all of some members.
func (c *comparison) explainAll(slot slots, f relive.Fault) bool {
	for i, n := range slot {
		if !c.relive(i).explains(n, f) {
			return false
		}
	}
	return true
}

// beginsWith tells whether a cause may be one of a member's faults which shows later on this one than on others that it befell.
func (c *comparison) beginsWith(i, n int, k *cause) bool {
	if k.index == 0 || k.outcome != align.Refused || k.again || k.layer != LayerApply {
		return false
	}
	r := c.relive(i)
	for f, x := range r.may(n) {
		if x < k.index || f.Kind != relive.Banned && f.Kind != relive.Left {
			continue
		}
		if f.First = k.index; r.explains(n, f) {
			return true
		}
	}
	return false
}

// relivedAll tells whether it is known of all members that a cause tells apart what befell them then.
func (c *comparison) relivedAll(k *cause) bool {
	return !slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool { return !c.relive(i).covers(k) })
}

// rebuild makes causes of the faults of members that none tells, and consequences of those that tell none.
func (c *comparison) rebuild(missing [][2]int, loose map[*cause]bool) {
	c.retraceAll()
	missing = slices.DeleteFunc(missing, func(m [2]int) bool { return c.join(m[0], m[1]) })
	for len(missing) > 0 {
		i, n := missing[0][0], missing[0][1]
		may := c.relive(i).may(n)
		slot := slots{i: n}
		missing = slices.DeleteFunc(missing[1:], func(m [2]int) bool {
			shared := maps.Clone(may)
			maps.DeleteFunc(shared, func(f relive.Fault, _ uint64) bool { return !c.relive(m[0]).explains(m[1], f) })
			if _, has := slot[m[0]]; has || len(shared) == 0 {
				return false
			}
			may, slot[m[0]] = shared, m[1]
			return true
		})
		c.add(slot, may)
	}
	for _, k := range c.causes {
		slot := c.slots[k]
		if len(slot) > 0 && k.own() && k.interval == nil && k.rule == nil && k.origin == nil {
			c.regroup(k, slices.Sorted(maps.Keys(slot)))
		}
	}
	for _, k := range slices.Clone(c.causes) {
		if !loose[k] {
			continue
		}
		if slot := c.slots[k]; len(slot) > 0 {
			if len(k.odd) > 0 && !slices.ContainsFunc(k.odd, func(i int) bool { return !c.relive(i).covers(k) }) {
				c.regroup(k, slices.Sorted(maps.Keys(slot)))
			}
			continue
		}
		of := c.leading(k)
		if of == nil && !slices.ContainsFunc(c.causes, func(x *cause) bool { return len(c.slots[x]) > 0 && separates(x.groups, k.groups) }) {
			continue // nothing else tells these members apart
		}
		if of == nil || !c.remains(k) {
			c.causes = slices.DeleteFunc(c.causes, func(x *cause) bool { return x == k })
			for _, x := range c.causes {
				if x.of == k {
					x.of = c.leading(x)
				}
			}
			continue
		}
		k.of = of
	}
	c.sortCauses()
}

// leading is the last cause before another one that lives run again have shown to have befallen the same members, or the first of them.
func (c *comparison) leading(k *cause) (of *cause) {
	for _, x := range c.causes {
		if x == k || x.of != nil || !slices.ContainsFunc(c.befallen(k), func(i int) bool { _, ok := c.slots[x][i]; return ok }) {
			continue
		}
		if of == nil || x.at().First <= k.order() && x.at().First > of.at().First {
			of = x
		}
	}
	return of
}

// retraceAll makes what the entries did of every odd member that which running its life again has shown, if it has.
func (c *comparison) retraceAll() {
	for i, t := range c.traces {
		odd := false
		t.steps(func(s *align.Step) { odd = odd || s.Anomalous() })
		if !odd {
			continue
		}
		switch r := c.relive(i); {
		case r.none:
			c.retrace(i, nil)
		case r.all != nil:
			c.retrace(i, r.all[0])
		}
	}
}

// remains tells whether what made a cause is still odd now that it is known what befell the members: it may have been a matter of
// reading.
func (c *comparison) remains(k *cause) bool {
	if k.between != nil || k.layer != LayerApply && k.layer != LayerStorage || len(k.odd) == 0 {
		return true
	}
	return slices.ContainsFunc(k.odd, func(i int) bool {
		if !c.relive(i).covers(k) {
			return true
		}
		odd := false
		c.traces[i].steps(func(s *align.Step) {
			odd = odd || s.Anomalous() && (s.Index == k.index && (k.index > 0 || s.Revision == k.revision))
		})
		return odd
	})
}

// retrace makes what the entries of a member did that which running its life with some faults has shown.
func (c *comparison) retrace(i int, faults []relive.Seen) {
	steps := c.relive(i).life.Steps(faults)
	from := c.relive(i).from
	t := &trace{Alignment: align.Alignment{Steps: steps, First: max(from.Index, 1), Revision: max(from.Revision, 1), Through: c.ms[i].DB.Tables.ConsistentIndex, Index: c.traces[i].Index}}
	for n := range steps {
		t.Cost += steps[n].Cost()
	}
	for _, o := range c.traces {
		if o.base == c.traces[i] {
			*o = *o.apart()
		}
	}
	c.traces[i] = t
}

// apart is a trace of its own.
func (t *trace) apart() *trace {
	o := &trace{Alignment: t.Alignment, adopted: t.adopted}
	o.First, o.Steps = t.first(), nil
	t.steps(func(s *align.Step) { o.Steps = append(o.Steps, *s) })
	return o
}

// join puts a member to those that a cause befell if that may be what one of its faults is.
func (c *comparison) join(i, n int) bool {
	for _, k := range c.causes {
		slot := c.slots[k]
		if _, has := slot[i]; has || len(slot) == 0 || k.index == 0 {
			continue
		}
		for j, m := range slot {
			for f := range c.relive(j).may(m) {
				if f.Kind != relive.Skewed && f.Kind != relive.Extra && c.relive(i).explains(n, f) {
					slot[i] = n
					c.regroup(k, slices.Sorted(maps.Keys(slot)))
					return true
				}
			}
		}
	}
	return false
}

// regroup makes some members those that a cause befell.
func (c *comparison) regroup(k *cause, odd []int) {
	if slices.Equal(k.odd, odd) && !k.own() {
		return
	}
	if x := c.causeOf(k.index, odd); x != nil && k.own() {
		k.odd, k.groups, k.effects, k.revision, k.again, k.outcome = odd, x.groups, x.effects, x.revision, x.again, x.outcome
		return
	}
	rest := slices.DeleteFunc(slices.Sorted(slices.Values(slices.Concat(k.groups...))), func(j int) bool { return slices.Contains(odd, j) })
	if k.odd = odd; len(rest) > 0 {
		k.groups = [][]int{rest, odd}
		sortGroups(k.groups)
	}
	if k.effects = nil; k.layer == LayerAuth {
		c.describeAuth(k)
		k.what += c.oddAuth(odd, k.again)
		return
	}
	_, es := c.doneAt(k.index, odd)
	k.effects = c.describe(k, es)
}

// causeOf is the cause of what some members did with an entry, which others did not, nil if they made nothing odd of it.
func (c *comparison) causeOf(index uint64, odd []int) *cause {
	members, es := c.doneAt(index, odd)
	if slices.ContainsFunc(odd, func(i int) bool { return es[i].odd() == nil }) {
		return nil
	}
	return c.causeAt(index, members, odd, es)
}

// doneAt is what those members did with an entry that have applied it in the same history as some.
func (c *comparison) doneAt(index uint64, odd []int) (members []int, es []effects) {
	es = make([]effects, len(c.ms))
	for j := range c.ms {
		if slices.Contains(odd, j) || c.ms[j].DB.Tables.ConsistentIndex >= index && c.logs.parted(odd[0], j) > index {
			members = append(members, j)
			es[j].steps = c.stepsAt(j, index)
			c.load(j, &es[j])
		}
	}
	return members, es
}

// add makes a cause of one fault of some members, whatever it may have been.
func (c *comparison) add(slot slots, may map[relive.Fault]uint64) {
	f := slices.MinFunc(slices.Collect(maps.Keys(may)), func(f, g relive.Fault) int {
		return cmp.Or(cmp.Compare(f.Last-f.First, g.Last-g.First), cmp.Compare(f.Kind, g.Kind), cmp.Compare(may[g], may[f]), cmp.Compare(f.First, g.First), cmp.Compare(f.User, g.User))
	})
	index := may[f]
	odd := slices.Sorted(maps.Keys(slot))
	k := c.causeOf(index, odd)
	if k == nil {
		members, es := c.doneAt(index, odd)
		k = &cause{layer: c.layerOf(odd[0], index), index: index, odd: odd, again: f.Kind == relive.Again, outcome: align.Refused}
		rest := slices.DeleteFunc(members, func(j int) bool { return slices.Contains(odd, j) })
		k.groups = [][]int{odd}
		if len(rest) > 0 {
			k.groups = append(k.groups, rest)
		}
		sortGroups(k.groups)
		k.effects = c.describe(k, es)
	}
	where := strings.Join(c.labels(odd), ", ")
	switch {
	case f.Kind == relive.Again:
		k.what = "applied more than once"
	case f.Kind == relive.Banned:
		k.what = fmt.Sprintf("no request of user %q had an effect on %s from here on", f.User, where)
	case f.Kind == relive.Left && f.Last > f.First:
		k.what = fmt.Sprintf("entries in a row had no effect on %s", where)
	case k.layer != LayerApply && k.layer != LayerStorage:
		k.what = fmt.Sprintf("the entry had no effect on %s", where)
	}
	c.slots[k] = slot
	c.causes = append(c.causes, k)
}

// layerOf is that of the table which an entry changes.
func (c *comparison) layerOf(i int, index uint64) Layer {
	switch q := c.request(i, index); {
	case q == nil:
	case isAuthWrite(q.Type):
		return LayerAuth
	case q.Type == "Alarm":
		return LayerAlarm
	case q.Type == "LeaseGrant", q.Type == "LeaseRevoke":
		return LayerLease
	}
	return LayerApply
}

// roots are the causes that befell a member, as far as entries and tables tell that are followed when a life is run again.
func (c *comparison) roots(i int) (all []*cause) {
	for _, k := range c.causes {
		if k.of == nil && k.layer != LayerLog && k.layer != LayerMembership && slices.Contains(c.befallen(k), i) {
			all = append(all, k)
		}
	}
	return all
}

// befallen are the members that a cause befell: those that are odd, or, if it does not say, those whose lives show what it may be.
func (c *comparison) befallen(k *cause) []int {
	table := k.layer == LayerAuth || k.layer == LayerLease || k.layer == LayerAlarm
	if len(k.odd) > 0 && (k.index > 0 || !table) {
		return k.odd
	}
	return slices.DeleteFunc(slices.Concat(k.groups...), func(i int) bool {
		r := c.relive(i)
		for n := range r.faults() {
			if r.tells(n, k) {
				return false
			}
		}
		return true
	})
}
