package bolt

import (
	"bytes"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"etcd-autopsy/inspect/finding"
)

// file is a good file to be damaged, with the places that the damage is done to.
type file struct {
	data       []byte
	size       int // of a page
	slot       int // meta page in use
	high       int
	root, list int   // pages of the bucket of buckets and of the freelist
	branch     int   // root page of bucket "key"
	leaves     []int // its other pages
	free       int   // a free page
}

func (f *file) page(id int) []byte { return f.data[id*f.size:][:f.size] }
func (f *file) meta() []byte       { return f.page(f.slot)[pageHeaderSize:][:metaSize] }
func (f *file) elem(id, i int) []byte {
	return f.page(id)[pageHeaderSize+i*elementSize:][:elementSize]
}

func put16(b []byte, v uint16) { le.PutUint16(b, v) }
func put32(b []byte, v uint32) { le.PutUint32(b, v) }
func put64(b []byte, v uint64) { le.PutUint64(b, v) }

// sign makes a meta page's checksum right again.
func sign(meta []byte) {
	sum := fnv.New64a()
	sum.Write(meta[:metaSumOffset])
	put64(meta[metaSumOffset:], sum.Sum64())
}

// key returns the key of an element in a page of f.
func (f *file) key(id, i int) []byte {
	e, at := f.elem(id, i), pageHeaderSize+i*elementSize
	if le.Uint16(f.page(id)[8:]) == flagBranch {
		return f.page(id)[at+int(le.Uint32(e)):][:le.Uint32(e[4:])]
	}
	return f.page(id)[at+int(le.Uint32(e[4:])):][:le.Uint32(e[8:])]
}

// newFile makes a file with bucket "key" of n rows under one branch page, an inline bucket "meta" and free pages.
func newFile(t testing.TB, n, size int, noFreelist bool) *file {
	data := build(t, bbolt.Options{PageSize: size, NoFreelistSync: noFreelist}, fill("key", n, revKey, fixed(30)), fill("meta", 3, revKey, fixed(8)), fill("key", n, revKey, fixed(31)))
	db := open(t, data)
	f := &file{data: data, size: size, slot: db.Meta().Slot, high: int(db.Meta().HighWater), root: int(db.Meta().Root), list: int(db.Meta().Freelist), branch: int(db.Bucket("key").root)}
	for r := db.Bucket("key").Rows(); r.Next(); {
		if l := len(f.leaves); l == 0 || f.leaves[l-1] != int(r.Page()) {
			f.leaves = append(f.leaves, int(r.Page()))
		}
	}
	f.free = slices.Index(db.check().kinds, kindFree)
	return f
}

func TestDamage(t *testing.T) {
	good := newFile(t, 1000, 4096, false)
	if len(good.leaves) < 10 || good.free < 2 {
		t.Fatalf("the file has not the shape that is needed: %+v", good)
	}
	unlisted := newFile(t, 1000, 4096, true)
	all := len(collect(open(t, good.data).Bucket("key").Rows()))
	perLeaf := 0
	for r := open(t, good.data).Bucket("key").Rows(); r.Next(); {
		if r.Page() == uint64(good.leaves[5]) {
			perLeaf++
		}
	}

	for _, c := range []struct {
		name   string
		mutate func(f *file)
		want   []string // codes but info
		lost   int      // rows of bucket "key"
	}{
		{"nothing", func(f *file) {}, nil, 0},
		{"meta in use", func(f *file) { f.meta()[30]++ }, []string{"meta-invalid"}, 0},
		{"other meta", func(f *file) { f.page(1 - f.slot)[30]++ }, []string{"meta-invalid"}, 0},
		{"first page zero", func(f *file) { clear(f.page(0)) }, []string{"meta-invalid"}, 0},
		{"second page zero", func(f *file) { clear(f.page(1)) }, []string{"meta-invalid"}, 0},
		{"meta header", func(f *file) { f.page(1)[8] = flagLeaf }, []string{"meta-header"}, 0},
		{"txids apart", func(f *file) { put64(f.meta()[48:], le.Uint64(f.meta()[48:])+8); sign(f.meta()) }, []string{"meta-txid-gap"}, 0},
		{"txids equal", func(f *file) {
			put64(f.meta()[48:], 0)
			put64(f.page(1 - f.slot)[64:], 0)
			sign(f.meta())
			sign(f.page(1 - f.slot)[16:][:64])
		}, []string{"meta-txid-gap"}, -1},
		{"high water impossible", func(f *file) { put64(f.meta()[40:], 1<<63+5); sign(f.meta()) }, []string{"meta-invalid"}, 0},
		{"high water huge", func(f *file) { put64(f.meta()[40:], 1<<40); sign(f.meta()) }, []string{"db-truncated", "page-unreachable"}, 0},
		{"root at meta page", func(f *file) { put64(f.meta()[16:], 1); sign(f.meta()) }, []string{"meta-invalid"}, 0},
		{"leaf as root", func(f *file) { put64(f.meta()[16:], uint64(f.leaves[3])); sign(f.meta()) }, []string{"root-row"}, all},
		{"page id", func(f *file) { f.page(f.leaves[5])[0] ^= 0xFF }, []string{"page-id-mismatch"}, perLeaf},
		{"page type", func(f *file) { f.page(f.leaves[5])[8] = 0x40 }, []string{"page-type"}, perLeaf},
		{"page of a freelist", func(f *file) { f.page(f.leaves[5])[8] = flagFreelist }, []string{"page-type"}, perLeaf},
		{"page zero", func(f *file) { clear(f.page(f.leaves[5])) }, []string{"page-zero"}, perLeaf},
		{"two pages zero", func(f *file) { clear(f.page(f.leaves[5])); clear(f.page(f.leaves[6])) }, []string{"page-zero"}, 2 * perLeaf},
		{"count low", func(f *file) { f.page(f.leaves[5])[10]-- }, []string{"page-elements-cleared"}, 1},
		{"count zero", func(f *file) { put16(f.page(f.leaves[5])[10:], 0) }, []string{"page-elements-cleared"}, perLeaf},
		{"count huge", func(f *file) { put16(f.page(f.leaves[5])[10:], 0xFFFF) }, []string{"page-element-bounds"}, perLeaf},
		{"overflow huge", func(f *file) { put32(f.page(f.leaves[5])[12:], 1<<32-1) }, []string{"page-out-of-bounds"}, 0},
		{"overflow one", func(f *file) { slices.Sort(f.leaves); f.page(f.leaves[5])[12] = 2 }, []string{"page-double-use", "page-overflow"}, -1},
		{"leaf flags", func(f *file) { f.elem(f.leaves[5], 2)[0] = 4 }, []string{"page-element-flags"}, 0},
		{"row as bucket", func(f *file) { f.elem(f.leaves[5], 2)[0] = bucketFlag }, []string{"bucket-header"}, -1},
		{"position", func(f *file) { f.elem(f.leaves[5], 2)[4]++ }, []string{"page-key-order"}, perLeaf},
		{"value shorter", func(f *file) { f.elem(f.leaves[5], 2)[12]-- }, []string{"page-element-bounds"}, 0},
		{"value longer", func(f *file) { f.elem(f.leaves[5], 2)[12]++ }, []string{"page-element-bounds"}, perLeaf},
		{"key size", func(f *file) { f.elem(f.leaves[5], 2)[8]++ }, []string{"page-element-bounds"}, perLeaf},
		{"key size zero", func(f *file) { f.elem(f.leaves[5], 2)[8] = 0 }, []string{"page-key-order"}, perLeaf},
		{"value size", func(f *file) { put32(f.elem(f.leaves[5], 2)[12:], 1<<31) }, []string{"page-element-bounds"}, perLeaf},
		{"last value shorter", func(f *file) { f.elem(f.leaves[5], perLeaf-1)[12]-- }, []string{"page-slack"}, 0},
		{"keys swapped", func(f *file) { k := f.key(f.leaves[5], 2); n := f.key(f.leaves[5], 3); k[7], n[7] = n[7], k[7] }, []string{"page-key-order"}, perLeaf},
		{"first key low", func(f *file) { f.key(f.leaves[5], 0)[0] = 0; put64(f.key(f.leaves[5], 0), 0) }, []string{"page-key-range"}, perLeaf},
		{"last key high", func(f *file) { f.key(f.leaves[5], perLeaf-1)[0] = 0xFF }, []string{"page-key-range"}, perLeaf},
		{"leaf of elsewhere", func(f *file) { copy(f.page(f.leaves[5])[8:], f.page(f.leaves[7])[8:]) }, []string{"page-key-range"}, perLeaf},
		{"leaves swapped", func(f *file) {
			a, b := f.elem(f.branch, 4)[8:], f.elem(f.branch, 5)[8:]
			put64(a, uint64(f.leaves[5]))
			put64(b, uint64(f.leaves[4]))
		}, []string{"page-key-range"}, 2 * perLeaf},
		{"pointer beyond", func(f *file) { put64(f.elem(f.branch, 5)[8:], 1<<40) }, []string{"page-out-of-bounds"}, perLeaf},
		{"pointer to meta", func(f *file) { put64(f.elem(f.branch, 5)[8:], 1) }, []string{"page-out-of-bounds"}, perLeaf},
		{"pointer to itself", func(f *file) { put64(f.elem(f.branch, 5)[8:], uint64(f.branch)) }, []string{"page-double-use"}, perLeaf},
		{"pointer to the leaf before", func(f *file) { put64(f.elem(f.branch, 5)[8:], uint64(f.leaves[4])) }, []string{"page-double-use"}, perLeaf},
		{"branch key", func(f *file) { k := f.key(f.branch, 5); put64(k, be64(k)); put64(k, 0) }, []string{"page-key-order"}, all},
		{"branch zero", func(f *file) { clear(f.page(f.branch)) }, []string{"page-zero"}, all},
		{"root zero", func(f *file) { clear(f.page(f.root)) }, []string{"page-zero"}, all},
		{"bucket's root", func(f *file) { put64(f.page(f.root)[bytes.Index(f.page(f.root), []byte("key"))+3:], 1<<50) }, []string{"page-out-of-bounds"}, all},
		{"bucket flag", func(f *file) { f.elem(f.root, 0)[0] = 0 }, []string{"root-row"}, all},
		{"inline page", func(f *file) { f.page(f.root)[bytes.Index(f.page(f.root), []byte("meta"))+4+16+8]++ }, []string{"page-type"}, 0},
		{"freelist type", func(f *file) { f.page(f.list)[8]++ }, []string{"freelist-unreadable"}, 0},
		{"freelist count", func(f *file) { put16(f.page(f.list)[10:], 0xFFF0) }, []string{"freelist-unreadable"}, 0},
		{"freelist long count", func(f *file) { put16(f.page(f.list)[10:], 0xFFFF) }, []string{"page-unreachable"}, 0},
		{"freelist unordered", func(f *file) {
			ids := f.page(f.list)[16:]
			a, b := le.Uint64(ids), le.Uint64(ids[8:])
			put64(ids, b)
			put64(ids[8:], a)
		}, nil, 0},
		{"freelist is the root", func(f *file) { put64(f.meta()[32:], uint64(f.root)); sign(f.meta()) }, []string{"freelist-unreadable"}, 0},
		{"freelist is a leaf", func(f *file) { put64(f.meta()[32:], uint64(f.leaves[5])); sign(f.meta()) }, []string{"freelist-unreadable"}, 0},
		{"freelist short", func(f *file) { f.page(f.list)[10]-- }, []string{"page-unreachable"}, 0},
		{"freelist with a page in use", func(f *file) { put64(f.page(f.list)[16+8*int(f.page(f.list)[10])-8:], uint64(f.high-1)) }, nil, -1},
		{"freelist id beyond", func(f *file) { put64(f.page(f.list)[16+8*int(f.page(f.list)[10])-8:], 1<<60) }, []string{"freelist-order", "page-unreachable"}, 0},
		{"freelist page", func(f *file) { put64(f.meta()[32:], 1<<60); sign(f.meta()) }, []string{"freelist-unreadable"}, 0},
		{"a leaf freed", func(f *file) { put16(f.page(f.list)[10:], 1); put64(f.page(f.list)[16:], uint64(f.leaves[5])) }, []string{"page-free-and-reachable", "page-unreachable"}, 0},
		{"free page zero", func(f *file) { clear(f.page(f.free)) }, nil, 0},
		{"one byte short", func(f *file) { f.data = f.data[:f.high*f.size-1] }, nil, -1},
		{"half", func(f *file) { f.data = f.data[:f.high/2*f.size] }, nil, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := *good
			f.data, f.leaves = slices.Clone(good.data), slices.Clone(good.leaves)
			c.mutate(&f)
			db := open(t, f.data)
			r := db.Check()
			checkSums(t, db, r)
			if got := codes(r.Findings, false); c.lost >= 0 && !slices.Equal(got, c.want) {
				t.Errorf("codes %q, not %q: %v", got, c.want, r.Findings)
			} else if c.lost < 0 && (len(got) == 0 || c.want != nil && !slices.Equal(got, c.want)) {
				t.Errorf("codes %q: %v", got, r.Findings)
			}
			rows := 0
			if b := db.Bucket("key"); b != nil {
				walk := b.Rows()
				rows = len(collect(walk))
				if (walk.Err() != nil) != (len(walk.Damage()) > 0) || rows+perLeaf*2 < all && walk.Err() == nil {
					t.Errorf("%d rows, error %v, holes %v", rows, walk.Err(), walk.Damage())
				}
			}
			if c.lost >= 0 && rows != all-c.lost {
				t.Errorf("%d of %d rows, not %d", rows, all, all-c.lost)
			}
			if cleared := slices.Contains(c.want, "page-elements-cleared"); cleared != (len(db.Cleared("key")) > 0) || cleared && !r.Complete {
				t.Errorf("cleared: %v", db.Cleared("key"))
			} else if c.lost > 0 && !cleared && (r.Complete || !slices.ContainsFunc(r.Findings, func(f finding.Finding) bool { return f.Unreadable })) {
				t.Errorf("nothing is said to be lost: %v", r.Findings)
			}
			odd := slices.ContainsFunc(r.Findings, func(f finding.Finding) bool {
				return f.Page == int64(good.leaves[5]) && strings.HasSuffix(f.Detail, "read as bbolt reads it, which never writes it so")
			})
			if want := slices.Contains([]string{"value shorter", "leaf flags", "overflow huge"}, c.name); odd != want {
				t.Errorf("that bbolt never writes it so is said: %v, not %v: %v", odd, want, r.Findings)
			}
			for _, g := range r.Findings {
				if g.Offset < 0 && g.Page < 0 || g.Page >= 0 && g.Offset < 0 {
					t.Errorf("finding %s without a place: %s", g.Code, g)
				}
			}
		})
	}

	t.Run("newest state lost", func(t *testing.T) {
		f := *unlisted
		f.data = slices.Clone(f.data)
		clear(f.page(f.branch))
		r := open(t, f.data).Check()
		if got := codes(r.Findings, true); !slices.Equal(got, []string{"older-meta-whole", "orphan-branch", "page-unreachable", "page-zero"}) {
			t.Errorf("codes %q: %v", got, r.Findings)
		}
	})
}

func isRev(k []byte) bool { return len(k) == revKeyLen && k[8] == '_' }

// TestSalvage finds the rows of damaged and lost pages.
func TestSalvage(t *testing.T) {
	good := newFile(t, 1000, 4096, false)
	want := map[string]string{}
	var leaf []string // keys of one leaf
	for r := open(t, good.data).Bucket("key").Rows(); r.Next(); {
		want[string(r.Key())] = string(r.Value())
		if r.Page() == uint64(good.leaves[5]) {
			leaf = append(leaf, string(r.Key()))
		}
	}
	for _, c := range []struct {
		name   string
		mutate func(f *file)
		keys   int // of the leaf that are found in its place
	}{
		{"header", func(f *file) { put64(f.page(f.leaves[5]), 99); f.page(f.leaves[5])[8] = 0x40 }, len(leaf)},
		{"one size", func(f *file) { f.elem(f.leaves[5], 9)[12]++ }, len(leaf) - 2},
		{"one key", func(f *file) { f.key(f.leaves[5], 9)[0] = 0xFF }, len(leaf) - 2},
		{"zero", func(f *file) { clear(f.page(f.leaves[5])) }, 0},
		{"branch", func(f *file) { clear(f.page(f.branch)) }, len(leaf)},
		{"root", func(f *file) { clear(f.page(f.root)) }, len(leaf)},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := *good
			f.data = slices.Clone(f.data)
			c.mutate(&f)
			db, found := open(t, f.data), 0
			for _, p := range db.Salvage(isRev) {
				if p.Page != uint64(good.leaves[5]) {
					continue
				}
				for _, row := range p.Rows {
					if found++; want[string(row.Key)] != string(row.Value) {
						t.Errorf("%s is not what it was", keyText(row.Key))
					}
				}
			}
			if found != c.keys {
				t.Errorf("%d rows, not %d", found, c.keys)
			}
			if c.name == "root" {
				i := slices.IndexFunc(db.check().orphans(), func(o Orphan) bool { return o.Page == uint64(f.branch) })
				if i < 0 || len(collect(db.check().orphans()[i].Bucket.Rows())) != len(want) {
					t.Errorf("the lost bucket is not among %v", db.check().orphans())
				}
			}
		})
	}
}

// Classes of bytes whose change cannot be detected.
const (
	inKey = iota + 1
	inValue
	inSequence
	inLastSize // ksize and vsize of the last element of a page
)

// classes says of each byte of a good file in which of these it is.
func classes(db *DB) []byte {
	class := make([]byte, len(db.data))
	mark := func(off int64, n int, c byte) {
		for i := range n {
			class[int(off)+i] = c
		}
	}
	var leaf func(p *page)
	leaf = func(p *page) {
		for i := range p.n {
			key, value, end := p.row(i)
			mark(p.off+int64(key), value-key, inKey)
			if i == p.n-1 {
				mark(p.off+pageHeaderSize+int64(i)*elementSize+8, 8, inLastSize)
			}
			if !p.isBucket(i) {
				mark(p.off+int64(value), end-value, inValue)
				continue
			}
			mark(p.off+int64(value)+8, 8, inSequence)
			if b := db.open(nil, p.buf[value:end], p.id, p.off+int64(value)); b.root == 0 {
				leaf(&b.inline)
			}
		}
	}
	for id, k := range db.check().kinds {
		if k == kindLeaf {
			p, _ := db.load(ref{id: uint64(id)})
			leaf(&p)
		}
	}
	return class
}

// flatten makes one list of all rows and sequences.
func flatten(all map[string]content) map[string]string {
	flat := map[string]string{}
	for name, c := range all {
		flat[name] = string(rune(c.sequence))
		for _, r := range c.rows {
			flat[name+"\x00"+r.key] = r.value
		}
	}
	return flat
}

// differing counts the entries that are not the same in both.
func differing(a, b map[string]string) int {
	n := 0
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			n++
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			n++
		}
	}
	return n
}

// TestFlipEveryByte changes each byte of small files. What is not detected either has no effect or changes one row, and then
// the byte was in one of the classes that the package comment names.
func TestFlipEveryByte(t *testing.T) {
	masks := []byte{0xFF, 0x01, 0x80}
	if testing.Short() {
		masks = masks[:1]
	}
	for _, noFreelist := range []bool{false, true} {
		good := newFile(t, 70, 1024, noFreelist)
		base := open(t, good.data)
		want, class := flatten(contents(base)), classes(base)
		undetected := map[byte]int{}
		for off := range good.data {
			for _, x := range masks {
				data := slices.Clone(good.data)
				data[off] ^= x
				db, err := Open("db", data, Options{Meta: -1})
				if err != nil {
					t.Fatalf("offset %d ^ %#x: %v", off, x, err)
				}
				r := db.Check()
				checkSums(t, db, r)
				if len(codes(r.Findings, false)) > 0 {
					continue
				}
				got := flatten(contents(db))
				if maps.Equal(want, got) {
					continue
				}
				undetected[class[off]]++
				if n := differing(want, got); class[off] == 0 || n > 2 && off/good.size != good.root {
					t.Errorf("offset %d ^ %#x (page %d + %d): %d rows differ, no finding", off, x, off/good.size, off%good.size, n)
				}
			}
		}
		t.Logf("%d bytes, without freelist %v: undetected changes by class: %v", len(good.data), noFreelist, undetected)
	}
}

// TestCutEverywhere cuts small files at each length.
func TestCutEverywhere(t *testing.T) {
	good := newFile(t, 70, 1024, false)
	want := flatten(contents(open(t, good.data)))
	for n := range good.high * good.size {
		db, err := Open("db", good.data[:n:n], Options{Meta: -1})
		if err != nil {
			if n >= good.size+pageHeaderSize+metaSize {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		r := db.Check()
		checkSums(t, db, r)
		if !slices.Contains(codes(r.Findings, false), "db-truncated") {
			t.Errorf("%d bytes: %v", n, r.Findings)
		}
		if n >= 2*good.size {
			for k, v := range flatten(contents(db)) {
				if w, ok := want[k]; !ok || w != v {
					t.Fatalf("%d bytes: a row that was not there", n)
				}
			}
		}
	}
}

// use does all that can be done with a file.
func use(t testing.TB, data []byte) {
	for meta := -1; meta < 2; meta++ {
		db, err := Open("db", data, Options{Meta: meta})
		if err != nil {
			continue
		}
		checkSums(t, db, db.Check())
		db.Salvage(func([]byte) bool { return true })
		for _, o := range db.check().orphans() {
			collect(o.Bucket.Rows())
		}
		for _, name := range db.BucketNames() {
			b := db.Bucket(name)
			rows := collect(b.Rows())
			for i := 1; i < len(rows); i++ {
				if rows[i].key <= rows[i-1].key {
					t.Fatalf("bucket %q: keys do not ascend at %d", name, i)
				}
			}
			n := 0
			for last := b.Last(); last.Prev(); n++ {
			}
			if n != len(rows) {
				t.Fatalf("bucket %q: %d rows, %d backwards", name, len(rows), n)
			}
			if len(rows) > 0 {
				mid := rows[len(rows)/2].key
				if r := b.Seek([]byte(mid)); !r.Next() || string(r.Key()) != mid {
					t.Fatalf("bucket %q: key %x is not found", name, mid)
				}
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, noFreelist := range []bool{false, true} {
		good := newFile(f, 40, 1024, noFreelist)
		f.Add(good.data[:good.high*good.size], uint16(0), uint64(0))
	}
	f.Add(build(f, bbolt.Options{PageSize: 1024}, nest)[:64<<10], uint16(2000), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, v uint64) {
		data = slices.Clone(data)
		for off := 0; off+pageHeaderSize+metaSize <= len(data) && off <= 1024; off += 1024 {
			sign(data[off+pageHeaderSize:][:metaSize]) // or nothing but the checksum would be tried
		}
		use(t, data)
		if off := int(at) * 4; off+8 <= len(data) { // one field
			put64(data[off:], v)
			use(t, data)
		}
	})
}
