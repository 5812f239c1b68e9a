package recovery_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/raftlog"
)

// restarts is a healthy member whose process was started twice more at the end of its log, an hour and two hours after the day began, each time
// publishing its attributes; what is given came in between.
func restarts(t *testing.T, between ...*pb.InternalRaftRequest) (m *inspect.Member, quiet uint64, day time.Time) {
	t.Helper()
	ms := read(t, "healthy-3.6")
	c := &inspect.Member{Label: ms[0].Label, Origin: ms[0].Origin, DB: ms[0].DB, Findings: ms[0].Findings}
	log := *ms[0].Log
	log.Entries = slices.Clone(log.Entries)
	day = time.Now().UTC().Truncate(24 * time.Hour) // ids hold 40 bits of a time
	id := func(hour time.Duration) uint64 {
		return log.NodeID<<48 | uint64(day.Add(hour*time.Hour).UnixMilli())&(1<<40-1)<<8
	}
	add := func(in *pb.InternalRaftRequest) {
		e := raftlog.Entry{Index: log.Last() + 1, Term: log.Entries[len(log.Entries)-1].Term}
		if in != nil {
			b, err := proto.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			e.Data = b
		}
		log.Entries = append(log.Entries, e)
	}
	publish := func(hour time.Duration) {
		add(nil)
		add(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: id(hour)}, ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: log.NodeID}})
	}
	publish(0)
	quiet = log.Last()
	publish(1)
	for i, in := range between {
		in.Header = &pb.RequestHeader{ID: id(1) + uint64(i) + 1}
		add(in)
	}
	publish(2)
	log.HardState.Commit = log.Last()
	c.Log = &log
	return c, quiet, day
}

// TestAtTime recovers at times between restarts: where nothing was written between them there is one state, otherwise none is chosen.
func TestAtTime(t *testing.T) {
	t.Parallel()
	at := func(t time.Time) recovery.Moment { return recovery.Moment{Kind: recovery.AtTime, Time: t} }
	put := &pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}}
	for _, idle := range []*pb.InternalRaftRequest{nil, {DeleteRange: &pb.DeleteRangeRequest{Key: []byte("nothing")}}} {
		var between []*pb.InternalRaftRequest
		if idle != nil {
			between = append(between, idle)
		}
		m, quiet, day := restarts(t, between...)
		if idle != nil { // beyond the db nothing tells that it changed nothing
			refused(t, &recovery.Request{Members: []*inspect.Member{m}, Moment: at(day.Add(90 * time.Minute))}, "1 entry between", "--at-entry")
			continue
		}
		d, got, _ := recovered(t, &recovery.Request{Members: []*inspect.Member{m}, Moment: at(day.Add(90 * time.Minute))})
		want, _, _ := recovered(t, &recovery.Request{Members: []*inspect.Member{m}, Moment: recovery.Moment{Kind: recovery.AtEntry, N: quiet - 2}})
		if d.Entry != quiet || d.HashKV != want.HashKV || got.DB.Rows.CountLive() != want.Keys || !d.Whole || !d.Proven {
			t.Errorf("entry %d, want %d: %+v", d.Entry, quiet, d)
		}
		if !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, "change nothing that is stored") }) {
			t.Errorf("it does not say why: %q", d.Notes)
		}
	}
	m, quiet, day := restarts(t, put)
	late := day.Add(90 * time.Minute)
	for when, words := range map[time.Time][]string{
		late:                        {"1 entry between change what is stored", "--at-entry, from"},
		day.Add(3 * time.Hour):      {"no entry is known to be from after"},
		time.Unix(1_000_000_000, 0): {"no entry is known to be from before"},
	} {
		refused(t, &recovery.Request{Members: []*inspect.Member{m}, Moment: at(when)}, words...)
	}
	// A server that found the entry at its start tells that it had been written by then.
	d, got, _ := recovered(t, &recovery.Request{
		Members: []*inspect.Member{m}, Moment: at(late), Dated: []recovery.Dated{{Entry: quiet + 3, By: late.Add(-time.Minute), What: "x"}, {Entry: quiet + 4, By: late.Add(time.Minute)}},
	})
	before, _, _ := recovered(t, &recovery.Request{Members: []*inspect.Member{m}, Moment: recovery.Moment{Kind: recovery.AtEntry, N: quiet}})
	if d.Entry != quiet+3 || d.Revision != before.Revision+1 {
		t.Errorf("entry %d at revision %d", d.Entry, d.Revision)
	}
	if _, _, ok := got.DB.Rows.At([]byte("k"), d.Revision); !ok {
		t.Error("the key is not there")
	}
}
