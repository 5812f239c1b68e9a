// Package report renders documents: as tables for people, and as JSON, fields and lines for programs. It never reads a
// file, and the same document always gives the same bytes.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
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
	var b bytes.Buffer
	switch format {
	case JSON:
		if err := toJSON(&b, doc); err != nil {
			return err
		}
	case Fields:
		if err := toFields(&b, doc); err != nil {
			return err
		}
	case Simple:
		for _, l := range lines() {
			for i := range l {
				l[i] = quoted(l[i])
			}
			fmt.Fprintln(&b, strings.Join(l, ", "))
		}
	case Markdown:
		people().markdown(&b)
	case Table:
		if err := people().text(&b); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown output format %q", format)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func toJSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}

// toFields writes the scalars of the JSON document with their paths.
func toFields(w io.Writer, doc any) error {
	var b bytes.Buffer
	if err := toJSON(&b, doc); err != nil {
		return err
	}
	d := json.NewDecoder(&b)
	d.UseNumber()
	return flatten(w, d, "")
}

// flatten writes one JSON value. Empty lists and objects are written as such, so that no name is missing.
func flatten(w io.Writer, d *json.Decoder, path string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, nested := t.(json.Delim)
	if !nested {
		var v bytes.Buffer
		e := json.NewEncoder(&v)
		e.SetEscapeHTML(false)
		if err := e.Encode(t); err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%q : %s", path, v.String())
		return err
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
	end, err := d.Token()
	if err == nil && empty {
		_, err = fmt.Fprintf(w, "%q : %v%v\n", path, open, end)
	}
	return err
}

// quoted quotes a field that would not stay one between commas.
func quoted(s string) string {
	if strings.ContainsAny(s, ",\"\n\r") || s != strings.TrimSpace(s) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
