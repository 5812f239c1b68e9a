package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/diff/shell"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

// recoverFlags are those of the command.
type recoverFlags struct {
	out, from, release         string
	entry, revision, before    uint64
	bases                      []string
	without                    []uint
	union                      bool
	time                       timeFlag
	serverLogs                 []string
	noServerLogs               bool
	atEntry, atRevision, atBef bool // given
}

func (a *app) recover() *cobra.Command {
	var f recoverFlags
	cmd := a.inputOptions(&cobra.Command{
		Use:   "recover MEMBER... -o FILE",
		Short: "Write a snapshot to restore from: of what a copy holds, or of any moment that the log reaches",
		Long: `recover writes a new snapshot file, as etcdctl snapshot save does, that etcdutl snapshot restore
takes. Of one copy it holds what that holds, read around damage. Of several that agree it is the
one that diff recommends; where members parted, --from says whose life counts.

With --at-entry, --at-revision, --before-entry or --at-time it holds the state at that moment. That
is made by running the log with etcd's own code from the best base: the beginning of the log, the
rows of a copy, taken back as far as compaction allows, or a backup given with --base; so a backup
and the log of a dead member give the last state that was acknowledged. Then it is compared with
what the copies hold. What cannot be made is said before anything is written.

Entries carry no time. Request ids tell when the processes started that proposed them, and servers'
logs (--server-log, or beside a member, as for timeline) what was committed by then. So --at-time is
taken only if all entries between those that are known to be from before and from after it give one
state; otherwise these entries are named, to choose with --at-entry.

--without-entries leaves entries out, such as a bad delete. That is no state that the cluster ever
had: what is otherwise because of it is listed. --union-of-acknowledged takes the log that raft
would elect to its end: nothing that was acknowledged is lost if it is on any copy.

FILE must not be there yet, and not lie in the evidence. It has mode 0600, and is there whole or not
at all: it gets its name last. The passwords of users are in it, as in any snapshot. What was
salvaged, lost and proven is printed.

` + members + `

Exit status:
  0  written: whole and proven
  1  written, with losses or not proven: what is said about that
  2  nothing written: wrong usage, or what was asked for cannot be made
  130  stopped by Ctrl-C: nothing written`,
		Example: `  etcd-autopsy recover node1/ -o recovered.db
  etcd-autopsy recover node1/ node2/ node3/ -o recovered.db
  etcd-autopsy recover node1/ --at-revision 1200 -o recovered.db
  etcd-autopsy recover node1/ --at-time 2026-11-21T09:37:10Z -o recovered.db
  etcd-autopsy recover node1/ --before-entry 1500 --base backup-of-monday.db -o recovered.db
  etcd-autopsy recover node1/ --without-entries 1500 -o recovered.db`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.atEntry, f.atRevision, f.atBef = cmd.Flags().Changed("at-entry"), cmd.Flags().Changed("at-revision"), cmd.Flags().Changed("before-entry")
			return a.writeRecovered(cmd, args, &f)
		},
	})
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "the `FILE` to write, which must not be there yet")
	cmd.Flags().StringVar(&f.from, "from", "", "the `NAME` of the member whose life counts")
	cmd.Flags().Uint64Var(&f.entry, "at-entry", 0, "the state when entry `N` had been applied")
	cmd.Flags().Uint64Var(&f.before, "before-entry", 0, "the state just before entry `N`")
	cmd.Flags().Uint64Var(&f.revision, "at-revision", 0, "the state when revision `R` had been made")
	cmd.Flags().Var(&f.time, "at-time", "the state at a `TIME` by the clocks of the members, UTC without a zone")
	cmd.Flags().StringArrayVar(&f.serverLogs, "server-log", nil, "for --at-time a server's log, as `M=FILE`; may be repeated")
	cmd.Flags().BoolVar(&f.noServerLogs, "no-server-logs", false, "do not look for logs of servers beside members")
	cmd.Flags().StringArrayVar(&f.bases, "base", nil, "an earlier `BACKUP` to run the log on from; may be repeated")
	cmd.Flags().UintSliceVar(&f.without, "without-entries", nil, "entries `N,...` to leave out")
	cmd.Flags().BoolVar(&f.union, "union-of-acknowledged", false, "take the log that raft would elect, to its end")
	cmd.Flags().StringVar(&f.release, "for", "", "the `RELEASE` that is to run the file, such as 3.5, if not that of the copy")
	cmd.MarkFlagsMutuallyExclusive("at-entry", "before-entry", "at-revision", "at-time")
	cmd.MarkFlagsMutuallyExclusive("from", "union-of-acknowledged")
	return cmd
}

// request is what the flags ask for.
func (f *recoverFlags) request() (*recovery.Request, error) {
	q := &recovery.Request{From: f.from, Union: f.union, For: f.release}
	switch {
	case f.out == "":
		return nil, &hinted{errors.New("no file to write to"), "name one with -o FILE"}
	case f.atEntry:
		q.Moment = recovery.Moment{Kind: recovery.AtEntry, N: f.entry}
	case f.atRevision:
		q.Moment = recovery.Moment{Kind: recovery.AtRevision, N: f.revision}
	case f.atBef:
		q.Moment = recovery.Moment{Kind: recovery.AtEntry, N: f.before - 1}
	case !f.time.IsZero():
		q.Moment = recovery.Moment{Kind: recovery.AtTime, Time: f.time.Time}
	}
	if f.atEntry && f.entry == 0 || f.atBef && f.before < 2 {
		return nil, errors.New("entries are counted from 1, and before the first one there is nothing to recover")
	}
	for _, n := range f.without {
		if n == 0 {
			return nil, errors.New("entries are counted from 1")
		}
		q.Without = append(q.Without, uint64(n))
	}
	if f.release != "" && !slices.Contains(recovery.Releases, f.release) {
		return nil, fmt.Errorf("unknown release %q: it is one of %s", f.release, strings.Join(recovery.Releases, ", "))
	}
	slices.Sort(q.Without)
	q.Without = slices.Compact(q.Without)
	return q, nil
}

func (a *app) writeRecovered(cmd *cobra.Command, args []string, f *recoverFlags) (rerr error) {
	format, err := report.ParseFormat(a.format)
	if err != nil {
		return err
	}
	q, err := f.request()
	if err != nil {
		return err
	}
	if err := outside(f.out, slices.Concat(args, f.bases, a.in.wal)); err != nil {
		return err
	}
	if err := notBeside(f.out, slices.Concat(args, f.bases, a.in.wal)); err != nil {
		return err
	}
	if len(f.bases) > 0 {
		before, closed, err := a.openBases(cmd, f.bases)
		if err != nil {
			return err
		}
		defer func() { rerr = errors.Join(rerr, closed()) }()
		q.Bases = before
	}
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.end()
	q.TempDir, q.Progress = a.in.temp, bar.update
	q.Compare = func(ctx context.Context, ms []*inspect.Member) *diff.Document {
		return a.engine.compare(ctx, ms, diff.Options{})
	}
	return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
		if err := anyReadable(ms); err != nil {
			return err
		}
		q.Members = ms
		if q.Moment.Kind == recovery.AtTime {
			files, err := logFiles(cmd, ms, f.serverLogs, f.noServerLogs)
			if err != nil {
				return err
			}
			logs, err := readLogs(cmd, files)
			if err != nil {
				return err
			}
			q.Dated = story.Dated(logs)
		}
		doc, err := recovery.Recover(cmd.Context(), q, f.out)
		bar.end()
		if err != nil {
			return cmp.Or(interrupted(cmd), err)
		}
		if !doc.Whole || !doc.Proven {
			a.status = exitDiverged
		}
		return report.Recovered(cmd.OutOrStdout(), doc, format, restoring(f.out), hints...)
	})
}

// restoring are the commands that make a data directory of a snapshot, none if its name is not plain.
func restoring(file string) []string {
	if c := shell.Command("etcdutl snapshot restore %s --data-dir restored", file); c != "" {
		return []string{c}
	}
	return nil
}

// notBeside refuses a file in a data directory of which only a part was named: its folder member, or what lies in that.
func notBeside(out string, args []string) error {
	for _, p := range places(args) {
		dir, err := realPath(p)
		if err != nil {
			return err
		}
		for range 3 { // a db, its folder snap, and member
			if filepath.Base(dir) == "member" && hasFolder(dir, "snap", "wal") && outside(out, []string{filepath.Dir(dir)}) != nil {
				return fmt.Errorf("%s lies beside the evidence %s, where nothing is written", out, p)
			}
			dir = filepath.Dir(dir)
		}
	}
	return nil
}

// hasFolder tells whether a folder has one of these.
func hasFolder(dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		fi, err := os.Stat(filepath.Join(dir, name))
		return err == nil && fi.IsDir()
	})
}
