package inspect

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/backend"
	etcd "go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"etcd-autopsy/inspect/inspecttest"
)

// cases are those of a file: the lines of members by name, and what is wanted of them.
func cases(t *testing.T) (lines map[string]string, want map[string][]string) {
	t.Helper()
	file, err := txtar.ParseFile("testdata/members.txtar")
	if err != nil || len(file.Files) < 15 {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	lines, want = map[string]string{}, map[string][]string{}
	for _, c := range file.Files {
		for line := range strings.Lines(string(c.Data)) {
			if says, ok := strings.CutPrefix(strings.TrimSpace(line), "-> "); ok {
				want[c.Name] = append(want[c.Name], says)
			} else {
				lines[c.Name] += line
			}
		}
	}
	return lines, want
}

// written makes a member. A line "damage FILE OLD NEW" puts other bytes in the place of those in a file.
func written(t *testing.T, lines string) string {
	t.Helper()
	var damage [][]string
	var others strings.Builder
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "damage" {
			damage = append(damage, f)
		} else {
			others.WriteString(line)
		}
	}
	dir := inspecttest.Dir(t, others.String())
	for _, f := range damage {
		path := filepath.Join(dir, filepath.FromSlash(f[1]))
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(f[2])) {
			t.Fatalf("there is no %s in %s: %v", f[2], path, err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(f[2]), []byte(f[3])), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func opened(t *testing.T, args ...string) []*Member {
	t.Helper()
	set, err := Open(t.Context(), args, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set.Members
}

// TestMembers opens the members of testdata/members.txtar.
func TestMembers(t *testing.T) {
	t.Parallel()
	lines, want := cases(t)
	for name := range lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := opened(t, written(t, lines[name]))[0]
			if d := cmp.Diff(want[name], says(m)); d != "" {
				t.Errorf("what the member tells (-want +got):\n%s", d)
			}
			whole, why := m.Complete()
			unread := slices.ContainsFunc(want[name], func(s string) bool { return strings.HasPrefix(s, "unread ") })
			if whole == unread || whole != (len(why) == 0) {
				t.Errorf("complete: %v, %q", whole, why)
			}
			if n := len(m.Segments()); (n > 0) != m.Log.HasMetadata {
				t.Errorf("%d segments", n)
			}
		})
	}
}

// says is what a member tells.
func says(m *Member) (all []string) {
	if e := m.Evidence(); m.DB != nil && !e.Whole() || m.DB == nil && len(m.Files) > 0 && strings.HasSuffix(m.Files[0].Name, "db") {
		all = append(all, fmt.Sprintf("db %s: %s", e.Standing(), e.Why()))
	}
	log := m.LogMembership()
	var parts []string
	for _, x := range log.Members {
		name := x.Name
		if name == "" {
			name = "-"
		}
		s := fmt.Sprintf("%d %s %s", x.ID, name, strings.Join(x.PeerURLs, ","))
		if x.IsLearner {
			s += " learner"
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		parts = []string{"none"}
	}
	if len(log.Removed) > 0 {
		parts = append(parts, fmt.Sprint("removed ", log.Removed))
	}
	if log.ClusterVersion != "" {
		parts = append(parts, "version "+log.ClusterVersion)
	}
	all = append(all, fmt.Sprintf("log at %d%s: %s", log.Index, map[bool]string{false: ", not whole"}[log.Whole], strings.Join(parts, "; ")))
	raft := "not told"
	if c := m.RaftConfState(); c != nil {
		if raft = fmt.Sprint("voters ", c.Voters); len(c.Learners) > 0 {
			raft += fmt.Sprint(", learners ", c.Learners)
		}
	}
	name := m.Name()
	if name == "" {
		name = "-"
	}
	self := fmt.Sprintf("self: %s, term %d", name, m.Term())
	if v := m.ClusterVersion(); v != "" && (m.DB == nil || v != log.ClusterVersion) {
		self += ", version " + v
	}
	all = append(all, "raft: "+raft, self)
	for _, f := range m.Findings {
		all = append(all, map[bool]string{true: "unread "}[f.Unreadable]+string(f.Severity)+" "+f.Code+": "+f.Detail)
	}
	return all
}

// TestStatus asserts that the status of dbs is what etcdutl says of them, and the hash of the backend what etcd's own package makes.
func TestStatus(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]string{
		"one key":                                   "rev 2 a=1 c2 v1\nrow meta consistent_index be(9)\nrow meta term be(2)",
		"deleted keys, and all tables":              "rev 2 a=1 c2 v1\nrev 3 b=1 c3 v1\ndel 4 a\nrev 5 a=1 c5 v1\nrow lease be(7) lease(7,60,0)\nrow meta storageVersion 3.6.0\nrow meta consistent_index be(9)\nrow zzz x y",
		"no row that may differ between members":    "rev 2 a=1 c2 v1\nrow cluster clusterVersion 3.5.0\nbucket meta",
		"an empty bucket, and one behind the index": "rev 2 a=1 c2 v1\nbucket lease\nrow meta consistent_index be(9)\nbucket test",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := inspecttest.Dir(t, lines)
			db := filepath.Join(dir, "member", "snap", "db")
			m := opened(t, dir)[0]
			got := m.DB.Status()
			want, err := snapshot.NewV3(zap.NewNop()).Status(db)
			if err != nil {
				t.Fatal(err)
			}
			if got.Hash != want.Hash || got.Keys != want.TotalKey || got.Revision != want.Revision || got.Size != want.TotalSize || got.Version != want.Version || got.Partial {
				t.Errorf("%+v, etcdutl says %+v", got, want)
			}
			be := backend.NewDefaultBackend(zap.NewNop(), db)
			defer be.Close()
			if hash, err := be.Hash(etcd.DefaultIgnores); err != nil || hash != got.Backend {
				t.Errorf("the hash of the backend is %08x, not %08x: %v", hash, got.Backend, err)
			}
		})
	}
}

// TestStatusOfDamage: of a db of which not all was read, the status says so.
func TestStatusOfDamage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, "rev %d k%d=%s c%d v1\n", i+2, i, strings.Repeat("x", 100), i+2)
	}
	dir := inspecttest.Dir(t, b.String())
	path := filepath.Join(dir, "member", "snap", "db")
	sound := opened(t, dir)[0].DB.Status()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, []byte("k1000"))
	clear(raw[at/os.Getpagesize()*os.Getpagesize():][:os.Getpagesize()])
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	m := opened(t, dir)[0]
	if s := m.DB.Status(); !s.Partial || s.Keys >= sound.Keys || s.Keys == 0 || s.Hash == sound.Hash || sound.Partial {
		t.Errorf("%+v, sound: %+v", s, sound)
	}
	if whole, why := m.Complete(); whole || len(why) == 0 {
		t.Errorf("complete: %v, %q", whole, why)
	}
}

// TestDoubt: what other members show lowers what a db is evidence of, and nothing raises it again.
func TestDoubt(t *testing.T) {
	t.Parallel()
	m := opened(t, inspecttest.Dir(t, "rev 2 a=1 c2 v1\nrow meta consistent_index be(2)"))[0]
	e := m.Evidence()
	if e.Standing() != Whole {
		t.Fatal(e.Why())
	}
	e.Doubt("it lacks %d rows", 3)
	e.Doubt("another reason")
	text, err := m.Evidence().Standing().MarshalText()
	if err != nil || string(text) != "torn" || e.Whole() || e.Why() != "it lacks 3 rows" {
		t.Errorf("%s: %s: %v", text, e.Why(), err)
	}
}

// TestLabels: those that no line can hold are made so, each another.
func TestLabels(t *testing.T) {
	t.Parallel()
	s := &Set{}
	for _, l := range []string{"b", "a\nb", `a\nb`, "a\nb", "c\x7f", "\xff"} {
		s.Members = append(s.Members, &Member{Label: l})
	}
	s.labels()
	var got []string
	for _, m := range s.Members {
		got = append(got, m.Label)
	}
	if want := []string{"b", `a\nb#2`, `a\nb`, `a\nb#3`, `c\x7f`, `\xff`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestOrder: in whatever order members are named, they come in that of their labels.
func TestOrder(t *testing.T) {
	t.Parallel()
	args := []string{"b=" + inspecttest.Dir(t, "rev 2 a=1 c2 v1"), "a=" + inspecttest.Dir(t, "rev 2 a=1 c2 v1"), "c=" + inspecttest.Dir(t, "rev 2 a=2 c2 v1")}
	for range 2 {
		var got []string
		for _, m := range opened(t, args...) {
			got = append(got, m.Label+"="+m.Origin)
		}
		if want := slices.Sorted(slices.Values(args)); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		slices.Reverse(args)
	}
}

// TestSegmentsAsTheyAre: the files of the log are given out as they are on the disk.
func TestSegmentsAsTheyAre(t *testing.T) {
	t.Parallel()
	dir := inspecttest.Dir(t, "rev 2 a=1 c2 v1\nnode 1\nentry 1 term 1 put a big\nentry 2 term 1 put b big\nentries 3..4 term 1\ncommit 4 term 1")
	m := opened(t, dir)[0]
	segments := m.Segments()
	if len(segments) < 2 || m.Log.Last() != 4 {
		t.Fatalf("%d segments, up to entry %d", len(segments), m.Log.Last())
	}
	for _, s := range segments {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.Name)))
		if err != nil || !bytes.Equal(b, s.Data) {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

// TestNewFile: a bbolt file without buckets is that of a start that did not come far, unless a log says otherwise.
func TestNewFile(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"": "first-start-interrupted",
		"node 1\nentry 1 term 1 put a 1\ncommit 1 term 1": "bucket-missing",
	} {
		dir := inspecttest.Dir(t, lines)
		db, err := bbolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, &bbolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, f := range opened(t, dir)[0].Findings {
			codes = append(codes, f.Code)
		}
		if !slices.Contains(codes, want) {
			t.Errorf("%q: %q", lines, codes)
		}
	}
}
