package report

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/raftlog"
)

// LogOptions choose entries. Zero values choose all of them.
type LogOptions struct {
	First, Last uint64
	// Since and Until are further bounds, both included.
	Since, Until diff.Point
	Types        []string // of LogTypes, in any case
	Key, Prefix  *string
	Namespace    *string // of Kubernetes
	Proposer     string  // label, name or id of a member
	MinSize      int     // bytes of the entry's data
	// Limit and Tail keep the first, or the last, of those that the other options choose.
	Limit, Tail int
	Lease       *diff.ID
	User        *string // "" for requests without a user
	Revision    int64   // made by the entry, on any member
	Term        uint64
	NoEffect    bool // requests that could change keys and changed none on some member
	Differ      bool // entries on which members differ
	Values      bool // shows values that requests put
}

// LogEntry is one entry of the log, in JSON one line. Two of the same index are different entries of different members.
type LogEntry struct {
	Kind         string         `json:"kind"` // "entry"
	Index        uint64         `json:"index"`
	Term         uint64         `json:"term"`
	Type         string         `json:"type"`
	Summary      string         `json:"summary"`
	User         string         `json:"user"`
	AuthRevision uint64         `json:"auth_revision"`
	RequestID    *diff.ID       `json:"request_id"` // null if it has none
	Proposer     string         `json:"proposer,omitempty"`
	Size         int            `json:"size"` // bytes of the entry's data
	Request      map[string]any `json:"request,omitempty"`
	// Error says why the request does not decode.
	Error string `json:"error,omitempty"`
	// Members have the entry, in their own log or as another's that they applied.
	Members []string    `json:"members"`
	Effects []LogEffect `json:"effects"`
	// Differs is "entry" if members hold different entries at this index, "effect" if this one did not do the same on all
	// of them, else empty.
	Differs string `json:"differs"`
}

// LogEffect is what an entry did on some members.
type LogEffect struct {
	Members   []string         `json:"members"`
	Effect    diff.EffectState `json:"effect"`
	Revisions []int64          `json:"revisions"`
	Changes   []diff.Change    `json:"changes"`
	// Unexpected is true if etcd's rules do not demand this of the members' own state.
	Unexpected bool   `json:"unexpected,omitempty"`
	Why        string `json:"why,omitempty"`
}

// LogMember is what the log of a member says as a whole.
type LogMember struct {
	Kind       string        `json:"kind"` // "member"
	Member     string        `json:"member"`
	MemberID   *diff.ID      `json:"member_id"`
	ClusterID  *diff.ID      `json:"cluster_id"`
	FirstIndex uint64        `json:"first_index"`
	LastIndex  uint64        `json:"last_index"`
	Entries    int           `json:"entries"`
	Replaced   int           `json:"replaced_entries"`
	Term       uint64        `json:"term"`
	Vote       diff.ID       `json:"vote"`
	Commit     uint64        `json:"commit"`
	Applied    *uint64       `json:"consistent_index"` // null without a db
	Snapshots  []LogSnapshot `json:"snapshots"`
}

// LogTypes are what entries can be of, with raw also what records can be of.
func LogTypes(raw bool) []string {
	types := raftlog.Types()
	if raw {
		types = append(types, "metadata", "entry", "state", "crc", "snapshot", "zeros", "damaged")
	}
	return types
}

// Entries writes the entries of members' logs, merged by index.
func Entries(ctx context.Context, w io.Writer, l *diff.Ledger, o LogOptions, format Format) error {
	g := logger{s: newStream(w, format), l: l, o: o, whole: format == JSON || format == Fields}
	notes, err := g.bounds()
	if err != nil {
		return err
	}
	for _, m := range l.Members {
		g.member(m)
	}
	g.s.blank()
	g.s.head("", column{" ", 1, false}, column{"INDEX", 8, true}, column{"TERM", 4, true}, column{"EFFECT", 14, false}, column{"FROM", 6, false}, column{"USER", 10, false}, column{"REQUEST", 0, false})
	all, found, more := 0, 0, false
	show := g.show
	if o.Tail > 0 {
		show = g.keep
	}
	beside := newBeside(show, func() bool { return g.s.err != nil })
	defer beside.wait() // should a file shrink
	for line := range l.Lines(g.o.First, g.o.Last) {
		if all++; all%4096 == 0 && ctx.Err() != nil || beside.stopped.Load() {
			break
		}
		var es []*LogEntry
		for i := range line.Variants {
			if e := g.entry(line, &line.Variants[i]); e != nil {
				es = append(es, e)
			}
		}
		if len(es) == 0 {
			continue
		}
		if o.Limit > 0 && found == o.Limit {
			more = true
			break
		}
		found++
		beside.add(es)
	}
	beside.wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i := range g.last {
		g.show(g.last[(g.next+i)%len(g.last)])
	}
	g.s.blank()
	text := count(all, "entry")
	if found < all {
		text = fmt.Sprintf("%d of %s", found, text)
	}
	switch {
	case more:
		text = fmt.Sprintf("the first %s of those asked for; there are more", count(found, "entry"))
	case g.shown < found:
		text = fmt.Sprintf("the last %d of %s", g.shown, text)
	}
	switch {
	case len(l.Members) > 1 && g.differ > 0:
		text += fmt.Sprintf("; members differ at %d (!)", g.differ)
	case len(l.Members) > 1:
		text += "; members differ at none of them"
	}
	g.s.remark(text)
	for _, n := range notes {
		g.s.remark(n)
	}
	for _, f := range l.Faults {
		g.s.lacks("the effects", []string{f})
	}
	for _, m := range l.Members {
		if ok, why := m.Complete(); !ok {
			g.s.lacks(m.Label, why)
		}
	}
	return g.s.end()
}

type logger struct {
	s *stream
	l *diff.Ledger
	o LogOptions
	// whole is true if all of an entry is shown: tables have a line of it, and most of the time would go into what they leave out.
	whole bool

	shown, differ int           // indexes
	last          [][]*LogEntry // of Tail, the oldest at next
	next          int
}

// bounds turns since and until into indexes, and says how.
func (g *logger) bounds() (notes []string, err error) {
	o := &g.o
	note := func(name, why string) {
		if why != "" {
			notes = append(notes, name+": "+why)
		}
	}
	if o.Since.Set() {
		first, why, err := g.l.Since(o.Since)
		if err != nil {
			return nil, fmt.Errorf("--since: %w", err)
		}
		o.First = max(o.First, first)
		note("since", why)
	}
	if o.Until.Set() {
		last, why, err := g.l.Until(o.Until)
		if err != nil {
			return nil, fmt.Errorf("--until: %w", err)
		}
		if o.Last == 0 || last > 0 && last < o.Last {
			o.Last = last
		}
		note("until", why)
	}
	if o.Last > 0 && o.Last < o.First {
		return nil, fmt.Errorf("the end, entry %d, lies before the beginning, entry %d", o.Last, o.First)
	}
	if o.Proposer != "" {
		label, known := g.l.ProposerNamed(o.Proposer)
		if label == "" {
			return nil, fmt.Errorf("--proposer: no member %s: there are %s", diff.Key(o.Proposer), strings.Join(known, ", "))
		}
		o.Proposer = label
	}
	return notes, nil
}

// keep keeps the entries of an index if they turn out to be among the last.
func (g *logger) keep(es []*LogEntry) {
	if len(g.last) < g.o.Tail {
		g.last = append(g.last, es)
		return
	}
	g.last[g.next] = es
	g.next = (g.next + 1) % len(g.last)
}

// show writes the entries of an index.
func (g *logger) show(es []*LogEntry) {
	g.shown++
	if slices.ContainsFunc(es, func(e *LogEntry) bool { return e.Differs != "" }) {
		g.differ++
	}
	for _, e := range es {
		g.write(e)
	}
}

func (g *logger) labels(members []int) []string {
	var ls []string
	for _, i := range members {
		ls = append(ls, g.l.Members[i].Label)
	}
	return ls
}

// member says whose log it is, and what it covers.
func (g *logger) member(m *inspect.Member) {
	doc := LogMember{
		Kind: "member", Member: m.Label, FirstIndex: m.Log.First(), LastIndex: m.Log.Last(), Entries: len(m.Log.Entries), Replaced: len(m.Log.Superseded),
		Term: m.Log.HardState.Term, Vote: diff.ID(m.Log.HardState.Vote), Commit: m.Log.HardState.Commit, Snapshots: []LogSnapshot{},
	}
	if m.Log.HasMetadata {
		id, cluster := diff.ID(m.Log.NodeID), diff.ID(m.Log.ClusterID)
		doc.MemberID, doc.ClusterID = &id, &cluster
	}
	applied := "?"
	if m.DB != nil {
		doc.Applied = &m.DB.Tables.ConsistentIndex
		applied = strconv.FormatUint(*doc.Applied, 10)
	}
	for _, s := range m.Log.Snapshots {
		doc.Snapshots = append(doc.Snapshots, LogSnapshot{Index: s.Index, Term: s.Term})
	}
	switch g.s.format {
	case JSON, Fields:
		g.s.row(doc, nil)
	case Table, Markdown:
		if len(m.Log.Entries) == 0 {
			g.s.remark(m.Label + ": no entry in its log")
			return
		}
		g.s.remark(fmt.Sprintf("%s: member %s of cluster %s; entries %s, term %d, commit %d, db at %s; last snapshot %s",
			m.Label, idText(doc.MemberID), idText(doc.ClusterID), span(doc.FirstIndex, doc.LastIndex), doc.Term, doc.Commit, applied,
			last(doc.Snapshots[max(0, len(doc.Snapshots)-1):], func(x LogSnapshot) uint64 { return x.Index })))
	}
}

// entry describes a variant, or returns nil if it is not asked for.
func (g *logger) entry(line *diff.Line, v *diff.Variant) *LogEntry {
	o := &g.o
	if o.Term > 0 && v.Entry.Term != o.Term {
		return nil
	}
	r, err := v.Request()
	if r == nil {
		r = &raftlog.Request{Type: "Unknown"}
	}
	if len(o.Types) > 0 && !slices.ContainsFunc(o.Types, func(t string) bool { return strings.EqualFold(t, r.Type) }) || o.User != nil && *o.User != r.User || len(v.Entry.Data) < o.MinSize {
		return nil
	}
	e := &LogEntry{
		Kind: "entry", Index: line.Index, Term: v.Entry.Term, Type: r.Type, Summary: r.Summary(), User: r.User, AuthRevision: r.AuthRevision,
		Proposer: g.l.Proposer(v.Members[0], r), Size: len(v.Entry.Data), Members: g.labels(v.Members),
	}
	if o.Proposer != "" && e.Proposer != o.Proposer {
		return nil
	}
	if r.ID != 0 {
		id := diff.ID(r.ID)
		e.RequestID = &id
	}
	if err != nil {
		e.Error = err.Error()
	}
	outcomes, differ := g.l.Outcomes(v)
	switch {
	case len(line.Variants) > 1:
		e.Differs = "entry"
	case differ:
		e.Differs = "effect"
	}
	made, idle := false, false
	for _, x := range outcomes {
		f := LogEffect{Members: g.labels(x.Members), Effect: x.State, Revisions: append([]int64{}, x.Revisions...), Changes: []diff.Change{}, Unexpected: x.Odd, Why: x.Why}
		for _, rev := range x.Revisions {
			if differ || g.whole || o.narrowed() {
				f.Changes = append(f.Changes, g.l.Changes(x.Members[0], rev)...)
			}
			made = made || rev == o.Revision
		}
		idle = idle || x.State == diff.None
		e.Effects = append(e.Effects, f)
	}
	if o.Revision > 0 && !made || o.NoEffect && !idle || o.Differ && e.Differs == "" || !touches(e, r, o) {
		return nil
	}
	if g.whole || o.Values {
		e.Request = requestFields(r, o.Values)
	}
	return e
}

// narrowed tells whether what an entry changed decides if it is asked for.
func (o *LogOptions) narrowed() bool {
	return o.Key != nil || o.Prefix != nil || o.Namespace != nil || o.Lease != nil
}

// touches tells whether an entry could change, or changed, what the options name.
func touches(e *LogEntry, r *raftlog.Request, o *LogOptions) bool {
	changed := func(match func(c *diff.Change) bool) bool {
		return slices.ContainsFunc(e.Effects, func(f LogEffect) bool {
			return slices.ContainsFunc(f.Changes, func(c diff.Change) bool { return match(&c) })
		})
	}
	if k := o.Key; k != nil && !slices.ContainsFunc(r.Keys(), func(w raftlog.Write) bool { return covers(&w, *k) }) &&
		!changed(func(c *diff.Change) bool { return string(c.Key) == *k }) {
		return false
	}
	if p := o.Prefix; p != nil && !slices.ContainsFunc(r.Keys(), func(w raftlog.Write) bool { return meets(&w, *p) }) &&
		!changed(func(c *diff.Change) bool { return strings.HasPrefix(string(c.Key), *p) }) {
		return false
	}
	if ns := o.Namespace; ns != nil && !slices.ContainsFunc(r.Keys(), func(w raftlog.Write) bool { return reaches(&w, *ns) }) &&
		!changed(func(c *diff.Change) bool { return inNamespace(string(c.Key), *ns) }) {
		return false
	}
	if o.Lease != nil && !slices.Contains(leasesOf(r), int64(*o.Lease)) && !changed(func(c *diff.Change) bool { return c.Lease == *o.Lease && c.Lease != 0 }) {
		return false
	}
	return true
}

// covers tells whether a write could change a key.
func covers(w *raftlog.Write, key string) bool {
	switch {
	case len(w.End) == 0:
		return string(w.Key) == key
	case string(w.End) == "\x00":
		return string(w.Key) <= key
	}
	return string(w.Key) <= key && key < string(w.End)
}

// meets tells whether a write could change a key that begins with a prefix.
func meets(w *raftlog.Write, prefix string) bool {
	first := string(w.Key)
	if strings.HasPrefix(first, prefix) {
		return true
	}
	return len(w.End) > 0 && first < prefix && (string(w.End) == "\x00" || prefix < string(w.End))
}

// reaches tells whether a write could change a key in a namespace of Kubernetes.
func reaches(w *raftlog.Write, namespace string) bool {
	n, ok := kube.NameOf(w.Key)
	switch {
	case ok && n.Namespace == namespace:
		return true
	case !ok || len(w.End) == 0 || n.Namespace != "":
		return false
	}
	// A range of a resource: the begin of the namespace's own keys lies in it, or not.
	return meets(w, string(w.Key[:len(w.Key)-len(n.Name)])+namespace+"/")
}

func inNamespace(key, namespace string) bool {
	n, ok := kube.NameOf([]byte(key))
	return ok && n.Namespace == namespace
}

// leasesOf are the leases that a request names.
func leasesOf(r *raftlog.Request) []int64 {
	var ids []int64
	for _, w := range r.Keys() {
		if w.Lease != 0 {
			ids = append(ids, w.Lease)
		}
	}
	in := r.Internal
	switch {
	case in.GetLeaseGrant() != nil:
		ids = append(ids, in.LeaseGrant.ID)
	case in.GetLeaseRevoke() != nil:
		ids = append(ids, in.LeaseRevoke.ID)
	}
	for _, c := range in.GetLeaseCheckpoint().GetCheckpoints() {
		ids = append(ids, c.ID)
	}
	return ids
}

// effectText is an effect in a few words.
func effectText(state diff.EffectState, revisions []int64) string {
	var parts []string
	for _, r := range revisions {
		parts = append(parts, strconv.FormatInt(r, 10))
	}
	switch state {
	case diff.Made:
		return "rev " + strings.Join(parts, ", ")
	case diff.Gone:
		return strings.TrimSpace("gone " + strings.Join(parts, ", "))
	case diff.None:
		return "no effect"
	case diff.NoKeys:
		return "-"
	case diff.Pending:
		return "not applied"
	case diff.Uncommitted:
		return "not committed"
	}
	return "?"
}

func (g *logger) write(e *LogEntry) {
	mark, summary := " ", e.Summary
	if e.Error != "" {
		summary += " (" + e.Error + ")"
	}
	if e.Differs != "" {
		mark = "!"
	}
	// The largest group speaks for all, the others are named.
	groups := slices.Clone(e.Effects)
	slices.SortStableFunc(groups, func(a, b LogEffect) int { return len(b.Members) - len(a.Members) })
	effect := "differs"
	if e.Differs != "effect" {
		effect = effectText(groups[0].Effect, groups[0].Revisions)
		for _, f := range groups[1:] {
			if f.Effect == diff.Unknown {
				continue // the lines above say which member has no db, or how far it reaches
			}
			effect += fmt.Sprintf(" (%s: %s)", strings.Join(f.Members, ", "), effectText(f.Effect, f.Revisions))
		}
		if groups[0].Why != "" {
			summary += " (" + groups[0].Why + ")"
		}
	}
	var notes []string
	if e.Differs == "entry" {
		notes = append(notes, "in the log of "+list(e.Members))
	}
	if e.Differs == "effect" {
		for _, f := range groups {
			text := list(f.Members) + ": " + effectText(f.Effect, f.Revisions)
			if len(f.Changes) > 0 {
				text += ": " + changesText(f.Changes)
			}
			if f.Why != "" {
				text += "; " + f.Why
			}
			notes = append(notes, text)
		}
	}
	if g.s.format == Markdown && len(notes) > 0 {
		effect += ": " + strings.Join(notes, " / ")
	}
	g.s.row(e, []string{mark, strconv.FormatUint(e.Index, 10), strconv.FormatUint(e.Term, 10), effect, orNone(e.Proposer), orNone(diff.Key(e.User).String()), summary})
	for _, n := range notes {
		g.s.note(20, n)
	}
	if g.o.Values && g.s.format == Table {
		for _, name := range putValues(e.Request) {
			g.s.note(20, name)
		}
	}
}

func changesText(cs []diff.Change) string {
	var parts []string
	for i, c := range cs {
		if i == changesShown {
			parts = append(parts, fmt.Sprintf("%d more", len(cs)-i))
			break
		}
		parts = append(parts, c.Op+" "+c.Key.String())
	}
	return strings.Join(parts, ", ")
}

// putValues lists the values in a request, in order of their keys' names in it.
func putValues(v any) []string {
	var out []string
	switch x := v.(type) {
	case map[string]any:
		for _, name := range sortedNames(x) {
			switch {
			case name == "value", name == "val":
				out = append(out, fmt.Sprintf("value: %v", x[name]))
			case name == "value_base64":
				out = append(out, fmt.Sprintf("value in base64: %v", x[name]))
			default:
				out = append(out, putValues(x[name])...)
			}
		}
	case []any:
		for _, y := range x {
			out = append(out, putValues(y)...)
		}
	}
	return out
}

func sortedNames(m map[string]any) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// RawRecord is one record of a log as it lies on the disk, in JSON one line.
type RawRecord struct {
	Kind   string `json:"kind"` // "record"
	Member string `json:"member"`
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"` // with header and padding
	Type   string `json:"type"`   // metadata, entry, state, crc, snapshot; zeros, or damaged where there is no record
	CRC    string `json:"crc,omitempty"`
	// CRCState is "ok" if a checksum vouches for the data, "bad" if not, "none" for zeros.
	CRCState string       `json:"crc_state"`
	Error    string       `json:"error,omitempty"`
	Entry    *RawEntry    `json:"entry,omitempty"`
	State    *RawState    `json:"hard_state,omitempty"`
	Snapshot *RawSnapshot `json:"snapshot,omitempty"`
	Metadata *RawMetadata `json:"metadata,omitempty"`
}

// RawEntry is an entry of a record. Type and summary are only there if a checksum vouches for it: nothing is known of what
// damaged bytes hold.
type RawEntry struct {
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Type    string `json:"type,omitempty"`
	Summary string `json:"summary,omitempty"`
	Size    int    `json:"size"`
}

// RawState is raft's hard state.
type RawState struct {
	Term   uint64  `json:"term"`
	Vote   diff.ID `json:"vote"`
	Commit uint64  `json:"commit"`
}

// RawSnapshot is the note of a snapshot.
type RawSnapshot struct {
	Index  uint64    `json:"index"`
	Term   uint64    `json:"term"`
	Voters []diff.ID `json:"voters,omitempty"`
}

// RawMetadata says whose log it is.
type RawMetadata struct {
	MemberID  diff.ID `json:"member_id"`
	ClusterID diff.ID `json:"cluster_id"`
}

// RawLog writes every record of the members' logs, one member after the other.
func RawLog(ctx context.Context, w io.Writer, ms []*inspect.Member, o LogOptions, format Format) error {
	s := newStream(w, format)
	for _, m := range ms {
		file := ""
		raftlog.Records(m.Segments(), func(r *raftlog.RawRecord) bool {
			doc := rawRecord(m.Label, r)
			if !o.wants(doc) {
				return s.err == nil
			}
			if r.File != file {
				file = r.File
				s.head(m.Label+": "+file, column{"OFFSET", 9, true}, column{"LENGTH", 9, true}, column{"TYPE", 8, false}, column{"CRC", 14, false}, column{"", 0, false})
			}
			cells := []string{strconv.FormatInt(doc.Offset, 10), strconv.FormatInt(doc.Length, 10), doc.Type, strings.TrimSpace(doc.CRC + " " + doc.CRCState), doc.text()}
			if format == Simple {
				cells = append([]string{m.Label, file}, cells...)
			}
			s.row(doc, cells)
			return s.err == nil && ctx.Err() == nil
		})
		if ok, why := m.Complete(); !ok {
			s.lacks(m.Label, why)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.end()
}

// wants tells whether a record is asked for: by its type or, for entries, by that of the request, its index and its term.
func (o *LogOptions) wants(r *RawRecord) bool {
	var index, term uint64
	typ := r.Type
	if e := r.Entry; e != nil {
		index, term = e.Index, e.Term
		if e.Type != "" {
			typ = e.Type
		}
	}
	return index >= o.First && (o.Last == 0 || index <= o.Last && index > 0) && (o.Term == 0 || o.Term == term) &&
		(len(o.Types) == 0 || slices.ContainsFunc(o.Types, func(t string) bool { return strings.EqualFold(t, typ) || strings.EqualFold(t, r.Type) }))
}

func rawRecord(label string, r *raftlog.RawRecord) *RawRecord {
	doc := &RawRecord{Kind: "record", Member: label, File: r.File, Offset: r.Offset, Length: r.Size, Type: r.Type.String(), CRC: fmt.Sprintf("%08x", r.CRC), CRCState: "ok"}
	if r.Err != nil {
		doc.Error = r.Err.What
	}
	switch {
	case r.Zeros:
		doc.Type, doc.CRC, doc.CRCState = "zeros", "", "none"
		return doc
	case !r.Valid:
		doc.CRCState = "bad"
		if r.Type == 0 {
			doc.Type, doc.CRC = "damaged", ""
		}
	}
	switch {
	case r.Entry != nil:
		doc.Entry = &RawEntry{Index: r.Entry.Index, Term: r.Entry.Term, Size: len(r.Entry.Data)}
		if req, _ := raftlog.Decode(r.Entry); r.Valid && req != nil {
			doc.Entry.Type, doc.Entry.Summary = req.Type, req.Summary()
		}
	case r.State != nil:
		doc.State = &RawState{r.State.Term, diff.ID(r.State.Vote), r.State.Commit}
	case r.Snapshot != nil:
		doc.Snapshot = &RawSnapshot{Index: r.Snapshot.Index, Term: r.Snapshot.Term}
		if cs := r.Snapshot.ConfState; cs != nil {
			for _, id := range cs.Voters {
				doc.Snapshot.Voters = append(doc.Snapshot.Voters, diff.ID(id))
			}
		}
	case r.Metadata != nil:
		doc.Metadata = &RawMetadata{diff.ID(r.Metadata.NodeID), diff.ID(r.Metadata.ClusterID)}
	}
	return doc
}

func (r *RawRecord) text() string {
	var s string
	switch {
	case r.Entry != nil:
		s = fmt.Sprintf("%d term %d %s (entry of %s)", r.Entry.Index, r.Entry.Term, cmp.Or(r.Entry.Summary, "?"), count(r.Entry.Size, "byte"))

	case r.State != nil:
		s = fmt.Sprintf("term %d, vote %s, commit %d", r.State.Term, r.State.Vote, r.State.Commit)
	case r.Snapshot != nil:
		s = fmt.Sprintf("index %d, term %d", r.Snapshot.Index, r.Snapshot.Term)
		if n := len(r.Snapshot.Voters); n > 0 {
			s += ", " + count(n, "voter")
		}
	case r.Metadata != nil:
		s = fmt.Sprintf("member %s of cluster %s", r.Metadata.MemberID, r.Metadata.ClusterID)
	}
	if r.Error != "" {
		s = strings.TrimSpace(s + " ERROR: " + r.Error)
	}
	return s
}
