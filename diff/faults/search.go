package faults

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/raftlog"
)

// Member is a member's log and what its db holds. One goroutine at a time may use it: searching and running apply entries to the one state at its
// beginning, and take everything back before they return.
type Member struct {
	Log      *apply.Log
	Evidence *Evidence
	// Stopped is asked now and then by Search, which gives up if it is true. nil: nobody may stop it.
	Stopped func() bool
	Starts

	// Set before the first search, and not changed by it.
	first       uint64       // entry
	committed   uint64       // the last entry that is known to be committed
	start       *apply.State // before the first entry
	base        *Base        // where the log does not begin with the cluster
	baseCertain bool         // what that was is known
	rules       []apply.Rules

	writerIndex // empty before indexWriters
}

// Starts is what is known of a member, and of when it started and where it goes on then.
type Starts struct {
	// ID is the member's, 0 if it is not known.
	ID uint64
	// Newest is the newest minor version that it may run, 0 if that is not known.
	Newest int64
	// Snapshots are the entries of the raft snapshots that the member has, in order: it applies nothing up to the newest one.
	Snapshots []uint64
	// Processes is what the log tells of the member's processes: entries are applied again when it restarts. nil: nothing.
	Processes *raftlog.Proposals
}

// writerIndex tells which entries may have made what the db holds. Behind the base, of each revision of which a row is left, or a later row of
// a key tells that it was created by it, possible has an element, soleWriters one if that is a single entry; soleRevision says the same by places.
type writerIndex struct {
	places       *apply.Places
	possible     []possibleWriters // in order of revisions
	soleWriters  []soleWriter      // in order of revisions
	soleRevision []int64           // of each place, the last revision of which its entry is the sole writer, 0 for none
	lastPuts     map[int][]int32   // of each place, the keys of which it surely made the newest row at or below the compact revision
}

// possibleWriters is a revision of which it is known which entries may have made it.
type possibleWriters struct {
	revision int64
	places   []int32
}

// soleWriter is a revision of which a row is left that only one entry can have made.
type soleWriter struct {
	revision int64
	place    int
}

// NewMember is a member whose life begins with a state, which it keeps, before the first entry of a log without gaps. Entries up to
// committed may have been applied; rules are those that may hold at the beginning.
func NewMember(l *apply.Log, e *Evidence, start *apply.State, committed uint64, rules ...apply.Rules) *Member {
	m := &Member{Log: l, Evidence: e, start: start, committed: committed, rules: rules}
	if len(l.Entries) > 0 {
		m.first = l.Entries[0].Index
	}
	return m
}

// indexWriters fills writerIndex, the first time that it is asked for.
func (m *Member) indexWriters() {
	if m.places != nil {
		return
	}
	m.places = m.Log.Places()
	m.soleRevision, m.lastPuts = make([]int64, len(m.Log.Entries)), map[int][]int32{}
	for key, n := range m.Evidence.lastRow {
		if n >= 0 && len(m.places.PutsKeepingValue(int32(key))) == 0 {
			r := &m.Evidence.rows[n]
			if r.main <= m.start.BaseRevision {
				continue
			}
			if at := m.places.PutsOfValue(r.key, r.Value); !r.tombstone && len(at) == 1 {
				m.lastPuts[int(at[0])] = append(m.lastPuts[int(at[0])], int32(key))
			}
		}
	}
	revisions := make([]int64, 0, len(m.Evidence.rows)+len(m.Evidence.createdAt))
	for main := range m.Evidence.createdAt {
		if main > m.start.BaseRevision {
			revisions = append(revisions, main)
		}
	}
	for i := range m.Evidence.rows {
		if r := &m.Evidence.rows[i]; !r.tombstone && !r.undecoded && r.main > m.start.BaseRevision {
			revisions = append(revisions, r.main)
		}
	}
	slices.Sort(revisions)
	revisions = slices.Compact(revisions)
	m.possible, m.soleWriters = make([]possibleWriters, 0, len(revisions)), make([]soleWriter, 0, len(revisions))
	for _, main := range revisions {
		at, ok := m.writers(main, 0, len(m.Log.Entries))
		if ok {
			m.possible = append(m.possible, possibleWriters{main, at})
		}
		if ok && len(at) == 1 {
			m.soleWriters = append(m.soleWriters, soleWriter{main, int(at[0])})
			m.soleRevision[at[0]] = main
		}
	}
}

// Reading is a set of faults with which the log makes just what the db holds.
type Reading struct {
	Rules   apply.Rules // at the beginning
	Faults  []Fault     // in the order of their first entries
	Initial []Fault     // what keys were before the log begins, where that is not what entries take for granted
	Cost    int         // bits
}

// allFaults are the faults with the assumptions about keys before the log, in order.
func (r *Reading) allFaults() []Fault {
	if len(r.Initial) == 0 {
		return r.Faults
	}
	return sortFaults(slices.Concat(r.Faults, r.Initial))
}

// With is a reading with a fault more.
func (r Reading) With(f Fault) Reading {
	r.Faults = withFault(r.Faults, f)
	r.Cost = Cost(slices.Concat(r.Faults, r.Initial))
	return r
}

// reading separates faults from assumptions about keys before the log.
func reading(rules apply.Rules, faults []Fault) Reading {
	r := Reading{Rules: rules, Cost: Cost(faults)}
	for _, f := range faults {
		if f.Kind == Initial {
			r.Initial = append(r.Initial, f)
		} else {
			r.Faults = append(r.Faults, f)
		}
	}
	return r
}

// Result is what a search has found.
type Result struct {
	// Readings are all that explain the db within a margin of the best, the best first. The first of a member without fault has no
	// faults. There are none if nothing that was tried explains it.
	Readings []Reading
	// Stop is the entry at which the log, applied without fault, contradicts the db: the one behind the last for what is there in the
	// end, 0 if nothing does.
	Stop uint64
	// Limits says what was not searched, and why.
	Limits []string
}

// Bounds of the search. Steps are entries applied, or sixteen keys looked at.
const (
	maxFaults          = 6        // of one member
	shallow            = 2        // faults with which all rules are tried before more are with any
	minSteps           = 12 << 20 // of any search
	suffixSteps        = 2 << 20  // of one where the log does not begin with the cluster: it may begin with several states
	stepsEntry         = 64       // more for each entry of the log
	beam               = 24       // fault sets that are followed with one more fault
	maxNodes           = 512      // that are expanded with as many faults
	maxSiblings        = 3        // of them that add a fault to the same set and lead to the same place
	maxSiblingsCounted = 64       // of them that are looked at
	unlikelySteps      = 1 << 19  // steps, for faults that are not likely
	moreSteps          = 2 << 20  // steps more once a single fault explains all, to find the others that do
	maxAnchors         = 48       // revisions that rows confirm behind which faults that shift revisions are not looked for
	maxNear            = 4000     // entries
	maxRun             = 1000     // entries in a row that are skipped
	maxReplay          = 400      // entries in a row that are applied again
	maxBeyond          = 128      // entries behind a contradiction that are skipped with those before it
	maxLag             = 512      // entries that a process is behind with applying when it proposes one
	nearLag            = 64       // of most processes
	maxTimes           = 3        // how often entries are applied again
	maxFar             = 400      // entries far from the contradiction on which it depends
	maxUsers           = 256      // entries before the contradiction of which the leases may be what it depends on
)

// node is a state to which sets of faults lead, and the place up to which the log agrees with the db from there.
type node struct {
	rules   apply.Rules
	faults  []Fault // the likeliest set
	cost    int
	stop    int
	auth    uint64  // auth revision there
	parents []link  // all of them: what was known one fault earlier, and that fault
	tried   []Fault // what leads further from here, if it was looked for
}

// link is a fault that leads on from a node.
type link struct {
	*node
	f Fault
}

func (l *link) cost() int { return l.node.cost + l.f.costBeside(l.node.faults) }

// search is one search.
type search struct {
	*Member
	s         *apply.State
	beginMark apply.Mark
	budget    int
	limits    []string
	costBound int    // what readings by other rules cost
	deep      bool   // faults are looked for also before what rows confirm: one may have made up for another
	thorough  bool   // how often keys were put rules nothing out, not even at first
	solved    []link // they lead to what the db holds
	frontier
	progress
}

// frontier is what was found with one fault more than the nodes that are expanded now. next holds the nodes of reached in the order in which they
// were found.
type frontier struct {
	next    []*node
	reached map[reached]*node
}

// progress is where the state was before each place, with the faults of the node that was applied last, up to its contradiction. The lists have
// the same length. A mark holds as long as the state was not taken back behind it: what tries faults at several places begins with the last one.
type progress struct {
	marks []apply.Mark
	revs  []int64
	auths []uint64 // auth revisions
}

// reached is where the log stops, and in which state.
type reached struct {
	stop   int
	digest uint64
	auth   uint64 // auth revision
}

// Search finds the fewest and likeliest faults that explain the db. It changes the member's starting state and takes everything
// back: a member is searched by one goroutine at a time.
func (m *Member) Search() *Result {
	x := &search{Member: m, s: m.start, beginMark: m.start.Mark()}
	m.start.Steps = 0
	steps := minSteps + stepsEntry*len(m.Log.Entries)
	if m.base != nil && !m.baseCertain {
		steps = suffixSteps + stepsEntry*len(m.Log.Entries)
	}
	var starts []*node
	for _, rules := range m.rules {
		n := &node{rules: rules}
		r := x.run(n.rules, nil)
		n.stop = r.applyFrom(0, nil)
		x.s.Revert(x.beginMark)
		if n.stop > m.end() {
			return &Result{Readings: []Reading{{Rules: rules}}}
		}
		starts = append(starts, n)
	}
	slices.SortStableFunc(starts, func(a, b *node) int { return cmp.Compare(b.stop, a.stop) })
	stop := starts[0].stop
	x.budget = steps / 4
	x.simplestFirst(starts)
	res := &Result{Stop: m.index(stop)}
	for _, n := range starts {
		x.costBound = math.MaxInt - Margin
		if len(res.Readings) > 0 {
			if x.costBound = likeliestReadings(res.Readings)[0].Cost; x.costBound <= costFault && m.Explains(&Reading{Rules: n.rules, Faults: res.Readings[0].Faults, Initial: res.Readings[0].Initial}) {
				continue // nothing is likelier
			}
		}
		// What is not likely is left out at first, and all of it is tried with the other half of the steps if nothing was found.
		x.solved, x.thorough, x.budget = nil, false, max(steps/2, x.s.Steps+steps/8)
		if x.searchFrom(n); x.bestCost() > costFault+costUser {
			x.deep, x.budget = true, x.s.Steps+steps/8
			x.searchFrom(n)
			x.deep = false
		}
		if len(x.solved) == 0 && len(res.Readings) == 0 && (m.base == nil || m.baseCertain) {
			x.limits, x.thorough, x.budget = nil, true, x.s.Steps+steps/2
			x.searchFrom(n)
		}
		res.Readings = append(res.Readings, x.readings()...)
	}
	res.Readings = likeliestReadings(res.Readings)
	if len(res.Readings) > maxReadings {
		res.Readings = res.Readings[:maxReadings]
		x.limit("only the first %d of the fault sets that explain the db are told", maxReadings)
	}
	if len(res.Readings) == 0 {
		x.limit("not every set of several faults is tried, nor any of more than %d; of entries in a row, at most %d are skipped and %d applied again", maxFaults, maxRun, maxReplay)
	}
	res.Limits = x.limits
	return res
}

// simplestFirst puts the rules first by which the fewest faults explain the db, if a few do: what explains it by others must not cost more. Before,
// those come first by which the log goes furthest.
func (x *search) simplestFirst(starts []*node) {
	x.costBound = math.MaxInt - Margin
	costs := map[*node]int{}
	for faults := 1; faults <= shallow && len(starts) > 1 && len(costs) == 0; faults++ {
		for _, n := range starts {
			x.solved = nil
			if x.searchUpTo(faults, &node{rules: n.rules, stop: n.stop}); len(x.solved) > 0 {
				costs[n] = x.bestCost()
			}
		}
	}
	x.solved, x.limits = nil, nil
	cost := func(n *node) int {
		if c, ok := costs[n]; ok {
			return c
		}
		return math.MaxInt
	}
	slices.SortStableFunc(starts, func(a, b *node) int { return cmp.Compare(cost(a), cost(b)) })
}

// searchFrom looks for the faults behind what is there, from a node without any.
func (x *search) searchFrom(start *node) { x.searchUpTo(maxFaults, start) }

// searchUpTo looks for so many faults at most.
func (x *search) searchUpTo(faults int, start *node) {
	x.reached = map[reached]*node{}
	level := []*node{start}
	for depth := 1; depth <= faults && len(level) > 0; depth++ {
		if x.bestCost()+Margin < depth*costFault {
			break // no set of so many faults is as likely, but for restarts from one entry, which tryRestartsAhead looks for
		}
		if depth > 1 {
			level = x.selectNodes(depth - 1)
		}
		x.next = nil
		for i := 0; i < len(level); i++ {
			n := level[i]
			if begun := x.expand(n); len(level) < maxNodes {
				level = slices.Insert(level, i+1, begun...)
			}
			if x.stopped() {
				return
			}
			if x.s.Steps > x.budget {
				x.limit("the search for faults ended after %d steps, with %d faults at most", x.budget, depth)
				return
			}
		}
		slices.SortStableFunc(x.next, func(a, b *node) int {
			return cmp.Or(cmp.Compare(b.stop, a.stop), cmp.Compare(a.cost, b.cost), slices.CompareFunc(a.faults, b.faults, Fault.compare))
		})
		level = x.next
	}
}

// selectNodes are the nodes to be followed: of those that come from one node and stop at one place some only, since the others are
// tried in their stead once something is found.
func (x *search) selectNodes(depth int) (level []*node) {
	type kin struct {
		parent *node
		stop   int
		auth   uint64
	}
	siblings := map[kin][]*node{}
	for _, n := range x.next {
		k := kin{n.parents[0].node, n.stop, n.auth}
		siblings[k] = append(siblings[k], n)
	}
	for _, n := range x.next {
		k := kin{n.parents[0].node, n.stop, n.auth}
		if n.cost+costFault > x.bestCost()+Margin || siblings[k] == nil {
			continue
		}
		if len(level) >= beam {
			x.limit("of the sets of %d faults only the %d that lead furthest are followed", depth, beam)
			break
		}
		level = append(level, x.bestSiblings(siblings[k])...)
		siblings[k] = nil
	}
	return level
}

// bestSiblings are the nodes after which keys are put as often as rows tell, more or less.
func (x *search) bestSiblings(ns []*node) []*node {
	if len(ns) <= maxSiblings {
		return ns
	}
	ns = ns[:min(len(ns), maxSiblingsCounted)]
	off := map[*node]int64{}
	for _, n := range ns {
		r := x.run(n.rules, n.faults)
		stop := x.applyToStop(r)
		if stop >= len(x.marks) {
			continue // it leads to the end
		}
		for _, more := range x.countPuts(r, stop).surplus {
			off[n] += max(more, -more)
		}
	}
	slices.SortStableFunc(ns, func(a, b *node) int { return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(off[a], off[b])) })
	return ns[:maxSiblings]
}

// countPuts goes on from a contradiction blindly.
func (x *search) countPuts(r *run, stop int) (c putCounts) {
	x.s.Revert(x.marks[stop])
	surplus := map[int32]int64{}
	blind := *r
	blind.unchecked = true
	c.unfaulted, c.unfaultedAuth = slices.Clone(x.revs[:stop+1]), slices.Clone(x.auths[:stop+1])
	for i := stop; i < x.end(); i++ {
		blind.step(i)
		c.unfaulted, c.unfaultedAuth = append(c.unfaulted, x.s.Revision), append(c.unfaultedAuth, x.s.Auth.Revision)
		for _, key := range x.lastPuts[i] {
			k := x.s.Record(key)
			switch n := x.Evidence.rows[x.Evidence.lastRow[key]].Version; {
			case !k.Exists():
			case k.Version > 0:
				surplus[key] = n - k.Version
			case k.Create > 0 && n <= k.Version-apply.OpenVersion: // it was put once before the log begins, at least
				surplus[key] = n - (k.Version - apply.OpenVersion) - 1
			}
		}
	}
	x.s.Revert(x.marks[stop])
	c.surplus = surplus
	return c
}

func (x *search) limit(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(x.limits, text) {
		x.limits = append(x.limits, text)
	}
}

// bestCost is what the likeliest set that was found costs.
func (x *search) bestCost() int {
	best := x.costBound
	for i := range x.solved {
		best = min(best, x.solved[i].cost())
	}
	return best
}

func (x *search) run(rules apply.Rules, faults []Fault) *run {
	return &run{Member: x.Member, s: x.s, faults: faults, rules: rules}
}

// withFault adds a fault to others, in order.
func withFault(faults []Fault, f Fault) []Fault {
	at, _ := slices.BinarySearchFunc(faults, f, Fault.compare)
	return slices.Insert(slices.Clone(faults), at, f)
}

func (f Fault) compare(g Fault) int {
	return cmp.Or(cmp.Compare(f.First, g.First), cmp.Compare(f.Last, g.Last), cmp.Compare(f.Kind, g.Kind), cmp.Compare(f.User, g.User),
		cmp.Compare(f.Times, g.Times), cmp.Compare(f.Table, g.Table), cmp.Compare(f.To, g.To), cmp.Compare(f.Key, g.Key), cmp.Compare(f.Assumed, g.Assumed), cmp.Compare(intOf(f.Kept), intOf(g.Kept)), cmp.Compare(f.DifferingRows, g.DifferingRows))
}

func intOf(set bool) int {
	if set {
		return 1
	}
	return 0
}

// sameClause tells whether two faults are the same to a reader: whether a member has read rows that were changed is beside the point.
func (f Fault) sameClause(g Fault) bool {
	f.Kept = g.Kept
	return f == g
}

// expansion is a node with what is tried to bring it further: its contradiction first, then passes of tries, of which leads keeps the outcomes.
type expansion struct {
	*search
	n *node
	contradiction
	leads       map[outcome][]Fault
	refusesNone bool // the fault that is tried refuses no entry
	putCounts        // known from tryNearby on
	pass
	repetition
}

// contradiction is where the node's log and the db part.
type contradiction struct {
	stop int // the place of the entry, end if it is what is there in the end
	end  int // the place behind the last entry that the db claims to hold
	// missedRevision is true if an entry did not make a revision that it should have made: entries that are applied again behind it may have
	// made it.
	missedRevision bool
	auth           uint64 // auth revision there
	deps           dependencies
	firstSuspect   int // nothing before this place made other revisions than it should have
}

// putCounts are how often keys were put if all goes on from the contradiction without another fault.
type putCounts struct {
	unfaulted     []int64         // the revision before each place
	unfaultedAuth []uint64        // the auth revision before each place
	surplus       map[int32]int64 // how much more often keys were put than so, where rows tell
}

// pass is what is tried: at first what fits putCounts and writerIndex, and more if that leads to nothing.
type pass struct {
	countPutsOnly     bool // nothing that does not fit putCounts
	ignoreSoleWriters bool // also what sole writers rule out, since several faults may lie close to each other
	lagging           bool // also entries applied again up to one that was not near the last that a process of the member applied
	stepLimit         int  // steps at which it ends
	single            bool // one fault explains all: others that do are looked for longer, since what is not tried widens the answer
}

// repetition is a run of entries that is tried again.
type repetition struct {
	repeatedPuts map[int32]int64 // how often each key was put by it
	maxRevision  int64           // that it may come to
}

// nextSoleWriter is the first sole writer of a higher revision, nil if there is none.
func (e *expansion) nextSoleWriter(revision int64) *soleWriter {
	n := sort.Search(len(e.soleWriters), func(i int) bool { return e.soleWriters[i].revision > revision })
	if n == len(e.soleWriters) || e.ignoreSoleWriters {
		return nil
	}
	return &e.soleWriters[n]
}

// fits tells whether the entries from one place to another can make so many revisions.
func (e *expansion) fits(from, to int, revisions int64) bool {
	if to < from {
		return revisions == 0
	}
	least, most := int64(e.places.Least[to+1]-e.places.Least[from]), int64(e.places.Most[to+1]-e.places.Most[from])
	return revisions <= most && (!e.neverRefused(from, to) || least <= revisions)
}

// fitsAgain tells whether the entries of a run make so many revisions up to one of them, the last time that they are applied again.
func (e *expansion) fitsAgain(first, place, last int, revisions int64) bool {
	least, most := int64(e.places.Least[last+1]-e.places.Least[first]), int64(e.places.Most[last+1]-e.places.Most[first])
	for times := range int64(maxTimes) { // before
		if low, high := int64(e.places.Least[place+1]-e.places.Least[first])+times*least, int64(e.places.Most[place+1]-e.places.Most[first])+times*most; revisions <= high && (!e.neverRefused(first, last) || low <= revisions) {
			return true
		}
	}
	return false
}

// neverRefused tells whether neither permissions nor alarms refuse any entry from one place to another.
func (e *expansion) neverRefused(from, to int) bool {
	return e.refusesNone && !e.s.Auth.Enabled && !e.s.Alarmed() && e.places.Refusing[to+1] == e.places.Refusing[from]
}

// canContinue tells whether the log can go on from a place in the present state: the next revision of which it is known who made it is made
// by an entry behind the place. refusing is true if some of them may be refused.
func (e *expansion) canContinue(from int, refusing bool) bool {
	s := e.nextSoleWriter(e.s.Revision)
	if s == nil {
		return true
	}
	if s.place < from {
		return false
	}
	sure := e.refusesNone
	if refusing {
		e.refusesNone = false
	}
	ok := e.fits(from, s.place, s.revision-e.s.Revision)
	e.refusesNone = sure
	return ok
}

// mayRepeat tells whether the entries from one place to another may have been applied again in the present state, which is that
// behind them: the next revision of which it is known who made it was made by one of them, or by one behind them.
func (e *expansion) mayRepeat(first, last int) bool {
	s := e.nextSoleWriter(e.s.Revision)
	switch {
	case s == nil:
		return true
	case s.place < first:
		return false
	case s.place <= last:
		return e.fitsAgain(first, s.place, last, s.revision-e.s.Revision)
	}
	revisions := s.revision - e.s.Revision
	least, most := int64(e.places.Least[last+1]-e.places.Least[first]), int64(e.places.Most[last+1]-e.places.Most[first])
	most = most*maxTimes + int64(e.places.Most[s.place+1]-e.places.Most[last+1])
	return revisions <= most && (!e.neverRefused(first, s.place) || least+int64(e.places.Least[s.place+1]-e.places.Least[last+1]) <= revisions)
}

// outcome is where a fault of a kind leads.
type outcome struct {
	kind  Kind
	times int
	reached
}

// contains tells whether a run of entries is a part of another.
func (f *Fault) contains(g *Fault) bool { return f.First <= g.First && g.Last <= f.Last }

// dependencies is what a contradiction may depend on, besides the revisions that entries make.
type dependencies struct {
	auth   bool
	alarms bool
	leases map[int32]bool
}

// expand tries every single fault that may be behind the contradiction of a node. What keys may have been before the log begins is tried
// first: it returns the nodes to which that leads, with no more faults.
func (x *search) expand(n *node) (begun []*node) {
	x.indexWriters()
	r := x.run(n.rules, n.faults)
	stop := x.applyToStop(r)
	e := &expansion{search: x, n: n, contradiction: contradiction{stop: stop, end: x.end()}, leads: map[outcome][]Fault{}, repetition: repetition{repeatedPuts: map[int32]int64{}}}
	if stop > e.end {
		return nil
	}
	e.missedRevision = r.missedRevision
	e.auth = x.s.Auth.Revision
	if !x.deep {
		e.firstSuspect = e.lastConfirmed()
	}
	e.deps = e.findDependencies()
	e.refusesNone = true
	if e.base != nil {
		var far bool
		if begun, far = e.tryInitial(); far {
			x.s.Revert(x.beginMark)
			return begun
		}
		x.applyToStop(r)
	}
	e.tryNearby()
	e.addFound()
	x.s.Revert(x.beginMark)
	return begun
}

// applyToStop applies the log up to the contradiction.
func (x *search) applyToStop(r *run) (stop int) {
	x.s.Revert(x.beginMark)
	x.marks, x.revs, x.auths = x.marks[:0], x.revs[:0], x.auths[:0]
	return r.applyFrom(0, x.noteMark)
}

func (x *search) noteMark(int) {
	x.marks = append(x.marks, x.s.Mark())
	x.revs = append(x.revs, x.s.Revision)
	x.auths = append(x.auths, x.s.Auth.Revision)
}

// resumeToStop applies the log up to the contradiction again, from the place to which the state was taken back.
func (x *search) resumeToStop(r *run) {
	place, ok := slices.BinarySearch(x.marks, x.s.Mark())
	if !ok {
		x.applyToStop(r)
		return
	}
	x.marks, x.revs, x.auths = x.marks[:place], x.revs[:place], x.auths[:place]
	r.applyFrom(place, x.noteMark)
}

// lastConfirmed is the place of the last entry that surely made the revision that it makes here: a row is left of it that no other can have
// made. Before it entries made as many revisions as they should have.
func (e *expansion) lastConfirmed() int {
	n := sort.Search(len(e.soleWriters), func(i int) bool { return e.soleWriters[i].revision > e.revs[len(e.revs)-1] })
	if n == 0 {
		return 0
	}
	revision := e.soleWriters[n-1].revision
	return max(sort.Search(len(e.revs), func(i int) bool { return e.revs[i] >= revision })-1, 0)
}

// UntriedRange is where the n-th fault of a reading may lie if the search for others was cut short: from behind the last entry of which a row is left that no
// other can have made, less as many as may be applied again, to the one at which the log without that fault contradicts the db.
func (m *Member) UntriedRange(r *Reading, n int) (first, last uint64) {
	m.indexWriters()
	x := &search{Member: m, s: m.start, beginMark: m.start.Mark()}
	defer func() { m.start.Revert(x.beginMark) }()
	stop := x.applyToStop(x.run(r.Rules, r.Initial))
	place := 0
	if len(x.revs) > 0 {
		place = (&expansion{search: x}).lastConfirmed() + 1
	}
	for i := range n + 1 {
		if r.Faults[i].Kind == Again {
			place -= maxReplay
			break
		}
	}
	if n > 0 {
		all := r.Initial
		for _, f := range r.Faults[:n] {
			all = withFault(all, f)
		}
		stop = max(stop, x.applyToStop(x.run(r.Rules, all)))
	}
	return m.index(max(place, 0)), m.index(min(stop, m.end()))
}

// tryNearby tries the faults at the contradiction and before it. If sole writers of later revisions rule all of them out, they are ignored:
// several faults may lie close to each other.
func (e *expansion) tryNearby() {
	stop := e.stop
	if stop == e.end {
		e.tryAtEnd()
	} else {
		e.tryRows()
	}
	// Faults that put keys as often as their rows tell, and that are all there is before the next sole writer, come first. Others may be what
	// several faults are that lie close to each other.
	found := len(e.leads)
	r := e.run(e.n.rules, e.n.faults)
	e.putCounts = e.countPuts(r, e.applyToStop(r))
	pass := func(strict, loose bool, steps int) {
		e.countPutsOnly, e.ignoreSoleWriters, e.stepLimit = strict, loose, e.s.Steps+steps
		if e.single {
			e.stepLimit += moreSteps
		}
		e.tryBefore()
	}
	none := func() bool { return len(e.leads) == found }
	e.lagging = e.thorough || e.Processes == nil
	if len(e.surplus) > 0 && !e.thorough {
		if pass(true, false, 4*unlikelySteps); none() && len(e.soleWriters) > 0 {
			pass(true, true, 4*unlikelySteps)
		}
		if !none() && len(e.n.faults) > 0 {
			return
		}
	}
	if pass(false, false, unlikelySteps); none() && len(e.soleWriters) > 0 {
		pass(false, true, unlikelySteps)
	}
	if e.base != nil && none() && !e.lagging { // that is thorough otherwise
		e.lagging = true
		pass(false, false, unlikelySteps)
	}
}

// stepsSpent tells whether enough has been tried.
func (e *expansion) stepsSpent() bool {
	if e.s.Steps > e.stepLimit && !e.thorough && (len(e.leads) > 0 || e.countPutsOnly) {
		e.limit("faults long before entry %d, where the db is contradicted, are not all tried", e.index(e.stop))
		return true
	}
	return e.s.Steps > e.budget || e.stopped()
}

func (m *Member) stopped() bool { return m.Stopped != nil && m.Stopped() }

// revisionShift is how many more revisions the entries up to a place and those that were applied again behind it made than the log says, if
// a sole writer behind it shows.
func (e *expansion) revisionShift(i int) (more int64, ok bool) {
	n := sort.Search(len(e.soleWriters), func(n int) bool { return e.soleWriters[n].revision > e.unfaulted[i+1] })
	for ; n < len(e.soleWriters); n++ {
		if s := e.soleWriters[n]; s.place > i && s.place+1 < len(e.unfaulted) {
			return s.revision - e.unfaulted[s.place+1], true
		}
	}
	return 0, false
}

// likelyContinues tells whether the log may go on from a place in the present state: if entries behind it make as many revisions as they would,
// the next one of which it is known who may have made it is made by one of those. They need not where the auth revision is another: requests are
// refused then which would not be, or the other way round.
func (e *expansion) likelyContinues(from int) bool {
	if e.s.Auth.Enabled && e.s.Auth.Revision != e.unfaultedAuth[from] {
		return true
	}
	n := sort.Search(len(e.possible), func(n int) bool { return e.possible[n].revision > e.s.Revision })
	if n == len(e.possible) {
		return true
	}
	at := between(e.possible[n].places, from, e.end)
	base := e.unfaulted[from] + e.possible[n].revision - e.s.Revision
	w := sort.Search(len(at), func(i int) bool { return e.unfaulted[at[i]+1] >= base-slack })
	return w < len(at) && e.unfaulted[at[w]+1] <= base+slack
}

// likelyRepeated tells whether entries applied again may lead to the next revision of which it is known who may have made it, if they make at
// least half as many revisions as at first: then one of those makes it, among them or behind them.
func (e *expansion) likelyRepeated(k, i int) bool {
	n := sort.Search(len(e.possible), func(n int) bool { return e.possible[n].revision > e.s.Revision })
	if n == len(e.possible) {
		return true
	}
	c, first := &e.possible[n], e.unfaulted[i+1]-e.unfaulted[k]
	missing := c.revision - e.s.Revision
	made := func(from, to int, least, most int64) bool { // one of the places in between is that of an entry behind which the revision is in range
		at := between(c.places, from, to)
		w := sort.Search(len(at), func(w int) bool { return e.unfaulted[at[w]+1] >= least })
		return w < len(at) && e.unfaulted[at[w]+1] <= most
	}
	if made(k, i+1, e.unfaulted[k]+missing-slack, e.unfaulted[k]+2*missing+slack) {
		return true
	}
	for times := int64(1); times <= maxTimes; times++ {
		if made(i+1, e.end, e.unfaulted[i+1]+missing-times*first-slack, e.unfaulted[i+1]+missing-times*first/2+slack) {
			return true
		}
	}
	return false
}

// slack is how many revisions entries behind a fault may make more or less because of it before other faults are tried first.
const slack = 2

// putsMiscounted tells whether an entry touches a key that was put more often or less often than the log says.
func (e *expansion) putsMiscounted(i int) (touched bool) {
	e.Log.Entries[i].Puts(func(key int32, _ apply.Value, _ bool) { touched = touched || e.surplus[key] != 0 })
	return touched
}

// withinSurplus tells whether what the state has just made is not more than rows tell, if it was made again.
func (e *expansion) withinSurplus(puts map[int32]int64) bool {
	for i := range e.s.Changes {
		c := &e.s.Changes[i]
		if !e.keptUntilLastRow(c) {
			continue
		}
		puts[c.Key]++
		if n, ok := e.surplus[c.Key]; ok && puts[c.Key] > n {
			return false
		}
	}
	return true
}

// keptUntilLastRow tells whether a change is a put of a key that lived on until its newest row at or below the compact revision was made.
func (e *expansion) keptUntilLastRow(c *apply.Change) bool {
	n := e.Evidence.lastRow[c.Key]
	return !c.Delete && c.Was.Mod != 0 && n >= 0 && !e.Evidence.rows[n].tombstone && e.Evidence.rows[n].Create == c.Was.Create
}

// putsSurplus tells whether an entry puts a key in the present state that was not put less often than it would be.
func (e *expansion) putsSurplus(i int) bool {
	mark := e.s.Mark()
	e.s.Rules = e.rulesAt(e.Log.Entries[i].Index)
	e.s.Apply(&e.Log.Entries[i], e.firstWay(&e.Log.Entries[i]))
	bad := slices.ContainsFunc(e.s.Changes, func(c apply.Change) bool {
		n, ok := e.surplus[c.Key]
		return ok && n >= 0 && e.keptUntilLastRow(&c)
	})
	e.s.Revert(mark)
	return bad
}

// tryBefore tries the faults at the contradiction and before it.
func (e *expansion) tryBefore() {
	x, stop := e.search, e.stop
	e.resumeToStop(e.run(e.n.rules, e.n.faults))
	if e.missedRevision {
		e.tryRepeatBeyond()
	}
	anchors, far, clean := 0, 0, stop
	for i := min(stop, e.end-1); i >= 0 && !e.stepsSpent(); i-- {
		if e.isSkipped(i) {
			continue
		}
		effective := i == stop || x.marks[i+1] > x.marks[i]
		near := i >= e.firstSuspect && anchors < maxAnchors
		if near && stop-i >= maxNear && !e.putsMiscounted(i) {
			if near = false; effective && !e.countPutsOnly {
				x.limit("faults more than %d entries before entry %d, where the db is contradicted, are not all tried", maxNear, e.index(stop))
				break
			}
		}
		relevant := !near && effective && e.relevant(&x.Log.Entries[i])
		if relevant && far >= maxFar {
			x.limit("faults that show only by what permissions, leases or alarms allow are not looked for before entry %d", x.Log.Entries[i].Index)
			break
		}
		if relevant {
			far++
		}
		if near || relevant {
			x.s.Revert(x.marks[i])
			clean = i
			e.tryAt(i, effective)
		}
		if i < stop && x.revs[i+1] > x.revs[i] && e.rowConfirms(i) {
			anchors++
		}
	}
	x.s.Revert(x.marks[clean])
}

// tryRepeatBeyond tries to apply again entries from one that did not make the revision that it should have made up to a later one.
func (e *expansion) tryRepeatBeyond() {
	x := e.search
	x.s.Revert(x.marks[e.stop])
	r := x.run(e.n.rules, e.n.faults)
	for i := e.stop; i < min(e.end, e.stop+maxReplay) && r.step(i) && !e.stepsSpent(); i++ {
		mark := x.s.Mark()
		if i == len(x.marks)-1 {
			x.noteMark(i)
		}
		if e.triesEnd(i) {
			e.tryRepeatFrom(r, i, e.stop)
		}
		x.s.Revert(mark)
	}
	x.s.Revert(x.marks[e.stop])
	x.marks, x.revs, x.auths = x.marks[:e.stop+1], x.revs[:e.stop+1], x.auths[:e.stop+1]
}

// rowConfirms tells whether a row confirms the revision that an entry made.
func (e *expansion) rowConfirms(i int) bool {
	main := e.revs[i+1]
	return len(e.Evidence.group(main)) > 0 || len(e.Evidence.createdAt[main]) > 0
}

// isSkipped tells whether an entry is left out by the faults of the node.
func (e *expansion) isSkipped(i int) bool {
	index := e.Log.Entries[i].Index
	return slices.ContainsFunc(e.n.faults, func(f Fault) bool { return f.Kind == Skipped && f.First <= index && index <= f.Last })
}

// findDependencies looks at what the entry at which the db is contradicted and those before it ask for, and at the tables if it is the end.
func (e *expansion) findDependencies() dependencies {
	d := dependencies{leases: map[int32]bool{}}
	if e.stop == e.end {
		for t, off := range e.Evidence.differingTables(e.s) {
			switch TableName(t) {
			case Auth:
				d.auth = off > 0
			case Alarms:
				d.alarms = off > 0
			case Leases:
				for _, l := range e.Evidence.differingLeases(e.s) {
					d.leases[l] = true
				}
			}
		}
	}
	if e.stop == e.end && e.s.Revision == e.Evidence.Revision {
		return d
	}
	d.auth, d.alarms = true, true
	// An entry that has no effect may be one that asks for a lease, and it is the grant that had none.
	for i := max(e.firstSuspect, e.stop-maxUsers); i <= min(e.stop, e.end-1); i++ {
		for _, l := range e.Log.Entries[i].Uses() {
			d.leases[l] = true
		}
	}
	return d
}

// relevant tells whether a contradiction may depend on what an entry does to small tables.
func (e *expansion) relevant(x *apply.Entry) bool {
	switch x.Kind {
	case apply.Auth:
		return e.deps.auth
	case apply.Alarm:
		return e.deps.alarms
	case apply.Grant, apply.Revoke:
		return e.deps.leases[x.Lease()]
	}
	return false
}

// try follows the log from a place on with one more fault, from the present state, and goes back to it.
func (e *expansion) try(f Fault, from int) {
	// A row that its entry did not write has no sole writer.
	if f.Kind != Rows && !e.canContinue(from, f.Kind == Refused || f.Kind == Rules) {
		return
	}
	mark := e.s.Mark()
	r := e.run(e.n.rules, withFault(e.n.faults, f))
	if f.Kind == Again && r.missesRevision(from-1) {
		return
	}
	e.addOutcome(r.applyFrom(from, nil), f)
	e.s.Revert(mark)
}

// addOutcome notes where a set of faults leads. Of runs of entries that lead to the same, those that are no shorter are left out.
func (e *expansion) addOutcome(stop int, f Fault) {
	switch {
	case stop > e.stop, stop == e.stop && f.Kind == Again && e.authCloser():
	default:
		return
	}
	if stop > e.end && len(e.n.faults) == 0 && !e.single {
		e.single = true
		e.stepLimit += moreSteps
	}
	o := outcome{f.Kind, f.Times, reached{stop, e.s.Digest(), e.s.Auth.Revision}}
	if f.Kind == Skipped || f.Kind == Again {
		if slices.ContainsFunc(e.leads[o], func(g Fault) bool { return f.contains(&g) }) {
			return
		}
		e.leads[o] = slices.DeleteFunc(e.leads[o], func(g Fault) bool { return g.contains(&f) })
	}
	e.leads[o] = append(e.leads[o], f)
}

// addFound notes what the expansion has come to.
func (e *expansion) addFound() {
	type lead struct {
		reached
		f Fault
	}
	var all []lead
	for o, fs := range e.leads {
		for _, f := range fs {
			all = append(all, lead{o.reached, f})
		}
	}
	slices.SortFunc(all, func(a, b lead) int { return a.f.compare(b.f) })
	for _, l := range all {
		e.n.tried = append(e.n.tried, l.f)
		if l.stop > e.end {
			e.solved = append(e.solved, link{e.n, l.f})
		} else {
			e.addNode(l.reached, l.f)
		}
	}
}

// authCloser tells whether the auth revision of the present state is above that of the node, and one more replay of auth entries may be what
// is missing: the member refused what this state allows still, or its auth revision is higher in the end.
func (e *expansion) authCloser() bool {
	now := e.s.Auth.Revision
	if now <= e.auth {
		return false
	}
	if e.stop < e.end {
		x := &e.Log.Entries[e.stop]
		return !e.missedRevision && x.User() != "" && now <= x.AuthRevision()
	}
	return now < e.Evidence.Tables.AuthRevision
}

// addNode notes a node to be followed.
func (e *expansion) addNode(at reached, f Fault) {
	from := link{e.n, f}
	o := e.reached[at]
	switch {
	case o == nil:
		o = &node{rules: e.n.rules, faults: withFault(e.n.faults, f), cost: from.cost(), stop: at.stop, auth: at.auth}
		e.reached[at] = o
		e.next = append(e.next, o)
	case from.cost() > o.cost+Margin:
		return // it is unlikelier, and leads to nothing else
	case from.cost() < o.cost:
		o.faults, o.cost = withFault(e.n.faults, f), from.cost()
	}
	o.parents = append(o.parents, from)
}

// tryAt tries all faults that begin with an entry, or end with it if they are of entries applied again. The state is that before it.
func (e *expansion) tryAt(i int, effective bool) {
	x := &e.Log.Entries[i]
	if x.Kind == apply.None {
		return
	}
	mark := e.s.Mark()
	rules := e.rulesAt(x.Index)
	if effective {
		if !e.countPutsOnly || !e.putsSurplus(i) {
			e.trySkip(i)
		}
		if x.User() != "" && !slices.ContainsFunc(e.n.faults, func(f Fault) bool { return f.Kind == Refused && f.User == x.User() }) {
			e.try(Fault{Kind: Refused, First: x.Index, Last: x.Index, User: x.User()}, i)
		}
		e.tryRules(i, rules)
	}
	if slices.ContainsFunc(x.Uses(), func(l int32) bool { return e.Log.Leases[l] < 0 }) {
		any := e.loseLeases(e.s)
		e.s.Revert(mark)
		if any {
			e.try(Fault{Kind: Lost, First: x.Index, Last: x.Index}, i)
		}
	}
	e.s.Rules = rules
	res := e.s.Apply(x, e.firstWay(x))
	changed := e.s.Mark() > mark
	e.s.Revert(mark)
	if e.firstWay(x) == apply.WithReads && !changed {
		res := e.s.Apply(x, apply.Plain)
		if e.s.Revert(mark); res == apply.Made {
			e.try(Fault{Kind: GaveUp, First: x.Index, Last: x.Index}, i)
		}
	}
	if res == apply.Forbidden || res == apply.Alarmed {
		e.try(Fault{Kind: Permitted, First: x.Index, Last: x.Index}, i)
	}
	if x.Kind == apply.Txn {
		digest := e.s.Digest()
		e.s.Apply(x, apply.OtherBranch)
		other := changed || e.s.Digest() != digest
		e.s.Revert(mark)
		if other {
			e.try(Fault{Kind: Branch, First: x.Index, Last: x.Index}, i)
		}
	}
	if i < e.stop && e.triesEnd(i) {
		e.s.Revert(mark)
		e.tryRepeatEndingAt(i)
	}
}

func (e *expansion) rulesAt(index uint64) apply.Rules {
	rules := e.n.rules
	for _, f := range e.n.faults {
		if f.Kind == Rules && f.First <= index {
			rules = f.To
		}
	}
	return e.Log.AtLeast(index, rules)
}

// tryRules tries the rules of the versions that an upgrade leads to from an entry on, with which these do something else than those that held.
func (e *expansion) tryRules(i int, were apply.Rules) {
	x := &e.Log.Entries[i]
	for _, to := range e.otherwiseBy(x, were) {
		e.try(Fault{Kind: Rules, First: x.Index, Last: x.Index, To: to}, i)
	}
}

// otherwiseBy are the rules that an upgrade leads to by which permissions judge an entry otherwise in the present state.
func (e *expansion) otherwiseBy(x *apply.Entry, were apply.Rules) []apply.Rules {
	if !e.s.Auth.Enabled {
		return nil
	}
	mark := e.s.Mark()
	forbids := func(rules apply.Rules) bool {
		e.s.Rules = rules
		defer e.s.Revert(mark)
		return e.s.Apply(x, e.firstWay(x)) == apply.Forbidden
	}
	forbade := forbids(were)
	return slices.DeleteFunc(e.Log.Upgrades(were, cmp.Or(e.Newest, apply.Newest)), func(to apply.Rules) bool { return forbids(to) == forbade })
}

// trySkip tries to leave out the entries of a run that begins with one. The state does not change meanwhile.
func (e *expansion) trySkip(i int) {
	last := min(e.stop+maxBeyond, i+maxRun, e.end-1)
	made := i // the first entry that did make a revision
	for made < e.end && e.soleRevision[made] <= e.s.Revision {
		made++
	}
	last = min(last, made-1)
	writers, known := e.writers(e.s.Revision+1, i+1, e.end)
	switch {
	case known: // no entry behind the run makes a revision before one that may have made the next
		for _, w := range writers {
			e.trySkipUpTo(i, int(w)-1, last)
			if e.stepsSpent() {
				return
			}
		}
		e.trySkipRun(i, i)
	case e.s.Revision >= e.Evidence.Revision: // nothing behind it made a revision
		e.trySkipUpTo(i, min(e.end, made)-1, e.end)
		e.trySkipRun(i, i)
	default:
		for z := i; z <= last && !e.stepsSpent(); z++ {
			if e.canContinue(z+1, false) && (z == i || e.effective(z)) {
				e.trySkipRun(i, z)
			}
		}
	}
}

// trySkipUpTo tries runs from one place to each of those at which they may end if nothing from there up to another makes a revision: what
// would make one in the present state must be left out, too, unless an entry that is not may be why it is refused.
func (e *expansion) trySkipUpTo(i, high, last int) {
	for z := high; z >= i && !e.stepsSpent(); z-- {
		changed, made := e.effect(z)
		if z <= last && (z == i || changed) {
			e.trySkipRun(i, z)
		}
		if made && e.places.Turning[z] == e.places.Turning[i] {
			return
		}
	}
}

// trySkipRun tries to leave out the entries from one place to another.
func (e *expansion) trySkipRun(i, z int) {
	if e.soleRevision[z] > e.s.Revision || e.countPutsOnly && !e.likelyContinues(z+1) {
		return
	}
	e.try(Fault{Kind: Skipped, First: e.Log.Entries[i].Index, Last: e.Log.Entries[z].Index}, z+1)
}

// effective tells whether an entry would have an effect on the present state.
func (e *expansion) effective(i int) bool {
	changed, _ := e.effect(i)
	return changed
}

// effect tells whether an entry would have an effect on the present state, and whether it would make a revision.
func (e *expansion) effect(i int) (changed, made bool) {
	x, mark := &e.Log.Entries[i], e.s.Mark()
	if x.Kind == apply.None || e.isSkipped(i) {
		return false, false
	}
	e.s.Rules = e.rulesAt(x.Index)
	made = e.s.Apply(x, e.firstWay(x)) == apply.Made
	changed = e.s.Mark() > mark
	e.s.Revert(mark)
	return changed, made
}

// tryRepeatEndingAt tries to apply the entries of a run that ends with one again, behind that one.
func (e *expansion) tryRepeatEndingAt(i int) {
	e.s.Revert(e.marks[i])
	r := e.run(e.n.rules, e.n.faults)
	if !r.step(i) {
		return
	}
	e.tryRepeatFrom(r, i, i)
	e.s.Revert(e.marks[i])
}

// tryRepeatFrom tries to apply the entries of a run again that begins at a place up to high, behind the one at which the run ends, and in
// the present state.
func (e *expansion) tryRepeatFrom(r *run, i, high int) {
	low := max(0, i-maxReplay)
	writers, known := e.writers(e.s.Revision+1, low, i+1)
	if known || e.s.Revision >= e.Evidence.Revision {
		writers = slices.Clone(writers)
		for _, w := range writers { // before it leases may be granted and revoked
			for k := int(w) - 1; k >= low; k-- {
				changed, made := e.effect(k)
				if made {
					break
				}
				if changed {
					writers = append(writers, int32(k))
				}
			}
		}
		for k := low; k <= i; k++ { // what changes tables need not make a revision
			if e.Log.Entries[k].Kind == apply.Auth || e.Log.Entries[k].Kind == apply.Alarm {
				writers = append(writers, int32(k))
			}
		}
		slices.Sort(writers)
		for _, k := range slices.Backward(slices.Compact(writers)) {
			if int(k) <= high {
				e.tryRepeat(r, int(k), i)
			}
		}
	} else {
		for k := high; k >= low; k-- {
			e.tryRepeat(r, k, i)
		}
	}
}

// tryRepeat tries to apply the entries from one place to another once more, behind that one, and twice and three times more.
func (e *expansion) tryRepeat(r *run, k, i int) {
	if e.Log.Entries[k].Kind == apply.None || e.stepsSpent() {
		return
	}
	if !e.mayRepeat(k, i) || e.missedRevision && i >= e.stop && !e.ignoreSoleWriters && !e.fitsAgain(k, e.stop, i, e.soleRevision[e.stop]-e.s.Revision) {
		return
	}
	judges := e.s.Auth.Enabled && e.places.Refusing[i+1] > e.places.Refusing[k] // others may be refused behind it
	if e.countPutsOnly && !judges && !e.likelyRepeated(k, i) {
		return
	}
	after, revision := e.s.Mark(), e.s.Revision
	e.maxRevision = math.MaxInt64
	if more, ok := e.revisionShift(i); ok && e.countPutsOnly && !judges {
		e.maxRevision = revision + more + slack
	}
	f := Fault{Kind: Again, First: e.Log.Entries[k].Index, Last: e.Log.Entries[i].Index}
	clear(e.repeatedPuts)
	restart := e.restartBeginsAt(k, i)
	for f.Times = 1; f.Times <= maxTimes && e.applyAgain(r, k, i, e.repeatedPuts); f.Times++ {
		if e.countPutsOnly && !e.likelyContinues(i+1) {
			continue
		}
		f.NoRestart, f.Lagging = e.s.Revision == revision && !restart, !e.mayHaveEnded(i, maxLag)
		e.try(f, i+1)
	}
	e.s.Revert(after)
}

// mayHaveEnded tells whether a process of the member may have ended behind the entry of a place, if it was so many entries behind at most, as its proposals
// tell.
func (m *Member) mayHaveEnded(i int, lag uint64) bool {
	return m.Processes == nil || m.Processes.MayHaveEnded(m.index(i), lag)
}

// triesEnd tells whether entries up to a place are tried again. Those that do not fit how often keys were put must end the nearer to a restart.
func (e *expansion) triesEnd(i int) bool {
	lag := uint64(maxLag)
	if !e.countPutsOnly {
		lag = nearLag
	}
	return e.lagging || e.mayHaveEnded(i, lag)
}

// restartBeginsAt tells whether a member that saves its consistent index with changes of keys alone begins with an entry when it restarts
// behind another one, in the present state: nothing from the one to the other made a revision, and what changed anything between the last
// one that did, or the newest snapshot, and the first of them has no effect any more.
func (e *expansion) restartBeginsAt(k, i int) bool {
	low := e.behindSnapshot(i)
	if e.revs[i+1] != e.revs[k] || k < low {
		return false
	}
	for j := k - 1; j >= low && e.revs[j+1] == e.revs[j]; j-- {
		if e.marks[j+1] > e.marks[j] && e.effective(j) {
			return false // it would have been applied again, too
		}
	}
	return true
}

// behindSnapshot is the place behind the newest snapshot up to an entry, 0 if there is none.
func (m *Member) behindSnapshot(i int) int {
	index := m.Log.Entries[i].Index
	n := sort.Search(len(m.Snapshots), func(n int) bool { return m.Snapshots[n] > index })
	if n == 0 {
		return 0
	}
	return max(m.place(m.Snapshots[n-1])+1, 0)
}

// applyAgain applies entries again, and tells whether that agrees with the db and that no shorter run comes to the same: the first of them has an
// effect, and the last one, too, or had one at first.
func (e *expansion) applyAgain(r *run, k, i int, puts map[int32]int64) bool {
	had := e.marks[i+1] > e.marks[i]
	for j := k; j <= i; j++ {
		mark := e.s.Mark()
		e.s.Rules = e.rulesAt(e.Log.Entries[j].Index)
		if !r.apply(&e.Log.Entries[j], apply.Plain, nil, nil, true) {
			return false
		}
		if e.s.Mark() == mark && (j == k || j == i && !had) || e.countPutsOnly && (e.s.Revision > e.maxRevision || !e.withinSurplus(puts)) {
			return false
		}
	}
	return true
}

// tryRows tries rows that are not what the entries write, where that may be behind the contradiction.
func (e *expansion) tryRows() {
	var places []int
	main := e.s.Revision
	off := e.countDiffering(main)
	if keys := e.contradictingKeys(); len(keys) > 0 && off == 0 && main < e.Evidence.Compact {
		// The row that tells otherwise is at a revision behind this one, or that of this revision is gone.
		off = 1
		for _, key := range keys {
			if there := e.Evidence.rows[e.Evidence.lastRow[key]].main; there < main {
				places = append(places, e.stop)
			} else if i := e.makerIgnoring(there, key); i >= 0 {
				places = append(places, i)
			}
		}
	} else if main == e.Evidence.Compact && off == 0 {
		// The keys that compaction left are others: their last writers made rows that are gone, or are not theirs.
		keys := e.Evidence.differingAtCompact(e.s, maxRowsApart+1)
		if len(keys) > maxRowsApart {
			return
		}
		off = 1
		for _, k := range keys {
			if i := e.lastWriter(k); i >= 0 && !slices.Contains(places, i) {
				places = append(places, i)
			}
		}
		if len(places) != 1 {
			return
		}
	} else {
		places = append(places, e.stop)
	}
	for _, i := range places {
		for _, kept := range []bool{false, true} {
			from := min(i, e.stop)
			e.s.Revert(e.marks[from])
			x := e.Log.Entries[i].Index
			e.try(Fault{Kind: Rows, First: x, Last: x, DifferingRows: off, Kept: kept}, from)
		}
	}
	// The state only goes back: what begins earlier comes last.
	if i := e.stop - 1; i >= 0 && !e.isSkipped(i) {
		if n := len(e.Evidence.group(e.revs[e.stop] + 1)); n > 0 {
			e.s.Revert(e.marks[i])
			e.try(Fault{Kind: Extra, First: e.Log.Entries[i].Index, Last: e.Log.Entries[i].Index, DifferingRows: n}, i)
		}
	}
}

// contradictingKeys are the keys of whose life rows of later revisions tell what is not so at the contradiction, some only.
func (e *expansion) contradictingKeys() (keys []int32) {
	if key := e.Evidence.contradictedKey(e.s, nil); key >= 0 {
		return []int32{key}
	}
	if e.missedRevision {
		keys = e.Evidence.createdAt[e.soleRevision[e.stop]]
	}
	return keys[:min(len(keys), maxRowsApart)]
}

// makerIgnoring is the place of the entry behind the contradiction that makes a revision if what rows tell of a key is ignored, -1 if
// none does.
func (e *expansion) makerIgnoring(main int64, key int32) int {
	e.s.Revert(e.marks[e.stop])
	r := e.run(e.n.rules, e.n.faults)
	r.ignoredKeys = append(slices.Clone(r.ignored()), key)
	for i := e.stop; i < e.end; i++ {
		if !r.step(i) {
			break
		}
		if e.s.Revision >= main-1 {
			for i++; i < e.end; i++ {
				mark := e.s.Mark()
				r.step(i)
				made := e.s.Revision >= main
				e.s.Revert(mark)
				if made {
					return i
				}
				r.step(i)
			}
		}
	}
	return -1
}

// maxRowsApart is how many keys may be gone that one entry wrote.
const maxRowsApart = 8

// countDiffering is how many rows of a revision are not what the state's last entry makes.
func (e *expansion) countDiffering(main int64) (off int) {
	rows := e.Evidence.group(main)
	if main > e.Evidence.Compact {
		off = max(len(e.s.Changes)-len(rows), 0)
	}
	for i := range rows {
		if n := int(rows[i].sub); n >= len(e.s.Changes) || !rows[i].matches(&e.s.Changes[n], e.s.BaseRevision) {
			off++
		}
	}
	return off
}

// lastWriter is the place of the last entry up to the contradiction that changed a key, -1 if none did.
func (e *expansion) lastWriter(key int32) int {
	for i := e.stop; i >= 0; i-- {
		if i == e.stop || e.revs[i+1] > e.revs[i] {
			if slices.Contains(e.Log.Entries[i].Touches(), key) {
				return i
			}
		}
	}
	return -1
}

// tryAtEnd tries what may be behind tables, or a last revision, that are not what the log leads to.
func (e *expansion) tryAtEnd() {
	mark := e.s.Mark()
	for t, off := range e.Evidence.differingTables(e.s) {
		if off > 0 && e.s.Revision == e.Evidence.Revision {
			e.try(Fault{Kind: Table, First: e.Evidence.Index, Last: e.Evidence.Index, Table: TableName(t), DifferingRows: off}, e.end)
		}
	}
	if e.s.Revision > e.Evidence.Revision || slices.ContainsFunc(e.n.faults, func(f Fault) bool { return f.Kind == Index }) {
		return
	}
	r := e.run(e.n.rules, e.n.faults)
	var ahead []uint64 // entries whose effects may be the last that the db holds
	for i := e.end; i < len(e.Log.Entries) && e.Log.Entries[i].Index <= e.committed && i-e.end < maxRun; i++ {
		was := e.s.Mark()
		if !r.step(i) {
			break
		}
		if e.s.Mark() > was && e.s.Revision == e.Evidence.Revision {
			ahead = append(ahead, e.Log.Entries[i].Index)
		}
	}
	e.s.Revert(mark)
	for _, last := range ahead {
		e.try(Fault{Kind: Index, First: e.Evidence.Index + 1, Last: last}, e.end)
	}
	if e.Evidence.TablesAhead && e.s.Revision == e.Evidence.Revision {
		e.tryFaultAhead()
		e.tryRestartsAhead()
	}
	if n := len(e.Evidence.group(e.revs[e.end] + 1)); e.end > 0 && n > 0 && !e.isSkipped(e.end-1) {
		e.s.Revert(e.marks[e.end-1]) // the state only goes back: what begins earlier comes last
		last := e.Log.Entries[e.end-1].Index
		e.try(Fault{Kind: Extra, First: last, Last: last, DifferingRows: n}, e.end-1)
	}
}

// tryFaultAhead tries faults at the first entry behind the consistent index that makes a revision: a member on which none of the entries from there on did has
// applied them all the same, if it saves the index with changes of keys alone, and its tables show it.
func (e *expansion) tryFaultAhead() {
	mark, r := e.s.Mark(), e.run(e.n.rules, e.n.faults)
	var found []Fault
	for i := e.end; i < len(e.Log.Entries) && e.Log.Entries[i].Index <= e.committed; i++ {
		before, x := e.s.Mark(), &e.Log.Entries[i]
		if r.step(i) && e.s.Revision == e.Evidence.Revision {
			continue
		}
		e.s.Revert(before)
		for _, to := range e.otherwiseBy(x, e.rulesAt(x.Index)) {
			found = append(found, Fault{Kind: Rules, First: x.Index, Last: x.Index, To: to})
		}
		found = append(found, Fault{Kind: Skipped, First: x.Index, Last: x.Index})
		if x.User() != "" {
			found = append(found, Fault{Kind: Refused, First: x.Index, Last: x.Index, User: x.User()})
		}
		break
	}
	e.s.Revert(mark)
	for _, f := range found {
		e.try(f, e.end)
	}
}

// maxRestartsAhead is how many restarts behind different entries are tried where none of them saved a consistent index.
const maxRestartsAhead = 3

// tryRestartsAhead tries to apply what is behind the consistent index again, at restarts. A member that saves the index with changes of keys
// alone goes back to behind it each time, and several times may be needed before anything fits: all are tried here. Tables of an earlier moment
// than that of the last committed entry come into question if no others do.
func (e *expansion) tryRestartsAhead() {
	spent := e.s.Steps + unlikelySteps
	last := e.end // behind all that change anything
	solved := len(e.solved)
	rules := e.rulesAt(e.Evidence.Index + 1)
	applied := func(i int) bool {
		e.s.Rules = rules
		return e.s.Apply(&e.Log.Entries[i], apply.Plain) != apply.Made
	}
	var changing []int // places behind the consistent index
	// go on from a place with some restarts before it, up to the next auth entry, and from there without and with one behind it.
	var from func(i int, restarts []Fault)
	from = func(i int, restarts []Fault) {
		mark, begun := e.s.Mark(), len(changing)
		defer func() { e.s.Revert(mark); changing = changing[:begun] }()
		for ; ; i++ {
			if len(restarts) > 0 && i >= last && e.s.Auth.Equal(e.Evidence.Tables) {
				e.addRestarts(restarts)
				return
			}
			if i >= len(e.Log.Entries) || e.Log.Entries[i].Index > e.committed || e.s.Auth.Revision > e.Evidence.Tables.AuthRevision || e.s.Steps > min(spent, e.budget) {
				return
			}
			before := e.s.Mark()
			if !applied(i) {
				return // a change of keys would have moved the index
			}
			if e.s.Mark() == before {
				continue
			}
			if changing, last = append(changing, i), max(last, i+1); e.Log.Entries[i].Kind == apply.Auth {
				break
			}
		}
		from(i+1, restarts)
		n := sort.SearchInts(changing, e.behindSnapshot(i))
		if len(restarts) == maxRestartsAhead || n == len(changing) { // or a snapshot of this very entry
			return
		}
		first := changing[n]
		f := Fault{Kind: Again, First: e.Log.Entries[first].Index, Last: e.Log.Entries[i].Index}
		for f.Times = 1; f.Times <= maxTimes; f.Times++ {
			for k := first; k <= i; k++ {
				if !applied(k) {
					return
				}
			}
			from(i+1, append(slices.Clip(restarts), f))
		}
	}
	from(e.end, nil)
	if len(e.solved) == solved {
		last = e.end
		from(e.end, nil)
	}
	if e.s.Steps > spent {
		e.limit("restarts behind entry %d, the consistent index, are not all tried", e.Evidence.Index)
	}
}

// addRestarts notes faults that lead to what the db holds all together.
func (e *expansion) addRestarts(restarts []Fault) {
	n := e.n
	for _, f := range restarts[:len(restarts)-1] {
		from := link{n, f}
		n = &node{rules: n.rules, faults: withFault(n.faults, f), cost: from.cost(), stop: e.end, auth: e.auth, parents: []link{from}}
	}
	e.solved = append(e.solved, link{n, restarts[len(restarts)-1]})
}

// readings are the sets that explain the db, within the margin of the best.
func (x *search) readings() (all []Reading) {
	limit, tried := x.bestCost()+Margin, map[string]bool{}
	explains := func(faults []Fault) {
		r := reading(x.solved[0].rules, faults)
		if key := fmt.Sprint(faults); r.Cost <= limit && !tried[key] && !repeatedTwice(faults) {
			if tried[key] = true; x.Explains(&r) {
				all = append(all, r)
			}
		}
	}
	for _, l := range x.solved {
		if l.cost() > limit {
			continue
		}
		if !x.eachFaultSet(l, nil, limit, func(faults []Fault) bool { explains(faults); return len(tried) < maxFaultSets }) {
			x.limit("only %d of the fault sets that explain the db are looked at", maxFaultSets)
			break
		}
	}
	// What led from a set to other states than that which was followed may lead to the same in the end.
	for _, l := range x.solved {
		for n, behind := l.node, []Fault{l.f}; len(n.parents) > 0; n = n.parents[0].node {
			for _, f := range n.parents[0].tried {
				if len(tried) < 2*maxFaultSets && x.s.Steps <= 2*x.budget {
					explains(sortFaults(append(append(slices.Clone(n.parents[0].faults), f), behind...)))
				}
			}
			behind = append(behind, n.parents[0].f)
		}
	}
	return all
}

// repeatedTwice tells whether two of some faults are that the same entries were applied again: it is one, which is told by how often.
func repeatedTwice(faults []Fault) bool {
	for i, f := range faults {
		if f.Kind == Again && slices.ContainsFunc(faults[:i], func(g Fault) bool {
			return g.Kind == Again && g.First == f.First && g.Last == f.Last && f.Times+g.Times <= maxTimes
		}) {
			return true
		}
	}
	return false
}

// sortFaults are faults in order.
func sortFaults(faults []Fault) []Fault {
	slices.SortStableFunc(faults, Fault.compare)
	return faults
}

// likeliestReadings are the readings within the margin of the best, the likeliest first, each set of faults once.
func likeliestReadings(all []Reading) (best []Reading) {
	slices.SortStableFunc(all, func(a, b Reading) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), slices.CompareFunc(a.Faults, b.Faults, Fault.compare))
	})
	for _, r := range all {
		if r.Cost <= all[0].Cost+Margin && !slices.ContainsFunc(best, func(o Reading) bool { return slices.EqualFunc(o.Faults, r.Faults, Fault.sameClause) }) {
			best = append(best, r)
		}
	}
	return best
}

// eachFaultSet calls f for every set of faults that leads to a link with one fault more, those that cost too much left out, until f is false.
func (x *search) eachFaultSet(l link, behind []Fault, limit int, f func(faults []Fault) bool) bool {
	faults := withFault(behind, l.f)
	if l.node.cost+Cost(slices.Concat(l.node.faults, faults))-Cost(l.node.faults) > limit {
		return true
	}
	if len(l.parents) == 0 {
		return f(faults)
	}
	for _, o := range l.parents {
		if !x.eachFaultSet(o, faults, limit, f) {
			return false
		}
	}
	return true
}

// maxFaultSets is how many sets are looked at.
const maxFaultSets = 1024

// maxReadings is how many readings are reported.
const maxReadings = 256

// Explains tells whether a reading leads to what the db holds.
func (m *Member) Explains(r *Reading) bool {
	begin := m.start.Mark()
	defer m.start.Revert(begin)
	x := run{Member: m, s: m.start, faults: r.allFaults(), rules: r.Rules}
	return x.applyFrom(0, nil) > m.end()
}

// Trace calls see for every step of a reading.
func (m *Member) Trace(r *Reading, see func(st *Step)) {
	begin := m.start.Mark()
	defer m.start.Revert(begin)
	x := run{Member: m, s: m.start, faults: r.allFaults(), rules: r.Rules, onStep: see}
	x.applyFrom(0, nil)
}
