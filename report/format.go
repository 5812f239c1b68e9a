// Package report renders documents: as tables for people, and as JSON, fields and lines for programs. It never reads a
// file, and the same document always gives the same bytes.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/report/escape"
)

// Format is how a document is written.
type Format string

const (
	// Simple is one comma-separated line for each fact, as etcdctl writes it.
	Simple Format = "simple"
	// Table is for people.
	Table Format = "table"
	// JSON is for programs, and holds everything.
	JSON Format = "json"
	// Fields is the JSON document as lines of "name" : value, as etcdctl writes it.
	Fields Format = "fields"
	// Markdown is Table for an issue or a chat.
	Markdown Format = "markdown"
)

// Formats lists the names of all formats.
func Formats() []string {
	return []string{string(Simple), string(Table), string(JSON), string(Fields), string(Markdown)}
}

// ParseFormat returns the format of that name.
func ParseFormat(name string) (Format, error) {
	if !slices.Contains(Formats(), name) {
		return "", fmt.Errorf("unknown output format %q: it is one of %s", name, strings.Join(Formats(), ", "))
	}
	return Format(name), nil
}

// encode writes a document that has a JSON form, a form for people, and one of comma-separated lines.
func encode(w io.Writer, format Format, doc any, people func() *page, lines func() [][]string) error {
	switch format {
	case JSON:
		return escape.JSON(w, doc, "", "  ")
	case Markdown:
		var m escape.Markdown
		people().markdown(&m)
		_, err := m.WriteTo(w)
		return err
	}
	l := escape.NewLines(w)
	switch format {
	case Fields:
		if err := toFields(l, doc); err != nil {
			return err
		}
	case Simple:
		for _, fields := range lines() {
			l.Line(separated(fields))
		}
	case Table:
		if err := people().text(l); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown output format %q", format)
	}
	return l.Flush()
}

// toFields writes the scalars of the JSON document with their paths.
func toFields(w *escape.Lines, doc any) error { return fieldsOf(w, doc, "") }

func fieldsOf(w *escape.Lines, doc any, path string) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return flatten(w, d, path)
}

// flatten writes one JSON value. Empty lists and objects are written as such, so that no name is missing.
func flatten(w *escape.Lines, d *json.Decoder, path string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, nested := t.(json.Delim)
	if !nested {
		w.Field(path, t)
		return w.Err()
	}
	empty := true
	for i := 0; d.More(); i++ {
		empty = false
		next := fmt.Sprintf("%s[%d]", path, i)
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			if next = fmt.Sprint(name); path != "" {
				next = path + "." + next
			}
		}
		if err := flatten(w, d, next); err != nil {
			return err
		}
	}
	_, err = d.Token()
	switch {
	case err == nil && empty && open == '{':
		w.Field(path, struct{}{})
	case err == nil && empty:
		w.Field(path, []int{})
	}
	return errors.Join(err, w.Err())
}

// separated joins fields with commas.
func separated(fields []string) string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = quoted(f)
	}
	return strings.Join(out, ", ")
}

// quoted quotes a field that would not stay one between commas.
func quoted(s string) string {
	if strings.ContainsAny(s, ",\"") || s != strings.TrimSpace(s) || !escape.Safe(s) {
		return strconv.Quote(s)
	}
	return s
}
