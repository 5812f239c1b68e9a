package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// pagesOf are the pages of a member's rows, by revision, but for rows that lie on several pages in a row.
func pagesOf(t *testing.T, dir string) map[mvcc.Revision]uint64 {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{dir}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	pages := map[mvcc.Revision]uint64{}
	db := set.Members[0].DB
	for _, r := range db.Rows.All() {
		if b := db.File.Bytes()[int(r.Page)*pageSize:]; binary.LittleEndian.Uint32(b[12:]) == 0 {
			pages[r.Rev] = r.Page
		}
	}
	return pages
}

// another is a page of a member's rows on which one of them does not lie, 0 if there is none.
func another(pages map[mvcc.Revision]uint64, rev mvcc.Revision) (page uint64) {
	for _, p := range pages {
		if p != pages[rev] {
			page = max(page, p)
		}
	}
	return page
}

// zeroPage overwrites a page of a db with zeros.
func zeroPage(t *testing.T, dir string, page uint64) {
	t.Helper()
	file := filepath.Join(dir, "member", "snap", "db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[int(page)*pageSize:][:pageSize])
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// disputed is a revision of which all members hold the same row, on one page, and a value that another entry of the log asks for at its
// key. There is none if the value is nil.
func (c *Case) disputed(pages map[mvcc.Revision]uint64) (rev mvcc.Revision, value []byte) {
	for _, r := range c.Members[1].hist.dump["key"] {
		var kv mvcc.KeyValue
		at, tombstone, _ := mvcc.ParseRevision(r.Key)
		lacks := func(x *Member) bool {
			return !slices.ContainsFunc(x.hist.dump["key"], func(o Row) bool { return bytes.Equal(o.Key, r.Key) })
		}
		keeps := func(e Entry) bool { // it may ask for any value
			text := e.Request.String()
			return strings.Contains(text, "ignore_") && strings.Contains(text, fmt.Sprintf("key:%q", kv.Key))
		}
		if pages[at] == 0 || tombstone || kv.Decode(r.Value) != nil || len(kv.Value) < 2 || slices.ContainsFunc(c.Members, lacks) || slices.ContainsFunc(c.Members[1].log, keeps) {
			continue
		}
		for _, e := range c.Members[1].log {
			if p := e.Request.GetPut(); p != nil && !p.IgnoreValue && !p.IgnoreLease && bytes.Equal(p.Key, kv.Key) && p.Lease == kv.Lease && len(p.Value) > 0 && !bytes.Equal(p.Value, kv.Value) {
				rev, value = at, p.Value
			}
		}
	}
	return rev, value
}

// TestContradiction: rows of a damaged copy that can be read are held against those of others. What they contradict is a divergence if one of
// the two members is whole, or if the log asks for both; what is not there is none.
func TestContradiction(t *testing.T) {
	t.Parallel()
	for _, c := range healthy(t, 2, func(c *Case) bool {
		if len(c.Members) != 3 {
			return false
		}
		pages := pagesOf(t, c.Dirs[1])
		rev, value := c.disputed(pages)
		return value != nil && another(pages, rev) > 0 && another(pagesOf(t, c.Dirs[0]), rev) > 0
	}) {
		a, b := c.Dirs[0], c.Dirs[1]
		rev, asked := c.disputed(pagesOf(t, b))
		write := func(how func(value []byte) []byte) {
			editDB(t, b, func(tx *bbolt.Tx) error {
				var kv mvcc.KeyValue
				keys, at := tx.Bucket([]byte("key")), rev.AppendKey(nil)
				if err := kv.Decode(bytes.Clone(keys.Get(at))); err != nil {
					return err
				}
				kv.Value = how(kv.Value)
				return keys.Put(at, kv.Encode())
			})
		}
		flip := func(v []byte) []byte { v[0] ^= 0x20; return v }
		lose := func(dir string) { zeroPage(t, dir, another(pagesOf(t, dir), rev)) }
		files := [][]byte{}
		for _, dir := range c.Dirs[:2] {
			f, err := os.ReadFile(filepath.Join(dir, "member", "snap", "db"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		for _, x := range []struct {
			name string
			do   func()
			n    int // members that are compared
			want diff.Verdict
		}{
			{"another page is lost", func() { write(flip); lose(b) }, 3, diff.Diverged},
			{"its own page is lost", func() { write(flip); zeroPage(t, b, pagesOf(t, b)[rev]) }, 3, diff.Indeterminate},
			{"nothing but a page is lost", func() { lose(b) }, 3, diff.Indeterminate},
			{"zeros in its place", func() { write(func(v []byte) []byte { clear(v[1:]); return v }); lose(b) }, 3, diff.Indeterminate},
			{"both are damaged, and no entry asks for it", func() { write(flip); lose(a); lose(b) }, 2, diff.Indeterminate},
			{"both are damaged, and an entry asks for each", func() { write(func([]byte) []byte { return asked }); lose(a); lose(b) }, 2, diff.Diverged},
		} {
			for i, f := range files {
				if err := os.WriteFile(filepath.Join(c.Dirs[i], "member", "snap", "db"), f, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			x.do()
			d := diffOf(t, c.args()[:x.n]...)
			if d.Verdict != x.want {
				t.Errorf("seed %d, revision %v, %s: %s %q %s", c.Seed, rev, x.name, d.Verdict, d.Reasons, tellAll(d))
			} else if x.want == diff.Diverged && d.Divergences[0].Revision != rev.Main {
				t.Errorf("seed %d, %s: revision %d, want %d", c.Seed, x.name, d.Divergences[0].Revision, rev.Main)
			}
		}
	}
}

// TestForkOfDamagedCopies: a log has checksums of its own. What logs hold differently of what is committed shows, whatever became of the dbs.
func TestForkOfDamagedCopies(t *testing.T) {
	t.Parallel()
	root, found := scratch(t), 0
	for seed := uint64(1); found < 3 && seed < 2000; seed++ {
		c, err := MakeIf(filepath.Join(root, fmt.Sprint("forked", seed)), seed, func(fs []*Fault) bool { return len(fs) == 1 && fs[0].Kind == Fork })
		if err != nil {
			t.Fatal(err)
		}
		if c == nil || c.Truth.Verdict != "diverged" || slices.ContainsFunc(c.Members, func(x *Member) bool { return x.wals.first > 1 }) {
			continue
		}
		found++
		for _, dir := range c.Dirs {
			zeroPage(t, dir, another(pagesOf(t, dir), mvcc.Revision{}))
		}
		d := diffOf(t, c.args()...)
		forked := func(v diff.Divergence) bool {
			return v.Layer == diff.LayerLog && v.Entry != nil && v.Entry.Index == c.Faults[0].Index
		}
		if d.Verdict != diff.Diverged || !slices.ContainsFunc(d.Divergences, forked) {
			t.Errorf("seed %d, fork at entry %d: %s %q %s", seed, c.Faults[0].Index, d.Verdict, d.Reasons, tellAll(d))
		}
	}
	if found < 3 {
		t.Errorf("only %d forks", found)
	}
}
