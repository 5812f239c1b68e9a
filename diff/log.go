package diff

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// committed is the highest index that the member knows to be committed, or has applied, which comes to the same.
func committed(m *inspect.Member) uint64 {
	c := m.Log.HardState.Commit
	for _, s := range m.Log.Snapshots {
		c = max(c, s.Index)
	}
	if m.Evidence().Whole() { // the index of a damaged db may be anything
		c = max(c, m.DB.Tables.ConsistentIndex)
	}
	return c
}

// fork is the first index at which members hold different committed entries.
type fork struct {
	index  uint64
	groups [][]int // members by what they hold there, in order; members without the entry are left out
	// first is index, or the entry behind the last one that both sides are known to share: where the log of one begins with
	// another entry than the other's, they may have parted anywhere before.
	first uint64
	// sides are groups, with members whose logs end before the index but where members may have parted already.
	sides [][]int
}

// logs relates the logs of several members.
type logs struct {
	compared int
	forks    []fork // the first one of each pair of histories
	// history numbers the members by the log they follow: those of one number agree wherever they can be compared.
	history []int
	// limits is the index up to which each member's entries are committed.
	limits []uint64
}

// onDifferentSides tells whether two members are on different sides of a fork.
func (l *logs) onDifferentSides(i, j int) bool {
	return slices.ContainsFunc(l.forks, func(f fork) bool { return separates(f.sides, [][]int{{i}, {j}}) })
}

// compareLogs finds forks. Entries above a member's commit are no promise and are not compared.
func compareLogs(ms []*inspect.Member) *logs {
	l := &logs{history: make([]int, len(ms)), limits: limits(ms)}
	limits := l.limits
	at := make([]int, len(ms))
	next := 1
	for {
		// The lowest index that any member has left.
		low, found := uint64(0), false
		for i, m := range ms {
			if at[i] < len(m.Log.Entries) {
				if x := m.Log.Entries[at[i]].Index; x <= limits[i] && (!found || x < low) {
					low, found = x, true
				}
			}
		}
		if !found {
			return l
		}
		var have []int
		for i, m := range ms {
			if at[i] < len(m.Log.Entries) && m.Log.Entries[at[i]].Index == low && low <= limits[i] {
				have = append(have, i)
			}
		}
		if len(have) > 1 {
			l.compared++
			next = l.split(ms, have, at, low, next)
		}
		for _, i := range have {
			at[i]++
		}
	}
}

// limits tells up to which index each member's entries are committed: as far as it knows itself, and further where its
// log has an entry that another one knows to be committed. Logs that share an entry share all before it (raft's log
// matching), so that its own entries up to there are committed, too.
func limits(ms []*inspect.Member) []uint64 {
	own := make([]uint64, len(ms))
	for i, m := range ms {
		own[i] = committed(m)
	}
	out := slices.Clone(own)
	for i, m := range ms {
		for j, o := range ms {
			if i == j || own[j] <= own[i] {
				continue
			}
			for k := len(m.Log.Entries) - 1; k >= 0 && m.Log.Entries[k].Index > out[i]; k-- {
				e := &m.Log.Entries[k]
				if e.Index > own[j] {
					continue
				}
				if x := o.Log.Entry(e.Index); x != nil && sameEntry(e, x) {
					out[i] = e.Index
					break
				}
			}
		}
	}
	return out
}

// split records a fork where members that agreed so far hold different entries.
func (l *logs) split(ms []*inspect.Member, have, at []int, index uint64, next int) int {
	byHistory := map[int][][]int{}
	var order []int
	for _, i := range have {
		h := l.history[i]
		if byHistory[h] == nil {
			order = append(order, h)
		}
		groups := byHistory[h]
		k := slices.IndexFunc(groups, func(g []int) bool {
			return sameEntry(&ms[g[0]].Log.Entries[at[g[0]]], &ms[i].Log.Entries[at[i]])
		})
		if k < 0 {
			byHistory[h] = append(groups, []int{i})
		} else {
			groups[k] = append(groups[k], i)
		}
	}
	for _, h := range order {
		groups := byHistory[h]
		if len(groups) < 2 {
			continue
		}
		f := fork{index: index, groups: l.addLaterLogs(ms, h, index, groups)}
		f.first = l.firstParted(ms, index, f.groups)
		f.sides = l.addEarlierLogs(ms, h, &f)
		l.forks = append(l.forks, f)
		for _, g := range f.sides[1:] {
			for _, i := range g {
				l.history[i] = next
			}
			next++
		}
	}
	return next
}

// firstParted is the lowest index at which the sides of a fork may have parted.
func (l *logs) firstParted(ms []*inspect.Member, index uint64, groups [][]int) uint64 {
	first := index
	for n, g := range groups {
		for _, h := range groups[n+1:] {
			shared := uint64(0)
			for _, i := range g {
				for _, j := range h {
					shared = max(shared, l.lastShared(ms, i, j, index))
					// Or by way of another one that ends before.
					for k := range ms {
						if k != i && k != j {
							shared = max(shared, min(l.lastShared(ms, i, k, index), l.lastShared(ms, k, j, index)))
						}
					}
				}
			}
			first = min(first, shared+1)
		}
	}
	return first
}

// lastShared is the last index before another one up to which the logs of two members are known to be the same: that of an
// entry which both hold. Behind an entry that was tampered with they go on alike, which tells as much.
func (l *logs) lastShared(ms []*inspect.Member, i, j int, before uint64) uint64 {
	for _, e := range slices.Backward(ms[i].Log.Entries) {
		x := ms[j].Log.Entry(e.Index)
		switch {
		case x == nil || e.Index > min(l.limits[i], l.limits[j]) || e.Index == before:
		case e.Index < before:
			return e.Index
		case sameEntry(&e, x):
			return before - 1
		}
	}
	return 0
}

// addLaterLogs adds members whose log begins behind a fork to the side whose later entries they share, be it with one that was added
// before.
func (l *logs) addLaterLogs(ms []*inspect.Member, history int, index uint64, groups [][]int) [][]int {
	out := make([][]int, len(groups))
	for k, g := range groups {
		out[k] = slices.Clone(g)
	}
	for {
		late := map[int]int{}
		for i, m := range ms {
			if l.history[i] != history || m.Log.First() <= index || slices.ContainsFunc(out, func(g []int) bool { return slices.Contains(g, i) }) {
				continue
			}
			var sides []int
			for k, g := range out {
				if slices.ContainsFunc(g, func(j int) bool { return l.sharesFirstCommon(m, ms[j], min(l.limits[i], l.limits[j])) }) {
					sides = append(sides, k)
				}
			}
			switch len(sides) {
			case 0:
			case 1:
				late[i] = sides[0]
			default:
				late[i] = leastContradicted(ms, i, groups, sides)
			}
		}
		if len(late) == 0 {
			break
		}
		for i, k := range late {
			out[k] = append(out[k], i)
		}
	}
	for _, g := range out {
		slices.Sort(g)
	}
	return out
}

// addEarlierLogs adds members whose log ends before a fork to the side whose entries they share, or whose rows theirs alone do not
// contradict, if the sides may have parted before that entry.
func (l *logs) addEarlierLogs(ms []*inspect.Member, history int, f *fork) [][]int {
	out := make([][]int, len(f.groups))
	for k, g := range f.groups {
		out[k] = slices.Clone(g)
	}
	for i := range ms {
		if l.history[i] != history || slices.ContainsFunc(f.groups, func(g []int) bool { return slices.Contains(g, i) }) {
			continue
		}
		k := slices.IndexFunc(f.groups, func(g []int) bool {
			return slices.ContainsFunc(g, func(j int) bool { return l.lastShared(ms, i, j, f.index) >= f.first })
		})
		if k < 0 {
			k = l.onlySide(ms, i, f)
		}
		if k >= 0 {
			out[k] = append(out[k], i)
			slices.Sort(out[k])
		}
	}
	return out
}

// onlySide is the side of a fork whose rows member i holds, too, while it contradicts all others, for a log that ends where
// the sides may have parted but shares no entry with any: -1 if there is none.
func (l *logs) onlySide(ms []*inspect.Member, i int, f *fork) int {
	es := ms[i].Log.Entries
	if len(es) == 0 || es[len(es)-1].Index < f.first || es[len(es)-1].Index >= f.index {
		return -1
	}
	side := -1
	for k, g := range f.groups {
		switch {
		case slices.ContainsFunc(g, func(j int) bool { return ms[j].DB == nil || len(contradictions(ms[i], ms[j])) > 0 }):
		case side >= 0:
			return -1
		default:
			side = k
		}
	}
	return side
}

// leastContradicted is the side of a fork whose rows contradict a member's own least, for logs that are the same again behind one
// entry that was tampered with: the log of a member that begins later does not say what it held there.
func leastContradicted(ms []*inspect.Member, i int, groups [][]int, sides []int) int {
	return slices.MinFunc(sides, func(k, o int) int {
		x, y := contradictions(ms[i], ms[groups[k][0]]), contradictions(ms[i], ms[groups[o][0]])
		if len(x) == 0 || len(y) == 0 {
			return cmp.Compare(len(x), len(y))
		}
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(y[0], x[0]))
	})
}

// contradictions are the main revisions of which two members hold different rows. One that only one of them holds may
// have been compacted away on the other, and so may some rows of one that both hold.
func contradictions(a, b *inspect.Member) []int64 {
	if a.DB == nil || b.DB == nil {
		return nil
	}
	mains := differingBelow(min(a.DB.Revision(), b.DB.Revision())+1, a.DB.Rows, b.DB.Rows)
	compact := max(a.DB.CompactRevision(), b.DB.CompactRevision())
	return slices.DeleteFunc(mains, func(main int64) bool {
		return !a.DB.Rows.HasGroup(main) || !b.DB.Rows.HasGroup(main) || main <= compact && commonRowsAgree(a.DB.Rows.Group(main), b.DB.Rows.Group(main))
	})
}

// commonRowsAgree tells whether the rows of a main revision that two members both hold are the same.
func commonRowsAgree(a, b []mvcc.Row) bool {
	return !slices.ContainsFunc(a, func(r mvcc.Row) bool {
		return slices.ContainsFunc(b, func(o mvcc.Row) bool { return r.Rev == o.Rev && !sameRow(&r, &o) })
	})
}

// sharesFirstCommon tells whether two logs hold the same entry somewhere up to a limit: then they agree on all before it.
func (l *logs) sharesFirstCommon(a, b *inspect.Member, limit uint64) bool {
	for k := range a.Log.Entries {
		e := &a.Log.Entries[k]
		if e.Index > limit {
			return false
		}
		if x := b.Log.Entry(e.Index); x != nil {
			return sameEntry(e, x) // the first that both have decides
		}
	}
	return false
}

func sameEntry(a, b *raftlog.Entry) bool {
	return a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

// firstDiffering is the first index at which members i and j may hold different entries, the highest index there is if none.
func (l *logs) firstDiffering(i, j int) uint64 {
	for _, f := range l.forks {
		gi := slices.IndexFunc(f.sides, func(g []int) bool { return slices.Contains(g, i) })
		gj := slices.IndexFunc(f.sides, func(g []int) bool { return slices.Contains(g, j) })
		if gi >= 0 && gj >= 0 && gi != gj {
			return f.first
		}
	}
	return math.MaxUint64
}

// view is the log as member i applied it: its own entries, and where those were purged, are damaged or never arrived,
// those of members with the same history. Entries that nobody knows to be committed are left out.
func (l *logs) view(ms []*inspect.Member, i int) []effect.Entry {
	var all []effect.Entry
	for _, j := range append([]int{i}, others(len(ms), i)...) {
		upTo := l.limits[j]
		if j != i {
			upTo = min(upTo, l.firstDiffering(i, j)-1)
		}
		have := len(all)
		es := ms[j].Log.Entries
		for k := range es {
			if e := &es[k]; e.Index <= upTo && !contains(all[:have], e.Index) {
				all = append(all, effect.Entry{Index: e.Index, Term: e.Term, Raw: e})
			}
		}
		if len(all) > have && have > 0 {
			slices.SortFunc(all, func(a, b effect.Entry) int { return cmp.Compare(a.Index, b.Index) })
		}
	}
	return all
}

// pending are the entries behind those of member i's view that nothing says to be committed, as far as all members that followed the same log hold
// the same and they can be run.
func (l *logs) pending(ms []*inspect.Member, i int, last uint64) (tail []effect.Entry) {
	for index := last + 1; ; index++ {
		var e *raftlog.Entry
		for j, m := range ms {
			x := m.Log.Entry(index)
			switch {
			case x == nil || l.history[j] != l.history[i]:
			case e == nil:
				e = x
			case !sameEntry(e, x):
				return tail
			}
		}
		if e == nil {
			return tail
		}
		x := effect.Entry{Index: e.Index, Term: e.Term, Raw: e}
		if x.Request().Unrunnable() {
			return tail
		}
		tail = append(tail, x)
	}
}

func others(n, i int) []int {
	var js []int
	for j := range n {
		if j != i {
			js = append(js, j)
		}
	}
	return js
}

// contains tells whether ascending entries hold an index.
func contains(es []effect.Entry, index uint64) bool {
	_, found := slices.BinarySearchFunc(es, index, func(e effect.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	return found
}
