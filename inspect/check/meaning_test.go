package check

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every code that the readers and checks can give is explained, and nothing is explained that no one gives.
func TestEveryCodeIsExplained(t *testing.T) {
	code := regexp.MustCompile(`"([a-z0-9]+(?:-[a-z0-9]+)+)"`)
	given := map[string]bool{}
	err := filepath.Walk("..", func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "meaning.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range code.FindAllStringSubmatch(string(src), -1) {
			given[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for c := range advice {
		if !given[c] && c != Pages {
			t.Errorf("%s is explained, but nothing gives it", c)
		}
	}
	calls := regexp.MustCompile(`(?:finding\.New|\bat|\.corrupt|\.stretch|\.resync|\.bad|\.add|c\.at)\("([a-z0-9]+(?:-[a-z0-9]+)+)"`)
	_ = filepath.Walk("..", func(path string, _ os.FileInfo, _ error) error {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, _ := os.ReadFile(path)
		for _, m := range calls.FindAllStringSubmatch(string(src), -1) {
			if advice[m[1]] == (Advice{}) {
				t.Errorf("%s: %s is not explained", path, m[1])
			}
		}
		return nil
	})
}

// What is found in a copy is the copy's: where copying may have done the damage, nobody is told to do something to the member.
func TestCopiesAreCopiedAgain(t *testing.T) {
	does := regexp.MustCompile(`(?i)\b(remove|rebuild|wipe|empty|replace)\b`)
	again := 0
	for code, a := range advice {
		if code == "page-elements-cleared" { // which is done by hand
			continue
		}
		if strings.Contains(a.Action, "copy again") {
			again++
		} else if !OfPage(code) {
			continue
		}
		if does.MatchString(a.Action) {
			t.Errorf("%s: %s", code, a.Action)
		}
	}
	if again < 20 {
		t.Errorf("only %d kinds of damage are to be copied again", again)
	}
	for _, code := range []string{"page-zero", "page-double-use", "db-truncated", "db-unreadable", "meta-txid-gap", "root-row", "rows-missing", "tree-too-deep"} {
		if !strings.Contains(Explain(code).Action, "copy again") {
			t.Errorf("%s: %s", code, Explain(code).Action)
		}
	}
}
