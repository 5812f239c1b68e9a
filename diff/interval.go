package diff

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/mvcc"
)

// spread finds the entries that could stand in for a cause's: neighbours that write the same, so that the rows are the
// same whichever of them was left out, or applied again. The interval between the outermost two contains the truth.
func (c *comparison) spread(k *cause) {
	if k.outcome == align.Permitted && k.rule == nil || k.origin != nil && k.origin.lease == 0 && k.origin.let != nil {
		c.spreadPermitted(k)
		return
	}
	if c.alarmedBefore(k) {
		k.interval, k.entries = &Interval{First: 1, Last: k.index}, nil
		k.what = fmt.Sprintf("an alarm that was on before the log begins refused entries on %s, and did not on others: an entry that the log does not hold had no effect there",
			strings.Join(c.labels(k.odd), ", "))
		return
	}
	if k.index == 0 || len(k.odd) == 0 || !k.again && (k.rule != nil || k.outcome != align.Refused && k.outcome != align.OtherBranch) ||
		slices.ContainsFunc(k.odd, func(i int) bool { return c.wrote(i, k.index) }) {
		return
	}
	first, last := uint64(math.MaxUint64), uint64(0)
	low, high := uint64(0), uint64(math.MaxUint64) // what all of them have in common
	odd := slices.DeleteFunc(slices.Clone(k.odd), func(i int) bool { return k.again && c.amidReplay(i, k.index) })
	if len(odd) == 0 {
		odd = k.odd
	}
	for _, i := range odd {
		lo, hi := c.reading(k, i)
		first, last = min(first, lo), max(last, hi)
		low, high = max(low, lo), min(high, hi)
	}
	if (k.again || k.outcome == align.OtherBranch) && low <= high {
		first, last = low, high // one that stopped earlier tells more
	}
	begun := c.opens(k, first)
	if begun {
		x, ended := c.alikeBefore(k, first)
		first, begun = x, !ended && !c.whole(k.odd[0])
	}
	switch {
	case begun:
		// What was written before the log begins is the same, too: as well may one of its entries be meant.
		k.between = &RevisionInterval{First: c.alikeFrom(k.revision), Last: k.revision}
		k.interval, k.entries = &Interval{First: min(uint64(max(k.between.First-1, 1)), first), Last: last}, nil
	case first != last:
		k.interval, k.entries = &Interval{First: first, Last: last}, nil
	case first != k.index && k.again && first < k.index:
		c.beginBefore(k, first)
	case first != k.index:
		k.index, k.entries = first, nil
		if k.outcome == align.Refused && !k.again {
			c.renumber(k)
		}
	}
}

// amidReplay tells whether member i applied an entry again only among others, behind the first of them: what that may be instead
// is a question of where the others began.
func (c *comparison) amidReplay(i int, index uint64) bool {
	amid, alone, before := false, false, false
	c.traces[i].steps(func(s *align.Step) {
		if s.Revision == 0 {
			return
		}
		if s.Again && s.Index == index {
			amid, alone = amid || before, alone || !before
		}
		before = s.Again
	})
	return amid && !alone
}

// beginBefore makes a replay begin with an earlier entry: what those from it on made then is what others hold there, too, so that
// the rows parted later.
func (c *comparison) beginBefore(k *cause, first uint64) {
	es := make([]effects, len(c.ms))
	made := int64(0)
	c.traces[k.odd[0]].steps(func(s *align.Step) {
		if first <= s.Index && s.Index < k.index && s.Revision > 0 && !s.Again {
			made++
		}
	})
	k.index, k.entries, k.revision = first, nil, k.revision-made
	for _, g := range k.groups {
		for _, i := range g {
			es[i].steps = c.stepsAt(i, first)
			if slices.Contains(k.odd, i) {
				es[i].steps = append(es[i].steps, &align.Step{Index: first, Revision: k.revision, Again: true})
			}
			c.load(i, &es[i])
		}
	}
	k.effects = c.describe(k, es)
}

// alarmedBefore tells whether all entries of a cause are refused by an alarm that was on before the log begins: then those are
// odd that let them pass.
func (c *comparison) alarmedBefore(k *cause) bool {
	if k.index == 0 || k.layer != LayerApply || k.outcome != align.Refused || k.again {
		return false
	}
	i := k.odd[0]
	return !slices.ContainsFunc(append([]uint64{k.index}, k.entries...), func(x uint64) bool {
		t, known := c.views[i].alarmAt(x)
		q := c.request(i, x)
		return q == nil || !known || t.index > 0 || !t.on || !refusedBy(t, q.Internal)
	})
}

// spreadPermitted finds the entries that could stand in for one that turned an alarm on, or for those that it should have
// refused: such a revision is made as well if entries are applied again behind what lifted that.
func (c *comparison) spreadPermitted(k *cause) {
	let := k.entries
	switch {
	case k.origin != nil && c.leftOut(k.odd, k.index) != nil:
		return // with others
	case k.origin != nil:
		let = k.origin.let
	case len(let) == 0:
		let = []uint64{k.index}
	}
	first, last := uint64(math.MaxUint64), uint64(0)
	var branch bool // some may as well have taken the other branch
	for _, i := range k.odd {
		lo, hi := uint64(0), uint64(0)
		if m := c.modelOf(i, func(s *align.Step) bool {
			return s.Outcome == align.Permitted && !s.Again && slices.Contains(let, s.Index)
		}); m != nil {
			lo, hi = m.interval()
		}
		if len(let) == 1 && k.origin == nil {
			if x, y := c.branched(i, let[0], align.Permitted); x != y {
				branch = true
				if hi == 0 {
					lo, hi = x, y
				}
				lo, hi = min(lo, x), max(hi, y)
			}
		}
		if hi == 0 {
			return
		}
		first, last = min(first, lo), max(last, hi)
	}
	if k.origin != nil {
		first, last = min(first, k.index), max(last, k.index)
	}
	if first == last {
		return
	}
	k.layer, k.interval, k.entries = LayerApply, &Interval{First: first, Last: last}, nil
	k.index = max(first, min(k.index, last))
	k.what = fmt.Sprintf("what permissions or an alarm refuse had an effect on %s: entries were applied again behind what lifted that, or the one that turned it on had no effect",
		strings.Join(c.labels(k.odd), ", "))
	if branch {
		k.what = fmt.Sprintf("what permissions or an alarm refuse had an effect on %s, or a transaction near it took the other branch, which writes the same",
			strings.Join(c.labels(k.odd), ", "))
	}
}

// wrote tells whether the rows that an entry made on a member, or the gap that they left, are not what it should have made:
// then it is this one, whatever befell others at it.
func (c *comparison) wrote(i int, index uint64) bool {
	return slices.ContainsFunc(c.stepsAt(i, index), func(s *align.Step) bool {
		return s.Outcome == align.Altered || s.Outcome == align.Lost || s.Outcome == align.Partial
	})
}

// opens tells whether nothing but what writes the same as a cause's entry made a revision from where the log begins up to
// it, and the last revision before.
func (c *comparison) opens(k *cause, first uint64) bool {
	t := c.traces[k.odd[0]]
	if k.revision == 0 || t.first() <= 1 || !k.again && (c.whole(k.odd[0]) || c.numbered(k.odd[0], k.index)) {
		return false
	}
	earlier, rows := false, c.ms[k.odd[0]].DB.Rows
	t.steps(func(s *align.Step) {
		switch {
		case s.Revision == 0:
		case s.Index < first:
			earlier = true
		case k.again && s.Revision < k.revision:
			// Had what is applied again begun before, what comes between would have been, too.
			earlier = earlier || !slices.EqualFunc(rows.Group(s.Revision), rows.Group(k.revision), sameWrite)
		}
	})
	for j := range c.ms {
		if !earlier && c.beganAlike(k, j, t.first()) {
			return true
		}
	}
	return false
}

// beganAlike tells whether what member j held last before the first entry of which the effect is known is what a cause's entry wrote
// there, or elsewhere at that revision if it made none there. Members that had parted came there with different revisions.
func (c *comparison) beganAlike(k *cause, j int, first uint64) bool {
	before, at := c.revisionAt(j, first-1), k.revision
	if before < 0 {
		before = c.traces[j].startRevision()
	}
	for _, s := range c.stepsAt(j, k.index) {
		if s.Revision > 0 {
			at = s.Revision
		}
	}
	a, b := c.ms[j].DB.Rows.Group(before), c.ms[j].DB.Rows.Group(at)
	return before < at && len(a) > 0 && slices.EqualFunc(a, b, sameWrite)
}

// alikeBefore is the first of an entry and those before the ones of which the effect is known that may have written the same
// as a cause's, and whether one before them wrote something else.
func (c *comparison) alikeBefore(k *cause, entry uint64) (first uint64, ended bool) {
	i := k.odd[0]
	es, want := c.views[i].entries, c.request(i, k.index)
	first = entry
	at, _ := slices.BinarySearchFunc(es, c.traces[i].first(), func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for _, e := range slices.Backward(es[:at]) {
		switch {
		case want == nil:
			return first, false
		case sameContent(e.Request().Internal, want.Internal):
			first = e.Index
		case c.puts(i, &e):
			return first, true
		}
	}
	return first, false
}

// puts tells whether an entry is one that makes a revision on member i whatever keys and leases there are.
func (c *comparison) puts(i int, e *align.Entry) bool {
	p := e.Request().Internal.GetPut()
	alarm, told := c.views[i].alarmAt(e.Index)
	return p != nil && p.Lease == 0 && !p.IgnoreValue && !p.IgnoreLease && !c.auths[i].on(e.Index) && !(told && alarm.on)
}

// numbered tells whether an entry is behind one that compacted member i at the revision with which what is known of it
// begins: it had made as many revisions by then, so that none was left out before.
func (c *comparison) numbered(i int, index uint64) bool {
	in := &c.inputs[i]
	x := in.Log.Compaction(in.Compact)
	return x > 0 && x < index && c.traces[i].startRevision() == in.Compact
}

// unite makes one cause of two that are read differently only: some members left out an entry, or applied it again, others a
// neighbour of it that writes the same. What can be told of some of them holds for all.
func (c *comparison) unite() {
	for n := 0; n < len(c.causes); n++ {
		k := c.causes[n]
		c.causes = slices.DeleteFunc(c.causes, func(r *cause) bool { return r != k && c.sameReading(k, r) && c.absorb(k, r) })
	}
}

func (c *comparison) sameReading(k, r *cause) bool {
	one := func(x *cause) bool {
		return x.layer == LayerApply && (x.again || x.outcome == align.Refused) && len(x.entries) < 2 && len(x.groups) == 2 && len(x.effects) == 2
	}
	return one(k) && one(r) && k.again == r.again && k.index < r.index && (r.within(k) || k.within(r)) &&
		!slices.ContainsFunc(r.odd, func(i int) bool { return slices.Contains(k.odd, i) })
}

// within tells whether all entries that a cause may lie at are among those of another one.
func (k *cause) within(o *cause) bool {
	a, b := k.at(), o.at()
	return b.First <= a.First && a.Last <= b.Last
}

// at is the range of entries that a cause may lie at.
func (k *cause) at() Interval {
	if k.interval != nil {
		return *k.interval
	}
	return Interval{First: k.index, Last: k.index}
}

// absorb puts the odd members of r to those of k.
func (c *comparison) absorb(k, r *cause) bool {
	odd := slices.Sorted(slices.Values(slices.Concat(k.odd, r.odd)))
	rest := slices.DeleteFunc(slices.Sorted(slices.Values(slices.Concat(k.groups...))), func(i int) bool { return slices.Contains(odd, i) })
	if len(rest) == 0 {
		return false
	}
	if k.odd = odd; !k.within(r) {
		k.index, k.interval = r.index, r.interval
	}
	var es []Effect
	for _, e := range k.effects {
		e.Members = c.labels(rest)
		if e.Note != "" {
			e.Members = c.labels(k.odd)
		}
		es = append(es, e)
	}
	k.groups, k.effects = [][]int{rest, k.odd}, es
	sortGroups(k.groups)
	return true
}

// reading is the range of entries that could stand in for a cause's on one odd member. Others may have left out more.
func (c *comparison) reading(k *cause, i int) (first, last uint64) {
	switch first, last = k.index, k.index; {
	case k.again:
		first, last = c.repeated(k, i)
		if x := c.flipped(i, k.index); x > 0 {
			first, last = min(first, x), max(last, x)
			k.what = fmt.Sprintf("applied more than once, or one bit of what entry %d wrote was changed", x)
		}
		return first, last
	case k.outcome == align.OtherBranch:
		return c.branched(i, k.index, align.OtherBranch)
	case len(k.entries) > 1:
		return c.slideRun(i, k)
	}
	for _, x := range c.doubles(k, i) {
		first, last = min(first, x), max(last, x)
	}
	if c.bannedFrom(i, last) {
		first = last
	}
	return first, last
}

// bannedFrom tells whether a user whose request had no effect on member i had asked for the next change of the auth store,
// which was left out, too, and for nothing in between that had an effect: then all that this user asked for was refused from
// there on.
func (c *comparison) bannedFrom(i int, index uint64) bool {
	q, a := c.request(i, index), c.auths[i]
	if q == nil || q.User == "" || !c.authAstray(i) || a.timeline.Again || len(a.others) > 0 || a.timeline.Odd < index {
		return false
	}
	user := func(x uint64) bool { r := c.request(i, x); return r != nil && r.User == q.User }
	served := slices.ContainsFunc(c.views[i].authWrites, func(w authz.Write) bool {
		return index < w.Index && w.Index < a.timeline.Odd && w.Request.User == q.User && !a.timeline.At(w.Index).Alike(a.timeline.At(w.Index+1))
	})
	c.traces[i].steps(func(s *align.Step) {
		served = served || index < s.Index && s.Index < a.timeline.Odd && s.Revision > 0 && user(s.Index)
	})
	return user(a.timeline.Odd) && !served
}

// repeated is the range of entries that may have been the first to be applied again.
func (c *comparison) repeated(k *cause, i int) (first, last uint64) {
	again := func(s *align.Step) bool { return s.Again && s.Revision > 0 && s.Index == k.index }
	if m := c.modelOf(i, again); m != nil {
		if lo, hi := m.interval(); hi > 0 {
			return lo, hi
		}
	}
	if len(k.entries) > 1 {
		return k.index, k.index
	}
	// Something else came between the two applications.
	return c.alikeTwice(i, k.index)
}

// flipped is the entry behind one that was applied again which may have made its revision instead, so that one bit of it was
// changed afterwards: it had no effect on what the second application left. 0 if there is none.
func (c *comparison) flipped(i int, index uint64) uint64 {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == index && s.Again && s.Revision > 0 {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	if at < 0 || at+1 < len(steps) && steps[at+1].Again {
		return 0
	}
	in, revision := c.inputs[i], steps[at].Revision
	rows := in.Table.Group(revision)
	for n, s := range steps[at+1:] {
		if s.Revision > 0 || s.Index == 0 {
			return 0
		}
		want, judged := in.Demands(s.Index, revision-1)
		switch {
		case len(want) == 0 || judged == align.Denied:
		case judged == align.Allowed && align.Flipped(want, rows):
			// What came behind met what it had written.
			meant := align.Step{Predicted: want}
			in.Index = in.Index.Replace(map[int64][]mvcc.Row{revision: meant.Rows(revision)})
			if c.follow(&in, steps[at+n+2:], revision) {
				return s.Index
			}
			return 0
		default:
			return 0
		}
	}
	return 0
}

// follow tells whether etcd's rules demand of some entries, from the state after main revision at on, what they did.
func (c *comparison) follow(in *align.Input, steps []*align.Step, at int64) bool {
	for _, s := range steps[:min(len(steps), maxBegun)] {
		want, judged := in.Demands(s.Index, at)
		switch {
		case s.Index == 0 || s.Anomalous():
			return true // as odd either way
		case s.Revision == 0:
			if len(want) > 0 && judged == align.Allowed {
				return false
			}
		case judged == align.Denied || !align.Same(want, in.Table.Group(s.Revision)):
			return false
		default:
			at = s.Revision
		}
	}
	return true
}

// branched is the range of transactions that may have taken the other branch instead of one that did, or instead of an entry
// that was let pass, so that all others did what they should.
func (c *comparison) branched(i int, index uint64, outcome align.Outcome) (first, last uint64) {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == index && s.Outcome == outcome {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	first, last = index, index
	if at < 0 {
		return first, last
	}
	// What came behind may have been made by later ones than it seems.
	end := at + 1
	for end < len(steps) && end <= at+maxBegun && !steps[end].Anomalous() {
		end++
	}
	for n := max(at-maxBegun, 0); n < end; n++ {
		if c.mayBranch(i, steps[min(n, at):max(n, at)+1], steps[n]) || c.mayBranch(i, steps[min(n, at):end], steps[n]) {
			first, last = min(first, steps[n].Index), max(last, steps[n].Index)
		}
	}
	for _, dir := range []int{-1, 1} {
		if n := c.mayRepeat(i, steps, at, dir); n >= 0 && outcome == align.OtherBranch {
			lo, hi := c.alikeContent(i, steps[n].Index, steps, n)
			first, last = min(first, lo), max(last, hi)
		}
	}
	return first, last
}

// mayRepeat is the next step in one direction that may have been applied twice instead of the other branch having been
// taken at a step, -1 if it cannot have been.
func (c *comparison) mayRepeat(i int, steps []*align.Step, at, dir int) int {
	in, s := &c.inputs[i], steps[at]
	n := at + dir
	for n >= 0 && n < len(steps) && steps[n].Revision == 0 {
		n += dir
	}
	if n < 0 || n >= len(steps) || steps[n].Outcome != align.Applied || steps[n].Again {
		return -1
	}
	state := s.Revision - 1 // that the transaction met then
	if dir < 0 {
		state = s.Revision
	}
	e, txn := find(c.views[i].entries, steps[n].Index), find(c.views[i].entries, s.Index)
	if e == nil || txn == nil || len(in.Predict(txn, state)) > 0 || !align.Same(in.Predict(e, s.Revision-1), in.Table.Group(s.Revision)) {
		return -1
	}
	return n
}

// mayBranch tells whether some steps made the revisions that they did if one of them took the other branch, and all
// others what their compares demand.
func (c *comparison) mayBranch(i int, steps []*align.Step, other *align.Step) bool {
	in := &c.inputs[i]
	at, end := int64(0), int64(0)
	for _, s := range steps {
		if s.Revision > 0 && at == 0 {
			at = s.Revision - 1
		}
		end = max(end, s.Revision)
	}
	for _, s := range steps {
		e := find(c.views[i].entries, s.Index)
		if e == nil || s.Again {
			return false
		}
		rows := in.Table.Group(at + 1)
		want := in.Predict(e, at)
		judge := func(want []align.Change) align.Judgement {
			return in.Judge(s.Index, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, at) })
		}
		judged := judge(want)
		switch {
		case s == other:
			passed := judged == align.Denied && align.Same(want, rows) // or let pass
			if !passed && (align.Same(want, rows) || !slices.ContainsFunc(in.Branches(e, at), func(b []align.Change) bool {
				return align.Same(b, rows) && judge(b) != align.Denied
			})) {
				return false
			}
			at++
		case len(want) == 0 || judged == align.Denied:
		case align.Same(want, rows):
			at++
		default:
			return false
		}
	}
	return at == end
}

// sameOtherwise tells whether a cause is only a matter of reading: the odd members made the revision with a neighbour that
// writes the same, and at that neighbour's turn the others had no effect, or have not come to it. Then all did the same.
func (c *comparison) sameOtherwise(k *cause) bool {
	if len(k.odd) == 0 {
		return false
	}
	all := c.doubles(k, k.odd[0])
	if n := slices.IndexFunc(all, func(x uint64) bool { return c.idleAt(k, x) }); n >= 0 {
		k.instead = all[n : n+1]
		return true
	}
	return false
}

// madeOtherwise tells whether all members that made a revision with a cause's entry, which permissions that are not known may
// refuse, may have made it with a neighbour with which the odd members made theirs: then none let the entry pass.
func (c *comparison) madeOtherwise(k *cause) bool {
	if k.outcome != align.Refused || k.again || slices.ContainsFunc(k.odd, func(i int) bool { return !c.doubted(i, k.index) }) {
		return false
	}
	for _, j := range slices.Concat(k.groups...) {
		if !slices.Contains(k.odd, j) && c.ms[j].DB.Tables.ConsistentIndex >= k.index && !c.madeBeside(k, j) {
			return false
		}
	}
	return true
}

// doubted tells whether an entry had no effect on a member, and it is not known whether it was refused.
func (c *comparison) doubted(i int, index uint64) bool {
	return slices.ContainsFunc(c.stepsAt(i, index), func(s *align.Step) bool { return s.Outcome == align.Refused && s.Doubtful })
}

// madeBeside tells whether member j may have made the revision of a cause's entry with a neighbour, which had one on the odd
// members.
func (c *comparison) madeBeside(k *cause, j int) bool {
	var steps []*align.Step
	at := -1
	c.traces[j].steps(func(s *align.Step) {
		if s.Index == k.index && s.Outcome == align.Applied && s.Revision > 0 && !s.Again {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	if at < 0 {
		return false
	}
	in := &c.inputs[j]
	may := func(s *align.Step) bool {
		e := find(c.views[j].entries, s.Index)
		return e != nil && s.Outcome == align.Refused && s.Doubtful && align.Same(in.Predict(e, steps[at].Revision-1), in.Table.Group(steps[at].Revision)) &&
			!slices.ContainsFunc(k.odd, func(i int) bool {
				return !slices.ContainsFunc(c.stepsAt(i, s.Index), func(o *align.Step) bool { return o.Revision > 0 })
			})
	}
	for _, dir := range []int{-1, 1} {
		for n := at + dir; n >= 0 && n < len(steps) && steps[n].Revision == 0; n += dir {
			if may(steps[n]) {
				return true
			}
		}
	}
	return false
}

// joins tells whether a cause is only a matter of reading because of another one, of the same members: they made the
// revision with this entry, and it is a neighbour that writes the same which had no effect, as the rule of the other
// cause demands, or in a row with its entries. That cause begins with it then, if it comes first.
func (c *comparison) joins(k *cause, all []*cause) bool {
	for _, r := range all {
		if r == k || r.again || r.origin != nil || r.outcome != k.outcome || !slices.Equal(r.odd, k.odd) {
			continue
		}
		for _, x := range c.doubles(k, k.odd[0]) {
			q := c.request(k.odd[0], x)
			switch {
			case q == nil || r.rule != nil && !r.rule.hits(q):
			case x > r.index && r.rule != nil:
				return true
			case x < r.index && k.index < r.index && !c.interrupted(r, x):
				c.begin(r, x, k)
				return true
			}
		}
	}
	return false
}

// interrupted tells whether between an entry and the first one of a cause there is one that had an effect, and that the
// rule of the cause covers, if it has one.
func (c *comparison) interrupted(r *cause, from uint64) bool {
	found := false
	c.traces[r.odd[0]].steps(func(s *align.Step) {
		if from < s.Index && s.Index < r.index && s.Revision > 0 {
			q := c.request(r.odd[0], s.Index)
			found = found || r.rule == nil || q == nil || r.rule.hits(q)
		}
	})
	return found
}

// begin makes an entry the first one of cause k: what is known of another one that writes the same holds for it.
func (c *comparison) begin(k *cause, index uint64, like *cause) {
	if len(k.entries) == 0 {
		k.entries = []uint64{k.index}
	}
	k.entries = append([]uint64{index}, k.entries...)
	k.index, k.revision, k.effects = index, 0, slices.Clone(like.effects)
	c.gatherAt(k)
	k.what = k.rule.says(len(k.entries), c.without(k))
	c.renumber(k)
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

// gatherAt puts members that have come to a cause's entry, though maybe not to the one that was its first before, to those that did
// the same.
func (c *comparison) gatherAt(k *cause) {
	if len(k.odd) == 0 {
		return
	}
	k.groups = slices.Clone(k.groups)
	members, done := c.doneAt(k.index, k.odd)
	for _, j := range members {
		n := slices.IndexFunc(k.groups, func(g []int) bool {
			return !meets(g, k.odd) && slices.Contains(members, g[0]) && sameEffects(&done[g[0]], &done[j])
		})
		if n >= 0 && !slices.Contains(slices.Concat(k.groups...), j) && done[j].odd() == nil {
			k.groups[n] = slices.Sorted(slices.Values(append(slices.Clone(k.groups[n]), j)))
		}
	}
	sortGroups(k.groups)
}

// renumber takes the revisions of what a cause's entry did from those that are not odd, after another entry has become its.
func (c *comparison) renumber(k *cause) {
	for n, g := range k.groups {
		for _, s := range c.stepsAt(g[0], k.index) {
			if s.Revision > 0 && !slices.Contains(k.odd, g[0]) && n < len(k.effects) {
				k.effects[n].Revision = s.Revision
				k.revision = s.Revision
			}
		}
	}
}

// doubles lists the entries that may have been without effect on a member instead of a cause's one.
func (c *comparison) doubles(k *cause, i int) []uint64 {
	if k.outcome != align.Refused || k.again || len(k.entries) > 1 {
		return nil
	}
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == k.index && s.Outcome == align.Refused {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	if at < 0 {
		return nil
	}
	back := c.slide(i, steps, at, -1)
	all := slices.Concat(back, c.twins(k, i, steps[:at], len(back)), c.slide(i, steps, at, +1))
	want := c.request(i, k.index)
	for n := max(at-maxBegun, 0); n < min(at+maxBegun, len(steps)); n++ {
		x := steps[n].Index
		if q := c.request(i, x); n == at || q == nil || want == nil || !sameContent(q.Internal, want.Internal) || slices.Contains(all, x) {
			continue
		}
		if steps[n].Outcome == align.Applied && !steps[n].Again && c.mayLeave(i, steps[min(n, at):], steps[n], steps[at]) {
			all = append(all, x)
		}
	}
	return all
}

// mayLeave tells whether some steps, of which the first is one of two, made the revisions that they did if one of these was left out,
// and the other, which was, had its effect, and all others did what they should then.
func (c *comparison) mayLeave(i int, steps []*align.Step, left, had *align.Step) bool {
	in := &c.inputs[i]
	at := int64(0)
	for _, s := range steps {
		if s.Revision > 0 {
			at = s.Revision - 1
			break
		}
	}
	was, both := at, 0
	for n, s := range steps {
		e := find(c.views[i].entries, s.Index)
		if e == nil || s.Again || n > 2*maxBegun || s.Anomalous() && s != had {
			return false
		}
		was = max(was, s.Revision)
		if s == left || s == had {
			both++
		}
		if s != left {
			rows := in.Table.Group(at + 1)
			want := in.Predict(e, at)
			judged := in.Judge(s.Index, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, at) })
			switch {
			case len(want) == 0 || judged == align.Denied:
			case judged == align.Allowed && align.Same(want, rows):
				at++
			default:
				return false
			}
		}
		if both == 2 && at == was {
			return true
		}
	}
	return false
}

// twins lists the entries before those that are left of member i's history which ask for the same as a cause's, and for
// which it can stand in: behind the compact revision only the entry without effect is left, if it is one of several
// alike. All steps before it that made a revision are alike, too.
func (c *comparison) twins(k *cause, i int, steps []*align.Step, alike int) (found []uint64) {
	first := c.traces[i].first()
	for _, s := range steps {
		if s.Revision > 0 {
			alike--
		}
	}
	if alike != 0 || first == 0 || c.numbered(i, k.index) {
		return nil
	}
	es := c.views[i].entries
	at, _ := slices.BinarySearchFunc(es, first, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	want := c.request(i, k.index)
	for _, e := range slices.Backward(es[:at]) {
		if r := e.Request(); want == nil || r.User != want.User || !sameContent(r.Internal, want.Internal) {
			break
		}
		found = append(found, e.Index)
	}
	return found
}

// sameContent tells whether two requests ask for the same change of keys.
func sameContent(a, b *pb.InternalRaftRequest) bool {
	switch {
	case a.GetPut() != nil:
		return proto.Equal(a.Put, b.GetPut())
	case a.GetDeleteRange() != nil:
		return proto.Equal(a.DeleteRange, b.GetDeleteRange())
	case a.GetTxn() != nil:
		return proto.Equal(a.Txn, b.GetTxn())
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
			steps := c.stepsAt(j, index)
			if len(steps) == 0 || slices.ContainsFunc(steps, func(s *align.Step) bool { return s.Revision > 0 }) {
				return false
			}
		}
	}
	return true
}

// slide goes from a step without effect to its neighbours in one direction, as long as the skipped entry could have made
// the neighbour's revision and the neighbour be the skipped one. It returns those that can stand in.
func (c *comparison) slide(i int, steps []*align.Step, at, dir int) (reached []uint64) {
	skipped := steps[at]
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
		t := &c.inputs[c.teller(i, s.Revision)]
		if e == nil || s.Outcome != align.Applied || !align.Same(t.Predict(e, s.Revision-1), t.Table.Group(s.Revision)) {
			return reached
		}
		// What lies between would then see the keyspace after, or before, the revision; what is refused still would be.
		was, state := s.Revision-1, s.Revision
		if dir < 0 {
			was, state = state, was
		}
		for _, b := range between {
			o := find(c.views[i].entries, b.Index)
			if o == nil || len(t.Predict(o, state)) > 0 && len(t.Predict(o, was)) == 0 {
				return reached
			}
		}
		between = nil
		skipped, reached = s, append(reached, s.Index)
	}
	return reached
}

// teller is a member that shows what member i held before a revision, and in it: i itself, or, if i is compacted there, one that
// holds the same from there on.
func (c *comparison) teller(i int, revision int64) int {
	compact := func(j int) int64 { return c.ms[j].DB.CompactRevision() }
	if compact(i) < revision {
		return i
	}
	for j := range c.ms {
		if j != i && c.logs.history[j] == c.logs.history[i] && compact(j) < revision && c.agreed(i, j) >= compact(i) && c.sameAt(i, j, compact(i)) {
			return j
		}
	}
	return i
}

// slideRun is the range of entries at which as many in a row may have been without effect, so that those that had one
// made the same revisions.
func (c *comparison) slideRun(i int, k *cause) (first, last uint64) {
	var steps []align.Step
	at, n := -1, len(k.entries)
	c.traces[i].steps(func(s *align.Step) {
		if s.Revision == 0 && (s.Outcome != align.Refused || s.Doubtful) && !slices.Contains(k.entries, s.Index) {
			return
		}
		if s.Index == k.index && !s.Again {
			at = len(steps)
		}
		steps = append(steps, *s)
		// Others among them may have had no effect elsewhere either.
		if at >= 0 && s.Index == k.entries[len(k.entries)-1] {
			n = max(n, len(steps)-at)
		}
	})
	first, last = k.index, k.index
	if at < 0 || at+n > len(steps) {
		return first, last
	}
	// Where the alignment has another one without effect for the first of them, those between made the revision before.
	z := at
	for z > 0 && steps[z].Revision > 0 {
		z--
	}
	for ; z < at; z++ {
		a, b := &steps[z], &steps[z+1]
		a.Revision, b.Revision, a.Outcome, b.Outcome = b.Revision, a.Revision, b.Outcome, a.Outcome
	}
	if slices.ContainsFunc(steps[at:at+n], func(s align.Step) bool { return s.Revision > 0 }) {
		return first, last
	}
	// made tells whether steps from one on would have made the revisions that those from another on did.
	made := func(by, of, count int) bool {
		in := &c.inputs[i]
		for x := range count {
			o := &steps[of+x]
			e := find(c.views[i].entries, steps[by+x].Index)
			if e == nil || o.Outcome != align.Applied || o.Again || !align.Same(in.Predict(e, o.Revision-1), in.Table.Group(o.Revision)) {
				return false
			}
		}
		return true
	}
	may := func(q int) bool { return c.tablesAllow(i, k, loss{first: steps[q].Index, last: steps[q+n-1].Index}) }
	for q := at - 1; q >= 0 && made(q+n, q, at-q); q-- {
		if may(q) {
			first = steps[q].Index
		}
	}
	if x := c.madeLater(i, k); x > 0 {
		first = min(first, x)
	}
	for q := at + 1; q+n <= len(steps) && made(at, at+n, q-at); q++ {
		if may(q) {
			last = steps[q].Index
		}
	}
	return first, last
}

// tablesAllow tells whether some entries may have had no effect on member i instead of a cause's, by what its small tables hold.
// If these are not what the cause's own lead to, something else befell them.
func (c *comparison) tablesAllow(i int, k *cause, l loss) bool {
	t := c.tableLog(i, min(l.first, k.index))
	return t.without(l) || !t.without(loss{first: k.index, last: k.entries[len(k.entries)-1]})
}

// madeLater is the entry before those of a cause that made a revision, if one behind them, which had no effect since then, or the
// last of them may have made it instead: the former may have been without effect with all in between then. 0 if there is none.
func (c *comparison) madeLater(i int, k *cause) uint64 {
	in := &c.inputs[i]
	var before *align.Step
	var found, lost uint64
	end := k.entries[len(k.entries)-1]
	done := false
	c.traces[i].steps(func(s *align.Step) {
		switch {
		case done || s.Index == 0:
		case s.Revision > 0 && s.Index < k.index:
			before = s
		case before == nil && s.Index < k.index:
		case before == nil || s.Again || before.Outcome != align.Applied || before.Again || s.Revision > 0:
			done = true
		case s.Index < end: // lost with the others
		default:
			switch want, judged := in.Demands(s.Index, before.Revision-1); {
			case len(want) == 0 || judged == align.Denied:
			case judged == align.Allowed && align.Same(want, in.Table.Group(before.Revision)):
				found, done = before.Index, true
			default:
				done = s.Index > end
			}
		}
		if found == 0 {
			lost = s.Index
		}
	})
	if found > 0 && !c.tablesAllow(i, k, loss{first: found, last: lost}) {
		return 0
	}
	return found
}

// alikeTwice is the range of entries that write the same as one that was applied again.
func (c *comparison) alikeTwice(i int, index uint64) (first, last uint64) {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if s.Again || s.Index == 0 {
			return
		}
		if s.Index == index && s.Revision > 0 {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	return c.alikeContent(i, index, steps, at)
}

// alikeContent is the range of entries around step at that write the same, whatever came between its two applications.
func (c *comparison) alikeContent(i int, index uint64, steps []*align.Step, at int) (first, last uint64) {
	first, last = index, index
	in := &c.inputs[i]
	e := find(c.views[i].entries, index)
	if e == nil || at < 0 {
		return first, last
	}
	writes := func(s *align.Step) bool { return align.Same(in.Predict(e, s.Revision-1), in.Table.Group(s.Revision)) }
	for _, s := range slices.Backward(steps[:at]) {
		if s.Revision > 0 {
			if !writes(s) {
				break
			}
			first = s.Index
		}
	}
	for _, s := range steps[at+1:] {
		if s.Revision > 0 {
			if !writes(s) {
				break
			}
			last = s.Index
		}
	}
	return first, last
}
