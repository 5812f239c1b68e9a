package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
	"etcd-autopsy/report/attach"
)

// reportFlags are those of the command.
type reportFlags struct {
	dir, keyFile               string
	force, redact, showsValues bool
	bases                      []string
	serverLogs                 []string
	noLogs                     bool
	opts                       diff.Options
}

func (a *app) report() *cobra.Command {
	var f reportFlags
	cmd := a.inputOptions(&cobra.Command{
		Use:   "report MEMBER... -o DIR",
		Short: "Write what was found so that it can be attached to a public issue",
		Long: `report writes into DIR: report.md, to be pasted into an issue; report.html, one file that opens
offline; report.json, everything (etcd-autopsy schema describes it); manifest.txt, the sha256 of
every input file, as sha256sum -c reads it; and attach.zip with all of these, small enough to be
attached.

No value is ever in it, unless --show-values asks for a private report. Keys are, unless
--redact-keys replaces each part of a key, and the names of users, roles and members, urls and ids,
by a token: equal parts have equal tokens. What the tokens were made with is saved as redaction.key,
which is not in attach.zip.

Logs of servers are told on one timeline with the raft log. Those beside members are found, as
timeline finds them; --server-log names others. With --redact-keys tokens stand for all words of
them but etcd's own.

` + members + `

Exit status:
  0  consistent
  1  diverged
  2  could not run: wrong usage, nothing that can be read, or DIR holds a report already
  3  indeterminate (no difference found, but not all could be read or compared), or not comparable`,
		Example: `  etcd-autopsy report node1/ node2/ node3/ -o report
  etcd-autopsy report incident.tar.zst -o report --redact-keys
  etcd-autopsy report a=node1/ b=node2/ -o report --server-log a=node1.log --server-log b=node2.log`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error { return a.writeReport(cmd, args, &f) },
	})
	cmd.Flags().StringVarP(&f.dir, "output", "o", "", "directory to write to, made if it is not there")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace a report that is there")
	cmd.Flags().BoolVar(&f.redact, "redact-keys", false, "replace keys and names by tokens")
	cmd.Flags().StringVar(&f.keyFile, "redaction-key", "", "make the tokens with the key in this file, as redaction.key holds it")
	cmd.Flags().BoolVar(&f.showsValues, "show-values", false, "show values, for private use")
	cmd.Flags().StringArrayVar(&f.bases, "base", nil, "an earlier state to re-execute the log from; may be repeated")
	cmd.Flags().StringArrayVar(&f.serverLogs, "server-log", nil, "a server's log, as `M=FILE`; may be repeated")
	cmd.Flags().BoolVar(&f.noLogs, "no-server-logs", false, "do not look for logs of servers beside members")
	cmd.Flags().BoolVar(&f.opts.Replay, "replay", false, "re-execute the log of every member by itself")
	return cmd
}

func (a *app) writeReport(cmd *cobra.Command, args []string, f *reportFlags) (rerr error) {
	format, err := report.ParseFormat(a.format)
	switch {
	case err != nil:
		return err
	case f.dir == "":
		return &hinted{errors.New("no directory to write to"), "name one with -o DIR"}
	case f.showsValues && (f.redact || f.keyFile != ""):
		return errors.New("--show-values and --redact-keys contradict each other")
	}
	if err := outside(f.dir, slices.Concat(args, f.bases, a.in.wal, f.serverLogs)); err != nil {
		return err
	}
	key, save, err := f.key()
	if err != nil {
		return err
	}
	if len(f.bases) > 0 {
		before, closed, err := a.openBases(cmd, f.bases)
		if err != nil {
			return err
		}
		defer func() { rerr = errors.Join(rerr, closed()) }()
		f.opts.Bases = before
	}
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.end()
	f.opts.Progress = bar.update
	return a.reads(cmd, args, func(ms []*inspect.Member, hints []string) error {
		if err := anyReadable(ms); err != nil {
			return err
		}
		files, err := logFiles(cmd, ms, f.serverLogs, f.noLogs)
		if err != nil {
			return err
		}
		logs, err := readLogs(cmd, files)
		if err != nil {
			return err
		}
		r, err := f.make(cmd.Context(), ms, files, logs, args, key)
		if err := errors.Join(err, interrupted(cmd)); err != nil {
			return err
		}
		if !save {
			key = nil
		}
		if err := attach.Write(cmd.Context(), f.dir, r, key, f.force); err != nil {
			if interrupted(cmd) != nil {
				return interrupted(cmd)
			}
			return err
		}
		bar.end()
		switch r.Diff.Verdict {
		case diff.Consistent:
		case diff.Diverged:
			a.status = exitDiverged
		default:
			a.status = exitPartial
		}
		return report.Written(cmd.OutOrStdout(), attach.Summary(f.dir, r, key != nil), format, hints...)
	})
}

// make finds everything out, while the files are hashed.
func (f *reportFlags) make(ctx context.Context, ms []*inspect.Member, files []logFile, logs []story.Log, args []string, key []byte) (*attach.Report, error) {
	var more []attach.File
	for _, l := range files {
		more = append(more, attach.File{Path: l.path, Member: l.member})
	}
	var hashes *attach.Hashes
	hashed := make(chan error, 1)
	go func() {
		var err error
		hashes, err = attach.Hash(ctx, ms, more, func(done, total int) { f.opts.Progress("hashing the files", done, total) })
		hashed <- err
	}()
	f.opts.ServerLogs = runsOf(logs)
	doc := diff.Investigate(ctx, ms, f.opts)
	v := versions()
	opts := attach.Options{Tool: attach.Tool{Name: "etcd-autopsy", Version: v.Version, Etcd: v.Etcd, Command: f.command(args)}, ShowValues: f.showsValues, Logs: logs}
	r := attach.New(ms, doc, opts)
	if err := <-hashed; err != nil {
		return nil, err
	}
	r.Files = hashes.Files
	if key == nil {
		attach.NewRedactor(hashes.ValueKey(), nil, &attach.Secrets{}).Sums(r)
		return r, nil
	}
	r.Tool.Command = "etcd-autopsy report --redact-keys MEMBER... -o DIR"
	var labels []string
	for _, m := range ms {
		labels = append(labels, m.Label)
	}
	slices.Sort(labels)
	secrets := attach.Collect(ms)
	secrets.Logs(logs)
	attach.NewRedactor(key, labels, secrets).Report(r)
	return r, nil
}

// command is the command line without where the report goes, members in order.
func (f *reportFlags) command(args []string) string {
	words := []string{"etcd-autopsy", "report"}
	words = append(words, slices.Sorted(slices.Values(args))...)
	for _, b := range f.bases {
		words = append(words, "--base", b)
	}
	for _, l := range f.serverLogs {
		words = append(words, "--server-log", l)
	}
	n := len(words)
	for flag, on := range map[string]bool{"--replay": f.opts.Replay, "--show-values": f.showsValues, "--no-server-logs": f.noLogs} {
		if on {
			words = append(words, flag)
		}
	}
	slices.Sort(words[n:])
	return strings.Join(words, " ")
}

// key is what tokens are made with, nil if nothing is redacted. save is true for a new one.
func (f *reportFlags) key() (key []byte, save bool, err error) {
	switch {
	case f.keyFile != "":
		b, err := os.ReadFile(f.keyFile)
		if err != nil {
			return nil, false, err
		}
		b = bytes.TrimSpace(b)
		if len(b) < attach.KeySize/2 {
			return nil, false, fmt.Errorf("%s: a key has at least %d bytes", f.keyFile, attach.KeySize/2)
		}
		if k, err := hex.DecodeString(string(b)); err == nil && len(k) == attach.KeySize {
			return k, false, nil
		}
		sum := sha256.Sum256(b)
		return sum[:], false, nil
	case f.redact:
		key = make([]byte, attach.KeySize)
		_, err := rand.Read(key)
		return key, true, err
	}
	return nil, false, nil
}

// outside refuses a directory that lies in the evidence, or is a part of it.
func outside(dir string, args []string) error {
	real, err := realPath(dir)
	if err != nil {
		return err
	}
	for _, a := range places(args) {
		fi, err := os.Stat(a)
		if err != nil || !fi.IsDir() {
			continue // an archive or a file holds nothing that could be written to
		}
		evidence, err := realPath(a)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(evidence, real); err == nil && (rel == "." || !strings.HasPrefix(rel, "..")) {
			return fmt.Errorf("%s lies in the evidence %s, which is never written to", dir, a)
		}
	}
	return nil
}

// places are the paths that arguments name, those of their logs too. One that is not there does no harm.
func places(args []string) (paths []string) {
	for _, a := range args {
		data, wal, _ := strings.Cut(a, ",wal=")
		for _, p := range []string{a, data, wal} {
			_, named, _ := strings.Cut(p, "=")
			paths = append(paths, p, named)
		}
	}
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" })
}

// realPath is an absolute path without symbolic links, of a file that need not be there.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for p := abs; ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest), nil
		}
		if p == filepath.Dir(p) {
			return abs, nil
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}
