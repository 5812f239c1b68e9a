package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// fleet makes small members of many clusters.
//
//	go run ./testdata/gen fleet -n 2000 -o DIR
//
// makes as many members of 1 MiB (-mib), three of a cluster in DIR/cluster-0000/a, b and c; with -snapshots snapshot files instead,
// DIR/cluster-0000-a.db. Of every tenth cluster c skipped a put, every fourth was never compacted, every seventh puts few keys many
// times, and of every fiftieth the db of b is cut.
func fleet(args []string) error {
	fs := flag.NewFlagSet("fleet", flag.ContinueOnError)
	n := fs.Int("n", 2000, "members")
	mib := fs.Int("mib", 1, "size of each db in MiB")
	snapshots := fs.Bool("snapshots", false, "snapshot files instead of data directories")
	out := fs.String("o", "", "directory to make")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if *out == "" {
		return errors.New("-o is missing")
	}
	wal.SegmentSizeBytes = 256 << 10
	first := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range *n {
		k, name := uint64(i/3), string(rune('a'+i%3))
		cluster = 0xc1057e1200000000 + k
		began = uint64(first.Add(time.Duration(k)*time.Minute).UnixMilli()) & (1<<40 - 1) << 8
		ids = nil
		for m := range uint64(3) {
			ids = append(ids, (m+0xa)<<60|k<<16|(m+0xa)<<8|k&0xff)
		}
		c := config{mib: *mib, log: 300, after: 100, value: 1024, hot: 50, compact: 60, rows: *mib * 698}
		if k%4 == 0 {
			c.compact = 0
		}
		if k%7 == 0 {
			c.hot = 5
		}
		if c.compact > 0 {
			c.rows += c.log - c.compact - c.hot // about as many as compaction removes
		}
		if err := c.fleetMember(*out, fmt.Sprintf("cluster-%04d", k), name, name == "c" && k%10 == 3, *snapshots, k%50 == 7 && name == "b"); err != nil {
			return err
		}
	}
	return nil
}

// fleetMember makes one member, or a snapshot of it.
func (c *config) fleetMember(out, of, name string, odd, snapshot, cut bool) (err error) {
	c.out = filepath.Join(out, of)
	db := filepath.Join(c.out, name, "member", "snap", "db")
	if snapshot {
		if c.out, err = os.MkdirTemp("", "gen-fleet-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.out)) }()
		db = filepath.Join(out, of+"-"+name+".db")
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(db), 0o700), c.member(name, odd)); err != nil {
		return err
	}
	return shrink(filepath.Join(c.out, name, "member", "snap", "db"), db, snapshot, cut)
}

// shrink writes a db anew without what is preallocated, as a snapshot does, and with its hash behind it if it is to be one.
func shrink(from, to string, hashed, cut bool) error {
	db, err := bolt.Open(from, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	err = db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(&b)
		return err
	})
	if err := errors.Join(err, db.Close(), os.Remove(from)); err != nil {
		return err
	}
	if hashed {
		sum := sha256.Sum256(b.Bytes())
		b.Write(sum[:])
	}
	if cut {
		b.Truncate(b.Len() / 4 * 3)
	}
	return os.WriteFile(to, b.Bytes(), 0o600)
}
