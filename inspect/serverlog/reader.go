// Package serverlog reads the logs that etcd's servers write: JSON and console lines of zap, and the text of capnslog, which 3.2 and 3.3 have
// and 3.4 unless it is told otherwise. Lines may have the prefixes of journald, of a container's runtime or of kubectl.
//
// A log is read once from its beginning, a line at a time, in memory that does not grow with it. Nothing is taken for granted: what is no line
// of etcd is a record of Text, and the beginning of a line that is too long is read.
package serverlog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"
)

// MaxLine is how many bytes of a line are read. The rest of a longer one is skipped: etcd quotes requests in some messages.
const MaxLine = 64 << 10

// Record is one line of a log. It and what it returns are valid until the next one is read, except for strings.
type Record struct {
	Line   int64     // from 1
	Time   time.Time // in UTC; zero if not known
	Local  bool      // Time is of a clock without a zone, and taken for UTC
	Format Format
	Level  Level
	Cut    bool // the line is longer than MaxLine

	caller, message []byte
	fields          []Field

	outer              time.Time // of a prefix
	journal, unwrapped bool
	partial            bool // the runtime of a container broke the line here
}

// Field is a value that belongs to a message.
type Field struct{ name, value []byte }

// Name is the name of the field.
func (f Field) Name() string { return string(f.name) }

// Text is the value: what a string says, and anything else as JSON.
func (f Field) Text() string { return text(f.value) }

// Message is what the line says, without its fields.
func (r *Record) Message() string { return string(r.message) }

// Caller is the file and line, or the package, that it comes from. It is empty if the line does not say.
func (r *Record) Caller() string { return text(r.caller) }

// Fields are the values that belong to the message, in the order of the line.
func (r *Record) Fields() []Field { return r.fields }

// value is the field of that name as text, empty if there is none.
func (r *Record) value(name string) string {
	for _, f := range r.fields {
		if string(f.name) == name {
			return f.Text()
		}
	}
	return ""
}

// Reader reads a log.
type Reader struct {
	in   *bufio.Reader
	rec  Record
	line []byte // of more than one piece
	n    int64
	err  error
}

// NewReader reads a log that is not compressed.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, MaxLine)} }

// Next goes to the next line that is not empty. It returns false at the end, and if reading fails.
func (r *Reader) Next() bool {
	for {
		line, cut, ok := r.read()
		if !ok {
			return false
		}
		n := r.n
		r.start(n, cut)
		r.rec.parse(line)
		if r.rec.partial {
			line, cut = r.join(bytes.Clone(r.rec.message), cut)
			r.start(n, cut)
			r.rec.parse(line)
		}
		r.rec.settle()
		if len(r.rec.message) > 0 {
			return true
		}
	}
}

func (r *Reader) start(n int64, cut bool) {
	r.rec = Record{Line: n, Cut: cut, fields: r.rec.fields[:0]}
}

// join puts the pieces together that a container's runtime made of a line. The first one's prefix is gone.
func (r *Reader) join(first []byte, cut bool) ([]byte, bool) {
	all, outer := first, r.rec.outer
	prefix := outer.Format(time.RFC3339Nano) + " stderr F "
	for {
		line, more, ok := r.read()
		if !ok {
			break
		}
		var p Record
		rest, ok := p.prefix(line)
		if !ok {
			rest = line
		}
		if room := MaxLine - len(all); len(rest) > room {
			rest, cut = rest[:max(room, 0)], true
		}
		all, cut = append(all, rest...), cut || more
		if !p.partial {
			break
		}
	}
	return append([]byte(prefix), all...), cut
}

// read returns the next line without its end, and whether it was cut.
func (r *Reader) read() (line []byte, cut, ok bool) {
	if r.err != nil {
		return nil, false, false
	}
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.line, cut = append(r.line[:0], line...), true
		line = r.line
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.in.ReadSlice('\n')
		}
	}
	if err != nil && !(errors.Is(err, io.EOF) && len(line) > 0) {
		if r.err = err; errors.Is(err, io.EOF) {
			return nil, false, false
		}
		if len(line) == 0 {
			return nil, false, false
		}
	}
	r.n++
	return bytes.TrimRight(line, "\r\n"), cut, true
}

// Record is the line that Next went to.
func (r *Reader) Record() *Record { return &r.rec }

// Err is the error that ended reading, nil at the end of the log.
func (r *Reader) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}
