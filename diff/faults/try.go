package faults

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"etcd-autopsy/diff/apply"
)

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
