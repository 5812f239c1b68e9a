package report

import (
	"math"
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
	return strings.TrimSuffix(p.verdict, ","), p.title
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
	return linesOf(&p)
}

// Elsewhere rewrites a text for a report, in which hashes are keyed, and which says where the rest of a list is.
func Elsewhere(text, rest string) string {
	return strings.NewReplacer("-w json", rest, "--full", rest, sumLegend, "the begin of a keyed hash of the value").Replace(text)
}

// Story says what happened at the first entry that members differ in, and why: the begin of the answer, line by line.
func Story(d *diff.Document) []Line {
	var p page
	if d.Verdict != diff.Diverged || len(d.Divergences) == 0 {
		return nil
	}
	v := &d.Divergences[0]
	whatHappened(&p, d, v)
	why(&p, v, evidenceBrief)
	if len(v.Minority) == 0 && len(v.Groups) > 1 {
		p.line("who", "%s", tie(d))
	}
	return linesOf(&p)
}

// Rest is what the story leaves out: further differences, other bugs, and what limits the answer.
func Rest(d *diff.Document) []Line {
	var p page
	further(&p, d)
	consequences(&p, d)
	reexecutions(&p, d)
	knownBugs(&p, d)
	reasons(&p, d)
	remarks(&p, d)
	return linesOf(&p)
}

// Recommended says which copy to go on with.
func Recommended(d *diff.Document) []Line {
	var p page
	whatNow(&p, d, math.MaxInt)
	if d.Headline != "" && d.Verdict == diff.Indeterminate {
		copyAgain(&p, d)
	}
	return linesOf(&p)
}

func linesOf(p *page) (out []Line) {
	for _, l := range p.lines {
		if l != (line{}) {
			out = append(out, Line{l.name, strings.TrimSpace(l.text)})
		}
	}
	return out
}

// WhoGrid says of each member how it behaved, how far it has come, and what it holds otherwise than others.
func WhoGrid(d *diff.Document) Grid {
	t := whoTable(d)
	return t.grid()
}

// StoryGrid is when that happened which tells the story.
func StoryGrid(d *diff.Document) Grid {
	t := timelineTable(d, storyOf(d), math.MaxInt)
	return t.grid()
}

// KeysGrid and LeasesGrid are the first of those that differ.
func KeysGrid(d *diff.Document) Grid {
	t := keysTable(d)
	return t.grid()
}

// LeasesGrid is as KeysGrid.
func LeasesGrid(d *diff.Document) Grid {
	t := leasesTable(d)
	return t.grid()
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
