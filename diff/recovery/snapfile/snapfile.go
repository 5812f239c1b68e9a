// Package snapfile writes snapshot files as `etcdctl snapshot save` does: a bbolt file, and its sha256 behind it.
//
//	+----------------------------------------------+----------------+
//	| bbolt file, a multiple of the page size long | sha256 of that |   what `etcdutl snapshot restore` takes
//	+----------------------------------------------+----------------+
//
// That is what the member sends (server/etcdserver/api/v3rpc/maintenance.go, Snapshot) and what restoring verifies
// (etcdutl/snapshot/v3_snapshot.go, copyAndVerifyDB), the same from 3.2 to 3.7.
//
// The file is there whole or not at all: it grows under a temporary name beside the final one, which it gets last, and
// which it takes from nobody.
package snapfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// ErrThere tells that a file of that name is there already.
var ErrThere = errors.New("is there already, and is not replaced")

const (
	pageSize = 4096    // of the file, whatever machine it is written on
	batch    = 8 << 20 // bytes of one transaction, which bbolt holds in memory
)

// File is a snapshot file that is being written. It ends by Commit or Abort, and is not safe for use by several
// goroutines.
type File struct {
	path, temp string
	db         *bolt.DB
	tx         *bolt.Tx
	size       int    // bytes put in tx
	name       string // of the only bucket that tx has changed
}

// Create begins a file that will be called path. No such file may be there; its directory must be.
func Create(path string) (*File, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s %w", path, ErrThere)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".unfinished-*") // 0600
	if err != nil {
		return nil, err
	}
	f := &File{path: path, temp: t.Name()}
	if err := t.Close(); err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	// The freelist is saved: what etcd 3.2 reads with knows no file without.
	if f.db, err = bolt.Open(f.temp, 0o600, &bolt.Options{NoSync: true, PageSize: pageSize}); err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	return f, nil
}

// Bucket makes a bucket, if it is not there.
func (f *File) Bucket(name string) error {
	_, err := f.bucket(name)
	return err
}

// bucket begins a transaction of its own for each bucket: bbolt writes those of one transaction in an order that is never the
// same.
func (f *File) bucket(name string) (*bolt.Bucket, error) {
	if f.name != name {
		if err := f.flush(); err != nil {
			return nil, err
		}
		f.name = name
	}
	if f.tx == nil {
		var err error
		if f.tx, err = f.db.Begin(true); err != nil {
			return nil, err
		}
	}
	return f.tx.CreateBucketIfNotExists([]byte(name))
}

// Put writes a row. It is quickest, and the file smallest, where the keys of a bucket come in ascending order.
func (f *File) Put(bucket string, key, value []byte) error {
	b, err := f.bucket(bucket)
	if err != nil {
		return err
	}
	b.FillPercent = 1
	if err := b.Put(key, value); err != nil {
		return err
	}
	if f.size += len(key) + len(value); f.size < batch {
		return nil
	}
	return f.flush()
}

func (f *File) flush() error {
	if f.tx == nil {
		return nil
	}
	tx := f.tx
	f.tx, f.size = nil, 0
	return tx.Commit()
}

// Sum is what was written: the bytes of the file, and the sha256 at its end in hex.
type Sum struct {
	Size   int64
	SHA256 string
}

// Seal ends the writing of rows and appends the hash. The file still has its temporary name, which Temp tells.
func (f *File) Seal() (Sum, error) {
	if err := f.flush(); err != nil {
		return Sum{}, err
	}
	var size int64
	if err := f.db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		return Sum{}, err
	}
	err := f.db.Close()
	f.db = nil
	if err != nil {
		return Sum{}, err
	}
	w, err := os.OpenFile(f.temp, os.O_RDWR, 0)
	if err != nil {
		return Sum{}, err
	}
	sum, err := seal(w, size)
	return sum, errors.Join(err, w.Close())
}

// seal cuts what bbolt allocated beyond its last page, and appends the hash.
func seal(w *os.File, size int64) (Sum, error) {
	if err := w.Truncate(size); err != nil {
		return Sum{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, w); err != nil {
		return Sum{}, err
	}
	hash := h.Sum(nil)
	if _, err := w.Write(hash); err != nil {
		return Sum{}, err
	}
	return Sum{size + sha256.Size, hex.EncodeToString(hash)}, w.Sync()
}

// Temp is the name that the file has until Commit.
func (f *File) Temp() string { return f.temp }

// Commit gives a sealed file its name. If that is taken meanwhile, nothing is replaced.
func (f *File) Commit() error {
	// A link, unlike a renaming, never replaces a file; some file systems have none.
	err := os.Link(f.temp, f.path)
	switch {
	case err == nil:
		return os.Remove(f.temp)
	case errors.Is(err, fs.ErrExist):
		return errors.Join(fmt.Errorf("%s %w", f.path, ErrThere), f.Abort())
	}
	if _, err := os.Lstat(f.path); err == nil {
		return errors.Join(fmt.Errorf("%s %w", f.path, ErrThere), f.Abort())
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return errors.Join(err, f.Abort())
	}
	return nil
}

// Abort removes what was written. After Commit it does nothing.
func (f *File) Abort() error {
	var errs []error
	if f.tx != nil {
		errs = append(errs, f.tx.Rollback())
		f.tx = nil
	}
	if f.db != nil {
		errs = append(errs, f.db.Close())
		f.db = nil
	}
	if err := os.Remove(f.temp); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
