package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/gardener"
	"etcd-autopsy/report"
)

func (a *app) verify() *cobra.Command {
	var f eachFlags
	cmd := a.inputOptions(&cobra.Command{
		Use:   "verify BACKUP...",
		Short: "Say whether backups can be restored",
		Long: `verify reads all of each backup, and says in a line whether etcdutl snapshot restore takes it and a
server starts with it: whether its hash is right, missing, all zeros or wrong, whether the file is
cut or damaged, and which revision and how many keys it holds. Nothing is restored for that.

A BACKUP is a snapshot file, a db file, a data directory, or an archive or compressed file of any of
these; of a folder every file in it is taken, and the result is a table. It says, too, how each
backup stands to the one before, or to the first data directory that is named: newer, older, of
another cluster or of another history, by the rows that both hold, and with a question mark where
only numbers tell.

Of Gardener's etcd-backup-restore, the deltas (Incr-...) are read, too: their hashes, and whether
events are in order. The last full snapshot of a folder and the deltas behind it are a chain: a gap,
an overlap or missing revisions, on which its restore ends with an error, are told, or what it would
hold. It drops the leases of what deltas wrote.

With --each neither chains nor how backups stand to each other are told.
` + eachHelp + `

Exit status:
  0  every backup can be restored; one without a hash needs --skip-hash-check
  1  one cannot: it is cut, damaged, none of etcd's, or its hash is wrong
  2  could not run: wrong usage, or a file that cannot be opened
  3  it cannot be told: all of it can be read, but not all of it fits together`,
		Example: `  etcd-autopsy verify snapshot.db
  etcd-autopsy verify backups/ -w json
  etcd-autopsy verify --each backups/ -w json | jq -r 'select(.exit_status == 0) | .file.name'
  etcd-autopsy verify --each backups/ -w openmetrics > etcd-backups.prom`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.measured(cmd, func(format report.Format) error {
				if f.each {
					return a.each(cmd, args, &f, format, a.verifyEach)
				}
				paths, err := backups(args)
				if err != nil {
					return err
				}
				v := a.newVerifier()
				v.chains = chainsOf(paths)
				if err := errors.Join(v.run(cmd, paths), v.release()); err != nil {
					return cmp.Or(interrupted(cmd), err)
				}
				a.status = v.status
				if format == report.OpenMetrics {
					return report.Metrics(cmd.OutOrStdout(), cmd.Name(), a.status, v.measured)
				}
				return report.Verified(cmd.OutOrStdout(), v.doc, format)
			})
		},
	})
	f.add(cmd)
	return cmd
}

// verifier verifies backups one after another.
type verifier struct {
	a   *app
	doc *report.Verification
	// status is the one that counts first of those of the backups, and measured their figures.
	status   int
	measured []report.Measured
	notes    []string // of what was found and not read
	// ref is what the next backup is related to, nil for nothing: the first data directory that was named, or else the backup before.
	ref      *inspect.Member
	refName  string
	refClose func() error
	fixed    bool
	// chains are the deltas behind a full snapshot, by its path; deltas the results of those that were read for one.
	chains map[string][]backup.Delta
	deltas map[string]*backup.Result
}

func (a *app) newVerifier() *verifier {
	return &verifier{a: a, doc: report.NewVerification(), deltas: map[string]*backup.Result{}}
}

// verifyEach verifies what one path stands for, by itself.
func (a *app) verifyEach(ctx context.Context, path string, x *report.Each) (any, error) {
	v := a.newVerifier()
	if err := errors.Join(v.one(ctx, path), v.release()); err != nil {
		return nil, err
	}
	for _, m := range v.measured {
		x.Members = append(x.Members, m.Members...)
	}
	x.ExitStatus, x.Summary, x.Notes = v.status, v.doc.SummaryOf(), append(x.Notes, v.notes...)
	return v.doc, nil
}

func (v *verifier) run(cmd *cobra.Command, paths []string) error {
	if i := slices.IndexFunc(paths, dataDir); i >= 0 && len(paths) > 1 {
		set, closed, err := v.open(cmd.Context(), paths[i])
		if err == nil && len(set.Members) == 1 {
			v.ref, v.refName, v.refClose, v.fixed = set.Members[0], paths[i], closed, true
		} else if err == nil {
			err = closed()
		}
		if errors.Is(err, context.Canceled) {
			return err
		}
	}
	for _, p := range paths {
		if err := v.one(cmd.Context(), p); err != nil {
			return err
		}
		if err := cmd.Context().Err(); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) open(ctx context.Context, path string) (*inspect.Set, func() error, error) {
	return v.a.engine.open(ctx, []string{path}, inspect.Options{Meta: v.a.in.meta.slot, TempDir: v.a.in.temp})
}

// release closes what is held to relate the next backup to.
func (v *verifier) release() (err error) {
	if v.refClose != nil {
		err = v.refClose()
	}
	v.ref, v.refClose = nil, nil
	return err
}

// add adds a backup, of members if it has any of its own.
func (v *verifier) add(name string, r *backup.Result, ms ...*inspect.Member) {
	v.doc.Add(name, r)
	status := map[backup.State]int{backup.Restorable: exitOK, backup.Unknown: exitPartial, backup.NotRestorable: exitDiverged, backup.Unopened: exitFailed}[r.State]
	v.status = worse(v.status, status)
	x := report.Measured{Path: name, Status: status}
	for _, m := range ms {
		x.Members = append(x.Members, report.FiguresFound(m))
	}
	v.measured = append(v.measured, x)
}

// one verifies all that a path stands for. Only that the work was interrupted is an error.
func (v *verifier) one(ctx context.Context, path string) (rerr error) {
	if f, err := os.Open(path); err != nil {
		v.add(path, backup.NotOpened(backup.Unopened, err.Error()))
		return nil
	} else if err := f.Close(); err != nil {
		return err
	}
	name, ours := gardener.Parse(filepath.Base(path))
	if ours && name.Kind == gardener.Delta {
		r := v.deltas[path]
		if r == nil {
			r = backup.VerifyFile(ctx, &backup.Delta{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(path) }})
		}
		v.add(path, r)
		return nil
	}
	set, closed, err := v.open(ctx, path)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		v.add(path, backup.NotOpened(backup.NotRestorable, oneLine(err)))
		return nil
	}
	v.notes = append(v.notes, set.Notes...)
	var last *inspect.Member
	var lastName string
	err = evidence.Guard(path, func() error {
		for _, m := range set.Members {
			name := path
			if len(set.Members) > 1 {
				name = path + ": " + m.Label
			}
			r := backup.Verify(m)
			if ours {
				r.Kind = backup.KindFull
			}
			switch {
			case last != nil && !v.fixed:
				r.Relation = backup.Relate(m, last, lastName)
			case v.ref != nil && name != v.refName:
				r.Relation = backup.Relate(m, v.ref, v.refName)
			}
			v.add(name, r, m)
			last, lastName = m, name
			if deltas := v.chains[path]; len(deltas) > 0 && len(set.Members) == 1 {
				v.chain(ctx, filepath.Dir(path), m, r, deltas)
			}
		}
		return nil
	})
	if v.fixed || last == nil || last.DB == nil {
		return errors.Join(err, closed())
	}
	err = errors.Join(err, v.release())
	v.ref, v.refName, v.refClose = last, lastName, closed
	return err
}

// chain says what a full snapshot and the deltas behind it come to.
func (v *verifier) chain(ctx context.Context, dir string, m *inspect.Member, full *backup.Result, deltas []backup.Delta) {
	v.add(dir, backup.Replay(ctx, m, full, deltas, func(d *backup.Delta, r *backup.Result) { v.deltas[filepath.Join(dir, d.File)] = r }))
}

// chainsOf finds what etcd-backup-restore would restore of the files of each folder: the last full snapshot, and the deltas behind it
// (pkg/miscellaneous/miscellaneous.go, GetLatestFullSnapshotAndDeltaSnapList).
func chainsOf(paths []string) map[string][]backup.Delta {
	type file struct {
		path string
		name gardener.Name
	}
	folders := map[string][]file{}
	for _, p := range paths {
		if n, ok := gardener.Parse(filepath.Base(p)); ok {
			folders[filepath.Dir(p)] = append(folders[filepath.Dir(p)], file{p, n})
		}
	}
	chains := map[string][]backup.Delta{}
	for _, files := range folders {
		slices.SortStableFunc(files, func(a, b file) int {
			switch {
			case a.name.Before(&b.name):
				return -1
			case b.name.Before(&a.name):
				return 1
			}
			return 0
		})
		full := len(files) - 1
		for full >= 0 && files[full].name.Kind != gardener.Full {
			full--
		}
		if full < 0 {
			continue
		}
		for _, f := range files[full+1:] {
			chains[files[full].path] = append(chains[files[full].path], backup.Delta{
				File: filepath.Base(f.path), Name: f.name, Open: func() (io.ReadCloser, error) { return os.Open(f.path) },
			})
		}
	}
	return chains
}

// backups are the files that arguments stand for: those of a folder, unless it is a data directory.
func backups(args []string) (paths []string, err error) {
	for _, a := range args {
		fi, err := os.Stat(a)
		if err != nil || !fi.IsDir() || dataDir(a) {
			paths = append(paths, a)
			continue
		}
		es, err := os.ReadDir(a)
		if err != nil {
			return nil, err
		}
		n := len(paths)
		for _, e := range es {
			if p := filepath.Join(a, e.Name()); !strings.HasPrefix(e.Name(), ".") && (e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0 || e.IsDir() && dataDir(p)) {
				paths = append(paths, p)
			}
		}
		if len(paths) == n {
			return nil, &hinted{errors.New(a + ": no backup in this folder"), "name the files"}
		}
	}
	return paths, nil
}

// dataDir tells whether a folder is that of a member.
func dataDir(path string) bool {
	for _, sub := range []string{"member", "snap", "wal"} {
		if fi, err := os.Stat(filepath.Join(path, sub)); err == nil && fi.IsDir() {
			return true
		}
	}
	return false
}
