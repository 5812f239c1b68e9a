package main

import (
	"errors"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

func (a *app) history() *cobra.Command {
	var prefix keyFlag
	var lease idFlag
	var o report.HistoryOptions
	cmd := a.inputOptions(&cobra.Command{
		Use:   "history KEY MEMBER...",
		Short: "Tell what became of a key on each member, revision by revision",
		Long: `history shows every revision of a key, side by side on all members, with the entry of the log that
made it, and every entry that could have changed the key and did not. What compaction removed from
the db is told as far as the log still holds it. Members that show the same throughout share a
column.

With --prefix it tells of every key that begins so, with --lease of a lease and every key that
carried it; there is no KEY then. No value is shown, only its size and sha256.

` + members + `
` + keysHelp + `

Exit status:
  0  the members agree about the keys, as far as each has come, or there is only one
  1  they part: at the entries that are marked with !
  2  could not run: wrong usage, or nothing that can be read
  3  they agree in what could be read, but not everything could be`,
		Example: `  etcd-autopsy history /registry/masterleases/10.0.0.1 node1/ node2/ node3/
  etcd-autopsy history --prefix /registry/leases/ incident.tar.zst
  etcd-autopsy history --lease 5574a1fd33c10c60 node1/ node2/ node3/
  etcd-autopsy history 0x00ff7a node1/ -w json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if prefix.key != nil && lease.id != nil {
				return errors.New("--prefix and --lease cannot be given together")
			}
			if prefix.key == nil && lease.id == nil {
				if len(args) == 1 {
					return &hinted{errors.New("a key without a member"), "give a KEY and at least one MEMBER: " + cmd.UseLine()}
				}
			}
			return needMembers(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			q := diff.BiographyQuery{Prefix: prefix.key, Lease: lease.id}
			if q.Prefix == nil && q.Lease == nil {
				key, err := parseKey(args[0])
				if err != nil {
					return err
				}
				q.Key, args = &key, args[1:]
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, _ []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				if err := oneCluster(ms); err != nil {
					return err
				}
				b := diff.NewLedger(ms).Biography(q)
				if err := interrupted(cmd); err != nil {
					return err
				}
				a.partly(ms)
				switch {
				case len(b.Faults) > 0:
					a.status = exitPartial
				case b.Parts():
					a.status = exitDiverged
				}
				return report.History(cmd.OutOrStdout(), b, o, format)
			})
		},
	})
	f := cmd.Flags()
	f.Var(&prefix, "prefix", "every key that begins with this, instead of KEY")
	f.Var(&lease, "lease", "a lease, in hex, and every key that carried it, instead of KEY")
	f.BoolVar(&o.All, "all", false, "show every event; otherwise many without a difference are summed up")
	return cmd
}
