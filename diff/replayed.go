package diff

import (
	"math"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
)

// replayed is a replay by one member, with what it applied before and behind it.
type replayed struct {
	c     *comparison
	i, n  int           // the member, and how many entries it applied again
	steps []*align.Step // first applications, in order
	at    int64         // revision before them
	end   int64         // revision behind them
	kinds []kind
	would map[state]would
}

// kind is what matters of an entry besides the rows.
type kind struct {
	turns  bool // it changes permissions or an alarm
	counts bool // it raises the auth revision each time it is applied
}

// state is what one of the steps meets.
type state struct {
	step     int
	revision int64
}

// would is what an entry would do.
type would struct {
	want []align.Change
	same bool // as the next revision holds
	// doubted is true if it had no effect, perhaps for permissions that are not known.
	doubted bool
}

// maxBegun is how far around what was applied again others are looked for.
const maxBegun = 64

// maxReplayed bounds how many entries are looked at for that.
const maxReplayed = 6 * maxBegun

// replay finds the replay in which member i applied an entry again, nil if that is not one run of entries in a row.
func (c *comparison) replay(i int, index uint64) *replayed {
	var steps []*align.Step
	at := -1
	c.traces[i].steps(func(s *align.Step) {
		if at < 0 && s.Again && s.Revision > 0 && s.Index == index {
			at = len(steps)
		}
		steps = append(steps, s)
	})
	if at < 0 {
		return nil
	}
	from, to := at, at+1
	for from > 0 && steps[from-1].Again {
		from--
	}
	for to < len(steps) && steps[to].Again {
		to++
	}
	plain := func(s *align.Step) bool {
		return s.Index > 0 && !s.Again && (!s.Anomalous() || s.Outcome == align.Refused && s.Doubtful)
	}
	low, high := from, to
	for apart := 0; low > 0 && apart < maxBegun && plain(steps[low-1]); low-- {
		if apart > 0 || steps[low-1].Index <= index {
			apart++
		}
	}
	for high < len(steps) && high-to < maxBegun && plain(steps[high]) {
		high++
	}
	if high-low > maxReplayed {
		return nil
	}
	r := &replayed{c: c, i: i, n: to - from, steps: slices.Concat(steps[low:from], steps[to:high]), at: c.traces[i].startRevision(), would: map[state]would{}}
	for _, s := range steps[:low] {
		r.at = max(r.at, s.Revision)
	}
	for _, s := range r.steps {
		var k kind
		if q := c.request(i, s.Index); q != nil {
			k = kind{turns: q.Type == "Alarm" || isAuthWrite(q.Type), counts: countsAgain(q.Type)}
		}
		r.kinds = append(r.kinds, k)
	}
	r.end = r.at
	for _, s := range steps[:high] {
		r.end = max(r.end, s.Revision)
	}
	return r
}

// begins is the range of entries that may have been the first of the replay to have an effect again: whichever entries in a
// row were applied twice, the rows are the same. It is empty if no row of entries leaves them.
func (r *replayed) begins() (first, last uint64) {
	first = math.MaxUint64
	joined := false
	at := r.at
	for v := range r.steps {
		if _, ok := r.apply(v, r.steps[v].Index, &at, false); !ok {
			break
		}
		for u := v; u >= max(v-r.n-maxBegun, 0); u-- {
			index := r.twice(u, v, at)
			if index == 0 || r.counts(u, v) {
				continue
			}
			// Auth entries that the tables show to have been applied again were so in one go with these, if they can have been.
			switch join := r.joins(u, v); {
			case join && !joined:
				joined, first, last = true, index, index
			case join == joined:
				first, last = min(first, index), max(last, index)
			}
		}
	}
	return first, last
}

// twice tells which entry would have been the first to have an effect again if those from u to v had been applied twice, up
// to where member i is then at a revision, 0 if the rows are not the same then.
func (r *replayed) twice(u, v int, at int64) (first uint64) {
	turned := false
	let := map[write]bool{} // whether it was let pass
	for n := u; n <= v; n++ {
		// Permissions and alarms are as the last entry left them, until one that changes them is applied again.
		time := r.steps[v].Index + 1
		if turned {
			time = r.steps[n].Index
		}
		if r.kinds[n].turns {
			turned = true
			clear(let)
		}
		before := at
		made, ok := r.apply(n, time, &at, true)
		if !ok || !r.sameFor(let, n, before, made) {
			return 0
		}
		if made && first == 0 {
			first = r.steps[n].Index
		}
	}
	if first == 0 {
		return 0
	}
	for n := v + 1; n < len(r.steps); n++ {
		if _, ok := r.apply(n, r.steps[n].Index, &at, false); !ok {
			return 0
		}
	}
	if at != r.end {
		return 0
	}
	return first
}

// write is what permissions are asked for, of a user whose request was checked at an auth revision.
type write struct {
	user     string
	revision uint64
	key      string
}

// sameFor notes which writes an entry made, or was kept from by permissions that are not known, and tells whether those
// before of the same user on the same keys came out likewise.
func (r *replayed) sameFor(let map[write]bool, n int, at int64, made bool) bool {
	w := r.would[state{n, at}]
	if !made && !w.doubted {
		return true
	}
	q := r.c.request(r.i, r.steps[n].Index)
	if q == nil {
		return true
	}
	for _, ch := range w.want {
		x := write{q.User, q.AuthRevision, ch.Key}
		if was, known := let[x]; known && was != made {
			return false
		}
		let[x] = made
	}
	return true
}

// apply tells whether an entry, at the time of one, made the revision behind at, and moves at there. It is not ok if it
// should have made another.
func (r *replayed) apply(n int, time uint64, at *int64, again bool) (made, ok bool) {
	in, s := &r.c.inputs[r.i], r.steps[n]
	e := find(r.c.views[r.i].entries, s.Index)
	if e == nil {
		return false, s.Revision == 0
	}
	if s.Outcome == align.Refused && !again {
		return false, true
	}
	w, known := r.would[state{n, *at}]
	if !known {
		w.want = in.Predict(e, *at)
		w.same = align.Same(w.want, in.Table.Group(*at+1))
		r.would[state{n, *at}] = w
	}
	if len(w.want) == 0 {
		return false, true
	}
	judged := in.Judge(time, e.Request(), w.want, func(lease int64) []string { return in.Index.Attached(lease, *at) })
	w.doubted = judged == align.Doubtful && again && !w.same
	r.would[state{n, *at}] = w
	switch {
	case judged == align.Denied:
		return false, true
	case w.same:
		*at++
		return true, true
	}
	return false, w.doubted
}

// joins tells whether the auth tables show that of all auth entries those from u to v were applied again.
func (r *replayed) joins(u, v int) bool {
	a := r.c.auths[r.i]
	if a.timeline == nil {
		return false
	}
	return slices.ContainsFunc(append([]*authz.Timeline{a.timeline}, a.others...), func(t *authz.Timeline) bool {
		last := max(t.Odd, t.Last)
		for n := u; n <= v; n++ {
			if x := r.steps[n].Index; r.kinds[n].counts && (x < t.Odd || x > last) {
				return false
			}
		}
		return t.Again && r.steps[u].Index <= t.Odd && last <= r.steps[v].Index
	})
}

// counts tells whether the entries from u to v include one that raises the auth revision each time it is applied,
// although the auth tables show none that was applied twice.
func (r *replayed) counts(u, v int) bool {
	t := r.c.auths[r.i].timeline
	if t == nil || t.Again {
		return false
	}
	return slices.ContainsFunc(r.kinds[u:v+1], func(k kind) bool { return k.counts })
}
