package diff

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/mvcc"
)

func TestFieldsApart(t *testing.T) {
	row := func(tombstone bool, kv *mvccpb.KeyValue) []mvcc.Row {
		b, err := proto.Marshal(kv)
		if err != nil {
			t.Fatal(err)
		}
		return []mvcc.Row{{Rev: mvcc.Revision{Main: 7}, Tombstone: tombstone, Value: b}}
	}
	kv := func(key, value string, version, lease int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), Version: version, Lease: lease, CreateRevision: 3, ModRevision: 7}
	}
	for name, c := range map[string]struct {
		a, b []mvcc.Row
		want string
	}{
		"the same":       {row(false, kv("k", "v", 2, 0)), row(false, kv("k", "v", 2, 0)), ""},
		"value, lease":   {row(false, kv("k", "v", 2, 0)), row(false, kv("k", "w", 2, 9)), "value, lease"},
		"version":        {row(false, kv("k", "v", 2, 0)), row(false, kv("k", "v", 3, 0)), "version"},
		"another key":    {row(false, kv("k", "v", 2, 0)), row(false, kv("l", "w", 2, 0)), ""},
		"another kind":   {row(false, kv("k", "v", 2, 0)), row(true, kv("k", "", 2, 0)), ""},
		"none on a":      {nil, row(false, kv("k", "v", 2, 0)), ""},
		"cannot be read": {row(false, kv("k", "v", 2, 0)), []mvcc.Row{{Rev: mvcc.Revision{Main: 7}, Value: []byte{0xff}}}, ""},
	} {
		if got := fieldsApart(c.a, c.b); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
