// Package bugs knows what is known to go wrong with etcd's data, and tests each of it against the evidence.
//
// A bug is a hypothesis: what must be seen if it happened, what speaks against it, and what proves it. Proof is a
// reproduction: entries of the log, run again under the rule that the bug stands for, make just what the member holds
// that departed, and under etcd's own rules what the others hold. Where there is nothing to reproduce, only evidence that
// nothing else explains confirms. Everything else is at most consistent. A test changes nothing of the case but what it keeps to be looked up again,
// so that tests do not depend on each other.
package bugs

import (
	"cmp"
	"slices"
	"strings"
)

// Status is what evidence says about a hypothesis. The zero value means that the evidence does not touch it.
type Status string

// What a test can say.
const (
	Confirmed  Status = "confirmed"
	Consistent Status = "consistent"
	Refuted    Status = "refuted"
)

// Source says who says so.
type Source string

// Sources.
const (
	Upstream    Source = "upstream"    // described by etcd's maintainers, or in a report to them
	Derived     Source = "derived"     // inferred from the source code; no public report is known
	Operator    Source = "operator"    // something that was done to the cluster
	Environment Source = "environment" // disks, file systems, virtual machines
	Open        Source = "open"        // reported, cause not settled
)

// Severity of a bug where it happened.
type Severity string

// Severities, the worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
	Info     Severity = "info"
)

// Visibility is what a bug leaves in a data directory.
type Visibility string

// Visibilities.
const (
	Strong Visibility = "strong" // traces that single it out
	Weak   Visibility = "weak"   // traces that other causes leave, too
	None   Visibility = "none"   // nothing: logs and clients tell
)

// Bug is one entry of the catalogue.
type Bug struct {
	// ID is "etcd-" and the number of the issue or pull request upstream; where there is none, it is Name.
	ID string
	// Name says it in words.
	Name     string
	Title    string
	Source   Source
	Severity Severity
	Visible  Visibility
	// Affected and Fixed are versions.
	Affected, Fixed string
	// Seen is what must be seen, Against what refutes it, Proof how it is confirmed.
	Seen, Against, Proof string
	Remedy               string
	Refs                 []string
	// Harmless is true for what is worth knowing but no trouble with the copy at hand.
	Harmless bool

	// Test judges a divergence, nil if the bug makes none. Look judges a single member, nil if there is nothing to see.
	// All judges members as a set.
	Test func(c *Case) Outcome
	Look func(c *Case, m *Member) Outcome
	All  func(c *Case) Outcome
}

// Testable tells whether evidence in data directories can say anything about the bug.
func (b *Bug) Testable() bool { return b.Test != nil || b.Look != nil || b.All != nil }

// Outcome is what a test found. Evidence is sentences without a full stop.
type Outcome struct {
	Status   Status
	Evidence []string
	// At is the entry it was found with, where several come into question (Cause.Begins); 0 otherwise.
	At uint64
}

// Verdict is a hypothesis that the evidence touches.
type Verdict struct {
	Bug *Bug
	// Members are the labels of those that it is about, none if it is about a divergence or the set.
	Members []string
	Outcome
}

// All returns the catalogue, in its order: what makes members diverge first.
func All() []*Bug { return catalogue }

// Find returns the bug with an id, a name, or a number, nil if there is none.
func Find(id string) *Bug {
	id = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(id), "#"))
	for _, b := range catalogue {
		if id == b.ID || id == b.Name || "etcd-"+id == b.ID || id == "etcd-"+b.number() {
			return b
		}
	}
	return nil
}

// number is the number at the end of the name, empty if there is none.
func (b *Bug) number() string {
	i := strings.LastIndexByte(b.Name, '-')
	if i < 0 || i == len(b.Name)-1 || strings.Trim(b.Name[i+1:], "0123456789") != "" {
		return ""
	}
	return b.Name[i+1:]
}

var rank = map[Status]int{Confirmed: 0, Consistent: 1, Refuted: 2}

var severities = map[Severity]int{Critical: 0, High: 1, Medium: 2, Low: 3, Info: 4}

// sortVerdicts puts what is confirmed first, then what weighs more; the catalogue's order decides the rest.
func sortVerdicts(vs []Verdict) {
	slices.SortStableFunc(vs, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(rank[a.Status], rank[b.Status]), cmp.Compare(severities[a.Bug.Severity], severities[b.Bug.Severity]))
	})
}

// Explain tests every hypothesis about divergences against one cause. Where one is confirmed, those that are merely
// consistent with what it explains are left out; those that were refuted by something that was seen are kept.
func (c *Case) Explain(cause *Cause) []Verdict {
	of := *c
	of.Cause = cause
	of.runs = map[string]*run{}
	c.shareDigests()
	var out []Verdict
	for _, b := range catalogue {
		if b.Test == nil || c.Ctx.Err() != nil {
			continue
		}
		if o := b.Test(&of); o.Status != "" {
			out = append(out, Verdict{Bug: b, Outcome: o})
		}
	}
	sortVerdicts(out)
	if len(out) > 0 && out[0].Status == Confirmed {
		out = slices.DeleteFunc(out, func(v Verdict) bool { return v.Status == Consistent })
	}
	return out
}

// Findings tests every hypothesis that needs no divergence: about single members, and about the set.
func (c *Case) Findings() []Verdict {
	c.shareDigests()
	c.checkAll()
	var out []Verdict
	for _, b := range catalogue {
		if b.All != nil {
			if o := b.All(c); o.Status != "" && o.Status != Refuted {
				out = append(out, Verdict{Bug: b, Outcome: o})
			}
		}
		if b.Look == nil {
			continue
		}
		for _, m := range c.Members {
			if c.Ctx.Err() != nil {
				return out
			}
			o := b.Look(c, m)
			if o.Status == "" || o.Status == Refuted {
				continue
			}
			// What several members show in the same way is said once.
			if i := slices.IndexFunc(out, func(v Verdict) bool {
				return v.Bug == b && len(v.Members) > 0 && v.Status == o.Status && slices.Equal(v.Evidence, o.Evidence)
			}); i >= 0 {
				out[i].Members = append(out[i].Members, m.Label)
				continue
			}
			out = append(out, Verdict{Bug: b, Members: []string{m.Label}, Outcome: o})
		}
	}
	sortVerdicts(out)
	return out
}

func confirmed(evidence ...string) Outcome { return Outcome{Status: Confirmed, Evidence: evidence} }

func consistent(evidence ...string) Outcome { return Outcome{Status: Consistent, Evidence: evidence} }
func refuted(evidence ...string) Outcome    { return Outcome{Status: Refuted, Evidence: evidence} }

// and adds evidence to an outcome.
func (o Outcome) and(evidence ...string) Outcome {
	o.Evidence = slices.Concat(o.Evidence, slices.DeleteFunc(evidence, func(s string) bool { return s == "" }))
	return o
}
