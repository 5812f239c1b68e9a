package replay

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// TestAlike changes one thing of a state after the other: only what the entries cannot depend on leaves it alike.
func TestAlike(t *testing.T) {
	data, err := proto.Marshal(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1}, Put: &pb.PutRequest{Key: []byte("touched")}})
	if err != nil {
		t.Fatal(err)
	}
	entries := []effect.Entry{{Index: 11, Raw: &raftlog.Entry{Index: 11, Data: data}}}
	state := func(touched, other string) *State {
		var rows []mvcc.Row
		for i, kv := range []mvcc.KeyValue{{Key: []byte("touched"), Value: []byte(touched)}, {Key: []byte("other"), Value: []byte(other)}} {
			main := int64(i) + 2
			kv.Create, kv.Mod, kv.Version = main, main, 1
			rows = append(rows, mvcc.Row{Rev: mvcc.Revision{Main: main}, Value: kv.Encode()})
		}
		return &State{Index: 10, Revision: 3, Leases: []schema.LeaseRecord{{ID: 7, TTL: 60}}, rows: mvcc.NewTable(rows, nil)}
	}
	for name, c := range map[string]struct {
		change func(st *State)
		alike  bool
	}{
		"nothing":                {func(*State) {}, true},
		"a key that is not read": {func(st *State) { st.rows = state("x", "y").rows }, true},
		"a key that is written":  {func(st *State) { st.rows = state("y", "x").rows }, false},
		"the revision":           {func(st *State) { st.Revision = 2 }, false},
		"the compact revision":   {func(st *State) { st.Compact = 1 }, false},
		"a lease":                {func(st *State) { st.Leases[0].TTL = 61 }, false},
		"an alarm":               {func(st *State) { st.Alarms = []schema.AlarmMember{{Member: 1, Type: "NOSPACE"}} }, false},
		"auth":                   {func(st *State) { st.Auth.Users = []schema.User{{Name: "u", Roles: []string{"r"}}} }, false},
		"what is not known":      {func(st *State) { st.Notes = []string{"a note"} }, false},
	} {
		st := state("x", "x")
		if c.change(st); st.Alike(state("x", "x"), entries) != c.alike {
			t.Errorf("%s is another: alike is %v", name, !c.alike)
		}
	}
}
