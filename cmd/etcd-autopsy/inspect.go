package main

import (
	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) inspect() *cobra.Command {
	var f eachFlags
	var quick bool
	cmd := a.inputOptions(&cobra.Command{
		Use:   "inspect MEMBER...",
		Short: "Show every index, revision, count and table of members, side by side",
		Long: `inspect shows what the files of each member hold: one column per member, and a mark where
members differ. A difference here may be mere lag: use diff to compare.

--quick says at once where members stand: index, term, revision, compaction, leases, alarms and
auth. It reads a few pages of each db for that, whatever its size, and checks nothing else.

` + members + `

` + eachHelp + `

Exit status:
  0  everything was read, and nothing is damaged
  2  could not run: wrong usage, or nothing that can be read
  3  parts of a member are damaged or could not be read; the rest is shown`,
		Example: `  etcd-autopsy inspect node1/ node2/ node3/
  etcd-autopsy inspect backup.db
  etcd-autopsy inspect --quick node1/ node2/ node3/
  etcd-autopsy inspect incident.tar.gz -w json | jq '.members[].hash_kv'
  etcd-autopsy inspect --each backups/ -w json | jq '.members[].db.revision'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if quick {
				return a.glance(cmd, args)
			}
			return a.measured(cmd, func(format report.Format) error {
				if f.each {
					return a.each(cmd, args, &f, format, a.readEach(inspectEach))
				}
				return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
					if err := anyReadable(ms); err != nil {
						return err
					}
					doc, figures, status := inspected(ms)
					if err := interrupted(cmd); err != nil {
						return err
					}
					if a.status = status; format == report.OpenMetrics {
						return report.Metrics(cmd.OutOrStdout(), cmd.Name(), status, measuredApart(ms, figures))
					}
					return report.Inspect(cmd.OutOrStdout(), doc, format, hints...)
				})
			})
		},
	})
	f.add(cmd)
	cmd.Flags().BoolVar(&quick, "quick", false, "say at once where members stand, and check nothing")
	cmd.MarkFlagsMutuallyExclusive("quick", "each")
	return cmd
}

// glance says where members stand.
func (a *app) glance(cmd *cobra.Command, args []string) error {
	format, err := report.ParseFormat(a.format)
	if err != nil {
		return err
	}
	return a.readsBy(cmd, args, inspect.Options{Quick: true}, func(ms []*inspect.Member, _ []string) error {
		if err := anyReadable(ms); err != nil {
			return err
		}
		doc := report.GlanceAt(ms)
		if !doc.Sound() {
			a.status = exitPartial
		}
		return report.QuickInspect(cmd.OutOrStdout(), doc, format)
	})
}

func inspected(ms []*inspect.Member) (doc *report.Inspection, figures []report.Figures, status int) {
	doc = report.Members(ms)
	for i, m := range ms {
		figures = append(figures, report.FiguresOf(m, doc.Members[i].Findings))
	}
	if !doc.Sound() {
		status = exitPartial
	}
	return doc, figures, status
}

// inspectEach inspects what one path stands for, by itself.
func inspectEach(ms []*inspect.Member, x *report.Each) any {
	doc, figures, status := inspected(ms)
	x.Members, x.ExitStatus, x.Summary = figures, status, doc.SummaryOf()
	return doc
}
