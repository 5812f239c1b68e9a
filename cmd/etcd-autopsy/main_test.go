package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"etcd-autopsy/report"
)

var update = flag.Bool("update", false, "rewrite golden files and the expected output in scripts")

// scenarios is where the archives of real members are.
const scenarios = "../../testdata"

// cleanups are run when all tests have ended.
var cleanups []func()

// tests removes what several of them share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer func() {
		for _, f := range cleanups {
			f()
		}
	}()
	return m.M.Run()
}

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"etcd-autopsy": main})
}

// TestScripts runs the program as a user does. Commands of the scripts, besides testscript's own:
//
//	exits STATUS CMD ARG...   run a command in this process; fail unless its status is that, or if it changed any evidence
//	process STATUS CMD ARG... the same as a process of its own, with the script's environment
//	unpack ARCHIVE DIR        unpack a .tar.zst
//	line stdout|stderr        fail unless there is exactly one line
//	width N stdout            fail if a line is longer than N columns
func TestScripts(t *testing.T) {
	dir, err := filepath.Abs(scenarios)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TESTDATA", dir)
			return os.Symlink(dir, filepath.Join(env.WorkDir, "testdata"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "process": process, "unpack": unpackCmd, "line": line, "width": width,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	exitsWith(ts, neg, args, func(ts *testscript.TestScript, args []string) int { return inProcess(ts, args[1:]) })
}

func process(ts *testscript.TestScript, neg bool, args []string) {
	exitsWith(ts, neg, args, func(ts *testscript.TestScript, args []string) int {
		err := ts.Exec(args[0], args[1:]...)
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		ts.Check(err)
		return 0
	})
}

func exitsWith(ts *testscript.TestScript, neg bool, args []string, status func(*testscript.TestScript, []string) int) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS CMD ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	before := evidenceOf(ts, args[2:])
	if got := status(ts, args[1:]); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if after := evidenceOf(ts, args[2:]); after != before {
		ts.Fatalf("the evidence changed:\n%s\nwas:\n%s", after, before)
	}
}

// evidenceOf lists everything in the work folder and in the arguments, with sizes, times and hashes.
func evidenceOf(ts *testscript.TestScript, args []string) string {
	var b strings.Builder
	roots := []string{ts.Getenv("WORK")}
	for _, a := range args {
		_, p, ok := strings.Cut(a, "=")
		if !ok {
			p = a
		}
		if p = ts.MkAbs(p); !strings.HasPrefix(p, roots[0]) || strings.Contains(p, "/testdata") {
			if p, err := filepath.EvalSymlinks(p); err == nil {
				roots = append(roots, p)
			}
		}
	}
	for _, r := range roots {
		ts.Check(list(&b, r))
	}
	return b.String()
}

func list(w *strings.Builder, root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil || strings.Contains(p, "/.tmp") {
			return err
		}
		fmt.Fprintf(w, "%s %v %d %v", p, fi.Mode(), fi.Size(), fi.ModTime().UnixNano())
		if fi.Mode().IsRegular() {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			fmt.Fprintf(w, " %x", h.Sum(nil))
		}
		fmt.Fprintln(w)
		return nil
	})
}

func unpackCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unpack ARCHIVE DIR")
	}
	ts.Check(unpack(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}

// unpack unpacks a .tar.zst. Zeros become holes.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := sparse(path, r, h.Size); err != nil {
			return err
		}
	}
}

func sparse(path string, r io.Reader, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buf, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < size; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return errors.Join(err, f.Close())
			}
		}
		at += int64(n)
	}
	return cmp.Or(f.Truncate(size), f.Close())
}

func line(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: line stdout|stderr")
	}
	if text := ts.ReadFile(args[0]); strings.Count(text, "\n") != 1 {
		ts.Fatalf("%s is not one line:\n%s", args[0], text)
	}
}

func width(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: width N stdout")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for l := range strings.Lines(ts.ReadFile(args[1])) {
		if len(strings.TrimSuffix(l, "\n")) > n {
			ts.Fatalf("longer than %d columns: %s", n, l)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if got := run(ctx, []string{"diff", filepath.Join(scenarios, "healthy-3.6")}, nil, &out, &errs); got != exitStopped || out.Len() > 0 {
		t.Errorf("status %d, output %q, want %d and none", got, out.String(), exitStopped)
	}
	if strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("not one line: %q", errs.String())
	}
}

// TestGolden compares the output of every command in every format with the files in testdata/golden.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"lease-revoke-auth", "healthy-3.6", "truncated-db"} {
		for _, command := range []string{"check", "diff", "inspect", "stats"} {
			for _, format := range report.Formats() {
				goldenRun(t, scenario+"."+command+"."+format, command, filepath.Join(scenarios, scenario), "-w", format)
			}
		}
		goldenRun(t, scenario+".diff-full.table", "diff", "--full", filepath.Join(scenarios, scenario))
		goldenRun(t, scenario+".diff-full.markdown", "diff", "--full", filepath.Join(scenarios, scenario), "-w", "markdown")
	}
}

// TestScreens compares what a person sees first of an incident with the files in testdata/golden.
func TestScreens(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{
		"auth-permcache-snapshot", "auth-revision", "crash-inconsistency", "defrag-reapply", "defrag-reapply-compacted", "hot-copy-three-torn",
		"log-fork", "tampered-delrev", "tampered-value", "zombie-members", "learner-promoted-not-persisted", "mixed-clusters",
	} {
		goldenRun(t, "screen."+scenario, "diff", filepath.Join(scenarios, scenario))
	}
}

// goldenRun compares what a command line prints with a file.
func goldenRun(t *testing.T, name string, args ...string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		got, errs, _ := autopsy(t, args...)
		if errs = foundLog.ReplaceAllString(errs, ""); errs != "" {
			t.Fatal(errs)
		}
		golden(t, name, []byte(got))
	})
}

func scenarioNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scenarios, "*", "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(filepath.Dir(f)))
	}
	if slices.Sort(names); len(names) < 50 {
		t.Fatalf("only %d scenarios", len(names))
	}
	return names
}
