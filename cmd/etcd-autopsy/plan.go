package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/remedy"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) plan() *cobra.Command {
	var from string
	var preview bool
	cmd := a.inputOptions(&cobra.Command{
		Use:   "plan MEMBER...",
		Short: "Say what to do: which copy to go on with, what is lost by it, and how it is done",
		Long: `plan compares members as diff does, and writes down what to do: with which copy to go on, which
entries, keys and leases are lost by that, which members to make anew, who is a member afterwards,
how far to raise revisions, and the commands for kubeadm and static pods, for k3s and for systemd.
Nothing of it is ever run, and the commands are to be read and adapted.

Where a minority departed it is made anew while the cluster runs; where there is no majority to go
on with, or --from says so, the cluster is restored from a file that recover writes. A damaged copy
says nothing about its member: then the plan is to copy again.

--from goes on with another member than the one that is recommended, by its name, or with a file,
such as one that recover wrote or a backup. --preview compares what would be with what each member
holds now, key by key.

` + members + `

Exit status:
  0  done
  2  could not run: wrong usage, nothing that can be read, or members that cannot be compared`,
		Example: `  etcd-autopsy plan node1/ node2/ node3/
  etcd-autopsy plan node1/ node2/ node3/ --from node2 --preview
  etcd-autopsy plan node1/ node2/ node3/ --from snapshot.db -w markdown > plan.md
  etcd-autopsy plan incident.tar.zst -w json | jq -r '.procedures[] | .steps[]'`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.writePlan(cmd, args, from, preview)
		},
	})
	cmd.Flags().StringVar(&from, "from", "", "the member, by its name, or the `FILE` to go on with, not the recommended one")
	cmd.Flags().BoolVar(&preview, "preview", false, "compare what would be with what each member holds now")
	return cmd
}

func (a *app) writePlan(cmd *cobra.Command, args []string, from string, preview bool) error {
	format, err := report.ParseFormat(a.format)
	if err != nil {
		return err
	}
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.end()
	q := &remedy.Request{From: from, Args: args, Logs: a.in.wal, Meta: a.in.meta.String(), Preview: preview}
	q.Compare = func(ctx context.Context, ms []*inspect.Member) *diff.Document {
		return a.engine.compare(ctx, ms, diff.Options{Progress: bar.update})
	}
	return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) (rerr error) {
		if err := anyReadable(ms); err != nil {
			return err
		}
		q.Members = ms
		if !slices.ContainsFunc(ms, func(m *inspect.Member) bool { return m.Label == from }) && from != "" {
			if _, err := os.Stat(from); err == nil {
				m, closed, err := a.openOne(cmd, from)
				if err != nil {
					return err
				}
				defer func() { rerr = errors.Join(rerr, closed()) }()
				q.From, q.File, q.Path = "", m, from
			}
		}
		doc, err := remedy.Make(cmd.Context(), q)
		bar.end()
		if err != nil {
			return cmp.Or(interrupted(cmd), err)
		}
		return report.Planned(cmd.OutOrStdout(), doc, format, hints...)
	})
}

// openOne reads the file that --from names.
func (a *app) openOne(cmd *cobra.Command, path string) (*inspect.Member, func() error, error) {
	set, closed, err := a.open(cmd, []string{path}, inspect.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("--from: %w", err)
	}
	if len(set.Members) != 1 || set.Members[0].DB == nil {
		return nil, nil, errors.Join(&hinted{fmt.Errorf("--from: %s is not one db or snapshot file that can be read", path), "name one file"}, closed())
	}
	return set.Members[0], closed, nil
}
