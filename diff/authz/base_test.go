package authz

import (
	"math/rand/v2"
	"testing"

	"etcd-autopsy/inspect/raftlog"
)

// What the auth store was before a log begins comes out of what it is in the end, as far as requests show by the auth
// revision they were checked at when writes had an effect: behind the log's first writes it is known which these were.
func TestBaseIsWhatWasBefore(t *testing.T) {
	known, off, enabled := 0, 0, 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 4))
		var writes []Write
		for i := range uint64(40) {
			writes = append(writes, Write{Index: 10 + 2*i, Request: &raftlog.Request{Internal: randomWrite(r), User: "root"}})
		}
		truth := Plain(writes)
		cut := 1 + r.IntN(len(writes)-1)
		var checks []Check
		for n := cut; n < len(writes); n++ {
			if rev := truth.states[n].Revision; len(checks) == 0 || rev > checks[len(checks)-1].Revision {
				checks = append(checks, Check{writes[n].Index - 1, writes[n].Index - 1, rev})
			} else {
				checks[len(checks)-1].Last = writes[n].Index - 1
			}
		}
		tables := asTables(truth.last())
		s := Base(writes[cut:], checks, tables)
		if s == nil {
			continue
		}
		known++
		got := s.run(writes[cut:], once)
		if !got.last().Equal(tables) {
			t.Fatalf("seed %d: the log does not lead from what was before to the tables", seed)
		}
		for n, w := range writes[cut:] {
			o, want := got.states[n], truth.states[cut+n]
			if o.Revision != want.Revision {
				t.Logf("seed %d: before entry %d the auth revision is %d, want %d", seed, w.Index, o.Revision, want.Revision)
				off++
				break
			}
			for _, user := range []string{"root", "ann", "bob"} {
				if o.Unsure(user) {
					continue
				}
				if want.Enabled && o.Enabled {
					enabled++
				}
			}
		}
	}
	if known < 300 || enabled < 100 {
		t.Errorf("%d of 500 were found, auth on at %d moments: the histories test too little", known, enabled)
	}
}
