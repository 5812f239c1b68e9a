package report

import (
	"sync/atomic"

	"etcd-autopsy/inspect/evidence"
)

// beside renders the entries of a log in another goroutine, in their order, while the next ones are found out: the one takes about as long as the
// other. Not more of them wait than a few batches, so that a log of any length takes the same memory.
type beside struct {
	// stopped is true once nothing more is shown, because what was written to is gone.
	stopped atomic.Bool

	batch   [][]*LogEntry
	size    int // of the entries in batch, in bytes of their data
	batches chan [][]*LogEntry
	group   evidence.Group
	ended   bool
}

// What a batch holds at most, and one entry more.
const (
	batchLines = 256
	batchBytes = 1 << 20
)

// newBeside calls show for what is added, for as long as stop is false.
func newBeside(show func(es []*LogEntry), stop func() bool) *beside {
	b := &beside{batches: make(chan [][]*LogEntry, 1)}
	b.group.Go("the entries", func() {
		defer func() { // also where show panics: nobody may wait for it
			b.stopped.Store(true)
			for range b.batches {
			}
		}()
		for batch := range b.batches {
			for _, es := range batch {
				if show(es); stop() {
					return
				}
			}
		}
	})
	return b
}

// add shows the entries of an index, sooner or later.
func (b *beside) add(es []*LogEntry) {
	b.batch = append(b.batch, es)
	for _, e := range es {
		b.size += e.Size
	}
	if len(b.batch) >= batchLines || b.size >= batchBytes {
		b.flush()
	}
}

func (b *beside) flush() {
	b.batches <- b.batch
	b.batch, b.size = nil, 0
}

// wait waits until all that was added is shown, or nothing more is.
func (b *beside) wait() {
	if !b.ended {
		b.ended = true
		b.flush()
		close(b.batches)
		b.group.Wait()
	}
}
