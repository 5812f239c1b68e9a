package evidence

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

const wal0 = "0000000000000000-0000000000000000.wal"

// dataDir is a small data directory: names and contents. Names that end in a slash are folders.
func dataDir() map[string]string {
	return map[string]string{
		"member/snap/db": dbContent,
		"member/snap/0000000000000002-00000000000003e8.snap": "snap",
		"member/snap/00000000000003e8.snap.db":               "received",
		"member/snap/db.tmp.1":                               "tmp",
		"member/snap/1.snap.broken":                          "broken",
		"member/wal/0000000000000001-0000000000000100.wal":   "second",
		"member/wal/" + wal0:                                 "first" + strings.Repeat("\x00", 3*holeSize) + "end",
		"member/wal/0.tmp":                                   "",
	}
}

// dbContent begins like a page of a database.
var dbContent = strings.Repeat("\x00", boltMagicAt) + "\xed\xda\x0c\xed" + strings.Repeat("page", 3000)

func below(prefix string, files map[string]string) map[string]string {
	out := map[string]string{}
	for name, data := range files {
		out[prefix+name] = data
	}
	return out
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, files := range all {
		maps.Copy(out, files)
	}
	return out
}

func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			check(t, os.MkdirAll(path, 0o755))
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(data), 0o644))
	}
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gz(data string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(data))
	_ = w.Close()
	return b.String()
}

func zst(data string) string {
	w, _ := zstd.NewWriter(nil)
	return string(w.EncodeAll([]byte(data), nil))
}

// noTemp fails the test if a temporary file is left at its end.
func noTemp(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the folder for temporary files: %v %v", left, err)
		}
	})
}

// describe renders members in a form that is easy to compare.
func describe(s *Set) string {
	var b strings.Builder
	for _, m := range s.Members {
		fmt.Fprintf(&b, "%s", m.Label)
		if m.Bare {
			b.WriteString(" bare")
		}
		list := func(kind string, files ...*File) {
			for _, f := range files {
				if f != nil {
					fmt.Fprintf(&b, " %s:%s:%d", kind, strings.TrimPrefix(f.Name, "member/"), len(f.Bytes()))
				}
			}
		}
		list("db", m.DB)
		list("wal", m.WAL...)
		list("snap", m.Snap...)
		list("snapdb", m.SnapDB...)
		list("other", m.Other...)
		for _, f := range m.Findings {
			fmt.Fprintf(&b, " [%s %s %v %s]", f.Code, f.Severity, f.Unreadable, f)
		}
		b.WriteString("\n")
	}
	return b.String()
}

const (
	snapFiles = "db:snap/db:12020%s snap:snap/0000000000000002-00000000000003e8.snap:4 snapdb:snap/00000000000003e8.snap.db:8"
	walFiles  = " wal:wal/0000000000000000-0000000000000000.wal:12296 wal:wal/0000000000000001-0000000000000100.wal:6"
	others    = " other:snap/1.snap.broken:6 other:snap/db.tmp.1:3"
)

var whole = fmt.Sprintf(snapFiles, walFiles) + others + " other:wal/0.tmp:0\n"

func TestOpen(t *testing.T) {
	noTemp(t)
	snapOnly := fmt.Sprintf(snapFiles, "") + others + "\n"
	walOnly := walFiles[1:] + " other:wal/0.tmp:0\n"
	member := below("n1/", dataDir())
	tests := []struct {
		name  string
		files map[string]string
		args  []string
		want  string // what describe says, or the start of the error after "error: "; DIR is the folder of the files
	}{
		{"data dir", member, []string{"n1"}, "n1 " + whole},
		{"member folder", member, []string{"n1/member"}, "n1 " + whole},
		{"snap folder", member, []string{"n1/member/snap"}, "n1 " + snapOnly},
		{"wal folder", member, []string{"n1/member/wal"}, "n1 " + walOnly},
		{"db file", member, []string{"n1/member/snap/db"}, "n1 bare db:db:12020\n"},
		{"garbage file", map[string]string{"s1": "?"}, []string{"s1"}, "s1 bare db:s1:1\n"},
		{"empty file", map[string]string{"s1": ""}, []string{"s1"}, "s1 bare db:s1:0\n"},
		{"label", member, []string{"a.1_-=n1"}, "a.1_- " + whole},
		{"name like a label", below("a=", member), []string{"a=n1"}, "a=n1 " + whole},
		{"label of several", merge(member, below("n2/", dataDir())), []string{"c=."}, "c/n1 " + whole + "c/n2 " + whole},
		{"label twice", merge(member, below("n2/", dataDir())), []string{"c=n1", "c=n2"}, "error: DIR/n2: label c is taken by c=DIR/n1"},
		{"empty data dir", map[string]string{"n1/member/snap/": "", "n1/member/wal/": ""}, []string{"n1"}, "n1\n"},
		{"empty member folder", map[string]string{"n1/member/": ""}, []string{"n1"}, "n1\n"},
		{"empty wal folder", map[string]string{"n1/wal/": ""}, []string{"n1"}, "n1\n"},
		{"nothing", map[string]string{"n1/x/y": ""}, []string{"n1"}, "error: DIR/n1: no etcd member here (looked for member/snap/db, snap/db, wal/)"},
		{"missing", nil, []string{"n1"}, "error: DIR/n1: no such file or directory"},
		{"missing with label", nil, []string{"a=n1"}, "error: DIR/n1: no such file or directory"},
		{"standard input", nil, []string{"-"}, "error: -: "},
		{"no argument", nil, nil, "error: no member named"},
		{
			"folder of data dirs", merge(below("n1/var/lib/etcd/", dataDir()), below("n2/", dataDir()), map[string]string{"README": "x", ".git/db": "", "lost+found/db": ""}),
			[]string{"."},
			"n1 " + whole + "n2 " + whole,
		},
		{"one snap folder", map[string]string{"n1/snap/db": "x", "other/snap/y": "", "prom/wal/00000001": ""}, []string{"."}, "n1 db:snap/db:1\n"},
		{"stray folder above members", merge(member, map[string]string{"wal/": ""}), []string{"."}, "n1 " + whole},
		{
			"folder of archives",
			map[string]string{
				"a.tar.gz": gz(tarOf(dataDir())), "b.tgz": gz(tarOf(dataDir())), "c.tar.zst": zst(tarOf(dataDir())), "d.tar": tarOf(dataDir()),
				"truth.json": "{}", "server-a.log.gz": gz("log"), "live-kv-a.json.gz": gz("{}"), "backup.db.gz": gz(dbContent), "._a.tar.gz": "",
			},
			[]string{"."},
			"a " + whole + "b " + whole + "c " + whole + "d " + whole,
		},
		{"folder and its archive", merge(member, map[string]string{"n1.tar.gz": gz(tarOf(dataDir()))}), []string{"."}, "error: DIR: both n1 and n1.tar.gz hold members"},
		{"folder of db files", map[string]string{"a.db": "a", "b.db.gz": gz("bb"), "n3/db": "ccc", "note": ""}, []string{"."}, "a bare db:a.db:1\nb bare db:b.db:2\nn3 bare db:db:3\n"},
		{"archive", map[string]string{"a.tar.gz": gz(tarOf(dataDir()))}, []string{"a.tar.gz"}, "a " + whole},
		{"archive with dots", map[string]string{"a.tgz": gz(tarOf(below("./", dataDir())))}, []string{"a.tgz"}, "a " + whole},
		{"archive of another name", map[string]string{"a": gz(tarOf(dataDir()))}, []string{"a"}, "a " + whole},
		{"archive unpacked by a browser", map[string]string{"a.tar.gz": tarOf(dataDir())}, []string{"a.tar.gz"}, "a " + whole},
		{"archive in two gzip streams", map[string]string{"a.tar.gz": gz(tarOf(dataDir())[:1000]) + gz(tarOf(dataDir())[1000:])}, []string{"a.tar.gz"}, "a " + whole},
		{"archive of the folder inside", map[string]string{"a.tar": tarOf(map[string]string{"wal/" + wal0: "w"})}, []string{"a.tar"}, "a wal:wal/" + wal0 + ":1\n"},
		{"archive of segments", map[string]string{"a.tar": tarOf(map[string]string{wal0: "w"})}, []string{"a.tar"}, "a wal:wal/" + wal0 + ":1\n"},
		{"archive of empty folders", map[string]string{"a.tar.gz": gz(tarOf(map[string]string{"member/": "", "member/wal/": "", "member/snap/": ""}))}, []string{"a.tar.gz"}, "a\n"},
		{"archive of several", map[string]string{"x.tar": tarOf(merge(member, below("n2/", dataDir())))}, []string{"x.tar"}, "n1 " + whole + "n2 " + whole},
		{"archive of a db", map[string]string{"x.tgz": gz(tarOf(map[string]string{"dir/db": "d"}))}, []string{"x.tgz"}, "dir bare db:db:1\n"},
		{"archive of an oddly named db", map[string]string{"x.tgz": gz(tarOf(map[string]string{"2024": dbContent}))}, []string{"x.tgz"}, "x bare db:2024:12020\n"},
		{"archive with macOS files", map[string]string{"x.tar": tarOf(map[string]string{"member/wal/._" + wal0: "m", "member/wal/" + wal0: "w"})}, []string{"x.tar"}, "x wal:wal/" + wal0 + ":1 other:wal/._" + wal0 + ":1\n"},
		{"archive of something else", map[string]string{"x.tgz": gz(tarOf(map[string]string{"README": "d"}))}, []string{"x.tgz"}, "error: DIR/x.tgz: no etcd member here"},
		{"empty archive", map[string]string{"x.tar": tarOf(nil)}, []string{"x.tar"}, "error: DIR/x.tar: no etcd member here"},
		{"empty file with an archive's name", map[string]string{"x.tar.gz": ""}, []string{"x.tar.gz"}, "error: DIR/x.tar.gz: no etcd member here"},
		{"not an archive", map[string]string{"x.tar.gz": strings.Repeat("?", 1000)}, []string{"x.tar.gz"}, "error: DIR/x.tar.gz: not packed in any way that is read here"},
		{"gzip of no archive", map[string]string{"x.tar.gz": gz(strings.Repeat("?", 1000))}, []string{"x.tar.gz"}, "error: DIR/x.tar.gz: offset "},
		{"db with an archive's name", map[string]string{"x.tar.gz": dbContent}, []string{"x.tar.gz"}, "x bare db:x.tar.gz:12020\n"},
		{"compressed db", map[string]string{"x.db.gz": gz(dbContent), "y.zst": zst("y")}, []string{"x.db.gz", "y.zst"}, "x bare db:x.db:12020\ny bare db:y:1\n"},
		{"same twice", member, []string{"n1", "n1"}, "n1 " + whole + "n1#2 " + whole},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), tt.files)
			var args []string
			for _, a := range tt.args {
				if label, p, ok := strings.Cut(a, "="); ok && tt.name != "name like a label" {
					a = label + "=" + filepath.Join(dir, p)
				} else if a != "-" {
					a = filepath.Join(dir, a)
				}
				args = append(args, a)
			}
			s, err := Open(t.Context(), args, Options{})
			if wantErr, ok := strings.CutPrefix(tt.want, "error: "); ok {
				if err == nil || !strings.HasPrefix(err.Error(), strings.ReplaceAll(wantErr, "DIR", dir)) {
					t.Fatalf("error is %v, want %s", err, wantErr)
				}
				if strings.HasPrefix(tt.name, "missing") != errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("wrong kind of error: %v", err)
				}
				return
			}
			check(t, err)
			defer s.Close()
			if d := cmp.Diff(tt.want, describe(s)); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
			for _, m := range s.Members {
				for _, f := range append(append(m.WAL, m.Other...), m.DB) {
					if f != nil && f.Size != int64(len(f.Bytes())) {
						t.Errorf("%s: size %d, %d bytes", f.Name, f.Size, len(f.Bytes()))
					}
				}
			}
			check(t, s.Close())
			check(t, s.Close())
		})
	}
}

func TestContents(t *testing.T) {
	noTemp(t)
	files := dataDir()
	dir := write(t, t.TempDir(), below("n1/", files))
	write(t, dir, map[string]string{"a.tar.zst": zst(tarOf(files))})
	s, err := Open(t.Context(), []string{dir}, Options{})
	check(t, err)
	defer s.Close()
	for i, origin := range []string{filepath.Join(dir, "a.tar.zst") + "!", filepath.Join(dir, "n1") + string(filepath.Separator)} {
		m := s.Members[i]
		all := append(append(append(append([]*File{m.DB}, m.WAL...), m.Snap...), m.SnapDB...), m.Other...)
		if len(all) != len(files) {
			t.Errorf("%d files, want %d", len(all), len(files))
		}
		var wg sync.WaitGroup
		for _, f := range all {
			wg.Go(func() {
				want := files[f.Name]
				f.Advise(false)
				sum, err := f.SHA256()
				if string(f.Bytes()) != want || err != nil || sum != fmt.Sprintf("%x", sha256.Sum256([]byte(want))) {
					t.Errorf("%s: %d bytes with hash %s, want %d: %v", f.Origin, f.Size, sum, len(want), err)
				}
				if filepath.ToSlash(f.Origin) != filepath.ToSlash(origin)+f.Name {
					t.Errorf("origin %s of %s", f.Origin, f.Name)
				}
			})
		}
		wg.Wait()
		if m.WAL[0].Name > m.WAL[1].Name {
			t.Error("segments are not sorted")
		}
	}
}

// state is everything about a tree that a reader could change.
func state(t *testing.T, dir string) string {
	var b strings.Builder
	check(t, filepath.Walk(dir, func(path string, fi fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var sum [32]byte
		if fi.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(data)
		}
		fmt.Fprintln(&b, path, fi.Mode(), fi.ModTime().UnixNano(), fi.Size(), sum)
		return nil
	}))
	return b.String()
}

func TestReadOnly(t *testing.T) {
	noTemp(t)
	dir := write(t, t.TempDir(), below("n1/", dataDir()))
	write(t, dir, map[string]string{"a.tar.gz": gz(tarOf(dataDir())), "bad.tar.gz": gz(tarOf(dataDir()))[:300]})
	chmod := func(off, on fs.FileMode) {
		check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Chmod(path, fi.Mode()&^off|on)
		}))
	}
	chmod(0o222, 0)
	defer chmod(0, 0o200)
	before := state(t, dir)
	for _, arg := range []string{dir, filepath.Join(dir, "n1"), filepath.Join(dir, "n1/member/snap/db"), filepath.Join(dir, "bad.tar.gz")} {
		s, err := Open(t.Context(), []string{arg}, Options{})
		if err != nil {
			continue // of the cut archive
		}
		for _, m := range s.Members {
			for _, f := range append(m.WAL, m.DB) {
				if f != nil {
					_, err := f.SHA256()
					check(t, err)
				}
			}
		}
		check(t, s.Close())
	}
	if d := cmp.Diff(before, state(t, dir)); d != "" {
		t.Errorf("the evidence changed:\n%s", d)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("root may read everything")
	}
	dir := write(t, t.TempDir(), dataDir())
	db := filepath.Join(dir, "member/snap/db")
	check(t, os.Chmod(db, 0))
	_, err := Open(t.Context(), []string{dir}, Options{})
	if !errors.Is(err, fs.ErrPermission) || err.Error() != db+": permission denied" {
		t.Errorf("error is %v", err)
	}
}

func TestSymlinks(t *testing.T) {
	files := merge(below("n1/", map[string]string{"member/snap/db": "db"}), map[string]string{"disk/wal/" + wal0: "w", "disk/wal/lost+found/x": ""})
	tests := []struct {
		name, link, target string
		want               string
	}{
		{"argument", "arg", "n1", "n1 db:snap/db:2\n"},
		{"log on another disk", "n1/member/wal", "../../disk/wal", "n1 db:snap/db:2 wal:wal/" + wal0 + ":1\n"},
		{"file", "n1/member/snap/1.snap", "../../../disk/wal/" + wal0, "n1 db:snap/db:2 snap:snap/1.snap:1\n"},
		{"log left behind", "n1/member/wal", "/nowhere/wal", "n1 db:snap/db:2 [not-a-file error true member/wal: symbolic link to nothing]\n"},
		{"unknown file left behind", "n1/member/snap/x", "y", "n1 db:snap/db:2 [not-a-file warning false member/snap/x: symbolic link to nothing]\n"},
		{"device", "n1/member/snap/2.snap", os.DevNull, "n1 db:snap/db:2 [not-a-file error true member/snap/2.snap: neither a file nor a folder]\n"},
		{"loop of folders", "n1/member/wal", "..", "error: n1/member/wal: loop of symbolic links"},
		{"loop of links", "n1/member/wal", "wal", "error: n1/member/wal: loop of symbolic links"},
		{"loop above", "n1/member/snap/up", "../../..", "error: n1/member/snap/up/n1: loop of symbolic links"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), files)
			if err := os.Symlink(tt.target, filepath.Join(dir, tt.link)); err != nil {
				t.Skip(err)
			}
			arg := filepath.Join(dir, "n1")
			if tt.link == "arg" {
				arg = "n1=" + filepath.Join(dir, "arg")
			}
			s, err := Open(t.Context(), []string{arg}, Options{})
			if wantErr, ok := strings.CutPrefix(tt.want, "error: "); ok {
				if err == nil || err.Error() != filepath.Join(dir, wantErr) {
					t.Fatalf("error is %v, want %s", err, wantErr)
				}
				return
			}
			check(t, err)
			defer s.Close()
			if d := cmp.Diff(tt.want, describe(s)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestManyFiles(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"a/1": "", "a/2": "", "b/1": "", "n1/member/snap/db": ""})
	_, err := Open(t.Context(), []string{dir}, Options{MaxEntries: 4})
	if err == nil || !strings.Contains(err.Error(), "more than 4 files to look through") {
		t.Errorf("error is %v", err)
	}
}

func TestCancelled(t *testing.T) {
	noTemp(t)
	dir := write(t, t.TempDir(), below("n1/", dataDir()))
	write(t, dir, map[string]string{"a.tar.gz": gz(tarOf(dataDir()))})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, arg := range []string{"n1", "a.tar.gz", "."} {
		path := filepath.Join(dir, arg)
		if _, err := Open(ctx, []string{path}, Options{}); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: error is %v", arg, err)
		}
	}
}
