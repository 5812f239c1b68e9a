package faults

import "etcd-autopsy/diff/apply"

// Run applies the entries up to one with the faults of a reading, whatever the db holds. It calls see for every step, if that is not
// nil, and end with the state behind the last one, which must not be kept.
func (m *Member) Run(r *Reading, upTo uint64, see func(st *Step), end func(s *apply.State)) {
	begin := m.start.Mark()
	defer m.start.Back(begin)
	x := run{Member: m, s: m.start, faults: r.Faults, rules: r.Rules, see: see, free: true}
	for i := 0; i < len(m.Log.Entries) && m.Log.Entries[i].Index <= upTo; i++ {
		x.step(i)
	}
	if end != nil {
		end(m.start)
	}
}

// Reach is the last entry whose effects the db holds by a reading: the consistent index, but where that was left behind.
func (m *Member) Reach(r *Reading) uint64 {
	at := m.Evidence.Index
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Kind == Index {
			at = max(at, f.Last)
		}
	}
	return at
}

// would are the changes that an entry which was left out would have made on the present state.
func (r *run) would(e *apply.Entry) (changes []apply.Change, turned bool) {
	mark := r.s.Mark()
	r.s.Apply(e, apply.Plain)
	changes, turned = append(changes, r.s.Changes...), r.s.Turned
	r.s.Back(mark)
	return changes, turned
}
