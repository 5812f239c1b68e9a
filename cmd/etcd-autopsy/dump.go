package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/schema"
	"etcd-autopsy/report"
)

func (a *app) dump() *cobra.Command {
	var o report.DumpOptions
	var prefix keyFlag
	var lease idFlag
	var order string
	cmd := a.inputOptions(&cobra.Command{
		Use:   "dump MEMBER [BUCKET]",
		Short: "Write out the rows of a member's db, decoded",
		Long: `dump writes every row of one bucket, or of all: key (every revision of every key), lease, auth,
authUsers, authRoles, members, members_removed, alarm, meta and cluster. Of rows that are not
understood it tells sizes and hashes only. With --rev it writes the keys that were alive at a
revision, with --lease the lease and the rows that carry it.

Values of keys are shown as sizes only, unless --show-values is given. Password hashes are never
shown.

A MEMBER is one data directory, its member folder, a db or snapshot file, or an archive of one.
` + keysHelp + `

Exit status:
  0  everything was read
  2  could not run: wrong usage, no such bucket or revision, or no db that can be read
  3  parts of the db could not be read; the rest is shown`,
		Example: `  etcd-autopsy dump node1/ key --prefix /registry/leases/
  etcd-autopsy dump backup.db --rev 1244 --keys-only
  etcd-autopsy dump node1/ authRoles
  etcd-autopsy dump node1/ key --sort size --limit 20
  etcd-autopsy dump node1/ --lease 5574a1fd33c10c60
  etcd-autopsy dump node1/ lease -w json | jq -r '.lease | select(.ttl > 60) | .id'`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return schema.Buckets, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return &hinted{errors.New("more than a member and a bucket"), "see " + cmd.CommandPath() + " --help"}
			}
			return needMembers(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			switch {
			case o.Limit < 0:
				return errors.New("--limit must not be negative")
			case o.Revision < 0 || cmd.Flags().Changed("rev") && o.Revision == 0:
				return errors.New("--rev must be a revision, and these are positive")
			case o.Revision != 0 && len(args) == 2 && args[1] != "key":
				return fmt.Errorf("--rev is about the bucket key, not %s", args[1])
			case order != "" && !slices.Contains(report.DumpOrders(), order):
				return fmt.Errorf("--sort is one of %s, not %q", strings.Join(report.DumpOrders(), " and "), order)
			case order != "" && len(args) == 2 && args[1] != "key":
				return fmt.Errorf("--sort is about the bucket key, not %s", args[1])
			case (lease.id != nil || o.HasLease) && len(args) == 2 && args[1] != "key" && args[1] != "lease":
				return fmt.Errorf("--lease and --has-lease are about the buckets key and lease, not %s", args[1])
			}
			o.Lease, o.Sort = lease.id, report.DumpOrder(order)
			if prefix.key != nil {
				o.Prefix = *prefix.key
			}
			if len(args) == 2 {
				o.Bucket = args[1]
			}
			return a.reads(cmd, args[:1], func(ms []*inspect.Member, _ []string) error {
				m, err := one(ms)
				if err != nil {
					return err
				}
				if m.DB == nil {
					return nothingReadable(ms)
				}
				if !m.DB.Whole {
					a.status = exitPartial
				}
				return noteInterrupted(cmd, report.Dump(cmd.Context(), cmd.OutOrStdout(), m, o, format))
			})
		},
	})
	f := cmd.Flags()
	f.Int64Var(&o.Revision, "rev", 0, "the keys that were alive at this revision, instead of rows")
	f.Var(&prefix, "prefix", "only keys that begin with this")
	f.Var(&lease, "lease", "only rows with this lease, in hex, and the lease itself")
	f.BoolVar(&o.HasLease, "has-lease", false, "only rows with a lease, and leases")
	f.StringVar(&order, "sort", "", "the order of keys: size (of the value, the biggest first) or rev")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(report.DumpOrders(), cobra.ShellCompDirectiveNoFileComp))
	f.IntVar(&o.Limit, "limit", 0, "only so many rows of each bucket")
	f.BoolVar(&o.KeysOnly, "keys-only", false, "only the keys of rows")
	f.BoolVar(&o.Values, "show-values", false, "show values, which may be secrets")
	return cmd
}
