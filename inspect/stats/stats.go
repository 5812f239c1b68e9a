// Package stats counts what fills the db of a member, and what its log asks for.
package stats

import (
	"bytes"
	"cmp"
	"runtime"
	"slices"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/scratch"
)

// Stats is what one member's files are made of. Without a db, all but Log is zero.
type Stats struct {
	Total Group
	// Prefixes and Resources are sorted by bytes, the most first.
	Prefixes  []Group
	Resources []Group // of Kubernetes; empty if there are none
	Biggest   []Key   // live keys, by the size of their value
	Busiest   []Key   // all keys, by their revisions in the db
	File      File
	Log       Log
}

// Group counts the rows of some keys. Bytes are those of row keys and values as the db holds them.
type Group struct {
	Name       string
	Keys       int // that are alive
	Revisions  int // rows, tombstones among them
	Tombstones int
	Bytes      int64
	LiveBytes  int64 // of the last rows of live keys; the rest is history
}

// History is the part of the bytes that compaction at the last revision would free, from 0 to 1.
func (g *Group) History() float64 {
	if g.Bytes == 0 {
		return 0
	}
	return float64(g.Bytes-g.LiveBytes) / float64(g.Bytes)
}

// Key is one key.
type Key struct {
	Key       string
	Mod       int64
	Size      int   // of its last value
	Revisions int   // in the db
	Bytes     int64 // of these
	Alive     bool
}

// File says what the pages of the db are used for, in bytes. Used, Free and Unreachable add up to the pages in Size, but
// for those that could not be read.
type File struct {
	Size        int64
	Used        int64
	Free        int64
	Unreachable int64
	Unreadable  int64
	// Rows is what all rows of all buckets take of Leaves, the pages that hold them.
	Rows, Leaves int64
}

// Log says what entries ask for.
type Log struct {
	First, Last uint64
	Entries     int
	ByType      map[string]int
	// Writes is how many entries are of types that can change a key.
	Writes int
	// Windows cut the log at multiples of 1000.
	Windows []Window
	// Starts are the processes that proposed entries, in the order of their first.
	Starts []Start
	// Who asked for what: by proposer, by user, empty where a request names none, and by what the
	// keys that a request can write are of in Kubernetes. The most writes come first.
	Proposers, Users, Resources, Namespaces []Tally
}

// Tally counts the entries of somebody. One that writes to several resources counts for each.
type Tally struct {
	Name            string
	Prefix          uint16 // of proposers, which have no name: the low 16 bits of the member's id
	Entries, Writes int
	Bytes           int64
}

// Window is a part of the log, both ends included.
type Window struct {
	First, Last     uint64
	Entries, Writes int
	Bytes           int64
}

// Start is a process that proposed entries, as the ids of its requests tell.
type Start struct {
	raftlog.Start
	// Rate is how many entries a second the log grew by from the fresh start before this one, 0 if that cannot be told.
	Rate float64
}

// Options limit what is listed.
type Options struct {
	Depth int // of prefixes, in parts between slashes
	Top   int // keys
}

const window = 1000 // entries

// Of counts one member.
func Of(m *inspect.Member, o Options) *Stats {
	s := &Stats{Log: OfLog(m.Log, 0)}
	if m.DB == nil {
		return s
	}
	s.file(m)
	s.rows(m.DB.Rows, o)
	return s
}

// rows counts the keyspace. What the rows of a key come to is summed up from row to row, and counted with its last one.
func (s *Stats) rows(t *mvcc.Table, o Options) {
	prefixes, resources := map[string]*Group{}, map[string]*Group{}
	revisions, tombstones := scratch.New[int32](t.Scratch(), t.Len()), scratch.New[int32](t.Scratch(), t.Len())
	sums := scratch.New[int64](t.Scratch(), t.Len())
	for i, r := range t.All() {
		n, dead, sum := int32(1), int32(0), rowSize(&r)
		if r.Tombstone {
			dead = 1
		}
		if p := t.Previous(i); p >= 0 {
			n, dead, sum = n+revisions.Cells[p], dead+tombstones.Cells[p], sum+sums.Cells[p]
		}
		revisions.Cells[i], tombstones.Cells[i], sums.Cells[i] = n, dead, sum
	}
	big, busy := top{n: o.Top, by: bySize}, top{n: o.Top, by: byRevisions}
	for i, r := range t.Latest(t.Len()) {
		key := r.Key()
		all := Group{Revisions: int(revisions.Cells[i]), Tombstones: int(tombstones.Cells[i]), Bytes: sums.Cells[i]}
		k := candidate{key: key, mod: r.Rev.Main, revisions: all.Revisions, bytes: all.Bytes, alive: !r.Tombstone}
		if k.alive {
			var kv mvcc.KeyValue
			if kv.Decode(r.Value) == nil {
				k.size = len(kv.Value)
			}
			all.Keys, all.LiveBytes = 1, rowSize(&r)
			big.add(k)
		}
		busy.add(k)
		s.Total.add(&all)
		group(prefixes, prefix(key, o.Depth)).add(&all)
		if resource := kube.ResourceOf(key); resource != nil {
			group(resources, resource).add(&all)
		}
	}
	runtime.KeepAlive(revisions)
	runtime.KeepAlive(tombstones)
	runtime.KeepAlive(sums)
	s.Prefixes, s.Resources = sorted(prefixes), sorted(resources)
	s.Biggest, s.Busiest = big.best(), busy.best()
}

func (g *Group) add(o *Group) {
	g.Keys += o.Keys
	g.Revisions += o.Revisions
	g.Tombstones += o.Tombstones
	g.Bytes += o.Bytes
	g.LiveBytes += o.LiveBytes
}

func rowSize(r *mvcc.Row) int64 {
	if r.Tombstone {
		return int64(mvcc.TombstoneLen + len(r.Value))
	}
	return int64(mvcc.RevisionLen + len(r.Value))
}

func group(all map[string]*Group, name []byte) *Group {
	g := all[string(name)]
	if g == nil {
		g = &Group{Name: string(name)}
		all[g.Name] = g
	}
	return g
}

func sorted(all map[string]*Group) []Group {
	var out []Group
	for _, g := range all {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Group) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name)) })
	return out
}

// prefix is the first parts of a key, with the slash behind them. A key that has no more parts is its own prefix but for
// the last part.
func prefix(key []byte, depth int) []byte {
	end := 0
	at := 0
	if bytes.HasPrefix(key, []byte("/")) {
		at = 1
	}
	for range depth {
		i := bytes.IndexByte(key[at:], '/')
		if i < 0 {
			break
		}
		at += i + 1
		end = at
	}
	if end == 0 && at == 1 {
		end = 1
	}
	return key[:end]
}

// candidate is a key that may be listed; the key itself is a part of the file.
type candidate struct {
	key             []byte
	mod             int64
	size, revisions int
	bytes           int64
	alive           bool
}

// top keeps the first n keys of an order.
type top struct {
	n    int
	by   func(a, b candidate) int
	keys []candidate
	cut  bool // the first n keys are in order, and there were more
}

func bySize(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.size, a.size), bytes.Compare(a.key, b.key))
}

func byRevisions(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.revisions, a.revisions), cmp.Compare(b.bytes, a.bytes), bytes.Compare(a.key, b.key))
}

func (t *top) add(k candidate) {
	if t.cut && (t.n == 0 || t.by(k, t.keys[t.n-1]) > 0) {
		return
	}
	if t.keys = append(t.keys, k); len(t.keys) >= 2*t.n+1000 {
		t.sort()
	}
}

func (t *top) sort() {
	slices.SortFunc(t.keys, t.by)
	t.cut = t.cut || len(t.keys) > t.n
	t.keys = t.keys[:min(t.n, len(t.keys))]
}

func (t *top) best() []Key {
	t.sort()
	keys := make([]Key, len(t.keys))
	for i, k := range t.keys {
		keys[i] = Key{Key: string(k.key), Mod: k.mod, Size: k.size, Revisions: k.revisions, Bytes: k.bytes, Alive: k.alive}
	}
	return keys
}

// file counts pages and what rows take of them.
func (s *Stats) file(m *inspect.Member) {
	db := m.DB.Bolt
	size := int64(db.Meta().PageSize)
	report := db.Check()
	p := report.Pages
	s.File = File{
		Rows: report.RowBytes,
		Size: int64(len(m.DB.File.Bytes())), Free: int64(p.Free) * size, Unreachable: int64(p.Unreachable) * size, Unreadable: int64(p.Unreadable) * size,
		Used: int64(p.Meta+p.Branch+p.Leaf+p.Freelist+p.Overflow) * size, Leaves: int64(p.Leaf+p.Overflow) * size,
	}
}

// writes are the types of requests that can change a key.
var writes = map[string]bool{"Put": true, "DeleteRange": true, "Txn": true, "LeaseRevoke": true}

// OfLog counts the entries of a log behind an index.
func OfLog(l *raftlog.Log, after uint64) Log {
	out := Log{ByType: map[string]int{}}
	var clock raftlog.Clock
	proposers, users, resources, namespaces := map[uint16]*Tally{}, map[string]*Tally{}, map[string]*Tally{}, map[string]*Tally{}
	for i := range l.Entries {
		e := &l.Entries[i]
		typ := "Unknown"
		r, err := raftlog.Decode(e)
		if err == nil {
			typ = r.Type
		}
		started := err == nil && clock.Note(e.Index, r)
		if e.Index <= after {
			continue
		}
		if out.Entries++; out.Entries == 1 {
			out.First = e.Index
		}
		out.Last = e.Index
		out.ByType[typ]++
		if n := len(out.Windows); n == 0 || out.Windows[n-1].First/window != e.Index/window {
			out.Windows = append(out.Windows, Window{First: e.Index})
		}
		w := &out.Windows[len(out.Windows)-1]
		w.Last = e.Index
		w.Entries++
		w.Bytes += int64(len(e.Data))
		if writes[typ] {
			w.Writes++
			out.Writes++
		}
		if err != nil {
			continue
		}
		if started {
			out.start(clock.Starts[len(clock.Starts)-1])
		}
		if r.ID != 0 && r.ConfChange == nil {
			prefix := raftlog.Proposer(r.ID).Prefix
			tally(proposers, prefix, Tally{Prefix: prefix}, typ, e)
		}
		if r.Internal != nil {
			tally(users, r.User, Tally{Name: r.User}, typ, e)
		}
		for _, n := range written(r) {
			if n.Resource != "" {
				tally(resources, n.Resource, Tally{Name: n.Resource}, typ, e)
			}
			if n.Namespace != "" {
				tally(namespaces, n.Namespace, Tally{Name: n.Namespace}, typ, e)
			}
		}
	}
	out.Proposers, out.Users, out.Resources, out.Namespaces = tallies(proposers), tallies(users), tallies(resources), tallies(namespaces)
	return out
}

// written lists the resources and the namespaces in which a request can write, each once.
func written(r *raftlog.Request) []kube.Name {
	var names []kube.Name
	for _, w := range r.Keys() {
		n, ok := kube.NameOf(w.Key)
		if !ok {
			continue
		}
		if slices.ContainsFunc(names, func(o kube.Name) bool { return o.Resource == n.Resource }) {
			n.Resource = ""
		}
		if slices.ContainsFunc(names, func(o kube.Name) bool { return o.Namespace == n.Namespace }) {
			n.Namespace = ""
		}
		names = append(names, kube.Name{Resource: n.Resource, Namespace: n.Namespace})
	}
	return names
}

func tally[K comparable](all map[K]*Tally, key K, begin Tally, typ string, e *raftlog.Entry) {
	t := all[key]
	if t == nil {
		t = &begin
		all[key] = t
	}
	t.Entries++
	t.Bytes += int64(len(e.Data))
	if writes[typ] {
		t.Writes++
	}
}

func tallies[K comparable](all map[K]*Tally) []Tally {
	var out []Tally
	for _, t := range all {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Writes, a.Writes), cmp.Compare(b.Entries, a.Entries), strings.Compare(a.Name, b.Name), cmp.Compare(a.Prefix, b.Prefix))
	})
	return out
}

// start notes a process that was not seen before.
func (l *Log) start(p raftlog.Start) {
	s := Start{Start: p}
	for i := len(l.Starts) - 1; p.Fresh && i >= 0; i-- {
		before := &l.Starts[i]
		if !before.Fresh {
			continue
		}
		if d := s.At.Sub(before.At).Seconds(); d >= 1 {
			s.Rate = float64(p.First-before.First) / d
		}
		break
	}
	l.Starts = append(l.Starts, s)
}

// Growth is how some keys changed between two copies of a member.
type Growth struct {
	Name     string
	Old, New Group
}

// Bytes is by how much they grew.
func (g *Growth) Bytes() int64 { return g.New.Bytes - g.Old.Bytes }

// Grown pairs the groups of an older copy with those of a newer one, those that grew most first, and leaves out what is the same.
func Grown(before, now []Group) []Growth {
	all := map[string]*Growth{}
	pair := func(g *Group) *Growth {
		if all[g.Name] == nil {
			all[g.Name] = &Growth{Name: g.Name}
		}
		return all[g.Name]
	}
	for i := range before {
		pair(&before[i]).Old = before[i]
	}
	for i := range now {
		pair(&now[i]).New = now[i]
	}
	var out []Growth
	for _, g := range all {
		if g.Old.Name, g.New.Name = g.Name, g.Name; g.Old != g.New {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b Growth) int {
		return cmp.Or(cmp.Compare(b.Bytes(), a.Bytes()), strings.Compare(a.Name, b.Name))
	})
	return out
}
