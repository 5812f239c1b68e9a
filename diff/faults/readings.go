package faults

import (
	"cmp"
	"fmt"
	"slices"

	"etcd-autopsy/diff/apply"
)

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
