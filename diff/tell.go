package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/mvcc"
)

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
			number(uint64(c.Record.Value))
		}
	}
	return h.Sum64() | 1
}

// sharedFault is one fault, or one bug, with all members that have it.
type sharedFault struct {
	kind         faults.Kind
	members      []int
	onset        map[int]Interval // of each member, the first entry that it touched
	firstEntries map[int][]uint64 // of each member, in order, all entries that this may begin with
	until        map[int]uint64   // and the last one, 0 if it goes on to the end
	firstEffect  uint64           // the first entry that did something else because of it
	orParted     bool             // all of its members may have parted from the others before the log begins instead
	readings     [][]faults.Fault
	number       map[int]int // of each member, which of the faults of its chosen reading it is
}

// firstReading is the first of those that it may be.
func (t *sharedFault) firstReading() faults.Fault { return t.readings[0][0] }

// endedEarlier tells whether one of two members stopped before a run of entries without effect ended on the other: both began with the same.
func endedEarlier(x *explanation, f faults.Fault, o *explanation, g faults.Fault) bool {
	if f.Kind != faults.Skipped || g.Kind != faults.Skipped || f.First != g.First {
		return false
	}
	if x.reach > o.reach {
		x, f, g = o, g, f
	}
	base := x.member.Log.Entries[0].Index
	for index := f.Last + 1; index <= min(x.reach, g.Last); index++ {
		if x.effectDigests[index-base] != 0 {
			return false
		}
	}
	return f.Last <= g.Last
}

// findCauses makes causes of what tells the members apart: the faults that explain them, and what differs besides where some are not explained.
func (c *comparison) findCauses() {
	c.partings, c.doc.Counts.RevisionsDiffering = c.findPartings()
	for i, x := range c.explained {
		if x != nil {
			c.limit(prefixed(c.ms[i].Label, x.limits)...)
		}
	}
	c.doc.Explained = !slices.Contains(c.explained, nil)
	c.placeCommonIndex()
	c.logCauses()
	for _, t := range c.sharedFaults() {
		k := c.causeOfFault(t)
		if len(c.ms) > 1 && len(t.members) == len(c.ms) && len(k.groups) < 2 {
			// A fault that all members have is no difference between them.
			c.doc.Notes = append(c.doc.Notes, fmt.Sprintf("all members alike do not hold what their log makes: %s", k.what))
			continue
		}
		c.causes = append(c.causes, k)
	}
	c.causesOfPartings()
	if c.partedBeforeLog {
		c.causesBeforeLog()
	}
	if c.doc.Explained {
		c.compareMembership()
		c.followForksTold()
		c.sortCauses()
		c.compareKeysByState()
		c.compareLeasesByState()
		c.countConsequences()
	} else {
		c.compareCompacted()
		c.rowCauses()
		c.compareTables()
		c.sortCauses()
		c.compareKeys()
		c.reasonDisjointRevisions()
	}
	c.lag()
}

// followForksTold makes who is a member, where that differs between members whose logs differ, a consequence of that.
func (c *comparison) followForksTold() {
	for _, k := range c.causes {
		if k.layer != LayerMembership {
			continue
		}
		for _, f := range c.causes {
			if f.layer == LayerLog && k.causedBy == nil && (k.index == 0 || k.index >= f.index) && separates(k.groups, f.groups) {
				k.causedBy = f
			}
		}
	}
}

// limit notes what was not searched to the end.
func (c *comparison) limit(what ...string) {
	c.doc.Search.Limits = append(c.doc.Search.Limits, what...)
	c.doc.Search.Bounded = len(c.doc.Search.Limits) > 0
}

func prefixed(label string, texts []string) (all []string) {
	for _, t := range texts {
		all = append(all, label+": "+t)
	}
	return all
}

func changesOf(log *apply.Log, changes []apply.Change) (all []effect.Change) {
	for i := range changes {
		ch := &changes[i]
		var value []byte
		if !ch.Delete {
			value = log.Bytes(ch.Record.Value)
		}
		all = append(all, effect.Change{
			Delete: ch.Delete, Key: log.Keys[ch.Key], Value: value, Lease: log.Leases[ch.Record.Lease],
			Create: ch.Record.Create, Version: ch.Record.Version,
		})
	}
	return all
}

// authTimeline is the auth store of a member through time, as its faults explain it.
func (x *explanation) authTimeline() *authz.Timeline {
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
	return authz.NewTimeline(indexes, states)
}

// sharedFaults are the faults of all members, each once, in the order of the log.
func (c *explanations) sharedFaults() (tales []*sharedFault) {
	for i, x := range c.explained {
		if x == nil {
			continue
		}
		for n, f := range x.chosen.Faults {
			if f.Kind == faults.Index || f.Kind == faults.GaveUp {
				continue // what is there is of a later moment than the index says, or as it is on others: that is no difference
			}
			at := slices.IndexFunc(tales, func(t *sharedFault) bool {
				return !slices.Contains(t.members, i) && slices.ContainsFunc(t.members, func(j int) bool {
					g := c.explained[j].chosen.Faults[t.number[j]]
					return sameFault(f, g) && (f.Kind != faults.Rows || c.sameRows(i, j, f.First)) || endedEarlier(x, f, c.explained[j], g)
				})
			})
			if at < 0 {
				at, tales = len(tales), append(tales, &sharedFault{kind: f.Kind, onset: map[int]Interval{}, until: map[int]uint64{}, number: map[int]int{}, firstEntries: map[int][]uint64{}, orParted: true})
			}
			t := tales[at]
			t.members = append(t.members, i)
			t.number[i], t.orParted = n, t.orParted && x.orParted
			begins := x.firstEntriesOf(n)
			t.onset[i] = Interval{begins[0], begins[len(begins)-1]}
			t.firstEntries[i] = begins
			if f.Kind == faults.Skipped || f.Kind == faults.Again {
				t.until[i] = f.Last
			}
			if first := x.firstEffect(n); t.firstEffect == 0 || first > 0 && first < t.firstEffect {
				t.firstEffect = first
			}
			for _, r := range x.possibleFaults(n) {
				t.readings = append(t.readings, []faults.Fault{r})
			}
		}
	}
	slices.SortStableFunc(tales, func(a, b *sharedFault) int { return cmp.Compare(a.order(), b.order()) })
	return tales
}

// firstEntriesOn are, in order, the entries that a fault may begin with on a member. Where it is one and the same entry on all of its members, that is one
// which explains each of them, if there is any.
func (t *sharedFault) firstEntriesOn(who int) []uint64 {
	all := t.firstEntries[who]
	if t.kind == faults.Rules || t.kind == faults.Refused || t.kind == faults.OwnReads {
		return all
	}
	shared := slices.DeleteFunc(slices.Clone(all), func(x uint64) bool {
		return slices.ContainsFunc(t.members, func(i int) bool { return !slices.Contains(t.firstEntries[i], x) })
	})
	if len(shared) == 0 {
		return all
	}
	return shared
}

// sameRows tells whether two members hold the same rows of the revision that an entry made.
func (c *explanations) sameRows(i, j int, index uint64) bool {
	a, b := c.ms[i].DB.Rows.Group(c.revisionOf(i, index)), c.ms[j].DB.Rows.Group(c.revisionOf(j, index))
	return slices.EqualFunc(a, b, func(x, y mvcc.Row) bool {
		return x.Rev == y.Rev && x.Tombstone == y.Tombstone && bytes.Equal(x.Value, y.Value)
	})
}

// revisionOf is the revision that an entry made on a member that is explained, 0 if it made none.
func (c *explanations) revisionOf(i int, index uint64) (revision int64) {
	x := c.explained[i]
	x.member.Run(&x.chosen, max(index, x.reach), func(st *faults.Step) {
		if st.Index == index && revision == 0 {
			revision = st.Revision
		}
	}, nil)
	return revision
}

func (t *sharedFault) order() uint64 {
	first := uint64(math.MaxUint64)
	for _, o := range t.onset {
		first = min(first, o.First)
	}
	if t.kind == faults.Table {
		return math.MaxUint64
	}
	return first
}

// possibleFaults are the faults that may stand in the place of the n-th of the chosen reading, as the logs of the member's server have it. The chosen one is the
// first.
func (x *explanation) possibleFaults(n int) []faults.Fault {
	possible, _ := x.runs.possible(x.alternativeFaults(n))
	return possible
}

// alternativeFaults are the faults that may stand there by the files alone: those of readings that are otherwise of the same kinds.
func (x *explanation) alternativeFaults(n int) []faults.Fault {
	all := []faults.Fault{x.chosen.Faults[n]}
	for _, r := range slices.Concat(x.readings, x.otherBases) {
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

// firstEntriesOf are, in order, the first entries that the n-th fault of a member's chosen reading touched, or that a fault which may stand in
// its place did.
func (x *explanation) firstEntriesOf(n int) (begins []uint64) {
	for _, f := range x.possibleFaults(n) {
		begins = append(begins, x.firstTouched(f))
	}
	slices.Sort(begins)
	return slices.Compact(begins)
}

// firstTouched is the entry that a fault is known by: of entries that were applied again the first that had an effect again.
func (x *explanation) firstTouched(f faults.Fault) uint64 {
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
		if turned == 0 && st.TablesChanged {
			turned = st.Index
		}
	}, nil)
	return cmp.Or(made, turned, f.First)
}

// firstEffect is the first entry that did something else to keys because of the n-th fault than it would have with those before it alone,
// 0 if none did.
func (x *explanation) firstEffect(n int) (first uint64) {
	without, with := x.effects(n), x.effects(n+1)
	for k := range with {
		if without[k] != with[k] {
			return x.member.Log.Entries[0].Index + uint64(k)
		}
	}
	return 0
}

// effects are the digests of what each entry does with the first n faults of the chosen reading.
func (x *explanation) effects(n int) []uint64 {
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

// causeOfFault is a fault as causes are written.
func (c *comparison) causeOfFault(t *sharedFault) *cause {
	at := Interval{First: math.MaxUint64}
	var who int
	for _, i := range t.members {
		if o := t.onset[i]; o.First < at.First {
			at, who = o, i
		}
	}
	f := c.explained[who].chosen.Faults[t.number[who]]
	begins := t.firstEntriesOn(who)
	k := &cause{layer: LayerApply, index: begins[0], candidates: begins, departed: t.members, outcome: effect.Refused, fault: t}
	x := c.explained[who]
	k.searchBounded = len(x.limits) > 0 // there may be others
	if last := begins[len(begins)-1]; last > k.index {
		if k.interval = (&Interval{First: k.index, Last: last}); k.searchBounded {
			first, end := x.member.UntriedRange(&x.chosen, t.number[who])
			k.interval = &Interval{First: min(first, k.index), Last: max(end, last)}
		}
	}
	if t.orParted {
		if k.beforeLog = true; k.interval == nil {
			k.interval = &Interval{Last: k.index}
		}
		k.interval.First = 1
	}
	if l := c.layerOf(who, k.index); l != LayerApply && t.firstEffect != k.index {
		k.layer = l
	}
	where := strings.Join(c.labels(t.members), ", ")
	switch f.Kind {
	case faults.Skipped:
		k.entries = c.affected(who, f)
		switch {
		case k.ambiguous():
			k.what = fmt.Sprintf("%s had no effect on %s", t.entriesText(), where)
		case len(k.entries) > 1:
			k.what = fmt.Sprintf("%d entries in a row had no effect on %s", len(k.entries), where)
		case t.firstEffect > k.index: // what is told of effects is another entry's
			k.what = fmt.Sprintf("entry %d had no effect on %s", k.index, where)
		}
	case faults.Again:
		k.again, k.outcome = true, effect.Applied
		k.entries = c.affected(who, f)
		verb := "were"
		if f.First == f.Last && len(t.readings) == 1 {
			verb = "was"
		}
		k.what = fmt.Sprintf("%s %s applied again on %s", t.entriesText(), verb, c.howOften(t))
	case faults.Refused:
		k.entries = c.affectedOnAll(t)
		k.what = fmt.Sprintf("no request of user %q had an effect on %s from here on", f.User, where)
	case faults.OwnReads:
		k.entries = c.affectedOnAll(t)
		k.what = fmt.Sprintf("transactions that %s proposed had no effect there from here on: it refused them for what they read, while members that did not propose them dropped these reads", where)
	case faults.Rules:
		k.entries = c.affectedOnAll(t)
		k.what = c.rulesText(k, t, f)
	case faults.Permitted:
		k.outcome = effect.Permitted
		k.what = fmt.Sprintf("the entry had an effect on %s, although permissions or an alarm refuse it", where)
	case faults.Branch:
		k.outcome = effect.OtherBranch
		k.what = fmt.Sprintf("the transaction took the other branch on %s", where)
	case faults.Rows:
		k.layer, k.outcome = LayerStorage, effect.Altered
		for _, s := range c.stepsAt(who, f.First) {
			if s.Anomalous() && !s.Again {
				k.outcome, k.what = s.Outcome, note(s, nil)
			}
		}
	case faults.Lost:
		k.index, k.interval, k.layer = cmp.Or(t.firstEffect, f.First), nil, LayerApply
		k.what = fmt.Sprintf("leases with negative ids are not known to %s from a restart behind entry %d on, though they are stored", where, f.First)
	case faults.Extra:
		k.layer, k.outcome, k.what = LayerStorage, effect.Extra, extraRevision
		k.index, k.interval, k.entries = 0, nil, []uint64{f.First}
		k.revision = c.revisionAt(who, f.First)
	case faults.Table:
		k.layer = map[faults.TableName]Layer{faults.Auth: LayerAuth, faults.Leases: LayerLease, faults.Alarms: LayerAlarm}[f.Table]
		k.index, k.interval = 0, nil
		k.what = fmt.Sprintf("the %s table of %s is not what its log leads to: rows were changed otherwise than by an entry", f.Table, where)
		if !x.member.BeginsEmpty() {
			k.what = fmt.Sprintf("the %s table of %s is not what its log makes of what members held before it begins: it was another one by then, or rows were changed otherwise than by an entry", f.Table, where)
		}
	}
	if k.beforeLog && k.what != "" {
		k.what += fmt.Sprintf(", or %s parted from the others before the first entry of the log", where)
	}
	c.groupByEffect(k, t)
	if f.Kind == faults.Table {
		c.describeTable(k, f.Table)
	}
	return k
}

// howOften lists the members on which entries were applied again, with how often that was.
func (c *explanations) howOften(t *sharedFault) string {
	byTimes := map[int][]int{}
	for _, i := range t.members {
		n := c.explained[i].chosen.Faults[t.number[i]].Times
		byTimes[n] = append(byTimes[n], i)
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(byTimes)) {
		where := strings.Join(c.labels(byTimes[n]), ", ")
		if n > 1 {
			where = fmt.Sprintf("%s, %d times", where, n)
		}
		parts = append(parts, where)
	}
	return strings.Join(parts, " and on ")
}

// layerOf is that of the table which an entry changes.
func (c *contents) layerOf(i int, index uint64) Layer {
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

// rulesName names rules by the versions of the members' minor version that have them.
func (c *contents) rulesName(r apply.Rules) string {
	for _, m := range c.ms {
		if v, err := semver.NewVersion(m.DB.Tables.ClusterVersion); err == nil {
			return r.Of(v.Minor)
		}
	}
	return r.String()
}

// rulesText says which members follow other rules, from where on, and what became of entries because of that.
func (c *explanations) rulesText(k *cause, t *sharedFault, f faults.Fault) string {
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
	did := "had no effect"
	if x := c.explained[t.members[0]]; len(k.entries) > 0 && x.effectDigests[k.entries[0]-x.member.Log.Entries[0].Index] != 0 {
		did = "had an effect, which the rules before them refuse,"
	}
	return fmt.Sprintf("%d %s %s where a member goes by the rules of etcd %s: %s", len(k.entries), kind, did, c.rulesName(f.To), strings.Join(parts, ", "))
}

// entriesText names the entries of a fault: some of the runs that these may be, or between which bounds they begin and end. A verb follows
// in the past tense.
func (t *sharedFault) entriesText() string {
	const few = 3
	var all []string
	one := true
	first, last := Interval{First: math.MaxUint64}, Interval{First: math.MaxUint64}
	for _, set := range t.readings {
		f := set[0]
		one = one && f.First == f.Last
		first.First, first.Last = min(first.First, f.First), max(first.Last, f.First)
		last.First, last.Last = min(last.First, f.Last), max(last.Last, f.Last)
		text := fmt.Sprintf("entry %d", f.First)
		if f.First < f.Last {
			text = fmt.Sprintf("entries %d to %d", f.First, f.Last)
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	from, to := fmt.Sprint(first.First), fmt.Sprint(last.Last)
	switch {
	case len(all) <= few:
		return strings.Join(all, ", or ")
	case !one && first == last:
		return fmt.Sprintf("one or several in a row of the entries from %d to %d", first.First, first.Last)
	case one:
		return fmt.Sprintf("one of %d entries from %d to %d", len(all), first.First, last.Last)
	}
	if first.First < first.Last {
		from = fmt.Sprintf("one from %d to %d", first.First, first.Last)
	}
	if last.First < last.Last {
		to = fmt.Sprintf("one from %d to %d", last.First, last.Last)
	}
	return fmt.Sprintf("the entries from %s up to %s", from, to)
}

// affectedOnAll are those of all members of a fault.
func (c *explanations) affectedOnAll(t *sharedFault) (entries []uint64) {
	for _, i := range t.members {
		entries = append(entries, c.affected(i, c.explained[i].chosen.Faults[t.number[i]])...)
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// affected are the entries that did something else because of a fault of a member: those that had no effect, or had it again.
func (c *explanations) affected(i int, f faults.Fault) (entries []uint64) {
	x := c.explained[i]
	if f.Kind == faults.Rules {
		return x.judgedOtherwise(f)
	}
	made := map[uint64]bool{}
	x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
		switch {
		case st.Fault == nil || *st.Fault != f:
		case f.Kind == faults.Again && (st.Revision > 0 || st.TablesChanged) && st.Again, f.Kind != faults.Again && (len(st.Changes) > 0 || st.TablesChanged):
			made[st.Index] = true
		}
	}, nil)
	return slices.Sorted(maps.Keys(made))
}

// judgedOtherwise are the entries that other rules refuse, and that had an effect by those before; or the other way round.
func (x *explanation) judgedOtherwise(f faults.Fault) (entries []uint64) {
	verdicts := func(r *faults.Reading) (refused, made map[uint64]bool) {
		refused, made = map[uint64]bool{}, map[uint64]bool{}
		x.member.Run(r, x.reach, func(st *faults.Step) {
			if st.Index >= f.First && st.Index > 0 {
				refused[st.Index] = refused[st.Index] || st.Result == apply.Forbidden
				made[st.Index] = made[st.Index] || st.Revision > 0
			}
		}, nil)
		return refused, made
	}
	before := x.chosen
	before.Faults = slices.DeleteFunc(slices.Clone(before.Faults), func(g faults.Fault) bool { return g == f })
	refused, made := verdicts(&x.chosen)
	wereRefused, wereMade := verdicts(&before)
	for index := range refused {
		if refused[index] && wereMade[index] || wereRefused[index] && made[index] {
			entries = append(entries, index)
		}
	}
	slices.Sort(entries)
	return entries
}

// groupByEffect splits the members by what the entry did that did something else first, and says what that was.
func (c *comparison) groupByEffect(k *cause, t *sharedFault) {
	at := cmp.Or(t.firstEffect, k.index)
	if t.kind == faults.Extra {
		at = 0 // no entry has to do with it
	}
	odd := func(i int) bool { return slices.Contains(t.members, i) && (at == 0 || t.onset[i].First <= at) }
	var reached, others []int
	for i, x := range c.explained {
		switch {
		case x == nil:
			others = append(others, i)
		case x.reach >= at || odd(i):
			reached = append(reached, i)
		}
	}
	if at > 0 {
		did := func(i int) uint64 { return c.explained[i].effectDigests[at-c.explained[i].member.Log.Entries[0].Index] }
		k.groups = partition(reached, func(i, j int) bool { return did(i) == did(j) })
	}
	if len(k.groups) < 2 {
		k.groups = partition(reached, func(i, j int) bool { return odd(i) == odd(j) })
	}
	defer c.addParted(k, others)
	sortGroups(k.groups)
	refused := "applied, though permissions refuse it by the rules of newer versions of etcd" // those of others, or today's
	switch t.kind {
	case faults.Rules:
		refused = "applied, though permissions refuse it by the rules of etcd " + c.rulesName(t.firstReading().To)
	case faults.OwnReads:
		refused = "applied without its reads"
	}
	for _, g := range k.groups {
		e := Effect{Members: c.labels(g), Changes: []Change{}}
		switch {
		case at > 0:
			e = c.effectAt(g[0], at, odd(g[0]), refused)
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
			e.Instead = c.makerOf(i, k.revision)
		}
	}
}

// addParted adds members that no log explains to those without the fault of a cause, if their rows part from those with it at its
// revision: what the entry did there is not known otherwise.
func (c *comparison) addParted(k *cause, others []int) {
	var parted []int
	for _, i := range others {
		if slices.ContainsFunc(c.partings, func(p parting) bool {
			return k.revision > 0 && p.revision == k.revision && separates(p.groups, [][]int{k.departed, {i}})
		}) {
			parted = append(parted, i)
		}
	}
	if len(parted) == 0 {
		return
	}
	e := Effect{Members: c.labels(parted), Revision: k.revision, Changes: changes(c.ms[parted[0]].DB.Rows.Group(k.revision))}
	n := slices.IndexFunc(k.groups, func(g []int) bool { return !shareMember(g, k.departed) })
	if n < 0 {
		k.groups, k.effects = append(k.groups, parted), append(k.effects, e)
		return
	}
	k.groups[n] = append(k.groups[n], parted...)
	slices.Sort(k.groups[n])
	k.effects[n].Members = c.labels(k.groups[n])
}

// effectAt is what an entry did on a member; of one that was applied again, what it did then. refused is what is said of one that others refused.
func (c *entryEffects) effectAt(i int, index uint64, odd bool, refused string) (e Effect) {
	x := c.explained[i]
	x.member.Run(&x.chosen, max(index, x.reach), func(st *faults.Step) {
		if st.Index != index {
			return
		}
		if st.Revision > 0 {
			e.Revision, e.Changes = st.Revision, toldChanges(x.member.Log, st.Changes)
		}
		switch {
		case st.Again && odd:
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
			e.Note = refused
		case st.TablesChanged && st.Revision == 0:
			e.Note = map[Layer]string{LayerAuth: "it changed the auth tables", LayerAlarm: "it changed the alarms", LayerLease: "it changed the leases"}[c.layerOf(i, index)]
		case st.Revision == 0:
			e.Note = "no effect"
		}
	}, nil)
	return e
}

// makerOf is what made a revision on a member.
func (c *explanations) makerOf(i int, revision int64) (in *Instead) {
	x := c.explained[i]
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

// countConsequences counts the entries up to the common index that did something else on some members than on others, besides those of
// the causes.
func (c *comparison) countConsequences() {
	causes := map[uint64]bool{}
	for _, k := range c.causes {
		causes[k.index] = true
		for _, x := range k.entries {
			causes[x] = true
		}
	}
	base, end := c.explained[0].member.Log.Entries[0].Index, c.doc.Common.Index
	for _, f := range c.logs.forks {
		end = min(end, f.first-1)
	}
	for index := base; index <= end; index++ {
		if !causes[index] && slices.ContainsFunc(c.explained, func(x *explanation) bool {
			return x.effectDigests[index-base] != c.explained[0].effectDigests[index-base]
		}) {
			c.doc.Counts.Consequences++
		}
	}
}

// writeFault adds what is known of a fault to a divergence.
func (c *comparison) writeFault(v *Divergence, t *sharedFault) {
	v.Faulty, v.Onset = c.labels(t.members), map[string]Onset{}
	for _, i := range t.members {
		o := Onset{Until: t.until[i]}
		switch at := t.onset[i]; {
		case v.EntryInterval != nil && (v.SearchBounded || t.orParted):
			o.EntryInterval = &Interval{First: min(at.First, v.EntryInterval.First), Last: max(at.Last, v.EntryInterval.Last)}
		case at.First < at.Last:
			o.EntryInterval = &at
		default:
			o.Entry = at.First
		}
		v.Onset[c.ms[i].Label] = o
	}
	if t.firstEffect > t.order() && t.firstEffect < math.MaxUint64 && !(v.EntryInterval != nil && (v.SearchBounded || t.orParted)) {
		v.FirstEffect = &FirstEffect{Entry: t.firstEffect, Revision: v.Revision}
		if e := c.entry(t.members[0], t.firstEffect); e != nil {
			v.FirstEffect.Type, v.FirstEffect.Summary = e.Type, e.Summary
		}
	}
	for _, set := range t.readings {
		var fs []FaultReading
		for _, f := range set {
			r := FaultReading{Kind: f.Kind.String(), Members: v.Faulty, First: f.First, Last: f.Last, User: f.User, Table: f.Table.String()}
			switch f.Kind {
			case faults.Again:
				r.Times = f.Times
			case faults.Rules:
				r.Rules = c.rulesName(f.To)
			}
			fs = append(fs, r)
		}
		if !slices.ContainsFunc(v.Readings, func(o []FaultReading) bool { return slices.EqualFunc(o, fs, FaultReading.same) }) {
			v.Readings = append(v.Readings, fs)
		}
	}
	if !c.doc.Explained {
		return
	}
	now := make([]uint64, len(c.explained))
	for i, x := range c.explained {
		x.stateAt(c.doc.Common.Index, func(s *apply.State) { now[i] = s.Digest() })
	}
	all := make([]int, len(c.explained))
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
