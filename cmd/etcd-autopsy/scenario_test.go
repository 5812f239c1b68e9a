package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/report"
)

// truth is what is known about a scenario from the outside.
type truth struct {
	Diverged bool             `json:"diverged"`
	Damaged  []string         `json:"damaged_members"`
	Kills    []any            `json:"kills"`
	Expect   *expect          `json:"expect"`
	Live     map[string]live  `json:"live"`
	Stopped  map[string]facts `json:"before_stop"`
	OnDisk   map[string]disk  `json:"on_disk"`
}

// expect is what diff must answer.
type expect struct {
	Verdict    diff.Verdict   `json:"verdict"`
	VerdictIn  []diff.Verdict `json:"verdict_in"`
	Layer      diff.Layer     `json:"layer"`
	Minority   []string       `json:"minority"`
	EntryIndex uint64         `json:"entry_index"`
	Keys       []string       `json:"keys"`
	Bug        string         `json:"bug"`
}

// live is what a running member answered.
type live struct {
	MemberID   string   `json:"member_id"`
	ClusterID  string   `json:"cluster_id"`
	Revision   int64    `json:"revision"`
	Server     string   `json:"server"`
	ClusterVer string   `json:"cluster_version"`
	StorageVer string   `json:"storage_version"`
	HashKV     *hashKV  `json:"hash_kv"`
	Auth       *auth    `json:"auth"`
	Keys       *int     `json:"keys"`
	Leased     *int     `json:"leased_keys"`
	Leases     []string `json:"leases"`
	Members    []member `json:"members"`
}

type hashKV struct {
	Hash     uint32 `json:"hash"`
	Compact  int64  `json:"compact_revision"`
	Revision int64  `json:"revision"`
}

type auth struct {
	Enabled  bool   `json:"enabled"`
	Revision uint64 `json:"revision"`
}

type member struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
	Learner    bool     `json:"learner"`
}

type facts struct {
	MemberID  string `json:"member_id"`
	ClusterID string `json:"cluster_id"`
	Revision  int64  `json:"revision"`
	Keys      *int   `json:"key_count"`
}

// disk is what another program read from the same files.
type disk struct {
	ConsistentIndex *uint64 `json:"meta_consistent_index"`
	Finished        string  `json:"meta_finishedCompactRev"`
	Scheduled       string  `json:"meta_scheduledCompactRev"`
	StorageVersion  string  `json:"meta_storageVersion"`
	AuthRevision    *uint64 `json:"auth_revision"`
	AuthEnabled     *bool   `json:"auth_enabled"`
	Leases          any     `json:"lease_bucket"`
	Rows            *int    `json:"key_bucket_records"`
	LastRevision    *int64  `json:"max_revision_in_key_bucket"`
	WAL             *struct {
		First     uint64 `json:"first_index"`
		Last      uint64 `json:"last_index"`
		HardState struct {
			Term, Commit uint64
			Vote         string
		} `json:"hardstate"`
	} `json:"wal"`
	DB *struct {
		TxID    uint64         `json:"txid"`
		Buckets map[string]int `json:"buckets"`
		Last    []int64        `json:"last_rev"`
	} `json:"db"`
}

func readTruth(t *testing.T, scenario string) *truth {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(scenarios, scenario, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	tr := new(truth)
	if err := json.Unmarshal(b, tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestScenarios compares what the program says about real members with what is known about them.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range scenarioNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := readTruth(t, name)
			ms := scenarioMembers(t, name)
			if tr.Expect != nil {
				checkDiff(t, tr.Expect, shared.compare(t.Context(), ms, diff.Options{}))
			}
			doc := report.Members(ms)
			for i := range doc.Members {
				checkMember(t, tr, &doc.Members[i], ms[i])
			}
			checkFindings(t, name, ms)
		})
	}
}

func checkDiff(t *testing.T, want *expect, got *diff.Document) {
	t.Helper()
	if in := append(slices.Clone(want.VerdictIn), want.Verdict); !slices.Contains(in, got.Verdict) {
		t.Fatalf("verdict %s, want one of %q; reasons %q", got.Verdict, in, got.Reasons)
	}
	if want.Verdict == diff.Diverged {
		if len(got.Divergences) == 0 {
			t.Fatal("diverged without a divergence")
		}
		v := got.Divergences[0]
		if want.Layer != "" && v.Layer != want.Layer {
			t.Errorf("layer %s, want %s", v.Layer, want.Layer)
		}
		if want.Minority != nil && !slices.Equal(v.Minority, want.Minority) {
			t.Errorf("minority %q, want %q", v.Minority, want.Minority)
		}
		if want.EntryIndex > 0 && !contains(&v, want.EntryIndex) {
			t.Errorf("parted at entry %+v, want %d", v.Entry, want.EntryIndex)
		}
		if want.Bug != "" && !slices.ContainsFunc(v.Explanations, func(x diff.Explanation) bool { return x.ID == want.Bug && x.Status != diff.Refuted }) {
			t.Errorf("explained by %+v, want %s", v.Explanations, want.Bug)
		}
	} else if len(got.Divergences) > 0 || got.Keys.Len() > 0 {
		t.Errorf("verdict %s, yet %d divergences and %d keys that differ", got.Verdict, len(got.Divergences), got.Keys.Len())
	}
	if want.Keys != nil {
		var keys []string
		for k := range got.Keys.Brief() {
			keys = append(keys, string(k.Key))
		}
		if d := gocmp.Diff(want.Keys, keys); d != "" {
			t.Errorf("keys that differ (-want +got):\n%s", d)
		}
	}
}

// contains tells whether a divergence names the entry, or an interval with it.
func contains(v *diff.Divergence, index uint64) bool {
	if v.Entry != nil {
		return v.Entry.Index == index
	}
	return v.EntryInterval != nil && v.EntryInterval.First <= index && index <= v.EntryInterval.Last
}

func checkMember(t *testing.T, tr *truth, got *report.Member, m *inspect.Member) {
	t.Helper()
	if slices.Contains(tr.Damaged, got.Label) || !got.Complete {
		return
	}
	eq := func(what string, got, want any) {
		t.Helper()
		if d := gocmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s (-want +got):\n%s", m.Label, what, d)
		}
	}
	if l, ok := tr.Live[got.Label]; ok {
		checkLive(eq, &l, tr.Kills == nil, got, m)
	}
	if f, ok := tr.Stopped[got.Label]; ok && f.MemberID != "" && got.MemberID != nil {
		eq("member id", got.MemberID.String(), padded(f.MemberID))
		eq("cluster id", got.Cluster.String(), padded(f.ClusterID))
		if eq("revision", got.Revision, f.Revision); f.Keys != nil {
			eq("keys", got.Keys, *f.Keys)
		}
	}
	if d, ok := tr.OnDisk[got.Label]; ok {
		checkDisk(eq, &d, got)
	}
}

func checkLive(eq func(string, any, any), l *live, quiesced bool, got *report.Member, m *inspect.Member) {
	if l.MemberID != "" && got.MemberID != nil {
		eq("member id", got.MemberID.String(), l.MemberID)
		eq("cluster id", got.Cluster.String(), l.ClusterID)
	}
	if l.ClusterVer != "" {
		eq("cluster version", got.ClusterVersion, l.ClusterVer)
	}
	if h := l.HashKV; h != nil {
		eq("hashKV", m.DB.Rows.HashKV(h.Revision, max(h.Compact, 0)), h.Hash)
	}
	if !quiesced {
		return
	}
	if l.Revision > 0 {
		eq("revision", got.Revision, l.Revision)
	}
	if l.HashKV != nil {
		eq("hashKV now", got.HashKV, l.HashKV.Hash)
		eq("compact revision", got.CompactRevision, max(l.HashKV.Compact, 0))
	}
	if l.Auth != nil {
		eq("auth revision", got.AuthRevision, l.Auth.Revision)
		eq("auth enabled", got.AuthEnabled, l.Auth.Enabled)
	}
	if l.Keys != nil {
		eq("keys", got.Keys, *l.Keys)
	}
	if l.Leased != nil {
		leased := len(got.LeasedWithout)
		for _, x := range got.LeaseTable {
			leased += len(x.Keys)
		}
		eq("keys with a lease", leased, *l.Leased)
	}
	if l.StorageVer != "" {
		eq("storage version", got.StorageVersion, l.StorageVer)
	}
	if l.Leases != nil {
		ids := []string{}
		for _, x := range got.LeaseTable {
			ids = append(ids, x.ID.String())
		}
		eq("leases", ids, l.Leases)
	}
	if len(l.Members) > 0 {
		eq("members", membersOf(l.Server, got), sortedMembers(l.Members))
	}
}

// membersOf is the membership that a server of that version answers with.
func membersOf(server string, got *report.Member) []member {
	from := &got.MembersBucket
	if server < "3.6" && got.LogMembership != nil {
		from = &got.LogMembership.Membership
	}
	var out []member
	for _, m := range from.Members {
		out = append(out, member{m.ID.String(), m.Called(), m.PeerURLs, m.ClientURLs, m.Learner})
	}
	return sortedMembers(out)
}

func sortedMembers(ms []member) []member {
	slices.SortFunc(ms, func(a, b member) int { return cmp.Compare(a.ID, b.ID) })
	return ms
}

func checkDisk(eq func(string, any, any), d *disk, got *report.Member) {
	if d.ConsistentIndex != nil {
		eq("consistent index", got.ConsistentIndex, *d.ConsistentIndex)
	}
	if d.Rows != nil {
		eq("rows", got.Revisions, *d.Rows)
	}
	if d.LastRevision != nil && *d.LastRevision >= got.CompactRevision {
		eq("revision", got.Revision, *d.LastRevision)
	}
	if d.AuthRevision != nil {
		eq("auth revision", got.AuthRevision, *d.AuthRevision)
	}
	if d.AuthEnabled != nil {
		eq("auth enabled", got.AuthEnabled, *d.AuthEnabled)
	}
	if d.Finished != "" {
		eq("finished compaction", strconv.FormatInt(got.FinishedCompact, 10)+"_0", d.Finished)
	}
	if d.Scheduled != "" {
		eq("scheduled compaction", strconv.FormatInt(got.ScheduledCompact, 10)+"_0", d.Scheduled)
	}
	if all, ok := d.Leases.([]any); ok {
		eq("leases", got.Leases, len(all))
	}
	if w := d.WAL; w != nil {
		eq("first index", got.Log.FirstIndex, w.First)
		eq("last index", got.Log.LastIndex, w.Last)
		eq("hard state term", got.Log.Term, w.HardState.Term)
		eq("hard state commit", got.Log.Commit, w.HardState.Commit)
		eq("vote", got.Log.Vote.String(), padded(w.HardState.Vote))
	}
	if db := d.DB; db != nil {
		if db.TxID > 0 {
			eq("txid", got.DB.TxID, db.TxID)
		}
		if n, ok := db.Buckets["key"]; ok {
			eq("rows", got.Revisions, n)
			eq("leases", got.Leases, db.Buckets["lease"])
			eq("members", len(got.MembersBucket.Members), db.Buckets["members"])
			eq("removed members", len(got.MembersBucket.Removed), db.Buckets["members_removed"])
			eq("users", len(got.Users), db.Buckets["authUsers"])
			eq("alarms", len(got.Alarms), db.Buckets["alarm"])
		}
		if len(db.Last) > 0 && db.Last[0] >= got.CompactRevision {
			eq("revision", got.Revision, db.Last[0])
		}
	}
}

func padded(hex string) string { return strings.Repeat("0", max(0, 16-len(hex))) + hex }
