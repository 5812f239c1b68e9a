package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"etcd-autopsy/inspect/bolt"
)

// Torn is a cluster of which some dbs were not copied at one moment, or not whole.
type Torn struct {
	*Case
	Hows []string // what became of each member's db, "" for nothing
	// Whole tells of each member whether every page that the state of its newest meta page uses is as it was then.
	Whole []bool
}

// maxStates bounds how many states of a db are kept, the last ones: each is a copy of the file.
const maxStates = 48

// MakeTorn makes the case of a seed, with one fault if planted, without any otherwise, and puts damaged copies in the
// place of some dbs. The case is nil if the seed draws
// a fault that is made in the file.
//
//	states of a db, one a commit   s0  s1  s2  s3          page by page, the copy takes
//	                                \   \   |   /           any of some in a row
//	                                 copy: pages of several
func MakeTorn(dir string, seed uint64, planted bool) (*Torn, error) {
	m := newMaker(dir, seed)
	if m.number = 0; planted {
		m.number = 1
	}
	c, err := m.make(func(fs []*Fault) bool {
		return len(fs) == m.number && (!planted || slices.Contains(applied, fs[0].Kind))
	})
	if c == nil || err != nil {
		return nil, err
	}
	rng := stream(seed, "torn")
	t := &Torn{Case: c, Hows: make([]string, len(c.Members)), Whole: make([]bool, len(c.Members))}
	n := 1 + rng.IntN(len(c.Members))
	for k, i := range rng.Perm(len(c.Members)) {
		if t.Whole[i] = true; k >= n {
			continue
		}
		if t.Hows[i], t.Whole[i], err = c.Members[i].tear(rng, filepath.Join(dir, "states")); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// tear puts a damaged copy in the place of a member's db, and says what it did, and whether all that is in use is whole.
func (x *Member) tear(rng *rand.Rand, dir string) (how string, whole bool, err error) {
	path := x.sc.db
	dir = filepath.Join(dir, x.Label)
	if err := os.RemoveAll(dir); err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, err
	}
	twin, err := newMirror(filepath.Join(dir, "mirror"))
	if err != nil {
		return "", false, err
	}
	if rng.IntN(4) == 0 {
		before, err := twin.follow(path)
		if err := errorsOf(err, twin.db.Close()); err != nil {
			return "", false, err
		}
		b, how := spoil(rng, bytes.Clone(before))
		whole, err := isWhole(b, [][]byte{before}, filepath.Join(dir, "db"))
		if err != nil {
			return "", false, err
		}
		return how, whole, os.WriteFile(path, b, 0o600)
	}
	var states [][]byte
	sc, every := x.sc, 1+rng.IntN(6)
	sc.db = filepath.Join(dir, "db")
	n := 0
	sc.seen = func(r *replica) {
		if n++; err != nil || n%every != 0 && n > 2 {
			return
		}
		r.kv.Commit()
		var b []byte
		if b, err = twin.follow(sc.db); err != nil {
			return
		}
		if states = append(states, b); len(states) > maxStates {
			states = states[1:]
		}
	}
	_, rerr := sc.run()
	if err := errorsOf(rerr, err, twin.db.Close()); err != nil {
		return "", false, fmt.Errorf("states: %w", err)
	}
	// A member that is written to goes on: its log ends behind the last state that any page is of.
	width := min(2+rng.IntN(12), len(states)-1)
	from := rng.IntN(len(states) - width)
	if rng.IntN(3) == 0 {
		from = len(states) - 1 - width
	}
	b, how := mix(rng, states[from:from+width])
	if whole, err = isWhole(b, states, sc.db); err != nil {
		return "", false, err
	}
	return how, whole, os.WriteFile(path, b, 0o600)
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// mirror is a db that holds the same rows as another one after each of its commits, on pages of its own. bbolt writes the buckets
// of a transaction, and evens out what was deleted, in the order of a map: a seed would draw other pages each time. A mirror changes one bucket and
// deletes one row a transaction.
//
// Free pages are as they were after the commit before: no page is left of the transactions in between.
type mirror struct {
	db   *bbolt.DB
	held dump
	was  []byte
}

func newMirror(path string) (*mirror, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistArrayType, PageSize: pageSize})
	return &mirror{db: db, held: dump{}}, err
}

// follow makes the mirror hold what another db does, which is open, and returns the pages of it.
func (m *mirror) follow(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	copied := m.db.Path() + ".copy"
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		return nil, err
	}
	want, err := readDump(copied)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if err := m.fill(name, want[name]); err != nil {
			return nil, err
		}
	}
	m.held = want
	if b, err = os.ReadFile(m.db.Path()); err != nil {
		return nil, err
	}
	err = m.db.View(func(tx *bbolt.Tx) error {
		for id := 2; (id+1)*pageSize <= len(b); {
			p, err := tx.Page(id)
			size := pageSize
			switch {
			case err != nil:
				return err
			case p != nil && p.Type != "free":
				size *= 1 + p.OverflowCount
			default:
				clear(b[id*pageSize:][:pageSize])
				if (id+1)*pageSize <= len(m.was) {
					copy(b[id*pageSize:][:pageSize], m.was[id*pageSize:])
				}
			}
			id += size / pageSize
		}
		return nil
	})
	m.was = b
	return b, err
}

// fill makes a bucket hold some rows.
func (m *mirror) fill(name string, want []Row) error {
	have := map[string][]byte{}
	for _, r := range m.held[name] {
		have[string(r.Key)] = r.Value
	}
	err := m.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		for _, r := range want {
			if v, ok := have[string(r.Key)]; err == nil && (!ok || !bytes.Equal(v, r.Value)) {
				err = b.Put(r.Key, r.Value)
			}
			delete(have, string(r.Key))
		}
		return err
	})
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if err == nil {
			err = m.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(name)).Delete([]byte(k)) })
		}
	}
	return err
}

// pageSize is that of the dbs which etcd's backend makes here.
var pageSize = os.Getpagesize()

// mix takes each page from one of several states.
func mix(rng *rand.Rand, states [][]byte) (b []byte, how string) {
	last := states[len(states)-1]
	pages := 0
	for _, s := range states {
		pages = max(pages, len(s)/pageSize)
	}
	page := func(k, id int) []byte {
		if s := states[k]; (id+1)*pageSize <= len(s) {
			return s[id*pageSize:][:pageSize]
		}
		return make([]byte, pageSize)
	}
	var take func(id int) int
	switch rng.IntN(4) {
	case 0: // as cp does it: later pages are of later moments
		how = "copied forwards while it was written"
		var at []int
		for range len(states) - 1 {
			at = append(at, 1+rng.IntN(max(used(last), 2)))
		}
		slices.Sort(at)
		take = func(id int) int {
			k, _ := slices.BinarySearch(at, id+1)
			return k
		}
	case 1:
		how = "copied backwards while it was written"
		var at []int
		for range len(states) - 1 {
			at = append(at, 1+rng.IntN(max(used(last), 2)))
		}
		slices.Sort(at)
		take = func(id int) int {
			k, _ := slices.BinarySearch(at, id+1)
			return len(states) - 1 - k
		}
	case 2:
		how = "pages of two states"
		states = [][]byte{states[0], last}
		take = func(int) int { return rng.IntN(2) }
	default:
		how = "pages of many states"
		take = func(int) int { return rng.IntN(len(states)) }
	}
	for id := range pages {
		k := take(id)
		if id == 1 {
			k = take(0) // both meta pages are read at once
			copy(b, page(k, 0))
		}
		b = append(b, page(k, id)...)
	}
	return b, fmt.Sprintf("%s (%d states)", how, len(states))
}

// meta returns what a page says of the state that it heads, if it is a meta page.
func meta(b []byte, id int) (txid, highWater uint64) {
	m := b[id*pageSize+16:]
	return binary.LittleEndian.Uint64(m[48:]), binary.LittleEndian.Uint64(m[40:])
}

// used is how many pages of a file are below the high-water mark.
func used(b []byte) int {
	_, a := meta(b, 0)
	_, c := meta(b, 1)
	return int(max(a, c))
}

// isWhole tells whether every page that the state of the newest meta page uses is in the copy as it was in that state, or whether the
// copy holds what the db held at some moment.
func isWhole(b []byte, states [][]byte, scratch string) (bool, error) {
	newest := func(b []byte) uint64 {
		x, _ := meta(b, 0)
		y, _ := meta(b, 1)
		return max(x, y)
	}
	n := slices.IndexFunc(states, func(s []byte) bool { return newest(s) == newest(b) })
	if n < 0 {
		return false, fmt.Errorf("no state of transaction %d", newest(b))
	}
	s := states[n]
	if err := os.WriteFile(scratch, s, 0o600); err != nil {
		return false, err
	}
	db, err := bbolt.Open(scratch, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return false, err
	}
	whole := true
	err = db.View(func(tx *bbolt.Tx) error {
		for id := 2; id < used(s); {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				return err
			}
			size := (1 + p.OverflowCount) * pageSize
			if p.Type == "free" {
				size = pageSize
			} else if len(b) < id*pageSize+size || !bytes.Equal(s[id*pageSize:][:size], b[id*pageSize:][:size]) {
				whole = false
			}
			id += size / pageSize
		}
		return nil
	})
	if err := closeAll(func() error { return err }, db.Close); err != nil || whole {
		return whole, err
	}
	for _, s := range states { // or that of another state, by an older root page
		if err := os.WriteFile(scratch, s, 0o600); err != nil {
			return false, err
		}
		want, err := readDump(scratch)
		if err != nil || sameDump(want, b) {
			return err == nil, err
		}
	}
	return false, nil
}

// sameDump tells whether a db, which may be damaged, holds the same rows as another one, though not on the same pages. Where pages are each
// other's children bbolt reads without end.
func sameDump(want dump, b []byte) bool {
	db, err := bolt.Open("db", b, bolt.Options{Meta: -1})
	if err != nil || len(db.BucketNames()) != len(want) {
		return false
	}
	for name, rows := range want {
		x := db.Bucket(name)
		if x == nil {
			return false
		}
		at := x.Rows()
		for _, r := range rows {
			if !at.Next() || !bytes.Equal(at.Key(), r.Key) || !bytes.Equal(at.Value(), r.Value) {
				return false
			}
		}
		if at.Next() || at.Err() != nil {
			return false
		}
	}
	return true
}

// spoil cuts a db, or overwrites pages with zeros.
func spoil(rng *rand.Rand, b []byte) (spoilt []byte, how string) {
	n := used(b) * pageSize
	if rng.IntN(2) == 0 {
		n = 2*pageSize + rng.IntN(n-2*pageSize)
		return b[:n], fmt.Sprintf("cut off at byte %d", n)
	}
	for range 1 + rng.IntN(3) {
		id := 2 + rng.IntN(used(b)-2)
		clear(b[id*pageSize:][:pageSize])
		how += fmt.Sprintf("page %d of zeros, ", id)
	}
	return b, how
}
