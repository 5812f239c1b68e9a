package raftlog

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Processes tells, by the low 16 bits of a member's id, what the requests that it proposed say of its processes.
type Processes map[uint16]*Proposals

// Proposals are the requests of one member in a log. They are read in the order of the log.
type Proposals struct {
	First, Last uint64    // entries
	Began       time.Time // when the process that proposed the first one started, or before that
	Restarts    []Restart

	start uint64 // of the process that proposed the last of them
}

// Restart says that a member's process changed between two entries: the last one that the old process proposed, and the first one of
// the new. The old one had applied no entry from Before on. Of the new one is known when it started, to some milliseconds.
type Restart struct {
	After, Before uint64
	At            time.Time
}

func (r *Restart) String() string {
	return fmt.Sprintf("its process changed between entries %d and %d, as the request ids tell", r.After, r.Before)
}

// sameProcess is how far the start in request ids may move on within one process: it counts up one for every 256 ids.
const sameProcess = 500

// sameStart is sameProcess of two times that one process publishes its attributes: it may try again.
const sameStart = 5

// Note takes the request of the next entry into account. It tells whether that is the first one of a process.
func (ps Processes) Note(index uint64, r *Request) (started bool) {
	if r.ID == 0 || r.ConfChange != nil { // ids of membership changes are made in another way by some versions
		return false
	}
	p := Proposer(r.ID)
	x := ps[p.Prefix]
	if x == nil {
		x = &Proposals{First: index, Began: p.Started(), start: p.Start}
		ps[p.Prefix], started = x, true
	}
	if p.Start+sameProcess < x.start {
		return false // proposed by the process before, and committed late
	}
	// A server publishes its attributes when it starts: a restart shows in smaller steps there.
	id, _ := r.Publishes()
	if p.Start > x.start+sameProcess || uint16(id) == p.Prefix && id != 0 && p.Start > x.start+sameStart {
		x.Restarts = append(x.Restarts, Restart{x.Last, index, p.Started()})
		started = true
	}
	x.Last, x.start = index, p.Start
	return started
}

// epochEnd is when the 40 bits of a time in ids that is not before 2004, as etcd is, repeat: in 2039.
var epochEnd = time.UnixMilli(1<<41 - 1)

// Started is when the process of a proposal started, in UTC.
func (p Proposal) Started() time.Time { return p.startTime(epochEnd) }

// Of are the requests of a member, none if its id is not known.
func (ps Processes) Of(member uint64) *Proposals {
	if p := ps[uint16(member)]; p != nil && member != 0 {
		return p
	}
	return &Proposals{}
}

// Ended returns the restart before which the entry was one of the last that the old process had applied, or could have been: what that
// had proposed may lie behind. It is nil if the log rules that out, since one process proposed requests on both sides of the entry and no other
// followed; known is false where it cannot tell.
func (p *Proposals) Ended(index uint64) (r *Restart, known bool) {
	for i := range p.Restarts {
		if r := &p.Restarts[i]; index < r.Before {
			return r, true
		}
	}
	return nil, p.First > 0 && p.First <= index && p.Last > index
}

// MayHaveEnded tells whether one of the member's processes may have ended with an entry as the last that it had applied, if it was at most lag entries
// behind with applying when it proposed its last request. It is true where the log does not tell: before the member's first request.
func (p *Proposals) MayHaveEnded(index, lag uint64) bool {
	if index < p.First || p.First == 0 {
		return true
	}
	last := p.Last
	if n := slices.IndexFunc(p.Restarts, func(r Restart) bool { return index < r.Before }); n >= 0 {
		last = p.Restarts[n].After
	}
	return index+lag >= last
}

// Publishes returns the member whose attributes a request sets, 0 if it sets none, and whether it does so with the v2 API, as up to 3.5.
func (r *Request) Publishes() (id uint64, v2 bool) {
	if r.Internal != nil && r.Internal.ClusterMemberAttrSet != nil {
		return r.Internal.ClusterMemberAttrSet.Member_ID, false
	}
	if r.V2 != nil && r.V2.Method == "PUT" && strings.HasPrefix(r.V2.Path, "/0/members/") && strings.HasSuffix(r.V2.Path, "/attributes") {
		hex := strings.TrimSuffix(strings.TrimPrefix(r.V2.Path, "/0/members/"), "/attributes")
		if _, err := fmt.Sscanf(hex, "%x", &id); err == nil {
			return id, true
		}
	}
	return 0, false
}

// ClusterVersion is the version of the cluster that a request sets, with the v2 API up to 3.5; empty if it sets none.
func (r *Request) ClusterVersion() string {
	switch {
	case r.Internal.GetClusterVersionSet() != nil:
		return r.Internal.ClusterVersionSet.Ver
	case r.V2 != nil && r.V2.Path == "/0/version" && r.V2.Method == "PUT":
		return r.V2.Val
	}
	return ""
}
