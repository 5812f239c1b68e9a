package faults

import (
	"cmp"
	"slices"
)

// Bounds of what is tried of keys before the log begins.
const (
	maxInitial      = 64  // keys that were not what entries take for granted
	maxInitialTried = 256 // keys that are tried at one contradiction
	maxInitialNodes = 2   // nodes that are followed from one
	clearlyFurther  = 64  // entries further on: then the key is what the contradiction is about
)

// tryInitial tries what keys may have been before the log begins, if that may be behind the contradiction: those that entries up to it ask
// for. It returns the nodes that lead further, the furthest first, and whether they lead far enough for faults not to be tried.
func (e *expansion) tryInitial() (nodes []*node, far bool) {
	began := 0
	for i := range e.n.faults {
		began += intOf(e.n.faults[i].Kind == Initial)
	}
	if e.base == nil || began >= maxInitial {
		return nil, false
	}
	type key struct{ number, place int32 }
	var keys []key
	seen := map[int32]bool{}
	if all := e.wronglyPresent(); len(all) > 0 {
		if n := e.assumeAllAbsent(all); n != nil {
			return []*node{n}, true
		}
	}
	for i := min(e.stop, e.end-1); i >= max(e.firstSuspect, e.stop-maxNear, 0) && len(keys) < maxInitialTried; i-- {
		for _, k := range e.base.askedAt[int32(i)] {
			if !seen[k] && !slices.ContainsFunc(e.n.faults, func(f Fault) bool { return f.Kind == Initial && f.Key == k }) {
				seen[k] = true
				keys = append(keys, key{k, e.base.firstAsked[k]})
			}
		}
	}
	// The state only goes back.
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(b.place, a.place), cmp.Compare(a.number, b.number)) })
	known := map[reached]bool{}
	for _, k := range keys {
		index := e.Log.Entries[k.place].Index
		for _, as := range e.base.otherAssumptions(k.number) {
			e.s.Revert(e.marks[k.place])
			f := Fault{Kind: Initial, First: index, Last: index, Key: k.number, Assumed: as}
			stop := e.run(e.n.rules, withFault(e.n.faults, f)).applyFrom(int(k.place), nil)
			if stop <= e.stop || e.s.Steps > e.budget {
				continue
			}
			at := reached{stop, e.s.Digest(), e.s.Auth.Revision}
			if known[at] {
				continue
			}
			known[at] = true
			l := link{e.n, f}
			if stop > e.end {
				e.solved, far = append(e.solved, l), true
				continue
			}
			nodes = append(nodes, &node{rules: e.n.rules, faults: withFault(e.n.faults, f), cost: l.cost(), stop: stop, auth: e.s.Auth.Revision, parents: []link{l}})
		}
	}
	slices.SortStableFunc(nodes, func(a, b *node) int { return cmp.Compare(b.stop, a.stop) })
	nodes = nodes[:min(len(nodes), maxInitialNodes)]
	return nodes, far || len(nodes) > 0 && nodes[0].stop >= e.stop+clearlyFurther
}

// wronglyPresent are the keys that are held to have been there before the log begins, and are not there at the compact revision, if that is the
// contradiction.
func (e *expansion) wronglyPresent() (keys []int32) {
	if e.stop >= e.end || e.s.Revision != e.Evidence.Compact {
		return nil
	}
	for _, k := range e.Evidence.differingAtCompact(e.s, maxInitial) {
		if e.base.guessed[k] && e.base.records[k].Exists() && e.s.Record(k).Mod < 0 && e.Evidence.lastRow[k] < 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// assumeAllAbsent is the node to which it leads that none of some keys was there, nil if it leads no further.
func (e *expansion) assumeAllAbsent(keys []int32) *node {
	n, faults, first := e.n, e.n.faults, e.stop
	for _, k := range keys {
		place, asked := e.base.firstAsked[k]
		if !asked || slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == Initial && f.Key == k }) {
			return nil
		}
		place = min(place, int32(e.stop)) // nothing asks for it before
		index := e.Log.Entries[place].Index
		f := Fault{Kind: Initial, First: index, Last: index, Key: k}
		l := link{n, f}
		faults, first = withFault(faults, f), min(first, int(place))
		n = &node{rules: e.n.rules, faults: faults, cost: l.cost(), parents: []link{l}}
	}
	e.s.Revert(e.marks[first])
	n.stop = e.run(e.n.rules, faults).applyFrom(first, nil)
	if n.auth = e.s.Auth.Revision; n.stop <= e.stop {
		return nil
	}
	return n
}
