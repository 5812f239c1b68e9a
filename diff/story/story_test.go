package story

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/serverlog"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(second float64) time.Time { return noon.Add(time.Duration(second * float64(time.Second))) }

func ptr(t time.Time) *time.Time { return &t }

// cluster is a document of three members: b restarted at 20 s, and parts at entry 50.
func cluster() *diff.Document {
	a, b, c := diff.ID(0xa1), diff.ID(0xb2), diff.ID(0xc3c3c3c3c3c3c3)
	return &diff.Document{
		Members: []diff.Member{{Label: "a", MemberID: &a}, {Label: "b", MemberID: &b}, {Label: "c", MemberID: &c}},
		Timeline: []diff.Event{
			{Entry: 4, Kind: diff.EventLeader, What: "term 2 begins"},
			{Entry: 8, Kind: diff.EventVersion, What: "the cluster version becomes 3.5.0"},
			{Entry: 30, Kind: diff.EventStart, Time: ptr(at(20)), Members: []string{"b"}, What: "b restarted"},
			{Entry: 50, Kind: diff.EventOnset, Members: []string{"b"}, What: "no effect on b"},
			{Entry: 60, Kind: diff.EventEnd, Members: []string{"a", "b"}, What: "the copy of a and b ends"},
		},
	}
}

func serverLog(member string, local bool, off time.Duration, events ...serverlog.Event) Log {
	l := &serverlog.Log{Local: local}
	for i, e := range events {
		e.Time, e.Line, e.Count = e.Time.Add(off), int64(i+1), 1
		e.Until = e.Time
		l.Events = append(l.Events, e)
		if e.Kind == serverlog.Start {
			l.Processes = append(l.Processes, serverlog.Process{Version: "3.5.2", Start: e.Time})
		}
	}
	return Log{Member: member, File: member + ".log", Log: l}
}

func lines(d *Document) (out []string) {
	for _, e := range d.Events {
		t := "-"
		if e.Time != nil {
			t = fmt.Sprint(e.Time.Sub(noon))
		}
		out = append(out, fmt.Sprintf("%s %d %s [%s] %s", t, e.Entry, e.Source, strings.Join(e.Members, ","), e.What))
	}
	return out
}

func leader(second float64, term uint64) serverlog.Event {
	return serverlog.Event{Kind: serverlog.Leader, Time: at(second), Term: term, Leader: 0xc3c3c3c3c3c3c3, What: fmt.Sprintf("c3c3c3c3c3c3c3 is the leader of term %d", term)}
}

// TestTell asserts that events which both kinds of logs tell are one, with the time and the entry, and that the rest is in order.
func TestTell(t *testing.T) {
	t.Parallel()
	d := Tell(cluster(), []Log{
		serverLog("a", false, 0, leader(1, 2), serverlog.Event{Kind: serverlog.ClusterVersion, Time: at(2), What: "the cluster version becomes 3.5"}),
		serverLog("b", false, 0, leader(1.1, 2), serverlog.Event{Kind: serverlog.Killed, Time: at(18), What: "its process ended"},
			serverlog.Event{Kind: serverlog.Start, Time: at(20.1), What: "started as etcd 3.5.2"}, serverlog.Event{Kind: serverlog.Stop, Time: at(40), What: "stops"}),
		serverLog("c", false, 0, leader(0.9, 2)),
	})
	want := []string{
		"900ms 4 both [a,b,c] c is the leader of term 2",
		"2s 8 both [a] the cluster version becomes 3.5.0",
		"18s 0 server log [b] its process ended",
		"20.1s 30 both [b] b started as etcd 3.5.2",
		"- 50 raft log [b] no effect on b",
		"40s 0 server log [b] stops",
		"- 60 raft log [a,b] the copy of a and b ends",
	}
	if x := gocmp.Diff(want, lines(d)); x != "" {
		t.Errorf("(-want +got):\n%s", x)
	}
	if len(d.Notes) > 0 {
		t.Error(d.Notes)
	}
	for around, events := range map[string]int{"50": 7, "2026-11-21T12:00:18Z": 7, "12:00:18": 7, "2026-11-21 12:01": 7} {
		e := *d
		if err := e.Around(around); err != nil || len(e.Events) != events {
			t.Errorf("around %s are %d events: %v", around, len(e.Events), err)
		}
	}
	if err := d.Around("yesterday"); err == nil {
		t.Error("yesterday is a time")
	}
}

// TestPairs asserts that the ids of a process, which it makes when it has read its files, belong to the start before them and not to the next one,
// though that may be nearer.
func TestPairs(t *testing.T) {
	t.Parallel()
	start := func(second float64, version string) serverlog.Event {
		return serverlog.Event{Kind: serverlog.Start, Time: at(second), What: "started as etcd " + version}
	}
	c := cluster()
	c.Timeline = append(c.Timeline[:2:2], diff.Event{Entry: 9, Kind: diff.EventStart, Time: ptr(at(3)), Members: []string{"b"}, What: "b started"}, c.Timeline[2])
	got := strings.Join(lines(Tell(c, []Log{serverLog("b", false, 0, start(1, "3.2.30"), start(4, "3.2.31"), start(19.9, "3.3.18"))})), "\n")
	for _, want := range []string{"1s 9 both [b] b started as etcd 3.2.30", "4s 0 server log [b] started as etcd 3.2.31", "19.9s 30 both [b] b started as etcd 3.3.18"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestEarlier asserts that what a server's log tells of the time before a process started is not what an entry behind its first one says.
func TestEarlier(t *testing.T) {
	t.Parallel()
	version := func(second float64) serverlog.Event {
		return serverlog.Event{Kind: serverlog.ClusterVersion, Time: at(second), What: "the cluster version becomes 3.5"}
	}
	for _, test := range []struct {
		name   string
		events []serverlog.Event
		want   string
	}{
		{"only before", []serverlog.Event{version(-90)}, "- 70 raft log [] the cluster version becomes 3.5.0"},
		{"before and after", []serverlog.Event{version(-90), version(25)}, "25s 70 both [a] the cluster version becomes 3.5.0"},
	} {
		c := cluster()
		c.Timeline = append(c.Timeline[2:4:4], diff.Event{Entry: 70, Kind: diff.EventVersion, What: "the cluster version becomes 3.5.0"})
		d := Tell(c, []Log{serverLog("a", false, 0, test.events...)})
		if l := strings.Join(lines(d), "\n"); !strings.Contains(l, test.want) {
			t.Errorf("%s:\n%s", test.name, l)
		}
	}
}

// TestAround asserts that what is far away is left out, and counted.
func TestAround(t *testing.T) {
	t.Parallel()
	d := &Document{}
	for i := range 100 {
		d.Events = append(d.Events, Event{Entry: uint64(10 * (i + 1)), Time: ptr(at(float64(i)))})
	}
	for around, first := range map[string]uint64{"500": 500 - 10*Near, "495": 500 - 10*Near, "12:00:49": 500 - 10*Near, "1": 10, "100000": 1010 - 10*Near} {
		e := *d
		if err := e.Around(around); err != nil || e.Events[0].Entry != first || len(e.Events)+e.LeftOut != 100 {
			t.Errorf("around %s it begins at %d and leaves out %d: %v", around, e.Events[0].Entry, e.LeftOut, err)
		}
	}
}

// TestZone asserts that local times are brought to UTC by the starts of processes, and that it is said if nothing tells.
func TestZone(t *testing.T) {
	t.Parallel()
	start := serverlog.Event{Kind: serverlog.Start, Time: at(20.1), What: "started as etcd 3.3.10"}
	d := Tell(cluster(), []Log{serverLog("b", true, 5*time.Hour+30*time.Minute, start), serverLog("a", true, time.Hour, leader(1, 3))})
	if l := lines(d); !strings.Contains(strings.Join(l, "\n"), "20.1s 30 both [b] b started as etcd 3.3.10") {
		t.Error(l)
	}
	want := []string{
		"a.log: the times of the log have no zone, and are taken for UTC",
		"b.log: the log of b has local times; by the starts of its processes they are 5h30m0s ahead of UTC, which is taken off",
	}
	if x := gocmp.Diff(want, d.Notes); x != "" {
		t.Error(x)
	}
}

// TestVersions asserts that the version which a log tells is held against the rules that a member showed, where they were seen at work.
func TestVersions(t *testing.T) {
	t.Parallel()
	run := func(version string) []string {
		d := cluster()
		d.Members[0].Behaviour = []diff.Behaviour{{Rules: apply.Rules32}}
		d.Members[1].Behaviour = []diff.Behaviour{{Rules: apply.Rules32}, {From: 50, Rules: apply.Rules33}}
		l := serverLog("b", false, 0, serverlog.Event{Kind: serverlog.Start, Time: at(1)}, serverlog.Event{Kind: serverlog.Start, Time: at(20)})
		l.Processes[0].Version, l.Processes[1].Version, l.Processes[1].Commit = "3.2.30", version, 29
		return Tell(d, []Log{l}).Notes
	}
	if d := gocmp.Diff([]string{"at entry 50 the logs of the servers agree with the rules that were found: b ran 3.3.18"}, run("3.3.18")); d != "" {
		t.Error(d)
	}
	// A server that was killed had not saved all that it applied: the next one does it again, by its own rules.
	killed := func(how serverlog.Kind) string {
		d := cluster()
		d.Members[1].Behaviour = []diff.Behaviour{{Rules: apply.Rules32}, {From: 50, Rules: apply.Rules33}}
		l := serverLog("b", false, 0, serverlog.Event{Kind: serverlog.Start, Time: at(1)}, serverlog.Event{Kind: serverlog.Start, Time: at(20)})
		l.Processes[0].Version, l.Processes[0].How, l.Processes[1].Version, l.Processes[1].Commit = "3.2.30", how, "3.3.18", 56
		return strings.Join(Tell(d, []Log{l}).Notes, "\n")
	}
	if n := killed(serverlog.Killed); !strings.HasSuffix(n, "b ran 3.3.18, which applied it again after 3.2.30 was killed or died") {
		t.Error(n)
	}
	if n := killed(serverlog.Stop); !strings.HasPrefix(n, "contradiction: at entry 50 b behaves by the rules of etcd 3.3 to 3.5.9, and by its server's log it ran 3.2.30") {
		t.Error(n)
	}
	for _, wrong := range []string{"3.2.30", "3.5.10", "3.6.1"} {
		if n := run(wrong); len(n) != 1 || !strings.HasPrefix(n[0], "contradiction: at entry 50 b behaves by the rules of etcd 3.3 to 3.5.9, and by its server's log it ran "+wrong) {
			t.Error(n)
		}
	}
}

// TestClocks asserts that a clock that is off is told of, and that slow news of one election are not.
func TestClocks(t *testing.T) {
	t.Parallel()
	d := Tell(cluster(), []Log{
		serverLog("a", false, 0, leader(1, 2), leader(10, 3), leader(20, 4), leader(30, 5)),
		serverLog("b", false, 0, leader(1.2, 2), leader(10, 3), leader(23, 4), leader(30, 5)),
		serverLog("c", false, 3*time.Second, leader(1, 2), leader(9.8, 3), leader(20, 4), leader(30, 5)),
	})
	if len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], "the clock of c seems to be 2.8s off") {
		t.Error(d.Notes)
	}
	// Of two it is not known which is right, and late news of some elections are no difference of clocks.
	two := []Log{serverLog("a", false, 0, leader(1, 2), leader(10, 3), leader(20, 4)), serverLog("b", false, 5*time.Second, leader(1.2, 2), leader(10, 3), leader(20, 4))}
	if d := Tell(cluster(), two); len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], "the clocks of a and b seem to be 5s apart") {
		t.Error(d.Notes)
	}
	two[1] = serverLog("b", false, 0, leader(3, 2), leader(15, 3), leader(20, 4))
	if d := Tell(cluster(), two); len(d.Notes) > 0 {
		t.Error(d.Notes)
	}
}

// TestClocksApart asserts what is certain of clocks: a follower hears of an election when it was, and a process that proposed an entry had started when
// the leader of a later term was elected.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	elected := func(second float64, term, who uint64) serverlog.Event {
		e := leader(second, term)
		e.Leader = who
		return e
	}
	const a, b = 0xa1, 0xb2
	logs := func(off time.Duration) []Log {
		return []Log{
			serverLog("a", false, 0, elected(1, 2, a), elected(10.3, 3, b)),
			serverLog("b", false, off, elected(1.2, 2, a), elected(10, 3, b)),
		}
	}
	for _, test := range []struct {
		off  time.Duration
		want string
	}{
		{500 * time.Millisecond, ""},
		{-900 * time.Millisecond, ""},
		{5 * time.Second, "the clock of b is ahead of that of a, by 4.7s at least, and 5.2s at most: "},
		{-5 * time.Second, "the clock of a is ahead of that of b, by 4.8s at least, and 5.3s at most: "},
	} {
		if d := Tell(cluster(), logs(test.off)); test.want == "" && len(d.Notes) > 0 || test.want != "" && (len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], test.want)) {
			t.Errorf("%v: %q", test.off, d.Notes)
		}
	}
	// b started at 20 s by the ids of what it proposed before term 4, of which the log of a alone tells.
	doc := cluster()
	doc.Timeline = append(doc.Timeline, diff.Event{Entry: 55, Kind: diff.EventLeader, Members: []string{}, What: "term 4 begins"})
	for second, want := range map[float64]string{25: "", 12: "the clock of b is ahead of that of a, by 8s at least: "} {
		d := Tell(doc, []Log{serverLog("a", false, 0, elected(second, 4, a))})
		if want == "" && len(d.Notes) > 0 || want != "" && (len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], want)) {
			t.Errorf("%v: %q", second, d.Notes)
		}
	}
	// A clock that was set between two elections.
	two := []Log{serverLog("a", false, 0, elected(1, 2, a), elected(10, 3, b)), serverLog("b", false, 0, elected(1.1, 2, a), elected(19, 3, b))}
	if d := Tell(cluster(), two); len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], "a clock of a or b was set meanwhile") {
		t.Error(d.Notes)
	}
}
