package report

import (
	"io"
	"maps"
	"slices"
	"strconv"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/export"
)

// Exported says which tables were written.
type Exported struct {
	SchemaVersion string           `json:"schema_version"`
	Dir           string           `json:"dir"`
	Rows          map[string]int64 `json:"rows"` // by table; each is a folder of that name
	// Partitions are the members whose rows were written.
	Partitions []ExportedPartition `json:"partitions"`
}

// ExportedPartition is what is in the paths of the files of a member. Cluster and Time may be "unknown".
type ExportedPartition struct {
	Cluster string     `json:"cluster"`
	Member  diff.Named `json:"member"`
	Time    string     `json:"time"`
}

// NewExported makes the document of tables that were written into dir.
func NewExported(dir string, rows map[string]int64, parts []export.Partition) *Exported {
	d := &Exported{diff.SchemaVersion, dir, rows, []ExportedPartition{}}
	for _, p := range parts {
		d.Partitions = append(d.Partitions, ExportedPartition{p.Cluster, diff.NameOf(p.Member), p.Time})
	}
	return d
}

// Export writes which tables were written.
func Export(w io.Writer, d *Exported, format Format, hints ...string) error {
	lines := func() (ls [][]string) {
		for _, name := range slices.Sorted(maps.Keys(d.Rows)) {
			ls = append(ls, []string{name, strconv.FormatInt(d.Rows[name], 10)})
		}
		return ls
	}
	return encode(w, format, d, func() *page {
		return &page{tables: []table{{title: "Written to " + d.Dir, header: []string{"table", "rows"}, rows: lines()}}, hints: hints}
	}, lines)
}
