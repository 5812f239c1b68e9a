package diff

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// minBanned is how many requests of a user must have had no effect for a ban: a single one may as well have gone wrong by
// itself.
const minBanned = 2

// bans are the entries from which on all requests of one user, whose a cause's first entry is, may have been refused on its odd
// members, so that these hold what they do. Tables that a ban from the cause's own entry on does not lead to
// say nothing of that, unless they are known to tell: something else befell them.
func (c *comparison) bans(k *cause, tables bool) (begins []uint64) {
	q := c.request(k.odd[0], k.index)
	if q == nil || q.User == "" {
		return nil
	}
	for n, i := range k.odd {
		var own []uint64
		if r := c.newLossReader(i, k.index, true); r != nil && r.refusals(q.User) >= minBanned {
			own = r.bans(q.User, tables || r.log.without(r.ban(q.User, k.index)))
		}
		if n == 0 {
			begins = own
		}
		begins = slices.DeleteFunc(begins, func(x uint64) bool { return !slices.Contains(own, x) })
	}
	return begins
}

// banned makes a cause one of all requests of a user from an entry on, which may be any of some.
func (c *comparison) banned(k *cause, begins []uint64) {
	first, last := slices.Min(begins), slices.Max(begins)
	if k.interval = nil; first < last {
		k.interval = &Interval{First: first, Last: last}
	}
	if k.index < first || k.index > last {
		c.moveTo(k, first)
	}
	later := c.refusedAgain(k)
	for _, x := range later {
		x.of = k
	}
	if k.interval != nil || len(later) > 0 {
		k.what = fmt.Sprintf("no request of user %q that would change a key had an effect on %s from here on", c.request(k.odd[0], k.index).User, strings.Join(c.labels(k.odd), ", "))
	}
}

// moveTo makes another entry the first one of a cause.
func (c *comparison) moveTo(k *cause, index uint64) {
	k.index, k.revision = index, 0
	c.gatherAt(k)
	es := make([]effects, len(c.ms))
	for _, i := range slices.Concat(k.groups...) {
		es[i].steps = c.stepsAt(i, index)
		c.load(i, &es[i])
		for _, s := range es[i].steps {
			if s.Revision > 0 && (k.revision == 0 || s.Revision < k.revision) {
				k.revision = s.Revision
			}
		}
	}
	k.effects = c.describe(k, es)
}

// inRowToTheEnd are the outermost entries from which on as many in a row as a cause's may have had no effect, if nothing behind
// these made a revision: it need not have been the user's that were refused then.
func (c *comparison) inRowToTheEnd(k *cause) (ends []uint64) {
	if len(k.entries) < 2 {
		return nil
	}
	for _, i := range k.odd {
		made := false
		c.traces[i].steps(func(s *align.Step) { made = made || s.Index > k.index && s.Revision > 0 })
		if made {
			return nil
		}
		lo, hi := c.slideRun(i, k)
		ends = append(ends, lo, hi)
	}
	return ends
}

// refusedAgain are the later requests of the user whose a cause's entry is that had no effect either on its odd members, apart from
// those that had none in a row with it.
func (c *comparison) refusedAgain(k *cause) (later []*cause) {
	for _, x := range c.causes {
		if x != k && x.of == nil && x.layer == LayerApply && x.outcome == align.Refused && !x.again && x.index > k.at().Last &&
			slices.Equal(x.odd, k.odd) && c.sameUser(k, x.index) && c.sameUser(x, k.index) {
			later = append(later, x)
		}
	}
	return later
}

// refusals is how many requests of a user had no effect that should have had one.
func (r *lossReader) refusals(user string) (n int) {
	for _, s := range r.steps {
		if s.Outcome == align.Refused && r.log.user(s.Index) == user {
			n++
		}
	}
	return n
}

func (t *tableLog) user(index uint64) string {
	if e := find(t.h.entries, index); e != nil {
		return e.Request().User
	}
	return ""
}

// ban is the loss of all requests of a user from an entry on.
func (r *lossReader) ban(user string, from uint64) loss {
	return loss{first: from, last: math.MaxUint64, user: user}
}

// bans are the entries from which on all of a user's may have had no effect, by the small tables, too, if these are to tell.
func (r *lossReader) bans(user string, tables bool) (all []uint64) {
	at := r.start()
	for u := range at {
		l := r.ban(user, r.steps[u].Index)
		if r.log.user(l.first) == user && r.changes(u, at[u]) && r.follows(u, at[u], l) && (!tables || r.log.without(l)) {
			all = append(all, l.first)
		}
	}
	return all
}

// changes tells whether a step would have left something that was not so before.
func (r *lossReader) changes(n int, at int64) bool {
	index := r.steps[n].Index
	q := r.c.request(r.i, index)
	switch {
	case !r.traced(n, at):
		return false
	case len(r.demand(n, at).want) > 0 && r.demand(n, at).judged == align.Doubtful:
		if made, known := r.made[index]; known && !made {
			return false // nor had it on others
		}
	}
	switch {
	case isAuthWrite(q.Type):
		s := r.log.auth.state(index)
		if s == nil {
			return true
		}
		o := s.Clone()
		o.Apply(q)
		return !o.Alike(s)
	case q.Internal.GetAlarm() != nil:
		return !maps.Equal(r.log.h.alarmsAt(index), r.log.h.alarmsAt(index+1))
	case q.Internal.GetLeaseGrant() != nil:
		evs := r.log.h.leases[q.Internal.LeaseGrant.ID]
		at := slices.IndexFunc(evs, func(ev leaseEvent) bool { return ev.index == index })
		return at < 1 || !evs[at-1].grant || evs[at-1].refused // it was there
	case q.Internal.GetLeaseRevoke() != nil:
		// Had the lease been there, it would be left.
		id := q.Internal.LeaseRevoke.ID
		evs := r.log.h.leases[id]
		return evs[len(evs)-1].index != index || slices.ContainsFunc(r.log.tables.Leases, func(l schema.LeaseRecord) bool { return l.ID == id })
	}
	return true
}

// missing is what entries met if those of a loss had no effect: neither had they on permissions, alarms and leases.
type missing struct {
	lived
	log  *tableLog
	lost loss
	// states are those of the auth store behind each of its writes, nil if they are as they were.
	states []*authz.State
}

func (r *lossReader) missing(l loss) *missing {
	if r.met != nil && r.met.lost == l {
		return r.met
	}
	m := &missing{lived: r.c.lived(r.i), log: r.log, lost: l}
	s := r.log.auth.begin(r.log.whole)
	for _, w := range r.log.h.authWrites {
		if s == nil {
			break
		}
		if s = s.Clone(); !r.log.h.lost(w.Index, l) {
			s.Apply(w.Request)
		}
		m.states = append(m.states, s)
	}
	r.met = m
	return m
}

// judged is what refuses a step that wants some changes at a revision.
func (m *missing) judged(r *lossReader, n int, at int64, want []align.Change) align.Judgement {
	index := r.steps[n].Index
	return m.judge(m, index, r.c.request(r.i, index), want, func(lease int64) []string { return r.c.inputs[r.i].Index.Attached(lease, at) })
}

// permissions are what they were until the first write was lost.
func (m *missing) permissions(index uint64) *authz.State {
	n, lost := 0, false
	for ; n < len(m.h.authWrites) && m.h.authWrites[n].Index < index; n++ {
		lost = lost || m.h.lost(m.h.authWrites[n].Index, m.lost)
	}
	if !lost || n > len(m.states) {
		return m.lived.permissions(index)
	}
	return m.states[n-1]
}

func (m *missing) authOn(index uint64) bool {
	if s := m.permissions(index); s != nil {
		return s.Enabled
	}
	return m.lived.authOn(index)
}

func (m *missing) alarm(index uint64) (turn, bool) {
	t, known := m.lived.alarm(index)
	if !slices.ContainsFunc(m.h.alarms, func(x uint64) bool { return x < index && m.h.lost(x, m.lost) }) {
		return t, known
	}
	on := m.h.alarmsWithout(index, m.lost)
	t = turn{index: index, on: len(on) > 0}
	for id := range on {
		t.corrupt = t.corrupt || id.typ == pb.AlarmType_CORRUPT
	}
	return t, true
}

func (m *missing) lease(id int64, index uint64) align.Judgement {
	there, lost := align.Denied, false
	for _, ev := range m.h.leases[id] {
		switch {
		case ev.index >= index:
		case m.h.lost(ev.index, m.lost):
			lost = true
		case ev.grant:
			there = align.Allowed
		default:
			there = align.Denied
		}
	}
	if !lost {
		return m.lived.lease(id, index)
	}
	return there
}
