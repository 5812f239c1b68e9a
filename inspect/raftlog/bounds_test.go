package raftlog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// nestedTxn encodes a request with transactions in one another, in turn in the then and the else branch.
func nestedTxn(levels int) []byte {
	// From the inside: what comes before a body is put in front of it in reverse order.
	var back []byte
	put := func(num protowire.Number, size int) int {
		head := protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.BytesType), uint64(size))
		slices.Reverse(head)
		back = append(back, head...)
		return size + len(head)
	}
	size := 0
	for i := range levels - 1 {
		size = put(4, size)                       // RequestOp.request_txn
		size = put(protowire.Number(2+i%2), size) // TxnRequest.success or failure
	}
	put(6, size) // InternalRaftRequest.txn
	slices.Reverse(back)
	return back
}

// TestNestedTxn bounds how deep transactions may be, whatever the stack would bear.
func TestNestedTxn(t *testing.T) {
	for _, levels := range []int{1, 128, maxTxnDepth} {
		r, err := Decode(&Entry{Index: 7, Data: nestedTxn(levels)})
		if err != nil || r.Type != "Txn" || r.Internal.GetTxn() == nil || r.Problem != "" {
			t.Fatalf("%d levels: %v", levels, err)
		}
		depth := 0
		for txn := r.Internal.Txn; txn != nil; depth++ {
			var next *pb.TxnRequest
			for _, op := range append(txn.Success, txn.Failure...) {
				next = op.GetRequestTxn()
			}
			txn = next
		}
		if depth != levels || len(r.Keys()) != 0 || r.Summary() == "" {
			t.Errorf("%d levels, not %d", depth, levels)
		}
	}
	for _, levels := range []int{maxTxnDepth + 1, 20_000, 300_000} {
		r, err := Decode(&Entry{Index: 7, Data: nestedTxn(levels)})
		if err == nil || !strings.Contains(err.Error(), "entry 7: transactions are nested more than 1024 levels deep") || r.Type != "Txn" || r.Internal != nil {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}

// TestUnsetParts decodes requests that lack what etcd's API demands, and says so.
func TestUnsetParts(t *testing.T) {
	put := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
	}
	for _, c := range []struct {
		in      *pb.InternalRaftRequest
		problem string
	}{
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k")}}, ""},
		{&pb.InternalRaftRequest{Put: &pb.PutRequest{}}, "its key is empty"},
		{&pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{}}, "its key is empty"},
		{&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 5}}, "it asks for nothing"},
		{&pb.InternalRaftRequest{Txn: &pb.TxnRequest{}}, ""},
		{&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{put("k")}}}, ""},
		{&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{}}}}, "compare 1: its key is empty"},
		{&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{put("k"), {}}}}, "operation 2 of the then branch: it asks for nothing"},
		{&pb.InternalRaftRequest{Txn: &pb.TxnRequest{Failure: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{put("")}}}},
		}}}, "operation 1 of the else branch: operation 1 of the then branch: its key is empty"},
		{&pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "r"}}, "it names no permission"},
		{&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{}}, ""},
		{&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}, ""},
	} {
		r, err := Decode(&Entry{Index: 1, Data: marshal(t, c.in)})
		if err != nil || r.Problem != c.problem {
			t.Errorf("%v: %q, not %q (%v)", c.in, r.Problem, c.problem, err)
			continue
		}
		if s := r.Summary(); c.problem != "" && !strings.HasSuffix(s, "("+c.problem+")") {
			t.Errorf("summary %q", s)
		}
		r.Keys()
	}
	for _, c := range []struct {
		typ     EntryType
		data    []byte
		problem string
	}{
		{EntryConfChange, []byte{8, 1, 16, 0, 24, 5}, "it describes no member"},                  // AddNode
		{EntryConfChange, []byte{8, 1, 16, 1, 24, 5}, ""},                                        // RemoveNode
		{EntryConfChange, []byte{8, 1, 16, 0, 24, 5, 34, 2, '{', '}'}, ""},                       // AddNode
		{EntryConfChange, []byte{8, 1, 16, 2, 24, 5, 34, 2, '{', '{'}, "it describes no member"}, // UpdateNode
		{EntryConfChangeV2, []byte{8, 1}, "it asks for nothing"},
	} {
		if r, err := Decode(&Entry{Index: 1, Type: c.typ, Data: c.data}); err != nil || r.Problem != c.problem {
			t.Errorf("%v: %q, not %q (%v)", c.data, r.Problem, c.problem, err)
		}
	}
}

// TestDeepStore bounds how deep the JSON of a .snap and of a member may be.
func TestDeepStore(t *testing.T) {
	nested := func(n int) string {
		return strings.Repeat(`{"Children":{"x":`, n) + `{"Value":"v"}` + strings.Repeat(`}}`, n)
	}
	in := func(tree string) *Snap {
		return &Snap{Name: "s", Store: fmt.Appendf(nil, `{"Root":{"Children":{"1":%s}}}`, tree)}
	}
	if m, err := in(nested(2000)).Membership(); err != nil || len(m.V2Keys) != 1 {
		t.Errorf("2000 levels: %v", err)
	}
	for _, n := range []int{3000, 200_000} {
		if _, err := in(nested(n)).Membership(); err == nil || !strings.Contains(err.Error(), "the v2 store is nested more than 5000 levels deep") {
			t.Errorf("%d levels: %v", n, err)
		}
	}
}
