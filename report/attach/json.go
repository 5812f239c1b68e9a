package attach

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"

	"etcd-autopsy/diff"
)

// JSON writes report.json. Lists of what differs are written one by one: a million of them need not be in memory twice.
func JSON(w io.Writer, r *Report) error {
	s := &stream{w: w}
	s.value(reflect.ValueOf(r).Elem(), 0)
	s.text("\n")
	return s.err
}

// stream writes what encoding/json would write with an indent of one space.
type stream struct {
	w   io.Writer
	err error
	buf bytes.Buffer
}

func (s *stream) text(t string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, t)
	}
}

// value writes the report and the comparison field by field, lists of them element by element, and leaves the rest to
// encoding/json.
func (s *stream) value(v reflect.Value, depth int) {
	pad := "\n" + strings.Repeat(" ", depth+1)
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Type() == reflect.TypeFor[*diff.Document]():
		s.value(v.Elem(), depth)
	case v.Type() == reflect.TypeFor[Report](), v.Type() == reflect.TypeFor[diff.Document]():
		s.text("{")
		sep := ""
		for i := range v.NumField() {
			name, rest, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if name == "-" || rest == "omitempty" && v.Field(i).IsZero() {
				continue
			}
			s.text(sep + pad + `"` + name + `": `)
			s.value(v.Field(i), depth+1)
			sep = ","
		}
		s.text("\n" + strings.Repeat(" ", depth) + "}")
	case v.Kind() == reflect.Slice && v.Len() > 0:
		s.text("[")
		sep := ""
		for i := range v.Len() {
			s.text(sep + pad)
			s.encode(v.Index(i).Interface(), depth+1)
			sep = ","
		}
		s.text("\n" + strings.Repeat(" ", depth) + "]")
	default:
		s.encode(v.Interface(), depth)
	}
}

func (s *stream) encode(x any, depth int) {
	if s.err != nil {
		return
	}
	s.buf.Reset()
	e := json.NewEncoder(&s.buf)
	e.SetEscapeHTML(false)
	e.SetIndent(strings.Repeat(" ", depth), " ")
	if s.err = e.Encode(x); s.err == nil {
		_, s.err = s.w.Write(bytes.TrimSuffix(s.buf.Bytes(), []byte("\n")))
	}
}
