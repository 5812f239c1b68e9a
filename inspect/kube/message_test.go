package kube

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
)

// oracle is Kubernetes' own decoder.
type oracle struct{ *protobuf.Serializer }

func newOracle(t testing.TB) oracle {
	scheme := newScheme(t)
	return oracle{protobuf.NewSerializer(scheme, scheme)}
}

func (k oracle) decode(value []byte) *Object {
	o := &Object{Encoding: Protobuf}
	obj, gvk, err := k.Decode(value, nil, nil)
	if gvk != nil {
		version, kind := gvk.ToAPIVersionAndKind()
		o.APIVersion, o.Kind = word(version), word(kind)
	}
	var b []byte
	if err == nil {
		if b, err = json.Marshal(obj); err == nil {
			o.Fields, err = parse(b)
		}
	}
	switch {
	case runtime.IsNotRegisteredError(err):
		o.Note = oneLine(errUnknownKind)
	case err != nil:
		o.Note = "does not decode: " + oneLine(err)
	}
	return o
}

// same fails if a value is not decoded as Kubernetes does it.
func (k oracle) same(t *testing.T, value []byte) *Object {
	t.Helper()
	got, want := decodeProtobuf(value), k.decode(value)
	if want.Kind == "WatchEvent" { // has no TypeMeta in Go, and is never stored
		return want
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q\ngot  %+v\nwant %+v", value, got, want)
	}
	return want
}

// objects are some of every kind, in protobuf, with values at random.
func objects(t testing.TB, seed int64, each func(gvk schema.GroupVersionKind, value []byte)) {
	scheme := newScheme(t)
	fill := randfill.NewWithSeed(seed).NilChance(0.2).NumElements(int(seed)%2, 2).MaxDepth(14).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse(fmt.Sprintf("%d%s", c.Intn(9999), []string{"", "m", "Ki", "Mi", "k", "e3"}[c.Intn(6)]))
		},
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(c.Int63n(1<<35), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) { t.Time = time.Unix(c.Int63n(1<<35), c.Int63n(1e9)) },
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.IntOrString{Type: intstr.Type(c.Intn(2)), IntVal: int32(c.Uint32()), StrVal: "50%"}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) {
			f.SetRawBytes([]byte([]string{``, `null`, `{"f:a":{".":{}}}`, "\xa1\x41a\x41b", "\xa1", `x`}[c.Intn(6)]))
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			valid := []string{`null`, `{"kind":"Secret","data":{"a":"b<\u2028"}}`, "\xd9\xd9\xf7\xa1\x41a\x01", `7`}
			switch r.Raw = []byte(valid[c.Intn(4)]); c.Intn(60) {
			case 0:
				r.Raw = []byte("{")
			case 1:
				r.Raw = []byte("\xd9\xd9\xf7\xff")
			case 2:
				r.Raw = []byte("x")
			case 3, 4, 5:
				r.Raw = nil
			}
		},
	)
	known := scheme.AllKnownTypes()
	all := slices.SortedFunc(func(yield func(schema.GroupVersionKind) bool) {
		for gvk := range known {
			if !yield(gvk) {
				return
			}
		}
	}, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	for _, gvk := range all {
		o := reflect.New(known[gvk]).Interface()
		m, ok := o.(interface{ Marshal() ([]byte, error) })
		if !ok {
			continue
		}
		fill.Fill(o)
		b, err := m.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", gvk, err)
		}
		version, kind := gvk.ToAPIVersionAndKind()
		u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: b}
		if b, err = u.Marshal(); err != nil {
			t.Fatal(err)
		}
		each(gvk, append([]byte(protobufPrefix), b...))
	}
}

// TestSameAsKubernetes decodes objects of every kind, and damaged ones, with Kubernetes' own packages, too.
func TestSameAsKubernetes(t *testing.T) {
	t.Parallel()
	k := newOracle(t)
	r := rand.New(rand.NewPCG(1, 2))
	whole, damaged, decoded := 0, 0, 0
	seen := map[*field]bool{}
	for seed := range int64(6) {
		objects(t, seed, func(gvk schema.GroupVersionKind, value []byte) {
			if o := k.same(t, value); o.Fields != nil {
				whole++
				see(t, value, seen)
			} else if !strings.Contains(o.Note, "MarshalJSON") {
				t.Errorf("%s: %s", gvk, o.Note)
			}
			for range 4 {
				b := slices.Clone(value)
				for range 1 + r.IntN(2) {
					switch at := r.IntN(len(b)); r.IntN(4) {
					case 0:
						b[at] = byte(r.IntN(256))
					case 1:
						b[at] ^= 1 << r.IntN(8)
					case 2:
						b = append(b[:at:at], b[min(len(b), at+r.IntN(4)):]...)
					case 3:
						b = slices.Insert(b, at, b[at:min(len(b), at+r.IntN(8))]...)
					}
					if len(b) <= len(protobufPrefix) {
						break
					}
				}
				copy(b, protobufPrefix)
				damaged++
				if o := k.same(t, b); o.Fields != nil {
					decoded++
				}
			}
		})
	}
	all := 0
	for _, m := range must(known()).messages {
		all += len(m.fields)
	}
	t.Logf("%d objects, with %d of %d fields; %d damaged, of which %d decode", whole, len(seen), all, damaged, decoded)
	if len(seen) < all*99/100 || decoded < damaged/100 || decoded > damaged*99/100 {
		t.Errorf("%d of %d fields; %d damaged, of which %d decode: that compares too little", len(seen), all, damaged, decoded)
	}
}

// see marks the fields that a value has.
func see(t *testing.T, value []byte, seen map[*field]bool) {
	t.Helper()
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case *object:
			for i, x := range v.values {
				if x != nil {
					seen[v.of.fields[i]] = true
					walk(x)
				}
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	k := must(known())
	_, _, o, err := k.read(value[len(protobufPrefix):])
	if err != nil {
		t.Fatal(err)
	}
	walk(o)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSameAsKubernetesOdd has what is rare.
func TestSameAsKubernetesOdd(t *testing.T) {
	t.Parallel()
	k := newOracle(t)
	value := func(version, kind, raw string) []byte {
		u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: []byte(raw)}
		b, err := u.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte(protobufPrefix), b...)
	}
	for _, c := range []struct{ version, kind, raw string }{
		{"v1", "Pod", ""},
		{"", "", ""},
		{"v1", "", ""},
		{"", "Pod", ""},
		{"a/b/c", "Pod", ""},
		{"/v1", "Pod", ""},
		{"v1", "Nothing", ""},
		{"apps/v1", "Status", "\x10\x01"},
		{"\"x\n\"", "Status", ""},
		{"v1", "ConfigMap", "\x12\x06\x0a\x01\xff\x12\x01a\x12\x06\x0a\x01\xfe\x12\x01b"},   // keys that are no UTF-8
		{"v1", "ConfigMap", "\x12\x00\x1a\x00\x1a\x05\x0a\x01k\x12\x00"},                    // entries without a key or a value
		{"v1", "ConfigMap", "\x12\x04\x0a\x02k\x12"},                                        // an entry whose key reaches beyond it
		{"v1", "ConfigMap", "\x0a\x03\x0a\x01n\x0a\x03\x12\x01g"},                           // a message in two parts
		{"v1", "Secret", "\x12\x05\x0a\x01k\x12\x00\x1a\x03\xff<>\x28\x00"},                 // bytes, and a pointer to false
		{"v1", "Namespace", "\x0a\x02\x42\x00"},                                             // a time without anything
		{"v1", "Namespace", "\x0a\x04\x42\x02\x10\x01"},                                     // 1970
		{"v1", "Namespace", "\x0a\x0d\x42\x0b\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01"}, // the zero time
		{"v1", "Namespace", "\x0a\x0c\x42\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},     // beyond years
		{"v1", "Namespace", "\xf8\x7f\x01\xfb\x7f\x08\x01\xfc\x7f"},                         // unknown fields, one of them a group
		{"v1", "Namespace", "\xfb\x7f\x08\x01"},
		{"v1", "Namespace", "\xfc\x7f"},
		{"v1", "Namespace", "\x00"},
		{"v1", "Namespace", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"v1", "Namespace", "\xfa\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"v1", "Namespace", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},
		{"v1", "Service", "\x12\x0a\x0a\x08\x22\x06\x08\x02\x10\x07\x1a\x00"}, // neither a number nor a string
		{"batch/v1", "Job", "\x12\x10\x5a\x0e\x0a\x0c\x12\x0a\x1a\x03\x01\x80\x01\x18\x02\x18\x00\x18"},
		{"v1", "LimitRange", "\x12\x0a\x0a\x08\x12\x06\x0a\x01c\x12\x01\x0a"},
		{"v1", "ResourceQuota", "\x12\x0a\x0a\x08\x0a\x01c\x12\x03\x0a\x01x"},
		{"v1", "ResourceQuota", "\x12\x05\x0a\x03\x0a\x01c"},
		{"certificates.k8s.io/v1", "CertificateSigningRequest", "\x12\x13\x32\x05\x0a\x01a\x12\x00\x32\x0a\x0a\x01b\x12\x05\x0a\x01x\x0a\x00"},
	} {
		k.same(t, value(c.version, c.kind, c.raw))
	}
	k.same(t, []byte(protobufPrefix))
}

// TestDeepMessage bounds how far messages that hold themselves are followed.
func TestDeepMessage(t *testing.T) {
	t.Parallel()
	self := &message{path: "a.Self", name: "Self"}
	self.fields = []*field{{number: 1, name: "In", json: "in", kind: "message", of: self, label: optional}}
	var b []byte
	for range 2_000 {
		var w []byte
		for n := len(b); ; n >>= 7 {
			if n < 0x80 {
				w = append(w, byte(n))
				break
			}
			w = append(w, byte(n)|0x80)
		}
		b = append(append([]byte{0x0a}, w...), b...)
	}
	if err := (&object{of: self}).read(b); err != errTooDeep {
		t.Errorf("%v", err)
	}
}

func FuzzSameAsKubernetes(f *testing.F) {
	k := newOracle(f)
	n := 0
	objects(f, 1, func(_ schema.GroupVersionKind, value []byte) {
		if n++; n%16 == 0 {
			f.Add(value)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if strings.HasPrefix(string(b), protobufPrefix) {
			k.same(t, b)
		}
	})
}
