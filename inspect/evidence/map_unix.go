//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package evidence

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapRange maps privately: even a write through a stray pointer could not reach the file.
func mapRange(f *os.File, at int64, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), at, size, unix.PROT_READ, unix.MAP_PRIVATE)
}

func unmap(data []byte) error { return unix.Munmap(data) }

func advise(data []byte, sequential bool) {
	advice := unix.MADV_RANDOM
	if sequential {
		advice = unix.MADV_SEQUENTIAL
	}
	_ = unix.Madvise(data, advice)
}

// forget drops the page tables; the contents stay in the page cache.
func forget(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }
