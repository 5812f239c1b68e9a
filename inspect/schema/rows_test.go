package schema

import (
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/inspect/inspecttest"
)

// TestRows reads the rows of testdata/rows.txtar.
func TestRows(t *testing.T) {
	t.Parallel()
	file, err := txtar.ParseFile("testdata/rows.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Files) < 10 {
		t.Fatalf("%d cases only", len(file.Files))
	}
	for _, c := range file.Files {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			rows, want := rowsOf(t, string(c.Data))
			tables, found := Read("db", func(bucket string) iter.Seq2[[]byte, []byte] {
				return func(yield func(k, v []byte) bool) {
					for _, r := range rows[bucket] {
						if !yield(r[0], r[1]) {
							return
						}
					}
				}
			})
			got := shown(tables)
			for _, f := range found {
				if !f.Unreadable || f.Code != "row-undecodable" || f.File != "db" {
					t.Errorf("%+v", f)
				}
				got = append(got, fmt.Sprintf("%s %s", f.Severity, f.Detail))
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("what is read (-want +got):\n%s", d)
			}
		})
	}
}

// rowsOf parses a case: rows by bucket, and what is wanted of them.
func rowsOf(t *testing.T, text string) (rows map[string][][2][]byte, want []string) {
	t.Helper()
	rows = map[string][][2][]byte{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if says, ok := strings.CutPrefix(line, "-> "); ok {
			want = append(want, says)
			continue
		}
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 {
			t.Fatalf("no row: %s", line)
		}
		rows[f[0]] = append(rows[f[0]], [2][]byte{inspecttest.Bytes(t, f[1]), inspecttest.Bytes(t, f[2])})
	}
	return rows, want
}

// shown are the fields that are not zero.
func shown(tables *Tables) (lines []string) {
	v := reflect.ValueOf(tables).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			lines = append(lines, fmt.Sprintf("%s %+v", v.Type().Field(i).Name, reflect.Indirect(f)))
		}
	}
	return lines
}
