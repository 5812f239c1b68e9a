package faults

import (
	"slices"
	"sort"

	"etcd-autopsy/diff/apply"
)

// tryAtEnd tries what may be behind tables, or a last revision, that are not what the log leads to.
func (e *expansion) tryAtEnd() {
	mark := e.s.Mark()
	for t, off := range e.Evidence.differingTables(e.s) {
		if off > 0 && e.s.Revision == e.Evidence.Revision {
			e.try(Fault{Kind: Table, First: e.Evidence.Index, Last: e.Evidence.Index, Table: TableName(t), DifferingRows: off}, e.end)
		}
	}
	if e.s.Revision > e.Evidence.Revision || slices.ContainsFunc(e.n.faults, func(f Fault) bool { return f.Kind == Index }) {
		return
	}
	r := e.run(e.n.rules, e.n.faults)
	var ahead []uint64 // entries whose effects may be the last that the db holds
	for i := e.end; i < len(e.Log.Entries) && e.Log.Entries[i].Index <= e.committed && i-e.end < maxRun; i++ {
		was := e.s.Mark()
		if !r.step(i) {
			break
		}
		if e.s.Mark() > was && e.s.Revision == e.Evidence.Revision {
			ahead = append(ahead, e.Log.Entries[i].Index)
		}
	}
	e.s.Revert(mark)
	for _, last := range ahead {
		e.try(Fault{Kind: Index, First: e.Evidence.Index + 1, Last: last}, e.end)
	}
	if e.Evidence.TablesAhead && e.s.Revision == e.Evidence.Revision {
		e.tryFaultAhead()
		e.tryRestartsAhead()
	}
	if n := len(e.Evidence.group(e.revs[e.end] + 1)); e.end > 0 && n > 0 && !e.isSkipped(e.end-1) {
		e.s.Revert(e.marks[e.end-1]) // the state only goes back: what begins earlier comes last
		last := e.Log.Entries[e.end-1].Index
		e.try(Fault{Kind: Extra, First: last, Last: last, DifferingRows: n}, e.end-1)
	}
}

// tryFaultAhead tries faults at the first entry behind the consistent index that makes a revision: a member on which none of the entries from there on did has
// applied them all the same, if it saves the index with changes of keys alone, and its tables show it.
func (e *expansion) tryFaultAhead() {
	mark, r := e.s.Mark(), e.run(e.n.rules, e.n.faults)
	var found []Fault
	for i := e.end; i < len(e.Log.Entries) && e.Log.Entries[i].Index <= e.committed && e.s.Steps <= e.budget; i++ {
		before, x := e.s.Mark(), &e.Log.Entries[i]
		if r.step(i) && e.s.Revision == e.Evidence.Revision {
			continue
		}
		e.s.Revert(before)
		for _, to := range e.otherwiseBy(x, e.rulesAt(x.Index)) {
			found = append(found, Fault{Kind: Rules, First: x.Index, Last: x.Index, To: to})
		}
		found = append(found, Fault{Kind: Skipped, First: x.Index, Last: x.Index})
		if x.User() != "" {
			found = append(found, Fault{Kind: Refused, First: x.Index, Last: x.Index, User: x.User()})
		}
		break
	}
	e.s.Revert(mark)
	for _, f := range found {
		e.try(f, e.end)
	}
}

// maxRestartsAhead is how many restarts behind different entries are tried where none of them saved a consistent index.
const maxRestartsAhead = 3

// tryRestartsAhead tries to apply what is behind the consistent index again, at restarts. A member that saves the index with changes of keys
// alone goes back to behind it each time, and several times may be needed before anything fits: all are tried here. Tables of an earlier moment
// than that of the last committed entry come into question if no others do.
func (e *expansion) tryRestartsAhead() {
	spent := e.s.Steps + unlikelySteps
	last := e.end // behind all that change anything
	solved := len(e.solved)
	rules := e.rulesAt(e.Evidence.Index + 1)
	applied := func(i int) bool {
		e.s.Rules = rules
		return e.s.Apply(&e.Log.Entries[i], apply.Plain) != apply.Made
	}
	var changing []int // places behind the consistent index
	// go on from a place with some restarts before it, up to the next auth entry, and from there without and with one behind it.
	var from func(i int, restarts []Fault)
	from = func(i int, restarts []Fault) {
		mark, begun := e.s.Mark(), len(changing)
		defer func() { e.s.Revert(mark); changing = changing[:begun] }()
		for ; ; i++ {
			if len(restarts) > 0 && i >= last && e.s.Auth.Equal(e.Evidence.Tables) {
				e.addRestarts(restarts)
				return
			}
			if i >= len(e.Log.Entries) || e.Log.Entries[i].Index > e.committed || e.s.Auth.Revision > e.Evidence.Tables.AuthRevision || e.s.Steps > min(spent, e.budget) {
				return
			}
			before := e.s.Mark()
			if !applied(i) {
				return // a change of keys would have moved the index
			}
			if e.s.Mark() == before {
				continue
			}
			if changing, last = append(changing, i), max(last, i+1); e.Log.Entries[i].Kind == apply.Auth {
				break
			}
		}
		from(i+1, restarts)
		n := sort.SearchInts(changing, e.behindSnapshot(i))
		if len(restarts) == maxRestartsAhead || n == len(changing) { // or a snapshot of this very entry
			return
		}
		first := changing[n]
		f := Fault{Kind: Again, First: e.Log.Entries[first].Index, Last: e.Log.Entries[i].Index}
		for f.Times = 1; f.Times <= maxTimes; f.Times++ {
			for k := first; k <= i; k++ {
				if !applied(k) {
					return
				}
			}
			from(i+1, append(slices.Clip(restarts), f))
		}
	}
	from(e.end, nil)
	if len(e.solved) == solved {
		last = e.end
		from(e.end, nil)
	}
	if e.s.Steps > spent {
		e.limit("restarts behind entry %d, the consistent index, are not all tried", e.Evidence.Index)
	}
}

// addRestarts notes faults that lead to what the db holds all together.
func (e *expansion) addRestarts(restarts []Fault) {
	n := e.n
	for _, f := range restarts[:len(restarts)-1] {
		from := link{n, f}
		n = &node{rules: n.rules, faults: withFault(n.faults, f), cost: from.cost(), stop: e.end, auth: e.auth, parents: []link{from}}
	}
	e.solved = append(e.solved, link{n, restarts[len(restarts)-1]})
}
