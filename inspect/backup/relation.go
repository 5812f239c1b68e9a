package backup

import (
	"fmt"
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// Kinship says how a backup stands to another state.
type Kinship string

// Kinships.
const (
	Same         Kinship = "same"
	Newer        Kinship = "newer"
	Older        Kinship = "older"
	OtherCluster Kinship = "other_cluster"
	OtherHistory Kinship = "other_history" // they hold different rows of the same revisions
	Unrelated    Kinship = "unknown"       // one of them cannot be read, or not in all
)

// Relation is how a backup stands to another state.
type Relation struct {
	To   string
	Is   Kinship
	Why  string // in a clause
	Sure bool   // rows that both hold show it; otherwise numbers alone do
	// Revisions and Entries are how many more the backup has come to, less than nothing if it is older. Entries are 0 if one of them does not tell.
	Revisions, Entries int64
}

// Relate says how a backup stands to another state, which has a label.
func Relate(b, to *inspect.Member, label string) *Relation {
	r := &Relation{To: label, Is: Unrelated}
	if b.DB == nil || to.DB == nil {
		r.Why = "one of them has no db that can be read"
		return r
	}
	if x, y := b.Log, to.Log; x.HasMetadata && y.HasMetadata && x.ClusterID != y.ClusterID {
		r.Is, r.Why, r.Sure = OtherCluster, fmt.Sprintf("cluster %016x, and not %016x", x.ClusterID, y.ClusterID), true
		return r
	}
	last, theirs := b.DB.Revision(), to.DB.Revision()
	if r.Revisions = last - theirs; b.DB.Tables.ConsistentIndex > 0 && to.DB.Tables.ConsistentIndex > 0 {
		r.Entries = int64(b.DB.Tables.ConsistentIndex) - int64(to.DB.Tables.ConsistentIndex)
	}
	whole := b.Evidence().Whole() && to.Evidence().Whole()
	compared, differ := 0, int64(0)
	if whole {
		compared, differ = sameRows(b, to)
	}
	strangers := disjoint(b, to)
	switch {
	case differ > 0 && strangers:
		r.Is, r.Why, r.Sure = OtherCluster, "other members, and other rows", true
		return r
	case differ > 0:
		r.Is, r.Why, r.Sure = OtherHistory, fmt.Sprintf("revision %d is not the same in both", differ), true
		return r
	case strangers && compared == 0:
		r.Is, r.Why = OtherCluster, "it lists none of the other's members"
		return r
	}
	r.Sure = compared > 0
	switch {
	case r.Revisions > 0 || r.Revisions == 0 && r.Entries > 0:
		r.Is = Newer
	case r.Revisions < 0 || r.Entries < 0:
		r.Is = Older
	default:
		r.Is = Same
	}
	switch {
	case strangers:
		r.Why = fmt.Sprintf("the same in all %d rows that both hold, though it lists other members: one of them was restored", compared)
	case compared > 0:
		r.Why = fmt.Sprintf("the same in all %d rows that both hold", compared)
	case !whole:
		r.Is, r.Why = Unrelated, "not all of both can be read, or it does not fit together"
	default:
		r.Why = "by numbers alone: no row is in both to compare"
	}
	return r
}

// sameRows compares the rows of revisions that neither has compacted. differ is the first revision that is not the same in both, 0 if there is none.
func sameRows(a, b *inspect.Member) (compared int, differ int64) {
	low, high := max(a.DB.CompactRevision(), b.DB.CompactRevision(), 1), min(a.DB.Revision(), b.DB.Revision())
	x, y := a.DB.Rows, b.DB.Rows
	i, j := x.Lower(low+1), y.Lower(low+1)
	m, n := x.Lower(high+1), y.Lower(high+1)
	for ; i < m && j < n; i, j = i+1, j+1 {
		r, s := x.Row(i), y.Row(j)
		if !sameRow(&r, &s) {
			return compared, min(r.Rev.Main, s.Rev.Main)
		}
		compared++
	}
	switch {
	case i < m:
		r := x.Row(i)
		return compared, r.Rev.Main
	case j < n:
		s := y.Row(j)
		return compared, s.Rev.Main
	}
	return compared, 0
}

// sameRow tells whether two rows say the same: releases write zeros differently.
func sameRow(a, b *mvcc.Row) bool {
	var x, y mvcc.KeyValue
	return a.Rev == b.Rev && a.Tombstone == b.Tombstone && x.Decode(a.Value) == nil && y.Decode(b.Value) == nil && x.Same(&y)
}

// disjoint tells that two states know members, and none in common.
func disjoint(a, b *inspect.Member) bool {
	x, y := known(a), known(b)
	return len(x) > 0 && len(y) > 0 && !slices.ContainsFunc(x, func(id uint64) bool { return slices.Contains(y, id) })
}

func known(m *inspect.Member) (ids []uint64) {
	if m.Log.HasMetadata {
		ids = append(ids, m.Log.NodeID)
	}
	for _, x := range m.DB.Tables.Members {
		ids = append(ids, x.ID)
	}
	return ids
}
