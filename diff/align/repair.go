package align

import (
	"bytes"
	"slices"

	"etcd-autopsy/inspect/mvcc"
)

// reading is an alignment on rows as they must have been.
type reading struct {
	in Input
	a  *Alignment
}

func equalRows(a, b []mvcc.Row) bool {
	return slices.EqualFunc(a, b, func(r, o mvcc.Row) bool {
		return r.Rev == o.Rev && r.Tombstone == o.Tombstone && bytes.Equal(r.Value, o.Value)
	})
}

// repairs are the rows that changed or lost ones should be: all of them, or the first one of each key, which may have made
// those behind it look wrong.
func repairs(a *Alignment, firsts bool) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	wrong := map[string]bool{} // keys of which a row was wrong already
	for i := range a.Steps {
		s := &a.Steps[i]
		if s.Revision == 0 || s.Outcome != Altered && s.Outcome != Lost && s.Outcome != Partial {
			continue
		}
		// Versions that are wrong behind another wrong row of their key count on from what that one was.
		if (firsts || s.HistoryOnly) && slices.ContainsFunc(s.Predicted, func(c Change) bool { return wrong[c.Key] }) {
			continue
		}
		for _, c := range s.Predicted {
			wrong[c.Key] = true
		}
		s.fill(groups, s.Revision)
	}
	return groups
}

// refills are the rows that lost ones should be if an entry before, which seems to have had no effect, made them: what
// it wrote may have kept the later one from writing anything.
func refills(a *Alignment) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	var refused *Step
	for i := range a.Steps {
		s := &a.Steps[i]
		switch {
		case s.Outcome == Refused:
			if refused == nil {
				refused = s
			}
		case s.Outcome == Lost && refused != nil:
			refused.fill(groups, s.Revision)
		}
		if s.Revision > 0 {
			refused = nil
		}
	}
	return groups
}

// replaced are the rows that those without an entry should be if they are what became of the next entry's: what came
// behind may have written its content once more.
func (in *Input) replaced(a *Alignment) map[int64][]mvcc.Row {
	groups := map[int64][]mvcc.Row{}
	for i := range a.Steps[:max(len(a.Steps)-1, 0)] {
		s, next := &a.Steps[i], &a.Steps[i+1]
		if s.Outcome != Extra || next.Outcome != Applied || next.Again {
			continue
		}
		k, ok := in.Log.find(next.Index)
		if !ok {
			continue
		}
		p := Step{Predicted: in.Predict(&in.Log.entries[k], s.Revision-1)}
		if rows := in.Table.Group(s.Revision); len(p.Predicted) == len(rows) && p.Predicted[0].Key == string(rows[0].Key()) {
			p.fill(groups, s.Revision)
		}
	}
	return groups
}

// fill adds what was predicted as the rows of a revision.
func (s *Step) fill(groups map[int64][]mvcc.Row, revision int64) {
	groups[revision] = append(groups[revision], s.Rows(revision)...)
}

// Rows are what was predicted as the rows of a revision.
func (s *Step) Rows(revision int64) (rows []mvcc.Row) {
	for sub, c := range s.Predicted {
		kv := mvcc.KeyValue{Key: []byte(c.Key)}
		if !c.Delete {
			kv = mvcc.KeyValue{Key: kv.Key, Value: c.Value, Create: c.Create, Mod: revision, Version: c.Version, Lease: c.Lease}
		}
		rows = append(rows, mvcc.Row{
			Rev: mvcc.Revision{Main: revision, Sub: int64(sub)}, Tombstone: c.Delete, Value: kv.Encode(),
		})
	}
	return rows
}
