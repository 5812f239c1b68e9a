// Package bolt reads the files of go.etcd.io/bbolt, whole or torn, and never writes them. It works on the bytes of the
// file, checks each id, count, position and size before use, reads on after damage, and says what it could not read.
//
//	file     page 0   page 1   pages 2 to high water - 1        tail            trailer
//	        +--------+--------+--------------------------------+---------------+----------+
//	        | meta 0 | meta 1 | branch, leaf, freelist, free   | preallocated  | sha256   |
//	        +--------+--------+--------------------------------+---------------+----------+
//	                                                            may be absent   only after
//	                                                                            "snapshot save"
//
//	page     0        8       10      12         16
//	        +--------+-------+-------+----------+----------------------------------------------+
//	        | id     | flags | count | overflow | count elements | keys and values | zeros      |
//	        +--------+-------+-------+----------+----------------------------------------------+
//	         id is the page's own position; a page goes on through the next `overflow` pages
//
//	branch   0      4       8                16        leaf     0       4      8       12      16
//	element +------+-------+----------------+         element  +-------+------+-------+-------+
//	        | pos  | ksize | page           |                  | flags | pos  | ksize | vsize |
//	        +------+-------+----------------+                  +-------+------+-------+-------+
//	         pos counts from the element to its key; the value follows the key, and the next element's key the value
//
//	bucket   0       8          16                        flags 1: the value of the leaf element is a bucket. If root is 0
//	        +-------+----------+----------------------+   the bucket is inline: its only page, a leaf with id 0, follows
//	        | root  | sequence | page, if root is 0   |
//	        +-------+----------+----------------------+
//
//	meta     16     20        24          28      32       40         48         56           64     72         80
//	        +------+---------+-----------+-------+--------+----------+----------+------------+------+----------+
//	        |magic | version | page size | flags | root   | sequence | freelist | high water | txid | checksum |
//	        +------+---------+-----------+-------+--------+----------+----------+------------+------+----------+
//	         checksum is FNV-1a 64 of the 56 bytes before it; the valid meta page with the higher txid counts
//
//	freelist: count ids of 8 bytes, ascending; if count is 0xFFFF the first id is the count
//
// The layout is that of internal/common/page.go, inode.go, bucket.go and meta.go in bbolt v1.5.0; that of boltdb v1.3.0, as in
// etcd 3.2, is the same. Both write keys and values without gaps and zero the rest of a page (node.write, tx.write).
//
// # What makes a page unreadable
//
// There are no checksums but those of the meta pages. Whatever bbolt reads and its check (tx_check.go) accepts is read, with
// the same rows: a page is, if its id is its position, its type is right, its keys ascend strictly and lie in the range that
// its parent gives it, and its elements lie where their positions say: below the high water mark, not in the directory and
// not in each other (for which bbolt does not look), and in sum no more than the page claims. bbolt's surgery clears elements
// by cutting the directory short: then there is a gap behind it, by which the last elements may reach beyond the pages that
// the page counts.
//
// What bbolt reads, but neither it nor its surgery writes, such as a gap between two elements, is read and is damage all the
// same: bytes have changed, or are of another moment ([DB.Doubtful]).
//
// If a page cannot be read, none of its rows are given: a bad size or key leaves in doubt which side of it is the good one.
// The page becomes a [Hole], and its siblings are still read. [Bucket.Salvage] offers those of its elements that both
// neighbours confirm.
//
// A page that two trees refer to is read in both; only [DB.Check] sees that, as page-double-use.
//
// # What cannot be detected
//
// A changed byte of a value; of a key, if the order of keys stands; of a bucket's sequence; a last element of a page whose
// key or value seems longer than it was, into the zeros behind it; in a file without a freelist, a page pointer that leads
// to a free page with an older copy of the same range. A copy torn between two transactions may fit together by chance.
package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"sync"

	"etcd-autopsy/inspect/finding"
)

var (
	// ErrNoMeta tells that no meta page is usable: the file is no bbolt file, or too damaged to find its root.
	ErrNoMeta = errors.New("no usable meta page")
	// ErrDamaged tells that a walk could not read everything.
	ErrDamaged = errors.New("not everything could be read")
)

var le = binary.LittleEndian

// Meta is one of the two meta pages.
type Meta struct {
	Slot    int    // 0 or 1
	Valid   bool   // bbolt would use it
	Problem string // why it is not valid

	Version, PageSize, Flags uint32
	Root                     uint64 // page of the bucket of buckets
	Freelist                 uint64 // page, or 1<<64 - 1 if the file has none
	HighWater                uint64 // number of pages in use or once used, including the meta pages
	TxID, Checksum           uint64
}

// Options say how to open a file.
type Options struct {
	Meta int // which meta page to use: 0, 1, or -1 for the newest valid one
}

// DB is an open file. It may be used by several goroutines at a time: what Open finds is only read, and what reads all of the file is done once, by the
// first that asks, while the others wait. CheckLeaves is the exception: it comes before any other use.
type DB struct {
	name     string // File of findings
	data     []byte
	pageSize uint64
	pages    uint64 // whole pages below high water that the file holds
	metas    [2]Meta
	meta     Meta
	metaAt   [2]finding.Finding // about the meta pages' own headers; no Code if there is nothing to say
	names    []string
	buckets  map[string]*Bucket
	damage   []Hole
	rootRows finding.Finding // rows of the root that are no buckets; no Code if there are none

	trailer func() bool     // TrailerOK, once
	check   func() *checker // of all pages, once

	// Of CheckLeaves, which sets them before check is called; nil without.
	visitor  Visitor
	parts    int
	together func(fs []func())
}

// Open reads the meta pages and the names of the buckets. Data must not change or go away while the DB, or any slice that
// it gave, is in use. Name is the File of findings. Damage is no error, unless no meta page is left.
func Open(name string, data []byte, opts Options) (*DB, error) {
	db := &DB{name: name, data: data, buckets: map[string]*Bucket{}}
	db.readMetas()
	use := opts.Meta
	if use < 0 {
		use = newest(db.metas)
	}
	if use > 1 || !db.metas[use].Valid {
		return nil, fmt.Errorf("%s: offset 0: %w: meta 0: %s, meta 1: %s", name, ErrNoMeta, db.metas[0].why(), db.metas[1].why())
	}
	db.use(use)
	return db, nil
}

// use makes a meta page the one in use.
func (db *DB) use(slot int) {
	db.meta = db.metas[slot]
	db.pageSize = uint64(db.meta.PageSize)
	db.pages = min(db.meta.HighWater, uint64(len(db.data))/db.pageSize)
	db.trailer = sync.OnceValue(db.hash)
	db.check = sync.OnceValue(db.runCheck)

	rows, strange := db.root().Rows(), 0
	for rows.Next() {
		if !rows.IsBucket() {
			if strange++; strange == 1 {
				db.rootRows = finding.New("root-row", finding.Error, db.name, "").OnPage(rows.Page(), rows.Offset()).Lost()
			}
			continue
		}
		b := db.open(rows.Key(), rows.raw(), rows.Page(), rows.rawOffset())
		db.names = append(db.names, b.name)
		db.buckets[b.name] = b
	}
	db.damage = rows.Damage()
	if strange > 0 {
		db.rootRows.Detail = fmt.Sprintf("%d rows of the bucket of buckets are no buckets: a leaf of something else is in its place, or flags have changed", strange)
	}
}

func (db *DB) root() *Bucket {
	const rootOffset = pageHeaderSize + 16
	return &Bucket{db: db, root: db.meta.Root, at: int64(db.meta.Slot)*int64(db.pageSize) + rootOffset, isRoot: true}
}

// Metas returns both meta pages, valid or not.
func (db *DB) Metas() [2]Meta { return db.metas }

// Meta returns the meta page in use.
func (db *DB) Meta() Meta { return db.meta }

// BucketNames returns the names of the top-level buckets, sorted.
func (db *DB) BucketNames() []string { return db.names }

// Bucket returns a top-level bucket, nil if there is none of this name.
func (db *DB) Bucket(name string) *Bucket { return db.buckets[name] }

// Damage returns what could not be read of the bucket of buckets: there, names are missing from [DB.BucketNames].
func (db *DB) Damage() []Hole { return db.damage }

// Trailer returns the 32 bytes that `etcdctl snapshot save` appends, nil if the length of the file says that there are none.
func (db *DB) Trailer() []byte {
	if n := len(db.data); n%sectorSize == trailerLen && uint64(n-trailerLen)/db.pageSize >= db.meta.HighWater {
		return db.data[n-trailerLen:]
	}
	return nil
}

// TrailerOK tells whether there is a trailer and it is the hash of what precedes it. The first call reads all of the file.
func (db *DB) TrailerOK() bool { return db.trailer() }

func (db *DB) hash() bool {
	t := db.Trailer()
	if t == nil {
		return false
	}
	sum := sha256.Sum256(db.data[:len(db.data)-trailerLen])
	return bytes.Equal(sum[:], t)
}

// readMetas finds both meta pages. Where the second lies is known from the first; without it, all page sizes are tried.
func (db *DB) readMetas() {
	db.metas[0] = readMeta(db.data, 0, 0)
	if size := uint64(db.metas[0].PageSize); db.metas[0].Valid {
		db.metas[1] = readMeta(db.data, 1, size)
	} else {
		db.metas[1] = Meta{Slot: 1, Problem: "not found at any page size"}
		for size := uint64(minPage); size <= maxPage; size *= 2 {
			if m := readMeta(db.data, 1, size); m.Valid {
				db.metas[1] = m
				break
			}
		}
	}
	for i, m := range db.metas {
		if !m.Valid {
			continue
		}
		off := uint64(i) * uint64(m.PageSize)
		id, flags := le.Uint64(db.data[off:]), le.Uint16(db.data[off+8:])
		if id != uint64(i) || flags != flagMeta {
			db.metaAt[i] = finding.New("meta-header", finding.Warning, db.name,
				"the header of meta page %d says page %d of type %#x; the meta data itself is valid", i, id, flags).OnPage(uint64(i), int64(off))
		}
	}
}

// readMeta reads the meta page of a slot at offset, which is the page size for slot 1.
func readMeta(data []byte, slot int, offset uint64) Meta {
	m := Meta{Slot: slot}
	if offset+pageHeaderSize+metaSize > uint64(len(data)) {
		m.Problem = "beyond the end of the file"
		return m
	}
	b := data[offset+pageHeaderSize:][:metaSize]
	m.Version, m.PageSize, m.Flags = le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	m.Root, m.Freelist, m.HighWater = le.Uint64(b[16:]), le.Uint64(b[32:]), le.Uint64(b[40:])
	m.TxID, m.Checksum = le.Uint64(b[48:]), le.Uint64(b[metaSumOffset:])
	sum := fnv.New64a()
	sum.Write(b[:metaSumOffset])
	switch size := uint64(m.PageSize); {
	case isZero(b):
		m.Problem = "all zero"
	case le.Uint32(b) != magic && binary.BigEndian.Uint32(b) == magic:
		m.Problem = "written by a big-endian machine"
	case le.Uint32(b) != magic:
		m.Problem = "no magic number"
	case m.Version != version:
		m.Problem = fmt.Sprintf("format version %d, not %d", m.Version, version)
	case sum.Sum64() != m.Checksum:
		m.Problem = "checksum does not match"
	case size < minPage || size > maxPage || size&(size-1) != 0 || slot == 1 && size != offset:
		m.Problem = fmt.Sprintf("page size %d", size)
	case m.Root < firstPage || m.Root >= m.HighWater || m.HighWater > math.MaxInt64/size:
		m.Problem = fmt.Sprintf("root page %d, high water %d", m.Root, m.HighWater)
	default:
		m.Valid = true
	}
	return m
}

func (m Meta) why() string {
	if m.Valid {
		return "valid"
	}
	return m.Problem
}

// newest returns the slot of the valid meta page with the higher txid, 0 if none is valid.
func newest(m [2]Meta) int {
	if m[1].Valid && (!m[0].Valid || m[1].TxID > m[0].TxID) {
		return 1
	}
	return 0
}

var zeros [64 << 10]byte

func isZero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
