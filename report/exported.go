package report

import (
	"io"
	"maps"
	"slices"
	"strconv"

	"etcd-autopsy/diff"
)

// Exported says which tables were written.
type Exported struct {
	SchemaVersion string           `json:"schema_version"`
	Dir           string           `json:"dir"`
	Rows          map[string]int64 `json:"rows"` // by table; each is a file of that name
}

// NewExported makes the document of tables that were written into dir.
func NewExported(dir string, rows map[string]int64) *Exported {
	return &Exported{diff.SchemaVersion, dir, rows}
}

// Export writes which tables were written.
func Export(w io.Writer, d *Exported, format Format, hints ...string) error {
	lines := func() (ls [][]string) {
		for _, name := range slices.Sorted(maps.Keys(d.Rows)) {
			ls = append(ls, []string{name + ".parquet", strconv.FormatInt(d.Rows[name], 10)})
		}
		return ls
	}
	return encode(w, format, d, func() *page {
		return &page{tables: []table{{title: "Written to " + d.Dir, header: []string{"file", "rows"}, rows: lines()}}, hints: hints}
	}, lines)
}
