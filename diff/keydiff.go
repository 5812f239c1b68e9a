package diff

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
)

// KeyDiff is a live key on which members disagree.
type KeyDiff struct {
	Key        Key
	Difference string // "missing", "value" or "lease"
	ByMember   map[string]KeyState
}

// MarshalJSON writes the key as text if it is.
func (d KeyDiff) MarshalJSON() ([]byte, error) { return json.Marshal(d.Fields()) }

// KeyDiffFields is a KeyDiff as JSON has it. Encoded as a part of something else it costs half of what a KeyDiff does, whose text is looked
// through once more.
type KeyDiffFields struct {
	Key        string              `json:"key,omitempty"`
	B64        string              `json:"key_base64,omitempty"`
	Difference string              `json:"difference"`
	ByMember   map[string]KeyState `json:"by_member"`
}

// Fields returns the key as text if it is, and else in base64.
func (d KeyDiff) Fields() *KeyDiffFields {
	text, b64 := d.Key.named()
	return &KeyDiffFields{text, b64, d.Difference, d.ByMember}
}

// KeyState is a key on one member, its value as size and hash only.
type KeyState struct {
	Present        bool   `json:"present"`
	ModRevision    int64  `json:"mod_revision"`
	CreateRevision int64  `json:"create_revision"`
	Version        int64  `json:"version"`
	Lease          ID     `json:"lease"`
	ValueSize      int    `json:"value_size"`
	ValueSHA256    string `json:"value_sha256"`
}

// KeyDiffs are live keys on which members disagree, in order of the keys. There can be millions, of which few are looked
// at: each is made when it is asked for, from the members' files, which must not be closed before.
type KeyDiffs struct {
	n  int
	at func(i int, brief bool) KeyDiff
}

// NewKeyDiffs holds what it is given.
func NewKeyDiffs(ds ...KeyDiff) KeyDiffs {
	return KeyDiffs{len(ds), func(i int, _ bool) KeyDiff { return ds[i] }}
}

// Held returns the same, made now: it outlives the files.
func (k KeyDiffs) Held() KeyDiffs { return NewKeyDiffs(slices.Collect(k.All())...) }

// Len is how many there are.
func (k KeyDiffs) Len() int { return k.n }

// At returns one of them.
func (k KeyDiffs) At(i int) KeyDiff { return k.at(i, false) }

// All yields each.
func (k KeyDiffs) All() iter.Seq[KeyDiff] { return k.each(false) }

// Brief yields each without the hashes of its values, which cost most.
func (k KeyDiffs) Brief() iter.Seq[KeyDiff] { return k.each(true) }

func (k KeyDiffs) each(brief bool) iter.Seq[KeyDiff] {
	return func(yield func(KeyDiff) bool) {
		for i := range k.n {
			if !yield(k.at(i, brief)) {
				return
			}
		}
	}
}

// First returns the first n.
func (k KeyDiffs) First(n int) KeyDiffs { return KeyDiffs{min(n, k.n), k.at} }

// Map returns them as f makes each.
func (k KeyDiffs) Map(f func(KeyDiff) KeyDiff) KeyDiffs {
	return KeyDiffs{k.n, func(i int, brief bool) KeyDiff { return f(k.at(i, brief)) }}
}

// MarshalJSON writes a list.
func (k KeyDiffs) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range k.n {
		d, err := json.Marshal(k.At(i))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(d)
	}
	b.WriteByte(']')
	return b.Bytes(), nil
}
