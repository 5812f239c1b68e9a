package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"etcd-autopsy/inspect/finding"
)

type row struct {
	key, value string
	bucket     bool
}

type content struct {
	rows     []row
	sequence uint64
}

// build runs transactions on a new file and returns its bytes.
func build(t testing.TB, opts bbolt.Options, txs ...func(*bbolt.Tx) error) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	opts.NoSync = true
	db, err := bbolt.Open(path, 0o600, &opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tx := range txs {
		if err := db.Update(tx); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// oracle reads a file with bbolt, which must find no fault with it.
func oracle(t testing.TB, data []byte) map[string]content {
	t.Helper()
	path := filepath.Join(t.TempDir(), "oracle")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]content{}
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt's check: %v", err)
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			c := content{sequence: b.Sequence()}
			cur := b.Cursor()
			for k, v := cur.First(); k != nil; k, v = cur.Next() {
				c.rows = append(c.rows, row{string(k), string(v), v == nil})
			}
			all[string(name)] = c
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func collect(r *Rows) []row {
	var all []row
	for r.Next() {
		all = append(all, row{string(r.Key()), string(r.Value()), r.IsBucket()})
	}
	return all
}

func contents(db *DB) map[string]content {
	all := map[string]content{}
	for _, name := range db.BucketNames() {
		b := db.Bucket(name)
		all[name] = content{collect(b.Rows()), b.Sequence()}
	}
	return all
}

func open(t testing.TB, data []byte) *DB {
	t.Helper()
	db, err := Open("db", data, Options{Meta: -1})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

var allowUnexported = cmp.AllowUnexported(content{}, row{})

// checkSums asserts that a report accounts for every page and byte.
func checkSums(t testing.TB, db *DB, r *Report) {
	t.Helper()
	if got, want := r.Pages.Total(), db.Meta().HighWater; got != want {
		t.Errorf("%d pages accounted for, not %d: %+v", got, want, r.Pages)
	}
	if got, want := r.Bytes.Pages+r.Bytes.Tail+r.Bytes.Trailer, int64(len(db.data)); got != want {
		t.Errorf("%d bytes accounted for, not %d: %+v", got, want, r.Bytes)
	}
}

// sameAsOracle asserts that a whole file reads as bbolt reads it, in every way to read it.
func sameAsOracle(t testing.TB, data []byte) *DB {
	t.Helper()
	want := oracle(t, data)
	db := open(t, data)
	if d := cmp.Diff(want, contents(db), allowUnexported); d != "" {
		t.Fatal(d)
	}
	rnd := rand.New(rand.NewSource(1))
	for _, name := range db.BucketNames() {
		b, rows := db.Bucket(name), want[name].rows
		i, last := len(rows), b.Last()
		for last.Prev() {
			if i--; i < 0 || rows[i].key != string(last.Key()) {
				t.Fatalf("bucket %q backwards: wrong at %d", name, i)
			}
		}
		if i != 0 {
			t.Fatalf("bucket %q backwards: %d rows are missing", name, i)
		}
		for range min(len(rows), 50) {
			i := rnd.Intn(len(rows))
			key := rows[i].key
			if rnd.Intn(2) == 0 {
				key += "\x00"
				i++
			}
			if got := collect(b.Seek([]byte(key))); !slices.Equal(got, rows[i:]) {
				t.Fatalf("bucket %q from %q: %d rows, not %d", name, key, len(got), len(rows)-i)
			}
		}
		for r := b.Rows(); r.Next(); {
			if p, _, _ := r.leaf.row(r.i); !bytes.Equal(data[r.Offset()+int64(binary.LittleEndian.Uint32(data[r.Offset()+4:])):][:len(r.Key())], r.leaf.buf[p:][:len(r.Key())]) {
				t.Fatalf("bucket %q: offset %d is not that of the element", name, r.Offset())
			}
		}
	}
	r := db.Check()
	for _, f := range r.Findings {
		t.Errorf("false finding: %s: %s", f.Code, f)
	}
	if !r.Complete || r.Pages.Unreachable+r.Pages.Unreadable > 0 {
		t.Errorf("not complete: %+v", r.Pages)
	}
	checkSums(t, db, r)
	return db
}

func revKey(main int) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(main))
	return append(append(k, '_'), make([]byte, 8)...)
}

// fill puts n rows in a bucket, which it makes.
func fill(bucket string, n int, key func(int) []byte, size func(int) int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		for i := range n {
			if err := b.Put(key(i), bytes.Repeat([]byte{byte(i) | 1}, size(i))); err != nil {
				return err
			}
		}
		return nil
	}
}

func remove(bucket string, n, step int, key func(int) []byte) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		for i := 0; i < n; i += step {
			if err := tx.Bucket([]byte(bucket)).Delete(key(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func fixed(n int) func(int) int { return func(int) int { return n } }

func nest(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists([]byte("outer"))
	if err != nil {
		return err
	}
	for i := range 40 {
		c, err := b.CreateBucketIfNotExists(fmt.Appendf(nil, "inner%d", i))
		if err != nil {
			return err
		}
		for j := range i * 10 {
			if err := c.Put(revKey(j), []byte("x")); err != nil {
				return err
			}
		}
		if err := errors.Join(b.Put(fmt.Appendf(nil, "plain%d", i), nil), b.SetSequence(7)); err != nil {
			return err
		}
	}
	return nil
}

func TestSameAsBbolt(t *testing.T) {
	sizes := []int{1024, 4096, 16384, 65536}
	if testing.Short() {
		sizes = sizes[:2]
	}
	shuffled := rand.New(rand.NewSource(2)).Perm(20000)
	for name, txs := range map[string][]func(*bbolt.Tx) error{
		"no buckets":    {},
		"empty bucket":  {fill("key", 0, revKey, fixed(0))},
		"inline":        {fill("meta", 3, revKey, fixed(8)), fill("lease", 0, revKey, fixed(0)), fill("auth", 1, revKey, fixed(0))},
		"one leaf":      {fill("key", 25, revKey, fixed(20))},
		"depth 3":       {fill("key", 20000, revKey, fixed(40)), fill("meta", 3, revKey, fixed(8))},
		"random order":  {fill("key", 20000, func(i int) []byte { return revKey(shuffled[i]) }, fixed(10))},
		"big values":    {fill("key", 60, revKey, func(i int) int { return i * 1777 })},
		"exact pages":   {fill("a", 1, revKey, fixed(4096-16-16-17)), fill("b", 1, revKey, fixed(2*65536-16-16-17))},
		"nested":        {nest},
		"long keys":     {fill("key", 90, func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 1+i*i%bbolt.MaxKeySize) }, fixed(3))},
		"half deleted":  {fill("key", 9000, revKey, fixed(30)), remove("key", 9000, 2, revKey)},
		"all deleted":   {fill("key", 9000, revKey, fixed(30)), remove("key", 9000, 1, revKey)},
		"front deleted": {fill("key", 9000, revKey, fixed(30)), remove("key", 8000, 1, revKey), fill("key", 100, revKey, fixed(500))},
		"many buckets": {func(tx *bbolt.Tx) error {
			for i := range 500 {
				if err := fill(fmt.Sprintf("bucket%d", i), i%40, revKey, fixed(i%50))(tx); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range sizes {
				for _, noFreelist := range []bool{false, true} {
					data := build(t, bbolt.Options{PageSize: size, NoFreelistSync: noFreelist}, txs...)
					if db := sameAsOracle(t, data); db.Meta().PageSize != uint32(size) || len(txs) > 0 && (db.Meta().Freelist == 1<<64-1) != noFreelist {
						t.Errorf("wrong meta page: %+v", db.Meta())
					}
				}
			}
		})
	}
}

// TestLongFreelist has more free pages than a page's count can say.
func TestLongFreelist(t *testing.T) {
	const n = 70000
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	data := build(t, bbolt.Options{PageSize: 1024}, fill("key", n, key, fixed(900)), remove("key", n, 1, key), fill("other", 1, key, fixed(1)))
	db := sameAsOracle(t, data)
	if r := db.Check(); r.Pages.Free < countMax {
		t.Errorf("only %d free pages", r.Pages.Free)
	}
}

func TestSnapshot(t *testing.T) {
	data := build(t, bbolt.Options{PageSize: 4096}, fill("key", 500, revKey, fixed(40)))
	sum := sha256.Sum256(data)
	snap := append(slices.Clone(data), sum[:]...)
	db := sameAsOracle(t, snap)
	if !bytes.Equal(db.Trailer(), sum[:]) || !db.TrailerOK() {
		t.Error("the trailer is not recognised")
	}
	snap[len(snap)-1] ^= 1
	if r := open(t, snap).Check(); len(r.Findings) != 1 || r.Findings[0].Code != "snapshot-hash-mismatch" {
		t.Errorf("findings %v", r.Findings)
	}
	if db := open(t, data); db.Trailer() != nil || db.TrailerOK() {
		t.Error("a trailer where there is none")
	}
}

// TestOlderMeta reads the state one commit earlier.
func TestOlderMeta(t *testing.T) {
	data := build(t, bbolt.Options{PageSize: 4096}, fill("key", 400, revKey, fixed(40)), fill("key", 500, revKey, fixed(40)))
	newest := open(t, data)
	older, err := Open("db", data, Options{Meta: 1 - newest.Meta().Slot})
	if err != nil {
		t.Fatal(err)
	}
	if n, o := len(collect(newest.Bucket("key").Rows())), len(collect(older.Bucket("key").Rows())); n != 500 || o != 400 {
		t.Errorf("%d and %d rows, not 500 and 400", n, o)
	}
	if older.Meta().TxID+1 != newest.Meta().TxID {
		t.Errorf("transactions %d and %d", older.Meta().TxID, newest.Meta().TxID)
	}
	if r := older.Check(); !r.Complete {
		t.Errorf("the older state is not whole: %v", r.Findings)
	}
}

func TestNoMeta(t *testing.T) {
	good := build(t, bbolt.Options{PageSize: 4096}, fill("key", 5, revKey, fixed(4)))
	bad := slices.Clone(good)
	bad[0x20]++
	for _, c := range []struct {
		data []byte
		meta int
	}{{nil, -1}, {make([]byte, 1<<17), -1}, {bytes.Repeat([]byte("garbage"), 9999), -1}, {bad, 0}, {good, 2}} {
		if _, err := Open("db", c.data, Options{Meta: c.meta}); !errors.Is(err, ErrNoMeta) {
			t.Errorf("error %v", err)
		}
	}
}

// codes returns the codes of findings, of the given severity or worse, each once.
func codes(fs []finding.Finding, info bool) []string {
	var s []string
	for _, f := range fs {
		if f.Severity != finding.Info || info {
			s = append(s, f.Code)
		}
	}
	slices.Sort(s)
	return slices.Compact(s)
}
