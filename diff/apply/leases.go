package apply

// leaseTable is what the state holds of leases, by their numbers. A lease is stored if it exists or is lost, and never both; only one that exists has keys.
type leaseTable struct {
	exists []bool
	lost   []bool    // in the table, but not known to the server
	keys   [][]int32 // those attached to it at some time: the ones whose record names it are attached now

	sum     uint64 // digest of all that are stored
	lostSum uint64 // digest of those that are lost
}

func newLeaseTable(n int) leaseTable {
	return leaseTable{exists: make([]bool, n), lost: make([]bool, n), keys: make([][]int32, n)}
}

// toggle makes a lease exist that is not stored, or the other way round.
func (t *leaseTable) toggle(lease int32) {
	t.exists[lease] = !t.exists[lease]
	t.sum ^= leaseDigest(lease)
}

// toggleLost makes a lease lost that exists, or the other way round.
func (t *leaseTable) toggleLost(lease int32) {
	t.exists[lease], t.lost[lease] = t.lost[lease], t.exists[lease]
	t.lostSum ^= leaseDigest(lease)
}

func leaseDigest(lease int32) uint64 { return mix(uint64(lease) ^ 0xd1b54a32d192ed03) }

// DigestOfLeases is the digest of some leases.
func DigestOfLeases(leases []int32) (h uint64) {
	for _, l := range leases {
		h ^= leaseDigest(l)
	}
	return h
}
