package snapfile_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"etcd-autopsy/diff/recovery/snapfile"
)

// fill writes n rows of 1 KiB.
func fill(t *testing.T, f *snapfile.File, n int) {
	t.Helper()
	value := bytes.Repeat([]byte("v"), 1024)
	for i := range n {
		if err := f.Put("key", binary.BigEndian.AppendUint64(nil, uint64(i)), value); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		all = append(all, e.Name())
	}
	return all
}

func TestFile(t *testing.T) {
	t.Parallel()
	var first []byte
	for range 4 { // the same rows give the same bytes
		path := filepath.Join(t.TempDir(), "out.db")
		f, err := snapfile.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"meta", "lease", "auth", "members", "alarm"} {
			if err := f.Bucket(name); err != nil {
				t.Fatal(err)
			}
			if err := f.Put(name, []byte("k"), []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, f, 20_000) // several transactions
		sum, err := f.Seal()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := f.Abort(); err != nil {
			t.Error(err)
		}
		if got := names(t, filepath.Dir(path)); len(got) != 1 {
			t.Errorf("left in the directory: %q", got)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := len(b) - sha256.Size
		want := sha256.Sum256(b[:n])
		if !bytes.Equal(b[n:], want[:]) || sum.SHA256 != hex.EncodeToString(want[:]) || sum.Size != fi.Size() || n%512 != 0 || fi.Mode().Perm() != 0o600 {
			t.Errorf("%+v, mode %v", sum, fi.Mode())
		}
		if first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Error("the same rows gave other bytes")
		}
		if err := os.WriteFile(path, b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			if k := tx.Bucket([]byte("key")).Stats().KeyN; k != 20_000 {
				t.Errorf("%d rows", k)
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out.db")
	f, err := snapfile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, f, 1)
	if _, err := f.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil { // while it was written
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, snapfile.ErrThere) {
		t.Errorf("committed over another file: %v", err)
	}
	if _, err := snapfile.Create(path); !errors.Is(err, snapfile.ErrThere) {
		t.Errorf("begun over another file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("left in the directory: %q", got)
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sealed := range []bool{false, true} {
		f, err := snapfile.Create(filepath.Join(dir, "out.db"))
		if err != nil {
			t.Fatal(err)
		}
		fill(t, f, 10)
		if sealed {
			if _, err := f.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Abort(); err != nil {
			t.Error(err)
		}
	}
	if _, err := snapfile.Create(filepath.Join(dir, "none", "out.db")); err == nil {
		t.Error("a directory that is not there is no error")
	}
	if got := names(t, dir); len(got) > 0 {
		t.Errorf("left in the directory: %q", got)
	}
}
