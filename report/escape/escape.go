// Package escape writes texts to the places where people and programs read them: a terminal, Markdown, JSON, HTML, a shell. Keys,
// names and urls come from files that anybody may have written, and nothing of them may leave its place: start a line of its
// own, end a cell or a fence, give orders to a terminal, turn the direction of what follows, or become a link or a mention.
//
// Each place has a writer that takes every string for text, and escapes it. Markup can be given to it only as a constant of this
// program. So that nothing else is written, packages that print do so through these writers alone, which a test asserts.
package escape

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// markup is what only constants of this program can be: a string that was made at run time is not converted to it.
type markup string

// unsafe tells whether a character must not be written as it is. Only what is seen is safe: letters, marks, digits, punctuation,
// symbols and spaces. Controls are not, nor what changes the direction or the joining of others, nor line separators, nor what
// this version of Unicode does not know, nor U+FFFD, which stands for what was no UTF-8 when a JSON text was read.
func unsafe(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && !unicode.IsGraphic(r) || r == utf8.RuneError
}

// Safe tells whether a text is valid UTF-8 without unsafe characters, so that Visible does not change it.
func Safe(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f {
			return false
		} else if c >= utf8.RuneSelf {
			return utf8.ValidString(s[i:]) && !strings.ContainsFunc(s[i:], unsafe)
		}
	}
	return true
}

// Visible is a text in which everything that is not safe to write stands as Go and JSON write it: \n, \x1b, \u202e, \xff for a
// byte that is no UTF-8. What is safe stays as it is, so that Visible of its result is the same.
func Visible(s string) string {
	if Safe(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			n = 1
		} else {
			appendVisible(&b, r)
		}
		i += n
	}
	return b.String()
}

func appendVisible(b *strings.Builder, r rune) {
	switch {
	case !unsafe(r):
		b.WriteRune(r)
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < 0x80:
		fmt.Fprintf(b, `\x%02x`, r)
	case r < 0x10000:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// Filter is the last barrier in front of standard output, standard error and a page: whatever is written, unsafe characters
// other than line breaks and tabs come out as Visible writes them.
type Filter struct {
	w      io.Writer
	rest   []byte // of a character whose other bytes are not written yet
	screen Screen
}

// NewFilter writes to w.
func NewFilter(w io.Writer) *Filter { return &Filter{w: w} }

// To is what it writes to.
func (f *Filter) To() io.Writer { return f.w }

// Write writes p, but for the begin of a last character that is not whole.
func (f *Filter) Write(p []byte) (int, error) {
	all := p
	if len(f.rest) > 0 {
		all = append(f.rest, p...)
	}
	end := len(all)
	for back := 1; back < utf8.UTFMax && back <= len(all); back++ {
		if c := all[len(all)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(all[len(all)-back:]) {
				end = len(all) - back
			}
			break
		}
	}
	if err := f.write(all[:end]); err != nil {
		return 0, err
	}
	f.rest = append([]byte(nil), all[end:]...)
	return len(p), nil
}

// Flush writes what is left of a character that was never whole.
func (f *Filter) Flush() error {
	rest := f.rest
	f.rest = nil
	return f.write(rest)
}

func (f *Filter) write(p []byte) error {
	s := string(p)
	if !Safe(s) {
		var b strings.Builder
		for s != "" {
			n := strings.IndexAny(s, "\n\t")
			if n < 0 {
				n = len(s)
			}
			b.WriteString(Visible(s[:n]))
			b.WriteString(s[n:min(n+1, len(s))])
			s = s[min(n+1, len(s)):]
		}
		s = b.String()
	}
	if s == "" {
		return nil
	}
	_, err := io.WriteString(f.w, s)
	return err
}

// Lines writes lines for a terminal, or for programs that read lines. The first error is kept.
type Lines struct {
	w      *bufio.Writer
	filter *Filter // nil if there is none
	wrote  bool
	err    error
}

// NewLines writes to w. If that is a filter, lines can stand out on its screen.
func NewLines(w io.Writer) *Lines {
	f, _ := w.(*Filter)
	return &Lines{w: bufio.NewWriterSize(w, 64<<10), filter: f}
}

// Line writes one line, whatever the parts of it hold.
func (l *Lines) Line(parts ...string) {
	l.wrote = true
	for _, p := range parts {
		if l.err == nil {
			_, l.err = l.w.WriteString(Visible(p))
		}
	}
	if l.err == nil {
		l.err = l.w.WriteByte('\n')
	}
}

// JSON writes a value as a line of JSON.
func (l *Lines) JSON(x any) {
	l.wrote = true
	if l.err == nil {
		l.err = JSON(l.w, x, "", "")
	}
}

// Field writes a name and a value as etcdctl's format "fields" has them.
func (l *Lines) Field(name string, value any) {
	l.wrote = true
	if l.err == nil {
		_, l.err = l.w.WriteString(Visible(fmt.Sprintf("%q", name)) + " : ")
	}
	l.JSON(value)
}

// Wrote tells whether there is a line.
func (l *Lines) Wrote() bool { return l.wrote }

// Err is the first error.
func (l *Lines) Err() error { return l.err }

// Flush writes what is left, and returns the first error.
func (l *Lines) Flush() error {
	if err := l.w.Flush(); l.err == nil {
		l.err = err
	}
	return l.err
}
