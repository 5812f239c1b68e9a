package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	failed := errors.New("failed")
	if err := Guard("x", func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("error is %v", err)
	}
	for name, fn := range map[string]func() error{
		"panic":           func() error { panic("other") },
		"index":           func() error { var b []byte; return errors.New(string(b[len(name0):])) },
		"nil dereference": func() error { var f *File; return errors.New(f.Name) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
				if debug.SetPanicOnFault(false) {
					t.Error("the setting was not restored")
				}
			}()
			_ = Guard("x", fn)
		})
	}
	debug.SetPanicOnFault(true)
	check(t, Guard("x", func() error { return nil }))
	if !debug.SetPanicOnFault(false) {
		t.Error("the setting was not restored")
	}
}

const name0 = "member"

// shrunk is a mapped file that was truncated since.
func shrunk(t *testing.T) (f *File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	check(t, os.WriteFile(path, []byte(strings.Repeat("x", 1<<20)), 0o600))
	s, err := Open(t.Context(), []string{path}, Options{})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	if f = s.Members[0].DB; !f.mapped {
		t.Skip("files are read into memory here")
	}
	check(t, os.Truncate(path, 100))
	return f, path
}

func TestGroup(t *testing.T) {
	f, _ := shrunk(t)
	n, reached := 0, false
	err := Guard("outer", func() error {
		var g Group
		g.Go("inner", func() { n += int(f.Bytes()[1<<19]) })
		g.Wait()
		reached = true
		return nil
	})
	if !errors.Is(err, ErrShrank) || err.Error() != "inner: file shrank while it was read" || reached {
		t.Errorf("error is %v, reached %v", err, reached)
	}
}

// TestGroupPanics: a panic in one goroutine is one in that which waits.
func TestGroupPanics(t *testing.T) {
	defer func() {
		if p := recover(); p != "other" {
			t.Errorf("recovered %v", p)
		}
	}()
	var g Group
	g.Go("inner", func() { panic("other") })
	g.Wait()
	t.Error("the panic was swallowed")
}

// TestForget: what was forgotten can be read all the same.
func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	want := strings.Repeat("0123456789", 1<<18)
	check(t, os.WriteFile(path, []byte(want), 0o600))
	s, err := Open(t.Context(), []string{path}, Options{})
	check(t, err)
	f := s.Members[0].DB
	for range 2 {
		if string(f.Bytes()) != want {
			t.Error("the contents are others")
		}
		if f.mapped {
			forget(f.data)
		}
	}
	check(t, s.Close())
}

func TestFileShrinks(t *testing.T) {
	f, path := shrunk(t)
	if _, err := f.SHA256(); !errors.Is(err, ErrShrank) || err.Error() != path+": file shrank while it was read" {
		t.Errorf("hash: %v", err)
	}
	err := Guard("db", func() error {
		if f.Bytes()[1<<19] == 'x' {
			return errors.New("read what is not there")
		}
		return nil
	})
	if !errors.Is(err, ErrShrank) {
		t.Errorf("one byte: %v", err)
	}
}
