package effect

import (
	"iter"
	"slices"
	"sort"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
)

// Touched is what requests read or write of the keyspace: keys, ranges, and whatever carries a lease that they revoke.
// Only this much of a keyspace has to be known to foretell effects, or to run requests again.
type Touched struct {
	// LeaseKeys adds what carries the lease of a put: who may attach a key depends on the other keys of the lease.
	LeaseKeys bool

	keys   map[string]struct{}
	ranges []keyRange
	leases map[int64]struct{}
}

// keyRange is a range of keys, end "\x00" for everything from first on.
type keyRange struct{ first, end string }

func (s keyRange) open() bool { return s.end == "\x00" }

// Add adds what one request reads or writes. nil is none.
func (t *Touched) Add(in *pb.InternalRaftRequest) {
	switch {
	case in == nil:
	case in.Put != nil:
		t.put(in.Put)
	case in.DeleteRange != nil:
		t.add(in.DeleteRange.Key, in.DeleteRange.RangeEnd)
	case in.Txn != nil:
		t.txn(in.Txn)
	case in.LeaseRevoke != nil:
		t.lease(in.LeaseRevoke.ID)
	}
}

func (t *Touched) lease(id int64) {
	if t.leases == nil {
		t.leases = map[int64]struct{}{}
	}
	t.leases[id] = struct{}{}
}

func (t *Touched) add(key, end []byte) {
	if len(end) > 0 {
		t.ranges = append(t.ranges, keyRange{string(key), string(end)})
		return
	}
	if t.keys == nil {
		t.keys = map[string]struct{}{}
	}
	t.keys[string(key)] = struct{}{}
}

func (t *Touched) put(r *pb.PutRequest) {
	t.add(r.Key, nil)
	if t.LeaseKeys && r.Lease != 0 {
		t.lease(r.Lease)
	}
}

func (t *Touched) txn(r *pb.TxnRequest) {
	for _, c := range r.Compare {
		t.add(c.Key, c.RangeEnd)
	}
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			switch {
			case op.GetRequestPut() != nil:
				t.put(op.GetRequestPut())
			case op.GetRequestDeleteRange() != nil:
				t.add(op.GetRequestDeleteRange().Key, op.GetRequestDeleteRange().RangeEnd)
			case op.GetRequestTxn() != nil:
				t.txn(op.GetRequestTxn())
			}
		}
	}
}

// Merge joins ranges that overlap. It must be called once after the last Add.
func (t *Touched) Merge() {
	slices.SortFunc(t.ranges, func(a, b keyRange) int { return strings.Compare(a.first, b.first) })
	var out []keyRange
	for _, r := range t.ranges {
		if n := len(out); n > 0 && (out[n-1].open() || r.first <= out[n-1].end) {
			if last := &out[n-1]; !last.open() && (r.open() || r.end > last.end) {
				last.end = r.end
			}
			continue
		}
		out = append(out, r)
	}
	t.ranges = out
}

// Has tells whether a request names a key or a range that holds it.
func (t *Touched) Has(key []byte) bool {
	if _, ok := t.keys[string(key)]; ok {
		return true
	}
	i := sort.Search(len(t.ranges), func(i int) bool { return t.ranges[i].first > string(key) })
	return i > 0 && (t.ranges[i-1].open() || string(key) < t.ranges[i-1].end)
}

// touches tells whether a request names a key or a range that holds it.
func touches(in *pb.InternalRaftRequest, key []byte) bool {
	var t Touched
	t.Add(in)
	t.Merge()
	return t.Has(key)
}

// Carried tells whether what carries a lease is touched. 0 is no lease.
func (t *Touched) Carried(lease int64) bool {
	_, ok := t.leases[lease]
	return ok && lease != 0
}

// keysOnly tells whether what is touched in a table are the named keys and no others.
func (t *Touched) keysOnly(table *mvcc.Table) bool {
	return len(t.ranges) == 0 && (len(t.leases) == 0 || !table.HasLeases())
}

// Latest yields, of the rows of a table with an index below end, the last one of each key that is touched, and maybe of
// others, with its index, in no order. nil means all keys.
func (t *Touched) Latest(table *mvcc.Table, end int) iter.Seq2[int, mvcc.Row] {
	if t == nil || !t.keysOnly(table) {
		return table.Latest(end)
	}
	return func(yield func(int, mvcc.Row) bool) {
		for key := range t.keys {
			i := table.LastOf([]byte(key))
			for i >= end {
				i = table.Previous(i)
			}
			if i >= 0 && !yield(i, table.Row(i)) {
				return
			}
		}
	}
}

// Index indexes what is touched in a table. like is such an index of another table, from which that takes less, nil for
// none.
func (t *Touched) Index(table *mvcc.Table, like *mvcc.Index) *mvcc.Index {
	if like != nil {
		if ix, ok := like.Of(table, t.row); ok {
			return ix
		}
	}
	if t.keysOnly(table) {
		return table.IndexKeys(t.keys)
	}
	leased := map[string]struct{}{}
	if len(t.leases) > 0 && table.HasLeases() {
		for _, r := range table.All() {
			if t.carries(&r) {
				leased[string(r.Key())] = struct{}{}
			}
		}
	}
	return table.Index(func(key []byte) bool {
		_, ok := leased[string(key)]
		return ok || t.Has(key)
	})
}

func (t *Touched) row(r *mvcc.Row) bool { return t.Has(r.Key()) || len(t.leases) > 0 && t.carries(r) }

// carries tells whether a row carries a lease that is touched.
func (t *Touched) carries(r *mvcc.Row) bool {
	var kv mvcc.KeyValue
	return !r.Tombstone && kv.Decode(r.Value) == nil && t.Carried(kv.Lease)
}
