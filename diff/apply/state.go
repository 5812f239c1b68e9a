// Package apply applies raft entries to a keyspace in memory by etcd's rules, and takes them back again. It is what etcd's own
// applier does (server/etcdserver/apply and server/etcdserver/txn, 3.7), without any file: some hundred nanoseconds an entry.
//
// A State holds what requests can change and can depend on: keys (without their history), leases and the keys attached to them,
// auth, alarms, revisions. Its invariants:
//
//   - Every change is noted, so that Revert is as fast as Apply, and leaves just what was there at the Mark; Rules, Steps and what a method says of
//     the last entry are not part of that.
//   - Keys and leases are the numbers that the Log gives them: States of Logs with the same numbers can be compared.
//   - Digests are equal for equal states. Those of values differ from process to process: they are compared, and never shown or saved.
package apply

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/authz"
)

// State is all that entries depend on. One goroutine at a time uses it.
//
// The methods that change it keep the digests of what they change, and note in the journal what was there. What is replaced, and never changed, is kept
// there as it is.
type State struct {
	Log          *Log  // never changed
	BaseRevision int64 // the revision before the log begins, if that is not the beginning of the cluster; set before anything is applied
	Rules        Rules // set by the caller, not taken back

	Revision int64 // current main revision; a new store has 1
	Compact  int64
	Auth     *authz.State // replaced, never changed

	// Changes are the rows of the last entry applied, in the order of their sub revisions. They are valid until the next one.
	Changes []Change
	// TablesChanged tells whether the last entry changed leases, auth or alarms.
	TablesChanged bool
	// Steps counts keys looked at and entries applied, for budgets.
	Steps int

	keys    []Record // by the numbers that Log gives them
	keySum  uint64   // digest of all keys
	partial int      // keys of which not all is known
	leases  leaseTable
	alarms  alarms
	undoLog

	rangeCompares []compareResult // of each compare of a range, what it came to last; not taken back, since it names the keys that it is about
}

// undoLog takes changes back. The stacks hold what the small undos of their kind go back to, one element for each in the journal.
type undoLog struct {
	journal      []undo
	authHistory  []*authz.State // of undoAuth
	alarmHistory []alarms       // of undoAlarms
	detached     [][]int32      // of undoLost that lost a lease: what was attached to it
}

// compareResult is what a compare came to with some keys.
type compareResult struct {
	keys  uint64 // their digest
	known bool
	holds bool
}

// undo takes one change back. There is one for each entry at least, so it is small and holds no pointers.
type undo struct {
	record Record // what a key was; its Mod is the revision of other kinds
	number int32
	kind   undoKind
	made   bool // the entry has made a revision: this is the last change of it
}

type undoKind uint8

const (
	undoKey undoKind = iota
	undoAttach
	undoLease
	undoLost
	undoRevision
	undoCompact
	undoAuth
	undoAlarms
)

// New is the state of a new cluster.
func New(l *Log) *State {
	return &State{
		Log: l, Revision: 1, Auth: authz.New(),
		rangeCompares: make([]compareResult, l.ranges+1),
		keys:          make([]Record, len(l.Keys)), leases: newLeaseTable(len(l.Leases)),
	}
}

// noteUndo notes a change that was made. There are some for each entry, so that what holds them is doubled when it is full.
func (s *State) noteUndo(u undo) {
	if n := len(s.journal); n == cap(s.journal) {
		s.journal = slices.Grow(s.journal, n+16)
	}
	s.journal = append(s.journal, u)
}

// Mark is a moment to go back to.
type Mark int

// Mark is the present moment.
func (s *State) Mark() Mark { return Mark(len(s.journal)) }

// Forget forgets how to take back what was done so far: what begins here need not go back further.
func (s *State) Forget() { s.undoLog = undoLog{} }

// Revert takes everything back that was done since a moment. Rules are not part of it.
func (s *State) Revert(to Mark) {
	for len(s.journal) > int(to) {
		u := &s.journal[len(s.journal)-1]
		if u.made {
			s.Revision--
		}
		switch u.kind {
		case undoKey:
			r := &s.keys[u.number]
			s.keySum ^= r.digest(u.number) ^ u.record.digest(u.number)
			s.partial += partialCount(&u.record) - partialCount(r)
			*r = u.record
		case undoAttach:
			a := s.leases.keys[u.number]
			s.leases.keys[u.number] = a[:len(a)-1]
		case undoLease:
			s.leases.toggle(u.number)
		case undoLost:
			s.leases.toggleLost(u.number)
			if !s.leases.lost[u.number] && u.record.Mod != 0 {
				n := len(s.detached) - 1
				s.leases.keys[u.number] = s.detached[n]
				s.detached = s.detached[:n]
			}
		case undoRevision:
			s.Revision = u.record.Mod
		case undoCompact:
			s.Compact = u.record.Mod
		case undoAuth:
			s.Auth, s.authHistory = pop(s.authHistory)
		case undoAlarms:
			s.alarms, s.alarmHistory = pop(s.alarmHistory)
		}
		s.journal = s.journal[:len(s.journal)-1]
	}
}

func pop[T any](stack []T) (top T, rest []T) {
	n := len(stack) - 1
	top, stack[n] = stack[n], top
	return top, stack[:n]
}

// Record is a key's.
func (s *State) Record(key int32) *Record { return &s.keys[key] }

func partialCount(r *Record) int { return number(r.IsPartial()) }

// HasPartial tells whether there are keys of which not all is known.
func (s *State) HasPartial() bool { return s.partial > 0 }

// Granted tells whether a lease exists.
func (s *State) Granted(lease int32) bool { return s.leases.exists[lease] }

// Stored tells whether a lease is in the table of leases: it exists, or was lost.
func (s *State) Stored(lease int32) bool { return s.leases.exists[lease] || s.leases.lost[lease] }

// Lose makes a lease unknown, and what was attached to it unattached, without removing it from the table: what a restart does to those
// that it does not read back. It tells whether there was such a lease.
func (s *State) Lose(lease int32) bool {
	if lease == 0 || !s.leases.exists[lease] {
		return false
	}
	s.detached = append(s.detached, s.leases.keys[lease])
	s.leases.keys[lease] = nil
	s.leases.toggleLost(lease)
	s.noteUndo(undo{kind: undoLost, number: lease, record: Record{Mod: 1}})
	return true
}

// Alarms calls f for every alarm that is on.
func (s *State) Alarms(f func(member uint64, typ pb.AlarmType)) {
	for _, a := range s.alarms {
		f(a.member, a.typ)
	}
}

// Digest is equal for states in which the same entries do the same, and nearly never for others.
func (s *State) Digest() uint64 {
	h := mix(s.keySum ^ mix(s.leases.sum^mix(s.leases.lostSum)) ^ uint64(s.Revision)*31 ^ uint64(s.Compact)*17 ^ uint64(s.Rules)<<56)
	for _, a := range s.alarms {
		h = mix(h ^ a.member ^ uint64(a.typ)<<60)
	}
	return mix(h ^ s.Auth.Digest())
}

// KeysDigest is that of all keys alone, LeasesDigest that of all leases.
func (s *State) KeysDigest() uint64 { return s.keySum }

// LeasesDigest is KeysDigest of leases.
func (s *State) LeasesDigest() uint64 { return s.leases.sum }

// DigestOf is the digest of a keyspace with these records.
func DigestOf(keys map[int32]Record) (h uint64) {
	for k, r := range keys {
		h ^= r.digest(k)
	}
	return h
}

// Set makes a key what a record says, outside of any entry.
func (s *State) Set(key int32, r Record) {
	old := &s.keys[key]
	s.noteUndo(undo{kind: undoKey, number: key, record: *old})
	s.keySum ^= old.digest(key) ^ r.digest(key)
	s.partial += partialCount(&r) - partialCount(old)
	attach := r.Lease != 0 && (old.Mod == 0 || old.Lease != r.Lease || len(s.detached) > 0)
	*old = r
	if attach {
		s.leases.keys[r.Lease] = append(s.leases.keys[r.Lease], key)
		s.noteUndo(undo{kind: undoAttach, number: r.Lease})
	}
}

// SetLease makes a lease exist or not, outside of any entry.
func (s *State) SetLease(lease int32, granted bool) {
	if granted && s.leases.lost[lease] { // it is granted anew, and stored where it was
		s.leases.toggleLost(lease)
		s.noteUndo(undo{kind: undoLost, number: lease})
		return
	}
	if lease != 0 && s.leases.exists[lease] != granted {
		s.noteUndo(undo{kind: undoLease, number: lease})
		s.leases.toggle(lease)
	}
}

// SetAlarms makes some alarms be on, outside of any entry.
func (s *State) SetAlarms(on []pb.AlarmMember) {
	s.alarmHistory = append(s.alarmHistory, s.alarms)
	s.noteUndo(undo{kind: undoAlarms})
	s.alarms = nil
	for i := range on {
		s.alarms = append(s.alarms, alarm{on[i].MemberID, on[i].Alarm})
	}
	slices.SortFunc(s.alarms, alarm.compare)
}

// Advance makes the current revision another one, outside of any entry.
func (s *State) Advance(revision int64) {
	s.noteUndo(undo{kind: undoRevision, record: Record{Mod: s.Revision}})
	s.Revision = revision
}

// SetAuth makes auth another state, outside of any entry.
func (s *State) SetAuth(a *authz.State) {
	s.authHistory = append(s.authHistory, s.Auth)
	s.noteUndo(undo{kind: undoAuth})
	s.Auth = a
}

// Attached lists the keys of a lease in order.
func (s *State) Attached(lease int32) []int32 {
	if lease == 0 {
		return nil
	}
	var keys []int32
	for _, k := range s.leases.keys[lease] {
		if s.keys[k].Lease == lease && s.keys[k].Mod != 0 {
			keys = append(keys, k)
		}
	}
	s.Steps += len(s.leases.keys[lease])
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Alarmed tells whether an alarm is on.
func (s *State) Alarmed() bool { return len(s.alarms) > 0 }
