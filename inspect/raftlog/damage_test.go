package raftlog

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"etcd-autopsy/inspect/finding"
)

// frames returns the records of a segment.
func frames(src Source) (recs []Record) {
	for s := NewScanner(src); s.Next(); {
		recs = append(recs, s.Record())
	}
	return recs
}

// frameOf returns the last record of an entry.
func frameOf(t *testing.T, srcs []Source, index uint64) (seg int, rec Record) {
	t.Helper()
	e := Read(srcs).Entry(index)
	for _, r := range frames(srcs[e.Seg]) {
		if r.Offset == e.Offset {
			return int(e.Seg), r
		}
	}
	t.Fatalf("no entry %d", index)
	return 0, rec
}

func TestDamage(t *testing.T) {
	good := smallLog(t)
	at := func(index uint64) (int, Record) { return frameOf(t, good, index) }
	lastEnd := func(srcs []Source) int64 { return Read(srcs).Segments[2].EndOffset }
	seg20, rec20 := at(20)
	seg30, rec30 := at(30)

	tests := []struct {
		name    string
		mutate  func(srcs []Source) []Source
		code    string
		file    int
		offset  int64
		detail  string
		lost    bool
		missing []uint64 // entries
		ending  Ending   // of the file
	}{
		{"byte of an entry", func(s []Source) []Source {
			s[seg20].Data[rec20.Offset+rec20.Size/2] ^= 0xff
			return s
		}, "wal-crc-mismatch", seg20, rec20.Offset, "entry 20, term 3", true, []uint64{20}, CleanEnd},
		{"stored checksum", func(s []Source) []Source {
			s[seg20].Data[rec20.Offset+frameHeader+3] ^= 1
			return s
		}, "wal-crc-mismatch", seg20, rec20.Offset, "the next record vouches", false, nil, CleanEnd},
		{"length", func(s []Source) []Source {
			s[seg20].Data[rec20.Offset+1] ^= 0x80
			return s
		}, "wal-frame-corrupt", seg20, rec20.Offset, "length field", false, nil, CleanEnd},
		{"length zeroed", func(s []Source) []Source {
			clear(s[seg20].Data[rec20.Offset:][:frameHeader])
			return s
		}, "wal-frame-corrupt", seg20, rec20.Offset, "length field", false, nil, CleanEnd},
		{"frame zeroed", func(s []Source) []Source {
			clear(s[seg20].Data[rec20.Offset:][:rec20.Size])
			return s
		}, "wal-frame-corrupt", seg20, rec20.Offset, "missing before the next entry: entry 20", true, []uint64{20}, CleanEnd},
		{"frame overwritten", func(s []Source) []Source {
			copy(s[seg20].Data[rec20.Offset:][:rec20.Size], bytes.Repeat([]byte("garbage!"), 100))
			return s
		}, "wal-frame-corrupt", seg20, rec20.Offset, "missing before the next entry: entry 20", true, []uint64{20}, CleanEnd},
		{"torn: cut", func(s []Source) []Source {
			s[2].Data = s[2].Data[:rec30.Offset+rec30.Size-20]
			return s
		}, "wal-torn-tail", seg30, rec30.Offset, "written in part", false, []uint64{30}, Torn},
		{"torn: cut in the length", func(s []Source) []Source {
			s[2].Data = s[2].Data[:rec30.Offset+3]
			return s
		}, "wal-torn-tail", seg30, rec30.Offset, "written in part", false, []uint64{30}, Torn},
		{"cut in the middle segment", func(s []Source) []Source {
			s[seg20].Data = s[seg20].Data[:rec20.Offset+rec20.Size-20]
			return s
		}, "wal-frame-corrupt", seg20, rec20.Offset, "", true, []uint64{20}, Corrupt},
		{"middle segment missing", func(s []Source) []Source {
			return append(s[:1], s[2])
		}, "wal-segment-missing", 1, -1, "missing before the next entry", true, []uint64{20}, CleanEnd},
		{"bytes after the end", func(s []Source) []Source {
			s[2].Data[lastEnd(s)+100] = 7
			return s
		}, "wal-bytes-after-end", 2, lastEnd(good) + 100, "", false, nil, Trailing},
		{"unknown record", func(s []Source) []Source {
			s[2].Data, _ = appendRecord(s[2].Data[:lastEnd(s)], 9, lastCRC(s[2]), []byte("?"))
			return s
		}, "wal-unknown-record", 2, lastEnd(good), "type 9", true, nil, CleanEnd},
		{"other metadata", func(s []Source) []Source {
			s[2].Data, _ = appendRecord(s[2].Data[:lastEnd(s)], TypeMetadata, lastCRC(s[2]), []byte{8, 1, 16, 2})
			return s
		}, "wal-metadata-differs", 2, lastEnd(good), "member 0000000000000001", false, nil, CleanEnd},
		{"segment of another log", func(s []Source) []Source {
			s[1].Data = append(bigLog(500, 10).Data, make([]byte, 100)...)
			return s
		}, "wal-crc-mismatch", 1, 0, "does not continue", true, nil, Preallocated},
		{"committed entry replaced", func(s []Source) []Source {
			s[2].Data, _ = appendRecord(s[2].Data[:lastEnd(s)], TypeEntry, lastCRC(s[2]), []byte{8, 0, 16, 4, 24, 29})
			return s
		}, "wal-committed-overwritten", 2, lastEnd(good), "entry 29", false, []uint64{30}, CleanEnd},
		{"name", func(s []Source) []Source { s[2].Name = "member/wal/2.wal"; return s }, "wal-name", 2, -1, "", true, []uint64{30}, CleanEnd},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := clone(good)
			srcs := test.mutate(clone(good))
			l := Read(srcs)
			checkCoverage(t, l, srcs)
			file := all[test.file].Name
			if test.name == "name" {
				file = srcs[2].Name
			}
			var hit *finding.Finding
			for i, f := range l.Findings {
				if f.Code == test.code && f.File == file && f.Offset == test.offset && strings.Contains(f.Detail, test.detail) {
					hit = &l.Findings[i]
				}
			}
			if hit == nil {
				t.Fatalf("no %s at %s: offset %d in %v", test.code, file, test.offset, l.Findings)
			}
			if hit.Unreadable != test.lost {
				t.Errorf("unreadable is %v: %v", hit.Unreadable, hit)
			}
			for _, i := range test.missing {
				if l.Entry(i) != nil {
					t.Errorf("entry %d is still there", i)
				}
			}
			for _, s := range l.Segments {
				if s.Name == file && s.End != test.ending {
					t.Errorf("%s ends %s, not %s", s.Name, s.End, test.ending)
				}
			}
			if len(test.missing) == 1 && test.missing[0] == 20 {
				if e := l.Entry(30); e == nil || !e.AfterDamage || l.Entry(5).AfterDamage {
					t.Errorf("entry 30 is %+v", e)
				}
			}
		})
	}
}

func lastCRC(src Source) uint32 {
	recs := frames(src)
	return recs[len(recs)-1].CRC
}

// TestTornSector cuts a record as a disk does that wrote only some of its sectors.
func TestTornSector(t *testing.T) {
	w := newWriter(t, 1<<16)
	w.save(0, 0, 0, ent(1, 1, "a"), ent(2, 1, strings.Repeat("b", 5000)))
	srcs := w.close()
	_, rec := frameOf(t, srcs, 2)
	clear(srcs[0].Data[2*sectorSize : 3*sectorSize])
	l := Read(srcs)
	if len(l.Findings) != 1 || l.Findings[0].Code != "wal-torn-tail" || l.Findings[0].Offset != rec.Offset || l.Segments[0].End != Torn || l.Last() != 1 {
		t.Errorf("%v, %v, last %d", l.Findings, l.Segments[0].End, l.Last())
	}
	// With the same damage, but records behind it, it is no torn write.
	w = newWriter(t, 1<<16)
	w.save(1, 0, 0, ent(1, 1, "a"), ent(2, 1, strings.Repeat("b", 5000)))
	w.save(1, 0, 2, ents(3, 9, 1)...)
	srcs = w.close()
	clear(srcs[0].Data[2*sectorSize : 3*sectorSize])
	l = Read(srcs)
	if len(l.Findings) != 1 || l.Findings[0].Code != "wal-crc-mismatch" || l.Last() != 9 || l.Entry(2) != nil || !l.Entry(3).AfterDamage {
		t.Errorf("%v, last %d", l.Findings, l.Last())
	}
}

// TestFlips flips every bit of a small log. No flip may go unnoticed, unless it changes nothing.
func TestFlips(t *testing.T) {
	good := smallLog(t)
	base := Read(good)
	want := contentOf(base)
	srcs := clone(good)
	silent, foreign := 0, 0
	for i := range srcs {
		for off := range srcs[i].Data {
			for _, mask := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				srcs[i].Data[off] ^= mask
				l := Read(srcs)
				checkCoverage(t, l, srcs)
				if len(l.Findings) == 0 {
					silent++
					if got := contentOf(l); !reflect.DeepEqual(want, got) {
						t.Errorf("segment %d, offset %d, mask %#x: changed without a finding", i, off, mask)
					}
				}
				for _, e := range l.Entries {
					if w := base.Entry(e.Index); w == nil || w.Term != e.Term || w.Type != e.Type || !bytes.Equal(w.Data, e.Data) {
						foreign++
						if !hasError(l) {
							t.Errorf("segment %d, offset %d, mask %#x: entry %d is not what it was, %v", i, off, mask, e.Index, l.Findings)
						}
					}
				}
				srcs[i].Data[off] ^= mask
			}
		}
	}
	t.Logf("%d flips without effect, %d entries that were not written", silent, foreign)
}

func hasError(l *Log) bool {
	for _, f := range l.Findings {
		if f.Severity == finding.Error {
			return true
		}
	}
	return false
}

// TestCuts cuts each segment at every byte.
func TestCuts(t *testing.T) {
	good := smallLog(t)
	base := Read(good)
	for i := range good {
		for n := range good[i].Data {
			srcs := clone(good)
			srcs[i].Data = srcs[i].Data[:n]
			l := Read(srcs)
			checkCoverage(t, l, srcs)
			for _, e := range l.Entries {
				if w := base.Entry(e.Index); (w == nil || !bytes.Equal(w.Data, e.Data)) && i < 2 && !hasError(l) {
					t.Errorf("segment %d cut at %d: entry %d is not what it was", i, n, e.Index)
				}
			}
			seg := base.Segments[i]
			switch end := l.Segments[i].End; {
			case i < 2 && !hasError(l):
				t.Errorf("segment %d cut at %d: no finding", i, n)
			case i == 2 && int64(n) >= seg.EndOffset && (end != Preallocated && end != CleanEnd || len(l.Findings) > 0):
				t.Errorf("last segment cut at %d of %d: %v %v", n, seg.EndOffset, end, l.Findings)
			case i == 2 && int64(n) < seg.EndOffset && end != Torn && end != CleanEnd:
				t.Errorf("last segment cut at %d: %v %v", n, end, l.Findings)
			}
		}
	}
}

// TestLinear reads bytes that were made to be costly: each looks like a record, and none is one.
func TestLinear(t *testing.T) {
	const size = 4 << 20
	b := make([]byte, size)
	for off := 0; off+32 <= size; off += 16 {
		n := uint64(size-off-frameHeader) &^ 7
		binary.LittleEndian.PutUint64(b[off:], lengthField(n))
		copy(b[off+8:], []byte{8, 2, 16, 1, 0x1a, 0xf0, 0xff, 0x0f})
	}
	start := time.Now()
	Read([]Source{{segmentName(0, 0), b}})
	for off := 0; off+32 <= size; off += 16 {
		copy(b[off:], []byte{16, 0, 0, 0, 0, 0, 0, 0, 8, 2, 16, 1, 0x1a, 0x80, 0x80, 0x80})
	}
	Read([]Source{{segmentName(0, 0), b}})
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}
