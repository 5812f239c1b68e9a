package inspect

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// manyRows writes rows with gaps, some of them with a key that is no revision, on small pages so that there are many.
func manyRows(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, PageSize: 1024})
	if err != nil {
		t.Fatal(err)
	}
	rev := mvcc.Revision{Main: 2}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(schema.Key))
		for range 5000 {
			switch r.IntN(200) {
			case 0:
				rev.Main += r.Int64N(9)
			case 1:
				rev.Sub += r.Int64N(3)
			}
			if rev.Main, rev.Sub = rev.Main+1, 0; r.IntN(5) == 0 {
				rev.Main, rev.Sub = rev.Main-1, rev.Sub+1+r.Int64N(2)
			}
			key := rev.AppendKey(nil)
			if r.IntN(700) == 0 {
				key = append(binary.BigEndian.AppendUint64(nil, uint64(rev.Main)), 0xff)
			}
			if err == nil {
				kv := mvcc.KeyValue{Key: []byte{'k', byte(r.IntN(90))}, Mod: rev.Main, Create: rev.Main, Version: 1, Value: make([]byte, 20)}
				err = b.Put(key, kv.Encode())
			}
		}
		return err
	})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRowsInParts compares the table that is made of parts with the one that is made in order.
func TestRowsInParts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 9))
		data := manyRows(t, r)
		compact := []int64{0, 700, 2500, 9000}[seed%4]
		var noting mvcc.Noting
		if seed%2 == 0 {
			noting = mvcc.Noting{Sums: true, Digests: true, Hashes: true}
		}
		taken := func(parts int) *rowTaker {
			db, err := bolt.Open("db", data, bolt.Options{Meta: -1})
			if err != nil {
				t.Fatal(err)
			}
			rows := newRowTaker(t.Context(), &DB{File: &evidence.File{Name: "db"}, Bolt: db, Tables: &schema.Tables{FinishedCompact: compact}}, noting, "")
			db.CheckLeaves(rows, parts, func(fs []func()) {
				var wg sync.WaitGroup
				for _, f := range fs {
					wg.Go(f)
				}
				wg.Wait()
			})
			return rows
		}
		want := taken(1)
		if plain := taken(1); seed%2 == 0 {
			plain.table = mvcc.NewTable(plain.table.Rows(0, plain.table.Len()), nil) // links from the rows, without what was noted
			if !slices.Equal(slices.Collect(plain.table.Odd()), slices.Collect(want.table.Odd())) || plain.table.CountLive() != want.table.CountLive() {
				t.Errorf("seed %d: other rows are odd", seed)
			}
			if got, want := want.table.HashKV(1<<40, compact), plain.table.HashKV(1<<40, compact); got != want {
				t.Errorf("seed %d: hash %x, want %x", seed, got, want)
			}
		}
		if len(want.jumps) == 0 && compact < 5000 || len(want.odd) == 0 {
			t.Fatalf("seed %d: %d jumps, %d odd keys", seed, len(want.jumps), len(want.odd))
		}
		for parts := 2; parts < 6; parts++ {
			got := taken(parts)
			if !slices.Equal(got.jumps, want.jumps) || got.prev != want.prev || got.first != want.first || !slices.Equal(got.odd, want.odd) {
				t.Errorf("seed %d in %d parts: jumps %v, want %v; %d odd keys, want %d", seed, parts, got.jumps, want.jumps, len(got.odd), len(want.odd))
			}
			if got.table.Len() != want.table.Len() {
				t.Fatalf("seed %d in %d parts: %d rows, want %d", seed, parts, got.table.Len(), want.table.Len())
			}
			if !slices.Equal(slices.Collect(got.table.Odd()), slices.Collect(want.table.Odd())) || got.table.CountLive() != want.table.CountLive() {
				t.Errorf("seed %d in %d parts: other rows are odd", seed, parts)
			}
			if spans := mvcc.Apart([]*mvcc.Table{want.table, got.table}); noting.Sums && len(spans) > 0 {
				t.Errorf("seed %d in %d parts: %v are apart", seed, parts, spans)
			}
			if got, want := got.table.HashKV(1<<40, compact), want.table.HashKV(1<<40, compact); got != want {
				t.Errorf("seed %d in %d parts: hash %x, want %x", seed, parts, got, want)
			}
			for i, row := range want.table.All() {
				if other := got.table.Row(i); other.Rev != row.Rev || other.Page != row.Page {
					t.Fatalf("seed %d in %d parts: row %d is %v, want %v", seed, parts, i, other.Rev, row.Rev)
				}
			}
		}
	}
}
