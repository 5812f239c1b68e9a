package diff

import "etcd-autopsy/diff/effect"

// Curve is a member's main revision over the log index, as far as it is known what its entries did.
type Curve struct {
	Member string
	Points []Position // ascending
}

// maxPoints bounds a curve: more cannot be told apart in a picture.
const maxPoints = 400

// around is how many entries on either side of the first divergence are all in the curves.
const around = 64

// curves thins out what every entry did. Where a member departs from what etcd's rules predict, and around the first
// divergence, nothing is left out.
func (c *comparison) curves() {
	from, to := c.doc.nearFirst()
	every := uint64(1) // the same for all members, so that their curves can be compared point by point
	for i := range c.ms {
		n := uint64(0)
		c.traces[i].steps(func(*effect.Step) { n++ })
		every = max(every, n/maxPoints)
	}
	for i, m := range c.ms {
		x := Curve{Member: m.Label}
		rev := c.traces[i].revisionBefore
		if first := c.traces[i].first; first > 0 {
			x.Points = append(x.Points, Position{first - 1, rev})
		}
		at := uint64(0)
		c.traces[i].steps(func(s *effect.Step) {
			at, rev = max(at, s.Index), max(rev, s.Revision)
			near := from <= at && at < to
			if at%every == 0 || near || s.Anomalous() && len(x.Points) < 4*maxPoints {
				x.Points = append(x.Points, Position{at, rev})
			}
		})
		if n := len(x.Points); n > 0 && at > x.Points[n-1].Index {
			x.Points = append(x.Points, Position{at, rev})
		}
		c.doc.Curves = append(c.doc.Curves, x)
	}
}

// nearFirst returns the indexes from and up to, not including, which lie near the first divergence.
func (d *Document) nearFirst() (from, to uint64) {
	if len(d.Divergences) == 0 {
		return 0, 0
	}
	var at uint64
	switch v := &d.Divergences[0]; {
	case v.Entry != nil:
		at = v.Entry.Index
	case v.EntryInterval != nil:
		at = v.EntryInterval.First
	default:
		return 0, 0
	}
	return at - min(at, around), at + around
}
