package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// kind is what a file is, as its first bytes tell.
type kind int

const (
	unknown kind = iota
	boltKind
	segmentKind // of a log
	snapKind    // a .snap file of raft
	tarKind
	zipKind
	gzipKind
	zstdKind
	xzKind
	bzip2Kind
	zlibKind
	lzwKind
	foreignKind // of some other program
)

// container tells whether other files may be in it.
func (k kind) container() bool { return k >= tarKind && k <= lzwKind }

// compressed tells whether it is one stream of something else.
func (k kind) compressed() bool { return k >= gzipKind && k <= lzwKind }

// Part of the formats.
const (
	tarBlock      = 512
	tarChecksumAt = 148
	boltMagic     = 0xED0CDAED
	boltMagicAt   = 16
	boltPage      = 4096 // where the second meta page lies nearly everywhere
	gzipMagic     = "\x1f\x8b"
	zstdMagic     = "\x28\xb5\x2f\xfd"
	xzMagic       = "\xfd7zXZ\x00"
	bzip2Magic    = "BZh"
	bzip2Block    = "1AY&SY"
	bzip2End      = "\x17\x72\x45\x38\x50\x90"
	zipMagic      = "PK\x03\x04"
	zipEmpty      = "PK\x05\x06"
)

// headSize is how much of a file tells what it is.
const headSize = boltPage + boltMagicAt + 4

// ForeignError tells that a file is none of etcd's, and whose it is.
type ForeignError struct {
	Path, What string
	hint       string
}

func (e *ForeignError) Error() string { return e.Path + ": " + e.What }

// Hint tells what the user can do.
func (e *ForeignError) Hint() string { return e.hint }

// stranger is a format that people hand in for a member.
type stranger struct{ magic, what, hint string }

const (
	unpackFirst  = "unpack it first, or give one of .tar, .zip, .gz, .zst, .xz, .bz2"
	decryptFirst = "decrypt it first"
)

var strangers = []stranger{
	{"SQLite format 3\x00", "a SQLite database, as kine makes it, not one of etcd", "k3s with one server and the default of k0s on one node keep their data in SQLite, not in etcd"},
	{"version https://git-lfs.github.com/spec/", "a pointer of Git LFS; the file itself was not fetched", "git lfs pull"},
	{"/annex/objects/", "a pointer of git-annex; the file itself was not fetched", "git annex get"},
	{"age-encryption.org/", "encrypted with age", decryptFirst},
	{"-----BEGIN AGE ENCRYPTED FILE-----", "encrypted with age", decryptFirst},
	{"-----BEGIN PGP MESSAGE-----", "encrypted with OpenPGP", decryptFirst},
	{"Salted__", "encrypted with openssl", decryptFirst},
	{"$ANSIBLE_VAULT;", "encrypted with Ansible Vault", decryptFirst},
	{"LUKS\xba\xbe", "an encrypted disk (LUKS)", decryptFirst},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive, which is not read", unpackFirst},
	{"Rar!\x1a\x07", "a RAR archive, which is not read", unpackFirst},
	{"\x04\x22\x4d\x18", "compressed with lz4, which is not read", unpackFirst},
	{"LZIP", "compressed with lzip, which is not read", unpackFirst},
	{"\x1f\x9d", "compressed with compress(1), which is not read", unpackFirst},
	{"\xff\x06\x00\x00sNaPpY", "compressed with snappy, which is not read", unpackFirst},
	{"<!DOCTYPE html", "an HTML page", "was the right thing downloaded?"},
	{"<html", "an HTML page", "was the right thing downloaded?"},
	{"<?xml", "an XML text, such as the error of an object store", "was the right thing downloaded?"},
}

// sniff tells what a file is by its head, of headSize bytes if it has so many. Its name is only asked where the format has
// no magic.
func sniff(head []byte, name string) (kind, *stranger) {
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case isBolt(head):
		return boltKind, nil
	case isTar(head):
		return tarKind, nil
	case has(gzipMagic):
		return gzipKind, nil
	case has(zstdMagic), len(head) >= 4 && binary.LittleEndian.Uint32(head)&^0xf == 0x184d2a50: // frames that are skipped may come first
		return zstdKind, nil
	case has(xzMagic):
		return xzKind, nil
	case has(bzip2Magic) && len(head) >= 10 && (string(head[4:10]) == bzip2Block || string(head[4:10]) == bzip2End):
		return bzip2Kind, nil
	case has(zipMagic), has(zipEmpty):
		return zipKind, nil
	case isSegment(head):
		return segmentKind, nil
	case isSnap(head):
		return snapKind, nil
	}
	for i, s := range strangers {
		if has(s.magic) {
			return foreignKind, &strangers[i]
		}
	}
	switch {
	case isPGP(head):
		return foreignKind, &stranger{what: "encrypted with OpenPGP", hint: decryptFirst}
	case isJSON(head):
		return foreignKind, &stranger{what: "JSON text, not a database"}
	case len(head) > 2 && head[0] == 0x78 && head[1]&0x20 == 0 && (int(head[0])<<8|int(head[1]))%31 == 0: // deflate with a window of 32 KiB, as everybody writes it
		return zlibKind, nil
	case isLZWName(name) && len(head) > 0:
		return lzwKind, nil
	}
	return unknown, nil
}

// isLZWName tells by its name whether a file is compressed by Go's compress/lzw, which writes no magic. It is
// etcd-backup-restore of Gardener that names such files so (pkg/compressor/types.go), those of the last moments of a cluster
// with .final behind.
func isLZWName(name string) bool { return strings.HasSuffix(strings.TrimSuffix(name, ".final"), ".Z") }

// isTar tells by its checksum whether head begins with the first block of a tar archive. The oldest have no magic.
func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	want, err := strconv.ParseInt(strings.Trim(string(head[tarChecksumAt:tarChecksumAt+8]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(8 * ' ') // the checksum counts as blanks
	for i, b := range head[:tarBlock] {
		if i < tarChecksumAt || i >= tarChecksumAt+8 {
			sum += int64(b)
		}
	}
	return sum == want
}

// isBolt asks for the magic of either meta page: the first may be damaged.
func isBolt(head []byte) bool {
	at := func(n int) bool { return len(head) >= n+4 && binary.LittleEndian.Uint32(head[n:]) == boltMagic }
	return at(boltMagicAt) || at(boltPage+boltMagicAt)
}

// isSegment tells whether a segment of the log begins here: with a frame that holds a crc record, type 4
// (server/storage/wal/wal.go, saveCrc).
func isSegment(head []byte) bool {
	if len(head) < 12 {
		return false
	}
	n := binary.LittleEndian.Uint64(head) & (1<<56 - 1)
	return n >= 4 && n <= 16 && string(head[8:11]) == "\x08\x04\x10"
}

// isSnap tells whether a .snap file begins here: snappb.Snapshot with a crc and data that are raftpb.Snapshot, whose first
// field is the v2 store or, without that, the metadata.
func isSnap(head []byte) bool {
	if len(head) < 2 || head[0] != 0x08 {
		return false
	}
	_, n := binary.Uvarint(head[1:])
	if n <= 0 || len(head) < n+3 || head[n+1] != 0x12 {
		return false
	}
	rest := head[n+2:]
	_, n = binary.Uvarint(rest)
	return n > 0 && len(rest) > n && (rest[n] == 0x0a || rest[n] == 0x12)
}

// isPGP tells whether a message of OpenPGP in binary form begins here (RFC 9580): a session key encrypted to a public key,
// version 3 or 6, or by a passphrase, version 4 to 6.
func isPGP(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	version := head[2]
	switch head[0] {
	case 0x84, 0xc1:
		return version == 3 || version == 6 || head[1] >= 192 && head[0] == 0xc1 && head[3] == 3
	case 0x85:
		return head[3] == 3 && head[1] < 16
	case 0x8c, 0xc3:
		return version >= 4 && version <= 6 && head[1] < 64
	}
	return false
}

func isJSON(head []byte) bool {
	t := bytes.TrimLeft(head, " \t\r\n")
	return len(t) > 1 && (t[0] == '{' || t[0] == '[') && strings.ContainsRune("\"[]{} \t\r\n", rune(t[1]))
}

// source is a file, on the disk or unpacked from an archive, before it is known what it is.
type source struct {
	path   string // for a person: a path, or "archive.tar.gz!node1/db"
	name   string // its last element
	elems  []string
	r      io.ReaderAt
	size   int64
	depth  int // how many containers it came out of
	filled *filled
}

// filled counts what came out of a file of the disk, and all files in it.
type filled struct {
	path         string
	size, stored int64
	entries      int
}

func (s *source) head() ([]byte, error) {
	head := make([]byte, min(headSize, s.size))
	n, err := s.r.ReadAt(head, 0)
	if n < len(head) && err != nil && err != io.EOF { //nolint:errorlint // ReadAt of a file returns io.EOF itself
		return nil, pathError(s.path, err)
	}
	return head[:n], nil
}

// foreign is the error about a file of another program.
func (s *source) foreign(x *stranger) error {
	return &ForeignError{Path: s.path, What: x.what, hint: x.hint}
}

// segmentName is how etcd names a segment.
func segmentName(name string) bool {
	base, ok := strings.CutSuffix(name, ".wal")
	if !ok || len(base) != 33 || base[16] != '-' {
		return false
	}
	for _, half := range []string{base[:16], base[17:]} {
		if _, err := strconv.ParseUint(half, 16, 64); err != nil {
			return false
		}
	}
	return true
}

// loneSegmentName is the name of a segment that lies alone: its own, what of it etcd has given, or one that claims nothing.
func loneSegmentName(name string) string {
	for i := 0; i+33 <= len(name); i++ {
		if own := name[i:i+33] + ".wal"; segmentName(own) {
			return own
		}
	}
	return fmt.Sprintf("%016x-%016x.wal", 1, 0)
}

// loneSnapName is the name of a .snap file that lies alone.
func loneSnapName(name string) string {
	if strings.HasSuffix(name, ".snap") {
		return name
	}
	return path.Base(name) + ".snap"
}
