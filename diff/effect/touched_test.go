package effect

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestTouched(t *testing.T) {
	t.Parallel()
	put := func(key string, lease int64) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Lease: lease}}}
	}
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{put("deep", 7)}}}}
	x := &Touched{LeaseKeys: true}
	for _, in := range []*pb.InternalRaftRequest{
		nil,
		{Put: &pb.PutRequest{Key: []byte("one"), Lease: 5}},
		{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("c"), RangeEnd: []byte("e")}},
		{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("d"), RangeEnd: []byte("f")}},
		{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("x"), RangeEnd: []byte{0}}},
		{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("y"), RangeEnd: []byte("z")}},
		{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 9}},
		{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("cmp")}}, Success: []*pb.RequestOp{nested}}},
	} {
		x.Add(in)
	}
	x.Merge()
	for key, want := range map[string]bool{
		"one": true, "on": false, "b": false, "c": true, "dd": true, "ezz": true, "f": false, "x": true, "zzz": true, "w": false, "cmp": true, "deep": true,
	} {
		if x.Has([]byte(key)) != want {
			t.Errorf("Has(%q) is %v", key, !want)
		}
	}
	for lease, want := range map[int64]bool{0: false, 5: true, 7: true, 9: true, 1: false} {
		if x.Carried(lease) != want {
			t.Errorf("Carried(%d) is %v", lease, !want)
		}
	}
	x = &Touched{}
	x.Add(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("one"), Lease: 5}})
	x.Merge()
	if x.Carried(5) || x.Has(nil) {
		t.Error("a put touches more than its key")
	}
}
