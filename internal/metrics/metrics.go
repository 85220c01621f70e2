// Package metrics shows the appliance's counters in the Prometheus text format.
// It asks for values when it is read and keeps none; what they mean is the
// caller's, and the library's types do not leave it.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Sample is one value. Names are muster_…, in base units; a Counter only grows.
type Sample struct {
	Name, Help string
	Counter    bool
	Value      float64
	Labels     []Label
}

// Label tells samples of one name apart. Values come from the configuration or
// are few: nothing that a stranger sends may make a new one without bound.
type Label struct{ Name, Value string }

// Handler serves what read returns at that moment, and the process's own
// figures.
func Handler(read func() []Sample) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector(read), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type collector func() []Sample

// Describe sends nothing: the samples are known only when they are read, and a
// collector without descriptions is allowed that.
func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c() {
		var names, values []string
		for _, l := range s.Labels {
			names, values = append(names, l.Name), append(values, l.Value)
		}
		kind := prometheus.GaugeValue
		if s.Counter {
			kind = prometheus.CounterValue
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(s.Name, s.Help, names, nil), kind, s.Value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		ch <- m
	}
}
