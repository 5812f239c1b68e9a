package bugs

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/replay"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/check"
	"etcd-autopsy/inspect/evidence"
	"etcd-autopsy/inspect/finding"
	"etcd-autopsy/inspect/raftlog"
)

// Version is what the version of etcd that a member ran does otherwise than etcd 3.7, from an entry on.
type Version struct {
	From  uint64
	Rules []*replay.Rule
}

// Case is the evidence: members, where they parted, and the means to ask more. The goroutine that asks owns it, and all that it leads to, but what the files
// hold. Others run only while a method waits for them: each checks a member of its own (checkAll), or runs the log under rules of its own and changes
// nothing but its run (replayed). Explain works on a copy with its Cause; runs are those of ranFor.
type Case struct {
	Ctx     context.Context
	Members []*Member
	// Causes are the divergences in order, Cause the one that is being explained.
	Causes []*Cause
	Cause  *Cause
	// RulesBesides are the rules by which the log of a member, from its beginning on, makes what it holds, but for a cause: its other faults.
	// It is nil where that is not known. Versions are those that the member went by besides, in order.
	RulesBesides func(member int, but *Cause) []*replay.Rule
	Versions     func(member int) []Version
	// Agreed is the last main revision up to which two members hold the same rows.
	Agreed func(i, j int) int64
	// Bases are earlier states of the cluster, for members that cannot be taken back far enough.
	Bases []*Member
	// TempDir is where copies are made, the system's choice if empty.
	TempDir string
	// Progress is told about long work.
	Progress func(what string, done, total int)

	runs   map[string]*run
	ranFor *Cause
}

// Member is one member of a case. What is exported is as the caller gave it; digest, base and findings are made when first asked for and never change
// then. Members that follow one log share its digest, which names the first one's entries: theirs are the same.
type Member struct {
	*inspect.Member
	// Log is the log as this member followed it, what it lacks itself filled up from members of the same history.
	Log []effect.Entry
	// Whole is true if Log begins with the cluster, and its keyspace with it.
	Whole bool
	// Through is the last entry whose effects on keys the db holds, Committed the last one known to be committed.
	Through, Committed uint64
	// Steps calls f for what each entry did on the member, in order, as far as that is known. Nil if nothing is.
	Steps func(f func(s *effect.Step))
	// RevisionAt is the main revision once an entry was applied, -1 if that is not known.
	RevisionAt func(index uint64) int64

	digest   *digest
	base     *replay.Base
	findings []finding.Finding
}

// Cause is one divergence. Members are indexes into Case.Members. Nothing changes it once a case has it. Its invariants:
//
//   - Groups hold each member once at most.
//   - Onset, Times, OtherRules, Begins, First and Last are set for a Fault only. Where there are Begins, Index is the first of them.
type Cause struct {
	// Layer is log, apply, storage, lease, auth, membership, alarm or meta.
	Layer string
	// Index is the first entry, 0 if none is known, Entries all of them if there are more.
	Index    uint64
	Entries  []uint64
	Revision int64
	Outcome  effect.Outcome
	// Again is true where entries were applied a second time.
	Again bool
	// Departed are the members that did what etcd's rules do not predict from their own state, Groups those that agree.
	Departed []int
	Groups   [][]int
	// Rule is what all entries have in common, if they do.
	Rule string
	// Leases are what the cause touched.
	Leases []int64
	// CausedBy is the cause that this one is a consequence of.
	CausedBy *Cause
	// Fault is true if the cause is one fault by which, with those of Case.Besides, the members' own logs make what they hold. Onset is
	// the first entry that it touched on each of its members then, and Times how often entries were applied again on it.
	Fault bool
	Onset map[int]uint64
	Times map[int]int
	// OtherRules is true if such a fault is that its members go by the rules of another version from its onset on.
	OtherRules bool
	// Begins are the entries that such a fault may begin with, if it is not known with which of several.
	Begins []uint64
	// First and Last are all entries of such a fault that were skipped or applied again, 0 if it is another one: some of them may have had
	// no effect.
	First, Last uint64
}

func (k *Cause) entries() []uint64 {
	if len(k.Entries) > 0 {
		return k.Entries
	}
	if k.Index == 0 {
		return nil
	}
	return []uint64{k.Index}
}

func (k *Cause) span() (first, last uint64) {
	if k.Last > 0 {
		return k.First, k.Last
	}
	es := k.entries()
	if len(es) == 0 {
		return 0, 0
	}
	return slices.Min(es), slices.Max(es)
}

// entry is the request at an index as any of the members has it, nil if none does.
func (c *Case) entry(index uint64) *raftlog.Request {
	for _, m := range c.Members {
		if e := m.entry(index); e != nil {
			return e.Request()
		}
	}
	return nil
}

func (m *Member) entry(index uint64) *effect.Entry {
	i, ok := slices.BinarySearchFunc(m.Log, index, func(e effect.Entry, x uint64) int {
		switch {
		case e.Index < x:
			return -1
		case e.Index > x:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &m.Log[i]
}

// requests are those of the cause's entries.
func (c *Case) requests() []*raftlog.Request {
	var rs []*raftlog.Request
	for _, i := range c.Cause.entries() {
		if r := c.entry(i); r != nil {
			rs = append(rs, r)
		}
	}
	return rs
}

func (c *Case) departed() []*Member { return c.membersOf(c.Cause.Departed) }

func (c *Case) membersOf(is []int) []*Member {
	var ms []*Member
	for _, i := range is {
		ms = append(ms, c.Members[i])
	}
	return ms
}

// replayBase is the member as something to go back from.
func (m *Member) replayBase() *replay.Base {
	if m.base == nil {
		m.base = &replay.Base{Rows: m.DB.Rows, Tables: m.DB.Tables, Log: m.Log, Whole: m.Whole}
	}
	return m.base
}

func labels(ms []*Member) string {
	var ls []string
	for _, m := range ms {
		ls = append(ls, m.Label)
	}
	slices.Sort(ls)
	return listOf(ls)
}

// listOf is "a", "a and b", "a, b and c".
func listOf(ls []string) string {
	if len(ls) < 2 {
		return strings.Join(ls, "")
	}
	return strings.Join(ls[:len(ls)-1], ", ") + " and " + ls[len(ls)-1]
}

// listNumbers lists a few numbers.
func listNumbers[T uint64 | int64 | int](ns []T) string {
	const shown = 8
	var ls []string
	for i, n := range ns {
		if i == shown && len(ns) > shown+1 {
			return strings.Join(ls, ", ") + fmt.Sprintf(" and %d more", len(ns)-i)
		}
		ls = append(ls, fmt.Sprint(n))
	}
	return listOf(ls)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural(n, one, many)) }

// check looks at the member's files once.
func (m *Member) check() {
	if m.findings == nil {
		m.findings = append([]finding.Finding{}, check.Member(m.Member).Findings...)
	}
}

// checkAll looks at the files of all members at the same time.
func (c *Case) checkAll() {
	var wg evidence.Group
	for _, m := range c.Members {
		wg.Go(m.Label, m.check)
	}
	wg.Wait()
}

// findingsOf tells whether a check of the member found something of a kind.
func (m *Member) findingsOf(codes ...string) []finding.Finding {
	m.check()
	var fs []finding.Finding
	for _, f := range m.findings {
		if slices.Contains(codes, f.Code) {
			fs = append(fs, f)
		}
	}
	return fs
}

// details are the texts of findings, a few of them.
func details(fs []finding.Finding) []string {
	const shown = 5
	var out []string
	for i, f := range fs {
		if i == shown {
			out = append(out, fmt.Sprintf("and %d more of this kind", len(fs)-i))
			break
		}
		out = append(out, f.String())
	}
	return out
}

func (m *Member) nodeID() uint64 {
	if m.Member.Log != nil && m.Member.Log.HasMetadata {
		return m.Member.Log.NodeID
	}
	return 0
}

// proposed tells whether a request came from this member.
func (m *Member) proposed(r *raftlog.Request) bool {
	return m.nodeID() != 0 && r != nil && r.ID != 0 && r.ConfChange == nil && raftlog.Proposer(r.ID).Prefix == uint16(m.nodeID())
}

// digest is what there is to know of a log without looking at any db. Members that followed the same log share one.
type digest struct {
	// uncommon are all entries but those that write keys, grant or revoke leases, and the empty ones.
	uncommon []*effect.Entry
	// leases grant or revoke a lease.
	leases []*effect.Entry
	// nestedTxns and loose are transactions of users: with a nested one, with a put that returns what was there or has a lease.
	nestedTxns, leaseTxns []uint64
	processes             raftlog.Processes
}

// digested reads the log once.
func (m *Member) digested() *digest {
	if m.digest != nil {
		return m.digest
	}
	d := &digest{processes: raftlog.Processes{}}
	m.digest = d
	var decoder raftlog.Decoder
	for i := range m.Log {
		e := &m.Log[i]
		r := e.RequestBy(&decoder)
		d.visit(e, r)
		d.processes.Note(e.Index, r)
	}
	return d
}

func (d *digest) visit(e *effect.Entry, r *raftlog.Request) {
	in := r.Internal
	switch {
	case in == nil:
		if r.Type != "Empty" {
			d.uncommon = append(d.uncommon, e)
		}
	case in.LeaseGrant != nil, in.LeaseRevoke != nil:
		d.leases = append(d.leases, e)
	case in.Txn != nil:
		if r.User == "" {
			break
		}
		if nested(in.Txn) {
			d.nestedTxns = append(d.nestedTxns, e.Index)
		}
		if putsPrevOrLease(in.Txn) {
			d.leaseTxns = append(d.leaseTxns, e.Index)
		}
	case in.Put != nil, in.DeleteRange != nil, in.Range != nil:
	default:
		d.uncommon = append(d.uncommon, e)
	}
}

// shareDigests gives members that followed the same log the same digest.
func (c *Case) shareDigests() {
	known := map[*effect.Entry]*digest{}
	for _, m := range c.Members {
		if len(m.Log) == 0 {
			continue
		}
		if d := known[&m.Log[0]]; d != nil && m.digest == nil {
			m.digest = d
		}
		known[&m.Log[0]] = m.digested()
	}
}

// rare yields the requests that are not about keys or leases, with their entries.
func (m *Member) rare() iter.Seq2[*effect.Entry, *raftlog.Request] {
	return func(yield func(*effect.Entry, *raftlog.Request) bool) {
		for _, e := range m.digested().uncommon {
			if !yield(e, e.Request()) {
				return
			}
		}
	}
}

// processOf are the member's own.
func (m *Member) processOf() *raftlog.Proposals { return m.digested().processes.Of(m.nodeID()) }

// publishedBy is the last entry with which this member published its attributes in the manner of 3.5, and of 3.6.
func (m *Member) publishedBy() (v2, v3 uint64) {
	for e, r := range m.rare() {
		id, old := r.Publishes()
		switch {
		case id == 0 || id != m.nodeID():
		case old:
			v2 = e.Index
		default:
			v3 = e.Index
		}
	}
	return v2, v3
}

// batch is how many entries may be applied and still be lost, or applied again, with a crash: as many as a backend commits at once
// (defaultBatchLimit of server/storage/backend).
const batch = 10_000

// restarted returns the restart before which entry index was one of the last applied, or may have been: what a process had proposed, and
// what it had applied and not committed to its db, may lie behind the entry. It is nil if the log rules that out; known is false where it
// cannot tell.
func (m *Member) restarted(index uint64) (r *raftlog.Restart, known bool) {
	r, known = m.processOf().Ended(index)
	if r != nil && r.After > index+batch {
		return nil, true
	}
	return r, known
}

// received lists the indexes of the snapshots that the member got from a leader: the entries up to them are not in its
// own log.
func (m *Member) received() []uint64 {
	l := m.Member.Log
	var out []uint64
	for _, s := range l.Snapshots {
		if s.Index == 0 {
			continue
		}
		if l.Entry(s.Index) == nil && (l.First() == 0 || l.First() > s.Index) && s.Index > 1 && l.First() == s.Index+1 && len(l.Segments) > 0 && l.Segments[0].Seq == 0 {
			out = append(out, s.Index) // it began with it
			continue
		}
		for _, g := range l.Gaps() {
			if g[1] == s.Index {
				out = append(out, s.Index)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// receivedBefore is the last snapshot that the member received before an entry, 0 if none.
func (m *Member) receivedBefore(index uint64) uint64 {
	var last uint64
	for _, s := range m.received() {
		if s < index {
			last = max(last, s)
		}
	}
	return last
}

// noFreelist is what the meta page says where the freelist is not stored: 3.3 and later, on Linux.
const noFreelist = 1<<64 - 1

// minorVersions is what the db tells about the version that wrote it last: empty strings where it does not.
type minorVersions struct {
	least, most string
	why         []string
}

func (m *Member) minorVersions() minorVersions {
	var v minorVersions
	if m.DB == nil || m.DB.Tables == nil {
		return v
	}
	t := m.DB.Tables
	raise := func(to, why string) {
		if to > v.least {
			v.least = to
			v.why = append(v.why, why)
		}
	}
	lower := func(to, why string) {
		if v.most == "" || to < v.most {
			v.most = to
			v.why = append(v.why, why)
		}
	}
	if cv := minorOf(t.ClusterVersion); cv != "" {
		raise(cv, "the cluster version is "+t.ClusterVersion)
	}
	if t.HasTerm {
		raise("3.5", "meta holds a term, which 3.5 and later save")
	} else if t.HasConsistentIndex && len(m.Log) > 0 && t.ConsistentIndex > 0 {
		lower("3.4", "meta holds no term, which 3.5 and later save")
	}
	if sv := minorOf(t.StorageVersion); sv != "" {
		raise(sv, "the storage version is "+t.StorageVersion)
	}
	// A stored freelist tells nothing: etcd leaves it out on Linux alone, and any tool that opens the db for writing stores one.
	if m.DB.Bolt != nil && !m.Bare && m.DB.Bolt.Meta().Freelist == noFreelist {
		raise("3.3", "the db does not store its freelist, as 3.3 and later on Linux do not")
	}
	if v2, v3 := m.publishedBy(); v3 > v2 {
		raise("3.6", fmt.Sprintf("it published its attributes in the manner of 3.6 (entry %d)", v3))
	}
	return v
}

// minorOf is "3.5" of "3.5.0".
func minorOf(version string) string {
	parts := strings.SplitN(strings.TrimSpace(version), ".", 3)
	if len(parts) < 2 {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// certainlyBefore tells whether the member's db was certainly written by an older minor, after by a newer one.
func (v minorVersions) certainlyBefore(minor string) bool { return v.most != "" && v.most < minor }

func (v minorVersions) certainlyAfter(minor string) bool { return v.least != "" && v.least > minor }

func (v minorVersions) String() string { return strings.Join(v.why, ", ") }

// snapshotIndex is the newest snapshot that the log notes.
func (m *Member) snapshotIndex() uint64 {
	var s uint64
	for _, r := range m.Member.Log.Snapshots {
		s = max(s, r.Index)
	}
	return s
}

// eachStep calls f for what is known of what each entry did on the member.
func (m *Member) eachStep(f func(s *effect.Step)) {
	if m.Steps != nil {
		m.Steps(f)
	}
}
