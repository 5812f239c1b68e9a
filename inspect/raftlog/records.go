package raftlog

import (
	"cmp"
	"path"
	"slices"
)

// RawRecord is one record of a log as it lies in a segment, with what it decodes to.
type RawRecord struct {
	Record
	File string
	// One of these is set if the record decodes; none for a crc record, or a stretch that holds no record.
	Entry    *Entry
	State    *HardState
	Snapshot *SnapshotRecord
	Metadata *Metadata
	// Zeros is true for the bytes that were preallocated behind the last record.
	Zeros bool
}

// Metadata says whose log it is.
type Metadata struct{ NodeID, ClusterID uint64 }

// Records calls f for every record of a log in the order of the segments, damaged ones included, until f returns false.
// Every byte of a segment belongs to one call. Files that are not named like segments are left out.
func Records(segments []Source, f func(r *RawRecord) bool) {
	type segment struct {
		Source
		seq uint64
	}
	var srcs []segment
	for _, src := range segments {
		if seq, _, ok := parseName(src.Name, ".wal"); ok {
			srcs = append(srcs, segment{src, seq})
		}
	}
	slices.SortFunc(srcs, func(a, b segment) int { return cmp.Compare(path.Base(a.Name), path.Base(b.Name)) })
	var crc uint32
	var seeded bool
	for i, src := range srcs {
		if seeded = i == 0 || seeded && src.seq == srcs[i-1].seq+1; !seeded {
			crc = 0
		}
		s := NewScanner(src.Source)
		s.last, s.crc, s.seeded = i == len(srcs)-1, crc, seeded
		end := int64(0)
		for s.Next() {
			rec := s.Record()
			if rec.Offset > end && !f(zeros(src.Name, end, rec.Offset)) {
				return
			}
			if end = rec.Offset + rec.Size; !f(decodeRecord(src.Name, rec)) {
				return
			}
		}
		if size := int64(len(src.Data)); size > end && !f(zeros(src.Name, end, size)) {
			return
		}
		crc, seeded = s.crc, s.seeded
	}
}

func zeros(file string, from, to int64) *RawRecord {
	return &RawRecord{File: file, Zeros: true, Record: Record{Offset: from, Size: to - from}}
}

// Metadata says whose log it is, if the record does and is not damaged.
func (r Record) Metadata() (m Metadata, ok bool) {
	if r.Type == TypeMetadata && r.Valid {
		ok = !decodeVarints(r.Data, &m.NodeID, &m.ClusterID).bad
	}
	return m, ok
}

func decodeRecord(file string, rec Record) *RawRecord {
	r := &RawRecord{File: file, Record: rec}
	switch rec.Type {
	case TypeEntry:
		e := Entry{Offset: rec.Offset}
		if c := decodeEntry(rec.Data, &e); !c.bad {
			r.Entry = &e
		}
	case TypeState:
		var s HardState
		if c := decodeVarints(rec.Data, &s.Term, &s.Vote, &s.Commit); !c.bad {
			r.State = &s
		}
	case TypeSnapshot:
		s := SnapshotRecord{Offset: rec.Offset}
		if c := decodeSnapshot(rec.Data, &s); !c.bad {
			r.Snapshot = &s
		}
	case TypeMetadata:
		var m Metadata
		if c := decodeVarints(rec.Data, &m.NodeID, &m.ClusterID); !c.bad {
			r.Metadata = &m
		}
	}
	return r
}
