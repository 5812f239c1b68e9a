package apply

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Way is how an entry is applied, if not by all of etcd's rules.
type Way uint8

// The ways.
const (
	Plain       Way = iota
	Unchecked       // permissions and alarms are not asked
	OtherBranch     // a transaction takes the other branch
	WithReads       // a transaction keeps all its reads, as up to 3.6 it does on the member that proposed it and waits for what it makes
)

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

// Apply applies an entry.
func (s *State) Apply(e *Entry, way Way) Result {
	s.Changes, s.TablesChanged = s.Changes[:0], false
	s.Steps++
	if e.Kind == None {
		return NoEffect
	}
	if way != Unchecked {
		if s.alarms.refuse(e) {
			return Alarmed
		}
		if s.forbidden(e, way) {
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
		if _, ok := s.mayRun(e.txn, path, way != WithReads && s.Rules.dropReads()); ok {
			s.run(e.txn, path)
		}
	case Grant:
		if e.lease != 0 && !s.leases.exists[e.lease] && e.ttl <= maxTTL {
			s.SetLease(e.lease, true)
			s.TablesChanged = true
		}
	case Revoke:
		if e.lease != 0 && s.leases.exists[e.lease] {
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

func (s *State) setAlarm(r *pb.AlarmRequest) {
	if next, changed := s.alarms.after(r); changed {
		s.alarmHistory = append(s.alarmHistory, s.alarms)
		s.noteUndo(undo{kind: undoAlarms})
		s.alarms, s.TablesChanged = next, true
	}
}

// forbidden tells whether permissions refuse an entry.
func (s *State) forbidden(e *Entry, way Way) bool {
	if !s.Auth.Enabled || e.request == nil || e.Kind > Revoke || e.Kind == Grant {
		return false
	}
	rules := s.Rules.Permissions()
	rules.ReadsDropped = rules.ReadsDropped && way != WithReads
	return s.Auth.Denies(e.request, func(id int64) (names []string) {
		n, ok := s.Log.leases[id]
		if !ok || !s.leases.exists[n] {
			return nil
		}
		for _, k := range s.Attached(n) {
			names = append(names, s.Log.Keys[k])
		}
		return names
	}, rules)
}

func (s *State) mayPut(o *op) bool {
	return (o.lease == 0 || s.leases.exists[o.lease]) && (!o.ignoreValue && !o.ignoreLease || s.keys[o.lo].Mod != 0)
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
// left of the path (checkTxn of server/etcdserver/txn/txn.go). The outermost reads may have been dropped before.
func (s *State) mayRun(t *txn, path []bool, readsDropped bool) ([]bool, bool) {
	ops := t.branches[number(path[0])]
	path = path[1:]
	for i := range ops {
		o, ok := &ops[i], true
		switch o.kind {
		case opPut:
			ok = s.mayPut(o)
		case opRange:
			ok = readsDropped || o.revision == 0 || o.revision <= s.Revision && o.revision >= s.Compact
		case opTxn:
			path, ok = s.mayRun(o.txn, path, false)
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
		if !c.holds(s.Log, &s.keys[k], s.BaseRevision) {
			return false
		}
	}
	// Comparing a value with that of a key that does not exist fails, whatever the operator.
	return found || c.target != pb.Compare_VALUE && c.holds(s.Log, &Record{}, s.BaseRevision)
}
