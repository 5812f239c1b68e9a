package replay

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3alarm"
	"go.etcd.io/etcd/server/v3/etcdserver/apply"
	"go.etcd.io/etcd/server/v3/etcdserver/cindex"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	etcdmvcc "go.etcd.io/etcd/server/v3/storage/mvcc"
	etcdschema "go.etcd.io/etcd/server/v3/storage/schema"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// engine is etcd's state machine on a copy.
type engine struct {
	be      backend.Backend
	lessor  lease.Lessor
	kv      *store
	auth    auth.AuthStore
	alarms  *v3alarm.AlarmStore
	uber    apply.UberApplier
	uncap   apply.UberApplier // the same without alarms, for rules that ignore them
	version *clusterVersion
	rules   []*Rule
	x       *Exec
	keys    int   // that the store holds at most
	looked  int64 // at how many keys compares of ranges have looked at most
	decoder raftlog.Decoder
}

// At how many keys compares of ranges may look in one run: etcd reads all of them for each compare, at up to a microsecond a key, and at a
// few nanoseconds where they are kept.
const (
	maxLooked = 1 << 22
	maxPassed = 1 << 26
)

// ranges is how many ranges of keys the compares of a transaction look at.
func ranges(t *pb.TxnRequest) (n int) {
	for _, c := range t.Compare {
		if len(c.RangeEnd) > 0 {
			n++
		}
	}
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if x := op.GetRequestTxn(); x != nil {
			n += ranges(x)
		}
	}
	return n
}

// open opens the copy that write made. It panics where etcd does.
func open(dir string, st *State, rules Rules) *engine {
	lg := logger()
	g := &engine{rules: rules.Rules, x: &Exec{Index: st.Index}, version: &clusterVersion{}}
	g.version.set(st.Version)
	for _, r := range g.rules {
		if r.Begin != nil {
			r.Begin()
		}
	}
	// Nothing is committed in the background: a panic there could not be contained.
	g.be = backend.New(backend.BackendConfig{
		Path: filepath.Join(dir, dbName), BatchInterval: 1000 * time.Hour, BatchLimit: 10000, Logger: lg, UnsafeNoFsync: true, MmapSize: mmapSize(),
	})
	g.lessor = lease.NewLessor(lg, g.be, g.version, lease.LessorConfig{})
	g.kv = &store{KV: etcdmvcc.NewStore(lg, g.be, g.lessor, etcdmvcc.StoreConfig{}), compact: st.Compact}
	read := g.kv.KV.Read(etcdmvcc.ConcurrentReadTxMode, traceutil.TODO())
	all, err := read.Range(context.Background(), []byte{0}, []byte{}, etcdmvcc.RangeOptions{CountOnly: true})
	read.End()
	if err != nil {
		panic(err)
	}
	g.keys = all.Count
	g.lessor.SetRangeDeleter(func() lease.TxnDelete { return g.kv.Write(traceutil.TODO()) })
	tokens, err := auth.NewTokenProvider(lg, "", nil, 0)
	if err != nil {
		panic(err)
	}
	g.auth = auth.NewAuthStore(lg, etcdschema.NewAuthBackend(lg, g.be), tokens, bcrypt.MinCost)
	g.x.store, g.x.lessor = g.auth, g.lessor
	g.alarms = alarmStore(lg, etcdschema.NewAlarmBackend(lg, g.be))
	g.uber = g.applier(lg, g.alarms)
	g.uncap = g.applier(lg, alarmStore(lg, noAlarms{}))
	return g
}

// mmapSize is how much of the copy is mapped at first: where that costs nothing, so much that it need not be mapped again,
// which makes bbolt copy all that it has in memory. On Windows the file would become as large.
func mmapSize() uint64 {
	if runtime.GOOS == "windows" || strconv.IntSize == 32 {
		return 0
	}
	return 256 << 20
}

func alarmStore(lg *zap.Logger, be etcdschema.AlarmBackend) *v3alarm.AlarmStore {
	as, err := v3alarm.NewAlarmStore(lg, be)
	if err != nil {
		panic(err)
	}
	return as
}

func (g *engine) applier(lg *zap.Logger, as *v3alarm.AlarmStore) apply.UberApplier {
	return apply.NewUberApplier(apply.ApplierOptions{
		Logger:               lg,
		KV:                   g.kv,
		AlarmStore:           as,
		AuthStore:            &guard{AuthStore: g.auth, g: g},
		Lessor:               &leases{Lessor: g.lessor, g: g},
		Cluster:              membership.NewCluster(lg),
		RaftStatus:           noRaft{},
		ConsistentIndex:      cindex.NewFakeConsistentIndex(0),
		Backend:              g.be,
		QuotaBackendBytesCfg: -1, // the quota raises an alarm by an entry of its own, and refuses nothing by itself
		WarningApplyDuration: math.MaxInt64,
	})
}

func (g *engine) close() {
	g.lessor.Stop()
	_ = g.auth.Close()
	_ = g.kv.Close()
	_ = g.be.Close()
}

// apply applies one entry.
func (g *engine) apply(e *effect.Entry) (*Effect, error) {
	fx := &Effect{Index: e.Index}
	typ, in := g.request(e)
	if in == nil {
		fx.Ignored = true
		return fx, nil
	}
	if in.Txn != nil && raftlog.AsksNothing(in.Txn) {
		return nil, &EntryError{Index: e.Index, What: "an operation of its transaction asks for nothing, which etcd refuses to propose, and at which a server that applied it would stop"}
	}
	if in.Txn != nil {
		g.looked += int64(ranges(in.Txn)) * int64(g.keys)
		most := int64(maxLooked)
		if g.kv.keep = g.be.Size() <= maxLive; g.kv.keep {
			most = maxPassed
		}
		if g.looked > most {
			return nil, &EntryError{Index: e.Index, What: fmt.Sprintf("compares of ranges would have looked at more than %d keys by then", most), Bounded: true}
		}
	}
	*g.x = Exec{Index: e.Index, Type: typ, User: in.GetHeader().GetUsername(), Request: in, store: g.auth, lessor: g.lessor}
	for _, r := range g.rules {
		if r.Request != nil && !r.Request(g.x) {
			fx.Ignored = true
			return fx, nil
		}
	}
	switch {
	case in.ClusterVersionSet != nil:
		g.version.set(in.ClusterVersionSet.Ver)
		fx.Ignored = true
		return fx, nil
	case in.Compaction != nil:
		if in.Compaction.Revision <= g.kv.Rev() {
			g.kv.compact = max(g.kv.compact, in.Compaction.Revision)
		}
		return fx, nil
	case !changesState(in):
		fx.Ignored = true
		return fx, nil
	}
	g.kv.made, g.kv.rev = nil, 0
	uber := g.uber
	for _, r := range g.rules {
		if r.Uncapped != nil && r.Uncapped(g.x) {
			uber = g.uncap
		}
	}
	before := g.auth.Revision()
	res := uber.Apply(&apply.InternalRaftRequestWrapper{InternalRaftRequest: in, SkipRangeExecution: in.Txn != nil}, membership.ApplyBoth)
	if res == nil {
		return nil, &EntryError{Index: e.Index, What: "etcd does not know what to do with it"}
	}
	fx.Err = res.Err
	fx.Revision, fx.Changes = g.kv.rev, g.kv.made
	g.keys += len(fx.Changes)
	for _, r := range g.rules {
		if r.After != nil {
			r.After(g.x, res.Err, g.auth.Revision() != before)
		}
	}
	return fx, nil
}

// request decodes an entry anew, with what the log's own reader takes out of it. It is nil for entries of etcd 2, of
// raft, and for those that do not decode; that of a put is valid until the next one.
func (g *engine) request(e *effect.Entry) (typ string, in *pb.InternalRaftRequest) {
	if e.Raw == nil || e.Raw.Type != raftlog.EntryNormal {
		return "", nil
	}
	r := e.RequestBy(&g.decoder)
	if r.Internal == nil {
		return "", nil
	}
	if !r.HasPassword {
		return r.Type, r.Internal
	}
	in = new(pb.InternalRaftRequest)
	if proto.Unmarshal(e.Raw.Data, in) != nil {
		return "", nil
	}
	return r.Type, in
}

// changesState leaves out reads, logins and what is about members.
func changesState(in *pb.InternalRaftRequest) bool {
	return in.Put != nil || in.DeleteRange != nil || in.Txn != nil || in.LeaseGrant != nil || in.LeaseRevoke != nil ||
		in.LeaseCheckpoint != nil || in.Alarm != nil || AuthWrite(in)
}

// final reads the tables in the end.
func (g *engine) final() (Final, error) {
	f := Final{Revision: g.kv.Rev(), Compact: g.kv.compact}
	for _, l := range g.lessor.Leases() {
		f.Leases = append(f.Leases, int64(l.ID))
	}
	slices.SortFunc(f.Leases, func(a, b int64) int { return cmp.Compare(uint64(a), uint64(b)) })
	for _, a := range g.alarms.Get(pb.AlarmType_NONE) {
		f.Alarms = append(f.Alarms, schema.AlarmMember{Member: a.MemberID, Type: a.Alarm.String()})
	}
	f.Auth = Auth{Enabled: g.auth.IsAuthEnabled(), Revision: g.auth.Revision()}
	f.AuthRevision = f.Auth.Revision + g.extraAuthRevision()
	us, err := g.auth.UserList(&pb.AuthUserListRequest{})
	if err != nil {
		return f, fmt.Errorf("list users: %w", err)
	}
	be := etcdschema.NewAuthBackend(zap.NewNop(), g.be)
	for _, name := range us.Users {
		u := be.GetUser(name)
		if u == nil {
			return f, fmt.Errorf("user %q is listed but not there", name)
		}
		f.Auth.Users = append(f.Auth.Users, schema.User{Name: name, Roles: slices.Sorted(slices.Values(u.Roles)), NoPassword: u.GetOptions().GetNoPassword()})
	}
	for _, r := range be.GetAllRoles() {
		role := schema.Role{Name: string(r.Name)}
		for _, p := range r.KeyPermission {
			role.Permissions = append(role.Permissions, schema.Permission{Type: p.PermType.String(), Key: string(p.Key), RangeEnd: string(p.RangeEnd)})
		}
		f.Auth.Roles = append(f.Auth.Roles, role)
	}
	slices.SortFunc(f.Auth.Users, func(a, b schema.User) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(f.Auth.Roles, func(a, b schema.Role) int { return cmp.Compare(a.Name, b.Name) })
	return f, nil
}

// tables calls f for the rows of the buckets that are neither keys nor about the cluster.
func (g *engine) tables(f func(bucket string, key, value []byte) error) error {
	g.be.ForceCommit()
	tx := g.be.ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	for _, b := range []backend.Bucket{etcdschema.Lease, etcdschema.Alarm, etcdschema.Auth, etcdschema.AuthUsers, etcdschema.AuthRoles} {
		if err := tx.UnsafeForEach(b, func(k, v []byte) error { return f(b.String(), k, v) }); err != nil {
			return err
		}
	}
	return nil
}

func (g *engine) extraAuthRevision() uint64 {
	var k uint64
	for _, r := range g.rules {
		if r.AuthRevision != nil {
			k += r.AuthRevision(g.x)
		}
	}
	return k
}

// store notes what is written, and answers questions about compaction as if it had been carried out.
type store struct {
	etcdmvcc.KV
	compact int64
	made    []effect.Change
	rev     int64
	keep    bool  // the keys that exist are kept once a range of them is asked for
	live    *live // these, nil until then
}

func (s *store) Write(t *traceutil.Trace) etcdmvcc.TxnWrite { return &writeTxn{s.KV.Write(t), s} }

func (s *store) Read(mode etcdmvcc.ReadTxMode, t *traceutil.Trace) etcdmvcc.TxnRead {
	return &readTxn{s.KV.Read(mode, t), s}
}

type readTxn struct {
	etcdmvcc.TxnRead
	s *store
}

func (r *readTxn) FirstRev() int64 { return r.s.compact }

// Range answers from the keys that are kept where what exists now is asked for, and all of it.
func (r *readTxn) Range(ctx context.Context, key, end []byte, opts etcdmvcc.RangeOptions) (*etcdmvcc.RangeResult, error) {
	if !r.s.keep || end == nil || opts != (etcdmvcc.RangeOptions{}) {
		return r.TxnRead.Range(ctx, key, end, opts)
	}
	if r.s.live == nil {
		var err error
		if r.s.live, err = newLive(r.TxnRead); err != nil {
			return nil, err
		}
	}
	kvs := r.s.live.between(key, end)
	return &etcdmvcc.RangeResult{KVs: kvs, Rev: r.Rev(), Count: len(kvs)}, nil
}

type writeTxn struct {
	etcdmvcc.TxnWrite
	s *store
}

func (w *writeTxn) End() {
	cs := w.Changes()
	if len(cs) > 0 {
		if w.s.live != nil {
			w.s.live.apply(cs)
		}
		w.s.rev = w.Rev()
		for _, kv := range cs {
			w.s.made = append(w.s.made, change(kv))
		}
	}
	w.TxnWrite.End()
	if len(cs) > 0 {
		w.s.rev = w.s.KV.Rev()
	}
}

func change(kv *mvccpb.KeyValue) effect.Change {
	if kv.CreateRevision == 0 {
		return effect.Change{Delete: true, Key: string(kv.Key)}
	}
	return effect.Change{Key: string(kv.Key), Value: kv.Value, Lease: kv.Lease, Create: kv.CreateRevision, Version: kv.Version}
}

// adopt replaces what the last entry made, if anything, by the rows of another member's main revision rev. Without rows
// the number counts as used if it is above the one before.
func (g *engine) adopt(fx *Effect, rev int64, rows []mvcc.Row, lease int64, has bool) error {
	g.kv.live = nil
	tx := g.be.BatchTx()
	tx.LockOutsideApply()
	if fx != nil && fx.Revision > 0 {
		for i, c := range fx.Changes {
			tx.UnsafeDelete(etcdschema.Key, rowKey(mvcc.Revision{Main: fx.Revision, Sub: int64(i)}, c.Delete))
		}
	}
	for i := range rows {
		tx.UnsafePut(etcdschema.Key, rowKey(rows[i].Rev, rows[i].Tombstone), rows[i].Value)
	}
	at := mvcc.Revision{Main: rev}.AppendKey(nil)
	tx.UnsafePut(etcdschema.Meta, []byte("scheduledCompactRev"), at)
	tx.UnsafePut(etcdschema.Meta, []byte("finishedCompactRev"), at)
	if lease != 0 {
		l := etcdschema.MustUnsafeGetLease(tx, lease)
		if has && l == nil {
			etcdschema.MustUnsafePutLease(tx, newLease(lease))
		} else if !has && l != nil {
			etcdschema.UnsafeDeleteLease(tx, l)
		}
	}
	tx.Unlock()
	g.be.ForceCommit()
	g.lessor.Recover(g.be, func() leaseTxn { return g.kv.Write(traceutil.TODO()) })
	return g.kv.Restore(g.be)
}

func rowKey(rev mvcc.Revision, tombstone bool) []byte {
	k := rev.AppendKey(nil)
	if tombstone {
		k = append(k, 't')
	}
	return k
}

// clusterVersion is what the lessor wants to know of the cluster.
type clusterVersion struct{ v *semver.Version }

func (c *clusterVersion) Version() *semver.Version { return c.v }

func (c *clusterVersion) set(v string) {
	if sv, err := semver.NewVersion(v); err == nil {
		c.v = sv
	}
}

// noRaft answers for a raft node that there is not.
type noRaft struct{}

func (noRaft) MemberID() types.ID     { return 0 }
func (noRaft) Leader() types.ID       { return 0 }
func (noRaft) CommittedIndex() uint64 { return 0 }
func (noRaft) AppliedIndex() uint64   { return 0 }
func (noRaft) Term() uint64           { return 0 }

// noAlarms is an alarm table that stays empty.
type noAlarms struct{}

func (noAlarms) CreateAlarmBucket()                       {}
func (noAlarms) MustPutAlarm(*pb.AlarmMember)             {}
func (noAlarms) MustDeleteAlarm(*pb.AlarmMember)          {}
func (noAlarms) GetAllAlarms() ([]*pb.AlarmMember, error) { return nil, nil }
func (noAlarms) ForceCommit()                             {}

// logger says nothing. Where etcd would end the process, it panics.
func logger() *zap.Logger {
	return zap.NewNop().WithOptions(zap.WithFatalHook(panicHook{}), zap.WithPanicHook(panicHook{}))
}

type panicHook struct{}

func (panicHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	what := []string{e.Message}
	for _, f := range fields {
		// Other fields may hold a request, and with it values.
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			what = append(what, err.Error())
		}
	}
	panic(strings.Join(what, ": "))
}

// guard asks the rules after etcd's own auth store.
type guard struct {
	auth.AuthStore
	g *engine
}

func (u *guard) check(c Check, ai *auth.AuthInfo, ask func() error) error {
	var err error
	if k := u.g.extraAuthRevision(); c.Kind != Admin && u.IsAuthEnabled() && ai != nil && ai.Revision != 0 && ai.Revision < u.AuthStore.Revision()+k {
		err = auth.ErrAuthOldRevision
	} else {
		err = ask()
	}
	for _, r := range u.g.rules {
		if r.Permit != nil {
			err = r.Permit(u.g.x, c, err)
		}
	}
	return err
}

func (u *guard) IsPutPermitted(ai *auth.AuthInfo, key []byte) error {
	return u.check(Check{Kind: Write, Key: string(key)}, ai, func() error { return u.AuthStore.IsPutPermitted(ai, key) })
}

func (u *guard) IsRangePermitted(ai *auth.AuthInfo, key, end []byte) error {
	return u.check(Check{Kind: Read, Key: string(key), End: string(end)}, ai, func() error { return u.AuthStore.IsRangePermitted(ai, key, end) })
}

func (u *guard) IsDeleteRangePermitted(ai *auth.AuthInfo, key, end []byte) error {
	return u.check(Check{Kind: Delete, Key: string(key), End: string(end)}, ai, func() error { return u.AuthStore.IsDeleteRangePermitted(ai, key, end) })
}

func (u *guard) IsAdminPermitted(ai *auth.AuthInfo) error {
	return u.check(Check{Kind: Admin}, ai, func() error { return u.AuthStore.IsAdminPermitted(ai) })
}

// leases hides what a rule says is not there.
type leases struct {
	lease.Lessor
	g *engine
}

type (
	leaseTxn = lease.TxnDelete
	leaseID  = lease.LeaseID
)

func (l *leases) hidden(id lease.LeaseID) bool {
	return slices.ContainsFunc(l.g.rules, func(r *Rule) bool { return r.HidesLease != nil && r.HidesLease(l.g.x, int64(id)) })
}

func (l *leases) Lookup(id lease.LeaseID) *lease.Lease {
	if l.hidden(id) {
		return nil
	}
	return l.Lessor.Lookup(id)
}

func (l *leases) Revoke(id lease.LeaseID) error {
	if l.hidden(id) {
		return lease.ErrLeaseNotFound
	}
	return l.Lessor.Revoke(id)
}
