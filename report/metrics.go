package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/report/escape"
)

// OpenMetrics is a text for Prometheus, of the commands that judge copies: what alarms are about, each a gauge.
const OpenMetrics Format = "openmetrics"

// ParseFormatOr returns the format of that name, or one of some that only a few commands have.
func ParseFormatOr(name string, more ...Format) (Format, error) {
	if slices.Contains(more, Format(name)) {
		return Format(name), nil
	}
	if _, err := ParseFormat(name); err != nil {
		all := Formats()
		for _, m := range more {
			all = append(all, string(m))
		}
		return "", fmt.Errorf("unknown output format %q: it is one of %s", name, strings.Join(all, ", "))
	}
	return Format(name), nil
}

// Figures are what alarms are about, of one member.
type Figures struct {
	Member string `json:"member"` // its label
	// DB is null if there is no db, or none of which anything can be read.
	DB *FiguresDB `json:"db"`
	// NewestTime is the latest time that the files tell: when the newest process started that gave an id to a request or a
	// lease. It is left out if they tell none.
	NewestTime *time.Time `json:"newest_time,omitempty"`
	Errors     int        `json:"errors"` // findings, as the next two
	Warnings   int        `json:"warnings"`
	Infos      int        `json:"infos"`
}

// FiguresDB are those of its db. Sizes are in bytes. What cannot be read is left out.
type FiguresDB struct {
	Revision        int64  `json:"revision,omitempty"`
	ConsistentIndex uint64 `json:"consistent_index,omitempty"`
	Size            int64  `json:"size"`
	InUse           int64  `json:"in_use"` // by pages that are neither free nor unreachable, and can be read
}

// FiguresOf are those of a member of which something was found.
func FiguresOf(m *inspect.Member, found []FindingRecord) Figures {
	f := Figures{Member: m.Label}
	if t := m.Newest(); !t.IsZero() {
		f.NewestTime = &t
	}
	if db := m.DB; db != nil {
		p := db.Bolt.Check().Pages
		f.DB = &FiguresDB{
			Revision: db.Revision(), ConsistentIndex: db.Tables.ConsistentIndex, Size: db.File.Size,
			InUse: int64(p.Meta+p.Branch+p.Leaf+p.Freelist+p.Overflow) * int64(db.Bolt.Meta().PageSize),
		}
	}
	f.count(found)
	return f
}

func (f *Figures) count(found []FindingRecord) {
	for _, x := range found {
		switch finding.Severity(x.Severity) {
		case finding.Error:
			f.Errors++
		case finding.Warning:
			f.Warnings++
		default:
			f.Infos++
		}
	}
}

// FiguresFound are those of a member of which nothing was looked for but what reading it has shown.
func FiguresFound(m *inspect.Member) Figures {
	var found []FindingRecord
	for _, f := range m.Findings {
		found = append(found, findingRecord(f))
	}
	return FiguresOf(m, found)
}

// Measured is what a path holds, for Metrics.
type Measured struct {
	Path    string
	Status  int // the exit status, NoStatus if the command has only one for all
	Members []Figures
}

// NoStatus is that of a path that has none of its own.
const NoStatus = -1

// Metrics writes what a command found in the text format of OpenMetrics. All samples of a family stand together, so that it is
// written at the end.
func Metrics(w io.Writer, command string, status int, all []Measured) error {
	return metrics(command, status, all).End(w)
}

// DiffMetrics writes, besides, how members differ.
func DiffMetrics(w io.Writer, d *diff.Document, status int, ms []*inspect.Member) error {
	var all []Measured
	for _, x := range ms {
		var found []FindingRecord
		for _, f := range d.Findings {
			if f.Member == x.Label {
				found = append(found, FindingRecord{Severity: string(f.Severity)})
			}
		}
		all = append(all, Measured{Path: x.Origin, Status: NoStatus, Members: []Figures{FiguresOf(x, found)}})
	}
	m, of := metrics("diff", status, all), escape.Label{Name: "command", Value: "diff"}
	m.Gauge("etcd_autopsy_divergences", "", "Number of causes for which members diverged.")
	m.Sample(float64(len(d.Divergences)), of)
	m.Gauge("etcd_autopsy_keys_differing", "", "Number of keys that are not the same on all members, at the last entry that all have come to.")
	m.Sample(float64(d.Counts.KeysDiffering), of)
	return m.End(w)
}

func metrics(command string, status int, all []Measured) *escape.Metrics {
	m := &escape.Metrics{}
	of := escape.Label{Name: "command", Value: command}
	paths := apartVisible(all)
	m.Gauge("etcd_autopsy_exit_status", "", "Exit status of the command: 0 nothing found, 1 problems, 2 could not run, 3 cannot be told.")
	m.Sample(float64(status), of)
	each := func(sample func(at []escape.Label, x *Figures)) {
		for i := range all {
			for k := range all[i].Members {
				x := &all[i].Members[k]
				sample([]escape.Label{of, paths[i], {Name: "member", Value: x.Member}}, x)
			}
		}
	}
	m.Gauge("etcd_autopsy_backup_exit_status", "", "Exit status of the command for this path by itself.")
	for i := range all {
		if all[i].Status != NoStatus {
			m.Sample(float64(all[i].Status), of, paths[i])
		}
	}
	ofDB := func(get func(db *FiguresDB) (n float64, known bool)) {
		each(func(at []escape.Label, x *Figures) {
			if x.DB == nil {
				return
			}
			if n, known := get(x.DB); known {
				m.Sample(n, at...)
			}
		})
	}
	m.Gauge("etcd_autopsy_revision", "", "Revision of the keyspace.")
	ofDB(func(db *FiguresDB) (float64, bool) { return float64(db.Revision), db.Revision != 0 })
	m.Gauge("etcd_autopsy_consistent_index", "", "Raft index of the last entry whose effects the db says that it holds.")
	ofDB(func(db *FiguresDB) (float64, bool) { return float64(db.ConsistentIndex), db.ConsistentIndex != 0 })
	m.Gauge("etcd_autopsy_db_size_bytes", "bytes", "Size of the db.")
	ofDB(func(db *FiguresDB) (float64, bool) { return float64(db.Size), true })
	m.Gauge("etcd_autopsy_db_in_use_bytes", "bytes", "Size of the pages of the db that are in use and can be read.")
	ofDB(func(db *FiguresDB) (float64, bool) { return float64(db.InUse), true })
	m.Gauge("etcd_autopsy_newest_time_seconds", "seconds", "Latest time that the files tell, since 1970: the newest start of a server process that gave an id to a request or a lease.")
	each(func(at []escape.Label, x *Figures) {
		if x.NewestTime != nil {
			m.Sample(float64(x.NewestTime.UnixMilli())/1000, at...)
		}
	})
	m.Gauge("etcd_autopsy_findings", "", "Number of findings.")
	each(func(at []escape.Label, x *Figures) {
		for _, s := range []struct {
			severity finding.Severity
			n        int
		}{{finding.Error, x.Errors}, {finding.Warning, x.Warnings}, {finding.Info, x.Infos}} {
			m.Sample(float64(s.n), append(slices.Clip(at), escape.Label{Name: "severity", Value: string(s.severity)})...)
		}
	})
	return m
}

// apartVisible are labels that tell paths apart, also where they differ only in what is not shown as it is.
func apartVisible(all []Measured) []escape.Label {
	labels, of, taken := make([]escape.Label, len(all)), map[string]string{}, map[string]bool{}
	for i := range all {
		path := all[i].Path
		name, ok := of[path]
		if !ok {
			name = escape.Visible(path)
			for n := 2; taken[name]; n++ {
				name = fmt.Sprintf("%s#%d", escape.Visible(path), n)
			}
			of[path], taken[name] = name, true
		}
		labels[i] = escape.Label{Name: "path", Value: name}
	}
	return labels
}
