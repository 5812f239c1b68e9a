package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff/preflight"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/diff/remedy"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/report"
	"etcd-autopsy/report/attach"
)

// schemas are the documents that have a JSON Schema, by the name of what writes them.
var schemas = map[string]any{
	"report": &attach.Report{}, "match": &report.MatchDocument{}, "timeline": &story.Document{}, "recover": &recovery.Document{}, "verify": &report.Verification{},
	"each-check": &report.EachOf[report.Checkup]{}, "each-inspect": &report.EachOf[report.Inspection]{}, "each-verify": &report.EachOf[report.Verification]{},
	"plan": &remedy.Document{}, "preflight": &preflight.Document{},
}

func (a *app) schema() *cobra.Command {
	names := slices.Sorted(maps.Keys(schemas))
	return &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Print the JSON Schema of report.json, or of what a command writes with -w json",
		Long: `schema prints the JSON Schema that report.json follows, or the one of what a command writes with
-w json, by its name; match is bugs match, and each-check, each-inspect and each-verify are a line
that these commands write with --each.

Exit status:
  0  done
  2  could not run: wrong usage`,
		Example: `  etcd-autopsy schema > report.schema.json
  etcd-autopsy schema timeline`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "report" {
				return attach.Schema(cmd.OutOrStdout())
			}
			return attach.SchemaOf(cmd.OutOrStdout(), "what etcd-autopsy writes with -w json: "+args[0], schemas[args[0]])
		},
	}
}
