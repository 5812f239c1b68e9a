package align

import (
	"cmp"
	"slices"
)

// maxApart is how many entries without effect may lie between the two applications.
const maxApart = 64

// adopt gives revisions without an entry to a neighbour that writes just that: it was applied twice. The search finds
// this by itself only for content that does not depend on the state.
func (g *grid) adopt(steps []Step) {
	high := g.done() // the last entry applied so far
	for k := range steps {
		s := &steps[k]
		if s.Outcome != Extra {
			high = max(high, s.Index)
			continue
		}
		rows := g.in.Table.Group(s.Revision)
		makes := func(n int) bool {
			i, ok := slices.BinarySearchFunc(g.entries, steps[n].Index, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
			return ok && Same(g.p.predict(g.request(i), s.Revision-1), rows)
		}
		for n := k - 1; n >= 0 && n >= k-maxApart; n-- {
			if steps[n].Outcome == Applied && steps[n].Index > 0 {
				if makes(n) {
					s.Index, s.Outcome = steps[n].Index, Applied
				}
				break
			}
		}
		for n := k + 1; s.Outcome == Extra && n < len(steps) && n <= k+maxApart; n++ {
			if steps[n].Outcome == Applied && steps[n].Index > 0 {
				if makes(n) {
					s.Index, s.Outcome = steps[n].Index, Applied
				}
				break
			}
		}
		if s.Outcome == Extra {
			g.begin(steps[k:], high)
		}
	}
}

// repeat gives revisions without an entry to earlier entries that were applied again, others among them without effect because
// of what has been turned on or off since: the search asks what they met the first time.
func (g *grid) repeat(steps []Step) []Step {
	for k := 0; k < len(steps); k++ {
		if steps[k].Outcome != Extra {
			continue
		}
		end := k + 1
		for end < len(steps) && steps[end].Outcome == Extra {
			end++
		}
		out := g.repeated(steps, k, end)
		if out == nil {
			out = g.repeatedTo(steps, k, end)
		}
		if out != nil {
			steps = out
		}
	}
	return steps
}

// repeated is repeat for the steps from k to below end. It returns nil if there are no such entries.
func (g *grid) repeated(steps []Step, k, end int) []Step {
	before, after := steps[k].Revision-1, steps[end-1].Revision
	entries := slices.Concat(g.shared(), steps[:k])
	own, rows := len(entries), g.in.Table.Group(before+1)
	for n := end; n < len(steps) && n-end <= maxApart && steps[n].Revision == 0 && steps[n].Index > 0; n++ {
		entries = append(entries, steps[n])
	}
	for u := own - 1; u >= max(own-maxApart, 0); u-- {
		if want, _ := g.in.demands(entries[u].Index, entries[u].Index, before); entries[u].Again || !Same(want, rows) {
			continue
		}
		for v := own - 1; v < len(entries); v++ {
			more := g.in.again(entries[u:v+1], before)
			if len(more) == 0 || more[len(more)-1].Revision != after || !g.in.idle(entries[own:v+1], before) {
				continue
			}
			out := append(slices.Clone(steps[:k]), steps[end:end+v+1-own]...)
			return append(append(out, more...), steps[end+v+1-own:]...)
		}
	}
	return nil
}

// repeatedTo is repeated, if the revision that seems to be that of the next entry to make one is of those that were applied again, too.
func (g *grid) repeatedTo(steps []Step, k, end int) []Step {
	m := end
	for m < len(steps) && m-end <= maxApart && steps[m].Revision == 0 && steps[m].Index > 0 {
		m++
	}
	if m == len(steps) || steps[m].Outcome != Applied || steps[m].Index == 0 || steps[m].Again {
		return nil
	}
	before, after := steps[k].Revision-1, steps[m].Revision
	entries := slices.Concat(g.shared(), steps[:k])
	for u := len(entries) - 1; u >= max(len(entries)-maxApart, 0); u-- {
		if want, _ := g.in.demands(entries[u].Index, entries[u].Index, before); entries[u].Again || !Same(want, g.in.Table.Group(before+1)) {
			continue
		}
		more := g.in.again(entries[u:], before)
		if len(more) == 0 || more[len(more)-1].Revision != after || !g.in.idle(steps[end:m+1], after) {
			continue
		}
		out := append(slices.Clone(steps[:k]), more...)
		for _, s := range steps[end : m+1] {
			out = append(out, Step{Index: s.Index, Outcome: NoEffect})
		}
		return append(out, steps[m+1:]...)
	}
	return nil
}

// begin gives a revision without an entry, the first of some steps, to the entry before that which writes just this: a
// replay began there, if all in between have no effect once those up to high, or some more that have none, were applied.
func (g *grid) begin(steps []Step, high uint64) {
	s := steps[0]
	from := high + 1 // if it is all that was done again
	if len(steps) > 1 {
		from = min(from, steps[1].Index)
	}
	for n := 0; ; n++ {
		if index := g.begun(s.Revision, from, high); index > 0 {
			copy(steps, steps[1:n+1])
			steps[n] = Step{Index: index, Revision: s.Revision}
			return
		}
		// What comes behind may have come before, if it has no effect either way.
		if n+1 == len(steps) || n == maxApart || steps[n+1].Outcome != NoEffect || steps[n+1].Index <= high {
			return
		}
		high = steps[n+1].Index
		if want, judged := g.in.demands(high, high, s.Revision-1); len(want) > 0 && judged != Denied {
			return
		}
		from = high + 1
		if n+2 < len(steps) {
			from = min(from, steps[n+2].Index)
		}
	}
}

// begun is the last entry before one that writes just what a revision holds, if all in between have no effect once those
// up to high were applied, 0 if there is none.
func (g *grid) begun(revision int64, from, high uint64) uint64 {
	i, _ := slices.BinarySearchFunc(g.entries, from, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for n := i - 1; n >= max(i-maxApart, 0); n-- {
		if Same(g.p.predict(g.request(n), revision-1), g.in.Table.Group(revision)) {
			return g.entries[n].Index
		}
		if want, judged := g.in.demands(g.entries[n].Index, high+1, revision); len(want) > 0 && judged != Denied {
			return 0
		}
	}
	return 0
}

// done is the last entry before the alignment begins.
func (g *grid) done() uint64 {
	if g.in.From == nil {
		return 0
	}
	return g.in.From.Index
}

// rejudge takes back that something was not permitted to what was applied again: permissions and alarms are then as those
// entries left them that were applied meanwhile.
func (g *grid) rejudge(steps []Step) {
	high := g.done()
	for k := range steps {
		s := &steps[k]
		if s.Outcome == Permitted && s.Index <= high {
			if _, judged := g.in.demands(s.Index, high+1, s.Revision-1); judged != Denied {
				s.Outcome, s.Predicted = Applied, nil
			}
		}
		high = max(high, s.Index)
	}
}

// forbid gives the one revision that permissions or an alarm refuse to a neighbour that writes just that: it was applied
// twice. They hold for all entries that they refuse, so that one of them alone does not get through.
func (g *grid) forbid(steps []Step) []Step {
	permitted := func(s Step) bool { return s.Outcome == Permitted }
	k := slices.IndexFunc(steps, permitted)
	if k < 0 || slices.ContainsFunc(steps[k+1:], permitted) || g.in.turns(steps[k].Index) {
		return steps
	}
	s := steps[k]
	writes := func(index uint64) bool {
		i, ok := slices.BinarySearchFunc(g.entries, index, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
		return ok && Same(g.p.predict(g.request(i), s.Revision-1), g.in.Table.Group(s.Revision))
	}
	again := func(at int, index uint64) []Step {
		steps[k] = Step{Index: s.Index, Outcome: NoEffect}
		return slices.Insert(steps, at, Step{Index: index, Revision: s.Revision})
	}
	made := func(s Step) bool { return s.Revision > 0 }
	switch n := lastIndexFunc(steps[:k], made); {
	case n >= 0 && steps[n].Outcome == Applied && writes(steps[n].Index):
		return again(n+1, steps[n].Index)
	case n < 0 && g.in.From != nil && writes(g.in.From.Index):
		return again(0, g.in.From.Index)
	}
	if n := k + 1 + slices.IndexFunc(steps[k+1:], made); n > k && steps[n].Outcome == Applied && writes(steps[n].Index) {
		return again(n, steps[n].Index)
	}
	if g.altered(steps, k) {
		return steps
	}
	return g.rerun(steps, k)
}

// altered gives a revision that permissions or an alarm refuse to an entry beside it that had no effect, if that writes the same
// keys: one row was changed afterwards, rather than one entry let pass and another one left out.
func (g *grid) altered(steps []Step, k int) bool {
	at := steps[k].Revision
	for _, dir := range []int{-1, +1} {
		for n := k + dir; n >= 0 && n < len(steps) && steps[n].Revision == 0; n += dir {
			if steps[n].Outcome != Refused || steps[n].Doubtful {
				continue
			}
			s, _, ok := g.in.Made(steps[n].Index, at)
			if _, judged := g.in.demands(steps[n].Index, steps[n].Index, at-1); !ok || s.Outcome != Altered || judged != Allowed {
				break
			}
			steps[k], steps[n] = Step{Index: steps[k].Index, Outcome: NoEffect}, s
			return true
		}
	}
	return false
}

// rerun gives a revision that permissions or an alarm refuse, and those behind it, to entries before that were applied again,
// if they made just these and what comes behind had no effect then.
func (g *grid) rerun(steps []Step, k int) []Step {
	before := steps[k].Revision - 1
	entries := slices.Concat(g.shared(), steps) // that may have been applied again
	own := len(entries) - len(steps)
	for v := own + k - 1; v >= max(own-1, 0) && own+k-v <= maxApart; v-- {
		for u := v; u >= 0 && v-u <= maxApart; u-- {
			more := g.in.again(entries[u:v+1], before)
			if len(more) == 0 {
				continue
			}
			at := more[len(more)-1].Revision
			end := slices.IndexFunc(steps, func(s Step) bool { return s.Revision == at })
			if end < k || !g.in.idle(entries[v+1:own+end+1], at) {
				continue
			}
			out := append(slices.Clone(steps[:v+1-own]), more...)
			for _, s := range entries[v+1 : own+end+1] {
				out = append(out, Step{Index: s.Index, Outcome: NoEffect})
			}
			return append(out, steps[end+1:]...)
		}
		if v >= own && entries[v].Revision > 0 {
			break
		}
	}
	return steps
}

// shared are the last entries before the alignment begins.
func (g *grid) shared() (all []Step) {
	if g.in.From == nil {
		return nil
	}
	i := g.start().i
	for _, e := range g.entries[max(i-maxApart, 0):i] {
		all = append(all, Step{Index: e.Index})
	}
	return all
}

// idle tells whether none of some entries has an effect on the state after main revision at.
func (in *Input) idle(steps []Step, at int64) bool {
	return !slices.ContainsFunc(steps, func(s Step) bool {
		want, judged := in.demands(s.Index, s.Index, at)
		return s.Index == 0 || s.Again || len(want) > 0 && judged != Denied
	})
}

// lift gives revisions that permissions or an alarm refuse, although they did refuse other entries among those, to the same
// entries applied again behind what lifted that, if it costs less. It returns how much more that costs.
func (g *grid) lift(steps []Step) ([]Step, int) {
	p := slices.IndexFunc(steps, func(s Step) bool { return s.Outcome == Permitted })
	q := lastIndexFunc(steps, func(s Step) bool { return s.Outcome == Permitted })
	if p < 0 || q-p > 4*maxApart {
		return steps, 0
	}
	permitted := 0
	for _, s := range steps[p : q+1] {
		switch {
		case s.Revision == 0:
		case s.Outcome != Permitted:
			return steps, 0
		default:
			permitted++
		}
	}
	if permitted*costPermit <= costReplay {
		return steps, 0
	}
	before := steps[p].Revision - 1
	for v := q; v < len(steps) && (v == q || steps[v].Revision == 0) && v-q <= maxApart; v++ {
		if want, judged := g.in.demands(steps[v].Index, steps[v].Index, before); len(want) > 0 && judged != Denied {
			break
		}
		if !g.in.lifted(steps, p, q, steps[v].Index+1) {
			continue
		}
		for u := q; u >= max(p-maxApart, 0) && (u >= p || steps[u].Revision == 0); u-- {
			if again := g.in.again(steps[u:v+1], before); len(again) > 0 && again[len(again)-1].Revision == steps[q].Revision {
				out := slices.Clone(steps[:p])
				for _, s := range steps[p : v+1] {
					out = append(out, Step{Index: s.Index, Outcome: NoEffect})
				}
				return append(append(out, again...), steps[v+1:]...), costReplay - permitted*costPermit
			}
		}
	}
	return steps, 0
}

// lifted tells whether an entry without effect between steps p and q, or just before them, was refused in its time and is not
// at a later one.
func (in *Input) lifted(steps []Step, p, q int, later uint64) bool {
	at := steps[q].Revision
	for n := q; n >= 0 && (n >= p || steps[n].Revision == 0) && q-n <= 4*maxApart; n-- {
		s := &steps[n]
		if s.Revision > 0 {
			at = s.Revision - 1
			continue
		}
		if want, judged := in.demands(s.Index, s.Index, at); len(want) > 0 && judged == Denied {
			if _, judged = in.demands(s.Index, later, at); judged != Denied {
				return true
			}
		}
	}
	return false
}

// again is what some entries make if they are applied once more behind the last of them, on the state after a main
// revision, up to the last one that makes another. It is empty if that is not what the rows hold.
func (in *Input) again(entries []Step, at int64) (steps []Step) {
	made := 0
	for i := range entries {
		s := Step{Index: entries[i].Index, Outcome: NoEffect}
		want, judged := in.demands(s.Index, entries[len(entries)-1].Index+1, at)
		switch {
		case len(want) == 0 || judged == Denied:
		case Same(want, in.Table.Group(at+1)):
			at++
			s.Revision, s.Outcome = at, Applied
		default:
			return nil
		}
		if steps = append(steps, s); s.Revision > 0 {
			made = len(steps)
		}
	}
	return steps[:made]
}

func lastIndexFunc(steps []Step, ok func(Step) bool) int {
	for n, s := range slices.Backward(steps) {
		if ok(s) {
			return n
		}
	}
	return -1
}

// gather brings refusals together between which others write the same: which of them had no effect is not to be told, and
// it was rather some in a row than one here and one there.
func (in *Input) gather(steps []Step) {
	last := -1
	for n := range steps {
		switch s := &steps[n]; {
		case s.Outcome == Refused && !s.Doubtful:
			if last >= 0 && !in.shift(steps[last:n+1], +1, Allowed) {
				in.shift(steps[last:n+1], -1, Allowed)
			}
			last = n
		case s.Outcome != NoEffect && s.Outcome != Applied, s.Index == 0, s.Again:
			last = -1
		}
	}
}

// maxConceded bounds how many refusals in doubt are held against what else became of their users.
const maxConceded = 64

// concede gives a refusal in doubt of a user who is let pass otherwise to a later request of one who is refused otherwise, if what lies
// between can stand in: permissions hold for all that a user asks for.
func (in *Input) concede(steps []Step) {
	tried := 0
	for n := range steps {
		if s := &steps[n]; s.Outcome != Refused || !s.Doubtful {
			continue
		}
		user, around := in.user(steps[n].Index), steps[max(n-maxApart, 0):min(n+maxApart, len(steps))]
		for m := n + 1; m+1 < len(steps) && m-n <= maxApart && tried < maxConceded && steps[m].Index > 0 && !steps[m].Again; m++ {
			if steps[m].Revision == 0 {
				continue
			}
			if want, judged := in.demands(steps[n].Index, steps[n].Index, steps[m].Revision-1); judged == Denied || !Same(want, in.Table.Group(steps[m].Revision)) {
				break
			}
			other := in.user(steps[m].Index)
			if other == user {
				continue
			}
			tried++
			passes, _ := in.fates(around, user, 0)
			if passed, refused := in.fates(around, other, steps[m].Index); passes && refused && !passed {
				in.shift(steps[n:m+2], +1, Doubtful)
			}
			break
		}
	}
}

// delay moves refusals behind the entries that follow them and write the same: which of these had no effect is not to be told, and
// members that part at the last of them may be compacted to the others.
func (in *Input) delay(steps []Step) {
	for k := range slices.Backward(steps) {
		if s := &steps[k]; s.Outcome != Refused || s.Doubtful {
			continue
		}
		for at, n := k, k+1; n < len(steps) && n-k <= maxApart; n++ {
			switch s := &steps[n]; {
			case s.Index == 0 || s.Again || s.Outcome != NoEffect && s.Outcome != Applied:
				n = len(steps)
			case s.Revision > 0:
				// The step behind the slice stands for the place to move to.
				if moved := append(slices.Clone(steps[at:n+1]), Step{}); in.shift(moved, +1, Allowed) {
					copy(steps[at:n+1], moved)
					at = n
				} else {
					n = len(steps)
				}
			}
		}
	}
}

// fates tells whether requests of a user, but for one, made a revision, and whether some were refused.
func (in *Input) fates(steps []Step, user string, but uint64) (passed, refused bool) {
	for i := range steps {
		s := &steps[i]
		if s.Index == 0 || s.Index == but || s.Outcome != Applied && s.Outcome != Refused || in.user(s.Index) != user {
			continue
		}
		passed, refused = passed || s.Outcome == Applied, refused || s.Outcome == Refused
	}
	return passed, refused
}

// shift moves the refusal at one end of some steps next to that at the other, if the entries in between can stand in for
// each other, and tells whether it did: the first one forwards, or the last one backwards. None of them may be judged worse than
// given.
func (in *Input) shift(steps []Step, dir int, worst Judgement) bool {
	from, to := 0, len(steps)-1
	if dir < 0 {
		from, to = to, from
	}
	moved := slices.Clone(steps)
	at := from
	for n := from + dir; n != to; n += dir {
		s, o := &moved[at], &moved[n]
		if o.Revision == 0 {
			continue
		}
		// Behind the revision, or before it, is where the others are then.
		then := o.Revision
		if dir < 0 {
			then--
		}
		if want, judged := in.demands(s.Index, s.Index, o.Revision-1); judged > worst || !Same(want, in.Table.Group(o.Revision)) {
			return false
		}
		for b := at + dir; b != n; b += dir {
			if want, judged := in.demands(moved[b].Index, moved[b].Index, then); len(want) > 0 && judged != Denied {
				return false
			}
		}
		want, judged := in.demands(o.Index, o.Index, then)
		if len(want) == 0 || judged > worst {
			return false
		}
		moved[at] = Step{Index: s.Index, Revision: o.Revision}
		moved[n] = Step{Index: o.Index, Outcome: Refused, Predicted: want, Doubtful: judged == Doubtful}
		at = n
	}
	copy(steps, moved)
	return true
}

// demands is what etcd's rules want of an entry on the state after main revision at, and how that is judged at the time of
// an entry.
func (in *Input) demands(index, time uint64, at int64) ([]Change, Judgement) {
	k, ok := in.Log.find(index)
	if !ok {
		return nil, Denied
	}
	e := &in.Log.entries[k]
	want := in.Predict(e, at)
	if in.Judge == nil || len(want) == 0 {
		return want, Allowed
	}
	return want, in.Judge(time, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, at) })
}

// Demands is what etcd's rules want of an entry on the state after main revision at, and how that is judged.
func (in *Input) Demands(index uint64, at int64) ([]Change, Judgement) {
	return in.demands(index, index, at)
}
