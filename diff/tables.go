package diff

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/schema"
)

// compareTables compares the small tables, as far as no entry that only some members have reached may explain a
// difference.
func (c *comparison) compareTables() {
	c.compareLeases()
	c.compareAuth()
	c.compareAlarms()
	c.compareMembership()
}

// comparable lists the members whose table can be compared, and notes the table if members are left out.
func (c *comparison) comparable(name string, list func(h *history) []uint64) []int {
	in, why := c.upToDate(list)
	if len(why) > 0 {
		c.notCompared(name, strings.Join(why, "; "))
	}
	return in
}

// notCompared notes a table that was not compared. There is one reason for each: the first, and what is added.
func (c *comparison) notCompared(name, why string) {
	if n := slices.Index(c.doc.NotCompared, name); n >= 0 {
		c.doc.NotComparedWhy[n] += "; " + why
		return
	}
	c.doc.NotCompared = append(c.doc.NotCompared, name)
	c.doc.NotComparedWhy = append(c.doc.NotComparedWhy, name+": "+why)
}

// upToDate lists the members whose table shows all entries of a kind that any member has applied: those whose consistent
// index is not below the last one. Up to 3.4 a table may be ahead of the consistent index, which is saved with keys only, so
// that entries above it may or may not show. It says why the others are left out.
func (c *contents) upToDate(list func(h *history) []uint64) (in []int, why []string) {
	var highest uint64
	for _, m := range c.ms {
		highest = max(highest, m.DB.Tables.ConsistentIndex)
	}
	for i, m := range c.ms {
		if !m.DB.Whole { // a row that is missing because of damage is no difference
			why = append(why, m.Label+" cannot all be read")
			continue
		}
		if x := c.unknownEntry(i); x > 0 {
			why = append(why, fmt.Sprintf("%s has not applied entry %d, which is in no log: what it changes is not known", m.Label, x))
			continue
		}
		lacks := slices.IndexFunc(list(c.histories[i]), func(x uint64) bool {
			return x > m.DB.Tables.ConsistentIndex && (x <= highest || !m.DB.Tables.HasTerm)
		})
		if lacks < 0 {
			in = append(in, i)
			continue
		}
		why = append(why, fmt.Sprintf("%s may not have applied entry %d, which changes it", m.Label, list(c.histories[i])[lacks]))
	}
	return in, why
}

// unknownEntry is the first entry between member i's consistent index and that of the member of the same history that has
// come furthest which no log holds, 0 if there is none.
func (c *contents) unknownEntry(i int) uint64 {
	next, highest := c.ms[i].DB.Tables.ConsistentIndex+1, uint64(0)
	for j, m := range c.ms {
		if c.logs.history[j] == c.logs.history[i] {
			highest = max(highest, m.DB.Tables.ConsistentIndex)
		}
	}
	es := c.histories[i].entries
	k, _ := slices.BinarySearchFunc(es, next, func(e effect.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for ; next <= highest; next++ {
		if k == len(es) || es[k].Index != next {
			return next
		}
		k++
	}
	return 0
}

func (c *comparison) compareLeases() {
	tables := make([]map[int64]schema.LeaseRecord, len(c.ms))
	all := map[int64]bool{}
	for i, m := range c.ms {
		tables[i] = map[int64]schema.LeaseRecord{}
		for _, l := range m.DB.Tables.Leases {
			tables[i][l.ID] = l
			all[l.ID] = true
		}
	}
	attached := make([]map[int64]int, len(c.ms))
	for i, m := range c.ms {
		if len(all) > 0 {
			attached[i] = m.DB.Rows.LeasedKeys()
		}
	}
	ids := slices.SortedFunc(maps.Keys(all), func(a, b int64) int { return cmp.Compare(uint64(a), uint64(b)) })
	var open []int64 // leases that not all members hold, which may be right
	var because []string
	for _, id := range ids {
		members, why := c.upToDate(func(h *history) []uint64 { return h.aboutLease(id) })
		has := func(i int) bool { _, ok := tables[i][id]; return ok }
		groups := groupsOf(members, func(i, j int) bool { return has(i) == has(j) })
		if len(groups) < 2 {
			if slices.ContainsFunc(tables, func(t map[int64]schema.LeaseRecord) bool { _, ok := t[id]; return ok != has(0) }) {
				if open = append(open, id); len(open) == 1 {
					because = why
				}
			}
			continue
		}
		c.doc.Counts.LeasesDiffering++
		d := LeaseDiff{ID: ID(uint64(id)), ByMember: map[string]LeaseState{}}
		for i, m := range c.ms {
			l, ok := tables[i][id]
			d.ByMember[m.Label] = LeaseState{Present: ok, TTL: l.TTL, RemainingTTL: l.RemainingTTL, Keys: attached[i][id]}
		}
		c.doc.Leases = append(c.doc.Leases, d)
		c.leaseCause(id, groups, tables)
	}
	if len(open) > 0 {
		what := "one that not all members hold,"
		if len(open) > 1 {
			what = fmt.Sprintf("%d that not all members hold, of which the first is", len(open))
		}
		c.notCompared("leases", fmt.Sprintf("%s %s: %s", what, ID(uint64(open[0])), strings.Join(because, "; ")))
	}
}

// leaseCause finds the entry that granted or revoked a lease on some members only, and adds the lease to a cause that is
// there already for that entry.
func (c *comparison) leaseCause(id int64, groups [][]int, tables []map[int64]schema.LeaseRecord) {
	var grant, revoke uint64
	reached := uint64(math.MaxUint64)
	for _, i := range slices.Concat(groups...) {
		reached = min(reached, max(c.doc.Common.Index, c.ms[i].DB.Tables.ConsistentIndex))
	}
	for _, h := range c.histories {
		for _, ev := range h.leases[id] {
			switch {
			case ev.index > reached:
			case ev.grant:
				grant = max(grant, ev.index)
			default:
				revoke = max(revoke, ev.index)
			}
		}
	}
	index := max(grant, revoke)
	for _, k := range c.causes {
		if k.index == index && index > 0 || slices.Contains(k.entries, index) || k.layer == LayerLog && index >= k.firstParted() {
			k.leases = append(k.leases, id)
			return
		}
	}
	what := "the lease table differs, and no entry left in the logs grants or revokes the lease"
	switch {
	case revoke > grant:
		what = "the lease was revoked on some members only"
	case grant > 0:
		what = "the lease was granted, or is left, on some members only"
	}
	k := &cause{layer: LayerLease, index: index, groups: groups, leases: []int64{id}, what: what}
	for _, g := range groups {
		note := "the lease is not there"
		if _, ok := tables[g[0]][id]; ok {
			note = "the lease is there"
		}
		k.effects = append(k.effects, Effect{Members: c.labels(g), Note: note})
	}
	for _, x := range c.causes { // the same happened to other leases
		if x.layer == LayerLease && x.what == what && slices.EqualFunc(x.groups, groups, slices.Equal[[]int]) && slices.EqualFunc(x.effects, k.effects, func(a, b Effect) bool { return a.Note == b.Note }) {
			x.leases, x.entries = append(x.leases, id), append(x.entries, index)
			if index < x.index {
				x.index = index
			}
			return
		}
	}
	if index > 0 {
		k.entries = []uint64{index}
	}
	c.causes = append(c.causes, k)
}

// groupsOf partitions members, largest group first.
func groupsOf(members []int, same func(i, j int) bool) [][]int {
	groups := partition(members, same)
	sortGroups(groups)
	return groups
}

// compareAuth compares the auth tables.
func (c *comparison) compareAuth() {
	members := c.comparable("auth", func(h *history) (all []uint64) {
		for _, w := range h.authWrites {
			all = append(all, w.Index)
		}
		return all
	})
	type store struct {
		enabled  bool
		revision uint64
		users    []schema.User
		roles    []schema.Role
	}
	k := c.table(members, LayerAuth, "auth", func(t *schema.Tables) any {
		return store{t.AuthEnabled, t.AuthRevision, append([]schema.User{}, t.Users...), append([]schema.Role{}, t.Roles...)}
	})
	if k != nil {
		c.describeAuth(k)
	}
}

// describeAuth says in what the auth tables of some groups differ.
func (c *contents) describeAuth(k *cause) {
	first := c.ms[k.groups[0][0]].DB.Tables
	var differ []string
	note := func(name string, same bool) {
		if !same && !slices.Contains(differ, name) {
			differ = append(differ, name)
		}
	}
	for _, g := range k.groups {
		t := c.ms[g[0]].DB.Tables
		note("whether auth is on", t.AuthEnabled == first.AuthEnabled)
		note("the auth revision", t.AuthRevision == first.AuthRevision)
		note("users", reflect.DeepEqual(t.Users, first.Users) || len(t.Users)+len(first.Users) == 0)
		note("roles", reflect.DeepEqual(t.Roles, first.Roles) || len(t.Roles)+len(first.Roles) == 0)
		k.effects = append(k.effects, Effect{Members: c.labels(g), Note: authText(t)})
	}
	k.what = "the auth tables differ in " + strings.Join(differ, ", ")
}

func authText(t *schema.Tables) string {
	onOff := "off"
	if t.AuthEnabled {
		onOff = "on"
	}
	return fmt.Sprintf("auth %s, revision %d, %d users, %d roles", onOff, t.AuthRevision, len(t.Users), len(t.Roles))
}

func alarmsText(t *schema.Tables) string {
	var all []string
	for _, a := range t.Alarms {
		all = append(all, fmt.Sprintf("%s of %s", a.Type, ID(a.Member)))
	}
	if all == nil {
		return "no alarm"
	}
	return strings.Join(all, ", ")
}

// leasesText is which of some leases a table holds.
func leasesText(t *schema.Tables, of []int64) string {
	var held []string
	for _, l := range t.Leases {
		if slices.Contains(of, l.ID) {
			held = append(held, ID(uint64(l.ID)).String())
		}
	}
	const few = 3
	switch {
	case held == nil:
		return "without " + plural(len(of), "the lease", "the leases")
	case len(held) > few:
		return fmt.Sprintf("with %d leases, the first of which is %s", len(held), held[0])
	}
	return "with lease " + strings.Join(held, ", ")
}

// describeTable says what the sides of a cause hold in a table.
func (c *contents) describeTable(k *cause, table faults.TableName) {
	var leases []int64 // that not all hold
	all := slices.Concat(k.groups...)
	for _, i := range all {
		for _, l := range c.ms[i].DB.Tables.Leases {
			if !slices.Contains(leases, l.ID) && slices.ContainsFunc(all, func(j int) bool {
				return !slices.ContainsFunc(c.ms[j].DB.Tables.Leases, func(o schema.LeaseRecord) bool { return o.ID == l.ID })
			}) {
				leases = append(leases, l.ID)
			}
		}
	}
	for n, g := range k.groups {
		var texts []string
		for _, i := range g {
			t := c.ms[i].DB.Tables
			text := map[faults.TableName]func() string{
				faults.Auth: func() string { return authText(t) }, faults.Alarms: func() string { return alarmsText(t) }, faults.Leases: func() string { return leasesText(t, leases) },
			}[table]()
			texts = append(texts, text)
		}
		if same := slices.Compact(slices.Clone(texts)); len(same) > 1 {
			for x, i := range g {
				texts[x] = c.ms[i].Label + ": " + texts[x]
			}
		} else {
			texts = same
		}
		k.effects[n].Note = strings.Join(texts, "; ")
	}
}

func (c *comparison) compareAlarms() {
	members := c.comparable("alarms", func(h *history) []uint64 { return h.alarms })
	if k := c.table(members, LayerAlarm, "alarms", func(t *schema.Tables) any { return t.Alarms }); k != nil {
		c.describeAlarms(k)
	}
}

// describeAlarms names the entry that some members must have left out: an alarm is as the last entry about it made it.
func (c *contents) describeAlarms(k *cause) {
	all := slices.Concat(k.groups...)
	slices.Sort(all)
	with := func(a schema.AlarmMember, on bool) []int {
		return slices.DeleteFunc(slices.Clone(all), func(i int) bool { return slices.Contains(c.ms[i].DB.Tables.Alarms, a) != on })
	}
	var alarm schema.AlarmMember
	var on bool
	for _, i := range all {
		for _, a := range c.ms[i].DB.Tables.Alarms {
			if len(with(a, true)) == len(all) {
				continue
			}
			if x, active := c.alarmedBy(all[0], a); x > 0 && (k.index == 0 || x < k.index) {
				k.index, alarm, on = x, a, active
			}
		}
	}
	if k.index == 0 {
		return
	}
	k.departed, k.outcome = with(alarm, !on), effect.Refused
	k.what += ": the entry had no effect on " + strings.Join(c.labels(k.departed), ", ")
}

// alarmedBy is the entry that set an alarm as it is in the end, by member i's log, 0 if none did: of several in a row that
// ask for the same the first one. It also tells whether the alarm is on then.
func (c *contents) alarmedBy(i int, a schema.AlarmMember) (index uint64, on bool) {
	for _, x := range slices.Backward(c.histories[i].alarms) {
		r := c.request(i, x)
		if x > c.ms[i].DB.Tables.ConsistentIndex || r == nil || r.Internal.GetAlarm().GetMemberID() != a.Member || r.Internal.GetAlarm().GetAlarm().String() != a.Type {
			continue
		}
		active := r.Internal.Alarm.Action == pb.AlarmRequest_ACTIVATE
		if index > 0 && active != on {
			break
		}
		index, on = x, active
	}
	return index, on
}

// votes says what comes of members buckets that differ in who votes.
const votes = "who votes and who learns by the members bucket: not the same on all members. Up to 3.5 nobody reads it; " +
	"3.6 takes it, but first clears the flag of a learner where the .snap that it loads says that the member votes; " +
	"3.7 makes raft's voters of it and does not mend it: members that hold it otherwise count another quorum"

// compareMembership compares the members buckets. Names and URLs in them are stale by design in some versions, so that only
// who belongs to the cluster counts, and who votes.
func (c *comparison) compareMembership() {
	members := c.comparable("members", func(h *history) []uint64 { return h.confChanges })
	ids := func(t *schema.Tables) (all []uint64) {
		for _, m := range t.Members {
			all = append(all, m.ID)
		}
		return all
	}
	removed := func(t *schema.Tables) []uint64 { return t.MembersRemoved }
	if k := c.table(members, LayerMembership, "who is a member", func(t *schema.Tables) any { return ids(t) }); k != nil {
		c.describeIDs(k, ids)
	} else {
		if k = c.table(members, LayerMembership, "who votes", func(t *schema.Tables) any {
			var learners []uint64
			for _, m := range t.Members {
				if m.IsLearner {
					learners = append(learners, m.ID)
				}
			}
			return learners
		}); k != nil {
			k.what = votes
			c.describeVotes(k)
		}
	}
	if k := c.table(members, LayerMembership, "who was removed", func(t *schema.Tables) any { return removed(t) }); k != nil {
		c.describeIDs(k, removed)
	}
}

// describeIDs says which ids each side of a cause has that others lack, and lacks that others have.
func (c *contents) describeIDs(k *cause, of func(t *schema.Tables) []uint64) {
	has := func(g []int, id uint64) bool { return slices.Contains(of(c.ms[g[0]].DB.Tables), id) }
	var some []uint64
	for _, g := range k.groups {
		for _, id := range of(c.ms[g[0]].DB.Tables) {
			if slices.ContainsFunc(k.groups, func(h []int) bool { return !has(h, id) }) {
				some = append(some, id)
			}
		}
	}
	slices.Sort(some)
	for _, g := range k.groups {
		var with, without []string
		for _, id := range slices.Compact(slices.Clone(some)) {
			if has(g, id) {
				with = append(with, ID(id).String())
			} else {
				without = append(without, ID(id).String())
			}
		}
		var texts []string
		if with != nil {
			texts = append(texts, "with "+strings.Join(with, ", "))
		}
		if without != nil {
			texts = append(texts, "without "+strings.Join(without, ", "))
		}
		k.effects = append(k.effects, Effect{Members: c.labels(g), Note: strings.Join(texts, "; ")})
	}
}

// describeVotes says what each side holds of the members in which they differ, and what raft itself holds.
func (c *contents) describeVotes(k *cause) {
	for _, g := range k.groups {
		m := c.ms[g[0]]
		var texts []string
		for _, x := range m.DB.Tables.Members {
			differs := slices.ContainsFunc(slices.Concat(k.groups...), func(j int) bool {
				return slices.ContainsFunc(c.ms[j].DB.Tables.Members, func(o schema.Member) bool { return o.ID == x.ID && o.IsLearner != x.IsLearner })
			})
			if !differs {
				continue
			}
			what := "votes"
			if x.IsLearner {
				what = "learns"
			}
			raft := ""
			if cs := m.RaftConfState(); cs != nil {
				switch {
				case slices.Contains(cs.Voters, x.ID):
					raft = ", by raft it votes"
				case slices.Contains(cs.Learners, x.ID):
					raft = ", by raft it learns"
				}
			}
			texts = append(texts, fmt.Sprintf("member %s %s%s", ID(x.ID), what, raft))
		}
		k.effects = append(k.effects, Effect{Members: c.labels(g), Note: strings.Join(texts, "; ")})
	}
}

// table adds a cause if a table is not the same on all members, and returns it.
func (c *comparison) table(members []int, layer Layer, name string, get func(t *schema.Tables) any) *cause {
	groups := groupsOf(members, func(i, j int) bool {
		a, b := reflect.ValueOf(get(c.ms[i].DB.Tables)), reflect.ValueOf(get(c.ms[j].DB.Tables))
		if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
			return true
		}
		return reflect.DeepEqual(a.Interface(), b.Interface())
	})
	if len(groups) < 2 {
		return nil
	}
	k := &cause{layer: layer, groups: groups, what: fmt.Sprintf("%s: not the same on all members", name)}
	c.causes = append(c.causes, k)
	return k
}
