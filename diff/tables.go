package diff

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

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

// pending tells whether any of the listed entries is above the lowest consistent index: some members may have applied
// it, others not. Up to 3.4 the tables may even be ahead of the consistent index that is saved with the keys.
func (c *comparison) pending(list func(h *history) []uint64) bool {
	return slices.ContainsFunc(c.views, func(h *history) bool {
		l := list(h)
		return len(l) > 0 && l[len(l)-1] > c.lowest()
	})
}

// lowest is the lowest consistent index of all members.
func (c *comparison) lowest() uint64 {
	low := uint64(math.MaxUint64)
	for _, m := range c.ms {
		low = min(low, m.DB.Tables.ConsistentIndex)
	}
	return low
}

func (c *comparison) compareLeases() {
	pending := func(id int64) bool {
		return c.pending(func(h *history) []uint64 {
			var at []uint64
			for _, ev := range h.leases[id] {
				at = append(at, ev.index)
			}
			return at
		})
	}
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
		if pending(id) {
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
	for _, h := range c.views {
		for _, ev := range h.leases[id] {
			switch {
			case ev.index > c.doc.Common.Index:
			case ev.grant:
				grant = max(grant, ev.index)
			default:
				revoke = max(revoke, ev.index)
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
	if c.pending(func(h *history) []uint64 { return h.alarms }) {
		c.doc.NotCompared = append(c.doc.NotCompared, "alarms")
	} else {
		c.table(LayerAlarm, "alarms", func(t *schema.Tables) any { return t.Alarms })
	}
}

// compareMembership compares the members buckets. Their attributes are stale by design in some versions, so that only
// who belongs to the cluster counts.
func (c *comparison) compareMembership() {
	if c.pending(func(h *history) []uint64 { return h.confChanges }) {
		c.doc.NotCompared = append(c.doc.NotCompared, "members")
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
