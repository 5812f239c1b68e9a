package inspect

import (
	"hash/crc32"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// Status is what `etcdutl snapshot status` says of a db, whether or not that is a snapshot
// (etcdutl/snapshot/v3_snapshot.go of etcd 3.7).
type Status struct {
	// Hash is CRC32C over the names of all buckets, and the keys and values of all rows.
	Hash uint32
	// Keys are those that are alive, as etcdutl counts them from 3.6 on; up to 3.5 it counts the Rows of all buckets.
	Keys, Rows int
	Revision   int64 // of the last row, 0 if there is none
	Size       int64 // of the file in use: the pages below the high water mark
	Version    string
	// Backend is what `etcd-dump-db hash` says: as Hash, but without those rows of the bucket meta that may differ between
	// members (server/storage/schema/bucket.go, DefaultIgnores).
	Backend uint32
	// Partial is true if rows could not be read: then the hashes are not those of the whole.
	Partial bool
}

// Status reads every row of the db once more, but those of the bucket "key" that were noted when they were read.
func (db *DB) Status() Status {
	table := crc32.MakeTable(crc32.Castagnoli)
	s := Status{Version: db.Tables.StorageVersion, Partial: len(db.Bolt.Damage()) > 0}
	s.Size = int64(db.Bolt.Meta().HighWater) * int64(db.Bolt.Meta().PageSize)
	same := true // both hashes, so far: the rows that they differ in come late
	for _, name := range db.Bolt.BucketNames() {
		s.Hash = crc32.Update(s.Hash, table, []byte(name))
		if !same {
			s.Backend = crc32.Update(s.Backend, table, []byte(name))
		}
		if name == schema.Key && db.exact {
			if s.Hash = db.Rows.CRC(s.Hash); !same {
				s.Backend = db.Rows.CRC(s.Backend)
			}
			if s.Rows += db.Rows.Len(); db.Rows.Len() > 0 {
				s.Revision = db.Rows.Last()
			}
			continue
		}
		r := db.Bolt.Bucket(name).Rows()
		for r.Next() {
			k, v := r.Key(), r.Value()
			s.Rows++
			before := s.Hash
			s.Hash = crc32.Update(crc32.Update(s.Hash, table, k), table, v)
			switch {
			case passing(name, k):
				if same {
					same, s.Backend = false, before
				}
			case !same:
				s.Backend = crc32.Update(crc32.Update(s.Backend, table, k), table, v)
			}
			if name == schema.Key {
				if rev, _, ok := mvcc.ParseRevision(k); ok {
					s.Revision = rev.Main
				}
			}
		}
		s.Partial = s.Partial || r.Err() != nil
	}
	if same {
		s.Backend = s.Hash
	}
	s.Keys = db.Rows.CountLive()
	if db.Rows.Salvaged() > 0 { // etcdutl would not find those
		s.Keys = db.readable().CountLive()
	}
	return s
}

// readable is the table without rows from pages to which nothing refers.
func (db *DB) readable() *mvcc.Table {
	var rows []mvcc.Row
	for _, r := range db.Rows.All() {
		if !r.Salvaged {
			rows = append(rows, r)
		}
	}
	return mvcc.NewTable(rows, nil)
}

// passing tells whether a row may differ between members.
func passing(bucket string, key []byte) bool {
	return bucket == schema.Meta && (string(key) == "term" || string(key) == "consistent_index" || string(key) == "storageVersion")
}
