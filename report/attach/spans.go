package attach

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect/serverlog"
	"etcd-autopsy/report/escape"
)

// spans is the picture of what servers' logs tell: a lane for each member along the time, with the runs of its server, and marks for what happened to it.
type spans struct {
	Alt           string
	Width, Height float64
	Lanes         []spanLane
	Marks         []mark // of the axis
	Axis          float64
	// Band is when members parted, as far as is known.
	Band   bool
	BandX  float64
	BandW  float64
	BandAt string // what is written above it
	BandTX float64
	Anchor string
}

type spanLane struct {
	Label string
	Y     float64
	Runs  []run
	Marks []spanMark
}

// run is one of a server.
type run struct {
	X, W  float64
	Color int
	Text  string // its version, if there is room for it
	How   string // it ended: "kill", "died", "stop", or empty if the log ends before
}

// Bad tells whether the end of a run is none that was asked for.
func (r run) Bad() bool {
	return r.How == string(serverlog.Killed) || r.How == string(serverlog.Died)
}

// Class is what the style sheet calls it.
func (r run) Class() string { return "side" + strconv.Itoa(r.Color%(lineColor-1)) }

type spanMark struct {
	X, Y   float64
	Letter string
	Bad    bool
}

type letter struct {
	kind         serverlog.Kind
	letter, name string
	bad          bool
}

// letters are the marks of events, in the order of their legend.
var letters = []letter{
	{serverlog.Leader, "L", "becomes leader", false},
	{serverlog.ClusterVersion, "V", "cluster version", false},
	{serverlog.Snapshot, "S", "snapshot sent or received", false},
	{serverlog.Defrag, "D", "defragmentation", false},
	{serverlog.Alarm, "A", "alarm", true},
	{serverlog.Corruption, "C", "check for corruption", true},
	{serverlog.Fault, "F", "fault of files", true},
}

const (
	spanLaneHeight = 30.0
	spanRow        = 16.0 // of marks
	spanRows       = 3
	spanMarkWidth  = 15.0
	textHalf       = 30.0 // of a time below the axis
)

// spansPicture is nil without a server's log that has times.
func spansPicture(r *Report) (*picture, error) {
	d := r.Story
	if d == nil || len(d.Members) > maxLanes {
		return nil, nil
	}
	var from, to time.Time
	widen := func(t *time.Time) {
		switch {
		case t == nil:
			return
		case from.IsZero():
			from, to = *t, *t
		case t.Before(from):
			from = *t
		case t.After(to):
			to = *t
		}
	}
	colors := map[string]int{}
	var versions []string
	for _, m := range d.Members {
		for _, l := range m.Logs {
			widen(l.First)
			widen(l.Last)
			for _, p := range l.Processes {
				if _, ok := colors[p.Version]; !ok {
					colors[p.Version] = 0
					versions = append(versions, p.Version)
				}
			}
		}
	}
	if !from.Before(to) || len(versions) == 0 {
		return nil, nil
	}
	slices.Sort(versions)
	day, end := from.Format(time.DateOnly), to.Format(time.DateOnly)
	if day != end {
		day += " to " + end
	}
	p := &picture{Title: "What the servers' logs tell, by time (" + day + ", UTC)", Alt: "A lane for each member along the time, with the versions that ran. "}
	for i, v := range versions {
		colors[v] = i
		if v == "" {
			v = "a version that is not told"
		} else {
			v = "etcd " + v
		}
		p.Legend = append(p.Legend, legend{i % (lineColor - 1), v})
	}
	used := map[string]bool{}
	dropped := 0
	for _, w := range widths {
		x := (&spanLayout{from, to, w.width, w.chars, colors, used, 0}).layOut(d, parting(r))
		x.Alt = p.Alt
		dropped = max(dropped, x.dropped)
		var b bytes.Buffer
		if err := spansTemplate().Execute(&b, x.spans); err != nil {
			return nil, err
		}
		p.SVG = append(p.SVG, drawing{w.class, template.HTML(b.String())}) //nolint:gosec // by a template that escapes
	}
	p.Note = "A bar is a run of the server, as its log tells it."
	if used["kill"] {
		p.Note += " ✕: it was killed, or died."
	}
	var marks []string
	for _, l := range letters {
		if used[l.letter] {
			marks = append(marks, l.letter+" "+l.name)
		}
	}
	if len(marks) > 0 {
		p.Note += " Marks: " + strings.Join(marks, ", ") + "."
	}
	if dropped > 0 {
		p.Note += fmt.Sprintf(" For %s there is no room: the timeline has them.", count(dropped, "mark"))
	}
	if used["band"] {
		p.Note += " Shaded: members parted in this time; the files do not tell when exactly."
	}
	return p, nil
}

// spanLayout is what places of a picture are reckoned from.
type spanLayout struct {
	from, to time.Time
	width    float64
	chars    int
	colors   map[string]int
	used     map[string]bool
	dropped  int
}

type laidOut struct {
	*spans
	dropped int
}

func (s *spanLayout) layOut(d *story.Document, at uint64) laidOut {
	const right = 14.0
	left := 0.0
	label := func(m string) string { return shorten(escape.Visible(m), s.chars/3) }
	for _, m := range d.Members {
		left = max(left, float64(len([]rune(label(m.Label))))*7.4)
	}
	left += 12
	x := func(t time.Time) float64 {
		f := float64(t.Sub(s.from)) / float64(s.to.Sub(s.from))
		return left + (s.width-left-right)*min(max(f, 0), 1)
	}
	p := &spans{Width: s.width}
	y := laneTop
	for _, m := range d.Members {
		l := spanLane{Label: label(m.Label), Y: y}
		for _, log := range m.Logs {
			l.Runs = append(l.Runs, s.runs(log, x)...)
		}
		rows := s.place(d, m.Label, y, x, &l)
		p.Lanes = append(p.Lanes, l)
		y += spanLaneHeight + spanRow*float64(rows)
	}
	p.Axis = y
	p.Height = y + 26
	p.Marks = s.axis(x)
	if from, to := when(d, at); at > 0 && !from.IsZero() {
		if to.IsZero() || to.After(s.to) {
			to = s.to
		}
		if from.Before(to) {
			s.used["band"] = true
			p.Band, p.BandX, p.BandW = true, x(from), max(x(to)-x(from), 3)
			p.BandAt, p.BandTX, p.Anchor = fmt.Sprintf("entry %d", at), p.BandX+p.BandW/2, "middle"
			if p.BandTX > s.width-50 {
				p.BandTX, p.Anchor = s.width-right, "end"
			}
		}
	}
	return laidOut{p, s.dropped}
}

func (s *spanLayout) runs(log story.ServerLog, x func(time.Time) float64) (out []run) {
	for _, one := range log.Processes {
		start, end := one.Start, one.End
		if start == nil {
			start = log.First
		}
		if end == nil {
			end = log.Last
		}
		if start == nil || end == nil {
			continue
		}
		r := run{X: x(*start), Color: s.colors[one.Version], How: one.How}
		r.W = max(x(*end)-r.X-1, 2)
		if float64(len(one.Version))*6.2+8 < r.W {
			r.Text = escape.Visible(one.Version)
		}
		s.used["kill"] = s.used["kill"] || r.Bad()
		out = append(out, r)
	}
	return out
}

// place puts the marks of a member below its bar, and returns how many rows they take.
func (s *spanLayout) place(d *story.Document, member string, y float64, x func(time.Time) float64, l *spanLane) (rows int) {
	var last [spanRows]float64
	for i := range last {
		last[i] = -spanMarkWidth
	}
	for _, e := range d.Events {
		if e.Time == nil || e.Source == story.RaftLog {
			continue
		}
		of := slices.Contains(e.Members, member)
		if e.Leader != "" && slices.ContainsFunc(d.Members, func(m story.Member) bool { return m.Label == e.Leader }) {
			of = e.Leader == member
		} else if e.Kind == string(serverlog.Leader) {
			of = false // one that nobody here is, or that is lost
		}
		k := slices.IndexFunc(letters, func(l letter) bool { return string(l.kind) == e.Kind })
		if k < 0 || !of {
			continue
		}
		at := x(*e.Time)
		row := slices.IndexFunc(last[:], func(f float64) bool { return at-f >= spanMarkWidth })
		if row < 0 {
			s.dropped++
			continue
		}
		last[row] = at
		rows = max(rows, row+1)
		s.used[letters[k].letter] = true
		l.Marks = append(l.Marks, spanMark{X: at, Y: y + 24 + spanRow*float64(row), Letter: letters[k].letter, Bad: letters[k].bad})
	}
	return rows
}

// steps between marks of the axis.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
	15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

func (s *spanLayout) axis(x func(time.Time) float64) (marks []mark) {
	const room = 66.0
	span, wide := s.to.Sub(s.from), x(s.to)-x(s.from)
	step := steps[len(steps)-1]
	for _, d := range steps {
		if float64(d)/float64(span)*wide >= room {
			step = d
			break
		}
	}
	for float64(step)/float64(span)*wide < room {
		step *= 2
	}
	layout := "15:04:05"
	switch {
	case step >= 24*time.Hour:
		layout = "01-02"
	case step >= time.Minute:
		layout = "15:04"
	}
	for t := s.from.Truncate(step); !t.After(s.to); t = t.Add(step) {
		if !t.Before(s.from) && x(t) < s.width-textHalf {
			marks = append(marks, mark{x(t), t.Format(layout)})
		}
	}
	return marks
}

// when is between which times an entry was proposed, zero where no bound is known. A process started before what it proposed, and an election is
// behind all entries of earlier terms. Nothing is proposed when all servers have ended.
func when(d *story.Document, entry uint64) (from, to time.Time) {
	for i := range d.Events {
		e := &d.Events[i]
		if e.Time == nil || e.Entry == 0 || e.Source == story.FromServer {
			continue
		}
		switch diff.EventKind(e.Kind) {
		case diff.EventStart:
			if e.Entry <= entry && e.Time.After(from) {
				from = *e.Time
			}
		case diff.EventLeader:
			if e.Entry <= entry && e.Time.After(from) {
				from = *e.Time
			}
			if e.Entry > entry && (to.IsZero() || e.Time.Before(to)) {
				to = *e.Time
			}
		}
	}
	var end time.Time
	for _, m := range d.Members {
		if len(m.Logs) == 0 {
			return from, to
		}
		for _, l := range m.Logs {
			n := len(l.Processes)
			if n == 0 || l.Processes[n-1].End == nil {
				return from, to
			}
			if t := *l.Processes[n-1].End; t.After(end) {
				end = t
			}
		}
	}
	if to.IsZero() || end.Before(to) {
		to = end
	}
	return from, to
}

// spansTemplate writes the picture as an element of a page.
var spansTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("spans").Funcs(template.FuncMap{
		"add": func(a, b float64) float64 { return a + b },
		"px":  func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
	}).Parse(`<svg viewBox="0 0 {{px .Width}} {{px .Height}}" role="img" aria-label="{{.Alt}}" font-size="12">
{{- if .Band}}
<rect x="{{px .BandX}}" y="20" width="{{px .BandW}}" height="{{px (add .Axis -20)}}" style="fill:var(--bad);opacity:.13"/>
<text x="{{px .BandTX}}" y="14" text-anchor="{{.Anchor}}" style="fill:var(--bad);font-weight:600">{{.BandAt}}</text>
{{- end}}
{{- range .Lanes}}
<text x="0" y="{{px (add .Y 11)}}" style="fill:var(--fg)">{{.Label}}</text>
{{- $y := .Y}}
{{- range .Runs}}
<rect x="{{px .X}}" y="{{px $y}}" width="{{px .W}}" height="14" rx="2" class="{{.Class}}"/>
{{- if .Text}}<text x="{{px (add .X 5)}}" y="{{px (add $y 11)}}" font-size="10" style="fill:var(--on);font-weight:600">{{.Text}}</text>{{end}}
{{- if .Bad}}<text x="{{px (add .X .W)}}" y="{{px (add $y 12)}}" text-anchor="middle" font-size="15" style="fill:var(--bad);stroke:var(--bg);stroke-width:3;paint-order:stroke;font-weight:700">✕</text>{{end}}
{{- end}}
{{- range .Marks}}
<circle cx="{{px .X}}" cy="{{px .Y}}" r="7" style="fill:var(--bg);stroke:{{if .Bad}}var(--bad){{else}}var(--muted){{end}}"/><text x="{{px .X}}" y="{{px (add .Y 3.5)}}" text-anchor="middle" font-size="9" style="fill:{{if .Bad}}var(--bad){{else}}var(--fg){{end}}">{{.Letter}}</text>
{{- end}}
{{- end}}
{{- $axis := .Axis}}
{{- range .Marks}}
<line x1="{{px .X}}" x2="{{px .X}}" y1="{{px $axis}}" y2="{{px (add $axis 5)}}" style="stroke:var(--muted)"/>
<text x="{{px .X}}" y="{{px (add $axis 18)}}" text-anchor="middle" style="fill:var(--muted)">{{.Text}}</text>
{{- end}}
</svg>`))
})

// tale is the table of all events.
func tale(d *story.Document) (*rows, error) {
	var notes []string
	if d.LeftOut > 0 {
		notes = append(notes, fmt.Sprintf("%s left out.", count(d.LeftOut, "more event")))
	}
	columns := []column{{"UTC", ""}, {"entry", "num"}, {"kind", ""}, {"members", ""}, {"what", "key"}, {"known from", ""}}
	return newRows("events", "What happened, by the raft log and the servers' logs", columns, len(d.Events), func(i int) []string {
		e := &d.Events[i]
		entry := ""
		if e.Entry > 0 {
			entry = strconv.FormatUint(e.Entry, 10)
		}
		what := e.What
		if e.Lines > 1 && e.Source == story.FromServer {
			what += fmt.Sprintf(" (%d lines)", e.Lines)
		}
		return []string{moment(e.Time), entry, e.Kind, strings.Join(e.Members, ", "), what, string(e.Source)}
	}, notes...)
}

// servers is the table of their runs.
func servers(d *story.Document) (*rows, error) {
	var all [][]string
	for _, m := range d.Members {
		for _, l := range m.Logs {
			for _, p := range l.Processes {
				commit := "-"
				if p.Commit > 0 {
					commit = strconv.FormatUint(p.Commit, 10)
				}
				all = append(all, []string{m.Label, orDash(p.Version), orDash(moment(p.Start)), orDash(moment(p.End)), ended(p.How), commit, l.File})
			}
			if len(l.Processes) == 0 {
				all = append(all, []string{m.Label, "-", "-", "-", "no start in this log", "-", l.File})
			}
		}
	}
	columns := []column{{"member", ""}, {"version", ""}, {"started", ""}, {"ended", ""}, {"how", ""}, {"commit index at the start", "num"}, {"log", "key"}}
	return newRows("servers", "Runs of servers, by their logs", columns, len(all), func(i int) []string { return all[i] })
}

func ended(how string) string {
	switch serverlog.Kind(how) {
	case serverlog.Stop:
		return "stopped"
	case serverlog.Killed:
		return "killed"
	case serverlog.Died:
		return "died"
	}
	return "the log ends before"
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format("2006-01-02 15:04:05.000")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
