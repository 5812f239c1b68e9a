package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
)

const (
	evidenceShown   = 8 // lines of evidence for an explanation
	bugsShown       = 6
	departuresShown = 2 // of a re-execution
)

// why names what explains the first cause, the surest first, and only counts what was ruled out.
func why(p *page, v *diff.Divergence, shown int) {
	refuted := []string{}
	for _, x := range v.Explanations {
		if x.Status == diff.Refuted {
			refuted = append(refuted, x.ID)
			continue
		}
		p.line("why", "%s: %s (%s)", x.Status.Text(), x.Title, x.ID)
		for i, e := range x.Evidence {
			if i == shown {
				p.line("", "and more evidence: see %s", moreEvidence(shown))
				break
			}
			p.line("", "- %s", e)
		}
	}
	if len(v.Explanations) > 0 && len(refuted) == len(v.Explanations) {
		p.line("why", "not known: no known bug produces this")
	}
	if len(refuted) > 0 {
		p.line("", "ruled out: %s", strings.Join(refuted, ", "))
	}
}

// moreEvidence is where the evidence is that is left out.
func moreEvidence(shown int) string {
	if shown < evidenceShown {
		return "--full"
	}
	return "-w json"
}

// consequences names departures that follow from a cause by themselves.
func consequences(p *page, d *diff.Document) {
	for i := range d.Consequences {
		v := &d.Consequences[i]
		s := headline(v)
		if v.What != "" && !strings.Contains(s, v.What) {
			s += "; " + v.What
		}
		name := ""
		if i == 0 {
			name = "follows"
		}
		p.line(name, "%s", s)
		if i+1 == othersShown && len(d.Consequences) > othersShown {
			p.line("", "and %d more", len(d.Consequences)-othersShown)
			break
		}
	}
}

// knownBugs names bugs that show in the files, but did not make the members differ.
func knownBugs(p *page, d *diff.Document) {
	others := otherBugs(d)
	for i, b := range others {
		name := ""
		if i == 0 {
			p.blank()
			name = "other bugs"
		}
		if i == bugsShown {
			p.line("", "and %d more: see -w json", len(others)-bugsShown)
			return
		}
		who := ""
		if len(b.Members) > 0 {
			who = strings.Join(b.Members, ", ") + ": "
		}
		p.line(name, "%s%s (%s, %s)", who, b.Title, b.ID, b.Status.Text())
	}
}

// plan says which copy to go on with, and how.
func plan(p *page, d *diff.Document) {
	if d.Plan == nil {
		return
	}
	whatNow(p, d, math.MaxInt)
	if len(d.Plan.Commands) > 0 {
		p.code = append([]string{"# to be read and adapted; nothing of this was run"}, d.Plan.Commands...)
	}
}

// whatNow says which copy to go on with, with so many reasons and as many doubts.
func whatNow(p *page, d *diff.Document, shown int) {
	if d.Plan == nil {
		return
	}
	p.blank()
	if d.Plan.Best == "" {
		p.line("what now", "no copy can be recommended")
	} else {
		s := "go on with " + d.Plan.Best
		if len(d.Plan.Rebuild) > 0 {
			s += ", rebuild " + strings.Join(d.Plan.Rebuild, ", ") + " from it"
		}
		p.line("what now", "%s", s)
	}
	for _, w := range d.Plan.Why[:min(len(d.Plan.Why), shown)] {
		p.line("", "- %s", w)
	}
	for _, w := range d.Plan.Doubts[:min(len(d.Plan.Doubts), shown)] {
		p.line("", "- but: %s", w)
	}
}

// copiesTable says what restoring from each copy would mean.
func copiesTable(pl *diff.Plan) table {
	t := table{title: "If the cluster were restored from", header: []string{"copy"}}
	rows := []string{"sound", "entry", "revision", "entries behind", "entries lost", "entries of its own", "entries applied twice", "keys lost", "keys resurrected", "keys otherwise", "leases lost", "leases resurrected"}
	for _, r := range rows {
		t.rows = append(t.rows, []string{r})
	}
	for _, c := range pl.Copies {
		t.header = append(t.header, c.Member)
		cells := []string{
			yesNo(c.Sound), strconv.FormatUint(c.Index, 10), strconv.FormatInt(c.Revision, 10), strconv.Itoa(c.EntriesBehind),
			strconv.Itoa(len(c.Loses)), strconv.Itoa(len(c.Adds)), strconv.Itoa(len(c.Twice)), strconv.Itoa(len(c.LostKeys)),
			strconv.Itoa(len(c.ResurrectedKeys)), strconv.Itoa(len(c.OtherKeys)), strconv.Itoa(len(c.LostLeases)), strconv.Itoa(len(c.ResurrectedLeases)),
		}
		for i, cell := range cells {
			t.rows[i] = append(t.rows[i], cell)
		}
	}
	t.notes = []string{"lost: on other members only; resurrected: on this one only"}
	return t
}

// reexecutions says how each member's log, run again by itself, compares with what the member holds.
func reexecutions(p *page, d *diff.Document) {
	for i := range d.Reexecutions {
		r := &d.Reexecutions[i]
		name := ""
		if i == 0 {
			name = "run again"
		}
		from := r.Base
		if r.At != nil && r.At.Index > 0 {
			from += fmt.Sprintf(" (entry %d)", r.At.Index)
		}
		switch {
		case r.At == nil:
			p.line(name, "%s: %s", r.Member, r.Error)
		case r.Clean:
			p.line(name, "%s, from %s, by the rules of %s: clean, all %d entries make what it holds", r.Member, from, r.Rules, r.Entries)
		case r.DepartureCount > 0:
			p.line(name, "%s, from %s, by the rules of %s: %s", r.Member, from, r.Rules, count(r.DepartureCount, "departure"))
		default:
			p.line(name, "%s, from %s, by the rules of %s: %d entries make what it holds", r.Member, from, r.Rules, r.Entries)
		}
		for n, x := range r.Departures {
			if n == departuresShown {
				p.line("", "- and %d more: see -w json", r.DepartureCount-n)
				break
			}
			p.line("", "- %s", redeparture(&x))
		}
		if r.At != nil && r.Error != "" {
			p.line("", "- it went no further: %s", r.Error)
		}
		for _, n := range r.Notes {
			p.line("", "- %s", n)
		}
	}
}

func redeparture(x *diff.ReDeparture) string {
	switch {
	case x.Entry != nil:
		return fmt.Sprintf("entry %d (%s): %s", x.Entry.Index, x.Entry.Summary, x.What)
	case x.EntryInterval != nil:
		return fmt.Sprintf("entries %d to %d: %s", x.EntryInterval.First, x.EntryInterval.Last, x.What)
	}
	return x.What
}
