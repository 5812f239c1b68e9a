package authz

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver/apply"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"etcd-autopsy/inspect/raftlog"
	own "etcd-autopsy/inspect/schema"
)

// newStore is etcd's own auth store on a backend of its own.
func newStore(t *testing.T) (auth.AuthStore, auth.AuthBackend) {
	lg := zap.NewNop()
	be := backend.NewDefaultBackend(lg, filepath.Join(t.TempDir(), "db"))
	t.Cleanup(func() { _ = be.Close() })
	tp, err := auth.NewTokenProvider(lg, "simple", func(uint64) <-chan struct{} { return make(chan struct{}) }, 0)
	if err != nil {
		t.Fatal(err)
	}
	ab := schema.NewAuthBackend(lg, be)
	s := auth.NewAuthStore(lg, ab, tp, bcrypt.MinCost)
	t.Cleanup(func() { _ = s.Close() })
	return s, ab
}

func pick[T any](r *rand.Rand, xs ...T) T { return xs[r.IntN(len(xs))] }

func randomKey(r *rand.Rand) []byte { return []byte(pick(r, "a", "b", "b/1", "b/2", "c", "d")) }

// randomEnd is behind the key, if it is there at all: etcd answers nonsense for empty ranges, which hold no keys anyway.
func randomEnd(r *rand.Rand, key []byte) []byte {
	for {
		if end := pick(r, "", "", "b0", "c", "d", "e", "\x00"); end == "" || end == "\x00" || end > string(key) {
			return []byte(end)
		}
	}
}

func randomRange(r *rand.Rand) (key, end []byte) {
	key = randomKey(r)
	return key, randomEnd(r, key)
}

// randomWrite is a request that changes the auth store, mostly one that makes sense.
func randomWrite(r *rand.Rand) *pb.InternalRaftRequest {
	user, role := pick(r, "root", "ann", "bob"), pick(r, "root", "reader", "writer")
	in := &pb.InternalRaftRequest{Header: &pb.RequestHeader{Username: pick(r, "root", "root", "root", "ann", ""), AuthRevision: 100}}
	switch r.IntN(14) {
	case 0:
		in.AuthEnable = &pb.AuthEnableRequest{}
	case 1:
		if r.IntN(4) == 0 {
			in.AuthDisable = &pb.AuthDisableRequest{}
		}
	case 2, 3:
		in.AuthUserAdd = &pb.AuthUserAddRequest{Name: user, Options: &authpb.UserAddOptions{NoPassword: true}}
	case 4:
		if r.IntN(4) == 0 {
			in.AuthUserDelete = &pb.AuthUserDeleteRequest{Name: user}
		}
	case 5:
		in.AuthUserChangePassword = &pb.AuthUserChangePasswordRequest{Name: user, HashedPassword: "aGFzaA=="}
	case 6, 7:
		in.AuthUserGrantRole = &pb.AuthUserGrantRoleRequest{User: user, Role: role}
	case 8:
		in.AuthUserRevokeRole = &pb.AuthUserRevokeRoleRequest{Name: user, Role: role}
	case 9:
		in.AuthRoleAdd = &pb.AuthRoleAddRequest{Name: role}
	case 10:
		if r.IntN(4) == 0 {
			in.AuthRoleDelete = &pb.AuthRoleDeleteRequest{Role: role}
		}
	case 11, 12:
		key, end := randomRange(r)
		in.AuthRoleGrantPermission = &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: &authpb.Permission{
			PermType: pick(r, authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE), Key: key, RangeEnd: end,
		}}
	default:
		key, end := randomRange(r)
		in.AuthRoleRevokePermission = &pb.AuthRoleRevokePermissionRequest{Role: role, Key: key, RangeEnd: end}
	}
	return in
}

// do applies a request as etcd's auth applier does.
func do(s auth.AuthStore, in *pb.InternalRaftRequest) {
	if changes(in) && s.IsAdminPermitted(&auth.AuthInfo{Username: in.Header.Username, Revision: in.Header.AuthRevision}) != nil {
		return
	}
	switch {
	case in.AuthEnable != nil:
		_ = s.AuthEnable()
	case in.AuthDisable != nil:
		s.AuthDisable()
	case in.AuthUserAdd != nil:
		_, _ = s.UserAdd(in.AuthUserAdd)
	case in.AuthUserDelete != nil:
		_, _ = s.UserDelete(in.AuthUserDelete)
	case in.AuthUserChangePassword != nil:
		_, _ = s.UserChangePassword(in.AuthUserChangePassword)
	case in.AuthUserGrantRole != nil:
		_, _ = s.UserGrantRole(in.AuthUserGrantRole)
	case in.AuthUserRevokeRole != nil:
		_, _ = s.UserRevokeRole(in.AuthUserRevokeRole)
	case in.AuthRoleAdd != nil:
		_, _ = s.RoleAdd(in.AuthRoleAdd)
	case in.AuthRoleDelete != nil:
		_, _ = s.RoleDelete(in.AuthRoleDelete)
	case in.AuthRoleGrantPermission != nil:
		_, _ = s.RoleGrantPermission(in.AuthRoleGrantPermission)
	case in.AuthRoleRevokePermission != nil:
		_, _ = s.RoleRevokePermission(in.AuthRoleRevokePermission)
	}
}

func tables(s auth.AuthStore, ab auth.AuthBackend) *own.Tables {
	t := &own.Tables{AuthEnabled: s.IsAuthEnabled(), AuthRevision: s.Revision()}
	for _, u := range ab.GetAllUsers() {
		t.Users = append(t.Users, own.User{Name: string(u.Name), Roles: slices.Sorted(slices.Values(u.Roles))})
	}
	for _, r := range ab.GetAllRoles() {
		role := own.Role{Name: string(r.Name)}
		for _, p := range r.KeyPermission {
			role.Permissions = append(role.Permissions, own.Permission{Type: p.PermType.String(), Key: string(p.Key), RangeEnd: string(p.RangeEnd)})
		}
		t.Roles = append(t.Roles, role)
	}
	return t
}

func randomRequest(r *rand.Rand, depth int) *pb.InternalRaftRequest {
	in := &pb.InternalRaftRequest{}
	put := func() *pb.PutRequest { return &pb.PutRequest{Key: randomKey(r), PrevKv: r.IntN(3) == 0} }
	del := func() *pb.DeleteRangeRequest {
		key, end := randomRange(r)
		return &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: r.IntN(3) == 0}
	}
	switch r.IntN(3) {
	case 0:
		in.Put = put()
	case 1:
		in.DeleteRange = del()
	default:
		ops := func() (ops []*pb.RequestOp) {
			for range r.IntN(3) {
				switch r.IntN(4) {
				case 0:
					ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put()}})
				case 1:
					ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del()}})
				case 2:
					key, end := randomRange(r)
					ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key, RangeEnd: end}}})
				default:
					if n := randomRequest(r, depth+1); n.Txn != nil && depth < 2 {
						ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: n.Txn}})
					}
				}
			}
			return ops
		}
		in.Txn = &pb.TxnRequest{Success: ops(), Failure: ops()}
		if r.IntN(2) == 0 {
			key, end := randomRange(r)
			in.Txn.Compare = []*pb.Compare{{Key: key, RangeEnd: end}}
		}
	}
	return in
}

// refuses asks etcd's own store.
func refuses(s auth.AuthStore, ai *auth.AuthInfo, in *pb.InternalRaftRequest) bool {
	switch {
	case in.Put != nil:
		err := s.IsPutPermitted(ai, in.Put.Key)
		if err == nil && in.Put.PrevKv {
			err = s.IsRangePermitted(ai, in.Put.Key, nil)
		}
		return err != nil
	case in.DeleteRange != nil:
		err := s.IsDeleteRangePermitted(ai, in.DeleteRange.Key, in.DeleteRange.RangeEnd)
		if err == nil && in.DeleteRange.PrevKv {
			err = s.IsRangePermitted(ai, in.DeleteRange.Key, in.DeleteRange.RangeEnd)
		}
		return err != nil
	default:
		return apply.CheckTxnAuth(s, ai, &lease.FakeLessor{}, in.Txn) != nil
	}
}

// The tables and the decisions of a random history are those of etcd's own auth store.
func TestAgainstEtcd(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			store, ab := newStore(t)
			s := New()
			var decided, denied int
			for step := range 120 {
				in := randomWrite(r)
				do(store, in)
				s.Apply(&raftlog.Request{Internal: in, User: in.Header.Username, AuthRevision: in.Header.AuthRevision})
				if want := tables(store, ab); !s.Equal(want) {
					t.Fatalf("step %d, %v: %+v, etcd has %+v", step, in, s, want)
				}
				for range 5 {
					ai := &auth.AuthInfo{Username: pick(r, "root", "ann", "bob", "eve", ""), Revision: pick(r, 0, s.Revision, s.Revision, s.Revision, s.Revision-1, s.Revision+1)}
					in := randomRequest(r, 0)
					want := refuses(store, ai, in)
					got := s.Denies(&raftlog.Request{Internal: in, User: ai.Username, AuthRevision: ai.Revision}, nil, Rules{})
					if got != want {
						t.Fatalf("step %d: denies %v is %v, etcd says %v, user %q at %d; %+v", step, in, got, want, ai.Username, ai.Revision, s)
					}
					decided++
					if want {
						denied++
					}
				}
			}
			if seed == 0 && (denied == 0 || denied == decided) {
				t.Errorf("%d of %d requests denied: the history tests nothing", denied, decided)
			}
		})
	}
}

func asTables(s *State) *own.Tables {
	t := &own.Tables{AuthEnabled: s.Enabled, AuthRevision: s.Revision}
	for name, roles := range s.users {
		t.Users = append(t.Users, own.User{Name: name, Roles: roles})
	}
	for name, perms := range s.roles {
		t.Roles = append(t.Roles, own.Role{Name: name, Permissions: perms})
	}
	return t
}
