package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/report"
)

func (a *app) inspect() *cobra.Command {
	return &cobra.Command{
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
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			set, err := inspect.Open(cmd.Context(), args, inspect.Options{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, set.Close()) }()
			if !slices.ContainsFunc(set.Members, readable) {
				return nothingReadable(set.Members)
			}
			var doc *report.Inspection
			err = evidence.Guard("the members", func() error {
				doc = report.Members(set.Members)
				return nil
			})
			if err != nil {
				return err
			}
			if err := cmd.Context().Err(); err != nil {
				return errors.New("interrupted")
			}
			if err := report.Inspect(cmd.OutOrStdout(), doc, format); err != nil {
				return err
			}
			if !doc.Sound() {
				a.status = exitPartial
			}
			return nil
		},
	}
}

// readable tells whether anything of a member could be read.
func readable(m *inspect.Member) bool {
	return m.DB != nil || len(m.Log.Entries) > 0 || m.Log.HasMetadata || len(m.Snaps) > 0
}

// nothingReadable says in one line why no member is usable.
func nothingReadable(ms []*inspect.Member) error {
	m := ms[0]
	why := "no db that can be read"
	if ok, all := m.Complete(); !ok {
		why = all[0]
	}
	if len(ms) == 1 {
		return fmt.Errorf("%s: %s", m.Origin, why)
	}
	return fmt.Errorf("none of the %d members has a db that can be read; %s: %s", len(ms), m.Origin, why)
}
