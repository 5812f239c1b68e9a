package recovery

import (
	"context"
	"fmt"
	"slices"

	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// verdict is what comparing a made state with copies comes to.
type verdict struct {
	// departs says where a copy holds something else than was made: it is not that copy's life. Empty if it does not.
	departs string
	proven  bool
	from    int64 // the first revision that is proven, 0 for all
	proof   []string
	notes   []string
}

// verify compares a made state with the copy whose life it is, or where there is none with the others of the same log.
func (p *planner) verify(ctx context.Context, x *made, index uint64) (*verdict, error) {
	v := &verdict{proven: true}
	if x.entries > 0 {
		v.proof = append(v.proof, fmt.Sprintf("%s run by etcd's own applier (%s)", plural(x.entries, "entry was", "entries were"), x.res.Rules))
	}
	if x.of == p.m && x.entries == 0 {
		return v, p.runOn(ctx, x, index, v)
	}
	if x.of != nil {
		v.from = x.st.Revision + 1 // what is run; its base is as a file has it
		if x.of == p.m {
			if from := p.ledger.ShownFrom(p.i); from > 0 {
				v.from = min(v.from, from)
			}
		}
	}
	seen := false // a copy that holds it
	for _, i := range append([]int{p.i}, p.otherMembers()...) {
		m := p.q.Members[i]
		if m.DB == nil || !m.DB.HasKeys || m != p.m && (seen || !p.sameHistory(i)) {
			continue
		}
		c := p.compare(x, m)
		switch {
		case c.compared == 0:
		case c.differ == 0:
			seen = true
			v.proof = append(v.proof, fmt.Sprintf("%s of it that %s holds: all the same", plural(c.compared, "row", "rows"), m.Label))
		case m != p.m:
			v.notes = append(v.notes, fmt.Sprintf("%s holds something else from revision %d on", m.Label, c.first))
		case c.agrees && !p.ledger.Departed(i, index):
			seen = true
			v.notes = append(v.notes, fmt.Sprintf("%s of %s, the first one of revision %d, are not those that the log makes: changed or lost in its file; those of the log are written",
				plural(c.differ, "row", "rows"), m.Label, c.first))
		default:
			v.departs = fmt.Sprintf("they part at revision %d", c.first)
			if c.entry > 0 {
				v.departs += fmt.Sprintf(", entry %d", c.entry)
			}
			return v, nil
		}
		// Rows that are the same as far as they go are not enough: what was made may end earlier, or go on.
		if rev, ok := p.ledger.RevisionAt(i, index); ok && m == p.m && c.differ == 0 && rev != x.revision() && m.Evidence().Whole() && index <= m.DB.Tables.ConsistentIndex {
			v.departs = fmt.Sprintf("it comes to revision %d, the copy to revision %d", x.revision(), rev)
			return v, nil
		}
		if m == p.m && m.Evidence().Whole() && index == m.DB.Tables.ConsistentIndex {
			if what := tablesDiffer(&x.res.Final, m.DB.Tables); what != "" && m.DB.Tables.HasTerm {
				v.departs = what
				return v, nil
			}
		}
	}
	switch {
	case seen: // what the base's rows lead to is what a copy holds
	case x.unknown:
		v.proven = false
		v.notes = append(v.notes, fmt.Sprintf("not proven: that %s is of this cluster no file tells", x.what))
	case slices.Contains(p.q.Members, x.of) && x.of != p.m:
		v.proven = false
		v.notes = append(v.notes, fmt.Sprintf("not proven: that %s held what %s held then no file tells", p.m.Label, x.of.Label))
	case x.entries > 0:
		v.notes = append(v.notes, "no copy holds what was made, to compare it with")
	}
	return v, nil
}

// shown says which rows of a copy, up to a revision, its log makes.
func (p *planner) shown(v *verdict, last int64) {
	const read = "every page of the copy was read, and its rows are written as they are"
	from := p.ledger.ShownFrom(p.i)
	switch {
	case p.ledger.Explained(p.i) && !p.ledger.Kept(p.i):
		v.proven = false
		v.notes = append(v.notes, fmt.Sprintf("not proven: rows of %s are not those that its log makes; --at-entry %d writes what that makes", p.m.Label, p.m.DB.Tables.ConsistentIndex))
	case from == 0 || from > last:
		v.proven = false
		v.notes = append(v.notes, "not proven: read whole, but no log shows its rows")
	case p.ledger.BeginsWithCluster(p.i):
		v.proven = true
		v.proof = append(v.proof, read, "its log, from the beginning of the cluster on, makes just these rows"+p.departed())
	default:
		v.proven, v.from = true, from
		v.proof = append(v.proof, read, fmt.Sprintf("its log makes just those from revision %d on%s; it does not reach further back, and no log shows those before", from, p.departed()))
	}
}

// departed says that the member departed from its log, empty if it is not known to have.
func (p *planner) departed() string {
	if p.ledger.Departed(p.i, p.m.DB.Tables.ConsistentIndex) {
		return ", with its faults, of which diff tells"
	}
	return ""
}

func (p *planner) otherMembers() (js []int) {
	for j := range p.q.Members {
		if j != p.i {
			js = append(js, j)
		}
	}
	return js
}

// runOn runs the log on from rows that were taken back, and compares what that makes with what the copy holds.
func (p *planner) runOn(ctx context.Context, x *made, index uint64, v *verdict) error {
	m := x.of
	reach := max(p.ledger.Reach(p.i), m.DB.Tables.ConsistentIndex)
	p.shown(v, x.revision())
	if index >= reach || !v.proven {
		return nil
	}
	entries := replay.Between(p.log, index+1, reach)
	own := replay.Member{Label: m.Label, Rows: m.DB.Rows, Compact: m.DB.CompactRevision(), Last: m.DB.Revision(), Through: reach, Committed: reach}
	opts := replay.Options{TempDir: p.q.TempDir}
	if p.q.Progress != nil {
		opts.Progress = func(done, total int) { p.q.Progress("proving it", done, total) }
	}
	var res *replay.Result
	var matches []replay.Match
	for _, r := range rules() {
		again, ms, err := replay.Compare(ctx, x.st, entries, r, []replay.Member{own}, opts)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.proven = false
			v.notes = append(v.notes, fmt.Sprintf("not proven by running the log on: %v", err))
			return nil
		}
		if res == nil || ms[0].First > matches[0].First || ms[0].Differ == 0 {
			res, matches = again, ms
		}
		if ms[0].Differ == 0 {
			break
		}
	}
	match := &matches[0]
	switch {
	case match.Differ > 0 && p.ledger.Departed(p.i, match.First) && match.First > index+1:
		v.proof = append(v.proof, fmt.Sprintf("run on by etcd's own applier (%s), it makes what %s holds up to entry %d, with which %s departed from these rules", res.Rules, m.Label, match.First-1, m.Label))
	case match.Differ > 0:
		v.proven = false
		v.notes = append(v.notes, fmt.Sprintf("not proven: run on by etcd's own applier, it makes something else than %s holds from entry %d on", m.Label, match.First))
	case match.Revisions == 0:
		v.notes = append(v.notes, "the entries behind it make no revision that the copy still holds, so that running the log on shows nothing more")
	default:
		v.proof = append(v.proof, fmt.Sprintf("run on by etcd's own applier (%s), its next %s make all %s that %s holds",
			res.Rules, plural(len(entries), "entry", "entries"), plural(match.Revisions, "revision", "revisions"), m.Label))
		if what := tablesDiffer(&res.Final, m.DB.Tables); what != "" && m.DB.Tables.HasTerm {
			v.proven = false
			v.notes = append(v.notes, fmt.Sprintf("not proven for the tables: run on, %s", what))
		}
	}
	return nil
}

// tablesDiffer says what of leases and auth is not what a copy holds, empty if all is the same.
func tablesDiffer(f *replay.Final, t *schema.Tables) string {
	var has []int64
	for _, l := range t.Leases {
		has = append(has, l.ID)
	}
	if !slices.Equal(f.Leases, has) {
		return fmt.Sprintf("the leases differ: %d are made, %d are there", len(f.Leases), len(has))
	}
	theirs := replay.Auth{Enabled: t.AuthEnabled, Revision: t.AuthRevision, Users: t.Users, Roles: t.Roles}
	if same, what := replay.SameAuth(f.Auth, theirs); !same {
		return what
	}
	if f.Auth.Revision != t.AuthRevision {
		return fmt.Sprintf("the auth revision is made %d, and is %d", f.Auth.Revision, t.AuthRevision)
	}
	return ""
}

// comparison of the rows of a made state with those of a copy.
type comparison struct {
	compared, differ int
	first            int64  // revision that differs
	entry            uint64 // that made it, 0 if not known
	agrees           bool   // the last revision that was compared is the same
}

// compare compares rows up to the lower one of the two revisions: of those that the copy has compacted what is left.
func (p *planner) compare(x *made, m *inspect.Member) (c comparison) {
	own, e := m.DB.Rows, m.Evidence()
	limit := min(x.revision(), m.DB.Revision())
	see := func(r *mvcc.Row, index uint64, same bool) {
		if c.compared++; !same {
			if c.differ++; c.differ == 1 || r.Rev.Main < c.first {
				c.first, c.entry = r.Rev.Main, index
			}
		}
		c.agrees = same
	}
	// What the copy holds was made.
	known := int64(0)
	if x.table != nil {
		if known = min(x.st.Compact, x.st.Revision); x.of == m {
			known = x.st.Revision
		}
	}
	for _, r := range own.Between(0, own.Lower(limit+1)) {
		if r.Salvaged || !e.Known(&r) || r.Rev.Main <= known {
			continue
		}
		o, index, ok := x.row(r.Rev)
		see(&r, index, ok && same(&r, &o))
	}
	// What was made is there.
	if !e.Whole() {
		return c
	}
	above := m.DB.CompactRevision()
	for i := range x.changes {
		r := &x.changes[i]
		if r.Rev.Main > above && r.Rev.Main <= limit && !own.HasGroup(r.Rev.Main) {
			see(r, x.origin[i], false)
		}
	}
	c.agrees = c.agrees && own.HasGroup(limit)
	return c
}

// row is a row of the state, and the entry that made it if it was run.
func (x *made) row(rev mvcc.Revision) (mvcc.Row, uint64, bool) {
	if rev.Main > x.st.Revision {
		i, ok := slices.BinarySearchFunc(x.changes, rev, func(r mvcc.Row, rev mvcc.Revision) int { return r.Rev.Compare(rev) })
		if !ok {
			i = min(i, len(x.changes)-1)
			return mvcc.Row{}, x.originOf(i), false
		}
		return x.changes[i], x.origin[i], true
	}
	if x.table == nil {
		return mvcc.Row{}, 0, false
	}
	for _, r := range x.table.Group(rev.Main) {
		if r.Rev == rev {
			return r, 0, true
		}
	}
	return mvcc.Row{}, 0, false
}

func (x *made) originOf(i int) uint64 {
	if i < 0 {
		return 0
	}
	return x.origin[i]
}

// same tells whether two rows say the same, whatever the bytes.
func same(a, b *mvcc.Row) bool {
	var x, y mvcc.KeyValue
	return a.Tombstone == b.Tombstone && x.Decode(a.Value) == nil && y.Decode(b.Value) == nil && x.Same(&y)
}
