// Package values tells what a key holds on each of several members, and in which fields that differs.
package values

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/kube"
	"etcd-autopsy/inspect/mvcc"
)

// State says whether a key is there.
type State string

const (
	// Present means that the key has a value.
	Present State = "present"
	// Absent means that it never was there, as far as the db tells, or was deleted.
	Absent State = "absent"
	// Unknown means that damage, or a compaction since, leaves open what the key held.
	Unknown State = "unknown"
	// Ahead means that the member has not come to the revision asked for.
	Ahead State = "not_reached"
)

// Document is one key on all members.
type Document struct {
	SchemaVersion string `json:"schema_version"`
	Key           string `json:"key,omitempty"`
	KeyBase64     string `json:"key_base64,omitempty"`
	// Revision is the one asked for, 0 for the last of each member.
	Revision int64 `json:"revision"`
	// Verdict is diff.Consistent if presence, value and lease are the same on all members that could tell, though these
	// may be at different entries; diff.Diverged if not; diff.Indeterminate if they are the same where they are known.
	Verdict diff.Verdict `json:"verdict"`
	Members []Member     `json:"members"`
	// Groups are the labels of members that hold the same bytes, the first group that of the first member.
	Groups [][]string `json:"groups"`
	// Fields are those that differ between groups that hold objects, sorted by path.
	Fields []Field `json:"fields"`
	// Lag is true if the members are not at the same entry, so that what differs may be lag.
	Lag bool `json:"lag"`
	// Hidden is true if something is not shown because it belongs to a Secret.
	Hidden bool `json:"hidden"`
}

// Member is the key on one member.
type Member struct {
	Label string `json:"label"`
	State State  `json:"state"`
	// Why says in a clause what leaves open whether the value is the right one, or why there is none.
	Why             string `json:"why,omitempty"`
	ConsistentIndex uint64 `json:"consistent_index"`
	MemberRevision  int64  `json:"member_revision"`

	Mod     int64   `json:"mod_revision,omitempty"` // that of the deletion, if it was deleted
	Create  int64   `json:"create_revision,omitempty"`
	Version int64   `json:"version,omitempty"`
	Lease   diff.ID `json:"lease,omitempty"`
	Size    int     `json:"value_size"`
	SHA256  string  `json:"value_sha256,omitempty"`

	Encoding   kube.Encoding  `json:"encoding,omitempty"`
	APIVersion string         `json:"api_version,omitempty"`
	Kind       string         `json:"kind,omitempty"`
	Object     map[string]any `json:"object,omitempty"`
	Text       *string        `json:"value,omitempty"`
	Base64     *string        `json:"value_base64,omitempty"`
	// Note says why there is no object.
	Note string `json:"note,omitempty"`

	raw []byte
}

// Options change what is told.
type Options struct {
	Revision int64 // 0 for the last
	Secrets  bool  // show what Secrets hold
}

// Get looks a key up on all members.
func Get(ms []*inspect.Member, key string, o Options) *Document {
	d := &Document{SchemaVersion: diff.SchemaVersion, Revision: o.Revision, Fields: []Field{}}
	if diff.Key(key).Printable() {
		d.Key = key
	} else {
		d.KeyBase64 = base64.StdEncoding.EncodeToString([]byte(key))
	}
	for _, m := range ms {
		x := lookup(m, key, o.Revision)
		if x.State == Present {
			d.Hidden = x.decode(key, o.Secrets) || d.Hidden
		}
		d.Lag = d.Lag || m.DB != nil && len(d.Members) > 0 && d.Members[0].ConsistentIndex != x.ConsistentIndex
		d.Members = append(d.Members, x)
	}
	d.compare()
	return d
}

// Known tells whether any member has, had, or may have the key.
func (d *Document) Known() bool {
	return slices.ContainsFunc(d.Members, func(m Member) bool { return m.State != Absent || m.Mod > 0 || m.Why != "" })
}

// lookup finds the last row of key, up to a revision if that is not 0.
func lookup(m *inspect.Member, key string, at int64) Member {
	x := Member{Label: m.Label, State: Absent}
	if m.DB == nil || !m.DB.HasKeys && m.DB.Rows.Len() == 0 {
		x.State, x.Why = Unknown, "no db that can be read"
		return x
	}
	x.ConsistentIndex, x.MemberRevision = m.DB.Tables.ConsistentIndex, m.DB.Revision()
	compact := m.DB.CompactRevision()
	if at > x.MemberRevision {
		x.State, x.Why = Ahead, fmt.Sprintf("the member is at revision %d", x.MemberRevision)
		return x
	}
	until := at
	if until == 0 {
		until = x.MemberRevision
	}
	t := m.DB.Rows
	var last *mvcc.Row
	for i := t.Lower(until+1) - 1; i >= 0; i-- {
		if r := t.Row(i); bytes.Equal(r.Key(), []byte(key)) {
			last = &r
			break
		}
	}
	var from mvcc.Revision // no row of the key is known after it
	if last != nil {
		from = last.Rev
		x.take(last)
	}
	for _, h := range t.Holes() {
		if h.Last.Compare(from) > 0 && h.First.Main <= until {
			x.Why = "rows that could not be read may hold a later value"
			if last == nil {
				x.State, x.Why = Unknown, "rows that could not be read may hold the key"
			}
			break
		}
	}
	if last == nil && x.State == Absent && until < compact {
		x.State, x.Why = Unknown, fmt.Sprintf("compacted since, up to revision %d", compact)
	}
	return x
}

// take fills in what a row says.
func (x *Member) take(r *mvcc.Row) {
	x.Mod = r.Rev.Main
	if r.Tombstone {
		return
	}
	var kv mvcc.KeyValue
	if err := kv.Decode(r.Value); err != nil {
		x.State, x.Why = Unknown, "the row does not decode"
		return
	}
	x.State, x.raw = Present, kv.Value
	x.Mod, x.Create, x.Version, x.Lease, x.Size = kv.Mod, kv.Create, kv.Version, diff.ID(kv.Lease), len(kv.Value)
	sum := sha256.Sum256(kv.Value)
	x.SHA256 = hex.EncodeToString(sum[:])
	if r.Salvaged {
		x.Why = "the row was found in a page that nothing refers to"
	}
}

// decode says what the value is, and tells whether something of it is hidden.
func (x *Member) decode(key string, secrets bool) (hidden bool) {
	o := kube.Decode([]byte(key), x.raw, secrets)
	x.Encoding, x.APIVersion, x.Kind, x.Object, x.Note = o.Encoding, o.APIVersion, o.Kind, o.Fields, o.Note
	switch {
	case o.Fields != nil:
		return o.Secret && !secrets
	case o.Secret && !secrets:
		return true
	case o.Encoding == kube.Text:
		s := string(x.raw)
		x.Text = &s
	case o.Encoding != kube.Empty:
		s := base64.StdEncoding.EncodeToString(x.raw)
		x.Base64 = &s
	}
	return false
}

// compare groups the members and finds the fields that differ.
func (d *Document) compare() {
	d.Verdict = diff.Consistent
	var firsts []*Member
	for i := range d.Members {
		m := &d.Members[i]
		if m.State == Unknown || m.State == Ahead {
			continue
		}
		g := slices.IndexFunc(firsts, func(f *Member) bool {
			return f.State == m.State && bytes.Equal(f.raw, m.raw) && f.Lease == m.Lease
		})
		if g < 0 {
			g = len(firsts)
			firsts = append(firsts, m)
			d.Groups = append(d.Groups, nil)
		}
		d.Groups[g] = append(d.Groups[g], m.Label)
	}
	switch {
	case len(firsts) > 1:
		d.Verdict = diff.Diverged
	case len(firsts) == 0 || slices.ContainsFunc(d.Members, func(m Member) bool { return m.State == Unknown || m.Why != "" && m.State != Ahead }):
		d.Verdict = diff.Indeterminate
	}
	if d.Groups == nil {
		d.Groups = [][]string{}
	}
	var trees []any
	var which []int
	for g, f := range firsts {
		if f.Object != nil {
			trees, which = append(trees, f.Object), append(which, g)
		}
	}
	if len(trees) > 1 {
		fieldDiff("", trees, func(path string, vs []any) {
			f := Field{Path: path, ByMember: map[string]any{}}
			for i, v := range vs {
				for _, label := range d.Groups[which[i]] {
					if v != missing {
						f.ByMember[label] = v
					}
				}
			}
			d.Fields = append(d.Fields, f)
		})
	}
}

// Unseen tells whether two objects have different bytes, but no field in which they differ.
func (d *Document) Unseen() bool {
	var sums []string
	for i := range d.Members {
		if m := &d.Members[i]; m.Object != nil && !slices.Contains(sums, m.SHA256) {
			sums = append(sums, m.SHA256)
		}
	}
	return len(sums) > 1 && len(d.Fields) == 0
}
