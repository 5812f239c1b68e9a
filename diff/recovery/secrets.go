package recovery

import (
	"encoding/base64"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// passwords gives users the password hashes that they had when entry index had been applied, which a replayed state has not:
// the hash of the copy where nothing changed it behind that, else that of the entry that set it. Up to 3.4 an entry holds
// the password itself, which each member hashes anew. It returns the names of users whose hash is nowhere.
func (x *made) passwords(log []effect.Entry) (unknown []string, err error) {
	users := map[string]*authpb.User{}
	for i := range x.tables {
		if t := &x.tables[i]; t.bucket == schema.AuthUsers {
			u := &authpb.User{}
			if err := proto.Unmarshal(t.value, u); err != nil {
				return nil, err
			}
			users[string(t.key)] = u
		}
	}
	if len(users) == 0 {
		return nil, nil
	}
	set := passwordsSet(log, x.index)
	hashes := map[string][]byte{}
	for _, m := range []*inspect.Member{x.of, x.m} {
		if m == nil || m.DB == nil {
			continue
		}
		until := m.DB.Tables.ConsistentIndex
		between := passwordsBetween(log, min(until, x.index), max(until, x.index))
		for k, v := range tableRows(m.DB, schema.AuthUsers) {
			var u authpb.User
			if !between[string(k)] && proto.Unmarshal(v, &u) == nil {
				hashes[string(k)] = u.Password
			}
		}
	}
	for i := range x.tables {
		t := &x.tables[i]
		if t.bucket != schema.AuthUsers {
			continue
		}
		name := string(t.key)
		u := users[name]
		switch in := set[name]; {
		case hashes[name] != nil:
			u.Password = hashes[name]
		case in != nil:
			if u.Password, err = hashOf(in); err != nil {
				return nil, err
			}
		case !u.GetOptions().GetNoPassword():
			unknown = append(unknown, name)
		}
		if t.value, err = proto.Marshal(u); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// passwordsSet tells which request set each user's password last up to an index.
func passwordsSet(log []effect.Entry, index uint64) map[string]*pb.InternalRaftRequest {
	set := map[string]*pb.InternalRaftRequest{}
	for i := range log {
		if in := passwordRequest(&log[i]); in != nil && log[i].Index <= index {
			if set[userOf(in)] = in; in.AuthUserDelete != nil {
				delete(set, userOf(in))
			}
		}
	}
	return set
}

// passwordsBetween tells whose password is set or removed by entries behind one up to another.
func passwordsBetween(log []effect.Entry, after, last uint64) map[string]bool {
	touched := map[string]bool{}
	for i := range log {
		if log[i].Index > after && log[i].Index <= last {
			if in := passwordRequest(&log[i]); in != nil {
				touched[userOf(in)] = true
			}
		}
	}
	return touched
}

// userOf is the user that a request of passwordRequest is about.
func userOf(in *pb.InternalRaftRequest) string {
	return in.GetAuthUserAdd().GetName() + in.GetAuthUserChangePassword().GetName() + in.GetAuthUserDelete().GetName()
}

// passwordRequest decodes an entry that sets or removes a password, with it; nil for others.
func passwordRequest(e *effect.Entry) *pb.InternalRaftRequest {
	if e.Raw == nil || e.Raw.Type != raftlog.EntryNormal {
		return nil
	}
	r := e.Request()
	if in := r.Internal; in == nil || in.AuthUserAdd == nil && in.AuthUserChangePassword == nil && in.AuthUserDelete == nil {
		return nil
	}
	in := new(pb.InternalRaftRequest)
	if proto.Unmarshal(e.Raw.Data, in) != nil {
		return nil
	}
	return in
}

// hashOf is the password hash that a member makes of a request (server/auth/store.go, selectPassword).
func hashOf(in *pb.InternalRaftRequest) ([]byte, error) {
	plain, hashed, none := in.GetAuthUserChangePassword().GetPassword(), in.GetAuthUserChangePassword().GetHashedPassword(), false
	if r := in.AuthUserAdd; r != nil {
		plain, hashed, none = r.Password, r.HashedPassword, r.GetOptions().GetNoPassword()
	}
	switch {
	case none:
		return nil, nil
	case hashed != "":
		return base64.StdEncoding.DecodeString(hashed)
	}
	return bcrypt.GenerateFromPassword([]byte(plain), bcrypt.DefaultCost)
}
