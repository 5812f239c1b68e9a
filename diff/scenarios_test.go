package diff_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// truth is what testdata tells of a scenario.
type truth struct {
	Expect struct {
		Verdict   diff.Verdict   `json:"verdict"`
		VerdictIn []diff.Verdict `json:"verdict_in"`
		Entry     uint64         `json:"entry_index"`
		Minority  []string       `json:"minority"`
		Bug       string         `json:"bug"`
	} `json:"expect"`
}

// TestScenarios compares members of real clusters: what is said of them is what is known of them, in whatever order they are given, and
// what is not known of one of them does not make it part.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"healthy-3.6", "lease-revoke-auth", "log-fork", "tampered-value", "damaged-page"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("../testdata", name)
			b, err := os.ReadFile(filepath.Join(dir, "truth.json"))
			var want truth
			if err = errors.Join(err, json.Unmarshal(b, &want)); err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
			if err != nil || len(paths) != 3 {
				t.Fatalf("%q: %v", paths, err)
			}
			set, err := inspect.Open(t.Context(), paths, inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			d := diff.Investigate(t.Context(), set.Members, diff.Options{})
			p, x := placeOf(d), want.Expect
			if p.verdict != x.Verdict && !slices.Contains(x.VerdictIn, p.verdict) {
				t.Errorf("%s, want %s or one of %s", p.verdict, x.Verdict, x.VerdictIn)
			}
			if x.Entry > 0 && (p.first > x.Entry || p.last < x.Entry) || len(x.Minority) > 0 && !slices.Equal(p.minority, x.Minority) {
				t.Errorf("%+v, want %q at %d", p, x.Minority, x.Entry)
			}
			if x.Bug != "" && !slices.ContainsFunc(d.Divergences[0].Explanations, func(e diff.Explanation) bool { return e.ID == x.Bug }) {
				t.Errorf("explanations %+v", d.Divergences[0].Explanations)
			}
			back := slices.Clone(set.Members)
			slices.Reverse(back)
			if q := placeOf(diff.Compare(back)); !q.same(&p) {
				t.Errorf("in another order: %+v, not %+v", q, p)
			}
			for i := range set.Members {
				two := slices.Delete(slices.Clone(set.Members), i, i+1)
				if q := placeOf(diff.Compare(two)); q.verdict == diff.Diverged && p.verdict == diff.Consistent {
					t.Errorf("without %s: %+v", set.Members[i].Label, q)
				}
			}
			// The document is one that can be read again, and what it holds of keys outlives the files.
			held := d.Keys.Held()
			text, err := json.Marshal(d)
			var again map[string]any
			if err = errors.Join(err, json.Unmarshal(text, &again)); err != nil || again["verdict"] != string(p.verdict) || held.Len() != len(p.keys) {
				t.Errorf("%v: verdict %v, %d keys of %d", err, again["verdict"], held.Len(), len(p.keys))
			}
			// Members part over a lease that differs, and over the first keys that do.
			l := diff.NewLedger(set.Members)
			for _, x := range d.Leases[:min(len(d.Leases), 3)] {
				b := l.Biography(diff.BiographyQuery{Lease: &x.ID})
				if _, err := json.Marshal(b); err != nil || !b.Parts() {
					t.Errorf("lease %s: they do not part: %v", x.ID, err)
				}
			}
			for i := range min(held.Len(), 5) {
				key := string(held.At(i).Key)
				b := l.Biography(diff.BiographyQuery{Key: &key})
				if _, err := json.Marshal(b); err != nil || !b.Parts() {
					t.Errorf("%s: they do not part: %v", key, err)
				}
			}
			for line := range l.Lines(0, 0) {
				for i := range line.Variants {
					if _, differ := l.Outcomes(&line.Variants[i]); differ && p.verdict == diff.Consistent {
						t.Errorf("entry %d differs", line.Index)
					}
				}
			}
			// What is said of one member's files is said of it among others, too.
			for _, m := range set.Members {
				for _, f := range diff.CheckMember(m).Findings {
					if f.Severity == finding.Error && diff.Explain(f.Code) == (check.Advice{}) {
						t.Errorf("%s: %s is not explained", m.Label, f.Code)
					}
				}
			}
		})
	}
}
