package schema

import (
	"iter"
	"strings"
	"testing"
)

// TestDeepRow bounds how deep a row of JSON may be, and says so.
func TestDeepRow(t *testing.T) {
	deep := `{"id":18,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`
	for _, c := range []struct{ bucket, key string }{{Members, "12"}, {Meta, "confState"}, {Cluster, "downgrade"}} {
		_, found := Read("db", func(bucket string) iter.Seq2[[]byte, []byte] {
			return func(yield func(k, v []byte) bool) {
				if bucket == c.bucket {
					yield([]byte(c.key), []byte(deep))
				}
			}
		})
		if len(found) != 1 || !found[0].Unreadable || !strings.Contains(found[0].Detail, "is nested more than 1000 levels deep") {
			t.Errorf("%s: %v", c.bucket, found)
		}
	}
}
