package diff

import (
	"fmt"
	"os"

	"etcd-autopsy/diff/align"
)

func (c *comparison) debugTraces() {
	if os.Getenv("DBGT") == "" {
		return
	}
	for i, t := range c.traces {
		fmt.Printf("== %s first %d cost %d total %d through %d shared %d\n", c.ms[i].Label, t.first(), t.Cost, t.total(), t.Through, t.shared)
		t.steps(func(s *align.Step) {
			if s.Revision > 0 || s.Anomalous() {
				fmt.Printf("   %v rev %d doubt %v %s pred %d\n", s, s.Revision, s.Doubtful, s.Detail, len(s.Predicted))
			}
		})
	}
}
