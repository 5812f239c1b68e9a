package diff

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"etcd-autopsy/diff/align"
	"etcd-autopsy/diff/relive"
)

// settle makes the intervals of causes those of all that may have befallen their members, where these show that.
func (c *comparison) settle() {
	for _, k := range c.causes {
		if k.of == nil && k.index == 0 && k.between != nil {
			c.settleUnmade(k)
		}
		if k.of == nil && k.index > 0 && k.layer != LayerLog && k.layer != LayerStorage {
			c.settleOne(k)
		}
	}
	c.sortCauses()
}

// settleUnmade makes of rows that differ a revision that no entry made, where that is all that may have befallen one side.
func (c *comparison) settleUnmade(k *cause) {
	odd := slices.Sorted(maps.Keys(c.slots[k]))
	if !slices.ContainsFunc(k.groups, func(g []int) bool { return len(odd) > 0 && slices.Equal(g, odd) }) {
		return
	}
	for i, n := range c.slots[k] {
		for f := range c.relive(i).may(n) {
			if f.Kind != relive.Extra {
				return
			}
		}
	}
	k.layer, k.outcome, k.odd, k.between, k.interval, k.what = LayerStorage, align.Extra, odd, nil, nil, unmade
}

func (c *comparison) settleOne(k *cause) {
	may := map[relive.Fault]uint64{} // the entry that each is known by
	for _, i := range slices.Sorted(maps.Keys(c.slots[k])) {
		maps.Copy(may, c.relive(i).may(c.slots[k][i]))
	}
	maps.DeleteFunc(may, func(f relive.Fault, _ uint64) bool { return !c.explainAll(c.slots[k], f) })
	if len(may) == 0 {
		return
	}
	first, last := uint64(math.MaxUint64), uint64(0)
	for _, x := range may {
		first, last = min(first, x), max(last, x)
	}
	if at := k.at(); at.Last < first || last < at.First {
		return
	}
	if k.index < first || k.index > last {
		if k.again && first < k.index {
			c.beginBefore(k, first)
		} else {
			c.moveTo(k, first)
			k.entries = nil
		}
	}
	for _, x := range may {
		if k.layer != LayerStorage && c.layerOf(slices.Min(slices.Collect(maps.Keys(c.slots[k]))), x) == LayerApply {
			k.layer = LayerApply
		}
	}
	if k.interval = nil; first < last {
		k.interval, k.entries = &Interval{First: first, Last: last}, nil
	} else if k.revision == 0 {
		c.renumber(k) // an entry that changes a table and keys
	}
	if text := either(may); text != "" {
		k.what = fmt.Sprintf("one of several things befell %s, and nothing tells which: %s", strings.Join(c.labels(c.befallen(k)), ", "), text)
	}
}

// either says what may have happened if that is of several kinds, it is empty otherwise.
func either(may map[relive.Fault]uint64) string {
	var texts []string
	faults := slices.SortedFunc(maps.Keys(may), func(f, g relive.Fault) int {
		return cmp.Or(cmp.Compare(f.Kind, g.Kind), cmp.Compare(may[f], may[g]), cmp.Compare(f.Last, g.Last), cmp.Compare(f.First, g.First), cmp.Compare(f.User, g.User))
	})
	for len(faults) > 0 {
		f := faults[0]
		n := slices.IndexFunc(faults, func(g relive.Fault) bool { return g.Kind != f.Kind })
		if n < 0 {
			n = len(faults)
		}
		text := f.Says()
		if n > 1 {
			text += fmt.Sprintf(" (or likewise %d more)", n-1)
		}
		texts, faults = append(texts, text), faults[n:]
	}
	if len(texts) < 2 {
		return ""
	}
	return strings.Join(texts, "; ")
}
