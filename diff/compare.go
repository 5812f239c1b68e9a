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
	return survive(ms, func() *Document {
		c := examine(context.Background(), ms, nil)
		c.decide()
		return c.document()
	})
}

// survive runs f, which reads members. Where a file is cut that even the summaries need, nothing is known but that.
func survive(ms []*inspect.Member, f func() *Document) (d *Document) {
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
	c := &comparison{doc: &Document{SchemaVersion: SchemaVersion, Verdict: Indeterminate}}
	c.ctx, c.all, c.ms, c.serverLogs = ctx, ms, use, logs
	c.doc.Members = summaries(ms)
	if len(c.ms) > 0 {
		c.guard("the evidence", c.run)
		if c.waitCounted == nil { // it did not come that far
			c.waitCounted = c.runBeside(c.count)
		}
		c.waitCounted()
	}
	c.guard("the evidence", c.countOthers)
	return c
}

// errUnread ends what cannot go on because a file could not be read; why is among the faults by then.
var errUnread = errors.New("a file could not be read")

// guarded runs what reads files. Its methods may be called by several goroutines.
type guarded struct {
	ctx        context.Context // of whoever waits for the work
	mu         sync.Mutex
	errs       []error  // of reading while comparing, and that of ctx; guarded by mu until all that was spawned has ended
	readErrors []string // the same, as they are told
}

// guard runs f, which reads files. One that shrinks meanwhile must not take the process down, but leaves no verdict; nor
// must a fault of our own.
func (c *guarded) guard(name string, f func()) {
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
func (c *guarded) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := err.Error()
	if c.ctx.Err() != nil && errors.Is(err, c.ctx.Err()) {
		if errors.Is(errors.Join(c.errs...), err) {
			return
		}
		text = fmt.Sprintf("the comparison was cut short: %v", context.Cause(c.ctx))
	}
	c.errs, c.readErrors = append(c.errs, err), append(c.readErrors, text)
}

// stop ends the guarded work if nobody waits for it any more. None of a group that waits for each other may call it.
func (c *guarded) stop() { evidence.Stop(c.ctx) }

// The stages of a comparison. Each embeds what the one before has found out, and its methods see no more than that: whoever writes a method of contents
// cannot ask what explains a member. A stage fills in its own fields once, before the next one begins; after that they are only read. The goroutine that
// calls Compare owns all of it. Others run only while a method of guarded waits for them, each with fields or elements of its own, and beside all
// stages comparison.count, which needs rowsLinked and writes what doc.Members says of keys and hashes.

// contents is what the files of the members hold, and what their rows and logs share: readContents. Members are known by their place in ms.
type contents struct {
	guarded
	// The input.
	all        []*inspect.Member
	ms         []*inspect.Member // those of which all that their db holds can be compared
	serverLogs func() map[string][]ServerLog

	logs           *logs         // nil if nothing was compared
	histories      []*history    // of each member; members with the same log share one
	last           []int64       // current revision of each member
	highestCompact int64         // the highest compact revision
	differing      []int64       // the main revisions of which not all members have the same rows, whatever the reason
	shared         []int         // how many rows, from the first on, each member shares with the first one, byte for byte
	rowsLinked     chan struct{} // closed once the rows of a key can be found
}

// explanations is what explains each member by its own log: explainMembers.
type explanations struct {
	contents
	explained       []*explanation // nil for those that nothing explains
	whyUnexplained  []string       // of each of these
	partedBeforeLog bool           // members that are explained held different keys before the first entry of their log
	searchLimits    []string       // what was not searched to the end, of members that nothing explains
}

// entryEffects is what the entries of the log did on each member: traceEntries.
type entryEffects struct {
	explanations
	traces []*trace
}

// comparison is the last stage: what tells members apart (findCauses), and the document that says so (conclude, decide).
type comparison struct {
	entryEffects
	doc               *Document
	partings          []parting // of the rows
	revisionsAtCommon []int64   // of each member at the common index, -1 if not known; nil before placeCommonIndex
	causes            []*cause
	keys              differingKeys
	keysByRows        *keysByRows // where some member is not explained, once keys were compared; nil otherwise
	conclusion
	waitCounted func() // waits for what count finds out
}

// conclusion is what the verdict rests on. writtenCauses and basis have an element for each of doc.Divergences, which addDivergence alone adds.
type conclusion struct {
	writtenCauses []*cause // nil if none was inferred
	basis         []verdict.Basis
	incomparable  []string // why nothing can be compared
	remarks       []string // they go with any verdict
}

func (c *comparison) reason(format string, args ...any) {
	c.doc.Reasons = append(c.doc.Reasons, fmt.Sprintf(format, args...))
}

func (c *comparison) run() {
	c.stop()
	c.doc.Common.Index = math.MaxUint64
	for _, m := range c.ms {
		c.doc.Common.Index = min(c.doc.Common.Index, m.DB.Tables.ConsistentIndex)
		c.doc.Common.CompactRevision = max(c.doc.Common.CompactRevision, m.DB.CompactRevision())
	}
	c.readContents(func() { c.waitCounted = c.runBeside(c.count) })
	if c.logs != nil { // nil if they could not be read
		c.doc.Logs = Logs{Compared: c.logs.compared, Identical: len(c.logs.forks) == 0}
	}
	c.stop()
	c.explainMembers()
	c.limit(c.searchLimits...)
	c.stop()
	c.traceEntries()
	c.stop()
	c.findCauses()
}

// readContents finds out what the rows and logs of the members share. It calls compared once that is known of the rows, and then
// makes what finding the rows of a key takes.
func (c *contents) readContents(compared func()) {
	var tables []*mvcc.Table
	for _, m := range c.ms {
		c.last = append(c.last, m.DB.Revision())
		c.highestCompact = max(c.highestCompact, m.DB.CompactRevision())
		tables = append(tables, m.DB.Rows)
	}
	c.rowsLinked = make(chan struct{})
	c.runTogether(func(spawn func(func())) {
		defer close(c.rowsLinked)
		spawn(c.readLogs)
		c.findDiffering(tables)
		compared()
		mvcc.LinkShared(tables, c.shared)
	})
}

// readLogs finds the histories that the logs tell.
func (c *contents) readLogs() {
	c.logs = compareLogs(c.ms)
	byLog := map[int]*history{}
	for i := range c.ms {
		h := byLog[c.logs.history[i]]
		if h == nil {
			h = newHistory(c.logs.view(c.ms, i))
			h.addPending(c.logs.pending(c.ms, i, h.last()))
			byLog[c.logs.history[i]] = h
		}
		c.histories = append(c.histories, h)
	}
}

// eachMember runs f for every member at the same time.
func (c *contents) eachMember(f func(i int)) {
	c.stop()
	var wg sync.WaitGroup
	for i, m := range c.ms {
		wg.Go(func() {
			c.guard(m.Origin, func() { f(i) })
		})
	}
	wg.Wait()
	c.mu.Lock()
	failed := len(c.readErrors) > 0
	c.mu.Unlock()
	if failed {
		panic(errUnread) // what follows takes all members for done
	}
}

// runTogether runs f and all that it spawns, and waits for them.
func (c *guarded) runTogether(f func(spawn func(func()))) {
	var wg sync.WaitGroup
	c.guard("the evidence", func() {
		f(func(g func()) { wg.Go(func() { c.guard("the evidence", g) }) })
	})
	wg.Wait()
}

// runBeside runs f while others go on, and returns what waits for it.
func (c *guarded) runBeside(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.guard("the evidence", f)
	}()
	return func() { <-done }
}

// beginsWithCluster tells whether member i's log holds the history of its keyspace from the beginning.
func (c *contents) beginsWithCluster(i int) bool {
	h := c.histories[i]
	// A restored cluster begins with a keyspace, and with more revisions than entries.
	return h.fromFirstEntry() && uint64(c.last[i]-1) <= max(c.ms[i].DB.Tables.ConsistentIndex, uint64(len(h.entries)))
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
