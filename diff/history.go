package diff

import (
	"slices"

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
	alarmed                         map[alarmID]bool // those that are on as far as the log is read
	refusing                        []turn           // when alarms that refuse writes came on and went off
}

// turn is a change of a state: from behind the entry on it is on, or off.
type turn struct {
	index uint64
	on    bool
}

func newHistory(entries []align.Entry) *history {
	h := &history{entries: entries, touched: newTouched(), leases: map[int64][]leaseEvent{}, alarmed: map[alarmID]bool{}}
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
		h.alarm(e.Index, in.Alarm)
	}
	h.touched.request(in)
}

func (h *history) alarm(index uint64, r *pb.AlarmRequest) {
	if r.Action == pb.AlarmRequest_GET {
		return
	}
	h.alarms = append(h.alarms, index)
	id := alarmID{r.MemberID, r.Alarm}
	switch {
	case r.Action == pb.AlarmRequest_ACTIVATE:
		h.alarmed[id] = true
	default:
		if _, known := h.alarmed[id]; !known && len(h.refusing) == 0 {
			h.refusing = append(h.refusing, turn{0, true}) // it was on when the log begins
		}
		delete(h.alarmed, id)
	}
	h.refusing = append(h.refusing, turn{index, len(h.alarmed) > 0})
}

// alarmID is an alarm of a member.
type alarmID struct {
	member uint64
	typ    pb.AlarmType
}

// stateAt is the state that the last turn before an entry leaves, given the one before all of them.
func stateAt(turns []turn, index uint64, before bool) bool {
	for _, t := range slices.Backward(turns) {
		if t.index < index {
			return t.on
		}
	}
	return before
}

// whole tells whether the log reaches back to the cluster's first entry without a gap.
func (h *history) whole() bool {
	n := len(h.entries)
	return n > 0 && h.entries[0].Index == 1 && h.entries[n-1].Index == uint64(n)
}
