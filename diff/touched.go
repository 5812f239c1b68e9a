package diff

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
)

// touched is what a log reads or writes of the keyspace: only this much of it has to be indexed to foretell effects.
type touched struct {
	keys   map[string]struct{}
	ranges [][2]string // end "\x00" for everything from the key on
	leases map[int64]struct{}
}

func newTouched() *touched {
	return &touched{keys: map[string]struct{}{}, leases: map[int64]struct{}{}}
}

// request adds what one request reads or writes.
func (t *touched) request(in *pb.InternalRaftRequest) {
	switch {
	case in == nil:
	case in.Put != nil:
		t.add(in.Put.Key, nil)
	case in.DeleteRange != nil:
		t.add(in.DeleteRange.Key, in.DeleteRange.RangeEnd)
	case in.Txn != nil:
		t.txn(in.Txn)
	case in.LeaseRevoke != nil:
		t.leases[in.LeaseRevoke.ID] = struct{}{}
	}
}

func (t *touched) add(key, end []byte) {
	if len(end) == 0 {
		t.keys[string(key)] = struct{}{}
		return
	}
	t.ranges = append(t.ranges, [2]string{string(key), string(end)})
}

func (t *touched) txn(r *pb.TxnRequest) {
	for _, c := range r.Compare {
		t.add(c.Key, c.RangeEnd)
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			switch {
			case op.GetRequestPut() != nil:
				t.add(op.GetRequestPut().Key, nil)
			case op.GetRequestDeleteRange() != nil:
				t.add(op.GetRequestDeleteRange().Key, op.GetRequestDeleteRange().RangeEnd)
			case op.GetRequestTxn() != nil:
				t.txn(op.GetRequestTxn())
			}
		}
	}
}

// merge joins ranges that overlap, so that a key is looked up by one search.
func (t *touched) merge() {
	slices.SortFunc(t.ranges, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	var out [][2]string
	for _, r := range t.ranges {
		if n := len(out); n > 0 && (out[n-1][1] == "\x00" || r[0] <= out[n-1][1]) {
			if out[n-1][1] != "\x00" && (r[1] == "\x00" || r[1] > out[n-1][1]) {
				out[n-1][1] = r[1]
			}
			continue
		}
		out = append(out, r)
	}
	t.ranges = out
}

func (t *touched) has(key []byte) bool {
	if _, ok := t.keys[string(key)]; ok {
		return true
	}
	k := string(key)
	i, found := slices.BinarySearchFunc(t.ranges, k, func(r [2]string, k string) int { return strings.Compare(r[0], k) })
	if found {
		return true
	}
	return i > 0 && (t.ranges[i-1][1] == "\x00" || k < t.ranges[i-1][1])
}

// index builds the index of what is touched in one member's table, keys included that carry a lease which is revoked.
func (t *touched) index(table *mvcc.Table) *mvcc.Index {
	leased := map[string]struct{}{}
	if len(t.leases) > 0 {
		var kv mvcc.KeyValue
		for i := range table.Len() {
			if r := table.Row(i); !r.Tombstone && kv.Decode(r.Value) == nil && kv.Lease != 0 {
				if _, ok := t.leases[kv.Lease]; ok {
					leased[string(kv.Key)] = struct{}{}
				}
			}
		}
	}
	return table.Index(func(key []byte) bool {
		_, ok := leased[string(key)]
		return ok || t.has(key)
	})
}
