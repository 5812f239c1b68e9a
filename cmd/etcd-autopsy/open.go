package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/report/escape"
)

// members is what MEMBER stands for, in the help of every command that takes it.
const members = `A MEMBER is a data directory, its member folder, a db file, a snapshot file, or an archive or
compressed file of any of these: tar, zip, gzip, zstd, xz or bzip2, whatever it is called. NAME=PATH
names it in the output, NAME=PATH,wal=DIR has its log elsewhere. A folder or an archive that holds
the data directories or the snapshots of several members stands for all of them.`

// input is how the members that a command reads are opened.
type input struct {
	meta metaFlag
	wal  []string
	temp string
}

// inputOptions adds the options of a command that reads members.
func (a *app) inputOptions(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Var(&a.in.meta, "meta", "read every db by its meta page 0 or 1, not by the newer valid one")
	cmd.Flags().StringArrayVar(&a.in.wal, "wal-dir", nil, "the `DIR` of a log that lies apart; once for each MEMBER, in their order")
	cmd.Flags().StringVar(&a.in.temp, "tmp-dir", "", "the `DIR` that archives are unpacked to, if not the system's own")
	_ = cmd.MarkFlagDirname("wal-dir")
	_ = cmd.MarkFlagDirname("tmp-dir")
	return cmd
}

// open opens the members that args name, with a bar if it takes long, and says on the standard error what was left out.
func (a *app) open(cmd *cobra.Command, args []string, opts inspect.Options) (*inspect.Set, func() error, error) {
	bar := newProgress(cmd.ErrOrStderr())
	say := func(s string) {
		l := escape.NewLines(cmd.ErrOrStderr())
		l.Line("note: ", s)
		_ = l.Flush() // there is nowhere left to say that this failed
	}
	opts.TempDir, opts.Say, opts.Progress = a.in.temp, say, bar.update
	set, closed, err := a.engine.open(cmd.Context(), args, opts)
	bar.end()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range set.Notes {
		say(n)
	}
	return set, closed, nil
}

// needMembers refuses a command line without a member.
func needMembers(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &hinted{errors.New("no member named"), fmt.Sprintf("give at least one path: %s", cmd.UseLine())}
	}
	return nil
}

// metaFlag chooses the meta page of every db.
type metaFlag struct{ slot *int }

// engine is what commands have done on members: to read them, and to compare them. Tests share the results between commands.
type engine struct {
	open    func(ctx context.Context, args []string, opts inspect.Options) (set *inspect.Set, closed func() error, err error)
	compare func(ctx context.Context, ms []*inspect.Member, opts diff.Options) *diff.Document
}

var reading = engine{
	open: func(ctx context.Context, args []string, opts inspect.Options) (*inspect.Set, func() error, error) {
		set, err := inspect.Open(ctx, args, opts)
		if err != nil {
			return nil, nil, err
		}
		return set, set.Close, nil
	},
	compare: diff.Investigate,
}

func (f *metaFlag) String() string {
	if f.slot == nil {
		return ""
	}
	return strconv.Itoa(*f.slot)
}

func (f *metaFlag) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n != 0 && n != 1 {
		return errors.New("a db has two meta pages, 0 and 1")
	}
	f.slot = &n
	return nil
}

func (*metaFlag) Type() string { return "0|1" }

// reads runs f on the members that args name, with a file that is cut meanwhile as an error. Hints are what a person
// should know about how they were read.
func (a *app) reads(cmd *cobra.Command, args []string, use func(ms []*inspect.Member, hints []string) error) (err error) {
	return a.readsBy(cmd, args, inspect.Options{}, use)
}

// readsBy does so by other options than those that flags set.
func (a *app) readsBy(cmd *cobra.Command, args []string, opts inspect.Options, use func(ms []*inspect.Member, hints []string) error) (err error) {
	opts.Meta, opts.WALDirs = a.in.meta.slot, a.in.wal
	set, closed, err := a.open(cmd, args, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	return evidence.Guard("the members", func() error { return use(set.Members, a.in.meta.hints(set.Members)) })
}

// hints tell of the state one commit earlier, where that can be read and the newest cannot.
func (f *metaFlag) hints(ms []*inspect.Member) []string {
	var hints []string
	for _, m := range ms {
		if m.DB == nil {
			continue
		}
		if f.slot != nil {
			meta, other := m.DB.Bolt.Meta(), m.DB.Bolt.Metas()[1-*f.slot]
			if other.Valid && other.TxID > meta.TxID {
				hints = append(hints, fmt.Sprintf("%s is read by meta page %d, transaction %d; its newest state is meta page %d, transaction %d", m.Label, meta.Slot, meta.TxID, other.Slot, other.TxID))
			}
			continue
		}
		for _, x := range m.Findings {
			if x.Code == "older-meta-whole" {
				hints = append(hints, fmt.Sprintf("the newest state of %s is damaged, the tree of the one before it is whole: --meta %d reads that; see whether it has the rows it should", m.Label, x.Page))
			}
		}
	}
	return hints
}

// interrupted is the error of a command that was asked to end.
func interrupted(cmd *cobra.Command) error {
	if cmd.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return nil
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

// anyReadable refuses members of which nothing could be read.
func anyReadable(ms []*inspect.Member) error {
	if !slices.ContainsFunc(ms, readable) {
		return nothingReadable(ms)
	}
	return nil
}
