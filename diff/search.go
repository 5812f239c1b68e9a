package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// explanation is a member whose own log, with the faults of a reading, makes just what its db holds.
type explanation struct {
	member     *faults.Member
	runs       runHistory
	readings   []faults.Reading // all that explain it within a margin; chosen is one of them
	chosen     faults.Reading
	otherBases []faults.Reading // with another revision before the log begins
	// parting is how the member goes on from a state of its own before the log begins, if that is what explains it; if orParted is true, that does as
	// well as what readings say.
	parting  *faults.Parting
	orParted bool
	limits   []string
	reach    uint64 // the last entry whose effects the db holds
	// Of each entry of the log, what it did: equal digests are equal changes of keys, 0 is none.
	effectDigests []uint64
}

// explainMembers looks for the faults that explain each member by its own log. Nothing does if nothing that was tried leads to what it holds, or if
// its log cannot be run.
func (c *explanations) explainMembers() {
	c.explained, c.whyUnexplained = make([]*explanation, len(c.ms)), make([]string, len(c.ms))
	use, fromFirst := c.logsToRun()
	logs, low := c.applicable(use)
	if logs == nil {
		return
	}
	evidence := c.evidenceOf(use, logs, low)
	found, limits := make([]*explanation, len(use)), make([][]string, len(use))
	if fromFirst {
		c.eachOf(use, func(n, i int) {
			m := faults.NewMember(logs[n], evidence[n], apply.New(logs[n]), c.mayHaveApplied(i), c.rulesOf(i, logs[n])...)
			m.Stopped, m.Facts = func() bool { return c.ctx.Err() != nil }, c.factsOf(i)
			res := m.Search()
			if limits[n] = res.Limits; len(res.Readings) > 0 {
				found[n] = &explanation{member: m, readings: res.Readings, limits: res.Limits}
			}
		})
	}
	// A cluster that was restored begins with a keyspace, too.
	if slices.ContainsFunc(found, func(x *explanation) bool { return x == nil || x.hasUnwrittenRows() }) && !slices.ContainsFunc(logs, func(l *apply.Log) bool { return l != logs[0] }) {
		found, c.partedBeforeLog = c.searchFromKeyspace(found, logs[0], use, evidence, low)
	}
	if unexplainedOf(found) > 0 {
		// There is something that is not searched for: what is far from likely is it rather.
		for n, x := range found {
			if x != nil && x.readings[0].Cost > faults.MaxLikelyCost {
				found[n] = nil
			}
		}
	}
	for n, i := range use {
		if c.explained[i] = found[n]; found[n] == nil {
			c.whyUnexplained[i] = "nothing that was tried makes what it holds of its log"
			c.searchLimits = append(c.searchLimits, prefixed(c.ms[i].Label, limits[n])...)
		}
	}
	c.chooseReadings()
}

// logsToRun are the members whose logs are run: those with a log from the first entry on, if there are any (fromFirst), or else those that follow one
// log which begins later. It notes why the others are not.
func (c *explanations) logsToRun() (use []int, fromFirst bool) {
	var whole, later []int
	for i := range c.ms {
		switch from := c.source(i); {
		case !c.canRunLog(i):
		case c.histories[from].fromFirstEntry():
			whole = append(whole, i)
		case len(later) == 0 || c.logs.history[from] == c.logs.history[c.source(later[0])]:
			later = append(later, i)
		default:
			c.whyUnexplained[i] = "its log does not begin with the cluster, and is not that of the others"
		}
	}
	if len(whole) == 0 {
		return later, false
	}
	for _, i := range later {
		c.whyUnexplained[i] = "its log does not begin with the cluster, though that of others does"
	}
	return whole, true
}

// evidenceOf is what the dbs of some members hold, in the numbers of their logs. Members that hold the same share it.
func (c *contents) evidenceOf(use []int, logs []*apply.Log, low int64) []*faults.Evidence {
	evidence := make([]*faults.Evidence, len(use))
	same := make([]int, len(use)) // of each the first one that holds the same
	for n, i := range use {
		same[n] = slices.IndexFunc(use[:n+1], func(j int) bool { return j == i || c.holdSame(i, j) })
		if logs[same[n]] != logs[n] {
			same[n] = n
		}
	}
	c.eachOf(use, func(n, i int) {
		if same[n] != n {
			return
		}
		db := c.ms[i].DB
		evidence[n] = faults.NewEvidenceSince(logs[n], db.Rows, db.Tables, c.last[i], db.CompactRevision(), low)
	})
	for n := range use {
		evidence[n] = evidence[same[n]]
	}
	return evidence
}

// searchFromKeyspace explains some members by a keyspace that they held before the first entry of their log, if that explains more of them than
// was found from an empty one, or the same more cheaply. parted is true if they did not all hold the same keyspace then.
func (c *contents) searchFromKeyspace(found []*explanation, log *apply.Log, use []int, evidence []*faults.Evidence, low int64) (best []*explanation, parted bool) {
	later := c.searchSuffix(log, use, evidence, low)
	if unexplainedOf(later) > 0 {
		if sides := c.searchSides(log, use, evidence, low); unexplainedOf(sides) == 0 {
			later, parted = sides, true
		}
	}
	if a, b := unexplainedOf(later), unexplainedOf(found); a < b || a == b && cost(later) < cost(found) {
		return later, parted
	}
	return found, false
}

// chooseReadings takes one of each member's readings, and finds out what its entries did by that.
func (c *explanations) chooseReadings() {
	runs := c.runHistories()
	for i, x := range c.explained {
		if x != nil {
			x.runs = runs[i]
		}
	}
	choose(c.explained)
	for _, x := range c.explained {
		if x != nil {
			x.runs.preferRules(x)
		}
	}
	c.beginAlike()
	for _, x := range c.explained {
		if x != nil {
			x.noteOwnReads()
			x.reach = x.member.Reach(&x.chosen)
			x.effectDigests = x.effects(len(x.chosen.Faults))
		}
	}
}

// noteOwnReads adds to the readings what follows from them: that the member refused transactions that it had proposed for what they read.
func (x *explanation) noteOwnReads() {
	for _, r := range append([]*faults.Reading{&x.chosen}, pointers(x.readings)...) {
		if f, found := x.member.OwnReads(r); found {
			*r = r.With(f)
		}
	}
}

// beginAlike lets the members begin by the same rules, since a cluster begins with one version: one of which the log makes what it holds by newer
// rules went over to them, at the first entry that does something else by them.
func (c *explanations) beginAlike() {
	var known []*explanation
	var begins []apply.Rules
	for _, x := range c.explained {
		if x != nil {
			known = append(known, x)
			for _, r := range x.readings {
				begins = append(begins, r.Rules)
			}
		}
	}
	if len(known) < 2 || !slices.ContainsFunc(known, func(x *explanation) bool { return x.chosen.Rules&known[0].chosen.Rules == 0 }) {
		return
	}
	slices.Sort(begins)
	var best [][]faults.Reading // of each member
	least := math.MaxInt
	for _, rules := range slices.Compact(begins) {
		sum, all := 0, make([][]faults.Reading, len(known))
		for n, x := range known {
			if all[n] = x.beginningBy(rules); len(all[n]) == 0 {
				sum = math.MaxInt
				break
			}
			sum += all[n][0].Cost
		}
		if sum < least {
			best, least = all, sum
		}
	}
	if best == nil {
		return
	}
	for n, x := range known {
		x.readings = best[n]
	}
	choose(known)
}

// beginningBy are the readings of a member if it began by some rules and went over to those that it is taken to begin by, the likeliest first.
// There are none if that leads to something else.
func (x *explanation) beginningBy(rules apply.Rules) (all []faults.Reading) {
	log := x.member.Log
	classes := log.Versions(apply.Oldest, apply.Newest) // another log may tell more of them apart
	rules = classes[slices.IndexFunc(classes, func(r apply.Rules) bool { return r&rules != 0 })]
	for _, r := range x.readings {
		by := r
		by.Rules = rules
		if by.Rules != r.Rules && !x.member.Explains(&by) {
			at := x.member.FirstDifference(&r, &by)
			if at == 0 || !slices.Contains(log.Upgrades(rules, apply.Newest), r.Rules) {
				continue
			}
			if by = by.With(faults.Fault{Kind: faults.Rules, First: at, Last: at, To: r.Rules}); !x.member.Explains(&by) {
				continue
			}
		}
		if !slices.ContainsFunc(all, func(o faults.Reading) bool {
			return slices.Equal(o.Faults, by.Faults) && slices.Equal(o.Initial, by.Initial)
		}) {
			all = append(all, by)
		}
	}
	slices.SortStableFunc(all, func(a, b faults.Reading) int { return cmp.Compare(a.Cost, b.Cost) })
	return slices.DeleteFunc(all, func(r faults.Reading) bool { return r.Cost > all[0].Cost+faults.Margin })
}

// holdSame tells whether the dbs of two members hold the same, byte for byte in their rows.
func (c *contents) holdSame(i, j int) bool {
	a, b := c.ms[i].DB, c.ms[j].DB
	n := a.Rows.Len()
	return n == b.Rows.Len() && c.shared[i] == n && c.shared[j] == n && a.CompactRevision() == b.CompactRevision() && c.last[i] == c.last[j] &&
		reflect.DeepEqual(a.Tables, b.Tables)
}

// eachOf runs f for some members at the same time, with the place of each among them.
func (c *contents) eachOf(members []int, f func(n, i int)) {
	c.eachMember(func(i int) {
		if n := slices.Index(members, i); n >= 0 {
			f(n, i)
		}
	})
}

// canRunLog tells whether member i's log can be run up to what its db holds, and notes why not.
func (c *explanations) canRunLog(i int) bool {
	m, es := c.ms[i], c.histories[c.source(i)].entries
	index := m.DB.Tables.ConsistentIndex
	switch {
	case len(es) == 0:
		c.whyUnexplained[i] = "there is no log"
	case !m.DB.Whole || len(m.DB.Rows.Holes()) > 0:
		c.whyUnexplained[i] = "its db cannot all be read"
	case es[0].Index > index+1:
		c.whyUnexplained[i] = fmt.Sprintf("its db has come to entry %d, and the log begins with entry %d", index, es[0].Index)
	case es[len(es)-1].Index < index:
		c.whyUnexplained[i] = fmt.Sprintf("its db has come to entry %d, and the log ends with entry %d", index, es[len(es)-1].Index)
	case es[len(es)-1].Index-es[0].Index+1 != uint64(len(es)):
		c.whyUnexplained[i] = "entries are missing in the log"
	default:
		return true
	}
	return false
}

// cost is what the likeliest readings of those members take that are explained.
func cost(all []*explanation) (sum int) {
	for _, x := range all {
		if x != nil {
			sum += x.readings[0].Cost
		}
	}
	return sum
}

// unexplainedOf is how many of some members nothing explains.
func unexplainedOf(all []*explanation) (n int) {
	for _, x := range all {
		if x == nil {
			n++
		}
	}
	return n
}

// mayHaveApplied is the last entry that member i may have applied. Behind those that it knows to be committed that can be any of its own log: an entry is
// applied while the commit index that covers it is still on its way to the log's file, and is lost there if the process is killed (raft.go of
// server/etcdserver saves it with the next entries).
func (c *contents) mayHaveApplied(i int) uint64 {
	h := c.histories[c.source(i)]
	known := min(h.last(), committed(c.ms[i]))
	for _, own := range slices.Backward(c.ms[i].Log.Entries) { // not by number: an entry may have any
		if own.Index <= known {
			break
		}
		if shared := h.find(own.Index); shared != nil && sameEntry(&own, shared.Raw) {
			return own.Index // raft's log matching: all before it are the same, too
		}
	}
	return known
}

// factsOf is what is known of member i, and of when it started and where it goes on then.
func (c *contents) factsOf(i int) faults.Facts {
	s := faults.Facts{Snapshots: snapshotsOf(c.ms[i]), Newest: c.newestMinor(i)}
	if l := c.ms[i].Log; l != nil && l.HasMetadata {
		s.ID, s.Processes = l.NodeID, c.histories[c.source(i)].processes.Of(l.NodeID)
	}
	return s
}

// newestMinor is the newest minor version that member i may run: the one behind that of the cluster, 0 if that is not known.
func (c *contents) newestMinor(i int) (newest int64) {
	set := []string{c.ms[i].DB.Tables.ClusterVersion}
	for _, m := range c.histories[c.source(i)].milestones {
		if m.kind == EventVersion {
			set = append(set, m.version)
		}
	}
	for _, text := range set {
		if v, err := semver.NewVersion(text); err == nil {
			newest = min(max(newest, v.Minor+1), apply.Newest)
		}
	}
	return newest
}

// snapshotsOf are the entries of the raft snapshots that a member has or had, in order.
func snapshotsOf(m *inspect.Member) (entries []uint64) {
	for _, s := range m.Snaps {
		entries = append(entries, s.Index)
	}
	if m.Log != nil {
		for _, s := range m.Log.Snapshots {
			entries = append(entries, s.Index)
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// hasUnwrittenRows tells whether there is something that no entry of the log wrote.
func (x *explanation) hasUnwrittenRows() bool {
	return slices.ContainsFunc(x.readings[0].Faults, func(f faults.Fault) bool { return f.Kind == faults.Extra || f.Kind == faults.Rows })
}

// applicable are the logs of some members, ready to be applied, with the same numbers for keys and leases; members that follow one log share
// it. low is a revision before the logs begin up to which only the newest rows of their keys matter. There are none if entries do not decode.
func (c *explanations) applicable(use []int) (logs []*apply.Log, low int64) {
	if len(use) == 0 {
		return nil, 0
	}
	low = math.MaxInt64
	for _, i := range use {
		n := len(c.histories[c.source(i)].entries)
		low = min(low, c.last[i]-int64(n+n/8)-unusedRevisions)
	}
	if low = max(low, 0); c.histories[c.source(use[0])].fromFirstEntry() {
		low = 0
	}
	logs = c.newLogs(use, low)
	if logs[0].Ranged && low > 0 {
		low = 0
		logs = c.newLogs(use, low)
	}
	for _, l := range logs {
		if n := slices.IndexFunc(l.Entries, func(e apply.Entry) bool { return e.Opaque }); n >= 0 {
			for _, i := range use {
				c.whyUnexplained[i] = fmt.Sprintf("entry %d cannot be decoded or run", l.Entries[n].Index)
			}
			return nil, 0
		}
	}
	return logs, low
}

// source is the member whose log leads to what member i's db holds: itself, unless its own has a gap, as behind a snapshot that it received, and goes on
// as that of another one does, which has none. A log may hold entries that were lost before the snapshot came.
func (c *contents) source(i int) int {
	contiguous := func(h *history) bool {
		return len(h.entries) > 0 && h.last()-h.entries[0].Index+1 == uint64(len(h.entries))
	}
	if contiguous(c.histories[i]) {
		return i
	}
	m := c.ms[i]
	for k := len(m.Log.Entries) - 1; k >= 0; k-- {
		e := &m.Log.Entries[k]
		if e.Index > m.DB.Tables.ConsistentIndex {
			continue
		}
		for j, h := range c.histories {
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

// newLogs makes the logs of some members ready, with the keys that rows behind a revision name.
func (c *contents) newLogs(use []int, low int64) []*apply.Log {
	names := make([]faults.Named, len(use))
	c.eachOf(use, func(n, i int) {
		shared := 0 // rows that the first member names
		if use[0] == 0 && i > 0 {
			shared = c.shared[i]
		}
		names[n] = faults.NamesSince(c.ms[i].DB.Rows, c.ms[i].DB.Tables, low, shared)
	})
	var named faults.Named
	for _, n := range names {
		named.Keys, named.Leases = append(named.Keys, n.Keys...), append(named.Leases, n.Leases...)
	}
	named.Keys = append(named.Keys, c.keysApartUpTo(use, low)...)
	logs := make([]*apply.Log, len(use))
	for {
		byHistory := map[int]*apply.Log{}
		for n, i := range use {
			from := c.source(i)
			h := c.logs.history[from]
			if byHistory[h] == nil {
				es := slices.Concat(c.histories[from].entries, c.histories[from].pending)
				byHistory[h] = apply.DecodeLog(len(es), func(k int) uint64 { return es[k].Index }, func(k int, by *raftlog.Decoder) *raftlog.Request { return es[k].RequestBy(by) }, named.Keys, named.Leases)
			}
			logs[n] = byHistory[h]
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

// keysApartUpTo are keys whose newest rows up to a revision are not the same on some members: no entry of their logs need name them.
func (c *contents) keysApartUpTo(members []int, revision int64) (keys []string) {
	alike := func(key []byte) bool {
		first, live, known := []byte(nil), false, false
		for _, i := range members {
			t := c.ms[i].DB.Rows
			value, is := []byte(nil), false
			switch r := t.RowAt(key, revision); {
			case r >= 0 && !t.Row(r).Tombstone:
				value, is = t.Row(r).Value, true
			case r < 0 && c.ms[i].DB.CompactRevision() > revision:
				continue // a later row may be all that a compaction left of it
			}
			if !known {
				first, live, known = bytes.Clone(value), is, true
			} else if is != live || !bytes.Equal(value, first) {
				return false
			}
		}
		return true
	}
	seen := map[string]bool{}
	for _, main := range c.differing {
		if main > revision {
			break
		}
		for _, i := range members {
			for _, r := range c.ms[i].DB.Rows.Group(main) {
				if key := string(r.Key()); !seen[key] {
					if seen[key] = true; !alike([]byte(key)) {
						keys = append(keys, key)
					}
				}
			}
		}
	}
	return keys
}

// searchSuffix finds the faults of members whose log does not begin with the cluster. They are nil if that leads to nothing, or if the members had
// parted by then.
func (c *contents) searchSuffix(log *apply.Log, use []int, evidence []*faults.Evidence, low int64) []*explanation {
	out := make([]*explanation, len(use))
	auth := c.authBefore(use)
	if auth == nil {
		return out
	}
	var ms []faults.SuffixMember
	for n, i := range use {
		ms = append(ms, faults.SuffixMember{Evidence: evidence[n], Auth: auth, OwnAuth: c.ownAuthBefore(i), Committed: c.mayHaveApplied(i), Rules: c.rulesOf(i, log), Facts: c.factsOf(i)})
	}
	all := faults.SearchSuffix(log, ms, low)
	if n := slices.IndexFunc(all, func(x faults.SuffixResult) bool { return x.Member != nil }); n < 0 || c.partedBy(use, all[n].BaseRevision()) {
		return out // they all began at one revision
	}
	for n, x := range all {
		p := x.Parting
		if x.LikelyParted() || p != nil && x.Member != nil && x.TablesAlone() && noneOutvoted(all) {
			out[n] = &explanation{member: p.Member, readings: []faults.Reading{p.Reading}, parting: p}
			continue
		}
		if x.Member == nil {
			continue
		}
		// What one copy alone shows of what was before may itself be of another moment than what it shows of the log's effects; and
		// it is likelier that it began otherwise than that it had several faults.
		if k := len(x.Readings[0].Faults); len(use) == 1 && (k > 1 || k > 0 && !c.ms[use[n]].Evidence().EndCounts()) {
			return out
		}
		out[n] = &explanation{member: x.Member, readings: x.Readings, otherBases: x.OtherBases, limits: x.Limits}
		out[n].orParted = p != nil && p.Reading.Cost <= x.Readings[0].Cost+faults.Margin && !x.TablesAlone()
	}
	return out
}

// noneOutvoted tells whether as many members have faults as have none: what those without held before the log begins is then no more what all of them held
// than what the others' tables lead back to.
func noneOutvoted(all []faults.SuffixResult) bool {
	known, faultless := 0, 0
	for _, x := range all {
		if x.Member != nil {
			if known++; len(x.Readings[0].Faults) == 0 {
				faultless++
			}
		}
	}
	return 2*faultless <= known
}

// searchSides does so for members that had parted before their log begins, as rows far enough before that show: those of each side by
// themselves.
func (c *contents) searchSides(log *apply.Log, use []int, evidence []*faults.Evidence, low int64) []*explanation {
	out := make([]*explanation, len(use))
	for n := range use {
		if !c.ms[use[n]].Evidence().EndCounts() { // pages of several moments look so, too
			return make([]*explanation, len(use))
		}
		if out[n] = c.searchSuffix(log, use[n:n+1], evidence[n:n+1], low)[0]; out[n] == nil {
			return make([]*explanation, len(use))
		}
	}
	places := make([]int, len(use))
	for n := range places {
		places[n] = n
	}
	sides := partition(places, func(a, b int) bool {
		x, y := out[a].member, out[b].member
		begins := min(x.BaseRevision(), y.BaseRevision())
		switch {
		case !x.BaseShown() || !y.BaseShown():
			begins -= faults.BaseTolerance // where they begin is not certain
		case x.BaseRevision() != y.BaseRevision():
			begins++ // if both hold the same behind the earlier beginning, entries made it on both, and the later one is none
		}
		return !c.partedBy([]int{use[a], use[b]}, begins)
	})
	for _, side := range sides {
		var members []int
		var es []*faults.Evidence
		for _, n := range side {
			members, es = append(members, use[n]), append(es, evidence[n])
		}
		for k, x := range c.searchSuffix(log, members, es, low) {
			if out[side[k]] = x; x == nil || len(sides) == 1 {
				return make([]*explanation, len(use))
			}
		}
	}
	return out
}

// authBefore is the auth store before the log begins: what most members' tables lead back to, nil if nothing is known of it.
func (c *contents) authBefore(use []int) (best *authz.State) {
	votes := map[uint64]int{}
	for _, i := range use {
		m := c.ms[i]
		s := authz.Of(m.DB.Tables)
		if applied := c.appliedAuth(i); len(applied) > 0 {
			s, _ = authz.Base(applied, c.histories[i].checkedUpTo(m.DB.Tables.ConsistentIndex), m.DB.Tables)
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

// ownAuthBefore are the auth stores before the log begins to which member i's own tables lead back. Requests may have been checked at another member, whose
// auth revision was another one.
func (c *contents) ownAuthBefore(i int) (all []*authz.State) {
	tables, applied := c.ms[i].DB.Tables, c.appliedAuth(i)
	if len(applied) == 0 {
		return []*authz.State{authz.Of(tables)}
	}
	for _, checks := range [][]authz.Check{c.histories[i].checkedUpTo(tables.ConsistentIndex), nil} {
		if s, _ := authz.Base(applied, checks, tables); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// appliedAuth are the auth writes that member i has applied, as its index says.
func (c *contents) appliedAuth(i int) []authz.Write {
	all := c.histories[i].authWrites
	n, _ := slices.BinarySearchFunc(all, c.ms[i].DB.Tables.ConsistentIndex+1, func(w authz.Write, x uint64) int { return cmp.Compare(w.Index, x) })
	return all[:n]
}

// partedBy tells whether some members hold different rows of a revision up to one.
func (c *contents) partedBy(members []int, revision int64) bool {
	for _, main := range c.differing {
		if main > revision {
			break
		}
		for n, i := range members {
			for _, j := range members[:n] {
				m, o := c.ms[i], c.ms[j]
				a, b := m.DB.Rows.Group(main), o.DB.Rows.Group(main)
				if !commonRowsAgree(a, b) || main > max(m.DB.CompactRevision(), o.DB.CompactRevision()) && main <= min(c.last[i], c.last[j]) && !sameRows(a, b) {
					return true
				}
			}
		}
	}
	return false
}

// rulesOf are the rules that may hold when member i's log begins, by the version of the cluster then.
func (c *contents) rulesOf(i int, log *apply.Log) []apply.Rules {
	if len(log.Versions(apply.Oldest, apply.Newest)) == 1 {
		return []apply.Rules{apply.Rules3510}
	}
	oldest, newest := int64(apply.Oldest), int64(apply.Newest)
	set, err := semver.NewVersion(c.firstVersion(i))
	stored, unknown := semver.NewVersion(c.ms[i].DB.Tables.ClusterVersion)
	switch {
	case err == nil && c.beginsWithCluster(i):
		oldest, newest = set.Minor, set.Minor
	case err == nil: // an upgrade: it was the one before until then
		oldest, newest = set.Minor-1, set.Minor
	case unknown == nil: // it was that all along, while some members ran the next one
		oldest, newest = stored.Minor, stored.Minor+1
	}
	if oldest == 4 { // 3.5 may run in such a cluster, and was given the same rules
		newest = max(newest, 5)
	}
	within := func(minor int64) int64 { return min(max(minor, apply.Oldest), apply.Newest) }
	return log.Versions(within(oldest), within(newest))
}

// firstVersion is the first cluster version that member i's log sets, empty if it sets none.
func (c *contents) firstVersion(i int) string {
	for _, m := range c.histories[i].milestones {
		if m.kind == EventVersion {
			return m.version
		}
	}
	return ""
}

// choose takes of each member's readings one that needs the fewest faults besides those of others: the same fault on several members is
// one cause.
func choose(all []*explanation) {
	known := slices.DeleteFunc(slices.Clone(all), func(x *explanation) bool { return x == nil })
	for _, x := range known {
		x.chosen = x.readings[0]
	}
	for range 2 {
		for i, x := range known {
			shared := func(r *faults.Reading) (n int) {
				for _, f := range r.Faults {
					for j, o := range known {
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
				return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(x.runs.contradicts(x, &a), x.runs.contradicts(x, &b)),
					cmp.Compare(x.member.UnseenRestarts(&a), x.member.UnseenRestarts(&b)), cmp.Compare(shared(&b), shared(&a)))
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
		return f.To&g.To != 0 // a log that ends earlier may not tell them apart
	case f.Kind == faults.Refused:
		return f.User == g.User
	case f.Kind == faults.OwnReads:
		return true
	}
	return f.First == g.First && f.Last == g.Last && f.Table == g.Table
}
