package evidence

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/lzw"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// What xz and bzip2 make of dbContent and of tarOf(dataDir()), as there is no code here that packs so.
const (
	dbBzip2   = "QlpoOTFBWSZTWfVyhwcAAABBg0AEIoBAAAAQAAIgAFCGBAmqkZo/0zWVCFlQhZUIXBELt28LuSKcKEh6uUODgA=="
	dbXz      = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4C7zADpdAABtW/gprTIOUWjwANmNwZMhKhVVAzTB/WMGVFp1BrGmkBR65U0odBxcnF5gTsLFWxIN3IhGweqKhQAAAAA7uFCkaj7F5wABVvRdAAAA1R5RnbHEZ/sCAAAAAARZWg=="
	treeBzip2 = "QlpoOTFBWSZTWeg8L5QAE6Z/g9+sAARAB//EAIRQAH+v34AAEAACCrgwAVZbShJQkxMQGgAAaAGhkAEkppNDQANBoA02oAAAEilPTSYhqeoxHoRkBkyA0xNPU/Bx3GrhJC6RJRIZ8A8oxDgEDmEdI0JJKWXubp7cMj5AsCIDBPJRfvjjOTARAgJCTEDaAbDhARRTberXhM5+qUMcm21WBoAiBppkCSRoaoAySQ5kkh7TTzTwvpABORg0Bg3PuAkKrpodbpmJY4GxFqF6prkma9mGEEQ2AB59w0DQ6piqQ1WBGU78iKFaAkhJHBHmg8QJl2AveqqfHXyewaKPPaMCgnhSQkJI3gV+4CSEkeLNI5DQPtHz7p/OiwqElQMjuEtaVjBiVRJCQki6AEAKLD+ha2WopuAwoIzO4CeBAo6f2pAhfxdyRThQkOg8L5Q="
	treeXz    = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4J//AUtdADaZSf224loWKiDIGEnw9pwHkKYl7ezw8FeJRjQh5BPwVFNvaXDF1/jRJH7j26utNP/O6KEB0oj9NXtO1x3g2I0e++uYTWRvbn4RQIAWWvudzkRmO+QB7yN4hfSRdx1jkdNFde4jqhUAHCvgHwINAjHlGpxi9d56scsvmk4v417xVXyIWQobVtu7GBx+w5x6yCx/5mLWqZUy4ZRmkIXYN8rnrZ/ZMYCL5aT0e/y90tcQ2fgG2wgf3uFxdSEtfj13/iDSdexUg2jcXPubP5FGEIMLVPd/sdVgqhf15gqDzFXk44yROEJLF49gVzm6Ko6vBHyRdY1a/ILpKml3tl3G0gKZylevStLhmxlykdxMe47jiGi+UWVTyjcBfSespR518DcKApzbLIWJc0wja1OBa3zRLxQB7dAxLaa9N9FKhqOLUBYxv4LxSssN0gAAAEUysYpacAOVAAHnAoDAAgB+7hT8scRn+wIAAAAABFla"
)

func unbase(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func zlibbed(data string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = io.WriteString(w, data)
	_ = w.Close()
	return b.String()
}

func lzwed(data string) string {
	var b bytes.Buffer
	w := lzw.NewWriter(&b, lzw.LSB, 8)
	_, _ = io.WriteString(w, data)
	_ = w.Close()
	return b.String()
}

// zipOf packs files by a method, in the order of their names.
func zipOf(method uint16, files map[string]string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zstd.ZipMethodWinZip, zstd.ZipCompressor())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = io.WriteString(f, files[name])
		}
		if err != nil {
			panic(err)
		}
	}
	_ = w.Close()
	return b.String()
}

// segment begins like a segment of a log, raftSnap like a .snap file.
const (
	segment  = "\x04\x00\x00\x00\x00\x00\x00\x84\x08\x04\x10\x00\x00\x00\x00\x00"
	raftSnap = "\x08\x81\x82\x83\x84\x05\x12\x05\x0a\x03{}\n"
)

// openAll opens args, which are relative to dir, and describes what was found, with the notes.
func openAll(t *testing.T, dir string, opts Options, args ...string) string {
	t.Helper()
	for i, a := range args {
		if _, err := os.Lstat(filepath.Join(dir, a)); err == nil {
			args[i] = filepath.Join(dir, a)
			continue
		}
		label, p, ok := strings.Cut(a, "=")
		if !ok || strings.HasPrefix(p, "wal=") || strings.Contains(label, ",") {
			label, p = "", a
		} else {
			label += "="
		}
		p, wal, apart := strings.Cut(p, ",wal=")
		if p = filepath.Join(dir, p); apart {
			p += ",wal=" + filepath.Join(dir, wal)
		}
		args[i] = label + p
	}
	for i, w := range opts.WALDirs {
		opts.WALDirs[i] = filepath.Join(dir, w)
	}
	s, err := Open(t.Context(), args, opts)
	if err != nil {
		text := "error: " + strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok && h.Hint() != "" {
			text += "hint: " + h.Hint() + "\n"
		}
		return text
	}
	text := describe(s)
	for _, n := range s.Notes {
		text += strings.ReplaceAll(n, dir, "DIR") + "\n"
	}
	check(t, s.Close())
	return strings.ReplaceAll(text, dir, "DIR")
}

func TestInputs(t *testing.T) {
	noTemp(t)
	tree := tarOf(dataDir())
	member := below("n1/", dataDir())
	bare := func(label, name string) string { return fmt.Sprintf("%s bare db:%s:12020\n", label, name) }
	one := func(name, data string) map[string]string { return map[string]string{name: data} }
	dataOnly := map[string]string{"member/snap/db": dbContent}
	logOnly := map[string]string{wal0: "w"}
	const joined = " db:snap/db:12020 wal:wal/0000000000000000-0000000000000000.wal:1 [wal-apart info false member/wal: the log lies apart, in %s]\n"
	join := func(label, where string) string { return label + fmt.Sprintf(joined, where) }
	tests := []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		{"gzip", one("x", gz(dbContent)), []string{"x"}, bare("x", "x")},
		{"zstd", one("x", zst(dbContent)), []string{"x"}, bare("x", "x")},
		{"xz", one("x", unbase(dbXz)), []string{"x"}, bare("x", "x")},
		{"bzip2", one("x", unbase(dbBzip2)), []string{"x"}, bare("x", "x")},
		{"zlib", one("x", zlibbed(dbContent)), []string{"x"}, bare("x", "x")},
		{"lzw", one("x.Z", lzwed(dbContent)), []string{"x.Z"}, bare("x", "x")},
		{"zip", one("x", zipOf(zip.Deflate, one("y", dbContent))), []string{"x"}, bare("x", "y")},
		{"tar", one("x", tarOf(one("y", dbContent))), []string{"x"}, bare("x", "y")},
		{"xz names", one("s.db.xz", unbase(dbXz)), []string{"s.db.xz"}, bare("s", "s.db")},
		{"bzip2 names", one("s.db.bz2", unbase(dbBzip2)), []string{"s.db.bz2"}, bare("s", "s.db")},
		{"names that lie", map[string]string{"a.zip": gz(dbContent), "b.gz": dbContent, "c.tar.xz": zst(dbContent)}, []string{"a.zip", "b.gz", "c.tar.xz"}, bare("a", "a.zip") + bare("b", "b.gz") + bare("c", "c.tar")},
		{"tree in gzip", one("x", gz(tree)), []string{"x"}, "x " + whole},
		{"tree in zstd", one("x", zst(tree)), []string{"x"}, "x " + whole},
		{"tree in xz", one("x", unbase(treeXz)), []string{"x"}, "x " + whole},
		{"tree in bzip2", one("x", unbase(treeBzip2)), []string{"x"}, "x " + whole},
		{"tree in zlib", one("x", zlibbed(tree)), []string{"x"}, "x " + whole},
		{"tree in zip", one("x.zip", zipOf(zip.Deflate, dataDir())), []string{"x.zip"}, "x " + whole},
		{"tree in zip, stored", one("x.zip", zipOf(zip.Store, dataDir())), []string{"x.zip"}, "x " + whole},
		{"tree in zip, zstd", one("x.zip", zipOf(zstd.ZipMethodWinZip, dataDir())), []string{"x.zip"}, "x " + whole},
		{"trees in zip", one("x.zip", zipOf(zip.Deflate, merge(member, below("n2/", dataDir())))), []string{"x.zip"}, "n1 " + whole + "n2 " + whole},
		{"zip of a folder", one("x.zip", zipOf(zip.Deflate, merge(member, map[string]string{"n1/": "", "n1/member/": ""}))), []string{"x.zip"}, "n1 " + whole},
		{"zip with backslashes", one("x.zip", zipOf(zip.Deflate, map[string]string{`n1\member\snap\db`: dbContent})), []string{"x.zip"}, "n1 db:snap/db:12020\n"},
		{"tar.gz in zip", one("x.zip", zipOf(zip.Store, map[string]string{"a.tar.gz": gz(tree), "b.tar.gz": gz(tree)})), []string{"x.zip"}, "a " + whole + "b " + whole},
		{"db.gz in tar", one("x.tar", tarOf(map[string]string{"a.db.gz": gz(dbContent), "b.gz": gz(dbContent)})), []string{"x.tar"}, bare("a", "a.db") + bare("b", "b")},
		{"gzip in gzip", one("x", gz(gz(dbContent))), []string{"x"}, bare("x", "x")},
		{"zip in tar.gz beside a tree", one("x.tgz", gz(tarOf(merge(member, one("old.zip", zipOf(zip.Store, dataDir())))))), []string{"x.tgz"}, "n1 " + whole +
			"left out: DIR/x.tgz!old.zip: packed, beside what is not; unpack it, and name it to read it\n"},

		{"snapshots of k3s", map[string]string{
			"snapshots/etcd-snapshot-s1-1700000000": dbContent, "snapshots/etcd-snapshot-s2-1700000001.zip": zipOf(zip.Deflate, one("etcd-snapshot-s2-1700000001", dbContent)),
			".metadata/etcd-snapshot-s1-1700000000": `{"a":1}`, "snapshots/note.txt": "x",
		}, []string{"."}, bare("etcd-snapshot-s1-1700000000", "etcd-snapshot-s1-1700000000") + bare("etcd-snapshot-s2-1700000001", "etcd-snapshot-s2-1700000001")},
		{"snapshots of Bitnami", map[string]string{"db-2024-01-01_00-00": dbContent, "db-2024-01-02_00-00": dbContent}, []string{"."}, bare("db-2024-01-01_00-00", "db-2024-01-01_00-00") + bare("db-2024-01-02_00-00", "db-2024-01-02_00-00")},
		{"backups of kOps", map[string]string{
			"main/2024-01-01T00:00:00Z-000001/etcd.backup.gz": gz(dbContent), "main/2024-01-01T00:00:00Z-000001/_etcd_backup.meta": `{"etcdVersion":"3.5.9"}`,
			"main/2024-01-02T00:00:00Z-000002/etcd.backup.gz": gz(dbContent),
		}, []string{"main"}, bare("2024-01-01T00:00:00Z-000001", "etcd.backup") + bare("2024-01-02T00:00:00Z-000002", "etcd.backup")},
		{"both clusters of kOps", map[string]string{"main/1-1/etcd.backup.gz": gz(dbContent), "events/1-2/etcd.backup.gz": gz(dbContent)}, []string{"."}, bare("1-2", "etcd.backup") + bare("1-1", "etcd.backup") +
			"main and events are backups of two clusters (kOps): compare within each of them\n"},
		{
			"backup of OpenShift",
			map[string]string{"snapshot_2024-01-01_000000.db": dbContent, "static_kuberesources_2024-01-01_000000.tar.gz": gz(tarOf(one("etc/kubernetes/pod.yaml", "x")))},
			[]string{"."},
			bare("snapshot_2024-01-01_000000", "snapshot_2024-01-01_000000.db") + "left out: DIR/static_kuberesources_2024-01-01_000000.tar.gz: no etcd member in it\n",
		},
		{"backup of OpenShift that may be dirty", one("snapshot_2024-01-01_000000__POSSIBLY_DIRTY__.db", dbContent), []string{"."}, bare("snapshot_2024-01-01_000000__POSSIBLY_DIRTY__", "snapshot_2024-01-01_000000__POSSIBLY_DIRTY__.db")},
		{
			"backup of k0s", one("k0s_backup_2021-04-26T19_51_57_000Z.tar.gz", gz(tarOf(map[string]string{"etcd-snapshot.db": dbContent, "k0s.yaml": "x", "pki/ca.crt": "y", "images/bundle.tar": tarOf(one("layer.tar", tarOf(one("etc/passwd", "z"))))}))),
			[]string{"k0s_backup_2021-04-26T19_51_57_000Z.tar.gz"},
			bare("etcd-snapshot", "etcd-snapshot.db") +
				"left out: DIR/k0s_backup_2021-04-26T19_51_57_000Z.tar.gz!images/bundle.tar: packed, beside what is not; unpack it, and name it to read it\n",
		},
		{"snapshots of Gardener", map[string]string{
			"v2/Full-00000000-00000009-1.gz": gz(dbContent), "v2/Full-00000000-00000019-2.zlib": zlibbed(dbContent), "v2/Full-00000000-00000029-3": dbContent,
			"v2/Full-00000000-00000039-4.Z": lzwed(dbContent), "v2/Full-00000000-00000049-5.gz.final": gz(dbContent), "v2/Incr-00000001-00000002-6": `[{"EtcdEvent":{}}]`,
		}, []string{"."}, bare("Full-00000000-00000009-1", "Full-00000000-00000009-1") + bare("Full-00000000-00000019-2", "Full-00000000-00000019-2") + bare("Full-00000000-00000029-3", "Full-00000000-00000029-3") +
			bare("Full-00000000-00000039-4", "Full-00000000-00000039-4") + bare("Full-00000000-00000049-5", "Full-00000000-00000049-5")},
		{"snapshots that are called .snap", map[string]string{"b1.snap": dbContent, "b2.snap": dbContent}, []string{"."}, bare("b1.snap", "b1.snap") + bare("b2.snap", "b2.snap")},
		{"databases of any name beside a log server's", map[string]string{"a": dbContent, "server.log": "x", "server.log.gz": gz("x"), "meta.json": "{}"}, []string{"."}, bare("a", "a")},
		{"first meta page lost", one("a", strings.Repeat("\x00", boltPage)+dbContent), []string{"."}, "a bare db:a:16116\n"},

		{"hidden data directory", map[string]string{".snapshot/n1/member/snap/db": dbContent}, []string{"."}, "n1 db:snap/db:12020\n"},
		{"hidden beside others", merge(member, map[string]string{".old/member/snap/db": dbContent, ".old.db": dbContent, ".git/x/member/snap/db": dbContent}), []string{"."}, "n1 " + whole +
			"left out: DIR/.old, DIR/.old.db: hidden; name it to read it\n"},
		{
			"below a data directory", merge(member, map[string]string{"n1/old/member/snap/db": dbContent, "n1/member/bak/member/snap/db": dbContent, "n1/before.db": dbContent}),
			[]string{"n1"},
			strings.Replace("n1 "+whole, " other:", " other:bak/member/snap/db:12020 other:", 1) +
				"left out: DIR/n1/before.db, DIR/n1/member/bak, DIR/n1/old: below another data directory; name it to read it\n",
		},
		{"databases beside data directories", merge(member, map[string]string{"a.db": dbContent, "b.gz": gz(dbContent)}), []string{"."}, "n1 " + whole +
			"left out: DIR/a.db, DIR/b.gz: not part of a data directory, and there are data directories; name it to read it\n"},
		{"many left out", merge(member, map[string]string{"a": dbContent, "b": dbContent, "c": dbContent, "d": dbContent, "e": dbContent, "f": dbContent}), []string{"."}, "n1 " + whole +
			"left out: DIR/a, DIR/b, DIR/c, DIR/d, DIR/e and 1 more: not part of a data directory, and there are data directories; name it to read it\n"},

		{"interrupted first start", below("n1/", map[string]string{"member/snap/db": dbContent, "member/wal.tmp/" + wal0: segment}), []string{"n1"}, "n1 db:snap/db:12020 other:wal.tmp/" + wal0 + ":16\n"},

		{"log elsewhere", merge(below("n1/", dataOnly), below("disk2/x/", logOnly)), []string{"n1,wal=disk2/x"}, join("n1", "DIR/disk2/x")},
		{"log elsewhere, labelled", merge(below("n1/", dataOnly), below("disk2/x/", logOnly)), []string{"a=n1,wal=disk2/x"}, join("a", "DIR/disk2/x")},
		{"log in an archive", merge(below("n1/", dataOnly), one("w.tar.gz", gz(tarOf(below("wal/", logOnly))))), []string{"a=n1,wal=w.tar.gz"}, join("a", "DIR/w.tar.gz!wal")},
		{"log instead of another", merge(member, below("disk2/x/", logOnly)), []string{"n1,wal=disk2/x"}, strings.Replace("n1 "+whole, walFiles, " wal:wal/"+wal0+":1", 1)[:len(whole)-len(walFiles)+len(" wal:wal/"+wal0+":1")+2] +
			" [wal-not-read warning false member/wal: 2 segments were not read: the log in DIR/disk2/x was named instead] [wal-apart info false member/wal: the log lies apart, in DIR/disk2/x]\n"},
		{"log of two", merge(member, below("n2/", dataDir()), below("x/", logOnly)), []string{".,wal=x"}, "error: DIR: a log is named for 2 members\nhint: name each member, as NAME=DATA,wal=DIR\n"},
		{"log that is none", merge(member, below("n2/", dataDir())), []string{"n1,wal=n2"}, "error: DIR/n2: not the folder of one log: no segments (*.wal) of just one member in it\n"},
		{"folder with the mark in its name", below("a,wal=b/", dataOnly), []string{"a,wal=b"}, "a,wal=b db:snap/db:12020\n"},
		{"data and wal below one folder", merge(below("n1/data/", dataOnly), below("n1/wal/", logOnly)), []string{"n1"}, join("n1", "DIR/n1/wal")},
		{"wal below the data directory", merge(below("n1/", dataOnly), below("n1/wal/", logOnly)), []string{"n1"}, join("n1", "DIR/n1/wal")},
		{"wals by node", merge(below("data/n1/", dataOnly), below("data/n2/", dataOnly), below("wal/n1/", logOnly), below("wal/n2/", logOnly)), []string{"."}, join("n1", "DIR/wal/n1") + join("n2", "DIR/wal/n2")},
		{"nodes with both", merge(below("n1/data/", dataOnly), below("n2/data/", dataOnly), below("n1/etcd-wal/", logOnly), below("n2/etcd-wal/", logOnly)), []string{"."}, join("n1", "DIR/n1/etcd-wal") + join("n2", "DIR/n2/etcd-wal")},
		{"names with both", merge(below("n1.etcd/", dataOnly), below("n2.etcd/", dataOnly), below("n1-wal/", logOnly), below("n2-wal/", logOnly)), []string{"."}, join("n1.etcd", "DIR/n1-wal") + join("n2.etcd", "DIR/n2-wal")},
		{"both in an archive", one("n1.tgz", gz(tarOf(merge(below("n1/data/", dataOnly), below("n1/wal/", logOnly))))), []string{"n1.tgz"}, join("n1", "DIR/n1.tgz!n1/wal")},
		{"logs of others are not joined", merge(below("n1/", dataOnly), below("n2/wal/", logOnly)), []string{"."}, "n1 db:snap/db:12020\nn2 wal:wal/" + wal0 + ":1\n"},
		{"one log beside two members", merge(below("n1/", dataOnly), below("n2/", dataOnly), below("log/", logOnly)), []string{"."}, "n1 db:snap/db:12020\nn2 db:snap/db:12020\n" +
			"left out: DIR/log: a log apart, and it does not show whose; NAME=DATA,wal=DIR joins it to a data directory\n"},

		{"lone segment", one(wal0, segment), []string{wal0}, "0000000000000000-0000000000000000.wal bare wal:wal/" + wal0 + ":16\n"},
		{"lone segment of another name", one("n1-"+wal0+".1", segment), []string{"n1-" + wal0 + ".1"}, "n1-" + wal0 + ".1 bare wal:wal/" + wal0 + ":16\n"},
		{"lone segment without a name", one("tail.bin", segment), []string{"tail.bin"}, "tail.bin bare wal:wal/0000000000000001-0000000000000000.wal:16\n"},
		{"lone segment, damaged", one(wal0, "\xff"+segment[1:]), []string{wal0}, "0000000000000000-0000000000000000.wal bare wal:wal/" + wal0 + ":16\n"},
		{"lone segment, packed", one("x.gz", gz(segment)), []string{"x.gz"}, "x bare wal:wal/0000000000000001-0000000000000000.wal:16\n"},
		{"lone .snap", one("0000000000000002-00000000000003e8.snap", raftSnap), []string{"0000000000000002-00000000000003e8.snap"}, "0000000000000002-00000000000003e8.snap bare snap:snap/0000000000000002-00000000000003e8.snap:13\n"},
		{"lone .snap.db", one("00000000000003e8.snap.db", dbContent), []string{"00000000000003e8.snap.db"}, bare("00000000000003e8.snap", "00000000000003e8.snap.db")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), tt.files)
			before := state(t, dir)
			if d := cmp.Diff(tt.want, openAll(t, dir, Options{}, tt.args...)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if state(t, dir) != before {
				t.Error("the evidence changed")
			}
		})
	}
}

func TestWALDirs(t *testing.T) {
	noTemp(t)
	dir := write(t, t.TempDir(), map[string]string{"n1/member/snap/db": dbContent, "n2/member/snap/db": dbContent, "w1/" + wal0: "1", "w2/" + wal0: "22"})
	const line = "%s db:snap/db:12020 wal:wal/" + wal0 + ":%d [wal-apart info false member/wal: the log lies apart, in DIR/w%d]\n"
	if got, want := openAll(t, dir, Options{WALDirs: []string{"w1", "w2"}}, "n1", "n2"), fmt.Sprintf(line+line, "n1", 1, 1, "n2", 2, 2); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, args := range [][]string{{"n1"}, {"n1,wal=w1", "n2"}} {
		if got := openAll(t, dir, Options{WALDirs: []string{"w1", "w2"}}, args...); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%v: %s", args, got)
		}
	}
}

// TestForeign hands in what is not etcd's.
func TestForeign(t *testing.T) {
	noTemp(t)
	for _, tt := range []struct{ name, data, want string }{
		{"SQLite", "SQLite format 3\x00\x10\x00", "a SQLite database, as kine makes it, not one of etcd"},
		{"Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS; the file itself was not fetched"},
		{"git-annex", "/annex/objects/SHA256E-s1--0\n", "a pointer of git-annex"},
		{"age", "age-encryption.org/v1\n-> X25519", "encrypted with age"},
		{"OpenPGP text", "-----BEGIN PGP MESSAGE-----\n\n", "encrypted with OpenPGP"},
		{"OpenPGP by passphrase", "\x8c\x0d\x04\x09\x03\x08", "encrypted with OpenPGP"},
		{"OpenPGP by key", "\x85\x02\x0c\x03abc", "encrypted with OpenPGP"},
		{"openssl", "Salted__12345678", "encrypted with openssl"},
		{"7-Zip", "7z\xbc\xaf\x27\x1c\x00", "a 7-Zip archive, which is not read"},
		{"compress", "\x1f\x9d\x90xyz", "compressed with compress(1), which is not read"},
		{"object store", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML text"},
		{"JSON", `{"kind":"x"}`, "JSON text, not a database"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"x.db": tt.data, "x.db.gz": gz(tt.data), "a": dbContent})
			for _, arg := range []string{"x.db", "x.db.gz"} {
				if got := openAll(t, dir, Options{}, arg); !strings.HasPrefix(got, "error: DIR/"+arg+": "+tt.want) {
					t.Errorf("%s: %s", arg, got)
				}
			}
			// In a folder with others it is no member.
			got := openAll(t, dir, Options{}, ".")
			if !strings.HasPrefix(got, "a bare db:a:12020\n") {
				t.Errorf("in a folder: %s", got)
			}
			if tt.name != "JSON" && !strings.Contains(got, "left out: DIR/x.db: "+tt.want) {
				t.Errorf("not said to be left out: %s", got)
			}
		})
	}
	dir := write(t, t.TempDir(), map[string]string{"server/db/state.db": "SQLite format 3\x00\x10\x00"})
	want := "error: DIR: no etcd member here (looked for member/snap/db, snap/db, wal/); DIR/server/db/state.db: a SQLite database, as kine makes it, not one of etcd\n" +
		"hint: k3s with one server and the default of k0s on one node keep their data in SQLite, not in etcd\n"
	if d := cmp.Diff(want, openAll(t, dir, Options{}, ".")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestOddEntries packs what is neither a file nor a folder: nothing of it is followed, and what it was is said.
func TestOddEntries(t *testing.T) {
	noTemp(t)
	reg := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(dbContent))}
	}
	db := map[string]string{"member/snap/db": dbContent, "snap": dbContent}
	const link = "a symbolic link, which is not followed in an archive: pack the file itself, tar has the option -h for that"
	zipped := func(mode fs.FileMode) string {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: "member/wal"}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		check(t, err)
		_, err = io.WriteString(f, "/etc")
		check(t, err)
		f, err = w.Create("member/snap/db")
		check(t, err)
		_, err = io.WriteString(f, dbContent)
		check(t, errors.Join(err, w.Close()))
		return b.String()
	}
	for _, tt := range []struct{ name, data, want string }{
		{"symbolic link", tarHeaders(db, reg("member/snap/db"), tar.Header{Name: "member/wal", Typeflag: tar.TypeSymlink, Linkname: "/"}), "x db:snap/db:12020 [not-a-file error true member/wal: " + link + "]\n"},
		{"symbolic link out", tarHeaders(db, reg("member/snap/db"), tar.Header{Name: "member/snap/1.snap", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/passwd"}), "x db:snap/db:12020 [not-a-file error true member/snap/1.snap: " + link + "]\n"},
		{"below a symbolic link", tarHeaders(db, tar.Header{Name: "member", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, reg("member/snap/db")), "error: DIR/x.tar: entry \"member/snap/db\": the name is given to two entries\n"},
		{"hard link", tarHeaders(db, reg("snap"), tar.Header{Name: "member/snap/db", Typeflag: tar.TypeLink, Linkname: "./snap"}), "x db:snap/db:12020\nleft out: DIR/x.tar!snap: below another data directory; name it to read it\n"},
		{"hard link out", tarHeaders(db, tar.Header{Name: "member/snap/db", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), "x [not-a-file error true member/snap/db: a hard link to something that is not in the archive before it]\n"},
		{"device", tarHeaders(db, reg("member/snap/db"), tar.Header{Name: "member/wal/1.wal", Typeflag: tar.TypeBlock}), "x db:snap/db:12020 [not-a-file error true member/wal/1.wal: neither a file nor a folder]\n"},
		{"pipe", tarHeaders(db, reg("member/snap/db"), tar.Header{Name: "member/snap/p", Typeflag: tar.TypeFifo}), "x db:snap/db:12020 [not-a-file warning false member/snap/p: neither a file nor a folder]\n"},
		{"symbolic link in zip", zipped(fs.ModeSymlink | 0o777), "x db:snap/db:12020 [not-a-file error true member/wal: " + link + "]\n"},
		{"device in zip", zipped(fs.ModeDevice | 0o600), "x db:snap/db:12020 [not-a-file error true member/wal: neither a file nor a folder]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"x.tar": tt.data})
			if d := cmp.Diff(tt.want, openAll(t, dir, Options{}, "x.tar")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestUnreadableBelow makes folders that only others may list: a member beside or above them is read all the same.
func TestUnreadableBelow(t *testing.T) {
	noTemp(t)
	dir := write(t, t.TempDir(), map[string]string{"n1/member/snap/db": dbContent})
	for _, loop := range []string{".hidden", "n1/inside"} { // a folder that root cannot look through either
		check(t, os.Mkdir(filepath.Join(dir, loop), 0o700))
		if err := os.Symlink(".", filepath.Join(dir, loop, "loop")); err != nil {
			t.Skip(err)
		}
	}
	want := "n1 db:snap/db:12020\nleft out: DIR/.hidden, DIR/n1/inside: could not be looked through\n"
	if d := cmp.Diff(want, openAll(t, dir, Options{}, ".")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestNamesInArchives asks that names out of archives are printed in one line, and without control characters.
func TestNamesInArchives(t *testing.T) {
	noTemp(t)
	const evil = "a\x1b[31m\nb\u202e"
	for _, data := range []string{
		tarOf(map[string]string{evil: "SQLite format 3\x00\x10\x00"}), tarOf(map[string]string{evil + ".gz": gz(tarOf(map[string]string{"../x": ""}))}),
		tarOf(map[string]string{evil + "/member/snap/db": dbContent, evil + ".db": dbContent}), zipOf(zip.Store, map[string]string{"../" + evil: ""}),
	} {
		dir := write(t, t.TempDir(), map[string]string{"x": data})
		for _, line := range strings.Split(openAll(t, dir, Options{}, "x"), "\n") {
			if line != "" && !strings.Contains(line, "DIR/x") && !strings.HasPrefix(line, "hint: ") && !strings.Contains(line, " db:") || strings.ContainsAny(line, "\x1b\u202e") {
				t.Errorf("printed %q", line)
			}
		}
	}
}

// TestRefusedPacked hands in what would harm or cannot be read, beyond tar and gzip.
func TestRefusedPacked(t *testing.T) {
	noTemp(t)
	big := strings.Repeat("x", 4<<20)
	nest := dbContent
	for range maxNested + 2 {
		nest = gz(nest)
	}
	one := func(name string) string { return zipOf(zip.Store, map[string]string{name: dbContent}) }
	encrypted := []byte(one("db"))
	for _, sig := range []string{zipMagic, zipCentral} {
		at := bytes.Index(encrypted, []byte(sig))
		encrypted[at+6+2*strings.Count(sig, "\x01")] |= 1 // the flags are behind one version, or two
	}
	method := bytes.ReplaceAll([]byte(one("db")), []byte{8, 0, 0, 0}, []byte{8, 0, 97, 0})
	many := map[string]string{}
	for i := range 50 {
		many[fmt.Sprint(i)] = ""
	}
	for _, tt := range []struct {
		name, data string
		opts       Options
		want       string
	}{
		{"absolute in zip", one("/etc/passwd"), Options{}, "absolute paths are refused"},
		{"parent in zip", one("a/../../x"), Options{}, "the path leads out of the archive"},
		{"parent in zip by backslashes", one(`..\..\x`), Options{}, "the path leads out of the archive"},
		{"same name in zip", zipOf(zip.Store, map[string]string{"a/db": "1", "a//db": "2"}), Options{}, "the name is given to two entries"},
		{"bomb in zip", zipOf(zip.Deflate, map[string]string{"db": big}), Options{MaxStored: 1 << 20}, "unpacks to more than 250 times its size (limit of the ratio, from 1048576 bytes on)"},
		{"bomb in zstd", zst(big), Options{MaxStored: 1 << 20}, "limit of the ratio"},
		{"bomb in zlib", zlibbed(big), Options{MaxStored: 1 << 20}, "limit of the ratio"},
		{"bomb in a bomb", gz(gz(big)), Options{MaxStored: 1 << 20}, "limit of the ratio"},
		{"bomb among archives", tarOf(map[string]string{"a.gz": gz(dbContent + big), "b.gz": gz(dbContent + big)}), Options{MaxStored: 1 << 20, MaxRatio: 100}, "limit of the ratio"},
		{"large in zip", zipOf(zip.Deflate, map[string]string{"db": big}), Options{MaxBytes: 1 << 20}, "unpacks to more than 1048576 bytes (limit for all archives together)"},
		{"nested", nest, Options{}, fmt.Sprintf("packed more than %d times over (limit of nesting)", maxNested)},
		{"many entries in zip", zipOf(zip.Store, many), Options{MaxEntries: 40}, "more than 40 entries (limit of files and folders in an archive)"},
		{"many entries in nested archives", tarOf(map[string]string{"a.tar": tarOf(many), "b.tar": tarOf(many)}), Options{MaxEntries: 80}, "more than 80 entries"},
		{"encrypted zip", string(encrypted), Options{}, "encrypted with a password"},
		{"unknown method in zip", string(method), Options{}, "method"},
		{"damaged zip", flip(one("db"), 100), Options{}, "checksum error"},
		{"damaged xz", flip(unbase(dbXz), 60), Options{}, "xz: data is"},
		{"damaged bzip2", flip(unbase(dbBzip2), 30), Options{}, "bzip2 data invalid"},
		{"dictionary of xz", xzOf(0x28), Options{}, fmt.Sprintf("takes more than %d bytes of memory to unpack (limit of the dictionary)", maxWindow)},
		{"window of zstd", zstdMagic + "\xc0\xff" + "\x00\x00\x00\x00\x00\x00\x00\x40" + "\x01\x00\x00", Options{}, "limit of the dictionary"},
		{"directory of zip", hugeDirectory(), Options{}, "its directory has more than 67108864 bytes (limit of the directory of a zip archive)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"x": tt.data})
			got := openAll(t, dir, tt.opts, "x")
			if !strings.HasPrefix(got, "error: DIR/x") || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// xzOf is dbXz with another size of the dictionary in its block header.
func xzOf(dictionary byte) string {
	b := []byte(unbase(dbXz))
	header := b[12 : 12+4*(int(b[12])+1)]
	at := bytes.Index(header, []byte{0x21, 1}) + 2
	header[at] = dictionary
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	return string(b)
}

// hugeDirectory is a zip archive of entries with long names.
func hugeDirectory() string {
	one := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	for _, at := range []int{28, 30, 32} { // lengths of name, extra field and comment
		one[at], one[at+1] = 0xff, 0xff
	}
	one = append(one, make([]byte, 3*0xffff)...)
	n := maxZipDirectory/len(one) + 2
	b := bytes.Repeat(one, n)
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	binary.LittleEndian.PutUint16(end[8:], uint16(n))
	binary.LittleEndian.PutUint16(end[10:], uint16(n))
	binary.LittleEndian.PutUint32(end[12:], uint32(len(b)))
	return zipMagic + string(b) + string(end)
}

// TestCutPacked cuts archives at every byte: what there is is the beginning of what there was, and it is said to be cut.
func TestCutPacked(t *testing.T) {
	noTemp(t)
	files := map[string]string{"n1/member/snap/db": random(300), "n2/member/wal/" + wal0: random(100) + strings.Repeat("\x00", 600)}
	lone := random(300)
	for name, data := range map[string]string{
		"deflated.zip": zipOf(zip.Deflate, files), "a.zlib": zlibbed(lone), "a.Z": lzwed(lone), "db.bz2": unbase(dbBzip2), "db.xz": unbase(dbXz), "tree.bz2": unbase(treeBzip2), "tree.xz": unbase(treeXz),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			wants := merge(files, dataDir(), map[string]string{"": dbContent})
			opened := 0
			for n := 12; n < len(data); n += max(1, len(data)/40) {
				check(t, os.WriteFile(path, []byte(data[:n]), 0o600))
				s, err := Open(t.Context(), []string{path}, Options{})
				if err != nil {
					if !strings.HasPrefix(err.Error(), path+": ") {
						t.Fatalf("cut at %d: %v", n, err)
					}
					continue
				}
				for _, m := range s.Members {
					if m.Bare && m.DB != nil && m.DB.Size > 0 && !strings.HasPrefix(name, "tree") && // shorter than what tells a tar
						!strings.HasPrefix(dbContent, string(m.DB.Bytes())) && !strings.HasPrefix(lone, string(m.DB.Bytes())) {
						t.Fatalf("cut at %d: wrong content", n)
					}
					for _, f := range append(slices.Clone(m.WAL), m.DB) {
						_, inside, ok := strings.Cut(f0(f), "!")
						if ok && !strings.HasPrefix(wants[inside], string(f.Bytes())) {
							t.Fatalf("cut at %d: wrong content of %s", n, inside)
						}
					}
					if !slices.ContainsFunc(codes(m), func(c string) bool { return c == "archive-truncated" }) {
						t.Fatalf("cut at %d of %d: no finding: %s", n, len(data), describe(s))
					}
				}
				opened++
				check(t, s.Close())
			}
			if opened == 0 && strings.HasSuffix(name, ".zip") {
				t.Error("no part of it could be opened")
			}
		})
	}
}

func f0(f *File) string {
	if f == nil {
		return ""
	}
	return f.Origin
}

func codes(m *Member) (out []string) {
	for _, f := range m.Findings {
		out = append(out, f.Code)
	}
	return out
}

// TestAnnounced asks that the need of much temporary space is said before it is used, in the folder that was named.
func TestAnnounced(t *testing.T) {
	noTemp(t)
	temp := t.TempDir()
	// A frame that says it holds so much, with a block that ends it.
	big := zstdMagic + "\xc0\x00" + string(binary.LittleEndian.AppendUint64(nil, announceFrom+1)) + "\x01\x00\x00"
	dir := write(t, t.TempDir(), map[string]string{"big": big, "small": gz(dbContent)})
	var said []string
	say := func(s string) {
		said = append(said, s)
		fi, err := os.ReadDir(temp)
		if err != nil || len(fi) > 0 {
			t.Errorf("in the folder before it was said: %v %v", fi, err)
		}
	}
	openAll(t, dir, Options{TempDir: temp, Say: say}, "big", "small")
	if len(said) != 1 || !strings.Contains(said[0], fmt.Sprintf("takes up to 256 MiB of temporary space in %s", temp)) {
		t.Errorf("said %q", said)
	}
	if got := openAll(t, dir, Options{TempDir: filepath.Join(temp, "none")}, "small"); !strings.Contains(got, "cannot unpack: ") || !strings.Contains(got, "\nhint: ") {
		t.Errorf("without the folder: %s", got)
	}
}

// TestSparse makes files of a TiB that are nearly all hole, and one in an archive: what is there is read, the rest is said.
func TestSparse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("holes are told apart on Linux only")
	}
	noTemp(t)
	dir := write(t, t.TempDir(), map[string]string{"n1/member/snap/db": dbContent, "n1/member/wal/" + wal0: "w", "n2/member/snap/db": dbContent, "n3/member/snap/db": dbContent})
	at := func(name string, size int64, data string) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		check(t, err)
		if err := f.Truncate(size); err != nil {
			t.Skip(err)
		}
		_, err = f.WriteAt([]byte(data), size-int64(len(data)))
		check(t, errors.Join(err, f.Close()))
	}
	at("n1/member/snap/db", 1<<40, "")
	at("n1/member/wal/"+wal0, 60<<30, "")
	at("n2/member/snap/db", 1<<40, "end")
	at("n3/member/snap/db", 64<<20, "end") // as large as files of etcd are: read whole
	s, err := Open(t.Context(), []string{dir}, Options{})
	check(t, err)
	defer s.Close()
	want := map[string][]string{"n1": {"file-sparse info false", "file-sparse info false"}, "n2": {"file-sparse error true"}, "n3": nil}
	for _, m := range s.Members {
		var got []string
		for _, f := range m.Findings {
			got = append(got, fmt.Sprintf("%s %s %v", f.Code, f.Severity, f.Unreadable))
		}
		if d := cmp.Diff(want[m.Label], got); d != "" {
			t.Errorf("%s (-want +got):\n%s", m.Label, d)
		}
		if n := len(m.DB.Bytes()); !strings.HasPrefix(string(m.DB.Bytes()[:len(dbContent)]), dbContent) || n > 64<<20 || m.DB.Size != int64(n) || m.DB.Whole() != (m.Label == "n3") {
			t.Errorf("%s: %d bytes", m.Label, n)
		}
	}
	check(t, s.Close())

	// The same out of an archive: a GiB of zeros and more, of which a few MiB are read.
	pr, pw := io.Pipe()
	go func() {
		w := tar.NewWriter(pw)
		err := w.WriteHeader(&tar.Header{Name: "member/snap/db", Size: 9 << 27, Mode: 0o600})
		if err == nil {
			_, err = io.Copy(w, io.MultiReader(strings.NewReader(dbContent), io.LimitReader(zeroReader{}, 9<<27-int64(len(dbContent)))))
		}
		pw.CloseWithError(errors.Join(err, w.Close()))
	}()
	f, err := os.Create(filepath.Join(dir, "a.tar.zst"))
	check(t, err)
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	check(t, err)
	_, err = io.Copy(z, pr)
	check(t, errors.Join(err, z.Close(), f.Close()))
	s, err = Open(t.Context(), []string{f.Name()}, Options{})
	check(t, err)
	if m := s.Members[0]; len(m.Findings) != 1 || m.Findings[0].Code != "file-sparse" || m.DB.Size > 64<<20 || m.DB.Archive != f.Name() {
		t.Errorf("%s", describe(s))
	}
	check(t, s.Close())
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzPacked(f *testing.F) {
	small := map[string]string{"member/snap/db": dbContent[:100], "member/wal/" + wal0: "w"}
	seeds := []string{
		zipOf(zip.Deflate, small), zipOf(zip.Store, small), zipOf(zip.Deflate, small)[:150], unbase(dbXz), unbase(dbBzip2), unbase(treeXz), zlibbed(dbContent), lzwed(dbContent),
		zipOf(zip.Store, map[string]string{"a.tar.gz": gz(tarOf(small))}), segment, raftSnap, "SQLite format 3\x00", "\x8c\x0d\x04\x09",
	}
	for i, seed := range seeds {
		f.Add([]byte(seed), uint8(i))
	}
	var deflated bytes.Buffer
	w, _ := flate.NewWriter(&deflated, 9)
	_, _ = w.Write([]byte(dbContent))
	_ = w.Close()
	f.Add([]byte("PK\x03\x04\x14\x00\x08\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00db"+deflated.String()), uint8(0))
	names := []string{"a", "a.zip", "a.Z", "a.db.xz", "a.tar.bz2"}
	dir, temp := f.TempDir(), f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		path := filepath.Join(dir, names[int(kind)%len(names)])
		check(t, os.WriteFile(path, data, 0o600))
		for _, arg := range []string{path, dir} {
			s, err := Open(t.Context(), []string{arg}, Options{MaxBytes: 1 << 20, MaxEntries: 100, TempDir: temp})
			if err != nil {
				if !strings.HasPrefix(err.Error(), dir) || s != nil {
					t.Errorf("error is %v", err)
				}
				continue
			}
			for _, m := range s.Members {
				for _, file := range append(slices.Concat(m.WAL, m.Snap, m.SnapDB, m.Other), m.DB) {
					if file != nil && file.Size != int64(len(file.Bytes())) {
						t.Errorf("%s: size %d, %d bytes", file.Origin, file.Size, len(file.Bytes()))
					}
				}
			}
			check(t, s.Close())
		}
		check(t, os.Remove(path))
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}
