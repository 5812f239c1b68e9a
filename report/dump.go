package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// DumpOptions choose what of a db is written.
type DumpOptions struct {
	Bucket string // empty for all
	Prefix string // of keys of the keyspace, of row keys elsewhere
	Limit  int    // rows of each bucket, 0 for all
	// KeysOnly leaves out what rows hold besides their key.
	KeysOnly bool
	// Values shows values of the keyspace. What is not understood, and password hashes, are never shown.
	Values bool
	// Revision, if not 0, asks for the keys that were alive then instead of the rows.
	Revision int64
	// Lease and HasLease keep the rows that carry this lease, or any, and leases themselves. Buckets that are about neither are left out.
	Lease    *diff.ID
	HasLease bool
	Sort     DumpOrder
}

// DumpOrder is the order of rows of the keyspace.
type DumpOrder string

const (
	// Stored is by revision, but by key where the keys at a revision are asked for.
	Stored DumpOrder = ""
	// BySize is by the size of the value, the biggest first.
	BySize DumpOrder = "size"
	// ByRevision is by the revision that wrote the row.
	ByRevision DumpOrder = "rev"
)

// DumpOrders lists the orders that can be asked for.
func DumpOrders() []string { return []string{string(BySize), string(ByRevision)} }

// keyed tells whether rows are asked for by their lease, which only keys and leases have.
func (o *DumpOptions) keyed() bool { return o.Lease != nil || o.HasLease }

// wants tells whether a row of the keyspace is asked for.
func (o *DumpOptions) wants(key []byte, value func() []byte) bool {
	if !strings.HasPrefix(string(key), o.Prefix) {
		return false
	}
	if !o.keyed() {
		return true
	}
	var kv mvcc.KeyValue
	return kv.Decode(value()) == nil && kv.Lease != 0 && (o.Lease == nil || diff.ID(uint64(kv.Lease)) == *o.Lease)
}

// KeyRow is a row of the keyspace, or a key that is alive at a revision.
type KeyRow struct {
	Bucket    string `json:"bucket"`
	Main      int64  `json:"revision"`
	Sub       int64  `json:"sub"`
	Tombstone bool   `json:"tombstone"`
	Text
	*KeyFields
	Page     uint64 `json:"page"`
	Salvaged bool   `json:"salvaged,omitempty"`
}

// KeyFields is what a row holds besides its key.
type KeyFields struct {
	Create  int64   `json:"create_revision"`
	Mod     int64   `json:"mod_revision"`
	Version int64   `json:"version"`
	Lease   diff.ID `json:"lease"`
	Value
}

// OtherRow is a row of a bucket that is not the keyspace. What its value says has one field for each bucket.
type OtherRow struct {
	Bucket string `json:"bucket"`
	Text
	// Of the key and the value of a row that is not understood, only sizes and hashes are told: they may be anything, a password
	// out of a torn page included.
	KeySize   *int   `json:"key_size,omitempty"`
	KeySHA256 string `json:"key_sha256,omitempty"`
	Page      uint64 `json:"page"`

	Number  *uint64              `json:"number,omitempty"` // of meta and auth
	Compact *string              `json:"compact_revision,omitempty"`
	On      *bool                `json:"enabled,omitempty"`
	Version string               `json:"version,omitempty"`
	Conf    *ConfState           `json:"conf_state,omitempty"`
	Down    *schema.Downgrade    `json:"downgrade,omitempty"`
	Lease   *LeaseRow            `json:"lease,omitempty"`
	Alarm   *Alarm               `json:"alarm,omitempty"`
	Member  *ClusterMember       `json:"member,omitempty"`
	Removed *diff.ID             `json:"removed_member,omitempty"`
	User    *UserRow             `json:"user,omitempty"`
	Role    *Role                `json:"role,omitempty"`
	Size    *int                 `json:"value_size,omitempty"`
	SHA256  string               `json:"value_sha256,omitempty"`
	cells   func() (k, v string) // for people
}

// LeaseRow is a row of the lease bucket. TTLs are in seconds.
type LeaseRow struct {
	ID           diff.ID `json:"id"`
	TTL          int64   `json:"ttl"`
	RemainingTTL int64   `json:"remaining_ttl"`
}

// UserRow is a user; of the password only whether there is one.
type UserRow struct {
	User
	HasPassword bool `json:"has_password"`
}

// Dump writes the rows of a db as they are read. It returns an error if the bucket or the revision is not there.
func Dump(ctx context.Context, w io.Writer, m *inspect.Member, o DumpOptions, format Format) error {
	d := dumper{ctx: ctx, s: newStream(w, format), m: m, o: o}
	names := m.DB.Bolt.BucketNames()
	switch {
	case o.Revision != 0:
		if err := d.reachable(); err != nil {
			return err
		}
		d.alive()
		names = nil
	case o.Bucket != "":
		if !slices.Contains(names, o.Bucket) && !(o.Bucket == schema.Key && m.DB.Rows.Len() > 0) {
			return fmt.Errorf("%s: no bucket %q: there are %s", m.Origin, o.Bucket, strings.Join(names, ", "))
		}
		names = []string{o.Bucket}
	}
	for _, name := range names {
		switch {
		case name == schema.Key:
			d.keys()
		case !o.keyed() || name == schema.Lease:
			d.bucket(m.DB.Bolt.Bucket(name))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !m.DB.Whole {
		d.s.lacks(m.Label, dbLacks(m))
	}
	return d.s.end()
}

type dumper struct {
	ctx context.Context
	s   *stream
	m   *inspect.Member
	o   DumpOptions
}

// reachable tells whether the db still holds the state of the revision.
func (d *dumper) reachable() error {
	db, rev := d.m.DB, d.o.Revision
	switch c := db.CompactRevision(); {
	case rev > db.Revision():
		return fmt.Errorf("%s: revision %d is not there yet: the last one is %d", d.m.Origin, rev, db.Revision())
	case rev < c:
		return fmt.Errorf("%s: revision %d was compacted: states are known from revision %d on", d.m.Origin, rev, c)
	}
	return nil
}

// full tells whether enough rows of a bucket were written, or nobody waits for more.
func (d *dumper) full(n int) bool {
	return d.o.Limit > 0 && n >= d.o.Limit || d.s.err != nil || n%1024 == 0 && d.ctx.Err() != nil
}

func (d *dumper) keyHead(title string) {
	cols := []column{{"REVISION", 10, true}, {"", 6, false}, {"CREATED", 8, true}, {"VERSION", 7, true}, {"LEASE", 16, false}, {"BYTES", 8, true}, {"KEY", 0, false}}
	if d.o.KeysOnly {
		cols = []column{{"REVISION", 10, true}, {"", 6, false}, {"KEY", 0, false}}
	} else if d.o.Values {
		cols = append(cols, column{"VALUE", 0, false})
	}
	d.s.head(title, cols...)
}

// keys writes every row of the keyspace.
func (d *dumper) keys() {
	d.keyHead("key")
	t, n := d.m.DB.Rows, 0
	var sizes sizes
	for i, r := range t.All() {
		if d.full(n) {
			return
		}
		if !d.o.wants(r.Key(), func() []byte { return r.Value }) {
			continue
		}
		if d.o.Sort == BySize {
			sizes.add(i, &r)
			continue
		}
		d.key(&r)
		n++
	}
	for _, i := range sizes.sorted() {
		if d.full(n) {
			return
		}
		r := t.Row(i)
		d.key(&r)
		n++
	}
}

// sizes are rows with the sizes of their values.
type sizes []struct{ row, size int }

func (s *sizes) add(i int, r *mvcc.Row) {
	var kv mvcc.KeyValue
	n := -1 // what does not decode, or is a tombstone, comes last
	if !r.Tombstone && kv.Decode(r.Value) == nil {
		n = len(kv.Value)
	}
	*s = append(*s, struct{ row, size int }{i, n})
}

// sorted are the rows, the biggest first, and of the same size in the order they came.
func (s sizes) sorted() []int {
	slices.SortStableFunc(s, func(a, b struct{ row, size int }) int { return b.size - a.size })
	out := make([]int, len(s))
	for i := range s {
		out[i] = s[i].row
	}
	return out
}

// alive writes the keys that exist at the end of a revision.
func (d *dumper) alive() {
	d.keyHead(fmt.Sprintf("keys alive at revision %d", d.o.Revision))
	ix := d.m.DB.Rows.Index(func(key []byte) bool { return strings.HasPrefix(string(key), d.o.Prefix) })
	n := 0
	write := func(row *mvcc.Row) {
		if !d.full(n) {
			d.key(row)
			n++
		}
	}
	var all []mvcc.Row
	ix.Live(d.o.Revision, func(_ string, _ mvcc.KeyValue, row mvcc.Row) {
		switch {
		case !d.o.wants(row.Key(), func() []byte { return row.Value }):
		case d.o.Sort == Stored:
			write(&row)
		default:
			all = append(all, row)
		}
	})
	var by sizes
	for i := range all {
		by.add(i, &all[i])
	}
	if d.o.Sort == ByRevision {
		slices.SortFunc(all, func(a, b mvcc.Row) int { return a.Rev.Compare(b.Rev) })
		by = nil
		for i := range all {
			write(&all[i])
		}
	}
	for _, i := range by.sorted() {
		write(&all[i])
	}
}

func (d *dumper) key(r *mvcc.Row) {
	var kv mvcc.KeyValue
	if err := kv.Decode(r.Value); err != nil {
		kv.Key = nil
	}
	op := "put"
	if r.Tombstone {
		op = "delete"
	}
	rev := strconv.FormatInt(r.Rev.Main, 10)
	if r.Rev.Sub > 0 {
		rev += "/" + strconv.FormatInt(r.Rev.Sub, 10)
	}
	doc := KeyRow{Bucket: schema.Key, Main: r.Rev.Main, Sub: r.Rev.Sub, Tombstone: r.Tombstone, Text: text(string(kv.Key)), Page: r.Page, Salvaged: r.Salvaged}
	name := diff.Key(kv.Key).String()
	if d.o.KeysOnly {
		d.s.row(doc, []string{rev, op, name})
		return
	}
	doc.KeyFields = &KeyFields{Create: kv.Create, Mod: kv.Mod, Version: kv.Version, Lease: diff.ID(uint64(kv.Lease)), Value: Value{Size: len(kv.Value)}}
	if d.s.format == JSON || d.s.format == Fields {
		doc.SHA256 = sumOf(kv.Value)
	}
	cells := []string{rev, op, strconv.FormatInt(kv.Create, 10), strconv.FormatInt(kv.Version, 10), "-", strconv.Itoa(len(kv.Value)), name}
	if kv.Lease != 0 {
		cells[4] = doc.Lease.String()
	}
	if r.Tombstone {
		cells[2], cells[3], cells[5] = "-", "-", "-"
	}
	if d.o.Values {
		doc.show(kv.Value)
		shown := ""
		if doc.Value.Text != nil {
			shown = *doc.Value.Text
		} else {
			shown = "base64:" + *doc.Base64
		}
		cells = append(cells, shown)
	}
	d.s.row(doc, cells)
}

// bucket writes the rows of a small bucket.
func (d *dumper) bucket(b *bolt.Bucket) {
	cols := []column{{"KEY", 24, false}, {"VALUE", 0, false}}
	if d.o.KeysOnly {
		cols = cols[:1]
	}
	name := b.Name()
	if !slices.Contains(schema.Buckets, name) {
		name = diff.Key(name).String() + " (not a bucket of etcd)"
	}
	d.s.head(name, cols...)
	n := 0
	for r := b.Rows(); r.Next() && !d.full(n); {
		if r.IsBucket() || !bytes.HasPrefix(r.Key(), []byte(d.o.Prefix)) && !d.o.keyed() {
			continue
		}
		doc := d.decode(b.Name(), r.Key(), r.Value())
		if d.o.Lease != nil && (doc.Lease == nil || doc.Lease.ID != *d.o.Lease) {
			continue
		}
		doc.Page = r.Page()
		k, v := doc.cells()
		cells := []string{k, v}
		if d.o.KeysOnly {
			*doc = OtherRow{Bucket: doc.Bucket, Text: doc.Text, KeySize: doc.KeySize, KeySHA256: doc.KeySHA256, Page: doc.Page}
			cells = cells[:1]
		}
		if d.s.format == Simple {
			cells = append([]string{b.Name()}, cells...)
		}
		d.s.row(doc, cells)
		n++
	}
}

// decode says what a row means. Of a row that is not understood only sizes and hashes are told.
func (d *dumper) decode(bucket string, k, v []byte) *OtherRow {
	row := &OtherRow{Bucket: bucket, Text: text(string(k))}
	if f := decoders[bucket]; f != nil {
		if s, ok := f(row, k, v); ok {
			name := diff.Key(k).String()
			row.cells = func() (string, string) { return name, s }
			return row
		}
	}
	*row = OtherRow{Bucket: bucket, KeySize: new(len(k)), KeySHA256: sumOf(k), Size: new(len(v)), SHA256: sumOf(v)}
	row.cells = func() (string, string) {
		return told(len(k), row.KeySHA256), told(len(v), row.SHA256) + ", not understood"
	}
	return row
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// told is what is shown of bytes that are not understood.
func told(size int, sum string) string {
	return fmt.Sprintf("%s, sha256 %.12s..", count(size, "byte"), sum)
}

// decoders fill in a row by its bucket, and return its value in one line.
var decoders = map[string]func(row *OtherRow, k, v []byte) (string, bool){
	schema.Meta: decodeMeta, schema.Auth: decodeAuth, schema.Cluster: decodeCluster, schema.Lease: decodeLease,
	schema.Alarm: decodeAlarm, schema.Members: decodeMember, schema.MembersRemoved: decodeRemoved,
	schema.AuthUsers: decodeUser, schema.AuthRoles: decodeRole,
}

func decodeMeta(row *OtherRow, k, v []byte) (string, bool) {
	switch string(k) {
	case "consistent_index", "term":
		return row.number(v)
	case "scheduledCompactRev", "finishedCompactRev":
		rev, tombstone, ok := mvcc.ParseRevision(v)
		s := rev.String()
		row.Compact = &s
		return s, ok && !tombstone
	case "storageVersion":
		row.Version = string(v)
		return row.Version, diff.Key(v).Printable()
	case "confState":
		var cs *schema.ConfState
		if json.Unmarshal(v, &cs) != nil || cs == nil {
			return "", false
		}
		row.Conf = &ConfState{ids(cs.Voters), ids(cs.Learners), ids(cs.VotersOutgoing), ids(cs.LearnersNext), cs.AutoLeave}
		return voters(row.Conf), true
	}
	return "", false
}

func (row *OtherRow) number(v []byte) (string, bool) {
	if len(v) != 8 {
		return "", false
	}
	n := binary.BigEndian.Uint64(v)
	row.Number = &n
	return strconv.FormatUint(n, 10), true
}

func decodeAuth(row *OtherRow, k, v []byte) (string, bool) {
	switch string(k) {
	case "authEnabled":
		on := len(v) == 1 && v[0] == 1
		row.On = &on
		return onOff(on), len(v) == 1 && v[0] <= 1
	case "authRevision":
		return row.number(v)
	}
	return "", false
}

func decodeCluster(row *OtherRow, k, v []byte) (string, bool) {
	switch string(k) {
	case "clusterVersion":
		row.Version = string(v)
		return row.Version, diff.Key(v).Printable()
	case "downgrade":
		return string(v), json.Unmarshal(v, &row.Down) == nil && diff.Key(v).Printable()
	}
	return "", false
}

func decodeLease(row *OtherRow, k, v []byte) (string, bool) {
	var l leasepb.Lease
	if len(k) != 8 || proto.Unmarshal(v, &l) != nil || l.ID != int64(binary.BigEndian.Uint64(k)) {
		return "", false
	}
	row.Text = Text{}
	row.Lease = &LeaseRow{ID: diff.ID(uint64(l.ID)), TTL: l.TTL, RemainingTTL: l.RemainingTTL}
	return fmt.Sprintf("lease %s, TTL %d s, remaining TTL %d s", row.Lease.ID, l.TTL, l.RemainingTTL), true
}

func decodeAlarm(row *OtherRow, k, _ []byte) (string, bool) {
	var a etcdserverpb.AlarmMember
	if proto.Unmarshal(k, &a) != nil {
		return "", false
	}
	row.Text = Text{}
	row.Alarm = &Alarm{Member: diff.ID(a.MemberID), Type: a.Alarm.String()}
	return row.Alarm.String(), true
}

func decodeMember(row *OtherRow, k, v []byte) (string, bool) {
	var m schema.Member
	id, err := strconv.ParseUint(string(k), 16, 64)
	if err != nil || json.Unmarshal(v, &m) != nil || m.ID != id {
		return "", false
	}
	c := newClusterMember(id, m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner)
	row.Member = &c
	return fmt.Sprintf("%s, peers %s, clients %s", clusterMember(c), strings.Join(called(c.PeerURLs, c.PeerURLsBase64), " "), orNone(strings.Join(called(c.ClientURLs, c.ClientURLsBase64), " "))), true
}

func decodeRemoved(row *OtherRow, k, v []byte) (string, bool) {
	id, err := strconv.ParseUint(string(k), 16, 64)
	n := diff.ID(id)
	row.Removed = &n
	return "removed", err == nil && string(v) == "removed"
}

func decodeUser(row *OtherRow, k, v []byte) (string, bool) {
	var u authpb.User
	if proto.Unmarshal(v, &u) != nil || string(u.Name) != string(k) {
		return "", false
	}
	row.User = &UserRow{User: user(string(k), u.Roles, u.GetOptions().GetNoPassword()), HasPassword: len(u.Password) > 0}
	s := "roles " + orNone(strings.Join(row.User.roles(), ", "))
	if row.User.NoPassword {
		s += ", no password"
	} else if !row.User.HasPassword {
		s += ", without a password"
	}
	return s, true
}

func decodeRole(row *OtherRow, k, v []byte) (string, bool) {
	var p authpb.Role
	if proto.Unmarshal(v, &p) != nil || string(p.Name) != string(k) {
		return "", false
	}
	row.Role = &Role{Named: diff.NameOf(string(k)), Permissions: []Permission{}}
	for _, kp := range p.KeyPermission {
		end := text(string(kp.RangeEnd))
		row.Role.Permissions = append(row.Role.Permissions, Permission{Type: kp.PermType.String(), Text: text(string(kp.Key)), RangeEnd: end.Key, RangeEndBase64: end.KeyBase64})
	}
	return join(row.Role.Permissions, Permission.String), true
}

// dbLacks says what of a db could not be read.
func dbLacks(m *inspect.Member) []string {
	var why []string
	for _, f := range m.Findings {
		if f.Unreadable && f.File == m.DB.File.Name {
			why = append(why, f.String())
		}
	}
	if len(why) == 0 {
		why = []string{m.DB.File.Name + ": not all of it could be read"}
	}
	return why
}
