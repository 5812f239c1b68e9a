package main

import (
	"errors"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) hash() *cobra.Command {
	var rev int64
	cmd := a.inputOptions(&cobra.Command{
		Use:   "hash MEMBER...",
		Short: "Compute the hashes that etcd computes, and find the revision at which they begin to differ",
		Long: `hash computes for each member the hash that etcdctl endpoint hashkv shows, at its own revision or at
--rev; that of etcdutl snapshot status; and that of etcd-dump-db hash. For several members it also
computes hashKV of each at the highest revision that they have in common, with the highest compact
revision of any, and finds the first revision at which it differs.

` + members + `

Exit status:
  0  the hashes at the common revision are equal, or there is one member
  1  they differ
  2  could not run: wrong usage, or nothing that can be read
  3  they could not be compared, or not everything could be read`,
		Example: `  etcd-autopsy hash node1/ node2/ node3/
  etcd-autopsy hash node1/ node2/ --rev 1243
  etcd-autopsy hash backup.db -w json | jq '.members[0].snapshot_status'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			if rev < 0 || cmd.Flags().Changed("rev") && rev == 0 {
				return errors.New("--rev must be a revision, and these are positive")
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc := diff.Hashes(ms, rev)
				if err := interrupted(cmd); err != nil {
					return err
				}
				switch doc.Verdict {
				case diff.Consistent:
				case diff.Diverged:
					a.status = exitDiverged
				default:
					a.status = exitPartial
				}
				return report.Hash(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
	cmd.Flags().Int64Var(&rev, "rev", 0, "the revision to hash at, instead of each member's last")
	return cmd
}
