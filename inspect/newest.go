package inspect

import (
	"time"

	"etcd-autopsy/inspect/raftlog"
)

// leaseBits are those of a request id that are left where a server chooses the id of a lease (server/etcdserver/v3_server.go of etcd 3.7,
// LeaseGrant): it is made as that of a request, without the highest bit.
const leaseBits = 1<<63 - 1

// Newest is the latest time that the member's files tell, zero if they tell none. Nothing in them is dated but by the ids that
// servers give to requests and to leases, which hold when their process started: the cluster came to it, and may have run on for long.
// The id of a lease may be a client's choice: it counts if its first bits are those of a member in the db.
func (m *Member) Newest() time.Time {
	var newest time.Time
	note := func(at time.Time) {
		if at.After(newest) {
			newest = at
		}
	}
	var clock raftlog.Clock
	for i := range m.Log.Entries {
		if r, err := raftlog.Decode(&m.Log.Entries[i]); err == nil {
			clock.Note(m.Log.Entries[i].Index, r)
		}
	}
	for _, s := range clock.Starts {
		note(s.At)
	}
	if m.DB == nil {
		return newest
	}
	members := map[uint16]bool{}
	for _, x := range m.DB.Tables.Members {
		members[uint16(x.ID&(leaseBits>>48))] = true
	}
	for _, l := range m.DB.Tables.Leases {
		if p := raftlog.Proposer(uint64(l.ID)); l.ID > 0 && members[p.Prefix] {
			note(p.Started())
		}
	}
	return newest
}
