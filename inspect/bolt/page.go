package bolt

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"etcd-autopsy/inspect/finding"
)

// page is a branch or leaf page whose header and elements have been checked.
type page struct {
	buf     []byte // from the header to the end of the page's last overflow page, or of the last page that an element reaches
	id      uint64 // where it lies; for an inline page, the page around it
	off     int64  // of buf in the file
	n       int    // elements
	used    int    // bytes of buf up to the end of the last element
	claimed uint64 // bytes that the page itself counts, those that the file does not have included
	gap     int    // bytes between the directory and the first element: elements were cleared
	leaf    bool
	buckets bool   // there are elements with the flag of a bucket
	odd     *fault // what bbolt reads, but never writes
}

// cleared tells that elements were taken off the end of the page by cutting its directory short, which leaves the elements
// that stay, and the rest of the directory, where they were: `bbolt surgery clear-page-elements` and `clear-page` do
// (internal/surgeon/surgeon.go of bbolt 1.5).
func (p *page) cleared() bool { return p.gap > 0 }

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
	}
	p := page{buf: db.data[off : db.pages*db.pageSize], id: id, off: off, claimed: (overflow + 1) * db.pageSize}
	f := p.parse(r.low, r.high)
	switch {
	case overflow < db.pages-id:
	case overflow >= db.meta.HighWater-id:
		_, p.odd = bad("page-out-of-bounds", "the page claims %d more pages, beyond the high water mark", overflow)
	case f != nil && f.code == "page-element-bounds":
		return bad("page-beyond-end", "the file ends before the end of the page and its %d overflow pages", overflow)
	default:
		_, p.odd = bad("page-beyond-end", "the file ends before the end of the page's %d overflow pages, but not before that of its rows", overflow)
	}
	need := (uint64(p.used) + db.pageSize - 1) / db.pageSize
	p.buf = p.buf[:min(max(need*db.pageSize, p.claimed), uint64(len(p.buf)))]
	return p, f
}

// parse checks all elements of a page and fills in what it says. buf is all that elements may lie in. They lie where their
// positions say, as bbolt reads them: not in the directory, not in each other, and in sum they fit what the page claims.
// They may reach beyond that by the gap before the first one, as bbolt's surgery counts overflow pages without it.
func (p *page) parse(low, high []byte) *fault {
	p.leaf, p.n = le.Uint16(p.buf[8:]) == flagLeaf, int(le.Uint16(p.buf[10:]))
	size, dir := min(uint64(len(p.buf)), p.claimed), uint64(pageHeaderSize+p.n*elementSize)
	switch {
	case dir > size:
		return p.bad(0, "page-element-bounds", "the page has no room for the %d elements that it claims", p.n)
	case p.n == 0 && !p.leaf:
		return p.bad(0, "page-element-bounds", "the page claims to have no elements, but is no leaf")
	case p.n == 0:
		if p.used = pageHeaderSize; !isZero(p.buf[pageHeaderSize:size]) {
			p.gap = int(size - pageHeaderSize)
		}
		return nil
	}
	key, end, used, sum, scattered := low, dir, dir, dir, false
	for i := range p.n {
		prev := key
		at := pageHeaderSize + uint64(i)*elementSize
		e := p.buf[at:][:elementSize]
		flags, pos, ksize, vsize := uint32(0), le.Uint32(e), uint64(le.Uint32(e[4:])), uint64(0)
		if p.leaf {
			flags, pos, ksize, vsize = pos, uint32(ksize), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		}
		start := at + uint64(pos)
		if start != end {
			switch {
			case i == 0 && start > end && (start-end)%elementSize == 0:
				p.gap = int(start - end)
			case start > end:
				p.strange(i, "page-element-bounds", "%d bytes before element %d of %d (position %d, key %d, value %d bytes) belong to none", start-end, i, p.n, pos, ksize, vsize)
			default:
				scattered = true
			}
		}
		end = start + ksize + vsize
		sum += ksize + vsize
		if start < dir || end > min(size+uint64(p.gap), uint64(len(p.buf))) || sum > size {
			return p.bad(i, "page-element-bounds", "element %d of %d (position %d, key %d, value %d bytes) is not in its place", i, p.n, pos, ksize, vsize)
		}
		used = max(used, end)
		p.buckets = p.buckets || flags&bucketFlag != 0
		if flags&^bucketFlag != 0 {
			p.strange(i, "page-element-flags", "element %d of %d has flags %#x", i, p.n, flags)
		}
		if ksize == 0 || ksize > maxKeySize {
			p.strange(i, "page-element-bounds", "element %d of %d has a key of %d bytes", i, p.n, ksize)
		}
		key = p.buf[start : start+ksize]
		switch c := compareKeys(prev, key); {
		case i == 0 && (c > 0 || high != nil && bytes.Compare(key, high) >= 0):
			return p.bad(i, "page-key-range", "the first key, %s, is not in the range that the page above gives", keyText(key))
		case i > 0 && c >= 0:
			return p.bad(i, "page-key-order", "element %d of %d: %s does not follow %s", i, p.n, keyText(key), keyText(prev))
		}
	}
	if high != nil && bytes.Compare(key, high) >= 0 {
		return p.bad(p.n-1, "page-key-range", "the last key, %s, is not in the range that the page above gives", keyText(key))
	}
	if p.used = int(used); scattered {
		return p.apart()
	}
	return nil
}

// compareKeys is bytes.Compare, which most keys, revisions, settle by their first eight bytes.
func compareKeys(a, b []byte) int {
	if len(a) >= 8 && len(b) >= 8 {
		if c := cmp.Compare(be64(a), be64(b)); c != 0 {
			return c
		}
	}
	return bytes.Compare(a, b)
}

// apart looks whether elements that do not follow each other overlap.
func (p *page) apart() *fault {
	type span struct{ from, to, i int }
	spans := make([]span, p.n)
	for i := range spans {
		if p.leaf {
			spans[i].from, _, spans[i].to = p.row(i)
		} else {
			at := pageHeaderSize + i*elementSize
			spans[i].from = at + int(le.Uint32(p.buf[at:]))
			spans[i].to = spans[i].from + int(le.Uint32(p.buf[at+4:]))
		}
		spans[i].i = i
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for k := 1; k < len(spans); k++ {
		if spans[k].from < spans[k-1].to {
			return p.bad(spans[k].i, "page-element-bounds", "element %d of %d is not in its place: it lies in element %d", spans[k].i, p.n, spans[k-1].i)
		}
	}
	p.strange(0, "page-element-bounds", "the %d elements do not lie in the order of their keys", p.n)
	return nil
}

// strange notes the first thing in a page that bbolt reads, but never writes.
func (p *page) strange(i int, code, format string, args ...any) {
	if p.odd == nil {
		p.odd = p.bad(i, code, format, args...)
	}
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
