// Package replay runs raft entries again, with the code of etcd itself, on a private copy of a state that the members
// of a cluster once had in common. What comes out can be compared with what each member holds: the one that it equals
// has followed the rules that were run, and a rule that turns the result into that of another member explains that one.
//
//	a member's rows and tables ──Rewind──> State ──write──> a bbolt file in a private directory
//	                                                          │ backend, lessor, auth store, mvcc store (etcd 3.7)
//	entries of the log ──Rules.Sequence──> apply.UberApplier ─┴─> Effect, one for each entry
//	                                         ↑ Rule hooks: requests, permissions, leases
//
// The copy is made from decoded rows, not from the file, so that damaged files do no harm, and it holds only the live
// keys that the entries can read or write: everything else cannot change what they do. Compactions are noted but not
// carried out, members and cluster version stay as they are. Passwords are read from the raw entries; of what this package
// returns, only the rows that Options.Tables is given hold their hashes.
package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/inspect/schema"
)

// Effect is what one entry did.
type Effect struct {
	Index uint64
	// Again is true if the entry was applied before.
	Again bool
	// Revision is the main revision made, 0 for none.
	Revision int64
	// Changes are the rows of the revision in order.
	Changes []effect.Change
	// Err is why etcd refused the request, nil if it did not.
	Err error
	// Ignored is true for entries that cannot change keys, leases, alarms or the auth tables, or that a rule leaves out.
	Ignored bool
}

// Result sums up a run.
type Result struct {
	Rules string
	// First and Last are the entries that were run, Entries how many, those applied again not counted.
	First, Last uint64
	Entries     int
	// Revisions is how many main revisions they made.
	Revisions int
	// Refused is how many requests were refused.
	Refused int
	// Final is the state in the end.
	Final Final
	// Notes say what could not be known for certain.
	Notes []string
}

// Final is the end of a run: the tables that are not rows.
type Final struct {
	Revision int64
	Leases   []int64 // sorted as unsigned
	Alarms   []schema.AlarmMember
	Auth     Auth
	// Compact is the revision that was compacted to last, 0 if never; nothing was removed.
	Compact int64
	// AuthRevision is that of Auth with what the rules add to it.
	AuthRevision uint64
}

// Options of a run.
type Options struct {
	// TempDir is where the copy is made, the system's choice if empty.
	TempDir string
	// Progress is called now and then with the number of entries done and to do.
	Progress func(done, total int)
	// Each is called after each entry, in order. The effect may be kept.
	Each func(fx *Effect)
	// Tables is called in the end with each row of the buckets lease, alarm, auth, authUsers and authRoles, as etcd has written
	// them. The slices are valid until it returns. An error ends the run.
	Tables func(bucket string, key, value []byte) error
}

// EntryError says that etcd's code failed at an entry: that it does not come so far is no news about the members.
type EntryError struct {
	Index uint64
	What  string
	// Bounded is true if nothing failed: it would have taken too long.
	Bounded bool
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("could not re-execute entry %d: %s", e.Index, e.What)
}

// ErrNoBase is wrapped where no member can be taken back far enough.
var ErrNoBase = errors.New("no base to re-execute from")

// Run applies entries to a state under rules. The entries must follow State.Index without a gap.
func Run(ctx context.Context, st *State, entries []effect.Entry, rules Rules, opts Options) (*Result, error) {
	if err := contiguous(st, entries); err != nil {
		return nil, err
	}
	seq := rules.sequence(entries)
	var res *Result
	err := inCopy(ctx, st, touchedBy(entries), rules, opts.TempDir, func(g *engine) error {
		high := st.Index
		res = &Result{Rules: rules.Name, Notes: st.Notes}
		if len(entries) > 0 {
			res.First, res.Last = entries[0].Index, entries[len(entries)-1].Index
		}
		for i := range seq {
			if err := ctx.Err(); err != nil {
				return err
			}
			e := &seq[i]
			fx, err := g.apply(e)
			if err != nil {
				return err
			}
			if fx.Again = e.Index <= high; !fx.Again {
				high = e.Index
				res.Entries++
			}
			if fx.Revision > 0 {
				res.Revisions++
			}
			if fx.Err != nil {
				res.Refused++
			}
			if opts.Each != nil {
				opts.Each(fx)
			}
			if opts.Progress != nil && (i%256 == 255 || i == len(seq)-1) {
				opts.Progress(i+1, len(seq))
			}
		}
		var err error
		if res.Final, err = g.final(); err != nil || opts.Tables == nil {
			return err
		}
		return g.tables(opts.Tables)
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

func contiguous(st *State, entries []effect.Entry) error {
	next := st.Index + 1
	for i := range entries {
		if entries[i].Raw == nil || entries[i].Index != next {
			return fmt.Errorf("%w: no log holds entry %d", ErrNoBase, next)
		}
		next++
	}
	return nil
}

// inCopy makes the copy, opens it and calls f, in a goroutine of its own so that a panic in etcd's code ends nothing
// but the run. The copy is removed, whatever happens.
func inCopy(ctx context.Context, st *State, keys *effect.Touched, rules Rules, tempDir string, f func(g *engine) error) (err error) {
	dir, err := os.MkdirTemp(tempDir, "etcd-autopsy-replay-") // 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	done := make(chan error, 1)
	go func() {
		debug.SetPanicOnFault(true) // the state is read from mapped files
		var g *engine
		defer func() {
			if p := recover(); p != nil {
				// What panicked may hold locks: closing could wait for ever.
				at := uint64(0)
				if g != nil {
					at = g.x.Index
				}
				what := fmt.Sprint(p)
				if _, ok := p.(runtime.Error); ok {
					what = "etcd's code cannot do with what it holds, or lacks; a server that applied it would stop there"
				}
				done <- &EntryError{Index: at, What: what}
			}
		}()
		if err := write(ctx, dir, st, keys); err != nil {
			done <- err
			return
		}
		g = open(dir, st, rules)
		err := f(g)
		g.close()
		done <- err
	}()
	return <-done
}

// Between returns the entries of a log from first to last, both included.
func Between(log []effect.Entry, first, last uint64) []effect.Entry {
	if last < first {
		return nil
	}
	from := sort.Search(len(log), func(i int) bool { return log[i].Index >= first })
	return log[from : from+sort.Search(len(log)-from, func(i int) bool { return log[from+i].Index > last })]
}
