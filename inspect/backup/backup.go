// Package backup tells whether a backup can be restored: what `etcdutl snapshot restore` asks of the file, and what a server
// asks that starts on it.
//
//	etcdutl (etcdutl/snapshot/v3_snapshot.go, copyAndVerifyDB)  a length of 32 beyond a multiple of 512 says that there is a hash,
//	                                                           which must be the sha256 of all before it; without one,
//	                                                           --skip-hash-check is needed
//	bbolt (db.go, Open)                                        a meta page, and no page beyond the end of the file
//	server (storage/mvcc/kvstore.go, lease, auth)              every row decodes
package backup

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
)

// State says whether a backup can be restored.
type State string

// States of a backup, from the best to the worst.
const (
	Restorable    State = "restorable"
	Unknown       State = "unknown" // the file does not tell
	NotRestorable State = "not_restorable"
	Unopened      State = "not_opened" // the file could not even be opened
)

// Hash says what is behind the db.
type Hash string

// Hashes that a backup may have.
const (
	HashRight   Hash = "right"
	HashMissing Hash = "missing"
	HashZeros   Hash = "zeros" // 32 zero bytes: the end was never written
	HashWrong   Hash = "wrong"
)

// Kind is what was verified.
type Kind string

// Kinds. The last three are of etcd-backup-restore.
const (
	KindDB    Kind = "db" // a snapshot, or the db of a data directory
	KindFull  Kind = "full"
	KindDelta Kind = "delta"
	KindChain Kind = "chain" // a full snapshot with the deltas behind it
)

// Result is one backup.
type Result struct {
	Kind  Kind
	State State
	// Why is the reason in one sentence.
	Why  string
	Hash Hash // empty without a db
	// Whole is true if all pages were read and fit together, Cut if the file ends before its last page.
	Whole, Cut      bool
	Size            int64 // in bytes
	Revision        int64
	CompactRevision int64
	Entry           uint64 // the consistent index, 0 if not known
	Keys            int
	Version         string // of storage or cluster, as far as the db tells
	Events          int    // of deltas
	// Relation is to another state that was verified, nil for none.
	Relation *Relation
}

// NotOpened is the result of a file that could not be opened or is none of etcd's.
func NotOpened(state State, why string) *Result { return &Result{Kind: KindDB, State: state, Why: why} }

// Verify judges what was read of a backup. A data directory is judged by its db: etcdutl restores that without a hash.
func Verify(m *inspect.Member) *Result {
	r := &Result{Kind: KindDB}
	if m.DB == nil {
		r.State, r.Why = NotRestorable, "no db that can be read"
		for _, f := range m.Findings {
			if f.Code == "db-unreadable" {
				r.Why = "this is no db of etcd, or its beginning is gone: " + f.Detail
			}
		}
		return r
	}
	db := m.DB
	r.Size, r.Revision, r.CompactRevision = db.File.Size, db.Revision(), db.CompactRevision()
	r.Entry, r.Keys = db.Tables.ConsistentIndex, db.Rows.CountLive()
	if r.Version = db.Tables.StorageVersion; r.Version == "" {
		r.Version = db.Tables.ClusterVersion
	}
	r.Hash = hashOf(m)
	r.Cut = slices.ContainsFunc(m.Findings, func(f finding.Finding) bool { return f.Code == "db-truncated" })
	r.Whole = db.Whole && m.Evidence().Whole()
	r.judge(m)
	return r
}

func hashOf(m *inspect.Member) Hash {
	t := m.DB.Bolt.Trailer()
	switch {
	case t == nil:
		return HashMissing
	case m.DB.Bolt.TrailerOK():
		return HashRight
	case bytes.Equal(t, make([]byte, sha256.Size)):
		return HashZeros
	}
	return HashWrong
}

// judge says whether it can be restored, by the worst that is known.
func (r *Result) judge(m *inspect.Member) {
	no := func(format string, args ...any) { r.State, r.Why = NotRestorable, fmt.Sprintf(format, args...) }
	e := m.Evidence()
	switch {
	case r.Cut:
		no("the file is cut: %s", e.Why())
	case !m.DB.HasKeys:
		no("it has no bucket of keys")
	case !m.DB.Whole:
		no("not all of it can be read: %s", e.Why())
	case undecodable(m.DB) > 0:
		no("%d rows do not decode: a server would not start with them", undecodable(m.DB))
	case r.Hash == HashWrong:
		no("its hash is wrong: bytes have changed, though all pages can be read; etcdutl refuses it but for --skip-hash-check")
	case r.Hash == HashZeros:
		no("its hash is all zeros: the end of the file was never written; all pages can be read, and etcdutl takes it only with --skip-hash-check")
	case !e.Whole():
		r.State, r.Why = Unknown, fmt.Sprintf("all pages can be read, but they do not fit together: %s", e.Why())
	case r.Hash == HashMissing:
		r.State, r.Why = Restorable, "with --skip-hash-check, since it has no hash: that no byte has changed cannot be told"
	default:
		r.State, r.Why = Restorable, "its hash is right"
	}
}

func undecodable(db *inspect.DB) (n int) {
	var kv mvcc.KeyValue
	for _, r := range db.Rows.All() {
		if kv.Decode(r.Value) != nil || len(kv.Key) == 0 {
			n++
		}
	}
	return n
}
