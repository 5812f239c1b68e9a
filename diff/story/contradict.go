package story

import (
	"fmt"
	"slices"
	"time"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff"
)

// contradictions says what a server's log tells that the files of the member rule out. What the files do not show is none: a process that proposed
// nothing leaves no trace in the raft log.
func (s *teller) contradictions(d *diff.Document, logs []Log) {
	for i := range d.Members {
		m := &d.Members[i]
		var of []Log
		for _, l := range logs {
			if l.Member == m.Label {
				of = append(of, l)
			}
		}
		for _, l := range of {
			if m.ClusterID != nil && l.Cluster != 0 && l.Cluster != uint64(*m.ClusterID) {
				s.note("contradiction: %s is the log of a server of cluster %016x, and the files of %s are of cluster %016x", l.File, l.Cluster, m.Label, uint64(*m.ClusterID))
			}
			for _, p := range l.Processes {
				if last := m.Log.LastIndex; last > 0 && p.Commit > last {
					s.note("contradiction: by %s, %s started%s with commit index %d, and its raft log ends at entry %d: the copy is older than that, or the raft log lost its end",
						l.File, m.Label, startedAt(p.Start), p.Commit, last)
					break
				}
			}
		}
		s.unlogged(m, of)
		s.storage(m, of)
	}
}

// startedAt is a time in a sentence, empty if it is not known.
func startedAt(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " at " + t.Format("2006-01-02 15:04:05")
}

// unlogged looks for processes that the ids of requests show, and that a log of their time does not have.
func (s *teller) unlogged(m *diff.Member, logs []Log) {
	for i := range s.log {
		e := &s.log[i]
		if e.Kind != string(diff.EventStart) || e.Source != RaftLog || e.Time == nil || !slices.Equal(e.Members, []string{m.Label}) {
			continue
		}
		for _, l := range logs {
			if l.Log.LeftOut == 0 && !l.Local && l.First.Add(pairing).Before(*e.Time) && l.Last.Add(-early).After(*e.Time) {
				s.note("contradiction: by the ids of requests from entry %d on, a process of %s started at %s, and %s, which tells of that time, has no start then", e.Entry, m.Label, e.Time.Format("2006-01-02 15:04:05"), l.File)
				break
			}
		}
	}
}

// storage holds the storage version against the versions that ran: servers before 3.6 write none (server/storage/schema/schema.go 3.6.0).
func (s *teller) storage(m *diff.Member, logs []Log) {
	has, err := semver.NewVersion(m.StorageVersion)
	if err != nil {
		return
	}
	highest, file := semver.Version{}, ""
	for _, l := range logs {
		if l.ProcessesLeftOut > 0 {
			return
		}
		for _, p := range l.Processes {
			v, err := semver.NewVersion(p.Version)
			if err != nil {
				return // of one it is not known
			}
			if highest.LessThan(*v) {
				highest, file = *v, l.File
			}
		}
	}
	if file != "" && (semver.Version{Major: highest.Major, Minor: highest.Minor}).LessThan(semver.Version{Major: has.Major, Minor: has.Minor}) {
		s.note("contradiction: the db of %s has storage version %s, which releases before it do not write, and by %s none later than %s ran", m.Label, m.StorageVersion, file, fmt.Sprint(highest))
	}
}
