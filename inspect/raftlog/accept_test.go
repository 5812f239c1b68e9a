package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"etcd-autopsy/inspect/finding"
)

// etcdLog is what etcd's own reader makes of a log.
type etcdLog struct {
	entries []*raftpb.Entry
	state   *raftpb.HardState
	whole   bool // it came to the end, and not to a record that is cut off
}

// readByEtcd reads a log as a server does when it starts behind a snapshot. ok is false if it refuses or panics.
func readByEtcd(t *testing.T, srcs []Source, start uint64) (l etcdLog, ok bool) {
	t.Helper()
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	dir := t.TempDir()
	for _, s := range srcs {
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(s.Name)), s.Data, 0o600))
	}
	w, err := wal.OpenForRead(zap.NewNop(), dir, &walpb.Snapshot{Index: &start})
	if err != nil {
		return l, false
	}
	defer w.Close()
	_, l.state, l.entries, err = w.ReadAll()
	if err != nil && !errors.Is(err, wal.ErrSnapshotNotFound) {
		return l, false
	}
	var files []fileutil.FileReader
	for _, s := range srcs {
		f, err := os.Open(filepath.Join(dir, filepath.Base(s.Name)))
		must(t, err)
		defer f.Close()
		files = append(files, fileutil.NewFileReader(f))
	}
	d := wal.NewDecoder(files...)
	var rec walpb.Record
	for err = d.Decode(&rec); err == nil; err = d.Decode(&rec) {
		if rec.GetType() == wal.CrcType {
			d.UpdateCRC(rec.GetCrc())
		}
	}
	l.whole = errors.Is(err, io.EOF)
	return l, true
}

// same compares what both read. extra allows entries that etcd does not have.
func (l etcdLog) same(got *Log, start uint64) error {
	var entries []Entry
	for _, e := range got.Entries {
		if e.Index > start {
			entries = append(entries, e)
		}
	}
	if len(entries) != len(l.entries) {
		return fmt.Errorf("%d entries, etcd reads %d", len(entries), len(l.entries))
	}
	for i, e := range entries {
		if w := l.entries[i]; e.Index != w.GetIndex() || e.Term != w.GetTerm() || int(e.Type) != int(w.GetType()) || !bytes.Equal(e.Data, w.Data) {
			return fmt.Errorf("entry %d is not etcd's %d", e.Index, w.GetIndex())
		}
	}
	if s := l.state; got.HardState != (HardState{s.GetTerm(), s.GetVote(), s.GetCommit()}) {
		return fmt.Errorf("hard state %+v, etcd reads %v", got.HardState, s)
	}
	return nil
}

// begins tells that etcd reads the same up to a length of zero in the last segment, and that there is more behind it, which
// was once synced: see settle. etcd loses it without a word.
func (l etcdLog) begins(got *Log, start uint64) bool {
	cut := *got
	for len(cut.Entries) > 0 && cut.Last() > start+uint64(len(l.entries)) {
		cut.Entries = cut.Entries[:len(cut.Entries)-1]
	}
	cut.HardState = HardState{l.state.GetTerm(), l.state.GetVote(), l.state.GetCommit()}
	return cut.Last() < got.Last() && l.same(&cut, start) == nil
}

// reframe writes the records of a segment anew, the i-th with a padding of pad(i, record size) bytes and the length field of
// a padded record if it has one. Zeros follow up to the old size.
func reframe(src Source, pad func(i, n int) int) Source {
	out := make([]byte, 0, len(src.Data))
	for i, r := range frames(src) {
		if !r.Valid || r.Err != nil {
			break
		}
		n, _ := frameSize(binary.LittleEndian.Uint64(src.Data[r.Offset:]))
		field, p := n, pad(i, int(n))
		if p > 0 {
			field |= uint64(0x80|p) << 56
		}
		out = binary.LittleEndian.AppendUint64(out, field)
		out = append(out, src.Data[r.Offset+frameHeader:][:n]...)
		out = append(out, make([]byte, p)...)
	}
	return Source{src.Name, append(out, make([]byte, max(0, len(src.Data)-len(out)))...)}
}

func noPadding(int, int) int  { return 0 }
func padding(_, n int) int    { return -n & (alignment - 1) }
func anyPadding(i, n int) int { return (i*5 + n) % alignment }
func paddedFrom(from int) func(i, n int) int {
	return func(i, n int) int {
		if i < from {
			return 0
		}
		return padding(i, n)
	}
}

// TestUnpadded reads records without padding, as etcd up to 2.3 wrote them, and logs that a later version goes on with.
func TestUnpadded(t *testing.T) {
	good := smallLog(t)
	want := contentOf(Read(good))
	for name, framing := range map[string][3]func(i, n int) int{
		"all":                    {noPadding, noPadding, noPadding},
		"a log that 3.x goes on": {noPadding, paddedFrom(0), paddedFrom(0)},
		"a segment that it does": {noPadding, paddedFrom(5), padding},
	} {
		t.Run(name, func(t *testing.T) {
			srcs := clone(good)
			for i := range srcs {
				srcs[i] = reframe(srcs[i], framing[i])
			}
			l := Read(srcs)
			checkCoverage(t, l, srcs)
			if len(l.Findings) > 0 {
				t.Errorf("findings: %v", l.Findings)
			}
			if got := contentOf(l); !reflect.DeepEqual(got, want) {
				t.Errorf("not what it was")
			}
			if e, ok := readByEtcd(t, srcs, 0); !ok || !e.whole || e.same(l, 0) != nil {
				t.Errorf("not what etcd reads: %v", e.same(l, 0))
			}

			// Behind damage they are found again.
			seg, rec := frameOf(t, srcs, 5)
			clear(srcs[seg].Data[rec.Offset : rec.Offset+rec.Size])
			if l := Read(srcs); l.Entry(5) != nil || l.Entry(8) == nil || l.Entry(30) == nil || !hasError(l) {
				t.Errorf("after damage: entries %d to %d, %v", l.First(), l.Last(), l.Findings)
			}
		})
	}
}

// TestZerosInTheLastSegment has zeros with records behind them. etcd reads up to the zeros: a crash leaves that. Only where
// what follows proves that the zeros had been records on the disk is something lost.
func TestZerosInTheLastSegment(t *testing.T) {
	for _, c := range []struct {
		name string
		tail func(w *writer)
		lost bool
	}{
		{"one write that was not synced", func(w *writer) { w.save(3, nodeID, 5, ents(6, 9, 3)...) }, false},
		{"written after it was committed", func(w *writer) {
			w.save(3, nodeID, 5, ents(6, 9, 3)...)
			w.save(3, nodeID, 9, ents(10, 12, 3)...)
			w.save(3, nodeID, 12, ents(13, 13, 3)...)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWriter(t, 1<<16)
			w.save(3, nodeID, 4, ents(1, 5, 3)...)
			c.tail(w)
			srcs := w.close()
			_, rec := frameOf(t, srcs, 6)
			clear(srcs[0].Data[rec.Offset : rec.Offset+rec.Size])
			l := Read(srcs)
			checkCoverage(t, l, srcs)
			etcd, ok := readByEtcd(t, srcs, 0)
			if !ok || !etcd.whole || len(etcd.entries) != 5 {
				t.Fatalf("etcd reads %d entries", len(etcd.entries))
			}
			lost := slices.ContainsFunc(l.Findings, func(f finding.Finding) bool { return f.Unreadable })
			if err := etcd.same(l, 0); lost != c.lost || (err == nil) == c.lost {
				t.Errorf("last entry %d, %v: %v", l.Last(), err, l.Findings)
			}
			if !c.lost && (len(l.Findings) != 1 || l.Findings[0].Code != "wal-bytes-after-end" || l.Findings[0].Severity != finding.Warning) {
				t.Errorf("findings %v", l.Findings)
			}
		})
	}
}

// TestAcceptsWhatEtcdReads changes how records are framed, cuts segments, and flips bits. Whatever etcd's reader then reads
// to the end is read here, with the same entries.
func TestAcceptsWhatEtcdReads(t *testing.T) {
	good := smallLog(t)
	rnd := rand.New(rand.NewSource(5))
	n := 1500
	if testing.Short() {
		n = 300
	}
	read, refused := map[string]int{}, 0
	for range n {
		srcs, start := clone(good), uint64(0)
		var what []string
		for range 1 + rnd.Intn(2) {
			i := rnd.Intn(len(srcs))
			if rnd.Intn(2) == 0 {
				i = len(srcs) - 1
			}
			all := frames(srcs[i])
			if len(all) == 0 {
				continue
			}
			rec := all[rnd.Intn(len(all))]
			end := all[len(all)-1].Offset + all[len(all)-1].Size
			kind := ""
			switch k := rnd.Intn(11); k {
			case 0:
				kind = "no padding"
				srcs[i] = reframe(srcs[i], noPadding)
			case 1:
				kind = "no padding up to a record"
				srcs[i] = reframe(srcs[i], paddedFrom(rnd.Intn(12)))
			case 2:
				kind = "any padding"
				srcs[i] = reframe(srcs[i], anyPadding)
			case 3:
				kind = "cut"
				srcs[i].Data = srcs[i].Data[:rnd.Intn(len(srcs[i].Data)+1)]
			case 4:
				kind = "cut between records"
				srcs[i].Data = srcs[i].Data[:rec.Offset]
			case 5:
				kind = "zeros from a record on"
				clear(srcs[i].Data[rec.Offset:])
			case 6:
				kind = "longer"
				srcs[i].Data = append(srcs[i].Data, make([]byte, rnd.Intn(3000))...)
			case 7:
				kind = "bit of a length"
				srcs[i].Data[min(rec.Offset+int64(rnd.Intn(8)), int64(len(srcs[i].Data)-1))] ^= 1 << rnd.Intn(8)
			case 8:
				kind = "bit"
				srcs[i].Data[rnd.Intn(int(end))] ^= 1 << rnd.Intn(8)
			case 9:
				kind = "a crc record"
				crc, _ := appendRecord(nil, TypeCRC, rec.CRC, nil)
				if rnd.Intn(5) == 0 {
					crc, _ = appendRecord(nil, TypeCRC, rec.CRC+1, nil)
				}
				srcs[i].Data = slices.Insert(srcs[i].Data, int(rec.Offset+rec.Size), crc...)
			case 10:
				switch rnd.Intn(3) {
				case 0:
					kind = "begins later"
					if len(srcs) > 1 {
						srcs = srcs[1:]
						_, start, _ = parseName(srcs[0].Name, ".wal")
					}
				case 1:
					kind = "names"
					srcs[i].Name = strings.Replace(srcs[i].Name, "0000000000000000-", "0000000000000001-", 1)
				case 2:
					kind = "names"
					srcs[i].Name = "member/wal/" + fmt.Sprintf("%016x-%016x.wal", i*2, start+uint64(i*(1+rnd.Intn(20))))
				}
			}
			what = append(what, fmt.Sprintf("%s in segment %d", kind, i))
		}
		slices.SortFunc(srcs, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
		if len(slices.CompactFunc(slices.Clone(srcs), func(a, b Source) bool { return a.Name == b.Name })) < len(srcs) {
			continue
		}
		etcd, ok := readByEtcd(t, srcs, start)
		if !ok || !etcd.whole {
			refused++
			continue
		}
		read[strings.Split(what[0], " in ")[0]]++
		l := Read(srcs)
		checkCoverage(t, l, srcs)
		if err := etcd.same(l, start); err != nil && !(hasError(l) && etcd.begins(l, start)) {
			t.Errorf("%s: %v: %v", strings.Join(what, ", "), err, l.Findings)
		}
		for _, f := range l.Findings {
			// A name or a state that tells of entries which are not there: etcd's reader does not compare them.
			if f.Unreadable && f.Code != "wal-commit-beyond-log" && !(f.Code == "wal-segment-missing" && l.Segments[len(l.Segments)-1].Records == 0) {
				t.Errorf("%s: %s: %s", strings.Join(what, ", "), f.Code, f)
			}
		}
	}
	t.Logf("etcd refuses or cuts %d logs and reads to the end: %v", refused, read)
	if len(read) < 9 || refused == 0 {
		t.Errorf("etcd reads to the end only %v", read)
	}
}
