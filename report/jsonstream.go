package report

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strings"

	"etcd-autopsy/diff"
)

// StreamJSON writes what encoding/json would write, with an indent, but piece by piece: a million differing keys need not
// be in memory as text. Structs of the types in open are written field by field, lists in them element by element.
func StreamJSON(w io.Writer, x any, indent string, open ...reflect.Type) error {
	s := &jsonStream{w: w, indent: indent, open: append(open, reflect.TypeFor[diff.Document](), reflect.TypeFor[diff.Plan](), reflect.TypeFor[diff.PlanCopy]())}
	v := reflect.ValueOf(x)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	s.value(v, 0)
	s.text("\n")
	return s.err
}

type jsonStream struct {
	w      io.Writer
	indent string
	open   []reflect.Type
	err    error
	buf    bytes.Buffer
}

func (s *jsonStream) text(t string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, t)
	}
}

func (s *jsonStream) value(v reflect.Value, depth int) {
	if !v.IsValid() {
		s.encode(nil, depth)
		return
	}
	keys, isKeys := v.Interface().(diff.KeyDiffs)
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && slices.Contains(s.open, v.Type().Elem()):
		s.value(v.Elem(), depth)
	case slices.Contains(s.open, v.Type()):
		s.list("{", "}", depth, func(next func(name string)) {
			for i := range v.NumField() {
				name, rest, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				if name == "-" || rest == "omitempty" && v.Field(i).IsZero() {
					continue
				}
				next(`"` + name + `": `)
				s.value(v.Field(i), depth+1)
			}
		})
	case isKeys && keys.Len() > 0:
		s.list("[", "]", depth, func(next func(string)) {
			for k := range keys.All() {
				if s.err != nil {
					return
				}
				next("")
				s.encode(k, depth+1)
			}
		})
	case v.Kind() == reflect.Slice && v.Len() > 0:
		s.list("[", "]", depth, func(next func(string)) {
			for i := range v.Len() {
				next("")
				s.value(v.Index(i), depth+1)
			}
		})
	default:
		s.encode(v.Interface(), depth)
	}
}

// list writes elements, before each of which next is called.
func (s *jsonStream) list(begin, end string, depth int, elements func(next func(name string))) {
	s.text(begin)
	sep := ""
	elements(func(name string) {
		s.text(sep + "\n" + strings.Repeat(s.indent, depth+1) + name)
		sep = ","
	})
	s.text("\n" + strings.Repeat(s.indent, depth) + end)
}

func (s *jsonStream) encode(x any, depth int) {
	if s.err != nil {
		return
	}
	s.buf.Reset()
	e := json.NewEncoder(&s.buf)
	e.SetEscapeHTML(false)
	e.SetIndent(strings.Repeat(s.indent, depth), s.indent)
	if s.err = e.Encode(x); s.err == nil {
		_, s.err = s.w.Write(bytes.TrimSuffix(s.buf.Bytes(), []byte("\n")))
	}
}
