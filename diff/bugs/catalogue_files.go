package bugs

// leaseBugs are about leases, mostly without a parting.
var leaseBugs = []*Bug{
	{
		ID: "etcd-15247", Name: "old-leader-revokes-15247", Title: "A leader that stalled goes on revoking leases after another was elected",
		Source: Upstream, Severity: High, Visible: Weak, Affected: "up to 3.4.30, 3.5.0 to 3.5.12", Fixed: "3.4.31, 3.5.13, 3.6.0",
		Seen: "right behind the beginning of a term, a burst of revokes from the member that revoked leases in the term before", Against: "the new leader revoked them; spread over time",
		Proof: "only logs of the servers prove it", Remedy: "upgrade, find out why the disk or processor stalled", Refs: refs("15247 12528 17425 17465"), Look: revokesOfOldLeader,
	},
	{
		ID: "etcd-13508", Name: "lease-checkpoint-lost-13508", Title: "What is left of a lease's time is forgotten",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "3.4.0 to 3.4.19, 3.5.0, 3.5.1; later without the flag that persists it, up to cluster version 3.6", Fixed: "3.4.20 and 3.5.2 with the flag, 3.6.0",
		Seen: "the log holds checkpoints of leases, the lease table does not", Against: "a later checkpoint took it back", Proof: "not needed", Remedy: "set the flag on all members, or upgrade to 3.6",
		Refs: refs("13508 13515 14253"), Look: lostCheckpoints,
	},
	{
		ID: "etcd-13205", Name: "lease-leak-token-13205", Title: "A leader that got its auth table with a snapshot cannot revoke leases",
		Source: Upstream, Severity: Medium, Visible: Weak, Affected: "up to 3.4.18, 3.5.0 to 3.5.4 with auth and simple tokens", Fixed: "3.4.19, 3.5.5",
		Seen: "leases far older than their TTL while one member led; keepalives, which leave no trace, look the same", Proof: "logs of the servers", Remedy: "upgrade, or restart the leader", Refs: refs("13205 13172 13206"),
	},
	{
		ID: "etcd-11935", Name: "lease-reapply-11935", Title: "Lease entries run again after a restart",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "up to 3.4", Fixed: "3.5.0", Harmless: true,
		Seen: "the lease table is ahead of the consistent index, which is normal up to 3.4", Proof: "not needed", Remedy: "none", Refs: refs("11935"),
	},
	{
		ID: "etcd-9374", Name: "lease-ttl-overflow-9374", Title: "Leases for absurdly long times overflow",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "up to 3.2.16, 3.3.0, 3.3.1", Fixed: "3.2.17, 3.3.2, 3.4.0",
		Seen: "a lease of more than 9,000,000,000 s; newer members refuse to grant it", Against: "all leases are shorter", Proof: "the lease table and the log say so",
		Remedy: "revoke the lease, upgrade", Refs: refs("9374 9399"), Look: longLeases, Test: longLease,
	},
	{
		ID: "lease-dangling-invariant", Name: "lease-dangling-invariant", Title: "A live key refers to a lease that does not exist",
		Source: Derived, Severity: Medium, Visible: Strong, Affected: "any; a trace of other faults", Fixed: "not a bug by itself",
		Seen: "the last put of a key names a lease that the table lacks", Against: "the key was deleted later; part of the file could not be read", Proof: "the tables say so",
		Remedy: "the key will not expire: delete it or put it again; rebuild the member if it stands alone", Look: dangling,
	},
}

// indexBugs are about consistent index, snapshots and the log.
var indexBugs = []*Bug{
	{
		ID: "etcd-13937", Name: "cindex-stuck-failed-apply-13937", Title: "Refused entries do not move the consistent index, and the member cannot start",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.5.3", Fixed: "3.5.4",
		Seen: "the newest snapshot is beyond the consistent index, no db belongs to it, and every entry in between is refused", Against: "an entry in between has an effect; a db for the snapshot exists",
		Proof: "the entries in between, run again, change nothing", Remedy: "the index may be raised to the snapshot's on a copy, since nothing is missing; otherwise rebuild the member; upgrade", Refs: refs("13937 13942 13946"), Look: snapshotAheadBecause("refused"),
	},
	{
		ID: "etcd-14382", Name: "cindex-stuck-alarm-14382", Title: "Alarm requests do not move the consistent index, and the member cannot start",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.5.3, 3.5.4", Fixed: "3.5.5, 3.6.0",
		Seen: "as etcd-13937, with entries that ask for alarms or raise what is on already", Against: "other entries with an effect in between", Proof: "as etcd-13937",
		Remedy: "as etcd-13937; make space; do not ask for alarms as a health check", Refs: refs("14382 14419 14429 21636 14379"), Look: snapshotAheadBecause("alarm"),
	},
	{
		ID: "etcd-17146", Name: "cindex-behind-snapshot-17146", Title: "The newest snapshot is beyond the db",
		Source: Open, Severity: High, Visible: Strong, Affected: "seen on 3.1.8 and 3.4; 3.5.0 to 3.5.11 do not check it", Fixed: "checked again in 3.5.12; the cause is open",
		Seen: "the newest snapshot is beyond the consistent index, no db belongs to it, and entries in between have effects that the db lacks", Against: "nothing is missing (etcd-13937, etcd-14382); a db for the snapshot exists",
		Proof: "the entries in between, if a log holds them, make what other members hold", Remedy: "rebuild the member; from a last copy, apply the entries in between on a copy", Refs: refs("17146 8103 9480 11949"), Look: snapshotAheadBecause("lost", "unknown"),
	},
	{
		ID: "db-ahead-of-commit-raft300", Name: "db-ahead-of-commit-raft300", Title: "The db has applied more than the saved commit index",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "any, after a kill", Fixed: "by design; forced new clusters mind it from 3.5.22, 3.6.1 and 3.7.0 on", Harmless: true,
		Seen: "the consistent index is above the last commit index and within the log", Against: "it is above the end of the log", Proof: "the log holds the entries",
		Remedy: "none, but take care with --force-new-cluster", Refs: refs("raft#300 20009 20426"), Look: foundBy(Confirmed, "index-beyond-commit"),
	},
	{
		ID: "etcd-10219", Name: "wal-snap-order-10219", Title: "A crash while a received snapshot is saved leaves a commit index without its entries",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.3.20, 3.4.0 to 3.4.7", Fixed: "3.3.21, 3.4.8, 3.5.0",
		Seen: "the commit index is beyond the log and its snapshot records, and a snapshot file of just that entry is there", Against: "no such file: then the log lost its end",
		Proof: "the file's index is the commit index", Remedy: "start it with a newer version, or rebuild the member", Refs: refs("10219 11888"), Look: snapOrder,
	},
	{
		ID: "etcd-11918", Name: "wal-validate-crc-11918", Title: "A sound log of several segments is taken for damaged",
		Source: Upstream, Severity: Medium, Visible: None, Affected: "3.3.21, 3.4.8", Fixed: "3.3.22, 3.4.9", Seen: "nothing: the files are sound", Remedy: "upgrade", Refs: refs("11918 11924"),
	},
	{
		ID: "etcd-11308", Name: "wal-purged-too-early-11308", Title: "A segment of the log that is still needed is removed while the server stops",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.2.27, 3.3.0 to 3.3.17, 3.4.0 to 3.4.3", Fixed: "3.2.28, 3.3.18, 3.4.4",
		Seen: "a segment is missing, or the log begins behind what the db has applied", Against: "a newer version; the copy is not whole", Proof: "not possible: a segment that was not copied looks the same",
		Remedy: "rebuild the member", Refs: refs("11308"), Look: purgedEarly,
	},
	{
		ID: "etcd-14114", Name: "wal-record-over-10mb-14114", Title: "A record of 10 MiB or more cannot be read back",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.4, 3.5.0 to 3.5.4 with a raised request limit", Fixed: "3.5.5, 3.6.0",
		Seen: "a record of 10 MiB or more with a right checksum", Against: "the length is damage", Proof: "the checksum", Remedy: "start with a fixed version; lower --max-request-bytes", Refs: refs("14114 14122 14127"), Look: bigRecord,
	},
	{
		ID: "etcd-15069", Name: "wal-tail-not-repaired-15069", Title: "A last record that is not whole is not repaired",
		Source: Upstream, Severity: Medium, Visible: Strong, Affected: "3.5.5, 3.5.6", Fixed: "3.5.7",
		Seen: "the last record runs past the end of the log, and everything before it is sound", Against: "damage elsewhere; another minor", Proof: "only the version tells it from a torn log",
		Remedy: "start with 3.5.7 or later, which cuts the record off and keeps a copy", Refs: refs("15069 15068"), Look: brokenTail,
	},
	{
		ID: "wal-torn-or-bitrot", Name: "wal-torn-or-bitrot", Title: "The log is torn at its end, or damaged in the middle",
		Source: Environment, Severity: High, Visible: Strong, Affected: "any", Fixed: "not a bug of etcd",
		Seen: "at the end a record that is not whole; elsewhere a checksum that does not fit, with sound records behind it", Against: "all checksums fit", Proof: "the checksums",
		Remedy: "copy the file again (stopped, or a file system snapshot): the member may be healthy; only if its own file is the same, at the end let etcd repair it, elsewhere rebuild the member, and test the disk and its cache", Refs: refs("11488 14093 14098"), Look: damagedLog,
	},
	{
		ID: "unsafe-no-fsync", Name: "unsafe-no-fsync", Title: "A crash while syncing was switched off",
		Source: Upstream, Severity: High, Visible: Weak, Affected: "with --unsafe-no-fsync only", Fixed: "by not using it",
		Seen: "several voters, and a consistent index beyond the end of the log", Against: "the flag was not set", Proof: "the flags of the server", Remedy: "rebuild the member; never use the flag in production", Refs: refs("11946 12751 12752"), Look: aheadOfLog,
	},
	{
		ID: "lost-acked-log", Name: "lost-acked-log", Title: "Members went back in time: the log was forked",
		Source: Environment, Severity: Critical, Visible: Strong, Affected: "any", Fixed: "not a bug of etcd",
		Seen: "different entries at one index that both sides know to be committed", Against: "they differ above what is committed only", Proof: "raft forbids it as long as nobody forgets what it has written",
		Remedy: "never start the older copies again; choose one member, restore the cluster from its db with bumped revisions, and find out who put back a disk, a volume or a data directory", Refs: refs("14143 14092"), Test: committedEntriesLost,
	},
	{
		ID: "snap-file-broken", Name: "snap-file-broken", Title: "A .snap file is damaged",
		Source: Environment, Severity: Medium, Visible: Strong, Affected: "any", Fixed: "not a bug of etcd", Seen: "a .snap file that is empty or whose checksum does not fit, or one set aside as .broken", Against: "the checksum fits", Proof: "the checksum",
		Remedy: "an older .snap does if the log reaches back to it; 3.7 does not need it", Look: foundBy(Confirmed, "snap-crc-mismatch", "snap-empty", "snap-malformed", "snap-unreadable"),
	},
	{
		ID: "snapdb-pending", Name: "snapdb-pending", Title: "A db received from a leader lies beside the one in use",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "any, after a crash", Fixed: "etcd takes it at the next start", Harmless: true,
		Seen: "a .snap.db of an entry beyond the db (the next start takes it) or before it (a leftover)", Proof: "its index", Remedy: "keep it: often the best state to start from", Refs: refs("11888 7967 13494"), Look: foundBy(Confirmed, "snap-db-pending", "snap-db-orphan"),
	},
}

// fileBugs are about the db file.
var fileBugs = []*Bug{
	{
		ID: "etcd-11613", Name: "defrag-orphan-tmp-11613", Title: "A defragmentation takes over what an earlier one left behind",
		Source: Upstream, Severity: High, Visible: Weak, Affected: "up to 3.2.28, 3.3.0 to 3.3.18, 3.4.0 to 3.4.3", Fixed: "3.2.29, 3.3.19, 3.4.4, 3.5.0",
		Seen: "on one member leases, users or members that the log has deleted", Against: "other members have them, too; a newer version", Proof: "not possible: the leftover is gone",
		Remedy: rebuildMember, Refs: refs("11613"), Test: revokedLeaseIsBack,
	},
	{
		ID: "etcd-18842", Name: "defrag-errors-18842", Title: "A defragmentation that fails leaves its file open",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "up to 3.4.34, 3.5.16", Fixed: "3.4.35, 3.5.17, 3.6.0", Harmless: true,
		Seen: "a db.tmp file beside a sound db", Proof: "not needed", Remedy: "make space, delete the file, restart", Refs: refs("18842 18822 18810"), Look: foundBy(Consistent, "defrag-leftover"),
	},
	{
		ID: "etcd-20271", Name: "defrag-vs-applysnapshot-20271", Title: "A defragmentation puts the old db in the place of a received one",
		Source: Upstream, Severity: Critical, Visible: Strong, Affected: "up to 3.4.37, 3.5.22, 3.6.4", Fixed: "3.4.38, 3.5.23, 3.6.5, 3.7.0",
		Seen: "a snapshot was received beyond the db's consistent index, no file of it is left, and the db is that of before, or damaged", Against: "the db has come to the snapshot", Proof: "not possible without the server's log",
		Remedy: rebuildMember + "; do not defragment members that are catching up", Refs: refs("20271 20553 20650 20653"), Look: swappedFile,
	},
	{
		ID: "bbolt-freelist-3.2", Name: "bbolt-freelist-3.2", Title: "The stored freelist of early 3.2 is damaged",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "3.2.0 to 3.2.9", Fixed: "3.2.10; 3.3 and later do not store it on Linux",
		Seen: "the freelist is no freelist, or a page is free and in use", Against: "the db stores no freelist, or a later version wrote it: on other systems than Linux, and after a tool has opened the db for writing, all store it", Proof: "walking all pages", Remedy: "defragment into a new file, or rebuild the member; upgrade", Refs: refs("8813 8009 bbolt#29"), Look: freelistDamaged,
	},
	{
		ID: "bbolt-structural", Name: "bbolt-structural", Title: "The db file is damaged",
		Source: Environment, Severity: High, Visible: Strong, Affected: "any", Fixed: "not a bug of etcd; newer versions of bbolt notice more of it",
		Seen: "pages that are not what refers to them, are used twice, or lie beyond the end", Against: "both trees are sound", Proof: "walking all pages; if the older meta page leads to a sound tree, only the last commit is lost",
		Remedy: "copy the file again (stopped, or a file system snapshot): the member may be healthy; only if its own file is the same, rebuild the member (from a last copy, use the older meta page and apply the log), and test disk, file system and memory", Refs: refs("10722 11949 bbolt#562 bbolt#701 bbolt#778"), Look: damagedDB,
	},
	{
		ID: "etcd-13406", Name: "bbolt-hwm-beyond-file-13406", Title: "The db file is shorter than it says",
		Source: Environment, Severity: High, Visible: Strong, Affected: "any", Fixed: "not a bug of etcd", Seen: "pages in use lie beyond the end of the file", Against: "they do not", Proof: "arithmetic",
		Remedy: "copy the file again (stopped, or a file system snapshot): the member may be healthy; only if its own file is the same, use the older meta page, or rebuild the member", Refs: refs("13406"), Look: foundBy(Confirmed, "db-truncated"),
	},
	{
		ID: "etcd-16596", Name: "bbolt-init-torn-16596", Title: "Power failed while a new db was made",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "any", Fixed: "documented only", Seen: "a db of less than four pages", Against: "a larger file", Proof: "the log holds the first entries only", Remedy: "delete the data directory and add the member again", Refs: refs("16596 bbolt#567"), Look: tinyDB,
	},
	{
		ID: "etcd-1058", Name: "bbolt-writeto-overwrite-1058", Title: "A snapshot was copied from a file that was being replaced",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "before 3.5.23, 3.6.5 (bbolt before 1.3.12, 1.4.3)", Fixed: "bbolt 1.3.12, 1.4.3",
		Seen: "a snapshot file with a right checksum at its end, but a damaged tree", Against: "the tree is sound", Proof: "the checksum fits the damage", Remedy: "take another snapshot", Refs: refs("bbolt#1058 bbolt#1059"), Look: mixedSnapshot,
	},
}

// compactionBugs are about compaction, revisions and hashes.
var compactionBugs = []*Bug{
	{
		ID: "etcd-17780", Name: "revision-decrease-17780", Title: "After a crash while compacting, revisions are given twice",
		Source: Upstream, Severity: High, Visible: Strong, Affected: "up to 3.4.31, 3.5.0 to 3.5.13", Fixed: "3.4.32, 3.5.14, 3.6.0",
		Seen: "a compaction at a revision beyond the last row that is left, not finished", Against: "the last row is at or beyond it; a fixed version started the member", Proof: "the compaction is scheduled beyond the last row",
		Remedy: "upgrade before starting it; rebuild the member if it has gone on; in a single member, bump revisions with a restore", Refs: refs("17780 16693 17815 17865"), Look: revisionBack,
	},
	{
		ID: "etcd-18089", Name: "compact-tombstone-18089", Title: "A tombstone at the compact revision is kept by newer patches, and removed by older ones",
		Source: Upstream, Severity: Low, Visible: Strong, Affected: "up to 3.4.33, 3.5.15", Fixed: "3.4.34, 3.5.16, 3.6.0", Harmless: true,
		Seen: "a tombstone at just the compact revision", Against: "other rows differ", Proof: "not needed", Remedy: "none: hashes leave it out", Refs: refs("18089 18274 19179"), Look: tombstoneAtCompaction,
	},
	{
		ID: "etcd-15919", Name: "compact-hash-resume-15919", Title: "A restart while compacting raises a false alarm of corruption",
		Source: Upstream, Severity: Medium, Visible: Weak, Affected: "3.5.5 to 3.5.9 with the compact hash check", Fixed: "3.5.10, 3.4.27, 3.6.0",
		Seen: "the alarm CORRUPT is on, but nothing differs", Against: "rows differ", Proof: "logs of the servers", Remedy: "disarm the alarm, upgrade", Refs: refs("15919 15985 14325"), All: falseCorrupt,
	},
	{
		ID: "compaction-progress-skew", Name: "compaction-progress-skew", Title: "Members have removed compacted rows to different points",
		Source: Derived, Severity: Info, Visible: Strong, Affected: "any", Fixed: "by design", Harmless: true, Seen: "a compaction that is not finished", Against: "rows above it differ", Proof: "not needed", Remedy: "none", Look: unfinishedCompaction,
	},
	{
		ID: "etcd-14894", Name: "no-compaction-14894", Title: "A config file that sets a retention without a mode switches compaction off",
		Source: Upstream, Severity: Low, Visible: Weak, Affected: "up to 3.5 with a config file", Fixed: "3.6.0",
		Seen: "the log asks for no compaction, and every revision from the first on is there", Against: "compactions in the log", Proof: "only the config file proves it",
		Remedy: "set auto-compaction-mode, too; compact, then defragment one member after the other", Refs: refs("14894 15741 14896"), Look: neverCompacted,
	},
}
