package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

var alone = flag.Int("lab.alone", 40, "how many seeds to judge member by member")

// aloneRegressions are seeds that went wrong once.
var aloneRegressions = []uint64{
	1377,   // panicked: an entry applied again counted twice in a row of entries without effect
	41562,  // a transaction that took the branch that may, where the other asks to keep a value that is not there
	44153,  // the oracle did not look at alarms
	44415,  // the oracle knew one replay only, where a later one leaves the same
	620256, // a lost row, which the row before it might be, applied twice
	621537, // a value flipped after a put that keeps it had met it
	43178,  // a lost revision: what it held was missing in what came next
}

// TestAlone runs the log of each member again by itself: what went wrong on it must be found without the others, and a
// member on which nothing did must be called clean.
func TestAlone(t *testing.T) {
	root := scratch(t)
	first, n := *from, uint64(*alone)
	if *only > 0 {
		first, n = *only, 1
	}
	var mu sync.Mutex
	var clean, found, bad int
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := range seeds {
				c, f, problems := judgeAlone(filepath.Join(root, fmt.Sprint("alone", s)), s)
				mu.Lock()
				clean, found, bad = clean+c, found+f, bad+len(problems)
				for _, p := range problems {
					t.Error(p)
				}
				mu.Unlock()
			}
		})
	}
	for s := range n {
		seeds <- first + s
	}
	if *only == 0 {
		for _, s := range aloneRegressions {
			seeds <- s
		}
	}
	close(seeds)
	wg.Wait()
	t.Logf("%d members called clean, %d with their fault found, %d wrong", clean, found, bad)
	if *only == 0 && n >= 40 && (clean < int(n)/2 || found < int(n)/10) {
		t.Error("hardly anything was tested")
	}
}

func judgeAlone(dir string, seed uint64) (clean, found int, problems []error) {
	defer func() { _ = os.RemoveAll(dir) }()
	fail := func(err error) (int, int, []error) {
		return clean, found, append(problems, fmt.Errorf("seed %d: %w", seed, err))
	}
	c, err := Make(dir, seed)
	if err != nil {
		return fail(err)
	}
	all, err := c.Alone(filepath.Join(dir, "alone"))
	if err != nil {
		return fail(err)
	}
	for _, l := range all {
		d, err := investigateAlone(l)
		if err != nil {
			return fail(err)
		}
		switch p := l.Check(d); {
		case p != "":
			problems = append(problems, fmt.Errorf("seed %d: %s: %s\n%s", seed, l.Label, p, c.Plan))
		case l.Marked:
			found++
		default:
			clean++
		}
	}
	return clean, found, problems
}

func investigateAlone(l *Lone) (d *diff.Document, err error) {
	open := func(path string) []*inspect.Member {
		set, e := inspect.Open(context.Background(), []string{path}, inspect.Options{})
		if e != nil {
			err = errors.Join(err, e)
			return nil
		}
		return set.Members
	}
	ms := open(l.Dir)
	var opts diff.Options
	if l.Base != "" {
		opts.Bases = open(l.Base)
	}
	if err != nil {
		return nil, err
	}
	return diff.Investigate(context.Background(), ms, opts), nil
}
