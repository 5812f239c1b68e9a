package apply

import (
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// alarms are those that are on, sorted. They are replaced, never changed.
type alarms []alarm

type alarm struct {
	member uint64
	typ    pb.AlarmType
}

func (a alarm) compare(b alarm) int {
	return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.typ, b.typ))
}

// refuse tells whether an alarm refuses an entry (server/etcdserver/apply, capped.go and corrupt.go).
func (on alarms) refuse(e *Entry) bool {
	for _, a := range on {
		switch {
		case a.typ == pb.AlarmType_CORRUPT:
			if e.Kind <= Compaction {
				return true
			}
		case a.typ == pb.AlarmType_NOSPACE && e.puts:
			return true
		}
	}
	return false
}

// after are the alarms behind a request to raise or to clear one, and whether it changes them.
func (on alarms) after(r *pb.AlarmRequest) (_ alarms, changed bool) {
	a := alarm{r.MemberID, r.Alarm}
	at, raised := slices.BinarySearchFunc(on, a, alarm.compare)
	switch {
	case r.Alarm == pb.AlarmType_NONE:
	case r.Action == pb.AlarmRequest_ACTIVATE && !raised:
		return slices.Insert(slices.Clone(on), at, a), true
	case r.Action == pb.AlarmRequest_DEACTIVATE && raised:
		return slices.Delete(slices.Clone(on), at, at+1), true
	}
	return on, false
}
