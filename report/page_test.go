package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"etcd-autopsy/report/escape"
)

// TestWidth writes a page for screens of several widths.
func TestWidth(t *testing.T) {
	t.Parallel()
	p := &page{verdict: "DIVERGED", title: strings.Repeat("words of prose ", 20)}
	p.line("who", "%s", strings.Repeat("more words ", 30))
	key := "/registry/pods/" + strings.Repeat("n", 60) + "/x"
	p.tables = []table{
		{header: []string{"key", "a", "b"}, keys: true, rows: [][]string{{key, "1", "2"}}},
		{header: []string{"member", "behaves as", "lacks"}, plain: true, rows: [][]string{{"node1 *", "by the rules of 3.3 from entry 1576 on", "78 keys, 49 leases, and some more words"}}},
	}
	text := func(s escape.Screen) string {
		var b bytes.Buffer
		f := escape.NewFilter(&b)
		f.On(s)
		l := escape.NewLines(f)
		if err := p.text(l); err != nil {
			t.Fatal(err)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for width, want := range map[int]struct {
		prose, table int
		whole        bool // the key
	}{0: {80, 100, true}, 20: {40, 40, false}, 60: {60, 60, false}, 80: {80, 80, false}, 120: {100, 120, true}, 300: {100, 300, true}} {
		got := text(escape.Screen{Width: width})
		for line := range strings.Lines(got) {
			line = strings.TrimSuffix(line, "\n")
			limit := want.prose
			if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "+") {
				limit = want.table
			}
			if n := runewidth.StringWidth(line); n > limit && width > 0 {
				t.Errorf("width %d: %d columns: %s", width, n, line)
			}
		}
		if strings.Contains(got, key) != want.whole {
			t.Errorf("width %d: key whole: %v\n%s", width, !want.whole, got)
		}
	}
	if got := text(escape.Screen{Width: 60, Colour: true}); !strings.HasPrefix(got, "\x1b[31mDIVERGED\x1b[0m  ") || strings.Count(got, "\x1b[31m") < 3 {
		t.Errorf("the verdict and the lines of the row that differs do not stand out:\n%q", got)
	}
}
