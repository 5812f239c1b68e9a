package evidence

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"etcd-autopsy/inspect/finding"
)

// Part of the formats.
const (
	tarBlock      = 512
	tarChecksumAt = 148
	boltMagic     = 0xED0CDAED
	boltMagicAt   = 16
	gzipMagic     = "\x1f\x8b"
	zstdMagic     = "\x28\xb5\x2f\xfd"
)

const (
	maxNameLen = 4096      // as PATH_MAX of Linux
	holeSize   = 4096      // a run of zeros of this size, aligned, is not stored
	spoolAlign = 64 << 10  // the largest page size of systems that Go runs on, as parts of the spool are mapped
	maxWindow  = 128 << 20 // of zstd: what its own tool accepts
)

// isTarName tells by its name whether a file is an archive of files.
func isTarName(name string) bool {
	return slices.ContainsFunc([]string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"}, func(s string) bool { return strings.HasSuffix(name, s) })
}

// spool is one temporary file that holds whatever was unpacked, one part after the other. It has no name for longer than
// it takes to create it, where the system allows this, so that nothing stays behind even if the process is killed.
type spool struct {
	dir  string
	file *os.File
	end  int64
}

func (s *spool) open() error {
	if s.file != nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "etcd-autopsy-")
	if err != nil {
		return err
	}
	s.dir = dir
	if s.file, err = os.OpenFile(filepath.Join(dir, "unpacked"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	if os.RemoveAll(dir) == nil {
		s.dir = ""
	} // else the system cannot remove an open file: close does it
	return nil
}

func (s *spool) close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	*s = spool{}
	return err
}

var zeros [holeSize]byte

// write writes p at offset at and leaves holes for zeros. It returns how much was stored.
func (s *spool) write(p []byte, at int64) (stored int64, err error) {
	for len(p) > 0 {
		n, zero := run(p)
		if !zero {
			if _, err := s.file.WriteAt(p[:n], at); err != nil {
				return stored, err
			}
			stored += int64(n)
		}
		p, at = p[n:], at+int64(n)
	}
	return stored, nil
}

// run returns the length of the longest start of p that is all holes, or has none.
func run(p []byte) (n int, zero bool) {
	for n < len(p) {
		b := p[n:min(n+holeSize, len(p))]
		if z := bytes.Equal(b, zeros[:len(b)]); n == 0 {
			zero = z
		} else if z != zero {
			break
		}
		n += len(b)
	}
	return n, zero
}

// meter counts what is read, remembers the end of it, and stops when the context does.
type meter struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	tail [tarBlock]byte // the last bytes read
	eof  bool
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if n >= tarBlock {
		copy(m.tail[:], p[n-tarBlock:n])
	} else {
		copy(m.tail[:], m.tail[n:])
		copy(m.tail[tarBlock-n:], p[:n])
	}
	m.eof = m.eof || errors.Is(err, io.EOF)
	return n, err
}

// fill reads until p is full or the reader is not. Unlike io.ReadFull it returns the reader's own error, because the end
// of an entry and the end of a cut archive differ in nothing else.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}

// unpacker reads one archive or compressed file into the spool.
type unpacker struct {
	*opener
	path     string
	raw      *meter // the file
	plain    *meter // what it unpacks to
	stored   int64
	buf      []byte
	root     *node
	tree     map[string]*entry
	findings []finding.Finding
}

// entry is a file or folder of an archive.
type entry struct {
	*node
	at, size int64 // of a file, in the spool
	kids     []*node
	bolt     bool // has the magic of a database
}

// file finds the members in a file: an archive, a compressed database, or a database.
func (o *opener) file(path string) ([]*Member, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, pathError(path, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	var head [tarBlock]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, pathError(path, err)
	}
	base := filepath.Base(path)
	packed := bytes.HasPrefix(head[:n], []byte(gzipMagic)) || bytes.HasPrefix(head[:n], []byte(zstdMagic))
	named := isTarName(base) || strings.HasSuffix(base, ".gz") || strings.HasSuffix(base, ".zst")
	if !packed && !isTar(head[:n]) && (!named || isBolt(head[:n])) {
		file, err := o.mapDisk(path)
		if err != nil {
			return nil, err
		}
		return []*Member{bare(file, base, fileElems(path))}, nil
	}
	u := &unpacker{opener: o, path: path, raw: &meter{ctx: o.ctx, r: f}, buf: make([]byte, 64*holeSize)}
	members, err := u.unpack(head[:n])
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		m.Findings = append(m.Findings, u.findings...)
	}
	return members, nil
}

// fileElems are the path elements of a file, for its label.
func fileElems(path string) []string {
	elems := pathElems(path)
	if len(elems) > 0 {
		elems[len(elems)-1] = stem(elems[len(elems)-1])
	}
	return elems
}

// isTar tells by its checksum whether head is the first block of a tar archive. The oldest have no magic.
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

func isBolt(head []byte) bool {
	return len(head) >= boltMagicAt+4 && binary.LittleEndian.Uint32(head[boltMagicAt:]) == boltMagic
}

// cut tells whether err means that the file ends too early, rather than that it is damaged.
func (u *unpacker) cut(err error) bool {
	return (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) && u.raw.eof
}

// fail is an error about the archive, at entry if it has a name.
func (u *unpacker) fail(entry string, err error) error {
	if c := u.ctx.Err(); c != nil {
		return pathError(u.path, c)
	}
	if entry != "" {
		return fmt.Errorf("%s: entry %q: %w", u.path, entry, err)
	}
	return fmt.Errorf("%s: offset %d: %w", u.path, u.raw.n, err)
}

func (u *unpacker) report(code string, sev finding.Severity, format string, args ...any) {
	f := finding.New(code, sev, filepath.Base(u.path), format, args...).At(u.raw.n).Lost()
	u.findings = append(u.findings, f)
}

func (u *unpacker) reportCut(format string, args ...any) {
	u.report("archive-truncated", finding.Error, "the archive is cut "+format, args...)
}

// unpack finds the members in the archive that begins with head.
func (u *unpacker) unpack(head []byte) ([]*Member, error) {
	if err := u.set.spool.open(); err != nil {
		return nil, u.fail("", fmt.Errorf("cannot unpack: %w", err))
	}
	var r io.Reader = u.raw
	var err error
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		r, err = gzip.NewReader(u.raw)
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		var z *zstd.Decoder
		z, err = zstd.NewReader(u.raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			defer z.Close()
			r = z
		}
	case !isTar(head) && len(head) == tarBlock && !bytes.Equal(head, zeros[:tarBlock]):
		return nil, fmt.Errorf("%s: not a tar, gzip or zstd file, as its name says", u.path)
	}
	if u.cut(err) {
		return nil, u.fail("", fmt.Errorf("the archive is cut before its first entry: %s", lookedFor))
	}
	if err != nil {
		return nil, u.fail("", err)
	}
	br := bufio.NewReaderSize(r, 64<<10)
	u.plain = &meter{ctx: u.ctx, r: br}
	head, err = br.Peek(tarBlock)
	if err != nil && !errors.Is(err, io.EOF) && !u.cut(err) {
		return nil, u.fail("", err)
	}
	if isTar(head) || isTarName(u.path) && !isBolt(head) {
		return u.members()
	}
	return u.lone()
}

// lone unpacks a single compressed database.
func (u *unpacker) lone() ([]*Member, error) {
	name := filepath.Base(u.path)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	e, err := u.store(u.plain)
	if u.cut(err) && e.size > 0 {
		u.reportCut("after %d bytes of %s", e.size, name)
	} else if err != nil {
		return nil, u.fail("", err)
	}
	f, err := u.load(e, u.path)
	if err != nil {
		return nil, err
	}
	return []*Member{bare(f, name, fileElems(u.path))}, nil
}

// members unpacks a tar archive and finds the members in it.
func (u *unpacker) members() ([]*Member, error) {
	elems := fileElems(u.path)
	u.tree = map[string]*entry{}
	u.root = u.folder(".", "")
	if err := u.untar(); err != nil {
		return nil, err
	}
	s := &search{opener: u.opener, maxDepth: math.MaxInt}
	if err := s.all(u.root, elems); err != nil {
		return nil, err
	}
	if len(s.members) > 0 {
		return s.members, nil
	}
	if files := u.files(); len(s.lone) == 0 && len(files) == 1 && files[0].bolt {
		s.lone = []loneDB{{files[0].node, elems}}
	}
	for _, n := range s.lone {
		f, err := n.load()
		if err != nil {
			return nil, err
		}
		s.members = append(s.members, bare(f, n.name, n.elems))
	}
	if len(s.members) == 0 {
		for _, f := range u.findings {
			return nil, fmt.Errorf("%s: %s", u.path, lookedFor+": "+f.Detail)
		}
		return nil, fmt.Errorf("%s: %s", u.path, lookedFor)
	}
	return s.members, nil
}

// untar unpacks every entry, as far as the archive goes.
func (u *unpacker) untar() error {
	tr := tar.NewReader(u.plain)
	last := "before its first entry"
	for n := 1; ; n++ {
		from := (u.plain.n + tarBlock - 1) / tarBlock * tarBlock
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && u.plain.n >= from+tarBlock && u.plain.tail == [tarBlock]byte{} {
			return u.drain(last)
		}
		if errors.Is(err, io.EOF) || u.cut(err) { // a whole archive ends in zeros
			u.reportCut("%s", last)
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return u.fail("", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if n > u.opts.MaxEntries {
			return u.fail(h.Name, fmt.Errorf("more than %d entries", u.opts.MaxEntries))
		}
		name, err := checkHeader(h)
		if err != nil {
			return u.fail(h.Name, err)
		}
		if h.Typeflag == tar.TypeDir {
			err = u.addFolder(name)
		} else {
			err = u.room(h.Size)
		}
		if err != nil {
			return u.fail(h.Name, err)
		}
		last = "after " + escape(name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		e, err := u.store(tr)
		cut := u.cut(err)
		if err != nil && !cut {
			return u.fail(h.Name, err)
		}
		if err := u.addFile(name, e); err != nil {
			return u.fail(h.Name, err)
		}
		if cut {
			u.reportCut("in %s: %d of %d bytes are there", escape(name), e.size, h.Size)
			return nil
		}
	}
}

// drain reads what comes after the last entry, because the checksum is behind it.
func (u *unpacker) drain(last string) error {
	trailing := false
	for {
		n, err := fill(u.plain, u.buf)
		for p := u.buf[:n]; len(p) > 0 && !trailing; {
			k, zero := run(p)
			p, trailing = p[k:], !zero
		}
		if errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch) {
			trailing, err = true, io.EOF
		}
		switch {
		case err == nil && u.plain.n > u.opts.MaxBytes:
			return u.fail("", fmt.Errorf("unpacks to more than %d bytes", u.opts.MaxBytes))
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && trailing:
			u.report("archive-trailing-data", finding.Warning, "more data follows the end mark of the archive: it was not read")
		case errors.Is(err, io.EOF):
		case u.cut(err):
			u.reportCut("%s, in its checksum", last)
		default:
			return u.fail("", err)
		}
		return nil
	}
}

// escape makes a name from an archive safe to print.
func escape(name string) string { return strings.Trim(strconv.Quote(name), `"`) }

// checkHeader returns the clean name of an entry that may be unpacked.
func checkHeader(h *tar.Header) (string, error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeGNUSparse:
	case tar.TypeLink, tar.TypeSymlink:
		return "", errors.New("links are refused: pack the file itself, tar has the option -h for that")
	default:
		return "", fmt.Errorf("type %q is refused: neither a file nor a folder", h.Typeflag)
	}
	name := path.Clean(h.Name)
	switch {
	case len(h.Name) > maxNameLen:
		return "", fmt.Errorf("the name has more than %d bytes", maxNameLen)
	case strings.HasPrefix(h.Name, "/"):
		return "", errors.New("absolute paths are refused")
	case slices.Contains(strings.Split(h.Name, "/"), ".."):
		return "", errors.New("the path leads out of the archive")
	case name == "." && h.Typeflag != tar.TypeDir:
		return "", errors.New("a file without a name")
	}
	return name, nil
}

// room refuses n more bytes if they are too many.
func (u *unpacker) room(n int64) error {
	if n > u.opts.MaxBytes-u.unpacked {
		return fmt.Errorf("unpacks to more than %d bytes", u.opts.MaxBytes)
	}
	return nil
}

// store unpacks r to its end. What was unpacked before an error is in the entry.
func (u *unpacker) store(r io.Reader) (*entry, error) {
	sp := &u.set.spool
	e := &entry{at: sp.end}
	for first := true; ; first = false {
		n, readErr := fill(r, u.buf)
		if first {
			e.bolt = isBolt(u.buf[:n])
		}
		if err := u.room(int64(n)); err != nil {
			return e, err
		}
		stored, err := sp.write(u.buf[:n], e.at+e.size)
		if err != nil {
			return e, fmt.Errorf("cannot unpack: %w", err)
		}
		e.size += int64(n)
		u.unpacked += int64(n)
		if u.stored += stored; u.stored > u.opts.MaxStored && u.stored/u.opts.MaxRatio > u.raw.n {
			return e, fmt.Errorf("unpacks to more than %d times its size", u.opts.MaxRatio)
		}
		if err := u.ctx.Err(); err != nil { // a sparse entry is made of zeros that nobody reads
			return e, err
		}
		if readErr != nil {
			sp.end = (e.at + e.size + spoolAlign - 1) / spoolAlign * spoolAlign
			if err := sp.file.Truncate(sp.end); err != nil {
				return e, fmt.Errorf("cannot unpack: %w", err)
			}
			if errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
				readErr = nil
			}
			return e, readErr
		}
	}
}

func (u *unpacker) load(e *entry, origin string) (*File, error) {
	return u.mapFile(u.set.spool.file, origin, e.at, e.size)
}

// folder makes the node of a folder of the archive.
func (u *unpacker) folder(name, origin string) *node {
	e := &entry{node: &node{name: path.Base(name), origin: u.path + origin}}
	e.list = func() ([]*node, error) {
		slices.SortFunc(e.kids, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		return e.kids, nil
	}
	u.tree[name] = e
	return e.node
}

// addFolder adds a folder and those above it. Archives may name a folder more than once: nothing is lost by that.
func (u *unpacker) addFolder(name string) error {
	if e, ok := u.tree[name]; ok {
		if e.list == nil {
			return errors.New("the name is given to two entries")
		}
		return nil
	}
	if err := u.addFolder(path.Dir(name)); err != nil {
		return err
	}
	return u.hang(name, u.folder(name, "!"+name))
}

func (u *unpacker) addFile(name string, e *entry) error {
	if _, ok := u.tree[name]; ok {
		return errors.New("the name is given to two entries")
	}
	if err := u.addFolder(path.Dir(name)); err != nil {
		return err
	}
	origin := u.path + "!" + name
	e.node = &node{name: path.Base(name), origin: origin, load: func() (*File, error) { return u.load(e, origin) }}
	u.tree[name] = e
	return u.hang(name, e.node)
}

// hang puts n into its folder, which exists.
func (u *unpacker) hang(name string, n *node) error {
	if len(u.tree) > 2*u.opts.MaxEntries {
		return fmt.Errorf("more than %d entries and folders", 2*u.opts.MaxEntries)
	}
	dir := u.tree[path.Dir(name)]
	dir.kids = append(dir.kids, n)
	return nil
}

// files returns the files of the archive.
func (u *unpacker) files() []*entry {
	var out []*entry
	for _, e := range u.tree {
		if e.load != nil {
			out = append(out, e)
		}
	}
	return out
}
