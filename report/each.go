package report

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

// Each is what a command says of one backup by itself, without its document.
type Each struct {
	SchemaVersion string     `json:"schema_version"`
	Command       string     `json:"command"`
	File          diff.Named `json:"file"` // path, as it was named or found
	// Size and Modified are those of a file; of a folder, the sizes of all files in it, and the latest time of these and its folders.
	Size     int64     `json:"size"` // in bytes
	Modified time.Time `json:"mtime,omitzero"`
	Meta     *int      `json:"meta,omitempty"` // the meta page that was asked for
	// ExitStatus is that of the command on this backup alone.
	ExitStatus int    `json:"exit_status"`
	Summary    string `json:"summary"`
	Hint       string `json:"hint,omitempty"` // what to do where it could not run
	// Notes say what was found and not read.
	Notes   []string  `json:"notes"`
	Members []Figures `json:"members"`
}

// EachOf is a line of JSON: all of it, D being what the command writes with -w json.
type EachOf[D any] struct {
	Each
	Document *D `json:"document"` // null if the command could not run
}

// NewEach begins what is said of a path.
func NewEach(command, path string) *Each {
	return &Each{SchemaVersion: diff.SchemaVersion, Command: command, File: diff.NameOf(path), Notes: []string{}, Members: []Figures{}}
}

// Path is the path that it was made of.
func (e *Each) Path() string {
	if e.File.Name != nil {
		return *e.File.Name
	}
	b, err := base64.StdEncoding.DecodeString(e.File.NameBase64)
	if err != nil {
		return ""
	}
	return string(b)
}

// Line is the line of JSON with a document, which is not needed any more then.
func (e *Each) Line(document any) (json.RawMessage, error) {
	var b bytes.Buffer
	err := escape.JSON(&b, struct {
		*Each
		Document any `json:"document"`
	}{e, document}, "", "")
	return b.Bytes(), err
}

// SummaryOf is what was found in members, in a line.
func (d *Checkup) SummaryOf() string {
	var all []string
	for i := range d.Members {
		all = append(all, d.Members[i].verdict())
	}
	return d.joined(all)
}

func (d *Checkup) joined(all []string) string {
	if len(all) > 1 {
		for i := range all {
			all[i] = d.Members[i].Label + ": " + all[i]
		}
	}
	return strings.Join(all, "; ")
}

// SummaryOf is what reading members has shown, in a line.
func (d *Inspection) SummaryOf() string {
	c := &Checkup{}
	for i := range d.Members {
		m := &d.Members[i]
		f := Figures{}
		f.count(m.Findings)
		c.Members = append(c.Members, CheckedMember{Label: m.Label, Errors: f.Errors, Warnings: f.Warnings, Infos: f.Infos, Complete: m.Complete})
	}
	return c.SummaryOf()
}

// SummaryOf says why each backup can be restored or not, in a line.
func (v *Verification) SummaryOf() string {
	var all []string
	for i := range v.Backups {
		b := &v.Backups[i]
		all = append(all, stateWords[b.State]+": "+b.Reason)
	}
	return strings.Join(all, "; ")
}

// Eaches writes what a command says of backups, one after the other: a line of JSON, or a row.
type Eaches struct {
	s *stream
	n map[int]int // by exit status
}

// NewEaches writes to w.
func NewEaches(w io.Writer, format Format) *Eaches {
	e := &Eaches{newStream(w, format), map[int]int{}}
	e.s.head("", column{name: "exit"}, column{name: "revision", right: true}, column{name: "size", right: true}, column{name: "backup"}, column{name: "what"})
	return e
}

// Add writes what is said of the next one. A line of JSON is written at once, and whole.
func (e *Eaches) Add(x *Each, line json.RawMessage) error {
	revision := "-"
	if len(x.Members) == 1 && x.Members[0].DB != nil {
		revision = strconv.FormatInt(x.Members[0].DB.Revision, 10)
	}
	e.s.row(line, []string{strconv.Itoa(x.ExitStatus), revision, strconv.FormatInt(x.Size, 10), x.Path(), x.Summary})
	if e.n[x.ExitStatus]++; e.s.format == JSON {
		e.s.check(e.s.w.Flush())
	}
	return e.s.err
}

// End writes what is left, and in a table how many had which exit status.
func (e *Eaches) End() error {
	all := 0
	var counts []string
	for _, status := range slices.Sorted(maps.Keys(e.n)) {
		all += e.n[status]
		counts = append(counts, fmt.Sprintf("%d with exit status %d", e.n[status], status))
	}
	if all == 0 {
		return e.s.end() // all were done before
	}
	e.s.blank()
	e.s.remark(count(all, "backup") + ": " + strings.Join(counts, ", "))
	return e.s.end()
}

// Done is what earlier runs of commands with --each say of backups.
type Done struct {
	all map[string]Each
	// Lines is how many say something, Other how many do not: they are cut, too long, or no such lines.
	Lines, Other int
	// Cut tells that the last line does not end.
	Cut bool
}

// longestLine bounds a line of an earlier run that is understood; one that is longer tells nothing.
const longestLine = 64 << 20

// ReadDone reads lines of JSON that Eaches wrote, and adds what they say: of one path, the last one counts. An error is one of reading.
func (d *Done) ReadDone(in io.Reader) error {
	if d.all == nil {
		d.all = map[string]Each{}
	}
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= longestLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case err != nil:
			if d.Cut = len(line) > 0; d.Cut {
				d.Other++
			}
			return nil
		}
		d.note(line)
		line = line[:0]
	}
}

func (d *Done) note(line []byte) {
	var x Each
	if len(line) > longestLine || json.Unmarshal(line, &x) != nil || x.SchemaVersion != diff.SchemaVersion || x.Command == "" || x.Path() == "" {
		d.Other++
		return
	}
	d.Lines++
	d.all[x.Command+"\x00"+x.Path()] = x
}

// Has returns what an earlier run says of a backup, if that is still so: the same command, path, size, time of modification and meta
// page. One that it could not run on is not done.
func (d *Done) Has(x *Each) (*Each, bool) {
	was, ok := d.all[x.Command+"\x00"+x.Path()]
	if !ok || was.Size != x.Size || !was.Modified.Equal(x.Modified) || (was.Meta == nil) != (x.Meta == nil) || was.Meta != nil && *was.Meta != *x.Meta {
		return nil, false
	}
	if was.ExitStatus != 0 && was.ExitStatus != 1 && was.ExitStatus != 3 {
		return nil, false
	}
	return &was, true
}
