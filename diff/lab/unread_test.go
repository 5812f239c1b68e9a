package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// relog writes the logs of all members anew, with other bytes in one entry.
func (c *Case) relog(t *testing.T, index uint64, data []byte) {
	t.Helper()
	for i, x := range c.Members {
		log, w := slices.Clone(x.log), x.wals
		log[index-1].Data, w.in = data, nil
		if err := os.RemoveAll(filepath.Join(c.Dirs[i], "member", "wal")); err != nil {
			t.Fatal(err)
		}
		if err := w.write(stream(c.Seed, "wal "+x.Label), c.Dirs[i], x.ID, log, x.hist); err != nil {
			t.Fatal(err)
		}
	}
}

// idle is the last entry before one which all members have applied and still hold, and that changed nothing. It is 0 if there is none.
func (c *Case) idle(before uint64) uint64 {
	for _, e := range slices.Backward(c.Members[0].log[:before-1]) {
		busy := slices.ContainsFunc(c.Members, func(x *Member) bool {
			return e.Index > x.hist.index || e.Index < x.wals.first || slices.ContainsFunc(x.hist.effects, func(f Effect) bool { return f.Index == e.Index && (f.After > f.Before || f.Tables) })
		})
		if !busy && e.Change == nil {
			return e.Index
		}
	}
	return 0
}

// investigate compares directories, and runs logs again.
func investigate(t *testing.T, opts diff.Options, args ...string) *diff.Document {
	t.Helper()
	set, err := inspect.Open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}()
	return diff.Investigate(t.Context(), set.Members, opts)
}

// TestUnreadEntry: what an entry did of which nobody knows what it asks for, or that cannot be run, is not known, though all rows are equal.
func TestUnreadEntry(t *testing.T) {
	t.Parallel()
	unset, err := proto.Marshal(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1}, Txn: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []struct {
		name string
		data []byte
	}{
		{"cut off", []byte{0x1a, 0x7f}},
		{"no request", []byte{0xff, 0xff, 0xff}},
		{"an operation asks for nothing", unset},
		{"of a kind that is not known", []byte{0xfa, 0x3f, 0x04, 1, 2, 3, 4}},
	} {
		for _, c := range healthy(t, 2, func(c *Case) bool {
			return len(c.Members) == 3 && c.Members[0].wals.first == 1 && c.idle(c.Members[0].hist.index) > 0
		}) {
			c.relog(t, c.idle(c.Members[0].hist.index), e.data)
			docs := map[string]*diff.Document{
				"alone":     investigate(t, diff.Options{}, c.args()[0]),
				"run again": investigate(t, diff.Options{Replay: true}, c.args()...),
				"compared":  diffOf(t, c.args()...),
			}
			for how, d := range docs {
				if d.Verdict != diff.Indeterminate || !slices.ContainsFunc(d.Reasons, func(r string) bool { return strings.Contains(r, "cannot be decoded or run") }) {
					t.Errorf("seed %d, %s, %s: %s %q", c.Seed, e.name, how, d.Verdict, d.Reasons)
				}
			}
		}
	}
}
