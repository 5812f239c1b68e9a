package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

const placesShown = 5 // of one kind of finding on one member

// Checks writes what was found in the files of members.
func Checks(w io.Writer, d *Checkup, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return checkPage(d, hints) }, func() [][]string { return checkLines(d) })
}

// checkPage is one line for each member, then its findings, then how much was read.
func checkPage(d *Checkup, hints []string) *page {
	p := &page{}
	bad := 0
	for i := range d.Members {
		if m := &d.Members[i]; m.Errors+m.Warnings > 0 {
			bad++
		}
	}
	switch d.Verdict {
	case Problems:
		p.verdict, p.title = "PROBLEMS", fmt.Sprintf("%d of %s: read this before you start or restore from them", bad, count(len(d.Members), "member"))
		if len(d.Members) == 1 {
			p.title = "read this before you start the member or restore from it"
		}
	case Incomplete:
		p.verdict, p.title = "INCOMPLETE", "nothing found in what could be read, but not everything could be read"
	default:
		p.verdict, p.title = "NOTHING FOUND", "every file was read and agrees with the others of its member"
	}
	for i := range d.Members {
		p.line(d.Members[i].Label+":", "%s", d.Members[i].verdict())
	}
	explained := map[string]bool{}
	for i := range d.Members {
		m := &d.Members[i]
		if len(m.Findings) == 0 {
			continue
		}
		s := &page{title: m.Label}
		for _, g := range groups(m.Findings) {
			d.group(s, &g, explained)
		}
		p.sections = append(p.sections, s)
	}
	p.sections = append(p.sections, coveragePage(d))
	p.hints = append(p.hints, hints...)
	if len(d.Members) > 1 {
		p.hint("members were not compared with each other: etcd-autopsy diff does")
	}
	return p
}

// verdict is the member in one line.
func (m *CheckedMember) verdict() string {
	var parts []string
	for _, k := range []struct {
		n    int
		noun string
	}{{m.Errors, "error"}, {m.Warnings, "warning"}, {m.Infos, "info"}} {
		if k.n > 0 {
			parts = append(parts, count(k.n, k.noun))
		}
	}
	s := strings.Join(parts, ", ")
	switch {
	case m.Errors+m.Warnings == 0 && m.Infos == 0:
		s = "nothing found"
	case m.Errors+m.Warnings == 0:
		s = "nothing found (" + s + ")"
	}
	if !m.Complete {
		s += "; not everything could be read"
	}
	return s
}

// group writes the findings of one kind, then what they mean and what to do, once for all members.
func (d *Checkup) group(p *page, g *findingGroup, explained map[string]bool) {
	place := ""
	for i, f := range g.all {
		if i == placesShown {
			p.line("", "and %d more of this kind: -w json lists them", len(g.all)-i)
			break
		}
		switch at := f.place(); {
		case i == 0:
			kind := g.code
			if len(g.all) > placesShown {
				kind = fmt.Sprintf("%s, %d of this kind, the first:", g.code, len(g.all))
			}
			p.line(strings.ToUpper(g.severity), "%s  %s", kind, at)
			place = at
		case at != place:
			p.line("", "%s", at)
			place = at
		}
		p.line("", "- %s", f.Detail)
	}
	a := d.Advice[g.code]
	switch {
	case explained[g.code]:
		p.line("", "meaning and what to do: see above")
	case a.Meaning != "":
		p.line("", "meaning: %s", a.Meaning)
		for _, l := range a.Said() {
			p.line("", "%s", l)
		}
		p.line("", "do: %s", a.Action)
	}
	explained[g.code] = true
	p.blank()
}

// Said are what servers say to a finding, a line for each range of releases.
func (a *Advice) Said() (lines []string) {
	for _, x := range a.Answers {
		says := x.Says[:min(len(x.Says), saidShown)]
		lines = append(lines, fmt.Sprintf("if it comes to this place, etcd %s stops and says: %s", x.Releases, strings.Join(says, " | ")))
	}
	return lines
}

// place is where a finding is, as exactly as it is known.
func (f *FindingRecord) place() string {
	s := f.File
	if f.Page != nil {
		s += fmt.Sprintf(" page %d", *f.Page)
	}
	if f.Offset != nil {
		s += fmt.Sprintf(" offset %d", *f.Offset)
	}
	return s
}

// coveragePage has figures that add up to the files.
func coveragePage(d *Checkup) *page {
	p := &page{}
	t := table{title: "What was read", header: []string{""}}
	for i := range d.Members {
		t.header = append(t.header, d.Members[i].Label)
	}
	row := func(name string, get func(c *CheckCoverage) string) {
		r := []string{name}
		for i := range d.Members {
			r = append(r, get(&d.Members[i].Coverage))
		}
		t.rows = append(t.rows, r)
	}
	db := func(name string, always bool, get func(db *CheckedDB) int64) {
		some := always
		for i := range d.Members {
			if x := d.Members[i].Coverage.DB; x != nil && get(x) != 0 {
				some = true
			}
		}
		if some {
			row(name, func(c *CheckCoverage) string {
				if c.DB == nil {
					return "-"
				}
				return strconv.FormatInt(get(c.DB), 10)
			})
		}
	}
	log := func(name string, get func(l *CheckedLog) int64) {
		row(name, func(c *CheckCoverage) string { return strconv.FormatInt(get(&c.Log), 10) })
	}
	db("db: pages", true, func(x *CheckedDB) int64 { return int64(x.Pages) })
	db("  = read", true, func(x *CheckedDB) int64 { return int64(x.PagesRead) })
	db("  + free", true, func(x *CheckedDB) int64 { return int64(x.PagesFree) })
	db("  + unreachable", false, func(x *CheckedDB) int64 { return int64(x.PagesUnreachable) })
	db("  + unreadable", true, func(x *CheckedDB) int64 { return int64(x.PagesUnreadable) })
	db("db: rows (revisions of keys)", true, func(x *CheckedDB) int64 { return int64(x.Rows) })
	db("  of these salvaged", false, func(x *CheckedDB) int64 { return int64(x.Salvaged) })
	db("db: bytes", true, func(x *CheckedDB) int64 { return x.Bytes })
	db("  = in pages", true, func(x *CheckedDB) int64 { return x.BytesPages })
	db("  + preallocated", true, func(x *CheckedDB) int64 { return x.BytesPreallocated })
	db("  + sha256", false, func(x *CheckedDB) int64 { return x.BytesHash })
	log("log: bytes", func(l *CheckedLog) int64 { return l.Bytes })
	log("  = read", func(l *CheckedLog) int64 { return l.BytesRead })
	log("  + preallocated", func(l *CheckedLog) int64 { return l.BytesPreallocated })
	log("  + not read", func(l *CheckedLog) int64 { return l.BytesUnread })
	log("log: records", func(l *CheckedLog) int64 { return int64(l.Records) })
	log("  of these entries", func(l *CheckedLog) int64 { return int64(l.Entries) })
	for i := range d.Members {
		if d.Members[i].Coverage.Log.AfterDamage > 0 {
			log("  of these behind damage", func(l *CheckedLog) int64 { return int64(l.AfterDamage) })
			break
		}
	}
	row(".snap files read", func(c *CheckCoverage) string { return fmt.Sprintf("%d of %d", c.Snaps.Read, c.Snaps.Files) })
	for i := range d.Members {
		if len(d.Members[i].Coverage.Other) > 0 {
			row("files only named, not read", func(c *CheckCoverage) string { return strconv.Itoa(len(c.Other)) })
			break
		}
	}
	p.tables = append(p.tables, t)
	return p
}

// checkLines are one line for each member and for each finding: "member", label, errors, warnings, infos, complete, and
// "finding", label, severity, code, file, page, offset, detail.
func checkLines(d *Checkup) [][]string {
	ls := [][]string{{"verdict", string(d.Verdict)}}
	n := func(p *int64) string {
		if p == nil {
			return "-"
		}
		return strconv.FormatInt(*p, 10)
	}
	for i := range d.Members {
		m := &d.Members[i]
		ls = append(ls, []string{
			"member", m.Label, strconv.Itoa(m.Errors), strconv.Itoa(m.Warnings), strconv.Itoa(m.Infos), strconv.FormatBool(m.Complete),
		})
	}
	for i := range d.Members {
		for _, f := range d.Members[i].Findings {
			ls = append(ls, []string{"finding", d.Members[i].Label, f.Severity, f.Code, f.File, n(f.Page), n(f.Offset), f.Detail})
		}
	}
	return ls
}
