package story

import (
	"fmt"
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/serverlog"
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
			ran := s.ran(m.Label, entry)
			if len(ran) == 0 || len(m.Behaviour) == 0 || slices.ContainsFunc(ran, func(v string) bool { _, err := semver.NewVersion(v); return err != nil }) {
				continue
			}
			rules := m.Behaviour[0].Rules
			for _, b := range m.Behaviour {
				if b.From <= entry {
					rules = b.Rules
				}
			}
			if k := slices.IndexFunc(ran, func(v string) bool { return rules.Covers(*semver.New(v)) }); k >= 0 {
				how := ""
				if k > 0 {
					how = ", which applied it again after " + ran[0] + " was killed or died"
				}
				agree = append(agree, fmt.Sprintf("%s ran %s%s", m.Label, ran[k], how))
				continue
			}
			s.note("contradiction: at entry %d %s behaves by the rules of etcd %v, and by its server's log it ran %s; is the log of this member, and of this time?", entry, m.Label, rules, list(ran))
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

// ran are the versions that may have applied an entry on a member for good, by its logs: the one that did it first, as each process found at its
// start the commit index that the one before it had saved; and where that one was killed or died, the one after it, since what a db had not saved
// by then is applied again. It is empty where the logs do not tell.
func (s *teller) ran(member string, entry uint64) (versions []string) {
	i := slices.IndexFunc(s.doc.Members, func(m Member) bool { return m.Label == member })
	var all []Process
	for _, l := range s.doc.Members[i].Logs {
		if l.LeftOut > 0 {
			return nil
		}
		all = append(all, l.Processes...)
	}
	at := -1
	for k, p := range all {
		if p.Commit < entry && (p.Commit > 0 || at < 0) {
			at = k
		}
	}
	for ; at >= 0 && at < len(all); at++ {
		if versions = append(versions, all[at].Version); all[at].How == string(serverlog.Stop) {
			break
		}
	}
	return slices.Compact(versions)
}
