package faults

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// A case is a log, one entry a line:
//
//	put KEY VALUE [LEASE]      del KEY [END]      grant LEASE      revoke LEASE      empty
//	txn KEY ? OP ; OP : OP     if KEY exists the operations before the colon, otherwise those behind it
//	role ROLE KEY END          user USER ROLE     auth             nospace on|off      passwd USER
//	version VERSION            of the cluster
//
// An operation may be "range KEY", too. A line may begin with the user that asks, USER@ or, where the auth revision matters, USER@REVISION; then with the
// number of the member that proposed it, USER@/MEMBER.
type text string

// requests makes the requests of a log. The auth revision of a request is high unless it is given.
func (x text) requests(t *testing.T) (rs []*raftlog.Request) {
	t.Helper()
	for line := range strings.Lines(string(x)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		r := &raftlog.Request{Type: "Empty"}
		if user, rev, ok := strings.Cut(f[0], "@"); ok {
			rev, member, _ := strings.Cut(rev, "/")
			if n, err := strconv.ParseUint(member, 10, 64); err == nil {
				r.ID = n<<48 | 1
			}
			r.User, r.AuthRevision = user, 1000
			if n, err := strconv.ParseUint(rev, 10, 64); err == nil {
				r.AuthRevision = n
			}
			f = f[1:]
		}
		rs = append(rs, r)
		if f[0] == "user" { // of two entries: added, and given a role
			add := *r
			add.Internal = &pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: f[1]}}
			rs = slices.Insert(rs, len(rs)-1, &add)
		}
		if f[0] == "role" {
			add := *r
			add.Internal = &pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: f[1]}}
			rs = slices.Insert(rs, len(rs)-1, &add)
		}
		switch f[0] {
		case "empty":
		case "version":
			r.V2 = &raftlog.V2Request{Method: "PUT", Path: "/0/version", Val: f[1]}
		default:
			r.Internal = request(t, f)
		}
	}
	return rs
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func request(t *testing.T, f []string) *pb.InternalRaftRequest {
	t.Helper()
	switch f[0] {
	case "put":
		p := &pb.PutRequest{Key: []byte(f[1]), Value: []byte(f[2])}
		if len(f) > 3 {
			p.Lease = number(t, f[3])
		}
		return &pb.InternalRaftRequest{Put: p}
	case "del":
		d := &pb.DeleteRangeRequest{Key: []byte(f[1])}
		if len(f) > 2 {
			d.RangeEnd = []byte(f[2])
		}
		return &pb.InternalRaftRequest{DeleteRange: d}
	case "range":
		return &pb.InternalRaftRequest{Range: &pb.RangeRequest{Key: []byte(f[1])}}
	case "txn":
		x := &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte(f[1]), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}}}
		yes, no, _ := strings.Cut(strings.Join(f[3:], " "), ":")
		x.Success, x.Failure = ops(t, yes), ops(t, no)
		return &pb.InternalRaftRequest{Txn: x}
	case "grant":
		return &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: number(t, f[1]), TTL: 60}}
	case "revoke":
		return &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: number(t, f[1])}}
	case "compact":
		return &pb.InternalRaftRequest{Compaction: &pb.CompactionRequest{Revision: number(t, f[1])}}
	case "role":
		return &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{Name: f[1], Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte(f[2]), RangeEnd: []byte(f[3])}}}
	case "passwd":
		return &pb.InternalRaftRequest{AuthUserChangePassword: &pb.AuthUserChangePasswordRequest{Name: f[1]}}
	case "user":
		return &pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: f[1], Role: f[2]}}
	case "auth":
		return &pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}
	case "nospace":
		action := pb.AlarmRequest_ACTIVATE
		if f[1] == "off" {
			action = pb.AlarmRequest_DEACTIVATE
		}
		return &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: action, MemberID: 1, Alarm: pb.AlarmType_NOSPACE}}
	}
	t.Fatalf("unknown request %q", f)
	return nil
}

func ops(t *testing.T, s string) (all []*pb.RequestOp) {
	t.Helper()
	for one := range strings.SplitSeq(s, ";") {
		f := strings.Fields(one)
		if len(f) == 0 {
			continue
		}
		switch r := request(t, f); {
		case r.Put != nil:
			all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r.Put}})
		case r.Range != nil:
			all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r.Range}})
		case r.DeleteRange != nil:
			all = append(all, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r.DeleteRange}})
		}
	}
	return all
}

func (x text) log(t *testing.T, keys []string, leases []int64) *apply.Log {
	t.Helper()
	rs := x.requests(t)
	return apply.NewLog(len(rs), func(i int) uint64 { return uint64(i + 1) }, func(i int) *raftlog.Request { return rs[i] }, keys, leases)
}

// life is a member with faults, and what is left of it.
type life struct {
	t       *testing.T
	x       text
	log     *apply.Log
	s       *apply.State
	rows    []mvcc.Row
	tables  *schema.Tables
	compact int64
	rules   apply.Rules
}

// live runs a log with faults: skip A B, again A B, refuse USER A, branch A, pass A, own A, rules VERSION A, lose A.
func live(t *testing.T, x text, rules apply.Rules, what string, compact int64) *life {
	t.Helper()
	l := &life{t: t, x: x, log: x.log(t, nil, nil), compact: compact, rules: rules}
	l.s = apply.New(l.log)
	l.s.Rules = rules
	kinds := map[string][][]string{}
	for one := range strings.SplitSeq(what, ",") {
		if f := strings.Fields(one); len(f) > 0 {
			kinds[f[0]] = append(kinds[f[0]], f[1:])
		}
	}
	at := func(kind string, i int) bool {
		return slices.ContainsFunc(kinds[kind], func(f []string) bool { return int(number(t, f[0])) <= i+1 && i+1 <= int(number(t, f[len(f)-1])) })
	}
	for i := range l.log.Entries {
		e := &l.log.Entries[i]
		refused := slices.ContainsFunc(kinds["refuse"], func(f []string) bool { return e.User() == f[0] && i+1 >= int(number(t, f[1])) })
		for _, f := range kinds["rules"] {
			if int(number(t, f[1])) <= i+1 {
				l.s.Rules = map[string]apply.Rules{"3.3": apply.Rules33, "3.5.10": apply.Rules3512, "3.5.28": apply.Rules3528, "3.5.30": apply.Rules3530}[f[0]]
			}
		}
		if at("lose", i) {
			for n, id := range l.log.Leases {
				if id < 0 {
					l.s.Lose(int32(n))
				}
			}
		}
		way := apply.Plain
		switch {
		case at("skip", i) || refused:
			continue
		case at("branch", i):
			way = apply.OtherBranch
		case at("pass", i):
			way = apply.Unchecked
		case at("own", i):
			way = apply.WithReads
		}
		l.apply(e, way)
		for _, f := range kinds["again"] {
			if int(number(t, f[1])) == i+1 {
				for k := int(number(t, f[0])) - 1; k <= i; k++ {
					l.apply(&l.log.Entries[k], apply.Plain)
				}
			}
		}
	}
	l.end()
	return l
}

func (l *life) apply(e *apply.Entry, way apply.Way) {
	if l.s.Apply(e, way) != apply.Made {
		return
	}
	for sub, c := range l.s.Changes {
		kv := &mvccpb.KeyValue{Key: []byte(l.log.Keys[c.Key])}
		if r := &c.Record; !c.Delete {
			kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease, kv.Value = r.Create, r.Mod, r.Version, l.log.Leases[r.Lease], l.log.Bytes(r.Value)
		}
		v, err := proto.Marshal(kv)
		if err != nil {
			l.t.Fatal(err)
		}
		l.rows = append(l.rows, mvcc.Row{Rev: mvcc.Revision{Main: l.s.Revision, Sub: int64(sub)}, Tombstone: c.Delete, Value: v})
	}
}

// end compacts, and writes the tables.
func (l *life) end() {
	last := map[string]int{}
	for i, r := range l.rows {
		if r.Rev.Main <= l.compact {
			last[string(r.Key())] = i
		}
	}
	var rows []mvcc.Row
	for i, r := range l.rows {
		if r.Rev.Main > l.compact || last[string(r.Key())] == i && !r.Tombstone {
			rows = append(rows, r)
		}
	}
	l.rows = rows
	l.tables = &schema.Tables{ConsistentIndex: uint64(len(l.log.Entries)), HasTerm: true, AuthEnabled: l.s.Auth.Enabled, AuthRevision: l.s.Auth.Revision}
	for _, r := range l.x.requests(l.t) { // no case changes whom it lets in
		if g := r.Internal.GetAuthUserGrantRole(); g != nil {
			l.tables.Users = append(l.tables.Users, schema.User{Name: g.User, Roles: []string{g.Role}})
		}
		if p := r.Internal.GetAuthRoleGrantPermission(); p != nil {
			l.tables.Roles = append(l.tables.Roles, schema.Role{Name: p.Name, Permissions: []schema.Permission{{Type: "READWRITE", Key: string(p.Perm.Key), RangeEnd: string(p.Perm.RangeEnd)}}})
		}
	}
	for n, id := range l.log.Leases {
		if l.s.Stored(int32(n)) {
			l.tables.Leases = append(l.tables.Leases, schema.LeaseRecord{ID: id, TTL: 60})
		}
	}
	l.s.Alarms(func(member uint64, typ pb.AlarmType) {
		l.tables.Alarms = append(l.tables.Alarms, schema.AlarmMember{Member: member, Type: typ.String()})
	})
}

// member is the member with that db.
func (l *life) member(rules ...apply.Rules) *Member {
	t := mvcc.NewTable(l.rows, nil)
	named := NamesSince(t, l.tables, 0, 0)
	log := l.x.log(l.t, named.Keys, named.Leases)
	e := NewEvidenceSince(log, t, l.tables, l.s.Revision, l.compact, 0)
	return NewMember(log, e, apply.New(log), uint64(len(log.Entries)), rules...)
}

func tell(res *Result) string {
	var lines []string
	for _, r := range res.Readings {
		var fs []string
		for _, f := range r.Faults {
			fs = append(fs, f.String())
		}
		if len(fs) == 0 {
			fs = append(fs, "no fault")
		}
		lines = append(lines, fmt.Sprintf("%d: %s", r.Cost, strings.Join(fs, "; ")))
	}
	return strings.Join(lines, "\n")
}
