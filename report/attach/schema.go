package attach

import (
	"encoding/json"
	"io"
	"path"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report/escape"
)

// Schema writes the JSON Schema of report.json.
func Schema(w io.Writer) error { return SchemaOf(w, "report.json of etcd-autopsy", &Report{}) }

// SchemaOf writes the JSON Schema that a document, given by a pointer to one of its type, is written by.
func SchemaOf(w io.Writer, title string, document any) error {
	r := &jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Mapper: written, Namer: packaged}
	s := r.Reflect(document)
	s.Title = title
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		return err
	}
	nullable(doc)
	return escape.JSON(w, doc, "", " ")
}

// packaged names a type with its package: two of them have a Member.
func packaged(t reflect.Type) string {
	if t.Name() == "" {
		return "" // a pointer or a list has none
	}
	name, _, _ := strings.Cut(t.Name(), "[") // of a generic type there is one in a schema
	return path.Base(t.PkgPath()) + "." + name
}

// nullable allows null where Go has a pointer or a list: for objects, lists, and the numbers that may be missing.
func nullable(doc any) {
	switch x := doc.(type) {
	case map[string]any:
		props, _ := x["properties"].(map[string]any)
		for name, p := range props {
			m, ok := p.(map[string]any)
			if !ok {
				continue
			}
			_, ref := m["$ref"]
			if ref || m["type"] == "array" || optional[name] {
				props[name] = map[string]any{"anyOf": []any{m, map[string]any{"type": "null"}}}
			}
		}
		for _, v := range x {
			nullable(v)
		}
	case []any:
		for _, v := range x {
			nullable(v)
		}
	}
}

// optional are numbers and ids that are null if no file tells.
var optional = map[string]bool{"offset": true, "page": true, "caused_by": true, "member_id": true, "cluster_id": true}

// written describes the types that do not write themselves as Go would.
func written(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[diff.ID]():
		return &jsonschema.Schema{Type: "string", Pattern: "^[0-9a-f]{16}$"}
	case reflect.TypeFor[diff.Key](), reflect.TypeFor[inspect.Standing]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[diff.Change]():
		return object("op", "lease")
	case reflect.TypeFor[diff.KeyDiffs]():
		return &jsonschema.Schema{Type: "array", Items: object("difference", "by_member")}
	case reflect.TypeFor[diff.KeyDiff]():
		return object("difference", "by_member")
	}
	return nil
}

// object has either key or key_base64, besides what it requires.
func object(required ...string) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", Required: required,
		OneOf: []*jsonschema.Schema{{Required: []string{"key"}}, {Required: []string{"key_base64"}}},
	}
}
