package diff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Ledger tells which raft entry made which revision on each of several members, and why others made none.
type Ledger struct {
	// Members are in the order in which their number is counted from 0.
	Members []*inspect.Member
	// Faults are about what could not be related at all, sorted.
	Faults   []string
	accounts []account
}

// account is one member's part of the ledger.
type account struct {
	c          *entryEffects
	i          int                  // the member's number in c, -1 if it has no db
	byEntry    []appliedStep        // by entry; those of one entry in order of application
	byRevision []appliedStep        // by revision
	reach      uint64               // the last entry whose effect the db holds
	auth       *authz.Timeline      // nil if nothing explains what the member did
	keys       func() []*mvcc.Index // of each member in c, what its entries met
	last       int64                // revision
	firstKnown uint64               // first entry whose effect is known, 0 if none is
	entries    []effect.Entry
}

// appliedStep is one step with the revision before it.
type appliedStep struct {
	step   *effect.Step
	after  uint64 // the entry before, for a revision without an entry
	before int64
}

// Clusters says in a clause that members are of several clusters, which have nothing to do with each other, or is empty.
func Clusters(ms []*inspect.Member) string { return incomparable(ms) }

// NewLedger relates the entries and revisions of members of one cluster.
func NewLedger(ms []*inspect.Member) *Ledger {
	l := &Ledger{Members: ms, accounts: make([]account, len(ms))}
	c := &entryEffects{}
	c.ctx, c.all = context.Background(), ms
	for _, m := range ms {
		if m.DB != nil && m.DB.HasKeys {
			c.ms = append(c.ms, m)
		}
	}
	if len(c.ms) > 0 {
		c.guard("the evidence", func() {
			c.readContents(func() {})
			c.explainMembers()
			c.traceEntries()
		})
	}
	l.Faults = c.readErrors
	keys := sync.OnceValue(c.indexes)
	for i, m := range ms {
		l.accounts[i] = newAccount(c, m)
		l.accounts[i].keys = keys
	}
	slices.Sort(l.Faults)
	return l
}

// indexes are what the entries of each member met. Most logs have no entry that asks for them.
func (c *contents) indexes() []*mvcc.Index {
	budget, index := mvcc.NewBudget(whySteps), c.indexer()
	keys := make([]*mvcc.Index, len(c.ms))
	var g evidence.Group
	for i, m := range c.ms {
		g.Go(m.Origin, func() { keys[i] = index(i).Metered(budget) })
	}
	g.Wait()
	return keys
}

// indexer returns what makes the index of a member, called for each member once. That of a member whose rows are mostly
// those of the first one waits for its, and is made of that.
func (c *contents) indexer() func(i int) *mvcc.Index {
	var first *mvcc.Index
	ready := make(chan struct{})
	return func(i int) *mvcc.Index {
		t, h := c.ms[i].DB.Rows, c.histories[i]
		if i == 0 {
			defer close(ready)
			first = h.touched().Index(t, nil)
			return first
		}
		if h == c.histories[0] && t.SharesWith(c.ms[0].DB.Rows) {
			<-ready
			return h.touched().Index(t, first)
		}
		return h.touched().Index(t, nil)
	}
}

func newAccount(c *entryEffects, m *inspect.Member) account {
	a := account{c: c, i: slices.Index(c.ms, m)}
	if a.i < 0 || len(c.readErrors) > 0 || a.i >= len(c.traces) || c.traces[a.i] == nil {
		a.i = -1
		return a
	}
	t := c.traces[a.i]
	a.entries, a.last, a.firstKnown = c.histories[a.i].entries, c.last[a.i], t.first
	a.reach = c.reach(a.i)
	if x := c.explained[a.i]; x != nil {
		a.auth = x.authTimeline()
	}
	entries, revisions := 0, 0
	t.steps(func(s *effect.Step) {
		if s.Index > 0 {
			entries++
		}
		if s.Revision > 0 {
			revisions++
		}
	})
	a.byEntry, a.byRevision = make([]appliedStep, 0, entries), make([]appliedStep, 0, revisions)
	rev, after := t.revisionBefore, uint64(0)
	t.steps(func(s *effect.Step) {
		b := appliedStep{step: s, before: rev, after: after}
		if s.Index > 0 {
			a.byEntry, after = append(a.byEntry, b), s.Index
		}
		if s.Revision > 0 {
			a.byRevision, rev = append(a.byRevision, b), s.Revision
		}
	})
	slices.SortStableFunc(a.byEntry, func(x, y appliedStep) int { return cmp.Compare(x.step.Index, y.step.Index) })
	slices.SortStableFunc(a.byRevision, func(x, y appliedStep) int { return cmp.Compare(x.step.Revision, y.step.Revision) })
	return a
}

// EffectState says how much is known of what an entry did on a member.
type EffectState string

const (
	// Made means that the entry made revisions.
	Made EffectState = "made"
	// Gone means that the entry made revisions, as the numbering shows, whose rows are no longer there.
	Gone EffectState = "gone"
	// None means that the entry could change keys and changed none.
	None EffectState = "none"
	// NoKeys means that the entry is of a kind that changes no key.
	NoKeys EffectState = "no_keys"
	// Pending means that the db has not come to the entry.
	Pending EffectState = "not_applied"
	// Uncommitted means that the entry is in the log, but nothing says that it was committed.
	Uncommitted EffectState = "not_committed"
	// Unknown means that the files no longer tell, or that there is no db.
	Unknown EffectState = "unknown"
)

// EntryEffect is what an entry did on one member.
type EntryEffect struct {
	State EffectState
	// Revisions are the main revisions made: more than one if the entry was applied again.
	Revisions []int64
	// Odd is true if etcd's rules do not demand this of the member's own state.
	Odd bool
	// Why says in a clause why there was no effect, or what is odd about it.
	Why string
}

// Effect tells what the entry with an index did on a member.
func (l *Ledger) Effect(member int, index uint64) EntryEffect { return l.effect(member, index, nil) }

// effect does so; known is a variant of the entry that need not be decoded again, nil for none.
func (l *Ledger) effect(member int, index uint64, known *Variant) EntryEffect {
	a := &l.accounts[member]
	own := l.Members[member].Log.Entry(index)
	if a.i < 0 {
		return EntryEffect{State: Unknown, Why: "there is no db to tell"}
	}
	e := find(a.entries, index)
	if e == nil && own != nil {
		return EntryEffect{State: Uncommitted}
	}
	r := (&effect.Entry{}).Request()
	switch {
	case e == nil:
	case known != nil && e.Raw != nil && sameEntry(e.Raw, known.Entry):
		if x, err := known.Request(); err == nil {
			r = x
		}
	default:
		r = e.Request()
	}
	lo, _ := slices.BinarySearchFunc(a.byEntry, index, func(b appliedStep, x uint64) int { return cmp.Compare(b.step.Index, x) })
	var out EntryEffect
	var first *appliedStep
	for i := lo; i < len(a.byEntry) && a.byEntry[i].step.Index == index; i++ {
		b := &a.byEntry[i]
		if first == nil {
			first = b
		}
		if b.step.Revision > 0 {
			out.Revisions = append(out.Revisions, b.step.Revision)
		}
		if b.step.Anomalous() {
			out.Odd, first = true, b
		}
	}
	switch {
	case len(out.Revisions) > 0:
		out.State = Made
		switch first.step.Outcome {
		case effect.Lost:
			out.State = Gone
		}
		if out.Odd {
			out.Why = note(first.step, make([]*effect.Step, len(out.Revisions)))
		}
		return out
	case e != nil && !effect.ChangesKeys(r) && r.Type != "Unknown":
		if index > a.reach {
			return EntryEffect{State: Pending}
		}
		return EntryEffect{State: NoKeys}
	case index > a.reach:
		return EntryEffect{State: Pending}
	case e == nil:
		return EntryEffect{State: Unknown, Why: "no log holds the entry"}
	case first == nil:
		if a.firstKnown == 0 { // some entries are known by their rows alone
			return EntryEffect{State: Unknown, Why: "nothing explains what the member did"}
		}
		return EntryEffect{State: Unknown, Why: "it is older than what the db still tells"}
	case r.Type == "Unknown":
		return EntryEffect{State: Unknown, Why: "the request is of a kind that etcd 3.7 does not know, or does not decode"}
	}
	out.State, out.Why = None, a.whyNoEffect(e, r, first)
	return out
}

// whyNoEffect says why an entry had no effect.
func (a *account) whyNoEffect(e *effect.Entry, r *raftlog.Request, b *appliedStep) string {
	switch b.step.Result {
	case apply.Alarmed:
		return "refused by an alarm"
	case apply.Forbidden:
		st := a.auth.At(e.Index)
		switch {
		case r.User == "":
			return "refused: auth is on, and the request names no user"
		case r.AuthRevision < st.Revision:
			return fmt.Sprintf("refused: it was checked at auth revision %d, and that is %d now", r.AuthRevision, st.Revision)
		}
		return "refused: user " + Key(r.User).String() + " has no permission for it"
	}
	if b.step.Outcome == effect.Refused {
		return "though by etcd's rules it should have had one"
	}
	return a.whyUnchanged(e, r, b.before)
}

// whySteps bounds what is looked up to say why entries changed nothing: transactions may compare ranges of all keys, and there may be as many.
const whySteps = 1 << 26

// whyUnchanged says why an entry changed nothing, though nothing refused it.
func (a *account) whyUnchanged(e *effect.Entry, r *raftlog.Request, before int64) (why string) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, mvcc.ErrOverBudget) {
				panic(p)
			}
			why = "it changes nothing; why was not looked up, since entries before it took too many steps"
		}
	}()
	in := effect.Input{Index: a.keys()[a.i]}
	if why := in.Why(e, before); why != "" {
		return why
	}
	for _, id := range leasesNeeded(r.Internal, in.Predict(e, before)) {
		return fmt.Sprintf("lease %s does not exist", ID(uint64(id)))
	}
	return "what it met is compacted away"
}

// leasesNeeded lists the leases that must exist for a request to do what it wants.
func leasesNeeded(in *pb.InternalRaftRequest, want []effect.Change) []int64 {
	if in.GetLeaseRevoke() != nil {
		return []int64{in.LeaseRevoke.ID}
	}
	var ids []int64
	for _, ch := range want {
		if ch.Lease != 0 && !slices.Contains(ids, ch.Lease) {
			ids = append(ids, ch.Lease)
		}
	}
	return ids
}

// Making tells which entry made a main revision on a member. known is false if that revision is older than what the
// log tells of, or the entry is in no log. index is 0, and known true, if no entry explains the revision; after is then
// the entry before it.
func (l *Ledger) Making(member int, revision int64) (index, after uint64, known bool) {
	a := &l.accounts[member]
	i, ok := slices.BinarySearchFunc(a.byRevision, revision, func(b appliedStep, x int64) int { return cmp.Compare(b.step.Revision, x) })
	if a.i < 0 || !ok {
		return 0, 0, false
	}
	b := &a.byRevision[i]
	if b.step.Index > 0 && find(a.entries, b.step.Index) == nil {
		return 0, b.step.Index, false
	}
	return b.step.Index, b.after, true
}

// Rows returns the rows of a main revision on a member, none if there is no db.
func (l *Ledger) Rows(member int, revision int64) []mvcc.Row {
	if l.accounts[member].i < 0 {
		return nil
	}
	return l.Members[member].DB.Rows.Group(revision)
}

// Changes lists what a main revision changed on a member.
func (l *Ledger) Changes(member int, revision int64) []Change {
	return changes(l.Rows(member, revision))
}

// Proposer is the label, or the id, of the member that proposed a request; empty if it is not known.
func (l *Ledger) Proposer(member int, r *raftlog.Request) string {
	return l.accounts[member].c.proposer(r)
}

// Applied returns the entry that a member applied at an index, from its own log or another one that it shares. nil if
// there is none.
func (l *Ledger) Applied(member int, index uint64) *raftlog.Entry {
	if e := find(l.accounts[member].entries, index); e != nil {
		return e.Raw
	}
	return l.Members[member].Log.Entry(index)
}

// Line is all that members hold at one index of the log.
type Line struct {
	Index uint64
	// Variants are the different entries at this index, first that of the member with the lowest number. One is normal.
	Variants []Variant
}

// Variant is an entry with the members whose log holds it, or that applied it though their own log does not hold it.
type Variant struct {
	Entry   *raftlog.Entry
	Members []int

	decoded bool // what follows is what the entry decodes to
	request *raftlog.Request
	err     error
}

// Request decodes the entry, once however often it is called, as [raftlog.Decode] does.
func (v *Variant) Request() (*raftlog.Request, error) {
	if !v.decoded {
		v.decoded = true
		v.request, v.err = raftlog.Decode(v.Entry)
	}
	return v.request, v.err
}

// Lines yields the entries of all logs merged by index, in ascending order, from first to last; 0 is no bound.
func (l *Ledger) Lines(first, last uint64) iter.Seq[*Line] {
	return func(yield func(*Line) bool) {
		at := make([]int, len(l.Members))
		for i, m := range l.Members {
			at[i], _ = slices.BinarySearchFunc(m.Log.Entries, first, func(e raftlog.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
		}
		for {
			low, found := uint64(0), false
			for i, m := range l.Members {
				if at[i] < len(m.Log.Entries) {
					if x := m.Log.Entries[at[i]].Index; !found || x < low {
						low, found = x, true
					}
				}
			}
			if !found || last > 0 && low > last {
				return
			}
			line := &Line{Index: low}
			for i, m := range l.Members {
				if at[i] < len(m.Log.Entries) && m.Log.Entries[at[i]].Index == low {
					line.add(i, &m.Log.Entries[at[i]])
					at[i]++
				} else if e := find(l.accounts[i].entries, low); e != nil && e.Raw != nil {
					line.add(i, e.Raw)
				}
			}
			if !yield(line) {
				return
			}
		}
	}
}

func (line *Line) add(member int, e *raftlog.Entry) {
	for k := range line.Variants {
		if v := &line.Variants[k]; sameEntry(v.Entry, e) {
			v.Members = append(v.Members, member)
			return
		}
	}
	line.Variants = append(line.Variants, Variant{Entry: e, Members: []int{member}})
}

// Outcome is what an entry did on some members that agree.
type Outcome struct {
	Members []int
	EntryEffect
}

// Outcomes groups the members of a variant by what the entry did on them. differ is true if it changed other keys, or
// wrote other things, on some than on others, as far as that is known: mere lag, or other numbers of the same revisions,
// is no such difference.
func (l *Ledger) Outcomes(v *Variant) (all []Outcome, differ bool) {
	for _, i := range v.Members {
		e := l.effect(i, v.Entry.Index, v)
		k := slices.IndexFunc(all, func(o Outcome) bool {
			return o.State == e.State && slices.Equal(o.Revisions, e.Revisions) && o.Why == e.Why && o.Odd == e.Odd && l.sameContent(o.Members[0], i, e, e)
		})
		if k < 0 {
			k, all = len(all), append(all, Outcome{EntryEffect: e})
		}
		all[k].Members = append(all[k].Members, i)
	}
	for a := range all {
		for b := range all[:a] {
			x, y := &all[a], &all[b]
			known := func(o *Outcome) bool { return o.State == Made || o.State == None || o.State == Gone }
			if known(x) && known(y) && (x.State != y.State || len(x.Revisions) != len(y.Revisions) || !l.sameContent(x.Members[0], y.Members[0], x.EntryEffect, y.EntryEffect)) {
				differ = true
			}
		}
	}
	return all, differ
}

// sameContent tells whether the rows that two members have of an entry put and delete the same.
func (l *Ledger) sameContent(i, j int, x, y EntryEffect) bool {
	for k := range min(len(x.Revisions), len(y.Revisions)) {
		if l.unread(i, x.Revisions[k]) || l.unread(j, y.Revisions[k]) {
			continue
		}
		a, b := l.Rows(i, x.Revisions[k]), l.Rows(j, y.Revisions[k])
		if !slices.EqualFunc(a, b, sameWrite) {
			return false
		}
	}
	return true
}

// unread tells whether rows of a main revision may be missing because of damage.
func (l *Ledger) unread(member int, revision int64) bool {
	db := l.Members[member].DB
	return db == nil || db.Rows.Unknown(revision)
}

// sameWrite tells whether two rows put the same value and lease, or delete the same key.
func sameWrite(a, b mvcc.Row) bool {
	var x, y mvcc.KeyValue
	if x.Decode(a.Value) != nil || y.Decode(b.Value) != nil {
		return bytes.Equal(a.Value, b.Value)
	}
	return a.Tombstone == b.Tombstone && bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value) && x.Lease == y.Lease
}
