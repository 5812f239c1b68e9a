package diff

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/mvcc"
)

// place finds the last entry that all members have reached, and each member's revision there.
func (c *comparison) place() {
	c.at = make([]int64, len(c.ms))
	common := uint64(math.MaxUint64)
	for i := range c.ms {
		common = min(common, c.reach(i))
	}
	c.doc.Common.Index, c.doc.Common.Revision = common, math.MaxInt64
	for i := range c.ms {
		if c.at[i] = c.revisionAt(i, common); c.at[i] >= 0 {
			c.at[i] += c.misreadAt(i, common)
		}
		if c.at[i] >= 0 {
			c.doc.Common.Revision = min(c.doc.Common.Revision, c.at[i])
		}
	}
}

// misreadAt is how many revisions more member i has come to once an entry was applied than its alignment says: it made one
// with an entry before, as others did, and not with one behind that writes the same.
func (c *comparison) misreadAt(i int, index uint64) (more int64) {
	for _, k := range c.misread {
		switch x := k.instead[0]; {
		case !slices.Contains(k.odd, i):
		case k.index <= index && index < x:
			more++
		case x <= index && index < k.index:
			more--
		}
	}
	return more
}

// reach is the last entry up to which member i's keys are known. Up to 3.4 the consistent index is saved with a change of
// a key only, so that committed entries behind it which change nothing have been applied, or make no difference: those
// without effect on its state, and those that a rule keeps from having one, if that member has followed the rule
// throughout.
func (c *comparison) reach(i int) uint64 {
	m := c.ms[i]
	at := m.DB.Tables.ConsistentIndex
	if c.behind(i) {
		return c.traces[i].Through // the index was left behind, the data is there
	}
	if m.DB.Tables.HasTerm {
		return at // 3.5 and later save it with every entry
	}
	limit := committed(m)
	for k := range c.views[i].entries {
		e := &c.views[i].entries[k]
		if e.Index <= at {
			continue
		}
		if e.Index > limit || e.Index != at+1 {
			break
		}
		if want := c.inputs[i].Predict(e, c.last[i]); len(want) > 0 && !c.ruledOut(i, e) && !c.denied(i, e, want) {
			break
		}
		at = e.Index
	}
	return at
}

// behind tells whether member i's data seems to have come further than its consistent index.
func (c *comparison) behind(i int) bool {
	t := c.traces[i]
	return t.Cost > 0 && t.Through > c.ms[i].DB.Tables.ConsistentIndex
}

// behindIndex is a doubt about each member whose data seems to have come further than its consistent index, where that is saved
// with every entry: a copy may be of two moments, or one of the entries up to the index may have had an effect that it should not
// have had. Started again, etcd would apply what lies between once more.
func (c *comparison) behindIndex() (why []string) {
	for i, m := range c.ms {
		if at := m.DB.Tables.ConsistentIndex; c.behind(i) && m.DB.Tables.HasTerm {
			why = append(why, fmt.Sprintf("%s: its data seems to have come to entry %d, but its consistent index is %d: started again, it would apply entries %d to %d once more",
				m.Label, c.traces[i].Through, at, at+1, c.traces[i].Through))
		}
	}
	return why
}

// ruledOut tells whether a rule that made member i part from the others covers an entry.
func (c *comparison) ruledOut(i int, e *align.Entry) bool {
	return slices.ContainsFunc(c.causes, func(k *cause) bool {
		return k.rule != nil && slices.Contains(k.odd, i) && k.rule.hits(e.Request())
	})
}

// denied tells whether permissions or an alarm, as they are on member i, refuse an entry behind its last revision.
func (c *comparison) denied(i int, e *align.Entry, want []align.Change) bool {
	in := &c.inputs[i]
	return in.Judge(e.Index, e.Request(), want, func(lease int64) []string { return in.Index.Attached(lease, c.last[i]) }) == align.Denied
}

// revisionAt is member i's revision once entry index was applied, -1 if that is not known.
func (c *comparison) revisionAt(i int, index uint64) int64 {
	m, t := c.ms[i], c.traces[i]
	if index >= m.DB.Tables.ConsistentIndex {
		return c.last[i]
	}
	if t.first() == 0 || index+1 < t.first() {
		if c.stood(i, index) {
			return m.DB.CompactRevision()
		}
		return -1
	}
	rev := t.startRevision()
	var done uint64
	t.steps(func(s *align.Step) {
		// A revision without an entry belongs to the entry before it.
		if done = max(done, s.Index); done <= index && s.Revision > 0 {
			rev = max(rev, s.Revision)
		}
	})
	return rev
}

// stood tells whether member i had come to its compact revision with an entry, because none behind it, up to the first whose
// effect is known, can have made that.
func (c *comparison) stood(i int, index uint64) bool {
	m, t := c.ms[i], c.traces[i]
	rows := m.DB.Rows.Group(m.DB.CompactRevision())
	if t.first() == 0 || t.startRevision() != m.DB.CompactRevision() || len(rows) == 0 || rows[0].Tombstone {
		return false
	}
	var kv mvcc.KeyValue
	if kv.Decode(rows[0].Value) != nil {
		return false
	}
	next := index + 1
	for n := range c.views[i].entries {
		e := &c.views[i].entries[n]
		if e.Index <= index || e.Index >= t.first() {
			continue
		}
		if e.Index != next || mayPut(e.Request().Internal, &kv) {
			return false
		}
		next++
	}
	return next == t.first()
}

// mayPut tells whether a request may have written a row.
func mayPut(in *pb.InternalRaftRequest, kv *mvcc.KeyValue) bool {
	return in.GetTxn() != nil || isPutOf(in.GetPut(), kv)
}

// mayHavePut tells whether an entry may have written a row, going into transactions. What puts a key names it, so that most need
// not be decoded.
func mayHavePut(e *align.Entry, kv *mvcc.KeyValue) bool {
	if e.Raw == nil {
		return true
	}
	if !bytes.Contains(e.Raw.Data, kv.Key) {
		return false
	}
	in := e.Request().Internal
	return isPutOf(in.GetPut(), kv) || hasPutOf(in.GetTxn(), kv)
}

// hasPutOf tells whether a transaction may write a row.
func hasPutOf(txn *pb.TxnRequest, kv *mvcc.KeyValue) bool {
	return slices.ContainsFunc(slices.Concat(txn.GetSuccess(), txn.GetFailure()), func(op *pb.RequestOp) bool {
		n := op.GetRequestTxn()
		return isPutOf(op.GetRequestPut(), kv) || n != nil && hasPutOf(n, kv)
	})
}

// isPutOf tells whether a put writes a row, which none does not.
func isPutOf(r *pb.PutRequest, kv *mvcc.KeyValue) bool {
	return r != nil && bytes.Equal(r.Key, kv.Key) && (r.IgnoreValue || bytes.Equal(r.Value, kv.Value)) && (r.IgnoreLease || r.Lease == kv.Lease)
}
