package raftlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"

	"etcd-autopsy/inspect/finding"
)

const (
	nodeID    = 0x8e9e05c52164694d
	clusterID = 0xcdf818194e3a8c32
)

func ent(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: []byte(data)}
}

func ents(from, to, term uint64) (list []*raftpb.Entry) {
	for i := from; i <= to; i++ {
		list = append(list, ent(i, term, fmt.Sprintf("entry %d of term %d %s", i, term, strings.Repeat("x", int(i*7%40)))))
	}
	return list
}

// writer writes a log with etcd's own package.
type writer struct {
	t   testing.TB
	dir string
	w   *wal.WAL
}

func newWriter(t testing.TB, segment int64) *writer {
	old := wal.SegmentSizeBytes
	wal.SegmentSizeBytes = segment
	t.Cleanup(func() { wal.SegmentSizeBytes = old })
	dir := filepath.Join(t.TempDir(), "wal")
	meta, err := proto.Marshal(&pb.Metadata{NodeID: new(uint64(nodeID)), ClusterID: new(uint64(clusterID))})
	must(t, err)
	w, err := wal.Create(zap.NewNop(), dir, meta)
	must(t, err)
	w.SetUnsafeNoFsync()
	return &writer{t, dir, w}
}

func (w *writer) save(term, vote, commit uint64, list ...*raftpb.Entry) {
	must(w.t, w.w.Save(&raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}, list))
}

func (w *writer) snapshot(index, term uint64) {
	must(w.t, w.w.SaveSnapshot(&walpb.Snapshot{Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1, nodeID}}}))
}

// close returns the segments.
func (w *writer) close() []Source {
	must(w.t, w.w.Close())
	names, err := filepath.Glob(w.dir + "/*.wal")
	must(w.t, err)
	var srcs []Source
	for _, n := range names {
		b, err := os.ReadFile(n)
		must(w.t, err)
		srcs = append(srcs, Source{"member/wal/" + filepath.Base(n), b})
	}
	return srcs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// smallLog is a log of three segments with hard states, a rewritten tail, a snapshot and a configuration change.
func smallLog(t testing.TB) []Source {
	w := newWriter(t, 1200)
	w.save(2, nodeID, 4, ents(1, 12, 2)...)
	w.save(3, nodeID, 9, ents(10, 14, 3)...)
	w.snapshot(9, 2)
	for i := uint64(15); i <= 30; i++ {
		w.save(3, nodeID, i-1, ents(i, i, 3)...)
	}
	w.save(3, nodeID, 30)
	srcs := w.close()
	if len(srcs) != 3 {
		t.Fatalf("%d segments", len(srcs))
	}
	return srcs
}

// clone copies the sources, so that they can be damaged.
func clone(srcs []Source) []Source {
	out := make([]Source, len(srcs))
	for i, s := range srcs {
		out[i] = Source{s.Name, bytes.Clone(s.Data)}
	}
	return out
}

// content is what a log says, wherever it says so.
type content struct {
	Node, Cluster uint64
	HardState     HardState
	Entries       []Entry
	Snapshots     []SnapshotRecord
}

func contentOf(l *Log) content {
	c := content{l.NodeID, l.ClusterID, l.HardState, nil, nil}
	for _, e := range l.Entries {
		c.Entries = append(c.Entries, Entry{Index: e.Index, Term: e.Term, Type: e.Type, Data: e.Data})
	}
	for _, s := range l.Snapshots {
		c.Snapshots = append(c.Snapshots, SnapshotRecord{Index: s.Index, Term: s.Term, ConfState: s.ConfState})
	}
	return c
}

// checkCoverage asserts that every byte is accounted for.
func checkCoverage(t testing.TB, l *Log, srcs []Source) {
	t.Helper()
	var total int64
	for _, s := range srcs {
		total += int64(len(s.Data))
	}
	if c := l.Coverage; c.Bytes != total || c.BytesRead+c.BytesPreallocated+c.BytesSkipped != total ||
		c.BytesRead < 0 || c.BytesPreallocated < 0 || c.BytesSkipped < 0 {
		t.Errorf("coverage %+v of %d bytes", c, total)
	}
}

// TestOracle compares with etcd's own reader.
func TestOracle(t *testing.T) {
	tests := []struct {
		name  string
		write func(w *writer)
		start *walpb.Snapshot
	}{
		{"empty", func(*writer) {}, nil},
		{"one entry", func(w *writer) { w.save(1, 0, 0, ents(1, 1, 1)...) }, nil},
		{"segments", func(w *writer) {
			for i := uint64(1); i < 200; i += 5 {
				w.save(2, nodeID, i, ents(i, i+4, 2)...)
			}
		}, nil},
		{"rewritten tails", func(w *writer) {
			w.save(1, 0, 3, ents(1, 40, 1)...)
			w.save(2, 0, 3, ents(4, 50, 2)...)
			w.save(3, 0, 20, ents(50, 50, 3)...)
			w.save(4, nodeID, 20, ents(21, 22, 4)...)
		}, nil},
		{"snapshots", func(w *writer) {
			w.save(1, 0, 30, ents(1, 30, 1)...)
			w.snapshot(20, 1)
			w.save(1, 0, 60, ents(31, 60, 1)...)
			w.snapshot(60, 1)
		}, nil},
		{"snapshot catch-up", func(w *writer) {
			w.save(1, 0, 30, ents(1, 30, 1)...)
			w.snapshot(500, 2)
			w.save(2, 0, 500)
			w.save(2, 0, 560, ents(501, 560, 2)...)
		}, &walpb.Snapshot{Index: new(uint64(500)), Term: new(uint64(2))}},
		{"big record", func(w *writer) { w.save(1, 0, 1, ent(1, 1, strings.Repeat("v", bigRecord))) }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWriter(t, 2048)
			test.write(w)
			srcs := w.close()
			l := Read(srcs)
			checkCoverage(t, l, srcs)
			for _, f := range l.Findings {
				if f.Severity != finding.Info {
					t.Error(f)
				}
			}

			start := test.start
			if start == nil {
				start = &walpb.Snapshot{Index: new(uint64), Term: new(uint64)}
			}
			r, err := wal.OpenForRead(zap.NewNop(), w.dir, start)
			must(t, err)
			defer r.Close()
			meta, state, list, err := r.ReadAll()
			must(t, err)
			var m pb.Metadata
			must(t, proto.Unmarshal(meta, &m))
			want := content{m.GetNodeID(), m.GetClusterID(), HardState{state.GetTerm(), state.GetVote(), state.GetCommit()}, nil, nil}
			for _, e := range list {
				want.Entries = append(want.Entries, Entry{Index: e.GetIndex(), Term: e.GetTerm(), Type: EntryType(e.GetType()), Data: e.Data})
			}
			got := contentOf(l)
			got.Snapshots = nil
			got.Entries = got.Entries[min(len(got.Entries), l.search(start.GetIndex()+1)):]
			if len(got.Entries) == 0 {
				got.Entries = nil
			}
			if !reflect.DeepEqual(want, got) { // cmp is slow on the big record
				t.Error(cmp.Diff(want, got))
			}
			if n := l.Coverage.EntryRecords; n != len(l.Entries)+len(l.Superseded) {
				t.Errorf("%d entry records, %d entries, %d superseded", n, len(l.Entries), len(l.Superseded))
			}
			for i := range l.Entries {
				if e := l.Entry(l.Entries[i].Index); e != &l.Entries[i] {
					t.Errorf("Entry(%d) is %v", l.Entries[i].Index, e)
				}
			}
		})
	}
}

func TestGaps(t *testing.T) {
	w := newWriter(t, 1<<20)
	w.save(1, 0, 3, ents(1, 3, 1)...)
	w.snapshot(10, 1)
	w.save(1, 0, 12, ents(11, 12, 1)...)
	w.save(1, 0, 12, ents(20, 20, 1)...)
	l := Read(w.close())
	if d := cmp.Diff([][2]uint64{{4, 10}, {13, 19}}, l.Gaps()); d != "" {
		t.Error(d)
	}
	if len(l.Findings) != 1 || l.Findings[0].Code != "wal-gap" || !strings.Contains(l.Findings[0].Detail, "entries 13 to 19") {
		t.Error(l.Findings)
	}
	for _, i := range []uint64{0, 4, 10, 15, 21} {
		if e := l.Entry(i); e != nil {
			t.Errorf("Entry(%d) is %v", i, e)
		}
	}
	if e := l.Entry(20); e == nil || e.Index != 20 || !e.AfterDamage {
		t.Error(e)
	}
}

// appendRecord appends a frame as etcd writes it and returns the checksum up to it.
func appendRecord(b []byte, typ RecordType, crc uint32, data []byte) ([]byte, uint32) {
	crc = crc32.Update(crc, castagnoli, data)
	t := int64(typ)
	rec, err := proto.Marshal(&walpb.Record{Type: &t, Crc: &crc, Data: data})
	if err != nil {
		panic(err)
	}
	b = binary.LittleEndian.AppendUint64(b, lengthField(uint64(len(rec))))
	b = append(b, rec...)
	return append(b, make([]byte, -len(rec)&7)...), crc
}

// bigLog makes a segment of about n bytes with entries of the given size.
func bigLog(n, size int) Source {
	meta, _ := proto.Marshal(&pb.Metadata{NodeID: new(uint64(nodeID)), ClusterID: new(uint64(clusterID))})
	b, crc := appendRecord(nil, TypeCRC, 0, nil)
	b, crc = appendRecord(b, TypeMetadata, crc, meta)
	for i := uint64(1); len(b) < n; i++ {
		e, _ := proto.Marshal(ent(i, 2, strings.Repeat("v", size)))
		b, crc = appendRecord(b, TypeEntry, crc, e)
	}
	return Source{segmentName(0, 0), b}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{100, 1000, 100_000} {
		b.Run(fmt.Sprintf("entry=%d", size), func(b *testing.B) {
			src := bigLog(64<<20, size)
			b.SetBytes(int64(len(src.Data)))
			for b.Loop() {
				if l := Read([]Source{src}); len(l.Findings) > 0 {
					b.Fatal(l.Findings)
				}
			}
		})
	}
}
