package scratch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapTemporary maps a new file that has no name and takes its space now: a write to a mapping for which there is no space would end the
// process.
func mapTemporary(dir string, size int) ([]byte, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	data, err := []byte(nil), unix.Fallocate(fd, 0, 0, int64(size))
	if err == nil {
		data, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	return data, errors.Join(err, unix.Close(fd))
}

func unmap(data []byte) { _ = unix.Munmap(data) }
