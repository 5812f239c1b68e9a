package diff

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// decide gives the verdict: it gathers what verdict.Of asks for, and writes down what follows.
func (c *comparison) decide() {
	d := c.doc
	slices.Sort(c.readErrors)
	if len(c.readErrors) > 0 {
		d.Verdict, d.Reasons = Indeterminate, c.readErrors
		return
	}
	f := verdict.Facts{Apart: c.incomparable}
	d.Findings = []Finding{}
	for i, m := range c.all {
		e := m.Evidence()
		x := verdict.Member{Label: m.Label, Standing: e.Standing(), Why: e.Why()}
		if d.Members[i].CopyOf != "" {
			x.Standing, x.Why = inspect.Whole, "" // another copy of it was compared
		} else if ok, why := m.Complete(); !ok {
			for _, w := range why {
				if m.DB == nil || len(w) < len(m.DB.File.Name) || w[:len(m.DB.File.Name)] != m.DB.File.Name {
					x.Unread = append(x.Unread, w)
				}
			}
		}
		f.Members = append(f.Members, x)
		d.Members[i].Evidence, d.Members[i].EvidenceWhy = e.Standing(), e.Why()
		d.Members[i].Compared = slices.Contains(c.ms, m)
		for _, x := range check.Files(m) {
			f.Findings = append(f.Findings, x)
			d.Findings = append(d.Findings, newFinding(m.Label, &x))
		}
	}
	for i := range d.Divergences {
		f.Claims = append(f.Claims, verdict.Claim{Basis: c.basis[i], Groups: d.Divergences[i].Groups})
	}
	f.Doubts = slices.Concat(d.Reasons, c.doubts())
	f.Remarks = c.remarks
	a := verdict.Of(f)
	d.Verdict, d.Headline, d.Reasons, d.Problems = a.Verdict, a.Headline, a.Reasons, a.Problems
	kept, written := d.Divergences[:0:0], c.writtenCauses[:0:0]
	for i, ok := range a.Stands {
		if ok {
			kept, written = append(kept, d.Divergences[i]), append(written, c.writtenCauses[i])
		}
	}
	d.Divergences, c.writtenCauses = kept, written
	c.dropDoubtfulKeys()
	if d.Verdict == Diverged && c.keysByRows != nil {
		c.noteKeysLeftOut()
	}
	c.notes()
}

// ownLog tells whether member i has a log and a db that is not that of a fresh member.
func (c *contents) ownLog(i int) bool {
	m := c.ms[i]
	return len(m.Log.Entries) > 0 && (m.DB.Tables.HasConsistentIndex || m.DB.Rows.Len() > 0)
}

func newFinding(member string, f *finding.Finding) Finding {
	x := Finding{Member: member, Severity: f.Severity, Code: f.Code, File: f.File, Detail: f.Detail}
	if f.Offset >= 0 {
		x.Offset = &f.Offset
	}
	if f.Page >= 0 {
		x.Page = &f.Page
	}
	return x
}

// doubts are what keeps the members that were compared from being consistent, besides damage.
func (c *comparison) doubts() (why []string) {
	if c.logs == nil {
		return why
	}
	why = append(why, c.doubtsAheadOfIndex()...)
	why = append(why, c.doubtsUnrun()...)
	if len(c.partings) > 0 && len(c.doc.Divergences) == 0 {
		p := c.partings[0]
		var sides []string
		for _, g := range p.groups {
			sides = append(sides, listOf(c.labels(g)))
		}
		why = append(why, fmt.Sprintf("%s hold different rows at revision %d, and nothing that was found makes them differ", strings.Join(sides, " | "), p.revision))
	}
	for i, m := range c.ms {
		if first := m.Log.First(); c.ownLog(i) && first > m.DB.Tables.ConsistentIndex+1 {
			why = append(why, fmt.Sprintf("%s: its db has come to entry %d and its log begins at entry %d: they are of different moments, and what the member held in between is not known",
				m.Label, m.DB.Tables.ConsistentIndex, first))
		}
	}
	switch {
	case len(c.all) == 1 && len(c.ms) == 1:
		m := c.ms[0]
		switch {
		case len(m.Log.Entries) == 0:
			why = append(why, m.Label+": one member without a log: there is nothing to compare it with")
		case c.explained[0] == nil:
			why = append(why, fmt.Sprintf("%s: one member alone, and what it holds is not explained by its log: %s", m.Label, c.whyUnexplained[0]))
		case !c.explained[0].member.BaseShown():
			why = append(why, fmt.Sprintf("%s: its log does not begin with the cluster, and what it held before is compacted away in part, up to revision %d: one member alone cannot tell whether its log makes what that left",
				m.Label, m.DB.CompactRevision()))
		}
	default:
		why = append(why, c.doubtsUnexplained()...)
		for _, m := range c.ms {
			if m.DB.Rows.Len() == 0 && m.DB.Tables.ConsistentIndex == 0 && slices.Max(c.last) > 1 {
				why = append(why, fmt.Sprintf("%s: its db is empty, that of a member that has applied nothing yet: nothing of it was compared", m.Label))
			}
			if len(m.Log.Entries) == 0 {
				c.remarks = append(c.remarks, m.Label+": no log, so that its own history cannot be checked")
			}
		}
	}
	return why
}

// doubtsUnexplained are members whose log goes back to the beginning and yet does not make what they hold, and those of which it is not known which
// revision they had where others stopped: that no row contradicts another does not make them consistent.
func (c *comparison) doubtsUnexplained() (why []string) {
	for i, m := range c.ms {
		switch {
		case c.explained[i] != nil, len(c.histories[i].entries) == 0: // backups without logs are compared by what they hold
		case c.wholeLogUnexplained(i):
			why = append(why, fmt.Sprintf("%s: %s, though that is whole", m.Label, c.whyUnexplained[i]))
		case c.revisionsAtCommon[i] < 0:
			unknown := fmt.Sprintf("%s: which revision it had at entry %d is not known", m.Label, c.doc.Common.Index)
			if c.keysByRows == nil || !c.keysByRows.shows(i) {
				unknown += ", so that its keys were not compared"
			}
			why = append(why, unknown)
		}
	}
	if len(why) > 0 && c.agreeWithLaggard() {
		c.remarks = append(c.remarks, "nothing explains what the members held before, as after a restore of the cluster: they agree since the entries behind the one that has come least far make of what it holds what the others hold")
		return nil
	}
	return why
}

// wholeLogUnexplained tells whether nothing that was tried makes what member i holds of its log, though that begins with the cluster and all of it can be run. A
// cluster that was restored may hold what no log tells.
func (c *explanations) wholeLogUnexplained(i int) bool {
	from := c.source(i)
	return c.explained[i] == nil && c.beginsWithCluster(from) && c.histories[from].holdsRange(1, c.ms[i].DB.Tables.ConsistentIndex)
}

// doubtsUnrun are entries of which nobody knows what they ask for, and those at which running a log again ended.
func (c *comparison) doubtsUnrun() (why []string) {
	var top uint64
	for _, m := range c.ms {
		top = max(top, m.DB.Tables.ConsistentIndex)
	}
	seen := map[uint64]bool{}
	for _, h := range c.histories {
		for _, x := range h.undecoded {
			if x > top || seen[x] {
				continue
			}
			if seen[x] = true; len(seen) > maxUndecoded {
				continue
			}
			why = append(why, fmt.Sprintf("entry %d cannot be decoded or run: what it did is not known", x))
		}
	}
	if n := len(seen) - maxUndecoded; n > 0 {
		why = append(why, fmt.Sprintf("nor can %d more entries", n))
	}
	for _, r := range c.doc.Reexecutions {
		switch {
		case r.bounded: // no news about the member
		case r.At != nil && r.Error != "":
			text := r.Error
			if e := c.entry(slices.IndexFunc(c.ms, func(m *inspect.Member) bool { return m.Label == r.Member }), r.stopped); e != nil {
				text += fmt.Sprintf(" (%s)", e.Summary)
			}
			why = append(why, fmt.Sprintf("%s: its log could not be run to the end: %s", r.Member, text))
		case len(c.all) == 1 && len(r.Departures) > 0 && c.explained[0] != nil && len(c.explained[0].chosen.Faults) == 0:
			why = append(why, r.Member+": re-execution departs from it, though its log and its rows explain each other")
		}
	}
	return why
}

// maxUndecoded is how many entries are named that cannot be decoded.
const maxUndecoded = 3
