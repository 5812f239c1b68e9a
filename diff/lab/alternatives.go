package lab

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"google.golang.org/protobuf/proto"
)

// alternatives runs the fault at other entries that may come to the same: where the db comes out the same, nothing tells
// which of them it was.
func (m *maker) alternatives(p *Parting, base *history) error {
	f := p.Fault
	x := m.struck(f)
	t := &trials{maker: m, p: p, base: base, f: f, x: x, i: slices.Index(m.c.Members, x)}
	p.restarted = f.Kind == Replay
	switch f.Kind {
	case LostTail:
		return t.ofLostTail()
	case Replay:
		return t.ofReplay()
	case Extra:
		return nil
	case Banned:
		// A ban on one request only is one that was skipped.
		g := f.at(p.Index)
		g.Kind = Skip
		same, err := t.try(g)
		switch {
		case err != nil:
			return err
		case same:
			return t.ofEntry(*g)
		}
		if err := m.inRow(p.Index, x.hist, base, f, t.try); err != nil {
			return err
		}
		return m.otherBans(p, f, base, t.try)
	}
	return t.ofEntry(*f)
}

// trials are faults that are run instead of that of a parting.
type trials struct {
	*maker
	p    *Parting // what is said of it is widened by each that comes to the same
	f    *Fault   // that of p
	x    *Member  // the first one with the fault, number i
	i    int
	base *history // of x without the fault
}

// try runs g instead of the fault, and tells whether that comes to the same.
func (t *trials) try(g *Fault) (bool, error) {
	last := g.Index + uint64(max(g.Count, 1)) - 1
	if g.Index <= uint64(t.n) || g.Kind == Replay && last > t.x.sc.upTo {
		return false, nil
	}
	if (g.Kind == Half || g.Kind == Branch) && t.w.log[g.Index-1].Request.GetTxn() == nil {
		return false, nil
	}
	h, err := t.sameOnAll(g)
	if err != nil || h == nil {
		return false, err
	}
	p, c := t.p, canonical(g, h, t.base)
	if g.Kind == Replay {
		if c, err = t.lasting(t.f, g, h, t.i); err != nil {
			return false, err
		}
	}
	wrote := func(e Effect) bool { return e.Index == c && e.traced() }
	if g.Kind == LostTail && c < p.Index && (c >= t.f.Index || !slices.ContainsFunc(t.base.effects, wrote)) {
		c = p.Index // what was lost before left no trace
	}
	p.Lo, p.Hi = min(p.Lo, c), max(p.Hi, c)
	if layer := layerOf(t.w.log[g.Index-1].Kind); g.Kind == Skip && (layer == "auth" || layer == "alarm") {
		p.Layers = append(p.Layers, layer)
	}
	if c != p.Index && !slices.ContainsFunc(t.f.Members, func(j int) bool { return g.Kind == Replay && !t.mayRestart(j, last) }) {
		p.restarted = false
	}
	return true, nil
}

// sameOnAll is the history of the member with g instead of the fault, nil if that leaves another db on it, or on another one with the fault: what one
// member cannot tell another may, if it stopped between the two entries or is compacted less.
func (t *trials) sameOnAll(g *Fault) (*history, error) {
	instead := func(fs []*Fault) []*Fault {
		fs[slices.Index(fs, t.f)] = g
		return fs
	}
	h, err := t.comesTo(t.i, instead)
	if err != nil || h == nil {
		return nil, err
	}
	for _, j := range t.f.Members {
		if j == t.i || t.c.Members[j].hist.index < t.f.Index || slices.Contains(t.f.spared, j) || slices.Contains(t.p.aheads, j) {
			continue
		}
		if other, err := t.comesTo(j, instead); err != nil || other == nil {
			return nil, err
		}
	}
	return h, nil
}

func (t *trials) ofLostTail() error {
	p := t.p
	if err := t.tails(t.f, t.base, t.try); err != nil {
		return err
	}
	p.widest, p.Lo = p.Lo, p.Index // entries in a row are the simpler reading
	// One that is all that was lost may have been refused because of another one. It is a simpler reading than that several
	// in a row were lost, and a later one made what the first of them should have made.
	g := t.f.at(p.Index)
	g.Kind, g.Count = Skip, 0
	same, err := t.try(g)
	switch {
	case err != nil:
		return err
	case !same:
		return t.lost(p, t.f, t.base, t.try)
	}
	if err := t.neighbours(g, t.base, t.try); err != nil {
		return err
	}
	return t.leading(g, t.base, t.try)
}

func (t *trials) ofReplay() error {
	t.flippedInstead(t.p, t.base)
	if err := t.windows(t.f, t.base, t.try); err != nil {
		return err
	}
	if err := t.repeated(t.p, t.f, t.base, t.try); err != nil {
		return err
	}
	c := canonical(t.f, t.x.hist, t.base)
	wrote := func(e Effect) bool { return e.Index == c && e.After > e.Before }
	if slices.ContainsFunc(t.base.effects, wrote) || slices.ContainsFunc(t.x.hist.effects, wrote) { // the latter behind what had refused it
		return t.letting(t.f, t.base, t.try)
	}
	return t.repeatedTables(t.p, t.f.at(c), t.base, t.try)
}

// ofEntry tries what comes to the same as a fault at one entry.
func (t *trials) ofEntry(g Fault) error {
	if !slices.ContainsFunc(t.x.hist.effects, func(e Effect) bool { return e.Index == g.Index && (e.After > e.Before || e.Tables) }) {
		g.Kind = Skip // it comes to that
	}
	n := slices.IndexFunc(t.base.effects, func(e Effect) bool { return e.Index == g.Index })
	if n < 0 || g.Kind == WrongLease {
		return nil
	}
	if g.Kind == Twice {
		if err := t.ofTwice(g); err != nil {
			return err
		}
	}
	if g.Kind == Branch || g.Kind == Twice {
		if err := t.otherBranches(&g, t.try); err != nil {
			return err
		}
	}
	if g.Kind == Branch {
		if err := t.letPass(&g, t.x.hist, t.base, t.try); err != nil {
			return err
		}
	}
	if t.base.effects[n].After == t.base.effects[n].Before {
		if err := t.sameTable(&g, t.base, t.try); err != nil {
			return err
		}
		return t.led(&g, t.x.hist, t.base, t.try)
	}
	if err := t.leading(&g, t.base, t.try); err != nil {
		return err
	}
	if err := t.letting(&g, t.base, t.try); err != nil {
		return err
	}
	return t.neighbours(&g, t.base, t.try)
}

// ofTwice tries as replays what an entry that was applied twice is.
func (t *trials) ofTwice(g Fault) error {
	t.flippedInstead(t.p, t.base)
	g.Kind, g.Count = Replay, 1
	if err := t.windows(&g, t.base, t.try); err != nil {
		return err
	}
	return t.repeated(t.p, &g, t.base, t.try)
}

// inRow tries to lose two entries in a row instead of those of a banned user from one on: only more of them show that it was
// the user.
func (m *maker) inRow(index uint64, h, base *history, f *Fault, try func(*Fault) (bool, error)) error {
	g := f.at(index)
	g.Kind = LostTail
	n := 1
	for _, e := range base.effects {
		lost := !slices.ContainsFunc(h.effects, func(o Effect) bool { return o.Index == e.Index })
		if e.Index > index && e.After > e.Before && lost {
			g.Count = int(e.Index-index) + 1
			n++
		}
	}
	if n != 2 {
		return nil
	}
	if same, err := try(g); err != nil || !same {
		return err
	}
	return m.windows(g, base, try)
}

// otherBans tries to ban the user from another entry on, and to lose all entries from one on, or some in a row: others may have
// written later what the user's first ones should have written.
func (m *maker) otherBans(p *Parting, f *Fault, base *history, try func(*Fault) (bool, error)) error {
	x := m.struck(f)
	behind := uint64(1) // the entry behind the last one that left a trace
	for _, e := range base.effects {
		if e.Index == 0 || !e.traced() {
			continue
		}
		begin := behind
		if behind = e.Index + 1; distance(e.Index, p.Index) >= farthest {
			continue
		}
		if e.Index != p.Index && m.w.log[e.Index-1].Request.GetHeader().GetUsername() == f.User {
			if _, err := try(f.at(e.Index)); err != nil {
				return err
			}
		}
		if e.Before != x.hist.rev || e.Index < p.Index || e.Index > x.sc.upTo {
			continue
		}
		// A compaction before it may be lost with it.
		for _, from := range slices.Compact([]uint64{e.Index, begin}) {
			g := f.at(from)
			g.Kind, g.Count = LostTail, int(x.sc.upTo-from)+1
			same, err := try(g)
			if err == nil && same {
				err = m.lost(p, g, base, try)
			}
			if err != nil || same {
				return err
			}
		}
	}
	return nil
}

// maxOtherwise is how many entries before an edited row are tried.
const maxOtherwise = 12

// otherwise tries what may have become of entries instead of an edit of a row: where the db comes out the same, nothing tells
// which it was. Where a row was changed, the entry before may have been applied twice, if the next one has no effect then.
// Where the last revision is lost, the numbering does not show that there was one: as well may it, or an earlier one that
// writes the same, never have been made.
func (m *maker) otherwise(p *Parting) error {
	f, kind := p.Fault, Twice
	switch {
	case f.Kind == LostRevision && !slices.ContainsFunc(f.Members, func(i int) bool { return !m.atEnd(f, i) }):
		kind = Skip
		if err := m.refusedInstead(p); err != nil {
			return err
		}
	case (f.Kind == FlipValue || f.Kind == FlipLease) && len(m.c.Faults) == 1:
	default:
		return nil
	}
	runs := 0
	for _, e := range slices.Backward(m.struck(f).hist.effects) {
		if e.Index == 0 || e.Index >= f.Index || e.After == e.Before {
			continue
		}
		if runs++; runs > maxOtherwise {
			return nil
		}
		g := f.at(e.Index)
		g.Kind = kind
		same, err := m.editedInstead(f, g)
		if err != nil {
			return err
		}
		if same {
			p.Lo = min(p.Lo, e.Index)
		} else if kind == Skip {
			return nil
		}
	}
	return nil
}

// refusedInstead tries to skip earlier changes of auth and alarms instead of an edit: the entry may have been refused because of that.
func (m *maker) refusedInstead(p *Parting) error {
	runs := 0
	for _, e := range slices.Backward(m.struck(p.Fault).hist.effects) {
		if e.Index == 0 || e.Index >= p.Fault.Index || !e.Tables || !slices.Contains([]string{"auth", "alarm"}, m.layerAt(e.Index)) {
			continue
		}
		if runs++; runs > maxOtherwise {
			return nil
		}
		g := p.Fault.at(e.Index)
		g.Kind = Skip
		if same, err := m.editedInstead(p.Fault, g); err != nil {
			return err
		} else if same {
			p.Lo, p.Layers = min(p.Lo, e.Index), append(p.Layers, m.layerAt(e.Index))
		}
	}
	return nil
}

// editedInstead tells whether the dbs of all members with an edit come out the same by another fault.
func (m *maker) editedInstead(f, g *Fault) (bool, error) {
	for _, i := range f.Members {
		x := m.c.Members[i].hist
		if x.index < f.Index {
			continue
		}
		h, err := m.rerun(i, func(fs []*Fault) []*Fault {
			fs[slices.Index(fs, f)] = g
			return fs
		})
		if err != nil {
			return false, err
		}
		rows := x.dump["key"]
		if f.Kind == LostRevision { // whatever else was edited
			rows = slices.DeleteFunc(slices.Clone(x.clean["key"]), func(r Row) bool { return mvcc.BytesToRev(r.Key).Main == f.revision })
		}
		all := func(rows []Row) []Row { return kept(rows, x.compact, math.MaxInt64) }
		if h.compact != x.compact || !sameRows(all(h.dump["key"]), all(rows)) || len(tablesDiffer(h.dump, x.clean)) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// flippedInstead looks whether the rows are those that an entry applied once leaves, but for a bit of one: that may have been
// changed afterwards instead.
func (m *maker) flippedInstead(p *Parting, base *history) {
	x := m.struck(p.Fault)
	a, b := x.hist.clean["key"], base.dump["key"]
	if len(a) != len(b) || len(tablesDiffer(x.hist.clean, base.dump)) > 0 {
		return
	}
	var at int64
	for n := range a {
		switch {
		case !bytes.Equal(a[n].Key, b[n].Key):
			return
		case bytes.Equal(a[n].Value, b[n].Value):
		case at > 0 || !oneBit(a[n], b[n]):
			return
		default:
			at = mvcc.BytesToRev(a[n].Key).Main
		}
	}
	for _, e := range base.effects {
		if e.After == at && e.Before < at {
			p.Lo, p.Hi = min(p.Lo, e.Index), max(p.Hi, e.Index)
			p.Layers = append(p.Layers, "storage")
		}
	}
}

// oneBit tells whether two rows differ in one bit of the value or the lease.
func oneBit(a, b Row) bool {
	var x, y mvccpb.KeyValue
	if proto.Unmarshal(a.Value, &x) != nil || proto.Unmarshal(b.Value, &y) != nil || len(x.Value) != len(y.Value) {
		return false
	}
	n := bits.OnesCount64(uint64(x.Lease ^ y.Lease))
	for i := range x.Value {
		n += bits.OnesCount8(x.Value[i] ^ y.Value[i])
	}
	x.Value, x.Lease = y.Value, y.Lease
	return n == 1 && proto.Equal(&x, &y)
}

// neighbours tries entries next to the fault's, as long as they write the same, and further ones that do.
func (m *maker) neighbours(g *Fault, base *history, try func(*Fault) (bool, error)) error {
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == g.Index })
	for _, dir := range []int{-1, 1} {
		runs, apart := 0, false
		for k := n + dir; k >= 0 && k < len(base.effects) && runs < 12; k += dir {
			e := &base.effects[k]
			if e.After == e.Before {
				continue
			}
			runs++
			alike := sameContent(e.Rows, base.effects[n].Rows)
			if apart && (!alike || g.Kind != Skip && g.Kind != Refused) {
				continue
			}
			same, err := try(g.at(e.Index))
			if err != nil {
				return err
			}
			apart = apart || !same && !alike
		}
	}
	return nil
}

// leading tries to skip earlier entries that granted a lease, or changed auth or an alarm: that may have led to all that
// there is to see.
func (m *maker) leading(g *Fault, base *history, try func(*Fault) (bool, error)) error {
	if g.Kind == Half || g.Kind == Branch {
		return nil
	}
	runs := 0
	for _, e := range slices.Backward(base.effects) {
		if e.Index >= g.Index || e.Index == 0 || !e.Tables || runs == 16 {
			continue
		}
		switch layerOf(m.w.log[e.Index-1].Kind) {
		case "lease":
			if id := m.w.log[e.Index-1].Request.GetLeaseGrant().GetID(); id == 0 || !attaches(base, g.Index, id) {
				continue
			}
		case "auth", "alarm":
		default:
			continue
		}
		runs++
		s := g.at(e.Index)
		s.Kind, s.Count = Skip, 0
		if _, err := try(s); err != nil {
			return err
		}
	}
	return nil
}

// letting tries to skip the changes of auth and alarms around entries that were applied again: what these wrote may have been
// let through because of that, be it themselves the first time or later ones that write the same.
func (m *maker) letting(g *Fault, base *history, try func(*Fault) (bool, error)) error {
	if g.Kind != Twice && g.Kind != Replay {
		return nil
	}
	turns := func(e *Effect) bool {
		return e.Index > 0 && e.Tables && slices.Contains([]string{"auth", "alarm"}, layerOf(m.w.log[e.Index-1].Kind))
	}
	skip := func(e *Effect) error {
		s := g.at(e.Index)
		s.Kind, s.Count = Skip, 0
		_, err := try(s)
		return err
	}
	runs := 0
	for n := range base.effects {
		if e := &base.effects[n]; e.Index > g.Index && turns(e) && runs < 4 {
			runs++
			if err := skip(e); err != nil {
				return err
			}
		}
	}
	runs = 0
	for _, e := range slices.Backward(base.effects) {
		if e.Index <= g.Index && turns(&e) && runs < 4 {
			runs++
			if err := skip(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

// attaches tells whether an entry attaches a key to a lease.
func attaches(h *history, index uint64, lease int64) bool {
	return slices.ContainsFunc(h.effects, func(e Effect) bool {
		return e.Index == index && slices.ContainsFunc(e.Rows, func(r Row) bool { return strings.HasSuffix(content(r), fmt.Sprintf(" lease %d\n", lease)) })
	})
}

// led tries to skip the first entry that did not write what it should, or to apply one twice that writes what was
// written too much, with those that write the same: that may as well have gone wrong by itself.
func (m *maker) led(f *Fault, h, base *history, try func(*Fault) (bool, error)) error {
	a, b := h.made(), base.made()
	n := 0
	for n < min(len(a), len(b)) && a[n].Index == b[n].Index && sameContent(a[n].Rows, b[n].Rows) {
		n++
	}
	missing := len(a) < len(b)
	if err := m.letThrough(f, a, b, try); err != nil {
		return err
	}
	if missing == (len(a) > len(b)) || n == 0 && !missing {
		return nil
	}
	g := *f
	if g.Kind, g.Index = Skip, b[min(n, len(b)-1)].Index; !missing {
		g.Kind, g.Index = Twice, a[n-1].Index
	}
	same, err := try(&g)
	if err != nil || !same {
		return err
	}
	return m.neighbours(&g, base, try)
}

// letThrough tries to apply entries again which had an effect on a member only because one was left out: behind what would
// have lifted that, they have one as well.
func (m *maker) letThrough(f *Fault, made, base []Effect, try func(*Fault) (bool, error)) error {
	var first, last uint64
	for _, e := range made {
		if !slices.ContainsFunc(base, func(o Effect) bool { return o.Index == e.Index }) {
			if first == 0 {
				first = e.Index
			}
			if e.Index < first+64 { // those further on are what these led to
				last = e.Index
			}
		}
	}
	if first == 0 {
		return nil
	}
	var ends []uint64
	for end := last; end <= min(last+16, uint64(len(m.w.log))); end++ {
		ends = append(ends, end)
	}
	// What let others pass further on may be something else: a run may end behind any entry that lifts what refused the first.
	for x := first + 1; x < last && len(ends) < 32; x++ {
		if layer := m.layerAt(x); m.effect(x).Tables && (layer == "auth" || layer == "alarm") {
			ends = append(ends, x, x+1)
		}
	}
	for _, end := range ends {
		for d := range uint64(4) {
			g := f.at(first - min(d, first-1))
			g.Kind, g.Count = Replay, int(end-g.Index)+1
			if _, err := try(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// otherBranches tries the transactions around: one that should have had no effect may have taken the other branch, too.
func (m *maker) otherBranches(f *Fault, try func(*Fault) (bool, error)) error {
	for _, dir := range []int{-1, 1} {
		txns := 0
		for x := int(f.Index) + dir; x > 0 && x <= len(m.w.log) && txns < 8 && distance(uint64(x), f.Index) < 64; x += dir {
			if m.w.log[x-1].Request.GetTxn() == nil {
				continue
			}
			txns++
			g := f.at(uint64(x))
			g.Kind = Branch
			if _, err := try(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// letPass tries to let entries pass that were refused, from the last one before the fault's that had an effect up to the next:
// they may have written what the other branch did.
func (m *maker) letPass(f *Fault, h, base *history, try func(*Fault) (bool, error)) error {
	n := slices.IndexFunc(h.effects, func(e Effect) bool { return e.Index == f.Index })
	if n < 0 || h.effects[n].After == h.effects[n].Before {
		return nil
	}
	idle := func(x uint64) bool {
		return slices.ContainsFunc(base.effects, func(e Effect) bool { return e.Index == x && e.After == e.Before })
	}
	for _, dir := range []int{-1, 1} {
		for x := int(f.Index) + dir; x > 0 && x <= len(m.w.log) && idle(uint64(x)); x += dir {
			if e := &m.w.log[x-1]; !m.authOn(uint64(x)) || !mayWrite(e, h.effects[n].Rows) {
				continue
			}
			g := f.at(uint64(x))
			g.Kind = Permitted
			if _, err := try(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// windows tries other runs of entries.
func (m *maker) windows(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	var all []*Fault
	add := func(index uint64, count int) {
		if g := f.at(index); index > 0 && count > 0 {
			g.Count = count
			all = append(all, g)
		}
	}
	for d := uint64(1); d <= uint64(f.Count); d++ {
		add(f.Index+d, f.Count)
		add(f.Index-min(d, f.Index), f.Count)
	}
	// Ending at the same entry, beginning earlier.
	add(f.Index, f.Count)
	for d := uint64(1); d <= 8 && d < f.Index; d++ {
		add(f.Index-d, f.Count+int(d))
	}
	// Beginning at the same entry, ending at another.
	for d := 1; d <= 2; d++ {
		add(f.Index, f.Count-d)
		add(f.Index, f.Count+d)
	}
	// As many entries with an effect, or with one the second time, or one more that has none then, beginning at other ones.
	h := m.struck(f).hist
	for _, begin := range []uint64{f.Index, canonical(f, h, base)} {
		var at []uint64
		first, n := 0, 0
		for _, e := range base.effects {
			if e.Index > 0 && e.After > e.Before {
				if e.Index < begin {
					first++
				} else if e.Index < f.Index+uint64(f.Count) {
					n++
				}
				at = append(at, e.Index)
			}
		}
		for s := max(first-3, 0); s <= first+3; s++ {
			if s < len(at) && at[s] < f.Index {
				add(at[s], int(f.Index-at[s])+f.Count) // ending at the same entry
			}
			for k := max(n-1, 1); k <= n+1 && s+k <= len(at); k++ {
				add(at[s], int(at[s+k-1]-at[s])+1)
			}
		}
	}
	for _, g := range all {
		same, err := try(g)
		if err != nil {
			return err
		}
		// Ending at the same entry, beginning later.
		for d := 1; same && d <= 8 && d < g.Count; d++ {
			o := g.at(g.Index + uint64(d))
			o.Count = g.Count - d
			if _, err := try(o); err != nil {
				return err
			}
		}
	}
	return m.shifted(f, base, try)
}

// lost tries all other runs of entries that may have had no effect instead of the tail: behind one of them later entries may
// have written the same, or have wanted what it was to bring about.
func (m *maker) lost(p *Parting, f *Fault, base *history, try func(*Fault) (bool, error)) error {
	all, due := m.struck(f).hist.made(), base.made()
	for _, e := range base.effects {
		u := e.Index
		if p.Lo <= u && u <= p.Hi || u == 0 || !e.traced() || distance(u, f.Index) >= farthest {
			continue
		}
		before := slices.IndexFunc(due, func(e Effect) bool { return e.Index >= u })
		if before < 0 {
			before = len(due)
		}
		if before > len(all) || !slices.EqualFunc(all[:before], due[:before], func(a, b Effect) bool { return sameContent(a.Rows, b.Rows) }) {
			continue
		}
		gone := 0 // revisions that are lost with the run
		for v := u; v < f.Index+uint64(f.Count); v++ {
			if before+gone < len(due) && due[before+gone].Index == v {
				gone++
			}
			if gone > len(due)-len(all)+1 {
				break
			}
			if !mayFollow(m.w.log[v:f.Index+uint64(f.Count)-1], all[before:]) {
				continue
			}
			g := f.at(u)
			g.Count = int(v-u) + 1
			if p.Index <= v && traces(base, u, v) > traces(base, p.Index, f.Index+uint64(f.Count)-1) {
				simpler := false
				for _, from := range slices.Compact([]uint64{p.Index, f.Index}) { // a compaction before it may have been lost with it
					s := f.at(from)
					s.Count = int(v-from) + 1
					same, err := try(s)
					if err != nil {
						return err
					}
					simpler = simpler || same
				}
				if simpler { // less was lost, as one would think first
					lo := p.Lo
					_, err := try(g)
					p.widest, p.Lo = min(p.widest, p.Lo), lo
					if err != nil {
						return err
					}
					break
				}
			}
			if same, err := try(g); err != nil {
				return err
			} else if same {
				break
			}
		}
	}
	return nil
}

// traces is how many entries of a run left a trace.
func traces(h *history, first, last uint64) (n int) {
	for _, e := range h.effects {
		if first <= e.Index && e.Index <= last && e.traced() {
			n++
		}
	}
	return n
}

// mayFollow tells whether some entries may have made some revisions, one each, in order.
func mayFollow(entries []Entry, made []Effect) bool {
	for _, e := range made {
		n := slices.IndexFunc(entries, func(o Entry) bool { return mayWrite(&o, e.Rows) })
		if n < 0 {
			return false
		}
		entries = entries[n+1:]
	}
	return true
}

// repeated tries all runs of entries that may have made the revisions which the member has too many, whatever became of
// those in between: what is known already is left out.
func (m *maker) repeated(p *Parting, f *Fault, base *history, try func(*Fault) (bool, error)) error {
	x := m.struck(f)
	all, due := x.hist.made(), base.made()
	more, end := 0, 0               // revisions that were made again, and those up to the last of them
	seen, n := map[uint64]bool{}, 0 // those without an effect the first time, too
	for _, e := range x.hist.effects {
		if e.After > e.Before {
			if n++; seen[e.Index] {
				more, end = more+1, n
			}
		}
		seen[e.Index] = true
	}
	for at := range len(due) + 1 {
		if more == 0 || at >= len(all) || at > 0 && !sameContent(all[at-1].Rows, due[at-1].Rows) {
			return nil
		}
		// What was made again comes here if all up to the end of that is the same.
		if at+more < end && (end-more > len(due) || !slices.EqualFunc(all[at+more:end], due[at:end-more], func(a, b Effect) bool { return sameContent(a.Rows, b.Rows) })) {
			continue
		}
		first, next := uint64(1), x.sc.upTo+1
		if at > 0 {
			first = max(due[at-1].Index, 1)
		}
		if at < len(due) {
			next = due[at].Index
		}
		for v := first; v < next; v++ {
			for u := v; u > 0 && v-u < farthest; u-- {
				if p.Lo <= u && u <= p.Hi || distance(v, f.Index) >= farthest || !mayWrite(&m.w.log[u-1], all[at].Rows) {
					continue
				}
				begins := []uint64{u}
				if x := m.turnBefore(u); x > 0 { // it may have refused what came between
					begins = append(begins, x)
				}
				for _, b := range begins {
					g := f.at(b)
					g.Kind, g.Count = Replay, int(v-b)+1
					if _, err := try(g); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// turnBefore is the last entry before another one, not far from it, that changed permissions or an alarm, 0 if there is none.
func (m *maker) turnBefore(index uint64) uint64 {
	for x := index - 1; x > 0 && index-x <= 8; x-- {
		if layer := m.layerAt(x); m.effect(x).Tables && (layer == "auth" || layer == "alarm") {
			return x
		}
	}
	return 0
}

// repeatedTables tries all runs of entries that change the same table, as many as may have changed it once more.
func (m *maker) repeatedTables(p *Parting, f *Fault, base *history, try func(*Fault) (bool, error)) error {
	layer, more := m.layerAt(f.Index), 0
	seen := map[uint64]bool{}
	for _, e := range m.struck(f).hist.effects {
		if seen[e.Index] && e.Tables && m.layerAt(e.Index) == layer {
			more++
		}
		seen[e.Index] = true
	}
	var at []uint64
	for _, e := range base.effects {
		if e.Index > 0 && e.Tables && m.layerAt(e.Index) == layer {
			at = append(at, e.Index)
		}
	}
	for n, u := range at {
		if more == 0 || p.Lo <= u && u <= p.Hi {
			continue
		}
		for k := n + more - 1; k < min(n+more+maxIdle, len(at)); k++ {
			// Up to the last of them, or to just before the next: requests in between may have been let pass before.
			ends := []uint64{at[k], m.struck(f).sc.upTo}
			if k+1 < len(at) {
				ends[1] = at[k+1] - 1
			}
			same := false
			for _, v := range ends {
				g := f.at(u)
				g.Count = int(v-u) + 1
				ok, err := try(g)
				if err != nil {
					return err
				}
				same = same || ok
			}
			if same {
				break
			}
		}
	}
	return nil
}

// maxIdle is how many entries of a run may change nothing when they are applied again.
const maxIdle = 6

// farthest is how far away a run of entries is looked for.
const farthest = 64

// made are the effects that made a revision.
func (h *history) made() []Effect {
	return slices.DeleteFunc(slices.Clone(h.effects), func(e Effect) bool { return e.After == e.Before })
}

// mayWrite tells whether an entry may have written some rows, by their keys and, where it fixes it, by their content.
func mayWrite(e *Entry, rows []Row) bool {
	switch {
	case e.Request.GetPut() != nil:
		r := e.Request.Put
		if r.IgnoreLease || r.IgnoreValue {
			return len(rows) == 1 && keyOf(rows[0]) == string(r.Key)
		}
		return len(rows) == 1 && content(rows[0]) == fmt.Sprintf("put %q=%q lease %d\n", r.Key, r.Value, r.Lease)
	case e.Request.GetDeleteRange() != nil, e.Request.GetLeaseRevoke() != nil:
		return !slices.ContainsFunc(rows, func(r Row) bool { return !mvcc.IsTombstone(r.Key) })
	}
	return e.Request.GetTxn() != nil
}

// shifted tries replays of as many entries with an effect as a replay's, further and further away as long as they come to
// the same.
func (m *maker) shifted(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	var at []uint64
	first, n := 0, 0
	for _, e := range base.effects {
		if e.Index > 0 && e.After > e.Before {
			if e.Index < f.Index {
				first++
			} else if e.Index < f.Index+uint64(f.Count) {
				n++
			}
			at = append(at, e.Index)
		}
	}
	for _, dir := range []int{-1, 1} {
		for s := first + dir; n > 0 && s >= 0 && s+n <= len(at) && distance(uint64(s), uint64(first)) < 12; s += dir {
			g := f.at(at[s])
			g.Count = int(at[s+n-1]-at[s]) + 1
			if same, err := try(g); err != nil || !same {
				if err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// tails tries to lose an earlier entry instead of the first one of the tail that had an effect.
func (m *maker) tails(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	first := canonical(f, base, base)
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == first })
	for k := n - 1; k >= max(n-8, 0); k-- {
		e := &base.effects[k]
		if e.After == e.Before {
			continue
		}
		if !sameContent(e.Rows, base.effects[n].Rows) {
			break
		}
		g := *f
		g.Index, g.spare = e.Index, first
		g.Count = int(f.Index) + f.Count - int(e.Index)
		if _, err := try(&g); err != nil {
			return err
		}
	}
	return nil
}

// sameTable tries other entries that change the same table.
func (m *maker) sameTable(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	layer := layerOf(m.w.log[f.Index-1].Kind)
	var at []uint64
	for _, e := range base.effects {
		if e.Index > 0 && e.Index != f.Index && e.Tables && layerOf(m.w.log[e.Index-1].Kind) == layer {
			at = append(at, e.Index)
		}
	}
	slices.SortFunc(at, func(a, b uint64) int { return int(distance(a, f.Index)) - int(distance(b, f.Index)) })
	for _, j := range at[:min(len(at), 30)] {
		if _, err := try(f.at(j)); err != nil {
			return err
		}
	}
	begun := func(x *Member) bool { return x.wals.first == 1 }
	if layer != "auth" || f.Kind != Twice && f.Kind != Replay || !slices.ContainsFunc(m.c.Members, begun) {
		return nil
	}
	// An entry that changes nothing the second time may have come with it.
	order := slices.Sorted(slices.Values(append(slices.Clone(at), f.Index)))
	for _, j := range at[:min(len(at), 8)] {
		n := slices.Index(order, j)
		if n+1 >= len(order) || order[n+1]-j >= farthest {
			continue
		}
		g := f.at(j)
		g.Kind, g.Count = Replay, int(order[n+1]-j)+1
		if _, err := try(g); err != nil {
			return err
		}
	}
	// The second application may have come with other entries behind it. Where no log reaches back to the beginning, only the
	// ids of requests tell what was applied again, and they show where a process went on without a restart.
	end := f.Index + uint64(max(f.Count, 1)) - 1
	for _, j := range append(at[:min(len(at), 6)], f.Index) {
		for last := max(end-min(end, 4), j+1); last <= min(end+4, uint64(len(m.w.log))); last++ {
			g := f.at(j)
			g.Kind, g.Count = Replay, int(last-j)+1
			if _, err := try(g); err != nil {
				return err
			}
		}
	}
	return nil
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// like tells whether another run left the same as a member's, before that was edited.
func (h *history) like(member *history) bool {
	return h.compact == member.compact && h.dump.same(member.clean)
}

func (d dump) same(o dump) bool {
	if !sameRows(d["key"], o["key"]) {
		return false
	}
	for name := range family {
		if !sameRows(d[name], o[name]) && (name != "lease" || !sameLeases(d[name], o[name])) {
			return false
		}
	}
	return true
}

// sameLeases compares lease tables but for the times that remain: whether checkpoints set these is up to each member.
func sameLeases(a, b []Row) bool {
	return slices.EqualFunc(a, b, func(x, y Row) bool {
		var l, o leasepb.Lease
		if !bytes.Equal(x.Key, y.Key) || proto.Unmarshal(x.Value, &l) != nil || proto.Unmarshal(y.Value, &o) != nil {
			return false
		}
		return l.ID == o.ID && l.TTL == o.TTL
	})
}
