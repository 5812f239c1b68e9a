package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
)

// cause is a divergence before it is written down. Members are indexes into comparison.ms.
type cause struct {
	unpinned bool // it rests on the revision before the first entry that is left, which nothing tells
	layer    Layer
	index    uint64 // entry, 0 if none
	interval *Interval
	revision int64
	groups   [][]int
	outcome  align.Outcome
	again    bool
	odd      []int // members that did what etcd's rules do not predict
	tellers  []int // members whose logs hold the entry, if others' do not
	entries  []uint64
	what     string
	rule     *rule   // what all entries of this cause have in common, if a rule it is
	origin   *origin // what kept its later entries from an effect, or let them have one, if it is that
	effects  []Effect
	keys     []string
	leases   []int64
	between  *RevisionInterval
	latest   int64    // the newest row of the key of which all are the oldest, 0 if it does not bound what made the difference
	instead  []uint64 // earlier entries that may have been left out instead, which led to this one's effect
	toEnd    bool     // none of the later entries of its kind had an effect either
	upTo     uint64   // the last entry that a revision without one may have come behind
	tale     *tale    // the fault that it is, nil if no fault of a member's own log is known
	of       *cause   // what this one is a consequence of
}

// effects is what one entry did on one member.
type effects struct {
	known bool // the member has reached the entry, and its log and rows could be aligned there
	steps []*align.Step
	rows  []mvcc.Row
}

// findCauses walks all entries in order. Where members did different things with the same entry, and one of them did not
// do what its own state demands, they part; where each did what its own state demands, that is a consequence.
func (c *comparison) findCauses() {
	c.logCauses()
	byIndex := make([]map[uint64][]*align.Step, len(c.ms))
	var extras []*cause
	var first, again uint64 // entry of which it is known what it did, and one that was applied again
	for i, t := range c.traces {
		byIndex[i] = map[uint64][]*align.Step{}
		var prev, begin uint64 // the entry before, and the first one that made a revision
		run := len(extras)     // where the revisions without an entry begin that lie just before
		asked := 0             // how many of them were held against the whole log
		open := run            // where those begin behind which no entry made one yet
		place := func() {
			for ; open < len(extras); open++ {
				extras[open].upTo = prev
			}
		}
		t.steps(func(s *align.Step) {
			if s.Index > 0 {
				if s.Revision > 0 {
					place()
				}
				byIndex[i][s.Index] = append(byIndex[i][s.Index], s)
				prev = s.Index
				if begin == 0 && s.Revision > 0 {
					begin = s.Index
				}
				if s.Again && (again == 0 || s.Index < again) {
					again = s.Index
				}
				if s.Again && s.Index == begin && s.Revision > 0 && run < len(extras) && t.first() > 1 {
					extras = append(extras[:run], c.begunBefore(extras[run], t.first()))
				}
				if s.Revision > 0 || !s.Again {
					run = len(extras)
				}
				return
			}
			// Before any entry of the log has made one, those that the log does not hold any more may as well have made it.
			opens := begin == 0 && t.first() > 1
			if opens && asked < maxUnmade {
				asked++
				opens = !c.ofNone(i, s.Revision)
			}
			if s.Outcome == align.Unread || opens && c.partedAt(s.Revision) {
				return // told as a row that differs
			}
			extras = append(extras, c.extra(i, s, prev, opens))
		})
		place()
		if f := t.first(); f > 0 && (first == 0 || f < first) {
			first = f
		}
	}
	c.extraCauses(extras)
	if first == 0 {
		return
	}
	var all []*cause
	alone := make([]map[uint64]bystanders, len(c.ms))
	if again > 0 {
		first = min(first, again)
	}
	for _, index := range c.indexes(first) {
		es := make([]effects, len(c.ms))
		var reached []int
		for i := range c.ms {
			es[i] = c.effectsOf(i, index, byIndex[i][index])
			es[i].known = es[i].known || c.onlyOnce(i, index, byIndex)
			if es[i].known && c.vouched(i) {
				reached = append(reached, i)
			}
		}
		sides := c.histories(reached, index)
		for _, same := range sides {
			if len(same) < 2 {
				if i := same[0]; len(c.ms) > 1 && es[i].odd() != nil {
					if alone[i] == nil {
						alone[i] = map[uint64]bystanders{}
					}
					alone[i][index] = c.bystanders(i, index, reached)
				}
				continue
			}
			for _, k := range c.causesAt(index, same, es) {
				switch {
				case c.sameOtherwise(k):
					c.misread = append(c.misread, k)
				case !c.madeOtherwise(k):
					all = append(all, k)
				}
			}
		}
	}
	for i, at := range alone {
		if len(at) > 0 {
			all = append(all, c.aloneCauses(i, at)...)
		}
	}
	slices.SortStableFunc(all, func(a, b *cause) int { return cmp.Compare(a.index, b.index) })
	merged := c.merge(all)
	for _, k := range merged {
		if !c.joins(k, merged) {
			c.causes = append(c.causes, k)
		}
	}
}

// vouched tells whether what member i did with an entry can be held against others. Where rows could not be read, what
// its state demanded is not known, so that only a difference in rows that were read makes it a party.
func (c *comparison) vouched(i int) bool {
	if len(c.ms[i].DB.Rows.Holes()) == 0 {
		return true
	}
	return slices.ContainsFunc(c.parts, func(p parting) bool {
		k := slices.IndexFunc(p.groups, func(g []int) bool { return slices.Contains(g, i) })
		return k >= 0
	})
}

// sortCauses puts them in the order of the log.
func (c *comparison) sortCauses() {
	slices.SortStableFunc(c.causes, func(a, b *cause) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.revision, b.revision))
	})
}

// order puts causes in the order of the log; those without an entry behind all that they may follow.
func (k *cause) order() uint64 {
	if k.index > 0 {
		return k.index
	}
	if len(k.entries) > 0 {
		return max(k.entries[0], k.upTo)
	}
	if k.revision > 0 {
		return 0 // rows from before the log
	}
	return math.MaxUint64 // a table, of no known time
}

// indexes are all entries that any member has, from first on.
func (c *comparison) indexes(first uint64) []uint64 {
	var all []uint64
	for n, h := range c.views {
		if slices.Contains(c.views[:n], h) {
			continue
		}
		for i := range h.entries {
			if x := h.entries[i].Index; x >= first {
				all = append(all, x)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// histories splits members by the entry they hold at index. Logs that differ at one entry and are the same behind it were
// tampered with, or are damaged in a way that checksums do not show.
func (c *comparison) histories(members []int, index uint64) [][]int {
	return partition(members, func(i, j int) bool {
		if index < c.logs.parted(i, j) {
			return true
		}
		a, b := find(c.views[i].entries, index), find(c.views[j].entries, index)
		return a != nil && b != nil && a.Raw != nil && b.Raw != nil && sameEntry(a.Raw, b.Raw)
	})
}

// bystanders are the members that have come to an entry which one alone shows. hidden is true if they hold it, too, but not what
// they made of it.
type bystanders struct {
	members []int
	hidden  bool
}

// bystanders are those if member i alone shows an entry among those that were compared: behind a fork those that show another
// one, otherwise all that have applied it.
func (c *comparison) bystanders(i int, index uint64, compared []int) bystanders {
	if rest := slices.DeleteFunc(slices.Clone(compared), func(j int) bool { return j == i }); len(rest) > 0 {
		return bystanders{members: rest}
	}
	o := bystanders{hidden: true}
	for j, m := range c.ms {
		if j != i && index < c.logs.parted(i, j) && index <= m.DB.Tables.ConsistentIndex && c.vouched(j) {
			o.members = append(o.members, j)
		}
	}
	return o
}

// aloneCauses are those of a member that alone shows some entries, because the logs had forked, or because the others have
// compacted what they made of them: what it did with these that its own log does not demand.
func (c *comparison) aloneCauses(i int, at map[uint64]bystanders) []*cause {
	var all []*cause
	for _, k := range c.ownCauses(i) {
		o, ok := at[k.index]
		if !ok || c.withheld(k) {
			continue
		}
		switch {
		case !o.hidden:
			k.groups = append(k.groups, o.members)
			sortGroups(k.groups)
		case len(o.members) > 0:
			k.effects = append(k.effects, Effect{Members: c.labels(o.members), Note: "what it did there is compacted away"})
		}
		all = append(all, k)
	}
	return all
}

// onlyOnce tells whether member i, of which it is not known what an entry did that came before what its rows tell, is known not to
// have applied it again where another member did.
func (c *comparison) onlyOnce(i int, index uint64, byIndex []map[uint64][]*align.Step) bool {
	return index < c.traces[i].first() && slices.ContainsFunc(byIndex, func(of map[uint64][]*align.Step) bool {
		steps := of[index]
		return len(steps) > 0 && steps[0].Again && steps[0].Revision > c.ms[i].DB.CompactRevision()
	})
}

func (c *comparison) effectsOf(i int, index uint64, steps []*align.Step) effects {
	e := effects{steps: steps, known: len(steps) > 0}
	for _, s := range steps {
		if s.Outcome == align.Unread || s.Revision > 0 && s.Revision <= c.ms[i].DB.CompactRevision() {
			e.known = false // not there to be compared
		}
	}
	return e
}

// load reads the rows that the steps made.
func (c *comparison) load(i int, e *effects) {
	for _, s := range e.steps {
		if s.Revision > 0 {
			e.rows = append(e.rows, c.ms[i].DB.Rows.Group(s.Revision)...)
		}
	}
}

// plain tells whether members did the same with an entry, without a look at the rows: nothing odd, and a revision that
// is the same on all of them, or none.
func (c *comparison) plain(members []int, es []effects) bool {
	for _, i := range members {
		steps, first := es[i].steps, es[members[0]].steps
		if len(steps) != 1 || steps[0].Revision != first[0].Revision || steps[0].Again || steps[0].Anomalous() {
			return false
		}
	}
	_, differs := slices.BinarySearch(c.differing, es[members[0]].steps[0].Revision)
	return !differs
}

func (e *effects) odd() *align.Step {
	for _, s := range e.steps {
		if s.Anomalous() {
			return s
		}
	}
	return nil
}

// causesAt compares what members with the same log did with one entry. That some applied it again is one thing, that others
// gave it no effect or another is a second one, and what was stored otherwise a third.
func (c *comparison) causesAt(index uint64, members []int, es []effects) []*cause {
	if c.plain(members, es) {
		return nil
	}
	for _, i := range members {
		c.load(i, &es[i])
	}
	same := partition(members, func(i, j int) bool { return sameEffects(&es[i], &es[j]) })
	if len(same) < 2 {
		return nil
	}
	var row, again, stored, once []int
	for _, i := range members {
		switch {
		case es[i].odd() == nil:
		case es[i].repeated() && c.beginsRow(i, index):
			row = append(row, i)
		case es[i].repeated():
			again = append(again, i)
		case es[i].stored():
			stored = append(stored, i)
		default:
			once = append(once, i)
		}
	}
	if len(row)+len(again)+len(stored)+len(once) == 0 || followed(members, es) {
		c.doc.Counts.Consequences++
		return nil
	}
	var all []*cause
	for _, odd := range [][]int{once, stored, again, row} {
		if len(odd) > 0 {
			all = append(all, c.causeAt(index, members, odd, es))
		}
	}
	return all
}

// beginsRow tells whether member i applied several entries in a row again, the first of which is this one.
func (c *comparison) beginsRow(i int, index uint64) bool {
	if c.rowsAgain == nil {
		c.rowsAgain = make([]map[uint64]bool, len(c.ms))
	}
	if c.rowsAgain[i] == nil {
		c.rowsAgain[i] = map[uint64]bool{}
		var first uint64
		before := false
		c.traces[i].steps(func(s *align.Step) {
			if s.Revision == 0 {
				return
			}
			if first > 0 && s.Again {
				c.rowsAgain[i][first] = true
			}
			if first = 0; s.Again && !before {
				first = s.Index
			}
			before = s.Again
		})
	}
	return c.rowsAgain[i][index]
}

// causeAt is the cause of what some odd members did with an entry, which others did not.
func (c *comparison) causeAt(index uint64, members, odd []int, es []effects) *cause {
	first := es[odd[0]].odd()
	k := &cause{layer: LayerApply, index: index, odd: odd, outcome: first.Outcome, again: es[odd[0]].repeated()}
	if es[odd[0]].stored() {
		k.layer = LayerStorage
	}
	// Those that followed the rules from their own state agree with each other, whatever that led to.
	k.groups = partition(members, func(i, j int) bool {
		a, b := slices.Contains(odd, i), slices.Contains(odd, j)
		return !a && !b || a && b && sameEffects(&es[i], &es[j])
	})
	sortGroups(k.groups)
	// The first application was the same on all, unless it went wrong on others.
	for _, i := range members {
		for _, s := range es[i].steps {
			if s.Revision > 0 && (k.revision == 0 || s.Revision < k.revision) && (!k.again || s.Again && slices.Contains(odd, i)) {
				k.revision = s.Revision
			}
		}
	}
	k.effects = c.describe(k, es)
	if k.layer == LayerStorage {
		c.joinByRows(k)
	}
	return k
}

// joinByRows adds the members that nobody shares the entry with, because the logs had forked by then or may have, to those
// with which they hold the same rows up to what was stored: the rows had not parted yet.
func (c *comparison) joinByRows(k *cause) {
	for j, m := range c.ms {
		if slices.ContainsFunc(k.groups, func(g []int) bool { return slices.Contains(g, j) }) || k.revision <= m.DB.CompactRevision() || k.revision > c.last[j] {
			continue
		}
		n := slices.IndexFunc(k.groups, func(g []int) bool {
			return slices.ContainsFunc(g, func(i int) bool { return !c.apart(i, j, k.revision) })
		})
		if n >= 0 && !slices.Contains(k.odd, k.groups[n][0]) {
			k.groups[n] = append(k.groups[n], j)
			k.effects[n].Members = c.labels(k.groups[n])
		}
	}
	sortGroups(k.groups)
	slices.SortStableFunc(k.effects, func(a, b Effect) int { return cmp.Compare(len(b.Members), len(a.Members)) })
}

// apart tells whether two members are not known to hold the same up to a revision.
func (c *comparison) apart(i, j int, revision int64) bool {
	return max(c.ms[i].DB.CompactRevision(), c.ms[j].DB.CompactRevision()) >= revision || c.agreed(i, j) < revision
}

// followed tells whether nothing is odd about an entry but that some members, which could not be told to refuse it, did:
// not what others did, but something else that their own state demanded. Nor is it odd by what they did with it if all
// of them let it pass: then they have parted before.
func followed(members []int, es []effects) bool {
	if !slices.ContainsFunc(members, func(i int) bool { s := es[i].odd(); return s == nil || s.Again || s.Outcome != align.Permitted }) {
		return true
	}
	var rest, refused []int
	for _, i := range members {
		switch s := es[i].odd(); {
		case s == nil:
			rest = append(rest, i)
		case s.Outcome == align.Refused && s.Doubtful && !s.Again:
			refused = append(refused, i)
		default:
			return false
		}
	}
	return !slices.ContainsFunc(refused, func(i int) bool {
		return slices.ContainsFunc(rest, func(j int) bool { return wrote(es[j].rows, es[i].odd().Predicted) })
	})
}

// wrote tells whether rows hold what was predicted, whatever the revisions.
func wrote(rows []mvcc.Row, want []align.Change) bool {
	if len(rows) != len(want) {
		return false
	}
	var kv mvcc.KeyValue
	for n := range rows {
		r, w := &rows[n], &want[n]
		if kv.Decode(r.Value) != nil || w.Key != string(kv.Key) || w.Delete != r.Tombstone ||
			!w.Delete && (!bytes.Equal(w.Value, kv.Value) || w.Lease != kv.Lease) {
			return false
		}
	}
	return true
}

func (e *effects) repeated() bool {
	return slices.ContainsFunc(e.steps, func(s *align.Step) bool { return s.Again && s.Revision > 0 })
}

// stored tells whether an entry had its effect on a member, and only what is stored of it differs.
func (e *effects) stored() bool {
	switch s := e.odd(); {
	case s.Again:
		return false
	case s.Outcome == align.Partial:
		// A transaction that stopped halfway left the first part. Anything else that is missing was written once.
		return len(e.rows) == 0 || !isPrefix(e.rows) || !isTxn(s)
	default:
		return s.Outcome == align.Altered || s.Outcome == align.Lost
	}
}

func isPrefix(rows []mvcc.Row) bool {
	for i := range rows {
		if rows[i].Rev.Sub != int64(i) {
			return false
		}
	}
	return true
}

// isTxn tells whether what was predicted is a transaction's: only these are not deletes alone.
func isTxn(s *align.Step) bool {
	return slices.ContainsFunc(s.Predicted, func(c align.Change) bool { return !c.Delete })
}

// sameEffects compares what an entry did on two members by content. Revisions, versions and creation differ after an
// earlier divergence, and count only where they are not what one of the members' own state demands.
func sameEffects(a, b *effects) bool {
	if len(a.rows) != len(b.rows) || a.repeated() != b.repeated() {
		return false
	}
	x, y := a.odd(), b.odd()
	if lost(x) != lost(y) {
		return false
	}
	var kv, ov mvcc.KeyValue
	versions := (altered(x) || altered(y)) && !sameContentAltered(x, y)
	for i := range a.rows {
		r, o := &a.rows[i], &b.rows[i]
		if r.Tombstone != o.Tombstone || kv.Decode(r.Value) != nil || ov.Decode(o.Value) != nil {
			return false
		}
		if !bytes.Equal(kv.Key, ov.Key) || !r.Tombstone && (!bytes.Equal(kv.Value, ov.Value) || kv.Lease != ov.Lease) {
			return false
		}
		// Where members have come to different revisions their versions may differ by right, and be the same by mistake, as may what a
		// range held that was deleted.
		if (altered(x) != altered(y) || partial(x) != partial(y)) && r.Rev.Main != o.Rev.Main {
			return false
		}
		// A row that was changed afterwards makes the next one of its key look wrong, too, although that one counts on from
		// what the row was: it is like the other member's.
		if versions && (kv.Version != ov.Version || kv.Mod-r.Rev.Main != ov.Mod-o.Rev.Main || kv.Create != ov.Create && r.Rev == o.Rev) {
			return false
		}
	}
	return true
}

// sameContentAltered tells whether the same was changed in both, and nothing of the counts, which are what each member's own
// earlier rows demand then.
func sameContentAltered(x, y *align.Step) bool {
	return altered(x) && altered(y) && x.Detail == y.Detail && (x.Detail == "value" || x.Detail == "lease")
}

func altered(s *align.Step) bool { return s != nil && s.Outcome == align.Altered }
func lost(s *align.Step) bool    { return s != nil && s.Outcome == align.Lost }
func partial(s *align.Step) bool { return s != nil && s.Outcome == align.Partial }

// sortGroups puts the largest group first.
func sortGroups(gs [][]int) {
	slices.SortStableFunc(gs, func(a, b []int) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0], b[0])) })
}

// logCauses makes a cause of every fork.
func (c *comparison) logCauses() {
	for _, f := range c.logs.forks {
		k := &cause{layer: LayerLog, index: f.index, groups: slices.Clone(f.groups)}
		if f.first < f.index {
			k.interval = &Interval{First: f.first, Last: f.index}
		}
		sortGroups(k.groups)
		for _, p := range c.parts {
			if c.explains(k, &p) && (k.revision == 0 || p.revision < k.revision) {
				k.revision = p.revision
			}
		}
		for _, g := range k.groups {
			e := Effect{Members: c.labels(g), Entry: c.entry(g[0], f.index)}
			for _, s := range c.stepsAt(g[0], f.index) {
				e.Revision, e.Changes = s.Revision, changes(c.ms[g[0]].DB.Rows.Group(s.Revision))
			}
			k.effects = append(k.effects, e)
		}
		k.what = "the logs hold different entries from here on: committed entries were lost or overwritten"
		if f.first < f.index {
			k.what = fmt.Sprintf("the logs hold different entries at %d, where that of some members begins: committed entries were lost or overwritten", f.index)
		}
		c.causes = append(c.causes, k)
	}
}

// separates tells whether a partition tells members apart that the other one tells apart, too.
func separates(a, b [][]int) bool {
	group := func(gs [][]int, i int) int {
		return slices.IndexFunc(gs, func(g []int) bool { return slices.Contains(g, i) })
	}
	all := slices.Concat(a...)
	for _, i := range all {
		for _, j := range all {
			x, y := group(b, i), group(b, j)
			if x >= 0 && y >= 0 && x != y && group(a, i) != group(a, j) {
				return true
			}
		}
	}
	return false
}

func (c *comparison) stepsAt(i int, index uint64) []*align.Step {
	var found []*align.Step
	c.traces[i].steps(func(s *align.Step) {
		if s.Index == index {
			found = append(found, s)
		}
	})
	return found
}

// maxUnmade bounds how many revisions of a member are held against all entries of its log.
const maxUnmade = 64

// ofNone tells whether no entry that member i's log holds from the beginning of the cluster on can have made a revision.
func (c *comparison) ofNone(i int, revision int64) bool {
	rows := c.ms[i].DB.Rows.Group(revision)
	if !c.whole(i) || len(rows) == 0 || rows[0].Tombstone {
		return false
	}
	var kv mvcc.KeyValue
	return kv.Decode(rows[0].Value) == nil && !slices.ContainsFunc(c.views[i].entries, func(e align.Entry) bool { return mayHavePut(&e, &kv) })
}

// extra is a revision of member i behind an entry which no entry that is left made; opens if none of these made one before.
func (c *comparison) extra(i int, s *align.Step, prev uint64, opens bool) *cause {
	k := &cause{
		layer: LayerStorage, revision: s.Revision, outcome: s.Outcome, odd: []int{i}, entries: []uint64{prev},
		what: unmade,
	}
	if opens {
		var rest []int
		for j := range c.ms {
			if j != i {
				rest = append(rest, j)
			}
		}
		k.layer, k.what = LayerApply, unexplained
		k.between = &RevisionInterval{First: c.firstAlike(s.Revision, [][]int{{i}, rest}), Last: s.Revision}
		k.interval = c.before(*k.between)
	}
	return k
}

// begunBefore makes of revisions without an entry, behind which a member applied its log again from the first entry on,
// the beginning of that replay: entries made them that the log does not hold any more.
func (c *comparison) begunBefore(k *cause, first uint64) *cause {
	k.layer, k.again, k.outcome, k.what = LayerApply, true, align.Applied, "entries from before the log begins were applied again"
	k.between = &RevisionInterval{First: k.revision, Last: k.revision}
	k.interval = &Interval{First: 1, Last: first - 1}
	return k
}

// partedAt tells whether members parted in their rows at a revision.
func (c *comparison) partedAt(revision int64) bool {
	return slices.ContainsFunc(c.parts, func(p parting) bool { return p.revision == revision })
}

// extraCauses keeps the revisions without an entry that not all members have.
func (c *comparison) extraCauses(extras []*cause) {
	for n, k := range extras {
		i := k.odd[0]
		if !c.vouched(i) {
			continue
		}
		have, rest := []int{i}, []int(nil)
		for j := range c.ms {
			switch {
			case j == i:
			case slices.ContainsFunc(extras, func(x *cause) bool { return x.odd[0] == j && x.revision == k.revision }):
				have = append(have, j)
			case !c.apart(i, j, k.revision): // it has that revision, too, whatever made it
			case c.ms[j].DB.Tables.ConsistentIndex >= k.entries[0]: // the entry before the revision
				rest = append(rest, j)
			}
		}
		told := slices.ContainsFunc(extras[:n], func(x *cause) bool { return x.revision == k.revision && slices.Contains(have, x.odd[0]) })
		if len(rest) == 0 || told {
			continue
		}
		slices.Sort(have)
		x := *k
		x.odd, x.groups = have, [][]int{have, rest}
		sortGroups(x.groups)
		if k.again {
			x.entries = nil
		}
		x.effects = []Effect{{Members: c.labels(have), Revision: k.revision, Changes: changes(c.ms[i].DB.Rows.Group(k.revision))}, {Members: c.labels(rest)}}
		c.causes = append(c.causes, &x)
	}
}

// sameOdd tells whether the odd members of a later cause are those of an earlier one that have come so far.
func (c *comparison) sameOdd(k, x *cause) bool {
	return slices.Equal(x.odd, slices.DeleteFunc(slices.Clone(k.odd), func(i int) bool {
		return !slices.Contains(x.odd, i) && c.ms[i].DB.Tables.ConsistentIndex < x.index
	}))
}

// merge makes one cause of those that are one: the same members departing in the same way, either in a row, or at all
// entries of a kind, as a rule does that some members follow and others do not.
func (c *comparison) merge(all []*cause) []*cause {
	var out []*cause
	for len(all) > 0 {
		k := all[0]
		var like, rest []*cause
		for _, x := range all {
			if x.outcome == k.outcome && x.again == k.again && c.sameOdd(k, x) && x.layer == k.layer {
				like = append(like, x)
			} else {
				rest = append(rest, x)
			}
		}
		k.entries = c.extent(like)
		left := slices.DeleteFunc(like, func(x *cause) bool { return slices.Contains(k.entries, x.index) })
		switch {
		case k.rule != nil && k.rule.origin != nil:
			c.originate(k)
		case len(k.entries) == 1:
			k.entries = nil
		}
		out = append(out, k)
		rest = append(rest, left...)
		slices.SortStableFunc(rest, func(a, b *cause) int { return cmp.Compare(a.index, b.index) })
		all = rest
	}
	return out
}
