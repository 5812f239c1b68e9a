// Package lab makes etcd clusters with planted faults, and knows the answer.
//
// A seed gives a log, members that apply it with etcd's own code, faults of some of them, and the data
// directories that they leave behind. What a comparison must find follows from the plan and from what etcd's stores held
// meanwhile; nothing of it is read by the code under test.
//
//	seed ─> workload ─> log ──┬─> replica a ─────────> a/member/{snap/db,wal}
//	                          ├─> replica b ─────────> b/...
//	                          └─> replica c + faults ─> c/...   ─> truth
package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Case is one cluster.
type Case struct {
	Seed    uint64
	Dirs    []string // data directories by member
	Labels  []string
	Faults  []*Fault
	Truth   *Truth
	Plan    string // for humans
	Members []*Member
	tries   *maker // runs the plan again with something else
}

// Member is one replica of a case.
type Member struct {
	Label string
	ID    uint64
	log   []Entry // as this member has it
	wals  wals
	hist  *history
	sc    script
}

// maker holds what Make works with.
type maker struct {
	dir    string
	seed   uint64
	shape  *rand.Rand
	faults *rand.Rand
	disk   *rand.Rand
	w      *workload
	// planned is the log before any fault was drawn.
	planned []Entry
	n       int
	steps   int
	number  int // of faults that are wanted, drawn as well if it is negative
	common  uint64
	c       *Case
	runs    int
}

// stream is a source of random numbers of its own, so that a change to one part of a case leaves the others as they are.
func stream(seed uint64, name string) *rand.Rand {
	h := uint64(14695981039346656037)
	for _, b := range []byte(name) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

// Make writes the data directories of the case of a seed below dir.
func Make(dir string, seed uint64) (*Case, error) {
	return MakeIf(dir, seed, func([]*Fault) bool { return true })
}

// MakeIf does so if the faults are such as are wanted; otherwise the case is nil.
func MakeIf(dir string, seed uint64, wanted func(faults []*Fault) bool) (*Case, error) {
	return newMaker(dir, seed).make(wanted)
}

func newMaker(dir string, seed uint64) *maker {
	return &maker{dir: dir, seed: seed, shape: stream(seed, "shape"), faults: stream(seed, "faults"), disk: stream(seed, "disk"), number: -1, c: &Case{Seed: seed}}
}

func (m *maker) make(wanted func(faults []*Fault) bool) (*Case, error) {
	if err := m.workload(); err != nil {
		return nil, err
	}
	defer func() { _ = m.w.ref.close() }()
	m.members()
	for try := 0; ; try++ {
		if err := m.plan(try); err != nil {
			return nil, err
		}
		ok, err := m.apply()
		if err != nil {
			return nil, err
		}
		if ok {
			break
		}
	}
	if !wanted(m.c.Faults) {
		return nil, nil
	}
	if err := m.write(); err != nil {
		return nil, err
	}
	if err := m.truth(); err != nil {
		return nil, err
	}
	m.c.Plan, m.c.tries = m.describe(), m
	return m.c, nil
}

// workload draws the shape of the cluster and makes its log.
func (m *maker) workload() error {
	r := m.shape
	m.n = [...]int{3, 3, 3, 3, 3, 3, 2, 4, 5, 3}[r.IntN(10)]
	m.steps = 30 + r.IntN(120)
	if r.IntN(8) == 0 {
		m.steps = 150 + r.IntN(250)
	}
	yes := func(p float64) bool { return r.Float64() < p }
	f := features{
		txns: yes(0.7), leases: yes(0.5), compactions: yes(0.4), auth: yes(0.3), alarms: yes(0.25), members: yes(0.25), v2: yes(0.3), terms: yes(0.7),
		repeats: yes(0.4), ranges: yes(0.6), keys: 1 + r.IntN(20), unique: [...]float64{0, 0.3, 0.7, 1}[r.IntN(4)], long: yes(0.2),
	}
	w := &workload{Rand: stream(m.seed, "log"), features: f}
	for i := range m.n {
		w.ids = append(w.ids, r.Uint64()|1<<62)
		w.clock = append(w.clock, 1_700_000_000_000+r.Uint64N(1<<30))
		m.c.Labels = append(m.c.Labels, label(i))
	}
	ref, err := newReplica(filepath.Join(m.dir, "reference", "db"), 1)
	if err != nil {
		return err
	}
	w.ref, w.term, m.w = ref, 1, w
	w.boot()
	for range m.steps {
		w.step()
	}
	m.planned = w.log
	return nil
}

// members draws how far each member came, and how its files lie.
func (m *maker) members() {
	r := m.shape
	last := uint64(len(m.w.log))
	m.common = last
	compacts := r.IntN(3)
	for i := range m.n {
		x := &Member{Label: label(i), ID: m.w.ids[i], log: m.w.log}
		x.sc = script{db: filepath.Join(m.dir, x.Label, "member", "snap", "db"), id: x.ID, log: x.log, upTo: last}
		if i > 0 && r.IntN(5) == 0 {
			x.sc.upTo = last - r.Uint64N(min(last/3, 60))
		}
		m.common = min(m.common, x.sc.upTo)
		if compacts == 0 || r.IntN(4) == 0 {
			x.sc.lazy = 1 + r.Uint64N(last)
		}
		x.wals.segment = [...]int64{2 << 10, 8 << 10, 64 << 10}[r.IntN(3)]
		x.wals.upTo = x.sc.upTo + r.Uint64N(last-x.sc.upTo+1)
		if r.IntN(2) == 0 {
			x.wals.upTo = last
		}
		x.wals.commit = x.sc.upTo + r.Uint64N(x.wals.upTo-x.sc.upTo+1)
		if r.IntN(3) == 0 {
			x.wals.tail = r.IntN(5)
		}
		x.wals.rewrite = r.IntN(2) == 0
		if r.IntN(3) > 0 {
			x.wals.snap = 10 + r.Uint64N(x.sc.upTo-9)
			x.wals.purge = r.IntN(2) == 0
		}
		x.sc.snap = x.wals.snap
		if r.IntN(2) == 0 {
			x.wals.partial = r.IntN(30)
		}
		m.c.Members = append(m.c.Members, x)
		m.c.Dirs = append(m.c.Dirs, filepath.Join(m.dir, x.Label))
	}
	if r.IntN(3) == 0 {
		// Logs as long as they were: most partings are to be named.
		for _, x := range m.c.Members {
			x.wals.purge = false
		}
	}
	if r.IntN(8) == 0 {
		// Nobody has kept the beginning.
		for _, x := range m.c.Members {
			x.wals.snap = x.sc.upTo - r.Uint64N(min(x.sc.upTo/2, 40))
			x.sc.snap, x.wals.purge, x.wals.segment = x.wals.snap, true, 2<<10
		}
	}
}

// effect is what the healthy replica did with an entry.
func (m *maker) effect(index uint64) *Effect { return &m.w.ref.effects[index-1] }

// plan draws the faults.
func (m *maker) plan(try int) error {
	m.c.Faults, m.w.log = nil, m.planned
	r := m.faults
	n := [...]int{0, 1, 1, 1, 1, 1, 1, 1, 2, 2}[r.IntN(10)]
	if m.number >= 0 {
		n = m.number
	}
	if try > 20 {
		n = 0
	}
	if m.number < 0 && m.n > 2 && n > 0 && r.IntN(12) == 0 {
		m.differently()
		n = 0
	}
	for range n {
		for range 20 {
			if f := m.draw(); f != nil {
				m.c.Faults = append(m.c.Faults, f)
				break
			}
		}
	}
	if err := m.restart(); err != nil {
		return err
	}
	for _, x := range m.c.Members {
		x.log = m.w.log
	}
	for _, f := range m.c.Faults {
		if err := m.rewriteLog(f); err != nil {
			return err
		}
	}
	return nil
}

// restart has members that apply entries again do so because they restarted: the ids of what they propose afterwards show it.
func (m *maker) restart() error {
	for _, f := range m.c.Faults {
		if f.Kind != Replay && f.Kind != Twice {
			continue
		}
		m.w.log = slices.Clone(m.w.log)
		for n := int(f.Index) + max(f.Count, 1) - 1; n < len(m.w.log); n++ {
			e := &m.w.log[n]
			if h := e.Request.GetHeader(); h.GetID() == 0 || !slices.ContainsFunc(f.Members, func(i int) bool { return m.proposed(i, e) }) {
				continue
			}
			e.Request = proto.Clone(e.Request).(*pb.InternalRaftRequest)
			h := e.Request.Header
			h.ID = h.ID>>48<<48 | (h.ID+downtime<<8)&(1<<48-1)
			data, err := proto.Marshal(e.Request)
			if err != nil {
				return err
			}
			e.Data = data
		}
	}
	return nil
}

// downtime is how many milliseconds a restart takes.
const downtime = 60_000

// proposed tells whether a member proposed an entry.
func (m *maker) proposed(i int, e *Entry) bool {
	id := e.Request.GetHeader().GetID()
	return id != 0 && uint16(id>>48) == uint16(m.w.ids[i])
}

// mayRestart tells whether a member may have restarted right behind an entry, as the ids of its proposals show.
func (m *maker) mayRestart(i int, index uint64) bool {
	var before, after uint64
	for n := range m.w.log {
		e := &m.w.log[n]
		switch start := e.Request.GetHeader().GetID() >> 8 & (1<<40 - 1); {
		case !m.proposed(i, e):
		case e.Index <= index:
			before = start
		case after == 0:
			after = start
		}
	}
	return before == 0 || after == 0 || after > before+downtime/2
}

// differently draws faults at the same entry, on every member another one.
func (m *maker) differently() {
	r := m.faults
	for range 100 {
		index := 1 + r.Uint64N(m.common)
		kinds := []Kind{Skip, Twice, Half, Branch, WrongLease}
		r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		first := r.IntN(m.n)
		var fs []*Fault
		for _, k := range kinds {
			f := &Fault{Kind: k, Index: index, Members: []int{(first + len(fs)) % m.n}, seed: r.Uint64()}
			if len(fs) < min(m.n, 3) && m.effect(index).After > m.effect(index).Before && m.fits(f) {
				fs = append(fs, f)
			}
		}
		if len(fs) > 1 {
			m.c.Faults = fs
			return
		}
	}
}

func (m *maker) draw() *Fault {
	r := m.faults
	f := &Fault{seed: r.Uint64()}
	first := r.IntN(m.n)
	f.Members = []int{first}
	if m.n > 2 && r.IntN(5) == 0 {
		f.Members = append(f.Members, (first+1)%m.n)
		slices.Sort(f.Members)
	}
	switch x := r.IntN(20); {
	case x < 12:
		f.Kind = pick(r, applied)
	case x < 18:
		f.Kind = pick(r, edited)
	case x < 19:
		f.Kind = Fork
	default:
		f.Kind = Tamper
	}
	for _, o := range m.c.Faults {
		if !f.Kind.apart(o.Kind) || !o.Kind.apart(f.Kind) {
			return nil
		}
	}
	if slices.Contains(edited, f.Kind) {
		return f
	}
	for range 50 {
		f.Index = 1 + r.Uint64N(m.common)
		if r.IntN(12) == 0 {
			f.Index = m.common + 1 - min(m.common, r.Uint64N(3)) // at the edge, or what not all have reached
			f.Index = min(f.Index, uint64(len(m.w.log)))
		}
		if m.fits(f) {
			return f
		}
	}
	return nil
}

// apart tells whether a fault of kind o can be told beside one of kind k.
func (k Kind) apart(o Kind) bool {
	switch k {
	case Fork:
		return o.row() // the member's own log says what the row should be
	case Tamper:
		return slices.Contains(edited, o)
	case Behind, LostTail:
		return slices.Contains(edited, o)
	}
	return !k.table() || k != o // two of them may cancel out
}

// near tells whether the same member has another fault so close by that one fault of another kind may explain both.
func (m *maker) near(f *Fault) bool {
	return slices.ContainsFunc(m.c.Faults, func(o *Fault) bool {
		return o != f && o.Index > 0 && slices.ContainsFunc(o.Members, f.on) && distance(o.Index, f.Index) < 16 && !o.Kind.table() && !f.Kind.table()
	})
}

// fits tells whether the fault is possible at its entry, and draws the rest of it.
func (m *maker) fits(f *Fault) bool {
	r := m.faults
	e := &m.w.log[f.Index-1]
	eff := m.effect(f.Index)
	writes := eff.After > eff.Before
	if m.near(f) {
		return false
	}
	if int(f.Index) <= m.n || slices.ContainsFunc(m.c.Faults, func(o *Fault) bool { return o.Index == f.Index }) {
		return false // a member that does not know the others stops at once
	}
	if m.banned(f) {
		return false
	}
	switch f.Kind {
	case Skip, Twice:
		return writes || eff.Tables && r.IntN(2) == 0 || r.IntN(10) == 0
	case Refused:
		return writes && m.authOn(f.Index)
	case Banned:
		f.User = e.Request.GetHeader().GetUsername()
		return writes && f.User != "" && e.Request.GetAlarm() == nil && !strings.HasPrefix(e.Kind, "Auth") && !m.banned(f)
	case Half:
		f.Count = 1 + r.IntN(2)
		return writes && e.Request.GetTxn() != nil && len(eff.Rows) > 1
	case Branch:
		return e.Request.GetTxn() != nil && (writes || r.IntN(2) == 0)
	case Extra:
		f.Put = &pb.PutRequest{Key: []byte(m.anyKey(r)), Value: fmt.Appendf(nil, "extra %d", r.Uint32())}
		return int(f.Index) > m.n+2
	case WrongLease:
		if e.Request.GetPut() == nil || !writes {
			return false
		}
		if f.Lease = 0; e.Request.Put.Lease == 0 {
			if ids := m.w.ref.leases(); len(ids) > 0 {
				f.Lease = pick(r, ids)
			}
		}
		return f.Lease != e.Request.Put.Lease
	case Replay:
		f.Count = 2 + r.IntN(8)
		return f.Index+uint64(f.Count)-1 <= m.common && int(f.Index) > m.n+2
	case LostTail:
		f.Count = 1 + r.IntN(8)
		f.Index = m.common - uint64(f.Count) + 1
		for _, i := range f.Members {
			if m.c.Members[i].sc.upTo != m.common {
				return false
			}
		}
		return true
	case Behind:
		f.Count = 0
		f.Index = m.common - r.Uint64N(10)
		for _, i := range f.Members {
			if m.c.Members[i].sc.upTo != m.common || m.c.Members[i].wals.snap >= f.Index {
				return false
			}
		}
		return int(f.Index) > m.n+2
	case Fork:
		return int(f.Index) > m.n+10
	case Tamper:
		return e.Request.GetPut() != nil && !e.Request.Put.IgnoreValue && writes
	}
	return false
}

// banned tells whether one of two faults is a ban that refuses the entry of the other one on the same member: nothing else can
// happen to that entry.
func (m *maker) banned(f *Fault) bool {
	return slices.ContainsFunc(m.c.Faults, func(o *Fault) bool {
		return slices.ContainsFunc(o.Members, f.on) && (o.Kind == Banned && m.covers(o, f.Index) || f.Kind == Banned && m.covers(f, o.Index))
	})
}

func (m *maker) anyKey(r *rand.Rand) string {
	n := r.IntN(m.w.keys)
	return [...]string{"/a/", "/b/", "c"}[n%3] + fmt.Sprint(n/3)
}

// authOn tells whether auth is on when an entry is applied.
func (m *maker) authOn(index uint64) bool {
	on := false
	for i := range index {
		switch r := m.w.log[i].Request; {
		case r.GetAuthEnable() != nil:
			on = on || m.effect(i+1).Tables
		case r.GetAuthDisable() != nil && m.effect(i+1).Tables:
			on = false
		}
	}
	return on
}

// rewriteLog makes the logs of members whose log itself differs.
func (m *maker) rewriteLog(f *Fault) error {
	var log []Entry
	switch f.Kind {
	case Tamper:
		log = slices.Clone(m.w.log)
		e := &log[f.Index-1]
		e.Request = proto.Clone(e.Request).(*pb.InternalRaftRequest)
		e.Request.Put.Value = append(e.Request.Put.Value, '!')
		data, err := proto.Marshal(e.Request)
		if err != nil {
			return err
		}
		e.Data = data
	case Fork:
		var err error
		if log, err = m.fork(f.Index); err != nil {
			return err
		}
		for f.Index < uint64(len(log)) && log[f.Index-1].same(&m.w.log[f.Index-1]) {
			f.Index++ // both sides may begin alike
		}
	default:
		return nil
	}
	for _, i := range f.Members {
		m.c.Members[i].log = log
	}
	return nil
}

// fork makes another log that shares everything before index.
func (m *maker) fork(index uint64) ([]Entry, error) {
	m.runs++
	ref, err := newReplica(filepath.Join(m.dir, "reference", fmt.Sprintf("fork%d", m.runs)), 1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ref.close() }()
	w := *m.w
	w.Rand, w.ref, w.log, w.last, w.queue, w.alarmed = stream(m.seed, fmt.Sprintf("fork%d", m.runs)), ref, slices.Clone(m.w.log[:index-1]), nil, nil, 0
	for i := range w.log {
		ref.apply(&w.log[i])
	}
	w.term = w.log[index-2].Term
	if m.faults.IntN(2) == 0 {
		w.term++
		w.propose("Empty", raftpb.EntryNormal, nil, nil, nil)
	}
	for len(w.log) < len(m.w.log) {
		w.step()
	}
	return w.log, nil
}

// apply runs every member. It is false if a fault found nothing to change.
func (m *maker) apply() (bool, error) {
	for i, x := range m.c.Members {
		x.sc.log, x.sc.note, x.sc.faults = x.log, m.common, nil
		for _, f := range m.c.Faults {
			if f.on(i) {
				x.sc.faults = append(x.sc.faults, f)
			}
		}
		if err := os.RemoveAll(filepath.Join(m.dir, x.Label)); err != nil {
			return false, err
		}
		h, err := x.sc.run()
		if err != nil {
			return false, err
		}
		if h.dump, err = readDump(x.sc.db); err != nil {
			return false, err
		}
		x.hist, h.clean = h, h.dump
		if err := x.halfCompact(); err != nil {
			return false, err
		}
	}
	return m.damage()
}

// halfCompact removes some of what a compaction would remove, as when a member stops in the middle of it.
func (x *Member) halfCompact() error {
	keep := map[string]bool{}
	for _, r := range kept(x.hist.dump["key"], x.hist.compact, x.hist.rev) {
		keep[string(r.Key)] = true
	}
	err := edit(x.sc.db, func(tx *bbolt.Tx) error {
		for _, r := range x.hist.dump["key"] {
			if !keep[string(r.Key)] && x.hist.partial < x.wals.partial {
				x.hist.partial++
				if err := tx.Bucket([]byte("key")).Delete(r.Key); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		x.hist.dump, err = readDump(x.sc.db)
	}
	return err
}

func (m *maker) damage() (bool, error) {
	var dbs []string
	var hs []*history
	for _, x := range m.c.Members {
		dbs, hs = append(dbs, x.sc.db), append(hs, x.hist)
	}
	var done []*Fault
	for _, f := range m.c.Faults {
		if !slices.Contains(edited, f.Kind) {
			continue
		}
		// What was shifted by another fault is not the same row any more.
		if len(f.Members) > 1 && len(m.c.Faults) > 1 {
			return false, nil
		}
		var ok bool
		var err error
		switch f.Kind {
		case LostLease, ExtraLease, AuthBump, MissingUser:
			ok, err = f.damageTable(m.faults, dbs, hs, m.w.log)
		default:
			top := int64(0)
			for _, x := range m.c.Members {
				top = max(top, x.hist.note.rev)
			}
			ok, err = f.damage(m.faults, dbs, hs, top)
		}
		if err != nil || !ok {
			return false, err
		}
		if m.near(f) {
			return false, nil
		}
		if slices.ContainsFunc(done, func(o *Fault) bool { return o.revision == f.revision && f.revision > 0 }) {
			return false, nil
		}
		done = append(done, f)
		for _, i := range f.Members {
			if hs[i].dump, err = readDump(dbs[i]); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// write writes the logs.
func (m *maker) write() error {
	for _, x := range m.c.Members {
		if err := x.wals.write(stream(m.seed, "wal "+x.Label), filepath.Join(m.dir, x.Label), x.ID, x.log, x.hist); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d members, %d entries, common index %d\n", m.seed, m.n, len(m.w.log), m.common)
	for _, f := range m.c.Faults {
		fmt.Fprintf(&b, "  fault: %s\n", f)
	}
	for _, x := range m.c.Members {
		fmt.Fprintf(&b, "  %s: consistent index %d, revision %d, compacted %d, log %d to %d, commit %d, snapshot %d\n", x.Label, x.hist.index, x.hist.rev, x.hist.compact, x.wals.first, x.wals.last, x.wals.commit, x.wals.snap)
	}
	b.WriteString(m.c.Truth.String())
	return b.String()
}

// Log describes the entries of a member's log with what they did there.
func (x *Member) Log() string {
	var b strings.Builder
	by := map[uint64][]Effect{}
	for _, e := range x.hist.effects {
		by[e.Index] = append(by[e.Index], e)
	}
	for i := range x.log {
		e := &x.log[i]
		fmt.Fprintf(&b, "%4d/%d %s", e.Index, e.Term, e.Kind)
		if e.Request != nil {
			s := e.Request.String()
			fmt.Fprintf(&b, " %.1400s", s)
		}
		for _, f := range by[e.Index] {
			if f.After > f.Before {
				fmt.Fprintf(&b, " -> revision %d, %d rows", f.After, len(f.Rows))
			}
			if f.Tables {
				b.WriteString(" -> tables")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
