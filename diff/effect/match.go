package effect

import (
	"bytes"
	"hash/maphash"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
)

// differences names the fields in which rows differ from changes, nil if in none.
func differences(want []Change, rows []mvcc.Row) []string {
	if len(want) != len(rows) {
		return []string{"number of changes"}
	}
	var d []string
	var kv mvcc.KeyValue
	for i := range want {
		c, r := &want[i], &rows[i]
		if err := kv.Decode(r.Value); err != nil {
			d = append(d, "row")
			continue
		}
		if int(r.Rev.Sub) != i {
			d = append(d, "sub")
		}
		switch {
		case c.Key != string(kv.Key):
			d = append(d, "key")
		case c.Delete != r.Tombstone:
			d = append(d, "kind of change")
		case r.Tombstone:
		default:
			if !bytes.Equal(c.Value, kv.Value) {
				d = append(d, "value")
			}
			if c.Lease != kv.Lease {
				d = append(d, "lease")
			}
			if kv.Mod != r.Rev.Main {
				d = append(d, "mod_revision")
			}
			if c.Create != kv.Create {
				d = append(d, "create_revision")
			}
			if c.Version != kv.Version {
				d = append(d, "version")
			}
		}
	}
	return d
}

// Difference tells what became of the rows that an entry was to make, and in which fields they differ.
func Difference(want []Change, rows []mvcc.Row) (o Outcome, detail string) {
	switch {
	case len(rows) == 0:
		return Lost, ""
	case isPartOf(want, rows):
		return Partial, ""
	}
	return Altered, strings.Join(differences(want, rows), ", ")
}

// Same tells whether rows are just what was predicted, which must be something.
func Same(want []Change, rows []mvcc.Row) bool {
	return len(want) > 0 && differences(want, rows) == nil
}

// isPartOf tells whether rows are some of the changes, each as it should be, in their order.
func isPartOf(want []Change, rows []mvcc.Row) bool {
	if len(rows) >= len(want) {
		return false
	}
	i := 0
	var kv mvcc.KeyValue
	for k := range rows {
		r := &rows[k]
		if kv.Decode(r.Value) != nil {
			return false
		}
		for i < len(want) && !(want[i].Key == string(kv.Key) && want[i].Delete == r.Tombstone &&
			(r.Tombstone || bytes.Equal(want[i].Value, kv.Value) && want[i].Lease == kv.Lease)) {
			i++
		}
		if i == len(want) {
			return false
		}
		i++
	}
	return true
}

// signature is a hash of what a revision holds: keys, values and leases, not the numbers that depend on history.
type signature uint64

type hasher struct{ h maphash.Hash }

// seed is of this process: signatures are compared, never shown.
var seed = maphash.MakeSeed()

func newHasher() *hasher {
	h := &hasher{}
	h.h.SetSeed(seed)
	return h
}

func (h *hasher) add(tombstone bool, key, value []byte, lease int64) {
	var head [25]byte
	if tombstone {
		head[0] = 1
	}
	put := func(at int, v uint64) {
		for i := range 8 {
			head[at+i] = byte(v >> (8 * i))
		}
	}
	put(1, uint64(len(key)))
	put(9, uint64(len(value)))
	put(17, uint64(lease))
	h.h.Write(head[:])
	h.h.Write(key)
	h.h.Write(value)
}

func (h *hasher) sum() signature {
	s := signature(h.h.Sum64())
	h.h.Reset()
	return max(s, 1)
}

// ofRows is the signature of the rows of one main revision, 0 if one does not decode.
func (h *hasher) ofRows(rows []mvcc.Row) signature {
	var kv mvcc.KeyValue
	for i := range rows {
		r := &rows[i]
		switch {
		case kv.Decode(r.Value) != nil:
			h.h.Reset()
			return 0
		case r.Tombstone:
			h.add(true, kv.Key, nil, 0)
		default:
			h.add(false, kv.Key, kv.Value, kv.Lease)
		}
	}
	return h.sum()
}

// ofRequest returns the signatures of everything a request could write whatever the state, as far as that is fixed.
func (h *hasher) ofRequest(in *pb.InternalRaftRequest) []signature {
	switch {
	case in == nil:
	case in.Put != nil:
		if h.put(in.Put) {
			return []signature{h.sum()}
		}
	case in.DeleteRange != nil:
		if len(in.DeleteRange.RangeEnd) == 0 {
			h.add(true, in.DeleteRange.Key, nil, 0)
			return []signature{h.sum()}
		}
	case in.Txn != nil:
		var all []signature
		for _, ops := range [][]*pb.RequestOp{in.Txn.Success, in.Txn.Failure} {
			if s := h.ofOps(ops); s != 0 && (len(all) == 0 || all[0] != s) {
				all = append(all, s)
			}
		}
		return all
	}
	h.h.Reset()
	return nil
}

func (h *hasher) put(r *pb.PutRequest) bool {
	if r.IgnoreValue || r.IgnoreLease {
		return false
	}
	h.add(false, r.Key, r.Value, r.Lease)
	return true
}

func (h *hasher) ofOps(ops []*pb.RequestOp) signature {
	n := 0
	for _, op := range ops {
		switch {
		case op.GetRequestRange() != nil:
		case op.GetRequestPut() != nil:
			if !h.put(op.GetRequestPut()) {
				h.h.Reset()
				return 0
			}
			n++
		default:
			h.h.Reset()
			return 0
		}
	}
	if n == 0 {
		return 0
	}
	return h.sum()
}
