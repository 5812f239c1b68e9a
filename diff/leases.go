package diff

import "etcd-autopsy/inspect/schema"

// leaseEvent is an entry that grants a lease, or revokes it.
type leaseEvent struct {
	index uint64
	grant bool
}

// leaseLog is when leases were granted and revoked, as the log says, with what a member's table says in the end.
type leaseLog struct {
	events map[int64][]leaseEvent // in order
	final  map[int64]bool         // what the table holds
	whole  bool                   // the log begins with the cluster: what it does not grant never was
}

func newLeaseLog(events map[int64][]leaseEvent, leases []schema.LeaseRecord, whole bool) *leaseLog {
	l := &leaseLog{events: events, final: map[int64]bool{}, whole: whole}
	for _, r := range leases {
		l.final[r.ID] = true
	}
	return l
}

// Missing implements align.Leases. A lease is certainly missing once it was revoked, or if the whole log never granted
// it; but a lease that the table still holds with no later grant was not revoked on this member, whatever the log asked.
func (l *leaseLog) Missing(lease int64, index uint64) bool {
	last, later, known := leaseEvent{}, false, false
	for _, ev := range l.events[lease] {
		if ev.index < index {
			last, known = ev, true
		} else if ev.grant {
			later = true
		}
	}
	if l.final[lease] && !later {
		return false
	}
	if !known {
		return l.whole
	}
	return !last.grant
}
