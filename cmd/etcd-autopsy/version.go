package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"etcd-autopsy/report"
)

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of the etcd code in it",
		Long: `version shows the versions of this program, of Go, and of the etcd, raft and bbolt modules it is
built with.

Exit status:
  0  done
  2  could not run: wrong usage`,
		Example: `  etcd-autopsy version
  etcd-autopsy version -w json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showVersion(cmd) },
	}
}

func (a *app) showVersion(cmd *cobra.Command) error {
	format, err := report.ParseFormat(a.format)
	if err != nil {
		return err
	}
	return report.Version(cmd.OutOrStdout(), versions(), format)
}

// versions reads what the Go command put into the program.
func versions() *report.Versions {
	v := &report.Versions{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version = info.Main.Version; v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		switch m.Path {
		case "go.etcd.io/etcd/server/v3":
			v.Etcd = m.Version
		case "go.etcd.io/raft/v3":
			v.Raft = m.Version
		case "go.etcd.io/bbolt":
			v.Bbolt = m.Version
		}
	}
	return v
}
