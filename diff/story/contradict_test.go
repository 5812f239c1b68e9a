package story

import (
	"strings"
	"testing"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/serverlog"
)

// TestContradictions asserts that a log which the files of its member rule out is told of, with both sources, and one that fits them is not.
func TestContradictions(t *testing.T) {
	t.Parallel()
	start := serverlog.Event{Kind: serverlog.Start, Time: at(20), What: "started as etcd 3.5.2"}
	for _, test := range []struct {
		name   string
		change func(m *diff.Member, l *serverlog.Log)
		want   string
	}{
		{"fits", func(m *diff.Member, l *serverlog.Log) { m.StorageVersion = "3.5.0" }, ""},
		{"cluster", func(m *diff.Member, l *serverlog.Log) { l.Cluster = 9 }, "b.log is the log of a server of cluster 0000000000000009, and the files of b are of cluster 0000000000000007"},
		{"older copy", func(m *diff.Member, l *serverlog.Log) { l.Processes[0].Commit = 61 }, "with commit index 61, and its raft log ends at entry 60"},
		{"no start", func(m *diff.Member, l *serverlog.Log) {
			l.Events, l.Processes = nil, nil
			l.First, l.Last = at(-100), at(100)
		}, "from entry 30 on, a process of b started at 2026-11-21 12:00:20, and b.log, which tells of that time, has no start then"},
		{"before the log", func(m *diff.Member, l *serverlog.Log) {
			l.Events, l.Processes = nil, nil
			l.First, l.Last = at(19), at(100)
		}, ""},
		{"storage version", func(m *diff.Member, l *serverlog.Log) { m.StorageVersion = "3.6.0" }, "the db of b has storage version 3.6.0, which releases before it do not write, and by b.log none later than 3.5.2 ran"},
	} {
		d := cluster()
		id := diff.ID(7)
		m := &d.Members[1]
		m.ClusterID, m.Log.LastIndex = &id, 60
		l := serverLog("b", false, 0, start)
		l.Cluster, l.First, l.Last = 7, at(19), at(19).Add(time.Hour)
		test.change(m, l.Log)
		got := strings.Join(Tell(d, []Log{l}).Notes, "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) || test.want != "" && strings.Count(got, "\n") > 0 {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
