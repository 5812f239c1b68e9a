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
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/coreos/go-semver/semver"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/authz"
)

// Rules are those of some versions of etcd: a set of the kinds of versions that judge requests differently, which all do the same with the log at hand.
// None is as the newest.
type Rules uint8

// Kinds of versions whose rules differ in what they do to keys, all of it about who may do it (etcdserver/apply_auth.go, read in 3.2.24, 3.3.10,
// 3.4.26 to 3.4.44, 3.5.9 to 3.5.33, 3.6.8 to 3.6.14).
const (
	// Rules3530 are those of 3.5.30, 3.4.44, 3.6.11 and later.
	Rules3530 Rules = 1 << iota
	// Rules3528 are those of 3.5.28, 3.4.42, 3.6.9 and the one after it: a put in a transaction is asked for its key alone, not for the previous
	// value or its lease.
	Rules3528
	// Rules3512 are those of 3.5.10, 3.4.27, 3.6.0 up to then: operations in a nested transaction are not asked for at all.
	Rules3512
	// Rules33 are those of 3.3 up to then: an administrator must have proposed the request at the present auth revision, too, if the
	// lease has keys.
	Rules33
	// Rules32 are those of 3.2, which asks nobody for the keys of a lease.
	Rules32

	// Rules3510 are those of 3.5.10, 3.4.27 and later, for logs that do not tell them apart: who revokes a lease, or attaches a key to it, must be
	// allowed to write all its keys; an administrator is.
	Rules3510 = Rules3530 | Rules3528 | Rules3512
)

// Oldest and Newest are the minor versions between which rules change.
const Oldest, Newest = 2, 7

var rules = map[Rules]string{
	Rules3530:             "3.5.30 (or 3.4.44, 3.6.11) and later",
	Rules3528:             "3.5.28 and 3.5.29 (or 3.4.42 and 3.4.43, 3.6.9 and 3.6.10)",
	Rules3512:             "3.5.10 to 3.5.27 (or 3.4.27 to 3.4.41, 3.6.0 to 3.6.8)",
	Rules3530 | Rules3528: "3.5.28 (or 3.4.42, 3.6.9) and later",
	Rules3528 | Rules3512: "3.5.10 to 3.5.29 (or 3.4.27 to 3.4.43, 3.6.0 to 3.6.10)",
	Rules3510:             "3.5.10 (or 3.4.27) and later",
	Rules33:               "3.3 to 3.5.9",
	Rules32:               "3.2",
}

func (r Rules) String() string { return rules[r] }

// Of is String in short, of the patches of one minor version alone where only some of these have the rules.
func (r Rules) Of(minor int64) string {
	const patches = 100 // more than any minor version has
	var first, last int64 = -1, -1
	for p := range int64(patches) {
		if r&rulesOf(semver.Version{Major: 3, Minor: minor, Patch: p}) != 0 {
			if first < 0 {
				first = p
			}
			last = p
		}
	}
	switch {
	case r&^Rules3510 != 0 || r == Rules3510 || first < 0:
		return r.String()
	case last == patches-1:
		return fmt.Sprintf("3.%d.%d and later", minor, first)
	}
	return fmt.Sprintf("3.%d.%d to 3.%d.%d", minor, first, minor, last)
}

// rulesOf are those of a version of etcd, none of versions that are not known.
func rulesOf(v semver.Version) Rules {
	patch := func(of4, of5, of6 int64) bool {
		return v.Minor > 6 || v.Minor == 6 && v.Patch >= of6 || v.Minor == 5 && v.Patch >= of5 || v.Minor == 4 && v.Patch >= of4
	}
	switch {
	case v.Major != 3 || v.Minor < 2:
		return 0
	case v.Minor == 2:
		return Rules32
	case patch(44, 30, 11):
		return Rules3530
	case patch(42, 28, 9):
		return Rules3528
	case patch(27, 10, 0):
		return Rules3512
	}
	return Rules33
}

// Covers tells whether a version of etcd has these rules.
func (r Rules) Covers(v semver.Version) bool { return r&rulesOf(v) != 0 }

// Permissions are what the rules ask for.
func (r Rules) Permissions() authz.Rules {
	return authz.Rules{
		TxnPutsByKey: r != 0 && r&Rules3530 == 0, NestedUnasked: r != 0 && r&(Rules3530|Rules3528) == 0,
		RootAsked: r == Rules33, LeasesUnasked: r == Rules32,
	}
}

// Versions are the rules of a range of minor versions of etcd, the newest first; those that do the same with all entries of the log are one.
func (l *Log) Versions(oldest, newest int64) (out []Rules) {
	of := func(minor, patch int64) Rules { return rulesOf(semver.Version{Major: 3, Minor: minor, Patch: patch}) }
	last := int64(math.MaxInt64)
	within := Rules(0)
	for r := of(newest, last); r <= of(oldest, 0); r <<= 1 {
		within |= r
	}
	for _, class := range l.classes() {
		if within&class != 0 {
			out = append(out, class)
		}
	}
	return out
}

// classes are all rules that do different things with the log, the newest first.
func (l *Log) classes() []Rules {
	switch {
	case !l.txnPuts && !l.nested:
		return []Rules{Rules3510, Rules33, Rules32}
	case !l.txnPuts:
		return []Rules{Rules3530 | Rules3528, Rules3512, Rules33, Rules32}
	case !l.nested:
		return []Rules{Rules3530, Rules3528 | Rules3512, Rules33, Rules32}
	}
	return []Rules{Rules3530, Rules3528, Rules3512, Rules33, Rules32}
}

// Upgrades are the rules that an upgrade may lead to, one minor version at a time.
func (l *Log) Upgrades(from Rules) (to []Rules) {
	if from == Rules32 {
		return []Rules{Rules33}
	}
	for _, class := range l.classes() {
		if class < from {
			to = append(to, class)
		}
	}
	return to
}

// Record is a key as its newest row tells. It is zero if the key does not exist.
//
// Of a key that was there before the log begins some of it may not be known, until a row tells. Then Version is Open and how often it was put
// since, below zero. Create is below zero if it is not known: minus the revision of the first put since, and the key may as well have been
// created by that one; -1 before there was one. Mod is Before or Other until then, and the value is Unknown.
type Record struct {
	Create, Mod, Version int64
	Value                Value
	Lease                int32
}

// What a record holds in the place of what is not known.
const (
	OpenVersion    = -1 << 40 // version
	ModAsCompared  = -1       // mod: what compares ask for
	ModNotCompared = -2       // mod: not what compares ask for
)

// UnknownValue is the value of a key of which nothing tells it.
const UnknownValue = ^Value(0)

// Exists tells whether there is a key.
func (r *Record) Exists() bool { return r.Mod != 0 }

// IsPartial tells whether not all of a record is known.
func (r *Record) IsPartial() bool {
	return r.Version < 0 || r.Create < 0 || r.Mod < 0 || r.Value == UnknownValue && r.Mod != 0
}

// Same tells whether two records are equal.
func (r *Record) Same(o *Record) bool {
	return r.Create == o.Create && r.Mod == o.Mod && r.Version == o.Version && r.Lease == o.Lease && r.Value == o.Value
}

// MayBeCreatedAt tells whether a key may have been created at a revision; base is the one before the log begins.
func (r *Record) MayBeCreatedAt(create, base int64) bool {
	return r.Create == create || r.Create < 0 && (create <= base || r.Create == -create)
}

// MayEqual tells whether a record, of which not all may be known, may be one that is; base is the revision before the log begins.
func (r *Record) MayEqual(o *Record, base int64) bool {
	if !r.IsPartial() {
		return r.Same(o)
	}
	switch {
	case r.Mod > 0 && r.Mod != o.Mod, r.Mod < 0 && o.Mod > base, r.Value != UnknownValue && r.Value != o.Value, r.Mod > 0 && r.Lease != o.Lease:
		return false
	case r.Version >= 0:
		return r.MayBeCreatedAt(o.Create, base) && r.Version == o.Version
	case r.Create < 0 && r.Create == -o.Create:
		return o.Version == r.Version-OpenVersion
	}
	return r.MayBeCreatedAt(o.Create, base) && o.Version > r.Version-OpenVersion
}

// digest is a number that differs for different records of different keys, nearly always. Digests are combined by exclusive or.
func (r *Record) digest(key int32) uint64 {
	if r.Mod == 0 {
		return 0
	}
	h := mix(uint64(key) + 0x9e3779b97f4a7c15)
	h = mix(h ^ uint64(r.Create))
	h = mix(h ^ uint64(r.Mod))
	h = mix(h ^ uint64(r.Version))
	h = mix(h ^ uint64(r.Lease))
	return mix(h ^ uint64(r.Value))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Change is one row that an entry made: a put, or a tombstone.
type Change struct {
	Key    int32
	Delete bool
	Record Record // of a put
	Was    Record // what was there before
}

// Result is what became of an entry.
type Result uint8

// The results.
const (
	NoEffect  Result = iota // it changes no key: nothing to delete, a failed compare, a lease that does not exist, or no request for keys
	Made                    // it made a revision
	Forbidden               // permissions refused it
	Alarmed                 // an alarm refused it
)

// State is all that entries depend on.
type State struct {
	Log          *Log
	Revision     int64 // current main revision; a new store has 1
	BaseRevision int64 // the revision before the log begins, if that is not the beginning of the cluster; set before anything is applied
	Compact      int64
	Auth         *authz.State // replaced, never changed
	Rules        Rules
	// Changes are the rows of the last entry applied, in the order of their sub revisions. They are valid until the next one.
	Changes []Change
	// TablesChanged tells whether the last entry changed leases, auth or alarms.
	TablesChanged bool
	// Steps counts keys looked at and entries applied, for budgets.
	Steps int

	// By the numbers that Log gives keys and leases; all of it is changed by methods that note how to take that back.
	keys     []Record
	leases   []bool    // that exist
	lost     []bool    // leases that are stored, but not known; none of them exists
	attached [][]int32 // of each lease, keys that were attached to it at some time: those whose record names it are attached now
	alarms   []alarm   // sorted; replaced, never changed
	partial  int       // keys of which not all is known
	digests
	undoLog

	rangeCompares []compareResult // of each compare of a range, what it came to last; not taken back, since it names the keys that it is about
}

// digests are kept with every change, and combined by exclusive or.
type digests struct {
	keySum   uint64 // of all keys
	leaseSum uint64 // of all leases that are stored
	lostSum  uint64 // of those of them that are not known
}

// undoLog takes changes back. The stacks hold what the small undos of their kind go back to, one element for each in the journal.
type undoLog struct {
	journal      []undo
	authHistory  []*authz.State // of undoAuth
	alarmHistory [][]alarm      // of undoAlarms
	detached     [][]int32      // of undoLost that lost a lease: what was attached to it
}

// compareResult is what a compare came to with some keys.
type compareResult struct {
	keys  uint64 // their digest
	known bool
	holds bool
}

type alarm struct {
	member uint64
	typ    pb.AlarmType
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
		keys:          make([]Record, len(l.Keys)), leases: make([]bool, len(l.Leases)), lost: make([]bool, len(l.Leases)), attached: make([][]int32, len(l.Leases)),
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
			a := s.attached[u.number]
			s.attached[u.number] = a[:len(a)-1]
		case undoLease:
			s.toggleLease(u.number)
		case undoLost:
			s.toggleLost(u.number)
			if !s.lost[u.number] && u.record.Mod != 0 {
				n := len(s.detached) - 1
				s.attached[u.number] = s.detached[n]
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
func (s *State) Granted(lease int32) bool { return s.leases[lease] }

// Stored tells whether a lease is in the table of leases: it exists, or was lost.
func (s *State) Stored(lease int32) bool { return s.leases[lease] || s.lost[lease] }

// Lose makes a lease unknown, and what was attached to it unattached, without removing it from the table: what a restart does to those
// that it does not read back. It tells whether there was such a lease.
func (s *State) Lose(lease int32) bool {
	if lease == 0 || !s.leases[lease] {
		return false
	}
	s.detached = append(s.detached, s.attached[lease])
	s.attached[lease] = nil
	s.toggleLost(lease)
	s.noteUndo(undo{kind: undoLost, number: lease, record: Record{Mod: 1}})
	return true
}

// toggleLost makes a lease that exists one that is stored only, or the other way round.
func (s *State) toggleLost(lease int32) {
	s.leases[lease], s.lost[lease] = s.lost[lease], s.leases[lease]
	s.lostSum ^= leaseDigest(lease)
}

// Alarms calls f for every alarm that is on.
func (s *State) Alarms(f func(member uint64, typ pb.AlarmType)) {
	for _, a := range s.alarms {
		f(a.member, a.typ)
	}
}

// Digest is equal for states in which the same entries do the same, and nearly never for others.
func (s *State) Digest() uint64 {
	h := mix(s.keySum ^ mix(s.leaseSum^mix(s.lostSum)) ^ uint64(s.Revision)*31 ^ uint64(s.Compact)*17 ^ uint64(s.Rules)<<56)
	for _, a := range s.alarms {
		h = mix(h ^ a.member ^ uint64(a.typ)<<60)
	}
	return mix(h ^ s.Auth.Digest())
}

// KeysDigest is that of all keys alone, LeasesDigest that of all leases.
func (s *State) KeysDigest() uint64 { return s.keySum }

// LeasesDigest is KeysDigest of leases.
func (s *State) LeasesDigest() uint64 { return s.leaseSum }

// DigestOf is the digest of a keyspace with these records.
func DigestOf(keys map[int32]Record) (h uint64) {
	for k, r := range keys {
		h ^= r.digest(k)
	}
	return h
}

// DigestOfLeases is the digest of some leases.
func DigestOfLeases(leases []int32) (h uint64) {
	for _, l := range leases {
		h ^= leaseDigest(l)
	}
	return h
}

func leaseDigest(lease int32) uint64 { return mix(uint64(lease) ^ 0xd1b54a32d192ed03) }

func (s *State) toggleLease(lease int32) {
	s.leases[lease] = !s.leases[lease]
	s.leaseSum ^= leaseDigest(lease)
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
		s.attached[r.Lease] = append(s.attached[r.Lease], key)
		s.noteUndo(undo{kind: undoAttach, number: r.Lease})
	}
}

// SetLease makes a lease exist or not, outside of any entry.
func (s *State) SetLease(lease int32, granted bool) {
	if granted && s.lost[lease] { // it is granted anew, and stored where it was
		s.toggleLost(lease)
		s.noteUndo(undo{kind: undoLost, number: lease})
		return
	}
	if lease != 0 && s.leases[lease] != granted {
		s.noteUndo(undo{kind: undoLease, number: lease})
		s.toggleLease(lease)
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

func (a alarm) compare(b alarm) int {
	return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.typ, b.typ))
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
	for _, k := range s.attached[lease] {
		if s.keys[k].Lease == lease && s.keys[k].Mod != 0 {
			keys = append(keys, k)
		}
	}
	s.Steps += len(s.attached[lease])
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Way is how an entry is applied, if not by all of etcd's rules.
type Way uint8

// The ways.
const (
	Plain       Way = iota
	Unchecked       // permissions and alarms are not asked
	OtherBranch     // a transaction takes the other branch
)

// Apply applies an entry.
func (s *State) Apply(e *Entry, way Way) Result {
	s.Changes, s.TablesChanged = s.Changes[:0], false
	s.Steps++
	if e.Kind == None {
		return NoEffect
	}
	if way != Unchecked {
		if s.alarmed(e) {
			return Alarmed
		}
		if s.forbidden(e) {
			return Forbidden
		}
	}
	switch e.Kind {
	case Put:
		if s.mayPut(&e.op) {
			s.put(&e.op)
		}
	case Delete:
		s.remove(&e.op)
	case Txn:
		var buf [8]bool
		path := s.comparePath(e.txn, buf[:0], way == OtherBranch)
		if _, ok := s.mayRun(e.txn, path); ok {
			s.run(e.txn, path)
		}
	case Grant:
		if e.lease != 0 && !s.leases[e.lease] && e.ttl <= maxTTL {
			s.SetLease(e.lease, true)
			s.TablesChanged = true
		}
	case Revoke:
		if e.lease != 0 && s.leases[e.lease] {
			for _, k := range s.Attached(e.lease) {
				s.changeKey(Change{Key: k, Delete: true})
			}
			s.SetLease(e.lease, false)
			s.TablesChanged = true
		}
	case Compaction:
		if e.revision > s.Compact && e.revision <= s.Revision {
			s.noteUndo(undo{kind: undoCompact, record: Record{Mod: s.Compact}})
			s.Compact = e.revision
		}
	case Alarm:
		s.setAlarm(e.alarm)
	case Auth:
		a := s.Auth.Clone()
		a.Apply(e.request)
		if a.Enabled != s.Auth.Enabled || a.Revision != s.Auth.Revision {
			s.SetAuth(a)
			s.TablesChanged = true
		}
	}
	if len(s.Changes) == 0 {
		return NoEffect
	}
	s.journal[len(s.journal)-1].made = true
	s.Revision++
	return Made
}

// maxTTL is the longest that a lease may live, in seconds (MaxLeaseTTL of server/lease/lessor.go).
const maxTTL = 9000000000

// alarmed tells whether an alarm refuses an entry (server/etcdserver/apply, capped.go and corrupt.go).
func (s *State) alarmed(e *Entry) bool {
	for _, a := range s.alarms {
		switch {
		case a.typ == pb.AlarmType_CORRUPT:
			if e.Kind <= Compaction {
				return true
			}
		case a.typ == pb.AlarmType_NOSPACE && e.puts:
			return true
		}
	}
	return false
}

// Alarmed tells whether an alarm is on.
func (s *State) Alarmed() bool { return len(s.alarms) > 0 }

func (s *State) setAlarm(r *pb.AlarmRequest) {
	a := alarm{r.MemberID, r.Alarm}
	at, on := slices.BinarySearchFunc(s.alarms, a, alarm.compare)
	next := s.alarms
	switch {
	case r.Alarm == pb.AlarmType_NONE:
	case r.Action == pb.AlarmRequest_ACTIVATE && !on:
		next = slices.Insert(slices.Clone(s.alarms), at, a)
	case r.Action == pb.AlarmRequest_DEACTIVATE && on:
		next = slices.Delete(slices.Clone(s.alarms), at, at+1)
	}
	if len(next) != len(s.alarms) {
		s.alarmHistory = append(s.alarmHistory, s.alarms)
		s.noteUndo(undo{kind: undoAlarms})
		s.alarms, s.TablesChanged = next, true
	}
}

// forbidden tells whether permissions refuse an entry.
func (s *State) forbidden(e *Entry) bool {
	if !s.Auth.Enabled || e.request == nil || e.Kind > Revoke || e.Kind == Grant {
		return false
	}
	return s.Auth.DeniesBy(e.request, func(id int64) (names []string) {
		n, ok := s.Log.leases[id]
		if !ok || !s.leases[n] {
			return nil
		}
		for _, k := range s.Attached(n) {
			names = append(names, s.Log.Keys[k])
		}
		return names
	}, s.Rules.Permissions())
}

func (s *State) mayPut(o *op) bool {
	return (o.lease == 0 || s.leases[o.lease]) && (!o.ignoreValue && !o.ignoreLease || s.keys[o.lo].Mod != 0)
}

func (s *State) put(o *op) {
	old := &s.keys[o.lo]
	r := Record{Create: s.Revision + 1, Mod: s.Revision + 1, Version: 1, Lease: o.lease, Value: o.value}
	if old.Mod != 0 {
		if r.Create, r.Version = old.Create, old.Version+1; old.Create == -1 {
			r.Create = -r.Mod
		}
		if o.ignoreValue {
			r.Value = old.Value
		}
		if o.ignoreLease {
			r.Lease = old.Lease
		}
	}
	s.changeKey(Change{Key: o.lo, Record: r})
}

func (s *State) remove(o *op) {
	s.Steps += int(o.hi-o.lo) / 16
	for k := o.lo; k < o.hi; k++ {
		if s.keys[k].Mod != 0 {
			s.changeKey(Change{Key: k, Delete: true})
		}
	}
}

func (s *State) changeKey(c Change) {
	c.Was = s.keys[c.Key]
	s.Changes = append(s.Changes, c)
	s.Set(c.Key, c.Record)
}

// comparePath evaluates every compare of a transaction, and of those nested in the branches taken, on the state before it
// (compareToPath of server/etcdserver/txn/txn.go).
func (s *State) comparePath(t *txn, path []bool, otherwise bool) []bool {
	ok := true
	for i := range t.compares {
		if ok = s.compare(&t.compares[i]); !ok {
			break
		}
	}
	ok = ok != otherwise
	path = append(path, ok)
	ops := t.branches[number(ok)]
	for i := range ops {
		if ops[i].kind == opTxn {
			path = s.comparePath(ops[i].txn, path, false)
		}
	}
	return path
}

func number(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

// mayRun tells whether etcd runs the branches at all: one operation that may not be refuses the whole transaction. It returns what is
// left of the path (checkTxn of server/etcdserver/txn/txn.go).
func (s *State) mayRun(t *txn, path []bool) ([]bool, bool) {
	ops := t.branches[number(path[0])]
	path = path[1:]
	for i := range ops {
		o, ok := &ops[i], true
		switch o.kind {
		case opPut:
			ok = s.mayPut(o)
		case opRange:
			ok = o.revision == 0 || o.revision <= s.Revision && o.revision >= s.Compact
		case opTxn:
			path, ok = s.mayRun(o.txn, path)
		}
		if !ok {
			return nil, false
		}
	}
	return path, true
}

func (s *State) run(t *txn, path []bool) []bool {
	ops := t.branches[number(path[0])]
	path = path[1:]
	for i := range ops {
		switch o := &ops[i]; o.kind {
		case opPut:
			s.put(o)
		case opDelete:
			s.remove(o)
		case opTxn:
			path = s.run(o.txn, path)
		}
	}
	return path
}

func (s *State) compare(c *compare) bool {
	if c.number == 0 {
		return s.compareKeys(c)
	}
	was := &s.rangeCompares[c.number]
	if !was.known || was.keys != s.keySum {
		*was = compareResult{s.keySum, true, s.compareKeys(c)}
	}
	return was.holds
}

func (s *State) compareKeys(c *compare) bool {
	found := false
	s.Steps += int(c.hi-c.lo) / 16
	for k := c.lo; k < c.hi; k++ {
		if s.keys[k].Mod == 0 {
			continue
		}
		found = true
		if !s.holds(c, &s.keys[k]) {
			return false
		}
	}
	// Comparing a value with that of a key that does not exist fails, whatever the operator.
	return found || c.target != pb.Compare_VALUE && s.holds(c, &Record{})
}

// asksUnknown tells whether what a compare asks of a key is not known, and may be what it asks for.
func (s *State) asksUnknown(c *compare, r *Record) bool {
	switch c.target {
	case pb.Compare_VALUE:
		return r.Value == UnknownValue
	case pb.Compare_CREATE:
		return r.Create < 0 && c.than > 0 && (c.than <= s.BaseRevision || r.Create == -c.than)
	case pb.Compare_MOD:
		return r.Mod < 0 && c.than > 0 && c.than <= s.BaseRevision
	case pb.Compare_VERSION:
		return r.Version < 0 && c.than > r.Version-OpenVersion
	case pb.Compare_LEASE:
		return r.Mod < 0
	}
	return false
}

func (s *State) holds(c *compare, r *Record) bool {
	if r.IsPartial() {
		if s.asksUnknown(c, r) {
			return r.Mod != ModNotCompared
		}
		x := *r
		if x.Version < 0 {
			x.Version += 1 - OpenVersion
		}
		if x.Mod < 0 {
			x.Mod = max(s.BaseRevision, 1)
		}
		if x.Create < 0 {
			x.Create = max(s.BaseRevision, 1)
		}
		r = &x
	}
	d := 0
	switch c.target {
	case pb.Compare_VALUE:
		if c.result == pb.Compare_EQUAL || c.result == pb.Compare_NOT_EQUAL {
			d = number(r.Value != c.sum)
		} else {
			d = bytes.Compare(s.Log.Bytes(r.Value), c.value)
		}
	case pb.Compare_CREATE:
		d = cmp.Compare(r.Create, c.than)
	case pb.Compare_MOD:
		d = cmp.Compare(r.Mod, c.than)
	case pb.Compare_VERSION:
		d = cmp.Compare(r.Version, c.than)
	case pb.Compare_LEASE:
		d = cmp.Compare(s.Log.Leases[r.Lease], c.than)
	}
	switch c.result {
	case pb.Compare_EQUAL:
		return d == 0
	case pb.Compare_NOT_EQUAL:
		return d != 0
	case pb.Compare_GREATER:
		return d > 0
	case pb.Compare_LESS:
		return d < 0
	}
	return true
}
