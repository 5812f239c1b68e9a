package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
)

// shared reads the members of a scenario once, and compares them once, for all tests of this package. What is not of a
// scenario is read each time.
var shared = engine{open: openShared, compare: compareShared}

type opening struct {
	once sync.Once
	set  *inspect.Set
	err  error
}

type comparing struct {
	once sync.Once
	doc  *diff.Document
}

var (
	openings    sync.Map // of *opening, by the arguments
	comparisons sync.Map // of *comparing, by what is compared
)

func openShared(ctx context.Context, args []string, opts inspect.Options) (*inspect.Set, func() error, error) {
	key := "newest"
	if opts.Meta != nil {
		key = strconv.Itoa(*opts.Meta)
	}
	if len(opts.WALDirs) > 0 || opts.TempDir != "" || opts.Quick {
		return reading.open(ctx, args, opts)
	}
	for _, a := range args {
		_, p, ok := strings.Cut(a, "=")
		if !ok {
			p = a
		}
		if !strings.HasPrefix(p, scenarios+"/") {
			return reading.open(ctx, args, opts)
		}
		key += "\x00" + a
	}
	v, _ := openings.LoadOrStore(key, new(opening))
	o := v.(*opening)
	// Not the context of the test that happens to come first. What is open is closed by the end of the process.
	o.once.Do(func() { o.set, o.err = inspect.Open(context.WithoutCancel(ctx), args, opts) })
	if o.err != nil {
		return nil, nil, o.err
	}
	for _, m := range o.set.Members {
		comparisons.LoadOrStore(compared{m, ""}, new(comparing))
	}
	return o.set, func() error { return nil }, ctx.Err()
}

// compared are members, by the first one, and what the logs of their servers tell.
type compared struct {
	first *inspect.Member
	logs  string
}

func compareShared(ctx context.Context, ms []*inspect.Member, opts diff.Options) *diff.Document {
	_, ok := comparisons.Load(compared{ms[0], ""})
	if !ok || opts.Replay || len(opts.Bases) > 0 || ctx.Err() != nil {
		return reading.compare(ctx, ms, opts)
	}
	key := compared{ms[0], ""}
	if opts.ServerLogs != nil {
		key.logs = fmt.Sprint(opts.ServerLogs())
	}
	v, _ := comparisons.LoadOrStore(key, new(comparing))
	c := v.(*comparing)
	c.once.Do(func() {
		c.doc = reading.compare(context.WithoutCancel(ctx), ms, diff.Options{ServerLogs: opts.ServerLogs})
	})
	return c.doc
}

// scenarioMembers are the members of a scenario, which all tests share.
func scenarioMembers(t *testing.T, name string) []*inspect.Member {
	t.Helper()
	set, _, err := shared.open(t.Context(), []string{filepath.Join(scenarios, filepath.FromSlash(name))}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set.Members
}

// sharedRun runs a command on shared members, but for those that redact the members which they read.
func sharedRun(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	e := shared
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--redact") }) {
		e = reading
	}
	return e.run(ctx, args, strings.NewReader(""), stdout, stderr)
}

// autopsy runs the program in this process.
func autopsy(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = sharedRun(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), status
}

// inProcess runs a command of a script in this process, as if the directory of the script were the current one.
func inProcess(ts *testscript.TestScript, args []string) int {
	work := ts.Getenv("WORK") + string(filepath.Separator)
	args = append([]string{}, args...) // cobra takes nil for those of this process
	for i, a := range args {
		name, p, ok := strings.Cut(a, "=")
		if name += "="; !ok {
			name, p = "", a
		}
		if rest, ok := strings.CutPrefix(p, "testdata/"); ok {
			p = scenarios + "/" + rest
		} else if _, err := os.Stat(ts.MkAbs(p)); p != "" && (err == nil || i > 0 && args[i-1] == "-o") {
			p = ts.MkAbs(p)
		}
		args[i] = name + p
	}
	var out, errs bytes.Buffer
	status := sharedRun(context.Background(), args, &out, &errs)
	back := strings.NewReplacer(scenarios, "testdata", work, "")
	_, err := back.WriteString(ts.Stdout(), out.String())
	_, err2 := back.WriteString(ts.Stderr(), errs.String())
	ts.Check(errors.Join(err, err2))
	return status
}
