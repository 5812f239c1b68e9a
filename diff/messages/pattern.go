package messages

import (
	"bytes"
	"strings"
)

// pattern is a wording taken apart: literals and what stands between them, in turn. literals is longer by one.
type pattern struct {
	literals []string
	holes    []hole
}

// hole is what may stand in a place of a pattern.
type hole byte

const (
	number  hole = 'n' // decimal, with or without a sign
	hex     hole = 'x' // lower case, with or without 0x
	anyText hole = '*' // whatever there is, if it is not empty
)

func compile(text string) (p pattern) {
	for {
		i := strings.IndexByte(text, '{')
		end := strings.IndexByte(text, '}')
		if i < 0 || end < i || end > i+2 {
			p.literals = append(p.literals, text)
			return p
		}
		h := anyText
		if end == i+2 {
			h = hole(text[i+1])
		}
		p.literals, p.holes = append(p.literals, text[:i]), append(p.holes, h)
		text = text[end+1:]
	}
}

// match tells whether all of text fits, and returns what stands in the places for any text.
func (p *pattern) match(text []byte) (free [][]byte, ok bool) {
	if !bytes.HasPrefix(text, []byte(p.literals[0])) {
		return nil, false
	}
	return match(text[len(p.literals[0]):], p.holes, p.literals[1:], nil)
}

func match(text []byte, holes []hole, literals []string, free [][]byte) ([][]byte, bool) {
	if len(holes) == 0 {
		return free, len(text) == 0
	}
	last := len(holes) == 1 && literals[0] == ""
	if holes[0] != anyText {
		n := digits(text, holes[0])
		if n == 0 || !bytes.HasPrefix(text[n:], []byte(literals[0])) {
			return nil, false
		}
		return match(text[n+len(literals[0]):], holes[1:], literals[1:], free)
	}
	if last {
		return append(free, text), len(text) > 0
	}
	if len(holes) == 1 {
		if n := len(text) - len(literals[0]); n > 0 && bytes.HasSuffix(text, []byte(literals[0])) {
			return append(free, text[:n]), true
		}
		return nil, false
	}
	for at := 1; at <= len(text); {
		i := bytes.Index(text[at:], []byte(literals[0]))
		if i < 0 {
			return nil, false
		}
		at += i
		if f, ok := match(text[at+len(literals[0]):], holes[1:], literals[1:], append(free, text[:at])); ok {
			return f, true
		}
		at++
	}
	return nil, false
}

// digits is how many bytes of a number text begins with.
func digits(text []byte, h hole) int {
	i := 0
	switch {
	case h == number && len(text) > 0 && text[0] == '-':
		i = 1
	case h == hex && bytes.HasPrefix(text, []byte("0x")):
		i = 2
	}
	start := i
	for i < len(text) && (text[i] >= '0' && text[i] <= '9' || h == hex && text[i] >= 'a' && text[i] <= 'f') {
		i++
	}
	if i == start {
		return 0
	}
	return i
}
