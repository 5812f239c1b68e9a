package diff

import (
	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/raftlog"
)

// explained is what a search for a member's faults has found.
type explained struct {
	member *faults.Member
	*faults.Result
}

// explainMember looks for the faults that explain what member i holds by its own log. It is nil if the log does not begin with the
// cluster, or not all of the db could be read.
func (c *comparison) explainMember(i int) *explained {
	db, es := c.ms[i].DB, c.views[i].entries
	if !c.whole(i) || !db.Whole || len(db.Rows.Holes()) > 0 || uint64(len(es)) < db.Tables.ConsistentIndex {
		return nil
	}
	end := min(uint64(len(es)), max(committed(c.ms[i]), db.Tables.ConsistentIndex))
	named := faults.Names(db.Rows, db.Tables)
	log := apply.NewLog(int(end), func(k int) uint64 { return es[k].Index }, func(k int) *raftlog.Request { return es[k].Request() }, named.Keys, named.Leases)
	for k := range log.Entries {
		if log.Entries[k].Opaque {
			return nil
		}
	}
	e := faults.NewEvidence(log, db.Rows, db.Tables, c.last[i], db.CompactRevision())
	m := faults.NewMember(log, e, apply.New(log), end, c.rulesOf(i)...)
	return &explained{member: m, Result: m.Search()}
}

// firstVersion is the first cluster version that member i's log sets, empty if it sets none.
func (c *comparison) firstVersion(i int) string {
	es := c.views[i].entries
	for k := range es {
		r := es[k].Request()
		if v := r.Internal.GetClusterVersionSet(); v != nil {
			return v.Ver
		}
		if r.V2 != nil && r.V2.Path == "/0/version" && r.V2.Method == "PUT" {
			return r.V2.Val
		}
	}
	return ""
}

// rulesOf are the rules that may hold when member i's log begins.
func (c *comparison) rulesOf(i int) []apply.Rules {
	v, err := semver.NewVersion(c.firstVersion(i))
	switch {
	case len(c.views[i].authWrites) == 0: // nobody is asked for permissions
		return []apply.Rules{apply.Rules3510}
	case err != nil:
		return []apply.Rules{apply.Rules3510, apply.Rules33, apply.Rules32}
	case v.Minor <= 2:
		return []apply.Rules{apply.Rules32}
	case v.Minor <= 3:
		return []apply.Rules{apply.Rules33}
	case v.Minor <= 5:
		return []apply.Rules{apply.Rules3510, apply.Rules33}
	}
	return []apply.Rules{apply.Rules3510}
}
