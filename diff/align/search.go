package align

import (
	"bytes"
	"cmp"
	"slices"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

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
	// Of ends that are as good as each other the first one is taken, which is the last one in: what is behind it had no effect.
	var all []source
	for i := len(g.entries); i > at; i-- {
		cost := costAnchor
		if x := g.in.Torn; g.in.Ahead {
			cost = costAhead
		} else if x > 0 && g.entries[i-1].Index >= x {
			cost = costTorn
		}
		all = append(all, source{node{i, len(g.groups)}, cost})
	}
	all = append(all, source{node{at, len(g.groups)}, 0})
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
	arrival             // not an edge: the end of the search, with what the beginning costs
	probe               // not an edge yet: which entries a replay may have followed is worked out when it comes to that
)

// maxIdle bounds how far steps without effect are counted.
const maxIdle = 3

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
		g.in.Index.Spend(1)
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
		if m.kind == arrival {
			steps, end := g.walk(seen, m.to)
			return steps, span{start: m.to, end: end}, cost - g.opening(m.to, to)
		}
		if _, done := seen[m.to]; done {
			continue
		}
		seen[m.to] = m
		if g.arrived(m.to, to) {
			opening := g.opening(m.to, to)
			q.push(cost+opening, move{to: m.to, kind: arrival, idle: m.idle})
			if opening == 0 {
				continue
			}
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

// opening is what it costs to begin a path at a node: what is lost before it is no less lost for that, nor does what stands before
// it come from nowhere.
func (g *grid) opening(at, to node) (cost int) {
	if to.i >= 0 {
		return 0
	}
	for n := range g.groups[:at.g] {
		if x := &g.groups[n]; len(x.rows) == 0 && !x.hole && !x.unread {
			cost += costLost
		}
	}
	if g.echoes(at) || g.stained(at) {
		cost += costEcho
	}
	switch {
	case at.g > 0:
	case !g.counts(at.i):
		cost += costMiscounted
	case g.shortOf(at.i):
		cost += costRefused
	}
	return cost
}

// shortOf tells whether more of the entries before the i-th put the key that the last of them puts than its version counts in the
// state before the first group: one of them had no effect.
func (g *grid) shortOf(i int) bool {
	var key []byte
	var puts, version int64
	for k := i - 1; k >= max(i-maxApart, 0) && g.entries[k].Raw != nil; k-- {
		in := g.request(k).Internal
		put := in.GetPut()
		switch {
		case put == nil && key == nil && changesKeys(in) && in.LeaseRevoke == nil, put == nil && key != nil && touches(in, key):
			return false // it may have deleted the key
		case put == nil:
			continue
		case key == nil:
			kv, _, _ := g.in.Index.At(string(put.Key), g.mainBefore(0))
			key, version = put.Key, kv.Version
		case !bytes.Equal(put.Key, key):
			continue
		}
		if put.Lease != 0 || put.IgnoreValue || put.IgnoreLease || g.judge(k, 0) != Allowed {
			return false
		}
		if puts++; puts > version {
			return version > 0
		}
	}
	return false
}

// minEchoes is how many groups must have been written twice, maxEchoes bounds how many before the beginning of a path, and how
// many entries behind it, are looked at for that.
const (
	minEchoes = 2
	maxEchoes = 8
)

// echoes tells whether the first entries behind the beginning of a path write just what several groups in a row hold before it:
// entries that no log holds would have written the same in the same order.
func (g *grid) echoes(at node) bool {
	for n := at.g - minEchoes; n >= max(at.g-maxEchoes, 0); n-- {
		made := 0
		for i := at.i; i < min(at.i+maxEchoes, len(g.entries)) && n+made < at.g && g.entries[i].Raw != nil; i++ {
			switch want := g.predict(i, n+made); {
			case len(want) == 0 || g.judge(i, n+made) == Denied:
			case Same(want, g.groups[n+made].rows):
				made++
			default:
				i = len(g.entries)
			}
		}
		if made >= minEchoes {
			return true
		}
	}
	return false
}

// Bounds of what Echoed looks at: how many revisions before the beginning of an alignment, and how many entries behind it.
const (
	maxEchoed        = 32
	maxEchoedEntries = 4 * maxEchoed
)

// Echoed is what it costs that several revisions in a row before the beginning of an alignment are just what its first entries that
// permissions refuse, or may, would have written. They were rather let pass.
func (in *Input) Echoed(a *Alignment) int {
	at, ok := in.Log.find(a.First)
	if !ok || a.Revision < a.last() {
		return 0
	}
	most := 0
	for first := max(a.Revision-maxEchoed, in.Compact) + 1; first < a.Revision; first++ {
		made := 0
		for i := at; i < min(at+maxEchoedEntries, len(in.Log.entries)) && first+int64(made) <= a.Revision; i++ {
			main := first + int64(made)
			want, judged := in.demands(in.Log.entries[i].Index, in.Log.entries[i].Index, main-1)
			if len(want) == 0 {
				continue
			}
			if Same(want, in.Table.Group(main)) {
				made++
			} else if judged == Allowed {
				break
			}
		}
		most = max(most, made)
	}
	if most < minEchoes {
		return 0
	}
	return costEcho * most
}

// last is the last revision that an entry made, 0 if none did.
func (a *Alignment) last() (rev int64) {
	for i := range a.Steps {
		rev = max(rev, a.Steps[i].Revision)
	}
	return rev
}

// stained tells whether the group before the beginning of a path is what the first entry behind it that nothing refuses should make
// there, but for one field other than the value: it may well be of that entry's making, and changed.
func (g *grid) stained(at node) bool {
	if at.g == 0 {
		return false
	}
	for i := at.i; i < min(at.i+maxEchoes, len(g.entries)) && g.entries[i].Raw != nil; i++ {
		want := g.predict(i, at.g-1)
		if len(want) == 0 || g.judge(i, at.g-1) != Allowed {
			continue
		}
		cost, out, detail := g.match(i, at.g-1)
		return out == Altered && cost == costAltered && detail != "value"
	}
	return false
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
	x := g.in.Log.Compaction(g.in.Compact)
	return x == 0 || g.in.Compact == 0 || i == 0 || g.entries[i-1].Index < x
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
			case judged == Denied: // it says nothing
			case judged == Doubtful:
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

// counts is count, of as many as are asked for next to the first.
func (g *grid) counts(i int) bool {
	ok, known := g.counted[i]
	if !known && len(g.counted) < maxApart {
		if g.counted == nil {
			g.counted = map[int]bool{}
		}
		ok = g.count(i)
		g.counted[i], known = ok, true
	}
	return ok || !known
}

// count tells whether the first i entries can have made the row at the compact revision: its version says how many times its key was
// put, and its revisions how many times another one was meanwhile.
func (g *grid) count(i int) bool {
	at := g.mainBefore(0)
	rows := g.in.Table.Group(at)
	var kv mvcc.KeyValue
	if at != g.in.Compact || g.in.Table.Unknown(at) || len(rows) != 1 || rows[0].Tombstone || kv.Decode(rows[0].Value) != nil || kv.Mod != at {
		return true
	}
	puts, others := kv.Version, kv.Mod-kv.Create+1-kv.Version
	for n := i - 1; n >= max(i-maxApart, 0) && puts > 0 && others >= 0; n-- {
		e := &g.entries[n]
		if e.Raw == nil {
			return true
		}
		p := g.request(n).Internal.GetPut()
		switch {
		case p == nil:
			if g.request(n).Internal.GetTxn() != nil && bytes.Contains(e.Raw.Data, kv.Key) {
				return true
			}
		case g.judge(n, 0) == Denied:
		case bytes.Equal(p.Key, kv.Key):
			puts--
		case !p.IgnoreValue && !p.IgnoreLease && g.judge(n, 0) == Allowed:
			others--
		}
	}
	return others >= 0
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
		switch x := &g.groups[n-1]; {
		case x.unread:
			cost = costUnread
		case len(x.rows) == 0 && !x.hole:
			cost += costLost // what made it, whatever that was, is lost all the same
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
		if cost == costDoubted {
			switch doubted, passed := g.elsewhere(i - 1); {
			case doubted && passed: // which tells nothing
			case doubted:
				cost = costDoubtedToo
			case passed:
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
	// What finds nothing to do behind the group says nothing: an entry before may have done the same.
	if makes == 0 && (len(g.predict(i-1, n)) > 0 || g.request(i-1).Internal.GetDeleteRange() == nil) {
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

// maxMakers bounds how often it is worked out whether an entry makes a group.
const maxMakers = 20_000

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

// maxRequests bounds how many decoded requests are held.
const maxRequests = 4 * maxApart

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
