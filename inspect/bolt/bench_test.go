package bolt

import (
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// benchFile is 1/8 of a big etcd: 90,000 rows of 1,450 bytes.
func benchFile(b *testing.B) (data []byte, path string) {
	data = build(b, bbolt.Options{PageSize: 4096}, fill("key", 90000, revKey, fixed(1450)))
	path = filepath.Join(b.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	return data, path
}

// touch reads one byte of each cache line, as a hash or a decoder would at least.
func touch(v []byte) (n int) {
	for i := 0; i < len(v); i += 64 {
		n += int(v[i])
	}
	return n
}

func BenchmarkRows(b *testing.B) {
	data, path := benchFile(b)
	db := open(b, data)
	walk := func(b *testing.B, each func(k, v []byte)) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for r := db.Bucket("key").Rows(); r.Next(); n++ {
				each(r.Key(), r.Value())
			}
			if n != 90000 {
				b.Fatal(n)
			}
		}
	}
	sum := 0
	b.Run("keys", func(b *testing.B) { walk(b, func(k, _ []byte) { sum += int(k[7]) }) })
	b.Run("values", func(b *testing.B) { walk(b, func(_, v []byte) { sum += touch(v) }) })
	b.Run("check in 2 parts", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !open(b, data).CheckLeaves(&seen{}, 2, together).Complete {
				b.Fatal("not complete")
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if !open(b, data).Check().Complete {
				b.Fatal("not complete")
			}
		}
	})

	old, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	defer old.Close()
	cursor := func(b *testing.B, each func(k, v []byte)) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			if err := old.View(func(tx *bbolt.Tx) error {
				c := tx.Bucket([]byte("key")).Cursor()
				for k, v := c.First(); k != nil; k, v = c.Next() {
					each(k, v)
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("bbolt keys", func(b *testing.B) { cursor(b, func(k, _ []byte) { sum += int(k[7]) }) })
	b.Run("bbolt values", func(b *testing.B) { cursor(b, func(_, v []byte) { sum += touch(v) }) })
	_ = sum
}
