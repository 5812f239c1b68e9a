package inspect_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
)

// TestErrorsTellApart asserts that a program need not read the text of an error of Open.
func TestErrorsTellApart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	sqlite := "SQLite format 3\x00" + string(make([]byte, 4096))
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	kinds := map[string]func(error) bool{
		"no such path":    is(fs.ErrNotExist),
		"nothing to read": is(evidence.ErrNoMember),
		"not etcd's":      func(err error) bool { _, ok := errors.AsType[*evidence.ForeignError](err); return ok },
		"shrank":          is(evidence.ErrShrank),
		"interrupted":     is(context.Canceled),
	}
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"no path", filepath.Join(dir, "none"), []string{"no such path"}},
		{"empty folder", t.TempDir(), []string{"nothing to read"}},
		{"folder of text", filepath.Dir(write("texts/notes.txt", "notes")), []string{"nothing to read"}},
		{"file of another program", write("state.db", sqlite), []string{"not etcd's"}},
		{"folder with it", filepath.Dir(write("kine/state.db", sqlite)), []string{"nothing to read", "not etcd's"}},
	} {
		set, err := inspect.Open(t.Context(), []string{c.path}, inspect.Options{})
		if err == nil {
			t.Errorf("%s: opened: %v", c.name, set.Close())
			continue
		}
		want := map[string]bool{}
		for _, k := range c.want {
			want[k] = true
		}
		for kind, is := range kinds {
			if is(err) != want[kind] {
				t.Errorf("%s: %q: %s is %v", c.name, err, kind, is(err))
			}
		}
	}
}

// TestOpenStops is cancelled while files are read: the error is that of the context, and nothing is left open.
func TestOpenStops(t *testing.T) {
	for _, path := range []string{"healthy-3.6", "healthy-3.6/s1.tar.zst"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := inspect.Open(ctx, []string{filepath.Join("../testdata", path)}, inspect.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Files that need not be unpacked are open before anybody looks at the context.
	dir := t.TempDir()
	plain := filepath.Join(dir, "db")
	set, err := inspect.Open(t.Context(), []string{"../testdata/healthy-3.6/s1.tar.zst"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(plain, set.Members[0].DB.File.Bytes(), 0o600), set.Close())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := 0
	soon := &late{Context: ctx}
	soon.left.Store(3)
	_, err = inspect.Open(soon, []string{plain}, inspect.Options{Progress: func(_ string, done, _ int) { read = done }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v after %d bytes", err, read)
	}
}

// late is a context that is cancelled once it was asked some times.
type late struct {
	context.Context
	left atomic.Int64
}

func (l *late) Err() error {
	if l.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}
