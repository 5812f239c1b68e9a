package report

import (
	"strings"

	"etcd-autopsy/diff"
)

// Line is a fact with a name. A line without a name goes on with the one before.
type Line struct{ Name, Text string }

// Grid is a table of text. A row has a cell for each column of the header.
type Grid struct {
	Title  string
	Header []string
	Rows   [][]string
	Notes  []string
}

func (t *table) grid() Grid { return Grid{t.title, t.header, t.rows, t.notes} }

// Answer is the verdict in a word or two, and the sentence that goes with it.
func Answer(d *diff.Document) (verdict, sentence string) {
	p := diffPage(d, nil)
	return p.verdict, p.title
}

// Headline says in one sentence who parts from whom, and where.
func Headline(v *diff.Divergence) string { return headline(v) }

// Place is where members part, as exactly as it is known.
func Place(v *diff.Divergence) string { return place(v) }

// EntryText is an entry in one line. Where there is auth, it says that a request has no user.
func EntryText(e *diff.Entry, withAuth bool) string { return entry(e, withAuth) }

// Fit are lines for a shell, those without a doubt about what is run.
func Fit(lines []string) []string { return fit(lines) }

// EffectText is what the entry of v did on the members of one group, line by line.
func EffectText(v *diff.Divergence, e *diff.Effect, withAuth bool) []string {
	return effect(v, e, withAuth)
}

// DepartureText says where a re-execution departs from what the member holds.
func DepartureText(x *diff.ReDeparture) string { return redeparture(x) }

// Facts are what differs now, and what was compared: without causes, reasons and notes, which the document lists.
func Facts(d *diff.Document) []Line {
	var p page
	switch d.Verdict {
	case diff.NotComparable:
		return nil
	case diff.Diverged:
		differences(&p, d)
		leftOut(&p, d)
		logs(&p, d)
		lag(&p, d)
	default:
		bare := *d
		bare.Divergences, bare.Reasons, bare.Notes = nil, nil, nil
		compared(&p, &bare)
	}
	var out []Line
	for _, l := range p.lines {
		if l != (line{}) {
			out = append(out, Line{l.name, strings.TrimSpace(l.text)})
		}
	}
	return out
}

// MembersGrid has a column for each member. The name of a row whose cells differ ends in a star.
func MembersGrid(d *diff.Document) Grid {
	t := membersTable(d)
	return t.grid()
}

// CopiesGrid says what restoring from each copy would mean.
func CopiesGrid(p *diff.Plan) Grid {
	t := copiesTable(p)
	return t.grid()
}

// CoverageGrid says how much of the files was read. Its figures add up.
func CoverageGrid(d *Checkup) Grid { return coveragePage(d).tables[0].grid() }

// InspectGrids has the tables of Inspect, a column for each member.
func InspectGrids(d *Inspection) []Grid {
	var out []Grid
	p := inspectPage(d, nil)
	for i := range p.tables {
		out = append(out, p.tables[i].grid())
	}
	return out
}

// Verdict is the member in one line.
func (m *CheckedMember) Verdict() string { return m.verdict() }

// Place is where a finding is, as exactly as it is known.
func (f *FindingRecord) Place() string { return f.place() }
