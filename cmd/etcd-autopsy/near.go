package main

import (
	"slices"
	"strings"
)

// near lists the words that a mistyped one may stand for, the likeliest first: those that few typing errors make of it or of their
// begin, and those it is a part of.
func near(word string, all []string) []string {
	type match struct {
		word string
		far  int
	}
	var found []match
	low := strings.ToLower(word)
	for _, w := range all {
		far := distance(low, strings.ToLower(w))
		switch {
		case far <= max(1, len(low)/3):
			found = append(found, match{w, far})
		case len(low) >= 3 && strings.Contains(strings.ToLower(w), low):
			found = append(found, match{w, len(low)})
		case len(low) >= 4 && len(w) > len(low) && distance(low, strings.ToLower(w[:len(low)])) <= 1:
			found = append(found, match{w, len(low) + 1})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return a.far - b.far })
	var out []string
	for _, m := range found[:min(len(found), nearShown)] {
		out = append(out, m.word)
	}
	return out
}

const nearShown = 5

// didYouMean is a hint that names what a word may stand for, or else is what to do.
func didYouMean(word string, all []string, or string) string {
	if words := near(word, all); len(words) > 0 {
		return "did you mean " + strings.Join(words, " or ") + "?"
	}
	return or
}

// distance is the number of bytes to insert, delete, replace or swap with the next, to make one word of another.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}
