package diff

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
)

// Investigate compares members as Compare does, and asks of every divergence which known bug produced it, re-executing the
// log with etcd's own code on private copies where that settles it. It also says what to do now. ctx ends it early: then
// explanations are missing, or the verdict is Indeterminate, Reasons says so, and Err is its error.
//
// Files that are cut meanwhile end it as well, as Err says then. Other functions that read members do not guard themselves
// against that: evidence.Guard does.
func Investigate(ctx context.Context, ms []*inspect.Member, opts Options) *Document {
	return survive(ms, func() *Document { return investigate(ctx, ms, opts) })
}

func investigate(ctx context.Context, ms []*inspect.Member, opts Options) *Document {
	c := examine(ctx, ms, opts.ServerLogs)
	if len(c.readErrors) == 0 {
		c.guard("the evidence", func() { c.reexecute(ctx, opts) })
	}
	c.decide()
	if len(c.readErrors) > 0 {
		return c.document()
	}
	c.guard("the evidence", func() {
		if c.logs != nil {
			c.curves()
			c.doc.Timeline = c.timeline()
			rules, behaviour := c.behavesAs()
			for i := range rules {
				m := &c.doc.Members[slices.Index(c.all, c.ms[i])]
				m.BehavesAs, m.Behaviour = rules[i], behaviour[i]
			}
			c.noteServerLogs()
		}
		b := c.bugCase(ctx)
		b.Progress = opts.Progress
		for _, m := range opts.Bases {
			b.Bases = append(b.Bases, &bugs.Member{Member: m})
		}
		c.explain(b)
		c.bugFindings(b)
		if c.doc.Verdict == Diverged {
			c.plan(b) // a copy that could not be read says nothing about its member
		}
		c.doc.BestCopy = c.bestCopy()
	})
	for _, f := range c.readErrors {
		c.reason("what explains this, and what to do, could not all be told: %s", f)
	}
	if ctx.Err() != nil {
		c.reason("the search for explanations was cut short: %v", context.Cause(ctx))
		c.errs = append(c.errs, ctx.Err())
	}
	return c.document()
}

// bugCase is the comparison as the catalogue of bugs asks about it.
func (c *comparison) bugCase(ctx context.Context) *bugs.Case {
	b := &bugs.Case{Ctx: ctx, Agreed: c.lastSameRevision}
	if c.logs == nil { // nothing was compared
		for _, m := range c.all {
			b.Members = append(b.Members, &bugs.Member{Member: m})
		}
		return b
	}
	for i, m := range c.ms {
		b.Members = append(b.Members, &bugs.Member{
			Member: m, Log: c.histories[i].entries, Whole: c.beginsWithCluster(i), Through: c.reach(i), Committed: committed(m),
			Steps:      func(f func(s *effect.Step)) { c.traces[i].steps(f) },
			RevisionAt: func(index uint64) int64 { return c.revisionAt(i, index) },
		})
	}
	// Members without a db come last: the others keep their numbers.
	for _, m := range c.all {
		if !slices.Contains(c.ms, m) {
			b.Members = append(b.Members, &bugs.Member{Member: m})
		}
	}
	of := map[*cause]*bugs.Cause{}
	faultOf := map[*bugs.Cause]*sharedFault{}
	for _, k := range c.causes {
		x := c.bugCause(k)
		of[k], faultOf[x] = x, k.fault
		b.Causes = append(b.Causes, x)
	}
	for _, k := range c.causes {
		if k.causedBy != nil {
			of[k].CausedBy = of[k.causedBy]
		}
	}
	if c.doc.Explained {
		b.RulesBesides = func(member int, but *bugs.Cause) []*replay.Rule { return c.rulesBesides(member, faultOf[but]) }
		b.Versions = c.versions
	}
	return b
}

// bugCause is a cause as the catalogue of bugs asks about it.
func (c *explanations) bugCause(k *cause) *bugs.Cause {
	x := &bugs.Cause{
		Layer: string(k.layer), Index: k.index, Entries: k.entries, Revision: k.revision, Outcome: k.outcome, Again: k.again,
		Departed: k.departed, Groups: k.groups, Leases: k.leases,
	}
	t := k.fault
	if t == nil {
		if k.outcome == effect.Permitted { // the catalogue speaks of the members on which entries had no effect
			x.Outcome = effect.Refused
			x.Departed = slices.DeleteFunc(slices.Concat(k.groups...), func(i int) bool { return slices.Contains(k.departed, i) })
		}
		return x
	}
	x.Fault, x.OtherRules, x.Onset, x.Times = true, t.kind == faults.Rules, map[int]uint64{}, map[int]int{}
	switch t.kind {
	case faults.Rules, faults.Refused: // no entry by itself went wrong
		x.Rule = t.kind.String()
	case faults.OwnReads:
		x.Rule = bugs.OwnReads
	case faults.Skipped, faults.Again:
		x.First = t.firstReading().First
		for _, last := range t.until {
			x.Last = max(x.Last, last)
		}
	}
	if k.ambiguous() {
		x.Begins = k.candidates
	}
	for _, i := range t.members {
		x.Onset[i], x.Times[i] = t.onset[i].First, c.explained[i].chosen.Faults[t.number[i]].Times
	}
	return x
}

// rulesBesides are the rules of etcd's own code by which a member's log makes what it holds, but for a fault, and for those of its versions.
func (c *explanations) rulesBesides(member int, but *sharedFault) (rules []*replay.Rule) {
	if member >= len(c.explained) || c.explained[member] == nil {
		return nil
	}
	x := c.explained[member]
	for n, f := range x.chosen.Faults {
		if but != nil && slices.Contains(but.members, member) && but.number[member] == n {
			continue
		}
		switch f.Kind {
		case faults.Skipped:
			rules = append(rules, replay.OmitRange(f.First, f.Last))
		case faults.Again:
			rules = append(rules, replay.Repeat(f.First, f.Last, f.Times))
		case faults.Lost:
			rules = append(rules, replay.LeasesMissing("leases with a negative id", f.First, func(id int64) bool { return id < 0 }))
		}
	}
	return rules
}

// versions are the rules of the versions that a member went by, as far as they are not those of etcd 3.7.
func (c *explanations) versions(member int) (out []bugs.Version) {
	if member >= len(c.explained) || c.explained[member] == nil {
		return nil
	}
	x := c.explained[member]
	own := func(e *replay.Exec) bool {
		return x.member.KeepsReads(&x.chosen, e.Index)
	}
	for _, v := range x.member.RulesOver(&x.chosen) {
		out = append(out, bugs.Version{From: max(v.Entry, 1), Rules: replay.Older(v.Rules.Permissions(), own)})
	}
	return out
}

// explain tests the known bugs against the cause of each divergence.
func (c *comparison) explain(b *bugs.Case) {
	of := map[*cause]*bugs.Cause{}
	for i, k := range c.causes {
		of[k] = b.Causes[i]
	}
	for n, k := range c.writtenCauses {
		if k == nil {
			continue
		}
		for _, v := range b.Explain(of[k]) {
			evidence, status := slices.Clone(v.Evidence), Status(v.Status)
			switch {
			case k.beforeLog && v.Status == bugs.Confirmed: // it explains what may not have happened
				status = ConsistentWith
				evidence = append(evidence, "the members may as well have parted before the first entry of the log")
			case !k.ambiguous() || v.Status == bugs.Refuted:
			case v.At > 0:
				evidence = slices.Insert(evidence, 0, fmt.Sprintf("with entry %d, one of %d that come into question", v.At, len(k.candidates)))
			default:
				evidence = slices.Insert(evidence, 0, fmt.Sprintf("tried with %s, one of %d that come into question", triedWith(of[k]), len(k.candidates)))
			}
			c.doc.Divergences[n].Explanations = append(c.doc.Divergences[n].Explanations, Explanation{
				ID: v.Bug.ID, Title: v.Bug.Title, Status: status, Evidence: evidence, Refs: v.Bug.Refs,
			})
		}
	}
}

// triedWith is what a cause was run with.
func triedWith(k *bugs.Cause) string {
	if k.First < k.Last {
		return fmt.Sprintf("entries %d to %d", k.First, k.Last)
	}
	return fmt.Sprintf("entry %d", cmp.Or(k.First, k.Index))
}

// bugFindings notes known bugs that show in the members' files without being the cause of a divergence.
func (c *comparison) bugFindings(b *bugs.Case) {
	for _, v := range b.Findings() {
		if v.Bug.Harmless {
			continue
		}
		c.doc.KnownBugs = append(c.doc.KnownBugs, KnownBug{
			Members:     slices.Clone(v.Members),
			Explanation: Explanation{ID: v.Bug.ID, Title: v.Bug.Title, Status: Status(v.Status), Evidence: slices.Clone(v.Evidence), Refs: v.Bug.Refs},
			Remedy:      v.Bug.Remedy,
		})
	}
}

// plan says what to do now, nothing if all is well.
func (c *comparison) plan(b *bugs.Case) {
	if c.logs == nil {
		return // nothing was compared
	}
	var d bugs.Differences
	d.Keys = make([]bugs.Key, len(c.keys.keys))
	present, dark := make([]bool, len(c.keys.keys)*len(b.Members)), make([]bool, len(c.keys.keys)*len(b.Members))
	for k, key := range c.keys.keys {
		n := len(b.Members)
		x := bugs.Key{Name: Key(key).String(), Present: present[k*n : (k+1)*n : (k+1)*n], Unknown: dark[k*n : (k+1)*n : (k+1)*n]}
		for i := range c.ms { // b.Members begin with these
			row := c.keys.rows[k*len(c.ms)+i]
			x.Present[i], x.Unknown[i] = row >= 0, row == unknown
		}
		d.Keys[k] = x
	}
	for _, l := range c.doc.Leases {
		x := bugs.Lease{ID: int64(l.ID), Present: make([]bool, len(b.Members))}
		for i, m := range b.Members {
			x.Present[i] = l.ByMember[m.Label].Present
		}
		d.Leases = append(d.Leases, x)
	}
	p := b.Plan(d)
	if p == nil {
		return
	}
	out := &Plan{Best: p.Best, Rebuild: p.Rebuild, Why: p.Why, Doubts: p.Doubts, Commands: p.Commands, whole: p.Whole}
	for _, k := range p.Copies {
		out.Copies = append(out.Copies, planCopy(k))
	}
	c.doc.Plan = out
}

func planCopy(k bugs.Copy) PlanCopy {
	ids := func(leases []int64) []ID {
		out := []ID{}
		for _, l := range leases {
			out = append(out, ID(uint64(l)))
		}
		return out
	}
	c := PlanCopy{
		Member: k.Member, Sound: k.Sound, Problems: k.Problems, Index: k.Index, Revision: k.Revision,
		EntriesBehind: k.Behind, RevisionsBehind: k.BehindRevisions, Loses: k.Loses, Adds: k.Adds, Twice: k.Twice,
		LostKeys: k.LostKeys, ResurrectedKeys: k.Resurrected, OtherKeys: k.OtherKeys,
		LostLeases: ids(k.LostLeases), ResurrectedLeases: ids(k.ResurrectedLeases),
	}
	notNil(&c.Problems)
	notNil(&c.Loses)
	notNil(&c.Adds)
	notNil(&c.Twice)
	notNil(&c.LostKeys)
	notNil(&c.ResurrectedKeys)
	notNil(&c.OtherKeys)
	return c
}
