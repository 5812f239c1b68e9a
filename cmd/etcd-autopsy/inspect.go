package main

import (
	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) inspect() *cobra.Command {
	return a.inputOptions(&cobra.Command{
		Use:   "inspect MEMBER...",
		Short: "Show every index, revision, count and table of members, side by side",
		Long: `inspect shows what the files of each member hold: one column per member, and a mark where
members differ. A difference here may be mere lag: use diff to compare.

` + members + `

Exit status:
  0  everything was read, and nothing is damaged
  2  could not run: wrong usage, or nothing that can be read
  3  parts of a member are damaged or could not be read; the rest is shown`,
		Example: `  etcd-autopsy inspect node1/ node2/ node3/
  etcd-autopsy inspect backup.db
  etcd-autopsy inspect incident.tar.gz -w json | jq '.members[].hash_kv'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc := report.Members(ms)
				if err := interrupted(cmd); err != nil {
					return err
				}
				if !doc.Sound() {
					a.status = exitPartial
				}
				return report.Inspect(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
}
