package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/gardener"
	"etcd-autopsy/inspect/mvcc"
)

// verifyDelta reads a delta of etcd-backup-restore. Each event is given to visit, nil if nobody asks, before it is known whether the hash is right.
func verifyDelta(ctx context.Context, name gardener.Name, in io.Reader, visit func(*gardener.Event)) *Result {
	r := &Result{Kind: KindDelta, Revision: name.Last}
	no := func(format string, args ...any) *Result {
		r.State, r.Why = NotRestorable, fmt.Sprintf(format, args...)
		return r
	}
	x, err := gardener.NewReader(in, name.Suffix)
	if err != nil {
		return no("%v", err)
	}
	first, last, wrong := int64(0), int64(0), ""
	for x.Next() {
		if r.Events%4096 == 0 && ctx.Err() != nil {
			return no("not read to its end: interrupted")
		}
		e := x.Event()
		switch {
		case wrong != "":
		case e.Revision <= 0:
			wrong = fmt.Sprintf("event %d has no revision", r.Events+1)
		case e.Revision < last:
			wrong = fmt.Sprintf("events are out of order: event %d of revision %d comes behind one of revision %d", r.Events+1, e.Revision, last)
		}
		if r.Events++; first == 0 {
			first = e.Revision
		}
		if last = e.Revision; visit != nil {
			visit(e)
		}
	}
	readErr := x.Err()
	switch err := x.Check(); {
	case errors.Is(err, gardener.ErrHash):
		r.Hash = HashWrong
		if readErr != nil {
			return no("%v; and %v", err, readErr)
		}
		return no("%v; etcd-backup-restore refuses it", err)
	case err != nil:
		return no("%v", err)
	}
	r.Hash, r.Whole = HashRight, readErr == nil
	switch {
	case readErr != nil:
		return no("its hash is right, and %v", readErr)
	case r.Events == 0:
		return no("its hash is right, and it holds no event")
	case wrong != "":
		return no("%s", wrong)
	case last != name.Last || first < name.First:
		return no("it is named for revisions %d to %d, and holds those from %d to %d", name.First, name.Last, first, last)
	}
	r.State, r.Why = Restorable, fmt.Sprintf("its hash is right, %d events of revisions %d to %d; restorable with the full snapshot and the deltas before it", r.Events, first, last)
	return r
}

// Delta is a file of a chain.
type Delta struct {
	File string // as it is shown
	Name gardener.Name
	Open func() (io.ReadCloser, error)
}

// mostKeys bounds the keys of deltas that are followed.
const mostKeys = 5_000_000

// Replay says what a restore of a full snapshot and the deltas behind it would hold. It follows what etcd-backup-restore does: of the first delta what the
// snapshot holds already is left out, the events of each revision are one transaction without their leases, and behind each delta the
// revision must be the one in its name (pkg/snapshot/restorer/restorer.go). done is called with the result of each delta, in order.
func Replay(ctx context.Context, m *inspect.Member, full *Result, deltas []Delta, done func(*Delta, *Result)) *Result {
	c := &Result{Kind: KindChain, Revision: full.Revision, CompactRevision: full.CompactRevision, Keys: full.Keys, Version: full.Version, Size: full.Size}
	stopped := false
	stop := func(state State, format string, args ...any) {
		if !stopped {
			stopped = true
			c.State, c.Why = state, fmt.Sprintf(format, args...)
		}
	}
	switch {
	case full.State == NotRestorable:
		stop(NotRestorable, "its full snapshot cannot be restored")
	case full.State == Unknown:
		stop(Unknown, "whether its full snapshot can be restored cannot be told")
	}
	p := &replayer{revision: full.Revision, base: full.Revision, live: full.Keys, touched: map[string]touch{}}
	if m.DB != nil {
		p.rows = m.DB.Rows
	}
	before := int64(0) // the last revision of the delta before
	for i := range deltas {
		d := &deltas[i]
		p.begin(i == 0, d.Name)
		r := verifyFile(ctx, d, func(e *gardener.Event) {
			if !stopped {
				p.take(e)
			}
		})
		done(d, r)
		c.Events += r.Events
		c.Size += r.Size
		switch {
		case stopped:
		case r.State != Restorable:
			stop(NotRestorable, "a restore ends with an error at %s: %s; up to revision %d it can be done with the files before", d.File, r.Why, c.Revision)
		case i == 0 && d.Name.First > full.Revision+1:
			stop(NotRestorable, "a gap: the full snapshot ends with revision %d, and %s begins with revision %d", full.Revision, d.File, d.Name.First)
		case i > 0 && d.Name.First > before+1:
			stop(NotRestorable, "a gap: revisions %d to %d are in no file, and a restore ends with an error at %s; up to revision %d it can be done with the files before", before+1, d.Name.First-1, d.File, c.Revision)
		case i > 0 && p.begins <= before:
			stop(NotRestorable, "an overlap: %s begins with revision %d, which the file before holds, too; a restore makes it twice, and ends with an error there; up to revision %d it can be done with the files before", d.File, p.begins, c.Revision)
		default:
			switch why := p.end(d.Name); {
			case p.tooMany:
				stop(Unknown, "there are more than %d different keys in its deltas, which were not followed", mostKeys)
			case why != "":
				stop(NotRestorable, "a restore ends with an error at %s: %s; up to revision %d it can be done with the files before", d.File, why, c.Revision)
			default:
				c.Revision, c.Keys = p.revision, p.live
			}
		}
		before = d.Name.Last
	}
	if !stopped {
		c.State, c.Whole = Restorable, true
		c.Why = fmt.Sprintf("a restore of the full snapshot and %d deltas comes to revision %d", len(deltas), c.Revision)
		if full.Hash == HashMissing {
			c.Why += ", with --skip-hash-check, since the snapshot has no hash"
		}
		if n := p.leased(); n > 0 {
			c.Why += fmt.Sprintf("; %d keys that deltas wrote with a lease have none then, and never expire", n)
		}
	}
	return c
}

// VerifyFile verifies a delta by itself.
func VerifyFile(ctx context.Context, d *Delta) *Result { return verifyFile(ctx, d, nil) }

func verifyFile(ctx context.Context, d *Delta, visit func(*gardener.Event)) *Result {
	f, err := d.Open()
	if err != nil {
		r := NotOpened(Unopened, err.Error())
		r.Kind = KindDelta
		return r
	}
	defer f.Close()
	r := verifyDelta(ctx, d.Name, f, visit)
	if f, ok := f.(fs.File); ok {
		if fi, err := f.Stat(); err == nil {
			r.Size = fi.Size()
		}
	}
	return r
}

// touch is a key that deltas wrote.
type touch struct{ alive, leased bool }

// replayer follows the revisions and keys of a restore, as etcd-backup-restore makes it: the full snapshot, and then the events of one delta after the
// other, those of a revision in one transaction. For each delta begin is called, then take for every event, then end.
type replayer struct {
	rows     *mvcc.Table      // of the full snapshot, nil if it cannot be read
	base     int64            // its revision
	revision int64            // that the store has come to
	live     int              // how many keys there are
	touched  map[string]touch // keys that deltas wrote, as they are now
	tooMany  bool             // there are more of them than mostKeys: nothing is followed any more

	// Of the delta that begin named.
	first   bool   // it is the first one
	skip    bool   // it ends where the full snapshot does, so that it is not applied
	began   bool   // an event of it was applied
	begins  int64  // revision of its first event, 0 before there was one
	refused string // why etcd refuses an event of it, empty if it does not

	// Of the transaction, which is all events of one revision.
	at      int64           // the revision that they name, 0 before the first one
	written map[string]bool // its keys: whether it puts them
	effect  bool            // it changes something, so that it makes a revision
}

// begin begins a delta.
func (p *replayer) begin(first bool, name gardener.Name) {
	p.first, p.skip, p.began = first, first && p.base == name.Last, false
	p.at, p.begins, p.effect, p.refused = 0, 0, false, ""
	p.written = map[string]bool{}
}

// take applies an event, unless the full snapshot holds it.
func (p *replayer) take(e *gardener.Event) {
	if p.begins == 0 {
		p.begins = e.Revision
	}
	if p.skip || p.tooMany || p.first && !p.began && e.Revision <= p.base {
		return
	}
	p.began = true
	if p.at != 0 && e.Revision > p.at {
		p.commit()
	}
	p.at = e.Revision
	key := string(e.Key)
	if put, twice := p.written[key]; twice && (put || !e.Delete) && p.refused == "" {
		p.refused = fmt.Sprintf("revision %d writes a key twice, which etcd refuses", e.Revision)
	}
	p.written[key] = p.written[key] || !e.Delete
	was := p.alive(key)
	switch {
	case e.Delete && !was:
		return
	case e.Delete:
		p.live--
	case !was:
		p.live++
	}
	p.effect = true
	p.touched[key] = touch{!e.Delete, e.Lease != 0}
	p.tooMany = len(p.touched) > mostKeys
}

// commit ends a transaction.
func (p *replayer) commit() {
	if p.effect {
		p.revision++
	}
	p.effect = false
	clear(p.written)
}

func (p *replayer) alive(key string) bool {
	if t, ok := p.touched[key]; ok {
		return t.alive
	}
	if p.rows == nil {
		return false
	}
	_, _, ok := p.rows.At([]byte(key), p.base)
	return ok
}

// end says why a restore ends with an error behind a delta, empty if it does not.
func (p *replayer) end(name gardener.Name) string {
	p.commit()
	switch {
	case p.skip:
		return ""
	case p.refused != "":
		return p.refused
	case p.first && !p.began:
		return fmt.Sprintf("all its events are of revisions up to %d, which the full snapshot holds, too", name.Last)
	case p.revision != name.Last:
		return fmt.Sprintf("by its events the store comes to revision %d, and the name says %d: revisions are missing in it", p.revision, name.Last)
	}
	return ""
}

func (p *replayer) leased() (n int) {
	for _, t := range p.touched {
		if t.alive && t.leased {
			n++
		}
	}
	return n
}
