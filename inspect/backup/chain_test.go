package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
	"etcd-autopsy/inspect/gardener"
)

// change is one event: of a revision, to put or delete a key, with a lease if that is not 0.
type change struct {
	rev   int64
	key   string
	gone  bool
	lease int64
}

// delta is a file of events that is named for revisions.
func delta(t *testing.T, first, last int64, changes ...change) backup.Delta {
	t.Helper()
	var list []map[string]any
	for _, c := range changes {
		e := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(c.key), Value: []byte("v"), ModRevision: c.rev, Lease: c.lease}}
		if c.gone {
			e.Type, e.Kv.Value = mvccpb.Event_DELETE, nil
		}
		list = append(list, map[string]any{"etcdEvent": e, "time": "2026-11-21T08:00:00Z"})
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	b = append(b, sum[:]...)
	name := fmt.Sprintf("Incr-%08d-%08d-%d", first, last, 1_700_000_000+last)
	n, ok := gardener.Parse(name)
	if !ok {
		t.Fatal(name)
	}
	return backup.Delta{File: name, Name: n, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// spoiled is a delta of which a byte is changed.
func spoiled(d backup.Delta) backup.Delta {
	open := d.Open
	d.Open = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err == nil {
			b[20] ^= 1
		}
		return io.NopCloser(bytes.NewReader(b)), err
	}
	return d
}

// TestReplay restores chains, good ones and such as etcd-backup-restore ends with an error on.
func TestReplay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "full.db")
	if err := os.WriteFile(path, saved(t), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	m := set.Members[0]
	full := backup.Verify(m)
	n := full.Revision
	there := ""
	for _, r := range m.DB.Rows.Latest(m.DB.Rows.Len()) {
		if !r.Tombstone {
			there = string(r.Key())
		}
	}
	put := func(rev int64, key string) change { return change{rev: rev, key: key} }
	for _, c := range []struct {
		name   string
		deltas []backup.Delta
		state  backup.State
		rev    int64
		keys   int // more than the snapshot has
		says   string
	}{
		{"good", []backup.Delta{delta(t, n+1, n+2, put(n+1, "x"), put(n+2, "y")), delta(t, n+3, n+4, put(n+3, "x"), change{rev: n + 4, key: there, gone: true})}, backup.Restorable, n + 4, 1, "2 deltas"},
		{"a revision of several keys", []backup.Delta{delta(t, n+1, n+1, put(n+1, "x"), put(n+1, "y"), change{rev: n + 1, key: there, gone: true})}, backup.Restorable, n + 1, 1, ""},
		{"overlapping the snapshot", []backup.Delta{delta(t, n-1, n+1, put(n-1, "p"), put(n, "q"), put(n+1, "x"))}, backup.Restorable, n + 1, 1, ""},
		{"all of it in the snapshot", []backup.Delta{delta(t, n-1, n, put(n-1, "p"), put(n, "q")), delta(t, n+1, n+1, put(n+1, "x"))}, backup.Restorable, n + 1, 1, ""},
		{"a lease", []backup.Delta{delta(t, n+1, n+1, change{rev: n + 1, key: "x", lease: 7})}, backup.Restorable, n + 1, 1, "1 keys that deltas wrote with a lease"},
		{"a gap behind the snapshot", []backup.Delta{delta(t, n+2, n+2, put(n+2, "x"))}, backup.NotRestorable, n, 0, "a gap: the full snapshot ends with revision"},
		{"a gap", []backup.Delta{delta(t, n+1, n+1, put(n+1, "x")), delta(t, n+3, n+3, put(n+3, "y"))}, backup.NotRestorable, n + 1, 1, fmt.Sprintf("a gap: revisions %d to %d", n+2, n+2)},
		{"an overlap", []backup.Delta{delta(t, n+1, n+2, put(n+1, "x"), put(n+2, "y")), delta(t, n+2, n+3, put(n+2, "y"), put(n+3, "z"))}, backup.NotRestorable, n + 2, 2, "an overlap"},
		{"a revision missing", []backup.Delta{delta(t, n+1, n+3, put(n+1, "x"), put(n+3, "y"))}, backup.NotRestorable, n, 0, "revisions are missing"},
		{"older than the snapshot", []backup.Delta{delta(t, n-2, n-1, put(n-2, "p"), put(n-1, "q"))}, backup.NotRestorable, n, 0, "which the full snapshot holds"},
		{"out of order", []backup.Delta{delta(t, n+1, n+1, put(n+2, "x"), put(n+1, "y"))}, backup.NotRestorable, n, 0, "out of order"},
		{"another name", []backup.Delta{delta(t, n+1, n+5, put(n+1, "x"))}, backup.NotRestorable, n, 0, "it is named for revisions"},
		{"a key twice", []backup.Delta{delta(t, n+1, n+1, put(n+1, "x"), put(n+1, "x"))}, backup.NotRestorable, n, 0, "writes a key twice"},
		{"a deletion of nothing", []backup.Delta{delta(t, n+1, n+1, change{rev: n + 1, key: "nothing", gone: true})}, backup.NotRestorable, n, 0, "revisions are missing"},
		{"a wrong hash", []backup.Delta{delta(t, n+1, n+1, put(n+1, "x")), spoiled(delta(t, n+2, n+2, put(n+2, "y")))}, backup.NotRestorable, n + 1, 1, "its hash is wrong"},
	} {
		seen := 0
		r := backup.Replay(t.Context(), m, full, c.deltas, func(*backup.Delta, *backup.Result) { seen++ })
		if r.State != c.state || r.Revision != c.rev || r.Keys != full.Keys+c.keys || !strings.Contains(r.Why, c.says) || seen != len(c.deltas) {
			t.Errorf("%s: want %s, revision %d, %d keys, %q: %+v", c.name, c.state, c.rev, full.Keys+c.keys, c.says, r)
		}
	}
	broken := *full
	broken.State = backup.NotRestorable
	if r := backup.Replay(t.Context(), m, &broken, nil, nil); r.State != backup.NotRestorable {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := delta(t, n+1, n+1, put(n+1, "x"))
	if r := backup.Replay(ctx, m, full, []backup.Delta{d}, func(*backup.Delta, *backup.Result) {}); r.State == backup.Restorable {
		t.Errorf("interrupted: %+v", r)
	}
}

// TestRelate relates members of real clusters, and older states of them.
func TestRelate(t *testing.T) {
	t.Parallel()
	open := func(paths ...string) []*inspect.Member {
		for i := range paths {
			paths[i] = filepath.Join("../../testdata", paths[i])
		}
		set, err := inspect.Open(t.Context(), paths, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		return set.Members
	}
	snapshot := func(m *inspect.Member) *inspect.Member { // without a log
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, m.DB.File.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		return set.Members[0]
	}
	fork, other, damaged := open("log-fork"), open("lease-revoke-auth/etcd-a.tar.zst"), open("truncated-db/b.tar.zst", "truncated-db/a.tar.zst")
	a, c := fork[0], fork[2]
	for _, x := range []struct {
		name  string
		b, to *inspect.Member
		is    backup.Kinship
		sure  bool
	}{
		{"itself", a, a, backup.Same, true},
		{"a snapshot of it", snapshot(a), a, backup.Same, true},
		{"a fork", a, c, backup.OtherHistory, true},
		{"another cluster", a, other[0], backup.OtherCluster, true},
		{"a snapshot of another cluster", snapshot(a), snapshot(other[0]), backup.OtherCluster, true},
		{"a cut one", damaged[0], damaged[1], backup.Unrelated, false},
	} {
		r := backup.Relate(x.b, x.to, "x")
		if r.Is != x.is || r.Sure != x.sure || r.Why == "" && r.Is != backup.Same {
			t.Errorf("%s: want %s, %v: %+v", x.name, x.is, x.sure, r)
		}
	}
}
