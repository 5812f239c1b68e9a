package bolt

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/bbolt/cmd/bbolt/command"

	"etcd-autopsy/inspect/finding"
)

// childEnv makes the test binary one that reads files with bbolt, which may crash or hang on them.
const childEnv = "AUTOPSY_BBOLT_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(bboltChild(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// bboltChild reads lines "check FILE" and "surgery ARGS..." and answers each with a line: the digest of all rows or "done",
// or "no".
func bboltChild(in io.Reader, out io.Writer) int {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		limit := time.AfterFunc(20*time.Second, func() { os.Exit(1) }) // bbolt runs in circles
		answer := "no"
		if args := strings.Split(lines.Text(), " "); args[0] == "check" {
			if sum, err := bboltDigest(args[1]); err == nil {
				answer = sum
			}
		} else {
			root := command.NewRootCommand()
			root.SetArgs(args)
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			stdout := os.Stdout
			os.Stdout = os.Stderr // some commands write there
			if root.Execute() == nil {
				answer = "done"
			}
			os.Stdout = stdout
		}
		limit.Stop()
		fmt.Fprintln(out, answer)
	}
	return 0
}

// bboltDigest is the digest of all rows, if bbolt's check finds no fault, and walks and lookups agree.
func bboltDigest(file string) (sum string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return "", err
	}
	defer db.Close()
	h := sha256.New()
	err = db.View(func(tx *bbolt.Tx) error {
		var bad error
		for err := range tx.Check() {
			bad = err
		}
		if bad != nil {
			return bad
		}
		for c, name := tx.Cursor(), []byte(nil); ; {
			if name == nil {
				name, _ = c.First()
			} else {
				name, _ = c.Next()
			}
			if name == nil {
				return nil
			}
			if b := tx.Bucket(name); b != nil {
				if err := digestBucket(h, name, b); err != nil {
					return err
				}
			}
		}
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func digestBucket(h hash.Hash, name []byte, b *bbolt.Bucket) error {
	digestRow(h, "bucket", name, nil, b.Sequence())
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if found, _ := b.Cursor().Seek(k); !bytes.Equal(found, k) {
			return fmt.Errorf("key %x is not found", k)
		}
		if v != nil {
			digestRow(h, "row", k, v, 0)
		} else if nested := b.Bucket(k); nested == nil {
			return fmt.Errorf("bucket %x is not found", k)
		} else if err := digestBucket(h, k, nested); err != nil {
			return err
		}
	}
	digestRow(h, "end", nil, nil, 0)
	return nil
}

func digestRow(h hash.Hash, kind string, key, value []byte, n uint64) {
	fmt.Fprintf(h, "%s %d %d %d\n", kind, len(key), len(value), n)
	h.Write(key)
	h.Write(value)
}

// digest is bboltDigest by this package.
func digest(db *DB) string {
	h := sha256.New()
	var bucket func(b *Bucket, name []byte)
	bucket = func(b *Bucket, name []byte) {
		digestRow(h, "bucket", name, nil, b.Sequence())
		for r := b.Rows(); r.Next(); {
			if r.IsBucket() {
				bucket(db.open(r.Key(), r.raw(), r.Page(), r.rawOffset()), r.Key())
			} else {
				digestRow(h, "row", r.Key(), r.Value(), 0)
			}
		}
		digestRow(h, "end", nil, nil, 0)
	}
	for _, name := range db.BucketNames() {
		bucket(db.Bucket(name), []byte(name))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// child is a process that bbolt may crash; then the next question starts another one.
type child struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func newChild(t *testing.T) *child {
	c := &child{t: t, dir: t.TempDir()}
	t.Cleanup(c.stop)
	return c
}

func (c *child) stop() {
	if c.cmd != nil {
		c.in.Close()
		_ = c.cmd.Wait() // it may have crashed
		c.cmd = nil
	}
}

func (c *child) ask(question string) string {
	if c.cmd == nil {
		c.cmd = exec.Command(os.Args[0])

		c.cmd.Env = append(os.Environ(), childEnv+"=1", "GOMEMLIMIT=200MiB")
		in, err := c.cmd.StdinPipe()
		if err != nil {
			c.t.Fatal(err)
		}
		out, err := c.cmd.StdoutPipe()
		if err != nil {
			c.t.Fatal(err)
		}
		c.in, c.out = in, bufio.NewReader(out)
		if err := c.cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
	}
	fmt.Fprintln(c.in, question)
	answer, err := c.out.ReadString('\n')
	if err != nil {
		c.stop()
		return "no"
	}
	return strings.TrimSpace(answer)
}

// check is what bbolt says of data: a digest, "" if it does not accept it.
func (c *child) check(data []byte) string {
	file := filepath.Join(c.dir, "check")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	if answer := c.ask("check " + file); answer != "no" {
		return answer
	}
	return ""
}

// surgery runs a command of bbolt's, nil if it refuses.
func (c *child) surgery(data []byte, args ...string) []byte {
	from, to := filepath.Join(c.dir, "from"), filepath.Join(c.dir, "to")
	if err := errors.Join(os.RemoveAll(to), os.WriteFile(from, data, 0o600)); err != nil {
		c.t.Fatal(err)
	}
	if c.ask(strings.Join(append(append([]string{"surgery"}, args...), from, "--output", to), " ")) != "done" {
		return nil
	}
	out, err := os.ReadFile(to)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// acceptFiles are small files of every shape.
func acceptFiles(t *testing.T) map[string][]byte {
	files := map[string][]byte{}
	for _, noFreelist := range []bool{false, true} {
		for name, txs := range map[string][]func(*bbolt.Tx) error{
			"rows":   {fill("key", 300, revKey, fixed(30)), fill("meta", 3, revKey, fixed(8)), fill("key", 300, revKey, fixed(31))},
			"large":  {fill("key", 30, revKey, func(i int) int { return i * i * 7 }), fill("lease", 30, revKey, fixed(20))},
			"nested": {nest},
		} {
			files[fmt.Sprint(name, noFreelist)] = build(t, bbolt.Options{PageSize: 1024, NoFreelistSync: noFreelist}, txs...)
		}
	}
	return files
}

// TestSurgery reads what bbolt's surgery commands make, as bbolt reads it: it is no damage.
func TestSurgery(t *testing.T) {
	c := newChild(t)
	rnd := rand.New(rand.NewSource(3))
	accepted := 0
	for name, data := range acceptFiles(t) {
		kinds := open(t, data).check().kinds
		var pages []int
		for id, k := range kinds {
			if k == kindLeaf || k == kindBranch {
				pages = append(pages, id)
			}
		}
		try := func(what string, out []byte, codesAllowed ...string) {
			if out == nil {
				return
			}
			if free := c.surgery(out, "freelist", "abandon"); free != nil {
				out = free // as bbolt demands after some of the commands
			}
			want := c.check(out)
			if want == "" {
				return
			}
			accepted++
			db := open(t, out)
			if got := digest(db); got != want {
				t.Errorf("%s: %s: other rows than bbolt reads: %v", name, what, db.Check().Findings)
			}
			r := db.Check()
			checkSums(t, db, r)
			for _, f := range r.Findings {
				if f.Severity == finding.Error || f.Unreadable || f.Severity == finding.Warning && !slices.Contains(codesAllowed, f.Code) {
					t.Errorf("%s: %s: %s: %s", name, what, f.Code, f)
				}
			}
			if !r.Complete {
				t.Errorf("%s: %s: not complete", name, what)
			}
		}
		for range 25 {
			id := pages[rnd.Intn(len(pages))]
			n := int(binary.LittleEndian.Uint16(data[id*1024+10:]))
			if n == 0 {
				continue
			}
			from := rnd.Intn(n)
			to := from + 1 + rnd.Intn(n-from)
			if rnd.Intn(2) == 0 {
				to = -1
			}
			args := []string{"clear-page-elements", "--pageId", strconv.Itoa(id), "--from-index", strconv.Itoa(from), "--to-index", strconv.Itoa(to)}
			try(strings.Join(args, " "), c.surgery(data, args...), "page-elements-cleared", "page-slack", "page-empty", "page-overflow")
		}
		for range 12 {
			id := pages[rnd.Intn(len(pages))]
			try(fmt.Sprint("clear-page ", id), c.surgery(data, "clear-page", "--pageId", strconv.Itoa(id)), "page-elements-cleared", "page-empty")
		}
		try("revert-meta-page", c.surgery(data, "revert-meta-page"))
		try("abandon the freelist", data)
	}
	if t.Logf("%d files accepted by bbolt", accepted); accepted < 60 {
		t.Errorf("bbolt accepts %d files only", accepted)
	}
}

// outside tells whether bytes of an element, by the page's own directory, lie where other things are: in the directory, in
// another element, or, in sum, beyond what the page claims. bbolt does not look; what it then reads is no row that was written.
func outside(data []byte, meta Meta) bool {
	size := int(meta.PageSize)
	high := min(len(data), int(meta.HighWater)*size)
	for id := 2; (id+1)*size <= high; id++ {
		if p := data[id*size:]; le.Uint64(p) == uint64(id) && (le.Uint16(p[8:]) == flagLeaf || le.Uint16(p[8:]) == flagBranch) {
			if entangled(p[:high-id*size], uint64(le.Uint32(p[12:])+1)*uint64(size)) {
				return true
			}
		}
	}
	return false
}

func entangled(p []byte, claimed uint64) bool {
	n, leaf := int(le.Uint16(p[10:])), le.Uint16(p[8:]) == flagLeaf
	type span struct{ from, to uint64 }
	spans := []span{{0, uint64(16 + 16*n)}}
	sum := spans[0].to
	if sum > min(claimed, uint64(len(p))) {
		return true
	}
	for i := range n {
		e := p[16+16*i:]
		pos, size, bucket := uint64(le.Uint32(e)), uint64(le.Uint32(e[4:])), false
		if leaf {
			pos, size, bucket = uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:]))+uint64(le.Uint32(e[12:])), e[0]&1 != 0
		}
		from := uint64(16+16*i) + pos
		if sum += size; from+size > uint64(len(p)) || sum > claimed || from > claimed {
			return true
		}
		spans = append(spans, span{from, from + size})
		if bucket {
			v := p[from+uint64(le.Uint32(e[8:])) : from+size]
			if len(v) < 16 || le.Uint64(v) == 0 && (len(v) < 32 || entangled(v[16:], uint64(len(v)-16))) {
				return true
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.from) - int64(b.from)) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return true
		}
	}
	return false
}

// TestAcceptsWhatBboltReads changes fields of pages at random. Whatever bbolt's check then calls sound, and bbolt reads, is
// read here with the same rows.
func TestAcceptsWhatBboltReads(t *testing.T) {
	c := newChild(t)
	rnd := rand.New(rand.NewSource(4))
	n := 150
	if testing.Short() {
		n = 50
	}
	accepted, changed, skipped := 0, 0, 0
	for name, good := range acceptFiles(t) {
		kinds := open(t, good).check().kinds
		was := digest(open(t, good))
		for range n {
			data := slices.Clone(good)
			what := mutate(rnd, data, int(open(t, good).Meta().Root), kinds)
			want := c.check(data)
			if want == "" {
				continue
			}
			if accepted++; outside(data, open(t, data).Meta()) {
				skipped++
				continue
			}
			if want != was {
				changed++
			}
			db := open(t, data)
			if got := digest(db); got != want {
				t.Errorf("%s: %s: other rows than bbolt reads: %v", name, what, db.Check().Findings)
			}
			checkSums(t, db, db.Check())
		}
	}
	t.Logf("bbolt accepts %d files, %d of them with other rows than before, %d with rows that lie in other things", accepted, changed, skipped)
	if accepted < n || changed == 0 {
		t.Errorf("bbolt accepts %d files, of them %d with other rows", accepted, changed)
	}
}

// mutate changes one to three fields.
func mutate(rnd *rand.Rand, data []byte, root int, kinds []kind) string {
	var what []string
	for range 1 + rnd.Intn(3) {
		id := 2 + rnd.Intn(len(kinds)-2)
		p := data[id*1024:][:1024]
		count := int(le.Uint16(p[10:]))
		small := func(v uint32) uint32 { return v + uint32(rnd.Intn(64)-32) }
		switch i := rnd.Intn(max(1, min(count, 60))); rnd.Intn(9) {
		case 0:
			le.PutUint16(p[10:], uint16(rnd.Intn(count+2)))
		case 1:
			le.PutUint32(p[12:], uint32(rnd.Intn(6)))
		case 2:
			le.PutUint32(p[16+16*i:], small(le.Uint32(p[16+16*i:])))
		case 3:
			le.PutUint32(p[16+16*i+4:], small(le.Uint32(p[16+16*i+4:])))
		case 4:
			le.PutUint32(p[16+16*i+8:], small(le.Uint32(p[16+16*i+8:])))
		case 5:
			le.PutUint32(p[16+16*i+12:], small(le.Uint32(p[16+16*i+12:])))
		case 6:
			p[rnd.Intn(len(p))] = byte(rnd.Intn(256))
		case 7: // an element elsewhere in the page
			at := 16 + 16*i
			if v := at + int(le.Uint32(p[at+4:])); le.Uint16(p[8:]) == flagLeaf && count > 0 && v < 1024 {
				size := int(le.Uint32(p[at+8:]) + le.Uint32(p[at+12:]))
				if to := 1024 - size - rnd.Intn(40); to > v && v+size <= 1024 {
					copy(p[to:], slices.Clone(p[v:v+size]))
					le.PutUint32(p[at+4:], uint32(to-at))
				}
			}
		case 8: // the root's rows: inline buckets lie there
			data[root*1024+rnd.Intn(1024)] ^= byte(1 << rnd.Intn(8))
		}
		what = append(what, fmt.Sprint("page ", id))
	}
	return strings.Join(what, ", ")
}
