package mvcc

import (
	"maps"
	"slices"
)

// Index finds the rows of a key and the keys of a range or lease at a revision.
type Index struct {
	t       *Table
	rows    map[string][]int32 // numbers of the table's rows, in order
	sorted  []string
	byLease map[int64][]string // sorted keys of which some row carries the lease, and maybe others
	budget  *Budget            // of the search that it serves, nil for none
}

// Index builds an index of the keys that want accepts, nil for all of them. It looks at every row.
func (t *Table) Index(want func(key []byte) bool) *Index {
	ix := &Index{t: t, rows: map[string][]int32{}}
	for c := t.Cursor(0, t.n); c.Next(); {
		if k := c.Row.Key(); want == nil || want(k) {
			ix.rows[string(k)] = append(ix.rows[string(k)], int32(c.Index))
		}
	}
	ix.finish()
	return ix
}

// IndexKeys builds an index of some keys, and looks at their rows only.
func (t *Table) IndexKeys(keys map[string]struct{}) *Index {
	ix := &Index{t: t, rows: make(map[string][]int32, len(keys))}
	for name := range keys {
		if rows := t.chain(name); len(rows) > 0 {
			ix.rows[name] = rows
		}
	}
	ix.finish()
	return ix
}

// chain lists the rows of a key in order.
func (t *Table) chain(key string) (rows []int32) {
	for i := t.LastOf([]byte(key)); i >= 0; i = t.Previous(i) {
		rows = append(rows, int32(i))
	}
	slices.Reverse(rows)
	return rows
}

// finish fills in what follows from rows.
func (ix *Index) finish() {
	ix.sorted = slices.Sorted(maps.Keys(ix.rows))
	ix.byLease = map[int64][]string{}
	if !ix.t.HasLeases() {
		return
	}
	for _, name := range ix.sorted {
		for _, i := range ix.rows[name] {
			r := ix.row(i)
			if l := leaseOf(&r); l != 0 {
				if keys := ix.byLease[l]; len(keys) == 0 || keys[len(keys)-1] != name {
					ix.byLease[l] = append(keys, name)
				}
			}
		}
	}
}

func leaseOf(r *Row) int64 {
	var kv KeyValue
	if r.Tombstone || kv.Decode(r.Value) != nil {
		return 0
	}
	return kv.Lease
}

func (ix *Index) row(i int32) Row { return ix.t.Row(int(i)) }

// Of is the index of another table, which covers the same keys and those of rows that want accepts. ok is false unless the
// tables were linked as sharing rows: only those that they do not share are looked at.
func (ix *Index) Of(t *Table, want func(r *Row) bool) (of *Index, ok bool) {
	l := t.linked()
	if l.like == nil || l.like != ix.t {
		return nil, false
	}
	redo := map[string]struct{}{}
	note := func(t *Table, want func(r *Row) bool) {
		for _, r := range t.Between(l.from, t.n) {
			if _, has := ix.rows[string(r.Key())]; has || want(&r) {
				redo[string(r.Key())] = struct{}{}
			}
		}
	}
	note(ix.t, func(*Row) bool { return false })
	note(t, want)
	of = ix.copyFor(t)
	for name := range redo {
		of.set(name, t.chain(name))
	}
	of.sort()
	return of, true
}

// copyFor is a copy that is about another table.
func (ix *Index) copyFor(t *Table) *Index {
	ix.budget.spend(len(ix.rows) / 8) // a copy costs less than to look up as many
	return &Index{t: t, rows: maps.Clone(ix.rows), sorted: ix.sorted, byLease: maps.Clone(ix.byLease), budget: ix.budget}
}

// set changes the rows of a key. sort must follow.
func (ix *Index) set(name string, rows []int32) {
	if len(rows) == 0 {
		delete(ix.rows, name)
		return
	}
	ix.rows[name] = rows
	for _, i := range rows {
		r := ix.row(i)
		l := leaseOf(&r)
		if l == 0 {
			continue
		}
		if keys := ix.byLease[l]; len(keys) == 0 || keys[len(keys)-1] != name {
			if at, ok := slices.BinarySearch(keys, name); !ok {
				ix.byLease[l] = slices.Insert(slices.Clip(keys), at, name)
			}
		}
	}
}

// sort brings sorted up to date: keys came, or went.
func (ix *Index) sort() {
	gone := func(name string) bool { _, ok := ix.rows[name]; return !ok }
	if len(ix.sorted) != len(ix.rows) || slices.ContainsFunc(ix.sorted, gone) {
		ix.sorted = slices.Sorted(maps.Keys(ix.rows))
	}
}

// Keys returns every key, sorted.
func (ix *Index) Keys() []string { return ix.sorted }

// before returns the last row of key below revision before, a tombstone included, and whether there is one.
func (ix *Index) before(key string, before Revision) (Row, bool) {
	ix.budget.spend(1)
	rows := ix.rows[key]
	i, _ := slices.BinarySearchFunc(rows, before, func(i int32, rev Revision) int {
		return ix.row(i).Rev.Compare(rev)
	})
	if i == 0 {
		return Row{}, false
	}
	return ix.row(rows[i-1]), true
}

// At returns key's value as of the end of main revision main. ok is false if the key did not exist then.
func (ix *Index) At(key string, main int64) (kv KeyValue, row Row, ok bool) {
	r, found := ix.before(key, Revision{Main: main + 1})
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
		ix.budget.spend(1)
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
