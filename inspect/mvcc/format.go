package mvcc

// Part of the format: server/storage/mvcc/revision.go and kv.proto, the same in etcd 3.2 to 3.7.
const (
	// RevisionLen is the length of a row key of a put: main, '_', sub.
	RevisionLen = 8 + 1 + 8
	// TombstoneLen is RevisionLen and the mark 't'.
	TombstoneLen = RevisionLen + 1

	separator     = '_'
	tombstoneMark = 't'

	fieldKey            = 1
	fieldCreateRevision = 2
	fieldModRevision    = 3
	fieldVersion        = 4
	fieldValue          = 5
	fieldLease          = 6
)
