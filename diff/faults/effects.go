package faults

import (
	"math"
	"slices"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/raftlog"
)

// Run applies the entries up to one with the faults of a reading, whatever the db holds. It calls see for every step, if that is not
// nil, and end with the state behind the last one, which must not be kept.
func (m *Member) Run(r *Reading, upTo uint64, see func(st *Step), end func(s *apply.State)) {
	begin := m.start.Mark()
	defer m.start.Revert(begin)
	x := run{Member: m, s: m.start, faults: r.allFaults(), rules: r.Rules, onStep: see, regardless: true}
	for i := 0; i < len(m.Log.Entries) && m.Log.Entries[i].Index <= upTo; i++ {
		x.step(i)
	}
	if end != nil {
		x.adoptAlteredRows(upTo)
		end(m.start)
	}
}

// FirstDifference is the first entry with which two readings do something else, 0 if there is none up to where the db has come.
func (m *Member) FirstDifference(a, b *Reading) uint64 {
	did := func(r *Reading) map[uint64]Step {
		all := map[uint64]Step{}
		m.Run(r, m.Reach(r), func(st *Step) {
			if _, ok := all[st.Index]; !ok {
				all[st.Index] = Step{Result: st.Result, Revision: st.Revision, TablesChanged: st.TablesChanged}
			}
		}, nil)
		return all
	}
	as, bs := did(a), did(b)
	for i := range m.Log.Entries {
		index := m.Log.Entries[i].Index
		x, y := as[index], bs[index]
		if x.Result != y.Result || x.Revision != y.Revision || x.TablesChanged != y.TablesChanged {
			return index
		}
	}
	return 0
}

// RulesFrom is an entry from which on a member goes by some rules.
type RulesFrom struct {
	Entry uint64
	Rules apply.Rules
}

// RulesOver are the rules by which a member goes by a reading, from entry 0 on. The next ones differ from those before.
func (m *Member) RulesOver(r *Reading) []RulesFrom {
	all := []RulesFrom{{0, r.Rules}}
	changes := m.Log.VersionsSet()
	for n := range changes {
		changes[n]++ // it is in force behind the entry
	}
	for i := range r.Faults {
		if r.Faults[i].Kind == Rules {
			changes = append(changes, r.Faults[i].First)
		}
	}
	slices.Sort(changes)
	for _, index := range changes {
		rules := r.Rules
		for i := range r.Faults {
			if f := &r.Faults[i]; f.Kind == Rules && f.First <= index {
				rules = f.To
			}
		}
		if rules = m.Log.AtLeast(index, rules); rules != all[len(all)-1].Rules {
			all = append(all, RulesFrom{index, rules})
		}
	}
	return all
}

// UnseenRestarts is how often entries were applied again by a reading without a restart that requests tell of, each of which does so once.
func (m *Member) UnseenRestarts(r *Reading) int {
	if m.Processes == nil {
		return 0
	}
	var ends []uint64
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Kind == Again {
			for range f.Times {
				ends = append(ends, f.Last)
			}
		}
	}
	slices.Sort(ends)
	restarts := m.Processes.Restarts
	for k, last := range ends {
		n := slices.IndexFunc(restarts, func(x raftlog.Restart) bool { return last < x.Before })
		if n < 0 {
			return len(ends) - k
		}
		restarts = restarts[n+1:]
	}
	return 0
}

// OwnReads is the fault that transactions which the member itself proposed were refused for what they read, if by a reading some were and would have changed
// something without these reads, as they did on the members that dropped them (up to etcd 3.6; etcd 18667).
func (m *Member) OwnReads(r *Reading) (f Fault, found bool) {
	m.Run(r, m.Reach(r), func(st *Step) {
		e := &m.Log.Entries[m.place(max(st.Index, m.first))]
		if found || st.Index == 0 || st.Again || st.Revision > 0 || st.Fault != nil || m.firstWay(e) != apply.WithReads {
			return
		}
		mark := m.start.Mark()
		if m.start.Apply(e, apply.Plain) == apply.Made {
			f, found = Fault{Kind: OwnReads, First: st.Index, Last: st.Index}, true
		}
		m.start.Revert(mark)
	}, nil)
	return f, found
}

// Mixture tells whether pages of several moments of a member without fault can make up the db: every row that is there is one that the
// log makes at that revision, up to the last entry of the log, and its auth revision is one that the log comes to.
func (m *Member) Mixture() bool {
	return slices.ContainsFunc(m.rules, func(rules apply.Rules) bool {
		left := 0
		for i := range m.Evidence.rows {
			if m.Evidence.rows[i].main > m.start.BaseRevision {
				left++
			}
		}
		highest := m.start.Auth.Revision
		m.Run(&Reading{Rules: rules}, math.MaxUint64, func(st *Step) {
			if st.Auth != nil {
				highest = st.Auth.Revision
			}
			if st.Revision == 0 {
				return
			}
			for _, x := range m.Evidence.group(st.Revision) {
				if n := int(x.sub); n < len(st.Changes) && x.matches(&st.Changes[n], m.start.BaseRevision) {
					left--
				}
			}
		}, nil)
		return left == 0 && m.Evidence.Tables.AuthRevision <= highest
	})
}

// adoptAlteredRows makes keys what the db holds of them where rows were changed and no later entry up to one has met them: that is what a reader of
// the db finds.
func (r *run) adoptAlteredRows(upTo uint64) {
	for _, x := range r.altered {
		f, made := x.fault, x.revision
		if f.Kept || f.First > upTo {
			continue
		}
		rows := r.Evidence.group(made)
		for _, k := range x.keys {
			if r.s.Record(k).Mod == made || !r.s.Record(k).Exists() && !r.changedAfter(k, made) {
				r.s.Set(k, r.recordBefore(k, made))
			}
		}
		for n := range rows {
			if x := &rows[n]; (!x.undecoded || x.Exists()) && r.s.Record(x.key).Mod <= made && !r.changedAfter(x.key, made) {
				r.s.Set(x.key, x.Record)
			}
		}
	}
}

// recordBefore is what rows before a revision leave of a key, as a reader finds it who does not see those of that revision.
func (r *run) recordBefore(key int32, before int64) (rec apply.Record) {
	for i := range r.Evidence.rows {
		x := &r.Evidence.rows[i]
		if x.main >= before {
			break
		}
		if x.key == key && !x.undecoded {
			rec = x.Record
		}
	}
	return rec
}

// changedAfter tells whether a row behind a revision, and not behind the present one, is of a key.
func (r *run) changedAfter(key int32, revision int64) bool {
	for i := len(r.Evidence.rows) - 1; i >= 0 && r.Evidence.rows[i].main > revision; i-- {
		if x := &r.Evidence.rows[i]; x.key == key && x.main <= r.s.Revision {
			return true
		}
	}
	return false
}

// Reach is the last entry whose effects on keys the db holds by a reading: the consistent index, or a later one where that was left
// behind, or is not saved with entries that change no key (up to 3.4).
func (m *Member) Reach(r *Reading) uint64 {
	at := m.Evidence.Index
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Kind == Index {
			at = max(at, f.Last)
		}
	}
	if !m.Evidence.TablesAhead {
		return at
	}
	begin := m.start.Mark()
	defer m.start.Revert(begin)
	x := run{Member: m, s: m.start, faults: r.allFaults(), rules: r.Rules, regardless: true}
	for i := range m.Log.Entries {
		revision := m.start.Revision
		x.step(i)
		if index := m.Log.Entries[i].Index; index > at {
			if m.start.Revision != revision || index > m.committed {
				break
			}
			at = index
		}
	}
	return at
}

// effectIfApplied are the changes that an entry which was left out would have made on the present state.
func (r *run) effectIfApplied(e *apply.Entry) (changes []apply.Change, turned bool) {
	mark := r.s.Mark()
	r.s.Apply(e, r.firstWay(e))
	changes, turned = append(changes, r.s.Changes...), r.s.TablesChanged
	r.s.Revert(mark)
	return changes, turned
}
