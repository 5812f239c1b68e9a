package report

import (
	"bytes"
	"strings"
	"testing"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
)

// TestCheckVerdicts has each verdict.
func TestCheckVerdicts(t *testing.T) {
	t.Parallel()
	lost := finding.New("wal-name", finding.Info, "member/wal/x", "not read").Lost()
	for _, test := range []struct {
		verdict  CheckVerdict
		line     string
		findings []finding.Finding
	}{
		{NothingFound, "nothing found", nil},
		{NothingFound, "nothing found (1 info)", []finding.Finding{finding.New("wal-name", finding.Info, "f", "x")}},
		{Incomplete, "nothing found (1 info); not everything could be read", []finding.Finding{lost}},
		{Problems, "1 warning, 1 info; not everything could be read", []finding.Finding{lost, finding.New("wal-missing", finding.Warning, "f", "x")}},
		{Problems, "2 errors", []finding.Finding{finding.New("page-zero", finding.Error, "f", "x"), finding.New("page-type", finding.Error, "f", "x")}},
	} {
		d := Check([]*inspect.Member{{Label: "a", Log: &raftlog.Log{}, Findings: test.findings}})
		if d.Verdict != test.verdict || d.Members[0].verdict() != test.line {
			t.Errorf("%s, %q, want %s, %q", d.Verdict, d.Members[0].verdict(), test.verdict, test.line)
		}
	}
}

// TestCheckPage asserts that a kind of finding is explained once, and that many of a kind are cut short.
func TestCheckPage(t *testing.T) {
	t.Parallel()
	var many []finding.Finding
	for page := range uint64(9) {
		many = append(many, finding.New("page-zero", finding.Error, "member/snap/db", "zero").OnPage(page, int64(page)*4096))
	}
	one := []finding.Finding{finding.New("page-zero", finding.Error, "member/snap/db", "zero").OnPage(3, 12288), finding.New("alarm-on", finding.Warning, "member/snap/db", "NOSPACE")}
	d := Check([]*inspect.Member{{Label: "a", Log: &raftlog.Log{}, Findings: many}, {Label: "b", Log: &raftlog.Log{}, Findings: one}, {Label: "c", Log: &raftlog.Log{}}})
	for _, format := range []Format{Table, Markdown} {
		var b bytes.Buffer
		if err := Checks(&b, d, format, "look here"); err != nil {
			t.Fatal(err)
		}
		for text, n := range map[string]int{"page 0 offset 0": 1, "page 4 offset": 1, "page 5 offset": 0, "and 4 more of this kind": 1, "meaning: a page in use": 1, "see above": 1, "meaning: NOSPACE": 1, "2 of 3 members": 1, "hint: look here": 1} {
			if got := strings.Count(b.String(), text); got != n {
				t.Errorf("%s: %q is there %d times, want %d:\n%s", format, text, got, n, b.String())
			}
		}
	}
	var b bytes.Buffer
	if err := Checks(&b, d, Simple); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "finding, a, error, page-zero, member/snap/db, "); got != 9 || !strings.Contains(b.String(), "member, b, 1, 1, 0, true\n") {
		t.Errorf("%d findings of 9:\n%s", got, b.String())
	}
}

// TestCheckDamagedPages asserts that what is wrong with the pages of one db is told as one finding, and all of it in JSON.
func TestCheckDamagedPages(t *testing.T) {
	t.Parallel()
	var many []finding.Finding
	for page := range uint64(60) {
		code := []string{"page-zero", "page-id-mismatch", "page-key-range", "root-row"}[page%4]
		many = append(many, finding.New(code, finding.Error, "member/snap/db", "damaged").OnPage(page, int64(page)*4096))
	}
	many = append(many, finding.New("wal-crc-mismatch", finding.Error, "member/wal/0.wal", "another checksum"), finding.New("page-slack", finding.Warning, "member/snap/db", "more bytes").OnPage(61, 61*4096))
	d := Check([]*inspect.Member{{Label: "a", Log: &raftlog.Log{}, Findings: many}, {Label: "b", Log: &raftlog.Log{}, Findings: many[:3]}})
	var b bytes.Buffer
	if err := Checks(&b, d, Table); err != nil {
		t.Fatal(err)
	}
	for text, n := range map[string]int{
		"ERROR      damaged-pages, 60 of this kind, the first:": 1, "page 4 offset 16384": 1, "page 5 offset": 0, "and 55 more of this kind: -w json lists them": 1,
		"ERROR      wal-crc-mismatch": 1, "WARNING    page-slack": 1, "ERROR      page-": 3, // those of b, which are few
	} {
		if got := strings.Count(b.String(), text); got != n {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, n, b.String())
		}
	}
	b.Reset()
	if err := Checks(&b, d, JSON); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), `"code":"page-`) + strings.Count(b.String(), `"code": "page-`); n != 45+1+3 {
		t.Errorf("%d findings about pages in JSON", n)
	}
}
