package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"etcd-autopsy/report"
)

// TestLists compares the output of the commands that list with the files in testdata/golden.
func TestLists(t *testing.T) {
	t.Parallel()
	incident := filepath.Join(scenarios, "lease-revoke-auth")
	all := report.Formats()
	for _, c := range []struct {
		name    string
		formats []string
		args    []string
	}{
		{"history", []string{"table", "json", "markdown", "simple"}, []string{"history", "/registry/masterleases/10.0.0.1-b", incident}},
		{"history-lease", []string{"table"}, []string{"history", "--lease", "6c3ba1fd33c12160", incident}},
		{"history-gone", []string{"table", "json"}, []string{"history", "/registry/leases/monitoring/auth-504", filepath.Join(scenarios, "tampered-delrev")}},
		{"log", all, []string{"log", filepath.Join(scenarios, "tampered-delrev"), "--start-index", "796", "--end-index", "799"}},
		{"log-fork", []string{"table", "json"}, []string{"log", filepath.Join(scenarios, "log-fork"), "--start-index", "360", "--end-index", "364"}},
		{"log-raw", []string{"table", "json", "simple"}, []string{"log", "--raw", filepath.Join(scenarios, "wal-crc"), "--start-index", "442", "--end-index", "444"}},
		{"hash", []string{"table", "json"}, []string{"hash", incident}},
		{"hash-damaged", []string{"table"}, []string{"hash", filepath.Join(scenarios, "truncated-db")}},
		{"dump", all, []string{"dump", filepath.Join(incident, "etcd-b.tar.zst"), "--limit", "2"}},
		{"dump-rev", []string{"table", "json"}, []string{"dump", filepath.Join(incident, "etcd-b.tar.zst"), "--rev", "1244", "--prefix", "/registry/masterleases/"}},
		{"dump-damaged", []string{"table", "json"}, []string{"dump", filepath.Join(scenarios, "truncated-db", "b.tar.zst"), "--limit", "2"}},
	} {
		for _, format := range c.formats {
			t.Run(c.name+"/"+format, func(t *testing.T) {
				t.Parallel()
				got, errs, _ := autopsy(t, append(slices.Clone(c.args), "-w", format)...)
				if errs != "" {
					t.Fatal(errs)
				}
				file := filepath.Join("testdata", "golden", "list."+c.name+"."+format)
				if *update {
					if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if d := gocmp.Diff(string(want), got); d != "" {
					t.Errorf("not as %s says (-want +got); go test -update rewrites it:\n%s", file, d)
				}
			})
		}
	}
}

// TestListsOrder gives members in another order, and each of a key's forms.
func TestListsOrder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(scenarios, "tampered-delrev")
	var paths []string
	for _, n := range []string{"a", "b", "c"} {
		paths = append(paths, n+"="+filepath.Join(dir, n+".tar.zst"))
	}
	turned := []string{paths[2], paths[0], paths[1]}
	for _, c := range []struct{ one, other []string }{
		{append([]string{"log", "-w", "json"}, paths...), append([]string{"log", "-w", "json"}, turned...)},
		{append([]string{"hash", "-w", "json"}, paths...), append([]string{"hash", "-w", "json"}, turned...)},
		{append([]string{"history", "/registry/leases/monitoring/auth-504"}, paths...), append([]string{"history", "0x2f72656769737472792f6c65617365732f6d6f6e69746f72696e672f617574682d353034"}, turned...)},
	} {
		one, errs, status := autopsy(t, c.one...)
		other, errs2, status2 := autopsy(t, c.other...)
		if one == "" || one != other || errs+errs2 != "" || status != status2 {
			t.Errorf("%s: the order of arguments matters: %d and %d bytes, status %d and %d %s%s", c.one[0], len(one), len(other), status, status2, errs, errs2)
		}
	}
}

// TestLogTruth asks log for the entries on which members differ, and compares them with what is known of the incident.
func TestLogTruth(t *testing.T) {
	t.Parallel()
	differing := func(name string, args ...string) (indexes []string) {
		out, errs, _ := autopsy(t, append([]string{"log", filepath.Join(scenarios, name), "--differ", "-w", "json"}, args...)...)
		if errs != "" {
			t.Fatal(errs)
		}
		lines(t, []byte(out), func(doc map[string]any) {
			if n, ok := doc["index"]; ok {
				indexes = append(indexes, n.(interface{ String() string }).String())
			}
		})
		return indexes
	}
	for _, c := range []struct {
		name, first string
		n           int
		args        []string
	}{
		{"tampered-delrev", "798", 1, nil},
		{"lease-revoke-auth", "1576", 49, []string{"--type", "leaserevoke"}},
		{"lease-revoke-auth", "1576", 1, []string{"--key", "/registry/masterleases/10.0.0.1-b"}},
		{"lease-revoke-auth", "1576", 1, []string{"--rev", "1244", "--user", "", "--lease", "5574a1fd33c10c60", "--term", "2"}},
		{"healthy-3.7", "", 0, nil},
	} {
		got := differing(c.name, c.args...)
		if len(got) != c.n || c.n > 0 && got[0] != c.first {
			t.Errorf("%s %s: %d entries differ, want %d from %s on: %s", c.name, c.args, len(got), c.n, c.first, strings.Join(got, " "))
		}
	}
}

// TestValuesHidden looks for values in everything that the listing commands write without --show-values.
func TestValuesHidden(t *testing.T) {
	t.Parallel()
	member := filepath.Join(scenarios, "healthy-3.6", "s1.tar.zst")
	shown, _, _ := autopsy(t, "dump", member, "key", "--show-values", "-w", "json")
	var values [][]byte
	lines(t, []byte(shown), func(doc map[string]any) {
		if v := named(doc, "value"); len(v) > 24 && len(values) < 400 {
			values = append(values, []byte(v[len(v)/2:]))
		}
	})
	if len(values) < 100 {
		t.Fatalf("only %d values", len(values))
	}
	for _, args := range [][]string{
		{"dump", member},
		{"dump", member, "-w", "json"},
		{"dump", member, "--rev", "1200"},
		{"log", member},
		{"log", member, "-w", "json"},
		{"log", member, "--raw"},
		{"log", member, "--raw", "-w", "json"},
		{"history", "--prefix", "/", member},
		{"history", "--prefix", "/", member, "-w", "json"},
	} {
		out, errs, status := autopsy(t, args...)
		if errs != "" || status != exitOK || len(out) < 1000 {
			t.Fatalf("%s: status %d, %d bytes: %s", args, status, len(out), errs)
		}
		for _, v := range values {
			if bytes.Contains([]byte(out), v) {
				t.Fatalf("%s shows a value", args)
			}
		}
	}
}
