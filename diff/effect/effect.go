// Package effect says what a raft entry does to keys by etcd's rules, and compares that with the rows of a revision. A prediction depends on nothing but
// the request and the keys after one revision: permissions, alarms and leases that do not exist are a matter of package apply.
package effect

import (
	"fmt"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Entry is one committed raft entry as a member applied it.
type Entry struct {
	Index, Term uint64
	// Raw is nil if no log holds the entry.
	Raw *raftlog.Entry
}

// Request decodes the entry, anew at each call: logs are larger than memory.
func (e *Entry) Request() *raftlog.Request {
	if e.Raw != nil {
		if r, err := raftlog.Decode(e.Raw); err == nil {
			return r
		}
	}
	return &raftlog.Request{Type: "Unknown"}
}

// RequestBy does so by a decoder: the request of a put is valid until its next one, unless the decoder is nil.
func (e *Entry) RequestBy(d *raftlog.Decoder) *raftlog.Request {
	if e.Raw != nil {
		if r, err := d.Decode(e.Raw); err == nil {
			return r
		}
	}
	return &raftlog.Request{Type: "Unknown"}
}

// weight is how many steps of a search it takes to decode the entry.
func (e *Entry) weight() int {
	if e.Raw == nil {
		return 0
	}
	return len(e.Raw.Data) / 256
}

// Outcome says what an entry did, compared with what etcd's rules predict from the member's own state.
type Outcome uint8

const (
	// Applied made the revision that was predicted.
	Applied Outcome = iota
	// NoEffect made no revision and should not: it changes nothing, or is refused.
	NoEffect
	// Refused was predicted to make a revision and made none, although nothing that is known refuses it.
	Refused
	// Permitted made the revision that was predicted, although permissions or an alarm refuse it.
	Permitted
	// OtherBranch is a transaction that did what it would do if its compare had come out otherwise.
	OtherBranch
	// Partial made a revision in which some of the predicted changes are missing.
	Partial
	// Altered made a revision of the right keys whose rows differ from the prediction.
	Altered
	// Lost made a revision, as the numbering shows, whose rows are gone.
	Lost
	// Extra is a revision without an entry; its step has no index.
	Extra
)

var outcomes = [...]string{"applied", "no effect", "refused", "permitted", "other branch", "partial", "altered", "lost", "extra"}

func (o Outcome) String() string { return outcomes[o] }

// Step is what an entry did. There is one for each entry and member.
type Step struct {
	// Index is the entry, 0 if no entry explains the revision.
	Index uint64
	// Revision is the main revision made, 0 for none.
	Revision int64
	Outcome  Outcome
	// Again is true where the entry was applied before: the log was replayed from here.
	Again bool
	// Result is what it came to by etcd's rules.
	Result apply.Result
	// Detail says which fields of which row differ, for Altered.
	Detail string
}

// Anomalous tells whether the step is not what etcd's rules predict.
func (s *Step) Anomalous() bool {
	return s.Again && s.Revision > 0 || (s.Outcome != Applied && s.Outcome != NoEffect)
}

func (s *Step) String() string {
	return fmt.Sprintf("entry %d revision %d %v again=%v", s.Index, s.Revision, s.Outcome, s.Again)
}

// Input is what predictions of a member's entries are made from.
type Input struct {
	// Index covers every key that the entries touch.
	Index *mvcc.Index
}

// Predict returns what an entry would do to the state after main revision at.
func (in *Input) Predict(e *Entry, at int64) []Change {
	in.Index.Spend(1 + e.weight())
	p := predictor{ix: in.Index}
	return p.predict(e.Request(), at)
}
