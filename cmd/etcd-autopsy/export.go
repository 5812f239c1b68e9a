package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
	"etcd-autopsy/report/export"
)

func (a *app) export() *cobra.Command {
	var dir, kind string
	var force bool
	cmd := a.inputOptions(&cobra.Command{
		Use:   "export MEMBER... -o DIR",
		Short: "Write what members hold as Parquet tables, to be queried",
		Long: `export writes into DIR one folder of Parquet files for each table: members; revisions, the rows of
the keyspace, sorted by key; entries, the log; effects, what each entry did on each member; leases;
and differences, the keys in which members differ. Effects and entries have raft_index in common,
effects and revisions have revision.

Tables are partitioned as Hive does it, TABLE/cluster=ID/member=NAME/time=TIME/part-0.parquet, which
DuckDB, Spark and Trino take for columns of these names. TIME is the newest that the evidence
tells: when the last server process started that gave an id to a request or a lease. What the files
do not tell is "unknown": the cluster of a lone snapshot, for one. Members of further clusters, or
later copies, are added by exporting them into the same DIR.

No value is in them, only sizes and sha256, and no password. DIR must not lie in the evidence.

` + members + `

` + listed,
		Example: `  etcd-autopsy export node1/ node2/ node3/ -o tables
  etcd-autopsy export incident.tar.zst -o tables --force`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			switch {
			case err != nil:
				return err
			case kind != "parquet":
				return fmt.Errorf("unknown format of tables %q: it is parquet", kind)
			case dir == "":
				return &hinted{errors.New("no directory to write to"), "name one with -o DIR"}
			}
			if err := outside(dir, slices.Concat(args, a.in.wal)); err != nil {
				return err
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
				if err := anyReadable(ms); err != nil {
					return err
				}
				if err := oneCluster(ms); err != nil {
					return err
				}
				rows, parts, err := export.Write(cmd.Context(), dir, ms, export.Options{Force: force, TempDir: a.in.temp})
				if err != nil {
					if interrupted(cmd) != nil {
						return interrupted(cmd)
					}
					if errors.Is(err, export.ErrThere) {
						return &hinted{err, "--force replaces it"}
					}
					return err
				}
				a.partly(ms)
				return report.Export(cmd.OutOrStdout(), report.NewExported(dir, rows, parts), format, hints...)
			})
		},
	})
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory to write to, made if it is not there")
	cmd.Flags().StringVar(&kind, "format", "parquet", "format of the tables: parquet")
	cmd.Flags().BoolVar(&force, "force", false, "replace what is there of the same members")
	return cmd
}
