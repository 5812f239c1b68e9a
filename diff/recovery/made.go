package recovery

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// base is a state to run entries on from.
type base struct {
	what string        // what it is, for people
	st   *replay.State // with the rows of table up to st.Revision
	// table are the rows that lead to the state, nil for an empty one.
	table *mvcc.Table
	of    *inspect.Member // whose rows and tables these are, nil for an empty one
	// unknown is true if no file tells that the state is of this cluster.
	unknown bool
}

// made is a state that etcd's applier makes from a base.
type made struct {
	base
	m       *inspect.Member // whose life it is
	index   uint64
	term    uint64
	entries int // that were run
	rules   replay.Rules
	res     *replay.Result
	// changes are the rows that the entries made, in order.
	changes []mvcc.Row
	// origin tells for each of changes which entry made it.
	origin  []uint64
	tables  []tableRow
	version string // of the cluster, empty if not known
	doc     *Document
}

// tableRow is a row of a small bucket.
type tableRow struct {
	bucket     string
	key, value []byte
}

// rules are those that a copy may have followed: etcd's own first, then those of 3.2, which are other ones where auth is on and where
// transactions compare ranges.
func rules() []replay.Rules {
	return []replay.Rules{
		replay.Today(),
		replay.Today().With(replay.RevokeUnasked()),
		replay.Today().With(replay.RevokeUnasked(), replay.OldCompares(), replay.AnyTTL()),
	}
}

// run makes the state behind the last of entries. like is a copy whose bytes are taken for rows that are the same, nil
// for none; skip are entries to leave out, ascending.
func (b *base) run(ctx context.Context, entries []effect.Entry, like *inspect.Member, rules replay.Rules, skip []uint64, q *Request) (*made, error) {
	x := &made{base: *b, index: b.st.Index, m: like, rules: rules}
	if n := len(entries); n > 0 {
		x.index, x.term = entries[n-1].Index, entries[n-1].Term
	}
	opts := replay.Options{
		TempDir: q.TempDir,
		Each:    func(fx *replay.Effect) { x.take(fx, like) },
		Tables: func(bucket string, key, value []byte) error {
			x.tables = append(x.tables, tableRow{bucket, slices.Clone(key), slices.Clone(value)})
			return nil
		},
	}
	if q.Progress != nil {
		opts.Progress = func(done, total int) { q.Progress("running the log", done, total) }
	}
	if len(skip) > 0 {
		rules = rules.With(&replay.Rule{
			Name:    "some entries are left out",
			Request: func(x *replay.Exec) bool { _, out := slices.BinarySearch(skip, x.Index); return !out },
		})
	}
	var err error
	if x.res, err = replay.Run(ctx, b.st, entries, rules, opts); err != nil {
		return nil, err
	}
	x.entries = x.res.Entries
	return x, nil
}

// take notes the rows of an entry.
func (x *made) take(fx *replay.Effect, like *inspect.Member) {
	if fx.Revision == 0 {
		return
	}
	var own []mvcc.Row
	if like != nil && like.DB != nil {
		own = like.DB.Rows.Group(fx.Revision)
	}
	var kv mvcc.KeyValue
	for i := range fx.Changes {
		r := mvcc.Row{Rev: mvcc.Revision{Main: fx.Revision, Sub: int64(i)}, Tombstone: fx.Changes[i].Delete}
		want := keyValue(&fx.Changes[i], fx.Revision)
		if k := slices.IndexFunc(own, func(o mvcc.Row) bool { return o.Rev == r.Rev && o.Tombstone == r.Tombstone }); k >= 0 && kv.Decode(own[k].Value) == nil && kv.Same(&want) {
			r.Value = own[k].Value
		} else {
			r.Value = want.Encode()
		}
		x.changes, x.origin = append(x.changes, r), append(x.origin, fx.Index)
	}
}

func keyValue(c *effect.Change, rev int64) mvcc.KeyValue {
	if c.Delete {
		return mvcc.KeyValue{Key: []byte(c.Key)}
	}
	return mvcc.KeyValue{Key: []byte(c.Key), Value: c.Value, Create: c.Create, Mod: rev, Version: c.Version, Lease: c.Lease}
}

// revision is the main revision of the state.
func (x *made) revision() int64 { return x.res.Final.Revision }

func (x *made) document() *Document { return x.doc }

func (*made) buckets() []string { return schema.Buckets }

// end is the index behind the base's last row that counts.
func (b *base) end() int {
	if b.table == nil {
		return 0
	}
	return b.table.Lower(b.st.Revision + 1)
}

// history yields the rows that a server has that compacted when the log says so, in order: of those up to the compact revision
// the last one of each key, unless that is a tombstone. One exactly at the compact revision stays (since 3.4.34, 3.5.16 and 3.6.0).
func (x *made) history() iter.Seq[mvcc.Row] {
	compact := x.res.Final.Compact
	split, _ := slices.BinarySearchFunc(x.changes, compact+1, func(r mvcc.Row, main int64) int { return cmp.Compare(r.Rev.Main, main) })
	last := map[string]int{} // of each key among the changes up to the compact revision
	for i := range split {
		last[string(x.changes[i].Key())] = i
	}
	stays := func(r *mvcc.Row) bool { return !r.Tombstone || r.Rev.Main == compact }
	return func(yield func(mvcc.Row) bool) {
		if x.table != nil {
			end := x.end()
			low := min(x.table.Lower(compact+1), end)
			for _, r := range x.table.Latest(low) {
				if _, over := last[string(r.Key())]; !over && stays(&r) && !yield(r) {
					return
				}
			}
			for _, r := range x.table.Between(low, end) {
				if !yield(r) {
					return
				}
			}
		}
		for i := range x.changes {
			r := &x.changes[i]
			if i < split && (last[string(r.Key())] != i || !stays(r)) {
				continue
			}
			if !yield(*r) {
				return
			}
		}
	}
}

func (x *made) rows(ctx context.Context, put func(bucket string, key, value []byte) error) error {
	for _, t := range slices.Concat(x.tables, x.meta()) {
		if err := put(t.bucket, t.key, t.value); err != nil {
			return err
		}
	}
	i := 0
	for r := range x.history() {
		if i++; i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := put(schema.Key, rowKey(&r), r.Value); err != nil {
			return err
		}
	}
	return nil
}

// meta are the rows of the buckets meta, cluster and members, as the version of the cluster has them
// (server/storage/schema/schema.go, etcd 3.7).
func (x *made) meta() (rows []tableRow) {
	add := func(bucket, key string, value []byte) {
		rows = append(rows, tableRow{bucket, []byte(key), value})
	}
	add(schema.Meta, "consistent_index", binary.BigEndian.AppendUint64(nil, x.index))
	if c := x.res.Final.Compact; c > 0 {
		at := mvcc.Revision{Main: c}.AppendKey(nil)
		add(schema.Meta, "scheduledCompactRev", at)
		add(schema.Meta, "finishedCompactRev", at)
	}
	v, err := semver.NewVersion(x.version)
	if err != nil {
		return rows
	}
	if v35 := (semver.Version{Major: 3, Minor: 5}); !v.LessThan(v35) {
		add(schema.Meta, "term", binary.BigEndian.AppendUint64(nil, x.term))
		add(schema.Cluster, "clusterVersion", []byte(x.version))
	}
	if v36 := (semver.Version{Major: 3, Minor: 6}); !v.LessThan(v36) {
		add(schema.Meta, "storageVersion", fmt.Appendf(nil, "%d.%d.0", v.Major, v.Minor))
	}
	return rows
}
