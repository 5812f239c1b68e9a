package faults

import (
	"slices"
	"sort"

	"etcd-autopsy/diff/apply"
)

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
