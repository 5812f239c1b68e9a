package raftlog

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// The short way and etcd's own decoder agree on every put, and the short way takes nothing else.
func TestDecodePut(t *testing.T) {
	puts := []*pb.InternalRaftRequest{
		{Put: &pb.PutRequest{}},
		{ID: 7, Put: &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}},
		{Header: &pb.RequestHeader{ID: 9, Username: "root", AuthRevision: 3}, Put: &pb.PutRequest{Key: []byte("k"), Lease: -5, PrevKv: true}},
		{Header: &pb.RequestHeader{ID: 9}, ID: 1, Put: &pb.PutRequest{Key: []byte("k"), IgnoreValue: true, IgnoreLease: true}},
	}
	for _, in := range puts {
		data, err := proto.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := decodePut(data)
		if !ok {
			t.Fatalf("not taken for a put: %v", in)
		}
		if !proto.Equal(r.Internal, in) {
			t.Errorf("decoded %v, want %v", r.Internal, in)
		}
		if want := max(in.Header.GetID(), in.ID); in.Header.GetID() != 0 && r.ID != in.Header.GetID() || in.Header.GetID() == 0 && r.ID != want {
			t.Errorf("id %d of %v", r.ID, in)
		}
		if r.User != in.Header.GetUsername() || r.AuthRevision != in.Header.GetAuthRevision() {
			t.Errorf("user %q, auth revision %d of %v", r.User, r.AuthRevision, in)
		}
		for n := range data {
			if cut, ok := decodePut(data[:n]); ok {
				var whole pb.InternalRaftRequest
				if proto.Unmarshal(data[:n], &whole) != nil || !proto.Equal(cut.Internal, &whole) {
					t.Errorf("%d bytes of %v taken for another put", n, in)
				}
			}
		}
	}
	for _, in := range []*pb.InternalRaftRequest{
		{Txn: &pb.TxnRequest{}},
		{Put: &pb.PutRequest{}, DeleteRange: &pb.DeleteRangeRequest{}},
		{Authenticate: &pb.InternalAuthenticateRequest{Name: "root"}},
		{},
	} {
		data, _ := proto.Marshal(in)
		if _, ok := decodePut(data); ok {
			t.Errorf("taken for a put: %v", in)
		}
	}
}
