package lab

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const clusterID = types.ID(0x1ab0_c1a5_7e3d_0001)

var ctx = context.Background()

// features are what a log holds besides puts and deletes.
type features struct {
	txns, leases, compactions, auth, alarms, members, v2, terms, repeats, ranges bool
	keys                                                                         int
	unique                                                                       float64 // share of values that occur once
	long                                                                         bool    // values of a few hundred bytes
}

// workload makes a log, and applies it to a healthy replica as it goes, so that requests refer to what is there.
type workload struct {
	*rand.Rand
	features
	ref     *replica
	ids     []uint64 // of the members
	log     []Entry
	term    uint64
	counter uint64
	clock   []uint64 // start time of each member's process
	value   int
	users   []string
	roles   []string
	added   []uint64 // members added by the log
	last    *pb.InternalRaftRequest
	queue   []*pb.InternalRaftRequest // to be proposed next
	alarm   pb.AlarmType
	alarmed int // entries until the alarm is disarmed, 0 for no alarm
}

// propose appends an entry, and applies it.
func (w *workload) propose(kind string, typ raftpb.EntryType, data []byte, r *pb.InternalRaftRequest, cc *raftpb.ConfChange) {
	e := Entry{Index: uint64(len(w.log)) + 1, Term: w.term, Type: typ, Data: data, Request: r, Change: cc, Kind: kind}
	w.log = append(w.log, e)
	w.ref.apply(&w.log[len(w.log)-1])
}

// id is a request id as idutil makes them (pkg/idutil/id.go).
func (w *workload) id() uint64 {
	m := w.IntN(len(w.ids))
	w.counter++
	return w.ids[m]<<48 | (w.clock[m]<<8+w.counter)&(1<<48-1)
}

func (w *workload) request(r *pb.InternalRaftRequest) {
	if r.Header == nil {
		r.Header = w.header()
	}
	r.Header.ID = w.id()
	data, err := proto.Marshal(r)
	if err != nil {
		panic(err)
	}
	w.propose(kindOf(r), raftpb.EntryNormal, data, r, nil)
}

// header names the user of a request, if auth is on.
func (w *workload) header() *pb.RequestHeader {
	h := &pb.RequestHeader{}
	if !w.ref.auth.IsAuthEnabled() {
		return h
	}
	rev := w.ref.auth.Revision()
	switch x := w.Float64(); {
	case x < 0.5:
		h.Username, h.AuthRevision = "root", rev
	case x < 0.9:
		h.Username, h.AuthRevision = pick(w.Rand, w.users), rev
	case x < 0.96:
		h.Username, h.AuthRevision = pick(w.Rand, w.users), rev-1
	}
	return h
}

func (w *workload) root() *pb.RequestHeader {
	h := &pb.RequestHeader{}
	if w.ref.auth.IsAuthEnabled() {
		h.Username, h.AuthRevision = "root", w.ref.auth.Revision()
	}
	return h
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (w *workload) chance(p float64) bool { return w.Float64() < p }

// kindOf names the field of a request that is set.
func kindOf(r *pb.InternalRaftRequest) string {
	var kind strings.Builder
	m := r.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if n := string(f.Name()); m.Has(f) && n != "header" && n != "ID" {
			for p := range strings.SplitSeq(n, "_") {
				kind.WriteString(strings.ToUpper(p[:1]) + p[1:])
			}
		}
	}
	return kind.String()
}

// boot is how a new cluster's log begins.
func (w *workload) boot() {
	for i, id := range w.ids {
		m := membership.Member{ID: types.ID(id), RaftAttributes: membership.RaftAttributes{PeerURLs: []string{fmt.Sprintf("http://10.0.0.%d:2380", i+1)}}}
		c, _ := json.Marshal(membership.ConfigChangeContext{Member: m})
		w.confChange(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &id, Context: c})
	}
	w.term++
	w.propose("Empty", raftpb.EntryNormal, nil, nil, nil)
	for i, id := range w.ids {
		if w.v2 {
			w.v2request(fmt.Sprintf("/0/members/%x/attributes", id), fmt.Sprintf(`{"name":%q,"clientURLs":["http://10.0.0.%d:2379"]}`, label(i), i+1))
		}
		w.request(&pb.InternalRaftRequest{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: id, MemberAttributes: &membershippb.Attributes{Name: label(i), ClientUrls: []string{fmt.Sprintf("http://10.0.0.%d:2379", i+1)}}}})
	}
	// That of the code which applies them: in an older cluster members drop reads of transactions that they did not propose.
	w.request(&pb.InternalRaftRequest{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}})
}

func label(i int) string { return string(rune('a' + i)) }

func (w *workload) confChange(cc *raftpb.ConfChange) {
	id := w.id()
	if len(w.log) >= len(w.ids) {
		cc.Id = &id
	}
	data, err := proto.Marshal(cc)
	if err != nil {
		panic(err)
	}
	w.propose("ConfChange", raftpb.EntryConfChange, data, nil, cc)
}

// v2request is a request to the v2 store, as servers up to 3.5 publish themselves.
func (w *workload) v2request(path, val string) {
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, w.id())
	for i, s := range []string{"PUT", path, val} {
		b = protowire.AppendTag(b, protowire.Number(i+2), protowire.BytesType)
		b = protowire.AppendString(b, s)
	}
	w.propose("V2Request", raftpb.EntryNormal, b, nil, nil)
}

func (w *workload) key() string {
	n := w.IntN(w.keys)
	return [...]string{"/a/", "/b/", "c"}[n%3] + fmt.Sprint(n/3)
}

func (w *workload) val() []byte {
	v := pick(w.Rand, []string{"x", "y", "on", "off"})
	if w.chance(w.unique) {
		w.value++
		v = fmt.Sprintf("value %d", w.value)
	}
	if w.long {
		v += strings.Repeat(".", w.IntN(400))
	}
	return []byte(v)
}

// step appends one request drawn at random.
func (w *workload) step() {
	if w.terms && w.chance(0.02) {
		w.term += 1 + uint64(w.IntN(2))
		for i := range w.clock {
			if w.chance(0.3) {
				w.clock[i] += uint64(w.IntN(1 << 20))
			}
		}
		w.propose("Empty", raftpb.EntryNormal, nil, nil, nil)
		return
	}
	if w.alarmed > 0 {
		if w.alarmed--; w.alarmed == 0 {
			w.request(&pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: w.ids[0], Alarm: w.alarm}, Header: w.root()})
			return
		}
	}
	if len(w.queue) > 0 && w.chance(0.7) {
		r := w.queue[0]
		w.queue = w.queue[1:]
		w.request(r)
		return
	}
	if w.repeats && w.last != nil && w.chance(0.3) {
		r := proto.Clone(w.last).(*pb.InternalRaftRequest)
		w.request(r)
		return
	}
	r := &pb.InternalRaftRequest{}
	switch x := w.IntN(100); {
	case x < 50:
		r.Put = w.put(w.key())
	case x < 62:
		r.DeleteRange = w.delete(w.key())
	case x < 80 && w.txns:
		r.Txn = w.txn(0)
	case x < 88 && w.leases:
		w.lease(r)
	case x < 90 && w.compactions:
		r.Compaction = w.compaction()
	case x < 93 && w.auth:
		w.account(r)
	case x < 94 && w.alarms && w.alarmed == 0:
		if w.alarm = pb.AlarmType_NOSPACE; w.chance(0.2) {
			w.alarm = pb.AlarmType_CORRUPT
		}
		r.Alarm = &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: w.ids[0], Alarm: w.alarm}
		r.Header = w.root()
		w.alarmed = 2 + w.IntN(12)
	case x < 96 && w.members:
		w.membership()
		return
	case x < 97 && w.v2:
		w.v2request(fmt.Sprintf("/0/members/%x/attributes", w.ids[0]), fmt.Sprintf(`{"name":"a","clientURLs":["http://10.0.0.1:%d"]}`, 2379+w.IntN(3)))
		return
	case x < 98 && w.members:
		r.ClusterVersionSet = &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}
		r.Header = w.root()
	default:
		r.Put = w.put(w.key())
	}
	if r.Put != nil || r.DeleteRange != nil || r.Txn != nil {
		w.last = r
	}
	w.request(r)
}

func (w *workload) put(key string) *pb.PutRequest {
	p := &pb.PutRequest{Key: []byte(key), Value: w.val(), PrevKv: w.chance(0.1)}
	if w.leases && w.chance(0.3) {
		p.Lease = w.someLease()
	}
	if w.chance(0.05) {
		p.IgnoreValue, p.Value = true, nil
	}
	if w.leases && w.chance(0.05) {
		p.IgnoreLease, p.Lease = true, 0
	}
	return p
}

// someLease is one that exists, or now and then one that does not.
func (w *workload) someLease() int64 {
	if ids := w.ref.leases(); len(ids) > 0 && !w.chance(0.05) {
		return pick(w.Rand, ids)
	}
	if w.chance(0.3) {
		return 1 + w.Int64N(1<<62)
	}
	return 0
}

func (w *workload) delete(key string) *pb.DeleteRangeRequest {
	d := &pb.DeleteRangeRequest{Key: []byte(key), PrevKv: w.chance(0.1)}
	if w.ranges && w.chance(0.4) {
		d.Key, d.RangeEnd = w.interval()
	}
	return d
}

func (w *workload) interval() (key, end []byte) {
	switch w.IntN(8) {
	case 0:
		return []byte(w.key()), []byte{0}
	case 1, 2:
		a, b := w.key(), w.key()
		if a > b {
			a, b = b, a
		}
		return []byte(a), []byte(b + "\x00")
	}
	p := pick(w.Rand, [][2]string{{"/a/", "/a0"}, {"/b/", "/b0"}, {"c", "d"}})
	return []byte(p[0]), []byte(p[1])
}

// compare asks for something that is often true.
func (w *workload) compare() *pb.Compare {
	key := w.key()
	c := &pb.Compare{Key: []byte(key), Result: pb.Compare_CompareResult(w.IntN(4))}
	if w.chance(0.6) {
		c.Result = pb.Compare_EQUAL
	}
	if w.chance(0.15) {
		c.Key, c.RangeEnd = w.interval()
	}
	var create, mod, version, lease int64
	var value []byte
	if res, err := w.ref.kv.Range(ctx, []byte(key), nil, mvcc.RangeOptions{}); err == nil && len(res.KVs) == 1 {
		kv := res.KVs[0]
		create, mod, version, lease, value = kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease, kv.Value
	}
	if w.chance(0.25) {
		create, mod, version, value = create-1, mod+1, version+1, w.val()
	}
	c.Target = pb.Compare_CompareTarget(w.IntN(5))
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: version}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: create}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: mod}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: value}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: lease}
	}
	return c
}

// branches keeps puts and deletes of one branch apart, as the API demands (server/etcdserver/api/v3rpc/key.go).
type branches struct {
	puts map[string]bool
	dels [][2]string
}

func (b *branches) deleted(key string) bool {
	return slices.ContainsFunc(b.dels, func(d [2]string) bool {
		return d[1] == "" && key == d[0] || d[1] != "" && key >= d[0] && (d[1] == "\x00" || key < d[1])
	})
}

func (w *workload) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range w.IntN(3) {
		t.Compare = append(t.Compare, w.compare())
	}
	t.Success = w.ops(depth, &branches{puts: map[string]bool{}})
	t.Failure = w.ops(depth, &branches{puts: map[string]bool{}})
	return t
}

func (w *workload) ops(depth int, b *branches) []*pb.RequestOp {
	var ops []*pb.RequestOp
	for range w.IntN(5 - 2*depth) {
		switch x := w.IntN(10); {
		case x < 5:
			if key := w.key(); !b.puts[key] && !b.deleted(key) {
				b.puts[key] = true
				ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: w.put(key)}})
			}
		case x < 7:
			d := w.delete(w.key())
			r := [2]string{string(d.Key), string(d.RangeEnd)}
			overlap := false
			for key := range b.puts {
				overlap = overlap || (&branches{dels: [][2]string{r}}).deleted(key)
			}
			if !overlap {
				b.dels = append(b.dels, r)
				ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}})
			}
		case x < 8:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(w.key())}}})
		case depth < 2:
			// Either branch of the inner transaction may run: both keep clear of everything around them.
			n := &pb.TxnRequest{}
			for range w.IntN(3) {
				n.Compare = append(n.Compare, w.compare())
			}
			n.Success = w.ops(depth+1, b)
			n.Failure = w.ops(depth+1, b)
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: n}})
		}
	}
	return ops
}

func (w *workload) lease(r *pb.InternalRaftRequest) {
	ids := w.ref.leases()
	switch x := w.IntN(10); {
	case x < 5 || len(ids) == 0:
		r.LeaseGrant = &pb.LeaseGrantRequest{ID: 1 + w.Int64N(1<<62), TTL: 10 + w.Int64N(1000)}
		if len(ids) > 0 && w.chance(0.05) {
			r.LeaseGrant.ID = pick(w.Rand, ids)
		}
	case x < 9:
		r.LeaseRevoke = &pb.LeaseRevokeRequest{ID: pick(w.Rand, ids)}
		if w.chance(0.7) {
			r.Header = w.root()
		}
	default:
		r.LeaseCheckpoint = &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: pick(w.Rand, ids), Remaining_TTL: 1 + w.Int64N(10)}}}
		r.Header = w.root()
	}
}

func (w *workload) compaction() *pb.CompactionRequest {
	rev := w.ref.kv.Rev()
	at := 1 + w.Int64N(rev)
	if w.chance(0.6) {
		at = max(1, rev-w.Int64N(20))
	}
	if w.chance(0.03) {
		at = rev + 5
	}
	return &pb.CompactionRequest{Revision: at, Physical: w.chance(0.5)}
}

// account changes users, roles or permissions. The first time it sets auth up.
func (w *workload) account(r *pb.InternalRaftRequest) {
	pass := base64.StdEncoding.EncodeToString([]byte("$2a$04$" + strings.Repeat("x", 53)))
	if len(w.users) == 0 {
		w.users, w.roles = []string{"root", "ann", "bob"}, []string{"reader", "writer"}
		perm := func(t authpb.Permission_Type, key, end string) *authpb.Permission {
			return &authpb.Permission{PermType: t, Key: []byte(key), RangeEnd: []byte(end)}
		}
		r.AuthUserAdd = &pb.AuthUserAddRequest{Name: "root", HashedPassword: pass}
		for _, q := range []*pb.InternalRaftRequest{
			{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "root"}},
			{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}},
			{AuthUserAdd: &pb.AuthUserAddRequest{Name: "ann", HashedPassword: pass}},
			{AuthUserAdd: &pb.AuthUserAddRequest{Name: "bob", HashedPassword: pass}},
			{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "writer"}},
			{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: "reader"}},
			{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "writer", Perm: perm(authpb.READWRITE, "/a/", "/a0")}},
			{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "writer", Perm: perm(authpb.READWRITE, "c", "d")}},
			{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: "reader", Perm: perm(authpb.READ, "/", "0")}},
			{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "ann", Role: "writer"}},
			{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: "bob", Role: "reader"}},
			{AuthEnable: &pb.AuthEnableRequest{}},
		} {
			q.Header = &pb.RequestHeader{}
			w.queue = append(w.queue, q)
		}
		r.Header = &pb.RequestHeader{}
		return
	}
	r.Header = w.root()
	switch w.IntN(8) {
	case 0:
		r.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: pick(w.Rand, w.roles), Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte(w.key())}}
	case 1:
		r.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: "reader", Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte("/b/"), RangeEnd: []byte("/b0")}}
	case 2:
		r.AuthUserChangePassword = &pb.AuthUserChangePasswordRequest{Name: "ann", HashedPassword: pass}
	case 3:
		u := fmt.Sprintf("user%d", w.IntN(4))
		r.AuthUserAdd = &pb.AuthUserAddRequest{Name: u, HashedPassword: pass, Options: &authpb.UserAddOptions{NoPassword: w.chance(0.3)}}
	case 4:
		r.AuthUserDelete = &pb.AuthUserDeleteRequest{Name: fmt.Sprintf("user%d", w.IntN(4))}
	case 5:
		r.AuthUserGrantRole = &pb.AuthUserGrantRoleRequest{User: "bob", Role: pick(w.Rand, w.roles)}
	case 6:
		r.AuthUserRevokeRole = &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: pick(w.Rand, w.roles)}
	case 7:
		if w.ref.auth.IsAuthEnabled() && w.chance(0.5) {
			r.AuthDisable = &pb.AuthDisableRequest{}
		} else {
			r.AuthEnable = &pb.AuthEnableRequest{}
		}
	}
}

// membership adds a learner, promotes, moves or removes a member that the log added.
func (w *workload) membership() {
	if len(w.added) == 0 || w.chance(0.3) {
		id := w.Uint64() | 1<<63
		w.added = append(w.added, id)
		m := membership.Member{ID: types.ID(id), RaftAttributes: membership.RaftAttributes{PeerURLs: []string{fmt.Sprintf("http://10.1.0.%d:2380", len(w.added))}, IsLearner: true}}
		c, _ := json.Marshal(membership.ConfigChangeContext{Member: m})
		w.confChange(&raftpb.ConfChange{Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: &id, Context: c})
		return
	}
	id := pick(w.Rand, w.added)
	m := membership.Member{ID: types.ID(id), RaftAttributes: membership.RaftAttributes{PeerURLs: []string{fmt.Sprintf("http://10.2.0.%d:2380", w.IntN(200))}}}
	switch w.IntN(3) {
	case 0:
		c, _ := json.Marshal(membership.ConfigChangeContext{Member: m, IsPromote: true})
		w.confChange(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &id, Context: c})
	case 1:
		c, _ := json.Marshal(m)
		w.confChange(&raftpb.ConfChange{Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: &id, Context: c})
	case 2:
		w.confChange(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: &id})
	}
}
