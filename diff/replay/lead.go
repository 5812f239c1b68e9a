package replay

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// Gap is where a member parted from the rules among entries whose revisions it has compacted: what survives there differs
// from what the rules make.
type Gap struct {
	// First and Last bound the entry. Rows that are the same do not narrow it down: what parts may meet again.
	First, Last uint64
	// Revision is the first one of which a row that survived differs.
	Revision int64
	// Keys are those whose rows differ, sorted.
	Keys []string
}

// lead follows entries whose revisions a member has compacted, and compares what survived.
type lead struct {
	from  int64 // main revision of the base
	index uint64
	last  map[string]leadRow
	made  []made // revisions in order
}

type made struct {
	rev   int64
	index uint64
}

// leadRow is the last row of a key. The value is hashed: there may be many.
type leadRow struct {
	rev    mvcc.Revision
	delete bool
	sum    [sha256.Size]byte
}

func newLead(st *State) *lead {
	return &lead{from: st.Revision, index: st.Index, last: map[string]leadRow{}}
}

func (l *lead) see(fx *Effect) {
	if fx.Revision == 0 {
		return
	}
	l.made = append(l.made, made{fx.Revision, fx.Index})
	for i, c := range fx.Changes {
		l.last[c.Key] = leadRow{
			rev: mvcc.Revision{Main: fx.Revision, Sub: int64(i)}, delete: c.Delete,
			sum: contentSum(c.Value, c.Lease, c.Create, c.Version),
		}
	}
}

func contentSum(value []byte, lease, create, version int64) [sha256.Size]byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %d %d ", lease, create, version) // a hash takes everything
	h.Write(value)
	return [sha256.Size]byte(h.Sum(nil))
}

// compare compares what the rules made with the rows that the member has up to its main revision at, which came with
// entry last. It returns nil if nothing differs.
func (l *lead) compare(rows *mvcc.Table, at int64, last uint64) *Gap {
	has := l.surviving(rows, at)
	g := &Gap{Revision: math.MaxInt64, First: max(l.index, 1), Last: last}
	upTo := int64(math.MaxInt64) // the parting came with this revision at the latest
	differ := func(key string, rev, by int64) {
		g.Keys = append(g.Keys, key)
		g.Revision, upTo = min(g.Revision, rev), min(upTo, by)
	}
	for key, want := range l.last {
		got, ok := has[key]
		delete(has, key)
		switch {
		case want.delete && (!ok || got.delete && got.rev == want.rev): // compaction removes tombstones
		case ok && got == want:
		case !ok:
			differ(key, want.rev.Main, math.MaxInt64) // deleted at any time later, or never written
		default:
			// The later one of the two is the one too many, or the one that is missing.
			differ(key, min(want.rev.Main, got.rev.Main), max(want.rev.Main, got.rev.Main))
		}
	}
	for key, got := range has {
		if got.rev.Main > l.from {
			differ(key, got.rev.Main, got.rev.Main) // no entry wrote it
		}
	}
	end := l.from
	if n := len(l.made); n > 0 {
		end = l.made[n-1].rev
	}
	switch {
	case len(g.Keys) > 0:
	case end != at:
		g.Revision = min(end, at) + 1
	default:
		return nil
	}
	for _, m := range l.made {
		if m.rev >= upTo {
			g.Last = m.index
			break
		}
	}
	slices.Sort(g.Keys)
	return g
}

// surviving are the last rows of the keys that the entries write, and of those written behind the base.
func (l *lead) surviving(rows *mvcc.Table, upTo int64) map[string]leadRow {
	has := map[string]leadRow{}
	var kv mvcc.KeyValue
	for _, r := range rows.Between(0, rows.Lower(upTo+1)) {
		if kv.Decode(r.Value) != nil {
			continue
		}
		if _, ok := l.last[string(kv.Key)]; !ok && r.Rev.Main <= l.from {
			continue
		}
		x := leadRow{rev: r.Rev, delete: r.Tombstone}
		if r.Tombstone {
			x.sum = contentSum(nil, 0, 0, 0)
		} else {
			x.sum = contentSum(kv.Value, kv.Lease, kv.Create, kv.Version)
		}
		has[string(kv.Key)] = x
	}
	return has
}
