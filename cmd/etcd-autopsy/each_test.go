package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// TestInOrder asserts that no more run at a time, or wait, than there are processors, that what comes of them is in order, and that all
// have ended when it returns.
func TestInOrder(t *testing.T) {
	t.Parallel()
	all := make([]int, 100)
	for i := range all {
		all[i] = i
	}
	var held, most, begun, ended atomic.Int64
	run := func(_ context.Context, x *int) int {
		begun.Add(1)
		n := held.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		for range *x % 7 * 100 {
			runtime.Gosched()
		}
		ended.Add(1)
		return *x
	}
	next := 0
	use := func(x int) error {
		if x != next {
			t.Errorf("%d comes in place of %d", x, next)
		}
		next++
		held.Add(-1)
		return nil
	}
	if err := inOrder(t.Context(), all, run, use); err != nil || next != len(all) {
		t.Errorf("%d of them: %v", next, err)
	}
	// One more than run can wait while the first of them is waited for.
	if n := most.Load(); n > int64(runtime.GOMAXPROCS(0))+1 {
		t.Errorf("%d were held at a time", n)
	}
	stop := errors.New("stop")
	begun.Store(0)
	ended.Store(0)
	err := inOrder(t.Context(), all, run, func(x int) error {
		if x == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || begun.Load() != ended.Load() || begun.Load() == int64(len(all)) {
		t.Errorf("%v: %d begun, %d ended", err, begun.Load(), ended.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := inOrder(ctx, all, run, func(x int) error {
		if x == 3 {
			cancel()
		}
		if x > 4 {
			t.Error("it goes on")
		}
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestFind asserts which paths are backups of their own.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"b/2.db", "b/1.db", "a.db", "node/member/snap/db", "node/member/wal/x.wal", ".hidden/x.db", "b/.x.db", "b/lost+found/y", "c/\x1b\xff.db"} {
		p := filepath.Join(dir, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link.db": "a.db", "circle": ".", "gone.db": "none", "node2": "node"} {
		if err := os.Symlink(filepath.Join(dir, to), filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	for _, c := range []struct {
		match, want string
		args        []string
	}{
		{"", "a.db b/1.db b/2.db c/\x1b\xff.db gone.db link.db node node2", []string{"."}},
		{"*.db", "a.db b/1.db b/2.db c/\x1b\xff.db gone.db link.db", []string{"."}},
		{"*.db", "b/1.db b/2.db node none", []string{"none", "node", "b", "./b/1.db"}}, // what is named is taken whatever it is called
	} {
		f := eachFlags{each: true}
		if c.match != "" {
			f.match = []string{c.match}
		}
		var args, got []string
		for _, a := range c.args {
			args = append(args, dir+"/"+a)
		}
		all, err := f.find(t.Context(), args)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			rel, err := filepath.Rel(dir, x.path)
			if err != nil || x.err != nil {
				t.Fatal(err, x.err)
			}
			got = append(got, filepath.ToSlash(rel))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q of %v: %q, want %q", c.match, c.args, got, c.want)
		}
	}
}
