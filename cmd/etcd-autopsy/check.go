package main

import (
	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) check() *cobra.Command {
	var f eachFlags
	cmd := a.inputOptions(&cobra.Command{
		Use:   "check MEMBER...",
		Short: "Say what is wrong with the files of members, what it means and what to do",
		Long: `check looks at each member alone: damaged and torn files, files that contradict each other, a db
that its own log does not explain, and states that keep a member from starting or harm the cluster
later. It goes on behind damage, and says how much it read. To compare members, use diff.

  error    something that was there cannot be read, or contradicts itself
  warning  may lose data or stop a member from starting under some conditions
  info     normal or harmless by itself, but explains what is seen elsewhere

` + members + `

` + eachHelp + `

Exit status:
  0  nothing found but infos
  1  problems found: errors or warnings
  2  could not run: wrong usage, or nothing that can be read
  3  nothing found in what could be read, but not everything could be read`,
		Example: `  etcd-autopsy check node1/ node2/ node3/
  etcd-autopsy check incident.tar.zst -w json | jq -r '.members[].findings[] | .code'
  etcd-autopsy check node1/ --meta 1
  etcd-autopsy check --each backups/ -w json | jq -r '"\(.exit_status) \(.file.name)"'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.measured(cmd, func(format report.Format) error {
				if f.each {
					return a.each(cmd, args, &f, format, a.readEach(checkEach))
				}
				return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
					if err := anyReadable(ms); err != nil {
						return err
					}
					doc, figures, status := checked(ms)
					if err := interrupted(cmd); err != nil {
						return err
					}
					if a.status = status; format == report.OpenMetrics {
						return report.Metrics(cmd.OutOrStdout(), cmd.Name(), status, measuredApart(ms, figures))
					}
					return report.Checks(cmd.OutOrStdout(), doc, format, hints...)
				})
			})
		},
	})
	f.add(cmd)
	return cmd
}

func checked(ms []*inspect.Member) (doc *report.Checkup, figures []report.Figures, status int) {
	doc = report.Check(ms)
	for i, m := range ms {
		figures = append(figures, report.FiguresOf(m, doc.Members[i].Findings))
	}
	switch doc.Verdict {
	case report.Problems:
		status = exitDiverged
	case report.Incomplete:
		status = exitPartial
	}
	return doc, figures, status
}

// checkEach checks what one path stands for, by itself.
func checkEach(ms []*inspect.Member, x *report.Each) any {
	doc, figures, status := checked(ms)
	x.Members, x.ExitStatus, x.Summary = figures, status, doc.SummaryOf()
	return doc
}
