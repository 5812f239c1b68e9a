package attach

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"sync"

	"etcd-autopsy/report/escape"
)

// plot is a chart as it is drawn. All numbers are CSS pixels from the upper left corner.
type plot struct {
	Width, Height            float64
	Alt                      string
	Left, Right, Top, Bottom float64 // of what is drawn between the axes
	XName, YName             string  // of the axes; without YName there is no y axis
	XMarks, YMarks           []notch
	Curves                   []curve
	Bars                     []block
	Labels                   []caption
	At                       float64 // a dashed line across, 0: none
}

// curve is a line of a color that has a number.
type curve struct {
	Path  string
	Width float64
	Color int
}

// block is a part of a bar.
type block struct {
	X, Y, W float64
	Color   int
}

type caption struct {
	X, Y float64
	Text string
}

// notch is a mark of an axis.
type notch struct {
	At   float64
	Text string
}

// span is what an axis shows, from lo to hi, at the pixels from and to.
type span struct{ lo, hi, from, to float64 }

// spanning is the axis of values from lo to hi, which are two.
func spanning(lo, hi, from, to float64) span {
	if !(hi > lo) {
		lo, hi = lo-1, lo+1
	}
	return span{lo, hi, from, to}
}

func (s span) at(v float64) float64 { return s.from + (s.to-s.from)*(v-s.lo)/(s.hi-s.lo) }

func (s span) marks(n ticks) (out []notch) {
	for _, t := range n.Ticks(s.lo, s.hi) {
		out = append(out, notch{s.at(t.Value), t.Label})
	}
	return out
}

const (
	axisGap  = 7   // between an axis and what is drawn
	textRoom = 7.2 // for a digit
)

// plotCurves lays out curves over the log, of which the last is the thinnest. at is an index to mark, 0: none.
func plotCurves(curves []Curve, at uint64, steps bool, width, height float64) *plot {
	xlo, xhi, ylo, yhi := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	n := 0
	for _, c := range curves {
		for _, q := range c.Points {
			xlo, xhi = min(xlo, float64(q.Index)), max(xhi, float64(q.Index))
			ylo, yhi = min(ylo, float64(q.Revision)), max(yhi, float64(q.Revision))
		}
		if len(c.Points) > 0 {
			n++
		}
	}
	if at > 0 {
		xlo, xhi = min(xlo, float64(at)), max(xhi, float64(at))
	}
	p := &plot{Width: width, Height: height, Right: width - 17, Top: 8, Bottom: height - 42, XName: "raft index", YName: "revision"}
	y := spanning(ylo, yhi, p.Bottom, p.Top)
	p.YMarks = y.marks(5)
	for _, m := range p.YMarks {
		p.Left = max(p.Left, float64(len(m.Text))*textRoom)
	}
	p.Left += 30 + axisGap
	x := spanning(xlo, xhi, p.Left, p.Right)
	p.XMarks = x.marks(ticks(int(width / 110)))
	for i, c := range curves {
		if len(c.Points) == 0 {
			continue
		}
		n--
		var path []byte
		for k, q := range c.Points {
			px, py := pixels(x.at(float64(q.Index))), pixels(y.at(float64(q.Revision)))
			switch {
			case k == 0:
				path = fmt.Appendf(path, "M%s,%s", px, py)
			case steps:
				path = fmt.Appendf(path, "H%sV%s", px, py)
			default:
				path = fmt.Appendf(path, "L%s,%s", px, py)
			}
		}
		p.Curves = append(p.Curves, curve{string(path), 1.8 + math.Min(float64(n), 3)*2.2, i % lineColor})
	}
	if at > 0 {
		p.At = x.at(float64(at))
	}
	return p
}

// plotBars lays out lying bars with their labels above them: keys are too long to stand beside.
func plotBars(rows []bar, legend []legend, axis string, width float64, chars int) *plot {
	const row = 38
	most := 1.0
	for _, r := range rows {
		sum := 0.0
		for _, v := range r.parts {
			sum += v
		}
		most = max(most, sum)
	}
	height := float64(len(rows))*row + 56
	p := &plot{Width: width, Height: height, Left: 5, Right: width - 17, Top: 8, Bottom: height - 42, XName: axis}
	x := spanning(0, most, p.Left, p.Right)
	p.XMarks = x.marks(ticks(int(width / 110)))
	for i, r := range rows {
		y := p.Top + row*float64(i)
		p.Labels = append(p.Labels, caption{p.Left, y + 10, shorten(escape.Visible(r.label), chars)})
		from := 0.0
		for k, v := range r.parts {
			if v > 0 {
				p.Bars = append(p.Bars, block{x.at(from), y + 16, x.at(from+v) - x.at(from), legend[k].Color})
			}
			from += v
		}
	}
	return p
}

// svg writes the picture as an element of a page.
func (p *plot) svg() (template.HTML, error) {
	var b bytes.Buffer
	if err := plotTemplate().Execute(&b, p); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // by a template that escapes
}

func pixels(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// plotTemplate writes the picture as an element of a page. Templates are parsed when they are used: most commands use none.
var plotTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("plot").Funcs(template.FuncMap{
		"add":  func(a, b float64) float64 { return a + b },
		"half": func(a, b float64) float64 { return (a + b) / 2 },
		"px":   pixels,
	}).Parse(`<svg viewBox="0 0 {{px .Width}} {{px .Height}}" role="img" aria-label="{{.Alt}}" font-size="12" style="fill:var(--fg)">
{{- $axis := add .Bottom 7}}
<path d="M{{px .Left}},{{px $axis}}H{{px .Right}}{{range .XMarks}}M{{px .At}},{{px $axis}}v8{{end}}" style="fill:none;stroke:var(--fg);stroke-width:.5"/>
{{- range .XMarks}}
<text x="{{px .At}}" y="{{px (add $axis 18)}}" text-anchor="middle">{{.Text}}</text>
{{- end}}
<text x="{{px (half .Left .Right)}}" y="{{px (add .Height -4)}}" text-anchor="middle">{{.XName}}</text>
{{- if .YName}}
{{- $side := add .Left -7}}
<path d="M{{px $side}},{{px .Bottom}}V{{px .Top}}{{range .YMarks}}M{{px $side}},{{px .At}}h-8{{end}}" style="fill:none;stroke:var(--fg);stroke-width:.5"/>
{{- range .YMarks}}
<text x="{{px (add $side -9)}}" y="{{px (add .At 4)}}" text-anchor="end">{{.Text}}</text>
{{- end}}
<text transform="translate(10 {{px (half .Top .Bottom)}}) rotate(-90)" text-anchor="middle">{{.YName}}</text>
{{- end}}
{{- range .Bars}}
<rect x="{{px .X}}" y="{{px .Y}}" width="{{px .W}}" height="13" style="fill:var(--c{{.Color}})"/>
{{- end}}
{{- range .Labels}}
<text x="{{px .X}}" y="{{px .Y}}">{{.Text}}</text>
{{- end}}
{{- range .Curves}}
<path d="{{.Path}}" style="fill:none;stroke:var(--c{{.Color}});stroke-width:{{px .Width}}"/>
{{- end}}
{{- if .At}}
<path d="M{{px .At}},{{px .Bottom}}V{{px .Top}}" style="fill:none;stroke:var(--fg);stroke-width:1.2;stroke-dasharray:4,4"/>
{{- end}}
</svg>`))
})
