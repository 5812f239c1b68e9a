package diff

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// lag lists what members have not applied yet.
func (c *comparison) lag() {
	var high uint64
	var highest int
	for i, m := range c.ms {
		if ci := m.DB.Tables.ConsistentIndex; ci > high {
			high, highest = ci, i
		}
	}
	for _, m := range c.ms {
		ci := m.DB.Tables.ConsistentIndex
		if ci >= high {
			continue
		}
		l := Lag{Member: m.Label, First: ci + 1, Last: high}
		// An entry makes one revision at most: where there are more, the copy holds rows of a later moment.
		if at := c.revisionAt(highest, ci); at >= 0 && c.last[highest]-at <= int64(high-ci) {
			l.Revisions = c.last[highest] - at
		}
		c.doc.Lag = append(c.doc.Lag, l)
	}
}

// conclude writes the causes down.
func (c *comparison) conclude() {
	d := c.doc
	if c.told == nil {
		c.findConsequences()
	}
	number := map[*cause]int{}
	for _, k := range c.causes {
		if k.of == nil {
			number[k] = len(d.Divergences)
			c.claim(c.write(k), k, k.basis())
		}
	}
	for _, k := range c.causes {
		if k.of != nil {
			v, by := c.write(k), number[k.root()]
			v.CausedBy = &by
			d.Consequences = append(d.Consequences, v)
		}
	}
	if len(c.ms) > 0 {
		c.since()
	}
	if len(d.Divergences) == 0 && c.told == nil && (d.Keys.Len() > 0 || d.Counts.Consequences > 0) {
		c.claim(c.write(&cause{layer: LayerApply, what: unexplained, groups: [][]int{c.every()}}), nil, verdict.Holdings)
	}
}

// every lists all members that are compared.
func (c *comparison) every() (all []int) {
	for i := range c.ms {
		all = append(all, i)
	}
	return all
}

// basis is what a cause rests on.
func (k *cause) basis() verdict.Basis {
	if k.layer == LayerLog {
		return verdict.Logs
	}
	return verdict.Holdings
}

// findConsequences makes consequences of causes that others led to.
func (c *comparison) findConsequences() {
	c.followForks()
	c.followOneFork()
	c.followPartings()
	c.followOlder()
	c.followLeases()
	c.followGrants()
	c.followRevokes()
	c.followRules()
	c.followRefusals()
	c.followAlarms()
	c.followReplays()
	c.followRegrants()
	c.followRuns()
	c.followTurns()
	c.followLosses()
}

// root is the cause that a consequence goes back to.
func (k *cause) root() *cause {
	for k.of != nil {
		k = k.of
	}
	return k
}

// notes tells of findings that mattered to nothing that was compared.
func (c *comparison) notes() {
	for _, m := range c.all {
		for _, f := range m.Findings {
			if !f.Unreadable && f.Severity != finding.Info {
				c.doc.Notes = append(c.doc.Notes, m.Label+": "+f.String())
			}
		}
	}
}

// own tells whether a cause is what a member did against its own log, whatever others have in theirs.
func (k *cause) own() bool {
	return k.index > 0 && (k.layer == LayerApply || k.layer == LayerStorage)
}

// followForks makes consequences of all that tells members apart whose logs had parted before.
func (c *comparison) followForks() {
	for _, k := range c.causes {
		if k.layer == LayerLog || k.of != nil || k.own() || k.what == unexplained && c.single(&parting{revision: k.revision, groups: k.groups}) {
			continue
		}
		for _, f := range c.causes {
			if f.layer == LayerLog && c.forked(k.groups) && separates(k.groups, f.groups) && !c.sameWrites(k) {
				k.of = f
				break
			}
		}
	}
}

// sameWrites tells whether auth tables differ although the logs hold the same entries about auth: then no fork led to that.
func (c *comparison) sameWrites(k *cause) bool {
	first := c.views[k.groups[0][0]]
	return k.layer == LayerAuth && !slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool {
		h := c.views[i]
		return !slices.EqualFunc(first.authWrites, h.authWrites, func(a, b authz.Write) bool {
			return a.Index == b.Index && sameEntry(find(first.entries, a.Index).Raw, find(h.entries, b.Index).Raw)
		})
	})
}

// followOneFork makes a consequence of a fork whose first entry no log holds if the rows show that its members parted where those of
// another fork did: those on one side hold the same.
func (c *comparison) followOneFork() {
	for _, x := range c.causes {
		if x.layer != LayerLog || x.of != nil || x.interval == nil || x.revision == 0 {
			continue
		}
		n := slices.IndexFunc(c.parts, func(p parting) bool { return p.revision == x.revision })
		if n < 0 {
			continue
		}
		sides := c.parts[n].groups
		for _, k := range c.causes {
			if k == x || k.layer != LayerLog || k.of != nil || k.revision != x.revision || k.interval != nil || k.index > x.interval.Last {
				continue
			}
			met := slices.DeleteFunc(slices.Clone(sides), func(s []int) bool {
				return !meets(s, slices.Concat(slices.Concat(k.groups...), slices.Concat(x.groups...)))
			})
			if len(met) == 2 {
				x.of = k
				break
			}
		}
	}
}

// followPartings makes consequences of rows at or below the compact revision that differ between members which had parted
// at an earlier revision: from there on the same numbers stand for other changes.
func (c *comparison) followPartings() {
	for _, k := range c.causes {
		if k.between == nil || k.of != nil {
			continue
		}
		for _, x := range c.causes {
			if x.between == nil && !c.unequalBefore(x, k) && (x.revision > 0 && x.revision <= k.newest() || c.turned(x, k.revision)) && (separates(k.groups, x.groups) && (x.layer == LayerLog || !joined(k.groups, x.groups)) || partly(k.groups, x.groups) || strange(k.groups, x.groups)) {
				k.of = x
				break
			}
		}
		if k.of == nil {
			k.of = c.ledBy(k)
		}
	}
}

// followOlder makes consequences of requests that permissions refused some members only which had parted in rows that compaction has
// removed, where the auth tables of one of them differ from others: what a member refuses is as old as that then.
func (c *comparison) followOlder() {
	for _, x := range c.causes {
		if x.of != nil || x.layer != LayerApply || x.again || x.index == 0 || x.outcome != align.Permitted && x.outcome != align.Refused ||
			!c.byUser(x) || c.authSettled(x) ||
			!slices.ContainsFunc(c.causes, func(y *cause) bool {
				return y.layer == LayerAuth && y.index == 0 && meets(slices.Concat(x.groups...), slices.Concat(y.groups...))
			}) {
			continue
		}
		for _, k := range c.causes {
			if k.between != nil && k.of == nil && separates(x.groups, k.groups) && c.unequalBefore(x, k) {
				x.of = k
				break
			}
		}
	}
}

// unequalBefore tells whether members that two causes tell apart are known to have held different numbers of revisions before the
// entry of the first of these: it did not part them then.
func (c *comparison) unequalBefore(x, k *cause) bool {
	if x.index == 0 || x.layer == LayerLog {
		return false
	}
	for n, g := range x.groups {
		for _, i := range g {
			for _, j := range slices.Concat(x.groups[n+1:]...) {
				a, b := c.revisionAt(i, x.index-1), c.revisionAt(j, x.index-1)
				if a >= 0 && b >= 0 && a != b && separates([][]int{{i}, {j}}, k.groups) {
					return true
				}
			}
		}
	}
	return false
}

// ledBy is the first of several causes that tell apart all members whose rows at or below the compact revision differ, though none
// of them does so alone: a fork, and what one member did against its own log. It is nil if some are not told apart.
func (c *comparison) ledBy(k *cause) *cause {
	var by []*cause
	for n, g := range k.groups {
		for _, i := range g {
			for _, j := range slices.Concat(k.groups[n+1:]...) {
				x := slices.IndexFunc(c.causes, func(x *cause) bool { return c.tellsApart(x, k, i, j) })
				if x < 0 {
					return nil
				}
				by = append(by, c.causes[x])
			}
		}
	}
	if !slices.ContainsFunc(by, func(x *cause) bool { return x != by[0] }) {
		return nil
	}
	return by[0]
}

// tellsApart tells whether two members may hold what they do at or below the compact revision because of a cause.
func (c *comparison) tellsApart(x, k *cause, i, j int) bool {
	if x.layer == LayerLog {
		return c.logs.parted(i, j) < math.MaxUint64
	}
	return x != k && x.between == nil && x.own() && 0 < x.revision && x.revision <= k.newest() && slices.Contains(x.odd, i) != slices.Contains(x.odd, j) &&
		(x.layer != LayerStorage || !slices.ContainsFunc(k.keys, func(key string) bool { return !x.changes(key) }))
}

// changes tells whether a key is among those that an entry changed on some member.
func (k *cause) changes(key string) bool {
	return slices.ContainsFunc(k.effects, func(e Effect) bool {
		return slices.ContainsFunc(e.Changes, func(ch Change) bool { return string(ch.Key) == key })
	})
}

// turned tells whether members had parted in who may write before the first of them came to a revision.
func (c *comparison) turned(x *cause, revision int64) bool {
	if x.layer != LayerAuth || x.index == 0 || x.revision > 0 {
		return false
	}
	before := false
	for _, i := range slices.Concat(x.groups...) {
		at := c.revisionAt(i, x.index)
		if at >= revision {
			return false
		}
		before = before || at >= 0
	}
	return before
}

// newest is the last revision that may have made the rows of a cause differ.
func (k *cause) newest() int64 {
	if k.latest > 0 {
		return min(k.latest, k.between.Last)
	}
	return k.between.Last
}

// joined tells whether a partition tells members apart that another one has on one side.
func joined(a, b [][]int) bool {
	return slices.ContainsFunc(b, func(side []int) bool {
		return len(slices.DeleteFunc(slices.Clone(a), func(g []int) bool { return !meets(g, side) })) > 1
	})
}

// partly tells whether a partition tells members apart of which another one knows some only: what the rest did then is
// compacted away. Those that it knows must be on one of its sides together.
func partly(a, b [][]int) bool {
	known := slices.Concat(b...)
	in, out := 0, 0
	for _, g := range a {
		some := slices.DeleteFunc(slices.Clone(g), func(i int) bool { return !slices.Contains(known, i) })
		in, out = in+min(len(some), 1), out+len(g)-len(some)
	}
	return len(b) > 1 && in == 1 && out > 0
}

// strange tells whether a partition tells apart members alone of which another one knows none: what they did then is compacted
// away, so that they may well have been on either side of it.
func strange(a, b [][]int) bool {
	known := slices.Concat(b...)
	return len(b) > 1 && !slices.ContainsFunc(slices.Concat(a...), func(i int) bool { return slices.Contains(known, i) })
}

// followRules makes consequences of tables that differ because a rule kept the entry that changes them from having an
// effect, too.
func (c *comparison) followRules() {
	for _, k := range c.causes {
		if k.of != nil || k.index == 0 || k.layer != LayerAuth && k.layer != LayerAlarm && k.layer != LayerLease {
			continue
		}
		for _, r := range c.causes {
			if r.rule == nil || r.outcome != align.Refused || min(r.index, r.at().First) >= k.index || !r.parts(k.groups) {
				continue
			}
			if q := c.request(r.odd[0], k.index); q != nil && r.rule.hits(q) {
				k.of = r
				break
			}
		}
	}
}

// parts tells whether a partition has only members on one side that a cause befell, and none of them on any other.
func (k *cause) parts(groups [][]int) bool {
	befallen := 0
	for _, g := range groups {
		n := len(slices.DeleteFunc(slices.Clone(g), func(i int) bool { return !slices.Contains(k.odd, i) }))
		if n > 0 && n < len(g) {
			return false
		}
		befallen += min(n, 1)
	}
	return befallen == 1 && len(groups) == 2
}

// followRefusals makes consequences of requests that members judged by other permissions, or by another auth revision, because
// a rule had refused them a change of auth before.
func (c *comparison) followRefusals() {
	for _, x := range c.causes {
		if x.of != nil || x.layer != LayerApply || x.again || x.index == 0 || x.outcome != align.Permitted && (x.rule == nil || !x.rule.byAuthRevision) {
			continue
		}
		for _, r := range c.causes {
			if r.rule == nil || r.outcome != align.Refused || r.layer != LayerApply || r.index >= x.index || !slices.Equal(r.odd, x.odd) {
				continue
			}
			if slices.ContainsFunc(c.views[x.odd[0]].authWrites, func(w authz.Write) bool {
				return r.index < w.Index && w.Index < x.index && r.rule.hits(w.Request)
			}) && r.root() != x {
				x.of = r.root()
				break
			}
		}
	}
}

// followAlarms makes consequences of leases that were granted on those members only on which an alarm was not on, and of requests
// that want a lease which was revoked there.
func (c *comparison) followAlarms() {
	for _, k := range c.causes {
		o := k.origin
		if o == nil || o.lease != 0 {
			continue
		}
		for _, x := range c.causes {
			switch {
			case x.of != nil || !separates(x.groups, k.groups):
			case x.layer == LayerLease && o.index < x.index && x.index < o.end,
				x.layer == LayerApply && x.outcome == align.Refused && !x.again && x.index > o.index && slices.Equal(x.odd, k.odd) && c.uses(x, c.revokedIn(x, o)):
				x.of = k
			}
		}
	}
}

// revokedIn are the leases that the entry of a cause wants and that were to be revoked while the alarms of an origin were on.
func (c *comparison) revokedIn(k *cause, o *origin) (leases []int64) {
	i := k.odd[0]
	for _, s := range c.stepsAt(i, k.index) {
		for _, id := range leasesNeeded(nil, s.Predicted) {
			if slices.ContainsFunc(c.views[i].leases[id], func(ev leaseEvent) bool {
				return ev.refused && !ev.grant && o.index < ev.index && ev.index < min(o.end, k.index)
			}) {
				leases = append(leases, id)
			}
		}
	}
	return leases
}

// followLosses makes consequences of auth tables that lack an entry which may be among those that had no effect on the same members, in
// a row or as all of one user: the tables alone do not say which entry it was.
func (c *comparison) followLosses() {
	for _, k := range c.causes {
		if k.layer != LayerAuth || k.of != nil || k.index == 0 || k.again || k.outcome != align.Refused || len(k.odd) == 0 || len(k.groups) != 2 {
			continue
		}
		n := slices.IndexFunc(k.groups, func(g []int) bool { return slices.Equal(g, k.odd) })
		if n < 0 {
			continue
		}
		one, _ := c.lacking(k.odd, k.groups[1-n])
		for _, x := range c.causes {
			if x == k || x.of != nil || x.layer != LayerApply || x.outcome != align.Refused || x.again || !slices.Equal(x.odd, k.odd) {
				continue
			}
			among := slices.DeleteFunc(slices.Clone(one), func(index uint64) bool { return !c.maySpan(x, index) })
			if len(among) == 0 {
				continue
			}
			k.of = x
			if last := slices.Max(among); x.interval != nil && x.interval.First <= last && last < x.interval.Last {
				if x.interval.Last = last; x.interval.First == last {
					c.moveTo(x, last)
					x.interval = nil
				}
			}
			break
		}
	}
}

// maySpan tells whether an entry may be one of those that had no effect because of a cause.
func (c *comparison) maySpan(x *cause, index uint64) bool {
	first, last := x.at().First, x.at().Last
	for _, e := range x.entries {
		last = max(last, e)
	}
	return first <= index && index <= last && x.rule == nil
}

// followTurns makes consequences of requests that an alarm refuses, on members that left out the entry which turned it on
// with others.
func (c *comparison) followTurns() {
	for _, x := range c.causes {
		if x.layer != LayerApply || x.outcome != align.Permitted || x.again || x.of != nil {
			continue
		}
		i := x.odd[0]
		if t, known := c.views[i].alarmAt(x.index); known && t.on && t.index > 0 && refusedBy(t, c.request(i, x.index).Internal) {
			x.of = c.leftOut(x.odd, t.index)
		}
	}
}

// followReplays makes one cause of a replay that began before the log does: what it went on with is applied again next.
func (c *comparison) followReplays() {
	for _, r := range c.causes {
		if !r.again || r.index > 0 {
			continue
		}
		var next *cause
		for _, k := range c.causes {
			if k.again && k.index > 0 && k.layer == LayerApply && slices.Equal(k.odd, r.odd) && (next == nil || k.index < next.index) {
				next = k
			}
		}
		if next != nil && next.of == nil {
			next.of = r
		}
	}
}

// followRegrants makes consequences of leases that only members hold which applied entries again, if what granted them may be among
// these.
func (c *comparison) followRegrants() {
	for _, k := range c.causes {
		if k.layer != LayerLease || k.of != nil || k.index == 0 || len(k.leases) == 0 {
			continue
		}
		for _, x := range c.causes {
			if x.layer != LayerApply || !x.again || x.of != nil || len(x.odd) == 0 || !x.parts(k.groups) || !c.inReplay(&cause{odd: x.odd, index: k.index}, x) {
				continue
			}
			if !slices.ContainsFunc(k.leases, func(id int64) bool { return !c.heldBy(x.odd, slices.Concat(k.groups...), id) }) {
				k.of = x
				break
			}
		}
	}
}

// heldBy tells whether a lease is in the tables of just some of several members.
func (c *comparison) heldBy(some, all []int, lease int64) bool {
	return !slices.ContainsFunc(all, func(i int) bool {
		held := slices.ContainsFunc(c.ms[i].DB.Tables.Leases, func(r schema.LeaseRecord) bool { return r.ID == lease })
		return held != slices.Contains(some, i)
	})
}

// forked tells whether all members in different groups follow different logs.
func (c *comparison) forked(groups [][]int) bool {
	for n, g := range groups {
		for _, h := range groups[n+1:] {
			for _, i := range g {
				for _, j := range h {
					if c.logs.parted(i, j) == math.MaxUint64 {
						return false
					}
				}
			}
		}
	}
	return len(groups) > 1
}

// witness is a member whose log holds the entry that is meant: after a fork others may have another one.
func (k *cause) witness() int {
	if len(k.tellers) > 0 {
		return k.tellers[0]
	}
	if len(k.odd) > 0 {
		return k.odd[0]
	}
	return k.groups[0][0]
}

// shownFrom are the revisions from which on a cause whose first entry no log holds may have shown, in rows that compaction has left,
// too.
func (c *comparison) shownFrom(k *cause) *RevisionInterval {
	first := c.firstAlike(k.revision, k.groups)
	for _, x := range c.causes {
		if x.root() == k && x.between != nil {
			first = min(first, x.between.First)
		}
	}
	return &RevisionInterval{First: first, Last: k.revision}
}

func (c *comparison) write(k *cause) Divergence {
	v := Divergence{
		Layer: k.layer, EntryInterval: k.interval, Revision: k.revision, Effects: k.effects, What: k.what,
		Entries: k.entries, RevisionInterval: k.between,
	}
	if k.index > 0 {
		v.Entry = c.entry(k.witness(), k.index)
	} else {
		v.Entries = nil
	}
	if k.interval != nil && k.between == nil && k.revision > 0 && (k.layer == LayerLog || c.entry(k.witness(), k.interval.First) == nil) {
		v.RevisionInterval = c.shownFrom(k)
	}
	if k.interval != nil && v.Entry != nil {
		if v.Entry = nil; k.layer != LayerLog {
			v.Candidates = c.candidates(k)
		}
	}
	for _, g := range k.groups {
		v.Groups = append(v.Groups, c.labels(g))
	}
	v.Minority = minority(v.Groups)
	keys := map[string]struct{}{}
	for _, key := range k.keys {
		keys[key] = struct{}{}
	}
	for _, e := range k.effects {
		for _, ch := range e.Changes {
			keys[string(ch.Key)] = struct{}{}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if text, b64 := Key(key).named(); b64 != "" {
			v.KeysBase64 = append(v.KeysBase64, b64)
		} else {
			v.Keys = append(v.Keys, text)
		}
	}
	if v.Entry != nil {
		for _, i := range k.groups[0] {
			if r := c.request(i, k.index); r != nil && r.Internal != nil && r.Internal.LeaseRevoke != nil {
				v.Leases = append(v.Leases, ID(uint64(r.Internal.LeaseRevoke.ID)))
				break
			}
		}
	}
	for _, id := range k.leases {
		if !slices.Contains(v.Leases, ID(uint64(id))) {
			v.Leases = append(v.Leases, ID(uint64(id)))
		}
	}
	if k.tale != nil {
		c.writeTale(&v, k.tale)
	}
	if v.What == "" {
		v.What = v.sentence()
	}
	return v
}

// single tells whether a cause is of one entry, or of one that led to it, and not of neighbours that write the same.
func (k *cause) single() bool { return len(k.instead) > 0 && k.interval.Last == k.index }

// maxCandidates bounds how many of the entries that could be meant are listed.
const maxCandidates = 10

// candidates are the entries in a cause's interval that are of the same kind.
func (c *comparison) candidates(k *cause) []Entry {
	var out []Entry
	i := k.witness()
	want := c.entry(i, k.index)
	for x := k.interval.First; x <= k.interval.Last && len(out) < maxCandidates; x++ {
		if e := c.entry(i, x); e != nil && want != nil && (e.Type == want.Type && !k.single() || x == k.index || slices.Contains(k.instead, x)) {
			out = append(out, *e)
		}
	}
	return out
}

// sentence says what the odd ones out did.
func (v *Divergence) sentence() string {
	for _, e := range v.Effects {
		if e.Note != "" {
			return e.Note
		}
	}
	return "the entry had different effects"
}

// minority is everyone outside the largest group, nil if that is not more than half.
func minority(groups [][]string) []string {
	all := 0
	for _, g := range groups {
		all += len(g)
	}
	if len(groups) < 2 || 2*len(groups[0]) <= all {
		return nil
	}
	var rest []string
	for _, g := range groups[1:] {
		rest = append(rest, g...)
	}
	slices.Sort(rest)
	return rest
}

const unexplained = "the members hold different rows; no log that is left tells which entry made the difference"

const unmade = "a revision that no entry of the log made"

// rowCauses makes a cause of every parting of the rows that none of the causes found so far can have led to. Mostly it
// lies before the first entry that is left; those named later must not hide it.
func (c *comparison) rowCauses() {
	for _, p := range slices.Concat(c.parts, c.partedByNumber(), c.partedUnseen()) {
		if p.groups = c.untold(&p); len(p.groups) == 0 || c.befell(&p) {
			continue
		}
		k := &cause{layer: LayerApply, revision: p.revision, groups: slices.Clone(p.groups), what: unexplained}
		k.between = &RevisionInterval{First: c.firstAlike(p.revision, p.groups), Last: max(p.revision, p.upTo)}
		k.interval = c.before(*k.between)
		sortGroups(k.groups)
		for _, g := range k.groups {
			k.effects = append(k.effects, Effect{Members: c.labels(g), Revision: p.revision, Changes: changes(c.ms[g[0]].DB.Rows.Group(p.revision))})
		}
		if fields := fieldsApart(c.ms[k.groups[0][0]].DB.Rows.Group(p.revision), c.ms[k.groups[len(k.groups)-1][0]].DB.Rows.Group(p.revision)); fields != "" {
			k.effects[len(k.effects)-1].Note = fmt.Sprintf("its row differs from that of %s in its %s", strings.Join(c.labels(k.groups[0]), ", "), fields)
		}
		if i, s := c.toldBy(&p); s != nil {
			k.layer, k.index, k.tellers, k.between, k.interval = LayerStorage, s.Index, []int{i}, nil, nil
			k.what = "the stored rows differ from what the entry writes, and those behind them do not"
		}
		c.causes = append(c.causes, k)
	}
	c.goneCauses()
}

// maxGone bounds how many revisions without rows are told by themselves.
const maxGone = 8

// goneCauses makes a cause of every revision above the compact revision of which some members have no rows at all, although they have come
// further, where no log that is left tells what made it: nothing that befell a member before leads to that.
func (c *comparison) goneCauses() {
	told := 0
	for _, main := range c.differing {
		var gone, held []int
		for i, m := range c.ms {
			switch t := c.traces[i]; {
			case main <= m.DB.CompactRevision() || main >= c.last[i] || m.DB.Rows.Unknown(main):
			case len(m.DB.Rows.Group(main)) > 0:
				held = append(held, i)
			case t.first() > 0 && main > t.startRevision():
			default:
				gone = append(gone, i)
			}
		}
		groups := [][]int{gone, held}
		if len(gone) == 0 || len(held) == 0 || slices.ContainsFunc(c.causes, func(k *cause) bool {
			return separates(k.groups, groups) && (k.revision == main || k.between != nil && k.layer != LayerLog && k.between.First <= main && main <= k.between.Last)
		}) {
			continue
		}
		if told++; told > maxGone {
			return
		}
		k := &cause{layer: LayerStorage, revision: main, groups: groups, what: "the revision was made, but its rows are gone on " + strings.Join(c.labels(gone), ", "), between: &RevisionInterval{First: main, Last: main}}
		k.interval = c.before(*k.between)
		sortGroups(k.groups)
		for _, g := range k.groups {
			k.effects = append(k.effects, Effect{Members: c.labels(g), Revision: main, Changes: changes(c.ms[g[0]].DB.Rows.Group(main))})
		}
		c.causes = append(c.causes, k)
	}
}

// untold are the groups of a parting some of which none of the causes found so far tells apart.
func (c *comparison) untold(p *parting) (groups [][]int) {
	causes := slices.DeleteFunc(slices.Clone(c.causes), func(k *cause) bool { return !c.explains(k, p) })
	return slices.DeleteFunc(slices.Clone(p.groups), func(g []int) bool {
		return !slices.ContainsFunc(p.groups, func(h []int) bool {
			return g[0] != h[0] && !slices.ContainsFunc(causes, func(k *cause) bool { return separates([][]int{g, h}, k.groups) })
		})
	})
}

// befell tells whether what parts members from all others is what befell these against their own log, of which the others have
// compacted what they made of it. It shows them on the other side then.
func (c *comparison) befell(p *parting) bool {
	n := slices.IndexFunc(c.causes, func(k *cause) bool {
		return k.own() && k.again && k.of == nil && len(k.groups) == 1 && 0 < k.revision && k.revision <= p.revision && len(p.groups) == 2 &&
			slices.ContainsFunc(p.groups, func(g []int) bool { return slices.Equal(g, k.groups[0]) })
	})
	if n < 0 {
		return false
	}
	k := c.causes[n]
	k.groups = slices.Clone(p.groups)
	sortGroups(k.groups)
	return true
}

// toldBy is a member that holds what its log demands at a revision of which the logs of those that hold otherwise do not tell, and
// the step that says so: where members hold the same again behind it, the same entry made it on all of them.
func (c *comparison) toldBy(p *parting) (member int, step *align.Step) {
	if !c.single(p) {
		return 0, nil
	}
	for i, t := range c.traces {
		own := slices.IndexFunc(p.groups, func(g []int) bool { return slices.Contains(g, i) })
		if own < 0 || slices.ContainsFunc(p.groups, func(g []int) bool {
			apart := c.isolated(i, g[0])
			return g[0] != p.groups[own][0] && (!slices.Contains(apart, p.revision) || slices.Contains(apart, p.revision+1))
		}) {
			continue
		}
		t.steps(func(s *align.Step) {
			if s.Revision == p.revision && s.Index > 0 && s.Outcome == align.Applied && !s.Again {
				member, step = i, s
			}
		})
	}
	return member, step
}

// partedByNumber is the parting of members that have come to the common index with more or fewer revisions, which rows do
// not show if those with fewer have stopped there.
func (c *comparison) partedByNumber() []parting {
	var known []int
	low := int64(math.MaxInt64)
	for i, at := range c.at {
		if at >= 0 {
			known, low = append(known, i), min(low, at)
		}
	}
	groups := partition(known, func(i, j int) bool { return (c.at[i] > low) == (c.at[j] > low) })
	// Where all may have done the same with some neighbour of that entry, it is a matter of reading.
	if len(groups) < 2 || slices.ContainsFunc(c.misread, func(k *cause) bool { return separates(groups, k.groups) }) {
		return nil
	}
	return []parting{{revision: low + 1, groups: groups}}
}

// maxCounted bounds how many entries are looked at for whether they can make a revision.
const maxCounted = 1024

// partedUnseen are the partings of members that have parted later, too, and of which one shows a revision that it cannot have come to
// since the first entry that another one shows, though each entry in between had made one: something told them apart before, or in
// between, which compaction has removed.
func (c *comparison) partedUnseen() (all []parting) {
	for i, t := range c.traces {
		p := parting{revision: t.startRevision() + 1, groups: [][]int{{i}, nil}, upTo: math.MaxInt64}
		for j, o := range c.traces {
			switch {
			case j == i || t.first() <= 1 || c.logs.parted(i, j) < math.MaxUint64:
			case o.first() == t.first() && o.startRevision() == t.startRevision():
				p.groups[0] = append(p.groups[0], j)
			case o.first() > t.first() && c.partedLater(i, j) && !c.mayMake(i, t.first(), o.first(), o.startRevision()-t.startRevision()):
				p.groups[1], p.upTo = append(p.groups[1], j), min(p.upTo, o.startRevision())
			}
		}
		slices.Sort(p.groups[0])
		if p.groups[0][0] == i && len(p.groups[1]) > 0 {
			all = append(all, p)
		}
	}
	return all
}

// partedLater tells whether an entry is known at which two members did different things.
func (c *comparison) partedLater(i, j int) bool {
	return slices.ContainsFunc(c.causes, func(k *cause) bool { return k.index > 0 && separates([][]int{{i}, {j}}, k.groups) })
}

// mayMake tells whether the entries from one on, before another one, can have made so many revisions.
func (c *comparison) mayMake(i int, from, to uint64, revisions int64) bool {
	if int64(to-from) < revisions || to-from > maxCounted {
		return int64(to-from) >= revisions
	}
	for x := from; x < to && revisions > 0; x++ {
		if q := c.request(i, x); q == nil || align.ChangesKeys(q) {
			revisions--
		}
	}
	return revisions <= 0
}

// explains tells whether members may have parted in their rows because of a cause: it tells them apart, and did so before.
func (c *comparison) explains(k *cause, p *parting) bool {
	if !separates(p.groups, k.groups) {
		return false
	}
	if k.layer == LayerLog && (k.interval != nil && c.single(p) || across(p.groups, k.groups)) {
		return false // they held the same again behind it, and so had not parted in their logs; or others had parted than these
	}
	if k.layer != LayerLog && (k.revision > 0 || k.index == 0) {
		return k.revision > 0 && k.revision <= p.revision
	}
	return !c.precedes(p, k)
}

// across tells whether members of different sides of a fork hold the same, while members of one side do not.
func across(groups, sides [][]int) bool {
	parted := slices.ContainsFunc(sides, func(s []int) bool {
		return len(slices.DeleteFunc(slices.Clone(groups), func(g []int) bool { return !meets(g, s) })) > 1
	})
	return parted && slices.ContainsFunc(groups, func(g []int) bool {
		return len(slices.DeleteFunc(slices.Clone(sides), func(s []int) bool { return !meets(g, s) })) > 1
	})
}

// meets tells whether two groups share a member.
func meets(a, b []int) bool {
	return slices.ContainsFunc(a, func(i int) bool { return slices.Contains(b, i) })
}

// single tells whether all members that parted in their rows hold the same again behind them. Several revisions in a row that
// differ are no such: those of members that have parted may be the same by chance now and then.
func (c *comparison) single(p *parting) bool {
	for n, g := range p.groups {
		for _, h := range p.groups[n+1:] {
			apart := c.isolated(g[0], h[0])
			if !slices.Contains(apart, p.revision) || slices.Contains(apart, p.revision+1) {
				return false
			}
		}
	}
	return true
}

// precedes tells whether rows parted before the first entry that a cause may lie at, which made no revision of its own.
func (c *comparison) precedes(p *parting, k *cause) bool {
	return slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool { return c.revisionAt(i, k.forked()-1) >= p.revision })
}

// forked is the first entry at which logs may have parted, and the entry of any other cause.
func (k *cause) forked() uint64 {
	if k.layer == LayerLog && k.interval != nil {
		return k.interval.First
	}
	return k.index
}

// firstAlike goes back from a revision over those that hold the same as later ones on some member: of several in a row that come
// again, as when they were applied again, it shows only behind the last of them that some were missing, or were there twice. Where
// compaction has removed how far back they went, or what the groups that parted held before, it may have been any.
func (c *comparison) firstAlike(revision int64, groups [][]int) int64 {
	revision = c.alikeFrom(revision)
	if revision > c.compact {
		revision = min(c.lastShared(revision, groups)+1, revision)
		for apart := int64(2); apart <= maxRecurring; apart++ {
			revision = min(revision, c.recurring(revision, apart))
		}
	}
	if revision <= c.compact {
		return 1
	}
	return revision
}

// alikeFrom goes back from a revision over those that hold the same on some member, which may be any that compaction has removed.
func (c *comparison) alikeFrom(revision int64) int64 {
	if revision = c.recurring(revision, 1); revision <= c.compact {
		return 1
	}
	return revision
}

// maxRecurring bounds how far apart revisions are that were made by entries which were applied twice.
const maxRecurring = 16

// recurring goes back from a revision over those that hold on some member what it holds some revisions later.
func (c *comparison) recurring(revision, apart int64) int64 {
	first := revision
	for _, m := range c.ms {
		at := revision
		for at > 1 {
			a, b := m.DB.Rows.Group(at-1), m.DB.Rows.Group(at-1+apart)
			if len(a) == 0 || !repeats(a, b) {
				break
			}
			at--
		}
		first = min(first, at)
	}
	return first
}

// repeats tells whether one revision may have been made by the same request as the one before: it writes the same, except for
// what had been deleted by then.
func repeats(before, after []mvcc.Row) bool {
	kept := slices.DeleteFunc(slices.Clone(before), func(r mvcc.Row) bool {
		return r.Tombstone && !slices.ContainsFunc(after, func(o mvcc.Row) bool { return sameWrite(r, o) })
	})
	return slices.EqualFunc(kept, after, sameWrite)
}

// maxShared bounds how many rows are gone back over for one that several members hold.
const maxShared = 1000

// lastShared is the last revision before one of which two of some groups of members hold the same row. A tombstone does not count:
// it does not say what was deleted, so that those of two entries look the same.
func (c *comparison) lastShared(revision int64, groups [][]int) (last int64) {
	for n, g := range groups {
		for _, i := range g {
			for _, j := range slices.Concat(groups[n+1:]...) {
				last = max(last, c.sharedBefore(i, j, revision))
			}
		}
	}
	return last
}

func (c *comparison) sharedBefore(i, j int, revision int64) int64 {
	t, o := c.ms[i].DB.Rows, c.ms[j].DB.Rows
	high := t.Lower(revision)
	for n := high - 1; n >= max(high-maxShared, 0); n-- {
		r := t.Row(n)
		if !r.Tombstone && slices.ContainsFunc(o.Group(r.Rev.Main), func(x mvcc.Row) bool { return x.Rev == r.Rev && sameRow(&x, &r) }) {
			return r.Rev.Main
		}
	}
	return 0
}

// before bounds the entry that made one of some revisions, none of which a log that is left reaches: an entry makes one
// revision at most, so that it was not earlier than the first of them allows, and it was before all entries whose effect
// is known on any member.
func (c *comparison) before(r RevisionInterval) *Interval {
	last := uint64(0)
	for i, t := range c.traces {
		switch f := t.first(); {
		case f == 0:
			last = max(last, c.ms[i].DB.Tables.ConsistentIndex)
		default:
			last = max(last, f-1)
		}
		// A log may well reach back to entries that made such revisions.
		t.steps(func(s *align.Step) {
			if s.Revision > 0 && s.Revision <= r.Last {
				last = max(last, s.Index)
			}
		})
	}
	if last == 0 {
		return nil
	}
	return &Interval{First: min(uint64(max(r.First-1, 1)), last), Last: last}
}

// since counts the entries after the first divergence.
func (c *comparison) since() {
	for _, v := range c.doc.Divergences {
		at := uint64(0)
		switch {
		case v.Entry != nil:
			at = v.Entry.Index
		case v.EntryInterval != nil:
			at = v.EntryInterval.Last
		default:
			continue
		}
		if at < c.doc.Common.Index {
			c.doc.Counts.EntriesSince = int(c.doc.Common.Index - at)
		}
		return
	}
}
