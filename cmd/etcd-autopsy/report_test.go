package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/report/attach"
)

// Secrets of a planted cluster, one for each place where one may stand. Names are those of what people choose.
var (
	secretValues = []string{"ValueCanary", "OldValueCanary", "LogValueCanary", "PasswordCanary", "HashCanary", "V2ValueCanary", "CompareValueCanary", "TokenCanary"}
	secretNames  = []string{
		"KeyCanary", "SegmentCanary", "BareKeyCanary", "RangeEndCanary", "LogKeyCanary", "TxnKeyCanary", "UserCanary", "RoleCanary", "HeaderUserCanary", "PermissionCanary",
		"MemberCanary", "hostcanary.example", "clientcanary.example", "logmembercanary.example", "V2PathCanary", "V2LogCanary", "BucketCanary", "binary\x00Canary",
	}
	secretLease = binary.BigEndian.Uint64([]byte("LeaseCan"))
)

// plantMember writes a data directory full of secrets. Two of them differ in what entry 9 wrote.
func plantMember(t *testing.T, dir string, id uint64, odd bool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := func(x proto.Message) []byte {
		b, err := proto.Marshal(x)
		must(err)
		return b
	}
	put := func(key, value string, lease uint64) *pb.InternalRaftRequest {
		return &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: int64(lease)}}
	}
	urls := func(host string) []string { return []string{"http://" + host + ":2380"} }
	requests := []*pb.InternalRaftRequest{
		{LeaseGrant: &pb.LeaseGrantRequest{ID: int64(secretLease), TTL: 100}},
		put("/registry/SegmentCanary/KeyCanary", "OldValueCanary", secretLease),
		put("BareKeyCanary", "ValueCanary", 0),
		{Txn: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("/TxnKeyCanary"), Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte("CompareValueCanary")}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("/TxnKeyCanary"), Value: []byte("LogValueCanary")}}}},
		}},
		put("/binary\x00Canary", "LogValueCanary", 0),
		put("/registry/SegmentCanary/LogKeyCanary", "LogValueCanary", secretLease),
		{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("/nothing"), RangeEnd: []byte("/nothing/RangeEndCanary")}},
		{LeaseRevoke: &pb.LeaseRevokeRequest{ID: int64(secretLease)}},
		put("/registry/SegmentCanary/KeyCanary", "ValueCanary", 0),
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: "UserCanary", Password: "PasswordCanary"}},
		{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "RoleCanary"}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "RoleCanary", Perm: &authpb.Permission{Key: []byte("/PermissionCanary"), RangeEnd: []byte("/RangeEndCanary")}}},
		{Authenticate: &pb.InternalAuthenticateRequest{Name: "UserCanary", Password: "PasswordCanary", SimpleToken: "TokenCanary"}},
		{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: id, MemberAttributes: &membershippb.Attributes{Name: "MemberCanary", ClientUrls: urls("clientcanary.example")}}},
	}
	var entries []*raftpb.Entry
	add := func(typ raftpb.EntryType, data []byte) {
		entries = append(entries, &raftpb.Entry{Index: new(uint64(len(entries) + 1)), Term: new(uint64(2)), Type: typ.Enum(), Data: data})
	}
	for i, r := range requests {
		r.Header = &pb.RequestHeader{ID: 1<<50 + uint64(i), Username: "HeaderUserCanary"}
		add(raftpb.EntryNormal, m(r))
	}
	context := fmt.Sprintf(`{"id":%d,"peerURLs":["http://logmembercanary.example:2380"],"name":"MemberCanary"}`, id)
	add(raftpb.EntryConfChange, m(&raftpb.ConfChange{Id: new(uint64(7)), Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(id), Context: []byte(context)}))
	v2 := []byte{0x08, 9}
	for i, field := range []string{"PUT", "/1/V2LogCanary", "V2ValueCanary"} {
		v2 = append(append(v2, byte(i+2)<<3|2, byte(len(field))), field...)
	}
	add(raftpb.EntryNormal, v2)

	last := uint64(len(entries))
	walDir, snapDir := filepath.Join(dir, "member", "wal"), filepath.Join(dir, "member", "snap")
	must(os.MkdirAll(snapDir, 0o700))
	l, err := wal.Create(nil, walDir, m(&pb.Metadata{NodeID: &id, ClusterID: proto.Uint64(5)}))
	must(err)
	l.SetUnsafeNoFsync()
	must(l.Save(&raftpb.HardState{Term: proto.Uint64(2), Vote: proto.Uint64(0), Commit: &last}, entries))
	cs := &raftpb.ConfState{Voters: []uint64{id}}
	store := fmt.Sprintf(`{"Root":{"Path":"/","Children":{"0":{"Path":"/0","Children":{"members":{"Path":"/0/members","Children":{"%x":{"Path":"/0/members/%x","Children":{`+
		`"attributes":{"Path":"a","Value":"{\"name\":\"MemberCanary\",\"clientURLs\":[\"http://clientcanary.example:2379\"]}"},`+
		`"raftAttributes":{"Path":"r","Value":"{\"peerURLs\":[\"http://hostcanary.example:2380\"]}"}}}}}}},`+
		`"1":{"Path":"/1","Children":{"V2PathCanary":{"Path":"/1/V2PathCanary","Value":"V2ValueCanary"}}}}}}`, id, id)
	must(snap.New(nil, snapDir).SaveSnap(&raftpb.Snapshot{Data: []byte(store), Metadata: &raftpb.SnapshotMetadata{ConfState: cs, Index: proto.Uint64(3), Term: proto.Uint64(2)}}))
	must(l.SaveSnapshot(&walpb.Snapshot{Index: proto.Uint64(3), Term: proto.Uint64(2), ConfState: cs}))
	must(l.Close())

	db, err := bolt.Open(filepath.Join(snapDir, "db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	must(err)
	must(db.Update(func(tx *bolt.Tx) error {
		set := func(bucket string, key, value []byte) {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			must(err)
			must(b.Put(key, value))
		}
		row := func(main, version, create int64, key, value string, lease uint64) {
			set("key", mvcc.Revision{Main: main}.AppendKey(nil), m(&mvccpb.KeyValue{
				Key: []byte(key), Value: []byte(value), CreateRevision: create, ModRevision: main, Version: version, Lease: int64(lease),
			}))
		}
		row(2, 1, 2, "/registry/SegmentCanary/KeyCanary", "OldValueCanary", secretLease)
		row(3, 1, 3, "BareKeyCanary", "ValueCanary", 0)
		row(4, 1, 4, "/TxnKeyCanary", "LogValueCanary", 0)
		row(5, 1, 5, "/binary\x00Canary", "LogValueCanary", 0)
		row(6, 1, 6, "/registry/SegmentCanary/LogKeyCanary", "LogValueCanary", secretLease)
		if !odd {
			// Keys of the lease, which entry 8 revokes.
			for i, k := range []string{"/registry/SegmentCanary/KeyCanary", "/registry/SegmentCanary/LogKeyCanary"} {
				set("key", append(mvcc.Revision{Main: 7, Sub: int64(i)}.AppendKey(nil), 't'), m(&mvccpb.KeyValue{Key: []byte(k)}))
			}
			row(8, 1, 8, "/registry/SegmentCanary/KeyCanary", "ValueCanary", 0)
		} else {
			row(7, 2, 2, "/registry/SegmentCanary/KeyCanary", "ValueCanary", 0)
			id := binary.BigEndian.AppendUint64(nil, secretLease)
			set("lease", id, m(&leasepb.Lease{ID: int64(secretLease), TTL: 100}))
		}
		u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
		set("meta", []byte("consistent_index"), u64(last))
		set("meta", []byte("term"), u64(2))
		set("auth", []byte("authEnabled"), []byte{1})
		set("auth", []byte("authRevision"), u64(4))
		set("authUsers", []byte("UserCanary"), m(&authpb.User{Name: []byte("UserCanary"), Password: []byte("HashCanary"), Roles: []string{"RoleCanary"}}))
		set("authRoles", []byte("RoleCanary"), m(&authpb.Role{Name: []byte("RoleCanary"), KeyPermission: []*authpb.Permission{{Key: []byte("/PermissionCanary"), RangeEnd: []byte("/RangeEndCanary")}}}))
		set("members", fmt.Appendf(nil, "%x", id), []byte(context))
		set("members", []byte("1234"), []byte(`{"id":4660,"peerURLs":["http://hostcanary.example:2380"],"name":"MemberCanary"}`))
		set("members_removed", []byte("99"), []byte("removed"))
		set("cluster", []byte("clusterVersion"), []byte("3.5.0"))
		set("lease-BucketCanary", []byte("x"), []byte("ValueCanary"))
		set("alarm", m(&pb.AlarmMember{MemberID: id, Alarm: pb.AlarmType_NOSPACE}), nil)
		return nil
	}))
	must(db.Close())
}

// encodings are the ways in which a secret may hide in a file.
func encodings(s string) []string {
	es := []string{s, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))), fmt.Sprintf("%q", s)[1 : len(fmt.Sprintf("%q", s))-1]}
	for shift := range 3 {
		// What of base64 does not depend on the bytes around it.
		b := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), s...))
		es = append(es, b[(shift*8+5)/6:len(b)-1])
	}
	return es
}

// leaks lists which secrets a file holds. Archives are looked into.
func leaks(t *testing.T, name string, data []byte, secrets []string) []string {
	t.Helper()
	var found []string
	for _, s := range secrets {
		for _, e := range encodings(s) {
			if bytes.Contains(data, []byte(e)) {
				found = append(found, fmt.Sprintf("%s holds %q as %q", name, s, e))
			}
		}
	}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, leaks(t, name+":"+f.Name, b, secrets)...)
		}
	}
	return found
}

func runIn(t *testing.T, want int, args ...string) (stdout string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := sharedRun(context.Background(), args, &out, &errs); got != want {
		t.Fatalf("%v: exit status %d, want %d: %s", args, got, want, errs.String())
	}
	return out.String()
}

// files are the files of a directory by name, but for the redaction key.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	fs := map[string][]byte{}
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() != attach.KeyName {
			fs[f.Name()] = b
		}
	}
	return fs
}

// TestCanaries looks for planted secrets in all that the program writes.
func TestCanaries(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for i, name := range []string{"hostcanary.example-1", "LabelCanary", "c"} {
		node := filepath.Join(dir, "PathCanary", name)
		plantMember(t, node, uint64(0xa0+i), i == 1)
		args = append(args, node)
	}
	hidden := append(slices.Clone(secretValues), secretNames...)
	hidden = append(hidden, "LabelCanary", "PathCanary", string(binary.BigEndian.AppendUint64(nil, secretLease)))

	plain := filepath.Join(dir, "plain")
	out := runIn(t, 1, append([]string{"report", "-o", plain}, args...)...)
	for name, b := range files(t, plain) {
		for _, l := range leaks(t, name, b, secretValues) {
			t.Error("by default", l)
		}
	}
	if !strings.Contains(string(files(t, plain)[attach.MarkdownName]), "KeyCanary") {
		t.Error("the secrets are not in the evidence")
	}
	for _, l := range leaks(t, "standard output", []byte(out), secretValues) {
		t.Error(l)
	}
	// Names that only a server's log has. What stands in its messages is no value.
	const logged = "ServerLogCanary"
	logFile := filepath.Join(dir, "FileCanary.log")
	lines := serverLines(logged) + serverLines("SegmentCanary/KeyCanary")
	lines = strings.ReplaceAll(lines, "8e9e05c52164694d", "a2") // the id of c
	if err := os.WriteFile(logFile, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	scanned(t, "c", logged)
	hidden = append(hidden, logged, "FileCanary")
	withLog := filepath.Join(dir, "with-log")
	runIn(t, 1, append([]string{"report", "--server-log", "c=" + logFile, "-o", withLog}, args...)...)
	for _, name := range []string{attach.MarkdownName, attach.HTMLName, attach.JSONName, attach.ManifestName} {
		if b := files(t, withLog)[name]; !bytes.Contains(b, []byte("FileCanary")) || name != attach.ManifestName && !bytes.Contains(b, []byte(logged)) {
			t.Errorf("%s tells nothing of the server's log", name)
		}
	}
	red := filepath.Join(dir, "red")
	runIn(t, 1, append([]string{"report", "--redact-keys", "--replay", "--server-log", "c=" + logFile, "-o", red}, args...)...)
	if b := files(t, red)[attach.JSONName]; !bytes.Contains(b, []byte("the process dies: failed to recover v3 backend from snapshot: ")) || !bytes.Contains(b, []byte("is the leader of term 7")) {
		t.Error("etcd's own words of a server's log are not shown")
	}
	for name, b := range files(t, red) {
		for _, l := range leaks(t, name, b, hidden) {
			t.Error("redacted:", l)
		}
	}
	for _, command := range [][]string{
		{"inspect"}, {"check"}, {"diff"}, {"stats"}, {"log"}, {"log", "--raw"}, {"hash"}, {"history", "--prefix", "/"}, {"history", "BareKeyCanary"}, {"dump"},
	} {
		of := args
		if command[0] == "dump" {
			of = args[1:2]
		}
		for _, format := range []string{"table", "json"} {
			var o, e bytes.Buffer
			if run(t.Context(), slices.Concat(command, []string{"-w", format}, of), nil, &o, &e) == exitFailed || o.Len() < 100 {
				t.Errorf("%v: %s", command, e.String())
			}
			for _, l := range leaks(t, strings.Join(command, " "), append(o.Bytes(), e.Bytes()...), secretValues) {
				t.Error(l)
			}
		}
	}
	// Passwords are shown to nobody.
	for _, command := range [][]string{{"log", "--show-values"}, {"log", "--raw", "--show-values"}, {"dump", "--show-values"}} {
		of := args
		if command[0] == "dump" {
			of = args[1:2]
		}
		var o, e bytes.Buffer
		run(t.Context(), slices.Concat(command, of), nil, &o, &e)
		for _, l := range leaks(t, strings.Join(command, " "), append(o.Bytes(), e.Bytes()...), []string{"PasswordCanary", "HashCanary", "TokenCanary"}) {
			t.Error(l)
		}
	}
	values := filepath.Join(dir, "values")
	runIn(t, 1, append([]string{"report", "--show-values", "-o", values}, args...)...)
	md := string(files(t, values)[attach.MarkdownName])
	if b := files(t, values)[attach.JSONName]; !bytes.Contains(b, []byte("ValueCanary")) || !strings.Contains(md, "Private") {
		t.Error("--show-values shows none, or does not say that the report is private")
	}
	for name, b := range files(t, values) {
		for _, l := range leaks(t, name, b, []string{"PasswordCanary", "HashCanary", "TokenCanary"}) {
			t.Error("even with --show-values", l)
		}
	}
}

// TestReportServerLogs asserts that servers' logs are told in all files of a report: those beside members, or those that are named.
func TestReportServerLogs(t *testing.T) {
	t.Parallel()
	dir, members := t.TempDir(), filepath.Join(scenarios, "lease-revoke-auth")
	const started = "etcd-b started as etcd 3.3.18 at commit index 736"
	told := filepath.Join(dir, "told")
	runIn(t, 1, "report", members, "-o", told)
	fs := files(t, told)
	for name, want := range map[string][]string{
		attach.MarkdownName: {"- etcd-b: server-etcd-b.log.gz: 3.2.30 from 08:23:09, stopped 08:23:25; 3.3.18 from 08:23:25", "| 2026-11-21 08:23:25.913 | 769 | etcd-b | " + started + " |"},
		attach.HTMLName:     {"by time (2026-11-21, UTC)", "Runs of servers, by their logs", started},
		attach.JSONName:     {`"story"`, started, `"source": "both"`},
		attach.ManifestName: {"server-etcd-b.log.gz\n"},
	} {
		for _, w := range want {
			if !bytes.Contains(fs[name], []byte(w)) {
				t.Errorf("%s has no %q", name, w)
			}
		}
	}
	untold := filepath.Join(dir, "untold")
	runIn(t, 1, "report", members, "-o", untold, "--no-server-logs")
	for name, b := range files(t, untold) {
		if bytes.Contains(b, []byte("3.3.18")) || bytes.Contains(b, []byte("server-etcd-b")) {
			t.Errorf("%s tells of a server's log", name)
		}
	}
	named := filepath.Join(dir, "named")
	runIn(t, 1, "report", members, "-o", named, "--no-server-logs", "--server-log", "etcd-b="+filepath.Join(members, "server-etcd-b.log.gz"))
	if b := files(t, named)[attach.JSONName]; !bytes.Contains(b, []byte(started)) || bytes.Contains(b, []byte("server-etcd-a")) {
		t.Error("not the log that was named alone")
	}
	runIn(t, 2, "report", members, "-o", filepath.Join(dir, "refused"), "--server-log", "x=y")
}

// TestReportIsTheSame writes a report twice.
func TestReportIsTheSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("a key of my own, long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	ms := []string{"etcd-a", "etcd-b", "etcd-c"}
	paths := func() (ps []string) {
		for _, m := range ms {
			ps = append(ps, filepath.Join(scenarios, "lease-revoke-auth", m+".tar.zst"))
		}
		return ps
	}
	for _, extra := range [][]string{nil, {"--redaction-key", key}} {
		a, b := filepath.Join(dir, fmt.Sprint("a", len(extra))), filepath.Join(dir, fmt.Sprint("b", len(extra)))
		runIn(t, 1, slices.Concat([]string{"report", "-o", a}, extra, paths())...)
		slices.Reverse(ms)
		runIn(t, 1, slices.Concat([]string{"report", "-o", b}, extra, paths())...)
		one, two := files(t, a), files(t, b)
		if len(one) != 5 || len(two) != 5 {
			t.Errorf("%d and %d files", len(one), len(two))
		}
		for name := range one {
			if !bytes.Equal(one[name], two[name]) {
				t.Errorf("%s is not the same twice, with %q", name, extra)
			}
		}
	}
}

func TestReportRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	node := filepath.Join(dir, "node")
	if err := unpack(filepath.Join(scenarios, "truncated-db", "a.tar.zst"), node); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(node, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	runIn(t, 2, "report", node)
	runIn(t, 2, "report", node, "-o", filepath.Join(node, "out"))
	runIn(t, 2, "report", "x="+node, "-o", filepath.Join(dir, "link", "member"))
	runIn(t, 2, "report", node, "-o", out, "--show-values", "--redact-keys")
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
	first := run(t.Context(), []string{"report", node, "-o", out}, nil, io.Discard, io.Discard)
	if first == 2 {
		t.Fatal("no report")
	}
	runIn(t, 2, "report", node, "-o", out)
	runIn(t, first, "report", node, "-o", out, "--force")
	left, err := filepath.Glob(filepath.Join(out, ".etcd-autopsy-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if sum, err := exec.LookPath("sha256sum"); err == nil {
		cmd := exec.CommandContext(t.Context(), sum, "-c", filepath.Join(out, attach.ManifestName))
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("sha256sum -c: %v: %s", err, b)
		}
	}
}

// TestReports writes a report on every scenario: report.md is a golden file and short enough, report.json follows its schema. What
// the reports say of known bugs and of what to do is one more golden file, the table of all scenarios against all hypotheses.
func TestReports(t *testing.T) {
	t.Parallel()
	var schema bytes.Buffer
	if err := attach.Schema(&schema); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(&schema)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	names := scenarioNames(t)
	bugs := make([]string, len(names))
	t.Cleanup(func() {
		if !slices.Contains(bugs, "") { // -run may have left some out
			golden(t, "report/bugs.txt", []byte(strings.Join(bugs, "")))
		}
	})
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "out")
			var errs bytes.Buffer
			if sharedRun(t.Context(), []string{"report", filepath.Join(scenarios, name), "-o", out}, io.Discard, &errs) == exitFailed {
				golden(t, "report/"+name+".error", errs.Bytes())
				bugs[i] = name + ": no report\n"
				return
			}
			fs := files(t, out)
			md := fs[attach.MarkdownName]
			golden(t, "report/"+name+".md", md)
			if n := len(utf16.Encode([]rune(string(md)))); n > attach.MaxMarkdown || len(md) > attach.MaxMarkdown {
				t.Errorf("report.md has %d bytes, %d UTF-16 units", len(md), n)
			}
			if n := unfolded(string(md)); n > 150 {
				t.Errorf("report.md has %d lines that are not folded away", n)
			}
			got, err := jsonschema.UnmarshalJSON(bytes.NewReader(fs[attach.JSONName]))
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(got); err != nil {
				t.Error(err)
			}
			var back brief
			if err := json.Unmarshal(fs[attach.JSONName], &back); err != nil {
				t.Fatal(err)
			}
			if back.SchemaVersion != attach.SchemaVersion {
				t.Errorf("schema version %q", back.SchemaVersion)
			}
			bugs[i] = name + "\n" + back.Diff.String()
		})
	}
}

// brief is what a report says of bugs, and of what is to be done.
type brief struct {
	SchemaVersion string `json:"schema_version"`
	Diff          blame  `json:"diff"`
}

type blame struct {
	Divergences []struct {
		Explanations []diff.Explanation `json:"explanations"`
	} `json:"divergences"`
	KnownBugs []diff.KnownBug `json:"known_bugs"`
	Plan      *struct {
		Best    string   `json:"best"`
		Rebuild []string `json:"rebuild"`
	} `json:"plan"`
}

func (d *blame) String() string {
	var out strings.Builder
	for i := range d.Divergences {
		for _, e := range d.Divergences[i].Explanations {
			fmt.Fprintf(&out, "  divergence %d: %s %s\n", i, e.ID, e.Status)
		}
	}
	for _, b := range d.KnownBugs {
		fmt.Fprintf(&out, "  %s: %s %s\n", strings.Join(b.Members, " "), b.ID, b.Status)
	}
	if p := d.Plan; p != nil {
		fmt.Fprintf(&out, "  best %q, rebuild %v\n", p.Best, p.Rebuild)
	}
	return out.String()
}

// golden compares with a file below testdata/golden, or writes it with -update.
// unfolded counts the lines of a text that are seen without a click.
func unfolded(md string) (n int) {
	depth := 0
	for l := range strings.Lines(md) {
		depth += strings.Count(l, "<details>")
		if depth == 0 {
			n++
		}
		depth -= strings.Count(l, "</details>")
	}
	return n
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}
