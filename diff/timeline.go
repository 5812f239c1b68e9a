package diff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-semver/semver"

	"etcd-autopsy/diff/faults"
	"etcd-autopsy/inspect/raftlog"
)

// maxTimeline is how many events are listed.
const maxTimeline = 1000

// EventKind is what happened. The causes of divergences are onset, and the first entry of each that did something else is effect.
type EventKind string

// The kinds of events.
const (
	EventStart      EventKind = "start"      // a member's process started before the entry, the first that it proposed
	EventOnset      EventKind = "onset"      // the fault of members begins
	EventEffect     EventKind = "effect"     // and shows in keys
	EventCompaction EventKind = "compaction" // it took effect on some members only
	EventLeader     EventKind = "leader"     // another term begins: there was an election
	EventVersion    EventKind = "version"    // the cluster version was set
	EventAuth       EventKind = "auth"       // auth was turned on or off
	EventAlarm      EventKind = "alarm"      // an alarm went on or off
	EventMembership EventKind = "membership" // members were added, removed or promoted
	EventEnd        EventKind = "end"        // the last entry that members have come to
)

// Event is something that the log tells, in the order of its entries. Time is known of starts only, from the ids of requests.
type Event struct {
	Entry   uint64     `json:"entry"`
	Time    *time.Time `json:"time,omitempty"`
	Kind    EventKind  `json:"kind"`
	Members []string   `json:"members"`
	What    string     `json:"what"`
}

// Restarted tells of a start that it is not the first one of a process of its member.
func (e *Event) Restarted() bool {
	return e.Kind == EventStart && !strings.HasSuffix(e.What, " started")
}

// timeline is what happened, as far as the logs say, and what explains the members.
func (c *comparison) timeline() (events []Event) {
	if c.logs == nil {
		return nil
	}
	type happened struct {
		kind  EventKind
		entry uint64
		what  string
	}
	seen := map[happened]bool{}
	add := func(e Event) {
		if k := (happened{e.Kind, e.Entry, e.What}); !seen[k] {
			seen[k] = true
			e.Members = slices.Clone(e.Members)
			notNil(&e.Members)
			events = append(events, e)
		}
	}
	for i, h := range c.histories {
		c.addStarts(h, add)
		for _, m := range h.milestones {
			if e := c.entry(i, m.index); e != nil {
				add(Event{Entry: m.index, Kind: m.kind, What: m.text(e)})
			}
		}
	}
	c.addCompactions(add)
	for n, k := range c.writtenCauses {
		v := &c.doc.Divergences[n]
		if k == nil {
			if e := v.Entry; e != nil {
				add(Event{Entry: e.Index, Kind: EventOnset, Members: v.Minority, What: v.What})
			}
			continue
		}
		c.addBegin(v, k, add)
	}
	for _, d := range c.endsOfCopies() {
		add(d)
	}
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(eventOrder(a.Kind), eventOrder(b.Kind)))
	})
	for _, kind := range []EventKind{EventLeader, EventMembership, EventStart, EventAlarm, EventAuth, EventOnset} {
		room := maxTimeline - len(events) // less than nothing: as many of the kind go
		for i := len(events) - 1; i >= 0 && room < 0; i-- {
			if events[i].Kind == kind {
				events, room = slices.Delete(events, i, i+1), room+1
				c.doc.TimelineLeftOut++
			}
		}
	}
	return events
}

// text says in a clause what an entry did.
func (m *milestone) text(e *Entry) string {
	switch {
	case m.kind == EventLeader:
		return fmt.Sprintf("term %d begins", e.Term)
	case m.kind == EventVersion:
		if v, err := semver.NewVersion(m.version); err == nil {
			return "the cluster version becomes " + v.String()
		}
		return "the cluster version is set to what is none"
	case e.Type == "AuthEnable":
		return "auth is turned on"
	case e.Type == "AuthDisable":
		return "auth is turned off"
	}
	return e.Summary
}

// eventOrder is that of events at one entry: a process starts before it proposes.
func eventOrder(k EventKind) int {
	return slices.Index([]EventKind{EventLeader, EventStart, EventVersion, EventAuth, EventAlarm, EventMembership, EventCompaction, EventOnset, EventEffect, EventEnd}, k)
}

// addStarts adds the starts of all processes that proposed entries of a log.
func (c *contents) addStarts(h *history, add func(Event)) {
	for _, prefix := range slices.Sorted(maps.Keys(h.processes)) {
		p := h.processes[prefix]
		who := c.proposerOf(prefix)
		if who == "" && prefix == 0 {
			continue // ids that name no member are none of a server
		}
		start := func(entry uint64, at time.Time, what string) {
			ev := Event{Entry: entry, Time: &at, Kind: EventStart, Members: []string{who}, What: who + " " + what}
			if who == "" {
				ev.Members, ev.What = []string{}, "a member of which no table tells "+what
			}
			add(ev)
		}
		if len(h.entries) > 0 && h.entries[0].Index == 1 {
			start(p.First, p.Began, "started")
		}
		for i := range p.Restarts {
			start(p.Restarts[i].Before, p.Restarts[i].At, "restarted")
		}
	}
}

// proposerOf names the member whose id ends with 16 bits.
func (c *contents) proposerOf(prefix uint16) string {
	return c.proposer(&raftlog.Request{ID: uint64(prefix) << 48})
}

// addCompactions adds the compactions that took effect on some members only: the last one that a member carried out, if others that came beyond it
// did not.
func (c *contents) addCompactions(add func(Event)) {
	for i, m := range c.ms {
		revision := m.DB.CompactRevision()
		index := c.histories[i].compactions[revision]
		if index == 0 || revision == 0 {
			continue
		}
		var on, off []string
		for _, o := range c.ms {
			switch {
			case o.DB.Tables.ConsistentIndex < index:
			case o.DB.CompactRevision() < revision:
				off = append(off, o.Label)
			default:
				on = append(on, o.Label)
			}
		}
		if len(off) > 0 {
			add(Event{Entry: index, Kind: EventCompaction, Members: on, What: fmt.Sprintf("compaction at revision %d takes effect on %s only", revision, listOf(on))})
		}
	}
}

// addBegin adds where a cause begins, on each of its members, and where it shows first.
func (c *contents) addBegin(v *Divergence, k *cause, add func(Event)) {
	t := k.fault
	if t == nil || k.ambiguous() {
		switch {
		case v.Entry != nil:
			add(Event{Entry: v.Entry.Index, Kind: EventOnset, Members: v.Minority, What: v.What})
		case v.SearchBounded && len(v.Candidates) > 0: // the first that was found
			add(Event{Entry: v.Candidates[0].Index, Kind: EventOnset, Members: v.Faulty, What: v.What})
		case v.EntryInterval != nil:
			add(Event{Entry: v.EntryInterval.First, Kind: EventOnset, Members: v.Faulty, What: v.What})
		}
		return
	}
	byOnset := map[uint64][]int{}
	for _, i := range t.members {
		byOnset[t.onset[i].First] = append(byOnset[t.onset[i].First], i)
	}
	for _, entry := range slices.Sorted(maps.Keys(byOnset)) {
		if entry == 0 {
			continue
		}
		who := c.labels(byOnset[entry])
		what := v.What
		switch {
		case t.kind == faults.Rules:
			what = fmt.Sprintf("%s: from here on by the rules of etcd %s", listOf(who), c.rulesName(t.firstReading().To))
		case t.kind == faults.Skipped && len(v.Entries) < 2 && v.Entry != nil:
			what = fmt.Sprintf("no effect on %s: %s", listOf(who), v.Entry.Summary)
		case t.kind == faults.Permitted, t.kind == faults.Branch, t.kind == faults.Rows:
			what = fmt.Sprintf("%s: %s", listOf(who), v.What)
		}
		add(Event{Entry: entry, Kind: EventOnset, Members: who, What: what})
	}
	if f := v.FirstEffect; f != nil {
		add(Event{Entry: f.Entry, Kind: EventEffect, Members: v.Faulty, What: "shows in keys: " + f.Summary})
	}
}

// endsOfCopies are the last entries that the members have come to.
func (c *explanations) endsOfCopies() (events []Event) {
	byEnd := map[uint64][]string{}
	for i, m := range c.ms {
		if n := c.reach(i); n > 0 {
			byEnd[n] = append(byEnd[n], m.Label)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(byEnd)) {
		events = append(events, Event{Entry: index, Kind: EventEnd, Members: byEnd[index], What: "the copy of " + listOf(byEnd[index]) + " ends"})
	}
	return events
}

// behavesAs says of each member by the rules of which versions of etcd it judged entries. It is empty where that makes no difference: no
// member goes over to other rules, or began with others.
func (c *explanations) behavesAs() (out []string, of [][]Behaviour) {
	out, of = make([]string, len(c.ms)), make([][]Behaviour, len(c.ms))
	differ := false
	var rules []string
	for i := range c.ms {
		x := c.explained[i]
		if x == nil || len(c.histories[c.source(i)].authWrites) == 0 {
			continue
		}
		for n, v := range x.member.RulesOver(&x.chosen) {
			of[i] = append(of[i], Behaviour{v.Entry, v.Rules})
			if n == 0 {
				out[i] = c.rulesName(v.Rules)
				rules = append(rules, out[i])
				continue
			}
			out[i] += fmt.Sprintf("; %s from entry %d on", c.rulesName(v.Rules), v.Entry)
			differ = true
		}
		differ = differ || rules[0] != rules[len(rules)-1]
	}
	if !differ {
		clear(out)
		clear(of)
	}
	return out, of
}
