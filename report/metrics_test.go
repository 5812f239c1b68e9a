package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"etcd-autopsy/report/escape"
)

// TestMetrics writes metrics of paths that try to leave their label, and reads them with the parser of the library that collectors use.
func TestMetrics(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 8, 0, 0, 500e6, time.UTC)
	paths := []string{"a.db", `back\slash"quote`, "line\n# EOF\nforged 1", "\x1b[1m", `\x1b[1m`, "\u202e", "\xff", "ü", "{x=\"y\"} 1", "a.db"}
	var all []Measured
	for i, p := range paths {
		all = append(all, Measured{Path: p, Status: i % 4, Members: []Figures{
			{Member: "m" + p, DB: &FiguresDB{Revision: int64(i) + 1, ConsistentIndex: 1 << 40, Size: 1 << 20, InUse: 4096}, NewestTime: &at, Errors: i},
			{Member: "none"},
		}})
	}
	var b bytes.Buffer
	if err := Metrics(&b, "check", 1, all); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	const distinct = 9 // a.db is there twice
	want := map[string]int{
		"etcd_autopsy_exit_status": 1, "etcd_autopsy_backup_exit_status": distinct, "etcd_autopsy_revision": distinct, "etcd_autopsy_consistent_index": distinct,
		"etcd_autopsy_db_size_bytes": distinct, "etcd_autopsy_db_in_use_bytes": distinct, "etcd_autopsy_newest_time_seconds": distinct, "etcd_autopsy_findings": 2 * 3 * distinct,
	}
	for name, n := range want {
		f := families[name]
		if f == nil || len(f.Metric) != n || f.GetType().String() != "GAUGE" || f.GetHelp() == "" {
			t.Errorf("%s: %d samples, want %d", name, len(f.GetMetric()), n)
			continue
		}
		seen := map[string]bool{}
		for _, m := range f.Metric {
			id := ""
			for _, l := range m.Label {
				id += l.GetName() + "=" + l.GetValue() + "\n"
				if !escape.Safe(l.GetValue()) {
					t.Errorf("%s: %q", name, l.GetValue())
				}
			}
			if seen[id] {
				t.Errorf("%s is there twice: %s", name, id)
			}
			seen[id] = true
		}
	}
	if len(families) != len(want) {
		t.Errorf("%d families", len(families))
	}
	if got := families["etcd_autopsy_newest_time_seconds"].Metric[0].Gauge.GetValue(); got != float64(at.UnixMilli())/1000 {
		t.Errorf("%v", got)
	}
	wellFormed(t, text)
}

// wellFormed asserts what the text format of OpenMetrics asks for beyond that of Prometheus: one end, families in one piece, units as
// suffixes, nothing but these lines.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n# EOF\n") || strings.Count("\n"+text, "\n# EOF\n") != 1 {
		t.Error("it does not end once")
	}
	line := regexp.MustCompile(`^(?:# (HELP|TYPE|UNIT) ([a-z_]+) (.*)|([a-z_]+)\{(?:[a-z]+="(?:[^"\\\n]|\\[n"\\])*",?)*\} [-+0-9.e]+)$`)
	family, units, begun := "", 0, map[string]bool{}
	for l := range strings.Lines(strings.TrimSuffix(text, "# EOF\n")) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			t.Errorf("no line of the format: %q", l)
			continue
		}
		name := m[2] + m[4]
		if name != family {
			if begun[name] {
				t.Errorf("%s is in two pieces", name)
			}
			family, begun[name] = name, true
		}
		if m[1] == "UNIT" {
			if units++; !strings.HasSuffix(name, "_"+m[3]) {
				t.Errorf("%s has the unit %s", name, m[3])
			}
		}
	}
	if units != 3 {
		t.Errorf("%d units", units)
	}
}
