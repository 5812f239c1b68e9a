package diff

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/inspect/schema"
)

// compareTables compares the small tables, as far as no entry that only some members have reached may explain a
// difference.
func (c *comparison) compareTables() {
	c.compareLeases()
	c.compareAuth()
	c.compareAlarms()
	c.compareMembership()
}

// pending calls f for the entries above the lowest consistent index: some members may have applied them, others not. Up
// to 3.4 the tables may even be ahead of the consistent index that is saved with the keys.
func (c *comparison) pending(f func(e *align.Entry)) {
	for _, v := range c.views {
		for i := range v {
			if v[i].Index > c.doc.Common.Index {
				f(&v[i])
			}
		}
	}
}

func (c *comparison) compareLeases() {
	pending := map[int64]bool{}
	c.pending(func(e *align.Entry) {
		switch in := e.Request().Internal; {
		case in == nil:
		case in.LeaseGrant != nil:
			pending[in.LeaseGrant.ID] = true
		case in.LeaseRevoke != nil:
			pending[in.LeaseRevoke.ID] = true
		}
	})
	tables := make([]map[int64]schema.LeaseRecord, len(c.ms))
	all := map[int64]bool{}
	for i, m := range c.ms {
		tables[i] = map[int64]schema.LeaseRecord{}
		for _, l := range m.DB.Tables.Leases {
			tables[i][l.ID] = l
			all[l.ID] = true
		}
	}
	attached := make([]map[int64]int, len(c.ms))
	for i, m := range c.ms {
		if len(all) > 0 {
			attached[i] = m.DB.Rows.LeasedKeys()
		}
	}
	ids := slices.SortedFunc(maps.Keys(all), func(a, b int64) int { return cmp.Compare(uint64(a), uint64(b)) })
	for _, id := range ids {
		if pending[id] {
			continue
		}
		groups := c.groupsOf(func(i, j int) bool {
			_, a := tables[i][id]
			_, b := tables[j][id]
			return a == b
		})
		if len(groups) < 2 {
			continue
		}
		c.doc.Counts.LeasesDiffering++
		d := LeaseDiff{ID: ID(uint64(id)), ByMember: map[string]LeaseState{}}
		for i, m := range c.ms {
			l, ok := tables[i][id]
			d.ByMember[m.Label] = LeaseState{Present: ok, TTL: l.TTL, RemainingTTL: l.RemainingTTL, Keys: attached[i][id]}
		}
		c.doc.Leases = append(c.doc.Leases, d)
		c.leaseCause(id, groups, tables)
	}
}

// leaseCause finds the entry that granted or revoked a lease on some members only, and adds the lease to a cause that is
// there already for that entry.
func (c *comparison) leaseCause(id int64, groups [][]int, tables []map[int64]schema.LeaseRecord) {
	var grant, revoke uint64
	first := uint64(0)
	for _, v := range c.views {
		for i := range v {
			if i == 0 && (first == 0 || v[0].Index < first) {
				first = v[0].Index
			}
			switch in := v[i].Request().Internal; {
			case in == nil || v[i].Index > c.doc.Common.Index:
			case in.LeaseGrant != nil && in.LeaseGrant.ID == id:
				grant = max(grant, v[i].Index)
			case in.LeaseRevoke != nil && in.LeaseRevoke.ID == id:
				revoke = max(revoke, v[i].Index)
			}
		}
	}
	index := max(grant, revoke)
	for _, k := range c.causes {
		if k.index == index && index > 0 || slices.Contains(k.entries, index) || k.layer == LayerLog && index >= k.index {
			k.leases = append(k.leases, id)
			return
		}
	}
	what := "the lease table differs, and no entry left in the logs grants or revokes the lease"
	switch {
	case revoke > grant:
		what = "the lease was revoked on some members only"
	case grant > 0:
		what = "the lease was granted, or is left, on some members only"
	}
	for _, k := range c.causes {
		if k.layer == LayerLease && index == 0 && k.index == 0 && slices.EqualFunc(k.groups, groups, slices.Equal[[]int]) {
			k.leases = append(k.leases, id)
			return
		}
	}
	k := &cause{layer: LayerLease, index: index, groups: groups, leases: []int64{id}, what: what}
	for _, g := range groups {
		note := "the lease is not there"
		if _, ok := tables[g[0]][id]; ok {
			note = "the lease is there"
		}
		k.effects = append(k.effects, Effect{Members: c.labels(g), Note: note})
	}
	c.causes = append(c.causes, k)
}

// groupsOf partitions all members, largest group first.
func (c *comparison) groupsOf(same func(i, j int) bool) [][]int {
	var all []int
	for i, m := range c.ms {
		if m.DB.Whole { // a row that is missing because of damage is no difference
			all = append(all, i)
		}
	}
	groups := partition(all, same)
	sortGroups(groups)
	return groups
}

func (c *comparison) compareAlarms() {
	waiting := false
	c.pending(func(e *align.Entry) { waiting = waiting || e.Request().Type == "Alarm" })
	if !waiting {
		c.table(LayerAlarm, "alarms", func(t *schema.Tables) any { return t.Alarms })
	}
}

// compareMembership compares the members buckets. Their attributes are stale by design in some versions, so that only
// who belongs to the cluster counts.
func (c *comparison) compareMembership() {
	waiting := false
	c.pending(func(e *align.Entry) {
		t := e.Request().Type
		waiting = waiting || t == "ConfChange" || t == "ConfChangeV2"
	})
	if waiting {
		return
	}
	c.table(LayerMembership, "who is a member", func(t *schema.Tables) any {
		var ids []uint64
		for _, m := range t.Members {
			ids = append(ids, m.ID)
		}
		return ids
	})
	c.table(LayerMembership, "who was removed", func(t *schema.Tables) any { return t.MembersRemoved })
}

// table adds a cause if a table is not the same on all members, and returns it.
func (c *comparison) table(layer Layer, name string, get func(t *schema.Tables) any) *cause {
	groups := c.groupsOf(func(i, j int) bool {
		a, b := reflect.ValueOf(get(c.ms[i].DB.Tables)), reflect.ValueOf(get(c.ms[j].DB.Tables))
		if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
			return true
		}
		return reflect.DeepEqual(a.Interface(), b.Interface())
	})
	if len(groups) < 2 {
		return nil
	}
	k := &cause{layer: layer, groups: groups, what: fmt.Sprintf("%s: not the same on all members", name)}
	c.causes = append(c.causes, k)
	return k
}
