package attach

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/shell"
	"etcd-autopsy/diff/story"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/report"
)

// SchemaVersion is that of report.json.
const SchemaVersion = "1"

// Options of a report.
type Options struct {
	Tool  Tool
	Files []File
	// ShowValues adds the values of keys that differ.
	ShowValues bool
	// Logs are what servers' logs tell.
	Logs []story.Log
}

// maxValues bounds how many keys are shown with their values.
const maxValues = 1000

// New puts together what is known. Nothing in it is redacted yet.
func New(ms []*inspect.Member, doc *diff.Document, opts Options) *Report {
	var told *story.Document
	if len(opts.Logs) > 0 {
		told, doc = story.Tell(doc, opts.Logs), story.Enrich(doc, opts.Logs)
	}
	r := &Report{
		SchemaVersion: SchemaVersion, Tool: opts.Tool, ShowsValues: opts.ShowValues, Files: opts.Files,
		Diff: doc, Story: told, Inspection: report.Members(ms), Checkup: report.Check(ms),
		Prefixes: groupKeys(doc.Keys, prefix), Resources: groupKeys(doc.Keys, resource),
		Curves: []Curve{}, Composition: []Composition{},
	}
	if r.Files == nil {
		r.Files = []File{}
	}
	for i, m := range ms {
		if db := r.Inspection.Members[i].DB; db != nil && m.DB != nil {
			r.Composition = append(r.Composition, composition(m, db))
		}
	}
	for _, c := range doc.Curves {
		r.Curves = append(r.Curves, Curve(c))
	}
	r.Witness = witness(ms, doc)
	r.Verify = verification(ms, doc)
	if opts.ShowValues {
		r.Values = values(ms, doc)
	}
	return r
}

// prefix is a key up to its second segment.
func prefix(key diff.Key) (diff.Key, bool) {
	s := string(key)
	n := 0
	for i := 1; i < len(s); i++ {
		if s[i] == '/' {
			if n++; n == 2 || s[0] != '/' {
				return diff.Key(s[:i+1]), true
			}
		}
	}
	return diff.Key(s[:strings.LastIndexByte(s, '/')+1]), true
}

// resource is the Kubernetes resource that a key holds an object of: "pods", or "cert-manager.io/certificates".
func resource(key diff.Key) (diff.Key, bool) {
	parts := strings.Split(string(key), "/")
	if len(parts) < 4 || parts[0] != "" || parts[1] != "registry" {
		return "", false
	}
	if strings.Contains(parts[2], ".") {
		return diff.Key(parts[2] + "/" + parts[3]), true
	}
	return diff.Key(parts[2]), true
}

func groupKeys(keys diff.KeyDiffs, name func(key diff.Key) (diff.Key, bool)) []Group {
	byName := map[diff.Key]*Group{}
	for k := range keys.Brief() {
		n, ok := name(k.Key)
		if !ok {
			continue
		}
		g := byName[n]
		if g == nil {
			g = &Group{Name: n, Example: k.Key}
			byName[n] = g
		}
		g.Keys++
		switch k.Difference {
		case "missing":
			g.Missing++
		case "value":
			g.Value++
		case "lease":
			g.Lease++
		}
	}
	all := []Group{}
	for _, g := range byName {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b Group) int { return cmp.Or(cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Name, b.Name)) })
	return all
}

// element is what bbolt adds to a row on a leaf page.
const element = 16

func composition(m *inspect.Member, db *report.DB) Composition {
	c := Composition{Member: m.Label, Total: db.Size, Free: int64(db.Pages.Free+db.Pages.Unreachable) * int64(db.PageSize)}
	// Behind the last page that was ever used lies what bbolt has allocated ahead.
	c.Free += max(0, db.Size-int64(db.Pages.Total)*int64(db.PageSize))
	size := func(r mvcc.Row) int64 { return int64(mvcc.RevisionLen + element + len(r.Value)) }
	var all int64
	for _, r := range m.DB.Rows.All() {
		all += size(r)
	}
	for _, r := range m.DB.Rows.Latest(m.DB.Rows.Len()) {
		if !r.Tombstone {
			c.Live += size(r)
		}
	}
	c.History = all - c.Live
	c.Other = max(0, c.Total-c.Free-all)
	return c
}

func and(labels []string) string {
	if n := len(labels); n > 1 {
		return strings.Join(labels[:n-1], ", ") + " and " + labels[n-1]
	}
	return strings.Join(labels, "")
}

// maxTold bounds lists in sentences.
const maxTold = 3

func changesText(cs []diff.Change) string {
	var parts []string
	for i, c := range cs {
		if i == maxTold && len(cs) > maxTold+1 {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(cs)-i)
		}
		op := "put "
		if c.Op == "delete" {
			op = "delete "
		}
		parts = append(parts, op+c.Key.String())
	}
	return strings.Join(parts, ", ")
}

// witness argues for the first divergence.
func witness(ms []*inspect.Member, doc *diff.Document) []string {
	w := []string{}
	if len(doc.Divergences) == 0 {
		return w
	}
	d := &doc.Divergences[0]
	switch {
	case d.Entry != nil && d.Layer == diff.LayerLog:
		w = append(w, fmt.Sprintf("At index %d the logs hold different entries, which raft forbids once an entry is committed.", d.Entry.Index))
	case d.Entry != nil:
		w = append(w, fmt.Sprintf("Entry %d of the log (term %d) is %s. Wherever it is still in a log, it is the same entry.", d.Entry.Index, d.Entry.Term, d.Entry.Summary))
	case d.EntryInterval != nil:
		w = append(w, fmt.Sprintf("The entry is one of %d to %d.", d.EntryInterval.First, d.EntryInterval.Last))
	}
	w = append(w, before(ms, d)...)
	for _, e := range d.Effects {
		switch {
		case e.Entry != nil:
			w = append(w, fmt.Sprintf("%s: entry %d (term %d) is %s.", and(e.Members), e.Entry.Index, e.Entry.Term, e.Entry.Summary))
		case e.Revision > 0 && len(e.Changes) > 0:
			w = append(w, fmt.Sprintf("%s made revision %d of it: %s.", and(e.Members), e.Revision, changesText(e.Changes)))
		case e.Revision > 0:
			w = append(w, fmt.Sprintf("%s made revision %d of it.", and(e.Members), e.Revision))
		default:
			w = append(w, fmt.Sprintf("%s made nothing of it.", and(e.Members)))
		}
		if x := e.Instead; x != nil && x.Entry != nil {
			w = append(w, fmt.Sprintf("On %s revision %d is what entry %d made: %s.", and(e.Members), x.Revision, x.Entry.Index, changesText(x.Changes)))
		}
	}
	touched := map[diff.Key]bool{}
	for _, e := range d.Effects {
		for _, c := range e.Changes {
			touched[c.Key] = true
		}
	}
	told := 0
	for k := range doc.Keys.Brief() {
		if told == maxTold {
			break
		}
		if !touched[k.Key] {
			continue
		}
		told++
		w = append(w, fmt.Sprintf("Today %s is %s.", k.Key, today(doc, &k)))
	}
	return w
}

// today says who has a key, and since when.
func today(doc *diff.Document, k *diff.KeyDiff) string {
	var parts, absent []string
	for _, m := range doc.Members {
		s, ok := k.ByMember[m.Label]
		switch {
		case !ok:
		case !s.Present:
			absent = append(absent, m.Label)
		default:
			p := fmt.Sprintf("on %s since revision %d", m.Label, s.ModRevision)
			if s.Lease != 0 {
				p += " with lease " + s.Lease.String()
			}
			parts = append(parts, p)
		}
	}
	if len(absent) > 0 {
		parts = append(parts, "not on "+and(absent))
	}
	return strings.Join(parts, ", ")
}

// before says what members held under the keys that the entry changed, just before it.
func before(ms []*inspect.Member, d *diff.Divergence) []string {
	if d.Revision < 2 || d.Layer != diff.LayerApply {
		return nil
	}
	var keys []diff.Key
	for _, e := range d.Effects {
		for _, c := range e.Changes {
			if !slices.Contains(keys, c.Key) && len(keys) < maxTold {
				keys = append(keys, c.Key)
			}
		}
	}
	var out []string
	for _, k := range keys {
		states := map[string][]string{}
		var order []string
		for _, m := range ms {
			if m.DB == nil || m.DB.CompactRevision() >= d.Revision {
				continue
			}
			s := held(m, k, d.Revision-1)
			if states[s] == nil {
				order = append(order, s)
			}
			states[s] = append(states[s], m.Label)
		}
		for _, s := range order {
			out = append(out, fmt.Sprintf("Just before, at revision %d, %s %s on %s.", d.Revision-1, k, s, and(states[s])))
		}
	}
	return out
}

// held says what a member held under a key at a main revision.
func held(m *inspect.Member, key diff.Key, at int64) string {
	for i := m.DB.Rows.LastOf([]byte(key)); i >= 0; i = m.DB.Rows.Previous(i) {
		r := m.DB.Rows.Row(i)
		if r.Rev.Main > at {
			continue
		}
		var kv mvcc.KeyValue
		if r.Tombstone || kv.Decode(r.Value) != nil {
			break
		}
		if kv.Lease != 0 {
			return fmt.Sprintf("was there, put at revision %d and attached to lease %s,", r.Rev.Main, diff.ID(uint64(kv.Lease)))
		}
		return fmt.Sprintf("was there, put at revision %d,", r.Rev.Main)
	}
	return "was not there"
}

// verification says how to check by hand. Tools that write are to be run on copies. Where a member's label is no plain word of a
// shell, its copy is named by its number.
func verification(ms []*inspect.Member, doc *diff.Document) []Verification {
	vs := []Verification{{Claim: "these are the files that were read", Commands: []string{"sha256sum -c manifest.txt"}}}
	if len(doc.Divergences) == 0 {
		return vs
	}
	d := &doc.Divergences[0]
	called := map[string]string{}
	for i, m := range doc.Members {
		if called[m.Label] = m.Label; !shell.Plain(m.Label) {
			called[m.Label] = fmt.Sprintf("MEMBER-%d", i+1)
		}
	}
	db := func(label string) string { return "COPY-OF-" + called[label] + "/member/snap/db" }
	if d.Entry != nil {
		v := Verification{Claim: fmt.Sprintf("entry %d is what this report says", d.Entry.Index)}
		for _, m := range doc.Members {
			if m.Log.FirstIndex <= d.Entry.Index && d.Entry.Index <= m.Log.LastIndex {
				v.Commands = append(v.Commands, fmt.Sprintf("etcd-dump-logs -start-index %d -end-index %d COPY-OF-%s", d.Entry.Index, d.Entry.Index+1, called[m.Label]))
			}
		}
		vs = append(vs, v)
	}
	if d.Revision > 0 {
		v := Verification{Claim: fmt.Sprintf("the rows of revision %d are not the same on all members", d.Revision)}
		for _, m := range ms {
			if m.DB == nil || m.DB.CompactRevision() >= d.Revision {
				continue
			}
			rows := m.DB.Rows.Group(d.Revision)
			for i, r := range rows {
				if i == maxTold {
					break
				}
				key := r.Rev.AppendKey(nil)
				if r.Tombstone {
					key = append(key, 't')
				}
				v.Commands = append(v.Commands, fmt.Sprintf("bbolt get --parse-format hex --format hex %s key %x", db(m.Label), key))
			}
			if len(rows) == 0 {
				v.Commands = append(v.Commands, fmt.Sprintf("# %s has no row of revision %d", called[m.Label], d.Revision))
			}
		}
		vs = append(vs, v)
		if at := d.Revision; at > doc.Common.CompactRevision {
			v := Verification{Claim: fmt.Sprintf("members agree up to revision %d, and no longer at %d (etcdutl writes to the file it reads: use copies)", at-1, at)}
			for _, m := range doc.Members {
				if m.Readable && m.Revision >= at {
					v.Commands = append(v.Commands, fmt.Sprintf("etcdutl hashkv %s --rev %d", db(m.Label), at-1), fmt.Sprintf("etcdutl hashkv %s --rev %d", db(m.Label), at))
				}
			}
			vs = append(vs, v)
		}
	}
	return vs
}

func values(ms []*inspect.Member, doc *diff.Document) []Value {
	all := []Value{}
	var kv mvcc.KeyValue
	for k := range doc.Keys.First(maxValues).Brief() {
		v := Value{Key: k.Key, ByMember: map[string]string{}}
		for _, m := range ms {
			s := k.ByMember[m.Label]
			if !s.Present || m.DB == nil {
				continue
			}
			for _, r := range m.DB.Rows.Group(s.ModRevision) {
				if !r.Tombstone && kv.Decode(r.Value) == nil && string(kv.Key) == string(k.Key) {
					v.ByMember[m.Label] = valueText(kv.Value)
				}
			}
		}
		all = append(all, v)
	}
	return all
}

func valueText(b []byte) string {
	if utf8.Valid(b) && !strings.ContainsRune(string(b), 0) {
		return string(b)
	}
	return "base64:" + base64.StdEncoding.EncodeToString(b)
}
