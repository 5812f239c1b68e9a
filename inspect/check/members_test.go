package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/inspecttest"
)

// opened is the one member of a path.
func opened(t *testing.T, path string) *inspect.Member {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
	must(t, err)
	t.Cleanup(func() { set.Close() })
	if len(set.Members) != 1 {
		t.Fatalf("%d members", len(set.Members))
	}
	return set.Members[0]
}

func told(fs []finding.Finding) (lines []string) {
	for _, f := range fs {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Severity, f.Code, f.Detail))
	}
	return lines
}

// TestMembers checks the members of testdata/members.txtar.
func TestMembers(t *testing.T) {
	t.Parallel()
	file, err := txtar.ParseFile("testdata/members.txtar")
	must(t, err)
	if len(file.Files) < 30 {
		t.Fatalf("%d cases only", len(file.Files))
	}
	for _, c := range file.Files {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var lines, want []string
			for line := range strings.Lines(string(c.Data)) {
				if says, ok := strings.CutPrefix(strings.TrimSpace(line), "-> "); ok {
					want = append(want, says)
				} else {
					lines = append(lines, line)
				}
			}
			m := opened(t, inspecttest.Dir(t, strings.Join(lines, "")))
			all := Member(m)
			if d := cmp.Diff(want, told(all.Findings)); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
			for _, f := range all.Findings {
				if Explain(f.Code) == (Advice{}) {
					t.Errorf("%s is not explained", f.Code)
				}
			}
			if db := all.Coverage.DB; db != nil && db.Read+db.Free+db.Unreachable+db.Unreadable != db.Pages {
				t.Errorf("pages do not add up: %+v", *db)
			}
			// What is told of files alone is told of all, too.
			for _, f := range Files(m) {
				if !slices.ContainsFunc(all.Findings, func(o finding.Finding) bool { return o == f }) {
					t.Errorf("only of files: %s: %s", f.Code, f)
				}
			}
		})
	}
}

// TestManyOfAKind: of many findings of a kind some are listed, and the others counted.
func TestManyOfAKind(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("row meta consistent_index be(900)\n")
	for i := range maxListed + 7 {
		fmt.Fprintf(&b, "rev %d k%d=1 c%d v1 lease=%d\n", 2*i+2, i, 2*i+2, i+1)
	}
	listed := map[string]int{}
	lines := told(Member(opened(t, inspecttest.Dir(t, b.String()))).Findings)
	for _, l := range lines {
		_, code, _ := strings.Cut(l[:strings.Index(l, ":")], " ")
		listed[code]++
	}
	// Between 27 rows are 26 revisions without one.
	if listed["revision-without-rows"] != maxListed+1 || listed["lease-dangling"] != maxListed+1 ||
		!slices.Contains(lines, "error revision-without-rows: 6 more of this kind") || !slices.Contains(lines, "warning lease-dangling: 7 more of this kind") {
		t.Errorf("%v\n%s", listed, strings.Join(lines, "\n"))
	}
}

// TestSort: the worst comes first, and otherwise the place.
func TestSort(t *testing.T) {
	t.Parallel()
	fs := []finding.Finding{
		finding.New("i", finding.Info, "a", "x"), finding.New("w", finding.Warning, "b", "x"), finding.New("e", finding.Error, "c", "x"),
		finding.New("w", finding.Warning, "a", "x"), finding.New("e", finding.Error, "b", "x").At(9), finding.New("e", finding.Error, "b", "x").At(7),
	}
	var got []string
	Sort(fs)
	for _, f := range fs {
		got = append(got, fmt.Sprintf("%s %s %d", f.Code, f.File, f.Offset))
	}
	if s := strings.Join(got, ", "); s != "e b 7, e b 9, e c -1, w a -1, w b -1, i a -1" {
		t.Error(s)
	}
}

// TestOlder34 tells which cluster versions allow members before 3.5.
func TestUpTo34(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"3.4.0": true, "3.2": true, "2.3.8": true, "3.5.0": false, "3.10.0": false, "4.0.0": false, "": false, "none": false} {
		if upTo34(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}
