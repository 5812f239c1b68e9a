package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
	"github.com/spf13/cobra"
)

// example is a line in the help of a command, as a shell takes it apart.
type example struct {
	line string
	args []string // behind the program's name
	jq   string   // the filter that its output goes to, empty if there is none
}

func examplesOf(t *testing.T, cmd *cobra.Command) (all []example) {
	t.Helper()
	for line := range strings.Lines(cmd.Example) {
		words := shellWords(strings.TrimSpace(line))
		e := example{line: strings.TrimSpace(line)}
		switch {
		case len(words) > 2 && words[0] == "source":
			words = strings.Fields(strings.TrimSuffix(strings.TrimPrefix(strings.Join(words[1:], " "), "<("), ")"))
		case len(words) == 0:
			continue
		}
		if i := slices.Index(words, "etcd-autopsy"); i > 0 && words[i-1] == "|" { // it reads what another program writes
			words = words[i:]
		}
		if words[0] != "etcd-autopsy" {
			t.Errorf("%s: %s: not a line that runs this program", cmd.CommandPath(), e.line)
			continue
		}
	args:
		for i, w := range words[1:] {
			switch w {
			case ">":
				break args
			case "|":
				if rest := words[i+2:]; rest[0] == "jq" {
					e.jq = rest[len(rest)-1]
				}
				break args
			}
			e.args = append(e.args, w)
		}
		all = append(all, e)
	}
	for _, c := range cmd.Commands() {
		all = append(all, examplesOf(t, c)...)
	}
	return all
}

// shellWords splits at spaces that are not between single quotes.
func shellWords(line string) (words []string) {
	word, quoted, any := "", false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			if any {
				words = append(words, word)
			}
			word, any = "", false
		default:
			word += string(r)
			any = true
		}
	}
	if any {
		words = append(words, word)
	}
	return words
}

// found says that a server log lies beside a member.
var found = regexp.MustCompile(`(?m)^note: the server log of .*\n`)

// TestExamples runs every example of every command on evidence that has what it asks for, and what jq makes of the output.
func TestExamples(t *testing.T) {
	t.Parallel()
	incident := filepath.Join(scenarios, "lease-revoke-auth")
	web := dbOf(t, "node1", "/registry/deployments/default/web", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}}`,
		"/registry/configmaps/shop/x", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","namespace":"shop"}}`)
	binary := dbOf(t, "backup.db", "\x00\xffz", "value")
	panicked := filepath.Join(t.TempDir(), "panic.log")
	if err := os.WriteFile(panicked, []byte("panic: page 1234 already freed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	healthy := filepath.Join(scenarios, "healthy-3.6")
	backups := t.TempDir()
	snapshot := filepath.Join(backups, "snapshot.db")
	if _, errs, status := autopsy(t, "recover", filepath.Join(healthy, "s1.tar.zst"), "-o", snapshot); status == exitFailed {
		t.Fatal(errs)
	}
	stand := map[string]string{
		"snapshot.db": snapshot, "backups/": backups,
		"node1/": "node1=" + incident + "/etcd-a.tar.zst", "node2/": "node2=" + incident + "/etcd-b.tar.zst", "node3/": "node3=" + incident + "/etcd-c.tar.zst",
		"a=/copies/10.0.0.1.tar.gz": "a=" + incident + "/etcd-a.tar.zst", "b=/copies/10.0.0.2.tar.gz": "b=" + incident + "/etcd-b.tar.zst",
		"incident.tar.zst": incident, "incident.tar.gz": incident, "backup.db": incident + "/etcd-a.tar.zst", "backup-of-monday.db": incident + "/etcd-c.tar.zst",
		"/registry/pods/default/web-0": "/registry/masterleases/10.0.0.1-b", "4711": "1243",
		"a=node1/": "a=" + incident + "/etcd-a.tar.zst", "b=node2/": "b=" + incident + "/etcd-b.tar.zst", "-": panicked, "panic.log": panicked, "server-node1.log.gz": panicked,
	}
	for _, as := range []string{"node1=", "a="} {
		for _, file := range []string{"node1.log", "node1.log.gz"} {
			stand[as+file] = as + incident + "/server-etcd-a.log.gz"
		}
	}
	for _, as := range []string{"node2=", "b="} {
		stand[as+"node2.log"] = as + incident + "/server-etcd-b.log.gz"
	}
	special := map[string]map[string]string{
		"-w yaml > web.yaml":    {"node1/": web, "4711": "2"},
		"get --namespace shop":  {"node1/": web, "4710": "3"},
		"get 0x00ff7a":          {"backup.db": binary},
		"select(.ttl > 60)":     {"node1/": filepath.Join(scenarios, "healthy-3.6", "s1.tar.zst")},
		"history 0x00ff7a":      {"node1/": binary},
		"recover node1/ node2/": {"node1/": "a=" + filepath.Join(healthy, "s1.tar.zst"), "node2/": "b=" + filepath.Join(healthy, "s2.tar.zst"), "node3/": "c=" + filepath.Join(healthy, "s3.tar.zst")},
		"--from snapshot.db":    {"snapshot.db": incident + "/etcd-b.tar.zst"},
		"--at-time":             {"node1/": filepath.Join(scenarios, "log-fork-newterm", "a.tar.zst")},
		"--since backup-of-mon": {"node1/": filepath.Join(scenarios, "healthy-3.2", "a1.tar.zst"), "backup-of-monday.db": filepath.Join(scenarios, "healthy-3.2", "a3.tar.zst")},
	}
	all := examplesOf(t, (&app{}).root())
	filtered := 0
	for _, e := range all {
		if e.jq != "" {
			filtered++
		}
		t.Run(strings.ReplaceAll(e.line, "/", "_"), func(t *testing.T) {
			t.Parallel()
			args := make([]string, len(e.args))
			for i, a := range e.args {
				args[i] = a
				if s, ok := stand[a]; ok {
					args[i] = s
				}
				for part, others := range special {
					if s, ok := others[a]; ok && strings.Contains(e.line, part) {
						args[i] = s
					}
				}
				if i > 0 && e.args[i-1] == "-o" {
					args[i] = filepath.Join(t.TempDir(), a)
				}
			}
			out, errs, status := autopsy(t, args...)
			errs = found.ReplaceAllString(errs, "")
			if status == exitFailed || errs != "" || out == "" {
				t.Fatalf("status %d, %d bytes: %s", status, len(out), errs)
			}
			if e.jq != "" {
				jq(t, e.jq, out)
			}
		})
	}
	if len(all) < 50 || filtered < 6 {
		t.Errorf("only %d examples, %d of them with jq", len(all), filtered)
	}
}

// jq runs a filter on each value of a program's output. It must give something, and no error on any value.
func jq(t *testing.T, filter, input string) {
	t.Helper()
	q, err := gojq.Parse(filter)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for d := json.NewDecoder(strings.NewReader(input)); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for i := q.RunWithContext(t.Context(), v); ; {
			x, ok := i.Next()
			if !ok {
				break
			}
			if err, ok := x.(error); ok {
				t.Fatalf("jq %s: %v", filter, err)
			}
			if x != nil {
				got++
			}
		}
	}
	if got == 0 {
		t.Errorf("jq %s prints nothing", filter)
	}
}
