package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/faults"
)

// ServerLog is what a log of a member's server tells of its runs.
type ServerLog struct {
	File            string // its name
	Member, Cluster uint64 // 0 if the log does not say
	// Runs are in their order. More than these there were if Gaps is true.
	Runs []ServerRun
	Gaps bool
}

// ServerRun is one process of a server.
type ServerRun struct {
	Version string // empty if the log does not say
	Begins  bool   // the log has its beginning
	// Commit is the commit index that it found at its start, 0 if there was none or the log does not say.
	Commit uint64
	// Stopped is true if it was stopped in order: then its db holds all entries up to the commit index that the next one finds. A process hands
	// committed entries over to be applied before it saves that they are committed, and applies what was handed over before it ends (start in
	// raft.go, Stop of pkg/schedule/schedule.go, 3.2 to 3.8).
	Stopped bool
}

// runHistory is what the server's logs of a member tell of the versions that applied its entries.
type runHistory struct {
	runs  []ServerRun
	files []string
}

// runHistories are those of the members that were compared. A log counts only if it says to be that of the member, and if the raft log has come as far as it
// says.
func (c *contents) runHistories() []runHistory {
	all := make([]runHistory, len(c.ms))
	if c.serverLogs == nil {
		return all
	}
	logs := c.serverLogs()
	for i, m := range c.ms {
		for _, l := range logs[m.Label] {
			foreign := !m.Log.HasMetadata || l.Member != m.Log.NodeID || l.Cluster != 0 && l.Cluster != m.Log.ClusterID
			if foreign || l.Gaps || slices.ContainsFunc(l.Runs, func(r ServerRun) bool { return r.Commit > m.Log.Last() }) {
				all[i] = runHistory{} // nor do others that were given for it count
				break
			}
			all[i].runs, all[i].files = append(all[i].runs, l.Runs...), append(all[i].files, l.File)
		}
	}
	return all
}

// runOf is the last process that began with a commit index below an entry, negative if that is not known.
func (l *runHistory) runOf(entry uint64) int {
	at := -1
	for k, r := range l.runs {
		if r.Commit < entry && (r.Commit > 0 || at < 0) {
			at = k
		}
	}
	if at == 0 && l.runs[0].Commit == 0 && !l.runs[0].Begins {
		return -1
	}
	return at
}

// versionsFrom are the versions that applied an entry, as far as commit indexes tell: of the last process that began below it and, where that was not
// stopped in order, of those after it, which apply again what its db had not saved. There are none if that is not known.
func (l *runHistory) versionsFrom(entry uint64) []*semver.Version {
	return l.versions(l.runOf(entry), l.runOf(entry))
}

// versionsFor are the versions that may have applied an entry for good. The process before may have gone on behind the commit index that it saved.
func (l *runHistory) versionsFor(entry uint64) []*semver.Version {
	at := l.runOf(entry)
	if at == 0 && l.runs[0].Commit > 0 {
		return nil
	}
	return l.versions(max(at-1, 0), at)
}

// versions are those of some processes, and of those that follow up to one that was stopped in order. There are none if one is not known.
func (l *runHistory) versions(first, last int) (versions []*semver.Version) {
	for k := first; last >= 0 && k < len(l.runs) && (k <= last || !l.runs[k-1].Stopped); k++ {
		v, err := semver.NewVersion(l.runs[k].Version)
		if err != nil {
			return nil
		}
		versions = append(versions, v)
	}
	return versions
}

// denied tells whether none of some versions goes by some rules.
func denied(ran []*semver.Version, rules apply.Rules) bool {
	return len(ran) > 0 && !slices.ContainsFunc(ran, func(v *semver.Version) bool { return rules.Covers(*v) })
}

// denies tells whether none of the versions that may have applied an entry goes by some rules.
func (l *runHistory) denies(entry uint64, rules apply.Rules) bool {
	return denied(l.versionsFor(entry), rules)
}

// contradicts is how much of a reading the logs make unlikely: rules that it takes to hold at its beginning, at its faults and at its end, and that none of
// the versions has which ran then. Of what the files leave open they say what is likelier, and no more.
func (l *runHistory) contradicts(x *explanation, r *faults.Reading) (n int) {
	if len(l.runs) == 0 {
		return 0
	}
	rules := r.Rules
	count := func(entry uint64) {
		if denied(l.versionsFrom(entry), rules) {
			n++
		}
	}
	count(x.member.Log.Entries[0].Index)
	for _, f := range r.Faults {
		if f.Kind == faults.Rules {
			rules = f.To
		}
		count(f.First)
	}
	count(x.member.Evidence.Index)
	return n
}

// preferRules takes the rules that a member's versions had at the beginning, where its log makes the same by them.
func (l *runHistory) preferRules(x *explanation) {
	first := x.member.Log.Entries[0].Index
	if !l.denies(first, x.chosen.Rules) {
		return
	}
	for _, rules := range x.member.Log.Versions(apply.Oldest, apply.Newest) {
		r := x.chosen
		if r.Rules = rules; !l.denies(first, rules) && x.member.Explains(&r) {
			x.chosen = r
			return
		}
	}
}

// possible splits faults that the files allow instead of the chosen one, which is the first, into those that the logs allow and those that they deny; all if they deny the chosen one.
func (l *runHistory) possible(all []faults.Fault) (possible, denied []faults.Fault) {
	if len(l.runs) == 0 || all[0].Kind != faults.Rules || l.denies(all[0].First, all[0].To) {
		return all, nil
	}
	for _, f := range all {
		if l.denies(f.First, f.To) {
			denied = append(denied, f)
		} else {
			possible = append(possible, f)
		}
	}
	return possible, denied
}

// onlyRules are those among all rules that hold for all versions that the logs tell, if they have the same ones and tell of the whole life of the member.
func (l *runHistory) onlyRules(all []apply.Rules) (rules apply.Rules, versions []string, ok bool) {
	if len(l.runs) == 0 || !l.runs[0].Begins || l.runs[0].Commit > 0 {
		return 0, nil, false
	}
	for k, r := range l.runs {
		v, err := semver.NewVersion(r.Version)
		if err != nil {
			return 0, nil, false
		}
		if k == 0 {
			if n := slices.IndexFunc(all, func(r apply.Rules) bool { return r.Covers(*v) }); n >= 0 {
				rules = all[n]
			}
		}
		if !rules.Covers(*v) {
			return 0, nil, false
		}
		if !slices.Contains(versions, r.Version) {
			versions = append(versions, r.Version)
		}
	}
	return rules, versions, true
}

// noteServerLogs notes what is known from the logs of servers and not from the files, and where these contradict them.
func (c *comparison) noteServerLogs() {
	// Where one goes over to other rules all are held against their logs there, with the logs' times.
	turns := slices.ContainsFunc(c.explained, func(x *explanation) bool {
		return x != nil && slices.ContainsFunc(x.chosen.Faults, func(f faults.Fault) bool { return f.Kind == faults.Rules })
	})
	for i, x := range c.explained {
		if x == nil || len(x.runs.runs) == 0 {
			continue
		}
		label, files := c.ms[i].Label, strings.Join(x.runs.files, ", ")
		c.doc.Members[slices.Index(c.all, c.ms[i])].Ran = x.runs.String()
		for n, f := range x.chosen.Faults {
			if f.Kind != faults.Rules {
				continue
			}
			if _, out := x.runs.possible(x.alternativeFaults(n)); len(out) > 0 {
				var entries []string
				for _, g := range out {
					entries = append(entries, fmt.Sprint(g.First))
				}
				c.doc.Notes = append(c.doc.Notes, fmt.Sprintf("by the files alone %s may have gone over to the rules of etcd %v with %s %s, too; that it did not rests on %s, by which no version with these rules had run by then",
					label, c.rulesName(f.To), plural(len(entries), "entry", "entries"), listOf(entries), files))
			}
		}
		if o := x.otherKindsReading(); o != nil {
			c.doc.Notes = append(c.doc.Notes, fmt.Sprintf("by the files alone it is as likely that on %s %s; that %s rests on %s", label, readingText(o), readingText(&x.chosen), files))
		}
		rules, versions, ok := x.runs.onlyRules(x.member.Log.Versions(apply.Oldest, apply.Newest))
		if !ok || turns || rules == x.chosen.Rules {
			continue
		}
		if r := (faults.Reading{Rules: rules, Faults: x.chosen.Faults, Initial: x.chosen.Initial}); !x.member.Explains(&r) {
			c.doc.Notes = append(c.doc.Notes, fmt.Sprintf("contradiction: what %s holds was made by the rules of etcd %v, and by %s no other version than %s ran; is the log of this member, and of this time?",
				label, c.rulesName(x.chosen.Rules), files, listOf(versions)))
		}
	}
}

// String lists the versions, with the entries behind which they were started.
func (l *runHistory) String() string {
	var parts []string
	last := ""
	for k, r := range l.runs {
		switch {
		case r.Version == "" || r.Version == last:
			continue
		case k == 0 || r.Commit == 0:
			parts = append(parts, r.Version)
		default:
			parts = append(parts, fmt.Sprintf("%s behind entry %d", r.Version, r.Commit))
		}
		last = r.Version
	}
	return strings.Join(parts, "; ")
}

// otherKindsReading is a reading of other kinds of faults that is as likely as the chosen one by the files alone, nil if there is none.
func (x *explanation) otherKindsReading() *faults.Reading {
	for k := range x.readings {
		r := &x.readings[k]
		if r.Cost == x.chosen.Cost && x.runs.contradicts(x, r) > x.runs.contradicts(x, &x.chosen) && !slices.EqualFunc(r.Faults, x.chosen.Faults, func(f, g faults.Fault) bool { return f.Kind == g.Kind }) {
			return r
		}
	}
	return nil
}

// readingText is a reading in clauses.
func readingText(r *faults.Reading) string {
	var parts []string
	for _, f := range r.Faults {
		parts = append(parts, f.String())
	}
	if len(parts) == 0 {
		return "nothing went wrong"
	}
	return listOf(parts)
}
