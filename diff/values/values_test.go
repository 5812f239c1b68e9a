package values

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	bbolt "go.etcd.io/bbolt"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/mvcc"
)

// row is a revision of a key; value nil is a deletion.
type row struct {
	key   string
	value []byte
	lease int64
}

// member writes a db whose revisions are rows, from 2 on, as etcd lays it out.
func member(t *testing.T, rows ...row) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"alarm", "auth", "authRoles", "authUsers", "cluster", "lease", "members", "members_removed"} {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucket([]byte("meta"))
		if err != nil {
			return err
		}
		if err := meta.Put([]byte("consistent_index"), []byte{0, 0, 0, 0, 0, 0, 0, byte(len(rows) + 3)}); err != nil {
			return err
		}
		b, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		versions, created := map[string]int64{}, map[string]int64{}
		for i, r := range rows {
			main := int64(i + 2)
			k := mvcc.Revision{Main: main}.AppendKey(nil)
			kv := mvcc.KeyValue{Key: []byte(r.key)}
			if r.value == nil {
				k, versions[r.key] = append(k, 't'), 0
			} else {
				if versions[r.key]++; versions[r.key] == 1 {
					created[r.key] = main
				}
				kv.Value, kv.Lease, kv.Mod, kv.Create, kv.Version = r.value, r.lease, main, created[r.key], versions[r.key]
			}
			if err := b.Put(k, kv.Encode()); err != nil {
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

func open(t *testing.T, args ...string) []*inspect.Member {
	t.Helper()
	set, err := inspect.Open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set.Members
}

// objects are one of each of the kinds that fill a real registry.
func objects() map[string]runtime.Object {
	meta := metav1.ObjectMeta{
		Name: "web-0", Namespace: "default", UID: "0f7c", ResourceVersion: "",
		Labels: map[string]string{"app.kubernetes.io/name": "web"}, CreationTimestamp: metav1.NewTime(time.Unix(1700000000, 0).UTC()),
	}
	replicas, holder := int32(3), "node-1"
	return map[string]runtime.Object{
		"pods": &corev1.Pod{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: meta,
			Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
				Name: "web", Image: "web:1",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")}},
			}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.7"},
		},
		"deployments": &appsv1.Deployment{
			TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: meta,
			Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: meta.Labels}},
		},
		"configmaps": &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta,
			Data: map[string]string{"a.conf": "x: 1\ny: |\n"}, BinaryData: map[string][]byte{"b": {0, 255}},
		},
		"minions":  &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: meta, Spec: corev1.NodeSpec{PodCIDR: "10.1.0.0/24"}},
		"events":   &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: meta, Reason: "Killing", Count: 7},
		"leases":   &coordinationv1.Lease{TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}, ObjectMeta: meta, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}},
		"services": &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		//lint:ignore SA1019 apiservers store these whatever clients should use
		"masterleases": &corev1.Endpoints{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}, ObjectMeta: meta},
		"slices":       &discoveryv1.EndpointSlice{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, ObjectMeta: meta, AddressType: "IPv4"},
		"roles":        &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}}}},
		"secrets": &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta, Type: "Opaque",
			Data: map[string][]byte{"password": []byte("correct horse")},
		},
	}
}

// stored is an object as an apiserver writes it.
func stored(t *testing.T, obj runtime.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	s := runtime.NewScheme()
	if err := protobuf.NewSerializer(s, nil).Encode(obj, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRoundTrip writes objects as apiservers do, and compares what is read with the object's own JSON.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	var pb, js []row
	for name, obj := range objects() {
		pb = append(pb, row{key: "/registry/" + name + "/x", value: stored(t, obj)})
		js = append(js, row{key: "/registry/" + name + "/x", value: marshal(t, obj)})
	}
	ms := open(t, "pb="+member(t, pb...), "json="+member(t, js...))
	for name, obj := range objects() {
		d := Get(ms, "/registry/"+name+"/x", Options{Secrets: true})
		for _, m := range d.Members {
			if want := kube.Encoding(map[string]string{"pb": "protobuf", "json": "json"}[m.Label]); m.Encoding != want {
				t.Errorf("%s on %s: encoding %s", name, m.Label, m.Encoding)
			}
			var got, want any
			if err := errors.Join(json.Unmarshal(marshal(t, m.Object), &got), json.Unmarshal(marshal(t, obj), &want)); err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s on %s (-written +read):\n%s", name, m.Label, diff)
			}
			if kind := reflect.TypeOf(obj).Elem().Name(); m.Kind != kind || m.APIVersion == "" {
				t.Errorf("%s: kind %s of %s", name, m.Kind, m.APIVersion)
			}
		}
		if len(d.Fields) > 0 || d.Verdict != diff.Diverged {
			t.Errorf("%s: the same object in other bytes is %s, and differs in %v", name, d.Verdict, d.Fields)
		}
	}
}

// TestSecrets asserts that what a Secret holds is nowhere, but that a difference in it is told.
func TestSecrets(t *testing.T) {
	t.Parallel()
	words := []string{"correct horse", "Y29ycmVjdCBob3JzZ", "battery staple", "YmF0dGVyeSBzdGFwbG"}
	one := objects()["secrets"].(*corev1.Secret)
	one.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(marshal(t, one))}
	two := one.DeepCopy()
	two.Data["password"] = []byte("battery staple"[:13])
	text := []byte("correct horse")
	list := append(append([]byte(`{"kind":"List","items":[`), marshal(t, one)...), `]}`...)
	torn := append(stored(t, one)[:20], text...)
	for _, test := range []struct {
		key  string
		a, b []byte
		in   string // what differs
	}{
		{"/registry/secrets/a", stored(t, one), stored(t, two), "data.password"},
		{"/registry/secrets/a", marshal(t, one), marshal(t, two), "data.password"},
		{"/elsewhere", stored(t, one), marshal(t, two), "data.password"},
		{"/registry/secrets/a", list, list, ""},
		{"/registry/secrets/a", text, text, ""},
		{"/registry/secrets/a", torn, torn, ""},
	} {
		ms := open(t, "a="+member(t, row{key: test.key, value: test.a}), "b="+member(t, row{key: test.key, value: test.b}))
		d := Get(ms, test.key, Options{})
		out := string(marshal(t, d))
		for _, w := range words {
			if strings.Contains(out, w) {
				t.Errorf("%s: %s is in %s", test.key, w, out)
			}
		}
		if !d.Hidden {
			t.Errorf("%s: it is not told that something is hidden", test.key)
		}
		if test.in == "" {
			if d.Verdict != diff.Consistent {
				t.Errorf("%s: %s", test.key, d.Verdict)
			}
			continue
		}
		if len(d.Fields) != 1 || d.Fields[0].Path != test.in || !strings.Contains(out, "(13 bytes, hidden)") {
			t.Errorf("%s: differs in %v: %s", test.key, d.Fields, out)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	a := objects()["pods"].(*corev1.Pod)
	b := a.DeepCopy()
	b.Spec.NodeName = "node-2"
	b.Labels["app.kubernetes.io/name"] = "db"
	b.Spec.Containers = append([]corev1.Container{{Name: "first"}}, b.Spec.Containers...)
	b.Spec.Containers[1].Image = "web:2"
	b.Spec.Tolerations = []corev1.Toleration{{Key: "x"}}
	ms := open(t, "a="+member(t, row{key: "p", value: stored(t, a)}), "b="+member(t, row{key: "p", value: stored(t, b)}))
	var got []string
	for _, f := range Get(ms, "p", Options{}).Fields {
		got = append(got, f.Path)
	}
	want := []string{`metadata.labels["app.kubernetes.io/name"]`, "spec.containers[name=first]", "spec.containers[name=web].image", "spec.nodeName", "spec.tolerations"}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	for _, test := range []struct{ a, b, want string }{
		{`{"a":[1,2,3]}`, `{"a":[1,5]}`, "a[1] a[2]"},
		{`{"a":[{"name":"x"},{"name":"y"}]}`, `{"a":[{"name":"y"},{"name":"x"}]}`, "a"},
		{`{"a":[{"name":"x"},{"name":"x","b":1}]}`, `{"a":[{"name":"x"},{"name":"x"}]}`, "a[1].b"},
		{`{"a":1.0}`, `{"a":1}`, ""},
		{`{"a":9007199254740993}`, `{"a":9007199254740992}`, "a"},
		{`{"a":{}}`, `{"a":[]}`, "a"},
		{`{"a":null}`, `{}`, "a"},
		{`{"a":{"b":[]}}`, `{"a":{"b":[[]]}}`, "a.b[0]"},
	} {
		ms := open(t, "a="+member(t, row{key: "p", value: []byte(test.a)}), "b="+member(t, row{key: "p", value: []byte(test.b)}))
		var got []string
		for _, f := range Get(ms, "p", Options{}).Fields {
			got = append(got, f.Path)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s and %s differ in %v, want %s", test.a, test.b, got, test.want)
		}
	}
}

// TestStates looks keys up that are there, deleted, never there, and at revisions.
func TestStates(t *testing.T) {
	t.Parallel()
	path := member(t, row{key: "k", value: []byte("one")}, row{key: "k", value: []byte("two"), lease: 5}, row{key: "k"}, row{key: "other", value: []byte{0}}, row{key: "k", value: []byte("three")})
	ms := open(t, path)
	for _, test := range []struct {
		key     string
		rev     int64
		state   State
		mod     int64
		version int64
		known   bool
	}{
		{"k", 0, Present, 6, 1, true},
		{"k", 2, Present, 2, 1, true},
		{"k", 3, Present, 3, 2, true},
		{"k", 4, Absent, 4, 0, true},
		{"k", 5, Absent, 4, 0, true},
		{"k", 1, Absent, 0, 0, false},
		{"k", 7, Ahead, 0, 0, true},
		{"nothing", 0, Absent, 0, 0, false},
	} {
		d := Get(ms, test.key, Options{Revision: test.rev})
		m := &d.Members[0]
		if m.State != test.state || m.Mod != test.mod || m.Version != test.version || d.Known() != test.known {
			t.Errorf("%s at %d: %+v", test.key, test.rev, m)
		}
	}
	if m := Get(ms, "other", Options{}).Members[0]; m.Base64 == nil || *m.Base64 != "AA==" || m.Encoding != kube.Binary {
		t.Errorf("%+v", m)
	}
}
