package diff_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
)

// late is a context that is cancelled once it was asked some times, by whom ever.
type late struct {
	context.Context
	left  atomic.Int64
	asked atomic.Int64
}

func (l *late) Err() error {
	if l.asked.Add(1) > l.left.Load() {
		return context.Canceled
	}
	return nil
}

// TestInvestigateStops cancels an investigation at every moment at which it asks whether it should go on: what it says then is
// no more than what it says in the end, and Err tells that it was stopped.
func TestInvestigateStops(t *testing.T) {
	set, err := inspect.Open(t.Context(), []string{"../testdata/crash-inconsistency"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}()
	whole := &late{Context: t.Context()}
	whole.left.Store(1 << 40)
	all := diff.Investigate(whole, set.Members, diff.Options{})
	if all.Err != nil || all.Verdict != diff.Diverged {
		t.Fatalf("%s: %v", all.Verdict, all.Err)
	}
	most := whole.asked.Load()
	early, cut := 0, 0
	for n := int64(0); n < most; n = n*2 + 1 {
		ctx := &late{Context: t.Context()}
		ctx.left.Store(n)
		d := diff.Investigate(ctx, set.Members, diff.Options{})
		if !errors.Is(d.Err, context.Canceled) || len(d.Reasons) == 0 {
			t.Errorf("stopped when asked for the %dth time of %d: %v, %q", n, most, d.Err, d.Reasons)
		}
		switch d.Verdict {
		case diff.Indeterminate:
			early++
			if len(d.Divergences) > 0 {
				t.Errorf("stopped when asked for the %dth time: indeterminate, with %d divergences", n, len(d.Divergences))
			}
		case diff.Diverged:
			cut++
		default:
			t.Errorf("stopped when asked for the %dth time: %s", n, d.Verdict)
		}
	}
	if early == 0 || cut == 0 {
		t.Errorf("of %d moments, %d were before a verdict and %d behind it", most, early, cut)
	}
}

// TestInvestigateShrunk cuts a file that is open: that is told from damage that was there before.
func TestInvestigateShrunk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut")
	}
	set, err := inspect.Open(t.Context(), []string{"../testdata/crash-inconsistency"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	var dirs []string
	for _, m := range set.Members {
		dir := filepath.Join(t.TempDir(), m.Label)
		for _, f := range m.Files {
			p := filepath.Join(dir, filepath.FromSlash(f.Name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, f.Bytes(), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	cut, err := inspect.Open(t.Context(), dirs, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cut.Close() }()
	if err := os.Truncate(filepath.Join(dirs[0], "member", "snap", "db"), 0); err != nil {
		t.Fatal(err)
	}
	d := diff.Investigate(t.Context(), cut.Members, diff.Options{})
	if d.Members[0].Log.LastIndex != cut.Members[0].Log.Last() {
		t.Errorf("the log, which is whole, ends at entry %d", d.Members[0].Log.LastIndex)
	}
	if d.Verdict != diff.Indeterminate || !errors.Is(d.Err, evidence.ErrShrank) || errors.Is(d.Err, context.Canceled) {
		t.Errorf("%s: %v, %q", d.Verdict, d.Err, d.Reasons)
	}
}
