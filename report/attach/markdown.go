package attach

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"etcd-autopsy/diff"
	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

// MaxMarkdown is how many bytes report.md has at most. GitHub takes 65,536 characters of an issue, and counts more than
// one for some of them; no character has more UTF-16 units than bytes.
const MaxMarkdown = 60_000

const (
	maxNodes = 50  // of a mermaid diagram
	maxCell  = 300 // bytes of a text in a list or a table cell
)

// Markdown writes report.md. Whatever the number of differences, it is at most MaxMarkdown bytes long: lists are cut.
func Markdown(w io.Writer, r *Report) error {
	for rows := 100; ; rows /= 2 {
		m := markdown(r, rows)
		if m.Len() <= MaxMarkdown || rows == 0 {
			// The last resort, for a report of hundreds of members.
			m.Clip(MaxMarkdown, "(cut here: the rest is in report.json)")
			_, err := m.WriteTo(w)
			return err
		}
	}
}

// writer collects Markdown.
type writer struct {
	escape.Markdown
	rows int // how many of a list are shown
}

// bullets writes a list, cut to so many items.
func bullets[T any](w *writer, all []T, limit int, item func(T) string) {
	for i, x := range all {
		if i == limit {
			w.Printf("- %d more, see report.json\n", len(all)-i)
			return
		}
		w.Printf("- %s\n", short(item(x)))
	}
}

// short cuts a text that one line has no room for.
func short(s string) string {
	if len(s) <= maxCell {
		return s
	}
	n := maxCell
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func markdown(r *Report, rows int) *writer {
	w := &writer{rows: rows}
	if r.ShowsValues {
		w.Printf("> **Private: this report holds values. Do not attach it to a public issue.**\n\n")
	}
	report.AnswerMarkdown(&w.Markdown, brief(r.Diff, rows), JSONName)
	if len(r.Witness) > 0 {
		w.Printf("\n### Witness\n\nWhy the parting is real:\n\n")
		for i, s := range r.Witness {
			if i == rows {
				break
			}
			w.Printf("%d. %s\n", i+1, short(s))
		}
	}
	if keys(r.Resources) < keys(r.Prefixes) {
		w.groups("What differs, by prefix", "prefix", r.Prefixes)
	}
	w.groups("What differs, by Kubernetes resource", "resource", r.Resources)
	w.timeline(r.Timeline)
	if n := findings(r); n > 0 {
		w.Details(fmt.Sprintf("What check says about the files (%d)", n), func() {
			for _, m := range r.Checkup.Members {
				bullets(w, m.Findings, rows, func(f report.FindingRecord) string { return m.Label + ": " + f.Severity + ": " + f.String() })
			}
		})
	}
	w.Details("How to check this by hand", func() {
		for i, v := range r.Verify {
			if i > rows {
				break
			}
			w.Printf("%s:\n\n", short(v.Claim))
			lines := report.Fit(v.Commands[:min(len(v.Commands), rows)])
			if n := len(v.Commands) - rows; n > 0 {
				lines = append(lines, fmt.Sprintf("# and %d more", n))
			}
			w.Fence("sh", lines...)
			w.Printf("\n")
		}
	})
	w.Details(fmt.Sprintf("Files that were read (%d)", len(r.Files)), func() {
		var lines []string
		for i, f := range r.Files {
			if i == rows {
				lines = append(lines, fmt.Sprintf("# and %d more, see manifest.txt", len(r.Files)-i))
				break
			}
			lines = append(lines, f.SHA256+"  "+short(f.Path))
		}
		w.Fence("", lines...)
	})
	if r.Redacted {
		w.Printf("\nKeys and names were replaced by tokens; equal parts have equal tokens.\n")
	}
	w.Printf("\nMade by %s %s (etcd's code: %s): ", r.Tool.Name, r.Tool.Version, r.Tool.Etcd)
	w.Code(short(r.Tool.Command))
	w.Printf("\n")
	return w
}

func keys(gs []Group) (n int) {
	for _, g := range gs {
		n += g.Keys
	}
	return n
}

func findings(r *Report) (n int) {
	for _, m := range r.Checkup.Members {
		n += len(m.Findings)
	}
	return n
}

// brief is a comparison without what only long lists hold.
func brief(d *diff.Document, rows int) *diff.Document {
	x := *d
	x.Reasons, x.Notes = d.Reasons[:min(len(d.Reasons), rows)], d.Notes[:min(len(d.Notes), rows)]
	return &x
}

func (w *writer) groups(title, name string, gs []Group) {
	if len(gs) == 0 {
		return
	}
	w.Printf("\n### %s\n\n", title)
	w.Head(name, "keys", "on some members only", "value", "lease", "for example")
	for i, g := range gs {
		if i == min(w.rows, 25) {
			w.Printf("\n%d more, see report.json\n", len(gs)-i)
			break
		}
		w.Row(short(g.Name.String()), strconv.Itoa(g.Keys), strconv.Itoa(g.Missing), strconv.Itoa(g.Value), strconv.Itoa(g.Lease), short(g.Example.String()))
	}
}

// timeline draws events as a diagram that GitHub renders.
func (w *writer) timeline(es []Event) {
	if len(es) == 0 {
		return
	}
	w.Printf("\n### Timeline\n\n")
	limit := min(len(es), maxNodes-1, max(w.rows, 8))
	var nodes []string
	for i := range limit {
		e := &es[i]
		text := e.What
		if len(e.Members) > 0 {
			text = strings.Join(e.Members, ", ") + ": " + text
		}
		if e.Index > 0 {
			text = fmt.Sprintf("entry %d: %s", e.Index, text)
		}
		nodes = append(nodes, short(text))
	}
	if n := len(es) - limit; n > 0 {
		nodes = append(nodes, fmt.Sprintf("%d more, see report.json", n))
	}
	w.Diagram(nodes, func(i int) bool { return i < limit && es[i].Kind == "cause" })
}
