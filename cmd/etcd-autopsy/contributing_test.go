package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	makeOf   = regexp.MustCompile(`\bmake (?:[A-Z]+=\S+ )*([a-z][a-z-]*)`)
	testOf   = regexp.MustCompile(`^go test (\S+) -run '?([A-Za-z|]+)'?(.*)`)
	flagOf   = regexp.MustCompile(` -([a-z]+\.[a-z]+)\b`)
	namedAs  = regexp.MustCompile(`^(?:[a-z]+\.)?([A-Za-z_]\w*)(?:\(.*\))?$`)
	pathLike = regexp.MustCompile(`^[\w.-]+(?:/[\w.-]+)+$|^\w+\.(?:md|go|json)$`)
)

// TestContributing asserts that what .github names is there: files, targets of make, tests with their flags, and functions.
func TestContributing(t *testing.T) {
	t.Parallel()
	const root = "../.."
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var code, files strings.Builder // all of the program, and the paths below the root
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if d.IsDir() && name == ".git" {
			return filepath.SkipDir
		}
		files.WriteString(name + "\n")
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "contributing_test.go") {
			code.WriteString(read(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	source, makefile := code.String(), read("Makefile")
	words := map[string]bool{}
	for w := range strings.FieldsFuncSeq(source, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		words[w] = true
	}
	paths, targets, tests, names := 0, 0, 0, 0

	text := read(".github/CONTRIBUTING.md")
	for _, m := range makeOf.FindAllStringSubmatch(text, -1) {
		if targets++; !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("make %s is no target", m[1])
		}
	}
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		switch token := m[1]; {
		case strings.Contains(token, "NAME"), strings.HasPrefix(token, "-"):
		case pathLike.MatchString(token):
			if paths++; !strings.Contains("\n"+files.String(), "\n"+token+"\n") && !strings.Contains(files.String(), "/"+token+"\n") {
				t.Errorf("no file %s", token)
			}
		case namedAs.MatchString(token):
			if names++; !words[namedAs.FindStringSubmatch(token)[1]] {
				t.Errorf("nothing is called %s", token)
			}
		}
	}
	for l := range strings.Lines(text) {
		m := testOf.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			continue
		}
		tests++
		for name := range strings.SplitSeq(m[2], "|") {
			if !strings.Contains(source, "func "+name+"(t *testing.T)") {
				t.Errorf("%s: no %s", m[1], name)
			}
		}
		for _, f := range flagOf.FindAllStringSubmatch(m[3], -1) {
			if !strings.Contains(source, `"`+f[1]+`"`) {
				t.Errorf("no flag -%s", f[1])
			}
		}
	}
	if paths < 20 || targets < 5 || tests < 3 || names < 20 {
		t.Errorf("%d paths, %d targets, %d tests and %d names seen", paths, targets, tests, names)
	}

	if ci := read(".github/workflows/ci.yml"); !strings.Contains(ci, "run: .ci/run\n") {
		t.Error("ci.yml does not run .ci/run")
	}
	form := read(".github/ISSUE_TEMPLATE/wrong-answer.yml")
	asks := 0
	for _, m := range quoted.FindAllStringSubmatch(form, -1) {
		if args := strings.Fields(m[1]); args[0] == "etcd-autopsy" {
			cmd, _, err := (&app{}).root().Find(args[1:])
			if err != nil {
				t.Errorf("%s: %v", m[1], err)
				continue
			}
			for _, w := range args {
				if f := strings.TrimPrefix(w, "--"); f != w && cmd.Flags().Lookup(f) == nil {
					t.Errorf("%s has no %s", m[1], w)
				}
			}
			asks++
		}
	}
	if asks < 2 || !strings.Contains(form, "report.md") {
		t.Errorf("the form for issues names %d commands", asks)
	}
}
