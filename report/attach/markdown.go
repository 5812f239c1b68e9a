package attach

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"etcd-autopsy/diff"
	"etcd-autopsy/report"
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
		b := markdown(r, rows)
		if b.Len() <= MaxMarkdown || rows == 0 {
			_, err := w.Write(clip(b.Bytes(), MaxMarkdown))
			return err
		}
	}
}

// clip is the last resort, for a report of hundreds of members: it ends at a line, and says so.
func clip(b []byte, size int) []byte {
	const more = "\n\n(cut here: the rest is in report.json)\n"
	if len(b) <= size {
		return b
	}
	b = b[:size-len(more)]
	if i := bytes.LastIndexByte(b, '\n'); i > 0 {
		b = b[:i]
	}
	if bytes.Count(b, []byte("```"))%2 == 1 {
		b = append(slices.Clip(b), "\n```"...)
		b = b[:min(len(b), size-len(more))]
	}
	return append(slices.Clip(b), more...)
}

// writer collects Markdown.
type writer struct {
	bytes.Buffer
	rows int // how many of a list are shown
}

func (w *writer) printf(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// bullets writes a list, cut to so many items.
func bullets[T any](w *writer, all []T, limit int, item func(T) string) {
	for i, x := range all {
		if i == limit {
			w.printf("- %d more, see report.json\n", len(all)-i)
			return
		}
		w.printf("- %s\n", report.Escape(short(item(x))))
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

// details folds a part away.
func (w *writer) details(title string, body func()) {
	w.printf("\n<details><summary>%s</summary>\n\n", title)
	body()
	w.printf("\n</details>\n")
}

func markdown(r *Report, rows int) *writer {
	w := &writer{rows: rows}
	if r.ShowsValues {
		w.printf("> **Private: this report holds values. Do not attach it to a public issue.**\n\n")
	}
	w.WriteString(report.AnswerMarkdown(brief(r.Diff, rows), JSONName))
	if len(r.Witness) > 0 {
		w.printf("\n### Witness\n\nWhy the parting is real:\n\n")
		for i, s := range r.Witness {
			if i == rows {
				break
			}
			w.printf("%d. %s\n", i+1, report.Escape(short(s)))
		}
	}
	if keys(r.Resources) < keys(r.Prefixes) {
		w.groups("What differs, by prefix", "prefix", r.Prefixes)
	}
	w.groups("What differs, by Kubernetes resource", "resource", r.Resources)
	w.timeline(r.Timeline)
	if n := findings(r); n > 0 {
		w.details(fmt.Sprintf("What check says about the files (%d)", n), func() {
			for _, m := range r.Checkup.Members {
				bullets(w, m.Findings, rows, func(f report.FindingRecord) string { return m.Label + ": " + f.Severity + ": " + f.String() })
			}
		})
	}
	w.details("How to check this by hand", func() {
		for i, v := range r.Verify {
			if i > rows {
				break
			}
			w.printf("%s:\n\n```sh\n", report.Escape(short(v.Claim)))
			for k, c := range v.Commands {
				if k == rows {
					w.printf("# and %d more\n", len(v.Commands)-k)
					break
				}
				w.printf("%s\n", short(c))
			}
			w.printf("```\n\n")
		}
	})
	w.details(fmt.Sprintf("Files that were read (%d)", len(r.Files)), func() {
		w.printf("```\n")
		for i, f := range r.Files {
			if i == rows {
				w.printf("# and %d more, see manifest.txt\n", len(r.Files)-i)
				break
			}
			w.printf("%s  %s\n", f.SHA256, short(f.Path))
		}
		w.printf("```\n")
	})
	if r.Redacted {
		w.printf("\nKeys and names were replaced by tokens; equal parts have equal tokens.\n")
	}
	w.printf("\nMade by %s %s (etcd's code: %s): `%s`\n", r.Tool.Name, r.Tool.Version, r.Tool.Etcd, strings.ReplaceAll(short(r.Tool.Command), "`", "'"))
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
	w.printf("\n### %s\n\n| %s | keys | on some members only | value | lease | for example |\n| --- | --- | --- | --- | --- | --- |\n", title, name)
	for i, g := range gs {
		if i == min(w.rows, 25) {
			w.printf("\n%d more, see report.json\n", len(gs)-i)
			break
		}
		w.printf("| %s | %d | %d | %d | %d | %s |\n", report.Escape(short(g.Name.String())), g.Keys, g.Missing, g.Value, g.Lease, report.Escape(short(g.Example.String())))
	}
}

// timeline draws events as a diagram that GitHub renders.
func (w *writer) timeline(es []Event) {
	if len(es) == 0 {
		return
	}
	w.printf("\n### Timeline\n\n```mermaid\nflowchart TD\n")
	limit := min(len(es), maxNodes-1, max(w.rows, 8))
	for i := range limit {
		e := &es[i]
		text := e.What
		if len(e.Members) > 0 {
			text = strings.Join(e.Members, ", ") + ": " + text
		}
		if e.Index > 0 {
			text = fmt.Sprintf("entry %d: %s", e.Index, text)
		}
		w.printf("  n%d[\"%s\"]\n", i, mermaid(text))
		if i > 0 {
			w.printf("  n%d --> n%d\n", i-1, i)
		}
		if e.Kind == "cause" {
			w.printf("  style n%d fill:#c0392b,color:#ffffff\n", i)
		}
	}
	if n := len(es) - limit; n > 0 {
		w.printf("  n%d[\"%d more, see report.json\"]\n  n%d --> n%d\n", limit, n, limit-1, limit)
	}
	w.printf("```\n")
}

// mermaid makes a text safe between quotes of a diagram.
func mermaid(s string) string {
	return strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;", "\n", " ", "`", "'", ";", ",").Replace(short(s))
}
