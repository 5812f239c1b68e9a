package apply

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// asksUnknown tells whether what a compare asks of a key is not known, and may be what it asks for.
func (c *compare) asksUnknown(r *Record, base int64) bool {
	switch c.target {
	case pb.Compare_VALUE:
		return r.Value == UnknownValue
	case pb.Compare_CREATE:
		return r.Create < 0 && c.than > 0 && (c.than <= base || r.Create == -c.than)
	case pb.Compare_MOD:
		return r.Mod < 0 && c.than > 0 && c.than <= base
	case pb.Compare_VERSION:
		return r.Version < 0 && c.than > r.Version-OpenVersion
	case pb.Compare_LEASE:
		return r.Mod < 0
	}
	return false
}

// holds tells whether a key is as a compare asks: r is zero if there is no such key, and base is the revision before the log begins.
func (c *compare) holds(l *Log, r *Record, base int64) bool {
	if r.IsPartial() {
		if c.asksUnknown(r, base) {
			return r.Mod != ModNotCompared
		}
		x := *r
		if x.Version < 0 {
			x.Version += 1 - OpenVersion
		}
		if x.Mod < 0 {
			x.Mod = max(base, 1)
		}
		if x.Create < 0 {
			x.Create = max(base, 1)
		}
		r = &x
	}
	d := 0
	switch c.target {
	case pb.Compare_VALUE:
		if c.result == pb.Compare_EQUAL || c.result == pb.Compare_NOT_EQUAL {
			d = number(r.Value != c.sum)
		} else {
			d = bytes.Compare(l.Bytes(r.Value), c.value)
		}
	case pb.Compare_CREATE:
		d = cmp.Compare(r.Create, c.than)
	case pb.Compare_MOD:
		d = cmp.Compare(r.Mod, c.than)
	case pb.Compare_VERSION:
		d = cmp.Compare(r.Version, c.than)
	case pb.Compare_LEASE:
		d = cmp.Compare(l.Leases[r.Lease], c.than)
	}
	switch c.result {
	case pb.Compare_EQUAL:
		return d == 0
	case pb.Compare_NOT_EQUAL:
		return d != 0
	case pb.Compare_GREATER:
		return d > 0
	case pb.Compare_LESS:
		return d < 0
	}
	return true
}
