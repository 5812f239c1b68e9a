// Package story puts what the raft log tells of a cluster and what its servers' logs tell on one line of time.
//
// The raft log knows the order of entries, and of time only when processes started. Server logs know the time, and of entries little. They are
// joined where both tell the same: the start of a process, the beginning of a term, a change of the cluster version or of auth. An event of the
// raft log without a time stands behind everything that is known to come before it.
package story

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd-autopsy/diff"
	"etcd-autopsy/inspect/serverlog"
	"etcd-autopsy/inspect/wording"
)

// Log is one server log of a member.
type Log struct {
	Member string // its label
	File   string
	*serverlog.Log
}

// Document is the whole of it.
type Document struct {
	SchemaVersion string   `json:"schema_version"`
	Members       []Member `json:"members"`
	Events        []Event  `json:"events"`
	// LeftOut is how many more events there are: those far from what was asked for, and those beyond what is kept.
	LeftOut int      `json:"left_out"`
	Notes   []string `json:"notes"`
}

// Member is whose events they are.
type Member struct {
	Label    string      `json:"label"`
	MemberID string      `json:"member_id"`
	Logs     []ServerLog `json:"server_logs"`
}

// ServerLog is what one log tells of the processes of a member.
type ServerLog struct {
	File      string     `json:"file"`
	Lines     int64      `json:"lines"`
	First     *time.Time `json:"first_time,omitempty"`
	Last      *time.Time `json:"last_time,omitempty"`
	Processes []Process  `json:"processes"`
	// LeftOut is how many more processes there were, between the first and the last ones.
	LeftOut int `json:"processes_left_out,omitempty"`
}

// Process is one run of a server.
type Process struct {
	Version string     `json:"version,omitempty"`
	Start   *time.Time `json:"start,omitempty"`
	End     *time.Time `json:"end,omitempty"`
	// How it ended: stop, died or kill; empty if the log ends before.
	How    string `json:"how,omitempty"`
	Commit uint64 `json:"commit_index,omitempty"`
}

// Source is where an event is known from.
type Source string

// Sources.
const (
	RaftLog    Source = "raft log"
	FromServer Source = "server log"
	Both       Source = "both"
)

// Event is something that happened. Entry and times are left out where they are not known.
type Event struct {
	Time  *time.Time `json:"time,omitempty"`
	Until *time.Time `json:"until,omitempty"` // of the last line, if there are several
	Entry uint64     `json:"entry,omitempty"`
	// Members are those that it is of, or that tell of it.
	Members []string `json:"members"`
	Kind    string   `json:"kind"`
	What    string   `json:"what"`
	Source  Source   `json:"source"`
	Lines   int      `json:"lines,omitempty"` // of server logs
	// FirstLine is the first of them in the log of the first member.
	FirstLine int64 `json:"first_line,omitempty"`
	// Leader is who is elected, by its label or else its id.
	Leader string `json:"leader,omitempty"`
	// Parts are What in pieces, if words of a server's log are in it.
	Parts []serverlog.Part `json:"-"`

	after time.Time // the event is not before that
	term  uint64
}

// Tell makes the story of members, from what diff found in their files and from their servers' logs.
func Tell(d *diff.Document, logs []Log) *Document {
	s := tell(d, logs)
	if d.Verdict == diff.NotComparable || len(d.Timeline) == 0 {
		s.doc.Notes = append(s.doc.Notes, d.Reasons...)
	}
	s.sort()
	s.doc.LeftOut += d.TimelineLeftOut
	return s.doc
}

// Enrich returns a document of diff with what servers' logs tell: the times of its events, the versions that started, and in notes what speaks
// for or against what was found.
func Enrich(d *diff.Document, logs []Log) *diff.Document {
	s := tell(d, logs)
	c := *d
	d = &c
	d.Timeline, d.Notes = slices.Clone(d.Timeline), slices.Clone(d.Notes)
	for i := range s.log {
		e, o := &d.Timeline[i], &s.log[i]
		if o.Source != Both {
			continue
		}
		if e.Time = o.Time; e.Kind == diff.EventStart && strings.HasSuffix(e.What, " restarted") {
			if _, as, ok := strings.Cut(o.What, " started as "); ok {
				e.What += " as " + as
			}
		}
	}
	d.Notes = append(d.Notes, s.doc.Notes...)
	return d
}

func tell(d *diff.Document, logs []Log) *teller {
	s := &teller{doc: &Document{SchemaVersion: "1", Events: []Event{}, Notes: []string{}}}
	var names []string
	for i := range d.Members {
		m := &d.Members[i]
		id := ""
		if m.MemberID != nil {
			id = fmt.Sprintf("%016x", uint64(*m.MemberID))
			names = append(names, id, m.Label)
			if short := strings.TrimLeft(id, "0"); short != id && len(short) > 8 { // as raft writes it
				names = append(names, short, m.Label)
			}
		}
		s.doc.Members = append(s.doc.Members, Member{Label: m.Label, MemberID: id, Logs: []ServerLog{}})
	}
	s.names = strings.NewReplacer(names...)
	s.raft(d)
	logs = slices.Clone(logs)
	slices.SortStableFunc(logs, byTime)
	logs = slices.DeleteFunc(logs, s.foreign)
	for i := range logs {
		s.shift(&logs[i])
		s.server(&logs[i])
	}
	s.join()
	s.versions(d)
	s.contradictions(d, logs)
	s.clocks()
	return s
}

// byTime orders logs by member, and those of one by time.
func byTime(a, b Log) int {
	return cmp.Or(cmp.Compare(a.Member, b.Member), a.First.Compare(b.First), cmp.Compare(a.File, b.File))
}

type teller struct {
	doc   *Document
	names *strings.Replacer
	log   []Event // of the raft log, in the order of entries
	told  []Event // of server logs
	// terms are the times at which members say that a leader was elected in a term, and leaders who that was, by its label.
	terms   map[uint64]map[string]time.Time
	leaders map[uint64]string
	unzoned map[string]bool // members with a log whose times have no zone, where nothing tells which it is
}

// begins is how diff tells of a term.
var begins = wording.Compile("term {n} begins")

// raft takes over what diff tells.
func (s *teller) raft(d *diff.Document) {
	for _, e := range d.Timeline {
		x := Event{Time: e.Time, Entry: e.Entry, Members: slices.Clone(e.Members), Kind: string(e.Kind), What: e.What, Source: RaftLog}
		if x.Members == nil {
			x.Members = []string{}
		}
		if p, ok := begins.Match([]byte(e.What)); ok && e.Kind == diff.EventLeader {
			x.term, _ = strconv.ParseUint(string(p[0]), 10, 64)
		}
		s.log = append(s.log, x)
	}
}

// pairing is how far apart the start of a process may be by its log and by the ids of its requests: a server reads its files before it makes ids.
// Both are of one clock, so that the start in the log comes first, but for what rounding takes: early.
const (
	pairing = time.Minute
	early   = time.Second
)

// shift finds the zone of a log whose times have none: the ids of requests tell of starts in UTC.
func (s *teller) shift(l *Log) {
	if !l.Local {
		return
	}
	const step, most = 15 * time.Minute, 14 * time.Hour
	votes := map[time.Duration]int{}
	for i := range s.log {
		e := &s.log[i]
		if e.Kind != string(diff.EventStart) || e.Time == nil || !slices.Contains(e.Members, l.Member) {
			continue
		}
		for _, p := range l.Processes {
			off := p.Start.Sub(*e.Time)
			if zone := off.Round(step); zone.Abs() <= most && (off-zone).Abs() < pairing {
				votes[zone]++
			}
		}
	}
	best := time.Duration(0)
	for zone, n := range votes {
		if n > votes[best] || n == votes[best] && zone.Abs() < best.Abs() {
			best = zone
		}
	}
	switch {
	case best != 0:
		s.note("%s: the log of %s has local times; by the starts of its processes they are %v ahead of UTC, which is taken off", l.File, l.Member, best)
		move := func(t *time.Time) {
			if !t.IsZero() {
				*t = t.Add(-best)
			}
		}
		c := *l.Log
		c.Events, c.Processes = slices.Clone(c.Events), slices.Clone(c.Processes)
		move(&c.First)
		move(&c.Last)
		for i := range c.Events {
			move(&c.Events[i].Time)
			move(&c.Events[i].Until)
		}
		for i := range c.Processes {
			move(&c.Processes[i].Start)
			move(&c.Processes[i].End)
		}
		l.Log = &c
	case votes[0] == 0:
		s.note("%s: the times of the log have no zone, and are taken for UTC", l.File)
		if s.unzoned == nil {
			s.unzoned = map[string]bool{}
		}
		s.unzoned[l.Member] = true
	}
}

func (s *teller) note(format string, args ...any) {
	s.doc.Notes = append(s.doc.Notes, fmt.Sprintf(format, args...))
}

// foreign tells whether a log says to be of another member than the one that it was given for: then it tells nothing of that one.
func (s *teller) foreign(l Log) bool {
	i := slices.IndexFunc(s.doc.Members, func(m Member) bool { return m.Label == l.Member })
	id, want := fmt.Sprintf("%016x", l.Log.Member), s.doc.Members[i].MemberID
	if l.Log.Member == 0 || want == "" || id == want {
		return false
	}
	s.note("%s is left out: it is the log of member %s, and %s is %s", l.File, s.names.Replace(id), l.Member, want)
	return true
}

// server takes over what a server's log tells.
func (s *teller) server(l *Log) {
	i := slices.IndexFunc(s.doc.Members, func(m Member) bool { return m.Label == l.Member })
	of := &s.doc.Members[i]
	x := ServerLog{File: l.File, Lines: l.Lines, First: known(l.First), Last: known(l.Last), Processes: []Process{}, LeftOut: l.ProcessesLeftOut}
	for _, p := range l.Processes {
		x.Processes = append(x.Processes, Process{Version: p.Version, Start: known(p.Start), End: known(p.End), How: string(p.How), Commit: p.Commit})
	}
	of.Logs = append(of.Logs, x)
	if s.terms == nil {
		s.terms, s.leaders = map[uint64]map[string]time.Time{}, map[uint64]string{}
	}
	for _, e := range l.Events {
		x := Event{
			Time: known(e.Time), Entry: e.Entry, Members: []string{l.Member}, Kind: string(e.Kind), What: s.names.Replace(e.What), Source: FromServer,
			Lines: e.Count, FirstLine: e.Line, term: e.Term, after: e.Time,
		}
		for _, p := range e.Parts {
			if p.Quoted {
				p.Text = s.names.Replace(p.Text)
			}
			x.Parts = append(x.Parts, p)
		}
		if e.Until.After(e.Time) {
			x.Until = known(e.Until)
		}
		if e.Leader != 0 {
			x.Leader = s.names.Replace(fmt.Sprintf("%016x", e.Leader))
		}
		if e.Kind == serverlog.Leader && e.Leader != 0 && !e.Time.IsZero() && !e.Coarse {
			if s.terms[e.Term] == nil {
				s.terms[e.Term] = map[string]time.Time{}
			}
			if _, ok := s.terms[e.Term][l.Member]; !ok {
				s.terms[e.Term][l.Member] = e.Time
			}
			s.leaders[e.Term] = x.Leader
		}
		s.told = append(s.told, x)
	}
	s.doc.LeftOut += l.LeftOut
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// alike is how far apart members may tell of one event.
const alike = time.Minute

// join makes one event of what several tell.
func (s *teller) join() {
	slices.SortStableFunc(s.told, func(a, b Event) int { return a.after.Compare(b.after) })
	// What members tell of the cluster they tell each.
	last := map[string]int{}
	var out []Event
	for _, e := range s.told {
		switch serverlog.Kind(e.Kind) {
		case serverlog.Leader, serverlog.ClusterVersion, serverlog.Alarm, serverlog.Auth, serverlog.Compaction:
			key := e.Kind + " " + e.What
			if i, ok := last[key]; ok && e.after.Sub(out[i].after) <= alike {
				x := &out[i]
				x.Lines += e.Lines
				if !slices.Contains(x.Members, e.Members[0]) {
					x.Members = append(x.Members, e.Members[0])
				}
				if e.Time != nil && e.after.After(x.after) {
					x.Until = e.Time
				}
				continue
			}
			last[key] = len(out)
		}
		out = append(out, e)
	}
	// And what the raft log knows with its entry.
	used := map[int]bool{}
	for i := range s.log {
		e := &s.log[i]
		k := s.partner(e, out, used)
		if k < 0 {
			continue
		}
		used[k] = true
		o := out[k]
		e.Time, e.Until, e.Lines, e.FirstLine, e.Source = o.Time, o.Until, o.Lines, o.FirstLine, Both
		switch diff.EventKind(e.Kind) {
		case diff.EventStart:
			e.What = e.Members[0] + " " + o.What
			e.Parts = append([]serverlog.Part{{Text: e.Members[0], Quoted: true}, {Text: " "}}, o.Parts...)
		case diff.EventLeader:
			e.What, e.Parts, e.Members, e.Leader = o.What, o.Parts, o.Members, o.Leader
		default:
			e.Members = o.Members
		}
	}
	s.told = s.told[:0]
	for i := range out {
		slices.Sort(out[i].Members)
		if !used[i] {
			s.told = append(s.told, out[i])
		}
	}
}

// partner is the event of server logs that an event of the raft log is, -1 if there is none.
func (s *teller) partner(e *Event, out []Event, used map[int]bool) int {
	best := -1
	from := s.notBefore(e)
	for i := range out {
		o := &out[i]
		if used[i] || o.Kind != e.Kind || o.Time == nil || o.Time.Before(from) {
			continue
		}
		switch diff.EventKind(e.Kind) {
		case diff.EventStart:
			if e.Time == nil || len(e.Members) != 1 || o.Members[0] != e.Members[0] || e.Time.Sub(*o.Time) > pairing || o.Time.Sub(*e.Time) > early {
				continue
			}
			// The last one before the ids; one that is behind them only if there is none.
			if best < 0 || !o.Time.After(*e.Time) {
				best = i
			}
			continue
		case diff.EventLeader:
			if o.term != e.term || !strings.Contains(o.What, " is the leader of ") {
				continue
			}
		case diff.EventVersion, diff.EventAuth:
			if strings.TrimSuffix(e.What, ".0") != o.What {
				continue
			}
		default:
			continue
		}
		return i
	}
	return best
}

// notBefore is when an entry was there at the earliest: each process that proposed one before it had started. The zero time is no bound.
func (s *teller) notBefore(e *Event) (from time.Time) {
	for i := range s.log {
		if x := &s.log[i]; x.Kind == string(diff.EventStart) && x.Time != nil && x.Entry < e.Entry && x.Time.Add(-pairing).After(from) {
			from = x.Time.Add(-pairing)
		}
	}
	return from
}

// fewTerms is of how many terms members must tell before anything is said of their clocks.
const fewTerms = 3

// steady is the median of differences, if it is a second or more and three of four agree with it: news of an election may come late once, but not
// always by as much.
func steady(ds []time.Duration) (time.Duration, bool) {
	slices.Sort(ds)
	n := len(ds)
	if n < fewTerms {
		return 0, false
	}
	m := ds[n/2]
	agree := 0
	for _, d := range ds {
		if (d - m).Abs() <= m.Abs()/4 {
			agree++
		}
	}
	return m.Round(100 * time.Millisecond), m.Abs() >= time.Second && 4*agree >= 3*n
}

// clocks tells of members whose clock is off, by when they heard of leaders. Of two nobody knows which is right.
func (s *teller) clocks() {
	off := map[string][]time.Duration{}
	apart := map[[2]string][]time.Duration{}
	for _, by := range s.terms {
		if len(by) == 2 {
			two := slices.Sorted(maps.Keys(by))
			pair := [2]string{two[0], two[1]}
			apart[pair] = append(apart[pair], by[two[0]].Sub(by[two[1]]))
		}
		if len(by) < 3 {
			continue
		}
		var all []time.Time
		for _, t := range by {
			all = append(all, t)
		}
		slices.SortFunc(all, time.Time.Compare)
		for m, t := range by {
			off[m] = append(off[m], t.Sub(all[(len(all)-1)/2]))
		}
	}
	told := map[string]bool{}
	for _, m := range s.doc.Members {
		if d, ok := steady(off[m.Label]); ok {
			told[m.Label] = true
			s.note("the clock of %s seems to be %v off: by so much it tells of elections at other times than most (%d terms)", m.Label, d, len(off[m.Label]))
		}
	}
	bounded := s.bounded(told)
	for _, pair := range slices.SortedFunc(maps.Keys(apart), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		if d, ok := steady(apart[pair]); ok && !bounded[pair] {
			s.note("the clocks of %s and %s seem to be %v apart, and which is right is not known: by so much they tell of elections at different times (%d terms)", pair[0], pair[1], d.Abs(), len(apart[pair]))
		}
	}
}

// sort orders all by time where it is known, and by entry.
func (s *teller) sort() {
	var bound time.Time
	for i := range s.log {
		e := &s.log[i]
		if e.Time != nil {
			if e.after = *e.Time; e.after.After(bound) {
				bound = e.after
			}
			continue
		}
		e.after = bound
	}
	// A copy is taken after all that is in it.
	for i := range s.told {
		if t := s.told[i].after; t.After(bound) {
			bound = t
		}
	}
	for i := range s.log {
		if s.log[i].Kind == string(diff.EventEnd) {
			s.log[i].after = bound.Add(1)
		}
	}
	all := slices.Concat(s.log, s.told)
	slices.SortStableFunc(all, func(a, b Event) int {
		return cmp.Or(a.after.Compare(b.after), cmp.Compare(rank(a.Source), rank(b.Source)), cmp.Compare(a.Entry, b.Entry), slices.Compare(a.Members, b.Members), cmp.Compare(a.FirstLine, b.FirstLine))
	})
	s.doc.Events = append(s.doc.Events, all...)
}

// rank puts what an entry is known of before what happens at the same time.
func rank(s Source) int {
	if s == FromServer {
		return 1
	}
	return 0
}
