package diff

import (
	"path/filepath"
	"testing"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// TestOverBudget compares members with too few steps: there is no verdict, and it is said why.
func TestOverBudget(t *testing.T) {
	for _, scenario := range []string{"lease-revoke-auth", "crash-inconsistency"} {
		set, err := inspect.Open(t.Context(), []string{filepath.Join("..", "testdata", scenario)}, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := Compare(set.Members); d.Verdict != Diverged {
			t.Errorf("%s: verdict %s with enough steps, limits %q", scenario, d.Verdict, d.Search.Limits)
		}
		c := &comparison{all: set.Members, ms: set.Members, budget: mvcc.NewBudget(100), doc: &Document{SchemaVersion: SchemaVersion, Verdict: Consistent, Members: summaries(set.Members)}}
		c.guard("the evidence", func() {
			c.readRows(func() { c.counted = c.start(c.count) })
			c.relate()
		})
		c.counted()
		c.answer()
		d := c.doc.filled()
		if d.Verdict != Indeterminate || !d.Search.Bounded || len(d.Search.Limits) != 1 || len(d.Divergences) > 0 || d.Keys.Len() > 0 {
			t.Errorf("%s: verdict %s, bounded %v, limits %q, reasons %q", scenario, d.Verdict, d.Search.Bounded, d.Search.Limits, d.Reasons)
		}
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}
}
