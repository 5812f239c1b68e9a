package diff

import (
	"fmt"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect"
)

// AppliedLog is the log as member i of some applied it: its own entries, and where those were purged, are damaged or never arrived, those of
// members that share its history, in ascending order. Entries that nobody knows to be committed are left out. Unlike what a
// Ledger tells it needs no db.
func AppliedLog(ms []*inspect.Member, i int) []effect.Entry {
	return compareLogs(ms).view(ms, i)
}

// Log is what a member of the ledger applied, or will apply, in ascending order; nil if there is no db to tell.
func (l *Ledger) Log(member int) []effect.Entry { return l.accounts[member].entries }

// Reach is the last entry whose effects the member's db is known to hold, 0 if nothing is known.
func (l *Ledger) Reach(member int) uint64 { return l.accounts[member].reach }

// Explained tells whether the member's log makes just what its db holds, be it with faults that were found.
func (l *Ledger) Explained(member int) bool {
	a := &l.accounts[member]
	return a.i >= 0 && a.c.explained[a.i] != nil
}

// BeginsWithCluster tells whether the member's log holds the history of its keyspace from the beginning.
func (l *Ledger) BeginsWithCluster(member int) bool {
	a := &l.accounts[member]
	return a.i >= 0 && a.c.beginsWithCluster(a.i)
}

// RevisionAt is the main revision that the member had once an entry was applied. ok is false if that is not known.
func (l *Ledger) RevisionAt(member int, index uint64) (rev int64, ok bool) {
	a := &l.accounts[member]
	if a.i < 0 {
		return 0, false
	}
	rev = a.c.revisionAt(a.i, index)
	return rev, rev > 0
}

// Departed tells whether the member did something else than etcd's rules demand with an entry up to index: a row that was changed or
// lost in its file later is none.
func (l *Ledger) Departed(member int, index uint64) bool {
	a := &l.accounts[member]
	if a.i < 0 || a.c.explained[a.i] == nil {
		return false
	}
	return slices.ContainsFunc(a.c.explained[a.i].chosen.Faults, func(f faults.Fault) bool {
		return f.Kind != faults.Rows && f.Kind != faults.Index && f.First <= index
	})
}

// Kept tells whether all rows of an explained member are those that its log, with its faults, makes: none was changed, lost or added in its
// file.
func (l *Ledger) Kept(member int) bool {
	a := &l.accounts[member]
	return l.Explained(member) && !slices.ContainsFunc(a.c.explained[a.i].chosen.Faults, func(f faults.Fault) bool {
		return f.Kind == faults.Rows || f.Kind == faults.Extra || f.Kind == faults.Table
	})
}

// ShownFrom is the first revision that an entry of the member's log made, 0 if its log shows none of its rows to be what entries make.
func (l *Ledger) ShownFrom(member int) int64 {
	a := &l.accounts[member]
	if !l.Kept(member) {
		return 0
	}
	for i := range a.byRevision {
		if b := &a.byRevision[i]; b.step.Index > 0 && find(a.entries, b.step.Index) != nil {
			return b.step.Revision
		}
	}
	return 0
}

// ForeignBase says why an older state cannot be the past of a member with a log, empty if nothing speaks against it. sure is false if nothing speaks
// for it either: neither knows a member that the other knows. Who knows no member but itself speaks against nothing.
func ForeignBase(b, m *inspect.Member, log []effect.Entry) (why string, sure bool) {
	theirs := knownMembers(m)
	own := knownMembers(b)
	shared := slices.ContainsFunc(own, func(id uint64) bool { return slices.Contains(theirs, id) })
	t := b.DB.Tables
	e := find(log, t.ConsistentIndex)
	switch {
	case b.Log.HasMetadata && m.Log.HasMetadata && b.Log.ClusterID != m.Log.ClusterID:
		return fmt.Sprintf("is of another cluster, %s, and not of %s", ID(b.Log.ClusterID), ID(m.Log.ClusterID)), true
	case listsMembers(b) && listsMembers(m) && !shared:
		return fmt.Sprintf("is of another cluster: it knows none of the members that %s knows", m.Label), true
	case e != nil && t.HasTerm && t.Term != 0 && t.Term < e.Term:
		return fmt.Sprintf("has come to entry %d in term %d, and the log holds that of term %d: they part before it", t.ConsistentIndex, t.Term, e.Term), true
	}
	return "", shared
}

func listsMembers(m *inspect.Member) bool { return m.DB != nil && len(m.DB.Tables.Members) > 0 }

// knownMembers are the ids in a member's table, and its own.
func knownMembers(m *inspect.Member) (ids []uint64) {
	if m.Log.HasMetadata {
		ids = append(ids, m.Log.NodeID)
	}
	if m.DB != nil {
		for _, x := range m.DB.Tables.Members {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// EntryAt is the entry of a log with an index, nil if it has none.
func EntryAt(log []effect.Entry, index uint64) *effect.Entry { return find(log, index) }

// LogFork is an index at which members hold different committed entries.
type LogFork struct {
	Index  uint64
	Groups [][]string // labels of members that hold the same there
}

// LogForks are the first indexes at which the logs of members part.
func LogForks(ms []*inspect.Member) (forks []LogFork) {
	for _, f := range compareLogs(ms).forks {
		x := LogFork{Index: f.index}
		for _, g := range f.groups {
			var labels []string
			for _, i := range g {
				labels = append(labels, ms[i].Label)
			}
			x.Groups = append(x.Groups, labels)
		}
		forks = append(forks, x)
	}
	return forks
}
