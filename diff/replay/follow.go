package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	etcdserver "go.etcd.io/etcd/server/v3/etcdserver/errors"

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
	// Align returns the steps of the member's alignment behind a place, in order. Permitted tells of some entries whether
	// the rules let them do anything, which an alignment by itself may not know.
	Align func(from align.From, permitted map[uint64]bool) []align.Step
	// Told are its steps in order, if they are known otherwise, and Changed the entries among them of which the rows were changed later:
	// what came next met what they had written.
	Told    []align.Step
	Changed map[uint64]bool
}

// follower is a member that is being followed.
type follower struct {
	*Own
	g    *engine
	tr   *Trail
	lead *lead // of revisions that the member has compacted, nil once that is compared
	last uint64
	// good is the last place at which the rules made what the member has, since lists what they made of the entries
	// behind it, none of which made a revision.
	good  align.From
	since map[uint64]*Effect
	// refuted is what the rules made of the first entry that did something else on the member.
	refuted *Effect
	// told is an account that alone says what the member made of which entry, nil if there is none.
	told []align.Step
}

// Follow takes a member's entries one after the other, each on the state that the member had, and notes where it did
// something else than the rules do; from there on its own rows count. Entries must follow st without a gap. As long as
// the rules make just the rows that the member has, nothing else is asked; then the alignment tells what it did instead.
// Revisions that the member has compacted are compared by what survived; if that differs, the trail ends there.
//
// A row that the rules make may be one that a later entry wrote alike: to take it for the earlier one's then leaves the
// later ones without theirs. So where several entries depart, what is told, or the alignment, is followed from the start as well, and the
// trail of the fewer departures is returned.
func Follow(ctx context.Context, st *State, entries []align.Entry, own *Own, rules Rules, opts Options) (*Trail, error) {
	if err := contiguous(st, entries); err != nil {
		return nil, err
	}
	tr, err := follow(ctx, st, entries, own, rules, opts, nil)
	if err != nil || tr.Gap != nil || len(tr.Departures) < 2 {
		return tr, err
	}
	if st.Revision >= own.Compact {
		steps := own.Told
		if steps == nil {
			steps = own.Align(align.From{Index: st.Index, Revision: st.Revision}, nil)
		}
		if other, err := follow(ctx, st, entries, own, rules, opts, steps); err == nil && other.Gap == nil && len(other.Departures) < len(tr.Departures) {
			tr = other
		}
	}
	return tr, ctx.Err()
}

func follow(ctx context.Context, st *State, entries []align.Entry, own *Own, rules Rules, opts Options, told []align.Step) (*Trail, error) {
	tr := &Trail{Rules: rules.Name, Notes: st.Notes}
	err := inCopy(ctx, st, touchedBy(entries), rules, opts.TempDir, func(g *engine) error {
		f := &follower{
			Own: own, g: g, tr: tr, last: st.Index, told: told,
			good: align.From{Index: st.Index, Revision: st.Revision}, since: map[uint64]*Effect{},
		}
		if st.Revision < own.Compact {
			f.lead = newLead(st)
		}
		tick := func(done int) {
			if opts.Progress != nil && (done%256 == 0 || done == len(entries)) {
				opts.Progress(done, len(entries))
			}
		}
		departed := told != nil && f.lead == nil
		if !departed {
			var err error
			if departed, err = f.unaided(ctx, entries, tick); err != nil || tr.Gap != nil {
				return err
			}
		}
		if !departed && f.lead != nil {
			if tr.Gap = f.lead.compare(own.Rows, min(own.Compact, own.Last), f.last); tr.Gap != nil {
				return nil
			}
			f.lead = nil
		}
		if departed || g.kv.Rev() < own.Last {
			if err := f.aligned(ctx, entries, tick); err != nil {
				return err
			}
		}
		var err error
		tr.Final, err = g.final()
		return err
	})
	return tr, err
}

// unaided follows entries as long as the rules make what the member has, and tells whether it departed.
func (f *follower) unaided(ctx context.Context, entries []align.Entry, tick func(done int)) (departed bool, err error) {
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if same, err := f.plain(&entries[i]); err != nil || !same {
			return err == nil, err
		}
		tick(i + 1)
	}
	return false, nil
}

// plain applies an entry and tells whether it made what the member has. If it did not, it is as if it had not been
// applied.
func (f *follower) plain(e *align.Entry) (same bool, err error) {
	before := f.g.kv.Rev()
	held := f.held(e)
	fx, err := f.g.apply(e)
	if err != nil {
		return false, err
	}
	if f.lead != nil {
		if fx.Revision <= f.Compact {
			f.lead.see(fx)
			f.last = e.Index
			f.agree(fx)
			return true, nil
		}
		gap := f.lead.compare(f.Rows, f.Compact, e.Index)
		if f.lead = nil; gap != nil {
			f.tr.Gap = gap
			return false, nil
		}
		if f.told != nil {
			return false, f.undo(fx, before, held)
		}
	}
	if fx.Revision > 0 && !align.Same(fx.Changes, f.Rows.Group(fx.Revision)) {
		f.refuted = fx
		return false, f.undo(fx, before, held)
	}
	f.last = e.Index
	f.agree(fx)
	return true, nil
}

// agree notes that an entry did what the member has.
func (f *follower) agree(fx *Effect) {
	f.tr.agree(fx)
	if fx.Revision == 0 {
		f.since[fx.Index] = fx
		return
	}
	f.good = align.From{Index: fx.Index, Revision: fx.Revision}
	clear(f.since)
}

// held is the lease that an entry revokes, if it is there; 0 otherwise.
func (f *follower) held(e *align.Entry) int64 {
	if in := e.Request().Internal; in != nil && in.LeaseRevoke != nil && f.g.lessor.Lookup(leaseID(in.LeaseRevoke.ID)) != nil {
		return in.LeaseRevoke.ID
	}
	return 0
}

// undo takes back what an entry made.
func (f *follower) undo(fx *Effect, before, held int64) error {
	return f.g.adopt(fx, before, nil, held, held != 0)
}

// aligned goes on behind the last good place by what the alignment says.
func (f *follower) aligned(ctx context.Context, entries []align.Entry, tick func(done int)) error {
	byIndex := make(map[uint64]int, len(entries))
	for i := range entries {
		byIndex[entries[i].Index] = i
	}
	f.last = f.good.Index
	permitted := map[uint64]bool{}
	if f.refuted != nil {
		permitted[f.refuted.Index] = true
	}
	for index, fx := range f.since {
		// What asks to keep a value that is not there is permitted: another branch of the transaction may be fine.
		if fx.Err != nil && !errors.Is(fx.Err, etcdserver.ErrKeyNotFound) {
			permitted[index] = false
		}
	}
	var steps []align.Step
	if f.told != nil {
		steps = slices.DeleteFunc(slices.Clone(f.told), func(s align.Step) bool {
			return s.Index > 0 && s.Index <= f.good.Index || s.Revision > 0 && s.Revision <= f.good.Revision
		})
	} else {
		steps = f.Align(f.good, permitted)
	}
	if len(steps) == 0 && f.g.kv.Rev() < f.Last {
		return fmt.Errorf("what the member did behind entry %d cannot be told", f.good.Index)
	}
	for i := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &steps[i]
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
		if err := f.step(s, &entries[n]); err != nil {
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
func (f *follower) extra(s *align.Step) error {
	if s.Revision <= f.g.kv.Rev() {
		return nil // an entry made it after all
	}
	f.tr.depart(Departure{Index: f.last, Revision: s.Revision, Extra: true})
	return f.g.adopt(nil, s.Revision, f.Rows.Group(s.Revision), 0, false)
}

func (f *follower) step(s *align.Step, e *align.Entry) error {
	before := f.g.kv.Rev()
	if s.Again && s.Revision <= before {
		return nil // without effect, or taken for another entry's
	}
	held := f.held(e)
	fx, done := f.since[s.Index]
	if done && !s.Again {
		delete(f.since, s.Index)
	} else {
		var err error
		if fx, err = f.g.apply(e); err != nil {
			return err
		}
	}
	made := int64(0) // the revision that the member made of it
	switch {
	case f.told != nil && s.Revision <= before: // nothing, though a row may look like it
	case fx.Revision > 0 && align.Same(fx.Changes, f.Rows.Group(fx.Revision)):
		made = fx.Revision
	case fx.Revision > 0 && fx.Revision < f.Last && len(f.Rows.Group(fx.Revision)) == 0:
		made = fx.Revision // its rows are lost
	case s.Revision > before && (fx.Revision > 0 || len(f.Rows.Group(s.Revision)) > 0):
		made = s.Revision
	}
	rows := f.Rows.Group(made)
	same := fx.Revision == made && (made == 0 || align.Same(fx.Changes, rows))
	switch {
	case same && s.Again:
		f.tr.depart(Departure{Index: s.Index, Revision: made, Ran: *fx, Again: true})
		return nil
	case same:
		if !done {
			f.tr.agree(fx)
		}
		return nil
	}
	if done {
		f.tr.Entries--
	}
	f.tr.depart(Departure{Index: s.Index, Revision: made, Ran: *fx, Again: s.Again})
	if made == fx.Revision && made > 0 && (len(rows) == 0 || f.told != nil && f.Changed[s.Index]) {
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
