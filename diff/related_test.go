package diff

import (
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// kin is a member in short: a letter is a request of its log, "-" an entry that every cluster begins with; and a letter is the value of a
// row, the first one of revision 2 unless said otherwise.
type kin struct {
	id    uint64
	log   string
	rows  string
	first uint64 // entry, 1 if it is 0
	rev   int64  // of the first row, 2 if it is 0
	knows []uint64
}

func (k kin) member(t *testing.T, label string) *inspect.Member {
	t.Helper()
	l := &raftlog.Log{HasMetadata: true, NodeID: k.id, ClusterID: 5}
	first, rev := max(k.first, 1), max(k.rev, 2)
	for i, c := range k.log {
		e := raftlog.Entry{Index: first + uint64(i), Term: 2}
		if c != '-' {
			b, err := proto.Marshal(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: uint64(c)}, Put: &pb.PutRequest{Key: []byte("k"), Value: []byte(string(c))}})
			if err != nil {
				t.Fatal(err)
			}
			e.Data = b
		}
		l.Entries = append(l.Entries, e)
	}
	var rows []mvcc.Row
	for i, c := range k.rows {
		kv := mvcc.KeyValue{Key: []byte("k"), Value: []byte(string(c)), Create: rev, Mod: rev + int64(i), Version: int64(i + 1)}
		rows = append(rows, mvcc.Row{Rev: mvcc.Revision{Main: kv.Mod}, Value: kv.Encode()})
	}
	tables := &schema.Tables{ConsistentIndex: first + uint64(len(k.log)) - 1, HasConsistentIndex: true}
	for _, id := range k.knows {
		tables.Members = append(tables.Members, schema.Member{ID: id})
	}
	l.HardState.Commit = tables.ConsistentIndex
	return &inspect.Member{Label: label, Log: l, DB: &inspect.DB{File: &evidence.File{Name: "db"}, Tables: tables, Rows: mvcc.NewTable(rows, nil), Whole: true, HasKeys: true}}
}

// TestRelated asks which copies are of one member, and which perhaps not of one cluster. All have the same id of the cluster, as if started
// with the same flags.
func TestRelated(t *testing.T) {
	t.Parallel()
	three := []uint64{1, 2, 3}
	for _, c := range []struct {
		name   string
		ms     []kin
		apart  string // a part of what is said, empty if they are compared
		copyOf []int
		note   string
	}{
		{name: "one cluster", ms: []kin{{id: 1, log: "--abc", rows: "abc"}, {id: 2, log: "--ab", rows: "ab"}}},
		{name: "one log begins behind the end of the other", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 2, log: "ef", first: 9, rows: "abcdef"}}},
		{name: "nothing in common, and nothing against it", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 2, log: "ef", first: 9, rows: "ef", rev: 9}}},
		{name: "the same, with the ids of one member", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 1, log: "ef", first: 9, rows: "ef", rev: 9}}},
		{name: "their logs differ", ms: []kin{{id: 1, log: "--ab"}, {id: 2, log: "--cd", rows: "cd"}}, apart: "their logs hold different entries at 3"},
		{name: "their logs differ, and the ids of the members do not", ms: []kin{{id: 1, log: "--ab"}, {id: 1, log: "--cd", rows: "cd"}}, apart: "their logs hold different entries at 3"},
		{name: "the same rows by chance", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 2, log: "--cd", rows: "ab"}}, apart: "their logs hold different entries at 3"},
		{name: "lists of members", ms: []kin{{id: 1, log: "ab", first: 5, rows: "ab", knows: three}, {id: 7, log: "ef", first: 9, rows: "ef", rev: 9, knows: []uint64{7, 8}}}, apart: "nobody in common"},
		{name: "rows", ms: []kin{{id: 1, log: "ab", first: 5, rows: "ab", knows: three}, {id: 2, log: "ef", first: 9, rows: "cd", knows: three}}, apart: "their rows of revision 2 contradict each other"},
		{name: "nothing but what every cluster begins with", ms: []kin{{id: 1, log: "--"}, {id: 2, log: "--"}}, apart: "the keyspaces of both are empty"},
		{name: "no more, and the ids of one member", ms: []kin{{id: 1, log: "--"}, {id: 1, log: "---"}}, apart: "the keyspaces of both are empty"},
		{name: "two and a stranger", ms: []kin{{id: 1, log: "--ab"}, {id: 2, log: "--ab"}, {id: 3, log: "--cd"}}, apart: "perhaps"},

		{name: "one member twice", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 1, log: "--ab", rows: "ab"}}, apart: "they go together", copyOf: []int{-1, 0}},
		{name: "one member at two moments", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 1, log: "--abc", rows: "abc"}}, apart: "they go together", copyOf: []int{1, -1}},
		{name: "one member that was changed", ms: []kin{{id: 1, log: "--abc", rows: "abc"}, {id: 1, log: "--ab", rows: "xb"}}, apart: "a and b hold different rows of revision 2", copyOf: []int{-1, 0}},
		{
			name: "one member at two moments, and another", ms: []kin{{id: 1, log: "--ab", rows: "ab"}, {id: 2, log: "--abc", rows: "abc"}, {id: 1, log: "--abc", rows: "abc"}}, copyOf: []int{2, -1, -1},
			note: "a and c are copies of one member, 0000000000000001: c, the newest, was compared",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var ms []*inspect.Member
			for i, k := range c.ms {
				ms = append(ms, k.member(t, string(rune('a'+i))))
			}
			if c.copyOf == nil {
				c.copyOf = slices.Repeat([]int{-1}, len(ms))
			}
			r := relateCopies(ms)
			apart := strings.Join(r.incomparable, "\n")
			if !strings.Contains(apart, c.apart) || (apart == "") != (c.apart == "") || !slices.Equal(r.copyOf, c.copyOf) || strings.Join(r.notes, "\n") != c.note {
				t.Errorf("apart %q, copies %v, notes %q", r.incomparable, r.copyOf, r.notes)
			}
		})
	}
}
