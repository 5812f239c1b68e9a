package diff

import (
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

func (c *contents) labels(members []int) []string {
	var ls []string
	for _, i := range members {
		ls = append(ls, c.ms[i].Label)
	}
	slices.Sort(ls)
	return ls
}

// find is an entry of a log, nil if it is not there.
func (h *history) find(index uint64) *effect.Entry {
	if e := find(h.entries, index); e != nil {
		return e
	}
	return find(h.pending, index)
}

// find returns the entry with an index, or nil.
func find(v []effect.Entry, index uint64) *effect.Entry {
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
func (c *contents) entry(i int, index uint64) *Entry {
	e := c.histories[i].find(index)
	if e == nil {
		return nil
	}
	r := e.Request()
	return &Entry{Index: e.Index, Term: e.Term, Type: r.Type, Summary: r.Summary(), User: r.User, Proposer: c.proposer(r)}
}

// proposer is the label of the member whose process proposed a request, or its id if none of the members here is it; empty if no table tells of
// it, nor of one that was removed.
func (c *contents) proposer(r *raftlog.Request) string {
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
			ids = append(ids, m.DB.Tables.MembersRemoved...)
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

// note says what is odd about what an entry did.
func note(odd *effect.Step, steps []*effect.Step) string {
	switch {
	case len(steps) > 1 || odd.Again:
		return "applied more than once"
	case odd.Outcome == effect.Refused:
		return "no effect, though by etcd's rules it should have had one"
	case odd.Outcome == effect.Permitted:
		return "applied, though permissions or an alarm refuse it by the rules of etcd 3.7"
	case odd.Outcome == effect.OtherBranch:
		return "took the other branch than its compares demand"
	case odd.Outcome == effect.Partial:
		return "only some of the changes"
	case odd.Outcome == effect.Lost:
		return "the revision was made, but its rows are gone"
	case odd.Outcome == effect.Altered:
		return "the stored row differs from the entry in its " + odd.Detail
	}
	return ""
}

// request is the entry as member i applied it, nil if nobody has it.
func (c *contents) request(i int, index uint64) *raftlog.Request {
	if e := c.histories[i].find(index); e != nil {
		return e.Request()
	}
	return nil
}
