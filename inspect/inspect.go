// Package inspect reads everything that the files of an etcd member hold, and says what it could not read.
package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Member is one member as its files show it. Much of it lies in the files themselves, which are mapped until Close: what reads it
// while others may cut them runs within evidence.Guard, or a cut ends the process.
type Member struct {
	Label  string
	Origin string
	// Bare is true for a lone db or snapshot file, which has no log.
	Bare  bool
	Files []*evidence.File
	// Unread are those of Files that are only named: databases received from a leader, and what etcd does not use.
	Unread []*evidence.File

	// DB is nil if there is no db, or none of which anything can be read.
	DB *DB
	// Log is never nil; without segments it is empty.
	Log *raftlog.Log
	// Snaps are the .snap files that could be read, oldest first.
	Snaps []*raftlog.Snap
	// Findings are about all of the member's files, sorted by place.
	Findings []finding.Finding

	membership    sync.Once
	logMembership *Membership
	witness       sync.Once
	evidence      *Evidence
}

// DB is the member's bbolt file.
type DB struct {
	File   *evidence.File
	Bolt   *bolt.DB
	Tables *schema.Tables
	Rows   *mvcc.Table
	// Whole is true if every page that the db refers to could be read.
	Whole bool
	// HasKeys is false if the key bucket could not be found at all.
	HasKeys bool

	exact bool // Rows are all that lies in the bucket "key"
}

// Options change how members are read.
type Options struct {
	// Meta chooses the meta page of every db: 0, 1, or nil for the newer one that is valid.
	Meta *int
	// Progress is called now and then with how many bytes of how many of a db were read, from several goroutines. nil: nobody
	// asks.
	Progress func(what string, done, total int)

	// WALDirs, TempDir and Say are as in evidence.Options.
	WALDirs []string
	TempDir string
	Say     func(string)

	// Quick is for where members stand, and no more: of each the meta pages, the small tables and the last row are read, and nothing is checked.
	// Rows then holds that row alone, and Log no entries.
	Quick bool

	noting mvcc.Noting
}

// Set is the members of one command.
type Set struct {
	Members []*Member
	// Notes say what was found and not read.
	Notes    []string
	evidence *evidence.Set
}

// Close releases the files. Nothing read from the members may be used afterwards.
func (s *Set) Close() error { return s.evidence.Close() }

// Open reads the members that args name, at the same time. A member that cannot be read is a member with findings, not
// an error. An error means that nothing was opened. errors.Is and errors.As tell why:
//
//	fs.ErrNotExist, fs.ErrPermission  the path is not there, or may not be read
//	evidence.ErrNoMember              the path is there, and no member in it
//	*evidence.ForeignError            the file is of another program, or encrypted: What says of which
//	evidence.ErrShrank                a file was cut while it was read
//	context.Canceled                  or another error of ctx, which ends it early
func Open(ctx context.Context, args []string, opts Options) (*Set, error) {
	ev, err := evidence.Open(ctx, args, evidence.Options{WALDirs: opts.WALDirs, TempDir: opts.TempDir, Say: opts.Say})
	if err != nil {
		return nil, err
	}
	s := &Set{evidence: ev, Notes: ev.Notes, Members: make([]*Member, len(ev.Members))}
	errs := make([]error, len(ev.Members))
	// Others are compared with the first one. Of what they share with it nothing else is needed.
	first := slices.MinFunc(ev.Members, func(a, b *evidence.Member) int { return strings.Compare(a.Label, b.Label) })
	var wg sync.WaitGroup
	for i, m := range ev.Members {
		opts := opts
		opts.noting = mvcc.Noting{Sums: len(ev.Members) > 1, Digests: m == first, Hashes: m == first}
		wg.Go(func() {
			errs[i] = evidence.Guard(m.Origin, func() error {
				s.Members[i] = read(ctx, m, opts)
				return nil
			})
		})
	}
	wg.Wait()
	if err := cmp.Or(ctx.Err(), errors.Join(errs...)); err != nil {
		return nil, errors.Join(err, ev.Close())
	}
	s.labels()
	// The order of arguments must not matter to any output.
	slices.SortStableFunc(s.Members, func(a, b *Member) int { return strings.Compare(a.Label, b.Label) })
	return s, nil
}

// labels makes those that are not printable so, as Go writes them: they name lines, columns and fields. Each stays another.
func (s *Set) labels() {
	taken := map[string]bool{}
	for _, m := range s.Members {
		taken[m.Label] = true
	}
	for _, m := range s.Members {
		if !utf8.ValidString(m.Label) || strings.ContainsFunc(m.Label, unicode.IsControl) {
			q := strconv.Quote(m.Label)
			label := q[1 : len(q)-1]
			for n := 2; taken[label]; n++ {
				label = fmt.Sprintf("%s#%d", q[1:len(q)-1], n)
			}
			m.Label, taken[label] = label, true
		}
	}
}

func read(ctx context.Context, ev *evidence.Member, opts Options) *Member {
	m := &Member{Label: ev.Label, Origin: ev.Origin, Bare: ev.Bare, Findings: slices.Clone(ev.Findings)}
	m.files(ev)
	evidence.Stop(ctx)
	if opts.Quick {
		m.glance(ev, opts)
	} else {
		m.readLog(ctx, ev.WAL)
		m.readSnaps(ev.Snap)
		m.readDB(ctx, ev.DB, opts)
	}
	finding.Sort(m.Findings)
	return m
}

func (m *Member) files(ev *evidence.Member) {
	if ev.DB != nil {
		m.Files = append(m.Files, ev.DB)
	}
	m.Files = slices.Concat(m.Files, ev.WAL, ev.Snap, ev.SnapDB, ev.Other)
	m.Unread = slices.Concat(ev.SnapDB, ev.Other)
	byName := func(a, b *evidence.File) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(m.Files, byName)
	slices.SortFunc(m.Unread, byName)
}

func (m *Member) readLog(ctx context.Context, files []*evidence.File) {
	var src []raftlog.Source
	for _, f := range files {
		f.Advise(true)
		src = append(src, raftlog.Source{Name: f.Name, Data: f.Bytes()})
	}
	m.Log = raftlog.Read(src)
	evidence.Stop(ctx)
	m.Findings = append(m.Findings, m.Log.Findings...)
	switch {
	case len(files) > 0 || m.Bare:
	case slices.ContainsFunc(m.Unread, func(f *evidence.File) bool { return strings.HasPrefix(f.Name, "member/wal.tmp/") }):
		// wal.Create makes the log there and renames it (server/storage/wal/wal.go, v3.7.0); if it is there at a start, that
		// begins anew.
		m.Findings = append(m.Findings, finding.New("first-start-interrupted", finding.Warning, "member/wal.tmp", "the log was being made, and never came to be used"))
	default:
		m.Findings = append(m.Findings, finding.New("wal-missing", finding.Warning, "member/wal", "no log segment"))
	}
}

func (m *Member) readSnaps(files []*evidence.File) {
	for _, f := range files {
		s, err := raftlog.ReadSnap(raftlog.Source{Name: f.Name, Data: f.Bytes()})
		if err != nil {
			m.Findings = append(m.Findings, snapFinding(f.Name, err))
			continue
		}
		m.Findings = append(m.Findings, s.Findings...)
		m.Snaps = append(m.Snaps, s)
	}
}

func snapFinding(name string, err error) finding.Finding {
	if c, ok := errors.AsType[*raftlog.CorruptError](err); ok {
		return c.Finding()
	}
	return finding.New("snap-unreadable", finding.Error, name, "%v", err)
}

// maxParts bounds in how many parts a db is read: each takes a byte of memory for every page.
const maxParts = 4

// parts is in how many a db is read.
func parts() int { return min(runtime.GOMAXPROCS(0), maxParts) }

func (m *Member) readDB(ctx context.Context, f *evidence.File, opts Options) {
	if f == nil {
		m.Findings = append(m.Findings, m.noDB())
		return
	}
	meta := -1
	if opts.Meta != nil {
		meta = *opts.Meta
	}
	f.Advise(true)
	db, err := bolt.Open(f.Name, f.Bytes(), bolt.Options{Meta: meta})
	if err != nil {
		m.Findings = append(m.Findings, finding.New("db-unreadable", finding.Error, f.Name, "%s", strings.TrimPrefix(err.Error(), f.Name+": ")).Lost())
		return
	}
	tables, found := schema.Read(f.Name, rowsOf(db))
	m.DB = &DB{File: f, Bolt: db, Tables: tables}
	rows := newRowTaker(ctx, m.DB, opts.noting, opts.TempDir)
	if opts.Progress != nil {
		total := int(min(int64(db.Meta().HighWater)*int64(db.Meta().PageSize), f.Size))
		rows.progress.show = func(done int) { opts.Progress("reading "+m.Label, min(done, total), total) }
		defer opts.Progress("reading "+m.Label, total, total)
	}
	report := db.CheckLeaves(rows, parts(), func(fs []func()) {
		var g evidence.Group
		for _, read := range fs {
			g.Go(f.Name, read)
		}
		g.Wait()
	})
	m.Findings = slices.Concat(m.Findings, report.Findings, found)
	m.DB.Whole = report.Complete && len(found) == 0
	for _, o := range rows.odd {
		m.lose(o)
	}
	evidence.Stop(ctx)
	m.takeRows(rows)
}

// rowsOf reads the rows of small buckets.
func rowsOf(db *bolt.DB) func(string) iter.Seq2[[]byte, []byte] {
	return func(bucket string) iter.Seq2[[]byte, []byte] {
		return func(yield func(k, v []byte) bool) {
			b := db.Bucket(bucket)
			if b == nil {
				return
			}
			for r := b.Rows(); r.Next(); {
				if !r.IsBucket() && !yield(r.Key(), r.Value()) {
					return
				}
			}
		}
	}
}

// Revision is the member's current revision as a server that starts on this db would have it: that of the last row, or
// the compact revision where compaction removed the last rows (server/storage/mvcc/kvstore.go, restore).
func (db *DB) Revision() int64 {
	return max(db.Rows.Last(), db.Tables.FinishedCompact, db.Tables.ScheduledCompact)
}

// CompactRevision is what was asked to be compacted last, whether or not that is finished. 0 if never.
func (db *DB) CompactRevision() int64 {
	return max(db.Tables.ScheduledCompact, db.Tables.FinishedCompact)
}

// Complete tells whether everything there is of the member could be read, and if not, why.
func (m *Member) Complete() (bool, []string) {
	var why []string
	for _, f := range m.Findings {
		if f.Unreadable {
			why = append(why, f.String())
		}
	}
	if m.DB != nil && !m.DB.Whole && len(why) == 0 {
		why = append(why, fmt.Sprintf("%s: not all of it could be read", m.DB.File.Name))
	}
	return len(why) == 0, why
}
