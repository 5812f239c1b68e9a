package diff

import (
	"cmp"
	"maps"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/mvcc"
)

// traceAfter aligns member i behind what it shares with that of the others which leaves the least to be explained. Where that
// leaves something odd, the shared part may have been read wrongly: neighbours that write the same cannot be told apart
// by one member alone. So places before what is odd there are tried, too, and the reading with the least is taken.
// alone is what the member's alignment by itself is, nil if that is not known yet.
func (c *comparison) traceAfter(i int, others []int, alone *align.Alignment) *trace {
	var best, begun, numbered, chance *trace
	total := func(t *trace) int { return t.total() + c.gapCost(i, t, others) }
	var seen []place // of members that share them with each other
	var further []func() *trace
	for _, j := range others {
		places := c.resume(i, j)
		switch {
		case len(places) == 0:
			continue
		case c.sameNumber(i, j):
			if numbered == nil {
				numbered = c.resumed(i, j, places[0])
			}
			continue
		case c.oddBefore(i, j):
			if t := c.resumed(i, j, places[0]); chance == nil || total(t) < total(chance) {
				chance = t
			}
			continue
		case places[0].shared == 0 && places[0].Revision > 1:
			// Nothing shared but the beginning, which may be another entry for each.
			if begun == nil && places[0].Revision > c.ms[i].DB.CompactRevision() && c.alikeAt(i, j, places[0].Revision) {
				begun = c.resumed(i, j, places[0])
			}
			continue
		}
		places = slices.DeleteFunc(places, func(p place) bool { return slices.Contains(seen, c.traces[j].root(p)) })
		if len(places) == 0 {
			continue
		}
		first := c.resumed(i, j, places[0])
		if first.Cost == 0 {
			return first
		}
		further = append(further, func() *trace { return first })
		if alone != nil && first.total() <= alone.Cost {
			places = places[:1] // no reading of all that the member holds takes less
		}
		for _, p := range places[1:] {
			further = append(further, func() *trace { return c.resumed(i, j, p) })
		}
		for _, p := range places {
			seen = append(seen, c.traces[j].root(p))
		}
	}
	tried := make([]*trace, len(further))
	c.together(func(spawn func(func())) {
		for k, f := range further {
			spawn(func() { tried[k] = f() })
		}
	})
	for _, t := range tried {
		// What is odd about the shared part befell this member, too.
		if t != nil && (best == nil || total(t) < total(best)) {
			best = t
		}
	}
	shares := best != nil
	for _, j := range others {
		if t := c.resumedBehind(i, j); t != nil && (best == nil || cmp.Or(cmp.Compare(total(t), total(best)), cmp.Compare(t.Cost, best.Cost)) <= 0) {
			best = t
		}
	}
	if shares {
		return best
	}
	in := c.inputs[i]
	if first, ok := c.floors[floor{c.logs.history[i], c.bases[i]}]; ok {
		in.From = &align.From{Index: first - 1, Revision: in.Compact}
	}
	if from, ok := c.begins[i]; ok {
		in.From = &from
	}
	if alone == nil || in.From != nil || in.Passed != nil && alone.Cost > 0 {
		alone = align.Align(in)
	}
	own := &trace{Alignment: *alone}
	if best != nil && (total(best) <= total(own) || best.startRevision() != own.Revision && total(best) < total(own)+costParted) {
		return best
	}
	if chance != nil && total(chance) < total(own) {
		return chance
	}
	if numbered != nil && numbered.Cost < own.Cost {
		return numbered
	}
	if begun != nil && own.Revision != begun.base.startRevision() && begun.Cost < own.Cost+costParted {
		return begun
	}
	return own
}

// sameNumber tells whether two members have nothing in common but the number of the revision that one of them is compacted
// at, where they hold different keys: other entries may have made it.
func (c *comparison) sameNumber(i, j int) bool {
	compact := max(c.ms[i].DB.CompactRevision(), c.ms[j].DB.CompactRevision())
	return compact > 0 && c.agreed(i, j) == compact && !c.sameAt(i, j, compact)
}

// oddBefore tells whether something odd befell member j before the revision that member i is compacted at, where they hold
// different keys: then it did not befall member i, and that they hold the same numbers of revisions later is chance.
func (c *comparison) oddBefore(i, j int) bool {
	compact, odd := c.ms[i].DB.CompactRevision(), false
	if compact == 0 || c.traces[j].startRevision() >= compact {
		return false
	}
	at := int64(0)
	c.traces[j].steps(func(s *align.Step) {
		at = max(at, s.Revision)
		odd = odd || s.Anomalous() && at < compact
	})
	return odd && !c.sameAt(i, j, compact)
}

// costParted is what it costs to say that members which hold the same revisions where the log of one begins had come
// there with different entries: that something else befell one of them before, of which nothing is left to show it.
const costParted = 27

// beginnings looks for members whose logs begin with the same entry, and that are said to have come there with different
// revisions although they hold the same: something unknown would have befallen one of them before. It returns where all of
// them would begin with each of these revisions. Where one by itself begins with another revision than it is said to, which others
// had come to already, those that hold the same may all begin with that.
func (c *comparison) beginnings(alone []*align.Alignment) (all []map[int]align.From) {
	var members []int
	starts := map[int64]bool{}
	parted := false
	for i, t := range c.traces {
		if t.first() == 0 || c.whole(i) || len(members) > 0 && (t.first() != c.traces[members[0]].first() || c.logs.history[i] != c.logs.history[members[0]]) {
			continue
		}
		for _, j := range members {
			parted = parted || t.startRevision() != c.traces[j].startRevision() && c.met(i, j)
		}
		members = append(members, i)
		starts[t.startRevision()] = true
	}
	begin := func(s int64, with func(i int) bool) {
		begins := map[int]align.From{}
		for _, i := range members {
			if s >= c.inputs[i].Compact && s <= c.last[i] && with(i) {
				begins[i] = align.From{Index: c.traces[i].first() - 1, Revision: s}
			}
		}
		all = append(all, begins)
	}
	if parted {
		for _, s := range slices.Sorted(maps.Keys(starts)) {
			begin(s, func(int) bool { return true })
		}
	}
	for _, i := range members {
		if a, t := alone[i], c.traces[i]; a != nil && a.First == t.first() && !starts[a.Revision] {
			starts[a.Revision] = true
			begin(a.Revision, func(j int) bool { return j == i || c.agreed(i, j) >= a.Revision })
		}
	}
	return all
}

// shift aligns members by themselves anew from where others begin, where all costs less then than it does, and returns what
// it costs in the end.
func (c *comparison) shift(first, cost int) int {
	for i, own := range c.traces {
		if own.base != nil || slices.ContainsFunc(c.traces, func(t *trace) bool { return t.base == own }) {
			continue
		}
		for j := range c.traces {
			old := c.traces[i]
			if j == i {
				continue
			}
			for _, t := range c.shifted(i, j, old) {
				c.traces[i] = t
				if n := c.totalCost(first); n < cost {
					cost, old = n, t
				}
			}
			c.traces[i] = old
		}
	}
	return cost
}

// maxShifts bounds how many beginnings are tried for a member because of one other.
const maxShifts = 4

// shifted aligns member i from where member j begins, at the revision that i holds there if what parted them before went on to
// the entries that both applied: own says from the last ones on how many revisions they are apart. What befell j in the same
// way costs nothing.
func (c *comparison) shifted(i, j int, own *trace) (all []*trace) {
	t := c.traces[j]
	if own.Cost == 0 || c.logs.history[i] != c.logs.history[j] || c.whole(i) || t.first() == 0 || t.first() != own.first() {
		return nil
	}
	steps := map[uint64]align.Step{} // of j, the last ones of their entries
	t.steps(func(s *align.Step) { steps[s.Index] = *s })
	tried := []int64{own.Revision}
	for _, s := range slices.Backward(own.Steps) {
		o := steps[s.Index]
		at := t.startRevision() + s.Revision - o.Revision
		if s.Outcome != align.Applied || o.Outcome != align.Applied || s.Revision == 0 || o.Revision == 0 || slices.Contains(tried, at) {
			continue
		}
		if tried = append(tried, at); len(tried) > maxShifts {
			break
		}
		in := c.inputs[i]
		if at < in.Compact || at > c.last[i] {
			continue
		}
		in.From = &align.From{Index: t.first() - 1, Revision: at}
		a := &trace{Alignment: *align.Align(in)}
		a.adopted = a.alsoOf(steps, at-t.startRevision())
		a.Cost -= a.adopted
		all = append(all, a)
	}
	return all
}

// alsoOf is what those of its own steps cost that befell another member in the same way, as many revisions apart as given.
func (t *trace) alsoOf(steps map[uint64]align.Step, apart int64) (cost int) {
	all, again, own := true, false, 0
	for k := range t.Steps {
		s := &t.Steps[k]
		o := steps[s.Index]
		same := s.Index > 0 && s.Outcome == o.Outcome && s.Again == o.Again && s.Detail == o.Detail && (s.Revision == 0) == (o.Revision == 0) &&
			(s.Revision == 0 || s.Revision == o.Revision+apart)
		switch {
		case !s.Anomalous():
		case s.Outcome == align.Refused && s.Doubtful:
			all = false // it may be the other's only because of this one's
		case again && s.Again:
			all = all && same
		case same:
			cost += s.Cost()
		default:
			all, own = false, own+s.Cost()
		}
		again = s.Again
	}
	if all {
		return t.Cost
	}
	return max(min(cost, t.Cost-own), 0)
}

// resumed aligns member i behind a place of member j's alignment.
func (c *comparison) resumed(i, j int, p place) *trace {
	in := c.inputs[i]
	in.From, in.Witnesses = &p.From, c.traces[j].unsettled(in.Witnesses, p)
	return &trace{base: c.traces[j], shared: p.shared, Alignment: *align.Align(in)}
}

// unsettled leaves out of what others hold at some revisions those before a place that entries made as they should: there is
// nothing else that they can have held.
func (t *trace) unsettled(all []map[int64][]mvcc.Row, p place) []map[int64][]mvcc.Row {
	if len(all) == 0 {
		return nil
	}
	odd := map[int64]bool{}
	t.steps(func(s *align.Step) { odd[s.Revision] = odd[s.Revision] || s.Anomalous() })
	var left []map[int64][]mvcc.Row
	for _, rows := range all {
		rows = maps.Clone(rows)
		maps.DeleteFunc(rows, func(main int64, _ []mvcc.Row) bool { return main <= p.Revision && !odd[main] })
		if len(rows) > 0 {
			left = append(left, rows)
		}
	}
	return left
}

// resumedBehind aligns member i behind rows that it alone, or member j alone, holds otherwise although those behind them are
// the same again: what entries did with these is no question then. nil if there are none.
func (c *comparison) resumedBehind(i, j int) *trace {
	single := c.isolated(i, j)
	t := c.traces[j]
	if len(single) == 0 || c.logs.history[i] != c.logs.history[j] || t.first() == 0 || t.startRevision() < c.ms[i].DB.CompactRevision() {
		return nil
	}
	in := c.inputs[i]
	in.Held = map[int64][]mvcc.Row{}
	upTo := c.agreedBut(i, j, single)
	at := place{From: align.From{Index: t.first() - 1, Revision: t.startRevision()}}
	var steps []align.Step // from the first of those rows on
	shared, kept, cost, adopted, known, again, done := 0, 0, 0, 0, true, false, false
	last := 0 // of adopted, with the steps behind the last revision
	t.steps(func(s *align.Step) {
		if done = done || !known || s.Revision > upTo || s.Index > c.ms[i].DB.Tables.ConsistentIndex; done {
			return
		}
		at.shared++
		own := *s
		switch {
		case slices.Contains(single, s.Revision):
			if !s.Anomalous() {
				in.Held[s.Revision] = c.ms[j].DB.Rows.Group(s.Revision)
			}
			step, n, ok := in.Made(s.Index, s.Revision)
			step.Again = s.Again
			own, cost, known = step, cost+n, ok
		case len(steps) == 0:
			shared = at.shared
			at.Index, at.Revision = max(at.Index, s.Index), max(at.Revision, s.Revision)
			return
		case !again || !s.Again:
			last += s.CostToo()
		}
		again = s.Again
		if s.Index > 0 {
			at.Index = s.Index
		}
		if steps = append(steps, own); s.Revision > 0 {
			at.Revision, kept, adopted = s.Revision, len(steps), last
			in.From = &align.From{Index: at.Index, Revision: at.Revision}
		}
	})
	if !known || kept == 0 {
		return nil
	}
	a := *align.Align(in)
	a.Steps, a.Cost = append(steps[:kept:kept], a.Steps...), a.Cost+cost
	return &trace{base: t, shared: shared, adopted: adopted, Alignment: a}
}

// alikeAt tells whether two members hold the same up to a revision, but for a few before that were changed afterwards.
func (c *comparison) alikeAt(i, j int, revision int64) bool {
	if revision <= c.agreed(i, j) {
		return true
	}
	single := c.isolated(i, j)
	return revision <= c.agreedBut(i, j, single) && !slices.Contains(single, revision)
}

// agreedBut is agreed, if some revisions are left out.
func (c *comparison) agreedBut(i, j int, single []int64) int64 {
	x, y := c.ms[i].DB.Rows, c.ms[j].DB.Rows
	last := min(c.last[i], c.last[j])
	from, _ := slices.BinarySearch(c.differing, max(c.ms[i].DB.CompactRevision(), c.ms[j].DB.CompactRevision())+1)
	for _, main := range c.differing[from:] {
		if main <= last && !slices.Contains(single, main) && !x.Unknown(main) && !y.Unknown(main) && !sameRows(x.Group(main), y.Group(main)) {
			return main - 1
		}
	}
	return last
}

// maxWitnessed bounds how many revisions in a row, and how many by themselves, may have been changed afterwards.
const maxWitnessed = 8

// witnesses are the rows that others hold at a few revisions in a row at which member i holds other ones, although before
// and behind they hold the same: those of each other member, all at once and, if they are few, one by one.
func (c *comparison) witnesses(i int) (all []map[int64][]mvcc.Row) {
	add := func(rows map[int64][]mvcc.Row) {
		same := func(o map[int64][]mvcc.Row) bool { return maps.EqualFunc(o, rows, sameRows) }
		if len(rows) > 0 && !slices.ContainsFunc(all, same) {
			all = append(all, rows)
		}
	}
	for j := range c.ms {
		if j == i || c.logs.history[j] != c.logs.history[i] {
			continue
		}
		single := slices.DeleteFunc(c.isolated(i, j), func(main int64) bool { return len(c.ms[j].DB.Rows.Group(main)) == 0 })
		rows := map[int64][]mvcc.Row{}
		for _, main := range single {
			rows[main] = c.ms[j].DB.Rows.Group(main)
		}
		add(rows)
		if len(single) > maxWitnessed {
			continue
		}
		for _, main := range single {
			add(map[int64][]mvcc.Row{main: rows[main]})
		}
	}
	return all
}

// isolated are the main revisions at which members i and j hold different rows, few of them in a row.
func (c *comparison) isolated(i, j int) (single []int64) {
	x, y := c.ms[i].DB.Rows, c.ms[j].DB.Rows
	last := min(c.last[i], c.last[j])
	from, _ := slices.BinarySearch(c.differing, max(c.ms[i].DB.CompactRevision(), c.ms[j].DB.CompactRevision())+1)
	var run []int64
	end := func(next int64) {
		if len(run) <= maxWitnessed && (next <= last || c.last[i] == c.last[j]) {
			single = append(single, run...)
		}
		run = nil
	}
	for _, main := range c.differing[from:] {
		if main > last {
			break
		}
		if x.Unknown(main) || y.Unknown(main) || sameRows(x.Group(main), y.Group(main)) {
			continue
		}
		if n := len(run); n > 0 && run[n-1]+1 < main {
			end(run[n-1] + 1)
		}
		run = append(run, main)
	}
	if n := len(run); n > 0 {
		end(run[n-1] + 1)
	}
	return single
}

// refusedBefore tells whether what an entry did on another member is refused on member i, as its own tables show: auth entries were
// applied again there.
func (c *comparison) refusedBefore(i int, s *align.Step) bool {
	all := c.auths[i].all()
	if len(all) == 0 || !all[0].Again || s.Revision == 0 || s.Again || s.Outcome != align.Applied {
		return false
	}
	r := c.request(i, s.Index)
	return r != nil && !slices.ContainsFunc(all, func(t *authz.Timeline) bool {
		return !t.At(s.Index).Denies(r, func(lease int64) []string { return c.inputs[i].Index.Attached(lease, s.Revision-1) })
	})
}

// place is where an alignment can be taken over: behind the first shared steps of another member's.
type place struct {
	align.From
	shared int
	of     *trace // of which these steps are, nil if that does not matter
}

// root is a place as that of the trace of which the last of the steps before it is.
func (t *trace) root(p place) place {
	for t.base != nil && p.shared <= t.shared {
		t = t.base
	}
	p.of = t
	return p
}

// maxPlaces bounds how many places of each kind are tried.
const maxPlaces = 8

// resume finds the places up to which member i can take over the alignment of member j: the last one that their rows and
// logs allow, then those before each odd step and each revision on the way there, nearest first.
func (c *comparison) resume(i, j int) []place {
	t, db := c.traces[j], c.ms[i].DB
	upTo := c.agreed(i, j)
	parted := c.logs.parted(i, j)
	if t.first() == 0 || upTo < db.CompactRevision() {
		return nil
	}
	at := place{From: align.From{Index: t.first() - 1, Revision: t.startRevision()}}
	good := at // the last place behind a revision: entries without effect on one member may have one on the other
	var before, behind []place
	done := false
	t.steps(func(s *align.Step) {
		if done = done || s.Revision > upTo || s.Index >= parted || s.Index > db.Tables.ConsistentIndex || c.refusedBefore(i, s); done {
			return
		}
		if s.Anomalous() && (len(before) == 0 || before[len(before)-1] != good) {
			before = append(before, good)
		}
		at.shared++
		if s.Index > 0 {
			at.Index = s.Index
		}
		if s.Revision > 0 {
			at.Revision = s.Revision
			behind = append(behind, good)
			good = at
		}
	})
	places := []place{good}
	for _, list := range [][]place{before, behind} {
		for n, p := range slices.Backward(list) {
			if len(list)-n > maxPlaces {
				break
			}
			if !slices.Contains(places, p) {
				places = append(places, p)
			}
		}
	}
	// Its log may begin behind a fork, so that it does not hold what came next.
	es := c.views[i].entries
	return slices.DeleteFunc(places, func(p place) bool {
		return p.Revision < db.CompactRevision() || len(es) > 0 && es[0].Index > p.Index+1
	})
}
