package main

import (
	"errors"
	"fmt"
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
	var user string
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

Filters add up. Values are shown with --show-values only, passwords and their hashes never.

` + members + `
` + keysHelp + `

` + listed,
		Example: `  etcd-autopsy log node1/ node2/ node3/ --differ
  etcd-autopsy log node1/ --start-index 1570 --end-index 1580
  etcd-autopsy log node1/ --type LeaseRevoke,Txn --no-effect
  etcd-autopsy log node1/ --raw --start-index 1576 --end-index 1576
  etcd-autopsy log incident.tar.zst -w json | jq -c 'select(.differs != "") | [.index, .summary]'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			o.Key, o.Prefix, o.Lease = key.key, prefix.key, lease.id
			if cmd.Flags().Changed("user") {
				o.User = &user
			}
			if o.Last > 0 && o.Last < o.First {
				return fmt.Errorf("--end-index %d lies before --start-index %d", o.Last, o.First)
			}
			if raw {
				for _, name := range []string{"key", "prefix", "lease", "user", "rev", "no-effect", "differ", "show-values"} {
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
	f.Uint64Var(&o.First, "start-index", 0, "only entries from this index on")
	f.Uint64Var(&o.Last, "end-index", 0, "only entries up to this index")
	f.StringSliceVar(&o.Types, "type", nil, "only these types: Put, Txn, LeaseRevoke, AuthEnable, ConfChange, ...")
	f.Var(&key, "key", "only entries that could change this key, or did")
	f.Var(&prefix, "prefix", "only entries that could change a key that begins with this, or did")
	f.Var(&lease, "lease", "only entries about this lease, in hex")
	f.StringVar(&user, "user", "", `only requests of this user; "" for those without a user`)
	f.Int64Var(&o.Revision, "rev", 0, "only the entry that made this revision, on any member")
	f.Uint64Var(&o.Term, "term", 0, "only entries of this term")
	f.BoolVar(&o.NoEffect, "no-effect", false, "only entries that could change keys and, on some member, did not")
	f.BoolVar(&o.Differ, "differ", false, "only entries on which members differ")
	f.BoolVar(&o.Values, "show-values", false, "show values, which may be secrets")
	f.BoolVar(&raw, "raw", false, "list the records of the files: file, offset, length, type and checksum")
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
