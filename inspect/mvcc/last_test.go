package mvcc

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestLast(t *testing.T) {
	t.Parallel()
	var rows []Row
	for i := range 5000 {
		v := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), fmt.Append(nil, i*i%997))
		rows = append(rows, Row{Rev: Revision{Main: int64(i + 2)}, Value: v})
	}
	table := NewTable(rows, nil)
	l, want := table.NewLast(), map[string]int{}
	for i := range rows {
		k := string(rows[i].Key())
		previous, ok := want[k]
		if !ok {
			previous = -1
		}
		if got := l.Put(i); got != previous {
			t.Fatalf("row %d: previous %d, want %d", i, got, previous)
		}
		want[k] = i
	}
	if l.Len() != len(want) || len(want) < 400 {
		t.Errorf("%d keys, want %d", l.Len(), len(want))
	}
	for i := range l.Rows() {
		k := string(rows[i].Key())
		if want[k] != i {
			t.Errorf("%s: row %d, want %d", k, i, want[k])
		}
		delete(want, k)
	}
	if len(want) > 0 {
		t.Errorf("%d keys are missing", len(want))
	}
}
