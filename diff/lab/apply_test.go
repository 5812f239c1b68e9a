package lab

import (
	"bytes"
	"slices"
	"testing"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/authz"
	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// TestApply holds what apply makes of random logs against what etcd's own applier makes of them: the rows of every entry, and leases,
// auth and alarms in the end. Then it takes everything back.
func TestApply(t *testing.T) {
	n := 150
	if testing.Short() {
		n = 20
	}
	for seed := range uint64(n) {
		m := &maker{dir: t.TempDir(), seed: seed + 1, shape: stream(seed+1, "shape"), c: &Case{Seed: seed + 1}}
		if err := m.workload(); err != nil {
			t.Fatal(err)
		}
		log := m.w.log
		l := apply.NewLog(len(log), func(i int) uint64 { return log[i].Index }, func(i int) *raftlog.Request { return decoded(t, &log[i]) }, nil, nil)
		s := apply.New(l)
		empty := s.Digest()
		var marks []apply.Mark
		var digests []uint64
		for i := range l.Entries {
			marks, digests = append(marks, s.Mark()), append(digests, s.Digest())
			res := s.Apply(&l.Entries[i], apply.Plain)
			eff := m.w.ref.effects[i]
			if made := eff.After > eff.Before; made != (res == apply.Made) || eff.After != s.Revision {
				t.Fatalf("seed %d entry %d %s: result %d at revision %d, etcd's revision is %d", seed+1, log[i].Index, log[i].Kind, res, s.Revision, eff.After)
			}
			if res != apply.Made {
				continue
			}
			if len(eff.Rows) != len(s.Changes) {
				t.Fatalf("seed %d entry %d %s: %d rows, etcd made %d", seed+1, log[i].Index, log[i].Kind, len(s.Changes), len(eff.Rows))
			}
			for k := range eff.Rows {
				if !sameChange(l, &s.Changes[k], &eff.Rows[k]) {
					t.Fatalf("seed %d entry %d %s: row %d is not etcd's", seed+1, log[i].Index, log[i].Kind, k)
				}
			}
		}
		checkTables(t, seed+1, s, m.w.ref)
		for i := range slices.Backward(marks) {
			if s.Revert(marks[i]); s.Digest() != digests[i] {
				t.Fatalf("seed %d: going back to before entry %d leads to another state", seed+1, log[i].Index)
			}
		}
		if s.Digest() != empty {
			t.Fatalf("seed %d: the beginning is not what it was", seed+1)
		}
		_ = m.w.ref.close()
	}
}

func decoded(t *testing.T, e *Entry) *raftlog.Request {
	r, err := raftlog.Decode(&raftlog.Entry{Index: e.Index, Term: e.Term, Type: raftlog.EntryType(e.Type), Data: e.Data})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sameChange(l *apply.Log, c *apply.Change, r *Row) bool {
	var kv mvcc.KeyValue
	_, tombstone, ok := mvcc.ParseRevision(r.Key)
	if !ok || kv.Decode(r.Value) != nil || string(kv.Key) != l.Keys[c.Key] || tombstone != c.Delete {
		return false
	}
	x := &c.Record
	return tombstone || kv.Create == x.Create && kv.Mod == x.Mod && kv.Version == x.Version && kv.Lease == l.Leases[x.Lease] && bytes.Equal(kv.Value, l.Bytes(x.Value))
}

func checkTables(t *testing.T, seed uint64, s *apply.State, ref *replica) {
	var leases []int64
	for n, id := range s.Log.Leases {
		if s.Granted(int32(n)) {
			leases = append(leases, id)
		}
	}
	if slices.Sort(leases); !slices.Equal(leases, ref.leases()) {
		t.Errorf("seed %d: leases %x, etcd has %x", seed, leases, ref.leases())
	}
	tables := &schema.Tables{AuthEnabled: ref.auth.IsAuthEnabled(), AuthRevision: ref.auth.Revision()}
	if authz.Of(tables).Revision != s.Auth.Revision || tables.AuthEnabled != s.Auth.Enabled {
		t.Errorf("seed %d: auth on %v at revision %d, etcd's is %v at %d", seed, s.Auth.Enabled, s.Auth.Revision, tables.AuthEnabled, tables.AuthRevision)
	}
}

// TestOlderRules holds what apply makes of random logs by the rules of older versions against what etcd's own code makes of them where it asks
// for permissions as those versions do.
func TestOlderRules(t *testing.T) {
	n := uint64(400)
	if testing.Short() {
		n = 100
	}
	differ := map[apply.Rules]int{}
	for seed := range n {
		m := &maker{dir: t.TempDir(), seed: seed + 70_001, shape: stream(seed+70_001, "shape"), c: &Case{Seed: seed + 70_001}}
		if err := m.workload(); err != nil {
			t.Fatal(err)
		}
		_ = m.w.ref.close()
		if !m.w.auth {
			continue
		}
		log := m.w.log
		entries := make([]effect.Entry, len(log))
		for i := range log {
			e := &log[i]
			entries[i] = effect.Entry{Index: e.Index, Term: e.Term, Raw: &raftlog.Entry{Index: e.Index, Term: e.Term, Type: raftlog.EntryType(e.Type), Data: e.Data}}
		}
		l := apply.NewLog(len(log), func(i int) uint64 { return log[i].Index }, func(i int) *raftlog.Request { return decoded(t, &log[i]) }, nil, nil)
		for _, rules := range l.Versions(apply.Oldest, apply.Newest) {
			made := make([]int64, len(log))
			_, err := replay.Run(t.Context(), replay.Empty(), entries, replay.Today().With(replay.Older(rules.Permissions(), nil)...), replay.Options{
				TempDir: t.TempDir(), Each: func(fx *replay.Effect) { made[fx.Index-1] = fx.Revision },
			})
			if err != nil {
				t.Fatalf("seed %d: %v", m.seed, err)
			}
			s := apply.New(l)
			s.Rules = rules
			unlike := false
			for i := range l.Entries {
				revision := int64(0)
				if s.Apply(&l.Entries[i], apply.Plain) == apply.Made {
					revision = s.Revision
				}
				if revision != made[i] {
					t.Fatalf("seed %d, by the rules of %v: entry %d %s makes revision %d, by etcd's code %d", m.seed, rules, log[i].Index, log[i].Kind, revision, made[i])
				}
				unlike = unlike || revision != m.w.ref.effects[i].After && revision > 0 || (revision > 0) != (m.w.ref.effects[i].After > m.w.ref.effects[i].Before)
			}
			if unlike {
				differ[rules]++
			}
		}
	}
	for _, rules := range []apply.Rules{apply.Rules32, apply.Rules33, apply.Rules3512} {
		if differ[rules] == 0 {
			t.Errorf("in %d logs only the rules of %v make a difference", differ[rules], rules)
		}
	}
}
