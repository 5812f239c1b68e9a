package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/report"
)

// withMany is a report on two members that differ in n keys.
func withMany(n int) *Report {
	by := map[string]diff.KeyState{"a": {Present: true, ModRevision: 7, ValueSHA256: strings.Repeat("0", 64)}, "b": {}}
	d := &diff.Document{SchemaVersion: diff.SchemaVersion, Verdict: diff.Diverged, Members: []diff.Member{{Label: "a", Readable: true}, {Label: "b", Readable: true}}}
	d.Divergences = []diff.Divergence{{Layer: diff.LayerApply, Groups: [][]string{{"a"}, {"b"}}, Entry: &diff.Entry{Index: 9, Type: "Put", Summary: "Put /registry/x (3 bytes)"}}}
	keys := make([]diff.KeyDiff, 0, n)
	for i := range n {
		keys = append(keys, diff.KeyDiff{Key: diff.Key(fmt.Sprintf("/registry/configmaps/default/object-%09d", i)), Difference: "missing", ByMember: by})
	}
	d.Keys = diff.NewKeyDiffs(keys...)
	d.Counts.KeysDiffering, d.Counts.KeysMissing = n, n
	return New(nil, d, Options{Tool: Tool{Name: "etcd-autopsy", Command: "etcd-autopsy report a b"}})
}

// TestMany writes a report on more differences than fit anywhere.
func TestMany(t *testing.T) {
	n := 1_000_000
	if testing.Short() || os.Getenv("MANY") == "" {
		n = 150_000
	}
	r := withMany(n)
	dir := filepath.Join(t.TempDir(), "out")
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Write(context.Background(), dir, r, nil, false); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	t.Logf("%d keys: %d MiB more from the system, %d MiB in use before", n, (after.Sys-before.Sys)>>20, before.HeapInuse>>20)
	if more := after.Sys - before.Sys; more > 400<<20 {
		t.Errorf("writing takes %d MiB", more>>20)
	}
	for name, limit := range map[string]int64{MarkdownName: MaxMarkdown, ZipName: MaxZip} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Size() > limit || fi.Size() < 100 {
			t.Errorf("%s: %v, %v", name, fi.Size(), err)
		}
	}
	md, err := os.ReadFile(filepath.Join(dir, MarkdownName))
	if err != nil || !strings.Contains(string(md), "more keys: report.json") {
		t.Errorf("report.md does not say where the rest is: %v", err)
	}
}

// TestJSON compares what is written piece by piece with encoding/json.
func TestJSON(t *testing.T) {
	t.Parallel()
	r := withMany(3)
	var got bytes.Buffer
	if err := JSON(&got, r); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("got %s\nwant %s", got.String(), want.String())
	}
}

// TestMarkdownLimit asks for the limit whatever makes a report long.
func TestMarkdownLimit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä\"|<`", 5000)
	for name, grow := range map[string]func(r *Report){
		"members": func(r *Report) {
			for i := range 3000 {
				r.Diff.Members = append(r.Diff.Members, diff.Member{Label: fmt.Sprintf("member-%d", i), Readable: true})
			}
		},
		"reasons":  func(r *Report) { r.Diff.Reasons = many3(long) },
		"witness":  func(r *Report) { r.Witness = many3(long) },
		"commands": func(r *Report) { r.Verify = []Verification{{Claim: long, Commands: many3(long)}} },
		"key": func(r *Report) {
			r.Diff.Keys = r.Diff.Keys.Map(func(k diff.KeyDiff) diff.KeyDiff { k.Key = diff.Key(long); return k }).First(1)
		},
		"groups": func(r *Report) {
			for i := range 5000 {
				r.Prefixes = append(r.Prefixes, Group{Name: diff.Key(fmt.Sprint(i, long)), Keys: 9})
			}
		},
		"entry": func(r *Report) { r.Diff.Divergences[0].Entry.Summary = long },
		"events": func(r *Report) {
			for i := range 5000 {
				r.Diff.Timeline = append(r.Diff.Timeline, diff.Event{Entry: uint64(i), What: long})
			}
		},
		"findings": func(r *Report) {
			for range 5000 {
				r.Checkup.Members = append(r.Checkup.Members, report.CheckedMember{Label: "a", Findings: []report.FindingRecord{{Detail: long}}})
			}
		},
		"files": func(r *Report) {
			for i := range 5000 {
				r.Files = append(r.Files, File{Path: fmt.Sprint(i, long)})
			}
		},
	} {
		r := withMany(100)
		grow(r)
		var b bytes.Buffer
		if err := Markdown(&b, r); err != nil {
			t.Fatal(err)
		}
		if b.Len() > MaxMarkdown || b.Len() < 500 {
			t.Errorf("%s: %d bytes", name, b.Len())
		}
	}
}

func many3(s string) []string {
	var all []string
	for range 3000 {
		all = append(all, s)
	}
	return all
}

func TestRedactor(t *testing.T) {
	t.Parallel()
	r := NewRedactor([]byte("key"), []string{"node-a", "node-b"}, &Secrets{words: []string{"/registry/pods/web", "/registry/pods/web-2", "alice", "plain", "a", "7"}})
	for text, want := range map[string]string{
		"node-a parts from node-b":        "member-1 parts from member-2",
		"entry 1576 of term 3":            "entry 1576 of term 3",
		"put /registry/pods/web (3 b)":    "put " + r.Key("/registry/pods/web") + " (3 b)",
		"put /registry/pods/web-2 (3 b)":  "put " + r.Key("/registry/pods/web-2") + " (3 b)",
		"user alice, plainly":             "user " + r.token("alice") + ", plainly",
		"a range of 77 keys, 7 of them":   r.token("a") + " range of 77 keys, " + r.token("7") + " of them",
		"see http://10.1.2.3:2380/x":      "see " + r.token("http://10.1.2.3:2380/x"),
		"dial 10.1.2.3:2380 failed":       "dial " + r.token("10.1.2.3:2380") + " failed",
		"lease 00000000000000ff is gone":  fmt.Sprintf("lease %016x is gone", r.ID(0xff)),
		"open /home/someone/x: not there": "open " + r.Key("/home/someone/x") + ": not there",
		"https://github.com/etcd-io/etcd": "https://github.com/etcd-io/etcd",
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if got := r.Text(r.Text(text)); got != want {
			t.Errorf("%q twice: %q, want %q", text, got, want)
		}
	}
	if r.Key("/a/b/a") != "/"+r.token("a")+"/"+r.token("b")+"/"+r.token("a") || r.token("a") == r.token("b") {
		t.Error("equal segments do not have equal tokens, or others do")
	}
	if o := NewRedactor([]byte("another key"), nil, &Secrets{}); o.token("alice") == r.token("alice") || o.Sum("0") == r.Sum("0") {
		t.Error("tokens do not depend on the key")
	}
}
