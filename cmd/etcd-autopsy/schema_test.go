package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchemas asserts that what commands write with -w json follows the schema that is printed for it.
func TestSchemas(t *testing.T) {
	t.Parallel()
	incident := filepath.Join(scenarios, "lease-revoke-auth")
	log := filepath.Join("..", "..", "diff", "messages", "testdata", "real.tsv")
	recovered := filepath.Join(t.TempDir(), "1.db")
	if _, errs, status := autopsy(t, "recover", filepath.Join(scenarios, "damaged-page", "a.tar.zst"), "-o", recovered); status == exitFailed {
		t.Fatal(errs)
	}
	each := []string{recovered, filepath.Join(scenarios, "garbage-db"), filepath.Join(scenarios, "wal-crc", "a.tar.zst"), filepath.Join(t.TempDir(), "none"), "-w", "json"}
	for name, commands := range map[string][][]string{
		"recover": {
			{"recover", filepath.Join(scenarios, "damaged-page", "a.tar.zst"), "-o", filepath.Join(t.TempDir(), "2.db"), "-w", "json"},
			{"recover", filepath.Join(scenarios, "log-fork"), "--from", "c", "--at-revision", "400", "--without-entries", "380", "-o", filepath.Join(t.TempDir(), "3.db"), "-w", "json"},
		},
		"verify": {{"verify", recovered, filepath.Join(scenarios, "garbage-db", "c.tar.zst"), "-w", "json"}, {"verify", gardenerChain(t), recovered, "-w", "json"}},
		"plan": {
			{"plan", filepath.Join(scenarios, "log-fork"), "--preview", "-w", "json"},
			{"plan", filepath.Join(scenarios, "damaged-page"), "--from", recovered, "-w", "json"},
			{"plan", filepath.Join(scenarios, "garbage-db", "c.tar.zst"), "-w", "json"},
		},
		"preflight": {{"preflight", filepath.Join(scenarios, "wal-gap"), "--to", "3.6", "-w", "json"}, {"preflight", incident, "--to", "3.5", "-w", "json"}},
		"timeline":  {{"timeline", incident, "-w", "json"}, {"timeline", filepath.Join(scenarios, "truncated-db"), "-w", "json"}},
		"match":     {{"bugs", "match", log, "-w", "json"}, {"bugs", "match", filepath.Join(incident, "server-etcd-a.log.gz"), "-w", "json"}},
		"report":    nil,

		"each-check":   {append([]string{"check", "--each"}, each...)},
		"each-inspect": {append([]string{"inspect", "--each", "--meta", "1"}, each...)},
		"each-verify":  {append([]string{"verify", "--each"}, each...)},
	} {
		text, errs, status := autopsy(t, "schema", name)
		if status != exitOK || errs != "" {
			t.Fatal(errs)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
		schema, err := c.Compile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range commands {
			out, errs, status := autopsy(t, args...)
			docs := []string{out}
			if strings.HasPrefix(name, "each-") { // a line each, also of what it could not run on
				docs = slices.Collect(strings.Lines(out))
			} else if status == exitFailed {
				t.Fatalf("%v: %s", args, errs)
			}
			for _, text := range docs {
				got, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				if err := schema.Validate(got); err != nil {
					t.Errorf("%v: %v", args, err)
				}
			}
			if len(docs) == 0 {
				t.Errorf("%v: nothing is written: %s", args, errs)
			}
		}
	}
	if _, errs, status := autopsy(t, "schema", "nothing"); status != exitFailed || !strings.Contains(errs, "nothing") {
		t.Errorf("exit status %d: %s", status, errs)
	}
}
