package effect

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Change is one row that an entry makes: a put, or a delete (a tombstone).
type Change struct {
	Delete  bool
	Key     string
	Value   []byte
	Lease   int64
	Create  int64
	Version int64
}

// predictor computes what an entry does to the keyspace as it was after a revision: etcd's rules without permissions,
// quota, alarms and unknown leases, all of which are a matter of judgement.
type predictor struct {
	ix Keyspace
}

// Keyspace is what predictions are made from: keys as they were after a main revision.
type Keyspace interface {
	// At is the key after a main revision, and the row that says so; it is not ok if there was none.
	At(key string, main int64) (kv mvcc.KeyValue, row mvcc.Row, ok bool)
	// Range calls f for every key of [key, end), as requests give it, in order, be it live or not.
	Range(key, end string, f func(key string))
	// Attached lists the keys that were attached to a lease after a main revision, in order.
	Attached(lease, main int64) []string
}

// predict returns the rows that a request would make if applied on the state after main revision at.
func (p *predictor) predict(r *raftlog.Request, at int64) []Change {
	in := r.Internal
	if in == nil {
		return nil
	}
	w := writer{predictor: p, at: at}
	switch {
	case in.Put != nil:
		if !w.allowed(in.Put) {
			return nil
		}
		w.put(in.Put)
	case in.DeleteRange != nil:
		w.deleteRange(in.DeleteRange)
	case in.Txn != nil:
		path := w.comparePath(in.Txn)
		if rest, ok := w.mayRun(in.Txn, path); !ok || len(rest) > 0 {
			return nil
		}
		w.run(in.Txn, path)
	case in.LeaseRevoke != nil:
		for _, k := range p.ix.Attached(in.LeaseRevoke.ID, at) {
			w.changes = append(w.changes, Change{Delete: true, Key: k})
		}
	}
	return w.changes
}

// writer collects the changes of one request; later operations of a transaction see those of earlier ones.
type writer struct {
	*predictor
	at      int64
	changes []Change
}

// get is the key as the request sees it now.
func (w *writer) get(key string) (mvcc.KeyValue, bool) {
	for _, c := range slices.Backward(w.changes) {
		if c.Key == key {
			if c.Delete {
				return mvcc.KeyValue{}, false
			}
			return mvcc.KeyValue{Value: c.Value, Create: c.Create, Mod: w.at + 1, Version: c.Version, Lease: c.Lease}, true
		}
	}
	kv, _, ok := w.ix.At(key, w.at)
	return kv, ok
}

// before is the key as it was before the request, which is what compares and checks look at.
func (w *writer) before(key string) (mvcc.KeyValue, bool) {
	kv, _, ok := w.ix.At(key, w.at)
	return kv, ok
}

func (w *writer) allowed(r *pb.PutRequest) bool {
	if r.IgnoreValue || r.IgnoreLease {
		_, ok := w.before(string(r.Key))
		return ok
	}
	return true
}

func (w *writer) put(r *pb.PutRequest) {
	c := Change{Key: string(r.Key), Value: r.Value, Lease: r.Lease, Create: w.at + 1, Version: 1}
	if prev, ok := w.get(c.Key); ok {
		c.Create, c.Version = prev.Create, prev.Version+1
		if r.IgnoreValue {
			c.Value = prev.Value
		}
		if r.IgnoreLease {
			c.Lease = prev.Lease
		}
	}
	w.changes = append(w.changes, c)
}

func (w *writer) deleteRange(r *pb.DeleteRangeRequest) {
	for _, k := range w.keys(r.Key, r.RangeEnd) {
		w.changes = append(w.changes, Change{Delete: true, Key: k})
	}
}

// keys are the live keys of a range in order, with what this request changed so far.
func (w *writer) keys(key, end []byte) []string {
	var keys []string
	w.ix.Range(string(key), string(end), func(k string) {
		if _, ok := w.get(k); ok {
			keys = append(keys, k)
		}
	})
	return keys
}

// comparePath evaluates every compare of a transaction and of those nested in the branches taken, in etcd's order
// (server/etcdserver/txn/txn.go, compareToPath).
func (w *writer) comparePath(t *pb.TxnRequest) []bool {
	ok := true
	for _, c := range t.Compare {
		if !w.compare(c) {
			ok = false
			break
		}
	}
	path := []bool{ok}
	for _, op := range branch(t, ok) {
		if n := op.GetRequestTxn(); n != nil {
			path = append(path, w.comparePath(n)...)
		}
	}
	return path
}

func branch(t *pb.TxnRequest, ok bool) []*pb.RequestOp {
	if ok {
		return t.Success
	}
	return t.Failure
}

// mayRun tells whether etcd would run the branch at all: one put that is not allowed refuses the whole transaction.
// It returns what is left of path behind this transaction.
func (w *writer) mayRun(t *pb.TxnRequest, path []bool) ([]bool, bool) {
	ops := branch(t, path[0])
	path = path[1:]
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil && !w.allowed(r) {
			return nil, false
		}
		if n := op.GetRequestTxn(); n != nil {
			var ok bool
			if path, ok = w.mayRun(n, path); !ok {
				return nil, false
			}
		}
	}
	return path, true
}

func (w *writer) run(t *pb.TxnRequest, path []bool) []bool {
	ops := branch(t, path[0])
	path = path[1:]
	for _, op := range ops {
		switch {
		case op.GetRequestPut() != nil:
			w.put(op.GetRequestPut())
		case op.GetRequestDeleteRange() != nil:
			w.deleteRange(op.GetRequestDeleteRange())
		case op.GetRequestTxn() != nil:
			path = w.run(op.GetRequestTxn(), path)
		}
	}
	return path
}

func (w *writer) compare(c *pb.Compare) bool {
	found := false
	ok := true
	w.ix.Range(string(c.Key), string(c.RangeEnd), func(k string) {
		kv, live := w.before(k)
		if !live || !ok {
			return
		}
		found = true
		ok = compareKV(c, &kv)
	})
	if !found {
		// Comparing a value with that of a key that does not exist fails, whatever the operator.
		return c.Target != pb.Compare_VALUE && compareKV(c, &mvcc.KeyValue{})
	}
	return ok
}

func compareKV(c *pb.Compare, kv *mvcc.KeyValue) bool {
	var d int
	switch c.Target {
	case pb.Compare_VALUE:
		d = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		d = compareInt(kv.Create, c.GetCreateRevision())
	case pb.Compare_MOD:
		d = compareInt(kv.Mod, c.GetModRevision())
	case pb.Compare_VERSION:
		d = compareInt(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		d = compareInt(kv.Lease, c.GetLease())
	}
	switch c.Result {
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

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
