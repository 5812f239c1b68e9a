package replay

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
)

// touched is what entries can read or write of the keyspace: keys, ranges, and whatever carries a lease they name.
type touched struct {
	keys   map[string]struct{}
	ranges [][2]string // end "\x00" for everything from the key on
	leases map[int64]struct{}
}

func touchedBy(entries []align.Entry) *touched {
	t := &touched{keys: map[string]struct{}{}, leases: map[int64]struct{}{}}
	for i := range entries {
		in := entries[i].Request().Internal
		switch {
		case in == nil:
		case in.Put != nil:
			t.put(in.Put)
		case in.DeleteRange != nil:
			t.add(in.DeleteRange.Key, in.DeleteRange.RangeEnd)
		case in.Txn != nil:
			t.txn(in.Txn)
		case in.LeaseRevoke != nil:
			t.leases[in.LeaseRevoke.ID] = struct{}{}
		}
	}
	t.merge()
	return t
}

func (t *touched) put(r *pb.PutRequest) {
	t.add(r.Key, nil)
	if r.Lease != 0 {
		t.leases[r.Lease] = struct{}{} // who may attach to it depends on what is attached
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
				t.put(op.GetRequestPut())
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

func (t *touched) has(key string, lease int64) bool {
	if _, ok := t.keys[key]; ok {
		return true
	}
	if _, ok := t.leases[lease]; ok && lease != 0 {
		return true
	}
	i, found := slices.BinarySearchFunc(t.ranges, key, func(r [2]string, k string) int { return strings.Compare(r[0], k) })
	if found {
		return true
	}
	return i > 0 && (t.ranges[i-1][1] == "\x00" || key < t.ranges[i-1][1])
}
