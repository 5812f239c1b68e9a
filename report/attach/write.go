package attach

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"etcd-autopsy/report"
	"etcd-autopsy/report/escape"
)

// Names of the files of a report.
const (
	MarkdownName = "report.md"
	HTMLName     = "report.html"
	JSONName     = "report.json"
	ManifestName = "manifest.txt"
	ZipName      = "attach.zip"
	KeyName      = "redaction.key"
)

// MaxZip is what GitHub takes of an attachment.
const MaxZip = 25 << 20

// names are the files of a report but for the key.
var names = []string{MarkdownName, HTMLName, JSONName, ManifestName, ZipName}

// Write writes a report into a directory, which it makes if it is not there. key, if any, is saved beside it: it is not
// part of the zip. It refuses to replace another report unless forced. Nothing is left if it fails.
func Write(ctx context.Context, dir string, r *Report, key []byte, force bool) (err error) {
	if err := free(dir, force); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a report is there to be read
		return err
	}
	tmp, err := os.MkdirTemp(dir, ".etcd-autopsy-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	steps := []struct {
		name  string
		write func(w io.Writer) error
	}{
		{MarkdownName, func(w io.Writer) error { return Markdown(w, r) }},
		{HTMLName, func(w io.Writer) error { return HTML(w, r) }},
		{JSONName, func(w io.Writer) error { return JSON(w, r) }},
		{ManifestName, func(w io.Writer) error { return Manifest(w, r.Files) }},
		{ZipName, func(w io.Writer) error { return Zip(w, tmp, r) }},
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := file(filepath.Join(tmp, s.name), 0o644, s.write); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	all := slices.Clone(names)
	if key != nil {
		err := file(filepath.Join(tmp, KeyName), 0o600, func(w io.Writer) error {
			l := escape.NewLines(w)
			l.Line(hex.EncodeToString(key))
			return l.Flush()
		})
		if err != nil {
			return err
		}
		all = append(all, KeyName)
	}
	for _, n := range all {
		if err := os.Rename(filepath.Join(tmp, n), filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// free refuses a directory that holds a report.
func free(dir string, force bool) error {
	if force {
		return nil
	}
	for _, n := range append([]string{KeyName}, names...) {
		if _, err := os.Lstat(filepath.Join(dir, n)); err == nil {
			return fmt.Errorf("%s is there already", filepath.Join(dir, n))
		}
	}
	return nil
}

func file(name string, mode os.FileMode, write func(w io.Writer) error) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}

// Manifest writes what sha256sum -c reads. A name with a line break or a backslash is escaped as sha256sum does. A name that
// would give orders to a terminal is only told, in a comment.
func Manifest(w io.Writer, files []File) error {
	l := escape.NewLines(w)
	for _, f := range files {
		name, mark := f.Path, ""
		if strings.ContainsAny(name, "\\\n\r") {
			name, mark = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name), `\`
		}
		if !escape.Safe(name) {
			mark = "# not printed as it is: " + mark
		}
		l.Line(mark, f.SHA256, "  ", name)
	}
	return l.Flush()
}

// Zip packs the files of a report that lie in dir. What does not fit is cut: of report.json the lists of differing keys.
func Zip(w io.Writer, dir string, r *Report) error {
	for keys := r.Diff.Keys.Len(); ; keys /= 4 {
		var b bytes.Buffer
		if err := pack(&b, dir, r, keys); err != nil {
			return err
		}
		if b.Len() <= MaxZip || keys == 0 {
			_, err := w.Write(b.Bytes())
			return err
		}
	}
}

func pack(out *bytes.Buffer, dir string, r *Report, keys int) error {
	z := zip.NewWriter(out)
	for _, n := range []string{MarkdownName, HTMLName, JSONName, ManifestName} {
		h := &zip.FileHeader{Name: n, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		// Far more than fits need not be compressed to know.
		limited := &limit{w: f, out: out}
		switch {
		case n == JSONName && keys < r.Diff.Keys.Len():
			b := bufio.NewWriterSize(limited, 64<<10) // compressing byte by byte takes longer
			err = cmp.Or(JSON(b, withKeys(r, keys)), b.Flush())
		case n == HTMLName && tooLarge(filepath.Join(dir, n)):
			continue
		default:
			err = copyFile(limited, filepath.Join(dir, n))
		}
		if errors.Is(err, errFull) {
			return nil // the caller tries with less
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

var errFull = errors.New("too large to attach")

// limit stops writing once the zip is larger than can be attached.
type limit struct {
	w   io.Writer
	out *bytes.Buffer
}

func (l *limit) Write(b []byte) (int, error) {
	if l.out.Len() > MaxZip {
		return 0, errFull
	}
	return l.w.Write(b)
}

func tooLarge(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.Size() > 16*MaxZip
}

func copyFile(w io.Writer, name string) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, f)
	return err
}

// withKeys is a report with fewer differing keys, which says so.
func withKeys(r *Report, keys int) *Report {
	x, d := *r, *r.Diff
	d.Keys = d.Keys.First(keys)
	d.Notes = append(slices.Clip(d.Notes), fmt.Sprintf("%d of %d differing keys are listed here: more could not be attached", keys, r.Diff.Keys.Len()))
	x.Diff = &d
	return &x
}

// Summary says what Write has written.
func Summary(dir string, r *Report, key bool) *report.Files {
	f := &report.Files{Verdict: r.Diff.Verdict, Title: fmt.Sprintf("a report on %s to %s: %s", members(len(r.Diff.Members)), dir, r.Diff.Verdict), Dir: dir, Private: r.ShowsValues}
	what := []struct{ name, what string }{
		{MarkdownName, "to be pasted into an issue"},
		{HTMLName, "the same with pictures and all tables, opens offline"},
		{JSONName, "everything, for programs"},
		{ManifestName, "sha256 of every input file"},
		{ZipName, "all of these, to be attached"},
	}
	if key {
		what = append(what, struct{ name, what string }{KeyName, "what tokens were made with: keep it to yourself"})
	}
	for _, w := range what {
		if fi, err := os.Stat(filepath.Join(dir, w.name)); err == nil {
			f.Files = append(f.Files, report.WrittenFile{Name: filepath.Join(dir, w.name), Size: fi.Size(), What: w.what})
		}
	}
	return f
}

func members(n int) string {
	if n == 1 {
		return "1 member"
	}
	return fmt.Sprintf("%d members", n)
}
