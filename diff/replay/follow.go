package replay

import (
	"context"
	"fmt"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
)

// Departure is an entry with which a member did something else than the rules do on the member's own state.
type Departure struct {
	Index uint64
	// Revision is what the member made of it, 0 if nothing.
	Revision int64
	// Ran is what the rules make of it on the same state.
	Ran Effect
	// Extra is true for a revision that no entry explains; Index is then the entry before it.
	Extra bool
	// Again is true where the member applied the entry a second time.
	Again bool
}

// Trail is how far a member follows rules, entry by entry, each on the member's own state.
type Trail struct {
	Rules string
	// Entries and Revisions agree with the rules.
	Entries, Revisions int
	Departures         []Departure
	// More is how many departures there are beyond those listed.
	More int
	// Final is the state in the end.
	Final Final
	Notes []string
}

// maxDepartures bounds how often a state is rebuilt: more of them have a rule behind them that was not run.
const maxDepartures = 2000

// Follow takes a member's entries one after the other, each on the state that the member had, and notes where it did
// something else than the rules do; from there on its own rows count. Steps are those of its alignment, in order,
// starting behind st.
func Follow(ctx context.Context, st *State, entries []align.Entry, steps []align.Step, rows *mvcc.Table, rules Rules, opts Options) (*Trail, error) {
	byIndex := make(map[uint64]*align.Entry, len(entries))
	for i := range entries {
		byIndex[entries[i].Index] = &entries[i]
	}
	tr := &Trail{Rules: rules.Name, Notes: st.Notes}
	err := inCopy(ctx, st, touchedBy(entries), rules, opts.TempDir, func(g *engine) error {
		last := st.Index
		for i := range steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := tr.step(g, &steps[i], byIndex[steps[i].Index], rows, last); err != nil {
				return err
			}
			if steps[i].Index > 0 {
				last = steps[i].Index
			}
			if tr.More > 0 {
				return fmt.Errorf("more than %d departures: the rules are not this member's", maxDepartures)
			}
			if opts.Progress != nil && (i%256 == 255 || i == len(steps)-1) {
				opts.Progress(i+1, len(steps))
			}
		}
		var err error
		tr.Final, err = g.final()
		return err
	})
	if err != nil {
		return nil, err
	}
	return tr, nil
}

func (tr *Trail) step(g *engine, s *align.Step, e *align.Entry, rows *mvcc.Table, last uint64) error {
	var want []mvcc.Row
	if s.Revision > 0 {
		want = rows.Group(s.Revision)
	}
	if s.Index == 0 {
		tr.depart(Departure{Index: last, Revision: s.Revision, Extra: true})
		return g.adopt(nil, s.Revision, want, 0, false)
	}
	if e == nil {
		return fmt.Errorf("%w: no log holds entry %d", ErrNoBase, s.Index)
	}
	leases := map[int64]bool{}
	if in := e.Request().Internal; in != nil && in.LeaseRevoke != nil {
		leases[in.LeaseRevoke.ID] = g.lessor.Lookup(leaseID(in.LeaseRevoke.ID)) != nil
	}
	before := g.kv.Rev()
	fx, err := g.apply(e)
	if err != nil {
		return err
	}
	same := fx.Revision == s.Revision && (s.Revision == 0 || align.Same(fx.Changes, want))
	if same && !s.Again {
		tr.Entries++
		if s.Revision > 0 {
			tr.Revisions++
		}
		return nil
	}
	tr.depart(Departure{Index: s.Index, Revision: s.Revision, Ran: *fx, Again: s.Again})
	if same {
		return nil
	}
	// A member that refused to revoke a lease has it still.
	for id, had := range leases {
		return g.adopt(fx, max(s.Revision, before), want, id, had && s.Revision == 0)
	}
	return g.adopt(fx, max(s.Revision, before), want, 0, false)
}

func (tr *Trail) depart(d Departure) {
	if len(tr.Departures) < maxDepartures {
		tr.Departures = append(tr.Departures, d)
	} else {
		tr.More++
	}
}
