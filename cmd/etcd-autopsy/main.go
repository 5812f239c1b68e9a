// Command etcd-autopsy compares copies of the data directories of an etcd cluster's members, and says whether, where and
// how the members diverged. It runs offline, and never writes to what it reads.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

// Exit statuses, the same for every command.
const (
	exitOK       = 0   // consistent, or nothing found
	exitDiverged = 1   // diverged, or problems found
	exitFailed   = 2   // could not run: wrong usage, nothing to read
	exitPartial  = 3   // nothing found in what could be read or compared, but that was not everything
	exitStopped  = 130 // by Ctrl-C, or a signal that asks it to end
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(30) // most of what is in memory stays there: collecting twice as often costs little
	}
	// Never touched, so that it takes no memory: with it on the heap, a small heap is not collected over and over.
	ballast := make([]byte, 64<<20)
	defer runtime.KeepAlive(ballast)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// app is what the commands share.
type app struct {
	format string
	in     input
	engine engine
	status int
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return reading.run(ctx, args, stdin, stdout, stderr)
}

func (e engine) run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{engine: e}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	out, errs := escape.NewFilter(stdout), &guarded{escape.NewFilter(stderr), stderr}
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	err = errors.Join(err, out.Flush())
	// There is nowhere left to say that writing to standard error failed.
	defer func() { _ = errs.Flush() }()
	if err != nil {
		l := escape.NewLines(errs)
		l.Line("Error: ", oneLine(err))
		if h := hintOf(err, cmd); h != "" {
			l.Line("hint: ", h)
		}
		_ = l.Flush()
		if ctx.Err() != nil {
			return exitStopped
		}
		return exitFailed
	}
	return a.status
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "etcd-autopsy",
		Short: "Find where the members of an etcd cluster diverged, from copies of their data directories",
		Long: `etcd-autopsy compares copies of the data directories of an etcd cluster's members, taken after an
incident, and says whether the members diverged, at which raft entry, and what is different now.

It runs offline and never writes to what it reads: nothing is locked, repaired, renamed or created
beside the evidence.

Exit status:
  0  consistent, or nothing found
  1  diverged, or problems found
  2  could not run: wrong usage, or nothing that can be read
  3  nothing found in what could be read or compared, but that was not everything
  130  stopped by Ctrl-C
What that means is told by the help of each command.`,
		Example: `  etcd-autopsy diff node1/ node2/ node3/
  etcd-autopsy check incident.tar.zst`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.PersistentFlags().StringVarP(&a.format, "write-out", "w", string(report.Table),
		"output format: "+strings.Join(report.Formats(), ", "))
	_ = root.RegisterFlagCompletionFunc("write-out", cobra.FixedCompletions(report.Formats(), cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &hinted{err, "see " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(a.check(), a.diff(), a.get(), a.inspect(), a.dump(), a.log(), a.history(), a.hash(), a.stats(), a.export(), a.report(), a.recover(), a.verify(), a.bugs(), a.schema(), a.completion(), a.version())
	return root
}

// hinted is an error about which the user can do something.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func hintOf(err error, cmd *cobra.Command) string {
	var h *hinted
	var e interface{ Hint() string } // of an error about the evidence
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.As(err, &e):
		return e.Hint()
	case strings.HasPrefix(err.Error(), "unknown command"):
		return "see " + cmd.CommandPath() + " --help"
	}
	return ""
}

// oneLine joins the lines of an error that stands for several.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
