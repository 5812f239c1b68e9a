package diff

import (
	"context"
	"slices"

	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/schema"
)

// examine compares members as far as their dbs are evidence, without giving a verdict yet. What is concluded from what members hold and
// do not hold is concluded from whole dbs alone; of the others readable rows are held against those of all, and logs.
func examine(ctx context.Context, ms []*inspect.Member, logs func() map[string][]ServerLog) *comparison {
	r := relateCopies(ms)
	whole := func() (use []*inspect.Member) {
		for i, m := range ms {
			if m.Evidence().Whole() && r.copyOf[i] < 0 && len(r.incomparable) == 0 {
				use = append(use, m)
			}
		}
		return use
	}
	var c *comparison
	for use := whole(); ; {
		if c = compare(ctx, ms, use, logs); len(c.readErrors) > 0 {
			break // what was not found out casts no doubt on copies
		}
		c.doubtCopies()
		left := whole()
		if len(left) == len(use) {
			break
		}
		use = left // what is concluded from fewer may cast doubt on more
	}
	c.incomparable = r.incomparable
	for i, k := range r.copyOf {
		if k >= 0 {
			c.doc.Members[i].CopyOf = ms[k].Label
		}
	}
	c.doc.Notes = append(c.doc.Notes, r.notes...)
	if len(c.readErrors) > 0 {
		return c
	}
	c.guard("the causes", func() {
		if c.logs != nil {
			c.conclude()
		}
		if len(c.incomparable) == 0 {
			c.compareDamagedRows(r.copyOf)
			c.addForksOfOthers(r.copyOf)
			c.checkTablesAgainstLog()
		}
	})
	return c
}

// doubtCopies looks for what copies alone can have made.
func (c *comparison) doubtCopies() {
	if !c.findsDifference() {
		for i := range c.ms {
			c.doubtEnd(i)
		}
		return
	}
	// Something is to be concluded from what is not there: make sure that it was not lost in copying.
	compacted := int64(0)
	for _, m := range c.all {
		if m.DB != nil {
			compacted = max(compacted, m.DB.CompactRevision())
		}
	}
	for i, m := range c.ms {
		m.Evidence().Search(compacted, c.expectedRevision(i))
		c.doubtCopy(i)
	}
}

// findsDifference tells whether anything was found that tells members apart.
func (c *comparison) findsDifference() bool {
	return len(c.causes) > 0 || c.doc.Keys.Len() > 0 || c.doc.Counts.LeasesDiffering > 0 || len(c.partings) > 0
}

// doubtCopy doubts a copy of which nothing contradicts others, but which lacks something by its consistent index, where what copies lack says
// nothing: they may be of a member that went on writing.
func (c *comparison) doubtCopy(i int) {
	m := c.ms[i]
	e := m.Evidence()
	if c.logs == nil || len(c.traces) != len(c.ms) {
		return
	}
	if c.explained[i] != nil {
		c.doubtExplained(i)
		return
	}
	if c.contradicted(i) || e.EndCounts() {
		return
	}
	c.doubtEnd(i)
	for _, k := range c.causes {
		switch {
		case !slices.ContainsFunc(k.groups, func(g []int) bool { return slices.Contains(g, i) }):
		case (k.index > 0 || k.fault != nil) && len(k.departed) > 0 && !slices.Contains(k.departed, i):
		case len(tableBuckets[k.layer]) > 0:
			if !e.TableCounts(tableBuckets[k.layer]...) && c.changedLately(i, k) {
				e.Doubt("it differs in tables that do not lie on the page of its consistent index, and its log goes on behind that")
			}
		case k.index == 0 && k.revision > 0:
			e.Doubt("it lacks rows, or holds more of them, though none contradicts those of others, and its log goes on behind its consistent index")
		}
	}
}

// doubtEnd doubts a copy whose rows end before its consistent index, as others tell.
func (c *entryEffects) doubtEnd(i int) {
	e, index := c.ms[i].Evidence(), c.ms[i].DB.Tables.ConsistentIndex
	if rev := c.expectedRevision(i); rev > c.last[i] && !e.EndCounts() {
		e.Doubt("its rows end with revision %d, and that of entry %d, to which it has come by its consistent index, is %d; its log goes on behind that", c.last[i], index, rev)
	}
}

// doubtExplained doubts a copy whose own log makes every row that it holds, at its revision, though it takes faults to make just what it holds: so do
// pages of several moments. That is no reason against a member which was stopped, nor against what a table lacks that is of the same moment as
// the consistent index.
func (c *explanations) doubtExplained(i int) {
	e, x := c.ms[i].Evidence(), c.explained[i]
	fs := x.chosen.Faults
	if len(fs) == 0 || e.EndCounts() {
		return
	}
	doubtful := func(f faults.Fault) bool {
		switch f.Kind {
		case faults.Table:
			return !e.TableCounts(tableOf[f.Table]...)
		case faults.Rules, faults.OwnReads, faults.GaveUp:
			return false // by the rules that it goes by, and as the proposer that it is, it lacks nothing
		}
		return true
	}
	if !slices.ContainsFunc(fs, doubtful) {
		return
	}
	switch {
	case !x.member.Mixture():
	case len(c.ms[i].Log.Entries) == 0:
		e.Doubt("it lacks what the log of others makes up to its consistent index, but every row that it holds is one that this log makes, and without a log of its own nothing tells that it was stopped: pages of several moments look like that")
	default:
		e.Doubt("it lacks what its log makes up to its consistent index, but every row that it holds is one that its log makes, and the log goes on: pages of several moments look like that")
	}
}

// tableOf are the buckets of a table that entries change.
var tableOf = map[faults.TableName][]string{
	faults.Leases: tableBuckets[LayerLease], faults.Auth: tableBuckets[LayerAuth], faults.Alarms: tableBuckets[LayerAlarm],
}

// tableBuckets are the buckets of the layers that are tables.
var tableBuckets = map[Layer][]string{
	LayerLease: {schema.Lease}, LayerAuth: {schema.Auth, schema.AuthUsers, schema.AuthRoles}, LayerAlarm: {schema.Alarm},
	LayerMembership: {schema.Members, schema.MembersRemoved},
}

// copyWindow is how many entries a member may apply while its files are copied.
const copyWindow = 2000

// changedLately tells whether an entry changes the table of a cause so close to member i's consistent index that pages of several
// moments may differ in it.
func (c *contents) changedLately(i int, k *cause) bool {
	h := c.histories[i]
	var at []uint64
	switch k.layer {
	case LayerLease:
		for _, id := range k.leases {
			at = append(at, h.aboutLease(id)...)
		}
	case LayerAuth:
		for _, w := range h.authWrites {
			at = append(at, w.Index)
		}
	case LayerAlarm:
		at = h.alarms
	case LayerMembership:
		at = h.confChanges
	}
	index := c.ms[i].DB.Tables.ConsistentIndex
	return slices.ContainsFunc(at, func(x uint64) bool { return x+copyWindow > index })
}

// contradicted tells whether a row of member i is not that of another one.
func (c *contents) contradicted(i int) bool {
	for _, main := range c.differing {
		for j := range c.ms {
			if j != i && !commonRowsAgree(c.ms[i].DB.Rows.Group(main), c.ms[j].DB.Rows.Group(main)) {
				return true
			}
		}
	}
	return false
}

// expectedRevision is the highest revision that member i must have come to, as others tell.
func (c *entryEffects) expectedRevision(i int) (rev int64) {
	if c.logs == nil || len(c.last) != len(c.ms) || len(c.traces) != len(c.ms) {
		return 0
	}
	rev = c.last[i]
	if c.explained[i] != nil {
		return rev // what it lacks by its own log is a fault of it, and a cause already
	}
	index := c.ms[i].DB.Tables.ConsistentIndex
	for j := range c.ms {
		if j != i {
			rev = max(rev, c.revisionAt(j, index))
		}
	}
	return rev
}

// damagedMembers are the members with rows that can be read whose dbs are not whole, and for which no other copy stands.
func (c *contents) damagedMembers(copyOf []int) (left []*inspect.Member) {
	for i, m := range c.all {
		if copyOf[i] < 0 && m.DB != nil && m.DB.HasKeys && !slices.Contains(c.ms, m) {
			left = append(left, m)
		}
	}
	return left
}
