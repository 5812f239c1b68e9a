package main

import (
	"slices"
	"testing"

	"etcd-autopsy/report"
)

func TestNear(t *testing.T) {
	t.Parallel()
	for word, want := range map[string][]string{
		"putt":        {"Put"},
		"leaserevoek": {"LeaseRevoke"},
		"Lease":       {"LeaseCheckpoint", "LeaseGrant", "LeaseRevoke"},
		"delete":      {"AuthRoleDelete", "AuthUserDelete", "DeleteRange"},
		"Leese":       {"LeaseCheckpoint", "LeaseGrant", "LeaseRevoke"},
		"nonsense":    nil,
		"":            nil,
	} {
		if got := near(word, report.LogTypes(false)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"diff", "dif", 1}, {"diff", "difff", 1}, {"diff", "idff", 1}, {"stats", "hash", 4}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
