package authz

import (
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// What the auth store was before a log begins comes out of what it is in the end, if requests show by the auth revision they
// were checked at when writes had an effect. Histories are of few names, so that many writes have none.
func TestBaseIsWhatWasBefore(t *testing.T) {
	var found, moments, revisions, asked, right int
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 4))
		var writes []Write
		for i := range uint64(40) {
			writes = append(writes, Write{Index: 10 + 2*i, Request: &raftlog.Request{Internal: randomWrite(r), User: "root"}})
		}
		truth := New().run(writes)
		cut := 1 + r.IntN(len(writes)-1)
		var checks []Check
		for n := cut; n < len(writes); n++ {
			at, rev := writes[n].Index-1, truth.states[n].Revision
			switch k := len(checks); {
			case !truth.states[n].Enabled:
			case k == 0 || rev > checks[k-1].Revision:
				checks = append(checks, Check{at, at, rev})
			default:
				checks[k-1].Last = at
			}
		}
		tables := asTables(truth.last())
		s, _ := Base(writes[cut:], checks, tables)
		if s == nil {
			continue
		}
		found++
		got := s.run(writes[cut:])
		if !got.last().Equal(tables) {
			t.Fatalf("seed %d: the log does not lead from what was before to the tables", seed)
		}
		for n := range writes[cut:] {
			o, want := got.states[n], truth.states[cut+n]
			if !want.Enabled {
				continue // nothing is refused then
			}
			if moments++; o.Revision == want.Revision {
				revisions++
			}
			for _, user := range []string{"root", "ann", "bob"} {
				q := &raftlog.Request{User: user, AuthRevision: want.Revision, Internal: &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("b/1")}}}
				if o.Unsure(user) {
					continue
				}
				if asked++; o.Denies(q, nil, Rules{}) == want.Denies(q, nil, Rules{}) {
					right++
				}
			}
		}
	}
	t.Logf("%d of 500 found; auth on at %d moments, the revision right at %d; %d of %d answers right", found, moments, revisions, right, asked)
	if found < 400 || moments < 300 || revisions < moments*93/100 || right < asked*93/100 {
		t.Errorf("%d of 500 found; auth on at %d moments, the revision right at %d; %d of %d answers right", found, moments, revisions, right, asked)
	}
}
