package faults

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// Base is a member's state before the first entry of a log that does not begin with the cluster, as far as rows and what entries take for
// granted tell. Its invariants:
//
//   - A key with a row at or below the revision that no later compaction passed is what that row says.
//   - Of a key that was created at or before the revision, as a later row says, it is known that it existed.
//   - Of any other one it is guessed, from what the first entry that asks for it takes for granted: a guess may be changed at that
//     entry, since nothing depends on it before.
type Base struct {
	Revision   int64
	Auth       *authz.State
	records    []apply.Record
	guessed    []bool
	firstAsked map[int32]int32   // of each key, and lease as minus its number, that is not fully known, the place of the first entry that asks for it
	askedAt    map[int32][]int32 // of each place, the keys of that kind that the entry asks for
	leases     []int32
	alarms     []schema.AlarmMember
	like       *Base // what others held, for what nothing tells; nil if that is guessed
}

// Assumption is what a key is held to be before the log begins.
type Assumption uint8

// What a key may be.
const (
	AssumeAbsent    Assumption = iota
	AssumeMatching             // it exists, and is what compares ask for
	AssumeDiffering            // it exists, and is not
)

// newBase is what the rows of a member, and those of others where these do not tell, show of the moment before the first entry of a log. shown
// is what else is known of keys. With like, which is what others held then, nothing else is known of a member that may have parted from them before: what its
// rows do not show of keys and leases is guessed to be as it was there.
func newBase(l *apply.Log, own *Evidence, others []*Evidence, revision int64, auth *authz.State, shown map[int32]apply.Record, like *Base) *Base {
	b := &Base{
		Revision: revision, Auth: auth, records: make([]apply.Record, len(l.Keys)), guessed: make([]bool, len(l.Keys)),
		firstAsked: map[int32]int32{}, askedAt: map[int32][]int32{}, like: like,
	}
	open := make([]bool, len(l.Keys))
	mine := own.keysAtRevision(revision)
	var theirs []*keysAt
	for _, e := range others {
		theirs = append(theirs, e.keysAtRevision(revision))
	}
	for k := range b.records {
		b.records[k], open[k], b.guessed[k] = b.initialRecord(int32(k), mine, theirs)
		if r, ok := shown[int32(k)]; ok && (open[k] || b.guessed[k]) {
			b.records[k], open[k], b.guessed[k] = r, false, false // what is open of it, rows must tell
		}
		if like != nil && b.guessed[k] && like.records[k].Exists() { // its revisions, and what it held, may be others
			b.records[k] = apply.Record{Create: -1, Mod: apply.ModAsCompared, Version: apply.OpenVersion, Value: apply.UnknownValue, Lease: like.records[k].Lease}
		}
	}
	b.findAskingEntries(l, open)
	all := append([]*Evidence{own}, others...)
	b.findLeases(l, all, shown)
	b.findAlarms(l, all)
	return b
}

// keysAt is what a db tells of the moment at a revision.
type keysAt struct {
	evidence *Evidence
	lastRow  []int32 // of each key, its newest row at or below the revision, -1 if there is none
	nextRow  []int32 // and its first one behind
	exact    bool    // nothing of that moment was compacted away
}

func (e *Evidence) keysAtRevision(revision int64) *keysAt {
	p := &keysAt{evidence: e, lastRow: make([]int32, len(e.lastRow)), nextRow: make([]int32, len(e.lastRow)), exact: e.Compact <= revision}
	for k := range p.lastRow {
		p.lastRow[k], p.nextRow[k] = -1, -1
	}
	for i := range e.rows {
		switch r := &e.rows[i]; {
		case r.undecoded:
		case r.main <= revision:
			p.lastRow[r.key] = int32(i)
		case p.nextRow[r.key] < 0:
			p.nextRow[r.key] = int32(i)
		}
	}
	return p
}

// record is what a db tells of a key, and how: known is true if that is all there is to tell, exists if no more is known than that it existed.
func (p *keysAt) record(key int32, base int64) (rec apply.Record, known, exists bool) {
	if n := p.lastRow[key]; n >= 0 {
		if !p.evidence.rows[n].tombstone {
			rec = p.evidence.rows[n].Record
		}
		return rec, true, rec.Exists()
	}
	if p.exact {
		return rec, true, false
	}
	n := p.nextRow[key]
	switch {
	case n < 0, p.evidence.rows[n].tombstone: // in the second case it was there, unless the log puts it before
	case p.evidence.rows[n].Create <= base:
		return apply.Record{Create: p.evidence.rows[n].Create, Mod: apply.ModAsCompared, Version: apply.OpenVersion, Value: apply.UnknownValue}, false, true
	}
	return rec, false, false
}

// initialRecord is what a key was. open is true if it existed and not all is known of it, guessed if not even that is known.
func (b *Base) initialRecord(key int32, mine *keysAt, theirs []*keysAt) (rec apply.Record, open, guessed bool) {
	rec, known, exists := mine.record(key, b.Revision)
	if known {
		return rec, false, false
	}
	for _, p := range theirs {
		r, known, there := p.record(key, b.Revision)
		switch {
		case known && exists && !there, known && exists && r.Create != rec.Create:
			continue // it is of another life
		case known:
			return r, false, false
		case there && !exists:
			rec, exists = r, true
		}
	}
	return rec, exists, !exists
}

// findAskingEntries notes which entries ask for what is not known, and guesses what the first of them takes for granted.
func (b *Base) findAskingEntries(l *apply.Log, open []bool) {
	any := slices.Contains(open, true) || slices.Contains(b.guessed, true)
	deletable, put := mayDelete(l), make([]bool, len(l.Keys))
	for i := 0; any && i < len(l.Entries); i++ {
		l.Entries[i].Asks(func(lo, hi int32, h apply.Hint) {
			for k := lo; k < hi; k++ {
				if !open[k] && !b.guessed[k] {
					continue
				}
				if _, known := b.firstAsked[k]; !known {
					if b.firstAsked[k] = int32(i); h == apply.Nothing {
						put[k] = true // whatever it was
					}
					if b.guessed[k] && b.like == nil && deletable[k] && h == apply.Exists && hi-lo == 1 {
						b.records[k] = apply.Record{Create: -1, Mod: apply.ModAsCompared, Version: apply.OpenVersion, Value: apply.UnknownValue}
					}
				}
				if at := b.askedAt[int32(i)]; !put[k] && (len(at) == 0 || at[len(at)-1] != k) {
					b.askedAt[int32(i)] = append(at, k)
				}
			}
		})
	}
}

// mayDelete are the keys that entries may delete: one that they cannot would be there still, had it been there.
func mayDelete(l *apply.Log) []bool {
	may, granted, all := make([]bool, len(l.Keys)), map[int32]bool{}, false
	for i := range l.Entries {
		switch e := &l.Entries[i]; e.Kind {
		case apply.Grant:
			granted[e.Lease()] = true
		case apply.Revoke:
			all = all || !granted[e.Lease()]
		case apply.Delete, apply.Txn, apply.Put:
			e.MayRemove(func(lo, hi int32) {
				for k := lo; k < hi; k++ {
					may[k] = true
				}
			})
		}
	}
	if all { // it may have been attached to the lease
		for k := range may {
			may[k] = true
		}
	}
	return may
}

// findLeases are those that existed: keys carry them, or the log revokes or attaches them before it grants them. Of those that it neither
// grants nor revokes the tables tell, those of at least half of the members.
func (b *Base) findLeases(l *apply.Log, all []*Evidence, shown map[int32]apply.Record) {
	first, turned := map[int32]apply.Kind{}, map[int32]bool{}
	for i := range l.Entries {
		e := &l.Entries[i]
		for _, n := range e.Uses() {
			if _, told := first[n]; !told {
				first[n] = e.Kind
			}
			turned[n] = turned[n] || e.Kind == apply.Grant || e.Kind == apply.Revoke
		}
	}
	there := map[int32]int{}
	for _, e := range all {
		for _, r := range e.Tables.Leases {
			if n, ok := l.Lease(r.ID); ok {
				there[n]++
			}
		}
	}
	carried := make([]bool, len(l.Leases))
	for k := range b.records {
		carried[b.records[k].Lease] = true
	}
	for n := int32(1); n < int32(len(l.Leases)); n++ {
		kind, told := first[n]
		if r, known := shown[-n]; known {
			if r.Exists() {
				b.leases = append(b.leases, n)
			}
			carried[n] = true
			continue
		}
		was := carried[n] || told && kind != apply.Grant
		if b.like != nil {
			was = carried[n] || slices.Contains(b.like.leases, n)
		}
		if turned[n] && was || !turned[n] && (carried[n] || there[n] > 0 && 2*there[n] >= len(all)) {
			b.leases = append(b.leases, n)
		}
	}
	b.findAskingForLeases(l, carried)
}

// findAskingForLeases notes which entries ask first for leases of which it is not known whether they existed: a client may well revoke one that does
// not, or attach a key to it.
func (b *Base) findAskingForLeases(l *apply.Log, known []bool) {
	for i := range l.Entries {
		e := &l.Entries[i]
		for _, n := range e.Uses() {
			if !known[n] && n > 0 && e.Kind != apply.Grant {
				b.firstAsked[-n], b.askedAt[int32(i)] = int32(i), append(b.askedAt[int32(i)], -n)
			}
			known[n] = true
		}
	}
}

// findAlarms are those that were on: the log turns them off first, or says nothing of them and they are on on at least half of the members.
func (b *Base) findAlarms(l *apply.Log, all []*Evidence) {
	told := map[schema.AlarmMember]bool{}
	eachAlarm(l, func(a schema.AlarmMember, on bool) {
		if !told[a] && !on {
			b.alarms = append(b.alarms, a)
		}
		told[a] = true
	})
	on := map[schema.AlarmMember]int{}
	for _, e := range all {
		for _, a := range e.Tables.Alarms {
			if on[a]++; (2*on[a] == len(all) || 2*on[a] == len(all)+1) && !told[a] {
				b.alarms = append(b.alarms, a)
			}
		}
	}
}

// BaseOf is all that a db holds, for a log that begins behind its consistent index.
func BaseOf(l *apply.Log, e *Evidence) *Base {
	b := &Base{
		Revision: e.Revision, Auth: authz.Of(e.Tables), records: make([]apply.Record, len(l.Keys)), guessed: make([]bool, len(l.Keys)),
		firstAsked: map[int32]int32{}, askedAt: map[int32][]int32{},
	}
	now := e.keysAtRevision(e.Revision)
	for k := range b.records {
		b.records[k], _, _ = now.record(int32(k), e.Revision)
	}
	for _, r := range e.Tables.Leases {
		if n, ok := l.Lease(r.ID); ok {
			b.leases = append(b.leases, n)
		}
	}
	b.alarms = slices.Clone(e.Tables.Alarms)
	return b
}

// GoesOn tells whether a log that begins behind the consistent index of one db makes of what that holds just what another one holds, by some
// rules.
func GoesOn(l *apply.Log, from, to *Evidence, rules ...apply.Rules) bool {
	m := NewMember(l, to, nil, to.Index, rules...)
	m.base = BaseOf(l, from)
	m.start = m.base.State(l)
	m.start.Compact = from.Compact
	return slices.ContainsFunc(rules, func(r apply.Rules) bool { return m.Explains(&Reading{Rules: r}) })
}

// eachAlarm calls f for every entry that turns an alarm on or off.
func eachAlarm(l *apply.Log, f func(a schema.AlarmMember, on bool)) {
	for i := range l.Entries {
		if r := l.Entries[i].AlarmRequest(); r != nil && r.Action != pb.AlarmRequest_GET && r.Alarm != pb.AlarmType_NONE {
			f(schema.AlarmMember{Member: r.MemberID, Type: r.Alarm.String()}, r.Action == pb.AlarmRequest_ACTIVATE)
		}
	}
}

// State is the state to begin with.
func (b *Base) State(l *apply.Log) *apply.State {
	s := apply.New(l)
	s.BaseRevision = b.Revision
	s.Advance(b.Revision)
	for k := range b.records {
		if b.records[k].Exists() {
			s.Set(int32(k), b.records[k])
		}
	}
	for _, n := range b.leases {
		s.SetLease(n, true)
	}
	on := make([]pb.AlarmMember, len(b.alarms))
	for i, a := range b.alarms {
		on[i].MemberID, on[i].Alarm = a.Member, pb.AlarmType(pb.AlarmType_value[a.Type])
	}
	s.SetAlarms(on)
	if b.Auth != nil {
		s.SetAuth(b.Auth)
	}
	s.Forget()
	return s
}

// recordIf is a key as it may have been instead.
func (b *Base) recordIf(key int32, as Assumption) (r apply.Record) {
	if as == AssumeAbsent {
		return r
	}
	if r = b.records[key]; !r.Exists() {
		r = apply.Record{Create: -1, Version: apply.OpenVersion, Value: apply.UnknownValue}
	}
	if r.Mod = apply.ModAsCompared; as == AssumeDiffering {
		r.Mod = apply.ModNotCompared
	}
	return r
}

// otherAssumptions are the ways in which a key may have been something else than it is assumed to be. A lease is given as minus its number.
func (b *Base) otherAssumptions(key int32) (all []Assumption) {
	if key < 0 {
		if slices.Contains(b.leases, -key) {
			return []Assumption{AssumeAbsent}
		}
		return []Assumption{AssumeMatching}
	}
	if b.records[key].Exists() {
		all = append(all, AssumeDiffering)
	} else {
		all = append(all, AssumeMatching)
	}
	if b.guessed[key] {
		if b.records[key].Exists() {
			all = append(all, AssumeAbsent)
		} else {
			all = append(all, AssumeDiffering)
		}
	}
	return all
}

// conflicts tells whether two members cannot have held the same keys before the log begins.
func (b *Base) conflicts(o *Base) bool {
	if b.Revision != o.Revision {
		return true
	}
	for k := range b.records {
		x, y := &b.records[k], &o.records[k]
		switch {
		case b.guessed[k] || o.guessed[k]:
		case x.Exists() != y.Exists(), !x.IsPartial() && !y.IsPartial() && !x.Same(y), x.Create > 0 && y.Create > 0 && x.Create != y.Create:
			return true
		}
	}
	return false
}

// Bounds of what is tried of the revision before a log begins.
const (
	maxBaseRevisions = 128     // revisions
	minBaseRevisions = 6       // of large dbs
	baseSteps        = 1 << 23 // rows and entries that are read to try them
	minVotes         = 64      // rows that are enough to tell it, if nearly all say the same
	maxUnwritten     = 3       // rows that no entry can have written, from the last one on, of which some may have been changed
	BaseTolerance    = 12      // by how much faults move what rows tell of it
)

// candidateRevisions are revisions that a member may have had before the first entry of a log, the likeliest first: that of each row that only one entry can
// have written, less those that the entries before it make.
func candidateRevisions(l *apply.Log, own *Evidence, auth *authz.State, limit int) (all []int64) {
	m := NewMember(l, own, apply.New(l), 0)
	m.indexWriters()
	// Each vote is for a range of revisions. Some are wrong: the same may have been written before the log begins.
	turns := map[int64]int{}
	vote := func(revision int64, place int) {
		low, high := max(revision-1-int64(m.places.Most[place]), 0), revision-1
		if m.places.Refusing[place] == 0 && (auth == nil || !auth.Enabled) {
			high -= int64(m.places.Least[place])
		}
		turns[low]++ // faults may have made more revisions, or fewer
		turns[max(high, low)+1]--
	}
	for _, s := range m.soleWriters {
		vote(s.revision, s.place)
	}
	vote(own.Revision+1, m.end())
	type span struct {
		low, high int64
		votes     int
	}
	var spans []span
	votes := 0
	at := slices.Sorted(maps.Keys(turns))
	for i, revision := range at {
		if votes += turns[revision]; i+1 < len(at) && votes > 0 {
			spans = append(spans, span{revision, at[i+1] - 1, votes})
		}
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Compare(b.votes, a.votes) })
	// A row that no entry can have written is of before.
	var foreign []int64
	for _, x := range slices.Backward(m.possible) {
		if len(x.places) == 0 && len(foreign) < maxUnwritten {
			foreign = append(foreign, x.revision)
		}
	}
	if len(spans) == 0 {
		return nil // revisions that no log can have made
	}
	if s := spans[0]; s.low == s.high && s.votes > minVotes && 3*s.votes > 2*len(m.soleWriters) && (len(foreign) == 0 || foreign[0] <= s.low) {
		return []int64{s.low} // nearly all say so
	}
	all = append(all, foreign...)
	add := func(low, high int64) {
		for revision := max(low, 0); revision <= high && len(all) < limit; revision++ {
			if !slices.Contains(all, revision) {
				all = append(all, revision)
			}
		}
	}
	for _, s := range spans {
		add(s.low, s.high)
	}
	for _, s := range spans {
		add(s.low-BaseTolerance, s.high+BaseTolerance)
	}
	return all
}

// SuffixMember is a member that goes on from a log which does not begin with the cluster.
type SuffixMember struct {
	Evidence  *Evidence
	Auth      *authz.State   // before the log begins
	OwnAuth   []*authz.State // what it may have been by the member's own tables, whatever those of others say
	Committed uint64
	Rules     []apply.Rules
	Facts
}

// SuffixResult is what was found of such a member.
type SuffixResult struct {
	*Member
	*Result
	// OtherBases are readings with another revision before the log begins, where that is as likely.
	OtherBases []Reading
	// Parting is nil if it explains nothing that the member had parted from the others before the log begins.
	Parting *Parting
}

// SearchSuffix finds the faults of members that were all the same before the first entry of a log, at a revision that is not below low. It is
// nil if that leads to nothing: if it is not known which of them had the faults, or if what explains one contradicts what explains another. If
// most members need no fault, one of which shows what was before, and nothing explains the others, these have no Member in what is returned. One member alone of which compaction removed what it held before
// is returned without fault if it may have none: that proves nothing.
//
// A member with faults, or one that nothing explains, may as well have parted from the others before: if it needs no fault to go on from a state of its own,
// Parting says so.
func SearchSuffix(l *apply.Log, ms []SuffixMember, low int64) []SuffixResult {
	all := searchSuffix(l, ms, low)
	findPartings(l, ms, all, low)
	return all
}

func searchSuffix(l *apply.Log, ms []SuffixMember, low int64) []SuffixResult {
	type found struct {
		all  []SuffixResult
		cost int
	}
	var tries []found
	var most []SuffixResult // without fault, where others are not explained
	var unlikely []*trial   // where something is
	least, began := 0, 0
	for _, b := range startingPoints(l, ms, low) {
		if b.faultless < least || b.faultless == least && b.assumptions > began {
			if b.faultless == least && len(unlikely) > 0 {
				unlikely = append(unlikely, &trial{start: b})
			}
			continue // less likely than a start from which more members need no fault, or need fewer assumptions
		}
		f := &trial{start: b}
		f.search()
		// What one member proves of keys must not make another one need a fault.
		sound := countFaultless(f.results) >= b.faultless
		if sound && f.likely() && baseKnown(f.results) && initialAgrees(f.results) {
			x := found{all: f.results}
			for _, m := range f.results {
				x.cost += m.Readings[0].Cost
			}
			tries = append(tries, x)
			continue
		}
		if b.faultless > least {
			unlikely = nil
		}
		unlikely = append(unlikely, f)
		least, began = b.faultless, b.assumptions
		if all := onlyFaultless(f.results); all != nil && most == nil {
			most = all
		}
	}
	if len(tries) == 0 {
		if all := explainedByAll(l, ms, unlikely); all != nil {
			return all
		}
	}
	if len(tries) == 0 {
		return most
	}
	slices.SortStableFunc(tries, func(a, b found) int { return cmp.Compare(a.cost, b.cost) })
	best := tries[0]
	for _, f := range tries[1:] {
		if f.cost > best.cost+Margin {
			break
		}
		for i := range best.all {
			x := &best.all[i]
			if (len(x.Readings[0].Faults) == 0) != (len(f.all[i].Readings[0].Faults) == 0) {
				return nil
			}
			x.OtherBases = append(x.OtherBases, f.all[i].Readings...)
		}
	}
	return best.all
}

// trial is what was found with a beginning.
type trial struct {
	start   startingPoint
	results []SuffixResult // none if it was not searched
}

// search looks for the faults of the members.
func (t *trial) search() {
	t.results = make([]SuffixResult, len(t.start.members))
	concurrently(len(t.results), func(i int) {
		t.results[i] = SuffixResult{Member: t.start.members[i], Result: t.start.members[i].Search()}
	})
}

// likely tells whether what explains each member is likelier than something which is not searched for.
func (t *trial) likely() bool {
	return !slices.ContainsFunc(t.results, func(x SuffixResult) bool { return !x.likely() })
}

// explainedByAll is what explains members whatever they began with, of all that leaves as many without fault, nil if nothing does: then it is no matter how
// unlikely it is. A member that may have parted before the log begins is not explained so, nor one by rows that no entry wrote: that is what a
// key looks like that was something else before.
func explainedByAll(l *apply.Log, ms []SuffixMember, trials []*trial) []SuffixResult {
	if len(trials) == 0 {
		return nil
	}
	for n, t := range trials {
		if t.results == nil {
			t.search()
		}
		if countFaultless(t.results) < t.start.faultless || !baseConfirmed(t.results) || n == 0 && t.start.assumptions > 0 {
			return nil
		}
		for i := range t.results {
			x := &t.results[i]
			if !x.likely() && len(x.Limits) > 0 && len(trials) == 1 {
				x.Member.baseCertain = true
				x.Result = x.Search()
			}
			if !x.likely() {
				x.Readings = slices.DeleteFunc(x.Readings, func(r Reading) bool { return r.hasUnwrittenRows() })
			}
			x.Readings = slices.DeleteFunc(x.Readings, func(r Reading) bool {
				return n > 0 && !slices.ContainsFunc(trials[0].results[i].Readings, func(o Reading) bool { return slices.Equal(o.Faults, r.Faults) })
			})
			if len(x.Readings) == 0 || !x.likely() && len(x.Limits) > 0 || !x.likely() && n == 0 && ms[i].explainedFromOtherBase(l) {
				return nil
			}
		}
		if !initialAgrees(t.results) {
			return nil
		}
	}
	return trials[len(trials)-1].results
}

// baseConfirmed tells whether it is known what was before the first entry, whatever the faults of the other members are: two without fault agree, or one
// shows all of it.
func baseConfirmed(all []SuffixResult) bool {
	var clean []SuffixResult
	for _, x := range all {
		if len(x.Readings) > 0 && len(x.Readings[0].Faults) == 0 {
			clean = append(clean, x)
		}
	}
	return slices.ContainsFunc(clean, func(x SuffixResult) bool { return x.BaseShown() }) || len(clean) > 1 && initialAgrees(clean)
}

// explainedFromOtherBase tells whether a member may have parted from the others before the log begins: by itself, it needs no fault to go on from another
// beginning to what it holds.
func (b *SuffixMember) explainedFromOtherBase(l *apply.Log) bool {
	for _, revision := range candidateRevisions(l, b.Evidence, b.Auth, minBaseRevisions) {
		m := NewMember(l, b.Evidence, nil, b.Committed, b.Rules...)
		m.Facts = b.Facts
		m.base = newBase(l, b.Evidence, nil, revision, b.Auth, nil, nil)
		m.start = m.base.State(l)
		if all, _ := m.searchInitial(1); len(all) > 0 {
			return true
		}
	}
	return false
}

// likely tells whether what explains a member is likelier than something which is not searched for.
func (x *SuffixResult) likely() bool {
	return len(x.Readings) > 0 && x.Readings[0].Cost <= MaxLikelyCost
}

// hasUnwrittenRows tells whether there is something that no entry of the log wrote.
func (r *Reading) hasUnwrittenRows() bool {
	return slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Kind == Extra || f.Kind == Rows })
}

// countFaultless counts the members that need no fault.
func countFaultless(all []SuffixResult) (n int) {
	for _, x := range all {
		n += intOf(len(x.Readings) > 0 && len(x.Readings[0].Faults) == 0)
	}
	return n
}

// onlyFaultless leaves those members that need no fault, nil if these are less than half, contradict each other, or none of them shows what it held before
// the log begins.
func onlyFaultless(all []SuffixResult) []SuffixResult {
	out := make([]SuffixResult, len(all))
	var some []SuffixResult
	for i, x := range all {
		if len(x.Readings) > 0 && len(x.Readings[0].Faults) == 0 {
			out[i], some = x, append(some, x)
		}
	}
	if len(all) == 1 || 2*len(some) < len(all) || !slices.ContainsFunc(some, func(x SuffixResult) bool { return x.BaseShown() }) || !initialAgrees(some) {
		return nil
	}
	return out
}

// concurrently runs f for all numbers below n at the same time.
func concurrently(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// baseKnown tells whether it is known what was before: a member without fault shows it, or nothing of it is compacted away and some entry has
// made a revision since. Where all have faults, another start is likelier.
func baseKnown(all []SuffixResult) bool {
	return len(all) == 1 && all[0].BaseShown() && all[0].Evidence.Revision > all[0].BaseRevision() || baseConfirmed(all)
}

// initialAgrees tells whether what explains each member holds for the others, too, of what keys were before the log begins.
func initialAgrees(all []SuffixResult) bool {
	var began []Fault
	for _, x := range all {
		if x.base.conflicts(all[0].base) {
			return false
		}
		for _, f := range x.Readings[0].Initial {
			if !slices.Contains(began, f) {
				began = append(began, f)
			}
		}
	}
	slices.SortFunc(began, Fault.compare)
	for _, x := range all {
		r := x.Readings[0]
		if r.Initial = began; len(began) > 0 && !x.Explains(&r) {
			return false
		}
	}
	return true
}

// startingPoint is what members may have been before the first entry of a log.
type startingPoint struct {
	members     []*Member
	faultless   int // of them that need no fault
	assumptions int // what these held otherwise than entries ask for
}

// startingPoints are members as they may have begun: at the revision at which most of them need no fault to make what they hold, or at which they
// come furthest without; several if several revisions are as likely. What those show of keys holds for the others.
func startingPoints(l *apply.Log, ms []SuffixMember, low int64) []startingPoint {
	if len(l.Entries) == 0 {
		return nil
	}
	var starts []*start
	for _, revision := range allCandidateRevisions(l, ms, low) {
		starts = append(starts, newStart(l, ms, revision))
	}
	slices.SortStableFunc(starts, (*start).compare)
	starts = assumeInitial(starts)
	slices.SortStableFunc(starts, (*start).compare)
	var likely []startingPoint
	for _, t := range starts[:min(len(starts), maxStarts)] {
		if t.faultless < starts[0].faultless-1 {
			continue
		}
		if len(t.proven) == 0 {
			likely = append(likely, startingPoint{t.members, t.faultless, t.assumptions})
		}
		for _, proven := range t.proven {
			b := startingPoint{t.members, t.faultless, t.assumptions}
			if len(proven) > 0 {
				b.members = make([]*Member, len(ms))
				concurrently(len(ms), func(i int) { b.members[i] = memberFrom(l, ms, i, t.revision, proven) })
			}
			likely = append(likely, b)
		}
	}
	return likely
}

// allCandidateRevisions are those of each member that are not below low, the likeliest of the first member first.
func allCandidateRevisions(l *apply.Log, ms []SuffixMember, low int64) (revisions []int64) {
	rows := len(l.Entries)
	for i := range ms {
		rows = max(rows, len(ms[i].Evidence.rows))
	}
	limit := min(max(baseSteps/(rows+len(l.Keys)), minBaseRevisions), maxBaseRevisions)
	for i := range ms {
		for _, revision := range candidateRevisions(l, ms[i].Evidence, ms[i].Auth, limit) {
			if revision >= low && !slices.Contains(revisions, revision) {
				revisions = append(revisions, revision)
			}
		}
	}
	return revisions
}

// memberFrom is one of some members with a revision before the log begins. proven is what is known of keys then, besides what rows show.
func memberFrom(l *apply.Log, ms []SuffixMember, i int, revision int64, proven map[int32]apply.Record) *Member {
	var others []*Evidence
	for j := range ms {
		if j != i {
			others = append(others, ms[j].Evidence)
		}
	}
	m := NewMember(l, ms[i].Evidence, nil, ms[i].Committed, ms[i].Rules...)
	m.Facts = ms[i].Facts
	m.base = newBase(l, ms[i].Evidence, others, revision, ms[i].Auth, proven, nil)
	m.start = m.base.State(l)
	return m
}

// start is what comes of a revision before the log begins.
type start struct {
	revision    int64
	members     []*Member
	reach       int                      // sum of the places at which they stop
	faultless   int                      // members without fault
	assumptions int                      // what these held otherwise than entries ask for
	proven      []map[int32]apply.Record // for each way in which the member with the fewest assumptions needs no fault, what that shows of keys
}

// newStart runs each member's log without faults or assumptions.
func newStart(l *apply.Log, ms []SuffixMember, revision int64) *start {
	t := &start{revision: revision, members: make([]*Member, len(ms))}
	stops := make([]int, len(ms))
	concurrently(len(ms), func(i int) {
		t.members[i] = memberFrom(l, ms, i, revision, nil)
		stops[i] = t.members[i].stopWithoutFault()
	})
	for i, stop := range stops {
		t.faultless += intOf(stop > t.members[i].end())
		t.reach += stop
	}
	return t
}

// compare puts the likelier one first.
func (t *start) compare(o *start) int {
	return cmp.Or(cmp.Compare(o.faultless, t.faultless), cmp.Compare(t.assumptions, o.assumptions), cmp.Compare(o.reach, t.reach))
}

// assumeInitial finds out of the likeliest starts, which come first, how far they lead with assumptions about keys. It returns those that were tried.
func assumeInitial(starts []*start) []*start {
	steps := 0
	for n, t := range starts {
		if n >= minStartsTried && steps > startSteps || n > 0 && starts[0].faultless > 0 && t.faultless == 0 && 2*t.reach < starts[0].reach {
			return starts[:n]
		}
		if steps += t.assumeInitial(); t.faultless == len(t.members) {
			return starts[:n+1]
		}
	}
	return starts
}

// assumeInitial does so of one start, and returns the steps that it took.
func (t *start) assumeInitial() (steps int) {
	t.faultless, t.reach = 0, 0
	readings, stops := make([][]Reading, len(t.members)), make([]int, len(t.members))
	concurrently(len(t.members), func(i int) { readings[i], stops[i] = t.members[i].searchInitial(maxStarts) })
	fewest := math.MaxInt
	for i, rs := range readings {
		steps += t.members[i].start.Steps
		if t.reach += stops[i]; len(rs) == 0 {
			continue
		}
		t.assumptions += len(rs[0].Initial)
		if t.faultless++; len(rs[0].Initial) < fewest {
			fewest, t.proven = len(rs[0].Initial), nil
			for k := range rs {
				t.proven = append(t.proven, t.members[i].provenInitial(&rs[k]))
			}
		}
	}
	return steps
}

// Bounds of how many revisions before the log are tried with assumptions about keys: at least so many, and then up to so many steps; and how many are
// searched with.
const (
	minStartsTried = 6
	startSteps     = 1 << 22
	maxStarts      = 3
)

// MaxLikelyCost is the cost of faults of a member that are no likelier than something which is not searched for: another beginning, other kinds of
// faults.
const MaxLikelyCost = 17

// searchInitial looks for what keys were before the log begins for which it takes no fault to make what the db holds: up to limit answers, those that
// were found first. stop is the place to which the log goes.
func (m *Member) searchInitial(limit int) (all []Reading, stop int) {
	x := &search{Member: m, s: m.start, beginMark: m.start.Mark(), costBound: math.MaxInt - Margin, budget: suffixSteps + stepsEntry*len(m.Log.Entries)}
	m.start.Steps = 0
	defer func() { m.start.Revert(x.beginMark) }()
	add := func(r Reading) {
		if !slices.ContainsFunc(all, func(o Reading) bool { return slices.Equal(o.Initial, r.Initial) }) {
			all = append(all, r)
		}
	}
	for _, rules := range m.rules {
		level := []*node{{rules: rules}}
		for i := 0; i < len(level) && i < maxInitial && x.s.Steps < x.budget && len(all) < limit; i++ {
			n := level[i]
			at := x.applyToStop(x.run(rules, n.faults))
			if stop = max(stop, at); at > m.end() {
				add(Reading{Rules: rules, Initial: n.faults})
				continue
			}
			m.indexWriters()
			e := &expansion{search: x, n: n, contradiction: contradiction{stop: at, end: m.end()}}
			e.firstSuspect = e.lastConfirmed()
			begun, _ := e.tryInitial()
			level = slices.Insert(level, i+1, begun...)
			for _, l := range x.solved {
				add(reading(rules, withFault(l.faults, l.f)))
				stop = m.end() + 1
			}
			x.solved = nil
		}
	}
	return all[:min(len(all), limit)], stop
}

// provenInitial is what a life shows of keys before the log begins that was not known.
func (m *Member) provenInitial(r *Reading) map[int32]apply.Record {
	facts := map[int32]apply.Record{}
	for i := range r.Initial {
		if r.Initial[i].Key < 0 { // a lease
			facts[r.Initial[i].Key] = apply.Record{Create: -int64(intOf(r.Initial[i].Assumed != AssumeAbsent))}
			continue
		}
		facts[r.Initial[i].Key] = m.base.recordIf(r.Initial[i].Key, r.Initial[i].Assumed)
	}
	begin := m.start.Mark()
	defer m.start.Revert(begin)
	x := run{Member: m, s: m.start, faults: r.allFaults(), rules: r.Rules, onStep: func(st *Step) {
		for i := range st.Changes {
			c := &st.Changes[i]
			f, told := facts[c.Key]
			if !told {
				f = m.base.records[c.Key]
			}
			if !f.IsPartial() || c.Was.IsPartial() == c.Record.IsPartial() {
				continue
			}
			// The row tells what was open before it.
			switch {
			case c.Delete:
			case c.Record.Create > m.base.Revision:
				facts[c.Key] = apply.Record{}
			default:
				if f.Create = c.Record.Create; c.Was.Version < 0 {
					f.Version = c.Record.Version - (c.Was.Version - apply.OpenVersion) - 1
				}
				facts[c.Key] = f
			}
		}
	}}
	x.applyFrom(0, nil)
	m.start.Revert(begin)
	// What cannot have been otherwise was so.
	asked := slices.SortedFunc(maps.Keys(m.base.firstAsked), func(a, b int32) int {
		return cmp.Or(cmp.Compare(m.base.firstAsked[a], m.base.firstAsked[b]), cmp.Compare(a, b))
	})
	for _, k := range asked[:min(len(asked), maxInitialTried)] {
		if _, told := facts[k]; told || k < 0 || m.start.Steps > startSteps {
			continue
		}
		index := m.Log.Entries[m.base.firstAsked[k]].Index
		may := false
		for _, as := range m.base.otherAssumptions(k) {
			f := Fault{Kind: Initial, First: index, Last: index, Key: k, Assumed: as}
			x := run{Member: m, s: m.start, faults: withFault(r.allFaults(), f), rules: r.Rules}
			may = may || x.applyFrom(0, nil) > m.end()
			m.start.Revert(begin)
		}
		if !may {
			facts[k] = m.base.records[k]
		}
	}
	return facts
}

// stopWithoutFault is the place to which the log agrees with the db without any fault.
func (m *Member) stopWithoutFault() (stop int) {
	begin := m.start.Mark()
	for _, rules := range m.rules {
		x := run{Member: m, s: m.start, rules: rules}
		stop = max(stop, x.applyFrom(0, nil))
		m.start.Revert(begin)
	}
	return stop
}

// BaseShown tells whether rows show all that the member held before the log begins.
func (m *Member) BaseShown() bool { return m.base == nil || m.Evidence.Compact <= m.base.Revision }

// BeginsEmpty tells whether the member's log begins with an empty store: what was before it is not guessed then.
func (m *Member) BeginsEmpty() bool { return m.base == nil }

// BaseRevision is the revision before the log begins, 1 if it begins with the cluster.
func (m *Member) BaseRevision() int64 { return m.start.Revision }
