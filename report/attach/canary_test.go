package attach

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

const canary = "qXzCanaryWjv"

// TestAlteredRequests alters every byte of requests of all kinds, and cuts them everywhere. Whatever becomes of what stands in
// them, a redacted text has none of it.
func TestAlteredRequests(t *testing.T) {
	t.Parallel()
	c, key := []byte(canary), []byte("/"+canary)
	requests := []*pb.InternalRaftRequest{
		{Put: &pb.PutRequest{Key: key, Value: c}},
		{DeleteRange: &pb.DeleteRangeRequest{Key: key, RangeEnd: c}},
		{Range: &pb.RangeRequest{Key: key, RangeEnd: c}},
		{Txn: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key, TargetUnion: &pb.Compare_Value{Value: c}, RangeEnd: c}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: c}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: c}}}}}}}},
		}},
		{LeaseGrant: &pb.LeaseGrantRequest{ID: 1}},
		{Alarm: &pb.AlarmRequest{MemberID: 1}},
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: canary, Password: canary, HashedPassword: canary}},
		{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: canary}},
		{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: canary, Password: canary}},
		{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: canary, Role: canary}},
		{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: canary}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: canary, Perm: &authpb.Permission{Key: key, RangeEnd: c}}},
		{AuthRoleRevokePermission: &pb.AuthRoleRevokePermissionRequest{Role: canary, Key: key, RangeEnd: c}},
		{Authenticate: &pb.InternalAuthenticateRequest{Name: canary, Password: canary, SimpleToken: canary}},
		{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: canary}},
		{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: 1, MemberAttributes: &membershippb.Attributes{Name: canary, ClientUrls: []string{"http://" + canary}}}},
		{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: canary}},
	}
	var datas []raftlog.Entry
	for _, r := range requests {
		r.Header = &pb.RequestHeader{ID: 7, Username: canary}
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		datas = append(datas, raftlog.Entry{Data: b})
	}
	v2 := []byte{0x08, 9}
	for i, field := range []string{"PUT", "/0/members/1/attributes", canary, "", canary} {
		if field != "" {
			v2 = append(append(v2, byte(i+2)<<3|2, byte(len(field))), field...)
		}
	}
	cc, err := proto.Marshal(&raftpb.ConfChange{Id: proto.Uint64(1), Type: raftpb.ConfChangeAddNode.Enum(), NodeId: proto.Uint64(3), Context: []byte(`{"id":3,"name":"` + canary + `","peerURLs":["http://` + canary + `"]}`)})
	if err != nil {
		t.Fatal(err)
	}
	datas = append(datas, raftlog.Entry{Data: v2}, raftlog.Entry{Data: cc, Type: raftlog.EntryConfChange})
	seen := 0
	for _, e := range datas {
		var all []raftlog.Entry
		for n := range e.Data {
			all = append(all, raftlog.Entry{Type: e.Type, Index: 1, Data: e.Data[:n]})
			for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 0x18, 0x30, 0x38} {
				b := slices.Clone(e.Data)
				b[n] ^= x
				all = append(all, raftlog.Entry{Type: e.Type, Index: 1, Data: b})
			}
		}
		for i := range all {
			m := &inspect.Member{Label: "a", Log: &raftlog.Log{Entries: all[i : i+1]}}
			r, err := raftlog.Decode(&all[i])
			text := fmt.Sprint(err)
			if r != nil {
				text += " " + r.Summary() + ", user " + r.User
			}
			if strings.Contains(text, canary) {
				seen++
			}
			out := NewRedactor([]byte("key"), []string{"a"}, Collect([]*inspect.Member{m})).Text(text)
			// A flip may have changed one of the letters.
			for _, part := range []string{canary[:6], canary[6:]} {
				for _, form := range []string{part, hex.EncodeToString([]byte(part)), base64.StdEncoding.EncodeToString([]byte(part))} {
					if strings.Contains(out, form) {
						t.Fatalf("%s: %q of %q", r.Type, out, text)
					}
				}
			}
		}
	}
	if seen < 1000 {
		t.Errorf("only %d texts held what must not be shown", seen)
	}
}
