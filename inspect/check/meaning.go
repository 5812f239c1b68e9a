package check

import "strings"

// Advice is what a kind of finding means, and what to do about it.
type Advice struct {
	Meaning, Action string
}

// Explain returns the advice for a code.
func Explain(code string) Advice {
	return advice[code]
}

// Pages stands for all findings about single pages of a db, where these are told together.
const Pages = "damaged-pages"

// OfPage tells whether a code is about a single page of a db.
func OfPage(code string) bool {
	switch code {
	case "tree-too-deep", "bucket-header", "root-row":
		return true
	}
	return strings.HasPrefix(code, "page-")
}

// What is found in a copy is the copy's: nothing here says what to do with a member because of it.
const (
	anew      = "copy again, from the stopped member or from a file system snapshot: if etcd still runs, the member may be healthy; do not start a member on this copy"
	copyAgain = "stop the member, or take a snapshot with etcdctl snapshot save, and copy again; compare only what was read"
	nothing   = "nothing"
)

var advice = map[string]Advice{
	// The copy itself.
	"archive-truncated":     {"the archive ends early: files behind that place are missing", "get the whole archive; check its size and hash at the source"},
	"archive-trailing-data": {"something follows the archive's end and was not read", "unpack the archive by hand and pass the folders"},
	"file-sparse":           {"the file is nearly all hole: it was made longer than anything etcd writes, or copied so", "see at the source how long the file is"},
	"not-a-file":            {"a name that should be a file leads nowhere, or to something else", "copy what it points to; links to other disks are not followed by every copy tool"},

	// bbolt.
	"db-missing":              {"the member has no backend: its keys cannot be known", "look for member/snap/db elsewhere, or rebuild the member from another one"},
	"db-not-given":            {"what was given is part of a member only: it is read, but shows no keys", "give the data directory, if there is more of it"},
	"db-foreign":              {"the file is sound, but was not written by etcd", "look for member/snap/db"},
	"etcd-2":                  {"the member ran etcd 2, or its v2 store was never migrated; there are no keys of v3", "use the tools of etcd 2, or migrate it (etcdctl migrate of etcd 3.0 to 3.3)"},
	"first-start-interrupted": {"etcd ended while it started for the first time: the member never held anything", "nothing: etcd starts as a new member from here"},
	"db-unreadable":           {"the file is not a bbolt db, or neither of its two meta pages is whole", anew},
	"db-truncated":            {"the file is shorter than its meta page says: pages at its end are lost", copyAgain},
	"meta-invalid":            {"one of the two meta pages is damaged; the other one, possibly one commit older, is in use", "the member can start; if the copy is from a stopped member, check the disk"},
	"meta-header":             {"a meta page holds its data, but not the page header that it should have", "check the disk; defragment into a new file when the cluster is healthy"},
	"meta-txid-gap":           {"the two meta pages are not of neighbouring transactions: the file was copied while it was written", copyAgain},
	"older-meta-whole":        {"the newest state is damaged, the one before it, one commit older, holds together", "look at it with --meta, and check that it has the rows it should; it is a base for replaying the log"},
	"older-meta-broken":       {"the state one commit before is damaged as well", nothing},
	"page-beyond-end":         {"a page that is referred to lies behind the end of the file", copyAgain},
	"page-out-of-bounds":      {"a reference leads to a page that does not exist", anew},
	"page-zero":               {"a page in use was never written, or was overwritten with zeros", anew},
	"page-id-mismatch":        {"a page says that it is another one: it was overwritten, or holds stale data", anew},
	"page-type":               {"a page is of another type than the reference to it demands", anew},
	"page-element-bounds":     {"a page's directory does not fit its content", anew},
	"page-element-flags":      {"a page's directory holds flags that bbolt does not know", anew},
	"page-key-order":          {"the keys on a page are not in order", anew},
	"page-key-range":          {"a page holds other keys than the page above says: it is of another moment, or in the wrong place", anew},
	"page-double-use":         {"two references lead to one page: one of them is of another moment", anew},
	"page-free-and-reachable": {"a page is both in use and in the list of free pages: the next write may overwrite it", anew},
	"page-empty":              {"a page below the root holds nothing", "harmless by itself; bbolt merges such pages"},
	"page-slack":              {"a page holds bytes that nothing accounts for", "check the disk"},
	Pages:                     {"pages of the db are not what they should be: they are of several moments, or damaged", "copy again (stopped, or a file system snapshot); the member may be healthy if etcd runs on it"},
	"page-elements-cleared":   {"rows were cleared from a page by hand, as bbolt surgery does: the member does not have them", "compare with another member (diff) to see what they were; rebuild this member from it"},
	"meta-reverted":           {"the last commit was reverted by hand, with bbolt surgery", "compare with another member (diff)"},
	"page-overflow":           {"a page counts more pages than its content needs, or fewer", "defragment into a new file: pages that it does not count may be overwritten"},
	"page-unreachable":        {"nothing refers to these pages: free, or cut off by the damage", nothing},
	"orphan-branch":           {"a part of a tree that nothing refers to: cut off by the damage, or an older copy", "its rows can often be salvaged"},
	"tree-too-deep":           {"a tree is deeper than any real one: a cycle, or pages of different moments", anew},
	"bucket-header":           {"a bucket's own record is malformed", anew},
	"bucket-missing":          {"the bucket with all keys cannot be found", anew},
	"root-row":                {"the page that should list the buckets is another one: pages of different moments", copyAgain},
	"freelist-unreadable":     {"the list of free pages is damaged: a server that reads it does not start", "copy again (stopped, or a file system snapshot); if the member's own file is the same, have the list made anew on a copy with bbolt surgery freelist abandon, and defragment"},
	"freelist-order":          {"the list of free pages is damaged", "defragment into a new file before the member writes again"},
	"snapshot-hash-mismatch":  {"the sha256 at the end of the snapshot file is not that of its content", "do not restore from it unless its pages check out and you know why it changed (an etcdctl up to 3.2.26 changed snapshots when asked for their status)"},
	"row-undecodable":         {"a row is not what its bucket holds", anew},

	// The keyspace.
	"rows-missing":           {"whole pages of rows are missing from a tree that looks sound: what is there was never the member's state at any one moment", copyAgain},
	"revision-without-rows":  {"a revision was made and its rows are gone, though no compaction removed them", "compare with another member (diff) to see what it was"},
	"revision-jump":          {"revision numbers were skipped on purpose", nothing},
	"revision-bumped":        {"a restore skipped revision numbers on purpose, so that clients do not take older ones for new", nothing},
	"revision-beyond-index":  {"there are more revisions than this log can have made", "normal for a cluster restored from a backup; otherwise run diff on this member"},
	"row-mod-revision":       {"a row's content contradicts its own place: changed after it was written", "compare with another member (diff)"},
	"row-version":            {"a row contradicts the history of its key: changed after it was written, or its predecessor is lost", "compare with another member (diff)"},
	"compaction-unfinished":  {"compaction runs in the background after the entry that asks for it; a restart finishes it", nothing},
	"compaction-beyond-rows": {"the last rows were tombstones and are compacted away", "start the member with 3.4.32, 3.5.14 or later"},
	"never-compacted":        {"every revision ever made is still stored: etcd compacts only if it is told to, and the db grows until then", "if it grows too large, set --auto-compaction-mode together with --auto-compaction-retention (in a config file the mode has no default before 3.6), compact and defragment"},
	"lease-dangling":         {"keys refer to a lease that does not exist, so nothing deletes them", "delete or write these keys anew; compare with another member"},
	"alarm-on":               {"NOSPACE refuses writes, CORRUPT refuses everything, until it is disarmed", "mend the cause (compact, defragment, raise the quota), then etcdctl alarm disarm"},

	// The log.
	"wal-missing":               {"without its log a member cannot be checked against what it was asked to do", "look for a separate --wal-dir, and name it: NAME=DATA,wal=DIR"},
	"wal-apart":                 {"the member's log was read from a folder of its own, as --wal-dir of etcd makes it", nothing},
	"wal-not-read":              {"the member has a log where etcd has it by default, and another was named", "see which of them etcd used (--wal-dir)"},
	"wal-crc-mismatch":          {"a record was changed after it was written; etcd refuses to start on it", "copy again (stopped, or a file system snapshot); if the member's own log is the same, take the entry from another member's log for the comparison"},
	"wal-frame-corrupt":         {"record boundaries are lost for a stretch; entries in it cannot be read", anew},
	"wal-torn-tail":             {"the last record was not written whole: a crash, or a copy of a running member", "nothing: etcd cuts it off when it starts"},
	"wal-bytes-after-end":       {"behind the end of the log there is something where zeros should be", "normal after a crash if it is in the last segment; otherwise check the disk"},
	"wal-record-malformed":      {"a record's checksum is right, but its content is not what its type says", anew},
	"wal-segment-missing":       {"a file in the middle of the log is missing, with the entries in it", "look for it where the copy came from; another member's log has the same entries"},
	"wal-gap":                   {"indexes are missing from the log, and no snapshot took their place", anew},
	"wal-commit-beyond-log":     {"entries known to be committed are not in the log: its end was lost", "copy again, the log behind the db; if it is so on the member itself, do not start it: it may vote against what it promised"},
	"wal-metadata-missing":      {"no record says whose log this is", "compare the member by its other files"},
	"wal-metadata-differs":      {"segments of two members or clusters lie in one folder", "sort the files out by their origin"},
	"wal-committed-overwritten": {"an entry that was committed was replaced: raft promises that this never happens", "compare the logs of all members (diff); the cluster lost writes"},
	"wal-term-backwards":        {"terms go down, which raft never does", anew},
	"wal-state-backwards":       {"the saved term or commit index goes down, which raft never does", anew},
	"wal-record-order":          {"records stand in an order that etcd never writes", anew},
	"wal-name":                  {"a file's name is not what its content says", "look at how the copy was made"},
	"wal-unknown-record":        {"a record of a type that no etcd up to 3.7 writes", "use a newer version of this tool if the member ran a newer etcd"},
	"wal-unknown-field":         {"a record has a field that no etcd up to 3.7 writes", "use a newer version of this tool if the member ran a newer etcd"},
	"entry-stops-old-server":    {"etcd up to 3.4 panics (\"not implemented\") on a request that only 3.5 and later propose, such as etcdctl auth status sent to an upgraded member", "start this member with 3.5 or later, and ask no auth status until every member is upgraded; its data is whole"},
	"wal-big-record":            {"etcd before 3.5.5 cannot read records of 10 MiB and more back", "start the member with 3.5.5 or later"},

	// Snapshots.
	"snap-crc-mismatch":     {"a .snap file was changed after it was written; etcd renames it to .broken and takes an older one", "keep it; the log usually reaches back far enough"},
	"snap-empty":            {"a .snap file is empty: a crash while it was written", nothing},
	"snap-malformed":        {"a .snap file is not one", "keep it; the log usually reaches back far enough"},
	"snap-unreadable":       {"a .snap file cannot be read", "keep it; the log usually reaches back far enough"},
	"snap-store-malformed":  {"the v2 store in a .snap cannot be read: membership up to 3.5 is taken from the log alone", "take membership from another member"},
	"snap-name-differs":     {"a .snap's name is not what it holds", "look at how the copy was made"},
	"snap-not-in-log":       {"a snapshot that was written, but not recorded: a crash in between", nothing},
	"snap-db-pending":       {"at its next start the member would put this db in place of its own", "keep it: it is the newer state, and a base for replaying the log"},
	"snap-db-orphan":        {"a db that was received and used, or passed by", "it can be deleted once the member is healthy"},
	"snap-db-name":          {"the file's name is not one that etcd gives", nothing},
	"snap-receive-leftover": {"a snapshot was cut off on its way", "it can be deleted"},
	"defrag-leftover":       {"a defragmentation ended in the middle; the db itself is as it was", "delete the file before the next defragmentation: etcd before 3.2.29, 3.3.19 and 3.4.4 merges it into the new db"},
	"broken-set-aside":      {"etcd found this file damaged at an earlier start and went on without it", "keep it for the investigation"},

	// Between files.
	"consistent-index-missing": {"it is not known up to which entry this db is; normal up to 3.4 before the first key is written", nothing},
	"index-beyond-log":         {"the db holds effects of entries that its log does not have", "normal if the db was copied after the log from a running member; otherwise the log lost its end and the member must not be started"},
	"index-beyond-commit":      {"the commit index is saved without being synced", nothing},
	"log-after-db":             {"entries between db and log are gone", anew},
	"snapshot-beyond-db":       {"the db is older than the newest snapshot", "if the log still holds the entries in between, they can be replayed; otherwise copy again"},
	"term-beyond-log":          {"the db's term is above anything in the log", "find out whether the db was copied from elsewhere, or etcd was downgraded from 3.5; 3.5.0 to 3.5.2 would freeze the consistent index"},
	"member-removed":           {"it is not part of the cluster any more: its data ends where it left", "do not count it as a replica"},
	"member-unknown":           {"its own log does not list it as a member", "find out where the directory comes from"},
	"learner-not-promoted":     {"a learner receives the log, but does not count for quorum", "promote it (send the request to the leader, if auth is on and etcd is older than 3.5.28 or 3.6.6), or remove it"},
	"zombie-member":            {"the bucket is what a server of 3.6 or later believes: the cluster would count members that do not exist", "run 3.5.26 or later on every member before the upgrade to 3.6; afterwards remove them one by one while there is a quorum"},
	"learner-flag-stale":       {"a promotion reached raft and the v2 store but not the bucket (3.5.1 to 3.5.19)", "run 3.5.26 or later on every member before the upgrade to 3.6"},
	"learner-flag-missing":     {"raft keeps a learner that the bucket calls a voter (a member update did that before 3.5.31 and 3.6.12)", "remove the member and add it again before an upgrade to 3.7"},
	"member-attributes-stale":  {"3.5.1 to 3.5.19 do not update member rows", "harmless up to 3.5; run 3.5.26 or later and restart each member before 3.6"},
	"member-not-in-db":         {"the bucket lacks a member that the log has", "normal up to 3.4 right after a restore; otherwise run 3.5.26 or later before the upgrade to 3.6"},
}
