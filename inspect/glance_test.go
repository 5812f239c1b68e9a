package inspect

import (
	"path/filepath"
	"testing"
)

// TestGlance holds what a quick look tells against what is read of all.
func TestGlance(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"healthy-3.2", "healthy-3.6", "lease-revoke-auth", "zombie-members-36", "missing-db", "db-is-snapshot-with-hash"} {
		arg := filepath.Join("..", "testdata", name)
		whole, err := Open(t.Context(), []string{arg}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		quick, err := Open(t.Context(), []string{arg}, Options{Quick: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range whole.Members {
			q := quick.Members[i]
			if q.Log.NodeID != m.Log.NodeID || q.Log.ClusterID != m.Log.ClusterID {
				t.Errorf("%s: %s is member %x of cluster %x, at a glance %x of %x", name, m.Label, m.Log.NodeID, m.Log.ClusterID, q.Log.NodeID, q.Log.ClusterID)
			}
			if (q.DB == nil) != (m.DB == nil) {
				t.Errorf("%s: %s has a db: %v, at a glance %v", name, m.Label, m.DB != nil, q.DB != nil)
			}
			if m.DB == nil {
				continue
			}
			if q.DB.Revision() != m.DB.Revision() || q.DB.Tables.ConsistentIndex != m.DB.Tables.ConsistentIndex || q.DB.CompactRevision() != m.DB.CompactRevision() {
				t.Errorf("%s: %s is at entry %d, revision %d, at a glance at %d, %d", name, m.Label,
					m.DB.Tables.ConsistentIndex, m.DB.Revision(), q.DB.Tables.ConsistentIndex, q.DB.Revision())
			}
		}
		_, _ = whole.Close(), quick.Close()
	}
}
