package inspect

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// BenchmarkReadDB reads the rows of a db as a comparison does: of the first member, and of another one. Values have 100 or 1024 bytes.
func BenchmarkReadDB(b *testing.B) {
	for _, size := range []int{100, 1024} {
		dir := filepath.Join(b.TempDir(), fmt.Sprint(size))
		writeMember(b, dir, 64<<20/(size+100), size)
		set, err := evidence.Open(b.Context(), []string{dir}, evidence.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = set.Close() })
		f := set.Members[0].DB
		for name, noting := range map[string]mvcc.Noting{"first": {Sums: true, Digests: true, Hashes: true}, "other": {Sums: true}} {
			b.Run(fmt.Sprintf("member=%s/values=%d", name, size), func(b *testing.B) {
				b.SetBytes(f.Size)
				for b.Loop() {
					m := Member{Log: new(raftlog.Log)}
					if m.readDB(b.Context(), f, Options{noting: noting}); m.DB.Rows.Len() != 64<<20/(size+100) {
						b.Fatalf("%d rows", m.DB.Rows.Len())
					}
				}
			})
		}
	}
}

// writeMember makes the db of a member with n keys.
func writeMember(b *testing.B, dir string, n, size int) {
	b.Helper()
	path := filepath.Join(dir, "member", "snap", "db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, size)
	r := rand.NewChaCha8([32]byte{})
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range schema.Buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		rows := tx.Bucket([]byte(schema.Key))
		rows.FillPercent = 0.9
		for i := range n {
			_, _ = r.Read(value)
			main := int64(i) + 2
			kv := mvcc.KeyValue{Key: fmt.Appendf(nil, "/registry/configmaps/default/object-%09d", i), Create: main, Mod: main, Version: 1, Value: value}
			if err := rows.Put(mvcc.Revision{Main: main}.AppendKey(nil), kv.Encode()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}
