package diff

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// findTails looks for members that lost all entries from one on, although their consistent index moved on: what is missing
// of keys and what is missing in small tables is one cause then, and it begins with the first entry that is missing in any.
func (c *comparison) findTails() {
	for _, k := range c.causes {
		if k.layer != LayerApply || k.outcome != align.Refused || k.again || k.index == 0 || k.of != nil || k.interval != nil {
			continue
		}
		first := uint64(0)
		for n, i := range k.odd {
			x := c.lostFrom(i, k.index)
			if x == 0 || n > 0 && x != first {
				first = 0
				break
			}
			first = x
		}
		if first > 0 {
			c.tail(k, first)
		}
	}
}

// tail makes a cause one of all entries from first on.
func (c *comparison) tail(k *cause, first uint64) {
	for _, x := range c.causes {
		switch {
		case x == k || x.of != nil || x.layer == LayerLog || x.layer == LayerStorage:
		case x.index >= first && slices.EqualFunc(x.groups, k.groups, slices.Equal[[]int]):
			x.of = k
		}
	}
	k.rule, k.what = nil, "nothing from this entry on had an effect on "+strings.Join(c.labels(k.odd), ", ")
	if first == k.index {
		return
	}
	for _, e := range k.effects {
		for _, ch := range e.Changes {
			k.keys = append(k.keys, string(ch.Key))
		}
	}
	if len(k.entries) == 0 {
		k.entries = []uint64{k.index}
	}
	k.layer, k.index, k.entries, k.effects = c.tableOf(k.odd[0], first), first, append([]uint64{first}, k.entries...), nil
	for _, g := range k.groups {
		e := Effect{Members: c.labels(g), Note: "the entry had its effect"}
		if slices.Contains(k.odd, g[0]) {
			e.Note = "neither the entry nor any later one had an effect"
		}
		k.effects = append(k.effects, e)
	}
}

// tableOf is the layer of the table that an entry changes.
func (c *comparison) tableOf(i int, index uint64) Layer {
	switch r := c.request(i, index); {
	case isAuthWrite(r.Type):
		return LayerAuth
	case r.Internal.GetAlarm() != nil:
		return LayerAlarm
	}
	return LayerLease
}

// lostFrom is the first entry that changes anything from which on all are missing on member i, if those that change keys
// are missing from index on. 0 if its tables show that others are not.
func (c *comparison) lostFrom(i int, index uint64) uint64 {
	var made uint64 // the last entry that made a revision
	c.traces[i].steps(func(s *align.Step) {
		if s.Revision > 0 {
			made = max(made, s.Index)
		}
	})
	t := &tableLog{h: c.views[i], tables: c.ms[i].DB.Tables, auth: c.auths[i], whole: c.whole(i), from: made + 1}
	if made == 0 || made > index || t.after(t.tables.ConsistentIndex) {
		return 0
	}
	if t.after(index - 1) {
		return index
	}
	for _, x := range slices.Backward(t.entries()) {
		if x < index && t.after(x-1) {
			return x
		}
	}
	return 0
}

// tableLog is what a log asks for of the small tables from an entry on, and what they hold in the end.
type tableLog struct {
	h      *history
	tables *schema.Tables
	auth   *auth
	whole  bool
	from   uint64
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
func (t *tableLog) open(x uint64) bool { return t.from <= x && x <= t.tables.ConsistentIndex }

// after tells whether the tables can be as the entries up to one left them, with none applied behind it.
func (t *tableLog) after(last uint64) bool {
	return t.leasesAfter(last) && t.alarmsAfter(last) && t.authAfter(last)
}

func (t *tableLog) leasesAfter(last uint64) bool {
	for id, evs := range t.h.leases {
		if !slices.ContainsFunc(evs, func(ev leaseEvent) bool { return t.open(ev.index) }) {
			continue
		}
		there := slices.ContainsFunc(t.tables.Leases, func(l schema.LeaseRecord) bool { return l.ID == id })
		if want, known := t.leaseAfter(evs, last); known && want != there {
			return false
		}
	}
	return true
}

// leaseAfter tells whether a lease is there behind an entry, by what happened to it. It is not known where something may
// have refused to grant or to revoke it.
func (t *tableLog) leaseAfter(evs []leaseEvent, last uint64) (there, known bool) {
	known = t.whole || evs[0].grant
	for _, ev := range evs {
		if ev.index > last {
			break
		}
		alarm, told := t.h.alarmAt(ev.index)
		there = ev.grant
		known = (!told || !alarm.on) && (ev.grant || !t.auth.on(ev.index) || t.auth.state(ev.index) != nil)
		if e := find(t.h.entries, ev.index); known && !ev.grant && e != nil {
			known = !t.auth.denies(ev.index, e.Request(), func(int64) []string { return nil })
		}
	}
	return there, known
}

func (t *tableLog) alarmsAfter(last uint64) bool {
	state := map[schema.AlarmMember]bool{}
	may := map[schema.AlarmMember]bool{}
	for _, x := range t.h.alarms {
		e := find(t.h.entries, x)
		if e == nil {
			return true
		}
		r := e.Request().Internal.GetAlarm()
		a := schema.AlarmMember{Member: r.GetMemberID(), Type: r.GetAlarm().String()}
		if x <= last {
			state[a] = r.GetAction() == pb.AlarmRequest_ACTIVATE
		}
		may[a] = may[a] || t.open(x)
	}
	for a := range may {
		on, known := state[a]
		if may[a] && (known || t.whole) && on != slices.Contains(t.tables.Alarms, a) {
			return false
		}
	}
	return true
}

func (t *tableLog) authAfter(last uint64) bool {
	if !t.whole || !slices.ContainsFunc(t.h.authWrites, func(w authz.Write) bool { return t.open(w.Index) }) {
		return true
	}
	s := authz.New()
	for _, w := range t.h.authWrites {
		if w.Index <= last {
			s.Apply(w.Request)
		}
	}
	return s.Equal(t.tables)
}
