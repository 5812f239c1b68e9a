package diff

import (
	"cmp"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// auth is what is known of one member's auth store through time.
type auth struct {
	timeline *authz.Timeline   // nil if not known
	others   []*authz.Timeline // further ones, by other odd writes, that explain the tables as well
	plain    *authz.Timeline   // if entries seem to have been applied again: the tables may as well have been changed in the end
	detours  []*authz.Timeline // those in which one write was left out that the tables do not show
	turns    []authTurn        // where only that is known: when auth came on and went off
	edited   bool              // the tables are not what the log leads to, and were rather changed otherwise than by an entry
	before   bool
	settled  *authz.State    // the tables, nil if they do not tell what held behind the last write
	last     uint64          // write
	upTo     *authz.Timeline // if it is known only up to an entry that no log holds
	gap      uint64          // that entry
	hole     uint64          // the first entry that was applied and no log holds, 0 if there is none or auth was never used
	late     func(made, refused uint64) []*authz.Timeline
}

// state is what an entry meets, nil if that is not known.
func (a *auth) state(index uint64) *authz.State {
	switch {
	case a.timeline != nil:
		return a.timeline.At(index)
	case a.upTo != nil && index < a.gap:
		return a.upTo.At(index)
	case a.settled != nil && index > a.last:
		return a.settled
	}
	return nil
}

// begin is what was before the first write of the log, nil if that is not known. whole is true if the log begins with the cluster.
func (a *auth) begin(whole bool) *authz.State {
	switch {
	case a.timeline != nil:
		return a.timeline.Begin()
	case whole:
		return authz.New()
	}
	return nil
}

// all are the timelines that explain the tables.
func (a *auth) all() []*authz.Timeline {
	if a.timeline == nil {
		return nil
	}
	return append([]*authz.Timeline{a.timeline}, a.others...)
}

// keep leaves the timelines in which the same is odd as in one of some.
func (a *auth) keep(only []*authz.Timeline) {
	all := slices.DeleteFunc(a.all(), func(t *authz.Timeline) bool { return !slices.ContainsFunc(only, t.SameOdd) })
	if len(all) > 0 {
		a.timeline, a.others = all[0], all[1:]
	}
}

// may tells whether an entry may have met a state.
func (a *auth) may(index uint64, s *authz.State) bool {
	if a.timeline == nil {
		was := a.state(index)
		return was != nil && was.Alike(s)
	}
	return slices.ContainsFunc(a.all(), func(t *authz.Timeline) bool {
		return !(t.Again && index <= max(t.Odd, t.Last)) && t.At(index).Alike(s)
	})
}

// denies tells whether permissions are known to refuse a request at an entry.
func (a *auth) denies(index uint64, r *raftlog.Request, attached func(lease int64) []string) bool {
	s := a.state(index)
	return s != nil && s.Denies(r, attached)
}

type authTurn struct {
	index uint64
	on    bool
}

// authOf follows the auth store of member i through its log, exactly if that begins with the cluster.
func (c *comparison) authOf(i int) *auth {
	m, h := c.ms[i], c.views[i]
	a := &auth{before: m.DB.Tables.AuthEnabled}
	if m.DB.Tables.AuthRevision > 1 { // the auth store of a new cluster has revision 1: nothing has ever been turned
		a.hole = c.missing(i)
	}
	var applied []authz.Write
	for _, w := range h.authWrites {
		if w.Index <= m.DB.Tables.ConsistentIndex {
			applied = append(applied, w)
		}
	}
	if c.whole(i) {
		all := authz.New().Follow(applied, m.DB.Tables)
		if len(all) == 0 && len(applied) < len(h.authWrites) {
			// Up to 3.4 the auth tables are not tied to the consistent index.
			all = authz.New().Follow(h.authWrites, m.DB.Tables)
		}
		again := len(all) > 0 && all[0].Again
		if again {
			all = append(c.further(i, len(applied), authz.New()), all...)
		}
		if len(all) > 0 {
			a.timeline, a.others = all[0], all[1:]
		}
		if again {
			a.plain = authz.Plain(applied)
			a.late = func(made, refused uint64) (all []*authz.Timeline) {
				for _, w := range applied {
					if made < w.Index && w.Index < refused {
						all = append(all, authz.Late(applied, m.DB.Tables, w.Index)...)
					}
				}
				return append(all, authz.Late(applied, m.DB.Tables, refused)...)
			}
		}
		if len(all) == 1 && all[0].Odd == 0 && !again {
			a.detours = authz.Detours(applied, m.DB.Tables)
		}
	}
	if len(applied) > 0 {
		a.last = applied[len(applied)-1].Index
	}
	if m.DB.Tables.HasTerm && c.vouchedAuth(i, a.last) {
		a.settled = authz.Of(m.DB.Tables)
	}
	// Backwards from what the db says in the end: an entry that asked for something else had no effect.
	known := append(slices.Clip(applied), c.ahead(i, len(applied))...)
	for n, w := range slices.Backward(known) {
		switch typ := w.Request.Type; {
		case typ == "AuthEnable" && a.before && w.Request.User != "" && !authz.Disabled(known[:n]):
			// It comes from a user: auth was on already.
		case typ == "AuthEnable" && a.before:
			a.turns = append(a.turns, authTurn{w.Index, true})
			a.before = false
		case typ == "AuthDisable" && !a.before:
			a.turns = append(a.turns, authTurn{w.Index, false})
			a.before = true
		}
	}
	return a
}

// further is the timeline from a state on that has member i's auth tables in the end if its data has come to more auth entries
// than its consistent index says. There is none if they are not what that leads to.
func (c *comparison) further(i, applied int, from *authz.State) []*authz.Timeline {
	all := c.views[i].authWrites
	for n := applied + 1; n <= len(all) && all[n-1].Index <= committed(c.ms[i]); n++ {
		if ts := from.Follow(all[:n], c.ms[i].DB.Tables); len(ts) == 1 && ts[0].Odd == 0 {
			return ts
		}
	}
	return nil
}

// ahead is the entry behind those auth entries that member i's index says are applied which made its tables say whether auth
// is on: none of the former did, and its data has come further than the index, or, up to 3.4, its tables alone have.
func (c *comparison) ahead(i, applied int) []authz.Write {
	all, on := c.views[i].authWrites, c.ms[i].DB.Tables.AuthEnabled
	turns := func(w authz.Write) bool { return w.Request.Type == "AuthEnable" || w.Request.Type == "AuthDisable" }
	for _, w := range slices.Backward(all[:applied]) {
		if turns(w) && (w.Request.Type == "AuthEnable") == on {
			return nil
		}
	}
	n := slices.IndexFunc(all[applied:], turns)
	if n < 0 || (all[applied+n].Request.Type == "AuthEnable") != on || all[applied+n].Index > committed(c.ms[i]) {
		return nil
	}
	return all[applied+n : applied+n+1]
}

// vouchedAuth tells whether another member that has applied the same auth entries, the last of which is given, has the same
// auth tables as member i, and none has others: then they are what these entries led to. If one has the same that has applied
// more of them, they are as well what those led to, and the indexes of the others were left behind.
func (c *comparison) vouchedAuth(i int, last uint64) bool {
	vouched := false
	for j, o := range c.ms {
		t := o.DB.Tables
		if j == i || t.ConsistentIndex < last || !t.HasTerm || !o.DB.Whole {
			continue
		}
		same := authz.Of(c.ms[i].DB.Tables).Equal(t)
		if late := func(w authz.Write) bool { return last < w.Index && w.Index <= t.ConsistentIndex }; slices.ContainsFunc(c.views[j].authWrites, late) {
			if same {
				return false
			}
			continue
		}
		if !same {
			return false
		}
		vouched = true
	}
	return vouched && c.ms[i].DB.Whole
}

// maxTimelines bounds how many odd writes are told apart by what they would have led to.
const maxTimelines = 64

// costEdited is what it costs to say that the tables were changed otherwise than by an entry.
const costEdited = 40

// costSpared is what it costs more that a request was let pass which the tables say was refused: nothing explains that.
const costSpared = 30

// settle takes those of several timelines that explain the rows best: an odd write that should have led to requests that
// are refused, or are not, is none. Where the rows are better explained without any, the tables were changed otherwise.
func (a *auth) settle(run func() *align.Alignment, request func(index uint64) *raftlog.Request) {
	cost := func() int { return run().Cost }
	spared := func() int { return costSpared * letPass(run()) }
	a.detour(run)
	a.delay(run)
	if a.plain != nil && len(a.others) >= maxTimelines {
		a.narrow(run, request)
	}
	if a.plain == nil && len(a.others) == 0 || len(a.others) >= maxTimelines {
		return
	}
	least := math.MaxInt
	var best []*authz.Timeline
	for _, t := range a.all() {
		a.timeline = t
		switch n := cost(); {
		case n < least:
			least, best = n, []*authz.Timeline{t}
		case n == least:
			best = append(best, t)
		}
	}
	slices.SortStableFunc(best, func(t, o *authz.Timeline) int { return cmp.Compare(t.Odd, o.Odd) })
	if a.timeline, a.others = best[0], best[1:]; a.timeline.Odd == 0 {
		a.others = nil
		return // nothing is odd, but that the index was left behind
	}
	if a.plain != nil && least > 0 {
		t, odd := a.timeline, least+spared()
		if a.timeline = a.plain; cost()+spared()+costEdited < odd {
			a.others, a.edited = nil, true
			return
		}
		a.timeline = t
	}
}

// letPass is how many requests had an effect that were to be refused.
func letPass(a *align.Alignment) (n int) {
	for i := range a.Steps {
		if s := &a.Steps[i]; s.Outcome == align.Permitted && !s.Again {
			n++
		}
	}
	return n
}

// maxOff is how many requests more than with the best may be refused, or not, without a reason, because the alignment without
// any may be wrong.
const maxOff = 2

// narrow leaves those of many timelines that agree best with which requests were refused, as it looks without any of them, by
// the auth revision that they were checked at.
func (a *auth) narrow(run func() *align.Alignment, request func(index uint64) *raftlog.Request) {
	all := a.all()
	a.timeline = a.plain
	off := make([]int, len(all))
	for _, s := range run().Steps {
		r := request(s.Index)
		if r == nil || s.Again || s.Revision == 0 && s.Outcome != align.Refused {
			continue
		}
		for n, t := range all {
			o := t.At(s.Index)
			if denied := o.Enabled && (r.User == "" || r.AuthRevision < o.Revision); denied != (s.Revision == 0) {
				off[n]++
			}
		}
	}
	least := slices.Min(off)
	var best []*authz.Timeline
	for n, t := range all {
		if off[n] <= least+maxOff {
			best = append(best, t)
		}
	}
	a.timeline, a.others = best[0], best[1:]
}

// maxDelayed bounds before how many refused requests auth entries may have been applied again.
const maxDelayed = 8

// delay adds the timelines in which what was applied again was so with entries behind it, between one that made a revision and
// the next request that was refused, perhaps because of it.
func (a *auth) delay(run func() *align.Alignment) {
	if a.plain == nil {
		return
	}
	t := a.timeline
	a.timeline = a.plain
	made, refused, end, tried := uint64(0), uint64(0), uint64(0), 0 // made is 0 behind a request that was refused, refused behind one that was not
	next := false                                                   // whether the last request that made no revision is the first one that was refused
	for _, s := range run().Steps {
		switch {
		case s.Revision > 0:
			if refused > 0 && tried < maxDelayed {
				// It may as well have been this one that was refused, if the two write the same.
				a.others = append(a.others, a.late(refused, s.Index)...)
				tried++
			}
			made, refused = s.Index, 0
		case s.Outcome == align.Refused && made > 0 && tried < maxDelayed:
			a.others = append(a.others, a.late(made, s.Index)...)
			made, refused, tried, next = 0, s.Index, tried+1, true
		case s.Outcome == align.Refused && next && tried < maxDelayed:
			// The first may have had an effect that seems to be that of a later one.
			a.others = append(a.others, a.late(refused, s.Index)...)
			tried, next = tried+1, false
		}
		end = max(end, s.Index)
	}
	// Nor need anything have come behind it.
	a.others = append(a.others, a.late(end, end+1)...)
	a.timeline = t
}

// maxDetour is the cost of what may as well have gone wrong by itself as because a write of the auth tables was left out:
// one entry without effect, or applied again.
const maxDetour = 25

// detour takes the timeline in which one write was left out that explains most of what is odd about the rows, if that is more
// than one thing: several requests that were let pass are. If it is one, and all, both may be, and such timelines are kept.
func (a *auth) detour(run func() *align.Alignment) {
	if len(a.detours) == 0 {
		return
	}
	straight, all := a.timeline, a.detours
	a.detours = nil
	without := run()
	if without.Cost == 0 {
		return
	}
	least, passed := without.Cost, letPass(without)
	var best []*authz.Timeline
	for _, t := range all {
		a.timeline = t
		switch own := run(); {
		case own.Cost < least:
			least, best, passed = own.Cost, []*authz.Timeline{t}, letPass(own)
		case own.Cost == least && least < without.Cost:
			best = append(best, t)
		}
	}
	a.timeline = straight
	switch {
	case without.Cost-least > maxDetour, letPass(without)-passed > 1:
		a.timeline, a.others = best[0], best[1:]
	case least == 0:
		a.detours = best
	}
}

// on tells whether auth was on when an entry was applied.
func (a *auth) on(index uint64) bool {
	if a.timeline != nil {
		return a.timeline.At(index).Enabled
	}
	if a.upTo != nil && index < a.gap {
		return a.upTo.At(index).Enabled
	}
	for _, t := range a.turns {
		if t.index < index {
			return t.on
		}
	}
	return a.before
}

// unsure tells whether auth may have been on at an entry as well as off: entries that no log holds may have turned it since.
func (a *auth) unsure(index uint64) bool {
	return a.timeline == nil && index < a.hole && (a.upTo == nil || index >= a.gap) &&
		!slices.ContainsFunc(a.turns, func(t authTurn) bool { return t.index < index })
}

// moment is what an entry meets besides the keyspace.
type moment interface {
	lease(id int64, index uint64) align.Judgement
	permissions(index uint64) *authz.State // nil if they are not known
	authOn(index uint64) bool
	alarm(index uint64) (t turn, known bool)
}

// lived is what the entries of a member met in fact.
type lived struct {
	h      *history
	auth   *auth
	leases *leaseLog
	whole  bool
	alarms []schema.AlarmMember // that are on in the end
	// unalarmed is true if no alarm was on from before the log begins.
	unalarmed bool
	// early are alarms that were on before the log begins, up to the first entry about each.
	early []alarmTurn
}

func (c *comparison) lived(i int) lived {
	h, t := c.views[i], c.ms[i].DB.Tables
	whole := c.whole(i)
	return lived{h, c.auths[i], newLeaseLog(h.leases, t.Leases, whole), whole, t.Alarms, c.unalarmed[i], c.early[i]}
}

func (l *lived) lease(id int64, index uint64) align.Judgement {
	return l.leases.state(id, index, l.auth.on)
}
func (l *lived) permissions(index uint64) *authz.State { return l.auth.state(index) }
func (l *lived) authOn(index uint64) bool              { return l.auth.on(index) }

func (l *lived) alarm(index uint64) (turn, bool) {
	t, known := l.h.alarmAt(index)
	for _, e := range l.early {
		if index < e.index {
			t, known = turn{max(t.index, 1), true, t.corrupt || e.id.typ == pb.AlarmType_CORRUPT}, true
		}
	}
	return t, known
}

// calm is what the entries of a member met, if no alarm was on.
type calm struct{ *lived }

func (calm) alarm(uint64) (turn, bool) { return turn{}, true }

func (m calm) lease(id int64, index uint64) align.Judgement {
	l := *m.leases
	l.calm = true
	return l.state(id, index, m.auth.on)
}

// judge returns what permissions and alarms say of the entries of member i.
func (c *comparison) judge(i int) align.Judge {
	l := c.lived(i)
	return func(index uint64, r *raftlog.Request, want []align.Change, attached func(lease int64) []string) align.Judgement {
		return l.judge(&l, index, r, want, attached)
	}
}

// judge tells what may refuse a request at the time of an entry, if that meets what a moment says.
func (l *lived) judge(m moment, index uint64, r *raftlog.Request, want []align.Change, attached func(lease int64) []string) align.Judgement {
	verdict := align.Allowed
	for _, id := range leasesNeeded(r.Internal, want) {
		switch m.lease(id, index) {
		case align.Denied:
			return align.Denied
		case align.Doubtful:
			verdict = align.Doubtful
		}
	}
	switch s := m.permissions(index); {
	case s != nil && s.Unsure(r.User) && r.AuthRevision >= s.Revision:
		verdict = align.Doubtful
	case s != nil:
		if s.Denies(r, attached) {
			return align.Denied
		}
	case l.auth.unsure(index):
		verdict = align.Doubtful
	case !m.authOn(index):
	case l.h.outdated(index, r) && authz.Closed().Denies(r, attached):
		return align.Denied
	default:
		verdict = align.Doubtful
	}
	switch alarm, known := m.alarm(index); {
	case !known && !l.whole && (!l.unalarmed || l.h.holed(index)) && l.h.mayBeAlarmed(index, r.Internal, l.alarms):
		return align.Doubtful
	case alarm.on && refusedBy(alarm, r.Internal):
		if alarm.index == 0 { // by what comes behind
			return align.Doubtful
		}
		return align.Denied
	}
	return verdict
}

// outdated tells whether a request is refused while auth is on, whatever it asks for: it names no user, or was checked at
// an auth revision that an earlier one shows to be past.
func (h *history) outdated(index uint64, r *raftlog.Request) bool {
	if r.User == "" {
		return true
	}
	n, _ := slices.BinarySearchFunc(h.checked, index, func(t authz.Check, x uint64) int { return cmp.Compare(t.Index, x) })
	return n > 0 && r.AuthRevision < h.checked[n-1].Revision
}

// alarmAt is the state of the alarms that an entry meets, known if the log tells.
func (h *history) alarmAt(index uint64) (turn, bool) {
	for _, t := range slices.Backward(h.refusing) {
		if t.index < index {
			return t, !h.missingBetween(t.index, index)
		}
	}
	return turn{}, false
}

// mayBeAlarmed tells whether a request before which no entry about alarms is known may be refused by one: one that is on in the end,
// or that is raised again first.
func (h *history) mayBeAlarmed(index uint64, in *pb.InternalRaftRequest, left []schema.AlarmMember) bool {
	for n, t := range h.refusing {
		if t.index >= index || n == 0 && t.index == 0 {
			return refusedBy(t, in)
		}
	}
	return len(left) > 0
}

// settleAlarms finds out whether an alarm from before the log begins may have refused requests of member i. If one was on until
// the first entry about alarms, which turns one on, it refused all that it could up to there: not most of these had an effect.
func (c *comparison) settleAlarms(i int) {
	h := c.views[i]
	if c.whole(i) || len(h.refusing) == 0 || h.refusing[0].index == 0 {
		return
	}
	a := align.Align(c.inputs[i])
	if a.Cost == 0 {
		return
	}
	made := 0 // how many more had an effect than had none
	for n := range a.Steps {
		s := &a.Steps[n]
		if s.Index >= h.refusing[0].index {
			break
		}
		if q := c.request(i, s.Index); q == nil || s.Again || !refusedBy(h.refusing[0], q.Internal) {
			continue
		}
		switch s.Outcome {
		case align.Applied:
			made++
		case align.Refused:
			made--
		}
	}
	if c.unalarmed[i] = made > 0; made > 0 {
		c.inputs[i].Judge = c.judge(i)
	}
}

// costEarly is how much more must be explained on each member by saying that an alarm was on before the log begins than without: by it
// everything up to the first entry about it may be refused, and so anything explained.
const costEarly = 80

// settleEarly finds the alarms that were on before a log begins, and of which it tells only behind entries about others: without them,
// much is odd about what it asks of its members up to there.
func (c *comparison) settleEarly() {
	byHistory := map[int][]int{}
	for i := range c.ms {
		if !c.whole(i) && len(c.views[i].firstOf) > 1 {
			byHistory[c.logs.history[i]] = append(byHistory[c.logs.history[i]], i)
		}
	}
	for _, members := range byHistory {
		cost := c.costOfAll(members)
		for _, t := range c.views[members[0]].firstOf[1:] {
			if cost < costEarly*len(members) {
				break
			}
			was := slices.Clone(c.early)
			for _, i := range members {
				c.early[i] = append(slices.Clip(c.early[i]), t)
			}
			if n := c.costOfAll(members); n+costEarly*len(members) <= cost {
				cost = n
				continue
			}
			c.early = was
			c.costOfAll(members)
		}
	}
}

// costOfAll is what the alignments of some members cost, each by itself, by what is known of alarms now.
func (c *comparison) costOfAll(members []int) (cost int) {
	for _, i := range members {
		in := &c.inputs[i]
		in.Judge = c.judge(i)
		a := align.Align(*in)
		cost += a.Cost + in.Echoed(a)
	}
	return cost
}

// refusedBy tells whether an alarm refuses a request: CORRUPT every one, NOSPACE those that put something or grant a lease
// (server/etcdserver/apply, capped.go and corrupt.go).
func refusedBy(t turn, in *pb.InternalRaftRequest) bool {
	return t.corrupt || in.GetPut() != nil || in.GetLeaseGrant() != nil || puts(in.GetTxn().GetSuccess()) || puts(in.GetTxn().GetFailure())
}

// puts tells whether operations put something, those of transactions among them included.
func puts(ops []*pb.RequestOp) bool {
	return slices.ContainsFunc(ops, func(o *pb.RequestOp) bool {
		n := o.GetRequestTxn()
		return o.GetRequestPut() != nil || n != nil && (puts(n.Success) || puts(n.Failure))
	})
}
