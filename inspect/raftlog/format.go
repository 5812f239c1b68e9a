package raftlog

import (
	"fmt"
	"hash/crc32"
	"path"
	"strconv"
	"strings"
)

// Constants that are part of the format, as etcd 3.2 to 3.7 write it. File names are those of etcd 3.7.3.
const (
	// frameHeader is the size of a frame's length field; part of the format (server/storage/wal/encoder.go).
	frameHeader = 8
	// lengthMask selects the record's length from the length field; part of the format (wal/decoder.go, decodeFrameSize).
	lengthMask = 1<<56 - 1
	// alignment is what a frame's padding fills up to; part of the format (wal/encoder.go, encodeFrameSize).
	alignment = 8
	// sectorSize is the unit in which a torn write leaves zeros; part of the format (wal/decoder.go, minSectorSize).
	sectorSize = 512
	// bigRecord is the size from which etcd before 3.5.5 refuses to read its own record (wal/decoder.go, maxWALEntrySizeLimit).
	bigRecord = 10 << 20
)

// castagnoli is the polynomial of every checksum here; part of the format (wal/wal.go, snap/snapshotter.go).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// RecordType is the kind of a log record; part of the format (server/storage/wal/wal.go).
type RecordType int64

// The record types; part of the format.
const (
	TypeMetadata RecordType = 1 // node id and cluster id, once in each segment
	TypeEntry    RecordType = 2 // a raft entry
	TypeState    RecordType = 3 // a raft hard state
	TypeCRC      RecordType = 4 // the checksum of everything before this segment
	TypeSnapshot RecordType = 5 // index and term of a snapshot
)

// String names the type.
func (t RecordType) String() string {
	switch t {
	case TypeMetadata:
		return "metadata"
	case TypeEntry:
		return "entry"
	case TypeState:
		return "state"
	case TypeCRC:
		return "crc"
	case TypeSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("unknown(%d)", int64(t))
}

func (t RecordType) known() bool { return t >= TypeMetadata && t <= TypeSnapshot }

// EntryType is the kind of a raft entry; part of the format (raft/raftpb/raft.proto, raft 3.7.0).
type EntryType uint8

// The entry types; part of the format.
const (
	EntryNormal       EntryType = 0 // a request
	EntryConfChange   EntryType = 1 // a membership change
	EntryConfChangeV2 EntryType = 2 // a membership change in raft's newer form
)

// Ending is the way in which the records of a segment end.
type Ending int

const (
	// CleanEnd means that the file ends where a record ends.
	CleanEnd Ending = iota
	// Preallocated means that zeros follow the last record, up to the end of the file.
	Preallocated
	// Trailing means that zeros follow the last record, and then bytes that are no records.
	Trailing
	// Torn means that the last record of the log was written in part.
	Torn
	// Corrupt means that what follows the last record that can be read is damaged.
	Corrupt
)

// String names the ending.
func (e Ending) String() string {
	return [...]string{"clean", "preallocated", "trailing", "torn", "corrupt"}[e]
}

// parseName splits "<16 hex>-<16 hex><suffix>"; part of the format (wal/util.go, snap/snapshotter.go). Like etcd it takes
// fewer digits.
func parseName(name, suffix string) (a, b uint64, ok bool) {
	s, ok := strings.CutSuffix(path.Base(name), suffix)
	first, second, dash := strings.Cut(s, "-")
	if !ok || !dash || len(first) > 16 || len(second) > 16 || strings.ContainsAny(s, "+_") {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(first, 16, 64)
	b, err2 := strconv.ParseUint(second, 16, 64)
	return a, b, err1 == nil && err2 == nil
}

func segmentName(seq, index uint64) string { return fmt.Sprintf("%016x-%016x.wal", seq, index) }
