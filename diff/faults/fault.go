// Package faults says what went wrong on a member, from nothing but its own log and db: which entries had no effect, were applied
// again, were judged by the rules of another version, and so on.
//
// The log is run in memory by package apply, from an empty store or from what rows tell of the moment before its first entry (Base).
// Every revision is held against the rows that the db holds, also through compaction: a row that is left says at which revision its key was
// written last, when it was created and how often it was written. Where that contradicts the db, every fault that may be behind the
// contradiction is tried; those that bring the log further are followed, with more faults if need be. The fewest and likeliest that lead to just
// what the db holds are the readings:
//
//	log ──> apply, with the faults of a node ──> contradiction at an entry ──> faults at it and before it ──> nodes that go further
//	                                        └──> none: a reading
//
// Where the log does not begin with the cluster, members are taken to have been the same before its first entry (SearchSuffix). One that is not explained
// without fault then may as well have parted from the others by then, if it needs none from a state of its own (Parting).
//
// Its invariants:
//
//   - Every reading was run: with its faults the log makes each row that the db holds, no row that the db must hold and does not, and its tables,
//     but for the rows and tables that a fault names.
//   - A search takes everything back that it did to the state of its Member: the order of searches does not matter.
package faults

import (
	"fmt"
	"slices"

	"etcd-autopsy/diff/apply"
)

// Kind is what went wrong. Its text is the kind of a reading in the document.
type Kind uint8

// The kinds.
const (
	Skipped   Kind = iota // the entries had no effect
	Again                 // the entries were applied again, behind the last of them
	Refused               // no request of a user had an effect, from the first entry on
	Rules                 // the rules of another version of etcd hold, from the first entry on
	Permitted             // the entry had an effect although permissions or an alarm refuse it
	Branch                // the transaction took the other branch
	Rows                  // the rows that the entry made are not what it writes: they were changed, or lost
	Index                 // the consistent index was left behind: the db holds the effects of entries up to the last one
	Table                 // rows of a small table were changed otherwise than by an entry
	Extra                 // a revision behind the entry was made by no entry
	Lost                  // leases with negative ids are not known from the first entry on, though they are stored
	OwnReads              // transactions that the member proposed were refused for what they read, from the first entry on: the others drop these reads
	GaveUp                // no fault: the member no longer waited for the entry, which it had proposed, and dropped its reads as the others do
	Initial               // no fault: a key was not what it is held to have been before the log begins, for which the entry is the first to ask
)

var kinds = [...]string{"skipped", "again", "refused", "rules", "let-pass", "branch", "rows", "index", "table", "extra", "leases-lost", "own-reads", "gave-up", "began"}

func (k Kind) String() string { return kinds[k] }

// TableName is a small table.
type TableName uint8

// The small tables that entries change.
const (
	NoTable TableName = iota
	Leases
	Auth
	Alarms
)

var tables = [...]string{"", "lease", "auth", "alarm"}

func (t TableName) String() string { return tables[t] }

// Fault is one thing that went wrong on a member. Entries are raft indexes, both ends included.
type Fault struct {
	Kind        Kind
	First, Last uint64
	// Times is how often the entries of Again were applied again, 1 or more.
	Times int
	// NoRestart is true for Again if the entries made no revision again and are not those that a restart would apply: behind the last one
	// that did.
	NoRestart bool
	// Lagging is true for Again if the member's process, when it ended, was further behind with applying the last of the entries than processes are, as
	// those tell that it had proposed by then.
	Lagging bool
	// User is whose requests were Refused.
	User string
	// To are the rules of Rules.
	To apply.Rules
	// Kept is true for Rows if later entries met the rows that are there: the member has read them since.
	Kept  bool
	Table TableName
	// Key is that of Began, in the numbers of the log, or minus the number of a lease, and As what it was.
	Key     int32
	Assumed Assumption
	// DifferingRows is how many rows of Rows or Table are not what they should be.
	DifferingRows int
}

// String tells in a clause what happened.
func (f Fault) String() string {
	entries, were := fmt.Sprintf("entry %d", f.First), "was"
	if f.Last > f.First {
		entries, were = fmt.Sprintf("entries %d to %d", f.First, f.Last), "were"
	}
	switch f.Kind {
	case Skipped:
		return entries + " had no effect"
	case Again:
		if f.Times > 1 {
			return fmt.Sprintf("%s %s applied again, %d times", entries, were, f.Times)
		}
		return fmt.Sprintf("%s %s applied again", entries, were)
	case Refused:
		return fmt.Sprintf("no request of user %q had an effect from entry %d on", f.User, f.First)
	case Rules:
		return fmt.Sprintf("the rules of etcd %v hold from entry %d on", f.To, f.First)
	case Permitted:
		return fmt.Sprintf("%s %s applied although permissions or an alarm refuse that", entries, were)
	case Branch:
		return entries + " took the other branch"
	case Rows:
		return fmt.Sprintf("the rows of %s are not what it writes", entries)
	case Extra:
		return fmt.Sprintf("a revision behind entry %d was made by no entry", f.First)
	case Index:
		return fmt.Sprintf("the consistent index stayed behind: the data is that of entry %d", f.Last)
	}
	switch f.Kind {
	case OwnReads:
		return fmt.Sprintf("transactions of its own were refused for what they read from entry %d on", f.First)
	case GaveUp:
		return fmt.Sprintf("entry %d, a transaction of its own, was applied without its reads", f.First)
	}
	if f.Kind == Initial {
		return fmt.Sprintf("a key or a lease was something else before entry %d", f.First)
	}
	if f.Kind == Lost {
		return fmt.Sprintf("leases with negative ids were unknown from entry %d on", f.First)
	}
	return fmt.Sprintf("the %s table was changed otherwise than by an entry", f.Table)
}

// Costs of faults, in bits: how much rarer one is than another. Each has the case that needs it.
const (
	costFault      = 8  // any fault: two are assumed only where one does not explain the db
	costRun        = 2  // several entries skipped in a row, rather than one: a batch that a crash lost (etcd 13766)
	costTimes      = 3  // each further time that entries were applied again: a member that restarted twice (etcd 11651)
	costNoRestart  = 16 // entries about tables applied again that no restart applies again: two restarts more are likelier (etcd 11651 applies those behind the saved index)
	costLagging    = 6  // entries applied again up to one that lies far before those that the process proposed which had applied them
	costUser       = 5  // a user whose requests are refused, rather than one request skipped
	costUnknownBug = 8  // what no known bug does: one request let pass, another branch
	costRows       = 10 // rows changed on the disk: bit rot, an edit
	costRow        = 6  // each of them
	costInitial    = 3  // a key before the log begins that was not what the first entry that asks for it takes for granted: a client was late; a client that did not wait

	// Margin is how much more a reading may cost than the best one and be reported with it.
	Margin = 4
)

func (f *Fault) cost() int {
	switch f.Kind {
	case Initial, GaveUp:
		return costInitial
	case OwnReads:
		return 0 // it follows from who proposed them
	}
	c := costFault
	switch f.Kind {
	case Skipped:
		if f.Last > f.First {
			c += costRun
		}
	case Again:
		if c += costTimes * (f.Times - 1); f.NoRestart {
			c += costNoRestart
		}
		if f.Lagging {
			c += costLagging
		}
	case Refused:
		c += costUser
	case Permitted, Branch:
		c += costUnknownBug
	case Rows, Table, Extra:
		c += costRows + costRow*f.DifferingRows
	case Index:
		c += costRun
	}
	return c
}

// costBeside is what a fault costs besides others. Of restarts that began with the same entry the first tells that the consistent index was not
// saved; the others follow from that, whichever entry they came to.
func (f *Fault) costBeside(others []Fault) int {
	if f.Kind == Again && !f.NoRestart && !f.Lagging && slices.ContainsFunc(others, func(o Fault) bool { return o.Kind == Again && o.First == f.First && !o.NoRestart }) {
		return costTimes * f.Times
	}
	return f.cost()
}

// Cost is how many bits rarer a member with these faults is than one without any.
func Cost(faults []Fault) (sum int) {
	for i := range faults {
		sum += faults[i].costBeside(faults[:i])
	}
	return sum
}
