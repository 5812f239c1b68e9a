package relive

import (
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Kind is what goes wrong.
type Kind int

// The kinds.
const (
	Left   Kind = iota // the entries have no effect
	Banned             // no entry of a user has, from the first one on
	Again              // the entries are applied again, behind the last of them
	Branch             // a transaction takes the other branch
	Passed             // the entry is applied, though permissions refuse it
	Made               // the entry made what the db holds, be that what it should or not
	Edited             // the rows that the entry made were changed afterwards
	Extra              // a revision came behind the entry that none made
	Skewed             // a small table was changed otherwise than by an entry
)

// Fault is one thing that goes wrong.
type Fault struct {
	Kind        Kind
	First, Last uint64 // entries
	User        string // of Banned
	Tables      Tables // of Skewed
}

// Seen is a fault with what shows of it.
type Seen struct {
	Fault
	Index uint64 // the first entry that left a trace, or that should have
	Lost  int    // how many entries had no effect that should have had one
	Row   string // of Skewed: the row
	Bit   bool   // of Edited: one bit of one row was changed
	Like  bool   // of Made and Edited: the rows resemble what the entry was to make
}

// Says tells in a clause what happened.
func (f Fault) Says() string {
	entries, were := fmt.Sprintf("entry %d", f.First), "was"
	if f.Last > f.First {
		entries, were = fmt.Sprintf("entries %d to %d", f.First, f.Last), "were"
	}
	switch f.Kind {
	case Left:
		return entries + " had no effect"
	case Banned:
		return fmt.Sprintf("no request of user %q had an effect from entry %d on", f.User, f.First)
	case Again:
		return fmt.Sprintf("%s %s applied again", entries, were)
	case Branch:
		return fmt.Sprintf("%s took the other branch", entries)
	case Passed:
		return fmt.Sprintf("%s %s applied, though permissions refuse it", entries, were)
	case Made, Edited:
		return fmt.Sprintf("what %s wrote is not what it should be", entries)
	case Extra:
		return fmt.Sprintf("a revision behind %s was made by no entry", entries)
	}
	return "a small table was changed otherwise than by an entry"
}

// from is the first entry before which nothing is different because of the fault.
func (f *Fault) from() uint64 {
	switch f.Kind {
	case Again, Extra:
		return f.Last
	case Skewed:
		return never
	}
	return f.First
}

// step applies an entry with some faults, and tells whether that agrees with the db.
func (l *Life) step(index uint64, faults []Fault) bool {
	if !l.once(index, faults) {
		return false
	}
	for i := range faults {
		switch f := &faults[i]; {
		case f.Kind == Again && f.Last == index:
			if !l.again(f, i) {
				return false
			}
		case f.Kind == Extra && f.Last == index:
			was := l.now.revision
			if !l.take() {
				return false
			}
			l.note(0, was, align.Extra, false, nil)
		}
	}
	return true
}

// again applies the entries of a fault once more.
func (l *Life) again(f *Fault, n int) bool {
	var turned uint64
	made := false
	for x := f.First; x <= f.Last; x++ {
		r, was := l.request(x), l.now.revision
		want := l.wants(r, false)
		if l.turn(r, false) && turned == 0 {
			turned = x
		}
		if len(want) == 0 {
			l.note(x, was, align.Applied, true, nil)
			continue
		}
		if !l.make(want) {
			return false
		}
		l.note(x, was, align.Applied, true, nil)
		if !made {
			made, l.traces[n].first = true, x
		}
	}
	if !made {
		l.traces[n].first = turned
	}
	return true
}

// miss notes whether an entry that had no effect should have had one.
func (l *Life) miss(n int, index uint64, r *raftlog.Request) {
	was := l.now
	if want := l.wants(r, false); l.turn(r, false) || len(want) > 0 {
		t := &l.traces[n]
		if t.lost++; t.first == 0 {
			t.first = index
		}
	}
	l.now = was
}

// see tells what shows of faults that lead to what the db holds, and leaves out those of which one leaves no trace.
func (l *Life) see(solved [][]Fault) (seen [][]Seen) {
	for _, faults := range solved {
		l.back(&l.begin)
		l.seeing = true
		l.run(l.first, faults, nil)
		l.seeing = false
		if slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == Skewed && len(l.skewed(f.Tables)) != 1 }) {
			continue // more than one row that was changed otherwise than by an entry is more than one thing
		}
		var all []Seen
		for i, f := range faults {
			t := l.traces[i]
			if t.first == 0 && f.Kind != Left && f.Kind != Banned && f.Kind != Again {
				t.first = f.First
			}
			seen := Seen{Fault: f, Index: t.first, Lost: t.lost, Bit: t.bit, Like: t.like}
			if f.Kind == Skewed {
				seen.Row = l.skewed(f.Tables)[0]
			}
			all = append(all, seen)
		}
		if !slices.ContainsFunc(all, func(s Seen) bool { return s.Index == 0 }) {
			seen = append(seen, all)
		}
	}
	return seen
}

// once applies an entry for the first time.
func (l *Life) once(index uint64, faults []Fault) bool {
	r, was := l.request(index), l.now.revision
	for i := range faults {
		switch f := &faults[i]; {
		case f.Kind == Left && f.First <= index && index <= f.Last,
			f.Kind == Banned && f.First <= index && r.User == f.User:
			if l.seeing {
				l.miss(i, index, r)
			}
			if l.steps != nil {
				want, outcome := l.wants(r, false), align.Refused
				if len(want) == 0 {
					outcome = align.NoEffect
				}
				l.note(index, was, outcome, false, want)
			}
			return true
		case f.First != index:
		case f.Kind == Branch:
			return l.apply(index, swapped(r), align.OtherBranch, l.wants(r, false))
		case f.Kind == Passed:
			return l.apply(index, r, align.Permitted, nil)
		case f.Kind == Made, f.Kind == Edited:
			want := l.wants(r, false)
			if f.Kind == Edited && len(want) == 0 || !l.known() {
				return false
			}
			l.turn(r, false)
			if f.Kind == Made {
				l.take()
			} else {
				l.push(want)
			}
			rows := l.group(l.now.revision)
			l.traces[i].bit = f.Kind == Edited && align.Flipped(want, rows)
			l.traces[i].like = align.Resembles(want, rows)
			l.note(index, was, align.Altered, false, want)
			return true
		}
	}
	return l.apply(index, r, align.Applied, nil)
}

// known tells whether the db shows the next revision, and agrees with what there is before it.
func (l *Life) known() bool {
	r := l.now.revision + 1
	return r > l.m.Compact && r <= l.m.Revision && (l.now.revision > l.m.Compact || l.compacted())
}

// take makes the next revision as the db holds it.
func (l *Life) take() bool {
	if !l.known() {
		return false
	}
	rows := l.group(l.now.revision + 1)
	changes := make([]align.Change, len(rows))
	var kv mvcc.KeyValue
	for i := range rows {
		if kv.Decode(rows[i].Value) != nil {
			return false
		}
		changes[i] = align.Change{
			Delete: rows[i].Tombstone, Key: string(kv.Key), Value: kv.Value, Lease: kv.Lease, Create: kv.Create, Version: kv.Version,
		}
	}
	l.push(changes)
	return true
}

// swapped is a transaction with its branches exchanged.
func swapped(r *raftlog.Request) *raftlog.Request {
	t := r.Internal.GetTxn()
	if t == nil {
		return r
	}
	c := *r
	c.Internal = &pb.InternalRaftRequest{Header: r.Internal.Header, Txn: &pb.TxnRequest{Compare: t.Compare, Success: t.Failure, Failure: t.Success}}
	return &c
}

// Reproduces tells whether some faults lead to what the db holds.
func (l *Life) Reproduces(faults []Fault) bool {
	l.back(&l.begin)
	return l.run(l.first, faults, nil) == 0
}

// run applies all entries from one on, and returns the first at which that does not agree with the db: the one behind the last if
// it is what is there in the end, 0 if all agrees. It notes the moment before each entry.
func (l *Life) run(from uint64, faults []Fault, note func(index uint64)) uint64 {
	l.now.skewed = 0
	l.traces = append(l.traces[:0], make([]trace, len(faults))...)
	for i := range faults {
		if faults[i].Kind == Skewed {
			l.now.skewed |= faults[i].Tables
		}
	}
	for x := from; x < l.end(); x++ {
		if note != nil {
			note(x)
		}
		if l.budget--; !l.step(x, faults) {
			return x
		}
	}
	if note != nil {
		note(l.end())
	}
	if !l.ended() {
		return l.end()
	}
	return 0
}

// Steps are what each entry does with some faults.
func (l *Life) Steps(faults []Seen) []align.Step {
	l.back(&l.begin)
	l.steps = []align.Step{}
	var fs []Fault
	for _, f := range faults {
		fs = append(fs, f.Fault)
	}
	l.run(l.first, fs, nil)
	steps := l.steps
	l.steps = nil
	return steps
}

// note notes a step, if these are wanted.
func (l *Life) note(index uint64, was int64, outcome align.Outcome, again bool, want []align.Change) {
	if l.steps == nil {
		return
	}
	s := align.Step{Index: index, Outcome: outcome, Again: again}
	if l.now.revision > was {
		s.Revision = l.now.revision
	} else if outcome == align.Applied {
		s.Outcome = align.NoEffect
	}
	switch outcome {
	case align.Applied, align.NoEffect:
	case align.Altered:
		s.Outcome, s.Detail = align.Difference(want, l.group(s.Revision))
		s.Predicted = want
	default:
		s.Predicted = want
	}
	l.steps = append(l.steps, s)
}
