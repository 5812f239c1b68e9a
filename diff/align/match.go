package align

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// group is one main revision.
type group struct {
	main int64
	rows []mvcc.Row // empty: the number was used, but no row is left
	// unread is true if rows may be missing because of damage.
	unread bool
	// hole stands for all revisions that damage hides before the next group: any number of entries may have made them.
	hole bool
}

// Costs of steps. Their order decides which of two explanations is taken: an entry that had no effect is likelier
// than one with a damaged effect, and that likelier than a revision from nowhere with an entry lost beside it.
const (
	costRefused      = 20
	costDoubted      = 6  // where permissions or an alarm may have refused it
	costDoubtedToo   = 1  // and as it was on another member, too
	costLetPass      = 6  // more, if another member let it pass; and so much if it had an effect, though it had none there
	costBan          = 40 // all requests of a user from some entry on
	costBanned       = 2  // each of them
	costPermit       = 8  // applied, although they refuse it
	costBranch       = 20
	costPartial      = 22
	costAltered      = 23 // and 1 for every further field that differs
	costForeign      = 10 // more, if the rows are what another entry writes
	costForeignValue = 10 // and as much again, if that is another value by more than one bit
	costUnlike       = 3  // more, if a value has nothing in common with the entry's: damage changes some bits of it
	costLost         = 22
	costReplay       = 23
	costExtra        = 25
	costUnread       = 1
	costCoincidence  = 20 // what was there before is what an entry that had no effect writes
	costEcho         = 6  // what the first entries write stands before the beginning
	costAnchor       = 15 // the end of the data is not at the consistent index
	costAhead        = 5  // nor is it, but another member that has come further holds the same
	costTorn         = 30 // and the small tables are not of that moment
	costMiscounted   = 24 // the log begins with entries that cannot have made the row before
)

// match tells what it costs to say that a request made g on the state after main revision at.
func (p *predictor) match(r *raftlog.Request, want []Change, g *group, at int64) (int, Outcome, string) {
	if g.unread {
		if len(want) > 0 && len(g.rows) > 0 && differences(want, g.rows) == nil {
			return 0, Applied, ""
		}
		return costUnread, Unread, ""
	}
	if len(g.rows) == 0 {
		if len(want) == 0 {
			return -1, Lost, ""
		}
		return costLost, Lost, ""
	}
	if len(want) > 0 {
		if d := differences(want, g.rows); d == nil {
			return 0, Applied, ""
		}
	}
	for _, other := range p.branches(r, at) {
		if len(other) > 0 && differences(other, g.rows) == nil {
			return costBranch, OtherBranch, ""
		}
	}
	if len(want) == 0 {
		return -1, Applied, ""
	}
	if partOf(want, g.rows) {
		return costPartial, Partial, ""
	}
	if len(want) == len(g.rows) {
		for i := range want {
			if want[i].Key != string(g.rows[i].Key()) || want[i].Delete != g.rows[i].Tombstone {
				return -1, Applied, ""
			}
		}
		d := differences(want, g.rows)
		cost := costAltered + len(d) - 1
		if unlike(want, g.rows) {
			cost += costUnlike
		}
		return cost, Altered, strings.Join(d, ", ")
	}
	return -1, Applied, ""
}

// unlike tells whether the value of some row can hardly have become that from what was to be written.
func unlike(want []Change, rows []mvcc.Row) bool {
	var kv mvcc.KeyValue
	for i := range want {
		if !want[i].Delete && kv.Decode(rows[i].Value) == nil && !alike(want[i].Value, kv.Value) {
			return true
		}
	}
	return false
}

// alike tells whether two values differ in one bit, or have half of their bytes in common at both ends.
func alike(a, b []byte) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	head, tail := 0, 0
	for head < len(a) && a[head] == b[head] {
		head++
	}
	for tail < len(a)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return 2*(head+tail) >= len(b) || len(a) == len(b) && bitsApart(a, b) == 1
}

// Flipped tells whether rows are what was predicted, but for one bit of one value or lease.
func Flipped(want []Change, rows []mvcc.Row) bool {
	if len(want) != len(rows) {
		return false
	}
	flips := 0
	var kv mvcc.KeyValue
	for i := range want {
		c, r := &want[i], &rows[i]
		if kv.Decode(r.Value) != nil || c.Key != string(kv.Key) || c.Delete != r.Tombstone || int(r.Rev.Sub) != i {
			return false
		}
		if c.Delete {
			continue
		}
		if len(c.Value) != len(kv.Value) || kv.Mod != r.Rev.Main || c.Create != kv.Create || c.Version != kv.Version {
			return false
		}
		flips += bits.OnesCount64(uint64(c.Lease^kv.Lease)) + bitsApart(c.Value, kv.Value)
	}
	return flips == 1
}

// bitsApart counts the bits in which as many bytes of two values differ as the shorter one has.
func bitsApart(a, b []byte) (n int) {
	for i := range min(len(a), len(b)) {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n
}

// differences names the fields in which rows differ from changes, nil if in none.
func differences(want []Change, rows []mvcc.Row) []string {
	if len(want) != len(rows) {
		return []string{"number of changes"}
	}
	var d []string
	var kv mvcc.KeyValue
	for i := range want {
		c, r := &want[i], &rows[i]
		if err := kv.Decode(r.Value); err != nil {
			d = append(d, "row")
			continue
		}
		if int(r.Rev.Sub) != i {
			d = append(d, "sub")
		}
		switch {
		case c.Key != string(kv.Key):
			d = append(d, "key")
		case c.Delete != r.Tombstone:
			d = append(d, "kind of change")
		case r.Tombstone:
		default:
			if !bytes.Equal(c.Value, kv.Value) {
				d = append(d, "value")
			}
			if c.Lease != kv.Lease {
				d = append(d, "lease")
			}
			if kv.Mod != r.Rev.Main {
				d = append(d, "mod_revision")
			}
			if c.Create != kv.Create {
				d = append(d, "create_revision")
			}
			if c.Version != kv.Version {
				d = append(d, "version")
			}
		}
	}
	return d
}

// Difference tells what became of the rows that an entry was to make, and in which fields they differ.
func Difference(want []Change, rows []mvcc.Row) (o Outcome, detail string) {
	switch {
	case len(rows) == 0:
		return Lost, ""
	case partOf(want, rows):
		return Partial, ""
	}
	return Altered, strings.Join(differences(want, rows), ", ")
}

// Resembles tells whether rows may be what is left of those that an entry was to make: a part of them, or all with one thing changed.
func Resembles(want []Change, rows []mvcc.Row) bool {
	if len(rows) == 0 || partOf(want, rows) {
		return true
	}
	d := differences(want, rows)
	return len(d) == 1 && !slices.Contains([]string{"number of changes", "row", "key", "kind of change"}, d[0]) && !unlike(want, rows)
}

// historyOnly tells whether all differences follow from earlier rows of the same key.
func historyOnly(detail string) bool {
	for d := range strings.SplitSeq(detail, ", ") {
		if d != "version" && d != "create_revision" {
			return false
		}
	}
	return true
}

// Same tells whether rows are just what was predicted, which must be something.
func Same(want []Change, rows []mvcc.Row) bool {
	return len(want) > 0 && differences(want, rows) == nil
}

// partOf tells whether rows are some of the changes, each as it should be, in their order.
func partOf(want []Change, rows []mvcc.Row) bool {
	if len(rows) >= len(want) {
		return false
	}
	i := 0
	var kv mvcc.KeyValue
	for k := range rows {
		r := &rows[k]
		if kv.Decode(r.Value) != nil {
			return false
		}
		for i < len(want) && !(want[i].Key == string(kv.Key) && want[i].Delete == r.Tombstone &&
			(r.Tombstone || bytes.Equal(want[i].Value, kv.Value) && want[i].Lease == kv.Lease)) {
			i++
		}
		if i == len(want) {
			return false
		}
		i++
	}
	return true
}

// signature is a hash of what a revision holds: keys, values and leases, not the numbers that depend on history.
type signature uint64

type hasher struct{ h maphash.Hash }

// seed is of this process: signatures are compared, never shown.
var seed = maphash.MakeSeed()

func newHasher() *hasher {
	h := &hasher{}
	h.h.SetSeed(seed)
	return h
}

func (h *hasher) add(tombstone bool, key, value []byte, lease int64) {
	var head [25]byte
	if tombstone {
		head[0] = 1
	}
	put := func(at int, v uint64) {
		for i := range 8 {
			head[at+i] = byte(v >> (8 * i))
		}
	}
	put(1, uint64(len(key)))
	put(9, uint64(len(value)))
	put(17, uint64(lease))
	h.h.Write(head[:])
	h.h.Write(key)
	h.h.Write(value)
}

func (h *hasher) sum() signature {
	s := signature(h.h.Sum64())
	h.h.Reset()
	return max(s, 1)
}

// ofGroup is 0 where the group cannot be compared by content.
func (h *hasher) ofGroup(g *group) signature {
	if len(g.rows) == 0 || g.unread {
		return 0
	}
	var kv mvcc.KeyValue
	for i := range g.rows {
		r := &g.rows[i]
		if kv.Decode(r.Value) != nil {
			h.h.Reset()
			return 0
		}
		if r.Tombstone {
			h.add(true, kv.Key, nil, 0)
		} else {
			h.add(false, kv.Key, kv.Value, kv.Lease)
		}
	}
	return h.sum()
}

// ofRequest returns the signatures of everything a request could write whatever the state, as far as that is fixed.
func (h *hasher) ofRequest(in *pb.InternalRaftRequest) []signature {
	switch {
	case in == nil:
	case in.Put != nil:
		if h.put(in.Put) {
			return []signature{h.sum()}
		}
	case in.DeleteRange != nil:
		if len(in.DeleteRange.RangeEnd) == 0 {
			h.add(true, in.DeleteRange.Key, nil, 0)
			return []signature{h.sum()}
		}
	case in.Txn != nil:
		var all []signature
		for _, ops := range [][]*pb.RequestOp{in.Txn.Success, in.Txn.Failure} {
			if s := h.ofOps(ops); s != 0 && (len(all) == 0 || all[0] != s) {
				all = append(all, s)
			}
		}
		return all
	}
	h.h.Reset()
	return nil
}

func (h *hasher) put(r *pb.PutRequest) bool {
	if r.IgnoreValue || r.IgnoreLease {
		return false
	}
	h.add(false, r.Key, r.Value, r.Lease)
	return true
}

func (h *hasher) ofOps(ops []*pb.RequestOp) signature {
	n := 0
	for _, op := range ops {
		switch {
		case op.GetRequestRange() != nil:
		case op.GetRequestPut() != nil:
			if !h.put(op.GetRequestPut()) {
				h.h.Reset()
				return 0
			}
			n++
		default:
			h.h.Reset()
			return 0
		}
	}
	if n == 0 {
		return 0
	}
	return h.sum()
}
