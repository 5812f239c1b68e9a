package bugs

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

func look(t *testing.T, id string, m *Member) Outcome {
	t.Helper()
	return Find(id).Look(&Case{Ctx: context.Background(), Members: []*Member{m}, TempDir: t.TempDir()}, m)
}

func wantStatus(t *testing.T, id, what string, o Outcome, want Status) {
	t.Helper()
	if o.Status != want {
		t.Errorf("%s, %s: %q, want %q: %q", id, what, o.Status, want, o.Evidence)
	}
}

// TestIndexStuck has a snapshot beyond the consistent index, and entries between the two.
func TestIndexStuck(t *testing.T) {
	stuck := func(between func(s *sim, rev uint64)) *Member {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		s.fill("a", 0, "app", rev, 3)
		at := uint64(len(s.log))
		between(s, rev)
		m := s.run(spec{label: "a"}).Members[0]
		m.DB.Tables.ConsistentIndex = at
		m.Member.Log.Snapshots = []raftlog.SnapshotRecord{{Index: uint64(len(s.log)), Term: 2}}
		m.findings = []finding.Finding{finding.New("snapshot-beyond-db", finding.Error, "member/snap/db", "planted")}
		return m
	}
	refused := func(s *sim, rev uint64) {
		for range 6 {
			s.put("a", "app", rev, "/other", "x", 0)
		}
	}
	alarms := func(s *sim, rev uint64) {
		for range 6 {
			s.add("a", 0, "root", rev, &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_GET}})
		}
	}
	wantStatus(t, "etcd-13937", "refused entries", look(t, "etcd-13937", stuck(refused)), Confirmed)
	wantStatus(t, "etcd-13937", "alarms", look(t, "etcd-13937", stuck(alarms)), "")
	wantStatus(t, "etcd-14382", "alarms", look(t, "etcd-14382", stuck(alarms)), Confirmed)
	wantStatus(t, "etcd-14382", "refused entries", look(t, "etcd-14382", stuck(refused)), "")
	// An entry with an effect: what is missing was lost.
	m := stuck(func(s *sim, rev uint64) { refused(s, rev); s.put("a", "app", rev, "/k/new", "x", 0) })
	m.DB.Rows = rowsBefore(m, m.RevisionAt(m.DB.Tables.ConsistentIndex))
	wantStatus(t, "etcd-13937", "an effect that is missing", look(t, "etcd-13937", m), "")
	// The same on a member of 3.4 is no more than possible.
	m = stuck(refused)
	old(m.DB.Tables)
	wantStatus(t, "etcd-13937", "3.4", look(t, "etcd-13937", m), Consistent)
}

func TestGrantOfNothing(t *testing.T) {
	plant := func(perm *pb.AuthRoleGrantPermissionRequest, index uint64) *Member {
		s := newSim(t)
		s.fill("a", 0, "", 0, 5)
		m := s.run(spec{label: "a", tables: old}).Members[0]
		s.add("a", 0, "", 0, &pb.InternalRaftRequest{AuthRoleGrantPermission: perm})
		m.Log, m.DB.Tables.ConsistentIndex = s.entries(), index
		return m
	}
	nothing := &pb.AuthRoleGrantPermissionRequest{Name: "r"}
	wantStatus(t, "etcd-13086", "behind the index", look(t, "etcd-13086", plant(nothing, 5)), Confirmed)
	wantStatus(t, "etcd-13086", "already applied", look(t, "etcd-13086", plant(nothing, 6)), Consistent)
	wantStatus(t, "etcd-13086", "a permission", look(t, "etcd-13086", plant(&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: permission("a", "b")}, 5)), "")
}

// TestStoredFreelist reads a db with a freelist, as bolt of etcd 3.2 wrote it, before and after the page is damaged.
func TestStoredFreelist(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoFreelistSync: false, FreelistType: bolt.FreelistArrayType})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		err := db.Update(func(tx *bolt.Tx) error {
			for _, name := range []string{schema.Key, schema.Meta} {
				if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return err
				}
			}
			return tx.Bucket([]byte(schema.Meta)).Put([]byte("n"), []byte{byte(n)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	read := func() (*Member, uint64) {
		set, err := inspect.Open(t.Context(), []string{file}, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := set.Close(); err != nil {
				t.Error(err)
			}
		})
		m := set.Members[0]
		return &Member{Member: m}, m.DB.Bolt.Meta().Freelist
	}
	sound, page := read()
	wantStatus(t, "bbolt-freelist-3.2", "sound", look(t, "bbolt-freelist-3.2", sound), "")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(raw[page*uint64(os.Getpagesize())+8:], 0x02) // a leaf page
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, _ := read()
	// Later versions store it as well, on other systems than Linux or where a tool has opened the db for writing.
	wantStatus(t, "bbolt-freelist-3.2", "of any version", look(t, "bbolt-freelist-3.2", damaged), Consistent)
	damaged.DB.Tables.ClusterVersion = "3.2.0"
	wantStatus(t, "bbolt-freelist-3.2", "of 3.2", look(t, "bbolt-freelist-3.2", damaged), Confirmed)
	damaged.DB.Tables.HasTerm = true
	wantStatus(t, "bbolt-freelist-3.2", "of 3.5", look(t, "bbolt-freelist-3.2", damaged), Refuted)
}

func TestForcedNewCluster(t *testing.T) {
	plant := func(removes bool) *Member {
		m := lone(t, func(s *sim) {
			if removes {
				// Without an id: nobody has proposed it.
				data := binary.AppendUvarint([]byte{0x10, 1, 0x18}, ids["b"])
				s.log = append(s.log, raftlog.Entry{Index: uint64(len(s.log) + 1), Term: 2, Type: raftlog.EntryConfChange, Data: data})
			}
		})
		m.Member.Log.Snapshots = voter(ids["a"])
		m.findings = []finding.Finding{finding.New("zombie-member", finding.Warning, "member/snap/db", "planted")}
		return m
	}
	const id = "force-new-cluster-leftovers"
	wantStatus(t, id, "forced", look(t, id, plant(true)), Consistent)
	wantStatus(t, id, "nobody was removed", look(t, id, plant(false)), "")
	m := plant(true)
	m.findings = []finding.Finding{}
	wantStatus(t, id, "all were removed", look(t, id, m), "")
}

func TestDifferentBackups(t *testing.T) {
	plant := func(at, revision int64) Outcome {
		s := newSim(t)
		s.confChange(0, ids["a"], false)
		s.confChange(0, ids["b"], false)
		for i := range s.log {
			s.log[i].Term = 1
		}
		s.fill("a", 0, "", 0, 5)
		c := s.run(spec{label: "a"}, spec{label: "b"})
		for _, m := range c.Members {
			m.Member.Log.Snapshots = []raftlog.SnapshotRecord{{Index: 2, Term: 1}}
			m.RevisionAt = func(index uint64) int64 { return at + int64(index) }
		}
		c.Cause = &Cause{Layer: "storage", Revision: revision, Groups: [][]int{{0}, {1}}}
		return Find("restore-from-different-snapshots").Test(c)
	}
	wantStatus(t, "restore-from-different-snapshots", "older than the log", plant(100, 60), Confirmed)
	wantStatus(t, "restore-from-different-snapshots", "younger than the log", plant(100, 104), "")
}

func TestV2Content(t *testing.T) {
	plant := func(store string) *Member {
		m := lone(t, nil)
		m.Snaps = []*raftlog.Snap{{Name: "member/snap/0000000000000002-0000000000000005.snap", Index: 5, Store: []byte(store)}}
		return m
	}
	const id = "v2store-custom-content"
	const own = `"0":{"Path":"/0","Children":{"version":{"Path":"/0/version","Value":"3.5.0"}}}`
	wantStatus(t, id, "a key of a user", look(t, id, plant(`{"Root":{"Path":"/","Children":{`+own+`,"1":{"Path":"/1","Children":{"foo":{"Path":"/1/foo","Value":"x"}}}}}}`)), Confirmed)
	wantStatus(t, id, "the cluster's own", look(t, id, plant(`{"Root":{"Path":"/","Children":{`+own+`,"1":{"Path":"/1"}}}}`)), "")
}

// TestLostTailOfOneVoter is a member alone whose log lost entries that were applied: others took their indexes after
// the restart, and were skipped.
func TestLostTailOfOneVoter(t *testing.T) {
	plant := func(voters ...uint64) Outcome {
		s := newSim(t)
		s.fill("a", 0, "", 0, 8)
		c := s.run(spec{label: "a"})
		m := c.Members[0]
		m.Member.Log.Snapshots = voter(voters...)
		m.Steps = func(f func(*effect.Step)) {
			for i := uint64(1); i <= 6; i++ {
				f(&effect.Step{Index: i, Revision: int64(i + 1)})
			}
			f(&effect.Step{Revision: 8, Outcome: effect.Extra})
			f(&effect.Step{Revision: 9, Outcome: effect.Extra})
			f(&effect.Step{Index: 7, Outcome: effect.Refused})
			f(&effect.Step{Index: 8, Outcome: effect.Refused})
		}
		c.Cause = &Cause{Layer: "storage", Revision: 8, Departed: []int{0}, Groups: [][]int{{0}}}
		return Find("etcd-14370").Test(c)
	}
	wantStatus(t, "etcd-14370", "one voter", plant(ids["a"]), Confirmed)
	wantStatus(t, "etcd-14370", "three voters", plant(ids["a"], ids["b"], ids["c"]), "")
}

func TestOldRequests(t *testing.T) {
	// Behind the newest snapshot, and before it.
	plant := func(snapshot uint64) *Member {
		m := lone(t, func(s *sim) {
			// A request of etcd 2: 1 id, 2 method, 3 path, 4 value.
			data := []byte{0x08, 9}
			for i, field := range []string{"PUT", "/0/version", "3.5.0"} {
				data = append(append(data, byte(i+2)<<3|2, byte(len(field))), field...)
			}
			s.log = append(s.log, raftlog.Entry{Index: uint64(len(s.log) + 1), Term: 2, Data: data})
		})
		m.Member.Log.Snapshots = []raftlog.SnapshotRecord{{Index: snapshot, Term: 2}}
		return m
	}
	wantStatus(t, "v2-request-in-3.7-wal", "behind the snapshot", look(t, "v2-request-in-3.7-wal", plant(3)), Confirmed)
	wantStatus(t, "v2-request-in-3.7-wal", "before the snapshot", look(t, "v2-request-in-3.7-wal", plant(8)), "")
}

func TestRestoredCluster(t *testing.T) {
	plant := func(term uint64) *Member {
		s := newSim(t)
		s.confChange(0, ids["a"], false)
		s.log[0].Term = term
		s.fill("a", 0, "", 0, 5)
		m := s.run(spec{label: "a"}).Members[0]
		m.Member.Log.Snapshots = []raftlog.SnapshotRecord{{Index: 1, Term: 1}}
		return m
	}
	wantStatus(t, "restored-cluster", "as a restore leaves it", look(t, "restored-cluster", plant(1)), Confirmed)
	wantStatus(t, "restored-cluster", "a log of its own", look(t, "restored-cluster", plant(2)), "")
}

func TestPlaintextPasswords(t *testing.T) {
	plant := func(tables func(*schema.Tables), r *pb.AuthUserAddRequest) *Member {
		s := newSim(t)
		s.add("a", 0, "", 0, &pb.InternalRaftRequest{AuthUserAdd: r})
		return s.run(spec{label: "a", tables: tables}).Members[0]
	}
	typed := &pb.AuthUserAddRequest{Name: "u", Password: "typed"}
	wantStatus(t, "etcd-11943", "typed", look(t, "etcd-11943", plant(old, typed)), Confirmed)
	wantStatus(t, "etcd-11943", "hashed", look(t, "etcd-11943", plant(nil, &pb.AuthUserAddRequest{Name: "u", HashedPassword: "JDJhJDA0JDAwMDA="})), "")
}
