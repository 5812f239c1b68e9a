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
	"etcd-autopsy/inspect/raftlog"
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
	// Since says what changed since an older copy of the only member, if one was given.
	Since *Grown `json:"since,omitempty"`
	depth int
}

// Grown is what changed since an older copy of a member.
type Grown struct {
	Label     string        `json:"label"` // of the older copy
	Index     uint64        `json:"consistent_index"`
	Revision  int64         `json:"revision"`
	FileSize  int64         `json:"file_size"`
	Keyspace  ShareGrowth   `json:"keyspace"`
	Prefixes  []ShareGrowth `json:"prefixes"` // that are not the same, those that grew most first
	Resources []ShareGrowth `json:"resources"`
	// Log is of the entries behind the older copy's index.
	Log LogUse `json:"log"`
}

// ShareGrowth is what some keys took, and take now.
type ShareGrowth struct {
	Text
	Before ShareNumbers `json:"before"`
	Now    ShareNumbers `json:"now"`
}

// ShareNumbers are those of a Share.
type ShareNumbers struct {
	Keys       int   `json:"keys"`
	Revisions  int   `json:"revisions"`
	Tombstones int   `json:"tombstones"`
	Bytes      int64 `json:"bytes"`
	LiveBytes  int64 `json:"live_bytes"`
}

// MemberStats is one member. Sizes are in bytes.
type MemberStats struct {
	Label    string           `json:"label"`
	Complete bool             `json:"complete"`
	HasDB    bool             `json:"has_db"`
	Keyspace Share            `json:"keyspace"`
	Content  `json:"content"` // of the keyspace
	File     FileUse          `json:"file"`
	Log      LogUse           `json:"log"`
	Index    uint64           `json:"consistent_index"`
	Revision int64            `json:"revision"`
	PerEntry float64          `json:"revisions_per_1000_entries"` // since the cluster began
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
	// Who asked for entries, and what these can write. Those with the most writes come first.
	ByProposer  []LogProposer `json:"by_proposer"`
	ByUser      []LogTally    `json:"by_user"` // without a name: requests of the servers themselves, and all without auth
	ByResource  []LogTally    `json:"by_resource"`
	ByNamespace []LogTally    `json:"by_namespace"`
	Windows     []LogWindow   `json:"windows"`
	Starts      []LogStart    `json:"starts"`
}

// LogTally counts the entries of a user, or of those that can write to a resource or a namespace of Kubernetes.
type LogTally struct {
	diff.Named
	Entries int   `json:"entries"`
	Writes  int   `json:"writes"`
	Bytes   int64 `json:"bytes"` // of the entries' data
}

// LogProposer counts the requests that a member proposed.
type LogProposer struct {
	Member  string   `json:"member,omitempty"` // label, if a copy of it is here
	ID      *diff.ID `json:"member_id"`        // null if several members come into question
	Entries int      `json:"entries"`
	Writes  int      `json:"writes"`
	Bytes   int64    `json:"bytes"`
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
	labels := labelsByID(ms)
	for _, m := range ms {
		d.Members = append(d.Members, memberStats(m, stats.Of(m, o), labels))
	}
	return d
}

// CountSince makes the statistics of a member, with what changed since an older copy of it.
func CountSince(m, old *inspect.Member, o stats.Options) *Statistics {
	d := &Statistics{SchemaVersion: diff.SchemaVersion, depth: o.Depth}
	labels := labelsByID([]*inspect.Member{m})
	before, now := stats.Of(old, o), stats.Of(m, o)
	d.Members = []MemberStats{memberStats(m, now, labels)}
	g := &Grown{Label: old.Label, Index: old.Log.Last(), FileSize: before.File.Size}
	if old.DB != nil {
		g.Index, g.Revision = old.DB.Tables.ConsistentIndex, old.DB.Revision()
	}
	g.Keyspace = grown(&stats.Growth{Old: before.Total, New: now.Total})
	g.Prefixes, g.Resources = growths(stats.Grown(before.Prefixes, now.Prefixes)), growths(stats.Grown(before.Resources, now.Resources))
	log := stats.OfLog(m.Log, g.Index)
	g.Log = logUse(&log, knownIDs(m), labels)
	d.Since = g
	return d
}

func grown(g *stats.Growth) ShareGrowth {
	numbers := func(g *stats.Group) ShareNumbers {
		return ShareNumbers{g.Keys, g.Revisions, g.Tombstones, g.Bytes, g.LiveBytes}
	}
	return ShareGrowth{text(g.Name), numbers(&g.Old), numbers(&g.New)}
}

func growths(all []stats.Growth) []ShareGrowth {
	out := []ShareGrowth{}
	for i := range all {
		out = append(out, grown(&all[i]))
	}
	return out
}

// labelsByID are the labels of members by id.
func labelsByID(ms []*inspect.Member) map[diff.ID]string {
	labels := map[diff.ID]string{}
	for _, m := range ms {
		if id := diff.ID(m.Log.NodeID); m.Log.HasMetadata && labels[id] == "" {
			labels[id] = m.Label
		}
	}
	return labels
}

// knownIDs are the ids of members that a member knows of, itself among them.
func knownIDs(m *inspect.Member) []uint64 {
	ids := map[uint64]bool{}
	if m.Log.HasMetadata {
		ids[m.Log.NodeID] = true
	}
	if m.DB != nil {
		for _, x := range m.DB.Tables.Members {
			ids[x.ID] = true
		}
		for _, x := range m.DB.Tables.MembersRemoved {
			ids[x] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func memberStats(m *inspect.Member, s *stats.Stats, labels map[diff.ID]string) MemberStats {
	out := MemberStats{Label: m.Label, HasDB: m.DB != nil, Keyspace: share(s.Total)}
	out.Complete, _ = m.Complete()
	out.Content = Content{shares(s.Prefixes), shares(s.Resources), keyShares(s.Biggest), keyShares(s.Busiest)}
	f := &s.File
	out.File = FileUse{Size: f.Size, Used: f.Used, Free: f.Free, Unreachable: f.Unreachable, Unreadable: f.Unreadable}
	out.File.Beyond = f.Size - f.Used - f.Free - f.Unreachable - f.Unreadable
	if f.Leaves > 0 {
		out.File.Fill = rounded(float64(f.Rows) / float64(f.Leaves))
	}
	if m.DB != nil {
		out.Index, out.Revision = m.DB.Tables.ConsistentIndex, m.DB.Revision()
		if out.Index > 0 {
			out.PerEntry = rounded(float64(out.Revision-1) / float64(out.Index) * 1000)
		}
	}
	out.Log = logUse(&s.Log, knownIDs(m), labels)
	return out
}

func logUse(l *stats.Log, ids []uint64, labels map[diff.ID]string) LogUse {
	out := LogUse{
		First: l.First, Last: l.Last, Entries: l.Entries, Writes: l.Writes, ByType: l.ByType, Windows: []LogWindow{}, Starts: []LogStart{},
		ByProposer: []LogProposer{}, ByUser: tallies(l.Users), ByResource: tallies(l.Resources), ByNamespace: tallies(l.Namespaces),
	}
	// who is the only member with these low bits of its id.
	who := func(prefix uint16) *diff.ID {
		id, ok := (raftlog.Proposal{Prefix: prefix}).Member(ids)
		if !ok {
			return nil
		}
		return new(diff.ID(id))
	}
	for _, w := range l.Windows {
		out.Windows = append(out.Windows, LogWindow(w))
	}
	for _, x := range l.Proposers {
		p := LogProposer{ID: who(x.Prefix), Entries: x.Entries, Writes: x.Writes, Bytes: x.Bytes}
		if p.ID != nil {
			p.Member = labels[*p.ID]
		}
		out.ByProposer = append(out.ByProposer, p)
	}
	for _, x := range l.Starts {
		out.Starts = append(out.Starts, LogStart{
			Member: who(x.Prefix), At: x.At.Format("2006-01-02T15:04:05.000Z07:00"), First: x.First, Fresh: x.Fresh, Rate: rounded(x.Rate),
		})
	}
	return out
}

func tallies(all []stats.Tally) []LogTally {
	out := []LogTally{}
	for _, t := range all {
		out = append(out, LogTally{diff.NameOf(t.Name), t.Entries, t.Writes, t.Bytes})
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
	if d.Since != nil {
		sincePage(p, d)
		p.hint("-w json lists all prefixes and resources, and the statistics of the member itself")
		return p
	}
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
	whoTables(p, &best.Log)
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

// whoTables say who asked for the entries of a log, and what these can write.
func whoTables(p *page, l *LogUse) {
	proposers := []LogTally{}
	for _, x := range l.ByProposer {
		name := x.Member
		if name == "" {
			name = "?"
			if x.ID != nil {
				name = x.ID.String()
			}
		}
		proposers = append(proposers, LogTally{diff.NameOf(name), x.Entries, x.Writes, x.Bytes})
	}
	add := func(title, name, none string, all []LogTally) {
		if len(all) == 0 || len(all) == 1 && all[0].Called() == "" {
			return
		}
		t := table{title: title, header: []string{name, "entries", "writes", "bytes"}, keys: true}
		for i, x := range all {
			if i == groupsShown && len(all) > groupsShown+1 {
				t.notes = append(t.notes, fmt.Sprintf("%d more with fewer writes", len(all)-i))
				break
			}
			label := x.Called()
			if label == "" {
				label = none
			}
			t.rows = append(t.rows, []string{label, strconv.Itoa(x.Entries), strconv.Itoa(x.Writes), number(x.Bytes)})
		}
		p.tables = append(p.tables, t)
	}
	add("Entries by who proposed them", "member", "", proposers)
	add("Entries by user", "user", "(none)", l.ByUser)
	add("Entries by the Kubernetes resource that they can write", "resource", "", l.ByResource)
	add("Entries by the namespace that they can write to", "namespace", "", l.ByNamespace)
}

// sincePage says what grew since an older copy.
func sincePage(p *page, d *Statistics) {
	g, m := d.Since, &d.Members[0]
	t := table{title: "Since " + g.Label, header: []string{"", "then", "now", "more"}}
	row := func(name string, then, now int64) {
		t.rows = append(t.rows, []string{name, number(then), number(now), signed(now - then)})
	}
	k := &g.Keyspace
	row("entry", int64(g.Index), int64(m.Index))
	row("revision", g.Revision, m.Revision)
	row("keys", int64(k.Before.Keys), int64(k.Now.Keys))
	row("rows (revisions of keys)", int64(k.Before.Revisions), int64(k.Now.Revisions))
	row("bytes of rows", k.Before.Bytes, k.Now.Bytes)
	row("of these not history", k.Before.LiveBytes, k.Now.LiveBytes)
	row("file size", g.FileSize, m.File.Size)
	p.tables = append(p.tables, t)
	add := func(title, name string, all []ShareGrowth) {
		t := table{title: title, header: []string{name, "keys", "revisions", "bytes", "bytes now"}, keys: true}
		for i, x := range all {
			if i == groupsShown && len(all) > groupsShown+1 {
				t.notes = append(t.notes, fmt.Sprintf("%d more that grew less, or shrank", len(all)-i))
				break
			}
			label := keyText(x.Key, x.KeyBase64)
			if label == "" {
				label = "(no slash)"
			}
			t.rows = append(t.rows, []string{
				label, signed(int64(x.Now.Keys - x.Before.Keys)), signed(int64(x.Now.Revisions - x.Before.Revisions)), signed(x.Now.Bytes - x.Before.Bytes), number(x.Now.Bytes),
			})
		}
		if len(all) > 0 {
			p.tables = append(p.tables, t)
		}
	}
	add("Kubernetes resources that changed", "resource", g.Resources)
	if d.depth != 2 || len(g.Resources) == 0 || !m.kubernetes() {
		add("Prefixes that changed", "prefix", g.Prefixes)
	}
	whoTables(p, &g.Log)
	if g.Log.Entries > 0 && g.Log.First > g.Index+1 {
		p.hint("the log begins with entry %d: the %d entries before it, since the older copy, are gone", g.Log.First, g.Log.First-g.Index-1)
	}
}

// signed is by how much something is more, or less.
func signed(n int64) string {
	if n > 0 {
		return "+" + number(n)
	}
	return number(n)
}

// statsLines are, for each member, lines of label, what is counted, its name, keys, revisions, tombstones, bytes and bytes
// of live keys; for keys of label, why it is listed, key, value size, revisions and bytes; for types of entries of label,
// "entries", type and number; for who asks and what is written of label, what is counted, its name, entries, writes and bytes;
// for what grew of the older copy's label, "grown", prefix, and by how many keys, revisions and bytes; and for the db's file of label, "file", size, used, free, unreachable.
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
		tally := func(what string, all []LogTally) {
			for _, t := range all {
				ls = append(ls, []string{m.Label, what, t.Called(), strconv.Itoa(t.Entries), strconv.Itoa(t.Writes), number(t.Bytes)})
			}
		}
		tally("user", m.Log.ByUser)
		tally("log-resource", m.Log.ByResource)
		tally("namespace", m.Log.ByNamespace)
	}
	if g := d.Since; g != nil {
		for _, x := range g.Prefixes {
			ls = append(ls, []string{
				g.Label, "grown", keyText(x.Key, x.KeyBase64), number(int64(x.Now.Keys - x.Before.Keys)), number(int64(x.Now.Revisions - x.Before.Revisions)), number(x.Now.Bytes - x.Before.Bytes),
			})
		}
	}
	return ls
}
