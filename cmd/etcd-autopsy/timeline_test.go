package main

import (
	"os"
	"path/filepath"
	"testing"

	"etcd-autopsy/inspect"
)

// TestBeside asserts that logs are looked for in the folder of what was given, wherever in an archive the member lies.
func TestBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.tar.gz", "b!c.zip", "server-x.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, origin := range []string{"a.tar.gz", "a.tar.gz!a", "a.tar.gz!x/y.tar!a/member", "b!c.zip", "b!c.zip!d"} {
		m := &inspect.Member{Label: "x", Origin: filepath.Join(dir, origin)}
		if got := beside(m); got != dir {
			t.Errorf("%s: beside it is %s", origin, got)
		}
		if got := findLogs(m, false); len(got) != 1 {
			t.Errorf("%s: found %q", origin, got)
		}
	}
}
