package attach

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"etcd-autopsy/diff"
	"etcd-autopsy/report/escape"
)

// A picture is drawn twice, so that its text can be read on a wide screen and on a telephone alike.
var widths = []struct {
	class string
	width float64 // in points, which the page shows as CSS pixels
	chars int     // of a label that fits
}{{"wide", 760, 100}, {"narrow", 330, 44}}

const (
	textSize  = 12
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
	return p, p.draw(func(width float64, _ int) (*plot.Plot, float64, error) {
		x := newPlot()
		x.X.Label.Text, x.Y.Label.Text = "raft index", "revision"
		k := n
		for i, c := range curves {
			if len(c.Points) == 0 {
				continue
			}
			k--
			xys := plotter.XYs{}
			for _, q := range c.Points {
				xys = append(xys, plotter.XY{X: float64(q.Index), Y: float64(q.Revision)})
			}
			l, err := plotter.NewLine(xys)
			if err != nil {
				return nil, 0, err
			}
			l.Color = series(i)
			l.Width = vg.Points(1.8 + math.Min(float64(k), 3)*2.2)
			if steps {
				l.StepStyle = plotter.PostStep
			}
			x.Add(l)
		}
		if at > 0 {
			mark, err := plotter.NewLine(plotter.XYs{{X: float64(at), Y: x.Y.Min}, {X: float64(at), Y: x.Y.Max}})
			if err != nil {
				return nil, 0, err
			}
			mark.Color, mark.Width, mark.Dashes = ink, vg.Points(1.2), []vg.Length{4, 4}
			x.Add(mark)
		}
		x.X.Tick.Marker, x.Y.Tick.Marker = ticks(int(width/110)), ticks(5)
		return x, math.Min(width*0.75, 330), nil
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

// barChart draws lying bars with their labels above them: keys are too long to stand beside.
func barChart(p *picture, bars []bar, axis string) (*picture, error) {
	if len(bars) == 0 {
		return nil, nil
	}
	return p, p.draw(func(width float64, chars int) (*plot.Plot, float64, error) {
		x := newPlot()
		x.X.Label.Text = axis
		var on *plotter.BarChart
		for k := range bars[0].parts {
			vs := make(plotter.Values, len(bars))
			for i, b := range bars {
				vs[len(bars)-1-i] = b.parts[k]
			}
			c, err := plotter.NewBarChart(vs, vg.Points(13))
			if err != nil {
				return nil, 0, err
			}
			c.Horizontal, c.Color, c.Width = true, series(p.Legend[k].Color), vg.Points(13)
			c.LineStyle.Width = 0
			if on != nil {
				c.StackOn(on)
			}
			on = c
			x.Add(c)
		}
		labels := plotter.XYLabels{}
		for i, b := range bars {
			labels.XYs = append(labels.XYs, plotter.XY{X: 0, Y: float64(len(bars)-1-i) + 0.3})
			labels.Labels = append(labels.Labels, shorten(escape.Visible(b.label), chars))
		}
		ls, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, 0, err
		}
		for i := range ls.TextStyle {
			ls.TextStyle[i].Color, ls.TextStyle[i].Font = ink, textFont()
		}
		x.HideY()
		x.X.Min, x.X.Max = 0, math.Max(x.X.Max, 1)
		x.Y.Min, x.Y.Max = -0.5, float64(len(bars))-0.2
		// Labels reserve room to their right, which would squeeze the bars: they are drawn without.
		x.Add(unboxed{ls})
		x.X.Tick.Marker = ticks(int(width / 110))
		return x, float64(len(bars))*38 + 56, nil
	})
}

// unboxed is a plotter that makes no room for what it draws.
type unboxed struct{ p plot.Plotter }

func (u unboxed) Plot(c draw.Canvas, p *plot.Plot) { u.p.Plot(c, p) }

// Colors stand for the variables of the page, which are others in the dark.
var ink = color.RGBA{1, 1, 1, 255}

func series(i int) color.RGBA { return color.RGBA{1, 2, uint8(i % lineColor), 255} }

var (
	standsFor = regexp.MustCompile(`(fill|stroke):#01(0101|020[0-7])`)
	prologue  = regexp.MustCompile(`(?s)^.*?<svg [^>]*?viewBox="([^"]*)"[^>]*>`)
	family    = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*`)
)

func textFont() font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: textSize}
}

func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = ink, ink, ink, ink
		a.Label.TextStyle.Font, a.Tick.Label.Font = textFont(), textFont()
	}
	return p
}

// draw makes the picture at each width.
func (p *picture) draw(at func(width float64, chars int) (*plot.Plot, float64, error)) error {
	for _, w := range widths {
		x, height, err := at(w.width, w.chars)
		if err != nil {
			return err
		}
		c := vgsvg.NewWith(vgsvg.UseWH(vg.Points(w.width), vg.Points(height)))
		x.Draw(draw.Crop(draw.New(c), 0, -vg.Points(14), 0, -vg.Points(4)))
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			return err
		}
		p.SVG = append(p.SVG, drawing{w.class, inline(b.String(), p.Alt)})
	}
	return nil
}

// inline makes of an SVG file an element of a page. The renderer has escaped all text in it.
func inline(svg, alt string) template.HTML {
	svg = prologue.ReplaceAllString(svg, `<svg viewBox="$1" role="img" aria-label="`+strings.ReplaceAll(template.HTMLEscapeString(escape.Visible(alt)), "$", "$$")+`">`)
	svg = family.ReplaceAllString(svg, "")
	svg = strings.ReplaceAll(svg, "\n\t", " ") // as the renderer breaks tags
	svg = standsFor.ReplaceAllStringFunc(svg, func(s string) string {
		name, hex, _ := strings.Cut(s, ":#01")
		if hex == "0101" {
			return name + ":var(--fg)"
		}
		return name + ":var(--c" + hex[3:] + ")"
	})
	return template.HTML(svg) //nolint:gosec // made here, its text escaped
}

// ticks are about n marks at round whole numbers.
type ticks int

// Ticks returns the marks of an axis from lo to hi.
func (n ticks) Ticks(lo, hi float64) []plot.Tick {
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
	var out []plot.Tick
	start := math.Ceil(lo / step)
	for i := range 2 * (int(n) + 2) { // where numbers are too large for steps, adding one may change nothing
		if x := (start + float64(i)) * step; x <= hi {
			out = append(out, plot.Tick{Value: x, Label: strconv.FormatFloat(x, 'f', 0, 64)})
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
