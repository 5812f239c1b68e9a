package diff

import (
	"fmt"
	"strings"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/finding"
)

// BestCopy is the copy to go on with, or to restore from.
type BestCopy struct {
	Member string   `json:"member"`  // empty if none can be recommended
	AsGood []string `json:"as_good"` // copies that would do as well
	Why    string   `json:"why"`
}

// Copy is one that may be restored from. Whole is true if all of it can be read and nothing in it is damaged. Flaws counts
// what else speaks against it: errors about its other files, and that it has no log.
type Copy struct {
	Label    string
	Whole    bool
	Flaws    int
	Index    uint64
	Revision int64
}

// BestOf is the whole copy that has come furthest, where nothing tells copies apart but that.
func BestOf(copies []Copy) *BestCopy {
	b := &BestCopy{AsGood: []string{}, Why: "no copy is whole: copy again"}
	var best *Copy
	for i := range copies {
		c := &copies[i]
		switch {
		case !c.Whole:
		case best == nil || c.Index > best.Index || c.Index == best.Index && c.Flaws < best.Flaws:
			best, b.AsGood = c, []string{}
		case c.Index == best.Index && c.Flaws == best.Flaws:
			b.AsGood = append(b.AsGood, c.Label)
		}
	}
	if best != nil {
		b.Member, b.Why = best.Label, fmt.Sprintf("no whole copy has come further: entry %d, revision %d", best.Index, best.Revision)
	}
	return b
}

// bestCopy is the one of the plan, and where members did not part the best of those that are whole.
func (c *comparison) bestCopy() *BestCopy {
	if c.doc.Plan != nil {
		return &BestCopy{Member: c.doc.Plan.Best, AsGood: []string{}, Why: strings.Join(c.doc.Plan.Why, "; ")}
	}
	if c.doc.Verdict == NotComparable || c.doc.Verdict == Diverged {
		return nil
	}
	var all []Copy
	for i := range c.doc.Members {
		m := &c.doc.Members[i]
		flaws := 0
		for _, f := range c.doc.Findings {
			if f.Member == m.Label && f.Severity == finding.Error {
				flaws++
			}
		}
		if m.Log.LastIndex == 0 {
			flaws++
		}
		all = append(all, Copy{
			Label: m.Label, Whole: m.Evidence == inspect.Whole && m.Complete && m.Readable && m.CopyOf == "",
			Flaws: flaws, Index: m.ConsistentIndex, Revision: m.Revision,
		})
	}
	return BestOf(all)
}
