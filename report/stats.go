package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/stats"
)

const (
	groupsShown  = 15
	windowsShown = 10
)

// Statistics say what fills the files of members. There is no value in them.
type Statistics struct {
	SchemaVersion string        `json:"schema_version"`
	Members       []MemberStats `json:"members"`
	depth         int
}

// MemberStats is one member. Sizes are in bytes.
type MemberStats struct {
	Label     string           `json:"label"`
	Complete  bool             `json:"complete"`
	HasDB     bool             `json:"has_db"`
	Keyspace  Share            `json:"keyspace"`
	Content   `json:"content"` // of the keyspace
	File      FileUse          `json:"file"`
	Log       LogUse           `json:"log"`
	Index     uint64           `json:"consistent_index"`
	Revision  int64            `json:"revision"`
	PerEntry  float64          `json:"revisions_per_1000_entries"` // since the cluster began
	memberIDs []uint64
}

// Content is what members at the same entry have in common.
type Content struct {
	Prefixes  []Share    `json:"prefixes"`
	Resources []Share    `json:"resources"`
	Biggest   []KeyShare `json:"biggest"`
	Busiest   []KeyShare `json:"busiest"`
}

// Share is what some keys take. Its key is the prefix, or the name of a Kubernetes resource.
type Share struct {
	Text
	Keys       int     `json:"keys"`
	Revisions  int     `json:"revisions"`
	Tombstones int     `json:"tombstones"`
	Bytes      int64   `json:"bytes"`
	LiveBytes  int64   `json:"live_bytes"`
	History    float64 `json:"history_share"` // 0 to 1
}

// KeyShare is one key.
type KeyShare struct {
	Text
	Mod       int64 `json:"mod_revision"`
	Size      int   `json:"value_size"`
	Revisions int   `json:"revisions"`
	Bytes     int64 `json:"bytes"`
	Alive     bool  `json:"alive"`
}

// FileUse says what the pages of the db are used for.
type FileUse struct {
	Size        int64   `json:"size"`
	Used        int64   `json:"used"`
	Free        int64   `json:"free"` // what defragmentation gives back
	Unreachable int64   `json:"unreachable"`
	Unreadable  int64   `json:"unreadable"`
	Beyond      int64   `json:"beyond"`    // behind the last page: preallocated
	Fill        float64 `json:"leaf_fill"` // share of the leaf pages that rows take, 0 to 1
}

// LogUse says what the entries of the log ask for.
type LogUse struct {
	First   uint64         `json:"first_index"`
	Last    uint64         `json:"last_index"`
	Entries int            `json:"entries"`
	Writes  int            `json:"writes"` // of types that can change a key
	ByType  map[string]int `json:"by_type"`
	Windows []LogWindow    `json:"windows"`
	Starts  []LogStart     `json:"starts"`
}

// LogWindow is a part of the log of up to 1000 entries.
type LogWindow struct {
	First   uint64 `json:"first_index"`
	Last    uint64 `json:"last_index"`
	Entries int    `json:"entries"`
	Writes  int    `json:"writes"`
	Bytes   int64  `json:"bytes"`
}

// LogStart is a process that proposed entries.
type LogStart struct {
	Member *diff.ID `json:"member_id"` // null if several members come into question
	At     string   `json:"at"`
	First  uint64   `json:"first_index"`
	Fresh  bool     `json:"fresh"` // the process began in the time of this log
	Rate   float64  `json:"entries_per_second,omitempty"`
}

// Count makes the statistics of members.
func Count(ms []*inspect.Member, o stats.Options) *Statistics {
	d := &Statistics{SchemaVersion: diff.SchemaVersion, depth: o.Depth}
	for _, m := range ms {
		d.Members = append(d.Members, memberStats(m, stats.Of(m, o)))
	}
	return d
}

func memberStats(m *inspect.Member, s *stats.Stats) MemberStats {
	out := MemberStats{Label: m.Label, HasDB: m.DB != nil, Keyspace: share(s.Total)}
	out.Complete, _ = m.Complete()
	out.Content = Content{shares(s.Prefixes), shares(s.Resources), keyShares(s.Biggest), keyShares(s.Busiest)}
	f := &s.File
	out.File = FileUse{Size: f.Size, Used: f.Used, Free: f.Free, Unreachable: f.Unreachable, Unreadable: f.Unreadable}
	out.File.Beyond = f.Size - f.Used - f.Free - f.Unreachable - f.Unreadable
	if f.Leaves > 0 {
		out.File.Fill = rounded(float64(f.Rows) / float64(f.Leaves))
	}
	ids := map[uint64]bool{m.Log.NodeID: m.Log.HasMetadata}
	if m.DB != nil {
		out.Index, out.Revision = m.DB.Tables.ConsistentIndex, m.DB.Revision()
		if out.Index > 0 {
			out.PerEntry = rounded(float64(out.Revision-1) / float64(out.Index) * 1000)
		}
		for _, x := range m.DB.Tables.Members {
			ids[x.ID] = true
		}
		for _, x := range m.DB.Tables.MembersRemoved {
			ids[x] = true
		}
	}
	out.memberIDs = slices.Sorted(maps.Keys(ids))
	l := &s.Log
	out.Log = LogUse{First: l.First, Last: l.Last, Entries: l.Entries, Writes: l.Writes, ByType: l.ByType, Windows: []LogWindow{}, Starts: []LogStart{}}
	for _, w := range l.Windows {
		out.Log.Windows = append(out.Log.Windows, LogWindow(w))
	}
	for _, x := range l.Starts {
		st := LogStart{At: x.At.Format("2006-01-02T15:04:05.000Z07:00"), First: x.First, Fresh: x.Fresh, Rate: rounded(x.Rate)}
		for _, id := range out.memberIDs {
			if uint16(id) == x.Prefix {
				if st.Member != nil {
					st.Member = nil
					break
				}
				st.Member = new(diff.ID)
				*st.Member = diff.ID(id)
			}
		}
		out.Log.Starts = append(out.Log.Starts, st)
	}
	return out
}

// rounded keeps three digits, so that the last bits of a quotient are not shown.
func rounded(x float64) float64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', 3, 64), 64)
	if err != nil {
		return 0
	}
	return f
}

func share(g stats.Group) Share {
	return Share{text(g.Name), g.Keys, g.Revisions, g.Tombstones, g.Bytes, g.LiveBytes, rounded(g.History())}
}

func shares(gs []stats.Group) []Share {
	out := []Share{}
	for _, g := range gs {
		out = append(out, share(g))
	}
	return out
}

func keyShares(ks []stats.Key) []KeyShare {
	out := []KeyShare{}
	for _, k := range ks {
		out = append(out, KeyShare{text(k.Key), k.Mod, k.Size, k.Revisions, k.Bytes, k.Alive})
	}
	return out
}

// Stats writes the statistics of members.
func Stats(w io.Writer, d *Statistics, format Format, hints ...string) error {
	return encode(w, format, d, func() *page { return statsPage(d, hints) }, func() [][]string { return statsLines(d) })
}

func statsPage(d *Statistics, hints []string) *page {
	p := &page{hints: hints}
	p.tables = append(p.tables, statsTable(d))
	for _, same := range sameContent(d) {
		m := same[0]
		on := ""
		if len(d.Members) > 1 {
			var labels []string
			for _, x := range same {
				labels = append(labels, x.Label)
			}
			on = " on " + list(labels)
		}
		if len(m.Resources) > 0 {
			p.tables = append(p.tables, sharesTable("Kubernetes resources"+on, "resource", m.Resources))
		}
		if len(m.Prefixes) > 0 && (d.depth != 2 || !m.kubernetes()) {
			p.tables = append(p.tables, sharesTable("Prefixes"+on, "prefix", m.Prefixes))
		}
		if len(m.Biggest) > 0 {
			p.tables = append(p.tables, keySharesTable("Biggest values"+on, m.Biggest), keySharesTable("Most revisions"+on, m.Busiest))
		}
	}
	logTables(p, d)
	p.hint("-w json lists all prefixes, resources and parts of the log")
	return p
}

// kubernetes tells whether all keys are of resources, so that prefixes of two parts say the same again.
func (m *MemberStats) kubernetes() bool {
	n := 0
	for _, r := range m.Resources {
		n += r.Revisions
	}
	return n == m.Keyspace.Revisions
}

// sameContent groups members that have the same content.
func sameContent(d *Statistics) [][]*MemberStats {
	var out [][]*MemberStats
	at := map[string]int{}
	for i := range d.Members {
		m := &d.Members[i]
		if !m.HasDB {
			continue
		}
		b, err := json.Marshal(m.Content)
		n, ok := at[string(b)]
		if !ok || err != nil {
			n = len(out)
			at[string(b)] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], m)
	}
	return out
}

func statsTable(d *Statistics) table {
	t := table{title: "Members", header: []string{""}}
	for i := range d.Members {
		t.header = append(t.header, d.Members[i].Label)
	}
	row := func(name string, get func(m *MemberStats) string) {
		cells := []string{name}
		for i := range d.Members {
			cells = append(cells, get(&d.Members[i]))
		}
		t.rows = append(t.rows, cells)
	}
	db := func(name string, get func(m *MemberStats) string) {
		row(name, func(m *MemberStats) string {
			if !m.HasDB {
				return "?"
			}
			return get(m)
		})
	}
	n := func(x int64) string { return strconv.FormatInt(x, 10) }
	db("keys", func(m *MemberStats) string { return n(int64(m.Keyspace.Keys)) })
	db("rows (revisions of keys)", func(m *MemberStats) string { return n(int64(m.Keyspace.Revisions)) })
	db("bytes of rows", func(m *MemberStats) string { return n(m.Keyspace.Bytes) })
	db("of these history", func(m *MemberStats) string { return percent(m.Keyspace.History) })
	db("file size", func(m *MemberStats) string { return n(m.File.Size) })
	db("pages in use", func(m *MemberStats) string { return n(m.File.Used) })
	db("pages free", func(m *MemberStats) string {
		return fmt.Sprintf("%d (%s)", m.File.Free, percent(part(m.File.Free, m.File.Size)))
	})
	db("preallocated", func(m *MemberStats) string { return n(m.File.Beyond) })
	db("leaf pages filled", func(m *MemberStats) string { return percent(m.File.Fill) })
	db("revisions per 1000 entries", func(m *MemberStats) string { return strconv.FormatFloat(m.PerEntry, 'f', 0, 64) })
	row("entries in the log", func(m *MemberStats) string { return n(int64(m.Log.Entries)) })
	row("of these writes", func(m *MemberStats) string {
		return fmt.Sprintf("%d (%s)", m.Log.Writes, percent(part(int64(m.Log.Writes), int64(m.Log.Entries))))
	})
	if slices.ContainsFunc(d.Members, func(m MemberStats) bool { return !m.Complete }) {
		row("all readable", func(m *MemberStats) string { return yesNo(m.Complete) })
	}
	return t
}

func part(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 0, 64) + "%" }

func sharesTable(title, name string, all []Share) table {
	t := table{title: title, header: []string{name, "keys", "revisions", "tombstones", "bytes", "history"}, keys: true}
	for i, g := range all {
		if i == groupsShown && len(all) > groupsShown+1 {
			t.notes = append(t.notes, fmt.Sprintf("%d more with fewer bytes", len(all)-i))
			break
		}
		label := keyText(g.Key, g.KeyBase64)
		if label == "" {
			label = "(no slash)"
		}
		t.rows = append(t.rows, []string{label, strconv.Itoa(g.Keys), strconv.Itoa(g.Revisions), strconv.Itoa(g.Tombstones), number(g.Bytes), percent(g.History)})
	}
	return t
}

func keySharesTable(title string, all []KeyShare) table {
	t := table{title: title, header: []string{"key", "value", "revisions", "bytes of all", "modified"}, keys: true}
	for _, k := range all {
		size := strconv.Itoa(k.Size)
		if !k.Alive {
			size = "deleted"
		}
		t.rows = append(t.rows, []string{keyText(k.Key, k.KeyBase64), size, strconv.Itoa(k.Revisions), number(k.Bytes), number(k.Mod)})
	}
	return t
}

// logTables show the log that reaches furthest of each that is its own.
func logTables(p *page, d *Statistics) {
	types := table{title: "Log entries by type", header: []string{""}}
	all := map[string]bool{}
	for i := range d.Members {
		types.header = append(types.header, d.Members[i].Label)
		for typ := range d.Members[i].Log.ByType {
			all[typ] = true
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(all)) {
		row := []string{typ}
		for i := range d.Members {
			row = append(row, strconv.Itoa(d.Members[i].Log.ByType[typ]))
		}
		types.rows = append(types.rows, row)
	}
	if len(types.rows) == 0 {
		return
	}
	p.tables = append(p.tables, types)
	best := &d.Members[0]
	for i := range d.Members {
		if l := &d.Members[i].Log; l.Last > best.Log.Last || l.Last == best.Log.Last && l.Entries > best.Log.Entries {
			best = &d.Members[i]
		}
	}
	t := table{title: fmt.Sprintf("Log of %s, by 1000 entries", best.Label), header: []string{"entries", "writes", "bytes", "bytes of one"}}
	ws := best.Log.Windows
	if n := len(ws) - windowsShown; n > 1 {
		t.notes = append(t.notes, fmt.Sprintf("the last %d of %d", windowsShown, len(ws)))
		ws = ws[n:]
	}
	for _, w := range ws {
		t.rows = append(t.rows, []string{span(w.First, w.Last), strconv.Itoa(w.Writes), number(w.Bytes), number(w.Bytes / int64(max(w.Entries, 1)))})
	}
	p.tables = append(p.tables, t)
	if len(best.Log.Starts) == 0 {
		return
	}
	s := table{title: "Processes that proposed these entries", header: []string{"member", "started", "first entry", "entries a second since the start above"}}
	for i, x := range best.Log.Starts {
		if i == groupsShown {
			s.notes = append(s.notes, fmt.Sprintf("%d more", len(best.Log.Starts)-i))
			break
		}
		member, rate := "?", "-"
		if x.Member != nil {
			member = x.Member.String()
		}
		if x.Rate > 0 {
			rate = strconv.FormatFloat(x.Rate, 'f', -1, 64)
		}
		at, err := time.Parse(time.RFC3339, x.At)
		if err != nil {
			continue // it was written by this program
		}
		first := strconv.FormatUint(x.First, 10)
		if !x.Fresh {
			first += " or earlier"
		}
		s.rows = append(s.rows, []string{member, at.Format("2006-01-02 15:04:05 UTC"), first, rate})
	}
	p.tables = append(p.tables, s)
}

// statsLines are, for each member, lines of label, what is counted, its name, keys, revisions, tombstones, bytes and bytes
// of live keys; for keys of label, why it is listed, key, value size, revisions and bytes; for types of entries of label,
// "entries", type and number; and for the db's file of label, "file", size, used, free, unreachable.
func statsLines(d *Statistics) [][]string {
	var ls [][]string
	for i := range d.Members {
		m := &d.Members[i]
		group := func(what string, all ...Share) {
			for _, g := range all {
				ls = append(ls, []string{m.Label, what, keyText(g.Key, g.KeyBase64), strconv.Itoa(g.Keys), strconv.Itoa(g.Revisions), strconv.Itoa(g.Tombstones), number(g.Bytes), number(g.LiveBytes)})
			}
		}
		if m.HasDB {
			group("keyspace", m.Keyspace)
			group("resource", m.Resources...)
			group("prefix", m.Prefixes...)
			keys := func(what string, all []KeyShare) {
				for _, k := range all {
					ls = append(ls, []string{m.Label, what, keyText(k.Key, k.KeyBase64), strconv.Itoa(k.Size), strconv.Itoa(k.Revisions), number(k.Bytes)})
				}
			}
			keys("biggest", m.Biggest)
			keys("busiest", m.Busiest)
			ls = append(ls, []string{m.Label, "file", number(m.File.Size), number(m.File.Used), number(m.File.Free), number(m.File.Unreachable)})
		}
		for _, typ := range slices.Sorted(maps.Keys(m.Log.ByType)) {
			ls = append(ls, []string{m.Label, "entries", typ, strconv.Itoa(m.Log.ByType[typ])})
		}
	}
	return ls
}
