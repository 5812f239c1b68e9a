// Package schema decodes the small tables of an etcd backend: every bucket but "key".
//
//	bucket           key                      value
//	meta             consistent_index         8 bytes big endian; term likewise (3.5+)
//	                 scheduledCompactRev,
//	                 finishedCompactRev       a 17 byte revision
//	                 confState                JSON (3.5+); storageVersion "3.6.0" (3.6+)
//	lease            8 bytes big endian id    leasepb.Lease: 1 ID, 2 TTL, 3 RemainingTTL
//	alarm            etcdserverpb.AlarmMember empty
//	cluster          clusterVersion           text (3.5+); downgrade JSON
//	members          hex id, not padded       JSON; members_removed: "removed"
//	auth             authEnabled              0x00 or 0x01; authRevision 8 bytes big endian
//	authUsers        name                     authpb.User; authRoles: authpb.Role
//
// Facts from server/storage/schema of etcd 3.7 and the packages it was made from in 3.2 to 3.4 (mvcc, lease, auth,
// alarm, membership).
package schema

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"google.golang.org/protobuf/proto"

	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/nest"
)

// Part of the format: the names of etcd's buckets.
const (
	Key            = "key"
	Meta           = "meta"
	Lease          = "lease"
	Alarm          = "alarm"
	Cluster        = "cluster"
	Members        = "members"
	MembersRemoved = "members_removed"
	Auth           = "auth"
	AuthUsers      = "authUsers"
	AuthRoles      = "authRoles"
)

// Buckets lists every bucket of a backend of any version from 3.2 to 3.7, sorted.
var Buckets = []string{Alarm, Auth, AuthRoles, AuthUsers, Cluster, Key, Lease, Members, MembersRemoved, Meta}

// Tables are the small tables of one member. Zero values stand for rows that are not there.
type Tables struct {
	ConsistentIndex    uint64 // raft index
	HasConsistentIndex bool
	Term               uint64 // of the entry at the consistent index, 3.5+
	HasTerm            bool
	ScheduledCompact   int64 // main revision, 0 if never
	FinishedCompact    int64
	StorageVersion     string // 3.6+
	ConfState          *ConfState

	ClusterVersion string // 3.5+
	Downgrade      *Downgrade

	AuthEnabled  bool
	AuthRevision uint64
	Users        []User // sorted by name
	Roles        []Role

	Leases         []LeaseRecord // sorted by id, read as unsigned
	Members        []Member      // sorted by id
	MembersRemoved []uint64
	Alarms         []AlarmMember
}

// ConfState is raft's membership as saved in meta.
type ConfState struct {
	Voters         []uint64 `json:"voters"`
	Learners       []uint64 `json:"learners"`
	VotersOutgoing []uint64 `json:"voters_outgoing"`
	LearnersNext   []uint64 `json:"learners_next"`
	AutoLeave      bool     `json:"auto_leave"`
}

// Downgrade is the state of etcdctl downgrade.
type Downgrade struct {
	TargetVersion string `json:"target-version"`
	Enabled       bool   `json:"enabled"`
}

// User is a row of authUsers without its password hash, which no output may show.
type User struct {
	Name       string
	Roles      []string
	NoPassword bool
}

// Role is a row of authRoles.
type Role struct {
	Name        string
	Permissions []Permission
}

// Permission is READ, WRITE or READWRITE on a key or on [Key, RangeEnd).
type Permission struct {
	Type          string
	Key, RangeEnd string
}

// LeaseRecord is a row of the lease bucket. TTLs are in seconds.
type LeaseRecord struct {
	ID, TTL, RemainingTTL int64
}

// Member is a row of the members bucket, or of the v2 store, which has the same JSON in two parts.
type Member struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner"`
}

// AlarmMember is an alarm that is on. Member 0 stands for no member in particular.
type AlarmMember struct {
	Member uint64
	Type   string
}

// Read decodes the small tables. rows yields the rows of a bucket, none if it is not there; file names the db in findings.
func Read(file string, rows func(bucket string) iter.Seq2[[]byte, []byte]) (*Tables, []finding.Finding) {
	r := reader{file: file, t: &Tables{}, json: map[string]bool{Meta: true, Cluster: true, Members: true}}
	for bucket, decode := range map[string]func(k, v []byte) bool{
		Meta: r.meta, Lease: r.lease, Alarm: r.alarm, Cluster: r.cluster, Members: r.member,
		MembersRemoved: r.removed, Auth: r.auth, AuthUsers: r.user, AuthRoles: r.role,
	} {
		for k, v := range rows(bucket) {
			why := "does not decode"
			if r.json[bucket] && nest.Deeper(v, nest.Limit) {
				why = fmt.Sprintf("is nested more than %d levels deep", nest.Limit)
			} else if decode(k, v) {
				continue
			}
			r.findings = append(r.findings, finding.New("row-undecodable", finding.Error, file,
				"bucket %s: a row with a key of %d bytes and a value of %d bytes %s", bucket, len(k), len(v), why).Lost())
		}
	}
	r.sort()
	finding.Sort(r.findings)
	return r.t, r.findings
}

type reader struct {
	file     string
	t        *Tables
	json     map[string]bool // buckets that hold JSON
	findings []finding.Finding
}

func (r *reader) meta(k, v []byte) bool {
	switch string(k) {
	case "consistent_index":
		return uint64Into(v, &r.t.ConsistentIndex, &r.t.HasConsistentIndex)
	case "term":
		return uint64Into(v, &r.t.Term, &r.t.HasTerm)
	case "scheduledCompactRev":
		return revisionInto(v, &r.t.ScheduledCompact)
	case "finishedCompactRev":
		return revisionInto(v, &r.t.FinishedCompact)
	case "storageVersion":
		r.t.StorageVersion = string(v)
	case "confState":
		return jsonInto(v, &r.t.ConfState)
	}
	return true
}

func (r *reader) lease(k, v []byte) bool {
	var l leasepb.Lease
	if len(k) != 8 || proto.Unmarshal(v, &l) != nil {
		return false
	}
	id := int64(binary.BigEndian.Uint64(k))
	r.t.Leases = append(r.t.Leases, LeaseRecord{ID: id, TTL: l.TTL, RemainingTTL: l.RemainingTTL})
	return l.ID == id
}

func (r *reader) alarm(k, _ []byte) bool {
	var a etcdserverpb.AlarmMember
	if proto.Unmarshal(k, &a) != nil {
		return false
	}
	r.t.Alarms = append(r.t.Alarms, AlarmMember{Member: a.MemberID, Type: a.Alarm.String()})
	return true
}

func (r *reader) cluster(k, v []byte) bool {
	switch string(k) {
	case "clusterVersion":
		r.t.ClusterVersion = string(v)
	case "downgrade":
		return jsonInto(v, &r.t.Downgrade)
	}
	return true
}

func (r *reader) member(k, v []byte) bool {
	var m Member
	id, err := strconv.ParseUint(string(k), 16, 64)
	if err != nil || json.Unmarshal(v, &m) != nil {
		return false
	}
	ok := m.ID == id
	m.ID = id
	r.t.Members = append(r.t.Members, m)
	return ok
}

func (r *reader) removed(k, _ []byte) bool {
	id, err := strconv.ParseUint(string(k), 16, 64)
	if err == nil {
		r.t.MembersRemoved = append(r.t.MembersRemoved, id)
	}
	return err == nil
}

func (r *reader) auth(k, v []byte) bool {
	switch string(k) {
	case "authEnabled":
		r.t.AuthEnabled = len(v) == 1 && v[0] == 1
		return len(v) == 1 && v[0] <= 1
	case "authRevision":
		var has bool
		return uint64Into(v, &r.t.AuthRevision, &has)
	}
	return true
}

func (r *reader) user(k, v []byte) bool {
	var u authpb.User
	if proto.Unmarshal(v, &u) != nil {
		return false
	}
	r.t.Users = append(r.t.Users, User{Name: string(k), Roles: slices.Sorted(slices.Values(u.Roles)), NoPassword: u.GetOptions().GetNoPassword()})
	return string(u.Name) == string(k)
}

func (r *reader) role(k, v []byte) bool {
	var p authpb.Role
	if proto.Unmarshal(v, &p) != nil {
		return false
	}
	role := Role{Name: string(k)}
	for _, kp := range p.KeyPermission {
		role.Permissions = append(role.Permissions, Permission{Type: kp.PermType.String(), Key: string(kp.Key), RangeEnd: string(kp.RangeEnd)})
	}
	r.t.Roles = append(r.t.Roles, role)
	return string(p.Name) == string(k)
}

// sort makes the order one of ids and names: that of the buckets, but for ids whose hex keys are not padded.
func (r *reader) sort() {
	slices.SortFunc(r.t.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	slices.Sort(r.t.MembersRemoved)
	slices.SortFunc(r.t.Alarms, func(a, b AlarmMember) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
	})
}

// jsonInto leaves nothing of a value of which a part does not decode: half a conf state tells of the wrong voters.
func jsonInto[T any](v []byte, into **T) bool {
	var x *T
	if json.Unmarshal(v, &x) != nil {
		return false
	}
	*into = x
	return true
}

func uint64Into(v []byte, n *uint64, has *bool) bool {
	if len(v) != 8 {
		return false
	}
	*n, *has = binary.BigEndian.Uint64(v), true
	return true
}

func revisionInto(v []byte, main *int64) bool {
	rev, tombstone, ok := mvcc.ParseRevision(v)
	if !ok || tombstone {
		return false
	}
	*main = rev.Main
	return true
}
