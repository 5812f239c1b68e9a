package diff

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/schema"
)

// leaseEvent is an entry that grants a lease, or revokes it.
type leaseEvent struct {
	index uint64
	grant bool
	// refused is true if an alarm that is on, as the log says, keeps it from having an effect.
	refused bool
}

// leaseLog is when leases were granted and revoked, as the log says, with what a member's table says in the end.
type leaseLog struct {
	events map[int64][]leaseEvent // in order
	final  map[int64]bool         // what the table holds
	whole  bool                   // the log begins with the cluster: what it does not grant never was
	calm   bool                   // no alarm kept anything from an effect
}

func newLeaseLog(events map[int64][]leaseEvent, leases []schema.LeaseRecord, whole bool) *leaseLog {
	l := &leaseLog{events: events, final: map[int64]bool{}, whole: whole}
	for _, r := range leases {
		l.final[r.ID] = true
	}
	return l
}

// state tells whether a lease exists when an entry is applied: Allowed if it does, Denied if not. A lease is missing once
// it was revoked, or if the whole log never granted it; but one that the table still holds with no later grant was not
// revoked on this member, whatever the log asked, and one that it does not hold though it was granted and not revoked may
// never have been there. Where auth was on, permissions may have refused a revocation, if it is not the last thing that
// befell a lease which is gone in the end.
func (l *leaseLog) state(lease int64, index uint64, authOn func(index uint64) bool) align.Judgement {
	var last leaseEvent
	known, regranted, revoked := false, false, false
	for _, ev := range l.events[lease] {
		switch {
		case ev.refused && !l.calm:
		case ev.index < index:
			last, known = ev, true
		case ev.grant:
			regranted = true
		default:
			revoked = true
		}
	}
	switch {
	case l.final[lease] && !regranted:
		return align.Allowed
	case !known && l.whole:
		return align.Denied
	case !known:
		return align.Doubtful
	case !last.grant && authOn(last.index) && (revoked || regranted):
		return align.Doubtful
	case !last.grant:
		return align.Denied // nothing behind it can have taken the lease from the table
	case !revoked && !regranted:
		return align.Doubtful
	}
	return align.Allowed
}

// leasesNeeded lists the leases that must exist for a request to do what it wants.
func leasesNeeded(in *pb.InternalRaftRequest, want []align.Change) []int64 {
	if in.GetLeaseRevoke() != nil {
		return []int64{in.LeaseRevoke.ID}
	}
	var ids []int64
	for _, ch := range want {
		if ch.Lease != 0 && !slices.Contains(ids, ch.Lease) {
			ids = append(ids, ch.Lease)
		}
	}
	return ids
}

// followLeases marks what the want of a lease led to: requests that use it are refused on members that lack it.
func (c *comparison) followLeases() {
	for _, k := range c.causes {
		if k.layer != LayerLease {
			continue
		}
		for _, x := range c.causes {
			if x.layer == LayerApply && x.outcome == align.Refused && x.of == nil && x.index > k.index && separates(x.groups, k.groups) && c.uses(x, k.leases) {
				x.of = k
			}
		}
	}
}

// uses tells whether all entries of a cause use one of some leases.
func (c *comparison) uses(k *cause, leases []int64) bool {
	for _, index := range append([]uint64{k.index}, k.entries...) {
		used := false
		for _, s := range c.stepsAt(k.odd[0], index) {
			for _, ch := range s.Predicted {
				used = used || slices.Contains(leases, ch.Lease)
			}
		}
		if !used {
			return false
		}
	}
	return true
}

// followGrants makes consequences of requests that want a lease which a user's request was to grant, or that an alarm
// refuses which it was to turn on, on members that refuse what this user asks for.
func (c *comparison) followGrants() {
	for _, x := range c.causes {
		if x.layer != LayerApply || x.again || x.of != nil || x.index == 0 || len(x.odd) == 0 {
			continue
		}
		led := func(k *cause) bool {
			return !slices.ContainsFunc(append([]uint64{x.index}, x.entries...), func(index uint64) bool {
				before := c.neededBy(x, index)
				return before <= k.index || !c.sameUser(k, before)
			})
		}
		for _, k := range c.causes {
			if k != x && k.of == nil && k.layer == LayerApply && k.outcome == align.Refused && !k.again && k.index > 0 &&
				slices.Equal(k.odd, x.odd) && !c.sameUser(k, x.index) && led(k) {
				x.of = k
				break
			}
		}
	}
}

// neededBy is the entry that decided what became of one of a cause's: it granted the lease that this one wants, or turned on
// the alarm that refuses it. 0 if there is none.
func (c *comparison) neededBy(x *cause, index uint64) uint64 {
	switch x.outcome {
	case align.Refused:
		return c.grantFor(x, index)
	case align.Permitted:
		return c.alarmFor(x, index)
	}
	return 0
}

// followRevokes makes consequences of leases that were revoked on those members only on which the user may write all keys of
// the lease: others, which had parted before, had attached more to it. So are requests that want such a lease.
func (c *comparison) followRevokes() {
	for _, k := range c.causes {
		revoke := k.index
		switch {
		case k.of != nil:
			continue
		case k.layer == LayerLease:
			if len(k.leases) != 1 || !c.revokedByKeys(k) {
				continue
			}
		case k.layer == LayerApply && k.outcome == align.Refused && !k.again && len(k.odd) > 0:
			if revoke = c.revokedFor(k); revoke == 0 {
				continue
			}
		default:
			continue
		}
		for _, x := range c.causes {
			if x.of == nil && x.own() && x.index < revoke && separates(k.groups, x.groups) {
				k.of = x
				break
			}
		}
	}
}

// revokedByKeys tells whether permissions refuse the entry of a cause, which revokes a lease, because of the keys that were
// attached to it on just those members that have the lease still.
func (c *comparison) revokedByKeys(k *cause) bool {
	for _, i := range slices.Concat(k.groups...) {
		judged, known := c.mayRevoke(i, k.index, k.leases[0])
		left := slices.ContainsFunc(c.ms[i].DB.Tables.Leases, func(l schema.LeaseRecord) bool { return l.ID == k.leases[0] })
		if !known || left == judged {
			return false
		}
	}
	return true
}

// mayRevoke tells whether permissions let an entry revoke a lease on member i, for the keys that were attached to it there.
func (c *comparison) mayRevoke(i int, index uint64, lease int64) (may, known bool) {
	r, at := c.request(i, index), c.revisionAt(i, index-1)
	if r == nil || r.Internal.GetLeaseRevoke() == nil || at < c.ms[i].DB.CompactRevision() {
		return false, false
	}
	keys := c.inputs[i].Index.Attached(lease, at)
	return !c.auths[i].denies(index, r, func(int64) []string { return keys }), true
}

// revokedFor is the entry that revoked the lease which all entries of a cause want, on its odd members only, because of the keys
// that were attached to it. 0 if there is none.
func (c *comparison) revokedFor(k *cause) (revoke uint64) {
	i := k.odd[0]
	for _, s := range c.stepsAt(i, k.index) {
		for _, id := range leasesNeeded(nil, s.Predicted) {
			if !c.uses(k, []int64{id}) {
				continue
			}
			for _, ev := range c.views[i].leases[id] {
				if ev.index >= k.index || ev.refused {
					continue
				}
				revoke = 0
				if !ev.grant && !slices.ContainsFunc(slices.Concat(k.groups...), func(j int) bool {
					may, known := c.mayRevoke(j, ev.index, id)
					return !known || may != slices.Contains(k.odd, j)
				}) {
					revoke = ev.index
				}
			}
			if revoke > 0 {
				return revoke
			}
		}
	}
	return 0
}

// grantFor is the entry that granted the lease which an entry of a cause wants, 0 if it wants none.
func (c *comparison) grantFor(k *cause, index uint64) (grant uint64) {
	i := k.odd[0]
	for _, s := range c.stepsAt(i, index) {
		for _, id := range leasesNeeded(nil, s.Predicted) {
			for _, ev := range c.views[i].leases[id] {
				if ev.grant && ev.index < index {
					grant = max(grant, ev.index)
				}
			}
		}
	}
	return grant
}

// alarmFor is the entry that turned the alarm on which refuses an entry of a cause, 0 if there is none.
func (c *comparison) alarmFor(k *cause, index uint64) uint64 {
	if t, known := c.views[k.odd[0]].alarmAt(index); known && t.on {
		return t.index
	}
	return 0
}

// sameUser tells whether a user sent all entries of a cause, and another entry.
func (c *comparison) sameUser(k *cause, index uint64) bool {
	r := c.request(k.odd[0], index)
	return r != nil && r.User != "" && !slices.ContainsFunc(append([]uint64{k.index}, k.entries...), func(x uint64) bool {
		o := c.request(k.odd[0], x)
		return o == nil || o.User != r.User
	})
}
