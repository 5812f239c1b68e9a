package inspect

import (
	"cmp"
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Membership is who belongs to the cluster, by one of the sources that a member has.
type Membership struct {
	// Index is the raft index that it is of, 0 if it begins with an empty cluster that no entry changed.
	Index          uint64
	Members        []schema.Member // sorted by id
	Removed        []uint64
	ClusterVersion string
	// Whole is false if changes may be missing: the log does not reach back to the snapshot, or to its beginning, or the snapshot does not
	// tell of members.
	Whole bool
	// Err says why the snapshot does not.
	Err error
}

// LogMembership is the membership that the newest readable .snap holds, with the changes that the log makes after it, up
// to the consistent index: up to etcd 3.5 the truth, from 3.6 a copy of the members bucket.
func (m *Member) LogMembership() *Membership {
	m.membership.Do(func() { m.logMembership = m.findMembership() })
	return m.logMembership
}

func (m *Member) findMembership() *Membership {
	ms := &Membership{}
	if i := lastSound(m.Snaps); i >= 0 {
		s := m.Snaps[i]
		ms.Index = s.Index
		v2, err := s.Membership()
		if ms.Err = err; err == nil {
			ms.Removed, ms.ClusterVersion = v2.Removed, v2.ClusterVersion
			for _, c := range v2.Members {
				ms.Members = append(ms.Members, schema.Member(c))
			}
		}
	}
	first := m.Log.First()
	ms.Whole = first > 0 && first <= ms.Index+1 && ms.Err == nil
	upTo := m.Log.HardState.Commit
	if m.DB != nil {
		upTo = max(upTo, m.DB.Tables.ConsistentIndex)
	}
	next := ms.Index + 1
	for i := range m.Log.Entries {
		e := &m.Log.Entries[i]
		if e.Index < next {
			continue
		}
		if e.Index > upTo {
			break
		}
		if e.Index > next {
			ms.Whole = false
		}
		next = e.Index + 1
		if !e.Writes() {
			if r, err := raftlog.Decode(e); err == nil {
				ms.apply(r)
			}
		}
		ms.Index = e.Index
	}
	return ms
}

// lastSound is the place of the newest snapshot that is as it was written, -1 if there is none: etcd takes no other.
func lastSound(snaps []*raftlog.Snap) int {
	i := len(snaps) - 1
	for i >= 0 && !snaps[i].CRCOK {
		i--
	}
	return i
}

func (ms *Membership) apply(r *raftlog.Request) {
	switch {
	case r.ConfChange != nil:
		for _, c := range r.ConfChange.Changes {
			ms.change(c, r.ConfChange)
		}
	case r.V2 != nil && r.V2.Method == "PUT":
		ms.put(r.V2.Path, r.V2.Val)
	case r.Internal != nil && r.Internal.ClusterMemberAttrSet != nil:
		s := r.Internal.ClusterMemberAttrSet
		if x := ms.find(s.Member_ID); x != nil {
			x.Name, x.ClientURLs = s.GetMemberAttributes().GetName(), s.GetMemberAttributes().GetClientUrls()
		}
	case r.Internal != nil && r.Internal.ClusterVersionSet != nil:
		ms.ClusterVersion = r.Internal.ClusterVersionSet.Ver
	}
}

// put applies what servers up to 3.5 write to the v2 store: their own attributes, and the cluster version.
func (ms *Membership) put(p, val string) {
	if p == "/0/version" {
		ms.ClusterVersion = val
		return
	}
	dir, file := path.Split(p)
	id, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(dir, "/0/members/"), "/"), 16, 64)
	if err != nil || !strings.HasPrefix(p, "/0/members/") || file != "attributes" {
		return
	}
	if x := ms.find(id); x != nil {
		var attr struct {
			Name       string   `json:"name"`
			ClientURLs []string `json:"clientURLs"`
		}
		if json.Unmarshal([]byte(val), &attr) == nil {
			x.Name, x.ClientURLs = attr.Name, attr.ClientURLs
		}
	}
}

func (ms *Membership) change(c raftlog.ConfChangeSingle, cc *raftlog.ConfChange) {
	i, found := slices.BinarySearchFunc(ms.Members, c.NodeID, func(m schema.Member, id uint64) int { return cmp.Compare(m.ID, id) })
	switch c.Type {
	case "RemoveNode":
		if found {
			ms.Members = slices.Delete(ms.Members, i, i+1)
		}
		if !slices.Contains(ms.Removed, c.NodeID) {
			ms.Removed = append(ms.Removed, c.NodeID)
			slices.Sort(ms.Removed)
		}
	case "AddNode", "AddLearnerNode":
		if found && cc.IsPromote {
			ms.Members[i].IsLearner = false
			return
		}
		n := schema.Member{ID: c.NodeID}
		if cc.Member != nil {
			n = schema.Member(*cc.Member)
			n.ID = c.NodeID
		}
		n.IsLearner = c.Type == "AddLearnerNode"
		if found {
			ms.Members[i] = n
		} else {
			ms.Members = slices.Insert(ms.Members, i, n)
		}
	case "UpdateNode":
		if found && cc.Member != nil {
			ms.Members[i].PeerURLs = cc.Member.PeerURLs
		}
	}
}

func (ms *Membership) find(id uint64) *schema.Member {
	for i := range ms.Members {
		if ms.Members[i].ID == id {
			return &ms.Members[i]
		}
	}
	return nil
}

// RaftConfState is who votes and who learns, as raft itself sees it: the conf state of the newest readable snapshot with
// the changes that the log makes after it. Where entries are missing after that, it is what meta holds (3.5+),
// which a restored backup may have from another cluster; nil if no file tells.
func (m *Member) RaftConfState() *schema.ConfState {
	base, found := raftlog.ConfState{}, false
	var index uint64
	for _, s := range m.Snaps {
		if s.CRCOK && s.Index >= index {
			base, index, found = s.ConfState, s.Index, true
		}
	}
	for _, r := range m.Log.Snapshots {
		if r.ConfState != nil && r.Index > 0 && r.Index >= index {
			base, index, found = *r.ConfState, r.Index, true
		}
	}
	out := &schema.ConfState{Voters: slices.Clone(base.Voters), Learners: slices.Clone(base.Learners), VotersOutgoing: base.VotersOutgoing, LearnersNext: base.LearnersNext}
	if m.Log.First() != 1 && !found {
		return m.storedConfState()
	}
	upTo := m.Log.HardState.Commit
	if m.DB != nil {
		upTo = max(upTo, m.DB.Tables.ConsistentIndex)
	}
	next := index + 1
	for i := range m.Log.Entries {
		e := &m.Log.Entries[i]
		if e.Index <= index {
			continue
		}
		if next > upTo {
			break
		}
		if e.Index > next { // who was promoted in between, nothing tells
			return m.storedConfState()
		}
		if next++; e.Type == raftlog.EntryNormal {
			continue
		}
		if r, err := raftlog.Decode(e); err == nil && r.ConfChange != nil {
			for _, c := range r.ConfChange.Changes {
				if c.Type == "UpdateNode" {
					continue // changes attributes, not who votes
				}
				out.Voters, out.Learners = without(out.Voters, c.NodeID), without(out.Learners, c.NodeID)
				switch c.Type {
				case "AddNode":
					out.Voters = append(out.Voters, c.NodeID)
				case "AddLearnerNode":
					out.Learners = append(out.Learners, c.NodeID)
				}
			}
		}
	}
	slices.Sort(out.Voters)
	slices.Sort(out.Learners)
	return out
}

// storedConfState is what meta holds.
func (m *Member) storedConfState() *schema.ConfState {
	if m.DB == nil {
		return nil
	}
	return m.DB.Tables.ConfState
}

func without(ids []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(ids), func(x uint64) bool { return x == id })
}

// Name is the member's own name, empty if no file tells.
func (m *Member) Name() string {
	if !m.Log.HasMetadata {
		return ""
	}
	if m.DB != nil {
		for _, x := range m.DB.Tables.Members {
			if x.ID == m.Log.NodeID && x.Name != "" {
				return x.Name
			}
		}
	}
	if x := m.LogMembership().find(m.Log.NodeID); x != nil {
		return x.Name
	}
	return ""
}

// Term is the term of the entry at the consistent index, or the newest that the member knew.
func (m *Member) Term() uint64 {
	if m.DB != nil && m.DB.Tables.HasTerm {
		return m.DB.Tables.Term
	}
	if m.DB != nil {
		if e := m.Log.Entry(m.DB.Tables.ConsistentIndex); e != nil {
			return e.Term
		}
	}
	return m.Log.HardState.Term
}

// ClusterVersion is what the db says, or before 3.5 the v2 store.
func (m *Member) ClusterVersion() string {
	if m.DB != nil && m.DB.Tables.ClusterVersion != "" {
		return m.DB.Tables.ClusterVersion
	}
	return m.LogMembership().ClusterVersion
}
