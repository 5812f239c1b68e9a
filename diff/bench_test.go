package diff_test

import (
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// BenchmarkInvestigate compares the members of a real incident, and explains what it finds.
func BenchmarkInvestigate(b *testing.B) {
	set, err := inspect.Open(b.Context(), []string{"../testdata/lease-revoke-auth"}, inspect.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = set.Close() })
	for b.Loop() {
		if d := diff.Investigate(b.Context(), set.Members, diff.Options{}); d.Verdict != diff.Diverged {
			b.Fatalf("verdict %s", d.Verdict)
		}
	}
}
