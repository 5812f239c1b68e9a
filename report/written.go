package report

import (
	"io"
	"strconv"

	"etcd-autopsy/diff"
)

// Files is what a command has written.
type Files struct {
	Verdict diff.Verdict  `json:"verdict"`
	Title   string        `json:"title"`
	Dir     string        `json:"dir"`
	Files   []WrittenFile `json:"files"`
	// Private is true if values are shown.
	Private bool `json:"private"`
}

// WrittenFile is one of them. Size is in bytes.
type WrittenFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	What string `json:"what"`
}

// Written says what was written.
func Written(w io.Writer, f *Files, format Format, hints ...string) error {
	return encode(w, format, f, func() *page {
		p := &page{verdict: "WROTE", title: f.Title}
		t := table{header: []string{"file", "bytes", "what it is"}}
		for _, x := range f.Files {
			t.rows = append(t.rows, []string{x.Name, strconv.FormatInt(x.Size, 10), x.What})
		}
		p.tables = []table{t}
		if f.Private {
			p.hint("this report shows values: do not attach it to a public issue")
		}
		p.hints = append(p.hints, hints...)
		return p
	}, func() [][]string {
		ls := [][]string{{"verdict", string(f.Verdict)}}
		for _, x := range f.Files {
			ls = append(ls, []string{"file", x.Name, strconv.FormatInt(x.Size, 10)})
		}
		return ls
	})
}
