package align

import (
	"maps"
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// Align computes the alignment of one member. Where rows were changed or lost, what they made of later predictions is
// an echo: the server went on from what it had in memory. So predictions are made again from rows as they must have been.
func Align(in Input) *Alignment {
	if len(in.Held) > 0 {
		in.Index = in.Index.Replace(in.Held)
	}
	a, index := align(in), in.Index
	plain := reading{in, a}
	var tried []reading
	for range maxRepairs {
		better := false
		own := []map[int64][]mvcc.Row{repairs(a, false), repairs(a, true), refills(a), in.replaced(a)}
		for n, rows := range append(own, in.Witnesses...) {
			if len(rows) == 0 || a.Cost == 0 {
				continue
			}
			k := slices.IndexFunc(tried, func(t reading) bool { return maps.EqualFunc(t.in.repaired, rows, equalRows) })
			if k < 0 {
				again := in
				others := maps.Clone(rows) // those that are not held
				maps.DeleteFunc(others, func(main int64, _ []mvcc.Row) bool { _, ok := in.Held[main]; return ok })
				again.Index, again.repaired = index.Replace(others), rows
				k, tried = len(tried), append(tried, reading{again, align(again)})
			}
			// Of two readings that are as good as each other, the one in which an entry made what it made elsewhere is taken.
			if b := tried[k].a; b.Cost < a.Cost || b.Cost == a.Cost && n >= len(own) && in.repaired == nil && b.changedAt(rows) {
				in, a, better = tried[k].in, b, true
				break
			}
		}
		if !better {
			break
		}
	}
	a.Index = in.Index
	b := in.ban(a)
	// What others hold at the same revisions is not what was meant if a ban alone explains what the member holds there.
	if in.repaired != nil && a.Cost > costBan {
		if o := plain.in.ban(plain.a); o.Cost < b.Cost {
			o.Index = index
			return o
		}
	}
	if b == a && !a.banned {
		in.gather(a.Steps)
		in.concede(a.Steps)
		in.delay(a.Steps)
	}
	return b
}

// changedAt tells whether all rows that are taken to be others were changed, or lost, after an entry had made these.
func (a *Alignment) changedAt(rows map[int64][]mvcc.Row) bool {
	return !slices.ContainsFunc(a.Steps, func(s Step) bool {
		_, ok := rows[s.Revision]
		return ok && s.Outcome != Altered && s.Outcome != Lost && s.Outcome != Partial
	})
}

// maxRepairs bounds how often an alignment is made anew: each time uncovers what the damage before hid.
const maxRepairs = 3

// Made tells what an entry did that is known to have made a revision, on the state in which Held is what was there, and what
// that costs. ok is false if the rows are not of its making.
func (in Input) Made(index uint64, revision int64) (s Step, cost int, ok bool) {
	i, found := in.Log.find(index)
	if !found {
		return s, 0, false
	}
	r := in.Log.entries[i].Request()
	p := &predictor{ix: in.Index.Replace(in.Held)}
	want := p.predict(r, revision-1)
	g := group{main: revision, rows: in.Table.Group(revision), unread: in.Table.Unknown(revision)}
	cost, out, detail := p.match(r, want, &g, revision-1)
	if out == Altered && cost >= 0 {
		cost += in.Log.foreign(newHasher().ofGroup(&g), i, detail, Flipped(want, g.rows))
	}
	s = Step{Index: index, Revision: revision, Outcome: out, Detail: detail, HistoryOnly: out == Altered && historyOnly(detail)}
	if out != Applied {
		s.Predicted = want
	}
	return s, cost, cost >= 0
}

func align(in Input) *Alignment {
	g := newGrid(&in)
	pins := g.pins()
	a := &Alignment{Through: in.ConsistentIndex}

	// Segments between pins, last first: each is searched backwards from its known end.
	end := g.ends()
	var steps []Step // in reverse
	for k := len(pins); k >= 0; k-- {
		from := node{-1, -1}
		if k > 0 {
			from = node{pins[k-1].i + 1, pins[k-1].g + 1}
		} else if in.From != nil {
			from = g.start()
		}
		path, at, cost := g.search(end, from)
		if k == len(pins) {
			a.Through = g.indexBefore(at.end.i, in.ConsistentIndex)
		}
		a.Cost += cost
		steps = append(steps, path...)
		if k == 0 {
			a.Revision = g.mainBefore(at.start.g)
			if at.start.i < len(g.entries) {
				a.First = g.entries[at.start.i].Index
			}
			if in.From != nil {
				a.First = in.From.Index + 1
			}
			break
		}
		// The pinned pair itself.
		pin := pins[k-1]
		c, out, detail := g.match(pin.i, pin.g)
		if c < 0 {
			// It wrote just this, although the state before it demands that it wrote nothing.
			c, out, detail = costAltered, Altered, "no effect was expected"
		}
		a.Cost += c
		s := g.step(pin.i, pin.g, out, detail)
		if out != Applied {
			s.Predicted = g.predict(pin.i, pin.g)
		}
		steps = append(steps, s)
		end = []source{{node(pin), 0}}
	}
	slices.Reverse(steps)
	g.adopt(steps)
	steps = g.repeat(steps)
	g.rejudge(steps)
	steps, cost := g.lift(g.forbid(steps))
	a.Cost = max(a.Cost+cost, 0)
	markRepeats(steps, g.done())
	a.Steps = steps
	return a
}
