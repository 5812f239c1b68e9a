package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"

	"etcd-autopsy/inspect/mvcc"
)

// dbOf writes a db whose revisions put keys in turn, from revision 2 on.
func dbOf(t *testing.T, name string, keyValues ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, bucket := range []string{"alarm", "auth", "authRoles", "authUsers", "cluster", "lease", "members", "members_removed"} {
			if _, err := tx.CreateBucket([]byte(bucket)); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		if err := meta.Put([]byte("consistent_index"), binary.BigEndian.AppendUint64(nil, uint64(len(keyValues)))); err != nil {
			return err
		}
		rows, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		for i := 0; i < len(keyValues); i += 2 {
			rev := int64(i/2 + 2)
			kv := mvcc.KeyValue{Key: []byte(keyValues[i]), Value: []byte(keyValues[i+1]), Create: rev, Mod: rev, Version: 1}
			if err := rows.Put(mvcc.Revision{Main: rev}.AppendKey(nil), kv.Encode()); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGetObject writes objects as they could be applied, and shows those of which only the begin is of use to a person.
func TestGetObject(t *testing.T) {
	t.Parallel()
	object := func(kind, data string) string {
		return `{"apiVersion":"v1","kind":"` + kind + `","metadata":{"name":"x","namespace":"ci","uid":"u1","resourceVersion":"9"},"data":` + data + `,"status":{"a":1}}`
	}
	const key, secret, long, plain, odd = "/registry/configmaps/ci/x", "/registry/secrets/ci/x", "/registry/configmaps/ci/long", "plain", "/registry/configmaps/ci/odd"
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	a := dbOf(t, "a.db", key, object("ConfigMap", `{"k":"one"}`), secret, object("Secret", `{"password":"aHVudGVyMg=="}`),
		long, object("ConfigMap", `{"big":"`+strings.Repeat("x", 5000)+`",`+strings.Join(many, ",")+`}`), plain, strings.Repeat("p", 9000),
		odd, object("ConfigMap", `{"k":"one\u200btwo\ttabs"}`))
	b := dbOf(t, "b.db", key, object("ConfigMap", `{"k":"two"}`))
	for _, c := range []struct {
		args   []string
		status int
		has    []string
		hasNot []string
	}{
		{[]string{key, a, "-w", "yaml"}, exitOK, []string{"# " + key + " on a\napiVersion: v1\ndata:\n  k: one\nkind: ConfigMap\nmetadata:\n  name: x\n  namespace: ci\n"}, []string{"uid", "resourceVersion", "status", "hidden"}},
		{[]string{key, a, "--object"}, exitOK, []string{"\n  k: one\n"}, nil},
		{[]string{key, a, "--object", "-w", "json"}, exitOK, []string{`"k": "one"`}, []string{"uid", "# "}},
		{[]string{key, a, b, "-w", "yaml"}, exitDiverged, []string{" on a\n", "\n---\n", " on b\n", "k: two"}, nil},
		{[]string{key, a, b, "--object", "-w", "json"}, exitFailed, []string{"hint: name one MEMBER"}, nil},
		{[]string{key, a, "--object", "-w", "simple"}, exitFailed, []string{"yaml or json"}, nil},
		{[]string{odd, a, "-w", "yaml"}, exitOK, []string{`{"k":"one\u200btwo\ttabs"}`}, []string{"\u200b"}},
		{[]string{plain, a, "-w", "yaml"}, exitFailed, []string{"no member has a Kubernetes object there"}, nil},
		{[]string{secret, a, "-w", "yaml"}, exitOK, []string{"cannot be applied", "hidden)"}, []string{"aHVudGVyMg"}},
		{[]string{secret, a, "-w", "yaml", "--show-values"}, exitOK, []string{"password: aHVudGVyMg=="}, []string{"hidden"}},
		{[]string{long, a}, exitOK, []string{"(5000 bytes)", "more lines: -w yaml"}, []string{"k999"}},
		{[]string{long, a, "-w", "yaml"}, exitOK, []string{strings.Repeat("x", 5000), "k999: v"}, []string{"more lines"}},
		{[]string{plain, a}, exitOK, []string{"the first 4000 here"}, []string{strings.Repeat("p", 5000)}},
	} {
		out, errs, status := autopsy(t, append([]string{"get"}, c.args...)...)
		name := strings.Join(c.args, " ")
		if status != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, status, c.status, errs)
		}
		for _, s := range c.has {
			if !strings.Contains(out+errs, s) {
				t.Errorf("%s: no %q in\n%.2000s%s", name, s, out, errs)
			}
		}
		for _, s := range c.hasNot {
			if strings.Contains(out, s) {
				t.Errorf("%s: %q in\n%.2000s", name, s, out)
			}
		}
	}
}

// TestGetNamespace writes the objects of a namespace, wherever they are stored, as of a revision.
func TestGetNamespace(t *testing.T) {
	t.Parallel()
	object := func(kind, name, namespace, more string) string {
		in := ""
		if namespace != "" {
			in = `"namespace":"` + namespace + `",`
		}
		return `{"apiVersion":"v1","kind":"` + kind + `","metadata":{` + in + `"name":"` + name + `","uid":"u"` + more + `}}`
	}
	pod, err := runtime.Encode(protobuf.NewSerializer(nil, nil), &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", UID: "u", OwnerReferences: []metav1.OwnerReference{{Name: "rs", UID: "r"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{
		"/registry/pods/shop/p", string(pod),
		"/registry/services/specs/shop/svc", object("Service", "svc", "shop", ""),
		"/registry/services/endpoints/shop/svc", object("Endpoints", "svc", "shop", ""),
		"/registry/stable.example.com/widgets/shop/w", object("Widget", "w", "shop", ""),
		"/kubernetes.io/configmaps/shop/c", object("ConfigMap", "c", "shop", ""),
		"/other/prefix/configmaps/shop/d", object("ConfigMap", "d", "shop", ""),
		"/registry/namespaces/shop", object("Namespace", "shop", "", ""),
		"/registry/secrets/shop/s", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"shop"},"data":{"k":"aHVudGVyMg=="}}`,
		"/registry/configmaps/web/shop", object("ConfigMap", "other", "web", ""),
		"/registry/secrets/shop/enc", "k8s:enc:aescbc:v1:key1:\x00\x01\x02",
		"/registry/configmaps/shop/forged", object("ConfigMap", "forged", "web", ""), // of another namespace by its own word
		"/registry/configmaps/shopping/x", object("ConfigMap", "x", "shopping", ""),
	}
	db := dbOf(t, "a.db", rows...)
	names := func(out string) (all []string) {
		for doc := range strings.SplitSeq(out, "\n---\n") {
			var o struct {
				Kind     string
				Metadata map[string]any
			}
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				t.Errorf("%v in\n%s", err, doc)
			}
			if o.Metadata["uid"] != nil {
				t.Errorf("with what only an apiserver sets: %s", doc)
			}
			all = append(all, fmt.Sprint(o.Kind, "/", o.Metadata["name"]))
		}
		return all
	}
	out, errs, status := autopsy(t, "get", "--namespace", "shop", db)
	want := "Namespace/shop ConfigMap/c ConfigMap/d Pod/p Secret/s Endpoints/svc Service/svc Widget/w"
	if got := strings.Join(names(out), " "); got != want || status != exitPartial {
		t.Errorf("status %d: %s, want %s", status, got, want)
	}
	if !strings.Contains(out, "aHVudGVyMg==") {
		t.Error("the Secret is hidden")
	}
	for _, s := range []string{"1 key of the namespace: encrypted at rest by aescbc v1, key key1", "1 object with owners (ownerReferences) among 8 objects"} {
		if !strings.Contains(errs, s) {
			t.Errorf("%q is not said:\n%s", s, errs)
		}
	}
	// As of the third row.
	out, errs, status = autopsy(t, "get", "--namespace", "shop", db, "--rev", "4", "-w", "yaml")
	if got := strings.Join(names(out), " "); got != "Pod/p Endpoints/svc Service/svc" || status != exitOK {
		t.Errorf("status %d: %s: %s", status, got, errs)
	}
	out, _, status = autopsy(t, "get", "--namespace", "shop", db, "--rev", "4", "-w", "json")
	if !strings.HasPrefix(out, "{\n  \"apiVersion\": \"v1\",\n  \"items\": [") || status != exitOK {
		t.Errorf("status %d: %s", status, out)
	}
}
