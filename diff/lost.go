package diff

import (
	"cmp"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// loss is a run of entries of which none had an effect, or none of those of one user.
type loss struct {
	first, last uint64
	user        string // empty for any
}

// lost tells whether an entry is one of a loss.
func (h *history) lost(index uint64, l loss) bool {
	if index < l.first || index > l.last || l.user == "" {
		return l.first <= index && index <= l.last
	}
	e := find(h.entries, index)
	return e != nil && e.Request().User == l.user
}

// turned tells whether an entry of a loss changes permissions or an alarm.
func (h *history) turned(l loss) bool {
	n, _ := slices.BinarySearchFunc(h.authWrites, l.first, func(w authz.Write, x uint64) int { return cmp.Compare(w.Index, x) })
	m, _ := slices.BinarySearch(h.alarms, l.first)
	return n < len(h.authWrites) && h.authWrites[n].Index <= l.last || m < len(h.alarms) && h.alarms[m] <= l.last
}

// lossReader finds runs of entries without effect that lead to what a member holds, whichever of several that write the
// same were among them.
type lossReader struct {
	c     *comparison
	i     int
	log   *tableLog
	index uint64 // the entry without effect
	// refused is how many entries from that one on had none that should have had one.
	refused int
	steps   []*align.Step // first applications, in order, up to the consistent index
	end     int64         // revision behind them
	would   map[spot]demand
	met     *missing        // of the last loss that is judged by itself
	turns   []uint64        // entries that change a table
	made    map[uint64]bool // entries that made a revision on other members: permissions and alarms did not refuse them
}

// demand is what an entry should do, and how that is judged.
type demand struct {
	want   []align.Change
	judged align.Judgement
	same   bool // as the next revision holds
}

// losses finds the runs of entries without effect by which member i holds its rows and its tables, if that of a cause may be
// one of them. There are none unless the tables show that something is missing, or that more would be if several entries without
// effect were the first of all that are, and unless all entries to the last one may be.
func (c *comparison) losses(i int, index uint64) []loss {
	for _, refusals := range []bool{true, false} {
		if r := c.newLossReader(i, index, refusals); r != nil {
			if all := r.losses(); len(all) > 0 {
				return all
			}
		}
	}
	return nil
}

// newLossReader takes the steps around an entry without effect up to the last one, with or without earlier ones of the kind. It
// is nil if they are too many, or not plain.
func (c *comparison) newLossReader(i int, index uint64, refusals bool) *lossReader {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if at < 0 && s.Index == index {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	plain := func(s *align.Step, refusals bool) bool {
		switch {
		case s.Index == 0 || s.Again:
			return false
		case s.Outcome == align.Permitted:
			return true // what refuses it may have been lost
		}
		return !s.Anomalous() || s.Outcome == align.Refused && (refusals || s.Doubtful)
	}
	if at < 0 || len(steps)-at > maxReplayed || slices.ContainsFunc(steps[at:], func(s *align.Step) bool { return !plain(s, true) }) {
		return nil
	}
	low := at
	for low > 0 && at-low < maxBegun && plain(steps[low-1], refusals) {
		low--
	}
	r := &lossReader{c: c, i: i, index: index, steps: steps[low:], end: c.last[i], would: map[spot]demand{}, made: map[uint64]bool{}}
	for _, s := range steps[at:] {
		if s.Outcome == align.Refused {
			r.refused++
		}
	}
	for j, t := range c.traces {
		t.steps(func(s *align.Step) {
			if j != i {
				r.made[s.Index] = r.made[s.Index] || s.Revision > 0
			}
		})
	}
	r.log = c.tableLog(i, r.steps[0].Index)
	r.turns = r.log.entries()
	return r
}

func (r *lossReader) losses() (all []loss) {
	if r.log.without(loss{}) && (r.refused < 2 || r.log.without(loss{first: r.index, last: r.steps[len(r.steps)-1].Index})) {
		return nil
	}
	tail := false
	at := r.start()
	for v := range r.steps {
		// Of several that lead to the same the shortest: what is before it left no trace.
		for u := min(v, len(at)-1); u >= 0; u-- {
			l := loss{first: r.steps[u].Index, last: r.steps[v].Index}
			if r.traced(u, at[u]) && r.follows(v+1, at[u], l) && (r.log.without(l) || r.log.without(loss{first: r.untraced(u, at), last: l.last})) {
				all, tail = append(all, l), tail || v == len(r.steps)-1
				break
			}
		}
	}
	if !tail {
		return nil
	}
	return all
}

// undone are the entries before another one that change a table, and from which on all may have had no effect. None in between made a
// revision.
func (r *lossReader) undone(index uint64) (all []uint64) {
	n, ok := slices.BinarySearchFunc(r.steps, index, func(s *align.Step, x uint64) int { return cmp.Compare(s.Index, x) })
	at := r.start()
	if !ok || n >= len(at) || at[n] != r.end {
		return nil
	}
	last := r.steps[len(r.steps)-1].Index
	for u := n - 1; u >= 0 && at[u] == r.end; u-- {
		if r.changes(u, at[u]) && r.log.without(loss{first: r.steps[u].Index, last: last}) {
			all = append(all, r.steps[u].Index)
		}
	}
	slices.Reverse(all)
	return all
}

// start is the revision before each step, as far as the steps before it may all have done what they should.
func (r *lossReader) start() (at []int64) {
	rev := r.c.traces[r.i].startRevision()
	r.c.traces[r.i].steps(func(s *align.Step) {
		if s.Index < r.steps[0].Index {
			rev = max(rev, s.Revision)
		}
	})
	for n := range r.steps {
		at = append(at, rev)
		var ok bool
		if rev, ok = r.apply(n, rev, loss{}); !ok {
			break
		}
	}
	return at
}

// traced tells whether a step would have left something.
func (r *lossReader) traced(n int, at int64) bool {
	d := r.demand(n, at)
	_, turns := slices.BinarySearch(r.turns, r.steps[n].Index)
	return turns || len(d.want) > 0 && d.judged != align.Denied
}

// untraced is the first entry behind the last one before a step that would have left something: a compaction among those in
// between may be lost with the step.
func (r *lossReader) untraced(n int, at []int64) uint64 {
	for n > 0 && !r.traced(n-1, at[n-1]) {
		n--
	}
	return r.steps[n].Index
}

// follows tells whether the steps from one on, at a revision, did what they should if some before had no effect.
func (r *lossReader) follows(n int, at int64, lost loss) bool {
	for ; n < len(r.steps); n++ {
		if r.log.h.lost(r.steps[n].Index, lost) {
			continue
		}
		var ok bool
		if at, ok = r.apply(n, at, lost); !ok {
			return false
		}
	}
	return at == r.end
}

// apply is the revision behind a step, not ok if it did not do what it should. Where it is not known whether it is refused,
// it may have been.
func (r *lossReader) apply(n int, at int64, lost loss) (int64, bool) {
	d := r.demand(n, at)
	if len(d.want) > 0 && (lost.user != "" || r.log.h.turned(lost)) {
		d.judged = r.missing(lost).judged(r, n, at, d.want)
	}
	switch {
	case len(d.want) == 0 || d.judged == align.Denied || r.lacks(d.want, r.steps[n].Index, lost):
		return at, true
	case d.same:
		return at + 1, true
	}
	return at, d.judged == align.Doubtful && !r.made[r.steps[n].Index]
}

func (r *lossReader) demand(n int, at int64) demand {
	d, known := r.would[spot{n, at}]
	if !known {
		in := &r.c.inputs[r.i]
		d.want, d.judged = in.Demands(r.steps[n].Index, at)
		d.same = align.Same(d.want, in.Table.Group(at+1))
		r.would[spot{n, at}] = d
	}
	return d
}

// lacks tells whether changes want a lease that was to be granted by one of the lost entries only.
func (r *lossReader) lacks(want []align.Change, index uint64, lost loss) bool {
	return slices.ContainsFunc(leasesNeeded(nil, want), func(id int64) bool {
		there, missed := false, false
		for _, ev := range r.log.h.leases[id] {
			switch {
			case ev.index >= index:
			case r.log.h.lost(ev.index, lost):
				missed = missed || ev.grant
			default:
				there = ev.grant
			}
		}
		return missed && !there
	})
}

// torn is the first entry behind member i's consistent index that was not applied, as the small tables show, 0 if there is
// none: where rows seem to have come further than the index, the tables should have, too. What of them does not fit any
// moment behind the index says nothing of the rows.
func (c *comparison) torn(i int) uint64 {
	h, t := c.views[i], c.ms[i].DB.Tables
	var first, done uint64
	note := func(index uint64, applied bool) {
		switch {
		case applied:
			done = max(done, index)
		case first == 0 || index < first:
			first = index
		}
	}
	for id, evs := range h.leases {
		ev := evs[len(evs)-1]
		if ev.index > t.ConsistentIndex && ev.grant && !ev.refused {
			note(ev.index, slices.ContainsFunc(t.Leases, func(r schema.LeaseRecord) bool { return r.ID == id }))
		}
	}
	s := authz.Of(t)
	for _, w := range h.authWrites {
		if w.Index <= t.ConsistentIndex {
			continue
		}
		switch w.Request.Type {
		case "AuthUserAdd", "AuthRoleAdd", "AuthUserGrantRole", "AuthEnable":
			o := s.Clone()
			o.Apply(w.Request)
			note(w.Index, o.Enabled == s.Enabled && o.Revision == s.Revision)
		case "AuthDisable", "AuthUserDelete", "AuthRoleDelete", "AuthUserRevokeRole", "AuthRoleRevokePermission":
			return 0 // what it took away may have been there
		}
	}
	if done >= first {
		return 0
	}
	return first
}
