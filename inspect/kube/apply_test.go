package kube

import (
	"encoding/json"
	"testing"
)

func TestApplicable(t *testing.T) {
	t.Parallel()
	object := `{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"},"metadata":{"name":"x","labels":{"l":"1"},"ownerReferences":[{"uid":"o"}],` +
		`"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"},"uid":"u","resourceVersion":"7","creationTimestamp":null,` +
		`"generation":2,"managedFields":[{}]},"status":{"phase":"x"}}`
	o := Decode([]byte("/registry/configmaps/ns/x"), []byte(object), false)
	before, err := json.Marshal(o.Fields)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(Applicable(o.Fields))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"x","ownerReferences":[{"uid":"o"}]}}`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if after, err := json.Marshal(o.Fields); err != nil || string(after) != string(before) {
		t.Errorf("the object changed: %s, %v", after, err)
	}
	if got := Applicable(map[string]any{"metadata": "odd"}); got["metadata"] != "odd" {
		t.Errorf("%v", got)
	}
}
