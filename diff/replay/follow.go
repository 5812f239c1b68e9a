package replay

import (
	"context"
	"fmt"

	"etcd-autopsy/diff/effect"
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
	// Gap is where it departed before its start, nil if it did not.
	Gap *Gap
	// More is how many departures there are beyond those listed.
	More int
	// Final is the state in the end.
	Final Final
	Notes []string
}

// maxDepartures bounds how often a state is rebuilt: more of them have a rule behind them that was not run.
const maxDepartures = 2000

// Own is what a member did with entries.
type Own struct {
	Rows *mvcc.Table
	// Compact and Last are the member's compact and current revision.
	Compact, Last int64
	// Told are its steps in order, nil if nothing explains what it did, and Changed the entries among them of which the rows were changed later:
	// what came next met what they had written.
	Told    []effect.Step
	Changed map[uint64]bool
}

// follower is a member that is being followed.
type follower struct {
	*Own
	g    *engine
	tr   *Trail
	lead *lead // of revisions that the member has compacted, nil once that is compared
	last uint64
}

// Follow takes a member's entries one after the other, each on the state that the member had, and notes where it did
// something else than the rules do; from there on its own rows count. Entries must follow st without a gap. What is told of the member says which
// row is which entry's: one that the rules make may be one that a later entry wrote alike. Where nothing is told, rows that are just what
// the rules make are taken for the entry's, and the trail ends at the first departure. Revisions that the member has compacted are compared by
// what survived; if that differs, the trail ends there.
func Follow(ctx context.Context, st *State, entries []effect.Entry, own *Own, rules Rules, opts Options) (*Trail, error) {
	if err := contiguous(st, entries); err != nil {
		return nil, err
	}
	tr := &Trail{Rules: rules.Name, Notes: st.Notes}
	err := inCopy(ctx, st, touchedBy(entries), rules, opts.TempDir, func(g *engine) error {
		f := &follower{Own: own, g: g, tr: tr, last: st.Index}
		if st.Revision < own.Compact {
			f.lead = newLead(st)
		}
		tick := func(done int) {
			if opts.Progress != nil && (done%256 == 0 || done == len(entries)) {
				opts.Progress(done, len(entries))
			}
		}
		follow := f.unaided
		if own.Told != nil {
			follow = f.told
		}
		if err := follow(ctx, entries, tick); err != nil || tr.Gap != nil {
			return err
		}
		if f.landed(); tr.Gap != nil {
			return nil
		}
		if g.kv.Rev() < own.Last {
			return fmt.Errorf("what the member did behind entry %d cannot be told", f.last)
		}
		var err error
		tr.Final, err = g.final()
		return err
	})
	if err != nil {
		return tr, err
	}
	return tr, ctx.Err()
}

// landed compares what survived of the revisions that the member has compacted, once they are made.
func (f *follower) landed() {
	if f.lead != nil {
		f.tr.Gap = f.lead.compare(f.Rows, min(f.Compact, f.Last), f.last)
		f.lead = nil
	}
}

// unaided follows entries as long as the rules make what the member has.
func (f *follower) unaided(ctx context.Context, entries []effect.Entry, tick func(done int)) error {
	for i := range entries {
		e := &entries[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		fx, err := f.g.apply(e)
		if err != nil {
			return err
		}
		if fx.Revision > f.Compact {
			if f.landed(); f.tr.Gap != nil {
				return nil
			}
		}
		switch {
		case f.lead != nil:
			f.lead.see(fx)
		case fx.Revision > 0 && !effect.Same(fx.Changes, f.Rows.Group(fx.Revision)):
			d := Departure{Index: fx.Index, Ran: *fx}
			if len(f.Rows.Group(fx.Revision)) > 0 {
				d.Revision = fx.Revision
			}
			f.tr.depart(d)
			return fmt.Errorf("what the member did behind entry %d cannot be told", f.last)
		}
		f.tr.agree(fx)
		f.last = e.Index
		tick(i + 1)
	}
	return nil
}

// held is the lease that an entry revokes, if it is there; 0 otherwise.
func (f *follower) held(e *effect.Entry) int64 {
	if in := e.Request().Internal; in != nil && in.LeaseRevoke != nil && f.g.lessor.Lookup(leaseID(in.LeaseRevoke.ID)) != nil {
		return in.LeaseRevoke.ID
	}
	return 0
}

// undo takes back what an entry made.
func (f *follower) undo(fx *Effect, before, held int64) error {
	return f.g.adopt(fx, before, nil, held, held != 0)
}

// told follows entries by what is told of the member.
func (f *follower) told(ctx context.Context, entries []effect.Entry, tick func(done int)) error {
	byIndex := make(map[uint64]int, len(entries))
	for i := range entries {
		byIndex[entries[i].Index] = i
	}
	for i := range f.Told {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &f.Told[i]
		if s.Revision > f.Compact {
			if f.landed(); f.tr.Gap != nil {
				return nil
			}
		}
		if s.Index == 0 {
			if err := f.extra(s); err != nil {
				return err
			}
			continue
		}
		n, ok := byIndex[s.Index]
		if !ok {
			if s.Again {
				continue // applied before the base was saved
			}
			return fmt.Errorf("%w: no log holds entry %d", ErrNoBase, s.Index)
		}
		step := f.step
		if f.lead != nil {
			step = f.compacted
		}
		if err := step(s, &entries[n]); err != nil {
			return err
		}
		f.last = s.Index
		if f.tr.More > 0 {
			return fmt.Errorf("more than %d departures: the rules are not this member's", maxDepartures)
		}
		tick(n + 1)
	}
	return nil
}

// extra is a revision that no entry made.
func (f *follower) extra(s *effect.Step) error {
	if s.Revision <= f.g.kv.Rev() {
		return nil // an entry made it after all
	}
	if f.lead != nil {
		return fmt.Errorf("no entry made revision %d, and what it was is compacted away", s.Revision)
	}
	f.tr.depart(Departure{Index: f.last, Revision: s.Revision, Extra: true})
	return f.g.adopt(nil, s.Revision, f.Rows.Group(s.Revision), 0, false)
}

// compacted is a step whose revision, if it made one, the member has compacted.
func (f *follower) compacted(s *effect.Step, e *effect.Entry) error {
	before, held := f.g.kv.Rev(), f.held(e)
	fx, err := f.g.apply(e)
	if err != nil {
		return err
	}
	switch {
	case s.Outcome == effect.Refused:
		f.tr.depart(Departure{Index: s.Index, Ran: *fx})
		return f.undo(fx, before, held)
	case (s.Revision > 0) != (fx.Revision > 0):
		f.tr.depart(Departure{Index: s.Index, Revision: s.Revision, Ran: *fx, Again: s.Again})
		return fmt.Errorf("what entry %d made of revision %d is compacted away", s.Index, max(s.Revision, fx.Revision))
	case s.Again && fx.Revision > 0:
		f.tr.depart(Departure{Index: s.Index, Revision: fx.Revision, Ran: *fx, Again: true})
	default:
		f.tr.agree(fx)
	}
	f.lead.see(fx)
	return nil
}

func (f *follower) step(s *effect.Step, e *effect.Entry) error {
	before := f.g.kv.Rev()
	if s.Again && s.Revision <= before {
		return nil // without effect
	}
	held := f.held(e)
	fx, err := f.g.apply(e)
	if err != nil {
		return err
	}
	made := int64(0) // the revision that the member made of it
	switch {
	case s.Revision <= before: // nothing, though a row may look like it
	case fx.Revision > 0 && effect.Same(fx.Changes, f.Rows.Group(fx.Revision)):
		made = fx.Revision
	case fx.Revision > 0 && fx.Revision < f.Last && len(f.Rows.Group(fx.Revision)) == 0:
		made = fx.Revision // its rows are lost
	case fx.Revision > 0 || len(f.Rows.Group(s.Revision)) > 0:
		made = s.Revision
	}
	rows := f.Rows.Group(made)
	same := fx.Revision == made && (made == 0 || effect.Same(fx.Changes, rows))
	switch {
	case same && s.Again:
		f.tr.depart(Departure{Index: s.Index, Revision: made, Ran: *fx, Again: true})
		return nil
	case same:
		f.tr.agree(fx)
		return nil
	}
	f.tr.depart(Departure{Index: s.Index, Revision: made, Ran: *fx, Again: s.Again})
	if made == fx.Revision && made > 0 && (len(rows) == 0 || f.Changed[s.Index]) {
		return nil // they were lost or changed afterwards: what came next met what they held
	}
	if made == 0 {
		// A member that refused to revoke a lease has it still.
		return f.undo(fx, before, held)
	}
	return f.g.adopt(fx, made, rows, held, false)
}

func (tr *Trail) agree(fx *Effect) {
	tr.Entries++
	if fx.Revision > 0 {
		tr.Revisions++
	}
}

func (tr *Trail) depart(d Departure) {
	if len(tr.Departures) < maxDepartures {
		tr.Departures = append(tr.Departures, d)
	} else {
		tr.More++
	}
}
