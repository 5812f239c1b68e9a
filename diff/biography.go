package diff

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// BiographyQuery names what to tell of: one of a key, a prefix and a lease.
type BiographyQuery struct {
	Key, Prefix *string
	Lease       *ID
}

func (q *BiographyQuery) wants(key []byte) bool {
	return q.Key != nil && *q.Key == string(key) || q.Prefix != nil && bytes.HasPrefix(key, []byte(*q.Prefix))
}

// Biography is all that the files of members tell of some keys.
type Biography struct {
	SchemaVersion string            `json:"schema_version"`
	Members       []BiographyMember `json:"members"`
	// Lease is that of the query, nil if it was for keys.
	Lease *LeaseLife `json:"lease,omitempty"`
	Keys  []KeyLife  `json:"keys"` // sorted by key
	// Faults are about what could not be related.
	Faults []string `json:"faults"`
}

// BiographyMember says how far a member's files tell anything.
type BiographyMember struct {
	Label           string `json:"label"`
	Readable        bool   `json:"readable"`
	Complete        bool   `json:"complete"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	ConsistentIndex uint64 `json:"consistent_index"`
	FirstIndex      uint64 `json:"first_index"` // of its log
	LastIndex       uint64 `json:"last_index"`
}

// LeaseLife is what became of a lease.
type LeaseLife struct {
	ID     ID                    `json:"id"`
	Now    map[string]LeaseState `json:"now"` // by member
	Events []KeyEvent            `json:"events"`
}

// KeyLife is what became of a key.
type KeyLife struct {
	Key Key
	// Now is the key after the last revision of each member.
	Now map[string]KeyState
	// Parted is the first event that differs, counted from 0; nil if none does.
	Parted *int
	Events []KeyEvent
}

// MarshalJSON writes the key as text if it is.
func (k KeyLife) MarshalJSON() ([]byte, error) {
	text, b64 := k.Key.named()
	return json.Marshal(struct {
		Key    string              `json:"key,omitempty"`
		B64    string              `json:"key_base64,omitempty"`
		Now    map[string]KeyState `json:"now"`
		Parted *int                `json:"parted"`
		Events []KeyEvent          `json:"events"`
	}{text, b64, k.Now, k.Parted, k.Events})
}

// KeyEvent is an entry that could change the key, or a revision of it of which no entry is known.
type KeyEvent struct {
	// Entry is nil if no log holds the entry, or none made the revision.
	Entry *Entry `json:"entry"`
	// AuthRevision is that of the request.
	AuthRevision uint64 `json:"auth_revision"`
	// NoEntry is true if no entry explains the revision, although the log is there.
	NoEntry bool `json:"no_entry,omitempty"`
	// Asks is what the entry asks to do with the key; empty if it is only found by what it did.
	Asks string `json:"asks,omitempty"`
	// Differs is true if members that applied the entry hold another value or lease, or one holds a row and another not.
	// Other revision numbers or versions of the same write are no difference of this event.
	Differs bool    `json:"differs"`
	On      []KeyOn `json:"on"` // by members that agree
	order   uint64
	rev     int64
}

// KeyOn is what an event did on some members.
type KeyOn struct {
	Members []string    `json:"members"`
	Effect  EffectState `json:"effect"`
	// Why says why there was no effect, or what is odd.
	Why        string   `json:"why,omitempty"`
	Unexpected bool     `json:"unexpected,omitempty"`
	Rows       []KeyRow `json:"rows"`
}

// KeyRow is one row of the key.
type KeyRow struct {
	Revision    int64  `json:"revision"`
	Sub         int64  `json:"sub"`
	Op          string `json:"op"` // put or delete
	Create      int64  `json:"create_revision"`
	Mod         int64  `json:"mod_revision"`
	Version     int64  `json:"version"`
	Lease       ID     `json:"lease"`
	ValueSize   int    `json:"value_size"`
	ValueSHA256 string `json:"value_sha256"`
	Salvaged    bool   `json:"salvaged,omitempty"`
	row         *mvcc.Row
}

func keyRow(r *mvcc.Row) KeyRow {
	var kv mvcc.KeyValue
	_ = kv.Decode(r.Value) // what does not decode has no key, and is not here
	out := KeyRow{Revision: r.Rev.Main, Sub: r.Rev.Sub, Op: "put", Create: kv.Create, Mod: kv.Mod, Version: kv.Version, Lease: ID(uint64(kv.Lease)), ValueSize: len(kv.Value), Salvaged: r.Salvaged, row: r}
	if r.Tombstone {
		out.Op, out.Mod = "delete", r.Rev.Main
		return out
	}
	sum := sha256.Sum256(kv.Value)
	out.ValueSHA256 = hex.EncodeToString(sum[:])
	return out
}

// Biography tells what became of the keys that a query names.
func (l *Ledger) Biography(q BiographyQuery) *Biography {
	b := &biographer{l: l, q: q, rows: map[string][][]*mvcc.Row{}, writtenAt: map[string]map[uint64]struct{}{}}
	b.collect()
	out := &Biography{SchemaVersion: SchemaVersion, Members: []BiographyMember{}, Keys: []KeyLife{}, Faults: append([]string{}, l.Faults...)}
	for _, m := range l.Members {
		x := BiographyMember{Label: m.Label, FirstIndex: m.Log.First(), LastIndex: m.Log.Last()}
		x.Complete, _ = m.Complete()
		if m.DB != nil && m.DB.HasKeys {
			x.Readable, x.Revision, x.CompactRevision, x.ConsistentIndex = true, m.DB.Revision(), m.DB.CompactRevision(), m.DB.Tables.ConsistentIndex
		}
		out.Members = append(out.Members, x)
	}
	if q.Lease != nil {
		out.Lease = b.leaseLife()
	}
	names := slices.Collect(maps.Keys(b.rows))
	for k := range b.writtenAt {
		if _, ok := b.rows[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		out.Keys = append(out.Keys, b.keyLife(k))
	}
	return out
}

// biographer collects what concerns some keys.
type biographer struct {
	l *Ledger
	q BiographyQuery
	// rows of each key, by member.
	rows map[string][][]*mvcc.Row
	// writtenAt are the indexes of entries that could change a key.
	writtenAt map[string]map[uint64]struct{}
	// Entries that revoke or grant a lease, and all that name the lease of the query.
	revokes map[int64][]uint64
	grants  map[int64][]uint64
	leased  []uint64
	ranges  []rangeWrite
}

type rangeWrite struct {
	index uint64
	w     raftlog.Write
}

// collect goes over the logs for the keys, and then over the rows.
func (b *biographer) collect() {
	b.revokes, b.grants = map[int64][]uint64{}, map[int64][]uint64{}
	carriers := b.carriers()
	var singles []singleWrite
	for line := range b.l.Lines(0, 0) {
		for i := range line.Variants {
			r, err := raftlog.Decode(line.Variants[i].Entry)
			if err != nil || r == nil {
				continue
			}
			for _, w := range r.Keys() {
				switch {
				case len(w.End) > 0:
					b.ranges = append(b.ranges, rangeWrite{line.Index, w})
				case b.q.Lease != nil:
					singles = append(singles, singleWrite{line.Index, string(w.Key)})
					if ID(uint64(w.Lease)) == *b.q.Lease {
						carriers[string(w.Key)] = true
					}
				case b.q.wants(w.Key):
					b.noteWrite(string(w.Key), line.Index)
				}
			}
			b.noteLeases(line.Index, r.Internal)
		}
	}
	for _, s := range singles {
		if carriers[s.key] {
			b.noteWrite(s.key, s.index)
		}
	}
	b.collectRows(carriers)
}

// singleWrite is a put or a delete of one key. That the key carries the lease of the query may be known only later.
type singleWrite struct {
	index uint64
	key   string
}

// carriers are the keys of which some row carries the lease of the query.
func (b *biographer) carriers() map[string]bool {
	keys := map[string]bool{}
	if b.q.Lease == nil {
		return keys
	}
	for _, m := range b.l.Members {
		if m.DB == nil {
			continue
		}
		var kv mvcc.KeyValue
		for _, r := range m.DB.Rows.All() {
			if !r.Tombstone && kv.Decode(r.Value) == nil && ID(uint64(kv.Lease)) == *b.q.Lease {
				keys[string(kv.Key)] = true
			}
		}
	}
	return keys
}

// noteLeases notes an entry that grants or revokes a lease, or names that of the query.
func (b *biographer) noteLeases(index uint64, in *pb.InternalRaftRequest) {
	if v := in.GetLeaseGrant(); v != nil {
		b.grants[v.ID] = append(b.grants[v.ID], index)
	}
	if v := in.GetLeaseRevoke(); v != nil {
		b.revokes[v.ID] = append(b.revokes[v.ID], index)
	}
	if b.q.Lease != nil && namesLease(in, int64(*b.q.Lease)) && (len(b.leased) == 0 || b.leased[len(b.leased)-1] != index) {
		b.leased = append(b.leased, index)
	}
}

// collectRows collects the rows of the keys that the query asks for, and of those that carried its lease.
func (b *biographer) collectRows(carriers map[string]bool) {
	for i, m := range b.l.Members {
		if m.DB == nil {
			continue
		}
		for _, r := range m.DB.Rows.All() {
			if key := r.Key(); b.q.wants(key) || carriers[string(key)] {
				if b.rows[string(key)] == nil {
					b.rows[string(key)] = make([][]*mvcc.Row, len(b.l.Members))
				}
				b.rows[string(key)][i] = append(b.rows[string(key)][i], &r)
			}
		}
	}
}

// namesLease tells whether a request grants, revokes or checkpoints a lease.
func namesLease(in *pb.InternalRaftRequest, id int64) bool {
	return in.GetLeaseGrant().GetID() == id && in.GetLeaseGrant() != nil || in.GetLeaseRevoke().GetID() == id && in.GetLeaseRevoke() != nil ||
		slices.ContainsFunc(in.GetLeaseCheckpoint().GetCheckpoints(), func(c *pb.LeaseCheckpoint) bool { return c.ID == id })
}

func (b *biographer) noteWrite(key string, index uint64) {
	if b.writtenAt[key] == nil {
		b.writtenAt[key] = map[uint64]struct{}{}
	}
	b.writtenAt[key][index] = struct{}{}
}

// keyLife tells of one key.
func (b *biographer) keyLife(key string) KeyLife {
	k := KeyLife{Key: Key(key), Now: map[string]KeyState{}}
	rows := b.rows[key]
	if rows == nil {
		rows = make([][]*mvcc.Row, len(b.l.Members))
	}
	p := b.historyOf(key, rows)
	at := map[uint64]map[int][]*mvcc.Row{} // rows by the entry that made them, and by member
	for i, list := range rows {
		for _, r := range list {
			index, after, known := b.l.Making(i, r.Rev.Main)
			if !known {
				index = b.guess(i, p, r)
			}
			if index == 0 {
				k.Events = b.addUnattributed(k.Events, i, r, after, known)
				continue
			}
			if at[index] == nil {
				at[index] = map[int][]*mvcc.Row{}
			}
			at[index][i] = append(at[index][i], r)
		}
		if m := b.l.Members[i]; m.DB != nil && m.DB.HasKeys {
			k.Now[m.Label] = stateAfter(list)
		}
	}
	indexes := b.entriesAbout(key, p, rows)
	for x := range at {
		indexes[x] = true
	}
	for x := range indexes {
		k.Events = append(k.Events, b.event(key, x, at[x])...)
	}
	slices.SortStableFunc(k.Events, func(a, b KeyEvent) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.rev, b.rev)) })
	if i := slices.IndexFunc(k.Events, func(e KeyEvent) bool { return e.Differs }); i >= 0 {
		k.Parted = &i
	}
	return k
}

// stateAfter is what a member holds of a key once it has made some rows of it.
func stateAfter(rows []*mvcc.Row) KeyState {
	if len(rows) == 0 {
		return KeyState{}
	}
	r := keyRow(rows[len(rows)-1])
	if r.Op != "put" {
		return KeyState{}
	}
	return KeyState{Present: true, ModRevision: r.Mod, CreateRevision: r.Create, Version: r.Version, Lease: r.Lease, ValueSize: r.ValueSize, ValueSHA256: r.ValueSHA256}
}

// entriesAbout are the entries that could change a key: by its name, by a range, or by revoking a lease that it may have carried. Of a single key it is told
// when its leases were granted, too.
func (b *biographer) entriesAbout(key string, p *keyHistory, rows [][]*mvcc.Row) map[uint64]bool {
	indexes := map[uint64]bool{}
	for x := range b.writtenAt[key] {
		indexes[x] = true
	}
	for id := range leasesOf(p, rows) {
		for _, x := range b.revokes[id] {
			if p.carried(x, id) {
				indexes[x] = true
			}
		}
		if b.q.Key != nil {
			for _, x := range b.grants[id] {
				indexes[x] = true
			}
		}
	}
	if b.q.Key != nil {
		for _, r := range b.ranges {
			if string(r.w.Key) <= key && (string(r.w.End) == "\x00" || key < string(r.w.End)) {
				indexes[r.index] = true
			}
		}
	}
	return indexes
}

// leasesOf are the leases that a key may have carried: those of its rows, and those that writes in the log give it.
func leasesOf(p *keyHistory, rows [][]*mvcc.Row) map[int64]bool {
	leases := map[int64]bool{}
	for _, list := range rows {
		for _, r := range list {
			var kv mvcc.KeyValue
			if kv.Decode(r.Value) == nil {
				leases[kv.Lease] = true
			}
		}
	}
	for _, w := range p.writes {
		leases[w.lease] = true
	}
	delete(leases, 0)
	return leases
}

// keyHistory is what carried matters of one key: its writes in the log and its rows, each with the lease.
type keyHistory struct {
	writes []leased   // by entry, those of one entry in any order
	rows   [][]leased // by member and entry
	puts   map[content][]uint64
}

type leased struct {
	index uint64
	lease int64 // 0 for none, or a delete
}

// content is what a put writes besides the key.
type content struct {
	value [sha256.Size]byte
	lease int64
}

func (b *biographer) historyOf(key string, rows [][]*mvcc.Row) *keyHistory {
	p := &keyHistory{rows: make([][]leased, len(rows)), puts: map[content][]uint64{}}
	for _, x := range slices.Sorted(maps.Keys(b.writtenAt[key])) {
		for _, e := range b.variants(x) {
			r, err := raftlog.Decode(e)
			if err != nil {
				continue
			}
			for _, w := range r.Keys() {
				if string(w.Key) == key {
					p.writes = append(p.writes, leased{x, w.Lease})
				}
			}
			for _, put := range putsOf(r.Internal, key) {
				c := content{sha256.Sum256(put.Value), put.Lease}
				if n := len(p.puts[c]); n == 0 || p.puts[c][n-1] != x {
					p.puts[c] = append(p.puts[c], x)
				}
			}
		}
	}
	for i, list := range rows {
		for _, r := range list {
			var kv mvcc.KeyValue
			made, after, _ := b.l.Making(i, r.Rev.Main)
			if kv.Decode(r.Value) == nil && !r.Tombstone {
				p.rows[i] = append(p.rows[i], leased{max(made, after), kv.Lease})
			} else {
				p.rows[i] = append(p.rows[i], leased{index: max(made, after)})
			}
		}
	}
	return p
}

// carried tells whether the key may have carried a lease when entry index revoked it: of a lease that it got only later, or
// has lost before, the end is no part of its life. A write that had no effect on some member leaves the lease on the key
// there.
func (p *keyHistory) carried(index uint64, lease int64) bool {
	before := func(list []leased) int {
		n, _ := slices.BinarySearchFunc(list, index, func(x leased, at uint64) int { return cmp.Compare(x.index, at) })
		return n
	}
	n := before(p.writes)
	if n == 0 {
		return true
	}
	for k := n - 1; k >= 0 && p.writes[k].index == p.writes[n-1].index; k-- {
		if p.writes[k].lease == lease {
			return true
		}
	}
	return slices.ContainsFunc(p.rows, func(list []leased) bool {
		n := before(list)
		return n > 0 && list[n-1].lease == lease
	})
}

// guess finds the entry that made a row which is older than the entries of which it is known what they did: the only one in the log that puts
// this value and lease, if there is one.
func (b *biographer) guess(member int, p *keyHistory, r *mvcc.Row) uint64 {
	var kv mvcc.KeyValue
	if r.Tombstone || kv.Decode(r.Value) != nil {
		return 0
	}
	var found uint64
	for _, x := range p.puts[content{sha256.Sum256(kv.Value), kv.Lease}] {
		if b.l.Applied(member, x) == nil || b.l.Effect(member, x).State != Unknown {
			continue
		}
		if found != 0 {
			return 0
		}
		found = x
	}
	return found
}

func putsOf(in *pb.InternalRaftRequest, key string) []*pb.PutRequest {
	if in.GetPut() != nil && string(in.Put.Key) == key {
		return []*pb.PutRequest{in.Put}
	}
	var all []*pb.PutRequest
	var walk func(t *pb.TxnRequest)
	walk = func(t *pb.TxnRequest) {
		for _, op := range slices.Concat(t.GetSuccess(), t.GetFailure()) {
			if p := op.GetRequestPut(); p != nil && string(p.Key) == key {
				all = append(all, p)
			}
			if n := op.GetRequestTxn(); n != nil {
				walk(n)
			}
		}
	}
	walk(in.GetTxn())
	return all
}

// variants are the different entries at an index.
func (b *biographer) variants(index uint64) []*raftlog.Entry {
	for line := range b.l.Lines(index, index) {
		var es []*raftlog.Entry
		for _, v := range line.Variants {
			es = append(es, v.Entry)
		}
		return es
	}
	return nil
}

// addUnattributed adds a row of which no entry is known.
func (b *biographer) addUnattributed(to []KeyEvent, member int, r *mvcc.Row, after uint64, known bool) []KeyEvent {
	row, label := keyRow(r), b.l.Members[member].Label
	for i := range to {
		e := &to[i]
		if e.rev != row.Revision || e.order != after || e.NoEntry != known {
			continue
		}
		for k := range e.On {
			on := &e.On[k]
			if same := slices.ContainsFunc(on.Rows, func(x KeyRow) bool { return x.Sub == row.Sub }); !same {
				continue
			}
			if x := on.Rows[0]; sameWrite(*x.row, *r) && x.Create == row.Create && x.Version == row.Version {
				on.Members = append(on.Members, label)
				return to
			}
		}
		e.On = append(e.On, KeyOn{Members: []string{label}, Effect: Made, Rows: []KeyRow{row}})
		e.Differs = e.Differs || !sameWrite(*e.On[0].Rows[0].row, *r)
		return to
	}
	return append(to, KeyEvent{NoEntry: known, Differs: known, On: []KeyOn{{Members: []string{label}, Effect: Made, Rows: []KeyRow{row}}}, order: after, rev: row.Revision})
}

// event tells of the entries at an index. rows are those that they made of the key, by member.
func (b *biographer) event(key string, index uint64, rows map[int][]*mvcc.Row) []KeyEvent {
	var all []KeyEvent
	for line := range b.l.Lines(index, index) {
		for v := range line.Variants {
			all = append(all, b.variant(key, line, &line.Variants[v], rows))
		}
		if len(line.Variants) > 1 {
			for i := range all {
				all[i].Differs = true
			}
		}
	}
	if len(all) == 0 { // a made revision whose entry is in no log
		for i, list := range rows {
			for _, r := range list {
				all = b.addUnattributed(all, i, r, index, false)
			}
		}
	}
	return all
}

func (b *biographer) variant(key string, line *Line, v *Variant, rows map[int][]*mvcc.Row) KeyEvent {
	r, err := v.Request()
	if err != nil || r == nil {
		r = &raftlog.Request{Type: "Unknown"}
	}
	e := KeyEvent{
		Entry: &Entry{Index: line.Index, Term: v.Entry.Term, Type: r.Type, Summary: r.Summary(), User: r.User, Proposer: b.l.Proposer(v.Members[0], r)},
		Asks:  asks(r, key), AuthRevision: r.AuthRevision, On: []KeyOn{}, order: line.Index,
	}
	for _, i := range v.Members {
		x := b.l.effect(i, line.Index, v)
		on := KeyOn{Members: []string{b.l.Members[i].Label}, Effect: x.State, Why: x.Why, Unexpected: x.Odd, Rows: []KeyRow{}}
		for _, row := range rows[i] {
			on.Effect = Made
			on.Rows = append(on.Rows, keyRow(row))
		}
		switch {
		case on.Effect != Made:
		case len(on.Rows) == 0 && slices.ContainsFunc(x.Revisions, func(rev int64) bool { return b.l.unread(i, rev) }):
			on.Effect = Unknown
		case len(on.Rows) == 0:
			on.Effect = None
			on.Why = fmt.Sprintf("revision %s changed other keys", revisionsText(x.Revisions))
		case x.State == Unknown:
			on.Why = "the only entry in the log with this value"
		}
		k := slices.IndexFunc(e.On, func(o KeyOn) bool {
			return o.Effect == on.Effect && o.Why == on.Why && o.Unexpected == on.Unexpected && slices.EqualFunc(o.Rows, on.Rows, func(a, b KeyRow) bool {
				a.row, b.row = nil, nil
				return a == b
			})
		})
		if k < 0 {
			e.On = append(e.On, on)
		} else {
			e.On[k].Members = append(e.On[k].Members, on.Members...)
		}
	}
	for a := range e.On {
		for c := range e.On[:a] {
			x, y := &e.On[a], &e.On[c]
			known := func(o *KeyOn) bool { return o.Effect == Made || o.Effect == None || o.Effect == Gone }
			if known(x) && known(y) && (x.Effect != y.Effect || !slices.EqualFunc(x.Rows, y.Rows, func(a, b KeyRow) bool { return sameWrite(*a.row, *b.row) })) {
				e.Differs = true
			}
		}
	}
	return e
}

func revisionsText(revs []int64) string {
	var parts []string
	for _, r := range revs {
		parts = append(parts, fmt.Sprint(r))
	}
	return strings.Join(parts, ", ")
}

// asks says what a request asks to do with one key.
func asks(r *raftlog.Request, key string) string {
	var parts []string
	for _, w := range r.Keys() {
		if string(w.Key) != key && (len(w.End) == 0 || string(w.Key) > key || string(w.End) != "\x00" && key >= string(w.End)) {
			continue
		}
		s := "put"
		switch {
		case w.Delete && len(w.End) > 0:
			s = "delete " + w.Range()
		case w.Delete:
			s = "delete"
		case w.Lease != 0:
			s = "put with lease " + ID(uint64(w.Lease)).String()
		}
		switch w.Branch {
		case raftlog.Success:
			s = "then " + s
		case raftlog.Failure:
			s = "else " + s
		}
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

// leaseLife tells of the lease itself.
func (b *biographer) leaseLife() *LeaseLife {
	out := &LeaseLife{ID: *b.q.Lease, Now: map[string]LeaseState{}, Events: []KeyEvent{}}
	for _, m := range b.l.Members {
		if m.DB == nil {
			continue
		}
		var s LeaseState
		for _, r := range m.DB.Tables.Leases {
			if ID(uint64(r.ID)) == out.ID {
				s = LeaseState{Present: true, TTL: r.TTL, RemainingTTL: r.RemainingTTL, Keys: m.DB.Rows.LeasedKeys()[r.ID]}
			}
		}
		out.Now[m.Label] = s
	}
	for _, index := range b.leased {
		for line := range b.l.Lines(index, index) {
			for v := range line.Variants {
				e := b.variant("", line, &line.Variants[v], nil)
				outcomes, differ := b.l.Outcomes(&line.Variants[v])
				e.On, e.Differs = []KeyOn{}, differ
				for _, o := range outcomes {
					on := KeyOn{Effect: o.State, Why: o.Why, Unexpected: o.Odd, Rows: []KeyRow{}}
					for _, i := range o.Members {
						on.Members = append(on.Members, b.l.Members[i].Label)
					}
					for _, rev := range o.Revisions {
						on.Rows = append(on.Rows, KeyRow{Revision: rev, Op: "delete", Mod: rev})
					}
					e.On = append(e.On, on)
				}
				out.Events = append(out.Events, e)
			}
		}
	}
	return out
}

// Parts tells whether members part over any of the keys, or over the lease.
func (b *Biography) Parts() bool {
	return slices.ContainsFunc(b.Keys, func(k KeyLife) bool { return k.Parted != nil }) ||
		b.Lease != nil && slices.ContainsFunc(b.Lease.Events, func(e KeyEvent) bool { return e.Differs })
}
