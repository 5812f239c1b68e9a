package mvcc

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"sync"

	"etcd-autopsy/inspect/bolt"
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

// Bump tells whether the row is the empty one that etcdutl snapshot restore --bump-revision writes at the revision that it bumps to: it is of
// no key (etcdutl/snapshot/v3_snapshot.go, modifyLatestRevision, since 3.4.27, 3.5.10 and 3.6.0).
func (r Row) Bump() bool { return len(r.Value) == 0 && !r.Tombstone }

// Key is the row's key.
func (r Row) Key() []byte { return Key(r.Value) }

// Table holds the rows of one member in revision order. They stay in the file: a table knows which leaf pages hold them,
// which is 24 bytes a page. Rows may be missing where the file could not be read: Holes tells.
//
// One goroutine makes a table: Note comes first, then the rows in order. After that any number of them read it at the same time: the rows of
// a key are linked by the first that asks for them, while the others wait, and that takes up what was noted of them.
type Table struct {
	db    *bolt.DB
	pages int // parts to make room for
	parts []part
	made  [][]Row // rows of parts that are no page
	n     int     // of rows in all parts
	holes []Hole

	link  sync.Once
	links *links // once link is done
	tmp   string // where what a row takes is kept, if it is much: see package scratch

	noting Noting
	chunks []chunk    // with noting.Sums
	noted  [][]digest // with noting.Digests; of rows from taken on
	taken  int        // how many of the rows noted are linked
	newest Revision   // of the last row noted
}

// part is rows in a row: those of a leaf page, or some in memory.
type part struct {
	main int64  // of the first one
	from uint32 // index of the first one
	page uint32 // or, with inMemory, an index of made

	packed // of a page, with noting.Hashes
}

const inMemory = 1 << 31

// Hole is a range of revisions, both ends included, of which rows may be missing because a page could not be read.
type Hole struct {
	First, Last Revision
	Page        uint64
}

// NewTable takes rows in ascending order of revision, and what is known to be missing among them.
func NewTable(rows []Row, holes []Hole) *Table {
	t := &Table{holes: holes}
	t.AppendRows(rows)
	return t
}

// NewTableOf returns an empty table of rows that db holds, in so many leaf pages, about. What is noted of rows may lie in files below tmp.
func NewTableOf(db *bolt.DB, pages int, tmp string) *Table {
	return &Table{db: db, pages: pages, tmp: tmp}
}

// AppendLeaf adds all rows of a leaf page that is shown, which come behind those that are there. revs are what its keys say.
func (t *Table) AppendLeaf(l *bolt.Leaf, revs []Revision) {
	if len(revs) == 0 {
		return
	}
	p := part{main: revs[0].Main, from: uint32(t.n), page: uint32(l.Page())}
	if t.beforeNoting(len(revs)); t.noting != (Noting{}) {
		tombstones := false
		for i, rev := range revs {
			element, key := l.Element(i)
			tombstone := key == TombstoneLen
			tombstones = tombstones || tombstone
			t.note(rev, tombstone, element, element[key:])
		}
		if t.noting.Hashes {
			p.packed = pack(l, tombstones)
		}
	}
	t.grow()
	t.parts = append(t.parts, p)
	t.n += len(revs)
}

// AppendRows adds rows that come behind those that are there.
func (t *Table) AppendRows(rows []Row) {
	if len(rows) > 0 {
		t.noteMade(rows)
		t.parts = append(t.parts, part{main: rows[0].Rev.Main, from: uint32(t.n), page: uint32(len(t.made)) | inMemory})
		t.made = append(t.made, rows)
		t.n += len(rows)
	}
}

// Append adds the rows of another table of the same db, which come behind those that are there.
func (t *Table) Append(o *Table) {
	t.joinNotes(o)
	t.grow()
	for _, p := range o.parts {
		p.from += uint32(t.n)
		if p.page&inMemory != 0 {
			p.page += uint32(len(t.made))
		}
		t.parts = append(t.parts, p)
	}
	t.made = append(t.made, o.made...)
	t.n += o.n
}

// grow makes room for all parts at once. What is not used of it takes no memory.
func (t *Table) grow() {
	if t.parts == nil {
		t.parts = make([]part, 0, t.pages)
	}
}

// Scratch is the folder for what is noted of rows: see package scratch.
func (t *Table) Scratch() string { return t.tmp }

// MaxPage is the highest page that a table can refer to.
const MaxPage = inMemory - 1

// Len is the number of rows.
func (t *Table) Len() int { return t.n }

// Row returns row i. Its value is valid as long as the file.
func (t *Table) Row(i int) Row {
	k := t.partOf(i)
	p := &t.parts[k]
	if p.page&inMemory != 0 {
		return t.made[p.page&^inMemory][i-int(p.from)]
	}
	l := t.db.Leaf(uint64(p.page))
	return rowOf(&l, i-int(p.from))
}

// appendKey appends the row's key in the file.
func (r *Row) appendKey(b []byte) []byte {
	if b = r.Rev.AppendKey(b); r.Tombstone {
		b = append(b, tombstoneMark)
	}
	return b
}

func rowOf(l *bolt.Leaf, i int) Row {
	key, value := l.Row(i)
	rev, tombstone, _ := ParseRevision(key)
	return Row{Rev: rev, Tombstone: tombstone, Page: l.Page(), Value: value}
}

// partOf is the part that holds row i. Most pages have about as many rows, so it is looked for near where it then is.
func (t *Table) partOf(i int) int {
	lo, hi := 0, len(t.parts) // parts[lo].from <= i < parts[hi].from
	at, step := int(int64(i)*int64(hi)/int64(max(t.n, 1))), 1
	if int(t.parts[at].from) <= i {
		for lo = at; lo+step < hi; step *= 2 {
			if int(t.parts[lo+step].from) > i {
				hi = lo + step
				break
			}
			lo += step
		}
	} else {
		for hi = at; hi-step > lo; step *= 2 {
			if int(t.parts[hi-step].from) <= i {
				lo = hi - step
				break
			}
			hi -= step
		}
	}
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; int(t.parts[mid].from) <= i {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// end is the index behind the last row of part k.
func (t *Table) end(k int) int {
	if k+1 < len(t.parts) {
		return int(t.parts[k+1].from)
	}
	return t.n
}

// beforeAll is what the first revision of a store follows.
var beforeAll = Revision{Main: 1, Sub: -1}

// Cursor walks rows in order.
type Cursor struct {
	Row   Row // the current one
	Index int // its index

	before Revision // of the row before

	t    *Table
	part int
	leaf bolt.Leaf
	made []Row // of a part in memory
	from int   // index of the part's first row
	end  int   // and behind its last one that is wanted
	hi   int
}

// Cursor walks rows lo to hi-1.
func (t *Table) Cursor(lo, hi int) *Cursor {
	c := Cursor{t: t, hi: min(hi, t.n), Index: lo - 1}
	c.begin()
	return &c
}

func (c *Cursor) begin() {
	lo := c.Index + 1
	if lo >= c.hi {
		return
	}
	c.enter(c.t.partOf(lo))
	if c.Row.Rev = beforeAll; lo > 0 {
		c.Row.Rev = c.t.Row(lo - 1).Rev
	}
}

func (c *Cursor) enter(part int) {
	c.part = part
	p := &c.t.parts[part]
	c.from, c.end, c.made = int(p.from), min(c.t.end(part), c.hi), nil
	if p.page&inMemory != 0 {
		c.made = c.t.made[p.page&^inMemory]
	} else {
		c.leaf = c.t.db.Leaf(uint64(p.page))
	}
}

// Next goes to the next row and tells whether there is one.
func (c *Cursor) Next() bool {
	i := c.Index + 1
	if i >= c.hi {
		return false
	}
	if i >= c.end {
		c.enter(c.part + 1)
	}
	c.Index, c.before = i, c.Row.Rev
	if c.made != nil {
		c.Row = c.made[i-c.from]
		return true
	}
	var key []byte
	key, c.Row.Value = c.leaf.Row(i - c.from)
	c.Row.Rev, c.Row.Tombstone, _ = ParseRevision(key)
	c.Row.Page, c.Row.Salvaged = c.leaf.Page(), false
	return true
}

// All yields every row and its index.
func (t *Table) All() iter.Seq2[int, Row] { return t.Between(0, t.n) }

// Between yields rows lo to hi-1 and their indexes.
func (t *Table) Between(lo, hi int) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		for c := t.Cursor(lo, hi); c.Next(); {
			if !yield(c.Index, c.Row) {
				return
			}
		}
	}
}

// Rows returns rows lo to hi-1.
func (t *Table) Rows(lo, hi int) []Row {
	rows := make([]Row, 0, max(hi-lo, 0))
	for _, r := range t.Between(lo, hi) {
		rows = append(rows, r)
	}
	return rows
}

// Salvaged counts the rows that come from pages to which nothing readable refers.
func (t *Table) Salvaged() int {
	n := 0
	for _, rows := range t.made {
		for i := range rows {
			if rows[i].Salvaged {
				n++
			}
		}
	}
	return n
}

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
	k := sort.Search(len(t.parts), func(k int) bool { return t.parts[k].main >= main })
	if k == 0 {
		return 0
	}
	p := &t.parts[k-1] // begins below main; it may end there, too
	from, end := int(p.from), t.end(k-1)
	if p.page&inMemory != 0 {
		rows := t.made[p.page&^inMemory]
		return from + sort.Search(end-from, func(i int) bool { return rows[i].Rev.Main >= main })
	}
	l := t.db.Leaf(uint64(p.page))
	return from + sort.Search(end-from, func(i int) bool { r := rowOf(&l, i); return r.Rev.Main >= main })
}

// Group returns the rows of one main revision, all changes of one raft entry.
func (t *Table) Group(main int64) []Row {
	var rows []Row
	c := Cursor{t: t, hi: t.n, Index: t.Lower(main) - 1} // not on the heap: there are many groups
	for c.begin(); c.Next() && c.Row.Rev.Main == main; {
		rows = append(rows, c.Row)
	}
	return rows
}

// HasGroup tells whether a main revision has rows.
func (t *Table) HasGroup(main int64) bool {
	i := t.Lower(main)
	return i < t.n && t.Row(i).Rev.Main == main
}

// With returns a table with further rows, in any order, and holes in the place of those it had.
func (t *Table) With(rows []Row, holes []Hole) *Table {
	rows = slices.Clone(rows)
	sortRows(rows)
	out := &Table{db: t.db, tmp: t.tmp, holes: holes}
	for k := range t.parts {
		p := &t.parts[k]
		switch n := t.before(rows, k+1); {
		case n > 0: // the part is taken into memory
			mine := append(t.Rows(int(p.from), t.end(k)), rows[:n]...)
			rows = rows[n:]
			sortRows(mine)
			out.AppendRows(mine)
		case p.page&inMemory != 0:
			out.AppendRows(t.made[p.page&^inMemory])
		default:
			out.parts = append(out.parts, part{main: p.main, from: uint32(out.n), page: p.page, packed: p.packed})
			out.n += t.end(k) - int(p.from)
		}
	}
	out.AppendRows(rows) // of a table without parts
	return out
}

// before is how many of some rows, which are in order, come before part k.
func (t *Table) before(rows []Row, k int) int {
	switch {
	case k == len(t.parts):
		return len(rows)
	case len(rows) == 0 || rows[0].Rev.Main > t.parts[k].main:
		return 0
	}
	first := t.Row(int(t.parts[k].from)).Rev
	return sort.Search(len(rows), func(i int) bool { return rows[i].Rev.Compare(first) >= 0 })
}

// Last is the highest main revision that has a row, 1 for an empty store: etcd starts counting there.
func (t *Table) Last() int64 {
	if t.n == 0 {
		return 1
	}
	return t.Row(t.n - 1).Rev.Main
}

// sortRows orders rows by revision.
func sortRows(rows []Row) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(a.Rev.Compare(b.Rev), cmp.Compare(a.Page, b.Page))
	})
}
