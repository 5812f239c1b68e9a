package effect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// request is put KEY VALUE, keep KEY (the value that it has), del KEY, range KEY END, revoke LEASE, txn KEY ? KEY VALUE (if it exists), or empty.
func request(t *testing.T, text string) *pb.InternalRaftRequest {
	t.Helper()
	f := strings.Fields(text)
	switch f[0] {
	case "put":
		return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(f[1]), Value: []byte(f[2])}}
	case "keep":
		return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(f[1]), IgnoreValue: true}}
	case "del":
		return &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(f[1])}}
	case "range":
		return &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(f[1]), RangeEnd: []byte(f[2])}}
	case "revoke":
		return &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: int64(len(f[1]))}}
	case "txn":
		return &pb.InternalRaftRequest{Txn: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte(f[1]), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(f[3]), Value: []byte(f[4])}}}},
		}}
	case "empty":
		return &pb.InternalRaftRequest{}
	}
	t.Fatalf("no request: %s", text)
	return nil
}

// logOf is a log whose first entry has an index.
func logOf(t *testing.T, first uint64, lines ...string) *Log {
	t.Helper()
	var es []Entry
	for i, l := range lines {
		data, err := proto.Marshal(request(t, l))
		if err != nil {
			t.Fatal(err)
		}
		index := first + uint64(i)
		es = append(es, Entry{Index: index, Raw: &raftlog.Entry{Index: index, Data: data}})
	}
	return NewLog(es, func(*Entry, *raftlog.Request) {})
}

// tableOf are rows from revision 2 on: KEY VALUE, or KEY for a tombstone.
func tableOf(rows ...string) *mvcc.Table {
	var all []mvcc.Row
	for i, r := range rows {
		f := strings.Fields(r)
		main := int64(i + 2)
		x := mvcc.Row{Rev: mvcc.Revision{Main: main}, Tombstone: len(f) == 1}
		kv := mvcc.KeyValue{Key: []byte(f[0])}
		if !x.Tombstone {
			kv.Value, kv.Create, kv.Mod, kv.Version = []byte(f[1]), main, main, 1
		}
		x.Value = kv.Encode()
		all = append(all, x)
	}
	return mvcc.NewTable(all, nil)
}

func TestPins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		log     []string
		rows    []string
		compact int64
		index   uint64
		want    string // entry=revision
	}{
		{"each once", []string{"put a 1", "put b 2"}, []string{"a 1", "b 2"}, 0, 2, "1=2 2=3"},
		{"an entry without effect in between", []string{"put a 1", "del none", "put b 2"}, []string{"a 1", "b 2"}, 0, 3, "1=2 3=3"},
		{"the same written twice", []string{"put a 1", "put b 2", "put a 1"}, []string{"a 1", "b 2", "a 1"}, 0, 3, "2=3"},
		{"applied again", []string{"put a 1", "put b 2"}, []string{"a 1", "b 2", "a 1"}, 0, 2, "2=3"},
		{"a delete may be another's", []string{"put a 1", "del a", "put b 2"}, []string{"a 1", "a", "b 2"}, 0, 3, "1=2 3=4"},
		{"a key that keeps its value", []string{"put a 1", "keep a", "put b 2"}, []string{"a 1", "a 1", "b 2"}, 0, 3, "3=4"},
		{"compacted", []string{"put a 1", "put b 2"}, []string{"a 1", "b 2"}, 2, 2, "2=3"},
		{"behind the index", []string{"put a 1", "put b 2"}, []string{"a 1", "b 2"}, 0, 1, "1=2"},
		{"out of order", []string{"put a 1", "put b 2", "put c 3"}, []string{"c 3", "a 1", "b 2"}, 0, 3, "1=3 2=4"},
	} {
		var got []string
		for _, s := range logOf(t, 1, c.log...).UniqueMatches(tableOf(c.rows...), c.compact, c.index) {
			got = append(got, fmt.Sprintf("%d=%d", s.Index, s.Revision))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	// Where the log does not begin with the cluster, what looks like one of its first entries may be an older one's.
	var lines, rows []string
	for i := range 20 {
		lines, rows = append(lines, fmt.Sprintf("put k%d %d", i, i)), append(rows, fmt.Sprintf("k%d %d", i, i))
	}
	if all := logOf(t, 100, lines...).UniqueMatches(tableOf(rows...), 0, 200); len(all) != 20-ambiguousAtStart || all[0].Index != 100+ambiguousAtStart {
		t.Errorf("%d pins: %v", len(all), all)
	}
}

func TestWriters(t *testing.T) {
	t.Parallel()
	l := logOf(t, 1, "put a 1", "put a 2", "put a 1", "del a", "range a c", "put b 1", "keep b", "revoke xxx")
	for _, c := range []struct {
		row  string
		want []uint64
	}{
		{"a 1", []uint64{1, 3}},
		{"a 2", []uint64{2}},
		{"a 3", nil},
		{"a", []uint64{1, 2, 3, 4, 5, 8}}, // whatever names the key, or revokes a lease
		{"b 1", []uint64{5, 6, 7}},        // one of them keeps the value
	} {
		if got := l.Writers(tableOf(c.row).Group(2)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.row, got, c.want)
		}
	}
}

func TestPredict(t *testing.T) {
	t.Parallel()
	table := tableOf("a 1", "b 2", "c 3", "c")
	for _, c := range []struct{ request, want string }{
		{"put a 2", "a=2"},
		{"put d 2", "d=2"},
		{"keep a", "a=1"},
		{"keep c", ""},
		{"del a", "-a"},
		{"del c", ""},
		{"range a z", "-a -b"},
		{"txn a ? d 1", "d=1"},
		{"txn c ? d 1", ""},
		{"empty", ""},
	} {
		var touched Touched
		in := request(t, c.request)
		touched.Add(in)
		touched.Merge()
		var got []string
		for _, ch := range (&predictor{ix: touched.Index(table, nil)}).predict(&raftlog.Request{Internal: in}, 5) {
			if ch.Delete {
				got = append(got, "-"+ch.Key)
			} else {
				got = append(got, ch.Key+"="+string(ch.Value))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.request, got, c.want)
		}
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	want := []Change{{Key: "a", Value: []byte("1"), Create: 2, Version: 1}}
	for _, c := range []struct {
		rows []string
		out  Outcome
		why  string
	}{
		{nil, Lost, ""},
		{[]string{"a 2"}, Altered, "value"},
		{[]string{"b 1"}, Altered, "key"},
		{[]string{"a"}, Altered, "kind of change"},
	} {
		var rows []mvcc.Row
		if c.rows != nil {
			rows = tableOf(c.rows...).Group(2)
		}
		if out, why := Difference(want, rows); out != c.out || why != c.why {
			t.Errorf("%v: %v %q, want %v %q", c.rows, out, why, c.out, c.why)
		}
	}
	if !Same(want, tableOf("a 1").Group(2)) || Same(want, tableOf("a 2").Group(2)) || Same(nil, nil) {
		t.Error("what is the same is not told from what is not")
	}
	two := []Change{{Key: "z", Value: []byte("1")}, want[0]}
	if out, _ := Difference(two, tableOf("a 1").Group(2)); out != Partial {
		t.Errorf("one of two rows: %v", out)
	}
}
