package bolt

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"etcd-autopsy/inspect/finding"
)

// page is a branch or leaf page whose header and elements have been checked.
type page struct {
	buf  []byte // from the header to the end of the page's last overflow page
	id   uint64 // where it lies; for an inline page, the page around it
	off  int64  // of buf in the file
	n    int    // elements
	used int    // bytes of buf up to the end of the last element
	leaf bool
}

// fault is what is wrong with a page. Offset is where in the file.
type fault struct {
	code, what string
	page       uint64
	off        int64
}

// ref is a page as the pages above it know it.
type ref struct {
	id        uint64
	low, high []byte // its keys lie in [low, high), nil is unbounded
	at        int64  // where in the file id is written
}

// load reads a page. It costs one look at each element and key.
func (db *DB) load(r ref) (page, *fault) {
	id, off := r.id, int64(r.id)*int64(db.pageSize)
	bad := func(code, format string, args ...any) (page, *fault) {
		return page{}, &fault{code, fmt.Sprintf(format, args...), id, off}
	}
	switch {
	case id < firstPage || id >= db.meta.HighWater:
		off = r.at
		return bad("page-out-of-bounds", "page %d is referred to here, but pages end at %d", id, db.meta.HighWater)
	case id >= db.pages:
		return bad("page-beyond-end", "the file ends before the end of the page")
	}
	head := db.data[off:][:db.pageSize]
	flags, overflow := le.Uint16(head[8:]), uint64(le.Uint32(head[12:]))
	switch own := le.Uint64(head); {
	case own == 0 && isZero(head):
		return bad("page-zero", "the page is all zero")
	case own != id:
		return bad("page-id-mismatch", "the page says that it is page %d, of type %#x", own, flags)
	case flags != flagLeaf && flags != flagBranch:
		return bad("page-type", "the page type is %#x, neither branch nor leaf", flags)
	case overflow >= db.meta.HighWater-id:
		return bad("page-out-of-bounds", "the page claims %d more pages, beyond the high water mark", overflow)
	case overflow >= db.pages-id:
		return bad("page-beyond-end", "the file ends before the end of the page and its %d overflow pages", overflow)
	}
	p := page{buf: db.data[off:][:(overflow+1)*db.pageSize], id: id, off: off}
	return p, p.parse(r.low, r.high)
}

// parse checks all elements of a page and fills in what it says.
func (p *page) parse(low, high []byte) *fault {
	p.leaf, p.n = le.Uint16(p.buf[8:]) == flagLeaf, int(le.Uint16(p.buf[10:]))
	size, end := uint64(len(p.buf)), uint64(pageHeaderSize+p.n*elementSize)
	switch {
	case end > size:
		return p.bad(0, "page-element-bounds", "the page has no room for the %d elements that it claims", p.n)
	case p.n == 0 && (!p.leaf || !isZero(p.buf[pageHeaderSize:])):
		return p.bad(0, "page-element-bounds", "the page claims to have no elements, but is no empty leaf")
	}
	key := low
	for i := range p.n {
		prev := key
		e := p.buf[pageHeaderSize+i*elementSize:][:elementSize]
		flags, pos, ksize, vsize := uint32(0), le.Uint32(e), uint64(le.Uint32(e[4:])), uint64(0)
		if p.leaf {
			flags, pos, ksize, vsize = pos, uint32(ksize), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		}
		if uint64(pageHeaderSize+i*elementSize)+uint64(pos) != end || ksize == 0 || ksize > maxKeySize || ksize+vsize > size-end {
			return p.bad(i, "page-element-bounds", "element %d of %d (position %d, key %d, value %d bytes) is not in its place", i, p.n, pos, ksize, vsize)
		}
		if flags&^bucketFlag != 0 {
			return p.bad(i, "page-element-flags", "element %d of %d has flags %#x", i, p.n, flags)
		}
		key = p.buf[end : end+ksize]
		switch c := bytes.Compare(prev, key); {
		case i == 0 && (c > 0 || high != nil && bytes.Compare(key, high) >= 0):
			return p.bad(i, "page-key-range", "the first key, %s, is not in the range that the page above gives", keyText(key))
		case i > 0 && c >= 0:
			return p.bad(i, "page-key-order", "element %d of %d: %s does not follow %s", i, p.n, keyText(key), keyText(prev))
		}
		end += ksize + vsize
	}
	if p.n > 0 && high != nil && bytes.Compare(key, high) >= 0 {
		return p.bad(p.n-1, "page-key-range", "the last key, %s, is not in the range that the page above gives", keyText(key))
	}
	p.used = int(end)
	return nil
}

func (p *page) bad(i int, code, format string, args ...any) *fault {
	return &fault{code, fmt.Sprintf(format, args...), p.id, p.off + pageHeaderSize + int64(i)*elementSize}
}

// row returns where the key and value of a leaf element begin and end in buf.
func (p *page) row(i int) (key, value, end int) {
	at := pageHeaderSize + i*elementSize
	e := p.buf[at:][:elementSize]
	key = at + int(le.Uint32(e[4:]))
	value = key + int(le.Uint32(e[8:]))
	return key, value, value + int(le.Uint32(e[12:]))
}

func (p *page) isBucket(i int) bool { return p.buf[pageHeaderSize+i*elementSize]&bucketFlag != 0 }

func (p *page) key(i int) []byte {
	if p.leaf {
		key, value, _ := p.row(i)
		return p.buf[key:value:value]
	}
	at := pageHeaderSize + i*elementSize
	pos, ksize := int(le.Uint32(p.buf[at:])), int(le.Uint32(p.buf[at+4:]))
	return p.buf[at+pos:][:ksize:ksize]
}

// child returns the page under a branch element; high is the end of p's own range.
func (p *page) child(i int, high []byte) ref {
	if i+1 < p.n {
		high = p.key(i + 1)
	}
	at := pageHeaderSize + i*elementSize + 8
	return ref{id: le.Uint64(p.buf[at:]), low: p.key(i), high: high, at: p.off + int64(at)}
}

// search returns the first element whose key is not below key, n if there is none.
func (p *page) search(key []byte) int {
	lo, hi := 0, p.n
	for lo < hi {
		if mid := (lo + hi) / 2; bytes.Compare(p.key(mid), key) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// searchChild returns the branch element under which key lies.
func (p *page) searchChild(key []byte) int {
	i := p.search(key)
	if i > 0 && (i == p.n || !bytes.Equal(p.key(i), key)) {
		i--
	}
	return i
}

// Hole is a part of a bucket that could not be read.
type Hole struct {
	Page      uint64 // the first page that could not be read
	Pages     int    // how many neighbouring pages could not be read for the same reason, with all that lies under them
	Low, High []byte // the keys in [Low, High) that it had, as the pages above say; nil is unbounded
	Why       finding.Finding
}

// hole says what fault f costs the bucket.
func (b *Bucket) hole(f *fault, r ref) Hole {
	h := Hole{Page: f.page, Pages: 1, Low: r.low, High: r.high}
	h.Why = finding.New(f.code, finding.Error, b.db.name, "%s; %s %s", f.what, b, rangeText(r.low, r.high)).OnPage(f.page, f.off).Lost()
	if h.Why.Page < 0 {
		h.Why.Page = finding.NoOffset
	}
	return h
}

// addHole appends a hole. Pages that are not there come in long runs: neighbours become one hole.
func (b *Bucket) addHole(holes []Hole, f *fault, r ref) []Hole {
	if n := len(holes); n > 0 && (f.code == "page-zero" || f.code == "page-beyond-end") {
		if l := &holes[n-1]; l.Why.Code == f.code && l.High != nil && bytes.Equal(l.High, r.low) {
			l.Pages, l.High = l.Pages+1, r.high
			l.Why.Detail = fmt.Sprintf("%s, as for the %d other pages next to it, up to page %d; %s %s", f.what, l.Pages-1, f.page, b, rangeText(l.Low, r.high))
			return holes
		}
	}
	return append(holes, b.hole(f, r))
}

func rangeText(low, high []byte) string {
	switch {
	case low == nil && high == nil:
		return "has no readable rows"
	case high == nil:
		return "lacks the rows from " + keyText(low) + " on"
	case low == nil:
		return "lacks the rows below " + keyText(high)
	default:
		return "lacks the rows from " + keyText(low) + " to below " + keyText(high)
	}
}

// keyText shows a key: as a revision if it looks like one of etcd's, else in hex.
func keyText(key []byte) string {
	if n := len(key); (n == revKeyLen || n == delKeyLen && key[revKeyLen] == 't') && key[8] == '_' {
		return fmt.Sprintf("rev %d/%d", be64(key), be64(key[9:]))
	}
	if len(key) > maxKeyText {
		return fmt.Sprintf("key %s.. of %d bytes", hex.EncodeToString(key[:maxKeyText]), len(key))
	}
	return "key " + hex.EncodeToString(key)
}
