package story

import (
	"fmt"

	"etcd-autopsy/diff/recovery"
)

// Dated is what servers' logs tell of when entries were there: each process found at its start the commit index that the one before it had
// saved, and snapshots are sent and received of entries that were applied. Logs whose times have no zone tell nothing here.
func Dated(logs []Log) (all []recovery.Dated) {
	for _, l := range logs {
		if l.Local {
			continue
		}
		for _, p := range l.Processes {
			if p.Commit > 0 && !p.Start.IsZero() {
				all = append(all, recovery.Dated{Entry: p.Commit, By: p.Start, What: fmt.Sprintf("%s found commit index %d when it started", l.Member, p.Commit)})
			}
		}
		for _, e := range l.Events {
			if e.Entry > 0 && !e.Time.IsZero() {
				all = append(all, recovery.Dated{Entry: e.Entry, By: e.Time, What: fmt.Sprintf("line %d of the log of %s knows entry %d", e.Line, l.Member, e.Entry)})
			}
		}
	}
	return all
}
