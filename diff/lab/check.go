package lab

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/diff"
)

// Problem is one way in which a document is not the truth.
type Problem struct {
	Kind string // for statistics
	Text string
}

func (p Problem) String() string { return p.Kind + ": " + p.Text }

// Result is what the check of a document found.
type Result struct {
	Problems []Problem
}

func (r *Result) fail(kind, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{kind, fmt.Sprintf(format, args...)})
}

// Check compares a document with the truth.
func (c *Case) Check(d *diff.Document) *Result {
	switch {
	case d.Verdict == diff.Indeterminate && c.doubted(d):
		return &Result{}
	case d.Explained:
		return c.explained(d)
	}
	return c.unexplained(d)
}

func tell(v *diff.Divergence) string {
	s := string(v.Layer)
	if v.Entry != nil {
		s += fmt.Sprintf(" entry %d %s", v.Entry.Index, v.Entry.Type)
	}
	if v.EntryInterval != nil {
		s += fmt.Sprintf(" entries %d to %d", v.EntryInterval.First, v.EntryInterval.Last)
	}
	if v.RevisionInterval != nil {
		s += fmt.Sprintf(" revisions %d to %d", v.RevisionInterval.First, v.RevisionInterval.Last)
	}
	return s + fmt.Sprintf(" revision %d groups %v: %s", v.Revision, v.Groups, v.What)
}

func tellAll(d *diff.Document) string {
	var ss []string
	for i := range d.Divergences {
		ss = append(ss, tell(&d.Divergences[i]))
	}
	return "[" + strings.Join(ss, "; ") + "]"
}

// toldBy tells whether a divergence can be the one of the parting.
func (p *Parting) toldBy(v *diff.Divergence) bool {
	switch {
	case p.Fault.Kind.table():
		// An entry may be named that would have come to the same: a grant that was skipped, an auth entry applied twice.
		return slices.Contains(p.Layers, string(v.Layer))
	case p.Fault.Kind == Extra && p.why == "":
		return v.Entry == nil && v.Revision == p.Revision
	case v.Entry != nil:
		return v.Entry.Index >= p.Lo && v.Entry.Index <= p.Hi
	case v.EntryInterval != nil:
		return v.EntryInterval.First <= p.Index && p.Index <= v.EntryInterval.Last
	}
	return p.why != "" && !p.Named || p.inTable(v)
}

// inTable tells whether a divergence is of a small table that the parting shows in.
func (p *Parting) inTable(v *diff.Divergence) bool {
	return slices.Contains(p.Layers, string(v.Layer)) && v.Layer != diff.LayerApply && v.Layer != diff.LayerStorage
}

func (c *Case) keys(r *Result, d *diff.Document) {
	if !c.Truth.KeysKnown || leftOut(d) {
		return
	}
	got := map[string]string{}
	for k := range d.Keys.Brief() {
		got[string(k.Key)] = k.Difference
	}
	if slices.Contains(d.NotCompared, "keys") && len(got) < len(c.Truth.Keys) {
		// Those of some members are said not to be known: what is listed must be true all the same.
		for k := range got {
			if _, differs := c.Truth.Keys[k]; !differs {
				r.fail("keys", "%q is listed, and does not differ, common index %d", k, d.Common.Index)
			}
		}
		return
	}
	if !mapsEqual(got, c.Truth.Keys) {
		r.fail("keys", "want %v, got %v, common index %d", c.Truth.Keys, got, d.Common.Index)
	}
}

func (c *Case) leases(r *Result, d *diff.Document) {
	got := map[int64]bool{}
	for _, l := range d.Leases {
		got[int64(l.ID)] = true
		if _, ok := c.Truth.Leases[int64(l.ID)]; !ok {
			r.fail("leases", "%s is listed, and does not differ", l.ID)
		}
	}
	for id, must := range c.Truth.Leases {
		if must && !got[id] {
			r.fail("leases", "%016x differs, and is not listed", id)
		}
		if !got[id] && !slices.Contains(d.NotCompared, "leases") {
			r.fail("leases", "%016x differs, and is neither listed nor left out", id)
		}
	}
}
