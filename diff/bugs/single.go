package bugs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// foundOutcome turns findings of a kind into an outcome.
func foundOutcome(s Status, m *Member, codes ...string) Outcome {
	fs := m.findingsOf(codes...)
	if len(fs) == 0 {
		return Outcome{}
	}
	return Outcome{Status: s, Evidence: details(fs)}
}

// foundBy makes a test of findings.
func foundBy(s Status, codes ...string) func(*Case, *Member) Outcome {
	return func(_ *Case, m *Member) Outcome { return foundOutcome(s, m, codes...) }
}

func (m *Member) hasDB() bool { return m.DB != nil && m.DB.Tables != nil && m.DB.HasKeys }

// entriesAheadOfLog is how far the consistent index is beyond everything the log holds, 0 if it is not.
func (m *Member) entriesAheadOfLog() uint64 {
	if !m.hasDB() || len(m.Member.Log.Entries) == 0 {
		return 0
	}
	last := max(m.Member.Log.Last(), m.snapshotIndex())
	if ci := m.DB.Tables.ConsistentIndex; ci > last {
		return ci - last
	}
	return 0
}

func voters(m *Member) int {
	if cs := m.RaftConfState(); cs != nil {
		return len(cs.Voters)
	}
	return 0
}

// aheadAlone is the one-member cluster that applied what its log did not hold yet.
func aheadAlone(_ *Case, m *Member) Outcome {
	n := m.entriesAheadOfLog()
	if n == 0 || voters(m) != 1 {
		return Outcome{}
	}
	return consistent(fmt.Sprintf("the only voter has applied entries up to %d, but its log ends at entry %d: entries were applied before they were on disk, or the db was copied after the log",
		m.DB.Tables.ConsistentIndex, max(m.Member.Log.Last(), m.snapshotIndex())))
}

// skippedAlone is the same after a restart: new entries took indexes that the db took for applied.
func skippedAlone(c *Case) Outcome {
	if len(c.Cause.Departed) != 1 || c.Cause.Layer != "apply" && c.Cause.Layer != "storage" {
		return Outcome{}
	}
	m := c.departed()[0]
	if voters(m) != 1 {
		return Outcome{}
	}
	var extra []int64
	var skipped []uint64
	m.eachStep(func(s *effect.Step) {
		switch {
		case s.Outcome == effect.Extra:
			extra = append(extra, s.Revision)
		case s.Outcome == effect.Refused && len(extra) > 0:
			skipped = append(skipped, s.Index)
		}
	})
	if len(extra) == 0 || len(skipped) == 0 {
		return Outcome{}
	}
	return confirmed(fmt.Sprintf("revisions %s have no entry, and entries %s behind them had no effect: the log of the only voter lost entries that were applied, and others took their indexes",
		listNumbers(extra), listNumbers(skipped)))
}

func aheadOfLog(_ *Case, m *Member) Outcome {
	n := m.entriesAheadOfLog()
	if n == 0 || voters(m) < 2 {
		return Outcome{}
	}
	o := foundOutcome(Consistent, m, damageCodes...)
	if o.Status == "" {
		return o // a db that was copied after the log looks the same
	}
	return o.and(fmt.Sprintf("the db has applied entries up to %d, but the log ends at entry %d: neither was synced, or the db was copied later",
		m.DB.Tables.ConsistentIndex, max(m.Member.Log.Last(), m.snapshotIndex())))
}

func mixedFiles(_ *Case, m *Member) Outcome {
	n := m.entriesAheadOfLog()
	terms := m.findingsOf("term-beyond-log")
	if n <= 10000 && len(terms) == 0 || !m.hasDB() {
		return Outcome{}
	}
	o := Outcome{Status: Consistent}
	if n > 10000 {
		o = o.and(fmt.Sprintf("the db is %d entries ahead of the log: they belong to different histories, or the log was left behind by a restore", n))
	}
	return o.and(details(terms)...)
}

// lastSnapshotAhead is a snapshot beyond what the db has applied, with nothing to start from.
func lastSnapshotAhead(m *Member) (from, to uint64, ok bool) {
	if !m.hasDB() || len(m.findingsOf("snapshot-beyond-db")) == 0 {
		return 0, 0, false
	}
	return m.DB.Tables.ConsistentIndex, m.snapshotIndex(), true
}

// behindSnapshot judges why the consistent index stayed behind the snapshot. Kind tells the entries in between.
func (m *Member) behindSnapshot(c *Case) (kind string, o Outcome) {
	from, to, ok := lastSnapshotAhead(m)
	if !ok {
		return "", o
	}
	says := fmt.Sprintf("the newest snapshot is of entry %d, the db has come to %d, and there is no db for the snapshot", to, from)
	if got := m.received(); slices.Contains(got, to) {
		return "received", consistent(says, "that snapshot was received from a leader")
	}
	es := replay.Between(m.Log, from+1, to)
	if contiguous(es, from+1) != int(to-from) {
		return "unknown", consistent(says, "the entries in between are in no log")
	}
	alarms := 0
	for i := range es {
		if in := es[i].Request().Internal; in != nil && in.Alarm != nil {
			alarms++
		}
	}
	st, err := replay.Rewind(c.Ctx, m.replayBase(), from, m.DB.Revision())
	if err != nil {
		return "unknown", consistent(says, oneLine(err))
	}
	res, err := replay.Run(c.Ctx, st, es, replay.Today(), replay.Options{TempDir: c.TempDir})
	if err != nil {
		return "unknown", consistent(says, oneLine(err))
	}
	switch {
	case res.Revisions > 0:
		return "lost", consistent(says, fmt.Sprintf("run again, the %d entries in between make %d revisions that the db lacks", len(es), res.Revisions))
	case alarms*2 > len(es):
		return "alarm", confirmed(says, fmt.Sprintf("run again, the %d entries in between change nothing, and %d of them are about alarms", len(es), alarms))
	}
	return "refused", confirmed(says, fmt.Sprintf("run again, the %d entries in between change nothing: %d were refused", len(es), res.Refused))
}

func snapshotAheadBecause(kinds ...string) func(*Case, *Member) Outcome {
	return func(c *Case, m *Member) Outcome {
		kind, o := m.behindSnapshot(c)
		if !slices.Contains(kinds, kind) {
			return Outcome{}
		}
		if kind == "refused" || kind == "alarm" {
			if v := m.minorVersions(); v.certainlyBefore("3.5") || v.certainlyAfter("3.5") {
				o.Status = Consistent
			}
		}
		return o
	}
}

func overwrittenNow(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	got := m.received()
	if len(got) == 0 {
		return Outcome{}
	}
	s, ci := got[len(got)-1], m.DB.Tables.ConsistentIndex
	if s <= ci || m.findingsOf("snap-db-pending") != nil {
		return Outcome{}
	}
	says := fmt.Sprintf("%s received the snapshot of entry %d, but its consistent index is %d", m.Label, s, ci)
	if uint64(m.DB.Revision()-1) > ci && m.Whole {
		return confirmed(says, fmt.Sprintf("its keys have come to revision %d, more than %d entries can make: the data is that of the snapshot, the index that of before", m.DB.Revision(), ci))
	}
	return consistent(says)
}

// swappedFile is a db from before a snapshot that was received.
func swappedFile(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	got := m.received()
	if len(got) == 0 || len(m.findingsOf("snap-db-pending")) > 0 {
		return Outcome{}
	}
	s, ci := got[len(got)-1], m.DB.Tables.ConsistentIndex
	if s <= ci {
		return Outcome{}
	}
	return consistent(fmt.Sprintf("%s received the snapshot of entry %d, but its db is of entry %d: an older file took the place of the received one", m.Label, s, ci))
}

func snapOrder(_ *Case, m *Member) Outcome {
	l := m.Member.Log
	if !l.HasHardState || l.HardState.Commit <= max(l.Last(), m.snapshotIndex()) {
		return Outcome{}
	}
	for _, s := range m.Snaps {
		if s.Index == l.HardState.Commit {
			return confirmed(fmt.Sprintf("the log says that entry %d is committed, but ends at entry %d and has no record of the snapshot %s, which is of just that entry", l.HardState.Commit, l.Last(), path.Base(s.Name)))
		}
	}
	for _, f := range m.Files {
		if path.Base(f.Name) == fmt.Sprintf("%016x.snap.db", l.HardState.Commit) {
			return confirmed(fmt.Sprintf("the log says that entry %d is committed, but ends at entry %d and has no record of the snapshot whose db is %s", l.HardState.Commit, l.Last(), path.Base(f.Name)))
		}
	}
	return Outcome{}
}

func purgedEarly(_ *Case, m *Member) Outcome {
	o := foundOutcome(Consistent, m, "wal-segment-missing", "log-after-db")
	if o.Status == "" {
		return o
	}
	if v := m.minorVersions(); v.certainlyAfter("3.4") {
		return refuted(fmt.Sprintf("%s runs a version that does not purge while it stops: %s", m.Label, v))
	}
	return o
}

func bigRecord(_ *Case, m *Member) Outcome {
	return foundOutcome(Confirmed, m, "wal-big-record")
}

// brokenTail is a last record that is not whole, and nothing else.
func brokenTail(_ *Case, m *Member) Outcome {
	l := m.Member.Log
	for i := range l.Segments {
		torn := l.Segments[i].End == raftlog.Torn
		if !torn {
			continue
		}
		if i < len(l.Segments)-1 {
			return Outcome{}
		}
		if v := m.minorVersions(); v.certainlyBefore("3.5") || v.certainlyAfter("3.5") {
			return refuted(fmt.Sprintf("%s runs another minor: %s", m.Label, v))
		}
		o := consistent(fmt.Sprintf("the last record of %s is not whole; everything before it is sound", path.Base(l.Segments[i].Name)))
		if l.HasHardState && l.Last() < l.HardState.Commit {
			o = o.and(fmt.Sprintf("what is left ends at entry %d, before the commit index %d", l.Last(), l.HardState.Commit))
		}
		return o
	}
	return Outcome{}
}

func damagedLog(_ *Case, m *Member) Outcome {
	o := foundOutcome(Confirmed, m, "wal-crc-mismatch", "wal-frame-corrupt", "wal-record-malformed", "wal-bytes-after-end")
	for i, s := range m.Member.Log.Segments {
		if s.End == raftlog.Torn && o.Status == "" {
			o = consistent(fmt.Sprintf("segment %d of the log, %s, ends inside a record", i+1, path.Base(s.Name)))
		}
	}
	return o
}

func damagedDB(_ *Case, m *Member) Outcome { return foundOutcome(Confirmed, m, damageCodes...) }

var damageCodes = []string{
	"bucket-missing", "db-unreadable", "orphan-branch", "page-beyond-end", "page-double-use", "page-element-bounds", "page-element-flags",
	"page-free-and-reachable", "page-id-mismatch", "page-key-order", "page-key-range", "page-out-of-bounds",
	"page-type", "page-unreachable", "page-zero", "root-row", "rows-missing",
}

func freelistDamaged(_ *Case, m *Member) Outcome {
	o := foundOutcome(Confirmed, m, "freelist-unreadable", "page-free-and-reachable", "freelist-order")
	if o.Status == "" || m.DB == nil || m.DB.Bolt == nil || m.DB.Bolt.Meta().Freelist == noFreelist {
		return Outcome{}
	}
	v := m.minorVersions()
	switch {
	case v.certainlyAfter("3.2"):
		return refuted("a stored freelist is normal on other systems than Linux, and where a tool has opened the db for writing; 3.2 did not write this one: " + v.String())
	case v.least == "3.2":
		return o.and("the db stores its freelist, as 3.2 does", v.String())
	}
	o.Status = Consistent
	return o.and("the db stores its freelist, as 3.2 does, but later versions do as well on other systems than Linux; the files do not tell the version")
}

func tinyDB(_ *Case, m *Member) Outcome {
	for _, f := range m.Files {
		if path.Base(f.Name) == "db" && f.Size > 0 && f.Size < 4*4096 && (m.DB == nil || !m.DB.HasKeys) {
			return consistent(fmt.Sprintf("the db has %d bytes, less than the four pages of a new one", f.Size))
		}
	}
	return Outcome{}
}

// goodHash tells whether a snapshot file's checksum is right.
func goodHash(m *Member) bool {
	return m.Bare && len(m.Files) == 1 && m.Files[0].Size%512 == 32 && len(m.findingsOf("snapshot-hash-mismatch")) == 0
}

func mixedSnapshot(_ *Case, m *Member) Outcome {
	if !goodHash(m) {
		return Outcome{}
	}
	o := foundOutcome(Confirmed, m, damageCodes...)
	if o.Status == "" {
		return o
	}
	return o.and("the checksum at the end of the file is right: it was damaged before it was saved")
}

func changedBackup(_ *Case, m *Member) Outcome {
	o := foundOutcome(Consistent, m, "snapshot-hash-mismatch")
	if o.Status == "" || len(m.findingsOf(damageCodes...)) > 0 {
		return Outcome{}
	}
	return o.and("pages and rows are sound, so that the file was changed, not damaged")
}

func cutBackup(_ *Case, m *Member) Outcome {
	if !m.Bare || len(m.Files) != 1 || m.Files[0].Size%512 == 32 {
		return Outcome{}
	}
	return foundOutcome(Consistent, m, "db-truncated")
}

// --- membership

func staleLearner(_ *Case, m *Member) Outcome {
	o := foundOutcome(Confirmed, m, "learner-flag-stale")
	if o.Status == "" {
		return o
	}
	for e, r := range m.rare() {
		if r.ConfChange != nil && r.ConfChange.IsPromote {
			for _, ch := range r.ConfChange.Changes {
				o = o.and(fmt.Sprintf("entry %d promotes member %016x", e.Index, ch.NodeID))
			}
		}
	}
	return o
}

func spreadLearner(_ *Case, m *Member) Outcome {
	o := foundOutcome(Consistent, m, "learner-flag-stale")
	got := m.received()
	if o.Status == "" || len(got) == 0 {
		return Outcome{}
	}
	return o.and(fmt.Sprintf("%s received its db with the snapshot of entry %d, and the stale row may have come with it", m.Label, got[len(got)-1]))
}

func zombies(_ *Case, m *Member) Outcome {
	o := foundOutcome(Confirmed, m, "zombie-member")
	if o.Status == "" {
		return o
	}
	if t := m.DB.Tables; t.StorageVersion != "" {
		o = o.and("the storage version is " + t.StorageVersion + ": these members show in the member list already")
	}
	return o
}

func oldZombies(_ *Case, m *Member) Outcome {
	o := foundOutcome(Consistent, m, "zombie-member")
	if o.Status == "" {
		return o
	}
	if v := m.minorVersions(); v.least >= "3.6" {
		return refuted(fmt.Sprintf("%s runs a version that 3.5.0's mistake does not concern: %s", m.Label, v))
	}
	return o
}

// restoredZombies are the members of the cluster that a backup came from.
func restoredZombies(_ *Case, m *Member) Outcome {
	fs := m.findingsOf("zombie-member")
	if len(fs) == 0 {
		return Outcome{}
	}
	n, restored := restoredAt(m)
	if !restored {
		return refuted("the cluster was not restored from a backup, as far as its log and revisions tell")
	}
	conf := m.RaftConfState()
	var foreign []string
	seen := map[uint64]bool{}
	for _, r := range m.rare() {
		if r.ConfChange != nil {
			for _, ch := range r.ConfChange.Changes {
				seen[ch.NodeID] = true
			}
		}
	}
	for _, x := range m.DB.Tables.Members {
		if conf != nil && !slices.Contains(conf.Voters, x.ID) && !slices.Contains(conf.Learners, x.ID) && !seen[x.ID] {
			foreign = append(foreign, fmt.Sprintf("%016x (%s)", x.ID, x.Name))
		}
	}
	if len(foreign) == 0 {
		return refuted("the log names all members that are left over")
	}
	return confirmed(fmt.Sprintf("the log begins with the %s of a restored cluster and a keyspace that is older than it", count(n, "member", "members")),
		fmt.Sprintf("the members bucket holds %s, which no entry of this log names: the members of the cluster that the backup is from", listOf(foreign)))
}

// restoredAt tells whether the cluster was made from a backup, and with how many members: a restore writes a log that
// begins with them, and a snapshot record behind the last one, both in term 1.
func restoredAt(m *Member) (n int, ok bool) {
	if !m.hasDB() || len(m.Member.Log.Entries) == 0 {
		return 0, false
	}
	for i := range m.Log {
		e := &m.Log[i]
		if e.Index != uint64(i+1) || e.Term != 1 || e.Request().ConfChange == nil {
			break
		}
		n++
	}
	for _, s := range m.Member.Log.Snapshots {
		if n > 0 && s.Index == uint64(n) && s.Term == 1 {
			return n, true
		}
	}
	return 0, false
}

func restoredCluster(_ *Case, m *Member) Outcome {
	n, ok := restoredAt(m)
	if !ok {
		return Outcome{}
	}
	return confirmed(fmt.Sprintf("the log begins with %s in term 1 and a snapshot of entry %d, as a restore leaves it; the db has come to revision %d with entry %d",
		count(n, "added member", "added members"), n, m.DB.Revision(), m.DB.Tables.ConsistentIndex)).
		and(details(m.findingsOf("revision-jump"))...)
}

// stuckLearner is a learner that was ready and stayed one.
func stuckLearner(_ *Case, m *Member) Outcome {
	conf := m.RaftConfState()
	if conf == nil || !m.hasDB() {
		return Outcome{}
	}
	var o Outcome
	for _, id := range conf.Learners {
		var added, published, proposed uint64
		for e, r := range m.rare() {
			if r.ConfChange != nil {
				for _, ch := range r.ConfChange.Changes {
					if ch.NodeID == id && ch.Type == "AddLearnerNode" {
						added = e.Index
					}
				}
			}
			if p, _ := r.Publishes(); p == id {
				published = e.Index
			}
		}
		if p := m.digested().processes[uint16(id)]; p != nil {
			proposed = p.Last
		}
		if published == 0 || !m.DB.Tables.AuthEnabled {
			continue // it never started, or nobody would have been refused
		}
		o.Status = Consistent
		o = o.and(fmt.Sprintf("member %016x was added as a learner by entry %d and started (entry %d); %d entries later no entry promotes it", id, added, published, m.Committed-published),
			"auth is enabled, so that a follower that was asked to promote it could not forward that to the leader: nothing is proposed, and only the logs of the servers say so")
		if proposed > published {
			o = o.and(fmt.Sprintf("the learner served requests: it proposed entry %d", proposed))
		}
		if v := m.minorVersions(); len(v.why) > 0 {
			o = o.and(v.String())
		}
	}
	return o
}

func updatedLearner(_ *Case, m *Member) Outcome {
	fs := m.findingsOf("learner-flag-missing")
	if len(fs) == 0 {
		return Outcome{}
	}
	for e, r := range m.rare() {
		if r.ConfChange != nil {
			for _, ch := range r.ConfChange.Changes {
				if conf := m.RaftConfState(); ch.Type == "UpdateNode" && conf != nil && slices.Contains(conf.Learners, ch.NodeID) {
					return confirmed(fmt.Sprintf("entry %d updates member %016x, which is a learner still", e.Index, ch.NodeID)).and(details(fs)...)
				}
			}
		}
	}
	return Outcome{}
}

// promotedUnstarted finds members that were promoted, or added, and never started.
func unstarted(m *Member, promoted bool) Outcome {
	type state struct{ added, promoted, removed, seen uint64 }
	all := map[uint64]*state{}
	var order []uint64
	for e, r := range m.rare() {
		if r.ConfChange != nil {
			for _, ch := range r.ConfChange.Changes {
				s := all[ch.NodeID]
				if s == nil {
					s = &state{}
					all[ch.NodeID] = s
					order = append(order, ch.NodeID)
				}
				switch {
				case ch.Type == "RemoveNode":
					s.removed = e.Index
				case r.ConfChange.IsPromote:
					s.promoted = e.Index
				case s.added == 0:
					s.added = e.Index
				}
			}
			continue
		}
		id, _ := r.Publishes()
		if s := all[id]; s != nil && s.seen == 0 {
			s.seen = e.Index
		}
	}
	var o Outcome
	for _, id := range order {
		s := all[id]
		if p := m.digested().processes[uint16(id)]; p != nil && (s.seen == 0 || p.First < s.seen) {
			s.seen = p.First
		}
		switch {
		case promoted && s.promoted > 0 && s.added > 0 && (s.seen == 0 || s.seen > s.promoted):
			o.Status = Confirmed
			o = o.and(fmt.Sprintf("member %016x was added as a learner by entry %d and promoted by entry %d, without a sign that it had started", id, s.added, s.promoted))
		case !promoted && s.promoted == 0 && s.seen == 0 && s.removed == 0 && s.added > 0 && m.entry(s.added).Term > 1 && m.Committed > s.added+100 && !learner(m, id):
			o.Status = Consistent
			o = o.and(fmt.Sprintf("member %016x was added as a voter by entry %d; %d entries later there is no sign that it started", id, s.added, m.Committed-s.added))
		}
	}
	return o
}

func learner(m *Member, id uint64) bool {
	cs := m.RaftConfState()
	return cs != nil && slices.Contains(cs.Learners, id)
}

func promotedUnstarted(_ *Case, m *Member) Outcome { return unstarted(m, true) }
func addedUnstarted(_ *Case, m *Member) Outcome    { return unstarted(m, false) }

func forcedLeftovers(_ *Case, m *Member) Outcome {
	zs := m.findingsOf("zombie-member", "learner-not-promoted")
	if len(zs) == 0 || voters(m) != 1 {
		return Outcome{}
	}
	var removed []uint64
	for e, r := range m.rare() {
		if r.ConfChange == nil {
			continue
		}
		for _, ch := range r.ConfChange.Changes {
			if ch.Type == "RemoveNode" && r.ID == 0 {
				removed = append(removed, e.Index)
			}
		}
	}
	if len(removed) == 0 {
		return Outcome{}
	}
	return consistent(fmt.Sprintf("entries %s remove members without anyone having proposed that, as a forced new cluster begins", listNumbers(removed))).and(details(zs)...)
}

func mixedClusterIDs(c *Case) Outcome {
	ids := map[uint64][]string{}
	for _, m := range c.Members {
		if l := m.Member.Log; l != nil && l.HasMetadata && l.ClusterID != 0 {
			ids[l.ClusterID] = append(ids[l.ClusterID], m.Label)
		}
	}
	if len(ids) < 2 {
		return Outcome{}
	}
	var parts []string
	for id, ls := range ids {
		slices.Sort(ls)
		parts = append(parts, fmt.Sprintf("%s: cluster %016x", listOf(ls), id))
	}
	slices.Sort(parts)
	return confirmed(parts...)
}

func sameNode(c *Case) Outcome {
	ids := map[uint64][]*Member{}
	for _, m := range c.Members {
		if id := m.nodeID(); id != 0 {
			ids[id] = append(ids[id], m)
		}
	}
	var o Outcome
	for id, ms := range ids {
		if len(ms) < 2 {
			continue
		}
		o.Status = Consistent
		o = o.and(fmt.Sprintf("%s are all member %016x: copies of one member, taken at different times or run at the same time", labels(ms), id))
	}
	slices.Sort(o.Evidence)
	return o
}

// --- versions

func confStateMissing(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	t := m.DB.Tables
	if !t.HasConsistentIndex || !t.HasTerm || t.ConfState != nil || minorOf(t.ClusterVersion) != "3.6" || t.StorageVersion != "" {
		return Outcome{}
	}
	return confirmed("meta holds consistent index and term, but no conf state and no storage version, with cluster version " + t.ClusterVersion)
}

func versionResidue(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	t := m.DB.Tables
	var o Outcome
	if t.Downgrade != nil && t.Downgrade.Enabled {
		o.Status = Consistent
		o = o.and("a downgrade to " + t.Downgrade.TargetVersion + " is under way, or was never cancelled")
	}
	if sv, cv := minorOf(t.StorageVersion), minorOf(t.ClusterVersion); sv != "" && cv != "" && sv > cv {
		o.Status = Consistent
		o = o.and("the storage version is " + t.StorageVersion + ", the cluster version " + t.ClusterVersion)
	}
	if t.HasTerm {
		if e := m.entry(t.ConsistentIndex); e != nil && e.Term > t.Term {
			o.Status = Consistent
			o = o.and(fmt.Sprintf("meta says term %d, but the entry at the consistent index is of term %d: a version that does not save terms ran since", t.Term, e.Term))
		}
	}
	return o
}

func v2Content(_ *Case, m *Member) Outcome {
	var keys []string
	if n := len(m.Snaps); n > 0 {
		if ms, err := m.Snaps[n-1].Membership(); err == nil {
			for _, k := range ms.V2Keys {
				if !strings.HasPrefix(k, "/2/") {
					keys = append(keys, k)
				}
			}
		}
	}
	writes := 0
	for _, r := range m.rare() {
		if v2 := r.V2; v2 != nil && (strings.HasPrefix(v2.Path, "/1/") || strings.HasPrefix(v2.Path, "/2/")) {
			writes++
		}
	}
	switch {
	case len(keys) > 0:
		return confirmed(fmt.Sprintf("the newest snapshot holds %s of the v2 API, the first one %s", count(len(keys), "key", "keys"), keys[0]))
	case writes > 0:
		return consistent(fmt.Sprintf("%s of the log write with the v2 API", count(writes, "entry", "entries")))
	}
	return Outcome{}
}

func v2Requests(_ *Case, m *Member) Outcome {
	n, first := 0, uint64(0)
	from := m.snapshotIndex()
	for e, r := range m.rare() {
		if e.Index > from && r.V2 != nil && r.Internal == nil && m.Member.Log.Entry(e.Index) != nil {
			if n++; first == 0 {
				first = e.Index
			}
		}
	}
	if n == 0 {
		return Outcome{}
	}
	return confirmed(fmt.Sprintf("%s behind the newest snapshot, the first one entry %d, in the form of the v2 API, which 3.7 does not read: it needs a snapshot taken by 3.6 first", count(n, "entry", "entries"), first))
}

// authStatus is the request that members up to 3.4 do not survive.
func authStatus(c *Case, m *Member) Outcome {
	if !m.hasDB() || !m.minorVersions().certainlyBefore("3.5") {
		return Outcome{}
	}
	for e, r := range m.rare() {
		in := r.Internal
		if in == nil || in.AuthStatus == nil || e.Index <= m.DB.Tables.ConsistentIndex {
			continue
		}
		by := "a newer member"
		for _, o := range c.Members {
			if o.proposed(r) {
				by = o.Label
			}
		}
		if last := m.processOf().Last; last > e.Index {
			return refuted(fmt.Sprintf("%s proposed entry %d, behind entry %d, and so survived that", m.Label, last, e.Index))
		}
		return confirmed(
			fmt.Sprintf("entry %d is an AuthStatus request, which 3.5 and later put into the log and older servers do not know: %s ends with a panic when it applies the entry, at every start again", e.Index, m.Label),
			fmt.Sprintf("%s proposed it; %s proposed nothing behind it", by, m.Label),
			fmt.Sprintf("%s: %s", m.Label, m.minorVersions()))
	}
	return Outcome{}
}

// --- alarms, compaction

func alarms(_ *Case, m *Member) Outcome {
	if !m.hasDB() || len(m.DB.Tables.Alarms) == 0 {
		return Outcome{}
	}
	o := Outcome{Status: Confirmed}
	for _, a := range m.DB.Tables.Alarms {
		by := "no entry that is left raised it"
		for e, r := range m.rare() {
			if in := r.Internal; in != nil && in.Alarm != nil && in.Alarm.Action == pb.AlarmRequest_ACTIVATE && in.Alarm.MemberID == a.Member && in.Alarm.Alarm.String() == a.Type {
				by = fmt.Sprintf("entry %d raised it", e.Index)
			}
		}
		whose := fmt.Sprintf("for member %016x", a.Member)
		if a.Member != 0 && !slices.ContainsFunc(m.LogMembership().Members, func(x schema.Member) bool { return x.ID == a.Member }) {
			whose += ", which is not a member"
		}
		o = o.and(fmt.Sprintf("alarm %s is on %s; %s", a.Type, whose, by))
	}
	return o
}

// falseCorrupt is an alarm about corruption where nothing differs.
func falseCorrupt(c *Case) Outcome {
	if len(c.Members) < 2 || len(c.Causes) > 0 {
		return Outcome{}
	}
	for _, m := range c.Members {
		if m.hasDB() && slices.ContainsFunc(m.DB.Tables.Alarms, func(a schema.AlarmMember) bool { return a.Type == pb.AlarmType_CORRUPT.String() }) {
			return consistent("the alarm CORRUPT is on, but the members' keys do not differ")
		}
	}
	return Outcome{}
}

func revisionBack(_ *Case, m *Member) Outcome {
	return foundOutcome(Consistent, m, "compaction-beyond-rows")
}

func unfinishedCompaction(_ *Case, m *Member) Outcome {
	return foundOutcome(Confirmed, m, "compaction-unfinished")
}

func tombstoneAtCompaction(_ *Case, m *Member) Outcome {
	if !m.hasDB() || m.DB.Tables.FinishedCompact == 0 {
		return Outcome{}
	}
	for _, r := range m.DB.Rows.Group(m.DB.Tables.FinishedCompact) {
		if r.Tombstone {
			return confirmed(fmt.Sprintf("a tombstone at the compact revision %d was kept, which 3.4.34, 3.5.16 and later do and older ones do not", r.Rev.Main))
		}
	}
	return Outcome{}
}

// minUncompacted is how many revisions of a small db make it worth asking why nothing was compacted.
const minUncompacted = 2000

// neverCompacted is a history that grows from the first revision on.
func neverCompacted(_ *Case, m *Member) Outcome {
	fs := m.findingsOf("never-compacted")
	if len(fs) == 0 || !m.DB.Whole || fs[0].Severity == finding.Info && m.DB.Rows.Len() < minUncompacted {
		return Outcome{} // too young to tell
	}
	o := foundOutcome(Consistent, m, "never-compacted")
	if v := m.minorVersions(); v.least >= "3.6" {
		return refuted("3.6 and later compact by default where a retention is set: " + v.String())
	}
	for e, r := range m.rare() {
		if in := r.Internal; in != nil && in.Compaction != nil {
			return refuted(fmt.Sprintf("entry %d asks for a compaction", e.Index))
		}
	}
	return o.and("no entry of the log asks for a compaction: neither the server nor a client does",
		"a retention that a config file sets without a mode has that effect; the file tells")
}

// --- leases and auth

func longLeases(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	var o Outcome
	for _, l := range m.DB.Tables.Leases {
		if l.TTL > maxTTL && len(o.Evidence) < 5 {
			o.Status = Confirmed
			o = o.and(fmt.Sprintf("lease %016x was granted for %d s, which overflows where it is counted in nanoseconds", uint64(l.ID), l.TTL))
		}
	}
	return o
}

func negativeLeases(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	var o Outcome
	for _, l := range m.DB.Tables.Leases {
		if l.ID < 0 && len(o.Evidence) < 5 {
			o.Status = Consistent
			o = o.and(fmt.Sprintf("lease %016x has a negative id: older members forget it when they restart", uint64(l.ID)))
		}
	}
	return o
}

func lostCheckpoints(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	last := map[int64]int64{}
	for e, r := range m.rare() {
		if e.Index > m.DB.Tables.ConsistentIndex {
			break
		}
		if in := r.Internal; in != nil && in.LeaseCheckpoint != nil {
			for _, cp := range in.LeaseCheckpoint.Checkpoints {
				last[cp.ID] = cp.Remaining_TTL
			}
		}
	}
	n := 0
	for _, l := range m.DB.Tables.Leases {
		if last[l.ID] > 0 && l.RemainingTTL == 0 {
			n++
		}
	}
	if n == 0 {
		return Outcome{}
	}
	return consistent(fmt.Sprintf("the log notes how long %s had left, the lease table does not: after a change of leader they begin anew", count(n, "lease", "leases")))
}

// revokesOfOldLeader is a burst of revokes by the leader of the term before.
func revokesOfOldLeader(_ *Case, m *Member) Outcome {
	const burst, window = 5, 200
	by := map[uint64]map[uint16]int{} // revokes by term and proposer
	start := map[uint64]uint64{}
	early := map[uint64]map[uint16]int{}
	for i := range m.Log {
		if e := &m.Log[i]; start[e.Term] == 0 {
			start[e.Term] = e.Index
			by[e.Term], early[e.Term] = map[uint16]int{}, map[uint16]int{}
		}
	}
	for _, e := range m.digested().leases {
		r := e.Request()
		if in := r.Internal; in == nil || in.LeaseRevoke == nil || r.ID == 0 {
			continue
		}
		p := raftlog.Proposer(r.ID).Prefix
		by[e.Term][p]++
		if e.Index < start[e.Term]+window {
			early[e.Term][p]++
		}
	}
	for term, e := range early {
		for p, n := range e {
			prev := by[term-1]
			if n < burst || prev == nil || prev[p] == 0 || prev[p] < sum(prev)*4/5 || by[term][p] > n || sum(by[term]) == n {
				continue
			}
			return consistent(fmt.Sprintf("in the first %d entries of term %d, %d leases were revoked by the member that revoked those of term %d, and not by the one that revoked later", window, term, n, term-1))
		}
	}
	return Outcome{}
}

func sum(m map[uint16]int) int {
	n := 0
	for _, x := range m {
		n += x
	}
	return n
}

func emptyPermission(_ *Case, m *Member) Outcome {
	if !m.hasDB() {
		return Outcome{}
	}
	var o Outcome
	for _, r := range m.DB.Tables.Roles {
		for _, p := range r.Permissions {
			if p.Key == "" || p.RangeEnd != "" && p.RangeEnd != "\x00" && p.RangeEnd <= p.Key {
				o.Status = Confirmed
				o = o.and(fmt.Sprintf("role %s has a permission on a range that is empty or ends before it begins (%q to %q)", r.Name, p.Key, p.RangeEnd))
			}
		}
	}
	return o
}

func nilPermission(_ *Case, m *Member) Outcome {
	for e, r := range m.rare() {
		if in := r.Internal; in != nil && in.AuthRoleGrantPermission != nil && in.AuthRoleGrantPermission.Perm == nil {
			o := consistent(fmt.Sprintf("entry %d grants a role nothing at all", e.Index))
			if m.hasDB() && m.minorVersions().certainlyBefore("3.5") && e.Index > m.DB.Tables.ConsistentIndex {
				o.Status = Confirmed
				o = o.and("the member has not applied it: its server ends with a panic there, at every start again")
			}
			return o
		}
	}
	return Outcome{}
}

func plaintext(_ *Case, m *Member) Outcome {
	n := 0
	old := m.minorVersions().certainlyBefore("3.5")
	for e, r := range m.rare() {
		if old && r.HasPassword && (internal(r).AuthUserAdd != nil || internal(r).AuthUserChangePassword != nil) && m.Member.Log.Entry(e.Index) != nil {
			n++
		}
	}
	if n == 0 {
		return Outcome{}
	}
	return confirmed(fmt.Sprintf("%s of the log hold passwords as they were typed", count(n, "entry", "entries")))
}

func unauthenticated(_ *Case, m *Member) Outcome {
	if !m.hasDB() || !m.DB.Tables.AuthEnabled {
		return Outcome{}
	}
	var on uint64
	for e, r := range m.rare() {
		if internal(r).AuthEnable != nil {
			on = e.Index
		}
	}
	n := 0
	for _, e := range m.digested().leases {
		if r := e.Request(); on > 0 && e.Index > on && internal(r).LeaseGrant != nil && r.User == "" {
			n++
		}
	}
	if n < 3 {
		return Outcome{}
	}
	return consistent(fmt.Sprintf("%s behind entry %d, with which auth was enabled, name no user", count(n, "LeaseGrant", "LeaseGrants"), on))
}

// acceptedOnlyBy looks for writes that today's permission checks refuse and the members hold.
func acceptedOnlyBy(rule func() *replay.Rule, among func(*digest) []uint64, what string) func(*Case) Outcome {
	return func(c *Case) Outcome {
		for i, m := range c.Members {
			if !m.hasDB() || !m.DB.Tables.AuthEnabled {
				continue
			}
			es := among(m.digested())
			if len(es) == 0 || es[0] > m.Through {
				continue
			}
			of := *c
			of.Members = []*Member{m}
			of.Cause = &Cause{Layer: "apply", Index: es[0]}
			of.Causes, of.runs = nil, nil
			if c.RulesBesides != nil {
				of.RulesBesides = func(int, *Cause) []*replay.Rule { return c.RulesBesides(i, nil) }
			}
			if c.Versions != nil { // the rule is the question
				of.Versions = func(int) []Version { return withoutRule(c.Versions(i), rule()) }
			}
			if s := of.split(nil, []*replay.Rule{rule()}); len(s.followB) == 1 {
				return confirmed(fmt.Sprintf("%s holds just what the entries from %d on make if %s, and not what they make with today's checks", m.Label, es[0], what))
			}
		}
		return Outcome{}
	}
}

func nestedTxns(d *digest) []uint64    { return d.nestedTxns }
func txnsWithLease(d *digest) []uint64 { return d.leaseTxns }

// putsPrevOrLease tells whether a transaction puts a key and asks for what was there, or with a lease.
func putsPrevOrLease(t *pb.TxnRequest) bool {
	return slices.ContainsFunc(puts(t), func(p *pb.PutRequest) bool { return p.PrevKv || p.Lease != 0 })
}

// --- tables that came back

// revokedLeaseIsBack is a lease that the log revoked and one member has again.
func revokedLeaseIsBack(c *Case) Outcome {
	if c.Cause.Layer != "lease" || len(c.Cause.Leases) == 0 {
		return Outcome{}
	}
	for _, id := range c.Cause.Leases {
		var revoke uint64
		for _, m := range c.Members {
			for _, e := range m.digested().leases {
				if in := internal(e.Request()); in.LeaseRevoke != nil && in.LeaseRevoke.ID == id {
					revoke = max(revoke, e.Index)
				}
			}
		}
		var have []*Member
		for _, m := range c.Members {
			if m.hasDB() && slices.ContainsFunc(m.DB.Tables.Leases, func(l schema.LeaseRecord) bool { return l.ID == id }) {
				have = append(have, m)
			}
		}
		if revoke == 0 || len(have) != 1 || c.Cause.Index != revoke {
			continue
		}
		m := have[0]
		if v := m.minorVersions(); v.certainlyAfter("3.4") {
			return refuted(fmt.Sprintf("%s runs a version that makes a new file for each defragmentation: %s", m.Label, v))
		}
		if n := m.DB.Rows.LeasedKeys()[id]; n == 0 {
			return consistent(fmt.Sprintf("lease %016x was revoked by entry %d, and %s alone has it, without keys", uint64(id), revoke, m.Label)).and(details(m.findingsOf("defrag-leftover"))...)
		}
	}
	return Outcome{}
}

// restoredApart is a cluster whose members were restored from different backups.
func restoredApart(c *Case) Outcome {
	if c.Cause.Layer == "log" || c.Cause.Layer == "membership" || len(c.Members) < 2 {
		return Outcome{}
	}
	begin := uint64(0)
	for _, m := range c.Members {
		n, ok := restoredAt(m)
		if !ok {
			return Outcome{}
		}
		begin = max(begin, uint64(n))
	}
	for i, m := range c.Members {
		rev := c.revisionAt(i, begin)
		if rev >= 0 && c.Cause.Revision > 0 && c.Cause.Revision <= rev {
			return confirmed(fmt.Sprintf("the members were restored from a backup, and differ at revision %d, which %s had when its log began (revision %d)", c.Cause.Revision, m.Label, rev))
		}
	}
	return Outcome{}
}

// dangling is a live key whose lease is not there.
func dangling(_ *Case, m *Member) Outcome {
	if !m.hasDB() || !m.DB.Whole {
		return Outcome{}
	}
	return foundOutcome(Confirmed, m, "lease-dangling")
}
