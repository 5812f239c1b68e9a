package report

import (
	"io"
	"path/filepath"
	"strconv"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/backup"
)

// Verification tells of backups whether they can be restored.
type Verification struct {
	SchemaVersion string   `json:"schema_version"`
	Backups       []Backup `json:"backups"`
}

// Backup is one file that was verified. Its path is in File, or in FileBase64 if it is not printable.
type Backup struct {
	File            diff.Named   `json:"file"`
	State           backup.State `json:"state"`
	Reason          string       `json:"reason"`
	Hash            backup.Hash  `json:"hash,omitempty"`
	Whole           bool         `json:"whole"`
	Cut             bool         `json:"cut"`
	Size            int64        `json:"size"` // in bytes
	Entry           uint64       `json:"consistent_index"`
	Revision        int64        `json:"revision"`
	CompactRevision int64        `json:"compact_revision"`
	Keys            int          `json:"keys"`
	Version         string       `json:"version"` // of storage or cluster, empty if the db does not tell
}

// NewVerification is empty.
func NewVerification() *Verification {
	return &Verification{SchemaVersion: diff.SchemaVersion, Backups: []Backup{}}
}

// Add adds a backup.
func (v *Verification) Add(path string, r *backup.Result) {
	v.Backups = append(v.Backups, Backup{
		File: diff.NameOf(path), State: r.State, Reason: r.Why, Hash: r.Hash, Whole: r.Whole, Cut: r.Cut, Size: r.Size,
		Entry: r.Entry, Revision: r.Revision, CompactRevision: r.CompactRevision, Keys: r.Keys, Version: r.Version,
	})
}

// Verified writes what was verified: a line for one backup, a table for several.
func Verified(w io.Writer, v *Verification, format Format, hints ...string) error {
	return encode(w, format, v, func() *page { return verifiedPage(v, hints) }, func() (ls [][]string) {
		for i := range v.Backups {
			b := &v.Backups[i]
			ls = append(ls, []string{b.File.Called(), string(b.State), string(b.Hash), strconv.FormatInt(b.Revision, 10), strconv.Itoa(b.Keys), b.Reason})
		}
		return ls
	})
}

// stateWords are the states as people read them.
var stateWords = map[backup.State]string{
	backup.Restorable: "RESTORABLE", backup.NotRestorable: "NOT RESTORABLE", backup.Unknown: "UNKNOWN", backup.Unopened: "NOT OPENED",
}

func verifiedPage(v *Verification, hints []string) *page {
	p := &page{hints: hints}
	if len(v.Backups) == 1 {
		b := &v.Backups[0]
		p.verdict, p.title = stateWords[b.State], b.File.Called()+": "+b.Reason
		if b.Size > 0 {
			p.title += "; revision " + strconv.FormatInt(b.Revision, 10) + ", " + count(b.Keys, "key")
		}
		return p
	}
	t := table{header: []string{"backup", "state", "hash", "entry", "revision", "keys", "size"}, keys: true}
	for i := range v.Backups {
		b := &v.Backups[i]
		t.rows = append(t.rows, []string{
			filepath.Base(b.File.Called()), stateWords[b.State], string(b.Hash), strconv.FormatUint(b.Entry, 10), strconv.FormatInt(b.Revision, 10),
			strconv.Itoa(b.Keys), strconv.FormatInt(b.Size, 10),
		})
		t.notes = append(t.notes, filepath.Base(b.File.Called())+": "+b.Reason)
	}
	p.tables = append(p.tables, t)
	return p
}
