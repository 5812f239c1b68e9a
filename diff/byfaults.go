package diff

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/raftlog"
)

// explained is a member whose own log, with the faults of a reading, makes just what its db holds.
type explained struct {
	member   *faults.Member
	readings []faults.Reading // all that explain it within a margin; chosen is one of them
	chosen   faults.Reading
	also     []faults.Reading // with another revision before the log begins
	limits   []string
	reach    uint64 // the last entry whose effects the db holds
	// Of each entry of the log, what it did: equal digests are equal changes of keys, 0 is none.
	did []uint64
}

// tale is one fault, or one bug, with all members that it befell.
type tale struct {
	kind    faults.Kind
	members []int
	onset   map[int]Interval // of each member, the first entry that it touched
	until   map[int]uint64   // and the last one, 0 if it goes on to the end
	first   uint64           // the first entry that did something else because of it
	sets    [][]faults.Fault
	slots   map[int]int // of each member, which of the faults of its chosen reading it is
}

// fault is the first of those that it may be.
func (t *tale) fault() faults.Fault { return t.sets[0][0] }

// explained tells whether each member is explained by its own log, with the faults that it takes, and tells all that follows then. Members
// that hold the same need no explanation.
func (c *comparison) explained() bool {
	if len(c.ms) > 1 && c.alike() {
		return false
	}
	all := c.explainMembers()
	if all == nil {
		return false
	}
	c.tell(all)
	return true
}

// explainMembers looks for the faults that explain every member by its own log. It is nil if some member cannot be explained so: logs have
// gaps or differ, its db is damaged, members had parted before the log begins, or nothing that was tried leads to what it holds.
func (c *comparison) explainMembers() []*explained {
	logs, low := c.applicable()
	if logs == nil {
		return nil
	}
	all := make([]*explained, len(c.ms))
	evidence := make([]*faults.Evidence, len(c.ms))
	c.each(func(i int) {
		db := c.ms[i].DB
		evidence[i] = faults.NewEvidenceSince(logs[i], db.Rows, db.Tables, c.last[i], db.CompactRevision(), low)
	})
	if logs[0].Entries[0].Index == 1 {
		c.each(func(i int) {
			m := faults.NewMember(logs[i], evidence[i], apply.New(logs[i]), min(c.views[c.source(i)].last(), committed(c.ms[i])), c.rulesOf(i)...)
			if res := m.Search(); len(res.Readings) > 0 {
				all[i] = &explained{member: m, readings: res.Readings, limits: res.Limits}
			}
		})
	}
	// A cluster that was restored begins with a keyspace, too.
	if slices.ContainsFunc(all, func(x *explained) bool { return x == nil || x.foreign() }) && c.oneLog(logs) {
		later := make([]*explained, 0, len(all))
		for _, x := range c.searchLater(logs[0], evidence, low) {
			later = append(later, &explained{member: x.Member, readings: x.Readings, also: x.Also, limits: x.Limits})
		}
		if len(later) > 0 && (slices.Contains(all, nil) || cost(later) < cost(all)) {
			all = later
		}
	}
	if slices.Contains(all, nil) {
		return nil
	}
	choose(all)
	for _, x := range all {
		x.reach = x.member.Reach(&x.chosen)
		x.did = x.effects(len(x.chosen.Faults))
	}
	return all
}

// cost is what the likeliest readings of all members take.
func cost(all []*explained) (sum int) {
	for _, x := range all {
		sum += x.readings[0].Cost
	}
	return sum
}

// foreign tells whether there is something that no entry of the log wrote.
func (x *explained) foreign() bool {
	return slices.ContainsFunc(x.readings[0].Faults, func(f faults.Fault) bool { return f.Kind == faults.Extra || f.Kind == faults.Rows })
}

// oneLog tells whether all members follow one log.
func (c *comparison) oneLog(logs []*apply.Log) bool {
	return !slices.ContainsFunc(logs, func(l *apply.Log) bool { return l != logs[0] })
}

// applicable are the logs of the members, ready to be applied, with the same numbers for keys and leases; members that follow one log share it. low is a
// revision before the logs begin up to which only the newest rows of their keys matter. There are none if one has a gap, does not go as far as its
// member, or, where they do not begin with the cluster, is not that of all.
func (c *comparison) applicable() (logs []*apply.Log, low int64) {
	low = math.MaxInt64
	whole := c.whole(c.source(0))
	for i, m := range c.ms {
		from := c.source(i)
		es := c.views[from].entries
		if len(es) == 0 || !m.DB.Whole || len(m.DB.Rows.Holes()) > 0 || c.whole(from) != whole || !whole && c.logs.history[from] != c.logs.history[c.source(0)] {
			return nil, 0
		}
		first, last := es[0].Index, c.views[from].last()
		if first > 1 && m.DB.Tables.ConsistentIndex+1 < first || last-first+1 != uint64(len(es)) || last < m.DB.Tables.ConsistentIndex {
			return nil, 0
		}
		low = min(low, c.last[i]-int64(len(es)+len(es)/8)-unusedRevisions)
	}
	if low = max(low, 0); c.views[c.source(0)].entries[0].Index == 1 {
		low = 0
	}
	logs = c.newLogs(low)
	if logs[0].Ranged && low > 0 {
		low = 0
		logs = c.newLogs(low)
	}
	for _, l := range logs {
		if slices.ContainsFunc(l.Entries, func(e apply.Entry) bool { return e.Opaque }) {
			return nil, 0
		}
	}
	return logs, low
}

// source is the member whose log leads to what member i's db holds: itself, unless its own has a gap, as behind a snapshot that it received, and goes on
// as that of another one does, which has none. A log may hold entries that were lost before the snapshot came.
func (c *comparison) source(i int) int {
	contiguous := func(h *history) bool {
		return len(h.entries) > 0 && h.last()-h.entries[0].Index+1 == uint64(len(h.entries))
	}
	if contiguous(c.views[i]) {
		return i
	}
	m := c.ms[i]
	for k := len(m.Log.Entries) - 1; k >= 0; k-- {
		e := &m.Log.Entries[k]
		if e.Index > m.DB.Tables.ConsistentIndex {
			continue
		}
		for j, h := range c.views {
			if x := find(h.entries, e.Index); j != i && contiguous(h) && h.last() >= m.DB.Tables.ConsistentIndex && x != nil && x.Term == e.Term {
				return j
			}
		}
		break
	}
	return i
}

// unusedRevisions is how many more revisions than its entries can have made, an eighth of them twice, a log is taken to reach back.
const unusedRevisions = 1024

// newLogs makes the logs ready, with the keys that rows behind a revision name.
func (c *comparison) newLogs(low int64) []*apply.Log {
	names := make([]faults.Named, len(c.ms))
	c.each(func(i int) { names[i] = faults.NamesSince(c.ms[i].DB.Rows, c.ms[i].DB.Tables, low) })
	var named faults.Named
	for _, n := range names {
		named.Keys, named.Leases = append(named.Keys, n.Keys...), append(named.Leases, n.Leases...)
	}
	logs := make([]*apply.Log, len(c.ms))
	for {
		byHistory := map[int]*apply.Log{}
		for i := range c.ms {
			from := c.source(i)
			h, es := c.logs.history[from], c.views[from].entries
			if byHistory[h] == nil {
				byHistory[h] = apply.NewLog(len(es), func(k int) uint64 { return es[k].Index }, func(k int) *raftlog.Request { return es[k].Request() }, named.Keys, named.Leases)
			}
			logs[i] = byHistory[h]
		}
		alike := !slices.ContainsFunc(logs, func(l *apply.Log) bool {
			return !slices.Equal(l.Keys, logs[0].Keys) || !slices.Equal(l.Leases, logs[0].Leases)
		})
		if alike {
			return logs
		}
		for _, l := range byHistory { // what one log names the others must number, too
			named.Keys, named.Leases = append(named.Keys, l.Keys...), append(named.Leases, l.Leases...)
		}
	}
}

// searchLater finds the faults of members whose log does not begin with the cluster, nil if that leads to nothing, or if they had parted by
// then.
func (c *comparison) searchLater(log *apply.Log, evidence []*faults.Evidence, low int64) []faults.Later {
	auth := c.authBefore()
	if auth == nil {
		return nil
	}
	var ms []faults.Beginner
	for i := range c.ms {
		ms = append(ms, faults.Beginner{Evidence: evidence[i], Auth: auth, Committed: min(c.views[c.source(i)].last(), committed(c.ms[i])), Rules: c.rulesOf(i)})
	}
	all := faults.SearchLater(log, ms, low)
	if len(all) > 0 && c.partedBy(all[0].Begins()) {
		return nil
	}
	return all
}

// authBefore is the auth store before the log begins: what most members' tables lead back to, nil if nothing is known of it.
func (c *comparison) authBefore() (best *authz.State) {
	votes := map[uint64]int{}
	for i, m := range c.ms {
		s := authz.Of(m.DB.Tables)
		if len(c.appliedAuth(i)) > 0 {
			s, _ = authz.Base(c.appliedAuth(i), c.views[i].checkedUpTo(m.DB.Tables.ConsistentIndex), m.DB.Tables)
		}
		if s == nil {
			continue
		}
		d := s.Digest()
		if votes[d]++; best == nil || votes[d] > votes[best.Digest()] {
			best = s
		}
	}
	return best
}

// partedBy tells whether members hold different rows of a revision up to one.
func (c *comparison) partedBy(revision int64) bool {
	for _, main := range c.differing {
		if main > revision {
			break
		}
		for i, m := range c.ms {
			for _, o := range c.ms[:i] {
				a, b := m.DB.Rows.Group(main), o.DB.Rows.Group(main)
				if !agree(a, b) || main > max(m.DB.CompactRevision(), o.DB.CompactRevision()) && main <= min(c.last[i], o.DB.Revision()) && !sameRows(a, b) {
					return true
				}
			}
		}
	}
	return false
}

// rulesOf are the rules that may hold when member i's log begins.
func (c *comparison) rulesOf(i int) []apply.Rules {
	v, err := semver.NewVersion(c.firstVersion(i))
	switch {
	case len(c.views[i].authWrites) == 0: // nobody is asked for permissions
		return []apply.Rules{apply.Rules3510}
	case err != nil:
		return []apply.Rules{apply.Rules3510, apply.Rules33, apply.Rules32}
	case v.Minor <= 2:
		return []apply.Rules{apply.Rules32}
	case v.Minor <= 3:
		return []apply.Rules{apply.Rules33}
	case v.Minor <= 5:
		return []apply.Rules{apply.Rules3510, apply.Rules33}
	}
	return []apply.Rules{apply.Rules3510}
}

// firstVersion is the first cluster version that member i's log sets, empty if it sets none.
func (c *comparison) firstVersion(i int) string {
	es := c.views[i].entries
	for k := range es {
		r := es[k].Request()
		if v := r.Internal.GetClusterVersionSet(); v != nil {
			return v.Ver
		}
		if r.V2 != nil && r.V2.Path == "/0/version" && r.V2.Method == "PUT" {
			return r.V2.Val
		}
	}
	return ""
}

var digests = maphash.MakeSeed()

// digest is what a step changed, whatever the revisions.
func digest(st *faults.Step) uint64 {
	var h maphash.Hash
	h.SetSeed(digests)
	number := func(x uint64) {
		for n := range 8 {
			h.WriteByte(byte(x >> (8 * n)))
		}
	}
	if st.Again {
		h.WriteByte(1)
	}
	for i := range st.Changes {
		c := &st.Changes[i]
		number(uint64(c.Key))
		if !c.Delete {
			number(uint64(c.Record.Lease)<<1 | 1)
			number(c.Record.Value.Sum)
		}
	}
	return h.Sum64() | 1
}

// choose takes of each member's readings one that needs the fewest faults besides those of others: the same fault on several members is
// one cause.
func choose(all []*explained) {
	for _, x := range all {
		x.chosen = x.readings[0]
	}
	for range 2 {
		for i, x := range all {
			shared := func(r *faults.Reading) (n int) {
				for _, f := range r.Faults {
					for j, o := range all {
						if j != i && slices.ContainsFunc(o.readings, func(q faults.Reading) bool {
							return slices.ContainsFunc(q.Faults, func(g faults.Fault) bool { return sameFault(f, g) })
						}) {
							n++
							break
						}
					}
				}
				return n
			}
			x.chosen = slices.MinFunc(x.readings, func(a, b faults.Reading) int {
				return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(shared(&b), shared(&a)))
			})
		}
	}
}

// sameFault tells whether a fault of one member and one of another are one cause.
func sameFault(f, g faults.Fault) bool {
	switch {
	case f.Kind != g.Kind:
		return false
	case f.Kind == faults.Rules:
		return f.To == g.To
	case f.Kind == faults.Refused:
		return f.User == g.User
	}
	return f.First == g.First && f.Last == g.Last && f.Table == g.Table
}

// shorter tells whether one of two members stopped before a run of entries without effect ended on the other: both began with the same.
func shorter(x *explained, f faults.Fault, o *explained, g faults.Fault) bool {
	if f.Kind != faults.Skipped || g.Kind != faults.Skipped || f.First != g.First {
		return false
	}
	if x.reach > o.reach {
		x, f, g = o, g, f
	}
	base := x.member.Log.Entries[0].Index
	for index := f.Last + 1; index <= min(x.reach, g.Last); index++ {
		if x.did[index-base] != 0 {
			return false
		}
	}
	return f.Last <= g.Last
}

// tell makes causes of the faults that explain the members, and the traces, keys and tables that follow from them.
func (c *comparison) tell(all []*explained) {
	c.told, c.doc.Explained = all, true
	c.parts, c.doc.Counts.RevisionsDiffering = c.partings()
	c.traces, c.inputs = make([]*trace, len(c.ms)), make([]align.Input, len(c.ms))
	c.auths, c.unalarmed, c.early = make([]*auth, len(c.ms)), make([]bool, len(c.ms)), make([][]alarmTurn, len(c.ms))
	index := c.indexer()
	for i, x := range all {
		c.auths[i], c.unalarmed[i] = x.auth(), true
		c.inputs[i] = align.Input{
			Log: c.views[i].log, Table: c.ms[i].DB.Rows, Index: index(i), Compact: c.ms[i].DB.CompactRevision(),
			ConsistentIndex: c.ms[i].DB.Tables.ConsistentIndex, Whole: c.whole(i), Judge: c.judge(i),
		}
	}
	for i, x := range all {
		c.doc.Search.Limits = append(c.doc.Search.Limits, prefixed(c.ms[i].Label, x.limits)...)
		c.traces[i] = c.traceOf(i, x)
	}
	c.doc.Search.Bounded = len(c.doc.Search.Limits) > 0
	c.tellCommon()
	c.logCauses()
	for _, t := range c.tales() {
		k := c.causeOfTale(t)
		if len(c.ms) > 1 && len(t.members) == len(c.ms) && len(k.groups) < 2 {
			// What befell all members alike tells none of them from the others.
			c.doc.Notes = append(c.doc.Notes, fmt.Sprintf("all members alike do not hold what their log makes: %s", k.what))
			continue
		}
		c.causes = append(c.causes, k)
	}
	c.compareMembership()
	c.followForksTold()
	c.sortCauses()
	c.tellKeys()
	c.tellLeases()
	c.tellConsequences()
	c.lag()
}

// followForksTold makes who is a member, where that differs between members whose logs differ, a consequence of that.
func (c *comparison) followForksTold() {
	for _, k := range c.causes {
		if k.layer != LayerMembership {
			continue
		}
		for _, f := range c.causes {
			if f.layer == LayerLog && k.of == nil && (k.index == 0 || k.index >= f.index) && separates(k.groups, f.groups) {
				k.of = f
			}
		}
	}
}

func prefixed(label string, texts []string) (all []string) {
	for _, t := range texts {
		all = append(all, label+": "+t)
	}
	return all
}

// tellCommon notes what all members have reached, and the revisions they had there.
func (c *comparison) tellCommon() {
	common := uint64(math.MaxUint64)
	for _, x := range c.told {
		common = min(common, x.reach)
	}
	c.doc.Common.Index, c.doc.Common.Revision = common, math.MaxInt64
	c.at = make([]int64, len(c.ms))
	for i := range c.told {
		c.at[i] = c.revisionAt(i, common)
		c.doc.Common.Revision = min(c.doc.Common.Revision, c.at[i])
	}
}

// traceOf is what each entry did on a member, as alignments tell it.
func (c *comparison) traceOf(i int, x *explained) *trace {
	t := &trace{Alignment: align.Alignment{First: x.member.Log.Entries[0].Index, Revision: x.member.Begins(), Through: c.ms[i].DB.Tables.ConsistentIndex}}
	for _, f := range x.chosen.Faults {
		if f.Kind == faults.Index {
			t.Through, t.Cost = f.Last, 1
		}
	}
	t.Index = c.inputs[i].Index
	log := x.member.Log
	x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
		s := align.Step{Index: st.Index, Again: st.Again, Revision: st.Revision}
		switch {
		case st.Fault == nil && st.Revision > 0 && st.Forbidden:
			s.Outcome, s.Predicted = align.Permitted, changesOf(log, st.Changes)
		case st.Fault == nil && st.Revision > 0, st.Again && st.Revision > 0:
			s.Outcome = align.Applied
		case st.Fault == nil, st.Again:
			s.Outcome = align.NoEffect
		case st.Revision == 0:
			if s.Outcome = align.NoEffect; len(st.Changes) > 0 {
				s.Outcome, s.Predicted = align.Refused, changesOf(log, st.Changes)
			}
		case st.Fault.Kind == faults.Extra:
			s.Outcome = align.Extra
		case st.Fault.Kind == faults.Branch:
			s.Outcome, s.Predicted = align.OtherBranch, changesOf(log, st.Changes)
		case st.Fault.Kind == faults.LetPass:
			s.Outcome, s.Predicted = align.Permitted, changesOf(log, st.Changes)
		case st.Fault.Kind == faults.Rows:
			s.Predicted = changesOf(log, st.Changes)
			s.Outcome, s.Detail = align.Difference(s.Predicted, c.ms[i].DB.Rows.Group(st.Revision))
		}
		t.Cost += s.Cost()
		t.Steps = append(t.Steps, s)
	}, nil)
	return t
}

func changesOf(log *apply.Log, changes []apply.Change) (all []align.Change) {
	for i := range changes {
		ch := &changes[i]
		all = append(all, align.Change{
			Delete: ch.Delete, Key: log.Keys[ch.Key], Value: ch.Record.Value.Bytes, Lease: log.Leases[ch.Record.Lease],
			Create: ch.Record.Create, Version: ch.Record.Version,
		})
	}
	return all
}

// auth is the auth store of a member through time, as its faults explain it.
func (x *explained) auth() *auth {
	var indexes []uint64
	states := []*authz.State{authz.New()}
	x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
		switch {
		case st.Auth == nil:
		case len(indexes) > 0 && indexes[len(indexes)-1] >= st.Index: // applied again
			states[len(states)-1] = st.Auth
		default:
			indexes, states = append(indexes, st.Index), append(states, st.Auth)
		}
	}, nil)
	return &auth{timeline: authz.NewTimeline(indexes, states)}
}

// tales are the faults of all members, each told once, in the order of the log.
func (c *comparison) tales() (tales []*tale) {
	for i, x := range c.told {
		for n, f := range x.chosen.Faults {
			if f.Kind == faults.Index {
				continue // what is there is of a later moment than the index says: that is no difference
			}
			at := slices.IndexFunc(tales, func(t *tale) bool {
				return !slices.Contains(t.members, i) && slices.ContainsFunc(t.members, func(j int) bool {
					return sameFault(f, c.told[j].chosen.Faults[t.slots[j]]) || shorter(x, f, c.told[j], c.told[j].chosen.Faults[t.slots[j]])
				})
			})
			if at < 0 {
				at, tales = len(tales), append(tales, &tale{kind: f.Kind, onset: map[int]Interval{}, until: map[int]uint64{}, slots: map[int]int{}})
			}
			t := tales[at]
			t.members = append(t.members, i)
			t.slots[i] = n
			t.onset[i] = c.onsetOf(x, n)
			if f.Kind == faults.Skipped || f.Kind == faults.Again {
				t.until[i] = f.Last
			}
			if first := c.firstEffect(x, n); t.first == 0 || first > 0 && first < t.first {
				t.first = first
			}
			for _, r := range x.like(n) {
				t.sets = append(t.sets, []faults.Fault{r})
			}
		}
	}
	slices.SortStableFunc(tales, func(a, b *tale) int { return cmp.Compare(a.order(), b.order()) })
	return tales
}

func (t *tale) order() uint64 {
	first := uint64(math.MaxUint64)
	for _, o := range t.onset {
		first = min(first, o.First)
	}
	if t.kind == faults.Table {
		return math.MaxUint64
	}
	return first
}

// like are the faults that may stand in the place of the n-th of the chosen reading: those of readings that are otherwise of the same
// kinds. The chosen one is the first.
func (x *explained) like(n int) []faults.Fault {
	all := []faults.Fault{x.chosen.Faults[n]}
	for _, r := range slices.Concat(x.readings, x.also) {
		if len(r.Faults) != len(x.chosen.Faults) {
			continue
		}
		same := true
		for k := range r.Faults {
			same = same && r.Faults[k].Kind == x.chosen.Faults[k].Kind
		}
		if same && !slices.Contains(all, r.Faults[n]) {
			all = append(all, r.Faults[n])
		}
	}
	return all
}

// onsetOf is the first entry that the n-th fault of a member's chosen reading touched, or that any fault which may stand in its place did.
func (c *comparison) onsetOf(x *explained, n int) Interval {
	in := Interval{First: math.MaxUint64}
	for _, f := range x.like(n) {
		at := c.touched(x, f)
		in.First, in.Last = min(in.First, at), max(in.Last, at)
	}
	return in
}

// touched is the entry that a fault is known by: of entries that were applied again the first that had an effect again.
func (c *comparison) touched(x *explained, f faults.Fault) uint64 {
	if f.Kind != faults.Again {
		return f.First
	}
	made, turned := uint64(0), uint64(0)
	r := faults.Reading{Rules: x.chosen.Rules, Faults: []faults.Fault{f}}
	x.member.Run(&r, f.Last, func(st *faults.Step) {
		if !st.Again {
			return
		}
		if made == 0 && st.Revision > 0 {
			made = st.Index
		}
		if turned == 0 && st.Turned {
			turned = st.Index
		}
	}, nil)
	return cmp.Or(made, turned, f.First)
}

// firstEffect is the first entry that did something else to keys because of the n-th fault than it would have with those before it alone,
// 0 if none did.
func (c *comparison) firstEffect(x *explained, n int) (first uint64) {
	without, with := x.effects(n), x.effects(n+1)
	for k := range with {
		if without[k] != with[k] {
			return x.member.Log.Entries[0].Index + uint64(k)
		}
	}
	return 0
}

// effects are the digests of what each entry does with the first n faults of the chosen reading.
func (x *explained) effects(n int) []uint64 {
	r := x.chosen
	r.Faults = r.Faults[:n]
	did := make([]uint64, len(x.member.Log.Entries))
	base := x.member.Log.Entries[0].Index
	x.member.Run(&r, x.reach, func(st *faults.Step) {
		if st.Revision > 0 && st.Index > 0 {
			did[st.Index-base] ^= digest(st)
		}
	}, nil)
	return did
}

// causeOfTale is a tale as causes are written.
func (c *comparison) causeOfTale(t *tale) *cause {
	f := t.fault()
	at := Interval{First: math.MaxUint64}
	var who int
	for _, i := range t.members {
		if o := t.onset[i]; o.First < at.First {
			at, who = o, i
		}
	}
	k := &cause{layer: LayerApply, index: at.First, odd: t.members, outcome: align.Refused, tale: t}
	if at.Last > at.First {
		k.interval = &Interval{First: at.First, Last: at.Last}
	}
	if l := c.layerOf(who, at.First); l != LayerApply && t.first != at.First {
		k.layer = l
	}
	where := strings.Join(c.labels(t.members), ", ")
	switch f.Kind {
	case faults.Skipped:
		if k.entries = c.affected(who, f); len(k.entries) > 1 {
			k.what = fmt.Sprintf("%d entries in a row had no effect on %s", len(k.entries), where)
		}
	case faults.Again:
		k.again, k.outcome = true, align.Applied
		if k.entries = c.affected(who, f); f.Times > 1 {
			k.what = fmt.Sprintf("%s applied more than once again on %s, %d times", entriesText(f), where, f.Times)
		} else {
			k.what = fmt.Sprintf("%s applied again on %s", entriesText(f), where)
		}
	case faults.Refused:
		k.entries = c.affected(who, f)
		k.what = fmt.Sprintf("no request of user %q had an effect on %s from here on", f.User, where)
	case faults.Rules:
		k.entries = c.affected(who, f)
		k.what = c.rulesText(k, t, f)
	case faults.LetPass:
		k.outcome = align.Permitted
		k.what = fmt.Sprintf("the entry had an effect on %s, although permissions or an alarm refuse it", where)
	case faults.Branch:
		k.outcome = align.OtherBranch
		k.what = fmt.Sprintf("the transaction took the other branch on %s", where)
	case faults.Rows:
		k.layer, k.outcome = LayerStorage, align.Altered
		for _, s := range c.stepsAt(who, f.First) {
			if s.Anomalous() && !s.Again {
				k.outcome, k.what = s.Outcome, note(s, nil)
			}
		}
	case faults.Lost:
		k.index, k.interval, k.layer = cmp.Or(t.first, f.First), nil, LayerApply
		k.what = fmt.Sprintf("leases with negative ids are not known to %s from a restart behind entry %d on, though they are stored", where, f.First)
	case faults.Extra:
		k.layer, k.outcome, k.what = LayerStorage, align.Extra, unmade
		k.index, k.interval, k.entries = 0, nil, []uint64{f.First}
		k.revision = c.revisionAt(who, f.First)
	case faults.Table:
		k.layer = map[faults.TableName]Layer{faults.Auth: LayerAuth, faults.Leases: LayerLease, faults.Alarms: LayerAlarm}[f.Table]
		k.index, k.interval = 0, nil
		k.what = fmt.Sprintf("the table %s of %s is not what its log leads to: rows were changed otherwise than by an entry", f.Table, where)
	}
	c.groupsOfTale(k, t)
	return k
}

// layerOf is that of the table which an entry changes.
func (c *comparison) layerOf(i int, index uint64) Layer {
	switch q := c.request(i, index); {
	case q == nil:
	case isAuthWrite(q.Type):
		return LayerAuth
	case q.Type == "Alarm":
		return LayerAlarm
	case q.Type == "LeaseGrant", q.Type == "LeaseRevoke":
		return LayerLease
	}
	return LayerApply
}

// rulesText says which members follow other rules, from where on, and what became of entries because of that.
func (c *comparison) rulesText(k *cause, t *tale, f faults.Fault) string {
	kind, one := "", true
	for _, index := range k.entries {
		q := c.request(t.members[0], index)
		if q == nil {
			continue
		}
		name := q.Type + " entries"
		if q.User == "" {
			name += " without user"
		}
		if one = one && (kind == "" || kind == name); one {
			kind = name
		}
	}
	if !one || kind == "" {
		kind = "entries"
	}
	var parts []string
	for _, i := range t.members {
		parts = append(parts, fmt.Sprintf("%s from entry %d on", c.ms[i].Label, t.onset[i].First))
	}
	return fmt.Sprintf("by the rules of etcd %v %d %s had no effect that the rules before let have one: %s", f.To, len(k.entries), kind, strings.Join(parts, ", "))
}

func entriesText(f faults.Fault) string {
	if f.First == f.Last {
		return fmt.Sprintf("entry %d was", f.First)
	}
	return fmt.Sprintf("entries %d to %d were", f.First, f.Last)
}

// affected are the entries that did something else because of a fault of a member: those that had no effect, or had it again.
func (c *comparison) affected(i int, f faults.Fault) (entries []uint64) {
	x := c.told[i]
	rules := f.Kind == faults.Rules
	r := x.chosen
	if rules { // what the rules before would have done
		r.Faults = slices.DeleteFunc(slices.Clone(r.Faults), func(g faults.Fault) bool { return g == f })
	}
	made := map[uint64]bool{}
	x.member.Run(&r, x.reach, func(st *faults.Step) {
		switch {
		case rules:
			made[st.Index] = st.Revision > 0 && st.Forbidden
		case st.Fault == nil || *st.Fault != f:
		case f.Kind == faults.Again && (st.Revision > 0 || st.Turned) && st.Again, f.Kind != faults.Again && (len(st.Changes) > 0 || st.Turned):
			made[st.Index] = true
		}
	}, nil)
	for _, index := range slices.Sorted(maps.Keys(made)) {
		if made[index] && (!rules || index >= f.First && x.did[index-x.member.Log.Entries[0].Index] == 0) {
			entries = append(entries, index)
		}
	}
	return entries
}

// groupsOfTale splits the members by what the entry did that did something else first, and says what that was.
func (c *comparison) groupsOfTale(k *cause, t *tale) {
	at := cmp.Or(t.first, k.index)
	if t.kind == faults.Extra {
		at = 0 // no entry has to do with it
	}
	odd := func(i int) bool { return slices.Contains(t.members, i) && (at == 0 || t.onset[i].First <= at) }
	var reached []int
	for i, x := range c.told {
		if x.reach >= at || odd(i) {
			reached = append(reached, i)
		}
	}
	if at > 0 {
		did := func(i int) uint64 { return c.told[i].did[at-c.told[i].member.Log.Entries[0].Index] }
		k.groups = partition(reached, func(i, j int) bool { return did(i) == did(j) })
	}
	if len(k.groups) < 2 {
		k.groups = partition(reached, func(i, j int) bool { return odd(i) == odd(j) })
	}
	sortGroups(k.groups)
	for _, g := range k.groups {
		e := Effect{Members: c.labels(g), Changes: []Change{}}
		switch {
		case at > 0:
			e = c.effectAt(g[0], at, odd(g[0]))
			e.Members = c.labels(g)
		case k.revision > 0 && odd(g[0]):
			e.Revision, e.Changes = k.revision, changes(c.ms[g[0]].DB.Rows.Group(k.revision))
		}
		if e.Revision > 0 && (k.revision == 0 || e.Revision < k.revision) && (!k.again || odd(g[0]) || at != k.index) {
			k.revision = e.Revision // those that did not apply it again made no other revision
		}
		k.effects = append(k.effects, e)
	}
	for n := range k.effects {
		if e := &k.effects[n]; e.Revision == 0 && k.revision > 0 {
			i := k.groups[n][0]
			e.Instead = c.insteadOf(i, k.revision)
		}
	}
}

// effectAt is what an entry did on a member; of one that was applied again, what it did then.
func (c *comparison) effectAt(i int, index uint64, odd bool) (e Effect) {
	x := c.told[i]
	x.member.Run(&x.chosen, max(index, x.reach), func(st *faults.Step) {
		if st.Index != index {
			return
		}
		if st.Revision > 0 {
			e.Revision, e.Changes = st.Revision, toldChanges(x.member.Log, st.Changes)
		}
		switch {
		case st.Again:
			e.Note = "applied again"
		case st.Fault != nil && st.Revision == 0 && odd:
			e.Note = "no effect"
		case st.Fault != nil && st.Fault.Kind == faults.Rows:
			e.Changes = changes(c.ms[i].DB.Rows.Group(st.Revision))
			for _, s := range c.stepsAt(i, index) {
				if s.Anomalous() && !s.Again {
					e.Note = note(s, nil)
				}
			}
		case st.Forbidden:
			e.Note = "applied, though permissions refuse it by the rules of etcd 3.3 and later"
		}
	}, nil)
	return e
}

// insteadOf is what made a revision on a member.
func (c *comparison) insteadOf(i int, revision int64) (in *Instead) {
	x := c.told[i]
	x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
		if st.Revision == revision && in == nil {
			in = &Instead{Revision: revision, Entry: c.entry(i, st.Index), Changes: toldChanges(x.member.Log, st.Changes)}
		}
	}, nil)
	return in
}

func toldChanges(log *apply.Log, changes []apply.Change) (all []Change) {
	for n := range changes {
		ch := &changes[n]
		op := "put"
		if ch.Delete {
			op = "delete"
		}
		all = append(all, Change{Op: op, Key: Key(log.Keys[ch.Key]), Lease: ID(uint64(log.Leases[ch.Record.Lease]))})
	}
	return all
}

// tellConsequences counts the entries up to the common index that did something else on some members than on others, besides those of
// the causes.
func (c *comparison) tellConsequences() {
	causes := map[uint64]bool{}
	for _, k := range c.causes {
		causes[k.index] = true
		for _, x := range k.entries {
			causes[x] = true
		}
	}
	base, end := c.told[0].member.Log.Entries[0].Index, c.doc.Common.Index
	for _, f := range c.logs.forks {
		end = min(end, f.first-1)
	}
	for index := base; index <= end; index++ {
		if !causes[index] && slices.ContainsFunc(c.told, func(x *explained) bool { return x.did[index-base] != c.told[0].did[index-base] }) {
			c.doc.Counts.Consequences++
		}
	}
}

// writeTale adds what is known of a fault to a divergence.
func (c *comparison) writeTale(v *Divergence, t *tale) {
	v.Faulty, v.Onset = c.labels(t.members), map[string]Onset{}
	for _, i := range t.members {
		o := Onset{Until: t.until[i]}
		if at := t.onset[i]; at.First < at.Last {
			o.EntryInterval = &at
		} else {
			o.Entry = at.First
		}
		v.Onset[c.ms[i].Label] = o
	}
	if t.first > t.order() && t.first < math.MaxUint64 {
		v.FirstEffect = &FirstEffect{Entry: t.first, Revision: v.Revision}
		if e := c.entry(t.members[0], t.first); e != nil {
			v.FirstEffect.Type, v.FirstEffect.Summary = e.Type, e.Summary
		}
	}
	for _, set := range t.sets {
		var fs []FaultReading
		for _, f := range set {
			r := FaultReading{Kind: f.Kind.String(), Members: v.Faulty, First: f.First, Last: f.Last, User: f.User, Table: f.Table.String()}
			switch f.Kind {
			case faults.Again:
				r.Times = f.Times
			case faults.Rules:
				r.Rules = f.To.String()
			}
			fs = append(fs, r)
		}
		if !slices.ContainsFunc(v.Readings, func(o []FaultReading) bool { return slices.EqualFunc(o, fs, FaultReading.same) }) {
			v.Readings = append(v.Readings, fs)
		}
	}
	now := make([]uint64, len(c.told))
	for i, x := range c.told {
		x.at(c.doc.Common.Index, func(s *apply.State) { now[i] = s.Digest() })
	}
	all := make([]int, len(c.told))
	for i := range all {
		all[i] = i
	}
	groups := partition(all, func(i, j int) bool { return now[i] == now[j] })
	sortGroups(groups)
	for _, g := range groups {
		v.GroupsNow = append(v.GroupsNow, c.labels(g))
	}
}

func (r FaultReading) same(o FaultReading) bool {
	return r.Kind == o.Kind && r.First == o.First && r.Last == o.Last && r.Times == o.Times && r.User == o.User && r.Rules == o.Rules && r.Table == o.Table && slices.Equal(r.Members, o.Members)
}
