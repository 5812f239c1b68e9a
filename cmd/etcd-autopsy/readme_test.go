package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestReadme runs every command in README.md that names a member, and compares the example's output.
// foundLog is what is said of servers' logs beside members.
var foundLog = regexp.MustCompile(`(?m)^note: the server log of .* is read from .*\n`)

func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ran, example := 0, 0
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		code, ok := strings.CutPrefix(l, "    ")
		code, prompt := strings.CutPrefix(code, "$ ")
		if !ok || !strings.HasPrefix(code, "etcd-autopsy ") || strings.Contains(code, "MEMBER") || strings.Contains(code, "BACKUP") {
			continue
		}
		code, _, _ = strings.Cut(code, "  ") // what it does follows
		args := strings.Fields(code)[1:]
		for k, a := range args {
			args[k] = strings.Replace(a, "testdata/", scenarios+"/", 1)
			if k > 0 && args[k-1] == "-o" {
				args[k] = filepath.Join(t.TempDir(), a)
			}
		}
		out, errs, status := autopsy(t, args...)
		errs = foundLog.ReplaceAllString(errs, "")
		if errs != "" || status == exitFailed {
			t.Errorf("%s: exit status %d: %s", code, status, errs)
		}
		if ran++; !prompt {
			continue
		}
		example++
		var want []string
		for _, w := range lines[i+1:] {
			if w != "" && !strings.HasPrefix(w, "    ") {
				break
			}
			want = append(want, strings.TrimPrefix(w, "    "))
		}
		for len(want) > 0 && want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		got := strings.Split(out, "\n")
		if d := gocmp.Diff(want, got[:min(len(want), len(got))]); d != "" {
			t.Errorf("%s does not print what README.md says (-want +got):\n%s", code, d)
		}
	}
	if ran < 6 || example != 1 {
		t.Errorf("%d commands and %d examples", ran, example)
	}
}

// TestBuild builds the program and asks it for its version, which a test binary does not know.
func TestBuild(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the program")
	}
	bin := filepath.Join(t.TempDir(), "etcd-autopsy")
	// With the flags of this test binary: other ones would compile all dependencies once more.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), bin, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"etcd-autopsy ", "\netcd          v3.", "\ngo            go1."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
