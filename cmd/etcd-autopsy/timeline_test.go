package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/serverlog"
)

// TestBeside asserts that logs are looked for in the folder of what was given, wherever in an archive the member lies.
func TestBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.tar.gz", "b!c.zip", "server-x.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, origin := range []string{"a.tar.gz", "a.tar.gz!a", "a.tar.gz!x/y.tar!a/member", "b!c.zip", "b!c.zip!d"} {
		m := &inspect.Member{Label: "x", Origin: filepath.Join(dir, origin)}
		if got := beside(m); got != dir {
			t.Errorf("%s: beside it is %s", origin, got)
		}
		if got := findLogs(m, false); len(got) != 1 {
			t.Errorf("%s: found %q", origin, got)
		}
	}
}

// TestWrongLogs asserts that the log of another member changes nothing, and that one of the member that tells of versions which never ran changes no
// verdict, and neither which members differ nor what the files alone rule out.
func TestWrongLogs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"lease-revoke-open", "lease-revoke-once", "lease-revoke-auth", "healthy-upgrade-3.2-3.3"} {
		ms := scenarioMembers(t, name)
		alone := reading.compare(t.Context(), ms, diff.Options{})
		with := func(change func(i int, l *story.Log)) (doc, told *diff.Document) {
			var logs []story.Log
			for i, m := range ms {
				path := filepath.Join(scenarios, name, "server-"+m.Label+".log.gz")
				l, err := readLog(t.Context(), path, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				x := story.Log{Member: m.Label, File: filepath.Base(path), Log: l}
				change(i, &x)
				logs = append(logs, x)
			}
			doc = reading.compare(t.Context(), ms, diff.Options{ServerLogs: runsOf(logs)})
			return doc, story.Enrich(doc, logs)
		}
		doc, told := with(func(i int, l *story.Log) { l.Member = ms[(i+1)%len(ms)].Label })
		if x := gocmp.Diff(alone.Divergences, doc.Divergences); x != "" || doc.Verdict != alone.Verdict || len(doc.Notes) != len(alone.Notes) {
			t.Errorf("%s: with logs of other members %s, notes %q (-alone +with):\n%s", name, doc.Verdict, doc.Notes, x)
		}
		if n := strings.Count(strings.Join(told.Notes, "\n"), " is left out: it is the log of member "); n != len(ms) {
			t.Errorf("%s: of %d logs of other members %d are left out: %q", name, len(ms), n, told.Notes)
		}
		for _, version := range []string{"3.2.24", "3.3.10", "3.5.12", "", "x"} {
			doc, _ := with(func(_ int, l *story.Log) {
				l.Processes = slices.Clone(l.Processes)
				for k := range l.Processes {
					l.Processes[k].Version, l.Processes[k].How = version, serverlog.Stop
				}
			})
			if doc.Verdict != alone.Verdict || len(doc.Divergences) != len(alone.Divergences) {
				t.Fatalf("%s: with logs of %q %s, %d divergences", name, version, doc.Verdict, len(doc.Divergences))
			}
			for k := range doc.Divergences {
				v, w := &doc.Divergences[k], &alone.Divergences[k]
				if !slices.Equal(v.Minority, w.Minority) || v.Revision != w.Revision || v.CandidateCount > w.CandidateCount {
					t.Errorf("%s: with logs of %q %q part at revision %d, and not %q at %d", name, version, v.Minority, v.Revision, w.Minority, w.Revision)
				}
			}
		}
	}
}
