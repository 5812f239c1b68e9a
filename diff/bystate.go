package diff

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/faults"
)

// What members hold at an entry, by running their logs up to there: compaction and lag do not matter. Two members are compared at the
// last entry that both have reached.

// comparedAt are the entries at which some two members are compared, in order.
func (c *explanations) comparedAt() (cuts []uint64) {
	for i, x := range c.explained {
		for _, o := range c.explained[i+1:] {
			cuts = append(cuts, min(x.reach, o.reach))
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// pairsAt calls f for every two members that are compared at an entry.
func (c *explanations) pairsAt(cut uint64, f func(i, j int)) {
	for i, x := range c.explained {
		for j, o := range c.explained[:i] {
			if min(x.reach, o.reach) == cut {
				f(i, j)
			}
		}
	}
}

// lastShared is the last entry that a member shares with another one: what it held there is what is shown of it.
func (c *explanations) lastShared(i int) (at uint64) {
	for j, o := range c.explained {
		if j != i {
			at = max(at, min(c.explained[i].reach, o.reach))
		}
	}
	return at
}

// stateAt calls use with the state of a member behind an entry.
func (x *explanation) stateAt(index uint64, use func(s *apply.State)) {
	x.member.Run(&x.chosen, index, nil, use)
}

// keyDifference is the kind of the difference of two records of one key, empty if there is none or only in revisions.
func keyDifference(a, b *apply.Record) (kind string, shifted bool) {
	switch {
	case a.Exists() != b.Exists():
		return "missing", false
	case a.Value != b.Value:
		return "value", false
	case a.Lease != b.Lease:
		return "lease", false
	}
	return "", !a.Same(b)
}

// kinds of differences, the weightiest last.
var kinds = []string{"", "lease", "value", "missing"}

// compareKeysByState compares what is alive on every two members.
func (c *comparison) compareKeysByState() {
	if len(c.explained) < 2 {
		return
	}
	log := c.explained[0].member.Log
	found := map[int32]string{}
	shifted := map[int32]bool{}
	for _, cut := range c.comparedAt() {
		r := recordsAt{apart: make([][]keyRecord, len(c.explained))}
		for i, x := range c.explained {
			if x.reach >= cut {
				x.stateAt(cut, func(s *apply.State) { r.add(i, s) })
			}
		}
		c.pairsAt(cut, func(i, j int) {
			r.mayDiffer(i, j, func(k int32) {
				kind, moved := keyDifference(r.of(i, k), r.of(j, k))
				if moved {
					shifted[k] = true
				}
				if slices.Index(kinds, kind) > slices.Index(kinds, found[k]) {
					found[k] = kind
				}
			})
		})
	}
	var numbers []int32
	for k := range log.Keys {
		switch {
		case found[int32(k)] != "":
			numbers = append(numbers, int32(k))
		case shifted[int32(k)]:
			c.keys.shifted++
		}
	}
	held := make([][]apply.Record, len(c.explained)) // of each member, of each of these keys
	for i, x := range c.explained {
		x.stateAt(c.lastShared(i), func(s *apply.State) {
			for _, k := range numbers {
				held[i] = append(held[i], *s.Record(k))
			}
		})
	}
	rows := make([]int32, len(c.explained))
	for n, k := range numbers {
		for i := range rows {
			if rows[i] = noRow; held[i][n].Exists() {
				rows[i] = 0
			}
		}
		c.keys.add([]byte(log.Keys[k]), found[k], rows...)
	}
	c.keys.countIn(&c.doc.Counts)
	c.doc.Keys = KeyDiffs{len(numbers), func(n int, brief bool) KeyDiff {
		d := KeyDiff{Key: Key(c.keys.keys[n]), Difference: c.keys.kinds[n], ByMember: make(map[string]KeyState, len(c.explained))}
		for i, m := range c.ms {
			d.ByMember[m.Label] = stateOf(c.explained[i].member.Log, &held[i][n], brief)
		}
		return d
	}}
}

// recordsAt are the keys of members at one entry: all of the first one, and of the others those that are not the same there, which mostly are few.
type recordsAt struct {
	first []apply.Record
	apart [][]keyRecord // of each member, in order of the keys; none of the first one
}

type keyRecord struct {
	apply.Record
	key int32
}

// add adds the keys of a member. All states have the same number of keys.
func (r *recordsAt) add(member int, s *apply.State) {
	if r.first == nil {
		r.first = make([]apply.Record, len(s.Log.Keys))
		for k := range r.first {
			r.first[k] = *s.Record(int32(k))
		}
		return
	}
	for k := range r.first {
		if x := s.Record(int32(k)); !x.Same(&r.first[k]) {
			r.apart[member] = append(r.apart[member], keyRecord{*x, int32(k)})
		}
	}
}

func (r *recordsAt) of(member int, key int32) *apply.Record {
	own := r.apart[member]
	if n, ok := slices.BinarySearchFunc(own, key, func(x keyRecord, key int32) int { return cmp.Compare(x.key, key) }); ok {
		return &own[n].Record
	}
	return &r.first[key]
}

// mayDiffer calls f for the keys that may not be the same on two members, for some of them twice.
func (r *recordsAt) mayDiffer(i, j int, f func(key int32)) {
	for _, member := range []int{i, j} {
		for k := range r.apart[member] {
			f(r.apart[member][k].key)
		}
	}
}

func stateOf(log *apply.Log, r *apply.Record, brief bool) KeyState {
	if !r.Exists() {
		return KeyState{}
	}
	value := log.Bytes(r.Value)
	s := KeyState{
		Present: true, ModRevision: r.Mod, CreateRevision: r.Create, Version: r.Version, Lease: ID(uint64(log.Leases[r.Lease])), ValueSize: len(value),
	}
	if !brief {
		sum := sha256.Sum256(value)
		s.ValueSHA256 = hex.EncodeToString(sum[:])
	}
	return s
}

// compareLeasesByState compares which leases exist on every two members.
func (c *comparison) compareLeasesByState() {
	if len(c.explained) < 2 {
		return
	}
	log := c.explained[0].member.Log
	differ := map[int32]bool{}
	for _, cut := range c.comparedAt() {
		granted := make([][]bool, len(c.explained))
		for i, x := range c.explained {
			if x.reach >= cut {
				x.stateAt(cut, func(s *apply.State) { granted[i] = c.leasesAt(i, cut, s) })
			}
		}
		c.pairsAt(cut, func(i, j int) {
			for l := range log.Leases {
				if granted[i][l] != granted[j][l] {
					differ[int32(l)] = true
				}
			}
		})
	}
	var numbers []int32
	for l := range log.Leases {
		if differ[int32(l)] {
			numbers = append(numbers, int32(l))
		}
	}
	slices.SortFunc(numbers, func(a, b int32) int { return cmp.Compare(uint64(log.Leases[a]), uint64(log.Leases[b])) })
	c.doc.Counts.LeasesDiffering = len(numbers)
	for _, l := range numbers {
		c.doc.Leases = append(c.doc.Leases, LeaseDiff{ID: ID(uint64(log.Leases[l])), ByMember: map[string]LeaseState{}})
	}
	for i, x := range c.explained {
		x.stateAt(c.lastShared(i), func(s *apply.State) {
			granted := c.leasesAt(i, c.lastShared(i), s)
			for n, l := range numbers {
				st := LeaseState{Present: granted[l], Keys: len(s.Attached(l))}
				for _, r := range c.ms[i].DB.Tables.Leases {
					if r.ID == log.Leases[l] {
						st.TTL, st.RemainingTTL = r.TTL, r.RemainingTTL
					}
				}
				c.doc.Leases[n].ByMember[c.ms[i].Label] = st
			}
		})
	}
	for _, k := range c.causes {
		if k.layer == LayerLease && k.index == 0 && k.fault != nil {
			for _, l := range numbers {
				k.leases = append(k.leases, log.Leases[l])
			}
		}
	}
}

// leasesAt tells of each lease whether member i holds it behind an entry, where s is the state that its log leads to: in the end what its table holds, if
// that is not what its log leads to.
func (c *explanations) leasesAt(i int, index uint64, s *apply.State) (granted []bool) {
	x := c.explained[i]
	granted = make([]bool, len(x.member.Log.Leases))
	if index < x.reach || !slices.ContainsFunc(x.chosen.Faults, func(f faults.Fault) bool { return f.Kind == faults.Table && f.Table == faults.Leases }) {
		for l := range granted {
			granted[l] = s.Granted(int32(l))
		}
		return granted
	}
	for _, r := range c.ms[i].DB.Tables.Leases {
		if l, ok := x.member.Log.Lease(r.ID); ok {
			granted[l] = true
		}
	}
	return granted
}
