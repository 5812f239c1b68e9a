package bugs

import (
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/replay"
)

// TestUpgraded holds a member that gave up some of the old rules at an entry against the bugs that are about one of these each: the one that made
// the difference is confirmed, whatever else the versions have in common.
func TestUpgraded(t *testing.T) {
	of35, of36 := authz.Rules{NestedUnasked: true, TxnPutsByKey: true}, authz.Rules{TxnPutsByKey: true}
	of33 := of35
	of33.RootAsked = true
	of32 := of35
	of32.LeasesUnasked = true
	revoke := &pb.InternalRaftRequest{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 7}}
	for _, c := range []struct {
		name          string
		before, after authz.Rules
		asks          func(s *sim, rev uint64)
		want          string
	}{
		{"3.2 to 3.3", of32, of33, func(s *sim, _ uint64) { s.add("a", 0, "", 0, revoke) }, "etcd-11689"},
		{"3.5.9 to 3.5.10", of33, of35, func(s *sim, rev uint64) { s.add("a", 0, "root", rev-1, revoke) }, "etcd-16019"},
		{"3.5.27 to 3.5.28", of35, of36, func(s *sim, rev uint64) { s.add("a", 0, "other", rev, txn(opTxn(opPut("/k/1", "2", 0, false)))) }, "cve-2026-33343"},
		{"3.5.29 to 3.5.30", of36, authz.Rules{}, func(s *sim, rev uint64) { s.add("a", 0, "other", rev, txn(opPut("/other/1", "2", 7, false))) }, "etcd-21682"},
		{"3.5.9 to 3.5.30", of33, authz.Rules{}, func(s *sim, rev uint64) { s.add("a", 0, "other", rev, txn(opPut("/other/1", "2", 7, false))) }, "etcd-21682"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t)
			rev := s.auth(map[string]string{"app": "/k/", "other": "/other/"})
			grantLease(s, "", 0, 7, 60)
			s.put("a", "app", rev, "/k/x", "1", 7)
			s.put("a", "app", rev, "/k/y", "1", 7)
			// Under the old rules both of these pass by then, on all members, where nobody is asked.
			s.add("a", 0, "other", rev, txn(opPut("/other/0", "1", 7, false)))
			s.add("a", 0, "other", rev, txn(opTxn(opPut("/k/z", "1", 0, false))))
			s.fill("a", 0, "app", rev, 3)
			onset := uint64(len(s.log)) + 1
			c.asks(s, rev)
			s.fill("a", 0, "app", rev, 3)
			before, after := replay.Older(c.before, nil), replay.Older(c.after, nil)
			versions := []Version{{From: 1, Rules: before}, {From: onset, Rules: after}}
			k := s.run(spec{label: "a", rules: before, tables: old}, spec{label: "b", rules: before, tables: old}, spec{label: "c", rules: During(versions), tables: old})
			k.RulesBesides = func(int, *Cause) []*replay.Rule { return nil }
			k.Versions = func(i int) []Version {
				if i == 2 {
					return versions
				}
				return versions[:1]
			}
			if len(k.Causes) == 0 {
				t.Fatal("nothing was planted")
			}
			cause := k.Causes[0]
			cause.Fault, cause.OtherRules, cause.Onset, cause.Times = true, true, map[int]uint64{2: onset}, map[int]int{}
			expect(t, k, c.want, Confirmed)
			if !slices.Contains([]string{"cve-2026-33343", "etcd-21682"}, c.want) {
				return
			}
			// That it was used by then is told of the old members, whatever the cause is.
			for _, id := range []string{"cve-2026-33343", "etcd-21682"} {
				holds := map[string]bool{"cve-2026-33343": c.before.NestedUnasked, "etcd-21682": c.before.TxnPutsByKey}[id]
				if o := Find(id).All(k); (o.Status == Confirmed) != holds {
					t.Errorf("%s among all members: %q", id, o.Status)
				}
			}
		})
	}
}
