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
func (c *comparison) timeline() []Event {
	if c.logs == nil {
		return nil
	}
	t := &timeline{explanations: &c.explanations, seen: map[happened]bool{}}
	for i, h := range c.histories {
		t.addStarts(h)
		for _, m := range h.milestones {
			if e := c.entry(i, m.index); e != nil {
				t.add(Event{Entry: m.index, Kind: m.kind, What: m.text(e)})
			}
		}
	}
	t.addCompactions()
	for n, k := range c.writtenCauses {
		t.addOnset(&c.doc.Divergences[n], k)
	}
	t.addEnds()
	c.doc.TimelineLeftOut += t.finish()
	return t.events
}

// timeline collects events, of which each is told once, until finish puts them in order.
type timeline struct {
	*explanations
	events []Event
	seen   map[happened]bool
}

// happened tells events apart: members that follow one log tell the same.
type happened struct {
	kind  EventKind
	entry uint64
	what  string
}

func (t *timeline) add(e Event) {
	if k := (happened{e.Kind, e.Entry, e.What}); !t.seen[k] {
		t.seen[k] = true
		e.Members = slices.Clone(e.Members)
		notNil(&e.Members)
		t.events = append(t.events, e)
	}
}

// finish puts the events in order, and leaves out the latest of the least telling kinds if they are more than maxTimeline. It returns how many.
func (t *timeline) finish() (leftOut int) {
	slices.SortStableFunc(t.events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(eventOrder(a.Kind), eventOrder(b.Kind)))
	})
	for _, kind := range []EventKind{EventLeader, EventMembership, EventStart, EventAlarm, EventAuth, EventOnset} {
		for i := len(t.events) - 1; i >= 0 && len(t.events) > maxTimeline; i-- {
			if t.events[i].Kind == kind {
				t.events = slices.Delete(t.events, i, i+1)
				leftOut++
			}
		}
	}
	return leftOut
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
func (t *timeline) addStarts(h *history) {
	for _, prefix := range slices.Sorted(maps.Keys(h.processes)) {
		p := h.processes[prefix]
		who := t.proposerOf(prefix)
		if who == "" && prefix == 0 {
			continue // ids that name no member are none of a server
		}
		start := func(entry uint64, at time.Time, what string) {
			ev := Event{Entry: entry, Time: &at, Kind: EventStart, Members: []string{who}, What: who + " " + what}
			if who == "" {
				ev.Members, ev.What = []string{}, "a member of which no table tells "+what
			}
			t.add(ev)
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
func (t *timeline) addCompactions() {
	for i, m := range t.ms {
		revision := m.DB.CompactRevision()
		index := t.histories[i].compactions[revision]
		if index == 0 || revision == 0 {
			continue
		}
		var on, off []string
		for _, o := range t.ms {
			switch {
			case o.DB.Tables.ConsistentIndex < index:
			case o.DB.CompactRevision() < revision:
				off = append(off, o.Label)
			default:
				on = append(on, o.Label)
			}
		}
		if len(off) > 0 {
			t.add(Event{Entry: index, Kind: EventCompaction, Members: on, What: fmt.Sprintf("compaction at revision %d takes effect on %s only", revision, listOf(on))})
		}
	}
}

// addOnset adds where a divergence begins, on each of the members at fault, and where it shows first. Its cause is nil if none was inferred.
func (t *timeline) addOnset(v *Divergence, k *cause) {
	add := func(entry uint64, members []string, what string) {
		t.add(Event{Entry: entry, Kind: EventOnset, Members: members, What: what})
	}
	if k == nil {
		if v.Entry != nil {
			add(v.Entry.Index, v.Minority, v.What)
		}
		return
	}
	f := k.fault
	if f == nil || k.ambiguous() {
		switch {
		case v.Entry != nil:
			add(v.Entry.Index, v.Minority, v.What)
		case v.SearchBounded && len(v.Candidates) > 0: // the first that was found
			add(v.Candidates[0].Index, v.Faulty, v.What)
		case v.EntryInterval != nil:
			add(v.EntryInterval.First, v.Faulty, v.What)
		}
		return
	}
	byOnset := map[uint64][]int{}
	for _, i := range f.members {
		byOnset[f.onset[i].First] = append(byOnset[f.onset[i].First], i)
	}
	for _, entry := range slices.Sorted(maps.Keys(byOnset)) {
		if entry == 0 {
			continue
		}
		who := t.labels(byOnset[entry])
		what := v.What
		switch {
		case f.kind == faults.Rules:
			what = fmt.Sprintf("%s: from here on by the rules of etcd %s", listOf(who), t.rulesName(f.firstReading().To))
		case f.kind == faults.Skipped && len(v.Entries) < 2 && v.Entry != nil:
			what = fmt.Sprintf("no effect on %s: %s", listOf(who), v.Entry.Summary)
		case f.kind == faults.Permitted, f.kind == faults.Branch, f.kind == faults.Rows:
			what = fmt.Sprintf("%s: %s", listOf(who), v.What)
		}
		add(entry, who, what)
	}
	if x := v.FirstEffect; x != nil {
		t.add(Event{Entry: x.Entry, Kind: EventEffect, Members: v.Faulty, What: "shows in keys: " + x.Summary})
	}
}

// addEnds adds the last entries that the members have come to.
func (t *timeline) addEnds() {
	byEnd := map[uint64][]string{}
	for i, m := range t.ms {
		if n := t.reach(i); n > 0 {
			byEnd[n] = append(byEnd[n], m.Label)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(byEnd)) {
		t.add(Event{Entry: index, Kind: EventEnd, Members: byEnd[index], What: "the copy of " + listOf(byEnd[index]) + " ends"})
	}
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
