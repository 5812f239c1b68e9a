package replay

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/raftlog"
)

// TestBounded runs transactions that compare all keys, many times each: the run ends where these are too many, and says that nothing failed.
func TestBounded(t *testing.T) {
	const keys, compares = 300, 2000
	var entries []effect.Entry
	add := func(r *pb.InternalRaftRequest) {
		data, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		index := uint64(len(entries) + 1)
		entries = append(entries, effect.Entry{Index: index, Term: 1, Raw: &raftlog.Entry{Index: index, Term: 1, Data: data}})
	}
	for i := range keys {
		add(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: fmt.Appendf(nil, "k%03d", i), Value: []byte("v")}})
	}
	all := &pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}, Key: []byte("k"), RangeEnd: []byte("l")}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k000"), Value: []byte("w")}}}}}
	for range compares {
		txn.Compare = append(txn.Compare, all)
	}
	for range 120 {
		add(&pb.InternalRaftRequest{Txn: txn})
	}
	last := uint64(0)
	_, err := Run(t.Context(), Empty(), entries, Today(), Options{TempDir: t.TempDir(), Each: func(fx *Effect) { last = fx.Index }})
	x, ok := errors.AsType[*EntryError](err)
	if !ok || !x.Bounded || x.Index != last+1 {
		t.Errorf("it ran up to entry %d: %v", last, err)
	}
	want := uint64(keys) // each transaction is counted as one more key
	for looked := 0; looked+compares*int(want) <= maxPassed; want++ {
		looked += compares * int(want)
	}
	if last != want {
		t.Errorf("it ran up to entry %d, want %d", last, want)
	}
}

// TestBetween takes any indexes: those of damaged records may be the last ones there are.
func TestBetween(t *testing.T) {
	log := []effect.Entry{{Index: 3}, {Index: 4}, {Index: 7}, {Index: math.MaxUint64}}
	for _, c := range []struct {
		first, last uint64
		want        int
	}{
		{0, 2, 0},
		{0, 3, 1},
		{4, 7, 2},
		{5, 6, 0},
		{7, 4, 0},
		{4, math.MaxUint64 - 1, 2},
		{4, math.MaxUint64, 3},
		{math.MaxUint64, math.MaxUint64, 1},
	} {
		if got := Between(log, c.first, c.last); len(got) != c.want {
			t.Errorf("from %d to %d: %d entries, want %d", c.first, c.last, len(got), c.want)
		}
	}
}
