package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/mvcc"
)

var (
	tortureN       = flag.Int("torture.n", 300, "how many mutated members")
	tortureFrom    = flag.Uint64("torture.from", 1, "seed of the first one")
	tortureSeed    = flag.Uint64("torture.seed", 0, "this one alone, by all commands")
	tortureKeep    = flag.String("torture.keep", "", "where to leave the member of -torture.seed")
	tortureControl = flag.Bool("torture.control", true, "no control character and nothing that is no UTF-8 may be written")
	tortureMeasure = flag.Bool("torture.measure", false, "all commands, in a process for each member whose CPU time and memory are bounded")
)

// What a run on less than 1 MiB may take.
const (
	maxCPU    = 10 * time.Second
	maxMemory = 512 << 20
)

// tortured are the sound members that mutated ones are made of, below a directory: three of one cluster, in which secrets stand
// wherever one may, and one of another.
func tortured(t *testing.T, dir string) (ms []string) {
	t.Helper()
	defer func(n int64) { wal.SegmentSizeBytes = n }(wal.SegmentSizeBytes)
	wal.SegmentSizeBytes = 16 << 10
	for i := range 3 {
		ms = append(ms, filepath.Join(dir, fmt.Sprintf("m%d", i)))
		plantMember(t, ms[i], uint64(0xa0+i), i == 2)
	}
	return append(ms, newSmall(t, filepath.Join(dir, "other")).dir)
}

// mutant is a member that is being made.
type mutant struct {
	*rand.Rand
	dir   string
	bases []string
	did   []string
}

// mutate copies a sound member to dir and spoils it, the same way for the same seed.
func mutate(seed uint64, bases []string, dir string) (*mutant, error) {
	m := &mutant{Rand: rand.New(rand.NewPCG(seed, 22)), dir: dir, bases: bases}
	if err := os.CopyFS(dir, os.DirFS(bases[m.IntN(len(bases))])); err != nil {
		return nil, err
	}
	ways := []struct {
		name string
		do   func() error
	}{
		{"hostile rows", m.rows},
		{"flip bits", m.flip},
		{"cut", m.cut},
		{"page surgery", m.pages},
		{"page surgery", m.pages},
		{"meta surgery", m.meta},
		{"record surgery", m.records},
		{"record surgery", m.records},
		{"hostile entries", m.entries},
		{"hostile entries", m.entries},
		{"foreign log", m.foreign},
		{"swap files", m.swap},
	}
	var chosen []int
	for range 1 + m.IntN(3) {
		chosen = append(chosen, m.IntN(len(ways)))
	}
	slices.Sort(chosen) // rows are written first: bbolt takes no spoilt file
	for _, k := range chosen {
		m.did = append(m.did, ways[k].name)
		if err := ways[k].do(); err != nil {
			m.did = append(m.did, fmt.Sprintf("(not: %v)", err)) // a file may be too short by now
		}
	}
	return m, nil
}

func (m *mutant) glob(pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(m.dir, "member", pattern))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no %s: %w", pattern, errors.Join(err, os.ErrNotExist))
	}
	return files[m.IntN(len(files))], nil
}

// edit changes a file.
func (m *mutant) edit(pattern string, f func(b []byte) []byte) error {
	file, err := m.glob(pattern)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil || len(b) < 64 {
		return errors.Join(err, errors.New("too short"))
	}
	return os.WriteFile(file, f(b), 0o600)
}

func (m *mutant) any() string { return []string{"snap/db", "wal/*.wal", "snap/*.snap"}[m.IntN(3)] }

func (m *mutant) flip() error {
	return m.edit(m.any(), func(b []byte) []byte {
		for range 1 + m.IntN(24) {
			b[m.IntN(len(b))] ^= 1 << m.IntN(8)
		}
		return b
	})
}

func (m *mutant) cut() error {
	return m.edit(m.any(), func(b []byte) []byte { return b[:m.IntN(len(b))] })
}

// hostile numbers are where sums overflow and sizes end.
func (m *mutant) number() uint64 {
	return []uint64{0, 1, 2, 3, 0x7f, 0xff, 0x7fff, 0xffff, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1, m.Uint64N(64)}[m.IntN(16)]
}

// pages spoils pages, whose headers have no checksum: 8 id, 2 flags, 2 count, 4 overflow; behind it elements of 16 bytes.
func (m *mutant) pages() error {
	return m.edit("snap/db", func(b []byte) []byte {
		size := int(binary.LittleEndian.Uint32(b[24:]))
		if size != 1024 && size != 4096 || len(b) < 4*size {
			size = 4096
		}
		n := max(1, len(b)/size)
		for range 1 + m.IntN(4) {
			p := b[m.IntN(n)*size:]
			p = p[:min(size, len(p))]
			switch m.IntN(6) {
			case 0:
				clear(p)
			case 1:
				copy(p, b[m.IntN(n)*size:])
			case 2:
				binary.LittleEndian.PutUint16(p[8:], uint16([]int{1, 2, 4, 16, 0, 0xffff}[m.IntN(6)]))
			case 3:
				binary.LittleEndian.PutUint16(p[10:], uint16(m.number()))
			case 4:
				binary.LittleEndian.PutUint32(p[12:], uint32(m.number()))
			case 5:
				if len(p) >= 64 {
					at := 16 + 16*m.IntN(min(8, (len(p)-32)/16)) + 4*m.IntN(4)
					binary.LittleEndian.PutUint32(p[at:], uint32(m.number()))
				}
			}
		}
		return b
	})
}

// meta spoils a meta page and mends its checksum: behind the header of 16 bytes 4 magic, 4 version, 4 page size, 4 flags, 8 root, 8
// sequence, 8 freelist, 8 high-water mark, 8 transaction, 8 checksum.
func (m *mutant) meta() error {
	return m.edit("snap/db", func(b []byte) []byte {
		size := int(binary.LittleEndian.Uint32(b[24:]))
		for slot := range 2 {
			if at := slot * size; size >= 512 && at+80 <= len(b) && (slot == 0 || m.IntN(2) == 0) {
				p := b[at+16 : at+80]
				if f := 8 + 8*m.IntN(6); f < 16 {
					binary.LittleEndian.PutUint32(p[8:], uint32(m.number()))
				} else {
					binary.LittleEndian.PutUint64(p[f:], m.number())
				}
				h := fnv.New64a()
				h.Write(p[:56])
				binary.LittleEndian.PutUint64(p[56:], h.Sum64())
			}
		}
		return b
	})
}

// walRecord is a record of a segment: type and data.
type walRecord struct {
	typ  uint64
	data []byte
}

// segment edits the records of a log, whose checksums are right afterwards. A frame is 8 bytes, of which the low 56 bits are the
// length and the low 3 bits of the highest byte the padding if its sign is set.
func (m *mutant) segment(f func(rs []walRecord) []walRecord) error {
	return m.edit("wal/*.wal", func(b []byte) []byte {
		var rs []walRecord
		for at := 0; at+8 <= len(b); {
			l := int64(binary.LittleEndian.Uint64(b[at:]))
			n, pad := l&(1<<56-1), int64(0)
			if l < 0 {
				pad = l >> 56 & 7
			}
			if at += 8; n == 0 || n+pad > int64(len(b)-at) {
				break
			}
			var r walRecord
			for rec := b[at : at+int(n)]; len(rec) > 0; {
				tag, k := binary.Uvarint(rec)
				v, j := binary.Uvarint(rec[max(k, 0):])
				if k <= 0 || j <= 0 {
					break
				}
				rec = rec[k+j:]
				switch tag {
				case 1 << 3:
					r.typ = v
				case 3<<3 | 2:
					r.data, rec = rec[:min(v, uint64(len(rec)))], rec[min(v, uint64(len(rec))):]
				}
			}
			rs = append(rs, r)
			at += int(n + pad)
		}
		table := crc32.MakeTable(crc32.Castagnoli)
		crc, out := uint32(0), []byte(nil)
		for _, r := range f(rs) {
			if r.typ == 4 {
				crc = 0
			}
			crc = crc32.Update(crc, table, r.data)
			rec := binary.AppendUvarint(binary.AppendUvarint(nil, 1<<3), r.typ)
			rec = binary.AppendUvarint(binary.AppendUvarint(rec, 2<<3), uint64(crc))
			if r.data != nil {
				rec = append(binary.AppendUvarint(binary.AppendUvarint(rec, 3<<3|2), uint64(len(r.data))), r.data...)
			}
			pad := (8 - len(rec)%8) % 8
			l := uint64(len(rec))
			if pad > 0 {
				l |= uint64(0x80|pad) << 56
			}
			out = append(binary.LittleEndian.AppendUint64(out, l), rec...)
			out = append(out, make([]byte, pad)...)
		}
		return append(out, make([]byte, 4096)...)
	})
}

func (m *mutant) records() error {
	return m.segment(func(rs []walRecord) []walRecord {
		for range 1 + m.IntN(4) {
			if len(rs) < 3 {
				break
			}
			i, j := 1+m.IntN(len(rs)-1), 1+m.IntN(len(rs)-1)
			switch m.IntN(5) {
			case 0:
				rs = slices.Delete(rs, i, i+1)
			case 1:
				rs = slices.Insert(rs, i, rs[j])
			case 2:
				rs[i], rs[j] = rs[j], rs[i]
			case 3:
				rs[i].data = bytes.Clone(rs[i].data)
				for range min(4, len(rs[i].data)) {
					rs[i].data[m.IntN(len(rs[i].data))] = byte(m.Uint32())
				}
			case 4:
				rs[i].typ = m.Uint64N(8)
			}
		}
		return rs
	})
}

// names that get out of where they are printed.
var hostileNames = []string{
	"a\nb", "\x1b[31mred", "x\r", "\x7f", "\u0085\u009b31m", "\u202egnp", "\u2066x", "`|<script>alert(1)</script>", "\xff\xfe", "\x00", "$(id);'\"", strings.Repeat("k", 3000),
}

func (m *mutant) name() []byte { return []byte(hostileNames[m.IntN(len(hostileNames))]) }

// request is one that no client could have sent.
func (m *mutant) request() []byte {
	put := func() *pb.PutRequest {
		return &pb.PutRequest{Key: m.name(), Value: []byte("LogValueCanary"), Lease: int64(m.number()), IgnoreValue: m.IntN(4) == 0, IgnoreLease: m.IntN(4) == 0}
	}
	ops := func() (out []*pb.RequestOp) {
		for range m.IntN(4) {
			out = append(out, []*pb.RequestOp{
				{},
				{Request: &pb.RequestOp_RequestPut{RequestPut: put()}},
				{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}},
				{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{RangeEnd: []byte{0}}}},
			}[m.IntN(4)])
		}
		return out
	}
	r := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: m.Uint64(), Username: string(bytes.ToValidUTF8(m.name(), nil))}}
	switch m.IntN(10) {
	case 0:
		r.Put = put()
	case 1:
		r.DeleteRange = &pb.DeleteRangeRequest{Key: m.name(), RangeEnd: m.name()}
	case 2:
		r.Txn = &pb.TxnRequest{Success: ops(), Failure: ops()}
		for range m.IntN(120) {
			r.Txn.Compare = append(r.Txn.Compare, &pb.Compare{Target: pb.Compare_CompareTarget(m.IntN(6)), Result: pb.Compare_CompareResult(m.IntN(5)), RangeEnd: []byte{0}})
		}
	case 3: // nested deeper than any stack is
		body := []byte(nil)
		for range 1 << (4 + m.IntN(10)) {
			op := append(binary.AppendUvarint([]byte{4<<3 | 2}, uint64(len(body))), body...)
			body = append(binary.AppendUvarint([]byte{2<<3 | 2}, uint64(len(op))), op...)
		}
		return append(binary.AppendUvarint([]byte{5<<3 | 2}, uint64(len(body))), body...)
	case 4:
		r.LeaseGrant = &pb.LeaseGrantRequest{ID: int64(m.number()), TTL: int64(m.number())}
	case 5:
		r.LeaseRevoke = &pb.LeaseRevokeRequest{ID: int64(m.number())}
	case 6:
		r.Compaction = &pb.CompactionRequest{Revision: int64(m.number())}
	case 7:
		r.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: "r"}
	case 8:
		r.Alarm = &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(m.IntN(4)), MemberID: m.number(), Alarm: pb.AlarmType(m.IntN(4))}
	case 9:
		b := make([]byte, m.IntN(64))
		for i := range b {
			b[i] = byte(m.Uint32())
		}
		return b
	}
	b, err := proto.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}

// entries appends entries to the log, or puts them in the place of others.
func (m *mutant) entries() error {
	return m.segment(func(rs []walRecord) []walRecord {
		for range 1 + m.IntN(6) {
			i := 1 + m.IntN(max(1, len(rs)-1))
			if i >= len(rs) || rs[i].typ != 2 {
				continue
			}
			// raftpb.Entry: 1 type, 2 term, 3 index, 4 data.
			old, data := rs[i].data, m.request()
			var e []byte
			for len(old) > 0 && old[0] != 4<<3|2 {
				_, n := binary.Uvarint(old[1:])
				if n <= 0 || 1+n > len(old) {
					break
				}
				v := old[1 : 1+n]
				if m.IntN(16) == 0 {
					v = binary.AppendUvarint(nil, m.number())
				}
				e, old = append(append(e, old[0]), v...), old[1+n:]
			}
			rs[i].data = append(binary.AppendUvarint(append(e, 4<<3|2), uint64(len(data))), data...)
		}
		return rs
	})
}

// rows writes rows that etcd would not, by bbolt's own code.
func (m *mutant) rows() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bbolt: %v", p)
		}
	}()
	file, err := m.glob("snap/db")
	if err != nil {
		return err
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	return errors.Join(db.Update(func(tx *bolt.Tx) error {
		for range 1 + m.IntN(5) {
			name := []string{"key", "key", "key", "lease", "auth", "authUsers", "authRoles", "members", "meta", "alarm", "cluster"}[m.IntN(11)]
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			k, v := m.name(), m.request()
			if name == "key" {
				k = mvcc.Revision{Main: int64(m.number()), Sub: int64(m.number())}.AppendKey(nil)
				if v, err = proto.Marshal(&mvccpb.KeyValue{Key: m.name(), Value: []byte("ValueCanary"), CreateRevision: int64(m.number()), ModRevision: int64(m.number()), Version: int64(m.number()), Lease: int64(m.number())}); err != nil {
					return err
				}
			}
			if err := b.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	}), db.Close())
}

func (m *mutant) foreign() error {
	if err := os.RemoveAll(filepath.Join(m.dir, "member", "wal")); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(m.dir, "member", "wal"), os.DirFS(filepath.Join(m.bases[m.IntN(len(m.bases))], "member", "wal")))
}

func (m *mutant) swap() error {
	a, err := m.glob(m.any())
	b, err2 := m.glob(m.any())
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	x, err := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	return errors.Join(err, err2, os.WriteFile(a, y, 0o600), os.WriteFile(b, x, 0o600))
}

// tortures are the commands, with M for the mutated member and S for a sound one.
var tortures = [][]string{
	{"check", "M"},
	{"inspect", "M", "S"},
	{"diff", "M", "S"},
	{"diff", "M"},
	{"diff", "--replay", "M", "S"},
	{"log", "M"},
	{"log", "--raw", "M"},
	{"log", "--differ", "M", "S"},
	{"history", "--prefix", "/", "M", "S"},
	{"history", "BareKeyCanary", "M"},
	{"dump", "M"},
	{"hash", "M", "S"},
	{"stats", "M"},
	{"get", "BareKeyCanary", "M", "S"},
	{"export", "M", "-o", "O"},
	{"recover", "M", "-o", "O"},
	{"recover", "M", "S", "--from", "x", "--at-entry", "200", "-o", "O"},
	{"recover", "M", "--union-of-acknowledged", "-o", "O"},
	{"verify", "M"},
	{"plan", "M", "--preview"},
	{"preflight", "M", "--to", "3.6"},
	{"plan", "M", "S", "--from", "x", "--preview"},
	{"report", "M", "S", "-o", "O"},
	{"report", "--redact-keys", "M", "S", "-o", "O"},
}

var secretsShown = sync.OnceValue(func() (all []string) {
	for _, s := range secretValues {
		all = append(all, encodings(s)...)
	}
	return all
})

// ordeal runs a command on a mutated member and says what is wrong with what came of it.
func ordeal(ctx context.Context, args []string) (wrong string) {
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 4096)
			wrong = fmt.Sprintf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	var out, errs bytes.Buffer
	status := run(ctx, args, strings.NewReader(""), &out, &errs)
	if status < exitOK || status > exitPartial {
		return fmt.Sprintf("exit status %d", status)
	}
	all := append(out.Bytes(), errs.Bytes()...)
	if i := slices.Index(args, "-o"); i >= 0 && args[0] == "report" {
		files, _ := filepath.Glob(filepath.Join(args[i+1], "report.*")) // none if it could not run
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err.Error()
			}
			all = append(all, b...)
		}
	}
	for _, bad := range []string{"panic", "runtime error", "internal error", "goroutine ", "please report it"} {
		if i := bytes.Index(all, []byte(bad)); i >= 0 {
			return fmt.Sprintf("says %q", all[max(0, i-100):min(len(all), i+200)])
		}
	}
	shown := secretsShown()
	if args[0] == "get" { // which was asked for a value, but never for a password
		shown = []string{"PasswordCanary", "HashCanary", "TokenCanary"}
	}
	for _, s := range shown {
		if i := bytes.Index(all, []byte(s)); i >= 0 {
			return fmt.Sprintf("shows a value: %q", all[max(0, i-100):min(len(all), i+50)])
		}
	}
	for i, r := range string(all) {
		if *tortureControl && (r != '\n' && r != '\t' && unicode.IsControl(r) || r == utf8.RuneError) {
			return fmt.Sprintf("writes %U: %q", r, all[max(0, i-60):min(len(all), i+40)])
		}
	}
	return ""
}

// torture puts one mutated member through commands: all of them, or some that the seed chooses.
func torture(ctx context.Context, seed uint64, bases []string, root string, every bool) (problems []string) {
	dir := filepath.Join(root, fmt.Sprint(seed))
	defer func() { _ = os.RemoveAll(dir) }()
	m, err := mutate(seed, bases, filepath.Join(dir, "mutant"))
	if err != nil {
		return []string{err.Error()}
	}
	if *tortureKeep != "" {
		if err := os.CopyFS(*tortureKeep, os.DirFS(m.dir)); err != nil {
			return []string{err.Error()}
		}
	}
	formats := []string{"table", "json", "fields", "markdown", "simple"}
	picked := m.Perm(len(tortures))
	if !every {
		picked = picked[:4]
	}
	for _, k := range picked {
		args := slices.Clone(tortures[k])
		for i, a := range args {
			switch a {
			case "M":
				args[i] = "x=" + m.dir
			case "S":
				args[i] = "s=" + bases[m.IntN(3)]
			case "O":
				args[i] = filepath.Join(dir, fmt.Sprint("out", k))
			}
		}
		switch args = append(args, "-w", formats[m.IntN(len(formats))]); {
		case args[0] == "export":
			args[len(args)-1] = "json"
		case slices.Contains([]string{"check", "diff", "inspect", "verify"}, args[0]) && m.IntN(4) == 0:
			args[len(args)-1] = "openmetrics"
		}
		done := make(chan string, 1)
		go func() { done <- ordeal(ctx, args) }()
		select {
		case wrong := <-done:
			if wrong != "" {
				problems = append(problems, fmt.Sprintf("%s: %v: %s", strings.Join(args, " "), m.did, wrong))
			}
		case <-time.After(5 * time.Minute): // it hangs: on a busy machine, too, that is no matter of speed
			return append(problems, fmt.Sprintf("%s: %v: does not end", strings.Join(args, " "), m.did))
		}
	}
	return problems
}

// TestTorture puts mutated members through the commands: none panics, hangs, exits otherwise than it says, or shows a value.
func TestTorture(t *testing.T) {
	root := t.TempDir()
	if mem, err := os.MkdirTemp("/dev/shm", "torture"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(mem) })
		root = mem
	}
	bases := tortured(t, filepath.Join(root, "bases"))
	if *tortureSeed > 0 {
		for _, p := range torture(t.Context(), *tortureSeed, bases, root, true) {
			t.Error(p)
		}
		return
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var most time.Duration
	var largest int64
	seeds := make(chan uint64)
	failed := 0
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range seeds {
				var problems []string
				if *tortureMeasure {
					cpu, mem, wrong := measured(t.Context(), s)
					mu.Lock()
					most, largest = max(most, cpu), max(largest, mem)
					mu.Unlock()
					problems = wrong
				} else {
					problems = torture(t.Context(), s, bases, root, false)
				}
				mu.Lock()
				if len(problems) > 0 {
					failed++
				}
				for _, p := range problems {
					if failed <= 20 {
						t.Errorf("%s\nto make it again: go test ./cmd/etcd-autopsy -run '^TestTorture$' -torture.seed=%d -torture.keep=DIR", p, s)
					}
				}
				mu.Unlock()
			}
		})
	}
	for i := range uint64(*tortureN) {
		seeds <- *tortureFrom + i
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d mutated members, %d failed", *tortureN, failed)
	if *tortureMeasure {
		t.Logf("all commands on one member took %v of CPU time and %d MiB at most", most.Round(time.Millisecond), largest>>20)
	}
}

// measured tortures one member by all commands in a process of its own.
func measured(ctx context.Context, seed uint64) (cpu time.Duration, memory int64, problems []string) {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestTorture$", "-torture.seed", fmt.Sprint(seed), fmt.Sprintf("-torture.control=%v", *tortureControl))
	out, err := cmd.CombinedOutput()
	if err != nil {
		problems = append(problems, string(out[:min(len(out), 4000)]))
	}
	cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	memory = peak(cmd.ProcessState)
	// If all commands together take no more, none of them does.
	if cpu > maxCPU {
		problems = append(problems, fmt.Sprintf("took %v of CPU time", cpu))
	}
	if memory > maxMemory {
		problems = append(problems, fmt.Sprintf("took %d MiB of memory", memory>>20))
	}
	return cpu, memory, problems
}
