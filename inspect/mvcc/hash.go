package mvcc

import (
	"hash/crc32"
	"slices"

	"etcd-autopsy/inspect/bolt"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV is the hash of the keyspace up to revision rev as a server with compact revision compact answers it
// (server/storage/mvcc/hash.go, unchanged in effect since HashKV came with 3.3): CRC32C over the bucket's name and the
// raw rows. Rows at or below the compact revision count only where they are the newest of their key up to rev and not
// a tombstone, so that the hash does not depend on how far a compaction has come. compact is 0 if there was none.
func (t *Table) HashKV(rev, compact int64) uint32 {
	h := t.hasher(rev, compact)
	sum, _ := h.update(h.begin(), 0, h.end)
	return sum
}

// CRC takes all rows as they stand in the file into a CRC32C.
func (t *Table) CRC(sum uint32) uint32 {
	sum, _ = (&hasher{t: t}).update(sum, 0, t.n)
	return sum
}

// HashKVApart is HashKV of rows that are taken in parts, by as many functions, which together runs at the same time and
// waits for.
func (t *Table) HashKVApart(rev, compact int64, parts int, together func(fs []func())) uint32 {
	h := t.hasher(rev, compact)
	sums, lens, fs := make([]uint32, parts), make([]int64, parts), make([]func(), parts)
	for i := range fs {
		fs[i] = func() { sums[i], lens[i] = h.update(0, i*h.end/parts, (i+1)*h.end/parts) }
	}
	together(fs)
	sum := h.begin()
	for i := range sums {
		sum = join(sum, sums[i], lens[i])
	}
	return sum
}

// join is the CRC of bytes with CRC a and n bytes with CRC b behind them.
func join(a, b uint32, n int64) uint32 { return multiply(shiftBy(n), a) ^ b }

// shiftBy is x^8n: n zero bytes behind others multiply their CRC by it.
func shiftBy(n int64) uint32 {
	const one = 1 << 31                         // x^0, as bits are reflected
	shift, power := uint32(one), uint32(one>>8) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			shift = multiply(shift, power)
		}
		power = multiply(power, power)
	}
	return shift
}

// multiply multiplies two polynomials modulo that of CRC32C.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}

// HashKVs is HashKV of several tables, each at its own revision. Table i shares its first shared[i] rows with the first
// table, byte for byte: those are looked at once, if they count alike. spawn runs a function, maybe at the same time as
// others; the hashes are there when the last of them is done.
func HashKVs(tables []*Table, shared []int, rev, compact []int64, spawn func(func())) []uint32 {
	sums := make([]uint32, len(tables))
	hs := make([]*hasher, len(tables))
	for i, t := range tables {
		hs[i] = t.hasher(rev[i], compact[i])
	}
	first, at := hs[0].begin(), 0
	order := make([]int, 0, len(tables))
	for i := range tables[1:] {
		order = append(order, i+1)
	}
	slices.SortStableFunc(order, func(i, j int) int { return shared[i] - shared[j] })
	for _, i := range order {
		from, n := hs[i].begin(), min(shared[i], hs[i].end, hs[0].end)
		if n < at || !hs[i].alike(hs[0], n) {
			n = 0
		} else {
			first, _ = hs[0].update(first, at, n)
			from, at = first, n
		}
		spawn(func() { sums[i], _ = hs[i].update(from, n, hs[i].end) })
	}
	sums[0], _ = hs[0].update(first, at, hs[0].end)
	return sums
}

// hasher knows which rows count.
type hasher struct {
	t          *Table
	split, end int // rows below split are those up to the compact revision
	compact    int64
	over       bits // of those below split: there is a later row of the key
	indexed    bool // any key exists
}

func (t *Table) hasher(rev, compact int64) *hasher {
	h := &hasher{t: t, compact: compact, end: t.Lower(rev + 1)}
	if h.split = min(t.Lower(compact+1), h.end); h.split > 0 {
		h.over, h.indexed = t.superseded(h.split, h.end), t.anyLive(h.end)
	}
	return h
}

// alike tells whether the first n rows, if they are the same, count alike.
func (h *hasher) alike(o *hasher, n int) bool {
	if h.compact != o.compact || h.indexed != o.indexed || min(h.split, n) != min(o.split, n) {
		return false
	}
	for i := range min(h.split, n) {
		if h.over.has(i) != o.over.has(i) {
			return false
		}
	}
	return true
}

func (*hasher) begin() uint32 { return crc32.Update(0, castagnoli, []byte("key")) }

// update takes rows lo to hi-1 in, which are n bytes: those of a page as they were noted, if all of them count.
func (h *hasher) update(sum uint32, lo, hi int) (_ uint32, n int64) {
	if lo >= hi {
		return sum, 0
	}
	shifts := map[uint32]uint32{} // of pages there are few sizes
	for k := h.t.partOf(lo); lo < hi; k++ {
		end, p := min(h.t.end(k), hi), &h.t.parts[k]
		if lo > int(p.from) || end < h.t.end(k) || !h.allCount(k) {
			var more int64
			sum, more = h.rows(sum, lo, end)
			n += more
		} else {
			size := p.bytes &^ hasTombstone
			shift, ok := shifts[size]
			if !ok {
				shift = shiftBy(int64(size))
				shifts[size] = shift
			}
			sum = multiply(shift, sum) ^ p.crc
			n += int64(size)
		}
		lo = end
	}
	return sum, n
}

// allCount tells whether all rows of a part count, and their CRC is known.
func (h *hasher) allCount(k int) bool {
	p := &h.t.parts[k]
	if p.bytes == 0 || int(p.from) < h.split && p.bytes&hasTombstone != 0 {
		return false
	}
	for i := int(p.from); h.indexed && i < min(h.t.end(k), h.split); i++ {
		if h.over.has(i) {
			return false
		}
	}
	return true
}

// rows takes rows lo to hi-1 in one by one.
func (h *hasher) rows(sum uint32, lo, hi int) (_ uint32, n int64) {
	var key [TombstoneLen]byte
	for c := h.t.Cursor(lo, hi); c.Next(); {
		r := &c.Row
		if c.Index < h.split {
			// A server whose index keeps nothing skips nothing.
			if h.indexed && (h.over.has(c.Index) || r.Tombstone) {
				continue
			}
			if r.Tombstone && r.Rev.Main == h.compact {
				continue
			}
		}
		k := r.appendKey(key[:0])
		sum = crc32.Update(sum, castagnoli, k)
		sum = crc32.Update(sum, castagnoli, r.Value)
		n += int64(len(k) + len(r.Value))
	}
	return sum, n
}

// packed is the CRC of the rows of a page, without its beginning, and how many bytes they are: none if that is not known.
type packed struct {
	crc   uint32
	bytes uint32 // and hasTombstone
}

const hasTombstone = 1 << 31

// pack makes it of rows that lie one behind the other, as bbolt writes them. There may be tombstones among them.
func pack(l *bolt.Leaf, tombstones bool) packed {
	b := l.Elements()
	if len(b) == 0 || len(b) >= hasTombstone {
		return packed{}
	}
	p := packed{crc32.Update(0, castagnoli, b), uint32(len(b))}
	if tombstones {
		p.bytes |= hasTombstone
	}
	return p
}

// anyLive tells whether any key exists after row end-1.
func (t *Table) anyLive(end int) bool {
	for _, r := range t.Latest(end) {
		if !r.Tombstone {
			return true
		}
	}
	return false
}
