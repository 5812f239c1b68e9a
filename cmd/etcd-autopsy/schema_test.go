package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchemas asserts that what commands write with -w json follows the schema that is printed for it.
func TestSchemas(t *testing.T) {
	t.Parallel()
	incident := filepath.Join(scenarios, "lease-revoke-auth")
	log := filepath.Join("..", "..", "diff", "messages", "testdata", "real.tsv")
	for name, commands := range map[string][][]string{
		"timeline": {{"timeline", incident, "-w", "json"}, {"timeline", filepath.Join(scenarios, "truncated-db"), "-w", "json"}},
		"match":    {{"bugs", "match", log, "-w", "json"}, {"bugs", "match", filepath.Join(incident, "server-etcd-a.log.gz"), "-w", "json"}},
		"report":   nil,
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
			if status == exitFailed {
				t.Fatalf("%v: %s", args, errs)
			}
			got, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(got); err != nil {
				t.Errorf("%v: %v", args, err)
			}
		}
	}
	if _, errs, status := autopsy(t, "schema", "nothing"); status != exitFailed || !strings.Contains(errs, "nothing") {
		t.Errorf("exit status %d: %s", status, errs)
	}
}
