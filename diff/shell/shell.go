// Package shell makes lines that people paste into a shell, of words that mean the same in every shell, quoted or not.
package shell

import "strings"

// plain are the characters that no shell gives a meaning to, wherever in a word they stand but at its beginning.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,%+-="

// maxWord is how long a word may be that somebody is to look over before it is run.
const maxWord = 1024

// Plain tells whether a word out of the evidence stands for itself: it has characters of a strict list only, and does not begin
// like a flag, an assignment or a number of a descriptor.
func Plain(word string) bool {
	return word != "" && len(word) <= maxWord && strings.Trim(word, plain) == "" && !strings.ContainsRune("-=%+", rune(word[0]))
}

// Command is a line of a program's own words and of words out of the evidence, which stand at %s. It is empty if any of these is
// not plain: then what is to be done has to be said in words.
func Command(format string, words ...string) string {
	var b strings.Builder
	for i, part := range strings.Split(format, "%s") {
		if i > 0 {
			if i > len(words) || !Plain(words[i-1]) {
				return ""
			}
			b.WriteString(words[i-1])
		}
		b.WriteString(part)
	}
	return b.String()
}

// Fit tells whether all words of a line are plain, flags of programs included, or the line is a comment of such words and of
// ordinary punctuation. Every line is asked once more before it is written.
func Fit(line string) bool {
	text, comment := strings.CutPrefix(line, "#")
	extra := ""
	if comment {
		extra = ";"
	} else if before, after, found := strings.Cut(line, "   # "); found {
		text = before
		if !Fit("# " + after) {
			return false
		}
	}
	for word := range strings.FieldsSeq(text) {
		if strings.Trim(word, plain+extra) != "" || len(word) > 16*maxWord {
			return false
		}
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
