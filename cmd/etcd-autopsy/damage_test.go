package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/report"
)

// small is a member that etcd's and bbolt's own code wrote, with little more than each file needs: 40 puts.
type small struct {
	dir, db, wal, snap string
}

const smallPuts, smallSnap = 40, 20

func newSmall(t *testing.T, dir string) *small {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const self, cluster = uint64(0x1122334455667788), uint64(0x99aabbccddeeff00)
	s := &small{dir: dir, db: filepath.Join(dir, "member", "snap", "db")}
	check(os.MkdirAll(filepath.Dir(s.db), 0o700))
	member := fmt.Sprintf(`{"id":%d,"peerURLs":["http://10.0.0.1:2380"],"name":"one","clientURLs":["http://10.0.0.1:2379"]}`, self)
	conf, err := proto.Marshal(&raftpb.ConfChange{Id: new(uint64(1)), Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(self), Context: []byte(member)})
	check(err)
	u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	put := func(n int) ([]byte, []byte) {
		return fmt.Appendf(nil, "/registry/pods/p-%d", n%7), fmt.Appendf(nil, "value %d of p-%d", n, n%7)
	}

	b, err := bolt.Open(s.db, 0o600, &bolt.Options{PageSize: 1024, NoSync: true, NoGrowSync: true})
	check(err)
	check(b.Update(func(tx *bolt.Tx) error {
		rows := map[string]map[string][]byte{
			"alarm": {}, "auth": {"authEnabled": {0}, "authRevision": u64(1)}, "authRoles": {}, "authUsers": {}, "lease": {}, "members_removed": {},
			"cluster": {"clusterVersion": []byte("3.5.0")}, "members": {fmt.Sprintf("%016x", self): []byte(member)}, "key": {},
			"meta": {"consistent_index": u64(smallPuts + 1), "term": u64(2), "confState": fmt.Appendf(nil, `{"voters":[%d],"auto_leave":false}`, self)},
		}
		version, create := map[string]int64{}, map[string]int64{}
		for n := range smallPuts {
			k, v := put(n)
			rev := int64(n + 2)
			if version[string(k)]++; version[string(k)] == 1 {
				create[string(k)] = rev
			}
			kv := mvcc.KeyValue{Key: k, Create: create[string(k)], Mod: rev, Version: version[string(k)], Value: v}
			rows["key"][string(mvcc.Revision{Main: rev}.AppendKey(nil))] = kv.Encode()
		}
		for name, all := range rows {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for k, v := range all {
				if err := bucket.Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	check(b.Close())

	meta, err := proto.Marshal(&pb.Metadata{NodeID: new(self), ClusterID: new(cluster)})
	check(err)
	defer func(n int64) { wal.SegmentSizeBytes = n }(wal.SegmentSizeBytes)
	wal.SegmentSizeBytes = 8 << 10
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, "member", "wal"), meta)
	check(err)
	w.SetUnsafeNoFsync()
	entries := []*raftpb.Entry{{Index: new(uint64(1)), Term: new(uint64(1)), Type: raftpb.EntryConfChange.Enum(), Data: conf}}
	for n := range smallPuts {
		k, v := put(n)
		data, err := proto.Marshal(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: (self&0xffff)<<48 | uint64(n+1)}, Put: &pb.PutRequest{Key: k, Value: v}})
		check(err)
		entries = append(entries, &raftpb.Entry{Index: new(uint64(n + 2)), Term: new(uint64(2)), Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	voters := &raftpb.ConfState{Voters: []uint64{self}}
	hard := func(commit uint64) *raftpb.HardState {
		return &raftpb.HardState{Term: new(uint64(2)), Vote: new(self), Commit: &commit}
	}
	check(w.Save(hard(smallSnap), entries[:smallSnap]))
	check(w.SaveSnapshot(&walpb.Snapshot{Index: new(uint64(smallSnap)), Term: new(uint64(2)), ConfState: voters}))
	check(w.Save(hard(smallPuts+1), entries[smallSnap:]))
	check(w.Close())
	store := fmt.Sprintf(`{"Root":{"Path":"/","Children":{"0":{"Path":"/0","Children":{"members":{"Path":"/0/members","Children":{"%016x":{"Path":"/0/members/%016x","Children":{"raftAttributes":{"Path":"/0/members/%016x/raftAttributes","Value":"{\"peerURLs\":[\"http://10.0.0.1:2380\"]}"},"attributes":{"Path":"/0/members/%016x/attributes","Value":"{\"name\":\"one\",\"clientURLs\":[\"http://10.0.0.1:2379\"]}"}}}}}}}}}}`,
		self, self, self, self)
	check(snap.New(zap.NewNop(), filepath.Dir(s.db)).SaveSnap(&raftpb.Snapshot{Data: []byte(store), Metadata: &raftpb.SnapshotMetadata{ConfState: voters, Index: new(uint64(smallSnap)), Term: new(uint64(2))}}))

	one := func(pattern string) string {
		files, err := filepath.Glob(filepath.Join(dir, "member", pattern))
		check(err)
		if len(files) != 1 {
			t.Fatalf("%s: %q", pattern, files)
		}
		return files[0]
	}
	s.wal, s.snap = one("wal/*.wal"), one("snap/*.snap")
	return s
}

// seen is everything that the tool takes from a member.
type seen struct {
	rows     []mvcc.Row // values copied
	entries  []raftlog.Entry
	snaps    []raftlog.Snap
	hard     raftlog.HardState
	node     [2]uint64
	tables   string // all else that inspect shows, as JSON
	findings []finding.Finding
	complete bool
	verdict  diff.Verdict // compared with the intact member, if that was asked for
}

// see reads the member, and fails if that takes too long or too much memory.
func see(t *testing.T, what, dir string, intact ...string) *seen {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	args := append([]string{"x=" + dir}, intact...)
	set, err := inspect.Open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() {
		if err := set.Close(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}()
	m := set.Members[slices.IndexFunc(set.Members, func(m *inspect.Member) bool { return m.Label == "x" })]
	r := diff.CheckMember(m)
	s := &seen{hard: m.Log.HardState, node: [2]uint64{m.Log.NodeID, m.Log.ClusterID}, findings: r.Findings}
	s.complete, _ = m.Complete()
	if len(intact) > 0 {
		s.verdict = diff.Compare(set.Members).Verdict
	}
	if m.DB != nil {
		for _, row := range m.DB.Rows.All() {
			row.Value, row.Page, row.Salvaged = slices.Clone(row.Value), 0, false
			s.rows = append(s.rows, row)
		}
	}
	for _, e := range m.Log.Entries {
		e.Data = slices.Clone(e.Data)
		s.entries = append(s.entries, e)
	}
	for _, x := range m.Snaps {
		x := *x
		x.Store = slices.Clone(x.Store)
		s.snaps = append(s.snaps, x)
	}
	doc := report.Members([]*inspect.Member{m})
	doc.Members[0].Log, doc.Members[0].DB, doc.Members[0].Files, doc.Members[0].Findings = report.Log{}, nil, nil, nil
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	s.tables = string(text)
	runtime.ReadMemStats(&after)
	if d := after.TotalAlloc - before.TotalAlloc; d > 64<<20 {
		t.Errorf("%s: %d MiB allocated", what, d>>20)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("%s: took %v", what, d)
	}
	return s
}

// differs names what a change did to what is shown, apart from findings.
func (s *seen) differs(o *seen) []string {
	var d []string
	for _, x := range []struct {
		name string
		same bool
	}{
		{"rows", reflect.DeepEqual(s.rows, o.rows)},
		{"entries", reflect.DeepEqual(s.entries, o.entries)},
		{"snaps", reflect.DeepEqual(s.snaps, o.snaps)},
		{"hard state", s.hard == o.hard},
		{"ids of member and cluster", s.node == o.node},
		{"tables", s.tables == o.tables},
	} {
		if !x.same {
			d = append(d, x.name)
		}
	}
	return d
}

// TestSmallMember asserts that the member that the next tests damage is sound.
func TestSmallMember(t *testing.T) {
	m := newSmall(t, filepath.Join(t.TempDir(), "m"))
	s := see(t, "intact", m.dir)
	if len(s.findings) > 0 || !s.complete || len(s.rows) != smallPuts || len(s.entries) != smallPuts+1 || len(s.snaps) != 1 {
		t.Errorf("%d rows, %d entries, %d snaps, findings %+v", len(s.rows), len(s.entries), len(s.snaps), s.findings)
	}
	for _, f := range []string{m.db, m.wal, m.snap} {
		if fi, err := os.Stat(f); err != nil || fi.Size() > 64<<10 {
			t.Error(err, fi.Size())
		}
	}
}

// TestEveryByte flips bytes of a small db, log and .snap, one at a time, and cuts each file at many lengths. The keys and
// their revisions, the log and the snapshots never differ from what was written without a finding that says so.
//
// What cannot be detected are changes inside the small tables of the db (members, auth, cluster, ...), which have no
// checksum and no witness but other members. Such a change never touches the keys.
func TestEveryByte(t *testing.T) {
	good := newSmall(t, filepath.Join(t.TempDir(), "good"))
	m := newSmall(t, filepath.Join(t.TempDir(), "m"))
	want := see(t, "intact", m.dir)
	flips, cuts := map[string]int{m.db: 3300, m.wal: 2700, m.snap: 1 << 20}, 150
	if testing.Short() {
		flips, cuts = map[string]int{m.db: 150, m.wal: 150, m.snap: 100}, 20
	}
	for _, file := range []string{m.db, m.wal, m.snap} {
		name := filepath.Base(file)
		sound, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, counts := 0, map[string]int{}
		// Compare with the intact member now and then: that costs more.
		compare := func() []string {
			if n++; n%8 == 0 {
				return []string{"good=" + good.dir}
			}
			return nil
		}
		judge := func(what string, got *seen) {
			t.Helper()
			differs := got.differs(want)
			found := slices.ContainsFunc(got.findings, func(f finding.Finding) bool { return f.Code != "wal-name" })
			switch {
			case found:
				counts["named"]++
			case len(differs) == 0:
				counts["without effect"]++
			case file == m.db && slices.Equal(differs, []string{"tables"}):
				counts["in a small table"]++
			default:
				t.Errorf("%s: no finding, yet other %s", what, strings.Join(differs, ", "))
			}
			if got.verdict == diff.Consistent && slices.Contains(differs, "rows") && got.complete {
				t.Errorf("%s: called consistent, yet the rows differ", what)
			}
			for _, f := range got.findings {
				if diff.Explain(f.Code) == (check.Advice{}) {
					t.Errorf("%s: %s has no explanation", what, f.Code)
				}
			}
		}
		write := func(off int64, b ...byte) {
			t.Helper()
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(b, off)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		step := max(1, len(sound)/flips[file])
		for i := 0; i < len(sound); i += step {
			off := i + i/step%step // not always the same place of a row
			if off >= len(sound) {
				break
			}
			mask := byte(1) << (i / step % 8)
			write(int64(off), sound[off]^mask)
			what := fmt.Sprintf("%s: byte %d xor %#x", name, off, mask)
			judge(what, see(t, what, m.dir, compare()...))
			write(int64(off), sound[off])
		}
		for i := range cuts {
			size := len(sound) * i / cuts
			if err := os.WriteFile(file, sound[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("%s: cut to %d bytes", name, size)
			judge(what, see(t, what, m.dir, compare()...))
		}
		if err := os.WriteFile(file, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %d bytes: %v", name, len(sound), counts)
		if counts["named"] < 20 {
			t.Errorf("%s: hardly anything was damaged: %v", name, counts)
		}
	}
	if d := see(t, "restored", m.dir).differs(want); len(d) > 0 {
		t.Errorf("the test left %q different", d)
	}
}
