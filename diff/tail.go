package diff

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// findTails looks for members that lost all entries from one on, although their consistent index moved on: what is missing
// of keys and what is missing in small tables is one cause then, and it begins with the first entry that is missing in any.
// Where entries that write the same may have made what seems to be an earlier one's, it may begin with another one.
func (c *comparison) findTails() {
	for _, k := range c.causes {
		if k.layer != LayerApply || k.outcome != align.Refused || k.again || k.index == 0 || k.of != nil {
			continue
		}
		var begins []uint64
		for n, i := range k.odd {
			own := map[uint64]bool{}
			for _, l := range c.losses(i, k.index) {
				own[l.first] = true
			}
			if n == 0 {
				begins = slices.Sorted(maps.Keys(own))
			}
			begins = slices.DeleteFunc(begins, func(x uint64) bool { return !own[x] })
		}
		bans := c.bans(k, len(begins) > 0)
		switch {
		case len(begins) > 0:
			c.tail(k, slices.Compact(slices.Sorted(slices.Values(append(begins, bans...)))))
			if k.interval != nil && len(bans) > 0 {
				k.what += ", or no request of one user had"
			}
		case len(bans) > 0 && (k.rule != nil && k.origin == nil || len(c.refusedAgain(k)) > 0):
			c.banned(k, append(bans, c.inRowToTheEnd(k)...))
		case k.rule == nil && len(k.entries) > 1:
			c.beginTail(k)
		}
	}
}

// beginTail finds the earlier entries from which on all to the last one may have had no effect instead of those of a cause: what they
// and later ones change in tables comes to nothing, so that these do not show it.
func (c *comparison) beginTail(k *cause) {
	var begins []uint64
	for n, i := range k.odd {
		var own []uint64
		for _, refusals := range []bool{true, false} {
			if r := c.newLossReader(i, k.index, refusals); r != nil && len(own) == 0 {
				own = r.undone(k.index)
			}
		}
		if n == 0 {
			begins = own
		}
		begins = slices.DeleteFunc(begins, func(x uint64) bool { return !slices.Contains(own, x) })
	}
	if len(begins) > 0 {
		k.interval = &Interval{First: min(begins[0], k.at().First), Last: k.at().Last}
		k.what = "entries in a row had no effect on " + strings.Join(c.labels(k.odd), ", ")
	}
}

// tail makes a cause one of all entries from one on, which may be any of some.
func (c *comparison) tail(k *cause, begins []uint64) {
	first, last := begins[0], begins[len(begins)-1]
	for _, x := range c.causes {
		switch {
		case x == k || x.of != nil || x.layer == LayerLog || x.layer == LayerStorage || x.layer == LayerAuth && !c.authAsAsked(k, begins):
		case (x.index >= first || x.layer != LayerApply) && slices.EqualFunc(x.groups, k.groups, slices.Equal[[]int]):
			x.of = k // that alone leads to the tables, too
		}
	}
	k.rule, k.interval, k.what = nil, nil, "nothing from this entry on had an effect on "+strings.Join(c.labels(k.odd), ", ")
	if first < last {
		k.interval, k.what = &Interval{First: first, Last: last}, "entries in a row had no effect on "+strings.Join(c.labels(k.odd), ", ")
	}
	if first == k.index {
		return
	}
	if len(k.entries) == 0 {
		k.entries = []uint64{k.index}
	}
	k.index, k.entries = first, append([]uint64{first}, k.entries...)
	layer := c.tableOf(k.odd[0], first)
	if layer == "" { // it changes keys, and what is known of another one that writes the same holds for it
		c.renumber(k)
		return
	}
	for _, e := range k.effects {
		for _, ch := range e.Changes {
			k.keys = append(k.keys, string(ch.Key))
		}
	}
	k.layer, k.effects = layer, nil
	for _, g := range k.groups {
		e := Effect{Members: c.labels(g), Note: "the entry had its effect"}
		if slices.Contains(k.odd, g[0]) {
			e.Note = "neither the entry nor any later one had an effect"
		}
		k.effects = append(k.effects, e)
	}
}

// authAsAsked tells whether the auth tables of all members that a tail tells apart are what their logs ask for, on those that are odd
// but for what was lost from one of some entries on, as far as that is known. Nothing of them was lost if none of these changes them.
func (c *comparison) authAsAsked(k *cause, begins []uint64) bool {
	if !slices.ContainsFunc(k.odd, func(i int) bool {
		return slices.ContainsFunc(c.appliedAuth(i), func(w authz.Write) bool { return w.Index >= begins[0] })
	}) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool {
		if !slices.Contains(k.odd, i) {
			return !c.authAsked(i, math.MaxUint64)
		}
		return !slices.ContainsFunc(begins, func(from uint64) bool { return c.authAsked(i, from) })
	})
}

// authAsked tells whether member i's auth tables may be what its log asks for before an entry.
func (c *comparison) authAsked(i int, before uint64) bool {
	s := c.tableLog(i, 0).auths(loss{first: before, last: math.MaxUint64})
	return s == nil || s.Equal(c.ms[i].DB.Tables)
}

// tableOf is the layer of the table that an entry changes, empty if it changes none.
func (c *comparison) tableOf(i int, index uint64) Layer {
	switch r := c.request(i, index); {
	case isAuthWrite(r.Type):
		return LayerAuth
	case r.Internal.GetAlarm() != nil:
		return LayerAlarm
	case r.Internal.GetLeaseGrant() != nil || r.Internal.GetLeaseRevoke() != nil:
		return LayerLease
	}
	return ""
}

// tableLog is what a log asks for of the small tables from an entry on, and what they hold in the end.
type tableLog struct {
	h      *history
	tables *schema.Tables
	auth   *auth
	whole  bool
	// unalarmed is true where no alarm was on before the log begins.
	unalarmed bool
	from      uint64
	to        uint64 // the last entry that was to be applied
	// compact is the revision that the member is compacted at, and revision its current one.
	compact, revision int64
	// attached lists the keys of a lease before an entry.
	attached func(lease int64, index uint64) []string
}

// tableLog is that of member i from an entry on.
func (c *comparison) tableLog(i int, from uint64) *tableLog {
	return &tableLog{
		h: c.views[i], tables: c.ms[i].DB.Tables, auth: c.auths[i], whole: c.whole(i), unalarmed: c.whole(i) || c.unalarmed[i], from: from, to: c.ms[i].DB.Tables.ConsistentIndex,
		compact: c.ms[i].DB.CompactRevision(), revision: c.last[i],
		attached: func(lease int64, index uint64) []string {
			return c.inputs[i].Index.Attached(lease, c.revisionAt(i, index-1))
		},
	}
}

// entries are those that change a table and were to be applied, in order.
func (t *tableLog) entries() []uint64 {
	all := slices.Clone(t.h.alarms)
	for _, w := range t.h.authWrites {
		all = append(all, w.Index)
	}
	for _, evs := range t.h.leases {
		for _, ev := range evs {
			all = append(all, ev.index)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(x uint64) bool { return !t.open(x) })
}

// open tells whether an entry is one that may be missing.
func (t *tableLog) open(x uint64) bool { return t.from <= x && x <= t.to }

// without tells whether the tables can be as the entries left them but for those that were lost.
func (t *tableLog) without(l loss) bool {
	return t.leasesWithout(l) && t.alarmsWithout(l) && t.authWithout(l) && t.compactedWithout(l)
}

// compactedWithout tells whether the db is compacted as the entries ask for but for those that were lost. An alarm may have
// refused that.
func (t *tableLog) compactedWithout(l loss) bool {
	n, _ := slices.BinarySearchFunc(t.h.entries, t.from, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	lost, done := false, false // what the db is compacted at was asked for by an entry that was lost, by one that was not
	for ; n < len(t.h.entries) && t.open(t.h.entries[n].Index); n++ {
		e := &t.h.entries[n]
		in := e.Request().Internal
		if in.GetCompaction() == nil {
			continue
		}
		if t.h.lost(e.Index, l) {
			lost = lost || in.Compaction.Revision == t.compact
			continue
		}
		done = done || in.Compaction.Revision == t.compact
		alarm, told := t.h.alarmAt(e.Index)
		if in.Compaction.Revision > t.revision || told && alarm.on && refusedBy(alarm, in) {
			continue
		}
		if in.Compaction.Revision > t.compact {
			return false
		}
	}
	return done || !lost
}

func (t *tableLog) leasesWithout(l loss) bool {
	for id, evs := range t.h.leases {
		if !slices.ContainsFunc(evs, func(ev leaseEvent) bool { return t.open(ev.index) }) {
			continue
		}
		there := slices.ContainsFunc(t.tables.Leases, func(r schema.LeaseRecord) bool { return r.ID == id })
		if want, known := t.leaseWithout(evs, l); known && want != there {
			return false
		}
	}
	return true
}

// leaseWithout tells whether a lease is there in the end, by what happened to it. It is not known where something may have
// refused to grant or to revoke it.
func (t *tableLog) leaseWithout(evs []leaseEvent, l loss) (there, known bool) {
	known = t.whole || evs[0].grant
	for _, ev := range evs {
		if ev.index > t.to {
			break
		}
		e := find(t.h.entries, ev.index)
		denied := !ev.grant && e != nil && t.auth.denies(ev.index, e.Request(), func(lease int64) []string { return t.attached(lease, ev.index) })
		if t.h.lost(ev.index, l) || denied {
			continue
		}
		alarm, told := t.h.alarmAt(ev.index)
		there = ev.grant
		known = (!told || !alarm.on) && (ev.grant || !t.auth.on(ev.index) || t.auth.state(ev.index) != nil)
	}
	return there, known
}

func (t *tableLog) alarmsWithout(l loss) bool {
	state := map[schema.AlarmMember]bool{}
	may := map[schema.AlarmMember]bool{}
	for _, x := range t.h.alarms {
		e := find(t.h.entries, x)
		if e == nil {
			return true
		}
		r := e.Request().Internal.GetAlarm()
		a := schema.AlarmMember{Member: r.GetMemberID(), Type: r.GetAlarm().String()}
		if x <= t.to && !t.h.lost(x, l) {
			state[a] = r.GetAction() == pb.AlarmRequest_ACTIVATE
		}
		may[a] = may[a] || t.open(x)
	}
	for a := range may {
		on, known := state[a]
		if may[a] && (known || t.unalarmed) && on != slices.Contains(t.tables.Alarms, a) {
			return false
		}
	}
	return true
}

func (t *tableLog) authWithout(l loss) bool {
	if !slices.ContainsFunc(t.h.authWrites, func(w authz.Write) bool { return t.open(w.Index) }) {
		return true
	}
	s := t.auths(l)
	if s == nil {
		return t.authOpen(l)
	}
	return s.Equal(t.tables)
}

// authOpen tells whether the tables may be what entries led to but for those that were lost, although it is not known what was before:
// there is something that the others lead to the tables from, and the first one that was lost, if all to the end were, would make a
// difference to these, which are what it would have met.
func (t *tableLog) authOpen(l loss) bool {
	if len(t.h.authWrites) > maxAuthOpen || l.first == 0 {
		return true
	}
	var kept []authz.Write
	for _, w := range t.h.authWrites {
		switch {
		case w.Index > t.to:
		case !t.h.lost(w.Index, l):
			kept = append(kept, w)
		case w.Index == l.first && l.user == "" && l.last >= t.to:
			met := authz.Of(t.tables)
			s := met.Clone()
			if s.Apply(w.Request); s.Enabled == met.Enabled && s.Revision == met.Revision && s.Alike(met) {
				return false
			}
		}
	}
	s, _ := authz.Base(kept, nil, t.tables)
	return s != nil
}

// maxAuthOpen bounds how many changes of auth are tried without those that were lost.
const maxAuthOpen = 256

// auths is the auth store as the entries left it but for those that were lost, nil if it is not known what was before.
func (t *tableLog) auths(l loss) *authz.State {
	s := t.auth.begin(t.whole)
	if s == nil {
		return nil
	}
	for _, w := range t.h.authWrites {
		if w.Index <= t.to && !t.h.lost(w.Index, l) {
			s.Apply(w.Request)
		}
	}
	return s
}
