package faults

import (
	"slices"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
)

// Step is what one application of an entry did.
type Step struct {
	Index         uint64 // 0 for a revision that no entry made
	Again         bool
	Result        apply.Result
	Fault         *Fault         // by which the entry was not applied as etcd's rules say; nil otherwise
	Revision      int64          // that it made, 0 for none
	Changes       []apply.Change // valid during the call; of an entry that was left out, what it would have changed
	TablesChanged bool           // leases, auth or alarms were changed, or would have been
	// Auth is the auth store behind an entry that changed it, nil otherwise.
	Auth *authz.State
	// Forbidden is true if today's rules forbid what the entry did.
	Forbidden bool
}

// run is a member's log with some faults, being applied.
type run struct {
	*Member
	s              *apply.State
	faults         []Fault
	rules          apply.Rules // at the beginning
	ignoredKeys    []int32     // keys whose rows are not what entries make
	missedRevision bool        // the last contradiction was a revision that was not made
	unchecked      bool        // what entries make is not held against the db
	// onStep is called for every step, if it is not nil; the step is valid during the call.
	onStep  func(st *Step)
	current Step // what see is called with
	// regardless is true if entries are applied whatever the db holds.
	regardless bool
	// altered are the revisions whose rows are not what their entry writes, if free.
	altered []altered
}

type altered struct {
	fault    *Fault
	revision int64
	keys     []int32 // that the entry changed
}

// place is the place of an entry in the log.
func (m *Member) place(index uint64) int { return int(index - m.first) }

// end is the place behind the last entry that the db claims to hold.
func (m *Member) end() int { return min(m.place(m.Evidence.Index)+1, len(m.Log.Entries)) }

// step applies the entry at a place, with the faults, and tells whether that agrees with the db.
func (r *run) step(i int) bool {
	e := &r.Log.Entries[i]
	r.s.Rules = r.rules
	if r.base != nil {
		r.setInitial(e.Index)
	}
	way, by, rows, left := r.faultsAt(e)
	r.s.Rules = r.Log.AtLeast(e.Index, r.s.Rules)
	if left != nil {
		return r.leaveOut(e, left)
	}
	return r.apply(e, way, rows, by, false) && r.applyBehind(i)
}

// faultsAt are the faults that begin or hold at an entry: by is why it is applied in another way than the plain one, rows are changed of what it
// wrote, and left is why it is not applied at all. Rules and lost leases it puts into effect.
func (r *run) faultsAt(e *apply.Entry) (way apply.Way, by, rows, left *Fault) {
	way = r.firstWay(e)
	for n := range r.faults {
		f := &r.faults[n]
		if f.First > e.Index {
			break // they are in order
		}
		here := f.First == e.Index
		switch {
		case f.Kind == Skipped && e.Index <= f.Last, f.Kind == Refused && e.User() == f.User:
			return way, by, rows, f
		case f.Kind == Rules:
			r.s.Rules = f.To
		case f.Kind == Lost && here:
			r.loseLeases(r.s)
		case f.Kind == OwnReads && way == apply.WithReads:
			by = f
		case f.Kind == GaveUp && here:
			way = apply.Plain
		case f.Kind == Permitted && here:
			by, way = f, apply.Unchecked
		case f.Kind == Branch && here:
			by, way = f, apply.OtherBranch
		case f.Kind == Rows && here:
			rows = f
		}
	}
	return way, by, rows, nil
}

// firstWay is how an entry is applied the first time: the member that proposed it, and waits for what it makes, keeps all reads of a transaction.
func (m *Member) firstWay(e *apply.Entry) apply.Way {
	if proposer, reads := e.Proposer(); reads && m.ID != 0 && proposer == uint16(m.ID) {
		return apply.WithReads
	}
	return apply.Plain
}

// KeepsReads tells whether by a reading the member applied an entry, the first time, with all reads of its transaction.
func (m *Member) KeepsReads(r *Reading, index uint64) bool {
	at := m.place(index)
	return index >= m.first && at < len(m.Log.Entries) && m.firstWay(&m.Log.Entries[at]) == apply.WithReads &&
		!slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Kind == GaveUp && f.First == index })
}

// applyBehind makes the revisions that faults make behind the entry at a place, and tells whether they agree with the db.
func (r *run) applyBehind(i int) bool {
	index := r.Log.Entries[i].Index
	for n := range r.faults {
		f := &r.faults[n]
		if f.First > index {
			break
		}
		switch {
		case f.Kind == Extra && f.First == index && !r.makeExtra(f), f.Kind == Again && f.Last == index && !r.applyAgain(f, i):
			return false
		}
	}
	return true
}

// applyAgain applies the entries of a fault again, the last of which is at a place.
func (r *run) applyAgain(f *Fault, last int) bool {
	for range f.Times {
		for k := r.place(f.First); k <= last; k++ {
			if !r.apply(&r.Log.Entries[k], apply.Plain, nil, f, true) {
				return false
			}
		}
	}
	return true
}

// setInitial makes keys and leases what they were before the log begins, if that is not what they are held to have been.
func (r *run) setInitial(index uint64) {
	for n := range r.faults {
		if f := &r.faults[n]; f.First > index {
			break
		} else if f.Kind == Initial && f.First == index {
			if f.Key < 0 {
				r.s.SetLease(-f.Key, f.Assumed != AssumeAbsent)
				continue
			}
			r.s.Set(f.Key, r.base.recordIf(f.Key, f.Assumed))
		}
	}
}

// makeExtra makes a revision of the rows that the db holds, which no entry made.
func (r *run) makeExtra(f *Fault) bool {
	main := r.s.Revision + 1
	rows := r.Evidence.group(main)
	var changes []apply.Change
	for i := range rows {
		x := &rows[i]
		if x.undecoded {
			return false
		}
		changes = append(changes, apply.Change{Key: x.key, Delete: x.tombstone, Record: x.Record, Was: *r.s.Record(x.key)})
		r.s.Set(x.key, x.Record)
	}
	if len(rows) == 0 {
		return false
	}
	r.s.Advance(main)
	if r.onStep != nil {
		r.current = Step{Fault: f, Result: apply.Made, Revision: main, Changes: changes}
		r.onStep(&r.current)
	}
	return main != r.Evidence.Compact || r.Evidence.agreesAtCompact(r.s, r.ignored())
}

// loseLeases makes all leases with negative ids unknown, and tells whether there are any: up to 3.4.19 and 3.5.2 a restart does not read them back
// (server/lease/lessor.go, initAndRecover: etcd 12535).
func (m *Member) loseLeases(s *apply.State) (any bool) {
	for n, id := range m.Log.Leases {
		if id < 0 && s.Lose(int32(n)) {
			any = true
		}
	}
	return any
}

// leaveOut leaves an entry out.
func (r *run) leaveOut(e *apply.Entry, f *Fault) bool {
	if r.onStep != nil {
		changes, turned := r.effectIfApplied(e)
		r.current = Step{Index: e.Index, Fault: f, Changes: changes, TablesChanged: turned}
		r.onStep(&r.current)
	}
	r.s.Steps++
	return true
}

// apply applies an entry and tells whether what it makes is what the db holds. rows is a fault of the rows that are there.
func (r *run) apply(e *apply.Entry, way apply.Way, rows, by *Fault, again bool) bool {
	forbidden := r.onStep != nil && (way == apply.Plain || way == apply.WithReads) && r.s.Rules.Permissions() != authz.Rules{} && r.forbidden(e)
	res := r.s.Apply(e, way)
	made := int64(0)
	ok := true
	if res == apply.Made {
		made = r.s.Revision
		switch {
		case r.unchecked:
			return true
		case rows == nil:
			ok = r.Evidence.agrees(r.s, r.ignored())
		case rows.Kept:
			ok = r.adoptRows()
		default:
			ok = made <= r.Evidence.Revision
		}
		if ok && made == r.Evidence.Compact {
			ok = r.Evidence.agreesAtCompact(r.s, r.ignored())
		}
	}
	if r.regardless && rows != nil && made > 0 {
		a := altered{fault: rows, revision: made}
		for i := range r.s.Changes {
			a.keys = append(a.keys, r.s.Changes[i].Key)
		}
		r.altered = append(r.altered, a)
	}
	if r.onStep != nil {
		changes := r.s.Changes
		if by != nil && by.Kind == OwnReads {
			if changes = r.changesWithoutReads(e); made > 0 || len(changes) == 0 {
				by, changes = nil, r.s.Changes // its reads are not why
			}
		}
		if rows != nil {
			by = rows
		}
		r.current = Step{Index: e.Index, Again: again, Result: res, Fault: by, Revision: made, Changes: changes, TablesChanged: r.s.TablesChanged, Forbidden: forbidden && res != apply.Forbidden, Auth: r.turnedAuth(e)}
		r.onStep(&r.current)
	}
	return ok || r.regardless
}

// changesWithoutReads are those that a transaction which was refused would have made without its outermost reads.
func (r *run) changesWithoutReads(e *apply.Entry) (changes []apply.Change) {
	if len(r.s.Changes) > 0 {
		return nil
	}
	mark := r.s.Mark()
	if r.s.Apply(e, apply.Plain) == apply.Made {
		changes = slices.Clone(r.s.Changes)
	}
	r.s.Revert(mark)
	r.s.Changes = r.s.Changes[:0]
	return changes
}

// turnedAuth is the auth store if an entry may have changed it.
func (r *run) turnedAuth(e *apply.Entry) *authz.State {
	if e.Kind == apply.Auth && r.s.TablesChanged {
		return r.s.Auth
	}
	return nil
}

// forbidden tells whether today's rules forbid an entry in the present state.
func (r *run) forbidden(e *apply.Entry) bool {
	rules, mark := r.s.Rules, r.s.Mark()
	r.s.Rules = 0
	res := r.s.Apply(e, r.firstWay(e))
	r.s.Revert(mark)
	r.s.Rules = rules
	return res == apply.Forbidden
}

// adoptRows makes the state what the rows of the revision just made say.
func (r *run) adoptRows() bool {
	for _, c := range slices.Backward(r.s.Changes) {
		r.s.Set(c.Key, c.Was)
	}
	for _, x := range r.Evidence.group(r.s.Revision) {
		if x.undecoded {
			return false
		}
		r.s.Set(x.key, x.Record)
	}
	return r.s.Revision <= r.Evidence.Revision
}

// ignored are the keys of which the rows need not be what the entries make.
func (r *run) ignored() []int32 {
	for i := range r.faults {
		if f := &r.faults[i]; f.Kind == Rows && r.ignoredKeys == nil {
			r.ignoredKeys = append(r.ignoredKeys, r.Log.Entries[r.place(f.First)].Touches()...)
		}
	}
	return r.ignoredKeys
}

// applyFrom applies the entries from a place on, and returns the place of the first that does not agree with the db: that behind the last
// one if what is there in the end does not, and one more if all agrees. It calls at before each entry, if it is not nil.
func (r *run) applyFrom(i int, at func(i int)) int {
	end := r.end()
	for ; i < end; i++ {
		if at != nil {
			at(i)
		}
		if !r.step(i) {
			return i
		}
		if r.missedRevision = r.soleRevision != nil && r.missesRevision(i); r.missedRevision {
			return i
		}
	}
	if at != nil {
		at(end)
	}
	if r.matchesAtEnd() {
		return end + 1
	}
	return end
}

// missesRevision tells whether an entry up to a place should have made a revision that the state, which is that behind it, is not at yet. Entries
// that are to be applied again may still make it.
func (r *run) missesRevision(i int) bool {
	index, low := r.Log.Entries[i].Index, i
	for n := range r.faults {
		if f := &r.faults[n]; f.Kind == Again && f.First <= index && index <= f.Last {
			if index < f.Last {
				return false
			}
			low = min(low, r.place(f.First))
		}
	}
	for ; low <= i; low++ {
		if main := r.soleRevision[low]; main > r.s.Revision && !r.Evidence.restsOn(main, r.ignored()) {
			return true
		}
	}
	return false
}

// matchesAtEnd tells whether what is there in the end is what the db holds. Where tables may be of a later moment, one at which they are is
// looked for.
func (r *run) matchesAtEnd() bool {
	ahead := uint64(0)
	var off [4]int
	for i := range r.faults {
		switch f := &r.faults[i]; f.Kind {
		case Index:
			ahead = f.Last
		case Table:
			off[f.Table] = 1
		}
	}
	at := r.end()
	if ahead > 0 {
		for ; at <= r.place(ahead) && at < len(r.Log.Entries); at++ {
			if !r.step(at) {
				return false
			}
		}
	}
	alike := func() bool {
		if r.s.Revision != r.Evidence.Revision {
			return false
		}
		for t, n := range r.Evidence.differingTables(r.s) {
			if n > 0 && off[t] == 0 {
				return false
			}
		}
		return true
	}
	if alike() {
		return true
	}
	if r.s.Revision != r.Evidence.Revision {
		return false
	}
	limit := r.Evidence.Index + maxTablesAhead
	if r.Evidence.TablesAhead {
		limit = max(limit, r.committed)
	}
	mark, revision, steps := r.s.Mark(), r.s.Revision, r.onStep
	r.onStep = nil
	defer func() { r.onStep = steps }()
	for ; at < len(r.Log.Entries) && r.Log.Entries[at].Index <= limit; at++ {
		if !r.step(at) || r.s.Revision != revision {
			break // a change of keys would have moved the index
		}
		if alike() {
			return true
		}
	}
	r.s.Revert(mark)
	return false
}

// maxTablesAhead is how many entries behind the consistent index tables may hold the effects of in any version: 3.5.0 to 3.5.4 do not
// move it with every entry that changes no key. The commit index that the log holds lags behind what was applied.
const maxTablesAhead = 8

// index is the raft index of a place, also behind the last entry.
func (m *Member) index(place int) uint64 { return m.first + uint64(place) }
