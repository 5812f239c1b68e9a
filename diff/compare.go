package diff

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Compare compares the members of one cluster, or a single member with its own log.
func Compare(ms []*inspect.Member) *Document {
	c := compare(ms)
	defer c.rest()
	c.end()
	return c.doc.filled()
}

// end gives the verdict on what was found.
func (c *comparison) end() {
	switch {
	case len(c.faults) > 0:
		slices.Sort(c.faults)
		c.doc.Verdict, c.doc.Reasons = Indeterminate, c.faults
	case c.doc.Verdict != NotComparable:
		c.conclude()
	}
}

// compare finds out all there is, without giving a verdict yet. The caller must call rest in the end.
func compare(ms []*inspect.Member) *comparison {
	c := &comparison{all: ms, doc: &Document{SchemaVersion: SchemaVersion, Verdict: Consistent}}
	c.doc.Members = summaries(ms)
	if why := incomparable(ms); why != "" {
		c.doc.Verdict, c.doc.Reasons = NotComparable, []string{why}
		c.pick()
		c.count()
		c.doc.Reasons = []string{why}
		return c
	}
	c.pick()
	if len(c.ms) > 0 {
		c.guard("the evidence", c.run)
		if c.counted == nil { // it did not come that far
			c.counted = c.start(c.count)
		}
		c.counted()
	}
	return c
}

// guard runs f, which reads files. One that shrinks meanwhile must not take the process down, but leaves no verdict; nor
// must a fault of our own.
func (c *comparison) guard(name string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			text := fmt.Sprintf("%s: internal error, please report it: %v", name, p)
			if err, ok := p.(error); ok && errors.Is(err, evidence.ErrShrank) {
				text = err.Error()
			}
			c.mu.Lock()
			c.faults = append(c.faults, text)
			c.mu.Unlock()
		}
	}()
	if err := evidence.Guard(name, func() error { f(); return nil }); err != nil {
		c.mu.Lock()
		c.faults = append(c.faults, err.Error())
		c.mu.Unlock()
	}
}

// filled makes empty lists of nil ones: JSON readers want [] for none.
func (d *Document) filled() *Document {
	notNil(&d.Reasons)
	notNil(&d.Notes)
	notNil(&d.NotCompared)
	notNil(&d.NotComparedWhy)
	notNil(&d.Members)
	notNil(&d.Divergences)
	notNil(&d.Leases)
	notNil(&d.Lag)
	notNil(&d.Consequences)
	notNil(&d.KnownBugs)
	notNil(&d.Reexecutions)
	if p := d.Plan; p != nil {
		notNil(&p.Copies)
		notNil(&p.Rebuild)
		notNil(&p.Why)
		notNil(&p.Doubts)
		notNil(&p.Commands)
	}
	for _, v := range slices.Concat(pointers(d.Divergences), pointers(d.Consequences)) {
		notNil(&v.Groups)
		notNil(&v.Effects)
		notNil(&v.Keys)
		notNil(&v.Leases)
		notNil(&v.Explanations)
		for k := range v.Effects {
			notNil(&v.Effects[k].Changes)
		}
	}
	return d
}

func pointers[T any](s []T) []*T {
	ps := make([]*T, len(s))
	for i := range s {
		ps[i] = &s[i]
	}
	return ps
}

func notNil[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}

// comparison is the state of one comparison.
type comparison struct {
	all []*inspect.Member
	ms  []*inspect.Member // those with a db that can be compared
	doc *Document

	logs    *logs
	views   []*history // of each member; members with the same log share one
	last    []int64    // current revision of each member
	compact int64      // the highest compact revision
	// differing are the main revisions of which not all members have the same rows, whatever the reason.
	differing []int64
	shared    []int // how many rows, from the first on, each member shares with the first one, byte for byte
	parts     []parting
	inputs    []align.Input
	traces    []*trace
	auths     []*auth
	at        []int64 // revision of each member at the common index, -1 if not known
	causes    []*cause
	misread   []*cause // what may be a matter of reading only
	floors    map[floor]uint64
	begins    map[int]align.From // where members begin that would begin elsewhere by themselves
	twin      []int              // of each member, the first that holds the same by the same log; nil if no rows disagree
	bases     []int              // of each member, the lowest member that is compacted at the same revision and to the same rows
	keys      differingKeys
	linked    chan struct{} // closed once the rows of a key can be found
	counted   func()        // waits for what count finds out
	forgotten func()        // waits for forget
	mu        sync.Mutex
	faults    []string // of reading while comparing
	excused   int      // entries of a member alone that a rule which is not simulated may have refused
}

// pick leaves out members without a db: the others are compared all the same.
func (c *comparison) pick() {
	for _, m := range c.all {
		if m.DB != nil && m.DB.HasKeys {
			c.ms = append(c.ms, m)
		} else {
			c.reason("%s: no db that can be read", m.Label)
		}
	}
}

func (c *comparison) reason(format string, args ...any) {
	c.doc.Reasons = append(c.doc.Reasons, fmt.Sprintf(format, args...))
}

func (c *comparison) run() {
	c.readRows(func() { c.counted = c.start(c.count) })
	c.relate()
	c.forgotten = c.start(c.forget)
	c.findCauses()
	if len(c.all) == 1 {
		c.causes = append(c.causes, c.merge(c.ownCauses(0))...)
	}
	for _, k := range c.causes {
		c.spread(k)
	}
	c.unite()
	c.place()
	c.compareOld()
	c.compareTables()
	c.findTails()
	for _, k := range c.causes {
		c.mayOriginate(k)
	}
	c.rowCauses()
	c.sortCauses()
	c.compareKeys()
	c.strangers()
	c.lag()
}

// readRows finds out what the rows and logs of the members share. It calls compared once that is known of the rows, and then
// makes what finding the rows of a key takes.
func (c *comparison) readRows(compared func()) {
	c.doc.Common.Index = math.MaxUint64
	var tables []*mvcc.Table
	for _, m := range c.ms {
		c.last = append(c.last, m.DB.Revision())
		c.compact = max(c.compact, m.DB.CompactRevision())
		c.doc.Common.Index = min(c.doc.Common.Index, m.DB.Tables.ConsistentIndex)
		tables = append(tables, m.DB.Rows)
	}
	c.doc.Common.CompactRevision = c.compact
	c.linked = make(chan struct{})
	c.together(func(spawn func(func())) {
		defer close(c.linked)
		spawn(c.readLogs)
		noted := c.findDiffering(tables)
		compared()
		mvcc.LinkShared(tables, c.shared, noted)
	})
}

// forget gives back the mapped pages of the rows, most of which are not looked at again, while others go on: at the end that
// would take as long as to read a tenth of them.
func (c *comparison) forget() {
	c.counted()
	for _, m := range c.ms {
		m.DB.File.Forget()
	}
}

// rest waits for what still goes on: files must not be closed before.
func (c *comparison) rest() {
	if c.forgotten != nil {
		c.forgotten()
	}
}

// relate finds out which entries made which revisions on each member.
func (c *comparison) relate() {
	c.parts, c.doc.Counts.RevisionsDiffering = c.partings()
	c.align()
}

// readLogs finds the histories that the logs tell.
func (c *comparison) readLogs() {
	c.logs = compareLogs(c.ms)
	c.doc.Logs = Logs{Compared: c.logs.compared, Identical: len(c.logs.forks) == 0}
	byLog := map[int]*history{}
	for i := range c.ms {
		h := byLog[c.logs.history[i]]
		if h == nil {
			h = newHistory(c.logs.view(c.ms, i))
			byLog[c.logs.history[i]] = h
		}
		c.views = append(c.views, h)
	}
}

// each runs f for every member at the same time.
func (c *comparison) each(f func(i int)) {
	var wg sync.WaitGroup
	for i, m := range c.ms {
		wg.Go(func() {
			c.guard(m.Origin, func() { f(i) })
		})
	}
	wg.Wait()
}

// together runs f and all that it spawns, and waits for them.
func (c *comparison) together(f func(spawn func(func()))) {
	var wg sync.WaitGroup
	c.guard("the evidence", func() {
		f(func(g func()) { wg.Go(func() { c.guard("the evidence", g) }) })
	})
	wg.Wait()
}

// start runs f while others go on, and returns what waits for it.
func (c *comparison) start(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.guard("the evidence", f)
	}()
	return func() { <-done }
}

// whole tells whether member i's log holds the history of its keyspace from the beginning.
func (c *comparison) whole(i int) bool {
	h := c.views[i]
	// A restored cluster begins with a keyspace, and with more revisions than entries.
	return h.whole() && uint64(c.last[i]-1) <= max(c.ms[i].DB.Tables.ConsistentIndex, uint64(len(h.entries)))
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
			cost += s.Cost()
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

// align aligns every member. The first one is aligned by itself, the others from where their rows depart from its: what
// members share must not be explained in two ways.
func (c *comparison) align() {
	c.traces, c.inputs = make([]*trace, len(c.ms)), make([]align.Input, len(c.ms))
	order := make([]int, len(c.ms))
	for i := range order {
		order[i] = i
	}
	c.auths = make([]*auth, len(c.ms))
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
	cost, alone := make([]int, len(c.ms)), make([]*align.Alignment, len(c.ms))
	if c.disagree() {
		c.twin = c.twinned()
		c.each(func(i int) {
			if c.twin[i] == i {
				alone[i] = align.Align(c.inputs[i])
			}
		})
		for i, k := range c.twin {
			if alone[k] != nil {
				alone[i], cost[i] = alone[k], alone[k].Cost
			}
		}
	}
	// The best witness first: least compacted, then the one that does what etcd's rules demand, then one of the many.
	like := func(i int) (n int) {
		for j := range c.ms {
			if c.last[j] == c.last[i] {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.ms[a].DB.CompactRevision(), c.ms[b].DB.CompactRevision()),
			cmp.Compare(len(c.ms[a].DB.Rows.Holes()), len(c.ms[b].DB.Rows.Holes())), cmp.Compare(cost[a], cost[b]),
			cmp.Compare(len(c.views[b].entries), len(c.views[a].entries)), cmp.Compare(like(b), like(a)), cmp.Compare(c.last[b], c.last[a]))
	})
	c.bases = c.compactedAlike()
	var floors map[floor]uint64
	best := c.alignInOrder(order, alone, nil)
	traces, tried := c.traces, 0
	// The first one may not show what another one's first revision does: that entries before its own were not compacted away.
	if low := c.lowest(alone); best > 0 && !maps.Equal(low, c.floors) {
		c.traces = make([]*trace, len(c.ms))
		if n := c.alignInOrder(order, alone, low); n < best {
			best, traces, floors = n, c.traces, low
		}
	}
	// What is odd about the first one may be put down to the others. So the other witnesses that are as good are tried, too:
	// what explains them all with the least is taken. That is no less than what explains the witness by itself.
	for k, i := range order {
		if k == 0 || best <= cost[i] || tried == maxWitnesses || !c.asGood(i, order[0], alone) {
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

// maxWitnesses bounds how many other members are tried as the first one.
const maxWitnesses = 3

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
	for _, begins := range c.beginnings() {
		c.begins, c.traces = begins, make([]*trace, len(c.ms))
		if n := c.alignFrom(order, alone); n < cost {
			cost, traces = n, c.traces
		}
	}
	c.traces = traces
	return cost
}

// alignFrom is alignInOrder with the beginnings that are known.
func (c *comparison) alignFrom(order []int, alone []*align.Alignment) (cost int) {
	for again := true; again; {
		again, cost = false, 0
		doubted := map[int]map[uint64]bool{} // of each history
		for k, i := range order {
			c.inputs[i].Doubted, c.inputs[i].Passed = doubted[c.logs.history[i]], nil
			if k > 0 {
				c.inputs[i].Passed = c.passed(i, order[:k])
			}
			c.traces[i] = c.traceAfter(i, order[:k], alone[i])
			c.doubt(i, doubted)
			again = again || c.lower(i)
			if cost += c.traces[i].Cost; k > 0 && c.traces[i].beganOtherwise(c.traces[order[0]]) {
				cost += costParted
			}
		}
	}
	for n := range c.parts {
		if c.partedBefore(&c.parts[n]) {
			cost += costParted
		}
	}
	return cost
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

// partedBefore tells whether members parted in rows that are said to be older than all that the logs hold, so that no entry
// explains it.
func (c *comparison) partedBefore(p *parting) bool {
	return !slices.ContainsFunc(slices.Concat(p.groups...), func(i int) bool {
		return c.traces[i].first() == 0 || c.traces[i].startRevision() < p.revision
	})
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

// floor is where alignments begin: the state that compaction left, which is that of several members, in one history.
type floor struct{ history, base int }

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

// traceAfter aligns member i behind what it shares with that of the others which leaves the least to be explained. Where that
// leaves something odd, the shared part may have been read wrongly: neighbours that write the same cannot be told apart
// by one member alone. So places before what is odd there are tried, too, and the reading with the least is taken.
// alone is what the member's alignment by itself is, nil if that is not known yet.
func (c *comparison) traceAfter(i int, others []int, alone *align.Alignment) *trace {
	var best, begun, numbered *trace
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
		if t != nil && (best == nil || t.total() < best.total()) {
			best = t
		}
	}
	shares := best != nil
	for _, j := range others {
		if t := c.resumedBehind(i, j); t != nil && (best == nil || cmp.Or(cmp.Compare(t.total(), best.total()), cmp.Compare(t.Cost, best.Cost)) <= 0) {
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
	if best != nil && (best.total() <= own.Cost || best.startRevision() != own.Revision && best.total() < own.Cost+costParted) {
		return best
	}
	if numbered != nil && numbered.Cost <= own.Cost {
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

// costParted is what it costs to say that members which hold the same revisions where the log of one begins had come
// there with different entries: that something else befell one of them before, of which nothing is left to show it.
const costParted = 27

// beginnings looks for members whose logs begin with the same entry, and that are said to have come there with different
// revisions although they hold the same: something unknown would have befallen one of them before. It returns where all of
// them would begin with each of these revisions.
func (c *comparison) beginnings() (all []map[int]align.From) {
	var members []int
	starts := map[int64]bool{}
	parted := false
	for i, t := range c.traces {
		if t.first() == 0 || c.whole(i) || len(members) > 0 && (t.first() != c.traces[members[0]].first() || c.logs.history[i] != c.logs.history[members[0]]) {
			continue
		}
		for _, j := range members {
			a, b := t.startRevision(), c.traces[j].startRevision()
			parted = parted || a != b && c.agreed(i, j) >= min(a, b)
		}
		members = append(members, i)
		starts[t.startRevision()] = true
	}
	if !parted {
		return nil
	}
	for _, s := range slices.Sorted(maps.Keys(starts)) {
		begins := map[int]align.From{}
		for _, i := range members {
			if s >= c.inputs[i].Compact && s <= c.last[i] {
				begins[i] = align.From{Index: c.traces[i].first() - 1, Revision: s}
			}
		}
		all = append(all, begins)
	}
	return all
}

// resumed aligns member i behind a place of member j's alignment.
func (c *comparison) resumed(i, j int, p place) *trace {
	in := c.inputs[i]
	in.From = &p.From
	return &trace{base: c.traces[j], shared: p.shared, Alignment: *align.Align(in)}
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
			last += s.Cost()
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

// indexer returns what makes the index of a member, called for each member once. That of a member whose rows are mostly
// those of the first one waits for its, and is made of that.
func (c *comparison) indexer() func(i int) *mvcc.Index {
	var first *mvcc.Index
	ready := make(chan struct{})
	return func(i int) *mvcc.Index {
		t, h := c.ms[i].DB.Rows, c.views[i]
		if i == 0 {
			defer close(ready)
			first = h.touched.Index(t, nil)
			return first
		}
		if h == c.views[0] && t.SharesWith(c.ms[0].DB.Rows) {
			<-ready
			return h.touched.Index(t, first)
		}
		return h.touched.Index(t, nil)
	}
}

func (c *comparison) input(i int, index *mvcc.Index) align.Input {
	m, h := c.ms[i], c.views[i]
	whole := c.whole(i)
	return align.Input{
		Log: h.log, Table: m.DB.Rows, Index: index,
		Compact: m.DB.CompactRevision(), ConsistentIndex: m.DB.Tables.ConsistentIndex,
		Whole: whole,
		Judge: c.judge(i), Torn: c.torn(i), Witnesses: c.witnesses(i),
	}
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
		if done = done || s.Revision > upTo || s.Index >= parted || s.Index > db.Tables.ConsistentIndex; done {
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

func (t *trace) startRevision() int64 {
	if t.base != nil {
		return t.base.startRevision()
	}
	return t.Revision
}

// place finds the last entry that all members have reached, and each member's revision there.
func (c *comparison) place() {
	c.at = make([]int64, len(c.ms))
	common := uint64(math.MaxUint64)
	for i := range c.ms {
		common = min(common, c.reach(i))
	}
	c.doc.Common.Index, c.doc.Common.Revision = common, math.MaxInt64
	for i := range c.ms {
		if c.at[i] = c.revisionAt(i, common); c.at[i] >= 0 {
			c.at[i] += c.misreadAt(i, common)
			c.doc.Common.Revision = min(c.doc.Common.Revision, c.at[i])
		}
	}
}

// misreadAt is how many revisions more member i has come to once an entry was applied than its alignment says: it made one
// with an entry before, as others did, and not with one behind that writes the same.
func (c *comparison) misreadAt(i int, index uint64) (more int64) {
	for _, k := range c.misread {
		switch x := k.instead[0]; {
		case !slices.Contains(k.odd, i):
		case k.index <= index && index < x:
			more++
		case x <= index && index < k.index:
			more--
		}
	}
	return more
}

// reach is the last entry up to which member i's keys are known. Up to 3.4 the consistent index is saved with a change of
// a key only, so that committed entries behind it which change nothing have been applied, or make no difference: those
// without effect on its state, and those that a rule keeps from having one, if that member has followed the rule
// throughout.
func (c *comparison) reach(i int) uint64 {
	m := c.ms[i]
	at := m.DB.Tables.ConsistentIndex
	if t := c.traces[i]; t.Cost > 0 && t.Through > at {
		return t.Through // the index was left behind, the data is there
	}
	if m.DB.Tables.HasTerm {
		return at // 3.5 and later save it with every entry
	}
	limit := committed(m)
	for k := range c.views[i].entries {
		e := &c.views[i].entries[k]
		if e.Index <= at {
			continue
		}
		if e.Index > limit || e.Index != at+1 {
			break
		}
		if want := c.inputs[i].Predict(e, c.last[i]); len(want) > 0 && !c.ruledOut(i, e) && !c.denied(i, e, want) {
			break
		}
		at = e.Index
	}
	return at
}

// ruledOut tells whether a rule that made member i part from the others covers an entry.
func (c *comparison) ruledOut(i int, e *align.Entry) bool {
	return slices.ContainsFunc(c.causes, func(k *cause) bool {
		return k.rule != nil && slices.Contains(k.odd, i) && k.rule.hits(e.Request())
	})
}

// denied tells whether permissions or an alarm, as they are on member i, refuse an entry behind its last revision.
func (c *comparison) denied(i int, e *align.Entry, want []align.Change) bool {
	in := &c.inputs[i]
	return in.Judge(e.Index, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, c.last[i]) }) == align.Denied
}

// revisionAt is member i's revision once entry index was applied, -1 if that is not known.
func (c *comparison) revisionAt(i int, index uint64) int64 {
	m, t := c.ms[i], c.traces[i]
	if index >= m.DB.Tables.ConsistentIndex {
		return c.last[i]
	}
	if t.first() == 0 || index+1 < t.first() {
		if c.stood(i, index) {
			return m.DB.CompactRevision()
		}
		return -1
	}
	rev := t.startRevision()
	var done uint64
	t.steps(func(s *align.Step) {
		// A revision without an entry belongs to the entry before it.
		if done = max(done, s.Index); done <= index && s.Revision > 0 {
			rev = max(rev, s.Revision)
		}
	})
	return rev
}

// stood tells whether member i had come to its compact revision with an entry, because none behind it, up to the first whose
// effect is known, can have made that.
func (c *comparison) stood(i int, index uint64) bool {
	m, t := c.ms[i], c.traces[i]
	rows := m.DB.Rows.Group(m.DB.CompactRevision())
	if t.first() == 0 || t.startRevision() != m.DB.CompactRevision() || len(rows) == 0 || rows[0].Tombstone {
		return false
	}
	var kv mvcc.KeyValue
	if kv.Decode(rows[0].Value) != nil {
		return false
	}
	next := index + 1
	for n := range c.views[i].entries {
		e := &c.views[i].entries[n]
		if e.Index <= index || e.Index >= t.first() {
			continue
		}
		if e.Index != next || mayPut(e.Request().Internal, &kv) {
			return false
		}
		next++
	}
	return next == t.first()
}

// mayPut tells whether a request may have written a row.
func mayPut(in *pb.InternalRaftRequest, kv *mvcc.KeyValue) bool {
	if r := in.GetPut(); r != nil {
		return bytes.Equal(r.Key, kv.Key) && (r.IgnoreValue || bytes.Equal(r.Value, kv.Value)) && (r.IgnoreLease || r.Lease == kv.Lease)
	}
	return in.GetTxn() != nil
}

// incomparable says in a sentence why members are not of one cluster, or is empty.
func incomparable(ms []*inspect.Member) string {
	ids := map[uint64][]string{}
	for _, m := range ms {
		if m.Log.HasMetadata && m.Log.ClusterID != 0 {
			ids[m.Log.ClusterID] = append(ids[m.Log.ClusterID], m.Label)
		}
	}
	if len(ids) > 1 {
		var parts []string
		for id, labels := range ids {
			parts = append(parts, fmt.Sprintf("%s: %s", strings.Join(labels, ", "), ID(id)))
		}
		slices.Sort(parts)
		return fmt.Sprintf("these are members of %d clusters, whose contents have nothing to do with each other (cluster ids: %s)",
			len(ids), strings.Join(parts, "; "))
	}
	return ""
}
