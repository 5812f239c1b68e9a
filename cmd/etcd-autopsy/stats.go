package main

import (
	"errors"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/stats"
	"etcd-autopsy/report"
)

func (a *app) stats() *cobra.Command {
	o := stats.Options{}
	cmd := a.inputOptions(&cobra.Command{
		Use:   "stats MEMBER...",
		Short: "Show what fills the db, by prefix and Kubernetes resource, and how fast it was written",
		Long: `stats counts keys, revisions and bytes by prefix and by Kubernetes resource, and what of them is
history that a compaction would free; lists the biggest values and the keys with the most revisions
(never a value); says what the pages of the db are used for; and counts the entries of the log, by
type and by 1000. Request ids tell when the processes that proposed them were started, and thereby
how fast the log grew between two starts.

` + members + `

` + listed,
		Example: `  etcd-autopsy stats node1/
  etcd-autopsy stats incident.tar.zst --depth 3 --top 50
  etcd-autopsy stats backup.db -w json | jq '.members[0].content.resources[:5]'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			if o.Depth < 1 || o.Top < 0 {
				return errors.New("--depth must be at least 1, and --top must not be negative")
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc := report.Count(ms, o)
				if err := interrupted(cmd); err != nil {
					return err
				}
				a.partly(ms)
				return report.Stats(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
	cmd.Flags().IntVar(&o.Depth, "depth", 2, "how many parts of a key between slashes make its prefix")
	cmd.Flags().IntVar(&o.Top, "top", 10, "how many keys are listed")
	return cmd
}
