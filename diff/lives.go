package diff

import (
	"cmp"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/relive"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Bounds of a life that is run again: how many entries are followed, and how many rows a db may have.
const (
	maxRelived     = 4096
	maxRelivedRows = 1 << 16
)

// life is member i's, to be run again, nil if not all that it met is known.
func (c *comparison) life(i int) *relive.Life {
	start := &relive.Start{}
	if c.ms[i].DB.Rows.Len() > maxRelivedRows {
		return nil
	}
	if !c.whole(i) {
		if start = c.startOf(i); start == nil {
			return nil
		}
	}
	return c.lifeFrom(i, start)
}

// lifeFrom is member i's life behind a moment, nil if it does not hold what it takes.
func (c *comparison) lifeFrom(i int, start *relive.Start) *relive.Life {
	db, es := c.ms[i].DB, c.views[i].entries
	first, end := max(start.Index, 1), db.Tables.ConsistentIndex
	from, found := slices.BinarySearchFunc(es, first, func(e align.Entry, x uint64) int { return cmp.Compare(e.Index, x) })
	if !found || !db.Whole || !db.Tables.HasTerm || len(db.Rows.Holes()) > 0 || end < first || end-first >= maxRelived {
		return nil
	}
	var requests []*raftlog.Request
	for k := from; k < len(es) && es[k].Index <= max(committed(c.ms[i]), end); k++ {
		if es[k].Index != first+uint64(len(requests)) {
			return nil
		}
		requests = append(requests, es[k].Request())
	}
	if uint64(len(requests)) <= end-first {
		return nil
	}
	m := &relive.Member{
		Table: db.Rows, Revision: c.last[i], Compact: max(db.CompactRevision(), 0), Tables: db.Tables, Live: map[string]mvcc.KeyValue{},
	}
	if m.Compact > 0 {
		db.Rows.Index(nil).Live(m.Compact, func(key string, kv mvcc.KeyValue, _ mvcc.Row) { m.Live[key] = kv })
	}
	return relive.New(m, start, requests, end)
}

// startOf is a moment in the past of member i from which its life can be followed: that at which what is known of another member with
// the same history begins, or of itself, if all that this one holds follows from there, and if they were the same then.
func (c *comparison) startOf(i int) *relive.Start {
	for _, h := range append([]int{i}, c.others(i)...) {
		if c.logs.history[h] != c.logs.history[i] {
			continue
		}
		if c.starts == nil {
			c.starts = map[int]*relive.Start{}
		}
		s, known := c.starts[h]
		if !known {
			if s = c.begun(h); s != nil {
				if l := c.lifeFrom(h, s); l == nil || !l.Reproduces(nil) {
					s = nil
				}
			}
			c.starts[h] = s
		}
		if s != nil && (h == i || c.revisionAt(i, s.Index-1) == s.Revision && c.agreed(h, i) >= s.Revision && c.sameAt(h, i, s.Revision)) {
			return s
		}
	}
	return nil
}

func (c *comparison) others(i int) (all []int) {
	for j := range c.ms {
		if j != i {
			all = append(all, j)
		}
	}
	return all
}

// begun is the moment at which what is known of a member begins, as its rows and tables and what came behind tell, nil if they do not.
func (c *comparison) begun(h int) *relive.Start {
	t, db, v := c.traces[h], c.ms[h].DB, c.views[h]
	s := &relive.Start{Index: t.first(), Revision: t.startRevision(), Leases: map[int64]int64{}}
	if s.Index < 2 || s.Revision < max(db.CompactRevision(), 1) || db.Rows.Len() > maxRelivedRows || db.Tables.ConsistentIndex >= s.Index+maxRelived {
		return nil
	}
	if s.Auth = c.auths[h].state(s.Index); s.Auth == nil {
		return nil
	}
	behind := func(id int64) (first *leaseEvent) {
		for n := range v.leases[id] {
			if ev := &v.leases[id][n]; ev.index >= s.Index {
				return ev
			}
		}
		return nil
	}
	for _, r := range db.Tables.Leases {
		if ev := behind(r.ID); ev == nil || !ev.grant {
			s.Leases[r.ID] = r.TTL
		}
	}
	for id := range v.leases {
		if ev := behind(id); ev != nil && !ev.grant {
			s.Leases[id] = 0
		}
	}
	used := func(kv *mvcc.KeyValue) {
		if _, ok := s.Leases[kv.Lease]; kv.Lease != 0 && !ok {
			if ev := behind(kv.Lease); ev == nil || !ev.grant {
				s.Leases[kv.Lease] = 0
			}
		}
	}
	db.Rows.Index(nil).Live(s.Revision, func(_ string, kv mvcc.KeyValue, _ mvcc.Row) {
		s.Keys = append(s.Keys, kv)
		used(&kv)
	})
	for main := s.Revision + 1; main <= c.last[h]; main++ {
		var kv mvcc.KeyValue
		for _, r := range db.Rows.Group(main) {
			if !r.Tombstone && kv.Decode(r.Value) == nil {
				used(&kv)
			}
		}
	}
	s.Alarms = c.alarmsBefore(h, s.Index)
	return s
}

// alarmsBefore are the alarms that were on before an entry, as what came behind tells.
func (c *comparison) alarmsBefore(h int, index uint64) (on []pb.AlarmMember) {
	v, told := c.views[h], map[alarmID]bool{}
	for _, t := range c.early[h] {
		if index <= t.index {
			told[t.id] = true
			on = append(on, pb.AlarmMember{MemberID: t.id.member, Alarm: t.id.typ})
		}
	}
	for _, x := range v.alarms {
		r := find(v.entries, x).Request().Internal.GetAlarm()
		id := alarmID{r.GetMemberID(), r.GetAlarm()}
		if x < index || told[id] {
			continue
		}
		if told[id] = true; r.GetAction() == pb.AlarmRequest_DEACTIVATE {
			on = append(on, pb.AlarmMember{MemberID: id.member, Alarm: id.typ})
		}
	}
	for _, a := range c.ms[h].DB.Tables.Alarms {
		if id := (alarmID{a.Member, pb.AlarmType(pb.AlarmType_value[a.Type])}); !told[id] {
			on = append(on, pb.AlarmMember{MemberID: id.member, Alarm: id.typ})
		}
	}
	return on
}

// relived is what running a member's life again has shown: all that may have befallen it, or that nothing did.
type relived struct {
	all  [][]relive.Seen // each in the order of the log
	none bool
	life *relive.Life
	from relive.Start // where the life begins
}

// relive runs a member's life again, once.
func (c *comparison) relive(i int) *relived {
	if c.lives == nil {
		c.lives = make([]*relived, len(c.ms))
	}
	if c.lives[i] == nil {
		c.lives[i] = &relived{}
		if l := c.life(i); l != nil {
			r := c.lives[i]
			if r.all, r.none = l.Solutions(); len(r.all) == 0 || l.Ahead() {
				r.all = nil
			}
			r.life = l
			if !c.whole(i) {
				r.from = *c.startOf(i)
			}
			for _, s := range r.all {
				slices.SortStableFunc(s, func(a, b relive.Seen) int { return cmp.Compare(rank(a), rank(b)) })
			}
			if r.mixed() {
				r.all = nil
			}
		}
	}
	return c.lives[i]
}

// mixed tells whether one fault is the first in one explanation and a later one in another: then they are not of the same faults.
func (r *relived) mixed() bool {
	at := map[relive.Fault]int{}
	for _, s := range r.all {
		for n := range s {
			if m, known := at[s[n].Fault]; known && m != n {
				return true
			}
			at[s[n].Fault] = n
		}
	}
	return false
}

// rank is where a fault belongs among causes in the order of the log.
func rank(f relive.Seen) uint64 {
	if f.Kind == relive.Skewed {
		return math.MaxUint64
	}
	return f.Index
}

// covers tells whether it is known of the member what befell it when a cause did. Of a table, in which no entry shows, nobody knows when
// that was.
func (r *relived) covers(k *cause) bool {
	switch {
	case r.all == nil && !r.none:
		return false
	case r.from.Index == 0:
		return true
	case k.between != nil:
		return k.between.First > r.from.Revision
	}
	return k.index >= r.from.Index || k.index == 0 && k.revision > r.from.Revision
}

// faults is how many befell the member.
func (r *relived) faults() int {
	if len(r.all) == 0 {
		return 0
	}
	return len(r.all[0])
}

// may are all that one of the faults may have been, and by which entry each is known.
func (r *relived) may(n int) map[relive.Fault]uint64 {
	all := map[relive.Fault]uint64{}
	for _, s := range r.all {
		all[s[n].Fault] = s[n].Index
	}
	return all
}

// tells tells whether a cause may be one of the faults.
func (r *relived) tells(n int, k *cause) bool {
	at := k.at()
	for f, x := range r.may(n) {
		switch {
		case f.Kind == relive.Skewed:
			if t := map[Layer]relive.Tables{LayerAuth: relive.Auth, LayerLease: relive.Leases, LayerAlarm: relive.Alarms}[k.layer]; f.Tables == t {
				return true
			}
		case f.Kind == relive.Extra && k.index == 0 && k.revision > 0 && (k.between == nil || at.First <= x && x <= at.Last),
			k.index > 0 && at.First <= x && x <= at.Last:
			return true
		}
	}
	return false
}

// foreign tells whether one of the faults is nothing that any entry has to do with, and stored whether it is what became of one's rows.
func (r *relived) foreign(n int) bool {
	return slices.ContainsFunc(r.all, func(s []relive.Seen) bool { return s[n].Kind == relive.Extra || s[n].Kind == relive.Skewed })
}

func (r *relived) stored(n int) bool {
	return slices.ContainsFunc(r.all, func(s []relive.Seen) bool { return s[n].Kind == relive.Made || s[n].Kind == relive.Edited })
}

// explains tells whether one of the faults may as well have been another one.
func (r *relived) explains(n int, f relive.Fault) bool {
	if _, ok := r.may(n)[f]; ok {
		return true
	}
	for _, s := range r.all[:min(len(r.all), maxExplained)] {
		var faults []relive.Fault
		for i := range s {
			faults = append(faults, s[i].Fault)
		}
		if faults[n] = f; r.life.Reproduces(faults) {
			return true
		}
	}
	return false
}

// maxExplained is how many explanations of a member are tried with another fault.
const maxExplained = 4
