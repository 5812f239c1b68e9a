package bugs

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/shell"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/schema"
)

// Key is a key on which members differ.
type Key struct {
	Name string
	// Present tells for each member of the case whether it holds the key, Unknown where that is not known; nil if it is known of all.
	Present, Unknown []bool
}

func (k *Key) unknown(i int) bool { return len(k.Unknown) > 0 && k.Unknown[i] }

// Lease is a lease that some members hold and others do not.
type Lease struct {
	ID      int64
	Present []bool
}

// Differences are what the members differ in, as far as they have come: lag is left out.
type Differences struct {
	Keys   []Key
	Leases []Lease
}

// Copy says what a cluster would be that is restored from one member.
type Copy struct {
	Member string
	// Sound is false if a check of the member finds errors, which Problems says.
	Sound    bool
	Problems []string
	// Index and Revision are how far it has come.
	Index    uint64
	Revision int64
	// Behind is how many entries others have applied that this one has not, BehindRevisions how many revisions they made.
	Behind, BehindRevisions int
	// Loses are entries whose effects on keys only others have, though this one has come past them; Adds those whose
	// effects only this one has, and Twice those that it applied twice. Where the log was forked, they are entries of
	// the other side, and of its own.
	Loses, Adds, Twice []uint64
	// LostKeys exist on others only, Resurrected keys here only; OtherKeys have another value or lease.
	LostKeys, Resurrected, OtherKeys []string
	LostLeases, ResurrectedLeases    []int64
}

// Losses is how much would be lost, all kinds of it added up.
func (k *Copy) Losses() int {
	return len(k.Loses) + k.BehindRevisions + len(k.LostKeys) + len(k.LostLeases)
}

// Plan is what to do now.
type Plan struct {
	Copies []Copy
	// Best is the member to go on with, empty if none can be recommended.
	Best string
	// Rebuild are the members that should be made anew from it.
	Rebuild []string
	Why     []string
	Doubts  []string
	// Whole is true if the cluster as a whole is to be restored, false if what is to be rebuilt joins the others.
	Whole bool
	// Commands are to be read and adapted, not to be run by a program.
	Commands []string
}

// Plan compares what restoring from each member would mean. It returns nil if there is nothing to choose or to repair.
func (c *Case) Plan(d Differences) *Plan {
	if len(c.Causes) == 0 && !slices.ContainsFunc(c.Members, func(m *Member) bool { return !m.sound() }) {
		return nil
	}
	p := &Plan{}
	made := make([]makers, len(c.Members))
	for i, m := range c.Members {
		made[i] = m.makers()
	}
	for i, m := range c.Members {
		if m.hasDB() {
			p.Copies = append(p.Copies, c.copyOf(i, m, made, d))
		}
	}
	c.recommend(p)
	return p
}

// makers are the entries that made a revision on a member.
type makers struct {
	first   uint64   // whose effect is known, 0 if of none
	entries []uint64 // ascending
	twice   []uint64 // those of them that made several
}

func (m *Member) makers() (r makers) {
	m.eachStep(func(s *effect.Step) {
		if r.first == 0 {
			r.first = s.Index
		}
		if s.Index > 0 && s.Revision > 0 {
			r.entries = append(r.entries, s.Index)
		}
	})
	slices.Sort(r.entries)
	for k := range len(r.entries) - 1 {
		if r.entries[k] == r.entries[k+1] {
			r.twice = append(r.twice, r.entries[k])
		}
	}
	r.entries, r.twice = slices.Compact(r.entries), slices.Compact(r.twice)
	return r
}

// each calls f for every entry, and tells whether it is among others, too.
func (r *makers) each(others []uint64, f func(index uint64, also bool)) {
	k := 0
	for _, index := range r.entries {
		for k < len(others) && others[k] < index {
			k++
		}
		f(index, k < len(others) && others[k] == index)
	}
}

func (c *Case) copyOf(i int, m *Member, made []makers, d Differences) Copy {
	k := Copy{Member: m.Label, Sound: m.sound(), Problems: m.problems(), Index: m.Through, Revision: m.DB.Revision()}
	lost, added, behind := map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	for j, o := range c.Members {
		if j == i || o.Steps == nil || m.Steps == nil {
			continue
		}
		// Of the entries from first to last it is known what they did on both.
		first, last := max(made[i].first, made[j].first), min(m.Through, o.Through)
		fork := c.forkOf(i, j)
		made[j].each(made[i].entries, func(index uint64, also bool) {
			switch {
			case index >= fork:
				lost[index] = true
			case index > m.Through:
				behind[index] = true
			case index >= first && index <= last && !also:
				lost[index] = true
			}
		})
		made[i].each(made[j].entries, func(index uint64, also bool) {
			if index >= fork || index >= first && index <= last && !also {
				added[index] = true
			}
		})
		if fork > m.Through {
			k.Behind = max(k.Behind, int(o.Through)-int(m.Through))
		}
	}
	k.Twice = made[i].twice
	k.Loses, k.Adds, k.BehindRevisions = sortedKeys(lost), sortedKeys(added), len(behind)
	for _, key := range d.Keys {
		others, all := false, true
		for j, present := range key.Present {
			if j != i && !key.unknown(j) {
				others, all = others || present, all && present
			}
		}
		switch {
		case key.unknown(i):
		case !key.Present[i] && others:
			k.LostKeys = append(k.LostKeys, key.Name)
		case key.Present[i] && !all:
			k.Resurrected = append(k.Resurrected, key.Name)
		case key.Present[i]:
			k.OtherKeys = append(k.OtherKeys, key.Name)
		}
	}
	for _, l := range d.Leases {
		switch {
		case !l.Present[i]:
			k.LostLeases = append(k.LostLeases, l.ID)
		case slices.Contains(without(l.Present, i), false):
			k.ResurrectedLeases = append(k.ResurrectedLeases, l.ID)
		}
	}
	return k
}

// forkOf is the entry from which on two members followed different logs, more than there can be if they did not.
func (c *Case) forkOf(i, j int) uint64 {
	if !c.forked(i, j) {
		return 1 << 63
	}
	fork := uint64(1 << 63)
	for _, k := range c.Causes {
		if k.Layer == "log" && k.Index > 0 {
			fork = min(fork, k.Index)
		}
	}
	return fork
}

func without(bs []bool, i int) []bool { return slices.Concat(bs[:i], bs[min(i+1, len(bs)):]) }

func sortedKeys(m map[uint64]bool) []uint64 {
	var out []uint64
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// sound tells whether a member's db could be used to restore from: it is whole, and contradicts itself nowhere.
func (m *Member) sound() bool { return m.hasDB() && m.DB.Whole && len(m.problems()) == 0 }

// problems are the errors that a check finds in the db. What the log says, and who is a member, does not matter to a
// restore.
func (m *Member) problems() []string {
	if !m.hasDB() {
		return []string{"no db that can be read"}
	}
	var out []string
	m.findingsOf()
	for _, f := range m.findings {
		if f.Severity == finding.Error && f.File == m.DB.File.Name && !strings.HasPrefix(f.Code, "learner-") && !strings.HasPrefix(f.Code, "zombie-") &&
			!strings.HasPrefix(f.Code, "member-") && !slices.Contains([]string{"snapshot-beyond-db", "log-after-db"}, f.Code) {
			out = append(out, f.String())
		}
	}
	if len(out) == 0 && !m.DB.Whole {
		out = append(out, "not all of the db could be read")
	}
	return out
}

// standing is how the members of a case stand to its causes, by labels.
type standing struct {
	// explained is true if it is known of each member whether it did what its own log asks for: then only sides that no fault of a member makes
	// need to be counted.
	explained bool
	departed  map[string]bool
	// alone are those that contradict their own logs in something that others do not show.
	alone map[string]bool
	// majority is true for members that are in the largest group of every cause that was counted, false for those that are not in that of some;
	// others are in no such cause.
	majority map[string]bool
	forked   bool // the log was
	tied     bool // no group of some cause has more than half of the members
}

func (c *Case) standings() *standing {
	s := &standing{explained: c.RulesBesides != nil, departed: map[string]bool{}, alone: map[string]bool{}, majority: map[string]bool{}}
	for _, k := range c.Causes {
		if k.CausedBy != nil {
			continue
		}
		if len(k.Groups) == 1 {
			for _, m := range c.membersOf(k.Departed) {
				s.alone[m.Label], s.departed[m.Label] = true, true
			}
		}
		if len(k.Groups) < 2 {
			continue
		}
		s.forked = s.forked || k.Layer == "log"
		for _, m := range c.membersOf(k.Departed) {
			s.departed[m.Label] = true
		}
		if !s.explained || !k.Fault {
			s.count(c, k)
		}
	}
	return s
}

// count notes the majority of a cause.
func (s *standing) count(c *Case, k *Cause) {
	n := 0
	for _, g := range k.Groups {
		n += len(g)
	}
	if 2*len(k.Groups[0]) <= n {
		s.tied = true
		return
	}
	for _, g := range k.Groups[1:] {
		for _, m := range c.membersOf(g) {
			s.majority[m.Label] = false
		}
	}
	for _, m := range c.membersOf(k.Groups[0]) {
		if _, known := s.majority[m.Label]; !known {
			s.majority[m.Label] = true
		}
	}
}

// penalty is how much speaks against a copy, 0 if nothing does.
func (s *standing) penalty(k *Copy) (n int) {
	if s.explained {
		n = number(s.departed[k.Member])
	}
	if in, known := s.majority[k.Member]; known && !in || s.alone[k.Member] {
		n += 2
	}
	if s.tied && s.departed[k.Member] && !s.explained {
		n++
	}
	return n
}

// rebuild tells whether a member should be made anew from the best one.
func (s *standing) rebuild(k, best *Copy) bool {
	switch a, b := k.Member, best.Member; {
	case a == b:
		return false
	case !k.Sound:
		return true
	case s.explained:
		return s.departed[a] || s.departed[b] || s.majority[b] && !s.majority[a]
	default:
		return s.departed[a] != s.departed[b] || s.alone[a] != s.alone[b] || s.majority[a] != s.majority[b]
	}
}

// recommend recommends a copy: sound before anything, then the majority's, then the one that has come furthest.
func (c *Case) recommend(p *Plan) {
	var candidates []*Copy
	for i := range p.Copies {
		if p.Copies[i].Sound {
			candidates = append(candidates, &p.Copies[i])
		} else {
			p.Why = append(p.Why, fmt.Sprintf("%s is not sound: etcd-autopsy check says why", p.Copies[i].Member))
		}
	}
	if len(candidates) == 0 {
		p.Doubts = append(p.Doubts, "no copy is sound: restore from an older backup, or repair a copy first")
		return
	}
	s := c.standings()
	slices.SortStableFunc(candidates, func(a, b *Copy) int {
		return cmp.Or(cmp.Compare(s.penalty(a), s.penalty(b)), cmp.Compare(b.Index, a.Index), cmp.Compare(a.Losses(), b.Losses()), strings.Compare(a.Member, b.Member))
	})
	best := candidates[0]
	p.Best = best.Member
	p.justify(best, s)
	c.doubts(p, best, candidates, s)
	for i := range p.Copies {
		if s.rebuild(&p.Copies[i], best) {
			p.Rebuild = append(p.Rebuild, p.Copies[i].Member)
		}
	}
	for _, m := range c.Members {
		if !m.hasDB() && !m.Bare {
			p.Rebuild = append(p.Rebuild, m.Label)
		}
	}
	slices.Sort(p.Rebuild)
	c.commands(p, s.forked || s.tied)
}

// justify says why a copy is the best one.
func (p *Plan) justify(best *Copy, s *standing) {
	why := func(format string, args ...any) { p.Why = append(p.Why, fmt.Sprintf(format, args...)) }
	if s.departed[best.Member] {
		why("the copy of %s is whole", best.Member)
	} else {
		why("%s is sound", best.Member)
	}
	majority := s.majority[best.Member]
	if s.explained && majority {
		what := "held the same before the log begins"
		if s.forked {
			what = "has the same log"
		}
		why("%s is of the majority, which %s", best.Member, what)
	}
	switch {
	case s.explained && !s.departed[best.Member]:
		why("%s holds what its own log makes, by etcd's rules", best.Member)
	case s.explained:
		p.Doubts = append(p.Doubts, "no copy holds just what its log makes: the choice is what would be lost")
	case majority:
		why("%s is of the majority, which agrees with it", best.Member)
	}
	switch {
	case best.Behind <= 0 && s.forked:
		why("no copy with its log has come further: entry %d, revision %d", best.Index, best.Revision)
	case best.Behind <= 0:
		why("no copy has come further: entry %d, revision %d", best.Index, best.Revision)
	default:
		why("it has come to entry %d, %d entries behind the furthest, which would be lost", best.Index, best.Behind)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Case) doubts(p *Plan, best *Copy, candidates []*Copy, s *standing) {
	if len(candidates) > 1 {
		second := candidates[1]
		if second.Index == best.Index && second.Losses() == best.Losses() && s.departed[second.Member] == s.departed[best.Member] {
			p.Doubts = append(p.Doubts, fmt.Sprintf("%s would do as well", second.Member))
		}
	}
	if s.tied && (c.RulesBesides == nil || s.forked) {
		p.Doubts = append(p.Doubts, "there is no majority: nobody can be called wrong by counting; look at what would be lost before deciding")
	}
	if s.forked {
		p.Doubts = append(p.Doubts, "the log was forked: each side has acknowledged writes that the other has not; what one side lacks must be put in by hand")
	}
	if s.departed[best.Member] && c.RulesBesides == nil {
		p.Doubts = append(p.Doubts, fmt.Sprintf("%s itself departed from what etcd's rules demand: the majority is not right just because it is one", best.Member))
	}
	if n := len(best.Loses); n > 0 {
		p.Doubts = append(p.Doubts, fmt.Sprintf("%s had an effect on other members only", entries(best.Loses)))
	}
	if n := len(best.LostKeys); n > 0 {
		p.Doubts = append(p.Doubts, fmt.Sprintf("%s that only others hold would be lost", count(n, "key", "keys")))
	}
}

// commands writes down what to run. Where a minority departed, it is made anew in the running cluster; otherwise the
// cluster is restored.
func (c *Case) commands(p *Plan, whole bool) {
	var best *Member
	for _, m := range c.Members {
		if m.Label == p.Best {
			best = m
		}
	}
	ms := best.LogMembership().Members
	if len(ms) == 0 {
		ms = best.DB.Tables.Members
	}
	if !whole && len(p.Rebuild) > 0 && 2*len(p.Rebuild) < len(c.Members) {
		for _, label := range p.Rebuild {
			id := uint64(0)
			for _, m := range c.Members {
				if m.Label == label {
					id = m.nodeID()
				}
			}
			p.Commands = append(p.Commands, Rejoin(label, id, ms)...)
		}
		return
	}
	p.Whole = true
	db := filepath.ToSlash(best.DB.File.Origin)
	p.Commands = append(p.Commands, "# stop every member, keep copies of all data directories, then for each member:")
	if file, inside, packed := strings.Cut(db, "!"); packed {
		p.Commands = append(p.Commands, cmp.Or(shell.Command("# %s lies in %s: unpack it first", inside, file), "# the db lies in an archive: unpack it first"))
		db = inside
	}
	lines := Restore("etcdutl snapshot restore", db, "--skip-hash-check --bump-revision 1000000000 --mark-compacted", "NEW_DATA_DIR", ms)
	if lines == nil {
		lines = []string{
			"# etcdutl snapshot restore, with --skip-hash-check --bump-revision 1000000000 --mark-compacted and the db of the copy: as names, urls or",
			"# the path have characters that a shell may misread, no command is given; inspect shows them, quote each one yourself",
		}
	}
	p.Commands = append(p.Commands, lines...)
	p.Commands = append(p.Commands, "# the hash check is skipped because a db that is no snapshot file has no hash; start all members, then restart whatever watches or caches keys")
}

// Restore are the commands that make the data directory of each member of a file, with a program and flags of ours. They are nil if a
// word is not plain.
func Restore(program, file, flags, dir string, ms []schema.Member) (lines []string) {
	ms = slices.Clone(ms)
	slices.SortFunc(ms, func(a, b schema.Member) int { return strings.Compare(nameOf(a), nameOf(b)) })
	var cluster []string
	for _, m := range ms {
		if len(m.PeerURLs) > 0 {
			cluster = append(cluster, nameOf(m)+"="+m.PeerURLs[0])
		}
	}
	if len(cluster) == 0 {
		cluster = []string{"NAME=PEER_URL"}
		ms = []schema.Member{{Name: "NAME", PeerURLs: []string{"PEER_URL"}}}
	}
	if flags != "" {
		flags = " " + flags
	}
	for _, m := range ms {
		if len(m.PeerURLs) == 0 {
			continue
		}
		l := shell.Command(
			program+" %s"+flags+" --name %s --initial-cluster %s --initial-cluster-token NEW_TOKEN --initial-advertise-peer-urls %s --data-dir "+dir,
			file, nameOf(m), strings.Join(cluster, ","), m.PeerURLs[0])
		if l == "" {
			return nil
		}
		lines = append(lines, l)
	}
	return lines
}

// Rejoin are the commands that make a member anew in the running cluster whose members ms are. Its id is 0 if it is not known.
func Rejoin(label string, node uint64, ms []schema.Member) []string {
	id, name, peer := "MEMBER_ID", "NAME", "PEER_URL"
	if node != 0 {
		id = fmt.Sprintf("%016x", node)
	}
	for _, x := range ms {
		if node != 0 && x.ID == node && len(x.PeerURLs) > 0 {
			name, peer = nameOf(x), x.PeerURLs[0]
		}
	}
	return []string{
		cmp.Or(shell.Command("# %s: make it anew, while the others have a quorum without it", label), "# member "+id+": make it anew, while the others have a quorum without it"),
		"etcdctl member remove " + id,
		"# on its host: stop etcd, keep a copy of the data directory, empty it",
		cmp.Or(shell.Command("etcdctl member add %s --learner --peer-urls=%s", name, peer),
			"# etcdctl member add, with --learner: its name or its peer url has characters that a shell may misread; inspect shows them, quote both yourself"),
		"# on its host: start etcd with --initial-cluster-state existing, wait until it has caught up",
		"etcdctl member promote NEW_MEMBER_ID   # ask the leader",
	}
}

func nameOf(m schema.Member) string {
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("%016x", m.ID)
}
