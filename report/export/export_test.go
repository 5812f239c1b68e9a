package export

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

func read[T any](t *testing.T, dir, table string) []T {
	t.Helper()
	rows, err := parquet.ReadFile[T](file(dir, table))
	if err != nil {
		t.Fatal(table, err)
	}
	return rows
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
	n, err := Write(t.Context(), dir, ms, false)
	if err != nil {
		t.Fatal(err)
	}
	var rows, entries, leases int
	for _, m := range ms {
		rows, entries, leases = rows+m.DB.Rows.Len(), entries+len(m.Log.Entries), leases+len(m.DB.Tables.Leases)
	}
	revs := read[Revision](t, dir, "revisions")
	if len(revs) != rows || n["revisions"] != int64(rows) || len(read[Lease](t, dir, "leases")) != leases || len(read[Entry](t, dir, "entries")) != entries {
		t.Errorf("%d revisions, want %d", len(revs), rows)
	}
	for i, r := range ms[0].DB.Rows.Rows(0, ms[0].DB.Rows.Len()) {
		if x := revs[i]; x.Member != ms[0].Label || x.Revision != r.Rev.Main || x.Key.Key == nil || *x.Key.Key != string(r.Key()) || x.Tombstone != r.Tombstone || (len(x.ValueSHA256) == 64) == r.Tombstone {
			t.Fatalf("row %d: %+v", i, x)
		}
	}
	made := map[string]int64{}
	for _, e := range read[Effect](t, dir, "effects") {
		if e.Index == 1576 {
			made[e.Member] = e.Revision
		}
	}
	if made["etcd-a"] != 1244 || made["etcd-b"] != 0 || made["etcd-c"] != 1244 {
		t.Errorf("entry 1576 made %v", made)
	}
	doc := diff.Compare(ms)
	differing := map[string]bool{}
	for _, d := range read[Difference](t, dir, "differences") {
		differing[*d.Key.Key] = true
	}
	if len(differing) != doc.Keys.Len() || len(differing) == 0 {
		t.Errorf("%d keys differ, want %d", len(differing), doc.Keys.Len())
	}
	if got := read[Member](t, dir, "members"); len(got) != 3 || got[1].Revision != 1825 || got[1].MemberID == "" {
		t.Errorf("%+v", got)
	}

	// Again, the same bytes; and nothing is replaced unless it is wanted.
	again := t.TempDir()
	if _, err := Write(t.Context(), again, ms, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range Tables {
		a, errA := os.ReadFile(file(dir, name))
		b, errB := os.ReadFile(file(again, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from one time to another: %v %v", name, errA, errB)
		}
	}
	if _, err := Write(t.Context(), dir, ms, false); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("%v", err)
	}
	if _, err := Write(t.Context(), dir, ms, true); err != nil {
		t.Error(err)
	}
}

// TestRowGroups asserts that rows are not kept until the end.
func TestRowGroups(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	x := &exporter{ctx: t.Context()}
	const n = 2*rowGroup + 1
	if _, err := rows(&b, x, func(put func(Lease)) {
		for i := range int64(n) {
			put(Lease{Member: "a", ID: "0", TTL: i})
		}
	}); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.RowGroups()) != 3 || f.NumRows() != n {
		t.Errorf("%d groups, %d rows", len(f.RowGroups()), f.NumRows())
	}
}
