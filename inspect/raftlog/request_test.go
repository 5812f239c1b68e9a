package raftlog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	must(t, err)
	return b
}

// v2 marshals a Request as etcd 3.2 to 3.5 do: every field is written, but for the pointers that are nil.
func v2(r V2Request) (b []byte) {
	num := func(n protowire.Number, v uint64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	str := func(n protowire.Number, v string) {
		b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	flag := func(n protowire.Number, v bool) { num(n, protowire.EncodeBool(v)) }
	num(1, r.ID)
	str(2, r.Method)
	str(3, r.Path)
	str(4, r.Val)
	flag(5, r.Dir)
	str(6, r.PrevValue)
	num(7, r.PrevIndex)
	if r.PrevExist != nil {
		flag(8, *r.PrevExist)
	}
	num(9, uint64(r.Expiration))
	flag(10, r.Wait)
	num(11, r.Since)
	flag(12, r.Recursive)
	flag(13, r.Sorted)
	flag(14, r.Quorum)
	num(15, uint64(r.Time))
	flag(16, r.Stream)
	if r.Refresh != nil {
		flag(17, *r.Refresh)
	}
	return b
}

var v2Requests = []V2Request{
	{ID: 1, Method: "PUT", Path: "/0/members/8e9e05c52164694d/attributes", Val: `{"name":"a","clientURLs":["http://127.0.0.1:2379"]}`},
	{ID: 1<<63 + 5, Method: "PUT", Path: "/0/version", Val: "3.5.0", PrevExist: new(true), Refresh: new(false)},
	{ID: 7, Method: "SYNC", Time: -1},
	{Method: "POST", Path: "/1/queue", Val: "x", Expiration: 5, Dir: true, PrevValue: "y", PrevIndex: 9, Wait: true, Since: 3, Recursive: true, Sorted: true, Quorum: true, Stream: true},
	{ID: 2, Method: "DELETE", Path: "/1/a"},
	{ID: 2, Method: "QGET", Path: "/1/a"},
	{ID: 2, Method: "GET"},
}

func TestV2(t *testing.T) {
	for _, want := range v2Requests {
		for name, data := range map[string][]byte{
			"bare":     v2(want),
			"embedded": protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), v2(want)),
		} {
			r, err := Decode(&Entry{Index: 5, Data: data})
			if err != nil {
				t.Errorf("%s %s: %v", name, want.Method, err)
				continue
			}
			if d := cmp.Diff(&want, r.V2); d != "" || r.Type != "V2Request" || r.ID != want.ID {
				t.Errorf("%s: %s %d %s", name, r.Type, r.ID, d)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	put := func(k, v string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(k), Value: []byte(v)}}}
	}
	del := func(k, end string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(k), RangeEnd: []byte(end)}}}
	}
	get := func(k string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(k)}}}
	}
	canary := &pb.Compare{Key: []byte("/a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("canary")}}
	lease := uint64(0x9574a1fd33c10c60)
	tests := []struct {
		in   *pb.InternalRaftRequest
		want string
	}{
		{&pb.InternalRaftRequest{Range: &pb.RangeRequest{Key: []byte("/a"), RangeEnd: []byte("/b")}}, "Range /a../b"},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("/a"), Value: []byte("canary")}}, "Put /a (6 bytes)"},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("/a"), Value: []byte("canary"), Lease: int64(lease)}}, "Put /a (6 bytes, lease 9574a1fd33c10c60)"},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("a\x00\xff"), IgnoreValue: true, IgnoreLease: true}}, "Put 0x6100ff (0 bytes, keeps the value, keeps the lease)"},
		{&pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("/a"), RangeEnd: []byte{0}}}, "DeleteRange /a.."},
		{&pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}, "DeleteRange 0x00.."},
		{
			&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Compare: []*pb.Compare{canary}, Success: []*pb.RequestOp{put("/a", "canary")}, Failure: []*pb.RequestOp{get("/a")}}},
			"Txn 1 compare, then 1 put /a, else 1 range /a",
		},
		{
			&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{put("1", ""), put("2", ""), del("3", "4"), put("5", ""), put("6", "")}}},
			"Txn 0 compares, then 4 puts 1 2 5 ..., 1 delete 3..4, else nothing",
		},
		{&pb.InternalRaftRequest{Compaction: &pb.CompactionRequest{Revision: 7}}, "Compaction 7"},
		{&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: int64(lease), TTL: 60}}, "LeaseGrant 9574a1fd33c10c60 (60 s)"},
		{&pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 0x5574a1fd33c10c60}}, "LeaseRevoke 5574a1fd33c10c60"},
		{&pb.InternalRaftRequest{LeaseCheckpoint: &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: 1, Remaining_TTL: 9}}}}, "LeaseCheckpoint 0000000000000001 (9 s left)"},
		{&pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: nodeID}}, "Alarm ACTIVATE NOSPACE 8e9e05c52164694d"},
		{&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}, "AuthEnable"},
		{&pb.InternalRaftRequest{AuthDisable: &pb.AuthDisableRequest{}}, "AuthDisable"},
		{&pb.InternalRaftRequest{AuthStatus: &pb.AuthStatusRequest{}}, "AuthStatus"},
		{&pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "u", Password: "canary", SimpleToken: "canary"}}, "Authenticate u"},
		{&pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u", Password: "canary", HashedPassword: "canary"}}, "AuthUserAdd u"},
		{&pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "u"}}, "AuthUserDelete u"},
		{&pb.InternalRaftRequest{AuthUserGet: &pb.AuthUserGetRequest{Name: "u"}}, "AuthUserGet u"},
		{&pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: "u", Password: "canary", HashedPassword: "canary"}}, "AuthUserChangePassword u"},
		{&pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "u", Role: "r"}}, "AuthUserGrantRole u r"},
		{&pb.InternalRaftRequest{AuthUserRevokeRole: &pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"}}, "AuthUserRevokeRole u r"},
		{&pb.InternalRaftRequest{AuthUserList: &pb.AuthUserListRequest{}}, "AuthUserList"},
		{&pb.InternalRaftRequest{AuthRoleList: &pb.AuthRoleListRequest{}}, "AuthRoleList"},
		{&pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "r"}}, "AuthRoleAdd r"},
		{&pb.InternalRaftRequest{AuthRoleDelete: &pb.AuthRoleDeleteRequest{Role: "r"}}, "AuthRoleDelete r"},
		{&pb.InternalRaftRequest{AuthRoleGet: &pb.AuthRoleGetRequest{Role: "r"}}, "AuthRoleGet r"},
		{&pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("/a")}}}, "AuthRoleGrantPermission r READWRITE /a"},
		{&pb.InternalRaftRequest{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("/a")}}, "AuthRoleRevokePermission r /a"},
		{&pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.6.0"}}, "ClusterVersionSet 3.6.0"},
		{&pb.InternalRaftRequest{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: nodeID, MemberAttributes: &membershippb.Attributes{Name: "a"}}}, "ClusterMemberAttrSet 8e9e05c52164694d a"},
		{&pb.InternalRaftRequest{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "3.5.0"}}, "DowngradeInfoSet to 3.5.0"},
		{&pb.InternalRaftRequest{DowngradeVersionTest: &pb.DowngradeVersionTestRequest{Ver: "3.6.0"}}, "DowngradeVersionTest 3.6.0"},
	}
	seen := map[string]bool{}
	for _, test := range tests {
		test.in.Header = &pb.RequestHeader{ID: 77, Username: "alice", AuthRevision: 5}
		r, err := Decode(&Entry{Index: 3, Data: marshal(t, test.in)})
		if err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		seen[r.Type] = true
		sum := r.Summary()
		if sum != test.want {
			t.Errorf("%q, want %q", sum, test.want)
		}
		if r.ID != 77 || r.User != "alice" || r.AuthRevision != 5 || len(r.Unknown) > 0 {
			t.Errorf("%+v", r)
		}
		password := r.Type == "Authenticate" || r.Type == "AuthUserAdd" || r.Type == "AuthUserChangePassword"
		if r.HasPassword != password {
			t.Errorf("%s: HasPassword is %v", r.Type, r.HasPassword)
		}
		if all := fmt.Sprintf("%+v %v %s", r, r.Internal, marshal(t, r.Internal)); password && strings.Contains(all, "canary") {
			t.Error(all)
		}
		r.Internal = nil
		_, _ = r.Summary(), r.Keys() // do not panic
	}
	fields := (&pb.InternalRaftRequest{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); fd.Kind() == protoreflect.MessageKind && fd.Number() != 100 && !seen[camel(string(fd.Name()))] {
			t.Errorf("%s is not tested", fd.Name())
		}
	}
}

// TestSecrets hides passwords where a decoder could overlook them.
func TestSecrets(t *testing.T) {
	user := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "u")
	user = protowire.AppendString(protowire.AppendTag(user, 99, protowire.BytesType), "canary")
	for name, data := range map[string][]byte{
		"unknown field of a user": protowire.AppendBytes(protowire.AppendTag(nil, 1100, protowire.BytesType), user),
		"unknown request":         protowire.AppendBytes(protowire.AppendTag(nil, 4000, protowire.BytesType), user),
		"not UTF-8": protowire.AppendBytes(protowire.AppendTag(nil, 1100, protowire.BytesType),
			protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "canary\xff")),
	} {
		r, err := Decode(&Entry{Index: 3, Data: data})
		all := fmt.Sprintf("%+v %v", r, err)
		if r != nil && r.Internal != nil {
			all += fmt.Sprintf("%v %s %s", r.Internal, marshal(t, r.Internal), r.Summary())
		}
		if strings.Contains(all, "canary") {
			t.Errorf("%s: %s", name, all)
		}
	}
}

func TestUnknownRequest(t *testing.T) {
	data := protowire.AppendBytes(protowire.AppendTag(nil, 4000, protowire.BytesType), []byte("new"))
	data = append(data, marshal(t, &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 9}})...)
	r, err := Decode(&Entry{Data: data})
	must(t, err)
	if r.Type != "Unknown" || r.ID != 9 || len(r.Unknown) != 1 || r.Unknown[0] != 4000 || r.Summary() != "Unknown field 4000" {
		t.Errorf("%+v", r)
	}
	if r, err = Decode(&Entry{}); err != nil || r.Type != "Empty" || r.Summary() != "Empty" {
		t.Errorf("%+v %v", r, err)
	}
	for _, data := range []string{"\xff", "no request", "\x08", "\x1a\x05a"} {
		if r, err := Decode(&Entry{Index: 8, Data: []byte(data)}); err == nil || !strings.Contains(err.Error(), "entry 8") {
			t.Errorf("%q: %+v, %v", data, r, err)
		}
	}
	if _, err := Decode(&Entry{Type: 3, Data: []byte("x")}); err == nil {
		t.Error("entry type 3")
	}
}

func TestConfChange(t *testing.T) {
	ctx := `{"id":1130804141082204393,"peerURLs":["http://a:2380"],"isLearner":true}`
	cc := &raftpb.ConfChange{Id: new(uint64(5)), Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(0xfb16c6003bed8e9)), Context: []byte(ctx)}
	r, err := Decode(&Entry{Type: EntryConfChange, Data: marshal(t, cc)})
	must(t, err)
	want := &ConfChange{
		ID: 5, Changes: []ConfChangeSingle{{"AddLearnerNode", 0xfb16c6003bed8e9}}, Context: []byte(ctx),
		Member: &ConfMember{ID: 0xfb16c6003bed8e9, PeerURLs: []string{"http://a:2380"}, IsLearner: true},
	}
	if d := cmp.Diff(want, r.ConfChange); d != "" || r.ID != 5 || r.Summary() != "ConfChange AddLearnerNode 0fb16c6003bed8e9" {
		t.Error(r.Summary(), d)
	}

	two := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionJointExplicit.Enum(), Context: []byte(`{"isPromote":true}`), Changes: []*raftpb.ConfChangeSingle{
		{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(1))}, {Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(uint64(2))},
	}}
	r, err = Decode(&Entry{Type: EntryConfChangeV2, Data: marshal(t, two)})
	must(t, err)
	if got := r.Summary(); got != "ConfChangeV2 RemoveNode 0000000000000001 UpdateNode 0000000000000002 (promotion)" || r.ConfChange.Transition != "JointExplicit" {
		t.Error(got, r.ConfChange)
	}
	if _, err = Decode(&Entry{Type: EntryConfChangeV2}); err != nil { // leaves a joint configuration
		t.Error(err)
	}
	if _, err = Decode(&Entry{Type: EntryConfChange, Data: []byte{0x10}}); err == nil {
		t.Error("cut off")
	}
}

func TestKeys(t *testing.T) {
	op := func(m any) *pb.RequestOp {
		switch m := m.(type) {
		case *pb.PutRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: m}}
		case *pb.DeleteRangeRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: m}}
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: m.(*pb.TxnRequest)}}
	}
	txn := &pb.TxnRequest{
		Success: []*pb.RequestOp{op(&pb.PutRequest{Key: []byte("a"), Lease: 3}), op(&pb.TxnRequest{Failure: []*pb.RequestOp{op(&pb.DeleteRangeRequest{Key: []byte("b"), RangeEnd: []byte("c")})}})},
		Failure: []*pb.RequestOp{op(&pb.DeleteRangeRequest{Key: []byte("d")})},
	}
	r, err := Decode(&Entry{Data: marshal(t, &pb.InternalRaftRequest{Txn: txn})})
	must(t, err)
	want := []Write{{Branch: Success, Key: []byte("a"), Lease: 3}, {Branch: Success, Delete: true, Key: []byte("b"), End: []byte("c")}, {Branch: Failure, Delete: true, Key: []byte("d")}}
	if d := cmp.Diff(want, r.Keys()); d != "" {
		t.Error(d)
	}
}

func TestProposer(t *testing.T) {
	p := Proposer(16363671783383239993)
	if p.Prefix != 0xe317 {
		t.Errorf("%#x", p.Prefix)
	}
	near := time.Date(2020, 3, 11, 14, 0, 0, 0, time.UTC)
	if got := p.startTime(near).Format("2006-01-02T15:04:05.000"); got != "2020-03-11T13:51:50.797" {
		t.Error(got)
	}
	if m, ok := p.Member([]uint64{1, 0xabcdef000000e317, 2}); !ok || m != 0xabcdef000000e317 {
		t.Errorf("%x", m)
	}
	if _, ok := p.Member([]uint64{0xe317, 0x1e317}); ok {
		t.Error("two members have the prefix")
	}
}
