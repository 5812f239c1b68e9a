package schema

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/mvcc"
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
		rows[f[0]] = append(rows[f[0]], [2][]byte{bytesOf(t, f[1]), bytesOf(t, f[2])})
	}
	return rows, want
}

// bytesOf are those that a word stands for: its own, or those of what it calls.
func bytesOf(t *testing.T, word string) []byte {
	t.Helper()
	name, args, call := strings.Cut(strings.TrimSuffix(word, ")"), "(")
	if !call {
		return []byte(word)
	}
	a := strings.Split(args, ",")
	number := func(i int) int64 {
		n, err := strconv.ParseInt(a[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var m proto.Message
	switch name {
	case "hex":
		b, err := hex.DecodeString(args)
		if err != nil {
			t.Fatal(err)
		}
		return b
	case "be":
		return binary.BigEndian.AppendUint64(nil, uint64(number(0)))
	case "rev":
		return mvcc.Revision{Main: number(0)}.AppendKey(nil)
	case "tombstone":
		return append(mvcc.Revision{Main: number(0)}.AppendKey(nil), 't')
	case "lease":
		m = &leasepb.Lease{ID: number(0), TTL: number(1), RemainingTTL: number(2)}
	case "alarm":
		m = &etcdserverpb.AlarmMember{MemberID: uint64(number(0)), Alarm: etcdserverpb.AlarmType(etcdserverpb.AlarmType_value[a[1]])}
	case "user":
		u := &authpb.User{Name: []byte(a[0])}
		if a[1] != "" {
			u.Roles, u.Password = strings.Split(a[1], "+"), []byte("$2a$10$hash")
		} else {
			u.Options = &authpb.UserAddOptions{NoPassword: true}
		}
		m = u
	case "role":
		p := &authpb.Permission{PermType: authpb.Permission_Type(authpb.Permission_Type_value[a[1]]), Key: []byte(a[2]), RangeEnd: []byte(a[3])}
		m = &authpb.Role{Name: []byte(a[0]), KeyPermission: []*authpb.Permission{p}}
	default:
		t.Fatalf("no such word: %s", word)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
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
