package report

import (
	"fmt"
	"io"
	"strconv"

	"etcd-autopsy/diff/recovery"
)

// changedShown bounds the keys that are shown to people.
const changedShown = 20

// Recovered writes what was recovered. Commands restore it, for people to paste.
func Recovered(w io.Writer, d *recovery.Document, format Format, commands []string, hints ...string) error {
	return encode(w, format, d, func() *page { return recoveredPage(d, commands, hints) }, func() [][]string {
		return [][]string{{
			d.File, d.From, strconv.FormatUint(d.Entry, 10), strconv.FormatInt(d.Revision, 10), strconv.Itoa(d.Keys), strconv.Itoa(d.Leases),
			strconv.FormatBool(d.Whole), strconv.FormatBool(d.Proven), d.SHA256,
		}}
	})
}

func recoveredPage(d *recovery.Document, commands, hints []string) *page {
	p := &page{code: commands, hints: hints, verdict: "WRITTEN", title: d.File}
	switch {
	case !d.Whole:
		p.title += ", with losses"
	case !d.Proven:
		p.title += ", not proven"
	case len(d.Without) > 0:
		p.title += ", whole; no state that the cluster ever had"
	case d.ProvenFrom > 0:
		p.title += fmt.Sprintf(", whole, proven from revision %d on", d.ProvenFrom)
	default:
		p.title += ", whole and proven"
	}
	p.line("from", "%s, made from %s", d.From, d.Base)
	entry := "which entry is not known"
	if d.Entry > 0 {
		entry = fmt.Sprintf("entry %d, term %d", d.Entry, d.Term)
		if d.Term == 0 {
			entry = fmt.Sprintf("entry %d", d.Entry)
		}
	}
	p.line("moment", "%s, revision %d, compacted at %d", entry, d.Revision, d.CompactRevision)
	p.line("holds", "%s, %s of history, %s, auth %s", count(d.Keys, "key"), count(d.Revisions, "row"), count(d.Leases, "lease"), authText(d.AuthEnabled, d.AuthRevision))
	p.line("hashKV", "%d at revision %d", d.HashKV, d.Revision)
	p.line("file", "%s, sha256 %s", count(d.Size, "byte"), d.SHA256)
	if d.Salvaged > 0 {
		p.line("salvaged", "%s from pages to which nothing that can be read refers", count(d.Salvaged, "row"))
	}
	many := func(name string, texts []string) {
		for i, t := range texts {
			if i > 0 {
				name = ""
			}
			p.line(name, "%s", t)
		}
	}
	many("lost", d.Lost)
	many("proof", d.Proof)
	many("note", d.Notes)
	if d.ChangedCount > 0 {
		t := table{title: "Otherwise because of the entries left out", header: []string{"key", "is"}, keys: true}
		for _, c := range d.Changed[:min(len(d.Changed), changedShown)] {
			t.rows = append(t.rows, []string{c.Text(), c.How})
		}
		if n := d.ChangedCount - len(t.rows); n > 0 {
			t.notes = append(t.notes, fmt.Sprintf("and %s more", count(n, "key")))
		}
		p.tables = append(p.tables, t)
	}
	return p
}

func authText(on bool, revision uint64) string {
	if on {
		return fmt.Sprintf("on at revision %d", revision)
	}
	return "off"
}
