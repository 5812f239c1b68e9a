package escape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON writes x as encoding/json does with that indent and, after it, a line break. Characters of HTML stay as they are; all that
// is unsafe to be seen in a terminal is a \u escape, which means the same to a program: it can only stand in a string.
func JSON(w io.Writer, x any, prefix, indent string) error {
	text, err := newEncoder().encode(x, prefix, indent)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// encoder encodes one value after the other into one buffer.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

func newEncoder() *encoder {
	e := &encoder{}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}

// encode returns what JSON writes, valid until the next call.
func (e *encoder) encode(x any, prefix, indent string) ([]byte, error) {
	e.buf.Reset()
	e.json.SetIndent(prefix, indent)
	if err := e.json.Encode(x); err != nil {
		return nil, err
	}
	return ascii(e.buf.Bytes()), nil
}

// ascii replaces unsafe characters beyond ASCII, and DEL, in a JSON text.
func ascii(text []byte) []byte {
	i := 0
	for i < len(text) && text[i] < 0x7f { // the first byte of a character, or DEL: those before are characters of their own
		i++
	}
	if i == len(text) {
		return text
	}
	var out strings.Builder
	out.Write(text[:i])
	for i < len(text) {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r < 0x7f || !unsafe(r):
			out.Write(text[i : i+n])
		case r < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			a, b := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, a, b)
		}
		i += n
	}
	return []byte(out.String())
}

// Pieces writes a JSON text piece by piece: its structure as constants and names of this program, its values by JSON.
type Pieces struct {
	w       io.Writer
	buf     []byte // of Break
	encoder *encoder
	err     error
}

// NewPieces writes to w.
func NewPieces(w io.Writer) *Pieces { return &Pieces{w: w, encoder: newEncoder()} }

// Structure writes a part of the text that holds no value.
func (p *Pieces) Structure(s markup) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, string(s))
	}
}

// Break begins a line at a depth.
func (p *Pieces) Break(indent string, depth int) {
	if strings.Trim(indent, " ") != "" {
		indent = " "
	}
	p.buf = append(p.buf[:0], '\n')
	for range depth {
		p.buf = append(p.buf, indent...)
	}
	p.write(p.buf)
}

// Name writes the name of a field.
func (p *Pieces) Name(name string) {
	b, err := json.Marshal(name)
	if err != nil && p.err == nil {
		p.err = err
	}
	p.write(ascii(append(b, ": "...)))
}

// Value writes a value, at a depth.
func (p *Pieces) Value(x any, indent string, depth int) {
	text, err := p.encoder.encode(x, strings.Repeat(indent, depth), indent)
	if err != nil && p.err == nil {
		p.err = err
	}
	p.write(bytes.TrimSuffix(text, []byte("\n")))
}

// Err is the first error.
func (p *Pieces) Err() error { return p.err }

func (p *Pieces) write(b []byte) {
	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
}
