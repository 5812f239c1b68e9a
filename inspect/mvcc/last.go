package mvcc

import (
	"bytes"
	"hash/maphash"
	"iter"
)

// Last remembers one row for each key: of a table read in order, the last one. It costs 16 to 32 bytes a key, where a map
// of strings costs a hundred, and looks at a row again only if the hashes are the same: rows lie all over the file.
type Last struct {
	t     *Table
	seed  maphash.Seed
	slots []slot // a power of two of them
	n     int
}

// slot has a row's index and 1, 0 for none.
type slot struct{ hash, row uint32 }

// NewLast returns an empty Last over the rows of t.
func (t *Table) NewLast() *Last {
	return &Last{t: t, seed: maphash.MakeSeed(), slots: make([]slot, 64)}
}

// Put notes row i under its key. It returns the index of the row that was noted before, -1 if there was none.
func (l *Last) Put(i int) (previous int) {
	if 2*l.n >= len(l.slots) {
		l.grow()
	}
	key := l.t.rows[i].Key()
	hash := uint32(maphash.Bytes(l.seed, key))
	mask := uint32(len(l.slots) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		switch s := &l.slots[at]; {
		case s.row == 0:
			l.n++
			*s = slot{hash, uint32(i + 1)}
			return -1
		case s.hash == hash && bytes.Equal(l.t.rows[s.row-1].Key(), key):
			previous, s.row = int(s.row-1), uint32(i+1)
			return previous
		}
	}
}

func (l *Last) grow() {
	old := l.slots
	l.slots = make([]slot, 4*len(old))
	mask := uint32(len(l.slots) - 1)
	for _, s := range old {
		at := s.hash & mask
		for s.row != 0 && l.slots[at].row != 0 {
			at = (at + 1) & mask
		}
		if s.row != 0 {
			l.slots[at] = s
		}
	}
}

// Len is the number of keys.
func (l *Last) Len() int { return l.n }

// Rows yields the index of each key's row, in no order.
func (l *Last) Rows() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, s := range l.slots {
			if s.row != 0 && !yield(int(s.row-1)) {
				return
			}
		}
	}
}
