package replay

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/schema"
)

// AuthWrite tells whether a request can change the auth tables.
func AuthWrite(in *pb.InternalRaftRequest) bool {
	return in != nil && (in.AuthEnable != nil || in.AuthDisable != nil || in.AuthUserAdd != nil || in.AuthUserDelete != nil ||
		in.AuthUserChangePassword != nil || in.AuthUserGrantRole != nil || in.AuthUserRevokeRole != nil || in.AuthRoleAdd != nil ||
		in.AuthRoleDelete != nil || in.AuthRoleGrantPermission != nil || in.AuthRoleRevokePermission != nil)
}

// AuthError says that the auth tables of a moment cannot be known.
type AuthError struct {
	// Entry is the one that cannot be undone.
	Entry uint64
	Type  string
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("the auth tables cannot be taken back beyond entry %d (%s), and the log does not begin with the cluster", e.Entry, e.Type)
}

// Unwrap makes it one of the reasons why there is no base.
func (e *AuthError) Unwrap() error { return ErrNoBase }

// rewindAuth rolls the auth tables back. If entries behind the moment changed them, they are made anew from the first
// entry of the cluster, or where that is gone, undone one by one.
func (st *State) rewindAuth(ctx context.Context, b *Base) error {
	t := b.Tables
	st.Auth = Auth{Enabled: t.AuthEnabled, Revision: t.AuthRevision, Users: t.Users, Roles: t.Roles}
	var later []event
	for _, e := range b.events() {
		// Up to 3.4 the auth tables may be ahead of the consistent index.
		if e.index > st.Index && (e.index <= t.ConsistentIndex || !t.HasTerm) && AuthWrite(e.in) {
			later = append(later, e)
		}
	}
	if len(later) == 0 {
		return nil
	}
	if b.Whole {
		return st.rebuildAuth(ctx, b)
	}
	return st.undoAuth(later)
}

// rebuildAuth applies the auth entries from the beginning.
func (st *State) rebuildAuth(ctx context.Context, b *Base) error {
	a, err := AuthAt(ctx, b.Log, st.Index, Today())
	if err != nil {
		return err
	}
	st.Auth = a
	end, err := AuthAt(ctx, b.Log, max(b.Tables.ConsistentIndex, b.Log[len(b.Log)-1].Index), Today())
	if err != nil {
		return err
	}
	if end.Revision < b.Tables.AuthRevision {
		st.Notes = append(st.Notes, fmt.Sprintf("the auth tables of entry %d are those that the log makes; the member's own auth revision is higher than the log makes it", st.Index))
	}
	return nil
}

// AuthAt returns the auth tables that the entries of a whole log make, up to index. The rules may add to the revision.
func AuthAt(ctx context.Context, log []effect.Entry, index uint64, rules Rules) (Auth, error) {
	var a Auth
	var only []effect.Entry
	for i := range log {
		if log[i].Index <= index && AuthWrite(log[i].Request().Internal) {
			only = append(only, log[i])
		}
	}
	err := inCopy(ctx, Empty(), touchedBy(nil), rules, "", func(g *engine) error {
		for i := range only {
			if _, err := g.apply(&only[i]); err != nil {
				return err
			}
		}
		f, err := g.final()
		a = f.Auth
		a.Revision = f.AuthRevision
		return err
	})
	return a, err
}

// undoAuth takes entries back, the last one first.
func (st *State) undoAuth(later []event) error {
	a := &st.Auth
	a.Users, a.Roles = cloneUsers(a.Users), cloneRoles(a.Roles)
	for _, e := range slices.Backward(later) {
		in := e.in
		bad := &AuthError{Entry: e.index, Type: e.typ}
		switch {
		case in.AuthEnable != nil:
			a.Enabled = false
			continue // without a revision of its own
		case in.AuthUserChangePassword != nil:
		case in.AuthUserAdd != nil:
			a.Users = slices.DeleteFunc(a.Users, func(u schema.User) bool { return u.Name == in.AuthUserAdd.Name })
		case in.AuthUserGrantRole != nil:
			u := findUser(a.Users, in.AuthUserGrantRole.User)
			if u == nil {
				return bad
			}
			u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == in.AuthUserGrantRole.Role })
		case in.AuthUserRevokeRole != nil:
			u := findUser(a.Users, in.AuthUserRevokeRole.Name)
			if u == nil {
				return bad
			}
			u.Roles = append(u.Roles, in.AuthUserRevokeRole.Role)
			slices.Sort(u.Roles)
		case in.AuthRoleAdd != nil:
			a.Roles = slices.DeleteFunc(a.Roles, func(r schema.Role) bool { return r.Name == in.AuthRoleAdd.Name })
		case in.AuthRoleGrantPermission != nil:
			if !undoGrant(a.Roles, in.AuthRoleGrantPermission) {
				return bad
			}
		default:
			return bad // what a deletion took away is not in the log
		}
		a.Revision--
	}
	st.Notes = append(st.Notes, fmt.Sprintf("%d entries that changed users or roles were undone one by one", len(later)))
	return nil
}

func undoGrant(roles []schema.Role, g *pb.AuthRoleGrantPermissionRequest) bool {
	for i := range roles {
		r := &roles[i]
		if r.Name != g.Name || g.Perm == nil {
			continue
		}
		n := len(r.Permissions)
		r.Permissions = slices.DeleteFunc(r.Permissions, func(p schema.Permission) bool {
			return p.Key == string(g.Perm.Key) && p.RangeEnd == string(g.Perm.RangeEnd)
		})
		return len(r.Permissions) < n
	}
	return false
}

func cloneUsers(us []schema.User) []schema.User {
	us = slices.Clone(us)
	for i := range us {
		us[i].Roles = slices.Clone(us[i].Roles)
	}
	return us
}

func cloneRoles(rs []schema.Role) []schema.Role {
	rs = slices.Clone(rs)
	for i := range rs {
		rs[i].Permissions = slices.Clone(rs[i].Permissions)
	}
	return rs
}

func findUser(us []schema.User, name string) *schema.User {
	for i := range us {
		if us[i].Name == name {
			return &us[i]
		}
	}
	return nil
}

// SameAuth tells whether two auth tables are the same but for the revision, and if not, what differs.
func SameAuth(a, b Auth) (bool, string) {
	switch {
	case a.Enabled != b.Enabled:
		return false, "auth is on in one and off in the other"
	case !slices.EqualFunc(a.Users, b.Users, func(x, y schema.User) bool {
		return x.Name == y.Name && x.NoPassword == y.NoPassword && slices.Equal(x.Roles, y.Roles)
	}):
		return false, "users differ"
	case !slices.EqualFunc(a.Roles, b.Roles, func(x, y schema.Role) bool {
		return x.Name == y.Name && slices.Equal(sortedPermissions(x), sortedPermissions(y))
	}):
		return false, "roles differ"
	}
	return true, ""
}

func sortedPermissions(r schema.Role) []schema.Permission {
	ps := slices.Clone(r.Permissions)
	slices.SortFunc(ps, func(a, b schema.Permission) int {
		if c := bytes.Compare([]byte(a.Key), []byte(b.Key)); c != 0 {
			return c
		}
		return strings.Compare(a.RangeEnd+a.Type, b.RangeEnd+b.Type)
	})
	return ps
}
