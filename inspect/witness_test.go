package inspect

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

const witnessPage = 4096

// rowsTo are those of revisions from 2 on, but for one.
type rowsTo struct{ last, without int64 }

// witnessed writes a db, one transaction for each of some states, and returns what the file was after each of them. All rows are written
// anew, with a value of another length, so that older ones are left in free pages. Leases are on a page of their own if there are many.
func witnessed(t *testing.T, leases int, states ...rowsTo) (files [][]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, PageSize: witnessPage, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for n, state := range states {
		err = db.Update(func(tx *bbolt.Tx) error {
			put := func(bucket string, k, v []byte) {
				b, e := tx.CreateBucketIfNotExists([]byte(bucket))
				if err = e; err == nil {
					err = b.Put(k, v)
				}
			}
			if n > 0 {
				err = tx.DeleteBucket([]byte(schema.Key))
			}
			for main := int64(2); main <= state.last && err == nil; main++ {
				if main == state.without {
					continue
				}
				kv := mvcc.KeyValue{Key: []byte{'k', byte(main), byte(main >> 8)}, Mod: main, Create: main, Version: 1, Value: make([]byte, 30+n)}
				put(schema.Key, mvcc.Revision{Main: main}.AppendKey(nil), kv.Encode())
			}
			for id := int64(1); id <= int64(leases); id++ {
				v, e := proto.Marshal(&leasepb.Lease{ID: id, TTL: 60})
				if e != nil {
					return e
				}
				put(schema.Lease, binary.BigEndian.AppendUint64(nil, uint64(id)), v)
			}
			put(schema.Meta, []byte("consistent_index"), binary.BigEndian.AppendUint64(nil, uint64(state.last)))
			put(schema.Meta, []byte("term"), binary.BigEndian.AppendUint64(nil, 2))
			return err
		})
		b, e := os.ReadFile(path)
		if err != nil || e != nil {
			t.Fatal(err, e)
		}
		files = append(files, b)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return files
}

// witness reads a db as a member that has nothing else.
func witness(t *testing.T, data []byte, opts Options) *Member {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Open(t.Context(), []string{path}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set.Members[0]
}

// TestStanding asks what a db is evidence of, by what was done to it.
func TestStanding(t *testing.T) {
	t.Parallel()
	states := witnessed(t, 1, rowsTo{last: 600}, rowsTo{last: 900}, rowsTo{last: 900})
	before, now := states[0], states[2]
	sound := witness(t, now, Options{})
	leaf := func(rev int64) uint64 { return sound.DB.Rows.Group(rev)[0].Page }
	page := func(b []byte, id uint64) []byte { return b[id*witnessPage:][:witnessPage] }
	stale := uint64(0) // a page of rows that held other ones before
	then := firsts(witness(t, before, Options{}))
	for id, rev := range firsts(sound) {
		if was, ok := then[id]; ok && was != rev {
			stale = id
		}
	}
	if stale == 0 {
		t.Fatal("no page was used twice")
	}
	short := int(sound.DB.Bolt.Meta().HighWater) * witnessPage * 7 / 10
	for _, c := range []struct {
		name string
		do   func(b []byte) []byte
		want Standing
	}{
		{"nothing", func(b []byte) []byte { return b }, Whole},
		{"a free page of zeros", func(b []byte) []byte { clear(page(b, free(sound))); return b }, Whole},
		{"cut off", func(b []byte) []byte { return b[:short] }, Cut},
		{"a page of zeros", func(b []byte) []byte { clear(page(b, leaf(300))); return b }, Damaged},
		{"a page of something else", func(b []byte) []byte { copy(page(b, leaf(300)), "this is a file of another program"); return b }, Damaged},
		{"a page in the place of another", func(b []byte) []byte { copy(page(b, leaf(300)), page(b, leaf(600))); return b }, Torn},
		{"a page of an earlier moment", func(b []byte) []byte { copy(page(b, stale), page(before, stale)); return b }, Torn},
		{"cut off, and a page of an earlier moment", func(b []byte) []byte { copy(page(b, stale), page(before, stale)); return b[:short] }, Cut},
		{"no bucket of keys", func([]byte) []byte { return withoutKeys(t) }, Missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := witness(t, c.do(slices.Clone(now)), Options{})
			e := m.Evidence()
			if e.Standing() != c.want || e.Whole() != (c.want == Whole) || (e.Why() == "") != (c.want == Whole) {
				t.Errorf("%s (%s), want %s: %v", e.Standing(), e.Why(), c.want, m.Findings)
			}
			if c.want == Whole {
				return
			}
			if e.EndCounts() || e.TableCounts(schema.Lease) {
				t.Error("its end counts, or a table does")
			}
			for _, r := range m.DB.Rows.All() {
				var kv mvcc.KeyValue
				if (r.Salvaged || kv.Decode(r.Value) != nil || kv.Mod != r.Rev.Main) && e.Known(&r) {
					t.Errorf("the row of revision %v counts", r.Rev)
				}
			}
			e.Search(0, 900)
			if e.Standing() != c.want {
				t.Errorf("%s after the search", e.Standing())
			}
		})
	}
	if m := (&Member{Label: "a", Log: &raftlog.Log{}}); m.Evidence().Standing() != Missing {
		t.Error("a member without a db has one")
	}
}

// firsts are the pages of a member's rows, with the revision that each begins with.
func firsts(m *Member) map[uint64]mvcc.Revision {
	all := map[uint64]mvcc.Revision{}
	for _, r := range m.DB.Rows.All() {
		if _, ok := all[r.Page]; !ok {
			all[r.Page] = r.Rev
		}
	}
	return all
}

// free is a page that holds rows of before, and that nothing refers to.
func free(m *Member) uint64 {
	used := firsts(m)
	for _, p := range m.DB.Bolt.Salvage(func([]byte) bool { return true }) {
		if _, ok := used[p.Page]; !ok {
			return p.Page
		}
	}
	return 0
}

func withoutKeys(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte(schema.Meta)); return err })
	b, e := os.ReadFile(path)
	if err != nil || e != nil || db.Close() != nil {
		t.Fatal(err, e)
	}
	return b
}

// TestSearch looks for rows in pages that nothing refers to. They count if they lie behind the last row of the tree, up to the revision that the
// member must have come to; not if they are older copies, or if a row was deleted between others.
func TestSearch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		now      rowsTo
		expected int64
		want     Standing
	}{
		{"older copies", rowsTo{last: 900}, 900, Whole},
		{"the tree ends where it should", rowsTo{last: 600}, 600, Whole},
		{"nobody tells where it should end", rowsTo{last: 600}, 0, Whole},
		{"the tree lacks one", rowsTo{last: 600}, 601, Torn},
		{"the tree lacks many", rowsTo{last: 600}, 900, Torn},
		{"a row was deleted", rowsTo{last: 900, without: 300}, 900, Whole},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := witness(t, witnessed(t, 1, rowsTo{last: 900}, c.now)[1], Options{}).Evidence()
			if e.Search(0, c.expected); e.Standing() != c.want {
				t.Errorf("%s (%s), want %s", e.Standing(), e.Why(), c.want)
			}
		})
	}
}

// TestEndCounts asks whether it counts where rows and tables end, by where the log ends.
func TestEndCounts(t *testing.T) {
	t.Parallel()
	const index = 600
	entry := func(i uint64, r *pb.InternalRaftRequest) raftlog.Entry {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return raftlog.Entry{Index: i, Term: 2, Data: b}
	}
	put := &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k")}}
	grant := &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 1}}
	small, large := witnessed(t, 1, rowsTo{last: index})[0], witnessed(t, 2000, rowsTo{last: index})[0]
	for _, c := range []struct {
		name    string
		data    []byte
		entries []raftlog.Entry
		old     bool // up to 3.4: without a term
		end     bool
		table   bool
	}{
		{"no log", large, nil, false, false, false},
		{"its log ends there", large, []raftlog.Entry{entry(index, put)}, false, true, true},
		{"its log goes on", large, []raftlog.Entry{entry(index, put), entry(index+1, grant)}, false, false, false},
		{"its log ends before", large, []raftlog.Entry{entry(index-1, put)}, false, false, false},
		{"its log goes on, and the table is on the page of the index", small, []raftlog.Entry{entry(index, put), entry(index+1, grant)}, false, false, true},
		{"its log goes on with what saves no index up to 3.4", large, []raftlog.Entry{entry(index, put), entry(index+1, grant)}, true, true, true},
		{"its log goes on with what does", large, []raftlog.Entry{entry(index, put), entry(index+1, put)}, true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := witness(t, c.data, Options{})
			m.Log.Entries, m.DB.Tables.HasTerm = c.entries, !c.old
			if e := m.Evidence(); e.EndCounts() != c.end || e.TableCounts(schema.Lease) != c.table {
				t.Errorf("end %v, want %v; table %v, want %v", e.EndCounts(), c.end, e.TableCounts(schema.Lease), c.table)
			}
		})
	}
}
