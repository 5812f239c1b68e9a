package attach

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template/parse"

	"etcd-autopsy/diff"
	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

var (
	//go:embed assets/report.html.tmpl
	pageText string
	//go:embed assets/report.css
	pageCSS string
	//go:embed assets/report.js
	pageJS string
)

var pageTemplate = sync.OnceValue(func() *template.Template {
	return everyTextVisible(template.Must(template.New("report").Funcs(template.FuncMap{
		"visible": visible,
		"list":    list,
		"join":    func(words []string) string { return strings.Join(words, ", ") },
		"add":     func(a, b int) int { return a + b },
		"starred": func(s string) bool { return strings.HasSuffix(s, " *") },
		"size":    size,
		"link":    func(s string) bool { return strings.HasPrefix(s, "https://") },
		"fit":     report.Fit,
		"indexes": func(all []uint64) string {
			var s []string
			for _, n := range all[:min(len(all), entriesShown)] {
				s = append(s, strconv.FormatUint(n, 10))
			}
			if n := len(all) - len(s); n > 0 {
				s = append(s, fmt.Sprintf("and %d more: see report.json", n))
			}
			return strings.Join(s, " ")
		},
	}).Parse(pageText)))
})

// visible makes of every text what escape.Visible does, and leaves everything else, pieces of the page included, as it is.
func visible(x any) any {
	switch x.(type) {
	case template.HTML, template.JS, template.CSS:
		return x
	}
	if v := reflect.ValueOf(x); v.IsValid() && v.Kind() == reflect.String {
		if s, ok := x.(fmt.Stringer); ok {
			return escape.Visible(s.String())
		}
		return escape.Visible(v.String())
	}
	return x
}

// everyTextVisible adds visible to each action of a template, before html/template escapes for the place where it stands.
func everyTextVisible(t *template.Template) *template.Template {
	var walk func(n parse.Node)
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, n := range l.Nodes {
				walk(n)
			}
		}
	}
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{parse.NewIdentifier("visible").SetPos(n.Pos)}})
			}
		case *parse.IfNode:
			list(n.List)
			list(n.ElseList)
		case *parse.RangeNode:
			list(n.List)
			list(n.ElseList)
		case *parse.WithNode:
			list(n.List)
			list(n.ElseList)
		}
	}
	for _, one := range t.Templates() {
		if one.Tree != nil {
			list(one.Tree.Root)
		}
	}
	return t
}

const (
	// firstRows are in the page itself, the others in a script element that can hold maxRows of them.
	firstRows = 100
	maxRows   = 100_000
	// Lists that are not tables are cut after so many.
	entriesShown = 200
	changesShown = 50
)

// HTML writes the report as one page that loads nothing from anywhere.
func HTML(w io.Writer, r *Report) error {
	v, err := newView(r)
	if err != nil {
		return err
	}
	f := escape.NewFilter(w)
	return cmp.Or(pageTemplate().Execute(f, v), f.Flush())
}

// view is the report in the order and the words of the page. newView fills it in, and the template only reads it: what is nil or empty has no
// section.
type view struct {
	*Report
	CSS template.CSS
	JS  template.JS

	// The top of the page.
	Verdict  string // in words
	Headline string
	Answer   []answer
	Facts    []report.Line
	Lanes    *picture // of members along the log
	Spans    *picture // what servers' logs tell

	// Where members parted, and what that led to.
	First  *cause
	Others []cause
	InTurn []cause // consequences

	// The members, and what is wrong with their files.
	Members  report.Grid
	More     []report.Grid // about members
	Copies   *report.Grid  // to go on with
	Coverage *report.Grid  // how much could be read
	Checked  []checkedMember
	Advice   []advice // on what was found in files
	Again    []again  // logs that were run again
	Pictures []picture

	// Lists that can be searched.
	Keys, Leases, Entries, Events, Servers, Prefixes, Resources, Files, Values *rows
}

// answer is a line at the top of the page.
type answer struct {
	Name, Text string
	More       []string
}

// cause is a divergence or a consequence of one.
type cause struct {
	diff.Divergence
	Number   int // from 1
	Headline string
	Section  string // what is told about it
	Entry    string // empty where members have different ones: see Sides
	Sides    []side
	Alike    bool // all entries of the sides read alike
	After    int  // the number of the cause of a consequence, 0 if there is none
}

// side is what members of one group have.
type side struct {
	Members []string
	Odd     bool
	Lines   []string
	Changes []string // if Lines does not show all
	More    int
}

type again struct {
	diff.Reexecution
	Departed []string
	More     int
}

type checkedMember struct {
	Label, Verdict string
	Groups         []findingGroup
}

type findingGroup struct {
	Code, Severity string
	Findings       []report.FindingRecord
	More           int
}

type advice struct {
	Code string
	report.Advice
}

// rows is a table that can be searched, sorted and leafed through.
type rows struct {
	ID, Caption string
	Columns     []column
	First       [][]string
	Total, Held int // of Total rows, Held are in the page
	Notes       []string
	Data        template.JS // all rows as JSON, empty if First has them all
}

// Search tells whether there are so many rows that looking for one is work.
func (t *rows) Search() bool { return t.Total > 5 }

// More is how many rows are not in the page.
func (t *rows) More() int { return t.Total - t.Held }

type column struct {
	Name  string
	Class string // of its cells: key, num, or none
}

func newRows(id, caption string, columns []column, n int, row func(i int) []string, notes ...string) (*rows, error) {
	if n == 0 {
		return nil, nil
	}
	t := &rows{ID: id, Caption: caption, Columns: columns, Total: n, Held: min(n, maxRows), Notes: notes}
	all := make([][]string, 0, min(n, maxRows))
	for i := range min(n, maxRows) {
		cells := row(i)
		for k, c := range cells {
			cells[k] = escape.Visible(c) // a script puts them into the page, which no filter sees
		}
		all = append(all, cells)
	}
	t.First = all[:min(len(all), firstRows)]
	if len(all) > firstRows {
		b, err := json.Marshal(all) // escapes < and &, so that nothing in it ends the script element
		if err != nil {
			return nil, err
		}
		t.Data = template.JS(b) //nolint:gosec // JSON
	}
	return t, nil
}

func newView(r *Report) (*view, error) {
	d := r.Diff
	if d == nil {
		return nil, fmt.Errorf("a report without a comparison")
	}
	v := &view{Report: r, CSS: template.CSS(pageCSS), JS: template.JS(pageJS)} //nolint:gosec // ours
	v.Verdict, v.Headline = report.Answer(d)
	withAuth := slices.ContainsFunc(d.Members, func(m diff.Member) bool { return m.AuthEnabled })
	for i := range d.Divergences {
		c := newCause(&d.Divergences[i], i+1, withAuth)
		if i == 0 {
			v.First = &c
		} else {
			v.Others = append(v.Others, c)
		}
	}
	for i := range d.Consequences {
		v.InTurn = append(v.InTurn, newCause(&d.Consequences[i], i+1, withAuth))
	}
	v.Facts = report.Facts(d)
	v.answers()
	v.Members = report.MembersGrid(d)
	if r.Inspection != nil {
		v.More = report.InspectGrids(r.Inspection)
	}
	if d.Plan != nil && len(d.Plan.Copies) > 0 {
		g := report.CopiesGrid(d.Plan)
		v.Copies = &g
	}
	for i := range d.Reexecutions {
		x := again{Reexecution: d.Reexecutions[i]}
		for k := range x.Departures {
			x.Departed = append(x.Departed, report.DepartureText(&x.Departures[k]))
		}
		x.More = x.DepartureCount - len(x.Departures)
		v.Again = append(v.Again, x)
	}
	v.checkup()
	var err error
	if v.Lanes, err = lanesPicture(r); err != nil {
		return nil, fmt.Errorf("cannot draw: %w", err)
	}
	if v.Spans, err = spansPicture(r); err != nil {
		return nil, fmt.Errorf("cannot draw: %w", err)
	}
	if v.Pictures, err = pictures(r); err != nil {
		return nil, err
	}
	return v, v.tables()
}

// answers is what one wants to know first: where, who, why, what now.
func (v *view) answers() {
	d := v.Diff
	if c := v.First; c != nil && d.Verdict == diff.Diverged {
		switch {
		case c.Entry != "":
			v.answer("Entry", fmt.Sprintf("%s (term %d)", c.Entry, c.Divergence.Entry.Term))
		case c.Layer == diff.LayerLog || c.EntryInterval != nil || c.RevisionInterval != nil || c.Revision > 0:
			v.answer("Where", report.Place(&c.Divergence))
		}
		switch {
		case len(c.Minority) > 0 && len(c.Groups) > 0:
			v.answer("Who", fmt.Sprintf("%s against %s", list(c.Minority), list(c.Groups[0])))
		case len(c.Groups) > 1:
			v.answer("Who", "no majority: the files do not tell which side is right")
		}
		if c.What != "" {
			v.answer("What", c.What)
		}
		v.answer("Why", why(c.Explanations))
	}
	first, rest := split(v.Facts, d)
	v.Facts = rest
	v.Answer = append(v.Answer, first...)
	if len(d.Reasons) > 0 && d.Verdict != diff.NotComparable {
		name := "Limits"
		if d.Verdict == diff.Indeterminate {
			name = "Because"
		}
		v.answer(name, d.Reasons[0], d.Reasons[1:]...)
	}
	switch p := d.Plan; {
	case p == nil && d.Verdict == diff.Consistent && v.Checkup != nil && v.Checkup.Verdict == report.Problems:
		v.answer("What now", "the checkup found problems in the files: see below what they mean and what to do")
	case p == nil && d.Verdict == diff.Consistent && len(d.KnownBugs) > 0:
		v.answer("What now", "known bugs show in the files, though the members agree: see below what to do")
	case p == nil && d.Verdict == diff.Consistent:
		v.answer("What now", "nothing has to be done")
	case p == nil && d.Verdict == diff.Indeterminate && d.Headline != "":
		var more []string
		lines := report.Recommended(d)
		for _, l := range lines[1:] {
			more = append(more, strings.TrimPrefix(l.Text, "- "))
		}
		v.answer("What now", lines[0].Text, more...)
	case p == nil && d.Verdict == diff.Indeterminate && slices.ContainsFunc(d.Members, func(m diff.Member) bool { return !m.Complete }):
		v.answer("What now", "see below what the damage means, and copy the damaged members again if they still exist")
	case p == nil && d.Verdict == diff.Indeterminate && len(d.Members) > 1 && len(d.Reexecutions) == 0:
		v.answer("What now", "diff with --replay runs the log of each member again, which may tell more")
	case p == nil:
	case p.Best == "":
		v.answer("What now", "no copy can be recommended", slices.Concat(p.Why, p.Doubts)...)
	case len(p.Rebuild) > 0:
		v.answer("What now", fmt.Sprintf("go on with %s, rebuild %s from it", p.Best, list(p.Rebuild)))
	default:
		v.answer("What now", "go on with "+p.Best)
	}
}

// split takes the facts that belong to the answer out of the others. That members lag does if there is nothing worse.
func split(facts []report.Line, d *diff.Document) (first []answer, rest []report.Line) {
	last := ""
	for _, f := range facts {
		top := f.Name == "now" || f.Name == "compared" || f.Name == "lag" && len(d.Lag) > 0 && d.Verdict != diff.Diverged
		switch {
		case top:
			first = append(first, answer{Name: strings.ToUpper(f.Name[:1]) + f.Name[1:], Text: f.Text})
		case f.Name == "" && last != "" && len(first) > 0:
			a := &first[len(first)-1]
			a.More = append(a.More, f.Text)
			continue
		default:
			rest = append(rest, f)
		}
		if last = ""; top {
			last = f.Name
		}
	}
	return first, rest
}

func (v *view) answer(name, text string, more ...string) {
	v.Answer = append(v.Answer, answer{name, text, more})
}

// why is the surest explanation.
func why(all []diff.Explanation) string {
	for _, s := range []diff.Status{diff.Confirmed, diff.ConsistentWith} {
		for _, x := range all {
			if x.Status == s {
				return fmt.Sprintf("%s (%s): %s", s.Text(), x.ID, x.Title)
			}
		}
	}
	return "not known: no known bug produces this"
}

func newCause(d *diff.Divergence, number int, withAuth bool) cause {
	c := cause{Divergence: *d, Number: number, Headline: report.Headline(d)}
	switch {
	case d.Layer == diff.LayerLog:
		c.Section = "Where the logs part"
	case d.Entry != nil:
		c.Section, c.Entry = "What the entry did", report.EntryText(d.Entry, withAuth)
	default:
		c.Section = "What differs first"
	}
	if d.CausedBy != nil {
		c.After = *d.CausedBy + 1
	}
	for i := range d.Effects {
		e := &d.Effects[i]
		s := side{Members: e.Members, Lines: report.EffectText(d, e, withAuth)}
		s.Odd = slices.ContainsFunc(e.Members, func(m string) bool { return slices.Contains(d.Minority, m) })
		if len(e.Changes) > 3 { // those that the text names
			for _, x := range e.Changes[:min(len(e.Changes), changesShown)] {
				s.Changes = append(s.Changes, x.Op+" "+x.Key.String())
			}
			s.More = len(e.Changes) - len(s.Changes)
		}
		c.Sides = append(c.Sides, s)
	}
	c.Alike = d.Layer == diff.LayerLog && len(c.Sides) > 1 && !slices.ContainsFunc(c.Sides, func(s side) bool {
		return len(s.Lines) == 0 || s.Lines[0] != c.Sides[0].Lines[0]
	})
	return c
}

// checkup puts findings of one kind together, and explains each kind once.
func (v *view) checkup() {
	d := v.Checkup
	if d == nil {
		return
	}
	g := report.CoverageGrid(d)
	v.Coverage = &g
	for i := range d.Members {
		m := &d.Members[i]
		out := checkedMember{Label: m.Label, Verdict: m.Verdict()}
		for _, f := range m.Findings {
			k := slices.IndexFunc(out.Groups, func(g findingGroup) bool { return g.Code == f.Code && g.Severity == f.Severity })
			if k < 0 {
				k = len(out.Groups)
				out.Groups = append(out.Groups, findingGroup{Code: f.Code, Severity: f.Severity})
			}
			if g := &out.Groups[k]; len(g.Findings) < changesShown {
				g.Findings = append(g.Findings, f)
			} else {
				g.More++
			}
		}
		v.Checked = append(v.Checked, out)
	}
	for code, a := range d.Advice {
		if a.Meaning != "" {
			v.Advice = append(v.Advice, advice{code, a})
		}
	}
	slices.SortFunc(v.Advice, func(a, b advice) int { return strings.Compare(a.Code, b.Code) })
}

// labels are the members that have keys to compare.
func (v *view) labels() []string {
	var out []string
	for _, m := range v.Diff.Members {
		if m.Readable {
			out = append(out, m.Label)
		}
	}
	return out
}

func (v *view) tables() error {
	labels := v.labels()
	members := func(class string) []column {
		var out []column
		for _, l := range labels {
			out = append(out, column{l, class})
		}
		return out
	}
	var firstErr error
	table := func(t *rows, err error) *rows {
		if firstErr == nil {
			firstErr = err
		}
		return t
	}
	d := v.Diff
	v.Keys = table(newRows("keys", "Keys that differ", append([]column{{"key", "key"}, {"differs in", ""}}, members("num")...), d.Keys.Len(), func(i int) []string {
		return keyRow(d.Keys.At(i), labels)
	}, "A cell is the revision that wrote the key last, or - where the key is not there; then the size of the value and the begin of a keyed hash of it, or the lease, where these differ."))
	v.Leases = table(newRows("leases", "Leases that differ", append([]column{{"lease", "key"}}, members("")...), len(d.Leases), func(i int) []string {
		l := &d.Leases[i]
		row := []string{l.ID.String()}
		for _, m := range labels {
			s, cell := l.ByMember[m], "-"
			switch {
			case s.Present:
				cell = fmt.Sprintf("ttl %d s, %s", s.TTL, count(s.Keys, "key"))
			case s.Keys > 0:
				cell = "-, yet " + count(s.Keys, "key")
			}
			row = append(row, cell)
		}
		return row
	}, "A dash: the lease is not there."))
	v.Entries = table(v.entries())
	v.Events = table(newRows("events", "What happened, in the order of the log", []column{{"UTC", ""}, {"entry", "num"}, {"kind", ""}, {"members", ""}, {"what", "key"}}, len(v.Report.Diff.Timeline), func(i int) []string {
		e := &v.Report.Diff.Timeline[i]
		at := ""
		if e.Time != nil {
			at = e.Time.Format("2006-01-02 15:04:05.000")
		}
		return []string{at, strconv.FormatUint(e.Entry, 10), string(e.Kind), strings.Join(e.Members, ", "), e.What}
	}))
	if v.Story != nil {
		v.Events, v.Servers = table(tale(v.Story)), table(servers(v.Story))
	}
	v.Prefixes = table(groupRows("prefixes", "By prefix", "prefix", v.Report.Prefixes))
	v.Resources = table(groupRows("resources", "By Kubernetes resource", "resource", v.Report.Resources))
	v.Files = table(newRows("files", "Files", []column{{"file", "key"}, {"member", ""}, {"bytes", "num"}, {"sha256", "key"}}, len(v.Report.Files), func(i int) []string {
		f := &v.Report.Files[i]
		return []string{f.Path, f.Member, strconv.FormatInt(f.Size, 10), f.SHA256}
	}))
	if v.ShowsValues {
		v.Values = table(newRows("values", "Values", append([]column{{"key", "key"}}, members("key")...), len(v.Report.Values), func(i int) []string {
			x := &v.Report.Values[i]
			row := []string{x.Key.String()}
			for _, m := range labels {
				s, ok := x.ByMember[m]
				if !ok {
					s = "-"
				}
				row = append(row, s)
			}
			return row
		}))
	}
	return firstErr
}

func keyRow(k diff.KeyDiff, labels []string) []string {
	row := []string{k.Key.String(), k.Difference}
	if k.Difference == "missing" {
		row[1] = "presence"
	}
	for _, l := range labels {
		s, ok := k.ByMember[l]
		cell := strconv.FormatInt(s.ModRevision, 10)
		switch {
		case !ok:
			cell = "?"
		case !s.Present:
			cell = "-"
		case k.Difference == "value":
			if cell += fmt.Sprintf(" (%d bytes", s.ValueSize); s.ValueSHA256 != "" {
				cell += fmt.Sprintf(", #%.8s", s.ValueSHA256)
			}
			cell += ")"
		case k.Difference == "lease" && s.Lease == 0:
			cell += " (no lease)"
		case k.Difference == "lease":
			cell += " (" + s.Lease.String() + ")"
		}
		row = append(row, cell)
	}
	return row
}

func groupRows(id, caption, name string, all []Group) (*rows, error) {
	return newRows(id, caption, []column{{name, "key"}, {"keys", "num"}, {"presence", "num"}, {"value", "num"}, {"lease", "num"}, {"the first of them", "key"}}, len(all), func(i int) []string {
		g := &all[i]
		return []string{g.Name.String(), strconv.Itoa(g.Keys), strconv.Itoa(g.Missing), strconv.Itoa(g.Value), strconv.Itoa(g.Lease), g.Example.String()}
	})
}

// entries are those that show a cause, and those whose effects a copy has not, has alone or has twice.
func (v *view) entries() (*rows, error) {
	of := map[uint64][]string{}
	note := func(index uint64, column int, what string, columns int) {
		if of[index] == nil {
			of[index] = make([]string, columns)
		}
		if cell := &of[index][column]; *cell == "" {
			*cell = what
		} else {
			*cell += ", " + what
		}
	}
	columns := []column{{"entry", "num"}, {"shows cause", ""}}
	var copies []diff.PlanCopy
	if v.Diff.Plan != nil {
		copies = v.Diff.Plan.Copies
	}
	for _, c := range copies {
		columns = append(columns, column{c.Member, ""})
	}
	for i := range v.Diff.Divergences {
		x := &v.Diff.Divergences[i]
		all := x.Entries
		if len(all) == 0 && x.Entry != nil {
			all = []uint64{x.Entry.Index}
		}
		for _, n := range all {
			note(n, 0, strconv.Itoa(i+1), len(columns)-1)
		}
	}
	for i, c := range copies {
		for _, k := range []struct {
			all  []uint64
			what string
		}{{c.Loses, "lacks its effect"}, {c.Adds, "has its effect"}, {c.Twice, "applied it twice"}} {
			for _, n := range k.all {
				note(n, i+1, k.what, len(columns)-1)
			}
		}
	}
	var order []uint64
	for n := range of {
		order = append(order, n)
	}
	slices.Sort(order)
	return newRows("entries", "Entries with different effects", columns, len(order), func(i int) []string {
		row := []string{strconv.FormatUint(order[i], 10)}
		for _, cell := range of[order[i]] {
			if cell == "" {
				cell = "-"
			}
			row = append(row, cell)
		}
		return row
	}, "Causes are numbered as above; a dash: nothing to say. The effects of an entry without a cause differ as a consequence.")
}

// list joins words: "a", "a and b", "a, b and c".
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return "nobody"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
