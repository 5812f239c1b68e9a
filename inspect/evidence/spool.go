package evidence

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

const (
	holeSize   = 4096     // a run of zeros of this size, aligned, is not stored
	spoolAlign = 64 << 10 // the largest page size of systems that Go runs on, as parts of the spool are mapped
)

// spool is one temporary file that holds whatever was unpacked, one part after the other. It has no name for longer than
// it takes to create it, where the system allows this, so that nothing stays behind even if the process is killed.
type spool struct {
	parent string // where it lies, "" for the system's folder for temporary files
	dir    string
	file   *os.File
	end    int64
}

func (s *spool) open() error {
	if s.file != nil {
		return nil
	}
	dir, err := os.MkdirTemp(s.parent, "etcd-autopsy-")
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
	*s = spool{parent: s.parent}
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

// place is the folder in which the spool lies.
func (s *spool) place() string {
	if s.parent != "" {
		return s.parent
	}
	return os.TempDir()
}
