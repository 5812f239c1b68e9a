// Package diff says where and how the members of one cluster differ, and which raft entry they parted at. Its stages (compare.go has the
// types that are named below, each of which sees what those before it have found out):
//
//	related.go, sift.go          which copies are of one member, or of another cluster, and which are whole: only whole dbs show what is missing
//	log.go, rows.go              contents: what the logs and the rows of the members share, and where they differ
//	search.go                    explanations: the faults that explain each member by its own log (package faults)
//	trace.go                     entryEffects: what each entry did on each member (package effect)
//	tell.go, cause.go            comparison: one cause of the faults of several members
//	bystate.go                   where all members are explained: keys and leases that differ at the last entry that two of them have both reached
//	parted.go, keys.go, tables.go  where some member is not: rows, keys and tables that differ, and among which entries that began
//	contradict.go, owed.go       readable rows of damaged copies that contradict those of others; tables that are not what the member's own log asks for
//	conclude.go, answer.go       the divergences, and the verdict on them (package verdict)
//	explain.go                   which known bug is behind each cause (package bugs), proven by etcd's own applier (package replay)
package diff

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"etcd-autopsy/diff/apply"
	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

// SchemaVersion is that of Document's JSON.
const SchemaVersion = "1"

// Verdict is the answer to whether members diverged.
type Verdict = verdict.Verdict

// The verdicts.
const (
	Consistent    = verdict.Consistent
	Diverged      = verdict.Diverged
	Indeterminate = verdict.Indeterminate
	NotComparable = verdict.NotComparable
)

// ID is a member, cluster or lease id: 16 hex digits in JSON.
type ID uint64

func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalJSON writes the id as a string, because common tools round 64-bit numbers.
func (id ID) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%016x"`, uint64(id)), nil }

// Behaviour is by whose rules a member judged entries from one of them on.
type Behaviour struct {
	From  uint64 // entry, 0 for the first
	Rules apply.Rules
}

// Key is a key of the keyspace.
type Key string

// Printable tells whether the key is UTF-8 without control characters.
func (k Key) Printable() bool {
	return utf8.ValidString(string(k)) && !strings.ContainsFunc(string(k), unicode.IsControl)
}

// String is the key, or its bytes in hex if it cannot be printed.
func (k Key) String() string {
	if k.Printable() {
		return string(k)
	}
	return fmt.Sprintf("0x%x", string(k))
}

// named returns the two JSON fields of a key, of which one is empty.
func (k Key) named() (text, b64 string) {
	if k.Printable() {
		return string(k), ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(k))
}

// Named is the name of something, out of the evidence. One of its fields is there.
type Named struct {
	Name       *string `json:"name,omitempty"`
	NameBase64 string  `json:"name_base64,omitempty"` // set if the name is not printable, as of a Key
}

// NameOf returns the fields of a name.
func NameOf(name string) Named {
	text, b64 := Key(name).named()
	if b64 != "" {
		return Named{NameBase64: b64}
	}
	return Named{Name: &text}
}

// Called is the name in text, or its bytes in hex if it is not printable.
func (n Named) Called() string {
	if n.Name != nil {
		return *n.Name
	}
	b, err := base64.StdEncoding.DecodeString(n.NameBase64)
	if err != nil {
		return n.NameBase64
	}
	return Key(b).String()
}

// Document is the result of a comparison. Everything in it is sorted.
type Document struct {
	SchemaVersion string  `json:"schema_version"`
	Verdict       Verdict `json:"verdict"`
	// Headline says the answer in a sentence where neither the first divergence nor that there is none does; else it is empty.
	Headline string   `json:"headline"`
	Reasons  []string `json:"reasons"`
	// Findings are about the members' files: those that were seen on the way.
	Findings []Finding `json:"findings"`
	// Problems is how many kinds of errors are among them.
	Problems int `json:"problems"`
	// Notes are about damage, or a doubt, that does not limit the verdict.
	Notes []string `json:"notes"`
	// NotCompared are tables that could not be compared on all members, because entries that change them lie between these;
	// "keys" if it is not known which ones some members held at the common index.
	NotCompared []string `json:"not_compared"`
	// NotComparedWhy says for each of them on which members, and whether damage, lag or compaction is the reason.
	NotComparedWhy []string     `json:"not_compared_why"`
	Members        []Member     `json:"members"`
	Common         Common       `json:"common"`
	Divergences    []Divergence `json:"divergences"`
	// Consequences are departures that an earlier divergence led to by itself, such as writes that a member refuses
	// because its auth revision had departed before.
	Consequences []Divergence `json:"consequences"`
	Keys         KeyDiffs     `json:"keys"`
	// LeftOut says which of them were not asked for; nil if all were.
	LeftOut *LeftOut    `json:"left_out,omitempty"`
	Leases  []LeaseDiff `json:"leases"`
	// KnownBugs are those of etcd that show in the members' files, whether or not they made them diverge.
	KnownBugs []KnownBug `json:"known_bugs"`
	// Reexecutions are the logs of members, each run again by itself where that was asked for or nothing else can tell.
	Reexecutions []Reexecution `json:"reexecutions"`
	// Plan says what to do now; nil where nothing is to be done.
	Plan *Plan `json:"plan"`
	// BestCopy is the copy to restore from, nil if that cannot be said.
	BestCopy *BestCopy `json:"best_copy"`
	Lag      []Lag     `json:"lag"`
	Logs     Logs      `json:"logs"`
	Counts   Counts    `json:"counts"`
	// Explained is true if each member's own log, with the faults that are told, makes just what it holds.
	Explained bool `json:"explained"`
	// Search says what was not searched any further.
	Search Search `json:"search"`
	// Timeline is what happened, in the order of the log; TimelineLeftOut is how many events there are besides.
	Timeline        []Event `json:"timeline"`
	TimelineLeftOut int     `json:"timeline_left_out,omitempty"`
	// Curves are for pictures.
	Curves []Curve `json:"-"`
	// Err is what ended the work early, nil if nothing did: the error of the context, evidence.ErrShrank, or both. The rest of the
	// document holds all the same.
	Err error `json:"-"`
}

// Search says whether bounds were hit while looking for what explains the members, and which.
type Search struct {
	Bounded bool     `json:"bounded"`
	Limits  []string `json:"limits"`
}

// Member sums up one member.
type Member struct {
	Label     string `json:"label"`
	MemberID  *ID    `json:"member_id"` // nil if no file tells
	ClusterID *ID    `json:"cluster_id"`
	Named
	ConsistentIndex uint64     `json:"consistent_index"`
	Term            uint64     `json:"term"`
	Revision        int64      `json:"revision"`
	CompactRevision int64      `json:"compact_revision"`
	Keys            int        `json:"keys"`
	Revisions       int        `json:"revisions"`
	Leases          int        `json:"leases"`
	AuthEnabled     bool       `json:"auth_enabled"`
	AuthRevision    uint64     `json:"auth_revision"`
	HashKV          uint32     `json:"hash_kv"`
	ClusterVersion  string     `json:"cluster_version"`
	StorageVersion  string     `json:"storage_version"`
	Log             LogSummary `json:"log"`
	Complete        bool       `json:"complete"`
	// Readable is false if there is no db to compare.
	Readable bool `json:"readable"`
	// OlderMeta is true if the db was read by its older meta page, one commit back, because that was asked for.
	OlderMeta bool `json:"older_meta"`
	// Evidence says what the db is evidence of: "whole", or "torn", "cut", "damaged" or "missing" with the reason in EvidenceWhy.
	Evidence    inspect.Standing `json:"evidence"`
	EvidenceWhy string           `json:"evidence_why"`
	// Compared is true if all that the db holds was compared with others. Of a copy that is not whole only rows that can be read
	// are.
	Compared bool `json:"compared"`
	// CopyOf is the label of another copy of the same member, which was compared instead, empty otherwise.
	CopyOf string `json:"copy_of"`
	// Removed is true if another member's files say that this one left the cluster.
	Removed bool `json:"removed"`
	// BehavesAs says by the rules of which versions of etcd the member judged entries, empty if that is not known or makes no difference.
	BehavesAs string `json:"behaves_as,omitempty"`
	// Ran are the versions that ran by the logs of its server, with the commit indexes that they found at their start; empty if there is no log of
	// this member, or if what it says does not fit the files.
	Ran string `json:"ran,omitempty"`
	// Behaviour is the same for programs, in the order of entries.
	Behaviour []Behaviour `json:"-"`
}

// Finding is something about a member's files that matters to who has to act on it.
type Finding struct {
	Member   string           `json:"member"`
	Severity finding.Severity `json:"severity"`
	Code     string           `json:"code"`
	File     string           `json:"file"`
	Offset   *int64           `json:"offset"` // in bytes from the start of File
	Page     *int64           `json:"page"`   // of a db
	Detail   string           `json:"detail"`
}

// LogSummary is what a member's log covers.
type LogSummary struct {
	FirstIndex uint64 `json:"first_index"`
	LastIndex  uint64 `json:"last_index"`
	Commit     uint64 `json:"commit"`
	Term       uint64 `json:"term"`
}

// Common is what all compared members have reached.
type Common struct {
	Index           uint64 `json:"index"`
	Revision        int64  `json:"revision"`
	CompactRevision int64  `json:"compact_revision"`
}

// Logs tells how far the logs themselves agree.
type Logs struct {
	// Compared is how many indexes at least two members have.
	Compared int `json:"compared"`
	// Identical is true if they hold the same entry at each of them.
	Identical bool `json:"identical"`
}

// Layer is where a divergence shows first.
type Layer string

// The layers, in the order in which a divergence runs through them.
const (
	LayerLog        Layer = "log"        // different entries at the same index
	LayerApply      Layer = "apply"      // the same entry, different effects
	LayerStorage    Layer = "storage"    // the same effects, but a stored row differs
	LayerLease      Layer = "lease"      // the lease table alone
	LayerAuth       Layer = "auth"       // users, roles, auth revision
	LayerMembership Layer = "membership" // members, removed members
	LayerAlarm      Layer = "alarm"      // alarms
	LayerMeta       Layer = "meta"       // cluster version and the like
)

// Divergence is one cause. What follows from it is counted elsewhere.
type Divergence struct {
	Layer         Layer     `json:"layer"`
	Entry         *Entry    `json:"entry"`
	EntryInterval *Interval `json:"entry_interval"`
	// Revision is the first main revision that differs, 0 if none does.
	Revision     int64         `json:"revision"`
	Groups       [][]string    `json:"groups"`
	Minority     []string      `json:"minority"`
	Effects      []Effect      `json:"effects"`
	Keys         []string      `json:"keys"`
	KeysBase64   []string      `json:"keys_base64,omitempty"`
	Leases       []ID          `json:"leases"`
	Explanations []Explanation `json:"explanations"`
	// CausedBy is the number, from 0, of the divergence that this consequence follows from; nil for a cause.
	CausedBy *int `json:"caused_by,omitempty"`
	// What says in a sentence what happened.
	What string `json:"what"`
	// Entries are all entries that show this cause, if there are more than one.
	Entries []uint64 `json:"entries,omitempty"`
	// Candidates are the entries of EntryInterval that write the same, or that may have led to this, at most 10 of them. CandidateCount is
	// how many they are if every one of them, and no other, explains what the members hold: Effects are not given then. If SearchBounded is
	// true, others of EntryInterval, or others than Entry, may do so, too: the search was cut short.
	// EntryInterval begins with 1, and there is no CandidateCount, where members may as well have parted before the first entry that is left.
	Candidates     []Entry `json:"candidates,omitempty"`
	CandidateCount int     `json:"candidate_count,omitempty"`
	SearchBounded  bool    `json:"search_bounded,omitempty"`
	// GroupsNow are the groups at the last entry that all members have reached.
	GroupsNow [][]string `json:"groups_now,omitempty"`
	// Faulty are the members whose own logs do not lead to what they hold without this.
	Faulty []string `json:"faulty,omitempty"`
	// FirstEffect is the first entry that did something else to keys because of this, where that is a later one.
	FirstEffect *FirstEffect `json:"first_effect,omitempty"`
	// Onset is, for each faulty member, the first entry that this touched.
	Onset map[string]Onset `json:"onset,omitempty"`
	// Readings are all that this may have been, by the rows and tables of its members.
	Readings [][]FaultReading `json:"readings,omitempty"`
	// RevisionInterval bounds the revision where the entry is not known.
	RevisionInterval *RevisionInterval `json:"revision_interval,omitempty"`
}

// FirstEffect is an entry with the main revision that it made, or that others made of it.
type FirstEffect struct {
	Entry    uint64 `json:"entry"`
	Revision int64  `json:"revision"`
	Type     string `json:"type"`
	Summary  string `json:"summary"`
}

// Onset is where something began on a member: Entry, or EntryInterval if that is not known more exactly. Until is the last entry that
// it touched, 0 if it goes on.
type Onset struct {
	Entry         uint64    `json:"entry,omitempty"`
	EntryInterval *Interval `json:"entry_interval,omitempty"`
	Until         uint64    `json:"until"`
}

// FaultReading is one fault of a reading: Kind is skipped, again, refused, rules, let-pass, branch, rows, table, extra, leases-lost or own-reads.
type FaultReading struct {
	Kind    string   `json:"kind"`
	Members []string `json:"members"`
	First   uint64   `json:"first"`
	Last    uint64   `json:"last"`
	Times   int      `json:"times,omitempty"` // of again: how often
	User    string   `json:"user,omitempty"`  // of refused
	Rules   string   `json:"rules,omitempty"` // of rules
	Table   string   `json:"table,omitempty"` // of table
}

// Entry names a raft entry.
type Entry struct {
	Index    uint64 `json:"index"`
	Term     uint64 `json:"term"`
	Type     string `json:"type"`
	Summary  string `json:"summary"`
	User     string `json:"user"`
	Proposer string `json:"proposer,omitempty"` // label or hex id of the member that proposed it
}

// Interval is a range of raft indexes that contains the entry, both ends included.
type Interval struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// RevisionInterval is a range of main revisions that contains the parting, both ends included.
type RevisionInterval struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// Effect is what the entry did on some members.
type Effect struct {
	Members  []string `json:"members"`
	Revision int64    `json:"revision"` // 0 if it made none
	Changes  []Change `json:"changes"`
	// Note says more where changes do not.
	Note string `json:"note,omitempty"`
	// Entry is what these members have at the index, if the log itself differs.
	Entry *Entry `json:"entry,omitempty"`
	// Instead is what made this revision number on members where the entry did not.
	Instead *Instead `json:"instead,omitempty"`
}

// Instead is the entry that made a revision which the diverging entry made on other members.
type Instead struct {
	Revision int64    `json:"revision"`
	Entry    *Entry   `json:"entry"`
	Changes  []Change `json:"changes"`
}

// Change is one row.
type Change struct {
	Op    string // "put" or "delete"
	Key   Key
	Lease ID
}

// MarshalJSON writes the key as text if it is.
func (c Change) MarshalJSON() ([]byte, error) {
	text, b64 := c.Key.named()
	return json.Marshal(struct {
		Op    string `json:"op"`
		Key   string `json:"key,omitempty"`
		B64   string `json:"key_base64,omitempty"`
		Lease ID     `json:"lease"`
	}{c.Op, text, b64, c.Lease})
}

// Status says how sure an explanation is.
type Status string

// From the surest to what the evidence rules out.
const (
	Confirmed      Status = "confirmed"
	ConsistentWith Status = "consistent"
	Refuted        Status = "refuted"
)

// Text is the status in words for people: "consistent" is what a verdict may be, too.
func (s Status) Text() string {
	if s == ConsistentWith {
		return "possible"
	}
	return string(s)
}

// Explanation is a hypothesis about a cause.
type Explanation struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Status   Status   `json:"status"`
	Evidence []string `json:"evidence"`
	Refs     []string `json:"refs"`
}

// KnownBug is a bug that shows in the files of some members, or of the set if there are none.
type KnownBug struct {
	Members []string `json:"members"`
	Explanation
	Remedy string `json:"remedy"`
}

// Plan says which copy is the best to restore from. Nothing of it is ever done by this tool.
type Plan struct {
	Copies []PlanCopy `json:"copies"`
	// Best is the member to go on with, empty if none can be recommended; Rebuild are those to make anew from it.
	Best     string   `json:"best"`
	Rebuild  []string `json:"rebuild"`
	Why      []string `json:"why"`
	Doubts   []string `json:"doubts"`
	Commands []string `json:"commands"`

	whole bool
}

// Whole tells whether the commands restore the cluster as a whole; if not, what is to be rebuilt joins the others.
func (p *Plan) Whole() bool { return p.whole }

// PlanCopy is what a cluster would be that is restored from one member.
type PlanCopy struct {
	Member          string   `json:"member"`
	Sound           bool     `json:"sound"`
	Problems        []string `json:"problems"`
	Index           uint64   `json:"index"`
	Revision        int64    `json:"revision"`
	EntriesBehind   int      `json:"entries_behind"`
	RevisionsBehind int      `json:"revisions_behind"`
	// Entries whose effects are lost, are here only, or are here twice.
	Loses []uint64 `json:"loses"`
	Adds  []uint64 `json:"adds"`
	Twice []uint64 `json:"twice"`
	// Keys that are on others only, here only, or otherwise here.
	LostKeys          []string `json:"lost_keys"`
	ResurrectedKeys   []string `json:"resurrected_keys"`
	OtherKeys         []string `json:"other_keys"`
	LostLeases        []ID     `json:"lost_leases"`
	ResurrectedLeases []ID     `json:"resurrected_leases"`
}

// Fault says in a clause what a member did, or holds, that its log does not ask for; empty if nothing is known.
func (d *Document) Fault(label string) string {
	for i := range d.Divergences {
		v := &d.Divergences[i]
		if !slices.Contains(v.Faulty, label) {
			continue
		}
		switch {
		case v.Entry != nil && v.What != "":
			return fmt.Sprintf("departed from its log at entry %d: %s", v.Entry.Index, v.What)
		case v.Entry != nil:
			return fmt.Sprintf("departed from its log at entry %d", v.Entry.Index)
		case v.EntryInterval != nil:
			return fmt.Sprintf("departed from its log between entries %d and %d", v.EntryInterval.First, v.EntryInterval.Last)
		}
		return "departed from its log"
	}
	return ""
}

// LeaseDiff is a lease on which members disagree.
type LeaseDiff struct {
	ID       ID                    `json:"id"`
	ByMember map[string]LeaseState `json:"by_member"`
}

// LeaseState is a lease on one member. TTLs are in seconds.
type LeaseState struct {
	Present      bool  `json:"present"`
	TTL          int64 `json:"ttl"`
	RemainingTTL int64 `json:"remaining_ttl"`
	Keys         int   `json:"keys"`
}

// Lag is what a member has not applied yet, though another has.
type Lag struct {
	Member string `json:"member"`
	// First and Last are the entries it lacks.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Revisions is how many main revisions these made elsewhere.
	Revisions int64 `json:"revisions"`
}

// Counts sums up.
type Counts struct {
	KeysDiffering      int `json:"keys_differing"`
	KeysMissing        int `json:"keys_missing"` // of KeysDiffering: present on some members only
	KeysValue          int `json:"keys_value"`
	KeysLease          int `json:"keys_lease"`
	KeysShifted        int `json:"keys_shifted"` // same value and lease, other revisions or version
	RevisionsDiffering int `json:"revisions_differing"`
	LeasesDiffering    int `json:"leases_differing"`
	// EntriesSince is how many entries were applied after the first divergence, up to the common index.
	EntriesSince int `json:"entries_since"`
	// Consequences is how many later entries had different effects because of an earlier divergence.
	Consequences int `json:"consequences"`
}

// filled makes empty lists of nil ones: JSON readers want [] for none.
func (d *Document) filled() *Document {
	notNil(&d.Reasons)
	notNil(&d.Findings)
	notNil(&d.Notes)
	notNil(&d.NotCompared)
	notNil(&d.NotComparedWhy)
	notNil(&d.Members)
	notNil(&d.Divergences)
	notNil(&d.Leases)
	notNil(&d.Lag)
	notNil(&d.Consequences)
	notNil(&d.KnownBugs)
	notNil(&d.Timeline)
	notNil(&d.Reexecutions)
	notNil(&d.Search.Limits)
	if p := d.Plan; p != nil {
		notNil(&p.Copies)
		notNil(&p.Rebuild)
		notNil(&p.Why)
		notNil(&p.Doubts)
		notNil(&p.Commands)
	}
	for _, v := range slices.Concat(pointers(d.Divergences), pointers(d.Consequences)) {
		notNil(&v.Groups)
		notNil(&v.Effects)
		notNil(&v.Keys)
		notNil(&v.Leases)
		notNil(&v.Explanations)
		for k := range v.Effects {
			notNil(&v.Effects[k].Changes)
		}
	}
	return d
}

func pointers[T any](s []T) []*T {
	ps := make([]*T, len(s))
	for i := range s {
		ps[i] = &s[i]
	}
	return ps
}

func notNil[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}
