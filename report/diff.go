package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

const (
	keysShown    = 20 // keys and leases in a table for people
	changesShown = 3  // changes of one entry
	othersShown  = 6  // further causes
	reasonsShown = 8
)

// Diff writes the result of a comparison: for people on one screen, or in full.
func Diff(w io.Writer, doc *diff.Document, format Format, full bool, hints ...string) error {
	if format == JSON {
		b := bufio.NewWriterSize(w, 64<<10)
		return cmp.Or(StreamJSON(b, doc, "  "), b.Flush())
	}
	return encode(w, format, doc, func() *page {
		if full {
			return diffPage(doc, hints)
		}
		return screenPage(doc, hints)
	}, func() [][]string { return diffLines(doc) })
}

// sumLegend says what stands for a value.
const sumLegend = "the begin of the sha256 of the value"

// diffPage is the answer first, then what stands behind it.
func diffPage(d *diff.Document, hints []string) *page {
	p := &page{}
	switch d.Verdict {
	case diff.Diverged:
		p.verdict = "DIVERGED"
		diverged(p, d)
	case diff.Consistent:
		p.verdict = "CONSISTENT"
		if p.title = agreement(d); d.Headline != "" {
			p.verdict, p.title = "CONSISTENT,", d.Headline
			p.line("agree", "%s", agreement(d))
			errorsOf(p, d)
		}
		compared(p, d)
		reexecutions(p, d)
		knownBugs(p, d)
	case diff.NotComparable:
		p.verdict, p.title = "NOT COMPARABLE", strings.Join(d.Reasons, "; ")
		p.tables = append(p.tables, membersTable(d))
		p.hint("compare the members of one cluster at a time")
		return p
	default:
		p.verdict = "INDETERMINATE"
		p.title = "no difference in what could be read, but not everything could be read"
		if whole(d) {
			p.title = "no difference in what can be compared, but not everything can"
		}
		if d.Headline != "" {
			p.verdict, p.title = "CANNOT TELL", d.Headline
			copyAgain(p, d)
		}
		compared(p, d)
		reexecutions(p, d)
		knownBugs(p, d)
		plan(p, d)
	}
	p.tables = append(p.tables, membersTable(d))
	if d.Plan != nil && len(d.Plan.Copies) > 1 {
		p.tables = append(p.tables, copiesTable(d.Plan))
	}
	if d.Keys.Len() > 0 {
		p.tables = append(p.tables, keysTable(d))
	}
	if len(d.Leases) > 0 {
		p.tables = append(p.tables, leasesTable(d))
	}
	p.hints = append(p.hints, hints...)
	hidden := max(d.Keys.Len(), len(d.Leases)) > keysShown || len(d.Divergences) > othersShown || len(d.Reasons) > reasonsShown
	if hidden || d.Verdict == diff.Diverged {
		p.hint("etcd-autopsy diff MEMBER... -w json lists every key, lease and cause")
	}
	if len(d.Reasons)+len(d.Notes) > 0 && !(whole(d) && len(d.Notes) == 0) {
		p.hint("etcd-autopsy check MEMBER... says what the damage means and what to do")
	}
	if d.Verdict == diff.Indeterminate && whole(d) && len(d.Members) > 1 && len(d.Reexecutions) == 0 {
		p.hint("etcd-autopsy diff MEMBER... --replay runs the log of each member again, which may tell more")
	}
	p.hint("etcd-autopsy inspect MEMBER... shows the tables, logs and damage of each member")
	return p
}

// errorsOf names the kinds of errors in the files of members that agree.
func errorsOf(p *page, d *diff.Document) {
	told := map[string]bool{}
	name := verb(d.Problems, "problem", "problems")
	for i := range d.Findings {
		f := &d.Findings[i]
		if f.Severity != finding.Error || told[f.Code] {
			continue
		}
		told[f.Code] = true
		var on []string
		for k := range d.Findings {
			if o := &d.Findings[k]; o.Code == f.Code && o.Severity == finding.Error && !slices.Contains(on, o.Member) {
				on = append(on, o.Member)
			}
		}
		p.line(name, "%s: %s", list(on), f.Detail)
		name = ""
	}
}

// copyAgain says what to do about copies that are not whole, and what not to do.
func copyAgain(p *page, d *diff.Document) {
	var bad []string
	for i := range d.Members {
		if m := &d.Members[i]; m.Evidence != inspect.Whole && m.CopyOf == "" {
			bad = append(bad, m.Label)
		}
	}
	p.line("what now", "stop etcd and copy %s again, or take a file system snapshot", list(bad))
	p.line("", "- %s may be healthy: do not remove or rebuild a member because of this", verb(len(bad), "the member itself", "the members themselves"))
	p.blank()
}

// whole tells whether all of every member could be read.
func whole(d *diff.Document) bool {
	return !slices.ContainsFunc(d.Members, func(m diff.Member) bool { return !m.Complete })
}

// diverged explains the first cause, and names the others.
func diverged(p *page, d *diff.Document) {
	if len(d.Divergences) == 0 {
		p.title = "the members differ"
		return
	}
	v := &d.Divergences[0]
	p.title = headline(v)
	whatHappened(p, d, v)
	if v.What != "" && (len(v.Effects) == 0 || !slices.ContainsFunc(v.Effects, func(e diff.Effect) bool { return e.Note == v.What })) &&
		!strings.Contains(p.title, v.What) {
		p.line("what", "%s", v.What)
	}
	if len(v.Entries) > 1 {
		p.line("entries", "%s", indexes(v.Entries))
	}
	why(p, v, evidenceShown)
	if len(v.Minority) == 0 && len(v.Groups) > 1 {
		p.line("who", "%s", tie(d))
	}
	p.blank()
	differences(p, d)
	leftOut(p, d)
	logs(p, d)
	lag(p, d)
	further(p, d)
	consequences(p, d)
	reexecutions(p, d)
	knownBugs(p, d)
	plan(p, d)
	reasons(p, d)
	remarks(p, d)
}

// whatHappened is the entry of a divergence, and what it did on whom.
func whatHappened(p *page, d *diff.Document, v *diff.Divergence) {
	withAuth := slices.ContainsFunc(d.Members, func(m diff.Member) bool { return m.AuthEnabled })
	if v.Entry != nil && v.Layer != diff.LayerLog {
		p.line("entry", "%s", entry(v.Entry, withAuth))
		if v.SearchBounded {
			p.line("", "with it the log makes what %s; the search was cut short, others may do so, too", list(v.Faulty)+verb(len(v.Faulty), " holds", " hold"))
		}
	}
	candidates(p, v, withAuth)
	if f := v.FirstEffect; f != nil {
		p.line("first shows", "in keys at entry %d %s", f.Entry, f.Summary)
	}
	for _, e := range v.Effects {
		name := strings.Join(e.Members, ", ")
		for _, l := range effect(v, &e, withAuth) {
			p.line(name, "%s", l)
			name = ""
		}
	}
	if v.Layer == diff.LayerLog && alike(v.Effects) {
		p.line("", "the entries read alike, but their bytes differ")
	}
}

// candidates lists the entries of which one is meant, where the files do not tell which.
func candidates(p *page, v *diff.Divergence, withAuth bool) {
	if v.CandidateCount == 0 {
		return
	}
	if v.SearchBounded {
		p.line("entry", "%d were found with which the log makes what %s; the search was cut short, others may do so, too", v.CandidateCount, list(v.Faulty)+verb(len(v.Faulty), " holds", " hold"))
	} else {
		p.line("entry", "one of %d: with each of them the log makes what %s", v.CandidateCount, list(v.Faulty)+verb(len(v.Faulty), " holds", " hold"))
	}
	for i := range v.Candidates {
		if i == changesShown && v.CandidateCount > changesShown+1 {
			p.line("", "and %d more: see -w json", v.CandidateCount-i)
			break
		}
		p.line("", "- %s", entry(&v.Candidates[i], withAuth))
	}
}

// tie says what can be said where there is no majority.
func tie(d *diff.Document) string {
	var clean, departs []string
	for _, r := range d.Reexecutions {
		switch {
		case r.Clean:
			clean = append(clean, r.Member)
		case r.DepartureCount > 0:
			departs = append(departs, r.Member)
		}
	}
	if len(clean) > 0 && len(departs) > 0 {
		return fmt.Sprintf("no majority; but %s just what etcd makes of the log, and %s not: see below", list(clean)+verb(len(clean), " holds", " hold"), list(departs)+verb(len(departs), " does", " do"))
	}
	return "no majority: the files do not tell which side is right"
}

// headline says in one sentence who parts from whom, and where.
func headline(v *diff.Divergence) string {
	odd, rest := v.Minority, []string(nil)
	if len(v.Groups) > 0 {
		rest = v.Groups[0]
	}
	where := place(v)
	if s := manyWays(v); s != "" {
		return s
	}
	if len(odd) == 0 && len(v.Groups) > 1 {
		var sides []string
		for _, g := range v.Groups {
			sides = append(sides, list(g))
		}
		both := strings.Join(sides, " | ")
		switch v.Layer {
		case diff.LayerApply:
			return fmt.Sprintf("%s part %s", both, where)
		case diff.LayerLog:
			return fmt.Sprintf("%s hold different logs %s", both, where)
		default:
			return fmt.Sprintf("%s differ: %s", both, subject(v))
		}
	}
	if len(odd) == 0 {
		if len(rest) > 0 {
			return fmt.Sprintf("%s: %s", list(rest), subject(v))
		}
		return subject(v)
	}
	switch v.Layer {
	case diff.LayerApply:
		return fmt.Sprintf("%s %s from %s %s", list(odd), verb(len(odd), "parts", "part"), list(rest), where)
	case diff.LayerLog:
		return fmt.Sprintf("the log of %s differs from that of %s %s", list(odd), list(rest), where)
	default:
		return fmt.Sprintf("%s %s from %s: %s", list(odd), verb(len(odd), "differs", "differ"), list(rest), subject(v))
	}
}

// manyWays is the headline where several members have one fault, from different entries on, so that there are more than two sides by now.
func manyWays(v *diff.Divergence) string {
	if len(v.GroupsNow) < 3 || len(v.Onset) < 2 || v.Layer == diff.LayerLog {
		return ""
	}
	var sides, onsets []string
	for _, g := range v.GroupsNow {
		sides = append(sides, list(g))
	}
	members := slices.SortedFunc(maps.Keys(v.Onset), func(a, b string) int {
		return cmp.Or(cmp.Compare(v.Onset[a].Entry, v.Onset[b].Entry), strings.Compare(a, b))
	})
	for i, m := range members {
		if v.Onset[m].Entry == 0 {
			return "" // not known exactly
		}
		raft := ""
		if i == 0 {
			raft = "raft "
		}
		onsets = append(onsets, fmt.Sprintf("%s from %sentry %d on", m, raft, v.Onset[m].Entry))
	}
	return fmt.Sprintf("%d ways, %s: %s", len(sides), strings.Join(sides, " | "), list(onsets))
}

// place is where members part, as exactly as it is known.
func place(v *diff.Divergence) string {
	from := "at"
	if v.Layer == diff.LayerLog {
		from = "from"
	}
	on := ""
	if v.Layer == diff.LayerLog {
		on = " on"
	}
	switch {
	case v.Entry != nil && v.Layer == diff.LayerLog:
		return fmt.Sprintf("%s raft entry %d%s", from, v.Entry.Index, on)
	case v.Entry != nil:
		return fmt.Sprintf("%s raft entry %d (term %d)", from, v.Entry.Index, v.Entry.Term)
	case v.CandidateCount > 0 && !v.SearchBounded:
		return fmt.Sprintf("%s one of %d raft entries from %d to %d%s", from, v.CandidateCount, v.EntryInterval.First, v.EntryInterval.Last, on)
	case v.EntryInterval != nil:
		return fmt.Sprintf("%s a raft entry from %d to %d%s", from, v.EntryInterval.First, v.EntryInterval.Last, on)
	case v.RevisionInterval != nil:
		if v.RevisionInterval.First == v.RevisionInterval.Last {
			return fmt.Sprintf("at revision %d; the raft entry is in no log that is left", v.RevisionInterval.First)
		}
		return fmt.Sprintf("between revision %d and %d; the raft entry is in no log that is left", v.RevisionInterval.First, v.RevisionInterval.Last)
	case v.Revision > 0:
		return fmt.Sprintf("at revision %d; the raft entry is not known", v.Revision)
	}
	return "at a raft entry that is not known"
}

// subject is what differs, for the layers below the log and the entries' effects.
func subject(v *diff.Divergence) string {
	var b strings.Builder
	switch v.Layer {
	case diff.LayerStorage:
		b.WriteString("the stored data")
		if v.Revision > 0 {
			fmt.Fprintf(&b, " at revision %d", v.Revision)
		}
		if v.Entry != nil {
			fmt.Fprintf(&b, " (raft entry %d, term %d)", v.Entry.Index, v.Entry.Term)
		} else if v.RevisionInterval != nil {
			fmt.Fprintf(&b, " %s", place(v))
		}
		return b.String()
	case diff.LayerLease:
		b.WriteString("the lease table")
	case diff.LayerAuth:
		b.WriteString("the auth tables")
	case diff.LayerMembership:
		b.WriteString("the membership tables")
	case diff.LayerAlarm:
		b.WriteString("the alarms")
	case diff.LayerMeta:
		b.WriteString("the meta table")
	default:
		return place(v)
	}
	if v.Entry != nil || v.EntryInterval != nil {
		b.WriteString(", " + place(v))
	}
	if v.What != "" {
		b.WriteString("; " + v.What)
	}
	return b.String()
}

// entry is an entry in one line. Where there is auth, that a request has no user is worth a word.
func entry(e *diff.Entry, withAuth bool) string {
	s := fmt.Sprintf("%d %s", e.Index, e.Summary)
	switch {
	case e.User != "":
		s += ", user " + e.User
	case withAuth && hasUser(e.Type):
		s += ", no user"
	}
	if e.Proposer != "" {
		s += ", proposed by " + e.Proposer
	}
	return s
}

// hasUser tells whether a request of that type is made in a user's name.
func hasUser(typ string) bool {
	switch typ {
	case "Empty", "ConfChange", "ConfChangeV2", "V2Request", "ClusterVersionSet", "ClusterMemberAttrSet", "DowngradeInfoSet":
		return false
	}
	return true
}

// effect is what the entry did on the members of one group, line by line.
func effect(v *diff.Divergence, e *diff.Effect, withAuth bool) []string {
	var lines []string
	if e.Entry != nil {
		lines = append(lines, fmt.Sprintf("entry %s (term %d)", entry(e.Entry, withAuth), e.Entry.Term))
	}
	var did string
	switch {
	case e.Revision > 0 && len(e.Changes) > 0:
		did = fmt.Sprintf("revision %d: %s", e.Revision, changes(e.Changes))
	case e.Revision > 0 && e.Note == "":
		did = fmt.Sprintf("revision %d: no rows", e.Revision)
	case e.Revision > 0:
		did = fmt.Sprintf("revision %d", e.Revision)
	case v.Layer == diff.LayerApply && !strings.HasPrefix(e.Note, "no effect"):
		did = "no effect"
	}
	if did = strings.Join(notes(did, e.Note), "; "); did != "" {
		lines = append(lines, did)
	}
	if in := e.Instead; in != nil {
		by := ""
		if in.Entry != nil {
			by = fmt.Sprintf(" is entry %d", in.Entry.Index)
		}
		lines = append(lines, fmt.Sprintf("its revision %d%s: %s", in.Revision, by, changes(in.Changes)))
	}
	if len(lines) == 0 {
		lines = append(lines, "-")
	}
	return lines
}

func changes(cs []diff.Change) string {
	var parts []string
	for i, c := range cs {
		if i == changesShown {
			parts = append(parts, fmt.Sprintf("%d more", len(cs)-i))
			break
		}
		s := c.Op + " " + c.Key.String()
		if c.Lease != 0 {
			s += " (lease " + c.Lease.String() + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// alike tells whether the entries of different logs look the same in one line.
func alike(es []diff.Effect) bool {
	for _, e := range es {
		if e.Entry == nil || es[0].Entry == nil || entry(e.Entry, true) != entry(es[0].Entry, true) {
			return false
		}
	}
	return len(es) > 1
}

func indexes(all []uint64) string {
	var parts []string
	for i, n := range all {
		if i == changesShown*2 {
			parts = append(parts, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		parts = append(parts, strconv.FormatUint(n, 10))
	}
	return strings.Join(parts, " ")
}

// differences counts what is different now.
func differences(p *page, d *diff.Document) {
	c := d.Counts
	var kinds []string
	for _, k := range []struct {
		n    int
		text string
	}{{c.KeysMissing, "present on some members only"}, {c.KeysValue, "in value"}, {c.KeysLease, "in lease"}} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", k.n, k.text))
		}
	}
	now := "no key differs in presence, value or lease"
	switch n := c.KeysDiffering; {
	case n > 0 && n == c.KeysMissing:
		now = fmt.Sprintf("%s %s present on some members only", count(n, "key"), verb(n, "is", "are"))
	case n > 0 && n == c.KeysValue:
		now = fmt.Sprintf("%s %s in value", count(n, "key"), verb(n, "differs", "differ"))
	case n > 0:
		now = fmt.Sprintf("%s %s: %s", count(n, "key"), verb(n, "differs", "differ"), strings.Join(kinds, ", "))
	}
	if slices.Contains(d.NotCompared, "keys") && c.KeysDiffering == 0 {
		now = "no key is known to differ in presence, value or lease"
	}
	p.line("now", "%s", now)
	var more []string
	if c.KeysShifted > 0 {
		more = append(more, fmt.Sprintf("%s only in revisions or version", count(c.KeysShifted, "more key")))
	}
	if c.RevisionsDiffering > 0 && c.KeysDiffering+c.KeysShifted == 0 {
		more = append(more, fmt.Sprintf("%s %s", count(c.RevisionsDiffering, "revision"), verb(c.RevisionsDiffering, "differs", "differ")))
	}
	if c.LeasesDiffering > 0 {
		more = append(more, fmt.Sprintf("%s %s", count(c.LeasesDiffering, "lease"), verb(c.LeasesDiffering, "differs", "differ")))
	}
	if len(more) > 0 {
		p.line("", "%s", strings.Join(more, "; "))
	}
	notListed(p, d)
	if hidden := hiddenDamage(d); hidden != "" {
		p.line("reach", "%s", hidden)
	}
	if c.EntriesSince > 0 {
		since := count(c.EntriesSince, "entry")
		if c.Consequences > 0 {
			since += fmt.Sprintf(", of which %d had different effects only because of this", c.Consequences)
		}
		p.line("since then", "%s", since)
	}
}

// notListed says which of the keys that differ are not listed because that was asked for.
func notListed(p *page, d *diff.Document) {
	x := d.LeftOut
	if x == nil || x.Keys == 0 {
		return
	}
	var where []string
	for _, b := range x.Ignored {
		if b.Keys > 0 {
			where = append(where, fmt.Sprintf("%d below %s", b.Keys, b.Prefix.Called()))
		}
	}
	if x.Outside > 0 {
		where = append(where, fmt.Sprintf("%d outside of --prefix", x.Outside))
	}
	which := fmt.Sprintf("%d of the keys that differ are", x.Keys)
	if d.Keys.Len() == 0 {
		which = "all keys that differ are"
	}
	p.line("not listed", "%s left out as asked for: %s", which, strings.Join(where, ", "))
}

// hiddenDamage says how far rows reach that differ and are not those that a client reads today: later ones have replaced them.
func hiddenDamage(d *diff.Document) string {
	if d.Verdict != diff.Diverged || len(d.Divergences) == 0 || d.Divergences[0].Layer != diff.LayerStorage || d.Counts.KeysDiffering > 0 || slices.Contains(d.NotCompared, "keys") {
		return ""
	}
	s := "reads of current data are not affected: what differs are older rows"
	first := -1
	for i := range d.Members {
		m := &d.Members[i]
		switch {
		case !m.Compared:
		case first < 0:
			first = i
		case m.Revision != d.Members[first].Revision || m.CompactRevision != d.Members[first].CompactRevision:
			return s
		case m.HashKV != d.Members[first].HashKV:
			return s + "; hashKV shows that they differ"
		}
	}
	return s + "; hashKV is the same on all, and cannot show it"
}

// compared says what a verdict without a difference rests on.
func compared(p *page, d *diff.Document) {
	if labels := labelsOf(d); len(labels) > 0 && d.Common.Index > 0 {
		s := fmt.Sprintf("the keys and their revisions up to raft entry %d", d.Common.Index)
		if c := d.Common.CompactRevision; c > 0 {
			s += fmt.Sprintf(" (up to revision %d as far as a compaction there leaves them)", c)
		}
		for _, name := range tablesCompared {
			if !slices.Contains(d.NotCompared, name) {
				s += ", " + name
			}
		}
		switch {
		case d.Verdict != diff.Indeterminate:
		case whole(d):
			s = fmt.Sprintf("of %s, as far as possible: %s", list(labels), s)
		default:
			s = fmt.Sprintf("what could be read of %s: %s", list(labels), s)
		}
		p.line("compared", "%s", s)
	}
	leftOut(p, d)
	logs(p, d)
	lag(p, d)
	further(p, d)
	reasons(p, d)
	remarks(p, d)
}

// tablesCompared are the names that Document.NotCompared may hold.
var tablesCompared = []string{"leases", "auth", "members", "alarms"}

// leftOut names the tables that were not compared, and the search that was cut short where nothing was found that explains a member.
func leftOut(p *page, d *diff.Document) {
	if d.Verdict == diff.Diverged && !d.Explained && d.Search.Bounded {
		p.line("cut short", "the search for the faults of a member that its log does not explain: %s", strings.Join(d.Search.Limits[:min(len(d.Search.Limits), 2)], "; "))
	}
	if len(d.NotCompared) > 0 && len(labelsOf(d)) > 1 {
		for i, why := range d.NotComparedWhy {
			name := ""
			if i == 0 {
				name = "left out"
			}
			p.line(name, "%s", why)
		}
	}
}

// remarks are about damage that does not limit the answer.
func remarks(p *page, d *diff.Document) {
	name := verb(len(d.Notes), "note", "notes")
	for i, n := range d.Notes {
		if i == reasonsShown {
			p.line("", "and %d more", len(d.Notes)-i)
			break
		}
		p.line(name, "%s", n)
		name = ""
	}
}

// agreement is the headline of members that agree.
func agreement(d *diff.Document) string {
	labels := labelsOf(d)
	where := fmt.Sprintf("up to raft entry %d, revision %d", d.Common.Index, d.Common.Revision)
	if len(labels) == 1 {
		return fmt.Sprintf("%s agrees with its own log %s", labels[0], where)
	}
	return fmt.Sprintf("%s agree %s", list(labels), where)
}

func labelsOf(d *diff.Document) []string {
	var labels []string
	for i := range d.Members {
		if d.Members[i].Compared {
			labels = append(labels, d.Members[i].Label)
		}
	}
	return labels
}

func logs(p *page, d *diff.Document) {
	several := len(d.Members) > 1
	switch {
	case !several:
	case d.Logs.Compared == 0:
		p.line("logs", "no entry is in the logs of two members, so they could not be compared")
	case d.Logs.Identical:
		p.line("logs", "identical at all %s that two or more members have", count(d.Logs.Compared, "entry"))
	default:
		for _, v := range d.Divergences {
			if v.Layer == diff.LayerLog && v.Entry != nil {
				p.line("logs", "differ from entry %d on (%s compared)", v.Entry.Index, count(d.Logs.Compared, "entry"))
				return
			}
		}
		p.line("logs", "differ (%s compared)", count(d.Logs.Compared, "entry"))
	}
}

// lag says who is behind, or that nobody is.
func lag(p *page, d *diff.Document) {
	labels := labelsOf(d)
	if len(labels) < 2 || d.Common.Index == 0 {
		return
	}
	if len(d.Lag) == 0 && !d.Logs.Identical && d.Logs.Compared > 0 {
		p.line("lag", "none between members that hold the same log; what lies behind a fork is no lag")
		return
	}
	if len(d.Lag) == 0 {
		same := fmt.Sprintf("%s have reached the same entry", list(labels))
		if d.Verdict == diff.Diverged {
			same += ", so this is not lag"
		}
		p.line("lag", "none: %s", same)
		return
	}
	name := "lag"
	for _, l := range d.Lag {
		s := fmt.Sprintf("%s is %s behind (%s", l.Member, count(l.Last-l.First+1, "entry"), span(l.First, l.Last))
		if l.Revisions > 0 {
			s += ", " + count(l.Revisions, "revision")
		}
		p.line(name, "%s)", s)
		name = ""
	}
	if d.Verdict == diff.Diverged {
		p.line("", "that alone is no difference, and not counted above")
	}
}

// further names every cause but the first.
func further(p *page, d *diff.Document) {
	if len(d.Divergences) < 2 {
		return
	}
	name := "also"
	for i := 1; i < len(d.Divergences); i++ {
		if i > othersShown {
			p.line("", "and %d more", len(d.Divergences)-i)
			break
		}
		v := &d.Divergences[i]
		s := headline(v)
		if v.Entry != nil && v.Layer == diff.LayerApply {
			s += ": " + v.Entry.Summary
		}
		if v.What != "" && !strings.Contains(s, v.What) {
			s += "; " + v.What
		}
		if n := len(v.Entries); n > 1 {
			s += fmt.Sprintf(" (%d entries)", n)
		}
		p.line(name, "%s", s)
		name = ""
	}
}

// reasons are the limits of the answer.
func reasons(p *page, d *diff.Document) {
	name := "limits"
	if d.Verdict == diff.Indeterminate {
		name = "because"
		p.blank()
	}
	for i, r := range d.Reasons {
		if i == reasonsShown {
			p.line("", "and %d more", len(d.Reasons)-i)
			break
		}
		p.line(name, "%s", r)
		name = ""
	}
}

func membersTable(d *diff.Document) table {
	t := table{title: "Members", header: []string{""}}
	for i := range d.Members {
		t.header = append(t.header, d.Members[i].Label)
	}
	fact := func(name string, get func(m *diff.Member) string) {
		row := []string{name}
		for i := range d.Members {
			if m := &d.Members[i]; m.Readable || name == "member id" || name == "cluster id" || strings.HasPrefix(name, "log") {
				row = append(row, get(m))
			} else {
				row = append(row, "?")
			}
		}
		if name != "member id" {
			mark(row)
		}
		t.rows = append(t.rows, row)
	}
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	fact("member id", func(m *diff.Member) string { return idText(m.MemberID) + removed(m) })
	if d.Verdict == diff.NotComparable {
		fact("cluster id", func(m *diff.Member) string { return idText(m.ClusterID) })
	}
	if !whole(d) || slices.ContainsFunc(d.Members, func(m diff.Member) bool { return m.Evidence != inspect.Whole || m.CopyOf != "" }) {
		fact("copy", func(m *diff.Member) string {
			if m.CopyOf != "" {
				return "same member as " + m.CopyOf
			}
			return m.Evidence.String()
		})
	}
	fact("consistent index", func(m *diff.Member) string { return strconv.FormatUint(m.ConsistentIndex, 10) })
	fact("revision", func(m *diff.Member) string { return num(m.Revision) })
	fact("compact revision", func(m *diff.Member) string { return num(m.CompactRevision) })
	fact("keys", func(m *diff.Member) string { return strconv.Itoa(m.Keys) })
	fact("leases", func(m *diff.Member) string { return strconv.Itoa(m.Leases) })
	fact("auth", func(m *diff.Member) string {
		return onOff(m.AuthEnabled) + ", revision " + strconv.FormatUint(m.AuthRevision, 10)
	})
	fact("hashKV", func(m *diff.Member) string { return fmt.Sprintf("%d", m.HashKV) })
	fact("cluster version", func(m *diff.Member) string { return orNone(m.ClusterVersion) })
	if slices.ContainsFunc(d.Members, func(m diff.Member) bool { return m.Ran != "" }) {
		fact("ran, by its log", func(m *diff.Member) string { return orNone(m.Ran) })
	}
	fact("log entries", func(m *diff.Member) string { return span(m.Log.FirstIndex, m.Log.LastIndex) })
	fact("log commit", func(m *diff.Member) string { return strconv.FormatUint(m.Log.Commit, 10) })
	t.rows = append(t.rows, mark(append([]string{"all readable"}, each(d.Members, func(m *diff.Member) string { return yesNo(m.Complete) })...)))
	t.notes = []string{"* differs between members; hashKV is at the member's own revision"}
	return t
}

func each[T any](all []T, f func(*T) string) []string {
	var out []string
	for i := range all {
		out = append(out, f(&all[i]))
	}
	return out
}

// mark puts a star behind the name of a row whose cells differ.
func mark(row []string) []string {
	if len(slices.Compact(slices.Clone(row[1:]))) > 1 {
		row[0] += " *"
	}
	return row
}

func removed(m *diff.Member) string {
	if m.Removed {
		return " (removed)"
	}
	return ""
}

func idText(id *diff.ID) string {
	if id == nil {
		return "?"
	}
	return id.String()
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func span(first, last uint64) string {
	switch {
	case last == 0:
		return "none"
	case first == last:
		return strconv.FormatUint(first, 10)
	}
	return fmt.Sprintf("%d to %d", first, last)
}

// shown cuts a list for people, and says what is left out.
func shown[T any](all []T, noun string) (part []T, note string) {
	if len(all) <= keysShown {
		return all, ""
	}
	return all[:keysShown], moreOf(len(all)-keysShown, noun)
}

func moreOf(n int, noun string) string { return fmt.Sprintf("%s: -w json", count(n, "more "+noun)) }

func keysTable(d *diff.Document) table {
	labels := labelsOf(d)
	t := table{title: keysTitle(d), header: append([]string{"key", "differs in"}, labels...), keys: true}
	more := ""
	if n := d.Keys.Len() - keysShown; n > 0 {
		more = moreOf(n, "key")
	}
	values := false
	for k := range d.Keys.First(keysShown).All() {
		row := []string{k.Key.String(), map[string]string{"missing": "presence"}[k.Difference]}
		if row[1] == "" {
			row[1] = k.Difference
		}
		for _, l := range labels {
			s, ok := k.ByMember[l]
			switch {
			case !ok:
				row = append(row, "?")
			case !s.Present:
				row = append(row, "-")
			case k.Difference == "value":
				row, values = append(row, fmt.Sprintf("%d #%.6s", s.ModRevision, s.ValueSHA256)), true
			case k.Difference == "lease" && s.Lease == 0:
				row = append(row, fmt.Sprintf("%d no lease", s.ModRevision))
			case k.Difference == "lease":
				row = append(row, fmt.Sprintf("%d %s", s.ModRevision, s.Lease))
			default:
				row = append(row, strconv.FormatInt(s.ModRevision, 10))
			}
		}
		t.rows = append(t.rows, row)
	}
	legend := "a cell is the revision that wrote the key last, or - where the key is not there"
	if values {
		legend += "; # is " + sumLegend
	}
	t.notes = notes(more, legend)
	return t
}

func keysTitle(d *diff.Document) string {
	if x := d.LeftOut; x != nil && x.Keys > 0 {
		return fmt.Sprintf("Keys that differ (%d of %d)", d.Keys.Len(), d.Keys.Len()+x.Keys)
	}
	return fmt.Sprintf("Keys that differ (%d)", d.Keys.Len())
}

// notes are those that are not empty.
func notes(all ...string) []string {
	return slices.DeleteFunc(all, func(n string) bool { return n == "" })
}

func leasesTable(d *diff.Document) table {
	labels := labelsOf(d)
	t := table{title: fmt.Sprintf("Leases that differ (%d)", len(d.Leases)), header: append([]string{"lease"}, labels...)}
	part, more := shown(d.Leases, "lease")
	for _, l := range part {
		row := []string{l.ID.String()}
		for _, m := range labels {
			s := l.ByMember[m]
			cell := "-"
			if s.Present {
				cell = fmt.Sprintf("ttl %d s, %s", s.TTL, count(s.Keys, "key"))
			} else if s.Keys > 0 {
				cell = fmt.Sprintf("-, yet %s", count(s.Keys, "key"))
			}
			row = append(row, cell)
		}
		t.rows = append(t.rows, row)
	}
	t.notes = notes(more)
	return t
}

// diffLines are the facts for grep and cut. The first field names the kind of the line.
func diffLines(d *diff.Document) [][]string {
	ls := [][]string{{"verdict", string(d.Verdict)}}
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	if d.Headline != "" {
		ls = append(ls, []string{"headline", d.Headline})
	}
	for _, r := range d.Reasons {
		ls = append(ls, []string{"reason", r})
	}
	for _, n := range d.Notes {
		ls = append(ls, []string{"note", n})
	}
	for _, n := range d.NotCompared {
		ls = append(ls, []string{"not compared", n})
	}
	for i := range d.Divergences {
		v := &d.Divergences[i]
		l := []string{"divergence", string(v.Layer), "-", "-", "-", strconv.FormatInt(v.Revision, 10)}
		if v.Entry != nil {
			l[2], l[3], l[4] = u(v.Entry.Index), u(v.Entry.Term), v.Entry.Type
		}
		for _, g := range v.Groups {
			l = append(l, strings.Join(g, " "))
		}
		ls = append(ls, l)
	}
	for i := range d.Divergences {
		for _, x := range d.Divergences[i].Explanations {
			ls = append(ls, []string{"explanation", x.ID, string(x.Status), x.Title})
		}
	}
	for _, b := range d.KnownBugs {
		ls = append(ls, []string{"known bug", b.ID, string(b.Status), strings.Join(b.Members, " ")})
	}
	if d.Plan != nil {
		ls = append(ls, []string{"best copy", d.Plan.Best})
	}
	for k := range d.Keys.Brief() {
		ls = append(ls, []string{"key", k.Difference, k.Key.String()})
	}
	if x := d.LeftOut; x != nil {
		ls = append(ls, []string{"keys left out", strconv.Itoa(x.Keys)})
	}
	for _, l := range d.Leases {
		ls = append(ls, []string{"lease", l.ID.String()})
	}
	for _, l := range d.Lag {
		ls = append(ls, []string{"lag", l.Member, u(l.First), u(l.Last), strconv.FormatInt(l.Revisions, 10)})
	}
	return ls
}
