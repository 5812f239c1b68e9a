package messages

import (
	"testing"

	"etcd-autopsy/inspect/serverlog"
)

// TestApart asserts that etcd's own words of a text are told from what stands in their places.
func TestApart(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "",
		"42":                              "42",
		"NOSPACE":                         "NOSPACE",
		"3.5.21":                          "3.5.21",
		"3.5.21-acme1":                    "<3.5.21-acme1>",
		"acme":                            "<acme>",
		"bc3c398fb3c146":                  "00bc3c398fb3c146", // as everywhere else
		"auth: revision in header is old": "auth: revision in header is old",
		"tocommit(59) is out of range [lastIndex(28)]. Was the raft log corrupted, truncated, or lost?": "tocommit(59) is out of range [lastIndex(28)]. Was the raft log corrupted, truncated, or lost?",
		"read wal error (walpb: crc mismatch) and cannot be repaired":                                   "read wal error (walpb: crc mismatch) and cannot be repaired",
		"corrupted snapshot file /acme/x.snap: crc mismatch":                                            "corrupted snapshot file </acme/x.snap>: crc mismatch",
	} {
		got := ""
		for _, p := range Apart(text) {
			if p.Quoted {
				p.Text = "<" + p.Text + ">"
			}
			got += p.Text
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// FuzzApart asserts that nothing of a text is lost.
func FuzzApart(f *testing.F) {
	f.Add("read wal error (x: y) and cannot be repaired")
	f.Fuzz(func(t *testing.T, text string) {
		if got := serverlog.Join(Apart(text)); len(got) < len(text) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
