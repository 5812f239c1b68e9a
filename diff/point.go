package diff

import (
	"fmt"
	"slices"
	"time"

	"etcd-autopsy/inspect/raftlog"
)

// Point is a place in the log as a person names it: one of an entry, a main revision and a time. All zero is none.
type Point struct {
	Entry    uint64
	Revision int64
	Time     time.Time
}

// Set tells whether a place is named.
func (p *Point) Set() bool { return *p != Point{} }

const pointTime = "2006-01-02 15:04:05 UTC"

// Since is the first entry of what begins at a point. why says in a clause how it was found where that is not plain.
func (l *Ledger) Since(p Point) (first uint64, why string, err error) {
	switch {
	case p.Revision > 0:
		return l.around(p.Revision, func(best, index uint64) bool { return index < best })
	case !p.Time.IsZero():
		for i, c := range l.clocks() {
			if at := c.Since(p.Time); i == 0 || at < first {
				first = at
			}
		}
		if first == 0 {
			return 0, "no entry is known to be from before " + p.Time.UTC().Format(pointTime) + ", as far as request ids tell", nil
		}
		return first, fmt.Sprintf("entries before %d were proposed before %s, as request ids tell", first, p.Time.UTC().Format(pointTime)), nil
	}
	return p.Entry, "", nil
}

// Until is the last entry of what ends at a point, 0 if it has no end.
func (l *Ledger) Until(p Point) (last uint64, why string, err error) {
	switch {
	case p.Revision > 0:
		return l.around(p.Revision, func(best, index uint64) bool { return index > best })
	case !p.Time.IsZero():
		at := p.Time.UTC().Format(pointTime)
		next, ok := uint64(0), true
		for _, c := range l.clocks() {
			at, known := c.Until(p.Time)
			next, ok = max(next, at), ok && known
		}
		switch {
		case !ok:
			return 0, "no entry is known to be from after " + at + ", as far as request ids tell", nil
		case next <= 1:
			return 0, "", fmt.Errorf("every entry was proposed after %s, as request ids tell", at)
		}
		return next - 1, fmt.Sprintf("entries from %d on were proposed after %s, as request ids tell", next, at), nil
	}
	return p.Entry, "", nil
}

// around is the entry that made a revision; of several, which members may tell, the one that is better.
func (l *Ledger) around(revision int64, better func(best, index uint64) bool) (found uint64, why string, err error) {
	for i := range l.Members {
		if index, _, known := l.Making(i, revision); known && index > 0 && (found == 0 || better(found, index)) {
			found = index
		}
	}
	if found == 0 {
		return 0, "", fmt.Errorf("no log that is left tells which entry made revision %d", revision)
	}
	return found, "", nil
}

// clocks read when processes started: one along each member's log, filled up where that ends by those of the others. They differ only
// where logs conflict.
func (l *Ledger) clocks() []raftlog.Clock {
	cs := make([]raftlog.Clock, len(l.Members))
	for line := range l.Lines(0, 0) {
		for v := range line.Variants {
			x := &line.Variants[v]
			r, err := raftlog.Decode(x.Entry)
			if err != nil {
				continue
			}
			for i := range cs {
				if line.of(i) == x {
					cs[i].Note(line.Index, r)
				}
			}
		}
	}
	return cs
}

// of is the entry of a member, or the first one if its log holds none.
func (line *Line) of(member int) *Variant {
	for v := range line.Variants {
		if x := &line.Variants[v]; slices.Contains(x.Members, member) {
			return x
		}
	}
	return &line.Variants[0]
}

// ProposerNamed is how Proposer calls a member that a person names: by its label, its name, or its id. known are the labels and names
// of all if there is none.
func (l *Ledger) ProposerNamed(name string) (label string, known []string) {
	for _, m := range l.Members {
		if m.Label == name {
			return name, nil
		}
		known = append(known, m.Label)
	}
	for i, m := range l.Members {
		if m.DB == nil {
			continue
		}
		for _, x := range m.DB.Tables.Members {
			if x.Name != name && ID(x.ID).String() != name {
				if k := Key(x.Name).String(); x.Name != "" && !slices.Contains(known, k) {
					known = append(known, k)
				}
				continue
			}
			if label := l.Proposer(i, &raftlog.Request{ID: x.ID << 48}); label != "" {
				return label, nil
			}
		}
	}
	for i, m := range l.Members {
		if m.Log.HasMetadata && ID(m.Log.NodeID).String() == name {
			return l.Proposer(i, &raftlog.Request{ID: m.Log.NodeID << 48}), nil
		}
	}
	return "", known
}
