package faults

import (
	"cmp"
	"fmt"
	"math"
	"slices"

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
	Facts

	// Set before the first search, and not changed by it.
	first       uint64       // entry
	committed   uint64       // the last entry that is known to be committed
	start       *apply.State // before the first entry
	base        *Base        // where the log does not begin with the cluster
	baseCertain bool         // what that was is known
	rules       []apply.Rules

	writerIndex // empty before indexWriters
}

// Facts are what is known of a member besides its log and its db, and of when it started and where it goes on then.
type Facts struct {
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
