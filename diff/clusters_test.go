package diff_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/inspecttest"
)

// cluster is a case of testdata/clusters.txtar, whose format is told there.
type cluster struct {
	log, rows string            // what all cases begin with
	members   []string          // labels, in the order in which they are given
	bases     []string          // labels of earlier states
	replay    bool              // run logs again
	blocks    map[string]string // lines by head: "rows" and "log" of all, "b" and "b log" of b where it has its own
	want      []string          // what is said
}

// clusters are the cases, by name.
func clusters(t *testing.T) map[string]*cluster {
	t.Helper()
	file, err := txtar.ParseFile("testdata/clusters.txtar")
	if err != nil || len(file.Files) < 40 || file.Files[0].Name != "log" || file.Files[1].Name != "rows" {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	all := map[string]*cluster{}
	for _, f := range file.Files[2:] {
		if all[f.Name] != nil {
			t.Fatalf("two cases are called %q", f.Name)
		}
		c := &cluster{log: string(file.Files[0].Data), rows: string(file.Files[1].Data), members: []string{"a", "b", "c"}}
		c.blocks = map[string]string{"log": c.log, "rows": c.rows}
		head := ""
		for line := range strings.Lines(string(f.Data)) {
			if err := c.read(&head, strings.TrimSpace(line)); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
		}
		all[f.Name] = c
	}
	return all
}

// read takes in a line of a case. head is that of the block which it stands in.
func (c *cluster) read(head *string, line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch h, isHead := strings.CutSuffix(line, ":"); {
	case verb == "->":
		c.want = append(c.want, rest)
	case verb == "members":
		c.members = strings.Fields(rest)
	case verb == "bases":
		c.bases = strings.Fields(rest)
	case verb == "replay":
		c.replay = true
	case isHead:
		*head = h
		c.blocks[h] = c.block(h)
	case verb == "+":
		c.blocks[*head] += rest + "\n"
	case verb == "-":
		before := c.blocks[*head]
		if c.blocks[*head] = withoutLines(before, rest); c.blocks[*head] == before {
			return fmt.Errorf("no line of %q begins with %q", *head, rest)
		}
	case verb == "compact", verb == "purge":
		n, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return err
		}
		if verb == "purge" {
			c.blocks[*head] = purged(c.blocks[*head], n)
		} else {
			c.blocks[*head] = compacted(c.blocks[*head], int64(n))
		}
	default:
		return fmt.Errorf("what is %q?", line)
	}
	return nil
}

// block is that of a head: the member's own, or that of all.
func (c *cluster) block(head string) string {
	if own, ok := c.blocks[head]; ok {
		return own
	}
	if strings.HasSuffix(head, "log") {
		return c.blocks["log"]
	}
	return c.blocks["rows"]
}

// withoutLines leaves out those that begin with some words.
func withoutLines(lines, words string) string {
	var kept strings.Builder
	for l := range strings.Lines(lines) {
		if next, is := strings.CutPrefix(l, words); !is || !strings.HasPrefix(next, " ") && next != "\n" {
			kept.WriteString(l)
		}
	}
	return kept.String()
}

var rowLine = regexp.MustCompile(`^(rev|del) (\d+) ([^ =\n]+)`)

// compacted leaves out the rows that a compaction at a revision removes (server/storage/mvcc/key_index.go, 3.7, keep).
func compacted(lines string, at int64) string {
	newest, revisionOf := map[string]int64{}, func(row []string) int64 {
		rev, _ := strconv.ParseInt(row[2], 10, 64)
		return rev
	}
	for line := range strings.Lines(lines) {
		if row := rowLine.FindStringSubmatch(line); row != nil && revisionOf(row) <= at {
			newest[row[3]] = revisionOf(row)
		}
	}
	var kept strings.Builder
	for line := range strings.Lines(lines) {
		row := rowLine.FindStringSubmatch(line)
		if row == nil || revisionOf(row) > at || row[1] == "rev" && newest[row[3]] == revisionOf(row) {
			kept.WriteString(line)
		}
	}
	fmt.Fprintf(&kept, "row meta scheduledCompactRev rev(%d)\nrow meta finishedCompactRev rev(%d)\n", at, at)
	return kept.String()
}

// purged leaves out the entries of a log up to one, as after a snapshot.
func purged(lines string, upTo uint64) string {
	term, kept := uint64(0), ""
	for line := range strings.Lines(lines) {
		var index, of uint64
		if n, _ := fmt.Sscanf(line, "entry %d term %d", &index, &of); n < 2 || index > upTo {
			kept += line
			continue
		}
		term = of
	}
	return fmt.Sprintf("snapshot %d term %d voters 1,2,3\nsnap %d term %d voters 1,2,3 members 1=a,2=b,3=c\n", upTo, term, upTo, term) + kept
}

// isPurged tells whether entries of a log are gone.
func isPurged(lines string) bool { return strings.HasPrefix(lines, "snapshot ") }

// lastEntry is the last entry of the logs that asks for something, or changes members.
func (c *cluster) lastEntry() (last uint64) {
	for _, m := range c.members {
		for line := range strings.Lines(c.block(m + " log")) {
			var index uint64
			if _, err := fmt.Sscanf(line, "entry %d", &index); err == nil {
				last = max(last, index)
			}
		}
	}
	return last
}

// open makes members of labels, of which "b-again" is another one of b, and opens them.
func (c *cluster) open(t *testing.T, labels ...string) []*inspect.Member {
	t.Helper()
	if len(labels) == 0 {
		return nil
	}
	var args []string
	dirs := map[string]string{}
	for _, label := range labels {
		name, _, _ := strings.Cut(label, "-")
		if dirs[name] == "" {
			dirs[name] = inspecttest.Dir(t, fmt.Sprintf("node %d\n%s%s", 1+name[0]-'a', c.block(name+" log"), c.block(name)))
		}
		args = append(args, label+"="+dirs[name])
	}
	set, err := inspect.Open(t.Context(), args, inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set.Members
}

// investigate compares members, or, if none is named, those of the case.
func (c *cluster) investigate(t *testing.T, labels ...string) *diff.Document {
	t.Helper()
	if len(labels) == 0 {
		labels = c.members
	}
	return diff.Investigate(t.Context(), c.open(t, labels...), diff.Options{Replay: c.replay, Bases: c.open(t, c.bases...)})
}

// place is what is said of where members parted.
type place struct {
	verdict     diff.Verdict
	first, last uint64   // of the first divergence; everywhere if it is not told
	minority    []string // of it
	keys        []string // that differ now
	bugs        []string // known ones that any member shows
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
	slices.Sort(p.bugs)
	p.bugs = slices.Compact(p.bugs)
	return p
}

// same tells whether as much is said of where members parted, and of what differs now.
func (p *place) same(q *place) bool {
	return p.verdict == q.verdict && p.first == q.first && p.last == q.last && p.divergences == q.divergences && slices.Equal(p.keys, q.keys)
}

// says is what a document says, a line each.
func says(d *diff.Document) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	add("%s", d.Verdict)
	if d.Headline != "" {
		add("headline %s", d.Headline)
	}
	tell := func(kind string, v *diff.Divergence) {
		who := strings.Join(v.Minority, " ")
		if v.Minority == nil {
			var sides []string
			for _, g := range v.Groups {
				sides = append(sides, strings.Join(g, " "))
			}
			who = strings.Join(sides, " | ")
		}
		where := "nowhere"
		switch {
		case v.Entry != nil:
			where = fmt.Sprint(v.Entry.Index)
		case v.EntryInterval != nil:
			where = fmt.Sprintf("%d..%d", v.EntryInterval.First, v.EntryInterval.Last)
		}
		add("%s %s: %s at %s: %s", kind, v.Layer, who, where, v.What)
		for _, e := range v.Effects {
			does := e.Note
			if e.Revision > 0 {
				does = strings.TrimSpace(fmt.Sprintf("revision %d %s", e.Revision, does))
			}
			for _, c := range e.Changes {
				does += fmt.Sprintf(", %s %s", c.Op, c.Key)
			}
			if e.Entry != nil {
				does += ", has " + e.Entry.Summary
			}
			add("  %s: %s", strings.Join(e.Members, " "), strings.TrimPrefix(does, ", "))
		}
		for _, x := range v.Explanations {
			if x.Status == diff.Confirmed {
				add("  because %s", x.ID)
			}
		}
	}
	for i := range d.Divergences {
		tell("cause", &d.Divergences[i])
	}
	for i := range d.Consequences {
		tell("then", &d.Consequences[i])
	}
	for k := range d.Keys.All() {
		add("key %s %s", k.Key, k.Difference)
	}
	for _, l := range d.Leases {
		var has []string
		for label, s := range l.ByMember {
			if s.Present {
				has = append(has, label)
			}
		}
		slices.Sort(has)
		add("lease %x on %s", uint64(l.ID), strings.Join(has, " "))
	}
	for _, l := range d.Lag {
		add("lag %s %d..%d", l.Member, l.First, l.Last)
	}
	for _, r := range d.Reexecutions {
		add("run again %s from %s: %d entries, clean %v %s", r.Member, r.Base, r.Entries, r.Clean, r.Error)
		for _, x := range r.Departures {
			at := "no entry"
			if x.Entry != nil {
				at = fmt.Sprint(x.Entry.Index)
			}
			add("  at %s: %s", at, x.What)
		}
	}
	for _, w := range d.NotComparedWhy {
		add("not compared %s", w)
	}
	for _, r := range d.Reasons {
		add("reason %s", r)
	}
	for i, l := range all {
		all[i] = strings.TrimSpace(l)
	}
	return all
}

// sorted are lines without their order.
func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// TestClusters asserts what is said of each cluster, that it can be read again as JSON, and that the order in which members are named does not matter.
func TestClusters(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := c.investigate(t)
			if x := cmp.Diff(c.want, says(d)); x != "" {
				t.Errorf("(-want +got):\n%s", x)
			}
			text, err := json.Marshal(d)
			var again map[string]any
			if err = errors.Join(err, json.Unmarshal(text, &again)); err != nil || again["verdict"] != string(d.Verdict) {
				t.Errorf("as JSON: %v, verdict %v", err, again["verdict"])
			}
			reversed := slices.Clone(c.members)
			slices.Reverse(reversed)
			rotated := append(slices.Clone(c.members[1:]), c.members[0])
			for _, labels := range [][]string{reversed, rotated} {
				if x := cmp.Diff(sorted(c.want), sorted(says(c.investigate(t, labels...)))); x != "" {
					t.Errorf("in the order %s (-want +got):\n%s", labels, x)
				}
			}
			p, q := placeOf(d), placeOf(diff.Compare(c.open(t, reversed...)))
			if !q.same(&p) || !slices.Equal(q.minority, p.minority) {
				t.Errorf("compared only: %+v, not %+v", q, p)
			}
		})
	}
}

// TestGivenTwice gives a member twice: by itself that compares nothing, and among others it changes nothing.
func TestGivenTwice(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := placeOf(c.investigate(t))
			for _, m := range c.members {
				if strings.Contains(m, "-") {
					continue
				}
				if d := c.investigate(t, m, m+"-twice"); d.Verdict != diff.NotComparable || len(d.Divergences) > 0 {
					t.Errorf("%s twice: %q", m, says(d))
				}
				if len(c.members) < 2 || c.want[0] == string(diff.NotComparable) {
					continue
				}
				d := c.investigate(t, append(slices.Clone(c.members), m+"-twice")...)
				if x := cmp.Diff(c.want, says(d)); x != "" {
					t.Errorf("with %s twice (-want +got):\n%s", m, x)
				}
				if q := placeOf(d); !slices.Equal(q.bugs, p.bugs) {
					t.Errorf("with %s twice: known bugs %q, not %q", m, q.bugs, p.bugs)
				}
			}
		})
	}
}

// TestOneMore adds a member that holds what the log makes, but for what a case changes for all: it is no cause, and makes none. Beside those that
// hold the same, nothing differs.
func TestOneMore(t *testing.T) {
	t.Parallel()
	for name, c := range clusters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			without := c.investigate(t)
			for _, m := range c.members {
				if c.blocks[m] == "" && c.blocks[m+" log"] == "" && !strings.Contains(m, "-") {
					d := diff.Compare(c.open(t, m, "d"))
					if unread := d.Verdict == diff.Indeterminate && len(without.Reasons) > 0; d.Verdict != diff.Consistent && !unread {
						t.Errorf("%s and d: %q", m, says(d))
					}
				}
			}
			if len(without.Divergences) > 0 && without.Divergences[0].Minority == nil {
				return // what no majority tells apart is told in another way then
			}
			with := c.investigate(t, append(slices.Clone(c.members), "d")...)
			if p, q := placeOf(without), placeOf(with); len(c.members) > 2 && (!q.same(&p) || !slices.Equal(p.bugs, q.bugs)) {
				t.Errorf("%+v, and without it %+v", q, p)
			}
			if len(with.Divergences)+len(with.Consequences) > len(without.Divergences)+len(without.Consequences) {
				t.Errorf("%q, and without it %q", says(with), says(without))
			}
			for i := range with.Divergences {
				if slices.Contains(with.Divergences[i].Faulty, "d") {
					t.Errorf("it is to blame: %q", says(with))
				}
			}
		})
	}
}

// TestLessEvidence compacts and purges the clusters of whole logs: no more is said then, and where members part lies in what is said of it.
func TestLessEvidence(t *testing.T) {
	t.Parallel()
	var diverged atomic.Int32
	t.Cleanup(func() {
		if diverged.Load() < 100 {
			t.Errorf("%d clusters parted only", diverged.Load())
		}
	})
	for name, c := range clusters(t) {
		whole, noLog := len(c.bases) == 0, false
		for _, m := range c.members {
			noLog = noLog || c.block(m+" log") == ""
			whole = whole && !isPurged(c.block(m+" log")) && !strings.Contains(c.block(m), "CompactRev")
		}
		if !whole {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			truth, end := placeOf(c.investigate(t)), c.lastEntry()
			if !noLog {
				end++ // else no entry is left to tell what the member without a log lacks
			}
			compacted := []int64{0, 5}
			if c.onlyKeys() {
				compacted = []int64{0, 3, 5}
			}
			for _, at := range compacted {
				for upTo := range end {
					d := c.less(at, upTo).investigate(t)
					p := placeOf(d)
					about := fmt.Sprintf("compacted at %d, without entries up to %d: %q", at, upTo, says(d))
					if p.verdict == diff.Diverged {
						diverged.Add(1)
					}
					switch {
					case p.verdict != diff.Diverged:
						if truth.verdict == diff.Diverged && len(truth.keys) > 0 && p.verdict == diff.Consistent {
							t.Errorf("%s, though keys differ: %q", about, truth.keys)
						}
					case truth.first == 0 && p.first > 1: // no entry did it, and 1 is where an entry that is gone may be
						t.Errorf("%s, but in truth: %+v", about, truth)
					case truth.verdict != diff.Diverged, truth.first > 0 && (p.first > truth.first || p.last < truth.last):
						t.Errorf("%s, but in truth: %+v", about, truth)
					}
				}
			}
		})
	}
}

// less is a cluster whose members are compacted at a revision, and whose logs lack the entries up to one; 0 for neither.
func (c *cluster) less(at int64, upTo uint64) *cluster {
	less := &cluster{members: c.members, blocks: map[string]string{}}
	for _, m := range c.members {
		m, _, _ = strings.Cut(m, "-")
		rows, log := c.block(m), c.block(m+" log")
		if at > 0 {
			rows = compacted(rows, at)
		}
		if upTo > 0 && log != "" {
			log = purged(log, upTo)
		}
		less.blocks[m], less.blocks[m+" log"] = rows, log
	}
	return less
}
