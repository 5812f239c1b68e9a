package report

import (
	"fmt"
	"io"
	"testing"

	"etcd-autopsy/diff"
)

// BenchmarkDiffJSON writes 10,000 keys that differ.
func BenchmarkDiffJSON(b *testing.B) {
	keys := make([]diff.KeyDiff, 10_000)
	for i := range keys {
		states := map[string]diff.KeyState{}
		for m, label := range []string{"a", "b", "c"} {
			states[label] = diff.KeyState{Present: true, ModRevision: int64(i), CreateRevision: int64(i), Version: 1, ValueSize: 1024, ValueSHA256: fmt.Sprintf("%064x", i+m)}
		}
		keys[i] = diff.KeyDiff{Key: diff.Key(fmt.Sprintf("/registry/configmaps/default/object-%09d", i)), Difference: "value", ByMember: states}
	}
	d := &diff.Document{Keys: diff.NewKeyDiffs(keys...)}
	b.ReportAllocs()
	for b.Loop() {
		if err := Diff(io.Discard, d, JSON, true); err != nil {
			b.Fatal(err)
		}
	}
}
