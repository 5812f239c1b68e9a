package report

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"runtime"
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Inspection is what the files of members hold. It has no values of keys and no password hashes.
type Inspection struct {
	SchemaVersion string   `json:"schema_version"`
	Members       []Member `json:"members"`
	// BestCopy is the copy to restore from if the members agree, which inspect does not know; nil for a single member.
	BestCopy *diff.BestCopy `json:"best_copy"`
}

// bestCopy is the whole copy without errors that has come furthest.
func (d *Inspection) bestCopy() *diff.BestCopy {
	if len(d.Members) < 2 {
		return nil
	}
	var all []diff.Copy
	for i := range d.Members {
		m := &d.Members[i]
		damaged := slices.ContainsFunc(m.Findings, func(f FindingRecord) bool { return f.Severity == string(finding.Error) })
		flaws := 0
		if m.Log.LastIndex == 0 {
			flaws++
		}
		all = append(all, diff.Copy{Label: m.Label, Whole: m.Complete && m.Readable && !damaged, Flaws: flaws, Index: m.ConsistentIndex, Revision: m.Revision})
	}
	return diff.BestOf(all)
}

// Sound tells whether everything of every member could be read and nothing is damaged.
func (d *Inspection) Sound() bool {
	return !slices.ContainsFunc(d.Members, func(m Member) bool {
		return !m.Complete || slices.ContainsFunc(m.Findings, func(f FindingRecord) bool { return f.Severity == string(finding.Error) })
	})
}

// Member is one member. Names that diff.Member has mean the same here.
type Member struct {
	Label    string   `json:"label"`
	Origin   string   `json:"origin"`
	MemberID *diff.ID `json:"member_id"`
	Cluster  *diff.ID `json:"cluster_id"`
	diff.Named

	ConsistentIndex  uint64          `json:"consistent_index"`
	Term             uint64          `json:"term"`
	Revision         int64           `json:"revision"`
	CompactRevision  int64           `json:"compact_revision"`
	ScheduledCompact int64           `json:"scheduled_compact_revision"`
	FinishedCompact  int64           `json:"finished_compact_revision"`
	Keys             int             `json:"keys"`
	Revisions        int             `json:"revisions"`
	HashKV           uint32          `json:"hash_kv"` // at Revision, as a server computes it
	ClusterVersion   string          `json:"cluster_version"`
	StorageVersion   string          `json:"storage_version"`
	DowngradeTo      string          `json:"downgrade_to"`
	AuthEnabled      bool            `json:"auth_enabled"`
	AuthRevision     uint64          `json:"auth_revision"`
	Users            []User          `json:"users"`
	Roles            []Role          `json:"roles"`
	Leases           int             `json:"leases"`
	LeaseTable       []Lease         `json:"lease_table"`
	LeasedWithout    []LeasedKey     `json:"keys_without_lease"` // whose lease is not in the table
	MembersBucket    Membership      `json:"members_bucket"`
	LogMembership    *LogMembership  `json:"log_membership"` // null without a log
	ConfState        *ConfState      `json:"conf_state"`
	Alarms           []Alarm         `json:"alarms"`
	DB               *DB             `json:"db"` // null if none of it can be read
	Log              Log             `json:"log"`
	Snapshots        []Snapshot      `json:"snapshots"` // .snap files
	Files            []File          `json:"files"`
	Findings         []FindingRecord `json:"findings"`
	Complete         bool            `json:"complete"`
	// Readable is false if there is no db, or none whose tables can be found: their fields are zero then.
	Readable bool `json:"readable"`
}

// User is a user without the hash of its password.
type User struct {
	diff.Named
	Roles       []string `json:"roles"`
	RolesBase64 []string `json:"roles_base64,omitempty"`
	NoPassword  bool     `json:"no_password"`
}

func user(name string, roles []string, noPassword bool) User {
	u := User{Named: diff.NameOf(name), NoPassword: noPassword}
	u.Roles, u.RolesBase64 = texts(roles)
	return u
}

func (u *User) roles() []string { return called(u.Roles, u.RolesBase64) }

// texts tells those that are printable from those that are not, which are in base64.
func texts(all []string) (text, b64 []string) {
	text = []string{}
	for _, s := range all {
		if t := textOf(s); t.KeyBase64 != "" {
			b64 = append(b64, t.KeyBase64)
		} else {
			text = append(text, s)
		}
	}
	return text, b64
}

// called are all of them as people read them.
func called(text, b64 []string) []string {
	all := slices.Clone(text)
	for _, b := range b64 {
		all = append(all, keyText("", b))
	}
	return all
}

// Role is a role with its permissions.
type Role struct {
	diff.Named
	Permissions []Permission `json:"permissions"`
}

// Permission is on one key, or on all keys from it up to, not including, RangeEnd.
type Permission struct {
	Type string `json:"type"`
	Text
	RangeEnd       string `json:"range_end,omitempty"`
	RangeEndBase64 string `json:"range_end_base64,omitempty"`
}

// Text is a key as UTF-8 if it is printable, else in base64.
type Text struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 string `json:"key_base64,omitempty"`
}

func text(key string) Text { return textOf(key) }

func textOf(key string) Text {
	if diff.Key(key).Printable() {
		return Text{Key: key}
	}
	return Text{KeyBase64: base64.StdEncoding.EncodeToString([]byte(key))}
}

// Lease is a row of the lease table. TTLs are in seconds.
type Lease struct {
	ID           diff.ID `json:"id"`
	TTL          int64   `json:"ttl"`
	RemainingTTL int64   `json:"remaining_ttl"`
	Keys         []Text  `json:"keys"`
}

// LeasedKey is a live key that carries a lease.
type LeasedKey struct {
	Text
	Lease diff.ID `json:"lease"`
}

// Membership is who belongs to the cluster.
type Membership struct {
	Members []ClusterMember `json:"members"`
	Removed []diff.ID       `json:"removed"`
}

// LogMembership is a membership that .snap files and the log tell: up to etcd 3.5 the truth.
type LogMembership struct {
	Index uint64 `json:"index"`
	Whole bool   `json:"whole"` // false if changes may be missing
	Membership
	ClusterVersion string `json:"cluster_version"`
}

// ClusterMember is a member as a table of members has it.
type ClusterMember struct {
	ID diff.ID `json:"id"`
	diff.Named
	PeerURLs         []string `json:"peer_urls"`
	PeerURLsBase64   []string `json:"peer_urls_base64,omitempty"`
	ClientURLs       []string `json:"client_urls"`
	ClientURLsBase64 []string `json:"client_urls_base64,omitempty"`
	Learner          bool     `json:"learner"`
}

func newClusterMember(id uint64, name string, peers, clients []string, learner bool) ClusterMember {
	c := ClusterMember{ID: diff.ID(id), Named: diff.NameOf(name), Learner: learner}
	c.PeerURLs, c.PeerURLsBase64 = texts(peers)
	c.ClientURLs, c.ClientURLsBase64 = texts(clients)
	return c
}

// ConfState is who votes and who learns.
type ConfState struct {
	Voters         []diff.ID `json:"voters"`
	Learners       []diff.ID `json:"learners"`
	VotersOutgoing []diff.ID `json:"voters_outgoing"`
	LearnersNext   []diff.ID `json:"learners_next"`
	AutoLeave      bool      `json:"auto_leave"`
}

// Alarm is an alarm that is on.
type Alarm struct {
	Member diff.ID `json:"member"`
	Type   string  `json:"type"`
}

// DB is the bbolt file itself.
type DB struct {
	File     string   `json:"file"`
	Size     int64    `json:"size"`
	PageSize uint32   `json:"page_size"`
	Pages    Pages    `json:"pages"`
	TxID     uint64   `json:"txid"`
	Meta     int      `json:"meta"` // the meta page in use
	Metas    []Meta   `json:"metas"`
	Trailer  string   `json:"trailer"` // none, valid or wrong: the sha256 behind a snapshot
	Buckets  []string `json:"buckets"`

	BucketsBase64 []string `json:"buckets_base64,omitempty"`
}

// Meta is one of the two meta pages.
type Meta struct {
	Valid   bool   `json:"valid"`
	Problem string `json:"problem,omitempty"`
	TxID    uint64 `json:"txid"`
}

// Pages counts pages by what they are.
type Pages struct {
	Total       uint64 `json:"total"`
	Meta        uint64 `json:"meta"`
	Branch      uint64 `json:"branch"`
	Leaf        uint64 `json:"leaf"`
	Freelist    uint64 `json:"freelist"`
	Overflow    uint64 `json:"overflow"`
	Free        uint64 `json:"free"`
	Unreachable uint64 `json:"unreachable"`
	Unreadable  uint64 `json:"unreadable"`
}

// Log is the write-ahead log.
type Log struct {
	FirstIndex uint64         `json:"first_index"`
	LastIndex  uint64         `json:"last_index"`
	Term       uint64         `json:"term"` // term, vote and commit are those of the last hard state
	Vote       diff.ID        `json:"vote"`
	Commit     uint64         `json:"commit"`
	Entries    int            `json:"entries"`
	ByType     map[string]int `json:"entries_by_type"`
	Superseded int            `json:"superseded"` // entries that later ones replaced
	Gaps       []Gap          `json:"gaps"`
	Snapshots  []LogSnapshot  `json:"snapshot_records"`
	Segments   []Segment      `json:"segments"`
	Bytes      Bytes          `json:"bytes"`
}

// Gap is a range of indexes that the log skips, both ends included.
type Gap struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// LogSnapshot is a snapshot record of the log.
type LogSnapshot struct {
	Index     uint64     `json:"index"`
	Term      uint64     `json:"term"`
	ConfState *ConfState `json:"conf_state"`
}

// Segment is a file of the log.
type Segment struct {
	Name       string `json:"name"`
	Sequence   uint64 `json:"sequence"`
	FirstIndex uint64 `json:"first_index"` // as the name says
	Size       int64  `json:"size"`
	End        string `json:"end"` // clean, preallocated, trailing, torn or corrupt
	EndOffset  int64  `json:"end_offset"`
	Records    int    `json:"records"`
	Entries    int    `json:"entries"`
}

// Bytes accounts for every byte of the log.
type Bytes struct {
	Total        int64 `json:"total"`
	Read         int64 `json:"read"`
	Preallocated int64 `json:"preallocated"`
	Unreadable   int64 `json:"unreadable"`
}

// Snapshot is a .snap file.
type Snapshot struct {
	Name      string     `json:"name"`
	Index     uint64     `json:"index"`
	Term      uint64     `json:"term"`
	ConfState *ConfState `json:"conf_state"`
	Store     int        `json:"store_size"`
}

// File is a file of the member, as it is called in its data directory.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// FindingRecord is something about the files that is not as it should be.
type FindingRecord struct {
	Code       string `json:"code"`
	Severity   string `json:"severity"`
	File       string `json:"file"`
	Offset     *int64 `json:"offset"`
	Page       *int64 `json:"page"`
	Detail     string `json:"detail"`
	Unreadable bool   `json:"unreadable"`
}

// String is the place and what is there.
func (f FindingRecord) String() string {
	switch {
	case f.Page != nil:
		return fmt.Sprintf("%s: page %d: %s", f.File, *f.Page, f.Detail)
	case f.Offset != nil:
		return fmt.Sprintf("%s: offset %d: %s", f.File, *f.Offset, f.Detail)
	}
	return f.File + ": " + f.Detail
}

// Members reads everything that the document needs out of ms.
func Members(ms []*inspect.Member) *Inspection {
	d := &Inspection{SchemaVersion: diff.SchemaVersion, Members: []Member{}}
	for _, m := range ms {
		d.Members = append(d.Members, describe(m))
	}
	d.BestCopy = d.bestCopy()
	return d
}

func describe(m *inspect.Member) Member {
	out := Member{
		Label: m.Label, Origin: m.Origin, Named: diff.NameOf(m.Name()), Term: m.Term(),
		Users: []User{}, Roles: []Role{}, LeaseTable: []Lease{}, LeasedWithout: []LeasedKey{}, Alarms: []Alarm{},
		Snapshots: []Snapshot{}, Files: []File{}, Findings: []FindingRecord{},
		MembersBucket: Membership{Members: []ClusterMember{}, Removed: []diff.ID{}},
	}
	if m.Log.HasMetadata {
		node, cluster := diff.ID(m.Log.NodeID), diff.ID(m.Log.ClusterID)
		out.MemberID, out.Cluster = &node, &cluster
	}
	if m.DB != nil {
		out.DB = boltFile(m.DB)
		if out.Readable = m.DB.HasKeys; out.Readable {
			out.tables(m.DB)
		}
	}
	out.ClusterVersion = m.ClusterVersion()
	if len(m.Log.Entries) > 0 || len(m.Snaps) > 0 {
		ms := m.LogMembership()
		out.LogMembership = &LogMembership{
			Index: ms.Index, Whole: ms.Whole, ClusterVersion: ms.ClusterVersion,
			Membership: Membership{Members: clusterMembers(ms.Members), Removed: ids(ms.Removed)},
		}
	}
	out.Log = logOf(m.Log)
	for _, s := range m.Snaps {
		cs := confState(&s.ConfState)
		out.Snapshots = append(out.Snapshots, Snapshot{Name: s.Name, Index: s.Index, Term: s.Term, ConfState: cs, Store: len(s.Store)})
	}
	for _, f := range m.Files {
		out.Files = append(out.Files, File{Name: f.Name, Size: f.Size})
	}
	for _, f := range m.Findings {
		out.Findings = append(out.Findings, findingRecord(f))
	}
	out.Complete, _ = m.Complete()
	return out
}

func findingRecord(f finding.Finding) FindingRecord {
	r := FindingRecord{Code: f.Code, Severity: string(f.Severity), File: f.File, Detail: f.Detail, Unreadable: f.Unreadable}
	if f.Offset >= 0 {
		r.Offset = &f.Offset
	}
	if f.Page >= 0 {
		r.Page = &f.Page
	}
	return r
}

// tables fills in what the db holds.
func (m *Member) tables(db *inspect.DB) {
	t := db.Tables
	m.ConsistentIndex = t.ConsistentIndex
	m.Revision, m.CompactRevision = db.Revision(), db.CompactRevision()
	m.ScheduledCompact, m.FinishedCompact = t.ScheduledCompact, t.FinishedCompact
	m.Revisions = db.Rows.Len()
	var wg evidence.Group
	wg.Go(db.File.Origin, func() {
		m.HashKV = db.Rows.HashKVApart(m.Revision, m.CompactRevision, runtime.GOMAXPROCS(0), func(fs []func()) {
			var wg evidence.Group
			for _, f := range fs {
				wg.Go(db.File.Origin, f)
			}
			wg.Wait()
		})
	})
	m.leases(db)
	wg.Wait()
	m.StorageVersion = t.StorageVersion
	if t.Downgrade != nil && t.Downgrade.Enabled {
		m.DowngradeTo = t.Downgrade.TargetVersion
	}
	m.AuthEnabled, m.AuthRevision, m.Leases = t.AuthEnabled, t.AuthRevision, len(t.Leases)
	for _, u := range t.Users {
		m.Users = append(m.Users, user(u.Name, u.Roles, u.NoPassword))
	}
	for _, r := range t.Roles {
		m.Roles = append(m.Roles, role(r))
	}
	m.MembersBucket = Membership{Members: clusterMembers(t.Members), Removed: ids(t.MembersRemoved)}
	if cs := t.ConfState; cs != nil {
		m.ConfState = &ConfState{ids(cs.Voters), ids(cs.Learners), ids(cs.VotersOutgoing), ids(cs.LearnersNext), cs.AutoLeave}
	}
	for _, a := range t.Alarms {
		m.Alarms = append(m.Alarms, Alarm{diff.ID(a.Member), a.Type})
	}
}

func role(r schema.Role) Role {
	out := Role{Named: diff.NameOf(r.Name), Permissions: []Permission{}}
	for _, p := range r.Permissions {
		perm := Permission{Type: p.Type, Text: text(p.Key)}
		end := text(p.RangeEnd)
		perm.RangeEnd, perm.RangeEndBase64 = end.Key, end.KeyBase64
		out.Permissions = append(out.Permissions, perm)
	}
	return out
}

// leases counts the live keys, and lists those that carry a lease below it.
func (m *Member) leases(db *inspect.DB) {
	attached := map[int64][]string{}
	m.Keys = db.Rows.CountLive()
	if db.Rows.HasLeases() {
		var kv mvcc.KeyValue
		for _, r := range db.Rows.Latest(db.Rows.Len()) {
			if !r.Tombstone && kv.Decode(r.Value) == nil && kv.Lease != 0 {
				attached[kv.Lease] = append(attached[kv.Lease], string(kv.Key))
			}
		}
	}
	for _, l := range db.Tables.Leases {
		keys := attached[l.ID]
		slices.Sort(keys)
		lease := Lease{ID: diff.ID(uint64(l.ID)), TTL: l.TTL, RemainingTTL: l.RemainingTTL, Keys: []Text{}}
		for _, k := range keys {
			lease.Keys = append(lease.Keys, text(k))
		}
		m.LeaseTable = append(m.LeaseTable, lease)
		delete(attached, l.ID)
	}
	type orphan struct {
		key   string
		lease int64
	}
	var orphans []orphan
	for id, keys := range attached {
		for _, k := range keys {
			orphans = append(orphans, orphan{k, id})
		}
	}
	slices.SortFunc(orphans, func(a, b orphan) int { return cmp.Compare(a.key, b.key) })
	for _, o := range orphans {
		m.LeasedWithout = append(m.LeasedWithout, LeasedKey{text(o.key), diff.ID(uint64(o.lease))})
	}
}

func boltFile(db *inspect.DB) *DB {
	b := db.Bolt
	meta, pages := b.Meta(), b.Check().Pages
	out := &DB{
		File: db.File.Name, Size: db.File.Size, PageSize: meta.PageSize, TxID: meta.TxID, Meta: meta.Slot, Trailer: "none",
		Pages: Pages{
			Total: pages.Total(), Meta: pages.Meta, Branch: pages.Branch, Leaf: pages.Leaf, Freelist: pages.Freelist,
			Overflow: pages.Overflow, Free: pages.Free, Unreachable: pages.Unreachable, Unreadable: pages.Unreadable,
		},
	}
	out.Buckets, out.BucketsBase64 = texts(b.BucketNames())
	for _, x := range b.Metas() {
		out.Metas = append(out.Metas, metaPage(x))
	}
	if b.Trailer() != nil {
		if out.Trailer = "wrong"; b.TrailerOK() {
			out.Trailer = "valid"
		}
	}
	return out
}

func metaPage(m bolt.Meta) Meta { return Meta{Valid: m.Valid, Problem: m.Problem, TxID: m.TxID} }

func logOf(l *raftlog.Log) Log {
	out := Log{
		FirstIndex: l.First(), LastIndex: l.Last(), Term: l.HardState.Term, Vote: diff.ID(l.HardState.Vote), Commit: l.HardState.Commit,
		Entries: len(l.Entries), ByType: map[string]int{}, Superseded: len(l.Superseded),
		Gaps: []Gap{}, Snapshots: []LogSnapshot{}, Segments: []Segment{},
		Bytes: Bytes{l.Coverage.Bytes, l.Coverage.BytesRead, l.Coverage.BytesPreallocated, l.Coverage.BytesSkipped},
	}
	for i := range l.Entries {
		typ := "Unknown"
		if r, err := raftlog.Decode(&l.Entries[i]); err == nil {
			typ = r.Type
		}
		out.ByType[typ]++
	}
	for _, g := range l.Gaps() {
		out.Gaps = append(out.Gaps, Gap{g[0], g[1]})
	}
	for _, s := range l.Snapshots {
		out.Snapshots = append(out.Snapshots, LogSnapshot{s.Index, s.Term, confState(s.ConfState)})
	}
	for _, s := range l.Segments {
		out.Segments = append(out.Segments, Segment{s.Name, s.Seq, s.FirstIndex, s.Size, s.End.String(), s.EndOffset, s.Records, s.Entries})
	}
	return out
}

func confState(cs *raftlog.ConfState) *ConfState {
	if cs == nil {
		return nil
	}
	return &ConfState{ids(cs.Voters), ids(cs.Learners), ids(cs.VotersOutgoing), ids(cs.LearnersNext), cs.AutoLeave}
}

func clusterMembers(ms []schema.Member) []ClusterMember {
	out := []ClusterMember{}
	for _, m := range ms {
		out = append(out, newClusterMember(m.ID, m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner))
	}
	return out
}

func ids(all []uint64) []diff.ID {
	out := []diff.ID{}
	for _, id := range all {
		out = append(out, diff.ID(id))
	}
	return out
}
