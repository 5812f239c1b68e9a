package diff

import (
	"cmp"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/raftlog"
)

// history is one log as several members followed it, and what there is to know of it without looking at any db. Its invariants:
//
//   - All of it but touched is noted on one pass over the entries, in their order (newHistory, then addPending), by the goroutine that calls Compare.
//     After that it is only read, by any number of them.
//   - Indexes are in the order of the log, in every list. Those of pending entries are in the lists about tables alone: leases, alarms and confChanges.
//   - alarmsOn and term are where the pass has come to, and of no use behind it.
type history struct {
	entries []effect.Entry
	// pending are the entries behind those that nothing says to be committed. They may have been applied all the same.
	pending []effect.Entry
	content *effect.Log
	touched func() *effect.Touched // by the entries; few ask
	leases  map[int64][]leaseEvent // in order
	// Indexes of entries of some kinds, in order.
	alarms, confChanges []uint64
	undecoded           []uint64 // of which nobody knows what they ask for
	authWrites          []authz.Write
	alarmsOn            map[alarmID]bool // those that are on as far as the log is read
	alarmChanges        []alarmChange    // when alarms that refuse writes came on and went off
	checked             []authz.Check    // auth revisions that requests were checked at, each higher than all before
	processes           raftlog.Processes
	milestones          []milestone
	term                uint64           // of the last entry that was read
	compactions         map[int64]uint64 // the entry that asked for a compaction at a revision
}

// alarmChange is a change of the alarms: behind the entry some are on, or none.
type alarmChange struct {
	index   uint64
	on      bool
	corrupt bool // one of them refuses everything
}

func newHistory(entries []effect.Entry) *history {
	h := &history{entries: entries, leases: map[int64][]leaseEvent{}, alarmsOn: map[alarmID]bool{}, processes: raftlog.Processes{}, compactions: map[int64]uint64{}}
	h.content = effect.NewLog(entries, h.visit)
	h.touched = sync.OnceValue(h.findTouched)
	return h
}

// findTouched finds out what the entries read or write.
func (h *history) findTouched() *effect.Touched {
	var t effect.Touched
	var d raftlog.Decoder
	for i := range h.entries {
		t.Add(h.entries[i].RequestBy(&d).Internal)
	}
	t.Merge()
	return &t
}

// addPending adds entries that may have been applied: what they would do to small tables is known.
func (h *history) addPending(entries []effect.Entry) {
	h.pending = entries
	for i := range entries {
		h.visitTables(&entries[i], entries[i].Request())
	}
}

// visitTables notes what an entry asks of the tables of members, leases and alarms.
func (h *history) visitTables(e *effect.Entry, r *raftlog.Request) {
	switch in := r.Internal; {
	case isConfChange(r):
		h.confChanges = append(h.confChanges, e.Index)
	case in == nil:
	case in.LeaseGrant != nil:
		h.lease(in.LeaseGrant.ID, leaseEvent{e.Index, true, h.refuses(in)})
	case in.LeaseRevoke != nil:
		h.lease(in.LeaseRevoke.ID, leaseEvent{e.Index, false, h.refuses(in)})
	case in.Alarm != nil:
		h.alarm(e.Index, in.Alarm)
	}
}

func isConfChange(r *raftlog.Request) bool { return r.Type == "ConfChange" || r.Type == "ConfChangeV2" }

// milestone is an entry that belongs into a timeline.
type milestone struct {
	index   uint64
	kind    EventKind
	version string // of the cluster, if that is what it sets
}

// noteMilestone notes an entry if it is a milestone.
func (h *history) noteMilestone(e *effect.Entry, r *raftlog.Request) {
	mark := func(kind EventKind) { h.milestones = append(h.milestones, milestone{index: e.Index, kind: kind}) }
	if e.Term != h.term {
		if h.term > 0 {
			mark(EventLeader)
		}
		h.term = e.Term
	}
	switch {
	case r.ClusterVersion() != "":
		h.milestones = append(h.milestones, milestone{e.Index, EventVersion, r.ClusterVersion()})
	case r.Internal.GetAuthEnable() != nil, r.Internal.GetAuthDisable() != nil:
		mark(EventAuth)
	case r.Internal.GetAlarm() != nil && r.Internal.Alarm.Action != pb.AlarmRequest_GET:
		mark(EventAlarm)
	case r.ConfChange != nil && e.Term > 1: // a cluster begins with those of term 1
		mark(EventMembership)
	case r.Internal.GetCompaction() != nil:
		if _, known := h.compactions[r.Internal.Compaction.Revision]; !known {
			h.compactions[r.Internal.Compaction.Revision] = e.Index
		}
	}
}

func (h *history) visit(e *effect.Entry, r *raftlog.Request) {
	h.processes.Note(e.Index, r)
	h.noteMilestone(e, r)
	if isAuthWrite(r.Type) {
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
	unrunnable := r.Unrunnable()
	if unrunnable {
		h.undecoded = append(h.undecoded, e.Index)
	}
	if !unrunnable || isConfChange(r) {
		h.visitTables(e, r)
	}
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
	n := len(h.alarmChanges)
	return n > 0 && h.alarmChanges[n-1].on && refusedBy(h.alarmChanges[n-1], in)
}

func (h *history) alarm(index uint64, r *pb.AlarmRequest) {
	if r.Action == pb.AlarmRequest_GET {
		return
	}
	h.alarms = append(h.alarms, index)
	id := alarmID{r.MemberID, r.Alarm}
	switch {
	case r.Action == pb.AlarmRequest_ACTIVATE:
		h.alarmsOn[id] = true
	default:
		if _, known := h.alarmsOn[id]; !known && len(h.alarmChanges) == 0 {
			h.alarmChanges = append(h.alarmChanges, alarmChange{0, true, r.Alarm == pb.AlarmType_CORRUPT}) // it was on when the log begins
		}
		delete(h.alarmsOn, id)
	}
	corrupt := false
	for id := range h.alarmsOn {
		corrupt = corrupt || id.typ == pb.AlarmType_CORRUPT
	}
	h.alarmChanges = append(h.alarmChanges, alarmChange{index, len(h.alarmsOn) > 0, corrupt})
}

// alarmID is an alarm of a member.
type alarmID struct {
	member uint64
	typ    pb.AlarmType
}

// last is the last entry, 0 if there is none.
func (h *history) last() uint64 {
	if len(h.entries) == 0 {
		return 0
	}
	return h.entries[len(h.entries)-1].Index
}

// fromFirstEntry tells whether the log reaches back to the cluster's first entry without a gap.
func (h *history) fromFirstEntry() bool {
	n := len(h.entries)
	return n > 0 && h.entries[0].Index == 1 && h.entries[n-1].Index == uint64(n)
}

// holdsRange tells whether all entries from one up to another are in a log, and can be run.
func (h *history) holdsRange(first, last uint64) bool {
	at := func(index uint64) (n int, found bool) {
		return slices.BinarySearchFunc(h.entries, index, func(e effect.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	}
	n, from := at(first)
	m, to := at(last)
	return from && to && last-first == uint64(m-n) && !slices.ContainsFunc(h.undecoded, func(x uint64) bool { return first <= x && x <= last })
}

// changesNoKeys tells whether the log holds all entries from first to last, and none of them can change keys.
func (h *history) changesNoKeys(first, last uint64) bool {
	if last < first {
		return true
	}
	if !h.holdsRange(first, last) {
		return false
	}
	n, _ := slices.BinarySearchFunc(h.entries, first, func(e effect.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for ; n < len(h.entries) && h.entries[n].Index <= last; n++ {
		if effect.ChangesKeys(h.entries[n].Request()) {
			return false
		}
	}
	return true
}

// refusedBy tells whether an alarm refuses a request: CORRUPT every one, NOSPACE those that put something or grant a lease
// (server/etcdserver/apply, capped.go and corrupt.go).
func refusedBy(t alarmChange, in *pb.InternalRaftRequest) bool {
	return t.corrupt || in.GetPut() != nil || in.GetLeaseGrant() != nil || puts(in.GetTxn().GetSuccess()) || puts(in.GetTxn().GetFailure())
}

// puts tells whether operations put something, those of transactions among them included.
func puts(ops []*pb.RequestOp) bool {
	return slices.ContainsFunc(ops, func(o *pb.RequestOp) bool {
		n := o.GetRequestTxn()
		return o.GetRequestPut() != nil || n != nil && (puts(n.Success) || puts(n.Failure))
	})
}

// leaseEvent is an entry that grants a lease, or revokes it.
type leaseEvent struct {
	index uint64
	grant bool
	// refused is true if an alarm that is on, as the log says, keeps it from having an effect.
	refused bool
}

// isAuthWrite tells whether a request changes the auth tables.
func isAuthWrite(typ string) bool {
	switch typ {
	case "AuthEnable", "AuthDisable", "AuthUserAdd", "AuthUserDelete", "AuthUserChangePassword", "AuthUserGrantRole",
		"AuthUserRevokeRole", "AuthRoleAdd", "AuthRoleDelete", "AuthRoleGrantPermission", "AuthRoleRevokePermission":
		return true
	}
	return false
}
