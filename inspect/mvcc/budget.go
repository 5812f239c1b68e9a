package mvcc

import (
	"errors"
	"sync/atomic"
)

// ErrOverBudget is what a search panics with that has taken all its steps: it may be deep in it, and has nothing to answer.
var ErrOverBudget = errors.New("the search has taken all its steps")

// Budget bounds a search by steps, such as rows looked at, and not by time: the outcome is the same on every machine. Several
// goroutines may spend it. A nil budget has no bound.
type Budget struct {
	limit int64
	spent atomic.Int64
}

// NewBudget is a budget of so many steps.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// spend takes n steps. It panics with ErrOverBudget if they are not left.
func (b *Budget) spend(n int) {
	if b != nil && b.spent.Add(int64(n)) > b.limit {
		panic(ErrOverBudget)
	}
}

// Metered makes what is looked up in an index, and in those made from it, count as steps of a search.
func (ix *Index) Metered(b *Budget) *Index {
	ix.budget = b
	return ix
}

// Spend takes steps of the search that the index serves.
func (ix *Index) Spend(n int) { ix.budget.spend(n) }
