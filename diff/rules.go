package diff

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// minRule is how many entries a rule must explain. Fewer may be a coincidence.
const minRule = 3

// rule is a kind of entries that some members treat differently from others.
type rule struct {
	name string
	hits func(r *raftlog.Request) bool
	// byAuthRevision is true for entries with an old auth revision, whoever sent them.
	byAuthRevision bool
	// origin is set for entries that depend on what an earlier one did, which some members left out.
	origin *origin
}

// origin is an entry that granted a lease, or turned alarms on or off, and with that decided what became of later ones.
type origin struct {
	index, end uint64   // the entry, and the one that ended what it did
	lease      int64    // 0 for alarms
	refuses    turn     // the alarms that are on behind the entry, or before it
	let        []uint64 // entries that had an effect because of that
}

// rule is that of the entries which depend on it.
func (o *origin) rule() rule {
	return rule{name: "entries", hits: func(r *raftlog.Request) bool { return refusedBy(o.refuses, r.Internal) }, origin: o}
}

// minOrigin is how many entries must go back to the same one: a single one may as well have gone wrong by itself, unless
// an alarm refuses it, which holds for all entries.
const minOrigin = 2

// says tells what became of the entries that a rule covers, of some in a row if it is nil.
func (r *rule) says(entries int, where string) string {
	if r == nil {
		return fmt.Sprintf("%d entries in a row had no effect on %s", entries, where)
	}
	return fmt.Sprintf("all %d %s that would change a key had no effect on %s", entries, r.name, where)
}

// rulesFor are the kinds that could have made entry r depart, the narrowest first.
func rulesFor(r *raftlog.Request, highest uint64) []rule {
	who := "without user"
	if r.User != "" {
		who = fmt.Sprintf("of user %q", r.User)
	}
	rules := []rule{{
		name: fmt.Sprintf("%s entries %s", r.Type, who),
		hits: func(o *raftlog.Request) bool { return o.Type == r.Type && o.User == r.User },
	}}
	if r.User != "" {
		rules = append(rules, rule{
			name: fmt.Sprintf("entries %s", who),
			hits: func(o *raftlog.Request) bool { return o.User == r.User },
		}, rule{
			name:           fmt.Sprintf("entries with auth revision %d or lower", highest),
			hits:           func(o *raftlog.Request) bool { return o.User != "" && o.AuthRevision <= highest },
			byAuthRevision: true,
		})
	}
	return rules
}

// extent tells of which entries these causes, which look alike, are one: a run of entries one after the other, or all
// entries of one kind. At least the first.
func (c *comparison) extent(like []*cause) []uint64 {
	k := like[0]
	// Of several odd members the one that has come furthest.
	odd := slices.MaxFunc(k.odd, func(i, j int) int {
		return cmp.Compare(c.ms[i].DB.Tables.ConsistentIndex, c.ms[j].DB.Tables.ConsistentIndex)
	})
	best := []uint64{k.index}
	if k.again {
		for _, x := range like[1:c.replayExtent(odd, like)] {
			best = append(best, x.index)
		}
		return best
	}
	least := minOrigin
	if k.outcome == align.Permitted {
		least = 1
	}
	if k.outcome != align.Refused && k.outcome != align.Permitted || len(like) < least {
		return best
	}
	departs := map[uint64]int{}
	var highest uint64
	for n, x := range like {
		departs[x.index] = n
		if r := c.request(odd, x.index); r != nil {
			highest = max(highest, r.AuthRevision)
		}
	}
	first := c.request(odd, k.index)
	if first == nil {
		return best
	}
	for _, r := range rulesFor(first, highest) {
		if r.byAuthRevision && !slices.ContainsFunc(k.odd, c.mayOutdate) {
			continue
		}
		if all, _ := c.ruleExtent(odd, k.index, departs, r); len(all) >= minRule && len(all) > len(best) {
			best, k.rule = all, &r
			k.what = r.says(len(all), c.without(k))
		}
	}
	led := 0 // how many more go back to the same origin, by way of a lease
	for _, o := range c.origins(k, k.index) {
		r := o.rule()
		all, wanting := c.ruleExtent(odd, k.index, departs, r)
		if n := len(all); n >= least && n+wanting >= len(best)+led && c.holds(odd, k, all, o) {
			best, k.rule, led = all, &r, wanting
		}
	}
	// A row of entries says more than their kind, unless they have a user in common.
	all := c.runExtent(odd, k.index, departs)
	if n := len(all); n > len(best)+led || n == len(best) && n > 1 && first.User == "" && (k.rule == nil || k.rule.origin == nil) {
		best, k.rule = all, nil
		k.what = k.rule.says(n, c.without(k))
	}
	return best
}

// mayOutdate tells whether a member's auth revision may have been higher than its log demands, so that it refused what was
// checked at that.
func (c *comparison) mayOutdate(i int) bool {
	a := c.auths[i]
	return a.timeline == nil || a.timeline.Odd > 0 || a.plain != nil
}

// without names the members on which the entries of a cause had no effect.
func (c *comparison) without(k *cause) string {
	var ls []string
	for _, g := range k.groups {
		for _, i := range g {
			if slices.Contains(k.odd, i) == (k.outcome == align.Refused) {
				ls = append(ls, c.ms[i].Label)
			}
		}
	}
	slices.Sort(ls)
	return strings.Join(ls, ", ")
}

// ruleExtent lists the departures in a row that belong to the rule: it ends at the first entry that the rule covers and
// that had its effect, or that departs without being covered, unless it wants a lease that an entry was to grant which is:
// of these it returns how many there are.
func (c *comparison) ruleExtent(member int, from uint64, departs map[uint64]int, r rule) (all []uint64, wanting int) {
	done := false
	begin := from
	if r.origin != nil {
		begin = r.origin.index + 1
	}
	c.traces[member].steps(func(s *align.Step) {
		if done || s.Again || s.Index < begin || s.Revision == 0 && s.Outcome != align.Refused {
			return
		}
		req := c.request(member, s.Index)
		if req == nil {
			return
		}
		_, departed := departs[s.Index]
		covered := r.hits(req)
		if o := r.origin; o != nil {
			covered = s.Index < o.end && (o.lease == 0 && covered || o.lease != 0 && c.leased(member, s, o.lease))
		}
		if s.Index < from {
			done = covered
			return
		}
		switch {
		case covered && departed:
			all = append(all, s.Index)
		case departed && c.wants(member, s, r, from):
			wanting++
		case covered && (s.Outcome == align.Refused || s.Outcome == align.Permitted):
			// The same on all members: another rule forbids or allows it everywhere.
		case covered != departed:
			done = true
		}
	})
	return all, wanting
}

// wants tells whether a step needs a lease that an entry behind another one grants which a rule covers.
func (c *comparison) wants(member int, s *align.Step, r rule, from uint64) bool {
	return slices.ContainsFunc(leasesNeeded(nil, s.Predicted), func(id int64) bool {
		return slices.ContainsFunc(c.views[member].leases[id], func(ev leaseEvent) bool {
			q := c.request(member, ev.index)
			return ev.grant && from < ev.index && ev.index < s.Index && q != nil && r.hits(q)
		})
	})
}

// origins are the entries that may have decided that a cause's first one, or the one that may be meant instead, had, or had
// not, an effect on its odd members.
func (c *comparison) origins(k *cause, index uint64) (all []*origin) {
	i := k.odd[0]
	h := c.views[i]
	if k.outcome == align.Refused {
		for _, s := range c.stepsAt(i, k.index) {
			for _, id := range leasesNeeded(nil, s.Predicted) {
				o := &origin{lease: id, end: math.MaxUint64}
				for _, ev := range h.leases[id] {
					switch {
					case ev.refused:
					case ev.index > index:
						o.end = min(o.end, ev.index)
					case ev.grant:
						o.index = ev.index
					default:
						o.index = 0
					}
				}
				if o.index > 0 && c.hidden(i, id, o.end) {
					all = append(all, o) // otherwise the table shows it
				}
			}
		}
	}
	for n, t := range h.refusing {
		end := uint64(math.MaxUint64)
		if n+1 < len(h.refusing) {
			end = h.refusing[n+1].index
		}
		if !t.on {
			end = max(end, cmp.Or(h.nextOfAlarm(t.index), math.MaxUint64)) // others may go on and off meanwhile
		}
		if t.index == 0 || t.index > index || index > end || t.on != (k.outcome == align.Permitted) || h.missingBetween(t.index, index) {
			continue
		}
		tables := &tableLog{h: h, tables: c.ms[i].DB.Tables, whole: c.whole(i), from: t.index, to: c.ms[i].DB.Tables.ConsistentIndex}
		kept := tables.alarmsWithout(loss{})
		switch {
		case end <= tables.to && !kept:
			continue // what ended it has not had its effect either
		case end > tables.to && (kept || !tables.alarmsWithout(loss{first: t.index, last: tables.to}) || c.comparableIn(i, func(h *history) []uint64 { return h.alarms })):
			continue // its own table does not show that it had none, or those of others show it
		}
		o := &origin{index: t.index, end: end, refuses: t}
		if !t.on && n > 0 {
			o.refuses = h.refusing[n-1]
		}
		all = append(all, o)
	}
	return all
}

// hidden tells whether a comparison of tables does not show that a lease was missing on member i up to an entry: that entry has
// ended it, or will, which others may have come to already.
func (c *comparison) hidden(i int, lease int64, end uint64) bool {
	t := c.ms[i].DB.Tables
	if end <= t.ConsistentIndex {
		return !c.outlived(i, lease, end)
	}
	held := slices.ContainsFunc(t.Leases, func(l schema.LeaseRecord) bool { return l.ID == lease })
	return !held && !c.comparableIn(i, func(h *history) []uint64 { return h.aboutLease(lease) })
}

// outlived tells whether an entry was to grant a lease that was there already: the table has another time to live than it asked
// for, and no entry about the lease came behind it.
func (c *comparison) outlived(i int, lease int64, index uint64) bool {
	t := c.ms[i].DB.Tables
	q := c.request(i, index)
	if q == nil || q.Internal.GetLeaseGrant() == nil || slices.ContainsFunc(c.views[i].leases[lease], func(ev leaseEvent) bool {
		return index < ev.index && ev.index <= t.ConsistentIndex
	}) {
		return false
	}
	return slices.ContainsFunc(t.Leases, func(l schema.LeaseRecord) bool { return l.ID == lease && l.TTL != q.Internal.LeaseGrant.TTL })
}

// comparableIn tells whether what some entries change in a table of a member is compared with that of others.
func (c *comparison) comparableIn(i int, list func(h *history) []uint64) bool {
	in, _ := c.upToDate(list)
	return len(in) > 1 && slices.Contains(in, i)
}

// mayOriginate finds earlier entries that may have been left out instead of a cause's only one, which led to what became of
// that: with nothing else to show for it neither is likelier.
func (c *comparison) mayOriginate(k *cause) {
	if k.layer != LayerApply || k.index == 0 || len(k.entries) > 1 || k.rule != nil || k.origin != nil || k.of != nil {
		return
	}
	for n, i := range k.odd {
		may := c.detours(k, i)
		if k.outcome == align.Refused && !k.again {
			for _, x := range append(c.doubles(k, i), k.index) {
				for _, o := range c.origins(k, x) {
					if c.holds(i, k, []uint64{x}, o) {
						may = append(may, o.index)
					}
				}
			}
		}
		if n > 0 {
			may = slices.DeleteFunc(may, func(x uint64) bool { return !slices.Contains(k.instead, x) })
		}
		k.instead = may
	}
	slices.Sort(k.instead)
	if len(k.instead) == 0 {
		return
	}
	if k.interval == nil {
		k.interval = &Interval{First: k.index, Last: k.index}
	}
	k.interval.First, k.interval.Last = min(k.interval.First, k.instead[0]), max(k.interval.Last, k.instead[len(k.instead)-1])
	if k.outcome == align.Refused && !k.again {
		k.what = fmt.Sprintf("entry %d had no effect on %s: that went wrong by itself, or an earlier entry had none, which allows it", k.index, strings.Join(c.labels(k.odd), ", "))
	}
}

// holds tells whether on member i no other entries but a cause's, or those that may be meant instead, met another fate than
// they should if an origin is their reason.
func (c *comparison) holds(i int, k *cause, entries []uint64, o *origin) bool {
	rev, r := c.traces[i].startRevision(), o.rule()
	if len(entries) == 0 {
		return false
	}
	q := c.request(i, entries[0])
	ok := q != nil && (o.lease != 0 && !c.attachedBefore(i, k, o) || o.lease == 0 && r.hits(q) && !c.wroteBefore(i, o) && !c.compactedAmid(i, o))
	c.traces[i].steps(func(s *align.Step) {
		rev = max(rev, s.Revision)
		if !ok || s.Index <= o.index || s.Index >= o.end || slices.Contains(entries, s.Index) {
			return
		}
		e := find(c.views[i].entries, s.Index)
		switch made := s.Revision > 0 || s.Index == k.index; {
		case e == nil || s.Outcome == align.NoEffect && len(c.inputs[i].Predict(e, rev)) == 0:
		case o.lease != 0:
			ok = !c.leased(i, s, o.lease)
		case r.hits(e.Request()):
			ok = made == (k.outcome == align.Permitted) || !made && c.mayBeRefused(i, e, rev)
		}
	})
	return ok
}

// wroteBefore tells whether member i holds what only entries wrote that an origin keeps from an effect, of which compaction has left
// no more than that: then that is not what befell it.
func (c *comparison) wroteBefore(i int, o *origin) bool {
	first, start, r := c.traces[i].first(), c.traces[i].startRevision(), o.rule()
	if !c.whole(i) {
		return false
	}
	es := c.views[i].entries
	n, _ := slices.BinarySearchFunc(es, o.index+1, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	end, _ := slices.BinarySearchFunc(es, min(o.end, first), func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for n = max(n, end-maxBegun); n < end; n++ {
		q := es[n].Request()
		put := q.Internal.GetPut()
		if put == nil || !r.hits(q) {
			continue
		}
		_, row, ok := c.ms[i].DB.Rows.At(put.Key, start)
		var kv mvcc.KeyValue
		if !ok || kv.Decode(row.Value) != nil || !isPutOf(put, &kv) {
			continue
		}
		if !slices.ContainsFunc(es, func(e align.Entry) bool {
			return e.Index < first && mayHavePut(&e, &kv) && (e.Index <= o.index || e.Index >= o.end || !r.hits(e.Request()))
		}) {
			return true
		}
	}
	return false
}

// compactedAmid tells whether member i is compacted at a revision at which only entries asked for that which an origin keeps from
// an effect.
func (c *comparison) compactedAmid(i int, o *origin) bool {
	in, r := &c.inputs[i], o.rule()
	all := in.Log.Compactions(in.Compact)
	return c.whole(i) && len(all) > 0 && !slices.ContainsFunc(all, func(x uint64) bool {
		return x <= o.index || x >= o.end || !r.hits(c.request(i, x))
	})
}

// attachedBefore tells whether an entry attached a key to the lease of an origin on member i, of which compaction has left nothing:
// one that nothing else refuses, if a member of the same history that is not odd has come to the same revision by the same
// entry, so that none before it was left out.
func (c *comparison) attachedBefore(i int, k *cause, o *origin) bool {
	first, start := c.traces[i].first(), c.traces[i].startRevision()
	met := false
	for j, t := range c.traces {
		met = met || !slices.Contains(k.odd, j) && c.logs.history[j] == c.logs.history[i] && t.first() == first && t.startRevision() == start
	}
	if !met {
		return false
	}
	l := c.lived(i)
	for n := range c.views[i].entries {
		e := &c.views[i].entries[n]
		if e.Index <= o.index || e.Index >= min(o.end, first) {
			continue
		}
		r := e.Request()
		if p := r.Internal.GetPut(); p == nil || p.Lease != o.lease || p.IgnoreValue {
			continue
		}
		want := []align.Change{{Key: string(r.Internal.Put.Key), Lease: o.lease}}
		if l.judge(&l, e.Index, r, want, func(int64) []string { return nil }) == align.Allowed {
			return true
		}
	}
	return false
}

// mayBeRefused tells whether something else than an alarm may refuse an entry on member i, at a revision.
func (c *comparison) mayBeRefused(i int, e *align.Entry, at int64) bool {
	in, l := &c.inputs[i], c.lived(i)
	return l.judge(calm{&l}, e.Index, e.Request(), in.Predict(e, at), func(lease int64) []string { return in.Index.Attached(lease, at) }) != align.Allowed
}

// detours are the auth entries that may have been left out on member i instead of a cause's entry.
func (c *comparison) detours(k *cause, i int) (may []uint64) {
	r := c.request(i, k.index)
	for _, t := range c.auths[i].detours {
		attached := func(lease int64) []string { return c.inputs[i].Index.Attached(lease, k.revision-1) }
		if k.again || k.outcome == align.Refused && r != nil && t.At(k.index).Denies(r, attached) {
			may = append(may, t.Odd)
		}
	}
	return may
}

// leased tells whether a step attached keys to a lease, or would have.
func (c *comparison) leased(member int, s *align.Step, lease int64) bool {
	if s.Revision == 0 {
		return slices.Contains(leasesNeeded(nil, s.Predicted), lease)
	}
	return slices.ContainsFunc(changes(c.ms[member].DB.Rows.Group(s.Revision)), func(ch Change) bool { return ch.Lease == ID(uint64(lease)) })
}

// originate names the entry that a cause goes back to: its entries are what that led to.
func (c *comparison) originate(k *cause) {
	o := k.rule.origin
	layer, odd := LayerAlarm, strings.Join(c.labels(k.odd), ", ")
	k.what = fmt.Sprintf("the entry had no effect on %s: neither had %s there, which it allows", odd, later(len(k.entries)))
	switch {
	case o.lease != 0:
		layer = LayerLease
		k.leases = append(k.leases, o.lease)
		k.what = fmt.Sprintf("the lease was not granted on %s: all %d entries that attach keys to it had no effect there", odd, len(k.entries))
	case k.outcome == align.Permitted:
		k.what = fmt.Sprintf("the entry had no effect on %s: %s, which the alarm refuses, had one there", odd, later(len(k.entries)))
	}
	if k.outcome == align.Permitted {
		o.let = k.entries
	}
	for _, e := range k.effects {
		for _, ch := range e.Changes {
			k.keys = append(k.keys, string(ch.Key))
		}
	}
	k.layer, k.index, k.outcome, k.effects = layer, o.index, align.Refused, nil
	for _, g := range k.groups {
		e := Effect{Members: c.labels(g), Note: "the entry had its effect"}
		if slices.Contains(k.odd, g[0]) {
			e.Note = "the entry had no effect"
		}
		k.effects = append(k.effects, e)
	}
	k.origin, k.rule, k.entries = o, nil, nil
}

func later(entries int) string {
	if entries == 1 {
		return "a later one"
	}
	return fmt.Sprintf("%d later ones", entries)
}

// runExtent lists departures with nothing between them that had an effect.
func (c *comparison) runExtent(member int, from uint64, departs map[uint64]int) (all []uint64) {
	done := false
	c.traces[member].steps(func(s *align.Step) {
		if done || s.Index < from || s.Again {
			return
		}
		if _, departed := departs[s.Index]; departed {
			all = append(all, s.Index)
		} else if s.Revision > 0 {
			done = true
		}
	})
	return all
}

// replayExtent counts how many entries a member applied again before it went on with new ones.
func (c *comparison) replayExtent(member int, like []*cause) int {
	n := 0
	begun, done := false, false
	c.traces[member].steps(func(s *align.Step) {
		switch {
		case done || s.Revision == 0:
		case n < len(like) && s.Again && s.Index == like[n].index:
			n++
			begun = true
		default:
			done = begun && !s.Again
		}
	})
	return max(n, 1)
}

// request is the entry as member i applied it, nil if nobody has it.
func (c *comparison) request(i int, index uint64) *raftlog.Request {
	if e := find(c.views[i].entries, index); e != nil {
		return e.Request()
	}
	return nil
}
