package check

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checked checks the one member of a path.
func checked(t *testing.T, path string) *Result {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
	must(t, err)
	t.Cleanup(func() { set.Close() })
	if len(set.Members) != 1 {
		t.Fatalf("%d members", len(set.Members))
	}
	return Member(set.Members[0])
}

// db writes a db with the buckets that a server makes when it starts.
func db(t *testing.T, opts *bbolt.Options, fill func(tx *bbolt.Tx) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	opts.NoSync = true
	b, err := bbolt.Open(path, 0o600, opts)
	must(t, err)
	must(t, b.Update(func(tx *bbolt.Tx) error {
		for _, name := range schema.Buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return fill(tx)
	}))
	must(t, b.Close())
	return path
}

func lease(tx *bbolt.Tx) error {
	v, err := proto.Marshal(&leasepb.Lease{ID: 7, TTL: 60})
	return errors.Join(err, tx.Bucket([]byte(schema.Lease)).Put(binary.BigEndian.AppendUint64(nil, 7), v))
}

func history(revisions, keys int, index bool) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		versions := map[int]int64{}
		created := map[int]int64{}
		for i := range revisions {
			k, main := i%keys, int64(i+2)
			if versions[k]++; created[k] == 0 {
				created[k] = main
			}
			kv := mvcc.KeyValue{Key: fmt.Append(nil, "key", k), Create: created[k], Mod: main, Version: versions[k], Value: []byte("v")}
			if err := tx.Bucket([]byte(schema.Key)).Put(mvcc.Revision{Main: main}.AppendKey(nil), kv.Encode()); err != nil {
				return err
			}
		}
		if !index {
			return nil
		}
		return tx.Bucket([]byte(schema.Meta)).Put([]byte("consistent_index"), binary.BigEndian.AppendUint64(nil, uint64(revisions+5)))
	}
}

// TestNormal checks what looks odd and is normal: nothing worse than an info is said of it.
func TestNormal(t *testing.T) {
	linux := bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
	for name, path := range map[string]string{
		"a fresh member":               db(t, &bbolt.Options{}, func(*bbolt.Tx) error { return nil }),
		"a fresh member of 3.3 or 3.4": db(t, &linux, func(*bbolt.Tx) error { return nil }),
		"leases only":                  db(t, &linux, lease),
		"a stored freelist":            db(t, &bbolt.Options{}, history(100, 10, true)),
		"a small db, never compacted":  db(t, &linux, history(4000, 10, true)),
		"without .snap":                withoutSnap(t),
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range checked(t, path).Findings {
				if f.Severity != finding.Info || f.Unreadable {
					t.Errorf("%s %s: %s", f.Severity, f.Code, f)
				}
			}
		})
	}
	// Keys without an index are another matter.
	var codes []string
	for _, f := range checked(t, db(t, &linux, history(100, 10, false))).Findings {
		codes = append(codes, string(f.Severity)+" "+f.Code)
	}
	if len(codes) != 1 || codes[0] != "warning consistent-index-missing" {
		t.Errorf("findings %q", codes)
	}
}

// withoutSnap unpacks a member of 3.7 but for its .snap files: later versions write none.
func withoutSnap(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../../testdata/healthy-3.7/z1.tar.zst")
	must(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	must(t, err)
	defer z.Close()
	dir, snaps := t.TempDir(), 0
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		switch {
		case h.Typeflag != tar.TypeReg:
			continue
		case strings.HasSuffix(h.Name, ".snap"):
			snaps++
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		out, err := os.Create(path)
		must(t, err)
		_, err = io.Copy(out, r)
		must(t, errors.Join(err, out.Close()))
	}
	if snaps == 0 {
		t.Fatal("the member had no .snap")
	}
	return dir
}
