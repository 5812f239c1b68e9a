package align

import (
	"math"
	"slices"

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

	counted                map[int]bool // whether the first entries can have made the last row before the first group
	makers                 map[node]bool
	requests               map[int]*raftlog.Request // some that are asked for with many groups
	predictedI, predictedG int                      // of predicted, which is asked for several times in a row
	predicted              []Change
	decodedI               int // of decoded, likewise
	decoded                *raftlog.Request
}

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
		g.in.Index.Spend(g.entries[i].weight())
		g.decoded, g.decodedI = g.entries[i].Request(), i
	}
	return g.decoded
}

// match asks whether entry i made group n.
func (g *grid) match(i, n int) (int, Outcome, string) {
	c, out, detail := g.p.match(g.request(i), g.predict(i, n), &g.groups[n], g.mainBefore(n))
	if rows, ok := g.in.repaired[g.groups[n].main]; ok && out != Unread && !Same(g.predict(i, n), rows) {
		return -1, out, detail // the state is known to be what another entry made
	}
	if out == Altered && c >= 0 {
		c += g.in.Log.foreign(g.groupSigs[n], i, detail, Flipped(g.predict(i, n), g.groups[n].rows))
	}
	if g.bans(i) {
		c = -1
	}
	if c < 0 || out == Unread {
		return c, out, detail
	}
	switch g.judgeOf(i, n, out) {
	case Denied:
		if g.entries[i].Index == g.in.unlet {
			return -1, out, detail
		}
		if out == Applied {
			out = Permitted
		}
		return c + costPermit, out, detail
	case Doubtful:
		if doubted, passed := g.elsewhere(i); g.in.From != nil && doubted && !passed {
			c += costLetPass
		}
	}
	return c, out, detail
}

// elsewhere tells whether entry i had no effect on another member, although it is not known that it is refused, and whether it had
// one on another.
func (g *grid) elsewhere(i int) (doubted, passed bool) {
	index := g.entries[i].Index
	return g.in.Doubted[index], g.in.Passed != nil && g.in.Passed(index)
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

// unpinned is how many pairs next to the beginning of a log that is not whole are left to the search.
const unpinned = 8

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
