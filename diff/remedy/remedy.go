// Package remedy says what to do with a cluster whose members' files were compared: with which copy, or with which file, to go on, what is
// lost by that, and how it is done. It does none of it.
package remedy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff"
	"etcd-autopsy/diff/recovery"
	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/backup"
	"etcd-autopsy/inspect/raftlog"
	"etcd-autopsy/inspect/schema"
)

// Action is what to do.
type Action string

// Actions.
const (
	Nothing   Action = "nothing"    // the members agree
	Rebuild   Action = "rebuild"    // make some members anew in the running cluster
	Restore   Action = "restore"    // restore the cluster as a whole from a file
	CopyAgain Action = "copy_again" // copies are damaged, which says nothing about their members
	Undecided Action = "undecided"  // no copy can be recommended
)

// Request says for what to plan.
type Request struct {
	Members []*inspect.Member
	// Args are the members as the user named them, Logs the folders of their logs, and Meta the meta page to read them by, empty for the
	// newest: for commands to paste.
	Args, Logs []string
	Meta       string
	// From is the label of the member to go on with, empty for the best one.
	From string
	// File is a snapshot to go on with instead, nil if there is none; Path is where it lies.
	File *inspect.Member
	Path string
	// Preview asks for a comparison with what each member holds.
	Preview bool
	// Compare compares members, as diff.Investigate does.
	Compare func(ctx context.Context, ms []*inspect.Member) *diff.Document
}

// Document is the plan.
type Document struct {
	SchemaVersion string       `json:"schema_version"`
	Verdict       diff.Verdict `json:"verdict"` // on the members
	Action        Action       `json:"action"`
	// From is what to go on with, null if that is not decided.
	From   *Source  `json:"from"`
	Why    []string `json:"why"`
	Doubts []string `json:"doubts"`
	// Lost is what others hold and it does not.
	Lost Lost `json:"lost"`
	// Rebuild are the members that are made anew.
	Rebuild []string `json:"rebuild"`
	// Bump is null where revisions go on as they are.
	Bump       *Bump       `json:"bump"`
	Membership []Expected  `json:"membership"`
	Procedures []Procedure `json:"procedures"`
	// Copies are what each choice would cost, empty if the members did not part.
	Copies  []diff.PlanCopy `json:"copies"`
	Preview []Preview       `json:"preview"`

	plan *diff.Plan
}

// Plan is that of the comparison, nil if the members did not part.
func (d *Document) Plan() *diff.Plan { return d.plan }

// Source is what to go on with.
type Source struct {
	// Member is the label of a copy, empty for a File.
	Member string `json:"member"`
	File   string `json:"file"`
	// Recommended is false if the user chose it and it is not what would be recommended.
	Recommended bool   `json:"recommended"`
	Sound       bool   `json:"sound"`
	Standing    string `json:"standing"`
	Entry       uint64 `json:"entry"`
	Revision    int64  `json:"revision"`
}

// Called is its name.
func (s *Source) Called() string { return cmp.Or(s.Member, s.File) }

// Lost is what is not in what to go on with. Of each list the first MaxListed are there, the counts are of all.
type Lost struct {
	EntryCount int       `json:"entry_count"`
	Entries    []Entry   `json:"entries"`
	KeyCount   int       `json:"key_count"`
	Keys       []string  `json:"keys"`
	LeaseCount int       `json:"lease_count"`
	Leases     []diff.ID `json:"leases"`
	// Revisions is by how much the furthest member is ahead.
	Revisions int64 `json:"revisions"`
	// Against is a member that has come further, and what it holds now was compared for that; empty if all follows from what parted the members.
	Against string `json:"against"`
}

// MaxListed bounds each list of what is lost.
const MaxListed = 1000

const allOfThem = math.MaxInt32

// Entry is one of the log.
type Entry struct {
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Summary string `json:"summary"`
}

// Bump is by how much revisions are to be raised.
type Bump struct {
	Lost   int64 `json:"lost_revisions"`
	Margin int64 `json:"margin"`
	By     int64 `json:"by"`
	// Possible is false for a release that cannot do it, and where revisions would not fit any more.
	Possible bool   `json:"possible"`
	Needs    string `json:"needs"`
	Why      string `json:"why"`
}

// Expected is a member as it should be afterwards.
type Expected struct {
	Name     string   `json:"name"`
	ID       diff.ID  `json:"id"` // today
	PeerURLs []string `json:"peer_urls"`
	Learner  bool     `json:"learner"` // today
	Becomes  string   `json:"becomes"`
}

// Make makes a plan. An error, which is a *recovery.Refusal, says why there can be none.
func Make(ctx context.Context, q *Request) (*Document, error) {
	if why := diff.Clusters(q.Members); why != "" {
		return nil, &recovery.Refusal{Why: why, Need: "make a plan for the members of one of them"}
	}
	from := -1
	if q.From != "" {
		from = slices.IndexFunc(q.Members, func(m *inspect.Member) bool { return m.Label == q.From })
		if from < 0 {
			return nil, &recovery.Refusal{
				Why:  fmt.Sprintf("--from %s: no member is called that, and there is no such file", q.From),
				Need: "the members are " + strings.Join(labels(q.Members), ", "),
			}
		}
	}
	doc := q.Compare(ctx, q.Members)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if doc.Verdict == diff.NotComparable {
		return nil, &recovery.Refusal{Why: "the members cannot be compared: " + strings.Join(doc.Reasons, "; "), Need: "name members of one cluster that can be read"}
	}
	d := &Document{
		SchemaVersion: diff.SchemaVersion, Verdict: doc.Verdict, Why: []string{}, Doubts: []string{}, Rebuild: []string{},
		Membership: []Expected{}, Procedures: []Procedure{}, Copies: []diff.PlanCopy{}, Preview: []Preview{},
		Lost: Lost{Entries: []Entry{}, Keys: []string{}, Leases: []diff.ID{}}, plan: doc.Plan,
	}
	if doc.Plan != nil {
		d.Copies = doc.Plan.Copies
	}
	p := &planner{q: q, doc: doc, d: d}
	switch {
	case q.File != nil:
		if err := p.ofCluster(); err != nil {
			return nil, err
		}
		p.fromFile()
	case from >= 0:
		p.fromMember(q.Members[from])
	default:
		p.recommended()
	}
	if p.src != nil {
		p.loses()
		p.bump()
		p.membership()
		p.procedures()
		if q.Preview {
			p.preview()
		}
	}
	if q.Preview && p.src == nil {
		d.Doubts = append(d.Doubts, "nothing is chosen that could be compared with the members: choose with --from")
	}
	return d, ctx.Err()
}

func labels(ms []*inspect.Member) (all []string) {
	for _, m := range ms {
		all = append(all, m.Label)
	}
	return all
}

type planner struct {
	q   *Request
	doc *diff.Document
	d   *Document
	// src is what to go on with, nil if that is not decided.
	src *inspect.Member
}

func (p *planner) why(format string, args ...any) {
	p.d.Why = append(p.d.Why, fmt.Sprintf(format, args...))
}

func (p *planner) doubt(format string, args ...any) {
	p.d.Doubts = append(p.d.Doubts, fmt.Sprintf(format, args...))
}

func (p *planner) find(label string) *inspect.Member {
	for _, m := range p.q.Members {
		if m.Label == label {
			return m
		}
	}
	return nil
}

// best is the label of the recommended copy, empty if there is none.
func (p *planner) best() string {
	if p.doc.Plan != nil {
		return p.doc.Plan.Best
	}
	if p.doc.BestCopy != nil {
		return p.doc.BestCopy.Member
	}
	return ""
}

// others are the members but one.
func (p *planner) others(but string) []string {
	out := []string{}
	for _, m := range p.q.Members {
		if m.Label != but && !m.Bare {
			out = append(out, m.Label)
		}
	}
	return out
}

func (p *planner) take(m *inspect.Member, recommended bool) {
	p.src = m
	s := &Source{Member: m.Label, Recommended: recommended, Standing: m.Evidence().Standing().String(), Sound: m.Evidence().Whole()}
	if m == p.q.File {
		s.Member, s.File = "", p.q.Path
	}
	if m.DB != nil {
		s.Entry, s.Revision = m.DB.Tables.ConsistentIndex, m.DB.Revision()
	} else {
		s.Entry = m.Log.HardState.Commit // as far as its log can be run
	}
	if k := p.copyOf(m); k != nil {
		s.Sound, s.Entry = s.Sound && k.Sound, max(s.Entry, k.Index)
	}
	p.d.From = s
}

// copyOf is what the comparison says about going on with a member, nil if it says nothing.
func (p *planner) copyOf(m *inspect.Member) *diff.PlanCopy {
	if p.doc.Plan == nil || m == p.q.File {
		return nil
	}
	for i := range p.doc.Plan.Copies {
		if k := &p.doc.Plan.Copies[i]; k.Member == m.Label {
			return k
		}
	}
	return nil
}

// recommended goes on with what the comparison recommends.
func (p *planner) recommended() {
	pl := p.doc.Plan
	switch {
	case pl != nil && pl.Best != "":
		p.d.Why, p.d.Doubts = slices.Clone(pl.Why), slices.Clone(pl.Doubts)
		p.d.Rebuild, p.d.Action = slices.Clone(pl.Rebuild), Rebuild
		if pl.Whole() {
			p.d.Action, p.d.Rebuild = Restore, p.others(pl.Best)
		}
		p.take(p.find(pl.Best), true)
		return
	case pl != nil:
		p.d.Action, p.d.Why, p.d.Doubts = Undecided, slices.Clone(pl.Why), slices.Clone(pl.Doubts)
		return
	}
	var damaged []string
	for _, m := range p.q.Members {
		if !m.Evidence().Whole() && !(m.Bare && m.DB == nil) {
			damaged = append(damaged, m.Label)
			p.why("the db of %s is %s", m.Label, m.Evidence().Standing())
		}
	}
	switch best := p.best(); {
	case len(damaged) == 0 && p.doc.Verdict == diff.Consistent && p.doc.Problems > 0:
		p.d.Action = CopyAgain
		p.why("the members agree, but a check finds errors in their files: etcd-autopsy check says which, and what to do")
	case len(damaged) == 0 && p.doc.Verdict == diff.Consistent:
		p.d.Action = Nothing
		if len(p.q.Members) == 1 {
			p.why("its db is whole, and holds what its log makes, as far as that can be checked")
		} else {
			p.why("the members agree in all that can be compared")
		}
		for _, l := range p.doc.Lag {
			p.why("%s is behind, and catches up by itself", l.Member)
		}
	case len(damaged) == 0:
		p.d.Action, p.d.Why = Undecided, append(p.d.Why, p.doc.Reasons...)
	case len(p.q.Members) == 1 && p.q.Members[0].DB != nil:
		p.d.Action = Restore
		p.doubt("a copy of a running member is torn though the member is healthy: copy again with the member stopped before anything else")
		p.doubt("what the file lacks that is made of it is said by recover, and cannot be known in full")
		p.take(p.q.Members[0], true)
	case best != "" && len(damaged) < len(p.q.Members):
		p.d.Action, p.d.Rebuild = CopyAgain, damaged
		p.why("%s is whole: %s", best, p.doc.BestCopy.Why)
		p.doubt("a damaged copy says nothing about its member: make it anew only if a copy of the stopped member shows the same")
		if p.take(p.find(best), true); 2*len(damaged) >= len(p.q.Members) {
			p.doubt("without these there is no quorum: if they are all damaged, --from %s makes the plan to restore the cluster", best)
		}
	case len(p.q.Members) == 1:
		p.d.Action = Undecided
		p.doubt("copy again, from the stopped member; if there is no more of it, --from makes the plan to run its log, and a backup if there is one")
	default:
		p.d.Action = Undecided
		p.doubt("no copy is whole: copy again from stopped members; if that shows the same, choose one with --from, or make a file with etcd-autopsy recover and choose that")
	}
}

// fromMember goes on with the copy that the user chose.
func (p *planner) fromMember(m *inspect.Member) {
	best := p.best()
	p.take(m, m.Label == best)
	pl := p.doc.Plan
	switch {
	case m.Label == best && pl != nil && pl.Best != "":
		p.recommended()
		return
	case pl != nil && pl.Best != "" && !pl.Whole() && !slices.Contains(pl.Rebuild, m.Label):
		// It holds what the recommended one does.
		p.recommended()
		p.why("%s was chosen, and is one of those that the others are rebuilt from", m.Label)
		p.take(m, false)
		return
	}
	p.d.Action, p.d.Rebuild = Restore, p.others(m.Label)
	p.why("%s was chosen", m.Label)
	switch {
	case best == "":
		p.doubt("no copy can be recommended, this one as little as others")
	case best != m.Label:
		p.doubt("%s would be recommended", best)
	}
	if m.DB == nil && len(m.Log.Entries) == 0 {
		p.d.Action, p.d.Rebuild, p.d.From, p.src = Undecided, []string{}, nil, nil
		p.doubt("it has neither a db nor a log that can be read: nothing can be made of it")
		return
	} else if m.DB == nil {
		p.doubt("it has no db that can be read: etcd-autopsy recover makes a file of its log, if that begins with the cluster or a backup is given as --base")
	} else if !p.d.From.Sound {
		p.doubt("it is not sound: etcd-autopsy check says why, and recover what is lost")
	}
	if fault := p.doc.Fault(m.Label); fault != "" {
		p.doubt("it %s; that comes into the new cluster with it", fault)
	}
	if k := p.copyOf(m); k != nil && len(k.ResurrectedKeys) > 0 {
		p.doubt("%s that others do not hold come back", plural(len(k.ResurrectedKeys), "key", "keys"))
	}
}

// ofCluster refuses a file that is of another cluster than every member.
func (p *planner) ofCluster() error {
	if p.q.File.DB == nil {
		return nil
	}
	why, foreign, sure := "", 0, false
	for i, m := range p.q.Members {
		if m.DB == nil && !m.Log.HasMetadata {
			continue
		}
		says, known := diff.ForeignBase(p.q.File, m, diff.AppliedLog(p.q.Members, i))
		rows := backup.Relate(p.q.File, m, m.Label)
		if says == "" && rows.Sure && rows.Is == backup.OtherCluster {
			says = "is of another cluster: " + rows.Why
		}
		if says != "" && !(rows.Sure && rows.Is != backup.OtherCluster && rows.Is != backup.OtherHistory) {
			why = cmp.Or(why, says)
			foreign++
			continue
		}
		if sure = sure || known || rows.Sure && rows.Is != backup.OtherHistory; rows.Sure && rows.Is == backup.OtherHistory {
			p.doubt("the file and %s hold different rows: %s", m.Label, rows.Why)
		}
		foreign -= len(p.q.Members) // it fits one
	}
	switch {
	case foreign > 0:
		return &recovery.Refusal{Why: fmt.Sprintf("--from: %s %s", p.q.Path, why), Need: "name a backup of this cluster, or a file that recover made of its members"}
	case !sure:
		p.doubt("nothing in the file shows that it is of this cluster: neither its members nor its rows are known to any of these")
	}
	return nil
}

// fromFile goes on with a file that the user chose.
func (p *planner) fromFile() {
	p.take(p.q.File, false)
	p.d.Action, p.d.Rebuild = Restore, p.others("")
	p.why("the file was chosen; all members are made anew from it")
	if !p.d.From.Sound {
		p.doubt("the file is %s: etcd-autopsy verify says more", p.d.From.Standing)
	}
	if best := p.best(); best != "" && p.find(best).DB != nil && p.find(best).DB.Revision() > p.d.From.Revision {
		p.doubt("%s would be recommended: it is whole and has come further", best)
	}
}

// furthest is the copy that holds most: the best one, or else the one with the latest revision.
func (p *planner) furthest() *inspect.Member {
	var top *inspect.Member
	for _, m := range p.q.Members {
		if m == p.src || m.DB == nil {
			continue
		}
		if top == nil || cmp.Or(cmp.Compare(rank(m), rank(top)), cmp.Compare(m.DB.Revision(), top.DB.Revision())) > 0 {
			top = m
		}
	}
	return top
}

func rank(m *inspect.Member) int {
	if m.Evidence().Whole() {
		return 1
	}
	return 0
}

// loses finds out what is lost. Where the cluster goes on with the others, what a member lacks because it is behind is not.
func (p *planner) loses() {
	if p.d.Action == CopyAgain {
		return
	}
	l := &p.d.Lost
	top := int64(0)
	for _, m := range p.q.Members {
		if m.DB != nil {
			top = max(top, m.DB.Revision())
		}
	}
	l.Revisions = max(0, top-p.d.From.Revision)
	lost := map[uint64]bool{}
	k := p.copyOf(p.src)
	keys := map[string]bool{}
	through := p.d.From.Entry
	if k != nil {
		for _, e := range k.Loses {
			lost[e] = true
		}
		for _, key := range k.LostKeys {
			keys[key] = true
		}
		l.Leases = append(l.Leases, k.LostLeases...)
		through = k.Index
	}
	for _, m := range p.q.Members { // what others have applied and it has not
		if p.d.Action != Restore || k != nil && k.EntriesBehind <= 0 || m == p.src || m.DB == nil || through == 0 || m.DB.Tables.ConsistentIndex <= through {
			continue
		}
		for i := range m.Log.Entries {
			if x := m.Log.Entries[i].Index; x > through && x <= m.DB.Tables.ConsistentIndex {
				lost[x] = true
			}
		}
	}
	if f := p.furthest(); f != nil && p.src.DB != nil && p.d.Action == Restore && (k == nil || f.DB.Tables.ConsistentIndex > through) {
		// The comparison is of what members held at the last entry that both have reached: what one wrote behind that is lost, too.
		l.Against = f.Label
		for _, key := range compareRows(p.src, f, allOfThem).Gone {
			keys[key] = true
		}
		for _, id := range leasesBut(f, p.src) {
			if !slices.Contains(l.Leases, id) {
				l.Leases = append(l.Leases, id)
			}
		}
	}
	p.entries(lost)
	l.KeyCount = len(keys)
	for key := range keys {
		l.Keys = append(l.Keys, key)
	}
	slices.Sort(l.Keys)
	l.Keys = l.Keys[:min(len(l.Keys), MaxListed)]
	l.LeaseCount = len(l.Leases)
	l.Leases = l.Leases[:min(len(l.Leases), MaxListed)]
}

// leasesBut are the leases of one member that another does not hold.
func leasesBut(m, but *inspect.Member) []diff.ID {
	out := []diff.ID{}
	for _, l := range m.DB.Tables.Leases {
		if !slices.ContainsFunc(but.DB.Tables.Leases, func(o schema.LeaseRecord) bool { return o.ID == l.ID }) {
			out = append(out, diff.ID(uint64(l.ID)))
		}
	}
	return out
}

// entries names those that are lost, from the log of a member that has another one there than the source, or one at all.
func (p *planner) entries(lost map[uint64]bool) {
	l := &p.d.Lost
	l.EntryCount = len(lost)
	var all []uint64
	for x := range lost {
		all = append(all, x)
	}
	slices.Sort(all)
	for _, x := range all[:min(len(all), MaxListed)] {
		own := p.src.Log.Entry(x)
		var found *raftlog.Entry
		for _, m := range p.q.Members {
			if e := m.Log.Entry(x); e != nil && (found == nil || own != nil && found.Term == own.Term) {
				found = e
			}
		}
		e := Entry{Index: x}
		if found != nil {
			e.Term = found.Term
			if r, _ := raftlog.Decode(found); r != nil {
				e.Summary = r.Summary()
			}
		}
		l.Entries = append(l.Entries, e)
	}
}

// margin is for what was written since the copies were made, and what clients saw of it: more than a cluster writes in a week.
const margin = 1_000_000_000

// bump says by how much to raise revisions, where a file is restored.
func (p *planner) bump() {
	if p.d.Action != Restore {
		return
	}
	b := &Bump{
		Lost: p.d.Lost.Revisions, Margin: margin,
		Why: "what watches keys, as the informers and watch caches of Kubernetes do, has seen revisions that are lost: it waits for later ones, and takes other writes with the numbers that it knows for what it has",
	}
	if p.d.From.Revision <= math.MaxInt64-2*margin && b.Lost <= math.MaxInt64-2*margin-p.d.From.Revision {
		b.By, b.Possible = b.Lost+margin, true
	}
	switch minor := p.minor(); {
	case !b.Possible:
		b.Needs = "the revisions are near the end of what a number holds"
	case minor > 0 && minor < 4:
		b.Possible, b.By, b.Needs = false, 0, "no restore before 3.4.27 can; restart all that watches or caches keys instead"
	case minor == 4:
		b.Needs = "etcdctl 3.4.27 or later; the two flags together only"
	case minor == 5:
		b.Needs = "etcdutl 3.5.10 or later; the two flags together only"
	case minor > 5:
		b.Needs = "etcdutl of the release that runs; the two flags together only"
	default:
		b.Needs = "etcdctl 3.4.27, or etcdutl 3.5.10 or 3.6 or later; the two flags together only"
	}
	p.d.Bump = b
}

// minor is the release of etcd 3 that the cluster ran, 0 if that is not known.
func (p *planner) minor() int {
	for _, m := range append([]*inspect.Member{p.src}, p.q.Members...) {
		var major, minor int
		if n, _ := fmt.Sscanf(m.ClusterVersion(), "%d.%d", &major, &minor); n == 2 && major == 3 {
			return minor
		}
	}
	return 0
}

// of is who belongs to the cluster.
func (p *planner) of() []schema.Member {
	for _, m := range append([]*inspect.Member{p.src}, p.q.Members...) {
		if ms := m.LogMembership().Members; len(ms) > 0 {
			return ms
		}
		if m.DB != nil && len(m.DB.Tables.Members) > 0 {
			return m.DB.Tables.Members
		}
	}
	return nil
}

// named is what the members buckets call a member, empty if they do not: the log tells it only where it holds what that member published.
func (p *planner) named(id uint64) string {
	for _, m := range append([]*inspect.Member{p.src}, p.q.Members...) {
		if m.DB == nil {
			continue
		}
		if n := slices.IndexFunc(m.DB.Tables.Members, func(x schema.Member) bool { return x.ID == id && x.Name != "" }); n >= 0 {
			return m.DB.Tables.Members[n].Name
		}
	}
	return ""
}

// node is a member's own id, 0 if no file tells.
func node(m *inspect.Member) uint64 {
	if m != nil && m.Log.HasMetadata {
		return m.Log.NodeID
	}
	return 0
}

// membership says who is to be a member afterwards.
func (p *planner) membership() {
	for _, x := range p.of() {
		e := Expected{Name: cmp.Or(x.Name, p.named(x.ID)), ID: diff.ID(x.ID), PeerURLs: slices.Clone(x.PeerURLs), Learner: x.IsLearner, Becomes: "stays as it is"}
		anew := slices.ContainsFunc(p.d.Rebuild, func(l string) bool { return node(p.find(l)) == x.ID })
		switch {
		case p.d.Action == Restore && x.IsLearner:
			e.Becomes = "a voter with a new id: a restore makes no learners; leave it out and add it again later"
		case p.d.Action == Restore:
			e.Becomes = "a voter with a new id, in a cluster with a new id"
		case p.d.Action == Nothing:
		case anew && p.d.Action == CopyAgain:
			e.Becomes = "stays as it is, or a new id if it is made anew"
		case anew:
			e.Becomes = "removed, and added with a new id: a learner first, then a voter"
		}
		if e.PeerURLs == nil {
			e.PeerURLs = []string{}
		}
		p.d.Membership = append(p.d.Membership, e)
	}
	slices.SortStableFunc(p.d.Membership, func(a, b Expected) int { return strings.Compare(a.Name, b.Name) })
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
