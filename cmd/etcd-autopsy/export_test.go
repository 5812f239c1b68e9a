package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQueries runs the queries of README.md on exported tables.
func TestQueries(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for l := range strings.Lines(string(text)) {
		if q, ok := strings.CutPrefix(l, `    duckdb -c "`); ok {
			queries = append(queries, strings.TrimSuffix(strings.TrimSpace(q), `"`))
		}
	}
	if len(queries) < 2 {
		t.Fatalf("%d queries in README.md", len(queries))
	}
	duckdb, err := exec.LookPath("duckdb")
	if err != nil {
		t.Skip("no duckdb to run the queries of README.md with; the tables are read again by other tests")
	}
	dir := t.TempDir()
	if _, errs, status := autopsy(t, "export", filepath.Join(scenarios, "lease-revoke-auth"), "-o", filepath.Join(dir, "tables")); status != exitOK {
		t.Fatal(errs)
	}
	for _, q := range queries {
		cmd := exec.CommandContext(t.Context(), duckdb, "-csv", "-c", q)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "\n") < 2 {
			t.Errorf("%s: %v\n%s", q, err, out)
		}
	}
}
