package recovery

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// copied is what a copy holds, read around damage.
type copied struct {
	m *inspect.Member
	d *Document
}

// newCopied finds out what is lost. The member must have a db.
func newCopied(m *inspect.Member) *copied {
	c := &copied{m: m, d: newDocument()}
	d, db := c.d, m.DB
	d.From, d.Base = m.Label, "the copy itself"
	for _, f := range m.Findings {
		if f.Unreadable && f.File == db.File.Name {
			d.lost("%s", f.String())
		}
	}
	for _, h := range db.Rows.Holes() {
		d.lost("%s", holeText(h, db.Revision()))
	}
	if e := m.Evidence(); !e.Whole() {
		d.lost("the copy is %s: %s", e.Standing(), e.Why())
	}
	d.Salvaged = db.Rows.Salvaged()
	if n := c.undecodable(); n > 0 {
		d.lost("%s of the key bucket do not decode, and are left out: a server could not start with them", plural(n, "row", "rows"))
	}
	if n := strayLeases(db); n > 0 {
		d.note("%s carry a lease that is not in the lease table: they would never expire", plural(n, "key", "keys"))
	}
	d.old(db.Tables.ClusterVersion)
	d.close()
	return c
}

// holeText says which rows damage may have taken.
func holeText(h mvcc.Hole, last int64) string {
	switch {
	case h.First.Main <= 1 && h.Last.Main >= last:
		return "rows of any revision may be missing"
	case h.Last.Main > last:
		return fmt.Sprintf("rows from revision %d on may be missing", h.First.Main)
	case h.First.Main == h.Last.Main:
		return fmt.Sprintf("rows of revision %d may be missing", h.First.Main)
	}
	return fmt.Sprintf("rows of revisions %d to %d may be missing: where the last row of a key is among them, an older value of it comes back", h.First.Main, h.Last.Main)
}

// strayLeases counts the keys whose lease is not there.
func strayLeases(db *inspect.DB) (n int) {
	if !db.Rows.HasLeases() {
		return 0
	}
	has := map[int64]bool{0: true}
	for _, l := range db.Tables.Leases {
		has[l.ID] = true
	}
	var kv mvcc.KeyValue
	for _, r := range db.Rows.Latest(db.Rows.Len()) {
		if !r.Tombstone && kv.Decode(r.Value) == nil && !has[kv.Lease] {
			n++
		}
	}
	return n
}

func (c *copied) undecodable() (n int) {
	for _, r := range c.m.DB.Rows.All() {
		if !decodes(&r) {
			n++
		}
	}
	return n
}

// decodes tells whether a server could read a row when it starts (server/storage/mvcc/kvstore.go, restoreChunk).
func decodes(r *mvcc.Row) bool {
	var kv mvcc.KeyValue
	return kv.Decode(r.Value) == nil && len(kv.Key) > 0
}

func (c *copied) document() *Document { return c.d }

// buckets are those of the copy, and of what is missing those that every version has.
func (c *copied) buckets() []string {
	all := slices.Concat(c.m.DB.Bolt.BucketNames(), []string{
		schema.Alarm, schema.Auth, schema.AuthRoles, schema.AuthUsers, schema.Cluster, schema.Key, schema.Lease, schema.Members, schema.MembersRemoved, schema.Meta,
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *copied) rows(ctx context.Context, put func(bucket string, key, value []byte) error) error {
	for _, name := range c.m.DB.Bolt.BucketNames() {
		if name == schema.Key {
			continue
		}
		for k, v := range tableRows(c.m.DB, name) {
			if err := put(name, k, v); err != nil {
				return err
			}
		}
	}
	i := 0
	for _, r := range c.m.DB.Rows.All() {
		if i++; i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !decodes(&r) {
			continue
		}
		if err := put(schema.Key, rowKey(&r), r.Value); err != nil {
			return err
		}
	}
	return nil
}

// rowKey is the key of a row, as the key bucket has it.
func rowKey(r *mvcc.Row) []byte {
	k := r.Rev.AppendKey(make([]byte, 0, mvcc.TombstoneLen))
	if r.Tombstone {
		k = append(k, 't')
	}
	return k
}

// tableRows yields the rows of a small bucket that a server can read.
func tableRows(db *inspect.DB, name string) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		b := db.Bolt.Bucket(name)
		if b == nil {
			return
		}
		for rows := b.Rows(); rows.Next(); {
			if rows.IsBucket() || !readable(name, rows.Key(), rows.Value()) {
				continue
			}
			if !yield(rows.Key(), rows.Value()) {
				return
			}
		}
	}
}

// readable tells whether a row of a small bucket decodes.
func readable(bucket string, k, v []byte) bool {
	_, found := schema.Read("", func(name string) iter.Seq2[[]byte, []byte] {
		return func(yield func(k, v []byte) bool) {
			if name == bucket {
				yield(k, v)
			}
		}
	})
	return len(found) == 0
}
