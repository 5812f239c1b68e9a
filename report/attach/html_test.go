package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/serverlog"
	"etcd-autopsy/report"
)

// render is the page of a report.
func render(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// samples are made once: an investigation takes seconds.
var samples sync.Map

// sample is the report of a scenario. It is shared: not to be changed.
func sample(t testing.TB, scenario string) *Report {
	t.Helper()
	f, _ := samples.LoadOrStore(scenario, sync.OnceValues(func() (*Report, error) { return investigate(scenario) }))
	r, err := f.(func() (*Report, error))()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func investigate(scenario string) (_ *Report, rerr error) {
	ctx := context.Background()
	set, err := inspect.Open(ctx, []string{filepath.Join("../../testdata", scenario)}, inspect.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { rerr = errors.Join(rerr, set.Close()) }()
	var files []File
	for _, m := range report.Members(set.Members).Members {
		for _, f := range m.Files {
			files = append(files, File{m.Label + "/" + f.Name, m.Label, f.Size, strings.Repeat("0123456789abcdef", 4)})
		}
	}
	doc := diff.Investigate(ctx, set.Members, diff.Options{})
	doc.Keys = doc.Keys.Held()
	var logs []story.Log
	for _, m := range set.Members {
		f, err := os.Open(filepath.Join("../../testdata", scenario, "server-"+m.Label+".log.gz"))
		if err != nil {
			continue // there is none
		}
		plain, done, err := evidence.Plain(f)
		if err != nil {
			return nil, err
		}
		l, err := serverlog.Scan(ctx, serverlog.NewReader(plain))
		if done(); err != nil {
			return nil, err
		}
		logs = append(logs, story.Log{Member: m.Label, File: filepath.Base(f.Name()), Log: l})
	}
	return New(set.Members, doc, Options{
		Logs:  logs,
		Tool:  Tool{Name: "etcd-autopsy", Version: "v0", Etcd: "3.7.3", Command: "etcd-autopsy report testdata/" + scenario + " -o out"},
		Files: files,
	}), nil
}

// many is a report on so many keys that differ.
func many(n int) *Report {
	r := &Report{
		SchemaVersion: diff.SchemaVersion, Tool: Tool{Name: "etcd-autopsy"},
		Diff: &diff.Document{
			Verdict: diff.Diverged, Divergences: []diff.Divergence{{Layer: diff.LayerStorage, Revision: 7, Groups: [][]string{{"a", "b"}, {"c"}}, Minority: []string{"c"}}},
			Members: []diff.Member{{Label: "a", Readable: true}, {Label: "b", Readable: true}, {Label: "c", Readable: true}},
		},
	}
	var keys []diff.KeyDiff
	for i := range n {
		in := diff.KeyState{Present: true, ModRevision: int64(n - i), ValueSize: i % 977, ValueSHA256: fmt.Sprintf("%064x", i)}
		keys = append(keys, diff.KeyDiff{
			Key:        diff.Key(fmt.Sprintf("/registry/pods/namespace-%d/deployment-%08d-%05d", i%100, i, i*7919%99991)),
			Difference: "value", ByMember: map[string]diff.KeyState{"a": in, "b": in, "c": {Present: i%3 > 0, ModRevision: int64(i)}},
		})
	}
	r.Diff.Keys = diff.NewKeyDiffs(keys...)
	return r
}

// TestHTMLSameBytes asserts that a report always gives the same page.
func TestHTMLSameBytes(t *testing.T) {
	t.Parallel()
	r := sample(t, "lease-revoke-auth")
	first := render(t, r)
	if again := render(t, r); again != first {
		t.Error("the same report gives different pages")
	}
}

// TestHTMLSelfContained asserts that nothing in a page is loaded from elsewhere, and that nothing it names is markup.
func TestHTMLSelfContained(t *testing.T) {
	t.Parallel()
	r := many(150)
	evil := `</script><script>alert(1)</script><img src="https://example.com/x">'"` + "\u2028"
	n := 0
	r.Diff.Keys = r.Diff.Keys.Map(func(k diff.KeyDiff) diff.KeyDiff {
		if n++; n%120 == 1 {
			k.Key = diff.Key(evil)
		}
		return k
	})
	r.Diff.Members[0].Label = evil
	r.Witness, r.Tool.Command, r.Curves = []string{evil}, evil, []Curve{{evil, []diff.Position{{Index: 1, Revision: 1}, {Index: 9, Revision: 4}}}}
	r.Prefixes = []Group{{Name: diff.Key(evil), Keys: 1, Missing: 1}}
	r.Composition = []Composition{{Member: evil, Live: 10, Total: 10}}
	r.Diff.Divergences[0].Explanations = []diff.Explanation{{ID: evil, Status: diff.Confirmed, Refs: []string{"javascript:alert(1)", evil}}}
	page := render(t, r)
	if n := strings.Count(page, "<script>"); n != 1 {
		t.Errorf("%d scripts, want that of the page alone", n)
	}
	for _, tag := range []string{"<img", "<iframe", "<object", "@import", "url(", `href="javascript`} {
		if strings.Contains(page, tag) {
			t.Errorf("the page has %q", tag)
		}
	}
	loads := regexp.MustCompile(`(?i)\s(src|srcset|data|action|poster|xlink:href)\s*=\s*["'][^"']*`)
	if found := loads.FindAllString(page, -1); found != nil {
		t.Errorf("the page loads %q", found)
	}
	if !strings.Contains(page, `content="default-src 'none';`) {
		t.Error("the page has no policy against loading")
	}
}

// TestHTMLBanners asserts that a page says what it holds.
func TestHTMLBanners(t *testing.T) {
	t.Parallel()
	r := many(1)
	r.Values = []Value{{Key: "k", ByMember: map[string]string{"a": "hunter2"}}}
	for _, test := range []struct {
		redacted, values bool
		has, hasNot      []string
	}{
		{false, false, nil, []string{"PRIVATE", "tokens", "hunter2"}}, // values of a report that says it has none are not shown
		{true, false, []string{"replaced by tokens"}, []string{"PRIVATE", "hunter2"}},
		{false, true, []string{"PRIVATE: holds values", "hunter2"}, []string{"tokens"}},
	} {
		r.Redacted, r.ShowsValues = test.redacted, test.values
		page := render(t, r)
		for _, s := range test.has {
			if !strings.Contains(page, s) {
				t.Errorf("redacted %v, values %v: no %q", test.redacted, test.values, s)
			}
		}
		for _, s := range test.hasNot {
			if strings.Contains(page, s) {
				t.Errorf("redacted %v, values %v: %q", test.redacted, test.values, s)
			}
		}
	}
}

// TestHTMLContent asserts that what the document says is in the page.
func TestHTMLContent(t *testing.T) {
	t.Parallel()
	for scenario, want := range map[string][]string{
		"lease-revoke-auth": {
			"DIVERGED", "etcd-b parts from etcd-a and etcd-c at raft entry 1576", "etcd-11689", "go on with etcd-a, rebuild etcd-b", "etcdctl member remove",
			"What happened to each member along the log", "etcd-b otherwise", "08:23:25", "Revisions around entry 1576", "Revisions behind the highest", "etcd-b is 49 behind at entry", "Keys that differ (87)", "Leases that differ (49)", "its revision 1244 is entry 1616",
			"What the servers&#39; logs tell, by time (2026-11-21, UTC)", "Shaded: members parted in this time", "etcd 3.3.18", "etcd-b started as etcd 3.3.18 at commit index 736",
		},
		"healthy-3.6":  {"CONSISTENT", "nothing has to be done", "What happened to each member along the log"},
		"log-fork":     {"Where the logs part", "The entries read alike, but their bytes differ", "lost-acked-log", "entry 361", "c otherwise"},
		"truncated-db": {"CANNOT TELL", "Because", "db-truncated", "What that means and what to do"},
	} {
		page := render(t, sample(t, scenario))
		if lag := scenario == "healthy-3.6" && strings.Contains(page, "Revisions behind"); lag {
			t.Error("lag is drawn as a difference")
		}
		for _, s := range want {
			if !strings.Contains(page, s) {
				t.Errorf("%s: no %q", scenario, s)
			}
		}
	}
}

// TestHTMLNothingToDo asserts that agreement alone does not make a page say that all is well.
func TestHTMLNothingToDo(t *testing.T) {
	t.Parallel()
	const well = "nothing has to be done"
	r := &Report{Diff: &diff.Document{Verdict: diff.Consistent}, Checkup: &report.Checkup{Verdict: report.NothingFound}}
	if !strings.Contains(render(t, r), well) {
		t.Errorf("not %q", well)
	}
	r.Checkup.Verdict = report.Problems
	if page := render(t, r); strings.Contains(page, well) || !strings.Contains(page, "the checkup found problems") {
		t.Error("problems of the files are not mentioned")
	}
	r.Checkup.Verdict, r.Diff.KnownBugs = report.NothingFound, []diff.KnownBug{{Remedy: "upgrade"}}
	if page := render(t, r); strings.Contains(page, well) || !strings.Contains(page, "known bugs show in the files") {
		t.Error("known bugs are not mentioned")
	}
}

// TestHTMLEmpty asserts that a report of which little is known has a page too.
func TestHTMLEmpty(t *testing.T) {
	t.Parallel()
	if err := HTML(io.Discard, &Report{}); err == nil {
		t.Error("a page without a comparison")
	}
	for _, v := range []diff.Verdict{diff.Consistent, diff.Diverged, diff.Indeterminate, diff.NotComparable} {
		render(t, &Report{Diff: &diff.Document{Verdict: v}})
		render(t, &Report{Diff: &diff.Document{Verdict: v, Plan: &diff.Plan{}, Reexecutions: []diff.Reexecution{{Member: "a"}}, Divergences: []diff.Divergence{{}, {}}, Consequences: []diff.Divergence{{}}}})
	}
}

// TestHTMLRows asserts that rows beyond what a page can hold are counted, not dropped in silence.
func TestHTMLRows(t *testing.T) {
	t.Parallel()
	page := render(t, many(maxRows+1))
	for _, s := range []string{"Keys that differ (100001)", ">1 more, see report.json."} {
		if !strings.Contains(page, s) {
			t.Errorf("no %q", s)
		}
	}
	if n := strings.Count(page, `<tr role="row"><td`); n != firstRows {
		t.Errorf("%d rows without script, want %d", n, firstRows)
	}
	t.Logf("%d keys: %d bytes", maxRows+1, len(page))
}

// TestPictures asserts that pictures can be drawn of whatever a damaged member says.
func TestPictures(t *testing.T) {
	t.Parallel()
	const huge = math.MaxUint64
	at := func(n uint64) *diff.Document {
		return &diff.Document{Divergences: []diff.Divergence{{Entry: &diff.Entry{Index: n}}}}
	}
	for i, r := range []*Report{
		{},
		{Curves: []Curve{{Member: "a"}, {Member: "b"}}},
		{Curves: []Curve{{"a", []diff.Position{{}}}}, Diff: at(0)},
		{Curves: []Curve{{"a", []diff.Position{{Index: 5, Revision: 5}}}}, Diff: at(5)},
		{Curves: []Curve{{"a", []diff.Position{{Index: 1, Revision: 1}, {Index: huge, Revision: math.MaxInt64}}}}, Diff: at(huge)},
		{Curves: []Curve{{"a", []diff.Position{{Index: maxExact - 2, Revision: -4}, {Index: maxExact - 1, Revision: maxExact - 1}}}}, Diff: at(maxExact - 1)},
		{Diff: &diff.Document{Members: []diff.Member{
			{Label: strings.Repeat("<b>", 200), Readable: true, ConsistentIndex: 7, Log: diff.LogSummary{FirstIndex: 3, LastIndex: 9}}, {Label: "b", ConsistentIndex: huge - 1}, {Label: "c", Readable: true, ConsistentIndex: 900},
		}, Timeline: []diff.Event{{Entry: 5, Kind: diff.EventOnset, Members: []string{"c"}}, {Entry: huge, Kind: diff.EventStart, Members: []string{"c"}}}}},
		{Diff: &diff.Document{
			Members: []diff.Member{
				{Label: strings.Repeat("<b>", 200), Readable: true, ConsistentIndex: 7, Log: diff.LogSummary{FirstIndex: 3, LastIndex: 9}}, {Label: "c", Readable: true, ConsistentIndex: 900},
			}, Divergences: []diff.Divergence{{Entry: &diff.Entry{Index: 500}, Faulty: []string{"c"}, Minority: []string{"c"}, Groups: [][]string{{"a"}, {"c"}}, Entries: []uint64{1, huge}, Onset: map[string]diff.Onset{"c": {Entry: 500}}}},
			Timeline: []diff.Event{{Entry: 5, Kind: diff.EventOnset, Members: []string{"c"}}, {Entry: huge, Kind: diff.EventStart, Members: []string{"c"}}},
		}},
		{Composition: []Composition{{Member: strings.Repeat("x", 500), Live: -1, Total: math.MaxInt64}, {Live: math.MaxInt64}}},
		{Prefixes: []Group{{}, {Keys: 5, Missing: 5}}},
	} {
		ps, err := pictures(r)
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
		p, err := lanesPicture(r)
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if p != nil {
			ps = append(ps, *p)
		}
		for _, p := range ps {
			for _, d := range p.SVG {
				if s := string(d.SVG); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || !strings.HasPrefix(s, "<svg viewBox=") || strings.Contains(s, "#01") {
					t.Errorf("%d: %s: %.300s", i, p.Title, s)
				}
			}
		}
	}
}

// TestTicks asserts that marks are round, within the axis, and not too many.
func TestTicks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lo, hi float64
		n      ticks
		want   string
	}{
		{0, 100, 5, "0 20 40 60 80 100"},
		{402, 1874, 5, "500 1000 1500"},
		{1536, 1616, 6, "1540 1560 1580 1600"},
		{0, 1, 5, "0 1"},
		{3, 3, 5, ""},
		{0, math.Inf(1), 5, ""},
	} {
		var got []string
		for _, x := range test.n.Ticks(test.lo, test.hi) {
			got = append(got, x.Label)
		}
		if s := strings.Join(got, " "); s != test.want {
			t.Errorf("%v to %v: %s, want %s", test.lo, test.hi, s, test.want)
		}
	}
}

// BenchmarkHTML renders the page of 100,000 keys that differ.
func BenchmarkHTML(b *testing.B) {
	r := many(maxRows)
	for b.Loop() {
		if err := HTML(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}
