package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// planner decides what is written: whose life counts (newPlanner), which entry is asked for (entryOf, entryAt), a base that leads there and what is made of
// it (make), and whether that is what the members hold (verify). One goroutine does it.
type planner struct {
	q      *Request
	i      int             // the member whose life counts, number i of those of q
	m      *inspect.Member // the same
	ledger *diff.Ledger    // of all members of q
	log    []effect.Entry  // as the member applied it
	// compared is what comparing the members said, nil where that was not asked for.
	compared *diff.Document
	notes    []string // for the user, in the order in which they came up
}

func newPlanner(ctx context.Context, q *Request) (*planner, error) {
	p := &planner{q: q, i: -1}
	if why := diff.Clusters(q.Members); why != "" {
		return nil, refuse("recover from the members of one of them", "%s", why)
	}
	switch {
	case q.From != "":
		p.i = slices.IndexFunc(q.Members, func(m *inspect.Member) bool { return m.Label == q.From })
		if p.i < 0 {
			return nil, refuse("", "no member is called %q: there are %s", q.From, strings.Join(labels(q.Members), ", "))
		}
	case q.Union:
		if err := p.elect(); err != nil {
			return nil, err
		}
	case len(q.Members) == 1:
		p.i = 0
	default:
		if err := p.choose(ctx); err != nil {
			return nil, err
		}
	}
	p.m = q.Members[p.i]
	return p, ctx.Err()
}

func labels(ms []*inspect.Member) (all []string) {
	for _, m := range ms {
		all = append(all, m.Label)
	}
	return all
}

// elect takes the log that raft would: that with the last entry of the highest term, and of these the longest
// (raft, log.go, isUpToDate).
func (p *planner) elect() error {
	ms := p.q.Members
	if forks := diff.LogForks(ms); len(forks) > 0 {
		f := forks[0]
		var sides []string
		for _, g := range f.Groups {
			sides = append(sides, strings.Join(g, " and "))
		}
		return refuse("say with --from whose log counts; what the other side has acknowledged since then is lost by it",
			"the logs conflict: at entry %d, which both sides know as committed, %s hold different ones", f.Index, strings.Join(sides, ", against "))
	}
	for i, m := range ms {
		last := lastEntry(m)
		if last == nil {
			continue
		}
		if p.i < 0 {
			p.i = i
			continue
		}
		if best := lastEntry(ms[p.i]); last.Term > best.Term || last.Term == best.Term && last.Index > best.Index {
			p.i = i
		}
	}
	if p.i < 0 {
		return refuse("copy the wal folder of a member", "none of the members has a log")
	}
	return nil
}

func lastEntry(m *inspect.Member) *raftlog.Entry {
	if n := len(m.Log.Entries); n > 0 {
		return &m.Log.Entries[n-1]
	}
	return nil
}

// choose takes the best copy where members agree up to the moment that is asked for.
func (p *planner) choose(ctx context.Context) error {
	doc := p.q.Compare(ctx, p.q.Members)
	if err := ctx.Err(); err != nil {
		return err
	}
	p.compared = doc
	switch doc.Verdict {
	case diff.NotComparable:
		return refuse("recover from one of them with --from", "the members cannot be compared: %s", strings.Join(doc.Reasons, "; "))
	case diff.Diverged:
		if first, rev := firstParted(doc); !p.before(first, rev) {
			return p.parted(doc, first)
		}
	}
	if b := doc.BestCopy; b != nil && b.Member != "" {
		p.i = slices.IndexFunc(p.q.Members, func(m *inspect.Member) bool { return m.Label == b.Member })
		p.notes = append(p.notes, fmt.Sprintf("from %s: %s", b.Member, b.Why))
		return nil
	}
	if p.q.Moment.Kind == Now {
		var all []string
		for _, m := range p.q.Members {
			all = append(all, fmt.Sprintf("%s is %s", m.Label, m.Evidence().Standing()))
		}
		return refuse("take one with --from, or a moment that the log reaches with --at-entry", "no copy is whole, so that none can be chosen: %s", strings.Join(all, ", "))
	}
	// The log counts, and who has the most of it.
	p.i = 0
	for i, m := range p.q.Members {
		if rank(m) > rank(p.q.Members[p.i]) {
			p.i = i
		}
	}
	return nil
}

// rank orders copies by what can be made of them: whole ones first, then by the end of their log.
func rank(m *inspect.Member) uint64 {
	r := m.Log.Last()
	if m.Evidence().Whole() {
		r += 1 << 63
	}
	return r
}

// firstParted is the first entry at which members may have parted, and the first revision; 0 where that is not known.
func firstParted(doc *diff.Document) (entry uint64, rev int64) {
	entry, rev = math.MaxUint64, math.MaxInt64
	for i := range doc.Divergences {
		d := &doc.Divergences[i]
		at := uint64(0)
		switch {
		case d.Entry != nil:
			at = d.Entry.Index
		case d.EntryInterval != nil:
			at = d.EntryInterval.First
		}
		for _, o := range d.Onset { // of a bug that several members have
			if o.Entry > 0 {
				at = min(at, o.Entry)
			} else if o.EntryInterval != nil {
				at = min(at, o.EntryInterval.First)
			}
		}
		entry, rev = min(entry, at), min(rev, d.Revision)
	}
	return entry, rev
}

// before tells whether the moment lies before what is behind an entry and a revision.
func (p *planner) before(entry uint64, rev int64) bool {
	switch m := p.q.Moment; m.Kind {
	case AtEntry:
		return m.N < entry
	case AtRevision:
		return m.N < uint64(rev)
	case AtTime:
		last, _, err := diff.NewLedger(p.q.Members).Until(diff.Point{Time: m.Time})
		return err == nil && last > 0 && last < entry
	}
	return false
}

// parted refuses to choose between members, and says what each choice costs.
func (p *planner) parted(doc *diff.Document, first uint64) error {
	var prices []string
	if doc.Plan != nil {
		for i := range doc.Plan.Copies {
			k := &doc.Plan.Copies[i]
			prices = append(prices, price(k, doc.Fault(k.Member)))
		}
	}
	if len(prices) == 0 {
		prices = labels(p.q.Members)
	}
	need := "say with --from whose life counts"
	if doc.Plan != nil && doc.Plan.Best != "" {
		need += fmt.Sprintf("; diff recommends %s", doc.Plan.Best)
	}
	where := "and nothing tells at which entry"
	if first > 0 && first < math.MaxUint64 {
		where = fmt.Sprintf("at entry %d", first)
		if first > 1 {
			need += fmt.Sprintf("; up to --at-entry %d all agree", first-1)
		}
	}
	return refuse(need, "the members parted, %s: %s", where, strings.Join(prices, "; "))
}

// price is what it costs to go on with a copy. fault is what is known of how it departed from its log.
func price(c *diff.PlanCopy, fault string) string {
	var costs []string
	if fault != "" {
		costs = append(costs, fault)
	}
	add := func(n int, one, many, what string) {
		if n > 0 {
			costs = append(costs, plural(n, one, many)+what)
		}
	}
	if !c.Sound {
		costs = append(costs, "is not sound")
	}
	add(c.EntriesBehind, "entry", "entries", " behind")
	add(len(c.Loses), "entry", "entries", " lost")
	add(len(c.Twice), "entry", "entries", " applied twice")
	add(len(c.LostKeys), "key", "keys", " lost")
	add(len(c.ResurrectedKeys), "key", "keys", " come back")
	add(len(c.OtherKeys), "key", "keys", " otherwise")
	add(len(c.LostLeases), "lease", "leases", " lost")
	if len(costs) == 0 {
		costs = append(costs, "costs nothing that is known")
	}
	return fmt.Sprintf("%s (entry %d, revision %d): %s", c.Member, c.Index, c.Revision, strings.Join(costs, ", "))
}

// source decides how what is asked for is made.
func (p *planner) source(ctx context.Context) (source, error) {
	if p.q.Moment.Kind == Now && !p.q.Union && len(p.q.Without) == 0 {
		if p.m.DB == nil {
			need := "copy the db again"
			if n := len(p.m.Log.Entries); n > 0 {
				need = fmt.Sprintf("its log reaches entry %d: take --at-entry, with a backup as --base if the log does not begin with the cluster", p.m.Log.Last())
			}
			return nil, refuse(need, "%s has no db that can be read", p.m.Label)
		}
		c := newCopied(p.m)
		c.d.Notes = append(p.notes, c.d.Notes...)
		if c.d.Whole {
			p.ledger = diff.NewLedger(p.q.Members)
			v := &verdict{}
			p.shown(v, p.m.DB.Revision())
			c.d.Proven, c.d.ProvenFrom = v.proven, v.from
			c.d.Proof, c.d.Notes = append(c.d.Proof, v.proof...), append(c.d.Notes, v.notes...)
		}
		if !c.d.Whole && len(p.m.Log.Entries) > 0 {
			c.d.note("its log may make good what is lost: --at-entry %d", p.m.Log.HardState.Commit)
		}
		return c, nil
	}
	p.ledger = diff.NewLedger(p.q.Members)
	if p.log = p.ledger.Log(p.i); p.log == nil {
		p.log = diff.AppliedLog(p.q.Members, p.i)
	}
	if p.q.Union {
		p.acknowledge()
	}
	last, err := p.last()
	if err != nil {
		return nil, err
	}
	index := last
	switch p.q.Moment.Kind {
	case AtEntry:
		index = p.q.Moment.N
	case AtRevision:
		if index, err = p.entryOf(ctx, int64(p.q.Moment.N)); err != nil {
			return nil, err
		}
	case AtTime:
		if len(p.log) == 0 {
			return nil, refuse("copy the wal folder of a member", "%s has no log that tells when anything was", p.m.Label)
		}
		if index, err = p.entryAt(p.q.Moment.Time); err != nil {
			return nil, err
		}
	}
	if index > last {
		need := ""
		if end := p.m.Log.Last(); end > last {
			need = fmt.Sprintf("its log goes on to entry %d, which nothing says was committed: --union-of-acknowledged takes that, too", end)
		}
		return nil, refuse(need, "entry %d is later than all that %s is known to have committed: entry %d", index, p.m.Label, last)
	}
	return p.make(ctx, index)
}

// last is the last entry that can be asked for.
func (p *planner) last() (uint64, error) {
	last := uint64(0)
	if n := len(p.log); n > 0 {
		last = p.log[n-1].Index
	}
	if p.m.DB != nil && p.m.Evidence().Whole() {
		last = max(last, p.m.DB.Tables.ConsistentIndex)
	}
	if last == 0 {
		return 0, refuse("copy the wal folder of a member", "%s has no log and no db that says at which entry it is", p.m.Label)
	}
	return last, nil
}

// acknowledge adds what the elected log holds beyond what is known to be committed: it may have been acknowledged.
func (p *planner) acknowledge() {
	have := uint64(0)
	if n := len(p.log); n > 0 {
		have = p.log[n-1].Index
	}
	p.log = slices.Clip(p.log)
	n := 0
	for k := range p.m.Log.Entries {
		if e := &p.m.Log.Entries[k]; e.Index > have {
			p.log = append(p.log, effect.Entry{Index: e.Index, Term: e.Term, Raw: e})
			n++
		}
	}
	p.notes = append(p.notes, fmt.Sprintf("the log of %s is the one that raft would elect: entry %d, term %d; %s of it not known to be committed, and taken all the same",
		p.m.Label, p.m.Log.Last(), lastEntry(p.m).Term, plural(n, "entry is", "entries are")))
}

// entryOf is the entry that made a revision.
func (p *planner) entryOf(ctx context.Context, rev int64) (uint64, error) {
	if rev < 1 {
		return 0, refuse("", "there is no revision %d: a store begins with revision 1", rev)
	}
	if p.m.DB != nil {
		if index, after, known := p.ledger.Making(p.i, rev); known {
			return cmp.Or(index, after), nil
		}
	}
	b, err := p.from(ctx, p.end())
	if err == nil {
		found, top := uint64(0), b.st.Revision
		_, err = replay.Run(ctx, b.st, replay.Between(p.log, b.st.Index+1, p.end()), replay.Today(), replay.Options{
			TempDir: p.q.TempDir,
			Each: func(fx *replay.Effect) {
				if top = max(top, fx.Revision); fx.Revision == rev {
					found = fx.Index
				}
			},
		})
		switch {
		case err != nil:
		case found > 0:
			return found, nil
		case rev > top:
			return 0, refuse("", "revision %d is later than all that %s has come to: revision %d", rev, p.m.Label, top)
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, refuse("an older backup with --base, or an entry with --at-entry", "which entry made revision %d is not known%s", rev, because(err))
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

func (p *planner) end() uint64 {
	if n := len(p.log); n > 0 {
		return p.log[n-1].Index
	}
	return 0
}

// beginning tells whether the log begins with an empty keyspace. That of a cluster that was restored begins with entries
// that only add its members, and a snapshot of them (etcdutl/snapshot/v3_snapshot.go, saveWALAndSnap).
func (p *planner) beginning() bool {
	if len(p.log) == 0 || p.log[0].Index != 1 {
		return false
	}
	if p.m.Evidence().Whole() {
		return p.ledger.BeginsWithCluster(p.i)
	}
	first := slices.IndexFunc(p.log, func(e effect.Entry) bool { return e.Raw.Type == raftlog.EntryNormal })
	return !slices.ContainsFunc(p.m.Log.Snapshots, func(s raftlog.SnapshotRecord) bool { return s.Index > 0 && s.Index == uint64(max(first, 0)) })
}

// make makes the state behind an entry.
func (p *planner) make(ctx context.Context, index uint64) (source, error) {
	low := index
	if n := len(p.q.Without); n > 0 {
		for _, w := range p.q.Without {
			if w > index || diff.EntryAt(p.log, w) == nil {
				return nil, refuse("", "entry %d, which is to be left out, is not among those up to entry %d that are known", w, index)
			}
		}
		low = p.q.Without[0] - 1
	}
	var whys []string
	for _, try := range []func(context.Context, uint64) (*base, error){p.empty, p.own, p.given, p.others} {
		b, err := try(ctx, low)
		if err == nil && b != nil {
			var x *made
			var v *verdict
			if x, v, err = p.lead(ctx, b, index); err == nil {
				return p.finish(ctx, x, v)
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			whys = append(whys, strings.ReplaceAll(strings.TrimPrefix(err.Error(), replay.ErrNoBase.Error()+": "), "\n", "; "))
		}
	}
	if len(whys) == 0 {
		whys = append(whys, "no log and no copy leads there")
	}
	return nil, refuse(p.need(low), "the state behind entry %d cannot be made: %s", index, strings.Join(whys, "; "))
}

// lead runs the log from a base to an entry, by the first rules that lead to what the copy holds. Each run is from the base anew.
func (p *planner) lead(ctx context.Context, b *base, index uint64) (*made, *verdict, error) {
	entries := replay.Between(p.log, b.st.Index+1, index)
	var first error
	for _, r := range rules() {
		x, err := b.run(ctx, entries, p.m, r, nil, p.q)
		if err != nil {
			return nil, nil, err
		}
		v, err := p.verify(ctx, x, index)
		if err != nil {
			return nil, nil, err
		}
		if v.departs == "" {
			return x, v, nil
		}
		if first == nil {
			first = fmt.Errorf("%s does not lead to what %s holds: %s", b.what, p.m.Label, v.departs)
		}
	}
	return nil, nil, first
}

// need says what would help to make a state.
func (p *planner) need(low uint64) string {
	if len(p.log) == 0 || p.log[0].Index > low+1 {
		return fmt.Sprintf("a backup of entry %d or before with --base, and logs that lead on from it", low)
	}
	first := p.log[0].Index
	if first <= 1 {
		return fmt.Sprintf("a backup of entry %d or before with --base", low)
	}
	return fmt.Sprintf("a backup of an entry from %d to %d with --base: the log begins at entry %d", first-1, low, first)
}

// from is the first base that leads to an entry, at or before it.
func (p *planner) from(ctx context.Context, index uint64) (*base, error) {
	var errs []error
	for _, try := range []func(context.Context, uint64) (*base, error){p.empty, p.given, p.own} {
		b, err := try(ctx, index)
		if b != nil {
			return b, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// empty is the beginning of the cluster.
func (p *planner) empty(context.Context, uint64) (*base, error) {
	if !p.beginning() {
		return nil, fmt.Errorf("the log does not begin with the cluster")
	}
	return &base{what: "the beginning of the log", st: replay.Empty()}, nil
}

// own is what the copy holds, taken back to an entry, or as it is if that comes later.
func (p *planner) own(ctx context.Context, index uint64) (*base, error) {
	return p.back(ctx, p.i, index)
}

// back is what a copy holds, taken back to an entry, or as it is if that comes later.
func (p *planner) back(ctx context.Context, i int, index uint64) (*base, error) {
	m := p.q.Members[i]
	if m.DB == nil || !m.DB.HasKeys {
		return nil, fmt.Errorf("%s has no db that can be read", m.Label)
	}
	if e := m.Evidence(); !e.Whole() {
		return nil, fmt.Errorf("%s is %s: %s", m.Label, e.Standing(), e.Why())
	}
	at := index
	if reach := max(p.ledger.Reach(i), m.DB.Tables.ConsistentIndex); at > reach {
		at = reach
	}
	rev, ok := p.ledger.RevisionAt(i, at)
	if !ok {
		return nil, fmt.Errorf("which revision %s had at entry %d is not known", m.Label, at)
	}
	b := &replay.Base{Rows: m.DB.Rows, Tables: m.DB.Tables, Log: p.log, Whole: p.beginning()}
	st, err := replay.Rewind(ctx, b, at, rev)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Label, err)
	}
	what := "what " + m.Label + " holds"
	if at < m.DB.Tables.ConsistentIndex {
		what = fmt.Sprintf("the rows of %s, taken back to entry %d", m.Label, at)
	}
	return &base{what: what, st: st, table: m.DB.Rows, of: m}, nil
}

// given is the nearest of the older states that were given.
func (p *planner) given(ctx context.Context, index uint64) (*base, error) {
	var best *inspect.Member
	var whys []string
	kin := map[*inspect.Member]bool{} // those of which something says that they are of this cluster
	for _, b := range p.q.Bases {
		e := b.Evidence()
		foreign := ""
		if b.DB != nil {
			foreign, kin[b] = diff.ForeignBase(b, p.m, p.log)
		}
		switch {
		case b.DB == nil || !b.DB.HasKeys:
			whys = append(whys, b.Label+" has no db that can be read")
		case !e.Whole():
			whys = append(whys, fmt.Sprintf("%s is %s: %s", b.Label, e.Standing(), e.Why()))
		case foreign != "":
			whys = append(whys, b.Label+" "+foreign)
		case b.DB.Tables.ConsistentIndex > index:
			whys = append(whys, fmt.Sprintf("%s is of entry %d, which is later than entry %d", b.Label, b.DB.Tables.ConsistentIndex, index))
		case b.DB.Tables.ConsistentIndex < index && diff.EntryAt(p.log, b.DB.Tables.ConsistentIndex+1) == nil:
			whys = append(whys, fmt.Sprintf("%s is of entry %d, and no log holds entry %d", b.Label, b.DB.Tables.ConsistentIndex, b.DB.Tables.ConsistentIndex+1))
		case best == nil || b.DB.Tables.ConsistentIndex > best.DB.Tables.ConsistentIndex:
			best = b
		}
	}
	if best == nil {
		if len(whys) > 0 {
			return nil, errors.New(strings.Join(whys, "; "))
		}
		return nil, nil
	}
	st, err := replay.Rewind(ctx, &replay.Base{Rows: best.DB.Rows, Tables: best.DB.Tables}, best.DB.Tables.ConsistentIndex, best.DB.Revision())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", best.Label, err)
	}
	return &base{what: best.Label, st: st, table: best.DB.Rows, of: best, unknown: !kin[best]}, nil
}

// others is what another copy holds that follows the same log, taken back.
func (p *planner) others(ctx context.Context, index uint64) (*base, error) {
	var whys []string
	for i := range p.q.Members {
		if i == p.i || !p.sameHistory(i) {
			continue
		}
		b, err := p.back(ctx, i, index)
		if err == nil {
			return b, nil
		}
		whys = append(whys, err.Error())
	}
	if len(whys) > 0 {
		return nil, errors.New(strings.Join(whys, "; "))
	}
	return nil, nil
}

// sameHistory tells whether another member's log nowhere conflicts with that of the one whose life counts.
func (p *planner) sameHistory(i int) bool {
	return len(diff.LogForks([]*inspect.Member{p.m, p.q.Members[i]})) == 0
}
