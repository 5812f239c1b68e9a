package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

// diffFlags are the flags of diff.
type diffFlags struct {
	bases, serverLogs []string
	noLogs, replay    bool
	full              bool
	prefix            keyFlag
	ignore            keysFlag
}

func (a *app) diff() *cobra.Command {
	var f diffFlags
	cmd := a.inputOptions(&cobra.Command{
		Use:   "diff MEMBER...",
		Short: "Say whether members diverged, at which raft entry, and what differs now",
		Long: `diff compares the members of one cluster. What differs only because a member is behind, was
compacted earlier or runs another version is no divergence. Nor is what a damaged copy lacks: of
one that is torn or cut off only rows that can be read are held against those of others. Copies of
one member are named, and the newest of them is compared.

` + members + `

A single member is checked against its own log, which is also run again from the earliest base there
is; so is the log of each member where there is no majority. --base names earlier states of the
cluster to start from, such as a snapshot that was saved before the incident; it is needed where the
members were compacted since. --replay runs the log of every member again by itself in any case.
Private copies are used, which are removed afterwards.

--prefix and --ignore choose which of the keys that differ are listed; how many were left out is
said. The verdict, the counts, the causes and what to do are about all keys in any case.
` + keysHelp + `

-w openmetrics writes gauges for Prometheus, as check does, and how many keys differ.

Logs of servers, named by --server-log or found beside members as by timeline, tell the versions
and times of restarts. Where the files leave open which rules of etcd a member went by, or from
which entry on, the log of its server decides, and that is said. It refutes nothing that the files
show: what it says against them is told.

Exit status:
  0  consistent
  1  diverged, or consistent but with errors in the files of members
  2  could not run: wrong usage, or nothing that can be read
  3  indeterminate (no difference found, but not all could be read or compared), or not comparable`,
		Example: `  etcd-autopsy diff node1/ node2/ node3/
  etcd-autopsy diff a=/copies/10.0.0.1.tar.gz b=/copies/10.0.0.2.tar.gz
  etcd-autopsy diff incident.tar.zst -w json > diff.json
  etcd-autopsy diff node1/ node2/ --full --ignore /registry/events/ --ignore /registry/leases/
  etcd-autopsy diff node1/ node2/ node3/ --base backup-of-monday.db
  etcd-autopsy diff node1/ node2/ node3/ --server-log node1=node1.log --server-log node2=node2.log`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.measured(cmd, func(format report.Format) error { return a.runDiff(cmd, args, format, &f) })
		},
	})
	cmd.Flags().StringArrayVar(&f.bases, "base", nil, "an earlier state to re-execute the log from; may be repeated")
	cmd.Flags().StringArrayVar(&f.serverLogs, "server-log", nil, "a server's log, as `M=FILE`; may be repeated")
	cmd.Flags().BoolVar(&f.noLogs, "no-server-logs", false, "do not look for logs of servers beside members")
	cmd.Flags().BoolVar(&f.full, "full", false, "all tables, all evidence and the commands, not one screen")
	cmd.Flags().Var(&f.prefix, "prefix", "list only keys that differ and begin with this")
	cmd.Flags().Var(&f.ignore, "ignore", "list no keys that begin with this; may be repeated")
	cmd.Flags().BoolVar(&f.replay, "replay", false, "re-execute the log of every member by itself")
	return cmd
}

func (a *app) runDiff(cmd *cobra.Command, args []string, format report.Format, f *diffFlags) (rerr error) {
	opts := diff.Options{Replay: f.replay}
	if len(f.bases) > 0 {
		bases, closed, err := a.openBases(cmd, f.bases)
		if err != nil {
			return err
		}
		defer func() { rerr = errors.Join(rerr, closed()) }()
		opts.Bases = bases
	}
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.end()
	opts.Progress = bar.update
	return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
		doc, err := a.compareWithLogs(cmd, ms, opts, f, bar)
		if err != nil {
			return err
		}
		a.status = diffStatus(doc)
		if format == report.OpenMetrics {
			return report.DiffMetrics(cmd.OutOrStdout(), doc, a.status, ms)
		}
		return report.Diff(cmd.OutOrStdout(), doc.Filtered(f.filter()), format, f.full, hints...)
	})
}

// compareWithLogs compares members, with what the logs of their servers tell. These are read while the dbs are.
func (a *app) compareWithLogs(cmd *cobra.Command, ms []*inspect.Member, opts diff.Options, f *diffFlags, bar *progress) (*diff.Document, error) {
	files, err := logFiles(cmd, ms, f.serverLogs, f.noLogs)
	if err != nil {
		return nil, err
	}
	read := beginLogs(cmd.Context(), files, bar.update)
	if len(files) > 0 {
		opts.ServerLogs = func() map[string][]diff.ServerLog {
			logs, _, _ := read() // that one is missing is said below
			return story.Runs(logs)
		}
	}
	doc := a.engine.compare(cmd.Context(), ms, opts)
	logs, notes, err := read()
	bar.end()
	if err := interrupted(cmd); err != nil {
		return nil, err
	}
	for _, n := range notes {
		sayNote(cmd, n)
	}
	if err := errors.Join(err, anyReadable(ms)); err != nil {
		return nil, err
	}
	if len(logs) > 0 {
		doc = story.Enrich(doc, logs)
	}
	return doc, nil
}

// diffStatus is the exit status of a verdict.
func diffStatus(doc *diff.Document) int {
	switch doc.Verdict {
	case diff.Consistent:
		if doc.Problems > 0 {
			return exitDiverged // members that agree may be damaged all the same
		}
		return exitOK
	case diff.Diverged:
		return exitDiverged
	}
	return exitPartial
}

// filter chooses the keys that are listed.
func (f *diffFlags) filter() diff.KeyFilter {
	keys := diff.KeyFilter{Ignore: f.ignore.keys}
	if f.prefix.key != nil {
		keys.Prefix = (*diff.Key)(f.prefix.key)
	}
	return keys
}

// openBases reads earlier states of the cluster.
func (a *app) openBases(cmd *cobra.Command, paths []string) (ms []*inspect.Member, closed func() error, err error) {
	set, closed, err := a.open(cmd, paths, inspect.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("--base: %w", err)
	}
	return set.Members, closed, nil
}
