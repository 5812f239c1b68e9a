package lab

import (
	"slices"
	"strings"

	"etcd-autopsy/diff"
)

// unexplained checks a document of members some of which nothing explains. What it tells of the others is held against what was planted, and
// of the rest that it be sound: members that are told apart in their rows are told apart by a fault, and the entries among which it is said
// to lie hold that fault's. How many entries these are is not checked.
func (c *Case) unexplained(d *diff.Document) (r *Result) {
	r = new(Result)
	t := c.Truth
	switch {
	case t.Strangers && (d.Verdict == diff.Indeterminate || d.Verdict == diff.NotComparable):
		return r
	case t.Verdict == "" || string(d.Verdict) == t.Verdict:
	case t.Verdict == "consistent" && len(c.Faults) > 0 && d.Verdict == diff.Diverged: // as what no comparison of dbs shows
	case t.Verdict == "consistent" && d.Verdict == diff.Indeterminate && !t.Strangers:
		r.fail("false doubt", "reasons %q", d.Reasons)
		return r
	case d.Verdict == diff.Indeterminate && slices.ContainsFunc(d.Reasons, func(why string) bool { return strings.Contains(why, "is not known, so that") }):
		return r // no rows of one moment are left on two members
	case t.Verdict == "consistent":
		r.fail("false alarm", "verdict %q, want %q, %s", d.Verdict, t.Verdict, tellAll(d))
	default:
		r.fail("missed", "verdict %q, want %q, reasons %q", d.Verdict, t.Verdict, d.Reasons)
		return r
	}
	for i := range d.Divergences {
		switch v := &d.Divergences[i]; {
		case len(v.Faulty) > 0:
			c.planted(r, v)
		case v.Layer == diff.LayerApply || v.Layer == diff.LayerStorage:
			if !slices.ContainsFunc(c.Faults, func(f *Fault) bool { return c.partedBy(f, v) }) {
				r.fail("unsound", "no fault tells these members apart there: %s", tell(v))
			}
		case v.Layer == diff.LayerLog:
			if !slices.ContainsFunc(c.Faults, func(f *Fault) bool { return f.Kind == Fork || f.Kind == Tamper }) {
				r.fail("false cause", "no log was changed: %s", tell(v))
			}
		}
	}
	c.told(r, d)
	return r
}

// planted checks that something was planted on the members that a divergence finds faults of.
func (c *Case) planted(r *Result, v *diff.Divergence) {
	for _, l := range v.Faulty {
		on := slices.ContainsFunc(c.Faults, func(f *Fault) bool {
			return slices.ContainsFunc(f.Members, func(i int) bool { return label(i) == l })
		})
		// Nobody can tell whose log is right where only one holds an entry, nor who has a fault that comes to the same on others.
		asElsewhere := slices.ContainsFunc(c.Truth.Partings, func(p *Parting) bool { return p.why != "" })
		if !on && c.Truth.Verdict != "" && !asElsewhere {
			r.fail("false cause", "%s has no fault: %s", l, tell(v))
		}
	}
}

// partedBy tells whether a fault may be what a divergence tells: members of some of its groups have it, and not those of all others, at an entry that
// is among those it gives.
func (c *Case) partedBy(f *Fault, v *diff.Divergence) bool {
	faulty := func(l string) bool { return slices.ContainsFunc(f.Members, func(i int) bool { return label(i) == l }) }
	all := slices.Concat(v.Groups...)
	if !slices.ContainsFunc(all, faulty) || len(v.Groups) > 1 && !slices.ContainsFunc(all, func(l string) bool { return !faulty(l) }) {
		return false
	}
	low, high := f.Index, f.Index
	for _, p := range c.Truth.Partings {
		if p.Fault == f {
			low, high = min(low, p.Lo), max(high, p.Hi)
		}
	}
	switch {
	case f.Index == 0 || f.Kind == Extra:
		return true // of no entry
	case v.Entry != nil:
		return low <= v.Entry.Index && v.Entry.Index <= high
	case v.EntryInterval != nil:
		return low <= v.EntryInterval.Last && v.EntryInterval.First <= high
	}
	return true
}
