package diff

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/mvcc"
)

// Compare compares the members of one cluster, or a single member with its own log.
func Compare(ms []*inspect.Member) *Document {
	return guarded(ms, func() *Document {
		c := examine(context.Background(), ms, nil)
		c.answer()
		return c.document()
	})
}

// guarded runs f, which reads members. Where a file is cut that even the summaries need, nothing is known but that.
func guarded(ms []*inspect.Member, f func() *Document) (d *Document) {
	err := evidence.Guard("the members", func() error {
		d = f()
		return nil
	})
	if err == nil {
		return d
	}
	d = &Document{SchemaVersion: SchemaVersion, Verdict: Indeterminate, Reasons: []string{err.Error()}, Err: err}
	for _, m := range ms {
		d.Members = append(d.Members, Member{Label: m.Label, Log: logSummary(m)})
	}
	return d.filled()
}

// document is what was found out, and what ended that early.
func (c *comparison) document() *Document {
	c.doc.Err = errors.Join(c.errs...)
	return c.doc.filled()
}

// compare finds out all there is about those of some members whose dbs are evidence of what they do not hold as well.
func compare(ctx context.Context, ms, use []*inspect.Member, logs func() map[string][]ServerLog) *comparison {
	c := &comparison{ctx: ctx, all: ms, ms: use, serverLogs: logs, doc: &Document{SchemaVersion: SchemaVersion, Verdict: Indeterminate}}
	c.doc.Members = summaries(ms)
	if len(c.ms) > 0 {
		c.guard("the evidence", c.run)
		if c.counted == nil { // it did not come that far
			c.counted = c.start(c.count)
		}
		c.counted()
	}
	c.guard("the evidence", c.countOthers)
	return c
}

// errUnread ends what cannot go on because a file could not be read; why is among the faults by then.
var errUnread = errors.New("a file could not be read")

// guard runs f, which reads files. One that shrinks meanwhile must not take the process down, but leaves no verdict; nor
// must a fault of our own.
func (c *comparison) guard(name string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			if p == any(errUnread) {
				return
			}
			err, ok := p.(error)
			if !ok || !errors.Is(err, evidence.ErrShrank) {
				err = fmt.Errorf("%s: internal error, please report it: %v", name, p)
			}
			c.failed(err)
		}
	}()
	if err := evidence.Guard(name, func() error { f(); return nil }); err != nil {
		c.failed(err)
	}
}

// failed notes what ended a part of the work. That nobody waits for it any more is said once, however many parts that ends.
func (c *comparison) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := err.Error()
	if c.ctx.Err() != nil && errors.Is(err, c.ctx.Err()) {
		if errors.Is(errors.Join(c.errs...), err) {
			return
		}
		text = fmt.Sprintf("the comparison was cut short: %v", context.Cause(c.ctx))
	}
	c.errs, c.faults = append(c.errs, err), append(c.faults, text)
}

// stop ends the guarded work if nobody waits for it any more. None of a group that waits for each other may call it.
func (c *comparison) stop() { evidence.Stop(c.ctx) }

// comparison is the state of one comparison.
type comparison struct {
	ctx context.Context
	all []*inspect.Member
	ms  []*inspect.Member // those of which all that their db holds can be compared
	doc *Document
	// What the verdict rests on: the cause of each divergence, nil if none was inferred, and its basis; why nothing can be compared;
	// remarks that go with any verdict.
	written      []*cause
	basis        []verdict.Basis
	incomparable []string
	remarks      []string

	serverLogs func() map[string][]ServerLog // nil if there are none

	logs    *logs
	views   []*history // of each member; members with the same log share one
	last    []int64    // current revision of each member
	compact int64      // the highest compact revision
	// differing are the main revisions of which not all members have the same rows, whatever the reason.
	differing []int64
	shared    []int // how many rows, from the first on, each member shares with the first one, byte for byte
	parts     []parting
	told      []*explained // what explains each member by its own log, nil for those that nothing explains
	mute      []string     // why, of each of these
	// begunApart is true if members that are explained held different keys before the first entry of their log.
	begunApart bool
	traces     []*trace
	at         []int64 // revision of each member at the common index, -1 if not known
	keysAt     []int64 // revision at which the keys of each member are compared, as it was at entry keysIndex, -1 if not known
	keysIndex  uint64
	causes     []*cause
	keys       differingKeys
	linked     chan struct{} // closed once the rows of a key can be found
	counted    func()        // waits for what count finds out
	mu         sync.Mutex
	errs       []error  // of reading while comparing, and that of ctx
	faults     []string // the same, as they are told
}

func (c *comparison) reason(format string, args ...any) {
	c.doc.Reasons = append(c.doc.Reasons, fmt.Sprintf(format, args...))
}

func (c *comparison) run() {
	c.stop()
	c.readRows(func() { c.counted = c.start(c.count) })
	c.stop()
	c.told = c.search()
	c.stop()
	c.trace()
	c.stop()
	c.tell()
}

// readRows finds out what the rows and logs of the members share. It calls compared once that is known of the rows, and then
// makes what finding the rows of a key takes.
func (c *comparison) readRows(compared func()) {
	c.doc.Common.Index = math.MaxUint64
	var tables []*mvcc.Table
	for _, m := range c.ms {
		c.last = append(c.last, m.DB.Revision())
		c.compact = max(c.compact, m.DB.CompactRevision())
		c.doc.Common.Index = min(c.doc.Common.Index, m.DB.Tables.ConsistentIndex)
		tables = append(tables, m.DB.Rows)
	}
	c.doc.Common.CompactRevision = c.compact
	c.linked = make(chan struct{})
	c.together(func(spawn func(func())) {
		defer close(c.linked)
		spawn(c.readLogs)
		noted := c.findDiffering(tables)
		compared()
		mvcc.LinkShared(tables, c.shared, noted)
	})
}

// readLogs finds the histories that the logs tell.
func (c *comparison) readLogs() {
	c.logs = compareLogs(c.ms)
	c.doc.Logs = Logs{Compared: c.logs.compared, Identical: len(c.logs.forks) == 0}
	byLog := map[int]*history{}
	for i := range c.ms {
		h := byLog[c.logs.history[i]]
		if h == nil {
			h = newHistory(c.logs.view(c.ms, i))
			h.pend(c.logs.pending(c.ms, i, h.last()))
			byLog[c.logs.history[i]] = h
		}
		c.views = append(c.views, h)
	}
}

// each runs f for every member at the same time.
func (c *comparison) each(f func(i int)) {
	c.stop()
	var wg sync.WaitGroup
	for i, m := range c.ms {
		wg.Go(func() {
			c.guard(m.Origin, func() { f(i) })
		})
	}
	wg.Wait()
	if len(c.faults) > 0 {
		panic(errUnread) // what follows takes all members for done
	}
}

// together runs f and all that it spawns, and waits for them.
func (c *comparison) together(f func(spawn func(func()))) {
	var wg sync.WaitGroup
	c.guard("the evidence", func() {
		f(func(g func()) { wg.Go(func() { c.guard("the evidence", g) }) })
	})
	wg.Wait()
}

// start runs f while others go on, and returns what waits for it.
func (c *comparison) start(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.guard("the evidence", f)
	}()
	return func() { <-done }
}

// whole tells whether member i's log holds the history of its keyspace from the beginning.
func (c *comparison) whole(i int) bool {
	h := c.views[i]
	// A restored cluster begins with a keyspace, and with more revisions than entries.
	return h.whole() && uint64(c.last[i]-1) <= max(c.ms[i].DB.Tables.ConsistentIndex, uint64(len(h.entries)))
}

// incomparable says in a sentence why members are not of one cluster, or is empty.
func incomparable(ms []*inspect.Member) string {
	ids := map[uint64][]string{}
	for _, m := range ms {
		if m.Log.HasMetadata && m.Log.ClusterID != 0 {
			ids[m.Log.ClusterID] = append(ids[m.Log.ClusterID], m.Label)
		}
	}
	if len(ids) > 1 {
		var parts []string
		for id, labels := range ids {
			parts = append(parts, fmt.Sprintf("%s: %s", strings.Join(labels, ", "), ID(id)))
		}
		slices.Sort(parts)
		return fmt.Sprintf("these are members of %d clusters, whose contents have nothing to do with each other (cluster ids: %s)",
			len(ids), strings.Join(parts, "; "))
	}
	return ""
}
