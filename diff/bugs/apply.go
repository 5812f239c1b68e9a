package bugs

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/raftlog"
)

func rules(rs ...*replay.Rule) []*replay.Rule { return rs }

// effectsMissing tells whether the cause is that some members lack the effect of entries.
func (c *Case) effectsMissing() bool {
	return c.Cause.Layer == "apply" && c.Cause.Outcome == effect.Refused && !c.Cause.Again && c.Cause.Index > 0
}

// appliedAgain tells whether the cause is that some members applied entries twice.
func (c *Case) appliedAgain() bool {
	return c.Cause.Layer == "apply" && c.Cause.Again && c.Cause.Index > 0
}

func internal(r *raftlog.Request) *pb.InternalRaftRequest {
	if r == nil || r.Internal == nil {
		return &pb.InternalRaftRequest{}
	}
	return r.Internal
}

// authOn tells whether auth is on for some member at the cause, as far as the tables tell.
func (c *Case) authOn() bool {
	for _, m := range c.Members {
		if m.DB != nil && m.DB.Tables.AuthEnabled {
			return true
		}
		for _, r := range m.rare() {
			if internal(r).AuthDisable != nil {
				return true // it was on once
			}
		}
	}
	return false
}

// leaseRevokeUnasked is the parting of 3.2 and 3.3 over leases that are revoked.
func leaseRevokeUnasked(c *Case) Outcome {
	first := c.entry(c.Cause.Index)
	if c.Cause.Layer != "apply" || internal(first).LeaseRevoke == nil && !c.Cause.OtherRules {
		return Outcome{}
	}
	revokes, nameless := 0, 0
	for _, r := range c.requests() {
		if internal(r).LeaseRevoke != nil {
			revokes++
			if r.User == "" {
				nameless++
			}
		}
	}
	switch {
	case revokes == 0:
		return Outcome{}
	case !c.authOn():
		return refuted("auth is not enabled: nobody is asked for permission")
	}
	who := ""
	switch nameless {
	case 0:
	case revokes:
		who = " without a user"
	default:
		who = fmt.Sprintf(", %d of them without a user,", nameless)
	}
	where := "there"
	if !c.Cause.Fault {
		where = "on " + labels(c.departed())
	}
	what := fmt.Sprintf("%s%s had no effect %s, because auth is enabled and 3.3 and later ask who may write the keys of the lease",
		count(revokes, "LeaseRevoke", "LeaseRevokes"), who, where)
	if c.Cause.Fault {
		return c.oldRule(replay.RevokeUnasked()).and(what)
	}
	s := c.split(rules(), rules(replay.RevokeUnasked()))
	o := c.judgeRules(s, "the rule of 3.3 and later", "that of 3.2")
	if o.Status == Refuted {
		return o
	}
	return o.and(what).and(c.versionsOf(s)...)
}

// oldRule tests that each member of the cause has followed an old rule up to where the cause begins on it, and the others always. Where
// several entries come into question for that, each is tried.
func (c *Case) oldRule(old *replay.Rule) Outcome {
	onsets := []map[int]uint64{c.Cause.Onset}
	if n := len(c.Cause.Begins); n > 1 && len(c.Cause.Onset) == 1 {
		onsets = nil
		for i := range c.Cause.Onset {
			for _, at := range c.Cause.Begins[:min(n, maxOnsets)] {
				onsets = append(onsets, map[int]uint64{i: at})
			}
		}
	}
	var first Outcome
	for n, onset := range onsets {
		o := c.oldRuleUntil(old, onset)
		if o.Status == Confirmed {
			if len(onsets) > 1 {
				o.At = c.Cause.Begins[n]
			}
			return o
		}
		if n == 0 {
			first = o
		}
	}
	return first
}

// requestsWith counts the requests of the cause that are as wanted.
func (c *Case) requestsWith(wanted func(in *pb.InternalRaftRequest) bool) (n int) {
	for _, r := range c.requests() {
		if wanted(internal(r)) {
			n++
		}
	}
	return n
}

// maxOnsets is how many entries are tried as the one from which on a member followed another rule.
const maxOnsets = 16

func (c *Case) oldRuleUntil(old *replay.Rule, onset map[int]uint64) Outcome {
	does, doesNot, n, err := c.runsExactly(func(i int) []*replay.Rule { return c.upgraded(i, old, onset[i]) })
	var parts []string
	for i, m := range c.Members {
		if at, odd := onset[i]; odd {
			parts = append(parts, fmt.Sprintf("%s from entry %d on", m.Label, at))
		}
	}
	says := fmt.Sprintf("%s by the new rule, the others and all before by the old one", listOf(parts))
	return judgeExactly(does, doesNot, n, err, says, "it has another fault, too, or the old version differs in more")
}

// judgeExactly tells what came of running entries again on each member by itself, as says tells: these come out as they are and those do not, for which
// otherwise says why that may be.
func judgeExactly(does, doesNot []*Member, entries int, err error, says, otherwise string) Outcome {
	switch {
	case len(does)+len(doesNot) == 0:
		return consistent("the entries could not be run again: " + oneLine(err))
	case len(doesNot) > 0:
		return consistent(fmt.Sprintf("run again by etcd's own code with %s, %s does not come out as it is: %s", says, labels(doesNot), otherwise))
	}
	return confirmed(fmt.Sprintf("run again by etcd's own code, %d entries make just what %s with %s: no revision differs", entries, holders(does), says))
}

// versionsOf says what is known of the versions of the members that follow one set of rules of a split and not the other.
func (c *Case) versionsOf(s *split) []string {
	var out []string
	for _, m := range slices.Concat(s.followA, s.followB) {
		if v := m.minorVersions(); len(v.why) > 0 {
			out = append(out, fmt.Sprintf("%s: %s", m.Label, v))
		}
	}
	return out
}

// leasePutUnasked is the other half of the same change: who may attach a key to a lease.
func leasePutUnasked(c *Case) Outcome {
	if !c.effectsMissing() || !c.authOn() {
		return Outcome{}
	}
	if c.Cause.OtherRules {
		puts, revokes := 0, 0
		for _, r := range c.requests() {
			switch in := internal(r); {
			case in.LeaseRevoke != nil:
				revokes++
			case putsLease(in):
				puts++
			}
		}
		if puts == 0 || revokes > 0 { // it is one change of the rules, and told once
			return Outcome{}
		}
		return c.oldRule(replay.RevokeUnasked()).and(fmt.Sprintf("%s that would attach a key to a lease had no effect there, for the same reason", count(puts, "entry", "entries")))
	}
	r := c.entry(c.Cause.Index)
	if !putsLease(internal(r)) {
		return Outcome{}
	}
	if r.User == "" {
		return refuted("the put names no user")
	}
	o := c.judgeRules(c.split(rules(), rules(replay.LeasePutUnasked())), "the rule of 3.3 and later", "that of 3.2")
	return o.and(fmt.Sprintf("entry %d puts a key with a lease for user %q", c.Cause.Index, r.User))
}

func putsLease(in *pb.InternalRaftRequest) bool {
	if in.Put != nil {
		return in.Put.Lease != 0
	}
	return in.Txn != nil && slices.ContainsFunc(puts(in.Txn), func(p *pb.PutRequest) bool { return p.Lease != 0 })
}

// puts lists every put of a transaction, nested ones too.
func puts(t *pb.TxnRequest) []*pb.PutRequest {
	var all []*pb.PutRequest
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if p := op.GetRequestPut(); p != nil {
			all = append(all, p)
		}
		if n := op.GetRequestTxn(); n != nil {
			all = append(all, puts(n)...)
		}
	}
	return all
}

func nested(t *pb.TxnRequest) bool {
	return t != nil && slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool { return op.GetRequestTxn() != nil })
}

// requestSemantics is a transaction that an older minor understands in another way.
func requestSemantics(c *Case) Outcome {
	if c.Cause.Layer != "apply" || c.Cause.Again {
		return Outcome{}
	}
	t := internal(c.entry(c.Cause.Index)).Txn
	if t == nil {
		return Outcome{}
	}
	what := ""
	for _, cmp := range t.Compare {
		switch {
		case len(cmp.RangeEnd) > 0:
			what = "compares a range of keys"
		case cmp.Target == pb.Compare_LEASE:
			what = "compares the lease of a key"
		}
	}
	if nested(t) {
		what = "has a nested transaction"
	}
	if what == "" || !slices.ContainsFunc(c.Members, func(m *Member) bool { return m.DB != nil && m.minorVersions().least < "3.3" }) {
		return Outcome{} // all of them know it
	}
	o := c.judgeRules(c.split(rules(), rules(replay.OldCompares())), "the rules of 3.3 and later", "what 3.2 understands")
	return o.and(fmt.Sprintf("entry %d %s, which 3.2 does not know", c.Cause.Index, what))
}

// skippedAfterCrash is the consistent index that was saved before the changes of its entry.
func skippedAfterCrash(c *Case) Outcome {
	if !c.effectsMissing() || c.Cause.Rule != "" || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	if v := m.minorVersions(); v.certainlyBefore("3.5") || v.certainlyAfter("3.6") {
		return refuted(fmt.Sprintf("%s never ran 3.5.0 to 3.5.2: %s", m.Label, v))
	}
	if c.readsAtRevision(m) {
		return refuted("the transaction reads at a revision, and the member that lacks it proposed it: another explanation")
	}
	es := c.Cause.entries()
	omit := replay.Omit(es...)
	if c.Cause.Last > 0 {
		omit = replay.OmitRange(c.Cause.First, c.Cause.Last)
	}
	s := c.split(rules(), rules(omit))
	if !s.possible() {
		return consistent(fmt.Sprintf("%s lacks the effects of %s", m.Label, entries(es)), s.err())
	}
	if !s.conclusive() || len(s.followB) != 1 || s.followB[0] != m {
		return c.judgeReproduction(s, "every entry", entries(es)+" left out")
	}
	o := c.judgeReproduction(s, "every entry", entries(es)+" left out")
	var seen []raftlog.Restart
	for _, e := range es {
		switch r, known := m.restarted(e); {
		case r != nil && !slices.Contains(seen, *r):
			seen = append(seen, *r)
			o = o.and(fmt.Sprintf("%s restarted where entry %d was the last one applied, or could have been: %s", m.Label, e, r))
		case r != nil:
			o = o.and(fmt.Sprintf("one restart cannot explain entry %d, too", e))
		case known:
			return refuted(fmt.Sprintf("%s skipped entry %d, but did not restart then: one process proposed requests before and after it", m.Label, e))
		default:
			o = o.and(fmt.Sprintf("whether %s restarted behind entry %d, the log does not tell: it proposed nothing before or nothing after", m.Label, e))
		}
	}
	v := m.minorVersions()
	if len(seen) < len(es) || v.least < "3.5" {
		o.Status = Consistent // other things make a member lack an entry, too
	}
	if v.least < "3.5" {
		return o.and("whether it ran 3.5, its files do not tell")
	}
	return o.and("the version fits: " + v.String())
}

func holders(ms []*Member) string {
	return fmt.Sprintf("%s %s", labels(ms), plural(len(ms), "holds", "hold"))
}

func entries(es []uint64) string {
	if len(es) == 1 {
		return fmt.Sprintf("entry %d", es[0])
	}
	return "entries " + listNumbers(es)
}

// splitRepeated runs the cause's entries twice and says whether that makes what the odd member holds.
func (c *Case) splitRepeated() (s *split, first, last uint64) {
	first, last = c.Cause.span()
	times := 1
	for _, n := range c.Cause.Times {
		times = max(times, n)
	}
	return c.split(rules(), rules(replay.Repeat(first, last, times))), first, last
}

// timesDiffer tells whether entries were applied again more often on some members than on others.
func (k *Cause) timesDiffer() bool {
	least, most := math.MaxInt, 0
	for _, n := range k.Times {
		least, most = min(least, n), max(most, n)
	}
	return len(k.Times) > 0 && least < most
}

// runEachAsOften runs the log of each member with the cause's entries applied again as often as they were on it.
func (c *Case) runEachAsOften() Outcome {
	first, last := c.Cause.span()
	does, doesNot, n, err := c.runsExactly(func(member int) []*replay.Rule {
		all := c.besides(member)
		if times := c.Cause.Times[member]; times > 0 {
			all = append(all, replay.Repeat(first, last, times))
		}
		return all
	})
	var parts []string
	for i, m := range c.Members {
		if times := c.Cause.Times[i]; times > 0 {
			parts = append(parts, fmt.Sprintf("%s on %s", count(times, "time", "times"), m.Label))
		}
	}
	says := fmt.Sprintf("the entries %d to %d applied again %s", first, last, listOf(parts))
	return judgeExactly(does, doesNot, n, err, says, "it has another fault, too")
}

// staleTerm is a term in meta that keeps the consistent index from moving.
func staleTerm(c *Case) Outcome {
	if !c.appliedAgain() || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	t := m.DB.Tables
	newest := newestTerm(m)
	if !t.HasTerm || t.Term <= newest {
		return refuted(fmt.Sprintf("the term that %s saved (%d) is not above that of its log (%d)", m.Label, t.Term, newest))
	}
	s, first, last := c.splitRepeated()
	o := c.judgeReproduction(s, "each of them once", fmt.Sprintf("the entries %d to %d twice", first, last))
	return o.and(fmt.Sprintf("meta of %s says term %d, its log has come to term %d only: 3.5.0 to 3.5.2 then leave the consistent index where it is", m.Label, t.Term, newest))
}

func newestTerm(m *Member) uint64 {
	t := m.Member.Log.HardState.Term
	if es := m.Member.Log.Entries; len(es) > 0 {
		t = max(t, es[len(es)-1].Term)
	}
	return t
}

// overwrittenIndex is a snapshot whose consistent index was lost, so that entries behind it ran again.
func overwrittenIndex(c *Case) Outcome {
	if !c.appliedAgain() || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	s := m.receivedBefore(c.Cause.Index)
	if s == 0 {
		return refuted(m.Label + " received no snapshot before the entries that it applied twice")
	}
	if v := m.minorVersions(); v.certainlyBefore("3.5") {
		return refuted(fmt.Sprintf("%s never ran 3.5: %s", m.Label, v))
	}
	sp, first, last := c.splitRepeated()
	o := c.judgeReproduction(sp, "each of them once", fmt.Sprintf("the entries %d to %d twice", first, last))
	o = o.and(fmt.Sprintf("%s received the snapshot of entry %d before", m.Label, s))
	if o.Status == Confirmed && first > s+1 {
		o.Status = Consistent
		o = o.and(fmt.Sprintf("but the entries between %d and %d were not applied twice", s+1, first-1))
	}
	return o
}

// defragCrash is a defragmentation that saved data without the consistent index.
func defragCrash(c *Case) Outcome {
	if c.Cause.Layer == "storage" && c.Cause.Index == 0 && !c.Cause.Fault {
		return c.moreRevisions()
	}
	if !c.appliedAgain() || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	v := m.minorVersions()
	switch {
	case v.certainlyBefore("3.5"):
		return refuted(fmt.Sprintf("%s never ran 3.5.0 to 3.5.5: %s", m.Label, v))
	case m.DB.Tables.HasTerm && m.DB.Tables.Term > newestTerm(m):
		return refuted(fmt.Sprintf("the term that %s saved is above that of its log, which explains it otherwise", m.Label))
	}
	s, first, last := c.splitRepeated()
	o := c.judgeReproduction(s, "each of them once", fmt.Sprintf("the entries %d to %d twice", first, last))
	if o.Status == Refuted {
		return o
	}
	if got := m.receivedBefore(first); got > 0 && first == got+1 {
		o.Status = Consistent
		o = o.and(fmt.Sprintf("%s received a snapshot just before, which may explain it otherwise", m.Label))
	}
	switch r, known := m.restarted(last); {
	case r != nil:
		o = o.and(fmt.Sprintf("%s restarted where entry %d was the last one applied, or could have been: %s", m.Label, last, r))
	case known:
		return refuted(fmt.Sprintf("%s did not restart behind entry %d: one process proposed requests before and after it", m.Label, last))
	}
	for _, f := range m.findingsOf("defrag-leftover") {
		o = o.and(f.String())
	}
	if v.least >= "3.5" {
		o = o.and("the version fits: " + v.String())
	}
	return o
}

// moreRevisions is one member by itself on which more revisions were made than on others, while compaction has left nothing that tells by which entries.
func (c *Case) moreRevisions() Outcome {
	for _, g := range c.Cause.Groups {
		m := c.Members[g[0]]
		if len(g) > 1 || m.DB == nil || m.minorVersions().certainlyBefore("3.5") || len(m.processOf().Restarts) == 0 {
			continue
		}
		for _, others := range c.Cause.Groups {
			o := c.Members[others[0]]
			if o == m || o.DB == nil {
				continue
			}
			at := min(m.Through, o.Through)
			own, other := m.RevisionAt(at), o.RevisionAt(at)
			if other <= 0 || own <= other {
				continue
			}
			return consistent(fmt.Sprintf("at entry %d %s is at revision %d, and %s at %d: entries seem to have been applied again on it, and compaction has left nothing that tells which",
				at, m.Label, own, o.Label, other)).and(fmt.Sprintf("%s restarted: %s", m.Label, &m.processOf().Restarts[0]))
		}
	}
	return Outcome{}
}

// authReplayed is the auth revision that a restart raised.
func authReplayed(c *Case) Outcome {
	revs := map[uint64][]*Member{}
	for _, m := range c.Members {
		if m.DB != nil && m.DB.Whole {
			revs[m.DB.Tables.AuthRevision] = append(revs[m.DB.Tables.AuthRevision], m)
		}
	}
	auth := c.Cause.Layer == "auth"
	if auth && c.Cause.Fault && c.Cause.Again {
		return c.authAppliedAgain()
	}
	if !auth && (!c.effectsMissing() || !c.authOn() || c.entry(c.Cause.Index) == nil || c.entry(c.Cause.Index).User == "") {
		return Outcome{}
	}
	if len(revs) < 2 {
		if auth {
			return Outcome{}
		}
		return refuted("the auth revision is the same on all members")
	}
	low, high := ^uint64(0), uint64(0)
	for r := range revs {
		low, high = min(low, r), max(high, r)
	}
	extra := high - low
	says := fmt.Sprintf("the auth revision is %d on %s and %d on %s", low, labels(revs[low]), high, labels(revs[high]))
	if v := revs[high][0].minorVersions(); v.certainlyAfter("3.4") {
		return refuted(says, fmt.Sprintf("but %s runs a version that saves the consistent index with changes of auth: %s", revs[high][0].Label, v))
	}
	if c.Cause.Index == 0 || !auth {
		return consistent(says, "the entries that were applied twice are not known").and(c.refusedByRevision(revs[high], low)...)
	}
	first, last := c.Cause.span()
	// What a restart applies again goes on behind the last entry that counted, up to the next change of a key.
	writes := func(e *effect.Entry) bool { return replay.AuthWrite(e.Request().Internal) }
	s := c.split(rules(), rules(replay.RepeatKind(first, last, 1, "auth", writes)))
	if !s.possible() {
		return consistent(says, s.err())
	}
	o := confirmed(says)
	n := 0
	for i, m := range c.Members {
		want := s.a
		if slices.Contains(revs[high], m) {
			want = s.b
		}
		x, f := want.match[i], want.final[i]
		if x == nil {
			continue
		}
		if !x.Exact() || f.AuthRevision != m.DB.Tables.AuthRevision {
			return refuted(says, fmt.Sprintf("run again with the auth entries %d to %d applied twice on %s, %s does not come out: %s, auth revision %d",
				first, last, labels(revs[high]), m.Label, x, f.AuthRevision))
		}
		n = max(n, x.Entries)
	}
	o = o.and(fmt.Sprintf("run again from entry %d on with the auth entries %d to %d applied twice, all %d entries make just what %s, and auth revision %d; applied once, what %s, and auth revision %d",
		first, first, last, n, holders(revs[high]), high, holders(revs[low]), low))
	m := revs[high][0]
	switch r, known := m.restarted(last); {
	case r != nil:
		o = o.and(fmt.Sprintf("%s restarted behind entry %d: %s", m.Label, last, r))
	case known:
		return refuted(says, fmt.Sprintf("%s did not restart behind entry %d", m.Label, last))
	}
	o = o.and(fmt.Sprintf("%s of these granted a permission or changed a password, which counts each time it is applied", count(int(extra), "entry", "entries")))
	return o.and(c.refusedByRevision(revs[high], low)...)
}

// authAppliedAgain is authReplayed where it is known which entries were applied again.
func (c *Case) authAppliedAgain() Outcome {
	var o Outcome
	_, last := c.Cause.span()
	if c.Cause.timesDiffer() {
		o = c.runEachAsOften()
	} else {
		s, first, last := c.splitRepeated()
		o = c.judgeReproduction(s, "each of them once", fmt.Sprintf("the entries %d to %d applied again", first, last))
	}
	if o.Status == Refuted {
		return o
	}
	for _, m := range c.departed() {
		if v := m.minorVersions(); v.certainlyAfter("3.4") {
			return refuted(fmt.Sprintf("%s runs a version that saves the consistent index with changes of auth: %s", m.Label, v))
		}
		o = o.and(fmt.Sprintf("the auth revision of %s is %d in the end", m.Label, m.DB.Tables.AuthRevision))
		switch r, known := m.restarted(last); {
		case r != nil:
			o = o.and(fmt.Sprintf("%s restarted behind entry %d: %s", m.Label, last, r))
		case known:
			return refuted(fmt.Sprintf("%s did not restart behind entry %d", m.Label, last))
		}
	}
	return o
}

// refusedByRevision counts what members with the higher auth revision refused.
func (c *Case) refusedByRevision(ms []*Member, low uint64) []string {
	var out []string
	for _, m := range ms {
		var n int
		var first uint64
		m.eachStep(func(s *effect.Step) {
			if s.Outcome != effect.Refused || s.Again {
				return
			}
			if e := m.entry(s.Index); e != nil {
				if r := e.Request(); r.User != "" && r.AuthRevision <= low {
					if n++; first == 0 {
						first = s.Index
					}
				}
			}
		})
		if n > 0 {
			out = append(out, fmt.Sprintf("%s refused %s that %s auth revision %d or lower, the first one entry %d", m.Label, count(n, "request", "requests"), plural(n, "carries", "carry"), low, first))
		}
	}
	return out
}

// refusedUsers are the users whose requests the odd members refused from the cause on, and how many there were.
func (c *Case) refusedUsers(m *Member) (users []string, n int) {
	for _, r := range c.requests() {
		n++
		if !slices.Contains(users, r.User) {
			users = append(users, r.User)
		}
	}
	m.eachStep(func(s *effect.Step) {
		if s.Index >= c.Cause.Index && s.Outcome == effect.Refused && !s.Again {
			if e := m.entry(s.Index); e != nil {
				if u := e.Request().User; u != "" && !slices.Contains(users, u) {
					users = append(users, u)
				}
			}
		}
	})
	slices.Sort(users)
	return users, n
}

// permissionCache is a member whose permission cache is not filled: after a snapshot, or after a restart.
func permissionCache(c *Case, afterSnapshot bool) Outcome {
	if !c.effectsMissing() || !c.authOn() || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	r := c.entry(c.Cause.Index)
	if r == nil || r.User == "" || internal(r).LeaseRevoke != nil {
		return Outcome{}
	}
	for _, o := range c.Members {
		if o.DB != nil && o.DB.Whole && o.DB.Tables.AuthRevision != m.DB.Tables.AuthRevision && c.Cause.CausedBy == nil && c.sameReach(m, o) {
			return refuted(fmt.Sprintf("the auth revision of %s (%d) is not that of %s (%d), which is another matter", m.Label, m.DB.Tables.AuthRevision, o.Label, o.DB.Tables.AuthRevision))
		}
	}
	if v := m.minorVersions(); v.certainlyBefore("3.4") || v.certainlyAfter("3.5") {
		return refuted(fmt.Sprintf("%s never ran an affected version: %s", m.Label, v))
	}
	got := m.receivedBefore(c.Cause.Index)
	var what string
	switch {
	case afterSnapshot && got == 0:
		return refuted(m.Label + " received no snapshot before the first request that it refused")
	case afterSnapshot:
		what = fmt.Sprintf("%s received the snapshot of entry %d, and the first request that it refused is entry %d", m.Label, got, c.Cause.Index)
	case got > 0:
		return Outcome{} // the snapshot is the likelier reason
	default:
		var last *raftlog.Restart
		for _, x := range m.processOf().Restarts {
			if x.After < c.Cause.Index {
				last = &x
			}
		}
		if last == nil {
			return refuted(m.Label + " did not restart before the first request that it refused, as far as request ids tell")
		}
		what = fmt.Sprintf("%s restarted before the first request that it refused, entry %d: %s", m.Label, c.Cause.Index, last)
	}
	users, _ := c.refusedUsers(m)
	for _, who := range [][]string{nil, users} {
		s := c.split(rules(), rules(replay.Denied(who, c.Cause.Index, ^uint64(0))))
		if !s.possible() {
			return consistent(what, fmt.Sprintf("refused were requests of %s", listOf(users)), s.err())
		}
		if !s.conclusive() || len(s.followB) != 1 || s.followB[0] != m {
			continue
		}
		name := "all users without the role root"
		if who != nil {
			name = "the users " + listOf(users)
			if len(users) == 1 {
				name = "the user " + users[0]
			}
		}
		return confirmed(
			fmt.Sprintf("run again from entry %d on with %s refused, all %d entries make just what %s holds, and with permissions as they are what %s: no revision differs",
				s.b.first, name, s.b.entries(c, s.followB), m.Label, holders(s.followA)), what).and(c.lateUsers(m, users, got)...)
	}
	return refuted(fmt.Sprintf("refusing the users %s from entry %d on does not make what %s holds", listOf(users), c.Cause.Index, m.Label), what)
}

// sameReach tells whether no entry that changes auth lies between what two members have applied.
func (c *Case) sameReach(a, b *Member) bool {
	low, high := min(a.Through, b.Through), max(a.Through, b.Through)
	for _, e := range replay.Between(a.Log, low+1, high) {
		if replay.AuthWrite(e.Request().Internal) {
			return false
		}
	}
	return true
}

// lateUsers says which of the users were added while the member was behind.
func (c *Case) lateUsers(m *Member, users []string, snapshot uint64) []string {
	var out []string
	for e, r := range m.rare() {
		add := internal(r).AuthUserAdd
		if add != nil && slices.Contains(users, add.Name) && m.Member.Log.Entry(e.Index) == nil && e.Index <= snapshot {
			out = append(out, fmt.Sprintf("the user %s was added by entry %d, which %s has only through the snapshot", add.Name, e.Index, m.Label))
		}
	}
	return out
}

func cacheAfterSnapshot(c *Case) Outcome { return permissionCache(c, true) }
func cacheAfterRestart(c *Case) Outcome  { return permissionCache(c, false) }

// readsAtRevision tells whether the cause's entry is a transaction that writes and reads at a revision of its own, which
// the member itself proposed.
func (c *Case) readsAtRevision(m *Member) bool {
	r := c.entry(c.Cause.Index)
	return readsWhatMayBeRefused(internal(r).Txn, "") && m.proposed(r)
}

// readsWhatMayBeRefused tells whether a transaction of a user writes, and one of its outermost reads is at a revision, or is of a user who may not do it.
func readsWhatMayBeRefused(t *pb.TxnRequest, user string) bool {
	if t == nil {
		return false
	}
	may, writes := false, false
	for _, op := range slices.Concat(t.Success, t.Failure) {
		may = may || op.GetRequestRange() != nil && (user != "" || op.GetRequestRange().GetRevision() != 0)
		writes = writes || op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil || op.GetRequestTxn() != nil
	}
	return may && writes
}

// OwnReads is the Rule of a cause that is about what members refused of the transactions which they had proposed.
const OwnReads = "own-reads"

// ownReads is a transaction that only its proposer refuses.
func ownReads(c *Case) Outcome {
	if !c.effectsMissing() {
		return Outcome{}
	}
	r := c.entry(c.Cause.Index)
	if r == nil || !readsWhatMayBeRefused(internal(r).Txn, r.User) {
		return Outcome{}
	}
	says := fmt.Sprintf("entry %d writes, and reads as user %q", c.Cause.Index, r.User)
	if readsWhatMayBeRefused(internal(r).Txn, "") {
		says = fmt.Sprintf("entry %d writes, and reads at a revision", c.Cause.Index)
	}
	odd := c.departed()
	if c.Cause.Rule == OwnReads {
		return c.eachDropsReadsOfOthers().and(says, fmt.Sprintf("%s proposed it", labels(slices.DeleteFunc(odd, func(m *Member) bool { return !m.proposed(r) }))))
	}
	if len(odd) != 1 || !odd[0].proposed(r) {
		return refuted(says, "but the member that lacks it is not the one that proposed it")
	}
	p := odd[0]
	s := c.split(rules(replay.RangesStripped(p.own)), rules(replay.Only(1, ^uint64(0), replay.RangesStripped(nil))))
	return c.judgeRules(s, "that of a member that keeps the reads", "that of members that drop them").and(says, p.Label+" proposed it")
}

// own tells whether an entry is of a request that the member proposed.
func (m *Member) own(x *replay.Exec) bool {
	id := x.Request.GetHeader().GetID()
	return id != 0 && m.nodeID() != 0 && raftlog.Proposer(id).Prefix == uint16(m.nodeID())
}

// eachDropsReadsOfOthers runs the log of each member with the reads of the transactions that it proposed, and without those of others.
func (c *Case) eachDropsReadsOfOthers() Outcome {
	does, doesNot, n, err := c.runsExactly(c.besides) // among them who keeps which reads
	const says = "the reads of transactions left to the members that proposed them"
	return judgeExactly(does, doesNot, n, err, says, "it has another fault, too")
}

// negativeLease is a lease that members forget when they restart.
func negativeLease(c *Case) Outcome {
	var ids []int64
	for _, r := range c.requests() {
		in := internal(r)
		for _, id := range append(leasesOf(in), in.GetLeaseRevoke().GetID()) {
			if id < 0 && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 || !c.effectsMissing() {
		return Outcome{}
	}
	s := c.split(rules(), rules(replay.LeasesMissing("leases with a negative id", c.Cause.Index, func(id int64) bool { return id < 0 })))
	o := c.judgeReproduction(s, "all leases", "leases of negative ids missing")
	return o.and(fmt.Sprintf("lease %016x has a negative id", uint64(ids[0])))
}

func leasesOf(in *pb.InternalRaftRequest) []int64 {
	switch {
	case in.Put != nil:
		return []int64{in.Put.Lease}
	case in.Txn != nil:
		var ids []int64
		for _, p := range puts(in.Txn) {
			ids = append(ids, p.Lease)
		}
		return ids
	}
	return nil
}

// halfTxn is a transaction of which only the beginning is there.
func halfTxn(c *Case) Outcome {
	if c.Cause.Layer != "apply" || c.Cause.Outcome != effect.Partial || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	if internal(c.entry(c.Cause.Index)).Txn == nil {
		return Outcome{}
	}
	m := c.departed()[0]
	rev := int64(0)
	m.eachStep(func(s *effect.Step) {
		if s.Index == c.Cause.Index && s.Revision > 0 {
			rev = s.Revision
		}
	})
	n := len(m.DB.Rows.Group(rev))
	if v := m.minorVersions(); v.certainlyBefore("3.5") {
		return refuted(fmt.Sprintf("%s never ran 3.5.5 to 3.5.16: %s", m.Label, v))
	}
	s := c.split(rules(), rules(replay.Cut(c.Cause.Index, n)))
	o := c.judgeReproduction(s, "the whole transaction", fmt.Sprintf("only the first %s of entry %d", count(n, "operation", "operations"), c.Cause.Index))
	if r, _ := m.restarted(c.Cause.Index); r != nil {
		o = o.and(fmt.Sprintf("%s restarted then: %s", m.Label, r))
	}
	return o
}

// nestedUnchecked is what permission checks forgot.
func nestedUnchecked(c *Case) Outcome {
	if c.Cause.OtherRules {
		n := c.requestsWith(func(in *pb.InternalRaftRequest) bool { return in.Txn != nil && nested(in.Txn) })
		if n == 0 || !c.authOn() {
			return Outcome{}
		}
		return c.oldRule(replay.NestedUnchecked()).and(fmt.Sprintf("%s with a nested transaction had no effect there, because what is in it is asked for, too", count(n, "entry", "entries")))
	}
	t := internal(c.entry(c.Cause.Index)).Txn
	if c.Cause.Layer != "apply" || !nested(t) || !c.authOn() {
		return Outcome{}
	}
	o := c.judgeRules(c.split(rules(), rules(replay.NestedUnchecked())), "the rule of 3.4.42, 3.5.28, 3.6.9 and later", "the older one, which does not look into nested transactions")
	return o.and(fmt.Sprintf("entry %d has a nested transaction, for user %q", c.Cause.Index, c.entry(c.Cause.Index).User))
}

func txnPutUnchecked(c *Case) Outcome {
	asksMore := func(in *pb.InternalRaftRequest) bool {
		return in.Txn != nil && slices.ContainsFunc(puts(in.Txn), func(p *pb.PutRequest) bool { return p.PrevKv || p.Lease != 0 })
	}
	if c.Cause.Layer != "apply" || !c.authOn() {
		return Outcome{}
	}
	if c.Cause.OtherRules {
		n := c.requestsWith(asksMore)
		if n == 0 {
			return Outcome{}
		}
		return c.oldRule(replay.TxnPutUnchecked()).and(fmt.Sprintf("%s had no effect there, because a put in a transaction is asked for the previous value and the keys of its lease, too", count(n, "transaction", "transactions")))
	}
	if !asksMore(internal(c.entry(c.Cause.Index))) {
		return Outcome{}
	}
	return c.judgeRules(c.split(rules(), rules(replay.TxnPutUnchecked())), "the rule of 3.4.44, 3.5.30, 3.6.11 and later", "the older one, which checks the key alone")
}

func rootLeaseRevision(c *Case) Outcome {
	r := c.entry(c.Cause.Index)
	in := internal(r)
	if !c.effectsMissing() || !c.authOn() || r.User == "" || in.LeaseRevoke == nil && (in.Put == nil || in.Put.Lease == 0) {
		return Outcome{}
	}
	var o Outcome
	if c.Cause.OtherRules {
		o = c.oldRule(replay.LeaseKeysAlwaysAsked())
	} else {
		o = c.judgeRules(c.split(rules(), rules(replay.LeaseKeysAlwaysAsked())), "the rule of 3.4.27, 3.5.10 and later", "the older one, which compares the auth revision of root, too")
	}
	return o.and(fmt.Sprintf("entry %d is of user %q with auth revision %d", c.Cause.Index, r.User, r.AuthRevision))
}

// repeatedGrants is a permission granted again, which counts on old patches only.
func repeatedGrants(c *Case) Outcome {
	if c.Cause.Layer != "auth" {
		return Outcome{}
	}
	var low, high *Member
	for _, m := range c.Members {
		if m.DB == nil {
			continue
		}
		if low == nil || m.DB.Tables.AuthRevision < low.DB.Tables.AuthRevision {
			low = m
		}
		if high == nil || m.DB.Tables.AuthRevision > high.DB.Tables.AuthRevision {
			high = m
		}
	}
	if low == nil || low.DB.Tables.AuthRevision == high.DB.Tables.AuthRevision {
		return Outcome{}
	}
	if !low.Whole {
		return Outcome{}
	}
	each, err := replay.AuthAt(c.Ctx, high.Log, high.Through, replay.Today())
	if err != nil {
		return Outcome{}
	}
	once, err := replay.AuthAt(c.Ctx, low.Log, low.Through, replay.Today().With(replay.RepeatedGrantsIgnored()))
	if err != nil || each.Revision == once.Revision {
		return refuted("no entry of the log grants a permission that is there already")
	}
	says := fmt.Sprintf("counting grants of permissions that are there already makes auth revision %d, leaving them out %d", each.Revision, once.Revision)
	if once.Revision == low.DB.Tables.AuthRevision && each.Revision == high.DB.Tables.AuthRevision {
		return consistent(fmt.Sprintf("the auth revision is %d on %s and %d on %s", low.DB.Tables.AuthRevision, low.Label, high.DB.Tables.AuthRevision, high.Label), says,
			"but the servers whose source was read count them: another reason is likelier")
	}
	return refuted(says)
}

func nestedQuota(c *Case) Outcome {
	t := internal(c.entry(c.Cause.Index)).Txn
	if c.Cause.Layer != "apply" || !nested(t) || slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool { return op.GetRequestPut() != nil }) {
		return Outcome{}
	}
	return c.judgeRules(c.split(rules(), rules(replay.NestedPutsFree())), "the rule of 3.5.33, 3.6.14, 3.7.1 and later", "the older one, by which a nested put costs nothing")
}

// longLease is a lease too long for newer versions.
func longLease(c *Case) Outcome {
	long := func(in *pb.InternalRaftRequest) bool { return in.GetLeaseGrant().GetTTL() > maxTTL }
	touches := false
	for _, id := range c.Cause.Leases {
		for _, m := range c.Members {
			for _, e := range m.digested().leases {
				if in := internal(e.Request()); long(in) && in.LeaseGrant.ID == id {
					touches = true
				}
			}
		}
	}
	for _, r := range c.requests() {
		touches = touches || long(internal(r))
		for _, id := range leasesOf(internal(r)) {
			for _, m := range c.Members {
				if !m.hasDB() {
					continue
				}
				for _, l := range m.DB.Tables.Leases {
					touches = touches || l.ID == id && l.TTL > maxTTL
				}
			}
		}
	}
	if !touches {
		return Outcome{}
	}
	if c.Cause.Layer == "lease" {
		return c.longLeaseTables()
	}
	return c.judgeRules(c.split(rules(), rules(replay.AnyTTL())), "the rule of 3.2.17, 3.3.2 and later", "the older one, which grants leases of any length")
}

func (c *Case) longLeaseTables() Outcome {
	var with, without []*Member
	for _, m := range c.Members {
		if !m.hasDB() {
			continue
		}
		has := false
		for _, l := range m.DB.Tables.Leases {
			has = has || slices.Contains(c.Cause.Leases, l.ID)
		}
		if has {
			with = append(with, m)
		} else {
			without = append(without, m)
		}
	}
	if len(with) == 0 || len(without) == 0 {
		return Outcome{}
	}
	return confirmed(fmt.Sprintf("the lease is granted for more than %d s: %s accepted that, %s refused it, as 3.2.17, 3.3.2 and later do", int64(maxTTL), labels(with), labels(without)))
}

// maxTTL is the longest lease that newer versions grant, in seconds.
const maxTTL = 9_000_000_000

// indexRestore is versions that begin again, as 3.2.0 lets them.
func indexRestore(c *Case) Outcome {
	if c.Cause.Outcome != effect.Altered || len(c.Cause.Departed) != 1 {
		return Outcome{}
	}
	m := c.departed()[0]
	restarts := false
	m.eachStep(func(s *effect.Step) {
		if s.Index == c.Cause.Index && s.Outcome == effect.Altered {
			restarts = s.Detail == "[create_revision version]"
		}
	})
	if !restarts {
		return Outcome{}
	}
	if v := m.minorVersions(); v.least > "3.2" {
		return refuted(fmt.Sprintf("%s did not run 3.2.0: %s", m.Label, v))
	}
	return consistent(fmt.Sprintf("on %s versions and create revisions begin again although the keys were there", m.Label))
}

// lostProposals tells of entries that a member itself proposed, which others hold and its own log does not, though that goes on: it has lost them.
func (c *Case) lostProposals(m *Member) (says []string) {
	last := m.Member.Log.Last()
	for _, g := range c.Cause.Groups {
		o := c.Members[g[0]]
		if slices.Contains(c.membersOf(g), m) || o.entry(c.Cause.Index) == nil {
			continue
		}
		first, n := uint64(0), 0
		for i := range o.Log {
			e := &o.Log[i]
			if e.Index < c.Cause.Index || e.Index > last || !m.proposed(e.Request()) {
				continue
			}
			if own := m.Member.Log.Entry(e.Index); own == nil || own.Term != e.Term || !bytes.Equal(own.Data, e.Raw.Data) {
				if n++; first == 0 {
					first = e.Index
				}
			}
		}
		if n > 0 {
			says = append(says, fmt.Sprintf("%s has forgotten what it proposed itself: %s, the first of them entry %d, that %s: it was put back, or began anew", m.Label, count(n, "request", "requests"), first, holders(c.membersOf(g))))
		}
	}
	return says
}

// committedEntriesLost is a log whose committed entries were lost: no bug of etcd does that.
func committedEntriesLost(c *Case) Outcome {
	if c.Cause.Layer != "log" {
		return Outcome{}
	}
	o := confirmed(fmt.Sprintf("from entry %d on the members hold different entries that each side knows to be committed; raft forbids that as long as no member forgets what it has written", c.Cause.Index))
	for _, g := range c.Cause.Groups {
		m := c.Members[g[0]]
		if e := m.entry(c.Cause.Index); e != nil {
			o = o.and(fmt.Sprintf("%s: entry %d is a %s of term %d", labels(c.membersOf(g)), e.Index, e.Request().Type, e.Term))
		}
	}
	for _, m := range c.Members {
		o = o.and(details(m.findingsOf("wal-committed-overwritten", "wal-state-backwards"))...)
		o = o.and(c.lostProposals(m)...)
	}
	return o.and("a disk or data directory was put back to an older state, or acknowledged writes did not reach the disk, on more than one member or on one that voted again")
}

// manualChange is a row that was changed behind etcd's back.
func manualChange(c *Case) Outcome {
	if c.Cause.Layer != "storage" || len(c.Cause.Departed) == 0 {
		return Outcome{}
	}
	odd := labels(c.departed())
	var what string
	switch c.Cause.Outcome {
	case effect.Altered:
		what = fmt.Sprintf("on %s what is stored of entry %d is not what the entry wrote", odd, c.Cause.Index)
	case effect.Lost:
		what = fmt.Sprintf("on %s the revision of entry %d was made, as its later revisions show, but its rows are gone", odd, c.Cause.Index)
	case effect.Partial:
		what = fmt.Sprintf("on %s rows of entry %d are gone", odd, c.Cause.Index)
	case effect.Extra:
		what = fmt.Sprintf("on %s revision %d exists, and no entry made it", odd, c.Cause.Revision)
	default:
		return Outcome{}
	}
	o := consistent(what, "etcd had applied the entry: later revisions are numbered as if nothing had happened; no known bug of etcd does this")
	damaged := 0
	for _, m := range c.departed() {
		damaged += len(m.findingsOf(damageCodes...))
	}
	if damaged == 0 {
		return o.and("the file's structure is sound: the bytes were changed by hand or by a program, or flipped in memory or on disk where no checksum guards them")
	}
	return o.and("the file is damaged elsewhere, too")
}
