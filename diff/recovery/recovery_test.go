package recovery_test

import (
	"context"
	"errors"
	"flag"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/schema"
)

// moments is at how many entries each member is recovered; make recover-e2e asks for more.
var moments = flag.Int("recovery.n", 1, "recover each member at so many entries at random")

// read reads the members of a scenario.
func read(t *testing.T, scenario string) []*inspect.Member {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../../testdata", scenario, "*.tar.zst"))
	if err != nil || len(paths) == 0 {
		t.Skipf("no testdata for %s", scenario)
	}
	set, err := inspect.Open(t.Context(), paths, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set.Members
}

func compare(ctx context.Context, ms []*inspect.Member) *diff.Document {
	return diff.Investigate(ctx, ms, diff.Options{})
}

// recovered recovers into a file of its own, and reads that.
func recovered(t *testing.T, q *recovery.Request) (*recovery.Document, *inspect.Member, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.db")
	q.Compare = compare
	d, err := recovery.Recover(t.Context(), q, path)
	if err != nil {
		t.Fatalf("%s at %v: %v", q.From, q.Moment, err)
	}
	set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	m := set.Members[0]
	for _, f := range m.Findings {
		t.Errorf("%s at %v: found in the file: %v", q.From, q.Moment, f)
	}
	if d.Revision != m.DB.Revision() || d.Keys != m.DB.Rows.CountLive() || d.HashKV != m.DB.Rows.HashKV(d.Revision, d.CompactRevision) {
		t.Errorf("%s at %v: the document says something else than the file", q.From, q.Moment)
	}
	return d, m, path
}

// entriesOf are n entries of a member's log at random, the same ones each time, and the last that it has applied.
func entriesOf(m *inspect.Member, last uint64, n int) []uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.Origin[strings.LastIndex(m.Origin, "testdata"):]))
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	all := []uint64{last}
	for range n {
		all = append(all, 1+r.Uint64N(last))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// truth is what the life of a member is measured by: the member itself, or another one that holds what it held before damage.
var truth = map[string]map[string]string{
	"damaged-page":      {"a": "b"},
	"damaged-value":     {"b": "a"},
	"truncated-db":      {"b": "a"},
	"truncated-db-tail": {"b": "a"},
}

// TestMoments recovers members at entries at random, and compares with what the rows of the member, or of one that was not
// damaged, say about that moment: behind a parting it is each one's own life.
func TestMoments(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{
		"damaged-page", "damaged-value", "truncated-db", "truncated-db-tail", "crash-inconsistency", "log-fork", "lease-revoke-auth", "no-compaction",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			ms := read(t, scenario)
			l := diff.NewLedger(ms)
			for i, m := range ms {
				like := i
				if name, ok := truth[scenario][m.Label]; ok {
					like = slices.IndexFunc(ms, func(m *inspect.Member) bool { return m.Label == name })
				}
				for _, at := range entriesOf(m, l.Reach(like), *moments) {
					moment(t, ms, m, ms[like], l, like, at)
				}
			}
		})
	}
}

func moment(t *testing.T, ms []*inspect.Member, m, like *inspect.Member, l *diff.Ledger, n int, at uint64) {
	t.Helper()
	rev, ok := l.RevisionAt(n, at)
	if !ok {
		t.Fatalf("%s: which revision it had at entry %d is not known", like.Label, at)
	}
	d, got, _ := recovered(t, &recovery.Request{Members: ms, From: m.Label, Moment: recovery.Moment{Kind: recovery.AtEntry, N: at}})
	if !d.Whole || !d.Proven || d.Entry != at || d.Revision != rev {
		t.Errorf("%s at entry %d, revision %d: %+v", m.Label, at, rev, d)
	}
	// Rows below the compact revision of what it is measured by may be gone there: both are taken as compacted that far.
	compact := max(like.DB.CompactRevision(), d.CompactRevision)
	if compact > rev {
		return
	}
	if a, b := got.DB.Rows.HashKV(rev, compact), like.DB.Rows.HashKV(rev, compact); a != b {
		t.Errorf("%s at entry %d: hash %d at revision %d compacted at %d, want %d", m.Label, at, a, rev, compact, b)
	}
}

// TestDamaged recovers a member from its log, of which a page is lost, and compares it with the copy from before.
func TestDamaged(t *testing.T) {
	t.Parallel()
	damaged, before := read(t, "damaged-page-zero"), read(t, "healthy-3.6")
	like := before[slices.IndexFunc(before, func(m *inspect.Member) bool { return m.Label == "s2" })]
	for _, at := range []uint64{900, 1600} {
		d, got, _ := recovered(t, &recovery.Request{Members: damaged, Moment: recovery.Moment{Kind: recovery.AtEntry, N: at}})
		if a, b := got.DB.Rows.HashKV(d.Revision, d.CompactRevision), like.DB.Rows.HashKV(d.Revision, d.CompactRevision); a != b || !d.Whole || !d.Proven {
			t.Errorf("at entry %d: hash %d, want %d: %+v", at, a, b, d)
		}
	}
}

// TestHealthy recovers a healthy member at every 50th entry, and compares keys with its rows and leases with what its log has
// granted and not revoked until then.
func TestHealthy(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"healthy-3.2", "healthy-3.5", "healthy-3.6", "healthy-upgrade-3.5-3.6"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			ms := read(t, scenario)
			step := uint64(1000 / *moments)
			l := diff.NewLedger(ms)
			for at := step; at <= l.Reach(0); at += step {
				moment(t, ms, ms[0], ms[0], l, 0, at)
			}
			_, got, _ := recovered(t, &recovery.Request{Members: ms, From: ms[0].Label, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 500}})
			if want := leasesAt(ms[0], 500); !slices.EqualFunc(got.DB.Tables.Leases, want, func(l schema.LeaseRecord, id int64) bool { return l.ID == id }) {
				t.Errorf("leases %v, want %v", got.DB.Tables.Leases, want)
			}
		})
	}
}

func leasesAt(m *inspect.Member, index uint64) (ids []int64) {
	for _, e := range diff.AppliedLog([]*inspect.Member{m}, 0) {
		if e.Index > index {
			break
		}
		in := e.Request().Internal
		switch {
		case in.GetLeaseGrant() != nil:
			ids = append(ids, in.LeaseGrant.ID)
		case in.GetLeaseRevoke() != nil:
			ids = slices.DeleteFunc(ids, func(id int64) bool { return id == in.LeaseRevoke.ID })
		}
	}
	slices.SortFunc(ids, func(a, b int64) int { return int(min(max(int64(uint64(a)>>1)-int64(uint64(b)>>1), -1), 1)) })
	return ids
}

// TestCopies recovers what every copy of every scenario holds: whole ones exactly, others as far as they can be read.
func TestCopies(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{
		"healthy-3.2", "lease-revoke-auth", "damaged-page", "damaged-page-zero", "damaged-meta", "damaged-value", "truncated-db", "truncated-db-tail",
		"hot-copy-one-torn", "garbage-db", "missing-db",
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			restored := false
			for _, m := range read(t, scenario) {
				if m.DB == nil {
					refused(t, &recovery.Request{Members: []*inspect.Member{m}}, "no db that can be read")
					continue
				}
				d, got, path := recovered(t, &recovery.Request{Members: []*inspect.Member{m}})
				whole := m.Evidence().Whole() && m.DB.Whole
				proven := whole && (scenario != "damaged-value" || m.Label != "b") // of which a row is not that of its log
				if d.Whole != whole || d.Proven != proven {
					t.Errorf("%s: whole %v, proven %v, want %v and %v: %q", m.Label, d.Whole, d.Proven, whole, proven, d.Lost)
				}
				if d.HashKV != m.DB.Rows.HashKV(m.DB.Revision(), m.DB.CompactRevision()) || got.DB.Rows.Len() != m.DB.Rows.Len() {
					t.Errorf("%s: other rows than the copy has", m.Label)
				}
				if !restored || !d.Whole { // it takes a log of 64 MB each
					restores(t, path)
					restored = true
				}
			}
		})
	}
}

// restores restores a file with etcdutl, and lets bbolt check what comes of it.
func restores(t *testing.T, path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: "m", OutputDataDir: dir, PeerURLs: []string{"http://localhost:2380"}, InitialCluster: "m=http://localhost:2380", InitialClusterToken: "t",
	})
	if err != nil {
		t.Errorf("etcdutl does not restore it: %v", err)
		return
	}
	db, err := bolt.Open(filepath.Join(dir, "member", "snap", "db"), 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// refused fails unless a request is refused, with words about why, and leaves nothing behind.
func refused(t *testing.T, q *recovery.Request, words ...string) {
	t.Helper()
	dir := t.TempDir()
	q.Compare = compare
	_, err := recovery.Recover(t.Context(), q, filepath.Join(dir, "out.db"))
	r, ok := errors.AsType[*recovery.Refusal](err)
	if !ok {
		t.Fatalf("%v at %v: not refused: %v", q.From, q.Moment, err)
	}
	for _, w := range words {
		if !strings.Contains(r.Why+"\n"+r.Need, w) {
			t.Errorf("%q and %q do not say %q", r.Why, r.Need, w)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	ms := read(t, "lease-revoke-auth")
	at := func(n uint64) recovery.Moment { return recovery.Moment{Kind: recovery.AtEntry, N: n} }
	refused(t, &recovery.Request{Members: ms}, "parted, at entry 1576", "etcd-b", "keys lost", "--from", "--at-entry 1575")
	refused(t, &recovery.Request{Members: ms, Moment: at(1576)}, "parted")
	refused(t, &recovery.Request{Members: ms, From: "etcd-z"}, `"etcd-z"`, "etcd-a")
	refused(t, &recovery.Request{Members: ms, From: "etcd-a", Moment: at(99999)}, "later than all")
	refused(t, &recovery.Request{Members: ms, From: "etcd-a", Moment: recovery.Moment{Kind: recovery.AtRevision, N: 99999}}, "revision 99999")
	refused(t, &recovery.Request{Members: ms, From: "etcd-a", Without: []uint64{99999}}, "99999")
	refused(t, &recovery.Request{Members: read(t, "mixed-clusters")}, "clusters")
	refused(t, &recovery.Request{Members: read(t, "log-fork"), Union: true}, "conflict", "entry 361")
	// A copy that has lost its log can be taken back nowhere.
	refused(t, &recovery.Request{Members: []*inspect.Member{withoutLog(t, ms[0])}, Moment: at(700)}, "--base")
}

// withoutLog is a member whose log is gone.
func withoutLog(t *testing.T, m *inspect.Member) *inspect.Member {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, m.DB.File.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := inspect.Open(t.Context(), []string{path}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set.Members[0]
}

// TestRowsMissing writes a copy whose first rows are gone, as where a page of another moment was copied: what is written lacks them, too, and that is
// no reason to refuse it.
func TestRowsMissing(t *testing.T) {
	t.Parallel()
	m := withoutLog(t, read(t, "no-compaction")[0])
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, m.DB.File.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		c := tx.Bucket([]byte("key")).Cursor()
		for range 8 {
			if k, _ := c.First(); k == nil {
				return errors.New("too few rows")
			}
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "db") // no page of before is left in it, from which rows could be salvaged
	to, err := bolt.Open(gone, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bolt.Compact(to, db, 0), to.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	set, err := inspect.Open(t.Context(), []string{gone}, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	if set.Members[0].DB.Whole {
		t.Fatal("nothing is missing")
	}
	d, err := recovery.Recover(t.Context(), &recovery.Request{Members: set.Members, Compare: compare}, filepath.Join(t.TempDir(), "out.db"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Whole || d.Proven || !slices.Contains(d.Lost, "in the file the rows from revision 2 to 9 are missing") || d.Revisions != set.Members[0].DB.Rows.Len() {
		t.Errorf("%+v", d)
	}
}

// TestBase runs the log of a member whose db is gone on from a backup that another one made earlier.
func TestBase(t *testing.T) {
	t.Parallel()
	ms := read(t, "truncated-db")
	dead := ms[slices.IndexFunc(ms, func(m *inspect.Member) bool { return m.Label == "b" })]
	_, backup, _ := recovered(t, &recovery.Request{Members: ms, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 400}})
	purged := *dead.Log
	purged.Entries = purged.Entries[200:]
	alone := &inspect.Member{Label: "b", Origin: dead.Origin, Log: &purged}
	d, got, path := recovered(t, &recovery.Request{Members: []*inspect.Member{alone}, Bases: []*inspect.Member{backup}, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 889}})
	whole := ms[0].DB
	if a, b := got.DB.Rows.HashKV(d.Revision, 0), whole.Rows.HashKV(whole.Revision(), 0); a != b || d.Run != 489 || !d.Whole {
		t.Errorf("hash %d, want %d: %+v", a, b, d)
	}
	// A file that recover wrote lists no members: another cluster's would look the same, and no copy is there to compare with.
	if d.Proven || !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, "is of this cluster no file tells") }) {
		t.Errorf("proven without a copy: %q", d.Notes)
	}
	restores(t, path)
	refused(t, &recovery.Request{Members: []*inspect.Member{alone}, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 889}}, "--base", "an entry from 200 to 889")
}

// TestOthers makes the state of a member that has nothing but the end of its log from the rows of another one: nothing tells that it
// held the same.
func TestOthers(t *testing.T) {
	t.Parallel()
	ms := read(t, "truncated-db")
	log := *ms[1].Log
	log.Entries = log.Entries[600:]
	whole := *ms[0].Log
	whole.Entries = whole.Entries[600:]
	q := &recovery.Request{From: "b", Moment: recovery.Moment{Kind: recovery.AtEntry, N: 800}, Members: []*inspect.Member{
		{Label: "a", Origin: ms[0].Origin, DB: ms[0].DB, Log: &whole, Findings: ms[0].Findings}, {Label: "b", Origin: ms[1].Origin, Log: &log},
	}}
	d, _, _ := recovered(t, q)
	if d.Proven || !d.Whole || !strings.HasPrefix(d.Base, "the rows of a") {
		t.Errorf("%+v", d)
	}
}

// TestUnion takes the log that has come furthest to its end.
func TestUnion(t *testing.T) {
	t.Parallel()
	ms := read(t, "healthy-3.6")
	d, _, _ := recovered(t, &recovery.Request{Members: ms, Union: true})
	last := uint64(0)
	for _, m := range ms {
		last = max(last, m.Log.Last())
	}
	if d.Entry != last || !d.Whole || !d.Proven {
		t.Errorf("entry %d, want %d: %+v", d.Entry, last, d)
	}
}

// TestWithout leaves the only write of a key out.
func TestWithout(t *testing.T) {
	t.Parallel()
	ms := read(t, "log-fork")
	l := diff.NewLedger(ms)
	index, _, known := l.Making(0, 300)
	if !known {
		t.Fatal("which entry made revision 300 is not known")
	}
	row := ms[0].DB.Rows.Group(300)[0]
	d, got, _ := recovered(t, &recovery.Request{Members: ms, From: "a", Moment: recovery.Moment{Kind: recovery.AtRevision, N: 300}, Without: []uint64{index}})
	if d.Revision != 299 || d.ChangedCount != 1 || d.Changed[0].Key != string(row.Key()) {
		t.Errorf("%+v", d)
	}
	for i, p := range d.Proof {
		if strings.HasPrefix(p, "with them: ") != (i > 0) || strings.HasPrefix(p, "without entry ") != (i == 0) {
			t.Errorf("proof of which state: %q", d.Proof)
		}
	}
	if a, b := got.DB.Rows.HashKV(299, 0), ms[0].DB.Rows.HashKV(299, 0); a != b {
		t.Errorf("hash %d, want that of the revision before: %d", a, b)
	}
}

// TestShown asserts that a copy is called proven as far as a log makes its rows, and no further.
func TestShown(t *testing.T) {
	t.Parallel()
	m := read(t, "no-compaction")[0]
	d, _, _ := recovered(t, &recovery.Request{Members: []*inspect.Member{m}})
	if !d.Proven || d.ProvenFrom != 0 || !slices.ContainsFunc(d.Proof, func(s string) bool { return strings.Contains(s, "from the beginning of the cluster on") }) {
		t.Errorf("with all of its log: proven %v from %d: %q", d.Proven, d.ProvenFrom, d.Proof)
	}
	d, _, _ = recovered(t, &recovery.Request{Members: []*inspect.Member{withoutLog(t, m)}})
	if d.Proven || !d.Whole || !slices.Contains(d.Notes, "not proven: read whole, but no log shows its rows") {
		t.Errorf("without a log: proven %v, whole %v: %q", d.Proven, d.Whole, d.Notes)
	}
	log := *m.Log
	log.Entries = log.Entries[len(log.Entries)/2:]
	half := &inspect.Member{Label: m.Label, Origin: m.Origin, DB: m.DB, Log: &log, Findings: m.Findings}
	for _, moment := range []recovery.Moment{{}, {Kind: recovery.AtEntry, N: m.DB.Tables.ConsistentIndex}, {Kind: recovery.AtEntry, N: m.DB.Tables.ConsistentIndex - 5}} {
		d, _, _ = recovered(t, &recovery.Request{Members: []*inspect.Member{half}, Moment: moment})
		if !d.Proven || d.ProvenFrom < 2 || d.ProvenFrom > d.Revision || !slices.ContainsFunc(d.Proof, func(s string) bool { return strings.Contains(s, "no log shows those before") }) {
			t.Errorf("%v with half of its log: proven %v from %d: %q %q", moment, d.Proven, d.ProvenFrom, d.Proof, d.Notes)
		}
	}
	d, _, _ = recovered(t, &recovery.Request{Members: []*inspect.Member{half}, Moment: recovery.Moment{Kind: recovery.AtEntry, N: log.Entries[0].Index - 1}})
	if d.Proven {
		t.Errorf("of a moment before its log: proven from %d: %q", d.ProvenFrom, d.Proof)
	}
}

// TestPasswords recovers users with the hashes of their passwords, those of a moment before an entry as the copy has them.
func TestPasswords(t *testing.T) {
	t.Parallel()
	ms := read(t, "lease-revoke-auth")
	_, now, _ := recovered(t, &recovery.Request{Members: ms[:1]})
	_, then, path := recovered(t, &recovery.Request{Members: ms, From: ms[0].Label, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 1500}})
	n := 0
	for r := now.DB.Bolt.Bucket(schema.AuthUsers).Rows(); r.Next(); n++ {
		found := false
		for o := then.DB.Bolt.Bucket(schema.AuthUsers).Rows(); o.Next(); {
			var a, b authpb.User
			if proto.Unmarshal(r.Value(), &a) != nil || proto.Unmarshal(o.Value(), &b) != nil {
				t.Fatal("not a user")
			}
			found = found || string(a.Name) == string(b.Name) && string(a.Password) == string(b.Password) && slices.Equal(a.Roles, b.Roles) && len(a.Password) > 0
		}
		if !found {
			t.Errorf("user %s is otherwise", r.Key())
		}
	}
	if n < 2 {
		t.Errorf("%d users", n)
	}
	restores(t, path)
}

// TestFor writes what 3.7 holds for older releases.
func TestFor(t *testing.T) {
	t.Parallel()
	ms := read(t, "healthy-3.7")
	for release, want := range map[string][2]string{"3.4": {"", ""}, "3.5": {"3.5.0", ""}, "3.6": {"3.6.0", "3.6.0"}, "3.7": {"3.7.0", "3.7.0"}} {
		for _, moment := range []recovery.Moment{{}, {Kind: recovery.AtEntry, N: 300}} {
			d, got, _ := recovered(t, &recovery.Request{Members: ms, From: ms[0].Label, Moment: moment, For: release})
			if d.ClusterVersion != want[0] || d.StorageVersion != want[1] || got.DB.Tables.HasTerm != (release != "3.4") {
				t.Errorf("for %s: cluster version %q, storage version %q, term %v", release, d.ClusterVersion, d.StorageVersion, got.DB.Tables.HasTerm)
			}
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ms := read(t, "healthy-3.6")
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	q := &recovery.Request{Members: ms, From: ms[0].Label, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 900}, Compare: compare, Progress: func(string, int, int) { cancel() }}
	if _, err := recovery.Recover(ctx, q, filepath.Join(dir, "out.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("not stopped: %v", err)
	}
	q.Moment, q.Progress = recovery.Moment{}, nil
	if _, err := recovery.Recover(ctx, q, filepath.Join(dir, "out.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("not stopped: %v", err)
	}
	if _, err := recovery.Recover(t.Context(), q, filepath.Join(dir, "none", "out.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written where there is no directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSameBytes asserts that the same request gives the same file, whatever the order of members.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	ms := read(t, "healthy-3.6")
	var sums []string
	for range 2 {
		d, _, _ := recovered(t, &recovery.Request{Members: ms, Moment: recovery.Moment{Kind: recovery.AtEntry, N: 700}})
		sums = append(sums, d.SHA256)
		slices.Reverse(ms)
	}
	if sums[0] != sums[1] {
		t.Errorf("%s, then %s", sums[0], sums[1])
	}
}
