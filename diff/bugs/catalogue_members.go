package bugs

// membershipBugs are about who belongs to the cluster.
var membershipBugs = []*Bug{
	{
		ID: "etcd-19557", Name: "learner-promotion-19557", Title: "A promotion is not saved in the db: an upgrade to 3.6 makes the member a learner again",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.5.1 to 3.5.19; it shows on 3.6", Fixed: "3.5.20; 3.6.0 repairs it while it starts",
		Seen: "the members bucket says learner, raft's conf state says voter", Against: "the conf state says learner, too", Proof: "both are in the files",
		Remedy: "run 3.5.26 or later on all members before 3.6; do not let 3.7 start on it", Refs: refs("19557 19563 19636"), Look: staleLearner,
	},
	{
		ID: "member-updates-not-in-v3-19557b", Name: "member-updates-not-in-v3-19557b", Title: "Names and URLs of members are not saved in the db either",
		Source: Derived, Severity: Medium, Visible: Strong, Affected: "3.5.1 to 3.5.19", Fixed: "3.5.20, at the next change", Harmless: true,
		Seen: "the members bucket has older names or URLs than the v2 store", Against: "they agree", Proof: "both are in the files", Remedy: "run 3.5.26 or later, restart each member, repeat changes of peer URLs before 3.6", Refs: refs("19557"), Look: foundBy(Confirmed, "member-attributes-stale"),
	},
	{
		ID: "etcd-20793", Name: "learner-promotion-propagated-20793", Title: "A snapshot brings the stale learner flag to a member of a fixed version",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.5.20 to 3.5.23, with a snapshot of 3.5.19 or older", Fixed: "3.5.24",
		Seen: "as etcd-19557, on a member that received a snapshot", Against: "as etcd-19557; no snapshot", Proof: "not possible: the version that made the row is not known", Remedy: "as etcd-19557", Refs: refs("20793 20797"), Look: spreadLearner,
	},
	{
		ID: "etcd-20340", Name: "promote-replay-3.6-20340", Title: "3.6 does not start on a promotion that the newest snapshot does not know",
		Source: Upstream, Severity: High, Visible: Weak, Affected: "3.6.0 to 3.6.3", Fixed: "3.6.4", Seen: "a promotion behind the newest snapshot, of a member that it lacks; the data is whole", Proof: "the version of the server", Remedy: "start with 3.6.4 or later", Refs: refs("20340 20387 20051"),
	},
	{
		ID: "etcd-13196", Name: "zombie-members-13196", Title: "Members that were removed come back in 3.5.0",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.5.0, with data of 3.1 to 3.4", Fixed: "3.5.1",
		Seen: "the members bucket holds members that raft does not know", Against: "raft knows them; 3.6 or later runs already", Proof: "the version that started on it decides", Remedy: "upgrade to 3.5.26 or later", Refs: refs("13196 13466 13348"), Look: oldZombies,
	},
	{
		ID: "etcd-20967", Name: "zombie-members-20967", Title: "Leftover members come to life after an upgrade to 3.6",
		Source: Upstream, Severity: Critical, Visible: Strong, Affected: "data of any version up to 3.5.25, harmful in 3.6 and later", Fixed: "3.5.26 cleans the bucket; 3.6 cannot",
		Seen: "the members bucket holds members that are neither in raft's conf state nor removed", Against: "raft knows them", Proof: "both are in the files",
		Remedy: "before the upgrade, run 3.5.26 or later on all members; afterwards remove them one by one while there is a quorum, or rebuild from one member", Refs: refs("20967 20995"), Look: zombies,
	},
	{
		ID: "restore-keeps-members-3.4", Name: "restore-keeps-members-3.4", Title: "A restore with etcdctl up to 3.4 keeps the members of the old cluster",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "restores with etcdctl up to 3.4", Fixed: "restores with 3.5.0 and later",
		Seen: "a restored cluster whose members bucket holds members that its log never names", Against: "the cluster was not restored; the log names them", Proof: "the log is whole and begins with the restored members",
		Remedy: "as etcd-20967; restore with a current etcdutl", Refs: refs("20967"), Look: restoredZombies,
	},
	{
		ID: "force-new-cluster-leftovers", Name: "force-new-cluster-leftovers", Title: "--force-new-cluster leaves members or learners behind",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "before 3.5.22 and 3.6.1; learners before 3.5.25 and 3.6.6", Fixed: "3.5.25, 3.6.6, 3.7.0",
		Seen: "one voter, removals that nobody proposed, and members left over", Against: "all of them were removed", Proof: "the flags of the server", Remedy: "upgrade, remove them", Refs: refs("20055 20339 20894 12288"), Look: forcedLeftovers,
	},
	{
		ID: "etcd-21694", Name: "memberupdate-drops-learner-21694", Title: "Updating a learner makes etcd take it for a voter",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.4, 3.5.0 to 3.5.30, 3.6.0 to 3.6.11", Fixed: "3.5.31, 3.6.12, 3.7.0",
		Seen: "an update of a learner, which raft still has as one while the members bucket does not", Against: "it was promoted", Proof: "the log and both tables say so", Remedy: "remove the member and add it again; upgrade before 3.7, which would make it a voter", Refs: refs("21694 21736 21737"), Look: updatedLearner,
	},
	{
		ID: "etcd-15096", Name: "promote-not-ready-15096", Title: "A learner that never started is promoted",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "up to 3.4.23, 3.5.6", Fixed: "3.4.24, 3.5.7",
		Seen: "a promotion with no sign of the member in the log before it", Against: "it published its attributes before", Proof: "the log", Remedy: "start it, or remove it while there is a quorum", Refs: refs("15096 15097"), Look: promotedUnstarted,
	},
	{
		ID: "etcd-11640", Name: "promote-quorum-11640", Title: "A promotion that endangers the quorum is allowed",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "3.4.0 to 3.4.3", Fixed: "3.4.4", Seen: "a long silence, or many terms, behind a promotion", Proof: "none", Remedy: "upgrade", Refs: refs("11640"),
	},
	{
		ID: "member-add-without-learner", Name: "member-add-without-learner", Title: "A voter was added whose process never ran",
		Source: Operator, Severity: Medium, Visible: Weak, Affected: "any", Fixed: "add members as learners", Seen: "a voter is added and gives no sign of itself", Against: "it publishes its attributes", Proof: "not possible: it may have begun with a snapshot", Remedy: "start it or remove it; add the next one as a learner", Refs: refs("21667 21669"), Look: addedUnstarted,
	},
	{
		ID: "etcd-14070", Name: "promote-forward-auth-14070", Title: "With auth on, a follower cannot forward a promotion: the learner stays one",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "3.4, 3.5.0 to 3.5.27, 3.6.0 to 3.6.5", Fixed: "3.5.28, 3.6.6, 3.7.0",
		Seen: "nothing is proposed; at most a learner that started, went on, and was never promoted, with auth enabled", Against: "auth is off; it never started", Proof: "only logs of the servers prove it",
		Remedy: "send the request to the leader, or upgrade", Refs: refs("14070 20757 20792 20874 21494"), Look: stuckLearner,
	},
	{
		ID: "autosync-learner-125f3c3f", Name: "autosync-learner-125f3c3f", Title: "Clients take learners for endpoints",
		Source: Upstream, Severity: Low, Visible: None, Affected: "clients up to 3.4.19, 3.5.0 to 3.5.2", Fixed: "3.4.20, 3.5.3, 3.6.0", Seen: "nothing", Remedy: "upgrade the client; promote or remove the learner", Refs: refs("13917 14236"),
	},
}

// versionBugs are about minors, storage versions and the v2 store.
var versionBugs = []*Bug{
	{
		ID: "etcd-12854", Name: "v2-apply-skipped-12854", Title: "Attributes are not applied to the v2 store after a restart",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "versions before the release of 3.5.0", Fixed: "3.5.0", Seen: "v2 stores of members differ at one entry", Proof: "none", Remedy: "none", Refs: refs("12854 12988"),
	},
	{
		ID: "etcd-20496", Name: "confstate-missing-20496", Title: "3.6 cannot tell its storage version: the conf state was never saved",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "3.6.0 to 3.6.4", Fixed: "3.6.5", Seen: "cluster version 3.6, and meta with neither conf state nor storage version", Against: "meta has a conf state", Proof: "meta", Remedy: "upgrade", Refs: refs("20496 20494"), Look: confStateMissing,
	},
	{
		ID: "version-residue", Name: "version-residue", Title: "A downgrade left marks of a newer version",
		Source: Operator, Severity: Medium, Visible: Strong, Affected: "any", Fixed: "3.4.31 and later remove some of them", Seen: "a storage version above the cluster version, a downgrade that is still under way, or a term that stayed behind", Against: "none of these", Proof: "not possible: what was run is not known",
		Remedy: "finish or cancel the downgrade; see etcd-13514 before 3.5.0 to 3.5.2", Refs: refs("13514 13405 17330"), Look: versionResidue,
	},
	{
		ID: "v2store-custom-content", Name: "v2store-custom-content", Title: "Data of the v2 API keeps 3.6 from starting",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "clusters that were ever written to with the v2 API", Fixed: "the check was corrected in 3.5.22 and 3.6.3", Seen: "the newest .snap holds keys of the v2 API", Against: "only the cluster's own", Proof: "the .snap file",
		Remedy: "delete them with the v2 API on 3.5 and let it take a snapshot", Refs: refs("20231 19113 20357 21889"), Look: v2Content,
	},
	{
		ID: "v2-request-in-3.7-wal", Name: "v2-request-in-3.7-wal", Title: "3.7 cannot read what 3.5 wrote behind the newest snapshot",
		Source: Derived, Severity: Medium, Visible: Strong, Affected: "3.7 and later started on a log that 3.5 or older wrote last", Fixed: "by going through 3.6 until it has taken a snapshot", Harmless: true,
		Seen: "entries in the form of the v2 API behind the newest snapshot", Against: "there are none", Proof: "the log", Remedy: "start 3.6 first and let it take a snapshot", Refs: refs("21263 21107"), Look: v2Requests,
	},
	{
		ID: "alarms-persisted", Name: "alarms-persisted", Title: "An alarm is on",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "any", Fixed: "until it is disarmed", Seen: "a row in the alarm table", Against: "it was disarmed", Proof: "the table", Remedy: "remove the cause, then etcdctl alarm disarm; look whether keys differ before believing CORRUPT", Refs: refs("14272 14852 14379 13084"), Look: alarms,
	},
}

// operatorBugs are not bugs: they are things that were done.
var operatorBugs = []*Bug{
	{
		ID: "cluster-id-mismatch", Name: "cluster-id-mismatch", Title: "The members belong to different clusters",
		Source: Operator, Severity: High, Visible: Strong, Affected: "any", Fixed: "not a bug", Seen: "cluster ids differ", Against: "they are equal", Proof: "the ids", Remedy: "do not compare them; empty the odd one and add it again", Refs: refs("11562 13453 15548"), All: mixedClusterIDs,
	},
	{
		ID: "nodeid-duplicate-or-swapped", Name: "nodeid-duplicate-or-swapped", Title: "Two data directories are of one member",
		Source: Operator, Severity: Critical, Visible: Strong, Affected: "any", Fixed: "3.4.32, 3.5.14 and 3.6.0 drop messages to others", Seen: "member ids are equal", Against: "one is an older copy of the other", Proof: "their logs part", Remedy: "stop one for good, remove the member, add it again with an empty directory", Refs: refs("17078 17813 16220"), All: sameNode,
	},
	{
		ID: "restored-cluster", Name: "restored-cluster", Title: "The cluster was restored from a backup",
		Source: Operator, Severity: Info, Visible: Strong, Affected: "any", Fixed: "not a bug", Harmless: true, Seen: "more revisions than entries, and a log that begins with added members of term 1", Against: "revisions and entries fit", Proof: "the log and the keys", Remedy: "restart what watches; restore with bumped revisions", Refs: refs("16029 16165"), Look: restoredCluster,
	},
	{
		ID: "restore-from-different-snapshots", Name: "restore-from-different-snapshots", Title: "Members were restored from different backups",
		Source: Operator, Severity: Critical, Visible: Strong, Affected: "any", Fixed: "not a bug", Seen: "a restored cluster whose members differ at revisions older than its log", Against: "they were equal when the log began", Proof: "the revisions that differ are older than the log", Remedy: "stop, and restore all members from one backup", Test: restoredApart,
	},
	{
		ID: "restore-mixed-wal", Name: "restore-mixed-wal", Title: "A log was left beside a db that does not belong to it",
		Source: Operator, Severity: High, Visible: Strong, Affected: "any", Fixed: "not a bug", Seen: "the consistent index is far beyond the log, or the db's term above that of the log", Against: "they differ by a few entries", Proof: "not possible: a late copy looks the same", Remedy: "restore properly", Refs: refs("9109"), Look: mixedFiles,
	},
}

// authBugs are about users, roles and secrets.
var authBugs = []*Bug{
	{
		ID: "etcd-11943", Name: "plaintext-passwords-11943", Title: "Passwords are written to the log as they were typed",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.4", Fixed: "3.5.0", Harmless: true, Seen: "entries that add users or change passwords hold them", Against: "written by 3.5 or later", Proof: "the log", Remedy: "change passwords if copies of the log got into other hands", Refs: refs("11943"), Look: plaintext,
	},
	{
		ID: "etcd-15619", Name: "empty-permission-range-15619", Title: "A role has a permission on a range that is empty",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "up to 3.4.24, 3.5.7", Fixed: "3.4.25, 3.5.8", Seen: "a permission whose range ends before it begins, or without a key", Against: "all ranges are valid", Proof: "the role table", Remedy: "revoke it with a fixed version", Refs: refs("15619 15621"), Look: emptyPermission,
	},
	{
		ID: "etcd-13086", Name: "nil-permission-13086", Title: "A grant of nothing ends every member",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.4", Fixed: "3.5.0", Seen: "a grant without a permission behind the consistent index", Against: "the entry has one", Proof: "the log", Remedy: "start with a fixed version", Refs: refs("13086"), Look: nilPermission,
	},
	{
		ID: "cve-2026-33413", Name: "unauthenticated-calls-cve-2026-33413", Title: "Calls were accepted without a user although auth is on",
		Source: Upstream, Severity: High, Visible: Weak, Affected: "up to 3.4.41, 3.5.27, 3.6.8", Fixed: "3.4.42, 3.5.28, 3.6.9", Seen: "leases granted without a user while auth is on", Against: "auth was enabled later", Proof: "not possible: etcd itself proposes some", Remedy: "upgrade, and look who can reach the servers", Refs: refs("GHSA-q8m4-xhhv-38mg CVE-2026-33413"), Look: unauthenticated,
	},
}

// backupBugs are about snapshot files.
var backupBugs = []*Bug{
	{
		ID: "etcd-11157", Name: "backup-status-modifies-11157", Title: "Looking at a snapshot file changed it",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "etcdctl up to 3.2.26", Fixed: "3.2.27, 3.3.0", Seen: "the checksum at the end of a snapshot file does not fit, but the tree is sound", Against: "the tree is damaged", Proof: "not possible: what changed it is not known", Remedy: "restore with --skip-hash-check", Refs: refs("11157 8815"), Look: changedBackup,
	},
	{
		ID: "etcd-11896", Name: "backup-truncated-11896", Title: "A snapshot file is not whole",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "etcdctl up to 3.3.20, 3.4.0 to 3.4.7", Fixed: "3.3.21, 3.4.8, 3.5.0", Seen: "no checksum at its end, and pages beyond it", Against: "the file is a plain copy of a db", Proof: "arithmetic", Remedy: "take another snapshot", Refs: refs("11896"), Look: cutBackup,
	},
}

// invisibleBugs leave nothing in a data directory.
var invisibleBugs = []*Bug{
	{
		ID: "etcd-12992", Name: "auth-bundle-12992", Title: "Maintenance calls break the renewal of tokens in clients",
		Source: Upstream, Severity: Low, Visible: None, Affected: "clients 3.5.0 to 3.5.4", Fixed: "3.5.5, 3.6.0", Seen: "nothing: clients log invalid tokens", Remedy: "upgrade the client", Refs: refs("12992 14132"),
	},
	{
		ID: "etcd-12385", Name: "watch-token-12385", Title: "A watch with an expired token fails",
		Source: Upstream, Severity: Low, Visible: None, Affected: "clients; open on their side (15058)", Fixed: "3.4.22 and 3.5.6 had a fix that the client took back", Seen: "nothing", Remedy: "a new client for each watch, JWT, or longer tokens", Refs: refs("12385 14322 14995 15542 15058"),
	},
	{
		ID: "etcd-11670", Name: "observability-11670", Title: "Refused entries were not logged",
		Source: Upstream, Severity: Info, Visible: None, Affected: "before 3.3.21, 3.4.8", Fixed: "3.3.21, 3.4.8, 3.5.0", Seen: "nothing", Remedy: "upgrade for better logs", Refs: refs("11670 11659"),
	},
	{
		ID: "etcd-13932", Name: "lease-renew-race-13932", Title: "Keepalives race with grants and revokes",
		Source: Upstream, Severity: Low, Visible: None, Affected: "before 3.5.23, 3.6.5, 3.4.38", Fixed: "3.5.3, 3.5.5, 3.5.23; 3.4.19, 3.4.20, 3.4.38; 3.6.5", Seen: "nothing: keepalives are no entries", Remedy: "upgrade", Refs: refs("13932 14177 14087 20615"),
	},
	{
		ID: "watch-events", Name: "watch-events", Title: "Watches lose or repeat events",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "various", Fixed: "3.4.25, 3.4.31, 3.4.38; 3.5.8, 3.5.13, 3.5.22; 3.6.2", Seen: "nothing: the data is right", Remedy: "upgrade, and list again in clients", Refs: refs("15271 17529 20286"),
	},
	{
		ID: "etcd-21387", Name: "stale-reads-21387", Title: "Linearizable reads are stale around a change of leader",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "before 3.5.28, 3.6.9", Fixed: "3.5.28, 3.6.9", Seen: "nothing", Remedy: "upgrade", Refs: refs("21387 21378"),
	},
	{
		ID: "etcd-14110", Name: "readonly-txn-panic-14110", Title: "A cancelled read ends the server",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "up to 3.5.4, 3.5.6, 3.4.22", Fixed: "3.5.5, 3.5.7, 3.4.23", Seen: "nothing but the restart", Remedy: "upgrade", Refs: refs("14110 14149 14895"),
	},
	{
		ID: "etcd-12835", Name: "range-log-memory-12835", Title: "Logging large answers takes memory",
		Source: Upstream, Severity: Low, Visible: None, Affected: "before 3.5.0", Fixed: "3.5.0", Seen: "nothing", Remedy: "upgrade", Refs: refs("12835 12871"),
	},
	{
		ID: "etcd-13494", Name: "txclosed-panic-13494", Title: "A start with a received db ends with a panic, once",
		Source: Upstream, Severity: Low, Visible: None, Affected: "3.5.0, 3.5.1", Fixed: "3.5.2, 3.6.0", Seen: "at most the received db", Remedy: "start again; upgrade", Refs: refs("13494 13500"),
	},
	{
		ID: "etcd-13505", Name: "shared-lock-crash-13505", Title: "Crashes under load that bring out other bugs",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "3.5.0, 3.5.1", Fixed: "3.5.2", Seen: "only the restart", Remedy: "upgrade", Refs: refs("13505 13541"),
	},
}
