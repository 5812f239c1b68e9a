package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	bbolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/stats"
)

// TestOracles compares the readers with etcd's own code, on copies of the members of every healthy scenario.
func TestOracles(t *testing.T) {
	t.Parallel()
	for _, name := range scenarioNames(t) {
		if !strings.HasPrefix(name, "healthy-") || testing.Short() && name != "healthy-3.6" {
			continue
		}
		archives, err := filepath.Glob(filepath.Join(scenarios, name, "*.tar.zst"))
		if err != nil || len(archives) == 0 {
			t.Fatal(name, err)
		}
		for _, a := range archives {
			t.Run(name+"/"+strings.TrimSuffix(filepath.Base(a), ".tar.zst"), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := unpack(a, dir); err != nil {
					t.Fatal(err)
				}
				ms := scenarioMembers(t, name)
				m := ms[slices.IndexFunc(ms, func(m *inspect.Member) bool { return m.Label == strings.TrimSuffix(filepath.Base(a), ".tar.zst") })]
				sameRows(t, m, filepath.Join(dir, "member/snap/db"))
				sameHash(t, m, filepath.Join(dir, "member/snap/db"))
				sameEntries(t, m, filepath.Join(dir, "member/wal"))
			})
		}
	}
}

// sameRows compares every bucket and row with what bbolt reads.
func sameRows(t *testing.T, m *inspect.Member, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var want, got bytes.Buffer
	var names []string
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			names = append(names, string(name))
			return b.ForEach(func(k, v []byte) error {
				_, err := fmt.Fprintf(&want, "%s %x %x\n", name, k, v)
				return err
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range m.DB.Bolt.BucketNames() {
		r := m.DB.Bolt.Bucket(name).Rows()
		for r.Next() {
			fmt.Fprintf(&got, "%s %x %x\n", name, r.Key(), r.Value())
		}
		if err := r.Err(); err != nil {
			t.Error(err)
		}
	}
	if d := gocmp.Diff(names, m.DB.Bolt.BucketNames()); d != "" {
		t.Errorf("buckets (-bbolt +got):\n%s", d)
	}
	sameStats(t, m, db)
	if !bytes.Equal(want.Bytes(), got.Bytes()) {
		t.Errorf("rows differ from those that bbolt reads (%d bytes, %d here)", want.Len(), got.Len())
	}
}

// sameStats compares the numbers of rows, bytes and free pages with bbolt's.
func sameStats(t *testing.T, m *inspect.Member, db *bbolt.DB) {
	t.Helper()
	s := stats.Of(m, stats.Options{Depth: 2, Top: 1})
	err := db.View(func(tx *bbolt.Tx) error {
		keys := tx.Bucket([]byte("key"))
		var size int64
		if n := keys.Stats().KeyN; n != s.Total.Revisions {
			t.Errorf("%d rows, bbolt says %d", s.Total.Revisions, n)
		}
		var free int64
		for id := 0; ; id++ {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				break
			}
			if p.Type == "free" {
				free += int64(db.Info().PageSize)
			} else {
				id += p.OverflowCount
			}
		}
		if free != s.File.Free || free == 0 {
			t.Errorf("%d bytes free, bbolt says %d", s.File.Free, free)
		}
		if err := keys.ForEach(func(k, v []byte) error {
			size += int64(len(k) + len(v))
			return nil
		}); err != nil {
			return err
		}
		if size != s.Total.Bytes {
			t.Errorf("%d bytes of rows, bbolt has %d", s.Total.Bytes, size)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// sameHash compares hashKV with a store that etcd opens on the copy, at the last revision and some before it.
func sameHash(t *testing.T, m *inspect.Member, path string) {
	t.Helper()
	cfg := backend.DefaultBackendConfig(zap.NewNop())
	cfg.Path = path
	be := backend.New(cfg)
	defer be.Close()
	kv := mvcc.NewStore(zap.NewNop(), be, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer kv.Close()
	last := m.DB.Revision()
	if kv.Rev() != last {
		t.Errorf("revision %d, etcd says %d", last, kv.Rev())
	}
	for _, rev := range []int64{last, last - 1, (last + m.DB.CompactRevision()) / 2, m.DB.CompactRevision() + 1} {
		want, _, err := kv.HashStorage().HashByRev(rev)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.DB.Rows.HashKV(rev, max(want.CompactRevision, 0)); got != want.Hash {
			t.Errorf("hashKV at revision %d: %d, etcd says %d", rev, got, want.Hash)
		}
		if c := m.DB.CompactRevision(); c != max(want.CompactRevision, 0) {
			t.Errorf("compact revision %d, etcd says %d", c, want.CompactRevision)
		}
	}
}

// sameEntries compares the log with what etcd reads, where etcd can: it needs a log without a gap from its start.
func sameEntries(t *testing.T, m *inspect.Member, dir string) {
	t.Helper()
	if len(m.Log.Gaps()) > 0 || m.Log.First() != 1 {
		t.Logf("the log has entries %d to %d with gaps %v: etcd does not read it from its start", m.Log.First(), m.Log.Last(), m.Log.Gaps())
		return
	}
	if err := os.Remove(filepath.Join(dir, "0.tmp")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	w, err := wal.OpenForRead(zap.NewNop(), dir, &walpb.Snapshot{Index: proto.Uint64(0), Term: proto.Uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, state, entries, err := w.ReadAll()
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if len(entries) != len(m.Log.Entries) {
		t.Fatalf("%d entries, etcd reads %d", len(m.Log.Entries), len(entries))
	}
	for i, want := range entries {
		got := &m.Log.Entries[i]
		if got.Index != want.GetIndex() || got.Term != want.GetTerm() || int32(got.Type) != int32(want.GetType()) || !bytes.Equal(got.Data, want.GetData()) {
			t.Fatalf("entry %d, term %d, type %d differs from etcd's: %v", got.Index, got.Term, got.Type, want)
		}
	}
	hs := m.Log.HardState
	if hs.Term != state.GetTerm() || hs.Vote != state.GetVote() || hs.Commit != state.GetCommit() {
		t.Errorf("hard state %+v, etcd reads %v", hs, state)
	}
}
