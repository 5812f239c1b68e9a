package mvcc

import (
	"bytes"
	"hash/maphash"
	"iter"
	"maps"
	mathbits "math/bits"
	"runtime/debug"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"etcd-autopsy/inspect/scratch"
)

// links tell of each row which one before it has the same key, and of each key its last row. They take 4 bytes a row and 7
// to 13 a key, and look at a row's key again only if the hashes are nearly the same: rows lie all over the file.
type links struct {
	// like is the table whose first from rows are the same, byte for byte, nil for none; what it knows of them is not
	// repeated here.
	like *Table
	from int

	previous []int32 // of rows from on; -1 for the first row of a key

	// The keys of rows from on.
	tags  []uint8 // a part of the hash, 0 where there is no key; a power of two of them
	heads []int32

	held [3]any // the tables that hold these

	odd     bits // of rows from on
	fetched int32
	tally
}

// tally is what all rows come to.
type tally struct {
	live      int           // keys that exist after the last row
	leased    map[int64]int // how many of them carry a lease
	hasLeases bool          // any row does
}

// seed is the same for all tables, so that a digest means the same to all.
var seed = maphash.MakeSeed()

// linked makes the links, in one pass over all rows.
func (t *Table) linked() *links {
	t.link.Do(func() {
		t.links = t.newLinks(nil, 0)
		t.extend(t.links, 0, t.n)
	})
	return t.links
}

// LinkShared prepares what looking for rows by key takes, which else the first such call does for each table by itself.
// Table i shares its first shared[i] rows with the first table, byte for byte: those are looked at once.
func LinkShared(tables []*Table, shared []int) {
	first := tables[0]
	order := make([]int, 0, len(tables))
	for i := range tables[1:] {
		order = append(order, i+1)
	}
	slices.SortStableFunc(order, func(i, j int) int { return shared[i] - shared[j] })
	after := map[*Table]tally{} // of the rows that a table shares
	first.link.Do(func() {
		l, at := first.newLinks(nil, 0), 0
		for _, i := range order {
			t := tables[i]
			n := min(shared[i], first.n, t.n)
			if n < t.n/2 {
				continue // little is gained
			}
			first.extend(l, at, n)
			at = n
			after[t] = l.tally
			l.leased = maps.Clone(l.leased)
		}
		first.extend(l, at, first.n)
		first.links = l
	})
	for _, i := range order {
		t := tables[i]
		if so, ok := after[t]; ok {
			t.link.Do(func() {
				t.links = t.newLinks(first, min(shared[i], first.n, t.n))
				t.links.tally = so
				t.links.leased = maps.Clone(so.leased)
				t.extend(t.links, t.links.from, t.n)
			})
		}
	}
}

// SharesWith tells whether LinkShared found that t shares most of its rows with the first table o.
func (t *Table) SharesWith(o *Table) bool { return t.linked().like == o }

func (t *Table) newLinks(like *Table, from int) *links {
	n := t.n - from
	size := 64
	for size*3 < n*4 {
		size *= 2
	}
	previous, tags, heads := scratch.New[int32](t.tmp, n), scratch.New[uint8](t.tmp, size), scratch.New[int32](t.tmp, size)
	return &links{
		like: like, from: from, previous: previous.Cells, tags: tags.Cells, heads: heads.Cells, held: [3]any{previous, tags, heads},
		odd: newBits(n), tally: tally{leased: map[int64]int{}},
	}
}

// digest is a hash of a row's key, and two bits.
type digest uint64

const (
	isPlain     digest = 1 << iota // a put of a key that was not there before, by what the row says, without a lease
	isNext                         // comes directly behind the row before
	digestFlags = isPlain | isNext
)

// maxNoted is the number of rows up to which digests are noted, 8 bytes a row; else they are made when they are asked for.
const maxNoted = 4 << 20

func (c *Cursor) digest() digest {
	return digestOf(c.Row.Rev, c.Row.Tombstone, c.Row.Value, c.before)
}

func next(rev, before Revision) digest {
	if rev.follows(before) {
		return isNext
	}
	return 0
}

func digestOf(rev Revision, tombstone bool, value []byte, before Revision) digest {
	key, end := firstKey(value)
	d := digest(maphash.Bytes(seed, key))&^digestFlags | next(rev, before)
	if !tombstone && len(key) > 0 && isFirstPut(value, end, rev.Main) {
		d |= isPlain
	}
	return d
}

// firstKey is Key, and where the field behind it begins, 0 if the key does not come first.
func firstKey(value []byte) (key []byte, end int) {
	if len(value) < 2 || value[0] != fieldKey<<3|byte(protowire.BytesType) {
		return Key(value), 0
	}
	key, n := protowire.ConsumeBytes(value[1:])
	return key, 1 + max(n, 0)
}

// isFirstPut tells whether a value says that its key was made by a put at main revision main, without a lease; the field behind its key begins at n.
func isFirstPut(value []byte, n int, main int64) bool {
	for _, f := range [...]struct {
		tag  byte
		want int64
	}{{fieldCreateRevision << 3, main}, {fieldModRevision << 3, main}, {fieldVersion << 3, 1}} {
		if n == 0 || n >= len(value) || value[n] != f.tag {
			return decodesAsFirstPut(value, main)
		}
		v, k := protowire.ConsumeVarint(value[n+1:])
		if n += 1 + k; k < 0 || int64(v) != f.want {
			return decodesAsFirstPut(value, main)
		}
	}
	// As every version of etcd writes it, the value comes last then.
	if n < len(value) && value[n] == fieldValue<<3|byte(protowire.BytesType) {
		if size, k := protowire.ConsumeVarint(value[n+1:]); k > 0 && size == uint64(len(value)-n-1-k) {
			return true
		}
	}
	return decodesAsFirstPut(value, main)
}

func decodesAsFirstPut(value []byte, main int64) bool {
	var kv KeyValue
	return kv.Decode(value) == nil && len(kv.Key) > 0 && kv.Lease == 0 && kv.Mod == main && kv.Create == main && kv.Version == 1
}

// digests are those of rows lo to hi-1.
func (t *Table) digests(lo, hi int) []digest {
	to := make([]digest, 0, hi-lo)
	for c := t.Cursor(lo, hi); c.Next(); {
		to = append(to, c.digest())
	}
	return to
}

// follows tells whether r comes directly behind o.
func (r Revision) follows(o Revision) bool {
	return r.Main == o.Main && r.Sub == o.Sub+1 || r.Main == o.Main+1 && r.Sub == 0
}

// block is how many digests are made, or kept, at a time.
const block = 1 << 13

// ahead makes the digests of rows lo to hi-1 in blocks, while the ones before are used. Where the file cannot be read any
// more it ends early: who goes on by himself will meet that where it is dealt with.
func (t *Table) ahead(lo, hi int) <-chan []digest {
	blocks := make(chan []digest, 4)
	go func() {
		defer close(blocks)
		debug.SetPanicOnFault(true)
		defer func() { _ = recover() }()
		for ; lo < hi; lo += block {
			blocks <- t.digests(lo, min(lo+block, hi))
		}
	}()
	return blocks
}

// takeNoted is what was noted of rows from lo on, up to n, and forgets it; nil if nothing was.
func (t *Table) takeNoted(lo, n int) []digest {
	for len(t.noted) > 0 && lo >= t.taken {
		ds := t.noted[0]
		if skip := min(lo-t.taken, len(ds)); skip > 0 {
			ds = ds[skip:]
			t.taken += skip
		}
		ds, t.noted[0] = ds[:min(n, len(ds))], ds[min(n, len(ds)):]
		if t.taken += len(ds); len(t.noted[0]) == 0 {
			t.noted = t.noted[1:]
		}
		if len(ds) > 0 {
			return ds
		}
	}
	return nil
}

// extend takes rows lo to hi-1 in, behind those before.
func (t *Table) extend(l *links, lo, hi int) {
	var blocks <-chan []digest
	if len(t.noted) == 0 && hi-lo > 2*block {
		blocks = t.ahead(lo, hi)
	}
	for lo < hi {
		ds := t.takeNoted(lo, hi-lo)
		if blocks != nil {
			ds = <-blocks
		}
		if len(ds) == 0 {
			ds = t.digests(lo, min(lo+block, hi))
		}
		for group := range slices.Chunk(ds, fetchTogether) {
			l.fetch(group)
			for _, d := range group {
				t.add(l, lo, d)
				lo++
			}
		}
	}
}

// fetchTogether is how many slots are brought close to the processor at a time.
const fetchTogether = 32

// fetch brings the slots where keys are looked for first close to the processor, all at a time: they lie anywhere, and who looks at one after the
// other waits for each.
func (l *links) fetch(ds []digest) {
	sum := l.fetched
	for _, d := range ds {
		at, _ := l.slot(d)
		sum += int32(l.tags[at]) + l.heads[at]
	}
	l.fetched = sum
}

// add takes one row in.
func (t *Table) add(l *links, i int, d digest) {
	if d&isNext == 0 {
		l.odd.set(i - l.from)
	}
	at, tag := l.slot(d)
	previous := -1
	if l.like != nil || l.tags[at] != 0 {
		at, previous = t.probe(l, func() []byte { return t.Row(i).Key() }, d)
	}
	l.previous[i-l.from], l.tags[at], l.heads[at] = int32(previous), tag, int32(i)
	if previous < 0 && d&isPlain != 0 {
		l.live++
		return
	}
	t.count(l, i, previous)
}

// slot is where a key is looked for first.
func (l *links) slot(d digest) (at int, tag uint8) {
	return int(d>>2) & (len(l.tags) - 1), uint8(d>>56) | 1
}

// probe finds the slot of a key, which it asks for where another may be the same, or the free one where it belongs, and the key's last row, -1 if there is none.
func (t *Table) probe(l *links, key func() []byte, d digest) (at, last int) {
	at, tag := l.slot(d)
	for ; l.tags[at] != 0; at = (at + 1) & (len(l.tags) - 1) {
		if l.tags[at] == tag {
			if r := t.Row(int(l.heads[at])); bytes.Equal(r.Key(), key()) {
				return at, int(l.heads[at])
			}
		}
	}
	if l.like == nil {
		return at, -1
	}
	last = l.like.last(key, d)
	for last >= l.from {
		last = l.like.Previous(last)
	}
	return at, last
}

// count adds a row that is not the first one of its key, or is unusual, to the tally.
func (t *Table) count(l *links, i, previous int) {
	var kv, before KeyValue
	r := t.Row(i)
	if kv.Decode(r.Value) != nil || len(kv.Key) == 0 {
		kv = KeyValue{}
		l.odd.set(i - l.from)
	}
	gone := true // before this row
	if previous >= 0 {
		p := t.Row(previous)
		if gone = p.Tombstone || p.Bump(); !gone {
			l.live--
			if before.Decode(p.Value) != nil {
				l.odd.set(i - l.from)
			} else if before.Lease != 0 {
				if l.leased[before.Lease]--; l.leased[before.Lease] == 0 {
					delete(l.leased, before.Lease)
				}
			}
		} else if len(p.Key()) == 0 {
			l.odd.set(i - l.from)
		}
	}
	if r.Tombstone || r.Bump() {
		return
	}
	l.live++
	if kv.Lease != 0 {
		l.hasLeases = true
		l.leased[kv.Lease]++
	}
	want := KeyValue{Create: r.Rev.Main, Version: 1}
	if !gone {
		want = KeyValue{Create: before.Create, Version: before.Version + 1}
	}
	if kv.Mod != r.Rev.Main || kv.Create != want.Create || kv.Version != want.Version {
		l.odd.set(i - l.from)
	}
}

// Previous returns the index of the row before row i that has the same key, -1 if there is none.
func (t *Table) Previous(i int) int {
	l := t.linked()
	if i < l.from {
		return l.like.Previous(i)
	}
	return int(l.previous[i-l.from])
}

// LastOf returns the index of the last row of a key, -1 if there is none.
func (t *Table) LastOf(key []byte) int {
	return t.last(func() []byte { return key }, digest(maphash.Bytes(seed, key)))
}

func (t *Table) last(key func() []byte, d digest) int {
	_, last := t.probe(t.linked(), key, d)
	return last
}

// RowAt returns the index of the row that is a key's at the end of main revision main, a tombstone included, -1 if there is
// none.
func (t *Table) RowAt(key []byte, main int64) int {
	n := t.LastOf(key)
	for n >= 0 && t.Row(n).Rev.Main > main {
		n = t.Previous(n)
	}
	return n
}

// At returns a key's value as of the end of main revision main. ok is false if the key did not exist then.
func (t *Table) At(key []byte, main int64) (kv KeyValue, row Row, ok bool) {
	n := t.RowAt(key, main)
	if n < 0 {
		return KeyValue{}, Row{}, false
	}
	if row = t.Row(n); row.Tombstone || kv.Decode(row.Value) != nil {
		return KeyValue{}, Row{}, false
	}
	return kv, row, true
}

// Latest yields, of the rows with an index below end, the last one of each key, a tombstone included, in order.
func (t *Table) Latest(end int) iter.Seq2[int, Row] {
	over := t.superseded(end, end)
	return func(yield func(int, Row) bool) {
		for c := t.Cursor(0, end); c.Next(); {
			if !over.has(c.Index) && !yield(c.Index, c.Row) {
				return
			}
		}
	}
}

// superseded tells which of the first split rows have a later one of the same key below end.
func (t *Table) superseded(split, end int) bits {
	over := newBits(split)
	t.mark(over, split, end)
	return over
}

func (t *Table) mark(over bits, split, end int) {
	l := t.linked()
	if l.like != nil {
		l.like.mark(over, split, min(l.from, end))
	}
	for _, previous := range l.previous[:max(end-l.from, 0)] {
		if previous >= 0 && int(previous) < split {
			over.set(int(previous))
		}
	}
}

// Odd yields the indexes of rows that do not follow from those before: that cannot be decoded, that skip a revision, or
// whose fields do not go on from the row before of their key. Where nothing was compacted, lost or changed, none is.
func (t *Table) Odd() iter.Seq[int] {
	return func(yield func(int) bool) {
		l := t.linked()
		if l.like != nil {
			for i := range l.like.Odd() {
				if i >= l.from {
					break
				}
				if !yield(i) {
					return
				}
			}
		}
		for w, word := range l.odd {
			for ; word != 0; word &= word - 1 {
				if !yield(l.from + w*64 + mathbits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// CountLive is the number of keys that exist after the last row.
func (t *Table) CountLive() int { return t.linked().live }

// HasLeases tells whether any row carries a lease.
func (t *Table) HasLeases() bool { return t.linked().hasLeases }

// LeasedKeys counts the live keys of each lease after the last row. It must not be modified.
func (t *Table) LeasedKeys() map[int64]int { return t.linked().leased }
