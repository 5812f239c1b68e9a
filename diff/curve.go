package diff

import "etcd-autopsy/diff/align"

// Curve is a member's main revision over the log index, as far as its entries could be aligned.
type Curve struct {
	Member string
	Points []Position // ascending
}

// maxPoints bounds a curve: more cannot be told apart in a picture.
const maxPoints = 400

// curves thins out what every entry did. Where a member departs from what etcd's rules predict, nothing is left out.
func (c *comparison) curves() {
	for i, m := range c.ms {
		x := Curve{Member: m.Label}
		n := 0
		c.traces[i].steps(func(*align.Step) { n++ })
		every := max(1, n/maxPoints)
		rev := c.traces[i].startRevision()
		if first := c.traces[i].first(); first > 0 {
			x.Points = append(x.Points, Position{first - 1, rev})
		}
		at, k := uint64(0), 0
		c.traces[i].steps(func(s *align.Step) {
			k++
			at, rev = max(at, s.Index), max(rev, s.Revision)
			if k%every == 0 || k == n || s.Anomalous() && len(x.Points) < 4*maxPoints {
				x.Points = append(x.Points, Position{at, rev})
			}
		})
		c.doc.Curves = append(c.doc.Curves, x)
	}
}
