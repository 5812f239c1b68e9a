package diff

import (
	"cmp"
	"maps"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/raftlog"
)

// model is a member around what seems to have gone wrong with it. What may have gone wrong instead is found out by running
// that: with etcd's rules on the member's own rows, and with permissions, alarms and leases as they would have been then,
// until both they and the rows are again as they were.
type model struct {
	c       *comparison
	i       int           // the member
	lived                 // what it met in fact
	steps   []*align.Step // first applications, in order
	base    int64         // revision before all of them
	after   []int64       // revision behind each of them
	before  []int64       // revision before each of them, and behind the last one
	ended   bool          // nothing was applied behind the last of them
	permits bool          // something was let pass that permissions or an alarm refuse
	kinds   []kind
	would   map[spot]would
	// early is how many of the steps were done before what is known of the member begins: they may have been applied again.
	early int
	// Steps from first on, below behind, are to be explained, or what was applied again before first if they are none.
	first, behind int
	again         int // how many entries were applied again there
	high          int // those below high may have been left out, or applied again
}

// kind is what matters of an entry besides the rows.
type kind struct {
	request *raftlog.Request
	turns   bool // it changes permissions or an alarm
}

// spot is what one of the steps meets.
type spot struct {
	step     int
	revision int64
}

// would is what an entry would do.
type would struct {
	want []align.Change
	same bool // as the next revision holds
}

// maxBegun is how far around what was applied again others are looked for.
const maxBegun = 64

// maxReplayed bounds how many entries are looked at for that.
const maxReplayed = 6 * maxBegun

// modelOf is the model of member i around what it did with some entries, again or not, nil if something else is odd
// among these, or there are too many.
func (c *comparison) modelOf(i int, odd func(s *align.Step) bool) *model {
	var steps []*align.Step
	from, to := -1, 0
	c.traces[i].steps(func(s *align.Step) {
		if odd(s) {
			if from < 0 {
				from = len(steps)
			}
			to = len(steps) + 1
		}
		steps = append(steps, s)
	})
	if from < 0 {
		return nil
	}
	for from > 0 && steps[from-1].Again {
		from--
	}
	for to < len(steps) && steps[to].Again {
		to++
	}
	plain := func(s *align.Step) bool {
		return s.Index > 0 && !s.Again && (!s.Anomalous() || s.Outcome == align.Refused && s.Doubtful)
	}
	if slices.ContainsFunc(steps[from:to], func(s *align.Step) bool { return !s.Again && !odd(s) && !plain(s) }) {
		return nil
	}
	low, high := from, to
	for apart := 0; low > 0 && apart < maxBegun && plain(steps[low-1]); low-- {
		if apart > 0 || steps[low-1].Index <= steps[from].Index {
			apart++
		}
	}
	for high < len(steps) && high-to < maxReplayed && plain(steps[high]) {
		high++
	}
	if high-low > 2*maxReplayed {
		return nil
	}
	m := &model{c: c, i: i, lived: c.lived(i), ended: high == len(steps), would: map[spot]would{}}
	at := c.traces[i].startRevision()
	for _, s := range steps[:low] {
		at = max(at, s.Revision)
	}
	m.base, m.first = at, -1
	if low == 0 {
		m.prepend()
	}
	for n, s := range steps[low:high] {
		if low+n >= from && m.first < 0 {
			m.first = len(m.steps)
		}
		m.permits = m.permits || s.Outcome == align.Permitted
		if s.Again {
			m.again++
		} else {
			m.steps, m.before, m.after = append(m.steps, s), append(m.before, at), append(m.after, max(at, s.Revision))
			q := c.request(i, s.Index)
			m.kinds = append(m.kinds, kind{q, q != nil && (q.Type == "Alarm" || isAuthWrite(q.Type))})
		}
		at = max(at, s.Revision)
		if low+n < to {
			m.behind = len(m.steps)
		}
	}
	m.before, m.high = append(m.before, at), min(len(m.steps), m.behind+maxBegun)
	return m
}

// prepend begins with the last entries before those of which the effect is known.
func (m *model) prepend() {
	es, first := m.c.views[m.i].entries, m.c.traces[m.i].first()
	end, _ := slices.BinarySearchFunc(es, first, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for k := max(end-maxBegun, 0); k < end; k++ {
		s := &align.Step{Index: es[k].Index}
		m.steps, m.before, m.after = append(m.steps, s), append(m.before, m.base), append(m.after, m.base)
		q := m.c.request(m.i, s.Index)
		m.kinds = append(m.kinds, kind{q, q != nil && (q.Type == "Alarm" || isAuthWrite(q.Type))})
	}
	m.early = len(m.steps)
}

// deviation is something that may have gone wrong: a step that was left out, or the steps from u to v that were applied again
// behind the last of them.
type deviation struct{ left, u, v int }

// interval is the range of entries that may have been applied again, or left out, instead of what seems to have been. It is
// empty if none can.
func (m *model) interval() (first, last uint64) {
	all, joined := m.replays()
	if joined {
		all = slices.DeleteFunc(all, func(r again) bool { return !r.joined })
	}
	if len(all) == 0 {
		return 0, 0
	}
	first = math.MaxUint64
	for _, r := range all {
		first, last = min(first, r.index), max(last, r.index)
	}
	for _, x := range m.omissions() {
		first, last = min(first, x), max(last, x)
	}
	return first, last
}

// again is a replay: the first entry that made a revision again, and whether it has done to permissions what the tables show
// that was done to them again.
type again struct {
	index  uint64
	joined bool
}

// replays are the runs of entries that may have been applied again. An auth entry that the tables show to have been applied
// again was so in one go with others, if it can have been.
func (m *model) replays() (all []again, joined bool) {
	for v := m.early; v < m.high; v++ {
		for u := v; u >= max(v-m.again-maxBegun, 0); u-- {
			if r, ok := m.explains(deviation{-1, u, v}); ok {
				all, joined = append(all, r), joined || r.joined
			}
		}
	}
	return all, joined
}

// omissions are the entries that change permissions or an alarm, and that may have been left out.
func (m *model) omissions() (all []uint64) {
	for n := m.early; n < m.high; n++ {
		if !m.kinds[n].turns {
			continue
		}
		if _, ok := m.explains(deviation{n, -1, -1}); ok {
			all = append(all, m.steps[n].Index)
		}
	}
	return all
}

// explains tells whether a deviation leads to what the member holds.
func (m *model) explains(d deviation) (a again, ok bool) {
	from := min(m.first, max(d.left, d.v))
	r := &course{model: m, at: m.base}
	if from > 0 {
		r.at = m.after[from-1] // before what was applied again, if it was there
	}
	r.begin(m.steps[from].Index)
	for n := from; n < len(m.steps); n++ {
		if n == d.left {
			r.leave(n)
		} else if !r.once(n) {
			return a, false
		}
		if n == d.v {
			if a.index, ok = r.repeat(d.u, d.v); !ok || a.index == 0 {
				return a, false
			}
		}
		if n+1 < m.behind || n < max(d.left, d.v) || r.at != m.before[n+1] {
			continue
		}
		if ok, a.joined = r.rejoins(m.steps[n].Index + 1); ok {
			return a, true
		}
	}
	// Nothing contradicts it as far as it was followed; but permissions that differ show in the tables in the end.
	if r.at != m.before[len(m.steps)] {
		return a, false
	}
	if !m.ended {
		return a, r.state == nil
	}
	ok, a.joined = r.ends()
	return a, ok
}

// course is what would have become of the member.
type course struct {
	*model
	at     int64               // revision
	state  *authz.State        // permissions, nil if they are as they were
	apart  bool                // these are followed from before something changed them again
	turned *bool               // whether auth was on, where no more than that is known, nil if as it was
	alarms map[alarmID]bool    // those that are on, nil if they are as they were
	there  map[int64]bool      // leases that are there, or are not, of those that entries were about
	let    map[permission]bool // in a replay, what was let pass, though permissions are not known
}

// permission is what a request is asked for, of a user and at an auth revision.
type permission struct {
	user     string
	revision uint64
	key      string
}

// begin sets permissions to what they were before anything was applied again, where the tables show that it was.
func (r *course) begin(index uint64) {
	if a := r.auth; a.plain != nil && a.timeline != nil && a.timeline.Again && slices.ContainsFunc(a.all(), func(t *authz.Timeline) bool { return t.Odd >= r.steps[0].Index }) {
		r.state, r.apart = a.plain.At(index), true
	}
}

// once applies a step for the first time. It is false if the rows are not as that makes them.
func (r *course) once(n int) bool {
	if s := r.steps[n]; s.Outcome == align.Refused && (n < r.first || n >= r.behind) {
		return true // whatever refused it
	}
	_, ok := r.apply(n, r.steps[n].Index, false)
	return ok
}

// repeat applies the steps from u to v again behind the last of them, and tells which was the first that made a revision.
func (r *course) repeat(u, v int) (first uint64, ok bool) {
	r.let = map[permission]bool{}
	for n := u; n <= v; n++ {
		made, ok := r.apply(n, r.steps[v].Index+1, true)
		if !ok {
			return 0, false
		}
		if made && first == 0 {
			first = r.steps[n].Index
		}
	}
	return first, true
}

// apply applies a step at the time of an entry, and tells whether it made the next revision. It is not ok if it should have
// made another.
func (r *course) apply(n int, time uint64, again bool) (made, ok bool) {
	s, q := r.steps[n], r.kinds[n].request
	e := find(r.c.views[r.i].entries, s.Index)
	if e == nil || q == nil {
		return false, s.Revision == 0
	}
	w, known := r.would[spot{n, r.at}]
	if in := &r.c.inputs[r.i]; !known {
		w.want = in.Predict(e, r.at)
		w.same = align.Same(w.want, in.Table.Group(r.at+1))
		r.would[spot{n, r.at}] = w
	}
	judged := r.judge(r, time, q, w.want, func(lease int64) []string { return r.c.inputs[r.i].Index.Attached(lease, r.at) })
	r.change(q.Internal, time, judged)
	if r.kinds[n].turns {
		r.turn(n, time, again)
	}
	switch {
	case len(w.want) == 0 || judged == align.Denied:
		return false, true
	case !w.same && (judged != align.Doubtful || !again):
		return false, false
	case again && !r.sameFor(q, w.want, w.same, judged):
		return false, false
	case w.same:
		r.at++
	}
	return w.same, true
}

// sameFor notes which writes were let pass, or were not by permissions that are not known, and tells whether those before of
// the same user on the same keys came out likewise.
func (r *course) sameFor(q *raftlog.Request, want []align.Change, made bool, judged align.Judgement) bool {
	if !made && judged != align.Doubtful {
		return true
	}
	for _, ch := range want {
		x := permission{q.User, q.AuthRevision, ch.Key}
		if was, known := r.let[x]; known && was != made {
			return false
		}
		r.let[x] = made
	}
	return true
}

// change notes what becomes of a lease. Who may grant one depends on no permissions.
func (r *course) change(in *pb.InternalRaftRequest, time uint64, judged align.Judgement) {
	id, there := in.GetLeaseGrant().GetID(), true
	switch {
	case in.GetLeaseRevoke() != nil:
		id, there = in.LeaseRevoke.ID, false
	case id == 0:
		return
	case judged == align.Doubtful:
		judged = align.Allowed
	}
	if judged == align.Denied {
		judged = r.lease(id, time) // as it was
		there = judged == align.Allowed
	}
	if r.there == nil {
		r.there = map[int64]bool{}
	}
	if judged == align.Doubtful {
		delete(r.there, id)
	} else {
		r.there[id] = there
	}
}

// turn changes permissions or an alarm.
func (r *course) turn(n int, time uint64, again bool) {
	clear(r.let)
	q := r.kinds[n].request
	switch a := q.Internal.GetAlarm(); {
	case a != nil && (again || r.alarms != nil):
		r.own(time)
		r.sound(a)
	case a != nil:
	case r.auth.state(time) == nil && r.state == nil:
		if on := q.Type == "AuthEnable"; again && (on || q.Type == "AuthDisable") {
			r.turned = &on
		}
	case !again && (r.state == nil || r.auth.timeline != nil && !r.auth.timeline.Again && r.auth.timeline.Odd == r.steps[n].Index):
		// As it was, or without effect.
	default:
		r.own(time)
		r.state = r.state.Clone()
		r.state.Apply(q)
	}
}

// own makes permissions and alarms as an entry meets them those of this course.
func (r *course) own(time uint64) {
	if r.state == nil {
		r.state = r.auth.state(time)
	}
	if r.alarms == nil {
		r.alarms = r.h.alarmsAt(time)
	}
}

func (r *course) sound(a *pb.AlarmRequest) {
	id := alarmID{a.MemberID, a.Alarm}
	if delete(r.alarms, id); a.Action == pb.AlarmRequest_ACTIVATE {
		r.alarms[id] = true
	}
}

// leave leaves a step out.
func (r *course) leave(n int) { r.own(r.steps[n].Index) }

// rejoins tells whether permissions, alarms and leases are what an entry met in fact, and whether permissions are if they were
// changed again.
func (r *course) rejoins(index uint64) (ok, joined bool) {
	if r.turned != nil && r.auth.on(index) != *r.turned || r.alarms != nil && !maps.Equal(r.alarms, r.h.alarmsAt(index)) || !r.leased(index, false) {
		return false, false
	}
	return r.permitted(index)
}

// permitted tells whether permissions are what an entry met, and whether they were changed again then.
func (r *course) permitted(index uint64) (ok, joined bool) {
	joined = r.apart && r.auth.may(index, r.state)
	return joined || r.state == nil || r.apart && r.auth.plain.At(index).Alike(r.state) || !r.apart && r.auth.may(index, r.state), joined
}

// ends tells whether they are what the tables say, or what they were in fact.
func (r *course) ends() (ok, joined bool) {
	t := r.c.ms[r.i].DB.Tables
	end := uint64(math.MaxUint64)
	alarms := map[alarmID]bool{}
	for _, a := range t.Alarms {
		alarms[alarmID{a.Member, pb.AlarmType(pb.AlarmType_value[a.Type])}] = true
	}
	if r.turned != nil && *r.turned != t.AuthEnabled || !r.leased(end, true) ||
		r.alarms != nil && !maps.Equal(r.alarms, alarms) && !maps.Equal(r.alarms, r.h.alarmsAt(end)) {
		return false, false
	}
	if r.state != nil && r.state.Equal(t) {
		return true, r.apart
	}
	return r.permitted(end)
}

// leased tells whether leases are there that were in fact when an entry was applied. Where requests were let pass that an alarm
// refuses, those that revoke or grant a lease may have been, too.
func (r *course) leased(index uint64, end bool) bool {
	for id, there := range r.there {
		was := r.leases.state(id, index, r.auth.on)
		if r.permits && was != align.Doubtful && (was == align.Allowed) != there {
			was = calm{&r.lived}.lease(id, index)
		}
		if was != align.Doubtful && (was == align.Allowed) != there && (!end || r.leases.final[id] != there) {
			return false
		}
	}
	return true
}

// lease, permissions, authOn and alarm are what an entry meets.
func (r *course) lease(id int64, index uint64) align.Judgement {
	there, known := r.there[id]
	switch {
	case !known:
		return r.lived.lease(id, index)
	case there:
		return align.Allowed
	}
	return align.Denied
}

func (r *course) permissions(index uint64) *authz.State {
	if r.state != nil {
		return r.state
	}
	return r.lived.permissions(index)
}

func (r *course) authOn(index uint64) bool {
	if r.turned != nil {
		return *r.turned
	}
	return r.lived.authOn(index)
}

func (r *course) alarm(index uint64) (turn, bool) {
	if r.alarms == nil {
		return r.lived.alarm(index)
	}
	t := turn{on: len(r.alarms) > 0}
	for id := range r.alarms {
		t.corrupt = t.corrupt || id.typ == pb.AlarmType_CORRUPT
		if r.whole || r.h.activates(id, index) {
			t.index = index // it is known to be on
		}
	}
	return t, true
}
