package preflight

import (
	"fmt"
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// Answer is what releases say that stop on a finding, once they come to it.
type Answer struct {
	Releases string `json:"releases"` // such as "3.4 and 3.5", or "3.5.0 to 3.5.4"
	// Says are the wordings that these releases have; numbers and names stand as {n}, {x} and {}.
	Says []string `json:"says"`
}

// lines are those of etcd 3 that are judged, by their minor numbers.
const firstLine, lastLine = 2, 7

// Answers are what releases say to findings of a kind, one after another. Releases that start, or whose words are not known, are left out.
func Answers(code string, severity finding.Severity) []Answer {
	if check.OfPage(code) {
		code = check.Pages
	}
	f := found{code: code, severity: severity, count: 1}
	type part struct {
		name, last string
		whole      bool // of a line
		says       []string
	}
	var parts []part
	for minor := int64(firstLine); minor <= lastLine; minor++ {
		starts := []int64{0}
		for _, r := range rules[code] {
			starts = append(starts, r.edges(minor)...)
		}
		slices.Sort(starts)
		starts = slices.Compact(starts)
		var of []part
		for i, p := range starts {
			why, ok := judge(f, semver.Version{Major: 3, Minor: minor, Patch: p})
			x := part{name: fmt.Sprintf("3.%d.%d", minor, p), last: fmt.Sprintf("3.%d", minor)}
			if i+1 < len(starts) {
				x.last = fmt.Sprintf("3.%d.%d", minor, starts[i+1]-1)
			}
			if ok && why.Outcome == Stops {
				x.says = why.Says
			}
			if n := len(of); n > 0 && slices.Equal(of[n-1].says, x.says) {
				of[n-1].last = x.last
				continue
			}
			of = append(of, x)
		}
		if len(of) == 1 {
			of[0].name, of[0].whole = of[0].last, true
		}
		parts = append(parts, of...)
	}
	var out []Answer
	for i := 0; i < len(parts); {
		first, k := parts[i], i+1
		for k < len(parts) && parts[k].whole && first.whole && slices.Equal(parts[k].says, first.says) {
			k++
		}
		last := parts[k-1]
		i = k
		if len(first.says) == 0 {
			continue
		}
		name := first.name
		if last.last != name {
			name += " to " + last.last
		}
		out = append(out, Answer{name, first.says})
	}
	return out
}
