package lab

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// without runs member i again without a fault.
func (m *maker) without(i int, f *Fault) (*history, error) {
	return m.rerun(i, func(fs []*Fault) []*Fault {
		return slices.DeleteFunc(fs, func(o *Fault) bool { return o == f })
	})
}

func (m *maker) rerun(i int, change func([]*Fault) []*Fault) (*history, error) {
	return m.rerunTo(i, nil, change)
}

// rerunTo is rerun, which gives up with errStrayed where it cannot come to the same as another history any more.
func (m *maker) rerunTo(i int, goal *history, change func([]*Fault) []*Fault) (*history, error) {
	m.runs++
	s := m.c.Members[i].sc
	s.goal = goal
	s.db = filepath.Join(m.dir, "reference", fmt.Sprint(m.runs))
	s.faults = change(slices.Clone(s.faults))
	h, err := s.run()
	if err == nil {
		h.dump, err = readDump(s.db)
	}
	_ = os.Remove(s.db)
	return h, err
}

// comesTo runs member i with other faults. It returns nil if that does not leave the same as the faults of the member did.
func (m *maker) comesTo(i int, change func([]*Fault) []*Fault) (*history, error) {
	goal := m.c.Members[i].hist
	h, err := m.rerunTo(i, goal, change)
	switch {
	case errors.Is(err, errStrayed):
		return nil, nil
	case err != nil || !h.like(goal):
		return nil, err
	}
	return h, nil
}

// parting works out how a fault should be told, nil if it left no trace.
func (m *maker) parting(f *Fault) (*Parting, error) {
	p := &Parting{Fault: f, Index: f.Index, Others: map[uint64]bool{}}
	switch {
	case f.Kind == Fork && m.c.Members[f.Members[0]].log[f.Index-1].same(&m.w.log[f.Index-1]):
		return nil, nil // the last entry, and the same on both sides
	case f.Kind == Fork || f.Kind == Tamper:
		m.logParting(p)
		return p, nil
	case f.Kind == Behind:
		return nil, nil
	case slices.Contains(edited, f.Kind):
		m.storedParting(p)
		if p.Required && p.compacted && len(m.c.Faults) > 1 && !f.Kind.table() {
			if shows, err := m.shows(f); err != nil || !shows {
				p.Required, p.why = false, "compacted on all others"
				return p, err
			}
		}
		return p, m.otherwise(p)
	}
	return m.appliedParting(p)
}

// holds tells whether a member's log has an entry, and knows it to be committed.
func (x *Member) holds(index uint64) bool {
	return x.wals.first <= index && index <= min(x.wals.last, max(x.wals.commit, x.hist.index))
}

func (m *maker) logParting(p *Parting) {
	f := p.Fault
	p.Layers, p.Lo, p.Hi = []string{"log"}, p.Index, p.Index
	var odd, even []string
	for i, x := range m.c.Members {
		switch {
		case !x.holds(p.Index):
			p.Unknown = append(p.Unknown, x.Label)
		case f.on(i):
			odd = append(odd, x.Label)
		default:
			even = append(even, x.Label)
		}
	}
	if len(odd) > 0 && len(even) > 0 {
		p.Required, p.Named = true, true
		p.Groups = bySize(odd, even)
		if !m.meet(f) {
			p.widest = 1 // one log begins with what differs: the members may have parted before
		}
		return
	}
	// Members that lack the entry may show by later entries or by their rows that they parted.
	p.why = "not in two logs"
	p.Layers = nil
}

// meet tells whether a log with a fault and one without it show an entry just before it, or the same
// one somewhere behind it: either way they are known to have been the same until then.
func (m *maker) meet(f *Fault) bool {
	for i, x := range m.c.Members {
		for j, o := range m.c.Members {
			if !f.on(i) || f.on(j) {
				continue
			}
			if x.holds(f.Index-1) && o.holds(f.Index-1) {
				return true
			}
			for n := f.Index + 1; n <= uint64(len(x.log)); n++ {
				if x.holds(n) && o.holds(n) && x.log[n-1].same(&o.log[n-1]) {
					return true
				}
			}
		}
	}
	return false
}

func bySize(gs ...[]string) [][]string {
	gs = slices.DeleteFunc(gs, func(g []string) bool { return len(g) == 0 })
	for _, g := range gs {
		slices.Sort(g)
	}
	slices.SortStableFunc(gs, func(a, b []string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a[0], b[0])
	})
	return gs
}

// compact is the highest compact revision of any member.
func (m *maker) compact() int64 {
	var c int64
	for _, x := range m.c.Members {
		c = max(c, x.hist.compact)
	}
	return c
}

// shown is the revision above which some member without a fault still shows all that one with it shows: a
// third one that has compacted more hides nothing from these two.
func (m *maker) shown(f *Fault, x *Member) int64 {
	least := m.compact()
	for i, o := range m.c.Members {
		if !f.on(i) && o.hist.index >= f.Index {
			least = min(least, max(x.hist.compact, o.hist.compact))
		}
	}
	return least
}

func (m *maker) storedParting(p *Parting) {
	f := p.Fault
	p.Lo, p.Hi, p.Revision = p.Index, p.Index, f.revision
	switch f.Kind {
	case LostLease, ExtraLease, AuthBump, MissingUser:
		m.tableParting(p)
		return
	}
	p.Layers = []string{"storage"}
	atEnd := func(i int) bool { return m.atEnd(f, i) }
	if f.partial || slices.ContainsFunc(f.Members, atEnd) {
		p.Layers = append(p.Layers, "apply")
	}
	m.witness(p)
	for _, i := range f.Members {
		x := m.c.Members[i]
		for _, e := range x.log[x.hist.index:min(x.wals.last, uint64(len(x.log)))] {
			if c := e.Request.GetCompaction(); c != nil && c.Revision >= f.revision && (f.Kind == LostRevision || f.Kind == LostTombstone) {
				// Rows that a later compaction would have removed: the copy may as well be torn.
				p.Required, p.Named, p.why, p.Layers = false, false, "torn", nil
				m.c.Truth.torn = true
				return
			}
		}
	}
	if f.revision <= m.compact() {
		p.Named, p.Layers = false, nil
		p.why = "compacted"
	}
}

// atEnd tells whether member i wrote nothing after what a fault edited.
func (m *maker) atEnd(f *Fault, i int) bool { return f.revision == m.c.Members[i].hist.rev }

// seen tells whether the rows of a member with the fault and of one without it are not the same, as far as
// both are comparable.
func (m *maker) seen(p *Parting) bool {
	for i, x := range m.c.Members {
		for j, o := range m.c.Members {
			if p.Fault.on(i) && !p.Fault.on(j) && m.differ(x, o) {
				return true
			}
		}
	}
	return false
}

// shows tells whether an edit is seen where members that have it can be compared with others: their other faults may make these
// differ, too.
func (m *maker) shows(f *Fault) (bool, error) {
	for i, x := range m.c.Members {
		if !f.on(i) {
			continue
		}
		h, err := m.without(i, f)
		if err != nil {
			return false, err
		}
		for j, o := range m.c.Members {
			c := max(x.hist.compact, o.hist.compact)
			if !f.on(j) && !sameRows(kept(x.hist.dump["key"], c, math.MaxInt64), kept(h.dump["key"], c, math.MaxInt64)) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (m *maker) differ(x, o *Member) bool {
	at := min(x.hist.data(), o.hist.data())
	if at == o.hist.data() {
		x, o = o, x // x stopped first
	}
	c := max(x.hist.compact, o.hist.compact)
	rx, ro := x.hist.at(at), o.hist.at(at)
	if c <= min(rx, ro) {
		return rx != ro || !sameRows(kept(x.hist.dump["key"], c, rx), kept(o.hist.dump["key"], c, ro))
	}
	// The other one has compacted more than x ever had: what it kept of that time x must have, too.
	last := map[string]Row{}
	for _, r := range x.hist.dump["key"] {
		last[keyOf(r)] = r
	}
	for _, r := range kept(o.hist.dump["key"], c, c) {
		if mvcc.BytesToRev(r.Key).Main <= min(rx, ro) && !sameRows([]Row{last[keyOf(r)]}, []Row{r}) {
			return true
		}
	}
	return false
}

// data is the last entry applied, whatever the db claims.
func (h *history) data() uint64 { return h.applied }

// at is the revision once an entry was applied.
func (h *history) at(index uint64) int64 {
	rev := int64(1)
	for _, e := range h.effects {
		if e.Index > index {
			break
		}
		rev = e.After
	}
	return rev
}

// extraAt tells whether a revision that no entry made came with none between it and an entry: nothing tells then on which
// side of the entry, which the db does not note, it was made.
func (h *history) extraAt(index uint64) bool {
	rev := h.at(index)
	return slices.ContainsFunc(h.effects, func(e Effect) bool { return e.Index == 0 && (e.Before == rev || e.After == rev) })
}

// extra is the revision that no entry made right behind an entry, 0 if there is none.
func (h *history) extra(index uint64) int64 {
	for n, e := range h.effects {
		if e.Index == 0 && n > 0 && h.effects[n-1].Index == index {
			return e.After
		}
	}
	return 0
}

// struck is the least compacted member that has a fault, whose rows tell the most: not all that it is planned for
// may have come that far, or an earlier fault of one of them may have left nothing for it to change.
func (m *maker) struck(f *Fault) *Member {
	if f.marked != nil {
		return f.marked
	}
	var least *Member
	for _, i := range f.Members {
		if x := m.c.Members[i]; x.hist.index >= f.Index && (least == nil || x.hist.compact < least.hist.compact) {
			least = x
		}
	}
	if least == nil {
		return m.c.Members[f.Members[0]]
	}
	return least
}

// mark notes the least compacted member on which a fault left a trace, and those on which it left none.
func (m *maker) mark(f *Fault) error {
	for _, i := range f.Members {
		x := m.c.Members[i]
		if x.hist.index < f.Index {
			continue
		}
		base, err := m.without(i, f)
		switch {
		case err != nil:
			return err
		case base.like(x.hist):
			f.spared = append(f.spared, i)
		case f.marked == nil || x.hist.compact < f.marked.hist.compact:
			f.marked = x
		}
	}
	return nil
}

// afterPurged tells whether no log holds an entry before that of a parting that made a revision on the member. What that
// entry wrote first may then as well have been written by a purged one, which the others left out, and the entry itself
// be applied once like everywhere else.
func (m *maker) afterPurged(p *Parting) bool {
	first, h := m.heard(), m.struck(p.Fault).hist
	return first > 1 && !slices.ContainsFunc(h.effects, func(e Effect) bool {
		return first <= e.Index && e.Index < p.Lo && e.After > e.Before
	})
}

// witness fills in who saw what of the parting, and whether the entry can be named.
func (m *maker) witness(p *Parting) {
	f := p.Fault
	by := map[string][]string{}
	var sigs []string
	oddKnown, evenKnown := false, false
	odd, healthy := false, false
	even, told := map[string]bool{}, map[int]string{}
	for i, x := range m.c.Members {
		if !m.faultyAt(i, p.Index) && x.hist.index >= p.Index {
			even[m.signature(i, p.Index)] = true
		}
	}
	on := func(i int) bool { return f.on(i) && !slices.Contains(f.spared, i) }
	for i, x := range m.c.Members {
		if x.hist.index < p.Index {
			p.Unknown = append(p.Unknown, x.Label)
			continue
		}
		sig := m.signature(i, p.Index)
		if (even[sig] || slices.Contains(f.spared, i)) && m.faultyAt(i, p.Index) && len(m.c.Faults) > 1 {
			p.Unknown = append(p.Unknown, x.Label) // what one fault led to hides the other
		}
		if even[sig] || !m.faultyAt(i, p.Index) {
			sig = "as it should" // it has no fault, or nothing came of it
		} else if k := slices.IndexFunc(m.c.Members[:i], func(o *Member) bool { return o.holdsAs(x) }); k >= 0 && m.faultyAt(k, p.Index) {
			sig = told[k] // the faults of either lead to the very same
		}
		told[i] = sig
		if by[sig] == nil {
			sigs = append(sigs, sig)
		}
		by[sig] = append(by[sig], x.Label)
		before := m.before(x, p.Index)
		known := x.hist.compact <= before
		if !known {
			p.Unknown = append(p.Unknown, x.Label)
		}
		if on(i) {
			odd, oddKnown = true, oddKnown || known
		} else {
			healthy, evenKnown = true, evenKnown || known
		}
	}
	var gs [][]string
	for _, s := range sigs {
		gs = append(gs, by[s])
	}
	p.Groups = bySize(gs...)
	if len(gs) > 2 {
		p.Layers = append(p.Layers, "apply", "storage") // another fault is in it
	}
	p.Required = odd && healthy && len(gs) > 1 && m.seen(p)
	p.Named = oddKnown && evenKnown
	if p.Revision == 0 {
		p.revisions = m.revisions(p)
		for _, r := range p.revisions {
			if p.Revision == 0 || r < p.Revision {
				p.Revision = r
			}
		}
	}
	p.compacted = p.Revision <= m.compact()
	in := slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.holds(p.Index) })
	if !in {
		p.Named, p.Purged = false, true
		p.why = "purged"
	} else if !p.Named {
		p.why = "compacted"
	}
}

// holdsAs tells whether two members hold the same rows and tables at the same index, by the same log.
func (x *Member) holdsAs(o *Member) bool {
	return x.hist.index == o.hist.index && x.hist.compact == o.hist.compact && &x.log[0] == &o.log[0] &&
		sameRows(x.hist.dump["key"], o.hist.dump["key"]) && len(tablesDiffer(x.hist.dump, o.hist.dump)) == 0
}

// revisions are those that the entry made on each member, or its second application on those with the fault.
func (m *maker) revisions(p *Parting) map[string]int64 {
	again := p.Fault.Kind == Twice || p.Fault.Kind == Replay
	revs := map[string]int64{}
	for i, x := range m.c.Members {
		seen := false
		for _, e := range x.hist.effects {
			if e.Index != p.Index {
				continue
			}
			if _, ok := revs[x.Label]; !ok && e.After > e.Before && (!again || seen && p.Fault.on(i)) {
				revs[x.Label] = e.After
			}
			seen = true
		}
	}
	return revs
}

// before is a member's revision before an entry.
func (m *maker) before(x *Member, index uint64) int64 {
	for _, e := range x.hist.effects {
		if e.Index == index {
			return e.Before
		}
	}
	// It was not applied: what was there after the one before it.
	rev := int64(1)
	for _, e := range x.hist.effects {
		if e.Index < index {
			rev = max(rev, e.After)
		}
	}
	return rev
}

// faultyAt tells whether a member has a fault at an entry.
func (m *maker) faultyAt(i int, index uint64) bool {
	return slices.ContainsFunc(m.c.Faults, func(f *Fault) bool {
		return f.on(i) && !slices.Contains(f.spared, i) && m.covers(f, index)
	})
}

// covers tells whether an entry is one of those of a fault.
func (m *maker) covers(f *Fault, index uint64) bool {
	banned := f.Kind == Banned && f.Index <= index && m.w.log[index-1].Request.GetHeader().GetUsername() == f.User
	return f.Index <= index && index < f.Index+uint64(max(f.Count, 1)) || banned
}

// signature is what a member did at an entry, and what was done to it there. That of members without a fault is
// taken for one: they agree with each other, whatever their own state led to. A last revision that was lost leaves what an
// entry without effect leaves.
func (m *maker) signature(i int, index uint64) string {
	var b strings.Builder
	gone := func(f *Fault) bool {
		return f.on(i) && f.Index == index && f.whole && m.atEnd(f, i)
	}
	if slices.ContainsFunc(m.c.Faults, gone) {
		return ""
	}
	for _, e := range m.c.Members[i].hist.effects {
		if e.Index != index || len(e.Rows) == 0 && !e.Tables {
			continue
		}
		for _, r := range e.Rows {
			b.WriteString(content(r))
		}
		fmt.Fprintf(&b, "|%v;", e.Tables)
	}
	for _, f := range m.c.Faults {
		if f.on(i) && f.Index == index && slices.Contains(edited, f.Kind) {
			fmt.Fprintf(&b, "%s %d", f.Kind, f.seed)
		}
	}
	return b.String()
}

// appliedParting is what must be found of a fault of applying, nil if nothing of it is left in the files.
func (m *maker) appliedParting(p *Parting) (*Parting, error) {
	f := p.Fault
	if err := m.mark(f); err != nil {
		return nil, err
	}
	x := m.struck(f)
	i := slices.Index(m.c.Members, x)
	if x.hist.index < f.Index {
		return nil, nil // it stopped before
	}
	base, err := m.without(i, f)
	if err != nil {
		return nil, err
	}
	if err := m.placeApplied(p, i, base); err != nil {
		return nil, err
	}
	c := m.shown(f, x)
	rows := !sameRows(kept(x.hist.clean["key"], c, x.hist.rev), kept(base.dump["key"], c, base.rev)) || x.hist.rev != base.rev
	tables := tablesDiffer(x.hist.clean, base.dump)
	switch {
	case rows:
		return m.rowParting(p, i, base, tables)
	case len(tables) == 0:
		return m.lonely(p, x, base), nil
	}
	m.tableParting(p)
	p.Layers = append(slices.Clone(tables), "apply")
	if slices.Equal(tables, []string{"meta"}) {
		p.Required = false
	}
	if !m.stands(f, x.hist.clean, base.dump) {
		p.Required, p.why = false, "another fault did the same to the others"
	}
	return p, m.alternatives(p, base)
}

// placeApplied finds the entry at which member i, the first one with the fault, parts, and the entries that it is about besides.
func (m *maker) placeApplied(p *Parting, i int, base *history) (err error) {
	f, x := p.Fault, m.c.Members[i]
	switch f.Kind {
	case Replay:
		p.Index, err = m.lasting(f, f, x.hist, i)
	case LostTail:
		p.Index, err = m.traced(f, i, base, canonical(f, x.hist, base))
	default:
		p.Index = canonical(f, x.hist, base)
	}
	p.Lo, p.Hi = p.Index, p.Index
	for n := range uint64(max(f.Count, 1)) {
		p.Others[f.Index+n] = f.Kind == Replay || f.Kind == LostTail
	}
	for _, e := range m.w.log[f.Index-1:] {
		if f.Kind == Banned && e.Request.GetHeader().GetUsername() == f.User {
			p.Others[e.Index] = true
		}
	}
	return err
}

// rowParting is what must be found where rows of member i are others because of the fault. tables are those that differ as well.
func (m *maker) rowParting(p *Parting, i int, base *history, tables []string) (*Parting, error) {
	f, x := p.Fault, m.c.Members[i]
	switch f.Kind {
	case Extra, WrongLease, Half:
		p.Layers = []string{"storage", "apply"}
	default:
		p.Layers = append([]string{"apply"}, tables...)
	}
	m.witness(p)
	if f.Kind == Extra {
		p.Named = false // no entry made it
		p.Revision = x.hist.extra(f.Index)
		m.extraGroups(p)
	} else if !m.writes(x.hist, base, p.Index) {
		// A table parted first, and keys in consequence.
		p.why += " through tables"
		p.Layers = append(p.Layers, layerOf(m.w.log[p.Index-1].Kind))
		m.unknownBehind(p, uint64(len(m.w.log))) // their tables are of another moment
	}
	for _, j := range f.Members {
		if j == i || m.c.Members[j].hist.index < f.Index {
			continue
		}
		ahead, err := m.ahead(f, p.Index, j)
		if err != nil {
			return nil, err
		}
		if ahead {
			p.aheads, p.Unknown, m.c.Truth.torn = append(p.aheads, j), append(p.Unknown, m.c.Members[j].Label), true
		}
	}
	if err := m.alternatives(p, base); err != nil {
		return nil, err
	}
	return p, m.limitClaim(p, i, base)
}

// unknownBehind notes the members that have not come to an entry: on which side they are is not known.
func (m *maker) unknownBehind(p *Parting, index uint64) {
	for _, x := range m.c.Members {
		if x.hist.index < index && !slices.Contains(p.Unknown, x.Label) {
			p.Unknown = append(p.Unknown, x.Label)
		}
	}
}

// limitClaim takes back what need not be found, once it is known which entries it may be as well.
func (m *maker) limitClaim(p *Parting, i int, base *history) error {
	f, x := p.Fault, m.c.Members[i]
	if !slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.hist.index >= p.Hi && !f.on(slices.Index(m.c.Members, x)) }) {
		p.Required, p.why = false, "no witness of the last entry that it may be"
	}
	if (f.Kind == Twice || f.Kind == Replay) && p.Named && m.afterPurged(p) {
		p.Named, p.why = false, "as if a purged entry was left out elsewhere"
	}
	if first := m.heard(); p.Lo < p.Hi && first > 1 && !slices.ContainsFunc(base.effects, func(e Effect) bool {
		return first <= e.Index && e.Index < p.Lo && e.After > e.Before
	}) {
		p.widest = 1 // no log tells which purged entry it may be
	}
	if n := x.hist.note.index; p.Lo <= n && n < p.Hi {
		m.c.Truth.torn = true // which keys differ at the common index depends on which entry it was
	}
	ahead, err := m.ahead(f, p.Index, i)
	if err != nil {
		return err
	}
	if ahead {
		p.Required, p.Named, p.why, m.c.Truth.torn = false, false, "as if the consistent index was left behind", true
	}
	m.unknownBehind(p, p.Hi) // they have come to some of them only
	return nil
}

// lonely is a parting that the rows of the faulty member alone show, nil if they do not: the others have compacted
// what they made of the entry.
func (m *maker) lonely(p *Parting, x *Member, base *history) *Parting {
	c := x.hist.compact
	if sameRows(kept(x.hist.clean["key"], c, x.hist.rev), kept(base.dump["key"], c, base.rev)) {
		return nil
	}
	p.lonely, p.why = true, "only its own member shows it"
	return p
}

// stands tells whether what a fault changed in the small tables tells its member from another one without the fault.
func (m *maker) stands(f *Fault, with, without dump) bool {
	for name := range family {
		row := func(d dump, key []byte) []byte {
			if n := slices.IndexFunc(d[name], func(r Row) bool { return bytes.Equal(r.Key, key) }); n >= 0 {
				return append([]byte{1}, d[name][n].Value...)
			}
			return nil
		}
		for _, r := range slices.Concat(with[name], without[name]) {
			own := row(with, r.Key)
			if bytes.Equal(own, row(without, r.Key)) {
				continue
			}
			for j, o := range m.c.Members {
				if !f.on(j) && !bytes.Equal(own, row(o.hist.dump, r.Key)) {
					return true
				}
			}
		}
	}
	return false
}

// traced is the first lost entry of a tail that left a trace: what those before it did to a small table others of the tail
// may have undone, so that it makes no difference whether they were lost, alone or together.
func (m *maker) traced(f *Fault, i int, base *history, index uint64) (uint64, error) {
	end := f.Index + uint64(f.Count)
	for _, e := range base.effects {
		if e.Index <= index || e.Index >= end || !e.traced() {
			continue
		}
		same := false
		for _, n := range []int{int(end - e.Index), 1} {
			h, err := m.rerun(i, func(fs []*Fault) []*Fault {
				g := f.at(e.Index)
				g.Count = n
				fs[slices.Index(fs, f)] = g
				return fs
			})
			if err != nil {
				return index, err
			}
			same = same || h.like(m.c.Members[i].hist)
		}
		if same {
			index = e.Index
		}
	}
	return index, nil
}

// lasting is the first entry that a replay, instead of a fault, must have applied again to leave what member i holds: what
// those before it did to a small table others of the replay have undone.
func (m *maker) lasting(f, g *Fault, h *history, i int) (uint64, error) {
	index := canonical(g, h, h)
	seen := map[uint64]bool{}
	var again []uint64
	for _, e := range h.effects {
		in := g.Index <= e.Index && e.Index < g.Index+uint64(g.Count)
		if in && seen[e.Index] && e.After > e.Before {
			return index, nil
		}
		if in && seen[e.Index] && e.Tables {
			again = append(again, e.Index)
		}
		seen[e.Index] = true
	}
	for _, x := range again {
		if x <= index {
			continue
		}
		h, err := m.rerun(i, func(fs []*Fault) []*Fault {
			o := g.at(x)
			o.Count = int(g.Index-x) + g.Count
			fs[slices.Index(fs, f)] = o
			return fs
		})
		if err != nil || !h.dump.same(m.c.Members[i].hist.clean) {
			return index, err
		}
		index = x
	}
	return index, nil
}

// farAhead is how many entries more are tried.
const farAhead = 8

// ahead tells whether a fault came to the same on member i as applying a few entries more and leaving the consistent index behind. An
// entry that may be the fault's is given.
func (m *maker) ahead(f *Fault, index uint64, i int) (bool, error) {
	x := m.c.Members[i]
	for k := uint64(1); k <= farAhead && index+12 > x.sc.upTo && x.sc.upTo+k <= uint64(len(m.w.log)); k++ {
		m.runs++
		s := x.sc
		s.db = filepath.Join(m.dir, "reference", fmt.Sprint(m.runs))
		s.faults = slices.DeleteFunc(slices.Clone(s.faults), func(o *Fault) bool { return o == f })
		s.upTo += k
		if _, err := s.run(); err != nil {
			return false, err
		}
		d, err := readDump(s.db)
		if err != nil || sameRows(d["key"], x.hist.clean["key"]) {
			return err == nil, err
		}
	}
	return false, nil
}

// extraGroups are who has the revision and who has not.
func (m *maker) extraGroups(p *Parting) {
	var odd, even []string
	for i, x := range m.c.Members {
		if x.hist.index == p.Index {
			p.Unknown = append(p.Unknown, x.Label) // it may have stopped before the revision
		}
		switch {
		case x.hist.index < p.Index:
		case p.Fault.on(i):
			odd = append(odd, x.Label)
		default:
			even = append(even, x.Label)
		}
	}
	p.Groups = bySize(odd, even)
	p.Required = len(odd) > 0 && len(even) > 0 && m.seen(p)
	for _, i := range p.Fault.Members {
		if x := m.c.Members[i].hist; x.index >= p.Index && x.extra(p.Index) != p.Revision {
			p.shifted = true
		}
	}
}

// writes tells whether an entry wrote other rows with the fault than without it.
func (m *maker) writes(h, base *history, index uint64) bool {
	var a, b []Row
	for _, e := range h.effects {
		if e.Index == index {
			a = append(a, e.Rows...)
		}
	}
	for _, e := range base.effects {
		if e.Index == index {
			b = append(b, e.Rows...)
		}
	}
	return !sameContent(a, b)
}

// layerOf is the layer of the table that an entry changes.
func layerOf(kind string) string {
	switch {
	case strings.HasPrefix(kind, "Lease"):
		return "lease"
	case strings.HasPrefix(kind, "Auth"):
		return "auth"
	case kind == "Alarm":
		return "alarm"
	case strings.HasPrefix(kind, "ConfChange"), kind == "ClusterMemberAttrSet":
		return "membership"
	}
	return "meta"
}

// canonical is the entry that a fault is to be known by: of several entries, the first that had, or lacked, an effect.
func canonical(f *Fault, h, base *history) uint64 {
	switch f.Kind {
	case LostTail:
		for _, e := range base.effects {
			if e.Index >= f.Index && e.Index < f.Index+uint64(f.Count) && e.traced() {
				return e.Index
			}
		}
	case Banned:
		for _, e := range base.effects {
			if e.Index < f.Index || !e.traced() {
				continue
			}
			if !slices.ContainsFunc(h.effects, func(o Effect) bool { return o.Index == e.Index }) {
				return e.Index
			}
		}
	case Replay, Twice:
		// The first one that made an extra revision, or if none did, that changed a table.
		for _, revisions := range []bool{true, false} {
			last := uint64(0) // what comes behind a later entry is applied again, even if it was not applied before
			for _, e := range h.effects {
				in := e.Index >= f.Index && e.Index < f.Index+uint64(max(f.Count, 1))
				if in && e.Index <= last && (e.After > e.Before || !revisions && e.Tables) {
					return e.Index
				}
				last = max(last, e.Index)
			}
		}
	}
	return f.Index
}

// lowest is the lowest consistent index that any db claims.
func (m *maker) lowest() uint64 {
	low := m.common
	for _, x := range m.c.Members {
		low = min(low, x.hist.index)
	}
	return low
}

// heard is the first entry that any log holds.
func (m *maker) heard() uint64 {
	first := uint64(math.MaxUint64)
	for _, x := range m.c.Members {
		first = min(first, x.wals.first)
	}
	return first
}

// unheard tells whether no log holds an entry: what it changed is not known then.
func (m *maker) unheard(index uint64) bool {
	return !slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.holds(index) })
}

// tableParting is one that shows in a small table only.
func (m *maker) tableParting(p *Parting) {
	f := p.Fault
	var odd, even []string
	for i, x := range m.c.Members {
		if f.on(i) {
			odd = append(odd, x.Label)
		} else {
			even = append(even, x.Label)
		}
	}
	p.Groups = bySize(odd, even)
	switch f.Kind {
	case LostLease, ExtraLease, AuthBump, MissingUser:
		p.Layers = []string{f.layer()}
	}
	p.Named = !slices.Contains(edited, f.Kind) && slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.holds(p.Index) })
	p.Required = true
	if n := m.leased()[f.Lease]; f.Lease != 0 && f.Kind.table() && (n == 0 || n == m.n) {
		p.Required, p.why = false, "the lease is the same on all members" // another fault did to the others what this one did
	}
	// Entries that not all have reached may explain a difference in their table.
	kind := ""
	if p.Index > 0 {
		kind = layerOf(m.w.log[p.Index-1].Kind)
	} else if len(p.Layers) > 0 {
		kind = p.Layers[0]
	}
	for _, e := range m.w.log[m.lowest():] {
		if layerOf(e.Kind) == kind || m.unheard(e.Index) {
			p.Required = false
			p.why = "pending entries"
		}
	}
	for i, x := range m.c.Members {
		if f.on(i) && x.hist.index < p.Index {
			p.Required = false
		}
		if x.hist.index < p.Index {
			p.Unknown = append(p.Unknown, x.Label)
		}
	}
}
