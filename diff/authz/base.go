package authz

import (
	"maps"
	"math"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/schema"
)

// unsure is what tables do not tell of a state before a log begins: what was deleted since.
type unsure struct {
	users map[string]bool // their roles
	roles map[string]bool // their permissions, or who has them
}

// Check is an auth revision that requests were checked at before they were proposed, with the first and the last of them.
type Check struct{ Index, Last, Revision uint64 }

// maxIdle bounds how many writes are taken for ones without effect because of what requests were checked at, maxRolledBack
// how many writes there may be for that.
const (
	maxIdle       = 16
	maxRolledBack = 400
)

// Base is the auth store before the first of some writes, for a log that does not begin with the cluster. What they do not
// touch is as the tables behind them say, and the first write about anything is taken for one that had an effect, unless the
// auth revisions that requests were checked at say otherwise. It is nil if applying the writes does not lead to the tables, or
// requests were checked at a revision that was still to come. off counts by how much requests were checked at lower ones than
// there were.
func Base(writes []Write, checks []Check, tables *schema.Tables) (s *State, off int) {
	idle := map[uint64]bool{}
	s, off = base(writes, checks, idle, tables)
	for range maxIdle {
		var better uint64
		var refused int
		for _, w := range writes {
			if off == 0 && better == 0 || len(writes) > maxRolledBack {
				break
			}
			idle[w.Index] = !idle[w.Index]
			// Of two that explain as much, the one by which more had an effect is taken.
			if o, n := base(writes, checks, idle, tables); n < off || n == off && better > 0 && len(o.refuses(writes)) < refused {
				s, off, better, refused = o, n, w.Index, len(o.refuses(writes))
			}
			idle[w.Index] = !idle[w.Index]
		}
		if better == 0 {
			break
		}
		idle[better] = !idle[better]
	}
	if off >= costAhead {
		return nil, off
	}
	return s, off
}

// costAhead is what a request counts that was checked at a higher revision than there was; one at a lower revision, which may
// have been on its way meanwhile, counts by how much lower it was, as long as that is not many.
const costAhead = 1 << 20

// off tells how far a timeline is from what requests were checked at.
func (t *Timeline) off(checks []Check) (n int) {
	for _, c := range checks {
		for _, index := range []uint64{c.Index, c.Last} {
			switch r := t.At(index).Revision; {
			case c.Revision > r:
				n += costAhead * int(min(c.Revision-r, 16))
			default:
				n += int(min(r-c.Revision, 16))
			}
		}
	}
	return n
}

// base is Base, if the first writes about anything had an effect but for idle ones, and how far it is off.
func base(writes []Write, checks []Check, idle map[uint64]bool, tables *schema.Tables) (*State, int) {
	s := Of(tables)
	var refused map[uint64]bool
	// Who may change the store depends on what it was.
	for range 2 {
		s = before(writes, checks, refused, idle, Of(tables))
		refused = s.refuses(writes)
	}
	end, last := s.run(writes).last(), max(tables.AuthRevision, 1)
	if end.Revision-s.Revision >= last {
		return nil, math.MaxInt
	}
	s.Revision = last - (end.Revision - s.Revision)
	t := s.run(writes)
	if !t.last().Equal(tables) {
		return nil, math.MaxInt
	}
	return s, t.off(checks)
}

// refuses are the writes that were refused because their user is no administrator.
func (s *State) refuses(writes []Write) map[uint64]bool {
	refused := map[uint64]bool{}
	t := s.run(writes)
	for n := range writes {
		w := &writes[n]
		if o := t.states[n]; o.Enabled && !o.admin(w.Request.User) {
			refused[w.Index] = true
		}
	}
	return refused
}

// before takes back what the first of some writes about anything did to s, the state behind all of them.
func before(writes []Write, checks []Check, refused, idle map[uint64]bool, s *State) *State {
	s = s.Clone()
	s.Revision = 1
	s.unsure = unsure{users: map[string]bool{}, roles: map[string]bool{}}
	seen := map[[4]string]bool{}
	for n := range writes {
		w := &writes[n]
		first := func(item ...string) bool {
			var k [4]string
			copy(k[:], item)
			was := seen[k]
			seen[k] = true
			return !was
		}
		if !refused[w.Index] {
			// A request names its user while auth is on.
			on := len(checks) > 0 && checks[0].Index <= w.Index
			s.takeBack(w.Request.Internal, idle[w.Index], on, first)
		}
	}
	return s
}

// takeBack makes s what it was before a write, if that is the first about its item. One that was idle found what it asked for.
// on is true if auth is known to have been on.
func (s *State) takeBack(in *pb.InternalRaftRequest, idle, on bool, first func(item ...string) bool) {
	switch {
	case in == nil:
	case in.AuthEnable != nil:
		if first("enabled") {
			s.Enabled = idle || on
		}
	case in.AuthDisable != nil:
		if first("enabled") {
			s.Enabled = !idle
		}
	case in.AuthUserAdd != nil:
		if name := in.AuthUserAdd.Name; first("user", name) {
			had(s.users, s.unsure.users, name, idle)
		}
	case in.AuthUserDelete != nil:
		if name := in.AuthUserDelete.Name; first("user", name) {
			had(s.users, s.unsure.users, name, !idle)
		}
	case in.AuthUserGrantRole != nil:
		if r := in.AuthUserGrantRole; first("grant", r.User, r.Role) {
			s.hadRole(r.User, r.Role, idle)
		}
	case in.AuthUserRevokeRole != nil:
		if r := in.AuthUserRevokeRole; first("grant", r.Name, r.Role) {
			s.hadRole(r.Name, r.Role, !idle)
		}
	case in.AuthRoleAdd != nil:
		if name := in.AuthRoleAdd.Name; first("role", name) {
			had(s.roles, s.unsure.roles, name, idle)
		}
	case in.AuthRoleDelete != nil:
		if name := in.AuthRoleDelete.Role; first("role", name) {
			had(s.roles, s.unsure.roles, name, !idle)
		}
	case in.AuthRoleGrantPermission != nil:
		if r := in.AuthRoleGrantPermission; r.Perm != nil && first("perm", r.Name, string(r.Perm.Key), string(r.Perm.RangeEnd)) {
			s.takePermission(r.Name, string(r.Perm.Key), string(r.Perm.RangeEnd))
		}
	case in.AuthRoleRevokePermission != nil:
		r := in.AuthRoleRevokePermission
		if _, ok := s.roles[r.Role]; ok && first("perm", r.Role, string(r.Key), string(r.RangeEnd)) {
			s.takePermission(r.Role, string(r.Key), string(r.RangeEnd))
			if !idle {
				p := schema.Permission{Type: authpb.Permission_READWRITE.String(), Key: string(r.Key), RangeEnd: string(r.RangeEnd)}
				s.roles[r.Role] = append(s.roles[r.Role], p)
				s.unsure.roles[r.Role] = true // it is not known what it permitted
			}
		}
	}
}

// had makes a user or a role one that was there, or was not. What it held is not known if it is gone in the end.
func had[T any](m map[string][]T, unsure map[string]bool, name string, there bool) {
	_, is := m[name]
	switch {
	case !there:
		delete(m, name)
	case !is && name != "":
		m[name], unsure[name] = nil, true
	}
}

// hadRole makes a role one that a user had, or had not.
func (s *State) hadRole(user, role string, held bool) {
	roles, ok := s.users[user]
	switch has := slices.Contains(roles, role); {
	case !ok || has == held:
	case held:
		s.users[user] = slices.Sorted(slices.Values(append(slices.Clone(roles), role)))
	default:
		s.users[user] = without(roles, role)
	}
}

// takePermission takes a permission from a role, if it has it.
func (s *State) takePermission(role, key, end string) {
	if perms, ok := s.roles[role]; ok {
		s.roles[role] = slices.DeleteFunc(slices.Clone(perms), func(p schema.Permission) bool { return p.Key == key && p.RangeEnd == end })
	}
}

func (u *unsure) clone() unsure { return unsure{maps.Clone(u.users), maps.Clone(u.roles)} }

// Unsure tells whether it is not known what a user may do.
func (s *State) Unsure(user string) bool {
	switch {
	case !s.Enabled || slices.Contains(s.users[user], root):
		return false
	case s.unsure.users[user]:
		return true
	}
	for role := range s.unsure.roles {
		if _, held := s.roles[role]; held {
			return true
		}
	}
	return false
}

// Alike tells whether two states are the same, as far as they are known.
func (s *State) Alike(o *State) bool {
	return s.Enabled == o.Enabled && s.Revision == o.Revision && maps.EqualFunc(s.users, o.users, slices.Equal) &&
		maps.EqualFunc(s.roles, o.roles, func(a, b []schema.Permission) bool {
			return slices.Equal(sortedPermissions(a), sortedPermissions(b))
		})
}
