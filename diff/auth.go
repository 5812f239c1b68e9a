package diff

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// compareAuth compares the auth tables, of the members that have applied the same changes of them. The
// password hashes are left out: up to 3.4 each member draws its own salt.
func (c *comparison) compareAuth() {
	members := c.comparable("auth", func(h *history) []uint64 {
		var at []uint64
		for _, w := range h.authWrites {
			at = append(at, w.Index)
		}
		return at
	})
	k := c.table(members, LayerAuth, "", func(t *schema.Tables) any {
		return []any{t.AuthEnabled, t.AuthRevision, append([]schema.User{}, t.Users...), append([]schema.Role{}, t.Roles...)}
	})
	if k == nil {
		if k = c.authParted(nil); k != nil {
			c.followAuth(k)
			c.followReplay(k)
		}
		return
	}
	c.joinAstray(k)
	if x := c.authParted(k); x != nil {
		c.followAuth(x)
		c.followReplay(x)
	}
	apart := c.authApart(k)
	for _, x := range apart {
		c.explainAuth(x)
	}
	c.uniteAuth(apart)
}

// uniteAuth makes one cause of those of several groups that come to the same: the tables of one group may differ in more.
func (c *comparison) uniteAuth(all []*cause) {
	for n, k := range all {
		for _, x := range all[n+1:] {
			if k.index == 0 || x.index == 0 || x.again != k.again || !k.within(x) && !x.within(k) {
				continue
			}
			odd := slices.Sorted(slices.Values(slices.Concat(k.odd, x.odd)))
			rest := slices.DeleteFunc(slices.Sorted(slices.Values(slices.Concat(k.groups...))), func(i int) bool { return slices.Contains(odd, i) })
			if len(rest) == 0 {
				continue
			}
			for _, o := range c.causes {
				if o.of == x {
					o.of = k
				}
			}
			if !k.within(x) {
				k.index, k.interval, k.entries = x.index, x.interval, x.entries
			}
			each := &cause{groups: [][]int{rest, k.odd, x.odd}, odd: odd}
			c.describeAuth(each)
			k.odd, k.groups, k.effects, k.what = odd, [][]int{odd, rest}, each.effects, each.what+c.oddAuth(odd, k.again)
			sortGroups(k.groups)
			c.causes = slices.DeleteFunc(c.causes, func(o *cause) bool { return o == x })
		}
	}
}

// explainAuth names the entry that made auth tables differ, and marks what that led to.
func (c *comparison) explainAuth(k *cause) {
	apart := k.odd != nil
	differ := c.describeAuth(k)
	if c.auths[k.odd[0]].edited {
		c.followAuth(k)
		return
	}
	if c.authRuled(k) {
		return // what a rule led to
	}
	if apart && c.authUnaccounted(k.odd[0]) && c.anyAstray(k) {
		c.followAuth(k) // more than what went wrong with the others
		return
	}
	// What may differ besides the auth revision, which alone a replay explains.
	rest := slices.DeleteFunc(differ, func(name string) bool { return name == authRevision })
	// Where several were applied again, a restart tells which.
	if slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool { return c.auths[i].timeline != nil && c.auths[i].timeline.Row }) {
		c.authReplay(k)
	}
	switch {
	case k.index > 0, c.authOdd(k), c.authMissing(k, len(rest) == 0):
	case !c.authReplay(k):
		c.authMissing(k, false)
	case len(rest) > 0:
		c.causes = append(c.causes, &cause{layer: LayerAuth, groups: k.groups, odd: k.odd, effects: k.effects, what: authDiffers(rest)})
	}
	c.followAuth(k)
	c.followReplay(k)
}

// authRuled names the first of several auth entries that a rule kept from having an effect on one group, as on its keys, if the
// tables are those that come of leaving out all that the rule covers.
func (c *comparison) authRuled(k *cause) bool {
	for _, g := range k.groups {
		for _, r := range c.causes {
			if r.layer != LayerApply || r.rule == nil || r.rule.origin != nil || r.outcome != align.Refused || !r.befell(g) || !r.parts(k.groups) {
				continue
			}
			if first := c.authWithoutRule(g[0], r); first > 0 {
				k.odd, k.index, k.outcome, k.of = g, first, align.Refused, r
				k.what += fmt.Sprintf(": this and later auth entries had no effect on %s", strings.Join(c.labels(g), ", "))
				return true
			}
		}
	}
	return false
}

// authWithoutRule is the first of the auth entries that a rule covers, of several, if member i's auth tables are what comes of leaving
// out all of these. 0 if they are not.
func (c *comparison) authWithoutRule(i int, r *cause) (first uint64) {
	s := c.auths[i].begin(c.whole(i))
	if s == nil {
		return 0
	}
	s = s.Clone()
	out := 0
	for _, w := range c.appliedAuth(i) {
		if w.Index < r.at().First || !r.rule.hits(w.Request) {
			s.Apply(w.Request)
			continue
		}
		if out++; first == 0 {
			first = w.Index
		}
	}
	if out < 2 || !s.Equal(c.ms[i].DB.Tables) {
		return 0
	}
	return first
}

// authApart makes a cause of its own of every group whose tables are not those of another one and that, by its own log,
// left out an entry or applied some again: what befell one of them does not explain another's tables.
func (c *comparison) authApart(k *cause) []*cause {
	all := slices.Concat(k.groups...)
	slices.Sort(all)
	var apart []*cause
	rest := slices.DeleteFunc(slices.Clone(k.groups), func(g []int) bool {
		if !c.authAstray(g[0]) {
			return false
		}
		others := slices.DeleteFunc(slices.Clone(all), func(i int) bool { return slices.Contains(g, i) })
		x := &cause{layer: LayerAuth, groups: [][]int{others, g}, odd: g}
		sortGroups(x.groups)
		apart = append(apart, x)
		return true
	})
	if len(apart) == 0 || len(apart) == 1 && len(rest) == 1 && !c.authUnaccounted(rest[0][0]) {
		return []*cause{k}
	}
	c.causes = append(c.causes, apart...)
	switch {
	case len(rest) == 1 && len(apart) == 1:
		k.odd = rest[0] // what went wrong with the others is not why these tables are not what their log leads to either
		return append(apart, k)
	case len(rest) > 1:
		k.groups = rest
		return append(apart, k)
	}
	c.causes = slices.DeleteFunc(c.causes, func(x *cause) bool { return x == k })
	return apart
}

// joinAstray puts members whose tables are of another moment to those that left out the same entry, or applied the same again,
// by their own logs: what can be told of some of them holds for all.
func (c *comparison) joinAstray(k *cause) {
	for i, a := range c.auths {
		if !c.authAstray(i) || a.edited || slices.Contains(slices.Concat(k.groups...), i) {
			continue
		}
		for n, g := range k.groups {
			o := c.auths[g[0]]
			shared := func(t *authz.Timeline) bool {
				return slices.ContainsFunc(a.all(), t.SameOdd) && slices.ContainsFunc(o.all(), t.SameOdd)
			}
			if !c.authAstray(g[0]) || !slices.ContainsFunc(a.all(), shared) {
				continue
			}
			k.groups[n] = slices.Sorted(slices.Values(append(slices.Clone(g), i)))
			var only []*authz.Timeline
			for _, t := range o.all() {
				if shared(t) {
					only = append(only, t)
				}
			}
			for _, j := range k.groups[n] {
				c.auths[j].keep(only)
			}
			break
		}
	}
	sortGroups(k.groups)
}

// authAstray tells whether the auth tables of a member are those that its log leads to with one thing gone wrong, or with
// something that no entry did.
func (c *comparison) authAstray(i int) bool {
	t := c.auths[i].timeline
	return t != nil && t.Odd > 0 || c.auths[i].edited
}

// authUnaccounted tells whether the auth tables of a member are not what its whole log leads to, even with one thing gone wrong.
func (c *comparison) authUnaccounted(i int) bool {
	return c.auths[i].timeline == nil && c.whole(i) && c.ms[i].DB.Tables.HasTerm
}

// anyAstray tells whether something went wrong with the auth tables of some members that are not odd.
func (c *comparison) anyAstray(k *cause) bool {
	return slices.ContainsFunc(slices.Concat(k.groups...), func(i int) bool { return !slices.Contains(k.odd, i) && c.authAstray(i) })
}

// spokesman is the member that stands for a group as regards its auth tables: one whose own log leads to them, if there is.
func (c *comparison) spokesman(g []int) int {
	if n := slices.IndexFunc(g, func(i int) bool { return !c.authAstray(i) }); n >= 0 {
		return g[n]
	}
	return g[0]
}

const authRevision = "the auth revision"

func authDiffers(in []string) string { return "the auth tables differ in " + strings.Join(in, ", ") }

// authParted is the difference that auth tables of another moment each show by themselves: one member left out an auth
// entry, or applied some again, and its requests were refused, or were not, in consequence.
// Where other tables differ, it is that of a member whose tables are not among them.
func (c *comparison) authParted(other *cause) *cause {
	var members, left []int
	for i, a := range c.auths {
		if a.timeline == nil {
			continue
		}
		members = append(members, i)
		if a.timeline.Odd > 0 && (other == nil || !slices.Contains(slices.Concat(other.groups...), i)) {
			left = append(left, i)
		}
	}
	if len(left) == 0 {
		return nil
	}
	odd := c.auths[left[0]].timeline
	groups := groupsOf(members, func(i, j int) bool {
		a, b := c.auths[i].timeline, c.auths[j].timeline
		return (a.Odd == odd.Odd && a.Again == odd.Again) == (b.Odd == odd.Odd && b.Again == odd.Again)
	})
	// Up to 3.4 tables may be of another moment than the consistent index says, so that they alone do not show it.
	if len(groups) < 2 || c.doc.Counts.Consequences == 0 && !c.ms[left[0]].DB.Tables.HasTerm {
		return nil
	}
	k := &cause{layer: LayerAuth, groups: groups, what: "the auth tables show it"}
	if !c.authOdd(k) {
		return nil
	}
	c.causes = append(c.causes, k)
	return k
}

// describeAuth says which of the tables differ, and what each group has.
func (c *comparison) describeAuth(k *cause) (differ []string) {
	first := c.ms[c.spokesman(k.groups[0])].DB.Tables
	note := func(name string, same bool) {
		if !same && !slices.Contains(differ, name) {
			differ = append(differ, name)
		}
	}
	for _, g := range k.groups {
		t := c.ms[c.spokesman(g)].DB.Tables
		note("whether auth is on", t.AuthEnabled == first.AuthEnabled)
		note(authRevision, t.AuthRevision == first.AuthRevision)
		note("users", reflect.DeepEqual(t.Users, first.Users) || len(t.Users)+len(first.Users) == 0)
		note("roles", reflect.DeepEqual(t.Roles, first.Roles) || len(t.Roles)+len(first.Roles) == 0)
		onOff := "off"
		if t.AuthEnabled {
			onOff = "on"
		}
		k.effects = append(k.effects, Effect{
			Members: c.labels(g),
			Note:    fmt.Sprintf("auth %s, revision %d, %d users, %d roles", onOff, t.AuthRevision, len(t.Users), len(t.Roles)),
		})
	}
	if k.odd == nil {
		k.odd = k.groups[len(k.groups)-1]
	}
	k.what = authDiffers(differ)
	return differ
}

// authOdd names the auth entry that one group must have left out, or applied twice, if the whole log is there to tell.
func (c *comparison) authOdd(k *cause) bool {
	groups := k.groups
	if n := slices.IndexFunc(groups, func(g []int) bool { return slices.Equal(g, k.odd) }); n >= 0 {
		groups = append([][]int{k.odd}, groups...) // if any, the one that is known to be odd
	}
	for _, g := range groups {
		a := c.auths[g[0]]
		if a.timeline == nil || a.timeline.Odd == 0 {
			continue
		}
		k.odd, k.outcome, k.again = g, align.Refused, a.timeline.Again
		c.inRun(k, a)
		c.withoutKeys(k, a)
		k.index = a.timeline.Odd
		k.what += c.oddAuth(g, k.again)
		if n := len(a.others); n > 0 && a.others[n-1].Odd > a.timeline.Odd {
			k.interval = &Interval{First: a.timeline.Odd, Last: a.others[n-1].Odd}
		}
		return true
	}
	return false
}

// oddAuth says what became of an auth entry on some members.
func (c *comparison) oddAuth(odd []int, again bool) string {
	how := "had no effect"
	if again {
		how = "was applied more than once"
	}
	return fmt.Sprintf(": the entry %s on %s", how, strings.Join(c.labels(odd), ", "))
}

// inRun takes of several auth entries that one group may have left out the one in a row with others that it left out, or
// that the rule covers by which it left them out.
func (c *comparison) inRun(k *cause, a *auth) {
	if k.again {
		return
	}
	all := append([]*authz.Timeline{a.timeline}, a.others...)
	if n := slices.IndexFunc(all, func(t *authz.Timeline) bool { return c.leftOut(k.odd, t.Odd) != nil }); n >= 0 {
		a.timeline, a.others = all[n], nil
	}
}

// leftOut is the cause of entries that some members left out together with another one, nil if there is none: those in a
// row with it, or those of a rule that covers it.
func (c *comparison) leftOut(odd []int, index uint64) *cause {
	return cmp.Or(c.rowOf(odd, index), c.ruled(odd, index))
}

// ruled is the cause of earlier entries that a rule kept from having an effect on some members and that covers an entry.
func (c *comparison) ruled(odd []int, index uint64) *cause {
	q := c.request(odd[0], index)
	n := slices.IndexFunc(c.causes, func(x *cause) bool {
		return q != nil && x.layer == LayerApply && x.rule != nil && x.outcome == align.Refused && x.index < index && x.befell(odd) && x.rule.hits(q)
	})
	if n < 0 {
		return nil
	}
	return c.causes[n]
}

// befell tells whether a cause befell all of some members.
func (k *cause) befell(members []int) bool {
	return !slices.ContainsFunc(members, func(i int) bool { return !slices.Contains(k.odd, i) })
}

// withoutKeys leaves out rows of entries with one among them that would have changed a key once more: had these been applied
// again, that would show.
func (c *comparison) withoutKeys(k *cause, a *auth) {
	all := slices.DeleteFunc(append([]*authz.Timeline{a.timeline}, a.others...), func(t *authz.Timeline) bool {
		return t.Again && t.Last > t.Odd && c.wouldWrite(k.odd[0], t)
	})
	if len(all) > 0 {
		a.timeline, a.others = all[0], all[1:]
	}
}

// wouldWrite tells whether the entries that a timeline says were applied again would have made a revision on member i, with
// permissions as they were behind them, which none did.
func (c *comparison) wouldWrite(i int, t *authz.Timeline) bool {
	would, did := false, false
	at, behind := c.revisionAt(i, t.Last), t.At(t.Last+1)
	c.traces[i].steps(func(s *align.Step) {
		if s.Index < t.Odd || s.Index > t.Last || s.Revision == 0 {
			return
		}
		e := find(c.views[i].entries, s.Index)
		did = did || s.Again
		would = would || e != nil && s.Outcome == align.Applied && len(c.inputs[i].Predict(e, at)) > 0 &&
			!behind.Denies(e.Request(), func(lease int64) []string { return c.inputs[i].Index.Attached(lease, at) })
	})
	return would && !did
}

// rowOf is the cause of entries without effect on some members that an entry behind them is in a row with: nothing had an
// effect between them.
func (c *comparison) rowOf(odd []int, index uint64) *cause {
	n := slices.IndexFunc(c.causes, func(x *cause) bool {
		if x.layer != LayerApply || x.outcome != align.Refused || x.again || x.rule != nil || x.index >= index || !slices.Equal(x.odd, odd) {
			return false
		}
		made := false
		c.traces[odd[0]].steps(func(s *align.Step) { made = made || x.index < s.Index && s.Index < index && s.Revision > 0 })
		return !made
	})
	if n < 0 {
		return nil
	}
	return c.causes[n]
}

// followRuns makes consequences of changes of tables that are missing in a row with entries that had no effect, and of such entries
// behind changes none of which came through to the end.
func (c *comparison) followRuns() {
	for _, k := range c.causes {
		if k.of != nil || k.index == 0 || k.interval != nil || k.outcome != align.Refused || k.again || len(k.odd) == 0 || k.layer != LayerAuth && k.layer != LayerAlarm {
			continue
		}
		if k.of = c.rowOf(k.odd, k.index); k.of != nil || !k.toEnd || c.wroteBehind(k.odd, k.index) {
			continue
		}
		for _, x := range c.causes {
			if x.layer == LayerApply && x.outcome == align.Refused && !x.again && x.of == nil && slices.Equal(x.odd, k.odd) && x.at().Last > k.index {
				x.of = k
			}
		}
	}
}

// wroteBehind tells whether an entry behind another one made a revision on some members.
func (c *comparison) wroteBehind(members []int, index uint64) bool {
	made := false
	for _, i := range members {
		c.traces[i].steps(func(s *align.Step) { made = made || s.Index > index && s.Revision > 0 })
	}
	return made
}

// authMissing names the auth entries that had no effect on one group where the log does not reach back to the beginning:
// those that make the tables of the other group out of its own. If asked to, only those that are in a row with others.
func (c *comparison) authMissing(k *cause, inRow bool) bool {
	if len(k.groups) != 2 {
		return false
	}
	for n, g := range k.groups {
		if slices.ContainsFunc(g, func(i int) bool { return c.auths[i].timeline != nil && c.auths[i].timeline.Odd == 0 }) {
			continue // its tables are what the whole log leads to
		}
		one, from := c.lacking(g, k.groups[1-n])
		what := "the entry"
		switch {
		case from > 0:
			what = "this and later auth entries"
			one, k.toEnd = []uint64{from}, true
		case len(one) == 0:
			continue
		}
		if n := slices.IndexFunc(one, func(x uint64) bool { return c.leftOut(g, x) != nil }); n >= 0 {
			one = one[n : n+1]
		} else if inRow {
			continue
		}
		k.odd, k.index, k.outcome = g, one[0], align.Refused
		k.what += fmt.Sprintf(": %s had no effect on %s", what, strings.Join(c.labels(g), ", "))
		if last := one[len(one)-1]; last > one[0] {
			k.interval = &Interval{First: one[0], Last: last}
		}
		return true
	}
	return false
}

// authFollowed tells whether it is known how some members came to their auth tables, or whether those are of before 3.5.
func (c *comparison) authFollowed(g []int) bool {
	return slices.ContainsFunc(g, func(i int) bool { return c.auths[i].timeline != nil || !c.ms[i].DB.Tables.HasTerm })
}

// lacking lists the auth entries of which one, or all from one on, may have had no effect on a group, as the tables of another show.
func (c *comparison) lacking(g, other []int) (one []uint64, from uint64) {
	lacks, has := c.ms[c.spokesman(g)].DB.Tables, c.ms[c.spokesman(other)].DB.Tables
	var applied []authz.Write
	for _, w := range c.views[g[0]].authWrites {
		if w.Index <= min(lacks.ConsistentIndex, has.ConsistentIndex) {
			applied = append(applied, w)
		}
	}
	before, _ := authz.Base(applied, c.views[g[0]].checkedUpTo(min(lacks.ConsistentIndex, has.ConsistentIndex)), has)
	return authz.Missing(before, applied, lacks, has)
}

// isAuthWrite tells whether a request changes the auth tables.
func isAuthWrite(typ string) bool {
	switch typ {
	case "AuthEnable", "AuthDisable", "AuthUserAdd", "AuthUserDelete", "AuthUserChangePassword", "AuthUserGrantRole",
		"AuthUserRevokeRole", "AuthRoleAdd", "AuthRoleDelete", "AuthRoleGrantPermission", "AuthRoleRevokePermission":
		return true
	}
	return false
}

// authReplay looks for the entries that raised one group's auth revision above the other's. Up to 3.4.7 changes of auth
// do not save the consistent index, so that a restart applies those behind the last change of a key again, and granting
// a permission or changing a password counts every time. It tells whether there are such entries.
func (c *comparison) authReplay(k *cause) bool {
	if len(k.groups) != 2 {
		return false
	}
	revision := func(g []int) uint64 { return c.ms[c.spokesman(g)].DB.Tables.AuthRevision }
	low, high := k.groups[0], k.groups[1]
	if revision(low) > revision(high) {
		low, high = high, low
	}
	if revision(low) == revision(high) {
		return false
	}
	extra := revision(high) - revision(low)
	first, last := uint64(0), uint64(0)
	begun := c.replayable(high[0], extra)
	if x := c.outdatedFrom(high); x > 0 {
		begun = c.countedBefore(high[0], x, extra)
	}
	if a := c.auths[high[0]]; a.timeline != nil && a.timeline.Row {
		// It is known which rows of them explain the tables, and what was refused since.
		begun = slices.DeleteFunc(begun, func(x uint64) bool {
			return !slices.ContainsFunc(a.all(), func(t *authz.Timeline) bool { return t.Odd == x })
		})
	}
	for _, s := range begun {
		if first == 0 || s < first {
			first = s
		}
		last = max(last, s)
	}
	if first == 0 {
		return false
	}
	k.index, k.again, k.outcome = first, true, align.Applied
	k.odd = high
	k.what = "auth entries were applied again after a restart, which raised the auth revision once more each"
	if one, _ := c.lacking(low, high); len(one) > 0 && extra == 1 && !c.authFollowed(low) && !c.authFollowed(high) {
		// From 3.5 on the index is saved with every entry, so that a restart is not the likelier reason.
		first, last = min(first, one[0]), max(last, one[len(one)-1])
		k.index, k.again, k.outcome, k.odd = first, false, align.Refused, low
		k.what = fmt.Sprintf("the auth tables differ in the auth revision: an entry had no effect on %s, or was applied more than once on %s",
			strings.Join(c.labels(low), ", "), strings.Join(c.labels(high), ", "))
	}
	switch {
	case last > first:
		k.interval = &Interval{First: first, Last: last}
	case k.again:
		k.entries = c.countedAgain(high[0], first, extra)
	}
	return true
}

// outdatedFrom is the entry from which on some members refused what was proposed at the auth revision of the others, 0 if
// there is none: what raised theirs came before.
func (c *comparison) outdatedFrom(odd []int) uint64 {
	for _, x := range c.causes {
		if x.layer == LayerApply && x.rule != nil && x.rule.byAuthRevision && x.outcome == align.Refused && slices.Equal(x.odd, odd) {
			return x.index
		}
	}
	return 0
}

// countedBefore are the first ones of as many entries in a row before another one as raise the auth revision by extra, behind which
// member i may have restarted: behind the last of all if it may have so nowhere.
func (c *comparison) countedBefore(i int, index, extra uint64) (found []uint64) {
	var all []uint64
	for n := range c.views[i].entries {
		if e := &c.views[i].entries[n]; e.Index < index && countsAgain(e.Request().Type) && c.raises(i, e.Index) {
			all = append(all, e.Index)
		}
	}
	if uint64(len(all)) < extra {
		return nil
	}
	restarts, after := c.restarts(i), c.notRaised(i)
	for n := range all[extra-1:] {
		first, end, next := all[n], all[n+int(extra)-1], index
		if n+int(extra) < len(all) {
			next = all[n+int(extra)]
		}
		for ; end >= after && end < next; end++ {
			if restarts(end) {
				found = append(found, first)
				break
			}
		}
	}
	if len(found) == 0 {
		return all[uint64(len(all))-extra:][:1]
	}
	return found
}

// raises tells whether an auth entry may have changed member i's auth store when it was applied first.
func (c *comparison) raises(i int, index uint64) bool {
	p := c.auths[i].plain
	return p == nil || p.At(index).Revision < p.At(index+1).Revision
}

// countsAgain tells whether an auth request raises the auth revision each time it is applied.
func countsAgain(typ string) bool {
	return typ == "AuthRoleGrantPermission" || typ == "AuthUserChangePassword"
}

// replayable lists every entry at which a replay of auth entries by member i can have begun that raised its auth revision
// by extra: the first one that counts behind the member's last change of a key before a restart. From 3.5 on the index is saved
// with every entry, so that one that was left behind may be that of any.
func (c *comparison) replayable(i int, extra uint64) []uint64 {
	v := c.views[i].entries
	wrote := map[uint64]bool{}
	c.traces[i].steps(func(s *align.Step) {
		if s.Revision > 0 {
			wrote[s.Index] = true
		}
	})
	restarts, after := c.restarts(i), c.notRaised(i)
	var found []uint64
	var block []uint64 // counting entries since the last change of a key
	behind := c.ms[i].DB.Tables.HasTerm
	for n := range v {
		e := &v[n]
		r := e.Request()
		if wrote[e.Index] {
			block = nil
		} else if countsAgain(r.Type) {
			if block = append(block, e.Index); behind && uint64(len(block)) > extra {
				block = block[1:]
			}
		}
		if uint64(len(block)) == extra && len(block) > 0 && e.Index >= after && restarts(e.Index) && !slices.Contains(found, block[0]) {
			found = append(found, block[0])
		}
	}
	return found
}

// notRaised is the last entry that member i let pass although it was checked at an auth revision lower than the member's
// can have been, if that had been raised before: each change of auth behind it counts once at most. 0 if there is none.
func (c *comparison) notRaised(i int) uint64 {
	var last uint64
	h, t := c.views[i], c.ms[i].DB.Tables
	c.traces[i].steps(func(s *align.Step) {
		q := c.request(i, s.Index)
		if s.Revision == 0 || s.Again || s.Outcome != align.Applied || q == nil || q.User == "" || !c.auths[i].on(s.Index) {
			return
		}
		n := 0
		for _, w := range h.authWrites {
			if s.Index < w.Index && w.Index <= t.ConsistentIndex {
				n++
			}
		}
		if q.AuthRevision+uint64(n) < t.AuthRevision {
			last = s.Index
		}
	})
	return last
}

// countedAgain lists the entries from first on that counted.
func (c *comparison) countedAgain(i int, first, extra uint64) []uint64 {
	var es []uint64
	for n := range c.views[i].entries {
		e := &c.views[i].entries[n]
		if e.Index >= first && uint64(len(es)) < extra && countsAgain(e.Request().Type) {
			es = append(es, e.Index)
		}
	}
	return es
}

// restarts tells whether member i may have restarted right behind an entry: between its last proposal up to there and
// the next one, its process changed. Where it proposed nothing more, it may have.
func (c *comparison) restarts(i int) func(index uint64) bool {
	type proposal struct {
		index uint64
		start uint64
	}
	var ps []proposal
	if m := c.ms[i]; m.Log.HasMetadata {
		for n := range c.views[i].entries {
			e := &c.views[i].entries[n]
			if r := e.Request(); r.ID != 0 {
				if p := raftlog.Proposer(r.ID); p.Prefix == uint16(m.Log.NodeID) {
					ps = append(ps, proposal{e.Index, p.Start})
				}
			}
		}
	}
	return func(index uint64) bool {
		n, _ := slices.BinarySearchFunc(ps, index+1, func(p proposal, x uint64) int {
			if p.index < x {
				return -1
			}
			return 1
		})
		if n == 0 || n == len(ps) {
			return true // nothing to tell by
		}
		return ps[n].start > ps[n-1].start+sameProcess
	}
}

// sameProcess is how far the start in request ids moves on within one process between two proposals: it counts one up
// for every 256 ids. A restart moves it by the milliseconds since the last one.
const sameProcess = 500

// followAuth marks what the difference led to: requests of users whose permissions, or whose auth revision, are others
// than the member's are refused there, or are not.
func (c *comparison) followAuth(k *cause) {
	for _, x := range c.causes {
		if x.layer == LayerApply && (x.outcome == align.Refused || x.outcome == align.Permitted) && !c.authSettled(x) && c.byUser(x) &&
			(slices.EqualFunc(x.groups, k.groups, slices.Equal[[]int]) || slices.Equal(x.odd, k.odd) && separates(x.groups, k.groups)) &&
			(k.index > 0 && k.index < x.index || k.index == 0 && x.rule != nil && x.rule.byAuthRevision) {
			x.of = k
		}
	}
}

// authSettled tells whether it is known what the auth stores of the odd members refuse, because nothing befell them since the cluster
// began, or if one of several writes had no effect or was applied again: then what was refused besides is no matter of auth.
func (c *comparison) authSettled(x *cause) bool {
	return x.outcome == align.Refused && !slices.ContainsFunc(x.odd, func(i int) bool {
		a := c.auths[i]
		if a.timeline != nil && a.timeline.Odd == 0 {
			return !c.whole(i) || a.edited || len(a.detours) > 0
		}
		return a.timeline == nil || slices.ContainsFunc(a.others, func(t *authz.Timeline) bool { return c.refuses(t, i, x) })
	})
}

// refuses tells whether an auth store refuses all entries of a cause on member i.
func (c *comparison) refuses(t *authz.Timeline, i int, x *cause) bool {
	return !slices.ContainsFunc(append([]uint64{x.index}, x.entries...), func(index uint64) bool {
		r, at := c.request(i, index), c.revisionAt(i, index)
		return r == nil || !t.At(index).Denies(r, func(lease int64) []string { return c.inputs[i].Index.Attached(lease, at) })
	})
}

// followReplay makes a consequence of auth entries that were applied again in one go with others that wrote keys.
func (c *comparison) followReplay(k *cause) {
	if !k.again {
		return
	}
	for _, x := range c.causes {
		if x != k && x.layer == LayerApply && x.again && slices.Equal(x.odd, k.odd) && k.of == nil && c.inReplay(k, x) {
			k.of = x
		}
	}
}

// inReplay tells whether auth entries that were applied again may have been so in one go with others: they lie behind the last
// entry before those that would have made a revision again, and before the first one behind the replay that made one.
func (c *comparison) inReplay(k, x *cause) bool {
	i := k.odd[0]
	first, last := uint64(1), uint64(0)
	begun, done := false, false
	c.traces[i].steps(func(s *align.Step) {
		at := x.at()
		begun = begun || s.Again && at.First <= s.Index && s.Index <= at.Last
		// What made no revision may have come before the replay as well as behind it.
		if done = done || begun && !s.Again && s.Revision > 0; done {
			return
		}
		if s.Revision > 0 && s.Index < at.First && !s.Again {
			first = s.Index
		}
		last = max(last, s.Index)
	})
	// Nor need it be known at which revision an entry made one.
	for _, e := range slices.Backward(c.views[i].entries) {
		if e.Index < min(c.traces[i].first(), x.at().First) && (e.Index <= first || c.puts(i, &e)) {
			first = max(first, e.Index)
			break
		}
	}
	if t := c.auths[i].timeline; t != nil && t.Again {
		return slices.ContainsFunc(c.auths[i].all(), func(t *authz.Timeline) bool { return first < t.Odd && t.Odd <= last })
	}
	return first <= k.at().Last && k.at().First <= last
}

// byUser tells whether all entries of a cause come from a user.
func (c *comparison) byUser(k *cause) bool {
	for _, index := range append([]uint64{k.index}, k.entries...) {
		if r := c.request(k.odd[0], index); r == nil || r.User == "" {
			return false
		}
	}
	return true
}
