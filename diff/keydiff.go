package diff

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
)

// KeyDiff is a live key on which members disagree.
type KeyDiff struct {
	Key        Key
	Difference string // "missing", "value" or "lease"
	ByMember   map[string]KeyState
}

// MarshalJSON writes the key as text if it is, as key, else as key_base64; difference, and by_member, in order of the labels. There can be millions:
// encoding/json takes several times as long.
func (d KeyDiff) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 128+256*len(d.ByMember))
	b = append(b, '{')
	text, b64 := d.Key.named()
	if text != "" {
		b = append(appendJSON(append(b, `"key":`...), text), ',')
	}
	if b64 != "" {
		b = append(appendJSON(append(b, `"key_base64":`...), b64), ',')
	}
	b = append(appendJSON(append(b, `"difference":`...), d.Difference), `,"by_member":`...)
	if d.ByMember == nil {
		return append(b, "null}"...), nil
	}
	b = append(b, '{')
	for n, label := range slices.Sorted(maps.Keys(d.ByMember)) {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, label), ':')
		b = d.ByMember[label].appendJSON(b)
	}
	return append(b, "}}"...), nil
}

func (s KeyState) appendJSON(b []byte) []byte {
	b = strconv.AppendBool(append(b, `{"present":`...), s.Present)
	b = strconv.AppendInt(append(b, `,"mod_revision":`...), s.ModRevision, 10)
	b = strconv.AppendInt(append(b, `,"create_revision":`...), s.CreateRevision, 10)
	b = strconv.AppendInt(append(b, `,"version":`...), s.Version, 10)
	b = appendJSON(append(b, `,"lease":`...), s.Lease.String())
	b = strconv.AppendInt(append(b, `,"value_size":`...), int64(s.ValueSize), 10)
	return append(appendJSON(append(b, `,"value_sha256":`...), s.ValueSHA256), '}')
}

// appendJSON appends a string as json.Marshal writes it.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // of a string, which has no error
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
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
