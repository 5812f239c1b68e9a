package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/raftlog"
)

// Dated says that at a time entries up to one had been committed.
type Dated struct {
	Entry uint64
	By    time.Time
	What  string // tells so, in a clause
}

// clock is a time as it is shown.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999 UTC") }

// entryAt is an entry behind which the state is that of a time. Entries carry no time, and the ids of their requests tell when the processes
// started that proposed them: of a time is known that it lies between two entries. It is taken only if no entry between them changes
// anything that is written; otherwise the two are named.
func (p *planner) entryAt(at time.Time) (uint64, error) {
	var c raftlog.Clock
	for i := range p.log {
		c.Note(p.log[i].Index, p.log[i].Request())
	}
	first, last := uint64(0), p.end()
	if n := c.Since(at); n > 0 {
		first = n - 1
	}
	by := "request ids tell"
	for _, d := range p.q.Dated {
		if !d.By.After(at) && d.Entry > first && d.Entry <= last && len(diff.LogForks(p.q.Members)) == 0 {
			first, by = d.Entry, "request ids tell, and that "+d.What
		}
	}
	next, bounded := c.Until(at)
	when := clock(at)
	switch {
	case bounded && next <= p.log[0].Index:
		return 0, refuse("a log that reaches further back", "all that is left of the log was proposed after %s, as request ids tell", when)
	case first == 0 && bounded:
		return 0, refuse(p.choice(0, next-1), "no entry is known to be from before %s: it lies somewhere up to entry %d%s, as request ids tell", when, next-1, p.revisionText(next-1))
	case first == 0:
		return 0, refuse(p.choice(0, last), "no entry is known to be from before %s, and none from after it: %s started no process in the time of its log that would date them", when, p.m.Label)
	}
	lastly := last
	if bounded {
		lastly = next - 1
	}
	if first > lastly {
		return 0, refuse("an entry with --at-entry", "the clocks of members contradict each other about %s: entry %d is from before it, and entry %d from after it", when, first, next)
	}
	changes := p.changing(first, lastly)
	switch {
	case !bounded:
		return 0, refuse(p.choice(first, lastly), "no entry is known to be from after %s: it lies behind entry %d%s, and may lie behind the end of the log, entry %d%s; %s between change what is stored (%s)",
			when, first, p.revisionText(first), lastly, p.revisionText(lastly), plural(len(changes), "entry", "entries"), by)
	case len(changes) > 0:
		return 0, refuse(p.choice(first, lastly), "%s lies somewhere between entry %d%s and entry %d%s, and %s between change what is stored: %s (%s)",
			when, first, p.revisionText(first), lastly, p.revisionText(lastly), plural(len(changes), "entry", "entries"), entries(changes), by)
	}
	p.notes = append(p.notes, fmt.Sprintf("at %s: entries up to %d are from before it, those from %d on from after it, by the clocks of members (%s); %s",
		when, first, next, by, between(lastly-first)))
	return first, nil
}

func between(n uint64) string {
	if n == 0 {
		return "there are none between"
	}
	return plural(n, "entry", "entries") + " between change nothing that is stored"
}

// choice says how to name a moment where a time is not enough.
func (p *planner) choice(first, last uint64) string {
	if first == 0 {
		return fmt.Sprintf("choose one with --at-entry, up to %d; etcd-autopsy log lists them", last)
	}
	return fmt.Sprintf("choose one with --at-entry, from %d to %d; etcd-autopsy log --start-index %d --end-index %d lists what they do", first, last, first, last)
}

// revisionText is the revision behind an entry, for brackets, empty if it is not known.
func (p *planner) revisionText(index uint64) string {
	if rev, ok := p.ledger.RevisionAt(p.i, index); ok && p.m.DB != nil && index <= p.ledger.Reach(p.i) {
		return fmt.Sprintf(" (revision %d)", rev)
	}
	return ""
}

// changing are the entries behind one up to another that change, or may change, what a file holds.
func (p *planner) changing(first, last uint64) (all []uint64) {
	version := "" // of the cluster, as the last entry set it
	for i := range p.log {
		e := &p.log[i]
		if e.Index > last {
			break
		}
		r := e.Request()
		set := ""
		switch {
		case r.Internal.GetClusterVersionSet() != nil:
			set = r.Internal.ClusterVersionSet.Ver
		case r.V2 != nil && strings.HasSuffix(r.V2.Path, "/version"):
			set = r.V2.Val
		}
		if e.Index > first && (set != "" && set != version || !p.idle(e, r)) {
			all = append(all, e.Index)
		}
		if set != "" {
			version = set
		}
	}
	return all
}

// idleTypes are requests that change nothing a snapshot file holds: of members it has none, and the cluster version is looked at apart.
var idleTypes = []string{
	"Empty", "ConfChange", "ConfChangeV2", "V2Request", "ClusterVersionSet", "ClusterMemberAttrSet", "Range", "Authenticate", "AuthStatus",
	"AuthUserGet", "AuthUserList", "AuthRoleGet", "AuthRoleList",
}

// idle tells whether an entry is known to change nothing that a file holds.
func (p *planner) idle(e *effect.Entry, r *raftlog.Request) bool {
	if slices.Contains(idleTypes, r.Type) {
		return true
	}
	if in := r.Internal; in.GetPut() == nil && in.GetDeleteRange() == nil && in.GetTxn() == nil {
		return false
	}
	fx := p.ledger.Effect(p.i, e.Index)
	return fx.State == diff.None && !fx.Odd
}
