package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3alarm"
	"go.etcd.io/etcd/server/v3/etcdserver/apply"
	"go.etcd.io/etcd/server/v3/etcdserver/cindex"
	"go.etcd.io/etcd/server/v3/lease"
	serverstorage "go.etcd.io/etcd/server/v3/storage"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Entry is one raft entry with what it decodes to.
type Entry struct {
	Index, Term uint64
	Type        raftpb.EntryType
	Data        []byte
	Request     *pb.InternalRaftRequest // nil for others
	Change      *raftpb.ConfChange      // nil for others
	Kind        string                  // as the document names it
}

func (e *Entry) raft() *raftpb.Entry {
	return &raftpb.Entry{Index: &e.Index, Term: &e.Term, Type: &e.Type, Data: e.Data}
}

func (e *Entry) same(o *Entry) bool {
	return e.Term == o.Term && e.Type == o.Type && bytes.Equal(e.Data, o.Data)
}

// Row is one row of the key bucket.
type Row struct{ Key, Value []byte }

// Effect is what one application of an entry did, as etcd's stores show it.
type Effect struct {
	Index         uint64
	Before, After int64 // revision
	Rows          []Row
	Tables        bool // a small table changed
	// Aside is true if that is not compared: the time that remains of a lease, or the version of the cluster, which members
	// work out of each other's.
	Aside bool
}

// traced tells whether it left something that a comparison looks at.
func (e *Effect) traced() bool { return e.After > e.Before || e.Tables && !e.Aside }

// replica is one member's state, kept by etcd's own stores.
type replica struct {
	id      uint64
	db      string
	be      backend.Backend
	ci      cindex.ConsistentIndexer
	hooks   *serverstorage.BackendHooks
	lessor  lease.Lessor
	kv      mvcc.KV
	alarms  *v3alarm.AlarmStore
	auth    auth.AuthStore
	cluster *membership.RaftCluster
	uber    apply.UberApplier
	lg      *zap.Logger

	index, term uint64
	compacted   int64
	lazy        uint64 // compactions from this entry on are scheduled only, 0 for none
	effects     []Effect
	sum         uint64 // of the small tables, if it is known
	summed      bool
}

func newReplica(db string, id uint64) (*replica, error) {
	if err := os.MkdirAll(filepath.Dir(db), 0o700); err != nil {
		return nil, err
	}
	r := &replica{id: id, db: db, lg: zap.NewNop(), compacted: -1}
	r.ci = cindex.NewConsistentIndex(nil)
	r.hooks = serverstorage.NewBackendHooks(r.lg, r.ci)
	r.be = backend.New(backend.BackendConfig{
		Path: db, BatchInterval: time.Hour, BatchLimit: math.MaxInt, MmapSize: 1 << 20, Logger: r.lg, UnsafeNoFsync: true, Hooks: r.hooks,
	})
	r.ci.SetBackend(r.be)
	r.cluster = membership.NewCluster(r.lg)
	r.cluster.SetBackend(schema.NewMembershipBackend(r.lg, r.be))
	r.cluster.SetID(types.ID(id), clusterID)
	r.lessor = lease.NewLessor(r.lg, r.be, r.cluster, lease.LessorConfig{MinLeaseTTL: 2})
	tokens, err := auth.NewTokenProvider(r.lg, "", nil, time.Hour)
	if err != nil {
		return nil, err
	}
	r.kv = mvcc.NewStore(r.lg, r.be, r.lessor, mvcc.StoreConfig{})
	r.auth = auth.NewAuthStore(r.lg, schema.NewAuthBackend(r.lg, r.be), tokens, 4)
	if r.alarms, err = v3alarm.NewAlarmStore(r.lg, schema.NewAlarmBackend(r.lg, r.be)); err != nil {
		return nil, err
	}
	r.uber = apply.NewUberApplier(apply.ApplierOptions{
		Logger: r.lg, KV: r.kv, AlarmStore: r.alarms, AuthStore: r.auth, Lessor: r.lessor, Cluster: r.cluster,
		RaftStatus: r, SnapshotServer: r, ConsistentIndex: r.ci, Backend: r.be,
		QuotaBackendBytesCfg: 1 << 30, WarningApplyDuration: time.Hour,
	})
	r.be.SetTxPostLockInsideApplyHook(func() {
		index, term := r.ci.ConsistentApplyingIndex()
		if index > r.ci.UnsafeConsistentIndex() {
			r.ci.SetConsistentIndex(index, term)
		}
	})
	return r, nil
}

// What the applier asks of a server.
func (r *replica) MemberID() types.ID     { return types.ID(r.id) }
func (r *replica) Leader() types.ID       { return types.ID(r.id) }
func (r *replica) CommittedIndex() uint64 { return r.index }
func (r *replica) AppliedIndex() uint64   { return r.index }
func (r *replica) Term() uint64           { return r.term }
func (r *replica) ForceSnapshot()         {}

// apply applies an entry as EtcdServer.apply does (server/etcdserver/server.go). The consistent index moves to it.
func (r *replica) apply(e *Entry) {
	r.ci.SetConsistentApplyingIndex(e.Index, e.Term)
	r.execute(e)
	r.moveTo(e)
}

// moveTo sets the consistent index without doing anything else.
func (r *replica) moveTo(e *Entry) {
	r.index, r.term = e.Index, e.Term
	if r.ci.ConsistentIndex() < e.Index {
		r.ci.SetConsistentIndex(e.Index, e.Term)
	}
}

// execute does what the entry asks, and notes what came of it.
func (r *replica) execute(e *Entry) {
	eff := Effect{Index: e.Index, Before: r.kv.Rev()}
	small := e.Request == nil || e.Request.Put == nil && e.Request.DeleteRange == nil && e.Request.Txn == nil
	if small && !r.summed {
		r.sum, r.summed = r.tables(), true
	}
	before := r.sum
	switch {
	case e.Change != nil:
		r.change(e.Change)
	case e.Request != nil && e.Request.Compaction != nil && r.lazy > 0 && e.Index >= r.lazy:
		r.schedule(e.Request.Compaction.Revision)
	case e.Request != nil:
		res := r.uber.Apply(&apply.InternalRaftRequestWrapper{InternalRaftRequest: proto.Clone(e.Request).(*pb.InternalRaftRequest), SkipRangeExecution: true}, membership.ApplyBoth)
		if c := e.Request.Compaction; c != nil && res.Err == nil {
			<-res.Physc
			r.compacted = c.Revision
		}
	}
	eff.After = r.kv.Rev()
	if eff.After > eff.Before {
		eff.Rows = r.rows(eff.After)
	}
	if small {
		r.sum = r.tables() // nothing else changes them
	}
	eff.Tables = r.sum != before
	eff.Aside = e.Request.GetLeaseCheckpoint() != nil || layerOf(e.Kind) == "meta"
	r.effects = append(r.effects, eff)
}

// schedule is the first half of a compaction: a member that stops then has noted the revision and removed nothing.
func (r *replica) schedule(rev int64) {
	if rev <= r.compacted || rev > r.kv.Rev() {
		return
	}
	tx := r.be.BatchTx()
	tx.LockOutsideApply()
	mvcc.UnsafeSetScheduledCompact(tx, rev)
	tx.Unlock()
	r.compacted = rev
}

func (r *replica) change(cc *raftpb.ConfChange) {
	if r.cluster.ValidateConfigurationChange(cc, membership.ApplyBoth) != nil {
		return
	}
	switch cc.GetType() {
	case raftpb.ConfChangeAddNode, raftpb.ConfChangeAddLearnerNode:
		var c membership.ConfigChangeContext
		if err := json.Unmarshal(cc.Context, &c); err != nil {
			panic(err)
		}
		if c.IsPromote {
			r.cluster.PromoteMember(c.Member.ID, membership.ApplyBoth)
		} else {
			r.cluster.AddMember(&c.Member, membership.ApplyBoth)
		}
	case raftpb.ConfChangeRemoveNode:
		r.cluster.RemoveMember(types.ID(cc.GetNodeId()), membership.ApplyBoth)
	case raftpb.ConfChangeUpdateNode:
		var m membership.Member
		if err := json.Unmarshal(cc.Context, &m); err != nil {
			panic(err)
		}
		r.cluster.UpdateRaftAttributes(m.ID, m.RaftAttributes, membership.ApplyBoth)
	}
	r.hooks.SetConfState(r.confState())
}

func (r *replica) confState() *raftpb.ConfState {
	cs := &raftpb.ConfState{}
	for _, m := range r.cluster.Members() {
		if m.IsLearner {
			cs.Learners = append(cs.Learners, uint64(m.ID))
		} else {
			cs.Voters = append(cs.Voters, uint64(m.ID))
		}
	}
	return cs
}

// rows reads the rows of one main revision.
func (r *replica) rows(main int64) []Row {
	lo := mvcc.RevToBytes(mvcc.Revision{Main: main}, mvcc.NewRevBytes())
	hi := mvcc.RevToBytes(mvcc.Revision{Main: main + 1}, mvcc.NewRevBytes())
	tx := r.be.ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	ks, vs := tx.UnsafeRange(schema.Key, lo, hi, 0)
	rows := make([]Row, len(ks))
	for i := range ks {
		rows[i] = Row{bytes.Clone(ks[i]), bytes.Clone(vs[i])}
	}
	return rows
}

// smallTables are the buckets that hold something else than keys and bookkeeping.
var smallTables = []backend.Bucket{
	schema.Lease, schema.Alarm, schema.Members, schema.MembersRemoved, schema.Auth, schema.AuthUsers, schema.AuthRoles, schema.Cluster,
}

// tables is a hash of the small tables.
func (r *replica) tables() uint64 {
	var h uint64
	tx := r.be.ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	for _, b := range smallTables {
		_ = tx.UnsafeForEach(b, func(k, v []byte) error {
			// The order is not that of the keys: what was not committed yet comes first. So the rows are summed up, each hashed
			// well enough for a change of one not to be made up for by that of another.
			sum := sha256.Sum256(slices.Concat([]byte(b.String()), []byte{0}, k, []byte{0}, v))
			h += binary.BigEndian.Uint64(sum[:])
			return nil
		})
	}
	return h
}

// force sets the consistent index, back as well as forth.
func (r *replica) force(index, term uint64) {
	tx := r.be.BatchTx()
	tx.LockOutsideApply()
	schema.UnsafeUpdateConsistentIndexForce(tx, index, term)
	tx.Unlock()
	r.ci.SetConsistentIndex(index, term)
}

func (r *replica) close() error {
	r.lessor.Stop()
	r.kv.Commit()
	return closeAll(r.kv.Close, r.auth.Close, r.be.Close)
}

func closeAll(fs ...func() error) error {
	for _, f := range fs {
		if err := f(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return nil
}

// live is the keyspace as etcd shows it now.
func (r *replica) live() map[string]string {
	res, err := r.kv.Range(ctx, []byte{0}, []byte{}, mvcc.RangeOptions{})
	if err != nil {
		panic(err)
	}
	m := make(map[string]string, len(res.KVs))
	for _, kv := range res.KVs {
		m[string(kv.Key)] = fmt.Sprintf("%d/%s", kv.Lease, kv.Value)
	}
	return m
}

// leases are the ids of the lease table, sorted.
func (r *replica) leases() []int64 {
	var ids []int64
	for _, l := range r.lessor.Leases() {
		ids = append(ids, int64(l.ID))
	}
	slices.Sort(ids)
	return ids
}
