package diff

import (
	"bytes"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// maxContradictions bounds how many revisions are looked at on which two copies contradict each other.
const maxContradictions = 1000

// compareDamagedRows holds the rows of copies that are not whole against those of all others. A row of the key bucket never changes, from
// whatever moment its page is: two readable ones of the same revision that differ are no matter of copying. It takes that
// one of the two members is whole, or that the log asked for both.
func (c *comparison) compareDamagedRows(copyOf []int) {
	left := c.damagedMembers(copyOf)
	if len(left) == 0 {
		return
	}
	holders := slices.Concat(c.ms, left)
	seen := map[string]bool{}
	compared := 0
	for n, d := range left {
		for _, o := range slices.Concat(c.ms, left[n+1:]) {
			rev, rows := c.firstContradiction(d, o)
			if compared += rows; rev == nil {
				continue
			}
			v := divergenceAt(holders, *rev)
			if v == nil || seen[fmt.Sprint(v.Groups)] || c.wholeMembersInAll(v.Groups) {
				continue
			}
			seen[fmt.Sprint(v.Groups)] = true
			c.addDivergence(*v, nil, verdict.Rows)
		}
	}
}

// firstContradiction is the first revision of which a copy that is not whole holds another row than another member, for sure, and how
// many rows of both were looked at.
func (c *contents) firstContradiction(d, o *inspect.Member) (at *mvcc.Revision, rows int) {
	mains := differingBelow(min(d.DB.Rows.Last(), o.DB.Rows.Last())+1, d.DB.Rows, o.DB.Rows)
	seen := 0
	for _, main := range mains {
		for _, x := range d.DB.Rows.Group(main) {
			for _, y := range o.DB.Rows.Group(main) {
				if x.Rev != y.Rev || sameRow(&x, &y) || !d.Evidence().Known(&x) || !o.Evidence().Known(&y) || zeroed(x.Value, y.Value) || zeroed(y.Value, x.Value) {
					continue
				}
				if seen++; seen > maxContradictions {
					return nil, seen
				}
				if o.Evidence().Whole() || c.requested(&x) && c.requested(&y) {
					return &x.Rev, seen
				}
			}
		}
	}
	return nil, seen
}

// zeroed tells whether bytes may be those of another row of which some were overwritten with zeros.
func zeroed(a, b []byte) bool {
	if len(a) != len(b) || bytes.Equal(a, b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && a[i] != 0 {
			return false
		}
	}
	return true
}

// requested tells whether an entry of some log asks for what a row holds.
func (c *contents) requested(r *mvcc.Row) bool {
	var kv mvcc.KeyValue
	if kv.Decode(r.Value) != nil {
		return false
	}
	for _, m := range c.all {
		for i := range m.Log.Entries {
			if q, err := raftlog.Decode(&m.Log.Entries[i]); err == nil && asksFor(q, &kv, r.Tombstone) {
				return true
			}
		}
	}
	return false
}

// asksFor tells whether a request may write just what a row holds.
func asksFor(q *raftlog.Request, kv *mvcc.KeyValue, tombstone bool) bool {
	in := q.Internal
	switch {
	case in == nil:
		return false
	case tombstone && in.LeaseRevoke != nil:
		return true // of whatever was attached to it
	case in.Put != nil:
		return !tombstone && putOf(in.Put, kv)
	case in.DeleteRange != nil:
		return tombstone && deletes(in.DeleteRange, kv.Key)
	case in.Txn != nil:
		return txnAsks(in.Txn, kv, tombstone, maxTxnDepth)
	}
	return false
}

// maxTxnDepth is how deep transactions are followed.
const maxTxnDepth = 64

func txnAsks(t *pb.TxnRequest, kv *mvcc.KeyValue, tombstone bool, depth int) bool {
	return depth > 0 && slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool {
		if p := op.GetRequestPut(); p != nil {
			return !tombstone && putOf(p, kv)
		}
		if d := op.GetRequestDeleteRange(); d != nil {
			return tombstone && deletes(d, kv.Key)
		}
		x := op.GetRequestTxn()
		return x != nil && txnAsks(x, kv, tombstone, depth-1)
	})
}

// putOf tells whether a put asks for what a row holds. One that keeps the value or the lease does not say what that was.
func putOf(p *pb.PutRequest, kv *mvcc.KeyValue) bool {
	return bytes.Equal(p.Key, kv.Key) && !p.IgnoreValue && bytes.Equal(p.Value, kv.Value) && !p.IgnoreLease && p.Lease == kv.Lease
}

// deletes tells whether a range holds a key, as etcd reads ranges (server/storage/mvcc/kv.go): "\x00" as its end means all keys
// from the first on.
func deletes(d *pb.DeleteRangeRequest, key []byte) bool {
	switch {
	case len(d.RangeEnd) == 0:
		return bytes.Equal(d.Key, key)
	case len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0:
		return bytes.Compare(key, d.Key) >= 0
	}
	return bytes.Compare(key, d.Key) >= 0 && bytes.Compare(key, d.RangeEnd) < 0
}

// divergenceAt is the divergence that the rows of a revision show.
func divergenceAt(ms []*inspect.Member, rev mvcc.Revision) *Divergence {
	rows := make([]mvcc.Row, len(ms))
	var have []int
	for i, m := range ms {
		for _, r := range m.DB.Rows.Group(rev.Main) {
			if r.Rev == rev && m.Evidence().Known(&r) {
				rows[i] = r
				have = append(have, i)
			}
		}
	}
	groups := partition(have, func(i, j int) bool { return sameRow(&rows[i], &rows[j]) })
	if len(groups) < 2 {
		return nil
	}
	v := &Divergence{
		Layer: LayerApply, Revision: rev.Main, RevisionInterval: &RevisionInterval{First: 1, Last: rev.Main},
		What: fmt.Sprintf("rows of revision %d that can be read contradict each other; no damage of a copy makes that", rev.Main),
	}
	sortGroups(groups)
	for _, g := range groups {
		var labels []string
		for _, i := range g {
			labels = append(labels, ms[i].Label)
		}
		slices.Sort(labels)
		v.Groups = append(v.Groups, labels)
		v.Effects = append(v.Effects, Effect{Members: labels, Revision: rev.Main, Changes: changes([]mvcc.Row{rows[g[0]]})})
		for _, ch := range changes([]mvcc.Row{rows[g[0]]}) {
			if text, b64 := ch.Key.named(); b64 != "" {
				v.KeysBase64 = append(v.KeysBase64, b64)
			} else {
				v.Keys = append(v.Keys, text)
			}
		}
	}
	v.Minority = minority(v.Groups)
	slices.Sort(v.Keys)
	v.Keys = slices.Compact(v.Keys)
	slices.Sort(v.KeysBase64)
	v.KeysBase64 = slices.Compact(v.KeysBase64)
	return v
}

// wholeMembersInAll tells whether divergences that were found already tell the members of all groups apart: of those that are not whole,
// each holds what a whole one does then.
func (c *comparison) wholeMembersInAll(groups [][]string) bool {
	return !slices.ContainsFunc(groups, func(g []string) bool {
		return !slices.ContainsFunc(g, func(l string) bool {
			return slices.ContainsFunc(c.ms, func(m *inspect.Member) bool { return m.Label == l })
		})
	}) && len(c.doc.Divergences) > 0
}

// addDivergence adds a divergence; the cause is nil if none was inferred.
func (c *comparison) addDivergence(v Divergence, k *cause, b verdict.Basis) {
	c.doc.Divergences, c.writtenCauses, c.basis = append(c.doc.Divergences, v), append(c.writtenCauses, k), append(c.basis, b)
}

// addForksOfOthers adds the forks between logs of which those of copies that are not whole are some: a log has its own checksums.
func (c *comparison) addForksOfOthers(copyOf []int) {
	var ms []*inspect.Member
	for i, m := range c.all {
		if copyOf[i] < 0 && len(m.Log.Entries) > 0 {
			ms = append(ms, m)
		}
	}
	if len(ms) < 2 || !slices.ContainsFunc(ms, func(m *inspect.Member) bool { return !slices.Contains(c.ms, m) }) {
		return
	}
	l := compareLogs(ms)
	c.doc.Logs = Logs{Compared: l.compared, Identical: len(l.forks) == 0} // more of them than of the dbs
	for _, f := range l.forks {
		if slices.ContainsFunc(c.doc.Divergences, func(v Divergence) bool { return v.Layer == LayerLog && v.Entry != nil && v.Entry.Index == f.index }) {
			continue
		}
		if c.logs != nil && slices.ContainsFunc(c.logs.forks, func(g fork) bool { return g.index == f.index }) {
			continue
		}
		groups := slices.Clone(f.groups)
		sortGroups(groups)
		v := Divergence{Layer: LayerLog, What: "the logs hold different entries from here on: committed entries were lost or overwritten"}
		for _, g := range groups {
			var labels []string
			for _, i := range g {
				labels = append(labels, ms[i].Label)
			}
			slices.Sort(labels)
			v.Groups = append(v.Groups, labels)
			e := Effect{Members: labels}
			if x := ms[g[0]].Log.Entry(f.index); x != nil {
				e.Entry = &Entry{Index: x.Index, Term: x.Term, Type: "Unknown"}
				if q, err := raftlog.Decode(x); err == nil {
					e.Entry = &Entry{Index: x.Index, Term: x.Term, Type: q.Type, Summary: q.Summary(), User: q.User, Proposer: c.proposer(q)}
				}
			}
			v.Effects = append(v.Effects, e)
		}
		v.Minority = minority(v.Groups)
		if v.Entry = v.Effects[0].Entry; f.first < f.index {
			v.Entry, v.EntryInterval = nil, &Interval{First: f.first, Last: f.index}
		}
		c.doc.Logs.Identical = false
		c.addDivergence(v, nil, verdict.Logs)
	}
}
