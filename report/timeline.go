package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect/serverlog"
)

// Timeline writes what happened to a cluster, as its raft log and the logs of its servers tell it.
func Timeline(w io.Writer, d *story.Document, format Format) error {
	return encode(w, format, d, func() *page { return timelinePage(d) }, func() [][]string { return timelineLines(d) })
}

const (
	clockOnly = "15:04:05.000"
	dayClock  = "2006-01-02 15:04:05.000"
)

func timelinePage(d *story.Document) *page {
	p := &page{}
	for _, m := range d.Members {
		for _, l := range m.Logs {
			p.line(m.Label, "%s: %s", l.File, processes(&l))
		}
	}
	for i, n := range d.Notes {
		p.line(first(i == 0, verb(len(d.Notes), "note", "notes")), "%s", n)
	}
	t := table{plain: true, header: []string{"UTC", "entry", "member", "what happened"}}
	day, layout := "", clockOnly
	for _, e := range d.Events {
		if e.Time == nil {
			continue
		}
		if on := e.Time.Format("2006-01-02"); day == "" {
			day = on
		} else if on != day {
			layout = dayClock
		}
	}
	if day != "" && layout == clockOnly {
		t.header[0] = day
	}
	used := max(len(layout), len(t.header[0])) + 2 + 8
	who := len("member")
	for _, e := range d.Events {
		who = max(who, len(whoColumn(e.Members)))
	}
	used += min(who, 20) + 2
	for _, e := range d.Events {
		at, entry := "", ""
		if e.Time != nil {
			at = e.Time.Format(layout)
		}
		if e.Entry != 0 {
			entry = fmt.Sprintf("%6d", e.Entry)
		}
		what := e.What
		if e.Lines > 1 && e.Source == story.FromServer && len(e.Members) == 1 {
			what += fmt.Sprintf(" (%d lines", e.Lines)
			if e.Until != nil {
				what += " until " + e.Until.Format(clockOnly)
			}
			what += ")"
		}
		name := whoColumn(e.Members)
		for _, l := range wrap(what, max(40, maxTable-used)) {
			t.rows = append(t.rows, []string{at, entry, name, l})
			at, entry, name = "", "", ""
		}
	}
	if d.LeftOut > 0 {
		t.notes = append(t.notes, "and "+count(d.LeftOut, "more event")+"; --around ENTRY or --around TIME tells those next to it")
	}
	if len(d.Events) == 0 {
		p.line("events", "none: no log of raft could be followed, and there is none of a server")
		return p
	}
	p.tables = []table{t}
	return p
}

// RunLines say what ran on each member, by its server's logs.
func RunLines(d *story.Document) (lines []Line) {
	for _, m := range d.Members {
		for i := range m.Logs {
			lines = append(lines, Line{m.Label, m.Logs[i].File + ": " + processes(&m.Logs[i])})
		}
	}
	return lines
}

// weights tell which events matter most: those of a lower number. What is not there has the highest.
var weights = map[string]int{
	string(diff.EventOnset): 1, string(serverlog.Died): 1, string(serverlog.Killed): 1, string(serverlog.Corruption): 1, string(serverlog.Alarm): 1, string(serverlog.Fault): 1,
	string(serverlog.Start): 2, string(serverlog.ClusterVersion): 2, string(serverlog.Auth): 3, string(serverlog.Stop): 3, string(diff.EventEffect): 3, string(serverlog.Refused): 3,
	string(diff.EventMembership): 3, string(serverlog.Leader): 4, string(serverlog.Snapshot): 4,
}

const lightest = 5

func matters(kind string) int {
	if w, ok := weights[kind]; ok {
		return w
	}
	return lightest
}

// TaleGrid is so many events at most, in their order: those that matter most, of equal ones the first.
func TaleGrid(d *story.Document, most int) Grid {
	var chosen []int
	for w := 1; w <= lightest; w++ {
		for i := range d.Events {
			if matters(d.Events[i].Kind) == w && len(chosen) < most {
				chosen = append(chosen, i)
			}
		}
	}
	slices.Sort(chosen)
	g := Grid{Header: []string{"UTC", "entry", "member", "what happened"}}
	for _, i := range chosen {
		e := &d.Events[i]
		at, entry, what := "", "", e.What
		if e.Time != nil {
			at = e.Time.Format(dayClock)
		}
		if e.Entry != 0 {
			entry = strconv.FormatUint(e.Entry, 10)
		}
		if e.Lines > 1 && e.Source == story.FromServer && len(e.Members) == 1 {
			what += fmt.Sprintf(" (%d lines)", e.Lines)
		}
		g.Rows = append(g.Rows, []string{at, entry, strings.Join(e.Members, ", "), what})
	}
	return g
}

// whoColumn is names for a narrow column.
func whoColumn(labels []string) string {
	const most = 20
	s := strings.Join(labels, ",")
	if len(s) > most {
		s = fmt.Sprintf("%d members", len(labels))
	}
	if len(labels) == 1 {
		return labels[0]
	}
	return s
}

// processes says in a line what ran.
func processes(l *story.ServerLog) string {
	var all []string
	for _, p := range l.Processes {
		s := p.Version
		if s == "" {
			s = "a version that is not told"
		}
		if p.Start != nil {
			s += " from " + p.Start.Format("15:04:05")
		}
		switch p.How {
		case "stop":
			s += ", stopped"
		case "kill":
			s += ", killed"
		case "died":
			s += ", died"
		}
		if p.End != nil {
			s += " " + p.End.Format("15:04:05")
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return count(l.Lines, "line") + ", no start of a server"
	}
	const shown = 6
	if n := len(all) - shown; n > 1 {
		all = append(all[:shown:shown], fmt.Sprintf("and %d more starts", n))
	}
	return strings.Join(all, "; ")
}

func timelineLines(d *story.Document) [][]string {
	var ls [][]string
	for _, e := range d.Events {
		at := ""
		if e.Time != nil {
			at = e.Time.Format(time.RFC3339Nano)
		}
		ls = append(ls, []string{at, strconv.FormatUint(e.Entry, 10), strings.Join(e.Members, " "), e.Kind, e.What})
	}
	return ls
}
