package relive

import (
	"cmp"
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/raftlog"
)

// Bounds of the search.
const (
	maxFaults  = 3
	window     = 512 // entries before a contradiction among which changes of permissions, alarms and leases are looked for
	maxFailing = 12  // entries in a row that made a revision, before the search for others like them ends
	maxRun     = 64  // entries of a run
	maxTurned  = 16  // and of one that is far from the contradiction
	maxOpen    = 96  // explanations that are followed further
	maxBefore  = 8   // entries before one that changes a table, with which it may have been left out
	maxLike    = 256 // explanations that lead to the same
	maxSteps   = 1 << 22
)

// open is an explanation that does not lead to the end yet.
type open struct {
	faults []Fault
	at     moment
	stop   uint64    // the entry at which it does not agree with the db
	apart  int       // how much else is not as in the db then
	first  uint64    // the first entry that the last of the faults applied again
	like   [][]Fault // others that lead to the same there
}

// Solutions are the sets of faults that lead to what the db holds, all of them as few as can be. none is true if nothing is odd.
func (l *Life) Solutions() (seen [][]Seen, none bool) {
	l.budget = maxSteps
	todo := []open{{}}
	for depth := 0; depth <= maxFaults && len(todo) > 0; depth++ {
		var next []open
		for n := range todo {
			o := &todo[n]
			// Of all stories those are taken in which what came first explains the most.
			if l.budget < 0 || rank(seen) < unlikely && o.at.revision < todo[n-1].at.revision {
				break
			}
			stop := l.base(o.faults)
			if stop == 0 {
				return nil, true
			}
			if l.now.revision < l.m.Compact || l.now.revision == l.m.Compact && l.m.Compact > 0 && !l.compacted() {
				continue // what befell the member before that shows late, and might be anything
			}
			if depth == maxFaults {
				break
			}
			solved, further := l.further(o, stop)
			if l.budget < 0 {
				return nil, false // there may be more, so that none can be told from others
			}
			seen, next = append(seen, l.see(solved)...), append(next, further...)
		}
		if len(seen) > 0 {
			return l.least(seen), false
		}
		next = gather(next)
		slices.SortStableFunc(next, func(a, b open) int {
			return cmp.Or(cmp.Compare(b.at.revision, a.at.revision), cmp.Compare(b.stop, a.stop), cmp.Compare(a.apart, b.apart), cmp.Compare(a.faults[depth].rank(), b.faults[depth].rank()))
		})
		todo = next[:min(len(next), maxOpen)]
	}
	return nil, false
}

// further adds one fault to an explanation, and returns what leads to the end and what leads on.
func (l *Life) further(o *open, stop uint64) (solved [][]Fault, further []open) {
	n, made, apart := len(o.faults), l.now.revision, l.apart(stop)
	var last []Fault // of those that lead to the end
	for _, f := range l.candidates(stop, o.faults) {
		faults := append(slices.Clip(o.faults), f)
		switch x := l.from(f, faults); {
		case l.budget < 0:
			return solved, nil
		case x == 0:
			solved, last = append(solved, faults), append(last, f)
		case x == stop && l.apart(x) < apart, x > stop && (l.now.revision > made || x == l.end() || f.rank() != several):
			further = append(further, open{faults: faults, at: l.now, stop: x, apart: l.apart(x), first: l.traces[n].first})
		}
	}
	for _, like := range o.like {
		for _, f := range last {
			if faults := append(slices.Clip(like), f); l.Reproduces(faults) {
				solved = append(solved, faults)
			}
		}
	}
	some := slices.Clone(further)
	further = slices.DeleteFunc(further, func(p open) bool {
		return slices.ContainsFunc(some, func(q open) bool {
			return (q.stop > p.stop || q.stop == p.stop && p.at.same(&q.at)) && q.first == p.first && l.within(q.faults[n], p.faults[n])
		})
	})
	for i := range further {
		for _, like := range o.like {
			further[i].like = append(further[i].like, append(slices.Clip(like), further[i].faults[n]))
		}
	}
	return solved, further
}

// apart is how much is not as in the db at a contradiction.
func (l *Life) apart(stop uint64) int {
	if stop < l.end() {
		return 0
	}
	n := int(l.m.Revision - l.now.revision)
	for _, t := range []Tables{Auth, Leases, Alarms} {
		if l.tables()&^l.now.skewed&t != 0 {
			n += len(l.skewed(t))
		}
	}
	return n
}

// gather makes one of all explanations that lead to the same.
func gather(all []open) (some []open) {
	for _, o := range all {
		n := slices.IndexFunc(some, func(p open) bool { return p.stop == o.stop && p.at.same(&o.at) })
		if n < 0 {
			some = append(some, o)
		} else if p := &some[n]; len(p.like) < maxLike {
			p.like = append(append(p.like, o.faults), o.like...)
		}
	}
	return some
}

// same tells whether two moments at which the db was agreed with up to there are the same.
func (m *moment) same(o *moment) bool {
	return m.revision == o.revision && m.compact == o.compact && (m.auth == o.auth || m.auth.Revision == o.auth.Revision && m.auth.Alike(o.auth)) &&
		maps.Equal(m.leases, o.leases) && maps.Equal(m.alarms, o.alarms)
}

// base runs with some faults, and notes every moment.
func (l *Life) base(faults []Fault) uint64 {
	l.back(&l.begin)
	l.moments = l.moments[:0]
	return l.run(l.first, faults, func(uint64) { l.moments = append(l.moments, l.now) })
}

// from runs with one fault more than those of the base, from where it makes a difference. Calls must come in descending order of
// that.
func (l *Life) from(f Fault, faults []Fault) uint64 {
	x := min(f.from(), l.first+uint64(len(l.moments))-1)
	l.back(&l.moments[x-l.first])
	return l.run(x, faults, nil)
}

// candidates are the faults that may be behind a contradiction at an entry, the last ones first.
func (l *Life) candidates(stop uint64, faults []Fault) (all []Fault) {
	known := map[Fault]bool{}
	for _, f := range faults {
		known[f] = true
	}
	add := func(f Fault) {
		if !known[f] && f.First >= l.first && f.Last < l.end() {
			known[f] = true
			all = append(all, f)
		}
	}
	if stop == l.end() {
		apart := l.tables()
		for _, t := range []Tables{Auth, Leases, Alarms} {
			if apart&t != 0 {
				add(Fault{Kind: Skewed, Tables: t, First: l.first})
			}
		}
	} else {
		add(Fault{Kind: Made, First: stop, Last: stop})
		add(Fault{Kind: Edited, First: stop, Last: stop})
	}
	for x := stop - 1; x >= l.first && stop-x <= maxRun; x-- {
		add(Fault{Kind: Extra, First: x, Last: x})
		if l.made(x) {
			break
		}
	}
	low := l.first
	if stop > window {
		low = max(low, stop-window)
	}
	// Where all rows are as they should be, what changes the tables that are not tells.
	apart := Tables(0)
	if stop == l.end() && l.now.revision == l.m.Revision {
		apart = l.tables() &^ l.now.skewed
	}
	made := 0 // revisions made between an entry and the contradiction
	for x := stop; x >= low; x-- {
		if x == l.end() {
			continue
		}
		r := l.request(x)
		in := r.Internal
		turning := turns(in)
		near := made < maxFailing && apart == 0
		if apart != 0 {
			turning = turning && of(in)&apart != 0
		}
		if in == nil || !near && !turning {
			if l.made(x) {
				made++
			}
			continue
		}
		changes := align.ChangesKeys(r)
		if changes || turning || in.Compaction != nil {
			add(Fault{Kind: Left, First: x, Last: x})
			if r.User != "" {
				add(Fault{Kind: Banned, First: x, Last: x, User: r.User})
			}
			run := uint64(maxRun)
			if !near {
				run = maxTurned
			}
			for y := x + 1; y < x+run && y < l.end(); y++ {
				if q := l.request(y); align.ChangesKeys(q) || turns(q.Internal) || q.Internal.GetCompaction() != nil || y+1 == l.end() {
					add(Fault{Kind: Left, First: x, Last: y})
				}
			}
			if apart != 0 {
				l.before(x, add)
			}
			for y := x; y < x+maxRun && y < stop && y < l.end(); y++ {
				add(Fault{Kind: Again, First: x, Last: y})
			}
		}
		if near && in.Txn != nil {
			add(Fault{Kind: Branch, First: x, Last: x})
		}
		if near && changes {
			add(Fault{Kind: Passed, First: x, Last: x})
		}
		if l.made(x) {
			made++
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Compare(b.from(), a.from()) })
	return all
}

// before adds the runs of entries that begin before one which changes a table, and that it is one of.
func (l *Life) before(index uint64, add func(f Fault)) {
	for x := index - 1; x >= l.first && index-x <= maxBefore; x-- {
		if !align.ChangesKeys(l.request(x)) {
			continue
		}
		for y := index; y < index+maxTurned && y < l.end(); y++ {
			add(Fault{Kind: Left, First: x, Last: y})
		}
	}
}

// of is the table that a request changes.
func of(in *pb.InternalRaftRequest) Tables {
	switch {
	case in.Alarm != nil:
		return Alarms
	case in.LeaseGrant != nil, in.LeaseRevoke != nil:
		return Leases
	}
	return Auth
}

// made tells whether an entry made a revision in the base.
func (l *Life) made(index uint64) bool {
	n := index - l.first
	return n+1 < uint64(len(l.moments)) && l.moments[n+1].revision > l.moments[n].revision
}

// within tells whether a fault is less than another one of its kind: fewer entries were left out, or applied again.
func (l *Life) within(f, g Fault) bool {
	switch {
	case f == g:
		return false
	case g.Kind == Branch && f.Kind == Left:
		return f.First == f.Last && f.First == g.First // the other branch changes nothing
	case g.Kind == Left && f.Kind == Left, g.Kind == Again && f.Kind == Again:
		return g.First <= f.First && f.Last <= g.Last
	case g.Kind == Banned && f.Kind == Left:
		return f.First == f.Last && g.First <= f.First && l.request(f.First).User == g.User
	case g.Kind == Banned && f.Kind == Banned:
		return g.First < f.First && f.User == g.User
	}
	return false
}

// least leaves out what is more than it need be, or less likely.
func (l *Life) least(seen [][]Seen) [][]Seen {
	some := slices.Clone(seen)
	seen = slices.DeleteFunc(seen, func(p []Seen) bool {
		return slices.ContainsFunc(some, func(q []Seen) bool { return l.simpler(q, p) })
	})
	if len(seen) == 0 {
		return nil
	}
	l.bans = slices.ContainsFunc(seen, func(p []Seen) bool {
		return slices.ContainsFunc(p, func(f Seen) bool { return f.Kind == Banned && f.Lost >= minBanned })
	})
	ranks := l.ranks
	best := ranks(slices.MinFunc(seen, func(p, q []Seen) int { return slices.Compare(ranks(p), ranks(q)) }))
	seen = slices.DeleteFunc(seen, func(p []Seen) bool {
		for n, r := range ranks(p) {
			if r > best[n] && (r <= banned || r >= unlikely) {
				return true
			}
		}
		return false
	})
	if l.first > 1 && slices.ContainsFunc(seen, func(p []Seen) bool { return slices.ContainsFunc(p, l.mayBeEarlier) }) {
		return nil
	}
	// Which of several rows was changed otherwise than by an entry nothing tells if what else happened explains the others.
	var rows []string
	for _, p := range seen {
		for _, f := range p {
			if f.Kind == Skewed && !slices.Contains(rows, f.Row) {
				rows = append(rows, f.Row)
			}
		}
	}
	if len(rows) > 1 {
		return nil
	}
	// Permissions hold for all requests: that one alone was let pass is the last thing to think of.
	passed := func(p []Seen) bool { return slices.ContainsFunc(p, func(f Seen) bool { return f.Kind == Passed }) }
	other := func(p []Seen) bool {
		return !passed(p) && !slices.ContainsFunc(p, func(f Seen) bool { return f.Kind == Branch })
	}
	if slices.ContainsFunc(seen, other) {
		seen = slices.DeleteFunc(seen, passed)
	}
	return seen
}

// mayBeEarlier tells whether an entry before the first one may be meant as well: what none of the entries made a revision or a change
// before, or what changes who may write.
func (l *Life) mayBeEarlier(f Seen) bool {
	if f.Kind == Skewed || f.Kind == Extra {
		return false
	}
	l.base(nil)
	n := f.Index - l.first
	if n < uint64(len(l.moments)) && l.moments[n].revision == l.begin.revision {
		return true
	}
	r := l.request(f.Index)
	switch f.Kind {
	case Left, Again:
		return turns(r.Internal)
	case Banned:
		return !slices.ContainsFunc(l.requests[:n], func(q *raftlog.Request) bool { return q.User == f.User && align.ChangesKeys(q) })
	}
	return false
}

// ranks are those of all faults of a solution, the highest first.
func (l *Life) ranks(s []Seen) (all []int) {
	for i := range s {
		r := s[i].rank()
		if s[i].Kind == Banned && l.bans {
			r = several
		}
		all = append(all, r)
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

// simpler tells whether two solutions are the same but for one fault, which is less in the first. One entry more that was left out
// before the others may be made up for by one behind them.
func (l *Life) simpler(q, p []Seen) bool {
	for n := range p {
		if !l.within(q[n].Fault, p[n].Fault) || !others(p, q, n) {
			continue
		}
		if p[n].Index == q[n].Index || p[n].Kind == Left && (q[n].First == q[n].Last || p[n].Lost > q[n].Lost+1) || p[n].Kind == Banned && q[n].Kind == Left {
			return true
		}
	}
	return false
}

// others tells whether all faults of two solutions but one are the same.
func others(p, q []Seen, but int) bool {
	for n := range p {
		if n != but && p[n].Fault != q[n].Fault {
			return false
		}
	}
	return true
}

// Ranks of faults: a lower one is the simpler explanation.
const (
	single = iota
	several
	banned
	otherwise
	unlikely
	unmade
)

// minBanned is how many requests of a user must have had no effect for that to be as simple as that some in a row had none.
const minBanned = 2

func (f *Seen) rank() int {
	switch {
	case f.Kind == Banned && f.Lost >= minBanned:
		return several
	case f.Bit:
		return otherwise
	case (f.Kind == Made || f.Kind == Edited) && !f.Like:
		return unmade
	}
	return f.Fault.rank()
}

func (f *Fault) rank() int {
	switch f.Kind {
	case Left:
		if f.First == f.Last {
			return single
		}
		return several
	case Banned:
		return banned
	case Made, Edited:
		return unlikely
	case Extra, Skewed:
		return unmade
	}
	return otherwise
}

// rank is that of the worst fault of the best of several solutions.
func rank(all [][]Seen) int {
	best := math.MaxInt
	for _, s := range all {
		worst := single
		for i := range s {
			worst = max(worst, s[i].rank())
		}
		best = min(best, worst)
	}
	return best
}
