// Package export writes what members hold as tables, for programs that query them. There is no value and no password in
// the tables: of a value they have the size and the sha256.
//
// A table is a folder of Parquet files, partitioned as Hive does it:
//
//	DIR/revisions/cluster=c0a4ef1204d4e20c/member=etcd-a/time=2026-11-21T08%3A23%3A25Z/part-0.parquet
//
// Engines take cluster, member and time for columns, and need not open the files of those that nobody asks for. They are not in the
// files: an engine would have the column twice. Each member has a file in every table, be it without rows, so that every
// table has its columns. What is written later for other members, of the same cluster or of others, only adds files.
package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Key is a key as UTF-8 if it is printable, else in base64; both are null for a row that is of no key. Rows are sorted by it, so that each key is written as what it does
// not share with the one before.
type Key struct {
	Key       string `parquet:"key,optional,delta"`
	KeyBase64 string `parquet:"key_base64,optional,delta"`
}

// Member is a row of members. Ids are 16 hex digits in all tables.
type Member struct {
	MemberID        string `parquet:"member_id"`
	ConsistentIndex uint64 `parquet:"consistent_index"`
	Term            uint64 `parquet:"term"`
	Revision        int64  `parquet:"revision"`
	CompactRevision int64  `parquet:"compact_revision"`
	Rows            int64  `parquet:"rows"`
	FirstEntry      uint64 `parquet:"first_entry"`
	LastEntry       uint64 `parquet:"last_entry"`
	AuthEnabled     bool   `parquet:"auth_enabled"`
	AuthRevision    uint64 `parquet:"auth_revision"`
	HasDB           bool   `parquet:"has_db"`
	Complete        bool   `parquet:"complete"`
	Origin          string `parquet:"origin"`
	// Verdict is that of the members that were exported together: consistent, diverged, indeterminate or not_comparable. If they diverged, the
	// first parting lies in entries PartedFirst to PartedLast, 0 where the logs do not tell, and PartedRevision is the first revision
	// that differs, 0 if none does.
	Verdict        string `parquet:"verdict,dict"`
	PartedFirst    uint64 `parquet:"parted_first"`
	PartedLast     uint64 `parquet:"parted_last"`
	PartedRevision int64  `parquet:"parted_revision"`
	// Faulty tells that the member's own log does not lead to what it holds without that parting.
	Faulty bool `parquet:"faulty"`
}

// Revision is a row of revisions: one change of a key.
type Revision struct {
	Revision  int64 `parquet:"revision"`
	Sub       int64 `parquet:"sub"`
	Tombstone bool  `parquet:"tombstone"`
	Key
	CreateRevision int64  `parquet:"create_revision"`
	ModRevision    int64  `parquet:"mod_revision"`
	Version        int64  `parquet:"version"`
	Lease          string `parquet:"lease,dict"`
	ValueSize      int64  `parquet:"value_size"`
	ValueSHA256    string `parquet:"value_sha256"`
	Salvaged       bool   `parquet:"salvaged"`
}

// Entry is a row of entries: a raft entry in the log of one member.
type Entry struct {
	Index   uint64 `parquet:"raft_index"`
	Term    uint64 `parquet:"term"`
	Type    string `parquet:"type,dict"`
	Summary string `parquet:"summary"`
	User    string `parquet:"username,dict"`
	Size    int64  `parquet:"size"`
}

// Effect is a row of effects: what an entry did on a member. Revision is 0 if it made none; an entry that was applied
// again has a row for each revision.
type Effect struct {
	Index    uint64 `parquet:"raft_index"`
	Revision int64  `parquet:"revision"`
	State    string `parquet:"state,dict"` // made, gone, none, no_keys, not_applied, not_committed, unknown
	Odd      bool   `parquet:"odd"`
	Why      string `parquet:"why,dict"`
}

// Lease is a row of leases. TTLs are in seconds.
type Lease struct {
	ID           string `parquet:"id"`
	TTL          int64  `parquet:"ttl"`
	RemainingTTL int64  `parquet:"remaining_ttl"`
}

// Difference is a row of differences: a key that differs, on one member.
type Difference struct {
	Key
	Difference     string `parquet:"difference,dict"` // missing, value, lease
	Present        bool   `parquet:"present"`
	ModRevision    int64  `parquet:"mod_revision"`
	CreateRevision int64  `parquet:"create_revision"`
	Version        int64  `parquet:"version"`
	Lease          string `parquet:"lease"`
	ValueSize      int64  `parquet:"value_size"`
	ValueSHA256    string `parquet:"value_sha256"`
}

// Tables are the names of the tables; each is a folder.
var Tables = []string{"differences", "effects", "entries", "leases", "members", "revisions"}

// ErrThere tells that a file is there already.
var ErrThere = errors.New("is there already")

// rowGroup is how many rows are read, and kept in memory until they are written, together. It is the size of DuckDB's own groups: an
// engine gives a group to one thread, and smaller ones cost more than they let it skip. Spark and Trino, which cut files at
// 128 MiB, find several in each.
const rowGroup = 122_880

// sortedAtOnce is how many rows are sorted in memory; such parts are merged, with a page of each column of each part in memory at a time.
// Smaller parts and bigger pages cost more of it in the end.
const (
	sortedAtOnce = rowGroup / 2
	pageSize     = 64 << 10 // bytes
)

// Options say how tables are written.
type Options struct {
	// Force replaces what is there of the same partitions.
	Force bool
	// TempDir is where rows are kept while they are sorted: "" for the system's folder for temporary files.
	TempDir string
}

// Write writes all tables of members of one cluster into dir, which is made if it is not there. It returns the number of rows of
// each table, and the partitions.
func Write(ctx context.Context, dir string, ms []*inspect.Member, opts Options) (map[string]int64, []Partition, error) {
	x := &exporter{ctx: ctx, dir: dir, opts: opts, rows: map[string]int64{}}
	x.opts.TempDir = cmp.Or(opts.TempDir, os.TempDir())
	var parts []Partition
	for _, m := range ms {
		p := partitionOf(m)
		if err := p.check(); err != nil {
			return nil, nil, err
		}
		parts = append(parts, p)
	}
	for _, p := range parts {
		for _, t := range Tables {
			if _, err := os.Lstat(p.path(dir, t)); err == nil && !opts.Force {
				return nil, nil, fmt.Errorf("%s %w", p.path(dir, t), ErrThere)
			}
		}
	}
	doc, ledger := diff.Compare(ms), diff.NewLedger(ms)
	for i, m := range ms {
		table(x, "members", parts[i], nil, func(put func(Member)) { put(member(m, doc)) })
		table(x, "revisions", parts[i], []string{"key", "key_base64", "revision", "sub"}, func(put func(Revision)) { x.revisions(m, put) })
		table(x, "entries", parts[i], []string{"raft_index"}, func(put func(Entry)) { x.entries(m, put) })
		table(x, "effects", parts[i], []string{"raft_index", "revision"}, func(put func(Effect)) { x.effects(ledger, i, put) })
		table(x, "leases", parts[i], []string{"id"}, func(put func(Lease)) { leases(m, put) })
		table(x, "differences", parts[i], []string{"key", "key_base64"}, func(put func(Difference)) { x.differences(doc, m.Label, put) })
	}
	return x.rows, parts, cmp.Or(ctx.Err(), x.err)
}

type exporter struct {
	ctx  context.Context
	dir  string
	opts Options
	rows map[string]int64
	err  error
}

// stopped tells whether there is no point in going on.
func (x *exporter) stopped() bool { return x.err != nil || x.ctx.Err() != nil }

// table writes one file, under another name, which engines pass over, until it is whole.
func table[T any](x *exporter, name string, p Partition, sorted []string, fill func(put func(T))) {
	if x.stopped() {
		return
	}
	path := p.path(x.dir, name)
	if x.err = os.MkdirAll(filepath.Dir(path), 0o755); x.err != nil {
		return
	}
	part := filepath.Join(filepath.Dir(path), "."+fileName+".part")
	f, err := os.Create(part)
	if err != nil {
		x.err = err
		return
	}
	n, err := rows(f, x, sorted, fill)
	err = errors.Join(err, f.Close())
	if err == nil && x.stopped() {
		err = x.ctx.Err()
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		x.err = errors.Join(err, os.Remove(part))
		return
	}
	x.rows[name] += n
}

// rows writes rows, sorted by columns, in groups. Memory is about that of one group: sorted parts of it are kept in a file, and merged in the end.
func rows[T any](w io.Writer, x *exporter, sorted []string, fill func(put func(T))) (n int64, err error) {
	var columns []parquet.SortingColumn
	for _, name := range sorted {
		columns = append(columns, parquet.Ascending(name))
	}
	p := parquet.NewSortingWriter[T](w, sortedAtOnce,
		parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("etcd-autopsy", "1", ""), parquet.MaxRowsPerRowGroup(rowGroup), parquet.DataPageStatistics(true), parquet.PageBufferSize(pageSize),
		parquet.SortingWriterConfig(parquet.SortingColumns(columns...), parquet.SortingBuffers(parquet.NewFileBufferPool(x.opts.TempDir, "etcd-autopsy-*"))))
	one := make([]T, 1)
	fill(func(row T) {
		if x.err != nil {
			return
		}
		one[0] = row
		if _, x.err = p.Write(one); x.err == nil {
			n++
		}
	})
	if x.stopped() {
		p.Reset(io.Discard) // which removes the temporary file
		return n, cmp.Or(x.err, x.ctx.Err())
	}
	err = p.Close()
	return n, err
}

func key(k string) Key {
	if diff.Key(k).Printable() {
		return Key{Key: k}
	}
	return Key{KeyBase64: base64.StdEncoding.EncodeToString([]byte(k))}
}

func member(m *inspect.Member, doc *diff.Document) Member {
	r := Member{Verdict: string(doc.Verdict), MemberID: diff.ID(m.Log.NodeID).String(), FirstEntry: m.Log.First(), LastEntry: m.Log.Last(), HasDB: m.DB != nil, Origin: m.Origin}
	r.Complete, _ = m.Complete()
	if len(doc.Divergences) > 0 {
		v := &doc.Divergences[0]
		switch {
		case v.Entry != nil:
			r.PartedFirst, r.PartedLast = v.Entry.Index, v.Entry.Index
		case v.EntryInterval != nil:
			r.PartedFirst, r.PartedLast = v.EntryInterval.First, v.EntryInterval.Last
		}
		r.PartedRevision, r.Faulty = v.Revision, slices.Contains(v.Faulty, m.Label)
	}
	if db := m.DB; db != nil {
		r.ConsistentIndex, r.Term, r.Revision, r.CompactRevision = db.Tables.ConsistentIndex, db.Tables.Term, db.Revision(), db.CompactRevision()
		r.Rows, r.AuthEnabled, r.AuthRevision = int64(db.Rows.Len()), db.Tables.AuthEnabled, db.Tables.AuthRevision
	}
	return r
}

func (x *exporter) revisions(m *inspect.Member, put func(Revision)) {
	if m.DB == nil {
		return
	}
	for _, r := range m.DB.Rows.All() {
		if x.stopped() {
			return
		}
		out := Revision{Revision: r.Rev.Main, Sub: r.Rev.Sub, Tombstone: r.Tombstone, Key: key(string(r.Key())), Lease: diff.ID(0).String(), Salvaged: r.Salvaged}
		var kv mvcc.KeyValue
		if !r.Tombstone && kv.Decode(r.Value) == nil {
			sum := sha256.Sum256(kv.Value)
			out.CreateRevision, out.ModRevision, out.Version, out.Lease = kv.Create, kv.Mod, kv.Version, diff.ID(kv.Lease).String()
			out.ValueSize, out.ValueSHA256 = int64(len(kv.Value)), hex.EncodeToString(sum[:])
		}
		put(out)
	}
}

func (x *exporter) entries(m *inspect.Member, put func(Entry)) {
	for i := range m.Log.Entries {
		if x.stopped() {
			return
		}
		e := &m.Log.Entries[i]
		out := Entry{Index: e.Index, Term: e.Term, Type: "Unknown", Size: int64(len(e.Data))}
		if r, err := raftlog.Decode(e); err == nil {
			out.Type, out.Summary, out.User = r.Type, r.Summary(), r.User
		}
		put(out)
	}
}

func (x *exporter) effects(l *diff.Ledger, i int, put func(Effect)) {
	m := l.Members[i]
	for k := range m.Log.Entries {
		if x.stopped() {
			return
		}
		e := l.Effect(i, m.Log.Entries[k].Index)
		out := Effect{Index: m.Log.Entries[k].Index, State: string(e.State), Odd: e.Odd, Why: e.Why}
		if len(e.Revisions) == 0 {
			put(out)
		}
		for _, out.Revision = range e.Revisions {
			put(out)
		}
	}
}

func leases(m *inspect.Member, put func(Lease)) {
	if m.DB == nil {
		return
	}
	for _, l := range m.DB.Tables.Leases {
		put(Lease{diff.ID(l.ID).String(), l.TTL, l.RemainingTTL})
	}
}

func (x *exporter) differences(d *diff.Document, label string, put func(Difference)) {
	for k := range d.Keys.All() {
		if x.stopped() {
			return
		}
		if s, ok := k.ByMember[label]; ok {
			put(Difference{key(string(k.Key)), k.Difference, s.Present, s.ModRevision, s.CreateRevision, s.Version, s.Lease.String(), int64(s.ValueSize), s.ValueSHA256})
		}
	}
}
