// Package kube decodes what a Kubernetes apiserver stores as the values of keys.
//
//	'k' '8' 's' 0x00  runtime.Unknown in protobuf: 1 TypeMeta (1 apiVersion, 2 kind), 2 raw, 3 contentEncoding,
//	                  4 contentType; raw is the object in the protobuf of its kind
//	{"kind":...       the object in JSON: custom resources, and built-in kinds where the apiserver was told so
//	k8s:enc:NAME:...  encrypted at rest: the provider and, for most, the name of its key, up to the next colons
//
// Facts from k8s.io/apimachinery/pkg/runtime/serializer/protobuf and k8s.io/apiserver/pkg/storage/value/encrypt. The
// kinds are those of k8s.io/api, decoded as its generated code decodes them, by tables made from it: kinds.txt.
package kube

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"etcd-autopsy/inspect/nest"
)

// Encoding is how a value is written.
type Encoding string

// The encodings. Text is printable UTF-8 that is no JSON object, Binary anything else.
const (
	Protobuf  Encoding = "protobuf"
	JSON      Encoding = "json"
	Encrypted Encoding = "encrypted"
	Text      Encoding = "text"
	Binary    Encoding = "binary"
	Empty     Encoding = "empty"
)

// Part of the format.
const (
	protobufPrefix  = "k8s\x00"
	encryptedPrefix = "k8s:enc:"
)

// lastApplied holds the whole object as JSON, a Secret's data among it.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Object is a value as far as it is understood.
type Object struct {
	Encoding         Encoding
	APIVersion, Kind string
	// Fields is the object as encoding/json decodes it, with numbers as json.Number, and Hidden in place of secrets. nil
	// if it is not an object, or could not be decoded.
	Fields map[string]any
	// Note says in a clause why there are no fields where there should be some.
	Note string
	// Secret is true if the value holds, or may hold, what only --show-values shows.
	Secret bool
}

// Hidden stands for a secret. Two of the same content are equal.
type Hidden struct {
	Size int // bytes
	sum  [sha256.Size]byte
}

func (h Hidden) String() string { return fmt.Sprintf("(%d bytes, hidden)", h.Size) }

// MarshalJSON writes only the size.
func (h Hidden) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }

var known = sync.OnceValues(func() (*kinds, error) { return parseKinds(kindsText) })

// Decode decodes the value of a key. Unless secrets is true, what a Secret holds is hidden.
func Decode(key, value []byte, secrets bool) *Object {
	o := decode(value)
	if o.Kind == "Secret" || o.Fields == nil && bytes.Contains(key, []byte("/secrets/")) {
		o.Secret = true
	}
	if o.Fields != nil && !secrets && hide(o.Fields) {
		o.Secret = true
	}
	return o
}

func decode(value []byte) *Object {
	switch {
	case len(value) == 0:
		return &Object{Encoding: Empty}
	case bytes.HasPrefix(value, []byte(protobufPrefix)):
		return decodeProtobuf(value)
	case bytes.HasPrefix(value, []byte(encryptedPrefix)):
		o := &Object{Encoding: Encrypted, Note: "encrypted at rest"}
		parts := strings.SplitN(string(value[len(encryptedPrefix):min(len(value), 256)]), ":", 4)
		if len(parts) == 4 && Printable(parts[0]+parts[1]+parts[2]) { // provider, version, name of the key
			o.Note += fmt.Sprintf(" by %s %s, key %s", parts[0], parts[1], parts[2])
		}
		return o
	}
	switch fields, err := parse(value); {
	case err == nil:
		o := &Object{Encoding: JSON, Fields: fields}
		o.APIVersion, o.Kind = word(fields["apiVersion"]), word(fields["kind"])
		return o
	case errors.Is(err, errTooDeep) && value[0] == '{':
		return &Object{Encoding: JSON, Note: "does not decode: " + err.Error(), Secret: true} // of which kind it is, nobody has looked
	}
	if Printable(string(value)) {
		return &Object{Encoding: Text}
	}
	return &Object{Encoding: Binary}
}

func decodeProtobuf(value []byte) *Object {
	o := &Object{Encoding: Protobuf}
	k, err := known()
	if err != nil {
		o.Note = oneLine(err)
		return o
	}
	version, kind, b, err := k.decode(value[len(protobufPrefix):])
	o.APIVersion, o.Kind = word(version), word(kind)
	if err == nil {
		o.Fields, err = parse(b)
	}
	switch {
	case errors.Is(err, errUnknownKind):
		o.Note = oneLine(err)
	case err != nil:
		o.Note = "does not decode: " + oneLine(err)
	}
	return o
}

// word is a name that is fit to be shown in a line, or empty.
func word(v any) string {
	if s, ok := v.(string); ok && Printable(s) && !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return ""
}

var (
	errNotObject = errors.New("not a JSON object")
	errTooDeep   = fmt.Errorf("nested more than %d levels deep", nest.Limit)
)

// parse decodes JSON without rounding numbers.
func parse(b []byte) (map[string]any, error) {
	if nest.Deeper(b, nest.Limit) {
		return nil, errTooDeep
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || fields == nil {
		return nil, errNotObject
	}
	return fields, nil
}

// hide replaces what Secrets hold, at any depth, and tells whether there was any.
func hide(v any) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		if v["kind"] == "Secret" {
			found = true
			for name, encoded := range map[string]bool{"data": true, "stringData": false} {
				if x, ok := v[name]; ok {
					v[name] = hidden(x, encoded)
				}
			}
			if meta, ok := v["metadata"].(map[string]any); ok {
				if notes, ok := meta["annotations"].(map[string]any); ok && notes[lastApplied] != nil {
					notes[lastApplied] = hidden(notes[lastApplied], false)
				}
			}
		}
		for _, x := range v {
			found = hide(x) || found
		}
	case []any:
		for _, x := range v {
			found = hide(x) || found
		}
	}
	return found
}

// hidden replaces all scalars but the names of fields.
func hidden(v any, encoded bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = hidden(x, encoded)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			out = append(out, hidden(x, encoded))
		}
		return out
	case nil:
		return nil
	}
	s := fmt.Sprint(v)
	h := Hidden{Size: len(s), sum: sha256.Sum256([]byte(s))}
	if encoded {
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			h.Size = len(b)
		}
	}
	return h
}

// Printable tells whether a text is fit for a terminal: UTF-8 in which only line breaks and tabs are control characters.
func Printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

func oneLine(err error) string {
	s := strings.Join(strings.Fields(err.Error()), " ")
	if !Printable(s) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
