package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) log() *cobra.Command {
	var o report.LogOptions
	var key, prefix keyFlag
	var lease idFlag
	var since, until pointFlag
	var size sizeFlag
	var user, namespace string
	var raw bool
	cmd := a.inputOptions(&cobra.Command{
		Use:   "log MEMBER...",
		Short: "List the entries of the raft log, with what each did to the keys of each member",
		Long: `log lists the entries of the members' logs, merged by index: term, request, user, and the revision
that the entry made, or why it made none, which is found out by comparing the log with the db.
Entries on which members differ are marked with !. With --raw it lists the records of the log's
files instead.

The effect is one of
  rev N          the revision that the entry made
  no effect      the entry could change keys and changed none
  -              the entry is of a kind that changes no key
  not applied    the db has not come to the entry
  not committed  nothing says that the entry was committed
  gone N         the entry made a revision, whose rows are no longer there
  ?              the files no longer tell

Filters add up: an entry is listed if it meets all of them. --since and --until take an entry
(1576), a revision (rev:1244) or a time (2026-11-21T08:23:25Z; UTC without a zone). An entry carries
no time, but request ids tell when the process that proposed them was started: what lies between two
starts is listed if it may be meant, and the last lines say what was left out.

In JSON the kind of each line is member (first, what each log covers), entry, record (with --raw)
or unreadable. Values are shown with --show-values only, passwords and their hashes never.

` + members + `
` + keysHelp + `

` + listed,
		Example: `  etcd-autopsy log node1/ node2/ node3/ --differ
  etcd-autopsy log node1/ --start-index 1570 --end-index 1580
  etcd-autopsy log node1/ --type LeaseRevoke,Txn --no-effect
  etcd-autopsy log node1/ node2/ --namespace kube-system --proposer node2 --tail 20
  etcd-autopsy log node1/ --since 2026-11-21T08:20:00Z --until rev:1244 --min-size 1k
  etcd-autopsy log node1/ --raw --start-index 1576 --end-index 1576
  etcd-autopsy log incident.tar.zst -w json | jq -c 'select(.kind == "entry") | [.index, .summary]'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			o.Key, o.Prefix, o.Lease = key.key, prefix.key, lease.id
			o.Since, o.Until, o.MinSize = since.Point, until.Point, size.bytes
			if cmd.Flags().Changed("namespace") {
				o.Namespace = &namespace
			}
			if cmd.Flags().Changed("user") {
				o.User = &user
			}
			if o.Last > 0 && o.Last < o.First {
				return fmt.Errorf("--end-index %d lies before --start-index %d", o.Last, o.First)
			}
			switch {
			case o.Limit < 0 || o.Tail < 0:
				return errors.New("--limit and --tail must not be negative")
			case o.Limit > 0 && o.Tail > 0:
				return errors.New("--limit and --tail cannot be given together")
			}
			for _, typ := range o.Types {
				if types := report.LogTypes(raw); !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, typ) }) {
					return &hinted{fmt.Errorf("no entry is of a type %q", typ), didYouMean(typ, types, "the types are "+strings.Join(types, ", "))}
				}
			}
			if raw {
				for _, name := range []string{
					"key", "prefix", "namespace", "lease", "user", "proposer", "since", "until", "min-size", "rev", "no-effect", "differ", "limit", "tail", "show-values",
				} {
					if cmd.Flags().Changed(name) {
						return &hinted{errors.New("--raw shows records, not what they did: --" + name + " cannot be given with it"), "--start-index, --end-index, --type and --term can"}
					}
				}
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, _ []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				if err := oneCluster(ms); err != nil {
					return err
				}
				if err := hasLog(ms); err != nil {
					return err
				}
				a.partly(ms)
				if raw {
					return noteInterrupted(cmd, report.RawLog(cmd.Context(), cmd.OutOrStdout(), ms, o, format))
				}
				l := diff.NewLedger(ms)
				if len(l.Faults) > 0 {
					a.status = exitPartial
				}
				return noteInterrupted(cmd, report.Entries(cmd.Context(), cmd.OutOrStdout(), l, o, format))
			})
		},
	})
	f := cmd.Flags()
	f.Var(&since, "since", "only entries from this entry, revision or time on")
	f.Var(&until, "until", "only entries up to this entry, revision or time")
	f.Uint64Var(&o.First, "start-index", 0, "only entries from this index on")
	f.Uint64Var(&o.Last, "end-index", 0, "only entries up to this index")
	f.StringSliceVar(&o.Types, "type", nil, "only these types: Put, Txn, LeaseRevoke, AuthEnable, ConfChange, ...")
	f.Var(&key, "key", "only entries that could change this key, or did")
	f.Var(&prefix, "prefix", "only entries that could change a key that begins with this, or did")
	f.StringVar(&namespace, "namespace", "", "only entries about keys of this Kubernetes namespace")
	f.StringVar(&o.Proposer, "proposer", "", "only requests that this member proposed: its label, name or id")
	f.Var(&lease, "lease", "only entries about this lease, in hex")
	f.StringVar(&user, "user", "", `only requests of this user; "" for those without a user`)
	f.Int64Var(&o.Revision, "rev", 0, "only the entry that made this revision, on any member")
	f.Uint64Var(&o.Term, "term", 0, "only entries of this term")
	f.BoolVar(&o.NoEffect, "no-effect", false, "only entries that could change keys and, on some member, did not")
	f.BoolVar(&o.Differ, "differ", false, "only entries on which members differ")
	f.Var(&size, "min-size", "only entries with at least so much data")
	f.IntVar(&o.Limit, "limit", 0, "only the first so many of them")
	f.IntVar(&o.Tail, "tail", 0, "only the last so many of them")
	f.BoolVar(&o.Values, "show-values", false, "show values, which may be secrets")
	f.BoolVar(&raw, "raw", false, "list the records of the files: file, offset, length, type and checksum")
	_ = cmd.RegisterFlagCompletionFunc("proposer", a.completeLabels)
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(report.LogTypes(false), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// hasLog refuses members of which none has a log.
func hasLog(ms []*inspect.Member) error {
	var names []string
	for _, m := range ms {
		if len(m.Segments()) > 0 {
			return nil
		}
		names = append(names, m.Origin)
	}
	return &hinted{fmt.Errorf("no log: %s", strings.Join(names, ", ")), "a db or snapshot file alone has none; the log is in member/wal of the data directory"}
}
