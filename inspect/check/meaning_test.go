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
