package report

import "io"

// Versions is what the program is built from.
type Versions struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Of the modules that are in the program; empty if it has none of their code.
	Etcd  string `json:"etcd"`
	Raft  string `json:"raft"`
	Bbolt string `json:"bbolt"`
}

// Version writes v.
func Version(w io.Writer, v *Versions, format Format) error {
	revision := v.Revision
	if v.Modified {
		revision += " (modified)"
	}
	rows := [][]string{
		{"etcd-autopsy", v.Version},
		{"revision", orNone(revision)},
		{"go", v.Go + " " + v.Platform},
		{"etcd", orNone(v.Etcd)},
		{"raft", orNone(v.Raft)},
		{"bbolt", orNone(v.Bbolt)},
	}
	return encode(w, format, v, func() *page {
		p := &page{}
		for _, r := range rows {
			p.line(r[0], "%s", r[1])
		}
		return p
	}, func() [][]string { return rows })
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
