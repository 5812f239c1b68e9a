package evidence

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes may still be written to the file system of f.
func freeSpace(f *os.File) (int64, bool) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}
