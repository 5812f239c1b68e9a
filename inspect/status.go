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

// Status reads every row of the db once more.
func (db *DB) Status() Status {
	table := crc32.MakeTable(crc32.Castagnoli)
	s := Status{Version: db.Tables.StorageVersion, Partial: len(db.Bolt.Damage()) > 0}
	s.Size = int64(db.Bolt.Meta().HighWater) * int64(db.Bolt.Meta().PageSize)
	alive := map[string]struct{}{}
	for _, name := range db.Bolt.BucketNames() {
		s.Hash = crc32.Update(s.Hash, table, []byte(name))
		s.Backend = crc32.Update(s.Backend, table, []byte(name))
		r := db.Bolt.Bucket(name).Rows()
		for r.Next() {
			k, v := r.Key(), r.Value()
			s.Rows++
			s.Hash = crc32.Update(crc32.Update(s.Hash, table, k), table, v)
			if !passing(name, k) {
				s.Backend = crc32.Update(crc32.Update(s.Backend, table, k), table, v)
			}
			if name != schema.Key {
				continue
			}
			rev, tombstone, ok := mvcc.ParseRevision(k)
			if !ok {
				continue
			}
			if s.Revision = rev.Main; tombstone {
				delete(alive, string(mvcc.Key(v)))
			} else {
				alive[string(mvcc.Key(v))] = struct{}{}
			}
		}
		s.Partial = s.Partial || r.Err() != nil
	}
	s.Keys = len(alive)
	return s
}

// passing tells whether a row may differ between members.
func passing(bucket string, key []byte) bool {
	return bucket == schema.Meta && (string(key) == "term" || string(key) == "consistent_index" || string(key) == "storageVersion")
}
