package lab

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/diff"
)

// made is the entry that made a row of the small tables as a member holds it: the last one about that lease or alarm.
func (x *Member) made(bucket string, key []byte) (index uint64) {
	for _, e := range x.log[:x.hist.index] {
		switch r := e.Request; {
		case bucket == "lease" && r.GetLeaseGrant() != nil && r.LeaseGrant.ID == int64(binary.BigEndian.Uint64(key)):
			index = e.Index
		case bucket == "alarm" && r.GetAlarm() != nil:
			var a pb.AlarmMember
			if proto.Unmarshal(key, &a) == nil && a.MemberID == r.Alarm.MemberID && a.Alarm == r.Alarm.Alarm {
				index = e.Index
			}
		}
	}
	return index
}

// TestOwed: what a member's own log says that it must hold it must hold, also where the log cannot be followed: an entry before cannot
// be decoded.
func TestOwed(t *testing.T) {
	t.Parallel()
	for bucket, layer := range map[string]diff.Layer{"lease": diff.LayerLease, "alarm": diff.LayerAlarm} {
		row := func(c *Case) []byte {
			if rows := c.Members[0].hist.dump[bucket]; len(rows) > 0 {
				return rows[0].Key
			}
			return nil
		}
		entry := func(c *Case) uint64 { return c.Members[0].made(bucket, row(c)) }
		for _, c := range healthy(t, 3, func(c *Case) bool {
			return row(c) != nil && c.Members[0].wals.first == 1 && entry(c) > 0 && c.idle(entry(c)) > 0
		}) {
			key := bytes.Clone(row(c))
			c.relog(t, c.idle(entry(c)), []byte{0x1a, 0x7f})
			editDB(t, c.Dirs[0], func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).Delete(key) })
			d := diffOf(t, c.args()[0])
			if d.Verdict != diff.Diverged || d.Divergences[0].Layer != layer || d.Divergences[0].Entry == nil || d.Divergences[0].Entry.Index != entry(c) {
				t.Errorf("seed %d, %s of entry %d: %s %q %s", c.Seed, bucket, entry(c), d.Verdict, d.Reasons, tellAll(d))
			}
		}
	}
}

// TestOwedSince: the others have revoked since what a member lacks, so that comparing tables shows nothing.
func TestOwedSince(t *testing.T) {
	t.Parallel()
	// behind is a member that holds a lease which the first one has revoked since.
	behind := func(c *Case) (int, []byte) {
		for i, x := range c.Members {
			for _, r := range x.hist.dump["lease"] {
				if x.wals.first == 1 && !slices.ContainsFunc(c.Members[0].hist.dump["lease"], func(o Row) bool { return bytes.Equal(o.Key, r.Key) }) {
					return i, r.Key
				}
			}
		}
		return 0, nil
	}
	for _, c := range healthy(t, 6, func(c *Case) bool { _, key := behind(c); return key != nil }) {
		i, key := behind(c)
		editDB(t, c.Dirs[i], func(tx *bbolt.Tx) error { return tx.Bucket([]byte("lease")).Delete(key) })
		if d := diffOf(t, c.args()...); d.Verdict == diff.Consistent {
			t.Errorf("seed %d: %s lacks a lease: %s %q %q", c.Seed, c.Labels[i], d.Verdict, d.Reasons, d.NotComparedWhy)
		}
	}
}
