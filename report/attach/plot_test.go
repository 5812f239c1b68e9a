package attach

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"etcd-autopsy/diff"
)

// TestPlotCurves asserts that curves reach from corner to corner of what their axes span, and no further.
func TestPlotCurves(t *testing.T) {
	t.Parallel()
	curves := []Curve{
		{Member: "a", Points: []diff.Position{{Index: 10, Revision: 5}, {Index: 60, Revision: 5}, {Index: 110, Revision: 55}}},
		{Member: "b"},
		{Member: "c", Points: []diff.Position{{Index: 60, Revision: 30}}},
	}
	for _, steps := range []bool{false, true} {
		p := plotCurves(curves, 60, steps, 760, 330)
		left, right, top, bottom, middle := pixels(p.Left), pixels(p.Right), pixels(p.Top), pixels(p.Bottom), pixels((p.Left+p.Right)/2)
		want := fmt.Sprintf("M%s,%sL%s,%sL%s,%s", left, bottom, middle, bottom, right, top)
		if steps {
			want = fmt.Sprintf("M%s,%sH%sV%sH%sV%s", left, bottom, middle, bottom, right, top)
		}
		if len(p.Curves) != 2 || p.Curves[0].Path != want || p.Curves[0].Color != 0 || p.Curves[1].Color != 2 || p.Curves[0].Width <= p.Curves[1].Width {
			t.Errorf("%+v, want %s", p.Curves, want)
		}
		if pixels(p.At) != middle {
			t.Errorf("the mark is at %v, want %s", p.At, middle)
		}
		for _, m := range p.XMarks {
			if m.At < p.Left || m.At > p.Right {
				t.Errorf("%+v is beyond its axis", m)
			}
		}
		for _, m := range p.YMarks {
			if m.At < p.Top || m.At > p.Bottom {
				t.Errorf("%+v is beyond its axis", m)
			}
		}
		if len(p.XMarks) < 3 || len(p.YMarks) < 3 {
			t.Errorf("%v, %v", p.XMarks, p.YMarks)
		}
	}
	// A mark beyond the curves, and curves of one value.
	flat := []Curve{{Points: []diff.Position{{Index: 7, Revision: 3}, {Index: 9, Revision: 3}}}}
	if p := plotCurves(flat, 5, false, 330, 200); p.At != p.Left || strings.Contains(p.Curves[0].Path, "NaN") {
		t.Errorf("%+v", p)
	}
}

// TestPlotBars asserts that the parts of a bar lie one behind the other, and that the longest reaches the end.
func TestPlotBars(t *testing.T) {
	t.Parallel()
	p := plotBars([]bar{{"<long>" + strings.Repeat("x", 99), []float64{3, 0, 5}}, {"b", []float64{0, 4, 0}}}, []legend{{0, ""}, {1, ""}, {3, ""}}, "keys", 330, 20)
	if len(p.Bars) != 3 || p.Bars[0].Color != 0 || p.Bars[1].Color != 3 || p.Bars[2].Color != 1 {
		t.Fatalf("%+v", p.Bars)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if a, b, c := p.Bars[0], p.Bars[1], p.Bars[2]; a.X != p.Left || !near(a.X+a.W, b.X) || !near(b.X+b.W, p.Right) || a.Y != b.Y || c.X != p.Left || !near(c.W*2, p.Right-p.Left) || c.Y <= a.Y {
		t.Errorf("%+v of %v to %v", p.Bars, p.Left, p.Right)
	}
	svg, err := p.svg()
	if err != nil || !strings.Contains(string(svg), "&lt;long&gt;xxx..xxxxxxxxx<") || !strings.Contains(string(svg), "fill:var(--c3)") {
		t.Errorf("%v %s", err, svg)
	}
}
