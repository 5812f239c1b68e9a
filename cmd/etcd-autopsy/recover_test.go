package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchemas validates what recover and verify write against the schemas that are printed.
func TestSchemas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := filepath.Join(dir, "1.db")
	for _, args := range [][]string{
		{"recover", filepath.Join(scenarios, "damaged-page", "a.tar.zst"), "-o", first},
		{"recover", filepath.Join(scenarios, "log-fork"), "--from", "c", "--at-revision", "400", "--without-entries", "380", "-o", filepath.Join(dir, "2.db")},
		{"verify", first, filepath.Join(scenarios, "garbage-db", "c.tar.zst")},
	} {
		printed, errs, status := autopsy(t, "schema", args[0])
		if status != exitOK {
			t.Fatal(errs)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(printed))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("schema.json", doc); err != nil {
			t.Fatal(err)
		}
		compiled, err := c.Compile("schema.json")
		if err != nil {
			t.Fatal(err)
		}
		out, errs, status := autopsy(t, append(args, "-w", "json")...)
		if errs != "" || status == exitFailed {
			t.Fatalf("%v: %s", args, errs)
		}
		written, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(out)))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(written); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
