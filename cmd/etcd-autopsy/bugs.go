package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff/bugs"
	"etcd-autopsy/diff/messages"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/serverlog"
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
	cmd.AddCommand(a.bugsMatch(), &cobra.Command{
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

func (a *app) bugsMatch() *cobra.Command {
	return &cobra.Command{
		Use:   "match FILE|-",
		Short: "Say what a panic, an error line or a whole server log means",
		Long: `match reads a server's log, or a part of it, from a file or from standard input, and tells of each
message that is known to mean trouble with data: what it means, which versions write it, what to
look at in the data directories, and what to do. A panic with the trace of its goroutine, one line,
or a message that was copied out of one will do.

Logs are JSON or console lines, or the text of 3.2 to 3.4, as they are or as journald, Docker,
Kubernetes or kubectl give them; gzip, zstd, xz or bzip2 may be around it.

Exit status:
  0  at least one message is known
  2  could not run: wrong usage, or a file that cannot be read
  3  no message is known`,
		Example: `  etcd-autopsy bugs match server-node1.log.gz
  kubectl logs etcd-0 --previous | etcd-autopsy bugs match -
  echo 'panic: page 1234 already freed' | etcd-autopsy bugs match -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (rerr error) {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			in := io.NopCloser(cmd.InOrStdin())
			if args[0] != "-" {
				if in, err = os.Open(args[0]); err != nil {
					return err
				}
			}
			defer func() { rerr = errors.Join(rerr, in.Close()) }()
			plain, done, err := evidence.Plain(in)
			if err != nil {
				return err
			}
			defer done()
			hits, err := messages.Scan(cmd.Context(), serverlog.NewReader(plain))
			if err != nil {
				if len(hits) == 0 {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				sayNote(cmd, args[0]+" is not whole: "+err.Error())
			}
			if len(hits) == 0 {
				a.status = exitPartial
			}
			return report.Matches(cmd.OutOrStdout(), report.NewMatches(hits), format)
		},
	}
}
