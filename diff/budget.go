package diff

import (
	"fmt"

	"etcd-autopsy/inspect"
	"etcd-autopsy/inspect/mvcc"
)

// The steps that a comparison may take: some for any members, and some for each row and entry. Sound members of any size take less
// than a hundred for each; what takes more by far is a db beside the log of another member, and damage that leaves little of both.
const (
	baseSteps = 4_000_000
	eachSteps = 600
)

func budgetOf(ms []*inspect.Member) *mvcc.Budget {
	n := 0
	for _, m := range ms {
		n += len(m.Log.Entries)
		if m.DB != nil {
			n += m.DB.Rows.Len()
		}
	}
	return mvcc.NewBudget(baseSteps + eachSteps*int64(n))
}

// limit says that the search was cut short.
func (c *comparison) limit() string {
	return fmt.Sprintf("which entry made which revision was not searched further than %d steps: the rows do not fit the log, or too much of them is damaged", c.budget.Limit())
}

// cutShort leaves no verdict where the search ended before all was searched: what was found until then depends on what was
// looked for first.
func (c *comparison) cutShort() {
	if !c.cut {
		return
	}
	d := c.doc
	*d = Document{
		SchemaVersion: d.SchemaVersion, Verdict: Indeterminate, Reasons: []string{c.limit()}, Members: d.Members,
		Search: Search{Bounded: true, Limits: []string{c.limit()}},
	}
	c.causes = nil
}
