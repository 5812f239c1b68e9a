package report_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/report"
)

// TestDiffOfCutFile writes what is known of a member whose db was cut behind its opening: that, in every format.
func TestDiffOfCutFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut")
	}
	set, err := inspect.Open(t.Context(), []string{"../testdata/crash-inconsistency/c.tar.zst"}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "cut.db")
	if err := errors.Join(os.WriteFile(db, set.Members[0].DB.File.Bytes(), 0o600), set.Close()); err != nil {
		t.Fatal(err)
	}
	if set, err = inspect.Open(t.Context(), []string{db}, inspect.Options{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	if err := os.Truncate(db, 0); err != nil {
		t.Fatal(err)
	}
	doc := diff.Investigate(t.Context(), set.Members, diff.Options{})
	for _, name := range report.Formats() {
		format, err := report.ParseFormat(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, full := range []bool{false, true} {
			var b bytes.Buffer
			if err := report.Diff(&b, doc, format, full); err != nil {
				t.Error(err)
			}
			says := strings.Contains(b.String(), evidence.ErrShrank.Error()) || format == report.Simple
			if !says || !strings.Contains(strings.ToLower(b.String()), "indeterminate") {
				t.Errorf("%s: it does not say that the file was cut:\n%s", name, b.String())
			}
		}
	}
}
