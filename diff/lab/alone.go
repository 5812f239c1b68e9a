package lab

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// Lone is a member to be judged without the others.
type Lone struct {
	Label, Dir string
	// Base is a db of an earlier moment, saved before anything went wrong, empty if the log needs none.
	Base string
	// Marked is true if what went wrong left a trace in the member's data.
	Marked bool
	// Parting is what went wrong, nil if nothing did.
	Parting *Parting
	// replays tells whether another replay leaves the same, by running it.
	replays func(first, last uint64) (bool, error)
}

// Alone prepares the members of a case for that. Only cases with at most one fault can be asked: what a second one does to a
// member is told by no plan. Members whose log does not reach back to the fault are left out.
func (c *Case) Alone(dir string) ([]*Lone, error) {
	if len(c.Faults) > 1 {
		return nil, nil
	}
	var all []*Lone
	for i, x := range c.Members {
		l := &Lone{Label: x.Label, Dir: c.Dirs[i]}
		if slices.ContainsFunc(c.Faults, func(f *Fault) bool { return f.Kind == Behind && f.on(i) }) {
			continue // of which moment its tables are, nothing tells
		}
		if len(c.Faults) == 1 && c.Faults[0].on(i) && !c.Faults[0].consistent() {
			f := c.Faults[0]
			if f.Index > 0 && f.Index < x.wals.first {
				continue
			}
			if len(c.Truth.Partings) == 1 {
				l.Parting = c.Truth.Partings[0]
			}
			clean, err := x.clean(filepath.Join(dir, "clean-"+x.Label))
			if err != nil {
				return nil, err
			}
			l.replays = func(first, last uint64) (bool, error) {
				return x.replays(filepath.Join(dir, "replay-"+x.Label), first, last)
			}
			upTo := x.hist.at(x.hist.data())
			compact := x.hist.compact
			l.Marked = upTo != clean.at(clean.data()) || !sameRows(kept(x.hist.dump["key"], compact, upTo), kept(clean.dump["key"], compact, upTo)) ||
				slices.ContainsFunc(tablesDiffer(x.hist.dump, clean.dump), func(layer string) bool { return layer == "lease" || layer == "auth" || layer == "alarm" })
		}
		if x.wals.first > 1 {
			l.Base = filepath.Join(dir, "base-"+x.Label, "db")
			if err := x.base(l.Base, x.wals.first-1); err != nil {
				return nil, err
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// consistent tells whether log and db of the member agree in spite of the fault, which another member alone can tell.
func (f *Fault) consistent() bool { return f.Kind == Fork || f.Kind == Tamper }

// clean is the member as it would be without faults.
func (x *Member) clean(dir string) (*history, error) {
	s := x.sc
	s.db, s.faults = filepath.Join(dir, "db"), nil
	h, err := s.run()
	if err != nil {
		return nil, err
	}
	h.dump, err = readDump(s.db)
	return h, err
}

// replays tells whether the member would hold what it does if nothing had gone wrong but that some entries were applied again.
func (x *Member) replays(dir string, first, last uint64) (bool, error) {
	s := x.sc
	s.db, s.faults = filepath.Join(dir, "db"), []*Fault{{Kind: Replay, Index: first, Count: int(last-first) + 1}}
	h, err := s.run()
	if err != nil {
		return false, err
	}
	d, err := readDump(s.db)
	if err != nil {
		return false, err
	}
	left := func(d dump) []Row { return kept(d["key"], x.hist.compact, max(x.hist.rev, h.rev)) }
	return sameRows(left(d), left(x.hist.dump)) && len(tablesDiffer(d, x.hist.dump)) == 0, nil
}

// base writes the db that a member without faults has at an entry.
func (x *Member) base(db string, index uint64) error {
	s := x.sc
	s.db, s.faults, s.upTo, s.note, s.snap = db, nil, index, 0, 0
	_, err := s.run()
	return err
}

// Check compares what re-execution says about the member with what happened to it.
func (l *Lone) Check(d *diff.Document) (problem string) {
	if len(d.Reexecutions) == 0 && d.Members[0].Evidence != inspect.Whole {
		return "" // the copy may be torn, as the db of a member that lacks its last entries looks, too
	}
	if len(d.Reexecutions) != 1 {
		return fmt.Sprintf("%d re-executions", len(d.Reexecutions))
	}
	r := d.Reexecutions[0]
	switch {
	case r.Error != "" && !d.Members[0].Complete:
		return "" // a fault may tear the file
	case r.Error != "" && (!l.Marked || len(r.Departures) == 0):
		return "not run: " + r.Error
	case !l.Marked && !r.Clean:
		return fmt.Sprintf("departs at %s, though nothing is wrong with it", departures(r.Departures))
	case !l.Marked:
		return ""
	case r.Clean && l.Parting != nil && !l.Parting.Required:
		return "" // the data is that of an earlier index
	case r.Clean:
		return "is called clean"
	}
	p := l.Parting
	if p == nil || slices.ContainsFunc(p.Layers, func(s string) bool { return s == "auth" }) || p.Fault.Kind.table() {
		return "" // tables tell that they differ, and not always since when
	}
	x := r.Departures[0]
	switch lo := cmp.Or(p.widest, p.Lo); {
	case p.Fault.Kind == Extra && x.Revision == p.Revision: // which entry it came behind, nothing tells
	case x.Entry != nil && (x.Entry.Index >= min(p.Lo, lo) && x.Entry.Index <= p.Hi || p.Others[x.Entry.Index]):
	case x.EntryInterval != nil && x.EntryInterval.First <= p.Hi+uint64(p.Fault.Count) && x.EntryInterval.Last >= p.Lo: // a replay comes behind the last of its entries
	case p.Revision == 0 && x.Entry != nil && x.Entry.Index >= p.Lo: // an entry that made no row is seen by what follows from it
	case l.replayed(r.Departures): // what an earlier replay left, a later one may as well
	default:
		return fmt.Sprintf("departs at %s, want entry %d (%d to %d)", departures(r.Departures), p.Index, p.Lo, p.Hi)
	}
	return ""
}

// replayed tells whether departures are those of a replay that leaves the same.
func (l *Lone) replayed(ds []diff.ReDeparture) bool {
	for _, d := range ds {
		if d.Entry == nil || !strings.Contains(d.What, "a second time") {
			return false
		}
	}
	same, err := l.replays(ds[0].Entry.Index, ds[len(ds)-1].Entry.Index)
	return err == nil && same
}

func departures(ds []diff.ReDeparture) string {
	var s strings.Builder
	for _, d := range ds {
		switch {
		case d.Entry != nil:
			fmt.Fprintf(&s, "[entry %d: %s]", d.Entry.Index, d.What)
		case d.EntryInterval != nil:
			fmt.Fprintf(&s, "[entries %d to %d: %s]", d.EntryInterval.First, d.EntryInterval.Last, d.What)
		default:
			s.WriteString("[" + d.What + "]")
		}
	}
	return s.String()
}
