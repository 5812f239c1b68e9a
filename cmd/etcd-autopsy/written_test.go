package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// raw are calls that could write a text of the evidence as it is.
var raw = map[string]bool{
	"fmt.Fprint": true, "fmt.Fprintf": true, "fmt.Fprintln": true, "fmt.Print": true, "fmt.Printf": true, "fmt.Println": true, "io.WriteString": true, "io.Copy": true,
	"json.NewEncoder": true, "template.HTML": true, "template.HTMLAttr": true, "template.JS": true, "template.JSStr": true, "template.CSS": true, "template.URL": true, "template.Srcset": true,
	"os.WriteFile": true, "print": true, "println": true,
}

// rawMethods are those of writers.
var rawMethods = map[string]bool{"Write": true, "WriteString": true, "WriteByte": true, "WriteRune": true}

// mayBeRaw are functions that write no text for people, or none of the evidence.
var mayBeRaw = map[string]string{
	"report/attach/lanes.go lanesPicture": "a template that escapes",
	"report/attach/spans.go spansPicture": "the same",
	"report/attach/plot.go svg":           "the same",
	"report/diff.go subject":              "a sentence, which a writer of its place writes",
	"report/attach/write.go Zip":          "a zip of files that were written by their writers",
	"report/attach/write.go Write":        "the same",
	"report/attach/write.go copyFile":     "the same",
	"report/attach/redact.go mac":         "a hash",
	"report/attach/redact.go Text":        "a sentence",
	"report/attach/hash.go Hash":          "a hash",
	"report/attach/hash.go run":           "a hash",
	"report/attach/hash.go feed":          "a hash",
	"report/attach/html.go newRows":       "JSON in a script, in which encoding/json escapes what could end it",
	"report/attach/html.go newView":       "the style and the script of this program",
	"report/export/export.go rows":        "Parquet",
}

// TestWrittenByWriters asserts that packages which print do so by package escape alone.
func TestWrittenByWriters(t *testing.T) {
	t.Parallel()
	const root = "../.."
	used, seen := map[string]bool{}, 0
	for _, dir := range []string{"report", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name := strings.TrimPrefix(filepath.ToSlash(path), root+"/")
			if strings.HasPrefix(name, "report/escape/") {
				return nil
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			seen++
			for _, decl := range f.Decls {
				in := "-"
				if fn, ok := decl.(*ast.FuncDecl); ok {
					in = fn.Name.Name
				}
				ast.Inspect(decl, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					what := ""
					switch fun := call.Fun.(type) {
					case *ast.Ident:
						what = fun.Name
					case *ast.SelectorExpr:
						pkg, _ := fun.X.(*ast.Ident)
						if pkg != nil {
							what = pkg.Name + "." + fun.Sel.Name
						}
						if rawMethods[fun.Sel.Name] && what != "export.Write" && what != "attach.Write" {
							what = "." + fun.Sel.Name
						}
					}
					if !raw[what] && !strings.HasPrefix(what, ".") {
						return true
					}
					if where := name + " " + in; mayBeRaw[where] != "" {
						used[where] = true
					} else {
						t.Errorf("%s: %s in %s: write by package escape", set.Position(call.Pos()), what, in)
					}
					return true
				})
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
	for where := range mayBeRaw {
		if !used[where] {
			t.Error(fmt.Sprint(where, ": is no longer there"))
		}
	}
}
