package report

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

// stream writes rows one by one, however many there are: JSON as one object a line, tables with columns as wide as the first rows
// need. A longer cell of a later row exceeds its column, so that lines can be searched.
type stream struct {
	out    io.Writer
	w      *escape.Lines
	m      escape.Markdown
	format Format
	cols   []column
	held   []held // of a table, until the columns are known
	open   bool   // rows are held
	n      int    // rows
	wrote  bool   // anything
	err    error
}

// held is a row of a table or, without cells, a line below it.
type held struct {
	cells []string
	line  string
}

const (
	rowsHeld  = 2000
	widestFit = 64 // columns up to which a column grows with its cells
)

// column of a table. The last one of a row is never padded.
type column struct {
	name  string
	width int
	right bool
}

func newStream(w io.Writer, format Format) *stream {
	return &stream{out: w, w: escape.NewLines(w), format: format}
}

// head begins a table. A title is a line above it.
func (s *stream) head(title string, cols ...column) {
	s.release()
	s.cols = cols
	if title != "" {
		s.title(title)
	}
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.name
	}
	switch s.format {
	case Table:
		s.wrote, s.open = true, true
		s.held = append(s.held, held{cells: names})
	case Markdown:
		s.part()
		s.m.Head(names...)
	}
}

// release makes the columns as wide as the rows held need, and writes these.
func (s *stream) release() {
	if !s.open {
		return
	}
	s.open = false
	s.cols = slices.Clone(s.cols)
	for _, h := range s.held {
		for i := range h.cells[:min(len(h.cells), len(s.cols))] {
			if n := runewidth.StringWidth(escape.Visible(h.cells[i])); n <= widestFit {
				s.cols[i].width = max(s.cols[i].width, n)
			}
		}
	}
	for _, h := range s.held {
		if h.cells != nil {
			s.cells(h.cells)
		} else {
			s.put(h.line)
		}
	}
	s.held = s.held[:0]
}

// hold keeps a row or a line until the columns are known.
func (s *stream) hold(h held) {
	if s.held = append(s.held, h); len(s.held) >= rowsHeld {
		s.release()
	}
}

// part begins another part of Markdown.
func (s *stream) part() {
	if s.wrote {
		s.m.Printf("\n")
	}
	s.wrote = true
}

// title writes a line above what follows.
func (s *stream) title(text string) {
	switch s.format {
	case Table:
		s.release()
		s.blank()
		s.put(text)
	case Markdown:
		s.part()
		s.m.Printf("### %s\n", text)
	}
}

// row writes one row: doc for programs, lines of comma-separated cells or a table row for people.
func (s *stream) row(doc any, cells []string) {
	switch s.format {
	case JSON:
		s.json(doc)
	case Fields:
		s.fields(doc)
	case Simple:
		trimmed := make([]string, len(cells))
		for i := range cells {
			trimmed[i] = strings.TrimSpace(cells[i])
		}
		s.put(separated(trimmed))
	case Markdown:
		s.wrote = true
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		s.m.Row(cells...)
		if s.m.Len() > 64<<10 {
			s.drain()
		}
	case Table:
		if s.open {
			s.hold(held{cells: slices.Clone(cells)})
		} else {
			s.cells(cells)
		}
	}
	s.n++
}

// note writes a line of text below a row of a table, at a margin.
func (s *stream) note(margin int, text string) {
	switch line := strings.Repeat(" ", margin) + text; {
	case s.format != Table:
	case s.open:
		s.hold(held{line: line})
	default:
		s.put(line)
	}
}

// remark writes a line that belongs to the output as a whole. It is left out where only rows are expected.
func (s *stream) remark(text string) {
	switch s.format {
	case Table:
		s.release()
		s.wrote = true
		indent(s.w, 0, "", text)
	case Markdown:
		s.part()
		s.m.Line(text)
	}
}

// blank writes an empty line between parts of a table's text.
func (s *stream) blank() {
	if s.release(); s.format == Table && s.wrote {
		s.put("")
	}
}

func (s *stream) json(doc any) {
	s.wrote = true
	s.w.JSON(doc)
	s.check(s.w.Err())
}

func (s *stream) fields(doc any) {
	if s.wrote = true; s.err == nil {
		s.check(fieldsOf(s.w, doc, fmt.Sprintf("[%d]", s.n)))
	}
}

func (s *stream) check(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *stream) padded(cells []string) string {
	var all []string
	for i, c := range cells {
		c = escape.Visible(c)
		gap := ""
		if i < len(s.cols) {
			if n := s.cols[i].width - runewidth.StringWidth(c); n > 0 {
				gap = strings.Repeat(" ", n)
			}
		}
		if i < len(s.cols) && s.cols[i].right {
			c = gap + c
		} else if i+1 < len(cells) {
			c += gap
		}
		all = append(all, c)
	}
	return strings.TrimRight(strings.Join(all, "  "), " ")
}

// cells writes a row of a table. One that begins with ! is of something that differs.
func (s *stream) cells(cells []string) {
	style := escape.Plain
	if len(cells) > 0 && cells[0] == differs {
		style = escape.Bad
	}
	s.wrote = true
	s.w.Spans(escape.Span{Style: style, Text: s.padded(cells)})
	s.check(s.w.Err())
}

// differs marks a row of a table.
const differs = "!"

func (s *stream) put(line string) {
	s.wrote = true
	s.w.Line(line)
	s.check(s.w.Err())
}

// drain writes what there is of Markdown.
func (s *stream) drain() {
	_, err := s.m.WriteTo(s.out)
	s.check(err)
}

// end writes what is left.
func (s *stream) end() error {
	s.release()
	s.drain()
	s.check(s.w.Flush())
	return s.err
}

// unreadable is a part of the evidence that a stream of rows lacks.
type unreadable struct {
	Kind       string `json:"kind"` // "unreadable"
	Member     string `json:"member"`
	Unreadable string `json:"unreadable"`
}

const unreadableShown = 6

// lacks says at the end of a stream what could not be read.
func (s *stream) lacks(member string, why []string) {
	for i, w := range why {
		switch s.format {
		case JSON, Fields, Simple:
			s.row(unreadable{"unreadable", member, w}, []string{"unreadable", member, w})
		default:
			if i == 0 {
				s.blank()
			}
			if i < unreadableShown {
				s.remark(fmt.Sprintf("not all of %s could be read: %s", member, w))
			} else if i == unreadableShown {
				s.remark(fmt.Sprintf("%d more: etcd-autopsy check", len(why)-i))
			}
		}
	}
}

// Value is a value of a key: its size, and its bytes if they were asked for.
type Value struct {
	Size   int     `json:"value_size"`
	SHA256 string  `json:"value_sha256,omitempty"`
	Text   *string `json:"value,omitempty"`
	Base64 *string `json:"value_base64,omitempty"`
}

// show adds the bytes, as text where they are printable.
func (v *Value) show(b []byte) {
	if s := string(b); diff.Key(s).Printable() {
		v.Text = &s
	} else {
		s := base64.StdEncoding.EncodeToString(b)
		v.Base64 = &s
	}
}
