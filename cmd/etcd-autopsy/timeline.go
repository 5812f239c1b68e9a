package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/serverlog"
	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

func (a *app) timeline() *cobra.Command {
	var named []string
	var around string
	var none bool
	cmd := a.inputOptions(&cobra.Command{
		Use:   "timeline MEMBER...",
		Short: "Tell what happened, from the raft log and from the logs of the servers",
		Long: `timeline puts on one line of time what the raft log tells (entries, terms, restarts by the ids of
requests, where members began to differ) and what the servers' own logs tell: their versions,
starts, stops and kills, leaders, snapshots sent and received, compactions, defragmentations,
alarms, checks for corruption, refused entries, slow disks, lost peers and faults of files.

` + members + `

--server-log MEMBER=FILE names a log of a member, by its name in the output; more than one may be
given for each. Beside a member server-NAME.log and, if it has the folder for itself, etcd*.log are
found without that, also with .gz or .zst, and said on the standard error. Logs are JSON or console
lines, or the text of 3.2 to 3.4, as they are or as journald, Docker, Kubernetes or kubectl give
them.

Exit status:
  0  told
  2  could not run: wrong usage, or nothing that can be read`,
		Example: `  etcd-autopsy timeline node1/ node2/ node3/
  etcd-autopsy timeline a=node1/ b=node2/ --server-log a=node1.log.gz --server-log b=node2.log
  etcd-autopsy timeline incident.tar.zst --around 1576
  etcd-autopsy timeline incident.tar.zst --around 2026-11-21T08:23:25Z -w json`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			return a.reads(cmd, args, func(ms []*inspect.Member, _ []string) error {
				files, err := logFiles(cmd, ms, named, none)
				if err != nil {
					return err
				}
				logs, err := readLogs(cmd, files)
				if err != nil {
					return err
				}
				if err := anyReadable(ms); err != nil && len(logs) == 0 {
					return err
				}
				bar := newProgress(cmd.ErrOrStderr())
				defer bar.end()
				doc := a.engine.compare(cmd.Context(), ms, diff.Options{Progress: bar.update, ServerLogs: runsOf(logs)})
				bar.end()
				if err := interrupted(cmd); err != nil {
					return err
				}
				tale := story.Tell(doc, logs)
				if around != "" {
					if err := tale.Around(around); err != nil {
						return &hinted{fmt.Errorf("--around: %w", err), "give the index of an entry, or a time"}
					}
				}
				return report.Timeline(cmd.OutOrStdout(), tale, format)
			})
		},
	})
	cmd.Flags().StringArrayVar(&named, "server-log", nil, "a server's log, as `M=FILE`; may be repeated")
	cmd.Flags().BoolVar(&none, "no-server-logs", false, "do not look for logs of servers beside members")
	cmd.Flags().StringVar(&around, "around", "", "only the events next to an entry, or to a time: `ENTRY|TIME`")
	return cmd
}

// readLogs reads logs of servers. That one which was only found cannot be read is said.
func readLogs(cmd *cobra.Command, files []logFile) (logs []story.Log, err error) {
	logs, notes, err := beginLogs(cmd.Context(), files, nil)()
	for _, n := range notes {
		sayNote(cmd, n)
	}
	return logs, err
}

// beginLogs begins to read logs of servers, and tells progress of it if that is not nil. What it returns waits for them; notes are about those that were
// found and cannot be read.
func beginLogs(ctx context.Context, files []logFile, progress func(what string, done, total int)) func() (logs []story.Log, notes []string, err error) {
	all, errs := make([]*serverlog.Log, len(files)), make([]error, len(files))
	var reading sync.WaitGroup
	cores := make(chan struct{}, runtime.GOMAXPROCS(0))
	var done atomic.Int64
	var total int64
	for _, f := range files {
		if s, err := os.Stat(f.path); err == nil {
			total += s.Size()
		}
	}
	told := func(n int) {
		const step = 1 << 22
		if now := done.Add(int64(n)); progress != nil && now/step > (now-int64(n))/step {
			progress("reading logs of servers", int(now/step), int(total/step))
		}
	}
	for i, f := range files {
		reading.Go(func() {
			cores <- struct{}{}
			all[i], errs[i] = readLog(ctx, f.path, told)
			<-cores
		})
	}
	return func() (logs []story.Log, notes []string, err error) {
		reading.Wait()
		for i, f := range files {
			l, err := all[i], errs[i]
			switch {
			case err != nil && (l == nil || l.Lines == 0) && f.named:
				return nil, notes, fmt.Errorf("%s: %w", f.path, err)
			case err != nil && (l == nil || l.Lines == 0):
				notes = append(notes, f.path+" cannot be read: "+err.Error())
				continue
			case err != nil:
				notes = append(notes, f.path+" is not whole: "+err.Error())
			}
			logs = append(logs, story.Log{Member: f.member, File: filepath.Base(f.path), Log: l})
		}
		return logs, notes, nil
	}
}

// runsOf are the runs of servers that logs tell, nil if there are no logs.
func runsOf(logs []story.Log) func() map[string][]diff.ServerLog {
	if len(logs) == 0 {
		return nil
	}
	return func() map[string][]diff.ServerLog { return story.Runs(logs) }
}

// logFile is a server's log of a member.
type logFile struct {
	member, path string
	named        bool // by the user, not found
}

// logFiles are the logs that were named, and those beside members for which none was. What is found is said.
func logFiles(cmd *cobra.Command, ms []*inspect.Member, named []string, none bool) ([]logFile, error) {
	var all []logFile
	has := map[string]bool{}
	for _, n := range named {
		label, path, ok := strings.Cut(n, "=")
		if !ok || label == "" || path == "" {
			return nil, &hinted{fmt.Errorf("--server-log %s: no member", n), "give it as MEMBER=FILE, with the name that the member has in the output"}
		}
		if !slices.ContainsFunc(ms, func(m *inspect.Member) bool { return m.Label == label }) {
			var labels []string
			for _, m := range ms {
				labels = append(labels, m.Label)
			}
			return nil, &hinted{fmt.Errorf("--server-log: no member is called %s", label), "the members are " + strings.Join(labels, ", ")}
		}
		has[label] = true
		all = append(all, logFile{label, path, true})
	}
	if none {
		return all, nil
	}
	alone := map[string]int{}
	for _, m := range ms {
		alone[beside(m)]++
	}
	for _, m := range ms {
		if has[m.Label] {
			continue
		}
		for _, path := range findLogs(m, alone[beside(m)] == 1) {
			all = append(all, logFile{m.Label, path, false})
			sayNote(cmd, "the server log of "+m.Label+" is read from "+path)
		}
	}
	return all, nil
}

// beside is the folder in which a member's file or directory lies, empty if that cannot be told.
func beside(m *inspect.Member) string {
	p := m.Origin
	for {
		if _, err := os.Stat(p); err == nil {
			return filepath.Dir(p)
		}
		i := strings.LastIndexByte(p, '!') // what follows is in an archive
		if i < 0 {
			break
		}
		p = p[:i]
	}
	for p != "" && p != "." && p != string(filepath.Separator) {
		if _, err := os.Stat(p); err == nil {
			return filepath.Dir(p)
		}
		p = filepath.Dir(p) // a member in an archive
	}
	return ""
}

// findLogs are the logs that lie beside a member, or in its directory.
func findLogs(m *inspect.Member, alone bool) (paths []string) {
	for _, dir := range []string{beside(m), m.Origin} {
		entries, err := os.ReadDir(dir)
		if err != nil || dir == "" {
			continue
		}
		for _, e := range entries {
			name := strings.TrimSuffix(strings.TrimSuffix(e.Name(), ".gz"), ".zst")
			if !e.Type().IsRegular() || !strings.HasSuffix(name, ".log") {
				continue
			}
			if name == "server-"+m.Label+".log" || (alone || dir == m.Origin) && strings.HasPrefix(name, "etcd") {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	return paths
}

// counted tells how many bytes are read.
type counted struct {
	io.Reader
	told func(n int)
}

func (c counted) Read(b []byte) (n int, err error) {
	n, err = c.Reader.Read(b)
	c.told(n)
	return n, err
}

// readLog reads a server's log, and tells how many bytes of the file it reads. What was read before an error is kept.
func readLog(ctx context.Context, path string, told func(n int)) (l *serverlog.Log, rerr error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { rerr = errors.Join(rerr, f.Close()) }()
	plain, done, err := evidence.Plain(counted{f, told})
	if err != nil {
		return nil, err
	}
	defer done()
	return serverlog.Scan(ctx, serverlog.NewReader(plain))
}

// sayNote says on the standard error what a person should know.
func sayNote(cmd *cobra.Command, text string) {
	l := escape.NewLines(cmd.ErrOrStderr())
	l.Line("note: ", text)
	_ = l.Flush() // there is nowhere left to say that this failed
}
