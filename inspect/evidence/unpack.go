package evidence

import (
	"bufio"
	"compress/bzip2"
	"compress/lzw"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"etcd-autopsy/inspect/finding"
)

const (
	maxNameLen = 4096      // as PATH_MAX of Linux
	maxWindow  = 128 << 20 // of zstd and xz: what zstd's own tool accepts, and twice what xz -9 needs
	maxNested  = 3         // a zip of tar.gz of db.gz
)

// unpacker reads one archive or compressed file into the spool, in one goroutine, and is done with then. What it wrote goes on in the files that it found.
type unpacker struct {
	*opener
	src   *source
	kind  kind
	raw   *meter // the file
	plain *meter // what it unpacks to
	buf   []byte // to copy by

	// Of an archive: its folders and files by name, as a tree of which root is the top. tree is nil for a compressed file.
	root *node
	tree map[string]*entry

	findings []finding.Finding // about the file itself: where it is cut, and what could not be unpacked
}

func (o *opener) unpacker(src *source, k kind) *unpacker {
	return &unpacker{opener: o, src: src, kind: k, raw: &meter{ctx: o.ctx, r: io.NewSectionReader(src.r, 0, src.size)}, buf: make([]byte, 64*holeSize)}
}

// decoder returns what r unpacks to, and what to call when that is not needed any more.
func decoder(k kind, r io.Reader) (out io.Reader, done func(), err error) {
	done = func() {}
	switch k {
	case gzipKind:
		out, err = gzip.NewReader(r)
	case zstdKind:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			out, done = z, z.Close
		}
	case xzKind:
		out, err = xz.NewReader(r, maxWindow)
	case bzip2Kind:
		out = bzip2.NewReader(bufio.NewReader(r))
	case zlibKind:
		out, err = zlib.NewReader(bufio.NewReader(r))
	case lzwKind:
		out = lzw.NewReader(bufio.NewReader(r), lzw.LSB, 8)
	default:
		out = r
	}
	if err != nil {
		return nil, nil, err
	}
	return out, done, nil
}

// trailing tells whether err means that something else follows a stream that has ended.
func trailing(err error) bool {
	var s bzip2.StructuralError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch) || errors.Is(err, xz.ErrFormat) ||
		errors.As(err, &s) && strings.Contains(string(s), "continuation")
}

// peek returns the head of what a compressed file unpacks to, as far as it can be unpacked. Nothing is stored.
func (o *opener) peek(src *source, k kind) []byte {
	u := o.unpacker(src, k)
	r, done, err := decoder(k, u.raw)
	if err != nil {
		return nil
	}
	defer done()
	head := make([]byte, headSize)
	n, _ := fill(r, head)
	return head[:n]
}

// cut tells whether err means that the file ends too early, rather than that it is damaged.
func (u *unpacker) cut(err error) bool {
	return (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, xz.ErrBuf)) && u.raw.eof
}

// fail is an error about the archive, at entry if it has a name.
func (u *unpacker) fail(entry string, err error) error {
	if c := u.ctx.Err(); c != nil {
		return pathError(u.src.path, c)
	}
	if errors.Is(err, xz.ErrMemlimit) || errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = fmt.Errorf("takes more than %d bytes of memory to unpack (limit of the dictionary)", maxWindow)
	}
	if entry != "" {
		return fmt.Errorf("%s: entry %q: %w", u.src.path, entry, err)
	}
	return fmt.Errorf("%s: offset %d: %w", u.src.path, u.raw.n, err)
}

func (u *unpacker) report(code string, sev finding.Severity, format string, args ...any) {
	f := finding.New(code, sev, u.src.name, format, args...).At(u.raw.n).Lost()
	u.findings = append(u.findings, f)
}

func (u *unpacker) reportCut(format string, args ...any) {
	u.report("archive-truncated", finding.Error, "the archive is cut "+format, args...)
}

// unpack finds what is in the archive or compressed file.
func (u *unpacker) unpack() (*found, error) {
	if u.src.depth > maxNested {
		return nil, u.fail("", fmt.Errorf("packed more than %d times over (limit of nesting)", maxNested))
	}
	if err := u.set.spool.open(); err != nil {
		return nil, u.fail("", u.noRoom(err))
	}
	u.announce()
	var f *found
	var err error
	if u.kind == zipKind {
		f, err = u.zipped()
	} else {
		f, err = u.stream()
	}
	if err != nil {
		return nil, err
	}
	for _, m := range f.all() {
		m.Findings = append(m.Findings, u.findings...)
	}
	return f, nil
}

// stream unpacks what is read from one end to the other: all but a zip archive.
func (u *unpacker) stream() (*found, error) {
	r, done, err := decoder(u.kind, u.raw)
	if u.cut(err) {
		return nil, u.fail("", fmt.Errorf("the archive is cut before its first entry: %w", ErrNoMember))
	}
	if err != nil {
		return nil, u.fail("", err)
	}
	defer done()
	br := bufio.NewReaderSize(r, 64<<10)
	u.plain = &meter{ctx: u.ctx, r: br}
	head, err := br.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) && !u.cut(err) && !trailing(err) {
		return nil, u.fail("", err)
	}
	if isTar(head) || isTarName(u.src.name) && !isBolt(head) {
		return u.archive(u.untar)
	}
	return u.lone()
}

// lone unpacks a single compressed file.
func (u *unpacker) lone() (*found, error) {
	name := unpackedName(u.src.name)
	e, err := u.store(u.plain)
	switch {
	case err == nil:
	case trailing(err) && e.size > 0:
		u.report("archive-trailing-data", finding.Warning, "more data follows the end of %s: it was not read", escape(name))
	case u.cut(err) && e.size > 0:
		u.reportCut("after %d bytes of %s", e.size, escape(name))
	default:
		return nil, u.fail("", err)
	}
	return u.read(&source{
		path: u.src.path, name: name, elems: u.src.elems, size: e.size, depth: u.src.depth + 1, filled: u.src.filled,
		r: io.NewSectionReader(u.set.spool.file, e.at, e.size),
	}, func() (*File, error) { return u.load(e, u.src.path) })
}

// archive unpacks the files of an archive and looks for members among them.
func (u *unpacker) archive(unpack func() error) (*found, error) {
	u.tree = map[string]*entry{}
	u.root = u.folder(".", "")
	if err := unpack(); err != nil {
		return nil, err
	}
	f, err := u.look(u.root, u.src.elems, noLimit)
	if err != nil {
		return nil, err
	}
	if files := u.files(); len(files) == 1 && len(f.members) == 0 {
		if len(f.lone) == 0 {
			if f, err = u.only(files[0], f); err != nil {
				return nil, err
			}
		}
		for _, m := range f.lone {
			if !isDBName(files[0].name) {
				m.elems = u.src.elems // the name of the archive says more
			}
		}
	}
	if len(f.all()) == 0 {
		for _, x := range u.findings {
			return nil, fmt.Errorf("%s: %w: %s", u.src.path, ErrNoMember, x.Detail)
		}
		return nil, fmt.Errorf("%s: %w", u.src.path, f.nothing())
	}
	return f, nil
}

// room refuses n more bytes if they are too many.
func (u *unpacker) room(n int64) error {
	if n > u.opts.MaxBytes-u.unpacked {
		return fmt.Errorf("unpacks to more than %d bytes (limit for all archives together)", u.opts.MaxBytes)
	}
	return nil
}

// noRoom adds what can be done about a full disk.
func (u *unpacker) noRoom(err error) error {
	return &HintedError{fmt.Errorf("cannot unpack: %w", err), "archives are unpacked to temporary files: --tmp-dir names a folder with more room"}
}

// store unpacks r to its end. What was unpacked before an error is in the entry.
func (u *unpacker) store(r io.Reader) (*entry, error) {
	sp := &u.set.spool
	e := &entry{at: sp.end}
	total := u.src.filled
	for {
		n, readErr := fill(r, u.buf)
		if err := u.room(int64(n)); err != nil {
			return e, err
		}
		stored, err := sp.write(u.buf[:n], e.at+e.size)
		if err != nil {
			return e, u.noRoom(err)
		}
		e.size += int64(n)
		u.unpacked += int64(n)
		if total.stored += stored; total.stored > u.opts.MaxStored && total.stored/u.opts.MaxRatio > total.size {
			return e, fmt.Errorf("unpacks to more than %d times its size (limit of the ratio, from %d bytes on)", u.opts.MaxRatio, u.opts.MaxStored)
		}
		if err := u.ctx.Err(); err != nil { // a sparse entry is made of zeros that nobody reads
			return e, err
		}
		if readErr != nil {
			sp.end = (e.at + e.size + spoolAlign - 1) / spoolAlign * spoolAlign
			if err := sp.file.Truncate(sp.end); err != nil {
				return e, u.noRoom(err)
			}
			if errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
				readErr = nil
			}
			return e, readErr
		}
	}
}

func (u *unpacker) load(e *entry, origin string) (*File, error) {
	f, err := u.mapFile(u.set.spool.file, origin, e.at, e.size)
	if err == nil {
		f.Archive = u.src.filled.path
	}
	return f, err
}

// announceFrom is the size from which on it is said that an archive is unpacked. Below, nobody would notice.
const announceFrom = 256 << 20

// announce says how much temporary space the archive needs, before any of it is used.
func (u *unpacker) announce() {
	if u.opts.Say == nil || u.src.depth > 0 {
		return
	}
	need, atLeast := u.src.size, "at least "
	if u.kind == tarKind {
		atLeast = "up to "
	} else if n, ok := u.declared(); ok {
		need, atLeast = n, "up to "
	}
	if need < announceFrom {
		return
	}
	where, free := u.set.spool.place(), ""
	if n, ok := freeSpace(u.set.spool.file); ok {
		free = fmt.Sprintf(", which has %d MiB free", n>>20)
	}
	u.opts.Say(fmt.Sprintf("unpacking %s takes %s%d MiB of temporary space in %s%s (--tmp-dir names another folder)", escape(u.src.path), atLeast, need>>20, escape(where), free))
}

// declared is how much a compressed file says it holds.
func (u *unpacker) declared() (int64, bool) {
	switch u.kind {
	case zstdKind:
		head, err := u.src.head()
		var h zstd.Header
		if err == nil && h.Decode(head) == nil && h.HasFCS && h.FrameContentSize < 1<<62 {
			return int64(h.FrameContentSize), true
		}
	case zipKind:
		if z, err := u.openZip(); err == nil {
			var n int64
			for _, f := range z.File {
				n += int64(min(f.UncompressedSize64, 1<<40))
			}
			return n, true
		}
	}
	return 0, false
}

// isTarName tells by its name whether a file is an archive of files.
func isTarName(name string) bool {
	return hasSuffix(strings.ToLower(name), ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
}

func hasSuffix(name string, suffixes ...string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// packedSuffixes are those of files that hold one other file.
var packedSuffixes = []string{".gz", ".zst", ".xz", ".bz2", ".zlib", ".Z"}

// unpackedName is the name of what a compressed file holds.
func unpackedName(name string) string {
	base := strings.TrimSuffix(name, ".final")
	for _, s := range packedSuffixes {
		if short, ok := strings.CutSuffix(base, s); ok && short != "" {
			return short
		}
	}
	return name
}

// fileElems are the path elements of a file, for its label.
func fileElems(name string) []string {
	elems := pathElems(name)
	if len(elems) > 0 {
		elems[len(elems)-1] = stem(elems[len(elems)-1])
	}
	return elems
}

// fileSource is a file of the disk as a source; the caller closes f.
func fileSource(f io.ReaderAt, name string, size int64) *source {
	return &source{path: name, name: filepath.Base(name), elems: fileElems(name), r: f, size: size, filled: &filled{path: name, size: size}}
}

// inside is the source of an entry of an archive.
func (u *unpacker) inside(name string, e *entry) *source {
	return &source{
		path: u.src.path + "!" + escape(name), name: path.Base(name), elems: u.src.elems, r: io.NewSectionReader(u.set.spool.file, e.at, e.size), size: e.size,
		depth: u.src.depth + 1, filled: u.src.filled,
	}
}
