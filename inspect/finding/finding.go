// Package finding holds what a reader of the evidence has to say about it: damage, oddities, and plain facts that an
// investigator would want to know. A finding is data, not an error: an error means that the tool could not do its job.
package finding

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity says how much a finding matters to the person who has to act on it.
type Severity string

const (
	// Info is normal, or harmless by itself, but explains what is seen elsewhere.
	Info Severity = "info"
	// Warning may lose data or stop a member from starting under some conditions.
	Warning Severity = "warning"
	// Error is damage: something that was there cannot be read or contradicts itself.
	Error Severity = "error"
)

// NoOffset is the Offset and the Page of a finding that is about no single place.
const NoOffset = -1

// Finding is one observation about one place in one member's files.
type Finding struct {
	// Code names the kind: lowercase words joined by hyphens, stable between releases, such as "wal-crc-mismatch".
	Code string
	// Severity is the finding's own; the meaning of a code does not depend on it.
	Severity Severity
	// File is the path inside the member's data directory, such as "member/snap/db".
	File string
	// Offset is in bytes from the start of File, NoOffset if the finding is about no single place.
	Offset int64
	// Page is the bbolt page id, NoOffset where there is none.
	Page int64
	// Detail says what was seen, in one lowercase clause without a full stop. It never holds a value of a key.
	Detail string
	// Unreadable tells that something could not be read because of this, so that a comparison is not complete.
	Unreadable bool
}

// New returns a finding about a whole file.
func New(code string, sev Severity, file, format string, args ...any) Finding {
	return Finding{Code: code, Severity: sev, File: file, Offset: NoOffset, Page: NoOffset, Detail: fmt.Sprintf(format, args...)}
}

// At returns f with its place set to offset.
func (f Finding) At(offset int64) Finding { f.Offset = offset; return f }

// OnPage returns f with its place set to a bbolt page.
func (f Finding) OnPage(page uint64, offset int64) Finding {
	f.Page, f.Offset = int64(page), offset
	return f
}

// Lost returns f marked as keeping something from being read.
func (f Finding) Lost() Finding { f.Unreadable = true; return f }

// String is "file: offset N: what", as errors about the same place read.
func (f Finding) String() string {
	switch {
	case f.File == "":
		return f.Detail
	case f.Page >= 0:
		return fmt.Sprintf("%s: page %d: offset %d: %s", f.File, f.Page, f.Offset, f.Detail)
	case f.Offset >= 0:
		return fmt.Sprintf("%s: offset %d: %s", f.File, f.Offset, f.Detail)
	default:
		return f.File + ": " + f.Detail
	}
}

// Sort orders findings by file, place, code and text, so that the same evidence always reads the same.
func Sort(fs []Finding) {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Detail, b.Detail))
	})
}
