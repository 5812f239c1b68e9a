package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

const (
	storyShown    = 9 // in a timeline on one screen
	evidenceBrief = 2
	reasonsBrief  = 2 // why a copy is best, and what speaks against it
	limitsBrief   = 3
)

// screenPage is the answer on one screen: what happened, when, on which member, what differs now and what to do. The full page has the rest.
func screenPage(d *diff.Document, hints []string) *page {
	p := &page{hints: hints}
	rest := &page{}
	switch d.Verdict {
	case diff.NotComparable:
		return diffPage(d, hints)
	case diff.Diverged:
		p.verdict, p.title = "DIVERGED", "the members differ"
		if len(d.Divergences) > 0 {
			v := &d.Divergences[0]
			p.title = headline(v)
			whatHappened(p, d, v)
			why(p, v, evidenceBrief)
			if len(v.Minority) == 0 && len(v.Groups) > 1 {
				p.line("who", "%s", tie(d))
			}
		}
		differences(rest, d)
		leftOut(rest, d)
		logs(rest, d)
		lag(rest, d)
		reexecutions(rest, d)
		briefly(rest, d)
	default:
		full := diffPage(d, nil)
		p.verdict, p.title, p.lines = full.verdict, full.title, full.lines
		p.hints = append(p.hints, full.hints...)
		if b := d.BestCopy; b != nil && len(d.Members) > 1 {
			rest.line("best copy", "%s", bestText(b))
		}
	}
	if d.Verdict == diff.Diverged {
		p.sections = append(p.sections, &page{tables: notEmpty(timelineTable(d, storyOf(d), maxWidth))})
	}
	p.sections = append(p.sections, &page{tables: notEmpty(whoTable(d))})
	p.sections = slices.DeleteFunc(p.sections, func(s *page) bool { return len(s.tables) == 0 })
	if len(rest.lines) > 0 {
		p.sections = append(p.sections, rest)
	}
	p.hint("etcd-autopsy diff --full has the tables, all evidence and the commands; log --differ the entries; report writes it all down for an issue")
	return p
}

// bestText names the copy to restore from, and those that would do as well.
func bestText(b *diff.BestCopy) string {
	best := cmp.Or(b.Member, "none")
	if len(b.AsGood) > 0 {
		best += " (or " + strings.Join(b.AsGood, ", ") + ")"
	}
	return best + ": " + b.Why
}

func notEmpty(t table) []table {
	if len(t.rows) == 0 {
		return nil
	}
	return []table{t}
}

// briefly says what else there is, what to do now, and what limits the answer.
func briefly(p *page, d *diff.Document) {
	told := map[string]bool{}
	for _, e := range storyOf(d) {
		told[e.What] = true
	}
	more := 0
	for i := 1; i < len(d.Divergences); i++ {
		v := &d.Divergences[i]
		if told[v.What] && v.Entry != nil {
			continue
		}
		if more++; more <= reasonsBrief {
			s := headline(v)
			if v.What != "" && !strings.Contains(s, v.What) {
				s += "; " + v.What
			}
			p.line(first(more == 1, "also"), "%s", s)
		}
	}
	if more > reasonsBrief {
		p.line("", "and %s", count(more-reasonsBrief, "more difference"))
	}
	if n := len(d.Consequences); n > 0 {
		p.line("follows", "%s that this led to by itself", count(n, "more difference"))
	}
	others := otherBugs(d)
	for i, b := range others {
		if i == reasonsBrief {
			p.line("", "and %d more", len(others)-i)
			break
		}
		who := ""
		if len(b.Members) > 0 {
			who = strings.Join(b.Members, ", ") + ": "
		}
		p.line(first(i == 0, "other bugs"), "%s%s (%s, %s)", who, b.Title, b.ID, b.Status.Text())
	}
	for i, r := range d.Reasons {
		if i == limitsBrief {
			p.line("", "and %d more", len(d.Reasons)-i)
			break
		}
		p.line(first(i == 0, "limits"), "%s", r)
	}
	for i, n := range d.Notes {
		if i == limitsBrief {
			p.line("", "and %d more", len(d.Notes)-i)
			break
		}
		p.line(first(i == 0, verb(len(d.Notes), "note", "notes")), "%s", n)
	}
	whatNow(p, d, reasonsBrief)
}

func first(is bool, name string) string {
	if is {
		return name
	}
	return ""
}

// storyOf are the events that tell what happened: where each cause begins and shows, the restarts of its members next to that, what took
// effect on some members only, alarms, and the versions that were set.
func storyOf(d *diff.Document) []diff.Event {
	all := d.Timeline
	use := map[int]bool{}
	versions := 0
	for i := range all {
		if all[i].Kind == diff.EventVersion {
			versions++
		}
	}
	nearest := func(i int, members []string) {
		for _, who := range members {
			is := func(e *diff.Event) bool {
				return e.Restarted() && slices.Contains(e.Members, who)
			}
			for k := i - 1; k >= 0; k-- {
				if is(&all[k]) {
					use[k] = true
					break
				}
			}
			for k := i + 1; k < len(all); k++ {
				if all[k].Kind == diff.EventOnset && slices.Contains(all[k].Members, who) {
					break
				}
				if is(&all[k]) {
					use[k] = true
					break
				}
			}
		}
	}
	for i := range all {
		switch e := &all[i]; e.Kind {
		case diff.EventOnset:
			use[i] = true
			nearest(i, e.Members)
		case diff.EventEffect, diff.EventCompaction, diff.EventAlarm:
			use[i] = true
		case diff.EventVersion:
			use[i] = versions > 1
		}
	}
	var out []diff.Event
	for i := range all {
		if use[i] {
			out = append(out, all[i])
		}
	}
	return out
}

// timelineTable is events with their time, as far as it is known, broken so that they fit.
func timelineTable(d *diff.Document, events []diff.Event, width int) table {
	t := table{plain: true, header: []string{"UTC", "entry", "what happened"}}
	more := len(events) - storyShown
	if more > 1 {
		events = events[:storyShown]
	} else {
		more = 0
	}
	day, layout := "", "15:04:05"
	for _, e := range events {
		if e.Time != nil {
			if on := e.Time.Format("2006-01-02"); day == "" {
				day = on
			} else if on != day {
				layout = "2006-01-02 15:04:05"
			}
		}
	}
	switch {
	case day == "":
		t.header = t.header[1:]
	case layout == "15:04:05":
		t.header[0] = day
	}
	wide := len("entry")
	for _, e := range events {
		wide = max(wide, len(strconv.FormatUint(e.Entry, 10)))
	}
	for _, e := range events {
		at := ""
		if e.Time != nil {
			at = e.Time.Format(layout)
		}
		entry := fmt.Sprintf("%*d", wide, e.Entry)
		used := wide + 2
		if day != "" {
			used += max(len(t.header[0]), len(layout)) + 2
		}
		for i, l := range wrap(e.What, width-used) {
			if i > 0 {
				at, entry = "", ""
			}
			t.rows = append(t.rows, []string{at, entry, l})
		}
	}
	if more += d.TimelineLeftOut; more > 0 {
		t.rows = append(t.rows, []string{"", "", "and " + count(more, "more event")})
	}
	for i := range t.rows {
		t.rows[i] = t.rows[i][3-len(t.header):]
	}
	return t
}

// whoTable says of each member how it behaved, how far it has come, and what it holds otherwise than others. Columns that say nothing are left out.
func whoTable(d *diff.Document) table {
	copies := map[string]*diff.PlanCopy{}
	if d.Plan != nil && d.Verdict == diff.Diverged {
		for i := range d.Plan.Copies {
			copies[d.Plan.Copies[i].Member] = &d.Plan.Copies[i]
		}
	}
	several := func(keys, leases int) string {
		var parts []string
		if keys > 0 {
			parts = append(parts, count(keys, "key"))
		}
		if leases > 0 {
			parts = append(parts, count(leases, "lease"))
		}
		return strings.Join(parts, ", ")
	}
	type column struct {
		name string
		cell func(m *diff.Member) string
	}
	readable := func(f func(m *diff.Member) string) func(m *diff.Member) string {
		return func(m *diff.Member) string {
			if !m.Readable {
				return "?"
			}
			return f(m)
		}
	}
	copied := func(f func(c *diff.PlanCopy) string) func(m *diff.Member) string {
		return func(m *diff.Member) string {
			if c := copies[m.Label]; c != nil {
				return f(c)
			}
			return ""
		}
	}
	columns := []column{
		{"behaves as", func(m *diff.Member) string { return m.BehavesAs }},
		{"copy", func(m *diff.Member) string {
			switch {
			case m.CopyOf != "":
				return "of " + m.CopyOf
			case m.Evidence != inspect.Whole:
				return m.Evidence.String()
			}
			return ""
		}},
		{"entry", readable(func(m *diff.Member) string { return strconv.FormatUint(m.ConsistentIndex, 10) })},
		{"revision", readable(func(m *diff.Member) string { return strconv.FormatInt(m.Revision, 10) })},
		{"compacted", readable(func(m *diff.Member) string { return strconv.FormatInt(m.CompactRevision, 10) })},
		{"keys", readable(func(m *diff.Member) string { return strconv.Itoa(m.Keys) })},
		{"lacks", copied(func(c *diff.PlanCopy) string { return several(len(c.LostKeys), len(c.LostLeases)) })},
		{"others lack", copied(func(c *diff.PlanCopy) string { return several(len(c.ResurrectedKeys), len(c.ResurrectedLeases)) })},
		{"hashKV", readable(func(m *diff.Member) string { return strconv.FormatUint(uint64(m.HashKV), 10) })},
	}
	t := table{plain: true, header: []string{"member"}}
	used := len(t.header[0])
	for i := range d.Members {
		t.rows = append(t.rows, []string{d.Members[i].Label})
		used = max(used, runewidth.StringWidth(d.Members[i].Label))
	}
	cells, widths := make([][]string, len(columns)), make([]int, len(columns))
	for k, c := range columns {
		cells[k] = each(d.Members, c.cell)
		if !slices.ContainsFunc(cells[k], func(s string) bool { return s != "" }) {
			continue
		}
		for _, s := range append(cells[k], c.name) {
			widths[k] = max(widths[k], runewidth.StringWidth(s)+2)
		}
		used += widths[k]
	}
	for _, name := range []string{"compacted", "hashKV", "keys", "entry"} { // what says least goes first
		if k := slices.IndexFunc(columns, func(c column) bool { return c.name == name }); used > maxWidth {
			used, widths[k] = used-widths[k], 0
		}
	}
	for k, c := range columns {
		if widths[k] == 0 {
			continue
		}
		t.header = append(t.header, c.name)
		for i, s := range cells[k] {
			if s == "" {
				s = "-"
			}
			t.rows[i] = append(t.rows[i], s)
		}
	}
	return t
}

// otherBugs are those that show in the files, but for those of which it is said that they made the members differ.
func otherBugs(d *diff.Document) []diff.KnownBug {
	return slices.DeleteFunc(slices.Clone(d.KnownBugs), func(b diff.KnownBug) bool {
		return slices.ContainsFunc(d.Divergences, func(v diff.Divergence) bool {
			return slices.ContainsFunc(v.Explanations, func(x diff.Explanation) bool { return x.ID == b.ID && x.Status == diff.Confirmed })
		})
	})
}
