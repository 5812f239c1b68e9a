package mvcc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bbolt "go.etcd.io/bbolt"

	"etcd-autopsy/inspect/bolt"
)

// history makes the rows of a keyspace: puts, deletes and groups of changes, some keys with a lease; damaged adds rows
// that no etcd would write.
func history(r *rand.Rand, n int, damaged bool) []Row {
	type state struct{ create, version, lease int64 }
	alive := map[string]state{}
	var rows []Row
	for main := int64(2); len(rows) < n; main++ {
		if r.IntN(200) == 0 {
			main += r.Int64N(5) // a lost revision
		}
		subs := 1 + max(0, r.IntN(12)-8)
		for sub := range subs {
			key := fmt.Sprintf("/k/%03d", r.IntN(60)+sub*100)
			s, ok := alive[key]
			row := Row{Rev: Revision{Main: main, Sub: int64(sub)}}
			kv := KeyValue{Key: []byte(key)}
			if ok && r.IntN(4) == 0 {
				delete(alive, key)
				row.Tombstone = true
			} else {
				if !ok {
					s.create = main
				}
				s.version++
				if s.lease = 0; r.IntN(5) == 0 {
					s.lease = 1 + r.Int64N(3)
				}
				alive[key] = s
				kv = KeyValue{Key: kv.Key, Value: bytes.Repeat([]byte("v"), r.IntN(300)), Create: s.create, Mod: main, Version: s.version, Lease: s.lease}
			}
			if damaged && r.IntN(100) == 0 {
				kv.Version += 7
			}
			if row.Value = kv.Encode(); damaged && r.IntN(100) == 0 {
				row.Value = []byte{0xff, 0xff}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// stored writes rows to a db and reads its bucket key.
func stored(t testing.TB, rows []Row) *Table {
	t.Helper()
	return storedBy(t, rows, len(rows), bbolt.DefaultFillPercent)
}

// storedBy is stored in transactions of so many rows, which fill pages so far.
func storedBy(t testing.TB, rows []Row, batch int, fill float64) *Table {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; more = len(rows) > 0 {
		err = db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("key"))
			if err != nil {
				return err
			}
			b.FillPercent = fill
			for i := range min(batch, len(rows)) {
				if err := b.Put(rows[i].appendKey(nil), rows[i].Value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rows = rows[min(batch, len(rows)):]
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

// model says in the plainest way what a table must tell.
type model []Row

func (m model) check(t *testing.T, table *Table) {
	t.Helper()
	if table.Len() != len(m) {
		t.Fatalf("%d rows, want %d", table.Len(), len(m))
	}
	last, leased, live, leases := map[string]int{}, map[int64]int{}, map[string]Row{}, false
	for i, got := range table.All() {
		want := m[i]
		if got.Rev != want.Rev || got.Tombstone != want.Tombstone || !bytes.Equal(got.Value, want.Value) {
			t.Fatalf("row %d: %v %v, want %v %v", i, got.Rev, got.Value, want.Rev, want.Value)
		}
		if again := table.Row(i); again.Rev != got.Rev || !bytes.Equal(again.Value, got.Value) || again.Page != got.Page {
			t.Fatalf("row %d: %v by itself, %v in a walk", i, again, got)
		}
		k := string(want.Key())
		previous, ok := last[k]
		if !ok {
			previous = -1
		}
		if got := table.Previous(i); got != previous {
			t.Fatalf("row %d: previous %d, want %d", i, got, previous)
		}
		last[k] = i
		delete(live, k)
		var kv KeyValue
		bad := kv.Decode(want.Value) != nil
		if !want.Tombstone && !want.Bump() {
			live[k] = want
			leases = leases || !bad && kv.Lease != 0
		}
	}
	for k, i := range last {
		if got := table.LastOf([]byte(k)); got != i {
			t.Fatalf("last row of %q: %d, want %d", k, got, i)
		}
	}
	if got := table.LastOf([]byte("never")); got != -1 {
		t.Errorf("last row of a key that is not there: %d", got)
	}
	for _, row := range live {
		var kv KeyValue
		if kv.Decode(row.Value) == nil && kv.Lease != 0 {
			leased[kv.Lease]++
		}
	}
	if got := table.CountLive(); got != len(live) {
		t.Errorf("%d live keys, want %d", got, len(live))
	}
	if got := table.LeasedKeys(); fmt.Sprint(got) != fmt.Sprint(leased) || table.HasLeases() != leases {
		t.Errorf("leased %v %v, want %v %v", got, table.HasLeases(), leased, leases)
	}
	for _, compact := range []int64{0, 50} {
		for rev := compact + 1; rev < compact+300; rev += 40 {
			want := table.HashKV(rev, compact)
			for parts := 1; parts < 5; parts++ {
				apart := table.HashKVApart(rev, compact, parts, func(fs []func()) {
					for _, f := range fs {
						f()
					}
				})
				if apart != want {
					t.Errorf("hash at %d, compact %d, in %d parts: %x, want %x", rev, compact, parts, apart, want)
				}
			}
		}
	}
	m.lookups(t, table)
	if got, want := slices.Collect(table.Odd()), m.odd(); !slices.Equal(got, want) {
		t.Errorf("odd rows %v, want %v", got, want)
	}
}

func (m model) lookups(t *testing.T, table *Table) {
	t.Helper()
	final := m[len(m)-1].Rev.Main
	for main := range final + 3 {
		lower, _ := slices.BinarySearchFunc(m, main, func(r Row, main int64) int { return int(r.Rev.Main - main) })
		if got := table.Lower(main); got != lower {
			t.Fatalf("lower of %d: %d, want %d", main, got, lower)
		}
		n := lower
		for n < len(m) && m[n].Rev.Main == main {
			n++
		}
		if got := table.Group(main); len(got) != n-lower || table.HasGroup(main) != (n > lower) {
			t.Fatalf("group %d: %d rows, want %d", main, len(got), n-lower)
		}
	}
	for _, end := range []int{0, 1, len(m) / 2, len(m)} {
		want := map[string]int{}
		for i, r := range m[:end] {
			want[string(r.Key())] = i
		}
		n := 0
		for i, r := range table.Latest(end) {
			if want[string(r.Key())] != i {
				t.Fatalf("latest below %d: row %d of %q, want %d", end, i, r.Key(), want[string(r.Key())])
			}
			n++
		}
		if n != len(want) {
			t.Errorf("latest below %d: %d keys, want %d", end, n, len(want))
		}
	}
	for _, compact := range []int64{0, final / 3, final - 1} {
		for _, rev := range []int64{compact, final / 2, final} {
			if rev >= compact {
				if got, want := table.HashKV(rev, compact), m.hashKV(rev, compact); got != want {
					t.Errorf("hash of %d, compact %d: %x, want %x", rev, compact, got, want)
				}
			}
		}
	}
}

func (m model) odd() (odd []int) {
	rev := Revision{Main: 1, Sub: -1}
	last := map[string]int{}
	for i, r := range m {
		var kv, before KeyValue
		ok := r.Rev.follows(rev)
		rev = r.Rev
		bad := kv.Decode(r.Value) != nil || len(kv.Key) == 0
		p, has := last[string(r.Key())]
		last[string(r.Key())] = i
		gone := !has || m[p].Tombstone
		switch {
		case bad:
			ok = false
		case has && (before.Decode(m[p].Value) != nil || len(before.Key) == 0):
			ok = false
		case r.Tombstone:
		case gone:
			ok = ok && kv.Mod == rev.Main && kv.Create == rev.Main && kv.Version == 1
		default:
			ok = ok && kv.Mod == rev.Main && kv.Create == before.Create && kv.Version == before.Version+1
		}
		if !ok {
			odd = append(odd, i)
		}
	}
	return odd
}

func (m model) hashKV(rev, compact int64) uint32 {
	last := map[string]int{}
	live := map[string]bool{}
	for i, r := range m {
		if r.Rev.Main <= rev {
			last[string(r.Key())] = i
			delete(live, string(r.Key()))
			if !r.Tombstone {
				live[string(r.Key())] = true
			}
		}
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	h.Write([]byte("key"))
	for i, r := range m {
		if r.Rev.Main > rev || r.Rev.Main <= compact &&
			(len(live) > 0 && (last[string(r.Key())] != i || r.Tombstone) || r.Tombstone && r.Rev.Main == compact) {
			continue
		}
		k := binary.BigEndian.AppendUint64(nil, uint64(r.Rev.Main))
		k = binary.BigEndian.AppendUint64(append(k, '_'), uint64(r.Rev.Sub))
		if r.Tombstone {
			k = append(k, 't')
		}
		h.Write(k)
		h.Write(r.Value)
	}
	return h.Sum32()
}

func TestTable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rows := history(rand.New(rand.NewPCG(seed, 1)), 1+int(seed*seed*3), seed%3 == 2)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			model(rows).check(t, NewTable(rows, nil))
			model(rows).check(t, stored(t, rows))
		})
	}
}

// TestTableBlocks is about tables so long that digests are made ahead.
func TestTableBlocks(t *testing.T) {
	t.Parallel()
	rows := history(rand.New(rand.NewPCG(7, 7)), 5*block, true)
	model(rows).check(t, stored(t, rows))
}

func TestWith(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 2))
		rows := history(r, 400, false)
		table := stored(t, rows)
		last := rows[len(rows)-1].Rev.Main
		more := []Row{{Rev: Revision{3, 90}}, {Rev: Revision{last, 91}}, {Rev: Revision{1, 0}}}
		for range r.IntN(5) {
			main := 1 + r.Int64N(last+2)
			if r.IntN(2) == 0 {
				main = table.parts[r.IntN(len(table.parts))].main // its rows may begin on the page before
			}
			kv := KeyValue{Key: []byte("new"), Mod: main, Create: main, Version: 1}
			more = append(more, Row{Rev: Revision{main, 100 + int64(len(more))}, Value: kv.Encode()})
		}
		for i := range more {
			more[i].Salvaged = true
		}
		want := append(slices.Clone(model(rows)), more...)
		sortRows(want)
		with := table.With(more, []Hole{{Last: Revision{9, 9}}})
		want.check(t, with)
		if with.Salvaged() != len(more) || !with.Unknown(9) || with.Unknown(10) || table.Unknown(9) {
			t.Errorf("seed %d: %d salvaged, holes %v", seed, with.Salvaged(), with.Holes())
		}
		again := with.With([]Row{{Rev: Revision{last, 500}}}, nil)
		model(append(slices.Clone(want), Row{Rev: Revision{last, 500}})).sorted().check(t, again)
		model(more).sorted().check(t, NewTable(nil, nil).With(more, nil))
		model(rows).check(t, table)
	}
}

func (m model) sorted() model {
	sortRows(m)
	return m
}

// TestShared compares tables that share their beginning with those read alone.
func TestShared(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		first := history(r, 300, seed%2 == 0)
		tables, all, shared := []*Table{stored(t, first)}, []model{first}, []int{len(first)}
		for range 1 + r.IntN(3) {
			n := r.IntN(len(first) + 1)
			rows := slices.Clone(first[:n])
			for _, row := range history(r, 1+r.IntN(200), false) {
				if n == 0 || row.Rev.Compare(first[n-1].Rev) > 0 {
					rows = append(rows, row)
				}
			}
			if len(rows) == 0 {
				continue
			}
			tables, all, shared = append(tables, stored(t, rows)), append(all, rows), append(shared, n)
		}
		LinkShared(tables, shared)
		LinkShared(tables, shared) // what is known stays
		for _, compact := range []int64{0, 40} {
			var revs, compacts []int64
			for _, m := range all {
				revs, compacts = append(revs, m[len(m)-1].Rev.Main), append(compacts, compact)
			}
			sums := HashKVs(tables, shared, revs, compacts, func(f func()) { f() })
			for i, m := range all {
				if want := m.hashKV(revs[i], compact); revs[i] >= compact && sums[i] != want {
					t.Errorf("seed %d: table %d, compact %d: hash %x, want %x", seed, i, compact, sums[i], want)
				}
			}
		}
		for i, m := range all {
			m.check(t, tables[i])
		}
	}
}

// sameIndex compares all that two indexes tell of some keys and leases.
func sameIndex(t *testing.T, got, want *Index, keys map[string]struct{}, last int64) {
	t.Helper()
	if !slices.Equal(got.Keys(), want.Keys()) {
		t.Fatalf("keys %v, want %v", got.Keys(), want.Keys())
	}
	for main := range last + 2 {
		for lease := range int64(4) {
			if x, y := got.Attached(lease, main), want.Attached(lease, main); !slices.Equal(x, y) {
				t.Errorf("lease %d at %d: %v, want %v", lease, main, x, y)
			}
		}
		for k := range keys {
			x, r, a := got.At(k, main)
			y, s, b := want.At(k, main)
			if a != b || !x.Same(&y) || r.Rev != s.Rev {
				t.Errorf("%s at %d: %v, want %v", k, main, x, y)
			}
		}
	}
}

func TestIndexKeys(t *testing.T) {
	t.Parallel()
	rows := history(rand.New(rand.NewPCG(5, 5)), 900, false)
	table := stored(t, rows)
	keys := map[string]struct{}{"/k/007": {}, "/k/101": {}, "absent": {}}
	some := table.IndexKeys(keys)
	all := table.Index(func(k []byte) bool { _, ok := keys[string(k)]; return ok })
	if len(all.Keys()) != 2 {
		t.Fatalf("keys %v", all.Keys())
	}
	sameIndex(t, some, all, keys, rows[len(rows)-1].Rev.Main)
}

// TestIndexOf makes the index of a table from that of one that it shares rows with.
func TestIndexOf(t *testing.T) {
	t.Parallel()
	keys := map[string]struct{}{"absent": {}, "late": {}}
	for i := range 20 {
		keys[fmt.Sprintf("/k/%03d", i*3)] = struct{}{}
	}
	want := func(k []byte) bool { _, ok := keys[string(k)]; return ok }
	made := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		first := history(r, 300, false)
		n := 150 + r.IntN(151)
		rows := slices.Clone(first[:n])
		for _, row := range history(r, 400, false) {
			if row.Rev.Compare(first[n-1].Rev) > 0 {
				rows = append(rows, row)
			}
		}
		kv := KeyValue{Key: []byte("late"), Mod: 9999, Create: 9999, Version: 1, Lease: 3}
		rows = append(rows, Row{Rev: Revision{Main: 9999}, Value: kv.Encode()})
		if r.IntN(2) == 0 {
			rows = rows[:len(rows)-1]
		}
		tables := []*Table{stored(t, first), stored(t, rows)}
		LinkShared(tables, []int{len(first), n})
		got, ok := tables[0].IndexKeys(keys).Of(tables[1], func(r *Row) bool { return want(r.Key()) })
		if ok != tables[1].SharesWith(tables[0]) {
			t.Errorf("seed %d: made is %v", seed, ok)
		}
		if ok {
			made++
			sameIndex(t, got, tables[1].Index(want), keys, rows[len(rows)-1].Rev.Main%1000)
		}
		if _, ok := tables[1].IndexKeys(keys).Of(tables[0], func(*Row) bool { return false }); ok {
			t.Errorf("seed %d: made from one that shares nothing", seed)
		}
	}
	if made < 20 {
		t.Errorf("%d of 40 tables share rows", made)
	}
}

// open reads the bucket key of a db file.
func open(t testing.TB, path string) *Table {
	t.Helper()
	db, err := bolt.Open("db", read(t, path), bolt.Options{Meta: -1})
	if err != nil {
		t.Fatal(err)
	}
	v := &taker{NewTableOf(db, 0, "")}
	v.table.Note(Noting{Sums: true, Digests: true, Hashes: true})
	db.CheckLeaves(v, 1, nil)
	return v.table
}

// taker takes all rows.
type taker struct{ table *Table }

func (v *taker) Leaf(_ *bolt.Bucket, l bolt.Leaf) {
	if l.Inline() {
		var rows []Row
		for i := range l.Len() {
			key, value := l.Row(i)
			rev, tombstone, _ := ParseRevision(key)
			rows = append(rows, Row{Rev: rev, Tombstone: tombstone, Value: value})
		}
		v.table.AppendRows(rows)
		return
	}
	if !l.IsBucket(0) {
		var revs []Revision
		for i := range l.Len() {
			key, _ := l.Row(i)
			rev, _, _ := ParseRevision(key)
			revs = append(revs, rev)
		}
		v.table.AppendLeaf(&l, revs)
	}
}

func (v *taker) Fork() bolt.Visitor { panic("all is read by one") }
func (v *taker) Join(bolt.Visitor)  {}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
