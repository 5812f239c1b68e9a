package escape

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Markdown writes what GitHub and other places render. Whatever a text holds, it renders as that text.
type Markdown struct {
	b     bytes.Buffer
	ends  []end // where it may be cut
	open  []markup
	fence string
}

// end is a place behind a whole line, and what has to follow if nothing else does.
type end struct {
	at    int
	close string
}

// Printf writes markup with texts in it, at verbs %s and %d.
func (m *Markdown) Printf(format markup, args ...any) {
	texts := make([]any, len(args))
	verbs := verb.FindAllStringIndex(string(format), -1)
	for i, a := range args {
		switch a := a.(type) {
		case int, int64, uint64, uint32:
			texts[i] = a
		default:
			line := ""
			if i < len(verbs) {
				line = string(format[:verbs[i][0]])
			}
			if n := strings.LastIndexByte(line, '\n'); n >= 0 {
				line = line[n+1:]
			} else {
				all := m.b.Bytes()
				line = string(all[bytes.LastIndexByte(all, '\n')+1:]) + line
			}
			texts[i] = markdownText(fmt.Sprint(a), begins.MatchString(line))
		}
	}
	fmt.Fprintf(&m.b, string(format), texts...)
	m.end()
}

var (
	verb   = regexp.MustCompile(`%[sd]`)
	begins = regexp.MustCompile(`^[ >*+-]*([0-9]+[.)] +)?$`)
)

// Text writes a text.
func (m *Markdown) Text(s string) { m.Printf("%s", s) }

// Line writes a text, and ends the line.
func (m *Markdown) Line(s string) { m.Printf("%s\n", s) }

// Head begins a table.
func (m *Markdown) Head(cells ...string) {
	m.Row(cells...)
	m.b.WriteString("|" + strings.Repeat(" --- |", len(cells)) + "\n")
	m.end()
}

// Row writes a row of a table.
func (m *Markdown) Row(cells ...string) {
	m.b.WriteByte('|')
	for _, c := range cells {
		m.b.WriteString(" " + markdownText(c, false) + " |")
	}
	m.b.WriteByte('\n')
	m.end()
}

// Fence writes lines as a block of code of a language.
func (m *Markdown) Fence(language markup, lines ...string) {
	mark := "```"
	for _, l := range lines {
		for strings.Contains(l, mark) {
			mark += "`"
		}
	}
	m.b.WriteString(mark + string(language) + "\n")
	m.fence = mark
	for _, l := range lines {
		m.b.WriteString(Visible(l) + "\n")
		m.end()
	}
	m.fence = ""
	m.b.WriteString(mark + "\n")
	m.end()
}

// Code writes a text as code within a line.
func (m *Markdown) Code(s string) {
	s = strings.TrimSpace(Visible(s))
	mark := "`"
	for strings.Contains(s, mark) {
		mark += "`"
	}
	if s == "" {
		return
	}
	if len(mark) > 1 {
		s = " " + s + " "
	}
	m.b.WriteString(mark + s + mark)
}

// Details folds a part away.
func (m *Markdown) Details(summary string, body func()) {
	m.open = append(m.open, "\n</details>\n")
	m.Printf("\n<details><summary>%s</summary>\n\n", summary)
	body()
	m.open = m.open[:len(m.open)-1]
	m.Printf("\n</details>\n")
}

// end notes that the text may end here.
func (m *Markdown) end() {
	n := m.b.Len()
	if n == 0 || m.b.Bytes()[n-1] != '\n' {
		return
	}
	e := end{at: n}
	if m.fence != "" {
		e.close = m.fence + "\n"
	}
	for i := len(m.open) - 1; i >= 0; i-- {
		e.close += string(m.open[i])
	}
	m.ends = append(m.ends, e)
}

// Len is how many bytes it has so far.
func (m *Markdown) Len() int { return m.b.Len() }

// Clip ends it at the last line with which it has at most size bytes, and says why.
func (m *Markdown) Clip(size int, why string) {
	if m.b.Len() <= size {
		return
	}
	why = "\n" + markdownText(why, true) + "\n"
	for len(m.ends) > 0 {
		e := m.ends[len(m.ends)-1]
		if tail := e.close + why; e.at+len(tail) <= size {
			m.b.Truncate(e.at)
			m.b.WriteString(tail)
			return
		}
		m.ends = m.ends[:len(m.ends)-1]
	}
	m.b.Reset()
}

// WriteTo writes all of it to w.
func (m *Markdown) WriteTo(w io.Writer) (int64, error) { return m.b.WriteTo(w) }

var number = regexp.MustCompile(`^[0-9]+([^0-9A-Za-z_]|$)`)

// apart keeps what stands on its sides from being taken for one word, and is not seen.
const apart = "<!-- -->"

// markdownText is a text that renders as it is. At the beginning of a line, more would be taken for markup.
func markdownText(s string, first bool) string {
	s = Visible(s)
	var b strings.Builder
	if first {
		s = strings.TrimLeft(s, " ")
		n := len(s) - len(strings.TrimLeft(s, "0123456789"))
		switch {
		case n > 0 && n < len(s) && (s[n] == '.' || s[n] == ')'):
			b.WriteString(s[:n] + `\`)
			b.WriteByte(s[n])
			s = s[n+1:]
		case s != "" && strings.ContainsRune("-+=", rune(s[0])):
			b.WriteString(`\` + s[:1])
			s = s[1:]
		}
	}
	for i, r := range s {
		rest := s[i+utf8.RuneLen(r):]
		switch {
		case r == '\\':
			b.WriteString("&#92;") // two of them in front of a bar would be read in more than one way
		case strings.ContainsRune("`*_[]<>|~$&#", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
		switch {
		case r == '@' && rest != "" && rest[0] != ' ', r == '#' && number.MatchString(rest), r == ':' && strings.HasPrefix(rest, "//"),
			rest != "" && rest[0] == '.' && len(s)-len(rest) >= 3 && strings.EqualFold(s[len(s)-len(rest)-3:len(s)-len(rest)], "www"),
			r == '-' && i >= 2 && strings.EqualFold(s[i-2:i], "gh"):
			b.WriteString(apart)
		}
	}
	return b.String()
}
