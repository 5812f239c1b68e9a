// Command etcd-autopsy compares copies of the data directories of an etcd cluster's members, and says whether, where and
// how the members diverged. It runs offline, and never writes to what it reads.
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// app is what the commands share.
type app struct {
	format string
	colour string
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
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		getenv := os.Getenv
		if _, ok := stdout.(*os.File); !ok { // nothing that the environment is about
			getenv = func(string) string { return "" }
		}
		s, err := screenOf(stdout, a.colour, getenv)
		out.On(s)
		return err
	}
	cmd, err := root.ExecuteContextC(ctx)
	err = errors.Join(err, out.Flush())
	if err == nil {
		return a.status
	}
	l := escape.NewLines(errs)
	switch h := hintOf(err, cmd); {
	case ctx.Err() != nil:
		if _, ok := terminal(stderr); ok {
			l.Line() // behind the ^C that the terminal shows
		}
		l.Line("Error: interrupted")
	case h != "":
		l.Line("Error: ", oneLine(err))
		l.Line("hint: ", h)
	default:
		l.Line("Error: ", oneLine(err))
	}
	// There is nowhere left to say that writing to standard error failed.
	_ = errors.Join(l.Flush(), errs.Flush())
	if ctx.Err() != nil {
		return exitStopped
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "etcd-autopsy",
		Short: "Find where the members of an etcd cluster diverged, from copies of their data directories",
		Long: `etcd-autopsy compares copies of the data directories of an etcd cluster's members, taken after an
incident, and says whether the members diverged, at which raft entry, and what is different now.

It runs offline and never writes to what it reads: nothing is locked, repaired, renamed or created
beside the evidence.

Tables and text are as wide as the terminal, or as the environment variable COLUMNS says. Colour is
used on a terminal only, and not if NO_COLOR is set; --color says otherwise.

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
			if version {
				return a.showVersion(cmd)
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&version, "version", false, "show the versions of this program and of the etcd code in it")
	root.PersistentFlags().StringVar(&a.colour, "color", colourAuto, "colour for verdicts and differences: "+strings.Join(colours, ", "))
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(colours, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentFlags().StringVarP(&a.format, "write-out", "w", string(report.Table),
		"output format: "+strings.Join(report.Formats(), ", "))
	_ = root.RegisterFlagCompletionFunc("write-out", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		formats := report.Formats()
		if cmd.Flags().Lookup("object") != nil {
			formats = append(formats, string(report.YAML))
		}
		if cmd.Flags().Lookup("each") != nil || cmd.Name() == "diff" {
			formats = append(formats, string(report.OpenMetrics))
		}
		return formats, cobra.ShellCompDirectiveNoFileComp
	})
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &hinted{err, wrongFlag(cmd, err)}
	})
	root.AddCommand(a.check(), a.diff(), a.get(), a.inspect(), a.dump(), a.log(), a.history(), a.hash(), a.stats(), a.export(), a.report(), a.recover(), a.verify(), a.plan(), a.preflight(), a.timeline(), a.bugs(), a.schema(), a.completion(), a.version())
	return root
}

// wrongFlag is a hint about a flag that is not known.
func wrongFlag(cmd *cobra.Command, err error) string {
	see := "see " + cmd.CommandPath() + " --help"
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return see
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return didYouMean("--"+unknown.GetSpecifiedName(), names, see)
}

// wrongCommand is a hint about a command that is not known.
func wrongCommand(cmd *cobra.Command, err error) string {
	see := "see " + cmd.CommandPath() + " --help"
	_, rest, ok := strings.Cut(err.Error(), `"`)
	word, _, _ := strings.Cut(rest, `"`)
	if !ok {
		return see
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return didYouMean(word, names, see)
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
		return wrongCommand(cmd, err)
	case errors.Is(err, fs.ErrPermission):
		return "only their owner can read etcd's data directories (mode 0700): use sudo, or copy them as root"
	}
	return ""
}

// oneLine joins the lines of an error that stands for several.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
