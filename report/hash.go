package report

import (
	"fmt"
	"io"
	"strconv"

	"etcd-autopsy/diff"
)

// Hash writes hashes of members.
func Hash(w io.Writer, d *diff.HashDocument, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return hashPage(d, hints) }, func() [][]string { return hashLines(d) })
}

func hashPage(d *diff.HashDocument, hints []string) *page {
	p := &page{hints: hints}
	p.verdict, p.title = hashTitle(d)
	if c := d.Common; c != nil {
		p.line("common", "revision %d, compact revision %s", c.Revision, revision(c.CompactRevision))
		for _, g := range c.Groups {
			p.line("hashKV", "%d  %s", g.HashKV, list(g.Members))
		}
	}
	for _, x := range d.Partings {
		p.blank()
		who := x.Members[0] + " and " + x.Members[1]
		if x.Oldest {
			p.line("parted", "%s: at or before revision %d, the oldest whose hash is known: %d and %d", who, x.Revision, x.Hashes[0], x.Hashes[1])
		} else {
			p.line("parted", "%s: at revision %d: %d and %d", who, x.Revision, x.Hashes[0], x.Hashes[1])
			if x.Before != nil {
				p.line("", "at revision %d both %d", x.Revision-1, *x.Before)
			}
			p.line("made by", "%s: %s", x.Members[0], madeBy(x.Entries[0]))
			p.line("", "%s: %s", x.Members[1], madeBy(x.Entries[1]))
		}
		if x.EncodingOnly {
			p.line("but", "the rows say the same in other bytes: etcd 3.7 leaves out zeros that older versions write")
		}
	}
	for _, r := range d.Reasons {
		p.line("note", "%s", r)
	}
	t := table{header: []string{""}}
	for i := range d.Members {
		t.header = append(t.header, d.Members[i].Label)
	}
	row := func(name string, get func(m *diff.MemberHash) string) {
		cells := []string{name}
		for i := range d.Members {
			cells = append(cells, get(&d.Members[i]))
		}
		t.rows = append(t.rows, mark(cells))
	}
	status := func(name string, get func(s *diff.HashStatus) string) {
		row(name, func(m *diff.MemberHash) string {
			if m.Status == nil {
				return "?"
			}
			return get(m.Status)
		})
	}
	row("hashKV", func(m *diff.MemberHash) string {
		if m.Error != "" {
			return "?"
		}
		return strconv.FormatUint(uint64(m.HashKV), 10)
	})
	row("  at revision", func(m *diff.MemberHash) string {
		if m.Status == nil {
			return "?"
		}
		return strconv.FormatInt(m.HashRevision, 10)
	})
	row("  compact revision", func(m *diff.MemberHash) string {
		if m.Status == nil {
			return "?"
		}
		return revision(m.CompactRevision)
	})
	status("snapshot status: hash", func(s *diff.HashStatus) string { return s.HashHex })
	status("  revision", func(s *diff.HashStatus) string { return strconv.FormatInt(s.Revision, 10) })
	status("  total keys", func(s *diff.HashStatus) string { return strconv.Itoa(s.TotalKeys) })
	status("  total keys before 3.6", func(s *diff.HashStatus) string { return strconv.Itoa(s.TotalRows) })
	status("  total size", func(s *diff.HashStatus) string { return strconv.FormatInt(s.TotalSize, 10) })
	status("  version", func(s *diff.HashStatus) string { return orNone(s.Version) })
	status("etcd-dump-db hash", func(s *diff.HashStatus) string { return strconv.FormatUint(uint64(s.BackendHash), 10) })
	if len(d.Members) > 1 {
		t.notes = []string{"* differs; only hashKV must be the same on all members, at one revision"}
	}
	p.tables = append(p.tables, t)
	if len(d.Partings) > 0 {
		p.hint("etcd-autopsy diff MEMBER... says at which entry they parted, and why")
	}
	return p
}

func hashTitle(d *diff.HashDocument) (verdict, title string) {
	switch {
	case d.Verdict == diff.NotComparable:
		return "NOT COMPARABLE", "these are members of several clusters"
	case d.Verdict == diff.Diverged:
		return "DIFFERENT", fmt.Sprintf("the keyspaces of %s have %d hashes at revision %d", count(len(d.Members), "member"), len(d.Common.Groups), d.Common.Revision)
	case d.Verdict == diff.Indeterminate:
		return "INDETERMINATE", "hashes could not be compared in full"
	case d.Common != nil:
		return "EQUAL", fmt.Sprintf("the keyspaces of %s have the same hash at revision %d", count(len(d.Members), "member"), d.Common.Revision)
	}
	return "", ""
}

func madeBy(index uint64) string {
	if index == 0 {
		return "the log does not tell"
	}
	return fmt.Sprintf("entry %d", index)
}

// hashLines are one line for each member, as of etcdctl endpoint hashkv and etcdutl snapshot status: label, hashKV, its
// revision, compact revision, status hash, revision, keys, size, version, db hash.
func hashLines(d *diff.HashDocument) [][]string {
	var ls [][]string
	for i := range d.Members {
		m := &d.Members[i]
		l := []string{m.Label, strconv.FormatUint(uint64(m.HashKV), 10), strconv.FormatInt(m.HashRevision, 10), strconv.FormatInt(m.CompactRevision, 10)}
		if s := m.Status; s != nil {
			l = append(l, s.HashHex, strconv.FormatInt(s.Revision, 10), strconv.Itoa(s.TotalKeys), strconv.FormatInt(s.TotalSize, 10), s.Version, strconv.FormatUint(uint64(s.BackendHash), 10))
		}
		ls = append(ls, l)
	}
	return ls
}
