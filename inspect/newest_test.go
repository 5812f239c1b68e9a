package inspect

import (
	"testing"
	"time"

	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// TestNewest asserts that the id of a lease is taken for a time only if a member of the cluster can have given it.
func TestNewest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	const member = 0xfedcba9876549abc
	id := func(member uint64, at time.Time) int64 {
		return int64((member<<48 | uint64(at.UnixMilli())&(1<<40-1)<<8 | 7) & leaseBits)
	}
	later := at.Add(24 * time.Hour)
	for _, c := range []struct {
		name string
		ids  []int64
		want time.Time
	}{
		{"none", nil, time.Time{}},
		{"a member's", []int64{id(member, at)}, at},
		{"the newest", []int64{id(member, at), id(member, at.Add(-time.Hour))}, at},
		{"a client's", []int64{id(0x1234, later), 4711, -1, 0}, time.Time{}},
		{"both", []int64{id(0x1234, later), id(member, at)}, at},
	} {
		m := &Member{Log: &raftlog.Log{}, DB: &DB{Tables: &schema.Tables{Members: []schema.Member{{ID: member}}}}}
		for _, l := range c.ids {
			m.DB.Tables.Leases = append(m.DB.Tables.Leases, schema.LeaseRecord{ID: l})
		}
		if got := m.Newest(); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	set, err := Open(t.Context(), []string{"../testdata/lease-revoke-auth/etcd-b.tar.zst"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if got, want := set.Members[0].Newest().Format(time.RFC3339), "2026-11-21T08:23:25Z"; got != want {
		t.Errorf("%s, want %s, when etcd-b restarted", got, want)
	}
}
