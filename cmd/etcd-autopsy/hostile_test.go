package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	gmhtml "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
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
	"golang.org/x/net/html"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/stats"
	"etcd-autopsy/report"
	"etcd-autopsy/report/attach"
	"etcd-autopsy/report/export"
)

// hostile are names that try to leave the place where they are printed. FORGED must never begin a line, and neither an element
// nor an attribute may be called xforged. Each holds several attempts, so that a small log has all of them in all fields.
var hostile = []string{
	"\x1b[31mred\x1b]0;title\x07 cr\rFORGED del\x7fc1\u009b31m\u0085FORGED tab\tand\vmore\x00 rtl\u202eover\u202d isolates\u2066\u2067\u2068\u2069\u200b\u200d\ufeff\u00ad tags\U000e0041\U000e007f",
	"line\nFORGED: consistent\n\n# FORGED\n\n- FORGED `one` \u2028FORGED\u2029FORGED\n```\nFORGED @team ![img](http://forged.example/x)\n````\n</details>\n",
	"| a | b \\| c \\\\| ticks ``` and ```` ||<script>alert('xforged')</script></details></td></pre></code><img src=x onerror=xforged><xforged xforged=1>\"quotes'\" xforged=\"1" +
		" $(touch /tmp/FORGED) `id` ; rm -rf / && x" + strings.Repeat("<|`*@x", 300),
	"@team cc @org/team a@b.example ![img](http://forged.example/i.png) [link](javascript:alert(1)) <http://forged.example/auto> &lt;b&gt; &#64;team &amp;" +
		" see http://forged.example/a www.forged.example https://github.com/forged/forged/issues/1 forged/forged#1 #12 GH-3 ftp://forged.example *b* _em_ ~~s~~" +
		"\"]; click n0 \"http://forged.example\"; x[\" %%{init: {}}%% %p%s%d%n {{.Secret}} ${x} ]]>--> \\ ' $x$ [^1] [x]: http://forged.example",
	"--flag=1 invalid \xff\xfe\x80 utf8\n```",
}

// Those whose names are used below.
const ofControls, ofLines = 0, 1

// valid are those that a text field of protobuf can hold.
func valid() (out []string) {
	for _, h := range hostile {
		if utf8.ValidString(h) {
			out = append(out, h)
		}
	}
	return out
}

func init() { wal.SegmentSizeBytes = 1 << 20 } // of the logs that tests make

var (
	hostileOnce sync.Once
	hostileDir  string
	hostileErr  error
)

// hostileMembers are three members full of such names, which part at an entry and in every table: c has not what a and b have.
func hostileMembers(t *testing.T) []string {
	t.Helper()
	hostileOnce.Do(func() {
		if hostileDir, hostileErr = os.MkdirTemp("", "etcd-autopsy-hostile-"); hostileErr == nil {
			cleanups = append(cleanups, func() { _ = os.RemoveAll(hostileDir) })
			for i := range 3 {
				if hostileErr == nil {
					hostileErr = hostileMember(filepath.Join(hostileDir, hostileLabels[i]), uint64(0xa0+i), i == 2, i == 1)
				}
			}
		}
	})
	if hostileErr != nil {
		t.Fatal(hostileErr)
	}
	var args []string
	for _, l := range hostileLabels {
		args = append(args, filepath.Join(hostileDir, l))
	}
	return args
}

var hostileLabels = []string{"\x1b[1ma\nFORGED <xforged> @team |`", "b\u202e $(id) [x](http://forged.example)", "c\xff\r```"}

// hostileMember writes one of them. Rows of tables that nobody understands are in a broken one only, so that another is fit to go on
// with.
func hostileMember(dir string, id uint64, odd, broken bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot make a member: %v", r)
		}
	}()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	m := func(x proto.Message) []byte {
		b, err := proto.Marshal(x)
		must(err)
		return b
	}
	const leases = 0x1000
	urls := func(h string) []string { return []string{"http://" + h + ":2380", h} }
	var entries []*raftpb.Entry
	var rows, rowsOdd []func(rev int64) (key, value []byte)
	add := func(typ raftpb.EntryType, data []byte) {
		entries = append(entries, &raftpb.Entry{Index: new(uint64(len(entries) + 1)), Term: new(uint64(2)), Type: typ.Enum(), Data: data})
	}
	request := func(user string, r *pb.InternalRaftRequest) {
		r.Header = &pb.RequestHeader{ID: id<<48 + uint64(len(entries)), Username: user}
		add(raftpb.EntryNormal, m(r))
	}
	row := func(key, value string, lease int64) func(rev int64) ([]byte, []byte) {
		return func(rev int64) ([]byte, []byte) {
			return mvcc.Revision{Main: rev}.AppendKey(nil), m(&mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), CreateRevision: rev, ModRevision: rev, Version: 1, Lease: lease})
		}
	}
	put := func(user, key, value string, lease int64, lost bool) {
		request(user, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}})
		r := row(key, value, lease)
		rows = append(rows, r)
		if !lost {
			rowsOdd = append(rowsOdd, r)
		}
	}
	texts := valid()
	user := func(i int) string { return texts[i%len(texts)] }
	for i, h := range hostile {
		lease := int64(leases + i)
		request("", &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: lease, TTL: 100}})
		put(user(i), h, "value of "+h, 0, false)
		put(user(i+1), "/registry/"+h+"/"+h, h, lease, i == 2)
		request(user(i), &pb.InternalRaftRequest{Txn: &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte(h), Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(h + "x")}}},
			Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(h), Value: []byte(h)}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("/none" + h), RangeEnd: []byte("/none" + h + "x")}}}},
		}})
		request(user(i), &pb.InternalRaftRequest{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("/none" + h), RangeEnd: []byte("/none" + h + "\x00")}})
	}
	for i, h := range texts {
		node := 0x100 + uint64(i)
		request("root", &pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: h, Password: "secret"}})
		request("root", &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: h}})
		request("root", &pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: h, Role: h}})
		request("root", &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: h, Perm: &authpb.Permission{Key: []byte(h), RangeEnd: []byte(h + "\xff")}}})
		request("", &pb.InternalRaftRequest{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: node, MemberAttributes: &membershippb.Attributes{Name: h, ClientUrls: urls(h)}}})
		request("", &pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: h}})
		request("", &pb.InternalRaftRequest{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: h}})
		context, err := json.Marshal(map[string]any{"id": node, "name": h, "peerURLs": urls(h)})
		must(err)
		add(raftpb.EntryConfChange, m(&raftpb.ConfChange{Id: new(uint64(i)), Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: &node, Context: context}))
		attributes, err := json.Marshal(map[string]any{"name": h, "clientURLs": urls(h)})
		must(err)
		for _, v2 := range [][]string{{"PUT", fmt.Sprintf("/0/members/%x/attributes", node), string(attributes)}, {"PUT", "/1/" + h, h}, {h, h, h}} {
			b := []byte{0x08, 9}
			for k, field := range v2 {
				b = binary.AppendUvarint(append(b, byte(k+2)<<3|2), uint64(len(field)))
				b = append(b, field...)
			}
			add(raftpb.EntryNormal, b)
		}
	}
	request("", &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: id, Alarm: 77}})
	add(raftpb.EntryNormal, append([]byte{0x1a, 0x7f}, hostile[ofControls]...)) // cut
	add(raftpb.EntryNormal, append([]byte{0xfa, 0x3f, 4}, "\x1b[1m"...))        // a field of no version
	add(raftpb.EntryConfChange, append([]byte{0x22, 0x0a}, "\x1b[1mFORGED"...)) // a context that is no JSON
	put("root", "/end", "end", 0, false)

	last := uint64(len(entries))
	walDir, snapDir := filepath.Join(dir, "member", "wal"), filepath.Join(dir, "member", "snap")
	must(os.MkdirAll(snapDir, 0o700))
	l, err := wal.Create(nil, walDir, m(&pb.Metadata{NodeID: &id, ClusterID: proto.Uint64(5)}))
	must(err)
	l.SetUnsafeNoFsync()
	must(l.Save(&raftpb.HardState{Term: proto.Uint64(2), Vote: proto.Uint64(0), Commit: &last}, entries))
	cs := &raftpb.ConfState{Voters: []uint64{0xa0, 0xa1, 0xa2}}
	type node map[string]any
	v2 := node{}
	members := map[string]any{}
	for i, h := range texts {
		attr, err := json.Marshal(map[string]any{"name": h, "clientURLs": urls(h)})
		must(err)
		raft, err := json.Marshal(map[string]any{"peerURLs": urls(h)})
		must(err)
		members[fmt.Sprintf("%x", 0x100+i)] = node{"Path": "m", "Children": node{"attributes": node{"Path": "a", "Value": string(attr)}, "raftAttributes": node{"Path": "r", "Value": string(raft)}}}
		v2[h] = node{"Path": "/1/" + h, "Value": h}
	}
	store, err := json.Marshal(node{"Root": node{"Path": "/", "Children": node{
		"0": node{"Path": "/0", "Children": node{"members": node{"Path": "/0/members", "Children": members}, "version": node{"Path": "v", "Value": texts[0]}}},
		"1": node{"Path": "/1", "Children": v2},
	}}})
	must(err)
	must(snap.New(nil, snapDir).SaveSnap(&raftpb.Snapshot{Data: store, Metadata: &raftpb.SnapshotMetadata{ConfState: cs, Index: proto.Uint64(3), Term: proto.Uint64(2)}}))
	must(l.SaveSnapshot(&walpb.Snapshot{Index: proto.Uint64(3), Term: proto.Uint64(2), ConfState: cs}))
	must(l.Close())
	for _, name := range []string{"\x1b[1m.wal", "x\nFORGED.wal", "b\u202e.snap", "c\xff.snap", "$(id).tmp"} {
		where := walDir
		if strings.HasSuffix(name, ".snap") {
			where = snapDir
		}
		must(os.WriteFile(filepath.Join(where, name), []byte("\x1b[1mFORGED\n"), 0o600))
	}

	db, err := bolt.Open(filepath.Join(snapDir, "db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	must(err)
	must(db.Update(func(tx *bolt.Tx) error {
		set := func(bucket string, key, value []byte) {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			must(err)
			if len(key) > 0 {
				must(b.Put(key, value))
			}
		}
		if odd {
			rows = rowsOdd
		}
		for i, r := range rows {
			k, v := r(int64(i + 2))
			set("key", k, v)
		}
		u64 := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
		set("meta", []byte("consistent_index"), u64(last))
		set("meta", []byte("term"), u64(2))
		set("meta", []byte("storageVersion"), []byte(hostile[ofLines]))
		set("auth", []byte("authEnabled"), []byte{0})
		set("auth", []byte("authRevision"), u64(uint64(1+4*len(texts))))
		set("cluster", []byte("clusterVersion"), []byte(texts[len(texts)/2]))
		down, err := json.Marshal(map[string]any{"target-version": hostile[ofControls], "enabled": true})
		must(err)
		set("cluster", []byte("downgrade"), down)
		for i, h := range hostile {
			lease := int64(leases + i)
			if i > 0 || !odd {
				set("lease", u64(uint64(lease)), m(&leasepb.Lease{ID: lease, TTL: 100}))
			}
			if utf8.ValidString(h) || broken {
				set("authUsers", []byte(h), m(&authpb.User{Name: []byte(h), Password: []byte("hash"), Roles: []string{texts[i%len(texts)]}}))
				set("authRoles", []byte(h), m(&authpb.Role{Name: []byte(h), KeyPermission: []*authpb.Permission{{Key: []byte(h), RangeEnd: []byte(h + "\xff")}}}))
			}
			set("bucket"+h, []byte(h), []byte(h))
			if broken {
				set("members_removed", []byte(h), []byte(h))
				set("meta", []byte("odd"+h), []byte(h))
			}
		}
		for i, h := range texts {
			if i%3 == 0 && odd {
				continue
			}
			b, err := json.Marshal(map[string]any{"id": 0x100 + i, "name": h, "peerURLs": urls(h), "clientURLs": urls(h)})
			must(err)
			set("members", fmt.Appendf(nil, "%x", 0x100+i), b)
		}
		own, err := json.Marshal(map[string]any{"id": id, "name": hostile[ofLines], "peerURLs": []string{"http://a\n```\nFORGED @team ![i](http://forged.example/)\n"}})
		must(err)
		set("members", fmt.Appendf(nil, "%x", id), own)
		if !odd {
			set("alarm", m(&pb.AlarmMember{MemberID: id, Alarm: 77}), nil)
		}
		if broken {
			set("members", []byte(hostile[ofControls]), []byte(hostile[ofLines]))
			set("alarm", []byte(hostile[ofLines]), nil)
		}
		return nil
	}))
	return db.Close()
}

// commands are all that read members, and some that fail.
func hostileCommands(t *testing.T, members []string) [][]string {
	t.Helper()
	var all [][]string
	with := func(words ...string) { all = append(all, append(slices.Clone(words), members...)) }
	with("inspect")
	with("inspect", "--each")
	with("verify", "--each")
	with("log", "--raw")
	for _, h := range []string{hostile[ofLines], "/end"} {
		with("get", h)
	}
	one := members[:1]
	all = append(
		all, []string{"dump", one[0]}, []string{"dump", "--show-values", one[0]}, []string{"dump", "--rev", "9", one[0]}, []string{"dump", one[0], "bucket" + hostile[ofLines]},
		[]string{"bugs"}, []string{"bugs", "show", "etcd-11689"}, []string{"version"},
		// Errors tell what was given.
		[]string{"diff", "/nowhere\x1b[1m/" + hostile[ofLines]}, []string{"dump", one[0], hostile[ofLines]}, []string{"log", "--lease", hostile[ofControls], one[0]}, []string{"get", "0x\x1b[1m", one[0]},
		[]string{"x\x1b[1m\nFORGED"}, []string{"diff", "--no\x1b[1m\nFORGED"}, []string{"bugs", "show", hostile[ofLines]}, []string{"hash", "--rev", hostile[ofLines], one[0]},
		[]string{"inspect", "x\u202e\nFORGED=" + one[0], "y\x1b=" + members[1], "z|=" + members[2]},
		[]string{"diff", filepath.Join(one[0], "member", "wal", "\x1b[1m.wal")}, []string{"report", one[0], "-o", filepath.Join(one[0], "x\x1b")},
	)
	return all
}

// TestHostileNames asks that nothing of a name gets out of where it is printed, in any command and format.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	members := hostileMembers(t)
	commands := hostileCommands(t, members)
	if len(commands) < 15 {
		t.Fatal("where are the commands?")
	}
	for i, c := range commands {
		formats := report.Formats()
		if slices.Contains(c, "--each") {
			formats = append(formats, string(report.OpenMetrics))
		}
		for _, format := range formats {
			t.Run(fmt.Sprintf("%d-%s-%s", i, c[0], format), func(t *testing.T) {
				t.Parallel()
				out, errs, _ := autopsy(t, append(slices.Clone(c), "-w", format)...)
				if out+errs == "" {
					t.Fatal("nothing was printed")
				}
				asserts(t, "standard error", errs, "")
				if c[0] == "inspect" && !strings.Contains(out+errs, "FORGED") {
					t.Error("there is no hostile name in it")
				}
				if asserts(t, "standard output", out, format); c[0] != "get" && forged.MatchString(out) { // a value has lines of its own
					t.Errorf("a line is forged: %q", around(out, forged.FindStringIndex(out)[0]))
				}
			})
		}
	}
}

// TestHostileExport asks that the files of members which are called so lie in the folder that was named, and tell their names.
func TestHostileExport(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "a", "tables")
	out, errs, status := autopsy(t, append([]string{"export", "-o", dir, "-w", "json"}, hostileMembers(t)...)...)
	var doc report.Exported
	if err := json.Unmarshal([]byte(out), &doc); err != nil || status == exitFailed || len(doc.Partitions) != len(hostileLabels) {
		t.Fatal(err, status, errs)
	}
	names, n := map[string]bool{}, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		parts := strings.Split(rel, string(filepath.Separator))
		if err != nil || len(parts) != 5 || !slices.Contains(export.Tables, parts[0]) || parts[4] != "part-0.parquet" {
			t.Errorf("%q is written", path)
			return err
		}
		n++
		name, ok := strings.CutPrefix(parts[2], "member=")
		if name, err = url.PathUnescape(name); !ok || err != nil {
			t.Errorf("%q: %v", parts[2], err)
		}
		names[name] = true
		return nil
	})
	if err != nil || n != len(export.Tables)*len(hostileLabels) {
		t.Errorf("%d files: %v", n, err)
	}
	for _, p := range doc.Partitions {
		if p.Member.Name == nil || !names[*p.Member.Name] {
			t.Errorf("no file of %s among %q", p.Member.Called(), slices.Sorted(maps.Keys(names)))
		}
	}
}

// TestHostileEntries asks the same of what compares members, which is found out once for all formats.
func TestHostileEntries(t *testing.T) {
	t.Parallel()
	set, err := inspect.Open(t.Context(), hostileMembers(t), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = set.Close() }()
	doc := diff.Investigate(t.Context(), set.Members, diff.Options{})
	if doc.Verdict != diff.Diverged || doc.Plan == nil || len(doc.Plan.Commands) == 0 {
		t.Errorf("%s, plan %+v: not all is printed", doc.Verdict, doc.Plan)
	} else {
		for _, c := range doc.Plan.Commands {
			if strings.Trim(c, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,%+-= #;") != "" || strings.Contains(c, "FORGED") {
				t.Errorf("a command to paste: %q", c)
			}
		}
	}
	ledger := diff.NewLedger(set.Members)
	all, key, lease := "", hostile[ofLines], diff.ID(0x1001)
	lives := []*diff.Biography{ledger.Biography(diff.BiographyQuery{Prefix: &all}), ledger.Biography(diff.BiographyQuery{Key: &key}), ledger.Biography(diff.BiographyQuery{Lease: &lease})}
	checkup, statistics, hashes := report.Check(set.Members), report.Count(set.Members, stats.Options{Depth: 2, Top: 10}), diff.Hashes(set.Members, 0)
	for _, name := range report.Formats() {
		format := report.Format(name)
		var b bytes.Buffer
		print := func(what string, err error) {
			t.Helper()
			if err != nil || b.Len() == 0 {
				t.Errorf("%s: %v", what, err)
			}
			asserts(t, what+" "+name, b.String(), name)
			if out := b.String(); forged.MatchString(out) {
				t.Errorf("%s %s: a line is forged: %q", what, name, around(out, forged.FindStringIndex(out)[0]))
			}
			b.Reset()
		}
		print("diff", report.Diff(&b, doc, format, false, "see "+hostile[ofLines]))
		print("diff --full", report.Diff(&b, doc, format, true, "see "+hostile[ofLines]))
		print("check", report.Checks(&b, checkup, format))
		print("stats", report.Stats(&b, statistics, format))
		print("hash", report.Hash(&b, hashes, format))
		for _, values := range []bool{false, true} {
			print("log", report.Entries(t.Context(), &b, ledger, report.LogOptions{Values: values}, format))
		}
		for _, life := range lives {
			print("history", report.History(&b, life, report.HistoryOptions{All: true}, format))
		}
	}
	var logs []story.Log
	for i, m := range set.Members {
		for _, word := range []string{hostile[i], hostile[(i+len(set.Members))%len(hostile)]} {
			l := scanned(t, m.Label, word)
			l.Log.Member = m.Log.NodeID
			logs = append(logs, l)
		}
	}
	for _, format := range report.Formats() {
		var b bytes.Buffer
		if err := report.Timeline(&b, story.Tell(doc, logs), report.Format(format)); err != nil {
			t.Error(err)
		}
		asserts(t, "timeline "+format, b.String(), format)
	}
	r := func() *attach.Report {
		files := []attach.File{{Path: "/x/" + hostile[ofControls], SHA256: strings.Repeat("0", 64)}, {Path: "y\n" + hostile[ofLines], SHA256: strings.Repeat("1", 64)}}
		tool := attach.Tool{Name: "etcd-autopsy", Version: "1", Command: "etcd-autopsy report " + hostile[ofLines]}
		return attach.New(set.Members, doc, attach.Options{Tool: tool, Files: files, ShowValues: true, Logs: logs})
	}
	hostileReport(t, r(), "What now", "Keys that differ", "Commands, to be read", "Timeline", "FORGED", "the process dies: ")
	redacted := r()
	redacted.Values, redacted.ShowsValues = nil, false
	var labels []string
	for _, m := range set.Members {
		labels = append(labels, m.Label)
	}
	secrets := attach.Collect(set.Members)
	secrets.Logs(logs)
	attach.NewRedactor(make([]byte, attach.KeySize), labels, secrets).Report(redacted)
	hostileReport(t, redacted, "member-1")
}

// hostileReport asks the same of the files of a report.
func hostileReport(t *testing.T, r *attach.Report, expected ...string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out\x1b[1m\u202e")
	if err := attach.Write(t.Context(), dir, r, nil, false); err != nil {
		t.Fatal(err)
	}
	for _, format := range report.Formats() {
		var b bytes.Buffer
		if err := report.Written(&b, attach.Summary(dir, r, false), report.Format(format)); err != nil {
			t.Error(err)
		}
		asserts(t, "where it is "+format, b.String(), format)
	}
	fs := files(t, dir)
	all := ""
	for name, format := range map[string]string{attach.MarkdownName: "markdown", attach.JSONName: "json", attach.ManifestName: "", attach.HTMLName: ""} {
		asserts(t, name, string(fs[name]), format)
		all += string(fs[name])
		if forged.Match(fs[name]) {
			t.Errorf("%s: a line is forged: %q", name, around(string(fs[name]), forged.FindIndex(fs[name])[0]))
		}
	}
	assertsHTML(t, string(fs[attach.HTMLName]))
	for _, s := range expected {
		if !strings.Contains(all, s) {
			t.Errorf("no %q: the test does not see it", s)
		}
	}
}

// asserts looks for what is wrong with a text in a format.
func asserts(t *testing.T, name, s, format string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("%s: not UTF-8", name)
	}
	for i, r := range s {
		if r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs)) {
			t.Errorf("%s: %U at %d: %q", name, r, i, around(s, i))
			break
		}
	}
	switch format {
	case "json":
		d := json.NewDecoder(strings.NewReader(s))
		for d.More() {
			var x any
			if err := d.Decode(&x); err != nil {
				t.Errorf("%s: %v: %q", name, err, around(s, int(d.InputOffset())))
				break
			}
		}
	case "fields":
		for l := range strings.Lines(s) {
			at := strings.Index(l, `" : `)
			if at < 0 || !strings.HasPrefix(l, `"`) || !json.Valid([]byte(l[at+4:])) {
				t.Errorf("%s: no field: %q", name, l)
				break
			}
		}
	case "markdown":
		assertsMarkdown(t, name, s)
	}
}

var forged = regexp.MustCompile(`(?m)^(FORGED|[^\w\n]*FORGED)`)

func around(s string, i int) string { return s[max(0, i-80):min(len(s), i+80)] }

var (
	ours   = regexp.MustCompile(`^https://(github\.com/(etcd-io|kubernetes|k3s-io|openshift|rancher|coreos|rook|jepsen-io|spf13|tikv)|etcd\.io|kubernetes\.io|jepsen\.io)/`)
	atWord = regexp.MustCompile(`@\w|\b\w+://|www\.\w|#\d+\b|GH-\d`)
	pipes  = regexp.MustCompile(`\\.|\|`)
	tidy   = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote), goldmark.WithRendererOptions(gmhtml.WithUnsafe()), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	// What is to be filled in stands in comments of plain words.
	plainComment = regexp.MustCompile(`^<!-- [a-z0-9 ,:;'-]+ -->$`)
	folding      = []string{"<details>", "</details>", "<summary>", "</summary>", "<!-- -->"}
)

// assertsMarkdown parses a text as GitHub does.
func assertsMarkdown(t *testing.T, name, s string) {
	t.Helper()
	src := []byte(s)
	doc := tidy.Parser().Parse(text.NewReader(src))
	fail := func(what string, n ast.Node, detail any) {
		t.Helper()
		t.Errorf("%s: %s: %q", name, what, fmt.Sprint(detail))
	}
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			fail("a link", n, string(n.Destination))
		case *ast.Image:
			fail("an image", n, string(n.Destination))
		case *ast.AutoLink:
			if u := string(n.URL(src)); !ours.MatchString(u) {
				fail("a link", n, u)
			}
		case *ast.RawHTML:
			if h := string(n.Segments.Value(src)); !slices.Contains(folding, h) && !plainComment.MatchString(h) {
				fail("HTML", n, h)
			}
		case *ast.HTMLBlock:
			for _, l := range strings.Split(strings.TrimSpace(string(n.Lines().Value(src))), "\n") {
				if l = plainSummary.ReplaceAllString(l, ""); l != "" && !slices.Contains(folding, l) && !plainComment.MatchString(l) {
					fail("HTML", n, l)
				}
			}
		case *ast.CodeBlock:
			fail("an indented code block", n, string(n.Lines().Value(src)))
		case *ast.FencedCodeBlock:
			if lang := string(n.Language(src)); !slices.Contains([]string{"", "sh", "yaml"}, lang) {
				fail("a fence", n, lang)
			}
		case *ast.ThematicBreak, *extast.Strikethrough, *extast.TaskCheckBox, *extast.FootnoteLink, *ast.Emphasis, *ast.Blockquote:
			if e, ok := n.(*ast.Emphasis); ok && e.Level == 2 {
				break // the names of lines
			}
			if b, ok := n.(*ast.Blockquote); ok && b.FirstChild() != nil && strings.Contains(string(b.FirstChild().Lines().Value(src)), "Private") {
				break
			}
			fail("markup", n, n.Kind())
		}
		return ast.WalkContinue, nil
	})
	// What is shown of it outside of code is looked through for names, links and issues.
	var b bytes.Buffer
	if err := tidy.Renderer().Render(&b, src, doc); err != nil {
		t.Fatal(err)
	}
	tree, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	for n := range tree.Descendants() {
		if n.Type != html.TextNode || slices.ContainsFunc(slices.Collect(n.Ancestors()), func(a *html.Node) bool { return slices.Contains([]string{"code", "pre", "a"}, a.Data) }) {
			continue
		}
		if m := atWord.FindStringIndex(n.Data); m != nil {
			t.Errorf("%s: would be a link or a mention: %q", name, around(n.Data, m[0]))
		}
	}
	columns := 0
	fence := ""
	for l := range strings.Lines(s) {
		l = strings.TrimSuffix(l, "\n")
		if f := fenceLine.FindString(l); fence == "" && f != "" {
			fence = f
			continue
		} else if fence != "" {
			if l == fence {
				fence = ""
			}
			continue
		}
		if !strings.HasPrefix(l, "|") {
			columns = 0
			continue
		}
		n := 0
		for _, p := range pipes.FindAllString(l, -1) {
			if p == "|" {
				n++
			}
		}
		if columns > 0 && n != columns {
			t.Errorf("%s: %d bars in a table of %d: %q", name, n, columns, l)
		}
		columns = n
	}
	if fence != "" {
		t.Errorf("%s: a fence is not closed", name)
	}
}

var (
	plainSummary = regexp.MustCompile(`<summary>[\w (),:]*</summary>`)
	fenceLine    = regexp.MustCompile("^`{3,}")
)

// assertsHTML parses a page.
func assertsHTML(t *testing.T, page string) {
	t.Helper()
	tree, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	elements := strings.Fields("html head body meta link title style script header footer main nav section p h1 h2 h3 h4 dl dt dd div ul ol li details summary table caption thead tbody tr th td " +
		"span strong label input button br pre a figure figcaption svg g path rect text line circle polyline polygon defs clippath clipPath")
	scripts := 0
	for n := range tree.Descendants() {
		if n.Type == html.CommentNode {
			t.Errorf("a comment: %q", n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		if !slices.Contains(elements, n.Data) {
			t.Errorf("an element %q", n.Data)
		}
		for _, a := range n.Attr {
			if strings.Contains(a.Key, "xforged") || strings.HasPrefix(a.Key, "on") || a.Key == "src" {
				t.Errorf("an attribute %q of %s", a.Key, n.Data)
			}
			if a.Key == "href" && !ours.MatchString(a.Val) && !strings.HasPrefix(a.Val, "#") && a.Val != "data:," {
				t.Errorf("a link to %q", a.Val)
			}
		}
		if n.Data == "script" {
			scripts++
			if n.FirstChild != nil && strings.Contains(n.FirstChild.Data, "<script") {
				t.Error("a script in a script")
			}
		}
	}
	if scripts < 1 {
		t.Error("the page is not whole")
	}
}
