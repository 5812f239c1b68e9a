package kube

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:generate go test -run ^TestKinds$ -update

// kindsText has the kinds of k8s.io/api whose objects an apiserver stores, and the messages that they are made of: what reflection tells of
// the Go types. With those in it the program would be half as large again. Versions that are no longer in k8s.io/api are unknown. Lines are
//
//	message PATH                            its fields follow
//	list PATH                               the same, of one field, which in JSON is all there is
//	NUMBER GO-NAME JSON-NAME TYPE [omit]    JSON-NAME is . where the fields stand among those of the message around it
//	kind APIVERSION KIND PATH               APIVERSION is * where the kind is that in every version
//
// where TYPE is bool, bytes, int32, int64, string or a PATH, behind * for a pointer, [] for a list, map: for a map from strings.
//
//go:embed kinds.txt
var kindsText string

// kinds are those that are known.
type kinds struct {
	messages map[string]*message
	of       map[schema.GroupVersionKind]*message
	any      map[string]*message // in any version
}

func parseKinds(text string) (*kinds, error) {
	k := &kinds{map[string]*message{}, map[schema.GroupVersionKind]*message{}, map[string]*message{}}
	var m *message
	for n, line := range strings.Split(text, "\n") {
		w := strings.Fields(line)
		switch {
		case len(w) == 0 || w[0] == "#":
		case len(w) == 2 && (w[0] == "message" || w[0] == "list"):
			m = k.message(w[1])
			m.list = w[0] == "list"
		case len(w) == 4 && w[0] == "kind" && w[1] == "*":
			k.any[w[2]] = k.message(w[3])
		case len(w) == 4 && w[0] == "kind":
			k.of[schema.FromAPIVersionAndKind(w[1], w[2])] = k.message(w[3])
		case (len(w) == 4 || len(w) == 5 && w[4] == "omit") && m != nil:
			number, err := strconv.ParseInt(w[0], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("kinds.txt: line %d: %w", n+1, err)
			}
			f := &field{number: int32(number), name: w[1], json: w[2], kind: w[3], omit: len(w) == 5}
			if f.json == "." {
				f.json = ""
			}
			for prefix, label := range map[string]label{"*": optional, "[]": repeated, "map:": mapped} {
				if kind, ok := strings.CutPrefix(f.kind, prefix); ok {
					f.kind, f.label = kind, label
					break
				}
			}
			if strings.Contains(f.kind, ".") {
				f.kind, f.of = "message", k.message(f.kind)
			}
			m.fields = append(m.fields, f)
		default:
			return nil, fmt.Errorf("kinds.txt: line %d: %q", n+1, line)
		}
	}
	return k, nil
}

// message returns that of a path, made when it is asked for first.
func (k *kinds) message(path string) *message {
	m := k.messages[path]
	if m == nil {
		m = &message{path: path, name: path[strings.LastIndexByte(path, '.')+1:], own: scalars[path]}
		k.messages[path] = m
	}
	return m
}

var errUnknownKind = errors.New("a kind that Kubernetes' own packages do not know in this version")

// unknown is the runtime.Unknown of k8s.io/apimachinery, around every object.
var unknown = &message{name: "Unknown", fields: []*field{
	{number: 1, name: "TypeMeta", kind: "message", of: &message{name: "TypeMeta", fields: []*field{
		{number: 1, name: "APIVersion", kind: "string"},
		{number: 2, name: "Kind", kind: "string"},
	}}},
	{number: 2, name: "Raw", kind: "bytes"},
	{number: 3, name: "ContentEncoding", kind: "string"},
	{number: 4, name: "ContentType", kind: "string"},
}}

// decode decodes a value behind its magic, and returns the object as JSON. version and kind are there too, if no more than the object fails
// to decode.
func (k *kinds) decode(value []byte) (version, kind string, b []byte, err error) {
	version, kind, o, err := k.read(value)
	if err != nil {
		return version, kind, nil, err
	}
	named := &message{fields: []*field{{json: "apiVersion", kind: "string"}, {json: "kind", kind: "string"}, {kind: "message", of: o.of}}}
	b, err = named.appendJSON(nil, &object{of: named, values: []any{version, kind, o}})
	return version, kind, b, err
}

func (k *kinds) read(value []byte) (version, kind string, o *object, err error) {
	if len(value) == 0 {
		return "", "", nil, errors.New("empty body")
	}
	u := &object{of: unknown}
	if err := u.read(value); err != nil {
		return "", "", nil, err
	}
	meta := of(u, 0)
	version, _ = of(meta, 0).(string)
	kind, _ = of(meta, 1).(string)
	stored := fmt.Sprintf("runtime.TypeMeta{APIVersion:%q, Kind:%q}", version, kind)
	gvk := schema.FromAPIVersionAndKind(version, kind)
	version, kind = gvk.ToAPIVersionAndKind()
	m := k.of[gvk]
	if m == nil {
		m = k.any[gvk.Kind]
	}
	switch {
	case gvk.Kind == "":
		return version, kind, nil, fmt.Errorf("Object 'Kind' is missing in '%s'", stored) //nolint:revive,staticcheck // in Kubernetes' words
	case gvk.Version == "":
		return version, kind, nil, fmt.Errorf("Object 'apiVersion' is missing in '%s'", stored) //nolint:revive,staticcheck // the same
	case m == nil:
		return version, kind, nil, errUnknownKind
	}
	o = &object{of: m}
	body, _ := of(u, 1).([]byte)
	return version, kind, o, o.read(body)
}
