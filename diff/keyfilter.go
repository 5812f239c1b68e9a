package diff

import (
	"slices"
	"strings"
)

// KeyFilter chooses which of the keys that differ are listed. It changes nothing else: the verdict, the counts, the causes and what to do
// are about all keys.
type KeyFilter struct {
	Prefix *Key  // only keys that begin with this
	Ignore []Key // none that begin with one of these
}

// LeftOut says which keys that differ are not listed because that was asked for.
type LeftOut struct {
	Keys    int            `json:"keys"`
	Outside int            `json:"outside"` // of the prefix that was asked for
	Ignored []LeftOutBelow `json:"ignored"`
}

// LeftOutBelow counts the keys that begin with a prefix.
type LeftOutBelow struct {
	Prefix Named `json:"prefix"`
	Keys   int   `json:"keys"`
}

// Filtered is the document with those keys listed that a filter lets through. The document itself stays as it is.
func (d *Document) Filtered(f KeyFilter) *Document {
	if f.Prefix == nil && len(f.Ignore) == 0 {
		return d
	}
	out := *d
	left := &LeftOut{Ignored: []LeftOutBelow{}}
	for _, p := range f.Ignore {
		left.Ignored = append(left.Ignored, LeftOutBelow{Prefix: NameOf(string(p))})
	}
	var kept []int
	i := -1
	for k := range d.Keys.Brief() {
		i++
		below := slices.IndexFunc(f.Ignore, func(p Key) bool { return strings.HasPrefix(string(k.Key), string(p)) })
		switch {
		case f.Prefix != nil && !strings.HasPrefix(string(k.Key), string(*f.Prefix)):
			left.Outside++
		case below >= 0:
			left.Ignored[below].Keys++
		default:
			kept = append(kept, i)
		}
	}
	all := d.Keys
	left.Keys = all.n - len(kept)
	out.Keys = KeyDiffs{len(kept), func(i int, brief bool) KeyDiff { return all.at(kept[i], brief) }}
	out.LeftOut = left
	return &out
}
