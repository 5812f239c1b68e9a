// Package check says what is wrong, odd or worth knowing in the files of one member, without any other member: damage,
// files that contradict each other, and states that keep a member from starting or harm a cluster later.
package check

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
)

// Result is what a check of one member found, and how much of its files it is based on.
type Result struct {
	Label    string
	Findings []finding.Finding // sorted by severity, then by place
	Coverage Coverage
}

// Coverage adds up to the files: what was read, what there was no need to read, what could not be read.
type Coverage struct {
	DB  *DBCoverage // nil if there is no db
	WAL raftlog.Coverage
	// Snaps is how many .snap files there are, SnapsRead how many of them are sound.
	Snaps, SnapsRead int
}

// DBCoverage counts pages below the high water mark, and bytes of the whole file.
type DBCoverage struct {
	// Read, Free, Unreachable and Unreadable add up to Pages.
	Pages       uint64
	Read        uint64 // meta, branch, leaf, overflow and freelist pages in use
	Free        uint64
	Unreachable uint64 // nothing refers to them: leaked, or cut off by damage
	Unreadable  uint64 // in use, but damaged or cut off
	// Rows of the key bucket, Salvaged those of them that were found in pages to which nothing readable refers.
	Rows     int
	Salvaged int
	// BytesPages, BytesTail and BytesHash add up to BytesTotal.
	BytesPages int64
	BytesTail  int64 // preallocated behind the pages
	BytesHash  int64 // the sha256 of a snapshot file
	BytesTotal int64
}

// Files returns the findings about a member that reading it has shown, and those that its tables and the names of its files show: it
// looks at no row of a key again.
func Files(m *inspect.Member) []finding.Finding {
	c := &checker{m: m, r: &Result{Label: m.Label, Findings: slices.Clone(m.Findings)}}
	c.files()
	if m.DB != nil {
		c.indexes()
		c.alarms()
	}
	c.membership()
	c.oldServers()
	Sort(c.r.Findings)
	return c.r.Findings
}

// Member checks one member.
func Member(m *inspect.Member) *Result {
	c := &checker{m: m, r: &Result{Label: m.Label, Findings: slices.Clone(m.Findings)}}
	c.coverage()
	c.files()
	if m.DB != nil {
		c.rows()
		c.compaction()
		c.indexes()
		c.alarms()
		c.leases()
	}
	c.membership()
	c.oldServers()
	Sort(c.r.Findings)
	return c.r
}

// Sort puts errors before warnings before infos, and otherwise follows the place.
func Sort(fs []finding.Finding) {
	finding.Sort(fs)
	rank := map[finding.Severity]int{finding.Error: 0, finding.Warning: 1, finding.Info: 2}
	slices.SortStableFunc(fs, func(a, b finding.Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
}

type checker struct {
	m *inspect.Member
	r *Result
}

func (c *checker) add(f finding.Finding) { c.r.Findings = append(c.r.Findings, f) }

const dbName = "member/snap/db"

func (c *checker) dbFile() string {
	if c.m.DB != nil {
		return c.m.DB.File.Name
	}
	return dbName
}

func (c *checker) coverage() {
	cov := &c.r.Coverage
	cov.WAL = c.m.Log.Coverage
	for _, f := range c.m.Files {
		if strings.HasSuffix(f.Name, ".snap") {
			cov.Snaps++
		}
	}
	for _, s := range c.m.Snaps {
		if s.CRCOK {
			cov.SnapsRead++
		}
	}
	db := c.m.DB
	if db == nil {
		return
	}
	r := db.Bolt.Check()
	d := &DBCoverage{
		Pages: r.Pages.Total(), Free: r.Pages.Free, Unreachable: r.Pages.Unreachable, Unreadable: r.Pages.Unreadable,
		Rows: db.Rows.Len(), Salvaged: db.Rows.Salvaged(), BytesPages: r.Bytes.Pages, BytesTail: r.Bytes.Tail, BytesHash: r.Bytes.Trailer, BytesTotal: db.File.Size,
	}
	d.Read = d.Pages - d.Free - d.Unreachable - d.Unreadable
	cov.DB = d
}

// files looks at names: what an interrupted operation left behind.
func (c *checker) files() {
	var snapshot uint64
	for _, s := range c.m.Log.Snapshots {
		snapshot = max(snapshot, s.Index)
	}
	for _, f := range c.m.Files {
		base := path.Base(f.Name)
		switch {
		case strings.HasSuffix(base, ".snap.db"):
			c.snapDB(f.Name, base, snapshot)
		case strings.HasPrefix(base, "db.tmp"):
			c.add(finding.New("defrag-leftover", finding.Info, f.Name, "%d bytes left by a defragmentation that did not end", f.Size))
		case strings.HasSuffix(base, ".broken"):
			c.add(finding.New("broken-set-aside", finding.Warning, f.Name, "etcd set this file aside as broken at an earlier start"))
		case strings.HasPrefix(base, "tmp") && strings.Contains(f.Name, "/snap/"):
			c.add(finding.New("snap-receive-leftover", finding.Info, f.Name, "%d bytes of a snapshot that did not arrive whole", f.Size))
		}
	}
}

func (c *checker) snapDB(name, base string, snapshot uint64) {
	var index uint64
	if _, err := fmt.Sscanf(base, "%016x.snap.db", &index); err != nil {
		c.add(finding.New("snap-db-name", finding.Warning, name, "the name does not hold a raft index"))
		return
	}
	if c.m.DB != nil && index > c.m.DB.Tables.ConsistentIndex {
		c.add(finding.New("snap-db-pending", finding.Info, name, "a db received from the leader at raft index %d, newer than member/snap/db at %d", index, c.m.DB.Tables.ConsistentIndex))
		return
	}
	c.add(finding.New("snap-db-orphan", finding.Info, name, "a db received from the leader at raft index %d, which member/snap/db has passed", index))
}

func (c *checker) alarms() {
	for _, a := range c.m.DB.Tables.Alarms {
		c.add(finding.New("alarm-on", finding.Warning, c.dbFile(), "alarm %s is on, raised by member %016x", a.Type, a.Member))
	}
}
