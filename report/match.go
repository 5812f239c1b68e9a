package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"etcd-autopsy/diff/messages"
)

// MatchDocument is what is known of the messages in a log.
type MatchDocument struct {
	SchemaVersion string  `json:"schema_version"`
	Matches       []Match `json:"matches"`
}

// Match is a known message that a log has.
type Match struct {
	ID string `json:"id"`
	// Title says what happened, Meaning why, Look what to look at in the data directories, and Do what to do.
	Title   string `json:"title"`
	Meaning string `json:"meaning"`
	Look    string `json:"look"`
	Do      string `json:"do"`
	// Bug is the id of a known bug that leads to it, as the command bugs lists them; empty if there is none.
	Bug  string   `json:"bug,omitempty"`
	Refs []string `json:"refs"`
	// Stopped is true if a process ended with it.
	Stopped bool `json:"stopped"`
	// Count is how many lines have it. The lines are numbered from 1, and the times are left out if they are not known.
	Count     int        `json:"count"`
	FirstLine int64      `json:"first_line"`
	LastLine  int64      `json:"last_line"`
	FirstTime *time.Time `json:"first_time,omitempty"`
	LastTime  *time.Time `json:"last_time,omitempty"`
	Level     string     `json:"level,omitempty"`
	// Text is the first one: what fits the wording.
	Text     string         `json:"text"`
	Wordings []MatchWording `json:"wordings"`
}

// MatchWording is a wording that was seen, and who writes it.
type MatchWording struct {
	Text    string   `json:"text"`
	Sources []string `json:"sources"`
}

// NewMatches makes a document of what a log has.
func NewMatches(hits []*messages.Hit) *MatchDocument {
	d := &MatchDocument{SchemaVersion: "1", Matches: []Match{}}
	for _, h := range hits {
		m := Match{
			ID: h.Message.ID, Title: h.Message.Title, Meaning: h.Message.Meaning, Look: h.Message.Look, Do: h.Message.Do, Bug: h.Message.Bug,
			Refs: h.Message.Links(), Stopped: h.Stopped(), Count: h.Count, FirstLine: h.First, LastLine: h.Last,
			FirstTime: known(h.Began), LastTime: known(h.Ended), Level: string(h.Level), Text: h.Text,
		}
		if m.Refs == nil {
			m.Refs = []string{}
		}
		for _, w := range h.Wordings {
			m.Wordings = append(m.Wordings, MatchWording{Text: w.Text, Sources: w.Sources})
		}
		d.Matches = append(d.Matches, m)
	}
	return d
}

// known is a time, nil if there is none.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Matches writes what is known of the messages in a log.
func Matches(w io.Writer, d *MatchDocument, format Format) error {
	return encode(w, format, d, func() *page { return matchPage(d) }, func() [][]string { return matchLines(d) })
}

func matchPage(d *MatchDocument) *page {
	p := &page{}
	if len(d.Matches) == 0 {
		p.verdict, p.title = "UNKNOWN", "no line is a message that tells of trouble with data, as far as is known"
		return p
	}
	for _, m := range d.Matches {
		s := &page{title: m.ID + ": " + m.Title}
		s.line("says", "%s", m.Text)
		where := fmt.Sprintf("line %d", m.FirstLine)
		if m.Count > 1 {
			where = fmt.Sprintf("%d lines, the first is %d, the last %d", m.Count, m.FirstLine, m.LastLine)
		}
		if m.FirstTime != nil {
			where += ", at " + m.FirstTime.Format("2006-01-02 15:04:05")
			if m.LastTime != nil && m.LastTime.Sub(*m.FirstTime) >= time.Second {
				where += " to " + m.LastTime.Format("2006-01-02 15:04:05")
			}
		}
		if m.Stopped {
			where += "; the process ended with it"
		}
		s.line("where", "%s", where)
		s.line("meaning", "%s", m.Meaning)
		s.line("look at", "%s", m.Look)
		s.line("do", "%s", m.Do)
		if m.Bug != "" {
			s.line("bug", "%s (etcd-autopsy bugs show %s)", m.Bug, m.Bug)
		}
		if len(m.Refs) > 0 {
			s.line("see", "%s", strings.Join(m.Refs, ", "))
		}
		for i, l := range sources(&m) {
			s.line(first(i == 0, "source"), "%s", l)
		}
		p.sections = append(p.sections, s)
	}
	return p
}

// sources are the files that write the wordings which were seen, the newest first.
func sources(m *Match) []string {
	const shown = 4
	var all []string
	for _, w := range m.Wordings {
		all = append(all, w.Sources...)
	}
	slices.Reverse(all)
	all = slices.Compact(all)
	if n := len(all) - shown; n > 1 {
		all = append(all[:shown:shown], fmt.Sprintf("and %d more places (-w json lists them)", n))
	}
	return all
}

func matchLines(d *MatchDocument) [][]string {
	var ls [][]string
	for _, m := range d.Matches {
		ls = append(ls, []string{m.ID, fmt.Sprint(m.Count), fmt.Sprint(m.FirstLine), cmp.Or(m.Bug, "-"), m.Title, m.Text})
	}
	return ls
}
