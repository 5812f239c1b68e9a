package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var manDir = flag.String("man", "", "write the man pages into this directory")

// commands are all that a user can run, but cobra's own help.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			all = append(all, commands(c)...)
		}
	}
	return all
}

// TestHelp asserts that every command says what it does, how it exits, and gives an example that is one.
func TestHelp(t *testing.T) {
	t.Parallel()
	n := 0
	for _, c := range commands((&app{}).root()) {
		n++
		_, status, ok := strings.Cut(c.Long, "\nExit status:\n  0  ")
		if !ok || !strings.Contains(status, "\n  2  ") {
			t.Errorf("%s does not say how it exits", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: bad short text %q", c.CommandPath(), c.Short)
		}
		for l := range strings.Lines(c.Example) {
			if !strings.HasPrefix(l, "  ") || !strings.Contains(l, c.CommandPath()) {
				t.Errorf("%s: no example of it: %s", c.CommandPath(), l)
			}
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for l := range strings.Lines(c.Long + "\n" + c.Example) {
			if len(strings.TrimSuffix(l, "\n")) > 100 {
				t.Errorf("%s: a line of help is too long: %s", c.CommandPath(), l)
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d commands", n)
	}
}

// TestMan writes the man pages, to a directory if one is asked for.
func TestMan(t *testing.T) {
	t.Parallel()
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root := (&app{}).root()
	root.DisableAutoGenTag = true // it holds the date
	for _, c := range commands(root) {
		c.Long = manText(c.Long)
	}
	header := &doc.GenManHeader{Section: "1", Source: "etcd-autopsy", Manual: "etcd-autopsy"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(root) {
		b, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXIT STATUS", ".SH EXAMPLE", "\n0  "} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s: no %q in\n%s", c.CommandPath(), want, b)
			}
		}
	}
}

// manText is the long help in markdown: indented lines stay as they are.
func manText(long string) string {
	var b strings.Builder
	indented := false
	for l := range strings.SplitSeq(strings.Replace(long, "\nExit status:\n", "\n# EXIT STATUS\n", 1), "\n") {
		if is := strings.HasPrefix(l, "  "); is != indented {
			b.WriteString("\n```\n")
			indented = is
		}
		b.WriteString(strings.TrimPrefix(l, "  ") + "\n")
	}
	if indented {
		b.WriteString("```\n")
	}
	return b.String()
}
