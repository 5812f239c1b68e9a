package diff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect/schema"
)

// checkTablesAgainstLog adds what a member's own log says that its small tables must hold at its consistent index, and they do not: others may have gone
// on since, so that comparing tables does not show it. Nothing is said of a member that is in a group of a divergence already.
//
// Tolerances: up to 3.4 a table may be ahead of the consistent index, which is saved with keys only, and 3.5.3 and 3.5.4 did not save it
// with alarms: nothing is said where a later entry undoes what is missing. Entries that alarms or permissions may have refused, or that are in
// no log, are not held against it.
func (c *comparison) checkTablesAgainstLog() {
	if c.logs == nil {
		return
	}
	for i, m := range c.ms {
		if c.inDivergence(m.Label) {
			continue
		}
		var all []Divergence
		all = append(all, c.leasesAgainstLog(i)...)
		all = append(all, c.alarmsAgainstLog(i)...)
		for _, v := range all {
			if !m.Evidence().TableCounts(tableBuckets[v.Layer]...) {
				c.reason("%s: %s; but its log goes on, and the table does not lie on the page of its consistent index: it may be of an earlier moment", m.Label, v.What)
				continue
			}
			c.addDivergence(v, nil, verdict.Holdings)
		}
	}
}

// inDivergence tells whether a divergence has a member on one side.
func (c *comparison) inDivergence(label string) bool {
	return slices.ContainsFunc(c.doc.Divergences, func(v Divergence) bool {
		return slices.ContainsFunc(v.Groups, func(g []string) bool { return slices.Contains(g, label) })
	})
}

// maxTTL is what etcd grants at most, in seconds (server/lease/lessor.go, MaxLeaseTTL).
const maxTTL = 9_000_000_000

func (c *entryEffects) leasesAgainstLog(i int) (all []Divergence) {
	h, t := c.histories[i], c.ms[i].DB.Tables
	index := t.ConsistentIndex
	for _, id := range slices.SortedFunc(maps.Keys(h.leases), func(a, b int64) int { return cmp.Compare(uint64(a), uint64(b)) }) {
		evs := h.leases[id]
		var last *leaseEvent
		later, settled := false, true
		for k := range evs {
			if evs[k].index <= index {
				last = &evs[k]
				settled = settled && !c.mayHaveBeenRefused(i, &evs[k])
			} else {
				later = later || last != nil && evs[k].grant != last.grant
			}
		}
		if last == nil || id == 0 || later && (!t.HasTerm || c.aheadOfIndex(i)) || !h.holdsRange(last.index, index) || !settled {
			continue
		}
		held := slices.ContainsFunc(t.Leases, func(r schema.LeaseRecord) bool { return r.ID == id })
		var what string
		switch q := c.request(i, last.index); {
		case last.grant && !held && q != nil && q.Internal.GetLeaseGrant().GetTTL() <= maxTTL:
			what = fmt.Sprintf("the lease that entry %d grants is missing, and no entry up to %d, which %s has come to, revokes it", last.index, index, c.ms[i].Label)
		case !last.grant && held && !later && c.authNever(i):
			what = fmt.Sprintf("the lease that entry %d revokes is still there, and no entry up to %d, which %s has come to, grants it again", last.index, index, c.ms[i].Label)
		default:
			continue
		}
		v := c.ownDivergence(i, LayerLease, last.index, what)
		v.Leases = []ID{ID(uint64(id))}
		all = append(all, v)
	}
	return all
}

// mayHaveBeenRefused tells whether an alarm may have refused an entry about a lease.
func (c *contents) mayHaveBeenRefused(i int, ev *leaseEvent) bool {
	h := c.histories[i]
	if ev.refused || len(h.alarmChanges) > 0 && h.alarmChanges[0].index == 0 && h.alarmChanges[0].on && (len(h.alarmChanges) < 2 || ev.index < h.alarmChanges[1].index) {
		return true
	}
	return len(c.ms[i].DB.Tables.Alarms) > 0 && !h.fromFirstEntry()
}

// authNever tells whether permissions have refused nothing on member i, because auth was never on.
func (c *contents) authNever(i int) bool {
	return !c.ms[i].DB.Tables.AuthEnabled && len(c.histories[i].authWrites) == 0 && len(c.histories[i].checked) == 0
}

func (c *comparison) alarmsAgainstLog(i int) (all []Divergence) {
	h, t := c.histories[i], c.ms[i].DB.Tables
	if !c.authNever(i) {
		return nil
	}
	type state struct {
		last  uint64
		on    bool
		later uint64 // the first entry behind the index about it
	}
	states := map[alarmID]*state{}
	var order []alarmID
	for _, x := range h.alarms {
		r := c.request(i, x).Internal.GetAlarm()
		id := alarmID{r.GetMemberID(), r.GetAlarm()}
		s := states[id]
		if s == nil {
			s = &state{}
			states[id], order = s, append(order, id)
		}
		if x <= t.ConsistentIndex {
			s.last, s.on = x, r.GetAction() == pb.AlarmRequest_ACTIVATE
		} else {
			s.later = cmp.Or(s.later, x)
		}
	}
	for _, id := range order {
		s := states[id]
		held := slices.Contains(t.Alarms, schema.AlarmMember{Member: id.member, Type: id.typ.String()})
		if s.last > 0 && s.later > 0 && held != s.on {
			c.notCompared("alarms", fmt.Sprintf("%s does not hold what entry %d made of an alarm, and entry %d, to which it has not come, changes that again: its table may be ahead", c.ms[i].Label, s.last, s.later))
			continue
		}
		if s.last == 0 || held == s.on || id.typ == pb.AlarmType_NONE || !h.holdsRange(s.last, t.ConsistentIndex) {
			continue
		}
		what := fmt.Sprintf("the alarm that entry %d turns on is not there, though no entry up to %d turns it off", s.last, t.ConsistentIndex)
		if held {
			what = fmt.Sprintf("the alarm that entry %d turns off is still there", s.last)
		}
		all = append(all, c.ownDivergence(i, LayerAlarm, s.last, what))
	}
	return all
}

// ownDivergence is that of a member from its own log, with others on the other side that have come as far by the same log.
func (c *contents) ownDivergence(i int, layer Layer, index uint64, what string) Divergence {
	v := Divergence{Layer: layer, Entry: c.entry(i, index), What: what}
	var rest []int
	for j, m := range c.ms {
		if j != i && m.DB.Tables.ConsistentIndex >= index && c.logs.history[j] == c.logs.history[i] {
			rest = append(rest, j)
		}
	}
	own := Effect{Members: c.labels([]int{i}), Note: what}
	if len(rest) == 0 {
		v.Groups, v.Effects = [][]string{own.Members}, []Effect{own}
		return v
	}
	groups := [][]int{{i}, rest}
	sortGroups(groups)
	for _, g := range groups {
		v.Groups = append(v.Groups, c.labels(g))
		e := own
		if g[0] != i {
			e = Effect{Members: c.labels(g), Note: "the entry had its effect, or later entries have changed that since"}
		}
		v.Effects = append(v.Effects, e)
	}
	v.Minority = minority(v.Groups)
	return v
}
