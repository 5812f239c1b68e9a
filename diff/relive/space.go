package relive

import (
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
)

// space is a keyspace with all its history, which can be taken back step by step.
type space struct {
	keys    map[string][]version
	sorted  []string // every key that was ever there
	journal []string // the key of each version, in the order in which they came
}

// version is what one change made of a key.
type version struct {
	main    int64
	deleted bool
	kv      mvcc.KeyValue
}

// put makes one change at a main revision.
func (s *space) put(c *align.Change, main int64) {
	vs, ok := s.keys[c.Key]
	if !ok {
		at, _ := slices.BinarySearch(s.sorted, c.Key)
		s.sorted = slices.Insert(s.sorted, at, c.Key)
	}
	v := version{main: main, deleted: c.Delete}
	if !c.Delete {
		v.kv = mvcc.KeyValue{Key: []byte(c.Key), Value: c.Value, Create: c.Create, Mod: main, Version: c.Version, Lease: c.Lease}
	}
	s.keys[c.Key] = append(vs, v)
	s.journal = append(s.journal, c.Key)
}

// back takes all changes back but the first n.
func (s *space) back(n int) {
	for _, k := range slices.Backward(s.journal[n:]) {
		vs := s.keys[k]
		s.keys[k] = vs[:len(vs)-1] // keys without any version stay
	}
	s.journal = s.journal[:n]
}

// At implements align.Keyspace.
func (s *space) At(key string, main int64) (mvcc.KeyValue, mvcc.Row, bool) {
	for _, v := range slices.Backward(s.keys[key]) {
		if v.main <= main {
			return v.kv, mvcc.Row{}, !v.deleted
		}
	}
	return mvcc.KeyValue{}, mvcc.Row{}, false
}

// Range implements align.Keyspace.
func (s *space) Range(key, end string, f func(key string)) {
	if end == "" {
		if len(s.keys[key]) > 0 {
			f(key)
		}
		return
	}
	i, _ := slices.BinarySearch(s.sorted, key)
	for ; i < len(s.sorted) && (end == "\x00" || s.sorted[i] < end); i++ {
		f(s.sorted[i])
	}
}

// Attached implements align.Keyspace.
func (s *space) Attached(lease, main int64) (keys []string) {
	for _, k := range s.sorted {
		if kv, _, ok := s.At(k, main); ok && kv.Lease == lease {
			keys = append(keys, k)
		}
	}
	return keys
}
