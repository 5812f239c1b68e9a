package attach

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

// A picture is drawn twice, so that its text can be read on a wide screen and on a telephone alike.
var widths = []struct {
	class string
	width float64 // in CSS pixels
	chars int     // of a label that fits
}{{"wide", 760, 100}, {"narrow", 330, 44}}

const (
	lineColor = 8       // as many colors as the page has, --c0 and following
	maxExact  = 1 << 50 // far above it, axes cannot tell neighbouring numbers apart
	barsShown = 12
	// zoomReach is how many entries either side of the parting the second picture shows.
	zoomReach = 40
)

// picture is a chart with what stands beside it.
type picture struct {
	Title  string
	Alt    string // what the picture shows, for those who do not see it
	Note   string
	Legend []legend
	SVG    []drawing
}

type drawing struct {
	Class string
	SVG   template.HTML
}

// legend names a color, by its number.
type legend struct {
	Color int
	Name  string
}

// pictures draws all for which there is something to draw.
func pictures(r *Report) ([]picture, error) {
	var out []picture
	for _, f := range []func(*Report) (*picture, error){gapPicture, zoomPicture, prefixPicture, compositionPicture} {
		p, err := f(r)
		if err != nil {
			return nil, fmt.Errorf("cannot draw: %w", err)
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

// parting is the index of the entry at which members parted first, 0 if it is not known or cannot be drawn.
func parting(r *Report) uint64 {
	if r.Diff == nil || len(r.Diff.Divergences) == 0 {
		return 0
	}
	switch v := &r.Diff.Divergences[0]; {
	case v.Entry != nil && v.Entry.Index < maxExact:
		return v.Entry.Index
	case v.Entry == nil && v.EntryInterval != nil && v.EntryInterval.First < maxExact:
		return v.EntryInterval.First
	}
	return 0
}

// drawable are the curves whose numbers an axis can show.
func drawable(r *Report) []Curve {
	var out []Curve
	for _, c := range r.Curves {
		x := Curve{Member: c.Member}
		for _, p := range c.Points {
			if p.Index < maxExact && p.Revision >= 0 && p.Revision < maxExact {
				x.Points = append(x.Points, p)
			}
		}
		out = append(out, x)
	}
	return out
}

// gapPicture shows how far each member's revision is behind the highest: what is a hair's breadth in a long log fills it.
func gapPicture(r *Report) (*picture, error) {
	curves := drawable(r)
	at := map[uint64]int{} // how many curves have a point there
	highest := map[uint64]int64{}
	end := uint64(math.MaxUint64) // of the shortest curve
	n := 0
	for i := range curves {
		c := &curves[i]
		if len(c.Points) == 0 {
			continue
		}
		n++
		// Of several points at an index, the last one is what came of the entry.
		c.Points = slices.Clone(c.Points)
		slices.Reverse(c.Points)
		c.Points = slices.CompactFunc(c.Points, func(a, b diff.Position) bool { return a.Index == b.Index })
		slices.Reverse(c.Points)
		for _, p := range c.Points {
			at[p.Index]++
			highest[p.Index] = max(highest[p.Index], p.Revision)
		}
		end = min(end, c.Points[len(c.Points)-1].Index)
	}
	some := false
	for i := range curves {
		c := &curves[i]
		var gaps []diff.Position
		for _, p := range c.Points {
			if at[p.Index] == n && p.Index <= end {
				gap := p.Revision - highest[p.Index]
				some = some || gap < 0
				gaps = append(gaps, diff.Position{Index: p.Index, Revision: gap})
			}
		}
		c.Points = gaps
	}
	if !some {
		return nil, nil
	}
	p := &picture{
		Title: "Revisions behind the highest",
		Alt:   "By how many revisions each member is behind the member with the highest, at the same entry. ",
		Note:  "At the same entry: what a member has not applied yet does not count.",
	}
	return curveChart(p, curves, parting(r), false)
}

// zoomPicture shows the entries around the parting.
func zoomPicture(r *Report) (*picture, error) {
	at := parting(r)
	if at == 0 {
		return nil, nil
	}
	lo, hi := at-min(at, zoomReach), at+zoomReach
	var cut []Curve
	some := false
	for _, c := range drawable(r) {
		x := Curve{Member: c.Member}
		for i, p := range c.Points {
			switch {
			case p.Index < lo && (i+1 == len(c.Points) || c.Points[i+1].Index <= lo):
			case p.Index < lo: // the value at the left edge
				x.Points = append(x.Points, diff.Position{Index: lo, Revision: p.Revision})
			case p.Index <= hi:
				x.Points = append(x.Points, p)
			}
		}
		some = some || len(x.Points) > 1
		cut = append(cut, x)
	}
	if !some {
		return nil, nil
	}
	p := &picture{
		Title: fmt.Sprintf("Revisions around entry %d", at),
		Alt:   fmt.Sprintf("The main revision of each member, from entry %d to entry %d. ", lo, hi),
		Note:  "A step up is an entry that made a revision; where a line stays flat, the entry had no effect there.",
	}
	return curveChart(p, cut, at, true)
}

// curveChart draws curves. Those drawn first are broader, so that none hides another.
func curveChart(p *picture, curves []Curve, at uint64, steps bool) (*picture, error) {
	n := 0
	for _, c := range curves {
		if len(c.Points) > 0 {
			n++
		}
	}
	if n == 0 {
		return nil, nil
	}
	for i, c := range curves {
		if len(c.Points) == 0 {
			p.Legend = append(p.Legend, legend{i % lineColor, c.Member + " (nothing to draw)"})
			continue
		}
		last := c.Points[len(c.Points)-1]
		p.Legend = append(p.Legend, legend{i % lineColor, c.Member})
		if last.Revision > 0 {
			p.Alt += fmt.Sprintf("%s reaches revision %d at entry %d. ", c.Member, last.Revision, last.Index)
		} else {
			p.Alt += fmt.Sprintf("%s is %d behind at entry %d. ", c.Member, -last.Revision, last.Index)
		}
	}
	return p, p.draw(func(width float64, _ int) *plot {
		return plotCurves(curves, at, steps, width, math.Min(width*0.75, 330))
	})
}

// bar is a row of a chart, its parts from left to right.
type bar struct {
	label string
	parts []float64
}

func prefixPicture(r *Report) (*picture, error) {
	p := &picture{
		Title:  "Keys that differ, by prefix",
		Legend: []legend{{0, "present on some members only"}, {1, "in value"}, {3, "in lease"}},
		Alt:    "How many keys differ under each prefix. ",
	}
	var bars []bar
	for i, g := range r.Prefixes {
		if i == barsShown {
			p.Note = fmt.Sprintf("%d more prefixes are in the table.", len(r.Prefixes)-i)
			break
		}
		bars = append(bars, bar{fmt.Sprintf("%s  %d", g.Name, g.Keys), []float64{float64(g.Missing), float64(g.Value), float64(g.Lease)}})
		p.Alt += fmt.Sprintf("%s: %d. ", g.Name, g.Keys)
	}
	return barChart(p, bars, "keys")
}

func compositionPicture(r *Report) (*picture, error) {
	p := &picture{
		Title:  "What the db of each member is made of",
		Legend: []legend{{0, "live keys"}, {1, "older revisions and tombstones"}, {3, "everything else in use"}, {7, "free pages"}},
		Alt:    "What the bytes of each db file are. ",
	}
	if !slices.ContainsFunc(r.Composition, func(c Composition) bool { return c.Free < c.Total/10*9 }) {
		return nil, nil // nearly nothing but free pages
	}
	unit, most := 1.0, int64(0)
	name := "bytes"
	for _, c := range r.Composition {
		most = max(most, c.Total)
	}
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if float64(most) >= 2*unit*1024 {
			unit, name = unit*1024, u
		}
	}
	var bars []bar
	for _, c := range r.Composition {
		var parts []float64
		for _, n := range []int64{c.Live, c.History, c.Other, c.Free} {
			parts = append(parts, float64(max(0, n))/unit)
		}
		bars = append(bars, bar{c.Member + "  " + size(c.Total), parts})
		p.Alt += fmt.Sprintf("%s: %s live, %s history, %s other, %s free. ", c.Member, size(c.Live), size(c.History), size(c.Other), size(c.Free))
	}
	return barChart(p, bars, name)
}

func barChart(p *picture, bars []bar, axis string) (*picture, error) {
	if len(bars) == 0 {
		return nil, nil
	}
	return p, p.draw(func(width float64, chars int) *plot { return plotBars(bars, p.Legend, axis, width, chars) })
}

// draw makes the picture at each width.
func (p *picture) draw(at func(width float64, chars int) *plot) error {
	for _, w := range widths {
		x := at(w.width, w.chars)
		x.Alt = escape.Visible(p.Alt)
		svg, err := x.svg()
		if err != nil {
			return err
		}
		p.SVG = append(p.SVG, drawing{w.class, svg})
	}
	return nil
}

// ticks are about n marks at round whole numbers.
type ticks int

type tick struct {
	Value float64
	Label string
}

// Ticks returns the marks of an axis from lo to hi.
func (n ticks) Ticks(lo, hi float64) []tick {
	if !(hi > lo) || math.IsInf(hi-lo, 0) {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/math.Max(1, float64(n)))))
	for _, k := range []float64{2, 2.5, 2} {
		if (hi-lo)/step <= math.Max(1, float64(n)) {
			break
		}
		step *= k
	}
	if step = math.Max(step, 1); step > 1 {
		step = math.Round(step)
	}
	var out []tick
	start := math.Ceil(lo / step)
	for i := range 2 * (int(n) + 2) { // where numbers are too large for steps, adding one may change nothing
		if x := (start + float64(i)) * step; x <= hi {
			out = append(out, tick{Value: x, Label: strconv.FormatFloat(x, 'f', 0, 64)})
		}
	}
	return out
}

// shorten leaves the begin and the end of a label that is too long.
func shorten(s string, chars int) string {
	r := []rune(s)
	if len(r) <= chars {
		return s
	}
	return string(r[:chars/2-1]) + ".." + string(r[len(r)-(chars-chars/2-1):])
}

// size is a number of bytes for people.
func size(n int64) string {
	x := float64(n)
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if x /= 1024; x < 1024 && x >= 1 || x >= 1 && u == "GiB" {
			return strconv.FormatFloat(x, 'f', 1, 64) + " " + u
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
