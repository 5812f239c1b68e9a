package faults

import (
	"slices"
)

// tryRows tries rows that are not what the entries write, where that may be behind the contradiction.
func (e *expansion) tryRows() {
	var places []int
	main := e.s.Revision
	off := e.countDiffering(main)
	if keys := e.contradictingKeys(); len(keys) > 0 && off == 0 && main < e.Evidence.Compact {
		// The row that tells otherwise is at a revision behind this one, or that of this revision is gone.
		off = 1
		for _, key := range keys {
			if there := e.Evidence.rows[e.Evidence.lastRow[key]].main; there < main {
				places = append(places, e.stop)
			} else if i := e.makerIgnoring(there, key); i >= 0 {
				places = append(places, i)
			}
		}
	} else if main == e.Evidence.Compact && off == 0 {
		// The keys that compaction left are others: their last writers made rows that are gone, or are not theirs.
		keys := e.Evidence.differingAtCompact(e.s, maxRowsApart+1)
		if len(keys) > maxRowsApart {
			return
		}
		off = 1
		for _, k := range keys {
			if i := e.lastWriter(k); i >= 0 && !slices.Contains(places, i) {
				places = append(places, i)
			}
		}
		if len(places) != 1 {
			return
		}
	} else {
		places = append(places, e.stop)
	}
	for _, i := range places {
		for _, kept := range []bool{false, true} {
			from := min(i, e.stop)
			e.s.Revert(e.marks[from])
			x := e.Log.Entries[i].Index
			e.try(Fault{Kind: Rows, First: x, Last: x, DifferingRows: off, Kept: kept}, from)
		}
	}
	// The state only goes back: what begins earlier comes last.
	if i := e.stop - 1; i >= 0 && !e.isSkipped(i) {
		if n := len(e.Evidence.group(e.revs[e.stop] + 1)); n > 0 {
			e.s.Revert(e.marks[i])
			e.try(Fault{Kind: Extra, First: e.Log.Entries[i].Index, Last: e.Log.Entries[i].Index, DifferingRows: n}, i)
		}
	}
}

// contradictingKeys are the keys of whose life rows of later revisions tell what is not so at the contradiction, some only.
func (e *expansion) contradictingKeys() (keys []int32) {
	if key := e.Evidence.contradictedKey(e.s, nil); key >= 0 {
		return []int32{key}
	}
	if e.missedRevision {
		keys = e.Evidence.createdAt[e.soleRevision[e.stop]]
	}
	return keys[:min(len(keys), maxRowsApart)]
}

// makerIgnoring is the place of the entry behind the contradiction that makes a revision if what rows tell of a key is ignored, -1 if
// none does.
func (e *expansion) makerIgnoring(main int64, key int32) int {
	e.s.Revert(e.marks[e.stop])
	r := e.run(e.n.rules, e.n.faults)
	r.ignoredKeys = append(slices.Clone(r.ignored()), key)
	for i := e.stop; i < e.end; i++ {
		if !r.step(i) {
			break
		}
		if e.s.Revision >= main-1 {
			for i++; i < e.end; i++ {
				mark := e.s.Mark()
				r.step(i)
				made := e.s.Revision >= main
				e.s.Revert(mark)
				if made {
					return i
				}
				r.step(i)
			}
		}
	}
	return -1
}

// maxRowsApart is how many keys may be gone that one entry wrote.
const maxRowsApart = 8

// countDiffering is how many rows of a revision are not what the state's last entry makes.
func (e *expansion) countDiffering(main int64) (off int) {
	rows := e.Evidence.group(main)
	if main > e.Evidence.Compact {
		off = max(len(e.s.Changes)-len(rows), 0)
	}
	for i := range rows {
		if n := int(rows[i].sub); n >= len(e.s.Changes) || !rows[i].matches(&e.s.Changes[n], e.s.BaseRevision) {
			off++
		}
	}
	return off
}

// lastWriter is the place of the last entry up to the contradiction that changed a key, -1 if none did.
func (e *expansion) lastWriter(key int32) int {
	for i := e.stop; i >= 0; i-- {
		if i == e.stop || e.revs[i+1] > e.revs[i] {
			if slices.Contains(e.Log.Entries[i].Touches(), key) {
				return i
			}
		}
	}
	return -1
}
