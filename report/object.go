package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/values"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/report/escape"
)

// YAML is the format of an object alone.
const YAML Format = "yaml"

// ErrSeveralObjects says that members hold different objects, of which JSON can only be one.
var ErrSeveralObjects = errors.New("the members hold different objects")

// Object writes the Kubernetes object that a key holds as it could be applied: in YAML one document for each that members hold, with
// their labels above it.
func Object(w io.Writer, d *values.Document, format Format) error {
	groups, objects := objectsOf(d)
	switch {
	case len(objects) == 0:
		return fmt.Errorf("no member has a Kubernetes object there that can be decoded: %s", keyText(d.Key, d.KeyBase64))
	case format == JSON && len(objects) > 1:
		return ErrSeveralObjects
	case format == JSON:
		return escape.JSON(w, objects[0], "", "  ")
	}
	l := escape.NewLines(w)
	for i, o := range objects {
		if i > 0 {
			l.Line("---")
		}
		l.Line("# ", keyText(d.Key, d.KeyBase64), " on ", list(groups[i]))
		if d.Hidden {
			l.Line("# what the Secret holds is hidden, so that this cannot be applied: --show-values shows it")
		}
		if err := document(l, o); err != nil {
			return err
		}
	}
	return l.Flush()
}

// document writes an object as YAML.
func document(l *escape.Lines, o map[string]any) error {
	b, err := json.Marshal(o)
	if err == nil {
		b, err = yaml.JSONToYAML(b)
	}
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if slices.ContainsFunc(lines, func(s string) bool { return !escape.Safe(s) }) {
		// What cannot be written as it is would be another text. JSON, which is YAML, too, has escapes for it everywhere.
		l.JSON(o)
		return nil
	}
	for _, s := range lines {
		l.Line(s)
	}
	return nil
}

// Objects writes the objects of a namespace as they could be applied: in YAML a document for each, with its key above it, in JSON a List.
func Objects(w io.Writer, n *values.Namespace, format Format) error {
	if format == JSON {
		items := []any{}
		for _, o := range n.Objects {
			items = append(items, kube.Applicable(o.Object))
		}
		return escape.JSON(w, map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, "", "  ")
	}
	l := escape.NewLines(w)
	for i, o := range n.Objects {
		if i > 0 {
			l.Line("---")
		}
		l.Line("# ", diff.Key(o.Key).String())
		if err := document(l, kube.Applicable(o.Object)); err != nil {
			return err
		}
	}
	return l.Flush()
}

// objectsOf are the objects that members hold, each once, with the labels of these.
func objectsOf(d *values.Document) (groups [][]string, objects []map[string]any) {
	var sums []string
	for i := range d.Members {
		m := &d.Members[i]
		if m.Object == nil {
			continue
		}
		if k := slices.Index(sums, m.SHA256); k >= 0 {
			groups[k] = append(groups[k], m.Label)
			continue
		}
		sums, groups, objects = append(sums, m.SHA256), append(groups, []string{m.Label}), append(objects, kube.Applicable(m.Object))
	}
	return groups, objects
}

const (
	scalarShown = 1000 // bytes of a text in an object for people
	linesShown  = 400  // of a value
)

// shortened is a value with long texts cut. What is not cut is shared.
func shortened(v any) any {
	switch v := v.(type) {
	case string:
		return cutText(v, scalarShown)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = shortened(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = shortened(x)
		}
		return out
	}
	return v
}

// cutText is the begin of a text that is longer than a number of bytes.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + fmt.Sprintf("... (%s)", count(len(s), "byte"))
}

// cutLines leaves out the lines of a value that are too many for people.
func cutLines(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if n := len(lines) - linesShown; n > 1 {
		return strings.Join(lines[:linesShown], "\n") + fmt.Sprintf("\n# %d more lines: -w yaml or -w json\n", n)
	}
	return text
}
