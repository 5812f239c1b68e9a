package diff

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/raftlog"
)

// history is one log as several members followed it, and what there is to know of it without looking at any db.
type history struct {
	entries []align.Entry
	log     *align.Log
	touched *touched
	leases  map[int64][]leaseEvent // in order
	// Indexes of entries of some kinds, in order.
	authWrites, alarms, confChanges []uint64
}

func newHistory(entries []align.Entry) *history {
	h := &history{entries: entries, touched: newTouched(), leases: map[int64][]leaseEvent{}}
	h.log = align.NewLog(entries, h.visit)
	h.touched.merge()
	return h
}

func (h *history) visit(e *align.Entry, r *raftlog.Request) {
	switch {
	case r.Type == "ConfChange" || r.Type == "ConfChangeV2":
		h.confChanges = append(h.confChanges, e.Index)
	case isAuthWrite(r.Type):
		h.authWrites = append(h.authWrites, e.Index)
	}
	in := r.Internal
	switch {
	case in == nil:
	case in.LeaseGrant != nil:
		h.leases[in.LeaseGrant.ID] = append(h.leases[in.LeaseGrant.ID], leaseEvent{e.Index, true})
	case in.LeaseRevoke != nil:
		h.leases[in.LeaseRevoke.ID] = append(h.leases[in.LeaseRevoke.ID], leaseEvent{e.Index, false})
	case in.Alarm != nil:
		if in.Alarm.Action != pb.AlarmRequest_GET {
			h.alarms = append(h.alarms, e.Index)
		}
	}
	h.touched.request(in)
}

// whole tells whether the log reaches back to the cluster's first entry without a gap.
func (h *history) whole() bool {
	n := len(h.entries)
	return n > 0 && h.entries[0].Index == 1 && h.entries[n-1].Index == uint64(n)
}
