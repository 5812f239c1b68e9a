package report

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

const (
	maxWidth  = 80 // columns of running text
	minMargin = 11 // columns of the names of lines, with the space behind them
	maxMargin = 26
	maxTable  = 100 // columns of a table, if shorter keys make it fit
	minKey    = 24
)

// page is a document for people, before it is known how it is written.
type page struct {
	verdict string // one word or two, empty if there is none
	title   string
	lines   []line
	tables  []table
	hints   []string
	code    []string // lines for a shell, never wrapped
	// sections follow, each with its title above it.
	sections []*page
}

// line is a fact with a name. A line without a name goes on with the one before.
type line struct{ name, text string }

// table has notes below it. A row has a cell for each column of the header.
type table struct {
	title  string
	header []string
	rows   [][]string
	notes  []string
	keys   bool // the first column holds keys, which a terminal may have no room for
}

func (p *page) line(name, format string, args ...any) {
	p.lines = append(p.lines, line{name, fmt.Sprintf(format, args...)})
}

// blank separates lines.
func (p *page) blank() {
	if n := len(p.lines); n > 0 && p.lines[n-1] != (line{}) {
		p.lines = append(p.lines, line{})
	}
}

func (p *page) hint(format string, args ...any) {
	p.hints = append(p.hints, fmt.Sprintf(format, args...))
}

// text writes the page for a terminal.
func (p *page) text(w *bytes.Buffer) error {
	if p.title != "" {
		indent(w, max(minMargin, len(p.verdict)+2), p.verdict, p.title)
	}
	if err := p.body(w); err != nil {
		return err
	}
	for _, s := range p.sections {
		if w.Len() > 0 {
			fmt.Fprintln(w)
		}
		if s.title != "" {
			fmt.Fprintln(w, s.title)
		}
		if err := s.body(w); err != nil {
			return err
		}
	}
	if len(p.code) > 0 {
		fmt.Fprint(w, "\nCommands\n")
		for _, c := range p.code {
			fmt.Fprintln(w, "  "+c)
		}
	}
	if len(p.hints) > 0 {
		fmt.Fprintln(w)
		for _, h := range p.hints {
			indent(w, len("hint: "), "hint:", h)
		}
	}
	return nil
}

// body writes the lines and tables.
func (p *page) body(w *bytes.Buffer) error {
	width := minMargin
	for _, l := range p.lines {
		if n := runewidth.StringWidth(l.name) + 2; n <= maxMargin {
			width = max(width, n)
		}
	}
	if p.title != "" && len(p.lines) > 0 {
		fmt.Fprintln(w)
	}
	for i, l := range p.lines {
		if i == len(p.lines)-1 && l == (line{}) {
			break
		}
		if l == (line{}) {
			fmt.Fprintln(w)
			continue
		}
		indent(w, width, l.name, l.text)
	}
	for i := range p.tables {
		if i > 0 || p.title != "" || len(p.lines) > 0 {
			fmt.Fprintln(w)
		}
		if err := p.tables[i].text(w); err != nil {
			return err
		}
	}
	return nil
}

// indent writes text beside a name, broken at spaces so that it fits and stays right of the name.
func indent(w *bytes.Buffer, width int, name, text string) {
	first := strings.Repeat(" ", width)
	if n := runewidth.StringWidth(name); n > 0 && n < width {
		first = name + first[n:]
	} else if n > 0 {
		fmt.Fprintln(w, name)
	}
	for _, l := range wrap(text, maxWidth-width) {
		fmt.Fprintln(w, strings.TrimRight(first+l, " "))
		first = strings.Repeat(" ", width)
	}
}

// wrap breaks text at spaces. Words that are too long stay whole: a key must be fit for copying.
func wrap(text string, width int) []string {
	var lines []string
	rest := text
	for runewidth.StringWidth(rest) > width {
		cut := strings.LastIndexByte(runewidth.Truncate(rest, width+1, ""), ' ')
		if cut <= leading(rest) {
			if cut = strings.IndexByte(rest[leading(rest):], ' '); cut < 0 {
				break
			}
			cut += leading(rest)
		}
		lines = append(lines, rest[:cut])
		rest = "  " + strings.TrimLeft(rest[cut:], " ")
	}
	return append(lines, rest)
}

func leading(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

func (t *table) text(w *bytes.Buffer) error {
	if t.title != "" {
		fmt.Fprintf(w, "%s\n", t.title)
	}
	grid := tablewriter.NewTable(w,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{Symbols: tw.NewSymbols(tw.StyleASCII)})),
		tablewriter.WithHeaderAutoFormat(tw.Off), tablewriter.WithHeaderAutoWrap(tw.WrapNone), tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAlignment(tw.AlignLeft), tablewriter.WithRowAlignment(tw.AlignLeft), tablewriter.WithTrimSpace(tw.Off))
	grid.Header(t.header)
	if err := grid.Bulk(t.fitted()); err != nil {
		return err
	}
	if err := grid.Render(); err != nil {
		return err
	}
	for _, n := range t.notes {
		indent(w, 0, "", n)
	}
	return nil
}

// fitted returns the rows with keys so short that the table fits.
func (t *table) fitted() [][]string {
	if !t.keys {
		return t.rows
	}
	total, first := 1, 0
	for i := range t.header {
		wide := runewidth.StringWidth(t.header[i])
		for _, r := range t.rows {
			wide = max(wide, runewidth.StringWidth(r[i]))
		}
		if total += wide + 3; i == 0 {
			first = wide
		}
	}
	room := max(minKey, first-max(0, total-maxTable))
	var rows [][]string
	for _, r := range t.rows {
		rows = append(rows, append([]string{middle(r[0], room)}, r[1:]...))
	}
	return rows
}

// markdown writes the page as GitHub renders it.
func (p *page) markdown(w *bytes.Buffer) {
	if p.title != "" {
		fmt.Fprintf(w, "## %s\n\n", Escape(strings.TrimSpace(p.verdict+" "+p.title)))
	}
	p.markdownBody(w)
	for _, s := range p.sections {
		if s.title != "" {
			fmt.Fprintf(w, "\n### %s\n\n", Escape(s.title))
		}
		s.markdownBody(w)
	}
	if len(p.code) > 0 {
		fmt.Fprintf(w, "\n### Commands\n\n```sh\n%s\n```\n", strings.Join(p.code, "\n"))
	}
	for i, h := range p.hints {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "- hint: %s\n", Escape(h))
	}
}

func (p *page) markdownBody(w *bytes.Buffer) {
	for i, l := range p.lines {
		switch {
		case l == (line{}):
		case l.name == "" && i > 0:
			fmt.Fprintf(w, "  - %s\n", Escape(strings.TrimPrefix(strings.TrimSpace(l.text), "- ")))
		default:
			fmt.Fprintf(w, "- **%s** %s\n", Escape(l.name), Escape(l.text))
		}
	}
	for i := range p.tables {
		p.tables[i].markdown(w)
	}
}

func (t *table) markdown(w *bytes.Buffer) {
	if t.title != "" {
		fmt.Fprintf(w, "\n### %s\n", Escape(t.title))
	}
	fmt.Fprintln(w)
	row := func(cells []string) {
		fmt.Fprint(w, "|")
		for _, c := range cells {
			fmt.Fprintf(w, " %s |", Escape(c))
		}
		fmt.Fprintln(w)
	}
	row(t.header)
	fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", len(t.header)))
	for _, r := range t.rows {
		row(r)
	}
	for _, n := range t.notes {
		fmt.Fprintf(w, "\n%s\n", Escape(n))
	}
}

var escaper = strings.NewReplacer(`\`, `\\`, "|", `\|`, "*", `\*`, "_", `\_`, "<", `\<`, "`", "\\`", "[", `\[`, "@", "@\u200b", "#", `\#`)

// Escape keeps a text from being taken for markup, and a name in it from being notified.
func Escape(s string) string { return escaper.Replace(s) }

// middle shortens a text that is too wide for a table cell, keeping its beginning and its end.
func middle(s string, width int) string {
	if runewidth.StringWidth(s) <= width {
		return s
	}
	head := runewidth.Truncate(s, width/2-1, "")
	tail := s
	for runewidth.StringWidth(tail) > width-runewidth.StringWidth(head)-2 {
		_, n := utf8.DecodeRuneInString(tail)
		tail = tail[n:]
	}
	return head + ".." + tail
}

// list joins words: "a", "a and b", "a, b and c".
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return "nobody"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// count is a number with its noun: "1 key", "2 keys".
func count[N int | int64 | uint64](n N, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ry"): // entry, not key
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// verb is the form of a verb that fits that many subjects.
func verb[N int | int64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
