package scratch

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestTable(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []int{0, 1, minFile/4 - 1, minFile / 4, minFile} {
		a := New[int32](dir, n)
		if len(a.Cells) != n {
			t.Fatalf("%d cells, not %d", len(a.Cells), n)
		}
		for i := range a.Cells {
			if a.Cells[i] != 0 {
				t.Fatalf("cell %d of %d is %d at first", i, n, a.Cells[i])
			}
			a.Cells[i] = int32(i) ^ 0x55
		}
		for i := range a.Cells {
			if a.Cells[i] != int32(i)^0x55 {
				t.Fatalf("cell %d of %d is %d", i, n, a.Cells[i])
			}
		}
		runtime.KeepAlive(a)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}

// TestNoFile makes tables where no file can be made.
func TestNoFile(t *testing.T) {
	a := New[uint64](filepath.Join(t.TempDir(), "not-there"), minFile)
	if a.Cells[minFile-1] = 7; a.Cells[minFile-1] != 7 || a.Cells[0] != 0 {
		t.Error("the table does not hold what it is given")
	}
}
