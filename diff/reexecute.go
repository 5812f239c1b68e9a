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

func (c *comparison) reexecuteMember(ctx context.Context, i int, opts Options) *Reexecution {
	m, t := c.ms[i], c.traces[i]
	rules := c.rulesRan(i)
	r := &Reexecution{Member: m.Label, Rules: rules.Name, Departures: []ReDeparture{}, Notes: []string{}}
	if len(m.DB.Rows.Holes()) > 0 {
		r.Error = "its rows cannot all be read, so that there is nothing to compare with"
		return r
	}
	var steps []effect.Step
	start := Position{Index: c.reach(i), Revision: c.last[i]}
	if t.first > 0 {
		start, steps = Position{Index: t.first - 1, Revision: t.revisionBefore}, t.applied
	}
	st, err := c.baseOf(ctx, i, steps, start, opts.Bases, r)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	defer r.sortDepartures()
	r.At = &Position{st.Index, st.Revision}
	through := max(c.reach(i), lastIndex(steps))
	ropts := replay.Options{}
	if opts.Progress != nil {
		ropts.Progress = func(done, total int) { opts.Progress("re-executing "+m.Label, done, total) }
	}
	own := &replay.Own{Rows: m.DB.Rows, Compact: m.DB.CompactRevision(), Last: c.last[i]}
	if x := c.explained[i]; x != nil && (len(c.ms) > 1 || x.member.BaseShown()) { // otherwise what was before the log is guessed
		own.Changed = map[uint64]bool{}
		for _, s := range steps {
			if s.Index > st.Index || s.Index == 0 && s.Revision > st.Revision || s.Again && s.Revision > st.Revision {
				own.Told = append(own.Told, s)
			}
		}
		for _, f := range c.explained[i].chosen.Faults {
			if f.Kind == faults.Rows && !f.Kept {
				own.Changed[f.First] = true
			}
		}
	}
	tr, err := replay.Follow(ctx, st, replay.Between(c.histories[i].entries, st.Index+1, through), own, rules, ropts)
	if x, ok := errors.AsType[*replay.EntryError](err); ok {
		if r.stopped, r.bounded = x.Index, x.Bounded; r.bounded {
			c.limit(fmt.Sprintf("%s: %v", m.Label, err))
		}
	}
	if tr == nil {
		r.Error = err.Error()
		return r
	}
	r.Entries, r.Revisions = tr.Entries, tr.Revisions
	r.Notes = append(r.Notes, tr.Notes...)
	for k := range tr.Departures {
		r.addDeparture(c.departure(i, &tr.Departures[k]))
	}
	r.DepartureCount += tr.More
	if g := tr.Gap; g != nil {
		r.addDeparture(c.gap(i, g))
		r.Notes = append(r.Notes, fmt.Sprintf("what follows entry %d was not run: the member's state there is another one", g.Last))
		return r
	}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	c.finalLeases(i, r, &tr.Final, st.Index, through)
	c.finalAlarms(i, r, &tr.Final, through)
	c.finalAuth(i, r, &tr.Final, through)
	r.Clean = r.DepartureCount == 0
	return r
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

// baseOf chooses where to start: the earliest of the given states that leads to the member, else the beginning of the
// log, else the member's own rows, taken back as far as they go.
func (c *explanations) baseOf(ctx context.Context, i int, steps []effect.Step, start Position, bases []*inspect.Member, r *Reexecution) (*replay.State, error) {
	m := c.ms[i]
	// A member that applied entries twice has more revisions than entries, and looks like one that was restored.
	if c.beginsWithCluster(i) || c.histories[i].fromFirstEntry() && start == (Position{Revision: 1}) {
		r.Base = "the beginning of the log"
		if len(bases) > 0 {
			r.Notes = append(r.Notes, "no base is needed: the log is whole")
		}
		return replay.Empty(), nil
	}
	bases = slices.Clone(bases)
	slices.SortStableFunc(bases, func(a, b *inspect.Member) int { return int(consistentIndex(a)) - int(consistentIndex(b)) })
	var errs []error
	// Rows of its own that reach further back than a given state are the better base.
	try := func(limit uint64) *replay.State {
		for _, b := range bases {
			st, err := c.stateOfBase(ctx, i, limit, b)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.Base = b.Label
			if rev := firstRevisionApart(m.DB.Rows, b); rev > 0 {
				r.Notes = append(r.Notes, fmt.Sprintf("%s and %s differ in revision %d already: they had parted before the base was saved", b.Label, m.Label, rev))
			}
			return st
		}
		return nil
	}
	if st := try(start.Index); st != nil {
		return st, nil
	}
	start = c.skipGaps(i, steps, start)
	if len(steps) > 0 {
		base := &replay.Base{Rows: m.DB.Rows, Tables: m.DB.Tables, Log: c.histories[i].entries}
		st, err := replay.Rewind(ctx, base, start.Index, start.Revision)
		if err == nil {
			r.Base = "its own rows, taken back"
			r.Notes = append(r.Notes, "its leases and auth tables were taken back, too: what was wrong with them before is not seen")
			return st, nil
		}
		errs = append(errs, err)
	}
	if len(steps) > 0 {
		if st := try(c.reach(i)); st != nil {
			return st, nil
		}
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("%w: no entry is left whose effects could be compared", replay.ErrNoBase)
	}
	return nil, errors.New(strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; "))
}

// skipGaps moves the start behind the last gap in the log.
func (c *contents) skipGaps(i int, steps []effect.Step, start Position) Position {
	es := c.histories[i].entries
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

// stateOfBase is a base as a state, if it is not later than entry limit and the log leads from it to member i.
func (c *contents) stateOfBase(ctx context.Context, i int, limit uint64, b *inspect.Member) (*replay.State, error) {
	no := func(format string, args ...any) (*replay.State, error) {
		return nil, fmt.Errorf("%w: %s %s", replay.ErrNoBase, b.Label, fmt.Sprintf(format, args...))
	}
	switch {
	case b.DB == nil || !b.DB.HasKeys:
		return no("has no db that can be read")
	case len(b.DB.Rows.Holes()) > 0:
		return no("is damaged")
	case b.DB.Tables.ConsistentIndex > limit:
		return no("is of entry %d, which is later than entry %d of %s", b.DB.Tables.ConsistentIndex, limit, c.ms[i].Label)
	}
	entries := c.histories[i].entries
	if why, _ := ForeignBase(b, c.ms[i], entries); why != "" {
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

func (c *contents) departure(i int, d *replay.Departure) ReDeparture {
	x := ReDeparture{Entry: c.entry(i, d.Index), Revision: d.Revision, Expected: d.Ran.Revision}
	switch {
	case d.Extra:
		x.What = fmt.Sprintf("the member has revision %d behind this entry, which no entry makes", d.Revision)
	case d.Again:
		x.What = fmt.Sprintf("the member applied it a second time, as revision %d", d.Revision)
	case d.Revision == 0:
		x.What = fmt.Sprintf("the member made nothing of it; re-execution makes a revision of %d %s", len(d.Ran.Changes), plural(len(d.Ran.Changes), "row", "rows"))
	case d.Ran.Revision == 0:
		x.What = "re-execution makes nothing of it"
		if d.Ran.Err != nil {
			x.What = "re-execution refuses it (" + d.Ran.Err.Error() + ")"
		}
		x.What += fmt.Sprintf("; the member made revision %d", d.Revision)
	default:
		x.What = fmt.Sprintf("the rows of revision %d are not those that re-execution makes", d.Revision)
	}
	return x
}

func (c *contents) gap(i int, g *replay.Gap) ReDeparture {
	x := ReDeparture{EntryInterval: &Interval{g.First, g.Last}, Expected: g.Revision}
	if g.First == g.Last {
		x.Entry, x.EntryInterval = c.entry(i, g.First), nil
	}
	x.What = fmt.Sprintf("what compaction left from revision %d on is not what re-execution makes", g.Revision)
	if n := len(g.Keys); n > 0 {
		x.What += fmt.Sprintf(": %d %s differ, the first one %s", n, plural(n, "key", "keys"), Key(g.Keys[0]))
	}
	return x
}

// finalLeases compares the leases in the end, but for those that entries behind the end grant or revoke: up to 3.4 the
// lease bucket may be ahead of the consistent index.
func (c *contents) finalLeases(i int, r *Reexecution, f *replay.Final, from, through uint64) {
	has := map[int64]bool{}
	for _, l := range c.ms[i].DB.Tables.Leases {
		has[l.ID] = true
	}
	made := map[int64]bool{}
	for _, id := range f.Leases {
		made[id] = true
	}
	last := func(id int64, grant bool) (at uint64, later bool) {
		for _, e := range c.histories[i].leases[id] {
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
		x := ReDeparture{Entry: c.entry(i, at), What: fmt.Sprintf("lease %s %s", ID(uint64(id)), what)}
		if slices.ContainsFunc(r.Departures, func(d ReDeparture) bool { return x.Entry != nil && d.Entry != nil && d.Entry.Index == at }) {
			return // told by its keys
		}
		r.addDeparture(x)
	}
	for _, id := range f.Leases {
		if !has[id] {
			tell(id, true, "is not there, though re-execution grants it")
		}
	}
	for _, l := range c.ms[i].DB.Tables.Leases {
		if !made[l.ID] {
			tell(l.ID, false, "is there, though re-execution leaves none of that id")
		}
	}
}

// finalAlarms compares the alarms in the end. They are saved by themselves, too.
func (c *contents) finalAlarms(i int, r *Reexecution, f *replay.Final, through uint64) {
	has, made := map[schema.AlarmMember]bool{}, map[schema.AlarmMember]bool{}
	for _, a := range c.ms[i].DB.Tables.Alarms {
		has[a] = true
	}
	for _, a := range f.Alarms {
		made[a] = true
	}
	last := map[schema.AlarmMember]uint64{} // the entry that raised or cleared it last
	for _, index := range c.histories[i].alarms {
		if req := c.request(i, index); req != nil && req.Internal != nil && req.Internal.Alarm != nil {
			last[schema.AlarmMember{Member: req.Internal.Alarm.MemberID, Type: req.Internal.Alarm.Alarm.String()}] = index
		}
	}
	all := slices.Collect(maps.Keys(last))
	for _, a := range slices.Concat(c.ms[i].DB.Tables.Alarms, f.Alarms) {
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
		r.addDeparture(ReDeparture{Entry: c.entry(i, index), What: fmt.Sprintf("the alarm %s of member %s %s", a.Type, ID(a.Member), what)})
	}
}

// finalAuth compares users, roles and the auth revision in the end.
func (c *contents) finalAuth(i int, r *Reexecution, f *replay.Final, through uint64) {
	for _, w := range c.histories[i].authWrites {
		if w.Index > through {
			// Up to 3.4 these tables may be ahead of the consistent index.
			r.Notes = append(r.Notes, fmt.Sprintf("the auth tables were not compared: entry %d, which changes them, may have been applied or not", w.Index))
			return
		}
	}
	t := c.ms[i].DB.Tables
	same, why := replay.SameAuth(f.Auth, authOfTables(t))
	if same && t.AuthRevision != f.AuthRevision && (t.AuthRevision > 0 || f.AuthRevision > 1) {
		same, why = false, fmt.Sprintf("the auth revision is %d, re-execution makes it %d", t.AuthRevision, f.AuthRevision)
	}
	if !same {
		r.addDeparture(ReDeparture{What: "the auth tables in the end: " + why})
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
