package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

// eachHelp is what --each does, in the help of every command that has it.
const eachHelp = `With --each, every path is a backup by itself: a file, or a data directory; of a folder, every file
and data directory in and below it that is not hidden, or those that --match names. As many at a
time are read as there are processors, and told in the order of their paths, with -w json in a line
of JSON each. The exit status is the one that counts first of 2, 1, 3 and 0.

--skip-done FILE goes on where an earlier run ended, whose lines of JSON FILE holds. It passes over
what a whole line of the same command tells, if path, size, time of modification and --meta are the
same and the exit status is not 2. That exit status counts, and -w openmetrics has the figures.

-w openmetrics writes gauges for Prometheus: exit status, revision, consistent index, sizes, newest
time and findings. Give its file its name only when it is whole: a collector may read it meanwhile.`

// eachFlags are those of a command that runs on each backup by itself.
type eachFlags struct {
	each  bool
	match []string
	done  []string
}

func (f *eachFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.each, "each", false, "take every backup by itself, however many there are")
	cmd.Flags().StringArrayVar(&f.match, "match", nil, "with --each, of folders only what is called like `PATTERN`; may be repeated")
	cmd.Flags().StringArrayVar(&f.done, "skip-done", nil, "with --each, pass over what an earlier run told in `FILE`; may be repeated")
	inner := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !f.each && (len(f.match) > 0 || len(f.done) > 0) {
			return &hinted{errors.New("--match and --skip-done are about backups that are each taken by themselves"), "give --each, too"}
		}
		for _, p := range f.match {
			if _, err := filepath.Match(p, ""); err != nil {
				return fmt.Errorf("%q is no pattern for names", p)
			}
		}
		if inner != nil {
			return inner(cmd, args)
		}
		return nil
	}
}

// statusRank orders the exit statuses of several backups, the one that counts first.
var statusRank = []int{exitFailed, exitDiverged, exitPartial, exitOK}

// worse is the one of two exit statuses that counts first.
func worse(a, b int) int {
	if slices.Index(statusRank, b) < slices.Index(statusRank, a) {
		return b
	}
	return a
}

// measured runs a command that can write metrics. If it could not run these say so, besides the error.
func (a *app) measured(cmd *cobra.Command, run func(format report.Format) error) error {
	format, err := report.ParseFormatOr(a.format, report.OpenMetrics)
	if err != nil {
		return err
	}
	err = run(format)
	if err != nil && format == report.OpenMetrics && cmd.Context().Err() == nil {
		err = errors.Join(err, report.Metrics(cmd.OutOrStdout(), cmd.Name(), exitFailed, nil))
	}
	return err
}

// measuredApart are the figures of members, each with the path that it came from.
func measuredApart(ms []*inspect.Member, figures []report.Figures) (all []report.Measured) {
	for i, m := range ms {
		all = append(all, report.Measured{Path: m.Origin, Status: report.NoStatus, Members: figures[i : i+1]})
	}
	return all
}

// judge runs a command on one path. It notes what it says, and returns its document. An error is only that it could not run.
type judge func(ctx context.Context, path string, x *report.Each) (document any, err error)

// readEach opens what one path stands for, and closes it when it is judged.
func (a *app) readEach(use func(ms []*inspect.Member, x *report.Each) any) judge {
	return func(ctx context.Context, path string, x *report.Each) (document any, err error) {
		set, closed, err := a.engine.open(ctx, []string{path}, inspect.Options{Meta: a.in.meta.slot, TempDir: a.in.temp})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, closed()) }()
		x.Notes = append(x.Notes, set.Notes...)
		err = evidence.Guard(path, func() error {
			if err := anyReadable(set.Members); err != nil {
				return err
			}
			document = use(set.Members, x)
			return nil
		})
		return document, err
	}
}

// saying is what is said of one backup.
type saying struct {
	*report.Each
	line json.RawMessage
	skip bool // an earlier run said it
}

// each runs a command on each backup that args stand for, by itself.
func (a *app) each(cmd *cobra.Command, args []string, f *eachFlags, format report.Format, run judge) (rerr error) {
	if len(a.in.wal) > 0 {
		return errors.New("--wal-dir names the log of a member; with --each a backup has only its own")
	}
	done, err := f.readDone(cmd)
	if err != nil {
		return err
	}
	all, err := f.find(cmd.Context(), args)
	if err != nil {
		return cmp.Or(interrupted(cmd), err)
	}
	if len(all) == 0 {
		return &hinted{errors.New("no backup in these folders"), "name the files, or see --match"}
	}
	var out *report.Eaches
	if format != report.OpenMetrics {
		out = report.NewEaches(cmd.OutOrStdout(), format)
	}
	notes := escape.NewLines(cmd.ErrOrStderr())
	bar := &progress{}
	if _, is := terminal(stdoutOf(cmd)); !is {
		bar = newProgress(cmd.ErrOrStderr())
	}
	defer bar.end()
	var measured []report.Measured
	skipped, n := 0, 0
	err = inOrder(cmd.Context(), all, func(ctx context.Context, b *candidate) saying { return a.tell(ctx, cmd, b, done, run) }, func(t saying) error {
		n++
		bar.update("backups", n, len(all))
		a.status = worse(a.status, t.ExitStatus)
		if out == nil {
			measured = append(measured, report.Measured{Path: t.Path(), Status: t.ExitStatus, Members: t.Members})
		}
		if t.skip {
			skipped++
			return nil
		}
		if format != report.JSON {
			for _, note := range t.Notes {
				notes.Line("note: ", t.Path(), ": ", note)
			}
		}
		if out == nil {
			return nil
		}
		return out.Add(t.Each, t.line)
	})
	bar.end()
	if skipped > 0 {
		notes.Line(fmt.Sprintf("note: %d of %d backups were done before and are passed over", skipped, len(all)))
	}
	if err := errors.Join(err, notes.Flush()); err != nil {
		return cmp.Or(interrupted(cmd), err)
	}
	if out == nil {
		return report.Metrics(cmd.OutOrStdout(), cmd.Name(), a.status, measured)
	}
	return out.End()
}

// tell runs a command on one backup, unless an earlier run said what it says.
func (a *app) tell(ctx context.Context, cmd *cobra.Command, b *candidate, done *report.Done, run judge) saying {
	x := report.NewEach(cmd.Name(), b.path)
	x.Meta = a.in.meta.slot
	err := b.err
	if err == nil {
		x.Size, x.Modified, err = extent(b.path)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", e.Path, e.Err) // the operation tells nobody anything
	}
	if was, ok := done.Has(x); ok && err == nil {
		return saying{Each: was, skip: true}
	}
	var document any
	if err == nil {
		document, err = run(ctx, b.path, x)
	}
	var line json.RawMessage
	if err == nil {
		line, err = x.Line(document)
	}
	if err != nil {
		x.ExitStatus, x.Summary, x.Hint, x.Members = exitFailed, oneLine(err), hintOf(err, cmd), []report.Figures{}
		line, _ = x.Line(nil) // of texts and numbers, which can be written
	}
	return saying{Each: x, line: line}
}

// inOrder calls run for each of all, for as many at a time as there are processors, and use with what came of them, in order. No more
// wait for use than are run.
func inOrder[T, R any](ctx context.Context, all []T, run func(ctx context.Context, x *T) R, use func(R) error) error {
	ctx, stop := context.WithCancel(ctx)
	jobs := make(chan chan R, runtime.GOMAXPROCS(0)-1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(jobs)
		for i := range all {
			c := make(chan R, 1)
			select {
			case jobs <- c:
			case <-ctx.Done():
				return
			}
			wg.Go(func() { c <- run(ctx, &all[i]) })
		}
	})
	defer wg.Wait() // until all is closed
	defer stop()
	for c := range jobs {
		r := <-c
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := use(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// candidate is a path that stands for a backup, or a folder that could not be looked through.
type candidate struct {
	path string
	err  error
}

// find lists the backups that args stand for, sorted by their paths.
func (f *eachFlags) find(ctx context.Context, args []string) (all []candidate, err error) {
	for _, a := range args {
		a = filepath.Clean(a)
		if fi, err := os.Stat(a); err != nil || !fi.IsDir() || dataDir(a) {
			all = append(all, candidate{path: a})
			continue
		}
		err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
			hidden := path != a && (strings.HasPrefix(d.Name(), ".") || d.Name() == "lost+found")
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case hidden && d.IsDir():
				return filepath.SkipDir
			case hidden:
				return nil
			case err != nil:
				all = append(all, candidate{path: path, err: err})
				return nil
			case d.IsDir() && path != a && dataDir(path):
				if f.matches(d.Name()) {
					all = append(all, candidate{path: path})
				}
				return filepath.SkipDir
			case d.IsDir() || !f.matches(d.Name()):
				return nil
			}
			fi, err := os.Stat(path) // of what a link leads to
			if err == nil && !fi.Mode().IsRegular() && !dataDir(path) {
				return nil // folders are not followed by links, which may lead in a circle
			}
			all = append(all, candidate{path: path})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(all, func(a, b candidate) bool { return a.path == b.path }), nil
}

func (f *eachFlags) matches(name string) bool {
	return len(f.match) == 0 || slices.ContainsFunc(f.match, func(p string) bool {
		ok, err := filepath.Match(p, name)
		return ok && err == nil
	})
}

// extent is the size and the time of modification of a file; of a folder, all sizes of files in it and the latest time.
func extent(path string) (size int64, modified time.Time, err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, time.Time{}, err
	}
	if !fi.IsDir() {
		return fi.Size(), fi.ModTime().UTC(), nil
	}
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) { // a link to nothing
			fi, err = d.Info()
		}
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			size += fi.Size()
		}
		if t := fi.ModTime().UTC(); t.After(modified) {
			modified = t
		}
		return nil
	})
	return size, modified, err
}

// readDone reads what earlier runs said.
func (f *eachFlags) readDone(cmd *cobra.Command) (*report.Done, error) {
	done := &report.Done{}
	notes := escape.NewLines(cmd.ErrOrStderr())
	for _, name := range f.done {
		err := func() (err error) {
			in, err := os.Open(name)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			before := done.Other
			if err := done.ReadDone(in); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if done.Cut && sameFile(in, stdoutOf(cmd)) {
				return &hinted{fmt.Errorf("%s: its last line is cut, and what is written now would be added to it", name), "write to another file, and name both with --skip-done"}
			}
			if n := done.Other - before; n > 0 {
				notes.Line("note: ", name, fmt.Sprintf(": lines that are cut, or none of what --each writes as JSON, and tell nothing: %d", n))
			}
			return nil
		}()
		if err != nil {
			return nil, err
		}
	}
	return done, notes.Flush()
}

// stdoutOf is what standard output is behind its filter.
func stdoutOf(cmd *cobra.Command) io.Writer {
	if f, ok := cmd.OutOrStdout().(*escape.Filter); ok {
		return f.To()
	}
	return cmd.OutOrStdout()
}

func sameFile(f *os.File, w io.Writer) bool {
	o, ok := w.(*os.File)
	if !ok {
		return false
	}
	a, err := f.Stat()
	b, err2 := o.Stat()
	return err == nil && err2 == nil && os.SameFile(a, b)
}
