package raftlog

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"etcd-autopsy/inspect/finding"
)

// maxFindings bounds how many findings of one code are listed.
const maxFindings = 1000

// Read reads the segments of one log, in any order. What is wrong with them is in Findings.
func Read(segments []Source) *Log {
	r := reader{Log: &Log{}, counts: map[string]int{}}
	var srcs []Source
	for _, src := range segments {
		r.Coverage.Bytes += int64(len(src.Data))
		if seq, index, ok := parseName(src.Name, ".wal"); ok {
			srcs = append(srcs, src)
			r.Segments = append(r.Segments, Segment{Name: src.Name, Seq: seq, FirstIndex: index, Size: int64(len(src.Data))})
		} else {
			r.foreign(src)
		}
	}
	order := func(a, b string) int { return cmp.Compare(path.Base(a), path.Base(b)) }
	slices.SortFunc(srcs, func(a, b Source) int { return order(a.Name, b.Name) })
	slices.SortFunc(r.Segments, func(a, b Segment) int { return order(a.Name, b.Name) })
	for i, src := range srcs {
		r.segment(i, src)
	}
	r.finish()
	finding.Sort(r.Findings)
	return r.Log
}

// reader puts a log together, record by record, in one goroutine: segments in the order of their names, and the records of each in the order of the file.
type reader struct {
	*Log
	counts map[string]int // findings by code

	seg     int    // number of the segment that is read
	crc     uint32 // the checksum at the end of the segment before
	seeded  bool   // crc is known
	enti    uint64 // the index that etcd names the next segment after, less one
	damaged bool   // something could not be read
	// holes are the findings, by position, behind which entries may be missing, since the last entry.
	holes []int
	// tail are findings that lose nothing if the log is complete up to the commit index.
	tail     []int
	metaSeen bool   // in this segment
	termNow  uint64 // of the last entry
	ended    *ended // nil if no zeros end the log for etcd
}

// ended is the log as it was before zeros that end it for etcd, though records follow them in the same segment.
type ended struct {
	entries, superseded []Entry
	state               HardState
	hasState            bool
	snapshots           int
	enti, term          uint64
	finding             int // about the zeros, -1 if it is not listed
	read                int64
	committed           bool // a state behind the zeros knows an entry as committed that is not before them
	durable             bool // and more was written after that
}

func (r *reader) add(f finding.Finding) int {
	r.counts[f.Code]++
	switch n := r.counts[f.Code]; {
	case n == maxFindings:
		f.Detail += "; further findings of this kind are not listed"
	case n > maxFindings:
		return -1
	}
	r.Findings = append(r.Findings, f)
	return len(r.Findings) - 1
}

// hole notes that entries may be missing because of finding i.
func (r *reader) hole(i int) {
	r.damaged = true
	if i >= 0 {
		r.holes = append(r.holes, i)
	}
}

// foreign handles a file that is not named like a segment.
func (r *reader) foreign(src Source) {
	if strings.HasSuffix(src.Name, ".tmp") && leadingZeros(src.Data) == len(src.Data) {
		r.Coverage.BytesPreallocated += int64(len(src.Data))
	} else {
		r.Coverage.BytesSkipped += int64(len(src.Data))
	}
	switch {
	case strings.HasSuffix(src.Name, ".tmp"):
		r.add(finding.New("wal-name", finding.Info, src.Name, "a segment prepared for later use"))
	case strings.HasSuffix(src.Name, ".broken"):
		r.add(finding.New("wal-name", finding.Info, src.Name, "a segment as it was before etcd cut off a torn record"))
	default:
		r.add(finding.New("wal-name", finding.Warning, src.Name, "not named like a segment, so not read").Lost())
	}
}

// segment reads the i-th segment.
func (r *reader) segment(i int, src Source) {
	r.seg, r.metaSeen = i, false
	seg := &r.Segments[i]
	if i == 0 {
		if seg.FirstIndex > 0 {
			r.enti = seg.FirstIndex - 1
		}
		r.seeded = true // as etcd does, with checksum 0: then the crc record that comes first has its own word
	} else {
		r.follow(&r.Segments[i-1], seg, src)
	}

	s := NewScanner(src)
	s.last = i == len(r.Segments)-1
	s.crc, s.seeded = r.crc, r.seeded
	for first := true; s.Next(); first = false {
		rec := s.Record()
		if first && rec.Valid && rec.Type != TypeCRC {
			r.add(finding.New("wal-record-order", finding.Warning, src.Name, "the segment starts with a %s record, not a crc record", rec.Type).At(rec.Offset))
		}
		r.record(seg, rec)
	}
	if !r.metaSeen && s.ending != Torn {
		r.add(finding.New("wal-metadata-missing", finding.Warning, src.Name, "the segment holds no metadata record"))
	}
	seg.End, seg.EndOffset = s.ending, s.endOff
	r.Coverage.BytesPreallocated += s.zeros
	r.crc, r.seeded = s.crc, s.seeded
}

// follow checks that b is the segment behind a. Names alone prove nothing: where the checksum goes on, nothing is missing.
func (r *reader) follow(a, b *Segment, src Source) {
	goesOn := r.goesOn(src)
	switch {
	case b.Seq == a.Seq && goesOn, b.Seq > a.Seq+1 && goesOn:
		sev := finding.Error
		if a.Seq == 0 { // etcd takes that (wal/util.go, isValidSeq)
			sev = finding.Warning
		}
		r.add(finding.New("wal-name", sev, b.Name, "the name says segment %d behind segment %d, but its records continue those before", b.Seq, a.Seq))
	case b.Seq == a.Seq:
		r.hole(r.add(finding.New("wal-name", finding.Error, b.Name, "a second segment with sequence number %d", b.Seq).Lost()))
		r.seeded = false
	case b.Seq > a.Seq+1:
		missing := path.Join(path.Dir(b.Name), segmentName(a.Seq+1, r.enti+1))
		what := "the segment is missing"
		if n := b.Seq - a.Seq - 1; n > 1 {
			what = fmt.Sprintf("this segment and %d behind it are missing", n-1)
		}
		r.hole(r.add(finding.New("wal-segment-missing", finding.Error, missing, "%s; the next one starts at entry %d", what, b.FirstIndex).Lost()))
		r.seeded = false
	case b.FirstIndex > r.enti+1 && !r.damaged && !goesOn:
		r.hole(r.add(finding.New("wal-segment-missing", finding.Error, b.Name,
			"the name says that the segment starts at entry %d, but the one before it ends at %d", b.FirstIndex, r.enti).Lost()))
	case (b.FirstIndex <= r.Last() || b.FirstIndex > r.enti+1) && !r.damaged:
		r.add(finding.New("wal-name", finding.Warning, b.Name,
			"the name says that the segment starts at entry %d, but the one before it ends at %d", b.FirstIndex, r.enti))
	}
}

// goesOn tells whether a segment begins with the checksum at which the one before it ends.
func (r *reader) goesOn(src Source) bool {
	rec, ok := NewScanner(src).frame(0)
	return ok && r.seeded && r.crc != 0 && rec.Type == TypeCRC && len(rec.Data) == 0 && rec.CRC == r.crc
}

// record takes in one record, or one stretch of damage.
func (r *reader) record(seg *Segment, rec Record) {
	if rec.Err != nil {
		f := rec.Err.Finding()
		if !rec.Valid {
			f = r.lost(f, rec)
		}
		if rec.zeros && r.ended == nil {
			r.ended = &ended{slices.Clone(r.Entries), slices.Clone(r.Superseded), r.HardState, r.HasHardState, len(r.Snapshots), r.enti, r.termNow, -1, 0, false, false}
		}
		i := r.add(f)
		if rec.zeros && r.ended.finding < 0 {
			r.ended.finding = i
		}
		if !rec.Valid {
			r.hole(i)
			if i >= 0 && (f.Code == "wal-torn-tail" || f.Code == "wal-bytes-after-end") {
				r.tail = append(r.tail, i)
			}
		}
	}
	if !rec.Valid {
		r.Coverage.BytesSkipped += rec.Size
		return
	}
	r.Coverage.BytesRead += rec.Size
	r.Coverage.Records++
	seg.Records++
	if rec.Size >= bigRecord {
		r.add(finding.New("wal-big-record", finding.Info, seg.Name, "a record of %d bytes: etcd before 3.5.5 cannot read it back", rec.Size).At(rec.Offset))
	}
	unknown := rec.unknown
	var c cursor
	switch rec.Type {
	case TypeMetadata:
		var node, cluster uint64
		if c = decodeVarints(rec.Data, &node, &cluster); !c.bad {
			r.metadata(seg, rec, node, cluster)
		}
	case TypeEntry:
		e := Entry{Seg: int32(r.seg), Offset: rec.Offset}
		if c = decodeEntry(rec.Data, &e); !c.bad {
			r.Coverage.EntryRecords++
			seg.Entries++
			r.entry(seg, e)
		}
	case TypeState:
		var st HardState
		if c = decodeVarints(rec.Data, &st.Term, &st.Vote, &st.Commit); !c.bad {
			r.state(seg, rec, st)
		}
	case TypeSnapshot:
		snap := SnapshotRecord{Seg: r.seg, Offset: rec.Offset}
		if c = decodeSnapshot(rec.Data, &snap); !c.bad {
			r.Snapshots = append(r.Snapshots, snap)
			r.enti = max(r.enti, snap.Index)
		}
	case TypeCRC:
		c.bad = len(rec.Data) > 0 // another record, of which only the type is damaged
	default:
		r.hole(r.add(finding.New("wal-unknown-record", finding.Error, seg.Name, "record of unknown type %d", int64(rec.Type)).At(rec.Offset).Lost()))
	}
	if c.bad {
		r.hole(r.add(finding.New("wal-record-malformed", finding.Error, seg.Name, "%s record does not decode, though its checksum is right", rec.Type).At(rec.Offset).Lost()))
	} else if unknown || c.unknown {
		r.add(finding.New("wal-unknown-field", finding.Warning, seg.Name, "%s record holds fields that no known version writes", rec.Type).At(rec.Offset))
	}
}

// lost completes the finding about a record that cannot be used. If the damaged bytes still say which entry it is, and
// that is plausible, entries that it replaced are taken out.
func (r *reader) lost(f finding.Finding, rec Record) finding.Finding {
	var e Entry
	if c := decodeEntry(rec.Data, &e); rec.Type == TypeEntry && !c.bad && e.Index > 0 && e.Index <= r.enti+1 && e.Term >= r.termNow {
		f.Detail += fmt.Sprintf("; it is entry %d, term %d", e.Index, e.Term)
		r.cut(e.Index)
	}
	return f.Lost()
}

// cut moves the entries at and above index to the superseded ones.
func (r *reader) cut(index uint64) {
	if i := r.search(index); i < len(r.Entries) {
		r.Superseded = append(r.Superseded, r.Entries[i:]...)
		r.Entries = r.Entries[:i]
	}
}

func (r *reader) metadata(seg *Segment, rec Record, node, cluster uint64) {
	r.metaSeen = true
	if !r.HasMetadata {
		r.NodeID, r.ClusterID, r.HasMetadata = node, cluster, true
	} else if r.NodeID != node || r.ClusterID != cluster {
		r.add(finding.New("wal-metadata-differs", finding.Error, seg.Name, "metadata says member %016x of cluster %016x, before it was %016x of %016x",
			node, cluster, r.NodeID, r.ClusterID).At(rec.Offset))
	}
}

func (r *reader) state(seg *Segment, rec Record, st HardState) {
	if old := r.HardState; r.HasHardState && (st.Term < old.Term || st.Commit < old.Commit) {
		r.add(finding.New("wal-state-backwards", finding.Error, seg.Name, "hard state goes back from term %d, commit %d to term %d, commit %d",
			old.Term, old.Commit, st.Term, st.Commit).At(rec.Offset))
	}
	r.HardState, r.HasHardState = st, true
	if e := r.ended; e != nil {
		e.committed = e.committed || st.Commit > e.enti
	}
}

func (r *reader) entry(seg *Segment, e Entry) {
	if r.ended != nil {
		r.ended.durable = r.ended.durable || r.ended.committed
	}
	if e.Index == 0 {
		r.add(finding.New("wal-record-malformed", finding.Error, seg.Name, "entry without an index").At(e.Offset).Lost())
		return
	}
	if n := len(r.Entries); len(r.holes) > 0 && n > 0 && e.Index > r.HardState.Commit && e.Term > r.Entries[n-1].Term {
		// A new leader wrote behind the damage: what was not committed before it may have been replaced by what is lost.
		r.cut(r.HardState.Commit + 1)
	}
	last := r.Last()
	if len(r.Entries) == 0 {
		last = max(r.Segments[0].FirstIndex, 1) - 1
	}
	if e.Index <= last {
		r.rewrite(seg, e)
	} else if e.Index > last+1 && !r.hasSnapshot(e.Index-1) {
		r.gap(seg, e, last+1)
	}
	if n := len(r.Entries); n > 0 && e.Term < r.Entries[n-1].Term {
		r.add(finding.New("wal-term-backwards", finding.Error, seg.Name, "entry %d has term %d, the one before it %d", e.Index, e.Term, r.Entries[n-1].Term).At(e.Offset))
	}
	e.AfterDamage = r.damaged
	if n := len(r.Entries); n == cap(r.Entries) && n >= 1024 {
		// The rest of the segment, at the size of the entries so far; never more than 16 times of what is there.
		r.Entries = slices.Grow(r.Entries, min(int((seg.Size-e.Offset)*int64(seg.Entries)/(e.Offset+1))+n/4, 16*n))
	}
	r.Entries = append(r.Entries, e)
	r.enti, r.termNow = e.Index, e.Term
	r.holes = r.holes[:0]
}

// rewrite makes room for an entry whose index was written before.
func (r *reader) rewrite(seg *Segment, e Entry) {
	if old := r.Entry(e.Index); old != nil && r.HasHardState && e.Index <= r.HardState.Commit &&
		(old.Term != e.Term || old.Type != e.Type || !bytes.Equal(old.Data, e.Data)) {
		r.add(finding.New("wal-committed-overwritten", finding.Error, seg.Name,
			"entry %d of term %d is replaced by another one of term %d, although it was committed", e.Index, old.Term, e.Term).At(e.Offset))
	}
	r.cut(e.Index)
}

// gap reports that the entries from first to the one before e are missing.
func (r *reader) gap(seg *Segment, e Entry, first uint64) {
	what := fmt.Sprintf("entries %d to %d", first, e.Index-1)
	if first == e.Index-1 {
		what = fmt.Sprintf("entry %d", first)
	}
	if len(r.holes) == 0 {
		r.hole(r.add(finding.New("wal-gap", finding.Error, seg.Name, "%s: missing before this one, with no snapshot in their place", what).At(e.Offset).Lost()))
		return
	}
	for _, i := range r.holes {
		if f := &r.Findings[i]; !strings.Contains(f.Detail, what+",") {
			f.Detail += "; missing before the next entry: " + what
		}
	}
}

// settle decides about records that follow zeros in the last segment. etcd reads up to the zeros, and writes over the rest:
// after a crash it is what is left of a write that was never synced. But if an entry was written after a state that knows
// entries as committed which should be where the zeros are, those had been synced, and are lost.
func (r *reader) settle() {
	e := r.ended
	if e == nil || e.durable || e.finding < 0 {
		return
	}
	r.Entries, r.Superseded, r.HardState, r.HasHardState, r.Snapshots, r.enti, r.termNow = e.entries, e.superseded, e.state, e.hasState, r.Snapshots[:e.snapshots], e.enti, e.term
	zeros := r.Findings[e.finding]
	r.Findings = append(r.Findings[:e.finding:e.finding], finding.New("wal-bytes-after-end", finding.Warning, zeros.File,
		"zeros end the log here, as for etcd; records that follow them are left of a write that was never synced").At(zeros.Offset))
	r.tail, r.holes = nil, nil
}

// finish says what the whole log lacks.
func (r *reader) finish() {
	r.settle()
	have := r.Last()
	for _, s := range r.Snapshots {
		have = max(have, s.Index)
	}
	if r.HasHardState && r.HardState.Commit > have {
		r.add(finding.New("wal-commit-beyond-log", finding.Error, r.Segments[len(r.Segments)-1].Name,
			"the hard state says that entry %d is committed, but the log ends at %d", r.HardState.Commit, have).Lost())
	}
	for _, i := range r.tail {
		if f := &r.Findings[i]; r.HasHardState && r.HardState.Commit <= have && len(r.Segments) > 0 && f.File == r.Segments[len(r.Segments)-1].Name {
			f.Unreadable = false
			f.Severity = finding.Warning
		}
	}
	if n := len(r.Entries); n > 0 && r.HasHardState && r.HardState.Term < r.Entries[n-1].Term {
		r.add(finding.New("wal-state-backwards", finding.Warning, r.Segments[r.Entries[n-1].Seg].Name,
			"the hard state is of term %d, the last entry of term %d", r.HardState.Term, r.Entries[n-1].Term).At(r.Entries[n-1].Offset))
	}
}
