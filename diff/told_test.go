package diff_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/inspecttest"
)

// told is a case of testdata/told.txtar.
type told struct {
	members []string          // labels, in the order in which they are given
	bases   []string          // labels of earlier states
	replay  bool              // run logs again
	lines   map[string]string // by label, and by label and " log"; else by "rows" and "log", which are of all
	want    []string          // what is said
}

func tolds(t *testing.T) map[string]*told {
	t.Helper()
	file, err := txtar.ParseFile("testdata/told.txtar")
	if err != nil || len(file.Files) < 40 || file.Files[0].Name != "log" || file.Files[1].Name != "rows" {
		t.Fatalf("%d cases: %v", len(file.Files), err)
	}
	all := map[string]*told{}
	for _, f := range file.Files[2:] {
		c := &told{members: []string{"a", "b", "c"}, lines: map[string]string{"log": string(file.Files[0].Data), "rows": string(file.Files[1].Data)}}
		of := ""
		for line := range strings.Lines(string(f.Data)) {
			verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch head, isHead := strings.CutSuffix(strings.TrimSpace(line), ":"); {
			case verb == "->":
				c.want = append(c.want, rest)
			case verb == "members":
				c.members = strings.Fields(rest)
			case verb == "bases":
				c.bases = strings.Fields(rest)
			case verb == "replay":
				c.replay = true
			case isHead:
				of = head
				c.lines[of] = c.of(of)
			case verb == "+":
				c.lines[of] += rest + "\n"
			case verb == "-":
				var kept strings.Builder
				for l := range strings.Lines(c.lines[of]) {
					if next, is := strings.CutPrefix(l, rest); !is || !strings.HasPrefix(next, " ") && next != "\n" {
						kept.WriteString(l)
					}
				}
				if kept.Len() == len(c.lines[of]) {
					t.Fatalf("%s: no line of %s begins with %q", f.Name, of, rest)
				}
				c.lines[of] = kept.String()
			case verb == "compact":
				c.lines[of] = withoutRows(c.lines[of], int64(numberOf(t, rest)))
			case verb == "purge":
				c.lines[of] = withoutEntries(c.lines[of], numberOf(t, rest))
			default:
				t.Fatalf("%s: what is %q?", f.Name, line)
			}
		}
		all[f.Name] = c
	}
	return all
}

func numberOf(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// withoutRows are the lines of a db that was compacted at a revision.
func withoutRows(lines string, at int64) string {
	tables := ""
	for l := range strings.Lines(lines) {
		if !rowLine.MatchString(l) {
			tables += l
		}
	}
	return compacted(lines, at) + tables
}

// withoutEntries are the lines of a log of which those up to one are gone.
func withoutEntries(lines string, upTo uint64) string {
	kept := fmt.Sprintf("snapshot %d term 2\n", upTo)
	for l := range strings.Lines(lines) {
		if n, err := strconv.ParseUint(strings.Fields(l)[1], 10, 64); err != nil || n > upTo {
			kept += l
		}
	}
	return kept
}

// purgedUpTo is the last entry that is gone, 0 if none is.
func purgedUpTo(log string) (index uint64) {
	if _, err := fmt.Sscanf(log, "snapshot %d", &index); err != nil {
		return 0
	}
	return index
}

// lastEntry is the last entry of the logs that asks for something, or changes members.
func (c *told) lastEntry() (last uint64) {
	for _, m := range c.members {
		for l := range strings.Lines(c.of(m + " log")) {
			var index uint64
			if _, err := fmt.Sscanf(l, "entry %d", &index); err == nil {
				last = max(last, index)
			}
		}
	}
	return last
}

// of are the lines of a member, "b" or "b log": its own, or those of all.
func (c *told) of(head string) string {
	if own, ok := c.lines[head]; ok {
		return own
	}
	if strings.HasSuffix(head, "log") {
		return c.lines["log"]
	}
	return c.lines["rows"]
}

// open opens the members, and the earlier states.
func (c *told) open(t *testing.T, labels ...string) []*inspect.Member {
	t.Helper()
	var args []string
	dirs := map[string]string{}
	for _, label := range labels {
		name, _, _ := strings.Cut(label, "-") // "a-again" is another name of a
		dir := dirs[name]
		if dir == "" {
			lines := c.of(name)
			if index := purgedUpTo(c.of(name + " log")); index > 0 {
				lines += fmt.Sprintf("snap %d term 2 voters 1,2,3 members 1=a,2=b,3=c\n", index)
			}
			dir = inspecttest.Dir(t, lines)
			writeLog(t, filepath.Join(dir, "member", "wal"), uint64(1+name[0]-'a'), c.of(name+" log"))
			dirs[name] = dir
		}
		args = append(args, label+"="+dir)
	}
	if args == nil {
		return nil
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

func (c *told) investigate(t *testing.T) *diff.Document {
	t.Helper()
	return diff.Investigate(t.Context(), c.open(t, c.members...), diff.Options{Replay: c.replay, Bases: c.open(t, c.bases...)})
}

// writeLog makes the log of a node. A line is one of
//
//	entry INDEX term TERM REQUEST     one of [inspecttest.Request], or "add ID", "learner ID", "remove ID", "junk"
//	idle FROM..TO term TERM           entries that ask for nothing, as new leaders make them
//	commit INDEX term TERM            a hard state
//	snapshot INDEX term TERM          of voters 1, 2 and 3
func writeLog(t *testing.T, dir string, node uint64, lines string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	number := func(s string) *uint64 { return new(numberOf(t, s)) }
	if strings.TrimSpace(lines) == "" {
		return
	}
	meta, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: &node, ClusterID: new(uint64(9))})
	must(err)
	w, err := wal.Create(zap.NewNop(), dir, meta)
	must(err)
	w.SetUnsafeNoFsync()
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		switch f[0] {
		case "entry":
			e := &raftpb.Entry{Index: number(f[1]), Term: number(f[3]), Type: raftpb.EntryNormal.Enum()}
			change := func(typ raftpb.ConfChangeType) {
				m := membership.Member{ID: types.ID(*number(f[5])), RaftAttributes: membership.RaftAttributes{PeerURLs: []string{"http://" + f[5] + ":2380"}, IsLearner: typ == raftpb.ConfChangeAddLearnerNode}}
				context, err := json.Marshal(membership.ConfigChangeContext{Member: m})
				must(err)
				e.Type = raftpb.EntryConfChange.Enum()
				e.Data, err = proto.Marshal(&raftpb.ConfChange{Type: typ.Enum(), NodeId: number(f[5]), Context: context})
				must(err)
			}
			switch f[4] {
			case "add":
				change(raftpb.ConfChangeAddNode)
			case "learner":
				change(raftpb.ConfChangeAddLearnerNode)
			case "remove":
				change(raftpb.ConfChangeRemoveNode)
			case "junk":
				e.Data = []byte{0xff, 0xff}
			default:
				in := inspecttest.Request(t, strings.Join(f[4:], " "))
				in.Header.ID = *e.Index
				e.Data, err = proto.Marshal(in)
				must(err)
			}
			must(w.Save(&raftpb.HardState{}, []*raftpb.Entry{e}))
		case "idle":
			from, to, _ := strings.Cut(f[1], "..")
			for i := *number(from); i <= *number(to); i++ {
				must(w.Save(&raftpb.HardState{}, []*raftpb.Entry{{Index: new(i), Term: number(f[3]), Type: raftpb.EntryNormal.Enum()}}))
			}
		case "commit":
			must(w.Save(&raftpb.HardState{Commit: number(f[1]), Term: number(f[3]), Vote: new(uint64(0))}, nil))
		case "snapshot":
			must(w.SaveSnapshot(&walpb.Snapshot{Index: number(f[1]), Term: number(f[3]), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}))
		default:
			t.Fatalf("no such line of a log: %s", line)
		}
	}
	must(w.Close())
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

// TestTold asserts what is said of the clusters of testdata/told.txtar, and that it does not depend on the order in which members are given.
func TestTold(t *testing.T) {
	t.Parallel()
	for name, c := range tolds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := c.investigate(t)
			text, err := json.Marshal(d)
			var again map[string]any
			if err = errors.Join(err, json.Unmarshal(text, &again)); err != nil || again["verdict"] != string(d.Verdict) {
				t.Errorf("as JSON: %v, verdict %v", err, again["verdict"])
			}
			if x := cmp.Diff(c.want, says(d)); x != "" {
				t.Errorf("(-want +got):\n%s", x)
			}
			slices.Reverse(c.members)
			back := says(c.investigate(t))
			got := says(d)
			slices.Sort(back)
			slices.Sort(got)
			if x := cmp.Diff(got, back); x != "" {
				t.Errorf("in another order (-the first +the other):\n%s", x)
			}
		})
	}
}

// TestToldTwice gives a member of each cluster of testdata/told.txtar twice: by itself that compares nothing, and among others it changes nothing.
func TestToldTwice(t *testing.T) {
	t.Parallel()
	for name, c := range tolds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, m := range c.members {
				if strings.Contains(m, "-") {
					continue
				}
				d := diff.Investigate(t.Context(), c.open(t, m, m+"-twice"), diff.Options{})
				if d.Verdict != diff.NotComparable || len(d.Divergences) > 0 {
					t.Errorf("%s twice: %q", m, says(d))
				}
				if len(c.members) < 2 {
					continue
				}
				d = diff.Investigate(t.Context(), c.open(t, append(slices.Clone(c.members), m+"-twice")...), diff.Options{Replay: c.replay, Bases: c.open(t, c.bases...)})
				if x := cmp.Diff(c.want, says(d)); x != "" && d.Verdict != diff.NotComparable {
					t.Errorf("with %s twice (-want +got):\n%s", m, x)
				}
			}
		})
	}
}

// TestToldHealthy adds a member that holds what the others of a cluster of testdata/told.txtar hold but for what befell them: that is no cause, and
// makes none.
func TestToldHealthy(t *testing.T) {
	t.Parallel()
	for name, c := range tolds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			without := c.investigate(t)
			if len(without.Divergences) > 0 && without.Divergences[0].Minority == nil {
				return // what no majority tells apart is told in another way then
			}
			d := diff.Investigate(t.Context(), c.open(t, append(slices.Clone(c.members), "d")...), diff.Options{})
			if len(d.Divergences)+len(d.Consequences) > len(without.Divergences)+len(without.Consequences) {
				t.Errorf("%q, and without it %q", says(d), says(without))
			}
			for i := range d.Divergences {
				if slices.Contains(d.Divergences[i].Faulty, "d") {
					t.Errorf("it is to blame: %q", says(d))
				}
			}
		})
	}
}

// TestToldLess compacts and purges the clusters of testdata/told.txtar: no more is said then, and where members part lies in what is said of it.
func TestToldLess(t *testing.T) {
	t.Parallel()
	for name, c := range tolds(t) {
		whole := true
		for _, m := range c.members {
			whole = whole && purgedUpTo(c.of(m+" log")) == 0 && !strings.Contains(c.of(m), "CompactRev")
		}
		if !whole || len(c.bases) > 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			truth := placeOf(c.investigate(t))
			for _, at := range []int64{0, 5} {
				for upTo := range c.lastEntry() {
					less := &told{members: c.members, lines: map[string]string{}}
					for _, m := range c.members {
						m, _, _ = strings.Cut(m, "-")
						if less.lines[m] = c.of(m); at > 0 {
							less.lines[m] = withoutRows(c.of(m), at)
						}
						if less.lines[m+" log"] = c.of(m + " log"); upTo > 0 && less.lines[m+" log"] != "" {
							less.lines[m+" log"] = withoutEntries(c.of(m+" log"), upTo)
						}
					}
					d := less.investigate(t)
					p := placeOf(d)
					about := fmt.Sprintf("compacted at %d, without entries up to %d: %q", at, upTo, says(d))
					switch {
					case p.verdict != diff.Diverged:
						if truth.verdict == diff.Diverged && len(truth.keys) > 0 && p.verdict == diff.Consistent {
							t.Errorf("%s, though keys differ: %q", about, truth.keys)
						}
					case truth.first == 0 && p.first > 1: // no entry did it, and 1 is where an entry that is gone may be
						t.Errorf("%s, but in truth: %q", about, truth.lines())
					case truth.verdict != diff.Diverged, truth.first > 0 && (p.first > truth.first || p.last < truth.last):
						t.Errorf("%s, but in truth: %q", about, truth.lines())
					}
				}
			}
		})
	}
}
