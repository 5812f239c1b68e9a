package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImportsRunOneWay asserts that cmd imports report, report imports diff, diff imports inspect, and none the other way.
func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	layers := []string{"inspect", "diff", "report", "cmd"} // each may import those before it
	const root, module = "../..", "etcd-autopsy/"
	seen := 0
	for rank, layer := range layers {
		err := filepath.WalkDir(filepath.Join(root, layer), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			seen++
			for _, imp := range f.Imports {
				p, err := strconv.Unquote(imp.Path.Value)
				if err != nil {
					return err
				}
				to, ok := strings.CutPrefix(p, module)
				if !ok {
					continue
				}
				to, _, _ = strings.Cut(to, "/")
				if r := slices.Index(layers, to); r < 0 || r > rank || layer == "cmd" && to == "cmd" {
					t.Errorf("%s imports %s", path, p)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 30 {
		t.Errorf("only %d files seen", seen)
	}
}
