package diff

import (
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
	c := examine(ms, nil)
	c.decide()
	return c.doc.filled()
}

// compare finds out all there is about those of some members whose dbs are evidence of what they do not hold as well.
func compare(ms, use []*inspect.Member, logs func() map[string][]ServerLog) *comparison {
	c := &comparison{all: ms, ms: use, serverLogs: logs, doc: &Document{SchemaVersion: SchemaVersion, Verdict: Indeterminate}}
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

// guard runs f, which reads files. One that shrinks meanwhile must not take the process down, but leaves no verdict; nor
// must a fault of our own.
func (c *comparison) guard(name string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			if p == any(errUnread) {
				return
			}
			text := fmt.Sprintf("%s: internal error, please report it: %v", name, p)
			if err, ok := p.(error); ok && errors.Is(err, evidence.ErrShrank) {
				text = err.Error()
			}
			c.mu.Lock()
			c.readErrors = append(c.readErrors, text)
			c.mu.Unlock()
		}
	}()
	if err := evidence.Guard(name, func() error { f(); return nil }); err != nil {
		c.mu.Lock()
		c.readErrors = append(c.readErrors, err.Error())
		c.mu.Unlock()
	}
}

// comparison is the state of one comparison.
type comparison struct {
	all []*inspect.Member
	ms  []*inspect.Member // those of which all that their db holds can be compared
	doc *Document
	// What the verdict rests on: the cause of each divergence, nil if none was inferred, and its basis; why nothing can be compared;
	// remarks that go with any verdict.
	writtenCauses []*cause
	basis         []verdict.Basis
	incomparable  []string
	remarks       []string

	serverLogs func() map[string][]ServerLog // nil if there are none

	logs           *logs
	histories      []*history // of each member; members with the same log share one
	last           []int64    // current revision of each member
	highestCompact int64      // the highest compact revision
	// differing are the main revisions of which not all members have the same rows, whatever the reason.
	differing      []int64
	shared         []int // how many rows, from the first on, each member shares with the first one, byte for byte
	partings       []parting
	explained      []*explanation // what explains each member by its own log, nil for those that nothing explains
	whyUnexplained []string       // why, of each of these
	// partedBeforeLog is true if members that are explained held different keys before the first entry of their log.
	partedBeforeLog   bool
	traces            []*trace
	revisionsAtCommon []int64 // revision of each member at the common index, -1 if not known
	keyRevisions      []int64 // revision at which the keys of each member are compared, as it was at entry keysIndex, -1 if not known
	keysIndex         uint64
	causes            []*cause
	keys              differingKeys
	rowsLinked        chan struct{} // closed once the rows of a key can be found
	waitCounted       func()        // waits for what count finds out
	mu                sync.Mutex
	readErrors        []string // of reading while comparing
}

func (c *comparison) reason(format string, args ...any) {
	c.doc.Reasons = append(c.doc.Reasons, fmt.Sprintf(format, args...))
}

func (c *comparison) run() {
	c.readRows(func() { c.waitCounted = c.runBeside(c.count) })
	c.explained = c.explainMembers()
	c.traceEntries()
	c.findCauses()
}

// readRows finds out what the rows and logs of the members share. It calls compared once that is known of the rows, and then
// makes what finding the rows of a key takes.
func (c *comparison) readRows(compared func()) {
	c.doc.Common.Index = math.MaxUint64
	var tables []*mvcc.Table
	for _, m := range c.ms {
		c.last = append(c.last, m.DB.Revision())
		c.highestCompact = max(c.highestCompact, m.DB.CompactRevision())
		c.doc.Common.Index = min(c.doc.Common.Index, m.DB.Tables.ConsistentIndex)
		tables = append(tables, m.DB.Rows)
	}
	c.doc.Common.CompactRevision = c.highestCompact
	c.rowsLinked = make(chan struct{})
	c.runTogether(func(spawn func(func())) {
		defer close(c.rowsLinked)
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
			h.addPending(c.logs.pending(c.ms, i, h.last()))
			byLog[c.logs.history[i]] = h
		}
		c.histories = append(c.histories, h)
	}
}

// eachMember runs f for every member at the same time.
func (c *comparison) eachMember(f func(i int)) {
	var wg sync.WaitGroup
	for i, m := range c.ms {
		wg.Go(func() {
			c.guard(m.Origin, func() { f(i) })
		})
	}
	wg.Wait()
	if len(c.readErrors) > 0 {
		panic(errUnread) // what follows takes all members for done
	}
}

// runTogether runs f and all that it spawns, and waits for them.
func (c *comparison) runTogether(f func(spawn func(func()))) {
	var wg sync.WaitGroup
	c.guard("the evidence", func() {
		f(func(g func()) { wg.Go(func() { c.guard("the evidence", g) }) })
	})
	wg.Wait()
}

// runBeside runs f while others go on, and returns what waits for it.
func (c *comparison) runBeside(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.guard("the evidence", f)
	}()
	return func() { <-done }
}

// beginsWithCluster tells whether member i's log holds the history of its keyspace from the beginning.
func (c *comparison) beginsWithCluster(i int) bool {
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
