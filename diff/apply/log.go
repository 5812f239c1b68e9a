package apply

import (
	"hash/maphash"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// Kind is what an entry asks for, as far as it changes what an Entry can change.
type Kind uint8

// The kinds of entries.
const (
	None       Kind = iota // nothing that a State holds: empty entries, membership, cluster version, v2 requests
	Put                    // of one key
	Delete                 // of a range
	Txn                    // a transaction
	Grant                  // of a lease
	Revoke                 // of a lease
	Compaction             // of the history
	Alarm                  // on or off
	Auth                   // users, roles, whether auth is on
)

// MaxDepth is how deeply transactions may be nested in one another. etcd's API lets at most --max-txn-ops operations through at
// each level, 128 unless it is set, and nobody is known to nest more than a few.
const MaxDepth = 64

// Value is the digest of the value of a key, by which values are held to be equal: [Log.Bytes] tells what it is.
type Value uint64

var seed = maphash.MakeSeed()

// NewValue is the value with these bytes.
func NewValue(b []byte) Value { return Value(maphash.Bytes(seed, b)) }

// Entry is one raft entry, made ready to be applied many times: keys and leases are numbers that the Log gives them. What few entries need is apart,
// and the order of the fields makes it small, as of what it holds.
type Entry struct {
	Index uint64
	op    op   // of Put, Delete
	txn   *txn // of Txn
	*apart
	// request is kept where auth may be on: permissions are asked of it.
	request *raftlog.Request
	lease   int32 // of Grant, Revoke
	Kind    Kind
	// Opaque is true if the entry does not decode, cannot be run or nests too deeply: what it does is not known.
	Opaque bool
	puts   bool // it puts something, perhaps: a NOSPACE alarm refuses it
}

// apart is what Grant, Compaction and Alarm ask for. Other entries have none.
type apart struct {
	ttl      int64            // of Grant
	revision int64            // of Compaction
	alarm    *pb.AlarmRequest // of Alarm
}

// op is one operation of a request.
type op struct {
	value       Value
	revision    int64 // of a range
	txn         *txn
	lo, hi      int32 // keys [lo, hi); the one key of a put is lo
	lease       int32 // 0 for none
	kind        opKind
	ignoreValue bool
	ignoreLease bool
}

type opKind uint8

const (
	opPut opKind = iota
	opDelete
	opRange
	opTxn
)

type txn struct {
	compares []compare
	branches [2][]op // failure, success
	proposer uint16  // see raftlog.Proposal: of a transaction that may be refused for what it reads
	reads    bool    // it may be
}

type compare struct {
	lo, hi int32
	number int32 // of a compare of a range of keys, from 1 on; 0 for one key
	target pb.Compare_CompareTarget
	result pb.Compare_CompareResult
	than   int64
	value  []byte
	sum    Value // of value
}

// Log is a log made ready to be applied.
type Log struct {
	Entries []Entry
	// Keys are all keys that entries and rows name, in order: a key is known by its place. Leases likewise; the first one is 0, for none.
	Keys   []string
	Leases []int64

	// Ranged is true if entries delete or compare ranges of keys, of which others may be than entries name.
	Ranged bool

	keys   map[string]int32
	leases map[int64]int32
	ranges int32 // compares of ranges

	asks    bool // see Asks
	reads   bool // a transaction that writes reads what it may be refused for
	nested  bool // a transaction that permissions may be asked for is nested
	txnPuts bool // a transaction that permissions may be asked for puts with a lease, or asks for the previous value

	versions []clusterVersion

	request func(i int) *raftlog.Request
	places  func() *Places
	values
}

// clusterVersion is what an entry sets: from there on all members run at least that minor version.
type clusterVersion struct {
	index uint64
	minor int64
	least Rules // those of its first release, as far as the log tells them apart; 0 if they are not known
}

// NewLog makes n entries ready; request returns the i-th, and keys and leases are those that rows name besides.
func NewLog(n int, index func(i int) uint64, request func(i int) *raftlog.Request, keys []string, leases []int64) *Log {
	return DecodeLog(n, index, func(i int, _ *raftlog.Decoder) *raftlog.Request { return request(i) }, keys, leases)
}

// DecodeLog is NewLog of entries that decode decodes, by a decoder, or with nil for good.
func DecodeLog(n int, index func(i int) uint64, decode func(i int, by *raftlog.Decoder) *raftlog.Request, keys []string, leases []int64) *Log {
	request := func(i int) *raftlog.Request { return decode(i, nil) }
	l := &Log{Entries: make([]Entry, n), keys: map[string]int32{}, leases: map[int64]int32{0: 0}, Leases: []int64{0}, request: request}
	l.places = sync.OnceValue(l.findPlaces)
	l.known = sync.OnceValue(l.findValues)
	for _, k := range keys { // of several members, mostly the same: not as many as there are
		if _, known := l.keys[k]; !known {
			l.addKey(k)
		}
	}
	for _, id := range leases {
		l.leaseOf(id)
	}
	c := compiler{Log: l}
	by := new(raftlog.Decoder)
	for i := range l.Entries {
		r := decode(i, by)
		if in := r.Internal; in != nil && !c.authorized && (in.AuthEnable != nil || r.User != "") {
			c.authorized, l.asks, by = true, true, nil // requests are kept from here on
			for k := range i {
				l.Entries[k].request = request(k)
			}
			r = request(i)
		}
		l.Entries[i] = c.compile(index(i), r)
	}
	c.number()
	for i := range l.versions {
		l.versions[i].least = l.oldest(l.versions[i].minor)
	}
	return l
}

// Key is the number of a key, and whether the log knows it.
func (l *Log) Key(name string) (int32, bool) { k, ok := l.keys[name]; return k, ok }

// Asks tells whether permissions may be asked for: auth is turned on, or a request names a user.
func (l *Log) Asks() bool { return l.asks }

// Proposer is of which member the transaction of the entry is, as raftlog.Proposal tells it, if it writes and may be refused for what it reads: a read of its
// own is at a revision, or permissions may be asked for.
func (e *Entry) Proposer() (prefix uint16, reads bool) {
	if e.Kind != Txn || !e.txn.reads {
		return 0, false
	}
	return e.txn.proposer, true
}

// Lease is the number of a lease, and whether the log knows it.
func (l *Log) Lease(id int64) (int32, bool) { n, ok := l.leases[id]; return n, ok }

func isAuth(in *pb.InternalRaftRequest) bool {
	return in.AuthEnable != nil || in.AuthDisable != nil || in.AuthUserAdd != nil || in.AuthUserDelete != nil ||
		in.AuthUserChangePassword != nil || in.AuthUserGrantRole != nil || in.AuthUserRevokeRole != nil || in.AuthRoleAdd != nil ||
		in.AuthRoleDelete != nil || in.AuthRoleGrantPermission != nil || in.AuthRoleRevokePermission != nil
}

// User is whose permissions apply to the entry: empty where auth cannot be on.
func (e *Entry) User() string {
	if e.request == nil {
		return ""
	}
	return e.request.User
}

// AuthRevision is the auth revision at which the entry was proposed, 0 where auth cannot be on.
func (e *Entry) AuthRevision() uint64 {
	if e.request == nil {
		return 0
	}
	return e.request.AuthRevision
}

// Lease is the lease that the entry grants or revokes, 0 for none.
func (e *Entry) Lease() int32 { return e.lease }

// Touches lists the keys that the entry may put or delete, those of ranges included, in no order; of lease revocations, none.
func (e *Entry) Touches() (keys []int32) {
	switch e.Kind {
	case Put, Delete:
		for k := e.op.lo; k < max(e.op.hi, e.op.lo+1) && (e.Kind == Put || k < e.op.hi); k++ {
			keys = append(keys, k)
		}
	case Txn:
		keys = e.txn.touches(nil)
	}
	return keys
}

func (t *txn) touches(keys []int32) []int32 {
	for _, ops := range t.branches {
		for i := range ops {
			switch o := &ops[i]; o.kind {
			case opPut:
				keys = append(keys, o.lo)
			case opDelete:
				for k := o.lo; k < o.hi; k++ {
					keys = append(keys, k)
				}
			case opTxn:
				keys = o.txn.touches(keys)
			}
		}
	}
	return keys
}

// Uses lists the leases that the entry grants, revokes or attaches keys to.
func (e *Entry) Uses() (leases []int32) {
	if e.lease != 0 {
		leases = append(leases, e.lease)
	}
	if e.op.lease != 0 {
		leases = append(leases, e.op.lease)
	}
	if e.txn != nil {
		leases = e.txn.uses(leases)
	}
	return leases
}

func (t *txn) uses(leases []int32) []int32 {
	for _, ops := range t.branches {
		for i := range ops {
			if ops[i].lease != 0 {
				leases = append(leases, ops[i].lease)
			}
			if ops[i].txn != nil {
				leases = ops[i].txn.uses(leases)
			}
		}
	}
	return leases
}

// Puts calls f for every put that the entry may make. One that keeps puts the value that the key has.
func (e *Entry) Puts(f func(key int32, v Value, keeps bool)) {
	switch e.Kind {
	case Put:
		e.op.puts(f)
	case Txn:
		e.txn.puts(f)
	}
}

func (o *op) puts(f func(key int32, v Value, keeps bool)) { f(o.lo, o.value, o.ignoreValue) }

func (t *txn) puts(f func(key int32, v Value, keeps bool)) {
	for _, ops := range t.branches {
		for i := range ops {
			switch o := &ops[i]; o.kind {
			case opPut:
				o.puts(f)
			case opTxn:
				o.txn.puts(f)
			}
		}
	}
}

// Hint is what an entry that is meant to have an effect takes for granted of a key.
type Hint uint8

// The hints.
const (
	Nothing Hint = iota // it puts the key, whether it exists or not
	Exists              // it deletes it, compares it with what only a key that exists has, or keeps a part of it
	Absent              // it compares it with what a key has that does not exist
)

// Asks calls f for every range of keys [lo, hi) on which depends what the entry does, in the order in which it asks.
func (e *Entry) Asks(f func(lo, hi int32, h Hint)) {
	switch e.Kind {
	case Put, Delete:
		e.op.asks(f)
	case Txn:
		e.txn.asks(f)
	}
}

func (o *op) asks(f func(lo, hi int32, h Hint)) {
	switch o.kind {
	case opPut:
		h := Nothing
		if o.ignoreValue || o.ignoreLease {
			h = Exists
		}
		f(o.lo, o.lo+1, h)
	case opDelete:
		f(o.lo, o.hi, Exists)
	case opTxn:
		o.txn.asks(f)
	}
}

func (t *txn) asks(f func(lo, hi int32, h Hint)) {
	for i := range t.compares {
		c := &t.compares[i]
		h := Exists
		zero := c.than == 0 && c.target != pb.Compare_VALUE && c.target != pb.Compare_LEASE
		switch {
		case c.target == pb.Compare_LEASE:
			h = Nothing
		case zero && c.result == pb.Compare_EQUAL, c.than == 1 && c.result == pb.Compare_LESS && c.target != pb.Compare_VALUE,
			!zero && c.result == pb.Compare_NOT_EQUAL && c.target != pb.Compare_VALUE:
			h = Absent
		}
		f(c.lo, c.hi, h)
	}
	for _, ops := range [][]op{t.branches[1], t.branches[0]} {
		for i := range ops {
			ops[i].asks(f)
		}
	}
}

// Deletes tells whether the entry may delete a key; a revocation may delete any.
func (e *Entry) Deletes(key int32) bool {
	switch e.Kind {
	case Delete:
		return e.op.lo <= key && key < e.op.hi
	case Txn:
		return e.txn.deletes(key)
	}
	return e.Kind == Revoke
}

func (t *txn) deletes(key int32) bool {
	for _, ops := range t.branches {
		for i := range ops {
			switch o := &ops[i]; o.kind {
			case opDelete:
				if o.lo <= key && key < o.hi {
					return true
				}
			case opTxn:
				if o.txn.deletes(key) {
					return true
				}
			}
		}
	}
	return false
}

// Range is how many revisions an entry may make and how many it makes surely, if neither permissions nor alarms refuse it: 0 or 1.
func (e *Entry) Range() (least, most int) {
	switch e.Kind {
	case Put:
		return number(e.op.neverRefused()), 1
	case Delete:
		return 0, number(e.op.lo < e.op.hi)
	case Txn:
		sure, may := e.txn.mayWrite()
		return number(sure), number(may)
	case Revoke:
		return 0, 1
	}
	return 0, 0
}

// neverRefused tells whether a put is made on any state.
func (o *op) neverRefused() bool { return o.lease == 0 && !o.ignoreLease && !o.ignoreValue }

// mayWrite tells whether a transaction changes a key surely, and whether it may.
func (t *txn) mayWrite() (sure, may bool) {
	sure = true
	for _, ops := range t.branches {
		one, refused := false, false
		for i := range ops {
			switch o := &ops[i]; o.kind {
			case opPut:
				may, one = true, true
				refused = refused || !o.neverRefused()
			case opDelete:
				may = may || o.lo < o.hi
			case opTxn:
				s, m := o.txn.mayWrite()
				may, one = may || m, one || s
				refused = refused || m && !s
			case opRange:
				refused = refused || o.revision != 0
			}
		}
		sure = sure && one && !refused
	}
	return sure, may
}

// AlarmRequest is the request of an entry about alarms, nil for others.
func (e *Entry) AlarmRequest() *pb.AlarmRequest {
	if e.Kind != Alarm {
		return nil
	}
	return e.alarm
}

// MayRemove calls f for every range of keys [lo, hi) that the entry may delete, and for the keys that it attaches to leases, which may be
// revoked.
func (e *Entry) MayRemove(f func(lo, hi int32)) {
	switch e.Kind {
	case Put, Delete:
		e.op.mayRemove(f)
	case Txn:
		e.txn.mayRemove(f)
	}
}

func (o *op) mayRemove(f func(lo, hi int32)) {
	switch {
	case o.kind == opDelete:
		f(o.lo, o.hi)
	case o.kind == opPut && (o.lease != 0 || o.ignoreLease):
		f(o.lo, o.lo+1)
	case o.kind == opTxn:
		o.txn.mayRemove(f)
	}
}

func (t *txn) mayRemove(f func(lo, hi int32)) {
	for _, ops := range t.branches {
		for i := range ops {
			ops[i].mayRemove(f)
		}
	}
}
