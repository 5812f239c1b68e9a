package diff_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/inspecttest"
)

// cluster is a case of testdata/clusters.txtar: its log, and the rows of each member.
type cluster struct {
	log  string
	rows map[string]string
	want []string
}

func clusters(t *testing.T) map[string]*cluster {
	t.Helper()
	file, err := txtar.ParseFile("testdata/clusters.txtar")
	if err != nil || len(file.Files) < 5 || file.Files[0].Name != "log" || file.Files[1].Name != "rows" {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	all := map[string]*cluster{}
	log, healthy := string(file.Files[0].Data), string(file.Files[1].Data)
	for _, f := range file.Files[2:] {
		c := &cluster{log: log, rows: map[string]string{"a": healthy, "b": healthy, "c": healthy, "d": healthy}}
		of := ""
		for line := range strings.Lines(string(f.Data)) {
			text := strings.TrimSpace(line)
			switch says, ok := strings.CutPrefix(text, "-> "); {
			case ok:
				c.want = append(c.want, says)
			case strings.HasSuffix(text, ":"):
				of = strings.TrimSuffix(text, ":")
				c.rows[of] = ""
			default:
				c.rows[of] += line
			}
		}
		all[f.Name] = c
	}
	return all
}

// written makes the members of some names, "a" or, to name it otherwise, "again=a".
func (c *cluster) written(t *testing.T, names ...string) (args []string) {
	t.Helper()
	dirs := map[string]string{}
	for _, n := range names {
		label, name, other := strings.Cut(n, "=")
		if !other {
			name = label
		}
		if dirs[name] == "" {
			dirs[name] = inspecttest.Dir(t, fmt.Sprintf("node %d\n%s%srow meta consistent_index be(%d)\nrow meta term be(1)\n", 1+name[0]-'a', c.log, c.rows[name], lastOf(c.log)))
		}
		args = append(args, label+"="+dirs[name])
	}
	return args
}

// lastOf is the last entry of a log that is committed.
func lastOf(log string) (index uint64) {
	for line := range strings.Lines(log) {
		if _, err := fmt.Sscanf(line, "commit %d", &index); err == nil {
			break
		}
	}
	return index
}

// place is what is said of where members parted.
type place struct {
	verdict     diff.Verdict
	first, last uint64   // of the first divergence; everywhere if it is not told
	minority    []string // of it
	keys        []string // that differ now
	bugs        []string
	divergences int
}

func placeOf(d *diff.Document) place {
	p := place{verdict: d.Verdict, last: math.MaxUint64, divergences: len(d.Divergences)}
	if len(d.Divergences) > 0 {
		v := &d.Divergences[0]
		switch {
		case v.Entry != nil:
			p.first, p.last = v.Entry.Index, v.Entry.Index
		case v.EntryInterval != nil:
			p.first, p.last = v.EntryInterval.First, v.EntryInterval.Last
		}
		p.minority = v.Minority
	}
	for k := range d.Keys.All() {
		p.keys = append(p.keys, string(k.Key)+" "+k.Difference)
	}
	for _, b := range d.KnownBugs {
		if b.ID != "nodeid-duplicate-or-swapped" { // said of a member that is given twice
			p.bugs = append(p.bugs, b.ID)
		}
	}
	return p
}

func (p place) lines() (all []string) {
	all = []string{string(p.verdict)}
	if p.divergences > 0 {
		where := fmt.Sprintf("where %s at %d", strings.Join(p.minority, " "), p.first)
		if p.last != p.first {
			where += fmt.Sprintf("..%d", p.last)
		}
		all = append(all, where)
	}
	for _, k := range p.keys {
		all = append(all, "key "+k)
	}
	return all
}

// investigated is what is said of members, in the order in which they are given.
func investigated(t *testing.T, args ...string) place {
	t.Helper()
	set, err := inspect.Open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	p := placeOf(diff.Investigate(t.Context(), set.Members, diff.Options{}))
	if back := slices.Clone(set.Members); len(back) > 1 {
		slices.Reverse(back)
		if q := placeOf(diff.Compare(back)); q.verdict != p.verdict || q.first != p.first || q.last != p.last || !slices.Equal(q.minority, p.minority) || !slices.Equal(q.keys, p.keys) {
			t.Errorf("in another order: %q, not %q", q.lines(), p.lines())
		}
	}
	return p
}

// TestClusters compares the clusters of testdata/clusters.txtar, and asserts what must not change what is said of them: the order in
// which members are named, one that is given twice, and one more that is healthy.
func TestClusters(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := investigated(t, c.written(t, "a", "b", "c")...)
			if d := cmp.Diff(c.want, p.lines()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for what, names := range map[string][]string{
				"in another order":    {"c", "a", "b"},
				"one given twice":     {"a", "b", "c", "e=a"},
				"the other one twice": {"a", "b", "c", "e=b"},
				"one more":            {"a", "b", "c", "d"},
			} {
				q := investigated(t, c.written(t, names...)...)
				if q.verdict != p.verdict || q.first != p.first || q.last != p.last || q.divergences != p.divergences || !slices.Equal(q.keys, p.keys) || !slices.Equal(q.bugs, p.bugs) {
					t.Errorf("%s: %q, not %q", what, q.lines(), p.lines())
				}
			}
			// Whatever is left out: what is said of those that are there stays true.
			if healthy := investigated(t, c.written(t, "a", "d")...); healthy.verdict != diff.Consistent {
				t.Errorf("a and d: %q", healthy.lines())
			}
		})
	}
}

var rowLine = regexp.MustCompile(`^(rev|del) (\d+) ([a-z]+)`)

// compacted are rows without those that a compaction at a revision removes (server/storage/mvcc/key_index.go, 3.7, keep).
func compacted(rows string, at int64) string {
	last := map[string]int64{}
	each := func(f func(line, verb, key string, rev int64)) {
		for line := range strings.Lines(rows) {
			if m := rowLine.FindStringSubmatch(line); m != nil {
				rev, _ := strconv.ParseInt(m[2], 10, 64)
				f(line, m[1], m[3], rev)
			}
		}
	}
	each(func(_, _, key string, rev int64) {
		if rev <= at {
			last[key] = rev
		}
	})
	var out strings.Builder
	each(func(line, verb, key string, rev int64) {
		if rev > at || last[key] == rev && verb == "rev" {
			out.WriteString(line)
		}
	})
	return out.String() + fmt.Sprintf("row meta scheduledCompactRev rev(%d)\nrow meta finishedCompactRev rev(%d)\n", at, at)
}

// purged is a log of which the entries up to one are gone, as after a snapshot.
func purged(log string, upTo uint64) string {
	out := fmt.Sprintf("snapshot %d term 1 voters 1,2,3,4\nsnap %d term 1 voters 1,2,3,4 members 1=a,2=b,3=c,4=d\n", upTo, upTo)
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if n, err := strconv.ParseUint(f[1], 10, 64); f[0] == "entry" && err == nil && n <= upTo {
			continue
		}
		out += line
	}
	return out
}

// TestLessEvidence asserts that where more was compacted or purged, no more is said: members that agree do not part, and where they part
// lies in what is said of it.
func TestLessEvidence(t *testing.T) {
	t.Parallel()
	diverged := 0
	for name, c := range clusters(t) {
		truth := investigated(t, c.written(t, "a", "b", "c")...)
		for _, at := range []int64{0, 3, 5} {
			for _, upTo := range []uint64{0, 4, 6, 9} {
				if at == 0 && upTo == 0 {
					continue
				}
				less := &cluster{log: c.log, rows: map[string]string{}}
				for n, rows := range c.rows {
					if less.rows[n] = rows; at > 0 {
						less.rows[n] = compacted(rows, at)
					}
				}
				if upTo > 0 {
					less.log = purged(c.log, upTo)
				}
				p := investigated(t, less.written(t, "a", "b", "c")...)
				about := fmt.Sprintf("%s, compacted at %d, without entries up to %d: %q", name, at, upTo, p.lines())
				if p.verdict != diff.Diverged {
					if truth.verdict == diff.Diverged && len(truth.keys) > 0 && p.verdict == diff.Consistent {
						t.Errorf("%s, though keys differ: %q", about, truth.keys)
					}
					continue
				}
				if diverged++; truth.verdict != diff.Diverged || p.divergences > 0 && (p.first > truth.first || p.last < truth.last) {
					t.Errorf("%s, but in truth: %q", about, truth.lines())
				}
			}
		}
	}
	if diverged < 10 {
		t.Errorf("%d clusters parted only", diverged)
	}
}

// TestLedger asserts that what is told of one entry, one key, or one hash agrees with where the members parted.
func TestLedger(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := inspect.Open(t.Context(), c.written(t, "a", "b", "c"), inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			d := diff.Investigate(t.Context(), set.Members, diff.Options{})
			p, l := placeOf(d), diff.NewLedger(set.Members)
			// The first entry of which the outcomes differ is the one that they part at.
			first, seen := uint64(0), uint64(0)
			for line := range l.Lines(0, 0) {
				if seen++; line.Index != seen || len(line.Variants) != 1 || len(line.Variants[0].Members) != 3 {
					t.Fatalf("line %d: %+v", seen, line)
				}
				if _, differ := l.Outcomes(&line.Variants[0]); differ && first == 0 {
					first = line.Index
				}
			}
			if seen != 12 || first != p.first {
				t.Errorf("%d lines, outcomes differ from entry %d on: %q", seen, first, p.lines())
			}
			// Every revision has its entry, and what that makes is its rows.
			for i, m := range set.Members {
				for rev := int64(2); rev <= m.DB.Revision(); rev++ {
					index, _, known := l.Making(i, rev)
					if !known {
						t.Errorf("%s: nothing is known of revision %d", m.Label, rev)
					}
					if e := l.Effect(i, index); index > 0 && !slices.Contains(e.Revisions, rev) {
						t.Errorf("%s: entry %d made revision %d, but its effect is %+v", m.Label, index, rev, e)
					}
					if len(l.Changes(i, rev)) != len(l.Rows(i, rev)) {
						t.Errorf("%s: revision %d has %d changes and %d rows", m.Label, rev, len(l.Changes(i, rev)), len(l.Rows(i, rev)))
					}
				}
			}
			// Members part over some key if, and only if, they part.
			all := ""
			if parts := l.Biography(diff.BiographyQuery{Prefix: &all}).Parts(); parts != (p.verdict == diff.Diverged) {
				t.Errorf("over some key they part: %v, and %q", parts, p.lines())
			}
			for _, k := range p.keys {
				key, _, _ := strings.Cut(k, " ")
				b := l.Biography(diff.BiographyQuery{Key: &key})
				if len(b.Keys) != 1 || !b.Parts() {
					t.Errorf("%s: %d keys, over which they part: %v", key, len(b.Keys), b.Parts())
				}
			}
			// Hashes are those of one group, or of two that part at the first revision that differs, if all have come so far.
			h := diff.Hashes(set.Members, 0)
			groups, reached := 1, set.Members[0].DB.Revision()
			for _, m := range set.Members {
				reached = min(reached, m.DB.Revision())
			}
			if p.verdict == diff.Diverged && d.Divergences[0].Revision <= reached {
				groups = 2
			}
			if h.Common == nil || len(h.Common.Groups) != groups || len(h.Partings) != groups-1 {
				t.Fatalf("%+v", h)
			}
			for _, x := range h.Partings {
				if x.Entries[0] != p.first && x.Entries[1] != p.first {
					t.Errorf("hashes part at revision %d, of the entries %d: %q", x.Revision, x.Entries, p.lines())
				}
			}
		})
	}
}

// truth is what testdata tells of a scenario.
type truth struct {
	Expect struct {
		Verdict   diff.Verdict   `json:"verdict"`
		VerdictIn []diff.Verdict `json:"verdict_in"`
		Entry     uint64         `json:"entry_index"`
		Minority  []string       `json:"minority"`
		Bug       string         `json:"bug"`
	} `json:"expect"`
}

// TestScenarios compares members of real clusters: what is said of them is what is known of them, in whatever order they are given, and
// what is not known of one of them does not make it part.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"healthy-3.6", "lease-revoke-auth", "log-fork", "tampered-value", "damaged-page"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("../testdata", name)
			b, err := os.ReadFile(filepath.Join(dir, "truth.json"))
			var want truth
			if err = errors.Join(err, json.Unmarshal(b, &want)); err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
			if err != nil || len(paths) != 3 {
				t.Fatalf("%q: %v", paths, err)
			}
			set, err := inspect.Open(t.Context(), paths, inspect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			d := diff.Investigate(t.Context(), set.Members, diff.Options{})
			p, x := placeOf(d), want.Expect
			if p.verdict != x.Verdict && !slices.Contains(x.VerdictIn, p.verdict) {
				t.Errorf("%s, want %s or one of %s", p.verdict, x.Verdict, x.VerdictIn)
			}
			if x.Entry > 0 && (p.first > x.Entry || p.last < x.Entry) || len(x.Minority) > 0 && !slices.Equal(p.minority, x.Minority) {
				t.Errorf("%q, want %q at %d", p.lines(), x.Minority, x.Entry)
			}
			if x.Bug != "" && !slices.ContainsFunc(d.Divergences[0].Explanations, func(e diff.Explanation) bool { return e.ID == x.Bug }) {
				t.Errorf("explanations %+v", d.Divergences[0].Explanations)
			}
			back := slices.Clone(set.Members)
			slices.Reverse(back)
			if q := placeOf(diff.Compare(back)); q.verdict != p.verdict || q.first != p.first || q.last != p.last || !slices.Equal(q.keys, p.keys) {
				t.Errorf("in another order: %q, not %q", q.lines(), p.lines())
			}
			for i := range set.Members {
				two := slices.Delete(slices.Clone(set.Members), i, i+1)
				if q := placeOf(diff.Compare(two)); q.verdict == diff.Diverged && p.verdict == diff.Consistent {
					t.Errorf("without %s: %q", set.Members[i].Label, q.lines())
				}
			}
			// The document is one that can be read again, and what it holds of keys outlives the files.
			held := d.Keys.Held()
			text, err := json.Marshal(d)
			var again map[string]any
			if err = errors.Join(err, json.Unmarshal(text, &again)); err != nil || again["verdict"] != string(p.verdict) || held.Len() != len(p.keys) {
				t.Errorf("%v: verdict %v, %d keys of %d", err, again["verdict"], held.Len(), len(p.keys))
			}
			// Members part over a lease that differs, and over the first keys that do.
			l := diff.NewLedger(set.Members)
			for _, x := range d.Leases[:min(len(d.Leases), 3)] {
				b := l.Biography(diff.BiographyQuery{Lease: &x.ID})
				if _, err := json.Marshal(b); err != nil || !b.Parts() {
					t.Errorf("lease %s: they do not part: %v", x.ID, err)
				}
			}
			for i := range min(held.Len(), 5) {
				key := string(held.At(i).Key)
				b := l.Biography(diff.BiographyQuery{Key: &key})
				if _, err := json.Marshal(b); err != nil || !b.Parts() {
					t.Errorf("%s: they do not part: %v", key, err)
				}
			}
			for line := range l.Lines(0, 0) {
				for i := range line.Variants {
					if _, differ := l.Outcomes(&line.Variants[i]); differ && p.verdict == diff.Consistent {
						t.Errorf("entry %d differs", line.Index)
					}
				}
			}
			// What is said of one member's files is said of it among others, too.
			for _, m := range set.Members {
				for _, f := range diff.CheckMember(m).Findings {
					if f.Severity == finding.Error && diff.Explain(f.Code) == (check.Advice{}) {
						t.Errorf("%s: %s is not explained", m.Label, f.Code)
					}
				}
			}
		})
	}
}

// TestLives asserts what the lives of members have in common, however they end.
func TestLives(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		set, err := inspect.Open(t.Context(), c.written(t, "a", "b", "c"), inspect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := placeOf(diff.Investigate(t.Context(), set.Members, diff.Options{}))
		l := diff.NewLedger(set.Members)
		for i, m := range set.Members {
			if l.Reach(i) != 12 || !l.Explained(i) || !l.BeginsWithCluster(i) || len(l.Log(i)) != 12 || len(diff.AppliedLog(set.Members, i)) != 12 {
				t.Errorf("%s: %s has come to entry %d, explained %v", name, m.Label, l.Reach(i), l.Explained(i))
			}
			if rev, ok := l.RevisionAt(i, 12); !ok || rev != m.DB.Revision() {
				t.Errorf("%s: %s is at revision %d in the end", name, m.Label, rev)
			}
			last := int64(1)
			for index := uint64(1); index <= 12; index++ {
				rev, ok := l.RevisionAt(i, index)
				if !ok || rev < last {
					t.Errorf("%s: %s is at revision %d after entry %d, and was at %d", name, m.Label, rev, index, last)
				}
				last = rev
				if e := l.Applied(i, index); e == nil || e.Index != index || diff.EntryAt(l.Log(i), index) == nil {
					t.Errorf("%s: %s has no entry %d", name, m.Label, index)
				}
				if odd := slices.Contains(p.minority, m.Label) && index >= p.first; l.Departed(i, index) && !odd {
					t.Errorf("%s: %s departed at entry %d", name, m.Label, index)
				}
			}
		}
		if forks := diff.LogForks(set.Members); len(forks) > 0 {
			t.Errorf("%s: %v", name, forks)
		}
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	}
}
