// Package relive runs the life of a member again in memory: all entries of a log that begins with the cluster, by etcd's rules,
// with something that went wrong meanwhile. What leads to just what the db holds may be what befell it.
package relive

import (
	"bytes"
	"fmt"
	"maps"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Member is what a db holds.
type Member struct {
	Table    *mvcc.Table
	Live     map[string]mvcc.KeyValue // keys that exist at the compact revision
	Revision int64
	Compact  int64
	Tables   *schema.Tables
}

// Tables are small tables, as bits.
type Tables int

// The small tables that entries change.
const (
	Auth Tables = 1 << iota
	Leases
	Alarms
)

// Life is a member with its log.
type Life struct {
	m        *Member
	requests []*raftlog.Request // of the entries from the first on
	first    uint64
	last     uint64 // the last entry that was applied
	space    space
	now      moment
	begin    moment
	moments  []moment // before each entry, and behind the last one
	rows     map[int64][]mvcc.Row
	asked    bool         // an entry asks for the compaction of the db
	budget   int          // how many more entries may be applied, or keys looked at instead
	traces   []trace      // of the faults of a run
	seeing   bool         // all of these are wanted
	bans     bool         // some ban refused more than a few requests, so that others are no less likely
	steps    []align.Step // nil if they are not wanted
}

// trace is what a fault came to.
type trace struct {
	first uint64 // entry that made a difference
	lost  int    // how many entries had no effect that should have had one
	bit   bool   // one bit of one row was changed
	like  bool   // the rows resemble what the entry was to make
}

// moment is what is there besides the keyspace.
type moment struct {
	revision, compact int64
	journal           int // how many changes of keys were made
	auth              *authz.State
	leases            map[int64]int64 // seconds to live
	alarms            map[alarm]bool
	skewed            Tables // that were changed otherwise than by an entry
}

type alarm struct {
	member uint64
	typ    pb.AlarmType
}

// Start is what there was before the first entry. Its zero value is a new cluster.
type Start struct {
	Index    uint64 // the first entry
	Revision int64
	Keys     []mvcc.KeyValue // that existed
	Auth     *authz.State
	Leases   map[int64]int64 // seconds to live
	Alarms   []pb.AlarmMember
}

// New is the life of a member up to its consistent index, with the requests of all entries that were committed.
func New(m *Member, start *Start, requests []*raftlog.Request, index uint64) *Life {
	l := &Life{m: m, requests: requests, first: max(start.Index, 1), last: index, space: space{keys: map[string][]version{}}, rows: map[int64][]mvcc.Row{}}
	l.begin = moment{revision: max(start.Revision, 1), auth: start.Auth, leases: start.Leases, alarms: map[alarm]bool{}}
	if l.begin.auth == nil {
		l.begin.auth = authz.New()
	}
	if l.begin.leases == nil {
		l.begin.leases = map[int64]int64{}
	}
	for i := range start.Keys {
		kv := &start.Keys[i]
		l.space.put(&align.Change{Key: string(kv.Key), Value: kv.Value, Create: kv.Create, Version: kv.Version, Lease: kv.Lease}, kv.Mod)
	}
	l.begin.journal = len(l.space.journal)
	for i := range start.Alarms {
		l.begin.alarms[alarm{start.Alarms[i].MemberID, start.Alarms[i].Alarm}] = true
	}
	corrupt := map[uint64]bool{}
	for _, r := range requests[:min(l.end()-l.first, uint64(len(requests)))] {
		if a := r.Internal.GetAlarm(); a.GetAlarm() == pb.AlarmType_CORRUPT && a.GetAction() != pb.AlarmRequest_GET {
			if delete(corrupt, a.MemberID); a.Action == pb.AlarmRequest_ACTIVATE {
				corrupt[a.MemberID] = true
			}
		}
		l.asked = l.asked || len(corrupt) == 0 && r.Internal.GetCompaction().GetRevision() == m.Compact
	}
	return l
}

// end is the entry behind the last one.
func (l *Life) end() uint64 { return l.last + 1 }

// request is that of an entry.
func (l *Life) request(index uint64) *raftlog.Request { return l.requests[index-l.first] }

// back returns to a moment.
func (l *Life) back(to *moment) {
	l.space.back(to.journal)
	l.now = *to
}

// group are the rows of a main revision in the db.
func (l *Life) group(main int64) []mvcc.Row {
	rows, ok := l.rows[main]
	if !ok {
		rows = l.m.Table.Group(main)
		l.rows[main] = rows
	}
	return rows
}

// alarmed tells whether an alarm that is on refuses a request (server/etcdserver/apply, capped.go and corrupt.go).
func (l *Life) alarmed(in *pb.InternalRaftRequest) bool {
	for a := range l.now.alarms {
		switch {
		case a.typ == pb.AlarmType_CORRUPT:
			if in.Put != nil || in.DeleteRange != nil || in.Txn != nil || in.Compaction != nil || in.LeaseGrant != nil || in.LeaseRevoke != nil {
				return true
			}
		case in.Put != nil, in.LeaseGrant != nil, puts(in.GetTxn().GetSuccess()), puts(in.GetTxn().GetFailure()):
			return true
		}
	}
	return false
}

// puts tells whether operations put something, those of transactions among them included.
func puts(ops []*pb.RequestOp) bool {
	for _, o := range ops {
		if n := o.GetRequestTxn(); o.GetRequestPut() != nil || n != nil && (puts(n.Success) || puts(n.Failure)) {
			return true
		}
	}
	return false
}

// wants are the rows that a request would make now, if permissions are asked or not.
func (l *Life) wants(r *raftlog.Request, permitted bool) []align.Change {
	in, at := r.Internal, l.now.revision
	if in == nil || l.alarmed(in) {
		return nil
	}
	if in.Put == nil || in.Put.Lease != 0 {
		l.budget -= len(l.space.sorted) / keysAStep // all keys may have to be looked at
	}
	switch {
	case in.LeaseRevoke != nil:
		if _, ok := l.now.leases[in.LeaseRevoke.ID]; !ok {
			return nil
		}
	case in.Put == nil && in.DeleteRange == nil && in.Txn == nil:
		return nil
	}
	if !permitted && l.denies(r) {
		return nil
	}
	want := align.Predict(r, &l.space, at)
	for i := range want {
		if id := want[i].Lease; id != 0 {
			if _, ok := l.now.leases[id]; !ok {
				return nil
			}
		}
	}
	return want
}

func (l *Life) denies(r *raftlog.Request) bool {
	return l.now.auth.Denies(r, func(lease int64) []string { return l.space.Attached(lease, l.now.revision) })
}

// apply applies an entry, and tells whether that agrees with the rows of the db. predicted is what it should have made, if not what
// it does.
func (l *Life) apply(index uint64, r *raftlog.Request, outcome align.Outcome, predicted []align.Change) bool {
	was, permitted := l.now.revision, outcome == align.Permitted
	want := l.wants(r, permitted)
	l.turn(r, permitted)
	if len(want) > 0 && !l.make(want) {
		return false
	}
	l.note(index, was, outcome, false, predicted)
	return true
}

// make makes the next revision, and tells whether the db holds it.
func (l *Life) make(want []align.Change) bool {
	r := l.now.revision + 1
	if r > l.m.Revision {
		return false
	}
	if r > l.m.Compact && l.now.revision <= l.m.Compact && !l.compacted() || !l.holds(r, want) {
		return false
	}
	l.push(want)
	return true
}

// push makes the next revision, whatever the db holds.
func (l *Life) push(rows []align.Change) {
	l.now.revision++
	for i := range rows {
		l.space.put(&rows[i], l.now.revision)
	}
	l.now.journal = len(l.space.journal)
}

// holds tells whether the rows of the db at a main revision are those, as far as compaction has left them.
func (l *Life) holds(main int64, want []align.Change) bool {
	rows := l.group(main)
	if main > l.m.Compact {
		return align.Same(want, rows)
	}
	if len(rows) > len(want) {
		return false
	}
	var kv mvcc.KeyValue
	for i := range rows {
		sub := int(rows[i].Rev.Sub)
		if sub >= len(want) || kv.Decode(rows[i].Value) != nil || want[sub].Key != string(kv.Key) || want[sub].Delete != rows[i].Tombstone {
			return false
		}
		if w := &want[sub]; !w.Delete && (!bytes.Equal(w.Value, kv.Value) || w.Lease != kv.Lease || w.Create != kv.Create || w.Version != kv.Version || kv.Mod != main) {
			return false
		}
	}
	return true
}

// compacted tells whether the keys that are there are those of the db at its compact revision.
func (l *Life) compacted() bool {
	live := 0
	for _, k := range l.space.sorted {
		kv, _, ok := l.space.At(k, l.m.Compact)
		if !ok {
			continue
		}
		live++
		if o, ok := l.m.Live[k]; !ok || !o.Same(&kv) {
			return false
		}
	}
	return live == len(l.m.Live)
}

// turn makes the change that a request asks of anything but keys, and tells whether a small table is another one then.
func (l *Life) turn(r *raftlog.Request, permitted bool) bool {
	in := r.Internal
	switch {
	case in == nil:
	case in.LeaseGrant != nil:
		if _, ok := l.now.leases[in.LeaseGrant.ID]; ok || in.LeaseGrant.ID == 0 || l.alarmed(in) {
			return false
		}
		l.now.leases = maps.Clone(l.now.leases)
		l.now.leases[in.LeaseGrant.ID] = in.LeaseGrant.TTL
		return true
	case in.LeaseRevoke != nil:
		if _, ok := l.now.leases[in.LeaseRevoke.ID]; !ok || l.alarmed(in) || !permitted && l.denies(r) {
			return false
		}
		l.now.leases = maps.Clone(l.now.leases)
		delete(l.now.leases, in.LeaseRevoke.ID)
		return true
	case in.Compaction != nil:
		if c := in.Compaction.Revision; !l.alarmed(in) && l.now.compact < c && c <= l.now.revision {
			l.now.compact = c
		}
	case in.Alarm != nil:
		id := alarm{in.Alarm.MemberID, in.Alarm.Alarm}
		if in.Alarm.Action == pb.AlarmRequest_GET || l.now.alarms[id] == (in.Alarm.Action == pb.AlarmRequest_ACTIVATE) {
			return false
		}
		l.now.alarms = maps.Clone(l.now.alarms)
		if delete(l.now.alarms, id); in.Alarm.Action == pb.AlarmRequest_ACTIVATE {
			l.now.alarms[id] = true
		}
		return true
	case turnsAuth(in):
		was := l.now.auth
		l.now.auth = was.Clone()
		l.now.auth.Apply(r)
		return was.Enabled != l.now.auth.Enabled || was.Revision != l.now.auth.Revision
	}
	return false
}

// turnsAuth tells whether a request asks for a change of the auth store.
func turnsAuth(in *pb.InternalRaftRequest) bool {
	return in.AuthEnable != nil || in.AuthDisable != nil || in.AuthUserAdd != nil || in.AuthUserDelete != nil ||
		in.AuthUserChangePassword != nil || in.AuthUserGrantRole != nil || in.AuthUserRevokeRole != nil || in.AuthRoleAdd != nil ||
		in.AuthRoleDelete != nil || in.AuthRoleGrantPermission != nil || in.AuthRoleRevokePermission != nil
}

// turns tells whether a request asks for a change of what may refuse others.
func turns(in *pb.InternalRaftRequest) bool {
	return in != nil && (turnsAuth(in) || in.Alarm != nil || in.LeaseGrant != nil || in.LeaseRevoke != nil)
}

// minTTL is up to how many seconds a lease may live longer than was asked for: servers grant a least time, by how long elections take.
const minTTL = 120

// tables are those that are not as the db's.
func (l *Life) tables() (apart Tables) {
	t := l.m.Tables
	if !l.now.auth.Equal(t) {
		apart |= Auth
	}
	if len(t.Leases) != len(l.now.leases) {
		apart |= Leases
	}
	for _, r := range t.Leases {
		if ttl, ok := l.now.leases[r.ID]; !ok || ttl != r.TTL && (ttl > r.TTL || r.TTL > minTTL) {
			apart |= Leases
		}
	}
	on := 0
	for a := range l.now.alarms {
		if a.typ == pb.AlarmType_NONE {
			continue
		}
		on++
		found := false
		for _, b := range t.Alarms {
			found = found || b.Member == a.member && b.Type == a.typ.String()
		}
		if !found {
			apart |= Alarms
		}
	}
	if on != len(t.Alarms) {
		apart |= Alarms
	}
	return apart
}

// skewed names the rows of a table that are not as the db's.
func (l *Life) skewed(which Tables) (names []string) {
	t := l.m.Tables
	switch which {
	case Auth:
		return l.now.auth.Apart(t)
	case Leases:
		left := maps.Clone(l.now.leases)
		for _, r := range t.Leases {
			if _, ok := left[r.ID]; !ok {
				names = append(names, fmt.Sprint(r.ID))
			}
			delete(left, r.ID)
		}
		for id := range left {
			names = append(names, fmt.Sprint(id))
		}
		if len(names) > 0 {
			return names
		}
	}
	return append(names, "") // an alarm, or the time to live of a lease
}

// ended tells whether all is as the db holds it in the end.
func (l *Life) ended() bool {
	return l.now.revision == l.m.Revision && (l.now.compact == l.m.Compact || !l.asked) && l.tables()&^l.now.skewed == 0 &&
		(l.m.Revision > l.m.Compact || l.compacted())
}

// Ahead tells whether the db holds just what a few more entries lead to: its consistent index was left behind.
func (l *Life) Ahead() bool {
	index := l.last
	defer func() { l.last = index }()
	for l.last < min(l.first+uint64(len(l.requests))-1, index+maxAhead) {
		l.last++
		if l.budget = maxSteps; l.Reproduces(nil) {
			return true
		}
	}
	return false
}

// keysAStep is how many keys can be looked at while one entry is applied.
const keysAStep = 64

// maxAhead is how many entries more are tried.
const maxAhead = 64

const never = math.MaxUint64
