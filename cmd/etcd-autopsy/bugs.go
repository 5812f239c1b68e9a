package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/report"
)

func (a *app) bugs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bugs",
		Short: "List the known bugs of etcd that diff and check look for",
		Long: `bugs lists the catalogue of etcd's bugs, operator errors and kinds of damage, with the versions they
affect. Those that leave nothing in a data directory are listed as such.

Exit status:
  0  done
  2  could not run: wrong usage`,
		Example: `  etcd-autopsy bugs
  etcd-autopsy bugs show etcd-11689
  etcd-autopsy bugs -w json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			return report.Bugs(cmd.OutOrStdout(), report.NewBugs(bugs.All()), format)
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "show ID...",
		Short: "Tell what is seen of a bug, what speaks against it, and what to do",
		Long: `show tells all there is in the catalogue about some bugs, by id, name, or number of the issue
upstream.

Exit status:
  0  done
  2  could not run: wrong usage, or no such bug`,
		Example: `  etcd-autopsy bugs show etcd-11689
  etcd-autopsy bugs show 13766 14685 -w json`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, b := range bugs.All() {
				ids = append(ids, cobra.CompletionWithDesc(b.ID, b.Title))
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			var found []*bugs.Bug
			for _, id := range args {
				b := bugs.Find(id)
				if b == nil {
					var ids []string
					for _, b := range bugs.All() {
						ids = append(ids, b.ID)
					}
					return &hinted{fmt.Errorf("no bug %q is known", id), didYouMean(id, ids, "etcd-autopsy bugs lists them")}
				}
				found = append(found, b)
			}
			return report.BugDetails(cmd.OutOrStdout(), report.NewBugs(found), format)
		},
	})
	return cmd
}
