package escape

import "io"

// Screen is what the place that is written to can show. The zero value is a file, or a pipe to another program.
type Screen struct {
	Width  int // columns, 0 if they are not known
	Colour bool
}

// Style is how a part of a line stands out, where there is colour.
type Style int

// The styles.
const (
	Plain Style = iota
	Good        // nothing is wrong
	Bad         // what is wrong, and what differs
	Doubt       // it cannot be told
)

// codes begin a style, and end each. Nothing else that is written to a terminal gives it orders.
var codes = map[Style]markup{Good: "\x1b[32m", Bad: "\x1b[31m", Doubt: "\x1b[33m"}

const ended markup = "\x1b[0m"

// Span is a part of a line.
type Span struct {
	Style Style
	Text  string
}

// On tells the filter what it writes to.
func (f *Filter) On(s Screen) { f.screen = s }

// order gives an order to the terminal behind the filter.
func (f *Filter) order(code markup) error {
	_, err := io.WriteString(f.w, string(code))
	return err
}

// Screen is what the lines are shown on.
func (l *Lines) Screen() Screen {
	if l.filter == nil {
		return Screen{}
	}
	return l.filter.screen
}

// Spans writes one line whose parts may stand out. What they hold is escaped as always; the orders for the terminal are written apart,
// behind the filter that lets no others through.
func (l *Lines) Spans(spans ...Span) {
	if !l.Screen().Colour {
		parts := make([]string, len(spans))
		for i, s := range spans {
			parts[i] = s.Text
		}
		l.Line(parts...)
		return
	}
	l.wrote = true
	for _, s := range spans {
		code := codes[s.Style]
		l.order(code)
		if l.err == nil {
			_, l.err = l.w.WriteString(Visible(s.Text))
		}
		if code != "" {
			l.order(ended)
		}
	}
	l.Line()
}

// order writes what there is, then an order.
func (l *Lines) order(code markup) {
	if code == "" || l.err != nil {
		return
	}
	if l.err = l.w.Flush(); l.err == nil {
		l.err = l.filter.order(code)
	}
}
