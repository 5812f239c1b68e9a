package inspect

import (
	"bytes"
	"context"
	"math"
	"sync/atomic"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// rowTaker makes a table of the leaf pages of the key bucket, in their order.
type rowTaker struct {
	db     *DB
	noting mvcc.Noting
	pages  int // that it will be shown, about
	tmp    string
	table  *mvcc.Table
	odd    []finding.Finding // keys that are no revisions
	nested bool              // there are buckets among the rows
	prev   mvcc.Revision     // of the last row; at first that of aboveCompact
	// jumps are the indexes of rows above the compact revision that do not directly follow the row before.
	jumps []int

	first struct { // row above the compact revision
		rev   mvcc.Revision
		index int // -1 if there is none
	}
	progress *progress
	revs     []mvcc.Revision // of the page that is being taken
}

// progress counts what was read, by all forks together, and ends it if nobody waits for it any more.
type progress struct {
	ctx   context.Context
	show  func(bytes int) // nil: nobody asks
	bytes atomic.Int64
}

func (p *progress) add(n int) {
	evidence.Stop(p.ctx)
	if p.show == nil {
		return
	}
	if now := p.bytes.Add(int64(n)); now/between != (now-int64(n))/between {
		p.show(int(now))
	}
}

// between is how many bytes are read between two calls of progress.
const between = 16 << 20

func newRowTaker(ctx context.Context, db *DB, noting mvcc.Noting, tmp string) *rowTaker {
	meta := db.Bolt.Meta()
	pages := min(meta.HighWater, uint64(db.File.Size)/uint64(meta.PageSize))
	t := &rowTaker{db: db, noting: noting, pages: int(pages), tmp: tmp, progress: &progress{ctx: ctx}}
	t.begin()
	return t
}

func (t *rowTaker) begin() {
	t.table = mvcc.NewTableOf(t.db.Bolt, t.pages, t.tmp)
	t.table.Note(t.noting)
	t.prev = aboveCompact(t.db)
	t.first.index = -1
}

// aboveCompact is what all rows above the compact revision come behind.
func aboveCompact(db *DB) mvcc.Revision {
	return mvcc.Revision{Main: max(db.CompactRevision(), 1), Sub: math.MaxInt64}
}

// Fork is for rows behind those taken so far.
func (t *rowTaker) Fork() bolt.Visitor {
	f := &rowTaker{db: t.db, noting: t.noting, pages: t.pages / parts(), tmp: t.tmp, progress: t.progress}
	f.begin()
	return f
}

// Join takes over the rows of a fork.
func (t *rowTaker) Join(fork bolt.Visitor) {
	f := fork.(*rowTaker)
	n := t.table.Len()
	t.table.Append(f.table)
	t.odd, t.nested = append(t.odd, f.odd...), t.nested || f.nested
	if f.first.index < 0 {
		return
	}
	t.follow(f.first.rev, n+f.first.index)
	for _, i := range f.jumps {
		if i != f.first.index {
			t.jumps = append(t.jumps, n+i)
		}
	}
	t.prev = f.prev
}

// Leaf takes the rows of a page.
func (t *rowTaker) Leaf(b *bolt.Bucket, l bolt.Leaf) {
	if b.Name() != schema.Key {
		return
	}
	t.progress.add(l.Size())
	var rows []mvcc.Row // of a page that a table cannot read by itself
	plain := !l.Inline() && l.Page() <= mvcc.MaxPage
	nested := l.HasBuckets()
	if nested {
		plain, t.nested = false, true
	}
	t.revs = t.revs[:0]
	n := t.table.Len()
	for i := range l.Len() {
		if nested && l.IsBucket(i) {
			continue
		}
		key, value := l.Row(i)
		rev, tombstone, ok := mvcc.ParseRevision(key)
		if !ok {
			t.odd = append(t.odd, finding.New("row-undecodable", finding.Error, t.db.File.Name,
				"bucket key: a key of %d bytes is not a revision", len(key)).OnPage(l.Page(), int64(l.Page())*int64(t.db.Bolt.Meta().PageSize)).Lost())
			if plain {
				plain = false
				rows = appendRows(nil, &l, i)
			}
			continue
		}
		if plain {
			t.revs = append(t.revs, rev)
		} else {
			rows = append(rows, mvcc.Row{Rev: rev, Tombstone: tombstone, Page: l.Page(), Value: value})
		}
		t.follow(rev, n)
		n++
	}
	if plain {
		t.table.AppendLeaf(&l, t.revs)
	} else {
		t.table.AppendRows(rows)
	}
}

// appendRows appends the first n rows of a page, the keys of which are revisions.
func appendRows(rows []mvcc.Row, l *bolt.Leaf, n int) []mvcc.Row {
	for i := range n {
		key, value := l.Row(i)
		rev, tombstone, _ := mvcc.ParseRevision(key)
		rows = append(rows, mvcc.Row{Rev: rev, Tombstone: tombstone, Page: l.Page(), Value: value})
	}
	return rows
}

// follow looks whether row i comes directly behind the one before.
func (t *rowTaker) follow(rev mvcc.Revision, i int) {
	switch p := t.prev; {
	case rev.Main < p.Main, rev.Main == p.Main && p.Sub == math.MaxInt64:
		return // compaction may have removed anything here
	case rev.Main == p.Main && rev.Sub == p.Sub+1, rev.Main == p.Main+1 && rev.Sub == 0:
	default:
		t.jumps = append(t.jumps, i)
	}
	if t.prev = rev; t.first.index < 0 {
		t.first.index, t.first.rev = i, rev
	}
}

// takeRows takes the table of the key bucket, and looks for rows that must be there and are not.
func (m *Member) takeRows(t *rowTaker) {
	db, rows := m.DB, t.table
	b := db.Bolt.Bucket(schema.Key)
	if db.HasKeys = b != nil; !db.HasKeys {
		f, damage := m.noKeys(db.Bolt)
		if m.Findings = append(m.Findings, f); damage {
			db.Whole = false
		}
		all := []mvcc.Hole{{Last: mvcc.Revision{Main: math.MaxInt64, Sub: math.MaxInt64}}}
		db.Rows = salvage(db.Bolt.Salvage, rows, all, db.CompactRevision())
		return
	}
	var holes []mvcc.Hole
	for _, h := range db.Bolt.Holes(schema.Key) {
		holes = append(holes, hole(h))
	}
	holes = append(holes, m.gaps(t, holes)...)
	db.exact = len(holes) == 0 && len(t.odd) == 0 && !t.nested
	if db.Rows = rows; len(holes) > 0 {
		db.Whole = false
		db.Rows = salvage(b.Salvage, rows, holes, db.CompactRevision())
	}
}

// lose records a finding about something that should be in the db.
func (m *Member) lose(f finding.Finding) {
	m.Findings = append(m.Findings, f)
	m.DB.Whole = false
}

// hole turns a range of row keys into one of revisions. A bound that is not a revision bounds nothing.
func hole(h bolt.Hole) mvcc.Hole {
	out := mvcc.Hole{Page: h.Page, Last: mvcc.Revision{Main: math.MaxInt64, Sub: math.MaxInt64}}
	if rev, _, ok := mvcc.ParseRevision(h.Low); ok {
		out.First = rev
	}
	if rev, _, ok := mvcc.ParseRevision(h.High); ok {
		out.Last = rev.Before()
	}
	return out
}

// minTorn is how many main revisions must be missing between two pages to take them for the rows of a lost page. Fewer
// may have been deleted one by one.
const minTorn = 3

// gaps finds rows that are missing although the tree looks sound. Above the compact revision every main revision has
// rows, so numbers that are skipped were there. If a run of them begins and ends with a page, a page is missing, as in a
// copy of a running member whose pages are of different moments: that says nothing about the member itself. Rows missing
// inside a page were deleted there, and are left for the comparison to judge, unless the file is damaged anyway or the
// log holds a later compaction than the db knows of.
func (m *Member) gaps(t *rowTaker, known []mvcc.Hole) []mvcc.Hole {
	compacted := m.laterCompaction()
	damaged := len(known) > 0 || !m.DB.Whole
	first := aboveCompact(m.DB)
	above := t.table.Lower(first.Main + 1)
	var cleared []mvcc.Hole // on purpose: nothing is torn
	for _, h := range m.DB.Bolt.Cleared(schema.Key) {
		cleared = append(cleared, hole(h))
	}
	var holes []mvcc.Hole
	for _, i := range t.jumps {
		r, prev, begins := t.table.Row(i), first, true
		if i > 0 {
			before := t.table.Row(i - 1)
			if begins = before.Page != r.Page; i > above {
				prev = before.Rev
			}
		}
		missing := r.Rev.Main - prev.Main - 1
		startsInside := r.Rev.Main != prev.Main && r.Rev.Sub != 0 || r.Rev.Main == prev.Main && r.Rev.Sub != prev.Sub+1
		if !(missing >= minTorn && begins || (missing > 0 || startsInside) && (damaged || r.Rev.Main <= compacted)) {
			continue
		}
		h := mvcc.Hole{First: prev, Last: r.Rev.Before(), Page: r.Page}
		if next := (mvcc.Revision{Main: prev.Main + 1}); in(cleared, next) && in(cleared, h.Last) {
			continue
		}
		if in(known, mvcc.Revision{Main: prev.Main + 1}) && in(known, h.Last) {
			continue // a page that could not be read, which is said already
		}
		holes = append(holes, h)
		m.lose(finding.New("rows-missing", finding.Error, m.DB.File.Name,
			"the rows from revision %d to %d are missing before this page, though nothing was compacted there: pages of different moments, as in a copy of a running member",
			prev.Main+1, r.Rev.Main-min(1, r.Rev.Sub+1)).OnPage(r.Page, int64(r.Page)*int64(m.DB.Bolt.Meta().PageSize)).Lost())
	}
	return holes
}

// laterCompaction is the highest revision that an entry above the consistent index asks to compact: pages of a torn copy
// may be of a time after that.
func (m *Member) laterCompaction() int64 {
	var rev int64
	es := m.Log.Entries
	for i := len(es) - 1; i >= 0 && es[i].Index > m.DB.Tables.ConsistentIndex; i-- {
		if r, err := raftlog.Decode(&es[i]); err == nil && r.Internal != nil && r.Internal.Compaction != nil {
			rev = max(rev, r.Internal.Compaction.Revision)
		}
	}
	return rev
}

// salvage adds rows that lie in pages to which nothing readable refers. Rows of the key bucket never change once they
// are written, and above the compact revision none is removed: any copy of a page has them right. Those that two pages
// tell differently are left out.
func salvage(pages func(func(key []byte) bool) []bolt.SalvagedPage, rows *mvcc.Table, holes []mvcc.Hole, compact int64) *mvcc.Table {
	have := map[mvcc.Revision]bool{}
	for _, r := range rows.Between(rows.Lower(compact+1), rows.Len()) {
		have[r.Rev] = true
	}
	found := map[mvcc.Revision]mvcc.Row{}
	doubtful := map[mvcc.Revision]bool{}
	for _, p := range pages(func(key []byte) bool { _, _, ok := mvcc.ParseRevision(key); return ok }) {
		for _, s := range p.Rows {
			rev, tombstone, _ := mvcc.ParseRevision(s.Key)
			var kv mvcc.KeyValue
			if rev.Main <= compact || have[rev] || !in(holes, rev) || kv.Decode(s.Value) != nil || len(kv.Key) == 0 || !tombstone && kv.Mod != rev.Main {
				continue
			}
			row := mvcc.Row{Rev: rev, Tombstone: tombstone, Salvaged: true, Page: p.Page, Value: s.Value}
			if old, ok := found[rev]; ok && (old.Tombstone != tombstone || !bytes.Equal(old.Value, row.Value)) {
				doubtful[rev] = true
			}
			found[rev] = row
		}
	}
	var more []mvcc.Row
	for rev, row := range found {
		if !doubtful[rev] {
			more = append(more, row)
		}
	}
	return rows.With(more, holes)
}

func in(holes []mvcc.Hole, rev mvcc.Revision) bool {
	for _, h := range holes {
		if h.First.Compare(rev) <= 0 && rev.Compare(h.Last) <= 0 {
			return true
		}
	}
	return false
}
