package report

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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
	Kind            backup.Kind  `json:"kind"`
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
	Events          int          `json:"events"`  // of deltas
	// Relation is to the first data directory that was named, or to the backup before; null for none.
	Relation *Relation `json:"relation"`
}

// Relation is how a backup stands to another state.
type Relation struct {
	To     diff.Named     `json:"to"`
	Is     backup.Kinship `json:"is"`
	Reason string         `json:"reason"`
	// ByRows is true if rows that both hold show it.
	ByRows bool `json:"by_rows"`
	// Revisions and Entries are how many more the backup has come to, less than nothing if it is older; entries are 0 if one of them does not tell.
	Revisions int64 `json:"revisions"`
	Entries   int64 `json:"entries"`
}

// NewVerification is empty.
func NewVerification() *Verification {
	return &Verification{SchemaVersion: diff.SchemaVersion, Backups: []Backup{}}
}

// Add adds a backup.
func (v *Verification) Add(path string, r *backup.Result) {
	b := Backup{
		File: diff.NameOf(path), Kind: r.Kind, State: r.State, Reason: r.Why, Hash: r.Hash, Whole: r.Whole, Cut: r.Cut, Size: r.Size,
		Entry: r.Entry, Revision: r.Revision, CompactRevision: r.CompactRevision, Keys: r.Keys, Version: r.Version, Events: r.Events,
	}
	if k := r.Relation; k != nil {
		b.Relation = &Relation{To: diff.NameOf(k.To), Is: k.Is, Reason: k.Why, ByRows: k.Sure, Revisions: k.Revisions, Entries: k.Entries}
	}
	v.Backups = append(v.Backups, b)
}

// Verified writes what was verified: a line for one backup, a table for several.
func Verified(w io.Writer, v *Verification, format Format, hints ...string) error {
	return encode(w, format, v, func() *page { return verifiedPage(v, hints) }, func() (ls [][]string) {
		for i := range v.Backups {
			b := &v.Backups[i]
			ls = append(ls, []string{b.File.Called(), string(b.State), string(b.Hash), strconv.FormatInt(b.Revision, 10), strconv.Itoa(b.Keys), b.Reason, string(b.Kind), relationText(b.Relation)})
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
	names := apart(v)
	related := slices.ContainsFunc(v.Backups, func(b Backup) bool { return b.Relation != nil })
	t := table{header: []string{"backup", "state", "hash", "entry", "revision", "keys", "size"}, keys: true}
	if related {
		t.header = append(t.header, "stands")
	}
	for i := range v.Backups {
		b := &v.Backups[i]
		row := []string{
			names[i], stateWords[b.State], string(b.Hash), strconv.FormatUint(b.Entry, 10), strconv.FormatInt(b.Revision, 10),
			strconv.Itoa(b.Keys), strconv.FormatInt(b.Size, 10),
		}
		if b.Kind == backup.KindDelta {
			row[5] = "-"
		}
		if b.Kind != backup.KindDB && b.Kind != backup.KindFull || b.Entry == 0 {
			row[3] = "-"
		}
		note := names[i] + ": " + b.Reason
		if related {
			row = append(row, relationText(b.Relation))
			if k := b.Relation; k != nil {
				note += fmt.Sprintf("; beside %s: %s", nameIn(v, names, k.To), k.Reason)
			}
		}
		t.rows = append(t.rows, row)
		t.notes = append(t.notes, note)
	}
	p.tables = append(p.tables, t)
	return p
}

// nameIn is how the table calls a backup.
func nameIn(v *Verification, names []string, n diff.Named) string {
	for i := range v.Backups {
		if v.Backups[i].Kind != backup.KindChain && v.Backups[i].File == n {
			return names[i]
		}
	}
	return n.Called()
}

// relationText says in few words how a backup stands to another state.
func relationText(k *Relation) string {
	if k == nil {
		return "-"
	}
	by := ""
	switch n := max(k.Revisions, -k.Revisions); {
	case n > 0:
		by = " by " + count(n, "revision")
	case k.Entries != 0:
		by = " by " + strconv.FormatInt(max(k.Entries, -k.Entries), 10) + " entries without a revision"
	}
	sure := ""
	if !k.ByRows {
		sure = "?"
	}
	switch k.Is {
	case backup.Newer, backup.Older:
		return string(k.Is) + by + sure
	case backup.Same:
		return "the same" + sure
	case backup.OtherCluster:
		return "another cluster" + sure
	case backup.OtherHistory:
		return "another history" + sure
	}
	return "?"
}

// apart are names of backups that tell them apart: of each as many of the last parts of its path as that takes.
func apart(v *Verification) []string {
	last := func(i, n int) string {
		parts := strings.Split(filepath.ToSlash(v.Backups[i].File.Called()), "/")
		name := strings.Join(parts[max(0, len(parts)-n):], "/")
		if v.Backups[i].Kind == backup.KindChain {
			name += " (chain)"
		}
		return name
	}
	names := make([]string, len(v.Backups))
	for n, open := 1, len(names); open > 0; n++ {
		seen := map[string]int{}
		for i := range names {
			seen[last(i, n)]++
		}
		for i := range names {
			if names[i] == "" && (seen[last(i, n)] == 1 || last(i, n) == last(i, n+1)) {
				names[i] = last(i, n)
				open--
			}
		}
	}
	return names
}
