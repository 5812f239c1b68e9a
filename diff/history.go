package diff

import (
	"cmp"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/raftlog"
)

// history is one log as several members followed it, and what there is to know of it without looking at any db.
type history struct {
	entries []align.Entry
	log     *align.Log
	touched align.Touched
	leases  map[int64][]leaseEvent // in order
	// Indexes of entries of some kinds, in order.
	alarms, confChanges []uint64
	undecoded           []uint64 // of which nobody knows what they ask for
	authWrites          []authz.Write
	alarmed             map[alarmID]bool // those that are on as far as the log is read
	firstOf             []alarmTurn      // the first entry about each alarm, in order
	refusing            []turn           // when alarms that refuse writes came on and went off
	checked             []authz.Check    // auth revisions that requests were checked at, each higher than all before
}

// turn is a change of the alarms: behind the entry some are on, or none.
type turn struct {
	index   uint64
	on      bool
	corrupt bool // one of them refuses everything
}

func newHistory(entries []align.Entry) *history {
	h := &history{entries: entries, leases: map[int64][]leaseEvent{}, alarmed: map[alarmID]bool{}}
	h.log = align.NewLog(entries, h.visit)
	h.touched.Merge()
	return h
}

func (h *history) visit(e *align.Entry, r *raftlog.Request) {
	switch {
	case r.Type == "ConfChange" || r.Type == "ConfChangeV2":
		h.confChanges = append(h.confChanges, e.Index)
	case isAuthWrite(r.Type):
		h.authWrites = append(h.authWrites, authz.Write{Index: e.Index, Request: r})
	}
	if n := len(h.checked); r.User != "" {
		switch {
		case n == 0 || r.AuthRevision > h.checked[n-1].Revision:
			h.checked = append(h.checked, authz.Check{Index: e.Index, Last: e.Index, Revision: r.AuthRevision})
		case r.AuthRevision == h.checked[n-1].Revision:
			h.checked[n-1].Last = e.Index
		}
	}
	in := r.Internal
	switch {
	case in == nil:
		if r.Type == "Unknown" {
			h.undecoded = append(h.undecoded, e.Index)
		}
	case in.LeaseGrant != nil:
		h.lease(in.LeaseGrant.ID, leaseEvent{e.Index, true, h.refuses(in)})
	case in.LeaseRevoke != nil:
		h.lease(in.LeaseRevoke.ID, leaseEvent{e.Index, false, h.refuses(in)})
	case in.Alarm != nil:
		h.alarm(e.Index, in.Alarm)
	}
	h.touched.Add(in)
}

// checkedUpTo are the auth revisions that requests up to an entry were checked at.
func (h *history) checkedUpTo(index uint64) []authz.Check {
	n, _ := slices.BinarySearchFunc(h.checked, index+1, func(t authz.Check, x uint64) int { return cmp.Compare(t.Index, x) })
	all := slices.Clone(h.checked[:n])
	if n > 0 {
		all[n-1].Last = min(all[n-1].Last, index)
	}
	return all
}

func (h *history) lease(id int64, ev leaseEvent) { h.leases[id] = append(h.leases[id], ev) }

// aboutLease are the entries that grant or revoke a lease.
func (h *history) aboutLease(id int64) (all []uint64) {
	for _, ev := range h.leases[id] {
		all = append(all, ev.index)
	}
	return all
}

// refuses tells whether an alarm that is on, as far as the log is read, refuses a request.
func (h *history) refuses(in *pb.InternalRaftRequest) bool {
	n := len(h.refusing)
	return n > 0 && h.refusing[n-1].on && refusedBy(h.refusing[n-1], in)
}

func (h *history) alarm(index uint64, r *pb.AlarmRequest) {
	if r.Action == pb.AlarmRequest_GET {
		return
	}
	h.alarms = append(h.alarms, index)
	id := alarmID{r.MemberID, r.Alarm}
	if !slices.ContainsFunc(h.firstOf, func(t alarmTurn) bool { return t.id == id }) {
		h.firstOf = append(h.firstOf, alarmTurn{index, id})
	}
	switch {
	case r.Action == pb.AlarmRequest_ACTIVATE:
		h.alarmed[id] = true
	default:
		if _, known := h.alarmed[id]; !known && len(h.refusing) == 0 {
			h.refusing = append(h.refusing, turn{0, true, r.Alarm == pb.AlarmType_CORRUPT}) // it was on when the log begins
		}
		delete(h.alarmed, id)
	}
	corrupt := false
	for id := range h.alarmed {
		corrupt = corrupt || id.typ == pb.AlarmType_CORRUPT
	}
	h.refusing = append(h.refusing, turn{index, len(h.alarmed) > 0, corrupt})
}

// alarmID is an alarm of a member.
type alarmID struct {
	member uint64
	typ    pb.AlarmType
}

// alarmTurn is an entry about an alarm.
type alarmTurn struct {
	index uint64
	id    alarmID
}

// alarmsAt are the alarms that are on when an entry is applied, as far as the log tells.
func (h *history) alarmsAt(index uint64) map[alarmID]bool { return h.alarmsWithout(index, loss{}) }

// alarmsWithout is alarmsAt, if some entries had no effect.
func (h *history) alarmsWithout(index uint64, l loss) map[alarmID]bool {
	on := map[alarmID]bool{}
	for n, x := range h.alarms {
		e := find(h.entries, x)
		if e == nil || h.lost(x, l) {
			continue
		}
		r := e.Request().Internal.GetAlarm()
		id := alarmID{r.GetMemberID(), r.GetAlarm()}
		active := r.GetAction() == pb.AlarmRequest_ACTIVATE
		switch {
		case x >= index && n == 0 && !active:
			on[id] = true // it was on when the log begins
		case x >= index:
		case active:
			on[id] = true
		default:
			delete(on, id)
		}
	}
	return on
}

// lifts are the entries that ended all alarms.
func (h *history) lifts() (all []align.Lift) {
	for n, t := range h.refusing {
		if n == 0 || t.on || !h.refusing[n-1].on {
			continue
		}
		was := h.refusing[n-1]
		all = append(all, align.Lift{Index: t.index, End: h.nextOfAlarm(t.index), Refuses: func(r *raftlog.Request) bool {
			return r != nil && r.Internal != nil && refusedBy(was, r.Internal)
		}})
	}
	return all
}

// activates tells whether the log holds an entry before another one that turns an alarm on.
func (h *history) activates(id alarmID, before uint64) bool {
	return slices.ContainsFunc(h.alarms, func(x uint64) bool {
		if x >= before {
			return false
		}
		r := find(h.entries, x).Request().Internal.GetAlarm()
		return r.GetAction() == pb.AlarmRequest_ACTIVATE && id == alarmID{r.GetMemberID(), r.GetAlarm()}
	})
}

// last is the last entry, 0 if there is none.
func (h *history) last() uint64 {
	if len(h.entries) == 0 {
		return 0
	}
	return h.entries[len(h.entries)-1].Index
}

// whole tells whether the log reaches back to the cluster's first entry without a gap.
func (h *history) whole() bool {
	n := len(h.entries)
	return n > 0 && h.entries[0].Index == 1 && h.entries[n-1].Index == uint64(n)
}

// missingBetween tells whether entries between two are in no log.
func (h *history) missingBetween(first, last uint64) bool {
	at := func(index uint64) int {
		n, _ := slices.BinarySearchFunc(h.entries, index, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
		return min(n, len(h.entries)-1)
	}
	n, m := at(first), at(last)
	return n < m && h.entries[m].Index-h.entries[n].Index != uint64(m-n)
}

// holed tells whether entries before one are in no log, though some before these are.
func (h *history) holed(index uint64) bool { return h.missingBetween(0, index) }

// nextOfAlarm is the next entry about the same alarm as an entry's, the highest index there is if none: the alarm stays as
// it is to the end, whatever others do.
func (h *history) nextOfAlarm(index uint64) uint64 {
	var first *pb.AlarmRequest
	for _, x := range h.alarms {
		e := find(h.entries, x)
		if x < index || e == nil {
			continue
		}
		switch r := e.Request().Internal.GetAlarm(); {
		case first == nil:
			first = r
		case r.GetMemberID() == first.GetMemberID() && r.GetAlarm() == first.GetAlarm():
			return x
		}
	}
	return math.MaxUint64
}
