package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"

	"etcd-autopsy/diff/shell"
	"etcd-autopsy/report/escape"
)

const (
	maxWidth  = 80 // columns of running text where nothing is known of the screen
	minMargin = 11 // columns of the names of lines, with the space behind them
	maxMargin = 26
	maxTable  = 100 // columns of a table, if shorter keys make it fit
	minKey    = 24

	narrowest = 40  // columns that are made use of, however few a screen has
	widest    = 100 // of running text, however many it has: longer lines are hard to read
)

// proseWidth is how many columns running text takes on a screen.
func proseWidth(s escape.Screen) int {
	if s.Width <= 0 {
		return maxWidth
	}
	return min(max(s.Width, narrowest), widest)
}

// tableWidth is how many columns a table should not exceed.
func tableWidth(s escape.Screen) int {
	if s.Width <= 0 {
		return maxTable
	}
	return max(s.Width, narrowest)
}

// styles are those of the words that stand for an answer.
var styles = map[string]escape.Style{
	"DIVERGED": escape.Bad, "DIFFERS": escape.Bad, "DIFFERENT": escape.Bad, "PROBLEMS": escape.Bad, "ERROR": escape.Bad,
	"CONSISTENT": escape.Good, "CONSISTENT,": escape.Good, "SAME": escape.Good, "EQUAL": escape.Good, "NOTHING FOUND": escape.Good,
	"INDETERMINATE": escape.Doubt, "CANNOT TELL": escape.Doubt, "NOT COMPARABLE": escape.Doubt, "INCOMPLETE": escape.Doubt, "UNKNOWN": escape.Doubt, "WARNING": escape.Doubt,
}

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
	plain  bool // without lines
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
func (p *page) text(w *escape.Lines) error {
	if p.title != "" {
		indent(w, max(minMargin, len(p.verdict)+2), p.verdict, p.title)
	}
	if err := p.body(w); err != nil {
		return err
	}
	for _, s := range p.sections {
		if w.Wrote() {
			w.Line()
		}
		if s.title != "" {
			w.Line(s.title)
		}
		if err := s.body(w); err != nil {
			return err
		}
	}
	if len(p.code) > 0 {
		w.Line()
		w.Line("Commands")
		for _, c := range fit(p.code) {
			if c == "" {
				w.Line()
				continue
			}
			w.Line("  ", c)
		}
	}
	if len(p.hints) > 0 {
		w.Line()
		for _, h := range p.hints {
			indent(w, len("hint: "), "hint:", h)
		}
	}
	return nil
}

// unfit stands for a line that was not made of plain words only.
const unfit = "# a command with names that a shell may misread is left out"

// fit are lines that can be pasted into a shell without a doubt about what is run.
func fit(lines []string) []string {
	out := slices.Clone(lines)
	for i, l := range out {
		if !shell.Fit(l) {
			out[i] = unfit
		}
	}
	return slices.Compact(out)
}

// body writes the lines and tables.
func (p *page) body(w *escape.Lines) error {
	width := minMargin
	for _, l := range p.lines {
		if n := runewidth.StringWidth(escape.Visible(l.name)) + 2; n <= maxMargin {
			width = max(width, n)
		}
	}
	if p.title != "" && len(p.lines) > 0 {
		w.Line()
	}
	for i, l := range p.lines {
		if i == len(p.lines)-1 && l == (line{}) {
			break
		}
		if l == (line{}) {
			w.Line()
			continue
		}
		indent(w, width, l.name, l.text)
	}
	for i := range p.tables {
		if i > 0 || p.title != "" || len(p.lines) > 0 {
			w.Line()
		}
		if err := p.tables[i].text(w); err != nil {
			return err
		}
	}
	return nil
}

// indent writes text beside a name, broken at spaces so that it fits and stays right of the name. A name that is an answer stands out.
func indent(w *escape.Lines, width int, name, text string) {
	style := styles[name]
	name, text = escape.Visible(name), escape.Visible(text)
	margin := strings.Repeat(" ", width)
	first := margin
	if n := runewidth.StringWidth(name); n > 0 && n < width {
		first = margin[n:]
	} else if n > 0 {
		w.Spans(escape.Span{Style: style, Text: name})
		name = ""
	}
	for _, l := range wrap(text, proseWidth(w.Screen())-width) {
		rest := strings.TrimRight(first+l, " ")
		if name != "" {
			w.Spans(escape.Span{Style: style, Text: name}, escape.Span{Text: rest})
		} else {
			w.Line(rest)
		}
		name, first = "", margin
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

func (t *table) text(w *escape.Lines) error {
	if t.title != "" {
		w.Line(t.title)
	}
	v := t.visible()
	var b bytes.Buffer
	look := tw.Rendition{Symbols: tw.NewSymbols(tw.StyleASCII)}
	if t.plain {
		look = tw.Rendition{Borders: tw.BorderNone, Symbols: tw.NewSymbols(tw.StyleNone), Settings: tw.Settings{Separators: tw.SeparatorsNone, Lines: tw.LinesNone}}
	}
	grid := tablewriter.NewTable(&b,
		tablewriter.WithRenderer(renderer.NewBlueprint(look)),
		tablewriter.WithHeaderAutoFormat(tw.Off), tablewriter.WithHeaderAutoWrap(tw.WrapNone), tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAlignment(tw.AlignLeft), tablewriter.WithRowAlignment(tw.AlignLeft), tablewriter.WithTrimSpace(tw.Off))
	grid.Header(v.header)
	room := tableWidth(w.Screen())
	v.rows = v.fitted(room)
	marked := make([]bool, len(v.rows))
	for i, r := range v.rows {
		marked[i] = differing(r)
	}
	if w.Screen().Width > 0 {
		v.rows, marked = v.wrapped(room)
	}
	if err := grid.Bulk(v.rows); err != nil {
		return err
	}
	if err := grid.Render(); err != nil {
		return err
	}
	row := -3 // behind the header and the lines around it
	if t.plain {
		row = -1
	}
	for l := range strings.Lines(b.String()) {
		if l = strings.TrimSuffix(l, "\n"); t.plain {
			l = strings.TrimRight(strings.TrimPrefix(l, " "), " ")
		}
		style := escape.Plain
		if row >= 0 && row < len(marked) && marked[row] {
			style = escape.Bad
		}
		w.Spans(escape.Span{Style: style, Text: l})
		row++
	}
	for _, n := range t.notes {
		indent(w, 0, "", n)
	}
	return nil
}

// differing tells whether a row is marked as one whose cells differ.
func differing(row []string) bool { return len(row) > 0 && strings.HasSuffix(row[0], " *") }

// columnGap is what a column takes besides its cells: a space on both sides, and a line or none.
func (t *table) columnGap() int {
	if t.plain {
		return 2
	}
	return 3
}

// wrapped breaks cells of words so that the table fits a screen, the widest columns first. A row that takes several lines is as many
// rows. It tells for each row whether it is of one that is marked.
func (t *table) wrapped(room int) (rows [][]string, marked []bool) {
	widths, words := make([]int, len(t.header)), make([]int, len(t.header))
	total := 1
	for i := range t.header {
		for _, s := range append([]string{t.header[i]}, cellsOf(t.rows, i)...) {
			widths[i] = max(widths[i], runewidth.StringWidth(s))
			for w := range strings.FieldsSeq(s) {
				words[i] = max(words[i], runewidth.StringWidth(w)+2) // what goes on is indented
			}
		}
		words[i] = max(words[i], runewidth.StringWidth(t.header[i]))
		total += widths[i] + t.columnGap()
	}
	for total > room {
		widest := -1
		for i := range widths {
			if widths[i] > words[i] && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	for _, r := range t.rows {
		lines, high := make([][]string, len(r)), 1
		for i := range r {
			lines[i] = wrap(r[i], widths[i])
			high = max(high, len(lines[i]))
		}
		for n := range high {
			row := make([]string, len(r))
			for i := range r {
				if n < len(lines[i]) {
					row[i] = lines[i][n]
				}
			}
			rows, marked = append(rows, row), append(marked, differing(r))
		}
	}
	return rows, marked
}

func cellsOf(rows [][]string, i int) (cells []string) {
	for _, r := range rows {
		cells = append(cells, r[i])
	}
	return cells
}

// visible is the table with cells as they are seen, each in one line.
func (t *table) visible() table {
	v := table{keys: t.keys, plain: t.plain}
	cells := func(row []string) []string {
		out := make([]string, len(row))
		for i := range row {
			out[i] = escape.Visible(row[i])
		}
		return out
	}
	v.header = cells(t.header)
	for _, r := range t.rows {
		v.rows = append(v.rows, cells(r))
	}
	return v
}

// fitted returns the rows with keys so short that the table fits a width.
func (t *table) fitted(width int) [][]string {
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
	room := max(minKey, first-max(0, total-width))
	var rows [][]string
	for _, r := range t.rows {
		rows = append(rows, append([]string{middle(r[0], room)}, r[1:]...))
	}
	return rows
}

// markdown writes the page as GitHub renders it.
func (p *page) markdown(m *escape.Markdown) {
	if p.title != "" {
		m.Printf("## %s\n\n", strings.TrimSpace(p.verdict+" "+p.title))
	}
	p.markdownBody(m)
	for _, s := range p.sections {
		if s.title != "" {
			m.Printf("\n### %s\n\n", s.title)
		}
		s.markdownBody(m)
	}
	if len(p.code) > 0 {
		m.Printf("\n### Commands\n\n")
		m.Fence("sh", fit(p.code)...)
	}
	for i, h := range p.hints {
		if i == 0 {
			m.Printf("\n")
		}
		m.Printf("- hint: %s\n", h)
	}
}

func (p *page) markdownBody(m *escape.Markdown) {
	for i, l := range p.lines {
		switch {
		case l == (line{}):
		case l.name == "" && i > 0:
			m.Printf("  - %s\n", strings.TrimPrefix(strings.TrimSpace(l.text), "- "))
		default:
			m.Printf("- **%s** %s\n", l.name, l.text)
		}
	}
	for i := range p.tables {
		p.tables[i].markdown(m)
	}
}

func (t *table) markdown(m *escape.Markdown) {
	if t.title != "" {
		m.Printf("\n### %s\n", t.title)
	}
	m.Printf("\n")
	m.Head(t.header...)
	for _, r := range t.rows {
		m.Row(r...)
	}
	for _, n := range t.notes {
		m.Printf("\n%s\n", n)
	}
}

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
