package diff

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/verdict"
)

// cause is a divergence before it is written down. Members are indexes into comparison.ms. Its invariants:
//
//   - Groups hold each member once at most, and effects has an element for each group if it has any.
//   - Where index is known, interval is nil or holds it. Each of the candidates explains by itself what the members hold.
//   - Once sortCauses has put causes in order, only causedBy is set, and leases are added.
//   - The goroutine that calls Compare makes and changes causes; what it starts only reads them.
type cause struct {
	layer         Layer
	index         uint64   // entry, 0 if none
	searchBounded bool     // the search was, so that begins may not be all
	candidates    []uint64 // of a fault: in order, all entries that it may begin with
	interval      *Interval
	revision      int64
	groups        [][]int
	outcome       effect.Outcome
	again         bool
	departed      []int // members that did what etcd's rules do not predict
	entries       []uint64
	what          string
	effects       []Effect
	keys          []string
	leases        []int64
	revisions     *RevisionInterval
	fault         *sharedFault // the fault that it is, nil if no fault of a member's own log is known
	beforeLog     bool         // what made the difference lies before the log begins; of a fault, it may lie there as well
	causedBy      *cause       // what this one is a consequence of
}

// sortCauses puts them in the order of the log; of those that begin with one entry, the one first that shows first.
func (c *comparison) sortCauses() {
	slices.SortStableFunc(c.causes, func(a, b *cause) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.shows(), b.shows()), cmp.Compare(a.revision, b.revision))
	})
}

// shows is the first entry that did something else because of a fault, behind all if none did; 0 where no fault is known.
func (k *cause) shows() uint64 {
	if k.fault == nil {
		return 0
	}
	return k.fault.firstEffect - 1 // none comes last
}

// order puts causes in the order of the log.
func (k *cause) order() uint64 {
	switch {
	case k.beforeLog && k.fault == nil:
		return 0
	case k.index > 0:
		return k.index
	case len(k.entries) > 0:
		return k.entries[0]
	case k.interval != nil:
		return k.interval.First
	case k.revision > 0:
		return 0 // rows from before the log
	}
	return math.MaxUint64 // a table, of no known time
}

func sortGroups(gs [][]int) {
	slices.SortStableFunc(gs, func(a, b []int) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0], b[0])) })
}

// logCauses makes a cause of every fork.
func (c *comparison) logCauses() {
	for _, f := range c.logs.forks {
		k := &cause{layer: LayerLog, index: f.index, groups: slices.Clone(f.groups)}
		if f.first < f.index {
			k.interval = &Interval{First: f.first, Last: f.index}
		}
		sortGroups(k.groups)
		for _, p := range c.partings {
			if c.explains(k, &p) && (k.revision == 0 || p.revision < k.revision) {
				k.revision = p.revision
			}
		}
		for _, g := range k.groups {
			e := Effect{Members: c.labels(g), Entry: c.entry(g[0], f.index)}
			for _, s := range c.stepsAt(g[0], f.index) {
				e.Revision, e.Changes = s.Revision, changes(c.ms[g[0]].DB.Rows.Group(s.Revision))
			}
			k.effects = append(k.effects, e)
		}
		k.what = "the logs hold different entries from here on: committed entries were lost or overwritten"
		if f.first < f.index {
			k.what = fmt.Sprintf("the logs hold different entries at %d, where that of some members begins: committed entries were lost or overwritten", f.index)
		}
		c.causes = append(c.causes, k)
	}
}

// separates tells whether there are two members that are in different groups of both partitions.
func separates(a, b [][]int) bool {
	group := func(gs [][]int, i int) int {
		return slices.IndexFunc(gs, func(g []int) bool { return slices.Contains(g, i) })
	}
	all := slices.Concat(a...)
	for _, i := range all {
		for _, j := range all {
			x, y := group(b, i), group(b, j)
			if x >= 0 && y >= 0 && x != y && group(a, i) != group(a, j) {
				return true
			}
		}
	}
	return false
}

// root is the cause that a consequence goes back to.
func (k *cause) root() *cause {
	for k.causedBy != nil {
		k = k.causedBy
	}
	return k
}

// basis is what a cause rests on.
func (k *cause) basis() verdict.Basis {
	if k.layer == LayerLog {
		return verdict.Logs
	}
	return verdict.Holdings
}
