package kube

import "testing"

func TestNameOf(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]Name{
		"/registry/pods/default/web-0":                                  {"pods", "default", "web-0"},
		"/registry/pods/default/":                                       {"pods", "default", ""},
		"/registry/pods/":                                               {"pods", "", ""},
		"/registry/minions/n1":                                          {"nodes", "", "n1"},
		"/registry/namespaces/ci":                                       {"namespaces", "ci", "ci"},
		"/registry/services/specs/ci/db":                                {"services", "ci", "db"},
		"/registry/services/endpoints/ci/db":                            {"endpoints", "ci", "db"},
		"/registry/example.com/widgets/ci/w1":                           {"widgets.example.com", "ci", "w1"},
		"/registry/apiregistration.k8s.io/apiservices/v1.apps":          {"apiservices.apiregistration.k8s.io", "", "v1.apps"},
		"/kubernetes.io/secrets/ci/s":                                   {"secrets", "ci", "s"},
		"/registry/masterleases/10.0.0.1":                               {"masterleases", "", "10.0.0.1"},
		"/registry/leases/kube-node-lease/node-1":                       {"leases", "kube-node-lease", "node-1"},
		"/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.": {"customresourcedefinitions.apiextensions.k8s.io", "", "a.b."},
	} {
		if got, ok := NameOf([]byte(key)); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", key, got, ok, want)
		}
		if got := ResourceOf([]byte(key)); string(got) != want.Resource {
			t.Errorf("%s: resource %q, want %q", key, got, want.Resource)
		}
	}
	for _, key := range []string{"", "/", "/registry", "/registry/pods", "registry/pods/a/b", "/other/pods/a/b", "compact_rev_key"} {
		if got, ok := NameOf([]byte(key)); ok {
			t.Errorf("%s: %+v", key, got)
		}
		if got := ResourceOf([]byte(key)); got != nil {
			t.Errorf("%s: resource %q", key, got)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"/registry/pods/shop/p": true, "/x/shop/p": true, "/registry/services/specs/shop/p": true,
		"/registry/pods/shopping/p": false, "/registry/pods/web-shop/p": false, "/registry/pods/shop/": false, "/registry/pods/web/shop": false, "shop/p": false, "": false, "/": false,
	} {
		if Within([]byte(key), "shop") != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
