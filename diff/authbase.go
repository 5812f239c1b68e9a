package diff

import (
	"cmp"
	"math"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
)

// authBase is what the auth store of some members was before their log begins, and what each of them made of it.
type authBase struct {
	state *authz.State
	off   int                 // by how much requests were checked at lower auth revisions
	idle  int                 // how many more auth writes were refused than with the base with the fewest
	of    [][]*authz.Timeline // of each member in question
}

// authRun holds the timelines of a member's auth store that explain as much. The store is edited if they do not lead to its tables.
type authRun struct {
	timelines []*authz.Timeline
	edited    bool
}

// maxAuthBases bounds how many are compared, maxAuthTimelines how many timelines of one member, because each takes an alignment.
const (
	maxAuthBases     = 4
	maxAuthTimelines = 16
	maxAuthOff       = 8
)

// What it costs to say that a member left out an auth write or applied it again, that its tables are not what a base leads to,
// that requests were checked at an auth revision that is lower by one than what a base leads to, and that an auth write was refused
// which another base lets pass.
const (
	costAuthOdd    = 20
	costAuthParted = 40
	costAuthOff    = 8
	costAuthIdle   = 3
)

// settleBases follows the auth stores of members whose logs do not begin with the cluster, but have no gap. What was before is what the
// tables behind it demand, by each member's own; it was the same for all that follow one log, unless they had parted
// already. What leaves the least to be explained is taken, which may be that nothing of it is known.
func (c *comparison) settleBases() {
	byHistory, beyond := map[int][]int{}, map[int][]int{}
	for i, a := range c.auths {
		if a.timeline == nil && !c.whole(i) && len(c.views[i].entries) > 0 && c.ms[i].DB.Tables.HasTerm {
			h := c.logs.history[i]
			if c.missing(i) > 0 {
				beyond[h] = append(beyond[h], i)
			} else {
				byHistory[h] = append(byHistory[h], i)
			}
		}
	}
	for h, members := range byHistory {
		if s := c.settleBase(members); s != nil {
			c.settleUpTo(beyond[h], s)
		}
	}
}

// missing is the first entry that member i has applied and no log holds, behind the first one that some do, 0 if there is none.
func (c *comparison) missing(i int) uint64 {
	es, at := c.views[i].entries, c.ms[i].DB.Tables.ConsistentIndex
	for n := range es {
		if next := es[n].Index + 1; next <= at && (n+1 == len(es) || es[n+1].Index != next) {
			return next
		}
	}
	return 0
}

// settleUpTo follows the auth stores of members that have applied entries which no log holds up to these: the tables tell what was
// behind them.
func (c *comparison) settleUpTo(members []int, base *authz.State) {
	for _, i := range members {
		a, gap := c.auths[i], c.missing(i)
		all := c.appliedAuth(i)
		n, _ := slices.BinarySearchFunc(all, gap, func(w authz.Write, x uint64) int { return cmp.Compare(w.Index, x) })
		unknown := c.costWith(i, nil)
		if a.upTo, a.gap = base.Plain(all[:n]), gap; c.costWith(i, nil) > unknown {
			a.upTo, a.gap = nil, 0
		}
	}
}

// settleBase follows the auth stores of some members, and returns what was before, nil if nothing is known of it.
func (c *comparison) settleBase(members []int) (base *authz.State) {
	bases := c.authBases(members)
	if len(bases) == 0 || len(bases) > maxAuthBases || !slices.ContainsFunc(members, c.authMatters) {
		return nil
	}
	// Without any, requests are refused or not for reasons that are not known.
	least, unknown := costAuthOdd*(len(bases)-1), make([]int, len(members))
	if len(bases) == 1 && c.authTellsApart(members) {
		least = costAuthOdd // something befell one of them all the same
	}
	for n, i := range members {
		unknown[n] = c.costWith(i, nil)
		least += unknown[n]
	}
	var best []authRun
	for _, b := range bases {
		// Of two that explain as much, what is known is worth more than what is not.
		if total, kept := c.costOf(b, members, unknown); total < least || total == least && best == nil {
			least, best, base = total, kept, b.state
		}
	}
	for n, f := range best {
		if a := c.auths[members[n]]; len(f.timelines) > 0 {
			a.timeline, a.others, a.edited = f.timelines[0], f.timelines[1:], f.edited
		}
	}
	return base
}

// authBases are the bases that the tables of some members lead to, each by its own.
func (c *comparison) authBases(members []int) (bases []authBase) {
	for _, i := range members {
		s, off := authz.Base(c.appliedAuth(i), c.views[i].checkedUpTo(c.ms[i].DB.Tables.ConsistentIndex), c.ms[i].DB.Tables)
		if s == nil || slices.ContainsFunc(bases, func(b authBase) bool { return b.state.Alike(s) }) {
			continue
		}
		b := authBase{state: s, off: min(off, maxAuthOff)}
		for _, j := range members {
			all := s.Follow(c.appliedAuth(j), c.ms[j].DB.Tables)
			if len(all) == 0 || all[0].Odd > 0 {
				all = append(c.further(j, len(c.appliedAuth(j)), s), all...)
			}
			b.of = append(b.of, all[:min(len(all), maxAuthTimelines)])
		}
		bases = append(bases, b)
	}
	fewest := math.MaxInt
	for n := range bases {
		bases[n].idle = bases[n].state.Refused(c.appliedAuth(members[0]))
		fewest = min(fewest, bases[n].idle)
	}
	for n := range bases {
		bases[n].idle -= fewest
	}
	return bases
}

// costOf is what a base leaves to be explained of some members, and the timelines of each that leave the least. unknown is
// what is left of each if nothing is known.
func (c *comparison) costOf(b authBase, members, unknown []int) (total int, kept []authRun) {
	kept, total = make([]authRun, len(members)), b.off*costAuthOff+b.idle*costAuthIdle
	for n, i := range members {
		cost := costAuthParted + unknown[n]
		for _, t := range b.of[n] {
			own, lost := c.lostWith(i, t)
			if t.Odd > 0 && (t.Again || lost == 0 || t.Odd < lost) {
				own += costAuthOdd
			}
			switch {
			case own < cost:
				cost, kept[n].timelines = own, []*authz.Timeline{t}
			case own == cost && len(kept[n].timelines) > 0 && kept[n].timelines[0].Odd > 0:
				kept[n].timelines = append(kept[n].timelines, t)
			}
		}
		if ts := kept[n].timelines; len(ts) > 0 && ts[0].Again {
			// Had it been applied again, more might have been refused than was: then the tables were changed otherwise.
			t := b.state.Plain(c.appliedAuth(i))
			if own := c.costWith(i, t) + costEdited; own <= cost {
				cost, kept[n] = own, authRun{[]*authz.Timeline{t}, true}
			}
		}
		total += cost
	}
	return total, kept
}

// appliedAuth are the auth writes that member i has applied, as its index says.
func (c *comparison) appliedAuth(i int) []authz.Write {
	all := c.views[i].authWrites
	n, _ := slices.BinarySearchFunc(all, c.ms[i].DB.Tables.ConsistentIndex+1, func(w authz.Write, x uint64) int { return cmp.Compare(w.Index, x) })
	return all[:n]
}

// authMatters tells whether auth is or was on while member i applied what its log holds.
func (c *comparison) authMatters(i int) bool {
	return c.ms[i].DB.Tables.AuthEnabled || slices.ContainsFunc(c.views[i].authWrites, func(w authz.Write) bool {
		return w.Request.Type == "AuthEnable" || w.Request.Type == "AuthDisable"
	})
}

// authTellsApart tells whether some members' auth tables differ, though they have applied the same auth writes.
func (c *comparison) authTellsApart(members []int) bool {
	return slices.ContainsFunc(members, func(i int) bool {
		return len(c.appliedAuth(i)) == len(c.appliedAuth(members[0])) && !authz.Of(c.ms[i].DB.Tables).Equal(c.ms[members[0]].DB.Tables)
	})
}

// costWith is what the alignment of member i by itself costs with a timeline of its auth store.
func (c *comparison) costWith(i int, t *authz.Timeline) int {
	cost, _ := c.lostWith(i, t)
	return cost
}

// lostWith is costWith, and the first entry of those that it takes for lost to the end.
func (c *comparison) lostWith(i int, t *authz.Timeline) (cost int, lost uint64) {
	a := c.auths[i]
	defer func(t *authz.Timeline) { a.timeline = t }(a.timeline)
	a.timeline = t
	m := align.Align(c.inputs[i])
	return m.Cost + c.inputs[i].Echoed(m), m.LostFrom()
}
