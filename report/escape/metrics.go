package escape

import (
	"errors"
	"io"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Metrics writes gauges in the text format of OpenMetrics. Names, units and help are constants of this program; what labels say is
// text, as Visible writes it.
type Metrics struct {
	families []*dto.MetricFamily
	seen     map[string]bool // labels of the last family
}

// Label is a label of a sample.
type Label struct {
	Name  markup
	Value string
}

// Gauge begins a family; samples that follow are of it. A unit, or none, ends the name.
func (m *Metrics) Gauge(name, unit, help markup) {
	f := &dto.MetricFamily{Name: new(string(name)), Help: new(string(help)), Type: dto.MetricType_GAUGE.Enum()}
	if unit != "" {
		f.Unit = new(string(unit))
	}
	m.families, m.seen = append(m.families, f), map[string]bool{}
}

// Sample adds a sample to the family that was begun last, unless there is one with these labels.
func (m *Metrics) Sample(value float64, labels ...Label) {
	s := &dto.Metric{Gauge: &dto.Gauge{Value: &value}}
	id := ""
	for _, l := range labels {
		s.Label = append(s.Label, &dto.LabelPair{Name: new(string(l.Name)), Value: new(Visible(l.Value))})
		id += Visible(l.Value) + "\n"
	}
	if m.seen[id] {
		return
	}
	m.seen[id] = true
	f := m.families[len(m.families)-1]
	f.Metric = append(f.Metric, s)
}

// End writes the families that have samples, and the end of the text.
func (m *Metrics) End(w io.Writer) error {
	var errs []error
	for _, f := range m.families {
		if len(f.Metric) > 0 {
			_, err := expfmt.MetricFamilyToOpenMetrics(w, f, expfmt.WithUnit())
			errs = append(errs, err)
		}
	}
	_, err := expfmt.FinalizeOpenMetrics(w)
	return errors.Join(append(errs, err)...)
}
