package verdict

import (
	"testing"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

// TestOf goes through the rules of the package.
func TestOf(t *testing.T) {
	t.Parallel()
	whole := func(labels ...string) (ms []Member) {
		for _, l := range labels {
			ms = append(ms, Member{Label: l})
		}
		return ms
	}
	torn := Member{Label: "e1", Standing: inspect.Torn, Why: "pages of two moments"}
	cut := Member{Label: "e2", Standing: inspect.Cut, Why: "the last 7 pages are missing"}
	fault := finding.New("zombie-member", finding.Error, "member/snap/db", "a leftover")
	other := finding.New("snap-crc-mismatch", finding.Error, "member/snap/1.snap", "another checksum")
	warning := finding.New("alarm-on", finding.Warning, "member/snap/db", "NOSPACE")
	for name, c := range map[string]struct {
		f        Facts
		want     Verdict
		headline string
		stands   []bool
		reasons  int
	}{
		"nothing": {f: Facts{Members: whole("a", "b")}, want: Consistent},
		"an error does not hide": {
			f: Facts{Members: whole("a", "b"), Findings: []finding.Finding{fault, fault}}, want: Consistent, headline: "but 1 problem: zombie-member",
		},
		"several errors": {
			f: Facts{Members: whole("a", "b"), Findings: []finding.Finding{fault, other, fault}}, want: Consistent, headline: "but 2 problems: zombie-member, snap-crc-mismatch",
		},
		"a warning is no problem": {f: Facts{Members: whole("a", "b"), Findings: []finding.Finding{warning}}, want: Consistent},
		"an error changes nothing of what is not known": {
			f: Facts{Members: whole("a", "b"), Findings: []finding.Finding{fault}, Doubts: []string{"entry 5 cannot be decoded"}}, want: Indeterminate, reasons: 1,
		},
		"whole members differ": {
			f:    Facts{Members: whole("a", "b"), Claims: []Claim{{Groups: [][]string{{"a"}, {"b"}}}}},
			want: Diverged, stands: []bool{true},
		},
		"a member departs from its own log": {
			f: Facts{Members: whole("a"), Claims: []Claim{{Groups: [][]string{{"a"}}}}}, want: Diverged, stands: []bool{true},
		},
		"an error changes nothing of what diverged": {
			f:    Facts{Members: whole("a", "b"), Claims: []Claim{{Groups: [][]string{{"a"}, {"b"}}}}, Findings: []finding.Finding{fault}},
			want: Diverged, stands: []bool{true},
		},
		"what a torn copy lacks": {
			f:    Facts{Members: append(whole("a", "b"), torn), Claims: []Claim{{Groups: [][]string{{"a", "b"}, {"e1"}}}}},
			want: Indeterminate, headline: "e1 seems to have been copied while etcd was writing. Copy it again.", stands: []bool{false}, reasons: 1,
		},
		"a torn copy alone": {
			f:    Facts{Members: []Member{torn}, Claims: []Claim{{Groups: [][]string{{"e1"}}}}},
			want: Indeterminate, headline: "e1 seems to have been copied while etcd was writing. Copy it again.", stands: []bool{false}, reasons: 1,
		},
		"what sound members say of each other stays": {
			f:    Facts{Members: append(whole("a", "b"), torn), Claims: []Claim{{Groups: [][]string{{"a", "e1"}, {"b"}}}, {Groups: [][]string{{"a", "b"}, {"e1"}}}}},
			want: Diverged, stands: []bool{true, false}, reasons: 1,
		},
		"rows and logs contradict each other whatever is torn": {
			f:    Facts{Members: []Member{torn, cut}, Claims: []Claim{{Rows, [][]string{{"e1"}, {"e2"}}}, {Logs, [][]string{{"e1"}, {"e2"}}}}},
			want: Diverged, stands: []bool{true, true}, reasons: 2,
		},
		"several kinds of damage": {
			f:    Facts{Members: append(whole("a"), torn, cut)},
			want: Indeterminate, headline: "e1 seems to have been copied while etcd was writing; e2 is cut off. Copy them again.", reasons: 2,
		},
		"the log alone cannot be read": {
			f:    Facts{Members: []Member{{Label: "a", Unread: []string{"1", "2", "3", "4", "5", "6"}}}},
			want: Indeterminate, reasons: maxUnread + 1,
		},
		"a doubt":   {f: Facts{Members: whole("a", "b"), Doubts: []string{"entry 5 cannot be decoded"}}, want: Indeterminate, reasons: 1},
		"a remark":  {f: Facts{Members: whole("a", "b"), Remarks: []string{"a: no log"}}, want: Consistent, reasons: 1},
		"strangers": {f: Facts{Members: whole("a", "b"), Apart: []string{"perhaps not one cluster"}, Claims: []Claim{{Rows, [][]string{{"a"}, {"b"}}}}}, want: NotComparable, stands: []bool{false}, reasons: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Of(c.f)
			if a.Verdict != c.want || a.Headline != c.headline || len(a.Reasons) != c.reasons {
				t.Errorf("%s, headline %q, reasons %q; want %s, %q, %d reasons", a.Verdict, a.Headline, a.Reasons, c.want, c.headline, c.reasons)
			}
			for i, ok := range c.stands {
				if a.Stands[i] != ok {
					t.Errorf("claim %d stands: %v", i, a.Stands[i])
				}
			}
		})
	}
}
