package evidence

import (
	"archive/zip"
	"bufio"
	"compress/bzip2"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Part of the format: local file headers.
const (
	zipLocal      = 30
	zipDescriptor = "PK\x07\x08"
	zipCentral    = "PK\x01\x02"
)

// maxZipDirectory bounds how much of a zip archive is read to learn what is in it.
const maxZipDirectory = 64 << 20

// counted is a reader that gives up after so many bytes.
type counted struct {
	r    io.ReaderAt
	left int64
}

var errZipDirectory = fmt.Errorf("its directory has more than %d bytes (limit of the directory of a zip archive)", maxZipDirectory)

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	if c.left < int64(len(p)) {
		return 0, errZipDirectory
	}
	c.left -= int64(len(p))
	return c.r.ReadAt(p, off)
}

// openZip reads the directory of a zip archive.
func (u *unpacker) openZip() (*zip.Reader, error) {
	c := &counted{u.src.r, maxZipDirectory}
	z, err := zip.NewReader(c, u.src.size)
	c.left = 1 << 62
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, err
	}
	z.RegisterDecompressor(12, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor(zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)))
	z.RegisterDecompressor(95, func(r io.Reader) io.ReadCloser {
		x, err := xz.NewReader(r, maxWindow)
		if err != nil {
			return io.NopCloser(failing{err})
		}
		return io.NopCloser(x)
	})
	return z, nil
}

// failing is a reader that has failed.
type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// zipped unpacks a zip archive.
func (u *unpacker) zipped() (*found, error) {
	z, err := u.openZip()
	switch {
	case errors.Is(err, zip.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return u.archive(u.unzipCut) // the directory is at the end
	case err != nil:
		return nil, u.fail("", err)
	}
	return u.archive(func() error {
		for _, f := range z.File {
			if err := u.unzip(f); err != nil {
				return u.fail(f.Name, err)
			}
		}
		return nil
	})
}

// slashed is a name as it should have been written: some programs of Windows use backslashes.
func slashed(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return strings.ReplaceAll(name, `\`, "/")
}

// unzip unpacks an entry of a zip archive.
func (u *unpacker) unzip(f *zip.File) error {
	if err := u.count(); err != nil {
		return err
	}
	folder := strings.HasSuffix(slashed(f.Name), "/")
	name, err := checkName(slashed(f.Name), folder)
	if err != nil {
		return err
	}
	switch mode := f.Mode(); {
	case folder:
		return u.addFolder(name)
	case mode&fs.ModeSymlink != 0:
		return u.addBad(name, badLink)
	case !mode.IsRegular():
		return u.addBad(name, "neither a file nor a folder")
	case f.Flags&1 != 0:
		return &HintedError{errors.New("encrypted with a password"), decryptFirst}
	}
	if err := u.room(int64(min(f.UncompressedSize64, 1<<62))); err != nil {
		return err
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return &HintedError{fmt.Errorf("compressed by method %d, which is not read", f.Method), unpackFirst}
	}
	if err != nil {
		return err
	}
	e, err := u.store(&meter{ctx: u.ctx, r: r})
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	return u.addFile(name, e)
}

// unzipCut unpacks a zip archive that has lost its end, and with it the directory, by the headers before its entries.
func (u *unpacker) unzipCut() error {
	br := bufio.NewReader(u.raw)
	last := "before its first entry"
	for {
		head, err := br.Peek(zipLocal)
		switch {
		case err != nil || string(head[:4]) == zipCentral:
			u.reportCut("%s, and has no directory", last)
			return nil
		case string(head[:4]) != zipMagic:
			u.report("archive-truncated", "error", "the archive has no directory; what follows %s cannot be found", last)
			return nil
		}
		flags, method := binary.LittleEndian.Uint16(head[6:]), binary.LittleEndian.Uint16(head[8:])
		size := int64(binary.LittleEndian.Uint32(head[18:]))
		nameLen, extra := int(binary.LittleEndian.Uint16(head[26:])), int(binary.LittleEndian.Uint16(head[28:]))
		header := make([]byte, zipLocal+nameLen+extra)
		if _, err := io.ReadFull(br, header); err != nil {
			u.reportCut("%s", last)
			return nil
		}
		given := slashed(string(header[zipLocal : zipLocal+nameLen]))
		if size == 1<<32-1 {
			size = zip64Size(header[zipLocal+nameLen:])
		}
		if err := u.count(); err != nil {
			return u.fail(given, err)
		}
		folder := strings.HasSuffix(given, "/")
		name, err := checkName(given, folder)
		if err != nil {
			return u.fail(given, err)
		}
		last = "after " + escape(name)
		if folder {
			if err := u.addFolder(name); err != nil {
				return u.fail(given, err)
			}
			continue
		}
		body := io.LimitReader(br, size)
		described := flags&8 != 0 // sizes follow the entry
		switch {
		case flags&1 != 0 || method != zip.Store && method != zip.Deflate || method == zip.Store && described:
			u.report("archive-truncated", "error", "the archive has no directory; %s and what follows cannot be read without it", escape(name))
			return nil
		case method == zip.Deflate:
			body = flate.NewReader(br)
		}
		e, err := u.store(&meter{ctx: u.ctx, r: body})
		short := method == zip.Store && e.size < size
		if err != nil && !u.cut(err) {
			return u.fail(given, err)
		}
		if err := u.addFile(name, e); err != nil {
			return u.fail(given, err)
		}
		if err != nil || short {
			u.reportCut("in %s: %d bytes of it are there", escape(name), e.size)
			return nil
		}
		if described && !skipDescriptor(br) {
			u.reportCut("%s", last)
			return nil
		}
	}
}

// zip64Size is the packed size in the extra field of a large entry, or more than there can be.
func zip64Size(extra []byte) int64 {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		if id == 1 && n >= 16 {
			return int64(min(binary.LittleEndian.Uint64(extra[8:]), 1<<62))
		}
		extra = extra[n:]
	}
	return 1 << 62
}

// skipDescriptor skips what follows an entry whose sizes were not known before: a magic, which may be left out, a checksum
// and two sizes of 4 or 8 bytes.
func skipDescriptor(br *bufio.Reader) bool {
	for _, n := range []int{16, 24, 12, 20} {
		p, err := br.Peek(n + 4)
		if err != nil {
			continue
		}
		if n%8 == 0 != (string(p[:4]) == zipDescriptor) {
			continue
		}
		if next := string(p[n:]); next == zipMagic || next == zipCentral {
			_, err := br.Discard(n)
			return err == nil
		}
	}
	return false
}
