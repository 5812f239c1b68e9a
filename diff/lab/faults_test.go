package lab

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// faulty is a member of which package faults must find the faults that were planted.
type faulty struct {
	seed    uint64
	rng     *rand.Rand
	dir     string
	life    life
	lived   *lived
	shown   *shown
	member  *faults.Member
	log     *apply.Log
	planted []faults.Fault
	result  *faults.Result
	also    []faults.Reading
	parting *faults.Parting
	parted  bool   // it is told that it had parted before, and nothing else
	before  bool   // what was planted is before the entries that the search is given
	purged  uint64 // entries that the search is not given, from the first on
}

// TestFaults plants faults into random logs, compacted behind most of them, and asks of what package faults finds that
// it be sound (etcd's own applier, with the faults of a reading, leaves what is there), complete (what was planted is among the
// readings, unless something likelier leaves the same) and tight (no other reading of that kind is missing).
func TestFaults(t *testing.T) { testFaults(t, whole) }

// TestPurged does so where the first entries of the log are gone, so that the state before those that are left has to be taken from rows. One
// sound reading is enough then, and it is not asked that no other one is missing: what the beginning was is not known. But where an earlier fault of the
// member leaves the same, that must be said.
func TestPurged(t *testing.T) { testFaults(t, purged) }

// TestPartedBefore does so where the member has a fault before the first entry that is left: whatever is found behind, that must be said, too.
func TestPartedBefore(t *testing.T) { testFaults(t, partedBefore) }

// kind is what is asked of a case.
type kind int

const (
	whole kind = iota
	purged
	partedBefore
)

func testFaults(t *testing.T, of kind) {
	if *only > 0 {
		c := newFaulty(t, *only, of)
		problems := c.check()
		t.Log(c)
		for _, p := range problems {
			t.Error(p)
		}
		return
	}
	n := uint64(*count) / 2 // one takes as long as two of TestLab
	if testing.Short() {
		n = min(n, 30)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	seeds := make(chan uint64)
	failed, readings, healthy, limited, unknown, parted, partedOnly := 0, 0, 0, 0, 0, 0, 0
	wider := map[int]int{}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				c := newFaulty(t, seed, of)
				problems := c.check()
				mu.Lock()
				readings += len(c.result.Readings)
				if len(c.planted) == 0 {
					healthy++
				}
				if c.member == nil {
					unknown++
				}
				if len(c.result.Limits) > 0 {
					limited++
				}
				if c.mayHaveParted() {
					if parted++; c.parted {
						partedOnly++
					}
				}
				if of == purged {
					wider[c.wider()]++
				}
				if len(problems) > 0 {
					if failed++; failed <= *failing {
						t.Errorf("seed %d: %s\n%s", seed, strings.Join(problems, "\n"), c)
					}
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		seeds <- *from + i
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d cases, %d without fault, %d readings, %d with limits, %d of which the beginning is not known, %d failed", n, healthy, readings, limited, unknown, failed)
	if of != whole {
		t.Logf("%d cases may have parted before the log begins, of %d that is told alone", parted, partedOnly)
	}
	for _, k := range slices.Sorted(maps.Keys(wider)) {
		t.Logf("%d readings of one fault besides the first: %d cases", k, wider[k])
	}
}

// newFaulty makes the case of a seed.
func newFaulty(t *testing.T, seed uint64, of kind) *faulty {
	dir := t.TempDir()
	m := &maker{dir: dir, seed: seed, shape: stream(seed, "shape"), c: &Case{Seed: seed}}
	if err := m.workload(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.w.ref.close() }()
	c := &faulty{seed: seed, rng: stream(seed, "faulty"), dir: filepath.Join(dir, "faulty")}
	compacted := c.compact(m.w)
	c.life.log, c.life.upTo = m.w.log, uint64(len(m.w.log)-c.rng.IntN(4))
	if c.rng.IntN(3) == 0 {
		c.life.lazy = 1 + c.rng.Uint64N(uint64(len(m.w.log)))
		if c.rng.IntN(2) == 0 {
			c.life.partial = 1 + c.rng.IntN(60)
		}
	}
	log := m.w.log
	c.log = apply.NewLog(len(log), func(i int) uint64 { return log[i].Index }, func(i int) *raftlog.Request { return decoded(t, &log[i]) }, nil, nil)
	if of != whole {
		c.purged = c.life.upTo/4 + c.rng.Uint64N(c.life.upTo/4)
	}
	last := c.life.upTo
	if compacted > 0 && c.rng.IntN(4) > 0 {
		last = max(min(last, compacted), c.purged+1)
	}
	if of == partedBefore {
		c.before = true
		c.plant(1, max(c.purged/2, 1), c.purged)
	} else {
		c.plant([...]int{0, 1, 1, 1, 1, 1, 1, 1, 2, 3}[c.rng.IntN(10)], c.purged+1, last)
	}
	var err error
	if c.lived, err = c.life.run(c.dir); err != nil {
		t.Fatal(err)
	}
	if err := c.damage(); err != nil {
		t.Fatal(err)
	}
	c.life.faults = nil
	table, tables := c.lived.dump.table(), c.lived.dump.tables()
	revision := max(table.Last(), tables.ScheduledCompact, tables.FinishedCompact)
	compact := max(tables.ScheduledCompact, tables.FinishedCompact)
	c.shown = c.lived.dump.shown(revision, compact)
	named := faults.NamesSince(table, tables, 0, 0)
	c.log = apply.NewLog(len(log), func(i int) uint64 { return log[i].Index }, func(i int) *raftlog.Request { return decoded(t, &log[i]) }, named.Keys, named.Leases)
	e := faults.NewEvidenceSince(c.log, table, tables, revision, compact, 0)
	if c.member = faults.NewMember(c.log, e, apply.New(c.log), uint64(len(log)), apply.Rules3510); of != whole {
		c.purge(t, named, table, tables, revision, compact)
	}
	switch {
	case c.member == nil:
		c.result = &faults.Result{Limits: []string{"what was before is not known"}}
	case of == whole:
		c.result = c.member.Search()
	}
	return c
}

// purge makes the member one whose first entries are gone. Two others, without fault, are there to tell what was before.
func (c *faulty) purge(t *testing.T, named faults.Named, table *mvcc.Table, tables *schema.Tables, revision, compact int64) {
	var others []dump
	for n := range 2 {
		healthy := c.life
		healthy.faults, healthy.lazy = nil, c.rng.Uint64N(2*uint64(len(c.life.log)))
		x, err := healthy.run(filepath.Join(c.dir, fmt.Sprint("healthy", n)))
		if err != nil {
			t.Fatal(err)
		}
		more := faults.NamesSince(x.dump.table(), x.dump.tables(), 0, 0)
		named.Keys, named.Leases = append(named.Keys, more.Keys...), append(named.Leases, more.Leases...)
		others = append(others, x.dump)
	}
	log := c.life.log[c.purged:]
	l := apply.NewLog(len(log), func(i int) uint64 { return log[i].Index }, func(i int) *raftlog.Request { return decoded(t, &log[i]) }, named.Keys, named.Leases)
	s := apply.New(c.log)
	for i := range c.purged {
		s.Apply(&c.log.Entries[i], apply.Plain)
	}
	var writes []authz.Write
	for i := range l.Entries {
		if e := &l.Entries[i]; e.Kind == apply.Auth && e.Index <= c.life.upTo {
			writes = append(writes, authz.Write{Index: e.Index, Request: decoded(t, &log[i])})
		}
	}
	begins := func(table *mvcc.Table, tables *schema.Tables, revision, compact int64) faults.SuffixMember {
		own := authz.Of(tables)
		if len(writes) > 0 {
			own, _ = authz.Base(writes, nil, tables)
		}
		return faults.SuffixMember{
			Evidence: faults.NewEvidenceSince(l, table, tables, revision, compact, 0), Auth: s.Auth, OwnAuth: []*authz.State{own},
			Committed: uint64(len(c.life.log)), Rules: []apply.Rules{apply.Rules3510},
		}
	}
	ms := []faults.SuffixMember{begins(table, tables, revision, compact)}
	for _, o := range others {
		table, tables := o.table(), o.tables()
		ms = append(ms, begins(table, tables, max(table.Last(), tables.ScheduledCompact), max(tables.ScheduledCompact, tables.FinishedCompact)))
	}
	all := faults.SearchSuffix(l, ms, 0)
	if c.member = nil; all == nil {
		return
	}
	if c.parting, c.parted = all[0].Parting, all[0].LikelyParted(); all[0].Member == nil {
		return
	}
	c.member, c.result, c.also = all[0].Member, all[0].Result, all[0].OtherBases
	if *only > 0 {
		t.Logf("the revision is held to have been %d, and was %d; members without fault: %v", all[0].BaseRevision(), s.Revision, len(all[1].Readings[0].Faults)+len(all[2].Readings[0].Faults) == 0)
	}
}

// wider is how many readings of a single fault there are besides the first.
func (c *faulty) wider() int {
	told := map[faults.Fault]bool{}
	for _, r := range c.result.Readings {
		if len(r.Faults) == 1 {
			told[r.Faults[0]] = true
		}
	}
	return max(len(told)-1, 0)
}

// compact goes on with the log as in a cluster that compacts every now and then, and returns the entry that made the compact revision, 0
// if it does not.
func (c *faulty) compact(w *workload) (entry uint64) {
	if c.rng.IntN(3) == 0 {
		return 0
	}
	n := len(w.ref.effects)
	i := n - 1 - c.rng.IntN(n/3)
	if rev := w.ref.effects[i].After; rev > 1 {
		w.request(&pb.InternalRaftRequest{Header: w.root(), Compaction: &pb.CompactionRequest{Revision: rev}})
		entry = uint64(i + 1)
	}
	for range 2 + c.rng.IntN(30) {
		w.step()
	}
	return entry
}

// plant draws faults of entries from first up to last, each of which changes something where it is.
func (c *faulty) plant(n int, first, last uint64) {
	for tries := 0; len(c.planted) < n && tries < 200; tries++ {
		f := faults.Fault{First: first + c.rng.Uint64N(last-first+1)}
		f.Last = f.First
		switch c.rng.IntN(12) {
		case 0, 1, 2:
			f.Kind = faults.Skipped
		case 3:
			f.Kind, f.Last = faults.Skipped, min(f.First+c.rng.Uint64N(7), last)
		case 4, 5:
			f.Kind, f.Times = faults.Again, 1
		case 6, 7:
			f.Kind, f.Last, f.Times = faults.Again, min(f.First+c.rng.Uint64N(12), last), 1+c.rng.IntN(2)*c.rng.IntN(2)
		case 8:
			if f.Kind, f.User = faults.Refused, c.log.Entries[f.First-1].User(); f.User == "" {
				continue
			}
		case 9:
			f.Kind = faults.Branch
		case 10:
			f.Kind, f.DifferingRows = faults.Rows, 1
		case 11:
			f.Kind, f.DifferingRows = faults.Table, 1
			f.Table = faults.Leases
		}
		if slices.ContainsFunc(c.planted, func(o faults.Fault) bool { return f.First <= o.Last && o.First <= f.Last }) {
			continue
		}
		if (f.Kind == faults.Rows || f.Kind == faults.Table) && n > 1 {
			continue
		}
		if c.canonical(&f) {
			c.planted = append(c.planted, f)
			slices.SortFunc(c.planted, func(a, b faults.Fault) int { return int(a.First) - int(b.First) })
		}
	}
	c.life.faults = slices.DeleteFunc(slices.Clone(c.planted), func(f faults.Fault) bool { return f.Kind == faults.Rows || f.Kind == faults.Table })
}

// canonical makes the run of entries of a fault as short as it can be told, and is false if nothing is left.
func (c *faulty) canonical(f *faults.Fault) bool {
	s := apply.New(c.log)
	p, q := int(f.First)-1, int(f.Last)-1
	for i := range p {
		s.Apply(&c.log.Entries[i], apply.Plain)
	}
	b := &brute{l: c.log, s: s}
	switch f.Kind {
	case faults.Skipped:
		for ; p <= q && !b.effective(p); p++ {
		}
		for ; p <= q && !b.effective(q); q-- {
		}
	case faults.Again:
		var had []bool
		for i := p; i <= q; i++ {
			had = append(had, b.effective(i))
			s.Apply(&c.log.Entries[i], apply.Plain)
		}
		revision := s.Revision
		for ; p <= q && !b.effective(p); p++ {
		}
		if p > q {
			return false
		}
		m := s.Mark()
		for i := p; i <= q; i++ {
			m = s.Mark()
			s.Apply(&c.log.Entries[i], apply.Plain)
		}
		if s.Mark() == m && !had[len(had)-1] || s.Revision == revision {
			return false
		}
	case faults.Refused:
		if !b.effective(p) {
			return false
		}
	case faults.Branch:
		m, d := s.Mark(), s.Digest()
		s.Apply(&c.log.Entries[p], apply.OtherBranch)
		other := s.Digest()
		s.Revert(m)
		s.Apply(&c.log.Entries[p], apply.Plain)
		if c.log.Entries[p].Kind != apply.Txn || other == s.Digest() || len(c.log.Entries) == 0 && d == 0 {
			return false
		}
	case faults.Rows:
		if s.Apply(&c.log.Entries[p], apply.Plain) != apply.Made {
			return false
		}
	}
	f.First, f.Last = uint64(p+1), uint64(q+1)
	return p <= q
}

// damage makes the faults of rows and tables.
func (c *faulty) damage() error {
	for i, f := range c.planted {
		var bucket string
		switch f.Kind {
		default:
			continue
		case faults.Table:
			if bucket = "lease"; len(c.lived.dump[bucket]) == 0 {
				c.planted = slices.Delete(c.planted, i, i+1)
				return nil
			}
		case faults.Rows:
			bucket = "key"
		}
		var rows []Row
		for _, r := range c.lived.dump[bucket] {
			if rev, _, ok := parse(r.Key); f.Kind == faults.Table || ok && slices.Contains(c.lived.made[f.First], rev) {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			c.planted = slices.Delete(c.planted, i, i+1)
			return nil
		}
		r := pick(c.rng, rows)
		if err := edit(filepath.Join(c.dir, "db"), func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			var kv mvccpb.KeyValue
			if f.Kind == faults.Table || c.rng.IntN(2) == 0 || proto.Unmarshal(r.Value, &kv) != nil || kv.ModRevision == 0 {
				return b.Delete(r.Key)
			}
			switch c.rng.IntN(4) {
			case 0:
				kv.CreateRevision ^= 1 << c.rng.IntN(4)
			case 1:
				kv.Version ^= 1 << c.rng.IntN(3)
			default:
				kv.Value = append(kv.Value, '!')
			}
			v, err := proto.Marshal(&kv)
			if err != nil {
				return err
			}
			return b.Put(r.Key, v)
		}); err != nil {
			return err
		}
		var err error
		if c.lived.dump, err = readDump(filepath.Join(c.dir, "db")); err != nil {
			return err
		}
	}
	return nil
}

func parse(key []byte) (main int64, tombstone, ok bool) {
	rev, tombstone, ok := mvcc.ParseRevision(key)
	return rev.Main, tombstone, ok
}

// check lists what is wrong with what was found.
func (c *faulty) check() (problems []string) {
	fail := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	clean := c.leaves(nil) == ""
	rs := c.result.Readings
	if c.member == nil {
		return nil
	}
	if clean {
		if len(rs) != 1 || len(rs[0].Faults) > 0 {
			fail("a member on which no fault shows has readings with faults, or none")
		}
		return problems
	}
	if c.before {
		edited := len(c.planted) == 1 && c.planted[0].Kind == faults.Table // in the end, and as well by an entry that is left
		if len(rs) > 0 && len(rs[0].Faults) > 0 && len(c.result.Limits) == 0 && !c.mayHaveParted() && !c.tablesAlone() && !edited {
			fail("wrong: the member's fault is before the entries that are left, and it is not said that it may be")
		}
		return problems
	}
	if c.parted {
		fail("wrong: it is told to have parted before the entries that are left")
	}
	if len(rs) == 0 {
		if len(c.result.Limits) == 0 {
			fail("nothing was found, and no limit is said")
		}
		if len(c.planted) == 1 {
			fail("nothing was found (the tool explains it: %v)", c.member.Explains(&faults.Reading{Faults: c.planted}))
		}
		return problems
	}
	var unsound []string
	for n, r := range rs {
		if n >= 3 && n < len(rs)-1 || len(c.also) > 0 {
			continue // each costs a run of etcd, and in the second case may be of another beginning
		}
		if why := c.leaves(&r); why != "" {
			unsound = append(unsound, fmt.Sprintf("not sound: %v: %s", r.Faults, why))
		}
	}
	// Where the beginning is gone, a reading may need another one than there was, of which nothing is left.
	if c.purged == 0 || len(unsound) == len(rs) {
		problems = append(problems, unsound...)
	}
	if len(c.planted) != 1 || len(c.result.Limits) > 0 {
		return problems
	}
	f := c.planted[0]
	told := func(f faults.Fault) bool {
		return slices.ContainsFunc(slices.Concat(rs, c.also), func(r faults.Reading) bool {
			if len(r.Faults) != 1 {
				return false
			}
			g := r.Faults[0]
			return g == f || g.Kind == f.Kind && g.Table == f.Table && f.Table != faults.NoTable // which entry is beside the point
		})
	}
	if costs := faults.Cost([]faults.Fault{f}); !told(f) && costs <= rs[0].Cost+faults.Margin && !c.shorter(f, rs) {
		fail("not complete: %v is not among the readings", f)
	}
	b := &brute{shown: c.shown, l: c.log, s: apply.New(c.log)}
	if c.purged > 0 {
		if c.mayHaveParted() {
			return problems
		}
		skips, replays := b.single(int(c.purged), shortRun, int(c.life.upTo))
		before := slices.DeleteFunc(slices.Concat(skips, replays), func(r run) bool { return r.last > c.purged })
		if len(before) > 0 {
			fail("not complete: entries %v, before those that are left, that had no effect or were applied again would leave the same", before)
		}
		return problems
	}
	skips, replays := b.single(int(c.life.upTo), math.MaxInt, int(c.life.upTo))
	for _, s := range skips {
		f := faults.Fault{Kind: faults.Skipped, First: s.first, Last: s.last}
		if !told(f) && faults.Cost([]faults.Fault{f}) <= rs[0].Cost+faults.Margin {
			fail("not tight: %v would leave the same (by the tool, too: %v)", f, c.member.Explains(&faults.Reading{Faults: []faults.Fault{f}}))
		}
	}
	for _, s := range replays {
		f := faults.Fault{Kind: faults.Again, First: s.first, Last: s.last, Times: 1}
		if !told(f) && faults.Cost([]faults.Fault{f}) <= rs[0].Cost+faults.Margin {
			fail("not tight: %v would leave the same (by the tool, too: %v)", f, c.member.Explains(&faults.Reading{Faults: []faults.Fault{f}}))
		}
	}
	for _, r := range rs {
		if len(r.Faults) != 1 {
			continue
		}
		x := run{r.Faults[0].First, r.Faults[0].Last}
		switch f := r.Faults[0]; {
		case f.Kind == faults.Skipped && !slices.Contains(skips, x), f.Kind == faults.Again && f.Times == 1 && !f.NoRestart && !slices.Contains(replays, x):
			fail("too wide: %v does not leave the same, or is told shorter", f)
		}
	}
	return problems
}

// mayHaveParted tells whether the search says that the member may have parted from the others before the first entry that is left.
func (c *faulty) mayHaveParted() bool {
	return c.parting != nil && (c.member == nil || c.parting.Reading.Cost <= c.result.Readings[0].Cost+faults.Margin)
}

// tablesAlone tells whether a table is all that is told: it is said of that alone that it may be of before.
func (c *faulty) tablesAlone() bool {
	return !slices.ContainsFunc(c.result.Readings[0].Faults, func(f faults.Fault) bool { return f.Kind != faults.Table })
}

// shortRun is how many entries in a row are tried before those that are left.
const shortRun = 4

// shorter tells whether a reading of the same kind with fewer entries, or fewer times, leaves the very same state.
func (c *faulty) shorter(f faults.Fault, rs []faults.Reading) bool {
	return slices.ContainsFunc(rs, func(r faults.Reading) bool {
		if len(r.Faults) != 1 {
			return false
		}
		g := r.Faults[0]
		return g.Kind == f.Kind && g.Times <= f.Times && f.First <= g.First && g.Last <= f.Last
	})
}

// leaves runs a reading through etcd's own applier and tells in what that leaves something else than what is there: empty if in nothing.
func (c *faulty) leaves(r *faults.Reading) string {
	l := life{log: c.life.log, upTo: c.life.upTo, lazy: 1}
	if r != nil {
		l.faults = r.Faults
	}
	x, err := l.run(filepath.Join(c.dir, "again"))
	if err != nil {
		return err.Error()
	}
	revisions, tables := map[int64]bool{}, map[string]bool{}
	for _, f := range l.faults {
		switch {
		case f.Kind == faults.Rows && f.Kept:
			return "" // what later entries made of the rows that are there is not run
		case f.Kind == faults.Rows:
			for _, main := range x.made[f.First] {
				revisions[main] = true
			}
		case f.Kind == faults.Table:
			tables[[...]string{"", "lease", "auth", "alarm"}[f.Table]] = true
		case f.Kind == faults.Rules:
			return "" // etcd's present applier knows its own rules only
		}
	}
	return c.shown.against(x.dump.shown(x.revision, c.shown.compact), revisions, tables)
}

func (c *faulty) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d entries up to %d, revision %d, compacted at %d, lazy from %d, %d rows removed\n  planted: %v\n", len(c.life.log), c.life.upTo, c.shown.revision, c.shown.compact, c.life.lazy, c.life.partial, c.planted)
	for _, r := range c.result.Readings[:min(len(c.result.Readings), 12)] {
		fmt.Fprintf(&b, "  reading: %d %v\n", r.Cost, r.Faults)
	}
	fmt.Fprintf(&b, "  readings %d, contradicted at %d, limits %v\n", len(c.result.Readings), c.result.Stop, c.result.Limits)
	lo, hi := c.around()
	for i := range c.life.log {
		e := &c.life.log[i]
		if e.Index < lo || e.Index > hi {
			continue
		}
		fmt.Fprintf(&b, "  %4d %s", e.Index, e.Kind)
		if e.Request != nil {
			fmt.Fprintf(&b, " %.300s", e.Request)
		}
		fmt.Fprintf(&b, " -> %v\n", c.lived.made[e.Index])
	}
	return b.String()
}

// around are the entries that a person wants to see.
func (c *faulty) around() (lo, hi uint64) {
	if *only > 0 || len(c.planted) == 0 {
		return 0, c.life.upTo
	}
	return c.planted[0].First - min(c.planted[0].First, 3), max(c.planted[len(c.planted)-1].Last, c.result.Stop) + 3
}
