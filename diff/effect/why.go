package effect

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"etcd-autopsy/inspect/raftlog"
)

// ChangesKeys tells whether a request is of a kind that can change keys.
func ChangesKeys(r *raftlog.Request) bool {
	return changesKeys(r.Internal)
}

func changesKeys(in *pb.InternalRaftRequest) bool {
	return in != nil && (in.Put != nil || in.DeleteRange != nil || in.Txn != nil || in.LeaseRevoke != nil)
}

// Why says in a clause why an entry that could change keys changes none if it is applied to the state after main revision
// at. It is empty if etcd's rules let it change some, or if it is not of a kind that can.
func (in *Input) Why(e *Entry, at int64) string {
	r := e.Request()
	p := predictor{ix: in.Index}
	if !ChangesKeys(r) || len(p.predict(r, at)) > 0 {
		return ""
	}
	w := writer{predictor: &p, at: at}
	const keeps = "it keeps the value or the lease of a key that does not exist"
	switch q := r.Internal; {
	case q.Put != nil:
		return keeps
	case q.DeleteRange != nil:
		return "there is nothing to delete"
	case q.LeaseRevoke != nil:
		return "no key carries the lease"
	default:
		path := w.comparePath(q.Txn)
		if _, ok := w.mayRun(q.Txn, path); !ok {
			return keeps
		}
		if path[0] {
			return "its compares hold, and the branch changes nothing"
		}
		for i, c := range q.Txn.Compare {
			if !w.compare(c) {
				return fmt.Sprintf("compare %d of %d fails, and the other branch changes nothing", i+1, len(q.Txn.Compare))
			}
		}
		return "the branch changes nothing"
	}
}
