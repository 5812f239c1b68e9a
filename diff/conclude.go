package diff

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"etcd-autopsy/diff/effect"
	"etcd-autopsy/diff/faults"
	"etcd-autopsy/diff/verdict"
	"etcd-autopsy/inspect/finding"
)

// lag lists what members have not applied yet, though another member of the same side of every fork has.
func (c *comparison) lag() {
	for i, m := range c.ms {
		ci := c.applied(i)
		high, furthest := ci, -1
		for j := range c.ms {
			if other := c.applied(j); other > high && !c.logs.onDifferentSides(i, j) {
				high, furthest = other, j
			}
		}
		if furthest < 0 {
			continue
		}
		l := Lag{Member: m.Label, First: ci + 1, Last: high}
		// An entry makes one revision at most: where there are more, the copy holds rows of a later moment.
		if at := c.revisionAt(furthest, ci); at >= 0 && c.last[furthest]-at <= int64(high-ci) {
			l.Revisions = c.last[furthest] - at
		}
		c.doc.Lag = append(c.doc.Lag, l)
	}
}

// applied is the last entry that member i has surely applied: its consistent index, unless a fault behind that explains what its tables hold.
func (c *explanations) applied(i int) uint64 {
	at := c.ms[i].DB.Tables.ConsistentIndex
	if x := c.explained[i]; x != nil && slices.ContainsFunc(x.chosen.Faults, func(f faults.Fault) bool { return f.First > at && f.Kind != faults.Index && f.Kind != faults.Again }) {
		return x.reach
	}
	return at
}

// conclude writes the causes down.
func (c *comparison) conclude() {
	d := c.doc
	if !d.Explained {
		c.followForks()
	}
	number := map[*cause]int{}
	for _, k := range c.causes {
		if k.causedBy == nil {
			number[k] = len(d.Divergences)
			c.addDivergence(c.write(k), k, k.basis())
		}
	}
	for _, k := range c.causes {
		if k.causedBy != nil {
			v, by := c.write(k), number[k.root()]
			v.CausedBy = &by
			d.Consequences = append(d.Consequences, v)
		}
	}
	if len(c.ms) > 0 {
		c.countEntriesSince()
	}
	c.dropDoubtfulKeys()
	if len(d.Divergences) == 0 && !d.Explained && d.Keys.Len() > 0 {
		c.addDivergence(c.write(&cause{layer: LayerApply, what: unexplained, groups: [][]int{c.allMembers()}}), nil, verdict.Holdings)
	}
}

// allMembers lists all members that are compared.
func (c *contents) allMembers() (all []int) {
	for i := range c.ms {
		all = append(all, i)
	}
	return all
}

// notes tells of findings that mattered to nothing that was compared.
func (c *comparison) notes() {
	for _, m := range c.all {
		for _, f := range m.Findings {
			if !f.Unreadable && f.Severity != finding.Info {
				c.doc.Notes = append(c.doc.Notes, m.Label+": "+f.String())
			}
		}
	}
}

// againstOwnLog tells whether a cause is what a member did against its own log, whatever others have in theirs.
func (k *cause) againstOwnLog() bool {
	return k.index > 0 && (k.layer == LayerApply || k.layer == LayerStorage)
}

// followForks makes consequences of all that tells members apart whose logs had parted before.
func (c *comparison) followForks() {
	for _, k := range c.causes {
		if k.layer == LayerLog || k.causedBy != nil || k.againstOwnLog() {
			continue
		}
		for _, f := range c.causes {
			if f.layer == LayerLog && c.followDifferentLogs(k.groups) && separates(k.groups, f.groups) {
				k.causedBy = f
				break
			}
		}
	}
}

// followDifferentLogs tells whether all members in different groups follow different logs.
func (c *contents) followDifferentLogs(groups [][]int) bool {
	for n, g := range groups {
		for _, h := range groups[n+1:] {
			for _, i := range g {
				for _, j := range h {
					if c.logs.firstDiffering(i, j) == math.MaxUint64 {
						return false
					}
				}
			}
		}
	}
	return len(groups) > 1
}

// witness is a member whose log holds the entry that is meant: after a fork others may have another one.
func (k *cause) witness() int {
	if len(k.departed) > 0 {
		return k.departed[0]
	}
	return k.groups[0][0]
}

func (c *comparison) write(k *cause) Divergence {
	v := Divergence{
		Layer: k.layer, EntryInterval: k.interval, Revision: k.revision, Effects: k.effects, What: k.what,
		Entries: k.entries, RevisionInterval: k.revisions, SearchBounded: k.searchBounded,
	}
	if k.index > 0 {
		v.Entry = c.entry(k.witness(), k.index)
	} else {
		v.Entries = nil
	}
	if k.interval != nil && v.Entry != nil {
		if v.Entry = nil; k.layer != LayerLog {
			v.Candidates = c.candidates(k)
		}
	}
	effects := k.effects
	if k.ambiguous() {
		// What the entries did is known of those alone that explain what the members hold.
		v.CandidateCount, v.Effects, v.Entries, v.Revision = len(k.candidates), nil, nil, 0
		v.RevisionInterval, effects = c.revisionsOf(k), nil
		if k.beforeLog { // or it is one that is not left
			if v.CandidateCount = 0; v.RevisionInterval != nil {
				v.RevisionInterval.First = 1
			}
		}
	}
	for _, g := range k.groups {
		v.Groups = append(v.Groups, c.labels(g))
	}
	v.Minority = minority(v.Groups)
	keys := map[string]struct{}{}
	for _, key := range k.keys {
		keys[key] = struct{}{}
	}
	for _, e := range effects {
		for _, ch := range e.Changes {
			keys[string(ch.Key)] = struct{}{}
		}
	}
	if k.ambiguous() {
		c.touchedBy(k, keys)
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if text, b64 := Key(key).named(); b64 != "" {
			v.KeysBase64 = append(v.KeysBase64, b64)
		} else {
			v.Keys = append(v.Keys, text)
		}
	}
	if v.Entry != nil {
		for _, i := range k.groups[0] {
			if r := c.request(i, k.index); r != nil && r.Internal != nil && r.Internal.LeaseRevoke != nil {
				v.Leases = append(v.Leases, ID(uint64(r.Internal.LeaseRevoke.ID)))
				break
			}
		}
	}
	for _, id := range k.leases {
		if !slices.Contains(v.Leases, ID(uint64(id))) {
			v.Leases = append(v.Leases, ID(uint64(id)))
		}
	}
	if k.fault != nil {
		c.writeFault(&v, k.fault)
	}
	if v.What == "" {
		v.What = v.sentence()
	}
	return v
}

// maxCandidates bounds how many of the entries that could be meant are listed.
const maxCandidates = 10

// ambiguous tells whether several entries come into question, each of which explains what the members hold; those before the log begins are one.
func (k *cause) ambiguous() bool {
	return k.fault != nil && k.index > 0 && k.interval != nil && (len(k.candidates) > 1 || k.beforeLog)
}

// revisionsOf are those between which a cause that may be several entries lies: each had its effect, if any, on the sound members.
func (c *explanations) revisionsOf(k *cause) *RevisionInterval {
	for i, x := range c.explained {
		if x == nil || slices.Contains(k.departed, i) {
			continue
		}
		in := &RevisionInterval{}
		x.member.Run(&x.chosen, x.reach, func(st *faults.Step) {
			if _, is := slices.BinarySearch(k.candidates, st.Index); is && st.Revision > 0 {
				in.First, in.Last = cmp.Or(in.First, st.Revision), st.Revision
			}
		}, nil)
		if in.First > 0 {
			return in
		}
	}
	return nil
}

// touchedBy adds the keys that all entries may change which a cause may be, if these are few.
func (c *explanations) touchedBy(k *cause, keys map[string]struct{}) {
	const few = 16
	log := c.explained[k.witness()].member.Log
	all := map[string]struct{}{}
	for _, index := range k.candidates {
		for _, key := range log.Entries[index-log.Entries[0].Index].Touches() {
			all[log.Keys[key]] = struct{}{}
		}
		if len(all) > few {
			return
		}
	}
	maps.Copy(keys, all)
}

// candidates are the entries that a cause may be: those that explain what the members hold, or those in its interval that are of the same
// kind.
func (c *contents) candidates(k *cause) []Entry {
	var out []Entry
	i := k.witness()
	if k.ambiguous() {
		for _, index := range k.candidates[:min(len(k.candidates), maxCandidates)] {
			if e := c.entry(i, index); e != nil {
				out = append(out, *e)
			}
		}
		return out
	}
	want := c.entry(i, k.index)
	for _, es := range [][]effect.Entry{c.histories[i].entries, c.histories[i].pending} {
		at, _ := slices.BinarySearchFunc(es, k.interval.First, func(e effect.Entry, index uint64) int { return cmp.Compare(e.Index, index) })
		for _, x := range es[at:] { // not by number: an entry may have any
			if x.Index > k.interval.Last || len(out) == maxCandidates {
				break
			}
			if e := c.entry(i, x.Index); want != nil && (e.Type == want.Type || x.Index == k.index) {
				out = append(out, *e)
			}
		}
	}
	return out
}

// sentence says what the odd ones out did.
func (v *Divergence) sentence() string {
	odd := func(e Effect) bool {
		return len(v.Faulty) == 0 || slices.ContainsFunc(e.Members, func(m string) bool { return slices.Contains(v.Faulty, m) })
	}
	for _, e := range v.Effects {
		if e.Note != "" && odd(e) {
			return e.Note
		}
	}
	return "the entry had different effects"
}

// minority is everyone outside the largest group, nil if that is not more than half.
func minority(groups [][]string) []string {
	all := 0
	for _, g := range groups {
		all += len(g)
	}
	if len(groups) < 2 || 2*len(groups[0]) <= all {
		return nil
	}
	var rest []string
	for _, g := range groups[1:] {
		rest = append(rest, g...)
	}
	slices.Sort(rest)
	return rest
}

// countEntriesSince counts the entries after the first divergence.
func (c *comparison) countEntriesSince() {
	for _, v := range c.doc.Divergences {
		at := uint64(0)
		switch {
		case v.Entry != nil:
			at = v.Entry.Index
		case v.EntryInterval != nil:
			at = v.EntryInterval.Last
		default:
			continue
		}
		if at < c.doc.Common.Index {
			c.doc.Counts.EntriesSince = int(c.doc.Common.Index - at)
		}
		return
	}
}
