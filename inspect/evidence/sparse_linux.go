package evidence

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// extents calls each with the stretches that hold data of the size bytes of f at base, as far as the file system tells holes
// apart, until each returns false. It is false where that cannot be had.
func extents(f *os.File, base, size int64, each func(from, to int64) bool) bool {
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), base+at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && from >= base+size {
			return true // nothing but a hole is left
		}
		if err != nil || from < base+at {
			return false
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil || to <= from {
			return false
		}
		if !each(from-base, min(to-base, size)) {
			return true
		}
		at = to - base
	}
	return true
}
