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

// differingKeys are keys on which members disagree, in order. keys and kinds have an element for each of them, rows one for each member of each.
type differingKeys struct {
	keys    [][]byte
	kinds   []string
	rows    []int32 // the row that is the key's where it is compared, or one of noRow and unknown
	shifted int     // how many more keys differ in revisions or version alone
}

const (
	noRow   int32 = -1 // the key is not there
	unknown int32 = -2 // pages that could not be read may hold it
)

func (d *differingKeys) add(key []byte, kind string, rows ...int32) {
	d.keys, d.kinds, d.rows = append(d.keys, key), append(d.kinds, kind), append(d.rows, rows...)
}

// sort puts the keys in order.
func (d *differingKeys) sort(members int) {
	order := make([]int, len(d.keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(d.keys[a], d.keys[b]) })
	to := differingKeys{shifted: d.shifted}
	for _, i := range order {
		to.add(d.keys[i], d.kinds[i], d.rows[i*members:(i+1)*members]...)
	}
	*d = to
}

// countIn writes down how many keys differ, and in what.
func (d *differingKeys) countIn(n *Counts) {
	n.KeysDiffering, n.KeysMissing, n.KeysValue, n.KeysLease, n.KeysShifted = len(d.keys), 0, 0, 0, d.shifted
	for _, kind := range d.kinds {
		switch kind {
		case "missing":
			n.KeysMissing++
		case "value":
			n.KeysValue++
		case "lease":
			n.KeysLease++
		}
	}
}

// keysByRows compares, where some member is not explained, what is alive on the members, by their rows. compareKeysByRows makes it, and nothing changes
// it after that.
type keysByRows struct {
	*entryEffects
	index     uint64  // the entry at which keys are compared
	revisions []int64 // of each member there, -1 if not known
	found     differingKeys
}

// compareKeysByRows compares what is alive at the common index, where the revision of each member is given (-1 if it is not known), and on those that
// have come further to one later entry, what is alive there.
func compareKeysByRows(c *entryEffects, common uint64, atCommon []int64) *keysByRows {
	k := &keysByRows{entryEffects: c, index: common, revisions: atCommon}
	k.chooseIndex()
	k.compare(k.shown(), k.revisions, nil)
	if ahead := k.furthestPair(); len(ahead) > 1 {
		seen := make(map[string]bool, len(k.found.keys))
		for _, key := range k.found.keys {
			seen[string(key)] = true
		}
		k.compare(ahead, k.last, seen)
		k.found.sort(len(k.ms))
	}
	return k
}

// compareKeys compares keys by rows.
func (c *comparison) compareKeys() {
	k := compareKeysByRows(&c.entryEffects, c.doc.Common.Index, c.revisionsAtCommon)
	c.keysByRows, c.keys = k, k.found
	c.keys.countIn(&c.doc.Counts)
	if n := len(c.keys.keys); n > 0 || len(k.shown()) > 1 {
		c.doc.Keys = KeyDiffs{n, c.keyDiff}
	}
}

// furthestPair are the members that have all come to one entry behind that at which keys are compared, the last one to which several have come. What they
// hold there is what they hold now.
func (k *keysByRows) furthestPair() (ahead []int) {
	at := k.index
	sure := func(i int) bool { return k.explained[i] != nil || k.ms[i].Evidence().EndCounts() }
	for i := range k.ms {
		index := k.reach(i)
		if index < at || index == k.index || !sure(i) {
			continue
		}
		same := []int{i}
		for j := range k.ms[:i] {
			if k.reach(j) == index && sure(j) {
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

// compare compares what is alive on some members, on each at a revision. With seen, keys are added that were not seen to differ before, and none is
// counted that differs in revisions alone.
func (k *keysByRows) compare(members []int, at []int64, seen map[string]bool) {
	if len(members) < 2 {
		return
	}
	low, high := int64(math.MaxInt64), int64(0)
	for _, i := range members {
		low, high = min(low, at[i]), max(high, at[i])
	}
	// No other key can differ than those of which some row is not the same on all members, or that some of them have written
	// at revisions which others come to later.
	keys := k.keysOf(append(slices.Clip(k.differing), k.revisionsBetween(members, low, high)...))
	states := make([]*mvcc.KeyValue, len(k.ms))
	rows := make([]int32, len(k.ms))
	for _, key := range keys {
		if seen[string(key)] {
			continue
		}
		known := k.aliveAt(key, members, at, states, rows)
		kind, shifted := differenceOf(known, states)
		if kind != "" {
			k.found.add(key, kind, rows...)
		} else if shifted && seen == nil {
			k.found.shifted++
		}
	}
}

// aliveAt finds what members hold of a key, each at a revision: states and rows have an element for each member, nil where there is none, and it returns
// the members of which that is known.
func (c *contents) aliveAt(key []byte, members []int, at []int64, states []*mvcc.KeyValue, rows []int32) (known []int) {
	for i := range c.ms {
		states[i], rows[i] = nil, unknown
	}
	for _, i := range members {
		t := c.ms[i].DB.Rows
		n := t.RowAt(key, at[i])
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
	return known
}

// chooseIndex finds the entry at which keys are compared: the common index, unless it is not known there of all members what they held, and a later one
// to which as many or more have come shows the keys of one of those.
func (k *keysByRows) chooseIndex() {
	common, atCommon := k.index, k.revisions
	shown := func(at []int64) (n int) {
		for i := range at {
			if k.showsRevision(i, at[i]) {
				n++
			}
		}
		return n
	}
	best := shown(atCommon)
	if best == len(k.ms) {
		return
	}
	for i := range k.ms {
		index := k.reach(i)
		if index <= common || k.showsRevision(i, atCommon[i]) {
			continue
		}
		at := make([]int64, len(k.ms))
		for j := range k.ms {
			switch reach := k.reach(j); {
			case reach < index:
				at[j] = -1
			case reach == index && k.ms[j].Evidence().EndCounts():
				at[j] = k.last[j]
			default:
				at[j] = k.revisionAt(j, index)
			}
		}
		if n := shown(at); n >= 2 && n >= best {
			best, k.revisions, k.index = n, at, index
		}
	}
}

// showsRevision tells whether member i's rows show what was alive at a revision; none is below 0.
func (c *contents) showsRevision(i int, at int64) bool {
	return at >= 0 && at >= c.ms[i].DB.CompactRevision()
}

// dropDoubtfulKeys forgets the keys that differ at a later entry than the common index if nothing else tells that members diverged: what they held at an entry
// that all have come to is not known, so that these may be of copies which are not what they look like.
func (c *comparison) dropDoubtfulKeys() {
	if len(c.doc.Divergences) > 0 || c.keysByRows == nil || c.keysByRows.index <= c.doc.Common.Index {
		return
	}
	c.keys, c.doc.Keys = differingKeys{}, KeyDiffs{}
	c.keys.countIn(&c.doc.Counts)
}

// shows tells whether member i's keys are known at the entry at which keys are compared.
func (k *keysByRows) shows(i int) bool { return k.showsRevision(i, k.revisions[i]) }

// shown are the members whose keys are known there.
func (k *keysByRows) shown() (members []int) {
	for i := range k.ms {
		if k.shows(i) {
			members = append(members, i)
		}
	}
	return members
}

// noteKeysLeftOut notes the members whose keys are not known where keys are compared.
func (c *comparison) noteKeysLeftOut() {
	if why := c.keysByRows.whyLeftOut(); len(why) > 0 && len(c.ms) > 1 {
		c.notCompared("keys", strings.Join(why, "; "))
	}
}

// whyLeftOut says of each member that is not among those shown why it is not.
func (k *keysByRows) whyLeftOut() (why []string) {
	for i, m := range k.ms {
		switch {
		case k.shows(i):
		case k.reach(i) < k.index:
			why = append(why, fmt.Sprintf("they are compared as they are at entry %d, to which %s has not come: what the others held before is not known", k.index, m.Label))
		case k.revisions[i] < 0:
			why = append(why, fmt.Sprintf("no log that is left tells which revision %s had at entry %d", m.Label, k.index))
		default:
			why = append(why, fmt.Sprintf("%s has compacted revision %d, which it had at entry %d", m.Label, k.revisions[i], k.index))
		}
	}
	return why
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

// keyDiff reads what members hold of the key with number k of those that differ by rows.
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

// differenceOf says in what the known members differ on a key, or, if in nothing else, whether they do in revisions or version.
func differenceOf(known []int, states []*mvcc.KeyValue) (kind string, shifted bool) {
	if len(known) < 2 {
		return "", false
	}
	first := states[known[0]]
	for _, i := range known[1:] {
		s := states[i]
		switch {
		case (s == nil) != (first == nil):
			kind = "missing"
		case s == nil || kind == "missing":
		case !bytes.Equal(s.Value, first.Value):
			kind = "value"
		case s.Lease != first.Lease:
			if kind == "" {
				kind = "lease"
			}
		case !s.Same(first):
			shifted = true
		}
	}
	return kind, kind == "" && shifted
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
