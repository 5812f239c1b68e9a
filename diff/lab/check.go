package lab

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/diff"
)

// Problem is one way in which a document is not the truth.
type Problem struct {
	Kind string // for statistics
	Text string
}

func (p Problem) String() string { return p.Kind + ": " + p.Text }

// Result is what the check of a document found.
type Result struct {
	Problems []Problem
	// Exact, Interval and Unnamed count partings by how they were told, Absent those that were not required to be.
	Exact, Interval, Unnamed, Absent int
	// Keyless is 1 if not all keys that differ are listed, because those of some members are said not to be known.
	Keyless int
	// Why says why an entry was not named exactly, for statistics.
	Why []string
}

func (r *Result) fail(kind, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{kind, fmt.Sprintf(format, args...)})
}

// Check compares a document with the truth.
func (c *Case) Check(d *diff.Document) *Result {
	if d.Verdict == diff.Indeterminate && c.doubted(d) {
		return &Result{}
	}
	if d.Explained {
		return c.explained(d)
	}
	r := &Result{}
	t := c.Truth
	switch {
	case !t.Strangers || d.Verdict == diff.Diverged:
	case d.Verdict != diff.Indeterminate && d.Verdict != diff.NotComparable:
		r.fail("missed", "verdict %q, though some members show nothing that others show", d.Verdict)
		return r
	case !slices.ContainsFunc(t.Partings, func(p *Parting) bool { return p.Required && p.Named }):
		return r
	}
	if d.Verdict == diff.Consistent {
		for _, m := range d.Members {
			if d.Common.Index > m.ConsistentIndex {
				// A restart would apply again what lies between.
				r.fail("missed", "verdict %q up to entry %d, though the consistent index of %s is %d", d.Verdict, d.Common.Index, m.Label, m.ConsistentIndex)
			}
		}
	}
	if t.Verdict != "" && string(d.Verdict) != t.Verdict {
		kind := "missed"
		if t.Verdict == "consistent" {
			kind = "false alarm"
		}
		r.fail(kind, "verdict %q, want %q, reasons %q", d.Verdict, t.Verdict, d.Reasons)
		if kind == "missed" {
			return r
		}
	}
	used := make([]bool, len(d.Divergences))
	// What need not be told must not be taken to be told by what another parting is to be told by.
	for _, required := range []bool{true, false} {
		for n, p := range t.Partings {
			if p.Required == required {
				c.parting(r, d, n, p, used)
			}
		}
	}
	for i, v := range d.Divergences {
		if !used[i] && !c.excused(&v) {
			kind := "false cause"
			if len(t.Partings) == 0 {
				kind = "false alarm"
			}
			r.fail(kind, "%s", tell(&v))
		}
	}
	c.keys(r, d)
	c.leases(r, d)
	return r
}

// excused tells whether a divergence that belongs to no parting is a true statement all the same.
func (c *Case) excused(v *diff.Divergence) bool {
	for _, p := range c.Truth.Partings {
		if p.lonely {
			if p.toldBy(v) {
				return true
			}
			continue
		}
		if !p.Named && (v.Entry == nil || p.why != "") || !p.Required {
			return true
		}
		if len(p.also) > 0 && (v.EntryInterval != nil && v.EntryInterval.First >= p.Lo && v.EntryInterval.Last <= p.Hi || v.Entry != nil && v.Entry.Index >= p.Lo && v.Entry.Index <= p.Hi) {
			return true
		}
		if in := v.EntryInterval; len(p.also) > 0 && in != nil && in.First <= p.Index && p.Index <= in.Last && c.mayBeAlso(p, in) {
			return true
		}
		if v.Entry != nil && p.Others[v.Entry.Index] {
			return true
		}
		if p.shifted && v.Entry == nil {
			return true
		}
		// Tables and keys may be told apart, if both parted at the entry.
		if v.Entry != nil && v.Entry.Index == p.Index || slices.Contains(p.Layers, string(v.Layer)) && v.Layer != diff.LayerApply && v.Layer != diff.LayerStorage && v.Layer != diff.LayerLog {
			return true
		}
	}
	return c.Truth.Behind
}

func tell(v *diff.Divergence) string {
	s := string(v.Layer)
	if v.Entry != nil {
		s += fmt.Sprintf(" entry %d %s", v.Entry.Index, v.Entry.Type)
	}
	if v.EntryInterval != nil {
		s += fmt.Sprintf(" entries %d to %d", v.EntryInterval.First, v.EntryInterval.Last)
	}
	if v.RevisionInterval != nil {
		s += fmt.Sprintf(" revisions %d to %d", v.RevisionInterval.First, v.RevisionInterval.Last)
	}
	return s + fmt.Sprintf(" revision %d groups %v: %s", v.Revision, v.Groups, v.What)
}

func tellAll(d *diff.Document) string {
	var ss []string
	for i := range d.Divergences {
		ss = append(ss, tell(&d.Divergences[i]))
	}
	return "[" + strings.Join(ss, "; ") + "]"
}

// parting looks for the divergence that tells a parting.
func (c *Case) parting(r *Result, d *diff.Document, n int, p *Parting, used []bool) {
	told := func(v diff.Divergence) bool { return p.toldBy(&v) }
	best := -1
	// By what may be its revision, by what is told of an entry rather than without one, and in a layer of its own rather than
	// in another.
	if p.Named && p.Required && len(p.also) == 0 {
		for _, exact := range []bool{true, false} {
			if best < 0 {
				best = unused(d.Divergences, used, func(v diff.Divergence) bool {
					return told(v) && slices.Contains(p.Layers, string(v.Layer)) && p.parts(&v) && (v.Entry != nil) == exact
				})
			}
		}
	}
	for _, held := range []bool{true, false} {
		for _, at := range []bool{true, false} {
			for _, own := range []bool{true, false} {
				if best < 0 {
					best = unused(d.Divergences, used, func(v diff.Divergence) bool {
						return told(v) && (!held || v.RevisionInterval == nil || p.Revision == 0 || p.within(&v)) &&
							(!at || v.Entry != nil || v.EntryInterval != nil) && (!own || slices.Contains(p.Layers, string(v.Layer)))
					})
				}
			}
		}
	}
	if p.Purged && p.Revision == 0 {
		// It made no revision: its table tells.
		if table := unused(d.Divergences, used, func(v diff.Divergence) bool {
			return told(v) && p.inTable(&v)
		}); table >= 0 {
			best = table
		}
	}
	if p.Fault.Kind.table() {
		// What another parting is to be told by is left to that one, if there is anything else.
		if free := unused(d.Divergences, used, func(v diff.Divergence) bool { return told(v) && !c.claimed(&v, p) }); free >= 0 || !p.Required {
			best = free
		}
		// An entry that is named may be another fault's of the same table, if the edit is told without one.
		plain := unused(d.Divergences, used, func(v diff.Divergence) bool { return told(v) && v.Entry == nil && v.EntryInterval == nil })
		if plain >= 0 {
			best = plain
		}
	}
	if best < 0 {
		switch {
		case !p.Required:
			r.Absent++
			return
		case p.Fault.Lease != 0 && p.Fault.Kind.table() && len(c.Truth.Partings) > 1 && slices.ContainsFunc(d.Leases, func(l diff.LeaseDiff) bool { return int64(l.ID) == p.Fault.Lease }):
			return // listed, if only as one more lease that differs
		case !p.Named && (p.Fault.Kind != Extra || p.why != "") && !p.Fault.Kind.table():
			// Any answer without an entry will do that is not another parting's.
			best = slices.IndexFunc(d.Divergences, func(v diff.Divergence) bool {
				return v.Entry == nil && (v.EntryInterval == nil || v.RevisionInterval != nil) && v.Layer != diff.LayerLog
			})
			if best >= 0 && used[best] || best < 0 && !p.Purged {
				return
			}
			if best < 0 {
				r.fail("second cause lost", "want %s, entry %d in no log, got %s", p.Fault, p.Index, tellAll(d))
				return
			}
		default:
			kind := "wrong entry"
			if n > 0 {
				kind = "second cause lost"
			} else if len(d.Divergences) > 0 && d.Divergences[0].Entry == nil && d.Divergences[0].EntryInterval == nil {
				kind = "no entry"
			}
			r.fail(kind, "want %s entry %d (%d to %d), got %s", p.Fault, p.Index, p.Lo, p.Hi, tellAll(d))
			return
		}
	}
	used[best] = true
	v := &d.Divergences[best]
	if n == 0 && p.Required && p.Named && slices.ContainsFunc(d.Divergences[:best], func(v diff.Divergence) bool { return !p.mayLieAt(&v) && !c.mayPrecede(p, &v) }) {
		r.fail("order", "the first parting is told as number %d: %s", best+1, tellAll(d))
	}
	switch {
	case v.Entry != nil:
		r.Exact++
		if p.Purged && !p.Fault.Kind.table() {
			r.fail("entry not in log", "%s, but entry %d is in no log", tell(v), v.Entry.Index)
		}
	case v.EntryInterval != nil:
		r.Interval++
		if p.Index > 0 && !p.Fault.Kind.table() && p.Fault.Kind != Extra && (p.Index < v.EntryInterval.First || p.Index > v.EntryInterval.Last) {
			r.fail("interval misses", "%s, want %d in it", tell(v), p.Index)
		}
		if p.Named && len(p.also) == 0 && !c.mayLie(r, p, v.EntryInterval) {
			r.fail("interval too wide", "%s, want %d to %d", tell(v), p.Lo, p.Hi)
		}
	default:
		r.Unnamed++
	}
	if v.Entry == nil {
		r.Why = append(r.Why, p.reason(v))
	}
	if p.Named && p.Required && v.Entry == nil && v.EntryInterval == nil {
		r.fail("no entry", "want entry %d, got %s", p.Index, tell(v))
	}
	if p.Named && len(p.also) == 0 && v.Entry != nil && p.Lo != p.Hi && (!p.restarted || v.Entry.Index != p.Index) && !c.simplest(r, p, v.Entry.Index) {
		r.fail("interval too narrow", "%s, want %d to %d", tell(v), p.Lo, p.Hi)
	}
	if !p.Named && (p.compacted || p.Purged) && v.RevisionInterval != nil && p.Revision > 0 && !p.within(v) {
		r.fail("revision interval", "%s, want %d", tell(v), p.Revision)
	}
	// Where two faults of which no log tells left as many revisions, the rows show one parting, and it is the tables that show the other.
	byRows := func(o diff.Divergence) bool { return o.RevisionInterval != nil && p.within(&o) }
	if p.Purged && p.Required && p.Revision > 0 && v.Entry == nil && p.Fault.Kind != Extra && !p.Fault.Kind.table() && v.RevisionInterval == nil &&
		!(p.inTable(v) && slices.ContainsFunc(d.Divergences, byRows)) {
		r.fail("no revision interval", "%s, want %d in it", tell(v), p.Revision)
	}
	if n == 0 && p.Named && p.Lo == p.Hi && v.Entry != nil && p.why == "" && len(c.Truth.Partings) == 1 && len(c.Faults) == 1 && p.Revision > 0 && v.Revision != p.Revision {
		r.fail("revision", "%s, want %d", tell(v), p.Revision)
	}
	if p.Layers != nil && p.Named && !slices.Contains(p.Layers, string(v.Layer)) {
		r.fail("layer", "want %v, got %s (%s)", p.Layers, tell(v), p.Fault)
	}
	if p.Required && (p.Named || p.Fault.Kind == Extra && p.why == "") {
		c.groups(r, d, p, v)
	}
}

// mayPrecede tells whether a divergence tells another parting at the same entry as a parting, or whose entry cannot be told from ones
// before it.
func (c *Case) mayPrecede(p *Parting, v *diff.Divergence) bool {
	return slices.ContainsFunc(c.Truth.Partings, func(o *Parting) bool {
		in := v.EntryInterval
		return o != p && o.toldBy(v) && (o.Index == p.Index || in != nil && o.Named && o.lowest() <= min(p.Index, in.First))
	})
}

// mayBeAlso tells whether one of several faults at an entry leaves the same as something at either end of an interval.
func (c *Case) mayBeAlso(p *Parting, in *diff.Interval) bool {
	return slices.ContainsFunc(append([]*Fault{p.Fault}, p.also...), func(f *Fault) bool {
		for _, x := range []uint64{in.First, in.Last} {
			if ok, err := c.tries.instead(f, x); (!ok || err != nil) && x != f.Index {
				return false
			}
		}
		return true
	})
}

// simplest tells whether an entry that had no effect leaves by itself the same as the ban of a user did.
func (c *Case) simplest(r *Result, p *Parting, index uint64) bool {
	if p.Fault.Kind != Banned {
		return false
	}
	ok, err := c.tries.leaves(p.Fault, []*Fault{{Kind: Skip, Members: p.Fault.Members, Index: index}})
	if err != nil {
		r.fail("error", "entry %d left out instead of %s: %v", index, p.Fault, err)
	}
	return ok
}

// mayLie tells whether both ends of an interval are entries that a parting's cannot be told from. Those that were not tried when the
// truth was made are tried now.
func (c *Case) mayLie(r *Result, p *Parting, in *diff.Interval) bool {
	for _, x := range []uint64{in.First, in.Last} {
		if p.lowest() <= x && x <= p.Hi {
			continue
		}
		ok, err := c.tries.instead(p.Fault, x)
		if err != nil {
			r.fail("error", "entry %d instead of %s: %v", x, p.Fault, err)
		}
		if !ok {
			return false
		}
	}
	return true
}

// claimed tells whether another parting must be told by a divergence's entry.
func (c *Case) claimed(v *diff.Divergence, p *Parting) bool {
	return slices.ContainsFunc(c.Truth.Partings, func(o *Parting) bool {
		in := v.EntryInterval
		return o != p && o.Required && o.Named && !o.Fault.Kind.table() &&
			(v.Entry != nil && o.Lo <= v.Entry.Index && v.Entry.Index <= o.Hi || in != nil && in.First <= o.Index && o.Index <= in.Last)
	})
}

// unused is the first divergence that no other parting has been told by, -1 if none will do.
func unused(ds []diff.Divergence, used []bool, ok func(diff.Divergence) bool) int {
	for i, v := range ds {
		if !used[i] && ok(v) {
			return i
		}
	}
	return -1
}

// within tells whether the revision interval of a divergence holds the revision of the entry on one of its members.
func (p *Parting) within(v *diff.Divergence) bool {
	in := func(r int64) bool { return v.RevisionInterval.First <= r && r <= v.RevisionInterval.Last }
	return in(p.Revision) || slices.ContainsFunc(slices.Concat(v.Groups...), func(l string) bool { return in(p.revisions[l]) })
}

// reason is why the entry of a parting was not named exactly.
func (p *Parting) reason(v *diff.Divergence) string {
	switch {
	case p.Purged:
		return "purged everywhere"
	case p.why != "" && !p.Named:
		return p.why
	case p.Fault.Kind == Extra:
		return "no entry made the revision"
	case p.Fault.Kind.table():
		return "a table was edited"
	case v.EntryInterval != nil && p.Lo != p.Hi:
		return "interval: other entries come to the same"
	case v.EntryInterval != nil:
		return "interval: only to the tool"
	}
	return "named nothing"
}

func (p *Parting) lowest() uint64 {
	if p.widest > 0 {
		return min(p.widest, p.Lo)
	}
	return p.Lo
}

// toldBy tells whether a divergence can be the one of the parting.
func (p *Parting) toldBy(v *diff.Divergence) bool {
	switch {
	case p.Fault.Kind.table():
		// An entry may be named that would have come to the same: a grant that was skipped, an auth entry applied twice.
		return slices.Contains(p.Layers, string(v.Layer))
	case p.Fault.Kind == Extra && p.why == "":
		return v.Entry == nil && v.Revision == p.Revision
	case v.Entry != nil:
		return v.Entry.Index >= p.Lo && v.Entry.Index <= p.Hi
	case v.EntryInterval != nil:
		return v.EntryInterval.First <= p.Index && p.Index <= v.EntryInterval.Last
	}
	return p.why != "" && !p.Named || p.inTable(v)
}

// inTable tells whether a divergence is of a small table that the parting shows in.
func (p *Parting) inTable(v *diff.Divergence) bool {
	return slices.Contains(p.Layers, string(v.Layer)) && v.Layer != diff.LayerApply && v.Layer != diff.LayerStorage
}

// mayLieAt tells whether a divergence names an entry that the parting's cannot be told from.
func (p *Parting) mayLieAt(v *diff.Divergence) bool {
	return v.Entry != nil && p.Lo <= v.Entry.Index && v.Entry.Index <= p.Hi
}

// strip leaves out of groups the members that may be missing from them.
func (p *Parting) strip(gs [][]string) [][]string {
	var out [][]string
	for _, g := range gs {
		var h []string
		for _, l := range g {
			if !slices.Contains(p.Unknown, l) {
				h = append(h, l)
			}
		}
		out = append(out, h)
	}
	return bySize(out...)
}

// parts tells whether a divergence has the groups of the parting.
func (p *Parting) parts(v *diff.Divergence) bool {
	return slices.EqualFunc(p.strip(p.Groups), p.strip(v.Groups), slices.Equal[[]string])
}

func (c *Case) groups(r *Result, d *diff.Document, p *Parting, v *diff.Divergence) {
	want, got := p.strip(p.Groups), p.strip(v.Groups)
	if leftOut(d) || p.shifted || len(p.also) > 0 && p.Lo != p.Hi {
		return // several things befell one of several entries: who agrees with whom depends on which
	}
	// What befell several at the same entry, or one thing that shows differently on its members, may be told as several things.
	apart := (len(p.also) > 0 || len(want) > 2) && toldApart(d, p.Index, want, func(a, b string) bool { return c.befallen(p, a) != c.befallen(p, b) })
	if !slices.EqualFunc(want, got, slices.Equal[[]string]) && !apart {
		r.fail("groups", "want %v, got %s (%s)", want, tell(v), p.Fault)
		return
	}
	all := 0
	for _, g := range v.Groups {
		all += len(g)
	}
	if len(v.Groups) > 1 && (v.Minority == nil) != (2*len(v.Groups[0]) <= all) {
		r.fail("minority", "%v of %v", v.Minority, v.Groups)
	}
}

// befallen is which of the faults of a parting befell a member, a bit each.
func (c *Case) befallen(p *Parting, label string) (faults uint) {
	i := slices.IndexFunc(c.Members, func(x *Member) bool { return x.Label == label })
	for n, f := range append([]*Fault{p.Fault}, p.also...) {
		if f.on(i) {
			faults |= 1 << n
		}
	}
	return faults
}

// toldApart tells whether the divergences at an entry, each of which may be one of several faults there, together tell just
// those members apart that are to be. Those that other faults befell may be, too.
func toldApart(d *diff.Document, index uint64, want [][]string, may func(a, b string) bool) bool {
	group := func(gs [][]string, l string) int {
		return slices.IndexFunc(gs, func(g []string) bool { return slices.Contains(g, l) })
	}
	all := slices.Concat(want...)
	for _, a := range all {
		for _, b := range all {
			apart := slices.ContainsFunc(d.Divergences, func(v diff.Divergence) bool {
				x, y := group(v.Groups, a), group(v.Groups, b)
				at := v.Entry != nil && v.Entry.Index == index || v.EntryInterval != nil && v.EntryInterval.First <= index && index <= v.EntryInterval.Last
				return at && x >= 0 && y >= 0 && x != y
			})
			if differ := group(want, a) != group(want, b); apart != differ && (differ || !may(a, b)) {
				return false
			}
		}
	}
	return true
}

func (c *Case) keys(r *Result, d *diff.Document) {
	if !c.Truth.KeysKnown || leftOut(d) {
		return
	}
	got := map[string]string{}
	for k := range d.Keys.Brief() {
		got[string(k.Key)] = k.Difference
	}
	if slices.Contains(d.NotCompared, "keys") && len(got) < len(c.Truth.Keys) {
		// Those of some members are said not to be known: what is listed must be true all the same.
		r.Keyless++
		for k := range got {
			if _, differs := c.Truth.Keys[k]; !differs {
				r.fail("keys", "%q is listed, and does not differ, common index %d", k, d.Common.Index)
			}
		}
		return
	}
	if !mapsEqual(got, c.Truth.Keys) {
		r.fail("keys", "want %v, got %v, common index %d", c.Truth.Keys, got, d.Common.Index)
	}
}

func (c *Case) leases(r *Result, d *diff.Document) {
	got := map[int64]bool{}
	for _, l := range d.Leases {
		got[int64(l.ID)] = true
		if _, ok := c.Truth.Leases[int64(l.ID)]; !ok {
			r.fail("leases", "%s is listed, and does not differ", l.ID)
		}
	}
	for id, must := range c.Truth.Leases {
		if must && !got[id] {
			r.fail("leases", "%016x differs, and is not listed", id)
		}
		if !got[id] && !slices.Contains(d.NotCompared, "leases") {
			r.fail("leases", "%016x differs, and is neither listed nor left out", id)
		}
	}
}
