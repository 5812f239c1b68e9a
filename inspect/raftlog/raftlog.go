// Package raftlog reads what raft left on the disk of a member, as etcd 3.2 to 3.7 write it: the segments of the
// write-ahead log (member/wal), the .snap files (member/snap), and the requests in the log's entries.
//
// A segment is a file of frames, preallocated with zeros:
//
//	member/wal/<sequence, 16 hex digits>-<index of its first entry, 16 hex digits>.wal
//
//	+--------+---------------------+---------+--------+---------------------+---------+-----+----------+
//	| length | record              | padding | length | record              | padding | ... | zeros    |
//	| 8, LE  | length bytes        | 0..7    |        |                     |         |     | (64 MB)  |
//	+--------+---------------------+---------+--------+---------------------+---------+-----+----------+
//
//	length   bits 0..55  bytes of the record
//	         bit 63      set if there is padding, whose size is then in bits 56..58; etcd up to 2.3 wrote none, and
//	                     later versions go on with its logs
//	record   walpb.Record  1 type   1 metadata, 2 entry, 3 state, 4 crc, 5 snapshot
//	                       2 crc    CRC-32C of the data of all records up to and with this one
//	                       3 data   metadata  etcdserverpb.Metadata  1 node id, 2 cluster id
//	                                entry     raftpb.Entry           1 type, 2 term, 3 index, 4 data
//	                                state     raftpb.HardState       1 term, 2 vote, 3 commit
//	                                crc       none: its crc repeats the last one of the segment before
//	                                snapshot  walpb.Snapshot         1 index, 2 term, 3 conf state (since 3.5)
//
// Each segment starts with a crc and a metadata record. The checksum runs on from record to record and over segments,
// so a record is verified with the stored checksum of the one before it, and behind damage the chain can be picked up
// at any record. It covers the data alone: types and lengths are guarded only by what they would break.
//
// A .snap file is one message:
//
//	member/snap/<term, 16 hex digits>-<index, 16 hex digits>.snap
//
//	snappb.Snapshot  1 crc   CRC-32C of data
//	                 2 data  raftpb.Snapshot  1 data      the v2 store as JSON
//	                                          2 metadata  1 conf state, 2 index, 3 term
//
// Whatever etcd's reader (wal.ReadAll) reads to the end is read with the same entries. Where a length of zero ends the last
// segment for etcd, but records behind it prove that more had been on the disk, these are read as well, and it is damage.
//
// Limits: a flipped bit in padding is not seen, as it has no effect. A log that was stored as a value inside the log could be taken for
// the log's own records, if it lies directly behind damage.
package raftlog

import (
	"slices"
	"sort"

	"etcd-autopsy/inspect/finding"
)

// Source is a file: its path inside the data directory, such as "member/wal/0000000000000000-0000000000000000.wal",
// and its bytes, which must not change while anything read from them is in use.
type Source struct {
	Name string
	Data []byte
}

// Entry is one raft entry of the log. There may be millions of them in memory: the order of the fields makes it small.
type Entry struct {
	Index, Term uint64
	// Data is a part of the source.
	Data []byte
	// Seg is an index into Log.Segments, Offset that of the record's frame in the segment.
	Offset int64
	Seg    int32
	Type   EntryType
	// AfterDamage tells that something before it, in the same log, could not be read.
	AfterDamage bool
}

// HardState is what raft must not forget: the last of them counts.
type HardState struct{ Term, Vote, Commit uint64 }

// ConfState is raft's view of who votes and who learns.
type ConfState struct {
	Voters, Learners, VotersOutgoing, LearnersNext []uint64
	AutoLeave                                      bool
}

// SnapshotRecord notes that a snapshot was taken here, or received from the leader. ConfState is nil before 3.5.
type SnapshotRecord struct {
	Index, Term uint64
	ConfState   *ConfState
	Seg         int
	Offset      int64
}

// Segment is one file of the log. Seq and FirstIndex are what its name says.
type Segment struct {
	Name            string
	Seq, FirstIndex uint64
	Size            int64
	End             Ending
	EndOffset       int64 // where records end
	Records         int   // that a checksum vouches for
	Entries         int   // of these
}

// Coverage accounts for every byte of the sources: BytesRead + BytesPreallocated + BytesSkipped == Bytes.
type Coverage struct {
	Records, EntryRecords int
	BytesRead             int64
	BytesPreallocated     int64
	BytesSkipped          int64 // unreadable
	Bytes                 int64
}

// Log is the write-ahead log of one member.
type Log struct {
	NodeID, ClusterID uint64
	HasMetadata       bool
	Segments          []Segment
	// Entries are those that count, in ascending order of index. Indexes may be missing: see Gaps.
	Entries []Entry
	// Superseded are entries that a later record with the same or a lower index replaced or cut off, in order of their
	// replacement. That is legal for entries that were not committed.
	Superseded   []Entry
	HardState    HardState
	HasHardState bool
	Snapshots    []SnapshotRecord
	Findings     []finding.Finding
	Coverage     Coverage
}

// First is the lowest index of an entry, 0 if there is none.
func (l *Log) First() uint64 {
	if len(l.Entries) == 0 {
		return 0
	}
	return l.Entries[0].Index
}

// Last is the highest index of an entry, 0 if there is none.
func (l *Log) Last() uint64 {
	if len(l.Entries) == 0 {
		return 0
	}
	return l.Entries[len(l.Entries)-1].Index
}

// Entry returns the entry with that index, or nil.
func (l *Log) Entry(index uint64) *Entry {
	if i := l.search(index); i < len(l.Entries) && l.Entries[i].Index == index {
		return &l.Entries[i]
	}
	return nil
}

// search returns the position of the first entry at or above index.
func (l *Log) search(index uint64) int {
	n := len(l.Entries)
	if n == 0 || index > l.Entries[n-1].Index {
		return n
	}
	if first := l.Entries[0].Index; index <= first {
		return 0
	} else if i := index - first; i < uint64(n) && l.Entries[i].Index == index {
		return int(i) // no gap below it
	}
	return sort.Search(n, func(i int) bool { return l.Entries[i].Index >= index })
}

// Gaps returns the ranges of indexes, both ends included, that are missing between First and Last. One that ends at the
// index of a snapshot record is normal: a snapshot from the leader took the entries' place. Any other has a finding.
func (l *Log) Gaps() [][2]uint64 {
	var gaps [][2]uint64
	for i := 1; i < len(l.Entries); i++ {
		if a, b := l.Entries[i-1].Index, l.Entries[i].Index; b > a+1 {
			gaps = append(gaps, [2]uint64{a + 1, b - 1})
		}
	}
	return gaps
}

// hasSnapshot tells whether a snapshot record is at index.
func (l *Log) hasSnapshot(index uint64) bool {
	return slices.ContainsFunc(l.Snapshots, func(s SnapshotRecord) bool { return s.Index == index })
}
