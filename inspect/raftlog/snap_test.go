package raftlog

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap/snappb"
	"go.etcd.io/raft/v3/raftpb"
)

const store = `{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{
"0":{"Path":"/0","Children":{
 "members":{"Path":"/0/members","Children":{
  "8e9e05c52164694d":{"Path":"/0/members/8e9e05c52164694d","Children":{
   "attributes":{"Value":"{\"name\":\"a\",\"clientURLs\":[\"http://a:2379\"]}","Children":null},
   "raftAttributes":{"Value":"{\"peerURLs\":[\"http://a:2380\"]}","Children":null}}},
  "3":{"Children":{"raftAttributes":{"Value":"{\"peerURLs\":[\"http://b:2380\"],\"isLearner\":true}"}}}}},
 "removed_members":{"Children":{"5":{"Value":"removedMember"},"4":{}}},
 "version":{"Value":"3.5.0"}}},
"1":{"Children":{"app":{"Children":{"secret":{"Value":"canary"},"empty":{}}}}},
"2":{"Children":{}}}},"WatcherHub":{},"CurrentIndex":9}`

// snapFile writes a .snap file with etcd's own package.
func snapFile(t testing.TB, data string) Source {
	dir := t.TempDir()
	must(t, snap.New(zap.NewNop(), dir).SaveSnap(&raftpb.Snapshot{Data: []byte(data), Metadata: &raftpb.SnapshotMetadata{
		Index: new(uint64(0x324)), Term: new(uint64(2)), ConfState: &raftpb.ConfState{Voters: []uint64{3, nodeID}, Learners: []uint64{7}, AutoLeave: new(true)},
	}}))
	const name = "0000000000000002-0000000000000324.snap"
	b, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	return Source{"member/snap/" + name, b}
}

func TestSnap(t *testing.T) {
	s, err := ReadSnap(snapFile(t, store))
	must(t, err)
	if s.Index != 0x324 || s.Term != 2 || !s.CRCOK || string(s.Store) != store || len(s.Findings) > 0 {
		t.Errorf("%+v", s)
	}
	if d := cmp.Diff(ConfState{Voters: []uint64{3, nodeID}, Learners: []uint64{7}, AutoLeave: true}, s.ConfState); d != "" {
		t.Error(d)
	}
	m, err := s.Membership()
	must(t, err)
	want := &Membership{
		Members: []ConfMember{
			{ID: 3, PeerURLs: []string{"http://b:2380"}, IsLearner: true},
			{ID: nodeID, Name: "a", PeerURLs: []string{"http://a:2380"}, ClientURLs: []string{"http://a:2379"}},
		},
		Removed:        []uint64{4, 5},
		ClusterVersion: "3.5.0",
		V2Keys:         []string{"/1/app/empty", "/1/app/secret"},
	}
	if d := cmp.Diff(want, m); d != "" {
		t.Error(d)
	}

	for _, bad := range []string{
		"", "{}", "x canary", `{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"zz":{}}}}}}}}`,
		`{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"1":{"Children":{"attributes":{"Value":"canary"}}}}}}}}}}`,
	} {
		m, err := (&Snap{Name: "f", Store: []byte(bad)}).Membership()
		if !errors.Is(err, ErrCorrupt) || m != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, %v", bad, m, err)
		}
	}
}

func TestSnapDamage(t *testing.T) {
	good := snapFile(t, store)
	flip := func(off int) []byte { b := bytes.Clone(good.Data); b[off] ^= 1; return b }
	wrap := func(data []byte, crc uint32) []byte { return marshal(t, &snappb.Snapshot{Crc: &crc, Data: data}) }
	tests := []struct {
		name   string
		data   []byte
		code   string
		offset int64
	}{
		{"empty", nil, "snap-empty", 0},
		{"zeros", make([]byte, 100), "snap-malformed", 0},
		{"no data", wrap(nil, 5), "snap-empty", 0},
		{"no checksum", wrap([]byte("data"), 0), "snap-empty", 0},
		{"byte", flip(len(good.Data) / 2), "snap-crc-mismatch", 9},
		{"checksum", flip(1), "snap-crc-mismatch", 9},
		{"cut", good.Data[:len(good.Data)-1], "snap-malformed", 0},
		{"not a snapshot", wrap([]byte("data"), crc32.Checksum([]byte("data"), castagnoli)), "snap-malformed", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadSnap(Source{good.Name, test.data})
			var c *CorruptError
			if !errors.Is(err, ErrCorrupt) || !errors.As(err, &c) || c.Code != test.code || c.File != good.Name {
				t.Fatal(err)
			}
			if test.offset > 0 && c.Offset != test.offset {
				t.Error(c)
			}
			if f := c.Finding(); f.String() != err.Error() {
				t.Errorf("%v, %v", f, err)
			}
		})
	}
	s, err := ReadSnap(Source{"member/snap/0000000000000002-0000000000000999.snap", good.Data})
	if err != nil || len(s.Findings) != 1 || s.Findings[0].Code != "snap-name-differs" {
		t.Error(s, err)
	}
}

// TestSnapFlips flips every bit of a file and cuts it at every byte: each is reported, or changes nothing.
func TestSnapFlips(t *testing.T) {
	src := snapFile(t, `{"Root":{"Children":{}}}`)
	want, err := ReadSnap(src)
	must(t, err)
	want.CRC = 0
	for off := range src.Data {
		if s, err := ReadSnap(Source{src.Name, src.Data[:off]}); err == nil {
			t.Errorf("cut at %d: %+v", off, s)
		}
		for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
			b := bytes.Clone(src.Data)
			b[off] ^= mask
			s, err := ReadSnap(Source{src.Name, b})
			if err == nil {
				s.CRC = 0
				if !reflect.DeepEqual(want, s) {
					t.Errorf("offset %d, mask %#x: changed without an error", off, mask)
				}
			}
		}
	}
}
