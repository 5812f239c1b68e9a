package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Request is what an entry asks every member to do.
type Request struct {
	// Type is the field of InternalRaftRequest in camel case (Put, Txn, LeaseRevoke, AuthUserAdd, ...), or ConfChange,
	// ConfChangeV2, V2Request, Empty, or Unknown for a request of a newer version.
	Type string
	// ID is that of the header, or of the request itself where there is no header: see Proposer.
	ID uint64
	// User is whose permissions apply, empty for the servers' own requests and where auth is off.
	User         string
	AuthRevision uint64
	// Internal is the request of etcd 3. Passwords, their hashes and tokens are taken out of it.
	Internal *pb.InternalRaftRequest
	// HasPassword tells that a password, a hash or a token was taken out.
	HasPassword bool
	V2          *V2Request
	ConfChange  *ConfChange
	// Unknown lists the numbers of fields that etcd 3.7 does not know, in ascending order.
	Unknown []int32
	// Problem says in a clause which part that etcd never leaves out is not set, so that it refuses the request, or panics
	// on it. Empty if nothing is missing.
	Problem string
}

// V2Request is etcdserverpb.Request, the request of etcd 2. Up to 3.5 servers still publish their attributes and the
// cluster version with it.
type V2Request struct {
	ID         uint64
	Method     string // GET, PUT, POST, DELETE, QGET, SYNC
	Path       string
	Val        string
	Dir        bool
	PrevValue  string
	PrevIndex  uint64
	PrevExist  *bool
	Expiration int64
	Wait       bool
	Since      uint64
	Recursive  bool
	Sorted     bool
	Quorum     bool
	Time       int64
	Stream     bool
	Refresh    *bool
}

// KnownMethod tells whether the method is one that etcd knows. Another is no more than bytes that happen to decode.
func (r *V2Request) KnownMethod() bool {
	return r.Method == "" || slices.Contains([]string{"GET", "PUT", "POST", "DELETE", "QGET", "SYNC"}, r.Method)
}

// KnownPath tells whether the path is in one of the two trees of the v2 store: /0 of the servers, /1 of the users.
func (r *V2Request) KnownPath() bool {
	return r.Path == "" || r.Path == "/" || r.Path == "/0" || r.Path == "/1" || strings.HasPrefix(r.Path, "/0/") || strings.HasPrefix(r.Path, "/1/")
}

// ConfChange is a change of the raft group.
type ConfChange struct {
	ID         uint64
	Transition string // of a ConfChangeV2: Auto, JointImplicit, JointExplicit
	Changes    []ConfChangeSingle
	Context    []byte
	// Member is the context decoded; nil if there is none, or if it is not a member.
	Member    *ConfMember
	IsPromote bool
}

// ConfChangeSingle is one step: AddNode, RemoveNode, UpdateNode, AddLearnerNode.
type ConfChangeSingle struct {
	Type   string
	NodeID uint64
}

// ConfMember is a member as a membership change, or the v2 store, describes it.
type ConfMember struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner"`
}

var (
	errNotRequest = errors.New("not a request that any version of etcd writes")

	requestFields = (*pb.InternalRaftRequest)(nil).ProtoReflect().Descriptor().Fields()
)

// Decode decodes the request of an entry. Where it fails, the request may still hold a type and an id.
func Decode(e *Entry) (*Request, error) {
	var req *Request
	var err error
	switch {
	case e.Type == EntryConfChange:
		req, err = decodeConfChange(e.Data)
	case e.Type == EntryConfChangeV2:
		req, err = decodeConfChangeV2(e.Data)
	case e.Type != EntryNormal:
		err = fmt.Errorf("unknown entry type %d", e.Type)
	case len(e.Data) == 0:
		return &Request{Type: "Empty"}, nil // a new leader's first entry
	default:
		req, err = decodeNormal(e.Data)
	}
	if err != nil {
		return req, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	req.Problem = req.unset()
	return req, nil
}

// decodeNormal tells an InternalRaftRequest from a bare Request as etcd up to 3.5 does: it is the latter if it does not
// decode as the former. The wire types decide: a Request's method is no message (field 2), its path none (3), and its
// dir, always written, is a varint where delete_range, a message, would be (5).
func decodeNormal(data []byte) (*Request, error) {
	if put, ok := decodePut(data); ok {
		return put, nil
	}
	req := &Request{Type: "Unknown"}
	var embedded []byte
	deep := false
	c := cursor{b: data}
	for c.next() {
		switch fd := requestFields.ByNumber(c.num); {
		case fd != nil && fd.Kind() == protoreflect.MessageKind:
			body := c.bytes()
			if c.num != 100 && !c.bad && (req.Type == "Unknown") {
				req.Type = camel(string(fd.Name()))
			}
			deep = deep || fd.Name() == "txn" && tooDeep(body)
		case fd != nil:
			req.ID = c.varint()
		case c.num == 2: // v2, up to 3.5
			embedded = c.bytes()
			if _, ok := decodeV2(embedded); !ok {
				c.fail()
			}
		default:
			req.Unknown = append(req.Unknown, int32(c.num))
			c.skip()
		}
	}
	slices.Sort(req.Unknown)
	req.Unknown = slices.Compact(req.Unknown)
	switch {
	case c.bad || len(req.Unknown) > 0 && req.Type == "Unknown":
		if v2, ok := decodeV2(data); ok && v2.Method != "" {
			return &Request{Type: "V2Request", ID: v2.ID, V2: v2}, nil
		}
		if c.bad {
			return nil, errNotRequest
		}
	case embedded != nil:
		v2, _ := decodeV2(embedded)
		req.Type, req.V2 = "V2Request", v2
		if req.ID == 0 {
			req.ID = v2.ID
		}
		return req, nil
	}

	if deep {
		return req, errTxnTooDeep
	}
	in := new(pb.InternalRaftRequest)
	if err := proto.Unmarshal(data, in); err != nil {
		return req, fmt.Errorf("%s request does not decode: %w", req.Type, err)
	}
	req.Internal, req.HasPassword = in, wipe(in)
	if h := in.Header; h != nil {
		req.User, req.AuthRevision = h.Username, h.AuthRevision
		if h.ID != 0 {
			req.ID = h.ID
		}
	}
	return req, nil
}

// wipe takes everything secret out of a request, and everything that is not understood, which could be secret too.
func wipe(in *pb.InternalRaftRequest) (found bool) {
	in.ProtoReflect().SetUnknown(nil)
	take := func(secrets ...*string) {
		for _, s := range secrets {
			found = found || *s != ""
			*s = ""
		}
	}
	if m := in.Authenticate; m != nil {
		take(&m.Password, &m.SimpleToken)
		m.ProtoReflect().SetUnknown(nil)
	}
	if m := in.AuthUserAdd; m != nil {
		take(&m.Password, &m.HashedPassword)
		m.ProtoReflect().SetUnknown(nil)
	}
	if m := in.AuthUserChangePassword; m != nil {
		take(&m.Password, &m.HashedPassword)
		m.ProtoReflect().SetUnknown(nil)
	}
	return found
}

// Types are the types that requests can have, sorted.
func Types() []string {
	types := []string{"ConfChange", "ConfChangeV2", "Empty", "Unknown", "V2Request"}
	for i := range requestFields.Len() {
		if fd := requestFields.Get(i); fd.Kind() == protoreflect.MessageKind && fd.Name() != "header" {
			types = append(types, camel(string(fd.Name())))
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// camel turns lease_revoke into LeaseRevoke.
func camel(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// decodeV2 decodes an etcdserverpb.Request. Each field must have its wire type, and there must be no other.
func decodeV2(b []byte) (*V2Request, bool) {
	r := new(V2Request)
	c := cursor{b: b}
	flag := func() *bool { v := c.varint() != 0; return &v }
	for c.next() {
		switch c.num {
		case 1:
			r.ID = c.varint()
		case 2:
			r.Method = string(c.bytes())
		case 3:
			r.Path = string(c.bytes())
		case 4:
			r.Val = string(c.bytes())
		case 5:
			r.Dir = c.varint() != 0
		case 6:
			r.PrevValue = string(c.bytes())
		case 7:
			r.PrevIndex = c.varint()
		case 8:
			r.PrevExist = flag()
		case 9:
			r.Expiration = int64(c.varint())
		case 10:
			r.Wait = c.varint() != 0
		case 11:
			r.Since = c.varint()
		case 12:
			r.Recursive = c.varint() != 0
		case 13:
			r.Sorted = c.varint() != 0
		case 14:
			r.Quorum = c.varint() != 0
		case 15:
			r.Time = int64(c.varint())
		case 16:
			r.Stream = c.varint() != 0
		case 17:
			r.Refresh = flag()
		default:
			c.fail()
		}
	}
	return r, !c.bad
}

var (
	changeTypes = [...]string{"AddNode", "RemoveNode", "UpdateNode", "AddLearnerNode"}
	transitions = [...]string{"Auto", "JointImplicit", "JointExplicit"}
)

func name(names []string, i uint64) string {
	if i < uint64(len(names)) {
		return names[i]
	}
	return fmt.Sprintf("Unknown(%d)", i)
}

// decodeConfChange decodes a raftpb.ConfChange.
func decodeConfChange(b []byte) (*Request, error) {
	cc := new(ConfChange)
	var typ, node uint64
	c := cursor{b: b}
	for c.next() {
		switch c.num {
		case 1:
			cc.ID = c.varint()
		case 2:
			typ = c.varint()
		case 3:
			node = c.varint()
		case 4:
			cc.Context = c.bytes()
		default:
			c.skip()
		}
	}
	cc.Changes = []ConfChangeSingle{{name(changeTypes[:], typ), node}}
	return cc.request("ConfChange", c)
}

// decodeConfChangeV2 decodes a raftpb.ConfChangeV2: 1 transition, 2 changes (1 type, 2 node id), 3 context.
func decodeConfChangeV2(b []byte) (*Request, error) {
	cc := new(ConfChange)
	var transition uint64
	c := cursor{b: b}
	for c.next() {
		switch c.num {
		case 1:
			transition = c.varint()
		case 2:
			var typ, node uint64
			if one := decodeVarints(c.bytes(), &typ, &node); one.bad {
				c.fail()
			}
			cc.Changes = append(cc.Changes, ConfChangeSingle{name(changeTypes[:], typ), node})
		case 3:
			cc.Context = c.bytes()
		default:
			c.skip()
		}
	}
	cc.Transition = name(transitions[:], transition)
	return cc.request("ConfChangeV2", c)
}

func (cc *ConfChange) request(typ string, c cursor) (*Request, error) {
	if c.bad {
		return nil, fmt.Errorf("%s does not decode", typ)
	}
	var ctx struct {
		ConfMember
		IsPromote bool `json:"isPromote"`
	}
	if len(cc.Context) > 0 && unmarshal(cc.Context, &ctx) == nil {
		cc.Member, cc.IsPromote = &ctx.ConfMember, ctx.IsPromote
	}
	return &Request{Type: typ, ID: cc.ID, ConfChange: cc}, nil
}

// Proposal says where a request came from, as its id tells (pkg/idutil).
type Proposal struct {
	// Prefix is the low 16 bits of the id of the member that proposed the request.
	Prefix uint16
	// Start is the low 40 bits of that process's start time in milliseconds since 1970, plus one for each 256 requests.
	Start uint64
	// Counter counts requests from 0 to 255.
	Counter uint8
}

// Proposer splits the id of a request.
func Proposer(id uint64) Proposal {
	return Proposal{Prefix: uint16(id >> 48), Start: id >> 8 & (1<<40 - 1), Counter: uint8(id)}
}

// startTime completes Start with the high bits of a time not far from it, such as that of the investigation: the
// result is the latest time that does not lie after it.
func (p Proposal) startTime(near time.Time) time.Time {
	ms := uint64(near.UnixMilli())
	full := ms&^(1<<40-1) | p.Start
	if full > ms && full >= 1<<40 {
		full -= 1 << 40
	}
	return time.UnixMilli(int64(full)).UTC()
}

// Member returns the one of the members that proposed the request, and false if none or several come into question.
func (p Proposal) Member(members []uint64) (id uint64, ok bool) {
	n := 0
	for _, m := range members {
		if uint16(m) == p.Prefix && (n == 0 || m != id) {
			id = m
			n++
		}
	}
	if n != 1 {
		return 0, false
	}
	return id, true
}
