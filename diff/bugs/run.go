package bugs

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/evidence"
)

// run is the entries from a cause on, run again under rules, and how each member compares.
type run struct {
	err         error
	first, last uint64
	// match has nil for members that could not be compared.
	match []*replay.Match
	final []*replay.Final
	notes []string
}

// maxReplayed bounds how many entries are run again for one question.
const maxReplayed = 2_000_000

// start is the last entry before the cause, 0 if the cause has no entry.
func (c *Case) start() uint64 {
	first, _ := c.Cause.span()
	if first == 0 {
		return 0
	}
	return first - 1
}

// end is the last entry before the next cause that is not mixed up with this one.
func (c *Case) end() uint64 {
	_, last := c.Cause.span()
	end := uint64(1<<63 - 1)
	if c.RulesBesides != nil {
		return end // what else happened is among the rules
	}
	for _, k := range c.Causes {
		if k == c.Cause || k.CausedBy == c.Cause || c.Cause.CausedBy == k {
			continue
		}
		if first, _ := k.span(); first > last {
			end = min(end, first-1)
		}
	}
	return end
}

// overlapsOthers tells whether another divergence lies between the entries of this one.
func (c *Case) overlapsOthers() bool {
	first, last := c.Cause.span()
	return slices.ContainsFunc(c.Causes, func(k *Cause) bool {
		a, b := k.span()
		return k != c.Cause && k.CausedBy != c.Cause && c.Cause.CausedBy != k && a > 0 && a <= last && b >= first
	})
}

// replayed runs the entries from the cause on under each set of rules, at the same time. Members that held the same before
// it share a run. The base is the member itself, or where that was compacted since, one that agreed with it.
func (c *Case) replayed(sets ...replay.Rules) []*run {
	if c.runs == nil || c.ranFor != c.Cause {
		c.runs, c.ranFor = map[string]*run{}, c.Cause
	}
	for _, m := range slices.Concat(c.Members, c.Bases) {
		if m.DB == nil || m.base != nil {
			continue
		}
		m.replayBase() // made once, and not by two at a time
		if o := slices.IndexFunc(c.Members, func(o *Member) bool { return o != m && o.base != nil && replay.SameLog(o.Log, m.Log) }); o >= 0 {
			m.base.ShareLog(c.Members[o].base)
		}
	}
	var wg evidence.Group
	runs := make([]*run, len(sets))
	for n, rs := range sets {
		r := c.runs[rs.Name]
		if r == nil {
			r = &run{}
			c.runs[rs.Name] = r
			wg.Go(rs.Name, func() { *r = *c.run(rs) })
		}
		runs[n] = r
	}
	wg.Wait()
	return runs
}

func ruled(rules []*replay.Rule) replay.Rules {
	if len(rules) == 0 {
		return replay.Today()
	}
	return replay.Today().With(rules...)
}

// run changes nothing of the case: two may go on at the same time.
func (c *Case) run(rs replay.Rules) *run {
	r := &run{match: make([]*replay.Match, len(c.Members)), final: make([]*replay.Final, len(c.Members))}
	if len(c.Cause.entries()) == 0 {
		r.err = errors.New("no entry is known to begin with")
		return r
	}
	for _, g := range c.groups(rs) {
		if err := c.runFrom(r, g); err != nil {
			r.err = errors.Join(r.err, err)
		}
	}
	if slices.ContainsFunc(r.match, func(m *replay.Match) bool { return m != nil }) {
		r.err = nil
	}
	return r
}

// beginning is what a run of some members begins with. Their runs are the same, or err says why there is none.
type beginning struct {
	members []int
	state   *replay.State
	entries []effect.Entry
	rules   replay.Rules
	err     error
}

// groups are the runs that rules take from the cause on, in order of their first members. Together run those that held the same before and, where a member
// has rules of its own besides, those that have none and begin with the same state.
func (c *Case) groups(rs replay.Rules) (all []beginning) {
	var done []int
	for i := range c.Members {
		if c.RulesBesides != nil {
			besides := c.besides(i)
			g := c.begin([]int{i}, c.start(), rs.With(besides...))
			k := slices.IndexFunc(all, func(o beginning) bool {
				return len(besides) == 0 && o.rules.Name == g.rules.Name && len(o.rules.Rules) == len(rs.Rules) && o.alike(&g)
			})
			if k >= 0 {
				all[k].members = append(all[k].members, i)
			} else {
				all = append(all, g)
			}
			continue
		}
		if !slices.Contains(done, i) {
			same := c.sameAt(i, c.start())
			done = append(done, same...)
			all = append(all, c.begin(same, c.start(), rs))
		}
	}
	return all
}

// alike tells whether two runs under the same rules do the same.
func (g *beginning) alike(o *beginning) bool {
	return g.err == nil && o.err == nil && replay.SameLog(g.entries, o.entries) && g.state.Alike(o.state, g.entries)
}

// sameAt lists the members that held what member i held after an entry, i first.
func (c *Case) sameAt(i int, index uint64) []int {
	same := []int{i}
	rev := c.revisionAt(i, index)
	for j := range c.Members {
		if j != i && rev >= 0 && c.revisionAt(j, index) == rev && c.Agreed != nil && c.Agreed(i, j) >= rev && !c.forked(i, j) {
			same = append(same, j)
		}
	}
	return same
}

// forked tells whether two members followed different logs.
func (c *Case) forked(i, j int) bool {
	for _, k := range c.Causes {
		if k.Layer != "log" {
			continue
		}
		gi := slices.IndexFunc(k.Groups, func(g []int) bool { return slices.Contains(g, i) })
		gj := slices.IndexFunc(k.Groups, func(g []int) bool { return slices.Contains(g, j) })
		if gi != gj {
			return true
		}
	}
	return false
}

func (c *Case) revisionAt(i int, index uint64) int64 {
	if index == 0 && c.Members[i].Whole {
		return 1
	}
	if c.Members[i].RevisionAt == nil || c.Members[i].DB == nil {
		return -1
	}
	return c.Members[i].RevisionAt(index)
}

// begin finds what a run of members that held the same after an entry begins with.
func (c *Case) begin(same []int, start uint64, rules replay.Rules) beginning {
	g := beginning{members: same, rules: rules}
	if g.state, g.err = c.stateAt(same, start); g.err != nil && c.RulesBesides != nil && c.Members[same[0]].Whole {
		g.state, g.err = replay.Empty(), nil
	}
	if g.err != nil {
		given := c.latestBase(c.Members[same[0]].Log, start)
		if given == nil {
			return g
		}
		// The rules hold from the cause on; what is before it was the same for all.
		g.state, g.rules, g.err = given, rules.From(start+1), nil
	}
	var last uint64
	for _, i := range same {
		m := c.Members[i]
		last = max(last, min(max(m.Through, m.Committed), c.end()))
	}
	g.entries = replay.Between(c.Members[same[0]].Log, g.state.Index+1, last)
	g.entries = g.entries[:contiguous(g.entries, g.state.Index+1)]
	switch n := len(g.entries); {
	case n == 0 || g.entries[n-1].Index <= start:
		g.err = fmt.Errorf("%w: no log holds entry %d", replay.ErrNoBase, start+1)
	case n > maxReplayed:
		g.err = fmt.Errorf("%d entries are too many to run again", n)
	}
	return g
}

// runFrom runs what a beginning says, and compares the outcome with its members.
func (c *Case) runFrom(r *run, g beginning) error {
	if g.err != nil {
		return g.err
	}
	var ms []replay.Member
	end := c.end()
	for _, i := range g.members {
		m := c.Members[i]
		x := replay.Member{Label: m.Label, Rows: m.DB.Rows, Compact: m.DB.CompactRevision(), Last: m.DB.Revision(), Through: m.Through, Committed: m.Committed}
		if end < m.Through {
			if at := c.revisionAt(i, end); at >= 0 {
				x.Last, x.Through, x.Committed = at, end, end
			}
		}
		ms = append(ms, x)
	}
	opts := replay.Options{TempDir: c.TempDir}
	if c.Progress != nil {
		opts.Progress = func(done, total int) { c.Progress(g.rules.Name, done, total) }
	}
	res, match, err := replay.Compare(c.Ctx, g.state, g.entries, g.rules, ms, opts)
	if err != nil {
		return err
	}
	r.first, r.last = res.First, max(r.last, res.Last)
	for n, i := range g.members {
		if n == 0 || c.RulesBesides != nil { // said of each member that was taken back by itself
			r.notes = append(r.notes, res.Notes...)
		}
		r.match[i], r.final[i] = &match[n], &res.Final
	}
	return nil
}

func contiguous(es []effect.Entry, next uint64) int {
	for i := range es {
		if es[i].Index != next || es[i].Raw == nil {
			return i
		}
		next++
	}
	return len(es)
}

// stateAt takes one of members that held the same back to an entry. The one that was compacted least comes first.
func (c *Case) stateAt(same []int, index uint64) (*replay.State, error) {
	order := slices.Clone(same)
	slices.SortStableFunc(order, func(i, j int) int {
		return int(c.Members[i].DB.CompactRevision() - c.Members[j].DB.CompactRevision())
	})
	var errs []error
	for _, i := range order {
		m := c.Members[i]
		rev := c.revisionAt(i, index)
		if rev < 0 {
			errs = append(errs, fmt.Errorf("%w: the revision of %s at entry %d is not known", replay.ErrNoBase, m.Label, index))
			continue
		}
		st, err := replay.Rewind(c.Ctx, m.replayBase(), index, rev)
		if err == nil {
			return st, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", m.Label, err))
	}
	return nil, errors.Join(errs...)
}

// latestBase is the latest of the bases from which a log leads to an entry, nil if there is none.
func (c *Case) latestBase(log []effect.Entry, index uint64) *replay.State {
	var best *replay.State
	for _, b := range c.Bases {
		if b.DB == nil || !b.DB.HasKeys || len(b.DB.Rows.Holes()) > 0 {
			continue
		}
		at := b.DB.Tables.ConsistentIndex
		if at > index || best != nil && at <= best.Index || at < index && contiguous(replay.Between(log, at+1, index), at+1) < int(index-at) {
			continue
		}
		if st, err := replay.Rewind(c.Ctx, b.replayBase(), at, b.DB.Revision()); err == nil {
			best = st
		}
	}
	return best
}

// split compares two sets of rules: which members hold what the first makes, and which what the second makes.
type split struct {
	a, b          *run
	followA       []*Member // hold what a makes and not what b makes
	followB       []*Member
	followBoth    []*Member // the two sets make no difference to them
	followNeither []*Member
	unread        []*Member // could not be compared
}

func (c *Case) split(a, b []*replay.Rule) *split {
	runs := c.replayed(ruled(a), ruled(b))
	s := &split{a: runs[0], b: runs[1]}
	for i, m := range c.Members {
		x, y := s.a.match[i], s.b.match[i]
		switch {
		case x == nil || y == nil:
			s.unread = append(s.unread, m)
		case x.Exact() && y.Exact():
			s.followBoth = append(s.followBoth, m)
		case x.Exact():
			s.followA = append(s.followA, m)
		case y.Exact():
			s.followB = append(s.followB, m)
		default:
			s.followNeither = append(s.followNeither, m)
		}
	}
	return s
}

// conclusive whether the two sets of rules explain every member that can be compared, and tell some of them apart.
func (s *split) conclusive() bool {
	return len(s.followA) > 0 && len(s.followB) > 0 && len(s.followNeither) == 0
}

// possible tells whether anything could be run at all.
func (s *split) possible() bool {
	return s.a.err == nil && s.b.err == nil && len(s.followA)+len(s.followB)+len(s.followBoth)+len(s.followNeither) > 0
}

// err says why not.
func (s *split) err() string {
	for _, r := range []*run{s.a, s.b} {
		if r.err != nil {
			return "the entries could not be run again: " + oneLine(r.err)
		}
	}
	return "the entries could not be run again"
}

func oneLine(err error) string {
	if err == nil {
		return "nobody holds a db"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// entries is how many entries were compared on members.
func (r *run) entries(c *Case, ms []*Member) int {
	n := 0
	for i, m := range c.Members {
		if slices.Contains(ms, m) && r.match[i] != nil {
			n = max(n, r.match[i].Entries)
		}
	}
	return n
}

// judgeRules turns a split into an outcome where members follow different rules: aName and bName complete "follows".
func (c *Case) judgeRules(s *split, aName, bName string) Outcome {
	return c.judgeSplit(s, aName, bName, func(n int) string {
		return fmt.Sprintf("%s %s %s, %s %s, for all %d entries from %d on: no revision differs",
			labels(s.followA), plural(len(s.followA), "follows", "follow"), aName, labels(s.followB), bName, n, s.a.first)
	})
}

// judgeReproduction turns a split into an outcome where something happened to some members: aName and bName complete "run again
// with".
func (c *Case) judgeReproduction(s *split, aName, bName string) Outcome {
	return c.judgeSplit(s, aName, bName, func(n int) string {
		return fmt.Sprintf("run again from entry %d on with %s, all %d entries make just what %s, and with %s what %s: no revision differs",
			s.a.first, bName, n, holders(s.followB), aName, holders(s.followA))
	})
}

func (c *Case) judgeSplit(s *split, aName, bName string, proof func(n int) string) Outcome {
	switch {
	case !s.possible():
		return consistent(s.err())
	case s.conclusive():
		return confirmed(proof(max(s.a.entries(c, s.followA), s.b.entries(c, s.followB)))).and(s.a.notes...)
	case len(s.followNeither) == 0 && c.Cause.Fault && !slices.ContainsFunc(c.departed(), func(m *Member) bool { return !slices.Contains(s.followB, m) && !slices.Contains(s.followBoth, m) }):
		return confirmed(fmt.Sprintf("run again from entry %d on, %s makes what %s in the revisions that are left", s.a.first, bName, holders(c.departed())),
			"what compaction left of earlier ones fits the log in that way only")
	case len(s.followNeither) == 0:
		return refuted(fmt.Sprintf("run again from entry %d on, %s and %s do not tell these members apart", s.a.first, aName, bName))
	}
	o := refuted(fmt.Sprintf("run again from entry %d on, neither %s nor %s makes what %s", s.a.first, aName, bName, holders(s.followNeither)))
	if c.overlapsOthers() {
		o.Status = Consistent
		o = o.and("another divergence lies between the entries of this one, so that neither need come out")
	}
	for i, m := range c.Members {
		if slices.Contains(s.followNeither, m) {
			o = o.and(fmt.Sprintf("%s against %s: %s", m.Label, aName, s.a.match[i]), fmt.Sprintf("%s against %s: %s", m.Label, bName, s.b.match[i]))
		}
	}
	return o
}

// besides are the rules of all that is known of a member but for the cause.
func (c *Case) besides(member int) []*replay.Rule {
	rules := c.RulesBesides(member, c.Cause)
	if c.Versions != nil && !c.Cause.OtherRules { // what the cause is about is not given
		rules = slices.Concat(rules, During(c.Versions(member)))
	}
	return rules
}

// During are the rules of versions, each for the entries that it applied.
func During(versions []Version) (rules []*replay.Rule) {
	last := uint64(math.MaxUint64)
	for _, v := range slices.Backward(versions) {
		for _, r := range v.Rules {
			rules = append(rules, replay.Only(v.From, last, r))
		}
		last = v.From - 1
	}
	return rules
}

// withoutRule are versions but for one rule of them.
func withoutRule(versions []Version, rule *replay.Rule) (out []Version) {
	for _, v := range versions {
		v.Rules = slices.DeleteFunc(slices.Clone(v.Rules), func(r *replay.Rule) bool { return r.Name == rule.Name })
		out = append(out, v)
	}
	return out
}

// upgraded are the rules of all that is known of a member but for the cause, if that is that the member gave up an old rule at an entry,
// 0 for never.
func (c *Case) upgraded(member int, old *replay.Rule, at uint64) []*replay.Rule {
	is := func(r *replay.Rule) bool { return r.Name == old.Name }
	added := func(rules []*replay.Rule) []*replay.Rule {
		if slices.ContainsFunc(rules, is) {
			return rules
		}
		return append(slices.Clone(rules), old)
	}
	versions := []Version{{From: 1}}
	if c.Versions != nil {
		if vs := c.Versions(member); len(vs) > 0 {
			versions = slices.Clone(vs)
		}
	}
	n := slices.IndexFunc(versions, func(v Version) bool { return v.From == c.Cause.Onset[member] })
	switch {
	case at == 0:
		for k := range versions {
			versions[k].Rules = added(versions[k].Rules)
		}
	case n < 1: // nothing is known of its versions
		versions = []Version{{1, added(versions[0].Rules)}, {at, slices.DeleteFunc(slices.Clone(versions[0].Rules), is)}}
	default:
		// Of what changed there, the old rule went and what was not asked before came. Other old rules stay.
		before := versions[n-1].Rules
		after := slices.DeleteFunc(slices.Clone(before), is)
		for _, r := range versions[n].Rules {
			if !slices.ContainsFunc(before, func(o *replay.Rule) bool { return o.Name == r.Name }) {
				after = append(after, r)
			}
		}
		versions[n-1].Rules, versions[n] = added(before), Version{at, after}
	}
	return slices.Concat(c.RulesBesides(member, c.Cause), During(versions))
}

// runsExactly runs the log of every member under the rules that with gives for it, and tells which members come out as they are. entries is how many were run at most.
func (c *Case) runsExactly(with func(member int) []*replay.Rule) (does, doesNot []*Member, entries int, err error) {
	for i, m := range c.Members {
		if m.DB == nil {
			continue
		}
		r := &run{match: make([]*replay.Match, len(c.Members)), final: make([]*replay.Final, len(c.Members))}
		if e := c.runFrom(r, c.begin([]int{i}, c.start(), ruled(with(i)))); e != nil {
			err = errors.Join(err, e)
			continue
		}
		entries = max(entries, r.match[i].Entries)
		if r.match[i].Exact() {
			does = append(does, m)
		} else {
			doesNot = append(doesNot, m)
		}
	}
	return does, doesNot, entries, err
}
