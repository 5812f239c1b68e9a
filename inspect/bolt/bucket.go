package bolt

import (
	"encoding/binary"
	"fmt"
)

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// Bucket is a top-level bucket, or what lies below an [Orphan].
type Bucket struct {
	db       *DB
	name     string
	root     uint64 // 0 if inline
	at       int64  // where in the file the header is
	sequence uint64
	inline   page
	bad      *fault // why the bucket's header cannot be used
	odd      *fault // what of it bbolt reads, but never writes
	isRoot   bool   // this is the bucket of buckets
	top      bool   // it is in that one
}

// open reads the header of a bucket: value, at offset off of the file, in a leaf page.
func (db *DB) open(name, value []byte, leaf uint64, off int64) *Bucket {
	b := &Bucket{db: db, name: string(name), at: off}
	if len(value) < bucketHeaderSize {
		b.bad = &fault{"bucket-header", fmt.Sprintf("a bucket's header has %d bytes", len(value)), leaf, off}
		return b
	}
	b.root, b.sequence = le.Uint64(value), le.Uint64(value[8:])
	switch value = value[bucketHeaderSize:]; {
	case b.root != 0 && len(value) > 0 && b.root >= db.meta.HighWater:
		b.bad = &fault{"bucket-header", fmt.Sprintf("the bucket has its root at page %d, which does not exist", b.root), leaf, off}
	case b.root != 0 && len(value) > 0:
		b.odd = &fault{"bucket-header", fmt.Sprintf("the bucket has its root at page %d and is inline as well", b.root), leaf, off}
	case b.root == 0:
		b.bad = b.readInline(value, leaf, off+bucketHeaderSize)
	}
	return b
}

// readInline reads the page inside an inline bucket: always a leaf. As bbolt writes it, it fills the value and holds no buckets.
func (b *Bucket) readInline(value []byte, leaf uint64, off int64) *fault {
	p := page{buf: value, id: leaf, off: off, claimed: uint64(len(value))}
	if len(value) < pageHeaderSize {
		return &fault{"bucket-header", fmt.Sprintf("the page of an inline bucket has %d bytes", len(value)), leaf, off}
	}
	id, flags, overflow := le.Uint64(value), le.Uint16(value[8:]), le.Uint32(value[12:])
	if what := fmt.Sprintf("the page of an inline bucket says page %d, type %#x, overflow %d", id, flags, overflow); flags != flagLeaf {
		return &fault{"page-type", what, leaf, off}
	} else if id != 0 || overflow != 0 {
		p.odd = &fault{"page-type", what, leaf, off}
	}
	if f := p.parse(nil, nil); f != nil {
		return f
	}
	if free := len(value) - p.used + p.gap; p.n > 0 && free > 0 || p.used != len(value) {
		p.strange(max(p.n, 1)-1, "page-element-bounds", "%d bytes of the inline bucket belong to no element", free)
	}
	for i := range p.n {
		if p.isBucket(i) {
			p.strange(i, "page-element-flags", "element %d of %d: a bucket inside an inline bucket", i, p.n)
		}
	}
	p.gap = 0 // nothing was cleared: bbolt's surgery changes pages only
	b.inline, b.odd = p, p.odd
	return nil
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// Place is the page that holds the bucket's header, and whether its rows lie there, too.
func (b *Bucket) Place() (page uint64, inline bool) {
	return uint64(b.at) / b.db.pageSize, b.bad == nil && b.root == 0
}

func (b *Bucket) ref() ref { return ref{id: b.root, at: b.at} }

// Sequence returns the bucket's own counter; etcd does not use it.
func (b *Bucket) Sequence() uint64 { return b.sequence }

// String names the bucket in findings.
func (b *Bucket) String() string {
	switch {
	case b.isRoot:
		return "the bucket of buckets"
	case b.name == "":
		return "a bucket without a name"
	case len(b.name) > maxNameText:
		return fmt.Sprintf("bucket %q..", b.name[:maxNameText])
	default:
		return fmt.Sprintf("bucket %q", b.name)
	}
}

// Rows walks a bucket in key order. A walk goes on after what cannot be read, which is in [Rows.Damage].
type Rows struct {
	b       *Bucket
	from    []byte  // rows below it are left out
	stack   []frame // branch pages above leaf
	leaf    page
	i       int // element of leaf
	started bool
	holes   []Hole
	// of the current element, in leaf.buf
	key, value, end int
}

// frame is a branch page in a walk.
type frame struct {
	page
	i    int
	high []byte
}

// Rows returns a walk over all rows.
func (b *Bucket) Rows() *Rows { return b.Seek(nil) }

// Seek returns a walk over the rows whose key is not below key.
func (b *Bucket) Seek(key []byte) *Rows {
	return &Rows{b: b, from: key, i: -1, stack: make([]frame, 0, 8)}
}

// Last returns a walk that stands behind the last row: [Rows.Prev] goes to it.
func (b *Bucket) Last() *Rows { return b.Seek(nil) }

// Next goes to the next row and tells whether there is one.
func (r *Rows) Next() bool {
	for r.i+1 >= r.leaf.n {
		if !r.step(false) {
			return false
		}
	}
	r.i++
	r.key, r.value, r.end = r.leaf.row(r.i)
	return true
}

// Prev goes to the row before and tells whether there is one: the last one at first. It does not stop where [Bucket.Seek]
// began, and a walk that has ended in one direction stays ended in both.
func (r *Rows) Prev() bool {
	for r.i <= 0 {
		if !r.step(true) {
			return false
		}
	}
	r.i--
	r.key, r.value, r.end = r.leaf.row(r.i)
	return true
}

// Key returns the key of the current row, valid as long as the data given to Open.
func (r *Rows) Key() []byte { return r.leaf.buf[r.key:r.value:r.value] }

// Value returns the value of the current row, valid as long as the data given to Open; nil for a nested bucket.
func (r *Rows) Value() []byte {
	if r.IsBucket() {
		return nil
	}
	return r.raw()
}

// IsBucket tells that the current row is a nested bucket. Its rows are not part of the walk.
func (r *Rows) IsBucket() bool { return r.leaf.isBucket(r.i) }

// Page returns the page that holds the current row; for an inline bucket the page that holds the bucket.
func (r *Rows) Page() uint64 { return r.leaf.id }

// Offset returns where in the file the element of the current row is.
func (r *Rows) Offset() int64 { return r.leaf.off + pageHeaderSize + int64(r.i)*elementSize }

func (r *Rows) raw() []byte      { return r.leaf.buf[r.value:r.end:r.end] }
func (r *Rows) rawOffset() int64 { return r.leaf.off + int64(r.value) }

// Damage returns what the walk could not read so far.
func (r *Rows) Damage() []Hole { return r.holes }

// Err returns nil if the walk could read everything so far, else an error that is [ErrDamaged] and names the first place.
func (r *Rows) Err() error {
	if len(r.holes) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDamaged, r.holes[0].Why)
}

// step goes to the next leaf that can be read, or back to the one before, and tells whether there is one.
func (r *Rows) step(back bool) bool {
	r.leaf, r.i = page{}, -1
	if !r.started {
		r.started = true
		switch {
		case r.b.bad != nil:
			r.holes = r.b.addHole(r.holes, r.b.bad, ref{})
		case r.b.root == 0:
			r.land(r.b.inline, back)
			return true
		case r.descend(r.b.ref(), back):
			return true
		}
	}
	for len(r.stack) > 0 {
		top := &r.stack[len(r.stack)-1]
		if back {
			top.i--
		} else {
			top.i++
		}
		if top.i < 0 || top.i >= top.n {
			r.stack = r.stack[:len(r.stack)-1]
		} else if r.descend(top.child(top.i, top.high), back) {
			return true
		}
	}
	return false
}

// descend goes down to the first leaf under a page, or the last. If something on the way cannot be read it notes a hole and
// returns false; the stack then says where to go on.
func (r *Rows) descend(to ref, back bool) bool {
	for {
		p, f := r.b.db.load(to)
		if f == nil {
			f = r.tooDeep(to)
		}
		if f != nil {
			r.holes = r.b.addHole(r.holes, f, to)
			return false
		}
		if p.leaf {
			r.land(p, back)
			return true
		}
		top := frame{page: p, high: to.high}
		switch {
		case back:
			top.i = p.n - 1
		case r.from != nil:
			top.i = p.searchChild(r.from)
		}
		r.stack = append(r.stack, top)
		to = p.child(top.i, to.high)
	}
}

// tooDeep ends a walk in a circle. The key ranges alone allow only circles of pages with a single element.
func (r *Rows) tooDeep(to ref) *fault {
	off := int64(to.id * r.b.db.pageSize)
	for i := range r.stack {
		if r.stack[i].id == to.id {
			return &fault{"page-double-use", fmt.Sprintf("the page lies below itself, as offset %d says", to.at), to.id, off}
		}
	}
	if len(r.stack) >= maxDepth {
		return &fault{"tree-too-deep", fmt.Sprintf("the page lies %d pages deep", len(r.stack)), to.id, off}
	}
	return nil
}

// land makes a leaf the current one, before the first element to come.
func (r *Rows) land(p page, back bool) {
	r.leaf, r.i = p, -1
	switch {
	case back:
		r.i = p.n
	case r.from != nil:
		r.i = p.search(r.from) - 1
	}
}
