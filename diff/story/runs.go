package story

import (
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/serverlog"
)

// Runs are what logs tell of the runs of each member's server, as diff asks for it.
func Runs(logs []Log) map[string][]diff.ServerLog {
	out := map[string][]diff.ServerLog{}
	logs = slices.Clone(logs)
	slices.SortStableFunc(logs, byTime)
	for _, l := range logs {
		x := diff.ServerLog{File: l.File, Member: l.Log.Member, Cluster: l.Cluster, Gaps: l.ProcessesLeftOut > 0}
		for _, p := range l.Processes {
			if p.Member != 0 && p.Member != l.Log.Member {
				continue // of the member that was there before it
			}
			x.Runs = append(x.Runs, diff.ServerRun{Version: p.Version, Begins: !p.Start.IsZero(), Commit: p.Commit, Stopped: p.How == serverlog.Stop})
		}
		out[l.Member] = append(out[l.Member], x)
	}
	return out
}
