package diff

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/inspect/mvcc"
)

// keysOf collects the keys of all rows of some main revisions, in order. They are parts of the files.
func (c *contents) keysOf(mains []int64) [][]byte {
	var keys [][]byte
	seen := make([][]bool, len(c.ms)) // by the last row of the key on the first member that has one
	for i, m := range c.ms {
		if len(mains) > 0 {
			seen[i] = make([]bool, m.DB.Rows.Len())
		}
	}
	for _, main := range mains {
		for _, m := range c.ms {
			for _, r := range m.DB.Rows.Group(main) {
				key := r.Key()
				for j, o := range c.ms {
					last := o.DB.Rows.LastOf(key)
					if last < 0 {
						continue
					}
					if !seen[j][last] {
						seen[j][last] = true
						keys = append(keys, key)
					}
					break
				}
			}
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// differingKeys are keys on which members disagree.
type differingKeys struct {
	keys  [][]byte
	kinds []string
	rows  []int32 // for each key of each member, the row that is the key's at the common index, or one of these
}

const (
	noRow   int32 = -1 // the key is not there
	unknown int32 = -2 // pages that could not be read may hold it
)

// compareKeys compares what is alive at the common index, and on those that have come further to one later entry, what is alive there.
func (c *comparison) compareKeys() {
	c.chooseKeysIndex()
	var members []int
	for i := range c.ms {
		if c.showsKeys(i) {
			members = append(members, i)
		}
	}
	c.compareKeysOf(members, c.keyRevisions, nil)
	if ahead := c.furthestPair(); len(ahead) > 1 {
		seen := make(map[string]bool, len(c.keys.keys))
		for _, k := range c.keys.keys {
			seen[string(k)] = true
		}
		c.compareKeysOf(ahead, c.last, seen)
		c.keys.sort(len(c.ms))
	}
	if len(members) > 1 || len(c.keys.keys) > 0 {
		c.doc.Keys = KeyDiffs{len(c.keys.keys), c.keyDiff}
	}
}

// furthestPair are the members that have all come to one entry behind that at which keys are compared, the last one to which several have come. What they
// hold there is what they hold now.
func (c *comparison) furthestPair() (ahead []int) {
	at := c.keysIndex
	sure := func(i int) bool { return c.explained[i] != nil || c.ms[i].Evidence().EndCounts() }
	for i := range c.ms {
		index := c.reach(i)
		if index < at || index == c.keysIndex || !sure(i) {
			continue
		}
		same := []int{i}
		for j := range c.ms[:i] {
			if c.reach(j) == index && sure(j) {
				same = append(same, j)
			}
		}
		if len(same) > 1 && (index > at || len(same) > len(ahead)) {
			at, ahead = index, same
		}
	}
	slices.Sort(ahead)
	return ahead
}

// compareKeysOf compares what is alive on some members, on each at a revision, but for keys that were seen to differ; of those that are the same but for
// revisions it counts none if there are such.
func (c *comparison) compareKeysOf(members []int, at []int64, seen map[string]bool) {
	if len(members) < 2 {
		return
	}
	low, high := int64(math.MaxInt64), int64(0)
	for _, i := range members {
		low, high = min(low, at[i]), max(high, at[i])
	}
	// No other key can differ than those of which some row is not the same on all members, or that some of them have written
	// at revisions which others come to later.
	keys := c.keysOf(append(slices.Clip(c.differing), c.revisionsBetween(members, low, high)...))
	d, shifted := &c.keys, c.doc.Counts.KeysShifted
	states := make([]*mvcc.KeyValue, len(c.ms))
	rows := make([]int32, len(c.ms))
	for _, k := range keys {
		if seen[string(k)] {
			continue
		}
		known := members[:0:0]
		for i := range c.ms {
			states[i], rows[i] = nil, unknown
		}
		for _, i := range members {
			t := c.ms[i].DB.Rows
			n := t.RowAt(k, at[i])
			var kv mvcc.KeyValue
			if n >= 0 {
				if r := t.Row(n); r.Tombstone || kv.Decode(r.Value) != nil {
					n = -1
				}
			}
			if n >= 0 {
				states[i] = &kv
			}
			if !c.mayMissRow(i, kv.Mod, n >= 0) {
				known, rows[i] = append(known, i), int32(n)
			}
		}
		if kind := c.compareKey(known, states); kind != "" {
			d.keys, d.kinds, d.rows = append(d.keys, k), append(d.kinds, kind), append(d.rows, rows...)
		}
	}
	if seen != nil {
		c.doc.Counts.KeysShifted = shifted
	}
}

// sort puts the keys in order.
func (d *differingKeys) sort(members int) {
	order := make([]int, len(d.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(d.keys[a], d.keys[b]) })
	var to differingKeys
	for _, i := range order {
		to.keys, to.kinds, to.rows = append(to.keys, d.keys[i]), append(to.kinds, d.kinds[i]), append(to.rows, d.rows[i*members:(i+1)*members]...)
	}
	*d = to
}

// chooseKeysIndex finds the entry at which keys are compared: the common index, unless it is not known there of all members what they held, and a later one
// to which as many or more have come shows the keys of one of those.
func (c *comparison) chooseKeysIndex() {
	c.keyRevisions, c.keysIndex = c.revisionsAtCommon, c.doc.Common.Index
	shown := func(at []int64) (n int) {
		for i := range at {
			if c.showsRevision(i, at[i]) {
				n++
			}
		}
		return n
	}
	best := shown(c.revisionsAtCommon)
	if best == len(c.ms) {
		return
	}
	for i := range c.ms {
		index := c.reach(i)
		if index <= c.doc.Common.Index || c.showsRevision(i, c.revisionsAtCommon[i]) {
			continue
		}
		at := make([]int64, len(c.ms))
		for j := range c.ms {
			switch reach := c.reach(j); {
			case reach < index:
				at[j] = -1
			case reach == index && c.ms[j].Evidence().EndCounts():
				at[j] = c.last[j]
			default:
				at[j] = c.revisionAt(j, index)
			}
		}
		if n := shown(at); n >= 2 && n >= best {
			best, c.keyRevisions, c.keysIndex = n, at, index
		}
	}
}

func (c *contents) showsRevision(i int, at int64) bool {
	return at >= 0 && at >= c.ms[i].DB.CompactRevision()
}

// dropDoubtfulKeys forgets the keys that differ at a later entry than the common index if nothing else tells that members diverged: what they held at an entry
// that all have come to is not known, so that these may be of copies which are not what they look like.
func (c *comparison) dropDoubtfulKeys() {
	if len(c.doc.Divergences) > 0 || c.keysIndex <= c.doc.Common.Index {
		return
	}
	n := &c.doc.Counts
	c.keys, c.doc.Keys = differingKeys{}, KeyDiffs{}
	n.KeysDiffering, n.KeysMissing, n.KeysValue, n.KeysLease, n.KeysShifted = 0, 0, 0, 0, 0
}

// showsKeys tells whether member i's keys are known at the entry at which keys are compared.
func (c *comparison) showsKeys(i int) bool { return c.showsRevision(i, c.keyRevisions[i]) }

// noteKeysLeftOut notes the members whose keys at the common index are not known.
func (c *comparison) noteKeysLeftOut() {
	var why []string
	for i, m := range c.ms {
		switch {
		case c.showsKeys(i):
		case c.reach(i) < c.keysIndex:
			why = append(why, fmt.Sprintf("they are compared as they are at entry %d, to which %s has not come: what the others held before is not known", c.keysIndex, m.Label))
		case c.keyRevisions[i] < 0:
			why = append(why, fmt.Sprintf("no log that is left tells which revision %s had at entry %d", m.Label, c.keysIndex))
		default:
			why = append(why, fmt.Sprintf("%s has compacted revision %d, which it had at entry %d", m.Label, c.keyRevisions[i], c.keysIndex))
		}
	}
	if len(why) > 0 && len(c.ms) > 1 {
		c.notCompared("keys", strings.Join(why, "; "))
	}
}

// reasonDisjointRevisions gives a reason for each member that shows no revision which another one still shows: those stopped before what the
// others are compacted at, or it is the other way round. Only keys that nobody has written since can be compared then.
func (c *comparison) reasonDisjointRevisions() {
	if len(c.ms) < 2 {
		return
	}
	sets := c.overlappingSets()
	for _, set := range sets[1:] {
		for _, i := range set {
			c.reason("%s: %s; only keys that were not written since can be compared, and the others are not known to be right", c.ms[i].Label, c.revisionsOutside(i, sets[0]))
		}
	}
}

// revisionsOutside says where the revisions of member i lie that shows none which some others show.
func (c *contents) revisionsOutside(i int, others []int) string {
	names, compact, last := strings.Join(c.labels(others), ", "), int64(math.MaxInt64), int64(0)
	for _, j := range others {
		compact, last = min(compact, c.ms[j].DB.CompactRevision()), max(last, c.last[j])
	}
	if c.last[i] < compact {
		return fmt.Sprintf("it ends with revision %d, and the lowest compact revision of %s is %d", c.last[i], names, compact)
	}
	return fmt.Sprintf("its compact revision is %d, and the highest revision of %s is %d", c.ms[i].DB.CompactRevision(), names, last)
}

// overlappingSets splits members by who shows the keyspace at a revision at which another one shows it, too, directly or by way of
// others; the largest set first, of two the one that has come further.
func (c *contents) overlappingSets() [][]int {
	var sets [][]int
	for i, m := range c.ms {
		set := []int{i}
		sets = slices.DeleteFunc(sets, func(o []int) bool {
			meets := slices.ContainsFunc(o, func(j int) bool {
				return max(m.DB.CompactRevision(), c.ms[j].DB.CompactRevision()) <= min(c.last[i], c.last[j])
			})
			if meets {
				set = append(set, o...)
			}
			return meets
		})
		slices.Sort(set)
		sets = append(sets, set)
	}
	furthest := func(set []int) (rev int64) {
		for _, i := range set {
			rev = max(rev, c.last[i])
		}
		return rev
	}
	slices.SortStableFunc(sets, func(a, b []int) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(furthest(b), furthest(a)))
	})
	return sets
}

// revisionsBetween are the main revisions behind one up to another of which some members hold rows.
func (c *contents) revisionsBetween(members []int, after, upTo int64) (mains []int64) {
	for _, i := range members {
		t := c.ms[i].DB.Rows
		for at := t.Cursor(t.Lower(after+1), t.Lower(upTo+1)); at.Next(); {
			if n := len(mains); n == 0 || mains[n-1] != at.Row.Rev.Main {
				mains = append(mains, at.Row.Rev.Main)
			}
		}
	}
	slices.Sort(mains)
	return slices.Compact(mains)
}

// keyDiff reads what members hold.
func (c *comparison) keyDiff(k int, brief bool) KeyDiff {
	d := KeyDiff{Key: Key(c.keys.keys[k]), Difference: c.keys.kinds[k], ByMember: make(map[string]KeyState, len(c.ms))}
	for i, m := range c.ms {
		switch n := c.keys.rows[k*len(c.ms)+i]; n {
		case unknown:
		case noRow:
			d.ByMember[m.Label] = KeyState{}
		default:
			var kv mvcc.KeyValue
			if r := m.DB.Rows.Row(int(n)); kv.Decode(r.Value) != nil {
				continue // the file changes
			}
			s := KeyState{
				Present: true, ModRevision: kv.Mod, CreateRevision: kv.Create, Version: kv.Version, Lease: ID(uint64(kv.Lease)),
				ValueSize: len(kv.Value),
			}
			if !brief {
				sum := sha256.Sum256(kv.Value)
				s.ValueSHA256 = hex.EncodeToString(sum[:])
			}
			d.ByMember[m.Label] = s
		}
	}
	return d
}

// mayMissRow tells whether a newer row of a key may be missing on member i because a page could not be read.
func (c *contents) mayMissRow(i int, mod int64, present bool) bool {
	for _, h := range c.ms[i].DB.Rows.Holes() {
		if !present || h.Last.Main > mod {
			return true
		}
	}
	return false
}

// compareKey says in what members differ on a key, and counts it.
func (c *comparison) compareKey(known []int, states []*mvcc.KeyValue) (difference string) {
	if len(known) < 2 {
		return ""
	}
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
		return ""
	case "missing":
		n.KeysMissing++
	case "value":
		n.KeysValue++
	default:
		n.KeysLease++
	}
	n.KeysDiffering++
	return difference
}

// compareCompacted compares what compaction left at and below the highest compact revision: of each key its last revision,
// unless that is a tombstone. Members that have not compacted that far are reduced to the same.
func (c *comparison) compareCompacted() {
	if c.highestCompact == 0 {
		return
	}
	old, _ := slices.BinarySearch(c.differing, c.highestCompact+1)
	byGroups := map[string]*cause{}
	var order []string
	for _, k := range c.keysOf(c.differing[:old]) {
		c.compareCompactedKey(k, byGroups, &order)
	}
	for _, id := range order {
		c.causes = append(c.causes, byGroups[id])
	}
}

// compareCompactedKey compares what is left of one key, and adds it to the cause with the same groups of members.
func (c *entryEffects) compareCompactedKey(k []byte, byGroups map[string]*cause, order *[]string) {
	rows := make([]*mvcc.Row, len(c.ms))
	var known []int
	for i := range c.ms {
		// A member that has not come as far as the compact revision shows the key as it was when it stopped.
		_, r, ok := c.ms[i].DB.Rows.At(k, min(c.highestCompact, c.last[i]))
		if ok {
			rows[i] = &r
		}
		mod := int64(0)
		if ok {
			mod = r.Rev.Main
		}
		if !c.mayMissRow(i, mod, ok) {
			known = append(known, i)
		}
	}
	same := func(i, j int) bool {
		a, b := rows[i], rows[j]
		if c.last[i] > c.last[j] {
			i, a, b = j, b, a
		}
		if c.last[i] < c.highestCompact {
			// Member i stopped first: the other may have written or deleted the key since, but not before.
			if b == nil || b.Rev.Main > c.last[i] {
				return true
			}
		}
		return (a == nil) == (b == nil) && (a == nil || sameRow(a, b))
	}
	groups := c.groupCompacted(known, same)
	if len(groups) < 2 {
		return
	}
	sortGroups(groups)
	id := fmt.Sprint(groups)
	kk := byGroups[id]
	if kk == nil {
		kk = &cause{
			layer: LayerStorage, groups: groups, revisions: &RevisionInterval{First: 1, Last: c.highestCompact},
			interval: c.entriesBetween(groups, 1, c.highestCompact),
			what:     "rows that compaction left at or below the compact revision differ; what made them is compacted away",
		}
		byGroups[id] = kk
		*order = append(*order, id)
	}
	for _, i := range known {
		if r := rows[i]; r != nil && (kk.revision == 0 || r.Rev.Main < kk.revision) {
			kk.revision = r.Rev.Main
		}
	}
	kk.keys = append(kk.keys, string(k))
}

// groupCompacted splits members by what is left of a key. One that stopped before the compact revision may agree with several
// sides that do not agree with each other: it is of the one that follows its log, if there is one.
func (c *contents) groupCompacted(known []int, same func(i, j int) bool) [][]int {
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
			may = slices.DeleteFunc(may, func(n int) bool { return c.logs.firstDiffering(groups[n][0], i) < math.MaxUint64 })
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
