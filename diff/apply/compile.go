package apply

import (
	"slices"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// compiler makes entries ready. Keys and leases get numbers as they come; once all are known, number gives those of their order.
type compiler struct {
	*Log
	authorized bool // permissions may be asked from here on
	spans      []keyRange
}

// keyRange is a range of keys as requests give it.
type keyRange struct {
	key, end string
}

// keyOf is the number of a key, for now.
func (l *Log) keyOf(name []byte) int32 {
	if n, ok := l.keys[string(name)]; ok {
		return n
	}
	return l.addKey(string(name))
}

func (l *Log) addKey(name string) int32 {
	n := int32(len(l.Keys))
	l.keys[name], l.Keys = n, append(l.Keys, name)
	return n
}

func (l *Log) leaseOf(id int64) int32 {
	n, ok := l.leases[id]
	if !ok {
		n = int32(len(l.Leases))
		l.leases[id], l.Leases = n, append(l.Leases, id)
	}
	return n
}

// inRange is put for the end of a range until all keys are known; its beginning is then a place in spans.
const inRange = -1

// span are the keys of a range as requests give it: an empty end means the key alone.
func (c *compiler) span(key, end []byte) (lo, hi int32) {
	lo = c.keyOf(key) // it may have been there before the log begins
	if len(end) == 0 {
		return lo, lo + 1
	}
	c.Ranged = true
	c.spans = append(c.spans, keyRange{key: string(key), end: string(end)})
	return int32(len(c.spans) - 1), inRange
}

func (c *compiler) compile(index uint64, r *raftlog.Request) Entry {
	e := Entry{Index: index}
	if c.authorized {
		e.request = r
	}
	if v, err := semver.NewVersion(r.ClusterVersion()); err == nil {
		c.versions = append(c.versions, clusterVersion{index: index, minor: v.Minor})
	}
	in := r.Internal
	if e.Opaque = r.Unrunnable(); e.Opaque || in == nil {
		return e
	}
	switch {
	case in.Put != nil:
		e.Kind, e.puts = Put, true
		e.op = c.put(in.Put)
	case in.DeleteRange != nil:
		e.Kind = Delete
		e.op.kind = opDelete
		e.op.lo, e.op.hi = c.span(in.DeleteRange.Key, in.DeleteRange.RangeEnd)
	case in.Txn != nil:
		e.Kind = Txn
		e.txn = c.transaction(in.Txn, &e, 0)
		c.notesReads(e.txn, r)
	case in.LeaseGrant != nil:
		e.Kind, e.puts = Grant, true
		e.lease, e.apart = c.leaseOf(in.LeaseGrant.ID), &apart{ttl: in.LeaseGrant.TTL}
	case in.LeaseRevoke != nil:
		e.Kind, e.lease = Revoke, c.leaseOf(in.LeaseRevoke.ID)
	case in.Compaction != nil:
		e.Kind, e.apart = Compaction, &apart{revision: in.Compaction.Revision}
	case in.Alarm != nil:
		e.Kind, e.apart = Alarm, &apart{alarm: in.Alarm}
	case isAuth(in):
		e.Kind, e.request = Auth, r
	}
	return e
}

func (c *compiler) put(r *pb.PutRequest) op {
	return op{
		kind: opPut, lo: c.keyOf(r.Key), lease: c.leaseOf(r.Lease), value: NewValue(r.Value),
		ignoreValue: r.IgnoreValue, ignoreLease: r.IgnoreLease,
	}
}

func (c *compiler) transaction(t *pb.TxnRequest, e *Entry, depth int) *txn {
	if depth > MaxDepth {
		e.Opaque = true
		return &txn{}
	}
	c.nested = c.nested || c.authorized && depth > 0
	out := &txn{}
	if len(t.Compare) > 0 {
		out.compares = make([]compare, 0, len(t.Compare))
	}
	for _, x := range t.Compare {
		y := compare{target: x.Target, result: x.Result}
		y.lo, y.hi = c.span(x.Key, x.RangeEnd)
		switch x.Target {
		case pb.Compare_VALUE:
			y.value, y.sum = x.GetValue(), NewValue(x.GetValue())
		case pb.Compare_CREATE:
			y.than = x.GetCreateRevision()
		case pb.Compare_MOD:
			y.than = x.GetModRevision()
		case pb.Compare_VERSION:
			y.than = x.GetVersion()
		case pb.Compare_LEASE:
			y.than = x.GetLease()
		}
		out.compares = append(out.compares, y)
	}
	for n, ops := range [][]*pb.RequestOp{t.Failure, t.Success} {
		if len(ops) > 0 {
			out.branches[n] = make([]op, 0, len(ops))
		}
		for _, o := range ops {
			switch {
			case o.GetRequestPut() != nil:
				c.txnPuts = c.txnPuts || c.authorized && (o.GetRequestPut().Lease != 0 || o.GetRequestPut().PrevKv)
				out.branches[n] = append(out.branches[n], c.put(o.GetRequestPut()))
				e.puts = true
			case o.GetRequestDeleteRange() != nil:
				d := op{kind: opDelete}
				d.lo, d.hi = c.span(o.GetRequestDeleteRange().Key, o.GetRequestDeleteRange().RangeEnd)
				out.branches[n] = append(out.branches[n], d)
			case o.GetRequestRange() != nil:
				out.branches[n] = append(out.branches[n], op{kind: opRange, revision: o.GetRequestRange().Revision})
			case o.GetRequestTxn() != nil:
				out.branches[n] = append(out.branches[n], op{kind: opTxn, txn: c.transaction(o.GetRequestTxn(), e, depth+1)})
			}
		}
	}
	return out
}

// notesReads notes of a transaction whether it may be refused for its own reads, and who proposed it.
func (c *compiler) notesReads(t *txn, r *raftlog.Request) {
	for _, ops := range t.branches {
		for i := range ops {
			t.reads = t.reads || ops[i].kind == opRange && (c.authorized || ops[i].revision != 0)
		}
	}
	if t.reads {
		c.reads, t.proposer = true, raftlog.Proposer(r.ID).Prefix
	}
}

// number puts all keys and leases in order, and gives everything that names them the numbers of that order.
func (c *compiler) number() {
	slices.Sort(c.Keys)
	keys := make([]int32, len(c.Keys))
	for i, k := range c.Keys {
		keys[c.keys[k]] = int32(i)
		c.keys[k] = int32(i)
	}
	slices.Sort(c.Leases[1:]) // none comes first, also before negative ids
	leases := make([]int32, len(c.Leases))
	for i, id := range c.Leases {
		leases[c.leases[id]] = int32(i)
		c.leases[id] = int32(i)
	}
	n := numbering{c, keys, leases}
	for i := range c.Entries {
		e := &c.Entries[i]
		e.lease = leases[e.lease]
		switch e.Kind {
		case Put, Delete:
			n.op(&e.op)
		case Txn:
			n.txn(e.txn)
		}
	}
}

type numbering struct {
	*compiler
	keys, leases []int32 // the new number of each
}

func (n *numbering) op(o *op) {
	switch o.lease = n.leases[o.lease]; o.kind {
	case opPut:
		o.lo = n.keys[o.lo]
	case opDelete:
		o.lo, o.hi = n.span(o.lo, o.hi)
	case opTxn:
		n.txn(o.txn)
	}
}

func (n *numbering) txn(t *txn) {
	for i := range t.compares {
		x := &t.compares[i]
		if x.lo, x.hi = n.span(x.lo, x.hi); x.hi-x.lo > 1 {
			n.ranges++
			x.number = n.ranges
		}
	}
	for _, ops := range t.branches {
		for i := range ops {
			n.op(&ops[i])
		}
	}
}

// span are the keys of a range: the end \x00 means all from the key on.
func (n *numbering) span(lo, hi int32) (from, to int32) {
	if hi != inRange {
		return n.keys[lo], n.keys[lo] + 1
	}
	r := n.spans[lo]
	first, _ := slices.BinarySearch(n.Keys, r.key)
	end := len(n.Keys)
	if r.end != "\x00" {
		end, _ = slices.BinarySearch(n.Keys, r.end)
	}
	return int32(first), int32(max(first, end))
}
