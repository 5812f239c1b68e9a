package bugs

// applyBugs make members that follow one log do different things with the same entry.
var applyBugs = []*Bug{
	{ID: "etcd-11651", Name: "auth-revision-replay-11651", Test: authReplayed},
	{ID: "etcd-11689", Name: "lease-revoke-auth-11689", Test: leaseRevokeUnasked},
	{ID: "lease-put-auth-mixed-3.2-3.3", Name: "lease-put-auth-mixed-3.2-3.3", Test: leasePutUnasked},
	{ID: "mixed-minor-request-semantics", Name: "mixed-minor-request-semantics", Test: requestSemantics},
	{ID: "etcd-13766", Name: "cindex-nonatomic-13766", Test: skippedAfterCrash},
	{ID: "etcd-13514", Name: "cindex-term-decrease-13514", Test: staleTerm},
	{ID: "etcd-13922", Name: "snapshot-cindex-overwritten-13922", Test: overwrittenIndex},
	{ID: "etcd-14685", Name: "defrag-crash-cindex-14685", Test: defragCrash},
	{ID: "etcd-14571", Name: "auth-cache-after-snapshot-14571", Test: cacheAfterSnapshot},
	{ID: "etcd-14409", Name: "auth-cache-after-restart-14409", Test: cacheAfterRestart},
	{ID: "etcd-18667", Name: "txn-range-revision-18667", Test: rangeRevision},
	{ID: "etcd-12535", Name: "negative-lease-id-12535", Test: negativeLease},
	{ID: "etcd-18679", Name: "txn-partial-18679", Test: halfTxn},
	{ID: "lost", Name: "lost-acked-log", Test: wentBack},
	{ID: "manual", Name: "manual-change", Test: manualChange},
}
