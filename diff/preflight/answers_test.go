package preflight

import (
	"slices"
	"testing"

	"etcd-autopsy/inspect/finding"
)

// TestAnswers asserts that what servers say to a finding is in the words of their release.
func TestAnswers(t *testing.T) {
	t.Parallel()
	all := Answers("wal-crc-mismatch", finding.Error)
	if len(all) != 2 || all[0].Releases != "3.2 to 3.5" || all[1].Releases != "3.6 to 3.7" ||
		!slices.Contains(all[0].Says, "wal: crc mismatch") || slices.Contains(all[1].Says, "wal: crc mismatch") {
		t.Errorf("%+v", all)
	}
	if got := Answers("no-such-code", finding.Error); len(got) > 0 {
		t.Errorf("%+v", got)
	}
	told := 0
	for code := range rules {
		for _, a := range Answers(code, finding.Error) {
			if a.Releases == "" || len(a.Says) == 0 {
				t.Errorf("%s: %+v", code, a)
			}
			told++
		}
	}
	if told < 10 {
		t.Errorf("only %d answers", told)
	}
}
