package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// generic names folders and files that are called the same in every deployment. They label a member only if nothing else
// does.
var generic = []string{"member", "snap", "wal", "db", "default.etcd", "data", "etcd", "var", "lib"}

// suffixes of files that do not belong to a label.
var suffixes = []string{".tar", ".tgz", ".tzst", ".txz", ".tbz2", ".zip", ".gz", ".zst", ".xz", ".bz2", ".zlib", ".Z", ".final", ".db"}

// stem is a file name without the suffixes of archives and databases: "a" of "a.tar.gz".
func stem(name string) string {
	for {
		short := name
		for _, s := range suffixes {
			short = strings.TrimSuffix(short, s)
		}
		if short == "" || short == name {
			return name
		}
		name = short
	}
}

// splitElems splits a slash path into elements that are fit for a label.
func splitElems(path string) []string {
	clean := func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return '_'
		}
		return r
	}
	return strings.FieldsFunc(strings.Map(clean, path), func(r rune) bool { return r == '/' })
}

// tag is a label in the making.
type tag struct {
	*Member
	at int // the leftmost path element that is in the label
}

// labelMembers labels those members that have no label yet, each by the last element of its path that tells the members
// apart. Where two still agree, an element that tells these two apart goes before it; a number comes last. Only sets of
// paths are compared, so that the order of members does not matter.
func labelMembers(members []*Member) {
	taken := map[string]bool{}
	var tags []*tag
	for _, m := range members {
		if m.Label != "" {
			taken[m.Label] = true
		} else {
			tags = append(tags, &tag{Member: m, at: len(m.elems)})
		}
	}
	for _, t := range tags {
		t.at = choose(t, tags)
		if t.Label = "member"; t.at >= 0 {
			t.Label = t.elems[t.at]
		}
	}
	for again := true; again; {
		again = false
		for _, group := range clashes(tags, taken) {
			if len(group) > 1 && sameElems(group) {
				continue
			}
			at := make([]int, len(group)) // chosen before any changes, or the group would no longer be compared as one
			for i, t := range group {
				at[i] = choose(t, group)
			}
			for i, t := range group {
				if at[i] >= 0 {
					t.at, t.Label, again = at[i], t.elems[at[i]]+"/"+t.Label, true
				}
			}
		}
	}
	for _, group := range clashes(tags, taken) {
		slices.SortStableFunc(group, func(a, b *tag) int {
			return cmp.Or(slices.Compare(a.elems, b.elems), cmp.Compare(a.Origin, b.Origin))
		})
		base := group[0].Label
		for i, t := range group {
			for n := i + 1; taken[t.Label]; n++ {
				t.Label = fmt.Sprintf("%s#%d", base, max(n, 2))
			}
			taken[t.Label] = true
		}
	}
}

// choose returns the element of t's path, left of those in the label, that labels t best within group: the last that not
// all have, rather not a generic one; else the last that is not generic; else the last; -1 if none is left.
func choose(t *tag, group []*tag) int {
	best, rank := t.at-1, 0
	for i := t.at - 1; i >= 0; i-- {
		r := 0
		if !slices.Contains(generic, t.elems[i]) {
			r++
		}
		if slices.ContainsFunc(group, func(o *tag) bool { return !slices.Contains(o.elems, t.elems[i]) }) {
			r += 2
		}
		if r > rank {
			best, rank = i, r
		}
	}
	return best
}

// clashes returns the groups of tags with the same label, and single ones whose label is taken, sorted by label.
func clashes(tags []*tag, taken map[string]bool) [][]*tag {
	groups := map[string][]*tag{}
	var labels []string
	for _, t := range tags {
		if len(groups[t.Label]) == 0 {
			labels = append(labels, t.Label)
		}
		groups[t.Label] = append(groups[t.Label], t)
	}
	slices.Sort(labels)
	var out [][]*tag
	for _, l := range labels {
		if g := groups[l]; len(g) > 1 || taken[l] {
			out = append(out, g)
		}
	}
	return out
}

func sameElems(group []*tag) bool {
	return !slices.ContainsFunc(group, func(t *tag) bool { return !slices.Equal(t.elems, group[0].elems) })
}
