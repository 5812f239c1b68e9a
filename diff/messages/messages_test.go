package messages

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/inspect/serverlog"
)

// scanText looks for messages in a text.
func scanText(t testing.TB, text string) []*Hit {
	t.Helper()
	hits, err := Scan(context.Background(), serverlog.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

func has(hits []*Hit, id string) bool {
	return slices.ContainsFunc(hits, func(h *Hit) bool { return h.Message.ID == id })
}

// example is a text that a wording stands for.
func (w *Wording) example() string {
	return strings.NewReplacer("{n}", "12345", "{x}", "8e9e05c52164694d", "{}", "some text").Replace(w.Text)
}

var source = regexp.MustCompile(`^(etcd|raft|bbolt) \S+\.go \d\S+(, \d\S+)*$|^go src/\S+\.go \d+\.\d+$`)

// TestTable asserts that every message says what it should, has a source, and belongs to bugs that are known.
func TestTable(t *testing.T) {
	t.Parallel()
	ids, texts := map[string]bool{}, map[string]string{}
	for _, m := range All() {
		if m.ID == "" || ids[m.ID] {
			t.Errorf("%q is there twice, or empty", m.ID)
		}
		ids[m.ID] = true
		for _, s := range []string{m.Title, m.Meaning, m.Look, m.Do} {
			if s == "" {
				t.Errorf("%s does not say everything", m.ID)
			}
		}
		if m.Bug != "" && bugs.Find(m.Bug) == nil {
			t.Errorf("%s: no bug %s", m.ID, m.Bug)
		}
		for _, l := range m.Links() {
			if !strings.HasPrefix(l, "https://") {
				t.Errorf("%s: %s is no address", m.ID, l)
			}
		}
		if len(m.Wordings) == 0 {
			t.Errorf("%s has no wording", m.ID)
		}
		for _, w := range m.Wordings {
			if other, ok := texts[w.Text]; ok {
				t.Errorf("%q is of %s and of %s", w.Text, other, m.ID)
			}
			texts[w.Text] = m.ID
			if len(w.Sources) == 0 {
				t.Errorf("%q has no source", w.Text)
			}
			for _, s := range w.Sources {
				if !source.MatchString(s) {
					t.Errorf("%q: source %q", w.Text, s)
				}
			}
		}
	}
	if len(ids) < 60 || len(texts) < 200 {
		t.Errorf("%d messages in %d wordings", len(ids), len(texts))
	}
}

// TestForms asserts that each wording is found in every form in which a log can have it.
func TestForms(t *testing.T) {
	t.Parallel()
	forms := []string{
		"%s",
		"panic: %s",
		"2026-11-21 08:23:09.850254 C | etcdserver: %s",
		`{"level":"panic","ts":"2026-11-21T08:45:20.701Z","caller":"etcdserver/server.go:1","msg":%q,"field":1}`,
		`{"level":"fatal","ts":"2026-11-21T08:45:20.701Z","caller":"etcdmain/etcd.go:1","msg":"failed","error":%q}`,
		"2026-11-30T02:23:47.492139Z\tpanic\tetcdserver/server.go:1\t%s\t{\"n\": 1}",
		"Nov 21 08:23:09 host-1 etcd[123]: %s",
		"2026-11-21T08:23:09.123456789Z stderr F panic: %s",
		"[pod/etcd-0/etcd] 2026-11-21T08:23:09.123456789Z 2026-11-21 08:23:09.850254 C | etcdserver: %s",
		`{"log":"panic: %s\n","stream":"stderr","time":"2026-11-21T08:23:09.123456789Z"}`,
		"2026-11-21T08:23:09+0000 host-1 etcd[123]: 2026-11-21 08:23:09.850254 C | etcdmain: failed: %s",
	}
	for _, m := range All() {
		for _, w := range m.Wordings {
			for i, f := range forms {
				e := w.example()
				if strings.HasPrefix(e, "fatal error: ") || strings.HasPrefix(e, "[signal") || strings.HasPrefix(e, "unexpected fault") || strings.HasPrefix(e, "runtime error") {
					if i > 0 && len(w.Frames) == 0 || i > 1 {
						continue // the runtime writes it, and no logger
					}
					if strings.HasPrefix(e, "runtime error") {
						e = "panic: " + e
					}
					e += "\n\ngoroutine 1 [running]:\ngo.etcd.io/bbolt.(*DB).Begin(0x1)\n\t/go/db.go:1\ngo.etcd.io/etcd/server.x()\n"
					f = "%s"
				}
				if strings.HasPrefix(f, `{"log"`) {
					e = strings.Trim(strconv.Quote(e), `"`)
				}
				if text := fmt.Sprintf(f, e); !has(scanText(t, text), m.ID) {
					t.Errorf("%s is not found in %s", m.ID, text)
				}
			}
		}
	}
}

// TestNoFrames asserts that what the Go runtime says of any program counts only with the functions that it has to come from.
func TestNoFrames(t *testing.T) {
	t.Parallel()
	const dump = "panic: runtime error: slice bounds out of range [:5] with capacity 3\n\ngoroutine 1 [running]:\nmain.other()\n\t/x.go:1\n"
	if hits := scanText(t, dump+"\ngoroutine 2 [select]:\ngo.etcd.io/bbolt.(*DB).batch()\n"); len(hits) > 0 {
		t.Errorf("a panic of another goroutine: %s", hits[0].Message.ID)
	}
	hits := scanText(t, "panic: runtime error: slice bounds out of range [:5] with capacity 3 [recovered]\n\tpanic: again\n\ngoroutine 1 [running]:\ngo.etcd.io/bbolt.(*freelist).read(0x1)\n")
	if len(hits) != 1 || hits[0].Message.ID != "go-bounds-in-bbolt" || !hits[0].Stopped() {
		t.Errorf("%+v", hits)
	}
}

// TestReal looks at lines that real servers wrote: testdata/real.tsv has the message, the version of the server, how it was made to write it, empty where
// that was not noted (on directories that were damaged, put back or of another version), and the line; ⏎ parts lines of a trace. A message without
// a line of a real server has to say why, and is known from its sources alone.
func TestReal(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/real.tsv")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	provoked, worded := map[string]bool{}, map[string]bool{}
	for l := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(l, "\n"), "\t", 4)
		if len(f) < 4 {
			t.Fatalf("%q is no line of the table", l)
		}
		provoked[f[0]] = true
		hits := scanText(t, strings.ReplaceAll(f[3], "⏎", "\n"))
		if n++; !has(hits, f[0]) {
			t.Errorf("%s of %s is not found in %s", f[0], f[1], f[3])
		}
		for _, h := range hits {
			for _, w := range h.Wordings {
				worded[w.Text] = true
			}
		}
	}
	for _, m := range All() {
		switch {
		case !provoked[m.ID] && m.Unprovoked == "":
			t.Errorf("%s has no line of a real server, and does not say why", m.ID)
		case provoked[m.ID] && m.Unprovoked != "":
			t.Errorf("%s has a line of a real server, and says why it has none", m.ID)
		}
		delete(provoked, m.ID)
	}
	for id := range provoked {
		t.Errorf("a line is of %s, which is no message", id)
	}
	t.Logf("%d lines of real servers, in %d wordings", n, len(worded))
}

// TestOrdinary asserts that lines of healthy servers of 3.2 to 3.8 mean nothing.
func TestOrdinary(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/ordinary.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for s := bufio.NewScanner(z); s.Scan(); n++ {
		for _, h := range scanText(t, s.Text()) {
			t.Errorf("%s is found in %s", h.Message.ID, s.Text())
		}
	}
	if n < 1000 {
		t.Errorf("only %d lines", n)
	}
}

// TestCounts asserts what is said of a message that comes often.
func TestCounts(t *testing.T) {
	t.Parallel()
	hits := scanText(t, `{"level":"info","ts":"2026-11-21T08:45:20.7Z","msg":"fine"}
{"level":"warn","ts":"2026-11-21T08:45:21.7Z","msg":"found hash mismatch"}
{"level":"warn","ts":"2026-11-21T08:45:22.7Z","msg":"found hash mismatch"}
{"level":"fatal","ts":"2026-11-21T08:45:23.7Z","msg":"range failed to find revision pair"}
`)
	if len(hits) != 2 || hits[0].Message.ID != "mvcc-revision-missing" || hits[1].Count != 2 || hits[1].First != 2 || hits[1].Last != 3 || hits[1].Ended.Second() != 22 {
		t.Errorf("%+v", hits)
	}
}

func FuzzScan(f *testing.F) {
	for _, m := range All() {
		f.Add(m.Wordings[0].example())
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, h := range scanText(t, text) {
			if h.Count < 1 || h.First < 1 || len(h.Wordings) == 0 {
				t.Errorf("%+v", h)
			}
		}
	})
}
