package wording

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          string // places, "-" if it does not fit
	}{
		{"plain", "plain", ""},
		{"plain", "plain ", "-"},
		{"a({n}) b", "a(12) b", "12"},
		{"a({n}) b", "a() b", "-"},
		{"a({n}) b", "a(-1) b", "-1"},
		{"{x} lost", "8e9e05c52164694d lost", "8e9e05c52164694d"},
		{"{x} lost", "someone lost", "-"},
		{"({}) end", "(a) end) end", "a) end"},
		{"f {}: {}", "f a: b: c", "a|b: c"},
		{"f {} at {n}", "f a at b at 5", "a at b|5"},
		{"end {}", "end ", "-"},
		{"{a} is no place", "{a} is no place", ""},
	} {
		p := Compile(c.pattern)
		places, ok := p.Match([]byte(c.text))
		got := "-"
		if ok {
			var all []string
			for _, s := range places {
				all = append(all, string(s))
			}
			got = strings.Join(all, "|")
		}
		if d := gocmp.Diff(c.want, got); d != "" {
			t.Errorf("%s of %q: %s", c.pattern, c.text, d)
		}
	}
}

// FuzzMatch asserts that what stands in the places, put back, makes the text.
func FuzzMatch(f *testing.F) {
	f.Add("tocommit({n}) is out of range [lastIndex({n})]", "tocommit(12) is out of range [lastIndex(7)]")
	f.Add("a {} b {} c", "a b b b c c")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 60 || len(text) > 200 {
			return // many places for any text are tried in all ways; the table has three at most
		}
		p := Compile(pattern)
		places, ok := p.Match([]byte(text))
		if !ok {
			return
		}
		var b strings.Builder
		for i, l := range p.literals {
			b.WriteString(l)
			if i < len(places) {
				b.Write(places[i])
			}
		}
		if b.String() != text {
			t.Errorf("%q of %q is %q", pattern, text, b.String())
		}
	})
}
