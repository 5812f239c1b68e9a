package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
)

// HashDocument holds the hashes that etcd computes of the keyspaces and databases of members.
type HashDocument struct {
	SchemaVersion string       `json:"schema_version"`
	Verdict       Verdict      `json:"verdict"`
	Reasons       []string     `json:"reasons"`
	Members       []MemberHash `json:"members"`
	// Common is nil for a single member, or where no revision can be compared.
	Common *CommonHash `json:"common"`
	// Partings tell for every two groups of equal hashes where they part.
	Partings []HashParting `json:"partings"`
}

// MemberHash is the hash of one member by itself.
type MemberHash struct {
	Label string `json:"label"`
	// HashKV is what the member answers to the request HashKV at HashRevision, with CompactRevision. Error says why it
	// cannot.
	HashKV          uint32 `json:"hash_kv"`
	HashRevision    int64  `json:"hash_revision"`
	Error           string `json:"error,omitempty"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
	// Status is that of `etcdutl snapshot status`, nil without a db.
	Status   *HashStatus `json:"snapshot_status"`
	Complete bool        `json:"complete"`
}

// HashStatus is what `etcdutl snapshot status` prints. BackendHash is that of `etcd-dump-db hash`.
type HashStatus struct {
	Hash        uint32 `json:"hash"`
	HashHex     string `json:"hash_hex"` // as etcdutl's table shows it
	Revision    int64  `json:"revision"`
	TotalKeys   int    `json:"total_keys"`
	TotalRows   int    `json:"total_rows"` // what etcdutl before 3.6 calls total keys
	TotalSize   int64  `json:"total_size"`
	Version     string `json:"version"`
	BackendHash uint32 `json:"backend_hash"`
}

// CommonHash is the hash of several members at one revision, computed with the highest compact revision of any: so it
// does not depend on how far each was compacted.
type CommonHash struct {
	Revision        int64       `json:"revision"`
	CompactRevision int64       `json:"compact_revision"`
	Groups          []HashGroup `json:"groups"` // the largest first
}

// HashGroup is members with the same hash.
type HashGroup struct {
	HashKV  uint32   `json:"hash_kv"`
	Members []string `json:"members"`
}

// HashParting is where the hashes of two groups begin to differ.
type HashParting struct {
	Members [2]string `json:"members"` // one of each group
	// Revision is the first one at which the hashes differ: they were Before at the one before it. If it is not above the
	// compact revision, they differ as far back as can be told.
	Revision int64     `json:"revision"`
	Oldest   bool      `json:"oldest_known"`
	Hashes   [2]uint32 `json:"hashes"`
	Before   *uint32   `json:"before"` // nil if Oldest
	// Entries are those that made the revision, if the logs tell; 0 for unknown, or none.
	Entries [2]uint64 `json:"entries"`
	// EncodingOnly is true if the rows say the same in other bytes: 3.7 leaves out zeros that older versions write.
	EncodingOnly bool `json:"encoding_only"`
}

// Hashes computes the hashes of members, at revision rev or, if that is 0, each at its own and all at the highest that they
// have in common.
func Hashes(ms []*inspect.Member, rev int64) *HashDocument {
	d := &HashDocument{SchemaVersion: SchemaVersion, Verdict: Consistent, Reasons: []string{}, Members: make([]MemberHash, len(ms)), Partings: []HashParting{}}
	var wg evidence.Group
	for i, m := range ms {
		wg.Go(m.Origin, func() { d.Members[i] = memberHash(m, rev) })
	}
	wg.Wait()
	var dbs []*inspect.Member
	partial := false
	for i, m := range ms {
		if d.Members[i].Error != "" {
			d.Reasons = append(d.Reasons, m.Label+": "+d.Members[i].Error)
		} else {
			dbs = append(dbs, m)
		}
		partial = partial || !d.Members[i].Complete
	}
	if why := incomparable(ms); why != "" {
		d.Verdict, d.Reasons = NotComparable, append(d.Reasons, why)
		return d
	}
	if len(dbs) > 1 {
		d.common(dbs, rev)
	}
	switch {
	case partial:
		d.Verdict = Indeterminate
		d.Reasons = append(d.Reasons, "not all of every member could be read: a hash of what is left may differ only because of that")
	case len(d.Reasons) > 0:
		d.Verdict = Indeterminate
	case d.Common != nil && len(d.Common.Groups) > 1:
		d.Verdict = Diverged
		if !slices.ContainsFunc(d.Partings, func(p HashParting) bool { return !p.EncodingOnly }) {
			d.Verdict, d.Reasons = Indeterminate, append(d.Reasons, "the rows say the same in other bytes, as written by other versions")
		}
	}
	return d
}

func memberHash(m *inspect.Member, rev int64) MemberHash {
	h := MemberHash{Label: m.Label}
	if m.DB == nil || !m.DB.HasKeys {
		h.Error = "no db that can be read"
		return h
	}
	h.Revision, h.CompactRevision = m.DB.Revision(), m.DB.CompactRevision()
	var wg evidence.Group
	h.HashRevision = cmp.Or(rev, h.Revision)
	switch {
	case h.HashRevision > h.Revision:
		h.Error = fmt.Sprintf("revision %d is not there yet: the last one is %d", rev, h.Revision)
	case h.HashRevision < h.CompactRevision:
		h.Error = fmt.Sprintf("revision %d was compacted: hashes are known from revision %d on", rev, h.CompactRevision)
	default:
		wg.Go(m.Origin, func() { h.HashKV = m.DB.Rows.HashKV(h.HashRevision, h.CompactRevision) })
	}
	st := m.DB.Status()
	wg.Wait()
	h.Complete = m.DB.Whole && !st.Partial // of the log nothing is needed
	h.Status = &HashStatus{
		Hash: st.Hash, HashHex: fmt.Sprintf("%x", st.Hash), Revision: st.Revision, TotalKeys: st.Keys, TotalRows: st.Rows,
		TotalSize: st.Size, Version: st.Version, BackendHash: st.Backend,
	}
	return h
}

// common compares the members at one revision.
func (d *HashDocument) common(ms []*inspect.Member, rev int64) {
	c := &CommonHash{Revision: rev}
	for _, m := range ms {
		if c.CompactRevision = max(c.CompactRevision, m.DB.CompactRevision()); rev == 0 && (c.Revision == 0 || m.DB.Revision() < c.Revision) {
			c.Revision = m.DB.Revision()
		}
	}
	if c.Revision < c.CompactRevision {
		d.Reasons = append(d.Reasons, fmt.Sprintf("no revision in common: one member has come to %d, another was compacted at %d", c.Revision, c.CompactRevision))
		return
	}
	d.Common = c
	var first []*inspect.Member // of each group
	for _, m := range ms {
		h := m.DB.Rows.HashKV(c.Revision, c.CompactRevision)
		k := slices.IndexFunc(c.Groups, func(g HashGroup) bool { return g.HashKV == h })
		if k < 0 {
			k, c.Groups = len(c.Groups), append(c.Groups, HashGroup{HashKV: h})
			first = append(first, m)
		}
		c.Groups[k].Members = append(c.Groups[k].Members, m.Label)
	}
	if len(c.Groups) > 1 {
		l := NewLedger(ms)
		for b := range first {
			for a := range first[:b] {
				d.Partings = append(d.Partings, c.parting(l, first[a], first[b]))
			}
		}
	}
	slices.SortStableFunc(d.Partings, func(a, b HashParting) int { return cmp.Compare(a.Revision, b.Revision) })
	slices.SortStableFunc(c.Groups, func(a, b HashGroup) int { return len(b.Members) - len(a.Members) })
}

// parting finds the first revision at which the hashes of two members differ, in one pass over their rows: above the
// compact revision the hash of a revision differs from then on where a row of it does.
func (c *CommonHash) parting(l *Ledger, a, b *inspect.Member) HashParting {
	p := HashParting{Members: [2]string{a.Label, b.Label}, Oldest: true, Revision: max(c.CompactRevision, 1)}
	hash := func(rev int64) [2]uint32 {
		return [2]uint32{a.DB.Rows.HashKV(rev, c.CompactRevision), b.DB.Rows.HashKV(rev, c.CompactRevision)}
	}
	if p.Hashes = hash(p.Revision); p.Hashes[0] != p.Hashes[1] {
		p.EncodingOnly = c.sameState(a, b)
		return p
	}
	ra, rb := a.DB.Rows, b.DB.Rows
	i, j := ra.Lower(p.Revision+1), rb.Lower(p.Revision+1)
	for p.Revision = c.Revision; i < ra.Len() && j < rb.Len(); i, j = i+1, j+1 {
		if x, y := ra.Row(i), rb.Row(j); x.Rev != y.Rev || x.Tombstone != y.Tombstone || !bytes.Equal(x.Value, y.Value) {
			break
		}
	}
	for _, at := range []struct {
		t *mvcc.Table
		n int
	}{{ra, i}, {rb, j}} {
		if at.n < at.t.Len() {
			p.Revision = min(p.Revision, at.t.Row(at.n).Rev.Main)
		}
	}
	p.Oldest, p.Hashes = false, hash(p.Revision)
	if before := hash(p.Revision - 1); before[0] == before[1] {
		p.Before = &before[0]
	}
	for k, m := range []*inspect.Member{a, b} {
		if index, _, known := l.Making(slices.Index(l.Members, m), p.Revision); known {
			p.Entries[k] = index
		}
	}
	p.EncodingOnly = c.sameState(a, b)
	return p
}

// sameState tells whether two members hold the same at the common revision, whatever the bytes.
func (c *CommonHash) sameState(a, b *inspect.Member) bool {
	type row struct {
		rev mvcc.Revision
		del bool
		kv  mvcc.KeyValue
	}
	rows := func(m *inspect.Member) map[string][]row {
		out := map[string][]row{}
		t := m.DB.Rows
		for i := range t.Lower(c.Revision + 1) {
			r := t.Row(i)
			x := row{rev: r.Rev, del: r.Tombstone}
			if x.kv.Decode(r.Value) != nil {
				return nil
			}
			k := string(x.kv.Key)
			if r.Rev.Main <= c.CompactRevision {
				out[k] = out[k][:0] // only the newest is left
				if r.Tombstone {
					continue
				}
			}
			out[k] = append(out[k], x)
		}
		for k, v := range out {
			if len(v) == 0 {
				delete(out, k)
			}
		}
		return out
	}
	x, y := rows(a), rows(b)
	if x == nil || len(x) != len(y) {
		return false
	}
	for k, list := range x {
		if !slices.EqualFunc(list, y[k], func(a, b row) bool { return a.rev == b.rev && a.del == b.del && a.kv.Same(&b.kv) }) {
			return false
		}
	}
	return true
}
