package diff

import (
	"context"
	"fmt"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
)

// CheckMember is check.Member with what the member's own log says about its db.
func CheckMember(m *inspect.Member) *check.Result {
	r := check.Member(m)
	if m.DB == nil || !m.DB.HasKeys || len(m.Log.Entries) == 0 {
		return r
	}
	if !m.Evidence().Whole() {
		return r // what is not there says nothing
	}
	c := compare(context.Background(), []*inspect.Member{m}, []*inspect.Member{m}, nil)
	if c.findsDifference() {
		if m.Evidence().Search(m.DB.CompactRevision(), c.expectedRevision(0)); !m.Evidence().Whole() {
			r.Findings = append(r.Findings, finding.New("rows-elsewhere", finding.Error, m.DB.File.Name, "%s", m.Evidence().Why()))
			check.Sort(r.Findings)
			return r
		}
	}
	if len(c.readErrors) > 0 {
		r.Findings = append(r.Findings, finding.New("file-shrank", finding.Error, m.DB.File.Name, "%s", c.readErrors[0]).Lost())
		return r
	}
	if c.wholeLogUnexplained(0) {
		r.Findings = append(r.Findings, finding.New("log-search-bounded", finding.Info, m.DB.File.Name, "%s", c.whyUnexplained[0]).Lost())
	}
	for _, k := range c.causes {
		if f, ok := c.finding(k); ok {
			r.Findings = append(r.Findings, f)
		}
	}
	if t := c.traces[0]; t.lastEffect > m.DB.Tables.ConsistentIndex && len(m.DB.Rows.Holes()) == 0 {
		r.Findings = append(r.Findings, finding.New("index-behind-data", finding.Error, m.DB.File.Name,
			"consistent index %d, but the db holds the effects of entries up to %d", m.DB.Tables.ConsistentIndex, t.lastEffect))
	}
	check.Sort(r.Findings)
	return r
}

// finding turns a departure of a member from its own log into a finding. Damage of rows is found without the log, too,
// and then said twice, once with the entry.
func (c *comparison) finding(k *cause) (finding.Finding, bool) {
	m := c.ms[k.departed[0]]
	code := map[effect.Outcome]string{
		effect.Refused: "entry-without-effect", effect.OtherBranch: "entry-other-branch", effect.Partial: "entry-half-applied",
		effect.Altered: "row-differs-from-entry", effect.Lost: "row-lost", effect.Extra: "revision-without-entry",
	}[k.outcome]
	if k.again {
		code = "entry-applied-again"
	}
	if code == "" {
		return finding.Finding{}, false
	}
	what := fmt.Sprintf("revision %d", k.revision)
	if e := c.entry(k.departed[0], k.index); e != nil {
		what = fmt.Sprintf("entry %d, %s", e.Index, e.Summary)
		if k.interval != nil {
			what = fmt.Sprintf("one of entries %d to %d, such as %s", k.interval.First, k.interval.Last, e.Summary)
		}
		if n := len(k.entries); n > 1 {
			what += fmt.Sprintf(", and %d more up to entry %d", n-1, k.entries[n-1])
		}
	}
	if what += ": " + c.write(k).What; k.ambiguous() && !k.beforeLog {
		what = fmt.Sprintf("beginning with one of %d entries from %d to %d: %s", len(k.candidates), k.candidates[0], k.candidates[len(k.candidates)-1], k.what)
		if k.searchBounded {
			what += "; the search was cut short, others may do so, too"
		}
	}
	f := finding.New(code, finding.Error, m.DB.File.Name, "%s", what)
	if page, ok := onePage(m.DB.Rows.Group(k.revision)); ok && k.outcome == effect.Altered {
		f = f.OnPage(page, int64(page)*int64(m.DB.Bolt.Meta().PageSize))
	}
	return f, true
}

// onePage is the page that all rows lie on.
func onePage(rows []mvcc.Row) (page uint64, ok bool) {
	if len(rows) == 0 || slices.ContainsFunc(rows, func(r mvcc.Row) bool { return r.Page != rows[0].Page }) {
		return 0, false
	}
	return rows[0].Page, true
}

// Explain is check.Explain for the findings of CheckMember, too.
func Explain(code string) check.Advice {
	if a, ok := advice[code]; ok {
		return a
	}
	return check.Explain(code)
}

const askOthers = "run diff with the other members to see who departed from whom"

var advice = map[string]check.Advice{
	"entry-without-effect":   {Meaning: "the log asked for a change that is not in the db, although the db's own state demanded it", Action: askOthers},
	"entry-other-branch":     {Meaning: "a transaction did what it should do if its compare had come out otherwise", Action: askOthers},
	"entry-half-applied":     {Meaning: "only some of an entry's changes are in the db", Action: askOthers},
	"entry-applied-again":    {Meaning: "the log was applied a second time over the same data, as after a crash that left the consistent index behind", Action: askOthers},
	"row-differs-from-entry": {Meaning: "a stored row is not what the entry wrote: changed or damaged afterwards", Action: askOthers},
	"row-lost":               {Meaning: "an entry's revision was made, but its rows are not there any more", Action: askOthers},
	"revision-without-entry": {Meaning: "the db holds a change that nothing in the log asked for", Action: askOthers},
	"log-search-bounded":     {Meaning: "what the db holds is not what its log makes, and no faults that were tried explain it: the member has several faults, or the db and the log are not of one member", Action: "see what else is found; compare the member with others by diff"},
	"rows-elsewhere":         {Meaning: "the file holds rows that its tree should hold and does not: pages of different moments, as in a copy of a running member", Action: "copy again, from the stopped member or from a file system snapshot; the member itself may be healthy"},
	"file-shrank":            {Meaning: "someone cut the file while it was read", Action: "copy the evidence and read the copy"},
	"index-behind-data":      {Meaning: "the data is newer than the consistent index: a member started on this copy applies entries a second time; in a copy of a running member, pages of different moments", Action: "do not start it on etcd before 3.5.6 without comparing it with another member"},
}
