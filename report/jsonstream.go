package report

import (
	"bufio"
	"cmp"
	"io"
	"reflect"
	"slices"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

// StreamJSON writes what encoding/json would write, with an indent, but piece by piece: a million differing keys need not
// be in memory as text. Structs of the types in open are written field by field, lists in them element by element.
func StreamJSON(w io.Writer, x any, indent string, open ...reflect.Type) error {
	out := bufio.NewWriterSize(w, 64<<10)
	s := &jsonStream{w: escape.NewPieces(out), indent: indent, open: append(open, reflect.TypeFor[diff.Document](), reflect.TypeFor[diff.Plan](), reflect.TypeFor[diff.PlanCopy]())}
	v := reflect.ValueOf(x)
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	s.value(v, 0)
	s.w.Break("", 0)
	return cmp.Or(s.w.Err(), out.Flush())
}

type jsonStream struct {
	w      *escape.Pieces
	indent string
	open   []reflect.Type
}

func (s *jsonStream) value(v reflect.Value, depth int) {
	if !v.IsValid() {
		s.w.Value(nil, s.indent, depth)
		return
	}
	keys, isKeys := reflect.TypeAssert[diff.KeyDiffs](v)
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && slices.Contains(s.open, v.Type().Elem()):
		s.value(v.Elem(), depth)
	case slices.Contains(s.open, v.Type()):
		s.w.Structure("{")
		s.list(depth, func(next func()) {
			for i := range v.NumField() {
				name, rest, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				if !v.Type().Field(i).IsExported() || name == "-" || rest == "omitempty" && v.Field(i).IsZero() {
					continue
				}
				next()
				s.w.Name(name)
				s.value(v.Field(i), depth+1)
			}
		})
		s.w.Structure("}")
	case isKeys && keys.Len() > 0:
		s.w.Structure("[")
		s.list(depth, func(next func()) {
			for k := range keys.All() {
				if s.w.Err() != nil {
					return
				}
				next()
				s.w.Value(k.Fields(), s.indent, depth+1)
			}
		})
		s.w.Structure("]")
	case v.Kind() == reflect.Slice && v.Len() > 0:
		s.w.Structure("[")
		s.list(depth, func(next func()) {
			for i := range v.Len() {
				next()
				s.value(v.Index(i), depth+1)
			}
		})
		s.w.Structure("]")
	default:
		s.w.Value(v.Interface(), s.indent, depth)
	}
}

// list writes elements, before each of which next is called.
func (s *jsonStream) list(depth int, elements func(next func())) {
	more := false
	elements(func() {
		if more {
			s.w.Structure(",")
		}
		more = true
		s.w.Break(s.indent, depth+1)
	})
	s.w.Break(s.indent, depth)
}
