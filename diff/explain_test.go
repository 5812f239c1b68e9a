package diff

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"etcd-autopsy/inspect"
)

var updateBugs = flag.Bool("update-bugs", false, "write testdata/bugs.golden anew")

// TestBugs is the table of all fixtures against all hypotheses. What is worth knowing but no trouble is left out.
func TestBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("reads every fixture")
	}
	dirs, err := filepath.Glob("../testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, d := range dirs {
		paths, err := filepath.Glob(filepath.Join(d, "*.tar.zst"))
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) == 0 {
			continue
		}
		set, err := inspect.Open(t.Context(), paths, inspect.Options{})
		if err != nil {
			fmt.Fprintf(&out, "%s: %v\n", filepath.Base(d), err)
			continue
		}
		doc := Investigate(t.Context(), set.Members, Options{})
		fmt.Fprintln(&out, filepath.Base(d))
		for i, v := range doc.Divergences {
			for _, e := range v.Explanations {
				fmt.Fprintf(&out, "  divergence %d: %s %s\n", i, e.ID, e.Status)
			}
		}
		for _, b := range doc.KnownBugs {
			fmt.Fprintf(&out, "  %s: %s %s\n", strings.Join(b.Members, " "), b.ID, b.Status)
		}
		if p := doc.Plan; p != nil {
			fmt.Fprintf(&out, "  best %q, rebuild %v\n", p.Best, p.Rebuild)
		}
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
	}
	const golden = "testdata/bugs.golden"
	if *updateBugs {
		if err := os.WriteFile(golden, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
