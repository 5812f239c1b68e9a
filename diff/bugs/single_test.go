package bugs

import (
	"context"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// lone is a member of 3.5 with a short log and nothing wrong.
func lone(t *testing.T, add func(s *sim)) *Member {
	s := newSim(t)
	s.fill("a", 0, "", 0, 5)
	if add != nil {
		add(s)
	}
	s.fill("a", 0, "", 0, 5)
	m := s.run(spec{label: "a"}).Members[0]
	m.Member.Log.Snapshots = []raftlog.SnapshotRecord{{Index: 1, Term: 2, ConfState: &raftlog.ConfState{Voters: []uint64{ids["a"], ids["b"], ids["c"]}}}}
	return m
}

// confChange appends a membership change to a log, encoded as raft does.
func (s *sim) confChange(typ byte, node uint64, promote bool) {
	data := []byte{0x08, 1, 0x10, typ, 0x18}
	for x := node; ; x >>= 7 {
		if x < 0x80 {
			data = append(data, byte(x))
			break
		}
		data = append(data, byte(x)|0x80)
	}
	ctx := `{"id":1}`
	if promote {
		ctx = `{"id":1,"isPromote":true}`
	}
	data = append(append(data, 0x22, byte(len(ctx))), ctx...)
	s.log = append(s.log, raftlog.Entry{Index: uint64(len(s.log) + 1), Term: 2, Type: raftlog.EntryConfChange, Data: data})
}

func voter(ids ...uint64) []raftlog.SnapshotRecord {
	return []raftlog.SnapshotRecord{{Index: 1, Term: 2, ConfState: &raftlog.ConfState{Voters: ids}}}
}

// TestLooks plants what each hypothesis about a single member looks for, and then something that speaks against it.
func TestLooks(t *testing.T) {
	code := func(codes ...string) func(m *Member) {
		return func(m *Member) {
			for _, c := range codes {
				m.findings = append(m.findings, finding.New(c, finding.Error, "member/snap/db", "planted"))
			}
		}
	}
	nothing := func(*Member) {}
	for _, tt := range []struct {
		id      string
		log     func(s *sim)
		plant   func(m *Member)
		want    Status
		against func(m *Member) // "" or refuted then
	}{
		{id: "etcd-15619", plant: func(m *Member) {
			m.DB.Tables.Roles = []schema.Role{{Name: "r", Permissions: []schema.Permission{{Type: "READ", Key: "b", RangeEnd: "a"}}}}
		}, want: Confirmed, against: func(m *Member) {
			m.DB.Tables.Roles = []schema.Role{{Name: "r", Permissions: []schema.Permission{{Type: "READ", Key: "b", RangeEnd: "\x00"}, {Type: "READ", Key: "b"}}}}
		}},
		{id: "etcd-9374", plant: func(m *Member) { m.DB.Tables.Leases = []schema.LeaseRecord{{ID: 1, TTL: maxTTL + 1}} }, want: Confirmed, against: func(m *Member) {
			m.DB.Tables.Leases = []schema.LeaseRecord{{ID: 1, TTL: maxTTL}}
		}},
		{id: "etcd-12535", plant: func(m *Member) { m.DB.Tables.Leases = []schema.LeaseRecord{{ID: -1, TTL: 60}} }, want: Consistent, against: nothing},
		{id: "alarms-persisted", plant: func(m *Member) { m.DB.Tables.Alarms = []schema.AlarmMember{{Member: 1, Type: "NOSPACE"}} }, want: Confirmed, against: nothing},
		{id: "etcd-20496", plant: func(m *Member) { m.DB.Tables.ClusterVersion = "3.6.0" }, want: Confirmed, against: func(m *Member) {
			m.DB.Tables.ClusterVersion, m.DB.Tables.ConfState = "3.6.0", &schema.ConfState{}
		}},
		{id: "version-residue", plant: func(m *Member) { m.DB.Tables.Term = 1 }, want: Consistent, against: nothing},
		{id: "etcd-14370", plant: func(m *Member) {
			m.Member.Log.Snapshots, m.DB.Tables.ConsistentIndex = voter(ids["a"]), 99
		}, want: Consistent, against: func(m *Member) { m.DB.Tables.ConsistentIndex = 99 }},
		{id: "unsafe-no-fsync", plant: func(m *Member) {
			m.DB.Tables.ConsistentIndex = 99
			code("page-zero")(m)
		}, want: Consistent, against: code("page-zero")},
		{id: "restore-mixed-wal", plant: func(m *Member) { m.DB.Tables.ConsistentIndex = 1_000_000 }, want: Consistent, against: func(m *Member) { m.DB.Tables.ConsistentIndex = 99 }},
		{id: "etcd-10219", plant: func(m *Member) {
			m.Member.Log.HardState.Commit = 99
			m.Snaps = []*raftlog.Snap{{Name: "member/snap/0000000000000002-0000000000000063.snap", Index: 99}}
		}, want: Confirmed, against: func(m *Member) { m.Member.Log.HardState.Commit = 99 }},
		{id: "etcd-17146", plant: code("snapshot-beyond-db"), want: Consistent, against: nothing},
		{id: "etcd-20271", plant: func(m *Member) { snapshotAt(3, 6)(m); m.DB.Tables.ConsistentIndex = 2 }, want: Consistent, against: func(m *Member) { snapshotAt(3, 6)(m) }},
		{id: "etcd-13922", plant: func(m *Member) { snapshotAt(3, 6)(m); m.DB.Tables.ConsistentIndex = 2 }, want: Confirmed, against: func(m *Member) { snapshotAt(3, 6)(m) }},
		{id: "etcd-19557", plant: code("learner-flag-stale"), want: Confirmed, against: code("learner-not-promoted")},
		{id: "etcd-20793", plant: func(m *Member) { snapshotAt(3, 6)(m); code("learner-flag-stale")(m) }, want: Consistent, against: code("learner-flag-stale")},
		{id: "etcd-20967", plant: code("zombie-member"), want: Confirmed, against: nothing},
		{id: "etcd-13196", plant: code("zombie-member"), want: Consistent, against: func(m *Member) {
			code("zombie-member")(m)
			m.DB.Tables.StorageVersion = "3.6.0"
		}},
		{id: "restore-keeps-members-3.4", log: nil, plant: nil, want: "", against: code("zombie-member")},
		{id: "etcd-21694", log: func(s *sim) { s.confChange(2, 9, false) }, plant: func(m *Member) {
			m.Member.Log.Snapshots[0].ConfState.Learners = []uint64{9}
			code("learner-flag-missing")(m)
		}, want: Confirmed, against: code("learner-flag-missing")},
		{id: "etcd-15096", log: func(s *sim) { s.confChange(3, 9, false); s.confChange(0, 9, true) }, plant: nothing, want: Confirmed, against: nil},
		{id: "etcd-14070", log: func(s *sim) {
			s.confChange(3, ids["c"], false)
			s.add("a", 0, "", 0, attributes(ids["c"]))
		}, plant: func(m *Member) { m.DB.Tables.AuthEnabled = true }, want: Consistent, against: nothing},
		{id: "etcd-14114", plant: code("wal-big-record"), want: Confirmed, against: nothing},
		{id: "etcd-11308", plant: func(m *Member) { old(m.DB.Tables); code("wal-segment-missing")(m) }, want: Consistent, against: code("wal-segment-missing")},
		{id: "etcd-15069", plant: func(m *Member) {
			m.Member.Log.Segments = []raftlog.Segment{{Name: "0.wal", End: raftlog.Torn}}
		}, want: Consistent, against: func(m *Member) {
			m.Member.Log.Segments = []raftlog.Segment{{Name: "0.wal", End: raftlog.Torn}}
			old(m.DB.Tables)
		}},
		{id: "wal-torn-or-bitrot", plant: code("wal-crc-mismatch"), want: Confirmed, against: nothing},
		{id: "snap-file-broken", plant: code("snap-crc-mismatch"), want: Confirmed, against: nothing},
		{id: "snapdb-pending", plant: code("snap-db-pending"), want: Confirmed, against: nothing},
		{id: "db-ahead-of-commit-raft300", plant: code("index-beyond-commit"), want: Confirmed, against: nothing},
		{id: "etcd-18842", plant: code("defrag-leftover"), want: Consistent, against: nothing},
		{id: "bbolt-structural", plant: code("page-type"), want: Confirmed, against: nothing},
		{id: "etcd-13406", plant: code("db-truncated"), want: Confirmed, against: nothing},
		{id: "etcd-16596", plant: func(m *Member) {
			m.Files, m.DB.HasKeys = []*evidence.File{{Name: "member/snap/db", Size: 4096}}, false
		}, want: Consistent, against: func(m *Member) { m.Files = []*evidence.File{{Name: "member/snap/db", Size: 4096}} }},
		{id: "etcd-1058", plant: func(m *Member) {
			m.Bare, m.Files = true, []*evidence.File{{Name: "backup.db", Size: 512*100 + 32}}
			code("page-type")(m)
		}, want: Confirmed, against: code("page-type")},
		{id: "etcd-11157", plant: code("snapshot-hash-mismatch"), want: Consistent, against: code("snapshot-hash-mismatch", "page-type")},
		{id: "etcd-11896", plant: func(m *Member) {
			m.Bare, m.Files = true, []*evidence.File{{Name: "backup.db", Size: 512 * 100}}
			code("db-truncated")(m)
		}, want: Consistent, against: code("db-truncated")},
		{id: "etcd-17780", plant: code("compaction-beyond-rows"), want: Consistent, against: nothing},
		{id: "compaction-progress-skew", plant: code("compaction-unfinished"), want: Confirmed, against: nothing},
		{id: "lease-dangling-invariant", plant: code("lease-dangling"), want: Confirmed, against: func(m *Member) { code("lease-dangling")(m); m.DB.Whole = false }},
		{id: "member-updates-not-in-v3-19557b", plant: code("member-attributes-stale"), want: Confirmed, against: nothing},
		{id: "etcd-14894", plant: code("never-compacted"), want: Consistent, against: func(m *Member) {
			code("never-compacted")(m)
			m.DB.Tables.ClusterVersion = "3.6.0"
		}},
		{id: "etcd-18089", plant: func(m *Member) {
			m.DB.Tables.FinishedCompact = 7
			m.DB.Rows = mvcc.NewTable([]mvcc.Row{{Rev: mvcc.Revision{Main: 7}, Tombstone: true}}, nil)
		}, want: Confirmed, against: nothing},
		{id: "etcd-13086", log: func(s *sim) {
			s.add("a", 0, "", 0, &pb.InternalRaftRequest{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("x")}})
		}, plant: nil, want: "", against: nothing},
		{id: "etcd-13508", log: func(s *sim) {
			grantLease(s, "", 0, 7, 60)
			s.add("a", 0, "", 0, &pb.InternalRaftRequest{LeaseCheckpoint: &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: 7, Remaining_TTL: 9}}}})
		}, plant: nothing, want: Consistent, against: func(m *Member) { m.DB.Tables.Leases[0].RemainingTTL = 9 }},
		{id: "mixed-authstatus-panic", log: func(s *sim) {
			s.add("b", 0, "", 0, &pb.InternalRaftRequest{AuthStatus: &pb.AuthStatusRequest{}})
			for range 3 {
				s.add("b", 0, "", 0, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("x")}})
			}
		}, plant: func(m *Member) {
			old(m.DB.Tables)
			m.DB.Tables.ConsistentIndex = 5
			m.Log = m.Log[:9] // nothing of its own behind it
		}, want: Confirmed, against: func(m *Member) { old(m.DB.Tables); m.DB.Tables.ConsistentIndex = 5 }},
		{id: "force-new-cluster-leftovers", plant: nil, want: "", against: code("zombie-member")},
		{id: "bbolt-freelist-3.2", plant: nil, want: "", against: code("freelist-unreadable")},
	} {
		b := Find(tt.id)
		if b == nil || b.Look == nil {
			t.Errorf("%s is no hypothesis about a member", tt.id)
			continue
		}
		try := func(name string, plant func(m *Member), want ...Status) {
			if plant == nil {
				return
			}
			m := lone(t, tt.log)
			m.digest = nil
			plant(m)
			c := &Case{Ctx: context.Background(), Members: []*Member{m}, TempDir: t.TempDir()}
			if o := b.Look(c, m); !slices.Contains(want, o.Status) {
				t.Errorf("%s, %s: %q, want %q: %q", tt.id, name, o.Status, want, o.Evidence)
			}
		}
		try("planted", tt.plant, tt.want)
		try("against", tt.against, "", Refuted)
	}
}

func attributes(id uint64) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{ClusterMemberAttrSet: memberAttributes(id)}
}

// TestSets is about what members are to each other.
func TestSets(t *testing.T) {
	a, b := lone(t, nil), lone(t, nil)
	b.Label, b.Member.Log.NodeID = "b", ids["b"]
	c := &Case{Ctx: context.Background(), Members: []*Member{a, b}}
	for _, id := range []string{"cluster-id-mismatch", "nodeid-duplicate-or-swapped", "etcd-15919"} {
		if o := Find(id).All(c); o.Status != "" {
			t.Errorf("%s is %q of healthy members", id, o.Status)
		}
	}
	b.Member.Log.ClusterID = 2
	if o := Find("cluster-id-mismatch").All(c); o.Status != Confirmed {
		t.Errorf("two cluster ids are %q", o.Status)
	}
	b.Member.Log.NodeID = a.Member.Log.NodeID
	if o := Find("nodeid-duplicate-or-swapped").All(c); o.Status != Consistent {
		t.Errorf("one member twice is %q", o.Status)
	}
	a.DB.Tables.Alarms = []schema.AlarmMember{{Type: "CORRUPT"}}
	if o := Find("etcd-15919").All(c); o.Status != Consistent {
		t.Errorf("an alarm without a difference is %q", o.Status)
	}
}

// TestCatalogue holds the catalogue to its form.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range All() {
		if seen[b.ID] || seen[b.Name] && b.ID != b.Name {
			t.Errorf("%s is there twice", b.ID)
		}
		seen[b.ID], seen[b.Name] = true, true
		if b.ID == "" || b.Name == "" || b.Title == "" || b.Source == "" || b.Severity == "" || b.Visible == "" || b.Affected == "" || b.Fixed == "" || b.Seen == "" || b.Remedy == "" {
			t.Errorf("%s: something is missing: %+v", b.ID, *b)
		}
		if b.Visible == Strong && !b.Testable() {
			t.Errorf("%s leaves strong traces, but nothing looks for them", b.ID)
		}
		if Find(b.ID) != b || Find(b.Name) != b {
			t.Errorf("%s is not found", b.ID)
		}
	}
	for _, id := range []string{"etcd-11689", "11689", "#11689", "lease-revoke-auth-11689", "ETCD-11689"} {
		if b := Find(id); b == nil || b.ID != "etcd-11689" {
			t.Errorf("%q finds %v", id, b)
		}
	}
	if Find("etcd-1") != nil {
		t.Error("etcd-1 is found")
	}
}
