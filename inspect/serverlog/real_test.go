package serverlog

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// real is a log of testdata: of the third member of a cluster of real servers that was killed while it lagged, which got a wrong password, ran out
// of space, was compacted and stopped in turn.
func real(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReal asserts what is told of logs that real servers of all versions wrote, in all formats.
func TestReal(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		versions, kinds string
		format          Format
	}{
		"3.2":          {"3.2.24 kill, 3.2.24 stop", "start kill stop leader version compaction alarm auth slow", Capnslog},
		"3.3":          {"3.3.10 kill, 3.3.10 stop", "start kill stop leader version compaction alarm auth peer slow corruption", Capnslog},
		"3.4-capnslog": {"3.4.3 kill, 3.4.3 stop", "start kill stop leader version compaction alarm auth peer corruption", Capnslog},
		"3.4-zap":      {"3.4.23 kill, 3.4.23 stop", "start kill stop leader version compaction alarm auth peer corruption refused", JSON},
		"3.5":          {"3.5.21 kill, 3.5.21 stop", "start kill stop leader version compaction snapshot auth peer corruption refused", JSON},
		"3.6":          {"3.6.12 kill, 3.6.12 stop", "start kill stop leader version compaction snapshot auth peer corruption refused", JSON},
		"3.6-console":  {"3.6.12 kill, 3.6.12 stop", "start kill stop leader version compaction snapshot auth peer corruption refused", Console},
		"3.7":          {"3.7.3 kill, 3.7.3 stop", "start kill stop leader version compaction snapshot auth peer corruption refused", JSON},
		"up-3.5-3.6":   {"3.5.21 kill, 3.6.12 stop", "start kill stop leader version compaction auth peer refused", JSON},
	} {
		text := real(t, name)
		l := scanText(t, text)
		var versions []string
		for _, p := range l.Processes {
			versions = append(versions, fmt.Sprintf("%s %s", p.Version, p.How))
			if p.How == Killed && l.Processes[1].Start.Sub(p.End) < 200*time.Millisecond {
				t.Errorf("%s: it was killed at %v, which is in the next process", name, p.End)
			}
		}
		if got := strings.Join(versions, ", "); got != want.versions {
			t.Errorf("%s: %s ran, want %s", name, got, want.versions)
		}
		for _, k := range strings.Fields(want.kinds) {
			if !slices.ContainsFunc(l.Events, func(e Event) bool { return string(e.Kind) == k }) {
				t.Errorf("%s: no %s", name, k)
			}
		}
		if l.Member == 0 || l.Name != "m2" {
			t.Errorf("%s: member %x %q", name, l.Member, l.Name)
		}
		of := 0
		r := NewReader(strings.NewReader(text))
		for r.Next() {
			if r.Record().Format == want.format {
				of++
			}
		}
		if lines := strings.Count(text, "\n"); of < lines*9/10 {
			t.Errorf("%s: %d of %d lines are %s", name, of, lines, want.format)
		}
		for prefix, wrap := range wrapped {
			var b strings.Builder
			for line := range strings.Lines(text) {
				b.WriteString(wrap(strings.TrimSuffix(line, "\n")) + "\n")
			}
			if d := gocmp.Diff(whats(l), whats(scanText(t, b.String()))); d != "" {
				t.Errorf("%s with the prefix of %s (-want +got):\n%s", name, prefix, d)
			}
		}
	}
}

// wrapped is what others make of a line of a server.
var wrapped = map[string]func(line string) string{
	"journald":            func(l string) string { return "Nov 30 04:41:08 host-1 etcd[123]: " + l },
	"journald, short-iso": func(l string) string { return "2026-11-30T04:41:08+0000 host-1 etcd[123]: " + l },
	"CRI":                 func(l string) string { return "2026-11-30T04:41:08.123456789Z stderr F " + l },
	"Docker": func(l string) string {
		return `{"log":` + strconv.Quote(l+"\n") + `,"stream":"stderr","time":"2026-11-30T04:41:08.123456789Z"}`
	},
	"kubectl": func(l string) string { return "[pod/etcd-0/etcd] " + l },
}

// whats are the events without times: those of lines without a zone are of the prefix.
func whats(l *Log) (out []string) {
	for _, e := range l.Events {
		out = append(out, fmt.Sprintf("%d %s %s", e.Line, e.Kind, e.What))
	}
	return out
}
