package bugs

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// sim makes members by running one log under rules: what a bug does is planted by the rule that stands for it.
type sim struct {
	t   *testing.T
	log []raftlog.Entry
	n   uint64 // requests made
}

// ids of members, which request ids begin with.
var ids = map[string]uint64{"a": 0xa0a0000000000001, "b": 0xb0b0000000000002, "c": 0xc0c0000000000003}

func newSim(t *testing.T) *sim { return &sim{t: t} }

// add appends an entry that member by proposed for a user, in its nth process. It returns the entry's index.
func (s *sim) add(by string, process int, user string, authRevision uint64, in *pb.InternalRaftRequest) uint64 {
	s.t.Helper()
	s.n++
	id := (ids[by]&0xffff)<<48 | (uint64(1_000_000+process*100_000)<<8 + s.n)
	in.Header = &pb.RequestHeader{ID: id, Username: user, AuthRevision: authRevision}
	data, err := proto.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	index := uint64(len(s.log) + 1)
	s.log = append(s.log, raftlog.Entry{Index: index, Term: 2, Data: data})
	return index
}

func (s *sim) put(by, user string, rev uint64, key, value string, lease int64) uint64 {
	return s.add(by, 0, user, rev, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}})
}

// auth adds root and a user who may do everything below a prefix, and enables auth. It returns the auth revision.
func (s *sim) auth(users map[string]string) uint64 {
	do := func(in *pb.InternalRaftRequest) { s.add("a", 0, "", 0, in) }
	user := func(name, role string) {
		do(&pb.InternalRaftRequest{AuthUserAdd: &pb.AuthUserAddRequest{Name: name, Options: nil, HashedPassword: "JDJhJDA0JDAwMDA="}})
		do(&pb.InternalRaftRequest{AuthRoleAdd: &pb.AuthRoleAddRequest{Name: role}})
		if prefix := users[name]; prefix != "" {
			do(s.grant(role, prefix))
		}
		do(&pb.InternalRaftRequest{AuthUserGrantRole: &pb.AuthUserGrantRoleRequest{User: name, Role: role}})
	}
	user("root", "root")
	names := []string{}
	for u := range users {
		names = append(names, u)
	}
	slices.Sort(names)
	for _, u := range names {
		user(u, "r-"+u)
	}
	do(&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}})
	a, err := replay.AuthAt(context.Background(), s.entries(), uint64(len(s.log)), replay.Today())
	if err != nil || !a.Enabled {
		s.t.Fatalf("auth: %+v, %v", a, err)
	}
	return a.Revision
}

func (s *sim) grant(role, prefix string) *pb.InternalRaftRequest {
	end := []byte(prefix)
	end[len(end)-1]++
	return &pb.InternalRaftRequest{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{
		Name: role, Perm: permission(prefix, string(end)),
	}}
}

func (s *sim) entries() []effect.Entry {
	var es []effect.Entry
	for i := range s.log {
		e := &s.log[i]
		es = append(es, effect.Entry{Index: e.Index, Term: e.Term, Raw: e})
	}
	return es
}

// spec is one member.
type spec struct {
	label  string
	rules  []*replay.Rule
	tables func(t *schema.Tables)
	member func(m *Member)
}

// made is a member's effects.
type made struct {
	steps []effect.Step
	rows  []mvcc.Row
	revs  map[uint64]int64
}

// run makes the case of members that followed the log under their rules. The first one is the measure of the others.
func (s *sim) run(specs ...spec) *Case {
	s.t.Helper()
	c := &Case{Ctx: context.Background(), TempDir: s.t.TempDir()}
	all := make([]*made, len(specs))
	for i, sp := range specs {
		all[i] = &made{revs: map[uint64]int64{}}
		rev := int64(1)
		res, err := replay.Run(c.Ctx, replay.Empty(), s.entries(), replay.Today().With(sp.rules...), replay.Options{TempDir: c.TempDir, Each: func(fx *replay.Effect) {
			out := effect.NoEffect
			if fx.Revision > 0 {
				rev, out = fx.Revision, effect.Applied
				all[i].rows = append(all[i].rows, rowsOf(s.t, fx)...)
			}
			all[i].steps = append(all[i].steps, effect.Step{Index: fx.Index, Revision: fx.Revision, Outcome: out, Again: fx.Again})
			if !fx.Again {
				all[i].revs[fx.Index] = rev
			}
			for x := fx.Index; fx.Again && x <= uint64(len(s.log)); x++ {
				if _, later := all[i].revs[x]; later {
					all[i].revs[x] = rev
				}
			}
		}})
		if err != nil {
			s.t.Fatalf("%s: %v", sp.label, err)
		}
		c.Members = append(c.Members, s.member(sp, all[i], &res.Final))
	}
	c.Agreed = func(i, j int) int64 {
		a, b := all[i].rows, all[j].rows
		for n := range a {
			if n >= len(b) || a[n].Rev != b[n].Rev || !slices.Equal(a[n].Value, b[n].Value) {
				return a[n].Rev.Main - 1
			}
		}
		return 1 << 40
	}
	s.cause(c, all)
	return c
}

func rowsOf(t *testing.T, fx *replay.Effect) []mvcc.Row {
	var rows []mvcc.Row
	for n, ch := range fx.Changes {
		kv := &mvccpb.KeyValue{Key: []byte(ch.Key)}
		if !ch.Delete {
			kv = &mvccpb.KeyValue{Key: []byte(ch.Key), Value: ch.Value, Lease: ch.Lease, CreateRevision: ch.Create, ModRevision: fx.Revision, Version: ch.Version}
		}
		b, err := proto.Marshal(kv)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, mvcc.Row{Rev: mvcc.Revision{Main: fx.Revision, Sub: int64(n)}, Tombstone: ch.Delete, Value: b})
	}
	return rows
}

func (s *sim) member(sp spec, m *made, f *replay.Final) *Member {
	last := uint64(len(s.log))
	t := &schema.Tables{
		ConsistentIndex: last, HasConsistentIndex: true, Term: 2, HasTerm: true, ClusterVersion: "3.5.0",
		AuthEnabled: f.Auth.Enabled, AuthRevision: f.AuthRevision, Users: f.Auth.Users, Roles: f.Auth.Roles,
	}
	for _, id := range f.Leases {
		t.Leases = append(t.Leases, schema.LeaseRecord{ID: id, TTL: 60})
	}
	if sp.tables != nil {
		sp.tables(t)
	}
	out := &Member{
		Member: &inspect.Member{
			Label: sp.label,
			Log:   &raftlog.Log{NodeID: ids[sp.label], ClusterID: 1, HasMetadata: true, Entries: s.log, HasHardState: true, HardState: raftlog.HardState{Term: 2, Commit: last}},
			DB:    &inspect.DB{Tables: t, Rows: mvcc.NewTable(m.rows, nil), Whole: true, HasKeys: true},
		},
		Log: s.entries(), Whole: true, Through: last, Committed: last,
		Steps: func(f func(*effect.Step)) {
			for i := range m.steps {
				f(&m.steps[i])
			}
		},
		RevisionAt: func(index uint64) int64 {
			if index == 0 {
				return 1
			}
			return m.revs[index]
		},
		findings: []finding.Finding{},
	}
	if sp.member != nil {
		sp.member(out)
	}
	return out
}

// cause makes one cause of every entry with which a member did less, or more, than the first one.
func (s *sim) cause(c *Case, all []*made) {
	k := &Cause{Layer: "apply", Outcome: effect.Refused}
	ref := revisionsOf(all[0])
	for i := 1; i < len(all); i++ {
		odd := false
		revs := revisionsOf(all[i])
		for index := uint64(1); index <= uint64(len(s.log)); index++ {
			a, b := ref[index], revs[index]
			if len(a) == len(b) && (len(a) == 0 || len(all[0].group(a[0])) == len(all[i].group(b[0]))) {
				continue
			}
			odd = true
			if !slices.Contains(k.Entries, index) {
				k.Entries = append(k.Entries, index)
			}
			if k.Index == 0 || index < k.Index {
				k.Index = index
			}
			switch {
			case len(b) > len(a) && len(a) > 0:
				k.Again = true
			case len(a) == len(b):
				k.Outcome = effect.Partial
			}
			all[i].mark(index, k.Outcome)
		}
		if odd {
			k.Departed = append(k.Departed, i)
		}
	}
	if k.Index == 0 {
		return
	}
	slices.Sort(k.Entries)
	same := []int{}
	for i := range all {
		if !slices.Contains(k.Departed, i) {
			same = append(same, i)
		}
	}
	k.Groups = [][]int{same, k.Departed}
	c.Causes = []*Cause{k}
}

func (m *made) mark(index uint64, o effect.Outcome) {
	for i := range m.steps {
		if s := &m.steps[i]; s.Index == index && (s.Revision == 0 || o == effect.Partial) {
			s.Outcome = o
		}
	}
}

func (m *made) group(main int64) []mvcc.Row { return mvcc.NewTable(m.rows, nil).Group(main) }

func revisionsOf(m *made) map[uint64][]int64 {
	out := map[uint64][]int64{}
	for _, s := range m.steps {
		if s.Revision > 0 {
			out[s.Index] = append(out[s.Index], s.Revision)
		}
	}
	return out
}

// expect runs all hypotheses and wants one of them to have a status, and no other to be confirmed.
func expect(t *testing.T, c *Case, id string, want Status) {
	t.Helper()
	if len(c.Causes) == 0 {
		t.Fatal("nothing was planted")
	}
	of := *c
	of.Cause = c.Causes[0]
	var got Status
	for _, b := range All() {
		if b.Test == nil {
			continue
		}
		o := b.Test(&of)
		if b.ID == id {
			got = o.Status
		}
		if b.ID == id || o.Status == Confirmed {
			t.Logf("%s %s", b.ID, o.Status)
			for _, e := range o.Evidence {
				t.Logf("  %s", e)
			}
		}
		if o.Status == Confirmed && b.ID != id {
			t.Errorf("%s is confirmed", b.ID)
		}
	}
	if got != want {
		t.Errorf("%s is %q, want %q", id, got, want)
	}
}

func key(i int) string { return fmt.Sprintf("/k/%03d", i) }

func memberAttributes(id uint64) *membershippb.ClusterMemberAttrSetRequest {
	return &membershippb.ClusterMemberAttrSetRequest{Member_ID: id, MemberAttributes: &membershippb.Attributes{Name: "x"}}
}

// rowsBefore are a member's rows up to a main revision.
func rowsBefore(m *Member, rev int64) *mvcc.Table {
	return mvcc.NewTable(m.DB.Rows.Rows(0, m.DB.Rows.Lower(rev+1)), nil)
}
