package story

import (
	"fmt"
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff"
)

// versions holds the versions that servers' logs tell against the rules by which members judged entries. It does so where a member went over
// to other rules, since there each member's rules have been seen at work; and says what agrees and what does not.
func (s *teller) versions(d *diff.Document) {
	var turns []uint64
	for i := range d.Members {
		for _, b := range d.Members[i].Behaviour {
			if b.From > 0 {
				turns = append(turns, b.From)
			}
		}
	}
	slices.Sort(turns)
	for _, entry := range slices.Compact(turns) {
		agree := []string{}
		for i := range d.Members {
			m := &d.Members[i]
			version := s.ran(m.Label, entry)
			v, err := semver.NewVersion(version)
			if err != nil || len(m.Behaviour) == 0 {
				continue
			}
			rules := m.Behaviour[0].Rules
			for _, b := range m.Behaviour {
				if b.From <= entry {
					rules = b.Rules
				}
			}
			if rules.Covers(*v) {
				agree = append(agree, fmt.Sprintf("%s ran %s", m.Label, version))
				continue
			}
			s.note("contradiction: at entry %d %s behaves by the rules of etcd %v, and by its server's log it ran %s; is the log of this member, and of this time?", entry, m.Label, rules, version)
		}
		if len(agree) > 0 {
			s.note("at entry %d the logs of the servers agree with the rules that were found: %s", entry, list(agree))
		}
	}
}

func list(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	out := words[0]
	for _, w := range words[1:last] {
		out += ", " + w
	}
	return out + " and " + words[last]
}

// ran is the version that applied an entry on a member first, by its logs: each process found at its start the commit index that the one
// before it had saved. It is empty where the logs do not tell.
func (s *teller) ran(member string, entry uint64) string {
	i := slices.IndexFunc(s.doc.Members, func(m Member) bool { return m.Label == member })
	version := ""
	for _, l := range s.doc.Members[i].Logs {
		for k, p := range l.Processes {
			if p.Commit < entry && (p.Commit > 0 || k == 0 && version == "") {
				version = p.Version
			}
		}
	}
	return version
}
