package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/stats"
	"etcd-autopsy/report"
)

func (a *app) stats() *cobra.Command {
	o := stats.Options{}
	var since string
	cmd := a.inputOptions(&cobra.Command{
		Use:   "stats MEMBER...",
		Short: "Show what fills the db, by prefix and Kubernetes resource, and how fast it was written",
		Long: `stats counts keys, revisions and bytes by prefix and by Kubernetes resource, and what of them is
history that a compaction would free; lists the biggest values and the keys with the most revisions
(never a value); says what the pages of the db are used for; and counts the entries of the log: by
type, by 1000, by the member that proposed them, by user, and by the resource and the namespace that
they can write to. Request ids tell when the processes that proposed them were started, and thereby
how fast the log grew between two starts.

--since names an older copy of the same member, or of another one of its cluster: what grew since is
shown instead, and who wrote that, as far as the log still tells.

` + members + `

` + listed,
		Example: `  etcd-autopsy stats node1/
  etcd-autopsy stats incident.tar.zst --depth 3 --top 50
  etcd-autopsy stats node1/ --since backup-of-monday.db
  etcd-autopsy stats backup.db -w json | jq '.members[0].content.resources[:5]'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) (rerr error) {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			if o.Depth < 1 || o.Top < 0 {
				return errors.New("--depth must be at least 1, and --top must not be negative")
			}
			count := func(ms []*inspect.Member) (*report.Statistics, error) { return report.Count(ms, o), nil }
			if since != "" {
				set, closed, err := a.open(cmd, []string{since}, inspect.Options{})
				if err != nil {
					return fmt.Errorf("--since: %w", err)
				}
				defer func() { rerr = errors.Join(rerr, closed()) }()
				count = func(ms []*inspect.Member) (*report.Statistics, error) { return countSince(ms, set.Members, o) }
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				doc, err := count(ms)
				if err != nil {
					return err
				}
				if err := interrupted(cmd); err != nil {
					return err
				}
				a.partly(ms)
				return report.Stats(cmd.OutOrStdout(), doc, format, hints...)
			})
		},
	})
	cmd.Flags().StringVar(&since, "since", "", "an `OLD` copy of the member: show what grew since")
	cmd.Flags().IntVar(&o.Depth, "depth", 2, "how many parts of a key between slashes make its prefix")
	cmd.Flags().IntVar(&o.Top, "top", 10, "how many keys are listed")
	return cmd
}

// countSince counts what a member has more than an older copy.
func countSince(ms, olds []*inspect.Member, o stats.Options) (*report.Statistics, error) {
	m, err := one(ms)
	if err != nil {
		return nil, err
	}
	old, err := one(olds)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--since: %w", err)
	case m.DB == nil:
		return nil, nothingReadable(ms)
	case old.DB == nil:
		return nil, fmt.Errorf("--since: %w", nothingReadable(olds))
	}
	if err := oneCluster([]*inspect.Member{old, m}); err != nil {
		return nil, err
	}
	if then, now := old.DB.Tables.ConsistentIndex, m.DB.Tables.ConsistentIndex; then > now {
		return nil, &hinted{fmt.Errorf("--since: %s is at entry %d, which is later than %d of %s", old.Origin, then, now, m.Origin), "the older copy is the one behind --since"}
	}
	return report.CountSince(m, old, o), nil
}
