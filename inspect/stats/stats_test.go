package stats

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

func TestPrefixes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key    string
		depth  int
		prefix string
		kind   string
	}{
		{"/registry/pods/default/web", 2, "/registry/pods/", "pods"},
		{"/registry/pods/default/web", 1, "/registry/", "pods"},
		{"/registry/pods/default/web", 9, "/registry/pods/default/", "pods"},
		{"/registry/minions/a", 2, "/registry/minions/", "nodes"},
		{"/registry/services/endpoints/default/a", 2, "/registry/services/", "endpoints"},
		{"/registry/services/specs/default/a", 2, "/registry/services/", "services"},
		{"/registry/apiregistration.k8s.io/apiservices/v1.", 2, "/registry/apiregistration.k8s.io/", "apiservices.apiregistration.k8s.io"},
		{"/registry/health", 2, "/registry/", ""},
		{"/kubernetes.io/secrets/a/b", 2, "/kubernetes.io/secrets/", "secrets"},
		{"compact_rev_key", 2, "", ""},
		{"a/b", 2, "a/", ""},
		{"/x", 2, "/", ""},
		{"", 2, "", ""},
		{"//", 2, "//", ""},
	} {
		if got := prefix([]byte(test.key), test.depth); string(got) != test.prefix {
			t.Errorf("prefix of %q: %q, want %q", test.key, got, test.prefix)
		}
		if got, _ := kube.NameOf([]byte(test.key)); got.Resource != test.kind {
			t.Errorf("resource of %q: %q, want %q", test.key, got.Resource, test.kind)
		}
	}
}

// TestRows counts a keyspace whose numbers are known.
func TestRows(t *testing.T) {
	t.Parallel()
	var rows []mvcc.Row
	put := func(key string, size int) {
		kv := mvcc.KeyValue{Key: []byte(key), Value: make([]byte, size), Mod: int64(len(rows) + 2)}
		rows = append(rows, mvcc.Row{Rev: mvcc.Revision{Main: kv.Mod}, Value: kv.Encode()})
	}
	for i := range 3000 {
		put(fmt.Sprintf("/registry/pods/ns/%04d", i), i)
	}
	for range 5 {
		put("/registry/leases/ns/x", 1)
	}
	put("gone", 9000)
	tomb := mvcc.KeyValue{Key: []byte("gone")}
	rows = append(rows, mvcc.Row{Rev: mvcc.Revision{Main: 9000}, Tombstone: true, Value: tomb.Encode()})
	var s Stats
	s.rows(mvcc.NewTable(rows, nil), Options{Depth: 2, Top: 3})
	if s.Total.Keys != 3001 || s.Total.Revisions != 3007 || s.Total.Tombstones != 1 {
		t.Errorf("%+v", s.Total)
	}
	var size int64
	for i := range rows {
		size += int64(len(rows[i].Value)) + 17
	}
	if s.Total.Bytes != size+1 {
		t.Errorf("%d bytes, want %d", s.Total.Bytes, size+1)
	}
	var sum Group
	for _, g := range s.Prefixes {
		sum.Keys, sum.Revisions, sum.Bytes, sum.LiveBytes = sum.Keys+g.Keys, sum.Revisions+g.Revisions, sum.Bytes+g.Bytes, sum.LiveBytes+g.LiveBytes
	}
	if sum.Keys != s.Total.Keys || sum.Revisions != s.Total.Revisions || sum.Bytes != s.Total.Bytes || sum.LiveBytes != s.Total.LiveBytes {
		t.Errorf("prefixes add up to %+v, not %+v", sum, s.Total)
	}
	if len(s.Resources) != 2 || s.Resources[0].Name != "pods" || s.Resources[0].History() != 0 || s.Resources[1].History() != 0.8 {
		t.Errorf("%+v", s.Resources)
	}
	if len(s.Biggest) != 3 || s.Biggest[0].Key != "/registry/pods/ns/2999" || s.Biggest[0].Size != 2999 {
		t.Errorf("%+v", s.Biggest)
	}
	if k := s.Busiest; len(k) != 3 || k[0].Key != "/registry/leases/ns/x" || k[0].Revisions != 5 || k[1].Key != "gone" || k[1].Alive {
		t.Errorf("%+v", k)
	}
}

// TestLog makes ids as etcd does: two members, of which one starts again 100 s later.
func TestLog(t *testing.T) {
	t.Parallel()
	const start = 1700000000000
	for _, test := range []struct {
		first   uint64
		windows []Window
		rates   [3]float64
	}{
		{1, []Window{{First: 1, Last: 602, Entries: 602, Writes: 601}}, [3]float64{0, 12, 0.02}},
		{1500, []Window{{First: 1500, Last: 1999, Entries: 500, Writes: 500}, {First: 2000, Last: 2101, Entries: 102, Writes: 101}}, [3]float64{}},
	} {
		l := &raftlog.Log{}
		add := func(prefix, ms uint64, in *pb.InternalRaftRequest) {
			in.Header = &pb.RequestHeader{ID: prefix<<48 | ms<<8&(1<<48-1)}
			b, err := proto.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			l.Entries = append(l.Entries, raftlog.Entry{Index: uint64(len(l.Entries)) + test.first, Data: b})
		}
		put := func() *pb.InternalRaftRequest {
			return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k")}}
		}
		for i := range uint64(600) {
			add(1, start+i/256, put())
		}
		add(2, start+50_000, &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 1}})
		add(1, start+100_000, put())
		got := OfLog(l, 0)
		if got.Writes != 601 || got.ByType["LeaseGrant"] != 1 || got.Entries != 602 {
			t.Errorf("%+v", got)
		}
		for i := range got.Windows {
			got.Windows[i].Bytes = 0
		}
		if !slices.Equal(got.Windows, test.windows) {
			t.Errorf("%+v", got.Windows)
		}
		s := got.Starts
		if len(s) != 3 || s[0].At.UnixMilli() != start || s[2].First != test.first+601 || s[2].Prefix != 1 || !s[2].Fresh {
			t.Fatalf("%+v", s)
		}
		if rates := [3]float64{s[0].Rate, s[1].Rate, s[2].Rate}; rates != test.rates {
			t.Errorf("rates %v, want %v", rates, test.rates)
		}
	}
}

// TestTallies counts who wrote what.
func TestTallies(t *testing.T) {
	t.Parallel()
	l := &raftlog.Log{}
	add := func(prefix uint64, user string, in *pb.InternalRaftRequest) {
		in.Header = &pb.RequestHeader{ID: prefix<<48 | 1<<20, Username: user}
		b, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		l.Entries = append(l.Entries, raftlog.Entry{Index: uint64(len(l.Entries) + 1), Data: b})
	}
	put := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
	}
	add(1, "root", &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("/registry/pods/ci/a")}})
	add(2, "", &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{put("/registry/pods/ci/a"), put("/registry/pods/dev/b")}, Failure: []*pb.RequestOp{put("/registry/leases/ci/c")}}})
	add(2, "", &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 1}})
	plain := func(all []Tally) (out []string) {
		for _, x := range all {
			out = append(out, fmt.Sprintf("%s%.0d %d %d", x.Name, x.Prefix, x.Entries, x.Writes))
		}
		return out
	}
	got := OfLog(l, 0)
	for _, test := range []struct {
		got  []Tally
		want []string
	}{
		{got.Proposers, []string{"2 2 1", "1 1 1"}},
		{got.Users, []string{" 2 1", "root 1 1"}},
		{got.Resources, []string{"pods 2 2", "leases 1 1"}},
		{got.Namespaces, []string{"ci 2 2", "dev 1 1"}},
	} {
		if p := plain(test.got); !slices.Equal(p, test.want) {
			t.Errorf("%q, want %q", p, test.want)
		}
	}
	if got := OfLog(l, 2); got.Entries != 1 || got.First != 3 || got.Writes != 0 || len(got.Users) != 1 {
		t.Errorf("behind entry 2: %+v", got)
	}
}

func TestGrown(t *testing.T) {
	t.Parallel()
	before := []Group{{Name: "same", Bytes: 5}, {Name: "gone", Keys: 1, Bytes: 7}, {Name: "more", Bytes: 1}}
	now := []Group{{Name: "new", Bytes: 3}, {Name: "more", Bytes: 9}, {Name: "same", Bytes: 5}}
	var got []string
	for _, g := range Grown(before, now) {
		got = append(got, fmt.Sprint(g.Name, g.Bytes()))
	}
	if want := []string{"more8", "new3", "gone-7"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
