package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

// Glance is where members stand, as a few pages of each db tell. Nothing else of the files was read or checked.
type Glance struct {
	SchemaVersion string          `json:"schema_version"`
	Quick         bool            `json:"quick"` // always true
	Members       []GlancedMember `json:"members"`
}

// GlancedMember is one member. Fields that Member has mean the same here.
type GlancedMember struct {
	Label            string          `json:"label"`
	Origin           string          `json:"origin"`
	MemberID         *diff.ID        `json:"member_id"`
	Cluster          *diff.ID        `json:"cluster_id"`
	ConsistentIndex  uint64          `json:"consistent_index"`
	Term             uint64          `json:"term"`
	Revision         int64           `json:"revision"`
	ScheduledCompact int64           `json:"scheduled_compact_revision"`
	FinishedCompact  int64           `json:"finished_compact_revision"`
	ClusterVersion   string          `json:"cluster_version"`
	StorageVersion   string          `json:"storage_version"`
	AuthEnabled      bool            `json:"auth_enabled"`
	AuthRevision     uint64          `json:"auth_revision"`
	Leases           int             `json:"leases"`
	Alarms           []Alarm         `json:"alarms"`
	DB               *GlancedDB      `json:"db"`  // null if none of it can be read
	Log              GlancedLog      `json:"log"` // as the names of its files say
	Findings         []FindingRecord `json:"findings"`
	Readable         bool            `json:"readable"`
}

// GlancedDB is the bbolt file itself.
type GlancedDB struct {
	File     string `json:"file"`
	Size     int64  `json:"size"`
	PageSize uint32 `json:"page_size"`
	TxID     uint64 `json:"txid"`
	Meta     int    `json:"meta"`
}

// GlancedLog is what the directory says of a log.
type GlancedLog struct {
	Segments int   `json:"segments"`
	Size     int64 `json:"size"`
}

// GlanceAt tells where members stand that were opened with inspect.Options.Quick.
func GlanceAt(ms []*inspect.Member) *Glance {
	d := &Glance{SchemaVersion: diff.SchemaVersion, Quick: true, Members: []GlancedMember{}}
	for _, m := range ms {
		g := GlancedMember{Label: m.Label, Origin: m.Origin, Alarms: []Alarm{}, Findings: []FindingRecord{}}
		if m.Log.HasMetadata {
			node, cluster := diff.ID(m.Log.NodeID), diff.ID(m.Log.ClusterID)
			g.MemberID, g.Cluster = &node, &cluster
		}
		for _, f := range m.Files {
			if strings.HasPrefix(f.Name, "member/wal/") && strings.HasSuffix(f.Name, ".wal") {
				g.Log.Segments++
				g.Log.Size += f.Size
			}
		}
		for _, f := range m.Findings {
			g.Findings = append(g.Findings, findingRecord(f))
		}
		if db := m.DB; db != nil {
			meta, t := db.Bolt.Meta(), db.Tables
			g.DB = &GlancedDB{File: db.File.Name, Size: db.File.Size, PageSize: meta.PageSize, TxID: meta.TxID, Meta: meta.Slot}
			if g.Readable = db.HasKeys; g.Readable {
				g.ConsistentIndex, g.Term, g.Revision = t.ConsistentIndex, t.Term, db.Revision()
				g.ScheduledCompact, g.FinishedCompact = t.ScheduledCompact, t.FinishedCompact
				g.ClusterVersion, g.StorageVersion = t.ClusterVersion, t.StorageVersion
				g.AuthEnabled, g.AuthRevision, g.Leases = t.AuthEnabled, t.AuthRevision, len(t.Leases)
				for _, a := range t.Alarms {
					g.Alarms = append(g.Alarms, Alarm{diff.ID(a.Member), a.Type})
				}
			}
		}
		d.Members = append(d.Members, g)
	}
	return d
}

// Sound tells whether what was looked at of every member could be read and is not damaged.
func (d *Glance) Sound() bool {
	return !slices.ContainsFunc(d.Members, func(m GlancedMember) bool {
		return !m.Readable || slices.ContainsFunc(m.Findings, func(f FindingRecord) bool { return f.Unreadable || f.Severity == string(finding.Error) })
	})
}

// glanceFacts are the lines of a glance, and whether they are of the db's tables.
var glanceFacts = []struct {
	name string
	of   func(m *GlancedMember) string
	file bool // needs no table
}{
	{"db file", func(m *GlancedMember) string { return m.DB.File }, true},
	{"size", func(m *GlancedMember) string { return strconv.FormatInt(m.DB.Size, 10) }, true},
	{"transaction", func(m *GlancedMember) string { return fmt.Sprintf("%d (meta %d)", m.DB.TxID, m.DB.Meta) }, true},
	{"consistent index", func(m *GlancedMember) string { return strconv.FormatUint(m.ConsistentIndex, 10) }, false},
	{"term", func(m *GlancedMember) string { return glanceTerm(m.Term) }, false},
	{"revision", func(m *GlancedMember) string { return strconv.FormatInt(m.Revision, 10) }, false},
	{"compaction asked for", func(m *GlancedMember) string { return revision(m.ScheduledCompact) }, false},
	{"compaction finished", func(m *GlancedMember) string { return revision(m.FinishedCompact) }, false},
	{"cluster version", func(m *GlancedMember) string { return orNone(m.ClusterVersion) }, false},
	{"storage version", func(m *GlancedMember) string { return orNone(m.StorageVersion) }, false},
	{"leases", func(m *GlancedMember) string { return strconv.Itoa(m.Leases) }, false},
	{"alarms", func(m *GlancedMember) string { return join(m.Alarms, Alarm.String) }, false},
	{"auth", func(m *GlancedMember) string { return onOff(m.AuthEnabled) }, false},
	{"auth revision", func(m *GlancedMember) string { return strconv.FormatUint(m.AuthRevision, 10) }, false},
}

// glanceTerm is empty where a db does not tell: up to etcd 3.4 none does.
func glanceTerm(term uint64) string {
	if term == 0 {
		return "-"
	}
	return strconv.FormatUint(term, 10)
}

// rows are the facts of all members.
func (d *Glance) rows() (rows [][]string) {
	add := func(name string, of func(m *GlancedMember) string) {
		row := []string{name}
		for i := range d.Members {
			row = append(row, of(&d.Members[i]))
		}
		rows = append(rows, row)
	}
	add("member id", func(m *GlancedMember) string { return idText(m.MemberID) })
	add("cluster id", func(m *GlancedMember) string { return idText(m.Cluster) })
	for _, f := range glanceFacts {
		add(f.name, func(m *GlancedMember) string {
			if m.DB == nil || !f.file && !m.Readable {
				return "?"
			}
			return f.of(m)
		})
	}
	add("log", func(m *GlancedMember) string {
		return fmt.Sprintf("%s, %d bytes", count(m.Log.Segments, "file"), m.Log.Size)
	})
	return rows
}

// QuickInspect writes where members stand.
func QuickInspect(w io.Writer, d *Glance, format Format) error {
	return encode(w, format, d, func() *page {
		p := &page{}
		t := table{title: "At a glance", header: []string{""}, rows: d.rows()}
		for i := range d.Members {
			t.header = append(t.header, d.Members[i].Label)
		}
		p.tables = append(p.tables, t)
		for i := range d.Members {
			for _, f := range d.Members[i].Findings {
				p.line(d.Members[i].Label, "%s: %s", f.Severity, f.String())
			}
		}
		p.hint("only what this takes was read of each file, and nothing was checked: inspect without --quick reads all of it")
		return p
	}, d.rows)
}
