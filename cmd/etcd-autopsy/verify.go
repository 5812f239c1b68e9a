package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/report"
)

func (a *app) verify() *cobra.Command {
	return a.inputOptions(&cobra.Command{
		Use:   "verify BACKUP...",
		Short: "Say whether backups can be restored",
		Long: `verify reads all of each backup, and says in a line whether etcdutl snapshot restore takes it and a
server starts with it: whether its hash is right, missing, all zeros or wrong, whether the file is
cut or damaged, and which revision and how many keys it holds. Nothing is restored for that.

A BACKUP is a snapshot file, a db file, a data directory, or an archive or compressed file of any of
these; of a folder every file in it is taken, and the result is a table.

Exit status:
  0  every backup can be restored; one without a hash needs --skip-hash-check
  1  one cannot: it is cut, damaged, none of etcd's, or its hash is wrong
  2  could not run: wrong usage, or a file that cannot be opened
  3  it cannot be told: all of it can be read, but not all of it fits together`,
		Example: `  etcd-autopsy verify snapshot.db
  etcd-autopsy verify backups/ -w json`,
		Args: needMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := report.ParseFormat(a.format)
			if err != nil {
				return err
			}
			paths, err := backups(args)
			if err != nil {
				return err
			}
			doc := report.NewVerification()
			for _, p := range paths {
				if err := a.verifyOne(cmd, p, doc); err != nil {
					return cmp.Or(interrupted(cmd), err)
				}
			}
			return report.Verified(cmd.OutOrStdout(), doc, format)
		},
	})
}

// verifyRank orders the exit statuses of several backups, the one that counts first.
var verifyRank = []int{exitFailed, exitDiverged, exitPartial, exitOK}

// verifyOne verifies all that a path stands for. Only that the work was interrupted is an error.
func (a *app) verifyOne(cmd *cobra.Command, path string, doc *report.Verification) error {
	add := func(name string, r *backup.Result) {
		doc.Add(name, r)
		status := map[backup.State]int{backup.Restorable: exitOK, backup.Unknown: exitPartial, backup.NotRestorable: exitDiverged, backup.Unopened: exitFailed}[r.State]
		if slices.Index(verifyRank, status) < slices.Index(verifyRank, a.status) {
			a.status = status
		}
	}
	if f, err := os.Open(path); err != nil {
		add(path, backup.NotOpened(backup.Unopened, err.Error()))
		return nil
	} else if err := f.Close(); err != nil {
		return err
	}
	set, closed, err := a.engine.open(cmd.Context(), []string{path}, inspect.Options{Meta: a.in.meta.slot, TempDir: a.in.temp})
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		add(path, backup.NotOpened(backup.NotRestorable, oneLine(err)))
		return nil
	}
	err = evidence.Guard(path, func() error {
		for _, m := range set.Members {
			name := path
			if len(set.Members) > 1 {
				name = path + ": " + m.Label
			}
			add(name, backup.Verify(m))
		}
		return nil
	})
	return errors.Join(err, closed())
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
