package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/preflight"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/inspecttest"
	"etcd-autopsy/inspect/stats"
)

// rendered is what is written of members in a format by each command.
func rendered(t *testing.T, set *inspect.Set, doc *diff.Document, pre *preflight.Document, format Format) map[string]string {
	t.Helper()
	l := diff.NewLedger(set.Members)
	keys := ""
	if len(set.Members) > 2 {
		keys = "/registry/masterleases/" // of many
	}
	out := map[string]string{}
	for name, write := range map[string]func(b *bytes.Buffer) error{
		"diff":      func(b *bytes.Buffer) error { return Diff(b, doc, format, false) },
		"diff full": func(b *bytes.Buffer) error { return Diff(b, doc, format, true) },
		"check":     func(b *bytes.Buffer) error { return Checks(b, Check(set.Members), format) },
		"inspect":   func(b *bytes.Buffer) error { return Inspect(b, Members(set.Members), format) },
		"hash":      func(b *bytes.Buffer) error { return Hash(b, diff.Hashes(set.Members, 0), format) },
		"stats":     func(b *bytes.Buffer) error { return Stats(b, Count(set.Members, stats.Options{}), format) },
		"preflight": func(b *bytes.Buffer) error { return Preflight(b, pre, format) },
		"history": func(b *bytes.Buffer) error {
			return History(b, l.Biography(diff.BiographyQuery{Prefix: &keys}), HistoryOptions{}, format)
		},
		"log":         func(b *bytes.Buffer) error { return Entries(t.Context(), b, l, LogOptions{}, format) },
		"quick":       func(b *bytes.Buffer) error { return QuickInspect(b, GlanceAt(set.Members), format) },
		"bugs":        func(b *bytes.Buffer) error { return Bugs(b, NewBugs(bugs.All()), format) },
		"bug details": func(b *bytes.Buffer) error { return BugDetails(b, NewBugs(bugs.All()), format) },
		"raw log":     func(b *bytes.Buffer) error { return RawLog(t.Context(), b, set.Members, LogOptions{}, format) },
		"dump": func(b *bytes.Buffer) error {
			return Dump(t.Context(), b, set.Members[0], DumpOptions{}, format)
		},
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Errorf("%s as %s: %v", name, format, err)
		}
		out[name] = b.String()
	}
	return out
}

// TestRendered asserts of every command and format: JSON is JSON, no line of text holds what a terminal obeys, values are not shown, and
// members are named.
func TestRendered(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-is-secret"
	log := `
entry 1 term 1 add 1 http://a:2380
entry 2 term 1 add 2 http://b:2380
entry 3 term 1 put x ` + secret + `
entry 4 term 1 put y 1
entry 5 term 1 del x
entry 6 term 1 put z 1
idle 7..8 term 1
commit 8 term 1
row meta consistent_index be(8)
row meta term be(1)
`
	whole := "rev 2 x=" + secret + " c2 v1\nrev 3 y=1 c3 v1\ndel 4 x\nrev 5 z=1 c5 v1\n"
	args := []string{"first=" + inspecttest.Dir(t, "node 1"+log+whole), "second=" + inspecttest.Dir(t, "node 2"+log+"rev 2 x="+secret+" c2 v1\nrev 3 y=1 c3 v1\nrev 4 z=1 c4 v1\n")}
	scenario, err := filepath.Glob("../testdata/lease-revoke-auth/*.tar.zst")
	if err != nil || len(scenario) != 3 {
		t.Fatalf("%q: %v", scenario, err)
	}
	for name, args := range map[string][]string{"parted": args, "alone": args[:1], "an incident": scenario} {
		set, err := inspect.Open(t.Context(), args, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		doc := diff.Investigate(t.Context(), set.Members, diff.Options{})
		pre, err := preflight.Run(set.Members, "3.6")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Formats() {
			t.Run(name+" as "+f, func(t *testing.T) {
				t.Parallel()
				format, err := ParseFormat(f)
				if err != nil {
					t.Fatal(err)
				}
				for command, text := range rendered(t, set, doc, pre, format) {
					if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
						t.Errorf("%s: %.200q", command, text)
					}
					if strings.Contains(text, secret) {
						t.Errorf("%s shows a value", command)
					}
					if format == JSON {
						d := json.NewDecoder(strings.NewReader(text))
						for d.More() {
							var x any
							if err := d.Decode(&x); err != nil {
								t.Errorf("%s: %v", command, err)
								break
							}
						}
					}
					for _, m := range set.Members {
						if (command == "diff" && len(set.Members) > 1 || command == "check" || command == "inspect" || command == "stats" || command == "preflight") && !strings.Contains(text, m.Label) {
							t.Errorf("%s does not name %s", command, m.Label)
						}
					}
				}
			})
		}
	}
}

// failing is a writer that has room for some bytes.
type failing int

var errFull = errors.New("no space left")

func (f *failing) Write(b []byte) (int, error) {
	if *f -= failing(len(b)); *f < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// TestFull asserts that an output that cannot be written is told, in every format: half a report is none.
func TestFull(t *testing.T) {
	t.Parallel()
	set, err := inspect.Open(t.Context(), []string{inspecttest.Dir(t, "rev 2 x=1 c2 v1\nrow meta consistent_index be(8)")}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, f := range Formats() {
		format, err := ParseFormat(f)
		if err != nil {
			t.Fatal(err)
		}
		room := failing(10)
		if err := Checks(&room, Check(set.Members), format); !errors.Is(err, errFull) {
			t.Errorf("check as %s: %v", f, err)
		}
		room = 10
		if err := Inspect(&room, Members(set.Members), format); !errors.Is(err, errFull) {
			t.Errorf("inspect as %s: %v", f, err)
		}
	}
}
