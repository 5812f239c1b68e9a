package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

func render(t *testing.T, d *diff.Document, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := Diff(&b, d, f, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func members(labels ...string) []diff.Member {
	var ms []diff.Member
	for _, l := range labels {
		ms = append(ms, diff.Member{Label: l, Readable: true, Complete: true})
	}
	return ms
}

func TestHeadline(t *testing.T) {
	t.Parallel()
	e := &diff.Entry{Index: 7, Term: 2, Type: "Put", Summary: "Put /k (1 bytes)"}
	two := [][]string{{"a", "b"}, {"c"}}
	for _, test := range []struct {
		v    diff.Divergence
		want string
	}{
		{diff.Divergence{Layer: diff.LayerApply, Entry: e, Groups: two, Minority: []string{"c"}}, "c parts from a and b at raft entry 7 (term 2)"},
		{diff.Divergence{Layer: diff.LayerApply, Entry: e, Groups: [][]string{{"a", "b", "c"}, {"d"}, {"e"}}, Minority: []string{"d", "e"}}, "d and e part from a, b and c at raft entry 7 (term 2)"},
		{diff.Divergence{Layer: diff.LayerApply, Entry: e, Groups: [][]string{{"a"}, {"b"}}}, "a | b part at raft entry 7 (term 2)"},
		{diff.Divergence{Layer: diff.LayerApply, Revision: 9, Groups: two, Minority: []string{"c"}, EntryInterval: &diff.Interval{First: 5, Last: 8}}, "c parts from a and b at a raft entry from 5 to 8"},
		{diff.Divergence{Layer: diff.LayerApply, Revision: 9, Groups: two, Minority: []string{"c"}, RevisionInterval: &diff.RevisionInterval{First: 3, Last: 9}}, "c parts from a and b between revision 3 and 9; the raft entry is in no log that is left"},
		{diff.Divergence{Layer: diff.LayerApply, Revision: 9, Groups: two, Minority: []string{"c"}}, "c parts from a and b at revision 9; the raft entry is not known"},
		{diff.Divergence{Layer: diff.LayerLog, Entry: e, Groups: two, Minority: []string{"c"}}, "the log of c differs from that of a and b from raft entry 7 on"},
		{diff.Divergence{Layer: diff.LayerStorage, Entry: e, Revision: 9, Groups: two, Minority: []string{"c"}}, "c differs from a and b: the stored data at revision 9 (raft entry 7, term 2)"},
		{diff.Divergence{Layer: diff.LayerStorage, Revision: 9, Groups: [][]string{{"a"}}}, "a: the stored data at revision 9"},
		{diff.Divergence{Layer: diff.LayerLease, Entry: e, Groups: two, Minority: []string{"c"}}, "c differs from a and b: the lease table, at raft entry 7 (term 2)"},
		{diff.Divergence{Layer: diff.LayerAuth, Groups: two, Minority: []string{"c"}, What: "users"}, "c differs from a and b: the auth tables; users"},
		{diff.Divergence{Layer: diff.LayerMembership, Groups: [][]string{{"a"}, {"b"}}}, "a | b differ: the membership tables"},
		{diff.Divergence{Layer: diff.LayerAlarm, Groups: two, Minority: []string{"c"}}, "c differs from a and b: the alarms"},
	} {
		d := &diff.Document{Verdict: diff.Diverged, Members: members("a", "b", "c"), Divergences: []diff.Divergence{test.v}}
		got := strings.Join(strings.Fields(strings.SplitN(strings.TrimPrefix(render(t, d, Table), "DIVERGED"), "\n\n", 2)[0]), " ")
		if got != test.want {
			t.Errorf("%+v:\n%s\nwant\n%s", test.v, got, test.want)
		}
	}
}

// TestStrangeKeys has keys that are no text, that are long, and that would be taken for markup.
func TestStrangeKeys(t *testing.T) {
	t.Parallel()
	long := "/registry/" + strings.Repeat("x", 300) + "/end"
	d := &diff.Document{
		Verdict: diff.Diverged, Members: members("a", "b"),
		Divergences: []diff.Divergence{{Layer: diff.LayerApply, Groups: [][]string{{"a"}, {"b"}}}},
	}
	var keys []diff.KeyDiff
	for _, k := range []diff.Key{"\x00\xff", "<b>|`_*@team", diff.Key(long), "a,\"b"} {
		keys = append(keys, diff.KeyDiff{Key: k, Difference: "missing", ByMember: map[string]diff.KeyState{"a": {Present: true, ModRevision: 3}, "b": {}}})
	}
	d.Keys = diff.NewKeyDiffs(keys...)
	for l := range strings.Lines(render(t, d, Table)) {
		if len(l) > maxTable+1 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	if md := render(t, d, Markdown); !strings.Contains(md, "| \\<b\\>\\|\\`\\_\\*@<!-- -->team |") || !strings.Contains(md, long) {
		t.Error(md)
	}
	if s := render(t, d, Simple); !strings.Contains(s, `key, missing, "a,\"b"`) || !strings.Contains(s, "key, missing, 0x00ff\n") {
		t.Error(s)
	}
	var back struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(render(t, d, JSON)), &back); err != nil || back.Keys[0]["key_base64"] != "AP8=" || back.Keys[2]["key"] != long {
		t.Error(err, back)
	}
}

// TestCutShort says that a search ended before all was tried, where a member is not explained.
func TestCutShort(t *testing.T) {
	t.Parallel()
	for _, explained := range []bool{false, true} {
		d := &diff.Document{
			Verdict: diff.Diverged, Members: members("a", "b"), Explained: explained, Search: diff.Search{Bounded: true, Limits: []string{"a: it ended after 7 steps"}},
			Divergences: []diff.Divergence{{Layer: diff.LayerApply, Groups: [][]string{{"a"}, {"b"}}}},
		}
		if got := strings.Contains(render(t, d, Table), "it ended after 7 steps"); got == explained {
			t.Errorf("explained %v: said %v", explained, got)
		}
	}
}

// TestCutShortAmongSeveral names entries that explain what a member holds, and not as if no other could, where the search for others was cut short.
func TestCutShortAmongSeveral(t *testing.T) {
	t.Parallel()
	for _, bounded := range []bool{false, true} {
		d := &diff.Document{
			Verdict: diff.Diverged, Members: members("a", "b"), Explained: true,
			Divergences: []diff.Divergence{{
				Layer: diff.LayerApply, Groups: [][]string{{"a"}, {"b"}}, Faulty: []string{"b"}, EntryInterval: &diff.Interval{First: 3, Last: 90},
				Candidates: []diff.Entry{{Index: 40, Type: "Put"}, {Index: 50, Type: "Put"}}, CandidateCount: 2, SearchBounded: bounded,
			}},
		}
		got := render(t, d, Table)
		if strings.Contains(got, "one of 2 raft entries") == bounded || strings.Contains(got, "a raft entry from 3 to 90") != bounded || strings.Contains(got, "others may do so, too") != bounded {
			t.Errorf("bounded %v:\n%s", bounded, got)
		}
	}
}

// TestCutShortAtEntry says so beside a single entry, too.
func TestCutShortAtEntry(t *testing.T) {
	t.Parallel()
	for _, bounded := range []bool{false, true} {
		d := &diff.Document{
			Verdict: diff.Diverged, Members: members("a", "b"), Explained: true,
			Divergences: []diff.Divergence{{
				Layer: diff.LayerApply, Groups: [][]string{{"a"}, {"b"}}, Faulty: []string{"b"}, Entry: &diff.Entry{Index: 40, Type: "Put"}, SearchBounded: bounded,
			}},
		}
		if got := render(t, d, Table); strings.Contains(got, "the search was cut short") != bounded {
			t.Errorf("bounded %v:\n%s", bounded, got)
		}
	}
}

// TestFields asserts that every scalar of the JSON document is a line, and none is lost.
func TestFields(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	doc := map[string]any{"a": []any{1, "x\ny", nil, true}, "b": map[string]any{"c": []int{}, "d": struct{}{}}, "e": uint64(1<<64 - 1)}
	l := escape.NewLines(&b)
	if err := errors.Join(toFields(l, doc), l.Flush()); err != nil {
		t.Fatal(err)
	}
	const want = `"a[0]" : 1
"a[1]" : "x\ny"
"a[2]" : null
"a[3]" : true
"b.c" : []
"b.d" : {}
"e" : 18446744073709551615
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestMiddle(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{"short", "short"}, {"0123456789", "0123456789"}, {"0123456789a", "0123..789a"}, {"日本語日本語日本語", "日本..本語"},
	} {
		if got := middle(test.in, 10); got != test.want {
			t.Errorf("middle(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	got := strings.Join(wrap("one two three /a/key/that/is/longer/than/the/line four", 12), "\n")
	if want := "one two\n  three\n  /a/key/that/is/longer/than/the/line\n  four"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
