package diff

import (
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/mvcc"
)

// summaries describes every member, those without a db too.
func summaries(ms []*inspect.Member) []Member {
	var all []Member
	for _, m := range ms {
		s := Member{Label: m.Label, Named: NameOf(m.Name())}
		if m.Log.HasMetadata {
			node, cluster := ID(m.Log.NodeID), ID(m.Log.ClusterID)
			s.MemberID, s.ClusterID = &node, &cluster
		}
		s.Complete, _ = m.Complete()
		s.Log = logSummary(m)
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
	var tables []*mvcc.Table
	var revs, compacts []int64
	var of []*Member
	for k, m := range c.all {
		if slices.Contains(c.ms, m) {
			s := &c.doc.Members[k]
			of, tables = append(of, s), append(tables, m.DB.Rows)
			revs, compacts = append(revs, s.Revision), append(compacts, s.CompactRevision)
		}
	}
	if len(of) == 0 {
		return
	}
	if len(c.shared) != len(of) { // they were not compared
		c.shared = make([]int, len(of))
	}
	// Without a compaction the hash needs no links: it is made while these are.
	if slices.Max(compacts) > 0 {
		c.waitLinked()
	}
	var sums []uint32
	c.runTogether(func(spawn func(func())) { sums = mvcc.HashKVs(tables, c.shared, revs, compacts, spawn) })
	c.waitLinked()
	for i, s := range of {
		if len(sums) > 0 {
			s.Keys, s.HashKV = tables[i].CountLive(), sums[i]
		}
	}
}

// countOthers counts the keys of members that are not compared.
func (c *comparison) countOthers() {
	for k, m := range c.all {
		if m.DB == nil || !m.DB.HasKeys || slices.Contains(c.ms, m) {
			continue
		}
		s := &c.doc.Members[k]
		s.Keys = m.DB.Rows.CountLive()
		if sums := mvcc.HashKVs([]*mvcc.Table{m.DB.Rows}, []int{0}, []int64{s.Revision}, []int64{s.CompactRevision}, func(f func()) { f() }); len(sums) == 1 {
			s.HashKV = sums[0]
		}
	}
}

// waitLinked waits until the rows of all members are linked, if they are to be.
func (c *contents) waitLinked() {
	if c.rowsLinked != nil {
		<-c.rowsLinked
	}
}

// removed tells whether any member's table of removed members names id.
func removed(ms []*inspect.Member, id *ID) bool {
	return id != nil && slices.ContainsFunc(ms, func(m *inspect.Member) bool {
		return m.DB != nil && slices.Contains(m.DB.Tables.MembersRemoved, uint64(*id))
	})
}

// logSummary reads no file.
func logSummary(m *inspect.Member) LogSummary {
	return LogSummary{FirstIndex: m.Log.First(), LastIndex: m.Log.Last(), Commit: m.Log.HardState.Commit, Term: m.Log.HardState.Term}
}
