package bolt

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/inspect/finding"
)

// Report is what [DB.Check] found.
type Report struct {
	Findings []finding.Finding // sorted
	Pages    PageCounts
	Bytes    ByteCounts
	RowBytes int64 // of the keys and values of top-level buckets' rows; of buckets in them, of their keys
	Rows     int   // rows of all buckets that were read, nested ones included, and the buckets themselves
	Complete bool  // all rows below the meta page in use were read, and no page is used twice
}

// PageCounts counts the pages below the high water mark by what they are. They add up to Meta.HighWater.
type PageCounts struct {
	Meta, Branch, Leaf, Freelist uint64
	Overflow                     uint64 // following pages of branch, leaf and freelist pages
	Free                         uint64 // in the freelist; in a whole file without one, all that nothing refers to
	Unreachable                  uint64 // nothing refers to them: leaked, or cut off by damage
	Unreadable                   uint64 // referred to but damaged, or beyond the end of the file
}

// Total returns the sum.
func (c PageCounts) Total() uint64 {
	return c.Meta + c.Branch + c.Leaf + c.Freelist + c.Overflow + c.Free + c.Unreachable + c.Unreadable
}

// ByteCounts counts the bytes of the file. Pages, Tail and Trailer add up to its length.
type ByteCounts struct {
	Pages       int64 // below the high water mark
	Tail        int64 // beyond it: preallocated, or left by a transaction that did not end
	TailNonZero int64 // blocks of the tail, in bytes, that are not all zero
	Trailer     int64
}

// maxOrphans is how many orphans get a finding of their own; [DB.Orphans] has all.
const maxOrphans = 16

// kind is what a page is, as found by a check.
type kind byte

const (
	kindUnknown kind = iota // nothing refers to it
	kindMeta
	kindBranch
	kindLeaf
	kindOverflow
	kindFreelist
	kindFree
	kindUnreadable
)

// checker walks all that the meta page in use refers to.
type checker struct {
	db     *DB
	kinds  []kind // of each page that the file holds
	report Report
	broken bool      // something could not be read, or is used twice
	nested []*Bucket // still to be walked
	holes  map[string][]Hole
	claims []claim
	clears map[string][]Hole

	visitor Visitor // nil: nobody asks
	fetched byte    // of no meaning
}

// claim is a stretch of pages that a page counts as its own without a need, or needs without counting them.
type claim struct {
	from, to uint64 // page ids, to excluded
	by       uint64
	needed   bool // elements lie there
	in       string
}

// Check walks everything that the meta page in use refers to. Later calls return the same report.
func (db *DB) Check() *Report {
	r := db.check().report
	r.Findings = slices.Clone(r.Findings)
	return &r
}

// Visitor is shown leaf pages, bucket by bucket and in the order of the keys.
type Visitor interface {
	// Leaf takes a leaf page that the check accepts.
	Leaf(b *Bucket, l Leaf)
	// Fork returns a visitor of its own for some of the next pages, which may be shown to it while others are shown to others.
	Fork() Visitor
	// Join takes over what a fork saw, which comes behind all that this visitor saw. A fork may also be dropped, and the same
	// pages be shown anew.
	Join(fork Visitor)
}

// CheckLeaves is Check, and shows every leaf page to v on the way, which saves a second walk. A large bucket is read in
// parts by as many functions, which together runs at the same time and waits for. v is shown nothing if a check was made
// before.
func (db *DB) CheckLeaves(v Visitor, parts int, together func(fs []func())) *Report {
	db.visitor, db.parts, db.together = v, parts, together
	return db.Check()
}

// Holes returns the parts of a top-level bucket that a check could not read.
func (db *DB) Holes(bucket string) []Hole { return db.check().holes[bucket] }

// Cleared returns the parts of a top-level bucket from which elements were cleared on purpose. What is not there is not
// lost: bbolt, and so the member, does not have it either.
func (db *DB) Cleared(bucket string) []Hole { return db.check().clears[bucket] }

func (db *DB) runCheck() *checker {
	c := db.walkAll()
	c.metas()
	c.length()
	if other := 1 - db.meta.Slot; c.broken && newest(db.metas) == db.meta.Slot && db.metas[other].Valid {
		older := &DB{name: db.name, data: db.data, metas: db.metas, buckets: map[string]*Bucket{}}
		older.use(other)
		if alt := older.walkAll(); alt.broken {
			c.add(finding.New("older-meta-broken", finding.Info, db.name,
				"the state of the older meta page %d, txid %d, is damaged as well", other, older.meta.TxID).OnPage(uint64(other), older.metaOffset()))
		} else {
			c.add(finding.New("older-meta-whole", finding.Info, db.name,
				"the state of the older meta page %d, txid %d, holds together and has %d rows; that of meta page %d, txid %d, is damaged",
				other, older.meta.TxID, alt.report.Rows, db.meta.Slot, db.meta.TxID).OnPage(uint64(other), older.metaOffset()))
		}
	}
	orphans := c.orphans()
	if n := len(orphans); n > maxOrphans {
		c.add(c.at("orphan-branch", finding.Info, orphans[maxOrphans].Page, "nothing refers to branch pages from here on, %d in number: cut off by damage, or older copies", n-maxOrphans))
		orphans = orphans[:maxOrphans]
	}
	for _, o := range orphans {
		c.add(c.at("orphan-branch", finding.Info, o.Page, "nothing refers to this branch page with keys from %s on and %d pages below it: cut off by damage, or an older copy",
			keyText(o.First), o.Children))
	}
	c.report.Complete = !c.broken
	finding.Sort(c.report.Findings)
	return c
}

// walkAll marks every page and counts them.
func (db *DB) walkAll() *checker {
	c := &checker{db: db, kinds: make([]kind, db.pages), holes: map[string][]Hole{}, clears: map[string][]Hole{}, visitor: db.visitor}
	for i := range min(firstPage, db.pages) {
		c.kinds[i] = kindMeta
	}
	free, whole := c.freelist()
	if db.rootRows.Code != "" {
		c.lose(db.rootRows)
	}
	c.bucket(db.root())
	for len(c.nested) > 0 {
		b := c.nested[len(c.nested)-1]
		c.nested = c.nested[:len(c.nested)-1]
		c.bucket(b)
	}
	c.settle()
	c.free(free, whole)
	c.count()
	return c
}

func (c *checker) add(f finding.Finding) { c.report.Findings = append(c.report.Findings, f) }

func (c *checker) lose(f finding.Finding) {
	c.broken = true
	c.add(f)
}

func (c *checker) at(code string, sev finding.Severity, id uint64, format string, args ...any) finding.Finding {
	return finding.New(code, sev, c.db.name, format, args...).OnPage(id, int64(id*c.db.pageSize))
}

func (db *DB) metaOffset() int64 { return int64(db.meta.Slot) * int64(db.pageSize) }

func (c *checker) metas() {
	db := c.db
	for i, m := range db.metas {
		if !m.Valid {
			off := finding.NoOffset
			if m.Problem != "beyond the end of the file" {
				off = i * int(db.pageSize)
			}
			c.add(finding.New("meta-invalid", finding.Warning, db.name,
				"meta page %d is not valid: %s; meta page %d is used, which may be the state one commit earlier", i, m.Problem, 1-i).OnPage(uint64(i), int64(off)))
		} else if db.metaAt[i].Code != "" {
			c.add(db.metaAt[i])
		}
	}
	if a, b := db.metas[0], db.metas[1]; a.Valid && b.Valid && a.TxID-b.TxID+1 > 2 {
		c.add(c.at("meta-txid-gap", finding.Warning, uint64(newest(db.metas)),
			"the meta pages are of transactions %d and %d, not of two in a row: they were not written as they stand here", a.TxID, b.TxID))
	} else if a.Valid && b.Valid && a.TxID == b.TxID && a.Checksum == b.Checksum {
		c.add(c.at("meta-reverted", finding.Info, 0, "both meta pages hold the state of transaction %d, as bbolt surgery leaves it when it reverts the last one", a.TxID))
	} else if a.Valid && b.Valid && a.TxID == b.TxID {
		c.add(c.at("meta-txid-gap", finding.Warning, 0, "both meta pages are of transaction %d", a.TxID))
	}
}

// length checks the end of the file and counts bytes.
func (c *checker) length() {
	db, size := c.db, uint64(len(c.db.data))
	if have := size / db.pageSize; have < db.meta.HighWater {
		c.report.Bytes.Pages = int64(size)
		f := finding.New("db-truncated", finding.Error, db.name,
			"the file has %d bytes and so %d whole pages of %d bytes, the meta page counts %d: the last %d pages are missing",
			size, have, db.pageSize, db.meta.HighWater, db.meta.HighWater-have).At(int64(size))
		if c.broken {
			f = f.Lost()
		} else {
			f.Detail += ", of which none is in use"
		}
		c.add(f)
		return
	}
	end, trailer := db.meta.HighWater*db.pageSize, uint64(len(db.Trailer()))
	c.report.Bytes = ByteCounts{Pages: int64(end), Tail: int64(size - trailer - end), Trailer: int64(trailer)}
	for tail := db.data[end : size-trailer]; len(tail) > 0; {
		block := tail[:min(len(tail), int(db.pageSize))]
		if !isZero(block) {
			c.report.Bytes.TailNonZero += int64(len(block))
		}
		tail = tail[len(block):]
	}
	if trailer > 0 && !db.TrailerOK() {
		c.add(finding.New("snapshot-hash-mismatch", finding.Error, db.name,
			"the last 32 bytes are not the sha256 of the rest: the snapshot was changed, or is incomplete").At(int64(size - trailer)))
	}
}

// bucket walks the tree of a bucket.
func (c *checker) bucket(b *Bucket) {
	var holes []Hole
	if b.odd != nil {
		c.odd(b, b.odd)
	}
	switch {
	case b.bad != nil:
		holes = b.addHole(nil, b.bad, ref{})
	case b.root == 0:
		c.rows(b, &b.inline)
	case !c.apart(b):
		holes = c.tree(nil, b, b.ref(), 0)
	}
	for _, h := range holes {
		c.lose(h.Why)
	}
	if len(holes) > 0 && c.db.buckets[b.name] != nil {
		c.holes[b.name] = holes
	}
}

// tree walks a page and all below it.
func (c *checker) tree(holes []Hole, b *Bucket, r ref, depth int) []Hole {
	p, holes, ok := c.enter(holes, b, r, depth)
	switch {
	case !ok:
	case p.leaf:
		c.rows(b, &p)
		if p.n == 0 && r.low != nil && !p.cleared() {
			c.add(c.at("page-empty", finding.Warning, r.id, "a leaf without rows, which is not the only page of %s", b))
		}
	default:
		for i := range p.n {
			holes = c.tree(holes, b, p.child(i, r.high), depth+1)
		}
	}
	return holes
}

// enter reads a page and marks it.
func (c *checker) enter(holes []Hole, b *Bucket, r ref, depth int) (page, []Hole, bool) {
	off := int64(r.id * c.db.pageSize)
	if r.id >= firstPage && r.id < uint64(len(c.kinds)) && c.kinds[r.id] != kindUnknown {
		f := &fault{"page-double-use", fmt.Sprintf("the page is in use as %s and referred to again at offset %d", c.kinds[r.id], r.at), r.id, off}
		return page{}, b.addHole(holes, f, r), false
	}
	if c.visitor != nil && r.id < c.db.pages {
		c.fetch(c.db.data[r.id*c.db.pageSize:][:c.db.pageSize])
	}
	p, f := c.db.load(r)
	if f == nil && depth >= maxDepth {
		f = &fault{"tree-too-deep", fmt.Sprintf("the page lies %d pages deep", depth), r.id, off}
	}
	if f != nil {
		if r.id >= firstPage && r.id < uint64(len(c.kinds)) {
			c.kinds[r.id] = kindUnreadable
		}
		return page{}, b.addHole(holes, f, r), false
	}
	c.kinds[r.id] = kindBranch
	if p.leaf {
		c.kinds[r.id] = kindLeaf
	}
	if p.odd != nil {
		c.odd(b, p.odd)
	}
	return p, c.extent(holes, b, &p, r), true
}

// fetch brings a page close to the processor, as many lines of it at a time as that can wait for: who looks at it here and there waits for
// each, and all of it will be read by the visitor.
func (c *checker) fetch(page []byte) {
	const line = 64
	sum := c.fetched
	for i := 0; i < len(page); i += line {
		sum += page[i]
	}
	c.fetched = sum
}

// odd reports what bbolt reads, but never writes. The rows are there, but bytes have changed, or are of another moment: which of them are as
// they were written cannot be told.
func (c *checker) odd(b *Bucket, f *fault) {
	c.lose(finding.New(f.code, finding.Error, c.db.name, "%s; %s: read as bbolt reads it, which never writes it so", f.what, b).OnPage(f.page, f.off).Lost())
}

// extent marks the overflow pages that a page needs, and looks at what lies behind its last element.
func (c *checker) extent(holes []Hole, b *Bucket, p *page, r ref) []Hole {
	size := c.db.pageSize
	need := max((uint64(p.used)+size-1)/size, 1)
	claims := p.claimed / size
	for id := r.id + 1; id < r.id+min(need, claims); id++ {
		if c.kinds[id] != kindUnknown {
			holes = b.addHole(holes, &fault{"page-double-use", fmt.Sprintf("page %d goes on here, but the page is in use elsewhere, as %s", r.id, c.kinds[id]), id, int64(id * size)}, r)
			continue
		}
		c.kinds[id] = kindOverflow
	}
	if need != claims && (need > claims || p.odd == nil) {
		from, to := r.id+min(need, claims), min(r.id+max(need, claims), uint64(len(c.kinds)))
		c.claims = append(c.claims, claim{from, to, r.id, need > claims, b.String()})
	}
	// boltdb 1.3 took one page more for elements that fill their pages exactly.
	if most := uint64(p.used)/size + 1; claims > most && p.odd == nil {
		c.add(c.at("page-overflow", finding.Warning, r.id, "the page claims %d overflow pages, its elements fill %d at most", claims-1, most-1))
	}
	if p.cleared() {
		c.clear(b, p, r)
	} else if !isZero(p.buf[p.used:min(uint64(len(p.buf)), need*size)]) {
		c.add(finding.New("page-slack", finding.Warning, c.db.name,
			"the space behind the last element is not zero: rows, or the end of the last value, may have been cut off").OnPage(r.id, p.off+int64(p.used)))
	}
	return holes
}

// clear notes that elements were cleared from a page.
func (c *checker) clear(b *Bucket, p *page, r ref) {
	low := r.low
	what := "all elements were cleared"
	if p.n > 0 {
		low, what = p.key(p.n-1), fmt.Sprintf("%d elements behind the %d that are left were cleared", p.gap/elementSize, p.n)
	}
	f := c.at("page-elements-cleared", finding.Warning, r.id, "%s, as bbolt surgery does; %s", what, b)
	c.add(f)
	if c.clears != nil && c.db.buckets[b.name] != nil {
		c.clears[b.name] = append(c.clears[b.name], Hole{Page: r.id, Pages: 1, Low: low, High: r.high, Why: f})
	}
}

// settle gives pages to those that claim them without a need, or need them without a claim, if nobody else has them.
func (c *checker) settle() {
	for _, w := range c.claims {
		for id := w.from; id < w.to; id++ {
			if k := c.kinds[id]; k == kindUnknown {
				c.kinds[id] = kindOverflow
			} else {
				what := "page %d claims to go on here, but the page is in use elsewhere, as %s; %s"
				if w.needed {
					what = "elements of page %d lie here, but the page is in use elsewhere, as %s; %s"
				}
				c.lose(c.at("page-double-use", finding.Error, id, what, w.by, k, w.in).Lost())
				break
			}
		}
		if w.needed {
			c.add(c.at("page-overflow", finding.Warning, w.by, "elements of the page lie in %d pages more than it counts, which bbolt may overwrite", w.to-w.from))
		}
	}
}

// rows counts the rows of a leaf and notes nested buckets.
func (c *checker) rows(b *Bucket, p *page) {
	nested, n := len(c.nested), p.n
	if !p.buckets && p.odd == nil && p.gap == 0 { // elements fill all behind the directory
		if n = 0; b.top && p.n > 0 {
			c.report.RowBytes += int64(p.used - pageHeaderSize - p.n*elementSize)
		}
	}
	for i := range n {
		key, value, end := p.row(i)
		size := end - key
		if p.isBucket(i) {
			size = value - key
		}
		if b.top {
			c.report.RowBytes += int64(size)
		}
		if !p.isBucket(i) {
			continue
		}
		n := c.db.open(p.buf[key:value], p.buf[value:end], p.id, p.off+int64(value))
		if !b.isRoot && len(b.name) < maxNameText {
			n.name = b.name + "/" + n.name
		}
		n.top = b.isRoot
		c.nested = append(c.nested, n)
	}
	if c.visitor != nil && p.n > 0 {
		c.visitor.Leaf(b, Leaf{*p, p == &b.inline})
	}
	if b.isRoot && p.n > 0 && len(c.nested) == nested { // a leaf of something else, which salvage may want
		c.kinds[p.id] = kindUnreadable
		return
	}
	c.report.Rows += p.n
}

// freelist reads the list of free pages, and whether it could be read.
func (c *checker) freelist() (ids []byte, whole bool) {
	db, id := c.db, c.db.meta.Freelist
	if id == noFreelist {
		return nil, false
	}
	bad := func(format string, args ...any) ([]byte, bool) {
		f := c.at("freelist-unreadable", finding.Error, id, format, args...)
		if id >= db.meta.HighWater {
			f = f.OnPage(uint64(db.meta.Slot), db.metaOffset()+pageHeaderSize+32)
		}
		c.add(f)
		return nil, false
	}
	if id < firstPage || id >= db.pages {
		return bad("the freelist is at page %d, the file has pages 2 to %d", id, db.pages-1)
	}
	off := id * db.pageSize
	head := db.data[off:][:db.pageSize]
	own, flags, count, overflow := le.Uint64(head), le.Uint16(head[8:]), uint64(le.Uint16(head[10:])), uint64(le.Uint32(head[12:]))
	switch {
	case isZero(head):
		return bad("the page of the freelist is all zero")
	case own != id || flags != flagFreelist:
		return bad("the page of the freelist says that it is page %d, of type %#x: a server stops with \"invalid freelist page\"", own, flags)
	case overflow >= db.pages-id:
		return bad("the freelist claims %d overflow pages, beyond the last page", overflow)
	}
	ids = db.data[off+pageHeaderSize : off+(overflow+1)*db.pageSize]
	if count == countMax {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return bad("the freelist claims %d pages and has room for %d", count, len(ids)/8)
	}
	for i := range overflow {
		c.kinds[id+1+i] = kindOverflow
	}
	c.kinds[id] = kindFreelist
	return ids[:count*8], true
}

// free marks the free pages: those that the freelist names or, if the file has none, all that a whole tree does not use.
func (c *checker) free(ids []byte, whole bool) {
	var used, wrong, unlisted []uint64
	if list := c.db.meta.Freelist; !whole && list >= firstPage && list < uint64(len(c.kinds)) && c.kinds[list] == kindUnknown {
		c.kinds[list] = kindUnreadable
	}
	for ; len(ids) > 0; ids = ids[8:] {
		id := le.Uint64(ids)
		switch {
		case id < firstPage || id >= c.db.meta.HighWater:
			wrong = append(wrong, id)
		case id >= c.db.pages:
		case c.kinds[id] == kindUnknown:
			c.kinds[id] = kindFree
		case c.kinds[id] == kindFree:
			wrong = append(wrong, id)
		default:
			used = append(used, id)
		}
	}
	if len(wrong) > 0 {
		c.add(c.at("freelist-order", finding.Error, c.db.meta.Freelist,
			"%d of the ids in the freelist stand there twice or are no pages: %s", len(wrong), runs(wrong)))
	}
	if len(used) > 0 {
		c.add(c.at("page-free-and-reachable", finding.Error, used[0],
			"%d pages are in use and in the freelist as well, and may be overwritten: %s", len(used), runs(used)))
	}
	for i, k := range c.kinds {
		if k != kindUnknown {
			continue
		}
		if c.db.meta.Freelist == noFreelist && !c.broken {
			c.kinds[i] = kindFree
		} else {
			unlisted = append(unlisted, uint64(i))
		}
	}
	switch {
	case len(unlisted) == 0:
	case whole && !c.broken:
		c.add(c.at("page-unreachable", finding.Warning, unlisted[0], "%d pages are neither in use nor in the freelist: %s", len(unlisted), runs(unlisted)))
	default:
		c.add(c.at("page-unreachable", finding.Info, unlisted[0],
			"%d pages are free or cut off by damage, which cannot be told: %s", len(unlisted), runs(unlisted)))
	}
}

// count turns kinds into the report's figures.
func (c *checker) count() {
	var n [kindUnreadable + 1]uint64
	for _, k := range c.kinds {
		n[k]++
	}
	c.report.Pages = PageCounts{
		Meta: n[kindMeta], Branch: n[kindBranch], Leaf: n[kindLeaf], Freelist: n[kindFreelist], Overflow: n[kindOverflow],
		Free: n[kindFree], Unreachable: n[kindUnknown], Unreadable: n[kindUnreadable] + c.db.meta.HighWater - c.db.pages,
	}
}

func (k kind) String() string {
	return [...]string{"nothing", "meta page", "branch page", "leaf page", "overflow page", "freelist", "free page", "page that cannot be read"}[k]
}

// runs lists page ids, neighbours joined, and no more than a few.
func runs(ids []uint64) string {
	var s []string
	for i := 0; i < len(ids); {
		j := i + 1
		for j < len(ids) && ids[j] == ids[j-1]+1 {
			j++
		}
		if len(s) == 8 {
			return strings.Join(s, ", ") + fmt.Sprintf(" and %d more", len(ids)-i)
		}
		if j == i+1 {
			s = append(s, fmt.Sprint(ids[i]))
		} else {
			s = append(s, fmt.Sprintf("%d-%d", ids[i], ids[j-1]))
		}
		i = j
	}
	return strings.Join(s, ", ")
}
