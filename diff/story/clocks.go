package story

import (
	"maps"
	"slices"
	"time"

	"etcd-autopsy/diff"
)

// bounds are what is certain of how much the clock of one member is ahead of that of another.
type bounds struct {
	least, most       time.Duration
	hasLeast, hasMost bool
}

// worthTelling is how far apart clocks have to be for it to matter: etcd warns from a second on (etcdserver/api/rafthttp/probing_status.go).
const worthTelling = time.Second

// apart bounds how much the clock of b is ahead of a's.
//
// A leader notes that it was elected before its first message leaves (run in raft/node.go), and a follower who leads once that has come: by as much
// as the follower's line is later, its clock is ahead at most. And of what is in the log before the first entry of a term the new leader held all
// when it was elected, so that a process which proposed some of it had started by then: by as much as its start, which the ids of its requests tell,
// is later than the election by the leader's log, its clock is ahead at least. Both hold if no clock was set meanwhile.
func (s *teller) apart(a, b string) (x bounds) {
	least := func(d time.Duration) {
		if !x.hasLeast || d > x.least {
			x.least, x.hasLeast = d, true
		}
	}
	most := func(d time.Duration) {
		if !x.hasMost || d < x.most {
			x.most, x.hasMost = d, true
		}
	}
	for term, by := range s.terms {
		ta, oka := by[a]
		tb, okb := by[b]
		switch {
		case !oka || !okb:
		case s.leaders[term] == a:
			most(tb.Sub(ta))
		case s.leaders[term] == b:
			least(tb.Sub(ta))
		}
	}
	for i := range s.log {
		begin := &s.log[i]
		if begin.term == 0 || begin.Entry == 0 {
			continue
		}
		leader := s.leaders[begin.term]
		elected, ok := s.terms[begin.term][leader]
		if !ok || leader != a && leader != b {
			continue
		}
		for k := range s.log {
			e := &s.log[k]
			if e.Kind != string(diff.EventStart) || e.Time == nil || len(e.Members) != 1 || e.Entry == 0 || e.Entry >= begin.Entry {
				continue
			}
			switch {
			case leader == a && e.Members[0] == b:
				least(e.Time.Sub(elected))
			case leader == b && e.Members[0] == a:
				most(elected.Sub(*e.Time))
			}
		}
	}
	return x
}

// bounded tells of pairs of members whose clocks are certainly apart, but for members of which it is told by then, and returns them.
func (s *teller) bounded(told map[string]bool) map[[2]string]bool {
	pairs := map[[2]string]bool{}
	labels := slices.Sorted(maps.Keys(s.clocked()))
	for i, a := range labels {
		for _, b := range labels[i+1:] {
			if told[a] || told[b] {
				continue
			}
			first, second, x := a, b, s.apart(a, b)
			if x.hasLeast && x.hasMost && x.least > x.most {
				if x.least-x.most >= worthTelling {
					pairs[[2]string{a, b}] = true
					s.note("a clock of %s or %s was set meanwhile: what they tell of elections and starts fits no one distance between their clocks", a, b)
				}
				continue
			}
			if x.hasMost && x.most <= -worthTelling { // b is behind
				first, second, x = b, a, bounds{least: -x.most, hasLeast: true, most: -x.least, hasMost: x.hasLeast}
			}
			if !x.hasLeast || x.least < worthTelling {
				continue
			}
			pairs[[2]string{a, b}] = true
			how := "by " + x.least.Round(time.Millisecond).String() + " at least"
			if x.hasMost {
				how += ", and " + x.most.Round(time.Millisecond).String() + " at most"
			}
			s.note("the clock of %s is ahead of that of %s, %s: elections and starts come in this order by the raft log, and in the other by their clocks; which is right is not known", second, first, how)
		}
	}
	return pairs
}

// clocked are the members of whose clock something is known.
func (s *teller) clocked() map[string]bool {
	all := map[string]bool{}
	for _, by := range s.terms {
		for m := range by {
			all[m] = true
		}
	}
	for i := range s.log {
		if e := &s.log[i]; e.Kind == string(diff.EventStart) && e.Time != nil && len(e.Members) == 1 {
			all[e.Members[0]] = true
		}
	}
	maps.DeleteFunc(all, func(m string, _ bool) bool { return s.unzoned[m] })
	return all
}
