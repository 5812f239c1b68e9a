package raftlog

import "time"

// Clock tells when entries were proposed, as far as the ids of their requests do. These tell when the processes that proposed them
// were started; of an entry between two starts is known that it lies between them. Entries are noted in the order of the log.
type Clock struct {
	Starts []Start // in the order of their first entries

	processes Processes
	first     uint64 // of the log
}

// Start is a process that proposed entries.
type Start struct {
	Prefix uint16 // the low 16 bits of the member's id
	At     time.Time
	First  uint64 // its first entry in the log
	After  uint64 // the last entry of the member's process before it, 0 if there is none in the log
	// Fresh is true if the process began in the time of this log: its first entry, which publishes the member's attributes, came
	// soon after its start.
	Fresh bool
}

// Note takes the next entry into account. It tells whether that is the first one of a process, the last of Starts then.
func (c *Clock) Note(index uint64, r *Request) (started bool) {
	if c.processes == nil {
		c.processes, c.first = Processes{}, index
	}
	p := Proposer(r.ID)
	fresh := c.first == 1 || c.processes[p.Prefix] != nil
	if !c.processes.Note(index, r) {
		return false
	}
	s := Start{Prefix: p.Prefix, At: p.Started(), First: index, Fresh: fresh}
	for _, r := range c.processes[p.Prefix].Restarts {
		if r.Before == index {
			s.After = r.After
		}
	}
	c.Starts = append(c.Starts, s)
	return true
}

// Since is the first entry that may have been proposed at a time or later, 0 if that may be any. Those before it were proposed earlier: what
// a process proposed last was, before the member's next one started.
func (c *Clock) Since(t time.Time) uint64 {
	first := uint64(0)
	for _, s := range c.Starts {
		if s.After > 0 && !s.At.After(t) {
			first = max(first, s.After+1)
		}
	}
	return first
}

// Until is the first entry that was proposed after a time, as are all behind it. ok is false if none is known to be.
func (c *Clock) Until(t time.Time) (first uint64, ok bool) {
	for _, s := range c.Starts {
		if s.At.After(t) {
			return s.First, true
		}
	}
	return 0, false
}
