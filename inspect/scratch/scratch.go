// Package scratch holds large tables of numbers outside of the memory of the process: in temporary files without a name, of which the
// system keeps in memory what it has room for. A db of 8 GiB may have a hundred million rows, and the machine that it is looked at on 2 GiB.
package scratch

import (
	"runtime"
	"unsafe"
)

// Number is what tables hold.
type Number interface {
	~uint8 | ~int32 | ~int64 | ~uint64
}

// minFile is how many bytes a table has at least that is worth a file.
const minFile = 16 << 20

// Table holds numbers, all zero at first. It is released once nobody refers to it any more: Cells must not be used longer than
// the table itself.
type Table[T Number] struct {
	Cells []T
}

// New returns a table of n cells, which lies below dir, or in the system's folder for temporary files if dir is empty. Where no file can be
// had it lies in memory.
func New[T Number](dir string, n int) *Table[T] {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if size < minFile {
		return &Table[T]{make([]T, n)}
	}
	data, err := mapTemporary(dir, size)
	if err != nil {
		return &Table[T]{make([]T, n)}
	}
	t := &Table[T]{unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), n)}
	runtime.AddCleanup(t, unmap, data)
	return t
}
