package attach

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

// MaxMarkdown is how many bytes report.md has at most. GitHub takes 65,536 characters of an issue, and counts more than
// one for some of them; no character has more UTF-16 units than bytes.
const MaxMarkdown = 60_000

const (
	maxCell = 300 // bytes of a text in a list or a table cell
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

// markdown is in the order of the form for a bug report of etcd: each of its boxes can be pasted alone. What is long is folded away.
func markdown(r *Report, rows int) *writer {
	w := &writer{rows: rows}
	d := brief(r.Diff, rows)
	if r.ShowsValues {
		w.Printf("> **Private: this report holds values. Do not attach it to a public issue.**\n\n")
	}
	verdict, sentence := report.Answer(d)
	w.Printf("### What happened?\n\n**%s** %s\n\n", verdict, short(sentence))
	w.facts(report.Story(d))
	w.grid(report.WhoGrid(d), min(rows, 25))
	w.grid(report.StoryGrid(d), 25)
	w.proof(r.Witness)

	w.Printf("\n### What did you expect to happen?\n\n")
	w.expected(d)
	w.Printf("\n### How can we reproduce it (as minimally and precisely as possible)?\n\n<!-- to be filled in: what was running, what was changed or upgraded, and when -->\n")

	w.Printf("\n### Anything else we need to know?\n\n")
	w.facts(report.Facts(d))
	w.facts(report.Rest(d))
	w.facts(report.Recommended(d))
	if keys(r.Resources) < keys(r.Prefixes) {
		w.groups("Differing keys by prefix", "prefix", r.Prefixes)
	}
	w.groups("Differing keys by Kubernetes resource", "resource", r.Resources)

	w.Printf("\n### Etcd version\n\n")
	w.versions(d, r.Story)
	w.Printf("\n### Etcd configuration (command line flags or environment variables)\n\n<!-- to be filled in: data directories do not hold it -->\n")
	w.Printf("\n### Etcd debug information\n\nFrom the data directories, not from running servers.\n")
	w.members(r)
	w.status(r)
	w.folded(r, d)
	w.Printf("\n### Relevant log output\n\n")
	w.story(r.Story)
	w.Printf("<!-- to be filled in: the lines of the servers' logs around the times above -->\n\n")
	if r.Redacted {
		w.Printf("Keys and names were replaced by tokens; equal parts have equal tokens.\n")
	} else {
		w.Printf("<!-- shows names of %d keys at most, of %d members and their urls; --redact-keys replaces them by tokens -->\n", min(d.Keys.Len(), keysListed), len(d.Members))
	}
	w.Printf("\nMade by %s %s (etcd's code: %s): ", r.Tool.Name, r.Tool.Version, r.Tool.Etcd)
	w.Code(short(r.Tool.Command))
	w.Printf("\n")
	return w
}

// keysListed is how many keys report.md names in lists, more or less.
const keysListed = 60

// facts writes lines with names.
func (w *writer) facts(lines []report.Line) {
	for i, l := range lines {
		text := short(report.Elsewhere(l.Text, JSONName))
		switch {
		case i > 0 && l.Name == "":
			w.Printf("  - %s\n", strings.TrimPrefix(text, "- "))
		default:
			w.Printf("- **%s** %s\n", l.Name, text)
		}
	}
}

// grid writes a table, cut to so many rows.
func (w *writer) grid(g report.Grid, limit int) {
	if len(g.Rows) == 0 {
		return
	}
	if g.Title != "" {
		w.Printf("\n**%s**\n", g.Title)
	}
	w.Printf("\n")
	w.Head(g.Header[:min(len(g.Header), maxColumns)]...)
	for i, r := range g.Rows {
		if i == limit {
			w.Printf("\n%d more, see report.json\n", len(g.Rows)-i)
			break
		}
		cells := make([]string, min(len(r), maxColumns))
		for k := range cells {
			cells[k] = short(r[k])
		}
		w.Row(cells...)
	}
	for _, n := range g.Notes {
		w.Printf("\n%s\n", report.Elsewhere(n, JSONName))
	}
}

// maxColumns is how many columns of a table are shown: more members than that are in report.json.
const maxColumns = 16

// proof argues for the first divergence.
func (w *writer) proof(steps []string) {
	if len(steps) == 0 {
		return
	}
	w.Printf("\n**Why this is real**\n\n")
	for i, s := range steps {
		if i == w.rows {
			break
		}
		w.Printf("%d. %s\n", i+1, short(s))
	}
}

// expected says what members hold that did what their logs ask for.
func (w *writer) expected(d *diff.Document) {
	switch {
	case d.Verdict == diff.Diverged && d.Common.Index > 0:
		w.Printf("The same keys, revisions and hashKV on all members at entry %d, the last one that all of them have come to.\n", d.Common.Index)
	case d.Verdict == diff.Diverged:
		w.Printf("The same keys, revisions and hashKV on all members.\n")
	default:
		w.Printf("<!-- to be filled in -->\n")
	}
}

// versions says what the files tell of versions.
func (w *writer) versions(d *diff.Document, told *story.Document) {
	if told == nil {
		w.Printf("A data directory does not hold the version of the server that wrote it. <!-- to be filled in: etcd --version -->\n\n")
	} else {
		w.Printf("By the logs of the servers:\n\n")
		for i, l := range report.RunLines(told) {
			if i < w.rows {
				w.Printf("- %s: %s\n", l.Name, short(l.Text))
			}
		}
		w.Printf("\nBy the data directories:\n\n")
	}
	var cluster []string
	for i := range d.Members {
		if v := d.Members[i].ClusterVersion; v != "" && !slices.Contains(cluster, v) {
			cluster = append(cluster, v)
		}
	}
	if len(cluster) > 0 {
		w.Printf("- cluster version %s\n", strings.Join(cluster, ", "))
	}
	for i := range d.Members {
		if m := &d.Members[i]; m.BehavesAs != "" && i < w.rows {
			w.Printf("- %s judges entries by the rules of %s\n", m.Label, m.BehavesAs)
		}
	}
}

// story is what servers' logs tell, together with the raft log: what matters most, and all of it folded away.
func (w *writer) story(d *story.Document) {
	if d == nil {
		return
	}
	brief := report.TaleGrid(d, min(w.rows, 20))
	w.Printf("What the servers' logs tell, with the raft log; UTC.\n")
	w.grid(brief, w.rows)
	if n := len(d.Events); n > len(brief.Rows) {
		w.Details(fmt.Sprintf("All of it (%d events)", n), func() { w.grid(report.TaleGrid(d, n), w.rows) })
	}
	w.Printf("\n")
}

// members is the list of members as the first one that tells has it.
func (w *writer) members(r *Report) {
	for i := range r.Inspection.Members {
		list := r.Inspection.Members[i].MembersBucket.Members
		if len(list) == 0 {
			continue
		}
		g := report.Grid{Title: "Member list, as " + r.Inspection.Members[i].Label + " has it", Header: []string{"ID", "name", "peer URLs", "client URLs", "learner"}}
		for k := range list {
			m := &list[k]
			g.Rows = append(g.Rows, []string{m.ID.String(), m.Called(), strings.Join(m.PeerURLs, " "), strings.Join(m.ClientURLs, " "), strconv.FormatBool(m.Learner)})
		}
		w.grid(g, min(w.rows, 15))
		return
	}
}

// status is what a table of endpoints would say.
func (w *writer) status(r *Report) {
	g := report.Grid{Title: "Endpoint status", Header: []string{"member", "ID", "db size", "in use", "term", "applied entry", "log commit", "revision", "compacted", "keys", "hashKV"}}
	for i := range r.Inspection.Members {
		m := &r.Inspection.Members[i]
		id := "?"
		if m.MemberID != nil {
			id = m.MemberID.String()
		}
		size, used := "?", "?"
		if m.DB != nil {
			size, used = strconv.FormatInt(m.DB.Size, 10), strconv.FormatInt(m.DB.Size-int64(m.DB.Pages.Free)*int64(m.DB.PageSize), 10)
		}
		row := []string{m.Label, id, size, used}
		if m.Readable {
			row = append(row, strconv.FormatUint(m.Term, 10), strconv.FormatUint(m.ConsistentIndex, 10), strconv.FormatUint(m.Log.Commit, 10), strconv.FormatInt(m.Revision, 10),
				strconv.FormatInt(m.CompactRevision, 10), strconv.Itoa(m.Keys), strconv.FormatUint(uint64(m.HashKV), 10))
		} else {
			row = append(row, "?", "?", "?", "?", "?", "?", "?")
		}
		g.Rows = append(g.Rows, row)
	}
	w.grid(g, min(w.rows, 15))
}

// folded are the long tables, each of which opens at a click.
func (w *writer) folded(r *Report, d *diff.Document) {
	if d.Plan != nil && len(d.Plan.Copies) > 1 {
		w.Details("What restoring from each copy would mean", func() { w.grid(report.CopiesGrid(d.Plan), w.rows) })
	}
	if d.Plan != nil && len(d.Plan.Commands) > 0 {
		w.Details("Commands, to be read and adapted: nothing of this was run", func() {
			lines := report.Fit(d.Plan.Commands[:min(len(d.Plan.Commands), w.rows)])
			w.Fence("sh", lines...)
		})
	}
	if n := d.Keys.Len(); n > 0 {
		w.Details(fmt.Sprintf("Keys that differ (%d)", n), func() { w.grid(untitled(report.KeysGrid(d)), w.rows) })
	}
	if n := len(d.Leases); n > 0 {
		w.Details(fmt.Sprintf("Leases that differ (%d)", n), func() { w.grid(untitled(report.LeasesGrid(d)), w.rows) })
	}
	if n := len(d.Timeline); n > 0 && r.Story == nil {
		w.Details(fmt.Sprintf("Timeline (%d events)", n), func() {
			bullets(w, d.Timeline, w.rows, eventText)
		})
	}
	if n := findings(r); n > 0 {
		w.Details(fmt.Sprintf("What check says about the files (%d)", n), func() {
			for _, m := range r.Checkup.Members {
				bullets(w, m.Findings, w.rows, func(f report.FindingRecord) string { return m.Label + ": " + f.Severity + ": " + f.String() })
			}
		})
	}
	w.Details("How to check this by hand", func() {
		for i, v := range r.Verify {
			if i > w.rows {
				break
			}
			w.Printf("%s:\n\n", short(v.Claim))
			lines := report.Fit(v.Commands[:min(len(v.Commands), w.rows)])
			if n := len(v.Commands) - w.rows; n > 0 {
				lines = append(lines, fmt.Sprintf("# and %d more", n))
			}
			w.Fence("sh", lines...)
			w.Printf("\n")
		}
	})
	w.Details(fmt.Sprintf("Files that were read (%d)", len(r.Files)), func() {
		var lines []string
		for i, f := range r.Files {
			if i == w.rows {
				lines = append(lines, fmt.Sprintf("# and %d more, see manifest.txt", len(r.Files)-i))
				break
			}
			lines = append(lines, f.SHA256+"  "+short(f.Path))
		}
		w.Fence("", lines...)
	})
}

func untitled(g report.Grid) report.Grid {
	g.Title = ""
	return g
}

// eventText is an event in one line.
func eventText(e diff.Event) string {
	text := fmt.Sprintf("entry %d: %s", e.Entry, e.What)
	if e.Time != nil {
		text = e.Time.Format("2006-01-02 15:04:05.000") + " UTC, " + text
	}
	return text
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
	w.Printf("\n**%s**\n\n", title)
	w.Head(name, "keys", "on some members only", "value", "lease", "for example")
	for i, g := range gs {
		if i == min(w.rows, 12) {
			w.Printf("\n%d more, see report.json\n", len(gs)-i)
			break
		}
		w.Row(short(g.Name.String()), strconv.Itoa(g.Keys), strconv.Itoa(g.Missing), strconv.Itoa(g.Value), strconv.Itoa(g.Lease), short(g.Example.String()))
	}
}
