package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/schema"
)

// dbName is the copy's file.
const dbName = "db"

// write makes a backend file of a state: of the keys only what is live and touched, as if everything up to the state's
// revision had been compacted.
func write(ctx context.Context, dir string, st *State, keys *effect.Touched) (err error) {
	db, err := bolt.Open(filepath.Join(dir, dbName), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := writeTables(db, st); err != nil {
		return err
	}
	rows := slices.Collect(st.live(keys))
	slices.SortFunc(rows, func(a, b mvcc.Row) int { return a.Rev.Compare(b.Rev) })
	const batch = 8 << 20 // bytes of one transaction, which bbolt holds in memory
	for len(rows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(schema.Key))
			b.FillPercent = 1
			for size := 0; len(rows) > 0 && size < batch; rows = rows[1:] {
				if err := b.Put(rows[0].Rev.AppendKey(nil), rows[0].Value); err != nil {
					return err
				}
				size += len(rows[0].Value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func writeTables(db *bolt.DB, st *State) error {
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range schema.Buckets {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		w := tableWriter{tx: tx}
		w.put(schema.Meta, "consistent_index", binary.BigEndian.AppendUint64(nil, st.Index))
		if st.Revision > 1 {
			at := mvcc.Revision{Main: st.Revision}.AppendKey(nil)
			w.put(schema.Meta, "scheduledCompactRev", at)
			w.put(schema.Meta, "finishedCompactRev", at)
		}
		for _, l := range st.Leases {
			key := binary.BigEndian.AppendUint64(nil, uint64(l.ID))
			w.message(schema.Lease, string(key), &leasepb.Lease{ID: l.ID, TTL: l.TTL, RemainingTTL: l.RemainingTTL})
		}
		for _, a := range st.Alarms {
			key, err := proto.Marshal(&pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(pb.AlarmType_value[a.Type])})
			if err != nil {
				return err
			}
			w.put(schema.Alarm, string(key), nil)
		}
		w.auth(st.Auth)
		return w.err
	})
}

// tableWriter remembers the first error.
type tableWriter struct {
	tx  *bolt.Tx
	err error
}

func (w *tableWriter) put(bucket, key string, value []byte) {
	if w.err == nil {
		w.err = w.tx.Bucket([]byte(bucket)).Put([]byte(key), value)
	}
}

func (w *tableWriter) message(bucket, key string, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.put(bucket, key, b)
}

func (w *tableWriter) auth(a Auth) {
	on := byte(0)
	if a.Enabled {
		on = 1
	}
	w.put(schema.Auth, "authEnabled", []byte{on})
	if a.Revision > 0 {
		w.put(schema.Auth, "authRevision", binary.BigEndian.AppendUint64(nil, a.Revision))
	}
	for _, u := range a.Users {
		w.message(schema.AuthUsers, u.Name, &authpb.User{Name: []byte(u.Name), Roles: u.Roles, Options: &authpb.UserAddOptions{NoPassword: u.NoPassword}})
	}
	for _, r := range a.Roles {
		role := &authpb.Role{Name: []byte(r.Name)}
		for _, p := range r.Permissions {
			role.KeyPermission = append(role.KeyPermission, &authpb.Permission{
				PermType: authpb.Permission_Type(authpb.Permission_Type_value[p.Type]), Key: []byte(p.Key), RangeEnd: []byte(p.RangeEnd),
			})
		}
		w.message(schema.AuthRoles, r.Name, role)
	}
}
