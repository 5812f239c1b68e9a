package faults

import (
	"iter"
	"math"
	"slices"
	"sort"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// Evidence is what a member's db holds, in the numbers of a Log.
//
// It is only read once NewEvidenceSince has made it: members that hold the same share one, and so do searches at the same time. Its numbers are those
// of one Log. Rows are in the order of their revisions, and firstRow, lastRow, createdAt and the digests follow from rows, Tables and Compact.
//
// Above the compact revision every revision that the member made has all its rows. At or below it, what is there was made, and of
// each key the newest row is there, unless that is a tombstone.
type Evidence struct {
	Revision int64 // current
	Compact  int64 // scheduled compact revision, 0 if never compacted
	Index    uint64
	// TablesAhead is true if tables may hold the effects of entries behind the consistent index: up to 3.4 that is saved only
	// with changes of keys (server/etcdserver, 3.2 to 3.4).
	TablesAhead bool
	// Tables are the small tables.
	Tables *schema.Tables

	rows          []row
	firstRow      []int32           // of each main revision from base on, its first row; nil if revisions are too far apart
	firstRevision int64             // the first revision of at
	lastRow       []int32           // of each key, its newest row at or below the compact revision, -1 if there is none
	createdAt     map[int64][]int32 // keys that were created at a main revision and were not deleted since up to their newest row at or below the compact revision
	aliveDigest   uint64            // digest of the keys that exist at the compact revision
	leasesDigest  uint64            // digest of the lease table
	mayMiss       func(int64) bool  // whether rows of a revision may be missing because of damage
}

type row struct {
	main      int64
	sub       int32
	key       int32
	tombstone bool
	undecoded bool // it does not decode
	apply.Record
}

// Named are the keys and leases that a db names.
type Named struct {
	Keys   []string
	Leases []int64
}

// NamesSince collects the keys and leases that the rows behind a revision name, and tables, for apply.NewLog: all for revision 0. The first rows
// that are another table's, too, of which the names are collected from there, are left out.
func NamesSince(t *mvcc.Table, tables *schema.Tables, low int64, others int) (r Named) {
	var kv, earlier mvcc.KeyValue
	from := t.Lower(low + 1)
	for i, x := range t.Between(max(from, others), t.Len()) {
		if kv.Decode(x.Value) != nil {
			continue
		}
		if p := t.Previous(i); p < from || earlier.Decode(t.Row(p).Value) != nil {
			r.Keys = append(r.Keys, string(kv.Key))
		}
		if kv.Lease != 0 {
			r.Leases = append(r.Leases, kv.Lease)
		}
	}
	for _, l := range tables.Leases {
		r.Leases = append(r.Leases, l.ID)
	}
	slices.Sort(r.Leases)
	r.Leases = slices.Compact(r.Leases)
	return r
}

// NewEvidenceSince numbers what a db holds: the rows behind a revision, 0 for all, and of the keys that the log knows the newest one up to it, which is
// what a log that begins later and is not Ranged can depend on. All keys and leases must be known to the log.
func NewEvidenceSince(l *apply.Log, t *mvcc.Table, tables *schema.Tables, revision, compact, low int64) *Evidence {
	var before []int32
	for _, k := range l.Keys {
		if i := t.RowAt([]byte(k), low); i >= 0 {
			before = append(before, int32(i))
		}
	}
	slices.Sort(before)
	from := t.Lower(low + 1)
	rows := func(yield func(int, mvcc.Row) bool) {
		for n, i := range before {
			if !yield(n, t.Row(int(i))) {
				return
			}
		}
		t.Between(from, t.Len())(yield)
	}
	return newEvidence(l, rows, len(before)+t.Len()-from, t, tables, revision, compact)
}

func newEvidence(l *apply.Log, rows iter.Seq2[int, mvcc.Row], n int, t *mvcc.Table, tables *schema.Tables, revision, compact int64) *Evidence {
	e := &Evidence{
		Revision: revision, Compact: max(compact, 0), Index: tables.ConsistentIndex, TablesAhead: !tables.HasTerm, Tables: tables,
		rows: make([]row, 0, n), lastRow: make([]int32, len(l.Keys)), mayMiss: t.Unknown,
	}
	for i := range e.lastRow {
		e.lastRow[i] = -1
	}
	var kv mvcc.KeyValue
	for _, x := range rows {
		r := row{main: x.Rev.Main, sub: int32(min(x.Rev.Sub, math.MaxInt32)), tombstone: x.Tombstone}
		key, known := int32(0), false
		if kv.Decode(x.Value) == nil && !kv.Foreign {
			key, known = l.Key(string(kv.Key))
		}
		if r.undecoded = !known; known {
			r.key = key
			if !x.Tombstone {
				lease, ok := l.Lease(kv.Lease)
				r.undecoded = !ok || kv.Mod != x.Rev.Main
				r.Record = apply.Record{Create: kv.Create, Mod: kv.Mod, Version: kv.Version, Lease: lease, Value: apply.NewValue(kv.Value)}
			}
			if r.main <= e.Compact && !r.undecoded {
				e.lastRow[key] = int32(len(e.rows))
			}
		}
		e.rows = append(e.rows, r)
	}
	alive := map[int32]apply.Record{}
	e.createdAt = map[int64][]int32{}
	for k, n := range e.lastRow {
		if n >= 0 && !e.rows[n].tombstone {
			alive[int32(k)] = e.rows[n].Record
			if c := e.rows[n].Create; c < e.rows[n].main {
				e.createdAt[c] = append(e.createdAt[c], int32(k))
			}
		}
	}
	e.aliveDigest = apply.DigestOf(alive)
	var leases []int32
	for _, r := range tables.Leases {
		if n, ok := l.Lease(r.ID); ok {
			leases = append(leases, n)
		}
	}
	e.leasesDigest = apply.DigestOfLeases(leases)
	e.indexRows()
	l.AddValues(e.valueBytes(t))
	return e
}

// valueBytes finds those of a value that a row holds.
func (e *Evidence) valueBytes(t *mvcc.Table) func(v apply.Value) []byte {
	byValue := sync.OnceValue(func() map[apply.Value]int32 {
		m := make(map[apply.Value]int32, len(e.rows))
		for i := range e.rows {
			if r := &e.rows[i]; !r.undecoded && !r.tombstone {
				m[r.Value] = int32(i)
			}
		}
		return m
	})
	return func(v apply.Value) []byte {
		i, ok := byValue()[v]
		if !ok {
			return nil
		}
		var kv mvcc.KeyValue
		for _, x := range t.Group(e.rows[i].main) {
			if kv.Decode(x.Value) == nil && apply.NewValue(kv.Value) == v {
				return kv.Value
			}
		}
		return nil
	}
}

// indexRows makes rows of a revision found at once, if revisions are dense enough.
func (e *Evidence) indexRows() {
	if len(e.rows) == 0 {
		return
	}
	e.firstRevision = e.rows[0].main
	span := e.rows[len(e.rows)-1].main - e.firstRevision + 2
	if span <= 0 || span > int64(8*len(e.rows))+1024 {
		return
	}
	e.firstRow = make([]int32, span)
	n := 0
	for i := range e.firstRow {
		for n < len(e.rows) && e.rows[n].main < e.firstRevision+int64(i) {
			n++
		}
		e.firstRow[i] = int32(n)
	}
}

// group are the rows of a main revision.
func (e *Evidence) group(main int64) []row {
	if e.firstRow != nil {
		i := main - e.firstRevision
		if i < 0 || i+1 >= int64(len(e.firstRow)) {
			return nil
		}
		return e.rows[e.firstRow[i]:e.firstRow[i+1]]
	}
	lo := sort.Search(len(e.rows), func(i int) bool { return e.rows[i].main >= main })
	hi := lo
	for hi < len(e.rows) && e.rows[hi].main == main {
		hi++
	}
	return e.rows[lo:hi]
}

// matches tells whether a row is what a change makes, of which not all may be known; base is the revision before the log begins.
func (r *row) matches(c *apply.Change, base int64) bool {
	return !r.undecoded && r.key == c.Key && r.tombstone == c.Delete && (r.tombstone || c.Record.MayEqual(&r.Record, base))
}

// writers are the places of entries from lo to hi-1 that may have made a revision, in order; ok is false if nothing tells.
func (m *Member) writers(main int64, lo, hi int) (places []int32, ok bool) {
	rows, born := m.Evidence.group(main), m.Evidence.createdAt[main]
	var tombstone *row
	for i := range rows {
		switch r := &rows[i]; {
		case r.undecoded:
			return nil, false
		case r.tombstone:
			tombstone = r
		case !ok:
			places, ok = between(m.places.PutsOfValue(r.key, r.Value), lo, hi), true
			if keepers := between(m.places.PutsKeepingValue(r.key), lo, hi); len(keepers) > 0 {
				places = append(slices.Clone(places), keepers...)
				slices.Sort(places)
				places = slices.Compact(places)
			}
		case len(places) > 1:
			places = slices.DeleteFunc(slices.Clone(places), func(p int32) bool {
				return !containsPlace(m.places.PutsOfValue(r.key, r.Value), p) && !containsPlace(m.places.PutsKeepingValue(r.key), p)
			})
		}
	}
	for _, key := range born {
		switch {
		case !ok:
			places, ok = between(m.places.PutsOfKey(key), lo, hi), true
		case len(places) > 1:
			places = slices.DeleteFunc(slices.Clone(places), func(p int32) bool { return !containsPlace(m.places.PutsOfKey(key), p) })
		}
	}
	if ok || tombstone == nil {
		return places, ok
	}
	for i := lo; i < hi; i++ {
		if m.Log.Entries[i].Deletes(tombstone.key) {
			places = append(places, int32(i))
		}
	}
	return places, true
}

// between are the places from lo to hi-1 of a list in order.
func between(places []int32, lo, hi int) []int32 {
	from, _ := slices.BinarySearch(places, int32(lo))
	to, _ := slices.BinarySearch(places, int32(hi))
	return places[from:max(from, to)]
}

// containsPlace tells whether a list in order holds a place.
func containsPlace(places []int32, p int32) bool {
	_, ok := slices.BinarySearch(places, p)
	return ok
}

// agrees tells whether what a state has just made as a new revision is what the db holds. Of ignored keys it is not asked what rows
// of later revisions tell.
func (e *Evidence) agrees(s *apply.State, ignored []int32) bool {
	main := s.Revision
	if main > e.Revision {
		return false
	}
	rows := e.group(main)
	if main > e.Compact {
		if len(rows) == 0 && e.mayMiss(main) {
			return true
		}
		if len(rows) != len(s.Changes) {
			return false
		}
		for i := range rows {
			if int(rows[i].sub) != i || !rows[i].matches(&s.Changes[i], s.BaseRevision) {
				return false
			}
		}
		completeFromRows(s, rows)
		return true
	}
	for i := range rows {
		if n := int(rows[i].sub); n >= len(s.Changes) || !rows[i].matches(&s.Changes[n], s.BaseRevision) {
			return false
		}
	}
	completeFromRows(s, rows)
	return e.contradictedKey(s, ignored) < 0
}

// completeFromRows makes what a state has just made what the rows tell, where not all of it was known.
func completeFromRows(s *apply.State, rows []row) {
	if !s.HasPartial() {
		return
	}
	for i := range rows {
		if c := &s.Changes[rows[i].sub]; c.Record.IsPartial() {
			c.Record = rows[i].Record
			s.Set(c.Key, c.Record)
		}
	}
}

// restsOn tells whether what is known of a revision rests on when an ignored key was created, too.
func (e *Evidence) restsOn(main int64, ignored []int32) bool {
	return len(ignored) > 0 && slices.ContainsFunc(e.createdAt[main], func(key int32) bool { return slices.Contains(ignored, key) })
}

// contradictedKey is a key that what a state has just made leaves in a way that its newest row at or below the compact revision rules out, -1 if
// there is none. Such a row tells at which revision the key was created, and how often it was put from then on without being deleted.
func (e *Evidence) contradictedKey(s *apply.State, ignored []int32) int32 {
	main := s.Revision
	for i := range s.Changes {
		c := &s.Changes[i]
		n := e.lastRow[c.Key]
		if n < 0 {
			continue
		}
		r := &e.rows[n]
		if (r.main < main || !r.tombstone && r.Create <= main && main < r.main && (c.Delete || !c.Record.MayBeCreatedAt(r.Create, s.BaseRevision) || c.Record.Version >= r.Version)) &&
			!slices.Contains(ignored, c.Key) {
			return c.Key
		}
	}
	for _, key := range e.createdAt[main] {
		if !s.Record(key).MayBeCreatedAt(main, s.BaseRevision) && !slices.Contains(ignored, key) {
			return key
		}
	}
	return -1
}

// agreesAtCompact tells whether the keys of a state at the compact revision are those that compaction left, but for some keys.
func (e *Evidence) agreesAtCompact(s *apply.State, ignored []int32) bool {
	if s.KeysDigest() == e.aliveDigest {
		return true
	}
	if ignored == nil && !s.HasPartial() {
		return false
	}
	s.Steps += len(e.lastRow) / 16
	for k := range e.lastRow {
		if !e.sameKey(s, int32(k)) && !slices.Contains(ignored, int32(k)) {
			return false
		}
	}
	for k, n := range e.lastRow {
		if n >= 0 && s.Record(int32(k)).IsPartial() {
			s.Set(int32(k), e.rows[n].Record)
		}
	}
	return true
}

func (e *Evidence) sameKey(s *apply.State, key int32) bool {
	r, n := s.Record(key), e.lastRow[key]
	if n < 0 || e.rows[n].tombstone {
		return !r.Exists()
	}
	return r.Exists() && r.MayEqual(&e.rows[n].Record, s.BaseRevision)
}

// differingAtCompact are keys at the compact revision that are not as compaction left them, at most limit of them.
func (e *Evidence) differingAtCompact(s *apply.State, limit int) (keys []int32) {
	for k := range e.lastRow {
		if !e.sameKey(s, int32(k)) {
			if keys = append(keys, int32(k)); len(keys) == limit {
				break
			}
		}
	}
	return keys
}

// differingTables are the small tables that are not those of a state, and how many of their rows.
func (e *Evidence) differingTables(s *apply.State) (off [4]int) {
	if s.LeasesDigest() != e.leasesDigest {
		off[Leases] = len(e.differingLeases(s))
	}
	if !s.Auth.Equal(e.Tables) {
		off[Auth] = max(len(s.Auth.Apart(e.Tables)), 1)
	}
	off[Alarms] = len(e.differingAlarms(s))
	return off
}

// differingLeases are the leases that exist in a state and not in the table, or the other way round.
func (e *Evidence) differingLeases(s *apply.State) (leases []int32) {
	there := make(map[int32]bool, len(e.Tables.Leases))
	for _, r := range e.Tables.Leases {
		if n, ok := s.Log.Lease(r.ID); ok {
			there[n] = true
		}
	}
	for n := range s.Log.Leases {
		if s.Stored(int32(n)) != there[int32(n)] {
			leases = append(leases, int32(n))
		}
	}
	return leases
}

func (e *Evidence) differingAlarms(s *apply.State) (apart []pb.AlarmMember) {
	on := map[schema.AlarmMember]bool{}
	for _, a := range e.Tables.Alarms {
		on[a] = true
	}
	s.Alarms(func(member uint64, typ pb.AlarmType) {
		a := schema.AlarmMember{Member: member, Type: typ.String()}
		if !on[a] {
			apart = append(apart, pb.AlarmMember{MemberID: member, Alarm: typ})
		}
		delete(on, a)
	})
	for a := range on {
		apart = append(apart, pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(pb.AlarmType_value[a.Type])})
	}
	return apart
}
