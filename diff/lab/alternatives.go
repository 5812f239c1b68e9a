package lab

import (
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// alternatives runs the fault at other entries that may come to the same: where the db comes out the same, nothing tells
// which of them it was.
func (m *maker) alternatives(p *Parting, base *history) error {
	f := p.Fault
	x := m.struck(f)
	i := slices.Index(m.c.Members, x)
	p.restarted = f.Kind == Replay
	// try runs g instead of f.
	try := func(g *Fault) (bool, error) {
		last := g.Index + uint64(max(g.Count, 1)) - 1
		if g.Index <= uint64(m.n) || g.Kind == Replay && last > x.sc.upTo {
			return false, nil
		}
		if (g.Kind == Half || g.Kind == Branch) && m.w.log[g.Index-1].Request.GetTxn() == nil {
			return false, nil
		}
		instead := func(fs []*Fault) []*Fault {
			fs[slices.Index(fs, f)] = g
			return fs
		}
		h, err := m.rerun(i, instead)
		if err != nil || !h.like(x.hist) {
			return false, err
		}
		// What one member cannot tell another may, if it stopped between the two entries or is compacted less.
		for _, j := range f.Members {
			o := m.c.Members[j]
			if j == i || o.hist.index < f.Index {
				continue
			}
			if h, err := m.rerun(j, instead); err != nil || !h.like(o.hist) {
				return false, err
			}
		}
		c := canonical(g, h, base)
		wrote := func(e Effect) bool { return e.Index == c && e.After > e.Before }
		if f.Kind == LostTail && c < p.Index && (c >= f.Index || !slices.ContainsFunc(base.effects, wrote)) {
			c = p.Index // what was lost before left no trace
		}
		p.Lo, p.Hi = min(p.Lo, c), max(p.Hi, c)
		if c != p.Index && !slices.ContainsFunc(f.Members, func(j int) bool { return g.Kind == Replay && !m.mayRestart(j, last) }) {
			p.restarted = false
		}
		return true, nil
	}
	switch f.Kind {
	case LostTail:
		if err := m.tails(f, base, try); err != nil {
			return err
		}
		p.widest, p.Lo = p.Lo, p.Index // entries in a row are the simpler reading
		return m.lost(p, f, base, try)
	case Replay:
		if err := m.windows(f, base, try); err != nil {
			return err
		}
		if err := m.repeated(p, f, base, try); err != nil {
			return err
		}
		c := canonical(f, x.hist, base)
		if slices.ContainsFunc(base.effects, func(e Effect) bool { return e.Index == c && e.After > e.Before }) {
			return nil
		}
		return m.repeatedTables(p, f.at(c), base, try)
	case Extra:
		return nil
	}
	g := *f
	if f.Kind == Banned {
		// A ban on one request only is one that was skipped.
		g.Kind, g.Index = Skip, p.Index
		if same, err := try(&g); err != nil || !same {
			return err
		}
	}
	at := slices.IndexFunc(x.hist.effects, func(e Effect) bool { return e.Index == g.Index && (e.After > e.Before || e.Tables) })
	if at < 0 {
		g.Kind = Skip // it comes to that
	}
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == g.Index })
	if n < 0 || g.Kind == WrongLease {
		return nil
	}
	if g.Kind == Twice {
		r := g // and as a replay
		if r.Kind, r.Count = Replay, 1; f.Kind == Twice {
			if err := m.windows(&r, base, try); err != nil {
				return err
			}
			if err := m.repeated(p, &r, base, try); err != nil {
				return err
			}
		}
	}
	if g.Kind == Branch || g.Kind == Twice {
		if err := m.otherBranches(&g, try); err != nil {
			return err
		}
	}
	if base.effects[n].After == base.effects[n].Before {
		if err := m.sameTable(&g, base, try); err != nil {
			return err
		}
		return m.led(&g, x.hist, base, try)
	}
	if err := m.leading(&g, base, try); err != nil {
		return err
	}
	if err := m.letting(&g, base, try); err != nil {
		return err
	}
	return m.neighbours(&g, base, try)
}

// neighbours tries entries next to the fault's, as long as they write the same.
func (m *maker) neighbours(g *Fault, base *history, try func(*Fault) (bool, error)) error {
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == g.Index })
	for _, dir := range []int{-1, 1} {
		runs := 0
		for k := n + dir; k >= 0 && k < len(base.effects) && runs < 12; k += dir {
			e := &base.effects[k]
			if e.After == e.Before {
				continue
			}
			runs++
			same, err := try(g.at(e.Index))
			if err != nil {
				return err
			}
			if !same && !sameContent(e.Rows, base.effects[n].Rows) {
				break
			}
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

// letting tries to skip the changes of auth and alarms next behind an entry that was applied twice: a later one that writes
// the same may have been let through because of that.
func (m *maker) letting(g *Fault, base *history, try func(*Fault) (bool, error)) error {
	runs := 0
	for _, e := range base.effects {
		if g.Kind != Twice || e.Index <= g.Index || !e.Tables || runs == 4 || !slices.Contains([]string{"auth", "alarm"}, layerOf(m.w.log[e.Index-1].Kind)) {
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
	if missing == (len(a) > len(b)) || n == 0 {
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
	// As many entries with an effect, or with one the second time, beginning at other ones.
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
			for k := max(n-1, 1); k <= n && s+k <= len(at); k++ {
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
		for v := u; v < f.Index+uint64(f.Count); v++ {
			wrote := func(e Entry) bool { return mayWrite(&e, all[before].Rows) }
			if before < len(all) && !slices.ContainsFunc(m.w.log[v:f.Index+uint64(f.Count)-1], wrote) {
				continue
			}
			g := f.at(u)
			g.Count = int(v-u) + 1
			if same, err := try(g); err != nil || same {
				if err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// repeated tries all runs of entries that may have made the revisions which the member has too many, whatever became of
// those in between: what is known already is left out.
func (m *maker) repeated(p *Parting, f *Fault, base *history, try func(*Fault) (bool, error)) error {
	x := m.struck(f)
	all, due := x.hist.made(), base.made()
	more, end := 0, 0 // revisions that were made again, and those up to the last of them
	seen := map[uint64]bool{}
	for n, e := range all {
		if seen[e.Index] {
			more, end = more+1, n+1
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
				g := f.at(u)
				g.Kind, g.Count = Replay, int(v-u)+1
				if _, err := try(g); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
		for _, v := range at[min(n+more-1, len(at)):min(n+more+maxIdle, len(at))] {
			g := f.at(u)
			g.Count = int(v-u) + 1
			if same, err := try(g); err != nil || same {
				if err != nil {
					return err
				}
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
		if !sameRows(d[name], o[name]) {
			return false
		}
	}
	return true
}
