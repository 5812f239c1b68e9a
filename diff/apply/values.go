package apply

import (
	"cmp"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// values find the bytes of a value, which are not kept: entries hold them, and rows.
type values struct {
	known func() []holder

	mu   sync.Mutex
	rows []func(v Value) []byte
}

// holder is an entry that puts a value.
type holder struct {
	value Value
	place int32
}

// AddValues says who else can tell bytes of values: those of rows that no entry of the log wrote.
func (l *Log) AddValues(bytes func(v Value) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, bytes)
}

// Bytes are those of a value that an entry of the log puts, or that somebody else holds; nil if nobody tells, or there are none.
func (l *Log) Bytes(v Value) []byte {
	known := l.known()
	if i, ok := slices.BinarySearchFunc(known, v, func(h holder, v Value) int { return cmp.Compare(h.value, v) }); ok {
		if in := l.request(int(known[i].place)).Internal; in != nil {
			if b, ok := valueIn(in.Put, in.Txn, v, 0); ok {
				return b
			}
		}
	}
	l.mu.Lock()
	rows := l.rows
	l.mu.Unlock()
	for _, bytes := range rows {
		if b := bytes(v); b != nil {
			return b
		}
	}
	return nil
}

// findValues lists the entries that put each value, one for each.
func (l *Log) findValues() []holder {
	var all []holder
	for i := range l.Entries {
		l.Entries[i].Puts(func(_ int32, v Value, keeps bool) {
			if !keeps {
				all = append(all, holder{v, int32(i)})
			}
		})
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.place, b.place)) })
	return slices.CompactFunc(all, func(a, b holder) bool { return a.value == b.value })
}

// valueIn finds the bytes of a value in a request.
func valueIn(put *pb.PutRequest, t *pb.TxnRequest, v Value, depth int) ([]byte, bool) {
	if put != nil {
		return put.Value, NewValue(put.Value) == v
	}
	if t == nil || depth > MaxDepth {
		return nil, false
	}
	for _, ops := range [][]*pb.RequestOp{t.Failure, t.Success} {
		for _, o := range ops {
			if b, ok := valueIn(o.GetRequestPut(), o.GetRequestTxn(), v, depth+1); ok {
				return b, true
			}
		}
	}
	return nil, false
}
