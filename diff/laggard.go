package diff

import (
	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/raftlog"
)

// What the member that has come least far holds is all known: where nothing explains how members came to what they hold, as after a restore of
// the cluster, the others agree with it if the entries in between, applied to that, make just what they hold.

// maxLaggardRows is how many rows a member may hold to be run on from the state of another.
const maxLaggardRows = 1 << 20

// agreeWithLaggard tells whether all members go on from what the one holds that has come least far.
func (c *comparison) agreeWithLaggard() bool {
	if len(c.ms) < 2 {
		return false
	}
	least := 0
	for i, m := range c.ms {
		if m.DB.Tables.ConsistentIndex < c.ms[least].DB.Tables.ConsistentIndex {
			least = i
		}
	}
	for i := range c.ms {
		if i != least && !c.holdSame(i, least) && !c.goesOnFrom(i, least) {
			return false
		}
	}
	return true
}

// goesOnFrom tells whether the entries behind the consistent index of one member make of what it holds just what another one holds.
func (c *comparison) goesOnFrom(i, least int) bool {
	from, to := c.ms[least].DB, c.ms[i].DB
	h := c.histories[c.source(i)]
	first, last := from.Tables.ConsistentIndex+1, to.Tables.ConsistentIndex
	switch {
	case last < first || !h.holdsRange(first, last) || c.logs.history[i] != c.logs.history[least]:
		return false
	case !from.Whole || !to.Whole || len(from.Rows.Holes())+len(to.Rows.Holes()) > 0 || max(from.Rows.Len(), to.Rows.Len()) > maxLaggardRows:
		return false
	case c.lastSameRevision(i, least) < c.last[least] || c.last[i] < c.last[least]:
		return false
	}
	var named faults.Named
	for _, m := range []int{i, least} {
		n := faults.NamesSince(c.ms[m].DB.Rows, c.ms[m].DB.Tables, 0, 0)
		named.Keys, named.Leases = append(named.Keys, n.Keys...), append(named.Leases, n.Leases...)
	}
	var es []effect.Entry
	for _, e := range h.entries {
		if first <= e.Index && e.Index <= last {
			es = append(es, e)
		}
	}
	log := apply.DecodeLog(len(es), func(k int) uint64 { return es[k].Index }, func(k int, by *raftlog.Decoder) *raftlog.Request { return es[k].RequestBy(by) }, named.Keys, named.Leases)
	evidence := func(m int) *faults.Evidence {
		db := c.ms[m].DB
		return faults.NewEvidenceSince(log, db.Rows, db.Tables, c.last[m], db.CompactRevision(), 0)
	}
	return faults.GoesOn(log, evidence(least), evidence(i), c.rulesOf(i, log)...)
}
