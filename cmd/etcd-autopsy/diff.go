package main

import (
	"slices"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) diff() *cobra.Command {
	return a.metaOption(&cobra.Command{
		Use:   "diff MEMBER...",
		Short: "Say whether members diverged, at which raft entry, and what differs now",
		Long: `diff compares the members of one cluster. What differs only because a member is behind, was
compacted earlier or runs another version is no divergence.

` + members + `

A single member is checked against its own log.

Exit status:
  0  consistent
  1  diverged
  2  could not run: wrong usage, or nothing that can be read
  3  indeterminate (no difference found, but not everything could be read), or not comparable`,
		Example: `  etcd-autopsy diff node1/ node2/ node3/
  etcd-autopsy diff a=/copies/10.0.0.1.tar.gz b=/copies/10.0.0.2.tar.gz
  etcd-autopsy diff incident.tar.zst -w json > diff.json`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			return a.meta.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				doc := diff.Investigate(cmd.Context(), ms)
				if doc.Verdict != diff.NotComparable && !slices.ContainsFunc(doc.Members, func(m diff.Member) bool { return m.Readable }) {
					return nothingReadable(ms)
				}
				if err := interrupted(cmd); err != nil {
					return err
				}
				switch doc.Verdict {
				case diff.Consistent:
					a.status = exitOK
				case diff.Diverged:
					a.status = exitDiverged
				default:
					a.status = exitPartial
				}
				return report.Diff(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
}
