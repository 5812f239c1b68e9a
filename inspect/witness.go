package inspect

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sync"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Standing says what a member's db is evidence of, from the best to the worst.
type Standing int

const (
	// Whole dbs are of one moment, and all of that moment could be read.
	Whole Standing = iota
	// Torn dbs hold pages of several moments, as copies of a running member do.
	Torn
	// Cut dbs end before their last page.
	Cut
	// Damaged dbs have parts that cannot be read.
	Damaged
	// Missing dbs are not there, or nothing of them can be read.
	Missing
)

var standings = [...]string{"whole", "torn", "cut", "damaged", "missing"}

func (s Standing) String() string { return standings[s] }

// MarshalText writes the standing's name.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Evidence says what may be concluded from a member's db. Its invariants:
//
//   - Of a whole db everything counts: what is there, what is not there, and where it ends.
//   - Of any other one only presence counts, and only that of rows of the key bucket for which Known is true. What is not there may
//     have been there; where it ends says nothing; the small tables, the consistent index among them, may be of any moment, or of none.
//   - Standing never gets better.
type Evidence struct {
	m        *Member
	standing Standing
	why      string
	twice    map[uint64]bool // pages that are in use at two places
	search   sync.Once
}

// Evidence is what the member's db is evidence of, by what reading it has shown. Search may lower that.
func (m *Member) Evidence() *Evidence {
	m.witness.Do(func() { m.evidence = newEvidence(m) })
	return m.evidence
}

// tears are the findings that pages of one moment do not have: those that refer to each other are of several. A page of zeros and
// one beyond the end of the file are not among them.
var tears = []string{
	"rows-missing", "meta-txid-gap", "root-row", "page-double-use", "page-free-and-reachable", "page-key-order", "page-key-range",
}

// isTear tells whether a finding is of that kind. A page that is another one than it should be is, if it is any of the file's.
func isTear(db *DB, f *finding.Finding) bool {
	switch {
	case slices.Contains(tears, f.Code):
		return true
	case f.Code != "page-id-mismatch" && f.Code != "page-type" || f.Offset < 0 || f.Offset+16 > int64(len(db.File.Bytes())):
		return false
	}
	head := db.File.Bytes()[f.Offset:]
	id, flags := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint16(head[8:])
	return id < db.Bolt.Meta().HighWater && bits.OnesCount16(flags) == 1 && flags <= 0x10
}

func newEvidence(m *Member) *Evidence {
	e := &Evidence{m: m, twice: map[uint64]bool{}}
	if m.DB == nil {
		e.standing, e.why = Missing, "no db that can be read"
		return e
	}
	for _, f := range m.Findings {
		if f.File != m.DB.File.Name {
			continue
		}
		switch {
		case f.Code == "db-truncated":
			e.lower(Cut, f.Detail)
		case isTear(m.DB, &f):
			e.lower(Torn, f.Detail)
		}
		if f.Code == "page-double-use" && f.Page >= 0 {
			e.twice[uint64(f.Page)] = true
		}
	}
	switch {
	case !m.DB.HasKeys && e.standing == Whole && m.DB.Bolt.Check().Complete:
		e.lower(Missing, "it has no bucket of keys")
	case !m.DB.Whole || len(m.DB.Rows.Holes()) > 0:
		why := "not all of it could be read"
		for _, f := range m.Findings {
			if f.File == m.DB.File.Name && f.Unreadable {
				why = f.Detail
				break
			}
		}
		if e.standing == Whole {
			e.lower(Damaged, why)
		}
	}
	return e
}

func (e *Evidence) lower(s Standing, why string) {
	if s > e.standing {
		e.standing, e.why = s, why
	}
}

// Standing tells what the db is evidence of.
func (e *Evidence) Standing() Standing { return e.standing }

// Whole tells whether everything in the db counts.
func (e *Evidence) Whole() bool { return e.standing == Whole }

// Why says in a clause why the db is not whole.
func (e *Evidence) Why() string { return e.why }

// Known tells whether a row of the key bucket is evidence: of a whole db each is, of any other one those that lie on one page, which
// nothing else uses, and that say of themselves what their place says. Values on overflow pages tear.
func (e *Evidence) Known(r *mvcc.Row) bool {
	if e.standing == Whole {
		return true
	}
	var kv mvcc.KeyValue
	if r.Salvaged || e.twice[r.Page] || kv.Decode(r.Value) != nil || len(kv.Key) == 0 {
		return false
	}
	if !r.Tombstone && (kv.Mod != r.Rev.Main || kv.Version < 1 || kv.Create < 1 || kv.Create > kv.Mod) {
		return false
	}
	l := e.m.DB.Bolt.Leaf(r.Page)
	return l.Len() > 0 && l.Overflow() == 0
}

// Search looks in all pages of the db for rows of another moment than that of its tree: such as the tree should hold and does not, in
// pages that nothing refers to. Above the compact revision a store forgets no row, so that the tree is not what it was when these were
// written, or what it was before. compacted is the highest revision at which any member is known to be compacted: what is
// missing below it may have been removed by a later compaction. It reads the whole file, and is for those who would conclude something
// from what is not there.
//
// A row that is missing between two others on one page was not lost with a page: it was deleted, and is left for the comparison to
// judge. Rows behind the last one may be those of a transaction that was not committed when the member was killed, or when a snapshot
// was sent: they count only up to expected, the revision to which the member must have come, as others tell.
func (e *Evidence) Search(compacted, expected int64) {
	e.search.Do(func() {
		if e.standing == Whole {
			e.strays(compacted, expected)
		}
	})
}

func (e *Evidence) strays(compacted, expected int64) {
	db := e.m.DB
	compacted = max(compacted, e.m.laterCompaction())
	last, own := db.Rows.Last(), db.CompactRevision()
	var low, high int64
	n := 0
	for _, p := range db.Bolt.Salvage(func(key []byte) bool { _, _, ok := mvcc.ParseRevision(key); return ok }) {
		if !p.Whole {
			continue
		}
		for _, s := range p.Rows {
			rev, tombstone, _ := mvcc.ParseRevision(s.Key)
			var kv mvcc.KeyValue
			if rev.Main <= own || kv.Decode(s.Value) != nil || len(kv.Key) == 0 || !tombstone && kv.Mod != rev.Main || e.holds(rev) || rev.Main > max(last, expected) || rev.Main > compacted && e.inside(rev) {
				continue
			}
			if n++; n == 1 {
				low, high = rev.Main, rev.Main
			}
			low, high = min(low, rev.Main), max(high, rev.Main)
		}
	}
	if n > 0 {
		e.lower(Torn, fmt.Sprintf("pages that nothing refers to hold rows of revisions %d to %d which the tree lacks: the tree is of another moment", low, high))
	}
}

// holds tells whether the tree has a row of a revision.
func (e *Evidence) holds(rev mvcc.Revision) bool {
	return slices.ContainsFunc(e.m.DB.Rows.Group(rev.Main), func(r mvcc.Row) bool { return r.Rev == rev })
}

// inside tells whether a revision that has no row lies between two rows on the same page.
func (e *Evidence) inside(rev mvcc.Revision) bool {
	t := e.m.DB.Rows
	i := t.Lower(rev.Main)
	for i < t.Len() && t.Row(i).Rev.Compare(rev) < 0 {
		i++
	}
	return i > 0 && i < t.Len() && t.Row(i-1).Page == t.Row(i).Page
}

// Doubt lowers what the db is evidence of to that of pages of several moments, for a reason that only other members show.
func (e *Evidence) Doubt(format string, args ...any) { e.lower(Torn, fmt.Sprintf(format, args...)) }

// EndCounts tells whether it is evidence where the rows of the db end, and which are missing: of a snapshot file, which is made in one
// transaction, and of a member that was stopped, whose log ends where the db does. The log of one that is copied while it is
// written to goes on, or was copied before: then some pages may be of an earlier moment than the consistent index, and nothing
// shows that.
func (e *Evidence) EndCounts() bool {
	db, log := e.m.DB, e.m.Log
	if !e.Whole() {
		return false
	}
	if len(log.Entries) == 0 {
		return db.Bolt.TrailerOK()
	}
	index := db.Tables.ConsistentIndex
	if log.Last() < index {
		return false
	}
	for i := len(log.Entries) - 1; i >= 0 && log.Entries[i].Index > index; i-- {
		if db.Tables.HasTerm || movesIndex(&log.Entries[i]) {
			return false
		}
	}
	return true
}

// movesIndex tells whether servers up to 3.4 may save the consistent index with an entry: with those that change keys.
func movesIndex(e *raftlog.Entry) bool {
	r, err := raftlog.Decode(e)
	if err != nil {
		return true
	}
	in := r.Internal
	return in != nil && (in.Put != nil || in.DeleteRange != nil || in.Txn != nil || in.LeaseRevoke != nil || in.Compaction != nil)
}

// TableCounts tells whether what some small buckets hold is evidence for the consistent index: if they lie on the same page as it does,
// both are of one moment.
func (e *Evidence) TableCounts(buckets ...string) bool {
	if !e.Whole() || e.EndCounts() {
		return e.Whole()
	}
	at := func(name string) (uint64, bool) {
		if b := e.m.DB.Bolt.Bucket(name); b != nil {
			return b.Place()
		}
		return 0, false
	}
	page, inline := at(schema.Meta)
	return inline && !slices.ContainsFunc(buckets, func(name string) bool {
		p, ok := at(name)
		return !ok || p != page
	})
}
