package lab

import (
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// explained checks a document of members that are all explained by their own logs: what is told of each fault is held against what was
// planted on its members, whatever the others hold. That every reading leads to what the members hold is checked where faults are
// searched.
func (c *Case) explained(d *diff.Document) (r *Result) {
	r = new(Result)
	switch want := c.Truth.Verdict; {
	case want == "" || string(d.Verdict) == want:
	case want == "consistent" && len(c.Faults) > 0: // what no comparison of dbs shows may show where a log is run
	case want == "consistent":
		r.fail("false alarm", "verdict %q, want %q, %s", d.Verdict, want, tellAll(d))
	default:
		r.fail("missed", "verdict %q, want %q, reasons %q", d.Verdict, want, d.Reasons)
		return r
	}
	for i := range d.Divergences {
		c.planted(r, &d.Divergences[i])
	}
	c.told(r, d)
	return r
}

// doubted tells whether a member has a fault of which the copy of a running member might look the same, or one that was edited: what is
// missing in it, or behind its consistent index, is no evidence.
func (c *Case) doubted(d *diff.Document) bool {
	return slices.ContainsFunc(c.Faults, func(f *Fault) bool {
		return slices.ContainsFunc(d.Members, func(m diff.Member) bool {
			return m.Evidence != inspect.Whole && slices.ContainsFunc(f.Members, func(i int) bool { return label(i) == m.Label })
		})
	})
}

// leftOut tells whether the copy of some member was not compared, because it may be torn: who agrees with whom, and in which keys, is told of
// the others alone.
func leftOut(d *diff.Document) bool {
	return slices.ContainsFunc(d.Members, func(m diff.Member) bool { return m.Evidence != inspect.Whole })
}

// lags tells whether members stopped at different entries, or show less of what they hold than a run of their logs does: then the truth,
// which is made of what dbs show at one entry, is not what the document tells.
func (c *Case) lags(d *diff.Document) bool {
	for _, m := range d.Members {
		if m.ConsistentIndex != d.Members[0].ConsistentIndex || m.CompactRevision > d.Common.Revision {
			return true
		}
	}
	return len(c.Faults) > 1
}

// explainedBy tells whether a divergence tells a parting, or one of its readings does.
func (p *Parting) explainedBy(v *diff.Divergence) bool {
	if p.toldBy(v) || v.FirstEffect != nil && p.Lo <= v.FirstEffect.Entry && v.FirstEffect.Entry <= p.Hi {
		return true
	}
	for _, o := range v.Onset {
		if p.Lo <= o.Entry && o.Entry <= p.Hi || o.EntryInterval != nil && o.EntryInterval.First <= p.Hi && p.Lo <= o.EntryInterval.Last {
			return true
		}
	}
	return slices.ContainsFunc(v.Readings, func(fs []diff.FaultReading) bool {
		return slices.ContainsFunc(fs, func(f diff.FaultReading) bool { return f.First <= p.Hi && p.Lo <= f.Last })
	})
}

// told checks that a single fault whose entry can be named is, and which keys and leases differ.
func (c *Case) told(r *Result, d *diff.Document) {
	if len(c.Faults) == 1 && d.Verdict == diff.Diverged {
		for _, p := range c.Truth.Partings {
			if p.Required && p.Named && !slices.ContainsFunc(d.Divergences, func(v diff.Divergence) bool { return p.explainedBy(&v) }) {
				r.fail("wrong entry", "want %s entry %d (%d to %d), got %s", p.Fault, p.Index, p.Lo, p.Hi, tellAll(d))
			}
		}
	}
	if !c.lags(d) {
		c.keys(r, d)
		c.leases(r, d)
	}
}
