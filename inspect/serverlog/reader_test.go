package serverlog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// said is a record as a line of text.
func said(r *Record) string {
	at := "-"
	if !r.Time.IsZero() {
		at = r.Time.Format(time.RFC3339Nano)
	}
	s := fmt.Sprintf("%d %s %s %s [%s] %s", r.Line, at, r.Format, r.Level, r.Caller(), r.Message())
	for _, f := range r.Fields() {
		s += fmt.Sprintf(" | %s=%s", f.Name(), f.Text())
	}
	return s
}

func all(t testing.TB, text string) (got []string) {
	t.Helper()
	r := NewReader(strings.NewReader(text))
	for r.Next() {
		got = append(got, said(r.Record()))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestFormats reads a line of each format, with each prefix.
func TestFormats(t *testing.T) {
	t.Parallel()
	const text = `{"level":"info","ts":"2026-11-21T09:45:22.731+0100","logger":"raft","caller":"etcdserver/zap_raft.go:77","msg":"a \"b\"","n":5,"l":["x","}"],"error":"e\nf"}
{"level":"warn","ts":1784108722.5,"msg":"by seconds"}

2026-11-21 08:23:09.850254 W | etcdserver/api: name = value: c
2026-11-21 08:23:09.850254 N | no package here
2026-11-30T02:23:47.492139Z	info	bbolt	backend/backend.go:203	Opening db	{"path": "d"}
2026-11-30T02:23:47.492139Z	error	embed/etcd.go:1	no fields
Nov 21 08:23:09 host-1 etcd[123]: serving insecure client requests: x
Nov 21 08:23:09 host-1 etcd[123]: {"level":"info","ts":"2026-11-21T08:45:22Z","msg":"below journald"}
2026-11-21T08:23:09+0000 host-1 etcd[123]: no time of its own
2026-11-21T08:23:10.5Z stderr F 2026-11-21 10:23:09.850254 I | raft: its clock has no zone
2026-11-21T08:23:11.5Z stderr P {"level":"info","ts":"2026-11-21T08:23:11.4Z","msg":"bro
2026-11-21T08:23:11.5Z stderr P ken ","x":"in
2026-11-21T08:23:11.5Z stderr F  three"}
[pod/etcd-0/etcd] 2026-11-21T08:23:12.5Z panic: p
{"log":"2026-11-21 08:23:09.850254 E | wal: of Docker\n","stream":"stderr","time":"2026-11-21T08:23:09.9Z"}
{"MESSAGE":"of journald's JSON","__REALTIME_TIMESTAMP":"1763713389000000"}
{"not":"of a server"}
raft2026/11/30 04:41:08 WARN: of raft: itself
goroutine 1 [running]:
{"level":"info","ts":"2026-11-21T08:45:22Z","msg":"cut off","x":"y","z":"w
`
	want := []string{
		`1 2026-11-21T08:45:22.731Z json info [etcdserver/zap_raft.go:77] a "b" | logger=raft | n=5 | l=["x","}"] | error=e` + "\nf",
		"2 2026-07-15T09:45:22.5Z json warn [] by seconds",
		"4 2026-11-21T08:23:09.850254Z capnslog warn [etcdserver/api] name = value: c",
		"5 2026-11-21T08:23:09.850254Z capnslog info [] no package here",
		"6 2026-11-30T02:23:47.492139Z console info [backend/backend.go:203] Opening db | path=d",
		"7 2026-11-30T02:23:47.492139Z console error [embed/etcd.go:1] no fields",
		"8 - capnslog  [] serving insecure client requests: x",
		"9 2026-11-21T08:45:22Z json info [] below journald",
		"10 2026-11-21T08:23:09Z capnslog  [] no time of its own",
		"11 2026-11-21T08:23:10.5Z capnslog info [raft] its clock has no zone",
		"12 2026-11-21T08:23:11.4Z json info [] broken  | x=in three",
		"15 2026-11-21T08:23:12.5Z text  [] panic: p",
		"16 2026-11-21T08:23:09.9Z capnslog error [wal] of Docker",
		"17 2025-11-21T08:23:09Z text  [] of journald's JSON",
		`18 - text  [] {"not":"of a server"}`,
		"19 2026-11-30T04:41:08Z capnslog warn [raft] of raft: itself",
		"20 - text  [] goroutine 1 [running]:",
		"21 2026-11-21T08:45:22Z json info [] cut off | x=y",
	}
	if d := gocmp.Diff(want, all(t, text)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := gocmp.Diff(want, all(t, strings.ReplaceAll(text, "\n", "\r\n"))); d != "" {
		t.Errorf("with the ends of lines of Windows (-want +got):\n%s", d)
	}
}

// TestLong asserts that of a line that is too long the beginning is read, and that the next line is found.
func TestLong(t *testing.T) {
	t.Parallel()
	long := `{"level":"info","ts":"2026-11-21T08:45:22Z","msg":"long","a":"b","x":"` + strings.Repeat("y", 3*MaxLine) + "\"}\n"
	piece := strings.Repeat("2026-11-21T08:23:11.5Z stderr P "+strings.Repeat("z", 16<<10)+"\n", 20) + "2026-11-21T08:23:11.5Z stderr F end\n"
	r := NewReader(strings.NewReader(long + piece + "after\n"))
	var got []string
	for r.Next() {
		m := r.Record().Message()
		if len(m) > MaxLine {
			t.Errorf("a message of %d bytes", len(m))
		}
		got = append(got, fmt.Sprintf("%d %v %.5s", r.Record().Line, r.Record().Cut, m))
	}
	if d := gocmp.Diff([]string{"1 true long", "2 true zzzzz", "23 false after"}, got); d != "" {
		t.Error(d)
	}
}

// FuzzReader asserts that any text is read to its end in records that are within bounds.
func FuzzReader(f *testing.F) {
	f.Add(`{"level":"info","ts":"2026-11-21T09:45:22.731+0100","msg":"a \"b\"","n":5}` + "\n2026-11-21 08:23:09.850254 W | x: y\n")
	f.Add("2026-11-30T02:23:47.492139Z\tinfo\tbbolt\tbackend/backend.go:203\tOpening db\t{\"path\": \"d\"}\n")
	f.Add("2026-11-21T08:23:11.5Z stderr P a\n2026-11-21T08:23:11.5Z stderr F b\n")
	f.Add("[pod/etcd-0/etcd] Nov 21 08:23:09 host-1 etcd[123]: x\n")
	f.Fuzz(func(t *testing.T, text string) {
		last := int64(0)
		r := NewReader(strings.NewReader(text))
		for r.Next() {
			x := r.Record()
			if x.Line <= last || len(x.Message()) == 0 || x.Format == "" {
				t.Fatalf("%+v", x)
			}
			last = x.Line
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	})
}

// FuzzJSON asserts that the fields of an object are those that encoding/json finds.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":"b","c":[1,{"d":"}"}],"e":1.5,"f":null}`)
	f.Add(`{"a" : "\u0041\\" , "b":{}}`)
	f.Fuzz(func(t *testing.T, line string) {
		var want map[string]json.RawMessage
		if len(line) == 0 || line[0] != '{' || strings.ContainsAny(line, "\n\r") || json.Unmarshal([]byte(line), &want) != nil {
			object([]byte("{"+line), func([]byte, []byte) {})
			return
		}
		got := 0
		object([]byte(line), func(name, value []byte) {
			got++
			var s any
			if err := json.Unmarshal(value, &s); err != nil {
				t.Errorf("%q is no value: %v", value, err)
			}
		})
		if got < len(want) {
			t.Errorf("%d fields of %d", got, len(want))
		}
	})
}

// FuzzText asserts that lines of the old text format and of the console are taken apart without loss of the message.
func FuzzText(f *testing.F) {
	f.Add("message", "etcdserver")
	f.Fuzz(func(t *testing.T, message, pkg string) {
		if message == "" || strings.ContainsAny(message+pkg, "\r\n\t ") || strings.Contains(pkg, ": ") || pkg == "" {
			return
		}
		var r Record
		if !r.capnslog([]byte("2026-11-21 08:23:09.850254 W | "+pkg+": "+message)) || r.Message() != message {
			t.Errorf("%q of %q is read as %q", message, pkg, r.Message())
		}
		r = Record{}
		if !r.console([]byte("2026-11-30T02:23:47.492139Z\tinfo\ta.go:1\t"+message+"\t{}")) || r.Message() != message {
			t.Errorf("%q is read as %q", message, r.Message())
		}
	})
}
