package evidence

import (
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/inspect/finding"
)

// plainWords say what a folder is for, not whose it is.
var plainWords = []string{"member", "snap", "wal", "wals", "db", "default", "etcd", "data", "var", "lib", "dir", "log", "logs", "raft", "disk"}

// owner is what of a path tells whose it is: the words in it that are not plain.
func owner(elems []string) []string {
	var words []string
	for _, e := range elems {
		for _, w := range strings.FieldsFunc(strings.ToLower(e), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
			if !slices.Contains(plainWords, w) {
				words = append(words, w)
			}
		}
	}
	return words
}

// sameOwner tells whether, of two paths, what lies behind their common start names the same owner.
func sameOwner(a, b []string) (same, silent bool) {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	x, y := owner(a[n:]), owner(b[n:])
	return slices.Equal(x, y), len(x) == 0 || len(y) == 0
}

// pair joins logs that lie apart, as --wal-dir of etcd makes them, with the data directories without a log to which they
// belong by their paths: node1/data and node1/wal, data/node1 and wal/node1, or one of each that do not name different
// owners. A log that fits several, or a data directory that several fit, stays as it is.
func (s *search) pair() {
	var dirs, logs []*Member
	for _, m := range s.members {
		switch {
		case m.apart && m.DB == nil:
			logs = append(logs, m)
		case m.DB != nil && !m.Bare && len(m.WAL) == 0:
			dirs = append(dirs, m)
		}
	}
	partners := map[*Member][]*Member{}
	for _, d := range dirs {
		for _, l := range logs {
			same, silent := sameOwner(d.elems, l.elems)
			if same || silent && len(dirs) == 1 && len(logs) == 1 {
				partners[d] = append(partners[d], l)
				partners[l] = append(partners[l], d)
			}
		}
	}
	for _, d := range dirs {
		if ls := partners[d]; len(ls) == 1 && len(partners[ls[0]]) == 1 {
			d.join(ls[0])
			logs = without(logs, ls[0])
			s.members = without(s.members, ls[0])
		}
	}
	// A folder of segments that nobody gave is no member beside others.
	if slices.ContainsFunc(s.members, func(m *Member) bool { return !m.apart }) {
		for _, l := range logs {
			if l.loose {
				s.leaveOut(logApart, l.Origin)
				s.members = without(s.members, l)
			}
		}
	}
}

func without(ms []*Member, m *Member) []*Member {
	return slices.DeleteFunc(slices.Clone(ms), func(o *Member) bool { return o == m })
}

// join gives m the log of l.
func (m *Member) join(l *Member) {
	if n := len(m.WAL); n > 0 {
		m.Findings = append(m.Findings, finding.New("wal-not-read", finding.Warning, "member/wal",
			"%d segments were not read: the log in %s was named instead", n, escape(l.Origin)))
	}
	m.WAL = l.WAL
	m.Other = append(m.Other, l.Other...)
	m.Findings = append(m.Findings, l.Findings...)
	m.Findings = append(m.Findings, finding.New("wal-apart", finding.Info, "member/wal", "the log lies apart, in %s", escape(l.Origin)))
	m.Bare = false
}

// withLog reads the log in dir for the only one of members.
func (o *opener) withLog(members []*Member, path, dir string) error {
	if len(members) != 1 {
		return &HintedError{fmt.Errorf("%s: a log is named for %d members", path, len(members)), "name each member, as NAME=DATA,wal=DIR"}
	}
	logs, err := o.open(dir)
	if err != nil {
		return err
	}
	if len(logs) != 1 || len(logs[0].WAL) == 0 || logs[0].DB != nil {
		return fmt.Errorf("%s: not the folder of one log: no segments (*.wal) of just one member in it", dir)
	}
	members[0].join(logs[0])
	return nil
}

// leaveOut notes places that are not read, and why.
func (o *opener) leaveOut(why string, places ...string) {
	if len(places) == 0 {
		return
	}
	if _, ok := o.left[why]; !ok {
		o.whys = append(o.whys, why)
	}
	o.left[why] = append(o.left[why], places...)
}

// maxNamed is how many places are named in one note.
const maxNamed = 5

// notes says what was left out.
func (o *opener) notes() []string {
	out := o.said
	for _, why := range o.whys {
		places := o.left[why]
		slices.Sort(places)
		places = slices.Compact(places)
		more := ""
		if n := len(places); n > maxNamed {
			places, more = places[:maxNamed], fmt.Sprintf(" and %d more", n-maxNamed)
		}
		for i := range places {
			places[i] = escape(places[i])
		}
		out = append(out, fmt.Sprintf("left out: %s%s: %s", strings.Join(places, ", "), more, why))
	}
	slices.Sort(out)
	return out
}
