// Package align maps raft entries to the revisions they made.
//
// A db does not say which entry made which revision, but both are known in order, and every revision above the compact
// revision still holds the whole state of its moment. So the effect of an entry is a prediction, and an alignment is a
// path through the grid of entries and revisions:
//
//	          revisions →
//	entries   ┌───┐
//	   ↓      │ ╲ │  diagonal: the entry made the revision
//	          │ │ │  down: the entry had no effect
//	          │ ─ │  right: a revision that no entry made
//	          └───┘
//
// Steps that etcd's rules predict are free, others cost; the cheapest path is the alignment, its costly steps are the
// anomalies. Writes whose content occurs once on each side are pinned first, so that the search is local. The search
// runs backwards, because the end of both sequences is known: the last revision and the consistent index.
package align

import (
	"fmt"

	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// Entry is one committed raft entry as a member applied it.
type Entry struct {
	Index, Term uint64
	// Raw is nil if no log holds the entry.
	Raw *raftlog.Entry
	// many stands for this entry and all missing ones before it.
	many bool
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

// weight is how many steps of a search it takes to decode the entry.
func (e *Entry) weight() int {
	if e.Raw == nil {
		return 0
	}
	return len(e.Raw.Data) / 256
}

// Outcome says what an entry did, compared with what etcd's rules predict from the member's own state.
type Outcome int

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
	// Unread made a revision that could not be read because of damage.
	Unread
)

var outcomes = [...]string{"applied", "no effect", "refused", "permitted", "other branch", "partial", "altered", "lost", "extra", "unread"}

func (o Outcome) String() string { return outcomes[o] }

// Step is one step of the alignment.
type Step struct {
	// Index is the entry, 0 if no entry explains the revision.
	Index uint64
	// Revision is the main revision made, 0 for none.
	Revision int64
	Outcome  Outcome
	// Again is true where the entry was applied before: the log was replayed from here.
	Again bool
	// Predicted is what etcd's rules say, for outcomes that are not Applied or NoEffect.
	Predicted []Change
	// Doubtful is true for Refused where it is not known whether permissions or an alarm refused the entry.
	Doubtful bool
	// HistoryOnly is true for Altered if only version or create_revision differ, which follow from earlier rows.
	HistoryOnly bool
	// Detail says which fields of which row differ, for Altered.
	Detail string
}

// Anomalous tells whether the step is not what etcd's rules predict.
func (s *Step) Anomalous() bool {
	return s.Again && s.Revision > 0 || (s.Outcome != Applied && s.Outcome != NoEffect && s.Outcome != Unread)
}

// Cost is what it costs to say that the step happened.
func (s *Step) Cost() int {
	switch s.Outcome {
	case Refused:
		if s.Doubtful {
			return costDoubted
		}
		return costRefused
	case Permitted:
		return costPermit
	case OtherBranch:
		return costBranch
	case Partial:
		return costPartial
	case Altered:
		return costAltered
	case Lost:
		return costLost
	case Extra:
		return costExtra
	}
	if s.Anomalous() {
		return costReplay
	}
	return 0
}

// CostToo is what it costs if it is known to have happened on another member.
func (s *Step) CostToo() int {
	if s.Outcome == Refused && s.Doubtful {
		return costDoubtedToo
	}
	return s.Cost()
}

func (s *Step) String() string {
	return fmt.Sprintf("entry %d revision %d %v again=%v", s.Index, s.Revision, s.Outcome, s.Again)
}

// Input is what is known of one member.
type Input struct {
	Log   *Log
	Table *mvcc.Table
	// Index covers every key that the entries touch.
	Index *mvcc.Index
	// Compact is the compact revision, 0 if never compacted: state is known from there on.
	Compact int64
	// ConsistentIndex is the last entry that the db claims to hold.
	ConsistentIndex uint64
	// Judge tells whether permissions, an alarm or the want of a lease, which predictions leave out, refuse an entry. nil:
	// nothing does.
	Judge Judge
	// Ahead is true if another member that has come further holds the same and maybe more: data beyond the index is no wonder then.
	Ahead bool
	// Torn is the first entry behind the consistent index that was not applied, as the small tables show, 0 if none is. Where Ahead is
	// true the rows tell more.
	Torn uint64
	// Whole is true if the log begins with the first entry of the cluster and its keyspace began empty.
	Whole bool
	// From resumes an alignment that another member shares up to here.
	From *From
	// banned is a user whose requests may all be refused from some entry on, 0 if it is not known yet from which.
	banned     string
	bannedFrom uint64
	// unlet is an entry that permissions refuse and that was not let pass, 0 for none.
	unlet uint64
	// Lifts are the entries that ended an alarm. kept is one of them that may have been left out, nil for none.
	Lifts []Lift
	kept  *Lift
	// Witnesses are what others hold at single revisions whose neighbours are the same as in Table: where a row was changed or
	// lost afterwards, it is what the entries behind met.
	Witnesses []map[int64][]mvcc.Row
	// Doubted are entries that had no effect on another member either, although it is not known that they are refused.
	Doubted map[uint64]bool
	// Passed tells whether an entry made a revision on another member.
	Passed func(index uint64) bool
	// Held are the rows of some main revisions before From as they must have been.
	Held map[int64][]mvcc.Row
	// repaired holds the rows of some main revisions as they must have been, where those in the table are wrong.
	repaired map[int64][]mvcc.Row
}

// Lift is an entry that ended an alarm, and the next one about it: a member that left it out refused requests in between.
type Lift struct {
	Index, End uint64
	Refuses    func(r *raftlog.Request) bool // what the alarm does
}

// Judgement is what permissions, alarms and leases say of an entry.
type Judgement int

// The judgements, from the mildest.
const (
	Allowed Judgement = iota
	Doubtful
	Denied
)

// Judge judges an entry by all that may refuse it besides its own content. want is what it would do, attached lists the
// keys of a lease.
type Judge func(index uint64, r *raftlog.Request, want []Change, attached func(lease int64) []string) Judgement

// From is a place in the grid: entries up to Index are done, revisions up to Revision are made.
type From struct {
	Index    uint64
	Revision int64
}

// Predict returns what an entry would do to the state after main revision at.
func (in *Input) Predict(e *Entry, at int64) []Change {
	in.Index.Spend(1 + e.weight())
	p := predictor{ix: in.Index}
	return p.predict(e.Request(), at)
}

// Branches returns what a transaction would do to that state whatever its outermost compares come to.
func (in *Input) Branches(e *Entry, at int64) [][]Change {
	in.Index.Spend(1 + e.weight())
	p := predictor{ix: in.Index}
	return p.branches(e.Request(), at)
}

// Alignment is the result.
type Alignment struct {
	// Steps in order of application.
	Steps []Step
	// First is the first entry that could be aligned, 0 if none. Revision is the main revision just before it.
	First    uint64
	Revision int64
	// Through is the last entry whose effects the db holds by content. It differs from the consistent index where one of
	// the two was saved without the other.
	Through uint64
	// Cost is 0 if every step was predicted.
	Cost int
	// banned is true if all that is odd is that a user's requests were refused from some entry on.
	banned bool
	// Index is what predictions were made from: the rows, with those that were changed or lost as they must have been.
	Index *mvcc.Index
}

// At returns the step of the first application of an entry.
func (a *Alignment) At(index uint64) *Step {
	for i := range a.Steps {
		if s := &a.Steps[i]; s.Index == index && !s.Again {
			return s
		}
	}
	return nil
}
