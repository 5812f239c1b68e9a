package attach

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report/escape"
)

// lanes is the first picture: a lane for each member along the index of the log, grey while it did what the others did, in the color of its
// side from where that begins to differ, with its restarts and faults.
type lanes struct {
	Alt           string
	Width, Height float64
	Lanes         []lane
	Marks         []mark // of the axis
	Axis          float64
	At            float64 // of the entry at which members parted, 0 if none is known
	AtText        string
	AtAnchor      string
}

// lane is a member. Everything is in pixels.
type lane struct {
	Label  string
	Y      float64
	Bars   []bars
	Ticks  []float64 // entries without the effect that they had on others, or applied again
	Starts []start
}

// bars is a part of a lane. Color is a number of the page's colors, or one of those below.
type bars struct {
	X, W  float64
	Color int
}

// What a lane shows besides the colors of sides.
const (
	same      = -1 - iota // it did what the others did
	absent                // entries that are not in the member's log
	unsure                // of a copy that is not whole
	restarted             // the member's process
	ticked                // entries with another effect
)

type start struct {
	X    float64
	Text string
}

type mark struct {
	X    float64
	Text string
}

const (
	laneHeight = 34.0
	laneBar    = 12.0
	laneTop    = 34.0
	maxLanes   = 30
	maxTicks   = 400
)

// Class is what the style sheet calls a part.
func (b bars) Class() string {
	switch b.Color {
	case same:
		return "same"
	case absent:
		return "absent"
	case unsure:
		return "unsure"
	}
	return "side" + strconv.Itoa(b.Color%(lineColor-1))
}

// lanesPicture is nil where members have no log, or nothing happened to them.
func lanesPicture(r *Report) (*picture, error) {
	d := r.Diff
	if d == nil || len(d.Members) == 0 || len(d.Members) > maxLanes {
		return nil, nil
	}
	low, high := uint64(maxExact), uint64(0)
	for i := range d.Members {
		m := &d.Members[i]
		if m.Log.FirstIndex > 0 {
			low = min(low, m.Log.FirstIndex)
		}
		high = max(high, m.ConsistentIndex, m.Log.LastIndex)
	}
	if high >= maxExact || low >= high {
		return nil, nil
	}
	alike := func(a, b diff.Member) bool {
		return a.ConsistentIndex == b.ConsistentIndex && a.Log.FirstIndex == b.Log.FirstIndex
	}
	telling := func(e diff.Event) bool {
		return e.Kind == diff.EventOnset || e.Restarted()
	}
	if len(slices.CompactFunc(slices.Clone(d.Members), alike)) < 2 && !slices.ContainsFunc(d.Timeline, telling) {
		return nil, nil // bars of one length and nothing else
	}
	p := &picture{Title: "What happened to each member along the log", Alt: "A lane for each member along the index of the log. "}
	if at := parting(r); at > 0 {
		p.Alt += fmt.Sprintf("Members part at entry %d. ", at)
	}
	used := map[int]bool{}
	for _, w := range widths {
		x := layOut(d, low, high, w.width, w.chars, parting(r), used)
		x.Alt = p.Alt
		var b bytes.Buffer
		if err := lanesTemplate().Execute(&b, x); err != nil {
			return nil, err
		}
		p.SVG = append(p.SVG, drawing{w.class, template.HTML(b.String())}) //nolint:gosec // by a template that escapes
	}
	if used[same] {
		name := "as the others"
		if len(d.Members) == 1 || d.Verdict != diff.Diverged && d.Verdict != diff.Consistent {
			name = "applied" // whether as the others is not known
		}
		p.Legend = append(p.Legend, legend{lineColor - 1, name})
	}
	for _, side := range camps(d) {
		if used[side.color] {
			p.Legend = append(p.Legend, legend{side.color, strings.Join(side.members, ", ") + " otherwise"})
		}
	}
	p.Note = "A bar ends at the last entry that the copy has applied."
	for _, n := range []struct {
		color int
		text  string
	}{
		{restarted, "A diamond is a restart, with its time in UTC."},
		{ticked, "A tick below a bar is an entry that had another effect than its log asks for."},
		{absent, "Pale: the entry is not in the member's log."},
		{unsure, "Outlined: the copy is not whole, so that what it did is not known."},
	} {
		if used[n.color] {
			p.Note += " " + n.text
		}
	}
	return p, nil
}

type camp struct {
	members []string
	color   int
}

// campColors are the colors of those that went otherwise: none that looks like good news.
var campColors = []int{1, 3, 5, 4, 0}

// camps are the groups of members that departed from the others, with the color of each.
func camps(d *diff.Document) (out []camp) {
	if len(d.Divergences) == 0 {
		return nil
	}
	v := &d.Divergences[0]
	groups := v.GroupsNow
	if len(groups) < 2 {
		groups = v.Groups
	}
	var faulty []string
	for i := range d.Divergences {
		faulty = append(faulty, d.Divergences[i].Faulty...)
		faulty = append(faulty, d.Divergences[i].Minority...)
	}
	for n, g := range groups {
		odd := slices.ContainsFunc(g, func(l string) bool { return slices.Contains(faulty, l) })
		if odd || len(faulty) == 0 && n > 0 {
			out = append(out, camp{g, campColors[len(out)%len(campColors)]})
		}
	}
	return out
}

// departs is the first entry from which a member went otherwise, 0 if it did not.
func departs(d *diff.Document, label string) (at uint64) {
	for i := range d.Divergences {
		v := &d.Divergences[i]
		first := uint64(0)
		if o, ok := v.Onset[label]; ok {
			switch first = o.Entry; {
			case v.SearchBounded && len(v.Candidates) > 0: // the first that was found
				first = v.Candidates[0].Index
			case o.EntryInterval != nil:
				first = o.EntryInterval.First
			}
		} else if slices.Contains(v.Minority, label) || len(v.Minority) == 0 && len(v.Groups) > 1 && !slices.Contains(v.Groups[0], label) && slices.ContainsFunc(v.Groups, func(g []string) bool { return slices.Contains(g, label) }) {
			switch {
			case v.Entry != nil:
				first = v.Entry.Index
			case v.SearchBounded && len(v.Candidates) > 0: // the first that was found
				first = v.Candidates[0].Index
			case v.EntryInterval != nil:
				first = v.EntryInterval.First
			}
		}
		if first > 0 && (at == 0 || first < at) {
			at = first
		}
	}
	return at
}

// layout places what a document says of the entries low to high: low is at the left, behind the names of the members, and high at the right. All lengths
// are in pixels.
type layout struct {
	d         *diff.Document
	low, high uint64
	left      float64      // where low is
	width     float64      // of the picture
	chars     int          // that fit into a line
	used      map[int]bool // the kinds of bars and marks that the picture has, for its legend
}

const laneRight = 14.0 // what is left free at the right

// layOut makes the picture, with a line at the entry at which members parted, 0 for none.
func layOut(d *diff.Document, low, high uint64, width float64, chars int, at uint64, used map[int]bool) *lanes {
	o := &layout{d: d, low: low, high: high, width: width, chars: chars, used: used}
	for i := range d.Members {
		o.left = max(o.left, float64(len([]rune(o.label(&d.Members[i]))))*7.4)
	}
	o.left += 12
	below := laneTop + laneHeight*float64(len(d.Members))
	p := &lanes{Width: width, Height: below + 26, Axis: below - 4}
	coloring := camps(d)
	for i := range d.Members {
		m := &d.Members[i]
		p.Lanes = append(p.Lanes, lane{
			Label: o.label(m), Y: laneTop + laneHeight*float64(i),
			Bars: o.bars(m, coloring), Ticks: o.faultTicks(m), Starts: o.starts(m.Label),
		})
	}
	for _, t := range ticks(chars/14).Ticks(float64(low), float64(high)) {
		if t.Label != "" {
			p.Marks = append(p.Marks, mark{o.x(uint64(t.Value)), t.Label})
		}
	}
	if at >= low && at <= high && at > 0 {
		o.markParting(p, at)
	}
	return p
}

// x is where an entry is.
func (o *layout) x(index uint64) float64 {
	index = min(max(index, o.low), o.high)
	return o.left + (o.width-o.left-laneRight)*float64(index-o.low)/float64(o.high-o.low)
}

func (o *layout) label(m *diff.Member) string { return shorten(escape.Visible(m.Label), o.chars/3) }

// bars show how far a member came, from where on it went otherwise, and what its log does not tell.
func (o *layout) bars(m *diff.Member, coloring []camp) (all []bars) {
	if !m.Readable {
		return nil
	}
	add := func(from, to uint64, kind int, least float64) {
		o.used[kind] = true
		all = append(all, bars{o.x(from), max(o.x(to)-o.x(from), least), kind})
	}
	end, from := m.ConsistentIndex, departs(o.d, m.Label)
	color := same
	if m.Evidence != inspect.Whole {
		color = unsure
	}
	for _, s := range coloring {
		if slices.Contains(s.members, m.Label) && from > 0 {
			color = s.color
		}
	}
	if from > 0 && from <= end && color >= 0 {
		add(o.low, from, same, 0)
		add(from, end, color, 2)
	} else {
		add(o.low, end, min(color, same), 2)
	}
	switch first := m.Log.FirstIndex; {
	case first == 0:
		add(o.low, end, absent, 0)
	case first > o.low:
		add(o.low, first, absent, 0)
	}
	return all
}

// faultTicks are the entries that a member is at fault at.
func (o *layout) faultTicks(m *diff.Member) (at []float64) {
	for n := range o.d.Divergences {
		v := &o.d.Divergences[n]
		if !slices.Contains(v.Faulty, m.Label) {
			continue
		}
		entries := v.Entries
		if v.Entry != nil && len(entries) == 0 {
			entries = []uint64{v.Entry.Index}
		}
		for _, e := range entries {
			if e >= max(v.Onset[m.Label].Entry, o.low) && e <= m.ConsistentIndex && len(at) < maxTicks {
				at, o.used[ticked] = append(at, o.x(e)), true
			}
		}
	}
	return at
}

// starts are where a member started again, with the time where there is room for it.
func (o *layout) starts(label string) (all []start) {
	timed := 0
	for _, e := range o.d.Timeline {
		if e.Restarted() {
			timed++
		}
	}
	for _, e := range o.d.Timeline {
		if !e.Restarted() || !slices.Contains(e.Members, label) {
			continue
		}
		s := start{X: o.x(e.Entry)}
		room := timed <= 4 || o.chars > 60 && timed <= 8
		if n := len(all); n > 0 && s.X-all[n-1].X < 56 {
			room = false
		}
		if e.Time != nil && room {
			s.Text = e.Time.Format("15:04:05")
		}
		all, o.used[restarted] = append(all, s), true
	}
	return all
}

// markParting draws the line at the entry at which members parted.
func (o *layout) markParting(p *lanes, at uint64) {
	p.At, p.AtText, p.AtAnchor = o.x(at), fmt.Sprintf("entry %d", at), "middle"
	switch {
	case p.At < o.left+40:
		p.AtAnchor = "start"
	case p.At > o.width-50:
		p.AtAnchor = "end"
	}
	if v := &o.d.Divergences[0]; v.CandidateCount > 0 && !v.SearchBounded {
		p.AtText = fmt.Sprintf("one of %d from entry %d on", v.CandidateCount, at)
	}
}

// lanesTemplate writes the picture as an element of a page.
var lanesTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("lanes").Funcs(template.FuncMap{
		"add": func(a, b float64) float64 { return a + b },
		"px":  func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
	}).Parse(`<svg viewBox="0 0 {{px .Width}} {{px .Height}}" role="img" aria-label="{{.Alt}}" font-size="12">
{{- range .Lanes}}
<text x="0" y="{{px (add .Y 10)}}" style="fill:var(--fg)">{{.Label}}</text>
{{- $y := .Y}}
{{- range .Bars}}
<rect x="{{px .X}}" y="{{px $y}}" width="{{px .W}}" height="12" rx="2" class="{{.Class}}"/>
{{- end}}
{{- range .Ticks}}
<line x1="{{px .}}" x2="{{px .}}" y1="{{px (add $y 13)}}" y2="{{px (add $y 18)}}" style="stroke:var(--fg);stroke-width:1"/>
{{- end}}
{{- range .Starts}}
<rect x="-5" y="-5" width="10" height="10" transform="translate({{px .X}} {{px (add $y 6)}}) rotate(45)" style="fill:var(--bg);stroke:var(--fg);stroke-width:1.5"/>
{{- if .Text}}<text x="{{px .X}}" y="{{px (add $y 28)}}" text-anchor="middle" font-size="10" style="fill:var(--muted)">{{.Text}}</text>{{end}}
{{- end}}
{{- end}}
{{- if .At}}
<line x1="{{px .At}}" x2="{{px .At}}" y1="20" y2="{{px .Axis}}" style="stroke:var(--bad);stroke-width:1.5;stroke-dasharray:4 3"/>
<text x="{{px .At}}" y="14" text-anchor="{{.AtAnchor}}" style="fill:var(--bad);font-weight:600">{{.AtText}}</text>
{{- end}}
{{- $axis := .Axis}}
{{- range .Marks}}
<line x1="{{px .X}}" x2="{{px .X}}" y1="{{px $axis}}" y2="{{px (add $axis 5)}}" style="stroke:var(--muted)"/>
<text x="{{px .X}}" y="{{px (add $axis 18)}}" text-anchor="middle" style="fill:var(--muted)">{{.Text}}</text>
{{- end}}
</svg>`))
})
