package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/finding"
)

const findingsShown = 12 // of one member

// Inspect writes what the files of members hold.
func Inspect(w io.Writer, d *Inspection, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return inspectPage(d, hints) }, func() [][]string { return inspectLines(d) })
}

func inspectPage(d *Inspection, hints []string) *page {
	p := &page{}
	s := &sheet{d: d}
	s.table(p, "Files", func() {
		s.file("db file", func(m *Member) string { return m.DB.File })
		s.file("size", func(m *Member) string { return strconv.FormatInt(m.DB.Size, 10) })
		s.file("page size", func(m *Member) string { return strconv.FormatUint(uint64(m.DB.PageSize), 10) })
		s.file("pages", func(m *Member) string { return strconv.FormatUint(m.DB.Pages.Total, 10) })
		s.file("of these free", func(m *Member) string { return strconv.FormatUint(m.DB.Pages.Free, 10) })
		s.file("transaction", func(m *Member) string { return fmt.Sprintf("%d (meta %d)", m.DB.TxID, m.DB.Meta) })
		if s.any(func(m *Member) bool { return m.DB != nil && m.DB.Trailer != "none" }) {
			s.file("snapshot sha256", func(m *Member) string { return m.DB.Trailer })
		}
		s.row("all readable", func(m *Member) string { return yesNo(m.Complete) })
	})
	s.table(p, "Index and revisions", func() {
		s.id("member id", func(m *Member) string { return idText(m.MemberID) })
		s.row("cluster id", func(m *Member) string { return idText(m.Cluster) })
		s.id("name", func(m *Member) string { return orNone(m.Called()) })
		s.db("consistent index", func(m *Member) string { return strconv.FormatUint(m.ConsistentIndex, 10) })
		s.row("term", func(m *Member) string { return strconv.FormatUint(m.Term, 10) })
		s.db("revision", func(m *Member) string { return strconv.FormatInt(m.Revision, 10) })
		s.db("compaction asked for", func(m *Member) string { return revision(m.ScheduledCompact) })
		s.db("compaction finished", func(m *Member) string { return revision(m.FinishedCompact) })
		s.db("keys", func(m *Member) string { return strconv.Itoa(m.Keys) })
		s.db("rows (revisions of keys)", func(m *Member) string { return strconv.Itoa(m.Revisions) })
		s.db("hashKV at revision", func(m *Member) string { return fmt.Sprintf("%d @ %d", m.HashKV, m.Revision) })
		s.row("cluster version", func(m *Member) string { return orNone(m.ClusterVersion) })
		s.db("storage version", func(m *Member) string { return orNone(m.StorageVersion) })
		if s.any(func(m *Member) bool { return m.DowngradeTo != "" }) {
			s.db("downgrade to", func(m *Member) string { return orNone(m.DowngradeTo) })
		}
	})
	s.table(p, "Leases and alarms", func() {
		s.db("leases", func(m *Member) string { return strconv.Itoa(m.Leases) })
		s.db("keys with a lease", func(m *Member) string { return strconv.Itoa(m.leased()) })
		s.db("keys whose lease is gone", func(m *Member) string { return strconv.Itoa(len(m.LeasedWithout)) })
		alarms := s.names(func(m *Member) []string { return names(m.Alarms, Alarm.String) })
		for _, name := range alarms {
			s.db("alarm "+name, func(m *Member) string {
				return onOff(slices.ContainsFunc(m.Alarms, func(a Alarm) bool { return a.String() == name }))
			})
		}
		if len(alarms) == 0 {
			s.db("alarms", func(*Member) string { return "none" })
		}
	})
	s.table(p, "Auth", func() {
		s.db("auth", func(m *Member) string { return onOff(m.AuthEnabled) })
		s.db("auth revision", func(m *Member) string { return strconv.FormatUint(m.AuthRevision, 10) })
		for _, name := range s.names(func(m *Member) []string { return names(m.Users, func(u User) string { return u.Called() }) }) {
			s.db("user "+middle(name, 30), func(m *Member) string { return m.user(name) })
		}
		for _, name := range s.names(func(m *Member) []string { return names(m.Roles, func(r Role) string { return r.Called() }) }) {
			s.db("role "+middle(name, 30), func(m *Member) string { return m.role(name) })
		}
	})
	s.membership(p)
	s.log(p)
	findings(p, d)
	if b := d.BestCopy; b != nil {
		end := &page{}
		end.line("best copy", "%s, if the members agree", bestText(b))
		p.sections = append(p.sections, end)
	}
	p.hints = append(p.hints, hints...)
	if len(d.Members) > 1 {
		p.hint("etcd-autopsy diff MEMBER... says whether what differs is a divergence or mere lag")
	}
	p.hint("etcd-autopsy check MEMBER... says what is wrong with the files, what that means and what to do")
	p.hint("-w json lists every lease, permission, segment and finding")
	return p
}

// sheet collects the rows of one table: a column for each member.
type sheet struct {
	d    *Inspection
	rows [][]string
}

func (s *sheet) table(p *page, title string, fill func()) {
	s.rows = nil
	fill()
	t := table{title: title, header: []string{""}, rows: s.rows}
	starred := false
	for i := range s.d.Members {
		t.header = append(t.header, s.d.Members[i].Label)
	}
	for _, r := range s.rows {
		starred = starred || strings.HasSuffix(r[0], " *")
	}
	if starred {
		t.notes = []string{"* differs between members"}
	}
	if len(t.rows) > 0 {
		p.tables = append(p.tables, t)
	}
}

// row adds a fact that should be the same on all members.
func (s *sheet) row(name string, get func(m *Member) string) {
	s.rows = append(s.rows, mark(append([]string{name}, each(s.d.Members, get)...)))
}

// id adds a fact that is different on all members.
func (s *sheet) id(name string, get func(m *Member) string) {
	s.rows = append(s.rows, append([]string{name}, each(s.d.Members, get)...))
}

// file adds a fact of the db file, which some members may not have.
func (s *sheet) file(name string, get func(m *Member) string) {
	s.row(name, func(m *Member) string {
		if m.DB == nil {
			return "?"
		}
		return get(m)
	})
}

// db adds a fact that is in a table of the db.
func (s *sheet) db(name string, get func(m *Member) string) {
	s.row(name, func(m *Member) string {
		if !m.Readable {
			return "?"
		}
		return get(m)
	})
}

func (s *sheet) any(f func(m *Member) bool) bool {
	for i := range s.d.Members {
		if f(&s.d.Members[i]) {
			return true
		}
	}
	return false
}

// names are those of all members, sorted.
func (s *sheet) names(of func(m *Member) []string) []string {
	var all []string
	for i := range s.d.Members {
		all = append(all, of(&s.d.Members[i])...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func names[T any](all []T, name func(T) string) []string {
	var out []string
	for _, x := range all {
		out = append(out, name(x))
	}
	return out
}

func join[T any](all []T, f func(T) string) string { return orNone(strings.Join(names(all, f), ", ")) }

func revision(n int64) string {
	if n == 0 {
		return "never"
	}
	return strconv.FormatInt(n, 10)
}

// String names the alarm and the member that raised it.
func (a Alarm) String() string { return a.Type + " " + a.Member.String() }

func (m *Member) leased() int {
	n := len(m.LeasedWithout)
	for _, l := range m.LeaseTable {
		n += len(l.Keys)
	}
	return n
}

func (m *Member) user(name string) string {
	for i := range m.Users {
		if u := &m.Users[i]; u.Called() == name {
			s := strings.Join(u.roles(), ", ")
			if s == "" {
				s = "no role"
			}
			if u.NoPassword {
				s += " (no password)"
			}
			return middle(s, 30)
		}
	}
	return "-"
}

func (m *Member) role(name string) string {
	for _, r := range m.Roles {
		if r.Called() == name {
			if len(r.Permissions) == 0 {
				return "no permission"
			}
			if len(r.Permissions) > 1 {
				return count(len(r.Permissions), "permission")
			}
			return middle(r.Permissions[0].String(), 30)
		}
	}
	return "-"
}

// String is the permission in one line. Keys that are not printable are in hex.
func (p Permission) String() string {
	s := strings.ToLower(p.Type) + " " + keyText(p.Key, p.KeyBase64)
	if end := keyText(p.RangeEnd, p.RangeEndBase64); end != "" {
		s += " to " + end
	}
	return s
}

// membership shows both tables of members: the bucket, and what .snap and the log tell.
func (s *sheet) membership(p *page) {
	type source struct {
		title     string
		of, other func(m *Member) *Membership
	}
	bucket := func(m *Member) *Membership {
		if !m.Readable {
			return nil
		}
		return &m.MembersBucket
	}
	log := func(m *Member) *Membership {
		if m.LogMembership == nil {
			return nil
		}
		return &m.LogMembership.Membership
	}
	lone := false
	for i, src := range []source{
		{"Members (bucket in the db; from etcd 3.6 this counts)", bucket, log},
		{"Members (.snap files and log; up to etcd 3.5 these count)", log, bucket},
	} {
		cells := map[string]map[string]string{} // by id, by label
		for i := range s.d.Members {
			m := &s.d.Members[i]
			ms := src.of(m)
			if ms == nil {
				continue
			}
			put := func(id diff.ID, text string) {
				if cells[id.String()] == nil {
					cells[id.String()] = map[string]string{}
				}
				cells[id.String()][m.Label] = text
			}
			for _, id := range ms.Removed {
				put(id, "removed")
			}
			for _, c := range ms.Members {
				text := clusterMember(c)
				if other := src.other(m); other != nil && !other.has(c.ID) {
					text, lone = text+" !", true
				}
				put(c.ID, text)
			}
		}
		s.table(p, src.title, func() {
			for _, id := range slices.Sorted(maps.Keys(cells)) {
				s.row(id, func(m *Member) string {
					if src.of(m) == nil {
						return "?"
					}
					return orNone(cells[id][m.Label])
				})
			}
			if i == 0 && s.any(func(m *Member) bool { return m.ConfState != nil }) {
				s.db("voters", func(m *Member) string { return voters(m.ConfState) })
			}
		})
	}
	if n := len(p.tables); lone && n > 0 {
		t := &p.tables[n-1]
		t.notes = append(t.notes, "! is in only one of the member's two tables of members")
	}
}

func (ms *Membership) has(id diff.ID) bool {
	return slices.ContainsFunc(ms.Members, func(c ClusterMember) bool { return c.ID == id })
}

func clusterMember(c ClusterMember) string {
	s := c.Called()
	if s == "" {
		s = "no name"
	}
	if c.Learner {
		s += " (learner)"
	}
	return s
}

func voters(cs *ConfState) string {
	if cs == nil {
		return "-"
	}
	s := strconv.Itoa(len(cs.Voters))
	if len(cs.VotersOutgoing) > 0 {
		s += fmt.Sprintf(", %d outgoing", len(cs.VotersOutgoing))
	}
	if n := len(cs.Learners) + len(cs.LearnersNext); n > 0 {
		s += ", " + count(n, "learner")
	}
	return s
}

func (s *sheet) log(p *page) {
	s.table(p, "Log and .snap files", func() {
		s.row("segments", func(m *Member) string { return strconv.Itoa(len(m.Log.Segments)) })
		s.row("entries", func(m *Member) string { return span(m.Log.FirstIndex, m.Log.LastIndex) })
		s.row("gaps", func(m *Member) string { return join(m.Log.Gaps, func(g Gap) string { return span(g.First, g.Last) }) })
		s.row("replaced entries", func(m *Member) string { return strconv.Itoa(m.Log.Superseded) })
		s.row("commit", func(m *Member) string { return strconv.FormatUint(m.Log.Commit, 10) })
		s.row("term", func(m *Member) string { return strconv.FormatUint(m.Log.Term, 10) })
		s.row("vote", func(m *Member) string {
			if m.Log.Vote == 0 {
				return "-"
			}
			return m.Log.Vote.String()
		})
		s.row("snapshot records at", func(m *Member) string { return last(m.Log.Snapshots, func(x LogSnapshot) uint64 { return x.Index }) })
		s.row(".snap files at", func(m *Member) string { return last(m.Snapshots, func(x Snapshot) uint64 { return x.Index }) })
		s.row("unreadable bytes", func(m *Member) string { return strconv.FormatInt(m.Log.Bytes.Unreadable, 10) })
	})
	types := s.names(func(m *Member) []string { return slices.Collect(maps.Keys(m.Log.ByType)) })
	s.table(p, "Log entries by type", func() {
		for _, typ := range types {
			s.row(typ, func(m *Member) string { return strconv.Itoa(m.Log.ByType[typ]) })
		}
	})
}

// last lists the last few indexes.
func last[T any](all []T, index func(T) uint64) string {
	var parts []string
	for _, x := range all {
		parts = append(parts, strconv.FormatUint(index(x), 10))
	}
	if n := len(parts); n > 3 {
		parts = append([]string{".."}, parts[n-3:]...)
	}
	return orNone(strings.Join(parts, " "))
}

// findings lists what is not as it should be, the worst first.
func findings(p *page, d *Inspection) {
	t := table{title: "Findings", header: []string{"member", "severity", "what"}}
	for i := range d.Members {
		m := &d.Members[i]
		worst := slices.Clone(m.Findings)
		slices.SortStableFunc(worst, func(a, b FindingRecord) int { return weight(a) - weight(b) })
		for k, f := range worst {
			if k == findingsShown {
				t.rows = append(t.rows, []string{m.Label, "", fmt.Sprintf("%d more: -w json", len(worst)-k)})
				break
			}
			where := f.File
			if f.Page != nil {
				where += fmt.Sprintf(": page %d", *f.Page)
			} else if f.Offset != nil {
				where += fmt.Sprintf(": offset %d", *f.Offset)
			}
			for n, l := range wrap(where+": "+f.Detail, maxWidth-10) {
				row := []string{m.Label, f.Severity, l}
				if n > 0 {
					row[0], row[1] = "", ""
				}
				t.rows = append(t.rows, row)
			}
		}
	}
	if len(t.rows) > 0 {
		p.tables = append(p.tables, t)
	}
}

func weight(f FindingRecord) int {
	switch f.Severity {
	case string(finding.Error):
		return 0
	case string(finding.Warning):
		return 1
	}
	return 2
}

// inspectLines are one line for each member, as of etcdctl endpoint status: label, member id, cluster id, consistent
// index, term, revision, compact revision, keys, rows, hashKV, leases, auth, auth revision, first and last index of the
// log, commit, all readable.
func inspectLines(d *Inspection) [][]string {
	var ls [][]string
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	i := func(n int64) string { return strconv.FormatInt(n, 10) }
	for k := range d.Members {
		m := &d.Members[k]
		ls = append(ls, []string{
			m.Label, idText(m.MemberID), idText(m.Cluster), u(m.ConsistentIndex), u(m.Term), i(m.Revision), i(m.CompactRevision),
			i(int64(m.Keys)), i(int64(m.Revisions)), u(uint64(m.HashKV)), i(int64(m.Leases)), strconv.FormatBool(m.AuthEnabled),
			u(m.AuthRevision), u(m.Log.FirstIndex), u(m.Log.LastIndex), u(m.Log.Commit), strconv.FormatBool(m.Complete),
		})
	}
	return ls
}
