package remedy

import (
	"bytes"
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// Preview compares what would be with what a member holds now: keys that are alive, by value and lease. Of each list the first MaxPreviewed
// in order are there, the counts are of all.
type Preview struct {
	Member   string `json:"member"`
	Standing string `json:"standing"` // of the member; of one that is not whole, what it lacks may have been there
	Entry    uint64 `json:"entry"`
	Revision int64  `json:"revision"`
	// Gone keys are on the member and would not be there, Back would be there and are not on the member; Other have another value or lease.
	GoneCount  int      `json:"gone_count"`
	Gone       []string `json:"gone"`
	BackCount  int      `json:"back_count"`
	Back       []string `json:"back"`
	OtherCount int      `json:"other_count"`
	Other      []string `json:"other"`
	SameCount  int      `json:"same_count"`
	GoneLeases int      `json:"gone_leases"`
	BackLeases int      `json:"back_leases"`
}

// MaxPreviewed bounds each list of keys.
const MaxPreviewed = 100

func (p *planner) preview() {
	if p.src.DB == nil {
		p.doubt("there is no preview: what would be is known only when recover has made a file of the log; take that with --from")
		return
	}
	for _, m := range p.q.Members {
		if m == p.src {
			continue
		}
		if m.DB == nil {
			p.doubt("%s has no db that can be read: there is no preview of what would be other than on it", m.Label)
			continue
		}
		p.d.Preview = append(p.d.Preview, *compareRows(p.src, m, MaxPreviewed))
	}
}

// firsts keeps the first names, in order, of any number.
type firsts struct {
	most, n int
	keys    []string
}

func (f *firsts) add(key []byte) {
	f.n++
	f.keys = append(f.keys, diff.Key(key).String())
	if len(f.keys) >= 4*f.most {
		f.cut()
	}
}

func (f *firsts) cut() []string {
	slices.Sort(f.keys)
	f.keys = f.keys[:min(len(f.keys), f.most)]
	return append([]string{}, f.keys...)
}

// compareRows compares what would be, src, with a member, and lists at most so many keys of a kind. Both have a db.
func compareRows(src, m *inspect.Member, most int) *Preview {
	v := &Preview{Member: m.Label, Standing: m.Evidence().Standing().String(), Entry: m.DB.Tables.ConsistentIndex, Revision: m.DB.Revision()}
	gone, back, other := firsts{most: most}, firsts{most: most}, firsts{most: most}
	ours, theirs := src.DB.Rows, m.DB.Rows
	for kv := range alive(theirs) {
		is, _, ok := ours.At(kv.Key, ours.Last())
		switch {
		case !ok:
			gone.add(kv.Key)
		case !bytes.Equal(is.Value, kv.Value) || is.Lease != kv.Lease:
			other.add(kv.Key)
		default:
			v.SameCount++
		}
	}
	for kv := range alive(ours) {
		if _, _, ok := theirs.At(kv.Key, theirs.Last()); !ok {
			back.add(kv.Key)
		}
	}
	v.GoneCount, v.Gone = gone.n, gone.cut()
	v.BackCount, v.Back = back.n, back.cut()
	v.OtherCount, v.Other = other.n, other.cut()
	v.GoneLeases, v.BackLeases = len(leasesBut(m, src)), len(leasesBut(src, m))
	return v
}

// alive yields the keys that a table holds in the end.
func alive(t *mvcc.Table) func(yield func(*mvcc.KeyValue) bool) {
	return func(yield func(*mvcc.KeyValue) bool) {
		for _, row := range t.Latest(t.Len()) {
			var kv mvcc.KeyValue
			if row.Tombstone || row.Bump() || kv.Decode(row.Value) != nil {
				continue
			}
			if !yield(&kv) {
				return
			}
		}
	}
}
