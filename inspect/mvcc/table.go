package mvcc

import (
	"cmp"
	"slices"
	"sort"
	"sync"
)

// Row is one row of the key bucket.
type Row struct {
	Rev       Revision
	Tombstone bool
	// Salvaged rows come from a page that nothing readable refers to.
	Salvaged bool
	// Page is the bbolt page the row lies on.
	Page uint64
	// Value is the encoded KeyValue, a part of the file.
	Value []byte
}

// Key is the row's key.
func (r *Row) Key() []byte { return Key(r.Value) }

// Table holds the rows of one member in revision order. Rows may be missing where the file could not be read: Holes tells.
type Table struct {
	rows  []Row
	holes []Hole

	count sync.Once
	tally tally
}

// tally is what one pass over all rows tells.
type tally struct {
	live      int           // keys that exist after the last row
	leased    map[int64]int // how many of them carry a lease
	hasLeases bool          // any row does
}

// Hole is a range of revisions, both ends included, of which rows may be missing because a page could not be read.
type Hole struct {
	First, Last Revision
	Page        uint64
}

// NewTable takes rows in ascending order of revision, and what is known to be missing among them.
func NewTable(rows []Row, holes []Hole) *Table { return &Table{rows: rows, holes: holes} }

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Row returns row i, valid as long as the table.
func (t *Table) Row(i int) *Row { return &t.rows[i] }

// Rows returns rows lo to hi-1, valid as long as the table.
func (t *Table) Rows(lo, hi int) []Row { return t.rows[lo:hi] }

// Holes returns what could not be read.
func (t *Table) Holes() []Hole { return t.holes }

// Unknown tells whether rows of revision main may be missing because of damage.
func (t *Table) Unknown(main int64) bool {
	for _, h := range t.holes {
		if h.First.Main <= main && main <= h.Last.Main {
			return true
		}
	}
	return false
}

// Lower is the index of the first row with a main revision of at least main.
func (t *Table) Lower(main int64) int {
	return sort.Search(len(t.rows), func(i int) bool { return t.rows[i].Rev.Main >= main })
}

// Group returns the rows of one main revision, all changes of one raft entry.
func (t *Table) Group(main int64) []Row {
	lo := t.Lower(main)
	hi := lo
	for hi < len(t.rows) && t.rows[hi].Rev.Main == main {
		hi++
	}
	return t.rows[lo:hi]
}

// Replace returns a table in which some main revisions have other rows.
func (t *Table) Replace(groups map[int64][]Row) *Table {
	out := &Table{rows: make([]Row, 0, len(t.rows)), holes: t.holes}
	for i := range t.rows {
		if _, ok := groups[t.rows[i].Rev.Main]; !ok {
			out.rows = append(out.rows, t.rows[i])
		}
	}
	for _, rows := range groups {
		out.rows = append(out.rows, rows...)
	}
	SortRows(out.rows)
	return out
}

// Last is the highest main revision that has a row, 1 for an empty store: etcd starts counting there.
func (t *Table) Last() int64 {
	if len(t.rows) == 0 {
		return 1
	}
	return t.rows[len(t.rows)-1].Rev.Main
}

// Index finds the rows of a key and the keys of a range or lease at a revision.
type Index struct {
	t       *Table
	want    func(key []byte) bool
	rows    map[string][]int32
	sorted  []string
	byLease map[int64][]string
}

// Index builds an index of the keys that want accepts, nil for all of them.
func (t *Table) Index(want func(key []byte) bool) *Index {
	ix := &Index{t: t, want: want, rows: make(map[string][]int32), byLease: make(map[int64][]string)}
	for i := range t.rows {
		r := &t.rows[i]
		k := r.Key()
		if want != nil && !want(k) {
			continue
		}
		prev, seen := ix.rows[string(k)]
		name := string(k)
		ix.rows[name] = append(prev, int32(i))
		if !seen {
			ix.sorted = append(ix.sorted, name)
		}
		if r.Tombstone {
			continue
		}
		var kv KeyValue
		if kv.Decode(r.Value) == nil && kv.Lease != 0 {
			if l := ix.byLease[kv.Lease]; len(l) == 0 || l[len(l)-1] != name {
				ix.byLease[kv.Lease] = append(l, name)
			}
		}
	}
	slices.Sort(ix.sorted)
	for id, keys := range ix.byLease {
		slices.Sort(keys)
		ix.byLease[id] = slices.Compact(keys)
	}
	return ix
}

// On indexes the same keys of another table.
func (ix *Index) On(t *Table) *Index { return t.Index(ix.want) }

// Rows returns the indexes of a key's rows in ascending order of revision.
func (ix *Index) Rows(key string) []int32 { return ix.rows[key] }

// Keys returns every key, sorted.
func (ix *Index) Keys() []string { return ix.sorted }

// Before returns the last row of key below revision before, a tombstone included, and its place among the key's rows.
func (ix *Index) Before(key string, before Revision) (*Row, bool) {
	rows := ix.rows[key]
	i, _ := slices.BinarySearchFunc(rows, before, func(i int32, rev Revision) int { return ix.t.rows[i].Rev.Compare(rev) })
	if i == 0 {
		return nil, false
	}
	return &ix.t.rows[rows[i-1]], true
}

// At returns key's value as of the end of main revision main. ok is false if the key did not exist then.
func (ix *Index) At(key string, main int64) (kv KeyValue, row *Row, ok bool) {
	r, found := ix.Before(key, Revision{Main: main + 1})
	if !found || r.Tombstone || kv.Decode(r.Value) != nil {
		return KeyValue{}, nil, false
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
func (ix *Index) Live(main int64, f func(key string, kv KeyValue, row *Row)) {
	for _, k := range ix.sorted {
		if kv, row, ok := ix.At(k, main); ok {
			f(k, kv, row)
		}
	}
}

// SortRows orders rows by revision.
func SortRows(rows []Row) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(a.Rev.Compare(b.Rev), cmp.Compare(a.Page, b.Page))
	})
}

// counted makes the tally, once.
func (t *Table) counted() *tally {
	t.count.Do(func() {
		c := &t.tally
		c.leased = map[int64]int{}
		last := t.NewLast()
		var kv KeyValue
		for i := range t.rows {
			r := &t.rows[i]
			previous := last.Put(i)
			if previous >= 0 && !t.rows[previous].Tombstone {
				c.live--
				if c.hasLeases && kv.Decode(t.rows[previous].Value) == nil && kv.Lease != 0 {
					if c.leased[kv.Lease]--; c.leased[kv.Lease] == 0 {
						delete(c.leased, kv.Lease)
					}
				}
			}
			if r.Tombstone {
				continue
			}
			c.live++
			if kv.Decode(r.Value) == nil && kv.Lease != 0 {
				c.hasLeases = true
				c.leased[kv.Lease]++
			}
		}
	})
	return &t.tally
}

// CountLive is the number of keys that exist after the last row.
func (t *Table) CountLive() int { return t.counted().live }

// HasLeases tells whether any row carries a lease.
func (t *Table) HasLeases() bool { return t.counted().hasLeases }

// LeasedKeys counts the live keys of each lease after the last row. It must not be modified.
func (t *Table) LeasedKeys() map[int64]int { return t.counted().leased }
