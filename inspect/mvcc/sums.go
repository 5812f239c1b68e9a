package mvcc

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// Noting says what a table notes of rows as they are appended, where whoever reads them has just looked at them: to come back later is to
// read the file once more.
type Noting struct {
	Sums    bool // of the rows of some revisions each, by which Apart finds where tables differ
	Digests bool // what finding rows by their key is made of, 8 bytes a row until that is first done
	Hashes  bool // the part of each page in HashKV
}

// Note makes the table, which is empty, note what n says.
func (t *Table) Note(n Noting) {
	if t.noting, t.newest = n, beforeAll; n.Sums {
		t.chunks = []chunk{{}}
	}
}

// note takes a row that is about to be appended; element is its key in the file, and its value.
func (t *Table) note(rev Revision, tombstone bool, element, value []byte) {
	if t.noting.Sums {
		t.sum(rev, element)
	}
	if t.noting.Digests {
		k := len(t.noted) - 1
		if k < 0 || len(t.noted[k]) == cap(t.noted[k]) {
			t.noted = append(t.noted, make([]digest, 0, block))
			k++
		}
		t.noted[k] = append(t.noted[k], digestOf(rev, tombstone, value, t.newest))
		t.newest = rev
	}
}

// noteMade is note of rows that are no page's.
func (t *Table) noteMade(rows []Row) {
	if t.beforeNoting(len(rows)); t.noting == (Noting{}) {
		return
	}
	var element []byte
	for i := range rows {
		element = append(rows[i].appendKey(element[:0]), rows[i].Value...)
		t.note(rows[i].Rev, rows[i].Tombstone, element, rows[i].Value)
	}
}

// beforeNoting gives up the digests if n more rows are too many.
func (t *Table) beforeNoting(n int) {
	if t.n+n > maxNoted {
		t.noting.Digests, t.noted = false, nil
	}
}

// joinNotes takes over what was noted of the rows of a table, which come behind.
func (t *Table) joinNotes(o *Table) {
	if t.beforeNoting(o.n); !o.noting.Digests {
		t.noting.Digests, t.noted = false, nil
	}
	if t.noting.Digests && o.n > 0 {
		if t.n > 0 {
			first := &o.noted[0][0]
			*first = *first&^isNext | next(o.Row(0).Rev, t.newest)
		}
		t.noted, t.newest = append(t.noted, o.noted...), o.newest
	}
	for _, c := range o.chunks {
		t.addChunk(c)
	}
}

// chunk is rows in a row, from main revision main on. Where chunks begin depends on the revisions alone, and not on how rows lie in
// pages, which is another matter on each member: rows that tables have in common make the same chunks.
type chunk struct {
	main int64
	sum  uint64 // of the hashes of the rows
}

// chunkMains is how many main revisions a chunk has, about.
const chunkMains = 64

// begins tells whether a chunk begins at a row.
func begins(rev Revision) bool {
	const odd = 0x9e3779b97f4a7c15 // any number that spreads those that follow each other
	return rev.Sub == 0 && uint64(rev.Main)*odd>>32%chunkMains == 0
}

// sum takes a row in, which comes behind those before.
func (t *Table) sum(rev Revision, element []byte) {
	c := chunk{sum: maphash.Bytes(seed, element)}
	if begins(rev) {
		c.main = rev.Main
	}
	t.addChunk(c)
}

// addChunk adds a chunk, or rows of the last one.
func (t *Table) addChunk(c chunk) {
	if last := &t.chunks[len(t.chunks)-1]; c.main <= last.main {
		last.sum += c.sum
	} else {
		t.chunks = append(t.chunks, c)
	}
}

// Span is main revisions from First to below End.
type Span struct{ First, End int64 }

// Apart returns, in order, those outside of which all tables hold the same rows, byte for byte. Rows are told apart by sums of 64 bits
// that no row can be made to fit: they are others in each process. So two parts of members that differ pass for the same once in
// 2^64. Where a table has no sums, the span is all.
func Apart(tables []*Table) []Span {
	var all []Span
	for _, t := range tables[1:] {
		all = append(all, tables[0].apart(t)...)
	}
	slices.SortFunc(all, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	joined := all[:0]
	for _, s := range all {
		if n := len(joined); n > 0 && s.First <= joined[n-1].End {
			joined[n-1].End = max(joined[n-1].End, s.End)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

func (t *Table) apart(o *Table) (spans []Span) {
	if t.chunks == nil || o.chunks == nil {
		return []Span{{0, math.MaxInt64}}
	}
	a, b := t.chunks, o.chunks
	next := func(cs []chunk) int64 {
		if len(cs) == 1 {
			return math.MaxInt64
		}
		return cs[1].main
	}
	for begin, x, y := int64(0), a[0].sum, b[0].sum; ; {
		switch m, n := next(a), next(b); {
		case m < n:
			a = a[1:]
			x += a[0].sum
		case m > n:
			b = b[1:]
			y += b[0].sum
		default:
			if x != y {
				spans = append(spans, Span{begin, m})
			}
			if m == math.MaxInt64 {
				return spans
			}
			a, b = a[1:], b[1:]
			begin, x, y = m, a[0].sum, b[0].sum
		}
	}
}
