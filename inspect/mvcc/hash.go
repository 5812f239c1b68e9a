package mvcc

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV is the hash of the keyspace up to revision rev as a server with compact revision compact answers it
// (server/storage/mvcc/hash.go, unchanged in effect since HashKV came with 3.3): CRC32C over the bucket's name and the
// raw rows. Rows at or below the compact revision count only where they are the newest of their key up to rev and not
// a tombstone, so that the hash does not depend on how far a compaction has come. compact is 0 if there was none.
func (t *Table) HashKV(rev, compact int64) uint32 {
	end := t.Lower(rev + 1)
	split := t.Lower(compact + 1)
	split = min(split, end)

	var superseded []bool
	var live int
	if split > 0 {
		superseded, live = t.superseded(split, end)
	}
	h := crc32.Update(0, castagnoli, []byte("key"))
	var key [TombstoneLen]byte
	for i := range t.rows[:end] {
		r := &t.rows[i]
		if i < split {
			// A server whose index keeps nothing skips nothing.
			if live > 0 && (superseded[i] || r.Tombstone) {
				continue
			}
			if r.Tombstone && r.Rev.Main == compact {
				continue
			}
		}
		k := r.Rev.AppendKey(key[:0])
		if r.Tombstone {
			k = append(k, tombstoneMark)
		}
		h = crc32.Update(h, castagnoli, k)
		h = crc32.Update(h, castagnoli, r.Value)
	}
	return h
}

// superseded tells for each of the first split rows whether a later one below end has the same key, and counts the
// keys that are alive after row end-1.
func (t *Table) superseded(split, end int) (over []bool, live int) {
	over = make([]bool, split)
	last := t.NewLast()
	for i := range end {
		previous := last.Put(i)
		if previous >= 0 && previous < split {
			over[previous] = true
		}
		if previous >= 0 && !t.rows[previous].Tombstone {
			live--
		}
		if !t.rows[i].Tombstone {
			live++
		}
	}
	return over, live
}
