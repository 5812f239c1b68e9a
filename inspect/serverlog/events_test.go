package serverlog

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func scanText(t testing.TB, text string) *Log {
	t.Helper()
	l, err := Scan(context.Background(), NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func kinds(l *Log) (out []string) {
	for _, e := range l.Events {
		out = append(out, fmt.Sprintf("%s %d %d %s %s", e.Time.Format("05.0"), e.Count, e.Entry, e.Kind, e.What))
	}
	return out
}

// TestTruth asserts that the logs of real servers tell which versions ran, in their order.
func TestTruth(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/*/server-*.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	restarts := 0
	for _, file := range files {
		var truth struct {
			Versions map[string]struct{ History []string }
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "truth.json"))
		if err := errors.Join(err, json.Unmarshal(text, &truth)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Scan(t.Context(), NewReader(z))
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		label := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "server-"), ".log.gz")
		var got []string
		for _, p := range l.Processes {
			got = append(got, p.Version)
			if p.Start.IsZero() || p.How == Killed && p.End.IsZero() {
				t.Errorf("%s: no time of %s", file, p.Version)
			}
		}
		if restarts += len(got) - 1; !slices.Equal(got, truth.Versions[label].History) {
			t.Errorf("%s: versions %v, and in truth %v", file, got, truth.Versions[label].History)
		}
		if l.Member == 0 || l.Name == "" || l.First.IsZero() || l.Last.Before(l.First) {
			t.Errorf("%s: member %x %q from %v to %v", file, l.Member, l.Name, l.First, l.Last)
		}
	}
	if len(files) < 30 || restarts < 5 {
		t.Errorf("%d logs with %d restarts", len(files), restarts)
	}
}

// TestEvents asserts what is told of both kinds of logs.
func TestEvents(t *testing.T) {
	t.Parallel()
	line := func(s, level, msg, fields string) string {
		return fmt.Sprintf(`{"level":%q,"ts":"2026-11-21T08:45:%sZ","msg":%q%s}`, level, s, msg, fields) + "\n"
	}
	l := scanText(t, line("01.0", "info", "configuring peer listeners", "")+
		line("01.1", "info", "starting an etcd server", `,"etcd-version":"3.5.2","name":"a"`)+
		line("01.2", "info", "restarting local member", `,"local-member-id":"8e9e05c52164694d","commit-index":77`)+
		line("01.3", "info", "raft.node: 8e9e05c52164694d elected leader 8e9e05c52164694d at term 5", "")+
		line("01.5", "info", "compact tree index", `,"revision":402`)+
		line("01.6", "info", "finished scheduled compaction", `,"compact-revision":402`)+
		line("01.7", "info", "compact tree index", `,"revision":403`)+
		line("01.8", "info", "invalid password", `,"user-name":"bob"`)+
		line("01.9", "warn", "prober found high clock drift", `,"remote-peer-id":"2","clock-drift":1.5`)+
		line("02.0", "warn", "failed to apply request", `,"request":"hidden","error":"lease not found"`)+
		line("03.0", "warn", "failed to apply request", `,"request":"hidden","error":"lease not found"`)+
		line("04.0", "warn", "slow fdatasync", "")+
		line("05.0", "info", "received and saved database snapshot", `,"incoming-snapshot-index":1000,"remote-snapshot-sender-id":"1"`)+
		line("06.0", "warn", "alarm raised", `,"alarm":"NOSPACE","from":"2"`)+
		line("09.0", "info", "configuring peer listeners", "")+
		line("09.1", "info", "starting an etcd server", `,"etcd-version":"3.5.6","name":"a"`)+
		line("10.0", "panic", "failed to recover v3 backend from snapshot", `,"error":"failed to find database snapshot file (x)"`)+
		"panic: failed to recover v3 backend from snapshot\n\ngoroutine 1 [running]:\n"+
		line("11.0", "info", "starting an etcd server", `,"etcd-version":"3.5.6","name":"a"`)+
		line("12.0", "info", "received signal; shutting down", `,"signal":"terminated"`)+
		line("12.1", "warn", "peer became inactive (message send to peer failed)", `,"peer-id":"3"`)+
		line("13.0", "info", "closed etcd server", ""))
	want := []string{
		"01.1 1 0 start started as etcd 3.5.2 at commit index 77",
		"01.3 1 0 leader 8e9e05c52164694d is the leader of term 5",
		"01.6 1 0 compaction compaction at revision 402 is finished",
		"01.7 1 0 compaction compaction at revision 403 begins",
		"01.8 1 0 auth a wrong password is given for user bob",
		"01.9 1 0 clock the clocks of this server and of 2 are more than a second apart",
		"02.0 2 0 refused entries are refused: lease not found",
		"04.0 1 0 disk the disk is slow: syncing the log takes long",
		"05.0 1 1000 snapshot received a snapshot of entry 1000 from 1",
		"06.0 1 0 alarm alarm NOSPACE of 2 goes on",
		"06.0 1 0 kill its process ended without a word, as one that is killed",
		"09.1 1 0 start started as etcd 3.5.6",
		"10.0 1 0 died the process dies: failed to recover v3 backend from snapshot: failed to find database snapshot file (x)",
		"11.0 1 0 start started as etcd 3.5.6",
		"12.0 1 0 stop the process is asked to stop (terminated)",
		"12.1 1 0 peer 3 cannot be reached",
	}
	if d := gocmp.Diff(want, kinds(l)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(l.Processes) != 3 || l.Processes[0].How != Killed || l.Processes[1].How != Died || l.Processes[2].How != Stop || l.Processes[0].Commit != 77 {
		t.Errorf("%+v", l.Processes)
	}
	old := scanText(t, `2026-11-21 08:45:00.900000 I | pkg/flags: recognized and used environment variable ETCD_NAME=a
2026-11-21 08:45:01.000000 I | etcdmain: etcd Version: 3.2.30
2026-11-21 08:45:01.100000 I | etcdserver: name = a
2026-11-21 08:45:01.200000 I | etcdserver: restarting member 8e9e05c52164694d in cluster 1 at commit index 77
2026-11-21 08:45:02.000000 N | etcdserver/membership: updated the cluster version from 3.2 to 3.3
2026-11-21 08:45:03.000000 I | rafthttp: successfully received and saved database snapshot [index: 1000, from: 2f, raft message size: 1 kB, db size: 1 kB, took: 1s]
2026-11-21 08:45:04.000000 W | etcdserver: read-only range request "key:\"secret\" " with result "range_response_count:0 size:5" took too long (200ms) to execute
2026-11-21 08:45:05.000000 W | wal: sync duration of 1.5s, expected less than 1s
2026-11-21 08:45:06.000000 I | mvcc: finished scheduled compaction at 402 (took 1ms)
2026-11-21 08:45:07.000000 W | rafthttp: database snapshot [index: 1000, to: 2f] failed to be sent out (unexpected EOF)
raft2026/11/21 08:45:07 INFO: raft.node: 8e9e05c52164694d elected leader 8e9e05c52164694d at term 2
2026-11-21 08:45:07.500000 W | etcdserver: alarm raised alarm:NOSPACE 
2026-11-21 08:45:07.600000 N | auth: authentication failed, invalid password for user bob
2026-11-21 08:45:07.700000 W | rafthttp: the clock difference against peer 2f is too high [2.5s > 1s] (prober "ROUND_TRIPPER_SNAPSHOT")
2026-11-21 08:45:07.800000 E | rafthttp: request cluster ID mismatch (got 1 want 2)
2026-11-21 08:45:08.000000 N | pkg/osutil: received interrupt signal, shutting down...
`)
	want = []string{
		"01.0 1 0 start started as etcd 3.2.30 at commit index 77",
		"02.0 1 0 version the cluster version becomes 3.3",
		"03.0 1 1000 snapshot received a snapshot of entry 1000 from 2f",
		"04.0 1 0 slow requests take too long",
		"05.0 1 0 disk the disk is slow: syncing the log takes long",
		"06.0 1 0 compaction compaction at revision 402 is finished",
		"07.0 1 0 snapshot a snapshot of entry 1000 could not be sent to 2f",
		"07.0 1 0 leader 8e9e05c52164694d is the leader of term 2",
		"07.5 1 0 alarm an alarm goes on",
		"07.6 1 0 auth a wrong password is given for user bob",
		"07.7 1 0 clock the clocks of this server and of 2f are more than a second apart",
		"07.8 1 0 peer a server of cluster 1 calls, and this one is of 2",
		"08.0 1 0 stop the process is asked to stop (interrupt)",
	}
	if d := gocmp.Diff(want, kinds(old)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !old.Local || old.Member != 0x8e9e05c52164694d || old.Name != "a" {
		t.Errorf("%+v", old)
	}
}

// TestBounded asserts that a log with many events, and long ones, is kept within bounds.
func TestBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 2 * maxEvents {
		fmt.Fprintf(&b, `{"level":"warn","ts":"2026-11-21T08:45:22Z","msg":"failed to apply request","error":"%d %s"}`+"\n", i, strings.Repeat("x", 1000))
	}
	b.WriteString(`{"level":"warn","ts":"2026-11-21T08:45:23Z","msg":"alarm raised","alarm":"CORRUPT","from":"1"}` + "\n")
	l := scanText(t, b.String())
	if len(l.Events) != fewest+1 || l.LeftOut != 2*maxEvents-fewest || len(l.Events[0].What) > maxWhat+3 {
		t.Errorf("%d events, %d left out, of %d bytes", len(l.Events), l.LeftOut, len(l.Events[0].What))
	}
	if last := l.Events[len(l.Events)-1]; last.Kind != Alarm {
		t.Errorf("refused requests crowd out an alarm: %+v", last)
	}
	l = scanText(t, strings.ReplaceAll(b.String(), "failed to apply request", "alarm raised"))
	if len(l.Events) > maxEvents {
		t.Errorf("%d events", len(l.Events))
	}
}

// TestManyProcesses asserts that of a server which was started over and over the first and the last processes are kept.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 3 * maxProcesses {
		fmt.Fprintf(&b, `{"level":"info","ts":"2026-11-21T08:45:22Z","msg":"starting an etcd server","etcd-version":"3.5.%d"}`+"\n", i)
	}
	l := scanText(t, b.String())
	if n := len(l.Processes); n != maxProcesses || l.ProcessesLeftOut != 2*maxProcesses || l.Processes[0].Version != "3.5.0" || l.Processes[n-1].Version != fmt.Sprintf("3.5.%d", 3*maxProcesses-1) {
		t.Errorf("%d processes, %d left out", n, l.ProcessesLeftOut)
	}
}

// FuzzEvents asserts that any log is told within bounds, in the order of its lines.
func FuzzEvents(f *testing.F) {
	f.Add(`{"level":"info","ts":"2026-11-21T08:45:22Z","msg":"starting an etcd server","etcd-version":"3.5.2"}` + "\n" + `{"level":"panic","msg":"x"}`)
	f.Add("2026-11-21 08:45:01.000000 I | etcdmain: etcd Version: 3.2.30\n2026-11-21 08:45:01.000000 I | raft: raft.node: 1 elected leader 2 at term 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := scanText(t, text)
		last := int64(0)
		for _, e := range l.Events {
			if e.Line < last || e.Count < 1 || e.What == "" || e.Kind == "" {
				t.Errorf("%+v", e)
			}
			last = e.Line
		}
	})
}
