// Package mvcc reads the rows of etcd's bucket "key": every revision of every key that no compaction has removed.
//
// A row's key is a revision, its value a KeyValue in protobuf:
//
//	+----------------+---+----------------+-----+
//	| main, 8 bytes  | _ | sub, 8 bytes   | (t) |   big endian; 't' marks a tombstone
//	+----------------+---+----------------+-----+
//	KeyValue: 1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value, 6 lease; a tombstone's holds the key only
//
// One raft entry makes at most one main revision; sub counts the changes inside it from 0. A store starts at revision
// 1, so the first row is main 2. Facts from server/storage/mvcc/revision.go and kvstore_txn.go, etcd 3.2 to 3.7.
package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Revision orders every change to the keyspace.
type Revision struct {
	Main, Sub int64
}

// Compare is negative, zero or positive as r is before, at or after o.
func (r Revision) Compare(o Revision) int {
	switch {
	case r.Main < o.Main, r.Main == o.Main && r.Sub < o.Sub:
		return -1
	case r == o:
		return 0
	}
	return 1
}

// Before is the highest revision below r.
func (r Revision) Before() Revision {
	if r.Sub == 0 {
		return Revision{Main: r.Main - 1, Sub: math.MaxInt64}
	}
	return Revision{Main: r.Main, Sub: r.Sub - 1}
}

func (r Revision) String() string { return fmt.Sprintf("%d/%d", r.Main, r.Sub) }

// AppendKey appends the row key of r, without a tombstone mark.
func (r Revision) AppendKey(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Main))
	b = append(b, separator)
	return binary.BigEndian.AppendUint64(b, uint64(r.Sub))
}

// ParseRevision reads a row key, or a compact revision of the meta bucket. ok is false if k is neither.
func ParseRevision(k []byte) (rev Revision, tombstone, ok bool) {
	switch {
	case len(k) == TombstoneLen && k[RevisionLen] == tombstoneMark:
		tombstone = true
	case len(k) == RevisionLen:
	default:
		return rev, false, false
	}
	if k[8] != separator {
		return rev, false, false
	}
	rev.Main = int64(binary.BigEndian.Uint64(k))
	rev.Sub = int64(binary.BigEndian.Uint64(k[9:]))
	return rev, tombstone, rev.Main >= 0 && rev.Sub >= 0
}

// ErrKeyValue is wrapped by every error of Decode.
var ErrKeyValue = errors.New("not a key value")

// KeyValue is one row's value. Key and Value are parts of the bytes it was decoded from.
type KeyValue struct {
	Key, Value  []byte
	Create, Mod int64
	Version     int64
	Lease       int64
	// Foreign is true if there is a field that no etcd up to 3.7 writes.
	Foreign bool
}

// Same tells whether all fields are the same, whatever the bytes they were decoded from.
func (kv *KeyValue) Same(o *KeyValue) bool {
	return bytes.Equal(kv.Key, o.Key) && bytes.Equal(kv.Value, o.Value) && kv.Create == o.Create && kv.Mod == o.Mod &&
		kv.Version == o.Version && kv.Lease == o.Lease && !kv.Foreign && !o.Foreign
}

// Decode reads b into kv without allocating. Fields that are absent are zero: 3.7 does not write zeros.
func (kv *KeyValue) Decode(b []byte) error {
	*kv = KeyValue{}
	for off := 0; off < len(b); {
		var num protowire.Number
		var typ protowire.Type
		n := 1
		if tag := b[off]; tag < 0x80 { // the rule: every field of a KeyValue has a tag of one byte
			num, typ = protowire.Number(tag>>3), protowire.Type(tag&7)
		} else {
			num, typ, n = protowire.ConsumeTag(b[off:])
		}
		if n < 0 || num < 1 {
			return fmt.Errorf("%w: byte %d: bad tag", ErrKeyValue, off)
		}
		off += n
		switch {
		case typ == protowire.BytesType && (num == fieldKey || num == fieldValue):
			v, n := protowire.ConsumeBytes(b[off:])
			if n < 0 {
				return fmt.Errorf("%w: byte %d: field %d runs past the end", ErrKeyValue, off, num)
			}
			if off += n; num == fieldKey {
				kv.Key = v
			} else {
				kv.Value = v
			}
		case typ == protowire.VarintType && num >= fieldCreateRevision && num <= fieldLease && num != fieldValue:
			v, n := protowire.ConsumeVarint(b[off:])
			if n < 0 {
				return fmt.Errorf("%w: byte %d: bad number in field %d", ErrKeyValue, off, num)
			}
			off += n
			switch num {
			case fieldCreateRevision:
				kv.Create = int64(v)
			case fieldModRevision:
				kv.Mod = int64(v)
			case fieldVersion:
				kv.Version = int64(v)
			default:
				kv.Lease = int64(v)
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, b[off:])
			if n < 0 {
				return fmt.Errorf("%w: byte %d: bad field %d", ErrKeyValue, off, num)
			}
			off += n
			kv.Foreign = true
		}
	}
	return nil
}

// Encode is the inverse of Decode.
func (kv *KeyValue) Encode() []byte {
	b := protowire.AppendTag(nil, fieldKey, protowire.BytesType)
	b = protowire.AppendBytes(b, kv.Key)
	for _, f := range []struct {
		num protowire.Number
		v   int64
	}{{fieldCreateRevision, kv.Create}, {fieldModRevision, kv.Mod}, {fieldVersion, kv.Version}} {
		if f.v != 0 {
			b = protowire.AppendTag(b, f.num, protowire.VarintType)
			b = protowire.AppendVarint(b, uint64(f.v))
		}
	}
	if len(kv.Value) > 0 {
		b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
		b = protowire.AppendBytes(b, kv.Value)
	}
	if kv.Lease != 0 {
		b = protowire.AppendTag(b, fieldLease, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(kv.Lease))
	}
	return b
}

// Key returns only the key of an encoded KeyValue, nil if it has none or is not one.
func Key(b []byte) []byte {
	// Every version of etcd writes the key first, so that a look at the first field is enough.
	if len(b) > 1 && b[0] == fieldKey<<3|byte(protowire.BytesType) {
		if v, n := protowire.ConsumeBytes(b[1:]); n >= 0 {
			return v
		}
		return nil
	}
	var kv KeyValue
	if kv.Decode(b) != nil {
		return nil
	}
	return kv.Key
}
