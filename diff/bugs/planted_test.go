package bugs

import (
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

func permission(key, end string) *authpb.Permission {
	return &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte(key), RangeEnd: []byte(end)}
}

func old(t *schema.Tables) { t.HasTerm, t.Term, t.ClusterVersion = false, 0, "" }

func grantLease(s *sim, user string, rev uint64, id, ttl int64) uint64 {
	return s.add("a", 0, user, rev, &pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: id, TTL: ttl}})
}

func opPut(key, value string, lease int64, prev bool) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease, PrevKv: prev}}}
}

func opRange(key string, rev int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key), Revision: rev}}}
}

func opTxn(ops ...*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: ops}}}
}

func txn(ops ...*pb.RequestOp) *pb.InternalRaftRequest {
	return &pb.InternalRaftRequest{Txn: &pb.TxnRequest{Success: ops}}
}

// some writes around what is planted.
func (s *sim) fill(by string, process int, user string, rev uint64, n int) {
	for range n {
		s.add(by, process, user, rev, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte(key(len(s.log) % 7)), Value: []byte{byte(len(s.log))}}})
	}
}

func leaseRevokes(s *sim, user string, auth bool) {
	var rev uint64
	if auth {
		rev = s.auth(map[string]string{"app": "/k/"})
	}
	grantLease(s, "", 0, 7, 60)
	s.add("a", 0, "app", rev, &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("/k/leased"), Lease: 7}})
	s.fill("a", 0, "app", rev, 5)
	s.add("b", 0, user, rev*uint64(len(user)&1), &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}})
	s.fill("a", 0, "app", rev, 5)
}

func TestLeaseRevokeUnasked(t *testing.T) {
	s := newSim(t)
	leaseRevokes(s, "", true)
	expect(t, s.run(
		spec{label: "a", rules: rules(replay.RevokeUnasked()), tables: old}, spec{label: "b", rules: rules(replay.RevokeUnasked()), tables: old},
		spec{label: "c", tables: old}), "etcd-11689", Confirmed)

	// The same entry skipped by a member that followed the old rule before and after: another reason.
	s = newSim(t)
	leaseRevokes(s, "", false)
	c := s.run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", rules: rules(replay.Omit(8)), tables: old})
	expect(t, c, "etcd-11689", Refuted)
}

func TestLeasePutUnasked(t *testing.T) {
	plant := func(prefix string) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/", "other": prefix})
		grantLease(s, "", 0, 7, 60)
		s.put("a", "app", rev, "/k/x", "1", 7)
		s.put("a", "other", rev, "/other/x", "1", 7)
		s.fill("a", 0, "app", rev, 5)
		return s.run(spec{label: "a", rules: rules(replay.LeasePutUnasked()), tables: old}, spec{label: "b", rules: rules(replay.LeasePutUnasked()), tables: old}, spec{label: "c", tables: old})
	}
	expect(t, plant("/other/"), "lease-put-auth-mixed-3.2-3.3", Confirmed)

	s := newSim(t)
	grantLease(s, "", 0, 7, 60)
	s.put("a", "", 0, "/k/x", "1", 7)
	s.fill("a", 0, "", 0, 5)
	expect(t, s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rules(replay.Omit(2))}), "lease-put-auth-mixed-3.2-3.3", "")
}

func TestRequestSemantics(t *testing.T) {
	plant := func(old32 []*replay.Rule) *Case {
		s := newSim(t)
		s.fill("a", 0, "", 0, 5)
		s.add("a", 0, "", 0, txn(opPut("/k/n", "1", 0, false), opTxn(opPut("/k/nested", "1", 0, false))))
		s.fill("a", 0, "", 0, 5)
		return s.run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", rules: old32, tables: old})
	}
	c := plant(rules(replay.OldCompares()))
	c.Causes[0].Outcome = effect.Altered // neither half a transaction nor none of it
	expect(t, c, "mixed-minor-request-semantics", Confirmed)
	c = plant(rules(replay.Omit(6)))
	expect(t, c, "mixed-minor-request-semantics", Refuted)
}

// crashed is a log in which member c restarts behind entry 6.
func crashed(t *testing.T) *sim {
	s := newSim(t)
	s.fill("a", 0, "", 0, 3)
	s.fill("c", 0, "", 0, 2)
	s.put("a", "", 0, "/k/lost", "x", 0)
	s.fill("c", 1, "", 0, 2)
	s.fill("a", 0, "", 0, 4)
	return s
}

func TestSkippedAfterCrash(t *testing.T) {
	expect(t, crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rules(replay.Omit(6))}), "etcd-13766", Confirmed)

	s := newSim(t) // no restart
	s.fill("c", 0, "", 0, 12)
	expect(t, s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rules(replay.Omit(6))}), "etcd-13766", Refuted)

	// 3.4 saves the index with the changes.
	expect(t, crashed(t).run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", rules: rules(replay.Omit(6)), tables: old}), "etcd-13766", Refuted)
}

func TestAppliedTwice(t *testing.T) {
	twice := rules(replay.Repeat(4, 6, 1))
	expect(t, crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice}), "etcd-14685", Confirmed)
	expect(t, crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice, tables: old}), "etcd-14685", Refuted)

	// A term that is too high explains it otherwise.
	high := func(t *schema.Tables) { t.Term = 9 }
	c := crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice, tables: high})
	expect(t, c, "etcd-13514", Confirmed)
	expect(t, crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice}), "etcd-14685", Confirmed)
	c = crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice})
	of := *c
	of.Cause = c.Causes[0]
	if o := staleTerm(&of); o.Status != Refuted {
		t.Errorf("etcd-13514 is %q for a term that fits", o.Status)
	}
}

// snapshotAt makes a member lack the entries up to index, and note a snapshot instead.
func snapshotAt(from, index uint64) func(m *Member) {
	return func(m *Member) {
		l := *m.Member.Log
		l.Entries = append(append([]raftlog.Entry{}, l.Entries[:from-1]...), l.Entries[index:]...)
		l.Snapshots = []raftlog.SnapshotRecord{{Index: index, Term: 2}}
		m.Member.Log = &l
	}
}

func TestOverwrittenIndex(t *testing.T) {
	twice := rules(replay.Repeat(4, 6, 1))
	c := crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice, member: snapshotAt(2, 3)})
	expect(t, c, "etcd-13922", Confirmed)
	c = crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: twice})
	of := *c
	of.Cause = c.Causes[0]
	if o := overwrittenIndex(&of); o.Status != Refuted {
		t.Errorf("etcd-13922 is %q without a snapshot", o.Status)
	}
}

func TestAuthReplayed(t *testing.T) {
	plant := func(process int) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		s.fill("a", 0, "app", rev, 3)
		s.fill("c", 0, "app", rev, 1)
		first := s.add("a", 0, "root", rev, s.grant("r-app", "/more/"))
		last := s.add("a", 0, "root", rev+1, s.grant("r-app", "/less/"))
		s.fill("a", 0, "app", rev+2, 3)
		s.fill("c", process, "app", rev+4, 2)
		rs := rules(replay.RepeatKind(first, last, 1, "auth", func(e *effect.Entry) bool { return replay.AuthWrite(e.Request().Internal) }))
		c := s.run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", rules: rs, tables: old})
		follows := c.Causes[0]
		c.Causes = []*Cause{{Layer: "auth", Index: first, Entries: []uint64{first, last}, Again: true, Departed: []int{2}, Groups: [][]int{{0, 1}, {2}}}, follows}
		follows.CausedBy = c.Causes[0]
		return c
	}
	expect(t, plant(1), "etcd-11651", Confirmed)
	expect(t, plant(0), "etcd-11651", Refuted)
}

// TestAuthReplayedUnequally restarts one member once and another one twice behind the same entries. What is told of them must hold for each.
func TestAuthReplayedUnequally(t *testing.T) {
	plant := func(told map[int]int) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		s.fill("a", 0, "app", rev, 3)
		s.fill("b", 0, "app", rev, 1)
		s.fill("c", 0, "app", rev, 1)
		first := s.add("a", 0, "root", rev, s.grant("r-app", "/more/"))
		last := s.add("a", 0, "root", rev+1, s.grant("r-app", "/less/"))
		s.fill("a", 0, "app", rev+2, 3)
		s.fill("b", 1, "app", rev+4, 2)
		s.fill("c", 1, "app", rev+6, 2)
		again := func(times int) []*replay.Rule { return rules(replay.Repeat(first, last, times)) }
		c := s.run(spec{label: "a", tables: old}, spec{label: "b", rules: again(1), tables: old}, spec{label: "c", rules: again(2), tables: old})
		c.RulesBesides = func(int, *Cause) []*replay.Rule { return nil }
		c.Causes = []*Cause{{
			Layer: "auth", Index: first, Entries: []uint64{first, last}, Again: true, Departed: []int{1, 2}, Groups: [][]int{{0}, {1}, {2}},
			Fault: true, Onset: map[int]uint64{1: first, 2: first}, Times: told,
		}}
		return c
	}
	expect(t, plant(map[int]int{1: 1, 2: 2}), "etcd-11651", Confirmed)
	expect(t, plant(map[int]int{1: 2, 2: 1}), "etcd-11651", Consistent)
}

func TestRepeatedGrants(t *testing.T) {
	plant := func(prefix string) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		s.add("a", 0, "root", rev, s.grant("r-app", prefix))
		s.fill("a", 0, "root", rev+5, 3)
		c := s.run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", rules: rules(replay.RepeatedGrantsIgnored()), tables: old})
		if prefix != "/k/" {
			c.Members[2].DB.Tables.AuthRevision++ // for another reason
		}
		c.Causes = []*Cause{{Layer: "auth", Departed: []int{2}, Groups: [][]int{{0, 1}, {2}}}}
		return c
	}
	expect(t, plant("/k/"), "etcd-11652", Consistent)
	expect(t, plant("/new/"), "etcd-11652", Refuted)
}

func TestPermissionCache(t *testing.T) {
	plant := func(process int, change func(m *Member), rs ...*replay.Rule) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		n := uint64(len(s.log))
		s.fill("c", 0, "app", rev, 4)
		s.fill("c", process, "root", rev, 1)
		s.fill("a", 0, "app", rev, 4)
		if len(rs) == 0 {
			rs = rules(replay.Denied(nil, n+6, 1<<62))
		}
		if change == nil {
			change = func(*Member) {}
		}
		return s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rs, member: change})
	}
	n := uint64(len(func() *sim { s := newSim(t); s.auth(map[string]string{"app": "/k/"}); return s }().log))
	expect(t, plant(0, snapshotAt(n+1, n+4)), "etcd-14571", Confirmed)
	expect(t, plant(0, nil), "etcd-14571", Refuted)
	expect(t, plant(1, nil), "etcd-14409", Confirmed)
	expect(t, plant(0, nil), "etcd-14409", Refuted)
}

func TestRangeRevision(t *testing.T) {
	plant := func(proposer string) *Case {
		s := newSim(t)
		s.fill("a", 0, "", 0, 5)
		s.add(proposer, 0, "", 0, txn(opRange("/k/000", 9999), opPut("/k/t", "1", 0, false)))
		s.fill("a", 0, "", 0, 5)
		return s.run(spec{label: "a", rules: rules(replay.RangesStripped(nil))}, spec{label: "b", rules: rules(replay.RangesStripped(nil))}, spec{label: "c"})
	}
	expect(t, plant("c"), "etcd-18667", Confirmed)
	c := plant("a")
	of := *c
	of.Cause = c.Causes[0]
	if o := ownReads(&of); o.Status != Refuted {
		t.Errorf("etcd-18667 is %q where another member proposed it", o.Status)
	}
}

func TestNegativeLease(t *testing.T) {
	plant := func(id int64) *Case {
		s := newSim(t)
		grantLease(s, "", 0, id, 60)
		s.fill("a", 0, "", 0, 3)
		at := s.put("a", "", 0, "/k/leased", "1", id)
		s.fill("a", 0, "", 0, 3)
		return s.run(spec{label: "a", tables: old}, spec{label: "b", tables: old}, spec{label: "c", tables: old, rules: rules(replay.LeasesMissing("leases", at, func(x int64) bool { return x == id }))})
	}
	expect(t, plant(-5), "etcd-12535", Confirmed)
	expect(t, plant(5), "etcd-12535", "")
}

func TestHalfTxn(t *testing.T) {
	plant := func(rs ...*replay.Rule) *Case {
		s := newSim(t)
		s.fill("a", 0, "", 0, 3)
		s.add("a", 0, "", 0, txn(opPut("/k/1", "1", 0, false), opPut("/k/2", "1", 0, false), opPut("/k/3", "1", 0, false)))
		s.fill("a", 0, "", 0, 3)
		return s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rs})
	}
	expect(t, plant(replay.Cut(4, 2)), "etcd-18679", Confirmed)
	// The last operations are there, the first one is not: it did not stop halfway.
	skip := &replay.Rule{Name: "without the first operation", Request: func(x *replay.Exec) bool {
		if x.Index == 4 {
			x.Request.Txn.Success = x.Request.Txn.Success[1:]
		}
		return true
	}}
	expect(t, plant(skip), "etcd-18679", Refuted)
}

func TestNestedUnchecked(t *testing.T) {
	plant := func(inner string) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		s.add("a", 0, "app", rev, txn(opPut("/k/1", "1", 0, false), opTxn(opPut(inner, "1", 0, false))))
		s.fill("a", 0, "app", rev, 3)
		return s.run(spec{label: "a", rules: rules(replay.NestedUnchecked())}, spec{label: "b", rules: rules(replay.NestedUnchecked())}, spec{label: "c"})
	}
	expect(t, plant("/secret"), "cve-2026-33343", Confirmed)
	if c := plant("/k/2"); len(c.Causes) > 0 {
		t.Error("members parted over what the user may do")
	}
	// All members hold it: it was used.
	s := newSim(t)
	rev := s.auth(map[string]string{"app": "/k/"})
	s.add("a", 0, "app", rev, txn(opTxn(opPut("/secret", "1", 0, false))))
	s.fill("a", 0, "app", rev, 3)
	c := s.run(spec{label: "a", rules: rules(replay.NestedUnchecked())}, spec{label: "b", rules: rules(replay.NestedUnchecked())})
	if o := Find("cve-2026-33343").All(c); o.Status != Confirmed {
		t.Errorf("a nested write that no role allows is %q", o.Status)
	}
}

func TestTxnPutUnchecked(t *testing.T) {
	s := newSim(t)
	rev := s.auth(map[string]string{"app": "/k/", "other": "/other/"})
	grantLease(s, "", 0, 7, 60)
	s.put("a", "app", rev, "/k/x", "1", 7)
	s.add("a", 0, "other", rev, txn(opPut("/other/1", "1", 7, false)))
	s.fill("a", 0, "app", rev, 3)
	c := s.run(spec{label: "a", rules: rules(replay.TxnPutUnchecked())}, spec{label: "b", rules: rules(replay.TxnPutUnchecked())}, spec{label: "c"})
	of := *c
	of.Cause = c.Causes[0]
	if o := txnPutUnchecked(&of); o.Status != Confirmed {
		t.Errorf("etcd-21682 is %q: %q", o.Status, o.Evidence)
	}
	s = newSim(t)
	rev = s.auth(map[string]string{"app": "/k/"})
	at := s.add("a", 0, "app", rev, txn(opPut("/k/1", "1", 0, true)))
	s.fill("a", 0, "app", rev, 3)
	expect(t, s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rules(replay.Omit(at))}), "etcd-21682", Refuted)
}

func TestRootLeaseRevision(t *testing.T) {
	plant := func(behind uint64) *Case {
		s := newSim(t)
		rev := s.auth(map[string]string{"app": "/k/"})
		grantLease(s, "", 0, 7, 60)
		s.put("a", "app", rev, "/k/x", "1", 7)
		s.add("a", 0, "root", rev-behind, &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}})
		s.fill("a", 0, "app", rev, 3)
		return s.run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rules(replay.LeaseKeysAlwaysAsked())})
	}
	expect(t, plant(1), "etcd-16019", Confirmed)
	if c := plant(0); len(c.Causes) > 0 {
		t.Error("members parted over a current auth revision")
	}
}

func TestNestedQuota(t *testing.T) {
	plant := func(op *pb.RequestOp) *Case {
		s := newSim(t)
		s.fill("a", 0, "", 0, 3)
		s.add("a", 0, "", 0, &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: pb.AlarmType_NOSPACE}})
		s.add("a", 0, "", 0, txn(op))
		s.add("a", 0, "", 0, &pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 1, Alarm: pb.AlarmType_NOSPACE}})
		s.fill("a", 0, "", 0, 3)
		return s.run(spec{label: "a", rules: rules(replay.NestedPutsFree())}, spec{label: "b", rules: rules(replay.NestedPutsFree())}, spec{label: "c"})
	}
	expect(t, plant(opTxn(opPut("/k/1", "1", 0, false))), "etcd-22167", Confirmed)
	if c := plant(opPut("/k/1", "1", 0, false)); len(c.Causes) > 0 {
		t.Error("members parted over a put that all of them refuse")
	}
}

func TestLongLease(t *testing.T) {
	plant := func(ttl int64) *Case {
		s := newSim(t)
		grantLease(s, "", 0, 7, ttl)
		s.put("a", "", 0, "/k/x", "1", 7)
		s.fill("a", 0, "", 0, 3)
		c := s.run(spec{label: "a", tables: old, rules: rules(replay.AnyTTL())}, spec{label: "b", tables: old, rules: rules(replay.AnyTTL())}, spec{label: "c", tables: old})
		for _, m := range c.Members {
			for i := range m.DB.Tables.Leases {
				m.DB.Tables.Leases[i].TTL = ttl
			}
		}
		return c
	}
	c := plant(maxTTL + 1)
	c.Causes[0].Leases = []int64{7}
	of := *c
	of.Cause = &Cause{Layer: "lease", Index: 1, Leases: []int64{7}, Groups: [][]int{{0, 1}, {2}}}
	if o := longLease(&of); o.Status != Confirmed {
		t.Errorf("etcd-9374 is %q: %q", o.Status, o.Evidence)
	}
	if o := longLeases(c, c.Members[0]); o.Status != Confirmed {
		t.Errorf("a lease of more than %d s is %q", int64(maxTTL), o.Status)
	}
	if c := plant(60); len(c.Causes) > 0 {
		t.Error("members parted over a lease of a minute")
	}
}

// TestMoreRevisions is a member of which rows differ that compaction has left nothing to explain: more revisions than others have come of entries that were
// applied again.
func TestMoreRevisions(t *testing.T) {
	plant := func(rs ...*replay.Rule) *Case {
		c := crashed(t).run(spec{label: "a"}, spec{label: "b"}, spec{label: "c", rules: rs})
		c.Causes = []*Cause{{Layer: "storage", Revision: 2, Groups: [][]int{{0, 1}, {2}}}}
		return c
	}
	expect(t, plant(replay.Repeat(4, 6, 1)), "etcd-14685", Consistent)
	expect(t, plant(replay.Omit(6)), "etcd-14685", "")
	c := plant(replay.Repeat(4, 6, 1))
	c.Members[2].DB.Tables.HasTerm, c.Members[2].DB.Tables.ClusterVersion = false, "3.4.0"
	expect(t, c, "etcd-14685", "")
}
