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
	head := db.data[off:][:pageHeaderSize]
	overflow := uint64(le.Uint32(head[12:]))
	if overflow >= db.pages-id {
		return Leaf{} // not what it was: the file changes
	}
	return Leaf{p: page{buf: db.data[off:][:(overflow+1)*db.pageSize], id: id, off: int64(off), n: int(le.Uint16(head[10:])), leaf: true}}
}

// Page returns the page; for an inline bucket the page that holds the bucket.
func (l *Leaf) Page() uint64 { return l.p.id }

// Size returns the bytes that the page and its overflow pages take.
func (l *Leaf) Size() int { return len(l.p.buf) }

// Inline tells that the rows are those of an inline bucket, which [DB.Leaf] does not return.
func (l *Leaf) Inline() bool { return l.inline }

// Len returns the number of elements.
func (l *Leaf) Len() int { return l.p.n }

// IsBucket tells that element i is a nested bucket.
func (l *Leaf) IsBucket(i int) bool { return l.p.isBucket(i) }

// Row returns the key and value of element i, valid as long as the data given to Open; nil if the file has changed since
// it was checked and the element is not in the page any more.
func (l *Leaf) Row(i int) (key, value []byte) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(l.p.buf) {
		return nil, nil
	}
	e := l.p.buf[at : at+elementSize : at+elementSize]
	from := uint64(at) + uint64(le.Uint32(e[4:]))
	mid := from + uint64(le.Uint32(e[8:]))
	to := mid + uint64(le.Uint32(e[12:]))
	if to > uint64(len(l.p.buf)) {
		return nil, nil
	}
	return l.p.buf[from:mid:mid], l.p.buf[mid:to:to]
}
