package inspect

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"etcd-autopsy/inspect/mvcc"
)

// TestKnown asks which rows of a damaged db are evidence: those on one page, which nothing else uses, that say of themselves what their place says.
func TestKnown(t *testing.T) {
	t.Parallel()
	now := witnessed(t, 1, rowsTo{last: 900})[0]
	sound := witness(t, now, Options{})
	row := func(rev int64) mvcc.Row { return sound.DB.Rows.Group(rev)[0] }
	page := func(b []byte, id uint64) []byte { return b[id*witnessPage:][:witnessPage] }
	lose := func(b []byte) { clear(page(b, row(800).Page)) }
	of := row(300).Page
	for _, c := range []struct {
		name  string
		do    func(b []byte)
		known bool // the row of revision 300
	}{
		{"another page is lost", lose, true},
		{"it says that it is of another revision", func(b []byte) {
			lose(b)
			var kv mvcc.KeyValue
			v := row(300).Value
			if kv.Decode(v) != nil {
				t.Fatal("it has no value")
			}
			at := bytes.Index(b, v)
			kv.Mod, kv.Create = 301, 301
			copy(b[at:], kv.Encode())
		}, false},
		{"its page goes on in the next one", func(b []byte) { lose(b); binary.LittleEndian.PutUint32(page(b, of)[12:], 1) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := slices.Clone(now)
			c.do(b)
			m := witness(t, b, Options{})
			if m.Evidence().Whole() {
				t.Fatal("it is whole")
			}
			for _, r := range m.DB.Rows.Group(300) {
				if got := m.Evidence().Known(&r); got != c.known {
					t.Errorf("known %v, want %v: %v", got, c.known, m.Findings)
				}
			}
		})
	}
}
