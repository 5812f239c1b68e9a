package preflight

import (
	"slices"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/inspect/check"
)

// rule is what releases make of a finding.
type rule struct {
	outcome Outcome
	// from is the first release that does, empty for all. fixed are the first ones of each line that do not any more: lines before the first
	// of them do, lines behind the last of them do not.
	from    string
	fixed   []string
	what    string
	message string // the id of one of package messages, empty if none is known
	quote   string // a part of those of its wordings that are meant, empty for all
	error   bool   // only findings that are errors: others say that it is so on another member
}

func (r *rule) affects(at semver.Version) bool {
	if r.from != "" && at.LessThan(*semver.New(r.from)) {
		return false
	}
	if len(r.fixed) == 0 {
		return true
	}
	lowest := int64(1 << 32)
	for _, f := range r.fixed {
		v := semver.New(f)
		if v.Minor == at.Minor {
			return at.LessThan(*v)
		}
		lowest = min(lowest, v.Minor)
	}
	return at.Minor < lowest
}

// edges are the releases of a line, by their last number, at which it begins or ends to do that.
func (r *rule) edges(minor int64) (at []int64) {
	for _, f := range append(slices.Clone(r.fixed), r.from) {
		if f == "" {
			continue
		}
		if v := semver.New(f); v.Minor == minor {
			at = append(at, v.Patch)
		}
	}
	return at
}

const (
	bucketCounts = "from 3.6 on the members bucket is what a server believes, so that the cluster counts wrong members"
	unreadable   = "the log cannot be read to its end"
	broken       = "a server renames the .snap file to .broken and takes an older one, to which the log does not reach back"
	missing      = "the files of the log do not follow one another; as checksums are chained over files, a server may call that a wrong checksum"
	atStart      = "at its start a server reads all keys, leases, users and roles: "
	first3526    = "; first run 3.5.26 or later on every member"
)

// rules are by the code of a finding. A code without one is not known to matter if it is no error, and unknown if it is.
var rules = map[string][]rule{
	// The log.
	"wal-crc-mismatch":      {{outcome: Stops, what: unreadable, message: "wal-crc"}},
	"wal-gap":               {{outcome: Stops, what: "the log cannot be put together", message: "wal-slice-out-of-range"}},
	"wal-segment-missing":   {{outcome: Stops, from: "3.5.0", what: missing, message: "wal-crc"}, {outcome: Stops, what: missing, message: "wal-open", quote: "file not found"}},
	"wal-big-record":        {{outcome: Stops, fixed: []string{"3.5.5"}, what: "a record of 10 MiB or more cannot be read back", message: "wal-record-too-long"}},
	"wal-commit-beyond-log": {{outcome: Stops, what: "the saved commit index lies beyond the log", message: "raft-hard-state-out-of-range"}},
	"log-fork":              {{outcome: Stops, what: "together with the others, a member ends when a leader sends another entry than the one that it has committed", message: "raft-conflict-with-committed", quote: "conflict with committed"}},
	"log-fork-same-term":    {{outcome: Harms, what: "the members start together and go on with different keys: their entries are of the same terms, so that raft takes them for the same"}},
	"wal-torn-tail":         {},

	"wal-missing":            {{outcome: Harms, what: "unless its log lies elsewhere (--wal-dir), a server takes itself for a new member and applies nothing of its new log until that passes the index of the db: requests time out"}},
	"index-beyond-log":       {{outcome: Unknown, what: "normal for a copy of a running member; otherwise the log lost its end, and the member forgot what it acknowledged and may vote against that"}},
	"entry-stops-old-server": {{outcome: Stops, fixed: []string{"3.5.0"}, what: "it ends when it applies the entry, at every start again", message: "request-not-implemented", error: true}},
	"snap-crc-mismatch":      {{outcome: Unknown, what: broken}},
	"snap-malformed":         {{outcome: Unknown, what: broken}},
	"snap-unreadable":        {{outcome: Unknown, what: broken}},
	// The db.
	"db-missing":             {{outcome: Stops, what: "where a .snap file says that the member ran, a server does not start without its db", message: "db-missing"}},
	"db-unreadable":          {{outcome: Stops, what: "the file cannot be opened", message: "backend-open"}},
	check.Pages:              {{outcome: Unknown, what: atStart + "it ends where bbolt sees that a page is not what it should be, and goes on with what is there where not", error: true}},
	"db-truncated":           {{outcome: Unknown, what: atStart + "it dies of a bus error (SIGBUS) at the first page beyond the end of the file that is in use", error: true}},
	"freelist-unreadable":    {{outcome: Stops, what: "the stored list of free pages cannot be read", message: "bbolt-freelist"}},
	"log-after-db":           {{outcome: Stops, what: "entries between the db and the log are gone"}},
	"snapshot-beyond-db":     {{outcome: Stops, what: "the newest snapshot is later than the db, and its .snap.db is not there", message: "snapshot-beyond-db"}},
	"term-beyond-log":        {{outcome: Harms, from: "3.5.0", fixed: []string{"3.5.3"}, what: "the consistent index does not move any more"}},
	"compaction-beyond-rows": {{outcome: Harms, fixed: []string{"3.4.32", "3.5.14"}, what: "its revision falls behind what was compacted, since the last rows were tombstones"}},
	"defrag-leftover":        {{outcome: Harms, fixed: []string{"3.2.29", "3.3.19", "3.4.4"}, what: "the next defragmentation merges the leftover into the new db"}},
	// Membership.
	"zombie-member":           {{outcome: Harms, from: "3.6.0", what: bucketCounts + first3526}},
	"learner-flag-stale":      {{outcome: Harms, from: "3.6.0", what: bucketCounts + first3526}},
	"member-attributes-stale": {{outcome: Harms, from: "3.6.0", what: bucketCounts + ", or knows them by old names and urls" + first3526 + ", and restart each"}},
	"member-not-in-db":        {{outcome: Harms, from: "3.6.0", what: bucketCounts + first3526}},
	"learner-flag-missing":    {{outcome: Harms, from: "3.7.0", what: "raft keeps a learner that the bucket calls a voter; first remove the member and add it again"}},
	// What the versions in the db say.
	"cluster-version-above":     {{outcome: Stops, what: "a server of an older line than the cluster's does not start without etcdctl downgrade", message: "downgrade-refused", quote: "lower than determined"}},
	"cluster-version-far-below": {{outcome: Unknown, what: "etcd is upgraded one line at a time: what comes of leaving one out is not known"}},
	"downgrade-enabled":         {{outcome: Stops, from: "3.5.0", fixed: []string{"3.6.0"}, what: "while a downgrade is under way only its target may start", message: "downgrade-refused", quote: "not allowed to join"}},
	"not-complete":              {{outcome: Unknown, what: "not everything could be read, so that there may be more"}},
}
