// Package inspecttest makes data directories from text, for tests: dbs with bbolt, logs and .snap files with etcd's own packages, and so
// that what is in them is said in words beside what is wanted of it.
//
// A line is one of these; REV is 5, or 5/1 for the second change of a revision.
//
//	rev REV KEY=VALUE cCREATE vVERSION [mMOD] [lease=ID]   a row of a put
//	del REV KEY                                            a tombstone
//	junk REV                                               a row that does not decode
//	bump REV                                               a row without content
//	row BUCKET KEY VALUE                                   a row of another bucket: see [Bytes]
//	bucket NAME                                            a bucket without rows
//	node ID                                                whose log it is
//	entries FROM..TO term TERM                             puts of keys keyFROM, ..., each
//	idle FROM..TO term TERM                                entries that ask for nothing, as new leaders make them
//	entry INDEX term TERM REQUEST...                       "put KEY VALUE" and all others of [Request], changes of members, and more: see maker.entry
//	commit INDEX term TERM                                 a hard state
//	snapshot INDEX term TERM [voters IDS] [learners IDS]   a record in the log
//	snap INDEX term TERM [voters IDS] [learners IDS] [members ID=NAME,...] [removed IDS] [version V] [store TEXT]
//	file NAME [TEXT]                                       any other file
package inspecttest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v2store"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Segments are small, so that they take no disk. Nothing else in a test may set it while members are made.
func init() { wal.SegmentSizeBytes = 16 << 10 }

// maker holds what lines said so far.
type maker struct {
	t    testing.TB
	dir  string
	rows map[string][][2][]byte // by bucket; nil if there is no db
	node uint64
	log  []func(w *wal.WAL) error
	snap []*raftpb.Snapshot
}

// Dir makes a data directory of lines, those that are empty or begin with # left out, and returns where it is.
func Dir(t testing.TB, lines string) string {
	t.Helper()
	m := &maker{t: t, dir: t.TempDir()}
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			m.line(f, strings.TrimSpace(line))
		}
	}
	m.must(os.MkdirAll(filepath.Join(m.dir, "member", "snap"), 0o700))
	m.writeDB()
	m.writeLog()
	for _, s := range m.snap {
		m.must(snap.New(zap.NewNop(), filepath.Join(m.dir, "member", "snap")).SaveSnap(s))
	}
	return m.dir
}

func (m *maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) number(s string) uint64 {
	m.t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	m.must(err)
	return n
}

func (m *maker) numbers(s string) (all []uint64) {
	for x := range strings.SplitSeq(s, ",") {
		all = append(all, m.number(x))
	}
	return all
}

func (m *maker) row(bucket string, k, v []byte) {
	if m.rows == nil {
		m.rows = map[string][][2][]byte{}
	}
	m.rows[bucket] = append(m.rows[bucket], [2][]byte{k, v})
}

func (m *maker) line(f []string, line string) {
	m.t.Helper()
	switch f[0] {
	case "rev":
		m.put(f)
	case "del":
		b, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte(f[2])})
		m.must(err)
		m.row("key", append(m.revision(f[1]), 't'), b)
	case "junk":
		m.row("key", m.revision(f[1]), []byte{0xff})
	case "bump":
		m.row("key", m.revision(f[1]), nil)
	case "row":
		p := strings.SplitN(line, " ", 4)
		m.row(p[1], Bytes(m.t, p[2]), Bytes(m.t, p[3]))
	case "bucket":
		m.row(f[1], nil, nil)
	case "node":
		m.node = m.number(f[1])
	case "entries", "idle":
		from, to, _ := strings.Cut(f[1], "..")
		for i := m.number(from); i <= m.number(to); i++ {
			request := []string{"put", fmt.Sprint("key", i), "v"}
			if f[0] == "idle" {
				request = []string{"empty"}
			}
			m.entry(i, m.number(f[3]), request)
		}
	case "entry":
		m.entry(m.number(f[1]), m.number(f[3]), f[4:])
	case "commit":
		h := &raftpb.HardState{Commit: new(m.number(f[1])), Term: new(m.number(f[3])), Vote: new(uint64(0))}
		m.log = append(m.log, func(w *wal.WAL) error { return w.Save(h, nil) })
	case "snapshot":
		s := &walpb.Snapshot{Index: new(m.number(f[1])), Term: new(m.number(f[3])), ConfState: m.confState(f[4:])}
		m.log = append(m.log, func(w *wal.WAL) error { return w.SaveSnapshot(s) })
	case "snap":
		m.snapFile(f)
	case "file":
		path := filepath.Join(m.dir, filepath.FromSlash(f[1]))
		m.must(os.MkdirAll(filepath.Dir(path), 0o700))
		m.must(os.WriteFile(path, []byte(strings.Join(f[2:], " ")), 0o600))
	default:
		m.t.Fatalf("no such line: %s", line)
	}
}

// revision is the key of a row (server/storage/mvcc/revision.go, 3.7).
func (m *maker) revision(s string) []byte {
	main, sub, _ := strings.Cut(s, "/")
	if sub == "" {
		sub = "0"
	}
	b := append(binary.BigEndian.AppendUint64(nil, m.number(main)), '_')
	return binary.BigEndian.AppendUint64(b, m.number(sub))
}

func (m *maker) put(f []string) {
	key, value, _ := strings.Cut(f[2], "=")
	main, _, _ := strings.Cut(f[1], "/")
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: int64(m.number(main))}
	for _, x := range f[3:] {
		if id, ok := strings.CutPrefix(x, "lease="); ok {
			kv.Lease = int64(m.number(id))
			continue
		}
		switch n := int64(m.number(x[1:])); x[0] {
		case 'c':
			kv.CreateRevision = n
		case 'v':
			kv.Version = n
		case 'm':
			kv.ModRevision = n
		default:
			m.t.Fatalf("a row has no %s", x)
		}
	}
	b, err := proto.Marshal(kv)
	m.must(err)
	m.row("key", m.revision(f[1]), b)
}

func (m *maker) writeDB() {
	if m.rows == nil {
		return
	}
	db, err := bbolt.Open(filepath.Join(m.dir, "member", "snap", "db"), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	m.must(err)
	m.must(db.Update(func(tx *bbolt.Tx) error {
		for bucket, rows := range m.rows {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			for _, r := range rows {
				if err == nil && r[0] != nil {
					err = b.Put(r[0], r[1])
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
	m.must(db.Close())
}

func (m *maker) writeLog() {
	if len(m.log) == 0 {
		return
	}
	meta, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: &m.node, ClusterID: new(uint64(9))})
	m.must(err)
	w, err := wal.Create(zap.NewNop(), filepath.Join(m.dir, "member", "wal"), meta)
	m.must(err)
	w.SetUnsafeNoFsync()
	for _, write := range m.log {
		err = errors.Join(err, write(w))
	}
	m.must(errors.Join(err, w.Close()))
}

// entry writes an entry, whose REQUEST is one of [Request], or one of these:
//
//	auth-status             empty
//	add ID URL [learner]    promote ID         remove ID         update ID URL
//	attr ID NAME URL        version V          by requests of etcd 3.6
//	v2attr ID NAME URL      v2version V        by those of etcd up to 3.5
//	v2key KEY VALUE         of a user of etcd 2
//	bytes TEXT              what is no request
//
// The word "big" as the value of a put, or as the key of a delete, stands for bytes that fill a segment.
func (m *maker) entry(index, term uint64, f []string) {
	m.t.Helper()
	typ, in, data := raftpb.EntryNormal, &etcdserverpb.InternalRaftRequest{Header: &etcdserverpb.RequestHeader{ID: index}}, []byte(nil)
	v2 := func(path, val string) {
		in, data = nil, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), index)
		for i, s := range []string{"PUT", path, val} { // etcdserverpb.Request, which 3.7 has no more
			data = protowire.AppendString(protowire.AppendTag(data, protowire.Number(i+2), protowire.BytesType), s)
		}
	}
	change := func(t raftpb.ConfChangeType, id uint64, context any) {
		c := &raftpb.ConfChange{Type: t.Enum(), NodeId: &id}
		if context != nil {
			b, err := json.Marshal(context)
			m.must(err)
			c.Context = b
		}
		b, err := proto.Marshal(c)
		m.must(err)
		typ, in, data = raftpb.EntryConfChange, nil, b
	}
	member := func(url string) membership.Member {
		x := membership.Member{ID: types.ID(m.number(f[1]))}
		if url != "" {
			x.PeerURLs = []string{url}
		}
		return x
	}
	switch f[0] {
	case "auth-status":
		in.AuthStatus = &etcdserverpb.AuthStatusRequest{}
	case "empty":
		in = nil
	case "add":
		x := member(f[2])
		t := raftpb.ConfChangeAddNode
		if x.IsLearner = len(f) > 3; x.IsLearner {
			t = raftpb.ConfChangeAddLearnerNode
		}
		change(t, m.number(f[1]), membership.ConfigChangeContext{Member: x})
	case "promote":
		change(raftpb.ConfChangeAddNode, m.number(f[1]), membership.ConfigChangeContext{Member: member(""), IsPromote: true})
	case "remove":
		change(raftpb.ConfChangeRemoveNode, m.number(f[1]), nil)
	case "update":
		change(raftpb.ConfChangeUpdateNode, m.number(f[1]), member(f[2]))
	case "attr":
		in.ClusterMemberAttrSet = &membershippb.ClusterMemberAttrSetRequest{Member_ID: m.number(f[1]), MemberAttributes: &membershippb.Attributes{Name: f[2], ClientUrls: []string{f[3]}}}
	case "version":
		in.ClusterVersionSet = &membershippb.ClusterVersionSetRequest{Ver: f[1]}
	case "v2attr":
		v2(fmt.Sprintf("/0/members/%x/attributes", m.number(f[1])), fmt.Sprintf(`{"name":%q,"clientURLs":[%q]}`, f[2], f[3]))
	case "v2version":
		v2("/0/version", f[1])
	case "v2key":
		v2("/1/"+f[1], f[2])
	case "bytes":
		in, data = nil, []byte(f[1])
	default:
		in = Request(m.t, strings.Join(f, " "))
		if in.Header.ID == 0 {
			in.Header.ID = index
		}
		fillSegment(in)
	}
	if in != nil {
		b, err := proto.Marshal(in)
		m.must(err)
		data = b
	}
	e := &raftpb.Entry{Index: &index, Term: &term, Type: typ.Enum(), Data: data}
	m.log = append(m.log, func(w *wal.WAL) error { return w.Save(&raftpb.HardState{}, []*raftpb.Entry{e}) })
}

// fillSegment makes as much of what is called big as a segment holds.
func fillSegment(in *etcdserverpb.InternalRaftRequest) {
	if string(in.GetPut().GetValue()) == "big" {
		in.Put.Value = make([]byte, wal.SegmentSizeBytes)
	}
	if string(in.GetDeleteRange().GetKey()) == "big" {
		in.DeleteRange.Key = bytes.Repeat([]byte("k"), int(wal.SegmentSizeBytes))
	}
}

func (m *maker) confState(f []string) *raftpb.ConfState {
	c := &raftpb.ConfState{}
	for i := 0; i+1 < len(f); i += 2 {
		switch f[i] {
		case "voters":
			c.Voters = m.numbers(f[i+1])
		case "learners":
			c.Learners = m.numbers(f[i+1])
		}
	}
	return c
}

func (m *maker) snapFile(f []string) {
	s := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(m.number(f[1])), Term: new(m.number(f[3])), ConfState: m.confState(f[4:])}}
	store := v2store.New("/0", "/1")
	set := func(path, val string) {
		_, err := store.Set(path, false, val, v2store.TTLOptionSet{ExpireTime: v2store.Permanent})
		m.must(err)
	}
	for i := 4; i+1 < len(f); i += 2 {
		switch f[i] {
		case "members":
			for x := range strings.SplitSeq(f[i+1], ",") {
				id, name, _ := strings.Cut(x, "=")
				set(fmt.Sprintf("/0/members/%x/raftAttributes", m.number(id)), fmt.Sprintf(`{"peerURLs":["http://%s:2380"]}`, name))
				set(fmt.Sprintf("/0/members/%x/attributes", m.number(id)), fmt.Sprintf(`{"name":%q}`, name))
			}
		case "removed":
			for _, id := range m.numbers(f[i+1]) {
				set(fmt.Sprintf("/0/removed_members/%x", id), "removed")
			}
		case "version":
			set("/0/version", f[i+1])
		case "store":
			s.Data = []byte(f[i+1])
		}
	}
	if s.Data == nil {
		b, err := store.Save()
		m.must(err)
		s.Data = b
	}
	m.snap = append(m.snap, s)
}

// Bytes are those that a word stands for: its own, or those of what it calls: hex(00ff), be(N) for 8 bytes big endian, rev(N) and
// tombstone(N) for a revision, lease(ID,TTL,REMAINING), alarm(MEMBER,TYPE), user(NAME,ROLE+ROLE), role(NAME,TYPE,KEY,END).
func Bytes(t testing.TB, word string) []byte {
	t.Helper()
	m := &maker{t: t}
	name, args, call := strings.Cut(strings.TrimSuffix(word, ")"), "(")
	if !call {
		return []byte(word)
	}
	a := strings.Split(args, ",")
	number := func(i int) int64 {
		n, err := strconv.ParseInt(a[i], 10, 64)
		m.must(err)
		return n
	}
	var msg proto.Message
	switch name {
	case "hex":
		b, err := hex.DecodeString(args)
		m.must(err)
		return b
	case "be":
		return binary.BigEndian.AppendUint64(nil, uint64(number(0)))
	case "rev":
		return m.revision(args)
	case "tombstone":
		return append(m.revision(args), 't')
	case "lease":
		msg = &leasepb.Lease{ID: number(0), TTL: number(1), RemainingTTL: number(2)}
	case "alarm":
		msg = &etcdserverpb.AlarmMember{MemberID: uint64(number(0)), Alarm: etcdserverpb.AlarmType(etcdserverpb.AlarmType_value[a[1]])}
	case "user":
		u := &authpb.User{Name: []byte(a[0])}
		if a[1] != "" {
			u.Roles, u.Password = strings.Split(a[1], "+"), []byte("$2a$10$hash")
		} else {
			u.Options = &authpb.UserAddOptions{NoPassword: true}
		}
		msg = u
	case "role":
		p := &authpb.Permission{PermType: authpb.Permission_Type(authpb.Permission_Type_value[a[1]]), Key: []byte(a[2]), RangeEnd: []byte(a[3])}
		msg = &authpb.Role{Name: []byte(a[0]), KeyPermission: []*authpb.Permission{p}}
	default:
		t.Fatalf("no such word: %s", word)
	}
	b, err := proto.Marshal(msg)
	m.must(err)
	return b
}
