package diff

import (
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// summaries describes every member, those without a db too.
func summaries(ms []*inspect.Member) []Member {
	var all []Member
	for _, m := range ms {
		s := Member{Label: m.Label, Name: m.Name()}
		if m.Log.HasMetadata {
			node, cluster := ID(m.Log.NodeID), ID(m.Log.ClusterID)
			s.MemberID, s.ClusterID = &node, &cluster
		}
		s.Complete, _ = m.Complete()
		s.Log = LogSummary{FirstIndex: m.Log.First(), LastIndex: m.Log.Last(), Commit: m.Log.HardState.Commit, Term: m.Log.HardState.Term}
		s.Term = m.Term()
		if db := m.DB; db != nil {
			t := db.Tables
			s.Readable = true
			s.ConsistentIndex = t.ConsistentIndex
			s.Revision, s.CompactRevision = db.Revision(), db.CompactRevision()
			s.Revisions, s.Keys = db.Rows.Len(), db.Rows.CountLive()
			s.Leases, s.AuthEnabled, s.AuthRevision = len(t.Leases), t.AuthEnabled, t.AuthRevision
			s.HashKV = db.Rows.HashKV(s.Revision, s.CompactRevision)
			s.ClusterVersion, s.StorageVersion = m.ClusterVersion(), t.StorageVersion
		}
		all = append(all, s)
	}
	for i := range all {
		all[i].Removed = removed(ms, all[i].MemberID)
	}
	return all
}

// removed tells whether any member's table of removed members names id.
func removed(ms []*inspect.Member, id *ID) bool {
	return id != nil && slices.ContainsFunc(ms, func(m *inspect.Member) bool {
		return m.DB != nil && slices.Contains(m.DB.Tables.MembersRemoved, uint64(*id))
	})
}

var _ mvcc.Revision
