package mvcc

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestFirstPut holds what is read of a value without decoding all of it against decoding it.
func TestFirstPut(t *testing.T) {
	const main = 300
	plain := KeyValue{Key: []byte("k"), Create: main, Mod: main, Version: 1, Value: []byte("value")}
	made := func(change func(kv *KeyValue)) []byte {
		kv := plain
		change(&kv)
		return kv.Encode()
	}
	lease := protowire.AppendVarint(protowire.AppendTag(nil, fieldLease, protowire.VarintType), 7)
	key := protowire.AppendBytes(protowire.AppendTag(nil, fieldKey, protowire.BytesType), []byte("other"))
	whole := plain.Encode()
	for name, c := range map[string]struct {
		value []byte
		first bool
	}{
		"a first put":                    {whole, true},
		"without a value":                {made(func(kv *KeyValue) { kv.Value = nil }), true},
		"with a lease":                   {made(func(kv *KeyValue) { kv.Lease = 7 }), false},
		"with a lease before the key":    {append(lease, whole...), false},
		"with a second key":              {append(whole[:len(whole):len(whole)], key...), true},
		"with a second lease":            {append(append(whole[:len(whole):len(whole)], lease...), lease...), false},
		"of a second version":            {made(func(kv *KeyValue) { kv.Version = 2 }), false},
		"created before":                 {made(func(kv *KeyValue) { kv.Create = 299 }), false},
		"changed later":                  {made(func(kv *KeyValue) { kv.Mod = 301 }), false},
		"cut in the value":               {whole[:len(whole)-1], false},
		"cut behind the version":         {whole[:3+6+2], true},
		"cut in a number":                {whole[:3+5], false},
		"of an empty key":                {made(func(kv *KeyValue) { kv.Key = nil }), false},
		"the key's length in more bytes": {append([]byte{whole[0], 0x81, 0}, whole[2:]...), true},
	} {
		d := digestOf(Revision{Main: main}, false, c.value, Revision{Main: main - 1})
		if got := d&isPlain != 0; got != c.first || got != decodesAsFirstPut(c.value, main) && len(Key(c.value)) > 0 {
			t.Errorf("%s: first put is %v, decoded %v, want %v", name, got, decodesAsFirstPut(c.value, main), c.first)
		}
	}
}
