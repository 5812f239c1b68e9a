// Package verdict says what follows from all that a comparison knows. It is the only place where that is decided, and a pure
// function: the evidence of all members, what was found to tell them apart, and the findings about their files go in; the verdict, the
// reasons and the headline come out.
//
//	evidence of members ──┐
//	claims ───────────────┼──> Of ──> verdict, which claims stand, reasons, headline
//	doubts, findings ─────┘
//
// The rules:
//
//   - A claim that rests on what members hold, and what they do not hold, stands only between members whose dbs are whole.
//   - Logs that hold different committed entries, and readable rows that contradict each other, stand whatever else is damaged.
//   - Diverged is what at least one claim that stands says.
//   - Consistent takes that every member was compared, all of it, without a doubt.
//   - Everything else is indeterminate, and the headline says what to do about it.
//   - Nothing is compared of members that are perhaps not of one cluster, or that are one and the same.
package verdict

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

// Verdict is the answer to whether members diverged.
type Verdict string

const (
	// Consistent means that everything was read, and what differs is lag, compaction or version.
	Consistent Verdict = "consistent"
	// Diverged means that members that applied the same entries hold different data, or applied different entries.
	Diverged Verdict = "diverged"
	// Indeterminate means that there is no difference in what could be read and compared, but that was not everything.
	Indeterminate Verdict = "indeterminate"
	// NotComparable means that the members are not of one cluster, or not of several members of it.
	NotComparable Verdict = "not_comparable"
)

// Basis is what a claim rests on.
type Basis int

const (
	// Holdings are what members hold and do not hold, in rows and tables, and where that ends.
	Holdings Basis = iota
	// Logs hold different entries at an index up to which they are committed.
	Logs
	// Rows of one revision contradict each other, and damage of the copies cannot have made that.
	Rows
)

// Claim is a divergence that was found.
type Claim struct {
	Basis Basis
	// Groups are the labels of members that agree with each other; one group alone departs from its own log.
	Groups [][]string
}

// Member is one of those that were given.
type Member struct {
	Label    string
	Standing inspect.Standing
	// Why says in a clause why the db is not whole.
	Why string
	// Unread are reasons why other files of the member, such as its log, could not all be read.
	Unread []string
}

// Facts are all that a verdict rests on.
type Facts struct {
	Members []Member
	Claims  []Claim
	// Apart says why nothing can be compared, empty if something can.
	Apart []string
	// Doubts keep members from being consistent.
	Doubts []string
	// Remarks go with any verdict.
	Remarks []string
	// Findings are about the files of all members.
	Findings []finding.Finding
}

// Answer is what follows.
type Answer struct {
	Verdict Verdict
	// Stands tells of each claim whether it holds.
	Stands []bool
	// Headline is what there is to say first, empty where the first divergence, or that there is none, says it.
	Headline string
	Reasons  []string
	// Problems is how many kinds of errors there are among the findings.
	Problems int
}

// Of draws the conclusion.
func Of(f Facts) Answer {
	a := Answer{Stands: make([]bool, len(f.Claims)), Problems: len(problems(f.Findings))}
	if len(f.Apart) > 0 {
		a.Verdict, a.Reasons = NotComparable, f.Apart
		return a
	}
	whole := map[string]bool{}
	damaged := f.damaged()
	for _, m := range f.Members {
		whole[m.Label] = m.Standing == inspect.Whole
	}
	for i, c := range f.Claims {
		a.Stands[i] = c.stands(whole)
	}
	a.Reasons = slices.Concat(f.Doubts, damaged, f.Remarks)
	switch {
	case slices.Contains(a.Stands, true):
		a.Verdict = Diverged
	case len(f.Doubts)+len(damaged) > 0:
		a.Verdict, a.Headline = Indeterminate, f.tell()
	default:
		a.Verdict, a.Headline = Consistent, butProblems(f.Findings)
	}
	return a
}

// stands tells whether a claim is more than what the damage of some copies may have made.
func (c *Claim) stands(whole map[string]bool) bool {
	if c.Basis != Holdings {
		return true
	}
	sides := 0
	for _, g := range c.Groups {
		if slices.ContainsFunc(g, func(label string) bool { return whole[label] }) {
			sides++
		}
	}
	return sides >= min(2, len(c.Groups)) && sides > 0
}

// maxUnread is how many reasons are given for one member: -w json lists all findings.
const maxUnread = 3

// damaged says of each member what could not be read of it.
func (f *Facts) damaged() (why []string) {
	for _, m := range f.Members {
		if m.Standing != inspect.Whole {
			why = append(why, m.Label+": "+m.Why)
		}
		for i, u := range m.Unread {
			if i == maxUnread && len(m.Unread) > maxUnread+1 {
				why = append(why, fmt.Sprintf("%s: and %d more of the kind", m.Label, len(m.Unread)-i))
				break
			}
			why = append(why, m.Label+": "+u)
		}
	}
	return why
}

// tell is the headline of copies that are not whole: what became of them, and what to do.
func (f *Facts) tell() string {
	by := map[inspect.Standing][]string{}
	for _, m := range f.Members {
		by[m.Standing] = append(by[m.Standing], m.Label)
	}
	var parts []string
	say := func(s inspect.Standing, one, several string) {
		switch n := len(by[s]); {
		case n == 1:
			parts = append(parts, by[s][0]+" "+one)
		case n > 1:
			parts = append(parts, list(by[s])+" "+several)
		}
	}
	say(inspect.Torn, "seems to have been copied while etcd was writing", "seem to have been copied while etcd was writing")
	say(inspect.Cut, "is cut off", "are cut off")
	say(inspect.Damaged, "has pages that cannot be read", "have pages that cannot be read")
	say(inspect.Missing, "has no db that can be read", "have no db that can be read")
	if len(parts) == 0 {
		return ""
	}
	again := "Copy them again."
	if len(f.Members)-len(by[inspect.Whole]) == 1 {
		again = "Copy it again."
	}
	return strings.Join(parts, "; ") + ". " + again
}

// problems are the codes of the errors.
func problems(fs []finding.Finding) (codes []string) {
	for i := range fs {
		if fs[i].Severity == finding.Error && !slices.Contains(codes, fs[i].Code) {
			codes = append(codes, fs[i].Code)
		}
	}
	return codes
}

// butProblems is what members that agree have all the same.
func butProblems(fs []finding.Finding) string {
	codes := problems(fs)
	switch len(codes) {
	case 0:
		return ""
	case 1:
		return "but 1 problem: " + codes[0]
	}
	return fmt.Sprintf("but %d problems: %s", len(codes), strings.Join(codes, ", "))
}

func list(labels []string) string {
	if len(labels) == 1 {
		return labels[0]
	}
	return strings.Join(labels[:len(labels)-1], ", ") + " and " + labels[len(labels)-1]
}
