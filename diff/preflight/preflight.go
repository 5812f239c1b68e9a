// Package preflight says whether a release of etcd would start on the data of members, by what a check of their files finds.
package preflight

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/messages"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// Outcome is what becomes of a start.
type Outcome string

// Outcomes, the better first.
const (
	Starts  Outcome = "starts"
	Unknown Outcome = "unknown" // there is damage of which nothing is known for this release
	Harms   Outcome = "harms"   // it starts, and does harm
	Stops   Outcome = "stops"   // it does not start, or ends soon
)

var rank = []Outcome{Starts, Unknown, Harms, Stops}

// Document is the answer for all members.
type Document struct {
	SchemaVersion string   `json:"schema_version"`
	To            string   `json:"to"`
	Outcome       Outcome  `json:"outcome"` // the worst
	Members       []Member `json:"members"`
}

// Member is one of them.
type Member struct {
	Member   string    `json:"member"`
	Cluster  string    `json:"cluster_version"` // empty if no file tells
	Storage  string    `json:"storage_version"` // empty before 3.6
	Releases []Release `json:"releases"`
}

// Release is a range of releases that would do the same.
type Release struct {
	Releases string   `json:"releases"`
	Outcome  Outcome  `json:"outcome"`
	Reasons  []Reason `json:"reasons"`
}

// Reason is a finding on which it stops or does harm.
type Reason struct {
	Outcome Outcome `json:"outcome"`
	// Code is that of a finding of check, or of what the versions in the db say.
	Code   string `json:"code"`
	Detail string `json:"detail"`
	What   string `json:"what"`
	Count  int    `json:"count"`
	// Message is the id of what the server says, in the wordings that these releases have; numbers and names stand as {n}, {x} and {}.
	Message string   `json:"message"`
	Says    []string `json:"says"`
}

// Parse reads a release: a line, such as 3.6, or one release, such as 3.6.4.
func Parse(to string) (v *semver.Version, line bool, err error) {
	bad := fmt.Errorf("%q is no release of etcd 3 that is known: take a line from 3.2 to 3.7, such as 3.6, or a release of one, such as 3.6.4", to)
	full := to
	if line = strings.Count(to, ".") == 1; line {
		full += ".0"
	}
	v, err = semver.NewVersion(full)
	if err != nil || v.Major != 3 || v.Minor < 2 || v.Minor > 7 || v.PreRelease != "" || v.Metadata != "" {
		return nil, false, bad
	}
	return v, line, nil
}

// Run checks members.
func Run(ms []*inspect.Member, to string) (*Document, error) {
	v, line, err := Parse(to)
	if err != nil {
		return nil, err
	}
	d := &Document{SchemaVersion: diff.SchemaVersion, To: to, Outcome: Starts, Members: []Member{}}
	forks := diff.LogForks(ms)
	for _, m := range ms {
		x := one(m, v, line, forked(ms, m, forks))
		for _, r := range x.Releases {
			d.Outcome = worse(d.Outcome, r.Outcome)
		}
		d.Members = append(d.Members, x)
	}
	return d, nil
}

func worse(a, b Outcome) Outcome {
	return rank[max(slices.Index(rank, a), slices.Index(rank, b))]
}

// found is something that a rule may be about.
type found struct {
	code, detail string
	severity     finding.Severity
	count        int
	// doubt says why it is not known whether a start comes to it, empty if it does.
	doubt string
}

// forked is what conflicting logs say about a member. A leader whose entry is of another term than the one that a member has committed there
// makes that end (raft, log.go, maybeAppend); of entries of the same term nobody sees that they are different ones.
func forked(ms []*inspect.Member, m *inspect.Member, forks []diff.LogFork) (all []found) {
	for _, f := range forks {
		var sides []string
		for _, g := range f.Groups {
			sides = append(sides, strings.Join(g, " and "))
		}
		x := found{code: "log-fork-same-term", severity: finding.Error, count: 1, detail: fmt.Sprintf("at entry %d, which both sides know as committed, %s hold different ones", f.Index, strings.Join(sides, ", against "))}
		mine := slices.ContainsFunc(f.Groups, func(g []string) bool { return slices.Contains(g, m.Label) })
		for _, o := range ms {
			for i := range m.Log.Entries {
				e := &m.Log.Entries[i]
				if e.Index < f.Index || e.Index > min(m.Log.HardState.Commit, o.Log.HardState.Commit) {
					continue
				}
				if theirs := o.Log.Entry(e.Index); theirs != nil && theirs.Term != e.Term {
					x.code = "log-fork"
				}
			}
		}
		if mine {
			all = append(all, x)
		}
	}
	return all
}

func one(m *inspect.Member, v *semver.Version, line bool, more []found) Member {
	x := Member{Member: m.Label, Cluster: m.ClusterVersion()}
	if m.DB != nil {
		x.Storage = m.DB.Tables.StorageVersion
	}
	var all []found
	told := false // that something cannot be read
	for _, f := range diff.CheckMember(m).Findings {
		code := f.Code
		if check.OfPage(code) {
			code = check.Pages
		}
		told = told || f.Unreadable
		if strings.HasPrefix(code, "snap-") && reaches(m) {
			continue // a server sets the file aside
		}
		doubt := doubtful(m, &f)
		if i := slices.IndexFunc(all, func(o found) bool { return o.code == code && o.severity == f.Severity && o.doubt == doubt }); i >= 0 {
			all[i].count++
			continue
		}
		all = append(all, found{code: code, detail: f.Detail, severity: f.Severity, count: 1, doubt: doubt})
	}
	if whole, why := m.Complete(); !whole && !told {
		all = append(all, found{code: "not-complete", detail: strings.Join(why, "; "), severity: finding.Error, count: 1})
	}
	all = append(all, versions(m, x.Cluster, v)...)
	all = append(all, more...)
	starts := []int64{v.Patch}
	if line {
		for _, f := range all {
			for _, r := range rules[f.code] {
				starts = append(starts, r.edges(v.Minor)...)
			}
		}
		slices.Sort(starts)
		starts = slices.Compact(starts)
	}
	for i, p := range starts {
		at := semver.Version{Major: 3, Minor: v.Minor, Patch: p}
		r := Release{Releases: at.String(), Outcome: Starts, Reasons: []Reason{}}
		switch {
		case line && i+1 < len(starts) && starts[i+1] > p+1:
			r.Releases += fmt.Sprintf(" to 3.%d.%d", v.Minor, starts[i+1]-1)
		case line && i+1 == len(starts) && p == 0:
			r.Releases = fmt.Sprintf("every 3.%d", v.Minor)
		case line && i+1 == len(starts):
			r.Releases += " and later"
		}
		for _, f := range all {
			if why, ok := judge(f, at); ok {
				r.Reasons = append(r.Reasons, why)
				r.Outcome = worse(r.Outcome, why.Outcome)
			}
		}
		slices.SortStableFunc(r.Reasons, func(a, b Reason) int { return slices.Index(rank, b.Outcome) - slices.Index(rank, a.Outcome) })
		x.Releases = append(x.Releases, r)
	}
	return x
}

// doubtful says why it is not known whether a start comes to what was found, empty if it does.
func doubtful(m *inspect.Member, f *finding.Finding) string {
	switch {
	case f.Code == "db-missing" && len(m.Snaps) == 0:
		return "without a .snap file, a server does not look for a db that was there before: what comes of that is not known"
	case f.Severity == finding.Error && strings.HasPrefix(f.Code, "wal-") && sequence(f.File) < needed(m):
		return "it lies before the newest snapshot, where a server needs no entries; whether it reads that far back all the same differs between releases"
	}
	return ""
}

// reaches tells whether the log leads on from the newest .snap file that can be read, or from the beginning.
func reaches(m *inspect.Member) bool {
	first := uint64(0)
	if n := len(m.Snaps); n > 0 {
		first = m.Snaps[n-1].Index
	}
	return len(m.Log.Entries) > 0 && m.Log.Entries[0].Index <= first+1
}

// needed is the number of the segment that a start reads entries from: the last one that begins at the newest snapshot or before.
func needed(m *inspect.Member) (seq uint64) {
	if len(m.Snaps) == 0 {
		return 0
	}
	index := m.Snaps[len(m.Snaps)-1].Index
	for _, s := range m.Log.Segments {
		var n, first uint64
		if c, _ := fmt.Sscanf(path.Base(s.Name), "%16x-%16x.wal", &n, &first); c == 2 && first <= index {
			seq = max(seq, n)
		}
	}
	return seq
}

// sequence is the number of a segment by its name, the highest for another file.
func sequence(name string) uint64 {
	var n, first uint64
	if c, _ := fmt.Sscanf(path.Base(name), "%16x-%16x.wal", &n, &first); c == 2 {
		return n
	}
	return math.MaxUint64
}

// versions are what the versions that a db records say about a release.
func versions(m *inspect.Member, cluster string, v *semver.Version) (all []found) {
	has, err := semver.NewVersion(full(cluster))
	if err != nil {
		return nil
	}
	if m.DB != nil && m.DB.Tables.Downgrade != nil && m.DB.Tables.Downgrade.Enabled && m.DB.Tables.Downgrade.TargetVersion != "" {
		target, err := semver.NewVersion(full(m.DB.Tables.Downgrade.TargetVersion))
		if err == nil && target.Minor == v.Minor {
			return nil // it is what the downgrade is for
		}
		if err == nil {
			all = append(all, found{code: "downgrade-enabled", detail: fmt.Sprintf("a downgrade to %s is under way, or was never cancelled", target), severity: finding.Warning, count: 1})
		}
	}
	switch {
	case has.Major == 3 && has.Minor > v.Minor:
		all = append(all, found{code: "cluster-version-above", detail: fmt.Sprintf("the cluster version is %s", cluster), severity: finding.Error, count: 1})
	case has.Major == 3 && has.Minor+1 < v.Minor:
		all = append(all, found{code: "cluster-version-far-below", detail: fmt.Sprintf("the cluster version is %s", cluster), severity: finding.Error, count: 1})
	}
	return all
}

// full is a version with a patch number.
func full(version string) string {
	if strings.Count(version, ".") == 1 {
		return version + ".0"
	}
	return version
}

// judge is what a finding means for a release; ok is false if nothing.
func judge(f found, at semver.Version) (r Reason, ok bool) {
	r = Reason{Code: f.code, Detail: f.detail, Count: f.count, Says: []string{}}
	if f.doubt != "" {
		r.Outcome, r.What = Unknown, f.doubt
		return r, true
	}
	for _, x := range rules[f.code] {
		if !x.affects(at) || x.error && f.severity != finding.Error {
			continue
		}
		r.Outcome, r.What, r.Message = x.outcome, x.what, x.message
		r.Says = said(x.message, x.quote, at)
		return r, true
	}
	if _, known := rules[f.code]; known || f.severity != finding.Error {
		return r, false
	}
	r.Outcome, r.What = Unknown, "what a server makes of it is not known: it may start, or end when it comes to that place"
	return r, true
}

// said are the wordings of a message that a release has, those with a part only.
func said(id, part string, at semver.Version) []string {
	out := []string{}
	for _, m := range messages.All() {
		if m.ID != id || id == "" {
			continue
		}
		for _, w := range m.Wordings {
			if strings.Contains(w.Text, part) && slices.ContainsFunc(w.Sources, func(s string) bool { return has(s, at) }) {
				out = append(out, w.Text)
			}
		}
	}
	return out
}

// has tells whether a source, a repository, a file and releases of it, is part of a release of etcd. raft's releases are numbered like those
// of the etcd that they came with.
func has(source string, at semver.Version) bool {
	words := strings.SplitN(source, " ", 3)
	if len(words) < 3 || words[0] != "etcd" && words[0] != "raft" {
		return false
	}
	for r := range strings.SplitSeq(words[2], ", ") {
		first, last, ranged := strings.Cut(r, "-")
		a, err := semver.NewVersion(first)
		if err != nil {
			continue
		}
		b := a
		if ranged {
			if b, err = semver.NewVersion(last); err != nil {
				continue
			}
		}
		if !at.LessThan(*a) && !b.LessThan(at) {
			return true
		}
	}
	return false
}
