package apply

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/raftlog"
)

func put(key, value string, lease int64) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}}
}

func del(key, end string) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}
}

func grant(id int64) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: 60}}
}

func revoke(id int64) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: id}}
}

func opOf(r *pb.InternalRaftRequest) *pb.RequestOp {
	if r.Put != nil {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r.Put}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r.DeleteRange}}
}

// txnOf is a transaction that compares one key, or a range of keys.
func txnOf(c *pb.Compare, success, failure *pb.InternalRaftRequest) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Compare: []*pb.Compare{c}, Success: []*pb.RequestOp{opOf(success)}, Failure: []*pb.RequestOp{opOf(failure)}}}
}

func alarmOf(a pb.AlarmType, action pb.AlarmRequest_AlarmAction) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{MemberID: 1, Alarm: a, Action: action}}
}

func logOf(rs ...*pb.InternalRaftRequest) *Log {
	return NewLog(len(rs), func(i int) uint64 { return uint64(i + 1) }, func(i int) *raftlog.Request { return &raftlog.Request{Internal: rs[i]} }, nil, nil)
}

// changes tells in words what an entry did.
func changes(s *State, res Result) string {
	switch res {
	case Forbidden:
		return "forbidden"
	case Alarmed:
		return "alarmed"
	case NoEffect:
		if s.TablesChanged {
			return "turned"
		}
		return "-"
	}
	var all []string
	for _, c := range s.Changes {
		if key := s.Log.Keys[c.Key]; c.Delete {
			all = append(all, "del "+key)
		} else {
			all = append(all, fmt.Sprintf("%s=%s c%d v%d l%d", key, s.Log.Bytes(c.Record.Value), c.Record.Create, c.Record.Version, s.Log.Leases[c.Record.Lease]))
		}
	}
	return fmt.Sprintf("%d: %s", s.Revision, strings.Join(all, ", "))
}

// TestChanges follows a log entry by entry, and takes it back.
func TestChanges(t *testing.T) {
	version := func(key, end string, n int64) *pb.Compare {
		return &pb.Compare{Key: []byte(key), RangeEnd: []byte(end), Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Version{Version: n}}
	}
	steps := []struct {
		r    *pb.InternalRaftRequest
		way  Way
		want string
	}{
		{put("a", "1", 0), Plain, "2: a=1 c2 v1 l0"},
		{put("a", "2", 0), Plain, "3: a=2 c2 v2 l0"},
		{put("b", "1", 7), Plain, "-"},
		{grant(7), Plain, "turned"},
		{grant(7), Plain, "-"},
		{put("b", "1", 7), Plain, "4: b=1 c4 v1 l7"},
		{put("c", "1", 7), Plain, "5: c=1 c5 v1 l7"},
		{put("c", "2", 0), Plain, "6: c=2 c5 v2 l0"},
		{txnOf(version("a", "", 2), put("d", "yes", 0), put("d", "no", 0)), Plain, "7: d=yes c7 v1 l0"},
		{txnOf(version("a", "", 2), put("d", "yes", 0), put("d", "no", 0)), OtherBranch, "8: d=no c7 v2 l0"},
		{txnOf(version("a", "z", 2), put("e", "yes", 0), del("d", "")), Plain, "9: del d"},
		{txnOf(version("x", "z", 0), put("e", "yes", 0), del("d", "")), Plain, "10: e=yes c10 v1 l0"},
		{revoke(7), Plain, "11: del b"},
		{revoke(7), Plain, "-"},
		{del("a", "\x00"), Plain, "12: del a, del c, del e"},
		{del("a", "c"), Plain, "-"},
		{alarmOf(pb.AlarmType_NOSPACE, pb.AlarmRequest_ACTIVATE), Plain, "turned"},
		{put("a", "3", 0), Plain, "alarmed"},
		{put("a", "3", 0), Unchecked, "13: a=3 c13 v1 l0"},
		{del("a", ""), Plain, "14: del a"},
		{alarmOf(pb.AlarmType_CORRUPT, pb.AlarmRequest_ACTIVATE), Plain, "turned"},
		{del("a", ""), Plain, "alarmed"},
		{alarmOf(pb.AlarmType_CORRUPT, pb.AlarmRequest_DEACTIVATE), Plain, "turned"},
		{alarmOf(pb.AlarmType_NOSPACE, pb.AlarmRequest_DEACTIVATE), Plain, "turned"},
		{&pb.InternalRaftRequest{Compaction: &pb.CompactionRequest{Revision: 9}}, Plain, "-"},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true}}, Plain, "-"},
		{put("a", "4", 0), Plain, "15: a=4 c15 v1 l0"},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("a"), IgnoreValue: true}}, Plain, "16: a=4 c15 v2 l0"},
	}
	var rs []*pb.InternalRaftRequest
	for _, x := range steps {
		rs = append(rs, x.r)
	}
	s := New(logOf(rs...))
	var marks []Mark
	var digests []uint64
	for i, x := range steps {
		marks, digests = append(marks, s.Mark()), append(digests, s.Digest())
		if got := changes(s, s.Apply(&s.Log.Entries[i], x.way)); got != x.want {
			t.Errorf("entry %d: %s, want %s", i+1, got, x.want)
		}
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if s.Revert(marks[i]); s.Digest() != digests[i] {
			t.Fatalf("going back to before entry %d leads to another state", i+1)
		}
	}
}

// TestLose makes a lease unknown, as a restart does that does not read it back.
func TestLose(t *testing.T) {
	s := New(logOf(grant(-7), put("a", "1", -7), put("b", "1", -7), revoke(-7), grant(-7), put("a", "2", -7), revoke(-7)))
	step := func(i int, want string) {
		t.Helper()
		if got := changes(s, s.Apply(&s.Log.Entries[i], Plain)); got != want {
			t.Errorf("entry %d: %s, want %s", i+1, got, want)
		}
	}
	step(0, "turned")
	step(1, "2: a=1 c2 v1 l-7")
	lease, _ := s.Log.Lease(-7)
	stored, before := s.LeasesDigest(), s.Mark()
	known := s.Digest()
	if !s.Lose(lease) || s.Lose(lease) || s.Granted(lease) || !s.Stored(lease) || s.LeasesDigest() != stored {
		t.Error("the lease is to be stored, but not known")
	}
	if s.Digest() == known {
		t.Error("a state with an unknown lease is no other state")
	}
	step(2, "-") // the lease is not found
	step(3, "-")
	step(4, "turned") // granted anew
	if s.LeasesDigest() != stored || !s.Granted(lease) {
		t.Error("the lease is to be known again, and stored once")
	}
	step(5, "3: a=2 c2 v2 l-7")
	step(6, "4: del a")
	if s.Revert(before); s.Digest() != known || len(s.Attached(lease)) != 1 {
		t.Error("going back leads to another state")
	}
}

// TestTold tells what an entry may do before it is applied.
func TestTold(t *testing.T) {
	never := &pb.Compare{Key: []byte("x"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}
	l := logOf(put("a", "1", 0), put("b", "1", 9), del("a", "c"), txnOf(never, put("c", "1", 9), del("a", "")), revoke(9), grant(9), txnOf(never, put("c", "2", 0), put("d", "1", 0)))
	for i, want := range []string{
		"revisions 1 to 1, touches a, uses ",
		"revisions 0 to 1, touches b, uses 9",
		"revisions 0 to 1, touches a b, uses ",
		"revisions 0 to 1, touches a c, uses 9",
		"revisions 0 to 1, touches , uses 9",
		"revisions 0 to 0, touches , uses 9",
		"revisions 1 to 1, touches c d, uses ",
	} {
		e := &l.Entries[i]
		least, most := e.Range()
		var keys, leases []string
		for _, k := range e.Touches() {
			keys = append(keys, l.Keys[k])
		}
		for _, n := range e.Uses() {
			leases = append(leases, fmt.Sprint(l.Leases[n]))
		}
		if len(keys) == 2 && keys[0] > keys[1] {
			keys[0], keys[1] = keys[1], keys[0]
		}
		if got := fmt.Sprintf("revisions %d to %d, touches %s, uses %s", least, most, strings.Join(keys, " "), strings.Join(leases, " ")); got != want {
			t.Errorf("entry %d: %s, want %s", i+1, got, want)
		}
	}
	if a, _ := l.Key("a"); !l.Entries[2].Deletes(a) || !l.Entries[3].Deletes(a) || l.Entries[0].Deletes(a) {
		t.Error("entries 3 and 4 may delete a, entry 1 does not")
	}
}

// FuzzApply makes entries of any bytes ready, applies them in every way, and takes them back.
func FuzzApply(f *testing.F) {
	for _, rs := range [][]*pb.InternalRaftRequest{
		{put("a", "1", 0), del("a", "\x00"), grant(3), put("b", "1", 3), revoke(3)},
		{alarmOf(pb.AlarmType_NOSPACE, pb.AlarmRequest_ACTIVATE), put("a", "1", -1)},
		{{Header: &pb.RequestHeader{ID: 1}, AuthUserAdd: &pb.AuthUserAddRequest{Name: "root"}}, {AuthEnable: &pb.AuthEnableRequest{}}},
	} {
		var seed []byte
		for _, r := range rs {
			b, err := proto.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			seed = append(append(seed, byte(len(b))), b...)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var rs []*raftlog.Request
		for len(data) > 0 && len(rs) < 64 {
			n := min(int(data[0]), len(data)-1)
			r, err := raftlog.Decode(&raftlog.Entry{Index: uint64(len(rs) + 1), Type: raftlog.EntryNormal, Data: data[1 : n+1]})
			if data = data[n+1:]; err == nil && r != nil {
				rs = append(rs, r)
			}
		}
		l := NewLog(len(rs), func(i int) uint64 { return uint64(i + 1) }, func(i int) *raftlog.Request { return rs[i] }, nil, nil)
		s := New(l)
		for _, way := range []Way{Plain, Unchecked, OtherBranch} {
			mark, digest := s.Mark(), s.Digest()
			for i := range l.Entries {
				e := &l.Entries[i]
				before := s.Revision
				res := s.Apply(e, way)
				if _, most := e.Range(); s.Revision-before > int64(most) || (res == Made) != (s.Revision > before) {
					t.Fatalf("entry %d: result %d, revision %d after %d", i+1, res, s.Revision, before)
				}
				e.Puts(func(key int32, _ Value, _ bool) { _ = l.Keys[key] })
				_, _ = e.Touches(), e.Uses()
				for n := range l.Leases {
					s.Lose(int32(n))
				}
			}
			if s.Revert(mark); s.Digest() != digest {
				t.Fatal("going back leads to another state")
			}
		}
	})
}
