package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
	"etcd-autopsy/inspect/raftlog"
)

// relations say which copies are of one member, and whether all are of one cluster. Ids do not settle either: two clusters that were
// started with the same flags have the same ones. What settles it is what they share beyond what every cluster begins
// with: an entry of the log with a request id, which holds the proposer and the time, or a row.
type relations struct {
	copyOf       []int    // of each member the other copy of it that is compared instead, -1 if it is compared itself
	incomparable []string // why nothing can be compared
	notes        []string
}

// relateCopies compares members in pairs.
func relateCopies(ms []*inspect.Member) *relations {
	r := &relations{copyOf: make([]int, len(ms))}
	for i := range ms {
		r.copyOf[i] = -1
	}
	if why := incomparable(ms); why != "" {
		r.incomparable = []string{why}
		return r
	}
	if len(ms) < 2 {
		return r
	}
	shares := map[[2]int]bool{}
	for i := range ms {
		for j := i + 1; j < len(ms); j++ {
			// Logs that both reach back to the beginning need no rows: those of two clusters may be the same by chance, or by a backup.
			begun := ms[i].Log.First() == 1 && ms[j].Log.First() == 1
			shares[[2]int{i, j}] = sharesEntry(ms[i], ms[j]) || !begun && sharesRow(ms[i], ms[j])
		}
	}
	r.findForeign(ms, shares)
	if len(r.incomparable) == 0 {
		r.findCopies(ms, shares)
	}
	return r
}

// findForeign looks for members that are perhaps not of one cluster: some share nothing with the others, although there is something to
// share.
func (r *relations) findForeign(ms []*inspect.Member, shares map[[2]int]bool) {
	set := make([]int, len(ms))
	for i := range ms {
		set[i] = i
	}
	for i := range ms {
		for j := i + 1; j < len(ms); j++ {
			if shares[[2]int{i, j}] && set[i] != set[j] {
				from, to := set[j], set[i]
				for k := range set {
					if set[k] == from {
						set[k] = to
					}
				}
			}
		}
	}
	var why []string
	for i := range ms {
		for j := i + 1; j < len(ms); j++ {
			if set[i] != set[j] {
				if w := whyForeign(ms[i], ms[j]); w != "" {
					why = append(why, w)
				}
			}
		}
	}
	if len(why) > 0 {
		r.incomparable = append([]string{"perhaps these are not members of one cluster: some share no entry of their logs, but what every cluster begins with, and no row"}, why...)
	}
}

// whyForeign says why two members that share nothing are perhaps not of one cluster; it is empty if they may just show nothing that both
// went through.
func whyForeign(a, b *inspect.Member) string {
	both := a.Label + " and " + b.Label
	var why []string
	if x, y := memberIDs(a), memberIDs(b); len(x) > 0 && len(y) > 0 && !slices.ContainsFunc(x, func(id uint64) bool { return slices.Contains(y, id) }) {
		why = append(why, "their lists of members have nobody in common")
	}
	low := min(committed(a), committed(b))
	for i := range a.Log.Entries {
		e := &a.Log.Entries[i]
		if x := b.Log.Entry(e.Index); x != nil && e.Index <= low && !sameEntry(e, x) {
			why = append(why, fmt.Sprintf("their logs hold different entries at %d", e.Index))
			break
		}
	}
	if hasRows(a) && hasRows(b) {
		ta, tb := a.DB.Rows, b.DB.Rows
		for _, main := range differingBelow(min(ta.Last(), tb.Last())+1, ta, tb) {
			if !commonRowsAgree(knownRows(a, main), knownRows(b, main)) {
				why = append(why, fmt.Sprintf("their rows of revision %d contradict each other", main))
				break
			}
		}
	}
	if hasEmptyKeyspace(a) && hasEmptyKeyspace(b) {
		why = append(why, "the keyspaces of both are empty")
	}
	if len(why) == 0 {
		return ""
	}
	return both + ": " + strings.Join(why, "; ")
}

func hasRows(m *inspect.Member) bool { return m.DB != nil && m.DB.HasKeys && m.DB.Rows.Len() > 0 }

func hasEmptyKeyspace(m *inspect.Member) bool {
	return m.DB != nil && m.DB.HasKeys && m.DB.Rows.Len() == 0 && m.Evidence().Whole()
}

// knownRows are the rows of a revision that count.
func knownRows(m *inspect.Member, main int64) []mvcc.Row {
	return slices.DeleteFunc(m.DB.Rows.Group(main), func(r mvcc.Row) bool { return !m.Evidence().Known(&r) })
}

// memberIDs lists who belongs to the cluster, as a member sees it.
func memberIDs(m *inspect.Member) []uint64 {
	if cs := m.RaftConfState(); cs != nil && len(cs.Voters) > 0 {
		return slices.Concat(cs.Voters, cs.Learners)
	}
	var ids []uint64
	if m.DB != nil && m.Evidence().Whole() {
		for _, x := range m.DB.Tables.Members {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// sharesEntry tells whether two logs hold the same request at the same index. The latest ones are looked at first.
func sharesEntry(a, b *inspect.Member) bool {
	for i := len(a.Log.Entries) - 1; i >= 0; i-- {
		e := &a.Log.Entries[i]
		if x := b.Log.Entry(e.Index); x == nil || !sameEntry(e, x) || len(e.Data) == 0 {
			continue
		}
		if q, err := raftlog.Decode(e); err == nil && q.ID != 0 {
			return true
		}
	}
	return false
}

// sharesRow tells whether two dbs hold the same row of some revision.
func sharesRow(a, b *inspect.Member) bool {
	if !hasRows(a) || !hasRows(b) {
		return false
	}
	x, y := a.DB.Rows.Cursor(0, a.DB.Rows.Len()), b.DB.Rows.Cursor(0, b.DB.Rows.Len())
	for moreX, moreY := x.Next(), y.Next(); moreX && moreY; {
		switch c := x.Row.Rev.Compare(y.Row.Rev); {
		case c < 0:
			moreX = x.Next()
		case c > 0:
			moreY = y.Next()
		default:
			if sameRow(&x.Row, &y.Row) {
				return true
			}
			moreX, moreY = x.Next(), y.Next()
		}
	}
	return false
}

// findCopies finds copies of one member: by its id and that of the cluster, or because they are the same file.
func (r *relations) findCopies(ms []*inspect.Member, shares map[[2]int]bool) {
	for i, m := range ms {
		if r.copyOf[i] >= 0 {
			continue
		}
		same := []int{i}
		for j := i + 1; j < len(ms); j++ {
			if r.copyOf[j] < 0 && (shares[[2]int{i, j}] && sameMember(m, ms[j]) || sameFile(m, ms[j])) {
				same = append(same, j)
			}
		}
		if len(same) < 2 {
			continue
		}
		best := slices.MinFunc(same, func(x, y int) int { return newer(ms[x], ms[y]) })
		var labels []string
		for _, j := range same {
			if labels = append(labels, ms[j].Label); j != best {
				r.copyOf[j] = best
			}
		}
		which := "the same file"
		if m.Log.HasMetadata {
			which = "copies of one member, " + ID(m.Log.NodeID).String()
		}
		r.notes = append(r.notes, fmt.Sprintf("%s are %s: %s, the newest, was compared", listOf(labels), which, ms[best].Label))
		if len(same) == len(ms) {
			r.incomparable = append(r.incomparable, fmt.Sprintf("%s are %s: there is no other member to compare with", listOf(labels), which), overTime(ms))
		}
	}
	if len(r.incomparable) > 0 {
		r.notes = nil
	}
}

// listOf joins labels: "a", "a and b", "a, b and c".
func listOf(labels []string) string {
	if len(labels) < 2 {
		return strings.Join(labels, "")
	}
	return strings.Join(labels[:len(labels)-1], ", ") + " and " + labels[len(labels)-1]
}

// overTime says what states of one member over time have to do with each other.
func overTime(ms []*inspect.Member) string {
	for i, a := range ms {
		for _, b := range ms[i+1:] {
			if !hasRows(a) || !hasRows(b) {
				continue
			}
			for _, main := range differingBelow(min(a.DB.Rows.Last(), b.DB.Rows.Last())+1, a.DB.Rows, b.DB.Rows) {
				if !commonRowsAgree(knownRows(a, main), knownRows(b, main)) {
					return fmt.Sprintf("as states of it over time they do not go together: %s and %s hold different rows of revision %d", a.Label, b.Label, main)
				}
			}
		}
	}
	return "as states of it over time they go together: rows of one revision that several of them hold are the same"
}

// sameMember tells whether two logs are of members with the same ids.
func sameMember(a, b *inspect.Member) bool {
	return a.Log.HasMetadata && b.Log.HasMetadata && a.Log.NodeID != 0 && a.Log.NodeID == b.Log.NodeID && a.Log.ClusterID == b.Log.ClusterID
}

// sameFile tells whether two dbs are the same, byte for byte, and no log tells that they are of two members: those of two never are, unless one was
// put in the place of the other.
func sameFile(a, b *inspect.Member) bool {
	return !(a.Log.HasMetadata && b.Log.HasMetadata) && a.DB != nil && b.DB != nil && a.DB.File.Size == b.DB.File.Size && bytes.Equal(a.DB.File.Bytes(), b.DB.File.Bytes())
}

// newer orders copies of one member: whole ones first, of these the newest.
func newer(a, b *inspect.Member) int {
	at := func(m *inspect.Member) (index uint64, rev int64) {
		if m.DB == nil {
			return 0, 0
		}
		return m.DB.Tables.ConsistentIndex, m.DB.Revision()
	}
	ai, ar := at(a)
	bi, br := at(b)
	return cmp.Or(cmp.Compare(a.Evidence().Standing(), b.Evidence().Standing()), cmp.Compare(bi, ai), cmp.Compare(b.Log.Last(), a.Log.Last()), cmp.Compare(br, ar), cmp.Compare(a.Label, b.Label))
}
