package replay

import (
	"bytes"
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcdmvcc "go.etcd.io/etcd/server/v3/storage/mvcc"
)

// live are the keys of a store that exist now, in order. Etcd's store reads every key of a range anew for each compare of a transaction;
// here the store is asked once, and what each later write changes is taken from that write.
type live struct{ kvs []*mvccpb.KeyValue }

// maxLive bounds the db whose keys are kept, in bytes.
const maxLive = 64 << 20

func newLive(r etcdmvcc.ReadView) (*live, error) {
	all, err := r.Range(context.Background(), []byte{0}, []byte{}, etcdmvcc.RangeOptions{})
	if err != nil {
		return nil, err
	}
	return &live{all.KVs}, nil
}

func (l *live) find(key []byte) (at int, ok bool) {
	return slices.BinarySearchFunc(l.kvs, key, func(kv *mvccpb.KeyValue, key []byte) int { return bytes.Compare(kv.Key, key) })
}

// between are the keys of a range [key, end), up to the last one if end is empty.
func (l *live) between(key, end []byte) []*mvccpb.KeyValue {
	from, _ := l.find(key)
	to := len(l.kvs)
	if len(end) > 0 {
		to, _ = l.find(end)
	}
	return l.kvs[from:max(from, to)]
}

// apply takes over what a write has changed.
func (l *live) apply(changes []*mvccpb.KeyValue) {
	for _, kv := range changes {
		switch at, ok := l.find(kv.Key); {
		case kv.CreateRevision == 0 && ok: // a tombstone
			l.kvs = slices.Delete(l.kvs, at, at+1)
		case kv.CreateRevision == 0:
		case ok:
			l.kvs[at] = kv
		default:
			l.kvs = slices.Insert(l.kvs, at, kv)
		}
	}
}
