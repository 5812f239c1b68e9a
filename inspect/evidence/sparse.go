package evidence

import (
	"os"

	"etcd-autopsy/inspect/finding"
)

// Holes of a file, which were never written and read as zeros, cost as much to look through as data. etcd leaves some: the
// rest of a segment of 64 MiB, what a db has grown by. A file is read up to the hole with which holes come to more than
// maxHoles bytes and to holesPerData times the data before.
const (
	maxHoles     = 1 << 30
	holesPerData = 4
	holeRead     = 1 << 20 // how much of that hole is read: a log ends in zeros
	maxExtents   = 100_000 // how many stretches of data are counted
)

// sparse is what of a file is not read.
type sparse struct {
	size int64 // of the file
	data int64 // what was written behind
}

// readable tells how much is read of the file that is the size bytes of f at base, and what of it is not, if anything.
func readable(f *os.File, base, size int64) (int64, *sparse) {
	if size <= maxHoles {
		return size, nil
	}
	var end, data, holes, rest int64
	cut, n := false, 0
	known := extents(f, base, size, func(from, to int64) bool {
		n++
		if holes += from - end; !cut && holes > maxHoles && holes > holesPerData*data {
			cut = true
		}
		if cut {
			rest += to - from
			return n < maxExtents
		}
		end, data = to, data+to-from
		return true
	})
	if holes += size - end; known && !cut && n < maxExtents && holes > maxHoles && holes > holesPerData*data {
		cut = true
	}
	if !known || !cut {
		return size, nil
	}
	return min(size, end+holeRead), &sparse{size, rest}
}

// finding says what was not read of f.
func (s *sparse) finding(f *File) finding.Finding {
	x := finding.New("file-sparse", finding.Info, f.Name, "the file has %d bytes, but holds nothing behind the first %d, only a hole that was never written", s.size, f.Size).At(f.Size)
	if s.data > 0 {
		x = finding.New("file-sparse", finding.Error, f.Name, "the file has %d bytes, of which the first %d were read: a hole follows, and behind it at least %d bytes that were written", s.size, f.Size, s.data).At(f.Size).Lost()
	}
	return x
}
