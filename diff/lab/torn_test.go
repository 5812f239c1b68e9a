package lab

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

var (
	tornN    = flag.Int("torn.n", 100, "how many seeds of torn copies")
	tornFrom = flag.Uint64("torn.from", 1, "first of these seeds")
	tornSeed = flag.Uint64("torn.seed", 0, "this seed alone")
)

// TestTorn holds that no damage of copies makes a divergence, nor hides that something was not read: of members that did the
// same none has diverged, and members are consistent only if all of them are whole. A fault that shows in copies which nothing was done
// to is found, unless it looks like one of copying; of any other it may be said that this cannot be told.
func TestTorn(t *testing.T) {
	root := scratch(t)
	var mu sync.Mutex
	counts := map[string]int{}
	try := func(seed uint64) {
		dir := filepath.Join(root, fmt.Sprint("torn", seed))
		if *tornSeed == 0 {
			defer func() { _ = os.RemoveAll(dir) }()
		}
		planted := seed%4 == 0
		c, err := MakeTorn(dir, seed, planted)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if c == nil || err != nil {
			return
		}
		d, err := compare(c.Case)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return
		}
		whole := !slices.Contains(c.Whole, false)
		mu.Lock()
		counts[fmt.Sprintf("planted %v, whole %v: %s", planted, whole, d.Verdict)]++
		mu.Unlock()
		say := func() string {
			return fmt.Sprintf("%sdbs: %q, whole %v\n  got: %s %q\n%s", c.Plan, c.Hows, c.Whole, d.Verdict, d.Reasons, tellAll(d))
		}
		switch {
		case d.Verdict == diff.Diverged && !planted:
			t.Errorf("seed %d: nothing diverged\n%s", seed, say())
		case d.Verdict == diff.Consistent && (!whole && !c.right(t) || planted && c.shown()):
			t.Errorf("seed %d: not all of it is whole, or there is a fault\n%s", seed, say())
		case d.Verdict != diff.Diverged && planted && c.shown() && !c.doubted(d):
			t.Errorf("seed %d: a fault in what nothing was done to is not found\n%s", seed, say())
		case *tornSeed > 0:
			t.Log(say())
		}
	}
	if *tornSeed > 0 {
		try(*tornSeed)
		return
	}
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range seeds {
				try(s)
			}
		})
	}
	for i := range uint64(*tornN) {
		seeds <- *tornFrom + i
	}
	close(seeds)
	wg.Wait()
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%5d %s", counts[k], k)
	}
}

// right tells whether all copies hold just what a member without fault holds at their consistent index, though some of their pages are of
// another moment: what differs is not what anybody reads.
func (t *Torn) right(tb testing.TB) bool {
	set, err := inspect.Open(tb.Context(), t.Dirs, inspect.Options{})
	if err != nil {
		tb.Error(err)
		return false
	}
	defer func() { _ = set.Close() }()
	for _, m := range set.Members {
		revision := int64(1)
		for _, e := range t.tries.w.ref.effects {
			if e.Index > m.DB.Tables.ConsistentIndex {
				break
			}
			revision = e.After
			if e.After == e.Before || e.After <= m.DB.CompactRevision() {
				continue
			}
			rows := m.DB.Rows.Group(e.After)
			if !slices.EqualFunc(rows, e.Rows, func(r mvcc.Row, o Row) bool { return bytes.Equal(r.Value, o.Value) }) {
				return false
			}
		}
		if m.DB.Revision() != revision {
			return false
		}
	}
	return true
}

// shown tells whether a fault shows in copies that nothing was done to.
func (t *Torn) shown() bool {
	with, without := true, false
	for i, how := range t.Hows {
		switch faulty := t.Faults[0].on(i); {
		case faulty:
			with = with && how == ""
		default:
			without = without || how == ""
		}
	}
	return with && without && t.Truth.Verdict == string(diff.Diverged)
}
