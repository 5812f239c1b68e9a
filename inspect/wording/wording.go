// Package wording matches texts with places in them that differ from one time to the next: numbers, ids, names.
//
//	tocommit({n}) is out of range [lastIndex({n})]
//
// {n} stands for a decimal number, {x} for one in base 16, and {} for any text that is not empty. All of a text has to fit.
package wording

import (
	"bytes"
	"strings"
)

// Pattern is a wording taken apart: literals and what stands between them, in turn. literals is longer by one.
type Pattern struct {
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

// Compile takes a wording apart.
func Compile(text string) (p Pattern) {
	literal := 0 // where it begins
	for i := 0; i < len(text); {
		rest := text[i:]
		h, n := hole(0), 0
		switch {
		case strings.HasPrefix(rest, "{}"):
			h, n = anyText, 2
		case strings.HasPrefix(rest, "{n}"):
			h, n = number, 3
		case strings.HasPrefix(rest, "{x}"):
			h, n = hex, 3
		default:
			i++
			continue
		}
		p.literals, p.holes = append(p.literals, text[literal:i]), append(p.holes, h)
		i += n
		literal = i
	}
	p.literals = append(p.literals, text[literal:])
	return p
}

// Prefix is the text that all that fits begins with.
func (p *Pattern) Prefix() string { return p.literals[0] }

// Literals are the texts before, between and behind the places: one more than there are places.
func (p *Pattern) Literals() []string { return p.literals }

// Free tells whether any text may stand in a place.
func (p *Pattern) Free(place int) bool { return p.holes[place] == anyText }

// Match tells whether all of text fits, and returns what stands in the places.
func (p *Pattern) Match(text []byte) (places [][]byte, ok bool) {
	if !bytes.HasPrefix(text, []byte(p.literals[0])) {
		return nil, false
	}
	return match(text[len(p.literals[0]):], p.holes, p.literals[1:], nil)
}

func match(text []byte, holes []hole, literals []string, places [][]byte) ([][]byte, bool) {
	if len(holes) == 0 {
		return places, len(text) == 0
	}
	last := len(holes) == 1 && literals[0] == ""
	if holes[0] != anyText {
		n := digits(text, holes[0])
		if n == 0 || !bytes.HasPrefix(text[n:], []byte(literals[0])) {
			return nil, false
		}
		return match(text[n+len(literals[0]):], holes[1:], literals[1:], append(places, text[:n]))
	}
	if last {
		return append(places, text), len(text) > 0
	}
	if len(holes) == 1 {
		if n := len(text) - len(literals[0]); n > 0 && bytes.HasSuffix(text, []byte(literals[0])) {
			return append(places, text[:n]), true
		}
		return nil, false
	}
	for at := 1; at <= len(text); {
		i := bytes.Index(text[at:], []byte(literals[0]))
		if i < 0 {
			return nil, false
		}
		at += i
		if f, ok := match(text[at+len(literals[0]):], holes[1:], literals[1:], append(places, text[:at])); ok {
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
