package diff

import (
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/bolt"
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
			s.Readable = db.HasKeys
			s.OlderMeta = olderMeta(db.Bolt)
			s.ConsistentIndex = t.ConsistentIndex
			s.Revision, s.CompactRevision = db.Revision(), db.CompactRevision()
			s.Revisions = db.Rows.Len()
			s.Leases, s.AuthEnabled, s.AuthRevision = len(t.Leases), t.AuthEnabled, t.AuthRevision
			s.ClusterVersion, s.StorageVersion = m.ClusterVersion(), t.StorageVersion
		}
		all = append(all, s)
	}
	for i := range all {
		all[i].Removed = removed(ms, all[i].MemberID)
	}
	return all
}

// olderMeta tells whether a db is read by a meta page although a newer one is valid.
func olderMeta(db *bolt.DB) bool {
	if db == nil {
		return false
	}
	metas := db.Metas()
	return slices.ContainsFunc(metas[:], func(m bolt.Meta) bool { return m.Valid && m.TxID > db.Meta().TxID })
}

// count fills in what takes a pass over all rows.
func (c *comparison) count() {
	c.each(func(i int) {
		m := c.ms[i]
		for k := range c.all {
			if s := &c.doc.Members[k]; c.all[k] == m {
				s.Keys = m.DB.Rows.CountLive()
				s.HashKV = m.DB.Rows.HashKV(s.Revision, s.CompactRevision)
			}
		}
	})
}

// removed tells whether any member's table of removed members names id.
func removed(ms []*inspect.Member, id *ID) bool {
	return id != nil && slices.ContainsFunc(ms, func(m *inspect.Member) bool {
		return m.DB != nil && slices.Contains(m.DB.Tables.MembersRemoved, uint64(*id))
	})
}
