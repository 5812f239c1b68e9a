package bolt

// Leaf is a leaf page that a check has accepted. The zero Leaf has no rows.
type Leaf struct {
	p      page
	inline bool
}

// Leaf returns a page that [DB.CheckLeaves] has shown, without looking at its elements again.
func (db *DB) Leaf(id uint64) Leaf {
	if id < firstPage || id >= db.pages {
		return Leaf{}
	}
	off := id * db.pageSize
	buf := db.data[off : db.pages*db.pageSize] // elements may reach beyond what the page claims
	return Leaf{p: page{buf: buf, id: id, off: int64(off), n: int(le.Uint16(buf[10:])), leaf: true}}
}

// Page returns the page; for an inline bucket the page that holds the bucket.
func (l *Leaf) Page() uint64 { return l.p.id }

// Size returns the bytes that a page that was shown takes, with its overflow pages.
func (l *Leaf) Size() int { return len(l.p.buf) }

// Overflow is how many pages behind its own the page claims.
func (l *Leaf) Overflow() uint32 { return le.Uint32(l.p.buf[12:]) }

// Inline tells that the rows are those of an inline bucket, which [DB.Leaf] does not return.
func (l *Leaf) Inline() bool { return l.inline }

// Len returns the number of elements.
func (l *Leaf) Len() int { return l.p.n }

// HasBuckets tells that IsBucket is true of some element of a page that was shown.
func (l *Leaf) HasBuckets() bool { return l.p.buckets }

// IsBucket tells that element i is a nested bucket.
func (l *Leaf) IsBucket(i int) bool { return l.p.isBucket(i) }

// Row returns the key and value of element i, valid as long as the data given to Open; nil if the file has changed since
// it was checked and the element is not in the page any more.
func (l *Leaf) Row(i int) (key, value []byte) {
	from, mid, to := l.element(i)
	if to == 0 {
		return nil, nil
	}
	return l.p.buf[from:mid:mid], l.p.buf[mid:to:to]
}

// Element returns the key of element i and, behind its key bytes, its value, as Row does.
func (l *Leaf) Element(i int) (element []byte, key int) {
	from, mid, to := l.element(i)
	return l.p.buf[from:to:to], int(mid - from)
}

// element returns where an element begins and ends, and where its value begins.
func (l *Leaf) element(i int) (from, mid, to uint64) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(l.p.buf) {
		return 0, 0, 0
	}
	e := l.p.buf[at : at+elementSize : at+elementSize]
	from = uint64(at) + uint64(le.Uint32(e[4:]))
	mid = from + uint64(le.Uint32(e[8:]))
	if to = mid + uint64(le.Uint32(e[12:])); to > uint64(len(l.p.buf)) {
		return 0, 0, 0
	}
	return from, mid, to
}

// Elements returns the keys and values of all elements of a page that was shown, in order; nil if they do not lie one behind the other.
func (l *Leaf) Elements() []byte {
	if l.p.odd != nil || l.p.n == 0 {
		return nil
	}
	from, _, _ := l.p.row(0)
	return l.p.buf[from:l.p.used:l.p.used]
}
