package escape

import (
	"bytes"
	"strings"
	"testing"
)

// TestSpans asserts that colour is written where it was asked for, and that no text can write it.
func TestSpans(t *testing.T) {
	t.Parallel()
	line := func(s Screen, spans ...Span) string {
		var b bytes.Buffer
		f := NewFilter(&b)
		f.On(s)
		l := NewLines(f)
		l.Spans(spans...)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	spans := []Span{{Bad, "DIVERGED"}, {Plain, " a\x1b[32mb"}, {Good, ""}}
	if got, want := line(Screen{}, spans...), "DIVERGED a\\x1b[32mb\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := line(Screen{Colour: true}, spans...), "\x1b[31mDIVERGED\x1b[0m a\\x1b[32mb\x1b[32m\x1b[0m\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, s := range attacks {
		if got := line(Screen{Colour: true}, Span{Bad, s}); strings.Count(got, "\x1b") != 2 || strings.Count(got, "\n") != 1 {
			t.Errorf("%q: %q", s, got)
		}
	}
	var b bytes.Buffer
	l := NewLines(&b) // no filter, no screen
	l.Spans(spans...)
	if err := l.Flush(); err != nil || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q, %v", b.String(), err)
	}
}
