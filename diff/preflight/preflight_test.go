package preflight

import (
	"slices"
	"testing"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/messages"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// TestRules asserts that rules are about codes that check explains, and that each release has the message that it is said to end with; bbolt's releases are not etcd's.
func TestRules(t *testing.T) {
	t.Parallel()
	own := []string{"log-fork", "log-fork-same-term", "cluster-version-above", "cluster-version-far-below", "downgrade-enabled", "not-complete"}
	for code, rs := range rules {
		if check.Explain(code) == (check.Advice{}) && !slices.Contains(own, code) {
			t.Errorf("%s: nothing finds that", code)
		}
		for _, r := range rs {
			if r.message == "" {
				continue
			}
			if !slices.ContainsFunc(messages.All(), func(m *messages.Message) bool { return m.ID == r.message }) {
				t.Errorf("%s: no message %s", code, r.message)
			}
			for _, release := range []string{"3.4.30", "3.5.4", "3.6.0", "3.7.0"} {
				at := *semver.New(release)
				if r.affects(at) && r.message != "bbolt-freelist" && len(said(r.message, r.quote, at)) == 0 {
					t.Errorf("%s: %s says nothing in %s", code, r.message, at)
				}
			}
		}
	}
}

func TestReleases(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, release string
		want          Outcome
	}{
		{"wal-big-record", "3.4.45", Stops},
		{"wal-big-record", "3.5.4", Stops},
		{"wal-big-record", "3.5.5", Starts},
		{"wal-big-record", "3.6.0", Starts},
		{"defrag-leftover", "3.3.18", Harms},
		{"defrag-leftover", "3.3.19", Starts},
		{"defrag-leftover", "3.5.0", Starts},
		{"term-beyond-log", "3.4.9", Starts},
		{"term-beyond-log", "3.5.2", Harms},
		{"term-beyond-log", "3.5.3", Starts},
		{"zombie-member", "3.5.33", Starts},
		{"zombie-member", "3.7.0", Harms},
		{"row-version", "3.6.0", Unknown},
	} {
		got := Starts
		if r, ok := judge(found{code: c.code, severity: finding.Error, count: 1}, *semver.New(c.release)); ok {
			got = r.Outcome
		}
		if got != c.want {
			t.Errorf("%s on %s: %s, not %s", c.code, c.release, got, c.want)
		}
	}
}
