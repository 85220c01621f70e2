// Package metrics shows the appliance's counters in the Prometheus text format.
// It asks for the values when it is read, and stores none. The caller knows
// their meaning. The library's types do not leave this package.
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
	Histogram  *Histogram // in place of Value
	Labels     []Label
}

// Label distinguishes samples of one name. Its values come from the
// configuration or are few: a stranger's input must never create new values
// without bound.
type Label struct{ Name, Value string }

// Handler serves the samples that read returns, and the process's own figures.
func Handler(read func() []Sample) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector(read), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

type collector func() []Sample

// Describe sends nothing. The samples are known only when they are read, and
// the library allows a collector without descriptions.
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
		desc := prometheus.NewDesc(s.Name, s.Help, names, nil)
		var m prometheus.Metric
		var err error
		if h := s.Histogram; h != nil {
			n, sum, upTo := h.read()
			m, err = prometheus.NewConstHistogram(desc, n, sum, upTo, values...)
		} else {
			m, err = prometheus.NewConstMetric(desc, kind, s.Value, values...)
		}
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		ch <- m
	}
}
