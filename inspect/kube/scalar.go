package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
)

// scalar is the encoding of a type that writes its JSON itself.
type scalar struct {
	// read replaces what was there; nil: as other messages are read.
	read func(m *message, b []byte, old any) (any, error)
	// json encodes what was read, or the zero value for nil.
	json func(v any) ([]byte, error)
}

// scalars by their types. Facts from k8s.io/apimachinery v0.37: pkg/apis/meta/v1 (time.go, time_proto.go, micro_time.go, micro_time_proto.go,
// fieldsv1.go, helpers.go), pkg/api/resource (quantity.go), pkg/runtime (extension.go) and pkg/util/intstr.
var scalars = map[string]*scalar{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       instant(time.RFC3339, func(int64) int64 { return 0 }),
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":  instant("2006-01-02T15:04:05.000000Z07:00", func(nanos int64) int64 { return nanos - nanos%1000 }),
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":   {json: managed},
	"k8s.io/apimachinery/pkg/runtime.RawExtension":    {json: raw},
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": {json: intOrString},
	"k8s.io/apimachinery/pkg/api/resource.Quantity": {
		read: func(m *message, b []byte, old any) (any, error) {
			o := &object{of: m}
			if err := o.read(b); err != nil {
				return nil, err
			}
			s, ok := of(o, 0).(string)
			if !ok {
				return old, nil
			}
			return resource.ParseQuantity(s)
		},
		json: func(v any) ([]byte, error) {
			q, _ := v.(resource.Quantity)
			return q.MarshalJSON()
		},
	},
}

// of is a value of an object, nil if it has none.
func of(v any, field int) any {
	if o, ok := v.(*object); ok && o.values != nil {
		return o.values[field]
	}
	return nil
}

// timestamp is what a time is in protobuf.
var timestamp = &message{name: "Timestamp", fields: []*field{
	{number: 1, name: "Seconds", kind: "int64"},
	{number: 2, name: "Nanos", kind: "int32"},
}}

// instant is a time as JSON has it, of which nanos keeps a part. Nothing on the wire is the zero time, null in JSON.
func instant(layout string, nanos func(int64) int64) *scalar {
	return &scalar{
		read: func(_ *message, b []byte, _ any) (any, error) {
			if len(b) == 0 {
				return time.Time{}, nil
			}
			o := &object{of: timestamp}
			if err := o.read(b); err != nil {
				return nil, err
			}
			sec, _ := of(o, 0).(int64)
			nsec, _ := of(o, 1).(int64)
			return time.Unix(sec, nanos(nsec)), nil
		},
		json: func(v any) ([]byte, error) {
			t, _ := v.(time.Time)
			if t.IsZero() {
				return []byte("null"), nil
			}
			return []byte(`"` + t.UTC().Format(layout) + `"`), nil
		},
	}
}

func intOrString(v any) ([]byte, error) {
	kind, _ := of(v, 0).(int64)
	n, _ := of(v, 1).(int64)
	s, _ := of(v, 2).(string)
	switch kind {
	case 0:
		return json.Marshal(n)
	case 1:
		return json.Marshal(s)
	}
	return nil, errors.New("impossible IntOrString.Type")
}

// managed is a set of fields, as JSON or, in place of an object or of null, as CBOR.
func managed(v any) ([]byte, error) {
	b, _ := of(v, 0).([]byte)
	if len(b) == 0 {
		return []byte("null"), nil
	}
	if c := b[0]; c != 0xf6 && (c < 0xa0 || c > 0xbf) && (c < 0xc6 || c > 0xdb) { // null, maps, tags
		return b, nil
	}
	var fields map[string]any
	if err := cbor.Unmarshal(b, &fields); err != nil {
		return nil, fmt.Errorf("metav1.FieldsV1 cbor invalid: %w", err)
	}
	return json.Marshal(fields)
}

// raw is a value within an object, as JSON, or as CBOR with its magic.
func raw(v any) ([]byte, error) {
	b, _ := of(v, 0).([]byte)
	switch {
	case b == nil:
		return []byte("null"), nil
	case bytes.HasPrefix(b, []byte{0xd9, 0xd9, 0xf7}):
		var value any
		if err := cbor.Unmarshal(b, &value); err != nil {
			return nil, fmt.Errorf("failed to parse RawExtension bytes as CBOR: %w", err)
		}
		return json.Marshal(value)
	case len(b) > 0 && bytes.IndexByte([]byte("\t\r\n {[ntf\"-0123456789"), b[0]) >= 0:
		return b, nil
	}
	return nil, errors.New("cannot convert RawExtension with unrecognized content type to unstructured")
}
