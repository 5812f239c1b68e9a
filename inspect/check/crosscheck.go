package check

import (
	"errors"
	"fmt"
	"slices"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// indexes compares how far db, log and snapshots have come, as a starting server does.
func (c *checker) indexes() {
	m := c.m
	t, log := m.DB.Tables, m.Log
	ci := t.ConsistentIndex
	// Up to 3.4 the index is saved with the first key, or the first snapshot: a db without it is that of a fresh member.
	fresh := m.DB.Whole && m.DB.Rows.Len() == 0 && m.DB.CompactRevision() == 0
	switch {
	case t.HasConsistentIndex || !m.DB.HasKeys:
	case fresh:
		c.add(finding.New("consistent-index-missing", finding.Info, c.dbFile(), "no key was ever written, and meta holds no consistent_index yet: a fresh member"))
	default:
		c.add(finding.New("consistent-index-missing", finding.Warning, c.dbFile(), "meta holds no consistent_index"))
	}
	var snapshot uint64
	for _, s := range log.Snapshots {
		snapshot = max(snapshot, s.Index)
	}
	if len(log.Entries) > 0 {
		if last := max(log.Last(), snapshot); ci > last {
			c.add(finding.New("index-beyond-log", finding.Warning, c.dbFile(),
				"consistent index %d, but the log ends at entry %d: the db was copied after the log, or the log lost its end", ci, last))
		} else if log.HasHardState && ci > max(log.HardState.Commit, snapshot) {
			c.add(finding.New("index-beyond-commit", finding.Info, c.dbFile(),
				"consistent index %d, last saved commit index %d: normal after a kill, since commits are not synced by themselves", ci, log.HardState.Commit))
		}
		if first := log.First(); first > ci+1 && (t.HasConsistentIndex || !fresh) {
			c.add(finding.New("log-after-db", finding.Error, c.dbFile(),
				"consistent index %d, but the log begins at entry %d: what lies between is lost and the member cannot start", ci, first))
		}
	}
	if snapshot > ci && t.HasConsistentIndex && !c.hasSnapDB(snapshot) {
		c.add(finding.New("snapshot-beyond-db", finding.Error, c.dbFile(),
			"the newest snapshot is of entry %d, but the db has come to %d only and there is no %016x.snap.db: the member cannot start", snapshot, ci, snapshot))
	}
	for _, s := range m.Snaps {
		if s.CRCOK && s.Index > 0 && len(log.Segments) > 0 && !c.recorded(s.Index, s.Term) && s.Index >= log.First() {
			c.add(finding.New("snap-not-in-log", finding.Info, s.Name, "the log has no record of this snapshot: etcd ignores the file"))
		}
	}
	if ts := t.Term; t.HasTerm && log.HasHardState && ts > max(log.HardState.Term, c.lastTerm()) {
		c.add(finding.New("term-beyond-log", finding.Warning, c.dbFile(),
			"meta says term %d, the log has come to term %d only: the db is from another log, or from before a downgrade", ts, max(log.HardState.Term, c.lastTerm())))
	}
}

// oldServers finds entries that stop servers up to 3.4. Only servers from 3.5 on propose AuthStatus, and earlier ones
// panic on it ("not implemented"), again at each start. A db that a 3.5 server has opened has a term in meta.
func (c *checker) oldServers() {
	m := c.m
	var next uint64
	old := false
	if m.DB != nil && m.DB.Tables.HasConsistentIndex {
		old = !m.DB.Tables.HasTerm && m.DB.Tables.ConfState == nil
	}
	if old {
		next = m.DB.Tables.ConsistentIndex + 1
	}
	if !old && !upTo34(m.ClusterVersion()) {
		return
	}
	var first *raftlog.Entry
	n := 0
	for i := range m.Log.Entries {
		e := &m.Log.Entries[i]
		if e.Index < next {
			continue
		}
		if r, err := raftlog.Decode(e); err != nil || r.Internal == nil || r.Internal.AuthStatus == nil {
			continue
		}
		if n++; first == nil {
			first = e
		}
	}
	if first == nil {
		return
	}
	what, sev := fmt.Sprintf("entry %d (term %d) is an AuthStatus request", first.Index, first.Term), finding.Error
	if n > 1 {
		what += fmt.Sprintf(", and so are %d more", n-1)
	}
	if old {
		what += fmt.Sprintf(": this member's db was written by 3.4 or older and has come to entry %d, so it stops there at each start", next-1)
	} else {
		what, sev = what+": members of this cluster that still run 3.4 stop there", finding.Warning
	}
	c.add(finding.New("entry-stops-old-server", sev, m.Log.Segments[first.Seg].Name, "%s", what).At(first.Offset))
}

// upTo34 tells whether a cluster version allows members before 3.5.
func upTo34(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 3 || major == 3 && minor <= 4
}

func (c *checker) lastTerm() uint64 {
	if es := c.m.Log.Entries; len(es) > 0 {
		return es[len(es)-1].Term
	}
	return 0
}

func (c *checker) recorded(index, term uint64) bool {
	for _, r := range c.m.Log.Snapshots {
		if r.Index == index && r.Term == term {
			return true
		}
	}
	return false
}

func (c *checker) hasSnapDB(index uint64) bool {
	for _, f := range c.m.Files {
		if f.Name == snapDBName(index) {
			return true
		}
	}
	return false
}

// membership compares what the log, the members bucket and raft's conf state say about who belongs to the cluster. Up to
// 3.5 a server believes the v2 store and the log, from 3.6 the bucket.
func (c *checker) membership() {
	m := c.m
	log := m.LogMembership()
	conf := m.RaftConfState()
	if e, ok := errors.AsType[*raftlog.CorruptError](log.Err); ok {
		c.add(e.Finding())
	}
	if conf != nil {
		for _, id := range conf.Learners {
			c.add(finding.New("learner-not-promoted", finding.Warning, c.dbFile(), "member %016x is a learner still: it does not vote and was not promoted", id))
		}
	}
	if m.Log.HasMetadata && m.Log.NodeID != 0 {
		id := m.Log.NodeID
		switch {
		case slices.Contains(log.Removed, id), m.DB != nil && slices.Contains(m.DB.Tables.MembersRemoved, id):
			c.add(finding.New("member-removed", finding.Warning, c.dbFile(), "this member, %016x, was removed from the cluster", id))
		case log.Whole && len(log.Members) > 0 && !hasMember(log.Members, id):
			c.add(finding.New("member-unknown", finding.Warning, "member/wal", "this member, %016x, is not a member by its own log", id))
		}
	}
	if m.DB == nil || !m.DB.Whole {
		return
	}
	if log.Whole {
		c.buckets(log.Members, conf)
	}
}

func snapDBName(index uint64) string { return fmt.Sprintf("member/snap/%016x.snap.db", index) }

// buckets compares the members bucket with the log's membership, which begins with a .snap or with the first entry.
func (c *checker) buckets(log []schema.Member, conf *schema.ConfState) {
	db := c.m.DB.Tables
	if len(db.Members) == 0 {
		return
	}
	for _, b := range db.Members {
		inConf := conf == nil || slices.Contains(conf.Voters, b.ID) || slices.Contains(conf.Learners, b.ID)
		l := findMember(log, b.ID)
		switch {
		case !inConf || l == nil && conf == nil:
			c.add(finding.New("zombie-member", finding.Error, c.dbFile(),
				"the members bucket holds member %016x (%s), which is not in raft's conf state: a leftover that comes to life on a server of 3.6 or later", b.ID, orNone(b.Name)))
		case b.IsLearner && conf != nil && slices.Contains(conf.Voters, b.ID):
			c.add(finding.New("learner-flag-stale", finding.Error, c.dbFile(),
				"the members bucket says that member %016x (%s) is a learner, raft's conf state that it votes: a server of 3.6 or later believes the bucket", b.ID, orNone(b.Name)))
		case !b.IsLearner && conf != nil && slices.Contains(conf.Learners, b.ID):
			c.add(finding.New("learner-flag-missing", finding.Error, c.dbFile(),
				"the members bucket says that member %016x (%s) votes, raft's conf state that it is a learner", b.ID, orNone(b.Name)))
		case l != nil && (b.Name != l.Name || !slices.Equal(b.PeerURLs, l.PeerURLs)):
			c.add(finding.New("member-attributes-stale", finding.Info, c.dbFile(),
				"the members bucket has an older name or older URLs of member %016x (%s) than the log", b.ID, orNone(l.Name)))
		}
	}
	for _, l := range log {
		if !hasMember(db.Members, l.ID) {
			c.add(finding.New("member-not-in-db", finding.Warning, c.dbFile(), "member %016x (%s) is not in the members bucket", l.ID, orNone(l.Name)))
		}
	}
}

func orNone(name string) string {
	if name == "" {
		return "no name"
	}
	return name
}

func findMember(ms []schema.Member, id uint64) *schema.Member {
	for i := range ms {
		if ms[i].ID == id {
			return &ms[i]
		}
	}
	return nil
}

func hasMember(ms []schema.Member, id uint64) bool { return findMember(ms, id) != nil }
