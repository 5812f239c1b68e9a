// Package export writes what members hold as tables, for programs that query them. There is no value and no password in
// the tables: of a value they have the size and the sha256.
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
	"maps"
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

// Key is a key as UTF-8 if it is printable, else in base64.
type Key struct {
	Key       *string `parquet:"key,optional,dict"`
	KeyBase64 *string `parquet:"key_base64,optional"`
}

// Member is a row of members. Ids are 16 hex digits in all tables.
type Member struct {
	Member          string `parquet:"member"`
	MemberID        string `parquet:"member_id"`
	ClusterID       string `parquet:"cluster_id"`
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
}

// Revision is a row of revisions: one change of a key.
type Revision struct {
	Member    string `parquet:"member,dict"`
	Revision  int64  `parquet:"revision"`
	Sub       int64  `parquet:"sub"`
	Tombstone bool   `parquet:"tombstone"`
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
	Member  string `parquet:"member,dict"`
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
	Member   string `parquet:"member,dict"`
	Index    uint64 `parquet:"raft_index"`
	Revision int64  `parquet:"revision"`
	State    string `parquet:"state,dict"` // made, gone, none, no_keys, not_applied, not_committed, unknown
	Odd      bool   `parquet:"odd"`
	Why      string `parquet:"why,dict"`
}

// Lease is a row of leases. TTLs are in seconds.
type Lease struct {
	Member       string `parquet:"member,dict"`
	ID           string `parquet:"id"`
	TTL          int64  `parquet:"ttl"`
	RemainingTTL int64  `parquet:"remaining_ttl"`
}

// Difference is a row of differences: a key that differs, on one member.
type Difference struct {
	Key
	Difference     string `parquet:"difference,dict"` // missing, value, lease
	Member         string `parquet:"member,dict"`
	Present        bool   `parquet:"present"`
	ModRevision    int64  `parquet:"mod_revision"`
	CreateRevision int64  `parquet:"create_revision"`
	Version        int64  `parquet:"version"`
	Lease          string `parquet:"lease"`
	ValueSize      int64  `parquet:"value_size"`
	ValueSHA256    string `parquet:"value_sha256"`
}

// Tables are the names of the tables; each is a file NAME.parquet.
var Tables = []string{"differences", "effects", "entries", "leases", "members", "revisions"}

// ErrThere tells that a file is there already.
var ErrThere = errors.New("is there already")

const rowGroup = 64 << 10 // rows that are kept in memory until they are written

// Write writes all tables of members of one cluster into dir, which is made if it is not there. Without force, no file is
// replaced. It returns the number of rows of each table.
func Write(ctx context.Context, dir string, ms []*inspect.Member, force bool) (map[string]int64, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, t := range Tables {
		if _, err := os.Lstat(file(dir, t)); err == nil && !force {
			return nil, fmt.Errorf("%s %w", file(dir, t), ErrThere)
		}
	}
	x := &exporter{ctx: ctx, dir: dir, rows: map[string]int64{}}
	table(x, "members", func(put func(Member)) { members(ms, put) })
	table(x, "revisions", func(put func(Revision)) { x.revisions(ms, put) })
	table(x, "entries", func(put func(Entry)) { x.entries(ms, put) })
	ledger := diff.NewLedger(ms)
	table(x, "effects", func(put func(Effect)) { x.effects(ledger, put) })
	table(x, "leases", func(put func(Lease)) { leases(ms, put) })
	if x.err == nil {
		doc := diff.Compare(ms)
		table(x, "differences", func(put func(Difference)) { differences(doc, put) })
	}
	return x.rows, cmp.Or(ctx.Err(), x.err)
}

func file(dir, table string) string { return filepath.Join(dir, table+".parquet") }

type exporter struct {
	ctx  context.Context
	dir  string
	rows map[string]int64
	err  error
}

// stopped tells whether there is no point in going on.
func (x *exporter) stopped() bool { return x.err != nil || x.ctx.Err() != nil }

// table writes one file, under another name until it is whole.
func table[T any](x *exporter, name string, fill func(put func(T))) {
	if x.stopped() {
		return
	}
	part := file(x.dir, name) + ".part"
	f, err := os.Create(part)
	if err != nil {
		x.err = err
		return
	}
	n, err := rows(f, x, fill)
	err = errors.Join(err, f.Close())
	if err == nil && x.stopped() {
		err = x.ctx.Err()
	}
	if err == nil {
		err = os.Rename(part, file(x.dir, name))
	}
	if err != nil {
		x.err = errors.Join(err, os.Remove(part))
		return
	}
	x.rows[name] = n
}

// rows writes rows in groups, so that memory is that of one group.
func rows[T any](w io.Writer, x *exporter, fill func(put func(T))) (int64, error) {
	p := parquet.NewGenericWriter[T](w, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("etcd-autopsy", "1", ""))
	var n int64
	var err error
	one := make([]T, 1)
	fill(func(row T) {
		if err != nil {
			return
		}
		one[0] = row
		if _, err = p.Write(one); err == nil {
			if n++; n%rowGroup == 0 {
				err = p.Flush()
			}
		}
		if err != nil {
			x.err = err
		}
	})
	return n, errors.Join(err, p.Close())
}

func key(k string) Key {
	if diff.Key(k).Printable() {
		return Key{Key: &k}
	}
	b := base64.StdEncoding.EncodeToString([]byte(k))
	return Key{KeyBase64: &b}
}

func members(ms []*inspect.Member, put func(Member)) {
	for _, m := range ms {
		r := Member{
			Member: m.Label, MemberID: diff.ID(m.Log.NodeID).String(), ClusterID: diff.ID(m.Log.ClusterID).String(),
			FirstEntry: m.Log.First(), LastEntry: m.Log.Last(), HasDB: m.DB != nil,
		}
		r.Complete, _ = m.Complete()
		if db := m.DB; db != nil {
			r.ConsistentIndex, r.Term, r.Revision, r.CompactRevision = db.Tables.ConsistentIndex, db.Tables.Term, db.Revision(), db.CompactRevision()
			r.Rows, r.AuthEnabled, r.AuthRevision = int64(db.Rows.Len()), db.Tables.AuthEnabled, db.Tables.AuthRevision
		}
		put(r)
	}
}

func (x *exporter) revisions(ms []*inspect.Member, put func(Revision)) {
	for _, m := range ms {
		if m.DB == nil {
			continue
		}
		for _, r := range m.DB.Rows.All() {
			if x.stopped() {
				break
			}
			out := Revision{Member: m.Label, Revision: r.Rev.Main, Sub: r.Rev.Sub, Tombstone: r.Tombstone, Key: key(string(r.Key())), Lease: diff.ID(0).String(), Salvaged: r.Salvaged}
			var kv mvcc.KeyValue
			if !r.Tombstone && kv.Decode(r.Value) == nil {
				sum := sha256.Sum256(kv.Value)
				out.CreateRevision, out.ModRevision, out.Version, out.Lease = kv.Create, kv.Mod, kv.Version, diff.ID(kv.Lease).String()
				out.ValueSize, out.ValueSHA256 = int64(len(kv.Value)), hex.EncodeToString(sum[:])
			}
			put(out)
		}
	}
}

func (x *exporter) entries(ms []*inspect.Member, put func(Entry)) {
	for _, m := range ms {
		for i := range m.Log.Entries {
			if x.stopped() {
				return
			}
			e := &m.Log.Entries[i]
			out := Entry{Member: m.Label, Index: e.Index, Term: e.Term, Type: "Unknown", Size: int64(len(e.Data))}
			if r, err := raftlog.Decode(e); err == nil {
				out.Type, out.Summary, out.User = r.Type, r.Summary(), r.User
			}
			put(out)
		}
	}
}

func (x *exporter) effects(l *diff.Ledger, put func(Effect)) {
	for i, m := range l.Members {
		for k := range m.Log.Entries {
			if x.stopped() {
				return
			}
			e := l.Effect(i, m.Log.Entries[k].Index)
			out := Effect{Member: m.Label, Index: m.Log.Entries[k].Index, State: string(e.State), Odd: e.Odd, Why: e.Why}
			if len(e.Revisions) == 0 {
				put(out)
			}
			for _, out.Revision = range e.Revisions {
				put(out)
			}
		}
	}
}

func leases(ms []*inspect.Member, put func(Lease)) {
	for _, m := range ms {
		if m.DB == nil {
			continue
		}
		for _, l := range m.DB.Tables.Leases {
			put(Lease{m.Label, diff.ID(l.ID).String(), l.TTL, l.RemainingTTL})
		}
	}
}

func differences(d *diff.Document, put func(Difference)) {
	for k := range d.Keys.All() {
		for _, label := range slices.Sorted(maps.Keys(k.ByMember)) {
			s := k.ByMember[label]
			put(Difference{key(string(k.Key)), k.Difference, label, s.Present, s.ModRevision, s.CreateRevision, s.Version, s.Lease.String(), int64(s.ValueSize), s.ValueSHA256})
		}
	}
}
