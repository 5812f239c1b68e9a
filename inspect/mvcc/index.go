package mvcc

import (
	"slices"
)

// Index finds the rows of a key and the keys of a range or lease at a revision.
type Index struct {
	t       *Table
	build   func(t *Table) *Index
	rows    map[string][]int32
	sorted  []string
	byLease map[int64][]string
}

// Index builds an index of the keys that want accepts, nil for all of them. It looks at every row.
func (t *Table) Index(want func(key []byte) bool) *Index {
	ix := newIndex(t)
	ix.build = func(t *Table) *Index { return t.Index(want) }
	for c := t.Cursor(0, t.n); c.Next(); {
		k := c.Row.Key()
		if want != nil && !want(k) {
			continue
		}
		name := string(k)
		ix.rows[name] = append(ix.rows[name], int32(c.Index))
		ix.lease(name, &c.Row)
	}
	ix.sort()
	return ix
}

// IndexKeys builds an index of some keys, and looks at their rows only.
func (t *Table) IndexKeys(keys map[string]struct{}) *Index {
	ix := newIndex(t)
	ix.build = func(t *Table) *Index { return t.IndexKeys(keys) }
	leases := t.HasLeases()
	for name := range keys {
		var rows []int32
		for i := t.LastOf([]byte(name)); i >= 0; i = t.Previous(i) {
			rows = append(rows, int32(i))
		}
		if len(rows) == 0 {
			continue
		}
		slices.Reverse(rows)
		ix.rows[name] = rows
		if !leases {
			continue
		}
		for _, i := range rows {
			r := t.Row(int(i))
			ix.lease(name, &r)
		}
	}
	ix.sort()
	return ix
}

func newIndex(t *Table) *Index {
	return &Index{t: t, rows: map[string][]int32{}, byLease: map[int64][]string{}}
}

func (ix *Index) lease(name string, r *Row) {
	if r.Tombstone {
		return
	}
	var kv KeyValue
	if kv.Decode(r.Value) == nil && kv.Lease != 0 {
		if l := ix.byLease[kv.Lease]; len(l) == 0 || l[len(l)-1] != name {
			ix.byLease[kv.Lease] = append(l, name)
		}
	}
}

func (ix *Index) sort() {
	ix.sorted = make([]string, 0, len(ix.rows))
	for name := range ix.rows {
		ix.sorted = append(ix.sorted, name)
	}
	slices.Sort(ix.sorted)
	for id, keys := range ix.byLease {
		slices.Sort(keys)
		ix.byLease[id] = slices.Compact(keys)
	}
}

// On indexes the same keys of another table.
func (ix *Index) On(t *Table) *Index { return ix.build(t) }

// Keys returns every key, sorted.
func (ix *Index) Keys() []string { return ix.sorted }

// Before returns the last row of key below revision before, a tombstone included, and whether there is one.
func (ix *Index) Before(key string, before Revision) (Row, bool) {
	rows := ix.rows[key]
	i, _ := slices.BinarySearchFunc(rows, before, func(i int32, rev Revision) int {
		r := ix.t.Row(int(i))
		return r.Rev.Compare(rev)
	})
	if i == 0 {
		return Row{}, false
	}
	return ix.t.Row(int(rows[i-1])), true
}

// At returns key's value as of the end of main revision main. ok is false if the key did not exist then.
func (ix *Index) At(key string, main int64) (kv KeyValue, row Row, ok bool) {
	r, found := ix.Before(key, Revision{Main: main + 1})
	if !found || r.Tombstone || kv.Decode(r.Value) != nil {
		return KeyValue{}, Row{}, false
	}
	return kv, r, true
}

// Range calls f for every key in [key, end) that the index holds, dead or alive, in order. As in etcd's requests an
// empty end means the key alone, and the end "\x00" everything from key on.
func (ix *Index) Range(key, end string, f func(key string)) {
	if end == "" {
		if _, ok := ix.rows[key]; ok {
			f(key)
		}
		return
	}
	i, _ := slices.BinarySearch(ix.sorted, key)
	for ; i < len(ix.sorted) && (end == "\x00" || ix.sorted[i] < end); i++ {
		f(ix.sorted[i])
	}
}

// Attached returns the sorted keys that carry a lease at the end of main revision main.
func (ix *Index) Attached(lease, main int64) []string {
	var keys []string
	for _, k := range ix.byLease[lease] {
		if kv, _, ok := ix.At(k, main); ok && kv.Lease == lease {
			keys = append(keys, k)
		}
	}
	return keys
}

// Live calls f for every key that exists at the end of main revision main, in order.
func (ix *Index) Live(main int64, f func(key string, kv KeyValue, row Row)) {
	for _, k := range ix.sorted {
		if kv, row, ok := ix.At(k, main); ok {
			f(k, kv, row)
		}
	}
}
