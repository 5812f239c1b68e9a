package report

import (
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/preflight"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
)

// Checkup is what was found in the files of members, each looked at alone. Everything in it is sorted.
type Checkup struct {
	SchemaVersion string          `json:"schema_version"`
	Verdict       CheckVerdict    `json:"verdict"`
	Members       []CheckedMember `json:"members"`
	// Advice explains every code that a finding has.
	Advice map[string]Advice `json:"advice"`
}

// CheckVerdict sums up a check.
type CheckVerdict string

const (
	// Problems means that there are errors or warnings.
	Problems CheckVerdict = "problems"
	// NothingFound means that everything was read, and there are no findings but infos.
	NothingFound CheckVerdict = "nothing_found"
	// Incomplete means that what could be read has no errors or warnings, but was not everything.
	Incomplete CheckVerdict = "incomplete"
)

// CheckedMember is one member.
type CheckedMember struct {
	Label  string `json:"label"`
	Origin string `json:"origin"`
	// Errors, Warnings and Infos count the findings.
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
	// Complete is false if something could not be read.
	Complete bool `json:"complete"`
	// Findings are errors first, then warnings, then infos; among these by file and offset.
	Findings []FindingRecord `json:"findings"`
	Coverage CheckCoverage   `json:"coverage"`
}

// Advice is what a kind of finding means, and what to do about it.
type Advice struct {
	Meaning string `json:"meaning"`
	Action  string `json:"action"`
	// Answers are what servers say that stop on it, once they come to it.
	Answers []preflight.Answer `json:"answers"`
}

// CheckCoverage tells how much of the files the findings rest on.
type CheckCoverage struct {
	DB    *CheckedDB    `json:"db"` // null if none of it can be read
	Log   CheckedLog    `json:"log"`
	Snaps CheckedSnaps  `json:"snaps"`
	Other []CheckedFile `json:"other"` // files that are not read, only named
}

// CheckedDB counts the pages below the high water mark, and the bytes of the whole file.
type CheckedDB struct {
	File string `json:"file"`
	// Pages is the sum of the next four.
	Pages            uint64 `json:"pages"`
	PagesRead        uint64 `json:"pages_read"`
	PagesFree        uint64 `json:"pages_free"`
	PagesUnreachable uint64 `json:"pages_unreachable"` // nothing refers to them: leaked, or cut off by damage
	PagesUnreadable  uint64 `json:"pages_unreadable"`  // in use, but damaged or cut off
	// Rows are the revisions of keys. Salvaged of them were found in pages that are unreachable.
	Rows     int `json:"rows"`
	Salvaged int `json:"rows_salvaged"`
	// Bytes is the sum of the next three, and the size of the file.
	Bytes             int64 `json:"bytes"`
	BytesPages        int64 `json:"bytes_pages"`
	BytesPreallocated int64 `json:"bytes_preallocated"` // behind the pages
	BytesHash         int64 `json:"bytes_hash"`         // the sha256 of a snapshot file
}

// CheckedLog counts the records and bytes of all segments.
type CheckedLog struct {
	Segments    int `json:"segments"`
	Records     int `json:"records"`
	Entries     int `json:"entries"`      // of Records: raft entries, replaced ones included
	AfterDamage int `json:"after_damage"` // of the entries in use: read behind a place that is damaged
	// Bytes is the sum of the next three, and of the sizes of all files of the log.
	Bytes             int64 `json:"bytes"`
	BytesRead         int64 `json:"bytes_read"`
	BytesPreallocated int64 `json:"bytes_preallocated"`
	BytesUnread       int64 `json:"bytes_unread"`
}

// CheckedSnaps counts the .snap files.
type CheckedSnaps struct {
	Files int `json:"files"`
	Read  int `json:"read"`
}

// CheckedFile is a file that is not read.
type CheckedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Check looks at each of ms alone.
func Check(ms []*inspect.Member) *Checkup {
	d := &Checkup{SchemaVersion: diff.SchemaVersion, Verdict: NothingFound, Members: []CheckedMember{}, Advice: map[string]Advice{}}
	for _, m := range ms {
		d.Members = append(d.Members, checked(m, diff.CheckMember(m)))
	}
	for i := range d.Members {
		m := &d.Members[i]
		switch {
		case m.Errors+m.Warnings > 0:
			d.Verdict = Problems
		case !m.Complete && d.Verdict == NothingFound:
			d.Verdict = Incomplete
		}
		for _, f := range m.Findings {
			d.advise(f.Code, f.Severity)
			if check.OfPage(f.Code) {
				d.advise(check.Pages, f.Severity)
			}
		}
	}
	return d
}

// advise explains a kind of finding. What servers say is told of errors before it is of less.
func (d *Checkup) advise(code, severity string) {
	a := diff.Explain(code)
	x := Advice{Meaning: a.Meaning, Action: a.Action, Answers: d.Advice[code].Answers}
	if len(x.Answers) == 0 {
		x.Answers = preflight.Answers(code, finding.Severity(severity))
	}
	if x.Answers == nil {
		x.Answers = []preflight.Answer{}
	}
	d.Advice[code] = x
}

func checked(m *inspect.Member, r *check.Result) CheckedMember {
	out := CheckedMember{Label: m.Label, Origin: m.Origin, Findings: []FindingRecord{}}
	out.Complete, _ = m.Complete()
	for _, f := range r.Findings {
		switch f.Severity {
		case finding.Error:
			out.Errors++
		case finding.Warning:
			out.Warnings++
		default:
			out.Infos++
		}
		out.Complete = out.Complete && !f.Unreadable
		out.Findings = append(out.Findings, findingRecord(f))
	}
	out.Coverage = coverage(m, &r.Coverage)
	return out
}

func coverage(m *inspect.Member, c *check.Coverage) CheckCoverage {
	out := CheckCoverage{
		Log: CheckedLog{
			Segments: len(m.Log.Segments), Records: c.WAL.Records, Entries: c.WAL.EntryRecords,
			Bytes: c.WAL.Bytes, BytesRead: c.WAL.BytesRead, BytesPreallocated: c.WAL.BytesPreallocated, BytesUnread: c.WAL.BytesSkipped,
		},
		Snaps: CheckedSnaps{Files: c.Snaps, Read: c.SnapsRead},
		Other: []CheckedFile{},
	}
	for i := range m.Log.Entries {
		if m.Log.Entries[i].AfterDamage {
			out.Log.AfterDamage++
		}
	}
	if db := c.DB; db != nil {
		out.DB = &CheckedDB{
			File: m.DB.File.Name, Pages: db.Pages, PagesRead: db.Read, PagesFree: db.Free, PagesUnreachable: db.Unreachable, PagesUnreadable: db.Unreadable,
			Rows: db.Rows, Salvaged: db.Salvaged,
			Bytes: db.BytesTotal, BytesPages: db.BytesPages, BytesPreallocated: db.BytesTail, BytesHash: db.BytesHash,
		}
	}
	for _, f := range m.Unread {
		out.Other = append(out.Other, CheckedFile{f.Name, f.Size})
	}
	return out
}

// findingGroup is the findings of one code and severity, in the order of the document.
type findingGroup struct {
	code, severity string
	all            []FindingRecord
}

// groups puts findings of one kind together, and keeps the order otherwise. Errors about pages are one kind: what is wrong with one page of a
// copy shows in many ways. A few are told one by one.
func groups(fs []FindingRecord) []findingGroup {
	var out []findingGroup
	ofPage := func(f *FindingRecord) bool { return f.Severity == string(finding.Error) && check.OfPage(f.Code) }
	pages, kinds := 0, map[string]bool{}
	for i := range fs {
		if ofPage(&fs[i]) {
			pages++
			kinds[fs[i].Code] = true
		}
	}
	for _, f := range fs {
		code := f.Code
		if pages > placesShown && len(kinds) > 1 && ofPage(&f) {
			code = check.Pages
		}
		i := slices.IndexFunc(out, func(g findingGroup) bool { return g.code == code && g.severity == f.Severity })
		if i < 0 {
			i = len(out)
			out = append(out, findingGroup{code: code, severity: f.Severity})
		}
		out[i].all = append(out[i].all, f)
	}
	return out
}
