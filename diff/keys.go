package diff

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// keysOf collects the keys of all rows of some main revisions.
func (c *comparison) keysOf(mains []int64) map[string]struct{} {
	keys := map[string]struct{}{}
	for _, main := range mains {
		for _, m := range c.ms {
			for _, r := range m.DB.Rows.Group(main) {
				keys[string(r.Key())] = struct{}{}
			}
		}
	}
	return keys
}

// compareKeys compares what is alive at the common index.
func (c *comparison) compareKeys() {
	// No other key can differ than those of which some row is not the same on all members.
	keys := c.keysOf(c.differing)
	var members []int
	for i, m := range c.ms {
		if c.at[i] >= 0 && c.at[i] >= m.DB.CompactRevision() {
			members = append(members, i)
		}
	}
	if len(keys) == 0 || len(members) < 2 {
		return
	}
	ixs := c.indexOf(keys)
	for _, k := range sorted(keys) {
		states := make([]*mvcc.KeyValue, len(c.ms))
		known := members[:0:0]
		for _, i := range members {
			kv, _, ok := ixs[i].At(k, c.at[i])
			if ok {
				states[i] = &kv
			}
			if !c.unsure(i, kv.Mod, ok) {
				known = append(known, i)
			}
		}
		c.compareKey(k, known, states)
	}
}

// unsure tells whether a newer row of a key may be missing on member i because a page could not be read.
func (c *comparison) unsure(i int, mod int64, present bool) bool {
	for _, h := range c.ms[i].DB.Rows.Holes() {
		if !present || h.Last.Main > mod {
			return true
		}
	}
	return false
}

func (c *comparison) compareKey(k string, known []int, states []*mvcc.KeyValue) {
	if len(known) < 2 {
		return
	}
	var difference string
	shifted := false
	first := states[known[0]]
	for _, i := range known[1:] {
		s := states[i]
		switch {
		case (s == nil) != (first == nil):
			difference = "missing"
		case s == nil || difference == "missing":
		case !bytes.Equal(s.Value, first.Value):
			difference = "value"
		case s.Lease != first.Lease:
			if difference == "" {
				difference = "lease"
			}
		case !s.Same(first):
			shifted = true
		}
	}
	n := &c.doc.Counts
	switch difference {
	case "":
		if shifted {
			n.KeysShifted++
		}
		return
	case "missing":
		n.KeysMissing++
	case "value":
		n.KeysValue++
	default:
		n.KeysLease++
	}
	n.KeysDiffering++
	d := KeyDiff{Key: Key(k), Difference: difference, ByMember: map[string]KeyState{}}
	for _, i := range known {
		var st KeyState
		if s := states[i]; s != nil {
			sum := sha256.Sum256(s.Value)
			st = KeyState{
				Present: true, ModRevision: s.Mod, CreateRevision: s.Create, Version: s.Version, Lease: ID(uint64(s.Lease)),
				ValueSize: len(s.Value), ValueSHA256: hex.EncodeToString(sum[:]),
			}
		}
		d.ByMember[c.ms[i].Label] = st
	}
	c.doc.Keys = append(c.doc.Keys, d)
}

// indexOf indexes some keys of every member.
func (c *comparison) indexOf(keys map[string]struct{}) []*mvcc.Index {
	ixs := make([]*mvcc.Index, len(c.ms))
	c.each(func(i int) { ixs[i] = c.ms[i].DB.Rows.IndexKeys(keys) })
	return ixs
}

func sorted(set map[string]struct{}) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// compareOld compares what compaction left at and below the highest compact revision: of each key its last revision,
// unless that is a tombstone. Members that have not compacted that far are reduced to the same.
func (c *comparison) compareOld() {
	if c.compact == 0 {
		return
	}
	old, _ := slices.BinarySearch(c.differing, c.compact+1)
	keys := c.keysOf(c.differing[:old])
	if len(keys) == 0 {
		return
	}
	ixs := c.indexOf(keys)
	byGroups := map[string]*cause{}
	var order []string
	for _, k := range sorted(keys) {
		c.oldKey(k, ixs, byGroups, &order)
	}
	for _, id := range order {
		c.causes = append(c.causes, byGroups[id])
	}
}

// oldKey compares what is left of one key, and adds it to the cause of the members that it tells apart.
func (c *comparison) oldKey(k string, ixs []*mvcc.Index, byGroups map[string]*cause, order *[]string) {
	rows := make([]*mvcc.Row, len(c.ms))
	var known []int
	for i := range c.ms {
		// A member that has not come as far as the compact revision shows the key as it was when it stopped.
		_, r, ok := ixs[i].At(k, min(c.compact, c.last[i]))
		if ok {
			rows[i] = &r
		}
		mod := int64(0)
		if ok {
			mod = r.Rev.Main
		}
		if !c.unsure(i, mod, ok) {
			known = append(known, i)
		}
	}
	same := func(i, j int) bool {
		a, b := rows[i], rows[j]
		if c.last[i] > c.last[j] {
			i, a, b = j, b, a
		}
		if c.last[i] < c.compact {
			// Member i stopped first: the other may have written or deleted the key since, but not before.
			if b == nil || b.Rev.Main > c.last[i] {
				return true
			}
		}
		return (a == nil) == (b == nil) && (a == nil || sameRow(a, b))
	}
	groups := c.sides(known, same)
	if len(groups) < 2 {
		return
	}
	sortGroups(groups)
	id := fmt.Sprint(groups)
	kk := byGroups[id]
	if kk == nil {
		kk = &cause{
			layer: LayerStorage, groups: groups, between: &RevisionInterval{First: 1, Last: c.compact},
			interval: c.before(RevisionInterval{First: 1, Last: c.compact}),
			what:     "rows that compaction left at or below the compact revision differ; what made them is compacted away",
		}
		byGroups[id] = kk
		*order = append(*order, id)
	}
	newest, all := int64(0), true
	for _, i := range known {
		r := rows[i]
		if r == nil {
			all = false // it may have been deleted at any later revision
			continue
		}
		if newest = max(newest, r.Rev.Main); kk.revision == 0 || r.Rev.Main < kk.revision {
			kk.revision = r.Rev.Main
		}
	}
	if all && (kk.latest == 0 || newest < kk.latest) {
		kk.latest = newest
	}
	kk.keys = append(kk.keys, k)
}

// sides splits members by what is left of a key. One that stopped before the compact revision may agree with several
// sides that do not agree with each other: it is of the one that follows its log, if there is one.
func (c *comparison) sides(known []int, same func(i, j int) bool) [][]int {
	var groups [][]int
	order := slices.SortedStableFunc(slices.Values(known), func(i, j int) int { return cmp.Compare(c.last[j], c.last[i]) })
	for _, i := range order {
		var may []int
		for n, g := range groups {
			if !slices.ContainsFunc(g, func(j int) bool { return !same(i, j) }) {
				may = append(may, n)
			}
		}
		if len(may) > 1 {
			may = slices.DeleteFunc(may, func(n int) bool { return c.logs.history[groups[n][0]] != c.logs.history[i] })
			if len(may) != 1 {
				continue
			}
		}
		if len(may) == 0 {
			groups = append(groups, []int{i})
		} else {
			groups[may[0]] = append(groups[may[0]], i)
		}
	}
	for _, g := range groups {
		slices.Sort(g)
	}
	return groups
}
