package replay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/pkg/v3/traceutil"
	etcdmvcc "go.etcd.io/etcd/server/v3/storage/mvcc"
)

// TestLive writes at random and asks for ranges between the writes: what is kept is what etcd's store reads.
func TestLive(t *testing.T) {
	err := inCopy(t.Context(), Empty(), nil, Today(), t.TempDir(), func(g *engine) error {
		g.kv.keep = true
		rnd := rand.New(rand.NewPCG(1, 2))
		key := func() []byte { return fmt.Appendf(nil, "k%02d", rnd.IntN(40)) }
		for step := range 600 {
			w := g.kv.Write(traceutil.TODO())
			for range rnd.IntN(4) {
				switch rnd.IntN(4) {
				case 0:
					w.DeleteRange(key(), nil)
				case 1:
					w.DeleteRange(key(), key())
				default:
					w.Put(key(), fmt.Append(nil, step), 0)
				}
			}
			w.End()
			from, end := key(), key()
			switch rnd.IntN(4) {
			case 0:
				end = []byte{} // all behind it
			case 1:
				from, end = end, from // mostly an empty range
			}
			read := g.kv.Read(etcdmvcc.SharedBufReadTxMode, traceutil.TODO())
			got, err := read.Range(context.Background(), from, end, etcdmvcc.RangeOptions{})
			if err != nil {
				return err
			}
			want, err := read.(*readTxn).TxnRead.Range(context.Background(), from, end, etcdmvcc.RangeOptions{})
			if err != nil {
				return err
			}
			read.End()
			if len(got.KVs) != len(want.KVs) || got.Rev != want.Rev || got.Count != want.Count {
				return fmt.Errorf("step %d: %d keys of [%s, %s) at revision %d, want %d at %d", step, len(got.KVs), from, end, got.Rev, len(want.KVs), want.Rev)
			}
			for i := range got.KVs {
				if !proto.Equal(got.KVs[i], want.KVs[i]) {
					return fmt.Errorf("step %d: %v, want %v", step, got.KVs[i], want.KVs[i])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
