package bolt

// Sizes and offsets, part of the format: bbolt v1.5.0, internal/common/page.go, bucket.go and meta.go. All integers are in the
// byte order of the machine that wrote the file; only files of little-endian ones are read, on which etcd nearly always runs.
const (
	pageHeaderSize   = 16 // id 8, flags 2, count 2, overflow 4
	elementSize      = 16 // of leaf and branch pages alike
	bucketHeaderSize = 16 // root page 8, sequence 8
	metaSize         = 64 // the last 8 bytes are the checksum of the others
	metaSumOffset    = metaSize - 8
)

// Page types, part of the format: exactly one flag is set.
const (
	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
)

// Values, part of the format, and bounds.
const (
	magic      = 0xED0CDAED
	version    = 2
	bucketFlag = 0x01          // of a leaf element: its value is a bucket
	noFreelist = ^uint64(0)    // as freelist page: bbolt 1.3 and later with NoFreelistSync, as etcd 3.3 and later run it
	countMax   = 0xFFFF        // as count of a freelist page: the first of its ids is the count
	maxKeySize = 32768         // bbolt.MaxKeySize
	trailerLen = 32            // sha256 that etcd appends to a snapshot file
	sectorSize = 512           // a file of n*512+32 bytes has such a trailer, for etcd as for this package
	firstPage  = uint64(2)     // pages 0 and 1 are the meta pages
	minPage    = 512           // page sizes tried are the powers of two from here
	maxPage    = 32 << 20      // to here, as in bbolt, which uses that of the operating system, 4 to 64 KiB, unless told another
	maxDepth   = 64            // of a tree; with two keys a page, half of this holds more pages than any file
	revKeyLen  = 8 + 1 + 8     // of a key of etcd's bucket "key": main revision, '_', sub revision
	delKeyLen  = revKeyLen + 1 // and 't' for a tombstone

	maxKeyText  = 24 // bytes of any other key that are shown
	maxNameText = 64 // and of a bucket's name
)
