package escape

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"golang.org/x/net/html"
)

// attacks are texts that mean something somewhere.
var attacks = []string{
	"", " ", "plain", "a\nb", "a\r\nb", "\t", "\x1b[31m", "\x00", "\x7f", "\u0085", "\u009b1m", "\u202e", "\u2066x\u2069", "\u200b", "\u2028", "\ufeff", "\U000e0041", "\xff", "\xe2\x80", "ä日本",
	"`a`", "``` x", "````", "| a |", `\|`, `\\|`, `\`, "<b>", "</details>", "<!-- x", "-->", "&lt;", "&#64;team", "@team", "a@b.c", "![i](http://x.y)", "[l](javascript:x)", "http://x.y", "www.x.y",
	"WWW.x.y", "#1", "a/b#12", "GH-3", "# h", "- i", "+ i", "* i", "1. i", "12) i", "> q", "===", "---", "~~s~~", "$x$", "[^1]", "    code", "*b*", "__b__", "%s", "{{.X}}",
}

// TestVisible asserts that nothing unsafe is left, that safe texts stay, and that a second time changes nothing.
func TestVisible(t *testing.T) {
	t.Parallel()
	for _, s := range attacks {
		v := Visible(s)
		if !Safe(v) || !utf8.ValidString(v) || strings.ContainsFunc(v, unsafe) || strings.Contains(v, "\n") {
			t.Errorf("%q: %q", s, v)
		}
		if Visible(v) != v || Safe(s) != (v == s) {
			t.Errorf("%q: %q, then %q", s, v, Visible(v))
		}
	}
	if got, want := Visible("a\n\x1b\u009b\u202e\xff\U000e0041"), `a\n\x1b\u009b\u202e\xff\U000e0041`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestFilter writes byte by byte.
func TestFilter(t *testing.T) {
	t.Parallel()
	for _, s := range attacks {
		var whole, parts bytes.Buffer
		one, other := NewFilter(&whole), NewFilter(&parts)
		_, _ = one.Write([]byte(s))
		for i := range len(s) {
			_, _ = other.Write([]byte{s[i]})
		}
		_, _ = one.Flush(), other.Flush()
		kept := strings.NewReplacer("\n", "", "\t", "").Replace(whole.String())
		if whole.String() != parts.String() || !Safe(kept) {
			t.Errorf("%q: %q and %q", s, whole.String(), parts.String())
		}
	}
}

// TestJSON asserts that every text comes back, and that none is unsafe.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, s := range attacks {
		var b bytes.Buffer
		if err := JSON(&b, map[string]string{"k" + s: s}, "", ""); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimSuffix(b.String(), "\n")
		var back map[string]string
		if err := json.Unmarshal([]byte(text), &back); err != nil || !Safe(text) {
			t.Errorf("%q: %s, %v", s, text, err)
		}
		if utf8.ValidString(s) && back["k"+s] != s {
			t.Errorf("%q comes back as %q", s, back)
		}
	}
}

// TestLines asserts that a line is one line.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, s := range attacks {
		var b bytes.Buffer
		l := NewLines(&b)
		l.Line(s, s)
		l.Field(s, s)
		l.JSON(s)
		if err := l.Flush(); err != nil || strings.Count(b.String(), "\n") != 3 || !Safe(strings.ReplaceAll(b.String(), "\n", "")) {
			t.Errorf("%q: %q, %v", s, b.String(), err)
		}
	}
}

// TestClip cuts everywhere: fences and folded parts are closed.
func TestClip(t *testing.T) {
	t.Parallel()
	for size := range 700 {
		var m Markdown
		m.Printf("# %s\n\n", "head")
		m.Details("more", func() {
			m.Fence("sh", "a", "```", "b")
			m.Head("a", "b")
			m.Row("| c", `\|`)
		})
		m.Clip(size, "(cut)")
		s := m.b.String()
		if len(s) > size && size < 600 || strings.Count(s, "<details>") != strings.Count(s, "</details>") || strings.Count(s, "\n````\n")+strings.Count(s, "````sh\n") == 1 {
			t.Errorf("%d: %q", size, s)
		}
	}
}

// TestMarkdown renders each attack where a text may stand: what is seen is the text, and nothing else.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	gfm := goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote), goldmark.WithRendererOptions(gmhtml.WithUnsafe()))
	for _, s := range attacks {
		for place, write := range map[string]func(m *Markdown){
			"line":   func(m *Markdown) { m.Line(s) },
			"head":   func(m *Markdown) { m.Printf("## %s\n", s) },
			"item":   func(m *Markdown) { m.Printf("- %s\n", s) },
			"number": func(m *Markdown) { m.Printf("1. %s\n", s) },
			"strong": func(m *Markdown) { m.Printf("- **name** %s\n", s) },
			"cell":   func(m *Markdown) { m.Head("a", "b"); m.Row(s, "end") },
			"fence":  func(m *Markdown) { m.Fence("sh", s) },
			"code":   func(m *Markdown) { m.Printf("by "); m.Code(s); m.Printf("\n") },
		} {
			var m Markdown
			write(&m)
			var page bytes.Buffer
			if err := gfm.Convert(m.b.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			tree, err := html.Parse(&page)
			if err != nil {
				t.Fatal(err)
			}
			var seen strings.Builder
			for n := range tree.Descendants() {
				switch {
				case n.Type == html.CommentNode && n.Data != " ":
					t.Errorf("%s: %q: a comment %q", place, s, n.Data)
				case n.Type == html.ElementNode && !strings.Contains(" html head body p h2 ul ol li strong table thead tbody tr th td pre code ", " "+n.Data+" "):
					t.Errorf("%s: %q: %s of %q", place, s, n.Data, m.b.String())
				case n.Type == html.TextNode:
					seen.WriteString(n.Data)
				}
			}
			if place != "diagram" && !strings.Contains(strings.ReplaceAll(seen.String(), "\u00a0", " "), strings.TrimSpace(Visible(s))) {
				t.Errorf("%s: %q is seen as %q", place, s, seen.String())
			}
		}
	}
}
