package faults

import (
	"cmp"
	"slices"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/schema"
)

// Members of which the first entries of the log are gone are taken to have been the same before those that are left. One that was not, since it had
// a fault earlier, contradicts the log where that shows, and some fault behind may explain the contradiction by accident. So what befell it may be the
// one as well as the other.

// Parting is how a member goes on, without fault, from a state of its own before the log begins, in which it had parted from the others.
type Parting struct {
	*Member
	// Reading has no faults. Its cost is that of one, which explains another revision and one thing more that was otherwise then, and of each further one: a
	// key, a lease, a user or a role, the alarms, or a revision that an entry of the log may have written, too, though it is of before.
	Reading Reading
	// In is the table that was another one than on the others, none if it is keys that were.
	In TableName
}

// Bounds of the search for partings.
const (
	maxOwnRevisions = 64      // that a member may have had by itself
	ownSteps        = 1 << 23 // steps for one member, and rows that are read
	maxApart        = 3       // things that were otherwise
	maxOwnAlarms    = 27      // sets of alarms: all that etcd's two types make, and the first of those of a log that names more
)

// findPartings sets the partings of members that have faults, or that nothing explains.
func findPartings(l *apply.Log, ms []SuffixMember, all []SuffixResult, low int64) {
	if len(ms) < 2 || len(all) == 0 {
		return
	}
	n := slices.IndexFunc(all, func(x SuffixResult) bool { return x.Member != nil && len(x.Readings[0].Faults) == 0 })
	if n < 0 {
		return // it is not known what they held
	}
	others := all[n].shownBase()
	concurrently(len(all), func(i int) {
		x := &all[i]
		if x.Member != nil && len(x.Readings[0].Faults) == 0 {
			return
		}
		var cut bool
		if x.Parting, cut = ms[i].findParting(l, others, ms[n].Evidence, low); cut && x.Member != nil {
			x.Limits = append(x.Limits, "it is not all tried whether the member had parted from the others before the first entry of the log")
		}
	})
}

// LikelyParted tells whether the member had parted before its log begins, since no fault that is likely explains what it holds. Where a single fault does, that is a
// row or a table that was changed, which may be so whatever else is the case.
func (x *SuffixResult) LikelyParted() bool {
	return x.Parting != nil && x.Member != nil && x.Readings[0].Cost > MaxLikelyCost && len(x.Readings[0].Faults) > 1
}

// TablesAlone tells whether the faults are tables that were changed, and nothing else.
func (x *SuffixResult) TablesAlone() bool {
	return !slices.ContainsFunc(x.Readings[0].Faults, func(f Fault) bool { return f.Kind != Table })
}

// shownBase is what a member without fault held before the log begins, as far as that is known.
func (x *SuffixResult) shownBase() *Base {
	b := *x.base
	b.records = slices.Clone(b.records)
	for k, r := range x.provenInitial(&x.Readings[0]) {
		switch {
		case k >= 0:
			b.records[k] = r
		case r.Exists():
			b.leases = append(slices.Clip(b.leases), -k)
		default:
			b.leases = slices.DeleteFunc(slices.Clone(b.leases), func(n int32) bool { return n == -k })
		}
	}
	return &b
}

// findParting looks for a state of its own from which a member needs no fault, nil if there is none: the one that differs least from that of others, of whom
// one is the witness. cut is true if none was found, and not all were tried.
func (b *SuffixMember) findParting(l *apply.Log, others *Base, witness *Evidence, low int64) (best *Parting, cut bool) {
	var auths []*authz.State
	for _, s := range append([]*authz.State{b.Auth}, b.OwnAuth...) {
		if s != nil && !slices.ContainsFunc(auths, s.Alike) {
			auths = append(auths, s)
		}
	}
	if len(auths) == 0 {
		auths = append(auths, nil)
	}
	revisions := []int64{others.Revision}
	for _, auth := range auths {
		for _, r := range candidateRevisions(l, b.Evidence, auth, maxBaseRevisions) {
			if r >= low && !slices.Contains(revisions, r) {
				revisions = append(revisions, r)
			}
		}
	}
	// It departed with some entries, and not with all of its revisions.
	slices.SortStableFunc(revisions, func(a, b int64) int {
		return cmp.Compare(max(a-others.Revision, others.Revision-a), max(b-others.Revision, others.Revision-b))
	})
	steps, alarms, places := 0, ownAlarms(l, b.Evidence, others), l.Places()
	for _, revision := range revisions[:min(len(revisions), maxOwnRevisions)] {
		again := b.Evidence.writtenByLog(l, places, others.Revision, revision) + witness.writtenByLog(l, places, revision, others.Revision)
		if again > maxApart {
			continue
		}
		for _, auth := range auths {
			for _, on := range alarms {
				if steps > ownSteps {
					return best, best == nil
				}
				m := NewMember(l, b.Evidence, nil, b.Committed, b.Rules...)
				m.Facts = b.Facts
				m.base = newBase(l, b.Evidence, nil, revision, auth, nil, others)
				m.base.alarms = on
				apart := again + m.base.tablesApart(others)
				if steps += len(b.Evidence.rows) + len(l.Keys); apart > maxApart {
					continue
				}
				m.start = m.base.State(l)
				readings, _ := m.searchInitial(maxStarts)
				steps += m.start.Steps
				for _, r := range readings {
					r.Cost = costFault + costInitial*max(apart+len(r.Initial)-1, 0)
					if best == nil || r.Cost < best.Reading.Cost {
						best = &Parting{Member: m, Reading: r, In: m.base.partedIn(others, &r)}
					}
				}
			}
		}
	}
	return best, false
}

// writtenByLog is how many revisions behind one, up to another, hold puts that entries of the log may have written, though they were made before it begins.
func (e *Evidence) writtenByLog(l *apply.Log, places *apply.Places, after, upTo int64) (n int) {
	m := NewMember(l, e, nil, 0)
	m.places = places
	for main := after + 1; main <= upTo; main++ {
		if slices.ContainsFunc(e.group(main), func(r row) bool { return !r.tombstone }) {
			at, ok := m.writers(main, 0, len(l.Entries))
			n += intOf(ok && len(at) > 0)
		}
	}
	return n
}

// tablesApart is in how many leases, users and roles a state before the log begins is not that of others, and one more if alarms are on on one of them alone.
func (b *Base) tablesApart(o *Base) int {
	n := b.leasesApart(o) + intOf(b.alarmsApart(o))
	if b.authApart(o) {
		names := slices.DeleteFunc(b.Auth.ApartFrom(o.Auth), func(name string) bool { return name == "revision" }) // it follows from the others
		n += max(len(names), 1)
	}
	return n
}

func (b *Base) leasesApart(o *Base) (n int) {
	for _, l := range b.leases {
		n += intOf(!slices.Contains(o.leases, l))
	}
	for _, l := range o.leases {
		n += intOf(!slices.Contains(b.leases, l))
	}
	return n
}

func (b *Base) authApart(o *Base) bool {
	return b.Auth != nil && o.Auth != nil && !b.Auth.Alike(o.Auth)
}

func (b *Base) alarmsApart(o *Base) bool {
	return len(b.alarms) != len(o.alarms) || slices.ContainsFunc(b.alarms, func(a schema.AlarmMember) bool { return !slices.Contains(o.alarms, a) })
}

// partedIn is the table in which a state before the log begins is another one than that of others, none if it is the keys.
func (b *Base) partedIn(others *Base, r *Reading) TableName {
	leases := b.leasesApart(others) > 0 || slices.ContainsFunc(r.Initial, func(f Fault) bool { return f.Key < 0 })
	keys := b.Revision != others.Revision || slices.ContainsFunc(r.Initial, func(f Fault) bool { return f.Key >= 0 })
	switch {
	case b.authApart(others):
		return Auth
	case b.alarmsApart(others):
		return Alarms
	case leases && !keys:
		return Leases
	}
	return NoTable
}

// ownAlarms are the alarms that may have been on before the log begins on a member that had parted from others by then: those that the log does not tell of
// are as its table says, and those of each type of which it does are as they were on the others, or all on, or all off.
func ownAlarms(l *apply.Log, own *Evidence, others *Base) (all [][]schema.AlarmMember) {
	told := map[string][]schema.AlarmMember{} // by type
	var types []string
	eachAlarm(l, func(a schema.AlarmMember, _ bool) {
		if told[a.Type] == nil {
			types = append(types, a.Type)
		}
		if !slices.Contains(told[a.Type], a) {
			told[a.Type] = append(told[a.Type], a)
		}
	})
	var untold []schema.AlarmMember
	for _, a := range own.Tables.Alarms {
		if !slices.Contains(told[a.Type], a) {
			untold = append(untold, a)
		}
	}
	all = [][]schema.AlarmMember{untold}
	for _, typ := range types {
		var shared []schema.AlarmMember
		for _, a := range others.alarms {
			if slices.Contains(told[typ], a) {
				shared = append(shared, a)
			}
		}
		ways := [][]schema.AlarmMember{shared}
		if len(shared) > 0 {
			ways = append(ways, nil)
		}
		if len(shared) < len(told[typ]) {
			ways = append(ways, told[typ])
		}
		if len(ways)*len(all) > maxOwnAlarms {
			ways = ways[:1] // a type is any number in a log
		}
		var more [][]schema.AlarmMember
		for _, w := range ways {
			for _, a := range all {
				more = append(more, slices.Concat(a, w))
			}
		}
		all = more
	}
	return all
}
