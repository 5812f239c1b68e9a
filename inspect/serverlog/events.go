package serverlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"etcd-autopsy/inspect/wording"
)

// Kind is what happened.
type Kind string

// The kinds of events.
const (
	Start          Kind = "start"
	Stop           Kind = "stop" // it was asked to
	Died           Kind = "died" // by a panic, or an error that ends it
	Killed         Kind = "kill" // a start follows without a stop before it
	Leader         Kind = "leader"
	ClusterVersion Kind = "version"
	Snapshot       Kind = "snapshot" // sent to a member, or received from one
	Compaction     Kind = "compaction"
	Defrag         Kind = "defrag"
	Alarm          Kind = "alarm"
	Corruption     Kind = "corruption" // what checks of hashes say
	Refused        Kind = "refused"    // requests that were not applied, with the reason
	Auth           Kind = "auth"
	Slow           Kind = "slow"  // requests that took long
	Disk           Kind = "disk"  // writes to the log that took long
	Peer           Kind = "peer"  // was lost
	Clock          Kind = "clock" // of another member, that is off
	Fault          Kind = "fault" // of files
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{Start, Stop, Died, Killed, Leader, ClusterVersion, Snapshot, Compaction, Defrag, Alarm, Corruption, Refused, Auth, Slow, Disk, Peer, Clock, Fault}
}

// maxEvents is how many events of a log are kept.
const maxEvents = 5000

// maxProcesses is how many processes of a log are kept: of a server that was started over and over, the first and the last ones.
const maxProcesses = 1000

// maxWhat is how many bytes of what an event says are kept.
const maxWhat = 400

// together is how far apart lines that say the same may be for one event of them.
const together = time.Minute

// Part is a piece of what an event says. Quoted ones are words of the log, and may hold names: of keys, users, hosts, files.
type Part struct {
	Text   string
	Quoted bool
}

// own and quoted are parts.
func own(text string) Part    { return Part{text, false} }
func quoted(text string) Part { return Part{text, true} }

// Join is what parts say together.
func Join(parts []Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Event is what a line, or several that say the same, tells.
type Event struct {
	Kind Kind
	What string
	// Parts are What in pieces.
	Parts []Part
	// Time is that of the first line, or where that has none, of the last one before it that has one; zero if none has. Until is of the last.
	Time, Until time.Time
	Line        int64 // of the first one, from 1
	Count       int   // lines
	Entry       uint64
	Term        uint64 // of a leader
	Leader      uint64 // member
	// Coarse is true if Time is told in whole seconds.
	Coarse bool
}

// Process is one run of the server.
type Process struct {
	Version string    // empty if the log does not say
	Start   time.Time // zero if the log begins later
	Line    int64
	// Member is whose it is, 0 if the log does not say.
	Member uint64
	// Commit is the commit index that it found at its start, 0 if the log does not say.
	Commit uint64
	// End is when it ended, or the last line of it, and How is Stop, Died or Killed; empty if the log ends before.
	End time.Time
	How Kind
}

// Log is what a log tells.
type Log struct {
	Lines       int64
	First, Last time.Time
	// Local is true if times have no zone: they are of the server's clock as it stands on the wall, and taken for UTC.
	Local     bool
	Member    uint64 // 0 if the log does not say
	Cluster   uint64 // likewise
	Name      string
	Events    []Event
	Processes []Process
	// ProcessesLeftOut is how many more there were, between the first and the last ones.
	ProcessesLeftOut int
	// LeftOut is how many more events there are: of a log with very many, those are kept that tell most.
	LeftOut int
}

// rule makes an event of a message. What has $1, $2 for the places of the wording and ${name} for fields.
type rule struct {
	kind  Kind
	what  string
	entry string // a place or a field
	texts []string
}

// compiled is one wording of a rule.
type compiled struct {
	*rule
	pattern wording.Pattern
}

var rules = []*rule{
	{kind: ClusterVersion, what: "the cluster version becomes ${cluster-version}", texts: []string{"set initial cluster version"}},
	{kind: ClusterVersion, what: "the cluster version becomes ${to}", texts: []string{"updated cluster version"}},
	{kind: ClusterVersion, what: "the cluster version becomes $1", texts: []string{"set the initial cluster version to {}"}},
	{kind: ClusterVersion, what: "the cluster version becomes $2", texts: []string{"updated the cluster version from {} to {}"}},
	{kind: Snapshot, what: "sent a snapshot of entry ${snapshot-index} to ${remote-peer-id}", texts: []string{"sent database snapshot"}},
	{kind: Snapshot, what: "sent a snapshot of entry $1 to $2", texts: []string{"database snapshot [index: {n}, to: {x}] sent out successfully"}},
	{kind: Snapshot, what: "a snapshot of entry $1 could not be sent to $2", texts: []string{"database snapshot [index: {n}, to: {x}] failed to be sent out ({})"}},
	{kind: Snapshot, what: "a snapshot of entry ${snapshot-index} could not be sent to ${remote-peer-id}", texts: []string{"failed to send database snapshot"}},
	{
		kind: Snapshot, what: "received a snapshot of entry ${incoming-snapshot-index} from ${remote-snapshot-sender-id}", entry: "incoming-snapshot-index",
		texts: []string{"received and saved database snapshot"},
	},
	{kind: Snapshot, what: "received a snapshot of entry $1 from $2", entry: "1", texts: []string{
		"successfully received and saved database snapshot [index: {n}, from: {x}, {}", "received and saved database snapshot [index: {n}, from: {x}] successfully",
	}},
	{kind: Compaction, what: "compaction at revision ${compact-revision} is finished", texts: []string{"finished scheduled compaction"}},
	{kind: Compaction, what: "compaction at revision $1 is finished", texts: []string{"finished scheduled compaction at {n} (took {})"}},
	{kind: Compaction, what: "the compaction that a restart broke off goes on", texts: []string{"resume scheduled compaction", "resume scheduled compaction at {n}"}},
	{kind: Compaction, what: "compaction at revision ${revision} begins", texts: []string{"compact tree index"}},
	{kind: Compaction, what: "compaction at revision $1 begins", texts: []string{"store.index: compact {n}"}},
	{kind: Defrag, what: "a defragmentation begins", texts: []string{"starting defragment", "starting to defragment the storage backend..."}},
	{kind: Defrag, what: "the defragmentation is finished", texts: []string{"finished defragment", "finished defragmenting the storage backend"}},
	{kind: Defrag, what: "the defragmentation failed", texts: []string{"failed to defragment", "failed to defragment the storage backend ({})"}},
	{kind: Alarm, what: "alarm ${alarm} of ${from} goes on", texts: []string{"alarm raised"}},
	{kind: Alarm, what: "alarm ${alarm} of ${from} goes off", texts: []string{"alarm disarmed"}},
	{kind: Alarm, what: "alarm $1 of $2 goes on", texts: []string{"alarm {} raised by peer {x}"}},
	{kind: Alarm, what: "an alarm goes off", texts: []string{"alarm disarmed {}"}},
	{kind: Alarm, what: "an alarm goes on", texts: []string{"alarm raised {}"}},
	{kind: Corruption, what: "the check at the start found no corruption", texts: []string{
		"initial corruption checking passed; no corruption", "{x} succeeded on initial corruption checking: no corruption",
	}},
	{kind: Corruption, what: "a check of hashes is done, against ${number-of-peers-checked} of the other members", texts: []string{"finished peer corruption check"}},
	{kind: Corruption, what: "a check found other data on another member", texts: []string{
		"found different hash values from remote peer", "{x}'s hash {n} != {x}'s hash {n} (revision {n}, peer revision {n}, compact revision {n})",
		"same compact revision then hashes must match", "hash {n} at revision {n} from member {x}, expected hash {n}", "failed compaction hash check",
		"Detected compaction hash mismatch", "revision from follower must be less than or equal to leader's",
		"revision {n} from member {x}, expected at most {n}", "compact revision from follower must be less than or equal to leader's",
		"compact revision {n} from member {x}, expected at most {n}",
	}},
	{kind: Corruption, what: "the leader's own hash changed between two looks", texts: []string{"found hash mismatch", "mismatched hashes {n} and {n} for revision {n}"}},
	{kind: Refused, what: "entries are refused: ${error}", texts: []string{"failed to apply request"}},
	{kind: Refused, what: "entries are refused: $4", texts: []string{"failed to apply request,took {},request {},resp {},err is {}"}},
	{kind: Auth, what: "requests have an older auth revision", texts: []string{"request auth revision is less than current node auth revision"}},
	{kind: Auth, what: "auth is turned on", texts: []string{"enabled authentication", "Authentication enabled"}},
	{kind: Auth, what: "auth is turned off", texts: []string{"disabled authentication", "Authentication disabled"}},
	{kind: Auth, what: "requests have a token that is not valid", texts: []string{"invalid auth token", "invalid auth token: {}"}},
	{kind: Auth, what: "a wrong password is given for user ${user-name}", texts: []string{"invalid password"}},
	{kind: Auth, what: "a wrong password is given for user $1", texts: []string{"authentication failed, invalid password for user {}"}},
	{kind: Auth, what: "user ${user} is not let in: ${error}", texts: []string{"invalid authentication was requested"}},
	{kind: Slow, what: "requests take too long", texts: []string{
		"apply request took too long", "{}request {} with result {} took too long ({}) to execute", "request {} with result {} took too long ({}) to execute",
	}},
	{kind: Disk, what: "the disk is slow: syncing the log takes long", texts: []string{
		"slow fdatasync", "sync duration of {}, expected less than {}",
		"leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",
		"failed to send out heartbeat on time (exceeded the {} timeout for {}, to {x})", "failed to send out heartbeat on time (exceeded the {} timeout for {})",
	}},
	{kind: Peer, what: "${peer-id} cannot be reached", texts: []string{"peer became inactive (message send to peer failed)"}},
	{kind: Peer, what: "$1 cannot be reached", texts: []string{"peer {x} became inactive (message send to peer failed)"}},
	{kind: Peer, what: "a server of cluster ${remote-peer-cluster-id} calls, and this one is of ${local-member-cluster-id}", texts: []string{"request cluster ID mismatch"}},
	{kind: Peer, what: "a server of cluster $1 calls, and this one is of $2", texts: []string{"request cluster ID mismatch (got {x} want {x})"}},
	{kind: Leader, what: "$1 is the leader no longer: it does not reach a quorum", texts: []string{"{x} stepped down to follower since quorum is not active"}},
	{kind: Clock, what: "the clocks of this server and of ${remote-peer-id} are more than a second apart", texts: []string{"prober found high clock drift"}},
	{kind: Clock, what: "the clocks of this server and of $1 are more than a second apart", texts: []string{
		"the clock difference against peer {x} is too high [{} > {}]", "the clock difference against peer {x} is too high [{} > {}] (prober {})",
	}},
	{kind: Fault, what: "the end of the log was cut off and repaired", texts: []string{"repaired WAL", "repaired WAL error ({})"}},
	{kind: Fault, what: "the log cannot be read", texts: []string{
		"failed to read WAL, cannot be repaired", "read wal error ({}) and cannot be repaired", "failed to open WAL", "open wal error: {}",
		"failed to repair WAL", "WAL error ({}) cannot be repaired",
	}},
	{kind: Fault, what: "a .snap file is damaged", texts: []string{"snap file is corrupt", "corrupted snapshot file {}: {}", "failed to read a snap file"}},
	{kind: Fault, what: "the db of a snapshot is not there", texts: []string{"failed to find [SNAPSHOT-INDEX].snap.db"}},
}

// marks are messages by which a process, its member and its leaders are known.
var (
	elected = wording.Compile("raft.node: {x} elected leader {x} at term {n}")
	changed = wording.Compile("raft.node: {x} changed leader from {x} to {x} at term {n}")
	lost    = wording.Compile("raft.node: {x} lost leader {x} at term {n}")
	version = wording.Compile("etcd Version: {}")
	signal  = wording.Compile("received {} signal, shutting down...")
	member  = wording.Compile("starting member {x} in cluster {x}")
	again   = wording.Compile("restarting member {x} in cluster {x} at commit index {n}")
	named   = wording.Compile("name = {}")
)

// opening are the messages that a process writes before the one that tells its version.
var opening = map[string]bool{
	"Running: ": true, "configuring peer listeners": true, "configuring client listeners": true, "Initialize and start etcd server": true,
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"the server is already initialized as member before, starting as etcd member...":       true,
	"server has already been initialized":                                                  true, "server has been already initialized": true,
	"loaded server configuration, other configuration command line flags and environment variables will be ignored if provided": true,
	"recognized and used environment variable": true, "recognized environment variable, but unused: shadowed by corresponding flag": true,
	"recognized environment variable, but unused: shadowed by corresponding command-line flag": true, "unrecognized environment variable": true,
	"starting with peer TLS": true, "no data-dir provided, using default data-dir": true, "'data-dir' was empty; using default": true,
}

// byPrefix are wordings by their first bytes, and others those that begin with a place.
var byPrefix, others = func() (map[[4]byte][]compiled, []compiled) {
	by := map[[4]byte][]compiled{}
	var rest []compiled
	for _, r := range rules {
		for _, t := range r.texts {
			c := compiled{r, wording.Compile(t)}
			if s := c.pattern.Prefix(); len(s) >= 4 {
				k := [4]byte([]byte(s[:4]))
				by[k] = append(by[k], c)
			} else {
				rest = append(rest, c)
			}
		}
	}
	return by, rest
}()

// Scan reads a log to its end. It stops early when ctx is done.
func Scan(ctx context.Context, r *Reader) (*Log, error) {
	s := &scan{log: &Log{}, open: map[string]int{}}
	for n := 0; r.Next(); n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.record(r.Record())
	}
	return s.log, r.Err()
}

type scan struct {
	log *Log
	// open are events that more lines may join, by what they say.
	open map[string]int
	// alive tells whether a process is known to run, and ended whether the last one is known to have stopped or died. calm is the time of its
	// last line that no start begins with.
	alive, ended bool
	calm         time.Time
	version      string // of the cluster, as it was told last
	coarse       bool   // the time of the line is in whole seconds
	// thinned are kinds of which no more are kept: there were too many events.
	thinned map[Kind]bool
}

func (s *scan) record(r *Record) {
	l := s.log
	l.Lines = r.Line
	l.Local = l.Local || r.Local
	if !r.Time.IsZero() {
		s.coarse = r.Time.Nanosecond() == 0
		if d := l.Last.Sub(r.Time); d > 0 && d < time.Second && s.coarse {
			r.Time = l.Last
		}
		if l.First.IsZero() {
			l.First = r.Time
		}
		l.Last = r.Time
	}
	message := r.Message()
	if r.Level == "" && r.Format == Text {
		s.runtime(r, message)
		return
	}
	if opening[message] || r.Caller() == "pkg/flags" {
		return
	}
	if s.mark(r, message) {
		return
	}
	if r.Level == Panic || r.Level == Fatal {
		s.died(r, message)
	}
	s.match(r, message)
	if r.Format != Text {
		s.calm = l.Last
	}
}

// runtime looks at what the Go runtime writes as a process dies.
func (s *scan) runtime(r *Record, message string) {
	if strings.HasPrefix(message, "panic: ") || strings.HasPrefix(message, "fatal error: ") {
		s.died(r, message)
	}
}

// died is told once of a process: zap writes the message, and the runtime writes it again.
func (s *scan) died(r *Record, message string) {
	const shown = 200
	if s.ended {
		return
	}
	if len(message) > shown {
		message = strings.ToValidUTF8(message[:shown], "") + "..."
	}
	parts := []Part{own("the process dies: "), quoted(message)}
	if e := r.value("error"); e != "" && len(e) <= shown {
		parts = append(parts, own(": "), quoted(e))
	}
	s.add(r, Event{Kind: Died, Parts: parts})
	s.end(Died, s.log.Last)
}

func (s *scan) end(how Kind, at time.Time) {
	s.alive, s.ended = false, true
	if n := len(s.log.Processes); n > 0 && s.log.Processes[n-1].How == "" {
		s.log.Processes[n-1].How, s.log.Processes[n-1].End = how, at
	}
}

// mark looks for the messages of which processes, members and leaders are known.
func (s *scan) mark(r *Record, message string) bool {
	text := []byte(message)
	switch {
	case message == "starting an etcd server":
		s.start(r, r.value("etcd-version"))
		s.log.Name = r.value("name")
	case strings.HasPrefix(message, version.Prefix()):
		if p, ok := version.Match(text); ok && r.Format == Capnslog {
			s.start(r, string(p[0]))
		}
	case message == "received signal; shutting down":
		s.stop(r, own("the process is asked to stop ("), quoted(r.value("signal")), own(")"))
	case strings.HasPrefix(message, "received "):
		p, ok := signal.Match(text)
		if ok {
			s.stop(r, own("the process is asked to stop ("), quoted(string(p[0])), own(")"))
		}
		return ok
	case message == "closing etcd server", message == "closed etcd server":
		if !s.ended {
			s.stop(r, own("the process stops"))
		}
	case message == "starting local member", message == "restarting local member":
		s.member(r.value("local-member-id"), r.value("cluster-id"), r.value("commit-index"))
	case strings.HasPrefix(message, member.Prefix()):
		p, ok := member.Match(text)
		if ok {
			s.member(string(p[0]), string(p[1]), "")
		}
		return ok
	case strings.HasPrefix(message, again.Prefix()):
		p, ok := again.Match(text)
		if ok {
			s.member(string(p[0]), string(p[1]), string(p[2]))
		}
		return ok
	case strings.HasPrefix(message, "raft.node: "):
		s.leader(r, text)
	case strings.HasPrefix(message, "name = "):
		if p, ok := named.Match(text); ok {
			s.log.Name = string(p[0])
		}
	default:
		return false
	}
	return true
}

func (s *scan) start(r *Record, version string) {
	if s.alive {
		at := s.calm
		s.add(r, Event{Kind: Killed, Parts: []Part{own("its process ended without a word, as one that is killed")}, Time: at})
		s.end(Killed, at)
	}
	const most = 100 // bytes of a version
	if len(version) > most {
		version = strings.ToValidUTF8(version[:most], "") + "..."
	}
	what := []Part{own("started")}
	if version != "" {
		what = []Part{own("started as etcd "), quoted(version)}
	}
	s.alive, s.ended = true, false
	clear(s.open)
	if len(s.log.Processes) >= maxProcesses {
		s.log.Processes = slices.Delete(s.log.Processes, maxProcesses/2, maxProcesses/2+1)
		s.log.ProcessesLeftOut++
	}
	s.log.Processes = append(s.log.Processes, Process{Version: version, Start: s.log.Last, Line: r.Line})
	s.add(r, Event{Kind: Start, Parts: what})
}

func (s *scan) stop(r *Record, what ...Part) {
	s.add(r, Event{Kind: Stop, Parts: what})
	s.end(Stop, s.log.Last)
}

// member notes whose log it is, and the commit index that the process found.
func (s *scan) member(id, cluster, commit string) {
	if n, err := strconv.ParseUint(cluster, 16, 64); err == nil {
		s.log.Cluster = n
	}
	if n, err := strconv.ParseUint(id, 16, 64); err == nil {
		s.log.Member = n
	}
	if len(s.log.Processes) == 0 {
		return
	}
	p := &s.log.Processes[len(s.log.Processes)-1]
	p.Member = s.log.Member
	n, err := strconv.ParseUint(commit, 10, 64)
	if err != nil {
		return
	}
	p.Commit = n
	for i := len(s.log.Events) - 1; i >= 0; i-- {
		if e := &s.log.Events[i]; e.Kind == Start && e.Line == p.Line {
			e.Parts = append(e.Parts, own(fmt.Sprintf(" at commit index %d", n)))
			e.What = Join(e.Parts)
			return
		}
	}
}

func (s *scan) leader(r *Record, text []byte) {
	id := func(b []byte) uint64 { n, _ := strconv.ParseUint(string(b), 16, 64); return n }
	num := func(b []byte) uint64 { n, _ := strconv.ParseUint(string(b), 10, 64); return n }
	s.alive = !s.ended
	s.calm = s.log.Last
	leads := func(leader, term []byte) {
		s.add(r, Event{Kind: Leader, Term: num(term), Leader: id(leader), Parts: []Part{quoted(string(leader)), own(" is the leader of term "), quoted(string(term))}})
	}
	if p, ok := elected.Match(text); ok {
		leads(p[1], p[2])
	} else if p, ok := changed.Match(text); ok {
		leads(p[2], p[3])
	} else if p, ok := lost.Match(text); ok {
		s.add(r, Event{Kind: Leader, Term: num(p[2]), Parts: []Part{own("leader "), quoted(string(p[1])), own(" is lost in term "), quoted(string(p[2]))}})
	}
}

// match looks for the other events.
func (s *scan) match(r *Record, message string) {
	text := []byte(message)
	if len(text) >= 4 {
		for _, x := range byPrefix[[4]byte(text)] {
			if s.rule(r, x, text) {
				return
			}
		}
	}
	for _, x := range others {
		if s.rule(r, x, text) {
			return
		}
	}
}

func (s *scan) rule(r *Record, x compiled, text []byte) bool {
	places, ok := x.pattern.Match(text)
	if !ok {
		return false
	}
	s.alive = !s.ended
	e := Event{Kind: x.kind, Parts: x.fill(r, places, x.what)}
	if x.kind == ClusterVersion {
		what := Join(e.Parts)
		if what == s.version {
			return true // a start says it again
		}
		s.version = what
	}
	if x.entry != "" {
		e.Entry, _ = strconv.ParseUint(Join(x.fill(r, places, "${"+x.entry+"}")), 10, 64)
	}
	if x.kind == Compaction && s.compacted(e) {
		return true
	}
	s.add(r, e)
	return true
}

// compacted makes one event of the begin and the end of a compaction.
func (s *scan) compacted(e Event) bool {
	what := Join(e.Parts)
	begun, ends := strings.CutSuffix(what, " is finished")
	i, ok := s.open[string(Compaction)+" "+begun+" begins"]
	if !ends || !ok {
		return false
	}
	delete(s.open, string(Compaction)+" "+begun+" begins")
	x := &s.log.Events[i]
	x.Parts, x.What, x.Time, x.Until = e.Parts, what, s.log.Last, s.log.Last
	return true
}

// light are the kinds that are left out if there are too many events, in this order: those that tell least of what happened to data.
var light = []Kind{Slow, Peer, Compaction, Disk, Refused, Auth}

// fewest is how many events of such a kind are kept: the first ones.
const fewest = 200

// thin makes room for events of kinds that tell more.
func (s *scan) thin() {
	l := s.log
	for _, k := range light {
		if s.thinned[k] {
			continue
		}
		if s.thinned == nil {
			s.thinned = map[Kind]bool{}
		}
		s.thinned[k] = true
		before, kept := len(l.Events), 0
		l.Events = slices.DeleteFunc(l.Events, func(e Event) bool {
			if e.Kind == k {
				kept++
			}
			return e.Kind == k && kept > fewest
		})
		if n := before - len(l.Events); n > 0 {
			l.LeftOut += n
			clear(s.open)
			return
		}
	}
}

// fill puts places and fields into a text.
func (x *rule) fill(r *Record, places [][]byte, text string) (parts []Part) {
	for {
		before, after, more := strings.Cut(text, "$")
		if before != "" {
			parts = append(parts, own(before))
		}
		if !more || after == "" {
			return parts
		}
		name := after[:1]
		if text = after[1:]; name == "{" {
			name, text, _ = strings.Cut(text, "}")
		}
		value := ""
		if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= len(places) {
			value = string(places[n-1])
		} else {
			value = r.value(name)
		}
		parts = append(parts, quoted(value))
	}
}

// clip cuts parts that say too much.
func clip(parts []Part) []Part {
	n := 0
	for i := range parts {
		if n += len(parts[i].Text); n > maxWhat {
			t := parts[i].Text
			parts[i].Text = strings.ToValidUTF8(t[:len(t)-(n-maxWhat)], "")
			return append(parts[:i+1], own("..."))
		}
	}
	return parts
}

// add keeps an event, or counts it with one that says the same and is not long ago.
func (s *scan) add(r *Record, e Event) {
	l := s.log
	if e.Time.IsZero() {
		e.Time = l.Last
	}
	e.Parts = clip(e.Parts)
	e.What = Join(e.Parts)
	e.Until, e.Line, e.Count, e.Coarse = e.Time, r.Line, 1, s.coarse
	key := string(e.Kind) + " " + e.What
	if i, ok := s.open[key]; ok && e.Time.Sub(l.Events[i].Until) <= together && e.Kind != Start && e.Kind != Killed {
		l.Events[i].Count++
		l.Events[i].Until = e.Until
		return
	}
	if len(l.Events) >= maxEvents && !s.thinned[e.Kind] {
		s.thin()
	}
	if len(l.Events) >= maxEvents || s.thinned[e.Kind] {
		l.LeftOut++
		return
	}
	s.open[key] = len(l.Events)
	if len(s.open) > maxEvents {
		clear(s.open) // what fields say may differ each time
	}
	l.Events = append(l.Events, e)
}
