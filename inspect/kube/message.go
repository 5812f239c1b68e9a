package kube

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd-autopsy/inspect/nest"
)

// The errors are those of Kubernetes' generated code, in its words: they are what its users know.
var (
	errOverflow   = errors.New("proto: integer overflow")
	errLength     = errors.New("proto: negative length found during unmarshaling")
	errEndOfGroup = errors.New("proto: unexpected end of group")
)

// message is a struct of Kubernetes: what its protobuf holds, and what its JSON is made of.
type message struct {
	path   string // package and name in Go: k8s.io/api/core/v1.Pod
	name   string // without the package
	fields []*field
	// list is true for a list with a name of its own, which is a message in protobuf, and in JSON the list itself.
	list bool
	// own is the encoding of what is no object in JSON.
	own *scalar
}

// field is one of the fields of a message.
type field struct {
	number int32  // in protobuf
	name   string // in Go
	json   string // empty: the fields of the message stand among those of the one around it
	kind   string // bool, bytes, int32, int64, string or message
	of     *message
	label  label
	omit   bool // left out of JSON if it is empty
}

type label byte

const (
	single   label = iota
	optional       // a pointer, which a field of the wire sets, whatever is in it
	repeated
	mapped // from strings
)

// object is a message as it was read. A value is nil where the wire has none; otherwise int64, bool, string, []byte, *object, time.Time,
// resource.Quantity, and of these []any or map[string]any.
type object struct {
	of     *message
	depth  int   // how many are around it
	values []any // as the fields of the message
}

// wire reads protobuf as Kubernetes' generated code does: a field of another type than the message has is an error, one that it does not have
// is skipped.
type wire struct {
	b []byte
	i int
}

func (w *wire) varint() (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if w.i >= len(w.b) {
			return 0, io.ErrUnexpectedEOF
		}
		c := w.b[w.i]
		w.i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, nil
		}
	}
	return 0, errOverflow
}

// end reads a length, and returns where what is so long ends. It lies within b.
func (w *wire) end() (int, error) {
	n, err := w.varint()
	switch {
	case err != nil:
		return 0, err
	case int64(n) < 0 || int64(n)+int64(w.i) < 0:
		return 0, errLength
	case n > uint64(len(w.b)-w.i):
		return 0, io.ErrUnexpectedEOF
	}
	return w.i + int(n), nil
}

func (w *wire) bytes() ([]byte, error) {
	end, err := w.end()
	if err != nil {
		return nil, err
	}
	b := w.b[w.i:end]
	w.i = end
	return b, nil
}

// tag returns the number and the type of the next field.
func (w *wire) tag() (tag uint64, number int32, wireType int, err error) {
	tag, err = w.varint()
	return tag, int32(tag >> 3), int(tag & 7), err
}

// skip leaves out a field with its tag, and all of a group.
func (w *wire) skip(limit int) error {
	for depth := 0; ; {
		_, _, t, err := w.tag()
		if err != nil {
			return err
		}
		switch t {
		case 0:
			_, err = w.varint()
		case 1:
			w.i += 8
		case 2:
			var n uint64
			if n, err = w.varint(); err == nil && (int64(n) < 0 || int64(n)+int64(w.i) < 0) {
				return errLength
			}
			w.i = int(min(uint64(w.i)+n, uint64(len(w.b))+1))
		case 3:
			depth++
		case 4:
			if depth == 0 {
				return errEndOfGroup
			}
			depth--
		case 5:
			w.i += 4
		default:
			return fmt.Errorf("proto: illegal wireType %d", t)
		}
		switch {
		case err != nil:
			return err
		case depth > 0 && w.i < len(w.b):
		case depth > 0 || w.i > limit:
			return io.ErrUnexpectedEOF
		default:
			return nil
		}
	}
}

// read adds what is in b to the object.
func (o *object) read(b []byte) error {
	if o.depth > nest.Limit { // some hold themselves
		return errTooDeep
	}
	w := &wire{b: b}
	for w.i < len(b) {
		start := w.i
		tag, number, t, err := w.tag()
		switch {
		case err != nil:
			return err
		case t == 4:
			return fmt.Errorf("proto: %s: wiretype end group for non-group", o.of.name)
		case number <= 0:
			return fmt.Errorf("proto: %s: illegal tag %d (wire type %d)", o.of.name, number, tag)
		}
		k := slices.IndexFunc(o.of.fields, func(f *field) bool { return f.number == number })
		if k < 0 {
			w.i = start
			if err := w.skip(len(b)); err != nil {
				return err
			}
			continue
		}
		if o.values == nil {
			o.values = make([]any, len(o.of.fields))
		}
		if err := o.of.fields[k].read(w, t, &o.values[k], o.depth+1); err != nil {
			return err
		}
	}
	return nil
}

// read reads a field whose tag was read.
func (f *field) read(w *wire, wireType int, into *any, depth int) error {
	want := 2
	if f.label != mapped && f.varint() {
		want = 0
	}
	packed := want == 0 && f.label == repeated && wireType == 2
	if wireType != want && !packed {
		return fmt.Errorf("proto: wrong wireType = %d for field %s", wireType, f.name)
	}
	switch f.label {
	case single, optional:
		v, err := f.value(w, *into, depth)
		*into = v
		return err
	case mapped:
		entries, _ := (*into).(map[string]any)
		if entries == nil {
			entries = map[string]any{}
			*into = entries
		}
		return f.entry(w, entries, depth)
	case repeated:
	}
	list, _ := (*into).([]any)
	defer func() { *into = list }()
	if !packed {
		v, err := f.value(w, nil, depth)
		list = append(list, v)
		return err
	}
	for end, err := w.end(); err != nil || w.i < end; {
		if err != nil {
			return err
		}
		var v any
		v, err = f.value(w, nil, depth)
		list = append(list, v)
	}
	return nil
}

func (f *field) varint() bool { return f.kind == "bool" || f.kind == "int32" || f.kind == "int64" }

// value reads what comes behind a tag, and adds it to the message that was there.
func (f *field) value(w *wire, old any, depth int) (any, error) {
	if f.varint() {
		v, err := w.varint()
		switch f.kind {
		case "bool":
			return v != 0, err
		case "int32":
			return int64(int32(v)), err
		}
		return int64(v), err
	}
	b, err := w.bytes()
	if err != nil {
		return nil, err
	}
	switch {
	case f.kind == "string":
		return string(b), nil
	case f.kind == "bytes":
		return b, nil
	case f.of.own != nil && f.of.own.read != nil:
		return f.of.own.read(f.of, b, old)
	}
	o, _ := old.(*object)
	if o == nil {
		o = &object{of: f.of, depth: depth}
	}
	return o, o.read(b)
}

// entry reads one of a map, of which the generated code checks no types.
func (f *field) entry(w *wire, entries map[string]any, depth int) error {
	end, err := w.end()
	if err != nil {
		return err
	}
	key, value := "", f.zero()
	for w.i < end {
		start := w.i
		_, number, _, err := w.tag()
		switch {
		case err != nil:
			return err
		case number == 1:
			var b []byte
			b, err = w.bytes()
			key = string(b)
		case number == 2:
			value, err = f.value(w, nil, depth)
		default:
			w.i = start
			err = w.skip(end)
		}
		if err != nil {
			return err
		}
	}
	entries[key] = value
	w.i = end
	return nil
}

// zero is the value of an entry of a map that has none.
func (f *field) zero() any {
	switch {
	case f.kind == "bytes":
		return []byte{}
	case f.kind == "message" && (f.of.own == nil || f.of.own.read == nil):
		return &object{of: f.of}
	}
	return nil
}

// appendJSON writes what encoding/json makes of the Go struct. o is nil where the wire has none.
func (m *message) appendJSON(b []byte, o *object) ([]byte, error) {
	start := len(b)
	b, err := m.appendFields(b, o)
	if err != nil {
		return nil, err
	}
	if len(b) == start {
		b = append(b, ',')
	}
	b[start] = '{'
	return append(b, '}'), nil
}

// appendFields writes the fields, each behind a comma.
func (m *message) appendFields(b []byte, o *object) (_ []byte, err error) {
	for k, f := range m.fields {
		var v any
		if o != nil && o.values != nil {
			v = o.values[k]
		}
		switch {
		case f.json == "":
			in, _ := v.(*object)
			b, err = f.of.appendFields(b, in)
		case f.omit && f.empty(v):
			continue
		default:
			if b, err = appendString(append(b, ','), f.json); err == nil {
				b, err = f.appendJSON(append(b, ':'), v)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// empty tells whether a value is what encoding/json leaves out.
func (f *field) empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case *object:
		return f.label == single && v.of.list && v.values == nil
	case time.Time:
		return f.label == single && v.IsZero()
	case []byte:
		return len(v) == 0
	case string, bool, int64:
		return f.label == single && (v == "" || v == false || v == int64(0))
	}
	return false
}

func (f *field) appendJSON(b []byte, v any) (_ []byte, err error) {
	if v == nil && f.label != single {
		return append(b, "null"...), nil
	}
	switch v := v.(type) {
	case []any:
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = f.appendValue(b, x); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendString(b, k); err != nil {
				return nil, err
			}
			if b, err = f.appendValue(append(b, ':'), v[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return f.appendValue(b, v)
}

// appendValue writes a value, or the zero value if v is nil.
func (f *field) appendValue(b []byte, v any) ([]byte, error) {
	switch f.kind {
	case "bool":
		x, _ := v.(bool)
		return strconv.AppendBool(b, x), nil
	case "int32", "int64":
		x, _ := v.(int64)
		return strconv.AppendInt(b, x, 10), nil
	case "string":
		x, _ := v.(string)
		return appendString(b, x)
	case "bytes":
		x, _ := v.([]byte)
		if x == nil {
			return append(b, "null"...), nil
		}
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), x), '"'), nil
	}
	o, _ := v.(*object)
	switch {
	case f.of.own != nil:
		j, err := f.of.own.json(v)
		if err == nil {
			w := bytes.NewBuffer(b)
			if err = json.Compact(w, j); err == nil {
				return w.Bytes(), nil
			}
		}
		pointer := ""
		if f.label == optional {
			pointer = "*"
		}
		return nil, fmt.Errorf("json: error calling MarshalJSON for type %s%s: %w", pointer, f.of.path[strings.LastIndexByte(f.of.path, '/')+1:], err)
	case f.of.list && o == nil:
		return append(b, "null"...), nil
	case f.of.list && o.values == nil:
		return append(b, "[]"...), nil
	case f.of.list:
		return f.of.fields[0].appendJSON(b, o.values[0])
	}
	return f.of.appendJSON(b, o)
}

// appendString writes a string of JSON, as encoding/json does where it is no UTF-8.
func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			j, err := json.Marshal(s)
			return append(b, j...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
