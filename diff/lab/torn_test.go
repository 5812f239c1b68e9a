package lab

import (
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
)

var (
	tornN    = flag.Int("torn.n", 100, "how many seeds of torn copies")
	tornFrom = flag.Uint64("torn.from", 1, "first of these seeds")
	tornSeed = flag.Uint64("torn.seed", 0, "this seed alone")
)

// TestTorn holds that no damage of copies makes a divergence, nor hides that something was not read: of members that did the
// same none has diverged, and members are consistent only if all of them are whole. A fault that is really there is found, or it
// is said that this cannot be told.
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
		case d.Verdict == diff.Consistent && (!whole || planted && c.shown()):
			t.Errorf("seed %d: not all of it is whole, or there is a fault\n%s", seed, say())
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

// shown tells whether a fault shows in copies that nothing was done to.
func (t *Torn) shown() bool {
	with, without := true, false
	for i, how := range t.Hows {
		switch befallen := t.Faults[0].on(i); {
		case befallen:
			with = with && how == ""
		default:
			without = without || how == ""
		}
	}
	return with && without && t.Truth.Verdict == string(diff.Diverged)
}
