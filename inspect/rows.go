package inspect

import (
	"bytes"
	"math"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// takeRows makes a table of the rows of the key bucket, and looks for rows that must be there and are not.
func (m *Member) takeRows(rows []mvcc.Row) {
	db := m.DB
	b := db.Bolt.Bucket(schema.Key)
	if db.HasKeys = b != nil; !db.HasKeys {
		m.lose(finding.New("bucket-missing", finding.Error, db.File.Name, "no bucket %q", schema.Key).Lost())
		all := []mvcc.Hole{{Last: mvcc.Revision{Main: math.MaxInt64, Sub: math.MaxInt64}}}
		db.Rows = mvcc.NewTable(salvage(db.Bolt.Salvage, nil, all, db.CompactRevision()), all)
		return
	}
	var holes []mvcc.Hole
	for _, h := range db.Bolt.Holes(schema.Key) {
		holes = append(holes, hole(h))
	}
	holes = append(holes, m.gaps(rows, holes)...)
	if len(holes) > 0 {
		db.Whole = false
		rows = salvage(b.Salvage, rows, holes, db.CompactRevision())
	}
	db.Rows = mvcc.NewTable(rows, holes)
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
func (m *Member) gaps(rows []mvcc.Row, known []mvcc.Hole) []mvcc.Hole {
	compacted := m.laterCompaction()
	damaged := len(known) > 0 || !m.DB.Whole
	prev := mvcc.Revision{Main: max(m.DB.CompactRevision(), 1), Sub: math.MaxInt64}
	var last *mvcc.Row
	var holes []mvcc.Hole
	for i := range rows {
		r := &rows[i]
		if r.Rev.Main <= prev.Main && last == nil {
			continue // compaction may have removed anything here
		}
		missing := r.Rev.Main - prev.Main - 1
		torn := missing >= minTorn && (last == nil || last.Page != r.Page) && (i == 0 || rows[i-1].Page != r.Page)
		startsInside := r.Rev.Main != prev.Main && r.Rev.Sub != 0 || r.Rev.Main == prev.Main && last != nil && r.Rev.Sub != prev.Sub+1
		if torn || (missing > 0 || startsInside) && (damaged || r.Rev.Main <= compacted) {
			h := mvcc.Hole{First: prev, Last: r.Rev.Before(), Page: r.Page}
			if in(known, mvcc.Revision{Main: prev.Main + 1}) && in(known, h.Last) {
				prev, last = r.Rev, r
				continue // a page that could not be read, which is said already
			}
			holes = append(holes, h)
			m.lose(finding.New("rows-missing", finding.Error, m.DB.File.Name,
				"the rows from revision %d to %d are missing before this page, though nothing was compacted there: pages of different moments, as in a copy of a running member",
				prev.Main+1, r.Rev.Main-min(1, r.Rev.Sub+1)).OnPage(r.Page, int64(r.Page)*int64(m.DB.Bolt.Meta().PageSize)).Lost())
		}
		prev, last = r.Rev, r
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
func salvage(pages func(func(key []byte) bool) []bolt.SalvagedPage, rows []mvcc.Row, holes []mvcc.Hole, compact int64) []mvcc.Row {
	have := map[mvcc.Revision]bool{}
	for i := range rows {
		if rows[i].Rev.Main > compact {
			have[rows[i].Rev] = true
		}
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
	for rev, row := range found {
		if !doubtful[rev] {
			rows = append(rows, row)
		}
	}
	mvcc.SortRows(rows)
	return rows
}

func in(holes []mvcc.Hole, rev mvcc.Revision) bool {
	for _, h := range holes {
		if h.First.Compare(rev) <= 0 && rev.Compare(h.Last) <= 0 {
			return true
		}
	}
	return false
}
