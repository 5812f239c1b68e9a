package kube

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	unknown := "k8s\x00\x0a\x20\x0a\x15route.openshift.io/v1\x12\x05Route\x12\x02\x0a\x00"
	unknown = strings.Replace(unknown, "\x20", string(rune(2+21+2+5)), 1)
	for _, test := range []struct {
		value, kind string
		encoding    Encoding
		fields      bool
		note        string
	}{
		{"", "", Empty, false, ""},
		{"plain text\n", "", Text, false, ""},
		{"12", "", Text, false, ""},
		{"null", "", Text, false, ""},
		{"\x1b[31m", "", Binary, false, ""},
		{`{"kind":"Backup","apiVersion":"velero.io/v1","spec":{"n":18446744073709551615}}`, "velero.io/v1 Backup", JSON, true, ""},
		{`{"kind":"Backup"} {}`, "", Text, false, ""},
		{`{"kind":7}`, "", JSON, true, ""},
		{unknown, "route.openshift.io/v1 Route", Protobuf, false, "do not know"},
		{"k8s\x00", "", Protobuf, false, "does not decode"},
		{"k8s\x00\xff\xff", "", Protobuf, false, "does not decode"},
		{"k8s:enc:aescbc:v1:key1:\x00\x01", "", Encrypted, false, "by aescbc v1, key key1"},
		{"k8s:enc:", "", Encrypted, false, "encrypted at rest"},
	} {
		o := Decode([]byte("/k"), []byte(test.value), false)
		if got := strings.TrimSpace(o.APIVersion + " " + o.Kind); o.Encoding != test.encoding || got != test.kind || (o.Fields != nil) != test.fields || !strings.Contains(o.Note, test.note) || (o.Note == "") != (test.note == "") {
			t.Errorf("%q: %+v", test.value, o)
		}
		if o.Fields != nil {
			if b, err := json.Marshal(o.Fields); err != nil || strings.Contains(test.value, "18446744073709551615") != strings.Contains(string(b), "18446744073709551615") {
				t.Errorf("%s, %v", b, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\x00", "k8s\x00", `{"kind":"Secret","data":{"a":["b",1,null]}}`, "k8s:enc:kms:v2:a:b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o := Decode([]byte("/registry/secrets/x"), b, false)
		if _, err := json.Marshal(o.Fields); err != nil {
			t.Error(err)
		}
		if !Printable(o.Note+o.APIVersion+o.Kind) && o.Encoding == Protobuf {
			t.Errorf("not printable: %+v", o)
		}
	})
}

// TestDeep bounds how deep an object may be, and takes what nobody has looked at for a secret.
func TestDeep(t *testing.T) {
	value := func(n int) []byte {
		return []byte(`{"kind":"X","spec":` + strings.Repeat(`{"a":[`, n) + `1` + strings.Repeat(`]}`, n) + `}`)
	}
	if o := Decode([]byte("/registry/x"), value(400), false); o.Fields == nil || o.Secret {
		t.Errorf("800 levels: %+v", o)
	}
	for _, n := range []int{600, 1 << 18} {
		if o := Decode([]byte("/registry/x"), value(n), false); o.Fields != nil || !o.Secret || o.Encoding != JSON || o.Note != "does not decode: nested more than 1000 levels deep" {
			t.Errorf("%d levels: %.200v", 2*n, o)
		}
	}
}
