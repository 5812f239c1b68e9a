package check

import (
	"fmt"
	"maps"
	"slices"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
)

// maxListed bounds how many findings of one kind are listed one by one.
const maxListed = 20

// list adds findings up to maxListed and counts the rest.
type list struct {
	c *checker
	n map[kind]int
}

type kind struct {
	code     string
	severity finding.Severity
}

func (l *list) add(f finding.Finding) {
	if l.n == nil {
		l.n = map[kind]int{}
	}
	k := kind{f.Code, f.Severity}
	if l.n[k]++; l.n[k] <= maxListed {
		l.c.add(f)
	}
}

func (l *list) done() {
	for k, n := range l.n {
		if n > maxListed {
			l.c.add(finding.New(k.code, k.severity, l.c.dbFile(), "%d more of this kind", n-maxListed))
		}
	}
}

// rows tests what must be true of the key bucket of a sound db, whatever happened.
func (c *checker) rows() {
	t := c.m.DB.Rows
	compact := c.m.DB.CompactRevision()
	l := list{c: c}
	size := int64(c.m.DB.Bolt.Meta().PageSize)
	at := func(code string, r *mvcc.Row, format string, args ...any) {
		l.add(finding.New(code, finding.Error, c.dbFile(), format, args...).OnPage(r.Page, int64(r.Page)*size))
	}
	first := mvcc.Revision{Main: max(compact, 1), Sub: -1}
	var kv, before mvcc.KeyValue
	for i := range t.Odd() {
		row := t.Row(i)
		r := &row
		if r.Bump() {
			c.add(finding.New("revision-bumped", finding.Info, c.dbFile(), "a row without content marks revision %d: the db was restored with --bump-revision", r.Rev.Main))
			continue
		}
		if err := kv.Decode(r.Value); err != nil || len(kv.Key) == 0 {
			at("row-undecodable", r, "revision %v: the value is not a key value", r.Rev)
			continue
		}
		if r.Rev.Main > compact {
			prev := first
			if i > 0 {
				if rev := t.Row(i - 1).Rev; rev.Main > compact {
					prev = rev
				}
			}
			c.numbering(at, prev, r)
		}
		if r.Tombstone {
			continue
		}
		ok, gone := false, false
		for i := t.Previous(i); i >= 0 && !ok && !gone; i = t.Previous(i) {
			p := t.Row(i) // one that cannot be decoded has been named
			ok = before.Decode(p.Value) == nil
			gone = ok && p.Tombstone
		}
		ok = ok && !gone
		if kv.Mod != r.Rev.Main {
			at("row-mod-revision", r, "revision %v: the row says mod_revision %d", r.Rev, kv.Mod)
		}
		if kv.Create > kv.Mod || kv.Version < 1 || kv.Create < 1 || kv.Version > kv.Mod-kv.Create+1 {
			at("row-version", r, "revision %v: version %d, create_revision %d and mod_revision %d do not go together", r.Rev, kv.Version, kv.Create, kv.Mod)
		} else if ok && !t.Unknown(r.Rev.Main) && (kv.Version != before.Version+1 || kv.Create != before.Create) &&
			r.Rev.Main > compact && len(t.Holes()) == 0 {
			at("row-version", r, "revision %v: version %d and create_revision %d follow version %d and create_revision %d of the same key",
				r.Rev, kv.Version, kv.Create, before.Version, before.Create)
		} else if !ok && r.Rev.Main > compact && len(t.Holes()) == 0 && (kv.Version != 1 || kv.Create != r.Rev.Main) {
			why := "no earlier row of the key is left"
			if gone {
				why = "the key was deleted before"
			}
			at("row-version", r, "revision %v: version %d and create_revision %d, but %s", r.Rev, kv.Version, kv.Create, why)
		}
	}
	l.done()
	c.budget()
}

// numbering finds revisions without rows. Long stretches are the work of a restore that bumps revisions.
func (c *checker) numbering(at func(string, *mvcc.Row, string, ...any), prev mvcc.Revision, r *mvcc.Row) {
	t := c.m.DB.Rows
	if t.Unknown(r.Rev.Main) || t.Unknown(prev.Main) || t.Unknown(prev.Main+1) && t.Unknown(r.Rev.Main-1) {
		return // said already
	}
	switch missing := r.Rev.Main - prev.Main - 1; {
	case missing > maxJump:
		c.add(finding.New("revision-jump", finding.Info, c.dbFile(), "revisions jump from %d to %d: the db was restored with bumped revisions", prev.Main, r.Rev.Main))
	case missing > 0:
		which := fmt.Sprintf("revisions %d to %d have", prev.Main+1, r.Rev.Main-1)
		if missing == 1 {
			which = fmt.Sprintf("revision %d has", prev.Main+1)
		}
		at("revision-without-rows", r, "%s no rows, though nothing was compacted there", which)
	case missing == -1 && r.Rev.Sub != prev.Sub+1, missing == 0 && r.Rev.Sub != 0:
		at("revision-without-rows", r, "revision %v: a change before it in the same revision is missing", r.Rev)
	}
}

// maxJump is how many revisions may be missing before it is taken for a bump: etcdutl's default is a billion.
const maxJump = 1_000_000

// budget: a raft entry makes at most one revision, and a keyspace begins at revision 1.
func (c *checker) budget() {
	t := c.m.DB.Tables
	if rev := c.m.DB.Revision(); t.HasConsistentIndex && uint64(rev-1) > t.ConsistentIndex {
		c.add(finding.New("revision-beyond-index", finding.Info, c.dbFile(),
			"revision %d, but only %d raft entries: the keyspace is older than this log (a restored backup), or entries were applied more than once", rev, t.ConsistentIndex))
	}
}

func (c *checker) compaction() {
	db := c.m.DB
	t := db.Tables
	if t.ScheduledCompact > t.FinishedCompact {
		c.add(finding.New("compaction-unfinished", finding.Info, c.dbFile(), "compaction at revision %d was begun and not finished (the last finished one is %d)", t.ScheduledCompact, t.FinishedCompact))
	}
	if t.ScheduledCompact > db.Rows.Last() && db.Rows.Len() > 0 {
		c.add(finding.New("compaction-beyond-rows", finding.Warning, c.dbFile(),
			"the compact revision %d is above the last row, revision %d: a server without the fix of 3.4.32 and 3.5.14 would count on from there and give revisions twice", t.ScheduledCompact, db.Rows.Last()))
	}
	if keys := db.Rows.CountLive(); t.HasConsistentIndex && db.CompactRevision() == 0 && db.Rows.Len() >= 1000 && keys > 0 && db.Rows.Len() >= 3*keys {
		sev := finding.Info
		if used := c.r.Coverage.DB; used != nil && used.Read*uint64(db.Bolt.Meta().PageSize) >= bigDB {
			sev = finding.Warning
		}
		c.add(finding.New("never-compacted", sev, c.dbFile(),
			"nothing was ever compacted: %d revisions for %d live keys, %.1f each", db.Rows.Len(), keys, float64(db.Rows.Len())/float64(keys)))
	}
}

// bigDB is how many bytes in use make a history that was never compacted worth a warning: an eighth of the quota that etcd
// sets unless told another (server/storage/quota.go). Up to there it is what etcd does by default.
const bigDB = 2 << 30 / 8

// leases finds keys that no lease will ever delete, because theirs is not in the table.
func (c *checker) leases() {
	if !c.m.DB.Whole {
		return
	}
	l := list{c: c}
	have := map[int64]bool{}
	for _, r := range c.m.DB.Tables.Leases {
		have[r.ID] = true
	}
	leased := c.m.DB.Rows.LeasedKeys()
	for _, id := range slices.Sorted(maps.Keys(leased)) {
		if keys := leased[id]; !have[id] {
			l.add(finding.New("lease-dangling", finding.Warning, c.dbFile(),
				"%d live keys carry lease %016x, which is not in the lease table: they never expire", keys, uint64(id)))
		}
	}
	l.done()
}
