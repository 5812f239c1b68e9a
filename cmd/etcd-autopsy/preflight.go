package main

import (
	"errors"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff/preflight"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) preflight() *cobra.Command {
	var to string
	cmd := a.inputOptions(&cobra.Command{
		Use:   "preflight MEMBER... --to VERSION",
		Short: "Say whether a release of etcd would start on this data, and on what it would stop",
		Long: `preflight checks each member as check does, and says what a release of etcd makes of what is found:
on what it would not start, with the message that it would end with, and where it would start and do
harm. Of a line, such as 3.6, each range of releases that differ in this is told apart, and the
worst one counts; --to 3.6.4 asks about one release. No server is run.

What is said follows from findings of which it is known what a release does with them; an error of
which nothing is known is said to be so.

` + members + `

Exit status:
  0  nothing is known that would keep it from starting, or make it do harm
  1  it would not start, or would do harm
  2  could not run: wrong usage, or nothing that can be read
  3  it cannot be told`,
		Example: `  etcd-autopsy preflight node1/ node2/ node3/ --to 3.6
  etcd-autopsy preflight node1/ --to 3.5.26 -w json`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			if to == "" {
				return &hinted{errors.New("no release to ask about"), "name one with --to, such as --to 3.6"}
			}
			if _, _, err := preflight.Parse(to); err != nil {
				return err
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc, err := preflight.Run(ms, to)
				if err != nil {
					return err
				}
				if err := interrupted(cmd); err != nil {
					return err
				}
				a.status = map[preflight.Outcome]int{preflight.Starts: exitOK, preflight.Unknown: exitPartial, preflight.Harms: exitDiverged, preflight.Stops: exitDiverged}[doc.Outcome]
				return report.Preflight(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
	cmd.Flags().StringVar(&to, "to", "", "the `VERSION`: a line, such as 3.6, or one release, such as 3.6.4")
	return cmd
}
