package align

import (
	"slices"
)

// maxBans is how many entries from which on a user may have been refused are tried.
const maxBans = 8

// minBanned is how many refusals make a ban.
const minBanned = 3

// ban tries to read what is odd as all requests of one user having been refused from some entry on: that is one oddity,
// however many entries it befell, where each refusal by itself costs more than a few revisions from nowhere.
func (in *Input) ban(a *Alignment) *Alignment {
	if b := in.refusing(a); b != nil {
		return b
	}
	if n := a.lostTail(); n >= minBanned {
		a.Cost = min(a.Cost, costBan+costBanned*n)
		return a
	}
	best := in.cutShort(a)
	for _, user := range in.refusedUsers(a) {
		again := *in
		again.banned = user
		if again.bannedThroughout(a) && !again.oddBesides(a) {
			if n := costBan + costBanned*again.refusals(a); n <= a.Cost {
				a.Cost, a.banned = n, true
			}
			continue
		}
		tried := map[uint64]bool{}
		for _, from := range append(again.firstRefused(a), again.firstRefused(align(again))...) {
			if tried[from] {
				continue
			}
			tried[from] = true
			again.bannedFrom = from
			b := align(again)
			if b.Cost += costBan; b.Cost < best.Cost && again.bannedThroughout(b) {
				b.Index, best = in.Index, b
			}
		}
	}
	return in.keep(a, best)
}

// refusing is the alignment by which one entry had no effect that should have had one, nil if there is none, where all that is odd
// is that another one was let pass: permissions hold for all requests, so that this is the less likely.
func (in *Input) refusing(a *Alignment) *Alignment {
	s := a.onlyOdd()
	if s == nil || s.Outcome != Permitted {
		return nil
	}
	again := *in
	again.unlet = s.Index
	b := align(again)
	if o := b.onlyOdd(); o == nil || o.Outcome != Refused || o.Doubtful || b.First != a.First {
		return nil
	}
	b.Index = in.Index
	return b
}

// onlyOdd is the only step that was not predicted, nil if there is none or more.
func (a *Alignment) onlyOdd() (only *Step) {
	for i := range a.Steps {
		switch s := &a.Steps[i]; {
		case s.Cost() == 0:
		case only != nil:
			return nil
		default:
			only = s
		}
	}
	return only
}

// maxLifts bounds how many alarms are tried.
const maxLifts = 8

// keep tries to read what is odd as an alarm having been kept on: that is one oddity, too.
func (in *Input) keep(a, best *Alignment) *Alignment {
	tried := 0
	for n := range in.Lifts {
		again := *in
		again.kept = &in.Lifts[n]
		if a.Cost <= costBan || tried == maxLifts || !again.keptThroughout(a, 1) {
			continue
		}
		tried++
		b := align(again)
		if b.Cost += costBan; b.Cost < best.Cost && again.keptThroughout(b, minBanned) {
			b.Index, best = in.Index, b
		}
	}
	return best
}

// keptThroughout tells whether some requests that the alarm refuses were refused while it was kept on, and none had an effect if there
// are to be several.
func (in *Input) keptThroughout(a *Alignment, least int) bool {
	refused, made := 0, false
	for i := range a.Steps {
		s := &a.Steps[i]
		if s.Index <= in.kept.Index || s.Index >= in.kept.End || s.Outcome == NoEffect {
			continue
		}
		if k, ok := in.Log.find(s.Index); ok && in.kept.Refuses(in.Log.entries[k].Request()) {
			if s.Outcome == Refused {
				refused++
			} else {
				made = true
			}
		}
	}
	return refused >= least && (least == 1 || !made)
}

// lostTail is how many entries had no effect, if nothing else is odd and none had one behind the first of them: that is one
// oddity, too.
func (a *Alignment) lostTail() (n int) {
	for i := range a.Steps {
		switch s := &a.Steps[i]; {
		case s.Outcome == Refused:
			n++
		case s.Anomalous() || n > 0 && s.Revision > 0:
			return 0
		}
	}
	return n
}

// LostFrom is the first of several entries that had no effect, nor any behind it, if nothing else is odd; 0 if there is none.
func (a *Alignment) LostFrom() uint64 {
	if a.lostTail() < minBanned {
		return 0
	}
	return a.Steps[slices.IndexFunc(a.Steps, func(s Step) bool { return s.Outcome == Refused })].Index
}

// maxCuts is how many entries are tried as the last one that had an effect, maxOrphans how many revisions without an entry there
// may be behind the first refusal.
const (
	maxCuts    = 8
	maxOrphans = 2
)

// cutShort tries to read refusals with something else behind them, which looks like more than one oddity, as all entries having
// been lost behind one of the first of these: what seems to be another's revision may be its own.
func (in *Input) cutShort(a *Alignment) *Alignment {
	if a.Cost <= costBan || a.Through != in.ConsistentIndex {
		return a
	}
	if b := in.idleThroughout(); b != nil {
		if b.Cost += costCoincidence * a.applied(); b.Cost < a.Cost {
			return b
		}
	}
	k := slices.IndexFunc(a.Steps, func(s Step) bool { return s.Outcome == Refused })
	if k < 0 {
		return a
	}
	orphans := 0
	for _, s := range a.Steps[k:] {
		switch {
		case s.Outcome == Extra:
			orphans++
		case s.Revision > 0:
			return a
		}
	}
	if orphans == 0 || orphans > maxOrphans {
		return a
	}
	best := a
	for _, s := range a.Steps[k:min(k+maxCuts, len(a.Steps))] {
		again := *in
		if again.ConsistentIndex = s.Index; s.Index == 0 {
			break
		}
		b := align(again)
		if b.Through != s.Index {
			continue
		}
		tail, n := again.lostBehind(s.Index, in.ConsistentIndex)
		if b.Cost += costBan + costBanned*n; n >= minBanned && b.Cost < best.Cost {
			b.Steps, b.Through, b.Index = append(b.Steps, tail...), in.ConsistentIndex, in.Index
			best = b
		}
	}
	return best
}

// applied is how many revisions are just what entries should have made.
func (a *Alignment) applied() (n int) {
	for i := range a.Steps {
		if s := &a.Steps[i]; s.Revision > 0 && s.Outcome == Applied {
			n++
		}
	}
	return n
}

// idleThroughout is the alignment in which no entry that is left had an effect: what the member holds was there before. nil if the
// log does not begin behind others, or if too few should have had one.
func (in *Input) idleThroughout() *Alignment {
	if in.Whole || in.From != nil || len(in.Log.entries) == 0 || in.Log.entries[0].Index > in.ConsistentIndex {
		return nil
	}
	first := in.Log.entries[0].Index
	steps, n := in.lostBehind(first-1, in.ConsistentIndex)
	if n < minBanned {
		return nil
	}
	return &Alignment{Steps: steps, First: first, Revision: in.Table.Last(), Through: in.ConsistentIndex, Cost: costBan + costBanned*n, Index: in.Index}
}

// lostBehind are the steps of entries behind one that had no effect on the last state, and how many of them should have had one.
func (in *Input) lostBehind(index, upTo uint64) (steps []Step, n int) {
	at := in.Table.Last()
	i, _ := in.Log.find(index + 1)
	for ; i < len(in.Log.entries) && in.Log.entries[i].Index <= upTo; i++ {
		s := Step{Index: in.Log.entries[i].Index, Outcome: NoEffect}
		if want, judged := in.demands(s.Index, s.Index, at); len(want) > 0 && judged != Denied {
			s.Outcome, s.Predicted, s.Doubtful = Refused, want, judged == Doubtful
			n++
		}
		steps = append(steps, s)
	}
	return steps, n
}

// firstRefused are the first two of the banned user's entries in a row that were refused, the last ones of these if many are: the
// first may have made what a later one that writes the same is said to have made.
func (in *Input) firstRefused(a *Alignment) (all []uint64) {
	inRow := 0
	for i := range a.Steps {
		s := &a.Steps[i]
		if s.Outcome == NoEffect || s.Index == 0 || in.user(s.Index) != in.banned {
			continue
		}
		if s.Outcome != Refused {
			inRow = 0
			continue
		}
		if inRow++; inRow <= 2 {
			all = append(all, s.Index)
		}
	}
	return all[max(len(all)-maxBans, 0):]
}

// refusals is how many of the banned user's requests were refused.
func (in *Input) refusals(a *Alignment) (n int) {
	for i := range a.Steps {
		if s := &a.Steps[i]; s.Outcome == Refused && in.user(s.Index) == in.banned {
			n++
		}
	}
	return n
}

// oddBesides tells whether there is anything odd but that the banned user's requests were refused.
func (in *Input) oddBesides(a *Alignment) bool {
	return slices.ContainsFunc(a.Steps, func(s Step) bool {
		return s.Anomalous() && (s.Outcome != Refused || in.user(s.Index) != in.banned)
	})
}

// bans tells whether the banned user is known to be refused at an entry.
func (g *grid) bans(i int) bool {
	return (g.in.bannedFrom > 0 || g.in.kept != nil) && g.mayBan(i)
}

// turns tells whether the banned user asked for an alarm before an entry, without effect then: what it should refuse is let pass.
func (in *Input) turns(before uint64) bool {
	if in.bannedFrom == 0 {
		return false
	}
	i, _ := in.Log.find(in.bannedFrom)
	for ; i < len(in.Log.entries) && in.Log.entries[i].Index < before; i++ {
		if r := in.Log.entries[i].Request(); r.Internal.GetAlarm() != nil && r.User == in.banned {
			return true
		}
	}
	return false
}

// mayBan tells whether an entry is one that the ban, or an alarm that was kept on, refuses.
func (g *grid) mayBan(i int) bool {
	if l, x := g.in.kept, g.entries[i].Index; l != nil && l.Index < x && x < l.End {
		return l.Refuses(g.request(i))
	}
	return g.in.banned != "" && g.entries[i].Index >= g.in.bannedFrom && g.request(i).User == g.in.banned
}

// refusedUsers are those users whose requests make up some refusals.
func (in *Input) refusedUsers(a *Alignment) (users []string) {
	count := map[string]int{}
	for i := range a.Steps {
		if s := &a.Steps[i]; s.Outcome == Refused {
			if u := in.user(s.Index); u != "" {
				if count[u]++; count[u] == minBanned {
					users = append(users, u)
				}
			}
		}
	}
	return users
}

// user is who sent an entry.
func (in *Input) user(index uint64) string {
	if i, ok := in.Log.find(index); ok {
		return in.Log.entries[i].Request().User
	}
	return ""
}

// bannedThroughout tells whether the banned user changed nothing from the first refusal on, if it is known where to look for that.
func (in *Input) bannedThroughout(a *Alignment) bool {
	n := 0
	for i := range a.Steps {
		switch s := &a.Steps[i]; {
		case s.Outcome == NoEffect || s.Index < max(in.bannedFrom, 1) || in.user(s.Index) != in.banned:
		case s.Outcome == Refused:
			n++
		case n > 0:
			return false
		}
	}
	return n >= minBanned
}
