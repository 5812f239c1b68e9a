package bolt

import (
	"bytes"
	"slices"
)

// SalvagedPage is a leaf page that the readable trees do not hold. It may be cut off by damage, or be an older copy, or be
// newer than the meta page in a torn file: pages have no transaction id, so the file does not tell.
type SalvagedPage struct {
	Page       uint64
	Offset     int64
	Whole      bool // the page is sound; if not, these are the rows that both of their neighbours confirm
	Referenced bool // a readable page refers to this one, but it is damaged or not what that page says
	Rows       []SalvagedRow
}

// SalvagedRow is a row of such a page. Both slices are part of the data given to Open.
type SalvagedRow struct {
	Key, Value []byte
	Offset     int64 // of the element
}

// Salvage looks at all pages that the readable trees of the file do not use, in the order of their ids, for leaf pages of
// one kind of bucket: those of which keep accepts every key. A page that continues another, or that another was written
// into later, yields only what lies before.
func (db *DB) Salvage(keep func(key []byte) bool) []SalvagedPage {
	c := db.check()
	var found []SalvagedPage
	for id := firstPage; id < uint64(len(c.kinds)); id++ {
		if k := c.kinds[id]; k == kindUnknown || k == kindFree || k == kindUnreadable {
			if p, ok := c.salvage(id, keep); ok {
				found = append(found, p)
			}
		}
	}
	return found
}

// Salvage is [DB.Salvage]: which bucket a lost page belonged to, only its keys tell.
func (b *Bucket) Salvage(keep func(key []byte) bool) []SalvagedPage { return b.db.Salvage(keep) }

// Orphan is a sound branch page that nothing refers to. In a damaged file it may be the lost root of a bucket or of a part
// of one, or an older copy.
type Orphan struct {
	Page     uint64
	First    []byte  // the lowest key below it
	Children int     // pages right below it
	Bucket   *Bucket // to walk what lies below it; without a name
}

// orphans returns the topmost of such pages, in the order of their ids, if the tree in use is damaged.
func (c *checker) orphans() []Orphan {
	if !c.broken {
		return nil
	}
	var all []Orphan
	below := map[uint64]bool{}
	for id := firstPage; id < uint64(len(c.kinds)); id++ {
		if k := c.kinds[id]; k != kindUnknown && k != kindFree || le.Uint16(c.db.data[id*c.db.pageSize+8:]) != flagBranch {
			continue
		}
		p, f := c.db.load(ref{id: id})
		if f != nil {
			continue
		}
		for i := range p.n {
			below[p.child(i, nil).id] = true
		}
		all = append(all, Orphan{id, p.key(0), p.n, &Bucket{db: c.db, root: id, at: p.off}})
	}
	return slices.DeleteFunc(all, func(o Orphan) bool { return below[o.Page] })
}

func (c *checker) salvage(id uint64, keep func([]byte) bool) (SalvagedPage, bool) {
	size := c.db.pageSize
	off := id * size
	head := c.db.data[off:][:pageHeaderSize]
	s := SalvagedPage{Page: id, Offset: int64(off), Referenced: c.kinds[id] == kindUnreadable}
	sound := le.Uint64(head) == id && le.Uint16(head[8:]) == flagLeaf
	if !sound && (!s.Referenced || le.Uint64(head) == id && le.Uint16(head[8:]) == flagBranch) {
		return s, false
	}
	pages := uint64(1)
	for want := uint64(le.Uint32(head[12:])); pages <= want && id+pages < uint64(len(c.kinds)) && !c.taken(id+pages); pages++ {
	}
	p := page{buf: c.db.data[off:][:pages*size], id: id, off: int64(off), claimed: pages * size}
	if sound && p.parse(nil, nil) == nil && p.odd == nil {
		s.Whole = true
		for i := range p.n {
			key, value, end := p.row(i)
			if p.isBucket(i) || !keep(p.buf[key:value]) {
				return s, false
			}
			s.Rows = append(s.Rows, SalvagedRow{p.buf[key:value:value], p.buf[value:end:end], p.off + pageHeaderSize + int64(i)*elementSize})
		}
		return s, p.n > 0
	}
	s.Rows = p.confirmed(keep)
	return s, len(s.Rows) > 0
}

// taken tells that a page is in use, or begins with a header of its own: it is not the continuation of a page before it.
func (c *checker) taken(id uint64) bool {
	if k := c.kinds[id]; k != kindUnknown && k != kindFree && k != kindUnreadable {
		return true
	}
	head := c.db.data[id*c.db.pageSize:]
	flags := le.Uint16(head[8:])
	return le.Uint64(head) == id && (flags == flagLeaf || flags == flagBranch || flags == flagFreelist)
}

// confirmed returns the rows of a damaged leaf that begin where the one before ends, end where the one after begins, and
// have keys between theirs. The element after the last one has none to confirm it: it must end within the page.
func (p *page) confirmed(keep func([]byte) bool) []SalvagedRow {
	n, size := uint64(le.Uint16(p.buf[10:])), uint64(len(p.buf))
	n = min(n, (size-pageHeaderSize)/elementSize)
	type span struct {
		key, value, end uint64
		ok              bool
	}
	elem := func(i uint64) (s span) {
		at := pageHeaderSize + i*elementSize
		e := p.buf[at:]
		ksize := uint64(le.Uint32(e[8:]))
		s.key = at + uint64(le.Uint32(e[4:]))
		s.value = s.key + ksize
		s.end = s.value + uint64(le.Uint32(e[12:]))
		s.ok = le.Uint32(e) == 0 && ksize > 0 && ksize <= maxKeySize && s.end <= size && s.key >= pageHeaderSize+n*elementSize && keep(p.buf[s.key:s.value])
		return s
	}
	var rows []SalvagedRow
	prev := span{end: pageHeaderSize + uint64(le.Uint16(p.buf[10:]))*elementSize}
	for i := range n {
		cur := elem(i)
		ok := cur.ok && cur.key == prev.end && (!prev.ok || bytes.Compare(p.buf[prev.key:prev.value], p.buf[cur.key:cur.value]) < 0)
		if ok && i+1 < n {
			next := elem(i + 1)
			ok = next.key == cur.end && (!next.ok || bytes.Compare(p.buf[cur.key:cur.value], p.buf[next.key:next.value]) < 0)
		}
		if ok {
			rows = append(rows, SalvagedRow{p.buf[cur.key:cur.value:cur.value], p.buf[cur.value:cur.end:cur.end], p.off + pageHeaderSize + int64(i)*elementSize})
		}
		prev = cur
	}
	return rows
}
