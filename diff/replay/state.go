package replay

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Base is what a member holds, to go back from.
type Base struct {
	Rows   *mvcc.Table
	Tables *schema.Tables
	// Log is every entry known that this member applied or will apply, ascending.
	Log []effect.Entry
	// Whole is true if Log begins with the cluster, whose keyspace began empty.
	Whole bool

	once   sync.Once
	tables []event // what Log does to tables that a state is made of
}

// event is an entry about leases, alarms, auth or the cluster version.
type event struct {
	index   uint64
	typ     string
	in      *pb.InternalRaftRequest // nil for one of etcd 2
	version string
}

func (b *Base) events() []event {
	b.once.Do(b.readEvents)
	return b.tables
}

// ShareLog takes what the log tells from another base, of which it is the log, too. It comes before anything is asked.
func (b *Base) ShareLog(o *Base) {
	b.once.Do(func() { b.tables = o.events() })
}

// SameLog tells whether two logs are one.
func SameLog(a, b []effect.Entry) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func (b *Base) readEvents() {
	var d raftlog.Decoder
	for i := range b.Log {
		r := b.Log[i].RequestBy(&d)
		ev := event{index: b.Log[i].Index, typ: r.Type, in: r.Internal}
		switch in := r.Internal; {
		case in != nil && in.ClusterVersionSet != nil:
			ev.version = in.ClusterVersionSet.Ver
		case in != nil && (in.LeaseGrant != nil || in.LeaseRevoke != nil || in.Alarm != nil || AuthWrite(in)):
		case r.V2 != nil && r.V2.Method == "PUT" && r.V2.Path == "/0/version":
			ev.version = r.V2.Val
		default:
			continue
		}
		b.tables = append(b.tables, ev)
	}
}

// Compact is the base's compact revision: it cannot be taken back further.
func (b *Base) Compact() int64 { return max(b.Tables.ScheduledCompact, b.Tables.FinishedCompact) }

// Auth is the state of authentication. Passwords are not part of it: they decide who gets in, not what is applied.
type Auth struct {
	Enabled  bool
	Revision uint64
	Users    []schema.User // sorted by name
	Roles    []schema.Role
}

// State is a member's state at a moment, without what no entry can change.
type State struct {
	// Index is the last entry applied, Revision the main revision then.
	Index    uint64
	Revision int64
	// Compact is the revision compacted to.
	Compact int64
	Leases  []schema.LeaseRecord
	Auth    Auth
	Alarms  []schema.AlarmMember
	// Version is the cluster version, empty if not known.
	Version string
	// Notes say what could not be known for certain.
	Notes []string
	// TTLs is how many leases have a TTL that is not known: their grant is in no log.
	TTLs int

	rows *mvcc.Table // live is over its rows up to Revision
}

// placeholderTTL stands for that of a lease whose grant is in no log. Leases do not expire in a copy.
const placeholderTTL = 3600

// Empty is the state before the first entry of a cluster.
func Empty() *State { return &State{Revision: 1, rows: mvcc.NewTable(nil, nil)} }

// Rewind returns the state that base had when entry index had been applied and the main revision was rev.
func Rewind(ctx context.Context, b *Base, index uint64, rev int64) (*State, error) {
	if index == 0 {
		if !b.Whole {
			return nil, fmt.Errorf("%w: the log does not begin with the cluster", ErrNoBase)
		}
		return Empty(), nil
	}
	if c := b.Compact(); rev < c {
		return nil, fmt.Errorf("%w: compacted at revision %d, which is after revision %d", ErrNoBase, c, rev)
	}
	if last := max(b.Rows.Last(), b.Compact()); rev > last {
		return nil, fmt.Errorf("%w: it has come to revision %d only, not to %d", ErrNoBase, last, rev)
	}
	for _, h := range b.Rows.Holes() {
		if h.First.Main <= rev {
			return nil, fmt.Errorf("%w: rows before revision %d may be missing because of damage", ErrNoBase, rev+1)
		}
	}
	st := &State{Index: index, Revision: rev, Compact: b.Compact(), Version: versionAt(b, index), rows: b.Rows}
	st.rewindLeases(b)
	st.rewindAlarms(b)
	if err := st.rewindAuth(ctx, b); err != nil {
		return nil, err
	}
	return st, nil
}

// live yields the rows of the live keys that are touched, in no order; nil stands for all keys.
func (st *State) live(keys *effect.Touched) iter.Seq[mvcc.Row] {
	return func(yield func(mvcc.Row) bool) {
		var kv mvcc.KeyValue
		for _, r := range keys.Latest(st.rows, st.rows.Lower(st.Revision+1)) {
			// A key that is touched by its lease only counts as long as it has that lease.
			if r.Tombstone || kv.Decode(r.Value) != nil || keys != nil && !keys.Has(kv.Key) && !keys.Carried(kv.Lease) {
				continue
			}
			if !yield(r) {
				return
			}
		}
	}
}

// Alike tells whether entries that come behind both states do the same to them: whatever they can depend on is equal, and what could not be known
// is the same. Rows are told apart by sums of 64 bits that none can be made to fit.
func (st *State) Alike(o *State, entries []effect.Entry) bool {
	if st.Index != o.Index || st.Revision != o.Revision || st.Compact != o.Compact || st.Version != o.Version || st.TTLs != o.TTLs ||
		!slices.Equal(st.Notes, o.Notes) || !slices.Equal(st.Leases, o.Leases) || !slices.Equal(st.Alarms, o.Alarms) || !reflect.DeepEqual(st.Auth, o.Auth) {
		return false
	}
	keys := touchedBy(entries)
	return st.sum(keys) == o.sum(keys)
}

// rowSum is how many rows there are, and the sum of their hashes.
type rowSum struct {
	rows int
	sum  uint64
}

var seed = maphash.MakeSeed()

// sum is that of the rows that the keys which are touched have.
func (st *State) sum(keys *effect.Touched) (s rowSum) {
	var b []byte
	for r := range st.live(keys) {
		b = append(r.Rev.AppendKey(b[:0]), r.Value...)
		s.rows, s.sum = s.rows+1, s.sum+maphash.Bytes(seed, b)
	}
	return s
}

// leaseEvents are the grants and revokes of one lease around a moment.
type leaseEvents struct {
	before, after *pb.InternalRaftRequest // the last one up to it, the first one behind it
	afterIndex    uint64
	granted       bool // by any later entry behind the moment
	ttl           int64
}

// rewindLeases rolls the lease table back. What is certain: a lease that live keys carry is there. What the log tells:
// a lease is there if its next entry revokes it, and is not if its next entry grants it.
func (st *State) rewindLeases(b *Base) {
	events := map[int64]*leaseEvents{}
	at := func(id int64) *leaseEvents {
		if events[id] == nil {
			events[id] = &leaseEvents{}
		}
		return events[id]
	}
	for _, e := range b.events() {
		in := e.in
		var id int64
		switch {
		case in == nil:
			continue
		case in.LeaseGrant != nil:
			id = in.LeaseGrant.ID
		case in.LeaseRevoke != nil:
			id = in.LeaseRevoke.ID
		default:
			continue
		}
		ev := at(id)
		switch {
		case e.index <= st.Index:
			ev.before = in
			if in.LeaseGrant != nil {
				ev.ttl = in.LeaseGrant.TTL
			}
		default:
			if ev.after == nil {
				ev.after, ev.afterIndex = in, e.index
			}
			ev.granted = ev.granted || in.LeaseGrant != nil
		}
	}
	table := map[int64]schema.LeaseRecord{}
	for _, l := range b.Tables.Leases {
		table[l.ID] = l
		at(l.ID)
	}
	used := map[int64]bool{}
	var kv mvcc.KeyValue
	live := st.live(nil)
	if !st.rows.HasLeases() {
		live = func(func(mvcc.Row) bool) {}
	}
	for r := range live {
		if kv.Decode(r.Value) == nil && kv.Lease != 0 {
			used[kv.Lease] = true
			at(kv.Lease)
		}
	}
	unknown := 0
	for id, ev := range events {
		_, there := table[id]
		exists := there
		switch {
		case used[id]:
			exists = true
		case ev.after == nil:
		case ev.after.LeaseGrant != nil:
			exists = false
		case there && !ev.granted:
			exists = true // its revoke was refused
		case ev.before != nil:
			exists = ev.before.LeaseGrant != nil
		case b.Whole:
			exists = false
		case ev.afterIndex > b.Tables.ConsistentIndex && b.Tables.HasTerm:
			exists = there
		default:
			exists = true // revoked later; when it was granted no log tells
		}
		if !exists {
			continue
		}
		l, ok := table[id]
		if !ok {
			if l = (schema.LeaseRecord{ID: id, TTL: ev.ttl}); l.TTL == 0 {
				l.TTL = placeholderTTL
				unknown++
			}
		}
		st.Leases = append(st.Leases, l)
	}
	slices.SortFunc(st.Leases, func(a, b schema.LeaseRecord) int { return cmp.Compare(uint64(a.ID), uint64(b.ID)) })
	if st.TTLs = unknown; unknown > 0 {
		st.Notes = append(st.Notes, fmt.Sprintf("%d leases of that moment were granted before the first entry that is left: their TTL is not known", unknown))
	}
}

// rewindAlarms takes back what entries behind the moment raised or cleared.
func (st *State) rewindAlarms(b *Base) {
	alarms := map[schema.AlarmMember]bool{}
	for _, a := range b.Tables.Alarms {
		alarms[a] = true
	}
	for _, e := range slices.Backward(b.events()) {
		in := e.in
		if e.index <= st.Index || in == nil || in.Alarm == nil || in.Alarm.Alarm == pb.AlarmType_NONE || e.index > b.Tables.ConsistentIndex {
			continue
		}
		a := schema.AlarmMember{Member: in.Alarm.MemberID, Type: in.Alarm.Alarm.String()}
		switch in.Alarm.Action {
		case pb.AlarmRequest_ACTIVATE:
			delete(alarms, a)
		case pb.AlarmRequest_DEACTIVATE:
			alarms[a] = true
		}
	}
	// What was raised at or before the moment, and not cleared, was on even if it was raised again behind it.
	for _, e := range b.events() {
		if e.index > st.Index {
			break
		}
		if in := e.in; in != nil && in.Alarm != nil && in.Alarm.Alarm != pb.AlarmType_NONE {
			a := schema.AlarmMember{Member: in.Alarm.MemberID, Type: in.Alarm.Alarm.String()}
			switch in.Alarm.Action {
			case pb.AlarmRequest_ACTIVATE:
				alarms[a] = true
			case pb.AlarmRequest_DEACTIVATE:
				delete(alarms, a)
			}
		}
	}
	for a := range alarms {
		st.Alarms = append(st.Alarms, a)
	}
	slices.SortFunc(st.Alarms, func(a, b schema.AlarmMember) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
	})
}

// VersionAt is the cluster version at an entry, empty if not known.
func (b *Base) VersionAt(index uint64) string { return versionAt(b, index) }

// versionAt is the cluster version at an entry.
func versionAt(b *Base, index uint64) string {
	v := ""
	for _, e := range b.events() {
		if e.index > index {
			break
		}
		if e.version != "" {
			v = e.version
		}
	}
	if v == "" {
		v = b.Tables.ClusterVersion
	}
	return strings.TrimSpace(v)
}

// touchedBy is what entries can read or write of a state.
func touchedBy(entries []effect.Entry) *effect.Touched {
	t := &effect.Touched{LeaseKeys: true}
	var d raftlog.Decoder
	for i := range entries {
		t.Add(entries[i].RequestBy(&d).Internal)
	}
	t.Merge()
	return t
}
