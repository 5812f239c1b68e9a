package diff

import (
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

func (c *comparison) labels(members []int) []string {
	var ls []string
	for _, i := range members {
		ls = append(ls, c.ms[i].Label)
	}
	slices.Sort(ls)
	return ls
}

// find returns the entry with an index, or nil.
func find(v []align.Entry, index uint64) *align.Entry {
	for lo, hi := 0, len(v); lo < hi; {
		mid := (lo + hi) / 2
		switch {
		case v[mid].Index == index:
			return &v[mid]
		case v[mid].Index < index:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// entry describes the entry that member i has at index, nil if it is in no log.
func (c *comparison) entry(i int, index uint64) *Entry {
	e := find(c.views[i].entries, index)
	if e == nil {
		return nil
	}
	r := e.Request()
	return &Entry{Index: e.Index, Term: e.Term, Type: r.Type, Summary: r.Summary(), User: r.User, Proposer: c.proposer(r)}
}

// proposer is the label of the member whose process proposed a request, or its id if none of the members here is it.
func (c *comparison) proposer(r *raftlog.Request) string {
	if r.ID == 0 {
		return ""
	}
	var ids []uint64
	for _, m := range c.all {
		if m.Log.HasMetadata {
			ids = append(ids, m.Log.NodeID)
		}
		if m.DB != nil {
			for _, x := range m.DB.Tables.Members {
				ids = append(ids, x.ID)
			}
		}
	}
	slices.Sort(ids)
	id, ok := raftlog.Proposer(r.ID).Member(slices.Compact(ids))
	if !ok {
		return ""
	}
	for _, m := range c.all {
		if m.Log.HasMetadata && m.Log.NodeID == id {
			return m.Label
		}
	}
	return ID(id).String()
}

func changes(rows []mvcc.Row) []Change {
	var cs []Change
	var kv mvcc.KeyValue
	for i := range rows {
		r := &rows[i]
		if kv.Decode(r.Value) != nil {
			continue
		}
		ch := Change{Op: "put", Key: Key(kv.Key), Lease: ID(uint64(kv.Lease))}
		if r.Tombstone {
			ch = Change{Op: "delete", Key: Key(kv.Key)}
		}
		cs = append(cs, ch)
	}
	return cs
}

// describe writes down what an entry did on each group of members.
func (c *comparison) describe(k *cause, es []effects) []Effect {
	var all []Effect
	for _, g := range k.groups {
		i := g[0]
		if n := slices.IndexFunc(g, func(j int) bool { return es[j].odd() == nil }); n >= 0 {
			i = g[n] // what went wrong on the others is told by itself
		}
		e := Effect{Members: c.labels(g), Changes: changes(es[i].rows)}
		for _, s := range es[i].steps {
			if s.Revision > 0 {
				e.Revision = s.Revision // the last one, if it was applied again
			}
		}
		if s := es[i].odd(); s != nil && slices.Contains(k.odd, i) {
			e.Note = note(s, es[i].steps)
		}
		if e.Revision == 0 && k.revision > 0 {
			e.Instead = c.instead(i, k.revision)
		}
		all = append(all, e)
	}
	return all
}

func note(odd *align.Step, steps []*align.Step) string {
	switch {
	case len(steps) > 1 || odd.Again:
		return "applied more than once"
	case odd.Outcome == align.Refused:
		return "no effect, though by etcd's rules it should have had one"
	case odd.Outcome == align.Permitted:
		return "applied, though permissions or an alarm refuse it by the rules of etcd 3.3 and later"
	case odd.Outcome == align.OtherBranch:
		return "took the other branch than its compares demand"
	case odd.Outcome == align.Partial:
		return "only some of the changes"
	case odd.Outcome == align.Lost:
		return "the revision was made, but its rows are gone"
	case odd.Outcome == align.Altered:
		return "the stored row differs from the entry in its " + odd.Detail
	}
	return ""
}

// instead is what made revision main on member i.
func (c *comparison) instead(i int, main int64) *Instead {
	rows := c.ms[i].DB.Rows.Group(main)
	if len(rows) == 0 {
		return nil
	}
	in := &Instead{Revision: main, Changes: changes(rows)}
	c.traces[i].steps(func(s *align.Step) {
		if s.Revision == main && s.Index > 0 {
			in.Entry = c.entry(i, s.Index)
		}
	})
	return in
}
