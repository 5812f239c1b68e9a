package kube

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	admissionregistrationv1alpha1 "k8s.io/api/admissionregistration/v1alpha1"
	admissionregistrationv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	apiserverinternalv1alpha1 "k8s.io/api/apiserverinternal/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	appsv1beta2 "k8s.io/api/apps/v1beta2"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1alpha1 "k8s.io/api/certificates/v1alpha1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1alpha2 "k8s.io/api/coordination/v1alpha2"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"
	eventsv1 "k8s.io/api/events/v1"
	eventsv1beta1 "k8s.io/api/events/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta1 "k8s.io/api/flowcontrol/v1beta1"
	flowcontrolv1beta2 "k8s.io/api/flowcontrol/v1beta2"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	nodev1 "k8s.io/api/node/v1"
	nodev1alpha1 "k8s.io/api/node/v1alpha1"
	nodev1beta1 "k8s.io/api/node/v1beta1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1alpha1 "k8s.io/api/rbac/v1alpha1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	storagev1alpha1 "k8s.io/api/storage/v1alpha1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var update = flag.Bool("update", false, "rewrite kinds.txt")

// groups are those of k8s.io/api whose objects an apiserver stores, as k8s.io/client-go/kubernetes/scheme lists them.
var groups = runtime.SchemeBuilder{
	admissionregistrationv1.AddToScheme,
	admissionregistrationv1alpha1.AddToScheme,
	admissionregistrationv1beta1.AddToScheme,
	apiserverinternalv1alpha1.AddToScheme,
	appsv1.AddToScheme,
	appsv1beta1.AddToScheme,
	appsv1beta2.AddToScheme,
	autoscalingv1.AddToScheme,
	autoscalingv2.AddToScheme,
	batchv1.AddToScheme,
	batchv1beta1.AddToScheme,
	certificatesv1.AddToScheme,
	certificatesv1alpha1.AddToScheme,
	certificatesv1beta1.AddToScheme,
	coordinationv1.AddToScheme,
	coordinationv1alpha2.AddToScheme,
	coordinationv1beta1.AddToScheme,
	corev1.AddToScheme,
	discoveryv1.AddToScheme,
	discoveryv1beta1.AddToScheme,
	eventsv1.AddToScheme,
	eventsv1beta1.AddToScheme,
	extensionsv1beta1.AddToScheme,
	flowcontrolv1.AddToScheme,
	flowcontrolv1beta1.AddToScheme,
	flowcontrolv1beta2.AddToScheme,
	flowcontrolv1beta3.AddToScheme,
	lifecyclev1alpha1.AddToScheme,
	networkingv1.AddToScheme,
	networkingv1beta1.AddToScheme,
	nodev1.AddToScheme,
	nodev1alpha1.AddToScheme,
	nodev1beta1.AddToScheme,
	policyv1.AddToScheme,
	policyv1beta1.AddToScheme,
	rbacv1.AddToScheme,
	rbacv1alpha1.AddToScheme,
	rbacv1beta1.AddToScheme,
	resourcev1.AddToScheme,
	resourcev1alpha3.AddToScheme,
	resourcev1beta1.AddToScheme,
	resourcev1beta2.AddToScheme,
	schedulingv1.AddToScheme,
	schedulingv1alpha3.AddToScheme,
	schedulingv1beta1.AddToScheme,
	storagev1.AddToScheme,
	storagev1alpha1.AddToScheme,
	storagev1beta1.AddToScheme,
	storagemigrationv1.AddToScheme,
	storagemigrationv1beta1.AddToScheme,
}

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := groups.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

// TestKinds holds kinds.txt against the Go types of the versions of k8s.io/api and k8s.io/apimachinery in go.mod.
func TestKinds(t *testing.T) {
	w := &writer{t: t, seen: map[string]string{}}
	kinds := map[string]bool{}
	scheme := newScheme(t)
	for gvk, typ := range scheme.AllKnownTypes() {
		if !reflect.PointerTo(typ).Implements(unmarshaler) {
			if gvk.Version != runtime.APIVersionInternal {
				t.Errorf("%s: no protobuf", gvk)
			}
			continue
		}
		version, kind := gvk.ToAPIVersionAndKind()
		if o, ok := reflect.New(typ).Interface().(runtime.Object); ok {
			if unversioned, _ := scheme.IsUnversioned(o); unversioned {
				version = "*"
			}
		}
		kinds[fmt.Sprintf("kind %s %s %s\n", version, kind, w.message(typ))] = true
	}
	for path := range scalars {
		if w.seen[path] == "" {
			t.Errorf("%s is not needed", path)
		}
	}
	var b strings.Builder
	b.WriteString("# What k8s.io/api holds, see scheme.go. Written by go generate.\n")
	for _, path := range sortedKeys(w.seen) {
		b.WriteString(w.seen[path])
	}
	for _, k := range sortedKeys(kinds) {
		b.WriteString(k)
	}
	if *update {
		if err := os.WriteFile("kinds.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != kindsText {
		t.Error("kinds.txt is of other versions than go.mod has: run go generate ./inspect/kube")
	}
}

var (
	unmarshaler = reflect.TypeFor[interface{ Unmarshal([]byte) error }]()
	marshaler   = reflect.TypeFor[json.Marshaler]()
	zeroer      = reflect.TypeFor[interface{ IsZero() bool }]()
)

// writer writes what messages are made of, and fails where a Go type has what message cannot hold.
type writer struct {
	t    *testing.T
	seen map[string]string // the text of each message, by its path
}

func (w *writer) message(typ reflect.Type) string {
	path := typ.PkgPath() + "." + typ.Name()
	if _, ok := w.seen[path]; ok {
		return path
	}
	w.seen[path] = "" // some hold themselves
	if own := typ.Implements(marshaler); own != (scalars[path] != nil) {
		w.t.Fatalf("%s: writes its own JSON: %v", path, own)
	}
	if !reflect.PointerTo(typ).Implements(unmarshaler) {
		w.t.Fatalf("%s: no protobuf", path)
	}
	text := "message " + path + "\n"
	names, numbers := map[string]bool{}, map[string]bool{}
	switch {
	case typ.Kind() == reflect.Slice: // the generated code calls what is in it items
		text = "list " + path + "\n" + fmt.Sprintf("1 Items items %s\n", w.elements(typ))
	case scalars[path] != nil && strings.HasSuffix(path, "Time"):
	case strings.HasSuffix(path, "/resource.Quantity"):
		text += "1 String_ string string\n"
	default:
		if scalars[path] == nil {
			w.names(typ, names)
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Anonymous && f.Type == reflect.TypeFor[metav1.TypeMeta]() && strings.TrimSuffix(f.Tag.Get("json"), ",inline") == "" && f.Tag.Get("protobuf") == "" {
				continue // a kind's own, which the value around the object holds
			}
			if f.Tag.Get("json") == "-" && f.Tag.Get("protobuf") == "" {
				continue
			}
			tag := strings.Split(f.Tag.Get("protobuf"), ",")
			if len(tag) < 3 || numbers[tag[1]] {
				w.t.Fatalf("%s.%s: protobuf:%q", path, f.Name, f.Tag.Get("protobuf"))
			}
			numbers[tag[1]] = true
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			inline := f.Anonymous && name == ""
			switch {
			case inline && (f.Type.Kind() != reflect.Struct || f.Type.Implements(marshaler)):
				w.t.Fatalf("%s.%s: fields of %s", path, f.Name, f.Type)
			case inline:
				name = "."
			case name == "":
				name = f.Name
			}
			text += fmt.Sprintf("%s %s %s %s%s\n", tag[1], f.Name, name, w.typ(f.Type), w.omit(path, f, options))
		}
	}
	w.seen[path] = text
	return path
}

// names fails where two fields have one name in JSON: then it takes rules to say which of them is written.
func (w *writer) names(typ reflect.Type, seen map[string]bool) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			w.names(f.Type, seen)
			continue
		}
		if name == "" {
			name = f.Name
		}
		if seen[name] || !f.IsExported() || name == "-" {
			w.t.Fatalf("%s.%s: %s is there twice, or is none", typ, f.Name, name)
		}
		seen[name] = true
	}
}

func (w *writer) omit(path string, f reflect.StructField, options string) string {
	t, empty, zero := f.Type, false, false
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "":
		case "inline":
		case "omitempty":
			empty = true
		case "omitzero":
			zero = true
		default:
			w.t.Fatalf("%s.%s: %s", path, f.Name, o)
		}
	}
	switch isStruct := t.Kind() == reflect.Struct; {
	case zero && (!isStruct || !reflect.PointerTo(t).Implements(zeroer) || !strings.HasSuffix(t.Name(), "Time")):
		w.t.Fatalf("%s.%s: omitzero of %s", path, f.Name, t)
	case zero, empty && !isStruct:
		return " omit"
	}
	return "" // encoding/json takes no struct for empty
}

// typ writes the type of a field.
func (w *writer) typ(t reflect.Type) string {
	switch {
	case t.Name() != "" && reflect.PointerTo(t).Implements(unmarshaler):
		return w.message(t)
	case t.Kind() != reflect.Pointer && t.Implements(marshaler):
		w.t.Fatalf("%s writes its own JSON", t)
	}
	return w.elements(t)
}

// elements writes a type by what it consists of.
func (w *writer) elements(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		if e := t.Elem().Kind(); e == reflect.Slice || e == reflect.Map || e == reflect.Pointer {
			w.t.Fatalf("%s: no field of a message can be that", t)
		}
		return "*" + w.typ(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		if e := w.typ(t.Elem()); !strings.ContainsAny(e[:1], "*[") {
			return "[]" + e
		}
	case reflect.Map:
		if e := w.typ(t.Elem()); t.Key().Kind() == reflect.String && !strings.ContainsAny(e[:1], "*[") {
			return "map:" + e
		}
	case reflect.Bool, reflect.Int32, reflect.Int64, reflect.String:
		return t.Kind().String()
	}
	w.t.Fatalf("%s: no field of a message can be that", t)
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
