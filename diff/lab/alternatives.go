package lab

import (
	"slices"
)

// alternatives runs the fault at other entries that may come to the same: where the db comes out the same, nothing tells
// which of them it was.
func (m *maker) alternatives(p *Parting, base *history) error {
	f := p.Fault
	x := m.struck(f)
	i := slices.Index(m.c.Members, x)
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
		if err != nil || !h.dump.same(x.hist.clean) {
			return false, err
		}
		// What one member cannot tell another may, if it stopped between the two entries or is compacted less.
		for _, j := range f.Members {
			o := m.c.Members[j]
			if j == i || o.hist.index < f.Index {
				continue
			}
			if h, err := m.rerun(j, instead); err != nil || !h.dump.same(o.hist.clean) {
				return false, err
			}
		}
		c := m.canonical(g, h, base)
		if f.Kind == LostTail && c >= f.Index && c < p.Index {
			c = p.Index // what was lost before left no trace
		}
		p.Lo, p.Hi = min(p.Lo, c), max(p.Hi, c)
		return true, nil
	}
	switch f.Kind {
	case LostTail:
		if err := m.tails(f, base, try); err != nil {
			return err
		}
		p.widest, p.Lo = p.Lo, p.Index // entries in a row are the simpler reading
		return m.windows(f, base, try)
	case Replay:
		return m.windows(f, base, try)
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
	if base.effects[n].After == base.effects[n].Before {
		return m.sameTable(&g, base, try)
	}
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

// windows tries other runs of entries.
func (m *maker) windows(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	var all []*Fault
	add := func(index uint64, count int) {
		if g := f.at(index); index > 0 && count > 0 {
			g.Count = count
			all = append(all, g)
		}
	}
	if f.Kind == LostTail {
		for d := uint64(1); d <= 8 && d < f.Index; d++ {
			add(f.Index-d, f.Count)
		}
	} else {
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
		for _, begin := range []uint64{f.Index, m.canonical(f, h, base)} {
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
	}
	for _, g := range all {
		same, err := try(g)
		if err != nil {
			return err
		}
		// Ending at the same entry, beginning later.
		for d := 1; same && f.Kind == Replay && d <= 8 && d < g.Count; d++ {
			o := g.at(g.Index + uint64(d))
			o.Count = g.Count - d
			if _, err := try(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// tails tries to lose an earlier entry instead of the first one of the tail that had an effect.
func (m *maker) tails(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	first := m.canonical(f, base, base)
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
