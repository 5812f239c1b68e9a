package replay

import (
	"context"
	"fmt"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
)

// Member is what a run is compared with.
type Member struct {
	Label string
	Rows  *mvcc.Table
	// Compact and Last are the member's compact and current revision.
	Compact, Last int64
	// Through is the last entry that its rows hold the effects of, Committed the last one that it knows to be committed:
	// up to 3.4 the index that is saved with the rows stays behind where entries change no key.
	Through, Committed uint64
}

// Match tells how a run compares with a member.
type Match struct {
	Label string
	// Entries is how many entries were compared: those that the member has applied, too.
	Entries int
	// Revisions were compared, Differ of them differ. Those that the member has compacted are left out.
	Revisions, Differ int
	// First is the entry that made the first revision that differs, FirstRevision that revision.
	First         uint64
	FirstRevision int64
}

// Exact tells whether the member holds just what the run made.
func (m *Match) Exact() bool { return m.Differ == 0 && m.Entries > 0 }

// String is "860 entries, 0 of 801 revisions differ".
func (m *Match) String() string {
	s := fmt.Sprintf("%d entries, %d of %d revisions differ", m.Entries, m.Differ, m.Revisions)
	if m.Differ > 0 {
		s += fmt.Sprintf(", first revision %d at entry %d", m.FirstRevision, m.First)
	}
	return s
}

func (m *Match) differs(index uint64, rev int64, n int) {
	if m.Differ == 0 {
		m.First, m.FirstRevision = index, rev
	}
	m.Differ += n
}

// matcher compares effects with one member as they come.
type matcher struct {
	Match
	m     *Member
	rev   int64 // of the run, at the last entry that the member has applied
	index uint64
	ended bool // an entry behind Through has changed keys
}

func (c *matcher) see(fx *Effect) {
	if fx.Index > c.m.Through {
		c.ended = c.ended || fx.Revision > 0
		if !c.ended && fx.Index <= c.m.Committed && !fx.Again {
			c.Entries++
		}
		return
	}
	c.index = fx.Index
	if !fx.Again {
		c.Entries++
	}
	if fx.Revision == 0 {
		return
	}
	c.rev = fx.Revision
	if fx.Revision <= c.m.Compact {
		return
	}
	c.Revisions++
	if !effect.Same(fx.Changes, c.m.Rows.Group(fx.Revision)) {
		c.differs(fx.Index, fx.Revision, 1)
	}
}

// done counts what the member has beyond the run.
func (c *matcher) done(last uint64) {
	if c.m.Through > last {
		return // the member went on
	}
	if n := c.m.Last - max(c.rev, c.m.Compact); n > 0 {
		c.Revisions += int(n)
		c.differs(c.index, max(c.rev, c.m.Compact)+1, int(n))
	}
}

// Compare runs entries under rules and compares what they make with each member.
func Compare(ctx context.Context, st *State, entries []effect.Entry, rules Rules, ms []Member, opts Options) (*Result, []Match, error) {
	cs := make([]*matcher, len(ms))
	for i := range ms {
		cs[i] = &matcher{Match: Match{Label: ms[i].Label}, m: &ms[i], rev: st.Revision, index: st.Index}
	}
	each := opts.Each
	opts.Each = func(fx *Effect) {
		for _, c := range cs {
			c.see(fx)
		}
		if each != nil {
			each(fx)
		}
	}
	res, err := Run(ctx, st, entries, rules, opts)
	if err != nil {
		return nil, nil, err
	}
	out := make([]Match, len(ms))
	for i, c := range cs {
		c.done(res.Last)
		out[i] = c.Match
	}
	return res, out, nil
}
