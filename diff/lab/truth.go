package lab

import (
	"bytes"
	"fmt"
	"maps"
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
	copied    bool // some copy may be of several moments
	Behind    bool // a member's consistent index is not that of its data
	// Strangers is true if what some member shows lies before all that others show, or behind it: little of it can be compared.
	Strangers bool
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
	Revision      int64            // of the entry, or what was stored, on the member
	revisions     map[string]int64 // likewise on each member: an earlier fault of one may have shifted them
	Groups        [][]string
	Unknown       []string // members that may be missing from the groups
	Others        map[uint64]bool
	why           string
	widest        uint64   // where an interval may begin, 0 for Lo
	also          []*Fault // at the same entry
	shifted       bool     // not the same revision on all members with the fault
	aheads        []int    // members on which it is as if the consistent index was left behind
	restarted     bool     // only that of its entries with which entries were applied again behind a restart
	compacted     bool     // its revision is at or below the highest compact revision
	lonely        bool     // one member alone shows it
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
	if err := m.begunInTables(t); err != nil {
		return err
	}
	if err := m.repeatedInTables(t); err != nil {
		return err
	}
	if err := m.neverGranted(t); err != nil {
		return err
	}
	m.torn(t)
	m.parted(t)
	m.overlaid(t)
	for _, p := range t.Partings {
		m.blur(p)
	}
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
	t.Strangers = m.strangers()
	if err := m.keys(t); err != nil {
		return err
	}
	if t.Verdict == "consistent" {
		clear(t.Keys) // a later entry that writes the same made up for it: nothing tells that it was not the earlier one
	}
	m.leases(t)
	return nil
}

// strangers tells whether the members fall into sets that show no revision in common.
func (m *maker) strangers() bool {
	first := func(x *Member) int64 { return x.hist.compact }
	last := func(x *Member) int64 {
		rows := x.hist.dump["key"]
		if len(rows) == 0 {
			return max(first(x), 1)
		}
		return max(first(x), mvcc.BytesToRev(rows[len(rows)-1].Key).Main)
	}
	met := map[*Member]bool{m.c.Members[0]: true}
	for range m.c.Members {
		for x := range maps.Clone(met) {
			for _, o := range m.c.Members {
				if max(first(x), first(o)) <= min(last(x), last(o)) {
					met[o] = true
				}
			}
		}
	}
	return len(met) < len(m.c.Members)
}

// merge makes one parting of those at the same entry, and of those in the same table.
func (m *maker) merge(t *Truth) {
	var out []*Parting
	for _, p := range t.Partings {
		i := slices.IndexFunc(out, func(o *Parting) bool {
			return o.Index == p.Index && p.Index > 0 && o.unmade() == p.unmade() || sameTable(o.Fault, p.Fault) || m.alike(o, p)
		})
		if i < 0 {
			out = append(out, p)
			continue
		}
		o := out[i]
		if sameTable(o.Fault, p.Fault) {
			o.Required = o.Required || p.Required
			continue
		}
		o.also = append(o.also, p.Fault)
		maps.Copy(o.Others, p.Others)
		if p.Revision > 0 {
			o.Revision = min(o.Revision, p.Revision)
		}
		o.Named, o.Required = o.Named && p.Named, o.Required || p.Required
		o.Layers = append(o.Layers, p.Layers...)
		o.Lo, o.Hi = min(o.Lo, p.Lo), max(o.Hi, p.Hi)
	}
	t.Partings = out
}

// alike tells whether two faults, each of which may lie at the entry of the other, have left the same on all their members: then
// nothing tells that they were two.
func (m *maker) alike(p, o *Parting) bool {
	all := slices.Concat(p.Fault.Members, o.Fault.Members)
	return p.Lo < p.Hi && p.Lo == o.Lo && p.Hi == o.Hi && !slices.ContainsFunc(all, func(i int) bool { return !m.c.Members[all[0]].holdsAs(m.c.Members[i]) })
}

// unmade tells whether what parted the members is a revision that no entry made, which shows by itself.
func (p *Parting) unmade() bool { return p.Fault.Kind == Extra && p.why == "" }

// sameTable tells whether two faults edit the same table of the same members: that is one difference of tables.
func sameTable(a, b *Fault) bool {
	return a.Kind.table() && b.Kind.table() && a.layer() == b.layer() && slices.Equal(a.Members, b.Members)
}

// torn leaves open what tables show of a copy that may be of several moments.
func (m *maker) torn(t *Truth) {
	t.copied = slices.ContainsFunc(t.Partings, func(p *Parting) bool { return p.why == "torn" })
	if t.copied {
		for _, p := range t.Partings {
			if p.Fault.Kind.table() {
				p.Required, p.why = false, "of a copy that may be torn"
			}
		}
	}
}

// parted leaves open whether members on the other side of an earlier fork are grouped with those on the faulty one's.
func (m *maker) parted(t *Truth) {
	for _, p := range t.Partings {
		for _, f := range m.c.Faults {
			// Where no log shows what came just before a fork, it may have been before anything else.
			if f.Kind != Fork && f.Kind != Tamper || p.Fault == f || p.Index <= f.Index && (f.Kind == Tamper || m.meet(f)) {
				continue
			}
			for i, x := range m.c.Members {
				if f.on(i) != f.on(p.Fault.Members[0]) {
					p.Unknown = append(p.Unknown, x.Label)
				}
			}
			if f.Kind == Fork && p.Index > f.Index && !slices.ContainsFunc(m.c.Members, func(x *Member) bool {
				return f.on(slices.Index(m.c.Members, x)) == f.on(p.Fault.Members[0]) && x.holds(p.Index)
			}) {
				// The other side's log does not say what this side's entry asked for.
				p.Required, p.Named, p.why = false, false, "its side of the fork holds no such entry"
			}
		}
	}
}

// overlaid leaves open with whom members are grouped that have another fault at the same entry, which began at another
// one: that is told there.
func (m *maker) overlaid(t *Truth) {
	for _, p := range t.Partings {
		for _, f := range m.c.Faults {
			if f == p.Fault || slices.Contains(p.also, f) || p.Index == 0 || !m.covers(f, p.Index) {
				continue
			}
			for _, i := range f.Members {
				p.Unknown = append(p.Unknown, m.c.Members[i].Label)
			}
		}
	}
}

// blur leaves open what a fault did to a small table that was edited besides: the two together may come to what another
// fault does.
func (m *maker) blur(p *Parting) {
	switch p.Fault.Kind {
	case LostTail:
		m.blurTail(p)
	case Replay, Twice:
		// A raised auth revision is as if more auth entries had been applied again, and which is not to be told.
		if p.Required && m.layerAt(p.Index) == "auth" && m.effect(p.Index).After == m.effect(p.Index).Before && m.bumped(p.Fault) {
			p.Named, p.why = false, "the auth revision was raised besides"
		}
	case Skip, Refused, Banned:
		// By a raised auth revision a member refuses all requests of users: they are what that leads to.
		if p.Required && m.bumped(p.Fault) && m.fromUser(p.Index) && !m.served(p) {
			p.Required, p.why = false, "as its auth revision demands"
		}
	}
}

// bumped tells whether a member with a fault has a raised auth revision besides.
func (m *maker) bumped(f *Fault) bool {
	return m.editedBesides(f, func(o *Fault) bool { return o.Kind == AuthBump })
}

// editedBesides tells whether some edit was made on a member with a fault.
func (m *maker) editedBesides(f *Fault, kind func(*Fault) bool) bool {
	return slices.ContainsFunc(m.c.Faults, func(o *Fault) bool { return kind(o) && slices.ContainsFunc(o.Members, f.on) })
}

// layerAt is the layer of the table that an entry changes.
func (m *maker) layerAt(index uint64) string { return layerOf(m.w.log[index-1].Kind) }

// fromUser tells whether an entry was asked for by a user.
func (m *maker) fromUser(index uint64) bool {
	return m.w.log[index-1].Request.GetHeader().GetUsername() != ""
}

// served tells whether a request of a user had an effect on keys on a member with a fault, from its entry on.
func (m *maker) served(p *Parting) bool {
	return slices.ContainsFunc(p.Fault.Members, func(i int) bool {
		return slices.ContainsFunc(m.c.Members[i].hist.effects, func(e Effect) bool {
			return e.Index >= p.Index && e.After > e.Before && m.fromUser(e.Index)
		})
	})
}

// begunInTables leaves open whether a lost tail began with the entry before it whose row was taken out of a table afterwards:
// then one thing went wrong rather than two.
func (m *maker) begunInTables(t *Truth) error {
	for _, p := range t.Partings {
		f := p.Fault
		for _, o := range t.Partings {
			if f.Kind != LostTail || !o.Fault.Kind.table() || !slices.Equal(o.Fault.Members, f.Members) {
				continue
			}
			i := slices.Index(m.c.Members, m.struck(f))
			x := m.c.Members[i].hist
			for u := p.Index - 1; u > uint64(m.n) && distance(u, p.Index) < 8; u-- {
				if m.layerAt(u) != o.Fault.layer() || !m.effect(u).Tables {
					continue
				}
				h, err := m.rerun(i, func(fs []*Fault) []*Fault {
					g := f.at(u)
					g.Count += int(f.Index - min(u, f.Index))
					fs[slices.Index(fs, f)] = g
					return fs
				})
				if err != nil {
					return err
				}
				if sameRows(h.dump["key"], x.clean["key"]) && len(tablesDiffer(h.dump, x.dump)) == 0 {
					o.Required, o.why = false, "as if the tail had begun there"
					p.Lo, p.Named, p.why = u, false, "as if it began with what was edited"
				}
			}
		}
	}
	return nil
}

// neverGranted leaves open whether an entry was left out by itself on members that lost a lease which it wants: had that never been
// granted, the entry would have been refused, and one thing went wrong rather than two.
func (m *maker) neverGranted(t *Truth) error {
	for _, p := range t.Partings {
		f := p.Fault
		for _, o := range t.Partings {
			if f.Kind != Skip && f.Kind != Refused || o.Fault.Kind != LostLease || o.Index >= p.Index || !slices.Equal(o.Fault.Members, f.Members) {
				continue
			}
			i := slices.Index(m.c.Members, m.struck(f))
			x := m.c.Members[i].hist
			h, err := m.rerun(i, func(fs []*Fault) []*Fault {
				g := f.at(o.Index)
				g.Kind, g.Count = Skip, 0
				fs[slices.Index(fs, f)] = g
				return fs
			})
			if err != nil {
				return err
			}
			if sameRows(h.dump["key"], x.clean["key"]) && len(tablesDiffer(h.dump, x.dump)) == 0 {
				p.Required, p.Named, p.why = false, false, "as if the lease had never been granted"
			}
		}
	}
	return nil
}

// repeatedInTables leaves open whether the auth revision was raised by itself, if entries were applied again besides: one of the
// auth entries near them may have been so, too, and then one thing went wrong rather than two.
func (m *maker) repeatedInTables(t *Truth) error {
	for _, p := range t.Partings {
		f := p.Fault
		for _, o := range t.Partings {
			if f.Kind != Replay && f.Kind != Twice || o.Fault.Kind != AuthBump || !slices.Equal(o.Fault.Members, f.Members) {
				continue
			}
			i := slices.Index(m.c.Members, m.struck(f))
			x := m.c.Members[i]
			last := f.Index + uint64(max(f.Count, 1)) - 1
			for u := p.Index - min(p.Index-1, 8); u <= min(last+8, x.sc.upTo); u++ {
				if m.layerAt(u) != "auth" {
					continue
				}
				h, err := m.rerun(i, func(fs []*Fault) []*Fault {
					g := f.at(min(u, f.Index))
					g.Kind, g.Count = Replay, int(max(u, last)-g.Index)+1
					fs[slices.Index(fs, f)] = g
					return fs
				})
				if err != nil {
					return err
				}
				if sameRows(h.dump["key"], x.hist.clean["key"]) && len(tablesDiffer(h.dump, x.hist.dump)) == 0 {
					o.Required, o.why = false, "as if an auth entry had been applied again with others"
					p.Lo, p.Hi = min(p.Lo, u), max(p.Hi, u)
				}
			}
		}
	}
	return nil
}

// blurTail leaves open whether the first entries of a lost tail are named that change a table which was edited besides:
// what they did to it does not show.
func (m *maker) blurTail(p *Parting) {
	f := p.Fault
	// By a raised auth revision a member refuses all that users write. What else was lost, if it is one entry at most, is told by
	// itself: as many things went wrong then as with a lost tail and an edited table.
	if p.Required && m.bumped(f) && !m.served(p) && m.unrefused(p) <= 1 {
		p.Required, p.why = false, "as its auth revision demands"
		return
	}
	if m.effect(p.Index).After > m.effect(p.Index).Before || !m.editedBesides(f, func(o *Fault) bool {
		return o.Kind.table() && o.layer() == m.layerAt(p.Index)
	}) {
		return
	}
	for x := p.Index + 1; x < f.Index+uint64(f.Count); x++ {
		if e := m.effect(x); e.After > e.Before || e.Tables && m.layerAt(x) != m.layerAt(p.Index) {
			p.Hi = max(p.Hi, x)
			break
		}
	}
	p.Named, p.why = false, "its table was edited besides"
}

// unrefused is how many entries of a lost tail had an effect elsewhere that no auth revision keeps a user from: an administrator may
// revoke leases, and anyone may grant them.
func (m *maker) unrefused(p *Parting) (n int) {
	f := p.Fault
	for x := p.Index; x < f.Index+uint64(f.Count); x++ {
		if e := m.effect(x); e.traced() && (!m.fromUser(x) || e.Tables) {
			n++
		}
	}
	return n
}

// layer is the layer of the table that a fault of its kind edits.
func (f *Fault) layer() string {
	if f.Kind == LostLease || f.Kind == ExtraLease {
		return "lease"
	}
	return "auth"
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

// kept is what is left of rows after a compaction at compact, up to a revision.
func kept(rows []Row, compact, upTo int64) []Row {
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
		if !same && !slices.Contains(layers, layer) {
			layers = append(layers, layer)
		}
	}
	slices.Sort(layers)
	return layers
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

func (m *maker) keys(t *Truth) error {
	t.Keys = map[string]string{}
	if t.torn {
		return nil
	}
	var views []map[string]string
	for _, x := range m.c.Members {
		if x.hist.compact == x.hist.note.rev && x.hist.rev > x.hist.compact {
			return nil // whether the common index lies before or behind the compaction is a close call
		}
	}
	if slices.ContainsFunc(m.c.Members, func(x *Member) bool { return x.hist.extraAt(x.hist.note.index) }) {
		return nil // whether a revision that no entry made came before or behind the common index is a close call, too
	}
	for i, x := range m.c.Members {
		if x.hist.note.index == 0 || x.hist.compact > x.hist.note.rev || m.astray(i) {
			continue
		}
		rev, err := m.revisionAtNote(t, i)
		if err != nil {
			return err
		}
		v := view(x.hist.dump["key"], rev)
		if rev == x.hist.note.rev && !slices.ContainsFunc(m.c.Faults, func(f *Fault) bool { return f.on(i) && slices.Contains(edited, f.Kind) }) && !mapsEqual(v, x.hist.note.live) {
			panic(fmt.Sprintf("seed %d: member %s: the db does not show what the store showed", m.seed, x.Label))
		}
		views = append(views, v)
	}
	if len(views) < 2 {
		return nil
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
	return nil
}

// revisionAtNote is the revision of member i at the common index. A fault that left no trace may as well not have been.
func (m *maker) revisionAtNote(t *Truth, i int) (int64, error) {
	var traceless []*Fault
	for _, f := range m.c.Faults {
		told := slices.ContainsFunc(t.Partings, func(p *Parting) bool { return p.Fault == f || slices.Contains(p.also, f) })
		if f.on(i) && !told && f.Kind != Behind && f.Kind != Fork && f.Kind != Tamper && !slices.Contains(edited, f.Kind) {
			traceless = append(traceless, f)
		}
	}
	rev := m.c.Members[i].hist.note.rev
	if len(traceless) == 0 {
		return rev, nil
	}
	h, err := m.comesTo(i, func(fs []*Fault) []*Fault {
		return slices.DeleteFunc(fs, func(f *Fault) bool { return slices.Contains(traceless, f) })
	})
	if err == nil && h != nil {
		rev = h.note.rev
	}
	return rev, err
}

// astray tells whether no log that is left shows how member i came to the common index: those of its side of a fork begin
// behind it, and the other side's are not known to be its own so far.
func (m *maker) astray(i int) bool {
	x := m.c.Members[i]
	if x.hist.index == x.hist.note.index {
		return false
	}
	return slices.ContainsFunc(m.c.Faults, func(f *Fault) bool {
		if f.Kind != Fork || f.Index > x.hist.note.index && m.meet(f) {
			return false
		}
		for j, o := range m.c.Members {
			if f.on(i) == f.on(j) && o.wals.first <= x.hist.note.index+1 {
				return false
			}
		}
		return true
	})
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
	touched, unheard := map[int64]bool{}, false
	for _, e := range m.w.log[m.lowest():] {
		unheard = unheard || m.unheard(e.Index)
	}
	for _, x := range m.c.Members {
		for _, e := range x.log[m.lowest():] {
			if g := e.Request.GetLeaseGrant(); g != nil {
				touched[g.ID] = true
			}
			if g := e.Request.GetLeaseRevoke(); g != nil {
				touched[g.ID] = true
			}
		}
	}
	for id, n := range m.leased() {
		if n != len(m.c.Members) {
			t.Leases[id] = !touched[id] && !unheard && !t.copied
		}
	}
}

// leased counts the members that hold each lease.
func (m *maker) leased() map[int64]int {
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
	return count
}
