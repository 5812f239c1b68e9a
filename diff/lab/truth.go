package lab

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"google.golang.org/protobuf/proto"
)

// Truth is what a comparison of the members must find.
type Truth struct {
	// Verdict is empty where it depends on what one asks for.
	Verdict  string
	Partings []*Parting
	// Keys are the live keys that differ at the common index, and how. KeysKnown is false if too few members still tell.
	Keys      map[string]string
	KeysKnown bool
	Leases    map[int64]bool // true if it must be listed, false if it may
	torn      bool
	Behind    bool // a member's consistent index is not that of its data
}

// Parting is one planted fault as it should be told.
type Parting struct {
	Fault  *Fault
	Index  uint64 // the entry
	Lo, Hi uint64 // the entries that cannot be told from it
	Layers []string
	// Required is false if no two members can witness it.
	Required bool
	// Named is true if the entry must be named. Purged is true if it is in no log, and must not be named.
	Named, Purged bool
	Revision      int64 // of the entry, or what was stored, on the member
	Groups        [][]string
	Unknown       []string // members that may be missing from the groups
	Others        map[uint64]bool
	why           string
	widest        uint64   // where an interval may begin, 0 for Lo
	also          []*Fault // at the same entry
	shifted       bool     // not the same revision on all members that it befell
	compacted     bool     // its revision is at or below the highest compact revision
}

func (t *Truth) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  truth: verdict %q", t.Verdict)
	if t.KeysKnown {
		fmt.Fprintf(&b, ", keys %v", t.Keys)
	}
	fmt.Fprintf(&b, ", leases %v\n", t.Leases)
	for _, p := range t.Partings {
		fmt.Fprintf(&b, "    %s: entry %d (%d to %d), layers %v, groups %v, revision %d, required %v, named %v, purged %v %s\n", p.Fault, p.Index, p.Lo, p.Hi, p.Layers, p.Groups, p.Revision, p.Required, p.Named, p.Purged, p.why)
	}
	return b.String()
}

func (m *maker) truth() error {
	t := &Truth{Leases: map[int64]bool{}}
	m.c.Truth = t
	for _, f := range m.c.Faults {
		p, err := m.parting(f)
		if err != nil {
			return err
		}
		if p != nil {
			t.Partings = append(t.Partings, p)
		}
		t.Behind = t.Behind || f.Kind == Behind
	}
	m.merge(t)
	m.parted(t)
	slices.SortStableFunc(t.Partings, func(a, b *Parting) int { return int(a.Index) - int(b.Index) })
	t.Verdict = "consistent"
	for _, p := range t.Partings {
		if p.Required {
			t.Verdict = "diverged"
		} else if t.Verdict == "consistent" {
			t.Verdict = ""
		}
	}
	if t.Behind && t.Verdict == "consistent" {
		t.Verdict = ""
	}
	m.keys(t)
	m.leases(t)
	return nil
}

// merge makes one parting of those at the same entry.
func (m *maker) merge(t *Truth) {
	var out []*Parting
	for _, p := range t.Partings {
		i := slices.IndexFunc(out, func(o *Parting) bool { return o.Index == p.Index && p.Index > 0 })
		if i < 0 {
			out = append(out, p)
			continue
		}
		o := out[i]
		o.also = append(o.also, p.Fault)
		o.Named, o.Required = o.Named && p.Named, o.Required || p.Required
		o.Layers = append(o.Layers, p.Layers...)
		o.Lo, o.Hi = min(o.Lo, p.Lo), max(o.Hi, p.Hi)
	}
	t.Partings = out
}

// parted leaves open whether members on the other side of an earlier fork are grouped with those on the faulty one's.
func (m *maker) parted(t *Truth) {
	for _, p := range t.Partings {
		for _, f := range m.c.Faults {
			if f.Kind != Fork && f.Kind != Tamper || p.Fault == f || p.Index <= f.Index {
				continue
			}
			for i, x := range m.c.Members {
				if f.on(i) != f.on(p.Fault.Members[0]) {
					p.Unknown = append(p.Unknown, x.Label)
				}
			}
		}
	}
}

// without runs member i again without a fault.
func (m *maker) without(i int, f *Fault) (*history, error) {
	return m.rerun(i, func(fs []*Fault) []*Fault {
		return slices.DeleteFunc(fs, func(o *Fault) bool { return o == f })
	})
}

func (m *maker) rerun(i int, change func([]*Fault) []*Fault) (*history, error) {
	m.runs++
	s := m.c.Members[i].sc
	s.db = filepath.Join(m.dir, "reference", fmt.Sprint(m.runs))
	s.faults = change(slices.Clone(s.faults))
	h, err := s.run()
	if err != nil {
		return nil, err
	}
	h.dump, err = readDump(s.db)
	return h, err
}

// parting works out how a fault should be told, nil if it left no trace.
func (m *maker) parting(f *Fault) (*Parting, error) {
	p := &Parting{Fault: f, Index: f.Index, Others: map[uint64]bool{}}
	switch {
	case f.Kind == Fork || f.Kind == Tamper:
		m.logParting(p)
		return p, nil
	case f.Kind == Behind:
		return nil, nil
	case slices.Contains(edited, f.Kind):
		m.storedParting(p)
		return p, nil
	}
	return m.appliedParting(p)
}

// holds tells whether a member's log has an entry, and knows it to be committed.
func (x *Member) holds(index uint64) bool {
	return x.wals.first <= index && index <= min(x.wals.last, max(x.wals.commit, x.hist.index))
}

func (m *maker) logParting(p *Parting) {
	f := p.Fault
	p.Layers, p.Lo, p.Hi = []string{"log"}, p.Index, p.Index
	var odd, even []string
	for i, x := range m.c.Members {
		switch {
		case !x.holds(p.Index):
			p.Unknown = append(p.Unknown, x.Label)
		case f.on(i):
			odd = append(odd, x.Label)
		default:
			even = append(even, x.Label)
		}
	}
	if len(odd) > 0 && len(even) > 0 {
		p.Required, p.Named = true, true
		p.Groups = bySize(odd, even)
		return
	}
	// Members that lack the entry may show by later entries or by their rows that they parted.
	p.why = "not in two logs"
	p.Layers = nil
}

func bySize(gs ...[]string) [][]string {
	gs = slices.DeleteFunc(gs, func(g []string) bool { return len(g) == 0 })
	for _, g := range gs {
		slices.Sort(g)
	}
	slices.SortStableFunc(gs, func(a, b []string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a[0], b[0])
	})
	return gs
}

// compact is the highest compact revision of any member.
func (m *maker) compact() int64 {
	var c int64
	for _, x := range m.c.Members {
		c = max(c, x.hist.compact)
	}
	return c
}

func (m *maker) storedParting(p *Parting) {
	f := p.Fault
	p.Lo, p.Hi, p.Revision = p.Index, p.Index, f.revision
	switch f.Kind {
	case LostLease, ExtraLease, AuthBump, MissingUser:
		m.tableParting(p)
		return
	}
	p.Layers = []string{"storage"}
	if f.last || f.partial {
		p.Layers = append(p.Layers, "apply")
	}
	m.witness(p, p.Revision)
	for _, i := range f.Members {
		x := m.c.Members[i]
		for _, e := range x.log[x.hist.index:min(x.wals.last, uint64(len(x.log)))] {
			if c := e.Request.GetCompaction(); c != nil && c.Revision >= f.revision && (f.Kind == LostRevision || f.Kind == LostTombstone) {
				// Rows that a later compaction would have removed: the copy may as well be torn.
				p.Required, p.Named, p.why, p.Layers = false, false, "torn", nil
				m.c.Truth.torn = true
				return
			}
		}
	}
	if f.revision <= m.compact() {
		p.Named, p.Layers = false, nil
		p.why = "compacted"
	}
	if f.Kind == LostRevision && f.last {
		// The numbering does not show that there was a revision: it may as well never have been made.
		p.Lo, p.Hi = m.equals(p)
	}
}

// seen tells whether the rows of a member that the fault befell and of one that it did not are not the same, as far as
// both are comparable.
func (m *maker) seen(p *Parting) bool {
	for i, x := range m.c.Members {
		for j, o := range m.c.Members {
			if p.Fault.on(i) && !p.Fault.on(j) && m.differ(x, o) {
				return true
			}
		}
	}
	return false
}

func (m *maker) differ(x, o *Member) bool {
	at := min(x.hist.data(), o.hist.data())
	if at == o.hist.data() {
		x, o = o, x // x stopped first
	}
	c := max(x.hist.compact, o.hist.compact)
	rx, ro := x.hist.at(at), o.hist.at(at)
	if c <= min(rx, ro) {
		return rx != ro || !sameRows(comparable(x.hist.dump["key"], c, rx), comparable(o.hist.dump["key"], c, ro))
	}
	// The other one has compacted more than x ever had: what it kept of that time x must have, too.
	last := map[string]Row{}
	for _, r := range x.hist.dump["key"] {
		last[keyOf(r)] = r
	}
	for _, r := range comparable(o.hist.dump["key"], c, c) {
		if mvcc.BytesToRev(r.Key).Main <= min(rx, ro) && !sameRows([]Row{last[keyOf(r)]}, []Row{r}) {
			return true
		}
	}
	return false
}

// data is the last entry applied, whatever the db claims.
func (h *history) data() uint64 { return h.applied }

// at is the revision once an entry was applied.
func (h *history) at(index uint64) int64 {
	rev := int64(1)
	for _, e := range h.effects {
		if e.Index > index {
			break
		}
		rev = e.After
	}
	return rev
}

// equals is the range of entries next to the parting's that wrote the same.
func (m *maker) equals(p *Parting) (lo, hi uint64) {
	effs := m.c.Members[p.Fault.Members[0]].hist.effects
	at := slices.IndexFunc(effs, func(e Effect) bool { return e.Index == p.Index && e.After > e.Before })
	lo, hi = p.Index, p.Index
	if at < 0 {
		return lo, hi
	}
	for _, dir := range []int{-1, 1} {
		for n := at + dir; n >= 0 && n < len(effs); n += dir {
			if effs[n].After == effs[n].Before {
				continue
			}
			if !sameContent(effs[n].Rows, effs[at].Rows) {
				break
			}
			lo, hi = min(lo, effs[n].Index), max(hi, effs[n].Index)
		}
	}
	return lo, hi
}

// witness fills in who saw what of the parting, and whether the entry can be named.
func (m *maker) witness(p *Parting, rev int64) {
	f := p.Fault
	by := map[string][]string{}
	var sigs []string
	oddKnown, evenKnown := false, false
	odd, healthy := false, false
	even := map[string]bool{}
	for i := range m.c.Members {
		if !m.befallen(i, p.Index) {
			even[m.signature(i, p.Index)] = true
		}
	}
	for i, x := range m.c.Members {
		if x.hist.index < p.Index {
			p.Unknown = append(p.Unknown, x.Label)
			continue
		}
		sig := m.signature(i, p.Index)
		if even[sig] || !m.befallen(i, p.Index) {
			sig = "as it should" // nothing befell it, or nothing came of that
		}
		if by[sig] == nil {
			sigs = append(sigs, sig)
		}
		by[sig] = append(by[sig], x.Label)
		before := m.before(x, p.Index)
		known := x.hist.compact <= before
		if !known {
			p.Unknown = append(p.Unknown, x.Label)
		}
		if f.on(i) {
			odd, oddKnown = true, oddKnown || known
		} else {
			healthy, evenKnown = true, evenKnown || known
		}
	}
	var gs [][]string
	for _, s := range sigs {
		gs = append(gs, by[s])
	}
	p.Groups = bySize(gs...)
	if len(gs) > 2 {
		p.Layers = append(p.Layers, "apply", "storage") // another fault is in it
	}
	p.Required = odd && healthy && len(gs) > 1 && m.seen(p)
	p.Named = oddKnown && evenKnown
	if p.Revision == 0 {
		p.Revision = m.revision(p)
	}
	p.compacted = p.Revision <= m.compact()
	in := slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.holds(p.Index) })
	if !in {
		p.Named, p.Purged = false, true
		p.why = "purged"
	} else if !p.Named {
		p.why = "compacted"
	}
	_ = rev
}

// revision is the first one that is not the same: that of the entry, or of its second application.
func (m *maker) revision(p *Parting) int64 {
	again := p.Fault.Kind == Twice || p.Fault.Kind == Replay
	var rev int64
	for i, x := range m.c.Members {
		seen := false
		for _, e := range x.hist.effects {
			if e.Index != p.Index {
				continue
			}
			if e.After > e.Before && (!again || seen && p.Fault.on(i)) && (rev == 0 || e.After < rev) {
				rev = e.After
			}
			seen = true
		}
	}
	return rev
}

// before is a member's revision before an entry.
func (m *maker) before(x *Member, index uint64) int64 {
	for _, e := range x.hist.effects {
		if e.Index == index {
			return e.Before
		}
	}
	// It was not applied: what was there after the one before it.
	rev := int64(1)
	for _, e := range x.hist.effects {
		if e.Index < index {
			rev = max(rev, e.After)
		}
	}
	return rev
}

// befallen tells whether a fault befell a member at an entry.
func (m *maker) befallen(i int, index uint64) bool {
	return slices.ContainsFunc(m.c.Faults, func(f *Fault) bool {
		return f.on(i) && (f.Index <= index && index < f.Index+uint64(max(f.Count, 1)) || f.Kind == Banned && f.Index <= index)
	})
}

// signature is what a member did at an entry, and what was done to it there. That of members that nothing befell is
// taken for one: they agree with each other, whatever their own state led to.
func (m *maker) signature(i int, index uint64) string {
	var b strings.Builder
	for _, e := range m.c.Members[i].hist.effects {
		if e.Index != index || len(e.Rows) == 0 && !e.Tables {
			continue
		}
		for _, r := range e.Rows {
			b.WriteString(content(r))
		}
		fmt.Fprintf(&b, "|%v;", e.Tables)
	}
	for _, f := range m.c.Faults {
		if f.on(i) && f.Index == index && slices.Contains(edited, f.Kind) {
			fmt.Fprintf(&b, "%s %d", f.Kind, f.seed)
		}
	}
	return b.String()
}

// content is what a row says of its key, whatever the revision.
func content(r Row) string {
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(r.Value, &kv); err != nil {
		panic(err)
	}
	if mvcc.IsTombstone(r.Key) {
		return fmt.Sprintf("delete %q\n", kv.Key)
	}
	return fmt.Sprintf("put %q=%q lease %d\n", kv.Key, kv.Value, kv.Lease)
}

func sameContent(a, b []Row) bool {
	return slices.EqualFunc(a, b, func(x, y Row) bool { return content(x) == content(y) })
}

// comparable is what is left of rows after a compaction at compact, up to a revision.
func comparable(rows []Row, compact, upTo int64) []Row {
	var out []Row
	last := map[string]int{}
	for i, r := range rows {
		rev := mvcc.BytesToRev(r.Key)
		if rev.Main > compact {
			break
		}
		last[keyOf(r)] = i
	}
	for i, r := range rows {
		rev := mvcc.BytesToRev(r.Key)
		if rev.Main > upTo || rev.Main <= compact && (last[keyOf(r)] != i || mvcc.IsTombstone(r.Key)) {
			continue
		}
		out = append(out, r)
	}
	return out
}

func keyOf(r Row) string {
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(r.Value, &kv); err != nil {
		panic(err)
	}
	return string(kv.Key)
}

func sameRows(a, b []Row) bool {
	return slices.EqualFunc(a, b, func(x, y Row) bool { return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value) })
}

// family is the layer of a table.
var family = map[string]string{
	"lease": "lease", "auth": "auth", "authUsers": "auth", "authRoles": "auth", "alarm": "alarm",
	"members": "membership", "members_removed": "membership", "cluster": "meta",
}

// tablesDiffer lists the layers of which tables are not the same.
func tablesDiffer(a, b dump) []string {
	var layers []string
	for name, layer := range family {
		x, y := a[name], b[name]
		same := sameRows(x, y)
		if name == "lease" || name == "members" {
			// Times that remain, and what members say of themselves, are not compared.
			same = slices.EqualFunc(x, y, func(x, y Row) bool { return bytes.Equal(x.Key, y.Key) })
		}
		if name == "authUsers" {
			same = slices.EqualFunc(x, y, func(x, y Row) bool { return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value) })
		}
		if !same && !slices.Contains(layers, layer) {
			layers = append(layers, layer)
		}
	}
	slices.Sort(layers)
	return layers
}

func (m *maker) appliedParting(p *Parting) (*Parting, error) {
	f := p.Fault
	i := f.Members[0]
	x := m.c.Members[i]
	if x.hist.index < f.Index {
		return nil, nil // it stopped before
	}
	base, err := m.without(i, f)
	if err != nil {
		return nil, err
	}
	p.Index = canonical(f, x.hist, base)
	p.Lo, p.Hi = p.Index, p.Index
	for n := range uint64(max(f.Count, 1)) {
		p.Others[f.Index+n] = f.Kind == Replay || f.Kind == LostTail
	}
	for _, e := range m.w.log[f.Index-1:] {
		if f.Kind == Banned && e.Request.GetHeader().GetUsername() == f.User {
			p.Others[e.Index] = true
		}
	}
	c := m.compact()
	rows := !sameRows(comparable(x.hist.clean["key"], c, x.hist.rev), comparable(base.dump["key"], c, base.rev))
	tables := tablesDiffer(x.hist.clean, base.dump)
	if !rows && x.hist.rev == base.rev && len(tables) == 0 {
		return nil, nil
	}
	if !rows && x.hist.rev == base.rev {
		m.tableParting(p)
		p.Layers = append(slices.Clone(tables), "apply")
		if slices.Equal(tables, []string{"meta"}) {
			p.Required = false
		}
		return p, m.alternatives(p, base)
	}
	switch f.Kind {
	case Extra:
		p.Layers = []string{"storage", "apply"}
	case WrongLease, Half:
		p.Layers = []string{"storage", "apply"}
	default:
		p.Layers = append([]string{"apply"}, tables...)
	}
	m.witness(p, 0)
	if f.Kind == Extra {
		p.Named = false // no entry made it
		for _, e := range x.hist.effects {
			if e.Index == 0 {
				p.Revision = e.After
			}
		}
		m.extraGroups(p)
	}
	if f.Kind != Extra && !m.writes(x.hist, base, p.Index) {
		// A table parted first, and keys in consequence.
		p.why += " through tables"
		p.Layers = append(p.Layers, tablesOf(m, base, p.Index)...)
	}
	if err := m.alternatives(p, base); err != nil {
		return nil, err
	}
	for _, x := range m.c.Members {
		if x.hist.index < p.Hi && !slices.Contains(p.Unknown, x.Label) {
			p.Unknown = append(p.Unknown, x.Label) // it has come to some of them only
		}
	}
	return p, nil
}

// extraGroups are who has the revision and who has not.
func (m *maker) extraGroups(p *Parting) {
	var odd, even []string
	for i, x := range m.c.Members {
		switch {
		case x.hist.index < p.Index:
		case p.Fault.on(i):
			odd = append(odd, x.Label)
		default:
			even = append(even, x.Label)
		}
	}
	p.Groups = bySize(odd, even)
	p.Required = len(odd) > 0 && len(even) > 0 && m.seen(p)
	for _, i := range p.Fault.Members {
		for _, e := range m.c.Members[i].hist.effects {
			if e.Index == 0 && e.After != p.Revision && m.c.Members[i].hist.index >= p.Index {
				p.shifted = true
			}
		}
	}
}

// writes tells whether an entry wrote other rows with the fault than without it.
func (m *maker) writes(h, base *history, index uint64) bool {
	var a, b []Row
	for _, e := range h.effects {
		if e.Index == index {
			a = append(a, e.Rows...)
		}
	}
	for _, e := range base.effects {
		if e.Index == index {
			b = append(b, e.Rows...)
		}
	}
	return !sameContent(a, b)
}

// tablesOf guesses the layer from the entry's kind.
func tablesOf(m *maker, _ *history, index uint64) []string {
	if index == 0 || index > uint64(len(m.w.log)) {
		return nil
	}
	return []string{layerOf(m.w.log[index-1].Kind)}
}

func layerOf(kind string) string {
	switch {
	case strings.HasPrefix(kind, "Lease"):
		return "lease"
	case strings.HasPrefix(kind, "Auth"):
		return "auth"
	case kind == "Alarm":
		return "alarm"
	case strings.HasPrefix(kind, "ConfChange"), kind == "ClusterMemberAttrSet":
		return "membership"
	}
	return "meta"
}

// canonical is the entry that a fault is to be known by: of several entries, the first that had, or lacked, an effect.
func canonical(f *Fault, h, base *history) uint64 {
	switch f.Kind {
	case LostTail:
		for _, e := range base.effects {
			if e.Index >= f.Index && e.Index < f.Index+uint64(f.Count) && (e.After > e.Before || e.Tables) {
				return e.Index
			}
		}
	case Banned:
		for _, e := range base.effects {
			if e.Index < f.Index || e.After == e.Before && !e.Tables {
				continue
			}
			if !slices.ContainsFunc(h.effects, func(o Effect) bool { return o.Index == e.Index }) {
				return e.Index
			}
		}
	case Replay, Twice:
		// The first one that made an extra revision, or if none did, that changed a table.
		for _, revisions := range []bool{true, false} {
			seen := map[uint64]bool{}
			for _, e := range h.effects {
				in := e.Index >= f.Index && e.Index < f.Index+uint64(max(f.Count, 1))
				if in && seen[e.Index] && (e.After > e.Before || !revisions && e.Tables) {
					return e.Index
				}
				seen[e.Index] = true
			}
		}
	}
	return f.Index
}

// tableParting is one that shows in a small table only.
func (m *maker) tableParting(p *Parting) {
	f := p.Fault
	var odd, even []string
	for i, x := range m.c.Members {
		if f.on(i) {
			odd = append(odd, x.Label)
		} else {
			even = append(even, x.Label)
		}
	}
	p.Groups = bySize(odd, even)
	switch f.Kind {
	case LostLease, ExtraLease:
		p.Layers = []string{"lease"}
	case AuthBump, MissingUser:
		p.Layers = []string{"auth"}
	}
	p.Named = !slices.Contains(edited, f.Kind) && slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.holds(p.Index) })
	p.Required = true
	// Entries that not all have reached may explain a difference in their table.
	kind := ""
	if p.Index > 0 {
		kind = layerOf(m.w.log[p.Index-1].Kind)
	} else if len(p.Layers) > 0 {
		kind = p.Layers[0]
	}
	for _, e := range m.w.log[m.common:] {
		if layerOf(e.Kind) == kind {
			p.Required = false
			p.why = "pending entries"
		}
	}
	for i, x := range m.c.Members {
		if f.on(i) && x.hist.index < p.Index {
			p.Required = false
		}
		if x.hist.index < p.Index {
			p.Unknown = append(p.Unknown, x.Label)
		}
	}
}

// alternatives runs the fault at other entries that may come to the same: where the db comes out the same, nothing tells
// which of them it was.
func (m *maker) alternatives(p *Parting, base *history) error {
	f := p.Fault
	i := f.Members[0]
	x := m.c.Members[i]
	// try runs g instead of f.
	try := func(g *Fault) (bool, error) {
		last := g.Index + uint64(max(g.Count, 1)) - 1
		if g.Index <= uint64(m.n) || g.Kind == Replay && last > x.sc.upTo {
			return false, nil
		}
		if (g.Kind == Half || g.Kind == Branch) && m.w.log[g.Index-1].Request.GetTxn() == nil {
			return false, nil
		}
		h, err := m.rerun(i, func(fs []*Fault) []*Fault {
			fs[slices.Index(fs, f)] = g
			return fs
		})
		if err != nil || !h.dump.same(x.hist.clean) {
			return false, err
		}
		c := canonical(g, h, base)
		p.Lo, p.Hi = min(p.Lo, c), max(p.Hi, c)
		return true, nil
	}
	switch f.Kind {
	case LostTail:
		if err := m.tails(f, base, try); err != nil {
			return err
		}
		p.widest, p.Lo = p.Lo, p.Index // entries in a row are the simpler reading
		return m.windows(f, base, try)
	case Replay:
		return m.windows(f, base, try)
	case Extra:
		return nil
	}
	g := *f
	if f.Kind == Banned {
		// A ban on one request only is one that was skipped.
		g.Kind, g.Index = Skip, p.Index
		if same, err := try(&g); err != nil || !same {
			return err
		}
	}
	at := slices.IndexFunc(x.hist.effects, func(e Effect) bool { return e.Index == g.Index && (e.After > e.Before || e.Tables) })
	if at < 0 {
		g.Kind = Skip // it comes to that
	}
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == g.Index })
	if n < 0 || g.Kind == WrongLease {
		return nil
	}
	if base.effects[n].After == base.effects[n].Before {
		return m.sameTable(&g, base, try)
	}
	for _, dir := range []int{-1, 1} {
		runs := 0
		for k := n + dir; k >= 0 && k < len(base.effects) && runs < 12; k += dir {
			e := &base.effects[k]
			if e.After == e.Before {
				continue
			}
			runs++
			same, err := try(g.at(e.Index))
			if err != nil {
				return err
			}
			if !same && !sameContent(e.Rows, base.effects[n].Rows) {
				break
			}
		}
	}
	return nil
}

// windows tries other runs of entries.
func (m *maker) windows(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	var all []*Fault
	add := func(index uint64, count int) {
		if g := f.at(index); index > 0 && count > 0 {
			g.Count = count
			all = append(all, g)
		}
	}
	if f.Kind == LostTail {
		for d := uint64(1); d <= 8 && d < f.Index; d++ {
			add(f.Index-d, f.Count)
		}
	} else {
		for d := uint64(1); d <= uint64(f.Count); d++ {
			add(f.Index+d, f.Count)
			add(f.Index-min(d, f.Index), f.Count)
		}
		// As many entries with an effect, beginning at other ones.
		var at []uint64
		first, n := 0, 0
		for _, e := range base.effects {
			if e.Index > 0 && e.After > e.Before {
				if e.Index < f.Index {
					first++
				} else if e.Index < f.Index+uint64(f.Count) {
					n++
				}
				at = append(at, e.Index)
			}
		}
		for s := max(first-3, 0); s <= first+3; s++ {
			for k := max(n-1, 1); k <= n && s+k <= len(at); k++ {
				add(at[s], int(at[s+k-1]-at[s])+1)
			}
		}
	}
	for _, g := range all {
		if _, err := try(g); err != nil {
			return err
		}
	}
	return nil
}

// tails tries to lose an earlier entry instead of the first one of the tail that had an effect.
func (m *maker) tails(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	first := canonical(f, base, base)
	n := slices.IndexFunc(base.effects, func(e Effect) bool { return e.Index == first })
	for k := n - 1; k >= max(n-8, 0); k-- {
		e := &base.effects[k]
		if e.After == e.Before {
			continue
		}
		if !sameContent(e.Rows, base.effects[n].Rows) {
			break
		}
		g := *f
		g.Index, g.spare = e.Index, first
		g.Count = int(f.Index) + f.Count - int(e.Index)
		if _, err := try(&g); err != nil {
			return err
		}
	}
	return nil
}

// sameTable tries other entries that change the same table.
func (m *maker) sameTable(f *Fault, base *history, try func(*Fault) (bool, error)) error {
	layer := layerOf(m.w.log[f.Index-1].Kind)
	var at []uint64
	for _, e := range base.effects {
		if e.Index > 0 && e.Index != f.Index && e.Tables && layerOf(m.w.log[e.Index-1].Kind) == layer {
			at = append(at, e.Index)
		}
	}
	slices.SortFunc(at, func(a, b uint64) int { return int(distance(a, f.Index)) - int(distance(b, f.Index)) })
	for _, j := range at[:min(len(at), 30)] {
		if _, err := try(f.at(j)); err != nil {
			return err
		}
	}
	return nil
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

func (d dump) same(o dump) bool {
	if !sameRows(d["key"], o["key"]) {
		return false
	}
	for name := range family {
		if !sameRows(d[name], o[name]) {
			return false
		}
	}
	return true
}

// view is what etcd shows of rows at a revision.
func view(rows []Row, at int64) map[string]string {
	live := map[string]string{}
	for _, r := range rows {
		if mvcc.BytesToRev(r.Key).Main > at {
			break
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(r.Value, &kv); err != nil {
			panic(err)
		}
		if mvcc.IsTombstone(r.Key) {
			delete(live, string(kv.Key))
		} else {
			live[string(kv.Key)] = fmt.Sprintf("%d/%s", kv.Lease, kv.Value)
		}
	}
	return live
}

func (m *maker) keys(t *Truth) {
	t.Keys = map[string]string{}
	if t.torn {
		return
	}
	var views []map[string]string
	for _, x := range m.c.Members {
		if x.hist.compact == x.hist.note.rev && x.hist.rev > x.hist.compact {
			return // whether the common index lies before or behind the compaction is a close call
		}
	}
	for i, x := range m.c.Members {
		if x.hist.note.index == 0 || x.hist.compact > x.hist.note.rev {
			continue
		}
		v := view(x.hist.dump["key"], x.hist.note.rev)
		if !slices.ContainsFunc(m.c.Faults, func(f *Fault) bool { return f.on(i) && slices.Contains(edited, f.Kind) }) && !mapsEqual(v, x.hist.note.live) {
			panic(fmt.Sprintf("seed %d: member %s: the db does not show what the store showed", m.seed, x.Label))
		}
		views = append(views, v)
	}
	if len(views) < 2 {
		return
	}
	t.KeysKnown = true
	all := map[string]bool{}
	for _, v := range views {
		for k := range v {
			all[k] = true
		}
	}
	for k := range all {
		first, have := views[0][k]
		for _, v := range views[1:] {
			s, ok := v[k]
			switch l0, v0, _ := strings.Cut(first, "/"); {
			case ok != have:
				t.Keys[k] = "missing"
			case !ok || t.Keys[k] == "missing":
			default:
				l, val, _ := strings.Cut(s, "/")
				if val != v0 {
					t.Keys[k] = "value"
				} else if l != l0 && t.Keys[k] == "" {
					t.Keys[k] = "lease"
				}
			}
		}
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func (m *maker) leases(t *Truth) {
	touched := map[int64]bool{}
	note := m.c.Members[0].hist.note.index
	for _, x := range m.c.Members {
		for _, e := range x.log[note:] {
			if g := e.Request.GetLeaseGrant(); g != nil {
				touched[g.ID] = true
			}
			if g := e.Request.GetLeaseRevoke(); g != nil {
				touched[g.ID] = true
			}
		}
	}
	count := map[int64]int{}
	for _, x := range m.c.Members {
		for _, r := range x.hist.dump["lease"] {
			var l int64
			for _, b := range r.Key {
				l = l<<8 | int64(b)
			}
			count[l]++
		}
	}
	for id, n := range count {
		if n != len(m.c.Members) {
			t.Leases[id] = !touched[id]
		}
	}
}
