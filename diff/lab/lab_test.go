package lab

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

var (
	count   = flag.Int("lab.n", 200, "how many seeds")
	from    = flag.Uint64("lab.from", 1, "first seed")
	only    = flag.Uint64("lab.seed", 0, "this seed alone")
	verbose = flag.Bool("lab.v", false, "print every plan")
	nfaults = flag.Int("lab.faults", -1, "seeds with as many faults only, however many if negative")
	keep    = flag.String("lab.keep", "", "where to leave the data directories of -lab.seed")
	failing = flag.Int("lab.show", 20, "how many failing cases to print")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400) // thousands of small stores come and go
	os.Exit(m.Run())
}

// scratch is a directory in memory if there is one: the members of thousands of cases need not last.
func scratch(t testing.TB) string {
	if *keep != "" {
		return *keep
	}
	if dir, err := os.MkdirTemp("/dev/shm", "lab"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// outcome is one seed's.
type outcome struct {
	c   *Case
	d   *diff.Document
	res *Result
	err error
}

func try(root string, seed uint64) (o outcome) {
	dir := filepath.Join(root, fmt.Sprint(seed))
	defer func() {
		if p := recover(); p != nil {
			o.err = fmt.Errorf("panic: %v", p)
		}
		if *only == 0 {
			_ = os.RemoveAll(dir)
		}
	}()
	wanted := func(fs []*Fault) bool { return *nfaults < 0 || len(fs) == *nfaults || seed == *only }
	if o.c, o.err = MakeIf(dir, seed, wanted); o.err != nil || o.c == nil {
		return o
	}
	o.d, o.err = compare(o.c)
	if o.err == nil {
		o.res = o.c.Check(o.d)
	}
	return o
}

func compare(c *Case) (*diff.Document, error) {
	var args []string
	for i, d := range c.Dirs {
		args = append(args, c.Labels[i]+"="+d)
	}
	set, err := inspect.Open(context.Background(), args, inspect.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }()
	d := diff.Compare(set.Members)
	d.Keys = d.Keys.Held()
	return d, nil
}

func TestLab(t *testing.T) {
	root := scratch(t)
	if *only > 0 {
		o := try(root, *only)
		if o.err != nil {
			t.Fatal(o.err)
		}
		for _, x := range o.c.Members {
			t.Logf("log of %s:\n%s", x.Label, x.Log())
		}
		t.Logf("%s\n  got: verdict %q %s", o.c.Plan, o.d.Verdict, tellAll(o.d))
		for _, p := range o.res.Problems {
			t.Error(p)
		}
		return
	}
	var mu sync.Mutex
	st := newStats()
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range seeds {
				o := try(root, s)
				if o.c == nil && o.err == nil {
					continue
				}
				mu.Lock()
				st.add(t, s, o)
				mu.Unlock()
			}
		})
	}
	for i := range uint64(*count) {
		seeds <- *from + i
	}
	close(seeds)
	wg.Wait()
	t.Log(st)
	if st.failed > 0 {
		t.Errorf("%d of %d cases failed", st.failed, st.cases)
	}
}

// stats sums up a run.
type stats struct {
	cases, failed          int
	kinds                  map[string]int // cases by kind of fault
	bad                    map[string]int // failures by kind
	where                  map[string]int // failures by kind of fault and kind
	explained, unexplained int            // of those that differ
	verdicts               map[string]int
	behind                 map[string]int // verdicts on a consistent index that was left behind
	start                  time.Time
	failures               []string
}

func newStats() *stats {
	return &stats{kinds: map[string]int{}, bad: map[string]int{}, where: map[string]int{}, verdicts: map[string]int{}, behind: map[string]int{}, start: time.Now()}
}

func (s *stats) add(t testing.TB, seed uint64, o outcome) {
	s.cases++
	name := "none"
	if o.c != nil {
		var ks []string
		for _, f := range o.c.Faults {
			ks = append(ks, string(f.Kind))
			s.kinds[string(f.Kind)]++
		}
		if len(ks) == 0 {
			s.kinds["none"]++
		} else {
			name = strings.Join(ks, " + ")
		}
	}
	if o.err != nil {
		s.failed++
		s.bad["error"]++
		t.Logf("seed %d: %v", seed, o.err)
		return
	}
	if *verbose {
		t.Logf("%s  got: verdict %q %s", o.c.Plan, o.d.Verdict, tellAll(o.d))
	}
	s.verdicts[string(o.d.Verdict)]++
	switch {
	case o.d.Verdict != diff.Diverged:
	case o.d.Explained:
		s.explained++
	default:
		s.unexplained++
	}
	if o.c.Truth.Behind && len(o.c.Faults) == 1 {
		s.behind[string(o.d.Verdict)]++
	}
	if len(o.res.Problems) == 0 {
		return
	}
	s.failed++
	for _, p := range o.res.Problems {
		s.bad[p.Kind]++
		s.where[name+": "+p.Kind]++
	}
	if s.failed <= *failing {
		t.Logf("%s  got: verdict %q %s\n  PROBLEMS %v", o.c.Plan, o.d.Verdict, tellAll(o.d), o.res.Problems)
	}
	s.failures = append(s.failures, fmt.Sprintf("%d %s: %s", seed, name, o.res.Problems[0].Kind))
}

func (s *stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cases in %v, %d failed\n", s.cases, time.Since(s.start).Round(time.Millisecond), s.failed)
	table := func(title string, m map[string]int) {
		fmt.Fprintf(&b, "%s\n", title)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "  %6d %s\n", m[k], k)
		}
	}
	table("faults", s.kinds)
	table("verdicts", s.verdicts)
	fmt.Fprintf(&b, "diverged: %d of which all members are explained, %d of which some are not\n", s.explained, s.unexplained)
	table("verdicts on a consistent index left behind", s.behind)
	table("failures", s.bad)
	table("where", s.where)
	fmt.Fprintf(&b, "failing seeds\n  %s\n", strings.Join(s.failures, "\n  "))
	return b.String()
}
