// Package recovery makes a snapshot file of what is left of a cluster: of what a copy holds, read around damage, or of the
// state at any moment that a log can reach.
//
//	moment              base, the first that leads there                       what is written
//	now                 the copy itself                                        every row that can be read
//	an entry,           nothing: the log begins with the cluster               the rows of the base,
//	a revision,         the copy's own rows, taken back or run on              those that etcd's applier makes of the entries,
//	a time              an older snapshot or backup                            less what compactions up to there removed,
//	                    another copy that holds the same                       and the tables as the applier leaves them
//
// Everything is decided, and the entries are run, before the file is begun. Rows that a copy holds are written with its own
// bytes, so that their hash is that of a member of its version.
package recovery

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/recovery/snapfile"
	"etcd-autopsy/inspect"
)

// Kind says how a moment is named.
type Kind int

// Kinds of moments.
const (
	Now        Kind = iota // what the copy holds
	AtEntry                // when entry N had been applied
	AtRevision             // when revision N had been made
	AtTime                 // when clocks showed Time
)

// Moment is what is asked for.
type Moment struct {
	Kind Kind
	N    uint64
	Time time.Time
}

// Request says what to recover, and of what.
type Request struct {
	Members []*inspect.Member
	// From is the label of the member whose life counts, empty for the best one where members agree.
	From string
	// Bases are older states, such as backups, that the log may be run on from.
	Bases  []*inspect.Member
	Moment Moment
	// Dated are entries of which something else than request ids tells when they were there, for AtTime.
	Dated []Dated
	// Without are entries that are left out, ascending.
	Without []uint64
	// Union takes all that any log holds, also what nobody is known to have committed.
	Union bool
	// For is the release that is to run the file, one of Releases; empty for that of the copy.
	For string
	// Compare compares members, as diff.Investigate does.
	Compare func(ctx context.Context, ms []*inspect.Member) *diff.Document
	// TempDir is where private copies are made, Progress is told about long work; both may be zero.
	TempDir  string
	Progress func(what string, done, total int)
}

// Document says what was written.
type Document struct {
	SchemaVersion string `json:"schema_version"`
	File          string `json:"file"`
	Size          int64  `json:"size"` // in bytes
	SHA256        string `json:"sha256"`
	// From is the member whose life it is, Base what its state was made from.
	From string `json:"from"`
	Base string `json:"base"`
	// Entry is the last entry whose effects it holds, 0 if not known.
	Entry           uint64 `json:"entry"`
	Term            uint64 `json:"term"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	Keys            int    `json:"keys"`
	Revisions       int    `json:"revisions"` // rows
	Leases          int    `json:"leases"`
	AuthEnabled     bool   `json:"auth_enabled"`
	AuthRevision    uint64 `json:"auth_revision"`
	HashKV          uint32 `json:"hash_kv"` // as a server that runs the file answers at its revision
	ClusterVersion  string `json:"cluster_version"`
	StorageVersion  string `json:"storage_version"`
	// Run is how many entries were run by etcd's applier.
	Run int `json:"entries_run"`
	// Whole is true if nothing is known or feared to be lost, Proven if a log, or etcd's applier that ran it, makes the rows of it. ProvenFrom is the
	// first revision of which that is so: the rows before it are older than the log, and as a file has them. It is 0 if all are proven, or none.
	Whole      bool  `json:"whole"`
	Proven     bool  `json:"proven"`
	ProvenFrom int64 `json:"proven_from"`
	// Salvaged is how many rows come from pages to which nothing readable refers.
	Salvaged int      `json:"salvaged"`
	Lost     []string `json:"lost"`
	Proof    []string `json:"proof"`
	Notes    []string `json:"notes"`
	// Without are the entries left out, Changed the keys that are otherwise because of it: the first MaxChanged, in order.
	Without      []uint64  `json:"without"`
	Changed      []Changed `json:"changed"`
	ChangedCount int       `json:"changed_count"`
}

// MaxChanged bounds the keys that are listed.
const MaxChanged = 100

// Changed is a key that is otherwise because entries were left out.
type Changed struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 string `json:"key_base64,omitempty"` // set if the key is not printable, as of a diff.Key
	// How is "kept" for a key that would be gone, "gone" for one that would be there, or "otherwise".
	How string `json:"how"`
}

// Text is the key as it is shown.
func (c *Changed) Text() string {
	if b, err := base64.StdEncoding.DecodeString(c.KeyBase64); err == nil && c.KeyBase64 != "" {
		return diff.Key(b).String()
	}
	return c.Key
}

func changed(key, how string) Changed {
	if diff.Key(key).Printable() {
		return Changed{Key: key, How: how}
	}
	return Changed{KeyBase64: base64.StdEncoding.EncodeToString([]byte(key)), How: how}
}

// Refusal says why nothing was written, and what would be needed.
type Refusal struct {
	Why  string
	Need string // empty if nothing helps
}

func (r *Refusal) Error() string { return r.Why }

// Hint is what the user can do.
func (r *Refusal) Hint() string { return r.Need }

func refuse(need, format string, args ...any) error {
	return &Refusal{Why: fmt.Sprintf(format, args...), Need: need}
}

// Recover writes what is asked for into a new file. On an error, which is a *Refusal where it cannot be made, there is no file.
func Recover(ctx context.Context, q *Request, path string) (*Document, error) {
	p, err := newPlanner(ctx, q)
	if err != nil {
		return nil, err
	}
	src, err := p.source(ctx)
	if err != nil {
		return nil, err
	}
	if q.For != "" {
		if src, err = aim(src, q.For); err != nil {
			return nil, err
		}
	}
	d := src.document()
	d.File = path
	if err := write(ctx, src, d, path); err != nil {
		return nil, err
	}
	return d, nil
}

// source is a state that can be written.
type source interface {
	// document is all that is known before it is written.
	document() *Document
	// buckets are those to make, whether or not they have rows.
	buckets() []string
	// rows calls put for every row, a bucket's in ascending order of keys.
	rows(ctx context.Context, put func(bucket string, key, value []byte) error) error
}

func write(ctx context.Context, src source, d *Document, path string) (err error) {
	f, err := snapfile.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Abort())
		}
	}()
	for _, b := range src.buckets() {
		if err := f.Bucket(b); err != nil {
			return err
		}
	}
	if err := src.rows(ctx, f.Put); err != nil {
		return err
	}
	sum, err := f.Seal()
	if err != nil {
		return err
	}
	d.Size, d.SHA256 = sum.Size, sum.SHA256
	if err := readBack(ctx, f.Temp(), d); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.Commit()
}

// missing is what a finding says of rows, without why they may be gone.
func missing(detail string) string {
	before, _, _ := strings.Cut(detail, " before this page")
	return before
}

// readBack reads what was written with other code than that which wrote it. Rows that are missing in it are lost.
func readBack(ctx context.Context, path string, d *Document) (err error) {
	set, err := inspect.Open(ctx, []string{path}, inspect.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if len(set.Members) != 1 || set.Members[0].DB == nil {
		return errors.New("what was written cannot be read back: please report it")
	}
	db := set.Members[0].DB
	if len(db.Bolt.Damage()) > 0 || !db.Bolt.TrailerOK() {
		return fmt.Errorf("what was written cannot all be read back, please report it: %v", set.Members[0].Findings)
	}
	for _, f := range set.Members[0].Findings {
		switch {
		case !f.Unreadable:
		case f.Code == "rows-missing": // as they are in what it was made of
			if d.lost("in the file %s", missing(f.Detail)); d.Proven {
				d.Proven = false
				d.note("not proven: rows are missing in it")
			}
		default:
			return fmt.Errorf("what was written cannot all be read back, please report it: %v", f)
		}
	}
	d.close()
	t := db.Tables
	d.Entry, d.Term = t.ConsistentIndex, t.Term
	d.Revision, d.CompactRevision = db.Revision(), db.CompactRevision()
	d.Keys, d.Revisions, d.Leases = db.Rows.CountLive(), db.Rows.Len(), len(t.Leases)
	d.AuthEnabled, d.AuthRevision = t.AuthEnabled, t.AuthRevision
	d.ClusterVersion, d.StorageVersion = t.ClusterVersion, t.StorageVersion
	d.HashKV = db.Rows.HashKV(d.Revision, d.CompactRevision)
	return nil
}

// newDocument fills in what must not be null.
func newDocument() *Document {
	return &Document{
		SchemaVersion: diff.SchemaVersion, Lost: []string{}, Proof: []string{}, Notes: []string{}, Without: []uint64{}, Changed: []Changed{},
	}
}

func (d *Document) lost(format string, args ...any) {
	d.Lost = append(d.Lost, fmt.Sprintf(format, args...))
}

func (d *Document) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

func (d *Document) prove(format string, args ...any) {
	d.Proof = append(d.Proof, fmt.Sprintf(format, args...))
}

// old says what no snapshot of a release up to 3.5 holds. An empty version is one before 3.5.
func (d *Document) old(version string) {
	v, err := semver.NewVersion(version)
	if err != nil || v.LessThan(semver.Version{Major: 3, Minor: 6}) {
		d.note("the store of etcd 2 is no part of a snapshot: keys that were written with its API are not in it")
	}
}

// close settles whether all is well.
func (d *Document) close() {
	d.Whole = len(d.Lost) == 0
	slices.Sort(d.Lost)
	d.Lost = slices.Compact(d.Lost)
}

// plural counts things.
func plural[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// some joins at most a few words.
func some(words []string) string {
	const most = 5
	if n := len(words); n > most {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	}
	return strings.Join(words, ", ")
}
