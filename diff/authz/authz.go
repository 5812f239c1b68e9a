// Package authz follows etcd's users, roles and auth revision through a log, and tells which requests they refuse: the
// rules of server/auth/store.go and server/etcdserver/apply/auth.go, as they are since etcd 3.3. It holds no passwords.
package authz

import (
	"hash/maphash"
	"maps"
	"slices"
	"sort"
	"strconv"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

const root = "root" // name of the user and of the role that may do everything

// State is the auth store at one moment, as etcd's would be after the same requests: a password is none of it. Apply changes it in place, and all else
// only reads it; Clone shares lists, which are replaced and never changed.
type State struct {
	Enabled  bool
	Revision uint64              // of the auth store; a new one has 1
	users    map[string][]string // roles, sorted
	roles    map[string][]schema.Permission
	unsure   unsure // nothing, unless Base made the state
}

// New is the auth store of a new cluster.
func New() *State {
	return &State{Revision: 1, users: map[string][]string{}, roles: map[string][]schema.Permission{}}
}

// Of is the auth store that the tables of a db hold.
func Of(t *schema.Tables) *State {
	s := New()
	s.Enabled, s.Revision = t.AuthEnabled, max(t.AuthRevision, 1)
	for _, u := range t.Users {
		s.users[u.Name] = u.Roles
	}
	for _, r := range t.Roles {
		s.roles[r.Name] = r.Permissions
	}
	return s
}

// Clone returns a copy. Lists of roles and permissions are never changed in place, and shared.
func (s *State) Clone() *State {
	c := *s
	c.users, c.roles, c.unsure = maps.Clone(s.users), maps.Clone(s.roles), s.unsure.clone()
	return &c
}

// Digest is equal for states that are equal, and nearly never for others.
func (s *State) Digest() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	if s.Enabled {
		h.WriteByte(1)
	}
	h.WriteString(strconv.FormatUint(s.Revision, 16))
	for _, u := range slices.Sorted(maps.Keys(s.users)) {
		h.WriteString("\x00u" + u)
		for _, r := range s.users[u] {
			h.WriteString("\x01" + r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(s.roles)) {
		h.WriteString("\x00r" + r)
		for _, p := range s.roles[r] {
			h.WriteString("\x01" + p.Type + "\x02" + p.Key + "\x02" + p.RangeEnd)
		}
	}
	return h.Sum64()
}

var seed = maphash.MakeSeed()

// Equal tells whether the tables of a db are those of this state.
func (s *State) Equal(t *schema.Tables) bool {
	if s.Enabled != t.AuthEnabled || s.Revision != max(t.AuthRevision, 1) || len(s.users) != len(t.Users) || len(s.roles) != len(t.Roles) {
		return false
	}
	for _, u := range t.Users {
		if roles, ok := s.users[u.Name]; !ok || !slices.Equal(roles, u.Roles) {
			return false
		}
	}
	for _, r := range t.Roles {
		perms, ok := s.roles[r.Name]
		if !ok || !slices.Equal(sortedPermissions(perms), sortedPermissions(r.Permissions)) {
			return false
		}
	}
	return true
}

// Apart names the users and roles, and whether auth is on and the revision, that are not in the tables of a db as they are in this
// state.
func (s *State) Apart(t *schema.Tables) (names []string) { return s.ApartFrom(Of(t)) }

// ApartFrom is Apart for another state.
func (s *State) ApartFrom(o *State) (names []string) {
	if s.Enabled != o.Enabled {
		names = append(names, "enabled")
	}
	if s.Revision != o.Revision {
		names = append(names, "revision")
	}
	names = append(names, apart("user ", s.users, o.users, func(a, b []string) bool { return slices.Equal(a, b) })...)
	return append(names, apart("role ", s.roles, o.roles, func(a, b []schema.Permission) bool {
		return slices.Equal(sortedPermissions(a), sortedPermissions(b))
	})...)
}

func apart[T any](prefix string, a, b map[string][]T, same func(a, b []T) bool) (names []string) {
	for k, x := range a {
		if y, ok := b[k]; !ok || !same(x, y) {
			names = append(names, prefix+k)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			names = append(names, prefix+k)
		}
	}
	return names
}

func sortedPermissions(ps []schema.Permission) []schema.Permission {
	return slices.SortedFunc(slices.Values(ps), func(a, b schema.Permission) int {
		return slices.Compare([]string{a.Key, a.RangeEnd, a.Type}, []string{b.Key, b.RangeEnd, b.Type})
	})
}

// Apply makes the change that a request asks for, if it is one of the auth store's and the store accepts it.
func (s *State) Apply(r *raftlog.Request) {
	in := r.Internal
	if in == nil || s.Enabled && changes(in) && !s.admin(r.User) {
		return
	}
	if s.change(in) {
		s.Revision++
	}
}

// changes tells whether a request is one that only an administrator may make while auth is on.
func changes(in *pb.InternalRaftRequest) bool {
	return in.AuthEnable != nil || in.AuthDisable != nil || in.AuthUserAdd != nil || in.AuthUserDelete != nil ||
		in.AuthUserChangePassword != nil || in.AuthUserGrantRole != nil || in.AuthUserRevokeRole != nil || in.AuthRoleAdd != nil ||
		in.AuthRoleDelete != nil || in.AuthRoleGrantPermission != nil || in.AuthRoleRevokePermission != nil
}

func (s *State) admin(user string) bool {
	return user != "" && slices.Contains(s.users[user], root)
}

// change applies a request and tells whether it counts.
func (s *State) change(in *pb.InternalRaftRequest) bool {
	switch {
	case in.AuthEnable != nil:
		s.Enabled = s.Enabled || s.admin(root)
		return false
	case in.AuthDisable != nil:
		was := s.Enabled
		s.Enabled = false
		return was
	case in.AuthUserAdd != nil:
		return add(s.users, in.AuthUserAdd.Name)
	case in.AuthUserDelete != nil:
		delete(s.unsure.users, in.AuthUserDelete.Name)
		return (!s.Enabled || in.AuthUserDelete.Name != root) && remove(s.users, in.AuthUserDelete.Name)
	case in.AuthUserChangePassword != nil:
		_, ok := s.users[in.AuthUserChangePassword.Name]
		return ok
	case in.AuthUserGrantRole != nil:
		return s.grantRole(in.AuthUserGrantRole)
	case in.AuthUserRevokeRole != nil:
		return s.revokeRole(in.AuthUserRevokeRole)
	case in.AuthRoleAdd != nil:
		return add(s.roles, in.AuthRoleAdd.Name)
	case in.AuthRoleDelete != nil:
		return s.deleteRole(in.AuthRoleDelete.Role)
	case in.AuthRoleGrantPermission != nil:
		return s.grantPermission(in.AuthRoleGrantPermission)
	case in.AuthRoleRevokePermission != nil:
		return s.revokePermission(in.AuthRoleRevokePermission)
	}
	return false
}

func add[T any](m map[string][]T, name string) bool {
	if _, ok := m[name]; ok || name == "" {
		return false
	}
	m[name] = nil
	return true
}

func remove[T any](m map[string][]T, name string) bool {
	_, ok := m[name]
	delete(m, name)
	return ok
}

func (s *State) grantRole(r *pb.AuthUserGrantRoleRequest) bool {
	roles, ok := s.users[r.User]
	if _, known := s.roles[r.Role]; !ok || r.Role != root && !known || slices.Contains(roles, r.Role) {
		return false
	}
	s.users[r.User] = slices.Sorted(slices.Values(append(slices.Clone(roles), r.Role)))
	return true
}

func (s *State) revokeRole(r *pb.AuthUserRevokeRoleRequest) bool {
	roles := s.users[r.Name]
	if !slices.Contains(roles, r.Role) || s.Enabled && r.Name == root && r.Role == root {
		return false
	}
	s.users[r.Name] = without(roles, r.Role)
	return true
}

func without(list []string, x string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(y string) bool { return x == y })
}

func (s *State) deleteRole(role string) bool {
	if s.Enabled && role == root || !remove(s.roles, role) {
		return false
	}
	delete(s.unsure.roles, role)
	for user, roles := range s.users {
		if slices.Contains(roles, role) {
			s.users[user] = without(roles, role)
		}
	}
	return true
}

func (s *State) grantPermission(r *pb.AuthRoleGrantPermissionRequest) bool {
	perms, ok := s.roles[r.Name]
	if !ok || r.Perm == nil || !validRange(r.Perm.Key, r.Perm.RangeEnd) {
		return false
	}
	p := schema.Permission{Type: r.Perm.PermType.String(), Key: string(r.Perm.Key), RangeEnd: string(r.Perm.RangeEnd)}
	perms = slices.Clone(perms)
	// etcd looks at the first permission of the key only: a second one of the same range may be added behind it.
	i := sort.Search(len(perms), func(i int) bool { return perms[i].Key >= p.Key })
	if i < len(perms) && perms[i].Key == p.Key && perms[i].RangeEnd == p.RangeEnd {
		perms[i] = p
		s.roles[r.Name] = perms
		return true
	}
	perms = append(perms, p)
	sort.Sort(byKey(perms)) // not stable, as etcd's
	s.roles[r.Name] = perms
	return true
}

type byKey []schema.Permission

func (p byKey) Len() int           { return len(p) }
func (p byKey) Less(i, j int) bool { return p[i].Key < p[j].Key }
func (p byKey) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// validRange is isValidPermissionRange of server/auth/range_perm_cache.go.
func validRange(key, end []byte) bool {
	return len(key) > 0 && (len(end) == 0 || len(end) == 1 && end[0] == 0 || string(key) < string(end))
}

func (s *State) revokePermission(r *pb.AuthRoleRevokePermissionRequest) bool {
	perms := s.roles[r.Role]
	left := slices.DeleteFunc(slices.Clone(perms), func(p schema.Permission) bool {
		return p.Key == string(r.Key) && p.RangeEnd == string(r.RangeEnd)
	})
	if len(left) == len(perms) {
		return false
	}
	s.roles[r.Role] = left
	return true
}

// Rules are what older versions of etcd ask otherwise (etcdserver/apply_auth.go); the zero value is today's.
type Rules struct {
	// ReadsDropped is true up to 3.6 of members that did not propose a transaction: nobody is asked for its outermost reads.
	ReadsDropped bool
	// TxnPutsByKey is true up to 3.4.43, 3.5.29 and 3.6.10: a put in a transaction is asked for writing its key, not for reading the previous value
	// or for the keys of its lease.
	TxnPutsByKey bool
	// NestedUnasked is true up to 3.4.41, 3.5.27 and 3.6.8: nobody is asked for what is in a nested transaction.
	NestedUnasked bool
	// RootAsked is true from 3.3 up to 3.4.26 and 3.5.9: an administrator is asked for the keys of a lease one by one, and so for the auth revision.
	RootAsked bool
	// LeasesUnasked is true of 3.2: nobody is asked for the keys of a lease.
	LeasesUnasked bool
}

// Denies tells whether a request that could change keys is refused. attached lists the keys of a lease.
func (s *State) Denies(r *raftlog.Request, attached func(lease int64) []string, rules Rules) bool {
	in := r.Internal
	if !s.Enabled || in == nil {
		return false
	}
	c := check{Rules: rules, s: s, user: r.User, revision: r.AuthRevision, attached: attached}
	switch {
	case in.Put != nil:
		return !c.put(in.Put)
	case in.DeleteRange != nil:
		return !c.deletes(in.DeleteRange)
	case in.Txn != nil:
		return !c.txn(in.Txn, c.ReadsDropped)
	case in.LeaseRevoke != nil:
		return !c.lease(in.LeaseRevoke.ID)
	}
	return false
}

type check struct {
	Rules
	s        *State
	user     string
	revision uint64
	attached func(lease int64) []string
}

// op is isOpPermitted.
func (c *check) op(key, end []byte, typ authpb.Permission_Type) bool {
	if c.revision == 0 || c.revision < c.s.Revision {
		return false
	}
	roles, ok := c.s.users[c.user]
	if !ok {
		return false
	}
	if slices.Contains(roles, root) {
		return true
	}
	var ranges [][2]string
	for _, role := range roles {
		for _, p := range c.s.roles[role] {
			if p.Type == typ.String() || p.Type == authpb.Permission_READWRITE.String() {
				ranges = append(ranges, interval(p.Key, p.RangeEnd))
			}
		}
	}
	return covers(ranges, interval(string(key), string(end)))
}

// top is behind every key.
const top = "\xff\xff\xff\xff top"

// interval is [from, to) of a key and a range end as requests and permissions give them.
func interval(key, end string) [2]string {
	switch end {
	case "":
		return [2]string{key, key + "\x00"}
	case "\x00":
		return [2]string{key, top}
	}
	return [2]string{key, end}
}

// covers tells whether the union of ranges holds all of want. An empty range is no one's; it holds no keys either.
func covers(ranges [][2]string, want [2]string) bool {
	if want[0] >= want[1] {
		return false
	}
	slices.SortFunc(ranges, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	at := want[0]
	for _, r := range ranges {
		if r[0] > at {
			break
		}
		at = max(at, r[1])
	}
	return at >= want[1] || at == top
}

func (c *check) put(r *pb.PutRequest) bool {
	return c.op(r.Key, nil, authpb.Permission_WRITE) && (r.Lease == 0 || c.lease(r.Lease)) &&
		(!r.PrevKv || c.op(r.Key, nil, authpb.Permission_READ))
}

func (c *check) txnPut(r *pb.PutRequest) bool {
	if c.TxnPutsByKey {
		return c.op(r.Key, nil, authpb.Permission_WRITE)
	}
	return c.put(r)
}

func (c *check) deletes(r *pb.DeleteRangeRequest) bool {
	return c.op(r.Key, r.RangeEnd, authpb.Permission_WRITE) && (!r.PrevKv || c.op(r.Key, r.RangeEnd, authpb.Permission_READ))
}

// lease asks for the right to write every key of a lease.
func (c *check) lease(id int64) bool {
	if c.LeasesUnasked || !c.RootAsked && c.s.admin(c.user) {
		return true
	}
	for _, k := range c.attached(id) {
		if !c.op([]byte(k), nil, authpb.Permission_WRITE) {
			return false
		}
	}
	return true
}

func (c *check) txn(t *pb.TxnRequest, readsDropped bool) bool {
	for _, cmp := range t.Compare {
		if !c.op(cmp.Key, cmp.RangeEnd, authpb.Permission_READ) {
			return false
		}
	}
	for _, ops := range [][]*pb.RequestOp{t.Success, t.Failure} {
		for _, o := range ops {
			switch {
			case o.GetRequestRange() != nil && !readsDropped && !c.op(o.GetRequestRange().Key, o.GetRequestRange().RangeEnd, authpb.Permission_READ),
				o.GetRequestPut() != nil && !c.txnPut(o.GetRequestPut()),
				o.GetRequestDeleteRange() != nil && !c.deletes(o.GetRequestDeleteRange()),
				o.GetRequestTxn() != nil && !c.NestedUnasked && !c.txn(o.GetRequestTxn(), false):
				return false
			}
		}
	}
	return true
}
