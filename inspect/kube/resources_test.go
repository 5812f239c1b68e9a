package kube

import (
	"strings"
	"testing"
)

func TestStored(t *testing.T) {
	for key, want := range map[string]int{
		"/registry/pods/default/web-0":                               3,
		"/registry/services/specs/default/web":                       4,
		"/registry/services/other/web":                               3,
		"/registry/apiregistration.k8s.io/apiservices/v1.acme.com":   4,
		"/registry/acme.com/widgets/default/secret-plan":             0,
		"/registry/ranges/serviceips":                                4,
		"/registry":                                                  0,
		"registry/pods/default/web-0":                                0,
		"/apps/pods/default/web-0":                                   0,
		"/registry/deployments/payments/" + strings.Repeat("x", 300): 3,
	} {
		if got := Stored(strings.Split(key, "/")); got != want {
			t.Errorf("%.60s: %d segments, want %d", key, got, want)
		}
	}
}
