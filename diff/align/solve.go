package align

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// maxLost bounds how many consecutive revision numbers without rows are taken for lost rows. More are a jump, as
// etcdutl snapshot restore --bump-revision makes it.
const maxLost = 1000

// grid is one alignment problem. Node (i, g) means that the first i entries and the first g groups are done.
type grid struct {
	in      *Input
	p       *predictor
	entries []Entry
	groups  []group
	base    int64 // main revision before the first group

	groupSigs []signature

	makers                 map[node]bool
	requests               map[int]*raftlog.Request // some that are asked for with many groups
	predictedI, predictedG int                      // of predicted, which is asked for several times in a row
	predicted              []Change
	decodedI               int // of decoded, likewise
	decoded                *raftlog.Request
}

// Align computes the alignment of one member. Where rows were changed or lost, what they made of later predictions is
// an echo: the server went on from what it had in memory. So predictions are made again from rows as they must have been.
func Align(in Input) *Alignment {
	if len(in.Held) > 0 {
		in.Index = in.Index.Replace(in.Held)
	}
	a, index := align(in), in.Index
	var tried []reading
	for range maxRepairs {
		better := false
		own := []map[int64][]mvcc.Row{repairs(a, false), repairs(a, true), refills(a), in.replaced(a)}
		for n, rows := range append(own, in.Witnesses...) {
			if len(rows) == 0 || a.Cost == 0 {
				continue
			}
			k := slices.IndexFunc(tried, func(t reading) bool { return maps.EqualFunc(t.in.repaired, rows, equalRows) })
			if k < 0 {
				again := in
				others := maps.Clone(rows) // those that are not held
				maps.DeleteFunc(others, func(main int64, _ []mvcc.Row) bool { _, ok := in.Held[main]; return ok })
				again.Index, again.repaired = index.Replace(others), rows
				k, tried = len(tried), append(tried, reading{again, align(again)})
			}
			// Of two readings that are as good as each other, the one in which an entry made what it made elsewhere is taken.
			if b := tried[k].a; b.Cost < a.Cost || b.Cost == a.Cost && n >= len(own) && in.repaired == nil {
				in, a, better = tried[k].in, b, true
				break
			}
		}
		if !better {
			break
		}
	}
	a.Index = in.Index
	if b := in.ban(a); b != a {
		return b
	}
	in.gather(a.Steps)
	return a
}

// reading is an alignment on rows as they must have been.
type reading struct {
	in Input
	a  *Alignment
}

func equalRows(a, b []mvcc.Row) bool {
	return slices.EqualFunc(a, b, func(r, o mvcc.Row) bool {
		return r.Rev == o.Rev && r.Tombstone == o.Tombstone && bytes.Equal(r.Value, o.Value)
	})
}

// ban tries to read what is odd as all requests of one user having been refused from some entry on: that is one oddity,
// however many entries it befell, where each refusal by itself costs more than a few revisions from nowhere.
func (in *Input) ban(a *Alignment) *Alignment {
	if n := a.lostTail(); n >= minBanned {
		a.Cost = min(a.Cost, costBan+costBanned*n)
		return a
	}
	best := a
	for _, user := range in.refusedUsers(a) {
		again := *in
		again.banned = user
		if again.bannedThroughout(a) && !again.oddBesides(a) {
			a.Cost = min(a.Cost, costBan+costBanned*again.refusals(a))
			continue
		}
		for _, from := range append(again.firstRefused(a), again.firstRefused(align(again))...) {
			again.bannedFrom = from
			b := align(again)
			if b.Cost += costBan; b.Cost < best.Cost && again.bannedThroughout(b) {
				b.Index, best = in.Index, b
			}
		}
	}
	return best
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

// maxBans is how many entries from which on a user may have been refused are tried.
const maxBans = 4

// firstRefused are the first of the banned user's entries in a row that were refused, the last ones of these if many are.
func (in *Input) firstRefused(a *Alignment) (all []uint64) {
	inRow := false
	for i := range a.Steps {
		s := &a.Steps[i]
		if s.Outcome == NoEffect || s.Index == 0 || in.user(s.Index) != in.banned {
			continue
		}
		if s.Outcome == Refused && !inRow {
			all = append(all, s.Index)
		}
		inRow = s.Outcome == Refused
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
	return g.in.bannedFrom > 0 && g.mayBan(i)
}

// mayBan tells whether an entry is one that the ban refuses.
func (g *grid) mayBan(i int) bool {
	return g.in.banned != "" && g.entries[i].Index >= g.in.bannedFrom && g.request(i).User == g.in.banned
}

// minBanned is how many refusals make a ban.
const minBanned = 3

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

// bannedThroughout tells whether the banned user changed nothing from the first refusal on.
func (in *Input) bannedThroughout(a *Alignment) bool {
	n := 0
	for i := range a.Steps {
		switch s := &a.Steps[i]; {
		case s.Outcome == NoEffect || s.Index == 0 || in.user(s.Index) != in.banned:
		case s.Outcome == Refused:
			n++
		case n > 0:
			return false
		}
	}
	return n >= minBanned
}

// maxRepairs bounds how often an alignment is made anew: each time uncovers what the damage before hid.
const maxRepairs = 3

// repairs are the rows that changed or lost ones should be: all of them, or the first one of each key, which may have made
// those behind it look wrong.
func repairs(a *Alignment, firsts bool) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	wrong := map[string]bool{} // keys of which a row was wrong already
	for i := range a.Steps {
		s := &a.Steps[i]
		if s.Revision == 0 || s.Outcome != Altered && s.Outcome != Lost && s.Outcome != Partial {
			continue
		}
		// Versions that are wrong behind another wrong row of their key count on from what that one was.
		if (firsts || s.HistoryOnly) && slices.ContainsFunc(s.Predicted, func(c Change) bool { return wrong[c.Key] }) {
			continue
		}
		for _, c := range s.Predicted {
			wrong[c.Key] = true
		}
		s.fill(groups, s.Revision)
	}
	return groups
}

// refills are the rows that lost ones should be if an entry before, which seems to have had no effect, made them: what
// it wrote may have kept the later one from writing anything.
func refills(a *Alignment) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	var refused *Step
	for i := range a.Steps {
		s := &a.Steps[i]
		switch {
		case s.Outcome == Refused:
			if refused == nil {
				refused = s
			}
		case s.Outcome == Lost && refused != nil:
			refused.fill(groups, s.Revision)
		}
		if s.Revision > 0 {
			refused = nil
		}
	}
	return groups
}

// replaced are the rows that those without an entry should be if they are what became of the next entry's: what came
// behind may have written its content once more.
func (in *Input) replaced(a *Alignment) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	for i := range a.Steps[:max(len(a.Steps)-1, 0)] {
		s, next := &a.Steps[i], &a.Steps[i+1]
		if s.Outcome != Extra || next.Outcome != Applied || next.Again {
			continue
		}
		k, ok := in.Log.find(next.Index)
		if !ok {
			continue
		}
		p := Step{Predicted: in.Predict(&in.Log.entries[k], s.Revision-1)}
		if rows := in.Table.Group(s.Revision); len(p.Predicted) == len(rows) && p.Predicted[0].Key == string(rows[0].Key()) {
			p.fill(groups, s.Revision)
		}
	}
	return groups
}

// fill adds what was predicted as the rows of a revision.
func (s *Step) fill(groups map[int64][]mvcc.Row, revision int64) {
	groups[revision] = append(groups[revision], s.Rows(revision)...)
}

// Rows are what was predicted as the rows of a revision.
func (s *Step) Rows(revision int64) (rows []mvcc.Row) {
	for sub, c := range s.Predicted {
		kv := mvcc.KeyValue{Key: []byte(c.Key)}
		if !c.Delete {
			kv = mvcc.KeyValue{Key: kv.Key, Value: c.Value, Create: c.Create, Mod: revision, Version: c.Version, Lease: c.Lease}
		}
		rows = append(rows, mvcc.Row{
			Rev: mvcc.Revision{Main: revision, Sub: int64(sub)}, Tombstone: c.Delete, Value: kv.Encode(),
		})
	}
	return rows
}

// Made tells what an entry did that is known to have made a revision, on the state in which Held is what was there, and what
// that costs. ok is false if the rows are not of its making.
func (in Input) Made(index uint64, revision int64) (s Step, cost int, ok bool) {
	i, found := in.Log.find(index)
	if !found {
		return s, 0, false
	}
	r := in.Log.entries[i].Request()
	p := &predictor{ix: in.Index.Replace(in.Held)}
	want := p.predict(r, revision-1)
	g := group{main: revision, rows: in.Table.Group(revision), unread: in.Table.Unknown(revision)}
	cost, out, detail := p.match(r, want, &g, revision-1)
	if out == Altered && cost >= 0 {
		cost += in.Log.foreign(newHasher().ofGroup(&g), i, detail, Flipped(want, g.rows))
	}
	s = Step{Index: index, Revision: revision, Outcome: out, Detail: detail, HistoryOnly: out == Altered && historyOnly(detail)}
	if out != Applied {
		s.Predicted = want
	}
	return s, cost, cost >= 0
}

func align(in Input) *Alignment {
	g := newGrid(&in)
	pins := g.pins()
	a := &Alignment{Through: in.ConsistentIndex}

	// Segments between pins, last first: each is searched backwards from its known end.
	end := g.ends()
	var steps []Step // in reverse
	for k := len(pins); k >= 0; k-- {
		from := node{-1, -1}
		if k > 0 {
			from = node{pins[k-1].i + 1, pins[k-1].g + 1}
		} else if in.From != nil {
			from = g.start()
		}
		path, at, cost := g.search(end, from)
		if k == len(pins) {
			a.Through = g.indexBefore(at.end.i, in.ConsistentIndex)
		}
		a.Cost += cost
		steps = append(steps, path...)
		if k == 0 {
			a.Revision = g.mainBefore(at.start.g)
			if at.start.i < len(g.entries) {
				a.First = g.entries[at.start.i].Index
			}
			if in.From != nil {
				a.First = in.From.Index + 1
			}
			break
		}
		// The pinned pair itself.
		pin := pins[k-1]
		c, out, detail := g.match(pin.i, pin.g)
		if c < 0 {
			// It wrote just this, although the state before it demands that it wrote nothing.
			c, out, detail = costAltered, Altered, "no effect was expected"
		}
		a.Cost += c
		s := g.step(pin.i, pin.g, out, detail)
		if out != Applied {
			s.Predicted = g.predict(pin.i, pin.g)
		}
		steps = append(steps, s)
		end = []source{{node(pin), 0}}
	}
	slices.Reverse(steps)
	g.adopt(steps)
	steps = g.repeat(steps)
	g.rejudge(steps)
	steps, cost := g.lift(g.forbid(steps))
	a.Cost = max(a.Cost+cost, 0)
	markRepeats(steps, g.done())
	a.Steps = steps
	return a
}

// adopt gives revisions without an entry to a neighbour that writes just that: it was applied twice. The search finds
// this by itself only for content that does not depend on the state.
func (g *grid) adopt(steps []Step) {
	high := g.done() // the last entry applied so far
	for k := range steps {
		s := &steps[k]
		if s.Outcome != Extra {
			high = max(high, s.Index)
			continue
		}
		rows := g.in.Table.Group(s.Revision)
		makes := func(n int) bool {
			i, ok := slices.BinarySearchFunc(g.entries, steps[n].Index, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
			return ok && Same(g.p.predict(g.request(i), s.Revision-1), rows)
		}
		for n := k - 1; n >= 0 && n >= k-maxApart; n-- {
			if steps[n].Outcome == Applied && steps[n].Index > 0 {
				if makes(n) {
					s.Index, s.Outcome = steps[n].Index, Applied
				}
				break
			}
		}
		for n := k + 1; s.Outcome == Extra && n < len(steps) && n <= k+maxApart; n++ {
			if steps[n].Outcome == Applied && steps[n].Index > 0 {
				if makes(n) {
					s.Index, s.Outcome = steps[n].Index, Applied
				}
				break
			}
		}
		if s.Outcome == Extra {
			g.begin(steps[k:], high)
		}
	}
}

// repeat gives revisions without an entry to earlier entries that were applied again, others among them without effect because
// of what has been turned on or off since: the search asks what they met the first time.
func (g *grid) repeat(steps []Step) []Step {
	for k := 0; k < len(steps); k++ {
		if steps[k].Outcome != Extra {
			continue
		}
		end := k + 1
		for end < len(steps) && steps[end].Outcome == Extra {
			end++
		}
		if out := g.repeated(steps, k, end); out != nil {
			steps = out
		}
	}
	return steps
}

// repeated is repeat for the steps from k to below end. It returns nil if there are no such entries.
func (g *grid) repeated(steps []Step, k, end int) []Step {
	before, after := steps[k].Revision-1, steps[end-1].Revision
	entries := slices.Concat(g.shared(), steps[:k])
	own, rows := len(entries), g.in.Table.Group(before+1)
	for n := end; n < len(steps) && n-end <= maxApart && steps[n].Revision == 0 && steps[n].Index > 0; n++ {
		entries = append(entries, steps[n])
	}
	for u := own - 1; u >= max(own-maxApart, 0); u-- {
		if want, _ := g.in.demands(entries[u].Index, entries[u].Index, before); entries[u].Again || !Same(want, rows) {
			continue
		}
		for v := own - 1; v < len(entries); v++ {
			more := g.in.again(entries[u:v+1], before)
			if len(more) == 0 || more[len(more)-1].Revision != after || !g.in.idle(entries[own:v+1], before) {
				continue
			}
			out := append(slices.Clone(steps[:k]), steps[end:end+v+1-own]...)
			return append(append(out, more...), steps[end+v+1-own:]...)
		}
	}
	return nil
}

// begin gives a revision without an entry, the first of some steps, to the entry before that which writes just this: a
// replay began there, if all in between have no effect once those up to high, or some more that have none, were applied.
func (g *grid) begin(steps []Step, high uint64) {
	s := steps[0]
	from := high + 1 // if it is all that was done again
	if len(steps) > 1 {
		from = min(from, steps[1].Index)
	}
	for n := 0; ; n++ {
		if index := g.begun(s.Revision, from, high); index > 0 {
			copy(steps, steps[1:n+1])
			steps[n] = Step{Index: index, Revision: s.Revision}
			return
		}
		// What comes behind may have come before, if it has no effect either way.
		if n+1 == len(steps) || n == maxApart || steps[n+1].Outcome != NoEffect || steps[n+1].Index <= high {
			return
		}
		high = steps[n+1].Index
		if want, judged := g.in.demands(high, high, s.Revision-1); len(want) > 0 && judged != Denied {
			return
		}
		from = high + 1
		if n+2 < len(steps) {
			from = min(from, steps[n+2].Index)
		}
	}
}

// begun is the last entry before one that writes just what a revision holds, if all in between have no effect once those
// up to high were applied, 0 if there is none.
func (g *grid) begun(revision int64, from, high uint64) uint64 {
	i, _ := slices.BinarySearchFunc(g.entries, from, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	for n := i - 1; n >= max(i-maxApart, 0); n-- {
		if Same(g.p.predict(g.request(n), revision-1), g.in.Table.Group(revision)) {
			return g.entries[n].Index
		}
		if want, judged := g.in.demands(g.entries[n].Index, high+1, revision); len(want) > 0 && judged != Denied {
			return 0
		}
	}
	return 0
}

// done is the last entry before the alignment begins.
func (g *grid) done() uint64 {
	if g.in.From == nil {
		return 0
	}
	return g.in.From.Index
}

// rejudge takes back that something was not permitted to what was applied again: permissions and alarms are then as those
// entries left them that were applied meanwhile.
func (g *grid) rejudge(steps []Step) {
	high := g.done()
	for k := range steps {
		s := &steps[k]
		if s.Outcome == Permitted && s.Index <= high {
			if _, judged := g.in.demands(s.Index, high+1, s.Revision-1); judged != Denied {
				s.Outcome, s.Predicted = Applied, nil
			}
		}
		high = max(high, s.Index)
	}
}

// forbid gives the one revision that permissions or an alarm refuse to a neighbour that writes just that: it was applied
// twice. They hold for all entries that they refuse, so that one of them alone does not get through.
func (g *grid) forbid(steps []Step) []Step {
	permitted := func(s Step) bool { return s.Outcome == Permitted }
	k := slices.IndexFunc(steps, permitted)
	if k < 0 || slices.ContainsFunc(steps[k+1:], permitted) {
		return steps
	}
	s := steps[k]
	writes := func(index uint64) bool {
		i, ok := slices.BinarySearchFunc(g.entries, index, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
		return ok && Same(g.p.predict(g.request(i), s.Revision-1), g.in.Table.Group(s.Revision))
	}
	again := func(at int, index uint64) []Step {
		steps[k] = Step{Index: s.Index, Outcome: NoEffect}
		return slices.Insert(steps, at, Step{Index: index, Revision: s.Revision})
	}
	made := func(s Step) bool { return s.Revision > 0 }
	switch n := lastIndexFunc(steps[:k], made); {
	case n >= 0 && steps[n].Outcome == Applied && writes(steps[n].Index):
		return again(n+1, steps[n].Index)
	case n < 0 && g.in.From != nil && writes(g.in.From.Index):
		return again(0, g.in.From.Index)
	}
	if n := k + 1 + slices.IndexFunc(steps[k+1:], made); n > k && steps[n].Outcome == Applied && writes(steps[n].Index) {
		return again(n, steps[n].Index)
	}
	return g.rerun(steps, k)
}

// rerun gives a revision that permissions or an alarm refuse, and those behind it, to entries before that were applied again,
// if they made just these and what comes behind had no effect then.
func (g *grid) rerun(steps []Step, k int) []Step {
	before := steps[k].Revision - 1
	entries := slices.Concat(g.shared(), steps) // that may have been applied again
	own := len(entries) - len(steps)
	for v := own + k - 1; v >= max(own-1, 0) && own+k-v <= maxApart; v-- {
		for u := v; u >= 0 && v-u <= maxApart; u-- {
			more := g.in.again(entries[u:v+1], before)
			if len(more) == 0 {
				continue
			}
			at := more[len(more)-1].Revision
			end := slices.IndexFunc(steps, func(s Step) bool { return s.Revision == at })
			if end < k || !g.in.idle(entries[v+1:own+end+1], at) {
				continue
			}
			out := append(slices.Clone(steps[:v+1-own]), more...)
			for _, s := range entries[v+1 : own+end+1] {
				out = append(out, Step{Index: s.Index, Outcome: NoEffect})
			}
			return append(out, steps[end+1:]...)
		}
		if v >= own && entries[v].Revision > 0 {
			break
		}
	}
	return steps
}

// shared are the last entries before the alignment begins.
func (g *grid) shared() (all []Step) {
	if g.in.From == nil {
		return nil
	}
	i := g.start().i
	for _, e := range g.entries[max(i-maxApart, 0):i] {
		all = append(all, Step{Index: e.Index})
	}
	return all
}

// idle tells whether none of some entries has an effect on the state after main revision at.
func (in *Input) idle(steps []Step, at int64) bool {
	return !slices.ContainsFunc(steps, func(s Step) bool {
		want, judged := in.demands(s.Index, s.Index, at)
		return s.Index == 0 || s.Again || len(want) > 0 && judged != Denied
	})
}

// lift gives revisions that permissions or an alarm refuse, although they did refuse other entries among those, to the same
// entries applied again behind what lifted that, if it costs less. It returns how much more that costs.
func (g *grid) lift(steps []Step) ([]Step, int) {
	p := slices.IndexFunc(steps, func(s Step) bool { return s.Outcome == Permitted })
	q := lastIndexFunc(steps, func(s Step) bool { return s.Outcome == Permitted })
	if p < 0 || q-p > 4*maxApart {
		return steps, 0
	}
	permitted := 0
	for _, s := range steps[p : q+1] {
		switch {
		case s.Revision == 0:
		case s.Outcome != Permitted:
			return steps, 0
		default:
			permitted++
		}
	}
	if permitted*costPermit <= costReplay {
		return steps, 0
	}
	before := steps[p].Revision - 1
	for v := q; v < len(steps) && (v == q || steps[v].Revision == 0) && v-q <= maxApart; v++ {
		if want, judged := g.in.demands(steps[v].Index, steps[v].Index, before); len(want) > 0 && judged != Denied {
			break
		}
		if !g.in.lifted(steps, p, q, steps[v].Index+1) {
			continue
		}
		for u := q; u >= max(p-maxApart, 0) && (u >= p || steps[u].Revision == 0); u-- {
			if again := g.in.again(steps[u:v+1], before); len(again) > 0 && again[len(again)-1].Revision == steps[q].Revision {
				out := slices.Clone(steps[:p])
				for _, s := range steps[p : v+1] {
					out = append(out, Step{Index: s.Index, Outcome: NoEffect})
				}
				return append(append(out, again...), steps[v+1:]...), costReplay - permitted*costPermit
			}
		}
	}
	return steps, 0
}

// lifted tells whether an entry without effect between steps p and q, or just before them, was refused in its time and is not
// at a later one.
func (in *Input) lifted(steps []Step, p, q int, later uint64) bool {
	at := steps[q].Revision
	for n := q; n >= 0 && (n >= p || steps[n].Revision == 0) && q-n <= 4*maxApart; n-- {
		s := &steps[n]
		if s.Revision > 0 {
			at = s.Revision - 1
			continue
		}
		if want, judged := in.demands(s.Index, s.Index, at); len(want) > 0 && judged == Denied {
			if _, judged = in.demands(s.Index, later, at); judged != Denied {
				return true
			}
		}
	}
	return false
}

// again is what some entries make if they are applied once more behind the last of them, on the state after a main
// revision, up to the last one that makes another. It is empty if that is not what the rows hold.
func (in *Input) again(entries []Step, at int64) (steps []Step) {
	made := 0
	for i := range entries {
		s := Step{Index: entries[i].Index, Outcome: NoEffect}
		want, judged := in.demands(s.Index, entries[len(entries)-1].Index+1, at)
		switch {
		case len(want) == 0 || judged == Denied:
		case Same(want, in.Table.Group(at+1)):
			at++
			s.Revision, s.Outcome = at, Applied
		default:
			return nil
		}
		if steps = append(steps, s); s.Revision > 0 {
			made = len(steps)
		}
	}
	return steps[:made]
}

func lastIndexFunc(steps []Step, ok func(Step) bool) int {
	for n, s := range slices.Backward(steps) {
		if ok(s) {
			return n
		}
	}
	return -1
}

// gather brings refusals together between which others write the same: which of them had no effect is not to be told, and
// it was rather some in a row than one here and one there.
func (in *Input) gather(steps []Step) {
	last := -1
	for n := range steps {
		switch s := &steps[n]; {
		case s.Outcome == Refused && !s.Doubtful:
			if last >= 0 && !in.shift(steps[last:n+1], +1) {
				in.shift(steps[last:n+1], -1)
			}
			last = n
		case s.Outcome != NoEffect && s.Outcome != Applied, s.Index == 0, s.Again:
			last = -1
		}
	}
}

// shift moves the refusal at one end of some steps next to that at the other, if the entries in between can stand in for
// each other, and tells whether it did: the first one forwards, or the last one backwards.
func (in *Input) shift(steps []Step, dir int) bool {
	from, to := 0, len(steps)-1
	if dir < 0 {
		from, to = to, from
	}
	moved := slices.Clone(steps)
	at := from
	for n := from + dir; n != to; n += dir {
		s, o := &moved[at], &moved[n]
		if o.Revision == 0 {
			continue
		}
		// Behind the revision, or before it, is where the others are then.
		then := o.Revision
		if dir < 0 {
			then--
		}
		if want, judged := in.demands(s.Index, s.Index, o.Revision-1); judged != Allowed || !Same(want, in.Table.Group(o.Revision)) {
			return false
		}
		for b := at + dir; b != n; b += dir {
			if want, judged := in.demands(moved[b].Index, moved[b].Index, then); len(want) > 0 && judged != Denied {
				return false
			}
		}
		want, judged := in.demands(o.Index, o.Index, then)
		if len(want) == 0 || judged != Allowed {
			return false
		}
		moved[at] = Step{Index: s.Index, Revision: o.Revision}
		moved[n] = Step{Index: o.Index, Outcome: Refused, Predicted: want}
		at = n
	}
	copy(steps, moved)
	return true
}

// demands is what etcd's rules want of an entry on the state after main revision at, and how that is judged at the time of
// an entry.
func (in *Input) demands(index, time uint64, at int64) ([]Change, Judgement) {
	k, ok := in.Log.find(index)
	if !ok {
		return nil, Denied
	}
	e := &in.Log.entries[k]
	want := in.Predict(e, at)
	if in.Judge == nil || len(want) == 0 {
		return want, Allowed
	}
	return want, in.Judge(time, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, at) })
}

// Demands is what etcd's rules want of an entry on the state after main revision at, and how that is judged.
func (in *Input) Demands(index uint64, at int64) ([]Change, Judgement) {
	return in.demands(index, index, at)
}

// maxApart is how many entries without effect may lie between the two applications.
const maxApart = 64

func newGrid(in *Input) *grid {
	g := &grid{in: in, p: &predictor{ix: in.Index}, entries: in.Log.upTo(in.ConsistentIndex), predictedI: -1, decodedI: -1}
	g.base = max(in.Compact, 1)
	if in.From != nil {
		g.base = max(g.base, in.From.Revision)
	}
	t := in.Table
	g.base = max(g.base, g.reach())
	next := g.base + 1
	rows := t.Rows(t.Lower(g.base+1), t.Len())
	for len(rows) > 0 {
		n, main := 1, rows[0].Rev.Main
		for n < len(rows) && rows[n].Rev.Main == main {
			n++
		}
		switch lost := main - next; {
		case lost > 0 && (t.Unknown(next) || t.Unknown(main-1)):
			g.groups = append(g.groups, group{main: main - 1, hole: true})
		case lost > 0 && lost <= maxLost:
			for ; next < main; next++ {
				g.groups = append(g.groups, group{main: next})
			}
		}
		g.groups = append(g.groups, group{main: main, unread: t.Unknown(main), rows: rows[:n:n]})
		rows, next = rows[n:], main+1
	}
	if t.Unknown(math.MaxInt64) {
		g.groups = append(g.groups, group{main: max(next-1, g.base), hole: true})
	}
	h := newHasher()
	g.groupSigs = make([]signature, len(g.groups))
	for i := range g.groups {
		g.groupSigs[i] = h.ofGroup(&g.groups[i])
	}
	return g
}

// reach is a main revision that no entry that is left can have made, though each were applied twice: rows up to there
// need not be looked at. 0 is none.
func (g *grid) reach() int64 {
	t, left := g.in.Table, 2*len(g.entries)+1024
	for i := range g.entries {
		if g.entries[i].many {
			return 0
		}
	}
	for from := t.Len() - left; from > 0; {
		n, main := 0, int64(-1)
		for c := t.Cursor(from, t.Len()); c.Next(); {
			if c.Row.Rev.Main != main {
				n, main = n+1, c.Row.Rev.Main
			}
		}
		if n >= left {
			return t.Row(from).Rev.Main - 1
		}
		from -= max(left-n, t.Len()-from)
	}
	return 0
}

// mainBefore is the main revision of the state after the first n groups.
func (g *grid) mainBefore(n int) int64 {
	if n == 0 {
		return g.base
	}
	return g.groups[n-1].main
}

func (g *grid) indexBefore(i int, none uint64) uint64 {
	if i == 0 {
		return none
	}
	return g.entries[i-1].Index
}

// predict returns what entry i would do after the first n groups.
func (g *grid) predict(i, n int) []Change {
	if g.predictedI != i || g.predictedG != n {
		g.predicted = g.p.predict(g.request(i), g.mainBefore(n))
		g.predictedI, g.predictedG = i, n
	}
	return g.predicted
}

// request decodes entry i, which is asked for several times in a row.
func (g *grid) request(i int) *raftlog.Request {
	if g.decodedI != i {
		g.decoded, g.decodedI = g.entries[i].Request(), i
	}
	return g.decoded
}

// match asks whether entry i made group n.
func (g *grid) match(i, n int) (int, Outcome, string) {
	c, out, detail := g.p.match(g.request(i), g.predict(i, n), &g.groups[n], g.mainBefore(n))
	if rows, ok := g.in.repaired[g.groups[n].main]; ok && out != OtherBranch && out != Unread && !Same(g.predict(i, n), rows) {
		return -1, out, detail // the state is known to be what another entry made
	}
	if out == Altered && c >= 0 {
		c += g.in.Log.foreign(g.groupSigs[n], i, detail, Flipped(g.predict(i, n), g.groups[n].rows))
	}
	if c >= 0 && g.bans(i) {
		c += costPermit
	}
	if c < 0 || out == Unread {
		return c, out, detail
	}
	switch g.judgeOf(i, n, out) {
	case Denied:
		if out == Applied {
			out = Permitted
		}
		return c + costPermit, out, detail
	case Doubtful:
		if g.in.From != nil && g.in.Doubted[g.entries[i].Index] {
			c += costLetPass
		}
	}
	return c, out, detail
}

// judgeOf asks whether entry i is refused which made group n with an outcome: of a transaction that took the other branch,
// what that needs counts.
func (g *grid) judgeOf(i, n int, out Outcome) Judgement {
	if out == OtherBranch {
		for _, other := range g.p.branches(g.request(i), g.mainBefore(n)) {
			if Same(other, g.groups[n].rows) {
				return g.judged(i, n, other)
			}
		}
	}
	return g.judge(i, n)
}

// judge asks whether entry i is refused after the first n groups.
func (g *grid) judge(i, n int) Judgement { return g.judged(i, n, g.predict(i, n)) }

func (g *grid) judged(i, n int, want []Change) Judgement {
	if g.in.Judge == nil {
		return Allowed
	}
	return g.in.Judge(g.entries[i].Index, g.request(i), want, func(lease int64) []string {
		return g.in.Index.Attached(lease, g.mainBefore(n))
	})
}

// step describes what entry i, or none if negative, did to group n, or to none.
func (g *grid) step(i, n int, out Outcome, detail string) Step {
	s := Step{Outcome: out, Detail: detail, HistoryOnly: out == Altered && historyOnly(detail)}
	if n >= 0 {
		s.Revision = g.groups[n].main
	}
	if i >= 0 {
		s.Index = g.entries[i].Index
	}
	return s
}

// pin is an entry and a group whose content occurs nowhere else.
type pin struct{ i, g int }

// pins returns the longest chain of unique pairs that ascends on both sides.
func (g *grid) pins() []pin {
	count := make(map[signature]int, len(g.groupSigs))
	for _, s := range g.groupSigs {
		count[s]++
	}
	lo := 0
	if g.in.From != nil {
		lo = g.start().i
	}
	var all []pin
	for n, s := range g.groupSigs {
		if at := g.in.Log.byContent[s]; s != 0 && count[s] == 1 && len(at) == 1 && int(at[0]) >= lo &&
			g.entries[at[0]].Index <= g.in.ConsistentIndex && g.certain(n) && g.room(int(at[0]), n) {
			all = append(all, pin{int(at[0]), n})
		}
	}
	all = ascending(all)
	if !g.in.Whole && g.in.From == nil {
		// Where the log begins, what looks like an entry's may be that of a purged one just before. The search tells.
		all = all[min(unpinned, len(all)):]
	}
	return all
}

// unpinned is how many pairs next to the beginning of a log that is not whole are left to the search.
const unpinned = 8

// room tells whether the entries behind one are enough to have made the groups behind another. Where the log does not go
// back to the first revision, what it holds once may have been written by purged entries before.
func (g *grid) room(i, n int) bool {
	return g.in.Whole || g.in.From != nil || len(g.groups)-n <= len(g.entries)-i
}

// certain tells whether what a group holds names its entry: puts of keys that are always written with a fixed content.
// What was deleted may have been by a range, or with a lease.
func (g *grid) certain(n int) bool {
	for i := range g.groups[n].rows {
		r := &g.groups[n].rows[i]
		if _, ok := g.in.Log.unsure[string(r.Key())]; ok || r.Tombstone {
			return false
		}
	}
	return true
}

// ascending is the longest subsequence of pins (ascending in g) that ascends in i, too.
func ascending(all []pin) []pin {
	var tails []int // indexes into all
	prev := make([]int, len(all))
	for k := range all {
		at, _ := slices.BinarySearchFunc(tails, all[k].i, func(t, i int) int { return all[t].i - i })
		prev[k] = -1
		if at > 0 {
			prev[k] = tails[at-1]
		}
		if at == len(tails) {
			tails = append(tails, k)
		} else {
			tails[at] = k
		}
	}
	var chain []pin
	if len(tails) > 0 {
		for k := tails[len(tails)-1]; k >= 0; k = prev[k] {
			chain = append(chain, all[k])
		}
	}
	slices.Reverse(chain)
	return chain
}

type node struct{ i, g int }

type source struct {
	at   node
	cost int
}

// start is the node of From.
func (g *grid) start() node {
	i, _ := slices.BinarySearchFunc(g.entries, g.in.From.Index+1, func(e Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	return node{i, 0}
}

// ends are the nodes at which the search may begin: the consistent index with the last revision, or, at a price, an
// entry behind it whose effects are there already.
func (g *grid) ends() []source {
	at := len(g.entries)
	for at > 0 && g.entries[at-1].Index > g.in.ConsistentIndex {
		at--
	}
	all := []source{{node{at, len(g.groups)}, 0}}
	for i := at + 1; i <= len(g.entries); i++ {
		cost := costAnchor
		if x := g.in.Torn; x > 0 && g.entries[i-1].Index >= x {
			cost = costTorn
		}
		all = append(all, source{node{i, len(g.groups)}, cost})
	}
	return all
}

// kind is the kind of an edge of the grid.
type kind uint8

const (
	begin   kind = iota // not an edge: the search began here
	made                // the entry made the group
	nothing             // the entry made no group
	idle                // likewise, though it may as well have made one
	orphan              // the group has no entry
	replay              // neither: the log was applied again from here
	hidden              // what the entry made lies in a hole
	passed              // all revisions of a hole are done
	foreign             // one of many missing entries made the group
	unknown             // an entry that no log holds made the group
	probe               // not an edge yet: which entries a replay may have followed is worked out when it comes to that
)

// move is an edge, walked backwards.
type move struct {
	to, from node
	kind     kind
	idle     uint8 // how many entries had no effect on the way that may as well have made a revision, at most maxIdle
}

// span is where a path begins and ends in the grid.
type span struct{ start, end node }

// search finds the cheapest path from one of the sources backwards to the node to, or, if to is (-1,-1), to the
// beginning of what is known: the first group above the compact revision, or the first entry of the log. The steps come
// last step first.
func (g *grid) search(from []source, to node) ([]Step, span, int) {
	var q queue
	for _, s := range from {
		q.push(s.cost, move{to: s.at})
	}
	seen := make(map[node]move)
	for {
		cost, m, ok := q.pop()
		if !ok {
			// The sources lie before the node asked for: there is nothing between them.
			return nil, span{start: from[0].at, end: from[0].at}, 0
		}
		if m.kind == probe {
			g.repeats(m.to, func(next node) {
				if _, done := seen[next]; !done {
					q.push(cost, move{to: next, from: m.to, kind: replay, idle: m.idle})
				}
			})
			continue
		}
		if _, done := seen[m.to]; done {
			continue
		}
		seen[m.to] = m
		if g.arrived(m.to, to) {
			steps, end := g.walk(seen, m.to)
			return steps, span{start: m.to, end: end}, cost
		}
		if to.g == m.to.g && to.i > m.to.i {
			// Behind the place asked for with nothing left to explain: the log was replayed from here.
			q.push(cost+costReplay, move{to: to, from: m.to, kind: replay, idle: m.idle})
		}
		g.expand(m.to, max(to.g, 0), func(extra int, next node, k kind) {
			if _, done := seen[next]; !done || k == probe {
				v := move{to: next, from: m.to, kind: k, idle: m.idle}
				if k == idle {
					v.idle = min(v.idle+1, maxIdle)
				}
				q.push(cost+extra, v)
			}
		})
	}
}

// walk turns the path that was found from its start to its source into steps.
func (g *grid) walk(seen map[node]move, at node) ([]Step, node) {
	var steps []Step
	for {
		m := seen[at]
		switch m.kind {
		case begin:
			slices.Reverse(steps)
			return steps, at
		case made:
			_, out, detail := g.match(at.i, at.g)
			s := g.step(at.i, at.g, out, detail)
			if out != Applied {
				s.Predicted = g.predict(at.i, at.g)
			}
			steps = append(steps, s)
		case nothing, idle:
			s := g.step(at.i, -1, NoEffect, "")
			if want := g.predict(at.i, at.g); len(want) > 0 {
				if j := g.judge(at.i, at.g); j != Denied {
					s.Outcome, s.Predicted, s.Doubtful = Refused, want, j == Doubtful
				}
			}
			steps = append(steps, s)
		case hidden:
			steps = append(steps, g.step(at.i, -1, Unread, ""))
		case unknown:
			steps = append(steps, g.step(at.i, at.g, Unread, ""))
		case foreign:
			steps = append(steps, g.step(-1, at.g, Unread, ""))
		case orphan:
			steps = append(steps, g.step(-1, at.g, Extra, ""))
		}
		at = m.from
	}
}

func (g *grid) arrived(at, to node) bool {
	switch {
	case to.i >= 0:
		return at == to
	case at.i == 0:
		return at.g == 0 || !g.in.Whole
	case at.g == 0:
		// What was compacted away leaves the entries before it without a trace. Nothing was before revision 2.
		return (g.in.Compact > 1 || !g.in.Whole) && g.existed(at.i) && g.showsLast(at.i)
	}
	return false
}

// existed tells whether the compact revision can have been the last one when i entries were done: before the entry that
// asked for the compaction, because etcd refuses one at a revision that is still to come.
func (g *grid) existed(i int) bool {
	x, ok := g.in.Log.compactions[g.in.Compact]
	return !ok || g.in.Compact == 0 || i == 0 || g.entries[i-1].Index < x
}

// showsLast tells whether the state before the first group can be what the first i entries left: the last of them that
// could write shows in it, and one that made its last revision, if that is left, comes behind all that must have made one.
func (g *grid) showsLast(i int) bool {
	var last []mvcc.Row
	if at := g.mainBefore(0); at == g.in.Compact && !g.in.Table.Unknown(at) {
		last = g.in.Table.Group(at)
	}
	if slices.ContainsFunc(last, func(r mvcc.Row) bool { return r.Tombstone }) {
		last = nil // which entry deleted something does not show
	}
	for ; i > 0; i-- {
		in := g.request(i - 1).Internal
		switch {
		case g.entries[i-1].Raw == nil || in.GetTxn() != nil:
			return true
		case in.GetPut() != nil || in.GetDeleteRange() != nil || in.GetLeaseRevoke() != nil:
			want, judged := g.predict(i-1, 0), g.judge(i-1, 0)
			switch {
			case judged != Allowed:
				return true
			case slices.ContainsFunc(want, g.missing):
				return false
			case len(last) == 0 || len(want) == 1 && len(last) == 1 && want[0].Key == string(last[0].Key()):
				return true
			case in.GetPut() != nil && !in.Put.IgnoreValue && !in.Put.IgnoreLease:
				return false // what it wrote came before
			}
		}
	}
	return true
}

// missing tells whether a change does not show in the state before the first group.
func (g *grid) missing(c Change) bool {
	kv, _, live := g.in.Index.At(c.Key, g.mainBefore(0))
	return live == c.Delete || live && (!bytes.Equal(kv.Value, c.Value) || kv.Lease != c.Lease)
}

func (g *grid) expand(at node, lowG int, visit func(cost int, next node, k kind)) {
	i, n := at.i, at.g
	if n > 0 && g.groups[n-1].hole {
		if n > lowG {
			visit(0, node{i, n - 1}, passed)
		}
		if i > 0 {
			visit(0, node{i - 1, n}, hidden)
		}
		return
	}
	if i > 0 && g.entries[i-1].Raw == nil {
		// A missing entry may have made a revision, or none.
		visit(0, node{i - 1, n}, hidden)
		switch {
		case n == lowG:
		case g.entries[i-1].many:
			visit(0, node{i, n - 1}, foreign)
		default:
			visit(0, node{i - 1, n - 1}, unknown)
		}
		return
	}
	// Pushed last is popped first among equals: prefer an entry's revision to its having had no effect.
	if n > lowG {
		cost := costExtra
		if g.groups[n-1].unread {
			cost = costUnread
		}
		visit(cost, node{i, n - 1}, orphan)
		told := false
		for _, x := range g.in.Log.byContent[g.groupSigs[n-1]] {
			if int(x) >= i && i > 0 && g.groupSigs[n-1] != 0 {
				visit(costReplay, node{int(x) + 1, n}, replay)
				told = true
			}
		}
		if i > 0 && !told && len(g.groups[n-1].rows) > 0 {
			visit(costReplay, at, probe)
		}
	}
	if i == 0 {
		return
	}
	cost := 0
	if len(g.predict(i-1, n)) > 0 {
		cost = [...]int{Allowed: costRefused, Doubtful: costDoubted, Denied: 0}[g.judge(i-1, n)]
		if index := g.entries[i-1].Index; cost == costDoubted {
			switch {
			case g.in.Doubted[index]:
				cost = costDoubtedToo
			case g.in.Passed != nil && g.in.Passed(index):
				cost += costLetPass
			}
		}
		if g.mayBan(i - 1) {
			cost = min(cost, costBanned)
		}
	}
	makes := -1
	if n > lowG {
		makes, _, _ = g.match(i-1, n-1)
	}
	if makes == 0 {
		visit(cost, node{i - 1, n}, idle)
	} else {
		visit(cost, node{i - 1, n}, nothing)
	}
	if makes >= 0 {
		visit(makes, node{i - 1, n - 1}, made)
	}
}

// repeats visits the nodes from which the log may have been applied again, the first entries of a node coming next: those
// behind an entry that made the last group of the node, of which the content does not tell.
func (g *grid) repeats(at node, visit func(next node)) {
	for x := at.i; x < min(at.i+maxApart, len(g.entries)) && g.entries[x].Index <= g.in.ConsistentIndex; x++ {
		if g.in.Log.isLoose(x) && g.makes(x, at.g-1) {
			visit(node{x + 1, at.g})
		}
	}
}

// makes tells whether entry x would make group n. It is asked for the same ones from many nodes.
func (g *grid) makes(x, n int) bool {
	same, known := g.makers[node{x, n}]
	if !known {
		if len(g.makers) >= maxMakers {
			return false
		}
		if g.makers == nil {
			g.makers = map[node]bool{}
		}
		// What puts a key names it, so that most need not be decoded.
		row := &g.groups[n].rows[0]
		same = (row.Tombstone || bytes.Contains(g.entries[x].Raw.Data, row.Key())) &&
			Same(g.p.predict(g.loose(x), g.mainBefore(n)), g.groups[n].rows)
		g.makers[node{x, n}] = same
	}
	return same
}

// loose decodes an entry that may have made one of many groups next to each other.
func (g *grid) loose(x int) *raftlog.Request {
	r := g.requests[x]
	if r == nil {
		if g.requests == nil || len(g.requests) >= maxRequests {
			g.requests = map[int]*raftlog.Request{}
		}
		r = g.entries[x].Request()
		g.requests[x] = r
	}
	return r
}

// maxRequests bounds how many of them are held.
const maxRequests = 4 * maxApart

// maxMakers bounds how often that is worked out.
const maxMakers = 20_000

// markRepeats sets Again on every step whose entry was applied before; those up to high were.
func markRepeats(steps []Step, high uint64) {
	for i := range steps {
		s := &steps[i]
		if s.Index == 0 {
			continue
		}
		if s.Index <= high {
			s.Again = true
		}
		high = max(high, s.Index)
	}
}

// queue is a bucket queue: costs are small integers. Among equals those come first on the way to which the fewest entries
// had no effect that may as well have had one, and of these the last one in, which keeps the search on one path while that
// is free.
type queue struct {
	buckets [][maxIdle + 1][]move
	low     int
}

// maxIdle bounds how far that is counted.
const maxIdle = 3

func (q *queue) push(cost int, m move) {
	for len(q.buckets) <= cost {
		q.buckets = append(q.buckets, [maxIdle + 1][]move{})
	}
	b := &q.buckets[cost][m.idle]
	*b = append(*b, m)
	q.low = min(q.low, cost)
}

func (q *queue) pop() (int, move, bool) {
	for ; q.low < len(q.buckets); q.low++ {
		for n := range q.buckets[q.low] {
			if b := &q.buckets[q.low][n]; len(*b) > 0 {
				m := (*b)[len(*b)-1]
				*b = (*b)[:len(*b)-1]
				return q.low, m, true
			}
		}
	}
	return 0, move{}, false
}
