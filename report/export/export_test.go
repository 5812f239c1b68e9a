package export

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// read reads a table of all members, in the order of their paths.
func read[T any](t *testing.T, dir, table string) (all []T) {
	t.Helper()
	for _, path := range files(t, dir, table) {
		rows, err := parquet.ReadFile[T](path)
		if err != nil {
			t.Fatal(table, err)
		}
		all = append(all, rows...)
	}
	return all
}

func files(t *testing.T, dir, table string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, table, "cluster=*", "member=*", "time=*", fileName))
	if err != nil || len(paths) == 0 {
		t.Fatal(table, paths, err)
	}
	return paths
}

// TestWrite reads the tables again and compares them with what the members hold.
func TestWrite(t *testing.T) {
	t.Parallel()
	set, err := inspect.Open(t.Context(), []string{"../../testdata/lease-revoke-auth"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ms := set.Members
	dir := t.TempDir()
	n, parts, err := Write(t.Context(), dir, ms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Partition{"a4665fedd40ac378", "etcd-a", "2026-11-21T08:23:25Z"}); len(parts) != 3 || parts[0] != want {
		t.Errorf("%+v", parts)
	}
	var all, entries, leases int
	for _, m := range ms {
		all, entries, leases = all+m.DB.Rows.Len(), entries+len(m.Log.Entries), leases+len(m.DB.Tables.Leases)
	}
	revs := read[Revision](t, dir, "revisions")
	if len(revs) != all || n["revisions"] != int64(all) || len(read[Lease](t, dir, "leases")) != leases || len(read[Entry](t, dir, "entries")) != entries {
		t.Errorf("%d revisions, want %d", len(revs), all)
	}
	rows := ms[0].DB.Rows.Rows(0, ms[0].DB.Rows.Len())
	slices.SortStableFunc(rows, func(a, b mvcc.Row) int { return bytes.Compare(a.Key(), b.Key()) })
	for i, r := range rows {
		if x := revs[i]; x.Revision != r.Rev.Main || x.Key.Key != string(r.Key()) || x.Tombstone != r.Tombstone || (len(x.ValueSHA256) == 64) == r.Tombstone {
			t.Fatalf("row %d: %+v", i, x)
		}
	}
	made := []int64{}
	for _, e := range read[Effect](t, dir, "effects") {
		if e.Index == 1576 {
			made = append(made, e.Revision)
		}
	}
	if !slices.Equal(made, []int64{1244, 0, 1244}) {
		t.Errorf("entry 1576 made %v", made)
	}
	doc := diff.Compare(ms)
	differing := map[string]int{}
	for _, d := range read[Difference](t, dir, "differences") {
		differing[d.Key.Key]++
	}
	if len(differing) != doc.Keys.Len() || len(differing) == 0 {
		t.Errorf("%d keys differ, want %d", len(differing), doc.Keys.Len())
	}
	for k, n := range differing {
		if n != len(ms) {
			t.Errorf("%s is there of %d members", k, n)
		}
	}
	if got := read[Member](t, dir, "members"); len(got) != 3 || got[1].Revision != 1825 || got[1].MemberID == "" ||
		got[0].Verdict != "diverged" || got[0].PartedFirst != 1576 || got[2].PartedLast != 1576 || got[0].PartedRevision != 1244 {
		t.Errorf("%+v", got)
	}

	// Again, the same bytes; and nothing is replaced unless it is wanted.
	again := t.TempDir()
	if _, _, err := Write(t.Context(), again, ms, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range Tables {
		for _, path := range files(t, dir, name) {
			a, errA := os.ReadFile(path)
			b, errB := os.ReadFile(strings.Replace(path, dir, again, 1))
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("%s differs from one time to another: %v %v", path, errA, errB)
			}
		}
	}
	if _, _, err := Write(t.Context(), dir, ms, Options{}); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("%v", err)
	}
	if _, _, err := Write(t.Context(), dir, ms, Options{Force: true}); err != nil {
		t.Error(err)
	}
}

// TestPath asserts that a value stays one element of a path, whatever it holds, and that it can be told from all others.
func TestPath(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, c := range []struct{ label, want string }{
		{"a", "member=a"},
		{"", "member=" + nullPartition},
		{"..", "member=.."},
		{"../../x", "member=..%2F..%2Fx"},
		{`..\..\x`, "member=..%5C..%5Cx"},
		{"/etc", "member=%2Fetc"},
		{"a=b", "member=a%3Db"},
		{"a%3Db", "member=a%253Db"},
		{"a\nb\x00\x7f", "member=a%0Ab%00%7F"},
		{"*?[x]{y}", "member=%2A%3F%5Bx%5D%7By}"},
		{"\u00e4\u65e5", "member=\u00e4\u65e5"},
	} {
		got := Partition{"c", c.label, "t"}.path("dir", "revisions")
		want := filepath.Join("dir", "revisions", "cluster=c", c.want, "time=t", fileName)
		if got != want || seen[got] != "" {
			t.Errorf("%q: %s, want %s", c.label, got, want)
		}
		seen[got] = c.label
		if rel, err := filepath.Rel("dir", got); err != nil || strings.Count(rel, string(filepath.Separator)) != 4 || strings.HasPrefix(rel, "..") {
			t.Errorf("%q: %s", c.label, got)
		}
	}
	if err := (Partition{Member: strings.Repeat("/", 100)}).check(); err == nil {
		t.Error("a name too long for a path is taken")
	}
}

// TestRowGroups writes more rows than one group, in no order: they come out in groups, sorted, with statistics that let engines skip
// groups, and the order is declared.
func TestRowGroups(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	x := &exporter{ctx: t.Context(), opts: Options{TempDir: tmp}}
	const n, step = 2*rowGroup + 1, 100_003
	var b bytes.Buffer
	if got, err := rows(&b, x, []string{"key", "key_base64", "revision"}, func(put func(Revision)) {
		for i := range int64(n) {
			k := i * step % n
			r := Revision{Revision: k, Key: key(fmt.Sprintf("/registry/pods/%08d", k/3))}
			if k%1000 == 0 {
				r.Key = key(fmt.Sprintf("\xff%08d", k/3))
			}
			put(r)
		}
	}); err != nil || got != n {
		t.Fatal(got, err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if f.NumRows() != n {
		t.Errorf("%d rows", f.NumRows())
	}
	for i, g := range f.Metadata().RowGroups {
		if g.NumRows > rowGroup || len(g.SortingColumns) != 3 {
			t.Errorf("group %d: %d rows, sorted by %d columns", i, g.NumRows, len(g.SortingColumns))
		}
		for _, s := range g.SortingColumns {
			c := g.Columns[s.ColumnIdx].MetaData
			if st := c.Statistics; st.MaxValue == nil && st.NullCount < g.NumRows || c.Codec.String() != "ZSTD" {
				t.Errorf("group %d: %v has no statistics", i, c.PathInSchema)
			}
		}
	}
	all, err := parquet.Read[Revision](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, n)
	of := func(r *Revision) string {
		if r.Key.Key != "" {
			return "a" + r.Key.Key
		}
		return "b" + r.KeyBase64
	}
	for i := range all {
		seen[all[i].Revision] = true
		if i > 0 && cmp.Or(strings.Compare(of(&all[i-1]), of(&all[i])), cmp.Compare(all[i-1].Revision, all[i].Revision)) >= 0 {
			t.Fatalf("row %d: %+v comes before %+v", i, all[i-1], all[i])
		}
	}
	if slices.Contains(seen, false) {
		t.Error("a row is missing")
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}
