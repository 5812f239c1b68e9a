package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"etcd-autopsy/diff/remedy"
)

// lostShown bounds what is named to people of each kind of loss, previewShown the keys of a member and a kind.
const (
	lostShown    = 10
	previewShown = 5
)

// actionWords are the actions as people read them.
var actionWords = map[remedy.Action]string{
	remedy.Nothing: "NOTHING TO DO", remedy.Rebuild: "REBUILD", remedy.Restore: "RESTORE", remedy.CopyAgain: "COPY AGAIN", remedy.Undecided: "UNDECIDED",
}

// Planned writes what to do.
func Planned(w io.Writer, d *remedy.Document, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return plannedPage(d, hints) }, func() [][]string { return plannedLines(d) })
}

func plannedPage(d *remedy.Document, hints []string) *page {
	p := &page{verdict: actionWords[d.Action], title: actionTitle(d), hints: hints}
	several(p, "why", d.Why)
	several(p, "but", d.Doubts)
	if s := d.From; s != nil && d.Action != remedy.Nothing {
		sound := "sound"
		if !s.Sound {
			sound = "not sound, " + s.Standing
		}
		p.line("from", "%s: entry %d, revision %d; %s", s.Called(), s.Entry, s.Revision, sound)
		if d.Action != remedy.CopyAgain {
			lostLines(p, d)
		}
	}
	if b := d.Bump; b != nil {
		if b.Possible {
			most := ""
			if d.From.Revision == 0 {
				most = "at most "
			}
			p.line("revision", "raise it by %d: %s%s that others made and that are lost, and a margin of %d for what was written since", b.By, most, count(b.Lost, "revision"), b.Margin)
			p.line("", "--bump-revision %d --mark-compacted: %s", b.By, b.Needs)
		} else {
			p.line("revision", "it cannot be raised: %s", b.Needs)
		}
		p.line("", "why: %s", b.Why)
	}
	if d.Action == remedy.Rebuild {
		p.line("revision", "stays: no file is restored; restart what was connected to a member that is rebuilt, as it may have cached what only that held")
	}
	if pl := d.Plan(); pl != nil && len(pl.Copies) > 1 {
		t := copiesTable(pl)
		t.notes = append(t.notes, "keys and leases are those of the last entry that two members have both reached")
		p.tables = append(p.tables, t)
	}
	if d.Action != remedy.Nothing && len(d.Membership) > 0 {
		t := table{title: "Members afterwards", header: []string{"member", "id today", "peer urls", "afterwards"}}
		for i := range d.Membership {
			m := &d.Membership[i]
			t.rows = append(t.rows, []string{m.Name, m.ID.String(), strings.Join(m.PeerURLs, ", "), m.Becomes})
		}
		p.tables = append(p.tables, t)
	}
	if len(d.Preview) > 0 {
		p.tables = append(p.tables, previewTable(d))
	}
	for i, x := range d.Procedures {
		if i == 0 {
			p.code = append(p.code, "# to be read and adapted; nothing of this was run")
		}
		p.code = append(p.code, "", "# "+x.Where)
		p.code = append(p.code, x.Steps...)
	}
	return p
}

// several are lines of one name.
func several(p *page, name string, texts []string) {
	for i, t := range texts {
		if i > 0 {
			name = ""
		}
		p.line(name, "%s", t)
	}
}

func actionTitle(d *remedy.Document) string {
	switch d.Action {
	case remedy.Nothing:
		return "nothing is known that would have to be mended; to restore from a copy all the same, name it with --from"
	case remedy.Rebuild:
		return fmt.Sprintf("go on with %s, and make %s anew while the cluster runs", d.From.Called(), list(d.Rebuild))
	case remedy.Restore:
		return fmt.Sprintf("the cluster as a whole, from %s", d.From.Called())
	case remedy.CopyAgain:
		if len(d.Rebuild) > 0 {
			return fmt.Sprintf("%s, before anything is done to a member", list(d.Rebuild))
		}
		return "see what check finds, before anything is done to a member"
	}
	return "no copy can be recommended: choose one with --from"
}

// lostLines name what is lost.
func lostLines(p *page, d *remedy.Document) {
	l := &d.Lost
	if !d.From.Sound {
		p.line("lost", "what it lacks because of its damage: recover says what of that is known; and")
		p.line("", "%s, %s, %s that others hold and it does not", count(l.EntryCount, "entry"), count(l.KeyCount, "key"), count(l.LeaseCount, "lease"))
		namesLost(p, l)
		return
	}
	if l.EntryCount+l.KeyCount+l.LeaseCount == 0 && l.Revisions == 0 {
		p.line("lost", "nothing that is known")
		return
	}
	against := ""
	if l.Against != "" {
		against = ", with what " + l.Against + " holds now"
	}
	p.line("lost", "%s, %s, %s%s", count(l.EntryCount, "entry"), count(l.KeyCount, "key"), count(l.LeaseCount, "lease"), against)
	namesLost(p, l)
}

func namesLost(p *page, l *remedy.Lost) {
	for i, e := range l.Entries {
		if i == lostShown {
			break
		}
		p.line("", "- entry %d: %s", e.Index, orUnknown(e.Summary))
	}
	more(p, l.EntryCount, "entry")
	for i, k := range l.Keys {
		if i == lostShown {
			break
		}
		p.line("", "- key %s", k)
	}
	more(p, l.KeyCount, "key")
	for i, x := range l.Leases {
		if i == lostShown {
			break
		}
		p.line("", "- lease %s", x)
	}
	more(p, l.LeaseCount, "lease")
}

func orUnknown(s string) string {
	if s == "" {
		return "it is in no log that can be read"
	}
	return s
}

func more(p *page, n int, noun string) {
	if n > lostShown {
		p.line("", "- and %s more: see -w json", count(n-lostShown, noun))
	}
}

func previewTable(d *remedy.Document) table {
	t := table{
		title:  "Against what each member holds now",
		header: []string{"member", "is", "revision", "keys gone", "keys back", "keys otherwise", "keys the same", "leases gone", "leases back"},
		notes:  []string{"gone: on the member, and would not be there; back: would be there, and is not on the member"},
	}
	for i := range d.Preview {
		v := &d.Preview[i]
		t.rows = append(t.rows, []string{
			v.Member, v.Standing, strconv.FormatInt(v.Revision, 10), strconv.Itoa(v.GoneCount), strconv.Itoa(v.BackCount), strconv.Itoa(v.OtherCount),
			strconv.Itoa(v.SameCount), strconv.Itoa(v.GoneLeases), strconv.Itoa(v.BackLeases),
		})
		for _, k := range []struct {
			what string
			n    int
			keys []string
		}{{"gone", v.GoneCount, v.Gone}, {"back", v.BackCount, v.Back}, {"otherwise", v.OtherCount, v.Other}} {
			if k.n == 0 {
				continue
			}
			shown := k.keys[:min(len(k.keys), previewShown)]
			s := fmt.Sprintf("%s, %s: %s", v.Member, k.what, strings.Join(shown, ", "))
			if n := k.n - len(shown); n > 0 {
				s += fmt.Sprintf(" and %d more", n)
			}
			t.notes = append(t.notes, s)
		}
	}
	return t
}

func plannedLines(d *remedy.Document) (ls [][]string) {
	from := ""
	if d.From != nil {
		from = d.From.Called()
	}
	ls = append(ls, append([]string{"action", string(d.Action), from}, d.Rebuild...))
	for _, w := range d.Why {
		ls = append(ls, []string{"why", w})
	}
	for _, w := range d.Doubts {
		ls = append(ls, []string{"but", w})
	}
	for _, e := range d.Lost.Entries {
		ls = append(ls, []string{"lost entry", strconv.FormatUint(e.Index, 10), e.Summary})
	}
	for _, k := range d.Lost.Keys {
		ls = append(ls, []string{"lost key", k})
	}
	for _, x := range d.Lost.Leases {
		ls = append(ls, []string{"lost lease", x.String()})
	}
	if b := d.Bump; b != nil {
		ls = append(ls, []string{"bump", strconv.FormatInt(b.By, 10), strconv.FormatInt(b.Lost, 10), strconv.FormatInt(b.Margin, 10), b.Needs})
	}
	for i := range d.Membership {
		m := &d.Membership[i]
		ls = append(ls, []string{"member", m.Name, m.ID.String(), m.Becomes})
	}
	for i := range d.Preview {
		v := &d.Preview[i]
		ls = append(ls, []string{"preview", v.Member, strconv.Itoa(v.GoneCount), strconv.Itoa(v.BackCount), strconv.Itoa(v.OtherCount), strconv.Itoa(v.SameCount)})
	}
	for _, x := range d.Procedures {
		for _, s := range x.Steps {
			ls = append(ls, []string{"step", x.Where, s})
		}
	}
	return ls
}
