package inspect

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// TestClearedElements reads a db from whose pages rows were cleared as bbolt's surgery does it, by cutting the directory of
// a page short. What is not there is not lost: the member does not have it, and no stale copy takes its place.
func TestClearedElements(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, PageSize: 4096, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{30, 31} { // the second time leaves older copies of the pages
		err = db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(schema.Key))
			for main := int64(2); main < 900 && err == nil; main++ {
				kv := mvcc.KeyValue{Key: []byte{'k', byte(main), byte(main >> 8)}, Mod: main, Create: main, Version: 1, Value: make([]byte, size)}
				err = b.Put(mvcc.Revision{Main: main}.AppendKey(nil), kv.Encode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(data []byte) *Member {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := Open(t.Context(), []string{path}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		return set.Members[0]
	}
	sound := read(good)
	all := sound.DB.Rows.Len()
	for _, c := range []struct {
		name     string
		page     uint64
		n        uint16 // elements to clear
		revision int64
	}{
		{"a page in the middle", sound.DB.Rows.Row(400).Page, 7, 899},
		{"all of a page in the middle", sound.DB.Rows.Row(400).Page, 0, 899},
		{"the last page", sound.DB.Rows.Row(all - 1).Page, 5, 894},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := slices.Clone(good)
			count := data[c.page*4096+10:]
			if c.n == 0 {
				c.n = binary.LittleEndian.Uint16(count)
			}
			binary.LittleEndian.PutUint16(count, binary.LittleEndian.Uint16(count)-c.n)
			m := read(data)
			if !m.DB.Whole || m.DB.Rows.Salvaged() != 0 || len(m.DB.Rows.Holes()) != 0 {
				t.Errorf("not whole: %v", m.Findings)
			}
			if got := m.DB.Rows.Len(); got != all-int(c.n) || m.DB.Revision() != c.revision {
				t.Errorf("%d rows up to revision %d, not %d up to %d", got, m.DB.Revision(), all-int(c.n), c.revision)
			}
			if i := slices.IndexFunc(m.Findings, func(f finding.Finding) bool { return f.Code == "page-elements-cleared" }); i < 0 || m.Findings[i].Page != int64(c.page) {
				t.Errorf("findings %v", m.Findings)
			}
		})
	}
}
