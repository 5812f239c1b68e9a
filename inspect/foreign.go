package inspect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/inspect/bolt"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// noDB says why there is no db.
func (m *Member) noDB() finding.Finding {
	const name = "member/snap/db"
	if m.Bare {
		what := "only a .snap file of raft was given"
		if len(m.Snaps) == 0 && m.Log.Coverage.Bytes > 0 {
			what = "only a segment of a log was given"
		}
		return finding.New("db-not-given", finding.Warning, name, "%s, no db", what).Lost()
	}
	if version, ok := m.etcd2(); ok {
		return finding.New("etcd-2", finding.Error, name,
			"a data directory of etcd 2%s: its keys are in the v2 store, in member/snap/*.snap and in the log, which this program does not compare", version).Lost()
	}
	return finding.New("db-missing", finding.Error, name, "no db file").Lost()
}

// maxAsked bounds how many requests are decoded to learn which etcd wrote a log.
const maxAsked = 10_000

// etcd2 tells whether a member without a db is one of etcd 2, which has its keys in the v2 store below /1
// (store.StoreKeysPrefix in etcdserver/server.go, v2.3.8) and a cluster version below 3. A member of a later version that
// has lost its db has a later cluster version, or requests of v3.
func (m *Member) etcd2() (version string, ok bool) {
	if v := m.LogMembership().ClusterVersion; v != "" {
		if major, _, _ := strings.Cut(v, "."); major != "2" {
			return "", false
		}
		return fmt.Sprintf(" (cluster version %s)", strings.Trim(strconv.QuoteToASCII(v), `"`)), true
	}
	for i := range m.Log.Entries[:min(len(m.Log.Entries), maxAsked)] {
		r, err := raftlog.Decode(&m.Log.Entries[i])
		switch {
		case err != nil:
		case r.Internal != nil:
			return "", false
		case r.V2 != nil && (r.V2.Method == "SYNC" || strings.HasPrefix(r.V2.Path, "/1/")):
			ok = true
		}
	}
	return "", ok
}

// buckets are those that etcd makes (server/storage/schema/bucket.go, v3.7.0).
var buckets = []string{
	schema.Key, "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles", "test",
}

// maxBuckets is how many buckets of another program are named.
const maxBuckets = 5

// noKeys says why there is no bucket with keys, and whether that is damage.
func (m *Member) noKeys(db *bolt.DB) (f finding.Finding, damage bool) {
	names, name := db.BucketNames(), m.DB.File.Name
	sound := len(db.Damage()) == 0 && m.DB.Whole
	switch {
	case sound && len(names) == 0 && db.Meta().TxID <= 1 && len(m.Log.Entries) == 0:
		return finding.New("first-start-interrupted", finding.Warning, name, "a new bbolt file, to which nothing was ever written"), false
	case sound && len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(buckets, n) }):
		more := ""
		if n := len(names); n > maxBuckets {
			names, more = names[:maxBuckets], fmt.Sprintf(" and %d more", n-maxBuckets)
		}
		var quoted []string
		for _, n := range names {
			quoted = append(quoted, strconv.QuoteToASCII(n[:min(len(n), 40)]))
		}
		return finding.New("db-foreign", finding.Error, name, "a bbolt db of another program, not of etcd: its buckets are %s%s", strings.Join(quoted, ", "), more).Lost(), true
	}
	return finding.New("bucket-missing", finding.Error, name, "no bucket %q", schema.Key).Lost(), true
}
