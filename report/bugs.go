package report

import (
	"io"
	"strings"

	"etcd-autopsy/diff/bugs"
)

// BugsDocument is the catalogue of known bugs, or a part of it.
type BugsDocument struct {
	SchemaVersion string `json:"schema_version"`
	Bugs          []Bug  `json:"bugs"`
}

// Bug is one known bug.
type Bug struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Title    string   `json:"title"`
	Source   string   `json:"source"`
	Severity string   `json:"severity"`
	Visible  string   `json:"visible"`
	Affected string   `json:"affected"`
	Fixed    string   `json:"fixed"`
	Seen     string   `json:"seen"`
	Against  string   `json:"against"`
	Proof    string   `json:"proof"`
	Remedy   string   `json:"remedy"`
	Refs     []string `json:"refs"`
	// Testable is false if nothing in a data directory tells of it.
	Testable bool `json:"testable"`
}

// NewBugs makes a document of some bugs.
func NewBugs(all []*bugs.Bug) *BugsDocument {
	d := &BugsDocument{SchemaVersion: "1", Bugs: []Bug{}}
	for _, b := range all {
		refs := b.Refs
		if refs == nil {
			refs = []string{}
		}
		d.Bugs = append(d.Bugs, Bug{
			ID: b.ID, Name: b.Name, Title: b.Title, Source: string(b.Source), Severity: string(b.Severity), Visible: string(b.Visible),
			Affected: b.Affected, Fixed: b.Fixed, Seen: b.Seen, Against: b.Against, Proof: b.Proof, Remedy: b.Remedy, Refs: refs, Testable: b.Testable(),
		})
	}
	return d
}

// Bugs writes a list of bugs.
func Bugs(w io.Writer, d *BugsDocument, format Format) error {
	return encode(w, format, d, func() *page { return bugsPage(d) }, func() [][]string { return bugLines(d) })
}

// BugDetails writes all there is to say about each bug.
func BugDetails(w io.Writer, d *BugsDocument, format Format) error {
	return encode(w, format, d, func() *page { return bugPage(d) }, func() [][]string { return bugLines(d) })
}

func bugsPage(d *BugsDocument) *page {
	t := table{header: []string{"id", "title", "severity", "affected", "shows in files"}}
	for _, b := range d.Bugs {
		t.rows = append(t.rows, []string{b.ID, b.Title, b.Severity, short(b.Affected), b.Visible})
	}
	t.notes = []string{"shows in files: strong, its traces single it out; weak, others leave the same; none, only logs and clients tell"}
	p := &page{tables: []table{t}}
	p.hint("etcd-autopsy bugs show ID tells what is seen, what speaks against it, and what to do")
	return p
}

// short keeps a cell narrow.
func short(s string) string {
	const width = 40
	if r := []rune(s); len(r) > width {
		return string(r[:width-2]) + ".."
	}
	return s
}

func bugPage(d *BugsDocument) *page {
	p := &page{}
	for _, b := range d.Bugs {
		s := &page{title: b.ID + ": " + b.Title}
		for _, l := range []line{
			{"severity", b.Severity},
			{"source", b.Source},
			{"affected", b.Affected},
			{"fixed", b.Fixed},
			{"seen", b.Seen},
			{"against", b.Against},
			{"proof", b.Proof},
			{"remedy", b.Remedy},
			{"see", strings.Join(b.Refs, ", ")},
		} {
			if l.text != "" {
				s.lines = append(s.lines, l)
			}
		}
		if !b.Testable {
			s.line("files", "nothing in a data directory tells of it")
		}
		p.sections = append(p.sections, s)
	}
	return p
}

func bugLines(d *BugsDocument) [][]string {
	var ls [][]string
	for _, b := range d.Bugs {
		ls = append(ls, []string{b.ID, b.Severity, b.Visible, b.Title})
	}
	return ls
}
