package report

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/values"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/report/escape"
)

const (
	cellShown   = 34 // columns of a field's value in a table
	binaryShown = 64 // bytes of a value that is not text
	textShown   = 4000
)

// Get writes what a key holds on each member.
func Get(w io.Writer, d *values.Document, format Format, hints ...string) error {
	if format != Table && format != Markdown {
		return encode(w, format, d, nil, func() [][]string { return getLines(d) })
	}
	end := &page{hints: hints}
	if d.Hidden {
		end.hint("--show-values shows what Secrets hold")
	}
	if d.Verdict == diff.Diverged {
		end.hint("etcd-autopsy diff MEMBER... says where the members parted, or that this is mere lag")
	}
	if format == Markdown {
		var m escape.Markdown
		getPage(d).markdown(&m)
		for _, v := range shownValues(d) {
			v.markdown(&m)
		}
		end.markdown(&m)
		_, err := m.WriteTo(w)
		return err
	}
	l := escape.NewLines(w)
	if err := getPage(d).text(l); err != nil {
		return err
	}
	for _, v := range shownValues(d) {
		v.write(l)
	}
	if err := end.text(l); err != nil {
		return err
	}
	return l.Flush()
}

func getPage(d *values.Document) *page {
	p := &page{}
	key := keyText(d.Key, d.KeyBase64)
	switch d.Verdict {
	case diff.Diverged:
		p.verdict, p.title = "DIFFERS", key
	case diff.Consistent:
		p.verdict, p.title = "SAME", key
		if len(d.Members) == 1 {
			p.verdict = "FOUND"
			if d.Members[0].State == values.Absent {
				p.verdict = "ABSENT"
			}
		}
	default:
		p.verdict, p.title = "UNKNOWN", key
	}
	if d.Revision > 0 {
		p.line("as of", "revision %d", d.Revision)
	}
	for _, m := range d.Members {
		if m.Why != "" {
			p.line(m.Label, "%s", m.Why)
		}
	}
	if d.Lag && d.Verdict == diff.Diverged {
		p.line("lag", "the members are not at the same entry: what differs may be lag")
	}
	if mods := present(d, func(m *values.Member) string { return fmt.Sprint(m.Mod, m.Create, m.Version) }); len(mods) > 1 && d.Verdict != diff.Diverged {
		p.line("revisions", "the value is the same, but was not written at the same revisions")
	}
	if d.Unseen() {
		p.line("bytes", "the values differ in bytes, but in no field that is known here")
	}
	t := table{header: []string{"member", "entry", "state", "modified", "created", "version", "lease", "bytes", "sha256"}}
	for i := range d.Members {
		m := &d.Members[i]
		row := []string{m.Label, strconv.FormatUint(m.ConsistentIndex, 10), stateText(m), "-", "-", "-", "-", "-", "-"}
		if m.ConsistentIndex == 0 && m.State == values.Unknown {
			row[1] = "?"
		}
		if m.State == values.Present {
			lease := "-"
			if m.Lease != 0 {
				lease = m.Lease.String()
			}
			row = append(row[:3], number(m.Mod), number(m.Create), number(m.Version), lease, strconv.Itoa(m.Size), m.SHA256[:12])
		}
		t.rows = append(t.rows, row)
	}
	p.tables = append(p.tables, t)
	if len(d.Fields) > 0 {
		p.tables = append(p.tables, fieldsTable(d))
	}
	return p
}

// present lists what is told of members that have the key, each once.
func present(d *values.Document, get func(m *values.Member) string) []string {
	var all []string
	for i := range d.Members {
		if m := &d.Members[i]; m.State == values.Present && !slices.Contains(all, get(m)) {
			all = append(all, get(m))
		}
	}
	return all
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func keyText(key, b64 string) string {
	if b64 == "" {
		return key
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return b64
	}
	return diff.Key(b).String()
}

func stateText(m *values.Member) string {
	switch {
	case m.State == values.Absent && m.Mod > 0:
		return fmt.Sprintf("deleted at %d", m.Mod)
	case m.State == values.Ahead:
		return "not reached"
	}
	return string(m.State)
}

// fieldsTable has a column for each group of members that hold the same object.
func fieldsTable(d *values.Document) table {
	t := table{title: "Fields that differ", header: []string{"field"}}
	var groups [][]string
	for _, g := range d.Groups {
		if m := memberOf(d, g[0]); m != nil && m.Object != nil {
			groups = append(groups, g)
			t.header = append(t.header, list(g))
		}
	}
	for _, f := range d.Fields {
		row := []string{middle(f.Path, 60)}
		var hidden []kube.Hidden
		for _, g := range groups {
			v, ok := f.ByMember[g[0]]
			if !ok {
				row = append(row, "-")
				continue
			}
			cell := fieldText(v)
			if h, ok := v.(kube.Hidden); ok {
				if !slices.Contains(hidden, h) {
					hidden = append(hidden, h)
				}
				cell += " " + string(rune('A'+min(slices.Index(hidden, h), 25)))
			}
			row = append(row, cell)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// fieldText is a value in one line.
func fieldText(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" || !kube.Printable(v) || strings.ContainsAny(v, "\n\t") {
			return middle(strconv.Quote(v), cellShown)
		}
		return middle(v, cellShown)
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		s := string(b)
		if !kube.Printable(s) {
			s = strconv.Quote(s)
		}
		return middle(s, cellShown)
	}
	return fmt.Sprint(v)
}

// shownValue is a value that members share, in lines.
type shownValue struct {
	title, text string
	yaml        bool
}

func shownValues(d *values.Document) []shownValue {
	var out []shownValue
	seen := map[string]int{}
	var labels [][]string
	for i := range d.Members {
		m := &d.Members[i]
		if m.State != values.Present {
			continue
		}
		if n, ok := seen[m.SHA256]; ok {
			labels[n] = append(labels[n], m.Label)
			continue
		}
		seen[m.SHA256] = len(out)
		out = append(out, valueOf(m))
		labels = append(labels, []string{m.Label})
	}
	for i := range out {
		out[i].title = fmt.Sprintf("Value on %s: %s", list(labels[i]), out[i].title)
	}
	return out
}

func valueOf(m *values.Member) shownValue {
	what := []string{string(m.Encoding)}
	if m.APIVersion+m.Kind != "" {
		what = append([]string{strings.TrimSpace(m.APIVersion + " " + m.Kind)}, what...)
	}
	if m.Encoding != kube.Empty {
		what = append(what, count(m.Size, "byte"))
	}
	v := shownValue{}
	switch {
	case m.Object != nil:
		v.yaml, v.text = true, yamlText(m.Object)
	case m.Note != "":
		what = append(what, m.Note)
	case m.Text != nil:
		if v.text = *m.Text; len(v.text) > textShown {
			v.text = cutText(v.text, textShown)
			what = append(what, fmt.Sprintf("the first %d here, all in -w json", textShown))
		}
	case m.Base64 != nil:
		b, _ := base64.StdEncoding.DecodeString(*m.Base64) // made by the document
		v.text = fmt.Sprintf("0x%x", b[:min(len(b), binaryShown)])
		if len(b) > binaryShown {
			what = append(what, fmt.Sprintf("the first %d here, all in -w json", binaryShown))
		}
	case m.Encoding != kube.Empty:
		what = append(what, "hidden")
	}
	v.title = strings.Join(what, ", ")
	return v
}

// yamlText is an object without what is of use to the apiserver alone.
func yamlText(object map[string]any) string {
	shown := maps.Clone(object)
	note := ""
	if meta, ok := shown["metadata"].(map[string]any); ok && meta["managedFields"] != nil {
		meta = maps.Clone(meta)
		delete(meta, "managedFields")
		shown["metadata"], note = meta, "# metadata.managedFields: see -w json\n"
	}
	b, err := json.Marshal(shortened(shown))
	if err == nil {
		b, err = yaml.JSONToYAML(b)
	}
	if err != nil {
		return "# cannot be written as YAML: see -w json\n"
	}
	return cutLines(string(b)) + note
}

func (v *shownValue) markdown(m *escape.Markdown) {
	m.Printf("\n### %s\n", v.title)
	text := strings.TrimSuffix(v.text, "\n")
	if text == "" {
		return
	}
	m.Printf("\n")
	if lines := strings.Split(text, "\n"); v.yaml {
		m.Fence("yaml", lines...)
	} else {
		m.Fence("", lines...)
	}
}

func (v *shownValue) write(l *escape.Lines) {
	l.Line()
	l.Line(v.title)
	text := strings.TrimSuffix(v.text, "\n")
	if text == "" {
		return
	}
	for s := range strings.SplitSeq(text, "\n") {
		l.Line(strings.TrimRight("  "+s, " "))
	}
}

// getLines are one line for each member: label, state, consistent index, modified, created, version, lease, size, sha256,
// encoding, apiVersion, kind.
func getLines(d *values.Document) [][]string {
	var ls [][]string
	for i := range d.Members {
		m := &d.Members[i]
		ls = append(ls, []string{
			m.Label, string(m.State), strconv.FormatUint(m.ConsistentIndex, 10), number(m.Mod), number(m.Create), number(m.Version),
			m.Lease.String(), strconv.Itoa(m.Size), m.SHA256, string(m.Encoding), m.APIVersion, m.Kind,
		})
	}
	return ls
}

func memberOf(d *values.Document, label string) *values.Member {
	for i := range d.Members {
		if d.Members[i].Label == label {
			return &d.Members[i]
		}
	}
	return nil
}
