package diff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// Options of an investigation.
type Options struct {
	// Bases are earlier states of the cluster, such as snapshots that were saved before the incident: re-execution starts
	// there if it can.
	Bases []*inspect.Member
	// Replay re-executes the log of every member by itself, also where the others tell enough.
	Replay bool
	// ServerLogs are what logs of servers tell, by the labels of the members that they are said to be of. It is asked once the files are read, and
	// may be nil.
	ServerLogs func() map[string][]ServerLog
	// Progress is told about long work.
	Progress func(what string, done, total int)
}

// Reexecution is the log of one member, run again with etcd's own code from a base, next to what the member holds. It
// needs no other member.
type Reexecution struct {
	Member string `json:"member"`
	// Base says what it started from, At where that was; At is nil if nothing could be run.
	Base string    `json:"base"`
	At   *Position `json:"at"`
	// Rules are those that were run.
	Rules string `json:"rules"`
	// Entries and Revisions came out as the member has them.
	Entries   int `json:"entries"`
	Revisions int `json:"revisions"`
	// Clean is true if everything did.
	Clean bool `json:"clean"`
	// Departures are where it did not, in order, at most maxReDepartures of them; DepartureCount is how many there are.
	Departures     []ReDeparture `json:"departures"`
	DepartureCount int           `json:"departure_count"`
	// Error says why nothing, or not everything, could be run.
	Error string   `json:"error,omitempty"`
	Notes []string `json:"notes"`

	stopped uint64 // the entry at which etcd's code failed, 0 if at none
	bounded bool   // it was stopped there because it takes too long
}

// Position is a place in the log, with the main revision there.
type Position struct {
	Index    uint64 `json:"index"`
	Revision int64  `json:"revision"`
}

// ReDeparture is an entry that did something else on the member than re-execution makes it do.
type ReDeparture struct {
	Entry         *Entry    `json:"entry"`
	EntryInterval *Interval `json:"entry_interval"`
	// Revision is what the member made of it, 0 if nothing, Expected what re-execution makes.
	Revision int64  `json:"revision"`
	Expected int64  `json:"expected_revision"`
	What     string `json:"what"`
}

// order is where the departure lies in the log, what has no entry last.
func (d *ReDeparture) order() uint64 {
	switch {
	case d.Entry != nil:
		return d.Entry.Index
	case d.EntryInterval != nil:
		return d.EntryInterval.First
	}
	return math.MaxUint64
}

// maxReDepartures bounds how many departures are listed.
const maxReDepartures = 20

// reexecute runs every member's log by itself, where that was asked for or nothing else can tell who is right.
func (c *comparison) reexecute(ctx context.Context, opts Options) {
	if c.logs == nil || !opts.Replay && len(opts.Bases) == 0 && len(c.all) > 1 && !c.tied() {
		return
	}
	for i := range c.ms {
		if ctx.Err() != nil {
			return
		}
		r := c.reexecuteMember(ctx, i, opts)
		c.doc.Reexecutions = append(c.doc.Reexecutions, *r)
	}
}

// maxTied bounds the logs that are run again without having been asked to.
const maxTied = 20_000

// tied tells whether only re-execution can tell who is right: members parted over what an entry did, and there is no
// majority.
func (c *comparison) tied() bool {
	for _, h := range c.histories {
		if len(h.entries) > maxTied {
			return false
		}
	}
	return slices.ContainsFunc(c.doc.Divergences, func(d Divergence) bool {
		return d.Minority == nil && (d.Layer == LayerApply || d.Layer == LayerStorage)
	})
}

// rerun runs the log of one member again. It needs what explains that member, and nothing that tells it from others.
type rerun struct {
	*explanations
	i     int // the member
	m     *inspect.Member
	log   *history
	trace *trace
	start Position // what is before the first of its entries whose effects are known
	rules replay.Rules
	out   *Reexecution
	limit string // why it was not run to the end, if that would take too long
}

// reexecuteMember runs the log of a member again, from the best base that there is.
func (c *comparison) reexecuteMember(ctx context.Context, i int, opts Options) *Reexecution {
	m := c.ms[i]
	rules := c.rulesRan(i)
	r := &Reexecution{Member: m.Label, Rules: rules.Name, Departures: []ReDeparture{}, Notes: []string{}}
	if len(m.DB.Rows.Holes()) > 0 {
		r.Error = "its rows cannot all be read, so that there is nothing to compare with"
		return r
	}
	x := &rerun{explanations: &c.explanations, i: i, m: m, log: c.histories[i], trace: c.traces[i], rules: rules, out: r}
	x.start = Position{Index: c.reach(i), Revision: c.last[i]}
	if x.trace.first > 0 {
		x.start = Position{Index: x.trace.first - 1, Revision: x.trace.revisionBefore}
	}
	defer r.sortDepartures()
	if err := x.run(ctx, opts); err != nil {
		r.Error = err.Error()
	}
	if x.limit != "" {
		c.limit(m.Label + ": " + x.limit)
	}
	return r
}

// steps are what the entries did on the member, as far as that is known.
func (x *rerun) steps() []effect.Step {
	if x.trace.first == 0 {
		return nil
	}
	return x.trace.applied
}

// run writes down what came out. An error says why nothing, or not everything, could be run.
func (x *rerun) run(ctx context.Context, opts Options) error {
	st, err := x.base(ctx, opts.Bases)
	if err != nil {
		return err
	}
	r, from, through := x.out, st.Index, max(x.reach(x.i), lastIndex(x.steps()))
	r.At = &Position{st.Index, st.Revision}
	ropts := replay.Options{}
	if opts.Progress != nil {
		ropts.Progress = func(done, total int) { opts.Progress("re-executing "+x.m.Label, done, total) }
	}
	tr, err := replay.Follow(ctx, st, replay.Between(slices.Concat(x.log.entries, x.log.pending), from+1, through), x.own(st), x.rules, ropts)
	if failed, ok := errors.AsType[*replay.EntryError](err); ok {
		if r.stopped, r.bounded = failed.Index, failed.Bounded; r.bounded {
			x.limit = err.Error()
		}
	}
	if tr == nil {
		return err
	}
	r.Entries, r.Revisions = tr.Entries, tr.Revisions
	r.Notes = append(r.Notes, tr.Notes...)
	for k := range tr.Departures {
		r.addDeparture(x.departure(&tr.Departures[k]))
	}
	r.DepartureCount += tr.More
	if g := tr.Gap; g != nil {
		r.addDeparture(x.gap(g))
		r.Notes = append(r.Notes, fmt.Sprintf("what follows entry %d was not run: the member's state there is another one", g.Last))
		return nil
	}
	if err != nil {
		return err
	}
	x.compareLeases(tr.Final.Leases, from, through)
	x.compareAlarms(tr.Final.Alarms, through)
	x.compareAuth(&tr.Final, through)
	r.Clean = r.DepartureCount == 0
	return nil
}

// own is what the member holds. What its explanation tells of steps behind the state goes with it, unless what was before the log is only guessed.
func (x *rerun) own(st *replay.State) *replay.Own {
	own := &replay.Own{Rows: x.m.DB.Rows, Compact: x.m.DB.CompactRevision(), Last: x.last[x.i]}
	by := x.explained[x.i]
	if by == nil || len(x.ms) == 1 && !by.member.BaseShown() {
		return own
	}
	for _, s := range x.steps() {
		if s.Index > st.Index || s.Index == 0 && s.Revision > st.Revision || s.Again && s.Revision > st.Revision {
			own.Told = append(own.Told, s)
		}
	}
	own.Changed = map[uint64]bool{}
	for _, f := range by.chosen.Faults {
		if f.Kind == faults.Rows && !f.Kept {
			own.Changed[f.First] = true
		}
	}
	return own
}

// rulesRan are those of the versions that member i ran, as far as what it holds tells, or else those of etcd 3.7.
func (c *explanations) rulesRan(i int) replay.Rules {
	rules := replay.Today()
	older := bugs.During(c.versions(i))
	if len(older) == 0 {
		return rules
	}
	x := c.explained[i]
	rules = rules.With(older...)
	rules.Name = "etcd"
	for n, v := range x.member.RulesOver(&x.chosen) {
		if n > 0 {
			rules.Name += fmt.Sprintf(", from entry %d on", v.Entry)
		}
		rules.Name += " " + c.rulesName(v.Rules)
	}
	return rules
}

func lastIndex(steps []effect.Step) uint64 {
	for _, s := range slices.Backward(steps) {
		if s.Index > 0 {
			return s.Index
		}
	}
	return 0
}

func (r *Reexecution) addDeparture(d ReDeparture) {
	r.DepartureCount++
	r.Departures = append(r.Departures, d)
}

// sortDepartures puts departures in order and cuts them down.
func (r *Reexecution) sortDepartures() {
	slices.SortStableFunc(r.Departures, func(a, b ReDeparture) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.What, b.What))
	})
	r.Departures = r.Departures[:min(len(r.Departures), maxReDepartures)]
}

// base chooses where to start: the earliest of the given states that leads to the member, else the beginning of the
// log, else the member's own rows, taken back as far as they go.
func (x *rerun) base(ctx context.Context, bases []*inspect.Member) (*replay.State, error) {
	r, steps := x.out, x.steps()
	// A member that applied entries twice has more revisions than entries, and looks like one that was restored.
	if x.beginsWithCluster(x.i) || x.log.fromFirstEntry() && x.start == (Position{Revision: 1}) {
		r.Base = "the beginning of the log"
		if len(bases) > 0 {
			r.Notes = append(r.Notes, "no base is needed: the log is whole")
		}
		return replay.Empty(), nil
	}
	bases = slices.Clone(bases)
	slices.SortStableFunc(bases, func(a, b *inspect.Member) int { return int(consistentIndex(a)) - int(consistentIndex(b)) })
	st, errs := x.firstUsable(ctx, bases, x.start.Index)
	if st != nil {
		return st, nil
	}
	if len(steps) > 0 {
		// Rows of its own that reach further back than a given state are the better base.
		start := x.behindGaps()
		st, err := replay.Rewind(ctx, &replay.Base{Rows: x.m.DB.Rows, Tables: x.m.DB.Tables, Log: x.log.entries}, start.Index, start.Revision)
		if err == nil {
			r.Base = "its own rows, taken back"
			r.Notes = append(r.Notes, "its leases and auth tables were taken back, too: what was wrong with them before is not seen")
			return st, nil
		}
		later, more := x.firstUsable(ctx, bases, x.reach(x.i))
		if later != nil {
			return later, nil
		}
		errs = append(append(errs, err), more...)
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("%w: no entry is left whose effects could be compared", replay.ErrNoBase)
	}
	return nil, errors.New(strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; "))
}

// firstUsable is the first of some bases, none of them later than entry limit, from which the log leads to the member; nil if there is none, and why.
func (x *rerun) firstUsable(ctx context.Context, bases []*inspect.Member, limit uint64) (_ *replay.State, why []error) {
	for _, b := range bases {
		st, err := x.stateOfBase(ctx, b, limit)
		if err != nil {
			why = append(why, err)
			continue
		}
		x.out.Base = b.Label
		if rev := firstRevisionApart(x.m.DB.Rows, b); rev > 0 {
			x.out.Notes = append(x.out.Notes, fmt.Sprintf("%s and %s differ in revision %d already: they had parted before the base was saved", b.Label, x.m.Label, rev))
		}
		return st, nil
	}
	return nil, why
}

// behindGaps is the start, moved behind the last gap in the log.
func (x *rerun) behindGaps() Position {
	start, steps, es := x.start, x.steps(), x.log.entries
	last := lastIndex(steps)
	for k := len(es) - 1; k > 0 && es[k-1].Index > start.Index; k-- {
		if es[k].Index > last || es[k].Index == es[k-1].Index+1 {
			continue
		}
		for n := range steps {
			if steps[n].Index >= es[k].Index {
				break
			}
			start.Revision = max(start.Revision, steps[n].Revision)
		}
		start.Index = es[k].Index - 1
		return start
	}
	return start
}

func consistentIndex(m *inspect.Member) uint64 {
	if m.DB == nil {
		return 0
	}
	return m.DB.Tables.ConsistentIndex
}

// stateOfBase is a base as a state, if it is not later than entry limit and the log leads from it to the member.
func (x *rerun) stateOfBase(ctx context.Context, b *inspect.Member, limit uint64) (*replay.State, error) {
	no := func(format string, args ...any) (*replay.State, error) {
		return nil, fmt.Errorf("%w: %s %s", replay.ErrNoBase, b.Label, fmt.Sprintf(format, args...))
	}
	switch {
	case b.DB == nil || !b.DB.HasKeys:
		return no("has no db that can be read")
	case len(b.DB.Rows.Holes()) > 0:
		return no("is damaged")
	case b.DB.Tables.ConsistentIndex > limit:
		return no("is of entry %d, which is later than entry %d of %s", b.DB.Tables.ConsistentIndex, limit, x.m.Label)
	}
	entries := x.log.entries
	if why, _ := ForeignBase(b, x.m, entries); why != "" {
		return no("%s", why)
	}
	if next := b.DB.Tables.ConsistentIndex + 1; len(entries) == 0 || next < entries[0].Index {
		return no("ends at entry %d, and no log holds entry %d", next-1, next)
	}
	st, err := replay.Rewind(ctx, &replay.Base{Rows: b.DB.Rows, Tables: b.DB.Tables}, b.DB.Tables.ConsistentIndex, b.DB.Revision())
	if err != nil {
		return no("cannot be used: %v", err)
	}
	return st, nil
}

// firstRevisionApart is the first revision of which a base and a member hold different rows, 0 if there is none.
func firstRevisionApart(rows *mvcc.Table, b *inspect.Member) int64 {
	upTo := b.DB.Revision()
	var x, y mvcc.KeyValue
	for _, r := range rows.Between(rows.Lower(b.DB.CompactRevision()+1), rows.Lower(upTo+1)) {
		other := b.DB.Rows.Group(r.Rev.Main)
		k := slices.IndexFunc(other, func(o mvcc.Row) bool { return o.Rev == r.Rev && o.Tombstone == r.Tombstone })
		if k < 0 || x.Decode(r.Value) != nil || y.Decode(other[k].Value) != nil || !x.Same(&y) {
			return r.Rev.Main
		}
	}
	return 0
}

func (x *rerun) departure(d *replay.Departure) ReDeparture {
	out := ReDeparture{Entry: x.entry(x.i, d.Index), Revision: d.Revision, Expected: d.Ran.Revision}
	switch {
	case d.Extra:
		out.What = fmt.Sprintf("the member has revision %d behind this entry, which no entry makes", d.Revision)
	case d.Again:
		out.What = fmt.Sprintf("the member applied it a second time, as revision %d", d.Revision)
	case d.Revision == 0:
		out.What = fmt.Sprintf("the member made nothing of it; re-execution makes a revision of %d %s", len(d.Ran.Changes), plural(len(d.Ran.Changes), "row", "rows"))
	case d.Ran.Revision == 0:
		out.What = "re-execution makes nothing of it"
		if d.Ran.Err != nil {
			out.What = "re-execution refuses it (" + d.Ran.Err.Error() + ")"
		}
		out.What += fmt.Sprintf("; the member made revision %d", d.Revision)
	default:
		out.What = fmt.Sprintf("the rows of revision %d are not those that re-execution makes", d.Revision)
	}
	return out
}

func (x *rerun) gap(g *replay.Gap) ReDeparture {
	out := ReDeparture{EntryInterval: &Interval{g.First, g.Last}, Expected: g.Revision}
	if g.First == g.Last {
		out.Entry, out.EntryInterval = x.entry(x.i, g.First), nil
	}
	out.What = fmt.Sprintf("what compaction left from revision %d on is not what re-execution makes", g.Revision)
	if n := len(g.Keys); n > 0 {
		out.What += fmt.Sprintf(": %d %s differ, the first one %s", n, plural(n, "key", "keys"), Key(g.Keys[0]))
	}
	return out
}

// compareLeases compares the leases in the end, but for those that entries behind the end grant or revoke: up to 3.4 the
// lease bucket may be ahead of the consistent index.
func (x *rerun) compareLeases(final []int64, from, through uint64) {
	has := map[int64]bool{}
	for _, l := range x.m.DB.Tables.Leases {
		has[l.ID] = true
	}
	made := map[int64]bool{}
	for _, id := range final {
		made[id] = true
	}
	last := func(id int64, grant bool) (at uint64, later bool) {
		for _, e := range x.log.leases[id] {
			later = later || e.index > through
			if e.index > from && e.index <= through && e.grant == grant {
				at = e.index
			}
		}
		return at, later
	}
	tell := func(id int64, grant bool, what string) {
		at, later := last(id, grant)
		if later {
			return
		}
		d := ReDeparture{Entry: x.entry(x.i, at), What: fmt.Sprintf("lease %s %s", ID(uint64(id)), what)}
		if slices.ContainsFunc(x.out.Departures, func(o ReDeparture) bool { return d.Entry != nil && o.Entry != nil && o.Entry.Index == at }) {
			return // told by its keys
		}
		x.out.addDeparture(d)
	}
	for _, id := range final {
		if !has[id] {
			tell(id, true, "is not there, though re-execution grants it")
		}
	}
	for _, l := range x.m.DB.Tables.Leases {
		if !made[l.ID] {
			tell(l.ID, false, "is there, though re-execution leaves none of that id")
		}
	}
}

// compareAlarms compares the alarms in the end. They are saved by themselves, too.
func (x *rerun) compareAlarms(final []schema.AlarmMember, through uint64) {
	has, made := map[schema.AlarmMember]bool{}, map[schema.AlarmMember]bool{}
	for _, a := range x.m.DB.Tables.Alarms {
		has[a] = true
	}
	for _, a := range final {
		made[a] = true
	}
	last := map[schema.AlarmMember]uint64{} // the entry that raised or cleared it last
	for _, index := range x.log.alarms {
		if req := x.request(x.i, index); req != nil && req.Internal != nil && req.Internal.Alarm != nil {
			last[schema.AlarmMember{Member: req.Internal.Alarm.MemberID, Type: req.Internal.Alarm.Alarm.String()}] = index
		}
	}
	all := slices.Collect(maps.Keys(last))
	for _, a := range slices.Concat(x.m.DB.Tables.Alarms, final) {
		if _, known := last[a]; !known {
			all = append(all, a)
			last[a] = 0
		}
	}
	for _, a := range all {
		index := last[a]
		if index > through || has[a] == made[a] {
			continue
		}
		what := "is off, though re-execution raises it"
		switch {
		case has[a] && index == 0:
			what = "is on, though no entry raises it"
		case has[a]:
			what = "is on, though re-execution clears it"
		}
		x.out.addDeparture(ReDeparture{Entry: x.entry(x.i, index), What: fmt.Sprintf("the alarm %s of member %s %s", a.Type, ID(a.Member), what)})
	}
}

// compareAuth compares users, roles and the auth revision in the end.
func (x *rerun) compareAuth(f *replay.Final, through uint64) {
	for _, w := range x.log.authWrites {
		if w.Index > through {
			// Up to 3.4 these tables may be ahead of the consistent index.
			x.out.Notes = append(x.out.Notes, fmt.Sprintf("the auth tables were not compared: entry %d, which changes them, may have been applied or not", w.Index))
			return
		}
	}
	t := x.m.DB.Tables
	same, why := replay.SameAuth(f.Auth, authOfTables(t))
	if same && t.AuthRevision != f.AuthRevision && (t.AuthRevision > 0 || f.AuthRevision > 1) {
		same, why = false, fmt.Sprintf("the auth revision is %d, re-execution makes it %d", t.AuthRevision, f.AuthRevision)
	}
	if !same {
		x.out.addDeparture(ReDeparture{What: "the auth tables in the end: " + why})
	}
}

func authOfTables(t *schema.Tables) replay.Auth {
	return replay.Auth{Enabled: t.AuthEnabled, Revision: t.AuthRevision, Users: t.Users, Roles: t.Roles}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
