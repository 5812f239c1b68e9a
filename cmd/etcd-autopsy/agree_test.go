package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"etcd-autopsy/diff"
)

// The parts of documents that are compared.
type (
	agreeMember struct {
		Label    string `json:"label"`
		Evidence string `json:"evidence"`
	}
	agreeDiff struct {
		Verdict     diff.Verdict `json:"verdict"`
		Divergences []struct {
			Layer  diff.Layer  `json:"layer"`
			Entry  *diff.Entry `json:"entry"`
			Faulty []string    `json:"faulty"`
		} `json:"divergences"`
		Keys []struct {
			Key        *string `json:"key"`
			Difference string  `json:"difference"`
		} `json:"keys"`
		Members   []agreeMember `json:"members"`
		Explained bool          `json:"explained"`
	}
	agreeChecked struct {
		Label    string `json:"label"`
		Findings []struct {
			Code     string `json:"code"`
			Severity string `json:"severity"`
		} `json:"findings"`
	}
)

// TestAgree asks several commands about each scenario: what they say of it must not contradict each other.
func TestAgree(t *testing.T) {
	t.Parallel()
	for _, name := range scenarioNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := filepath.Join(scenarios, name)
			out, _, status := autopsy(t, "diff", in, "-w", "json")
			if status == exitFailed {
				t.Skip("there is nothing to compare")
			}
			var doc agreeDiff
			if err := json.Unmarshal([]byte(out), &doc); err != nil {
				t.Fatal(err)
			}
			several := len(doc.Members) > 1
			whole := !slices.ContainsFunc(doc.Members, func(m agreeMember) bool { return m.Evidence != "whole" })

			differing := map[uint64]bool{}
			entries, _, _ := autopsy(t, "log", in, "--differ", "-w", "json")
			for l := range strings.Lines(entries) {
				var e struct {
					Index uint64 `json:"index"`
				}
				if json.Unmarshal([]byte(l), &e) == nil && e.Index > 0 {
					differing[e.Index] = true
				}
			}
			if doc.Verdict == diff.Consistent && len(differing) > 0 {
				t.Errorf("diff says consistent, log --differ lists %d entries", len(differing))
			}
			for _, v := range doc.Divergences {
				if several && v.Layer == diff.LayerApply && v.Entry != nil && doc.Explained && !differing[v.Entry.Index] {
					t.Errorf("diff says that members part at entry %d, log --differ does not list it", v.Entry.Index)
				}
			}

			if _, _, status := autopsy(t, "hash", in); several && whole && doc.Verdict == diff.Consistent && status == exitDiverged {
				t.Error("diff says consistent, hash that hashes differ")
			}

			asked := 0
			for _, k := range doc.Keys {
				if k.Key == nil || asked == 3 || k.Difference == "lease" {
					continue
				}
				asked++
				for _, command := range []string{"get", "history"} {
					if _, errs, status := autopsy(t, command, *k.Key, in); status != exitDiverged {
						t.Errorf("diff says that %s differs (%s), %s ends with %d: %s", *k.Key, k.Difference, command, status, errs)
					}
				}
			}

			out, _, _ = autopsy(t, "check", in, "-w", "json")
			var checked struct {
				Members []agreeChecked `json:"members"`
			}
			if err := json.Unmarshal([]byte(out), &checked); err != nil {
				t.Fatal(err)
			}
			for _, m := range checked.Members {
				for _, f := range m.Findings {
					if slices.Contains([]string{"entry-without-effect", "entry-other-branch", "entry-half-applied", "entry-applied-again", "revision-without-entry"}, f.Code) && f.Severity == "error" && doc.Verdict == diff.Consistent {
						t.Errorf("check says %s of %s, diff says consistent", f.Code, m.Label)
					}
				}
			}
			for _, v := range doc.Divergences {
				for _, label := range v.Faulty {
					alone, _, status := autopsy(t, "diff", filepath.Join(in, label+".tar.zst"), "-w", "json")
					var one agreeDiff
					if status == exitFailed || json.Unmarshal([]byte(alone), &one) != nil {
						continue
					}
					told := slices.ContainsFunc(checked.Members, func(m agreeChecked) bool { return m.Label == label && len(m.Findings) > 0 })
					if one.Verdict == diff.Diverged && !told {
						t.Errorf("diff of %s alone says that it diverged, check finds nothing", label)
					}
					if one.Verdict == diff.Consistent {
						t.Errorf("diff of all says that %s did not do what its log asks for, diff of it alone that it is consistent", label)
					}
				}
			}
		})
	}
}
