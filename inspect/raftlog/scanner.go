package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"etcd-autopsy/inspect/finding"
)

// ErrCorrupt is what every CorruptError is.
var ErrCorrupt = errors.New("corrupt")

// CorruptError is damage at one place of one file.
type CorruptError struct {
	Code   string // of the finding
	File   string
	Offset int64
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", e.File, e.Offset, e.What)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Finding returns e as a finding.
func (e *CorruptError) Finding() finding.Finding {
	return finding.New(e.Code, finding.Error, e.File, "%s", e.What).At(e.Offset)
}

// Record is one record of a segment, or a stretch of it that holds no readable record.
type Record struct {
	Type RecordType
	CRC  uint32 // as stored
	// Data is a part of the segment, valid as long as that is.
	Data []byte
	// Offset is where the frame starts, Size its length with header and padding.
	Offset, Size int64
	// Valid tells that a checksum vouches for Data. Otherwise Type and Data are what the damaged bytes say, if anything.
	Valid bool
	// Err is the damage; a Valid record may have one too, such as a length field that had to be inferred.
	Err *CorruptError

	unknown bool // fields that no known version writes
	doubt   bool // the length field is not one that etcd 3 writes
	zeros   bool // in the last segment: zeros stand before what is left of the log, and end it for etcd
}

// Scanner reads the records of one segment in order:
//
//	for s := NewScanner(src); s.Next(); {
//		r := s.Record()
//	}
//
// It goes on after damage as far as checksums allow. Every byte of the segment is part of one record, or of the zeros
// that were preallocated after the last one.
type Scanner struct {
	name   string
	data   []byte
	off    int64 // of the next frame
	crc    uint32
	seeded bool // crc is the checksum up to off
	last   bool // no segment follows
	plain  bool // the last frame had no padding, though it could have some: etcd up to 2.3 wrote none
	budget int64

	rec    Record
	err    *CorruptError
	done   bool
	ending Ending
	endOff int64
	zeros  int64 // behind the last record
}

// NewScanner returns a scanner over one segment, taken as the last one of its log.
func NewScanner(src Source) *Scanner {
	// Whatever is read more than twice, to find records behind damage, comes out of the budget: cost stays linear.
	return &Scanner{name: src.Name, data: src.Data, last: true, budget: 4*int64(len(src.Data)) + 1<<20}
}

// Record returns the record that Next moved to.
func (s *Scanner) Record() Record { return s.rec }

// Offset is where the next record starts, or at the end where records end.
func (s *Scanner) Offset() int64 {
	if s.done {
		return s.endOff
	}
	return s.off
}

// Next moves to the next record.
func (s *Scanner) Next() bool {
	if s.done {
		return false
	}
	rest := s.data[s.off:]
	if zeroFrame(rest) {
		n := leadingZeros(rest)
		if n == len(rest) {
			s.finish(CleanEnd)
			if n > 0 {
				s.ending, s.zeros = Preallocated, int64(n)
			}
			return false
		}
		return s.afterZeros(int64(n))
	}
	rec, ok := s.frame(s.off)
	if ok && s.verifies(rec) && (!rec.doubt || s.plain && rec.Err == nil || s.goesOn(rec)) {
		if padded := s.data[s.off+frameHeader-1] != 0; padded || rec.doubt {
			s.plain = !padded
		}
		return s.accept(rec)
	}
	return s.damaged(rec, ok)
}

// goesOn tells whether the records go on behind rec, or end there.
func (s *Scanner) goesOn(rec Record) bool {
	ok, end := s.peek(rec.Offset+rec.Size, rec.CRC)
	return ok || end
}

// finish ends the scan; records end at off.
func (s *Scanner) finish(e Ending) { s.done, s.ending, s.endOff = true, e, s.off }

// accept makes rec the current record and moves behind it.
func (s *Scanner) accept(rec Record) bool {
	rec.Valid = true
	s.crc, s.seeded = rec.CRC, true
	return s.emit(rec)
}

func (s *Scanner) emit(rec Record) bool {
	s.rec, s.off = rec, rec.Offset+rec.Size
	if rec.Err != nil && s.err == nil {
		s.err = rec.Err
	}
	return true
}

func (s *Scanner) corrupt(code string, off int64, format string, args ...any) *CorruptError {
	return &CorruptError{Code: code, File: s.name, Offset: off, What: fmt.Sprintf(format, args...)}
}

// frame decodes the frame at off. It is false if the length does not fit or the record is malformed.
func (s *Scanner) frame(off int64) (Record, bool) {
	rec := Record{Offset: off}
	rest := s.data[off:]
	if len(rest) < frameHeader {
		return rec, false
	}
	field := binary.LittleEndian.Uint64(rest)
	n, pad := frameSize(field)
	if n == 0 || n > uint64(len(rest)-frameHeader) || n+pad > uint64(len(rest)-frameHeader) {
		return rec, false
	}
	if rec.doubt = field != lengthField(n); rec.doubt && field != n {
		rec.Err = s.corrupt("wal-frame-corrupt", off, "length field damaged; the record itself is whole")
	}
	rec.Size = int64(frameHeader + n + pad)
	c := cursor{b: rest[frameHeader : frameHeader+n]}
	for c.next() {
		switch c.num {
		case 1:
			rec.Type = RecordType(c.varint())
		case 2:
			rec.CRC = c.uint32()
		case 3:
			rec.Data = c.bytes()
		default:
			c.skip()
		}
	}
	rec.unknown = c.unknown
	return rec, !c.bad
}

// frameSize is what etcd's decoder reads from a length field (wal/decoder.go, decodeFrameSize): the size of the record, and
// of the padding, of which there is none unless the highest bit is set.
func frameSize(field uint64) (n, pad uint64) {
	if field>>63 != 0 {
		pad = field >> 56 & (alignment - 1)
	}
	return field & lengthMask, pad
}

// lengthField is the header of a frame that holds n bytes.
func lengthField(n uint64) uint64 {
	if pad := -n % alignment; pad != 0 {
		return n | (0x80|pad)<<56
	}
	return n
}

// looseFrame decodes a record whose length field cannot be trusted: the record's own fields, in the order in which etcd
// writes them, tell where it ends.
func (s *Scanner) looseFrame(off int64) (rec Record, n int64, ok bool) {
	rec.Offset = off
	if off+frameHeader > int64(len(s.data)) {
		return rec, 0, false
	}
	body := s.data[off+frameHeader:]
	c := cursor{b: body}
	for want := 1; want <= 3 && !c.bad; want++ {
		if len(c.b) == 0 || want == 3 && c.b[0] != 3<<3|2 {
			break // a record without data
		}
		if !c.next() || int(c.num) != want {
			return rec, 0, false
		}
		switch want {
		case 1:
			rec.Type = RecordType(c.varint())
		case 2:
			rec.CRC = c.uint32()
		case 3:
			rec.Data = c.bytes()
		}
	}
	n = int64(len(body) - len(c.b))
	if rec.Size = frameHeader + n; !s.plain {
		rec.Size = frameHeader + (n+alignment-1)/alignment*alignment
	}
	return rec, n, !c.bad && rec.Type.known() && off+rec.Size <= int64(len(s.data))
}

// verifies tells whether rec carries the checksum that the records before it and its data make.
func (s *Scanner) verifies(rec Record) bool {
	if rec.Type == TypeCRC && len(rec.Data) == 0 && (!s.seeded || s.crc == 0) {
		return true // a first segment's own word, which etcd takes as well
	}
	return s.seeded && follows(rec, s.crc)
}

func follows(rec Record, seed uint32) bool {
	return crc32.Update(seed, castagnoli, rec.Data) == rec.CRC
}

// peek tells whether the frame at off continues a chain whose checksum is seed, and whether the records end at off.
func (s *Scanner) peek(off int64, seed uint32) (ok, end bool) {
	if zeroFrame(s.data[off:]) {
		return false, true
	}
	rec, ok := s.frame(off)
	s.budget -= rec.Size + frameHeader
	return ok && follows(rec, seed), false
}

// damaged handles the frame at off, which does not decode or does not verify.
func (s *Scanner) damaged(rec Record, framed bool) bool {
	// The record may be sound and only its length field damaged.
	if loose, _, ok := s.looseFrame(s.off); ok && s.seeded && (!framed || loose.Size != rec.Size) && s.budget > 0 {
		s.budget -= int64(len(loose.Data))
		if follows(loose, s.crc) {
			loose.Err = s.corrupt("wal-frame-corrupt", s.off, "length field damaged; the record itself is whole")
			return s.accept(loose)
		}
	}
	if framed {
		next := s.off + rec.Size
		follows, end := s.peek(next, rec.CRC)
		switch computed := crc32.Update(s.crc, castagnoli, rec.Data); {
		case follows && !s.seeded:
			rec.Err = s.corrupt("wal-crc-mismatch", s.off, "%s record cannot be verified: the checksum before it is unknown", rec.Type)
			s.crc, s.seeded = rec.CRC, true
			return s.emit(rec)
		case follows && rec.Type == TypeCRC:
			rec.Err = s.corrupt("wal-crc-mismatch", s.off,
				"the segment does not continue the one before it: checksum there %08x, here %08x", s.crc, rec.CRC)
			s.crc = rec.CRC
			return s.emit(rec)
		case follows:
			rec.Err = s.corrupt("wal-crc-mismatch", s.off, "%s record: checksum stored %08x, computed %08x", rec.Type, rec.CRC, computed)
			s.crc = rec.CRC
			return s.emit(rec)
		case end && !(s.last && s.zeroSector(rec)):
			rec.Err = s.corrupt("wal-crc-mismatch", s.off, "last %s record: checksum stored %08x, computed %08x", rec.Type, rec.CRC, computed)
			s.seeded = false
			return s.emit(rec)
		}
		if s.seeded && !end {
			if ok, _ := s.peek(next, crc32.Update(s.crc, castagnoli, rec.Data)); ok {
				rec.Err = s.corrupt("wal-crc-mismatch", s.off, "stored checksum %08x damaged; the next record vouches for the data", rec.CRC)
				rec.CRC = crc32.Update(s.crc, castagnoli, rec.Data)
				return s.accept(rec)
			}
		}
	}
	if s.resync("wal-frame-corrupt", "records cannot be read") {
		return true
	}

	// Nothing readable follows: the log ends here.
	start, ending := s.off, Corrupt
	code, what := "wal-frame-corrupt", "records cannot be read up to the end of the file"
	if s.last && s.torn(rec, framed) {
		ending = Torn
		code, what = "wal-torn-tail", "the last record was written in part"
	}
	s.finish(ending)
	return s.stretch(start, s.usedEnd(), code, what)
}

// afterZeros handles n zeros, where a frame was expected, with other bytes behind them.
func (s *Scanner) afterZeros(n int64) bool {
	if loose, _, ok := s.looseFrame(s.off); ok && s.seeded && n == frameHeader && s.verifies(loose) {
		loose.Err = s.corrupt("wal-frame-corrupt", s.off, "length field zeroed; the record itself is whole")
		loose.zeros = s.last
		return s.accept(loose)
	}
	if s.resync("wal-frame-corrupt", "zeros where records should be") {
		s.rec.zeros = s.last
		return true
	}
	start := s.off + n
	s.finish(Trailing)
	s.zeros = n
	return s.stretch(start, s.usedEnd(), "wal-bytes-after-end", "bytes that are no records follow the zeros after the last record")
}

// stretch emits the bytes from start to end as unreadable; what follows are zeros.
func (s *Scanner) stretch(start, end int64, code, what string) bool {
	s.zeros += int64(len(s.data)) - end
	s.seeded = false
	return s.emit(Record{Offset: start, Size: end - start, Err: s.corrupt(code, start, "%s (%d bytes)", what, end-start)})
}

// usedEnd is the offset behind the last byte that is not zero.
func (s *Scanner) usedEnd() int64 {
	end := len(s.data)
	for end > 0 && s.data[end-1] == 0 {
		end--
	}
	return int64(end)
}

// resync looks for the next frame whose stored checksum the two records behind it confirm, and emits everything up to
// its end as unreadable: nothing vouches for the data of that frame itself.
func (s *Scanner) resync(code, what string) bool {
	step := int64(alignment)
	if s.plain || s.off%alignment != 0 {
		step = 1
	}
	for off := (s.off/step + 1) * step; off+frameHeader < int64(len(s.data)) && s.budget > 0; off += step {
		if s.data[off+frameHeader] != 1<<3 { // each record starts with its type
			continue
		}
		rec, n, ok := s.looseFrame(off)
		switch field := binary.LittleEndian.Uint64(s.data[off:]); {
		case !ok:
			continue
		case field == lengthField(uint64(n)):
			rec.Size = frameHeader + (n+alignment-1)/alignment*alignment
		case step == 1 && field == uint64(n):
			rec.Size = frameHeader + n
		default:
			continue
		}
		next, ok := s.frameFollowing(rec)
		if !ok {
			continue
		}
		if ok, end := s.peek(next.Offset+next.Size, next.CRC); !ok && !end {
			continue
		}
		end := off + rec.Size
		start := s.off
		s.crc, s.seeded = rec.CRC, true
		return s.emit(Record{Offset: start, Size: end - start, Err: s.corrupt(code, start, "%s (%d bytes)", what, end-start)})
	}
	return false
}

// frameFollowing decodes and verifies the frame behind rec, trusting rec's checksum.
func (s *Scanner) frameFollowing(rec Record) (Record, bool) {
	next, ok := s.frame(rec.Offset + rec.Size)
	s.budget -= next.Size + frameHeader
	return next, ok && next.Type.known() && follows(next, rec.CRC)
}

// torn tells whether the frame at off looks like one that was being written when its host stopped.
func (s *Scanner) torn(rec Record, framed bool) bool {
	rest := s.data[s.off:]
	if len(rest) < frameHeader {
		return true
	}
	field := binary.LittleEndian.Uint64(rest)
	n, pad := frameSize(field)
	if field != lengthField(n) && field != n {
		return false
	}
	if n+pad > uint64(len(rest)-frameHeader) {
		return len(rest) == frameHeader || rest[frameHeader] == 1<<3 || leadingZeros(rest[frameHeader:]) > 0
	}
	rec.Size = int64(frameHeader + n + pad)
	return s.zeroSector(rec)
}

// zeroSector tells whether a disk sector inside the frame was never written (wal/decoder.go, isTornEntry).
func (s *Scanner) zeroSector(rec Record) bool {
	for off, end := rec.Offset+frameHeader, rec.Offset+rec.Size; off < end; {
		next := min(end, (off/sectorSize+1)*sectorSize)
		if leadingZeros(s.data[off:next]) == int(next-off) {
			return true
		}
		off = next
	}
	return false
}

// zeroFrame tells whether no frame starts here: the bytes end, or the length is zero.
func zeroFrame(b []byte) bool {
	return leadingZeros(b[:min(len(b), frameHeader)]) == min(len(b), frameHeader)
}

// leadingZeros counts the zero bytes at the start of b.
func leadingZeros(b []byte) int {
	n := 0
	for ; len(b)-n >= 32; n += 32 {
		w := b[n : n+32 : n+32]
		if binary.LittleEndian.Uint64(w)|binary.LittleEndian.Uint64(w[8:])|binary.LittleEndian.Uint64(w[16:])|binary.LittleEndian.Uint64(w[24:]) != 0 {
			break
		}
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
