package diff

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// trace is what each entry did on a member. Steps up to shared are those of the member it was aligned after.
type trace struct {
	base   *trace // nil if it was aligned by itself
	shared int    // how many steps of base are its own, too
	// adopted is what those of its further steps cost that are as the base's: they are no cost of its own.
	adopted int
	align.Alignment
}

// steps calls f for every step in order.
func (t *trace) steps(f func(s *align.Step)) {
	if t.base != nil {
		n := 0
		t.base.steps(func(s *align.Step) {
			if n++; n <= t.shared {
				f(s)
			}
		})
	}
	for i := range t.Steps {
		f(&t.Steps[i])
	}
}

// sharedCost is what the steps that are those of another member cost. A row of entries that were applied again costs once.
func (t *trace) sharedCost() (cost int) {
	again, n := false, 0
	t.steps(func(s *align.Step) {
		if n++; n > t.shared {
			return
		}
		if !again || !s.Again {
			cost += s.CostToo()
		}
		again = s.Again
	})
	return cost
}

// total is what all that befell the member costs, what it shares with others included.
func (t *trace) total() int { return t.Cost + t.adopted + t.sharedCost() }

// first is the first entry whose effect is known, 0 if none is.
func (t *trace) first() uint64 {
	if t.base != nil {
		return t.base.first()
	}
	return t.First
}

// maxWitnesses bounds how many other members are tried as the first one.
const maxWitnesses = 3

// align aligns every member. The first one is aligned by itself, the others from where their rows depart from its: what
// members share must not be explained in two ways.
func (c *comparison) align() {
	c.traces, c.inputs = make([]*trace, len(c.ms)), make([]align.Input, len(c.ms))
	order := make([]int, len(c.ms))
	for i := range order {
		order[i] = i
	}
	c.auths, c.unalarmed = make([]*auth, len(c.ms)), make([]bool, len(c.ms))
	c.early = make([][]alarmTurn, len(c.ms))
	for i := range c.ms {
		c.auths[i] = c.authOf(i)
	}
	index := c.indexer()
	c.each(func(i int) {
		c.inputs[i] = c.input(i, index(i))
		c.auths[i].settle(func() *align.Alignment { return align.Align(c.inputs[i]) },
			func(index uint64) *raftlog.Request { return c.request(i, index) })
	})
	c.settleBases()
	c.each(c.settleAlarms)
	c.settleEarly()
	alone := make([]*align.Alignment, len(c.ms))
	if c.disagree() {
		alone = c.alone()
	}
	c.sortWitnesses(order, alone)
	c.bases = c.compactedAlike()
	var floors map[floor]uint64
	best := c.alignInOrder(order, alone, nil)
	traces, tried := c.traces, 0
	if best > 0 && c.twin == nil && len(c.ms) > 1 {
		// The rows are the same on all, but something is odd about the first one, which others need not share.
		alone, c.traces = c.alone(), make([]*trace, len(c.ms))
		sorted := slices.Clone(order)
		c.sortWitnesses(sorted, alone)
		if n := c.alignInOrder(sorted, alone, nil); n < best {
			best, traces, order = n, c.traces, sorted
		}
	}
	// The first one may not show what another one's first revision does: that entries before its own were not compacted away.
	// Of two readings that are as good as each other, the one that knows what more entries did is taken.
	if low := c.lowest(alone); best > 0 && !maps.Equal(low, c.floors) {
		c.traces = make([]*trace, len(c.ms))
		if n := c.alignInOrder(order, alone, low); n <= best {
			best, traces, floors = n, c.traces, low
		}
	}
	// What is odd about the first one may be put down to the others. So the other witnesses that are as good are tried, too:
	// what explains them all with the least is taken. That is no less than what explains the witness by itself.
	for k, i := range order {
		if k == 0 || alone[i] == nil || best <= alone[i].Cost || tried == maxWitnesses || !c.asGood(i, order[0], alone) {
			continue
		}
		tried++
		c.traces = make([]*trace, len(c.ms))
		if n := c.alignInOrder(slices.Concat([]int{i}, order[:k], order[k+1:]), alone, floors); n < best {
			best, traces = n, c.traces
		}
	}
	// Data that seems to have come further than a member's index may as well hold what others hold, too, and explain that.
	for _, i := range order {
		at := c.ms[i].DB.Tables.ConsistentIndex
		if torn := c.inputs[i].Torn; len(order) > 2 && traces[i].Cost > 0 && traces[i].Through > at && torn != at+1 {
			c.inputs[i].Torn = at + 1
			rest := slices.DeleteFunc(slices.Clone(order), func(j int) bool { return j == i })
			c.traces = make([]*trace, len(c.ms))
			own := slices.Clone(alone)
			own[i] = nil
			if n := c.alignInOrder(slices.Insert(rest, 1, i), own, floors); n < best && orphans(c.traces) <= orphans(traces) {
				best, traces = n, c.traces
			} else {
				c.inputs[i].Torn = torn
			}
		}
	}
	c.traces = traces
	for i := range c.ms {
		c.inputs[i].Index = c.traces[i].Index
	}
}

// alone aligns every member by itself.
func (c *comparison) alone() []*align.Alignment {
	c.twin = c.twinned()
	all := make([]*align.Alignment, len(c.ms))
	c.each(func(i int) {
		if c.twin[i] == i {
			all[i] = align.Align(c.inputs[i])
		}
	})
	for i, k := range c.twin {
		all[i] = all[k]
	}
	return all
}

// sortWitnesses puts the best witness first: least compacted, then the one that does what etcd's rules demand, if that is known,
// then one of the many.
func (c *comparison) sortWitnesses(order []int, alone []*align.Alignment) {
	like := func(i int) (n int) {
		for j := range c.ms {
			if c.last[j] == c.last[i] {
				n++
			}
		}
		return n
	}
	cost := func(i int) int {
		if alone[i] == nil {
			return 0
		}
		return alone[i].Cost
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.ms[a].DB.CompactRevision(), c.ms[b].DB.CompactRevision()),
			cmp.Compare(len(c.ms[a].DB.Rows.Holes()), len(c.ms[b].DB.Rows.Holes())), cmp.Compare(cost(a), cost(b)),
			cmp.Compare(len(c.views[b].entries), len(c.views[a].entries)), cmp.Compare(like(b), like(a)), cmp.Compare(c.last[b], c.last[a]))
	})
}

// orphans is how many revisions of members no entry is said to have made.
func orphans(traces []*trace) (n int) {
	for _, t := range traces {
		for i := range t.Steps {
			if t.Steps[i].Outcome == align.Extra {
				n++
			}
		}
	}
	return n
}

// asGood tells whether a member may as well be the first to be aligned: another one than it is, but as far as that.
func (c *comparison) asGood(i, first int, alone []*align.Alignment) bool {
	a, b := c.ms[i].DB, c.ms[first].DB
	return c.twin != nil && alone[first].Cost > 0 && c.twin[i] != c.twin[first] && alone[i].First == alone[first].First && c.logs.history[i] == c.logs.history[first] &&
		a.CompactRevision() == b.CompactRevision() && len(a.Rows.Holes()) == len(b.Rows.Holes())
}

// alignInOrder aligns every member after those before it, not behind the floors, and returns what all that is odd about
// them costs. Where members that hold the same would begin with the same entry at different revisions, each of these is
// tried for all of them.
func (c *comparison) alignInOrder(order []int, alone []*align.Alignment, floors map[floor]uint64) (cost int) {
	c.floors, c.begins = map[floor]uint64{}, nil
	maps.Copy(c.floors, floors)
	cost = c.alignFrom(order, alone)
	traces := c.traces
	for _, begins := range c.beginnings(alone) {
		c.begins, c.traces = begins, make([]*trace, len(c.ms))
		n := c.alignFrom(order, alone)
		if c.displaced(alone) {
			n += costDisplaced
		}
		if n < cost {
			cost, traces = n, c.traces
		}
	}
	c.traces = traces
	return c.shift(order[0], cost)
}

// costDisplaced is what it costs to say that something is odd about a member that begins where another one does, although nothing is
// where it would begin by itself.
const costDisplaced = 5

// displaced tells whether that is said of a member.
func (c *comparison) displaced(alone []*align.Alignment) bool {
	for i := range c.begins {
		if a := alone[i]; a != nil && a.Cost == 0 && a.Revision != c.traces[i].startRevision() && c.traces[i].total() > 0 {
			return true
		}
	}
	return false
}

// alignFrom is alignInOrder with the beginnings that are known.
func (c *comparison) alignFrom(order []int, alone []*align.Alignment) (cost int) {
	for again := true; again; {
		again = false
		doubted := map[int]map[uint64]bool{} // of each history
		for k, i := range order {
			c.inputs[i].Doubted, c.inputs[i].Passed = doubted[c.logs.history[i]], nil
			if k > 0 {
				c.inputs[i].Passed = c.passed(i, order[:k])
			}
			c.traces[i] = c.traceAfter(i, order[:k], alone[i])
			c.doubt(i, doubted)
			again = again || c.lower(i)
		}
	}
	return c.totalCost(order[0])
}

// totalCost is what all that is odd about the members costs, the first of which was aligned by itself.
func (c *comparison) totalCost(first int) (cost int) {
	var others []int
	for i, t := range c.traces {
		if cost += t.Cost + c.gapCost(i, t, others); i != first && t.beganOtherwise(c.traces[first]) && c.met(i, first) {
			cost += costParted
		}
		others = append(others, i)
	}
	if c.mostOdd() {
		cost += costMost
	}
	for n := range c.parts {
		if c.partedBefore(&c.parts[n]) {
			cost += costParted
		}
	}
	return cost
}

// costMost is what it costs to say that something befell most members, and not the few others.
const costMost = 4

// mostOdd tells whether something is odd about more than two of three members, for no reason that permissions or an alarm may have, and
// nothing about the others.
func (c *comparison) mostOdd() bool {
	odd := 0
	for _, t := range c.traces {
		plain := true
		t.steps(func(s *align.Step) { plain = plain && (!s.Anomalous() || s.Doubtful) })
		if !plain {
			odd++
		}
	}
	return odd < len(c.traces) && odd > 2*(len(c.traces)-odd)
}

// gapCost is what it costs to say that a member made other numbers of revisions with entries that no log holds than others did.
func (c *comparison) gapCost(i int, t *trace, others []int) (cost int) {
	for first, made := range t.gaps() {
		for _, j := range others {
			if c.logs.history[j] != c.logs.history[i] {
				continue
			}
			if n, known := c.traces[j].gaps()[first]; known {
				if n != made {
					cost += costParted
				}
				break
			}
		}
	}
	return cost
}

// gaps are how many revisions were made in each row of entries that no log holds: all members make as many, unless something befell
// one there that nothing shows.
func (t *trace) gaps() map[uint64]int {
	all := map[uint64]int{}
	first, made := uint64(0), 0
	t.steps(func(s *align.Step) {
		switch {
		case s.Outcome != align.Unread:
			if first > 0 {
				all[first] = made
			}
			first, made = 0, 0
			return
		case first == 0:
			first = s.Index
		}
		if s.Revision > 0 {
			made++
		}
	})
	return all
}

// met tells whether two members hold the same where the first of them begins: otherwise their rows show that they had parted before.
func (c *comparison) met(i, j int) bool {
	return c.agreed(i, j) >= min(c.traces[i].startRevision(), c.traces[j].startRevision())
}

// passed returns what tells whether an entry made a revision on one of those aligned before member i.
func (c *comparison) passed(i int, others []int) func(index uint64) bool {
	made := sync.OnceValue(func() map[uint64]bool {
		all := map[uint64]bool{}
		for _, j := range others {
			if c.logs.history[j] == c.logs.history[i] {
				c.traces[j].steps(func(s *align.Step) {
					if s.Revision > 0 {
						all[s.Index] = true
					}
				})
			}
		}
		return all
	})
	return func(index uint64) bool { return made()[index] }
}

// doubt notes the entries without effect on member i of which it is not known whether they were refused. Those that are
// aligned later hold what was noted before.
func (c *comparison) doubt(i int, doubted map[int]map[uint64]bool) {
	h := c.logs.history[i]
	noted := maps.Clone(doubted[h])
	for n := range c.traces[i].Steps {
		if s := &c.traces[i].Steps[n]; s.Outcome == align.Refused && s.Doubtful {
			if noted == nil {
				noted = map[uint64]bool{}
			}
			noted[s.Index] = true
		}
	}
	doubted[h] = noted
}

// partedBefore tells whether members hold different rows of which each is said to be older than all that the logs hold, so
// that no entry explains it.
func (c *comparison) partedBefore(p *parting) bool {
	older := 0
	for _, group := range p.groups {
		if !slices.ContainsFunc(group, func(i int) bool { return c.traces[i].first() == 0 || c.traces[i].startRevision() < p.revision }) {
			older++
		}
	}
	return older > 1
}

// beganOtherwise tells whether two members hold different revisions before the same entry.
func (t *trace) beganOtherwise(o *trace) bool {
	return t.first() > 0 && t.first() == o.first() && t.startRevision() != o.startRevision()
}

// twinned tells of each member which is the first that holds the same rows and tables by the same log: the alignments of
// both, each by itself, are the same.
func (c *comparison) twinned() []int {
	twin := make([]int, len(c.ms))
	for i := range c.ms {
		twin[i] = i
		for j := range i {
			a, b := c.ms[i].DB, c.ms[j].DB
			if c.logs.history[i] == c.logs.history[j] && len(a.Rows.Holes())+len(b.Rows.Holes()) == 0 &&
				c.sameRows(i, j) && reflect.DeepEqual(a.Tables, b.Tables) {
				twin[i] = j
				break
			}
		}
	}
	return twin
}

// sameRows tells whether two members hold the same rows, down to the first.
func (c *comparison) sameRows(i, j int) bool {
	x, y := c.ms[i].DB.Rows, c.ms[j].DB.Rows
	return x.Len() == y.Len() && !slices.ContainsFunc(c.differing, func(main int64) bool { return !sameRows(x.Group(main), y.Group(main)) })
}

// disagree tells whether revisions show that members have parted: rows that differ, or fewer revisions by more entries.
func (c *comparison) disagree() bool {
	for i, m := range c.ms {
		for j, o := range c.ms {
			if c.last[i] < c.last[j] && m.DB.Tables.ConsistentIndex >= o.DB.Tables.ConsistentIndex {
				return true
			}
		}
	}
	return len(c.parts) > 0
}

// compactedAlike tells of each member which one is the first of those compacted at the same revision that hold the same
// there. Members that had parted before may have made that revision with different entries.
func (c *comparison) compactedAlike() []int {
	bases := make([]int, len(c.ms))
	for i, m := range c.ms {
		bases[i] = i
		for j := range i {
			if at := m.DB.CompactRevision(); at > 0 && at == c.ms[j].DB.CompactRevision() && c.sameAt(i, j, at) {
				bases[i] = j
				break
			}
		}
	}
	return bases
}

// sameAt tells whether two members hold the same keys at a revision.
func (c *comparison) sameAt(i, j int, revision int64) bool {
	end, _ := slices.BinarySearch(c.differing, revision+1)
	keys := c.keysOf(c.differing[:end])
	for _, k := range keys {
		_, a, ok := c.ms[i].DB.Rows.At(k, revision)
		_, b, too := c.ms[j].DB.Rows.At(k, revision)
		if ok != too || ok && !sameRow(&a, &b) {
			return false
		}
	}
	return true
}

// floor is where alignments begin: the state that compaction left, which is that of several members, in one history.
type floor struct{ history, base int }

// lower notes the first entry behind the revision at which member i's alignment begins, and tells whether it is earlier
// than what was known. One member alone cannot tell whether an entry before its first revision had no effect, or one that
// was compacted away; another whose first revision that entry made can.
func (c *comparison) lower(i int) bool {
	t := c.traces[i]
	if at := c.ms[i].DB.CompactRevision(); t.base != nil || t.First == 0 || at == 0 || t.Revision != at {
		return false
	}
	f := floor{c.logs.history[i], c.bases[i]}
	old, known := c.floors[f]
	if known && old <= t.First {
		return false
	}
	c.floors[f] = t.First
	// Those aligned before did not know.
	return known || slices.ContainsFunc(c.traces, func(o *trace) bool { return o != nil && o.base == nil && o.First == 0 })
}

// lowest are the first entries behind the compact revisions as members show them that are aligned by themselves.
func (c *comparison) lowest(alone []*align.Alignment) map[floor]uint64 {
	low := map[floor]uint64{}
	for i, a := range alone {
		if at := c.ms[i].DB.CompactRevision(); a == nil || a.First == 0 || at == 0 || a.Revision != at {
			continue
		}
		f := floor{c.logs.history[i], c.bases[i]}
		if old, known := low[f]; !known || a.First < old {
			low[f] = a.First
		}
	}
	return low
}

// indexer returns what makes the index of a member, called for each member once. That of a member whose rows are mostly
// those of the first one waits for its, and is made of that.
func (c *comparison) indexer() func(i int) *mvcc.Index {
	var first *mvcc.Index
	ready := make(chan struct{})
	return func(i int) *mvcc.Index {
		t, h := c.ms[i].DB.Rows, c.views[i]
		if i == 0 {
			defer close(ready)
			first = h.touched.Index(t, nil).Metered(c.budget)
			return first
		}
		if h == c.views[0] && t.SharesWith(c.ms[0].DB.Rows) {
			<-ready
			return h.touched.Index(t, first).Metered(c.budget)
		}
		return h.touched.Index(t, nil).Metered(c.budget)
	}
}

func (c *comparison) input(i int, index *mvcc.Index) align.Input {
	m, h := c.ms[i], c.views[i]
	whole := c.whole(i)
	return align.Input{
		Log: h.log, Table: m.DB.Rows, Index: index,
		Compact: m.DB.CompactRevision(), ConsistentIndex: m.DB.Tables.ConsistentIndex,
		Whole: whole,
		Judge: c.judge(i), Torn: c.torn(i), Ahead: c.heldFurther(i), Lifts: h.lifts(), Witnesses: c.witnesses(i),
	}
}

// heldFurther tells whether a member that has come further by the same log holds all that member i does, as far as both show it.
func (c *comparison) heldFurther(i int) bool {
	for j, m := range c.ms {
		compact := max(c.ms[i].DB.CompactRevision(), m.DB.CompactRevision())
		if j != i && c.logs.history[j] == c.logs.history[i] && m.DB.Tables.ConsistentIndex > c.ms[i].DB.Tables.ConsistentIndex &&
			compact <= c.last[i] && c.last[i] <= c.last[j] && c.agreed(i, j) == c.last[i] && c.sameAt(i, j, compact) {
			return true
		}
	}
	return false
}

func (t *trace) startRevision() int64 {
	if t.base != nil {
		return t.base.startRevision()
	}
	return t.Revision
}

// agreed is the last main revision up to which members i and j hold the same rows, above the revision that one of them is
// compacted at: what a third one has compacted does not keep them from being compared.
func (c *comparison) agreed(i, j int) int64 {
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
